"""The first training of a backend in a new process: with empty caches, and with what the first process left there.

The new process calls `main`, which reads its task from stdin and writes its times to stdout.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time

from mlp._backends import MLPError
from mlp.bench.cases import Case
from mlp.bench.entries import FirstUse, Start

CACHES = {
    "MLP_CACHE_DIR": "mlp",
    "CUPY_CACHE_DIR": "cupy",
    "CUDA_CACHE_PATH": "cuda",
    "TORCHINDUCTOR_CACHE_DIR": "inductor",
    "TRITON_CACHE_DIR": "triton",
}
"""The variables that name the folders of compiled kernels, and the folders used instead."""


def measure_first_use(name: str, case: Case, limit: float = 300.0) -> FirstUse:
    """Measure the first use of an implementation in two new processes, which share caches that are empty at first.

    Parameters
    ----------
    name : str
        Of one of our backends (``"mlp numba"``) or of a peer.
    case : Case
    limit : float
        Seconds after which a process is ended.

    Raises
    ------
    MLPError
        If a process fails.
    """
    with tempfile.TemporaryDirectory(prefix="mlp-bench-") as folder:
        environment = os.environ | {variable: os.path.join(folder, part) for variable, part in CACHES.items()}
        empty, warm = (_run(name, case, environment, limit) for _ in range(2))
    return FirstUse(name, str(case), empty, warm)


def _run(name: str, case: Case, environment: dict[str, str], limit: float) -> Start:
    command = [sys.executable, "-c", "from mlp.bench.first_use import main; main()"]
    task = json.dumps({"name": name, "case": vars(case), "started": time.time()})
    try:
        done = subprocess.run(
            command, input=task, env=environment, capture_output=True, text=True, timeout=limit, check=True
        )
    except subprocess.TimeoutExpired:
        raise MLPError(f"the first use of {name} took longer than {limit:.0f} s") from None
    except subprocess.CalledProcessError as error:
        last = (error.stderr.strip().splitlines() or [f"status {error.returncode}"])[-1]
        raise MLPError(f"the first use of {name} failed: {last}") from None
    return Start(**json.loads(done.stdout.strip().splitlines()[-1]))


def run_task(name: str, case: Case, started: float) -> dict[str, float]:
    """Train for two epochs, and return the times; `started` is the time of day when the process began."""
    from mlp.bench.implementations import find_implementations

    backend = name.removeprefix("mlp ")
    selection = find_implementations([backend], []) if backend != name else find_implementations([], [name])
    if not selection.implementations:
        raise MLPError("; ".join(selection.missing.values()))
    imported = time.time() - started
    X, y = case.data()
    start = time.perf_counter()
    epochs = selection.implementations[0].start(case, X, y)
    epochs(1)
    first = time.perf_counter() - start
    start = time.perf_counter()
    epochs(1)
    epoch = time.perf_counter() - start
    return {"total": imported + first, "preparation": max(first - epoch, 0.0), "epoch": epoch}


def main() -> None:
    """Run the task on stdin."""
    given = json.loads(sys.stdin.read())
    print(json.dumps(run_task(given["name"], Case(**given["case"]), given["started"])))
