"""A `History` as HTML, for notebooks: its values in a table, and the curves of the losses."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence

SHOWN = 10
"""Epochs in the table: some of all, and the last one."""

WIDTH, HEIGHT, MARGIN = 420, 140, 8
_COLOURS = {"loss": "#0072B2", "val_loss": "#D55E00"}


def history_html(title: str, columns: Mapping[str, Sequence[float]]) -> str:
    """Return the HTML.

    Parameters
    ----------
    title : str
    columns : mapping
        The values of each epoch by name, ``loss`` first.

    Examples
    --------
    >>> history_html("two epochs", {"loss": [2.0, 1.0]}).count("<tr>")
    3
    """
    epochs = len(columns["loss"])
    step = max(-(-epochs // SHOWN), 1)
    shown = [epoch for epoch in range(epochs) if (epochs - 1 - epoch) % step == 0]
    header = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in ("epoch", *columns))
    rows = "".join(
        f'<tr><th scope="row">{epoch + 1}</th>{"".join(_cell(values, epoch) for values in columns.values())}</tr>'
        for epoch in shown
    )
    curves = {name: columns[name] for name in _COLOURS if name in columns}
    caption = f"{len(shown)} of {epochs} epochs" if len(shown) < epochs else "All epochs"
    return (
        f'<p>{html.escape(title)}</p>{_curves(curves)}<div style="overflow-x: auto" role="group" tabindex="0" '
        f'aria-label="{caption}"><table><caption>{caption}</caption><tr>{header}</tr>{rows}</table></div>'
    )


def _cell(values: Sequence[float], epoch: int) -> str:
    value = values[epoch] if epoch < len(values) else math.nan
    text = "" if math.isnan(value) else f"{value:,.0f}" if 1000 <= value < math.inf else f"{value:.4g}"
    return f"<td>{text}</td>"


def _curves(curves: Mapping[str, Sequence[float]]) -> str:
    """Return the curves as SVG, which needs no library; empty if there are fewer than two epochs."""
    finite = [value for values in curves.values() for value in values if math.isfinite(value)]
    epochs = max(map(len, curves.values()), default=0)
    if epochs < 2 or not finite:
        return ""
    low, high = min(finite), max(finite)
    label = f"{' and '.join(curves)} from {low:.3g} to {high:.3g} in {epochs} epochs"

    def point(epoch: int, value: float) -> str:
        x = MARGIN + (WIDTH - 2 * MARGIN) * epoch / (epochs - 1)
        y = MARGIN + (HEIGHT - 2 * MARGIN) * (high - value) / ((high - low) or 1)
        return f"{x:.1f},{y:.1f}"

    lines = "".join(
        f'<polyline fill="none" stroke="{_COLOURS[name]}" stroke-width="2" '
        f'stroke-dasharray="{"none" if name == "loss" else "6 3"}" points="'
        + " ".join(point(epoch, value) for epoch, value in enumerate(values) if math.isfinite(value))
        + '"/>'
        for name, values in curves.items()
    )
    legend = ", ".join(f"{name} ({'solid' if name == 'loss' else 'dashed'})" for name in curves)
    return (
        f'<svg width="{WIDTH}" viewBox="0 0 {WIDTH} {HEIGHT}" style="max-width: 100%; height: auto" role="img" '
        f'aria-label="{html.escape(label)}">'
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>{lines}</svg>'
        f"<p>{legend}: between {low:.3g} and {high:.3g}</p>"
    )
