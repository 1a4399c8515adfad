"""When does it pay to share one training among ranks?  A model of the time of a step.

    python -m benchmarks.data_parallel --json benchmarks/results/data-parallel.json
    python -m benchmarks.scaling_model --measure benchmarks/results/scaling.json
    python -m benchmarks.scaling_model --plot benchmarks/results/scaling.png --page docs/guide/distributed.md

The second command measures the constants of the model on this machine, see `benchmarks.scaling_constants`.  It needs
two idle processors and two minutes.  The third one prints the tables of the page, with the speeds that the first one
has measured beside those of the model, and writes them to the page; and it draws the picture.

A step of R ranks with a batch in S shards takes the sum of

- the gradient: ``batch / R`` rows, each of the same time; and a constant for each of the ``S / R`` shards of a rank;
- the additions of the gradients of these shards, ``S / R - 1`` of them;
- the sum over the ranks: in each of the ``log2(R)`` levels of the tree two messages, of which level l = 0, 1, ... has
  ``bytes / 2^(l + 1)`` (Rabenseifner 2004, "Optimization of collective reduction operations"), and a short one for the
  loss;
- the update, which each rank makes of all parameters.

A message takes ``latency + bytes / bandwidth`` (Hockney 1994, "The communication challenge for MPP").  What is not in
the model: ranks that wait because another one is slower, and messages that disturb each other.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import nnls

_RESULTS = Path(__file__).resolve().parent / "results"
CONSTANTS, SPEEDS = _RESULTS / "scaling.json", _RESULTS / "data-parallel.json"


@dataclass(frozen=True)
class Costs:
    """What the parts of a step take for one network, in seconds; `gradient_bytes` is what a rank sends of it."""

    parameters: int
    gradient_bytes: int
    shard: float
    row: float
    addition: float
    update: float


@dataclass(frozen=True)
class Link:
    """How two ranks are connected: seconds of a message, of each byte, and of the short message for the loss."""

    latency: float
    byte: float
    short: float


@dataclass(frozen=True)
class Cluster:
    """Ranks in groups of `near_ranks`, a power of two, with one kind of link inside and another between them."""

    near: Link
    far: Link
    near_ranks: int

    def sum_seconds(self, n_bytes: float, ranks: int) -> float:
        """The sum of the gradients and of the loss over the ranks."""
        total = 0.0
        for level in range(ranks.bit_length() - 1):
            link = self.near if 1 << level < self.near_ranks else self.far
            total += link.short + 2 * (link.latency + n_bytes / 2 ** (level + 1) * link.byte)
        return total


def step_seconds(costs: Costs, cluster: Cluster, batch: int, ranks: int, shards: int | None = None) -> float:
    """The time of a step; by default with one shard for each rank.

    Examples
    --------
    >>> costs = Costs(parameters=100, gradient_bytes=400, shard=1.0, row=0.5, addition=0.25, update=2.0)
    >>> link = Link(latency=3.0, byte=0.01, short=1.0)
    >>> cluster = Cluster(link, link, 1)
    >>> step_seconds(costs, cluster, batch=8, ranks=1)
    7.0
    >>> step_seconds(costs, cluster, batch=8, ranks=2, shards=4)  # 2 + 2 + 0.25 + (1 + 2 (3 + 2)) + 2
    17.25
    """
    own_shards = (shards or ranks) // ranks
    gradient = own_shards * costs.shard + batch / ranks * costs.row + (own_shards - 1) * costs.addition
    return gradient + cluster.sum_seconds(costs.gradient_bytes, ranks) + costs.update


def efficiency(costs: Costs, cluster: Cluster, batch: int, ranks: int) -> float:
    """How many times as fast a training on these ranks is as on one, divided by their number."""
    return step_seconds(costs, cluster, batch, 1) / (ranks * step_seconds(costs, cluster, batch, ranks))


def smallest_batch(costs: Costs, cluster: Cluster, ranks: int, least: float, largest: int = 2**24) -> int | None:
    """The smallest batch, of the powers of two from one row for each rank on, with at least this efficiency."""
    batch = ranks
    while batch <= largest:
        if efficiency(costs, cluster, batch, ranks) > least:
            return batch
        batch *= 2
    return None


# -- this machine ------------------------------------------------------------------------------------------


def fitted(sizes: Sequence[float], seconds: Sequence[float]) -> tuple[float, float, float]:
    """The line ``a + b size`` with a, b >= 0 whose relative errors have the least squares; and the largest of them.

    Examples
    --------
    >>> a, b, error = fitted([1, 10, 100], [2.5, 7, 52])
    >>> round(a, 6), round(b, 6), round(error, 6)
    (2.0, 0.5, 0.0)
    """
    x, t = np.array(sizes, np.float64), np.array(seconds, np.float64)
    scale = x.max()  # so that the columns have comparable lengths
    (a, b), _ = nnls(np.stack([1 / t, x / scale / t], axis=1), np.ones(len(t)))
    return float(a), float(b / scale), float(np.abs((a + b / scale * x) / t - 1).max())


def costs_of(network: dict[str, Any]) -> Costs:
    """The constants of a network in the record."""
    shard, row, _ = fitted(*zip(*network["shards"], strict=True))
    return Costs(network["parameters"], network["gradient_bytes"], shard, row, network["addition"], network["update"])


def link_of(record: dict[str, Any]) -> Link:
    """The constants of the messages in the record, from the sums over two ranks: two messages of half the bytes."""
    both, byte, _ = fitted(*zip(*record["sums"], strict=True))
    return Link(both / 2, byte, record["short_sum"])


def cluster_of(record: dict[str, Any]) -> Cluster:
    """As many ranks as wanted, each with a processor of its own, and all connected as the two that were measured."""
    return Cluster(link_of(record), link_of(record), 1)


# -- 64 H200, of which nothing was measured ----------------------------------------------------------------

H200_FLOPS = 67e12
"""float32 without tensor cores: NVIDIA H200 Tensor Core GPU, datasheet, https://www.nvidia.com/en-us/data-center/h200.
It is the peak."""

H200_MEMORY = 4.8e12
"""Bytes per second of the memory; the same datasheet."""

GRAPH_KERNEL = 1.3e-6
"""A kernel in a CUDA graph on an H100: Spector et al. 2025, https://hazyresearch.stanford.edu/blog/2025-05-27-no-bubbles."""

DGX_H200 = Cluster(
    # latency: the "LL" entries of baseLatencies and hwLatencies in src/graph/tuning.cc of https://github.com/NVIDIA/nccl,
    # the smallest; bandwidth in one direction: NVLink 900 GB/s in both, and one 400 Gb/s adapter for each GPU, in
    # https://docs.nvidia.com/dgx/dgxh100-user-guide/ (of H100 and H200)
    near=Link(latency=6.6e-6 + 0.6e-6, byte=1 / 450e9, short=6.6e-6 + 0.6e-6),
    far=Link(latency=6.6e-6 + 2.7e-6, byte=1 / 50e9, short=6.6e-6 + 2.7e-6),
    near_ranks=8,
)
"""Machines of eight GPUs, in each of which NVLink connects them; InfiniBand connects the machines."""


def h200_costs(parameters: int, layers: int) -> Costs:
    """A network in float32 with plain SGD on one GPU.

    A row takes 6 operations for each parameter.  Kernels of a gradient: three for each layer, the rows and the loss.
    The update reads parameters and gradient and writes parameters.
    """
    return Costs(
        parameters,
        4 * parameters,
        shard=(3 * layers + 2) * GRAPH_KERNEL,
        row=6 * parameters / H200_FLOPS,
        addition=GRAPH_KERNEL + 12 * parameters / H200_MEMORY,
        update=GRAPH_KERNEL + 12 * parameters / H200_MEMORY,
    )


# -- the command -------------------------------------------------------------------------------------------


def read(path: Path | str) -> dict[str, Any]:
    """A record in JSON."""
    return dict(json.loads(Path(path).read_text(encoding="utf-8")))


def main(arguments: Iterable[str] | None = None) -> None:
    from benchmarks import scaling_constants, scaling_report

    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--measure", metavar="FILE", help="measure the constants on this machine, and write them")
    parser.add_argument("--quick", action="store_true", help="with --measure: in seconds, to try the command")
    parser.add_argument("--constants", metavar="FILE", help="default: that of --measure, or the recorded one")
    parser.add_argument("--speeds", metavar="FILE", default=SPEEDS, help="a record of benchmarks.data_parallel")
    parser.add_argument("--plot", metavar="FILE", help="draw efficiency over ranks")
    parser.add_argument("--page", metavar="FILE", help="replace the tables of this page")
    options = parser.parse_args(None if arguments is None else list(arguments))
    if options.measure:
        record = scaling_constants.measure(quick=options.quick)
        Path(options.measure).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    constants = read(options.constants or options.measure or CONSTANTS)
    blocks = scaling_report.blocks(constants, read(options.speeds))
    for lines in blocks.values():
        print(*lines, "", sep="\n")
    if options.plot:
        scaling_report.plot(constants, Path(options.plot))
    if options.page:
        scaling_report.write_page(Path(options.page), blocks)


if __name__ == "__main__":
    main()
