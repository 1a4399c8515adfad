"""The measurement: contestants take turns, so that what the machine does meanwhile falls on all of them alike."""

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
from mlp.bench.contestants import Contestant, Field
from mlp.bench.peers import Epoch
from mlp.bench.results import Entry, Report, Result, Roof
from mlp.io import machine

CHECKED = 3
"""Epochs whose losses must be those of ours."""

TOLERANCE = 1e-3
"""Relative; rounding alone gives less in so few epochs."""

TURN = 0.05
"""Seconds that a turn takes at least; shorter epochs are repeated."""

SETTLE, PATIENCE = 0.01, 1.0
"""Seconds in which nothing may run before a turn begins, and how long that is waited for."""

LONG = 0.1
"""Seconds of an epoch in which waking up does not show."""

Tick = Callable[[str], object]


def measure(
    cases: Sequence[Case], field: Field, *, rounds: int = 7, matrix: int = 4096, tick: Tick = lambda doing: None
) -> Report:
    """Measure every contestant in every case.

    Parameters
    ----------
    cases : sequence of Case
    field : Field
        At least one of its contestants is ours: the first of them sets the losses that all must come to.
    rounds : int
        Turns of each contestant in each case.
    matrix : int
        Side of the matrices whose product gives the peak.
    tick : function of a text, optional
        Called `ticks` times, with what comes next.

    Returns
    -------
    Report
    """
    devices = sorted({contestant.device for contestant in field.contestants})
    tick("peak")
    before = {device: _roof(device, matrix) for device in devices}
    results = [_measure_case(case, field.contestants, rounds, tick) for case in cases]
    tick("peak")
    after = {device: _roof(device, matrix) for device in devices}
    roofs = {device: _best(first, after[device]) for device, first in before.items() if first is not None}
    return Report(results, dict(field.missing), roofs, _about())


def ticks(cases: Sequence[Case], field: Field, rounds: int) -> int:
    """How often `measure` will call its `tick`."""
    return 2 + len(cases) * len(field.contestants) * (1 + rounds)


# -- a case --------------------------------------------------------------------------------------------


def _measure_case(case: Case, contestants: Sequence[Contestant], rounds: int, tick: Tick) -> Result:
    X, y = case.data()
    runners: list[_Runner] = []
    for contestant in sorted(contestants, key=lambda contestant: not contestant.ours):
        tick(f"{case}: {contestant.name} warms up")
        runner = _Runner(contestant, case)
        runner.warm_up(X, y)
        runner.check(runners[0].entry.losses if runners else runner.entry.losses)
        runners.append(runner)
    for number in range(1, rounds + 1):
        for runner in runners:
            tick(f"{case}: round {number} of {rounds}")
            runner.take_turn()
    return Result(case, [runner.entry for runner in runners])


class _Runner:
    """A contestant at work on a case."""

    def __init__(self, contestant: Contestant, case: Case) -> None:
        self.contestant, self.case = contestant, case
        self.entry = Entry(contestant.name, contestant.ours, contestant.device)
        self.epoch: Epoch | None = None
        self.usual = 0.0

    def warm_up(self, X: NDArray[Any], y: NDArray[Any]) -> None:
        """Build, compile, run the epochs that are checked, and settle on a number of threads."""
        entry, contestant = self.entry, self.contestant
        if self.case.n_parameters > contestant.most_weights:
            entry.note = f"left out: it takes minutes on more than {contestant.most_weights:,.0f} weights"
            return
        try:
            start = time.perf_counter()
            epoch = contestant.prepare(self.case, X, y)
            entry.losses.append(epoch())
            first = time.perf_counter() - start
            usual = []
            for _ in range(CHECKED - 1):
                start = time.perf_counter()
                entry.losses.append(epoch())
                usual.append(time.perf_counter() - start)
        except Exception as error:
            if contestant.ours:
                raise
            entry.note = f"failed: {type(error).__name__}: {' '.join(str(error).split())[:200]}"
            return
        self.epoch = epoch
        self.usual = min(usual)
        entry.startup = max(first - self.usual, 0.0)
        if contestant.limit_threads:
            alone = self._time(1)
            together = self._time(machine.usable_processors())
            entry.threads = 1 if alone < together else machine.usable_processors()

    def check(self, reference: Sequence[float]) -> None:
        """Write down where the losses are not those of the reference."""
        for number, (loss, right) in enumerate(zip(self.entry.losses, reference, strict=False), start=1):
            if not abs(loss - right) <= TOLERANCE * abs(right):
                self.entry.note = f"other work: loss {loss:.5g} in epoch {number}, not {right:.5g}"
                return

    def take_turn(self) -> None:
        """Add a round."""
        if self.epoch is not None:
            self.entry.seconds.append(self._time(self.entry.threads))

    def _time(self, threads: int | None) -> float:
        """Seconds of an epoch, over as many as fill a turn."""
        assert self.epoch is not None
        limit = self.contestant.limit_threads
        with contextlib.nullcontext() if limit is None or threads is None else limit(threads):
            _settle()
            if self.usual < LONG:
                self.epoch()  # wakes its threads and fills the caches
            epochs = max(1, round(TURN / self.usual))
            start = time.perf_counter()
            for _ in range(epochs):
                self.epoch()
            return (time.perf_counter() - start) / epochs


def _settle() -> None:
    """Wait for threads that spin on after the work of the turn before, as those of BLAS libraries do for 0.1 s."""
    deadline = time.perf_counter() + PATIENCE
    while time.perf_counter() < deadline:
        used = time.process_time()
        time.sleep(SETTLE)
        if time.process_time() - used < SETTLE / 10:
            return


# -- what the machine can do ---------------------------------------------------------------------------


def _roof(device: str, side: int) -> Roof | None:
    """The peak of a device by NumPy or by the backend of ours that lives there; None where there is none."""
    names = ["numpy"] if device == "cpu" else available()
    xp = next((xp for xp in map(get_backend, names) if xp.device == device), None)
    if xp is None:
        return None
    a = xp.asarray(np.random.default_rng(0).random((side, side), dtype=np.float32))
    out = xp.empty((side, side), np.float32)
    product = 2.0 * side**3 / _shortest(lambda: xp.matmul(a, a, out=out), xp)
    # larger than any cache; each processor copies a part, as one alone does not fill the memory's bandwidth
    source, target = xp.empty((1 << 26,), np.float32), xp.empty((1 << 26,), np.float32)
    source[...] = 1  # memory that was never written is not there yet
    parts = machine.usable_processors() if device == "cpu" else 1
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


def _best(a: Roof, b: Roof | None) -> Roof:
    if b is None:
        return a
    return Roof(max(a.gflops, b.gflops), max(a.gigabytes_per_second, b.gigabytes_per_second))


def _about() -> dict[str, Any]:
    versions = machine.versions()
    for name in ("torch", "jax", "jaxlib", "scikit-learn"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return {
        "recorded": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": machine.describe() | {"gpus": _gpus()},
        "threads": machine.threads(),
        "versions": versions,
    }


def _gpus() -> list[str]:
    """Their names, as the library that is there gives them."""
    with contextlib.suppress(Exception):
        import cupy

        count = cupy.cuda.runtime.getDeviceCount()
        return [cupy.cuda.runtime.getDeviceProperties(number)["name"].decode() for number in range(count)]
    return []
