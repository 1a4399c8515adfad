"""The elementwise operators of ONNX, computed by NumPy: to fold constants, and to recognise activations.

Several nodes may spell one activation: GELU is ``Div, Erf, Add, Mul, Mul`` in some files and ``Gelu`` in others.  A
chain is therefore recognised by its values at `PROBE`, which are compared with those of the formulas.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlp._backends import formulas
from mlp.io.onnx_files.values import Refusal

PROBE = np.concatenate(
    [
        np.linspace(-12, 12, 97),  # with 0
        [-1e-6, 1e-6, -1e-3, 1e-3, -80.0, -40.0, -25.0, -19.5, 19.5, 20.5, 25.0, 40.0, 80.0],
        [-1e8, -1e4, 1e4, 1e8],
    ]
)
"""Inputs at which functions are compared."""

_HUGE = np.abs(PROBE) > 100  # where a formula may overflow that is not written with care
_TOLERANCE = 1e-6
"""Relative to 1 + the value: constants in files are rounded to float32."""


def _attribute(attributes: Mapping[str, Any], name: str, default: Any) -> float:
    return float(attributes.get(name, default))


def _erf(z: Any) -> Any:
    from scipy.special import erf

    return erf(z)


def _gelu(z: Any, attributes: Mapping[str, Any]) -> Any:
    name = "gelu_tanh" if attributes.get("approximate", b"none") == b"tanh" else "gelu"
    return formulas.ACTIVATIONS[name].forward(z)


def _elu(z: Any, alpha: float) -> Any:
    return np.where(z > 0, z, alpha * np.expm1(np.minimum(z, 0)))


def _clip(z: Any, low: Any = -np.inf, high: Any = np.inf, attributes: Mapping[str, Any] | None = None) -> Any:
    attributes = attributes or {}
    return np.minimum(np.maximum(z, attributes.get("min", low)), attributes.get("max", high))


def _plain(function: Callable[..., Any]) -> Callable[..., Any]:
    """An operator that has no attributes."""
    return lambda *operands, attributes: function(*operands)


OPERATORS: Mapping[str, tuple[int, int, Callable[..., Any]]] = {
    "Abs": (1, 1, _plain(np.abs)),
    "Add": (2, 2, _plain(np.add)),
    "Celu": (1, 1, lambda z, attributes: (a := _attribute(attributes, "alpha", 1.0)) * _elu(z / a, 1.0)),
    "Clip": (1, 3, _clip),
    "Div": (2, 2, _plain(np.divide)),
    "Elu": (1, 1, lambda z, attributes: _elu(z, _attribute(attributes, "alpha", 1.0))),
    "Equal": (2, 2, _plain(np.equal)),
    "Erf": (1, 1, _plain(_erf)),
    "Exp": (1, 1, _plain(np.exp)),
    "Gelu": (1, 1, lambda z, attributes: _gelu(z, attributes)),
    "Greater": (2, 2, _plain(np.greater)),
    "GreaterOrEqual": (2, 2, _plain(np.greater_equal)),
    "LeakyRelu": (1, 1, lambda z, attributes: np.where(z >= 0, z, _attribute(attributes, "alpha", 0.01) * z)),
    "Less": (2, 2, _plain(np.less)),
    "LessOrEqual": (2, 2, _plain(np.less_equal)),
    "Log": (1, 1, _plain(np.log)),
    "Max": (1, 8, _plain(lambda *operands: np.maximum.reduce(np.broadcast_arrays(*operands)))),
    "Min": (1, 8, _plain(lambda *operands: np.minimum.reduce(np.broadcast_arrays(*operands)))),
    "Mul": (2, 2, _plain(np.multiply)),
    "Neg": (1, 1, _plain(np.negative)),
    "Not": (1, 1, _plain(np.logical_not)),
    "Pow": (2, 2, _plain(np.power)),
    "Reciprocal": (1, 1, _plain(np.reciprocal)),
    "Relu": (1, 1, _plain(formulas.activations.relu)),
    "Selu": (
        1, 1, lambda z, attributes: _attribute(attributes, "gamma", 1.0507010221481323)
        * _elu(z, _attribute(attributes, "alpha", 1.6732631921768188)),
    ),
    "Sigmoid": (1, 1, _plain(formulas.activations.sigmoid)),
    "Sign": (1, 1, _plain(np.sign)),
    "Softplus": (1, 1, _plain(formulas.activations.softplus)),
    "Sqrt": (1, 1, _plain(np.sqrt)),
    "Sub": (2, 2, _plain(np.subtract)),
    "Swish": (1, 1, lambda z, attributes: z * formulas.activations.sigmoid(_attribute(attributes, "alpha", 1.0) * z)),
    "Tanh": (1, 1, _plain(np.tanh)),
    "Where": (3, 3, _plain(np.where)),
}  # fmt: skip
"""Fewest and most operands of an operator, and its function; that also takes the attributes of the node, by keyword."""


def compute(operator: str, operands: list[NDArray[Any]], attributes: Mapping[str, Any]) -> NDArray[Any]:
    """The result of an elementwise operator."""
    try:
        with np.errstate(all="ignore"):
            return np.asarray(OPERATORS[operator][2](*operands, attributes=attributes))
    except TypeError:  # such as a difference of booleans
        kinds = ", ".join(str(operand.dtype) for operand in operands)
        raise Refusal(f"it does not work on {kinds}") from None


@cache
def _values_of_activations() -> dict[str, NDArray[np.float64]]:
    with np.errstate(all="ignore"):
        return {
            name: np.asarray(activation.forward(PROBE), dtype=np.float64)
            for name, activation in formulas.ACTIVATIONS.items()
            if not activation.rowwise
        }


def activation_of(values: NDArray[Any]) -> str | None:
    """The name of the activation that has these values at `PROBE`, or None."""
    return next((name for name, own in _values_of_activations().items() if are_equal(values, own)), None)


def are_equal(values: NDArray[Any], others: NDArray[Any]) -> bool:
    """Whether two functions agree at `PROBE`; for huge inputs the first may overflow."""
    with np.errstate(all="ignore"):
        close = (values == others) | (np.abs(values - others) <= _TOLERANCE * (1 + np.abs(others)))
    return bool((close | (_HUGE & ~np.isfinite(values))).all())
