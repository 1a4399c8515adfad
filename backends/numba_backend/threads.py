"""A thread pool for kernels that release the GIL.

`run` gives the parts of a task to threads that already exist and wait.  Its cost is the time to wake a thread
(20 to 50 microseconds measured for the round trip).  Nobody waits until threads are free: who finds them in use gets
fewer of them, at least one (`reserve`).  Kernels that run a whole epoch synchronize in compiled code: see
`synchronization`.
"""

from __future__ import annotations

import contextlib
import contextvars
import itertools
import logging
import os
import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any

from backends.environment import threads_of_environment
from backends.environment import usable_processors as _usable_processors
from backends.errors import ConfigurationError

logger = logging.getLogger("mlp")


# ---------------------------------------------------------------------------------------------------
# Number of threads
# ---------------------------------------------------------------------------------------------------


SHARED_WORK = 6e6
"""Smallest number of multiplications for which a second thread saves more than the 10 to 20 microseconds to wake it."""

_num_threads: int | None = None


def get_num_threads() -> int:
    """Number of threads that kernels may use.

    It is the value given to `set_num_threads`, else the environment variable MLP_NUM_THREADS, else
    NUMBA_NUM_THREADS, else OMP_NUM_THREADS, else the number of processors.  In a task of `run_divided` it is the task's
    share of them.

    Raises
    ------
    ConfigurationError
        If the environment variable is not a positive integer.
    """
    division = _own_division()
    return division.share if division else _num_threads or threads_of_environment() or _usable_processors()


def set_num_threads(number: int | None) -> None:
    """Set the number of threads of this process; None restores the default.

    Examples
    --------
    >>> set_num_threads(3)
    >>> get_num_threads()
    3
    >>> set_num_threads(None)
    """
    global _num_threads
    if number is not None and (isinstance(number, bool) or not isinstance(number, int) or number < 1):
        raise ConfigurationError(f"the number of threads must be a positive integer, not {number!r}")
    _num_threads = number


# ---------------------------------------------------------------------------------------------------
# The thread pool
# ---------------------------------------------------------------------------------------------------


_SIGNAL_CHECK = 0.1
"""Seconds after which a waiting thread looks whether there was a Ctrl-C."""


class _Job:
    """One call of `run`: counts the unfinished parts and stores the first exception."""

    def __init__(self, task: Callable[[int], object], parts: int) -> None:
        self._task = task
        self._unfinished = parts
        self._lock = threading.Lock()
        self._done = threading.Lock()  # held until the last part is finished; an Event takes twice the time
        self._done.acquire()
        self.error: BaseException | None = None

    def work(self, first: int, stop: int, step: int) -> None:
        """Run the parts ``first, first + step, ...`` below `stop`."""
        parts = range(first, stop, step)
        try:
            for part in parts:
                self._task(part)
        except BaseException as error:
            with self._lock:
                self.error = self.error or error
        finally:
            with self._lock:
                self._unfinished -= len(parts)
                if not self._unfinished:
                    self._done.release()

    def wait(self, on_interrupt: Callable[[], object] | None) -> None:
        """Wait for all parts, even after an interrupt, because they write to arrays of the caller."""
        interrupt: KeyboardInterrupt | None = None
        while self._unfinished:  # an interrupt can come after the lock is acquired and before `acquire` returns
            try:
                # the system may deliver the signal to another thread, and then it does not end this wait
                self._done.acquire(timeout=_SIGNAL_CHECK)
            except KeyboardInterrupt as caught:
                interrupt = interrupt or caught
                if on_interrupt is not None:
                    on_interrupt()
        if interrupt is not None:
            raise interrupt


class _ThreadPool:
    """Worker threads that wait for jobs.  They are daemon threads, so the interpreter can exit without them.

    There is no lock: several threads may take workers at once, and nobody waits for another caller's job.
    """

    def __init__(self) -> None:
        self.teams: dict[Team, None] = {}  # the reservations now, in order
        self._idle: list[queue.SimpleQueue[tuple[_Job, int, int, int]]] = []

    def take(self, count: int, workers: list[queue.SimpleQueue[tuple[_Job, int, int, int]]]) -> None:
        """Append `count` idle workers to a list; new threads are started if there are not enough."""
        for _ in range(count):
            try:
                workers.append(self._idle.pop())
            except IndexError:
                workers.append(self._start())

    def give_back(self, workers: list[queue.SimpleQueue[tuple[_Job, int, int, int]]]) -> None:
        self._idle.extend(workers)

    def _start(self) -> queue.SimpleQueue[tuple[_Job, int, int, int]]:
        jobs: queue.SimpleQueue[tuple[_Job, int, int, int]] = queue.SimpleQueue()
        threading.Thread(target=self._work, args=(jobs,), name=f"mlp-{next(_numbers)}", daemon=True).start()
        return jobs

    @staticmethod
    def _work(jobs: queue.SimpleQueue[tuple[_Job, int, int, int]]) -> None:
        _thread_state.is_worker = True
        while True:
            job, first, stop, step = jobs.get()
            job.work(first, stop, step)
            del job  # otherwise the arrays of its task would stay in memory until the next job


_numbers = itertools.count(1)
_thread_state = threading.local()
_pool = _ThreadPool()


def _reset_after_fork() -> None:
    # a forked child has none of its parent's threads, and a lock that one of them held would never be released
    global _pool, _thread_state
    _pool, _thread_state = _ThreadPool(), threading.local()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_after_fork)


@contextlib.contextmanager
def _as_worker() -> Iterator[None]:
    _thread_state.is_worker = True
    try:
        yield
    finally:
        _thread_state.is_worker = False


def in_worker() -> bool:
    """Whether the calling thread executes a part of `run`; nested calls of `run` are not parallel."""
    return getattr(_thread_state, "is_worker", False)


class Team:
    """The threads that one caller of `reserve` may use, until the end of the ``with`` block.

    Attributes
    ----------
    size : int
        Number of threads.
    training : bool
        Whether they are for a training.
    """

    def __init__(self, threads: int, training: bool) -> None:
        self._pool, self.training, self.size = _pool, training, 1
        if threads > 1 and not in_worker():
            self.size = _share(self._pool, threads, training)

    def __enter__(self) -> Team:
        if _own_division() is None:  # else these threads are reserved already
            self._pool.teams[self] = None
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.teams.pop(self, None)

    def run(self, task: Callable[[int], object], parts: int, on_interrupt: Callable[[], object] | None = None) -> None:
        """Call ``task(0), ..., task(parts - 1)`` as the function `run`, at most `size` of them at the same time."""
        # a caller that need not wait for Ctrl-C, which only the main thread sees, runs the first parts
        caller_works = on_interrupt is None or threading.current_thread() is not threading.main_thread()
        threads = min(parts, self.size)
        if in_worker() or (threads <= 1 and caller_works):
            for part in range(parts):
                task(part)
            return
        if parts < 1:
            return
        job, workers = _Job(task, parts), list[Any]()
        try:
            self._pool.take(threads - caller_works, workers)
            for first, jobs in enumerate(workers, start=caller_works):
                jobs.put((job, first, parts, threads))
            if caller_works:
                with _as_worker():
                    job.work(0, parts, threads)
            job.wait(on_interrupt)
        finally:
            self._pool.give_back(workers)
        if job.error is not None:
            raise job.error


def reserve(threads: int, *, training: bool = False) -> Team:
    """Reserve up to `threads` threads for a ``with`` block, without waiting for those that others use.

    Trainings get equal shares of the threads, because they use them for long.  Anything else gets what is left.  Both
    get at least one thread.  As many parts as the team has threads run at the same time, so they may use a `barrier`.

    Parameters
    ----------
    threads : int
    training : bool
        Whether the threads are used for as long as a part of a training.

    Returns
    -------
    Team

    Examples
    --------
    >>> set_num_threads(4)
    >>> with reserve(4, training=True) as one, reserve(4, training=True) as other, reserve(4) as third:
    ...     one.size, other.size, third.size
    (4, 2, 1)
    >>> set_num_threads(None)
    """
    return Team(threads, training)


def _share(pool: _ThreadPool, threads: int, training: bool) -> int:
    limit, teams = get_num_threads(), list(pool.teams)
    wanted = min(threads, limit)
    if _own_division():
        available = limit
    elif training:
        available = limit // (1 + sum(team.training for team in teams))
    else:
        available = limit - sum(team.size for team in teams)
    if available >= wanted:
        return wanted
    size = max(1, available)
    what = "a training" if training else "an operation"
    logger.debug("%s uses %d of %d threads: others of this process use the rest", what, size, limit)
    return size


def run(task: Callable[[int], object], parts: int, on_interrupt: Callable[[], object] | None = None) -> None:
    """Call ``task(0), ..., task(parts - 1)``, in parallel if the task releases the GIL.

    Up to n = `get_num_threads` parts run at the same time, each on its own thread; with more parts, each thread runs
    every n-th part.  While others use the threads, fewer parts run at the same time.  A call from within a task runs
    its parts one after the other.  So parts must not wait for each other; for that, see `reserve`.

    Parameters
    ----------
    task : callable
        Called with the number of the part.
    parts : int
    on_interrupt : callable, optional
        Called on Ctrl-C, to make the running parts stop.  Python handles Ctrl-C only between bytecode
        instructions, so with this argument the calling thread runs no part and only waits.

    Raises
    ------
    BaseException
        The first exception of a part, raised after all parts have ended; or KeyboardInterrupt.

    Examples
    --------
    >>> squares = [0] * 5
    >>> def square(part):
    ...     squares[part] = part**2
    >>> run(square, 5)
    >>> squares
    [0, 1, 4, 9, 16]
    """
    with reserve(parts) as team:
        team.run(task, parts, on_interrupt)


class _Division:
    """One call of `run_divided`: which task is next, and how many threads take tasks."""

    def __init__(
        self, task: Callable[[int], object], count: int, threads: int, at_once: int, on_interrupt: Callable[[], object]
    ) -> None:
        self._task, self._count, self._threads, self._active = task, count, threads, at_once
        self._on_interrupt = on_interrupt
        self._next = 0
        self._lock = threading.Lock()

    @property
    def share(self) -> int:
        """Number of threads for each task that runs now."""
        return max(1, self._threads // max(1, self._active))

    def work(self) -> None:
        """Run tasks until none is left, or one has failed."""
        was_worker = in_worker()
        _thread_state.division, _thread_state.is_worker = self, False
        try:
            while (number := self._take()) is not None:
                self._task(number)
        except BaseException:
            self.stop()
            raise
        finally:
            _thread_state.division, _thread_state.is_worker = None, was_worker
            with self._lock:
                self._active -= 1

    def stop(self) -> None:
        """Begin no other task, and make those that run stop."""
        with self._lock:
            self._next = self._count
        self._on_interrupt()

    def _take(self) -> int | None:
        with self._lock:
            if self._next == self._count:
                return None
            self._next += 1
            return self._next - 1


def _own_division() -> _Division | None:
    """The division that the calling thread works for."""
    return getattr(_thread_state, "division", None)


def run_divided(
    task: Callable[[int], object], count: int, at_once: int, on_interrupt: Callable[[], object] = lambda: None
) -> None:
    """Call ``task(0), ..., task(count - 1)`` in this order, up to `at_once` of them at the same time.

    The tasks are trainings, or other functions that use threads themselves.  They share the threads equally
    (`get_num_threads`): who runs longer than others may use more threads at the end.

    Parameters
    ----------
    task : callable
    count : int
    at_once : int
    on_interrupt : callable
        Called on Ctrl-C and when a task fails, maybe in the thread of that task, to make the running tasks stop.

    Raises
    ------
    BaseException
        The first exception of a task, or KeyboardInterrupt, when all tasks that had begun have ended.  No other task
        begins.

    Examples
    --------
    >>> set_num_threads(6)
    >>> shares = [0] * 4
    >>> def note_share(number):
    ...     shares[number] = get_num_threads()
    >>> run_divided(note_share, 4, at_once=1)
    >>> shares
    [6, 6, 6, 6]
    >>> set_num_threads(None)
    """
    with reserve(get_num_threads(), training=True) as team:
        at_once = min(at_once, team.size, count)
        division = _Division(task, count, team.size, at_once, on_interrupt)
        # with the caller's settings, such as those of NumPy for floating-point errors
        contexts = [contextvars.copy_context() for _ in range(at_once)]
        team.run(lambda part: contexts[part].run(division.work), at_once, on_interrupt=division.stop)
