"""Reference implementations for the tests: the same mathematics, written in the simplest form.

Three parts, none of which imports the project:

- single functions in 300-bit arithmetic (mpmath), by their textbook formulas;
- a complete network in float64, layer by layer, with derivatives as functions of z and textbook update rules;
- Philox4x64-10 in plain Python integers, as in the paper.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from mpmath import mp, mpf
from scipy.special import ndtr

# -- single functions in high precision -----------------------------------------------------------------

PRECISION = 300  # bits

LEAKY = mpf(0.01)
with mp.workprec(PRECISION):
    SELU_SCALE = mpf("1.0507009873554804934193349852946")
    SELU_ALPHA = mpf("1.6732632423543772848170429916717")


def _logistic(z):
    return 1 / (1 + mp.exp(-z))


def _gelu_tanh_gate(z):
    # (1 + tanh u) / 2 is the logistic function of 2u
    return _logistic(2 * mp.sqrt(2 / mp.pi) * (z + mpf(0.044715) * z**3))


def _gelu_tanh_derivative(z):
    s = _gelu_tanh_gate(z)
    return s + z * s * (1 - s) * 2 * mp.sqrt(2 / mp.pi) * (1 + 3 * mpf(0.044715) * z**2)


def _mish_derivative(z):
    t = mp.tanh(mp.log1p(mp.exp(z)))
    return t + z * (1 - t**2) * _logistic(z)


FORWARD = {
    "identity": lambda z: z,
    "sigmoid": _logistic,
    "tanh": mp.tanh,
    "relu": lambda z: max(z, mpf(0)),
    "leaky_relu": lambda z: z if z > 0 else LEAKY * z,
    "elu": lambda z: z if z > 0 else mp.expm1(z),
    "selu": lambda z: SELU_SCALE * (z if z > 0 else SELU_ALPHA * mp.expm1(z)),
    "gelu": lambda z: z * mp.erfc(-z / mp.sqrt(2)) / 2,
    "gelu_tanh": lambda z: z * _gelu_tanh_gate(z),
    "silu": lambda z: z * _logistic(z),
    "mish": lambda z: z * mp.tanh(mp.log1p(mp.exp(z))),
    "softplus": lambda z: mp.log1p(mp.exp(z)),
    "step": lambda z: mpf(1 if z >= 0 else 0),
    "exp": mp.exp,
}
"""y from z."""

DERIVATIVE_FROM_Y = {
    "identity": lambda y: mpf(1),
    "sigmoid": lambda y: y * (1 - y),
    "tanh": lambda y: 1 - y**2,
    "relu": lambda y: mpf(1 if y > 0 else 0),
    "leaky_relu": lambda y: mpf(1) if y > 0 else LEAKY,
    "elu": lambda y: mpf(1) if y > 0 else y + 1,
    "selu": lambda y: SELU_SCALE if y > 0 else y + SELU_SCALE * SELU_ALPHA,
    "softplus": lambda y: -mp.expm1(-y),
    "exp": lambda y: y,
}
"""dy/dz as a function of y; at a kink, the derivative on its left."""

DERIVATIVE_FROM_Z = {
    "gelu": lambda z: mp.erfc(-z / mp.sqrt(2)) / 2 + z * mp.npdf(z),
    "gelu_tanh": _gelu_tanh_derivative,
    "silu": lambda z: _logistic(z) * (1 + z * (1 - _logistic(z))),
    "mish": _mish_derivative,
}
"""dy/dz as a function of z."""

ELEMENTARY = {
    "exp": mp.exp,
    "expm1": mp.expm1,
    "log": mp.log,
    "log1p": mp.log1p,
    "sqrt": mp.sqrt,
    "tanh": mp.tanh,
    "erfc": mp.erfc,
}


@dataclass(frozen=True)
class Exact:
    """Real numbers as unevaluated sums ``high + low`` of two doubles: 106 bits."""

    high: np.ndarray
    low: np.ndarray

    def error(self, computed):
        """|computed - exact|, as float64."""
        return np.abs((np.asarray(computed, np.float64) - self.high) - self.low)

    def __getitem__(self, index):
        return Exact(self.high[index], self.low[index])


def evaluate_exactly(function, *arguments):
    """Apply a function of mpf numbers to each entry; return `Exact`."""
    high, low = [], []
    with mp.workprec(PRECISION):
        for values in zip(*(np.ravel(a) for a in arguments), strict=True):
            value = function(*(mpf(float(v)) for v in values))
            high.append(float(value))
            low.append(float(value - mpf(high[-1])) if np.isfinite(high[-1]) else 0.0)
    shape = np.shape(arguments[0])
    return Exact(np.reshape(high, shape), np.reshape(low, shape))


def exact_softmax(z):
    """Softmax of each row, as `Exact`."""
    with mp.workprec(PRECISION):
        e = np.array([[mp.exp(mpf(float(v))) for v in row] for row in z], dtype=object).reshape(z.shape)
        y = e / e.sum(axis=1, keepdims=True) if z.size else e
    return to_exact(y)


def to_exact(values):
    """Convert an array of mpf numbers to `Exact`."""
    high = np.array([float(v) for v in values.ravel()]).reshape(values.shape)
    low = np.array([float(v - mpf(h)) for v, h in zip(values.ravel(), high.ravel(), strict=True)]).reshape(values.shape)
    return Exact(high, low)


# -- a network in naive code ----------------------------------------------------------------------------


def _sigmoid(z):
    return 1 / (1 + np.exp(-z))


def _normal_cdf(z):
    if z.dtype == np.float64:
        return ndtr(z)
    exact = evaluate_exactly(mp.ncdf, z)
    return exact.high + exact.low.astype(z.dtype)


def _normal_pdf(z):
    return np.exp(-z * z / 2) / np.sqrt(2 * np.pi)


def _gelu_tanh_argument(z):
    return np.sqrt(2 / np.pi) * (z + 0.044715 * z**3)


def _softmax(z):
    e = np.exp(z)
    return e / e.sum(axis=1, keepdims=True)


_SCALE, _ALPHA = float(SELU_SCALE), float(SELU_ALPHA)

ACTIVATIONS = {  # name: (f(z), f'(z))
    "identity": (lambda z: z, np.ones_like),
    "sigmoid": (_sigmoid, lambda z: _sigmoid(z) * (1 - _sigmoid(z))),
    "tanh": (np.tanh, lambda z: 1 - np.tanh(z) ** 2),
    "relu": (lambda z: np.where(z > 0, z, 0), lambda z: np.where(z > 0, 1.0, 0.0)),
    "leaky_relu": (lambda z: np.where(z > 0, z, 0.01 * z), lambda z: np.where(z > 0, 1.0, 0.01)),
    "elu": (lambda z: np.where(z > 0, z, np.exp(z) - 1), lambda z: np.where(z > 0, 1.0, np.exp(z))),
    "selu": (
        lambda z: _SCALE * np.where(z > 0, z, _ALPHA * (np.exp(z) - 1)),
        lambda z: _SCALE * np.where(z > 0, 1.0, _ALPHA * np.exp(z)),
    ),
    "gelu": (lambda z: z * _normal_cdf(z), lambda z: _normal_cdf(z) + z * _normal_pdf(z)),
    "gelu_tanh": (
        lambda z: 0.5 * z * (1 + np.tanh(_gelu_tanh_argument(z))),
        lambda z: (
            0.5 * (1 + np.tanh(_gelu_tanh_argument(z)))
            + 0.5 * z * (1 - np.tanh(_gelu_tanh_argument(z)) ** 2) * np.sqrt(2 / np.pi) * (1 + 3 * 0.044715 * z**2)
        ),
    ),
    "silu": (lambda z: z * _sigmoid(z), lambda z: _sigmoid(z) + z * _sigmoid(z) * (1 - _sigmoid(z))),
    "mish": (
        lambda z: z * np.tanh(np.log1p(np.exp(z))),
        lambda z: np.tanh(np.log1p(np.exp(z))) + z * _sigmoid(z) / np.cosh(np.log1p(np.exp(z))) ** 2,
    ),
    "softplus": (lambda z: np.log(1 + np.exp(z)), _sigmoid),
    "exp": (np.exp, np.exp),
}

LOSSES = {  # name: (value of each entry, its derivative with respect to y)
    "mse": (lambda y, t: (y - t) ** 2, lambda y, t: 2 * (y - t)),
    "quadratic": (lambda y, t: (y - t) ** 2 / 2, lambda y, t: y - t),
    "mae": (lambda y, t: np.abs(y - t), lambda y, t: np.sign(y - t)),
    "huber": (
        lambda y, t: np.where(np.abs(y - t) <= 1, (y - t) ** 2 / 2, np.abs(y - t) - 0.5),
        lambda y, t: np.where(np.abs(y - t) <= 1, y - t, np.sign(y - t)),
    ),
    "quantile": (lambda y, t: np.abs(y - t) / 2, lambda y, t: np.sign(y - t) / 2),  # of the level 1/2
    "cross_entropy": (lambda y, t: np.where(t > 0, -t * np.log(y), 0), lambda y, t: -t / y),
    "binary_cross_entropy": (
        lambda y, t: -t * np.log(y) - (1 - t) * np.log(1 - y),
        lambda y, t: (1 - t) / (1 - y) - t / y,
    ),
    "poisson": (lambda y, t: np.where(t > 0, t * np.log(np.where(t > 0, t, 1) / y), 0) - t + y, lambda y, t: 1 - t / y),
}
SUMMED_OVER_OUTPUTS = ("cross_entropy", "quadratic")


def activate(name, z):
    return _softmax(z) if name == "softmax" else ACTIVATIONS[name][0](z)


def activate_backward(name, dy, z):
    if name == "softmax":
        y = _softmax(z)
        # the Jacobian of one row: diag(y) - y y^T
        slopes = [(np.diag(row) - np.outer(row, row)) @ slope for row, slope in zip(y, dy, strict=True)]
        return np.array(slopes).reshape(z.shape)
    return dy * ACTIVATIONS[name][1](z)


def loss_and_delta(output, loss, z, target, weight=None):
    """Weighted mean loss of the rows, and its gradient with respect to the logits."""
    value, slope = LOSSES[loss]
    n, n_out = z.shape
    rows = np.eye(n_out)[target] if target.ndim == 1 else target
    weight = np.ones(n) if weight is None else weight
    share = weight / weight.sum() / (1 if loss in SUMMED_OVER_OUTPUTS else n_out)
    y = activate(output, z)
    if loss == "cross_entropy":
        delta = y * rows.sum(axis=1, keepdims=True) - rows  # the gradient through the softmax, written out
    else:
        delta = activate_backward(output, slope(y, rows), z)
    return (share[:, None] * value(y, rows)).sum(), share[:, None] * delta


@dataclass
class Net:
    """A network as a list of layers, with the settings of a training step.

    Attributes
    ----------
    weights, biases : lists of ndarray
    activations : list of str
        One for each layer; the last is that of the output.
    loss : str
    dropout : list of float
        Rate for the input of each layer.
    """

    weights: list
    biases: list
    activations: list
    loss: str
    dropout: list = field(default_factory=list)
    l2: float = 0.0
    l1: float = 0.0

    def loss_and_gradients(self, x, target, weight=None, counter=None):
        """`counter` is (seed, epoch, batch) of the dropout masks."""
        masks, inputs, zs = [], [], []
        last = len(self.weights) - 1
        for layer, (W, b) in enumerate(zip(self.weights, self.biases, strict=True)):
            rate = self.dropout[layer] if self.dropout and counter else 0
            masks.append(keep_mask(*x.shape, rate, (*counter, layer)) / (1 - rate) if rate else np.ones(x.shape))
            x = x * masks[-1]
            inputs.append(x)
            zs.append(x @ W + b)
            x = zs[-1] if layer == last else activate(self.activations[layer], zs[-1])
        loss, dz = loss_and_delta(self.activations[-1], self.loss, zs[-1], target, weight)
        gradients = []
        for layer in reversed(range(last + 1)):
            W = self.weights[layer]
            dW = inputs[layer].T @ dz + self.l2 * W + self.l1 * np.sign(W)
            gradients.insert(0, (dW, dz.sum(axis=0)))
            if layer:
                dz = activate_backward(self.activations[layer - 1], dz @ W.T * masks[layer], zs[layer - 1])
        loss += sum(self.l2 / 2 * (W**2).sum() + self.l1 * np.abs(W).sum() for W in self.weights)
        return loss, gradients

    def train(self, batches, rule, *, rates, weight_decay=0.0, clip_value=None, clip_norm=None, seed=0, epoch=0):
        """Make one update for each of the `batches` (x, target, weight); return their losses."""
        losses = []
        for number, ((x, target, weight), rate) in enumerate(zip(batches, rates, strict=True)):
            loss, gradients = self.loss_and_gradients(x, target, weight, (seed, epoch, number))
            flat = [dW for dW, _ in gradients] + [db for _, db in gradients]
            if clip_value is not None:
                flat = [np.clip(g, -clip_value, clip_value) for g in flat]
            if clip_norm is not None:
                norm = np.sqrt(sum((g**2).sum() for g in flat))
                flat = [g * min(1, clip_norm / (norm + 1e-6)) for g in flat]
            self.weights = [W * (1 - rate * weight_decay) for W in self.weights]
            new = rule([*self.weights, *self.biases], flat, rate)
            self.weights, self.biases = new[: len(self.weights)], new[len(self.weights) :]
            losses.append(loss)
        return losses


class Rule:
    """An update rule with its optimizer state, one for each parameter array: ``rule(params, gradients, rate)``."""

    def __init__(self, name, **hyper):
        self.formula, self.hyper, self.states, self.step = getattr(self, name), hyper, None, 0

    def __call__(self, params, gradients, rate):
        self.states = self.states or [{"v": 0 * p, "s": 0 * p} for p in params]
        self.step += 1
        return [
            self.formula(p, g, state, rate, **self.hyper)
            for p, g, state in zip(params, gradients, self.states, strict=True)
        ]

    def sgd(self, p, g, state, rate):
        return p - rate * g

    def momentum(self, p, g, state, rate, momentum):
        state["v"] = momentum * state["v"] + g
        return p - rate * state["v"]

    def momentum_rate_inside(self, p, g, state, rate, momentum):
        state["v"] = momentum * state["v"] - rate * g
        return p + state["v"]

    def nesterov(self, p, g, state, rate, momentum):
        state["v"] = momentum * state["v"] + g
        return p - rate * (g + momentum * state["v"])

    def nesterov_rate_inside(self, p, g, state, rate, momentum):
        state["v"] = momentum * state["v"] - rate * g
        return p + momentum * state["v"] - rate * g

    def adagrad(self, p, g, state, rate, epsilon):
        state["s"] = state["s"] + g**2
        return p - rate * g / (np.sqrt(state["s"]) + epsilon)

    def rmsprop(self, p, g, state, rate, rho, epsilon):
        state["s"] = rho * state["s"] + (1 - rho) * g**2
        return p - rate * g / (np.sqrt(state["s"]) + epsilon)

    def _moments(self, g, state, beta1, beta2):
        state["v"] = beta1 * state["v"] + (1 - beta1) * g
        state["s"] = beta2 * state["s"] + (1 - beta2) * g**2
        return state["v"], state["s"]

    def adam(self, p, g, state, rate, beta1, beta2, epsilon):
        m, v = self._moments(g, state, beta1, beta2)
        m, v = m / (1 - beta1**self.step), v / (1 - beta2**self.step)
        return p - rate * m / (np.sqrt(v) + epsilon)

    def adam_epsilon_hat(self, p, g, state, rate, beta1, beta2, epsilon):
        m, v = self._moments(g, state, beta1, beta2)
        rate = rate * np.sqrt(1 - beta2**self.step) / (1 - beta1**self.step)
        return p - rate * m / (np.sqrt(v) + epsilon)


# -- Philox4x64-10 ----------------------------------------------------------------------------------------

_MASK = 2**64 - 1


def philox(counter, key):
    """The four words of one block (Salmon et al. 2011, section 3.3), from a counter of four words and a key of two."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        product0, product1 = c0 * 0xD2E7470EE14C6C93, c2 * 0xCA5A826395121157
        c0, c1, c2, c3 = (product1 >> 64) ^ c1 ^ k0, product1 & _MASK, (product0 >> 64) ^ c3 ^ k1, product0 & _MASK
        k0, k1 = (k0 + 0x9E3779B97F4A7C15) & _MASK, (k1 + 0xBB67AE8584CAA73B) & _MASK
    return c0, c1, c2, c3


def stream(key, counter, count):
    """The first `count` words of consecutive blocks; the first word of the counter is the block's number."""
    block, *rest = counter
    found = []
    while len(found) < count:
        found.extend(philox((block, *rest), key))
        block += 1
    return found[:count]


def keep_mask(rows, units, rate, counter):
    """Dropout mask for (seed, epoch, step, layer): eight units per block, the low half of each word first."""
    seed, epoch, step, layer = counter
    threshold = round(rate * 2**32)
    blocks = -(-units // 8)
    mask = np.empty((rows, units), bool)
    for row in range(rows):
        words = stream((seed, 3), (row * blocks, layer, step, epoch), 4 * blocks)
        halves = [half for word in words for half in (word & 0xFFFFFFFF, word >> 32)]
        mask[row] = [half >= threshold for half in halves[:units]]
    return mask
