"""`FeedForward`: the structure of a network and its parameters on a backend.

Training, files and inspection use this class; it imports none of them.
"""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, NamedTuple, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from mlp._backends import (
    Backend,
    BackendUnavailableError,
    ConfigurationError,
    DataError,
    NetworkPlan,
    Predictor,
    ShapeError,
    Work,
    formulas,
    get_backend,
    loop,
    no_float_warnings,
    require_precision,
    resolve,
)
from mlp.checks import (
    as_array,
    cast,
    cast_inputs,
    check_classes,
    check_dtype,
    check_inputs,
    check_rows,
    check_targets,
    check_weight,
    counted,
    require_finite,
)
from mlp.configuration import Configuration, with_precision
from mlp.finite_outputs import first_layer_not_finite, require_finite_outputs
from mlp.initializers import draw_layer

if TYPE_CHECKING:
    from mlp.data import Preprocessing

logger = logging.getLogger("mlp")

CHUNK = 4096
"""Rows per forward pass outside training; limits the memory of the activations."""


Method = TypeVar("Method", bound=Callable[..., Any])


def on_its_device(method: Method) -> Method:
    """Decorate a method of a network that works on device arrays by operators: its device is the current one then."""

    @functools.wraps(method)
    def run(self: FeedForward, *arguments: Any, **keywords: Any) -> Any:
        with self.xp.current_device():
            return method(self, *arguments, **keywords)

    return run  # type: ignore[return-value]


class Examples(NamedTuple):
    """Checked inputs, targets and sample weights on the device."""

    X: Any
    target: Any
    weight: Any

    @property
    def rows(self) -> int:
        """Number of rows."""
        return int(self.X.shape[0])


class FeedForward:
    """A feedforward network with its parameters on a backend.

    Parameters
    ----------
    configuration : Configuration
        From `mlp.configuration.configure`.
    backend, device : str
        As in `MLP`.

    Attributes
    ----------
    plan : NetworkPlan
    xp : Backend
    parameters : array, shape (n_parameters,)
        On the device: all weights, then all biases, then the factors of the scaling layer; `plan.layout` gives views of
        each part.
    class_numbers : bool
        Whether it was trained on class numbers; then its outputs are classes for any loss.
    backend_reason : str
        Why this backend was chosen.
    """

    plan: NetworkPlan
    init: tuple[str, ...]
    seed: int
    dtype: np.dtype[Any]
    l2: float
    l1: float
    input_scale: float | None
    preprocessing: Preprocessing | None
    target_scaling: tuple[tuple[float, ...], tuple[float, ...]] | None
    class_numbers: bool
    _prediction: tuple[Predictor, Any, Any, Any] | None = None  # and the plan, backend and parameters that it is for

    def __init__(self, configuration: Configuration, backend: str = "auto", device: str = "auto") -> None:
        for field in fields(configuration):
            setattr(self, field.name, getattr(configuration, field.name))
        self._requested = backend, device
        name, device, self.backend_reason = resolve(backend, device)
        self.xp: Backend = get_backend(name, device)
        self.parameters = self.xp.empty((self.plan.layout.n_parameters,), self.dtype)
        self.reset()

    def __repr__(self) -> str:
        hidden = ", ".join(activation.name for activation in self.plan.activations[:-1])
        precision = "" if self.precision == "float32" else f"products in {self.precision}, "
        return (
            f"<{type(self).__name__} {'-'.join(map(str, self.sizes))}, {hidden or 'no hidden layer'}, "
            f"{self.kind.name}, {self.plan.layout.n_parameters} parameters of {self.dtype}, {precision}"
            f"{self.backend} on {self.xp.device}>"
        )

    # -- structure ----------------------------------------------------------------------------------

    @property
    def configuration(self) -> Configuration:
        """The configuration of this network, with the current values of `l2` and the other attributes."""
        return Configuration(**{field.name: getattr(self, field.name) for field in fields(Configuration)})

    def get_config(self) -> dict[str, Any]:
        """The arguments of `MLP` for this network, as plain data; custom functions by name."""
        return self.configuration.to_dict()

    @property
    def classes(self) -> tuple[Any, ...] | None:
        """Names of the classes, one for each output, or None."""
        names: tuple[Any, ...] | None = self.__dict__["classes"]
        return names

    @classes.setter
    def classes(self, names: Sequence[Any] | None) -> None:
        self.__dict__["classes"] = check_classes(names, self.sizes[-1])

    @property
    def sizes(self) -> tuple[int, ...]:
        """Width of the input, of each hidden layer, and of the output."""
        return self.plan.layout.sizes

    @property
    def kind(self) -> formulas.OutputLoss:
        """The pair of output activation and loss."""
        return self.plan.kind

    @property
    def precision(self) -> str:
        """Precision of the matrix products in training; assign ``"float32"`` to train a network on a CPU again."""
        return self.plan.precision

    @precision.setter
    def precision(self, name: str) -> None:
        self.plan = with_precision(self.plan, name, self.dtype)

    @property
    def task(self) -> str:
        """What the network predicts: one of several ``"classes"``, several 0/1 ``"labels"``, or ``"numbers"``."""
        if self.kind.loss.name == "cross_entropy" or self.class_numbers:
            return "classes" if self.sizes[-1] > 1 else "labels"
        return "labels" if self.kind.loss.name == "binary_cross_entropy" else "numbers"

    @property
    def score_name(self) -> str:
        """Name of the score of `MLP.evaluate`: ``"accuracy"``, ``"R^2"``, or for quantiles ``"D^2"``."""
        if self.kind.loss.levels:
            return "D^2"
        return "R^2" if self.task == "numbers" else "accuracy"

    def require_trainable(self) -> None:
        """Raise `NotDifferentiableError` if an activation has no useful derivative."""
        for activation in self.plan.activations:
            formulas.require_derivative(activation)

    # -- parameters ---------------------------------------------------------------------------------

    def reset(self) -> None:
        """Draw the initial weights again and discard the training state."""
        flat = np.empty(self.plan.layout.n_parameters)
        for layer, (W, b) in enumerate(self.plan.layout.layers(flat)):
            W[...], b[...] = draw_layer(self.init[layer], self.seed, layer, *W.shape)
        if (factors := self.plan.layout.scaling(flat)) is not None:
            factors[...] = 1
        self.set_parameters(flat)
        self.class_numbers = False

    @on_its_device
    def set_parameters(self, flat: NDArray[Any]) -> None:
        """Replace all parameters by those of a host array, shape (n_parameters,), in the order of `plan.layout`."""
        self.parameters[...] = self.xp.asarray(flat, dtype=self.dtype)

    @property
    def weights(self) -> list[NDArray[Any]]:
        """W of each layer, shape (n_in, n_out), as read-only host arrays; assign a list to replace them."""
        return [W for W, _ in self._host_layers()]

    @weights.setter
    def weights(self, values: Sequence[Any]) -> None:
        self._assign("weights", 0, values)

    @property
    def biases(self) -> list[NDArray[Any]]:
        """b of each layer, shape (n_out,), as read-only host arrays; assign a list to replace them."""
        return [b for _, b in self._host_layers()]

    @biases.setter
    def biases(self, values: Sequence[Any]) -> None:
        self._assign("biases", 1, values)

    @property
    def scaling(self) -> NDArray[Any] | None:
        """Factors of the scaling layer, shape (n_in,), as a read-only host array; None if there is no such layer.

        An array can be assigned.
        """
        factors = self.plan.layout.scaling(self.xp.to_numpy(self.parameters).copy())
        if factors is None:
            return None
        factors.flags.writeable = False  # writing to the copy would not change the network
        return np.asarray(factors)

    @scaling.setter
    def scaling(self, values: Any) -> None:
        self._assign_scaling(values)

    @on_its_device
    def _assign_scaling(self, values: Any) -> None:
        factors = self.plan.layout.scaling(self.parameters)
        if factors is None:
            raise ConfigurationError("this network has no scaling layer: make it with scaling_layer=True.")
        array = as_array("scaling", values, self.xp)
        if array.shape != factors.shape:
            raise ShapeError(f"scaling must have shape {factors.shape}, one factor for each input, not {array.shape}.")
        require_finite("scaling", array, "Parameters must be finite.")
        factors[...] = cast("scaling", array, self.dtype, self.xp)

    def without_scaling_layer(self) -> Self:
        """A copy whose first weights include the factors of the scaling layer; without such a layer, a copy.

        Its outputs are the same up to rounding.

        Examples
        --------
        >>> import mlp
        >>> net = mlp.MLP([2, 1], loss="mse", scaling_layer=True, init="lecun_normal")
        >>> net.scaling = [2.0, 0.5]
        >>> folded = net.without_scaling_layer()
        >>> folded.weights[0].ravel() / net.weights[0].ravel()
        array([2. , 0.5], dtype=float32)
        """
        net = self.copy()
        factors = self.scaling
        if factors is None:
            return net
        layout = replace(self.plan.layout, scaling_layer=False)
        net.plan = replace(self.plan, layout=layout)
        flat = self.xp.to_numpy(self.parameters)[: layout.n_parameters].copy()
        W, _ = layout.layers(flat)[0]
        W *= factors[:, np.newaxis]
        net.parameters = self.xp.asarray(flat)
        return net

    def _host_layers(self) -> list[tuple[NDArray[Any], NDArray[Any]]]:
        flat = self.xp.to_numpy(self.parameters).copy()
        flat.flags.writeable = False  # writing to the copy would not change the network
        return self.plan.layout.layers(flat)

    @on_its_device
    def _assign(self, name: str, part: int, values: Sequence[Any]) -> None:
        """Replace the weights (`part` 0) or biases (`part` 1) of all layers, or none if an array is invalid."""
        if not isinstance(values, Iterable):
            raise ShapeError(f"{name} must be a list of arrays, one for each layer, not {values!r}.")
        values = list(values)
        views = [layer[part] for layer in self.plan.layout.layers(self.parameters)]
        if len(values) != len(views):
            raise ShapeError(
                f"{name} of {counted(len(views), 'layer')} must be {counted(len(views), 'array')}, not {len(values)}."
            )
        arrays = []
        for number, (view, value) in enumerate(zip(views, values, strict=True), start=1):
            array = as_array(f"{name}[{number - 1}]", value, self.xp)
            if array.shape != view.shape:
                raise ShapeError(f"{name} of layer {number} must have shape {view.shape}, not {array.shape}.")
            require_finite(f"{name}[{number - 1}]", array, "Parameters must be finite.")
            arrays.append(cast(f"{name}[{number - 1}]", array, self.dtype, self.xp))
        for view, array in zip(views, arrays, strict=True):
            view[...] = array

    # -- backend and device -------------------------------------------------------------------------

    @property
    def backend(self) -> str:
        """Name of the backend that holds the parameters."""
        return self.xp.name

    def to(self, backend: str = "auto", device: str = "auto") -> Self:
        """Move the network and its training state to another backend; returns the network itself.

        Examples
        --------
        >>> import mlp
        >>> mlp.MLP([2, 3, 1], loss="mse").to("numpy").backend
        'numpy'
        """
        name, resolved_device, reason = resolve(backend, device)
        self._requested = backend, device
        self.move(name, resolved_device, reason)
        return self

    def move(self, name: str, device: str, reason: str) -> None:
        """Move to a backend and device returned by `resolve`; the requested backend, such as "auto", is kept."""
        target = get_backend(name, device)
        self.backend_reason = reason
        if target is not self.xp:
            source, self.xp, self._prediction = self.xp, target, None
            self.parameters = target.asarray(source.to_numpy(self.parameters))

    def choose_backend(self, n: int, epochs: int, batch_size: int, *, states: int = 0, previous: str = "") -> None:
        """Choose the backend for ``backend="auto"`` by the work: see `training_work`.

        A training to resume stays on its `previous` backend, if that can be used here, for the same results.

        Raises
        ------
        ConfigurationError
            If the backend does not have the network's precision; then the network does not move.
        """
        name, device, reason = self.backend_for(self.training_work(n, epochs, batch_size, states=states))
        if self._requested[0] == "auto" and previous:
            with contextlib.suppress(BackendUnavailableError, ConfigurationError):
                name, device, _ = resolve(previous, self._requested[1])
                reason = "the training to resume ran on it"
        require_precision(get_backend(name, device), self.plan)
        if self._requested[0] == "auto":
            self.move(name, device, reason)
            logger.info("backend %s on %s: %s", name, device, reason)

    def backend_for(self, work: Work) -> tuple[str, str, str]:
        """Backend, device and reason that `choose_backend` would choose."""
        if self._requested[0] != "auto":
            return self.backend, self.xp.device, self.backend_reason
        return resolve(*self._requested, work=work)

    def training_work(self, n: int, epochs: int, batch_size: int, *, states: int = 0, trainings: int = 1) -> Work:
        """The size of a training: `epochs` over `n` rows, by a rule that keeps `states` numbers for each parameter."""
        return Work(
            self.sizes,
            rows=n,
            batch_size=batch_size,
            epochs=epochs,
            trainings=trainings,
            itemsize=self.dtype.itemsize,
            precision=self.precision,
            states=states,
        )

    @on_its_device
    def copy(self, dtype: Any = None) -> Self:
        """An independent copy on the same backend with the same parameters, converted to `dtype` if given.

        A copy in float64 has the precision ``"float32"``, which means no rounding of the factors.
        """
        net = object.__new__(type(self))
        vars(net).update(vars(self))
        if dtype is None:
            net.parameters = self.parameters.copy()
        else:
            net.dtype = check_dtype(dtype)
            if net.dtype != np.float32:
                net.plan = replace(net.plan, precision="float32")
            net.parameters = self.xp.asarray(self.xp.to_numpy(self.parameters).astype(net.dtype))
        return net

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__ | {"xp": None, "parameters": self.xp.to_numpy(self.parameters), "_prediction": None}
        state["_place"] = self.xp.name, self.xp.device
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        name, device = state.pop("_place")
        self.__dict__.update(state)
        self.xp = get_backend("numpy")
        if not self.parameters.flags.writeable:  # joblib passes large arrays to its workers as read-only memory maps
            self.parameters = self.parameters.copy()
        try:
            self.move(name, device, state["backend_reason"])
        except (BackendUnavailableError, ConfigurationError) as error:
            logger.warning("a network pickled on %s was loaded to numpy instead: %s", device, error)
            self._requested = "auto", "auto"

    # -- forward pass and gradients -----------------------------------------------------------------

    @on_its_device
    def check_inputs(self, X: Any) -> Any:
        """Return inputs as a device array, shape (n, n_in), of the network's dtype; uint8 stays uint8."""
        return check_inputs(X, self.sizes[0], self.dtype, self.xp)

    @on_its_device
    def check_examples(
        self, X: Any, y: Any, sample_weight: Any = None, *, require_two_classes: bool = False, xp: Backend | None = None
    ) -> tuple[Examples, bool]:
        """Return checked examples, and whether the targets are class numbers.

        Parameters
        ----------
        X, y, sample_weight : array_like
            As in `MLP.fit`.
        require_two_classes : bool
            Whether class numbers that are all equal are an error.
        xp : Backend, optional
            Where the examples are to be.  Default: on the device of the network.
        """
        xp = xp or self.xp
        X = check_inputs(X, self.sizes[0], self.dtype, xp)
        n = X.shape[0]
        if self.target_scaling is not None:
            shift, scale = (np.array(values) for values in self.target_scaling)
            y = as_array("y", y, xp)
            y = (y - shift if y.ndim > 1 else y - shift[0]) / (scale if y.ndim > 1 else scale[0])
        target, class_numbers = check_targets(
            y, n, self.kind, self.sizes[-1], self.dtype, xp, require_two_classes=require_two_classes
        )
        weight = None if sample_weight is None else check_weight(sample_weight, n, self.dtype, xp)
        return Examples(X, target, weight), class_numbers

    def on_device(self, examples: Examples) -> Examples:
        """The examples on the current device; the network may have moved since they were checked."""
        target, weight = (None if array is None else self.xp.asarray(array) for array in examples[1:])
        return Examples(self.xp.as_rows(examples.X), target, weight)

    @on_its_device
    def as_floats(self, x: Any) -> Any:
        """Convert checked inputs on the device to the network's dtype; uint8 is scaled by `input_scale`."""
        if x.dtype == self.dtype:
            return self.xp.asarray(x)
        out = self.xp.empty(x.shape, self.dtype)
        return self.xp.take_rows(x, self.xp.namespace.arange(x.shape[0]), out=out, scale=self.plan.input_scale)

    @on_its_device
    def logits(self, X: Any) -> Any:
        """The logits (inputs of the output activation) of checked rows on the device; a device array."""
        return self._predictor()(X, logits=True)

    def _predictor(self) -> Predictor:
        """The backend's predictor for this network, which is made once."""
        if self._prediction is not None:
            predictor, *made_for = self._prediction
            if made_for[0] is self.plan and made_for[1] is self.xp and made_for[2] is self.parameters:
                return predictor
        plan, layout = self.plan, self.plan.layout
        layers = [(W, b, f) for (W, b), f in zip(layout.layers(self.parameters), plan.activations, strict=True)]
        predictor = self.xp.predictor(layers, layout.scaling(self.parameters), plan.input_scale)
        self._prediction = predictor, plan, self.xp, self.parameters
        return predictor

    def feedforward(self, X: Any) -> NDArray[Any]:
        """The network's output for each row of X, without dropout.

        Parameters
        ----------
        X : array_like, shape (n, n_in)
            Real numbers, converted to the network's dtype; uint8 is multiplied by `input_scale`.

        Returns
        -------
        ndarray, shape (n, n_out)
            Outputs in the network's dtype, on the host.

        Raises
        ------
        ShapeError, DtypeError
        DataError
            If X is not finite, or an output is not: then the message names the first such row and the layer where its
            values overflow.  What a user-defined output activation returns for finite values is not checked.

        Examples
        --------
        >>> import mlp
        >>> mlp.MLP([2, 3], init="zeros").feedforward([[1.0, 2.0]])
        array([[0.33333334, 0.33333334, 0.33333334]], dtype=float32)
        """
        y = self._usual_outputs(X)
        return self._checked_outputs(X) if y is None else y

    def _usual_outputs(self, X: Any) -> NDArray[Any] | None:
        """The outputs for the rows of a NumPy array; None if anything about it needs a closer look.

        Of the time for a single row, a closer look takes more than the arithmetic.
        """
        if type(X) is not np.ndarray or X.ndim != 2 or X.dtype.kind not in "buif" or self.xp.namespace is not np:
            return None
        predictor, n = self._predictor(), len(X)
        if not n or X.shape[1] != predictor.n_in:
            return None
        converts = X.dtype != self.dtype and X.dtype != np.uint8
        step = n if predictor.in_blocks and not converts else CHUNK
        outputs = []
        for first in range(0, n, step):
            rows = X[first : first + step]
            if converts:
                with np.errstate(over="ignore"):
                    rows = rows.astype(self.dtype)
            y, finite = predictor.checked(rows)
            if not finite:
                return None
            outputs.append(y)
        y = outputs[0] if len(outputs) == 1 else np.concatenate(outputs)
        if self.target_scaling is None:
            return y
        with no_float_warnings():
            y = self._in_units_of_targets(y)
            return y if np.isfinite(y).all() else None

    @on_its_device
    def _checked_outputs(self, X: Any) -> NDArray[Any]:
        X = check_rows(X, self.sizes[0], self.xp)
        with no_float_warnings():
            y = self._outputs(X)
            self.require_finite_outputs(y, X)
        return y

    @on_its_device
    def unchecked_outputs(self, X: Any) -> NDArray[Any]:
        """As `feedforward`, but outputs that overflow are returned as they are: infinite or NaN."""
        with no_float_warnings():
            return self._outputs(check_rows(X, self.sizes[0], self.xp))

    def _outputs(self, X: Any) -> NDArray[Any]:
        y = self._in_chunks(self._predictor(), X)
        return y if self.target_scaling is None else self._in_units_of_targets(y)

    def _in_chunks(self, predictor: Predictor, X: Any) -> NDArray[Any]:
        chunks = [self.xp.to_numpy(predictor(self._cast_rows(X, first))) for first in range(0, X.shape[0], CHUNK)]
        return np.concatenate(chunks)

    @on_its_device
    def transform(self, X: Any) -> NDArray[Any]:
        """The activations of the last hidden layer, without dropout: features that the network has learned.

        Parameters
        ----------
        X : array_like, shape (n, n_in)
            As in `feedforward`.

        Returns
        -------
        ndarray, shape (n, width of the last hidden layer)

        Raises
        ------
        ConfigurationError
            If there is no hidden layer.
        DataError
            As in `feedforward`.

        Examples
        --------
        >>> import mlp
        >>> mlp.MLP([2, 4, 3, 1], loss="mse").transform([[1.0, 2.0]]).shape
        (1, 3)
        """
        layout = self.plan.layout
        layers = zip(layout.layers(self.parameters)[:-1], self.plan.activations[:-1], strict=True)
        below = [(W, b, activation) for (W, b), activation in layers]
        if not below:
            raise ConfigurationError("this network has no hidden layer, so there is nothing to transform X to.")
        X = check_rows(X, self.sizes[0], self.xp)
        with no_float_warnings():
            y = self._in_chunks(self.xp.predictor(below, layout.scaling(self.parameters), self.plan.input_scale), X)
            self.require_finite_outputs(y, X)
        return y

    def _in_units_of_targets(self, y: NDArray[Any]) -> NDArray[Any]:
        """Outputs scaled back to the range of the targets."""
        assert self.target_scaling is not None
        shift, scale = (np.array(values, dtype=self.dtype) for values in self.target_scaling)
        return y * scale + shift  # type: ignore[no-any-return]

    def require_finite_outputs(self, outputs: NDArray[Any], X: Any) -> None:
        """Raise `DataError` if an output for checked rows is NaN or infinite; see `feedforward`."""
        require_finite_outputs(outputs, lambda row: self._first_layer_not_finite(X[row : row + 1]))

    def _first_layer_not_finite(self, X: Any) -> tuple[int, str] | None:
        x, layout, output = self.as_floats(cast_inputs(X, self.dtype, self.xp)), self.plan.layout, self.kind.output
        factors = layout.scaling(self.parameters)
        x = x if factors is None else self.xp.scale_columns(x, factors)
        layers = ((W, b, f) for (W, b), f in zip(layout.layers(self.parameters), self.plan.activations, strict=True))
        place = first_layer_not_finite(self.xp, x, layers, custom_output=output.custom)
        if place is None and not output.custom:
            return layout.n_layers, "scaling them back to the range of the targets overflows"
        return place

    def _cast_rows(self, X: Any, first: int) -> Any:
        """Some of the rows as `check_inputs` returns them, so that X is not copied as a whole."""
        try:
            return cast_inputs(X[first : first + CHUNK], self.dtype, self.xp)
        except DataError:
            cast_inputs(X, self.dtype, self.xp)  # raises the error with the row's number in X
            raise

    def predict(self, X: Any) -> NDArray[Any]:
        """Predict the class, the labels or the numbers for each row of X.

        Parameters
        ----------
        X : array_like, shape (n, n_in)
            As in `feedforward`.

        Returns
        -------
        ndarray, shape (n,), or (n, n_out) for several labels or numbers
            Depends on `task`: class numbers, labels 0 and 1 (1 if the output is above 1/2), or the outputs.

        Examples
        --------
        >>> import mlp
        >>> net = mlp.MLP([1, 2], init="zeros")
        >>> net.biases = [[0.0, 1.0]]
        >>> net.predict([[5.0]])
        array([1])
        """
        y = self.feedforward(X)
        if self.task == "classes":
            return np.asarray(y.argmax(axis=1))
        if self.task == "labels":
            y = (y > 0.5).astype(np.int64)
        return y[:, 0] if y.shape[1] == 1 else y

    def predict_proba(self, X: Any) -> NDArray[Any]:
        """Probability of each class.

        Parameters
        ----------
        X : array_like, shape (n, n_in)
            As in `feedforward`.

        Returns
        -------
        ndarray, shape (n, number of classes)
            For a single sigmoid output, the columns are the probabilities of 0 and 1.

        Raises
        ------
        ConfigurationError
            If the outputs are not probabilities.
        """
        if self.kind.output.name not in ("softmax", "sigmoid"):
            raise ConfigurationError(
                f"outputs of {self.kind.output.name!r} are not probabilities: predict_proba needs a softmax or sigmoid "
                "output. Use feedforward for the outputs."
            )
        y = self.feedforward(X)
        return np.hstack([1 - y, y]) if y.shape[1] == 1 else y

    @on_its_device
    def loss_and_gradients(
        self, X: Any, y: Any, sample_weight: Any = None
    ) -> tuple[float, list[tuple[NDArray[Any], NDArray[Any]]]]:
        """Mean loss of the rows, including penalties, and its gradient by back-propagation, without dropout.

        Parameters
        ----------
        X, y, sample_weight
            As in `MLP.evaluate`.

        Returns
        -------
        loss : float
        gradients : list of (dW, db)
            Shapes (n_in, n_out) and (n_out,), one pair for each layer; host arrays of the network's dtype.  Those of a
            scaling layer are not among them.

        Examples
        --------
        For one neuron and half the squared error, dW = (y - t) x and db = y - t:

        >>> import mlp
        >>> net = mlp.MLP([2, 1], loss="quadratic", init="zeros")
        >>> loss, [(dW, db)] = net.loss_and_gradients([[3.0, 4.0]], [2.0])
        >>> loss, dW.ravel().tolist(), db.tolist()
        (2.0, [-6.0, -8.0], [-2.0])
        """
        self.require_trainable()
        (X, target, weight), _ = self.check_examples(X, y, sample_weight)
        workspace = loop.Workspace(self.xp, self.plan, X.shape[0], self.dtype)
        x = self.as_floats(X)
        with no_float_warnings():
            loss, gradient = loop.loss_and_gradient(
                self.xp, self.plan, self.parameters, workspace, x, target, weight, l2=self.l2, l1=self.l1
            )
        return loss, self.plan.layout.layers(self.xp.to_numpy(gradient))
