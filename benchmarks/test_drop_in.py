"""Speed of the drop-in replacements: MLPClassifier of scikit-learn, and Network of Nielsen's book.

MLP_DATA=mnist python -m pytest benchmarks/test_drop_in.py
python -m pytest benchmarks/test_drop_in.py -k "fit and numba" --benchmark-json=now.json

Our implementation and the original take turns.  The table shows our times.  The heading of each group has the ratio:
the median over the rounds of the time of the original divided by ours.  Without the MNIST files the rows are random,
with the shape of MNIST; the heading shows this.
"""

from __future__ import annotations

import os
import random
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn import neural_network
from sklearn.datasets import load_digits, load_iris
from sklearn.model_selection import GridSearchCV

import backends
import mlp
from benchmarks import nielsen
from mlp import classic
from mlp.bench import Case
from mlp.bench.machine import IDLE_CHECK

BACKENDS = ("auto", *backends.available())
WARM_UP = 1000
"""Rows of a first training that is not measured; it compiles the kernels and starts the threads."""


@cache
def mnist() -> tuple[str, NDArray[Any], NDArray[Any]]:
    """Return the name of the data, the rows as uint8, and their classes."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data" / "mnist"
    folder = Path(os.environ.get("MLP_DATA", default))
    if any(folder.glob("*-ubyte*")):
        images = mlp.data.load("mnist", data_dir=folder)
        return "MNIST", images.X, images.y
    X, y = Case("784-100-10", 32).data()
    return "random rows of MNIST's shape", (X * 255).astype(np.uint8), y


@cache
def rows(dtype: str, n: int | None = None) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the first n rows, scaled to 0 to 1, and their classes."""
    _, X, y = mnist()
    return X[:n] / np.dtype(dtype).type(255), y[:n]


def measure_both(
    benchmark: Any, name: str, ours: Callable[[], object], theirs: Callable[[], object], rounds: int
) -> None:
    """Measure `theirs` and `ours` in turn, and write the ratio to the heading of the table."""
    seconds: list[float] = []

    def measure_theirs() -> None:
        start = time.perf_counter()
        theirs()
        seconds.append(time.perf_counter() - start)
        time.sleep(IDLE_CHECK)

    benchmark.pedantic(ours, setup=measure_theirs, rounds=rounds)
    ratio = statistics.median(np.array(seconds) / benchmark.stats.stats.data)
    benchmark.stats.group = f"{name}: {ratio:.2f} times as fast, {statistics.median(seconds):.2f} s before"
    benchmark.extra_info |= {"times_as_fast": ratio, "seconds_of_the_other": seconds}


@pytest.fixture(autouse=True)
def _ignore_convergence_warnings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("PYTHONWARNINGS", "ignore")  # for the processes that joblib starts
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Stochastic Optimizer: Maximum iterations")
        yield


# -- MLPClassifier --------------------------------------------------------------------------------------


def classifier(kind: Any, batch_size: Any, **ours: Any) -> Any:
    """Default parameters, except for a fixed number of epochs."""
    return kind(batch_size=batch_size, max_iter=2, random_state=0, **ours)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("batch_size", ["auto", 32])
def test_fit(benchmark: Any, batch_size: Any, dtype: str, backend: str) -> None:
    X, y = rows(dtype)
    ours = classifier(mlp.MLPClassifier, batch_size, backend=backend)
    theirs = classifier(neural_network.MLPClassifier, batch_size)
    for model in (ours, theirs):
        model.fit(X[:WARM_UP], y[:WARM_UP])
    name = f"fit of MLPClassifier on {mnist()[0]}, batch_size={batch_size}, {dtype}"
    measure_both(benchmark, name, lambda: ours.fit(X, y), lambda: theirs.fit(X, y), rounds=3)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("batch_size", ["auto", 32])
def test_same_work_in_fit(batch_size: Any, backend: str) -> None:
    X, y = rows("float64", WARM_UP)
    ours = classifier(mlp.MLPClassifier, batch_size, backend=backend).fit(X, y)
    theirs = classifier(neural_network.MLPClassifier, batch_size).fit(X, y)
    assert ours.loss_curve_ == pytest.approx(theirs.loss_curve_, rel=1e-8)


SMALL: dict[str, Callable[..., Any]] = {"iris": load_iris, "digits": load_digits}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("data", SMALL)
def test_small_fit(benchmark: Any, data: str, backend: str) -> None:
    """All parameters have their default values; training ends by convergence or after 200 epochs."""
    X, y = SMALL[data](return_X_y=True)
    ours = mlp.MLPClassifier(random_state=0, backend=backend)
    theirs = neural_network.MLPClassifier(random_state=0)
    ours.fit(X, y)
    name = f"fit of MLPClassifier on {data}, default parameters"
    measure_both(benchmark, name, lambda: ours.fit(X, y), lambda: theirs.fit(X, y), rounds=5)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("data", SMALL)
def test_same_work_in_a_small_fit(data: str, backend: str) -> None:
    X, y = SMALL[data](return_X_y=True)
    ours, theirs = (
        kind(random_state=0, max_iter=20, **own).fit(X, y)
        for kind, own in ((mlp.MLPClassifier, {"backend": backend}), (neural_network.MLPClassifier, {}))
    )
    assert ours.loss_curve_ == pytest.approx(theirs.loss_curve_, rel=1e-6)


# -- a grid search --------------------------------------------------------------------------------------

GRID = {"hidden_layer_sizes": [(16,), (32,), (32, 16), (64,)], "alpha": [1e-4, 1e-1]}
FOLDS = 3  # times the eight settings


def search(kind: Any, n_jobs: int | None = None, max_iter: int = 20, **ours: Any) -> Any:
    X, y = load_digits(return_X_y=True)
    model = kind(max_iter=max_iter, random_state=0, **ours)
    return GridSearchCV(model, GRID, cv=FOLDS, n_jobs=n_jobs, refit=False).fit(X / 16, y)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("n_jobs", [None, 2])
def test_grid_search(benchmark: Any, n_jobs: int | None, backend: str) -> None:
    def ours() -> object:
        return search(mlp.MLPClassifier, n_jobs, backend=backend)

    def theirs() -> object:
        return search(neural_network.MLPClassifier, n_jobs)

    ours()
    measure_both(benchmark, f"grid search of 24 models on digits, n_jobs={n_jobs}", ours, theirs, rounds=3)


def test_same_work_in_a_grid_search() -> None:
    ours, theirs = (search(kind, max_iter=3) for kind in (mlp.MLPClassifier, neural_network.MLPClassifier))
    assert ours.cv_results_["mean_test_score"] == pytest.approx(theirs.cv_results_["mean_test_score"], rel=1e-12)


# -- the program of the book ----------------------------------------------------------------------------


def columns(n: int) -> list[tuple[Any, Any]]:
    """Return the first n images in the format of `mnist_loader` in the book."""
    X, y = rows("float32", n)
    return list(zip(X[:, :, None], np.eye(10)[y][:, :, None], strict=True))


def epoch_of_the_book(kind: Any, pairs: list[tuple[Any, Any]], **ours: Any) -> Any:
    np.random.seed(0)  # noqa: NPY002 - the generator of the book
    random.seed(0)
    net = kind([784, 30, 10], **ours)
    net.SGD(list(pairs), 1, 10, 3.0)
    return net


@pytest.mark.parametrize("backend", BACKENDS)
def test_book(benchmark: Any, backend: str) -> None:
    pairs = columns(50_000)

    def ours() -> object:
        return epoch_of_the_book(classic.Network, pairs, backend=backend)

    def theirs() -> object:
        return epoch_of_the_book(nielsen.Network, pairs)

    epoch_of_the_book(classic.Network, pairs[:WARM_UP], backend=backend)
    measure_both(benchmark, f"an epoch of the book's 784-30-10 on {mnist()[0]}, batch 10", ours, theirs, rounds=3)


def test_same_work_in_the_book() -> None:
    pairs = columns(WARM_UP)
    ours, theirs = epoch_of_the_book(classic.Network, pairs), epoch_of_the_book(nielsen.Network, pairs)
    for actual, expected in zip([*ours.weights, *ours.biases], [*theirs.weights, *theirs.biases], strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-8, atol=1e-10)
