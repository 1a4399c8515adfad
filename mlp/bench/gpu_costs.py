"""What belongs beside a training time on a GPU: the copy of the data, and the matrix products of a step alone."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlp.bench.cases import Case
from mlp.bench.entries import Transfer

TIMES = 5
"""Number of measurements, of which the median counts."""

MAX_CALLS = 256
"""Products that are queued at once; a queue of about a thousand is full, and then the host would have to wait."""

BLOCKER = 4096
"""Rows and columns of the product that keeps the GPU busy while the host fills the queue: some milliseconds."""


def measure_transfer(xp: Any, X: NDArray[Any], y: NDArray[Any]) -> Transfer:
    """Measure the copy of X and y to the device of the backend `xp`, from ordinary (pageable) memory."""

    def copy() -> float:
        start = time.perf_counter()
        copies = [xp.asarray(X), xp.asarray(y)]
        xp.synchronize()
        seconds = time.perf_counter() - start
        del copies
        return seconds

    copy()  # allocates the memory on the device
    return Transfer(statistics.median(copy() for _ in range(TIMES)), X.nbytes + y.nbytes)


def step_products(case: Case, xp: Any) -> list[Callable[[], object]]:
    """Return the matrix products of a step in their order, as functions: forward, then the gradients of each layer.

    The operands are random, and as many as in a step, so that the caches hold what they hold in a training.
    """
    rng = np.random.default_rng(0)
    dot = xp.namespace.dot

    def random(*shape: int) -> Any:
        return xp.asarray(rng.standard_normal(shape, dtype=np.float32))

    rows, layers = case.batch_size, list(pairwise(case.sizes))
    inputs = [random(rows, n_in) for n_in, _ in layers]
    deltas = [random(rows, n_out) for _, n_out in layers]
    weights = [random(*shape) for shape in layers]

    def product(a: Any, b: Any) -> Callable[[], object]:
        return partial(dot, a, b, out=xp.empty((a.shape[0], b.shape[1]), np.float32))

    calls = [product(x, W) for x, W in zip(inputs, weights, strict=True)]
    for number in reversed(range(len(layers))):
        calls.append(product(inputs[number].T, deltas[number]))
        if number:
            calls.append(product(deltas[number], weights[number].T))
    return calls


def measure_products(case: Case, xp: Any) -> float:
    """Return the seconds of the matrix products of a step alone, in the precision of the case."""
    calls = step_products(case, xp)
    with compute_type(xp, case.precision):
        for call in calls * 2:
            call()
        xp.synchronize()
        return _seconds_on_cpu(calls) if xp.device == "cpu" else _seconds_on_gpu(calls, xp)


@contextlib.contextmanager
def compute_type(xp: Any, precision: str) -> Iterator[None]:
    """Set the precision of CuPy's products of float32 matrices; other namespaces have no such setting."""
    if xp.device == "cpu":
        yield
        return
    from cupy import _core
    from cupy._core import _routines_linalg as linalg

    before = _core.get_compute_type(np.float32)
    kind = linalg.COMPUTE_TYPE_TF32 if precision == "tf32" else linalg.COMPUTE_TYPE_DEFAULT
    _core.set_compute_type(np.float32, kind)
    try:
        yield
    finally:
        _core.set_compute_type(np.float32, before)


def _seconds_on_cpu(calls: Sequence[Callable[[], object]]) -> float:
    def once() -> float:
        start = time.perf_counter()
        for call in calls:
            call()
        return time.perf_counter() - start

    return statistics.median(once() for _ in range(TIMES))


def _seconds_on_gpu(calls: Sequence[Callable[[], object]], xp: Any) -> float:
    """Return the seconds between two events around several repetitions.

    The host needs longer to start a small product than the GPU needs for it.  A few large products come first, so that
    the whole queue is filled before the first event occurs, and the GPU never waits for the host in between.
    """
    events = xp.namespace.cuda.Event
    repetitions = max(1, MAX_CALLS // len(calls))

    def queue() -> None:
        for _ in range(repetitions):
            for call in calls:
                call()

    side = xp.asarray(np.random.default_rng(1).random((BLOCKER, BLOCKER), dtype=np.float32))
    block = partial(xp.namespace.dot, side, side, out=xp.empty(side.shape, np.float32))

    def between(work: Callable[[], object]) -> float:
        first, last = events(), events()
        first.record()
        work()
        last.record()
        last.synchronize()
        milliseconds: float = xp.namespace.cuda.get_elapsed_time(first, last)
        return milliseconds / 1000

    block()
    blocked = min(between(block) for _ in range(3))
    start = time.perf_counter()
    queue()
    to_queue = time.perf_counter() - start
    xp.synchronize()
    seconds = []
    for _ in range(TIMES):
        for _ in range(int(to_queue / blocked) + 2):
            block()
        seconds.append(between(queue) / repetitions)
    return statistics.median(seconds)
