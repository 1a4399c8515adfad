"""`grid_tiling_for`: how the persistent kernel divides a network among the blocks of a cooperative grid.

A grid can have a block on each multiprocessor, so it holds networks that no cluster holds.  Its blocks exchange numbers
through the L2 cache and wait for each other on a counter there, which takes longer than within a cluster.  So a grid is
only used where it is estimated to be faster than a cluster and than CUDA graphs by a factor of `FASTER`.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping

from backends.cupy_backend.kernel_source import KernelOptions
from backends.cupy_backend.tiling import Tiling
from backends.cupy_backend.tilings import (
    ABOUT,
    MOST_BLOCKS,
    choices_of,
    expected_microseconds,
    tiling_of,
)
from backends.step_time import Gpu, Work, on_gpu

FASTER = 1.3
"""Ratio of the estimated times of a step as it runs otherwise and on a grid, from which on the grid is used."""

HIGHEST_CLOCK = 1.98e9
"""Cycles in a second of an H100 SXM or H200.  The time of a tiling is estimated with a lower one."""

UNITS = (2, 4, 6, 8, 12, 16, 24, 32)
"""Hidden units of a block that are tried."""


def grid_tiling_for(
    options: KernelOptions, rows: int, shared_limit: int, multiprocessors: int, others: Mapping[str, float]
) -> Tiling | str:
    """The tiling of a grid, or a sentence that says why there is none.

    Parameters
    ----------
    options : KernelOptions
        Of a network with one hidden layer or more.
    rows : int
        Of a batch.
    shared_limit : int
        Bytes of shared memory that a block can have.
    multiprocessors : int
        Each can have one block.
    others : mapping of str to float
        Names of the other ways to run a step, and the microseconds that each is estimated to take.
    """
    tiling = fastest_grid(options, rows, shared_limit, multiprocessors)
    if isinstance(tiling, str):
        return tiling
    ours, (name, other) = expected_microseconds(options, tiling), min(others.items(), key=lambda item: item[1])
    if ours * FASTER <= other:
        return tiling
    return (
        f"a step on a grid of {tiling.blocks} blocks is estimated to take {ours:.1f} microseconds, which is not "
        f"{FASTER} times as fast as {name} with {other:.1f}"
    )


@functools.lru_cache(maxsize=256)
def fastest_grid(options: KernelOptions, rows: int, shared_limit: int, multiprocessors: int) -> Tiling | str:
    """The tiling that is estimated to be fastest, and of those that are about as fast the one with fewest blocks.

    The parameters are those of `grid_tiling_for`.
    """
    n_hidden = options.network.layout.sizes[1]
    numbers = sorted({-(-n_hidden // units) for units in UNITS})
    blocks = [number for number in numbers if MOST_BLOCKS < number <= multiprocessors]
    if not blocks:
        return f"{n_hidden} hidden units are too few for a grid, or too many for {multiprocessors} blocks"
    choices = choices_of(options, rows, blocks)
    tried = [tiling_of(options, rows, shared_limit, choice, on_grid=True) for choice in choices]
    found = {each: expected_microseconds(options, each) for each in tried if isinstance(each, Tiling)}
    if found:
        return next(tiling for tiling, expected in found.items() if expected <= ABOUT * min(found.values()))
    # most say that the weights do not fit in the registers of so few threads, which is not what prevents the others
    reasons = [str(each) for each in reversed(tried)]
    return "on a grid, " + next((each for each in reasons if "shared memory" in each), reasons[0])


def why_neither(cluster: str, grid: str) -> str:
    """Why there is no tiling of a cluster, and none of a grid, in one sentence.

    Examples
    --------
    >>> why_neither("it is too large", "on a grid, it is too slow")
    'it is too large; on a grid, it is too slow'
    >>> why_neither("the layers take too long", "on a grid, the layers take too long")
    'on a cluster and on a grid, the layers take too long'
    """
    if grid == f"on a grid, {cluster}":
        return f"on a cluster and on a grid, {cluster}"
    return f"{cluster}; {grid}"


def grid_of(options: KernelOptions, rows: int, shared_limit: int, blocks: int) -> Tiling | str:
    """The first tiling of a grid of at most `blocks` blocks, whatever its time: to test the kernel.

    The parameters are those of `grid_tiling_for`.
    """
    n_hidden = options.network.layout.sizes[1]
    units = -(-n_hidden // blocks)
    tried = [
        tiling_of(options, rows, shared_limit, choice, on_grid=True)
        for choice in choices_of(options, rows, (-(-n_hidden // units),))
    ]
    return next((each for each in tried if isinstance(each, Tiling)), tried[0])


def graph_microseconds(options: KernelOptions, rows: int, multiprocessors: int) -> float:
    """Estimated time of a step as CUDA graphs, by `backends.step_time.on_gpu`.

    In favour of graphs, the clock is the highest, and reading and writing parameters is taken to need no time.
    """
    network = options.network
    work = Work(
        network.layout.sizes, rows, rows, itemsize=options.dtype.itemsize, precision=network.precision,
        states=len(options.rule.state),
    )  # fmt: skip
    gpu = Gpu(90, multiprocessors, HIGHEST_CLOCK, math.inf)
    return 1e6 * on_gpu(work, gpu).step
