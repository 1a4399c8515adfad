"""A training under ``mpiexec`` in which something goes wrong with one rank.

mpiexec -n 2 python tests/rank_failures.py raise 1
"""

from __future__ import annotations

import os
import signal
import sys
import time

import numpy as np

kind, failing = sys.argv[1], int(sys.argv[2])
if kind == "no mpi4py":
    sys.modules["mpi4py"] = None  # type: ignore[assignment]

import mlp  # noqa: E402

comm = mlp.distributed.mpi(timeout=3)
X = np.random.default_rng(0).normal(size=(64, 8))
y = (X[:, 0] > 0).astype(int)


def fail() -> None:
    if kind == "raise":
        raise ValueError("a mistake of this rank")
    if kind == "exit":
        sys.exit(0)
    if kind == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if kind == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)
    if kind == "one Ctrl-C":
        os.kill(os.getpid(), signal.SIGINT)
    if kind == "two Ctrl-C":
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)


class Failure(mlp.Callback):
    def on_batch_end(self, run: mlp.Run, batch: int, loss: float) -> None:
        if run.epoch == 1 and batch == 2:
            if comm.rank == 0:
                print(f"{time.time()} begins", flush=True)
            if comm.rank == failing:
                fail()


net = mlp.MLP([8, 16, 2], backend="numpy")
comm.agree(0)  # all ranks have loaded what they need: their start is not part of the time in which the job ends
if comm.rank == failing:
    if kind == "before":
        print(f"{time.time()} begins", flush=True)
        raise KeyError("before the training")
    if kind == "leaves early":
        print(f"{time.time()} begins", flush=True)
        sys.exit(0)
epochs = 2 if kind == "fewer epochs" and comm.rank == failing else 4
try:
    net.fit(X, y, epochs=epochs, batch_size=16, shards=4, comm=comm, callbacks=[Failure()])
finally:
    if kind == "slow end" and comm.rank == failing:
        time.sleep(1.5)
print(f"{time.time()} rank {comm.rank} of {comm.size}: {net.history.stop_reason}", flush=True)
