"""Losses: each is an elementwise formula, which returns the value and its derivative, and one row of `LOSSES`.

A formula takes the network's output y.  A fused formula combines the loss with the output activation: it takes the
logits z, and is more accurate and faster.
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
    """Huber 1964 with delta = 1: quadratic for errors up to 1, linear above."""
    r = y - t
    derivative = maximum(minimum(r, 1), -1)
    return derivative * (r - 0.5 * derivative), derivative


def pinball(y: Any, t: Any, level: Any) -> Any:
    """Koenker & Bassett 1978: ``level * (t - y)`` where y is too low, ``(1 - level) * (y - t)`` where it is too high.

    Its mean is lowest if y is the quantile of that level.
    """
    r = y - t
    derivative = where(r > 0, 1 - level, where(r < 0, -level, r))  # at the kink 0, and NaN stays NaN
    return derivative * r, derivative


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
    """Binary cross-entropy computed from the rounded probability, as in scikit-learn; infinite if that is 0 or 1."""
    e = exp(-abs(z))
    y = where(z >= 0, 1 / (1 + e), e / (1 + e))
    return where(t > 0, -t * log(y), 0) + where(t < 1, (t - 1) * log(1 - y), 0), y - t


def softmax_cross_entropy(z: Any, t: Any) -> Any:
    shifted = z - row_max(z)
    e = exp(shifted)
    total = row_sum(e)
    # a class with target 0 contributes 0, even if its log-probability is minus infinity
    return where(t == 0, 0, t * (log(total) - shifted)), e / total - t


@dataclass(frozen=True)
class Loss:
    """One row of the table of losses.

    Attributes
    ----------
    name : str
    formula : callable or None
        ``formula(y, t) -> (value, derivative)``, elementwise; None if there are only fused formulas.  If the loss has
        levels, ``formula(y, t, level)``.
    mean_over_outputs : bool
        Whether the loss of a row is the mean over its outputs; otherwise it is their sum.
    reports_mean : bool
        Whether the reported value is the mean over the outputs even if the gradient is that of their sum, as for the
        squared error of scikit-learn.
    bounded : bool
        Whether the reported value of an entry is at most ``-log(eps)``, as in the log-loss of scikit-learn, which
        raises smaller probabilities to eps; the gradient is not bounded.
    outputs : tuple of str, or None
        Output activations that it can be combined with; None means every differentiable one.
    reason : str
        Why it cannot be combined with others.
    custom : bool
        Whether it is user-defined; its formula then takes the backend as its first argument.
    levels : tuple of float
        The level of the quantile that each output estimates, or one for all outputs; empty for other losses.
    """

    name: str
    formula: Callable[..., Any] | None
    mean_over_outputs: bool = True
    outputs: tuple[str, ...] | None = None
    reason: str = ""
    custom: bool = False
    reports_mean: bool = False
    bounded: bool = False
    levels: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        for level in self.levels:
            if not 0 < level < 1:
                raise ConfigurationError(f"the level of a quantile must lie between 0 and 1, not {level!r}.")

    def level_of_each(self, n_out: int) -> tuple[float, ...]:
        """The levels of `n_out` outputs.

        Raises
        ------
        ConfigurationError
            If there are several levels, but not as many as outputs.

        Examples
        --------
        >>> LOSSES["quantile"].level_of_each(2)
        (0.5, 0.5)
        """
        if len(self.levels) not in (1, n_out):
            raise ConfigurationError(
                f"there are {len(self.levels)} quantiles and {n_out} outputs: give one quantile, or one for each "
                "output."
            )
        return self.levels if len(self.levels) == n_out else self.levels * n_out


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
            Loss("quantile", pinball, levels=(0.5,)),
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
    """A valid combination of output activation and loss: the `kind` of `Backend.loss_and_delta`."""

    output: Activation
    loss: Loss

    @property
    def name(self) -> str:
        return f"{self.output.name}+{self.loss.name}"

    @property
    def fused(self) -> Callable[..., Any] | None:
        """``formula(z, t) -> (value, dz)`` for both together, which is more accurate; None if there is none."""
        loss_name = "log_loss" if self.loss.bounded and self.loss.name == "binary_cross_entropy" else self.loss.name
        return FUSED.get((self.output.name, loss_name))

    @property
    def rowwise(self) -> bool:
        return self.output.rowwise

    def shares(self, n_out: int) -> tuple[float, float]:
        """Factors of the value and of the derivative of one entry in the loss of its row of `n_out` outputs."""
        mean = self.loss.mean_over_outputs
        return 1 / n_out if mean or self.loss.reports_mean else 1.0, 1 / n_out if mean else 1.0

    def ceiling(self, dtype: Any) -> float:
        """Largest reported loss of one entry for numbers of `dtype`; infinite unless the loss is bounded."""
        return -math.log(finfo(dtype).eps) if self.loss.bounded else math.inf


def loss(name: str | Loss) -> Loss:
    """Look up a loss by name; a `Loss` is returned unchanged.

    Raises
    ------
    UnknownNameError
        If there is none of this name; the message suggests the most similar name.
    """
    if isinstance(name, Loss):
        return name
    if not isinstance(name, str) or name not in LOSSES:
        raise UnknownNameError.among("loss", name, LOSSES)
    return LOSSES[name]


def output_loss(kind: str | OutputLoss) -> OutputLoss:
    """Look up a combination by its name, ``"output+loss"``; an `OutputLoss` is returned unchanged.

    Examples
    --------
    >>> output_loss("softmax+cross_entropy").fused.__name__
    'softmax_cross_entropy'
    """
    if isinstance(kind, OutputLoss):
        return kind
    output, plus, loss_name = kind.partition("+")
    if not plus:
        raise UnknownNameError(
            f"{kind!r} is not an output activation with a loss: write 'output+loss', such as 'softmax+cross_entropy'."
        )
    return pair(output, loss_name)


def pair(output: str | Activation, loss_name: str | Loss) -> OutputLoss:
    """Combine an output activation and a loss.

    Raises
    ------
    ConfigurationError
        If they cannot be combined; the message gives the reason and the valid choices.

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
            f"loss {cost.name!r} does not go with output 'exp': the output grows exponentially with the logits, so "
            "training diverges. Use output_activation='softplus', or loss='poisson'."
        )
    return OutputLoss(out, cost)
