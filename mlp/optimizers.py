"""The optimizers: names and hyper-parameters.  The update rules are in `backends.formulas`.

All of them take a `learning_rate` (a number or a schedule), `weight_decay` (decoupled: it multiplies the weights
by ``1 - learning_rate * weight_decay`` before each update, Loshchilov & Hutter 2019, and does not change the
biases), `clip_norm` and `clip_value`, and factors of the learning rate for parts of a network.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from mlp import schedules
from mlp._backends import ConfigurationError, Layout, UnknownNameError, formulas
from mlp.checks import one_per_layer, require_fraction, require_nonnegative, require_positive, use_plain_numbers
from mlp.schedules import Constant, Schedule, name_of

_FACTORS = ("weight_rate_factor", "bias_rate_factor", "scaling_rate_factor")


def _checked_factor(name: str, value: Any) -> float | tuple[float, ...]:
    several = isinstance(value, Sequence | np.ndarray) and not isinstance(value, str)
    for factor in value if several else [value]:
        require_nonnegative(name, factor)
    return tuple(map(float, value)) if several else float(value)


@dataclass
class Optimizer:
    """Base of all optimizers.

    Attributes
    ----------
    learning_rate : float or Schedule
    weight_decay : float
    clip_norm, clip_value : float or None
        Bounds on the gradient's Euclidean norm and on each of its entries.
    weight_rate_factor, bias_rate_factor : float or tuple of float
        The learning rate of the weights and of the biases is multiplied by it: one number for all layers, or one for
        each layer.  0 keeps them as they are.
    scaling_rate_factor : float
        That of the factors of a scaling layer.
    """

    learning_rate: float | Schedule
    weight_decay: float = field(default=0.0, kw_only=True)
    clip_norm: float | None = field(default=None, kw_only=True)
    clip_value: float | None = field(default=None, kw_only=True)
    weight_rate_factor: float | tuple[float, ...] = field(default=1.0, kw_only=True)
    bias_rate_factor: float | tuple[float, ...] = field(default=1.0, kw_only=True)
    scaling_rate_factor: float = field(default=1.0, kw_only=True)

    def __post_init__(self) -> None:
        use_plain_numbers(self)
        for name in ("weight_rate_factor", "bias_rate_factor"):
            setattr(self, name, _checked_factor(name, getattr(self, name)))
        require_nonnegative("scaling_rate_factor", self.scaling_rate_factor)
        if not isinstance(self.learning_rate, Schedule):
            require_positive("learning_rate", self.learning_rate)
        require_nonnegative("weight_decay", self.weight_decay)
        for name in ("clip_norm", "clip_value"):
            if getattr(self, name) is not None:
                require_positive(name, getattr(self, name), "Omit it to not clip the gradient.")

    @property
    def schedule(self) -> Schedule:
        """The learning rate as a schedule."""
        rate = self.learning_rate
        return rate if isinstance(rate, Schedule) else Constant(float(rate))

    @property
    def rule(self) -> formulas.Rule:
        """The update rule that the backend applies, with its hyper-parameters."""
        return formulas.Rule("sgd", {})

    def rate_factors(self, layout: Layout) -> tuple[tuple[int, int, float], ...]:
        """The slices of a network's parameters that have a factor of the learning rate, as `EpochPlan` takes them.

        Raises
        ------
        ConfigurationError
            If there are factors for another number of layers, or for a scaling layer that the network does not have.

        Examples
        --------
        >>> Adam(0.04, weight_rate_factor=(0.5, 1.0), bias_rate_factor=0.1).rate_factors(Layout((2, 3, 1)))
        ((0, 6, 0.5), (9, 13, 0.1))
        """
        n_layers = layout.n_layers
        weights = one_per_layer("weight_rate_factor", self.weight_rate_factor, n_layers)
        biases = one_per_layer("bias_rate_factor", self.bias_rate_factor, n_layers)
        sizes = [n_in * n_out for n_in, n_out in pairwise(layout.sizes)]
        lengths = [*zip(sizes, weights, strict=True), *zip(layout.sizes[1:], biases, strict=True)]
        if layout.scaling_layer:
            lengths.append((layout.sizes[0], self.scaling_rate_factor))
        elif self.scaling_rate_factor != 1:
            raise ConfigurationError(
                f"scaling_rate_factor={self.scaling_rate_factor:g} is for a scaling layer, which this network does not "
                "have: omit it, or make the network with scaling_layer=True."
            )
        slices: list[tuple[int, int, float]] = []
        position = 0
        for length, factor in lengths:
            stop = position + length
            if slices and slices[-1][1:] == (position, factor):  # fewer slices need fewer updates
                slices[-1] = (slices[-1][0], stop, factor)
            else:
                slices.append((position, stop, factor))
            position = stop
        return tuple(one for one in slices if one[2] != 1)

    def to_dict(self) -> dict[str, Any]:
        """The optimizer as plain data; `from_dict` reads it back."""
        values = {name: getattr(self, name) for name in asdict(self)}
        for name in _FACTORS:
            if values[name] == 1:  # version 0.2.0 does not know them
                del values[name]
            elif isinstance(values[name], tuple):
                values[name] = list(values[name])
        if isinstance(self.learning_rate, Schedule):
            values["learning_rate"] = self.learning_rate.to_dict()
        return {"name": name_of(type(self), "optimizer", _NAMES), **values}


@dataclass
class GradientDescent(Optimizer):
    """Full-batch gradient descent: one update an epoch, with the gradient over all rows.

    Examples
    --------
    >>> GradientDescent(0.5).rule
    Rule(name='sgd', hyper={})
    """

    learning_rate: float | Schedule = 0.1


@dataclass
class SGD(Optimizer):
    """Stochastic gradient descent, with momentum and Nesterov's variant of it.

    Attributes
    ----------
    momentum : float
        0 <= momentum < 1.
    nesterov : bool
    rate_inside : bool
        Whether the learning rate is inside the velocity.  False: ``v = m v + g, p -= rate v``, as in PyTorch.  True:
        ``v = m v - rate g, p += v``, as in scikit-learn and Keras.  The two differ when the rate changes.

    Examples
    --------
    >>> SGD(0.1, momentum=0.9, nesterov=True).rule
    Rule(name='nesterov', hyper={'momentum': 0.9})
    """

    learning_rate: float | Schedule = 0.01
    momentum: float = 0.0
    nesterov: bool = False
    rate_inside: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        require_fraction("momentum", self.momentum)
        if self.nesterov and not self.momentum:
            raise ConfigurationError("nesterov=True is a variant of momentum: it needs momentum > 0.")

    @property
    def rule(self) -> formulas.Rule:
        if not self.momentum:
            return formulas.Rule("sgd", {})
        name = ("nesterov" if self.nesterov else "momentum") + ("_rate_inside" if self.rate_inside else "")
        return formulas.Rule(name, {"momentum": self.momentum})


@dataclass
class Adagrad(Optimizer):
    """Duchi, Hazan & Singer 2011."""

    learning_rate: float | Schedule = 0.01
    epsilon: float = 1e-10

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive("epsilon", self.epsilon)

    @property
    def rule(self) -> formulas.Rule:
        return formulas.Rule("adagrad", {"epsilon": self.epsilon})


@dataclass
class RMSprop(Optimizer):
    """Tieleman & Hinton 2012, lecture 6e."""

    learning_rate: float | Schedule = 0.001
    rho: float = 0.99
    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        super().__post_init__()
        require_fraction("rho", self.rho)
        require_positive("epsilon", self.epsilon)

    @property
    def rule(self) -> formulas.Rule:
        return formulas.Rule("rmsprop", {"rho": self.rho, "epsilon": self.epsilon})


@dataclass
class Adam(Optimizer):
    """Kingma & Ba 2015.

    Attributes
    ----------
    beta1, beta2, epsilon : float
    epsilon_hat : bool
        Where epsilon is added.  False: to the bias-corrected root, as in algorithm 1 of the paper and in PyTorch.
        True: to the uncorrected root, as in the paper's remark below algorithm 1 and in scikit-learn.

    Examples
    --------
    >>> Adam().rule.name, Adam(epsilon_hat=True).rule.name
    ('adam', 'adam_epsilon_hat')
    """

    learning_rate: float | Schedule = 0.001
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    epsilon_hat: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        require_fraction("beta1", self.beta1)
        require_fraction("beta2", self.beta2)
        require_positive("epsilon", self.epsilon)

    @property
    def rule(self) -> formulas.Rule:
        hyper = {"beta1": self.beta1, "beta2": self.beta2, "epsilon": self.epsilon}
        return formulas.Rule("adam_epsilon_hat" if self.epsilon_hat else "adam", hyper)


@dataclass
class AdamW(Adam):
    """`Adam` with a decoupled weight decay, by default 0.01 (Loshchilov & Hutter 2019)."""

    weight_decay: float = field(default=0.01, kw_only=True)


OPTIMIZERS: dict[str, type[Optimizer]] = {
    "gd": GradientDescent,
    "sgd": SGD,
    "adagrad": Adagrad,
    "rmsprop": RMSprop,
    "adam": Adam,
    "adamw": AdamW,
}
_NAMES = {cls: name for name, cls in OPTIMIZERS.items()}


def optimizer(choice: str | Optimizer | type[Optimizer]) -> Optimizer:
    """Return the optimizer of a name, with its defaults; an `Optimizer` is returned unchanged.

    Raises
    ------
    ConfigurationError
        If `choice` is a class.
    UnknownNameError

    Examples
    --------
    >>> optimizer("adam").learning_rate
    0.001
    """
    if isinstance(choice, Optimizer):
        return choice
    if isinstance(choice, type):
        raise ConfigurationError(f"the optimizer is a class; pass an instance: mlp.{choice.__name__}().")
    if not isinstance(choice, str) or choice not in OPTIMIZERS:
        raise UnknownNameError.among("optimizer", choice, OPTIMIZERS)
    return OPTIMIZERS[choice]()  # type: ignore[call-arg]  # every optimizer in the table has a default rate


def from_dict(data: dict[str, Any]) -> Optimizer:
    """Read an optimizer back from `Optimizer.to_dict`.

    Examples
    --------
    >>> from_dict(SGD(0.1, momentum=0.9).to_dict()) == SGD(0.1, momentum=0.9)
    True
    """
    fields = dict(data)
    name = fields.pop("name", None)
    if name not in OPTIMIZERS:
        raise UnknownNameError.among("optimizer", name, OPTIMIZERS)
    if isinstance(fields.get("learning_rate"), dict):
        fields["learning_rate"] = schedules.from_dict(fields["learning_rate"])
    return OPTIMIZERS[name](**fields)
