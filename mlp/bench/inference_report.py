"""A `PredictionReport` as text: a table for the terminal, and a Markdown table for documents."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlp.bench.entries import Entry, Figure
from mlp.bench.inference import PredictionReport, PredictionResult

if TYPE_CHECKING:
    from rich.table import Table


def as_table(report: PredictionReport) -> Table:
    """Return a table of all results, with one block per case."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("", no_wrap=True)
    for header in ("time of a call", "IQR", "rows/s", "to best peer", "IQR", "start-up"):
        table.add_column(header, justify="right", no_wrap=True)
    for result in report.results:
        table.add_row(f"[bold]{result.case}[/bold]")
        best = result.best_peer()
        for entry in sorted(result.entries, key=_median):
            style = "green" if entry.ours else "yellow" if entry is best else ""
            table.add_row(f"  {_name(entry)}", *_cells(result, entry), style=style)
        table.add_section()
    return table


def as_markdown(report: PredictionReport) -> str:
    """Return a table of the time of a call: a row per case, a column per implementation, the best in bold.

    The last column is the speed of our fastest implementation divided by that of the fastest peer.
    """
    names = dict.fromkeys(entry.name for result in report.results for entry in result.entries if entry.counts)
    lines = [["net", "rows", *names, "ours ÷ best peer"], ["---", *["---:"] * (len(names) + 2)]]
    for result in report.results:
        cells, best = [], result.best()
        for name in names:
            entry = next((entry for entry in result.entries if entry.name == name and entry.counts), None)
            text = "" if entry is None else duration(Figure.of(entry.seconds).median)
            cells.append(f"**{text}**" if entry is not None and entry is best else text)
        ratio = result.best_ratio()
        last = "" if ratio is None else f"{ratio.median:.2f} ± {ratio.spread:.2f}"
        lines.append([result.case.net, f"{result.case.rows:,}", *cells, last])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def notes(report: PredictionReport) -> list[str]:
    """Return notes for the table: what is missing, and what has no ratio, and why."""
    lines = [f"{name} is missing: {reason}" for name, reason in report.missing.items()]
    cases: dict[str, list[str]] = {}
    for result in report.results:
        for entry in result.entries:
            if entry.note:
                cases.setdefault(f"{entry.name}: {entry.note}", []).append(str(result.case))
    lines += [f"{note} ({'; '.join(told) if len(told) < 4 else f'{len(told)} cases'})" for note, told in cases.items()]
    return lines


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


def _median(entry: Entry) -> float:
    return Figure.of(entry.seconds).median if entry.seconds else float("inf")


def _name(entry: Entry) -> str:
    details = [entry.device] if entry.device != "cpu" else []
    if entry.threads is not None:
        details.append(f"{entry.threads} thread{'s' if entry.threads > 1 else ''}")
    return f"{entry.name} ({', '.join(details)})" if details else entry.name


def _cells(result: PredictionResult, entry: Entry) -> list[str]:
    if not entry.seconds:
        return [entry.note.partition(":")[0]]
    time, ratio = Figure.of(entry.seconds), result.ratio(entry)
    return [
        duration(time.median),
        f"{time.spread / time.median:.0%}",
        f"{result.case.rows / time.median:,.0f}",
        *([entry.note.partition(":")[0], ""] if ratio is None else [f"{ratio.median:.2f}", f"{ratio.spread:.2f}"]),
        f"{entry.startup:.2f} s",
    ]
