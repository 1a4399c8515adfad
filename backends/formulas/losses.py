"""Losses: each formula gives the value and its derivative, entry by entry, and has one row of `LOSSES`.

The first group takes the network's output y.  A fused one takes the logits z, where that is more accurate and less
work.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from numpy import abs, exp, finfo, log, log1p, maximum, minimum, sign, where

from backends.errors import ConfigurationError, UnknownNameError
from backends.formulas.activations import Activation, activation
from backends.formulas.elementary import row_max, row_sum


def mse(y: Any, t: Any) -> Any:
    r = y - t
    return r * r, 2 * r


def quadratic(y: Any, t: Any) -> Any:
    """Nielsen's cost (Neural Networks and Deep Learning, equation 6): half the sum of squares."""
    r = y - t
    return 0.5 * (r * r), r


def mae(y: Any, t: Any) -> Any:
    r = y - t
    return abs(r), sign(r)


def huber(y: Any, t: Any) -> Any:
    """Huber 1964 with delta = 1: a parabola inside, straight lines outside."""
    r = y - t
    slope = maximum(minimum(r, 1), -1)
    return slope * (r - 0.5 * slope), slope


def poisson(y: Any, t: Any) -> Any:
    """Half the Poisson deviance, t log(t / y) - t + y; zero where y = t."""
    log_t = log(where(t > 0, t, 1))
    return t * (log_t - log(y)) + (y - t), 1 - t / y


def exp_poisson(z: Any, t: Any) -> Any:
    y = exp(z)
    log_t = log(where(t > 0, t, 1))
    return t * (log_t - z) + (y - t), y - t


def sigmoid_binary_cross_entropy(z: Any, t: Any) -> Any:
    e = exp(-abs(z))
    return maximum(z, 0) - z * t + log1p(e), where(z >= 0, 1 / (1 + e), e / (1 + e)) - t


def sigmoid_log_loss(z: Any, t: Any) -> Any:
    """Binary cross-entropy told from the rounded probability, as scikit-learn does; infinite where that is 0 or 1."""
    e = exp(-abs(z))
    y = where(z >= 0, 1 / (1 + e), e / (1 + e))
    return where(t > 0, -t * log(y), 0) + where(t < 1, (t - 1) * log(1 - y), 0), y - t


def softmax_cross_entropy(z: Any, t: Any) -> Any:
    shifted = z - row_max(z)
    e = exp(shifted)
    total = row_sum(e)
    # a class that is certainly not meant counts nothing, however impossible the network calls it
    return where(t == 0, 0, t * (log(total) - shifted)), e / total - t


@dataclass(frozen=True)
class Loss:
    """One row of the table of losses.

    Attributes
    ----------
    name : str
    formula : callable or None
        ``formula(y, t) -> (value, slope)``, entry by entry; None where only fused forms exist.
    mean_over_outputs : bool
        Whether a row's loss is the mean over its outputs (else their sum).
    reports_mean : bool
        The value told is the mean over the outputs even where the slope is that of their sum, as in scikit-learn's
        squared error.
    bounded : bool
        The value told of an entry is at most ``-log(eps)``, as in scikit-learn's log-loss, where no probability is
        taken for smaller than eps; the slope knows no bound.
    outputs : tuple of str, or None
        The output activations it goes with; None: every differentiable one.
    reason : str
        Why no others.
    custom : bool
        Written by a user: its formula takes the backend as its first argument.
    """

    name: str
    formula: Callable[..., Any] | None
    mean_over_outputs: bool = True
    outputs: tuple[str, ...] | None = None
    reason: str = ""
    custom: bool = False
    reports_mean: bool = False
    bounded: bool = False


LOSSES: Mapping[str, Loss] = MappingProxyType(
    {
        row.name: row
        for row in (
            Loss(
                "cross_entropy",
                None,
                mean_over_outputs=False,
                outputs=("softmax",),
                reason="it is the log-probability of one class among several, so the outputs must be probabilities "
                "that sum to 1",
            ),
            Loss(
                "binary_cross_entropy",
                None,
                outputs=("sigmoid",),
                reason="it is the log-probability of independent yes/no answers, so each output must lie in (0, 1)",
            ),
            Loss("mse", mse),
            Loss("quadratic", quadratic, mean_over_outputs=False),
            Loss("mae", mae),
            Loss("huber", huber),
            Loss(
                "poisson",
                poisson,
                outputs=("exp", "softplus", "sigmoid"),
                reason="it is the log-probability of a count, so the output must be a positive rate",
            ),
        )
    }
)

FUSED: Mapping[tuple[str, str], Callable[..., Any]] = MappingProxyType(
    {
        ("softmax", "cross_entropy"): softmax_cross_entropy,
        ("sigmoid", "binary_cross_entropy"): sigmoid_binary_cross_entropy,
        ("sigmoid", "log_loss"): sigmoid_log_loss,
        ("exp", "poisson"): exp_poisson,
    }
)
"""(output activation, loss) -> ``formula(z, t) -> (value, dz)``; ``log_loss`` is the bounded binary cross-entropy."""


@dataclass(frozen=True)
class OutputLoss:
    """An output activation and a loss that go together: the `kind` of `Backend.loss_and_delta`."""

    output: Activation
    loss: Loss

    @property
    def name(self) -> str:
        return f"{self.output.name}+{self.loss.name}"

    @property
    def fused(self) -> Callable[..., Any] | None:
        """``formula(z, t) -> (value, dz)`` where the two have a common, more accurate form."""
        told_by = "log_loss" if self.loss.bounded and self.loss.name == "binary_cross_entropy" else self.loss.name
        return FUSED.get((self.output.name, told_by))

    @property
    def rowwise(self) -> bool:
        return self.output.rowwise

    def shares(self, n_out: int) -> tuple[float, float]:
        """What the value and the slope of one entry count in the loss of its row of `n_out` outputs."""
        mean = self.loss.mean_over_outputs
        return 1 / n_out if mean or self.loss.reports_mean else 1.0, 1 / n_out if mean else 1.0

    def ceiling(self, dtype: Any) -> float:
        """What the loss of one entry is told as at most, for numbers of `dtype`."""
        return -math.log(finfo(dtype).eps) if self.loss.bounded else math.inf


def loss(name: str | Loss) -> Loss:
    """Look up a loss by name; a user's own `Loss` is handed back as it is.

    Raises
    ------
    UnknownNameError
        With the nearest valid name.
    """
    if isinstance(name, Loss):
        return name
    if not isinstance(name, str) or name not in LOSSES:
        raise UnknownNameError.among("loss", name, LOSSES)
    return LOSSES[name]


def output_loss(kind: str | OutputLoss) -> OutputLoss:
    """Look up a pair by its name, ``"output+loss"``.

    Examples
    --------
    >>> output_loss("softmax+cross_entropy").fused.__name__
    'softmax_cross_entropy'
    """
    if isinstance(kind, OutputLoss):
        return kind
    output, plus, loss_name = kind.partition("+")
    if not plus:
        raise UnknownNameError(f"{kind!r} is no pair: write 'output+loss', for instance 'softmax+cross_entropy'.")
    return pair(output, loss_name)


def pair(output: str | Activation, loss_name: str | Loss) -> OutputLoss:
    """The legal pairs of output activation and loss.

    Raises
    ------
    ConfigurationError
        If the two do not go together; the text gives the reason and what does.

    Examples
    --------
    >>> pair("sigmoid", "binary_cross_entropy").name
    'sigmoid+binary_cross_entropy'
    >>> pair("tanh", "cross_entropy")
    Traceback (most recent call last):
        ...
    backends.errors.ConfigurationError: loss 'cross_entropy' does not go with output 'tanh': it is the \
log-probability of one class among several, so the outputs must be probabilities that sum to 1. Use \
output_activation='softmax', or another loss.
    """
    out, cost = activation(output), loss(loss_name)
    if cost.outputs is not None and out.name not in cost.outputs:
        choices = " or ".join(repr(name) for name in cost.outputs)
        raise ConfigurationError(
            f"loss {cost.name!r} does not go with output {out.name!r}: {cost.reason}. "
            f"Use output_activation={choices}, or another loss."
        )
    if out.name == "exp" and cost.outputs is None:
        raise ConfigurationError(
            f"loss {cost.name!r} does not go with output 'exp': a small step of the logits moves the output "
            "exponentially, and training diverges. Use output_activation='softplus', or loss='poisson'."
        )
    return OutputLoss(out, cost)
