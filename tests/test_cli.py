"""The command line, as its users meet it: reports, files, exit codes and complaints."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

import mlp
from mlp.cli import cli

ROOT = Path(__file__).parent.parent
QUICK = ("--backend", "numpy", "--epochs", "2")


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLP_DATA", raising=False)
    monkeypatch.delenv("MLP_DEBUG", raising=False)


def run(*arguments: object, status: int = 0) -> Result:
    result = CliRunner().invoke(cli, [str(argument) for argument in arguments], prog_name="mlp")
    assert result.exit_code == status, (result.output, result.exception)
    return result


def refused(*arguments: object) -> str:
    """The one line on stderr of a command that cannot be run as given."""
    return fails(*arguments, status=2)


def fails(*arguments: object, status: int = 1) -> str:
    """The one line on stderr of a command that fails."""
    result = run(*arguments, status=status)
    assert result.stdout == ""
    line = result.stderr.splitlines()[-1]
    assert line.startswith("mlp: error: ")
    return line


def mlp_process(*arguments: object, **settings: Any) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **settings.pop("env", {})}
    command = [sys.executable, "-m", "mlp", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, **settings)


@pytest.fixture
def houses() -> str:
    rng = np.random.default_rng(0)
    size, city = rng.uniform(50, 200, 120), rng.choice(["Bergen", "Oslo", "Åsgård"], 120)
    price = size / 50 + (city == "Oslo") + rng.normal(0, 0.05, 120)
    with open("houses.csv", "w", encoding="utf-8", newline="") as handle:
        csv.writer(handle).writerows([("size", "city", "price"), *zip(size, city, price, strict=True)])
    return "houses.csv"


@pytest.fixture
def spam() -> str:
    rng = np.random.default_rng(0)
    length = rng.normal(size=100)
    with open("mail.csv", "w", encoding="utf-8", newline="") as handle:
        rows = [(x, "spam" if x > 0 else "ham") for x in length]
        csv.writer(handle).writerows([("length", "kind"), *rows])
    return "mail.csv"


# -- train ----------------------------------------------------------------------------------------------


def test_digits_are_learnt_by_default() -> None:
    results = json.loads(run("train", "digits", "--backend", "numpy", "--json").stdout)
    assert results["sizes"] == [64, 64, 10]
    assert results["test"]["rows"] == 359
    assert results["test"]["score"] >= 0.97
    assert sorted(os.listdir(results["run"])) == sorted(
        ["config.json", "metrics.csv", "model.safetensors", "results.json", "training.safetensors"]
    )
    assert json.loads(Path(results["run"], "results.json").read_text()) == results


def test_one_epoch_is_not_in_the_plural() -> None:
    report = run("train", "xor", "--backend", "numpy", "--epochs", "1", "--output-dir", "one").stdout
    assert ", 1 epoch, seed 0" in report
    assert "resumes   one, after 1 epoch\n" in run("train", "--resume", "one", "--epochs", "2").stdout


def test_the_report_says_what_is_trained_and_what_came_of_it() -> None:
    lines = run("train", "digits", "--validation", "0.1", *QUICK).stdout.splitlines()
    assert lines[:7] == [
        "data      digits: 1438 training rows (10% for validation), 359 test rows, 64",
        "          inputs, 10 classes",
        "task      classification: 10 classes, each 9.7 % to 10 % of the rows",
        "network   64-64-10, relu, softmax + cross_entropy, 4,810 float32 parameters",
        "training  adam 0.001, batches of 32, 2 epochs, seed 0",
        "backend   numpy on cpu (as asked)",
        "",
    ]
    assert lines[7].split() == ["epoch", "loss", "val_loss", "val_score", "learning", "rate", "samples/s"]
    assert [line.split()[0] for line in lines[8:10]] == ["1", "2"]
    assert lines[-1] == f"run       {Path('runs', 'digits-1')}"


def test_quiet_prints_the_folder_alone() -> None:
    assert run("train", "moons", "--quiet", *QUICK).output == f"{Path('runs', 'moons-1')}\n"


def test_json_is_one_document(houses: str) -> None:
    document = json.loads(run("train", houses, "--target", "price", "--json", *QUICK).stdout)
    assert document["task"] == "numbers"
    assert document["score"] == "R^2"


def test_every_flag_reaches_the_network() -> None:
    run(
        "train", "digits", "--hidden", "12,6", "--activation", "tanh,elu", "--output-activation", "sigmoid",
        "--loss", "binary_cross_entropy", "--epochs", 2, "--batch-size", 50, "--optimizer", "sgd", "--lr", 0.05,
        "--momentum", 0.9, "--nesterov", "--schedule", "cosine:floor=0.001", "--warmup", 1, "--weight-decay", 0.01,
        "--l2", 0.1, "--l1", 0.2, "--dropout", "0.1,0.2", "--input-dropout", 0.3, "--clip-norm", 5, "--clip-value", 2,
        "--init", "normal", "--seed", 7, "--dtype", "float64", "--backend", "numpy", "--scale", "standard",
        "--validation", 0.25, "--early-stopping", 3, "--test-fraction", 0.5, "--output-dir", "here",
    )  # fmt: skip
    config = json.loads(Path("here/config.json").read_text())
    assert config["model"] == {
        "sizes": [64, 12, 6, 10], "activation": ["tanh", "elu"], "output_activation": "sigmoid",
        "loss": "binary_cross_entropy", "dropout": [0.1, 0.2], "input_dropout": 0.3, "l2": 0.1, "l1": 0.2,
        "init": ["normal"] * 3, "seed": 7, "dtype": "float64", "precision": "float32", "input_scale": None,
        "classes": list(range(10)), "target_scaling": None, "scaling_layer": False,
    }  # fmt: skip
    assert config["training"] == {
        "epochs": 2, "batch_size": 50, "validation_fraction": 0.25, "early_stopping": {"patience": 3},
        "optimizer": {
            "name": "sgd", "learning_rate":
            {"name": "cosine", "learning_rate": 0.05, "epochs": 2, "warmup": 1.0, "floor": 0.001},
            "weight_decay": 0.01, "clip_norm": 5.0, "clip_value": 2.0, "momentum": 0.9, "nesterov": True,
            "rate_inside": False,
        },
    }  # fmt: skip
    assert config["data"]["seed"] == 7
    assert config["data"]["test_fraction"] == 0.5
    assert config["data"]["scale"] == "standard"


@pytest.mark.parametrize("optimizer", ["adamw", "adam", "sgd"])
def test_a_weight_decay_of_zero_is_zero(optimizer: str) -> None:
    run("train", "digits", *QUICK, "--optimizer", optimizer, "--weight-decay", 0, "--output-dir", "run")
    assert json.loads(Path("run/config.json").read_text())["training"]["optimizer"]["weight_decay"] == 0
    assert plan("3-2", "--optimizer", optimizer, "--weight-decay", 0)["plan"]["optimizer"]["weight_decay"] == 0


def test_two_classes_with_binary_cross_entropy_are_one_output(spam: str) -> None:
    results = json.loads(
        run("train", spam, "--target", "kind", "--loss", "binary_cross_entropy", "--backend", "numpy", "--json").stdout
    )
    assert results["sizes"] == [1, 100, 1]
    assert results["test"]["score"] > 0.9
    document = json.loads(run("evaluate", results["run"], spam, "--json").stdout)
    assert document["score"] == results["test"]["score"]
    assert document["classes"] == ["ham", "spam"]


def test_no_hidden_layer() -> None:
    results = json.loads(run("train", "digits", "--hidden", "none", "--json", *QUICK).stdout)
    assert results["sizes"] == [64, 10]


def test_ten_epochs_are_five_and_five_more() -> None:
    run("train", "moons", "--epochs", 10, "--backend", "numpy", "--output-dir", "whole")
    run("train", "moons", "--epochs", 5, "--backend", "numpy", "--output-dir", "half")
    report = run("train", "--resume", "half", "--epochs", 10, "--output-dir", "more").stdout
    assert "resumes   half, after 5 epochs" in report
    whole, more = mlp.load("whole/model.safetensors"), mlp.load("more/model.safetensors")
    np.testing.assert_array_equal(more.parameters, whole.parameters)
    assert json.loads(Path("more/config.json").read_text())["parent"] == str(Path("half").resolve())
    assert "has done 5 epochs" in refused("train", "--resume", "half")


def test_a_cosine_schedule_that_is_over_is_told_of() -> None:
    run("train", "moons", "--schedule", "cosine", "--output-dir", "half", *QUICK)
    assert "was made for 2 epochs" in run("train", "--resume", "half", "--epochs", 3).stderr


def test_a_run_is_never_overwritten() -> None:
    run("train", "moons", "--output-dir", "mine", *QUICK)
    before = {path: path.read_bytes() for path in Path("mine").iterdir()}
    assert "'mine' exists already" in refused("train", "moons", "--output-dir", "mine", *QUICK)
    assert {path: path.read_bytes() for path in Path("mine").iterdir()} == before


def test_numbers_of_any_size_can_be_learnt() -> None:
    x = np.random.default_rng(0).normal(size=(400, 3))
    np.save("prices.npy", np.column_stack([x, 3e5 + 1e5 * x @ [1, 2, -1]]))
    results = json.loads(run("train", "prices.npy", "--backend", "numpy", "--json").stdout)
    assert results["test"]["score"] > 0.95
    np.save("houses.npy", x)
    run("predict", results["run"], "houses.npy", "--output", "answers.npy")
    answers = np.load("answers.npy")
    assert 2e5 < answers.mean() < 4e5
    assert (
        "'answers.npy' already exists"
        in run("predict", results["run"], "houses.npy", "--output", "answers.npy", status=2).stderr
    )
    np.testing.assert_array_equal(np.load("answers.npy"), answers)


def test_nielsens_network_on_mnist(mnist_folder: Path) -> None:
    results = json.loads(
        run(
            "train", "mnist", "--data-dir", mnist_folder, "--hidden", 30, "--activation", "sigmoid",
            "--output-activation", "sigmoid", "--loss", "quadratic", "--init", "normal", "--optimizer", "sgd",
            "--lr", 3.0, "--batch-size", 10, "--epochs", 1, "--json",
        ).stdout
    )  # fmt: skip
    assert results["sizes"] == [784, 30, 10]
    assert results["task"] == "classes"
    assert results["test"]["score"] > 0.8
    document = json.loads(run("evaluate", results["run"], "mnist", "--json").stdout)
    assert (document["rows"], document["score"]) == (10000, results["test"]["score"])


# -- wrong usage and failures -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("train",), "DATA is missing"),
        (("train", "digits", "--optmizer", "adam"), "No such option"),
        (("train", "digits", "--hidden", "64;64"), "is not a list of whole numbers such as 128,64"),
        (("train", "digits", "--dropout", "lots"), "is not a number"),
        (("train", "digits", "--epochs", "0"), "Invalid value for '--epochs'"),
        (("train", "digits", "--momentum", "0.9"), "--momentum does not apply to --optimizer adam"),
        (("train", "digits", "--momentum", "0"), "--momentum does not apply to --optimizer adam"),
        (("bench", "--batch-sizes", ""), "is not a list of whole numbers"),
        (("train", "digits", "--validation", "0", "--early-stopping", "5"), "add --validation 0.1"),
        (("train", "table.csv", "--validation", "0", "--early-stopping", "5"), "add --validation 0.1"),
        (("train", "digits", "--validation", "nan"), "'nan' is not a fraction"),
        (("train", "digits", "--validation", "1"), "'1' is not a fraction"),
        (("train", "digits", "--validation", "-inf"), "'-inf' is not a fraction"),
        (("train", "digits", "--test-fraction", "nan"), "'nan' is not a fraction"),
        (("train", "digits", "--test-fraction", "1.5"), "'1.5' is not a fraction"),
        (("train", "digits", "--warmup", "2"), "--warmup needs --schedule cosine"),
        (("train", "digits", "--early-stopping", "5"), "add --validation 0.1"),
        (("train", "digits", "--schedule", "step:every"), "is not of the form KEY=NUMBER"),
        (("train", "--resume", "runs/a", "--lr", "1"), "takes --lr from the run that it continues"),
        (("train", "digits", "--resume", "runs/a"), "remove 'digits'"),
        (("predict", "model", "data", "--output", "answers.xls"), "must end in .csv or .npy"),
        (("tarin", "digits"), "No such command 'tarin'"),
    ],
)
def test_wrong_usage_is_status_2(arguments: tuple[str, ...], message: str) -> None:
    assert message in " ".join(run(*arguments, status=2).stderr.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("train", "digts"), "did you mean 'digits'"),
        (("train", "digits", "--activation", "rleu"), "did you mean 'relu'"),
        (("train", "digits", "--optimizer", "adm"), "did you mean 'adam'"),
        (("train", "digits", "--schedule", "cosin"), "did you mean 'cosine'"),
        (("train", "digits", "--schedule", "step:evry=2"), "did you mean 'every'"),
        (("train", "digits", "--loss", "crossentropy"), "did you mean 'cross_entropy'"),
        (("train", "digits", "--backend", "numppy"), "did you mean 'numpy'"),
        (("train", "digits", "--scale", "minmx"), "did you mean 'minmax'"),
        (("train", "digits", "--backend", "numpy", "--device", "cuda"), "backend 'numpy' runs on the CPU"),
        (("train", "mnist"), "the folder of the MNIST files is not set"),
        (("train", "no/such/file.csv"), "there is no file"),
        (("train", "digits", "--batch-size", "5000"), "is larger than the 1438 rows"),
        (("train", "digits", "--lr", "-1"), "learning_rate must be a positive number"),
        (("train", "digits", "--lr", "0"), "learning_rate must be a positive number"),
        (("train", "digits", "--clip-norm", "0"), "clip_norm must be a positive number, not 0.0. Omit it to not clip"),
        (
            ("train", "digits", "--clip-value", "0"),
            "clip_value must be a positive number, not 0.0. Omit it to not clip",
        ),
        (("info", "--plan", "3-2", "--clip-norm", "0"), "clip_norm must be a positive number, not 0.0."),
        (("train", "digits", "--loss", ""), "unknown loss ''"),
        (("info", "--plan", "3-2", "--loss", ""), "unknown loss ''"),
        (("train", "mnist", "--data-dir", ""), "the folder of the MNIST files is not set"),
        (("plot", "sine", "--output", ""), "must end in"),
        (("bench", "--from", ""), "is a folder"),
        (("bench", "--quick", "--compare", ""), "is a folder"),
        (("bench", "--nets", ""), "''"),
        (("bench", "--quick", "--backends", ""), "''"),
        (("evaluate", "nowhere", "digits"), "there is no file 'nowhere'"),
        (("evaluate", ".", "digits"), "is not a run"),
        (("train", "--resume", "nowhere"), "there is no file"),
    ],
)
def test_wrong_values_are_told_in_one_line(arguments: tuple[str, ...], message: str) -> None:
    assert message in refused(*arguments)


@pytest.mark.parametrize("target", ["3", "-4", "9" * 30, "price", "1.5", "nan", ""])
def test_a_target_that_is_no_column_is_status_2_and_one_line(target: str) -> None:
    rows = np.random.default_rng(0).normal(size=(40, 3))
    np.save("rows.npy", rows)
    Path("rows.csv").write_text("a,b,c\n" + "".join(f"{a},{b},{c}\n" for a, b, c in rows))
    folder = run("train", "rows.npy", *QUICK, "--quiet").stdout.strip()
    for arguments in (("train", "rows.npy"), ("predict", folder, "rows.npy"), ("evaluate", folder, "rows.npy")):
        told = run(*arguments, "--target", target, status=2).stderr
        assert told.count("\n") == 1
        assert told.startswith("mlp: error: --target: target is ")
        assert "'rows.npy' has " in told
    told = run("train", "rows.csv", "--target", target, status=2).stderr
    assert told == f"mlp: error: --target: 'rows.csv' has no column {target!r}. Valid: a, b, c\n"


def test_divergence_is_told_with_its_place_and_remedy() -> None:
    told = run("train", "moons", "--lr", "1e30", "--optimizer", "sgd", "--backend", "numpy", status=1).stderr
    assert "mlp: error: training diverged in epoch 1, batch " in told
    assert "The learning rate was 1e+30: lower it" in told


@pytest.mark.skipif(mlp._backends.status()["cupy"].usable, reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_an_error_with_the_remedy() -> None:
    assert "backend 'cupy' cannot be used here" in refused("train", "digits", "--device", "cuda")


def test_debug_shows_the_traceback() -> None:
    result = CliRunner().invoke(cli, ["--debug", "train", "digts"])
    assert isinstance(result.exception, mlp.UnknownNameError)
    told = mlp_process("train", "digts", env={"MLP_DEBUG": "1"})
    assert told.returncode == 1
    assert "Traceback" in told.stderr


# -- predict and evaluate -----------------------------------------------------------------------------------


def test_a_table_is_prepared_as_in_training(houses: str) -> None:
    run("train", houses, "--target", "price", "--backend", "numpy", "--output-dir", "run")
    report = run("evaluate", "run", houses).stdout
    assert "houses.csv, test part, 24 rows" in report
    assert "R^2 0.9" in report
    assert json.loads(run("evaluate", "run", houses, "--part", "all", "--json").stdout)["rows"] == 120

    Path("new.csv").write_text("city,size\nOslo,100\nAtlantis,\n", encoding="utf-8")
    answers = run("predict", "run", "new.csv").stdout.splitlines()
    net = mlp.load("run/model.safetensors", backend="numpy")
    assert net.preprocessing is not None
    X = net.preprocessing.transform({"city": np.array(["Oslo", "Atlantis"]), "size": np.array([100.0, np.nan])})
    assert answers == ["row,prediction", *(f"{i},{answer!s}" for i, answer in enumerate(net.predict(X)))]
    os.rename("run/model.safetensors", "alone.safetensors")
    assert "no target column is given" in refused("evaluate", "alone.safetensors", houses)
    Path("new.csv").write_text("city\nOslo\n")
    assert "lacks column 'size'" in fails("predict", "alone.safetensors", "new.csv")


def test_answers_have_the_names_of_the_classes(spam: str) -> None:
    run("train", spam, "--target", "kind", "--backend", "numpy", "--output-dir", "run")
    rows = list(csv.DictReader(run("predict", "run", spam, "--part", "all", "--proba").stdout.splitlines()))
    assert len(rows) == 100
    assert all(float(row[f"p_{row['prediction']}"]) >= 0.5 for row in rows)
    document = json.loads(run("predict", "run", spam, "--proba", "--json").stdout)
    assert (document["part"], document["classes"], len(document["predictions"])) == ("all", ["ham", "spam"], 100)
    document = json.loads(run("predict", "run", spam, "--part", "test", "--json").stdout)
    assert (document["part"], len(document["predictions"])) == ("test", 20)
    assert document["rows"] == sorted(document["rows"])

    written = run("predict", "run", spam, "--output", "answers.csv")
    assert written.stdout == ""
    answers = [row["prediction"] for row in rows]
    assert Path("answers.csv").read_text().split() == ["row,prediction", *(f"{i},{a}" for i, a in enumerate(answers))]
    run("predict", "run", spam, "--part", "all", "--output", "answers.npy")
    assert np.load("answers.npy", allow_pickle=False).tolist() == answers
    run("predict", "run", spam, "--part", "all", "--proba", "--output", "chances.npy")
    np.testing.assert_allclose(np.load("chances.npy").sum(axis=1), 1, rtol=1e-6)

    Path("other.csv").write_text("length,kind\n0.5,spam\n0.1,eggs\n")
    assert "row 1 (counted from 0) is 'eggs'; the model's classes are 'ham', 'spam'" in fails(
        "evaluate", "run", "other.csv"
    )


def test_the_confusion_matrix_counts_every_row() -> None:
    run("train", "digits", "--output-dir", "run", *QUICK)
    document = json.loads(run("evaluate", "run", "digits", "--json").stdout)
    confusion = np.array(document["confusion"])
    assert confusion.sum() == document["rows"] == 359
    assert confusion.trace() / 359 == document["score"]
    assert confusion.sum(axis=1).tolist() == document["support"]
    assert "true \\ predicted" in run("evaluate", "run", "digits").stdout
    assert json.loads(run("evaluate", "run", "digits", "--part", "train", "--json").stdout)["rows"] == 1438
    assert json.loads(run("evaluate", "run", "digits", "--part", "all", "--json").stdout)["rows"] == 1797
    assert json.loads(run("evaluate", "run/model.safetensors", "digits", "--json").stdout)["score"] == document["score"]
    os.rename("run/model.safetensors", "alone.safetensors")
    alone = run("evaluate", "alone.safetensors", "digits", "--json")
    assert json.loads(alone.stdout)["score"] == document["score"]
    assert "in digits are unknown" in alone.stderr


@pytest.mark.parametrize(
    ("loss", "columns", "task"),
    [
        ("binary_cross_entropy", 0, "labels"),
        ("binary_cross_entropy", [0, 1], "labels"),
        ("cross_entropy", [0, 1], "classes"),
    ],
)
def test_yes_and_no_as_floats_are_trained_and_evaluated_on_the_same_rows(loss: str, columns: Any, task: str) -> None:
    rng = np.random.default_rng(0)
    one_hot = np.eye(2)[rng.choice(2, 80, p=[0.2, 0.8])]
    np.savez("yes_no.npz", X=rng.normal(size=(80, 4)), y=one_hot[:, columns])
    trained = json.loads(run("train", "yes_no.npz", "--loss", loss, "--output-dir", "run", "--json", *QUICK).stdout)
    evaluated = json.loads(run("evaluate", "run", "yes_no.npz", "--json").stdout)
    assert trained["task"] == task
    assert (evaluated["loss"], evaluated["score"]) == (trained["test"]["loss"], trained["test"]["score"])


def test_arrays_with_and_without_answers() -> None:
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(60, 3)), rng.integers(0, 2, 60)
    np.savez("both.npz", X=X, y=y)
    np.savez("inputs.npz", X=X)
    np.save("inputs.npy", X)
    np.save("both.npy", np.column_stack([X, y]))
    run("train", "both.npz", "--scale", "standard", "--output-dir", "run", *QUICK)
    from_npz = run("predict", "run", "inputs.npz").stdout
    assert len(from_npz.splitlines()) == 61
    assert run("predict", "run", "inputs.npy").stdout == from_npz
    assert run("predict", "run", "both.npy", "--target", "3").stdout == from_npz
    assert "the matrix has 4 columns, the training data had 3" in fails("predict", "run", "both.npy")
    assert "both.npz, test part, 12 rows" in run("evaluate", "run", "both.npz").stdout
    assert "both.npy, all, 60 rows" in run("evaluate", "run", "both.npy", "--target", "3", "--part", "all").stdout


# -- inspect ------------------------------------------------------------------------------------------------


def test_inspect_describes_a_run(houses: str) -> None:
    run("train", houses, "--target", "price", "--task", "regression", "--hidden", "8,4", "--activation", "relu,tanh",
        "--dropout", "0.1,0", "--l2", 0.1, "--validation", 0.2, "--output-dir", "run", *QUICK)  # fmt: skip
    shown = run("inspect", "run").stdout
    assert "network   4-8-4-1, identity + mse, 81 float32 parameters, l2 0.1, seed 0" in shown
    assert "inputs    1 numeric column, scaling standard; 1 column of categories" in shown
    assert "targets   standardised" in shown
    assert "validation loss" in shown
    assert "model.safetensors: holds" in shown
    assert "training.safetensors: holds" in shown
    assert shown.splitlines()[-2].split() == ["2", "8", "4", "36", "tanh", "0.1", "glorot_uniform"]
    document = json.loads(run("inspect", "run", "--json").stdout)
    assert [layer["parameters"] for layer in document["layers"]] == [40, 36, 5]
    assert document["config"]["precision"] == "float32"
    assert document["checksum"]["holds"]
    assert document["training_state"]["checksum"]["holds"]
    assert document["training"]["optimizer"]["name"] == "adam"
    config = json.loads(Path("run/config.json").read_text())
    assert document["training"]["epochs"] == config["training"]["epochs"]


def test_inspect_says_whether_a_checksum_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    run("train", "xor", "--output-dir", "run", *QUICK)
    path = Path("run/model.safetensors")
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    from mlp import network

    monkeypatch.setattr(network.FeedForward, "__init__", None)  # no network is made
    damaged = run("inspect", path, status=1)
    assert "model.safetensors: does not hold" in damaged.stdout
    assert "is damaged: its checksum does not hold" in damaged.stderr
    assert json.loads(run("inspect", path, "--json", status=1).stdout)["checksum"]["holds"] is False
    path.write_bytes(data[:-1])
    assert "is damaged" in fails("inspect", path)
    old = run("inspect", ROOT / "tests" / "data" / "model-0.1.safetensors").stdout
    assert "written by mlp 0.1.0" in old
    assert "checksum  model-0.1.safetensors: none" in old
    assert "is not a run" in refused("inspect", ".")


# -- info ---------------------------------------------------------------------------------------------------


def test_info_names_every_backend_and_its_reason() -> None:
    document = json.loads(run("info", "--json").stdout)
    assert set(document["backends"]) == set(mlp._backends.status())
    for status in document["backends"].values():
        assert status["usable"] or status["reason"]
    report = run("info").stdout
    for name in ("numpy", "cpu", "threads", "versions", "MLP_NUM_THREADS", "MLP_CACHE_DIR"):
        assert name in report


def plan(*arguments: object) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(run("info", "--plan", *arguments, "--json").stdout)
    return document


def test_a_plan_tells_how_each_backend_would_train() -> None:
    document = plan("784-128-10")
    assert set(document["backends"]) == set(mlp._backends.status())
    for name, status in mlp._backends.status().items():
        found = document["backends"][name]
        assert found["usable"] == status.usable
        assert found["method"] if status.usable else found["reason"] == status.reason
    assert document["backends"]["numpy"] == {"usable": True, "method": "step by step", "reason": ""}
    expected = {
        "sizes": [784, 128, 10], "parameters": 101770, "rows": 60000, "batch_size": 32, "epochs": 10, "steps": 18750,
        "operations_per_step": 6 * 32 * (784 * 128 + 128 * 10), "dtype": "float32", "precision": "float32",
    }  # fmt: skip
    assert document["plan"].items() >= expected.items()
    shown = run("info", "--plan", "784-128-10").stdout
    for part in ("784-128-10, relu, softmax + cross_entropy, 101,770 float32 parameters", "adam", "18,750 steps"):
        assert part in shown
    assert "numpy     step by step\n" in shown
    assert document["choice"]["reason"] in shown


@pytest.mark.skipif("numba" not in mlp._backends.available(), reason="needs the Numba backend")
def test_a_plan_compiles_nothing_and_is_what_training_does(tmp_path: Path) -> None:
    environment = {"MLP_CACHE_DIR": str(tmp_path / "cache"), "MLP_NUM_THREADS": "2"}
    shown = mlp_process("info", "--plan", "784-128-10", env=environment).stdout
    assert "numba     epoch kernel, 2 threads\n" in shown
    assert not list((tmp_path / "cache").rglob("*.nb*"))
    assert os.listdir(".") == []


def test_the_choice_of_a_plan_is_that_of_training() -> None:
    run("train", "moons", "--hidden", 8, "--epochs", 2, "--output-dir", "run", "--device", "cpu")
    rows = json.loads(Path("run/results.json").read_text())["test"]["rows"] * 4
    choice = plan("2-8-2", "--epochs", 2, "--rows", rows, "--device", "cpu")["choice"]
    chosen = json.loads(Path("run/config.json").read_text())["backend"]
    assert choice == {"backend": chosen["name"], "device": chosen["device"], "reason": chosen["reason"]}


def test_the_options_of_training_reach_the_plan() -> None:
    document = plan(
        "64-12-6-10", "--activation", "tanh,elu", "--loss", "mse", "--epochs", 3, "--batch-size", 50, "--rows", 1000,
        "--optimizer", "adamw", "--weight-decay", 0.02, "--clip-norm", 5, "--clip-value", 2, "--dropout", "0.1,0.2",
        "--input-dropout", 0.1, "--l2", 0.1, "--l1", 0.1, "--dtype", "float64", "--backend", "numpy",
    )  # fmt: skip
    plan_, optimizer = document["plan"], document["plan"]["optimizer"]
    assert (plan_["steps"], plan_["batch_size"], plan_["dtype"]) == (60, 50, "float64")
    assert (optimizer["name"], optimizer["weight_decay"], optimizer["clip_norm"]) == ("adamw", 0.02, 5.0)
    assert document["choice"] == {"backend": "numpy", "device": "cpu", "reason": "as asked"}
    assert plan("3-1", "--rows", 20)["plan"]["batch_size"] == 20
    assert plan("3-1", "--rows", 20, "--optimizer", "gd", "--epochs", 7)["plan"]["steps"] == 7
    for loss in mlp._backends.formulas.LOSSES:
        assert plan("3-4-2", "--rows", 100, "--loss", loss)["backends"]["numpy"]["method"]


def test_a_plan_with_a_precision_says_which_backends_have_it() -> None:
    document = plan("784-128-10", "--precision", "tf32", "--device", "cpu")
    assert document["plan"]["precision"] == "tf32"
    found = document["backends"][document["choice"]["backend"]]
    assert found["usable"]
    assert found["method"] is None
    assert "cannot train with precision='tf32'" in found["reason"]
    shown = run("info", "--plan", "784-128-10", "--precision", "tf32", "--device", "cpu").stdout
    assert "mlp train would fail with these options" in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--plan", "784"), "'784' is not a list of layer widths such as 784-128-10"),
        (("--plan", "784-0-10"), "is not a list of layer widths"),
        (("--batch-size", 32), "without --plan, mlp info describes no training; remove --batch-size"),
        (("--plan", "3-2", "--rows", 0), "--rows"),
    ],
)
def test_a_wrong_plan_is_wrong_usage(arguments: tuple[object, ...], message: str) -> None:
    assert message in run("info", *arguments, status=2).stderr


def test_a_plan_that_training_would_refuse_is_refused() -> None:
    assert "batch_size=50 is larger than the 20 rows" in refused(
        "info", "--plan", "3-2", "--rows", 20, "--batch-size", 50
    )
    assert "did you mean 'adam'" in refused("info", "--plan", "3-2", "--optimizer", "adan")
    assert "derivative is zero" in refused("info", "--plan", "3-4-2", "--activation", "step")
    assert "backend 'numpy' runs on the CPU" in refused(
        "info", "--plan", "3-2", "--backend", "numpy", "--device", "cuda"
    )


# -- the terminal ---------------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform == "win32", reason="needs signals of POSIX")
def test_ctrl_c_saves_reports_and_exits_with_130(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mlp", "train", "digits", "--epochs", "1000000", "--backend", "numpy", "--json"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    metrics = tmp_path / "runs" / "digits-1" / "metrics.csv"
    while process.poll() is None and not (metrics.exists() and len(metrics.read_text().splitlines()) > 5):
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    results = json.loads(out)
    assert results["interrupted"]
    assert results["test"]["score"] > 0.1
    assert "continue with: mlp train --resume" in err
    assert mlp.load(results["model"]).sizes == (64, 64, 10)


@pytest.mark.skipif(sys.platform == "win32", reason="needs pipes of POSIX")
def test_a_reader_that_leaves_early_does_no_harm() -> None:
    command = f"{sys.executable} -m mlp train moons --epochs 30 --backend numpy --output-dir run | head -1"
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)}, timeout=60
    )
    assert done.stderr == ""
    assert done.stdout.startswith("data ")
    assert json.loads(Path("run/results.json").read_text())["epochs"] == 30


def test_a_terminal_that_knows_no_unicode_and_no_home(houses: str) -> None:
    environment = {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "LC_ALL": "C", "COLUMNS": "30", "HOME": ""}
    os.rename(houses, "hüser.csv")
    done = mlp_process("train", "hüser.csv", "--target", "price", *QUICK, env=environment)
    assert done.returncode == 0, done.stderr
    assert "ser.csv: 96 training rows" in done.stdout
    assert mlp_process("info", env=environment).returncode == 0


def test_help_is_quick_and_loads_no_heavy_library() -> None:
    program = """
import sys
from mlp.cli import cli
cli(["train", "--help"], standalone_mode=False)
heavy = {"numba", "cupy", "matplotlib", "sklearn", "polars", "scipy", "rich"} & set(sys.modules)
assert not heavy, heavy
"""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for section in ("Data:", "Network:", "Training:", "Regularization:", "Device:", "Output:"):
        assert section in done.stdout


def test_the_version() -> None:
    assert mlp_process("--version").stdout == f"mlp {mlp.__version__}\n"
