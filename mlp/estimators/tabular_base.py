"""The base class of `TabularClassifier` and `TabularRegressor`: preprocessing, folds, training and mean predictions."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, _fit_context
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, Options, StrOptions
from sklearn.utils.validation import _check_sample_weight, check_consistent_length, check_is_fitted

from mlp._backends import DataError
from mlp.array_checks import require_no_negative_weight
from mlp.estimators.base import HIDDEN_ACTIVATIONS
from mlp.estimators.hidden_features import HiddenFeaturesMixin
from mlp.estimators.inputs import to_host
from mlp.estimators.table_inputs import as_table, chosen_columns, fit_preprocessing
from mlp.many_networks import fit_many
from mlp.model import MLP
from mlp.optimizers import Adam
from mlp.schedules import CosLog4
from mlp.training import EarlyStopping, History

if TYPE_CHECKING:
    from os import PathLike

FOLDS = 5
"""The rows of each fold validate one of the networks, which is trained on the others."""

BIAS_RATE_FACTOR, SCALING_RATE_FACTOR, BETA2 = 0.1, 6.0, 0.95


class BaseTabular(HiddenFeaturesMixin, BaseEstimator, ABC):  # type: ignore[misc]  # scikit-learn has no types
    """Base of the two estimators; see them for the parameters."""

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "n_models": [Interval(Integral, 1, FOLDS, closed="both")],
        "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
        "activation": [StrOptions(set(HIDDEN_ACTIVATIONS))],
        "epochs": [Interval(Integral, 1, None, closed="left")],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "learning_rate": [Interval(Real, 0, None, closed="neither"), None],
        "label_smoothing": [Interval(Real, 0, 1, closed="left")],
        "dropout": [Interval(Real, 0, 1, closed="left")],
        "categorical_features": ["array-like", None],
        "random_state": ["random_state"],
        "dtype": [Options(str, {"float32", "float64"})],
        # backend and device are checked where they are used, with errors that list the valid choices
    }

    # -- what differs between classes and numbers ---------------------------------------------------

    @abstractmethod
    def _check_target(self, y: Any) -> tuple[NDArray[Any], NDArray[Any] | None]:
        """The targets for the networks, and the classes for a stratified split or None."""

    @abstractmethod
    def _network_settings(self, y: NDArray[Any], weight: NDArray[Any] | None) -> dict[str, Any]:
        """Arguments of `MLP` for these targets; with ``n_outputs``."""

    @abstractmethod
    def _learning_rate(self, n: int) -> float:
        """The default learning rate for n rows."""

    # -- fit ----------------------------------------------------------------------------------------

    @_fit_context(prefer_skip_nested_validation=True)  # type: ignore[untyped-decorator]
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Fit the preprocessing and train the networks.

        Parameters
        ----------
        X : data frame or array_like, shape (n, n_features)
            A pandas or polars data frame, or an array.  Numbers, text, booleans, dates and categories; missing values
            are NaN, None or what the data frame has for them.
        y : array_like, shape (n,), or (n, n_outputs) for numbers
        sample_weight : array_like, shape (n,), optional
            Weights of the rows in the losses of training and validation.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            As in scikit-learn; `mlp.DataError` if no column can be used.
        """
        table, categorical = as_table(self, X, reset=True)
        if y is None:
            raise ValueError(f"This {type(self).__name__} estimator requires y to be passed, but the target y is None.")
        n = len(next(iter(table.values())))
        if n < 2:
            raise DataError(f"n_samples={n}: {type(self).__name__} needs at least 2 samples, to train and to validate.")
        target, strata = self._check_target(to_host("y", y))
        check_consistent_length(next(iter(table.values())), target)
        weight = None if sample_weight is None else self._check_weight(sample_weight, n)
        categorical = list(dict.fromkeys([*categorical, *chosen_columns(self.categorical_features, table)]))
        self.preprocessing_ = fit_preprocessing(table, categorical)
        rng = check_random_state(self.random_state)
        folds = fold_of_each_row(n, strata, rng)
        inputs = self.preprocessing_.transform_table(table)[0].astype(self.dtype)
        self._train(inputs, target, weight, folds, rng)
        return self

    def _check_weight(self, sample_weight: Any, n: int) -> NDArray[Any]:
        weight: NDArray[Any] = _check_sample_weight(to_host("sample_weight", sample_weight), np.empty((n, 1)))
        require_no_negative_weight("sample_weight", weight)
        if not weight.any():
            raise DataError("every row has the weight zero: at least one entry of sample_weight must be positive.")
        return weight

    def _train(
        self, X: NDArray[Any], y: NDArray[Any], weight: NDArray[Any] | None, folds: NDArray[np.intp], rng: Any
    ) -> None:
        rows, validation = [], []
        for fold in range(self.n_models):
            training, held_out = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
            if not len(held_out):  # fewer rows than folds
                training, held_out = np.arange(len(X)), np.arange(len(X))
            weights = () if weight is None or not weight[held_out].any() else (weight[held_out],)
            rows.append(training)
            validation.append((X[held_out], y[held_out], *weights))
        settings = self._network_settings(y, weight)
        sizes = [X.shape[1], *np.atleast_1d(self.hidden_layer_sizes).tolist(), settings.pop("n_outputs")]
        nets = [
            MLP(
                sizes,
                self.activation,
                init=["neural_tangent"] * (len(sizes) - 2) + ["zeros"],
                seed=int(rng.randint(np.iinfo(np.int32).max)),
                dtype=self.dtype,
                backend=self.backend,
                device="auto" if self.device is None else self.device,
                preprocessing=self.preprocessing_,
                scaling_layer=True,
                dropout=float(self.dropout),
                **settings,
            )
            for _ in range(self.n_models)
        ]
        rate = self._learning_rate(len(X)) if self.learning_rate is None else float(self.learning_rate)
        optimizer = Adam(
            CosLog4(rate, epochs=self.epochs),
            beta2=BETA2,
            # the neural tangent parametrization: for Adam, x W / sqrt(n_in) is a smaller rate and smaller first weights
            weight_rate_factor=tuple(1 / math.sqrt(n_in) for n_in in sizes[:-1]),
            bias_rate_factor=BIAS_RATE_FACTOR,
            scaling_rate_factor=SCALING_RATE_FACTOR,
        )
        self.histories_: list[History] = fit_many(
            nets,
            X,
            y,
            rows=rows,
            sample_weight=weight,
            label_smoothing=getattr(self, "label_smoothing", 0.0),
            validation_data=validation,
            early_stopping=EarlyStopping("val_loss", patience=self.epochs),  # the best epoch of all
            epochs=self.epochs,
            batch_size=min(self.batch_size, *map(len, rows)),
            optimizer=optimizer,
        )
        self.networks_ = [net.without_scaling_layer() for net in nets]

    # -- prediction ---------------------------------------------------------------------------------

    @property
    def left_out_(self) -> dict[str, str]:
        """The columns that are not used, with the reason of each."""
        check_is_fitted(self)
        preparation = self.preprocessing_.preparation
        assert preparation is not None
        return dict(preparation.left_out)

    def _outputs(self, X: Any) -> NDArray[np.float64]:
        """The mean of the networks' outputs, shape (n, n_outputs)."""
        check_is_fitted(self)
        inputs, networks = self._inputs(X), self._wide_networks()
        return np.asarray(np.mean([net.feedforward(inputs) for net in networks], axis=0))

    def _inputs(self, X: Any) -> NDArray[Any]:
        table, _ = as_table(self, X, reset=False)
        return np.asarray(self.preprocessing_.transform(table))

    def _wide_networks(self) -> list[MLP]:
        """In float64, so that the last digits for a row that are shown do not depend on the other rows."""
        return [net.copy("float64") for net in self.networks_]

    def _hidden_features(self, X: Any) -> NDArray[Any]:
        inputs = self._inputs(X)
        return np.hstack([net.transform(inputs) for net in self._wide_networks()])

    def _hidden_widths(self) -> list[int]:
        return [width for net in self.networks_ for width in net.sizes[1:-1][-1:]]

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "networks_")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.string = True
        tags.input_tags.categorical = True
        tags.target_tags.required = True
        return tags

    # -- files --------------------------------------------------------------------------------------

    def save(self, path: str | PathLike[str]) -> None:
        """Write the fitted estimator atomically to one file, without a pickle; `load` reads it.

        Parameters
        ----------
        path : path-like
            The usual suffix is ``.zip``.  An existing file is replaced.

        Raises
        ------
        ConfigurationError
            If a class is no string, number or boolean.
        StorageError
            If the file cannot be written; then an existing file is not changed.
        """
        from mlp.estimators import tabular_files

        check_is_fitted(self)
        tabular_files.save(self, path)

    @classmethod
    def load(cls, path: str | PathLike[str], *, backend: str = "auto", device: str | None = None) -> Self:
        """Read a fitted estimator from a file that `save` wrote.

        Parameters
        ----------
        path : path-like
        backend, device : str, optional
            Where it predicts.

        Raises
        ------
        FileFormatError
            If the file is missing, damaged, or of another estimator.
        """
        from mlp.estimators import tabular_files

        estimator: Self = tabular_files.load(cls, path, backend=backend, device=device)
        return estimator


def fold_of_each_row(n: int, strata: NDArray[Any] | None, rng: Any) -> NDArray[np.intp]:
    """The fold that each row validates, from 0 to 4; with classes in proportion, and -1 for a class of one row.

    Parameters
    ----------
    n : int
    strata : ndarray of int, shape (n,), or None
        The number of each row's class.
    rng : RandomState

    Examples
    --------
    >>> fold_of_each_row(5, np.array([0, 0, 1, 1, 2]), np.random.RandomState(0))
    array([ 0,  1,  2,  3, -1])
    """
    order = rng.permutation(n)
    if strata is not None:
        order = order[np.argsort(strata[order], kind="stable")]
    folds = np.empty(n, np.intp)
    folds[order] = np.arange(n) % FOLDS
    if strata is not None:
        folds[np.bincount(strata)[strata] == 1] = -1
    return folds
