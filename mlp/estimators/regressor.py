"""The regressor, `MLPRegressor`."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import RegressorMixin, _fit_context
from sklearn.utils import column_or_1d
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.metaestimators import available_if

from mlp._backends import Activation, ConfigurationError, DataError, DtypeError, formulas
from mlp.estimators.base import WARNING_STACKLEVEL, BaseMLP
from mlp.estimators.forward_pass import mlp_name
from mlp.estimators.inputs import Data, to_host
from mlp.estimators.quantiles import MEDIAN, QuantilesMixin, check_levels, repeat_target
from mlp.optimizers import Optimizer
from mlp.schedules import Schedule
from mlp.training import Callback, Run

_LOSSES = {
    "squared_error": replace(formulas.LOSSES["quadratic"], reports_mean=True),
    "poisson": replace(formulas.LOSSES["poisson"], mean_over_outputs=False),
    "quantile": replace(formulas.LOSSES["quantile"], mean_over_outputs=False),
}
"""As in scikit-learn: losses are sums over the outputs, but the reported squared error is their mean."""


_RANGES: dict[Any, tuple[float, float]] = {
    "sigmoid": (0.0, 1.0),
    "softmax": (0.0, 1.0),
    "tanh": (-1.0, 1.0),
    "relu": (0.0, math.inf),
    "softplus": (0.0, math.inf),
    "exp": (0.0, math.inf),
}
"""Between what numbers the outputs of these activations lie."""


class MLPRegressor(RegressorMixin, QuantilesMixin, BaseMLP):  # type: ignore[misc]  # scikit-learn has no types
    """A multilayer perceptron as a scikit-learn regressor.

    Parameters up to `max_fun` are those of `sklearn.neural_network.MLPRegressor`, with its defaults.

    Parameters
    ----------
    loss : {"squared_error", "poisson", "quantile"}
        Half the squared error; for counts, half the Poisson deviance, with an exponential output activation; or the
        quantile (pinball) loss [1]_, which `quantile` describes.
    hidden_layer_sizes, activation, ..., scoring
        As in `MLPClassifier`; there is no `class_weight`.
    quantile : float or sequence of float, optional
        For ``loss="quantile"``: the level of the quantile that `predict` estimates, between 0 and 1, as in
        `sklearn.ensemble.HistGradientBoostingRegressor`.  Or several levels in increasing order for one target, such as
        ``[0.05, 0.5, 0.95]``, one of which is 0.5: `predict` gives the median, `predict_interval` and
        `predict_quantiles` the others.  Default: 0.5.
    output_activation : str or Activation
        Activation of the output, such as ``"softplus"`` for positive targets, or ``"sigmoid"`` for targets between 0
        and 1.  ``"auto"``: ``"exp"`` for the Poisson loss, else ``"identity"``.
    exact_gradient : bool
        Whether the squared error of several outputs is their sum, whose gradient is used in any case.  If False, as in
        scikit-learn, it is their mean: then the gradient is that of the loss multiplied by the number of outputs, and
        the line searches of ``solver="lbfgs"`` are misled [2]_.

    Attributes
    ----------
    coefs_, intercepts_, loss_, best_loss_, loss_curve_, n_iter_, t_, ...
        As in `MLPClassifier`; validation scores are R^2, the coefficient of determination, and D^2 for quantiles.

    See Also
    --------
    mlp.MLP : The network itself.

    References
    ----------
    .. [1] R. Koenker and G. Bassett, "Regression quantiles", Econometrica 46, 1978.
    .. [2] https://github.com/scikit-learn/scikit-learn/issues/8349

    Examples
    --------
    >>> import numpy as np
    >>> from mlp import MLPRegressor
    >>> X = np.linspace(-1, 1, 100).reshape(-1, 1)
    >>> net = MLPRegressor(solver="lbfgs", hidden_layer_sizes=10, activation="tanh", random_state=0)
    >>> net.fit(X, np.sin(3 * X[:, 0])).score(X, np.sin(3 * X[:, 0])) > 0.99
    True

    An interval that contains nine tenths of the targets:

    >>> rng = np.random.default_rng(0)
    >>> X = rng.uniform(-1, 1, (2000, 1))
    >>> y = X[:, 0] + rng.exponential(size=2000)
    >>> net = MLPRegressor("quantile", 20, quantile=[0.05, 0.5, 0.95], learning_rate_init=0.01, random_state=0)
    >>> lower, upper = net.fit(X[:1000], y[:1000]).predict_interval(X[1000:]).T
    >>> round(float(np.mean((lower <= y[1000:]) & (y[1000:] <= upper))), 1)
    0.9
    """

    _parameter_constraints = {  # noqa: RUF012
        **BaseMLP._parameter_constraints,
        "loss": [StrOptions(set(_LOSSES))],
        "quantile": [Real, "array-like", None],
        "output_activation": [str, Activation],
        "exact_gradient": ["boolean"],
    }

    def __init__(
        self,
        loss: str = "squared_error",
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
        restore_best: bool | None = None,
        callbacks: Iterable[Callback | Callable[[Run], object]] | None = None,
        progress: bool = False,
        scoring: str | Callable[..., float] | None = None,
        quantile: float | Sequence[float] | None = None,
        output_activation: str | Activation = "auto",
        exact_gradient: bool = False,
    ) -> None:
        self.loss = loss
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
        self.restore_best = restore_best
        self.callbacks = callbacks
        self.progress = progress
        self.scoring = scoring
        self.quantile = quantile
        self.output_activation = output_activation
        self.exact_gradient = exact_gradient

    # -- methods required by `BaseMLP` --------------------------------------------------------------

    def _task(self) -> str:
        return "numbers"

    def _check_data(self, X: Any, y: Any, sample_weight: Any, *, reset: bool, incremental: bool) -> Data:
        X, y = self._check_inputs(X, y, reset=reset, y_numeric=True)
        y = column_or_1d(y, warn=True) if y.ndim == 2 and y.shape[1] == 1 else y
        if y.dtype.kind not in "biuf":
            raise DtypeError(
                f"y has dtype {y.dtype}, but a regressor needs numeric targets. Convert them with y.astype(float)."
            )
        if self.loss == "poisson" and y.min() < 0:
            raise DataError(f"y contains {y.min():g}, but loss='poisson' requires counts: targets of zero or more.")
        weight, y = self._check_weight(sample_weight, X), y.reshape(len(y), -1)
        self._warn_of_targets_out_of_reach(y)
        return Data(X, repeat_target(y, self._levels()), weight)

    def _warn_of_targets_out_of_reach(self, y: NDArray[Any]) -> None:
        low, high = _RANGES.get(mlp_name(self._output_activation()), (-math.inf, math.inf))
        if y.min() < low or y.max() > high:
            warnings.warn(
                f"y ranges from {y.min():g} to {y.max():g}, but outputs of {self._output_activation()!r} lie between "
                f"{low:g} and {high:g}: the others cannot be predicted. Scale y, or choose another output_activation.",
                stacklevel=WARNING_STACKLEVEL + 1,
            )

    def _levels(self) -> tuple[float, ...]:
        """The levels of quantiles; empty for other losses."""
        if self.loss != "quantile":
            if self.quantile is not None:
                raise ConfigurationError(
                    f"quantile={self.quantile!r:.80} is for loss='quantile', not for {self.loss!r}: set that loss, or "
                    "omit quantile."
                )
            return ()
        return check_levels(MEDIAN if self.quantile is None else self.quantile)

    def _estimates_quantiles(self) -> bool:
        return self.loss == "quantile"

    def _all_outputs(self, X: Any) -> NDArray[Any]:
        return self._forward(X)

    def _labels(self, y: NDArray[Any]) -> NDArray[Any]:
        return y[:, 0] if y.shape[1] == 1 or len(self._levels()) > 1 else y

    def _check_validation(self, X: Any, y: Any, sample_weight: Any) -> Data:
        return self._check_data(X, y, sample_weight, reset=False, incremental=False)

    def _output_activation(self) -> str | Activation:
        if self.output_activation != "auto":
            return self.output_activation
        return "exp" if self.loss == "poisson" else "identity"

    def _loss_function(self) -> formulas.Loss:
        loss = _LOSSES[self.loss]
        if self.loss == "quantile":
            return replace(loss, levels=self._levels())
        return replace(loss, reports_mean=loss.reports_mean and not self.exact_gradient)

    # -- partial fit and prediction -----------------------------------------------------------------

    @available_if(BaseMLP._supports_partial_fit)  # type: ignore[untyped-decorator]
    @_fit_context(prefer_skip_nested_validation=True)  # type: ignore[untyped-decorator]
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> MLPRegressor:
        """Train for one epoch on the given rows, keeping the optimizer state between calls.

        Parameters
        ----------
        X, y, sample_weight
            As in `fit`.

        Returns
        -------
        self
        """
        return self._fit(X, y, sample_weight, incremental=True)  # type: ignore[no-any-return]

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """R^2 of `predict`, as in scikit-learn's other regressors.

        Parameters
        ----------
        X, y, sample_weight
            As in `fit`.

        Returns
        -------
        float
        """
        return float(super().score(X, to_host("y", y), to_host("sample_weight", sample_weight)))

    def predict(self, X: Any) -> NDArray[Any]:
        """Predict the target of each row.

        Parameters
        ----------
        X : array_like or sparse matrix, shape (n_samples, n_features)

        Returns
        -------
        ndarray, shape (n_samples,), or (n_samples, n_outputs)
            For several quantiles the median, shape (n_samples,).
        """
        return self._predict(X)
