"""How much longer a training takes with a checkpoint every second: ``python benchmarks/checkpoint_cost.py``.

Trainings with and without checkpoints take turns; the result is the median of the ratios of their times.  It needs an
idle machine and some minutes.
"""

from __future__ import annotations

import statistics
import tempfile

import numpy as np

import mlp

ROWS, ROUNDS = 30_000, 5
NETWORKS = {"784-128-10": ([784, 128, 10], 60), "784-1024-256-10": ([784, 1024, 256, 10], 14)}
"""The widths, and a number of epochs that takes some ten seconds."""


def seconds(sizes: list[int], epochs: int, every: str | None) -> float:
    """Time of a training, without the validation and what comes before the first update."""
    rng = np.random.default_rng(0)
    X, y = rng.random((ROWS, sizes[0]), dtype=np.float32), rng.integers(0, sizes[-1], ROWS)
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = None if every is None else mlp.Checkpoint(folder, every)
        net = mlp.MLP(sizes, backend="numba")
        history = net.fit(X, y, epochs=epochs, batch_size=128, optimizer=mlp.Adam(1e-4), checkpoint=checkpoint)
    return sum(history.seconds)


def main() -> None:
    for name, (sizes, epochs) in NETWORKS.items():
        seconds(sizes, 1, None)  # compiles
        ratios = []
        for turn in range(ROUNDS):
            order = (None, "1s") if turn % 2 else ("1s", None)
            times = {every: seconds(sizes, epochs, every) for every in order}
            ratios.append(times["1s"] / times[None])
        print(f"{name}, Adam: {statistics.median(ratios):.3f}  ({min(ratios):.3f} to {max(ratios):.3f})", flush=True)


if __name__ == "__main__":
    main()
