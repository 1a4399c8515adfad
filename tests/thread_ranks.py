"""Ranks as threads of one process: a communicator whose sums are a few lines, to compare with and without MPI."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from backends import limit_threads


def tree_sum(arrays: list[Any]) -> Any:
    """((0 + 1) + (2 + 3)) + ..."""
    while len(arrays) > 1:
        arrays = [left + right for left, right in zip(arrays[::2], arrays[1::2], strict=True)]
    return arrays[0]


class _Shared:
    def __init__(self, size: int) -> None:
        self.barrier, self.values = threading.Barrier(size, timeout=60), [None] * size


class ThreadCommunicator:
    """The communicator of one thread; all threads of a call of `on_ranks` have one `_Shared`."""

    def __init__(self, rank: int, size: int, shared: _Shared) -> None:
        self.rank, self.size, self._shared, self.step = rank, size, shared, 0

    def _all(self, value: Any) -> list[Any]:
        self._shared.values[self.rank] = value
        self._shared.barrier.wait()
        values = list(self._shared.values)
        self._shared.barrier.wait()
        return values

    def tree_sum(self, array: Any) -> None:
        assert isinstance(array, np.ndarray)
        array[...] = tree_sum(self._all(array.copy()))

    def agree(self, number: int) -> int:
        return max(self._all(int(number)))

    def exchange(self, text: str) -> list[str]:
        return self._all(text)


def on_ranks(size: int, program: Callable[[Any], Any]) -> list[Any]:
    """``program(comm)`` in a thread for each rank; what each returned, or the exception that it raised."""
    shared = _Shared(size)

    def run(rank: int) -> Any:
        try:
            return program(ThreadCommunicator(rank, size, shared))
        except threading.BrokenBarrierError:
            return "another rank has failed"
        except Exception as error:
            threading.Timer(2, shared.barrier.abort).start()  # the others may wait for this one
            return error

    # the limit is one of the process: it is the same before and after the trainings, whichever ends last
    with limit_threads(1), ThreadPoolExecutor(size) as pool:
        return list(pool.map(run, range(size)))
