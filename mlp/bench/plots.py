"""Plots of a `Report`: speed over batch size, and the roofline.  They need the extra `plot`."""

from __future__ import annotations

from collections.abc import Callable
from os import PathLike
from typing import Any

from mlp.bench.cases import Case
from mlp.bench.entries import Entry, Figure, Result
from mlp.bench.results import Report
from mlp.checks import counted
from mlp.inspection.plots.style import (
    BLACK,
    BLUE,
    DARK_GREY,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    SKY,
    VERMILION,
    new_figure,
    remove_clutter,
    save,
)

# colour and marker of each implementation, the same in all plots
_STYLES = {
    "mlp numpy": (SKY, "o"),
    "mlp numba": (BLUE, "o"),
    "mlp cupy": (GREEN, "o"),
    "NumPy by hand": (BLACK, "s"),
    "PyTorch": (VERMILION, "^"),
    "torch.compile": (ORANGE, "v"),
    "JAX": (PURPLE, "D"),
    "scikit-learn": (GREY, "P"),
    "Nielsen": (GREY, "x"),
    "PyTorch CUDA": (VERMILION, "<"),
    "torch.compile CUDA": (ORANGE, "v"),
    "PyTorch CUDA graph": (BLACK, ">"),
    "JAX CUDA": (PURPLE, "D"),
}
_UNKNOWN = (DARK_GREY, "*")

_ZEROS = "\noperations as in a dense network: leaving out those with zeros of the input can be faster than the peak"


def speed(report: Report, path: str | PathLike[str]) -> None:
    """Plot samples per second over batch size, one panel per net and optimizer; bars show the interquartile range.

    With a GPU, its lines are solid and those of the CPU dashed.  A vertical line marks the batch size from which on our
    GPU backend is faster than our CPU backends.
    """

    def rows_per_second(result: Result, seconds: float) -> float:
        return result.case.rows / result.case.steps / seconds

    _over_batch_size(report, path, "Training speed", "samples per second", rows_per_second)


def step_time(report: Report, path: str | PathLike[str]) -> None:
    """Plot microseconds per step over batch size; lines and panels as in `speed`."""
    _over_batch_size(report, path, "Time of a step", "microseconds per step", lambda _, seconds: 1e6 * seconds)


def _over_batch_size(
    report: Report, path: str | PathLike[str], title: str, label: str, value: Callable[[Result, float], float]
) -> None:
    """Plot a value that follows from the case and the seconds of a step."""
    figure, axes, panels = _panels(report)
    crossings = {(found.net, found.optimizer): found.batch_size for found in report.crossovers()}
    for axis, key in zip(axes, panels, strict=False):
        results = sorted((r for r in report.results if _key(r.case) == key), key=lambda r: r.case.batch_size)
        for name in _names(report):
            entries = [(result, entry) for result in results if (entry := result.find(name))]
            if not entries:
                continue
            figures = [Figure.of(value(r, each / r.case.steps) for each in e.seconds) for r, e in entries]
            axis.errorbar(
                [result.case.batch_size for result, _ in entries],
                [found.median for found in figures],
                [found.spread / 2 for found in figures],
                label=_label(report, entries[0][1]),
                **_style(report, entries[0][1]),
            )
        for device in dict.fromkeys(device for result in results for device in result.products):
            points = [(r.case.batch_size, value(r, r.products[device])) for r in results if device in r.products]
            axis.plot(
                *zip(*points, strict=True),
                label=f"matrix products alone ({device})", color=DARK_GREY, linewidth=1, linestyle=":",
            )  # fmt: skip
        if (size := crossings.get((key[0], key[1]))) is not None:
            axis.axvline(size, color=GREEN, linewidth=1, alpha=0.6, label="our GPU backend is faster from here on")
        axis.set(title=", ".join(key), xlabel="batch size", ylabel=label, xscale="log", yscale="log")
        sizes = [result.case.batch_size for result in results]
        _set_batch_sizes(axis, sizes)
        _format_ticks(axis.yaxis)
    _finish(figure, axes, len(panels), report, path, title)


def roofline(report: Report, path: str | PathLike[str]) -> None:
    """Plot operations per second over batch size, below the roof of the device (`Roof.limit`); panels as in `speed`.

    The roof is the peak, or less where the rows or the parameters cannot be read fast enough.
    """
    figure, axes, panels = _panels(report)
    has_zeros = any(result.zeros for result in report.results)
    for axis, key in zip(axes, panels, strict=False):
        results = sorted((r for r in report.results if _key(r.case) == key), key=lambda r: r.case.batch_size)
        sizes = [result.case.batch_size for result in results]
        for device in dict.fromkeys(entry.device for result in results for entry in result.entries):
            roof = report.roof(results[0].case, device)
            if roof is None:
                continue
            limits = [roof.limit(result.case) for result in results]
            line = "--" if report.has_gpu and device == "cpu" else "-"  # as the implementations on it
            axis.plot(sizes, limits, color=BLACK, linewidth=2.5, alpha=0.35, linestyle=line)
            axis.annotate(
                f"{device}: peak {roof.gflops:,.0f} GFLOP/s, memory {roof.memory_bandwidth:,.0f} GB/s",
                (sizes[-1], limits[-1]), (0, 4), textcoords="offset points", ha="right", fontsize="small",
            )  # fmt: skip
        for name in _names(report):
            entries = [(result, entry) for result in results if (entry := result.find(name))]
            if entries:
                points = [(result.case.batch_size, result.gflops(entry)) for result, entry in entries]
                first = entries[0][1]
                axis.plot(*zip(*points, strict=True), label=_label(report, first), **_style(report, first))
        axis.set(title=", ".join(key), xlabel="batch size", ylabel="GFLOP/s", xscale="log", yscale="log")
        _set_batch_sizes(axis, sizes)
        _format_ticks(axis.yaxis)
    _finish(figure, axes, len(panels), report, path, "Share of the peak", _ZEROS if has_zeros else "")


def _key(case: Case) -> tuple[str, ...]:
    threads = () if case.threads is None else (counted(case.threads, "thread"),)
    return case.net, case.optimizer, *threads


def _names(report: Report) -> list[str]:
    """Return the names of all implementations with results, ours first."""
    return list(dict.fromkeys(entry.name for entry in sorted(_entries(report), key=lambda entry: not entry.ours)))


def _entries(report: Report) -> list[Entry]:
    return [entry for result in report.results for entry in result.entries if entry.counts]


def _label(report: Report, entry: Entry) -> str:
    return f"{entry.name} ({entry.place})" if report.has_gpu else entry.name


def _style(report: Report, entry: Entry) -> dict[str, Any]:
    """Return the style of a line: ours are thick; of the two kinds of devices, the GPU has solid lines and symbols."""
    colour, marker = _STYLES.get(entry.name, _UNKNOWN)
    solid = entry.place == "GPU" if report.has_gpu else entry.ours
    hollow = report.has_gpu and entry.place == "CPU"
    return {
        "color": colour, "marker": marker, "linewidth": 2.2 if entry.ours else 1.2, "markersize": 6,
        "markerfacecolor": "#ffffff" if hollow else colour,
        "linestyle": "-" if solid else "--", "zorder": 3 if entry.ours else 2,
    }  # fmt: skip


def _panels(report: Report) -> tuple[Any, list[Any], list[tuple[str, ...]]]:
    """Create a figure with one panel per net and optimizer, three per row, or two by two."""
    panels = list(dict.fromkeys(_key(result.case) for result in report.results))
    columns = 2 if len(panels) == 4 else min(3, max(1, len(panels)))
    rows = max(1, -(-len(panels) // columns))
    figure = new_figure(4.2 * rows + 1.2, width=max(5.2 * columns, 7.5))
    return figure, list(figure.subplots(rows, columns, squeeze=False).flat), panels


def _set_batch_sizes(axis: Any, sizes: list[int]) -> None:
    axis.set_xticks(sizes, [str(size) for size in sizes])
    axis.minorticks_off()


def _format_ticks(axis: Any) -> None:
    """Format the ticks of a logarithmic axis as 0.5, 20 k, 1 M."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    def tick_label(value: float, _: int) -> str:
        return f"{value / 1e6:g} M" if value >= 1e6 else f"{value / 1e3:g} k" if value >= 1e3 else f"{value:g}"

    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(tick_label))


def _finish(
    figure: Any, axes: list[Any], used: int, report: Report, path: str | PathLike[str], title: str, note: str = ""
) -> None:
    for axis in axes[used:]:
        axis.set_visible(False)
    handles: dict[str, Any] = {}
    for axis in axes[:used]:
        remove_clutter(axis)
        handles |= dict(zip(*reversed(axis.get_legend_handles_labels()), strict=True))
    # the reference lines come last
    labels = sorted(handles, key=lambda label: label not in {_label(report, entry) for entry in _entries(report)})
    columns = int(figure.get_figwidth() // (3.2 if report.has_gpu else 2))  # inches of a label
    figure.legend(
        [handles[label] for label in labels],
        labels,
        loc="outside lower center",
        ncols=max(1, min(len(handles), columns)),
    )
    machine = report.about.get("machine", {})
    hardware = [machine.get("cpu"), f"{machine.get('usable_processors')} processors", *machine.get("gpus", [])]
    precision = ", ".join(dict.fromkeys(result.case.precision for result in report.results)) or "float32"
    heading = f"{title}, {precision}{note}"
    figure.suptitle(f"{heading}\n{', '.join(map(str, hardware))}" if machine else heading)
    save(figure, path)
