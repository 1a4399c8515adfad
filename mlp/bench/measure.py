"""The measurement: implementations take turns, so that other load on the machine affects all of them equally."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlp._backends import MLPError
from mlp.bench.cases import Case
from mlp.bench.entries import Entry, Result, failure
from mlp.bench.first_use import measure_first_use
from mlp.bench.gpu_costs import measure_products, measure_transfer
from mlp.bench.implementations import Implementation, Selection
from mlp.bench.machine import about_machine, wait_until_idle
from mlp.bench.results import Report, roof_name
from mlp.bench.roofs import backend_on, higher_roof, measure_roof
from mlp.io import machine_info

CHECKED_EPOCHS = 3
"""Number of epochs whose losses are compared with ours."""

TOLERANCE = {"float32": 1e-3, "tf32": 1e-2}
"""Relative tolerance of the losses by precision; rounding errors are smaller after so few epochs."""

MIN_SECONDS = {"CPU": 0.05, "GPU": 0.3}
"""Approximate minimum duration of a measurement; shorter epochs are repeated.  Before its first epoch, a training on a
GPU makes its buffers and graphs, which no longer matters in a training of many epochs."""

ONE_THREAD_WORK = 1e9
"""Operations of a step from which on several threads are faster without doubt, and one is not tried."""

LONG_EPOCH = 0.1
"""Seconds of an epoch for which no warm-up epoch is needed."""

OnStep = Callable[[str], object]
OnReport = Callable[[Report], object]


def measure(
    cases: Sequence[Case],
    selection: Selection,
    *,
    rounds: int = 7,
    matrix: int = 4096,
    first_use: bool = False,
    max_seconds: float = math.inf,
    on_step: OnStep = lambda description: None,
    on_result: OnReport = lambda report: None,
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
    first_use : bool
        Also measure the first use of our backends on each network, in new processes.
    max_seconds : float
        After this time no further case begins; the report names those left out.
    on_step : callable (str), optional
        Called `progress_steps` times, with a description of the next step.
    on_result : callable (Report), optional
        Called after each case with the report so far.

    Returns
    -------
    Report
    """
    deadline = time.monotonic() + max_seconds
    devices = sorted({implementation.device for implementation in selection.implementations})
    precisions = {case.precision for case in cases}
    precision = precisions.pop() if len(precisions) == 1 else "float32"
    on_step("peak")
    places = [(device, threads) for device in devices for threads in sorted(_thread_numbers(cases, device))]
    roofs = {
        roof_name(device, threads): roof
        for device, threads in places
        if (roof := measure_roof(device, matrix, precision, threads or None)) is not None
    }
    report = Report([], dict(selection.missing), roofs, about_machine())
    for case in cases:
        if time.monotonic() > deadline:
            report.skipped.append(str(case))
            continue
        report.results.append(_measure_case(case, selection.implementations, rounds, on_step, report.missing))
        on_result(report)
    on_step("peak")
    for device, threads in places:
        if (name := roof_name(device, threads)) in roofs:
            roofs[name] = higher_roof(roofs[name], measure_roof(device, matrix, precision, threads or None))
    if first_use:
        for name, case in _first_uses(cases, selection):
            on_step(f"first use of {name}")
            if time.monotonic() > deadline:
                report.skipped.append(f"first use of {name}, {case}")
                continue
            try:
                report.first_uses.append(measure_first_use(name, case))
            except MLPError as error:
                report.missing[f"first use of {name} ({case})"] = str(error)
    return report


def progress_steps(cases: Sequence[Case], selection: Selection, rounds: int, first_use: bool = False) -> int:
    """Return how often `measure` calls `on_step`, if the time suffices for all cases."""
    steps = 2 + len(cases) * len(selection.implementations) * (1 + rounds)
    return steps + (len(_first_uses(cases, selection)) if first_use else 0)


def _first_uses(cases: Sequence[Case], selection: Selection) -> list[tuple[str, Case]]:
    """Return each of our backends with the first case of each network."""
    first = {(case.net, case.optimizer): case for case in reversed(cases)}
    ours = [implementation.name for implementation in selection.implementations if implementation.ours]
    return [(name, case) for case in reversed(first.values()) for name in ours]


def _thread_numbers(cases: Sequence[Case], device: str) -> set[int]:
    """Return the numbers of threads of the cases on a device; 0 is that of the machine."""
    return {case.threads or 0 for case in cases} if device == "cpu" else {0}


# -- a case --------------------------------------------------------------------------------------------


def _measure_case(
    case: Case, implementations: Sequence[Implementation], rounds: int, on_step: OnStep, missing: dict[str, str]
) -> Result:
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
    result = Result(case, [runner.entry for runner in runners], zeros=float(np.mean(X == 0)))
    for device in sorted({implementation.device for implementation in implementations} - {"cpu"}):
        xp = backend_on(device)
        if xp is None:
            continue
        try:
            result.transfers[device] = measure_transfer(xp, X, y)
            result.products[device] = measure_products(case, xp)
        except Exception as error:  # the times of the trainings are worth more than these
            missing[f"transfer or products alone on {device} ({case})"] = f"{type(error).__name__}: {error}"
    return result


class _Runner:
    """Runs an implementation on a case."""

    def __init__(self, implementation: Implementation, case: Case) -> None:
        self.implementation, self.case = implementation, case
        self.entry = Entry(implementation.name, implementation.ours, implementation.device)
        self.epochs: Callable[[int], float] | None = None
        self.epoch_seconds = 0.0

    def warm_up(self, X: NDArray[Any], y: NDArray[Any]) -> None:
        """Build, compile, run the epochs whose losses are checked, and choose the number of threads."""
        entry, implementation, case = self.entry, self.implementation, self.case
        entry.note = self._why_skipped()
        if entry.note:
            return
        if entry.place == "CPU":
            entry.threads = case.threads
        try:
            with self._limit(entry.threads):
                first, later = self._first_epochs(X, y)
        except Exception as error:
            if implementation.ours:
                raise
            entry.note = failure(error)
            return
        self.epoch_seconds = later
        entry.startup = max(first - later, 0.0)
        if implementation.limit_threads and entry.threads is None and not entry.ours:
            entry.threads = machine_info.usable_processors()
            step_work = case.flops * case.batch_size
            if step_work < ONE_THREAD_WORK and self._time(1) < self._time(entry.threads):
                entry.threads = 1

    def _why_skipped(self) -> str:
        """Return why this case is not measured, or ""."""
        implementation, case = self.implementation, self.case
        for limit, value, unit in (
            (implementation.max_parameters, case.n_parameters, "parameters"),
            (implementation.max_rows, case.rows, "rows in an epoch"),
        ):
            if value > limit:
                return f"skipped: it takes minutes on more than {limit:,.0f} {unit}"
        if case.threads is not None and self.entry.place == "CPU" and implementation.limit_threads is None:
            return "skipped: its number of threads cannot be set"
        return ""

    def _first_epochs(self, X: NDArray[Any], y: NDArray[Any]) -> tuple[float, float]:
        """Run the epochs whose losses are checked; return the seconds of the first with its preparation, and of one."""
        losses = self.entry.losses
        start = time.perf_counter()
        epochs = self.implementation.start(self.case, X, y)
        losses.append(epochs(1))
        first = time.perf_counter() - start
        later = []
        for _ in range(CHECKED_EPOCHS - 1):
            start = time.perf_counter()
            losses.append(epochs(1))
            later.append(time.perf_counter() - start)
        if self.entry.place == "GPU":  # a call takes time beside its epochs, so one epoch says too little
            start = time.perf_counter()
            epochs(CHECKED_EPOCHS)
            later.append((time.perf_counter() - start) / CHECKED_EPOCHS)
        self.epochs = epochs
        return first, min(later)

    def _limit(self, threads: int | None) -> contextlib.AbstractContextManager[object]:
        """Return the context with so many threads; None means that the implementation chooses."""
        limit = self.implementation.limit_threads
        return contextlib.nullcontext() if limit is None or threads is None else limit(threads)

    def check(self, reference: Sequence[float]) -> None:
        """Set the note of the entry if its losses differ from the reference."""
        tolerance = TOLERANCE[self.case.precision]
        for number, (loss, expected) in enumerate(zip(self.entry.losses, reference, strict=False), start=1):
            if not abs(loss - expected) <= tolerance * abs(expected):
                self.entry.note = f"different loss: {loss:.5g} in epoch {number}, expected {expected:.5g}"
                return

    def run_round(self) -> None:
        """Measure one round."""
        if self.epochs is not None:
            self.entry.seconds.append(self._time(self.entry.threads))

    def _time(self, threads: int | None) -> float:
        """Return the seconds of an epoch, averaged over about `MIN_SECONDS`."""
        assert self.epochs is not None
        with self._limit(threads):
            wait_until_idle()
            number = max(1, round(MIN_SECONDS[self.entry.place] / self.epoch_seconds))
            if self.entry.place == "GPU":
                self.epochs(max(1, number // 3))  # its clock is lower after a pause
            elif self.epoch_seconds < LONG_EPOCH:
                self.epochs(1)  # start the threads and fill the caches
            start = time.perf_counter()
            self.epochs(number)
            return (time.perf_counter() - start) / number
