"""A `PredictionReport` as text: a table for the terminal, and a Markdown table for documents."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlp.bench.entries import Entry, Figure
from mlp.bench.inference import PredictionReport, PredictionResult
from mlp.bench.tables import (
    blocks,
    bold_if,
    entry_notes,
    figure_cells,
    markdown,
    missing_notes,
    plus_minus,
    why_nothing,
)

if TYPE_CHECKING:
    from rich.table import Table


def as_table(report: PredictionReport) -> Table:
    """Return a table of all results, with one block per case."""
    return blocks(
        ("time of a call", "IQR", "rows/s", "to best peer", "IQR", "start-up"),
        report.results,
        seconds=lambda result, entry: Figure.of(entry.seconds).median if entry.seconds else float("inf"),
        best_peers=lambda result: [result.best_peer()],
        cells=_cells,
    )


def as_markdown(report: PredictionReport) -> str:
    """Return a table of the time of a call: a row per case, a column per implementation, the best in bold.

    The last column is the speed of our fastest implementation divided by that of the fastest peer.
    """
    names = dict.fromkeys(entry.name for result in report.results for entry in result.entries if entry.counts)
    rows = []
    for result in report.results:
        cells, best = [], result.best()
        for name in names:
            entry = next((entry for entry in result.entries if entry.name == name and entry.counts), None)
            text = "" if entry is None else duration(Figure.of(entry.seconds).median)
            cells.append(bold_if(text, entry is not None and entry is best))
        rows.append([result.case.net, f"{result.case.rows:,}", *cells, plus_minus(result.best_ratio())])
    return markdown(["net", "rows", *names, "ours ÷ best peer"], rows)


def notes(report: PredictionReport) -> list[str]:
    """Return notes for the table: what is missing, and what has no ratio, and why."""
    return missing_notes(report.missing) + entry_notes(report.results)


def duration(seconds: float) -> str:
    """Format a duration with three digits and a unit.

    Examples
    --------
    >>> duration(6.24e-6), duration(0.0441), duration(1.234)
    ('6.24 µs', '44.1 ms', '1.23 s')
    """
    for factor, unit in ((1.0, "s"), (1e3, "ms"), (1e6, "µs")):
        value = seconds * factor
        if value >= 0.9995 or unit == "µs":
            break
    return f"{value:.{0 if value >= 99.95 else 1 if value >= 9.995 else 2}f} {unit}"


def _cells(result: PredictionResult, entry: Entry) -> list[str]:
    if not entry.seconds:
        return [why_nothing(entry)]
    time, ratio = Figure.of(entry.seconds), result.ratio(entry)
    return [
        duration(time.median),
        f"{time.spread / time.median:.0%}",
        f"{result.case.rows / time.median:,.0f}",
        *figure_cells(ratio, entry),
        f"{entry.startup:.2f} s",
    ]
