"""The measurement: implementations take turns, so that other load on the machine affects all of them equally."""

from __future__ import annotations

import contextlib
import datetime
import importlib.metadata
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlp._backends import available, get_backend
from mlp.bench.cases import Case
from mlp.bench.implementations import Implementation, Selection
from mlp.bench.peers import Epoch
from mlp.bench.results import Entry, Report, Result, Roof
from mlp.io import machine_info

CHECKED_EPOCHS = 3
"""Number of epochs whose losses are compared with ours."""

TOLERANCE = 1e-3
"""Relative tolerance of the losses; rounding errors are smaller after so few epochs."""

MIN_SECONDS = 0.05
"""Approximate minimum duration of a measurement; shorter epochs are repeated."""

IDLE_CHECK, MAX_WAIT = 0.01, 1.0
"""Seconds for which the process must be idle before a measurement, and the longest wait for that."""

LONG_EPOCH = 0.1
"""Seconds of an epoch for which no warm-up epoch is needed."""

OnStep = Callable[[str], object]


def measure(
    cases: Sequence[Case],
    selection: Selection,
    *,
    rounds: int = 7,
    matrix: int = 4096,
    on_step: OnStep = lambda description: None,
) -> Report:
    """Measure every implementation in every case.

    Parameters
    ----------
    cases : sequence of Case
    selection : Selection
        At least one implementation must be ours; the losses of the first one are the reference.
    rounds : int
        Number of measurements of each implementation in each case.
    matrix : int
        Number of rows and columns of the matrices for measuring the peak.
    on_step : callable (str), optional
        Called `progress_steps` times, with a description of the next step.

    Returns
    -------
    Report
    """
    devices = sorted({implementation.device for implementation in selection.implementations})
    on_step("peak")
    before = {device: _roof(device, matrix) for device in devices}
    results = [_measure_case(case, selection.implementations, rounds, on_step) for case in cases]
    on_step("peak")
    after = {device: _roof(device, matrix) for device in devices}
    roofs = {device: _max_roof(first, after[device]) for device, first in before.items() if first is not None}
    return Report(results, dict(selection.missing), roofs, _about())


def progress_steps(cases: Sequence[Case], selection: Selection, rounds: int) -> int:
    """Return how often `measure` calls `on_step`."""
    return 2 + len(cases) * len(selection.implementations) * (1 + rounds)


# -- a case --------------------------------------------------------------------------------------------


def _measure_case(case: Case, implementations: Sequence[Implementation], rounds: int, on_step: OnStep) -> Result:
    X, y = case.data()
    runners: list[_Runner] = []
    for implementation in sorted(implementations, key=lambda implementation: not implementation.ours):
        on_step(f"{case}: warm-up of {implementation.name}")
        runner = _Runner(implementation, case)
        runner.warm_up(X, y)
        runner.check(runners[0].entry.losses if runners else runner.entry.losses)
        runners.append(runner)
    for number in range(1, rounds + 1):
        for runner in runners:
            on_step(f"{case}: round {number} of {rounds}")
            runner.run_round()
    return Result(case, [runner.entry for runner in runners])


class _Runner:
    """Runs an implementation on a case."""

    def __init__(self, implementation: Implementation, case: Case) -> None:
        self.implementation, self.case = implementation, case
        self.entry = Entry(implementation.name, implementation.ours, implementation.device)
        self.epoch: Epoch | None = None
        self.epoch_seconds = 0.0

    def warm_up(self, X: NDArray[Any], y: NDArray[Any]) -> None:
        """Build, compile, run the epochs whose losses are checked, and choose the number of threads."""
        entry, implementation = self.entry, self.implementation
        if self.case.n_parameters > implementation.max_parameters:
            entry.note = f"skipped: it takes minutes on more than {implementation.max_parameters:,.0f} parameters"
            return
        try:
            start = time.perf_counter()
            epoch = implementation.prepare(self.case, X, y)
            entry.losses.append(epoch())
            first = time.perf_counter() - start
            later = []
            for _ in range(CHECKED_EPOCHS - 1):
                start = time.perf_counter()
                entry.losses.append(epoch())
                later.append(time.perf_counter() - start)
        except Exception as error:
            if implementation.ours:
                raise
            entry.note = f"failed: {type(error).__name__}: {' '.join(str(error).split())[:200]}"
            return
        self.epoch = epoch
        self.epoch_seconds = min(later)
        entry.startup = max(first - self.epoch_seconds, 0.0)
        if implementation.limit_threads:
            one_thread = self._time(1)
            all_threads = self._time(machine_info.usable_processors())
            entry.threads = 1 if one_thread < all_threads else machine_info.usable_processors()

    def check(self, reference: Sequence[float]) -> None:
        """Set the note of the entry if its losses differ from the reference."""
        for number, (loss, expected) in enumerate(zip(self.entry.losses, reference, strict=False), start=1):
            if not abs(loss - expected) <= TOLERANCE * abs(expected):
                self.entry.note = f"different loss: {loss:.5g} in epoch {number}, expected {expected:.5g}"
                return

    def run_round(self) -> None:
        """Measure one round."""
        if self.epoch is not None:
            self.entry.seconds.append(self._time(self.entry.threads))

    def _time(self, threads: int | None) -> float:
        """Return the seconds of an epoch, averaged over about `MIN_SECONDS`."""
        assert self.epoch is not None
        limit = self.implementation.limit_threads
        with contextlib.nullcontext() if limit is None or threads is None else limit(threads):
            _wait_until_idle()
            if self.epoch_seconds < LONG_EPOCH:
                self.epoch()  # start the threads and fill the caches
            epochs = max(1, round(MIN_SECONDS / self.epoch_seconds))
            start = time.perf_counter()
            for _ in range(epochs):
                self.epoch()
            return (time.perf_counter() - start) / epochs


def _wait_until_idle() -> None:
    """Wait for threads of the previous measurement; those of BLAS libraries are busy for 0.1 s after the last call."""
    deadline = time.perf_counter() + MAX_WAIT
    while time.perf_counter() < deadline:
        used = time.process_time()
        time.sleep(IDLE_CHECK)
        if time.process_time() - used < IDLE_CHECK / 10:
            return


# -- the roofline of a device --------------------------------------------------------------------------


def _roof(device: str, side: int) -> Roof | None:
    """Measure the peak of a device with the backend for it; None if there is no such backend."""
    names = ["numpy"] if device == "cpu" else available()
    xp = next((xp for xp in map(get_backend, names) if xp.device == device), None)
    if xp is None:
        return None
    a = xp.asarray(np.random.default_rng(0).random((side, side), dtype=np.float32))
    out = xp.empty((side, side), np.float32)
    product = 2.0 * side**3 / _shortest(lambda: xp.matmul(a, a, out=out), xp)
    # larger than any cache; each processor copies a part, because one processor cannot use the full bandwidth
    source, target = xp.empty((1 << 26,), np.float32), xp.empty((1 << 26,), np.float32)
    source[...] = 1  # the system allocates pages at the first write
    parts = machine_info.usable_processors() if device == "cpu" else 1
    cuts = np.linspace(0, 1 << 26, parts + 1).astype(int)

    def copy(part: int) -> None:
        chunk = slice(cuts[part], cuts[part + 1])
        target[chunk] = source[chunk]

    with ThreadPoolExecutor(parts) as pool:
        copied = 2.0 * source.nbytes / _shortest(lambda: list(pool.map(copy, range(parts))), xp)
    return Roof(product / 1e9, copied / 1e9)


def _shortest(work: Callable[[], object], xp: Any, times: int = 4) -> float:
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        xp.synchronize()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def _max_roof(a: Roof, b: Roof | None) -> Roof:
    if b is None:
        return a
    return Roof(max(a.gflops, b.gflops), max(a.gigabytes_per_second, b.gigabytes_per_second))


def _about() -> dict[str, Any]:
    versions = machine_info.versions()
    for name in ("torch", "jax", "jaxlib", "scikit-learn"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return {
        "recorded": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": machine_info.describe() | {"gpus": _gpus()},
        "threads": machine_info.threads(),
        "versions": versions,
    }


def _gpus() -> list[str]:
    """Return the names of the GPUs, or an empty list."""
    with contextlib.suppress(Exception):
        import cupy

        count = cupy.cuda.runtime.getDeviceCount()
        return [cupy.cuda.runtime.getDeviceProperties(number)["name"].decode() for number in range(count)]
    return []
