"""Two ranks of one thread beside one process of two threads, and PyTorch: ``python -m benchmarks.data_parallel``.

784-512-512-10 is trained in float32 with SGD and batches of 1024, on MNIST if ``MLP_DATA`` names its folder, else on
random bytes.  Each training is a new job; the jobs take turns, and the median of each counts.  It needs mpi4py, an idle
machine with two processors, and a minute.  PyTorch is left out if it is not installed.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import numpy as np

SIZES, BATCH = (784, 512, 512, 10), 1024
JOBS = {  # ranks, threads of each, shards
    "one process, two threads": (1, 2, 1),
    "one process, one thread, 8 shards": (1, 1, 8),
    "two ranks, 2 shards": (2, 1, 2),
    "two ranks, 8 shards": (2, 1, 8),
}
PYTORCH = "PyTorch DDP over gloo, two processes"


def examples(rows: int) -> tuple[np.ndarray, np.ndarray]:
    if os.environ.get("MLP_DATA"):
        import mlp

        mnist = mlp.data.load("mnist", data_dir=os.environ["MLP_DATA"])
        return mnist.X[:rows], mnist.y[:rows]
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (rows, SIZES[0]), np.uint8), rng.integers(0, SIZES[-1], rows)


def train(rows: int, epochs: int, shards: int) -> None:
    """The job of a rank: print the largest number of rows per second of an epoch."""
    import mlp

    comm = mlp.distributed.mpi()
    net = mlp.MLP(SIZES, backend="numba", input_scale=1 / 255)
    # a callback, since the time of several epochs in one call would be shared by them
    history = net.fit(
        *examples(rows), epochs=epochs, batch_size=BATCH, optimizer=mlp.SGD(0.01), shards=shards, comm=comm,
        callbacks=[lambda run: None],
    )  # fmt: skip
    if comm.rank == 0:
        print(max(history.samples_per_second))


def train_in_pytorch(rank: int, rows: int, epochs: int, port: int) -> None:
    """The job of one of two processes of PyTorch, each with half of the rows of every batch."""
    import torch
    from torch import distributed, nn

    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    X, y = examples(rows)
    inputs, targets = torch.from_numpy(X.astype(np.float32) / 255), torch.from_numpy(y.astype(np.int64))
    layers = [module for pair in pairwise(SIZES) for module in (nn.Linear(*pair), nn.ReLU())][:-1]
    net = nn.parallel.DistributedDataParallel(nn.Sequential(*layers))
    optimizer, loss, half, fastest = torch.optim.SGD(net.parameters(), lr=0.01), nn.CrossEntropyLoss(), BATCH // 2, 0.0
    for epoch in range(epochs):
        order = torch.randperm(rows, generator=torch.Generator().manual_seed(epoch))
        distributed.barrier()
        start = time.perf_counter()
        for first in range(0, rows - BATCH + 1, BATCH):
            own = order[first + rank * half : first + (rank + 1) * half]
            optimizer.zero_grad(set_to_none=True)
            loss(net(inputs[own]), targets[own]).backward()
            optimizer.step()
        distributed.barrier()
        fastest = max(fastest, rows // BATCH * BATCH / (time.perf_counter() - start))
    distributed.destroy_process_group()
    if rank == 0:
        print(fastest)


def speed(name: str, rows: int, epochs: int) -> float:
    """Start a job and return its rows per second."""
    program = [sys.executable, "-m", "benchmarks.data_parallel", "--rows", str(rows), "--epochs", str(epochs)]
    if name == PYTORCH:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = str(probe.getsockname()[1])
        jobs = [[*program, "--pytorch", str(rank), "--port", port] for rank in (0, 1)]
        threads = 1
    else:
        ranks, threads, shards = JOBS[name]
        launcher = [] if ranks == 1 else [mpiexec(), "-n", str(ranks)]
        jobs = [[*launcher, *program, "--shards", str(shards)]]
    environment = os.environ | {"MLP_NUM_THREADS": str(threads), "OMP_NUM_THREADS": str(threads)}
    processes = [subprocess.Popen(job, stdout=subprocess.PIPE, env=environment, text=True) for job in jobs]
    outputs = [process.communicate()[0] for process in processes]
    if any(process.returncode for process in processes):
        sys.exit(f"the job {name!r} has failed")
    return float(outputs[0])


def mpiexec() -> str:
    """The path of the launcher."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    return shutil.which("mpiexec", path=path) or sys.exit("mpiexec is missing: pip install 'mlp-xp[mpi]'")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=32 * BATCH)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--json", metavar="FILE", help="write the speeds of all rounds, and the machine")
    # what the jobs are started with
    parser.add_argument("--shards", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--pytorch", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.shards:
        return train(options.rows, options.epochs, options.shards)
    if options.pytorch is not None:
        return train_in_pytorch(options.pytorch, options.rows, options.epochs, options.port)
    names = [*JOBS, *([PYTORCH] if importlib.util.find_spec("torch") else [])]
    speeds: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(options.rounds):
        for name in names:
            speeds[name].append(speed(name, options.rows, options.epochs))
    medians = {name: statistics.median(values) for name, values in speeds.items()}
    print(f"{'-'.join(map(str, SIZES))}, batches of {BATCH}, rows per second: median of {options.rounds}, and range")
    for name, median in medians.items():
        ratios = [
            f"{median / medians[other]:.2f} of {other.split(',')[0]}"
            for other in (names[0], PYTORCH)
            if other in medians
        ]
        print(f"{name:<38} {median:9,.0f}  ({min(speeds[name]):,.0f} to {max(speeds[name]):,.0f})  {'; '.join(ratios)}")
    if options.json:
        from mlp.io import machine_info

        record = {
            "sizes": SIZES, "batch": BATCH, "rows": "MNIST" if os.environ.get("MLP_DATA") else "random bytes",
            "rows_per_second": speeds, "jobs": JOBS,
            "machine": machine_info.describe(), "versions": machine_info.versions(),
        }  # fmt: skip
        Path(options.json).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return None


if __name__ == "__main__":
    main()
