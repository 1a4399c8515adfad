"""Every activation, loss and update rule: the mathematics of the project, written once.

Each formula below is an ordinary Python function of the few names imported from `numpy`, so it can be
read, and run, as it stands.  A backend runs the *same code* on its own arrays by rebinding those names
(`bind`), and the Numba backend compiles it on scalars.  That asks three things of a formula: only the
names of `NAMES` and other formulas; branches through `where`; and forms that neither overflow nor
cancel, since the accuracy of every backend is the accuracy of the formula.

To add an activation, write its two functions and add a row to `ACTIVATIONS`; every backend, every
parity test and the tables of the documentation pick it up from there.

Symbols: ``z`` what enters an activation, ``y`` what leaves it, ``t`` the target, ``dy`` and ``dz``
slopes of the loss, ``p`` a parameter, ``g`` its gradient.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import FunctionType, MappingProxyType
from typing import Any

from numpy import abs, exp, expm1, finfo, log, log1p, maximum, minimum, sign, sqrt, tanh, where

from backends.errors import ConfigurationError, NotDifferentiableError, UnknownNameError

NAMES = ("abs", "exp", "expm1", "log", "log1p", "maximum", "minimum", "sign", "sqrt", "tanh", "where")
"""The elementary functions that formulas use, under NumPy's names; `ROW_NAMES` adds what needs a library."""

ROW_NAMES = ("erfc", "row_max", "row_sum")
"""``erfc`` is not in NumPy; ``row_max`` and ``row_sum`` reduce the last axis and keep it with length 1."""


def erfc(z: Any) -> Any:
    """Complementary error function, from SciPy (imported on first use: it costs a tenth of a second)."""
    from scipy.special import erfc as scipy_erfc

    return scipy_erfc(z)


def row_max(z: Any) -> Any:
    """Largest entry of each row, as a column."""
    return z.max(axis=-1, keepdims=True)


def row_sum(z: Any) -> Any:
    """Sum of each row, as a column."""
    return z.sum(axis=-1, keepdims=True)


# ---------------------------------------------------------------------------------------------------
# Activations: `name(z)` is the function; `name_backward(dy, s)` is dy * f'(z), with s = y where the
# slope can be told from the output, and s = z where it cannot.
# ---------------------------------------------------------------------------------------------------

LEAKY_SLOPE = 0.01
SELU_SCALE = 1.0507009873554805  # Klambauer et al. 2017, section 2
SELU_FLOOR = 1.7580993408473766  # SELU_SCALE times the paper's alpha, 1.6732632423543772
SQRT_HALF = math.sqrt(0.5)
INV_SQRT_2PI = 1 / math.sqrt(2 * math.pi)
GELU_SLOPE = 2 * math.sqrt(2 / math.pi)
GELU_CUBIC = 0.044715


def identity(z: Any) -> Any:
    return z


def identity_backward(dy: Any, y: Any) -> Any:
    return dy


def sigmoid(z: Any) -> Any:
    e = exp(-abs(z))  # never overflows, and keeps full accuracy in both tails
    return where(z >= 0, 1 / (1 + e), e / (1 + e))


def sigmoid_backward(dy: Any, y: Any) -> Any:
    return dy * (y * (1 - y))


def hyperbolic_tangent(z: Any) -> Any:
    return tanh(z)


def hyperbolic_tangent_backward(dy: Any, y: Any) -> Any:
    return dy * (1 - y * y)


def relu(z: Any) -> Any:
    return maximum(z, 0)


def relu_backward(dy: Any, y: Any) -> Any:
    return where(y <= 0, 0, dy)  # this way round a NaN in y lets dy through


def leaky_relu(z: Any) -> Any:
    return where(z > 0, z, LEAKY_SLOPE * z)


def leaky_relu_backward(dy: Any, y: Any) -> Any:
    return where(y > 0, dy, LEAKY_SLOPE * dy)


def elu(z: Any) -> Any:
    """Clevert et al. 2016 with alpha = 1."""
    return where(z > 0, z, expm1(minimum(z, 0)))


def elu_backward(dy: Any, y: Any) -> Any:
    return where(y > 0, dy, dy * (y + 1))


def selu(z: Any) -> Any:
    return where(z > 0, SELU_SCALE * z, SELU_FLOOR * expm1(minimum(z, 0)))


def selu_backward(dy: Any, y: Any) -> Any:
    return where(y > 0, SELU_SCALE * dy, dy * (y + SELU_FLOOR))


def gelu(z: Any) -> Any:
    """Hendrycks & Gimpel 2016: z times the normal distribution function (erfc keeps the left tail)."""
    return z * (0.5 * erfc(-SQRT_HALF * z))


def gelu_backward(dy: Any, z: Any) -> Any:
    return dy * (0.5 * erfc(-SQRT_HALF * z) + z * (INV_SQRT_2PI * exp(-0.5 * (z * z))))


def gelu_tanh(z: Any) -> Any:
    """The paper's approximation; (1 + tanh u) / 2 is written as sigmoid(2u), which does not cancel."""
    return z * sigmoid(GELU_SLOPE * (z + GELU_CUBIC * (z * z * z)))


def gelu_tanh_backward(dy: Any, z: Any) -> Any:
    u = GELU_SLOPE * (z + GELU_CUBIC * (z * z * z))
    e = exp(-abs(u))
    q = 1 / (1 + e)
    s, spread = where(u >= 0, q, e * q), e * q * q  # sigmoid(u) and s (1 - s), without the cancellation in 1 - s
    # where the spread has faded away, z * z may have overflowed
    return dy * (s + where(e > 0, z * spread * (GELU_SLOPE * (1 + 3 * GELU_CUBIC * (z * z))), 0))


def silu(z: Any) -> Any:
    return z * sigmoid(z)


def silu_backward(dy: Any, z: Any) -> Any:
    e = exp(-abs(z))
    q = 1 / (1 + e)
    s, rest = where(z >= 0, q, e * q), where(z >= 0, e * q, q)  # sigmoid(z), and 1 - s without its cancellation
    return dy * (s * (1 + z * rest))


def softplus(z: Any) -> Any:
    return maximum(z, 0) + log1p(exp(-abs(z)))


def softplus_backward(dy: Any, y: Any) -> Any:
    return dy * -expm1(-y)


def exponential(z: Any) -> Any:
    return exp(z)


def exponential_backward(dy: Any, y: Any) -> Any:
    return dy * y


def step(z: Any) -> Any:
    """1 where z >= 0, else 0; NaN stays NaN."""
    return maximum(sign(sign(z) + 0.5), 0)


def softmax(z: Any) -> Any:
    e = exp(z - row_max(z))
    return e / row_sum(e)


def softmax_backward(dy: Any, y: Any) -> Any:
    return y * (dy - row_sum(dy * y))


@dataclass(frozen=True)
class Activation:
    """One row of the table of activations.

    Attributes
    ----------
    name : str
    forward : callable
        ``forward(z) -> y``.
    backward : callable or None
        ``backward(dy, s) -> dz`` with ``s`` what `saves` says; None where there is no slope to follow.
    saves : {"y", "z"}
        What the backward pass needs: the output, or the input where the output does not tell.
    role : {"any", "output"}
        Where in a network it may stand.
    rowwise : bool
        The function couples the entries of a row, so it is no function of one number.
    custom : bool
        Written by a user: its functions take the backend as their first argument.
    """

    name: str
    forward: Callable[..., Any]
    backward: Callable[..., Any] | None
    saves: str = "y"
    role: str = "any"
    rowwise: bool = False
    custom: bool = False


ACTIVATIONS: Mapping[str, Activation] = MappingProxyType(
    {
        row.name: row
        for row in (
            Activation("identity", identity, identity_backward),
            Activation("sigmoid", sigmoid, sigmoid_backward),
            Activation("tanh", hyperbolic_tangent, hyperbolic_tangent_backward),
            Activation("relu", relu, relu_backward),
            Activation("leaky_relu", leaky_relu, leaky_relu_backward),
            Activation("elu", elu, elu_backward),
            Activation("selu", selu, selu_backward),
            Activation("gelu", gelu, gelu_backward, saves="z"),
            Activation("gelu_tanh", gelu_tanh, gelu_tanh_backward, saves="z"),
            Activation("silu", silu, silu_backward, saves="z"),
            Activation("softplus", softplus, softplus_backward),
            Activation("step", step, None),
            Activation("exp", exponential, exponential_backward, role="output"),
            Activation("softmax", softmax, softmax_backward, role="output", rowwise=True),
        )
    }
)


def activation(name: str | Activation) -> Activation:
    """Look up an activation by name; a user's own `Activation` is handed back as it is.

    Raises
    ------
    UnknownNameError
        With the nearest valid name.
    """
    if isinstance(name, Activation):
        return name
    if not isinstance(name, str) or name not in ACTIVATIONS:
        raise UnknownNameError.among("activation", name, ACTIVATIONS)
    return ACTIVATIONS[name]


# ---------------------------------------------------------------------------------------------------
# Losses: each formula gives the value and its slope, entry by entry.  The first group takes the
# network's output y; a fused one takes the logits z, where that is more accurate and less work.
# ---------------------------------------------------------------------------------------------------


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


def require_slope(row: Activation) -> None:
    """Raise `NotDifferentiableError` if `row` cannot be trained through."""
    if row.backward is None:
        raise NotDifferentiableError(
            f"activation {row.name!r} has a slope of zero wherever it has one, so nothing can be learnt through it. "
            "It is there for forward passes; train with 'sigmoid' or 'relu' instead."
        )


# ---------------------------------------------------------------------------------------------------
# Update rules: `rule(p, g, *state, *scalars) -> (p, *state)`, entry by entry.  What depends on the
# step's number alone is computed once, in double precision, by `Rule.scalars`.
# ---------------------------------------------------------------------------------------------------


def sgd(p: Any, g: Any, rate: Any) -> Any:
    return (p - rate * g,)


def momentum(p: Any, g: Any, v: Any, rate: Any, mu: Any) -> Any:
    """Velocity in units of the gradient, as PyTorch has it: a change of the rate acts at once."""
    v = mu * v + g
    return p - rate * v, v


def momentum_rate_inside(p: Any, g: Any, v: Any, rate: Any, mu: Any) -> Any:
    """Velocity in units of the parameters (Polyak 1964; Sutskever et al. 2013, equation 1), as scikit-learn has it."""
    v = mu * v - rate * g
    return p + v, v


def nesterov(p: Any, g: Any, v: Any, rate: Any, mu: Any) -> Any:
    """PyTorch's form of Nesterov's method."""
    v = mu * v + g
    return p - rate * (g + mu * v), v


def nesterov_rate_inside(p: Any, g: Any, v: Any, rate: Any, mu: Any) -> Any:
    """Bengio et al. 2013, equation 7, as scikit-learn has it."""
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
        Names of what it remembers of every parameter; all start at zero.
    scalars : callable
        ``scalars(step, learning_rate, **hyper) -> tuple of float``: the formula's last arguments; of arrays of
        steps and rates, arrays.
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
    # the order of operations suggested below algorithm 1, as scikit-learn and TensorFlow have it: epsilon joins the
    # uncorrected square root, so it acts as epsilon / sqrt(1 - beta2^t) would in the other form
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
    """An update rule with its hyper-parameters: what `Backend.update` applies.

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
        """The formula's scalar arguments at `step`, which counts from 1."""
        # Python's floats take part in float32 arithmetic, NumPy's would turn it into float64
        return tuple(map(float, self.row.scalars(step, learning_rate, **self.hyper)))


# ---------------------------------------------------------------------------------------------------
# Running the formulas elsewhere
# ---------------------------------------------------------------------------------------------------


def bind(namespace: Mapping[str, Callable[..., Any]]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return a function that re-creates a formula on other elementary functions.

    Parameters
    ----------
    namespace : mapping
        A function for each name of `NAMES` and `ROW_NAMES`.

    Returns
    -------
    callable
        ``rebind(formula) -> formula``, the same code looking its names up in `namespace`; formulas that call
        each other stay together.

    Examples
    --------
    >>> import numpy as np
    >>> shout = dict.fromkeys(NAMES + ROW_NAMES, lambda *a: "called")
    >>> bind(shout)(hyperbolic_tangent)(np.zeros(3))
    'called'
    """
    missing = [name for name in NAMES + ROW_NAMES if name not in namespace]
    if missing:
        raise ConfigurationError(f"a namespace for formulas needs {', '.join(missing)} as well.")
    names: dict[str, Any] = {key: value for key, value in globals().items() if not key.startswith("__")}
    names |= {name: namespace[name] for name in NAMES + ROW_NAMES}

    def rebind(formula: Callable[..., Any]) -> Callable[..., Any]:
        if not isinstance(formula, FunctionType) or formula.__module__ != __name__:
            return formula  # a user's own function: it is handed its backend instead
        return FunctionType(formula.__code__, names, formula.__name__, formula.__defaults__)

    for key, value in list(names.items()):
        if isinstance(value, FunctionType) and key not in namespace:
            names[key] = rebind(value)
    return rebind
