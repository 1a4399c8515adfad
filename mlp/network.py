"""`FeedForward`: a network's structure and its parameters on a backend.

This is the core that training, files and inspection work on; it imports none of them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from mlp._backends import (
    Backend,
    BackendUnavailableError,
    ConfigurationError,
    NetworkPlan,
    ShapeError,
    formulas,
    get_backend,
    loop,
    resolve,
)
from mlp.configuration import Configuration
from mlp.initializers import draw_layer
from mlp.validation import as_array, cast, check_dtype, check_inputs, check_targets, check_weight, require_finite

if TYPE_CHECKING:
    from mlp.data import Preprocessing

logger = logging.getLogger("mlp")

CHUNK = 4096
"""Rows that go through a network at a time outside training; bounds the memory of the activations."""


class Examples(NamedTuple):
    """Inputs, targets and weights on the device, checked."""

    X: Any
    target: Any
    weight: Any

    @property
    def rows(self) -> int:
        """How many there are."""
        return int(self.X.shape[0])


class FeedForward:
    """Layers that feed each other, with their parameters on a backend.

    Parameters
    ----------
    configuration : Configuration
        From `mlp.configuration.configure`.
    backend, device : str
        As of `MLP`.

    Attributes
    ----------
    plan : NetworkPlan
    xp : Backend
    parameters : array, shape (n_parameters,)
        On the device: all weights, then all biases; `plan.layout` gives views of each layer.
    class_numbers : bool
        Whether it was trained on class numbers, which makes its outputs classes under any loss.
    backend_reason : str
        Why it is on this backend.
    """

    plan: NetworkPlan
    init: tuple[str, ...]
    seed: int
    dtype: np.dtype[Any]
    l2: float
    l1: float
    input_scale: float | None
    classes: tuple[Any, ...] | None
    preprocessing: Preprocessing | None
    target_scaling: tuple[tuple[float, ...], tuple[float, ...]] | None
    class_numbers: bool

    def __init__(self, configuration: Configuration, backend: str = "auto", device: str = "auto") -> None:
        for field in fields(configuration):
            setattr(self, field.name, getattr(configuration, field.name))
        self._requested = backend, device
        name, place, self.backend_reason = resolve(backend, device)
        self.xp: Backend = get_backend(name, place)
        self.parameters = self.xp.empty((self.plan.layout.n_parameters,), self.dtype)
        self.reset()

    def __repr__(self) -> str:
        hidden = ", ".join(row.name for row in self.plan.activations[:-1])
        return (
            f"<{type(self).__name__} {'-'.join(map(str, self.sizes))}, {hidden or 'no hidden layer'}, "
            f"{self.kind.name}, {self.plan.layout.n_parameters} parameters of {self.dtype}, "
            f"{self.backend} on {self.xp.device}>"
        )

    # -- structure ----------------------------------------------------------------------------------

    @property
    def configuration(self) -> Configuration:
        """What makes this network again, with `l2` and the like as they are now."""
        return Configuration(**{field.name: getattr(self, field.name) for field in fields(Configuration)})

    def get_config(self) -> dict[str, Any]:
        """The arguments that make this network again, as plain data; a user's own functions by their names."""
        return self.configuration.to_dict()

    @property
    def sizes(self) -> tuple[int, ...]:
        """Width of the input, of each hidden layer, and of the output."""
        return self.plan.layout.sizes

    @property
    def kind(self) -> formulas.OutputLoss:
        """The output's activation with the loss."""
        return self.plan.kind

    @property
    def task(self) -> str:
        """What the network answers: one of several ``"classes"``, several yes/no ``"labels"``, or ``"numbers"``."""
        if self.kind.loss.name == "cross_entropy" or self.class_numbers:
            return "classes" if self.sizes[-1] > 1 else "labels"
        return "labels" if self.kind.loss.name == "binary_cross_entropy" else "numbers"

    def require_trainable(self) -> None:
        """Raise `NotDifferentiableError` if an activation has no slope to learn by."""
        for row in self.plan.activations:
            formulas.require_derivative(row)

    # -- parameters ---------------------------------------------------------------------------------

    def reset(self) -> None:
        """Draw the initial weights again and forget what training has left behind."""
        flat = np.empty(self.plan.layout.n_parameters)
        for layer, (W, b) in enumerate(self.plan.layout.layers(flat)):
            W[...], b[...] = draw_layer(self.init[layer], self.seed, layer, *W.shape)
        self.parameters[...] = self.xp.asarray(flat, dtype=self.dtype)
        self.class_numbers = False

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

    def _host_layers(self) -> list[tuple[NDArray[Any], NDArray[Any]]]:
        flat = self.xp.to_numpy(self.parameters).copy()
        flat.flags.writeable = False  # a change to this copy would be lost
        return self.plan.layout.layers(flat)

    def _assign(self, name: str, part: int, values: Sequence[Any]) -> None:
        if not isinstance(values, Iterable):
            raise ShapeError(f"{name} are a list of arrays, one for each layer, not {values!r}.")
        values = list(values)
        views = [layer[part] for layer in self.plan.layout.layers(self.parameters)]
        if len(values) != len(views):
            raise ShapeError(f"{name} of a network of {len(views)} layers are {len(views)} arrays, not {len(values)}.")
        arrays = []
        for number, (view, value) in enumerate(zip(views, values, strict=True), start=1):
            array = as_array(f"{name}[{number - 1}]", value, self.xp)
            if array.shape != view.shape:
                raise ShapeError(f"{name} of layer {number} have shape {view.shape}, not {array.shape}.")
            require_finite(f"{name}[{number - 1}]", array, "Parameters must be finite.")
            arrays.append(cast(f"{name}[{number - 1}]", array, self.dtype, self.xp))
        for view, array in zip(views, arrays, strict=True):  # only now: all or nothing
            view[...] = array

    # -- where it is --------------------------------------------------------------------------------

    @property
    def backend(self) -> str:
        """Name of the backend that holds the parameters."""
        return self.xp.name

    def to(self, backend: str = "auto", device: str = "auto") -> Self:
        """Move the network, and what training remembers, to another backend; returns the network itself.

        Examples
        --------
        >>> import mlp
        >>> mlp.MLP([2, 3, 1], loss="mse").to("numpy").backend
        'numpy'
        """
        name, place, reason = resolve(backend, device)
        self._requested = backend, device
        self.move(name, place, reason)
        return self

    def move(self, name: str, device: str, reason: str) -> None:
        """Move to a backend that `resolve` has named, and keep the reason; what was asked for stays as it is."""
        target = get_backend(name, device)
        self.backend_reason = reason
        if target is not self.xp:
            source, self.xp = self.xp, target
            self.parameters = target.asarray(source.to_numpy(self.parameters))

    def choose_backend(self, n: int, epochs: int, batch_size: int) -> None:
        """Settle ``backend="auto"`` now that the work is known: `epochs` over `n` rows."""
        if self._requested[0] != "auto":
            return
        work = 6.0 * self.plan.layout.n_weights  # a product and a sum, forward and twice backward
        name, device, reason = resolve(*self._requested, step_flops=work * batch_size, run_flops=work * n * epochs)
        self.move(name, device, reason)
        logger.info("backend %s on %s: %s", name, device, reason)

    def copy(self, dtype: Any = None) -> Self:
        """A network of its own on the same backend, with the same parameters, in another `dtype` if one is given."""
        net = object.__new__(type(self))
        vars(net).update(vars(self))
        if dtype is None:
            net.parameters = self.parameters.copy()
        else:
            net.dtype = check_dtype(dtype)
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
        if not self.parameters.flags.writeable:  # joblib hands large arrays to its workers as read-only maps
            self.parameters = self.parameters.copy()
        try:
            self.move(name, device, state["backend_reason"])
        except (BackendUnavailableError, ConfigurationError) as error:
            logger.warning("a network pickled on %s was loaded to numpy instead: %s", device, error)
            self._requested = "auto", "auto"

    # -- rows in, outputs and gradients out ---------------------------------------------------------

    def check_inputs(self, X: Any) -> Any:
        """Inputs as a device array, shape (n, n_in), of the network's dtype; uint8 stays uint8."""
        return check_inputs(X, self.sizes[0], self.dtype, self.xp)

    def check_examples(
        self, X: Any, y: Any, sample_weight: Any = None, *, whole: bool = False
    ) -> tuple[Examples, bool]:
        """Checked examples on the device, and whether the targets are class numbers.

        Parameters
        ----------
        X, y, sample_weight : array_like
            As of `MLP.fit`.
        whole : bool
            These are all the targets there will be, so one class alone is a mistake.
        """
        X = self.check_inputs(X)
        n = X.shape[0]
        if self.target_scaling is not None:
            shift, scale = (np.array(part) for part in self.target_scaling)
            y = as_array("y", y, self.xp)
            y = (y - shift if y.ndim > 1 else y - shift[0]) / (scale if y.ndim > 1 else scale[0])
        target, class_numbers = check_targets(y, n, self.kind, self.sizes[-1], self.dtype, self.xp, whole=whole)
        weight = None if sample_weight is None else check_weight(sample_weight, n, self.dtype, self.xp)
        return Examples(X, target, weight), class_numbers

    def on_device(self, examples: Examples) -> Examples:
        """The examples where the network is now; it may have moved since they were checked."""
        return Examples(*(None if array is None else self.xp.asarray(array) for array in examples))

    def as_floats(self, x: Any) -> Any:
        """A device array of checked inputs in the network's dtype: uint8 is scaled by `input_scale`."""
        if x.dtype == self.dtype:
            return x
        out = self.xp.empty(x.shape, self.dtype)
        return self.xp.take_rows(x, self.xp.namespace.arange(x.shape[0]), out=out, scale=self.plan.input_scale)

    def logits(self, X: Any) -> Any:
        """What enters the output's activation, for checked rows on the device; a device array."""
        with np.errstate(all="ignore"):
            return loop.logits(self.xp, self.plan, self.parameters, self.as_floats(X))

    def feedforward(self, X: Any) -> NDArray[Any]:
        """The network's output for each row of X, without dropout.

        Parameters
        ----------
        X : array_like, shape (n, n_in)
            Real numbers, cast to the network's dtype; uint8 is multiplied by `input_scale`.

        Returns
        -------
        ndarray, shape (n, n_out)
            Of the network's dtype, on the host.

        Raises
        ------
        ShapeError, DtypeError, DataError

        Examples
        --------
        >>> import mlp
        >>> mlp.MLP([2, 3], init="zeros").feedforward([[1.0, 2.0]])
        array([[0.33333334, 0.33333334, 0.33333334]], dtype=float32)
        """
        X = self.check_inputs(X)
        chunks = [
            self.xp.to_numpy(self.xp.activate(self.logits(X[first : first + CHUNK]), self.kind.output))
            for first in range(0, X.shape[0], CHUNK)
        ]
        y = np.concatenate(chunks)
        if self.target_scaling is not None:
            shift, scale = (np.array(part, dtype=self.dtype) for part in self.target_scaling)
            y = y * scale + shift
        return y

    def predict(self, X: Any) -> NDArray[Any]:
        """The network's answer to each row of X.

        Parameters
        ----------
        X : array_like, shape (n, n_in)
            As in `feedforward`.

        Returns
        -------
        ndarray, shape (n,), or (n, n_out) for several answers a row
            By `task`: class numbers, labels 0 and 1 (an output above 1/2), or the outputs themselves.

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
            For a single sigmoid output the columns are no and yes.

        Raises
        ------
        ConfigurationError
            If the outputs are no probabilities.
        """
        if self.kind.output.name not in ("softmax", "sigmoid"):
            raise ConfigurationError(
                f"outputs of {self.kind.output.name!r} are no probabilities; predict_proba needs a softmax or sigmoid "
                "output, and feedforward gives the outputs as they are."
            )
        y = self.feedforward(X)
        return np.hstack([1 - y, y]) if y.shape[1] == 1 else y

    def loss_and_gradients(
        self, X: Any, y: Any, sample_weight: Any = None
    ) -> tuple[float, list[tuple[NDArray[Any], NDArray[Any]]]]:
        """Mean loss of the rows, penalties included, and its slopes by back-propagation; without dropout.

        Parameters
        ----------
        X, y, sample_weight
            As in `MLP.evaluate`.

        Returns
        -------
        loss : float
        gradients : list of (dW, db)
            Shapes (n_in, n_out) and (n_out,), one pair for each layer; host arrays of the network's dtype.

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
        space = loop.Workspace(self.xp, self.plan, X.shape[0], self.dtype)
        loss, gradient = loop.loss_and_gradient(
            self.xp, self.plan, self.parameters, space, self.as_floats(X), target, weight, l2=self.l2, l1=self.l1
        )
        return loss, self.plan.layout.layers(self.xp.to_numpy(gradient))
