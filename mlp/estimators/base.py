"""The base class of `MLPClassifier` and `MLPRegressor`: parameter checks, fit, and forward pass."""

from __future__ import annotations

import logging
import warnings
from abc import ABC, abstractmethod
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, _fit_context
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, Options, StrOptions
from sklearn.utils.validation import _check_sample_weight, validate_data

from mlp import training
from mlp._backends import (
    Activation,
    ConfigurationError,
    DataError,
    formulas,
    resolve,
)
from mlp.array_checks import require_no_negative_weight
from mlp.checks import check_dtype
from mlp.estimators.batches import Batches, BatchTraining
from mlp.estimators.callbacks import CallbackList, CallbackSupportMixin, with_callbacks
from mlp.estimators.exporting import ExportMixin
from mlp.estimators.forward_pass import FLOATS, ForwardPassMixin, mlp_name
from mlp.estimators.hidden_features import HiddenFeaturesMixin
from mlp.estimators.inputs import Data, dense, to_host
from mlp.estimators.lbfgs import minimize
from mlp.estimators.parameter_checks import check_parameters
from mlp.estimators.scoring import Scorer
from mlp.estimators.solvers import STOCHASTIC, make_solver
from mlp.estimators.weights import draw_layers, host_layers, packed
from mlp.model import MLP
from mlp.optimizers import GradientDescent, Optimizer
from mlp.schedules import Schedule
from mlp.training import Examples, History, Run, TrainingState

logger = logging.getLogger("mlp")

WARNING_STACKLEVEL = 4
"""Attributes warnings of a fit to scikit-learn's wrapper around it: users filter warnings by the module ``sklearn``."""
ASSUMED_FITS = 40
"""Number of fits for which ``backend="auto"`` estimates the time: searches and cross-validations fit many times."""

HIDDEN_ACTIVATIONS = tuple(
    row.name for row in formulas.ACTIVATIONS.values() if row.role == "any" and row.backward is not None
)


class BaseMLP(ForwardPassMixin, ExportMixin, HiddenFeaturesMixin, CallbackSupportMixin, BaseEstimator, ABC):  # type: ignore[misc]  # scikit-learn has no types
    """Base of the two estimators; see them for the parameters."""

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
        "activation": [StrOptions({"logistic", *HIDDEN_ACTIVATIONS}), Activation, list, tuple],
        "solver": [StrOptions({"lbfgs", *STOCHASTIC}), Optimizer],
        "alpha": [Interval(Real, 0, None, closed="left")],
        "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "learning_rate": [StrOptions({"constant", "invscaling", "adaptive"}), Schedule],
        "learning_rate_init": [Interval(Real, 0, None, closed="neither")],
        "power_t": [Interval(Real, 0, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "shuffle": ["boolean"],
        "random_state": ["random_state"],
        "tol": [Interval(Real, 0, None, closed="left")],
        "verbose": ["verbose"],
        "warm_start": ["boolean"],
        "momentum": [Interval(Real, 0, 1, closed="both")],
        "nesterovs_momentum": ["boolean"],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="left")],
        "beta_1": [Interval(Real, 0, 1, closed="left")],
        "beta_2": [Interval(Real, 0, 1, closed="left")],
        "epsilon": [Interval(Real, 0, None, closed="neither")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left"), Options(Real, {np.inf})],
        "max_fun": [Interval(Integral, 1, None, closed="left")],
        "dropout": [Interval(Real, 0, 1, closed="left"), list, tuple],
        "restore_best": ["boolean", None],
        "scoring": [str, callable, None],
        "progress": ["boolean"],
        # backend, device, dtype and callbacks are checked where they are used, with errors that list the valid choices
    }

    # -- methods that the subclasses implement or override ------------------------------------------

    @abstractmethod
    def _task(self) -> str:
        """The `task` argument of `mlp.training.score`."""

    @abstractmethod
    def _check_data(self, X: Any, y: Any, sample_weight: Any, *, reset: bool, incremental: bool) -> Data:
        """Check the training data and convert them to host arrays."""

    @abstractmethod
    def _check_validation(self, X: Any, y: Any, sample_weight: Any) -> Data:
        """Check the validation data; they must be compatible with the training data."""

    @abstractmethod
    def _output_activation(self) -> str | Activation:
        """scikit-learn's name of the output activation, or ours of one that it does not have."""

    @abstractmethod
    def _loss_function(self) -> formulas.Loss:
        """The loss to minimize."""

    def _target(self, y: NDArray[Any], dtype: Any) -> NDArray[Any]:
        """Convert the targets to the form that `Backend.loss_and_delta` requires."""
        return np.ascontiguousarray(y, dtype)

    def _stratify(self, y: NDArray[Any]) -> NDArray[Any] | None:
        """The labels for a stratified validation split, or None."""
        return None

    @abstractmethod
    def _labels(self, y: NDArray[Any]) -> NDArray[Any]:
        """The targets as a user gives them, for scorers, from those of `Data`."""

    def _loss_breaks_ties(self) -> bool:
        """Whether the lowest loss selects the best of the epochs whose scores differ by less than `tol`."""
        return False

    # -- fit ----------------------------------------------------------------------------------------

    @with_callbacks  # type: ignore[untyped-decorator]
    @_fit_context(prefer_skip_nested_validation=True)  # type: ignore[untyped-decorator]
    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: Any = None,
    ) -> Any:
        """Train from new initial weights, or with ``warm_start`` from the current weights.

        Parameters
        ----------
        X : array_like or sparse matrix, shape (n_samples, n_features)
            From NumPy, pandas, Polars, SciPy (converted to dense) or CuPy, or any type with ``__array__`` or DLPack.
        y : array_like, shape (n_samples,) or (n_samples, n_outputs)
        sample_weight : array_like, shape (n_samples,), optional
            A batch whose weights are all zero does not change the network.
        X_val, y_val, sample_weight_val : array_like, optional
            A validation set, evaluated after each epoch.  ``early_stopping`` monitors it instead of a part of X.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            As in scikit-learn, or if parameters contradict each other (`mlp.ConfigurationError`).
        """
        if (X_val is None) != (y_val is None) or (X_val is None and sample_weight_val is not None):
            raise ConfigurationError("a validation set needs X_val and y_val together; sample_weight_val is optional.")
        return self._fit(X, y, sample_weight, validation=(X_val, y_val, sample_weight_val))

    def _supports_partial_fit(self) -> bool:
        if self.solver == "lbfgs":
            raise AttributeError(
                "partial_fit is only available for stochastic optimizers. lbfgs is not stochastic: every step uses all "
                "rows. Use solver='adam' or 'sgd'."
            )
        return True

    def _fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        *,
        validation: tuple[Any, Any, Any] = (None, None, None),
        incremental: bool = False,
    ) -> Any:
        check_parameters(self, has_validation_data=validation[0] is not None, incremental=incremental)
        hidden = np.atleast_1d(self.hidden_layer_sizes).tolist()
        if any(size <= 0 for size in hidden):
            raise ValueError(f"hidden_layer_sizes must be > 0, got {hidden}.")
        reset = not hasattr(self, "coefs_") or not (self.warm_start or incremental)
        metadata = {} if sample_weight is None else {"sample_weight": sample_weight}
        callback_data = {} if incremental else {"X": X, "y": y, "metadata": metadata}
        data = self._check_data(X, y, sample_weight, reset=reset, incremental=incremental)
        validation_data = None if validation[0] is None else self._check_validation(*validation)
        for part in (data, validation_data):
            if not incremental and part is not None and part.weight is not None and not part.weight.any():
                raise DataError(
                    "every row has the weight zero: at least one product of sample_weight and class_weight must be "
                    "positive."
                )
        rng = check_random_state(self.random_state)
        self.n_outputs_ = data.y.shape[1]
        sizes = (data.X.shape[1], *hidden, self.n_outputs_)
        output = self._output_activation() if reset else self.out_activation_
        net = self._make_network(sizes, self._dtype(data.X, reset), output)
        net.require_trainable()
        if reset:
            self._initialize(rng, sizes, data.X.dtype)
        net.set_parameters(packed(net.plan.layout, self))
        with net.xp.current_device():
            if self.solver == "lbfgs":
                self._fit_lbfgs(net, data, callback_data)
            else:
                self._fit_stochastic(
                    net, data, validation_data, rng, callback_data, reset=reset, incremental=incremental
                )
        self.backend_ = net.backend
        if not all(np.isfinite(array).all() for array in (*self.coefs_, *self.intercepts_)):
            raise ValueError(
                "Solver produced non-finite parameter weights. The input data may contain large values and need to be "
                "preprocessed."
            )
        return self

    def _hidden_features(self, X: Any) -> NDArray[Any]:
        return self._forward(X, -1)

    def _hidden_widths(self) -> list[int]:
        return [len(b) for b in self.intercepts_[-2:-1]]

    def _initialize(self, rng: np.random.RandomState, sizes: tuple[int, ...], dtype: Any) -> None:
        """Draw weights as scikit-learn does, and reset all fitted attributes."""
        self.n_iter_ = self.t_ = 0
        self.n_layers_ = len(sizes)
        self.out_activation_ = self._output_activation()
        hidden = self._hidden_activations(len(sizes) - 2)
        last = hidden[-1:] or self._hidden_activations(1) or ["identity"]
        self.coefs_, self.intercepts_ = draw_layers(rng, sizes, [*hidden, *last], dtype)
        self.__dict__.pop("_state", None)
        if self.solver != "lbfgs":
            self._reset_history()

    def _reset_history(self) -> None:
        self.loss_curve_: list[float] = []
        self._no_improvement_count = 0
        self.best_loss_: float | None = None if self.early_stopping else np.inf
        self.validation_scores_: list[float] | None = None
        self.validation_loss_curve_: list[float] | None = None
        self.best_validation_score_: Any = None

    def _hidden_activations(self, count: int) -> list[str | Activation]:
        """The activations of `count` hidden layers, by their names in `mlp`."""
        names = self.activation if isinstance(self.activation, (list, tuple)) else [self.activation] * count
        return [mlp_name(name) for name in names]

    def _dtype(self, X: NDArray[Any], reset: bool) -> np.dtype[Any]:
        """The data type of a fit: the parameter `dtype`, or by default scikit-learn's rule."""
        if self.dtype is not None:
            return check_dtype(self.dtype)
        if self.solver == "lbfgs":
            return np.dtype(np.float64)  # scipy's optimizer computes in float64
        dtype = X.dtype if reset else np.asarray(self.coefs_[0]).dtype
        return dtype if dtype in FLOATS else np.dtype(np.float64)

    def _make_network(self, sizes: tuple[int, ...], dtype: np.dtype[Any], output: str | Activation) -> MLP:
        """Create the network that the parameters describe, with all weights zero."""
        return MLP(
            sizes,
            self._hidden_activations(len(sizes) - 2),
            mlp_name(output),
            self._loss_function(),
            dropout=self.dropout,
            init="zeros",
            dtype=dtype,
            backend=self.backend,
            device="auto" if self.device is None else self.device,
        )

    def _choose_backend(self, net: MLP, n: int, epochs: int, batch_size: int) -> None:
        """With ``backend="auto"``, choose the backend by the amount of computation."""
        if self.backend != "auto":
            return
        work = net.training_work(n, epochs, batch_size, trainings=ASSUMED_FITS)
        name, device, reason = resolve("auto", "auto" if self.device is None else self.device, work=work)
        reason = f"of {ASSUMED_FITS} such fits, {reason}"
        net.move(name, device, reason)
        logger.info("backend %s on %s: %s", name, device, reason)

    def _callback_list(self, run: Run, callback_data: dict[str, Any]) -> CallbackList:
        def snapshot() -> dict[str, Any]:
            return dict(zip(("coefs_", "intercepts_"), host_layers(run.net), strict=True))

        return CallbackList(self, run, training.check_callbacks(self.callbacks or ()), callback_data, snapshot)

    # -- training -----------------------------------------------------------------------------------

    def _fit_stochastic(
        self,
        net: MLP,
        data: Data,
        validation_data: Data | None,
        rng: np.random.RandomState,
        callback_data: dict[str, Any],
        *,
        reset: bool,
        incremental: bool,
    ) -> None:
        if self.early_stopping and validation_data is None:
            data, validation_data = data.split(self.validation_fraction, rng, self._stratify(data.y))
        if not hasattr(self, "loss_curve_"):  # the weights come from L-BFGS, or were assigned
            self._reset_history()
        n, epochs = len(data.X), 1 if incremental else self.max_iter
        batches = Batches(n, self._batch_size(n), float(self.alpha), data.weight)
        seed = int(rng.randint(np.iinfo(np.int32).max)) if any(net.plan.dropout) else 0
        self._choose_backend(net, n, epochs, batches.size)
        state = self._training_state(net, incremental)
        run = Run(net, state, state.epoch + epochs)
        callbacks = self._callback_list(run, callback_data)
        trainer = BatchTraining(self, run, self._on_device(net, data), batches, rng, seed, callbacks)
        if validation_data is not None:
            # used if no epoch has a score; as in scikit-learn, not after a warm start
            best_weights = net.parameters.copy() if reset else None
            validation = self._on_device(net, validation_data)
            scorer = None
            if self.scoring is not None:
                scorer = Scorer(self, self.scoring, validation_data, lambda: host_layers(net))
            trainer.validate_on(
                validation, self._task(), best_weights, loss_breaks_ties=self._loss_breaks_ties(), scorer=scorer
            )
        callbacks.on_train_begin()
        try:
            with training.stop_on_ctrl_c(run.stop):  # after the current batch, so that no kernel is interrupted
                trainer.train(epochs)
            if run.history.interrupted:
                raise KeyboardInterrupt
            if self.n_iter_ == self.max_iter and not incremental and not run.control.stop_requested:
                warnings.warn(
                    f"Stochastic Optimizer: Maximum iterations ({self.max_iter}) reached and the optimization hasn't "
                    "converged yet.",
                    ConvergenceWarning,
                    stacklevel=WARNING_STACKLEVEL,
                )
        except KeyboardInterrupt:
            warnings.warn("Training interrupted by user.", stacklevel=WARNING_STACKLEVEL)
        if self.early_stopping if self.restore_best is None else self.restore_best:
            trainer.restore_best()
        self.coefs_, self.intercepts_ = host_layers(net)
        state.slots = net.xp.to_numpy(state.slots)
        state.history.stop_reason = state.history.stop_reason or (
            f"all {epochs} epochs done" if epochs != 1 else "1 epoch done"
        )
        self._state = state
        callbacks.on_train_end()

    def _batch_size(self, n: int) -> int:
        if isinstance(self.solver, GradientDescent):
            if self.batch_size not in ("auto", n):
                raise ConfigurationError(
                    f"gradient descent uses all {n} rows in each step, so batch_size={self.batch_size} contradicts it. "
                    "Use solver='sgd', or omit batch_size."
                )
            return n
        if self.batch_size == "auto":
            return min(200, n)
        if self.batch_size > n:
            warnings.warn(
                f"Got `batch_size` less than 1 or larger than sample size. It is going to be clipped to {n}.",
                stacklevel=WARNING_STACKLEVEL + 1,
            )
        return int(np.clip(self.batch_size, 1, n))

    def _on_device(self, net: MLP, data: Data) -> Examples:
        xp, dtype = net.xp, net.dtype
        return Examples(
            xp.asarray(np.ascontiguousarray(data.X, dtype)),
            xp.asarray(self._target(data.y, dtype)),
            None if data.weight is None else xp.asarray(np.ascontiguousarray(data.weight, dtype)),
        )

    def _training_state(self, net: MLP, incremental: bool) -> TrainingState:
        """The training state: for `partial_fit` that of the previous call, otherwise a new one."""
        if incremental and hasattr(self, "_state"):
            state: TrainingState = self._state
            slots = np.array(state.slots, net.dtype)  # a copy: arrays that joblib maps from a file are read-only
            state.slots = net.xp.asarray(slots)
            state.history = History()
        else:
            state = TrainingState.begin(net, make_solver(self))
        state.history.backend, state.history.backend_reason = net.backend, net.backend_reason
        return state

    @property
    def _optimizer(self) -> Optimizer:
        if not hasattr(self, "_state"):
            raise AttributeError("there is no optimizer before the first fit with a stochastic solver")
        return self._state.optimizer

    def _fit_lbfgs(self, net: MLP, data: Data, callback_data: dict[str, Any]) -> None:
        self._choose_backend(net, len(data.X), self.max_iter, len(data.X))
        run = Run(net, TrainingState(Optimizer(1.0), None), self.max_iter)
        callbacks = self._callback_list(run, callback_data)
        callbacks.on_train_begin()
        result = minimize(
            run,
            self._on_device(net, data),
            callbacks,
            alpha=float(self.alpha),
            tol=self.tol,
            max_iter=self.max_iter,
            max_fun=self.max_fun,
            verbose=self.verbose,
            progress=self.progress,
        )
        self.n_iter_ = min(int(result.nit), self.max_iter)
        self.loss_ = np.float64(result.fun)
        if result.status != 0 and not run.control.stop_requested:
            warnings.warn(
                f"lbfgs failed to converge after {self.n_iter_} iteration(s) (status={result.status}):\n"
                f"{result.message}\n\nIncrease the number of iterations (max_iter={self.max_iter}) or of function "
                f"calls (max_fun={self.max_fun}), or scale the data (sklearn.preprocessing).",
                ConvergenceWarning,
                stacklevel=WARNING_STACKLEVEL,
            )
        self.coefs_, self.intercepts_ = host_layers(net)
        callbacks.on_train_end()

    # -- input checks -------------------------------------------------------------------------------

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    def _check_inputs(self, X: Any, y: Any, *, reset: bool, **options: Any) -> tuple[NDArray[Any], NDArray[Any]]:
        X, y = validate_data(
            self,
            to_host("X", X),
            to_host("y", y),
            accept_sparse=["csr", "csc"],
            multi_output=True,
            dtype=FLOATS if self.dtype is None else check_dtype(self.dtype),
            reset=reset,
            **options,
        )
        return dense(X), y

    def _check_weight(self, sample_weight: Any, X: NDArray[Any]) -> NDArray[Any] | None:
        """Return sample weights, shape (n,), or None; unlike in scikit-learn, none may be negative."""
        if sample_weight is None:
            return None
        weight: NDArray[Any] = _check_sample_weight(to_host("sample_weight", sample_weight), X)
        require_no_negative_weight("sample_weight", weight)
        return weight
