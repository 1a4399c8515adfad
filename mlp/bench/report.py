"""A `Report` as text: a table for the terminal, and a Markdown table for documents."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from mlp.bench.cases import Case
from mlp.bench.entries import Entry, Figure, Result
from mlp.bench.results import Report
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


def as_table(report: Report) -> Table:
    """Return a table of all results, with one block per case."""
    return blocks(
        _headers(report),
        report.results,
        seconds=_seconds,
        best_peers=lambda result: [result.best_peer(place=place) for place in ("CPU", "GPU")],
        cells=lambda result, entry: _cells(report, result, entry),
    )


def sentences(report: Report) -> list[str]:
    """Return the batch size from which on the GPU is faster, and what more threads gain, where that was measured."""
    return [str(crossover) for crossover in report.crossovers()] + _scaling(report)


def _scaling(report: Report) -> list[str]:
    """Return how much faster each implementation is with the most threads than with the fewest."""
    lines = []
    by_case: dict[Case, list[Result]] = {}
    for result in report.results:
        if result.case.threads is not None:
            by_case.setdefault(replace(result.case, threads=None), []).append(result)
    for case, results in by_case.items():
        few, many = (choose(results, key=lambda result: result.case.threads or 0) for choose in (min, max))
        gains = [
            f"{entry.name} {many.samples_per_second(entry).median / few.samples_per_second(other).median:.2f}"
            for entry in many.entries
            if entry.counts and entry.place == "CPU" and (other := few.find(entry.name)) is not None
        ]
        if few is not many and gains:
            numbers = f"{many.case.threads} threads instead of {few.case.threads}"
            lines.append(f"{case}: times as fast with {numbers}: {', '.join(gains)}")
    return lines


def notes(report: Report) -> list[str]:
    """Return notes for the table: rooflines, what is not part of the training times, and what is missing and why."""
    processor = report.about.get("machine", {}).get("cpu")
    lines = [
        f"{name}{f' ({processor})' if processor and name.startswith('cpu') else ''}: "
        f"peak {roof.gflops:,.0f} GFLOP/s ({roof.method}), memory {roof.memory_bandwidth:.0f} GB/s, "
        "measured in this run"
        for name, roof in report.roofs.items()
    ]
    lines += _above_the_roof(report)
    lines += _transfers(report) + _first_uses(report)
    lines += missing_notes(report.missing)
    if report.skipped:
        lines.append(f"no time was left for: {'; '.join(report.skipped)}")
    return lines + entry_notes(report.results)


def _above_the_roof(report: Report) -> list[str]:
    """Return a line for each reason why a speed is above the roof."""
    found: dict[str, dict[str, None]] = {}
    for result in report.results:
        for entry in result.entries:
            if entry.seconds and (report.percent_of_roof(result, entry) or 0.0) > 100:
                reason = (
                    "operations count as in a dense network, and those with zeros of the input can be left out"
                    if result.zeros and entry.ours
                    else "the machine was faster than during the measurement of the roof"
                )
                found.setdefault(reason, {})[f"{entry.name} on {result.case}"] = None
    return [f"* above the roof: {', '.join(names)}: {reason}" for reason, names in found.items()]


def _transfers(report: Report) -> list[str]:
    """Return the largest copy of data to each device."""
    largest = {
        device: transfer
        for result in sorted(report.results, key=lambda result: result.case.rows)
        for device, transfer in result.transfers.items()
    }
    return [
        f"{device}: copying {transfer.nbytes / 1e6:,.1f} MB of data to it took {1000 * transfer.seconds:,.1f} ms "
        f"({transfer.gigabytes_per_second:.1f} GB/s); it is not part of the training times"
        for device, transfer in largest.items()
    ]


def _first_uses(report: Report) -> list[str]:
    return [
        f"first use of {use.name} in a new process ({use.case}): {use.empty.total:.1f} s to the end of the first epoch "
        f"with empty caches, of which {use.empty.preparation:.1f} s to compile and prepare; with warm caches "
        f"{use.warm.total:.1f} s and {use.warm.preparation:.1f} s"
        for use in report.first_uses
    ]


def as_markdown(report: Report) -> str:
    """Return a table of thousand samples per second: a row per case, a column per implementation, the best in bold.

    The last column is our fastest backend divided by the fastest peer.  With a GPU there are three: our fastest CPU
    backend divided by the fastest peer on the CPU, the same on the GPU, and our GPU backend divided by our CPU backend.
    """
    names: dict[str, None] = {}
    for result in report.results:
        names |= {entry.name: None for entry in result.entries if entry.counts}
    optimizers = {result.case.optimizer for result in report.results}
    ratios = ["ours ÷ best CPU peer", "ours ÷ best GPU peer", "GPU ÷ CPU"] if report.has_gpu else ["ours ÷ best peer"]
    header = ["net", "batch", *(["optimizer"] if len(optimizers) > 1 else []), *names, *ratios]
    rows = []
    for result in report.results:
        case = result.case
        best = min((e for e in result.entries if e.counts), key=lambda e: _seconds(result, e), default=None)
        cells = [case.net, str(case.batch_size), *([case.optimizer] if len(optimizers) > 1 else [])]
        for name in names:
            entry = result.find(name)
            text = "" if entry is None else thousands(result.samples_per_second(entry).median)
            cells.append(bold_if(text, entry is not None and entry is best))
        rows.append([*cells, *_best_ratios(report, result)])
    return markdown(header, rows)


def thousands(speed: float) -> str:
    """Format a speed in thousands, with three digits.

    Examples
    --------
    >>> thousands(870_400), thousands(53_210), thousands(4_024)
    ('870', '53.2', '4.02')
    """
    speed /= 1000
    return f"{speed:.0f}" if speed >= 99.95 else f"{speed:.1f}" if speed >= 9.995 else f"{speed:.2f}"


def _best_ratios(report: Report, result: Result) -> list[str]:
    if not report.has_gpu:
        return [plus_minus(_ratio_of_best(result, None))]
    return [
        plus_minus(_ratio_of_best(result, "CPU")),
        plus_minus(_ratio_of_best(result, "GPU")),
        plus_minus(result.gpu_to_cpu()),
    ]


def _ratio_of_best(result: Result, place: str | None) -> Figure | None:
    """Return the largest ratio of ours to the best peer, on both devices or only on CPU or GPU."""
    ours = [entry for entry in result.entries if entry.ours and place in (None, entry.place)]
    ratios = [ratio for entry in ours if (ratio := result.ratio(entry, place=place)) is not None]
    return max(ratios, key=lambda ratio: ratio.median, default=None)


def _seconds(result: Result, entry: Entry) -> float:
    return 1e6 / result.samples_per_second(entry).median if entry.seconds else float("inf")


def _headers(report: Report) -> list[str]:
    first = ["samples/s", "IQR", "µs/step", "GFLOP/s", "of roof"]
    if not report.has_gpu:
        return [*first, "to best peer", "IQR", "start-up"]
    gpu = ["to best\nCPU peer", "IQR", "to best\nGPU peer", "IQR", "to our\nGPU", "step ÷\nproducts"]
    return [*first, *gpu, "start-up"]


def _cells(report: Report, result: Result, entry: Entry) -> list[str]:
    if not entry.seconds:
        return [why_nothing(entry)]
    speed, percent = result.samples_per_second(entry), report.percent_of_roof(result, entry)
    return [
        f"{speed.median:,.0f}",
        f"{speed.spread / speed.median:.0%}",
        f"{result.microseconds_per_step(entry):,.1f}",
        f"{result.gflops(entry):,.1f}",
        "" if percent is None else f"{percent:.1f}%{' *' if percent > 100 else '  '}",
        *_ratio_cells(report, result, entry),
        f"{entry.startup:.2f} s",
    ]


def _ratio_cells(report: Report, result: Result, entry: Entry) -> list[str]:
    if not report.has_gpu:
        return figure_cells(result.ratio(entry), entry)
    to_products = result.step_to_products(entry)
    return [
        *figure_cells(result.ratio(entry, place="CPU"), entry),
        *figure_cells(result.ratio(entry, place="GPU"), entry),
        figure_cells(result.ratio_to(result.best_of_ours("GPU"), entry), entry)[0],
        "" if to_products is None else f"{to_products:.2f}",
    ]
