"""Parameters of `MLPClassifier` and `MLPRegressor` that contradict each other."""

from __future__ import annotations

from typing import Any

import numpy as np

from mlp._backends import ConfigurationError
from mlp.estimators.scoring import check_scorer


def check_parameters(estimator: Any, *, has_validation_data: bool, incremental: bool) -> None:
    """Raise an error if parameters of an estimator contradict each other, or the call of `fit` or `partial_fit`.

    Raises
    ------
    ConfigurationError, ValueError
    """
    if estimator.early_stopping and incremental:
        raise ValueError("partial_fit does not support early_stopping=True")
    if estimator.restore_best and not (has_validation_data or estimator.early_stopping):
        raise ConfigurationError(
            "restore_best=True restores the weights of the best validation score, but there is no validation set. "
            "Set early_stopping=True, or pass X_val and y_val to fit."
        )
    if estimator.scoring is not None:
        if not (has_validation_data or estimator.early_stopping):
            raise ConfigurationError(
                f"scoring={estimator.scoring!r:.80} scores a validation set after each epoch, but there is none. Set "
                "early_stopping=True, or pass X_val and y_val to fit."
            )
        if estimator.solver == "lbfgs":
            raise ConfigurationError(
                "solver='lbfgs' has no validation set that scoring could score. Use solver='adam' or another "
                "mini-batch solver."
            )
        check_scorer(estimator, estimator.scoring)
    if estimator.solver == "lbfgs" and (has_validation_data or np.any(estimator.dropout)):
        raise ConfigurationError(
            "solver='lbfgs' minimizes one fixed function of all rows, without "
            + ("a validation set" if has_validation_data else "dropout")
            + ". Use solver='adam' or another mini-batch solver."
        )
