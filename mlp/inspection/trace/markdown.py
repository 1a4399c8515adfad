"""A trace as Markdown tables, with formulas in LaTeX between dollar signs, as GitHub and other readers show them."""

from __future__ import annotations

from mlp.inspection.trace.explanations import Explanation, each_explained, legend
from mlp.inspection.trace.notation import to_latex
from mlp.inspection.trace.quantities import Quantity, Recording, Step


def to_markdown(trace: Recording, *, blank: bool = False) -> str:
    """See `Trace.to_markdown`."""
    lines = [f"# {trace.title}", "", *(f"- {line}" for line in legend(trace))]
    for step, explained in each_explained(trace):
        lines += ["", "…"] if step is None else ["", *_step(step, explained, blank)]
    return "\n".join(lines) + "\n"


def _step(step: Step, explained: dict[str, Explanation], blank: bool) -> list[str]:
    lines = [f"## {step.title}"]
    for phase, quantities in step.phases():
        lines += ["", f"### {phase}", "", "| quantity | formula | shape | value |", "| --- | --- | --- | --- |"]
        lines += [_row(quantity, blank and quantity.code is not None) for quantity in quantities]
        found = [explained[quantity.name] for quantity in quantities if quantity.name in explained]
        if found:
            lines += ["", *(_explanation(each, blank) for each in found)]
    return lines


def _explanation(explanation: Explanation, blank: bool) -> str:
    text = f"- {maths(explanation.quantity.symbol)}: {explanation.sentence}"
    return text if blank or not explanation.worked else f"{text}<br>{maths(explanation.worked)}"


def _row(quantity: Quantity, blank: bool) -> str:
    shape = " × ".join(map(str, quantity.shape)) or "1"
    formula = quantity.formula if quantity.phase == "given" else maths(quantity.formula)
    cells = maths(quantity.left.removesuffix(" =")), formula, shape, "" if blank else _value(quantity)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def maths(text: str) -> str:
    """A formula between dollar signs, or as code if LaTeX cannot contain it."""
    latex = to_latex(text)
    return f"`{text}`" if latex is None else f"${latex}$" if latex else ""


def _value(quantity: Quantity) -> str:
    if quantity.hidden:
        return ""
    if quantity.summarised:
        return quantity.summary_text()
    return "<br>".join(", ".join(row) for row in quantity.rows())
