"""`tiling_for`: how the persistent kernel divides a network among blocks, threads, registers and shared memory."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import replace

from backends.cupy_backend.kernel_source import KernelOptions
from backends.cupy_backend.shared_arrays import layers_above, n_above, n_others, shared_arrays
from backends.cupy_backend.tiling import Choice, Tiling
from backends.step_time import L2_CYCLES

MOST_BLOCKS = 8
"""Blocks of a cluster: the largest number that every GPU with clusters has.  Where a GPU has more (`clusters.py`),
there are tilings with twice as many, which are taken where they are estimated to be clearly faster."""

UNITS_OF_BLOCK = 4
"""Hidden units of a block, at least: with fewer the exchange between blocks takes longer than what they save."""

MOST_THREADS = 448
"""Threads of a block; with more, a thread has too few registers for its weights and sums."""

LEAST_THREADS = 192
"""Threads of a block, if there are several hidden layers: with fewer it waits for shared memory most of the time.
Those that have no weights of the first layer work for the others."""

OTHER_REGISTERS = {4: 60, 8: 80}
"""Registers of a thread besides its weights and sums, by the size of a number; `test_gpu_kernels.py` checks it."""

REGISTERS, REGISTERS_OF_THREAD = 65536, 255
"""Of a multiprocessor, which one block has to itself; and of a thread at most."""

MULTIPROCESSOR_LANES = {4: 128, 8: 64}
"""Multiplications with addition in a cycle of a multiprocessor, by the size of a number (compute capability 9.0)."""

STEP_CYCLES = 2000
"""Of a step besides those products: the exchange, barriers, the loss.  An estimate, from latencies others measured."""

EXCHANGE_BYTES = 8192
"""Bytes that a block can receive in the time of a further exchange: some 500 cycles at 16 bytes a cycle."""

GRID_BARRIER = 2376
"""Cycles in which all blocks of a grid wait for each other: ``grid.sync`` on an H800, Luo et al., "Dissecting the
NVIDIA Hopper Architecture through Microbenchmarking and Multiple Level Analysis", arXiv:2501.12084."""

L2_BYTES_A_CYCLE = 28
"""Bytes that a multiprocessor reads from the L2 cache in a cycle while all others do so too.  An estimate: less than
half of the 64 that one alone can read."""

PRODUCTS_A_CYCLE = {4: 20, 8: 10}
"""Products of the layers above the first, by the size of a number: each reads one or two numbers from shared memory,
and a multiprocessor reads 128 bytes in a cycle.  An estimate."""

LAYER_CYCLES = 500
"""Of each hidden layer above the first: barriers and latencies.  An estimate, as `STEP_CYCLES`."""

MOST_ABOVE = 40000
"""Cycles of a step in the layers that all blocks compute alike, at most: a step as CUDA graphs takes less."""

CYCLES_A_MICROSECOND = 1500
"""A GPU's clock, on the low side."""

SHARED_BYTES_A_CYCLE, CONVERSIONS_A_CYCLE = 128, 64
"""Of a multiprocessor: bytes read from shared memory, and bytes turned into floating-point numbers.  CUDA Programming
Guide, compute capability 9.0: 32 banks of four bytes; table of the throughput of arithmetic instructions."""

WAIT_FOR_ROWS = {2: 0, 1: 500, 0: 1000}
"""Cycles that a step waits for its rows, by the number of batches of X in shared memory.  An estimate: a load from the
GPU's memory takes about 500, and rows that are not in shared memory are read twice."""


PART_ROWS = 32
"""Rows of the parts in which a larger batch may be worked off."""

ABOUT = 1.1
"""Ratio of two estimates that are not exact enough to distinguish the tilings."""


MEASURED: dict[tuple[tuple[int, ...], int, str, str], Choice] = {}
"""What was fastest on a GPU, by the sizes of the network, the rows of a batch, and the types of parameters and X: the
output of ``python benchmarks/on_gpu.py OUT --only tilings``.  As long as nothing has been measured, it is empty."""


def tiling_for(options: KernelOptions, rows: int, shared_limit: int, most_blocks: int = MOST_BLOCKS) -> Tiling | str:
    """The fastest tiling, as measured or else as estimated, or a sentence that says what does not fit.

    The parameters are those of `tilings`.
    """
    choice = measured_choice(options, rows)
    measured = None
    if choice is not None and choice.blocks <= most_blocks:
        measured = tiling_of(options, rows, shared_limit, choice)
    # a table for plain SGD can have a tiling in which the state of another rule does not fit
    return measured if isinstance(measured, Tiling) else _estimated(options, rows, shared_limit, most_blocks)


def measured_choice(options: KernelOptions, rows: int) -> Choice | None:
    """What `MEASURED` has for a network and batches of so many rows."""
    return MEASURED.get((options.network.layout.sizes, rows, options.dtype.name, options.X_dtype.name))


@functools.lru_cache(maxsize=256)
def _estimated(options: KernelOptions, rows: int, shared_limit: int, most_blocks: int) -> Tiling | str:
    """The first of those that are estimated to be about as fast as the fastest."""
    every = tilings(options, rows, shared_limit, most_blocks)
    found = {tiling: expected_microseconds(options, tiling) for tiling in every}
    if not found:
        return tiling_of(options, rows, shared_limit, most_blocks=most_blocks)  # a sentence
    return next(tiling for tiling, expected in found.items() if expected <= ABOUT * min(found.values()))


def expected_microseconds(options: KernelOptions, tiling: Tiling) -> float:
    """Estimated time of a step, with what distinguishes the tilings of a network: reading X, and waiting for it."""
    wait = WAIT_FOR_ROWS[tiling.x_buffers] / CYCLES_A_MICROSECOND
    if tiling.tensor:
        return tiling.microseconds + wait
    read = 2 * tiling.rows * tiling.threads * tiling.quads_of_thread * 4  # entries of X, forward and for the gradient
    cycles = options.X_dtype.itemsize / SHARED_BYTES_A_CYCLE
    if options.X_dtype != options.dtype:
        cycles += 1 / CONVERSIONS_A_CYCLE
    return tiling.microseconds + read * cycles / CYCLES_A_MICROSECOND + wait


def tilings(options: KernelOptions, rows: int, shared_limit: int, most_blocks: int = MOST_BLOCKS) -> Iterator[Tiling]:
    """All tilings that fit, beginning with the one that uses most blocks and threads, and so waits least.

    Those of larger clusters than `MOST_BLOCKS` come last.

    Parameters
    ----------
    options : KernelOptions
        Of a network with one hidden layer.
    rows : int
        Of a batch.
    shared_limit : int
        Bytes of shared memory that a block can have.
    most_blocks : int
        Blocks that a cluster can have.
    """
    seen: set[Tiling] = set()
    numbers = [blocks for blocks in (8, 4, 2, 1, 16) if blocks <= most_blocks]
    for choice in (None, *choices_of(options, rows, numbers)):
        tiling = tiling_of(options, rows, shared_limit, choice)
        if isinstance(tiling, Tiling) and tiling not in seen:
            seen.add(tiling)
            yield tiling


def choices_of(options: KernelOptions, rows: int, numbers_of_blocks: Iterable[int]) -> Iterator[Choice]:
    """All choices in which every block has units and every thread weights."""
    n_in, n_hidden, *_ = options.network.layout.sizes
    for blocks in numbers_of_blocks:
        units = -(-n_hidden // blocks)
        if (blocks - 1) * units >= n_hidden:
            continue
        for tensor, units_of_thread in _units_of_thread(options, units):
            known = set()
            for quads_of_thread, threads in _threads(n_in, units, units_of_thread, tensor):
                if threads in known:  # more quads for as many threads are weights of zero
                    continue
                known.add(threads)
                for part_rows, x_buffers in itertools.product(_parts(rows), (2, 1, 0)):
                    if not tensor or (x_buffers and part_rows <= PART_ROWS):
                        yield Choice(blocks, units_of_thread, quads_of_thread, x_buffers, part_rows, tensor)


def _units_of_thread(options: KernelOptions, units: int) -> Iterator[tuple[bool, int]]:
    """Whether on tensor cores, and `Tiling.units_of_thread`, for blocks with so many units."""
    yield False, 4
    if options.dtype.itemsize == 4 and units > 4:
        yield False, 8
    if options.dtype.itemsize == 4 and options.X_dtype.itemsize == 1:
        yield True, -(-units // 8)


def _parts(rows: int) -> tuple[int, ...]:
    """Rows of a part, for a batch of so many."""
    return (rows, PART_ROWS) if rows > PART_ROWS else (rows,)


def tiling_of(
    options: KernelOptions, rows: int, shared_limit: int, choice: Choice | None = None, *,
    most_blocks: int = MOST_BLOCKS, on_grid: bool = False,
) -> Tiling | str:  # fmt: skip
    """The tiling of a choice, or the first one that fits; or a sentence that says what does not.

    Parameters
    ----------
    options : KernelOptions
        Of a network with one hidden layer or more.
    rows : int
        Of a batch.
    shared_limit : int
        Bytes of shared memory that a block can have.
    """
    n_in, n_hidden, n_second, *_ = options.network.layout.sizes
    above = _cycles_above(options, rows, 1)
    if above > MOST_ABOVE:
        return (
            f"each block computes the layers above the second, and a step of them takes some {above:.0f} cycles for "
            f"{rows} rows, more than {MOST_ABOVE}"
        )
    blocks = 1 if choice is None else choice.blocks
    while choice is None and blocks < most_blocks and blocks * UNITS_OF_BLOCK < n_hidden:
        blocks *= 2
    units, words = -(-n_hidden // blocks), options.dtype.itemsize // 4  # registers of a number
    units_of_thread = 4 if units <= 4 or words == 2 else 8
    if choice is not None:
        units_of_thread = choice.units_of_thread
    tensor = choice is not None and choice.tensor
    # of the FMA: a lane of a warp keeps one of the sums
    tile_rows, of_group = (16, 8 * units_of_thread) if tensor else (32 // units_of_thread, units_of_thread)
    several = options.network.layout.n_layers > 2
    least = 0
    for part_rows, (quads_of_thread, group_threads) in itertools.product(
        _parts(rows), _threads(n_in, units, units_of_thread, tensor)
    ):
        if choice is not None and (choice.quads_of_thread, choice.part_rows) != (quads_of_thread, part_rows):
            continue
        groups, tall = -(-units // of_group), -(-part_rows // tile_rows) * tile_rows
        threads = max(groups * group_threads, LEAST_THREADS * several)
        weights, sums = quads_of_thread * 4 * units_of_thread, tile_rows * units_of_thread
        if tensor:  # forward z and the weights of a tile in three parts; for the gradient, that of z in three parts
            forward = tall // 4 * units_of_thread + 6 * units_of_thread + 20
            sums = max(forward, tall // 16 * 12 * -(-units_of_thread // 2) + 28)
        # each of four schedulers has a quarter of the registers, and of the warps, rounded up
        registers = min(REGISTERS_OF_THREAD, REGISTERS // (-(-threads // 128) * 128) // 8 * 8)
        available = registers - OTHER_REGISTERS[4 * words]
        in_parts = part_rows < rows
        keeps_gradient = in_parts or (options.by_norm and (2 * weights + sums) * words <= available)
        if (weights * (1 + in_parts) + sums) * words > available:
            continue
        second = part_rows * n_second
        by_owners = several and (blocks - 2) * second * options.dtype.itemsize > EXCHANGE_BYTES
        if on_grid:
            meetings = [
                meeting_cycles(options, rows, -(-rows // part_rows), blocks, owners) for owners in range(1 + several)
            ]
            by_owners = meetings[-1] < meetings[0]
        for x_buffers in (2, 1, 0) if choice is None else (choice.x_buffers,):
            padded_units = groups * of_group
            sizes = shared_arrays(
                options, part_rows, in_parts, blocks, threads, group_threads, units, padded_units, weights,
                x_buffers * tall * _row_bytes(options, tensor), tall, by_owners, on_grid,
            )  # fmt: skip
            places, end = {}, 0
            for name, size in sizes.items():
                places[name] = end
                end += -(-size // 16) * 16
            if end <= shared_limit:
                lanes = options.lanes
                while lanes > 1 and threads // lanes < part_rows:
                    lanes //= 2
                tiling = Tiling(
                    blocks, threads, groups, group_threads, units, padded_units, units_of_thread, quads_of_thread,
                    tensor, tile_rows, part_rows, tall, keeps_gradient,
                    x_buffers, lanes, rows, _row_bytes(options, tensor), by_owners, -(-second // blocks),
                    weights * threads + n_others(options, padded_units) + n_above(options), n_above(options),
                    tuple(places.items()), end, 0.0, on_grid,
                )  # fmt: skip
                return replace(tiling, microseconds=_cycles(options, tiling) / CYCLES_A_MICROSECOND)
            least = min(least or end, end)
    if least:
        return (
            f"batches of {rows} rows and the state of the update rule need {least} bytes of shared memory in each of "
            f"{blocks} blocks, and a block can have {shared_limit}"
        )
    return f"{units} hidden units of {n_in} weights do not fit in the registers of each of {blocks} blocks"


def _cycles(options: KernelOptions, tiling: Tiling) -> float:
    """Estimated cycles of a step."""
    layout, itemsize = options.network.layout, options.dtype.itemsize
    n_second, several = layout.sizes[2], layout.n_layers > 2
    if tiling.tensor:
        products = float(_tensor_instructions(tiling) * -(-tiling.group_threads // 128))
    else:
        weights = tiling.quads_of_thread * 4 * tiling.units_of_thread * tiling.groups * tiling.group_threads
        products = 2 * 2 * tiling.rows * weights / MULTIPROCESSOR_LANES[itemsize]
    cycles = tiling.parts * STEP_CYCLES + products
    if tiling.on_grid:
        cycles += meeting_cycles(options, tiling.rows, tiling.parts, tiling.blocks, tiling.by_owners)
    else:
        cycles += _received(options, tiling.rows, tiling.blocks, tiling.by_owners) / EXCHANGE_BYTES * LAYER_CYCLES
    if several:
        cycles += _cycles_above(options, tiling.rows, tiling.parts)
        cycles += 3 * tiling.rows * tiling.padded_units * n_second / PRODUCTS_A_CYCLE[itemsize]
    return cycles


def meeting_cycles(options: KernelOptions, rows: int, parts: int, blocks: int, by_owners: int) -> float:
    """Estimated cycles in which the blocks of a grid wait for each other and read what they have sent, in a step."""
    meetings = parts * (1 + by_owners) + options.by_norm
    return meetings * (GRID_BARRIER + L2_CYCLES) + _received(options, rows, blocks, by_owners) / L2_BYTES_A_CYCLE


def _received(options: KernelOptions, rows: int, blocks: int, by_owners: int) -> int:
    """Bytes of shares, or of shares and sums, that a block receives in a step."""
    return (2 if by_owners else blocks) * rows * options.network.layout.sizes[2] * options.dtype.itemsize


def _tensor_instructions(tiling: Tiling) -> int:
    """Instructions of a warp in a step, for the first layer on tensor cores; counted in the PTX."""
    tiles, units, row_tiles = tiling.quads_of_thread, tiling.units_of_thread, tiling.parts * tiling.tall // 16
    pairs = -(-units // 2)
    of_weights = tiles * units * (22 * tiling.parts + 24)  # split in three, updated
    of_rows = tiles * row_tiles * (36 + 7 * units + 14 * pairs)  # bytes to bfloat16, products, and their sums
    return of_weights + of_rows + 60 * pairs * row_tiles  # the gradient of z split in three


def _threads(n_in: int, units: int, units_of_thread: int, tensor: bool) -> Iterator[tuple[int, int]]:
    """Quads of a thread, from one on, and threads of a group: whole warps."""
    groups, quads = 1 if tensor else -(-units // units_of_thread), -(-n_in // 4)
    for quads_of_thread in range(1, 17):
        quads_of_warp = (4 if tensor else 32) * quads_of_thread  # on tensor cores eight lanes have the same inputs
        group_threads = -(-quads // quads_of_warp) * 32
        if groups * group_threads <= MOST_THREADS:
            yield quads_of_thread, group_threads


def _row_bytes(options: KernelOptions, tensor: bool) -> int:
    """Bytes of a row of X in shared memory: so many that lanes of a warp that read from several rows use all banks."""
    n_in, itemsize = options.network.layout.sizes[0], options.X_dtype.itemsize
    if tensor:  # an odd number of tiles
        return (-(-n_in // 16) | 1) * 16
    whole = 32 if itemsize == 1 else 128
    return -(-(-(-n_in // 4) * 4 * itemsize) // whole) * whole


def _cycles_above(options: KernelOptions, rows: int, parts: int) -> float:
    """Estimated cycles of a step in these: three products of matrices for each."""
    products = PRODUCTS_A_CYCLE[options.dtype.itemsize]
    return sum(parts * LAYER_CYCLES + 3 * rows * below * n / products for below, n in layers_above(options))
