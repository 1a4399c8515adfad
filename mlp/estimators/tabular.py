"""`TabularClassifier` and `TabularRegressor`: networks for tables, with defaults that need no tuning.

After RealMLP-TD-S of Holzmüller, Grinsztajn & Steinwart, "Better by default: strong pre-tuned MLPs and boosted trees on
tabular data", NeurIPS 2024.
"""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.utils import check_array
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import column_or_1d

from mlp._backends import DataError
from mlp.estimators.quantiles import QuantilesMixin, check_levels, repeat_target
from mlp.estimators.tabular_base import BaseTabular

FEW_ROWS = 500


class TabularClassifier(ClassifierMixin, BaseTabular):  # type: ignore[misc]
    """A classifier for tables as they are, with defaults that need no tuning.

    Columns are read as by `mlp.data.load`: missing values, categories and dates need no preparation, and columns that
    are constant, or nearly unique text, are left out.  Numbers are scaled robustly and clipped smoothly, categories are
    one-hot encoded.  The network is RealMLP-TD-S [1]_.  Each network is trained on four fifths of the rows, and the
    weights of the epoch with the lowest log-loss on the others are kept.

    Parameters
    ----------
    n_models : int
        1 to 5 networks, each with another fifth of the rows for validation, whose probabilities are averaged.  3 are
        often better than 1, and take up to three times as long.
    hidden_layer_sizes : array_like of int
    activation : str
        Activation of the hidden layers.
    epochs : int
    batch_size : int
        Or all training rows, if they are fewer.
    learning_rate : float, optional
        The largest rate of the schedule `mlp.schedules.CosLog4`.  Default: 0.04.
    label_smoothing : float
        Weight of the uniform distribution in the targets of the training.
    dropout : float
        Probability with which a hidden unit is left out of a step of the training.
    categorical_features : list of str or int, optional
        Columns of numbers that are categories, by name or position.  Text, booleans and the category types of data
        frames are categories anyway.
    random_state : int, RandomState or None
        Of the folds, the first weights and the order of the rows.
    dtype : {"float32", "float64"}
    backend, device : str
        As in `mlp.MLP`.

    Attributes
    ----------
    classes_ : ndarray, shape (n_classes,)
    n_features_in_ : int
    feature_names_in_ : ndarray of str
        Only if X was a data frame whose column names are strings.
    preprocessing_ : mlp.data.Preprocessing
    left_out_ : dict of str to str
        The columns that are not used, with the reason of each.
    networks_ : list of mlp.MLP
        For inputs from ``preprocessing_.transform``; the scaling layer is part of the first weights.
    histories_ : list of mlp.History
        One for each network.

    References
    ----------
    .. [1] D. Holzmüller, L. Grinsztajn and I. Steinwart, "Better by default: strong pre-tuned MLPs and boosted trees on
       tabular data", NeurIPS 2024.

    Examples
    --------
    >>> import numpy as np, mlp
    >>> X = np.array([[i, "Oslo" if i % 3 else None, f"2024-01-{i % 28 + 1:02}"] for i in range(60)], dtype=object)
    >>> y = ["late" if i % 28 > 20 else "early" for i in range(60)]
    >>> model = mlp.TabularClassifier(epochs=20, random_state=0).fit(X, y)
    >>> model.predict(X[:1]), model.predict_proba(X[:1]).shape, model.preprocessing_.feature_names
    (array(['early'], dtype='<U5'), (1, 2), ('x0', 'x1=Oslo', 'x1 is missing', 'x2 weekday', 'x2 elapsed'))
    """

    def __init__(
        self,
        *,
        n_models: int = 1,
        hidden_layer_sizes: Any = (256, 256, 256),
        activation: str = "selu",
        epochs: int = 256,
        batch_size: int = 256,
        learning_rate: float | None = None,
        label_smoothing: float = 0.1,
        dropout: float = 0.0,
        categorical_features: Any = None,
        random_state: Any = None,
        dtype: str = "float32",
        backend: str = "auto",
        device: str | None = None,
    ) -> None:
        self.n_models = n_models
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.label_smoothing = label_smoothing
        self.dropout = dropout
        self.categorical_features = categorical_features
        self.random_state = random_state
        self.dtype = dtype
        self.backend = backend
        self.device = device

    def _check_target(self, y: Any) -> tuple[NDArray[Any], NDArray[Any] | None]:
        check_classification_targets(y)
        y = column_or_1d(y, warn=True)
        self.classes_, numbers = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise DataError(f"y contains only the class {self.classes_[0]!r}: a classifier needs two classes or more.")
        return numbers, numbers

    def _network_settings(self, y: NDArray[Any], weight: NDArray[Any] | None) -> dict[str, Any]:
        return {"n_outputs": len(self.classes_), "loss": "cross_entropy"}

    def _learning_rate(self, n: int) -> float:
        return 0.04

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Probability of each class.

        Parameters
        ----------
        X : data frame or array_like, shape (n, n_features)
            An unknown category is read as rare, or as none; the log has a warning.

        Returns
        -------
        ndarray, shape (n, n_classes)
            In the order of ``classes_``.
        """
        y = self._outputs(X)
        probabilities: NDArray[np.float64] = y / y.sum(axis=1, keepdims=True)  # sums of float32 are 1 up to rounding
        return probabilities

    def predict(self, X: Any) -> NDArray[Any]:
        """Predict the most probable class of each row.

        Parameters
        ----------
        X : data frame or array_like, shape (n, n_features)

        Returns
        -------
        ndarray, shape (n,)
        """
        y = self._outputs(X)  # first, because it raises an error if there are no classes yet
        predicted: NDArray[Any] = self.classes_[y.argmax(axis=1)]
        return predicted


class TabularRegressor(RegressorMixin, QuantilesMixin, BaseTabular):  # type: ignore[misc]
    """A regressor for tables as they are, with defaults that need no tuning.

    As `TabularClassifier`, with the mean squared error of standardized targets, or their quantile loss, in place of the
    log-loss.

    Parameters
    ----------
    n_models : int
        1 to 5 networks, each with another fifth of the rows for validation, whose predictions are averaged.
    hidden_layer_sizes : array_like of int
    activation : str
        Activation of the hidden layers.
    epochs : int
    batch_size : int
        Or all training rows, if they are fewer.
    learning_rate : float, optional
        The largest rate of the schedule `mlp.schedules.CosLog4`.  Default: 0.07, and 0.014 below 500 rows.
    dropout : float
        Probability with which a hidden unit is left out of a step of the training.
    categorical_features : list of str or int, optional
        Columns of numbers that are categories, by name or position.
    random_state : int, RandomState or None
    dtype : {"float32", "float64"}
    backend, device : str
        As in `mlp.MLP`.
    quantile : float or sequence of float, optional
        Estimate quantiles of these levels instead of the mean, as `MLPRegressor` does: of several levels in increasing
        order, `predict` gives that of 0.5, and `predict_interval` and `predict_quantiles` the others.

    Attributes
    ----------
    n_features_in_, feature_names_in_, preprocessing_, left_out_, networks_, histories_
        As in `TabularClassifier`.

    Examples
    --------
    >>> import numpy as np, mlp
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(200, 3))
    >>> y = X[:, 0] + 2 * X[:, 1] ** 2
    >>> model = mlp.TabularRegressor(random_state=0, epochs=64).fit(X[:150], y[:150])
    >>> bool(model.score(X[150:], y[150:]) > 0.8)
    True
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        name: kinds for name, kinds in BaseTabular._parameter_constraints.items() if name != "label_smoothing"
    } | {"quantile": [Real, "array-like", None]}

    def __init__(
        self,
        *,
        n_models: int = 1,
        hidden_layer_sizes: Any = (256, 256, 256),
        activation: str = "mish",
        epochs: int = 256,
        batch_size: int = 256,
        learning_rate: float | None = None,
        dropout: float = 0.0,
        categorical_features: Any = None,
        random_state: Any = None,
        dtype: str = "float32",
        backend: str = "auto",
        device: str | None = None,
        quantile: float | Sequence[float] | None = None,
    ) -> None:
        self.quantile = quantile
        self.n_models = n_models
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.dropout = dropout
        self.categorical_features = categorical_features
        self.random_state = random_state
        self.dtype = dtype
        self.backend = backend
        self.device = device

    def _check_target(self, y: Any) -> tuple[NDArray[Any], NDArray[Any] | None]:
        target: NDArray[Any] = check_array(y, ensure_2d=False, dtype=np.float64, input_name="y")
        if target.ndim == 2 and target.shape[1] == 1:
            target = column_or_1d(target, warn=True)
        repeat_target(target.reshape(len(target), -1), self._levels())  # raises the error for several targets
        return target, None

    def _network_settings(self, y: NDArray[Any], weight: NDArray[Any] | None) -> dict[str, Any]:
        columns = y.reshape(len(y), -1)
        shift = np.average(columns, axis=0, weights=weight)
        scale = np.sqrt(np.average((columns - shift) ** 2, axis=0, weights=weight))
        scale[scale <= 1e-12 * np.abs(shift)] = 1.0  # constant up to rounding
        scale[scale == 0] = 1.0
        levels, outputs = self._levels(), max(columns.shape[1], len(self._levels()))
        scaling = ((shift + np.zeros(outputs)).tolist(), (scale + np.zeros(outputs)).tolist())
        loss = {"loss": "quantile", "quantile": levels} if levels else {"loss": "mse"}
        return {"n_outputs": outputs, "target_scaling": scaling, **loss}

    def _estimates_quantiles(self) -> bool:
        return self.quantile is not None

    def _levels(self) -> tuple[float, ...]:
        return () if self.quantile is None else check_levels(self.quantile)

    def _all_outputs(self, X: Any) -> NDArray[Any]:
        return self._outputs(X)

    def _learning_rate(self, n: int) -> float:
        return 0.014 if n < FEW_ROWS else 0.07

    def predict(self, X: Any) -> NDArray[np.float64]:
        """Predict the numbers for each row.

        Parameters
        ----------
        X : data frame or array_like, shape (n, n_features)

        Returns
        -------
        ndarray, shape (n,), or (n, n_outputs) if y had two dimensions
            Of several quantiles the median, shape (n,).
        """
        return self._predict(X)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
