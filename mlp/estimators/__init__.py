"""`MLPClassifier` and `MLPRegressor`: scikit-learn's estimators at the speed of this library's backends.

Parameters, defaults, attributes, warnings and random draws are those of `sklearn.neural_network`: with the same
``random_state``, losses and weights follow scikit-learn's own.  What is ours comes after them, by keyword only.
Tested with scikit-learn 1.7 to 1.9.
"""

from mlp.estimators.classifier import MLPClassifier
from mlp.estimators.regressor import MLPRegressor

__all__ = ["MLPClassifier", "MLPRegressor"]
