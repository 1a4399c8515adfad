"""The gradient check: comparison of back-propagation with central differences of the loss.

For each parameter p, the central difference (L(p + epsilon) - L(p - epsilon)) / (2 epsilon), which needs only the
forward pass, is compared with the derivative from back-propagation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlp._backends import ConfigurationError, backpropagation, random
from mlp.checks import require_count, require_positive
from mlp.network import Examples, FeedForward

MAX_SHOWN = 10
_KINKED = ("relu", "leaky_relu", "elu", "selu")  # at z = 0 the derivative jumps, or (elu) the second derivative
_REDUCTION = 0.01
_MIN_EPSILON, _MIN_TOLERANCE = 1e-10, 1e-9
_SMALL = 1e-3  # derivatives below this fraction of the largest are mostly rounding, and are compared on its scale


@dataclass(frozen=True)
class Comparison:
    """One parameter whose two derivatives differ.

    Attributes
    ----------
    layer : int
        Counted from 1.
    parameter : str
        ``"W[2, 0]"`` or ``"b[1]"``, counted from 0.
    backward, numeric : float
        The derivative by back-propagation, and by central differences.
    error : float
        Their relative difference.
    unreliable : str
        Why central differences are not reliable for this parameter; empty if back-propagation is wrong.
    """

    layer: int
    parameter: str
    backward: float
    numeric: float
    error: float
    unreliable: str = ""

    def __str__(self) -> str:
        text = (
            f"layer {self.layer}, {self.parameter}: back-propagation {self.backward:.9g}, central differences "
            f"{self.numeric:.9g}, relative error {self.error:.1e}"
        )
        return f"{text} ({self.unreliable})" if self.unreliable else text


@dataclass(frozen=True)
class Part:
    """Result of the check for the weights or the biases of one layer.

    Attributes
    ----------
    layer : int
        Counted from 1.
    name : {"W", "b"}
    size, checked : int
        Number of parameters, and how many of them were checked.
    unreliable : int
        Number of checked parameters for which central differences are not reliable.
    error : float
        The largest relative error of the other checked parameters.
    wrong : int
        Number of those with an error above the tolerance.
    """

    layer: int
    name: str
    size: int
    checked: int
    unreliable: int
    error: float
    wrong: int


@dataclass(frozen=True)
class GradientCheck:
    """Result of `MLP.gradient_check`.

    Attributes
    ----------
    parts : tuple of Part
        Results for weights and biases, layer by layer.
    offenders : tuple of Comparison
        Parameters with a wrong derivative, the largest error first; at most ten.
    unreliable : tuple of Comparison
        Parameters that cannot be judged, the largest error first; at most ten.
    notes : tuple of str
        Differences between what was requested and what was checked, with the reasons.
    epsilon, tolerance : float
    loss : float
        Including penalties.
    """

    parts: tuple[Part, ...]
    offenders: tuple[Comparison, ...]
    unreliable: tuple[Comparison, ...]
    notes: tuple[str, ...]
    epsilon: float
    tolerance: float
    loss: float

    @property
    def passed(self) -> bool:
        """Whether at least one parameter could be judged, and none is wrong."""
        return not self.offenders and any(part.checked > part.unreliable for part in self.parts)

    @property
    def error(self) -> float:
        """The largest relative error of the parameters that can be judged."""
        return max(part.error for part in self.parts)

    @property
    def verdict(self) -> str:
        """The result in one line."""
        checked, unreliable, wrong = (
            sum(getattr(part, name) for part in self.parts) for name in ("checked", "unreliable", "wrong")
        )
        judged = checked - unreliable
        suffix = f"; {unreliable} more cannot be judged" if unreliable else ""
        if wrong:
            return f"failed: {wrong} of {judged} derivatives are wrong, with errors up to {self.error:.1e}{suffix}"
        if not judged:
            return f"inconclusive: none of {checked} derivatives can be judged"
        return f"passed: {judged} derivatives agree to {self.error:.1e}{suffix}"

    def __str__(self) -> str:
        lines = [self.verdict]
        lines += [
            f"layer {part.layer} {part.name}: {part.checked} of {part.size} checked, largest error {part.error:.1e}"
            + (f", {part.wrong} wrong" if part.wrong else "")
            + (f", {part.unreliable} unreliable" if part.unreliable else "")
            for part in self.parts
        ]
        lines += [f"wrong: {comparison}" for comparison in self.offenders]
        lines += [f"unreliable: {comparison}" for comparison in self.unreliable]
        lines += [f"note: {note}" for note in self.notes]
        return "\n".join(lines)


def check_gradient(
    net: FeedForward,
    X: Any,
    y: Any,
    *,
    sample_weight: Any = None,
    epsilon: float = 1e-5,
    parameters: int | str = 1000,
    tolerance: float = 1e-5,
) -> GradientCheck:
    """Implementation of `MLP.gradient_check`; see there."""
    net.require_trainable()
    if net.plan.layout.scaling_layer:
        raise ConfigurationError(
            "gradient_check does not check the factors of a scaling layer: check net.without_scaling_layer(), which "
            "has the same outputs."
        )
    require_positive("epsilon", epsilon)
    require_positive("tolerance", tolerance)
    if epsilon < _MIN_EPSILON:
        raise ConfigurationError(
            f"epsilon={epsilon:g} is below the rounding errors of float64, so any derivative would pass; use "
            f"{_MIN_EPSILON:g} or more (1e-5 is usual)."
        )
    if tolerance < _MIN_TOLERANCE:
        raise ConfigurationError(
            f"tolerance={tolerance:g} requires more digits than differences in float64 have; use "
            f"{_MIN_TOLERANCE:g} or more (1e-5 is usual)."
        )
    if parameters != "all":
        parameters = require_count("parameters (or 'all')", parameters)
    exact = net.copy(dtype=np.float64)
    examples, _ = exact.check_examples(X, y, sample_weight)
    loss_of = _Loss(exact, examples._replace(X=exact.as_floats(examples.X)))
    chosen = _choose(net, parameters)
    backward = _flat(exact.loss_and_gradients(X, y, sample_weight)[1])
    numeric, error, _ = _compare(loss_of, backward, chosen, epsilon, tolerance)
    suspect = error > tolerance
    # with a smaller epsilon, errors of the central differences shrink, but a wrong derivative stays wrong
    _, smaller_error, between = _compare(loss_of, backward, chosen[suspect], _REDUCTION * epsilon, tolerance)
    wrong, unreliable = suspect.copy(), suspect.copy()
    wrong[suspect] = (smaller_error > tolerance) & ~between
    unreliable[suspect] = ~wrong[suspect]

    def worst(selected: NDArray[np.bool_], explain: bool) -> tuple[Comparison, ...]:
        order = np.argsort(-error, kind="stable")
        return tuple(
            Comparison(
                *_locate(net, int(chosen[i])),
                float(backward[chosen[i]]),
                float(numeric[i]),
                float(error[i]),
                _explain(loss_of, int(chosen[i]), epsilon) if explain else "",
            )
            for i in order[selected[order]][:MAX_SHOWN]
        )

    return GradientCheck(
        _parts(net, chosen, error, wrong, unreliable),
        worst(wrong, explain=False),
        worst(unreliable, explain=True),
        _notes(net, len(chosen)),
        float(epsilon),
        float(tolerance),
        loss_of(),
    )


class _Loss:
    """The loss as a function of the parameters, by the forward pass only.

    Attributes
    ----------
    parameters : array of float64, shape (n_parameters,)
        The parameter buffer of the network, on the device; `at` changes it temporarily.
    """

    def __init__(self, net: FeedForward, examples: Examples) -> None:
        self.net = net
        self.examples = examples
        self.parameters = net.parameters
        self._unused_gradient = net.xp.zeros((net.plan.layout.n_weights,), net.dtype)
        value_share, gradient_share = net.kind.shares(net.sizes[-1])
        self._scale = gradient_share / value_share  # some losses report the mean over outputs and train on the sum

    def __call__(self) -> float:
        net, (X, target, weight) = self.net, self.examples
        z = backpropagation.logits(net.xp, net.plan, self.parameters, X)
        loss = self._scale * float(net.xp.loss_and_delta(net.kind, z, target, weight)[0])
        if net.l2 or net.l1:
            weights = self.parameters[: len(self._unused_gradient)]
            loss += net.xp.add_penalty(weights, self._unused_gradient, l2=net.l2, l1=net.l1)
        return loss

    def at(self, index: int, shift: float, function: Callable[[], Any]) -> Any:
        """`function()` with one parameter shifted."""
        before = self.parameters[index].copy()
        self.parameters[index] += shift
        try:
            return function()
        finally:
            self.parameters[index] = before

    def preactivations(self) -> list[NDArray[Any]]:
        """z of each layer, on the host."""
        net, x, preactivations = self.net, self.examples.X, []
        for (W, b), row in zip(net.plan.layout.layers(self.parameters), net.plan.activations, strict=True):
            z = net.xp.dense(x, W, b)
            preactivations.append(net.xp.to_numpy(z))
            x = net.xp.activate(z, row)
        return preactivations

    def residuals(self) -> NDArray[Any]:
        """Output minus target, on the host."""
        net = self.net
        z = backpropagation.logits(net.xp, net.plan, self.parameters, self.examples.X)
        return np.asarray(net.xp.to_numpy(net.xp.activate(z, net.kind.output) - self.examples.target))


def _compare(
    loss_of: _Loss, backward: NDArray[Any], chosen: NDArray[Any], epsilon: float, tolerance: float
) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.bool_]]:
    """Central differences of the chosen parameters, compared with back-propagation.

    Returns
    -------
    numeric : ndarray of float64
    error : ndarray of float64
        Relative error; infinite if one of the two is not finite.
    between : ndarray of bool
        Whether the derivative of back-propagation lies between the two one-sided differences, as at a kink.
    """
    loss, one_sided = loss_of(), np.empty((2, len(chosen)))
    for i, index in enumerate(chosen.tolist()):
        one_sided[0, i] = (loss - loss_of.at(index, -epsilon, loss_of)) / epsilon
        one_sided[1, i] = (loss_of.at(index, epsilon, loss_of) - loss) / epsilon
    numeric, analytic = one_sided.mean(axis=0), backward[chosen]
    # derivatives that are small compared with the rounding of the loss are compared on the scale of that rounding
    rounding = 8 * np.finfo(np.float64).eps * max(abs(loss), 1.0) / epsilon
    min_scale = max(_SMALL * np.abs(backward).max(), rounding / tolerance)
    with np.errstate(invalid="ignore"):
        scale = np.maximum(np.maximum(np.abs(analytic), np.abs(numeric)), min_scale)
        error = np.abs(analytic - numeric) / scale
        slack = tolerance * scale
        between = (one_sided.min(axis=0) - slack <= analytic) & (analytic <= one_sided.max(axis=0) + slack)
    error[np.isnan(error)] = np.inf
    return numeric, error, between


def _flat(gradients: list[tuple[NDArray[Any], NDArray[Any]]]) -> NDArray[Any]:
    """The gradient as a vector in the order of the parameter buffer."""
    return np.concatenate([dW.ravel() for dW, _ in gradients] + [db for _, db in gradients])


def _buffers(net: FeedForward) -> list[tuple[int, str, tuple[int, ...]]]:
    """Layer, name and shape of each weight matrix and bias vector, in the order of the parameter buffer."""
    layers = list(enumerate(pairwise(net.sizes), start=1))
    return [(l, "W", shape) for l, shape in layers] + [(l, "b", shape[1:]) for l, shape in layers]


def _choose(net: FeedForward, parameters: int | str) -> NDArray[np.int64]:
    """Indices of the parameters to check: all of small weight matrices and bias vectors, a sample of large ones."""
    sizes = [int(np.prod(shape)) for _, _, shape in _buffers(net)]
    remaining = sum(sizes) if parameters == "all" else int(parameters)
    counts = [0] * len(sizes)
    smallest_first = sorted(range(len(sizes)), key=sizes.__getitem__)
    for rank, part in enumerate(smallest_first):
        counts[part] = min(sizes[part], max(remaining // (len(sizes) - rank), 1))
        remaining -= counts[part]
    starts = np.cumsum([0, *sizes[:-1]])
    indices = [
        start + np.sort(random.permutation(net.seed, part, size)[:count])
        for part, (start, size, count) in enumerate(zip(starts, sizes, counts, strict=True))
    ]
    return np.concatenate(indices)


def _locate(net: FeedForward, index: int) -> tuple[int, str]:
    """Layer and name of the parameter at an index of the parameter buffer."""
    for layer, name, shape in _buffers(net):
        size = int(np.prod(shape))
        if index < size:
            position = ", ".join(str(int(i)) for i in np.unravel_index(index, shape))
            return layer, f"{name}[{position}]"
        index -= size
    raise IndexError(index)


def _parts(
    net: FeedForward, chosen: NDArray[Any], error: NDArray[Any], wrong: NDArray[Any], unreliable: NDArray[Any]
) -> tuple[Part, ...]:
    parts, start = [], 0
    for layer, name, shape in _buffers(net):
        size = int(np.prod(shape))
        inside = (chosen >= start) & (chosen < start + size)
        judged = error[inside & ~unreliable]
        counts = (int((inside & mask).sum()) for mask in (unreliable, wrong))
        parts.append(
            Part(layer, name, size, int(inside.sum()), next(counts), float(judged.max(initial=0.0)), next(counts))
        )
        start += size
    return tuple(sorted(parts, key=lambda part: part.layer))  # stable, so W comes before b


def _explain(loss_of: _Loss, index: int, epsilon: float) -> str:
    """Why central differences are not reliable for a parameter."""
    net, shifts = loss_of.net, (-epsilon, epsilon)
    below, above = (loss_of.at(index, shift, loss_of.preactivations) for shift in shifts)
    for layer, (activation, low, high) in enumerate(zip(net.plan.activations, below, above, strict=True), start=1):
        if activation.name in _KINKED and (position := _crossing(low, high)):
            row, unit = position
            return f"row {row} crosses the kink of {activation.name} in layer {layer}, unit {unit}: z = 0"
    loss = net.kind.loss.name
    if loss in ("mae", "huber", "quantile"):
        low, high = (loss_of.at(index, shift, loss_of.residuals) for shift in shifts)
        if loss == "huber":
            low, high = np.abs(low) - 1, np.abs(high) - 1
        if position := _crossing(low, high):
            row, output = position
            return f"row {row} crosses the kink of {loss} in output {output}"
    if net.l1 and abs(float(loss_of.parameters[index])) <= epsilon:
        return "the l1 penalty has its kink at 0"
    return "the derivative changes fast here; try a smaller epsilon, or scale the inputs"


def _crossing(low: NDArray[Any], high: NDArray[Any]) -> tuple[int, int] | None:
    """Row and column of the first entry with a change of sign."""
    positions = np.argwhere(np.sign(low) != np.sign(high))
    return (int(positions[0][0]), int(positions[0][1])) if len(positions) else None


def _notes(net: FeedForward, checked: int) -> tuple[str, ...]:
    total, notes = net.plan.layout.n_parameters, []
    if checked < total:
        notes.append(f"{checked:,} of {total:,} parameters were checked, drawn with seed {net.seed}")
    if net.dtype != np.float64:
        notes.append(
            f"the network is {net.dtype}, in which differences of the loss are mostly rounding errors; a float64 copy "
            "was checked"
        )
    if any(net.plan.dropout):
        notes.append("dropout was off")
    return tuple(notes)
