"""Formulas in mathematical notation: activations, losses and update rules with their usual symbols.

The implementations are in `backends.formulas`; a function without an entry here is written by its name.
"""

from __future__ import annotations

from collections.abc import Mapping

from mlp._backends import Activation, formulas

_SUPERSCRIPT = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")

_ACTIVATIONS = {  # name: (function of z, derivative from z and a)
    "identity": ("{z}", "1"),
    "sigmoid": ("1 / (1 + e^(−{z}))", "{a} ⊙ (1 − {a})"),
    "tanh": ("tanh({z})", "1 − {a} ⊙ {a}"),
    "relu": ("max({z}, 0)", "1 where {z} > 0, else 0"),
    "leaky_relu": ("{z} where {z} > 0, else 0.01·{z}", "1 where {z} > 0, else 0.01"),
    "elu": ("{z} where {z} > 0, else e^({z}) − 1", "1 where {z} > 0, else {a} + 1"),
    "selu": (
        "1.0507·{z} where {z} > 0, else 1.7581·(e^({z}) − 1)",
        "1.0507 where {z} > 0, else {a} + 1.7581",
    ),
    "gelu": ("{z} ⊙ Φ({z}), Φ = CDF of the normal distribution", "Φ({z}) + {z} ⊙ Φ′({z})"),
    "gelu_tanh": (
        "½ {z} ⊙ (1 + tanh(u)), u = √(2/π) ({z} + 0.044715·({z})³)",
        "½ (1 + tanh(u)) + ½ {z} ⊙ (1 − (tanh(u))²) ⊙ u′",
    ),
    "silu": ("{z} ⊙ σ({z})", "σ({z}) ⊙ (1 + {z} ⊙ (1 − σ({z})))"),
    "mish": (
        "{z} ⊙ tanh(ln(1 + e^({z})))",
        "tanh(ln(1 + e^({z}))) + {z} ⊙ σ({z}) ⊙ (1 − tanh(ln(1 + e^({z}))) ⊙ tanh(ln(1 + e^({z}))))",
    ),
    "softplus": ("ln(1 + e^({z}))", "1 − e^(−{a})"),
    "exp": ("e^({z})", "{a}"),
    "softmax": ("e^({z}) / Σⱼ e^({z})", ""),
}

_LOSSES = {  # name: (value of an entry, its derivative with respect to a)
    "cross_entropy": ("−t ⊙ ln {a}", "−t / {a}"),
    "binary_cross_entropy": ("−t ⊙ ln {a} − (1 − t) ⊙ ln(1 − {a})", "(1 − t) / (1 − {a}) − t / {a}"),
    "mse": ("({a} − t)²", "2·({a} − t)"),
    "quadratic": ("½({a} − t)²", "({a} − t)"),
    "mae": ("|{a} − t|", "sign({a} − t)"),
    "huber": ("½r² where |r| ≤ 1, else |r| − ½, r = {a} − t", "min(max({a} − t, −1), 1)"),
    "quantile": (
        "τ(t − {a}) where {a} < t, else (1 − τ)({a} − t), τ = {levels}",
        "(−τ where {a} < t, 1 − τ where {a} > t, τ = {levels})",
    ),
    "poisson": ("t ⊙ ln(t / {a}) − t + {a}", "(1 − t / {a})"),
}

_MOMENTUM, _INSIDE = "μ·{velocity} + {g}", "μ·{velocity} − η·{g}"
_STEP = "{p} − η·{g} / (√{squares} + ε)"
_MOMENTS = {"mean": "β₁·{mean} + (1 − β₁)·{g}", "variance": "β₂·{variance} + (1 − β₂)·({g})²"}
_RULES: Mapping[str, Mapping[str, str]] = {  # name: formula of each part of the optimizer state, and of the parameter
    "sgd": {"p": "{p} − η·{g}"},
    "momentum": {"velocity": _MOMENTUM, "p": "{p} − η·{velocity}"},
    "momentum_rate_inside": {"velocity": _INSIDE, "p": "{p} + {velocity}"},
    "nesterov": {"velocity": _MOMENTUM, "p": "{p} − η·({g} + μ·{velocity})"},
    "nesterov_rate_inside": {"velocity": _INSIDE, "p": "{p} + μ·{velocity} − η·{g}"},
    "adagrad": {"squares": "{squares} + ({g})²", "p": _STEP},
    "rmsprop": {"squares": "ρ·{squares} + (1 − ρ)·({g})²", "p": _STEP},
    "adam": _MOMENTS | {"p": "{p} − η/(1 − β₁ᵏ) · {mean} / (√{variance} / √(1 − β₂ᵏ) + ε)"},
    "adam_epsilon_hat": _MOMENTS | {"p": "{p} − η·√(1 − β₂ᵏ)/(1 − β₁ᵏ) · {mean} / (√{variance} + ε)"},
}

_STATES = {"velocity": "v", "squares": "s", "mean": "m", "variance": "v"}
CONSTANTS = {"momentum": "μ", "rho": "ρ", "epsilon": "ε", "beta1": "β₁", "beta2": "β₂"}
"""Symbols of the hyperparameters of update rules."""


def superscript(number: int) -> str:
    """The number of a layer as a superscript in parentheses, which cannot be read as a power.

    Examples
    --------
    >>> superscript(12)
    '⁽¹²⁾'
    """
    return f"⁽{str(number).translate(_SUPERSCRIPT)}⁾"


def state(slot: str, parameter: str) -> str:
    """Symbol of the optimizer state of a parameter.

    Examples
    --------
    >>> state("velocity", "W⁽¹⁾")
    'v(W⁽¹⁾)'
    """
    return f"{_STATES.get(slot, slot)}({parameter})"


def value_of(row: Activation, z: str) -> str:
    """Formula of an activation."""
    return _ACTIVATIONS.get(row.name, (f"{row.name}({{z}})",))[0].format(z=z)


def derivative_of(row: Activation, z: str, a: str) -> str:
    """Formula of an activation's derivative, from its input z or its output a."""
    return _ACTIVATIONS.get(row.name, ("", f"{row.name}′({{z}})"))[1].format(z=z, a=a)


def loss_of(kind: formulas.OutputLoss, a: str, n_out: int, weighted: bool) -> str:
    """Formula of the loss of a batch, from the network's outputs a and the targets t."""
    entry = _LOSSES.get(kind.loss.name, (f"{kind.loss.name}({{a}}, t)",))[0].format(a=a, levels=_levels(kind))
    divisor = 1 if kind.shares(n_out)[0] == 1 else n_out
    if weighted:
        return f"Σ r ⊙ [{entry}]" + (f" / {divisor}" if divisor > 1 else "")
    return f"1/m · Σ [{entry}]" if divisor == 1 else f"1/({divisor}m) · Σ [{entry}]"


def _levels(kind: formulas.OutputLoss) -> str:
    """The levels of quantiles, if the loss has them."""
    first, *others = kind.loss.levels or (0.0,)
    return f"({', '.join(map(str, kind.loss.levels))})" if others else str(first)


def delta_of(kind: formulas.OutputLoss, z: str, a: str, n_out: int, weighted: bool) -> str:
    """Formula of the gradient of the loss with respect to the logits."""
    divisor = 1 if kind.shares(n_out)[1] == 1 else n_out
    if kind.fused is not None:
        gradient = f"({a} − t)"
    else:
        gradient = _LOSSES.get(kind.loss.name, ("", f"{kind.loss.name}′({{a}}, t)"))[1]
        gradient = gradient.format(a=a, levels=_levels(kind))
        if kind.output.rowwise:
            gradient = f"{a} ⊙ (g − Σⱼ g ⊙ {a}), g = {gradient}"
        elif kind.output.name != "identity":
            gradient = f"{gradient} ⊙ f′({z})"
    if weighted:
        return f"r ⊙ {gradient}" + (f" / {divisor}" if divisor > 1 else "")
    return f"1/m · {gradient}" if divisor == 1 else f"1/({divisor}m) · {gradient}"


def update_of(rule: formulas.Rule, part: str, symbols: Mapping[str, str]) -> str:
    """Formula of a rule for one part of its state, or for the parameter (``"p"``)."""
    texts = _RULES.get(rule.name)
    return f"{rule.name}({symbols['p']}, {symbols['g']}, …)" if texts is None else texts[part].format(**symbols)
