"""Training on a stream beside the same training in memory: ``python -m benchmarks.streaming``.

784-128-10 is trained in float32 with SGD and batches of 256, on random bytes in NPY files.  Each training is a new
process; the processes take turns, and the median of each counts.  The file stays in the cache of the operating system,
as one that is read again in each epoch does while there is memory for it.  It needs an idle machine and some minutes.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

SIZES, BATCH = (784, 128, 10), 256
NAMES = ("in memory", "stream")


def write(folder: Path, rows: int) -> None:
    """The files ``X.npy`` and ``y.npy``."""
    rng = np.random.default_rng(0)
    with open(folder / "X.npy", "wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": (rows, SIZES[0])})
        for first in range(0, rows, 10_000):
            file.write(rng.integers(0, 256, (min(10_000, rows - first), SIZES[0]), np.uint8).tobytes())
    np.save(folder / "y.npy", rng.integers(0, SIZES[-1], rows).astype(np.uint8))


def train(name: str, folder: Path, epochs: int) -> None:
    """The job of a process: print rows per second in the fastest epoch, and the peak resident memory in bytes."""
    import mlp

    X, y = folder / "X.npy", folder / "y.npy"
    net = mlp.MLP(SIZES, backend="numba", input_scale=1 / 255)
    rows: tuple[Any, ...]
    if name == "stream":
        rows = (mlp.data.stream(X, target=y, test_fraction=0).train,)
    else:
        rows = (np.load(X), np.load(y).astype(np.int64))
    # a callback, since the time of several epochs in one call would be shared by them
    history = net.fit(*rows, epochs=epochs, batch_size=BATCH, optimizer=mlp.SGD(0.01), callbacks=[lambda run: None])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    print(json.dumps({"rows_per_second": max(history.samples_per_second), "peak_resident_bytes": peak}))


def measure(name: str, folder: Path, epochs: int) -> dict[str, float]:
    """Start a process and return what it prints."""
    program = [sys.executable, "-m", "benchmarks.streaming", "--epochs", str(epochs), "--job", name, str(folder)]
    result: dict[str, float] = json.loads(subprocess.run(program, stdout=subprocess.PIPE, check=True).stdout)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--output", type=Path, help="write the record to this JSON file")
    parser.add_argument("--job", nargs=2, help=argparse.SUPPRESS)  # what a process is started with
    options = parser.parse_args()
    if options.job:
        return train(options.job[0], Path(options.job[1]), options.epochs)

    from mlp.io import machine_info

    found: dict[str, list[dict[str, float]]] = {name: [] for name in NAMES}
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), options.rows)
        measure("stream", Path(folder), 1)  # compiles, and brings the file to the cache of the operating system
        for turn in range(options.rounds):
            for name in NAMES if turn % 2 else NAMES[::-1]:
                found[name].append(measure(name, Path(folder), options.epochs))
    medians = {
        name: {key: statistics.median(one[key] for one in results) for key in results[0]}
        for name, results in found.items()
    }
    ratio = medians["stream"]["rows_per_second"] / medians["in memory"]["rows_per_second"]
    print(
        f"{'-'.join(map(str, SIZES))}, batches of {BATCH}, {options.rows:,} rows of bytes: median of {options.rounds}"
    )
    for name, results in found.items():
        speeds = [one["rows_per_second"] for one in results]
        print(
            f"{name:<10} {medians[name]['rows_per_second']:11,.0f} rows/s  ({min(speeds):,.0f} to {max(speeds):,.0f}), "
            f"at most {medians[name]['peak_resident_bytes'] / 1e6:,.0f} MB resident"
        )
    print(f"the stream has {ratio:.0%} of the speed in memory")
    if options.output:
        record = {
            "sizes": SIZES, "batch_size": BATCH, "rows": options.rows, "epochs": options.epochs, "ratio": ratio,
            "medians": medians, "results": found, "machine": machine_info.describe(), "threads": machine_info.threads(),
            "versions": machine_info.versions(),
        }  # fmt: skip
        options.output.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return None


if __name__ == "__main__":
    main()
