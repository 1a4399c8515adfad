"""A model of the time of a step of the persistent kernel, from the instructions that its threads execute; needs no GPU.

    python -m benchmarks.latency_model                                # 784-30-10 and 784-128-10
    python -m benchmarks.latency_model --net 784-128-10 --batch-size 32 --X float32 --everything
    python -m benchmarks.latency_model --net 784-30-10 --choice 8,4,2,2,16,0     # another tiling
    python -m benchmarks.latency_model --grid                         # grids beside clusters and CUDA graphs
    python -m benchmarks.latency_model --times OUT/tilings.json       # beside what a GPU measured
    python -m benchmarks.latency_model --recorded benchmarks/results/cpu.json   # what `auto` estimates, and a benchmark

NVRTC compiles the kernel to PTX, of which `ptx_counts` interprets the first thread of each warp of a block.  The
machine code, which would be better, needs nvdisasm; no package that this project installs has it.

A step consists of phases, each of which ends where threads wait for others.  A phase takes as long as the part of a
multiprocessor that is busiest in it, and then the latency of the wait and of a read from shared memory.  Latencies
within a phase are taken to be hidden.
"""

from __future__ import annotations

import argparse
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import mlp
from backends.cupy_backend.arguments import arguments_dtype
from backends.cupy_backend.clusters import LARGE_CLUSTER
from backends.cupy_backend.grid_tilings import fastest_grid, graph_microseconds, why_neither
from backends.cupy_backend.kernel_source import KernelOptions
from backends.cupy_backend.persistent import fastest_way
from backends.cupy_backend.persistent_source import persistent_source
from backends.cupy_backend.tiling import Choice, Tiling
from backends.cupy_backend.tilings import (
    CYCLES_A_MICROSECOND,
    GRID_BARRIER,
    L2_BYTES_A_CYCLE,
    expected_microseconds,
    meeting_cycles,
    tiling_for,
    tilings,
)
from backends.step_time import L2_CYCLES, Gpu, Work, on_cpu, on_gpu
from benchmarks.ptx_counts import SYMBOL, WAITS, Kernel, Thread, compile_to_ptx, parse

SHARED_BYTES = 232448
"""Of a block, at most: compute capability 9.0."""

CLOCK = 1.98
"""Cycles in a nanosecond: the highest clock of an H100 SXM or H200."""

MULTIPROCESSORS = 132
"""Of an H100 SXM or H200."""

GRID_NETS = ("784-300-10", "784-512-10", "784-1024-10", "784-4096-10", "784-256-128-10", "784-512-64-10",
             "784-512-512-10")  # fmt: skip
GRID_BATCH_SIZES = (16, 32, 64, 128)

SCHEDULERS = 4
LANES = {
    "FMA": 128, "float": 128, "integer": 64, "conversion": 64, "double": 64, "shuffle": 32, "special": 16, "tensor": 20,
}  # fmt: skip
"""Results of a multiprocessor in a cycle: CUDA Programming Guide, "Throughput of Native Arithmetic Instructions",
compute capability 9.0.  Each of its schedulers starts one instruction of a warp in a cycle.

"tensor": a product of 16 x 16 and 16 x 8 numbers in bfloat16 in 1.6 cycles, which is 62 % of the 2048 multiplications a
cycle of the data sheet: Luo et al., arXiv:2402.13499, for ``mma`` on an H100."""

SHARED_BYTES_A_CYCLE = 128
"""CUDA Programming Guide: 32 banks of four bytes."""

SHARED_LATENCY, REMOTE_LATENCY = 29, 180
"""Cycles of a read from shared memory, and from that of another block of the cluster, on an H100: Luo et al.,
"Benchmarking and Dissecting the Nvidia Hopper GPU Architecture", arXiv:2402.13499."""

BARRIER_LATENCY = {4: 30, 32: 86}
"""Cycles of a barrier of a block, by its warps.  Measured by others on a B300; in between they are interpolated."""

KINDS = (
    ("shared load", r"ld\.(volatile\.)?shared"),
    ("shared store", r"st\.(volatile\.)?shared"),
    ("remote store", r"st\.async"),
    ("copy", r"cp\.async\.c"),
    ("global", r"(ld|st)\.(global|relaxed|volatile)"),
    ("block barrier", r"bar\.sync|barrier\.sync"),
    ("exchange", r"mbarrier\.try_wait"),
    ("shuffle", r"shfl|redux|vote"),
    ("move", r"mov|cvta|ld\.param|cvt\.[us]\d+\.[us]\d+"),  # ptxas removes most of them
    ("tensor", r"mma\."),
    ("special", r"(ex2|lg2|rcp|rsqrt|sqrt|div|sin|cos|tanh)\..*f(32|64)"),
    ("double", r".*\.f64"),
    ("FMA", r"fma\..*f32"),
    ("conversion", r"cvt\."),
    ("float", r".*\.f32"),
    ("integer", r".*"),
)
"""The kinds of instructions, by the names in PTX; the first that fits."""


def kind_of(opcode: str) -> str:
    """
    The kind of an instruction.

    Examples
    --------
    >>> [kind_of(opcode) for opcode in ("fma.rn.ftz.f32", "ld.shared.v4.u8", "mad.lo.s32", "cvt.rn.f32.u16")]
    ['FMA', 'shared load', 'integer', 'conversion']
    """
    return next(kind for kind, pattern in KINDS if re.match(pattern, opcode))


@dataclass(frozen=True)
class Phase:
    """What the warps of a block execute up to a wait.

    Attributes
    ----------
    wait : str
        The kind of the wait at its end.
    warps : list of Counter
        Instructions of each warp, by PTX opcode.
    """

    wait: str
    warps: list[Counter[str]]

    def count(self, kind: str) -> int:
        """Instructions of a kind, of all warps together."""
        return sum(number for warp in self.warps for opcode, number in warp.items() if kind_of(opcode) == kind)

    @property
    def instructions(self) -> float:
        """Of a warp, on average, besides moves."""
        counts = (n for warp in self.warps for opcode, n in warp.items() if kind_of(opcode) != "move")
        return sum(counts) / len(self.warps)

    @property
    def busiest(self) -> tuple[str, float]:
        """The part of the multiprocessor that is longest at work, and for how many cycles."""
        starts = [0] * SCHEDULERS
        for number, warp in enumerate(self.warps):
            starts[number % SCHEDULERS] += sum(n for opcode, n in warp.items() if kind_of(opcode) != "move")
        cycles = {"schedulers": float(max(starts))}
        cycles |= {kind: self.count(kind) * 32 / lanes for kind, lanes in LANES.items()}
        accesses = [(opcode, n) for warp in self.warps for opcode, n in warp.items() if ".shared." in opcode]
        cycles["L2 cache"] = sum(n * 32 * _bytes_of(opcode) for opcode, n in self._collected()) / L2_BYTES_A_CYCLE
        cycles["shared memory"] = sum(n * 32 * _bytes_of(opcode) / SHARED_BYTES_A_CYCLE for opcode, n in accesses)
        return max(cycles.items(), key=lambda item: item[1])

    @property
    def latency(self) -> float:
        """Cycles of the wait, and of a read after it."""
        if self.wait == "exchange":
            return REMOTE_LATENCY + SHARED_LATENCY
        (few, short), (many, long) = BARRIER_LATENCY.items()
        latency = short + (len(self.warps) - few) * (long - short) / (many - few) + SHARED_LATENCY
        return latency + GRID_BARRIER * self.meets + L2_CYCLES * bool(self._collected())

    @property
    def meets(self) -> bool:
        """Whether the blocks of a grid wait for each other in this phase."""
        return any(opcode.startswith("red.") for warp in self.warps for opcode in warp)

    def _collected(self) -> list[tuple[str, int]]:
        """Loads of what blocks of a grid have sent each other, and how many."""
        return [(opcode, n) for warp in self.warps for opcode, n in warp.items() if opcode.startswith("ld.global.cg")]

    @property
    def cycles(self) -> float:
        return self.busiest[1] + self.latency


def _bytes_of(opcode: str) -> int:
    """Of a thread, at least a bank's four."""
    vector, bits = re.search(r"\.v(\d)", opcode), re.search(r"(\d+)$", opcode)
    return max(4, (int(vector[1]) if vector else 1) * int(bits[1] if bits else 32) // 8)


Memory = dict[tuple[str, int], Any]
"""What is read from memory, by space and address."""


def phases_of_step(
    ptx: str,
    threads: int,
    arguments: dict[str, Any],
    memory: Callable[[int], Memory],
    special: dict[str, int] | None = None,
) -> list[Phase]:
    """The phases of a step of the first block.

    Parameters
    ----------
    ptx : str
        With a kernel ``train``.
    threads : int
        Of a block.
    arguments : dict
        Of the kernel, by their names in the PTX.
    memory : callable (steps)
        What the kernel reads where it is to run so many steps.  A step is the difference between runs of six and of
        five steps.
    special : dict of int, optional
        Special registers besides those of the thread.
    """
    kernel = parse(ptx, "train")
    by_warp = [
        _step_of_thread(kernel, thread, threads, arguments, memory, special or {}) for thread in range(0, threads, 32)
    ]
    if len({len(phases) for phases in by_warp}) != 1:
        raise ValueError("the warps of the block do not wait as often as each other")
    return [
        Phase(kind_of(next(opcode for opcode in warps[0] if opcode.startswith(WAITS))), list(warps))
        for warps in zip(*by_warp, strict=True)
    ]


def _step_of_thread(
    kernel: Kernel,
    thread: int,
    threads: int,
    arguments: dict[str, Any],
    memory: Callable[[int], Memory],
    special: dict[str, int],
) -> list[Counter[str]]:
    special = {"%tid.x": thread, "%ntid.x": threads, "%laneid": thread % 32} | special
    five, six = (Thread(kernel, arguments, special, memory(steps)).run() for steps in (5, 6))
    waits = len(six) - len(five)  # of a step
    # the phases of a step in the middle: those before it and after it are the same in both runs
    start = len(five) - 1 - 2 * waits
    return six[start : start + waits]


def persistent_phases(options: KernelOptions, tiling: Tiling, clipped: bool = False) -> list[Phase]:
    """The phases of a step of the persistent kernel, for a full batch in the middle of a launch."""
    ptx = compile_to_ptx(persistent_source(options, tiling, 16, clipped))
    places, fields = dict(tiling.places), _arguments(options, tiling)

    def memory(steps: int) -> Memory:
        read = {("shared", SYMBOL + places["arguments"] + offset): value for offset, value in fields.items()}
        first, last = (SYMBOL + places["parts_of_launch"] + offset for offset in (0, 4))
        read |= {("shared", first): 0, ("shared", last): steps * tiling.parts}
        if tiling.on_grid:  # the counter has been reached at every meeting
            read[("shared", SYMBOL + places["exchange"])] = counter
            read |= {("global", counter): 1 << 40, ("shared", SYMBOL + places["meeting"]): 0}
        return read

    counter = 1 << 50
    parameters = {"train_param_0": 0, "train_param_1": 1, "train_param_2": counter}
    return phases_of_step(ptx, tiling.threads, parameters, memory, {"%nctaid.x": tiling.blocks})


def _arguments(options: KernelOptions, tiling: Tiling) -> dict[int, Any]:
    """The arguments of a network, by their offsets in bytes: pointers far from each other, and some numbers."""
    fields: dict[int, Any] = {}

    def add(kind: np.dtype[Any], start: int) -> None:
        for number, name in enumerate(kind.names or ()):
            field, offset = kind.fields[name][:2]  # type: ignore[index]
            if field.names:
                add(field, start + offset)
            else:
                value = 0.5 if field.kind == "f" else (number + 1) << 40 if field == np.int64 else 0
                fields[start + offset] = known.get(name, value)

    known = {"n_rows": 1000 * tiling.rows, "X_stride": tiling.row_bytes // options.X_dtype.itemsize}
    add(arguments_dtype(options), 0)
    return fields


def microseconds(phases: list[Phase], clock: float = CLOCK) -> float:
    return sum(phase.cycles for phase in phases) / (1000 * clock)


def options_of(
    sizes: tuple[int, ...],
    X_dtype: str = "uint8",
    *,
    dropout: bool = False,
    input_dropout: bool = False,
    by_norm: bool = False,
) -> KernelOptions:
    """ReLU, softmax with cross-entropy and plain SGD in float32."""
    net = mlp.MLP(
        list(sizes),
        dropout=0.2 * dropout,
        input_dropout=0.2 * input_dropout,
        input_scale=1 / 255,
        init="zeros",
        backend="numpy",
    )
    real = np.dtype(np.float32)
    return KernelOptions(net.plan, mlp.SGD().rule.row, real, np.dtype(X_dtype), class_numbers=True, by_norm=by_norm)


# -- the report ---------------------------------------------------------------------------------------------------

EXTRAS = {
    "dropout": "dropout of the hidden units, and clipping by value",
    "everything": "dropout, and clipping by value and by norm",
}
COLUMNS = ("FMA", "tensor", "shared load", "shared store", "shuffle", "conversion", "integer", "copy", "remote store")


def show(title: str, phases: list[Phase], clock: float) -> None:
    """Print the phases, with instructions per warp on average."""
    print(f"\n{title}")
    print(
        f"{'phase':>5} {'ends with':<14}"
        + "".join(f"{name:>13}" for name in COLUMNS)
        + f"{'busiest':>22}{'latency':>9}"
    )
    for number, phase in enumerate(phases, start=1):
        counts = "".join(f"{phase.count(name) / len(phase.warps):13.1f}" for name in COLUMNS)
        part, cycles = phase.busiest
        print(f"{number:5} {phase.wait:<14}{counts}{f'{part} {cycles:.0f}':>22}{phase.latency:9.0f}")
    totals = "".join(f"{sum(p.count(name) for p in phases) / len(phases[0].warps):13.1f}" for name in COLUMNS)
    print(f"{'':5} {'step':<14}{totals}")
    barriers, exchanges = (sum(phase.wait == kind for phase in phases) for kind in ("block barrier", "exchange"))
    exchanges += sum(phase.meets for phase in phases)
    print(
        f"{sum(phase.instructions for phase in phases):.0f} instructions of a warp besides moves, "
        f"{barriers} barriers and {exchanges} exchanges a step; {sum(phase.cycles for phase in phases):.0f} cycles, "
        f"{microseconds(phases, clock):.2f} microseconds"
    )


def describe(sizes: tuple[int, ...], rows: int, X_dtype: str, choice: Choice | None, extra: str, clock: float) -> None:
    everything, dropout = extra == "everything", bool(extra)
    options = options_of(sizes, X_dtype, dropout=dropout, input_dropout=everything, by_norm=everything)
    tiling: Tiling | str | None = tiling_for(options, rows, SHARED_BYTES)
    if isinstance(tiling, str):
        on_grid = fastest_grid(options, rows, SHARED_BYTES, MULTIPROCESSORS)
        tiling = on_grid if isinstance(on_grid, Tiling) else why_neither(tiling, on_grid)
    if choice is not None:
        every = tilings(options, rows, SHARED_BYTES, LARGE_CLUSTER)
        tiling = next((each for each in every if each.choice == choice), None)
    if not isinstance(tiling, Tiling):
        raise SystemExit(f"{'-'.join(map(str, sizes))}, {rows} rows: {tiling or f'{choice} does not fit'}")
    threads = f"{tiling.threads} threads{', a grid' * tiling.on_grid}"
    title = f"{'-'.join(map(str, sizes))}, {rows} rows of {X_dtype}, {tiling.choice}, {threads}"
    if extra:
        title += ", with " + EXTRAS[extra]
    show(title, persistent_phases(options, tiling, clipped=dropout), clock)


def beside_times(path: Path, clock: float) -> None:
    """Print the model beside the fastest tilings that a GPU has measured."""
    print("microseconds a step")
    print(f"{'network':<14}{'rows':>5} {'X':<8} {'tiling':<16}{'model':>8}{'tilings.py':>12}{'measured':>10}")
    for each in json.loads(path.read_text(encoding="utf-8"))["table"]:
        options = options_of(tuple(each["sizes"]), each["X"])
        every = tilings(options, each["rows"], SHARED_BYTES, LARGE_CLUSTER)
        tiling = next(tiling for tiling in every if tiling.choice == tuple(each["choice"]))
        model = microseconds(persistent_phases(options, tiling), clock)
        net, choice = "-".join(map(str, each["sizes"])), ",".join(map(str, each["choice"]))
        estimate = expected_microseconds(options, tiling)
        times = f"{model:8.2f}{estimate:12.2f}{each['microseconds']:10.2f}"
        print(f"{net:<14}{each['rows']:>5} {each['X']:<8} {choice:<16}{times}")


def on_grids(nets: Sequence[str], X_dtype: str) -> list[dict[str, Any]]:
    """What is estimated for a cooperative grid, a cluster and CUDA graphs, for each network and batch size.

    Returns
    -------
    list of dict
        ``grid``, ``cluster`` and ``graphs`` are microseconds of a step, ``cluster`` is NaN without a tiling;
        ``exchange`` is the part of ``grid`` in which blocks wait for each other and read what they sent; ``runs`` is
        how the execution ``"persistent"`` runs the network.  Without a tiling of a grid, ``reason`` says why.
    """
    found = []
    for net in nets:
        for rows in GRID_BATCH_SIZES:
            options = options_of(tuple(map(int, net.split("-"))), X_dtype)
            way = fastest_way(options, rows, SHARED_BYTES, MULTIPROCESSORS, LARGE_CLUSTER)
            cluster = tiling_for(options, rows, SHARED_BYTES, LARGE_CLUSTER)
            each: dict[str, Any] = {
                "net": net, "rows": rows, "graphs": graph_microseconds(options, rows, MULTIPROCESSORS),
                "cluster": expected_microseconds(options, cluster) if isinstance(cluster, Tiling) else math.nan,
                "runs": "graphs" if isinstance(way, str) else "grid" if way.on_grid else f"cluster of {way.blocks}",
            }  # fmt: skip
            tiling = fastest_grid(options, rows, SHARED_BYTES, MULTIPROCESSORS)
            if isinstance(tiling, Tiling):
                exchange = meeting_cycles(options, rows, tiling.parts, tiling.blocks, tiling.by_owners)
                grid = expected_microseconds(options, tiling)
                each |= {"tiling": tiling, "exchange": exchange / CYCLES_A_MICROSECOND, "grid": grid}
            else:
                each["reason"] = tiling
            found.append(each)
    return found


def show_grids(nets: Sequence[str], X_dtype: str) -> None:
    """Print `on_grids`."""
    print('microseconds a step, estimated; the last column is how execution = "persistent" runs the network')
    print(f"{'network':<16}{'rows':>5}{'parts':>7}{'blocks':>8}{'threads':>9}{'meetings':>10}{'exchange':>10}{'grid':>8}"
          f"{'cluster':>9}{'graphs':>8}{'ratio':>7}  runs as")  # fmt: skip
    for each in on_grids(nets, X_dtype):
        line = f"{each['net']:<16}{each['rows']:>5}"
        cluster = "" if math.isnan(each["cluster"]) else f"{each['cluster']:.1f}"
        others = f"{cluster:>9}{each['graphs']:8.1f}"
        if "tiling" not in each:
            print(f"{line}{'':>52}{others}{'':>7}  {each['runs']}: {each['reason']}")
            continue
        tiling, ratio = each["tiling"], np.nanmin([each["cluster"], each["graphs"]]) / each["grid"]
        meetings = tiling.parts * (1 + tiling.by_owners)
        line += f"{tiling.parts:7}{tiling.blocks:8}{tiling.threads:9}{meetings:10}{each['exchange']:10.1f}"
        print(f"{line}{each['grid']:8.1f}{others}{ratio:7.1f}  {each['runs']}")


def beside_benchmark(path: Path, gpu: Gpu) -> None:
    """Print the estimates by which `auto` chooses beside the recorded times of our backends."""
    document = json.loads(path.read_text(encoding="utf-8"))
    print("microseconds a step")
    print(f"{'network':<28}{'batch':>6} {'optimizer':<10}{'backend':<10}{'estimate':>9}{'recorded':>10}")
    for result in document["results"]:
        states = len(mlp.optimizers.optimizer(result["optimizer"]).rule.row.state)
        work = Work(tuple(map(int, result["net"].split("-"))), result["rows"], result["batch_size"], states=states)
        work = replace(work, precision=result.get("precision", "float32"))
        for entry in result["entries"]:
            if entry["name"] in ("mlp numba", "mlp cupy"):
                on_device = entry["name"] == "mlp cupy"
                estimate = on_gpu(work, gpu) if on_device else on_cpu(work, document["threads"]["kernels"])
                print(
                    f"{result['net']:<28}{result['batch_size']:>6} {result['optimizer']:<10}{entry['name'][4:]:<10}"
                    f"{1e6 * estimate.step:9.1f}{entry['microseconds_per_step']:10.1f}"
                )


def main() -> None:
    """Print what the arguments ask for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--net", help="widths such as 784-128-10")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--X", choices=("uint8", "float32"), default="uint8", help="type of the rows")
    parser.add_argument(
        "--choice",
        help="blocks,units_of_thread,quads_of_thread,x_buffers,part_rows,tensor; default: as tilings.py chooses",
    )
    for extra, words in EXTRAS.items():
        how = {"dest": "extra", "action": "store_const", "const": extra, "default": ""}
        parser.add_argument(f"--{extra}", help=f"with {words}", **how)  # type: ignore[arg-type]
    parser.add_argument("--clock", type=float, default=CLOCK, help="GHz; default %(default)g")
    parser.add_argument(
        "--grid", action="store_true", help="a cooperative grid beside a cluster and CUDA graphs, by their estimates"
    )
    parser.add_argument("--times", type=Path, metavar="FILE", help="tilings.json of benchmarks/on_gpu.py")
    parser.add_argument("--recorded", type=Path, metavar="FILE", help="a result of mlp bench; a GPU in it is an H200")
    options = parser.parse_args()
    if options.recorded:
        beside_benchmark(options.recorded, Gpu(90, 132, 1e9 * options.clock, 4.8e12))
    elif options.grid:
        show_grids([options.net] if options.net else GRID_NETS, options.X)
    elif options.times:
        beside_times(options.times, options.clock)
    else:
        choice = Choice._make(map(int, options.choice.split(","))) if options.choice else None
        for net in [options.net] if options.net else ["784-30-10", "784-128-10"]:
            sizes = tuple(map(int, net.split("-")))
            describe(sizes, options.batch_size, options.X, choice, options.extra, options.clock)


if __name__ == "__main__":
    main()
