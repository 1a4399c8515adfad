"""The activations as functions of JavaScript, translated from `backends.formulas`."""

from __future__ import annotations

import re

from mlp._backends import formulas
from mlp.io.exports.model import Model

_MATH = {name: f"Math.{name}" for name in formulas.NAMES} | {"maximum": "Math.max", "minimum": "Math.min"}

ERFC = """\
/** The complementary error function: by the series of erf near 0, else by a continued fraction. */
function erfc(x) {
  if (x < 0) return 2 - erfc(-x);
  if (x < 2) {
    let term = x;
    let sum = x;
    for (let n = 1; n < 60; n++) {
      term *= (2 * x * x) / (2 * n + 1);
      sum += term;
    }
    return 1 - (2 / Math.sqrt(Math.PI)) * Math.exp(-x * x) * sum;
  }
  let fraction = x;
  for (let n = 60; n > 0; n--) fraction = x + n / 2 / fraction;
  return Math.exp(-x * x) / Math.sqrt(Math.PI) / fraction;
}
"""


def js_formulas(model: Model) -> str:
    """The functions that the activations of a model need; row-wise ones take and return a row.

    Examples
    --------
    >>> import mlp
    >>> print(js_formulas(Model.of(mlp.MLP([2, 3, 1], "elu", loss="mse"))))
    function elu(z) {
      return z > 0 ? z : Math.expm1(Math.min(z, 0));
    }
    """
    translator = formulas.Translator(JavaScript())
    for name, activation in model.activations.items():
        if name != "identity":
            translator.add(activation.forward, activation.rowwise)
    text = translator.text()
    return "\n".join([ERFC] * bool(re.search(r"\berfc\(", text)) + [text]).strip()


class JavaScript(formulas.Language):
    """Formulas as functions: of numbers, or of rows, which are arrays; a tuple becomes an array."""

    def argument(self, name: str, rowwise: bool) -> tuple[str, str]:
        return name, f"{name}[k]" if rowwise else name

    def number(self, value: float) -> str:
        return repr(value).removesuffix(".0")

    def elementary(self, name: str, arguments: list[str]) -> str:
        return f"{_MATH.get(name, name)}({', '.join(arguments)})"

    def call(self, name: str, arguments: list[str]) -> str:
        return f"{name}({', '.join(arguments)})"

    def define(self, name: str, text: str) -> list[str]:
        return [f"const {name} = {text};"]

    def define_entry(self, name: str, text: str) -> tuple[list[str], str]:
        return [], text

    def reduce(self, name: str, reduction: str, entry: str) -> list[str]:
        if reduction == "row_max":
            start, step = "-Infinity", f"{name} = Math.max({name}, {entry})"
        else:
            start, step = "0", f"{name} += {entry}"
        return [f"let {name} = {start};", f"for (let k = 0; k < n; k++) {step};"]

    def function(self, formula: formulas.Translation) -> str:
        arguments, lines, results = ", ".join(formula.arguments), formula.lines, formula.results
        if formula.rowwise:
            first = formula.arguments[0]
            lines = [f"const n = {first}.length;", *lines]
            results = [f"{first}.map((_, k) => {result})" for result in results]
        result = f"[{', '.join(results)}]" if formula.is_tuple else results[0]
        lines = [*lines, f"return {result};"]
        body = "".join(f"  {line}\n" for line in lines)
        return f"function {formula.name}({arguments}) {{\n{body}}}\n"
