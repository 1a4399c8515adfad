"""The command line and run folders with data that are read in blocks."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from numpy.testing import assert_allclose

import mlp
from mlp.cli import cli, reading_in_blocks
from mlp.dataset_networks import network_for
from mlp.inspection import streamed_scores
from mlp.io import memory_limits
from mlp.io.memory_limits import Memory, usable_memory

ROOT = Path(__file__).resolve().parents[1]
N = 9_000


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    # several blocks, windows and chunks, although the files are small
    monkeypatch.setattr("mlp.data.streams.npy_source.BLOCK_BYTES", 5_000)
    monkeypatch.setattr("mlp.data.streams.row_stream.WINDOW_BYTES", 60_000)
    monkeypatch.setattr("mlp.data.streams.chunks.CHUNK_BYTES", 1)


def write(kind: str = "classes", seed: int = 0, n: int = N) -> None:
    """``rows.npy``, with the target in the last column, or ``X.npy`` and ``y.npy``."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 6)).astype(np.float32)
    if kind == "pair":
        np.save("X.npy", rng.integers(0, 256, (n, 6), np.uint8))
        np.save("y.npy", rng.integers(0, 4, n).astype(np.uint8))
    elif kind == "numbers":
        np.save("rows.npy", np.column_stack([X, 3 * X[:, 0] - X[:, 1] + 0.1 * X[:, 2] + 7]).astype(np.float32))
    else:
        y = (X[:, 0] > 0).astype(int) + (X[:, 1] > 0.5) if kind == "classes" else (X[:, 0] + X[:, 1] > 0.3)
        np.save("rows.npy", np.column_stack([X, 5 + 2 * y]).astype(np.float32))


def run(*arguments: object, status: int = 0) -> Result:
    result = CliRunner().invoke(cli, list(map(str, arguments)), prog_name="mlp")
    assert result.exit_code == status, (result.output, result.exception)
    return result


def train(*arguments: object, to: str, **settings: Any) -> Result:
    return run("train", *arguments, "--hidden", 8, "--backend", "numpy", "--output-dir", to, **settings)


def config(folder: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(Path(folder, "config.json").read_text())
    return document


def state(folder: str, file: str = "training.safetensors") -> str:
    """SHA-256 of parameters and optimizer state."""
    net = mlp.load(Path(folder, file), backend="numpy")
    return hashlib.sha256(net.parameters.tobytes() + net.training_state.slots.tobytes()).hexdigest()


def weights(folder: str) -> str:
    return hashlib.sha256(mlp.load(Path(folder, "model.safetensors"), backend="numpy").parameters.tobytes()).hexdigest()


# -- train ------------------------------------------------------------------------------------------------


def test_the_command_trains_as_python_does() -> None:
    write("pair")
    train("X.npy", "--target", "y.npy", "--stream", "--epochs", 2, "--batch-size", 64, "--seed", 3, to="run")
    data = mlp.data.stream("X.npy", target="y.npy", seed=3)
    net = network_for(data, [8], seed=3, backend="numpy")
    net.fit(data.train, epochs=2, batch_size=64)
    assert hashlib.sha256(net.parameters.tobytes()).hexdigest() == weights("run")
    assert config("run")["data"]["stream"] is True
    assert config("run")["data"]["target"] == os.path.abspath("y.npy")
    results = json.loads(Path("run", "results.json").read_text())
    assert data.test is not None
    assert (results["test"]["rows"], results["test"]["loss"]) == (data.test.n_rows, net.evaluate(data.test)[0])


def test_the_printed_lines_tell_what_is_read() -> None:
    write()
    output = train("rows.npy", "--stream", "--validation", 0.1, "--epochs", 1, to="run").stdout
    assert output.splitlines()[0] == "reading   252,000 bytes, read in blocks: --stream"
    train_rows = mlp.runs.read_dataset("run").train.n_rows
    assert f"{train_rows} training rows (10% for validation), {N - train_rows} test rows, 6 inputs, 3 classes" in (
        " ".join(output.split())
    )
    assert "classification: 3 classes, 5.0 " in output


OPTIONS = {
    "plain": [],
    "all": ["--validation", "0.2", "--early-stopping", "2", "--class-weight", "balanced", "--scale", "standard",
            "--dropout", "0.2", "--schedule", "reduce_on_plateau", "--checkpoint-every", "7steps"],
    "shards": ["--shards", "4"],
}  # fmt: skip


@pytest.mark.parametrize("name", OPTIONS)
def test_a_resumed_run_has_the_bits_of_an_unbroken_one(name: str) -> None:
    write()
    train("rows.npy", "--stream", *OPTIONS[name], "--epochs", 3, to="whole")
    train("rows.npy", "--stream", *OPTIONS[name], "--epochs", 1, to="part")
    lines = run("train", "--resume", "part", "--epochs", 3, "--output-dir", "rest").stdout.splitlines()
    assert lines[0] == "reading   in blocks, as the run that is continued"
    assert state("whole") == state("rest")
    assert config("rest")["data"] == config("whole")["data"]
    assert config("rest")["data_sha256"] == config("whole")["data_sha256"]


def test_a_run_is_repeated_from_its_configuration_and_from_python() -> None:
    write("numbers")
    train("rows.npy", "--stream", "--epochs", 2, "--scale", "minmax", to="run")
    run("train", "--config", "run/config.json", "--output-dir", "again", "--quiet")
    assert weights("again") == weights("run")
    assert config("again")["data"] == config("run")["data"]
    net, data = mlp.runs.repeat("run")
    assert hashlib.sha256(net.parameters.tobytes()).hexdigest() == weights("run")
    assert isinstance(data, mlp.data.StreamedDataset)
    assert "yes" in run("runs", ".", "--columns", "stream").stdout


def test_changed_data_are_noticed() -> None:
    write()
    train("rows.npy", "--stream", "--epochs", 1, to="run")
    write(seed=1)
    with pytest.raises(mlp.DataError, match="have changed since the run 'run' was trained"):
        mlp.runs.read_dataset("run")
    assert "have changed since" in run("train", "--resume", "run", "--epochs", 2, status=1).stderr
    assert "rows.npy has changed since the training" in run("evaluate", "run", "rows.npy").stderr


def test_a_run_in_memory_stays_in_memory_and_the_fingerprints_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    write()
    train("rows.npy", "--epochs", 1, to="memory")
    train("rows.npy", "--stream", "--epochs", 1, to="stream")
    assert "stream" not in config("memory")["data"]
    assert config("memory")["data_sha256"] != config("stream")["data_sha256"]
    monkeypatch.setattr(memory_limits, "usable_memory", lambda: Memory(10**6, "of the machine"))
    run("train", "--config", "memory/config.json", "--output-dir", "again", "--quiet")
    assert weights("again") == weights("memory")


# -- the rule -----------------------------------------------------------------------------------------------


def test_data_above_a_quarter_of_the_memory_are_read_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    write()
    size = N * 7 * 4
    for bytes_, in_blocks in ((4 * size - 1, True), (4 * size, False)):
        monkeypatch.setattr(memory_limits, "usable_memory", lambda n=bytes_: Memory(n, "of the control group"))
        output = train("rows.npy", "--epochs", 1, to=str(bytes_)).stdout
        assert bool(config(str(bytes_))["data"].get("stream")) is in_blocks
        line = (
            "252,000 bytes, read in blocks: more than a quarter of the 1 MB of the control group; --no-stream reads it"
        )
        assert (line in " ".join(output.split())) is in_blocks
    monkeypatch.setattr(memory_limits, "usable_memory", lambda: Memory(10, "of the machine"))
    train("rows.npy", "--no-stream", "--epochs", 1, to="memory")
    assert "stream" not in config("memory")["data"]
    monkeypatch.setattr(memory_limits, "usable_memory", lambda: None)
    train("rows.npy", "--epochs", 1, to="unknown")
    assert "stream" not in config("unknown")["data"]


@pytest.mark.parametrize(
    ("dtype", "settings", "size"),
    [("u1", {}, 60), ("u1", {"scale": "standard"}, 240), ("f8", {}, 240), ("f4", {"dtype": "float64"}, 480)],
)
def test_the_size_is_that_of_the_rows_in_memory(dtype: str, settings: dict[str, str], size: int) -> None:
    np.save("some.npy", np.zeros((10, 6), dtype))
    assert reading_in_blocks.bytes_in_memory("some.npy", **settings) == size


def test_the_memory_is_the_least_of_all_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import resource

    groups = tmp_path / "cgroup"
    (groups / "outer" / "inner").mkdir(parents=True)
    (groups / "memory" / "old").mkdir(parents=True)
    (groups / "outer" / "memory.max").write_text("7000\n")
    (groups / "outer" / "inner" / "memory.max").write_text("max\n")
    (groups / "memory" / "old" / "memory.limit_in_bytes").write_text("9000\n")
    member = tmp_path / "member"
    monkeypatch.setattr(memory_limits, "CGROUPS", groups)
    monkeypatch.setattr(memory_limits, "MEMBERSHIP", member)
    monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert usable_memory() == (physical, "of the machine")
    member.write_text("5:cpu,cpuacct:/\n4:memory:/old\n0::/\n")
    assert usable_memory() == (9000, "of the control group")
    member.write_text("0::/outer/inner\n")
    assert usable_memory() == (7000, "of the control group")
    monkeypatch.setattr(resource, "getrlimit", lambda _: (5000, resource.RLIM_INFINITY))
    assert usable_memory() == (5000, "of address space (ulimit -v)")


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("train digits --stream", "small and is not read in blocks"),
        ("train table.csv --target b --stream", "cannot be read in blocks"),
        ("train fortran.npy --stream", "Fortran order"),
        ("train rows.npy --stream --data-dir .", "--data-dir"),
        ("train rows.npy --stream --separator ;", "--separator"),
        ("predict memory table.csv --stream", "cannot be read in blocks"),
        ("train rows.npy --stream --drop a", "drop names columns of a table"),
        ("evaluate memory rows.npy --stream", "was trained on 'rows.npy' in memory"),
        ("evaluate stream rows.npy --no-stream", "was trained on 'rows.npy' in blocks"),
        ("predict stream inputs.npy --stream --json", "--json holds all predictions in one document"),
        ("predict stream inputs.npy --stream --keep a", "--keep names columns of a table"),
        ("predict stream inputs.npy --stream --target 9", "--target"),
        ("evaluate stream rows.npy --part tset", "--part"),
    ],
)
def test_what_cannot_be_read_in_blocks_is_refused(command: str, message: str) -> None:
    write()
    train("rows.npy", "--epochs", 1, to="memory")
    train("rows.npy", "--stream", "--epochs", 1, to="stream")
    np.save("inputs.npy", np.load("rows.npy")[:, :6])
    np.save("fortran.npy", np.asfortranarray(np.load("rows.npy")))
    Path("table.csv").write_text("a,b\n1,2\n3,4\n")
    result = CliRunner().invoke(cli, command.split(), prog_name="mlp")
    assert result.exit_code in (1, 2)
    *before, error = result.stderr.splitlines()
    assert message in error, result.stderr
    assert all("read in blocks: --stream" in line for line in before)
    assert not Path("runs").exists()


# -- Parquet files and folders of parts ----------------------------------------------------------------------


def test_a_parquet_file_trains_in_blocks_and_resumes() -> None:
    polars = pytest.importorskip("polars")
    pytest.importorskip("pyarrow")
    rng = np.random.default_rng(0)
    x, kind = rng.normal(size=2000), rng.choice(["a", "b", "c"], 2000)
    label = np.where(x + (kind == "b") > 0.5, "yes", "no")
    polars.DataFrame({"x": x, "kind": kind, "label": label}).write_parquet("t.parquet", row_group_size=300)
    train("t.parquet", "--target", "label", "--stream", "--epochs", 3, to="whole")
    train("t.parquet", "--target", "label", "--stream", "--epochs", 2, to="part")
    run("train", "--resume", "part", "--epochs", 3, "--output-dir", "rest", "--quiet")
    assert state("rest") == state("whole")
    assert config("whole")["training"]["validation_fraction"] == 0.15
    run("train", "--config", "whole", "--output-dir", "again", "--quiet")
    assert weights("again") == weights("whole")
    assert reading_in_blocks.bytes_in_memory("t.parquet") == 2000 * 3 * 4


def test_a_folder_of_parts_is_read_in_blocks() -> None:
    rng = np.random.default_rng(0)
    for folder in ("inputs", "targets", "empty"):
        Path(folder).mkdir()
    for part in range(3):
        np.save(f"inputs/part-{part}.npy", rng.integers(0, 256, (200, 6), np.uint8))
        np.save(f"targets/part-{part}.npy", rng.integers(0, 3, 200))
    output = train("inputs", "--target", "targets", "--epochs", 1, to="run").stdout
    assert output.startswith("reading   3,600 bytes in a folder, read in blocks\n")
    assert config("run")["data"]["target"] == os.path.abspath("targets")
    run("train", "--config", "run", "--output-dir", "again", "--quiet")
    assert weights("again") == weights("run")
    assert "can only be read in blocks" in run("train", "inputs", "--no-stream", status=2).stderr
    assert "'empty' is a folder" in run("train", "empty", status=2).stderr


# -- predict ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["classes", "two classes", "numbers"])
@pytest.mark.parametrize("scale", ["none", "standard"])
def test_predictions_are_the_same_bytes(kind: str, scale: str) -> None:
    write(kind)
    run("train", "rows.npy", "--hidden", 8, "--epochs", 1, "--scale", scale, "--output-dir", "run")
    np.save("inputs.npy", np.load("rows.npy")[:, :6])
    variants: list[list[Any]] = [["inputs.npy"], ["rows.npy", "--target", 6]]
    if kind != "numbers":
        variants.append(["inputs.npy", "--proba"])
    if kind == "two classes":
        variants.append(["inputs.npy", "--threshold", 0.3])
    for number, variant in enumerate(variants):
        for suffix in ("csv", "npy"):
            names = [f"{number}-{way}.{suffix}" for way in ("memory", "stream")]
            run("predict", "run", *variant, "--no-stream", "-o", names[0])
            message = run("predict", "run", *variant, "--stream", "-o", names[1]).stderr
            assert message.splitlines()[-1] == f"mlp: {N} predictions written to {names[1]}"
            assert Path(names[0]).read_bytes() == Path(names[1]).read_bytes()
        printed = [run("predict", "run", *variant, way).stdout for way in ("--no-stream", "--stream")]
        assert printed[0] == printed[1]
        assert len(printed[1].splitlines()) == N + 1


@pytest.mark.parametrize("part", ["test", "train"])  # the latter has two chunks
def test_predictions_of_a_part_are_those_of_its_rows(part: str) -> None:
    write()
    train("rows.npy", "--stream", "--epochs", 1, to="run")
    table = run("predict", "run", "rows.npy", "--part", part).stdout.splitlines()[1:]
    numbers = [int(line.partition(",")[0]) for line in table]
    X = np.concatenate([X for X, _ in getattr(mlp.runs.read_dataset("run"), part)])
    assert (np.load("rows.npy")[numbers, :6] == X).all()
    net = mlp.load("run/model.safetensors")
    assert [float(line.partition(",")[2]) for line in table] == [net.classes[c] for c in net.predict(X)]


def test_images_of_more_dimensions(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    np.save("X.npy", rng.integers(0, 256, (500, 4, 5), np.uint8))
    np.save("y.npy", rng.integers(0, 3, 500))
    train("X.npy", "--target", "y.npy", "--stream", "--epochs", 1, to="run")
    np.save("flat.npy", np.load("X.npy").reshape(500, -1))
    expected = run("predict", "run", "flat.npy", "--no-stream").stdout
    for name in ("flat.npy", "X.npy"):
        for way in ("--stream", "--no-stream"):
            assert run("predict", "run", name, way).stdout == expected
    np.save("floats.npy", np.load("X.npy").astype(np.float32))
    for way in ("--stream", "--no-stream"):
        assert "(500, 4, 5)" in run("predict", "run", "floats.npy", way, status=1).stderr


def test_images_are_flattened_before_they_are_scaled() -> None:
    rng = np.random.default_rng(0)
    np.save("X.npy", rng.integers(0, 256, (500, 4, 5), np.uint8))
    np.save("y.npy", rng.integers(0, 3, 500))
    train("X.npy", "--target", "y.npy", "--scale", "standard", "--epochs", 1, to="run")
    np.save("flat.npy", np.load("X.npy").reshape(500, -1))
    expected = run("predict", "run", "flat.npy").stdout
    for way in ("--stream", "--no-stream"):
        assert run("predict", "run", "X.npy", way).stdout == expected


def test_a_prediction_that_fails_leaves_no_file() -> None:
    write()
    train("rows.npy", "--epochs", 1, to="run")
    X = np.load("rows.npy")[:, :6]
    X[-1, 2] = np.inf
    np.save("inputs.npy", X)
    before = sorted(os.listdir())
    for name in ("p.csv", "p.npy"):
        run("predict", "run", "inputs.npy", "--stream", "-o", name, status=1)
        assert sorted(os.listdir()) == before


# -- evaluate -----------------------------------------------------------------------------------------------


def scores(*arguments: object) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(run("evaluate", *arguments, "--json").stdout)
    return document


def assert_close(found: Any, expected: Any) -> None:
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            assert_close(found[key], value)
    elif isinstance(expected, list):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_close(one, other)
    elif isinstance(expected, float):
        assert_allclose(found, expected, rtol=1e-6, atol=1e-9)
    else:
        assert found == expected


@pytest.mark.parametrize("kept", [streamed_scores.KEPT_VALUES, 0])
@pytest.mark.parametrize("kind", ["classes", "two classes", "numbers"])
def test_scores_are_those_in_memory(kind: str, kept: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streamed_scores, "KEPT_VALUES", kept)
    write(kind)
    train("rows.npy", "--epochs", 1, "--scale", "robust", to="run")
    more = ["--threshold", 0.4] if kind == "two classes" else []
    expected = scores("run", "rows.npy", "--part", "all", *more)
    found = scores("run", "rows.npy", "--part", "all", "--stream", *more)
    del expected["row_numbers"]
    if kind != "numbers" and not kept:
        assert found.pop("left_out") == f"ROC-AUC and average precision need the outputs of all {N:,} rows in memory"
        for one, name in (
            (one, name) for one in (expected, expected["baseline"]) for name in ("roc_auc", "average_precision")
        ):
            one[name] = None
    assert_close(found, expected)


def test_scores_of_the_test_part_are_those_of_the_training() -> None:
    write("numbers")
    train("rows.npy", "--stream", "--epochs", 1, to="run")
    results = json.loads(Path("run", "results.json").read_text())["test"]
    found = scores("run", "rows.npy")
    assert found["part"] == "test"
    assert {key: found[key] for key in results} == results
    text = run("evaluate", "run", "rows.npy").stdout
    test_rows = np.flatnonzero(
        np.isin(np.load("rows.npy")[:, 6], np.concatenate([y for _, y in mlp.runs.read_dataset("run").test]))
    )
    shown = ", ".join(map(str, test_rows[:8]))
    assert f"test part, {results['rows']} rows of {N}: {shown}, ..." in " ".join(text.split())


def test_classes_of_the_model_in_another_file() -> None:
    write()
    train("rows.npy", "--epochs", 1, to="run")
    rows = np.load("rows.npy")
    np.save("some.npy", rows[rows[:, 6] > 5])  # two of the three classes
    assert_close(
        scores("run", "some.npy", "--stream"),
        {k: v for k, v in scores("run", "some.npy").items() if k != "row_numbers"},
    )
    rows[N // 2, 6] = 6
    np.save("some.npy", rows)
    stream, memory = (run("evaluate", "run", "some.npy", way, status=1).stderr for way in ("--stream", "--no-stream"))
    assert stream == memory
    assert f"row {N // 2} (counted from 0) is 6.0" in stream


# -- other commands -----------------------------------------------------------------------------------------


def test_other_commands_use_some_rows_and_say_so() -> None:
    write()
    train("rows.npy", "--stream", "--epochs", 2, to="run")
    plot = run("plot", "confusion", "run", "--part", "train")
    assert "rows.npy is read in blocks: only the first 4,096 of 7," in plot.stderr
    assert "rows of the train part are used" in plot.stderr
    run("plot", "layers", "run")
    assert Path("layers.png").stat().st_size > 1000
    assert "softmax" in run("trace", "run", "rows.npy", "--rows", 2).stdout
    assert run("play", "run", "--data", "--output", "page.html").stderr.count("error") == 0
    run("report", "run")
    assert "read in blocks, and a report needs them in memory" in Path("run", "report.html").read_text()
    assert "--stream" in Path("run", "report.html").read_text()


def test_a_learning_rate_test_has_a_sample() -> None:
    write()
    document = json.loads(run("lr-find", "rows.npy", "--stream", "--backend", "numpy", "--json").stdout)
    rows = int(document["sample"].partition(" ")[0].replace(",", ""))
    assert 60_000 // 24 <= rows < 3_000  # a window
    assert "training rows, in blocks drawn at random" in document["sample"]
    text = run("lr-find", "rows.npy", "--stream", "--backend", "numpy").stdout
    assert f"sample    {rows:,} of 7," in text


def test_a_search_has_a_sample_and_its_file_streams() -> None:
    pytest.importorskip("optuna")
    write()
    text = run("tune", "rows.npy", "--stream", "--trials", 1, "--epochs", 1, "--backend", "numpy").stdout
    assert "training rows, in blocks drawn at random" in text
    run("train", "--config", "studies/rows-1.toml", "--output-dir", "run", "--quiet")
    assert config("run")["data"]["stream"] is True


# -- processes ----------------------------------------------------------------------------------------------


def test_ctrl_c_ends_within_an_epoch_and_the_rest_has_the_same_bits() -> None:
    write(n=200_000)
    options = ["--hidden", "8", "--backend", "numpy", "--stream", "--epochs", "3", "--batch-size", "16", "--quiet"]
    command = [sys.executable, "-m", "mlp", "train", "rows.npy", *options]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [*command, "--output-dir", "part"], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not Path("part", "training.safetensors").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    subprocess.run([*command, "--output-dir", "whole"], env=environment, check=True, capture_output=True)
    rest = [sys.executable, "-m", "mlp", "train", "--resume", "part", "--output-dir", "rest", "--quiet"]
    subprocess.run(rest, env=environment, check=True, capture_output=True)
    assert state("rest") == state("whole")


def test_ranks_train_to_the_bits_of_one_process() -> None:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    mpiexec = shutil.which("mpiexec", path=path)
    if mpiexec is None:
        pytest.skip("needs mpiexec")
    pytest.importorskip("mpi4py")
    write()
    options = ["--stream", "--shards", "4", "--epochs", "2", "--validation", "0.1"]
    command = ["-m", "mlp", "train", "rows.npy", "--hidden", "8", "--backend", "numpy", "--output-dir", "two"]
    result = subprocess.run(
        [mpiexec, "-n", "2", sys.executable, *command, *options],
        env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    command[-1] = "one"
    subprocess.run(
        [sys.executable, *command, *options],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        check=True,
        capture_output=True,
    )
    assert state("two") == state("one")
