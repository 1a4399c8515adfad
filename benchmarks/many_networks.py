"""`fit_many` compared with a loop over `fit`: ``python benchmarks/many_networks.py --backend numba``.

Both train the same networks on the same rows, and take turns; the result is the median of the ratios of their times.
The weights must have the same bits.  It needs an idle machine and some minutes.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

import mlp

CASES = (([784, 30, 10], 10), ([784, 30, 10], 32), ([784, 128, 10], 16), ([784, 128, 10], 128), ([784, 512, 10], 32))
"""Widths and batch sizes."""


def prepare(sizes: list[int], count: int, backend: str) -> tuple[list[mlp.MLP], list[mlp.SGD]]:
    """Networks with different seeds, and learning rates for them."""
    nets = [mlp.MLP(sizes, seed=seed, backend=backend) for seed in range(count)]
    return nets, [mlp.SGD(0.01 * (1 + i % 5)) for i in range(count)]


def train_together(
    sizes: list[int],
    batch_size: int,
    count: int,
    backend: str,
    epochs: int,
    X: NDArray[np.float32],
    y: NDArray[np.int64],
) -> list[mlp.MLP]:
    """One call of `fit_many` for the folds of a cross-validation."""
    nets, optimizers = prepare(sizes, count, backend)
    mlp.fit_many(
        nets, X, y, rows=rows_of(count, len(X)), epochs=epochs, batch_size=batch_size, optimizer=list(optimizers)
    )
    return nets


def train_alone(
    sizes: list[int],
    batch_size: int,
    count: int,
    backend: str,
    epochs: int,
    X: NDArray[np.float32],
    y: NDArray[np.int64],
) -> list[mlp.MLP]:
    """The same with a call of `fit` for each."""
    nets, optimizers = prepare(sizes, count, backend)
    for net, optimizer, rows in zip(nets, optimizers, rows_of(count, len(X)), strict=True):
        net.fit(X[rows], y[rows], epochs=epochs, batch_size=batch_size, optimizer=optimizer)
    return nets


def rows_of(count: int, n: int) -> list[NDArray[np.int64]]:
    """Row numbers without those of one of five folds, for each network."""
    return [np.flatnonzero(np.arange(n) % 5 != i % 5) for i in range(count)]


def seconds(function: Callable[..., list[mlp.MLP]], *arguments: object) -> tuple[float, list[mlp.MLP]]:
    """Time of a call, and its networks."""
    start = time.perf_counter()
    nets = function(*arguments)
    return time.perf_counter() - start, nets


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--backend", default="numba", help="numba, numpy or cupy (default: numba)")
    parser.add_argument("--execution", help="of the backend cupy, such as persistent")
    parser.add_argument("--networks", type=int, default=20, help="number of networks (default: 20)")
    parser.add_argument("--rows", type=int, default=10_000, help="number of rows (default: 10000)")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    choices = parser.parse_args()
    if choices.execution:
        import backends

        backends.get_backend(choices.backend).execution = choices.execution  # type: ignore[attr-defined]
    rng = np.random.default_rng(0)
    X, y = rng.random((choices.rows, 784), dtype=np.float32), rng.integers(0, 10, choices.rows)
    print(f"{choices.networks} networks, {choices.rows} rows, {choices.epochs} epochs, backend {choices.backend}")
    for sizes, batch_size in CASES:
        arguments = sizes, batch_size, choices.networks, choices.backend, choices.epochs, X, y
        for function in (train_alone, train_together):
            function(*arguments[:2], 2, choices.backend, 1, X[: 5 * batch_size], y[: 5 * batch_size])  # compiles
        ratios, times = [], []
        for turn in range(choices.rounds):
            order = (train_alone, train_together) if turn % 2 else (train_together, train_alone)
            found = {function: seconds(function, *arguments) for function in order}
            (alone, one_by_one), (together, at_once) = found[train_alone], found[train_together]
            for net, other in zip(one_by_one, at_once, strict=True):
                if not all(map(np.array_equal, net.weights, other.weights)):
                    raise SystemExit(f"{sizes}: the weights differ from those of a loop over fit.")
            ratios.append(alone / together)
            times.append(together)
        name = "-".join(map(str, sizes))
        print(
            f"{name}, batches of {batch_size}: {statistics.median(times):.2f} s, a loop over fit takes "
            f"{statistics.median(ratios):.2f} times as long  ({min(ratios):.2f} to {max(ratios):.2f})",
            flush=True,
        )


if __name__ == "__main__":
    main()
