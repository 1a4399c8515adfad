"""Plans: a network's structure and one epoch of its training, as immutable data.

A plan contains rows of the tables of formulas, numbers and host arrays.  It contains no device arrays, and no
code except user-defined functions, so every backend can use it.  It does not change during training.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backends import random
from backends.errors import ConfigurationError, UnknownNameError
from backends.formulas import Activation, OutputLoss, Rule
from backends.row_orders import RowOrder

Array = Any
"""An array of the backend in use: `numpy.ndarray` or `cupy.ndarray`, which have no common base class."""

PRECISIONS = ("float32", "tf32", "bf16")
"""Values of `NetworkPlan.precision`."""


@dataclass(frozen=True)
class Layout:
    """Positions of the weights and biases of each layer in the flat buffer of a network's parameters.

    All weights come first, then all biases, then the factors of the scaling layer.  So the weights, to which
    penalties and weight decay apply, are one slice.

    Attributes
    ----------
    sizes : tuple of int
        Width of the input, of each hidden layer, and of the output.
    scaling_layer : bool
        Whether a trainable factor for each input precedes the first layer.

    Examples
    --------
    >>> layout = Layout((784, 30, 10))
    >>> layout.n_weights, layout.n_parameters
    (23820, 23860)
    >>> [(W.shape, b.shape) for W, b in layout.layers(np.zeros(layout.n_parameters))]
    [((784, 30), (30,)), ((30, 10), (10,))]
    """

    sizes: tuple[int, ...]
    scaling_layer: bool = False

    @property
    def n_layers(self) -> int:
        return len(self.sizes) - 1

    @cached_property
    def n_weights(self) -> int:
        return sum(n_in * n_out for n_in, n_out in pairwise(self.sizes))

    @cached_property
    def n_parameters(self) -> int:
        return self.n_weights + sum(self.sizes[1:]) + self.scaling_layer * self.sizes[0]

    @property
    def flops_per_row(self) -> float:
        """Floating-point operations of a training step for each row of its batch, in the matrix products."""
        return 6.0 * self.n_weights  # one product and one sum for each weight, once forward and twice backward

    def layers(self, flat: Array) -> list[tuple[Array, Array]]:
        """Views (W, b) into `flat`, shape (n_parameters,): W (n_in, n_out) and b (n_out,) of each layer."""
        views, weight, bias = [], 0, self.n_weights
        for n_in, n_out in pairwise(self.sizes):
            W = flat[weight : weight + n_in * n_out].reshape(n_in, n_out)
            views.append((W, flat[bias : bias + n_out]))
            weight, bias = weight + n_in * n_out, bias + n_out
        return views

    def weights(self, flat: Array) -> list[Array]:
        """Views W (n_in, n_out) of each layer into `flat`, shape (n_weights,) or longer."""
        views, start = [], 0
        for n_in, n_out in pairwise(self.sizes):
            views.append(flat[start : start + n_in * n_out].reshape(n_in, n_out))
            start += n_in * n_out
        return views

    def scaling(self, flat: Array) -> Array | None:
        """View of the scaling layer's factors in `flat`, shape (n_in,); None without such a layer."""
        return flat[self.n_parameters - self.sizes[0] :] if self.scaling_layer else None


@dataclass(frozen=True)
class NetworkPlan:
    """A network's structure.

    Attributes
    ----------
    layout : Layout
    activations : tuple of Activation
        One for each layer; the last is the output activation.
    kind : OutputLoss
        The output activation and the loss.
    dropout : tuple of float
        Dropout rate on the input of each layer: ``dropout[0]`` applies to the network's input.
    input_scale : float
        Factor applied to integer inputs.
    precision : {"float32", "tf32", "bf16"}
        Precision of the matrix products in training.  ``float32``: that of the parameters, float32 or float64.
        ``tf32`` and ``bf16``: the factors are rounded to TF32 (10 bits of mantissa) or bfloat16 (7 bits); sums,
        parameters and state are float32.  A backend that cannot do this raises an error, see `Backend.precisions`.

    Raises
    ------
    UnknownNameError
        If there is no such precision.
    ConfigurationError
        If the loss has several levels, but not one for each output.

    Examples
    --------
    >>> from backends import formulas
    >>> kind = formulas.pair("identity", "mse")
    >>> NetworkPlan(Layout((2, 1)), (kind.output,), kind, (0.0,), precision="tf23")
    Traceback (most recent call last):
        ...
    backends.errors.UnknownNameError: unknown precision 'tf23'; did you mean 'tf32'? Valid: float32, tf32, bf16
    """

    layout: Layout
    activations: tuple[Activation, ...]
    kind: OutputLoss
    dropout: tuple[float, ...]
    input_scale: float = 1.0
    precision: str = "float32"

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise UnknownNameError.among("precision", self.precision, PRECISIONS)
        if self.kind.loss.levels:
            self.kind.loss.level_of_each(self.layout.sizes[-1])


@dataclass(frozen=True, eq=False)  # arrays have no single truth value
class EpochPlan:
    """One epoch of training, or a part of one.

    Batches are numbered from 0 along `order`.  Arrays with one value for each batch include all batches of `order`,
    also if only a part of them runs.

    Attributes
    ----------
    network : NetworkPlan
    rule : Rule
    batch_size : int
        Rows of a batch; the last batch has the remaining rows.
    order : ndarray of int64, shape (n,), Shuffle or BlockShuffle
        The row numbers in the order of the epoch.
    learning_rates : ndarray of float64, shape (number of batches,)
    l2 : ndarray of float64, shape (number of batches,)
        Factor of half the sum of squared weights in each batch's loss.
    l1 : float
        Factor of the sum of absolute weights.
    weight_decay : float
        Decoupled weight decay: before each update the weights are multiplied by 1 - learning_rate * weight_decay
        (Loshchilov & Hutter 2019).
    clip_value, clip_norm : float or None
        Bounds on each entry of the gradient, and then on its Euclidean norm.
    seed, epoch : int
        Together with the batch number and the layer number, the counter of the dropout masks.
    first_step : int
        Number of updates before batch 0; Adam's t is this number plus the number of batches so far.
    halt : bool
        Stop at the first loss that is not finite; with False, training continues, as in scikit-learn.
    first_batch : int
        The first batch to run.
    n_batches : int or None
        Number of batches to run; None for all remaining batches.
    batches_before : int
        Number of batches of the epoch before `order`, if the epoch consists of several such orders; the dropout
        masks depend on it.
    row_offset : int
        Position of the first row of each batch in its global batch, if several processes divide a global batch;
        the dropout masks depend on it.
    batch_weight : ndarray of float64, shape (number of batches,), or None
        Number of rows (or sum of the weights) of each global batch, by which loss and gradient are divided;
        None for those of the batch itself.
    rate_factors : tuple of (int, int, float)
        ``(start, stop, factor)``: the learning rate of the parameters ``[start:stop]`` of the flat buffer is
        multiplied by `factor`.  Slices are in ascending order and do not overlap.
    label_smoothing : float
        Weight s of the uniform distribution in the targets (Szegedy et al. 2016, section 7), 0 <= s < 1.

    Raises
    ------
    ConfigurationError
        If the range of batches, the slices or the label smoothing are invalid.
    """

    network: NetworkPlan
    rule: Rule
    batch_size: int
    order: NDArray[np.int64] | RowOrder
    learning_rates: NDArray[np.float64]
    l2: NDArray[np.float64]
    l1: float = 0.0
    weight_decay: float = 0.0
    clip_value: float | None = None
    clip_norm: float | None = None
    seed: int = 0
    epoch: int = 0
    first_step: int = 0
    halt: bool = True
    first_batch: int = 0
    n_batches: int | None = None
    batches_before: int = 0
    row_offset: int = 0
    batch_weight: NDArray[np.float64] | None = None
    rate_factors: tuple[tuple[int, int, float], ...] = ()
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        self._check_counts()
        self._check_arrays()
        total = self._total_batches
        if not 0 <= self.first_batch <= total or not 0 <= (self.n_batches or 0) <= total - self.first_batch:
            raise ConfigurationError(
                f"first_batch={self.first_batch} and n_batches={self.n_batches} must lie within the {total} batches "
                f"that {len(self.order)} rows make at batch_size={self.batch_size}."
            )
        bounds = [bound for start, stop, _ in self.rate_factors for bound in (start, stop)]
        if bounds != sorted(bounds) or not all(0 <= bound <= self.network.layout.n_parameters for bound in bounds):
            raise ConfigurationError(
                f"rate_factors={self.rate_factors!r:.200} must be slices (start, stop, factor) in ascending order, "
                f"without overlap, of {self.network.layout.n_parameters} parameters."
            )
        if not 0 <= self.label_smoothing < 1:
            raise ConfigurationError(f"label_smoothing={self.label_smoothing!r} must be at least 0 and below 1.")
        if self.label_smoothing and self.network.kind.loss.name not in SMOOTHED_LOSSES:
            raise ConfigurationError(
                "label_smoothing requires targets that are probabilities, but those of the loss "
                f"{self.network.kind.loss.name!r} are not. Use the loss {' or '.join(SMOOTHED_LOSSES)}."
            )

    def _check_counts(self) -> None:
        if self.batch_size < 1:
            raise ConfigurationError(f"batch_size={self.batch_size!r} must be 1 or more.")
        random.check_seed(self.seed)
        for name in ("epoch", "first_step", "batches_before", "row_offset"):
            if getattr(self, name) < 0:
                raise ConfigurationError(f"{name}={getattr(self, name)!r} must not be negative.")

    def _check_arrays(self) -> None:
        order = self.order
        if not isinstance(order, RowOrder) and not (
            isinstance(order, np.ndarray) and order.ndim == 1 and order.dtype.kind in "iu"
        ):
            raise ConfigurationError(
                f"order must be a 1-d NumPy array of row numbers, Shuffle or BlockShuffle, not {type(order).__name__}."
            )
        expected = (self._total_batches,)
        for name in ("learning_rates", "l2", "batch_weight"):
            array = getattr(self, name)
            if (array is not None or name != "batch_weight") and np.shape(array) != expected:
                raise ConfigurationError(
                    f"{name} has shape {np.shape(array)} and must have {expected}: a value for each batch of the order."
                )

    @property
    def _total_batches(self) -> int:
        return -(-len(self.order) // self.batch_size)

    @property
    def batches(self) -> range:
        """Numbers of the batches that run."""
        count = self._total_batches - self.first_batch if self.n_batches is None else self.n_batches
        return range(self.first_batch, self.first_batch + count)

    def row_numbers(self) -> NDArray[np.int64]:
        """The row numbers in the order of the epoch, as a host array."""
        return self.order.row_numbers() if isinstance(self.order, RowOrder) else self.order

    def batch_rows(self, batch: int) -> slice:
        """Slice of the order that contains the rows of a batch."""
        return slice(batch * self.batch_size, min((batch + 1) * self.batch_size, len(self.order)))

    def batch_weights(self, weight: NDArray[np.float64] | None) -> NDArray[np.float64]:
        """Number of rows of each batch that runs, or the sum of their weights.

        `weight` has one entry for each row of `order`, in that order.
        """
        batches = self.batches
        if not batches:
            return np.empty(0)
        stop = min(batches.stop * self.batch_size, len(self.order))
        if weight is not None:
            starts = np.arange(batches.start, batches.stop) * self.batch_size
            return np.add.reduceat(weight[:stop], starts, dtype=np.float64)
        counts = np.full(len(batches), float(self.batch_size))
        counts[-1] = stop - (batches.stop - 1) * self.batch_size
        return counts

    def normalizers(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """What loss and gradient of each batch that runs are divided by; `weights` are its `batch_weights`."""
        return weights if self.batch_weight is None else self.batch_weight[self.batches.start : self.batches.stop]

    def segments(self) -> list[tuple[int, int, float]]:
        """Slices ``(start, stop, factor)`` that cover all parameters, each with its factor of the learning rate."""
        slices, position = [], 0
        for start, stop, factor in self.rate_factors:
            slices += [(position, start, 1.0), (start, stop, factor)]
            position = stop
        slices.append((position, self.network.layout.n_parameters, 1.0))
        return [(start, stop, factor) for start, stop, factor in slices if start < stop]


SMOOTHED_LOSSES = ("cross_entropy", "binary_cross_entropy")
"""Losses whose targets are probabilities, as label smoothing requires."""


@dataclass
class Control:
    """Two integers shared with a running epoch: a request to stop, and the number of batches done.

    Attributes
    ----------
    words : ndarray of int64, shape (2,)
        Kernels without Python read and write this array directly.
    batches_before : int
        Batches that were done before those that the second word counts.
    """

    words: NDArray[np.int64] = field(default_factory=lambda: np.zeros(2, np.int64))
    batches_before: int = 0

    def __post_init__(self) -> None:
        if self.words.shape != (2,) or self.words.dtype != np.int64:
            raise ConfigurationError(f"words must be an int64 array of shape (2,), not {self.words!r}.")

    @property
    def stop_requested(self) -> bool:
        return bool(self.words[0])

    def request_stop(self) -> None:
        """Ask the running epoch to stop after the current batch."""
        self.words[0] = 1

    def withdraw_stop(self) -> None:
        """Withdraw the request to stop."""
        self.words[0] = 0

    @property
    def batches_done(self) -> int:
        """Number of batches done, `batches_before` included; assign the number without them."""
        return self.batches_before + int(self.words[1])

    @batches_done.setter
    def batches_done(self, count: int) -> None:
        self.words[1] = count


@dataclass(frozen=True, eq=False)  # arrays have no single truth value
class EpochResult:
    """Result of an epoch, or of the part of it that ran.

    Attributes
    ----------
    losses : ndarray of float64, shape (batches done,)
        Loss of each batch before its update, penalties included.
    weights : ndarray of float64, shape (batches done,)
        Number of rows (or sum of the weights) of each batch: the weight of its loss in the mean over the epoch.
    failed : int or None
        The first batch whose loss was not finite; unless the plan has ``halt=False``, neither this batch nor a
        later one makes an update.
    finite : bool
        Whether all parameters are finite at the end.
    """

    losses: NDArray[np.float64]
    weights: NDArray[np.float64]
    failed: int | None = None
    finite: bool = True


BatchHook = Callable[[int, float], None]
"""Called after each batch with its number and loss."""
