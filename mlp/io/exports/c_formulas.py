"""The activations as functions of C, translated from `backends.formulas`."""

from __future__ import annotations

import re

import numpy as np

from mlp._backends import formulas
from mlp.io.exports.model import Model
from mlp.io.exports.text import shortest

_MATH = {name: f"{name}f" for name in ("exp", "expm1", "log", "log1p", "sqrt", "tanh", "erfc")} | {"abs": "fabsf"}

_HELPERS = {
    "maximum": """/* Unlike fmaxf, keeps NaN. */
static float maximum(float a, float b)
{
    return a > b || isnan(a) ? a : b;
}
""",
    "minimum": """static float minimum(float a, float b)
{
    return a < b || isnan(a) ? a : b;
}
""",
    "sign": """static float sign(float a)
{
    return a > 0.0f ? 1.0f : a < 0.0f ? -1.0f : a;
}
""",
}


def c_formulas(model: Model) -> str:
    """The functions that the activations of a model need; row-wise ones take a length and replace the row.

    Examples
    --------
    >>> import mlp
    >>> print(c_formulas(Model.of(mlp.MLP([2, 3, 1], "elu", loss="mse"))))
    static float minimum(float a, float b)
    {
        return a < b || isnan(a) ? a : b;
    }
    <BLANKLINE>
    static float elu(float z)
    {
        return z > 0.0f ? z : expm1f(minimum(z, 0.0f));
    }
    """
    translator = formulas.Translator(_C())
    for name, activation in model.activations.items():
        if name != "identity":
            translator.add(activation.forward, activation.rowwise)
    text = translator.text()
    helpers = [helper for name, helper in _HELPERS.items() if re.search(rf"\b{name}\(", text)]
    return "\n".join([*helpers, text]).strip()


class _C(formulas.Language):
    def argument(self, name: str, rowwise: bool) -> tuple[str, str]:
        return name, f"{name}[k]" if rowwise else name

    def number(self, value: float) -> str:
        return shortest(value, np.float32) + "f"

    def elementary(self, name: str, arguments: list[str]) -> str:
        return f"{_MATH.get(name, name)}({', '.join(arguments)})"

    def call(self, name: str, arguments: list[str]) -> str:
        return f"{name}({', '.join(arguments)})"

    def define(self, name: str, text: str) -> list[str]:
        return [f"const float {name} = {text};"]

    def define_entry(self, name: str, text: str) -> tuple[list[str], str]:
        return [], text  # computed again where it is used, since there is no memory for a second row

    def reduce(self, name: str, reduction: str, entry: str) -> list[str]:
        if reduction == "row_max":
            start, step = "-INFINITY", f"{name} = maximum({name}, {entry})"
        else:
            start, step = "0.0f", f"{name} += {entry}"
        return [f"float {name} = {start};", "for (int k = 0; k < n; k++)", f"    {step};"]

    def function(self, formula: formulas.Translation) -> str:
        (result,), (argument,) = formula.results, formula.arguments
        lines = formula.lines
        if formula.rowwise:
            head = f"static void {formula.name}(int n, float *{argument})"
            lines = [*lines, "for (int k = 0; k < n; k++)", f"    {argument}[k] = {result};"]
        else:
            head, lines = f"static float {formula.name}(float {argument})", [*lines, f"return {result};"]
        return f"{head}\n{{\n" + "".join(f"    {line}\n" for line in lines) + "}\n"
