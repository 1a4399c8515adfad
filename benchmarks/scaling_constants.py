"""Measures the constants of `benchmarks.scaling_model`: two ranks of one thread each work at the same time.

Each time is the smallest of several rounds, and the larger one of the two ranks.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import mlp
from backends.plan import EpochPlan
from backends.row_orders import Shuffle
from benchmarks.data_parallel import BATCH, SIZES, examples, mpiexec
from mlp.distributed import MPICommunicator
from mlp.distributed.mpi_ranks import SMALL
from mlp.io import machine_info

NETWORKS = ((784, 128, 10), SIZES, (784, 704, 640, 10), (784, 2816, 2752, 10))
"""1e5 parameters, those of `benchmarks.data_parallel`, 1e6 and 1e7."""

SHARD_ROWS = (32, 64, 128, 256, 512, 1024)
SUM_BYTES = tuple(4 * values for values in (2_000, 5_000, 20_000, 50_000, 10**5, 3 * 10**5, 10**6, 3 * 10**6, 10**7))
ROUNDS, LEAST_SECONDS = 7, 0.05
QUICK = {"networks": NETWORKS[:2], "shard_rows": (32, 128, 512), "sum_bytes": SUM_BYTES[::3], "rounds": 2}


def measure(*, quick: bool = False) -> dict[str, Any]:
    """Start the two ranks, and return the record: constants, machine and versions."""
    program = [sys.executable, "-m", "benchmarks.scaling_constants", *(["quick"] if quick else [])]
    environment = os.environ | {"MLP_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    job = subprocess.run([mpiexec(), "-n", "2", *program], env=environment, stdout=subprocess.PIPE, text=True)
    if job.returncode:
        sys.exit("the ranks that measure have failed")
    return dict(json.loads(job.stdout))


def rank_program(
    networks: tuple[tuple[int, ...], ...] = NETWORKS,
    shard_rows: tuple[int, ...] = SHARD_ROWS,
    sum_bytes: tuple[int, ...] = SUM_BYTES,
    rounds: int = ROUNDS,
) -> None:
    """The job of a rank; rank 0 prints the record."""
    comm = mlp.distributed.mpi()
    constants = [_network(comm, sizes, shard_rows, rounds) for sizes in networks]
    sums = [[n, _seconds(comm, _sum_of(comm, n), rounds)] for n in sum_bytes if n > SMALL]
    short = _seconds(comm, _sum_of(comm, 16), rounds)
    if comm.rank == 0:
        record = {
            "networks": constants, "sums": sums, "short_sum": short, "rounds": rounds,
            "rows": "MNIST" if os.environ.get("MLP_DATA") else "random bytes", "mpi": _library(),
            "machine": machine_info.describe(), "versions": machine_info.versions(),
        }  # fmt: skip
        print(json.dumps(record))


def _library() -> str:
    from mpi4py import MPI

    return " ".join(MPI.Get_library_version().split("\n")[0].strip("\0").split())


def _network(comm: MPICommunicator, sizes: tuple[int, ...], shard_rows: tuple[int, ...], rounds: int) -> dict[str, Any]:
    """Times of the parts of a step, from the same object as in a training."""
    X, y = examples(32 * BATCH)
    net = mlp.MLP(sizes, backend="numba", input_scale=1 / 255)
    rule, state = mlp.SGD(0.01).rule, np.empty((0, net.parameters.size), net.parameters.dtype)
    shards, addition, update, n_bytes = [], 0.0, 0.0, 0
    for rows in shard_rows:
        batches = len(X) // rows
        plan = EpochPlan(net.plan, rule, rows, Shuffle(0, 0, batches * rows), np.zeros(batches), np.zeros(batches))
        trainer = net.xp.trainer(net.plan, rule, X, y, None, net.parameters, state, rows)
        parts = trainer.step_parts(plan, rows, 2)
        own, other = parts.gradients
        batch = iter(range(10**9))

        def gradient(parts: Any = parts, own: Any = own, rows: int = rows, batches: int = batches) -> None:
            parts.gradient(next(batch) % batches, 0, rows, own)  # noqa: B023  # called within the loop only

        shards.append([rows, _seconds(comm, gradient, rounds)])
        addition = _seconds(comm, lambda own=own, other=other: np.add(own, other, out=other), rounds)
        update = _seconds(comm, lambda parts=parts, own=own: parts.update(0, own), rounds)
        n_bytes = own.nbytes
    return {
        "sizes": list(sizes), "parameters": int(net.parameters.size), "gradient_bytes": n_bytes,
        "shards": shards, "addition": addition, "update": update,
    }  # fmt: skip


def _sum_of(comm: MPICommunicator, n_bytes: int) -> Callable[[], None]:
    array = np.full(n_bytes // 4, 0.0, np.float32)
    return lambda: comm.tree_sum(array)


def _seconds(comm: MPICommunicator, work: Callable[[], object], rounds: int) -> float:
    """Time of a call while the other rank does the same; the number of calls is the same on both."""
    work()
    start = time.perf_counter()
    work()
    once = _larger(comm, time.perf_counter() - start)
    calls, times = max(int(LEAST_SECONDS / once), 2), []
    for _ in range(rounds):
        comm.agree(0)  # both begin now
        start = time.perf_counter()
        for _ in range(calls):
            work()
        times.append((time.perf_counter() - start) / calls)
    return _larger(comm, min(times))


def _larger(comm: MPICommunicator, seconds: float) -> float:
    return comm.agree(int(seconds * 1e9)) / 1e9 or 1e-9


if __name__ == "__main__":
    rank_program(**(QUICK if sys.argv[1:] == ["quick"] else {}))  # type: ignore[arg-type]
