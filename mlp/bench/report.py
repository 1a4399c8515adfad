"""A `Report` as text: a table for the terminal, and a Markdown table for documents."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlp.bench.results import Entry, Report, Result

if TYPE_CHECKING:
    from rich.table import Table


def as_table(report: Report) -> Table:
    """Return a table of all results, with one block per case."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("", no_wrap=True)
    headers = ("samples/s", "IQR", "µs/step", "GFLOP/s", "of peak", "to best peer", "IQR", "start-up")
    for header in headers:
        table.add_column(header, justify="right", no_wrap=True)
    for result in report.results:
        table.add_row(f"[bold]{result.case}[/bold]")
        best = result.best_peer()
        for entry in sorted(result.entries, key=lambda entry: _seconds(result, entry)):
            table.add_row(f"  {_name(entry)}", *_cells(report, result, entry), style=_style(entry, best))
        table.add_section()
    return table


def notes(report: Report) -> list[str]:
    """Return notes for the table: the rooflines, the missing implementations, and why some have no ratio."""
    lines = [
        f"{device}: peak {roof.gflops:,.0f} GFLOP/s (product of large matrices), "
        f"memory {roof.gigabytes_per_second:.0f} GB/s (copy), measured in this run"
        for device, roof in report.roofs.items()
    ]
    lines += [f"{name} is missing: {reason}" for name, reason in report.missing.items()]
    cases_by_note: dict[str, list[str]] = {}
    for result in report.results:
        for entry in result.entries:
            if entry.note:
                cases_by_note.setdefault(f"{entry.name}: {entry.note}", []).append(str(result.case))
    for note, cases in cases_by_note.items():
        lines.append(f"{note} ({'; '.join(cases) if len(cases) < 4 else f'{len(cases)} cases'})")
    return lines


def as_markdown(report: Report) -> str:
    """Return a table of thousand samples per second: a row per case, a column per implementation, the best in bold.

    The last column is our fastest backend divided by the fastest peer.
    """
    names: dict[str, None] = {}
    for result in report.results:
        names |= {entry.name: None for entry in result.entries if entry.counts}
    optimizers = {result.case.optimizer for result in report.results}
    header = ["net", "batch", *(["optimizer"] if len(optimizers) > 1 else []), *names, "ours ÷ best peer"]
    lines = [header, ["---", *["---:"] * (len(header) - 1)]]
    for result in report.results:
        case = result.case
        best = min((e for e in result.entries if e.counts), key=lambda e: _seconds(result, e), default=None)
        cells = [case.net, str(case.batch_size), *([case.optimizer] if len(optimizers) > 1 else [])]
        for name in names:
            entry = result.find(name)
            text = "" if entry is None else thousands(result.samples_per_second(entry).median)
            cells.append(f"**{text}**" if entry is not None and entry is best else text)
        lines.append([*cells, _best_ratio(result)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def thousands(speed: float) -> str:
    """Format a speed in thousands, with three digits.

    Examples
    --------
    >>> thousands(870_400), thousands(53_210), thousands(4_024)
    ('870', '53.2', '4.02')
    """
    speed /= 1000
    return f"{speed:.0f}" if speed >= 99.95 else f"{speed:.1f}" if speed >= 9.995 else f"{speed:.2f}"


def _best_ratio(result: Result) -> str:
    ratios = [ratio for entry in result.entries if entry.ours and (ratio := result.ratio(entry)) is not None]
    best = max(ratios, key=lambda ratio: ratio.median, default=None)
    return "" if best is None else f"{best.median:.2f} ± {best.spread:.2f}"


def _name(entry: Entry) -> str:
    details = [entry.device] if entry.device != "cpu" else []
    if entry.threads is not None:
        details.append(f"{entry.threads} thread{'s' if entry.threads > 1 else ''}")
    return f"{entry.name} ({', '.join(details)})" if details else entry.name


def _seconds(result: Result, entry: Entry) -> float:
    return 1e6 / result.samples_per_second(entry).median if entry.seconds else float("inf")


def _cells(report: Report, result: Result, entry: Entry) -> list[str]:
    if not entry.seconds:
        return [entry.note.partition(":")[0]]
    speed, ratio, percent = (
        result.samples_per_second(entry), result.ratio(entry), report.percent_of_peak(result, entry)
    )  # fmt: skip
    return [
        f"{speed.median:,.0f}",
        f"{speed.spread / speed.median:.0%}",
        f"{result.microseconds_per_step(entry):,.1f}",
        f"{result.gflops(entry):,.1f}",
        "" if percent is None else f"{percent:.1f}%",
        entry.note.partition(":")[0] if ratio is None else f"{ratio.median:.2f}",
        "" if ratio is None else f"{ratio.spread:.2f}",
        f"{entry.startup:.2f} s",
    ]


def _style(entry: Entry, best: Entry | None) -> str:
    if entry.ours:
        return "green"
    return "yellow" if entry is best else ""
