"""Work of several threads, whose results come in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def in_order(function: Callable[[T], R], items: Iterable[T], threads: int, ahead: int) -> Iterator[R]:
    """Yield ``function(item)`` for each item, in order, computed by some threads up to `ahead` items ahead.

    An error of the function is raised in its turn.

    Examples
    --------
    >>> list(in_order(abs, [-1, 2, -3], threads=2, ahead=2))
    [1, 2, 3]
    """
    pending: deque[Future[R]] = deque()
    with ThreadPoolExecutor(threads, "mlp-reader") as pool:
        for item in items:
            pending.append(pool.submit(function, item))
            if len(pending) > ahead:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
