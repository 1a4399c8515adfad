"""Damaged, foreign and hostile files: every change is noticed, and every failure is one short error in little time."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import model_bytes
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import mlp
from mlp import persistence, runs
from mlp.data import Preprocessing
from mlp.inspection.report.run_data import read_run

ROOT = Path(__file__).parent.parent
OLD = ROOT / "tests" / "data"
THOROUGH = settings().max_examples >= 1000
X, Y = np.random.default_rng(0).normal(size=(12, 3)), np.arange(12) % 2
LONGEST_MESSAGE = 500
"""Characters of an error beside the path: what is wrong, with at most a line from the file, and what to do."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("damaged")


def small_model() -> mlp.MLP:
    return mlp.MLP([2, 2, 1], loss="mse", backend="numpy")


def trained_model() -> mlp.MLP:
    """A network with a value in every field of its file."""
    columns = {"size": np.array([1.0, 2.0, 4.0]), "city": np.array(["Oslo", "Bergen", "Oslo"])}
    net = mlp.MLP(
        [3, 2, 2], input_scale=0.5, classes=["no", "yes"], preprocessing=Preprocessing.fit(columns), dropout=0.1,
        backend="numpy",
    )  # fmt: skip
    rate = mlp.schedules.ReduceOnPlateau(0.01, patience=2)
    stopping = mlp.EarlyStopping(patience=5)
    net.fit(X, Y, epochs=2, batch_size=4, optimizer=mlp.Adam(rate), validation_fraction=0.5, early_stopping=stopping)
    return net


def saved(net: mlp.MLP, folder: Path) -> bytes:
    path = folder / "good.safetensors"
    (net.save if net.training_state is None else lambda to: persistence.save_training_state(net, to))(path)
    return path.read_bytes()


def same(a: mlp.MLP, b: mlp.MLP) -> bool:
    return a.get_config() == b.get_config() and np.array_equal(a.parameters, b.parameters)


def attempt(read: Callable[[Path], Any], path: Path) -> Any:
    """What `read` makes of the file, or None if it refuses it; an error must be one of the library, and short."""
    message = ""
    try:
        return read(path)
    except mlp.MLPError as error:
        message = str(error)
    assert len(message) - 2 * len(str(path)) < LONGEST_MESSAGE, message
    return None


def load(path: Path) -> mlp.MLP:
    return mlp.load(path, backend="numpy")


# -- every change is noticed ------------------------------------------------------------------------------


@pytest.mark.parametrize(("make", "step"), [(small_model, 1), (trained_model, 1 if THOROUGH else 13)])
def test_every_flipped_bit_is_noticed(make: Callable[[], mlp.MLP], step: int, folder: Path) -> None:
    good = saved(make(), folder)
    path = folder / "flipped.safetensors"
    path.write_bytes(good)
    expected, found = load(path), Counter[str]()
    with path.open("r+b", buffering=0) as file:  # in place, because new files take longer than all else
        for bit in range(0, 8 * len(good), step):
            for value in (good[bit // 8] ^ 1 << bit % 8, good[bit // 8]):
                file.seek(bit // 8)
                file.write(bytes([value]))
                if value != good[bit // 8]:
                    net = attempt(load, path)
            found["refused" if net is None else "harmless" if same(net, expected) else "unnoticed"] += 1
    assert path.read_bytes() == good
    assert not found["unnoticed"]
    assert found["refused"] == found.total()


def test_a_change_of_a_weight_is_said_with_the_file_and_what_to_do(folder: Path) -> None:
    data = bytearray(saved(small_model(), folder))
    data[-1] ^= 1
    path = folder / "weight.safetensors"
    path.write_bytes(data)
    with pytest.raises(
        mlp.FileFormatError, match=r"weight.safetensors' is damaged: .* checksum .*; copy the file again"
    ):
        mlp.load(path)
    net = trained_model()
    data = saved(net, folder)
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    before = net.parameters.copy()
    with pytest.raises(mlp.FileFormatError, match="checksum"):
        persistence.load_training_state(net, path)
    np.testing.assert_array_equal(net.parameters, before)


@pytest.mark.parametrize("make", [small_model, trained_model])
def test_every_truncation_is_noticed(make: Callable[[], mlp.MLP], folder: Path) -> None:
    good = saved(make(), folder)
    path = folder / "short.safetensors"
    path.write_bytes(good)
    for size in reversed(range(len(good))):
        os.truncate(path, size)
        assert attempt(load, path) is None, size
        assert attempt(persistence.inspect, path) is None, size
    path.write_bytes(good + b"\0")
    assert attempt(load, path) is None


def test_the_checksum_is_the_documented_one_and_the_bytes_are_the_same_each_time(folder: Path) -> None:
    net = trained_model()
    data = saved(net, folder)
    assert data == saved(net, folder)
    assert data == model_bytes.of(*model_bytes.parts(data))


def test_the_order_and_the_padding_of_the_header_do_not_matter(folder: Path) -> None:
    net = small_model()
    data = saved(net, folder)
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    written = json.dumps(dict(reversed(header.items())), indent=1).encode() + b" " * 5
    path = folder / "other.safetensors"
    path.write_bytes(len(written).to_bytes(8, "little") + written + data[8 + length :])
    assert same(load(path), net)


# -- files of earlier versions ----------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["0.1", "0.2"])
def test_files_without_a_checksum_are_read_and_that_is_logged(version: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="mlp"):
        net = load(OLD / f"model-{version}.safetensors")
    [record] = caplog.records
    assert f"has no checksum, because it was written by mlp {version}.0" in record.getMessage()
    assert net.classes == ("no", "yes")
    assert net.preprocessing.feature_names == ("age", "city=Bergen", "city=Oslo")
    assert same(net, load(OLD / "model-0.2.safetensors"))


@pytest.mark.parametrize("version", ["0.1", "0.2"])
def test_training_states_without_a_checksum_resume(version: str) -> None:
    net = load(OLD / f"training-{version}.safetensors")
    history = net.fit(X[:, :2], X[:, 2], epochs=5, batch_size=5, resume=True)
    assert len(history) == 5


# -- mutations of the metadata ----------------------------------------------------------------------------

NASTY = [
    None, True, False, 0, -1, 1, 2, 10**9, 2**63, 2**64, 10**400, -(10**400), 0.5, -0.5, 1e308, 1e-320, float("nan"),
    float("inf"), -float("inf"), "", "relu", "tanh", "softmax", "sgd", "adam", "standard", "float64", "a" * 5000, "\0",
    "\ud800", "\x1b[2J", [], {}, [[]], [{}], [None], [0], [1.0, 2.0], ["a", "a"], [float("nan")], {"a": 1},
    {"name": "x"}, {"name": {}}, {"name": "step", "learning_rate": 1, "every": 0}, {"name": "constant"}, [1] * 1000,
    ["x"] * 2, [[1], [0]],
]  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path to every part of plain data."""
    yield path
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, entry in entries:
        yield from places(entry, (*path, key))


def changed(value: Any, path: tuple[Any, ...], action: str, new: Any) -> Any:
    """A copy with the part at `path` replaced, removed, or given another entry."""
    if not path:
        if action == "add" and isinstance(value, dict):
            return value | {"unknown": new}
        return [*value, new] if action == "add" and isinstance(value, list) else new
    copied = value.copy()
    if len(path) == 1 and action == "remove":
        del copied[path[0]]
    else:
        copied[path[0]] = changed(value[path[0]], path[1:], action, new)
    return copied


def mutation(document: Any) -> st.SearchStrategy[Any]:
    found = sorted(places(document), key=len)[1:]
    one = st.tuples(
        st.sampled_from(found), st.sampled_from(["replace", "replace", "remove", "add"]), st.sampled_from(NASTY)
    )
    return one.map(lambda change: changed(document, *change))


mutated = settings(
    max_examples=10_000 if THOROUGH else 200, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def use(path: Path) -> None:
    """Load and use a file as a program would."""
    net = load(path)
    assert np.isfinite(net.feedforward(X[:, : net.sizes[0]])).all()
    if net.training_state is not None:
        with np.errstate(all="ignore"):
            net.fit(X, Y, epochs=net.training_state.epoch + 1, batch_size=4, resume=True)


@pytest.fixture(scope="module")
def trained_parts(folder: Path) -> tuple[Any, Any]:
    return model_bytes.parts(saved(trained_model(), folder))


def test_null_for_infinity_is_for_standard_json_only(trained_parts: tuple[Any, Any], run: Path, folder: Path) -> None:
    description, tensors = trained_parts
    best = ("training", "optimizer", "learning_rate", "best")
    path = folder / "null.safetensors"
    path.write_bytes(model_bytes.of(changed(description, best, "replace", None), tensors))
    with pytest.raises(mlp.FileFormatError, match="best is None, expected a number"):
        load(path)
    assert runs.read_config(run)["training"]["optimizer"]["learning_rate"]["best"] is None


@mutated
@given(data=st.data())
def test_no_change_of_the_metadata_gives_another_error(data: Any, trained_parts: Any, folder: Path) -> None:
    description, tensors = trained_parts
    path = folder / "mutated.safetensors"
    path.write_bytes(model_bytes.of(data.draw(mutation(description)), tensors, checksum=data.draw(st.booleans())))
    attempt(use, path)
    attempt(persistence.inspect, path)


@settings(mutated, max_examples=2000 if THOROUGH else 60)
@given(data=st.data())
def test_no_change_of_the_tensors_gives_another_error(data: Any, trained_parts: Any, folder: Path) -> None:
    description, tensors = trained_parts
    name = data.draw(st.sampled_from(sorted(tensors)))
    other = data.draw(
        st.sampled_from(
            [
                None,
                np.zeros((0, 2), np.float32),
                np.zeros(2),
                np.zeros((3, 2), np.int32),
                np.full_like(tensors[name], np.nan),
            ]
        )
    )
    held = {key: array for key, array in (tensors | {name: other}).items() if array is not None}
    path = folder / "tensors.safetensors"
    path.write_bytes(model_bytes.of(description, held))
    assert attempt(use, path) is None


@pytest.mark.parametrize(
    "text",
    ["null", "[]", "1", '"x"', "{}", "", "{", "[" * 10**5, '{"a":' * 10**5, '{"config": {}, "config": {}}', "1" * 5000],
)
def test_metadata_that_describes_no_network_is_refused(text: str, folder: Path) -> None:
    path = folder / "text.safetensors"
    path.write_bytes(model_bytes.of(text, {"layers.0.weight": np.eye(2)}, checksum=False))
    with pytest.raises(mlp.FileFormatError, match=r"text\.safetensors' is damaged|has format version None"):
        mlp.load(path)
    assert attempt(load, path) is None


def test_a_key_that_occurs_twice_is_refused(folder: Path) -> None:
    description, tensors = model_bytes.parts(saved(small_model(), folder))
    text = json.dumps(description).replace('"l2": 0.0', '"l2": 0.0, "l2": 0.5')
    path = folder / "twice.safetensors"
    path.write_bytes(model_bytes.of(text, tensors))
    with pytest.raises(mlp.FileFormatError, match="its JSON has the key 'l2' twice"):
        mlp.load(path)


# -- run folders ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(folder: Path) -> Path:
    """The folder of a run on a small file."""
    np.savez(folder / "rows.npz", X=X, y=Y)
    source = {"source": str(folder / "rows.npz"), "test_fraction": 0.25, "seed": 0}
    dataset = mlp.data.load(**source)
    training = {
        "epochs": 2, "batch_size": 4, "validation_fraction": 0.25, "early_stopping": {"patience": 3},
        "optimizer": mlp.Adam(mlp.schedules.ReduceOnPlateau(0.01)).to_dict(),
    }  # fmt: skip
    recorder = runs.Recorder(runs.configuration(dataset, source, training), folder / "run")
    runs.train(mlp.MLP([3, 2, 2], classes=["no", "yes"], backend="numpy"), dataset, recorder)
    return recorder.folder


def use_run(path: Path) -> None:
    config = runs.read_config(path.parent)
    read_run(path.parent)
    if config["training"]["epochs"] < 5:
        runs.repeat(path.parent)
    runs.resume(path.parent)


@settings(mutated, max_examples=4000 if THOROUGH else 80)
@given(data=st.data())
def test_no_change_of_the_configuration_gives_another_error(data: Any, run: Path) -> None:
    path = run / "config.json"
    good = path.read_text()
    try:
        path.write_text(json.dumps(data.draw(mutation(json.loads(good)))))
        attempt(use_run, path)
    finally:
        path.write_text(good)


def test_no_truncation_of_the_configuration_gives_another_error(run: Path) -> None:
    path = run / "config.json"
    good = path.read_text()
    try:
        for size in reversed(range(len(good.rstrip()))):
            os.truncate(path, size)
            assert attempt(lambda path: runs.read_config(path.parent), path) is None
        for text in ("null", "[]", "[" * 10**5, '{"format_version": 1, "format_version": 1}', "1" * 5000):
            path.write_text(text)
            assert attempt(lambda path: runs.read_config(path.parent), path) is None
    finally:
        path.write_text(good)
    assert runs.read_config(run)["data"]["source"].endswith("rows.npz")


# -- nothing is executed ------------------------------------------------------------------------------------


def test_reading_any_file_imports_starts_and_executes_nothing(folder: Path) -> None:
    """After one good file, with an audit hook, which sees every import, process, connection and open file."""
    good = saved(trained_model(), folder)
    description, tensors = model_bytes.parts(good)
    rng = np.random.default_rng(0)
    found = list(places(description))[1:]
    program = """
import pathlib, sys, mlp
from mlp import persistence
good, *bad = sorted(pathlib.Path(sys.argv[1]).iterdir())
mlp.load(good, backend="numpy")
events, seen = set(), []
sys.addaudithook(lambda event, arguments: seen.append((event, str(arguments[:2]))))
def read(path):
    seen.clear()
    try:
        mlp.load(path, backend="numpy")
        persistence.inspect(path)
    except mlp.MLPError:
        pass
    return {(event, "" if event != "open" else arguments.replace(path.name, "FILE")) for event, arguments in seen}
usual = read(good)
for path in bad:
    assert read(path) <= usual, (path, read(path) - usual)
print(sorted({event for event, _ in usual}))
"""
    corpus = folder / "corpus"
    corpus.mkdir()
    (corpus / "0000").write_bytes(good)
    for number in range(1, 300):
        path, new = found[rng.integers(len(found))], NASTY[rng.integers(len(NASTY))]
        data = model_bytes.of(changed(description, path, "replace", new), tensors)
        if number % 3 == 0:
            data = bytearray(good)
            data[rng.integers(len(good))] ^= 1 << rng.integers(8)
        (corpus / f"{number:04d}").write_bytes(data)
    events = json.loads(_python(program, str(corpus)).replace("'", '"'))
    assert not {"import", "exec", "compile", "os.system", "subprocess.Popen", "socket.connect"} & set(events)


def _python(program: str, *arguments: str) -> str:
    process = subprocess.run(
        [sys.executable, "-c", program, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=120,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    return process.stdout


# -- time and memory ------------------------------------------------------------------------------------------


def bombs() -> Iterator[tuple[str, bytes]]:
    """Files that are made to use up time or memory."""
    net = mlp.MLP([2, 2], backend="numpy")
    tensors = {f"layers.0.{part}": array for part, array in (("weight", net.weights[0]), ("bias", net.biases[0]))}
    config = net.get_config()
    whole = {
        "format_version": 1, "written_by": "mlp 0.2.0", "config": config, "class_numbers": False, "preprocessing": None,
    }  # fmt: skip

    def of(**changes: Any) -> bytes:
        return model_bytes.of(whole | {"config": config | changes}, tensors)

    ones = {"activation": ["relu"] * 239_999, "dropout": [0] * 239_999, "init": ["zeros"] * 240_000}
    text = json.dumps(whole).replace('"sizes": [2, 2]', f'"sizes": [{"1, " * 3_999_999}1]')
    yield "sizes of four million ones", model_bytes.of(text, tensors)
    yield "sizes of 240 001 ones", of(sizes=[1] * 240_001, **ones)
    yield "huge layers", of(sizes=[2**40, 2**40])
    yield "a million activations", of(activation=["relu"] * 10**6)
    yield "a name of ten million letters", of(loss="a" * 10**7)
    yield "a number of many digits", of(seed=10**4000)
    yield "a million classes", of(classes=list(range(10**6)))
    columns = [{"name": "a" * 10**6, "categories": [f"{n:04d}" for n in range(1000)]}]
    yield (
        "long names of many categories",
        model_bytes.of(whole | {"preprocessing": {"scale": "none", "columns": columns}}, tensors),
    )
    many = [{"name": f"x{n}", "fill": 0, "shift": 0, "scale": 1} for n in range(40_000)]
    yield "many columns", model_bytes.of(whole | {"preprocessing": {"scale": "none", "columns": many}}, tensors)
    yield "deep lists", model_bytes.of("[" * 10**6, tensors, checksum=False)
    # of each kind of part, more than are read, and nearly as many as are read
    parts = {
        "objects": ('{"":0},', 99_000),
        "lists": ("[],", 99_000),
        "strings": ('"ab",', 240_000),
        "numbers": ("257,", 490_000),
    }
    for name, (part, most) in parts.items():
        for word, count in (("too many", 3 * most), ("many", most)):
            text = f'{{"format_version": 1, "x": [{(part * count)[:-1]}]}}'
            yield f"{word} {name}", model_bytes.of(text, tensors, checksum=False)
    keys = ",".join(f'"{n:x}":0' for n in range(200_000))
    yield "many keys", model_bytes.of(f'{{"format_version": 1, "x": {{{keys}}}}}', tensors, checksum=False)
    for word, count in (("too many", 300_000), ("many", 33_000)):
        entries = ",".join(f'"{n}":{{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}' for n in range(count))
        written = json.dumps({"__metadata__": {"mlp": json.dumps(whole)}})[:-1] + f",{entries}}}"
        yield f"{word} tensors", len(written).to_bytes(8, "little") + written.encode()
    yield "a header longer than the file", (10**15).to_bytes(8, "little") + b"{}"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the memory of a single call is measured in a child process")
def test_hostile_files_are_refused_in_little_time_and_memory(folder: Path) -> None:
    program = """
import json, os, pathlib, resource, sys, time, mlp
from mlp import persistence
def read(path):
    try:
        mlp.load(path, backend="numpy")
    except mlp.MLPError as error:
        return len(str(error))
    sys.exit("was read")
warm = pathlib.Path(sys.argv[1]).parent / "warm"
warm.write_bytes(b"no model")
read(warm)
for path in sorted(pathlib.Path(sys.argv[1]).iterdir()):
    child = os.fork()
    if not child:
        before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
        length = read(path)
        seconds = time.process_time() - start
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before  # in KiB, on macOS in bytes
        memory *= 1 if sys.platform == "darwin" else 1024
        print(json.dumps([path.name, path.stat().st_size, seconds, memory, length]), flush=True)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0, path
"""
    corpus = folder / "bombs"
    corpus.mkdir()
    for name, data in bombs():
        (corpus / name).write_bytes(data)
    lines = _python(program, str(corpus)).splitlines()
    assert len(lines) == len(list(corpus.iterdir()))
    for line in lines:
        name, size, seconds, memory, length = json.loads(line)
        print(f"{name}: {size / 1e6:.1f} MB, {seconds:.2f} s, {memory / 1e6:.0f} MB more")
        assert seconds < 1, name
        assert memory < 2 * size + 64e6, name
        assert length < LONGEST_MESSAGE + 2 * len(str(corpus)), name


def test_a_network_that_could_not_be_read_is_not_saved(folder: Path) -> None:
    net = mlp.MLP([2, 2], backend="numpy", classes=["a", float("inf")])
    net.save(folder / "infinite.safetensors")
    assert load(folder / "infinite.safetensors").classes == ("a", float("inf"))
    unreadable = mlp.MLP([2, 1], loss="mse", target_scaling=([float("nan")], [1.0]), backend="numpy")
    with pytest.raises(mlp.ConfigurationError, match=r"cannot be saved: .*target_scaling\[0\]\[0\] is nan"):
        unreadable.save(folder / "unreadable.safetensors")
    assert not (folder / "unreadable.safetensors").exists()
