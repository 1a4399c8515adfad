"""`load` and what it returns: digits, MNIST, NumPy files, toy sets, splits."""

from __future__ import annotations

import gzip
import hashlib
import os
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits

from mlp._backends import ConfigurationError, DataError, FileFormatError, MLPError, ShapeError, UnknownNameError
from mlp.data import Dataset, Preprocessing, load, toy
from mlp.data.splitting import split_rows

MNIST = Path(os.environ.get("MLP_DATA") or Path(__file__).parents[2] / "shared" / "data" / "mnist")
MNIST_FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


def test_importing_the_package_is_cheap() -> None:
    script = (
        "import sys, mlp._backends; before = set(sys.modules); import mlp.data; "
        "print({name.split('.')[0] for name in set(sys.modules) - before})"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "'mlp'" in done.stdout
    for library in ("sklearn", "polars", "scipy", "numba", "cupy", "pandas"):
        assert f"'{library}'" not in done.stdout


# --- splits


@given(
    labels=st.lists(st.integers(0, 4), min_size=2, max_size=80),
    fraction=st.floats(0.0, 0.99),
    seed=st.integers(0, 2**32),
)
@settings(deadline=None, max_examples=200)
def test_a_split_is_a_partition_in_proportion(labels: list[int], fraction: float, seed: int) -> None:
    y = np.array(labels)
    try:
        train, test = split_rows(len(y), fraction, seed, y)
    except DataError:
        assert round(len(y) * fraction) in (0, 1, len(y) - 1, len(y))
        return
    assert sorted([*train, *test]) == list(range(len(y)))
    assert abs(len(test) - fraction * len(y)) <= 0.5 + 1e-9
    for label in range(5):
        size = np.count_nonzero(y == label)
        assert abs(np.count_nonzero(y[test] == label) - fraction * size) < 1 + 1e-9
        if size >= 2 and fraction <= 0.5:
            assert label in y[train]


def test_splits_are_the_same_everywhere() -> None:
    train, test = split_rows(10, 0.3, seed=0)
    assert (train.tolist(), test.tolist()) == ([0, 9, 3, 5, 1, 2, 4], [8, 7, 6])
    assert not np.array_equal(train, split_rows(10, 0.3, seed=1)[0])


@pytest.mark.parametrize("arguments", [{"test_fraction": 1.0}, {"test_fraction": -0.1}, {"seed": -1}])
def test_arguments_out_of_range(arguments: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(arguments))):
        load("digits", **arguments)


# --- digits


def test_digits() -> None:
    data = load("digits")
    assert (data.X.shape, data.X_test.shape) == ((1438, 64), (359, 64))
    assert (data.X.dtype, data.y.dtype, data.input_scale) == (np.uint8, np.int64, 1 / 16)
    assert (data.classes, data.n_inputs, data.n_outputs) == (tuple(range(10)), 64, 10)
    pixels, labels = load_digits(return_X_y=True)
    rows = {image.tobytes(): label for image, label in zip(pixels.astype(np.uint8), labels, strict=True)}
    assert all(rows[image.tobytes()] == label for image, label in zip(data.X, data.y, strict=True))
    assert np.abs(np.bincount(data.y_test) - np.bincount(labels) * 0.2).max() < 1


def test_a_scale_replaces_the_input_scale() -> None:
    data = load("digits", scale="minmax")
    assert data.input_scale is None
    assert data.X.dtype == np.float64
    assert (data.X.min(), data.X.max()) == (0.0, 1.0)
    assert data.preprocessing == Preprocessing.fit(load("digits").X, "minmax")


def test_no_test_part() -> None:
    data = load("digits", test_fraction=0)
    assert len(data.X) == 1797
    assert data.X_test is None
    assert data.y_test is None


# --- MNIST


def idx(array: np.ndarray[Any, Any]) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


@pytest.fixture
def small_mnist(tmp_path: Path) -> Path:
    generator = np.random.default_rng(0)
    for part, n in (("train", 6), ("t10k", 4)):
        images = generator.integers(0, 256, (n, 3, 2), dtype=np.uint8)
        (tmp_path / f"{part}-images-idx3-ubyte").write_bytes(idx(images))
        (tmp_path / f"{part}-labels-idx1-ubyte").write_bytes(idx(np.arange(n, dtype=np.uint8) % 3 + 1))
    return tmp_path


def test_mnist_plain_compressed_and_with_dots(small_mnist: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = load("mnist", data_dir=small_mnist)
    assert (data.X.shape, data.X_test.shape, data.X.dtype) == ((6, 6), (4, 6), np.uint8)
    assert (data.y.tolist(), data.classes, data.input_scale) == ([0, 1, 2, 0, 1, 2], (1, 2, 3), 1 / 255)
    for path in list(small_mnist.iterdir()):
        (small_mnist / (path.name.replace("-idx", ".idx") + ".gz")).write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    monkeypatch.setenv("MLP_DATA", str(small_mnist))
    np.testing.assert_array_equal(load("mnist").X, data.X)


def test_mnist_without_a_folder_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLP_DATA", raising=False)
    with pytest.raises(ConfigurationError, match=r"--data-dir.*MLP_DATA.*train-images-idx3-ubyte, train-labels"):
        load("mnist")
    monkeypatch.setenv("MLP_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(DataError, match=r"no folder '.*nowhere', given by the environment variable MLP_DATA"):
        load("mnist")
    with pytest.raises(DataError, match=f"the folder '{tmp_path}', given by data_dir, has no train-images-idx3-ubyte"):
        load("mnist", data_dir=tmp_path)
    monkeypatch.setenv("MLP_DATA", str(tmp_path))
    with pytest.raises(
        DataError, match=r", given by the environment variable MLP_DATA, has no train-images-idx3-ubyte"
    ):
        load("mnist")


def test_mnist_files_must_match(small_mnist: Path) -> None:
    labels = small_mnist / "t10k-labels-idx1-ubyte"
    labels.write_bytes(idx(np.zeros(5, dtype=np.uint8)))
    with pytest.raises(DataError, match=r"4 images, .*t10k-labels-idx1-ubyte 5 labels"):
        load("mnist", data_dir=small_mnist)
    labels.write_bytes((small_mnist / "t10k-images-idx3-ubyte").read_bytes())
    with pytest.raises(
        FileFormatError, match="expected uint8 of 1 dimension; check that the files are not interchanged"
    ):
        load("mnist", data_dir=small_mnist)
    labels.write_bytes(idx(np.zeros(4, dtype=np.uint8))[:-1])
    with pytest.raises(FileFormatError, match=r"t10k-labels-idx1-ubyte' declares shape \(4,\)"):
        load("mnist", data_dir=small_mnist)
    labels.write_bytes(idx(np.zeros(4, dtype=np.uint8)))
    (small_mnist / "t10k-images-idx3-ubyte").write_bytes(idx(np.zeros((4, 3, 3), dtype=np.uint8)))
    with pytest.raises(DataError, match="the files are from two sets"):
        load("mnist", data_dir=small_mnist)


@pytest.mark.skipif(not MNIST.is_dir(), reason=f"no MNIST in {MNIST}; name its folder in MLP_DATA")
def test_the_real_mnist() -> None:
    data = load("mnist", data_dir=MNIST)
    assert (data.X.shape, data.X_test.shape) == ((60000, 784), (10000, 784))
    assert data.classes == tuple(range(10))
    # MD5 of the original files, which begin with headers of 16 and 8 bytes
    for header, array, expected in (
        (struct.pack(">4I", 2051, 60000, 28, 28), data.X, "6bbc9ace898e44ae57da46a324031adb"),
        (struct.pack(">2I", 2049, 60000), data.y.astype(np.uint8), "a25bea736e30d166cdddb491f175f624"),
        (struct.pack(">4I", 2051, 10000, 28, 28), data.X_test, "2646ac647ad5339dbf082846283269ea"),
        (struct.pack(">2I", 2049, 10000), data.y_test.astype(np.uint8), "27ae3e4e09519cfbb04c329615203637"),
    ):
        assert hashlib.md5(header + array.tobytes()).hexdigest() == expected


# --- NumPy files


def npz(folder: Path, **arrays: Any) -> Path:
    np.savez(folder / "data.npz", **arrays)
    return folder / "data.npz"


def test_npz_with_its_own_test_part(tmp_path: Path) -> None:
    images = np.arange(5 * 12, dtype=np.uint8).reshape(5, 4, 3)
    y = np.array([7, 3, 7, 3, 5])
    for names in (("X", "y", "X_test", "y_test"), ("x_train", "y_train", "x_test", "y_test")):
        parts = dict(zip(names, (images, y, images[:2], y[:2]), strict=True))
        data = load(npz(tmp_path, **parts))
        assert (data.X.shape, data.X_test.shape, data.input_scale) == ((5, 12), (2, 12), 1 / 255)
        assert (data.classes, data.y.tolist(), data.y_test.tolist()) == ((3, 5, 7), [2, 0, 2, 0, 1], [2, 0])
        np.testing.assert_array_equal(data.X, images.reshape(5, 12))


def test_npz_that_is_split(tmp_path: Path) -> None:
    X = np.arange(40, dtype=np.float32).reshape(20, 2)
    data = load(npz(tmp_path, X=X, y=X.sum(axis=1)), test_fraction=0.25)
    assert (data.task, data.X.dtype, data.X.shape, data.X_test.shape) == ("regression", np.float32, (15, 2), (5, 2))
    assert data.input_scale is None
    np.testing.assert_array_equal(data.X.sum(axis=1), data.y)
    np.testing.assert_array_equal(data.X_test.sum(axis=1), data.y_test)


def test_npz_of_bytes_in_two_dimensions_is_no_image(tmp_path: Path) -> None:
    data = load(npz(tmp_path, X=np.zeros((10, 3), dtype=np.uint8), y=np.arange(10) % 2))
    assert data.input_scale is None


def test_npz_targets_of_several_columns(tmp_path: Path) -> None:
    X = np.zeros((10, 3))
    data = load(npz(tmp_path, X=X, y=np.random.default_rng(0).random((10, 2))))
    assert (data.task, data.n_outputs) == ("regression", 2)
    one_hot = np.eye(4, dtype=int)[np.arange(10) % 3]
    data = load(npz(tmp_path, X=X, y=one_hot), test_fraction=0)
    assert (data.classes, data.n_outputs) == ((0, 1, 2, 3), 4)
    assert sorted(data.y) == sorted(np.arange(10) % 3)
    data = load(npz(tmp_path, X=X, y=one_hot.astype(float)), task="classification")
    assert data.n_outputs == 4


@pytest.mark.parametrize(
    ("arrays", "error", "message"),
    [
        ({"X": np.zeros((4, 2))}, DataError, "holds the arrays X; expected X and y"),
        ({"X": np.zeros((4, 2)), "y": np.arange(4), "x_tets": np.zeros(1)}, DataError, "x_tets"),
        ({"X": np.zeros(4), "y": np.arange(4)}, ShapeError, r"shape \(4,\), expected .*reshape\(-1, 1\)"),
        ({"X": np.zeros((4, 2, 2)), "y": np.arange(4)}, ShapeError, r"reshape\(len\(X\), -1\)"),
        ({"X": np.zeros((0, 2)), "y": np.zeros(0)}, DataError, "which is empty"),
        ({"X": np.zeros(()), "y": np.zeros(4)}, ShapeError, r"shape \(\)"),
        ({"X": np.zeros((4, 2)), "y": np.zeros(())}, ShapeError, r"array y has shape \(\)"),
        ({"X": np.zeros((4, 2)), "y": np.array([0, 1, 0])}, ShapeError, "one target for each of the 4 rows"),
        ({"X": np.zeros((4, 2)), "y": np.array([[0], [1], [2], [0]])}, ShapeError, "rows 0, 2, 3 .* are not one-hot"),
        ({"X": np.zeros((4, 2)), "y": np.zeros(4, dtype=int)}, DataError, "one class only, 0"),
        ({"X": np.array([[1.0], [np.nan]]), "y": np.array([0, 1])}, DataError, "row 1 .*first in column 0"),
        ({"X": np.array([[1.0], [2.0]]), "y": np.array([np.inf, 1])}, DataError, "missing or infinite in row 0"),
        (
            {"X": np.zeros((4, 2)), "y": np.arange(4), "X_test": np.zeros((2, 3)), "y_test": np.arange(2)},
            ShapeError,
            "must have the same columns",
        ),
        (
            {"X": np.zeros((4, 2)), "y": np.arange(4), "X_test": np.zeros((2, 2)), "y_test": np.zeros(2)},
            DataError,
            "their types and columns must match",
        ),
    ],
)
def test_npz_that_cannot_be_learnt_from(
    tmp_path: Path, arrays: dict[str, Any], error: type[MLPError], message: str
) -> None:
    with pytest.raises(error, match=message):
        load(npz(tmp_path, **arrays))


def test_missing_values_of_a_matrix_take_a_scale(tmp_path: Path) -> None:
    path = npz(tmp_path, X=np.array([[1.0], [np.nan], [3.0], [8.0]]), y=np.array([0, 1, 0, 1]))
    assert load(path, scale="none", test_fraction=0).X.tolist().count([3.0]) == 2


def test_npy_with_the_target_in_a_column(tmp_path: Path) -> None:
    matrix = np.random.default_rng(0).random((20, 3))
    matrix[:, 0] = np.arange(20) % 2
    path = tmp_path / "m.npy"
    np.save(path, matrix)
    for target in (None, 2, -1, "2"):
        data = load(path, target=target, test_fraction=0)
        assert data.task == "regression"
        assert sorted(data.y) == sorted(matrix[:, 2])
    data = load(path, target=0, task="classification")
    assert (data.classes, data.n_inputs) == ((0.0, 1.0), 2)
    with pytest.raises(ConfigurationError, match=r"target is column 3, but .* has columns 0 to 2"):
        load(path, target=3)
    with pytest.raises(ConfigurationError, match="has no column names; give the column number"):
        load(path, target="price")
    np.save(path, matrix[:, 0])
    with pytest.raises(ShapeError, match="rows of two columns or more"):
        load(path)


# --- toy sets


@pytest.mark.parametrize("name", ["xor", "moons", "circles", "spirals"])
def test_toy_classes(name: str) -> None:
    data = toy(name, n=101, seed=3)
    assert (data.X.shape, data.X.dtype, data.y.dtype) == ((101, 2), np.float64, np.int64)
    assert np.bincount(data.y).tolist() == [51, 50]
    np.testing.assert_array_equal(data.X, toy(name, n=101, seed=3).X)
    assert not np.array_equal(data.X, toy(name, n=101, seed=4).X)


def test_toy_shapes_without_noise() -> None:
    xor = toy("xor", n=8, noise=0)
    assert {(*map(int, x), int(c)) for x, c in zip(xor.X, xor.y, strict=True)} == {
        (0, 0, 0),
        (1, 1, 0),
        (0, 1, 1),
        (1, 0, 1),
    }
    circles = toy("circles", noise=0)
    np.testing.assert_allclose(np.hypot(*circles.X.T), np.where(circles.y, 0.5, 1.0))
    moons = toy("moons", noise=0)
    np.testing.assert_allclose(np.hypot(*moons.X[moons.y == 0].T), 1.0)
    np.testing.assert_allclose(np.hypot(*(moons.X[moons.y == 1] - [1.0, 0.5]).T), 1.0)
    spirals = toy("spirals", noise=0)
    np.testing.assert_allclose(spirals.X[::2], -spirals.X[1::2], atol=1e-12)
    sine = toy("sine", noise=0)
    assert (sine.task, sine.n_outputs, sine.X.shape) == ("regression", 1, (400, 1))
    np.testing.assert_array_equal(np.sin(sine.X[:, 0]), sine.y)


def test_noise_is_a_standard_deviation() -> None:
    noisy, clean = toy("moons", n=4000, noise=0.3), toy("moons", n=4000, noise=0)
    assert np.std(noisy.X - clean.X) == pytest.approx(0.3, rel=0.05)


@pytest.mark.parametrize("arguments", [{"n": 1}, {"noise": -0.1}, {"noise": float("nan")}, {"seed": -1}])
def test_toy_arguments_out_of_range(arguments: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(arguments))):
        toy("xor", **arguments)
    with pytest.raises(UnknownNameError, match="did you mean 'moons'"):
        toy("moon")


# --- names and arguments


def test_unknown_sources_are_explained(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'digits'"):
        load("digit")
    with pytest.raises(UnknownNameError, match="there is no file of that name either"):
        load("some/folder")
    with pytest.raises(FileFormatError, match=r"there is no file 'absent\.csv'"):
        load("absent.csv", target="y")
    with pytest.raises(FileFormatError, match=r"is a folder; name a file that ends in .csv"):
        load(tmp_path)
    (tmp_path / "book.xlsx").touch()
    with pytest.raises(FileFormatError, match=r"ends in '.xlsx'; name a file that ends in .csv"):
        load(tmp_path / "book.xlsx")


@pytest.mark.parametrize(
    ("source", "arguments", "error", "message"),
    [
        ("digits", {"target": "y"}, ConfigurationError, "target names a column"),
        ("digits", {"data_dir": "."}, ConfigurationError, "data_dir is the folder of MNIST"),
        (
            "digits",
            {"task": "regression"},
            ConfigurationError,
            "'digits' is a classification data set; task='regression' does not apply",
        ),
        ("digits", {"scale": "minmaks"}, UnknownNameError, "did you mean 'minmax'"),
    ],
)
def test_arguments_without_a_meaning(source: str, arguments: Any, error: type[MLPError], message: str) -> None:
    with pytest.raises(error, match=message):
        load(source, **arguments)


def test_a_single_input_and_output_are_not_in_the_plural() -> None:
    data = Dataset("line", np.zeros((3, 1)), np.zeros(3), task="regression")
    assert repr(data).endswith("1 input, 1 output>")


def test_an_unknown_task_suggests_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'regression'"):
        load(npz(tmp_path, X=np.eye(3), y=np.arange(3)), task="regresion")


def test_a_data_set_checks_its_parts() -> None:
    X, y = np.zeros((3, 2)), np.arange(3)
    with pytest.raises(ShapeError, match=r"y has shape \(2,\) and X \(3, 2\)"):
        Dataset("set", X, y[:2])
    with pytest.raises(ShapeError, match="X has shape"):
        Dataset("set", y, y)
    with pytest.raises(ShapeError, match="X_test and y_test must be given together"):
        Dataset("set", X, y, X_test=X)
    with pytest.raises(ShapeError, match="1 feature names for 2 columns"):
        Dataset("set", X, y, feature_names=("a",))
    with pytest.raises(ConfigurationError, match="give the labels for classification"):
        Dataset("set", X, y)
