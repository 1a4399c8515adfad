"""With the same `random_state`, losses and weights match scikit-learn's: losses to 1e-8, weights to 1e-6.

This does not hold for many iterations of L-BFGS, for which scikit-learn does not agree with itself either.
"""

from __future__ import annotations

import re
import warnings

import numpy as np
import pytest
import sklearn.neural_network as reference
from hypothesis import assume, given
from hypothesis import strategies as st
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, make_multilabel_classification, make_regression

import mlp

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

SOLVERS = {
    "plain": {"solver": "sgd", "momentum": 0, "learning_rate_init": 0.05},
    "momentum": {"solver": "sgd", "nesterovs_momentum": False, "learning_rate_init": 0.02},
    "nesterov": {"solver": "sgd", "learning_rate_init": 0.02},
    "momentum of one": {"solver": "sgd", "momentum": 1.0, "learning_rate_init": 1e-4},
    "invscaling": {"solver": "sgd", "learning_rate": "invscaling", "learning_rate_init": 0.5, "power_t": 0.3},
    "adaptive": {
        "solver": "sgd",
        "learning_rate": "adaptive",
        "learning_rate_init": 0.1,
        "tol": 0.05,
        "n_iter_no_change": 1,
    },
    "adam": {"beta_1": 0.8, "epsilon": 1e-3},
    "early stopping": {"early_stopping": True, "n_iter_no_change": 3, "validation_fraction": 0.2},
    "without shuffling": {"shuffle": False, "batch_size": 32},
    "deep": {"hidden_layer_sizes": (12, 7), "activation": "logistic", "alpha": 0.5},
    "without hidden layers": {"hidden_layer_sizes": ()},
    "tanh": {"activation": "tanh"},
    "lbfgs": {"solver": "lbfgs", "max_iter": 10},
}


def _data():
    X, y = load_digits(return_X_y=True)
    X, y = X[:200] / 16, y[:200]
    X_labels, labels = make_multilabel_classification(n_samples=120, random_state=0)
    X_numbers, numbers = make_regression(150, 10, n_targets=3, random_state=1)
    numbers /= 100
    return {
        "multiclass": ("MLPClassifier", X, y, {}),
        "binary": ("MLPClassifier", X, np.where(y > 4, 7, 3), {}),
        "multilabel": ("MLPClassifier", X_labels, labels, {}),
        "regression": ("MLPRegressor", X_numbers, numbers[:, 0], {}),
        "multi-output": ("MLPRegressor", X_numbers, numbers, {}),
        "poisson": ("MLPRegressor", X_numbers, np.floor(np.exp(numbers / 2)), {"loss": "poisson"}),
    }


DATA = _data()
BASE = {"hidden_layer_sizes": (15,), "random_state": 3, "max_iter": 8, "batch_size": 50}


def make_both(problem, backend, **parameters):
    """scikit-learn's estimator and ours with the same parameters, and the data."""
    name, X, y, more = DATA[problem]
    parameters = BASE | more | parameters
    return getattr(reference, name)(**parameters), getattr(mlp, name)(**parameters, backend=backend), X, y


def assert_same(theirs, ours):
    for name in ("n_iter_", "n_layers_", "n_outputs_", "out_activation_", "t_"):
        assert getattr(ours, name) == getattr(theirs, name), name
    for name in ("loss_", "loss_curve_", "best_loss_", "validation_scores_", "best_validation_score_"):
        expected = getattr(theirs, name, None)
        if expected is None:
            assert getattr(ours, name, None) is None, name
        else:
            np.testing.assert_allclose(getattr(ours, name), expected, rtol=1e-8, err_msg=name)
    for name in ("coefs_", "intercepts_"):
        for actual, desired in zip(getattr(ours, name), getattr(theirs, name), strict=True):
            assert actual.dtype == desired.dtype
            np.testing.assert_allclose(actual, desired, rtol=1e-6, atol=1e-8, err_msg=name)


def fit_both(theirs, ours, X, y, **arguments):
    """Fit both and return whether that succeeds; if scikit-learn raises an error, ours must raise the same."""
    try:
        with np.errstate(all="ignore"):
            theirs.fit(X, y, **arguments)
    except ValueError as error:
        with pytest.raises(ValueError, match=re.escape(str(error)[:60])):
            ours.fit(X, y, **arguments)
        return False
    ours.fit(X, y, **arguments)
    return True


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("problem", DATA)
def test_losses_and_weights_are_scikit_learns(problem, solver, backend):
    theirs, ours, X, y = make_both(problem, backend, **SOLVERS[solver])
    if fit_both(theirs, ours, X, y):
        assert_same(theirs, ours)
        np.testing.assert_array_equal(ours.predict(X).dtype, theirs.predict(X).dtype)


@pytest.mark.parametrize("solver", ["nesterov", "adam", "early stopping", "lbfgs"])
@pytest.mark.parametrize("problem", DATA)
def test_sample_weights_count_as_in_scikit_learn(problem, solver, backend):
    theirs, ours, X, y = make_both(problem, backend, **SOLVERS[solver])
    weight = np.random.RandomState(0).uniform(0, 3, len(X))
    if fit_both(theirs, ours, X, y, sample_weight=weight):
        assert_same(theirs, ours)


@pytest.mark.parametrize("activation", ["relu", "tanh", "logistic"])
def test_lbfgs_takes_scikit_learns_steps_until_rounding_errors_have_grown(activation, backend):
    X, y = load_iris(return_X_y=True)
    settings = {"solver": "lbfgs", "activation": activation, "random_state": 0}
    for iterations, rtol in ((1, 1e-13), (30, 1e-8)):
        theirs = reference.MLPClassifier(**settings, max_iter=iterations).fit(X, y)
        ours = mlp.MLPClassifier(**settings, max_iter=iterations, backend=backend).fit(X, y)
        assert ours.n_iter_ == theirs.n_iter_
        assert ours.loss_ == pytest.approx(theirs.loss_, rel=rtol)


def test_many_steps_of_lbfgs_are_as_different_from_scikit_learns_as_these_among_themselves(backend):
    X, y = load_iris(return_X_y=True)
    noise = np.random.default_rng(0).standard_normal((5, *X.shape))
    fits = [reference.MLPClassifier(solver="lbfgs", random_state=0).fit(X * (1 + 1e-15 * e), y) for e in noise]
    losses = [fit.loss_ for fit in fits]
    assert np.ptp(losses) > 1e-4, "if rounding errors no longer matter, ours must be equal: change the documentation"
    ours = mlp.MLPClassifier(solver="lbfgs", random_state=0, backend=backend).fit(X, y)
    assert 0 < ours.loss_ < max(losses) + 3 * np.ptp(losses)
    assert ours.score(X, y) > 0.97


@pytest.mark.parametrize("solver", ["invscaling", "adam", "early stopping", "lbfgs"])
@pytest.mark.parametrize("problem", ["multiclass", "regression"])
def test_warm_start_goes_on_as_scikit_learn_does(problem, solver, backend):
    theirs, ours, X, y = make_both(problem, backend, warm_start=True, **SOLVERS[solver])
    for _ in range(3):
        if not fit_both(theirs, ours, X, y):
            break
        assert_same(theirs, ours)


@pytest.mark.parametrize("solver", ["nesterov", "invscaling", "adam"])
@pytest.mark.parametrize("problem", DATA)
def test_partial_fit_goes_scikit_learns_way(problem, solver, backend):
    theirs, ours, X, y = make_both(problem, backend, **SOLVERS[solver] | {"learning_rate_init": 0.005})
    for part in range(4):
        rows = slice(part * 30, part * 30 + 30)
        more = {"classes": np.unique(y)} if problem in ("multiclass", "binary") else {}
        more |= {"classes": np.arange(y.shape[1])} if problem == "multilabel" else {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # the batch size of 50 is clipped
            theirs.partial_fit(X[rows], y[rows], **more)
            ours.partial_fit(X[rows], y[rows], **more)
        assert_same(theirs, ours)


def test_partial_fit_after_fit_keeps_the_optimizers_memory(backend):
    theirs, ours, X, y = make_both("multiclass", backend)
    for estimator in (theirs, ours):
        estimator.fit(X, y).partial_fit(X, y).partial_fit(X, y)
    assert_same(theirs, ours)


@pytest.mark.parametrize("targets", ["binary", "multilabel", "multiclass"])
def test_losses_of_saturated_networks_are_scikit_learns(targets, backend):
    X, y = load_breast_cancer(return_X_y=True)  # unscaled: features are as large as thousands
    radius = X[:, 0]
    if targets != "binary":
        y = np.stack([y, 1 - y, radius > 14], axis=1) if targets == "multilabel" else np.digitize(radius, [10, 14])
    parameters = {"random_state": 1, "max_iter": 5, "hidden_layer_sizes": 20}
    theirs = reference.MLPClassifier(**parameters).fit(X, y)
    ours = mlp.MLPClassifier(**parameters, backend=backend).fit(X, y)
    assert_same(theirs, ours)


@given(
    problem=st.sampled_from(sorted(DATA)),
    parameters=st.fixed_dictionaries(
        {
            "hidden_layer_sizes": st.lists(st.integers(1, 9), min_size=1, max_size=3).map(tuple),
            "activation": st.sampled_from(["identity", "logistic", "tanh", "relu"]),
            "solver": st.sampled_from(["sgd", "adam", "lbfgs"]),
            "alpha": st.sampled_from([0.0, 1e-4, 1.0]),
            "batch_size": st.sampled_from(["auto", 1, 7, 64]),
            "learning_rate": st.sampled_from(["constant", "invscaling", "adaptive"]),
            "learning_rate_init": st.sampled_from([1e-4, 1e-3, 1e-2]),
            "shuffle": st.booleans(),
            "momentum": st.sampled_from([0.0, 0.5, 0.9]),
            "nesterovs_momentum": st.booleans(),
            "early_stopping": st.booleans(),
            "random_state": st.integers(0, 2**32 - 1),
        }
    ),
    weighted=st.booleans(),
)
def test_any_parameters_give_scikit_learns_run(problem, parameters, weighted):
    theirs, ours, X, y = make_both(problem, "numba", **parameters | {"max_iter": 3})
    weight = {"sample_weight": np.random.RandomState(1).uniform(0.5, 2, len(X))} if weighted else {}
    if fit_both(theirs, ours, X, y, **weight):
        losses = getattr(theirs, "loss_curve_", [1.0])
        assume(losses[-1] < 1.5 * losses[0])  # a training that diverges amplifies rounding errors without bound
        assert_same(theirs, ours)


def test_float32_stays_float32_and_lbfgs_gives_float64(backend):
    for solver in ("adam", "lbfgs"):
        theirs, ours, X, y = make_both("regression", backend, solver=solver)
        X = X.astype(np.float32)
        theirs.fit(X, y)
        ours.fit(X, y)
        assert [W.dtype for W in ours.coefs_] == [W.dtype for W in theirs.coefs_]
        assert ours.predict(X).dtype == theirs.predict(X).dtype
        np.testing.assert_allclose(ours.predict(X), theirs.predict(X), rtol=2e-3, atol=2e-3)
