"""A trace as Markdown tables."""

from __future__ import annotations

from mlp.inspection.trace.quantities import Quantity, Recording, Step


def to_markdown(trace: Recording, *, blank: bool = False) -> str:
    """See `Trace.to_markdown`."""
    lines = [f"# {trace.title}"]
    for step in trace.shown():
        lines += ["", "…"] if step is None else ["", *_step(step, blank)]
    return "\n".join(lines) + "\n"


def _step(step: Step, blank: bool) -> list[str]:
    lines = [f"## {step.title}"]
    for phase, quantities in step.phases():
        lines += ["", f"### {phase}", "", "| quantity | formula | shape | value |", "| --- | --- | --- | --- |"]
        lines += [_row(quantity, blank and quantity.code is not None) for quantity in quantities]
    return lines


def _row(quantity: Quantity, blank: bool) -> str:
    shape = " × ".join(map(str, quantity.shape)) or "1"
    cells = quantity.left.removesuffix(" ="), quantity.formula, shape, "" if blank else _value(quantity)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _value(quantity: Quantity) -> str:
    if quantity.hidden:
        return ""
    if quantity.summarised:
        return quantity.summary_text()
    return "<br>".join(", ".join(row) for row in quantity.rows())
