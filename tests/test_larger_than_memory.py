"""Data that do not fit in the memory of the process: the whole command, under a limit on its address space.

``MLP_LARGE_DATA=6000000000`` makes it 6 GB under 1.2 GB; then it takes minutes, and 6 GB of disk.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

if not sys.platform.startswith("linux"):
    pytest.skip("limits of the address space are Linux's", allow_module_level=True)

ROOT = Path(__file__).resolve().parents[1]
LARGE = int(os.environ.get("MLP_LARGE_DATA", "0"))
WIDTH = 784 if LARGE else 4000  # fewer rows take less time
BYTES = LARGE or 350_000_000
ROOM = 120_000_000
"""Bytes that the data may need more than data of a few megabytes do: some windows of 32 MiB."""

FIXED_LIMIT = 1_200_000 * 1024
"""The limit for the large data: that of ``ulimit -v 1200000``."""

MOST_RESIDENT = 400_000_000
"""Bytes of physical memory that the large data may need."""

PROGRAM = """
import atexit, resource, sys
limit = int(sys.argv.pop(1))
if limit:
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

def report():
    lines = dict(line.split(":", 1) for line in open("/proc/self/status"))
    print(*(int(lines[name].split()[0]) * 1024 for name in ("VmPeak", "VmHWM")), file=sys.stderr)

atexit.register(report)
from mlp.cli import main
main()
"""


def mlp_under(limit: int, *arguments: str) -> tuple[subprocess.CompletedProcess[str], int, int]:
    """Run the command; return its output, its largest address space, and its largest resident memory, in bytes."""
    # a number of threads that does not depend on the machine, since each of them has its stack
    threads = dict.fromkeys(("MLP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"), "2")
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(limit), *arguments],
        env=os.environ | {"PYTHONPATH": str(ROOT)} | threads, capture_output=True, text=True, timeout=3600,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    numbers = re.findall(r"\d+", result.stderr.splitlines()[-1])
    return result, *map(int, numbers)


def write(name: str, size: int) -> None:
    """Zeros, which take no place on the disk; the target, in the last column, is 1 in every fiftieth row."""
    n = size // WIDTH
    with open(name, "wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": (n, WIDTH)})
        first = file.tell()
        file.truncate(first + n * WIDTH)
        for row in range(0, n, 50):
            file.seek(first + (row + 1) * WIDTH - 1)
            file.write(b"\1")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for file in tmp_path.glob("*.np*"):
        file.unlink()


def test_train_evaluate_and_predict_need_less_memory_than_the_data(folder: Path) -> None:
    options = ["--hidden", "4", "--epochs", "1", "--batch-size", "512", "--backend", "numba", "--quiet"]
    write("small.npy", 1000 * WIDTH)
    for run in ("first", "second"):  # the first compiles kernels, which takes memory too
        _, least, resident = mlp_under(0, "train", "small.npy", "--stream", *options, "--output-dir", run)
    limit = FIXED_LIMIT if LARGE else least + ROOM
    most_resident = MOST_RESIDENT if LARGE else resident + ROOM
    write("large.npy", BYTES)
    result, space, resident = mlp_under(limit, "train", "large.npy", "--stream", *options, "--output-dir", "run")
    print(f"train: {space / 1e6:.0f} MB of address space, {resident / 1e6:.0f} MB resident, of {limit / 1e6:.0f} MB")
    assert resident <= most_resident
    n = BYTES // WIDTH
    assert json.loads(Path("run", "results.json").read_text())["test"]["rows"] == pytest.approx(0.2 * n, rel=0.1)

    result, space, resident = mlp_under(limit, "evaluate", "run", "large.npy", "--json")
    print(f"evaluate: {space / 1e6:.0f} MB of address space, {resident / 1e6:.0f} MB resident")
    assert resident <= most_resident
    assert json.loads(result.stdout)["score"] > 0.9

    predict = ["predict", "run", "large.npy", "--target", "-1", "--stream", "-o"]
    result, space, resident = mlp_under(limit, *predict, "p.npy")
    print(f"predict: {space / 1e6:.0f} MB of address space, {resident / 1e6:.0f} MB resident")
    assert resident <= most_resident
    assert len(np.load("p.npy")) == n


def test_scores_and_predictions_of_a_table_need_less_memory_than_the_table(folder: Path) -> None:
    polars = pytest.importorskip("polars")
    pytest.importorskip("pyarrow")
    rng = np.random.default_rng(0)
    for name, n in (("small", 20_000), ("large", 1_000_000)):
        columns: dict[str, object] = {f"x{i}": rng.integers(0, 1000, n) / 8 for i in range(12)}
        columns |= {"kind": rng.choice(["a", "b", "c"], n), "y": rng.integers(0, 2, n)}
        polars.DataFrame(columns).write_parquet(f"{name}.parquet", row_group_size=20_000)
    options = ["--hidden", "4", "--epochs", "1", "--backend", "numpy", "--quiet"]
    mlp_under(0, "train", "small.parquet", "--target", "y", *options, "--output-dir", "run")
    for command in (["evaluate", "run"], ["predict", "run", "-o", "p.npy"]):
        resident = {}
        for name, way in (("small", "--stream"), ("large", "--stream"), ("large", "--no-stream")):
            Path("p.npy").unlink(missing_ok=True)
            resident[name, way] = mlp_under(0, *command, f"{name}.parquet", way, "--part", "all")[2]
        print(command[0], {key: f"{size / 1e6:.0f} MB" for key, size in resident.items()})
        assert resident["large", "--stream"] <= resident["small", "--stream"] + ROOM
        assert resident["large", "--no-stream"] > resident["small", "--stream"] + ROOM
    for file in folder.glob("*.parquet"):
        file.unlink()
