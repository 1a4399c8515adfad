"""A trace as a self-contained HTML page, for wide and narrow screens, light and dark."""

from __future__ import annotations

from html import escape

from mlp.inspection.trace.explanations import Explanation, each_explained, legend
from mlp.inspection.trace.notation import to_html as notation
from mlp.inspection.trace.quantities import Quantity, Recording, Step

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; --text: #1f2328; --muted: #59636e; --ground: #fff; --panel: #f6f8fa; --line: #d1d9e0;
  --forward: #0060a0; --backward: #a84300; --update: #00704f; --given: #59636e }}
@media (prefers-color-scheme: dark) {{ :root {{ --text: #e6edf3; --muted: #9aa5b1; --ground: #0d1117; --panel: #161b22;
  --line: #30363d; --forward: #6cb8f0; --backward: #f0a060; --update: #4cc79e; --given: #9aa5b1 }} }}
@media (prefers-contrast: more) {{ :root {{ --muted: var(--text); --line: var(--text) }} }}
* {{ box-sizing: border-box }}
body {{ font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 64rem; padding: 1rem; color: var(--text);
  background: var(--ground); overflow-wrap: anywhere }}
h1 {{ font-size: 1.5rem; line-height: 1.25 }}
h3 {{ margin: 1.75rem 0 .25rem; padding-left: .6rem; border-left: .3rem solid var(--phase) }}
.given {{ --phase: var(--given) }} .forward {{ --phase: var(--forward) }}
.backward {{ --phase: var(--backward) }} .update {{ --phase: var(--update) }}
sup, sub {{ font-size: max(.75em, 12px); line-height: 0 }}
.legend {{ background: var(--panel); border: 1px solid var(--line); border-radius: .5rem;
  padding: .6rem 1rem .6rem 2rem }}
table {{ border-collapse: collapse; width: 100% }}
th, td {{ border-bottom: 1px solid var(--line); padding: .4rem 1rem .4rem 0; text-align: left; vertical-align: top }}
th {{ color: var(--muted); font-weight: 400; font-size: .875rem; white-space: nowrap }}
.symbol {{ white-space: nowrap }}
.shape {{ white-space: nowrap; color: var(--muted) }}
.value {{ font-family: ui-monospace, monospace; font-size: .875rem; max-width: 30rem }}
.value div {{ white-space: pre; overflow-x: auto }}
.value div.line {{ white-space: pre-wrap }}
:focus-visible {{ outline: 3px solid var(--forward); outline-offset: 2px }}
.why {{ margin: .3rem 0 0; color: var(--muted); font-size: .9375rem }}
.worked {{ margin: .2rem 0 0; padding: .3rem .6rem; background: var(--panel); border-radius: .3rem;
  font-size: .9375rem }}
@media (max-width: 44rem) {{
  table, tbody, tr, td {{ display: block; width: 100% }}
  tr.head {{ position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%) }}
  tr {{ border-bottom: 1px solid var(--line); padding: .6rem 0 }}
  td {{ border: 0; padding: 0 }}
  .symbol, .formula {{ font-size: 1.0625rem }}
  .symbol::after {{ content: " =" }} .symbol.new::after {{ content: "" }} .symbol.given::after {{ content: "" }}
  .shape::before {{ content: "shape " }}
  .shape {{ font-size: .875rem }}
  .value {{ max-width: none }}
}}
</style>
</head>
<body>
<main>
<h1>{title}</h1>
<ul class="legend">
{legend}
</ul>
{steps}
</main>
</body>
</html>
"""


NARROWEST = 32
"""Characters in a line that every screen shows; what is wider can scroll, and must be reached with keys."""


def to_html(trace: Recording) -> str:
    """See `Trace.to_html`."""
    lines = "\n".join(f"<li>{notation(line, prose=True)}</li>" for line in legend(trace))
    steps = ("<p>…</p>" if step is None else _step(step, explained) for step, explained in each_explained(trace))
    return _PAGE.format(title=escape(f"Trace of {trace.title}"), legend=lines, steps="\n".join(steps))


def _step(step: Step, explained: dict[str, Explanation]) -> str:
    parts = [f"<h2>{escape(step.title)}</h2>"]
    for phase, quantities in step.phases():
        rows = "\n".join(
            _row(quantity, explained.get(quantity.name), step.title.partition(":")[0]) for quantity in quantities
        )
        # the roles keep it a table where narrow screens show its cells one below the other
        parts.append(
            f'<section class="{phase}">\n<h3>{phase}</h3>\n<table role="table" aria-label="{phase}">\n'
            '<tbody role="rowgroup">\n<tr class="head" role="row"><th role="columnheader" scope="col">quantity</th>'
            '<th role="columnheader" scope="col">formula</th><th role="columnheader" scope="col">shape</th>'
            f'<th role="columnheader" scope="col">value</th></tr>\n{rows}\n</tbody></table>\n</section>'
        )
    return "\n".join(parts)


def _row(quantity: Quantity, explanation: Explanation | None, step: str) -> str:
    shape = " × ".join(map(str, quantity.shape)) or "1"
    given = quantity.phase == "given"
    kind = " new" if quantity.replaces else " given" if given else ""
    formula = escape(quantity.formula) if given else notation(quantity.formula)
    cells = (
        f'<td role="cell" class="symbol{kind}">{notation(quantity.left.removesuffix(" ="))}</td>'
        f'<td role="cell" class="formula">{formula}{_explanation(explanation)}</td>'
        f'<td role="cell" class="shape">{shape}</td><td role="cell" class="value">{_value(quantity, step)}</td>'
    )
    return f'<tr role="row">{cells}</tr>'


def _explanation(explanation: Explanation | None) -> str:
    if explanation is None:
        return ""
    worked = f'<p class="worked">{notation(explanation.worked)}</p>' if explanation.worked else ""
    return f'<p class="why">{notation(explanation.sentence, prose=True)}</p>{worked}'


def _value(quantity: Quantity, step: str) -> str:
    if quantity.hidden:
        return ""
    if quantity.summarised:
        return f'<div class="line">{escape(quantity.summary_text())}</div>'
    rows = quantity.rows()
    if len(rows) == 1:
        return f'<div class="line">{"  ".join(rows[0])}</div>'
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    matrix = "\n".join("  ".join(map(str.rjust, row, widths)) for row in rows)
    label = f'role="group" aria-label="value of {escape(quantity.name)}, {escape(step)}"'
    can_scroll = ' tabindex="0"' if sum(widths) + 2 * (len(widths) - 1) > NARROWEST else ""
    return f"<div {label}{can_scroll}>{matrix}</div>"
