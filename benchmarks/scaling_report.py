"""The tables and the picture of `benchmarks.scaling_model`, for docs/guide/distributed.md."""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.scaling_model import (
    DGX_H200,
    Cluster,
    Costs,
    cluster_of,
    costs_of,
    efficiency,
    fitted,
    h200_costs,
    link_of,
    smallest_batch,
    step_seconds,
)

RANKS, MOST = (2, 8, 64), 64
BATCHES = (256, 1024, 4096, 16384, 65536)
Record = dict[str, Any]


def blocks(constants: Record, speeds: Record) -> dict[str, list[str]]:
    """The lines of each block of the page, by the name of its marks."""
    return {
        "scaling-measured": list(_measured(constants, speeds)),
        "scaling-constants": list(_constants(constants)),
        "scaling-batches": list(_batches(constants)),
        "scaling-fits": list(_fits(constants)),
    }


def write_page(path: Path, found: dict[str, list[str]]) -> None:
    """Replace the lines between ``<!-- name -->`` and ``<!-- /name -->``."""
    text = path.read_text(encoding="utf-8")
    for name, lines in found.items():
        inside = "\n".join(lines)
        pattern = rf"(?<=^<!-- {name} -->\n).*?(?=^<!-- /{name} -->)"
        text, count = re.subn(pattern, lambda _, new=inside: f"{new}\n", text, flags=re.MULTILINE | re.DOTALL)
        if count != 1:
            raise SystemExit(f"{path} must have the marks <!-- {name} --> and <!-- /{name} --> once")
    path.write_text(text, encoding="utf-8")


def _table(*rows: Sequence[str], numbers: int) -> Iterator[str]:
    """Lines of Markdown; the last `numbers` columns are numbers."""
    head, *others = rows
    kinds = [" --- "] * (len(head) - numbers) + [" ---: "] * numbers
    yield f"| {' | '.join(head)} |"
    yield f"|{'|'.join(kinds)}|"
    for row in others:
        yield f"| {' | '.join(row)} |"


def _measured(constants: Record, speeds: Record) -> Iterator[str]:
    costs = next(costs_of(one) for one in constants["networks"] if one["sizes"] == list(speeds["sizes"]))
    cluster, batch = cluster_of(constants), speeds["batch"]
    rounds = len(next(iter(speeds["rows_per_second"].values())))
    yield f"{_machine(speeds)}, rows of {speeds['rows']}, median of {rounds} rounds:"
    yield ""
    medians = {name: statistics.median(values) for name, values in speeds["rows_per_second"].items()}
    first = next(iter(medians.values()))
    rows = []
    for name, median in medians.items():
        ranks, threads, shards = speeds["jobs"].get(name, (0, 0, 0))
        model = error = ""
        if threads == 1:  # the model knows ranks of one thread only
            expected = batch / step_seconds(costs, cluster, batch, ranks, shards)
            model, error = f"{expected:,.0f}", f"{expected / median - 1:+.0%}"
        rows.append((name, f"{median:,.0f}", f"{median / first:.2f}", model, error))
    yield from _table(("", "rows/s", "to the first", "model, rows/s", "error"), *rows, numbers=4)


def _constants(constants: Record) -> Iterator[str]:
    link, (*_, error) = link_of(constants), fitted(*zip(*constants["sums"], strict=True))
    yield (
        f"{_machine(constants)}, {constants['mpi']}, rows of {constants['rows']}. Microseconds, but for the row in "
        f"nanoseconds. A message takes {_micro(link.latency)} µs and {1e-9 / link.byte:.1f} GB/s; the sums of two "
        f'ranks differ from that by {error:.0%} at most. "Fit" is the largest error of row and shard.'
    )
    yield ""
    rows = []
    for network in constants["networks"]:
        costs, (*_, fit) = costs_of(network), fitted(*zip(*network["shards"], strict=True))
        seconds = costs.shard, costs.addition, cluster_of(constants).sum_seconds(costs.gradient_bytes, 2), costs.update
        rows.append((_name(network), f"{costs.row * 1e9:,.0f}", *map(_micro, seconds), f"{fit:.0%}"))
    head = ("network", "row, ns", "shard", "addition", "sum of two ranks", "update", "fit")
    yield from _table(head, *rows, numbers=6)


def _batches(constants: Record) -> Iterator[str]:
    rows = []
    for costs, name, h200 in _networks(constants):
        for text, least in (
            ("faster than one rank", _break_even),
            ("more than half of R times as fast", lambda ranks: 0.5),
        ):
            found = [smallest_batch(costs, cluster_of(constants), ranks, least(ranks)) for ranks in RANKS]
            found.append(smallest_batch(h200, DGX_H200, MOST, least(MOST)))
            rows.append((name, text, *("none" if batch is None else f"{batch:,}" for batch in found)))
    head = ("network", "smallest batch", *(f"{ranks} ranks" for ranks in RANKS), f"{MOST} H200")
    yield from _table(head, *rows, numbers=len(RANKS) + 1)


def _fits(constants: Record) -> Iterator[str]:
    rows = []
    for _, name, costs in _networks(constants):
        speeds = [MOST * efficiency(costs, DGX_H200, batch, MOST) for batch in BATCHES]
        rows.append((name, *(f"{speed:.1f}" for speed in speeds)))
    head = ("network", *(f"batches of {batch:,}" for batch in BATCHES))
    yield from _table(head, *rows, numbers=len(BATCHES))


def _break_even(ranks: int) -> float:
    return 1 / ranks


def _networks(constants: Record) -> Iterator[tuple[Costs, str, Costs]]:
    """Of 1e5, 1e6 and 1e7 parameters, as far as they are in the record: on this machine, and on an H200."""
    for network in constants["networks"]:
        if network["parameters"] not in range(5 * 10**5, 9 * 10**5):
            yield costs_of(network), _name(network), h200_costs(network["parameters"], len(network["sizes"]) - 1)


def _name(network: Record) -> str:
    return f"{'-'.join(map(str, network['sizes']))} ({network['parameters'] / 1e6:.1f} million)"


def _machine(record: Record) -> str:
    machine = record["machine"]
    wide = ", with AVX-512" if any("AVX512" in name for name in machine["cpu_features"]) else ""
    return f"{machine['usable_processors']} processors of {machine['cpu']}{wide}"


def _micro(seconds: float) -> str:
    return f"{seconds * 1e6:,.0f}" if seconds >= 1e-5 else f"{seconds * 1e6:.1f}"


def plot(constants: Record, path: Path) -> None:
    """Efficiency over ranks: a column for each network, a row for each kind of machine."""
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    networks = list(_networks(constants))
    kinds: list[tuple[str, Callable[[Costs, Costs], Costs], Cluster]] = [
        ("CPU, from times measured here", lambda here, _: here, cluster_of(constants)),
        ("H200, not measured", lambda _, h200: h200, DGX_H200),
    ]
    figure = Figure(figsize=(9, 5.6), layout="constrained")
    grid = figure.subplots(2, len(networks), sharex=True, sharey=True, squeeze=False)
    ranks = [2**level for level in range(MOST.bit_length())]
    for (kind, choose, cluster), row in zip(kinds, grid, strict=True):
        for axes, (here, name, h200) in zip(row, networks, strict=True):
            for index, batch in enumerate(BATCHES):
                shares = [efficiency(choose(here, h200), cluster, batch, count) for count in ranks]
                axes.plot(ranks, shares, marker="o", ms=3, color=colormaps["viridis"](index / 4.6), label=f"{batch:,}")
            axes.plot(ranks, [1 / count for count in ranks], "k--", lw=1.2, label="as fast as one rank")
            axes.fill_between(ranks, [1 / count for count in ranks], color="0.9")
            axes.set_xscale("log", base=2)
            axes.set_xticks(ranks, [str(count) for count in ranks])
            axes.set_ylim(0, 1.04)
            axes.set_title(f"{kind}\n{name}", fontsize=8.5)
            axes.grid(alpha=0.3)
        row[0].set_ylabel("efficiency")
    for axes in grid[-1]:
        axes.set_xlabel("ranks")
    handles, labels = grid[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), fontsize=8, title="rows in a batch")
    figure.savefig(path, dpi=90)
