"""A trace as plain text."""

from __future__ import annotations

from mlp.inspection.trace.explanations import Explanation, each_explained, legend
from mlp.inspection.trace.quantities import Quantity, Recording, Step


def to_text(trace: Recording) -> str:
    """See `Trace.to_text`."""
    lines = [trace.title, "", "symbols", *(f"  {line}" for line in legend(trace))]
    for step, explained in each_explained(trace):
        lines += ["", "..."] if step is None else ["", *_step(step, explained)]
    return "\n".join(lines) + "\n"


def _step(step: Step, explained: dict[str, Explanation]) -> list[str]:
    lines = [step.title]
    for phase, quantities in step.phases():
        lines += ["", phase]
        for quantity in quantities:
            lines += _quantity(quantity)
            if quantity.name in explained:
                _, sentence, worked = explained[quantity.name]
                lines += [f"      {line}" for line in (sentence, worked) if line]
    return lines


def _quantity(quantity: Quantity) -> list[str]:
    head = f"  {quantity.equation}"
    if quantity.hidden:
        return [f"{head}   {quantity.shape}"]
    if quantity.summarised:
        return [f"{head}   {quantity.shape}", f"      {quantity.summary_text()}"]
    rows = quantity.rows()
    if len(rows) == 1:
        return [f"{head} = {'  '.join(rows[0])}"]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [head, *("      " + "  ".join(map(str.rjust, row, widths)) for row in rows)]
