"""`PlacedNetwork`: the configuration of a network, and its parameters on a backend."""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from mlp._backends import (
    Backend,
    BackendUnavailableError,
    ConfigurationError,
    NetworkPlan,
    ShapeError,
    Work,
    formulas,
    get_backend,
    require_precision,
    resolve,
)
from mlp.checks import as_array, cast, check_classes, check_dtype, counted, require_finite
from mlp.configuration import Configuration, TargetScaling, with_precision
from mlp.initializers import draw_layer

if TYPE_CHECKING:
    from mlp.data import Preprocessing

logger = logging.getLogger("mlp")


Method = TypeVar("Method", bound=Callable[..., Any])


def on_its_device(method: Method) -> Method:
    """Decorate a method of a network that works on device arrays by operators: its device is the current one then."""

    @functools.wraps(method)
    def run(self: PlacedNetwork, *arguments: Any, **keywords: Any) -> Any:
        with self.xp.current_device():
            return method(self, *arguments, **keywords)

    return run  # type: ignore[return-value]


class PlacedNetwork:
    """A network as data: its configuration, and its parameters on a backend.

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
    target_scaling: TargetScaling | None
    class_numbers: bool

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
            source, self.xp = self.xp, target
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
        state = self.__dict__ | {"xp": None, "parameters": self.xp.to_numpy(self.parameters)}
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
