"""The gradient check: back-propagation against central differences of the loss.

Every parameter p is moved to p - epsilon and p + epsilon, and (L(p + epsilon) - L(p - epsilon)) / (2 epsilon), which
needs the forward pass alone, is held against the slope that back-propagation gives.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlp._backends import ConfigurationError, loop, random
from mlp.network import Examples, FeedForward
from mlp.validation import require_count, require_positive

SHOWN_OFFENDERS = 10
_KINKED = ("relu", "leaky_relu", "elu", "selu")  # at z = 0 the slope jumps, or (elu) its slope does
_CLOSER = 0.01
_LEAST_EPSILON, _LEAST_TOLERANCE = 1e-10, 1e-9
_SMALL = 1e-3  # slopes below this part of the largest are compared on its scale: rounding is all that is left of them


@dataclass(frozen=True)
class Comparison:
    """One parameter whose two slopes differ.

    Attributes
    ----------
    layer : int
        Counted from 1.
    parameter : str
        ``"W[2, 0]"`` or ``"b[1]"``, counted from 0.
    backward, numeric : float
        The slope by back-propagation, and by central differences.
    error : float
        Their relative difference.
    unreliable : str
        Why central differences tell nothing here; empty where back-propagation is to blame.
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
    """What the check found of the weights or the biases of a layer.

    Attributes
    ----------
    layer : int
        Counted from 1.
    name : {"W", "b"}
    size, checked : int
        How many parameters there are, and how many of them were checked.
    unreliable : int
        How many of those central differences tell nothing of.
    error : float
        The largest relative error of the others.
    wrong : int
        How many of them are off by more than the tolerance.
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
    """What `MLP.gradient_check` found.

    Attributes
    ----------
    parts : tuple of Part
        Weights and biases, layer by layer.
    offenders : tuple of Comparison
        The worst parameters that are wrong, the worst first; at most ten.
    unreliable : tuple of Comparison
        The worst of those that cannot be judged; at most ten.
    notes : tuple of str
        What was checked in place of what was asked about, and why.
    epsilon, tolerance : float
    loss : float
        Penalties included.
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
        """Whether some parameter could be judged, and none is wrong."""
        return not self.offenders and any(part.checked > part.unreliable for part in self.parts)

    @property
    def error(self) -> float:
        """The largest relative error of all parameters that can be judged."""
        return max(part.error for part in self.parts)

    @property
    def verdict(self) -> str:
        """The result in a line."""
        checked, unreliable, wrong = (
            sum(getattr(part, what) for part in self.parts) for what in ("checked", "unreliable", "wrong")
        )
        judged = checked - unreliable
        rest = f"; {unreliable} more cannot be judged" if unreliable else ""
        if wrong:
            return f"failed: {wrong} of {judged} slopes are wrong, by up to {self.error:.1e}{rest}"
        if not judged:
            return f"inconclusive: none of {checked} slopes can be judged"
        return f"passed: {judged} slopes agree to {self.error:.1e}{rest}"

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
    """What `MLP.gradient_check` does; see there."""
    net.require_trainable()
    require_positive("epsilon", epsilon)
    require_positive("tolerance", tolerance)
    if epsilon < _LEAST_EPSILON:
        raise ConfigurationError(
            f"epsilon={epsilon:g} is lost in the rounding of float64, and any slope would pass; use {_LEAST_EPSILON:g} "
            "or more (1e-5 is usual)."
        )
    if tolerance < _LEAST_TOLERANCE:
        raise ConfigurationError(
            f"tolerance={tolerance:g} asks for more digits than differences in float64 have; use "
            f"{_LEAST_TOLERANCE:g} or more (1e-5 is usual)."
        )
    if parameters != "all":
        parameters = require_count("parameters (or 'all')", parameters)
    exact = net.copy(dtype=np.float64)
    examples, _ = exact.check_examples(X, y, sample_weight)
    loss_of = _Loss(exact, examples._replace(X=exact.as_floats(examples.X)))
    chosen = _choose(net, parameters)
    backward = _flat(exact.loss_and_gradients(X, y, sample_weight)[1])
    numeric, error, _ = _compare(loss_of, backward, chosen, epsilon, tolerance)
    off = error > tolerance
    # what bends within epsilon bends less within a hundredth of it; a mistake stays one
    _, closer, between = _compare(loss_of, backward, chosen[off], _CLOSER * epsilon, tolerance)
    wrong, unreliable = off.copy(), off.copy()
    wrong[off] = (closer > tolerance) & ~between
    unreliable[off] = ~wrong[off]

    def worst(which: NDArray[np.bool_], explain: bool) -> tuple[Comparison, ...]:
        order = np.argsort(-error, kind="stable")
        return tuple(
            Comparison(
                *_place(net, int(chosen[i])),
                float(backward[chosen[i]]),
                float(numeric[i]),
                float(error[i]),
                _explain(loss_of, int(chosen[i]), epsilon) if explain else "",
            )
            for i in order[which[order]][:SHOWN_OFFENDERS]
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
    """The loss as a function of the parameters: the forward pass alone.

    Attributes
    ----------
    parameters : array of float64, shape (n_parameters,)
        On the device; to be moved.
    """

    def __init__(self, net: FeedForward, examples: Examples) -> None:
        self.net = net
        self.examples = examples
        self.parameters = net.parameters
        self._unused = net.xp.zeros((net.plan.layout.n_weights,), net.dtype)
        value, slope = net.kind.shares(net.sizes[-1])
        self._scale = slope / value  # a loss may tell the mean over the outputs, and learn from their sum

    def __call__(self) -> float:
        net, (X, target, weight) = self.net, self.examples
        z = loop.logits(net.xp, net.plan, self.parameters, X)
        loss = self._scale * float(net.xp.loss_and_delta(net.kind, z, target, weight)[0])
        if net.l2 or net.l1:
            weights = self.parameters[: len(self._unused)]
            loss += net.xp.add_penalty(weights, self._unused, l2=net.l2, l1=net.l1)
        return loss

    def at(self, index: int, shift: float, function: Callable[[], Any]) -> Any:
        """`function()` with one parameter moved."""
        before = self.parameters[index].copy()
        self.parameters[index] += shift
        try:
            return function()
        finally:
            self.parameters[index] = before

    def preactivations(self) -> list[NDArray[Any]]:
        """z of each layer, on the host."""
        net, x, found = self.net, self.examples.X, []
        for (W, b), row in zip(net.plan.layout.layers(self.parameters), net.plan.activations, strict=True):
            z = net.xp.dense(x, W, b)
            found.append(net.xp.to_numpy(z))
            x = net.xp.activate(z, row)
        return found

    def residuals(self) -> NDArray[Any]:
        """Output minus target, on the host."""
        net = self.net
        z = loop.logits(net.xp, net.plan, self.parameters, self.examples.X)
        return np.asarray(net.xp.to_numpy(net.xp.activate(z, net.kind.output) - self.examples.target))


def _compare(
    loss_of: _Loss, backward: NDArray[Any], chosen: NDArray[Any], epsilon: float, tolerance: float
) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.bool_]]:
    """Central differences in the parameters chosen, and how they compare with back-propagation.

    Returns
    -------
    numeric : ndarray of float64
    error : ndarray of float64
        Relative; infinite where something is not finite.
    between : ndarray of bool
        Whether back-propagation gives a slope between those of the two sides: at a kink that is no mistake.
    """
    loss, sides = loss_of(), np.empty((2, len(chosen)))
    for i, index in enumerate(chosen.tolist()):
        sides[0, i] = (loss - loss_of.at(index, -epsilon, loss_of)) / epsilon
        sides[1, i] = (loss_of.at(index, epsilon, loss_of) - loss) / epsilon
    numeric, found = sides.mean(axis=0), backward[chosen]
    # a slope so small that the rounding of the loss drowns it is compared on the scale of what can be seen
    rounding = 8 * np.finfo(np.float64).eps * max(abs(loss), 1.0) / epsilon
    least = max(_SMALL * np.abs(backward).max(), rounding / tolerance)
    with np.errstate(invalid="ignore"):
        scale = np.maximum(np.maximum(np.abs(found), np.abs(numeric)), least)
        error = np.abs(found - numeric) / scale
        slack = tolerance * scale
        between = (sides.min(axis=0) - slack <= found) & (found <= sides.max(axis=0) + slack)
    error[np.isnan(error)] = np.inf
    return numeric, error, between


def _flat(gradients: list[tuple[NDArray[Any], NDArray[Any]]]) -> NDArray[Any]:
    """The gradient in the order of the parameters' buffer."""
    return np.concatenate([dW.ravel() for dW, _ in gradients] + [db for _, db in gradients])


def _buffers(net: FeedForward) -> list[tuple[int, str, tuple[int, ...]]]:
    """Layer, name and shape of each part of the parameters, in their order."""
    layers = list(enumerate(pairwise(net.sizes), start=1))
    return [(l, "W", shape) for l, shape in layers] + [(l, "b", shape[1:]) for l, shape in layers]


def _choose(net: FeedForward, parameters: int | str) -> NDArray[np.int64]:
    """Which parameters to check: a part of each layer's weights and biases, the small ones whole."""
    sizes = [int(np.prod(shape)) for _, _, shape in _buffers(net)]
    left = sum(sizes) if parameters == "all" else int(parameters)
    counts = [0] * len(sizes)
    smallest_first = sorted(range(len(sizes)), key=sizes.__getitem__)
    for rank, part in enumerate(smallest_first):
        counts[part] = min(sizes[part], max(left // (len(sizes) - rank), 1))
        left -= counts[part]
    starts = np.cumsum([0, *sizes[:-1]])
    drawn = [
        start + np.sort(random.permutation(net.seed, part, size)[:count])
        for part, (start, size, count) in enumerate(zip(starts, sizes, counts, strict=True))
    ]
    return np.concatenate(drawn)


def _place(net: FeedForward, index: int) -> tuple[int, str]:
    """Layer and name of the parameter at a place of the buffer."""
    for layer, name, shape in _buffers(net):
        size = int(np.prod(shape))
        if index < size:
            place = ", ".join(str(int(i)) for i in np.unravel_index(index, shape))
            return layer, f"{name}[{place}]"
        index -= size
    raise IndexError(index)


def _parts(
    net: FeedForward, chosen: NDArray[Any], error: NDArray[Any], wrong: NDArray[Any], unreliable: NDArray[Any]
) -> tuple[Part, ...]:
    found, start = [], 0
    for layer, name, shape in _buffers(net):
        size = int(np.prod(shape))
        here = (chosen >= start) & (chosen < start + size)
        judged = error[here & ~unreliable]
        counts = (int((here & which).sum()) for which in (unreliable, wrong))
        found.append(
            Part(layer, name, size, int(here.sum()), next(counts), float(judged.max(initial=0.0)), next(counts))
        )
        start += size
    return tuple(sorted(found, key=lambda part: part.layer))  # sorted keeps W before b


def _explain(loss_of: _Loss, index: int, epsilon: float) -> str:
    """Why central differences tell nothing at a parameter."""
    net, shifts = loss_of.net, (-epsilon, epsilon)
    below, above = (loss_of.at(index, shift, loss_of.preactivations) for shift in shifts)
    for layer, (activation, low, high) in enumerate(zip(net.plan.activations, below, above, strict=True), start=1):
        if activation.name in _KINKED and (place := _crossing(low, high)):
            row, unit = place
            return f"row {row} crosses the kink of {activation.name} in layer {layer}, unit {unit}: z = 0"
    loss = net.kind.loss.name
    if loss in ("mae", "huber"):
        low, high = (loss_of.at(index, shift, loss_of.residuals) for shift in shifts)
        if loss == "huber":
            low, high = np.abs(low) - 1, np.abs(high) - 1
        if place := _crossing(low, high):
            row, output = place
            return f"row {row} crosses the kink of {loss} in output {output}"
    if net.l1 and abs(float(loss_of.parameters[index])) <= epsilon:
        return "the l1 penalty has its kink at 0"
    return "the slope changes fast here; try a smaller epsilon, or scale the inputs"


def _crossing(low: NDArray[Any], high: NDArray[Any]) -> tuple[int, int] | None:
    """Row and column of the first entry that changes its sign."""
    places = np.argwhere(np.sign(low) != np.sign(high))
    return (int(places[0][0]), int(places[0][1])) if len(places) else None


def _notes(net: FeedForward, checked: int) -> tuple[str, ...]:
    total, notes = net.plan.layout.n_parameters, []
    if checked < total:
        notes.append(f"{checked:,} of {total:,} parameters were checked, drawn with seed {net.seed}")
    if net.dtype != np.float64:
        notes.append(
            f"the network is {net.dtype}, in which differences of the loss are mostly rounding; a copy in float64 "
            "was checked"
        )
    if any(net.plan.dropout):
        notes.append("dropout was off")
    return tuple(notes)
