"""Activations as nodes: an operator of ONNX where it computes the same, otherwise the formula in elementary operators.

The formulas are those of the backends, bound to functions that add nodes.  So they are as stable for large inputs, and
an activation that is added to `formulas.ACTIVATIONS` is exported, too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.polynomial import chebyshev

from mlp._backends import Activation, ConfigurationError, formulas
from mlp.io.onnx_files.graph_writer import GraphWriter

_OPERATORS: Mapping[str, tuple[str, dict[str, float]]] = {
    "sigmoid": ("Sigmoid", {}),
    "tanh": ("Tanh", {}),
    "relu": ("Relu", {}),
    "exp": ("Exp", {}),
    "softmax": ("Softmax", {"axis": 1}),
}
"""Activations that are one operator of opset 17."""

_FLOAT32_OPERATORS: Mapping[str, tuple[str, dict[str, float]]] = {
    "leaky_relu": ("LeakyRelu", {"alpha": formulas.activations.LEAKY_SLOPE}),
    "elu": ("Elu", {"alpha": 1.0}),
    "selu": (
        "Selu",
        {
            "alpha": formulas.activations.SELU_FLOOR / formulas.activations.SELU_SCALE,
            "gamma": formulas.activations.SELU_SCALE,
        },
    ),
    "softplus": ("Softplus", {}),
}
"""Further ones in float32.  Their attributes are float32, and ONNX Runtime computes most of them in float32 only."""


def add_activation(writer: GraphWriter, activation: Activation, z: str, dtype: np.dtype[Any], name: str) -> str:
    """Add the nodes that compute an activation of the value `z`, and return the name of the result.

    Raises
    ------
    ConfigurationError
        If it is a custom function.
    """
    if activation.custom:
        raise ConfigurationError(
            f"activation {activation.name!r} is a custom function, which ONNX files cannot contain: they hold "
            "operators and no code. Use one of the built-in activations, or add the nodes by hand with onnx.helper."
        )
    if activation.name == "identity":
        return z
    operators = _OPERATORS if dtype == np.float64 else _OPERATORS | _FLOAT32_OPERATORS  # type: ignore[operator]
    if activation.name in operators:
        operator, attributes = operators[activation.name]
        return writer.node(operator, [z], name, **attributes)
    recorder = _Recorder(writer, dtype, name)
    forward = formulas.bind(recorder.functions())(activation.forward)
    result: _Value = forward(_Value(recorder, z))
    return result.name


class _Value:
    """A value of the graph; arithmetic with it adds nodes."""

    def __init__(self, recorder: _Recorder, name: str) -> None:
        self.recorder, self.name = recorder, name

    def __add__(self, other: Any) -> _Value:
        return self.recorder.add("Add", self, other)

    def __radd__(self, other: Any) -> _Value:
        return self.recorder.add("Add", other, self)

    def __sub__(self, other: Any) -> _Value:
        return self.recorder.add("Sub", self, other)

    def __rsub__(self, other: Any) -> _Value:
        return self.recorder.add("Sub", other, self)

    def __mul__(self, other: Any) -> _Value:
        return self.recorder.add("Mul", self, other)

    def __rmul__(self, other: Any) -> _Value:
        return self.recorder.add("Mul", other, self)

    def __truediv__(self, other: Any) -> _Value:
        return self.recorder.add("Div", self, other)

    def __rtruediv__(self, other: Any) -> _Value:
        return self.recorder.add("Div", other, self)

    def __neg__(self) -> _Value:
        return self.recorder.add("Neg", self)

    def __gt__(self, other: Any) -> _Value:
        return self.recorder.add("Greater", self, other)

    def __ge__(self, other: Any) -> _Value:
        return self.recorder.add("GreaterOrEqual", self, other)


class _Recorder:
    """Adds the nodes of one formula."""

    def __init__(self, writer: GraphWriter, dtype: np.dtype[Any], name: str) -> None:
        self.writer, self.dtype, self.prefix = writer, dtype, name

    def add(self, operator: str, *operands: Any, **attributes: Any) -> _Value:
        """Add a node for values and numbers."""
        names = [
            operand.name if isinstance(operand, _Value) else self.writer.scalar(operand, self.dtype)
            for operand in operands
        ]
        return _Value(self, self.writer.node(operator, names, f"{self.prefix}.{operator}", **attributes))

    def functions(self) -> dict[str, Callable[..., Any]]:
        """The functions that formulas use."""
        operators = {
            "abs": "Abs", "exp": "Exp", "log": "Log", "maximum": "Max", "minimum": "Min", "sign": "Sign",
            "sqrt": "Sqrt", "tanh": "Tanh", "where": "Where",
        }  # fmt: skip

        def function_for(operator: str) -> Callable[..., _Value]:
            return lambda *operands: self.add(operator, *operands)

        return {name: function_for(operator) for name, operator in operators.items()} | {
            "expm1": self.expm1,
            "log1p": self.log1p,
            "erfc": self.erfc if self.dtype == np.float64 else lambda z: 1 - self.add("Erf", z),
            "row_max": lambda z: self.add("ReduceMax", z, axes=[-1], keepdims=1),
            "row_sum": self.row_sum,
        }

    def row_sum(self, z: _Value) -> _Value:
        """Sum of each row; the axis is an input of this operator."""
        axis = self.writer.constant(np.array([-1]), "axis")
        return _Value(self, self.writer.node("ReduceSum", [z.name, axis], f"{self.prefix}.ReduceSum", keepdims=1))

    def expm1(self, z: _Value) -> _Value:
        """``exp(z) - 1`` without cancellation near 0."""
        t = self.add("Tanh", 0.5 * z)
        return 2 * t / (1 - t)

    def log1p(self, u: _Value) -> _Value:
        """``log(1 + u)``; the factor corrects the rounding of the sum (Goldberg 1991, theorem 4)."""
        w = 1 + u
        return self.add("Where", self.add("Equal", w, 1), u, self.add("Log", w) * (u / (w - 1)))

    def erfc(self, z: _Value) -> _Value:
        """The complementary error function in float64, for which ONNX Runtime has no ``Erf``.

        ``erfc(a) = t exp(P(t) - a**2)`` for a >= 0 with t = 2 / (2 + a), where P is a sum of Chebyshev polynomials.
        """
        a = self.add("Abs", z)
        t = 2 / (2 + a)
        x2 = 4 * t - 2  # twice the argument of the Chebyshev polynomials
        first, *rest = _erfc_coefficients()
        b, previous = 0 * t, 0 * t
        for coefficient in reversed(rest):  # Clenshaw's recurrence
            b, previous = x2 * b - previous + coefficient, b
        tail = t * self.add("Exp", (0.5 * x2 * b - previous + first) - a * a)
        return self.add("Where", self.add("GreaterOrEqual", z, 0), tail, 2 - tail)


def _erfc_coefficients() -> list[float]:
    """Chebyshev coefficients of ``log(erfcx(a) / t)`` in ``2 t - 1``, where ``erfcx(a) = exp(a**2) erfc(a)``."""
    from scipy.special import erfcx

    t = (chebyshev.chebpts1(64) + 1) / 2
    a = 2 / t - 2
    fitted = chebyshev.chebfit(2 * t - 1, np.log(erfcx(a) / t), 24)
    return [float(coefficient) for coefficient in fitted]
