"""A trace as a self-contained HTML page."""

from __future__ import annotations

from html import escape

from mlp.inspection.trace.quantities import Quantity, Recording, Step

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{title}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 60rem; padding: 1rem; }}
h1 {{ overflow-wrap: anywhere; }}
.wide {{ overflow-x: auto; }}
table {{ border-collapse: collapse; width: 100%; }}
th, td {{ border-bottom: 1px solid #ccc; padding: .3rem .8rem .3rem 0; text-align: left; vertical-align: top; }}
td {{ white-space: nowrap; }}
td:last-child {{ font-family: ui-monospace, monospace; white-space: pre; width: 100%; }}
</style>
</head>
<body>
<h1>{title}</h1>
{steps}
</body>
</html>
"""


def to_html(trace: Recording) -> str:
    """See `Trace.to_html`."""
    steps = ("<p>…</p>" if step is None else _step(step) for step in trace.shown())
    return _PAGE.format(title=escape(f"Trace of {trace.title}"), steps="\n".join(steps))


def _step(step: Step) -> str:
    parts = [f"<h2>{escape(step.title)}</h2>"]
    for phase, quantities in step.phases():
        rows = "\n".join(map(_row, quantities))
        parts.append(
            f'<h3>{phase}</h3>\n<div class="wide"><table>\n'
            '<tr><th scope="col">quantity</th><th scope="col">formula</th><th scope="col">shape</th>'
            f'<th scope="col">value</th></tr>\n{rows}\n</table></div>'
        )
    return "\n".join(parts)


def _row(quantity: Quantity) -> str:
    shape = " × ".join(map(str, quantity.shape)) or "1"
    cells = "".join(f"<td>{escape(cell)}</td>" for cell in (quantity.left.removesuffix(" ="), quantity.formula, shape))
    if quantity.hidden:
        return f"<tr>{cells}<td></td></tr>"
    if quantity.summarised:
        return f"<tr>{cells}<td>{escape(quantity.summary_text())}</td></tr>"
    rows = quantity.rows()
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    matrix = "\n".join("  ".join(map(str.rjust, row, widths)) for row in rows)
    return f"<tr>{cells}<td>{matrix}</td></tr>"
