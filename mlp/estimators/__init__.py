"""Estimators with scikit-learn's interface.

`MLPClassifier` and `MLPRegressor` are drop-in replacements for scikit-learn's.  Parameters, defaults, attributes,
warnings and random draws are those of `sklearn.neural_network`: with the same ``random_state``, losses and weights of
the solvers ``"adam"`` and ``"sgd"`` match scikit-learn's.  Additional parameters come last and are keyword-only.
Tested with scikit-learn 1.7 to 1.9.

`TabularClassifier` and `TabularRegressor` are for tables as they are, with defaults that need no tuning.
"""

from mlp.estimators.classifier import MLPClassifier
from mlp.estimators.regressor import MLPRegressor
from mlp.estimators.tabular import TabularClassifier, TabularRegressor

__all__ = ["MLPClassifier", "MLPRegressor", "TabularClassifier", "TabularRegressor"]
