"""scikit-learn's `check_estimator` on both estimators.

The default, early-stopping and small-batch configurations always run.  All combinations of solver and CPU backend take
a few minutes::

    MLP_CHECKS=all python -m pytest tests/test_estimators_checks.py
"""

from __future__ import annotations

import os
from itertools import product

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

import backends
import mlp
from mlp.estimators.solvers import STOCHASTIC

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

BACKENDS = [name for name in backends.available() if backends.probe(name).devices[0] == "cpu"]
ALL_CHECKS = os.environ.get("MLP_CHECKS") == "all"

WEIGHTS = "a row of weight 2 and a repeated row are assigned differently to batches and to the validation set"
NO_PARTIAL_FIT = "scikit-learn's test_mlp_partial_fit_after_fit requires that partial_fit rejects early_stopping=True"
SAMPLE_WEIGHT_CHECKS = {
    "check_sample_weight_equivalence_on_dense_data": WEIGHTS,
    "check_sample_weight_equivalence_on_sparse_data": WEIGHTS,
}
PARTIAL_FIT_CHECKS = {
    "check_fit_score_takes_y": NO_PARTIAL_FIT,
    "check_n_features_in_after_fitting": NO_PARTIAL_FIT,
    "check_estimators_partial_fit_n_features": NO_PARTIAL_FIT,
}


def expected_failures(estimator):
    if estimator.early_stopping:
        return SAMPLE_WEIGHT_CHECKS | PARTIAL_FIT_CHECKS
    return SAMPLE_WEIGHT_CHECKS if estimator.batch_size == 5 else {}


def configurations():
    classes = (mlp.MLPClassifier, mlp.MLPRegressor)
    for cls in classes:
        yield cls()
        yield cls(early_stopping=True)
        yield cls(batch_size=5, max_iter=50)
    if ALL_CHECKS:
        for cls, backend in product(classes, BACKENDS):
            yield from (cls(solver=solver, backend=backend) for solver in ("lbfgs", *STOCHASTIC))
            yield cls(early_stopping=True, backend=backend)
            yield cls(batch_size=5, backend=backend)


@parametrize_with_checks(list(configurations()), expected_failed_checks=expected_failures)
def test_scikit_learns_checks(estimator, check):
    check(estimator)
