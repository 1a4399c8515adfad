"""Wrong usage of each command: status 2, one line on stderr that names the option or argument, and nothing written."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import mlp
from mlp._backends import status
from mlp.cli import cli

RUN, MODEL, TABLE = "run", "net.safetensors", "houses.csv"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a run, a model, data, damaged files, and places where nothing can be written."""
    here = tmp_path_factory.mktemp("usage")
    before = Path.cwd()
    os.chdir(here)
    try:
        train = [
            "train",
            "moons",
            "--hidden",
            "4",
            "--epochs",
            "1",
            "--backend",
            "numpy",
            "--quiet",
            "--output-dir",
            RUN,
        ]
        assert CliRunner().invoke(cli, train).exit_code == 0
        mlp.MLP([2, 3, 2]).save(MODEL)
        mlp.MLP([2, 1], loss="mse").save("regression.safetensors")
        with open(TABLE, "w", newline="") as handle:
            csv.writer(handle).writerows([("size", "price"), *((i, 2.0 * i + 0.5) for i in range(40))])
        np.save("rows.npy", np.zeros((4, 2), np.float32))
        Path("notes.txt").write_text("text")
        Path("empty").mkdir()
        yield here
    finally:
        os.chdir(before)


@pytest.fixture(autouse=True)
def in_the_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    for variable in ("MLP_DATA", "MLP_DEBUG", "MLP_NUM_THREADS", "NUMBA_NUM_THREADS", "OMP_NUM_THREADS"):
        monkeypatch.delenv(variable, raising=False)


def contents(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*")}


TRAIN = [
    ("", "DATA"),
    ("digts", "DATA"),
    ("nowhere.csv --target x", "DATA"),
    ("notes.txt", "DATA"),
    ("empty", "DATA"),
    ("digits --optmizer adam", "--optmizer"),
    ("digits --config nowhere.toml", "--config"),
    ("digits --config notes.txt", "--config"),
    ("digits --config empty", "--config"),
    ("digits more", "more"),
    ("digits --hidden 64;64", "--hidden"),
    ("digits --hidden 0", "--hidden"),
    ("digits --hidden -3", "--hidden"),
    ("digits --activation rleu", "--activation"),
    ("digits --activation relu,tanh,relu", "--activation"),
    ("digits --activation step", "--activation"),
    ("digits --output-activation sofmax", "--output-activation"),
    ("digits --output-activation relu", "--output-activation"),
    ("digits --loss crossentropy", "--loss"),
    ("digits --loss=", "--loss"),
    ("digits --init hee", "--init"),
    ("digits --dtype float16", "--dtype"),
    ("digits --precision tf16", "--precision"),
    ("digits --precision tf32 --dtype float64", "precision"),
    ("digits --precision tf32 --backend numpy", "precision"),
    ("digits --epochs 0", "--epochs"),
    ("digits --epochs many", "--epochs"),
    ("digits --batch-size 0", "--batch-size"),
    ("digits --batch-size 5000", "--batch-size"),
    ("digits --optimizer adm", "--optimizer"),
    ("digits --optimizer gd --batch-size 7", "--batch-size"),
    ("digits --lr -1", "--lr"),
    ("digits --lr 0", "--lr"),
    ("digits --lr nan", "--lr"),
    ("digits --lr fast", "--lr"),
    ("digits --momentum 0.9", "--momentum"),
    ("digits --optimizer sgd --momentum 2", "--momentum"),
    ("digits --optimizer sgd --nesterov", "nesterov"),
    ("digits --schedule cosin", "--schedule"),
    ("digits --schedule step:evry=2", "--schedule"),
    ("digits --schedule step:every=0", "--schedule"),
    ("digits --schedule step:every", "--schedule"),
    ("digits --warmup 2", "--warmup"),
    ("digits --early-stopping 5", "--early-stopping"),
    ("digits --early-stopping 0 --validation 0.1", "--early-stopping"),
    ("digits --validation -0.1", "--validation"),
    ("digits --validation 1.5", "--validation"),
    ("digits --validation nan", "--validation"),
    ("digits --test-fraction 1", "--test-fraction"),
    ("digits --test-fraction -0.5", "--test-fraction"),
    ("digits --seed -1", "--seed"),
    ("digits --seed 1.5", "--seed"),
    ("digits --weight-decay -1", "--weight-decay"),
    ("digits --l2 -1", "--l2"),
    ("digits --l1 nan", "--l1"),
    ("digits --dropout 1", "--dropout"),
    ("digits --dropout 0.1,0.2,0.3", "--dropout"),
    ("digits --dropout lots", "--dropout"),
    ("digits --input-dropout 2", "--input-dropout"),
    ("digits --clip-norm 0", "--clip-norm"),
    ("digits --clip-value -1", "--clip-value"),
    ("digits --task clasification", "--task"),
    ("digits --task regression", "--task"),
    ("digits --scale minmx", "--scale"),
    ("digits --target label", "--target"),
    ("digits --data-dir empty", "--data-dir"),
    ("mnist", "--data-dir"),
    ("mnist --data-dir nowhere", "--data-dir"),
    (f"{TABLE} --target prize", "--target"),
    (TABLE, "--target"),
    ("rows.npy --target 9", "--target"),
    ("rows.npy --target price", "--target"),
    ("digits --backend numppy", "--backend"),
    ("digits --device gpu", "--device"),
    ("digits --backend numpy --device cuda", "--backend"),
    (f"digits --output-dir {RUN}", "--output-dir"),
    ("digits --output-dir notes.txt", "--output-dir"),
    ("digits --output-dir notes.txt/run", "--output-dir"),
    ("--resume nowhere", "--resume"),
    ("--resume empty", "--resume"),
    ("--resume notes.txt", "--resume"),
    (f"--resume {RUN} --lr 1", "--lr"),
    (f"digits --resume {RUN}", "--resume"),
    (f"--resume {RUN}", "--resume"),
    (f"--resume {RUN} --epochs 9 --backend numppy", "--backend"),
    ("digits --checkpoint-every often", "--checkpoint-every"),
    ("digits --checkpoint-every 0s", "--checkpoint-every"),
    ("digits --checkpoint-every 0.5steps", "--checkpoint-every"),
    ("digits --allow-different-machine", "--allow-different-machine"),
]

MODEL_AND_DATA = [
    ("nowhere digits", "MODEL"),
    ("empty digits", "MODEL"),
    (f"{MODEL} digts", "DATA"),
    (f"{MODEL} nowhere.npy", "DATA"),
    (f"{MODEL} empty", "DATA"),
    (f"{MODEL} notes.txt", "DATA"),
    (f"{MODEL} moons --part tets", "--part"),
    (f"{MODEL} moons --backend numppy", "--backend"),
    (f"{MODEL} moons --device gpu", "--device"),
    (f"{MODEL} mnist --data-dir nowhere", "--data-dir"),
    (f"{MODEL} rows.npy --part test --target 9", "--target"),
]

NEW_OUTPUT = [
    ("--output no/such/x{suffix}", "--output"),
    ("--output taken{suffix}", "--output"),
    ("--output notes.txt/x{suffix}", "--output"),
    ("--output folder{suffix}", "--output"),
]

COMMANDS: dict[str, list[tuple[str, str]]] = {
    "": [("tarin digits", "tarin"), ("--nothing", "--nothing")],
    "train": TRAIN,
    "predict": [
        ("", "MODEL"),
        (MODEL, "DATA"),
        *MODEL_AND_DATA,
        (f"{MODEL} moons --output answers.xls", "--output"),
        (f"{MODEL} moons --output=", "--output"),
        *((f"{MODEL} moons {arguments.format(suffix='.csv')}", name) for arguments, name in NEW_OUTPUT),
        ("regression.safetensors rows.npy --proba", "--proba"),
    ],
    "evaluate": [("", "MODEL"), (MODEL, "DATA"), *MODEL_AND_DATA],
    "export": [
        ("", "MODEL"),
        (MODEL, "FILE"),
        ("nowhere x.c", "MODEL"),
        ("empty x.c", "MODEL"),
        (f"{MODEL} x", "FILE"),
        (f"{MODEL} x.exe", "FILE"),
        (f"{MODEL} taken.js", "FILE"),
        (f"{MODEL} folder.py", "FILE"),
        (f"{MODEL} no/such/x.onnx", "FILE"),
        (f"{MODEL} notes.txt/x.c", "FILE"),
    ],
    "inspect": [("", "FILE"), ("nowhere", "FILE"), ("empty", "FILE")],
    "info": [
        ("--plan 784", "--plan"),
        ("--plan 784-0-10", "--plan"),
        ("--batch-size 32", "--batch-size"),
        ("--plan 3-2 --rows 0", "--rows"),
        ("--plan 3-2 --rows 20 --batch-size 50", "--batch-size"),
        ("--plan 3-2 --optimizer adan", "--optimizer"),
        ("--plan 3-2 --loss=", "--loss"),
        ("--plan 3-4-2 --activation step", "--activation"),
        ("--plan 3-2 --clip-norm 0", "--clip-norm"),
        ("--plan 3-2 --backend numpy --device cuda", "--backend"),
    ],
    "bench": [
        ("--nets 784", "--nets"),
        ("--nets=", "--nets"),
        ("--batch-sizes=", "--batch-sizes"),
        ("--batch-sizes 0", "--batch-sizes"),
        ("--batch-sizes a,b", "--batch-sizes"),
        ("--optimizer sdg", "--optimizer"),
        ("--precision tf16", "--precision"),
        ("--backends numppy", "--backends"),
        ("--backends=", "--backends"),
        ("--peers Keras", "--peers"),
        ("--rounds 1", "--rounds"),
        ("--max-seconds -1", "--max-seconds"),
        ("--from nowhere.json", "--from"),
        ("--from=", "--from"),
        ("--from empty", "--from"),
        ("--quick --compare nowhere.json", "--compare"),
        ("--json - --markdown", "--json"),
        ("--quick --json no/such/x.json", "--json"),
        ("--quick --json empty", "--json"),
        ("--quick --json notes.txt/x.json", "--json"),
        ("--quick --plot x.txt", "--plot"),
        ("--quick --plot no/such/x.png", "--plot"),
        ("--quick --plot folder.png", "--plot"),
    ],
    "runs": [
        ("nowhere", "FOLDER"),
        (TABLE, "FOLDER"),
        (". --sort val_los", "--sort"),
        (". --columns hiden", "--columns"),
        (". --where lr", "--where"),
        (". --limit 0", "--limit"),
        (". --csv --json", "--csv"),
    ],
    "tune": [
        ("", "DATA"),
        ("digts", "DATA"),
        ("moons --trials none", "--trials"),
        ("moons --timeout soon", "--timeout"),
        ("moons --validation 0", "--validation"),
        ("moons --storage empty", "--storage"),
        ("moons --storage no/such/x.db", "--storage"),
        ("moons --output no/such/x.toml", "--output"),
        ("moons --epochs 0", "--epochs"),
        ("moons --backend numppy", "--backend"),
        (TABLE, "--target"),
        (f"{TABLE} --target prize", "--target"),
    ],
    "lr-find": [
        ("", "DATA"),
        ("digts", "DATA"),
        ("moons --low -1", "--low"),
        ("moons --low 20", "low"),
        ("moons --steps 3", "--steps"),
        ("moons --output x.txt", "--output"),
        ("moons --output no/such/x.png", "--output"),
        ("moons --optimizer adm", "--optimizer"),
        ("moons --epochs 3", "--epochs"),
        (f"{TABLE} --target prize", "--target"),
    ],
    "plot": [
        ("", "KIND"),
        ("curve run", "KIND"),
        ("curves", "MODEL"),
        ("curves nowhere", "MODEL"),
        (f"curves {MODEL}", "MODEL"),
        ("weights empty", "MODEL"),
        ("sine run", "MODEL"),
        ("weights run moons", "DATA"),
        (f"confusion {MODEL}", "DATA"),
        (f"confusion {MODEL} nowhere.csv", "DATA"),
        ("weights run --shape 3", "--shape"),
        ("weights run --output x.txt", "--output"),
        ("weights run --output no/such/x.png", "--output"),
        ("weights run --output folder.png", "--output"),
        ("weights run --output=", "--output"),
        ("weights run --backend numppy", "--backend"),
    ],
    "play": [
        ("", "SOURCE"),
        ("nowhere", "SOURCE"),
        ("nowhere.csv", "SOURCE"),
        ("empty", "SOURCE"),
        ("digits", "mlp train digits"),
        ("moons --hidden 8,x", "--hidden"),
        ("moons --hidden 0", "--hidden"),
        ("moons --activation rleu", "--activation"),
        ("moons --activation step", "--activation"),
        ("moons --target x", "--target"),
        ("moons --task regression", "--task"),
        ("moons --seed -1", "--seed"),
        ("moons --rows 0", "--rows"),
        ("moons --no-data", "--data"),
        ("run --hidden 3", "--hidden"),
        ("run --rows 3", "--rows"),
        ("run --data-dir nowhere", "--data-dir"),
        (f"{MODEL} --data", "--data"),
        (f"{MODEL} --seed 1", "--seed"),
        ("run --output x.txt", "--output"),
        ("run --output no/such/x.html", "--output"),
        ("moons --output folder.html", "--output"),
    ],
    "report": [
        ("", "RUN"),
        ("nowhere", "RUN"),
        ("empty", "RUN"),
        (MODEL, "RUN"),
        ("run --output x.txt", "--output"),
        ("run --output no/such/x.html", "--output"),
        ("run --output folder.html", "--output"),
        ("run --data-dir nowhere", "--data-dir"),
    ],
    "trace": [
        ("", "--sizes"),
        (MODEL, "DATA"),
        *MODEL_AND_DATA[:9],
        ("--sizes 2,x", "--sizes"),
        ("--sizes 2", "--sizes"),
        ("--sizes 2,3,2 --activation rleu", "--activation"),
        ("--sizes 2,2 --loss msee", "--loss"),
        ("--sizes 2,2 --optimizer sdg", "--optimizer"),
        ("--sizes 2,2 --lr -1", "--lr"),
        ("--sizes 2,2 --seed -1", "--seed"),
        ("--sizes 2,2 --steps 0", "--steps"),
        ("--sizes 2,2 --rows 2 --batch-size 5", "--batch-size"),
        ("--sizes 2,2 --blank", "--blank"),
        ("--example mazur --sizes 2,2", "--sizes"),
        ("--example other", "--example"),
        ("--sizes 2,2 --output step.pdf", "--output"),
        *((f"--sizes 2,2 {arguments.format(suffix='.json')}", name) for arguments, name in NEW_OUTPUT),
    ],
    "gradcheck": [
        ("", "--sizes"),
        (MODEL, "DATA"),
        *MODEL_AND_DATA[:9],
        ("--sizes 2,2 --parameters few", "--parameters"),
        ("--sizes 2,2 --epsilon 0", "--epsilon"),
        ("--sizes 2,2 --tolerance -1", "--tolerance"),
        ("--sizes 2,3,2 --activation step", "--activation"),
        (f"{MODEL} moons --loss mse", "--loss"),
    ],
}
CASES = [(command, arguments, name) for command, cases in COMMANDS.items() for arguments, name in cases]


@pytest.fixture(scope="module", autouse=True)
def taken_names(folder: Path) -> None:
    for suffix in (".csv", ".json", ".js"):
        (folder / f"taken{suffix}").write_text("")
    for suffix in (".csv", ".json", ".png", ".html", ".py"):
        (folder / f"folder{suffix}").mkdir()


def check(folder: Path, arguments: list[str], name: str) -> None:
    before = contents(folder)
    result = CliRunner().invoke(cli, arguments, prog_name="mlp")
    assert result.exit_code == 2, (result.output, result.exception)
    assert result.stdout == ""
    assert contents(folder) == before
    (line,) = result.stderr.splitlines()
    assert line.startswith("mlp: error: ")
    assert name in line


@pytest.mark.parametrize(("command", "arguments", "name"), CASES, ids=[f"{c} {a}" for c, a, _ in CASES])
def test_wrong_usage(folder: Path, command: str, arguments: str, name: str) -> None:
    check(folder, [*command.split(), *arguments.split()], name)


def test_a_missing_folder_is_named(folder: Path) -> None:
    check(folder, ["bench", "--quick", "--json", "no/such/x.json"], f"there is no folder '{folder / 'no' / 'such'}'")


def test_every_command_is_in_the_table() -> None:
    assert set(COMMANDS) - {""} == set(cli.commands)


@pytest.mark.parametrize(
    "command", ["train digits --backend numba --epochs 1", "predict net.safetensors moons", "info"]
)
@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("MLP_NUM_THREADS", "abc"),
        ("MLP_NUM_THREADS", "0"),
        ("NUMBA_NUM_THREADS", "-1"),
        ("OMP_NUM_THREADS", "x"),
        ("MLP_DEBUG", "perhaps"),
    ],
)
def test_wrong_environment_variables(folder, monkeypatch, command, variable, value) -> None:
    monkeypatch.setenv(variable, value)
    check(folder, command.split(), variable)


def test_a_wrong_folder_of_mnist(folder, monkeypatch) -> None:
    monkeypatch.setenv("MLP_DATA", "nowhere")
    check(folder, ["train", "mnist"], "MLP_DATA")


@pytest.mark.skipif(status()["cupy"].usable, reason="there is a GPU")
@pytest.mark.parametrize("option", [("--device", "cuda"), ("--backend", "cupy")])
def test_a_gpu_that_is_not_there(folder, option) -> None:
    check(folder, ["train", "digits", *option], option[0])


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ("train moons --output-dir locked/run", "--output-dir"),
        (f"predict {MODEL} moons --output locked/x.csv", "--output"),
        ("plot sine --output locked/x.png", "--output"),
        ("bench --quick --json locked/x.json", "--json"),
    ],
)
def test_a_folder_that_may_not_be_written(folder, monkeypatch, arguments, name) -> None:
    (folder / "locked").mkdir(exist_ok=True)
    # root may write anywhere, so the answer of the system is replaced
    monkeypatch.setattr(os, "access", lambda path, mode: not str(path).endswith("locked"))
    check(folder, arguments.split(), name)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("train moons --backend numpy --epochs 2 --optimizer sgd --lr 1e30 --output-dir diverged", "training diverged"),
        ("inspect damaged.safetensors", "damaged.safetensors"),
        ("predict damaged.safetensors moons", "damaged.safetensors"),
        ("evaluate net.safetensors digits", "64 columns"),
        ("train damaged.npz", "damaged.npz"),
        ("bench --from notes.txt", "notes.txt"),
    ],
)
def test_failures_while_working_are_status_1(folder, arguments, message) -> None:
    for name in ("damaged.safetensors", "damaged.npz"):
        Path(name).write_bytes(b"damaged")
    result = CliRunner().invoke(cli, arguments.split(), prog_name="mlp")
    assert result.exit_code == 1, result.output
    assert message in result.stderr.splitlines()[-1]


def test_a_full_disk_is_status_1(folder, monkeypatch) -> None:
    def full(*arguments: object, **settings: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    result = CliRunner().invoke(cli, ["trace", "--sizes", "2,2", "--output", "full.json"], prog_name="mlp")
    assert result.exit_code == 1
    assert result.stderr.startswith("mlp: error: 'full.json' cannot be written: No space left on device")


def test_ctrl_c_is_status_130(folder, monkeypatch) -> None:
    def interrupted(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("mlp.persistence.inspect", interrupted)
    assert CliRunner().invoke(cli, ["inspect", MODEL], prog_name="mlp").exit_code == 130
