"""What `MLPClassifier` and `MLPRegressor` share: the door, the fit, and the forward pass."""

from __future__ import annotations

import logging
import math
import warnings
from abc import ABC, abstractmethod
from itertools import pairwise
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, _fit_context
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, Options, StrOptions
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from mlp import training
from mlp._backends import (
    Activation,
    ConfigurationError,
    Layout,
    ShapeError,
    formulas,
    get_backend,
    resolve,
)
from mlp.estimators.batches import Batches, BatchTraining
from mlp.estimators.callbacks import CallbackSupportMixin, Listeners, with_callbacks
from mlp.estimators.inputs import Data, dense, on_host
from mlp.estimators.lbfgs import minimize
from mlp.estimators.solvers import STOCHASTIC, make_solver
from mlp.model import MLP
from mlp.network import FeedForward
from mlp.optimizers import GradientDescent, Optimizer
from mlp.schedules import Schedule
from mlp.training import Examples, History, Run, TrainingState
from mlp.validation import check_dtype

logger = logging.getLogger("mlp")

FLOATS = (np.float64, np.float32)
SKLEARNS_FRAME = 4
"""From where a fit warns up to scikit-learn's wrapper of it: programs filter warnings by the module ``sklearn``."""
FITS = 40
"""Fits that ``backend="auto"`` reckons with, one after the other: estimators live in searches and cross-validations."""

CHUNK = 1024
"""Rows that go forward at a time: more of them fill new memory, which takes longer than their products."""
HIDDEN = tuple(row.name for row in formulas.ACTIVATIONS.values() if row.role == "any" and row.backward is not None)


class BaseMLP(CallbackSupportMixin, BaseEstimator, ABC):  # type: ignore[misc]  # scikit-learn has no types
    """Base of the two estimators; see them for the parameters."""

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
        "activation": [StrOptions({"logistic", *HIDDEN}), Activation, list, tuple],
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
        "progress": ["boolean"],
        # backend, device, dtype and callbacks are checked where they are used, by errors that say what there is
    }

    # -- what the two kinds of estimator say for themselves -----------------------------------------

    @abstractmethod
    def _task(self) -> str:
        """What `mlp.training.score` is told."""

    @abstractmethod
    def _check_data(self, X: Any, y: Any, sample_weight: Any, *, first: bool, incremental: bool) -> Data:
        """The rows to train on, checked and brought to the host."""

    @abstractmethod
    def _check_validation(self, X: Any, y: Any, sample_weight: Any) -> Data:
        """The same for rows to validate with, which must fit those to train on."""

    @abstractmethod
    def _output(self) -> str:
        """scikit-learn's name of the output activation."""

    @abstractmethod
    def _loss(self) -> formulas.Loss:
        """What is minimised."""

    def _target(self, y: NDArray[Any], dtype: Any) -> NDArray[Any]:
        """The targets as `Backend.loss_and_delta` wants them."""
        return np.ascontiguousarray(y, dtype)

    def _stratify(self, y: NDArray[Any]) -> NDArray[Any] | None:
        """What the validation split is stratified by."""
        return None

    def _breaks_ties(self) -> bool:
        """Whether of epochs whose scores differ by less than `tol` the one of the lowest loss is best."""
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
        """Train from new initial weights, or with ``warm_start`` from those there are.

        Parameters
        ----------
        X : array_like or sparse matrix, shape (n_samples, n_features)
            NumPy, pandas, Polars, SciPy (made dense), CuPy, or anything with ``__array__`` or DLPack.
        y : array_like, shape (n_samples,) or (n_samples, n_outputs)
        sample_weight : array_like, shape (n_samples,), optional
            A batch whose weights are all zero changes nothing.
        X_val, y_val, sample_weight_val : array_like, optional
            A validation set of your own.  It is measured after each epoch; with ``early_stopping`` it is watched in
            place of a part of X.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            Where scikit-learn raises it, or for parameters that contradict each other (`mlp.ConfigurationError`).
        """
        if (X_val is None) != (y_val is None) or (X_val is None and sample_weight_val is not None):
            raise ConfigurationError("a validation set is X_val and y_val together, with or without sample_weight_val.")
        return self._fit(X, y, sample_weight, validation=(X_val, y_val, sample_weight_val))

    def _has_batches(self) -> bool:
        if self.solver == "lbfgs":
            raise AttributeError(
                "partial_fit is only available for stochastic optimizers. lbfgs is not stochastic: it looks at all "
                "rows at once. Use solver='adam' or 'sgd'."
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
        self._check_parameters(validated=validation[0] is not None, incremental=incremental)
        hidden = np.atleast_1d(self.hidden_layer_sizes).tolist()
        if any(size <= 0 for size in hidden):
            raise ValueError(f"hidden_layer_sizes must be > 0, got {hidden}.")
        first = not hasattr(self, "coefs_") or not (self.warm_start or incremental)
        metadata = {} if sample_weight is None else {"sample_weight": sample_weight}
        given = {} if incremental else {"X": X, "y": y, "metadata": metadata}
        data = self._check_data(X, y, sample_weight, first=first, incremental=incremental)
        held_out = None if validation[0] is None else self._check_validation(*validation)
        rng = check_random_state(self.random_state)
        self.n_outputs_ = data.y.shape[1]
        sizes = (data.X.shape[1], *hidden, self.n_outputs_)
        net = self._network(sizes, self._dtype(data.X, first), self._output() if first else self.out_activation_)
        net.require_trainable()
        if first:
            self._initialize(rng, sizes, data.X.dtype)
        net.parameters[...] = net.xp.asarray(self._packed(net.plan.layout), dtype=net.dtype)
        if self.solver == "lbfgs":
            self._fit_by_lbfgs(net, data, given)
        else:
            self._fit_by_batches(net, data, held_out, rng, given, first=first, incremental=incremental)
        self.backend_ = net.backend
        if not all(np.isfinite(array).all() for array in (*self.coefs_, *self.intercepts_)):
            raise ValueError(
                "Solver produced non-finite parameter weights. The input data may contain large values and need to be "
                "preprocessed."
            )
        return self

    def _check_parameters(self, *, validated: bool, incremental: bool) -> None:
        if self.early_stopping and incremental:
            raise ValueError("partial_fit does not support early_stopping=True")
        if self.restore_best and not (validated or self.early_stopping):
            raise ConfigurationError(
                "restore_best=True goes back to the best weights by validation score, and there is no validation set. "
                "Set early_stopping=True, or give X_val and y_val to fit."
            )
        if self.solver == "lbfgs" and (validated or np.any(self.dropout)):
            raise ConfigurationError(
                "solver='lbfgs' follows one fixed function of all rows, without "
                + ("a validation set" if validated else "dropout")
                + ". Use solver='adam' or another that goes by batches."
            )

    def _initialize(self, rng: np.random.RandomState, sizes: tuple[int, ...], dtype: Any) -> None:
        """Draw weights as scikit-learn does (Glorot & Bengio 2010, equation 16), and begin all records."""
        self.n_iter_ = self.t_ = 0
        self.n_layers_ = len(sizes)
        self.out_activation_ = self._output()
        self.coefs_, self.intercepts_ = [], []
        for factor, (n_in, n_out) in zip(self._spreads(len(sizes) - 1), pairwise(sizes), strict=True):
            bound = math.sqrt(factor / (n_in + n_out))
            self.coefs_.append(rng.uniform(-bound, bound, (n_in, n_out)).astype(dtype, copy=False))
            self.intercepts_.append(rng.uniform(-bound, bound, n_out).astype(dtype, copy=False))
        self.__dict__.pop("_state", None)
        if self.solver != "lbfgs":
            self._begin_records()

    def _begin_records(self) -> None:
        self.loss_curve_: list[float] = []
        self._no_improvement_count = 0
        self.best_loss_: float | None = None if self.early_stopping else np.inf
        self.validation_scores_: list[float] | None = None
        self.validation_loss_curve_: list[float] | None = None
        self.best_validation_score_: Any = None

    def _spreads(self, n_layers: int) -> list[float]:
        """Variance of each layer's initial weights but for its widths; the output's is its neighbour's."""
        names = self._hidden_activations(n_layers - 1)
        neighbour = names[-1:] or self._hidden_activations(1) or ["identity"]
        return [2.0 if name == "sigmoid" else 6.0 for name in names + neighbour]

    def _hidden_activations(self, count: int) -> list[str | Activation]:
        """Our names of the activations of `count` hidden layers."""
        given = self.activation
        return [_ours(name) for name in (given if isinstance(given, (list, tuple)) else [given] * count)]

    def _dtype(self, X: NDArray[Any], first: bool) -> np.dtype[Any]:
        """What a fit computes in: scikit-learn's rule, unless `dtype` says otherwise."""
        if self.dtype is not None:
            return check_dtype(self.dtype)
        if self.solver == "lbfgs":
            return np.dtype(np.float64)  # what scipy's optimizer works in
        given = X.dtype if first else np.asarray(self.coefs_[0]).dtype
        return given if given in FLOATS else np.dtype(np.float64)

    def _network(self, sizes: tuple[int, ...], dtype: np.dtype[Any], output: str) -> MLP:
        """A network by the parameters, its weights yet to be written."""
        return MLP(
            sizes,
            self._hidden_activations(len(sizes) - 2),
            _ours(output),
            self._loss(),
            dropout=self.dropout,
            init="zeros",
            dtype=dtype,
            backend=self.backend,
            device="auto" if self.device is None else self.device,
        )

    def _choose_backend(self, net: MLP, n: int, epochs: int, batch_size: int) -> None:
        """Settle ``"auto"`` now that the work is known."""
        if self.backend != "auto":
            return
        work = 6.0 * net.plan.layout.n_weights  # a product and a sum, forward and twice backward
        device = "auto" if self.device is None else self.device
        name, place, reason = resolve("auto", device, step_flops=work * batch_size, run_flops=FITS * work * n * epochs)
        reason = f"of {FITS} such fits, {reason}"
        net.move(name, place, reason)
        logger.info("backend %s on %s: %s", name, place, reason)

    def _packed(self, layout: Layout) -> NDArray[Any]:
        """`coefs_` and `intercepts_`, which their owner may have replaced, as one vector in scikit-learn's order."""
        flat = np.empty(layout.n_parameters)
        layers = layout.layers(flat)
        if len(self.coefs_) != len(layers) or len(self.intercepts_) != len(layers):
            raise ShapeError(
                f"coefs_ and intercepts_ hold {len(self.coefs_)} and {len(self.intercepts_)} arrays, and the network "
                f"has {len(layers)} layers. Was hidden_layer_sizes changed under warm_start? Fit anew without it."
            )
        for number, ((W, b), W_given, b_given) in enumerate(zip(layers, self.coefs_, self.intercepts_, strict=True)):
            if np.shape(W_given) != W.shape or np.shape(b_given) != b.shape:
                raise ShapeError(
                    f"coefs_[{number}] {np.shape(W_given)} and intercepts_[{number}] {np.shape(b_given)} must be "
                    f"{W.shape} and {b.shape}, by hidden_layer_sizes={self.hidden_layer_sizes!r} and the data."
                )
            W[...], b[...] = W_given, b_given
        return flat

    def _host_layers(self, net: FeedForward) -> tuple[list[NDArray[Any]], list[NDArray[Any]]]:
        """Copies of a network's weights and biases."""
        flat = np.array(net.xp.to_numpy(net.parameters))
        layers = net.plan.layout.layers(flat)
        return [W for W, _ in layers], [b for _, b in layers]

    def _listeners(self, run: Run, given: dict[str, Any]) -> Listeners:
        def snapshot() -> dict[str, Any]:
            return dict(zip(("coefs_", "intercepts_"), self._host_layers(run.net), strict=True))

        return Listeners(self, run, training.check_callbacks(self.callbacks or ()), given, snapshot)

    # -- the two ways -------------------------------------------------------------------------------

    def _fit_by_batches(
        self,
        net: MLP,
        data: Data,
        held_out: Data | None,
        rng: np.random.RandomState,
        given: dict[str, Any],
        *,
        first: bool,
        incremental: bool,
    ) -> None:
        if self.early_stopping and held_out is None:
            data, held_out = data.split(self.validation_fraction, rng, self._stratify(data.y))
        if not hasattr(self, "loss_curve_"):  # the weights are those of L-BFGS, or were assigned
            self._begin_records()
        n, epochs = len(data.X), 1 if incremental else self.max_iter
        batches = Batches(n, self._batch_size(n), float(self.alpha), data.weight)
        seed = int(rng.randint(np.iinfo(np.int32).max)) if any(net.plan.dropout) else 0
        self._choose_backend(net, n, epochs, batches.size)
        state = self._training_state(net, incremental)
        run = Run(net, state, state.epoch + epochs)
        listeners = self._listeners(run, given)
        trainer = BatchTraining(self, run, self._on_device(net, data), batches, rng, seed, listeners)
        if held_out is not None:
            # the first weights are the best until a score is; not those of a warm start, as in scikit-learn
            best = net.parameters.copy() if first else None
            trainer.validate_on(self._on_device(net, held_out), self._task(), best, breaks_ties=self._breaks_ties())
        listeners.train_begins()
        try:
            with training.stop_on_ctrl_c(run):  # after the batch at hand: no kernel is left half done
                trainer.go(epochs)
            if run.history.stop_reason == "interrupted by Ctrl-C":
                raise KeyboardInterrupt
            if self.n_iter_ == self.max_iter and not incremental and not run.control.stop_requested:
                warnings.warn(
                    f"Stochastic Optimizer: Maximum iterations ({self.max_iter}) reached and the optimization hasn't "
                    "converged yet.",
                    ConvergenceWarning,
                    stacklevel=SKLEARNS_FRAME,
                )
        except KeyboardInterrupt:
            warnings.warn("Training interrupted by user.", stacklevel=SKLEARNS_FRAME)
        if self.early_stopping if self.restore_best is None else self.restore_best:
            trainer.restore_best()
        self.coefs_, self.intercepts_ = self._host_layers(net)
        state.slots = net.xp.to_numpy(state.slots)
        state.history.stop_reason = state.history.stop_reason or f"all {epochs} epochs done"
        self._state = state
        listeners.train_ends()

    def _batch_size(self, n: int) -> int:
        if isinstance(self.solver, GradientDescent):
            if self.batch_size not in ("auto", n):
                raise ConfigurationError(
                    f"gradient descent takes all {n} rows at once, so batch_size={self.batch_size} contradicts it; use "
                    "solver='sgd', or leave batch_size out."
                )
            return n
        if self.batch_size == "auto":
            return min(200, n)
        if self.batch_size > n:
            warnings.warn(
                f"Got `batch_size` less than 1 or larger than sample size. It is going to be clipped to {n}.",
                stacklevel=SKLEARNS_FRAME + 1,
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
        """What training remembers: that of the last call for `partial_fit`, else nothing."""
        if incremental and hasattr(self, "_state"):
            state: TrainingState = self._state
            state.slots = net.xp.asarray(np.array(state.slots, net.dtype))  # joblib may have made them read-only
            state.history = History()
        else:
            state = TrainingState.begin(net, make_solver(self))
        state.history.backend, state.history.backend_reason = net.backend, net.backend_reason
        return state

    @property
    def _optimizer(self) -> Optimizer:
        if not hasattr(self, "_state"):
            raise AttributeError("there is no optimizer before the first fit by batches")
        return self._state.optimizer

    def _fit_by_lbfgs(self, net: MLP, data: Data, given: dict[str, Any]) -> None:
        self._choose_backend(net, len(data.X), self.max_iter, len(data.X))
        run = Run(net, TrainingState(Optimizer(1.0), None), self.max_iter)
        listeners = self._listeners(run, given)
        listeners.train_begins()
        found = minimize(
            run,
            self._on_device(net, data),
            listeners,
            alpha=float(self.alpha),
            tol=self.tol,
            max_iter=self.max_iter,
            max_fun=self.max_fun,
            verbose=self.verbose,
            progress=self.progress,
        )
        self.n_iter_ = min(int(found.nit), self.max_iter)
        self.loss_ = np.float64(found.fun)
        if found.status != 0 and not run.control.stop_requested:
            warnings.warn(
                f"lbfgs failed to converge after {self.n_iter_} iteration(s) (status={found.status}):\n"
                f"{found.message}\n\nIncrease the number of iterations (max_iter={self.max_iter}) or of function calls "
                f"(max_fun={self.max_fun}), or scale the data (sklearn.preprocessing).",
                ConvergenceWarning,
                stacklevel=SKLEARNS_FRAME,
            )
        self.coefs_, self.intercepts_ = self._host_layers(net)
        listeners.train_ends()

    # -- use ----------------------------------------------------------------------------------------

    def _forward(self, X: Any) -> NDArray[Any]:
        """The network's outputs, shape (n, n_outputs)."""
        check_is_fitted(self)
        X = dense(validate_data(self, on_host(X), accept_sparse=["csr", "csc"], reset=False))
        dtype = np.dtype(self.dtype or np.result_type(X, self.coefs_[0]))
        dtype = dtype if dtype in FLOATS else np.dtype(np.float64)
        n, work = len(X), 2.0 * sum(np.size(W) for W in self.coefs_)
        # no run_flops: compiled kernels must be loaded, and multiply whole chunks no faster than NumPy does
        device = "auto" if self.device is None else self.device
        name, place, _ = resolve(self.backend, device, step_flops=work * min(n, CHUNK))
        xp = get_backend(name, place)
        last = len(self.coefs_) - 1
        rows = [formulas.activation(name) for name in (*self._hidden_activations(last), _ours(self.out_activation_))]
        layers = [
            (xp.asarray(W, dtype=dtype), xp.asarray(b, dtype=dtype), row)
            for W, b, row in zip(self.coefs_, self.intercepts_, rows, strict=True)
        ]
        out = np.empty((n, np.shape(self.intercepts_[-1])[0]), dtype)
        with np.errstate(all="ignore"):
            for first in range(0, n, CHUNK):
                x = xp.asarray(X[first : first + CHUNK], dtype=dtype)
                for W, b, row in layers[:-1]:
                    x = xp.dense(x, W, b, row)
                W, b, row = layers[-1]
                out[first : first + CHUNK] = xp.to_numpy(xp.activate(xp.dense(x, W, b), row))
        return out

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    def _check_inputs(self, X: Any, y: Any, *, reset: bool, **how: Any) -> tuple[NDArray[Any], NDArray[Any]]:
        X, y = validate_data(
            self,
            on_host(X),
            on_host(y),
            accept_sparse=["csr", "csc"],
            multi_output=True,
            dtype=FLOATS if self.dtype is None else check_dtype(self.dtype),
            reset=reset,
            **how,
        )
        return dense(X), y

    def _check_weight(self, sample_weight: Any, X: NDArray[Any]) -> NDArray[Any] | None:
        return None if sample_weight is None else _check_sample_weight(on_host(sample_weight), X)


def _ours(activation: str | Activation) -> str | Activation:
    """Our name of an activation."""
    return "sigmoid" if activation == "logistic" else activation
