"""Predictions for ordinary arrays skip checks that would find nothing; results and errors are those of all arrays."""

from __future__ import annotations

import os
import pickle
import re
import subprocess
import sys

import numpy as np
import pytest
import sklearn.neural_network as reference
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import NotFittedError

import mlp
from mlp import MLP, MLPClassifier, MLPRegressor
from mlp._backends import DataError

ROWS = [1, 3, 5000]


def outputs_by_dense(net, X):
    """The outputs by the operations of the backend, for rows of the network's dtype."""
    xp, layers = net.xp, net.plan.layout.layers(net.parameters)
    x = xp.asarray(np.ascontiguousarray(X, net.dtype))
    for (W, b), activation in zip(layers[:-1], net.plan.activations, strict=False):
        x = xp.dense(x, W, b, activation)
    return xp.to_numpy(xp.activate(xp.dense(x, *layers[-1]), net.kind.output))


# -- MLP --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", ROWS)
@pytest.mark.parametrize("kind", ["float32", "float64", "float16", "int64", "bool", "uint8", "F", "list", "subclass"])
def test_arrays_of_all_kinds_have_the_outputs_of_their_numbers(backend, kind, n):
    net = MLP([6, 5, 3], "tanh", seed=1, backend=backend, input_scale=0.25)
    numbers = np.random.default_rng(n).integers(0, 2 if kind == "bool" else 50, (n, 6)).astype(float)
    X = {
        "F": lambda: np.asfortranarray(numbers),
        "list": numbers.tolist,
        "subclass": lambda: numbers.view(np.ma.MaskedArray),
    }.get(kind, lambda: numbers.astype(kind))()
    expected = outputs_by_dense(net, numbers * (0.25 if kind == "uint8" else 1))
    outputs = net.feedforward(X)
    # the bits of NumPy's products depend on the number of rows
    assert_allclose(outputs, expected, rtol=0 if backend == "numba" else 1e-5)
    assert outputs.dtype == np.float32
    assert type(outputs) is np.ndarray
    assert_array_equal(net.predict_proba(X), outputs)
    assert_array_equal(net.predict(X), outputs.argmax(axis=1))


def test_predictions_follow_the_network(backend):
    X = np.ones((1, 2), np.float32)
    net = MLP([2, 1], loss="mse", init="zeros", backend=backend)
    assert net.predict(X).tolist() == [0]
    net.weights = [[[1.0], [2.0]]]
    assert net.predict(X).tolist() == [3]
    net.precision = "float32"
    copy, restored = net.copy("float64"), pickle.loads(pickle.dumps(net))
    net.biases = [[1.0]]
    assert net.predict(X).tolist() == [4]
    assert copy.predict(X).tolist() == restored.predict(X).tolist() == [3]
    assert copy.predict(X).dtype == np.float64
    for other in ("numpy", backend):
        assert net.to(other).predict(X).tolist() == [4]
    net.fit(X, [0.0], epochs=1, batch_size=1, optimizer=mlp.SGD(0.1))
    assert net.predict(X)[0] == pytest.approx(4 - 0.1 * 8 * 3)
    net.reset()
    assert net.predict(X).tolist() == [0]


def test_predictions_follow_what_is_assigned_to_a_network_and_to_its_copy(backend):
    X = np.ones((1, 2), np.float32)
    net = MLP([2, 1], loss="mse", init="zeros", target_scaling=([1.0], [2.0]), backend=backend)
    assert net.predict(X).tolist() == [1]
    copy = net.copy()
    copy.biases = [[1.0]]
    assert (net.predict(X).tolist(), copy.predict(X).tolist()) == ([1], [3])
    net.target_scaling = ((5.0,), (2.0,))
    assert net.predict(X).tolist() == [5]


@pytest.mark.parametrize("n", [1, 5000])
def test_targets_are_scaled_back(backend, n):
    net = MLP([1, 1], loss="mse", init="zeros", target_scaling=([10.0], [2.0]), backend=backend)
    net.weights = [[[1.0]]]
    X = np.arange(n, dtype=np.float32)[:, None]
    assert_array_equal(net.predict(X), 10 + 2 * X[:, 0])


@pytest.mark.parametrize("n", ROWS)
@pytest.mark.parametrize("kind", ["float32", "float64", "list"])
def test_numbers_that_are_not_finite_are_named(backend, kind, n):
    net = MLP([2, 3, 2], "tanh", backend=backend)
    numbers = np.ones((n, 2))
    numbers[-1, 1] = np.inf  # its tanh is finite
    X = numbers.tolist() if kind == "list" else numbers.astype(kind)
    for predict in (net.predict, net.predict_proba, net.feedforward):
        with pytest.raises(DataError, match=rf"X\[{n - 1}, 1\] is inf, and 1 of its {2 * n} values are not finite"):
            predict(X)


@pytest.mark.parametrize("n", [1, 5000])
def test_numbers_that_are_too_large_for_the_network_are_named(backend, n):
    net, X = MLP([2, 3, 2], "tanh", backend=backend), np.ones((n, 2))
    X[-1, 0] = 1e300
    with pytest.raises(DataError, match=rf"X\[{n - 1}, 0\] is inf.*finite but too large for float32"):
        net.predict(X)
    assert net.copy("float64").predict(X).shape == (n,)


def test_a_first_prediction_compiles_no_training(tmp_path):
    pytest.importorskip("numba")
    code = (
        "import logging, numpy, mlp; logging.basicConfig(level='DEBUG', format='%(message)s');"
        "mlp.MLP([4, 3, 2], backend='numba').predict(numpy.zeros((1, 4)))"
    )
    environment = os.environ | {"MLP_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True, timeout=300
    )
    compiled = [line.split()[1] for line in done.stderr.splitlines() if line.startswith("compiled ")]
    assert compiled == ["_activation.<locals>.loop", "prediction_kernel.<locals>.predict"]


# -- estimators -------------------------------------------------------------------------------------------------


def fitted(kind, y, backend="auto", dtype=np.float64, **settings):
    """Our estimator and scikit-learn's, with the same weights."""
    X = np.random.default_rng(0).normal(size=(len(y), 4)).astype(dtype)
    estimators = []
    for library, options in ((mlp, {"backend": backend}), (reference, {})):
        estimator = getattr(library, kind)(hidden_layer_sizes=(7,), max_iter=3, random_state=0, **options, **settings)
        with pytest.warns(match="Maximum iterations"):
            estimators.append(estimator.fit(X, y))
    ours, theirs = estimators
    ours.coefs_, ours.intercepts_ = theirs.coefs_, theirs.intercepts_
    return ours, theirs


TARGETS = {
    "three classes": ("MLPClassifier", np.array(["a", "b", "c"] * 10)),
    "two classes": ("MLPClassifier", np.array([5, 3] * 15)),
    "labels": ("MLPClassifier", np.eye(3, dtype=int)[[0, 1, 2] * 10] | np.eye(3, dtype=int)[[1, 1, 0] * 10]),
    "one number": ("MLPRegressor", np.arange(30.0)),
    "two numbers": ("MLPRegressor", np.arange(60.0).reshape(30, 2)),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", ROWS)
@pytest.mark.parametrize("target", TARGETS)
def test_estimators_predict_as_those_of_scikit_learn(backend, target, n, dtype):
    ours, theirs = fitted(*TARGETS[target], backend, dtype)
    X = np.random.default_rng(1).normal(size=(n, 4)).astype(dtype)
    for method in ("predict", "predict_proba", "predict_log_proba"):
        if not hasattr(theirs, method):
            continue
        found, expected = getattr(ours, method)(X), getattr(theirs, method)(X)
        assert found.dtype == expected.dtype
        if expected.dtype.kind == "f":
            assert_allclose(found, expected, rtol=1e-4 if dtype == np.float32 else 1e-9, atol=1e-6)
        else:
            assert_array_equal(found, expected)
        if n < 100:  # a list takes the long way
            assert_array_equal(
                getattr(ours, method)(X.astype(np.float64).tolist()), getattr(ours, method)(X.astype(float))
            )


def test_weights_that_change_are_used():
    ours, _ = fitted("MLPRegressor", np.arange(30.0))
    X = np.ones((1, 4))
    before = ours.predict(X)
    ours.intercepts_[-1][...] += 1
    assert_allclose(ours.predict(X), before + 1)
    ours.intercepts_ = [b + 0 for b in ours.intercepts_]
    ours.intercepts_[-1] += 1
    assert_allclose(ours.predict(X), before + 2)


def test_predictions_leave_the_estimator_as_it_was():
    ours, _ = fitted("MLPClassifier", np.array([0, 1, 2] * 10))
    before = dict(vars(ours))
    ours.predict(np.ones((1, 4)))
    assert vars(ours) == before


@pytest.mark.parametrize("n", ROWS)
def test_errors_of_estimators_are_those_of_scikit_learn(n):
    ours, theirs = fitted("MLPClassifier", np.array([0, 1, 2] * 10))
    with_nan, with_infinity = np.ones((n, 4)), np.ones((n, 4))
    with_nan[-1, 2], with_infinity[-1, 2] = np.nan, -np.inf
    for X in (with_nan, with_infinity, np.ones((n, 3)), np.ones(n), np.ones((0, 4)), np.ones((n, 4), complex)):
        with pytest.raises(ValueError, match=r"Input X contains|Expected 2D|features|sample|Complex") as expected:
            theirs.predict(X)
        with pytest.raises(ValueError, match=f"^{re.escape(str(expected.value))}$"):
            ours.predict(X)
    with pytest.raises(NotFittedError):
        MLPClassifier().predict(np.ones((n, 4)))


@pytest.mark.parametrize("n", [1, 3])
def test_an_array_for_an_estimator_with_names_of_columns_gives_a_warning(n):
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame(np.random.default_rng(0).normal(size=(30, 2)), columns=["a", "b"])
    with pytest.warns(match="Maximum iterations"):
        net = MLPRegressor(hidden_layer_sizes=3, max_iter=2, random_state=0).fit(table, np.arange(30.0))
    with pytest.warns(UserWarning, match="X does not have valid feature names"):
        net.predict(np.ones((n, 2)))
