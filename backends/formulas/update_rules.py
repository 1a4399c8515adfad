"""Update rules: each is one formula and one row of `RULES`.

``rule(p, g, *state, *scalars) -> (p, *state)`` is elementwise, for a parameter p and its gradient g.  `Rule.scalars`
computes what depends only on the step number, once a step and in double precision.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from numpy import sqrt

from backends.errors import UnknownNameError


def sgd(p: Any, g: Any, rate: Any) -> Any:
    return (p - rate * g,)


def momentum(p: Any, g: Any, v: Any, rate: Any, mu: Any) -> Any:
    """Velocity in units of the gradient, as in PyTorch: a change of the learning rate takes effect immediately."""
    v = mu * v + g
    return p - rate * v, v


def momentum_rate_inside(p: Any, g: Any, v: Any, rate: Any, mu: Any) -> Any:
    """Velocity in units of the parameters (Polyak 1964; Sutskever et al. 2013, equation 1), as in scikit-learn."""
    v = mu * v - rate * g
    return p + v, v


def nesterov(p: Any, g: Any, v: Any, rate: Any, mu: Any) -> Any:
    """Nesterov's method in PyTorch's form."""
    v = mu * v + g
    return p - rate * (g + mu * v), v


def nesterov_rate_inside(p: Any, g: Any, v: Any, rate: Any, mu: Any) -> Any:
    """Nesterov's method as in Bengio et al. 2013, equation 7, and in scikit-learn."""
    v = mu * v - rate * g
    return p + (mu * v - rate * g), v


def adagrad(p: Any, g: Any, s: Any, rate: Any, epsilon: Any) -> Any:
    """Duchi et al. 2011."""
    s = s + g * g
    return p - rate * (g / (sqrt(s) + epsilon)), s


def rmsprop(p: Any, g: Any, s: Any, rate: Any, rho: Any, rest: Any, epsilon: Any) -> Any:
    """Hinton's lecture 6e; rest = 1 - rho."""
    s = rho * s + rest * (g * g)
    return p - rate * (g / (sqrt(s) + epsilon)), s


def adam(
    p: Any, g: Any, m: Any, v: Any, rate: Any, beta1: Any, rest1: Any, beta2: Any, rest2: Any, epsilon: Any, root: Any
) -> Any:
    """Kingma & Ba 2015, algorithm 1: rate = learning_rate / (1 - beta1^t), root = sqrt(1 - beta2^t)."""
    m = beta1 * m + rest1 * g
    v = beta2 * v + rest2 * (g * g)
    return p - rate * (m / (sqrt(v) / root + epsilon)), m, v


@dataclass(frozen=True)
class UpdateRule:
    """One row of the table of update rules.

    Attributes
    ----------
    name : str
    formula : callable
        ``formula(p, g, *state, *scalars) -> (p, *state)``.
    state : tuple of str
        Names of its state variables, one value for each parameter; all start at zero.
    scalars : callable
        ``scalars(step, learning_rate, **hyper) -> tuple of float``: the last arguments of the formula.  It also
        accepts arrays of steps and learning rates, and then returns arrays.
    """

    name: str
    formula: Callable[..., Any]
    state: tuple[str, ...]
    scalars: Callable[..., tuple[float, ...]]


def _plain_scalars(step: int, rate: float) -> tuple[float, ...]:
    return (rate,)


def _momentum_scalars(step: int, rate: float, *, momentum: float) -> tuple[float, ...]:
    return rate, momentum


def _adagrad_scalars(step: int, rate: float, *, epsilon: float) -> tuple[float, ...]:
    return rate, epsilon


def _rmsprop_scalars(step: int, rate: float, *, rho: float, epsilon: float) -> tuple[float, ...]:
    return rate, rho, 1 - rho, epsilon


def _adam_scalars(step: int, rate: float, *, beta1: float, beta2: float, epsilon: float) -> tuple[float, ...]:
    root = sqrt(1 - beta2**step)
    return rate / (1 - beta1**step), beta1, 1 - beta1, beta2, 1 - beta2, epsilon, root


def _adam_epsilon_hat_scalars(
    step: int, rate: float, *, beta1: float, beta2: float, epsilon: float
) -> tuple[float, ...]:
    # the order of computation suggested in the text below algorithm 1, as in scikit-learn and TensorFlow: epsilon is
    # added to the uncorrected square root, so it has the effect of epsilon / sqrt(1 - beta2^t) in the other form
    root = sqrt(1 - beta2**step)
    return rate * root / (1 - beta1**step), beta1, 1 - beta1, beta2, 1 - beta2, epsilon, 1.0


RULES: Mapping[str, UpdateRule] = MappingProxyType(
    {
        row.name: row
        for row in (
            UpdateRule("sgd", sgd, (), _plain_scalars),
            UpdateRule("momentum", momentum, ("velocity",), _momentum_scalars),
            UpdateRule("momentum_rate_inside", momentum_rate_inside, ("velocity",), _momentum_scalars),
            UpdateRule("nesterov", nesterov, ("velocity",), _momentum_scalars),
            UpdateRule("nesterov_rate_inside", nesterov_rate_inside, ("velocity",), _momentum_scalars),
            UpdateRule("adagrad", adagrad, ("squares",), _adagrad_scalars),
            UpdateRule("rmsprop", rmsprop, ("squares",), _rmsprop_scalars),
            UpdateRule("adam", adam, ("mean", "variance"), _adam_scalars),
            UpdateRule("adam_epsilon_hat", adam, ("mean", "variance"), _adam_epsilon_hat_scalars),
        )
    }
)


@dataclass(frozen=True)
class Rule:
    """An update rule with its hyper-parameters, applied by `Backend.update`.

    Examples
    --------
    >>> Rule("momentum", {"momentum": 0.9}).scalars(step=1, learning_rate=0.1)
    (0.1, 0.9)
    """

    name: str
    hyper: Mapping[str, float]

    def __post_init__(self) -> None:
        if self.name not in RULES:
            raise UnknownNameError.among("update rule", self.name, RULES)
        object.__setattr__(self, "hyper", dict(self.hyper))

    @property
    def row(self) -> UpdateRule:
        return RULES[self.name]

    def scalars(self, step: int, learning_rate: float) -> tuple[float, ...]:
        """The scalar arguments of the formula at `step`, counted from 1."""
        # Python floats keep float32 arithmetic in float32; NumPy's float64 scalars would convert it to float64
        return tuple(map(float, self.row.scalars(step, learning_rate, **self.hyper)))
