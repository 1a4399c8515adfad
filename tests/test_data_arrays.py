"""NPY and NPZ readers: equal to numpy for valid files; typed errors, without large allocations, for invalid ones."""

from __future__ import annotations

import copy
import io
import os
import subprocess
import sys
import tracemalloc
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mlp import MLP
from mlp._backends import DataError, DtypeError, FileFormatError, MLPError
from mlp.data import load, read_npy, read_npz

ROOT = Path(__file__).parent.parent

dtypes = st.one_of(
    hnp.boolean_dtypes(), hnp.integer_dtypes(endianness="?"), hnp.unsigned_integer_dtypes(), hnp.floating_dtypes()
)
arrays = hnp.arrays(dtypes, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=5))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("arrays")


def npy_bytes(array: np.ndarray[Any, Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def npy_header(text: str) -> bytes:
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


def peak_memory_of_rejection(path: Path) -> int:
    """Peak memory in bytes while an invalid file is read and rejected."""
    tracemalloc.start()
    try:
        with pytest.raises(FileFormatError):
            (read_npz if path.suffix == ".npz" else read_npy)(path)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@given(array=arrays, fortran=st.booleans())
@settings(deadline=None, max_examples=150)
def test_npy_round_trip(folder: Path, array: np.ndarray[Any, Any], fortran: bool) -> None:
    path = folder / "a.npy"
    np.save(path, np.asarray(array, order="F" if fortran else "C"))
    result = read_npy(path)
    assert result.dtype == array.dtype.newbyteorder("=")
    np.testing.assert_array_equal(result, array)


@given(first=arrays, second=arrays, compressed=st.booleans())
@settings(deadline=None, max_examples=100)
def test_npz_round_trip(
    folder: Path, first: np.ndarray[Any, Any], second: np.ndarray[Any, Any], compressed: bool
) -> None:
    path = folder / "a.npz"
    (np.savez_compressed if compressed else np.savez)(path, first=first, second=second)
    result = read_npz(path)
    assert list(result) == ["first", "second"]
    np.testing.assert_array_equal(result["first"], first)
    np.testing.assert_array_equal(result["second"], second)


@given(array=arrays, data=st.data())
@settings(deadline=None, max_examples=100)
def test_every_truncation_is_refused(folder: Path, array: np.ndarray[Any, Any], data: st.DataObject) -> None:
    raw = npy_bytes(array)
    (folder / "short.npy").write_bytes(raw[: data.draw(st.integers(0, len(raw) - 1))])
    with pytest.raises(FileFormatError, match=r"short\.npy"):
        read_npy(folder / "short.npy")
    buffer = io.BytesIO()
    np.savez_compressed(buffer, X=array)
    raw = buffer.getvalue()
    (folder / "short.npz").write_bytes(raw[: data.draw(st.integers(0, len(raw) - 1))])
    with pytest.raises(FileFormatError, match=r"short\.npz"):
        read_npz(folder / "short.npz")


@given(array=arrays, kind=st.sampled_from(["npy", "npz", "compressed npz"]), data=st.data())
@settings(deadline=None, max_examples=400)
@pytest.mark.filterwarnings("ignore")  # with a flipped byte, the header may be Python code that warns
def test_flipped_bytes_raise_our_errors_only(
    folder: Path, array: np.ndarray[Any, Any], kind: str, data: st.DataObject
) -> None:
    buffer = io.BytesIO()
    {"npy": np.save, "npz": np.savez, "compressed npz": np.savez_compressed}[kind](buffer, array)
    raw = bytearray(buffer.getvalue())
    for position in data.draw(st.lists(st.integers(0, len(raw) - 1), min_size=1, max_size=4)):
        raw[position] = data.draw(st.integers(0, 255))
    path = folder / f"flipped.{kind[-3:]}"
    path.write_bytes(raw)
    tracemalloc.start()
    try:
        (read_npy if kind == "npy" else read_npz)(path)
    except MLPError:
        pass
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 3 * 2**20


@given(
    junk=st.binary(max_size=300),
    prefix=st.sampled_from([b"", b"\x93NUMPY\x01\x00", b"\x93NUMPY\x02\x00", b"PK\x03\x04"]),
)
@settings(deadline=None, max_examples=100)
def test_junk_is_refused(folder: Path, junk: bytes, prefix: bytes) -> None:
    for path, read in ((folder / "junk.npy", read_npy), (folder / "junk.npz", read_npz)):
        path.write_bytes(prefix + junk)
        with pytest.raises(FileFormatError, match="junk"):
            read(path)


def test_128_bytes_that_declare_32_gib_take_no_memory(tmp_path: Path) -> None:
    header = npy_header("{'descr': '<f8', 'fortran_order': False, 'shape': (65536, 65536), }".ljust(117) + "\n")
    assert len(header) == 128
    (tmp_path / "hostile.npy").write_bytes(header)
    assert peak_memory_of_rejection(tmp_path / "hostile.npy") < 2**20
    with zipfile.ZipFile(tmp_path / "hostile.npz", "w") as archive:
        archive.writestr("X.npy", header)
    assert peak_memory_of_rejection(tmp_path / "hostile.npz") < 2**20


def test_a_header_length_of_4_gib_takes_no_memory(tmp_path: Path) -> None:
    (tmp_path / "hostile.npy").write_bytes(b"\x93NUMPY\x02\x00\xff\xff\xff\xff" + b" " * 100)
    assert peak_memory_of_rejection(tmp_path / "hostile.npy") < 2**20


def test_a_false_size_in_the_zip_directory_takes_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "hostile.npz"
    header = npy_header(f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({2**30},), }}\n")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("X.npy", header)
    raw = bytearray(path.read_bytes())
    directory = raw.index(b"PK\x01\x02")
    raw[directory + 24 : directory + 28] = (len(header) + 2**30).to_bytes(4, "little")  # the expanded size
    path.write_bytes(raw)
    assert peak_memory_of_rejection(path) < 2**20


def test_overlapping_members_are_bounded_together(tmp_path: Path) -> None:
    path = tmp_path / "overlap.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("X.npy", npy_bytes(np.zeros(2**22, dtype=np.uint8)))
        whole = archive.infolist()[0]
        for i in range(8):
            duplicate = copy.copy(whole)
            duplicate.filename = duplicate.orig_filename = f"{i}.npy"
            archive.filelist.append(duplicate)
    with pytest.raises(FileFormatError, match="cannot hold more than"):
        read_npz(path)


def test_a_zip_bomb_meets_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "bomb.npz"
    np.savez_compressed(path, X=np.zeros(2**20, dtype=np.uint8))
    with pytest.raises(FileFormatError, match="above the limit of 1000; if you trust it"):
        read_npz(path, max_bytes=1000)
    assert read_npz(path)["X"].shape == (2**20,)


@pytest.mark.parametrize(
    "array",
    [
        np.array([{"a": 1}], dtype=object),
        np.array(["text"]),
        np.array([1 + 2j]),
        np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")]),
        np.array(["2020-01-01"], dtype="datetime64[D]"),
    ],
    ids=["object", "text", "complex", "structured", "date"],
)
def test_only_real_numbers_are_read(tmp_path: Path, array: np.ndarray[Any, Any]) -> None:
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    with pytest.raises(DtypeError, match="expected booleans, integers or floating-point"):
        read_npy(tmp_path / "a.npy")
    np.savez(tmp_path / "a.npz", X=array)
    with pytest.raises(DtypeError, match="array 'X' of"):
        read_npz(tmp_path / "a.npz")


def test_trailing_bytes_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.npy").write_bytes(npy_bytes(np.zeros(3)) + b"\0")
    with pytest.raises(FileFormatError, match="152 bytes with its header, but has 153"):
        read_npy(tmp_path / "a.npy")


@pytest.mark.parametrize("shape", ["(-1,)", "(0, 4611686018427387904, 4)", "(" + "1, " * 65 + ")"])
def test_impossible_shapes_are_refused(tmp_path: Path, shape: str) -> None:
    header = npy_header(f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}}}\n")
    (tmp_path / "a.npy").write_bytes(header + b"\0")
    with pytest.raises(FileFormatError, match="impossible shape"):
        read_npy(tmp_path / "a.npy")


@pytest.mark.parametrize(
    ("names", "method", "message"),
    [
        (["X.npy", "X.npy"], zipfile.ZIP_STORED, "'X.npy' twice"),
        (["../X.npy"], zipfile.ZIP_STORED, "not an array written by"),
        (["X.txt"], zipfile.ZIP_STORED, "not an array written by"),
        (["X.npy"], zipfile.ZIP_BZIP2, "another method than deflate"),
        ([], zipfile.ZIP_STORED, "holds no arrays"),
    ],
    ids=["duplicate", "path", "text", "bzip2", "empty"],
)
def test_foreign_archives_are_refused(tmp_path: Path, names: list[str], method: int, message: str) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w", method) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # from zipfile, about the duplicate name
        for name in names:
            archive.writestr(name, npy_bytes(np.zeros(3)))
    with pytest.raises(FileFormatError, match=message):
        read_npz(tmp_path / "a.npz")


# -- memory -----------------------------------------------------------------------------------------------


def anonymous_memory(program: str, *arguments: str) -> int:
    """Largest memory in bytes, beside pages of files, that a program takes in a process of its own."""
    watch = """
import sys, threading, time
import numpy as np
import mlp
from mlp.cli import input_rows
peak, done = 0, threading.Event()
def anonymous():
    lines = open("/proc/self/status").read().splitlines()
    return 1024 * int(next(line.split()[1] for line in lines if line.startswith("RssAnon")))
def watch():
    global peak
    while not done.wait(0.002):
        peak = max(peak, anonymous())
net = mlp.MLP([32, 1], loss="mse", backend="numpy")
net.fit(np.zeros((20, 32)), np.arange(20.0), epochs=1)
before = anonymous()
thread = threading.Thread(target=watch)
thread.start()
"""
    end = "\ndone.set()\nthread.join()\nprint(peak - before)"
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", watch + program + end, *arguments], env=environment, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    return int(done.stdout)


@pytest.fixture(scope="module", params=["C", "F", "big-endian"])
def large(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A matrix of 33 columns of float64, 53 MB."""
    X = np.random.default_rng(0).normal(size=(200_000, 33))
    path = tmp_path_factory.mktemp("large") / "large.npy"
    np.save(path, X.astype(">f8") if request.param == "big-endian" else np.asarray(X, order=request.param))
    return path


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="memory is read from Linux's /proc")
@pytest.mark.parametrize(
    ("program", "copies"),
    [
        ("mlp.data.load(sys.argv[1])", 1.25),
        ("mlp.data.load(sys.argv[1], scale='standard')", 1.9),
        ("data = mlp.data.load(sys.argv[1]); net.fit(data.X, data.y, epochs=1, batch_size=1000)", 1.75),
        ("net.predict(input_rows._inputs_only(sys.argv[1], None, '-1'))", 0.25),
        ("net.predict(input_rows._inputs_only(sys.argv[1], None, '0'))", 0.25),
    ],
)
def test_the_rows_of_a_file_are_not_copied_more_often_than_needed(large: Path, program: str, copies: float) -> None:
    assert anonymous_memory(program, str(large)) < copies * large.stat().st_size + 2**23


def test_a_mapped_file_gives_the_same_data_set_and_predictions_in_any_order(tmp_path: Path) -> None:
    X = np.random.default_rng(0).normal(size=(50, 4))
    net = MLP([3, 2], backend="numpy")
    results = []
    for number, array in enumerate((X, np.asfortranarray(X), X.astype(">f8"))):
        path = tmp_path / f"{number}.npy"
        np.save(path, array)
        for scale in (None, "minmax"):
            for target in (0, 1, 3):
                dataset = load(path, target=target, scale=scale)
                assert dataset.X.dtype == dataset.X.dtype.newbyteorder("=")
                assert dataset.y.dtype == dataset.y.dtype.newbyteorder("=")
                results.append([dataset.X, dataset.X_test, dataset.y, dataset.y_test, net.predict(dataset.X)])
    for i, result in enumerate(results[6:]):
        for array, expected in zip(result, results[i % 6], strict=True):
            np.testing.assert_array_equal(array, expected)


def test_changes_of_a_mapped_array_do_not_reach_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    np.save(path, np.zeros(3))
    array = read_npy(path)
    assert type(array) is np.ndarray
    array += 1
    assert read_npy(path).tolist() == [0, 0, 0]


def test_a_value_too_large_for_the_network_is_named_with_its_row_in_the_file(tmp_path: Path) -> None:
    X = np.zeros((10_000, 2))
    X[9000, 1] = 1e300
    np.save(tmp_path / "a.npy", X)
    with pytest.raises(DataError, match=r"X\[9000, 1\] is inf, and 1 of its 20000 values are not finite.*too large"):
        MLP([2, 2], backend="numpy").predict(read_npy(tmp_path / "a.npy"))


def test_values_that_are_not_finite_are_named_with_their_row_and_column(tmp_path: Path) -> None:
    X = np.zeros((300_000, 3))
    X[250_000, 1], X[250_001, 0] = np.nan, np.inf
    np.save(tmp_path / "a.npy", X)
    with pytest.raises(DataError, match=r"in rows 250000, 250001 \(counted from 0\), first in column 1"):
        load(tmp_path / "a.npy")
    with pytest.raises(DataError, match=r"in row 250001 \(counted from 0\), first in column 0"):
        load(tmp_path / "a.npy", scale="standard")
