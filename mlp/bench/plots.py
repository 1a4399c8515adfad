"""Plots of a `Report`: speed over batch size, and the roofline.  They need the extra `plot`."""

from __future__ import annotations

from os import PathLike
from typing import Any

from mlp.bench.results import Report
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
    "PyTorch CUDA graph": (ORANGE, ">"),
}
_UNKNOWN = (DARK_GREY, "*")


def speed(report: Report, path: str | PathLike[str]) -> None:
    """Plot samples per second over batch size, one panel per net and optimizer; bars show the interquartile range."""
    figure, axes, panels = _panels(report)
    for axis, key in zip(axes, panels, strict=False):
        results = sorted((r for r in report.results if _key(r.case) == key), key=lambda r: r.case.batch_size)
        for name in _names(report):
            points = [(r.case.batch_size, r.samples_per_second(e)) for r in results if (e := r.find(name))]
            if not points:
                continue
            sizes, figures = [size for size, _ in points], [figure for _, figure in points]
            spread = [figure.spread / 2 for figure in figures]
            axis.errorbar(sizes, [figure.median for figure in figures], spread, label=name, **_style(report, name))
        axis.set(title=", ".join(key), xlabel="batch size", ylabel="samples per second", xscale="log", yscale="log")
        sizes = [result.case.batch_size for result in results]
        axis.set_xticks(sizes, [str(size) for size in sizes])
        axis.minorticks_off()
        _format_ticks(axis.yaxis)
    _finish(figure, axes, len(panels), report, path, "Training speed")


def roofline(report: Report, path: str | PathLike[str]) -> None:
    """Plot operations per second over operations per byte, with the roofline of the device; panels as in `speed`.

    The bytes are the traffic of a step that starts with empty caches (`Case.bytes_per_step`).  A point above the
    bandwidth line is therefore a network whose weights stay in a cache.
    """
    figure, axes, panels = _panels(report)
    for axis, key in zip(axes, panels, strict=False):
        results = sorted((r for r in report.results if _key(r.case) == key), key=lambda r: r.case.batch_size)
        intensities = [result.case.intensity for result in results]
        low, high = min(intensities) / 2, max(intensities) * 2
        for number, (device, roof) in enumerate(report.roofs.items()):
            ridge = roof.gflops / roof.gigabytes_per_second
            xs = sorted({low, min(max(ridge, low), high), high})
            ys = [min(roof.gflops, x * roof.gigabytes_per_second) for x in xs]
            axis.plot(xs, ys, color="#000000", linewidth=2.5, alpha=0.35, linestyle=("-", "--", ":")[number % 3])
            axis.annotate(
                f"{device}: {roof.gflops:,.0f} GFLOP/s, {roof.gigabytes_per_second:,.0f} GB/s",
                (high, roof.gflops), (0, 4), textcoords="offset points", ha="right", fontsize="small",
            )  # fmt: skip
        for name in _names(report):
            points = [(r.case.intensity, r.gflops(e)) for r in results if (e := r.find(name))]
            if points:
                axis.plot(*zip(*points, strict=True), label=name, **_style(report, name))
        axis.set(xlabel="operations per byte of memory traffic", ylabel="GFLOP/s", xscale="log", yscale="log")
        sizes = ", ".join(str(result.case.batch_size) for result in results)
        axis.set(title=f"{', '.join(key)} (batch {sizes})", xlim=(low, high))
        _format_ticks(axis.xaxis)
        _format_ticks(axis.yaxis)
    _finish(figure, axes, len(panels), report, path, "Roofline")


def _key(case: Any) -> tuple[str, str]:
    return case.net, case.optimizer


def _names(report: Report) -> list[str]:
    """Return the names of all implementations with results, ours first."""
    entries = [entry for result in report.results for entry in result.entries if entry.counts]
    return list(dict.fromkeys(entry.name for entry in sorted(entries, key=lambda entry: not entry.ours)))


def _style(report: Report, name: str) -> dict[str, Any]:
    colour, marker = _STYLES.get(name, _UNKNOWN)
    ours = name.startswith("mlp ")
    return {
        "color": colour, "marker": marker, "linewidth": 2.2 if ours else 1.2, "markersize": 6,
        "linestyle": "-" if ours else "--", "zorder": 3 if ours else 2,
    }  # fmt: skip


def _panels(report: Report) -> tuple[Any, list[Any], list[tuple[str, str]]]:
    """Create a figure with one panel per net and optimizer, three per row."""
    panels = list(dict.fromkeys(_key(result.case) for result in report.results))
    columns = min(3, max(1, len(panels)))
    rows = max(1, -(-len(panels) // columns))
    figure = new_figure(4.2 * rows + 1.2, width=max(5.2 * columns, 7.5))
    return figure, list(figure.subplots(rows, columns, squeeze=False).flat), panels


def _format_ticks(axis: Any) -> None:
    """Format the ticks of a logarithmic axis as 0.5, 20 k, 1 M."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    def tick_label(value: float, _: int) -> str:
        return f"{value / 1e6:g} M" if value >= 1e6 else f"{value / 1e3:g} k" if value >= 1e3 else f"{value:g}"

    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(tick_label))


def _finish(figure: Any, axes: list[Any], used: int, report: Report, path: str | PathLike[str], title: str) -> None:
    for axis in axes[used:]:
        axis.set_visible(False)
    handles: dict[str, Any] = {}
    for axis in axes[:used]:
        remove_clutter(axis)
        handles |= dict(zip(*reversed(axis.get_legend_handles_labels()), strict=True))
    columns = int(figure.get_figwidth() // 2)
    figure.legend(
        handles.values(), handles.keys(), loc="outside lower center", ncols=max(1, min(len(handles), columns))
    )
    machine = report.about.get("machine", {})
    hardware = [machine.get("cpu"), f"{machine.get('usable_processors')} processors", *machine.get("gpus", [])]
    figure.suptitle(f"{title}, float32\n{', '.join(map(str, hardware))}" if machine else f"{title}, float32")
    save(figure, path)
