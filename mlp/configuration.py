"""`Configuration`: everything that defines a network except its parameters, as checked and frozen plain data."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from mlp import custom
from mlp._backends import Activation, ConfigurationError, Layout, NetworkPlan, formulas, random
from mlp.checks import (
    check_classes,
    check_dtype,
    check_quantile,
    check_sizes,
    check_target_scaling,
    counted,
    one_per_layer,
    require_fraction,
    require_nonnegative,
    require_positive,
)
from mlp.initializers import initializer_for

if TYPE_CHECKING:
    from mlp.data import Preprocessing

OUTPUT_FOR = {"cross_entropy": "softmax", "binary_cross_entropy": "sigmoid", "poisson": "exp"}
"""The output activation that ``"auto"`` selects for each loss; identity for all others."""

LOSS_FOR = {output: loss for loss, output in OUTPUT_FOR.items()}
"""The loss of a network imported from another library, by its output activation."""

TargetScaling = tuple[tuple[float, ...], tuple[float, ...]]
"""Shifts and scales of the targets, one for each output."""


@dataclass(frozen=True)
class Configuration:
    """The settings of a network, without its parameters; made by `configure`.

    Attributes
    ----------
    plan : NetworkPlan
        Widths, activations, loss, dropout and precision.
    init : tuple of str
        Initializer of each layer.
    seed : int
    dtype : dtype
    l2, l1 : float
    input_scale : float or None
    classes : tuple or None
    preprocessing : Preprocessing or None
    target_scaling : tuple (shifts, scales) or None

    Examples
    --------
    >>> configure([2, 3, 1], loss="mse").to_dict()["activation"]
    ['relu']
    """

    plan: NetworkPlan
    init: tuple[str, ...]
    seed: int
    dtype: np.dtype[Any]
    l2: float = 0.0
    l1: float = 0.0
    input_scale: float | None = None
    classes: tuple[Any, ...] | None = None
    preprocessing: Preprocessing | None = None
    target_scaling: TargetScaling | None = None

    def to_dict(self) -> dict[str, Any]:
        """The arguments of `configure` as plain data, without `preprocessing`; custom functions by name."""
        names = [activation.name for activation in self.plan.activations]
        return {
            "sizes": list(self.plan.layout.sizes),
            "activation": names[:-1],
            "output_activation": names[-1],
            "loss": self.plan.kind.loss.name,
            **({"quantile": list(self.plan.kind.loss.levels)} if self.plan.kind.loss.levels else {}),
            "dropout": list(self.plan.dropout[1:]),
            "input_dropout": self.plan.dropout[0],
            "l2": self.l2,
            "l1": self.l1,
            "init": list(self.init),
            "seed": self.seed,
            "dtype": str(self.dtype),
            "precision": self.plan.precision,
            "input_scale": self.input_scale,
            "classes": None if self.classes is None else list(self.classes),
            "target_scaling": None if self.target_scaling is None else [list(values) for values in self.target_scaling],
            "scaling_layer": self.plan.layout.scaling_layer,
        }


def configure(
    sizes: Sequence[int],
    activation: str | Activation | Sequence[str | Activation] = "relu",
    output_activation: str | Activation = "auto",
    loss: str | formulas.Loss = "cross_entropy",
    *,
    quantile: float | Sequence[float] | None = None,
    dropout: float | Sequence[float] = 0.0,
    input_dropout: float = 0.0,
    l2: float = 0.0,
    l1: float = 0.0,
    init: str | Sequence[str] = "auto",
    seed: int | None = 0,
    dtype: Any = "float32",
    precision: str = "float32",
    input_scale: float | None = None,
    classes: Sequence[Any] | None = None,
    preprocessing: Preprocessing | None = None,
    target_scaling: tuple[Sequence[float], Sequence[float]] | None = None,
    scaling_layer: bool = False,
) -> Configuration:
    """Check the arguments of `MLP` and return them as a `Configuration`.

    Raises
    ------
    ConfigurationError, ShapeError
        If an argument is invalid.
    GradientError
        If the derivative of a custom function is wrong.
    """
    sizes = check_sizes(sizes)
    for name, penalty in (("l2", l2), ("l1", l1)):
        require_nonnegative(name, penalty)
    if input_scale is not None:
        require_positive("input_scale", input_scale)
    dtype = check_dtype(dtype)
    if not isinstance(scaling_layer, bool | np.bool_):
        raise ConfigurationError(f"scaling_layer must be True or False, not {scaling_layer!r:.80}.")
    layout = Layout(sizes, bool(scaling_layer))
    loss = with_quantile(formulas.loss(loss), quantile)
    plan = _make_plan(layout, activation, output_activation, loss, (input_dropout, dropout), input_scale)
    plan = with_precision(plan, precision, dtype)
    if preprocessing is not None:
        _check_preprocessing(preprocessing, sizes[0])
    names = one_per_layer("init", init, plan.layout.n_layers)
    return Configuration(
        plan,
        init=tuple(initializer_for(name, following) for name, following in zip(names, plan.activations, strict=True)),
        seed=secrets.randbits(64) if seed is None else random.check_seed(seed),
        dtype=dtype,
        l2=float(l2),
        l1=float(l1),
        input_scale=None if input_scale is None else float(input_scale),
        classes=check_classes(classes, sizes[-1]),
        preprocessing=preprocessing,
        target_scaling=check_target_scaling(target_scaling, plan.kind, sizes[-1]),
    )


def with_precision(plan: NetworkPlan, precision: str, dtype: np.dtype[Any]) -> NetworkPlan:
    """The plan of a network of `dtype` with another precision; raise `ConfigurationError` if they do not fit."""
    plan = replace(plan, precision=precision)
    if precision != "float32" and dtype != np.float32:
        raise ConfigurationError(
            f"precision={precision!r} rounds the float32 factors of matrix products, but this network has "
            f"dtype={str(dtype)!r}, whose digits it would discard. Use dtype='float32', or omit the precision."
        )
    return plan


def with_quantile(loss: formulas.Loss, quantile: float | Sequence[float] | None) -> formulas.Loss:
    """The loss for the quantiles of these levels; raise `ConfigurationError` if it is not for quantiles."""
    if quantile is None:
        return loss
    if not loss.levels:
        raise ConfigurationError(
            f"quantile={quantile!r:.80} is for loss='quantile', not for {loss.name!r}: set that loss, or omit quantile."
        )
    return replace(loss, levels=check_quantile(quantile))


def _check_preprocessing(preprocessing: Any, n_inputs: int) -> None:
    from mlp.data.preprocessing import Preprocessing  # only networks with a preprocessing need the package

    if not isinstance(preprocessing, Preprocessing):
        raise ConfigurationError(
            "preprocessing must be a mlp.data.Preprocessing object, such as mlp.data.load(...).preprocessing, "
            f"not {preprocessing!r:.80}."
        )
    if preprocessing.n_outputs != n_inputs:
        raise ConfigurationError(
            f"preprocessing gives {counted(preprocessing.n_outputs, 'column')}, but the network has "
            f"{counted(n_inputs, 'input')}: they must be equal."
        )


def _make_plan(
    layout: Layout,
    activation: str | Activation | Sequence[str | Activation],
    output_activation: str | Activation,
    loss: formulas.Loss,
    dropout: tuple[float, float | Sequence[float]],
    input_scale: float | None,
) -> NetworkPlan:
    n_hidden = layout.n_layers - 1
    output = OUTPUT_FOR.get(loss.name, "identity") if output_activation == "auto" else output_activation
    kind = formulas.pair(output, loss)
    if loss.name == "cross_entropy" and layout.sizes[-1] == 1:
        raise ConfigurationError(
            "cross_entropy needs two or more outputs, but this network has one: the softmax of one output is always "
            "1. For two classes use 2 outputs or loss='binary_cross_entropy'; for regression use loss='mse'."
        )
    hidden = [formulas.activation(choice) for choice in one_per_layer("activation", activation, n_hidden)]
    for function in hidden:
        if function.role == "output":
            raise ConfigurationError(f"activation {function.name!r} is for the output layer only.")
    rates = (dropout[0], *one_per_layer("dropout", dropout[1], n_hidden))
    for rate in rates:
        require_fraction("dropout", rate)
    plan = NetworkPlan(
        layout,
        (*hidden, kind.output),
        kind,
        tuple(map(float, rates)),
        1.0 if input_scale is None else float(input_scale),
    )
    for function in plan.activations:
        if function.custom:
            custom.check_activation(function)
    if loss.custom:
        custom.check_loss(loss)
    return plan
