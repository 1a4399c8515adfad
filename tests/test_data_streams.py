"""Data read in blocks: every row once and in order, and the same decisions, classes and preprocessing as in memory."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mlp import MLP, DataError, MLPError, ShapeError
from mlp._backends import ConfigurationError, FileFormatError, UnknownNameError, random
from mlp.data import Preprocessing, RowStream, StreamedDataset, load, stream
from mlp.data.streams import npy_source, npy_stream
from mlp.data.streams.encoded_targets import EncodedTargets
from mlp.dataset_networks import network_for

ROOT = Path(__file__).parent.parent
Array = np.ndarray[Any, Any]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("streams")


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(npy_source, "BLOCK_BYTES", 1000)


def saved(folder: Path, name: str, array: Array) -> Path:
    np.save(folder / name, array)
    return folder / name


def rows_of(part: RowStream) -> tuple[Array, Array]:
    blocks = [part.read(block) for block in range(len(part.block_rows))]
    assert [len(X) for X, _ in blocks] == [len(y) for _, y in blocks] == part.block_rows.tolist()
    return np.concatenate([X for X, _ in blocks]), np.concatenate([y for _, y in blocks])


def in_file_order(path: Path, **arguments: Any) -> tuple[Any, Array, Array]:
    """What `load` makes of all rows, in the order of the file."""
    dataset = load(path, test_fraction=0, **arguments)
    assert dataset.rows is not None
    order = np.argsort(dataset.rows)
    return dataset, dataset.X[order], dataset.y[order]


def require_same_description(data: StreamedDataset, loaded: Any) -> None:
    for name in ("name", "task", "classes", "feature_names", "input_scale", "n_inputs", "n_outputs", "task_reason"):
        assert getattr(data, name) == getattr(loaded, name), name


# -- blocks -----------------------------------------------------------------------------------------------

dtypes = st.one_of(
    hnp.integer_dtypes(endianness="?"), hnp.unsigned_integer_dtypes(endianness="?"), hnp.floating_dtypes(endianness="?")
)


@given(
    st.data(),
    st.integers(1, 40),
    st.integers(2, 5),
    dtypes,
    st.integers(1, 400),
    st.sampled_from(["int8", "bool", "f8"]),
)
def test_every_row_is_read_once_and_in_order(
    folder: Path, data: st.DataObject, n: int, k: int, dtype: np.dtype[Any], block_bytes: int, kind: str
) -> None:
    finite = st.integers(0, 100).map(float) if dtype.kind == "f" else None
    X = data.draw(hnp.arrays(dtype, (n, k), elements=finite))
    y = np.arange(n) % 2 if kind != "f8" else np.arange(n) / 3
    if kind != "f8" and n < 2:
        return
    pair = saved(folder, "X.npy", X), saved(folder, "y.npy", y.astype(kind))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(npy_source, "BLOCK_BYTES", block_bytes)
        streamed = stream(pair[0], target=pair[1], test_fraction=0)
    assert len(streamed.train.block_rows) == -(-n // max(block_bytes // (X[0].nbytes + y.astype(kind).itemsize), 1))
    read_X, read_y = rows_of(streamed.train)
    np.testing.assert_array_equal(read_X, X)
    loaded, _, expected = in_file_order(pair[0], target=pair[1])
    np.testing.assert_array_equal(read_y, expected)
    assert read_y.dtype == expected.dtype
    assert streamed.train.is_bytes == (read_X.dtype == np.uint8)
    assert read_X.dtype.kind == "f" or read_X.dtype == np.uint8
    require_same_description(streamed, loaded)


@pytest.mark.parametrize("target", [None, 0, "2", -1])
@pytest.mark.parametrize("dtype", ["float64", ">f4", "int32", "uint8", ">u2", "bool", "float16", "longdouble"])
def test_a_matrix_has_the_inputs_the_targets_and_the_task_that_it_has_in_memory(
    tmp_path: Path, small_blocks: None, dtype: str, target: Any
) -> None:
    matrix = np.random.default_rng(0).integers(0, 2 if dtype == "bool" else 60, (300, 4))
    matrix[:, 2] = matrix[:, 0] >= np.median(matrix[:, 1])
    path = saved(tmp_path, "m.npy", matrix.astype(dtype))
    data = stream(path, target=target, test_fraction=0)
    assert len(data.train.block_rows) > 1 or dtype in ("uint8", "bool")
    loaded, X, y = in_file_order(path, target=target)
    for name in ("task", "classes", "feature_names", "input_scale", "n_inputs", "n_outputs"):
        assert getattr(data, name) == getattr(loaded, name), name
    read_X, read_y = rows_of(data.train)
    np.testing.assert_array_equal(read_X, X)
    np.testing.assert_array_equal(read_y, y)
    if data.classes is not None:
        half = stream(path, target=target, test_fraction=0.5)
        assert half.class_counts is not None
        np.testing.assert_array_equal(half.class_counts, np.bincount(rows_of(half.train)[1]))


def test_images_of_bytes_are_flattened_and_scaled_as_in_memory(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (60, 4, 5), dtype=np.uint8)
    path, target = saved(tmp_path, "X.npy", images), saved(tmp_path, "y.npy", np.arange(60) % 3)
    data, (loaded, X, _) = stream(path, target=target, test_fraction=0), in_file_order(path, target=target)
    require_same_description(data, loaded)
    assert (data.input_scale, data.train.is_bytes, data.n_inputs) == (1 / 255, True, 20)
    np.testing.assert_array_equal(rows_of(data.train)[0], X)
    np.testing.assert_array_equal(X, images.reshape(60, 20))
    scaled = stream(path, target=target, scale="minmax", test_fraction=0)
    assert (scaled.input_scale, scaled.train.is_bytes) == (None, False)


def test_one_hot_targets_and_several_numbers(tmp_path: Path) -> None:
    X = saved(tmp_path, "X.npy", np.random.default_rng(0).random((40, 3)))
    codes = np.arange(40) % 4
    one_hot = stream(X, target=saved(tmp_path, "y.npy", np.eye(4, dtype=int)[codes]), test_fraction=0)
    assert (one_hot.task, one_hot.classes) == ("classification", (0, 1, 2, 3))
    assert one_hot.class_counts is not None
    assert one_hot.class_counts.tolist() == [10] * 4
    np.testing.assert_array_equal(rows_of(one_hot.train)[1], codes)
    numbers = np.random.default_rng(1).random((40, 2))
    several = stream(X, target=saved(tmp_path, "y.npy", numbers))
    assert (several.task, several.n_outputs) == ("regression", 2)
    assert several.target_statistics is not None
    y = rows_of(several.train)[1]
    for name, expected in (("mean", y.mean(0)), ("std", y.std(0)), ("low", y.min(0)), ("high", y.max(0))):
        np.testing.assert_allclose(getattr(several.target_statistics, name), expected, rtol=1e-14)


@given(st.integers(2, 300), st.floats(0.05, 0.9), st.integers(0, 2**64 - 1), st.integers(1, 400))
def test_the_parts_have_every_row_once_whatever_the_blocks(
    folder: Path, n: int, fraction: float, seed: int, block_bytes: int
) -> None:
    path = saved(folder, "split.npy", np.column_stack([np.arange(n), np.arange(n) / 7]))
    parts = []
    for size in (block_bytes, 2**18):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(npy_source, "BLOCK_BYTES", size)
            if random.chosen_rows(seed, fraction, range(n)).sum() in (0, n):
                with pytest.raises(DataError, match=f"of {n} rows"):
                    stream(path, test_fraction=fraction, seed=seed, task="regression")
                return
            data = stream(path, test_fraction=fraction, seed=seed, task="regression")
        assert data.test is not None
        parts.append([rows_of(part)[0][:, 0] for part in (data.train, data.test)])
        statistics = data.target_statistics
        assert statistics is not None
        np.testing.assert_allclose(statistics.mean, parts[-1][0].mean() / 7, rtol=1e-13, atol=1e-13)
    for one, other in zip(*parts, strict=True):
        np.testing.assert_array_equal(one, other)
    assert sorted(np.concatenate(parts[0])) == list(range(n))


# -- preprocessing ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", ["none", "standard", "minmax", "robust"])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "int64", "bool", "uint64"])
def test_integers_have_the_same_preprocessing_to_the_bit(
    tmp_path: Path, small_blocks: None, dtype: str, scale: Any
) -> None:
    rng = np.random.default_rng(1)
    high = {"uint8": 256, "int16": 2000, "bool": 2}.get(dtype, 2**62)
    X = rng.integers(0, high, (700, 5)).astype(dtype)
    if dtype.startswith("int"):
        X = X * rng.choice([-1, 1], X.shape).astype(dtype)
    paths = saved(tmp_path, "X.npy", X), saved(tmp_path, "y.npy", rng.random(700))
    data = stream(paths[0], target=paths[1], scale=scale, seed=3)
    parts = [part for part in (data.train, data.test) if part is not None]
    mask = np.concatenate([data.train.mask(block) for block in range(len(data.train.block_rows))])  # type: ignore[attr-defined]
    expected = Preprocessing.fit(X[mask], scale)
    assert data.preprocessing == expected
    for part, rows in zip(parts, (mask, ~mask), strict=True):
        inputs, _ = rows_of(part)
        assert inputs.dtype == np.float32
        np.testing.assert_array_equal(inputs, expected.transform(X[rows]).astype(np.float32))


@pytest.mark.parametrize("scale", ["none", "standard", "minmax", "robust"])
def test_floats_with_missing_values_have_the_same_preprocessing_to_rounding(
    tmp_path: Path, small_blocks: None, scale: Any
) -> None:
    rng = np.random.default_rng(2)
    X = rng.normal(1000, 3, (900, 4)).astype(np.float32)
    X[rng.random(X.shape) < 0.2] = np.nan
    X[:600, 3] = np.nan  # whole blocks without a value
    X[:, 2] = 5.5
    paths = saved(tmp_path, "X.npy", X), saved(tmp_path, "y.npy", rng.random(900))
    data = stream(paths[0], target=paths[1], scale=scale, test_fraction=0)
    expected = Preprocessing.fit(X, scale)
    assert data.preprocessing is not None
    for column, reference in zip(data.preprocessing.columns, expected.columns, strict=True):
        assert column.fill == reference.fill  # type: ignore[union-attr]
        assert [column.shift, column.scale] == pytest.approx([reference.shift, reference.scale], rel=1e-13)  # type: ignore[union-attr]
    assert np.isfinite(rows_of(data.train)[0]).all()


def test_large_integers_are_exact_where_float64_is_not() -> None:
    X = np.array([[2**62 + i] for i in (0, 4000, 8000)])
    column = Preprocessing.fit(X).columns[0]
    assert column.scale == np.sqrt((2 * 4000**2) / 3)  # type: ignore[union-attr]


@pytest.mark.parametrize("readers", [1, 2, 5])
def test_nothing_depends_on_the_number_of_readers(
    tmp_path: Path, small_blocks: None, monkeypatch: pytest.MonkeyPatch, readers: int
) -> None:
    rng = np.random.default_rng(4)
    path = saved(tmp_path, "m.npy", rng.normal(size=(2000, 6)))
    one = stream(path, scale="standard")
    original = npy_stream.FirstPass
    monkeypatch.setattr(npy_stream, "FirstPass", lambda rows, **kwargs: original(rows, **kwargs | {"readers": readers}))
    other = stream(path, scale="standard")
    assert other.preprocessing == one.preprocessing
    assert other.train.fingerprint == one.train.fingerprint
    assert one.target_statistics is not None
    assert other.target_statistics is not None
    assert one.target_statistics.mean.tobytes() == other.target_statistics.mean.tobytes()


def test_the_fingerprint_is_the_hash_of_the_hashes_of_the_blocks(tmp_path: Path, small_blocks: None) -> None:
    X, y = np.random.default_rng(5).random((100, 3)).astype(">f4"), np.arange(100.0)
    data = stream(saved(tmp_path, "X.npy", X), target=saved(tmp_path, "y.npy", y), test_fraction=0)
    step = 1000 // (12 + 8)
    hashes = [
        hashlib.sha256(X[i : i + step].tobytes() + y[i : i + step].tobytes()).digest() for i in range(0, 100, step)
    ]
    assert data.train.fingerprint == hashlib.sha256(b"".join(hashes)).hexdigest()
    X[99, 2] += 1
    assert stream(saved(tmp_path, "X.npy", X), target=tmp_path / "y.npy", test_fraction=0).train.fingerprint != (
        data.train.fingerprint
    )


def test_progress_is_printed_to_the_standard_error(
    tmp_path: Path, small_blocks: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlp.data.streams.first_pass._SECONDS", -1)
    path = saved(tmp_path, "m.npy", np.random.default_rng(0).random((200, 3)))
    stream(path)
    assert capsys.readouterr() == ("", "")
    stream(path, progress=True)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert [f"{share} %" in shown.err for share in (20, 61, 100)] == [True] * 3


# -- networks ---------------------------------------------------------------------------------------------


def test_a_network_for_a_stream_is_that_for_the_same_rows_in_memory(tmp_path: Path) -> None:
    matrix = np.random.default_rng(6).random((200, 4))
    path = saved(tmp_path, "m.npy", matrix)
    streamed = network_for(stream(path, scale="minmax", test_fraction=0), [5])
    loaded = network_for(load(path, scale="minmax", test_fraction=0), [5])
    assert streamed.sizes == loaded.sizes
    np.testing.assert_allclose(streamed.predict(matrix[:, :3]), loaded.predict(matrix[:, :3]), rtol=1e-6)


# -- errors -----------------------------------------------------------------------------------------------


def test_a_file_that_is_shortened_changed_or_gone_is_an_error(tmp_path: Path) -> None:
    matrix = np.random.default_rng(0).random((1000, 50))
    path = saved(tmp_path, "m.npy", matrix)
    data = stream(path)
    os.truncate(path, 200_000)
    with pytest.raises(FileFormatError, match=r"has 200000 bytes, but had 400128 when.*do not shorten"):
        data.train.read(1)
    data = stream(saved(tmp_path, "m.npy", matrix))
    with path.open("r+b") as file:
        file.seek(300_000)
        file.write(b"changed")
    os.utime(path, ns=(1, 1))  # the clock of the file system may be coarse
    with pytest.raises(FileFormatError, match="has been changed while it was used"):
        data.train.read(0)


def test_a_read_that_returns_less_is_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    matrix = np.random.default_rng(0).random((500, 9))
    path = saved(tmp_path, "m.npy", matrix)
    read = os.preadv
    monkeypatch.setattr(os, "preadv", lambda file, buffers, place: read(file, [buffers[0][:1000]], place))
    np.testing.assert_array_equal(rows_of(stream(path, test_fraction=0).train)[0], matrix[:, :-1])


def test_labels_that_were_not_there_before_are_an_error() -> None:
    for values, classes in ((np.array([0, 7, 1]), (0, 1)), (np.array(["a", "x"], object), ("a", "b"))):
        with pytest.raises(DataError, match="the labels has labels now that it did not have before"):
            EncodedTargets("classification", "", "the labels", classes).encode(values)


def test_one_number_that_is_not_whole_makes_a_regression(tmp_path: Path, small_blocks: None) -> None:
    matrix = np.arange(900.0).reshape(300, 3) % 2
    matrix[0, 2] = 0.5
    data = stream(saved(tmp_path, "m.npy", matrix))
    assert (data.task, data.task_reason) == ("regression", "not whole numbers")


def test_files_beyond_the_limit_are_opened_for_each_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlp.data.streams.open_file._MAX_OPEN", 0)
    matrix = np.random.default_rng(0).random((100, 5))
    path = saved(tmp_path, "m.npy", matrix)
    data = stream(path, test_fraction=0)
    np.testing.assert_array_equal(rows_of(data.train)[0], matrix[:, :-1])
    path.unlink()
    with pytest.raises(FileFormatError, match=r"can no longer be opened.*leave the file in place"):
        data.train.read(0)


def test_files_are_read_without_reads_at_a_place_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    matrix = np.random.default_rng(0).random((5000, 20))
    path = saved(tmp_path, "m.npy", matrix)
    monkeypatch.delattr(os, "preadv")
    np.testing.assert_array_equal(rows_of(stream(path, test_fraction=0).train)[0], matrix[:, :-1])


def test_values_that_are_not_finite_are_named_with_their_rows(tmp_path: Path, small_blocks: None) -> None:
    matrix = np.random.default_rng(0).random((400, 3))
    matrix[7, 1] = np.nan
    matrix[[150, 160, 200, 222, 390], 0] = np.nan
    path = saved(tmp_path, "m.npy", matrix)
    expected = r"inputs are NaN or infinite in rows 7, 150, 160, 200, 222 and 1 more .*first in column 1; remove"
    with pytest.raises(DataError, match=expected):
        stream(path)
    stream(path, scale="standard")
    matrix[300, 0] = np.inf
    with pytest.raises(DataError, match=r"inputs are NaN or infinite in row 300 .*first in column 0"):
        stream(saved(tmp_path, "m.npy", matrix), scale="standard")
    matrix[:] = 1.5
    matrix[[3, 399], 2] = np.nan
    for task in (None, "regression", "classification"):
        with pytest.raises(DataError, match=r"column 2 is missing or infinite in rows 3, 399 \(counted from 0\)"):
            stream(saved(tmp_path, "m.npy", matrix), task=task)  # type: ignore[arg-type]


def test_targets_that_cannot_be_learnt_are_refused_as_in_memory(tmp_path: Path) -> None:
    X = saved(tmp_path, "X.npy", np.random.default_rng(0).random((60, 3)))
    cases: list[tuple[Array, dict[str, Any]]] = [
        (np.zeros(60, int), {}),
        (np.arange(60), {}),
        (np.ones((60, 2), int), {}),
        (np.arange(60) > 3, {"task": "regression"}),
        (np.zeros((60, 2, 2)), {}),
        (np.zeros(59), {}),
        (np.array(3.0), {}),
    ]
    for y, arguments in cases:
        target = saved(tmp_path, "y.npy", y)
        with pytest.raises(MLPError) as in_memory:
            load(X, target=target, **arguments)
        with pytest.raises(MLPError) as streamed:
            stream(X, target=target, **arguments)
        assert isinstance(streamed.value, (DataError, ShapeError))
        if len(y.shape) and len(y) == 60:
            assert str(streamed.value) == str(in_memory.value)


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        (
            "rows.csv",
            FileFormatError,
            r"convert it to Parquet: polars.scan_csv\('rows.csv'\).sink_parquet\('rows.parquet'\)",
        ),
        ("rows.csv.gz", FileFormatError, r"sink_parquet\('rows.parquet'\)"),
        ("rows.npz", FileFormatError, r"numpy.save\('X.npy', X\)"),
        ("-", ConfigurationError, "the standard input can be read once only"),
        ("digits", ConfigurationError, r"use mlp.data.load"),
        ("rows.txt", UnknownNameError, "unknown kind of file"),
        ("missing.npy", FileFormatError, "there is no file"),
    ],
)
def test_what_cannot_be_read_in_blocks_is_refused_with_the_remedy(
    name: str, error: type[MLPError], message: str
) -> None:
    with pytest.raises(error, match=message):
        stream(name)


def test_fortran_order_and_foreign_arguments_are_refused(tmp_path: Path) -> None:
    matrix = np.random.default_rng(0).random((20, 3))
    with pytest.raises(FileFormatError, match=r"Fortran order.*numpy.ascontiguousarray"):
        stream(saved(tmp_path, "f.npy", np.asfortranarray(matrix)))
    path = saved(tmp_path, "m.npy", matrix)
    for arguments, error, message in [
        ({"drop": ["a"]}, ConfigurationError, "drop names columns of a table"),
        ({"target": 3}, UnknownNameError, "has columns 0 to 2"),
        ({"target": ["a", "b"]}, ConfigurationError, "an NPY file has one target"),
        ({"task": "cluster"}, UnknownNameError, "task"),
        ({"scale": "big"}, UnknownNameError, "scale"),
        ({"test_fraction": 1}, ConfigurationError, "test_fraction is 1"),
        ({"seed": -1}, ConfigurationError, "seed"),
    ]:
        with pytest.raises(error, match=message):
            stream(path, **arguments)  # type: ignore[arg-type]
    with pytest.raises(ShapeError, match="expected rows of two columns or more"):
        stream(saved(tmp_path, "v.npy", np.arange(5)))
    with pytest.raises(ShapeError, match="expected one row or more"):
        stream(saved(tmp_path, "e.npy", np.zeros((0, 5))))


# -- memory -----------------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform != "linux", reason="limits of the address space are those of Linux")
def test_a_file_of_a_gigabyte_is_read_in_little_address_space(tmp_path: Path) -> None:
    header = np.lib.format.magic(1, 0)
    text = repr({"descr": "|u1", "fortran_order": False, "shape": (2**20, 1024)}).ljust(117) + "\n"
    path = tmp_path / "big.npy"
    path.write_bytes(header + len(text).to_bytes(2, "little") + text.encode())
    os.truncate(path, path.stat().st_size + 2**30)  # a sparse file: it takes no place on the disk
    program = """
import resource, sys
import numpy as np
import mlp
def status(name):
    return 1024 * int(next(line.split()[1] for line in open("/proc/self/status") if line.startswith(name)))
limit = status("VmSize") + 200 * 2**20
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
try:
    np.memmap(sys.argv[1])
    raise SystemExit("the limit has no effect")
except OSError:
    pass
data = mlp.data.stream(sys.argv[1], task="regression")
for block in range(0, len(data.train.block_rows), 97):
    data.train.read(block)
print(data.train.n_rows + data.test.n_rows, status("VmHWM"))  # ru_maxrss has that of the parent process in it
"""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    rows, resident = map(int, done.stdout.split())
    assert rows == 2**20
    assert resident < 200 * 2**20


def test_a_streamed_network_is_trained_on_the_rows_of_a_block(tmp_path: Path) -> None:
    matrix = np.random.default_rng(0).random((50, 3))
    data = stream(saved(tmp_path, "m.npy", matrix), test_fraction=0)
    X, y = data.train.read(0)
    history = MLP([2, 4, 1], loss="mse", backend="numpy").fit(X, y, epochs=2)
    assert len(history.loss) == 2
