"""How a Python program of several ranks ends: no rank waits for one that has ended."""

from __future__ import annotations

import atexit
import sys
from types import TracebackType
from typing import NoReturn, Protocol

INTERRUPTED = 130


class Job(Protocol):
    """What is needed of `MPICommunicator`."""

    @property
    def rank(self) -> int: ...

    def end(self, status: int) -> bool: ...

    def abort(self, status: int, reason: str) -> NoReturn: ...


def end_with_all_ranks(job: Job) -> None:
    """From now on, an exception that ends this program ends all ranks, and a rank that exits tells the others."""
    previous = sys.excepthook

    def on_exception(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        previous(kind, error, trace)
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        status = INTERRUPTED if issubclass(kind, KeyboardInterrupt) else 1
        if not job.end(status):
            job.abort(status, f"rank {job.rank} has failed with {kind.__name__}")

    sys.excepthook = on_exception
    atexit.register(job.end, 0)
