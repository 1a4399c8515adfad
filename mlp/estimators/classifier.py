"""The classifier, `MLPClassifier`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import ClassifierMixin, _fit_context
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils import column_or_1d, compute_sample_weight
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import _check_partial_fit_first_call, type_of_target, unique_labels

from mlp._backends import Activation, ConfigurationError, DataError, formulas
from mlp.checks import require_nonnegative
from mlp.estimators.base import BaseMLP
from mlp.estimators.inputs import Data, to_host
from mlp.optimizers import Optimizer
from mlp.schedules import Schedule
from mlp.training import Callback, Run

_CROSS_ENTROPY = replace(formulas.LOSSES["cross_entropy"], bounded=True)
_LOG_LOSS = replace(formulas.LOSSES["binary_cross_entropy"], mean_over_outputs=False, bounded=True)
"""As in scikit-learn: the reported loss clips probabilities, and the loss of several labels is their sum."""


class MLPClassifier(ClassifierMixin, BaseMLP):  # type: ignore[misc]  # scikit-learn has no types
    """A multilayer perceptron as a scikit-learn classifier.

    Parameters up to `max_fun` are those of `sklearn.neural_network.MLPClassifier`, with its defaults.

    Parameters
    ----------
    hidden_layer_sizes : sequence of int, or int
        Width of each hidden layer.
    activation : str, Activation, or a list of them
        Activation of all hidden layers, or a list with one for each: ``"identity"``, ``"logistic"``, ``"tanh"``,
        ``"relu"``, any other of `mlp.MLP`, or a user-defined one (`mlp.custom_activation`).
    solver : str or Optimizer
        ``"adam"``, ``"sgd"``, ``"lbfgs"``; ``"adamw"``, ``"adagrad"``, ``"rmsprop"`` with the rate
        `learning_rate_init`; or an optimizer that sets its learning rate, such as ``mlp.AdamW(0.01, clip_norm=1.0)``.
    alpha : float
        L2 penalty: ``alpha/2 * sum(w**2)``, divided by the batch's total sample weight, is added to the loss.  It
        excludes biases.
    batch_size : int or "auto"
        Rows in a batch; ``"auto"`` is ``min(200, n_samples)``.  L-BFGS uses all rows.
    learning_rate : {"constant", "invscaling", "adaptive"} or Schedule
        How SGD's learning rate changes.  A schedule of `mlp.schedules` works with every named solver except
        ``"lbfgs"`` and replaces `learning_rate_init`.
    learning_rate_init : float
        The initial learning rate.
    power_t : float
        Exponent of ``"invscaling"``: the rate is ``learning_rate_init / (rows seen + 1) ** power_t``.
    max_iter : int
        Maximum number of epochs, or of iterations for L-BFGS.
    shuffle : bool
        Whether to shuffle the rows before each epoch.
    random_state : int, RandomState or None
        For initial weights, validation split, shuffling and dropout.
    tol : float
        Minimum improvement of the loss or the validation score; for L-BFGS the gradient tolerance.
    verbose : bool or int
        Whether to print each epoch's loss.
    warm_start : bool
        Whether `fit` continues from the current weights.
    momentum, nesterovs_momentum : float, bool
        For SGD.
    early_stopping : bool
        Whether to stop when the validation score no longer improves, and restore the best weights.
    validation_fraction : float
        Fraction of the rows used for validation, at least two rows, unless `fit` receives a validation set.
    beta_1, beta_2, epsilon : float
        For Adam.
    n_iter_no_change : int or inf
        Number of epochs without improvement before training stops.
    max_fun : int
        Maximum number of loss evaluations for L-BFGS.
    backend : str
        ``"numpy"``, ``"numba"``, ``"cupy"``, or ``"auto"``: chosen at each call by the amount of computation.
    device : str, optional
        ``"cpu"``, ``"cuda"`` or ``"cuda:i"``.  Results are NumPy arrays on every device.
    dtype : {"float32", "float64"}, optional
        Data type of the computation.  Default, as in scikit-learn: that of X (L-BFGS: float64).
    dropout : float or list of float
        Probability of dropping a hidden unit: one for all hidden layers, or a list with one for each.
    class_weight : dict, list of dict, "balanced", optional
        Class weights for training and validation, as in scikit-learn's other classifiers.
    restore_best : bool, optional
        Whether to restore the weights of the best validation score after training.  Default: `early_stopping`.
    callbacks : sequence of Callback or callable, optional
        Called during training, as in `mlp.MLP.fit`.  Pass callbacks of `sklearn.callback` to ``set_callbacks``.
    progress : bool
        Whether to show a progress bar, if stderr is a terminal.
    scoring : str or callable, optional
        What early stopping maximizes on the validation set: the name of a scorer of scikit-learn such as
        ``"roc_auc"``, a function ``scoring(estimator, X, y)``, or ``"loss"``.  A function gets ``sample_weight``, too,
        if the validation set has weights.  Default: accuracy, or R^2 for numbers.

    Attributes
    ----------
    classes_ : ndarray, or list of ndarray
    coefs_, intercepts_ : list of ndarray
        W (n_in, n_out) and b (n_out,) of each layer, as NumPy arrays; may be assigned.
    loss_, best_loss_, loss_curve_
        Loss of the last epoch, the lowest (None with `early_stopping`), and that of each epoch, including the penalty.
    validation_scores_, best_validation_score_
        Accuracy, or `scoring`, on the validation set after each epoch, and the highest; None without a validation set.
    validation_loss_curve_ : list of float, or None
        Loss on the validation set after each epoch, without the penalty.
    n_iter_, t_ : int
        Epochs of the last fit, and rows seen since the weights were initialized.
    n_layers_, n_outputs_, out_activation_, n_features_in_, feature_names_in_
        As in scikit-learn.
    backend_ : str
        Name of the backend of the last fit.

    See Also
    --------
    mlp.MLP : The network itself.

    Notes
    -----
    Sparse X is converted to a dense array.  With the same `random_state`, losses in float64 match scikit-learn's to
    1e-8 with the solvers ``"adam"`` and ``"sgd"``.  With ``"lbfgs"`` only the first iterations match, about 50 on
    iris: line searches amplify rounding errors.  Scikit-learn's own losses change as much if X changes by 1e-15.

    Examples
    --------
    >>> from mlp import MLPClassifier
    >>> from sklearn.datasets import load_digits
    >>> X, y = load_digits(return_X_y=True)
    >>> net = MLPClassifier(random_state=0, max_iter=300, activation=["gelu", "relu"], hidden_layer_sizes=(64, 32))
    >>> net.fit(X[:1500] / 16, y[:1500]).score(X[1500:] / 16, y[1500:]) > 0.9
    True
    """

    _parameter_constraints = {  # noqa: RUF012
        **BaseMLP._parameter_constraints,
        "class_weight": [dict, list, StrOptions({"balanced"}), None],
    }

    def __init__(
        self,
        hidden_layer_sizes: int | Sequence[int] = (100,),
        activation: str | Activation | Sequence[str | Activation] = "relu",
        *,
        solver: str | Optimizer = "adam",
        alpha: float = 0.0001,
        batch_size: int | str = "auto",
        learning_rate: str | Schedule = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: int | np.random.RandomState | None = None,
        tol: float = 1e-4,
        verbose: bool | int = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
        backend: str = "auto",
        device: str | None = None,
        dtype: Any = None,
        dropout: float | Sequence[float] = 0.0,
        class_weight: Any = None,
        restore_best: bool | None = None,
        callbacks: Iterable[Callback | Callable[[Run], object]] | None = None,
        progress: bool = False,
        scoring: str | Callable[..., float] | None = None,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.solver = solver
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.power_t = power_t
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.verbose = verbose
        self.warm_start = warm_start
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.n_iter_no_change = n_iter_no_change
        self.max_fun = max_fun
        self.backend = backend
        self.device = device
        self.dtype = dtype
        self.dropout = dropout
        self.class_weight = class_weight
        self.restore_best = restore_best
        self.callbacks = callbacks
        self.progress = progress
        self.scoring = scoring

    # -- methods required by `BaseMLP` --------------------------------------------------------------

    def _check_data(self, X: Any, y: Any, sample_weight: Any, *, reset: bool, incremental: bool) -> Data:
        X, y = self._check_inputs(X, y, reset=reset)
        y = column_or_1d(y, warn=True) if y.ndim == 2 and y.shape[1] == 1 else y
        if hasattr(self, "classes_") and (self.warm_start or incremental):
            self._check_classes(unique_labels(y))
        else:
            self._label_binarizer = LabelBinarizer().fit(y)
            self.classes_ = self._label_binarizer.classes_
        if incremental and isinstance(self.class_weight, str):
            raise ConfigurationError(
                "class_weight='balanced' needs the class counts of all data, but partial_fit sees only a part. Pass "
                "the weights as a dict, from sklearn.utils.compute_class_weight('balanced', classes=classes, y=all_y)."
            )
        return self._make_data(X, y, sample_weight)

    def _check_classes(self, classes: NDArray[Any]) -> None:
        """Raise ValueError if the classes of new data are incompatible with those of the last fit."""
        if self.warm_start and set(classes) != set(self.classes_):
            raise ValueError(
                "warm_start can only be used where `y` has the same classes as in the previous call to fit. Previously "
                f"got {self.classes_}, `y` has {classes}"
            )
        if not set(classes) <= set(self.classes_):
            raise ValueError(
                f"`y` has classes not in `self.classes_`. `self.classes_` has {self.classes_}. 'y' has {classes}."
            )

    def _check_validation(self, X: Any, y: Any, sample_weight: Any) -> Data:
        X, y = self._check_inputs(X, y, reset=False)
        y = column_or_1d(y, warn=True) if y.ndim == 2 and y.shape[1] == 1 else y
        unknown = np.setdiff1d(unique_labels(y), self.classes_)
        if len(unknown):
            raise DataError(f"y_val contains classes that y does not: {unknown}. The classes of y are {self.classes_}.")
        return self._make_data(X, y, sample_weight)

    def _make_data(self, X: NDArray[Any], y: NDArray[Any], sample_weight: Any) -> Data:
        """Data with indicator targets, shape (n, n_outputs): a column for each class, or one for two classes."""
        targets = self._label_binarizer.transform(y).astype(bool)
        weight = self._check_weight(sample_weight, X)
        if self.class_weight is not None:
            _check_class_weight("class_weight", self.class_weight)
            class_weight = compute_sample_weight(self.class_weight, y)
            weight = class_weight if weight is None else weight * class_weight
        return Data(X, targets.reshape(len(targets), -1), weight)

    def _task(self) -> str:
        return "classes" if self.out_activation_ == "softmax" else "labels"

    def _output_activation(self) -> str:
        return "softmax" if self._label_binarizer.y_type_ == "multiclass" else "logistic"

    def _loss_function(self) -> formulas.Loss:
        return _CROSS_ENTROPY if self._output_activation() == "softmax" else _LOG_LOSS

    def _target(self, y: NDArray[Any], dtype: Any) -> NDArray[Any]:
        return y.argmax(axis=1) if self.out_activation_ == "softmax" else super()._target(y, dtype)

    def _stratify(self, y: NDArray[Any]) -> NDArray[Any] | None:
        return y if self.n_outputs_ == 1 else None

    def _labels(self, y: NDArray[Any]) -> NDArray[Any]:
        y = y.astype(np.int64)
        return self._label_binarizer.inverse_transform(y.ravel() if y.shape[1] == 1 else y)  # type: ignore[no-any-return]

    def _loss_breaks_ties(self) -> bool:
        # if a single row has nearly all the weight, the score is close to 0 or 1, and many epochs are tied
        return self.class_weight is not None

    # -- partial fit and prediction -----------------------------------------------------------------

    @available_if(BaseMLP._supports_partial_fit)  # type: ignore[untyped-decorator]
    @_fit_context(prefer_skip_nested_validation=True)  # type: ignore[untyped-decorator]
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None, classes: Any = None) -> MLPClassifier:
        """Train for one epoch on the given rows, keeping the optimizer state between calls.

        Parameters
        ----------
        X, y, sample_weight
            As in `fit`.
        classes : array_like, shape (n_classes,), optional
            All classes of all calls; required in the first call.

        Returns
        -------
        self
        """
        if _check_partial_fit_first_call(self, classes):
            multilabel = type_of_target(y).startswith("multilabel")
            self._label_binarizer = LabelBinarizer().fit(y if multilabel else classes)
        return self._fit(X, y, sample_weight, incremental=True)  # type: ignore[no-any-return]

    def predict(self, X: Any) -> NDArray[Any]:
        """Predict the most probable class of each row; for multilabel targets, the labels with probability above 1/2.

        Parameters
        ----------
        X : array_like or sparse matrix, shape (n_samples, n_features)

        Returns
        -------
        ndarray, shape (n_samples,), or (n_samples, n_classes) of 0 and 1 for multilabel targets
        """
        y = self._forward(X)
        if self._label_binarizer.y_type_ == "multiclass":  # as `inverse_transform`, without its checks
            return self._label_binarizer.classes_.take(y.argmax(axis=1), mode="clip")  # type: ignore[no-any-return]
        return self._label_binarizer.inverse_transform(y.ravel() if self.n_outputs_ == 1 else y)  # type: ignore[no-any-return]

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Mean accuracy of `predict`, as in scikit-learn's other classifiers.

        Parameters
        ----------
        X, y, sample_weight
            As in `fit`.

        Returns
        -------
        float
        """
        return float(super().score(X, to_host("y", y), to_host("sample_weight", sample_weight)))

    def predict_proba(self, X: Any) -> NDArray[Any]:
        """Probability of each class.

        Parameters
        ----------
        X : array_like or sparse matrix, shape (n_samples, n_features)

        Returns
        -------
        ndarray, shape (n_samples, n_classes)
            In the order of ``classes_``.
        """
        y = self._forward(X)
        if self.n_outputs_ == 1:
            return np.hstack([1 - y, y])
        if self.out_activation_ == "logistic":  # undo the rounding of sigmoids to exactly 0 or 1
            limits = np.finfo(y.dtype)
            np.clip(y, limits.tiny, 1 - limits.epsneg, out=y)
        return y

    def predict_log_proba(self, X: Any) -> NDArray[Any]:
        """Logarithm of `predict_proba`.

        Parameters
        ----------
        X : array_like or sparse matrix, shape (n_samples, n_features)

        Returns
        -------
        ndarray, shape (n_samples, n_classes)
        """
        with np.errstate(divide="ignore"):
            return np.log(self.predict_proba(X))  # type: ignore[no-any-return]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


def _check_class_weight(name: str, weights: Any) -> None:
    """Raise `ConfigurationError` for a negative or infinite class weight; scikit-learn checks everything else."""
    if isinstance(weights, list):  # of dicts, one for each output
        for i, one in enumerate(weights):
            _check_class_weight(f"{name}[{i}]", one)
    elif isinstance(weights, dict):
        for label, weight in weights.items():
            require_nonnegative(f"{name}[{label!r}]", weight)
