"""A small team of threads for kernels that release the GIL, and what the kernels need to meet each other.

`run` hands the parts of a task to threads that are already waiting, which takes what the system needs to
wake one (20 to 50 microseconds measured there and back).  Kernels that run a whole epoch synchronise among
themselves in compiled code, at a `barrier` or in phases.
"""

# mypy: allow-untyped-decorators

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import platform
import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any

import joblib
import llvmlite.binding
import numba
import numpy as np
from llvmlite import ir as llvm
from numba.core import cgutils, types
from numba.extending import intrinsic
from numpy.typing import NDArray

from backends.errors import ConfigurationError
from backends.numba_backend.parts import part

_VARIABLES = ("MLP_NUM_THREADS", "NUMBA_NUM_THREADS")


# ---------------------------------------------------------------------------------------------------
# How many
# ---------------------------------------------------------------------------------------------------


def _default_num_threads() -> int:
    for name in _VARIABLES:
        text = os.environ.get(name, "").strip()
        if text:
            if not text.isdecimal() or int(text) < 1:
                raise ConfigurationError(f"{name}={text!r}: the number of threads must be a positive integer")
            return int(text)
    return _usable_processors()


@functools.cache
def _usable_processors() -> int:
    """Processors that this process may use: containers and batch systems lend fewer than the machine has."""
    return int(joblib.cpu_count())


_chosen: int | None = None


def get_num_threads() -> int:
    """Threads that kernels may use: what `set_num_threads` said, else the environment, else every processor.

    The environment variables are MLP_NUM_THREADS and, after it, NUMBA_NUM_THREADS.

    Raises
    ------
    ConfigurationError
        If the variable is not a positive integer.
    """
    return _default_num_threads() if _chosen is None else _chosen


def set_num_threads(number: int | None) -> None:
    """Set the number of threads of this process; None returns to the default.

    Examples
    --------
    >>> set_num_threads(3)
    >>> get_num_threads()
    3
    >>> set_num_threads(None)
    """
    global _chosen
    if number is not None and (isinstance(number, bool) or not isinstance(number, int) or number < 1):
        raise ConfigurationError(f"the number of threads must be a positive integer, not {number!r}")
    _chosen = number


# ---------------------------------------------------------------------------------------------------
# The team
# ---------------------------------------------------------------------------------------------------


class _Job:
    """One call of `run`: counts its parts down and keeps the first error."""

    def __init__(self, task: Callable[[int], object], parts: int) -> None:
        self._task = task
        self._left = parts
        self._lock = threading.Lock()
        self._done = threading.Lock()  # held until the last part is finished; an Event would cost twice the time
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
                self._left -= len(parts)
                if not self._left:
                    self._done.release()

    def wait(self, on_interrupt: Callable[[], object] | None) -> None:
        """Wait for every part, whatever happens: they write to arrays of the caller."""
        interrupt: KeyboardInterrupt | None = None
        while self._left:  # an interrupt may come between getting the lock and knowing of it
            try:
                self._done.acquire()
            except KeyboardInterrupt as caught:
                interrupt = interrupt or caught
                if on_interrupt is not None:
                    on_interrupt()
        if interrupt is not None:
            raise interrupt


class _Team:
    """Threads that wait for work.  They are daemons: an interpreter that ends does not wait for them."""

    def __init__(self) -> None:
        self.lock = threading.Lock()  # one job at a time: parts that meet at a barrier need all their threads
        self._inboxes: list[queue.SimpleQueue[tuple[_Job, int, int, int]]] = []

    def grow(self, members: int) -> None:
        while len(self._inboxes) < members:
            inbox: queue.SimpleQueue[tuple[_Job, int, int, int]] = queue.SimpleQueue()
            name = f"mlp-{len(self._inboxes) + 1}"
            threading.Thread(target=self._serve, args=(inbox,), name=name, daemon=True).start()
            self._inboxes.append(inbox)

    def send(self, member: int, job: _Job, first: int, stop: int, step: int) -> None:
        self._inboxes[member].put((job, first, stop, step))

    @staticmethod
    def _serve(inbox: queue.SimpleQueue[tuple[_Job, int, int, int]]) -> None:
        _inside.member = True
        while True:
            job, first, stop, step = inbox.get()
            job.work(first, stop, step)
            del job  # its task refers to arrays that nobody may need any more


_inside = threading.local()
_team = _Team()


def _start_anew() -> None:
    # a forked child has none of its parent's threads, and a lock that one of them held would stay held
    global _team, _inside
    _team, _inside = _Team(), threading.local()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_anew)


@contextlib.contextmanager
def _working() -> Iterator[None]:
    _inside.member = True
    try:
        yield
    finally:
        _inside.member = False


def inside() -> bool:
    """Whether the calling thread is working for `run`, so that its own calls of `run` are not parallel."""
    return getattr(_inside, "member", False)


def run(task: Callable[[int], object], parts: int, on_interrupt: Callable[[], object] | None = None) -> None:
    """Call ``task(0), ..., task(parts - 1)``, in parallel if the task releases the GIL.

    Up to `get_num_threads` parts run at the same time, each on a thread of its own, so they may meet at a
    `barrier`; of more parts each thread takes every n-th.  Calls from several threads take turns, and a call
    from within a task runs its parts one after the other (so these must not meet at a barrier).

    Parameters
    ----------
    task : callable
        Called with the number of the part.
    parts : int
    on_interrupt : callable, optional
        Called on Ctrl-C, to tell the running parts to stop.  Python sees Ctrl-C only between its own
        instructions, so with this argument the calling thread takes no part and just waits.

    Raises
    ------
    BaseException
        The first one that a part raised, after all parts have ended; or KeyboardInterrupt.

    Examples
    --------
    >>> squares = [0] * 5
    >>> def square(part):
    ...     squares[part] = part**2
    >>> run(square, 5)
    >>> squares
    [0, 1, 4, 9, 16]
    """
    if inside() or (parts <= 1 and on_interrupt is None):
        for part in range(parts):
            task(part)
        return
    if parts < 1:
        return
    threads = min(parts, get_num_threads())
    team = _team
    with team.lock:
        job = _Job(task, parts)
        own = on_interrupt is None
        team.grow(threads - own)
        for member in range(threads - own):
            team.send(member, job, member + own, parts, threads)
        if own:
            with _working():
                job.work(0, parts, threads)
        job.wait(on_interrupt)
    if job.error is not None:
        raise job.error


# ---------------------------------------------------------------------------------------------------
# Meeting in compiled code.  Counters are int64, in arrays or behind pointers.
# ---------------------------------------------------------------------------------------------------

_SPINS = 2000  # about 20 to 50 microseconds, more than a step of a small network takes


def _yield_processor() -> int:
    """Address of the system's function that lets another thread run."""
    library = ctypes.windll.kernel32 if os.name == "nt" else ctypes.CDLL(None)  # type: ignore[attr-defined, unused-ignore]
    function = library.SwitchToThread if os.name == "nt" else library.sched_yield
    return ctypes.cast(function, ctypes.c_void_p).value or 0


# compiled code refers to it by name, because an address would be wrong in the next process that loads the cache
llvmlite.binding.add_symbol("mlp_yield_processor", _yield_processor())


def _element(context: Any, builder: Any, kind: Any, words: Any, index: Any) -> Any:
    start = words if isinstance(kind, types.CPointer) else context.make_array(kind)(context, builder, words).data  # type: ignore[attr-defined]
    return builder.gep(start, [index])


@intrinsic
def atomic_add(typingctx: Any, array: Any, index: Any, value: Any) -> Any:
    """Add to ``array[index]`` in one indivisible step; returns the number before."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.atomic_rmw("add", _element(context, builder, array, values[0], values[1]), values[2], "seq_cst")

    return types.int64(array, types.intp, types.int64), codegen


@intrinsic
def atomic_load(typingctx: Any, array: Any, index: Any) -> Any:
    """Read ``array[index]``, and see all that was written before the number got there."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.load_atomic(_element(context, builder, array, values[0], values[1]), "acquire", 8)

    return types.int64(array, types.intp), codegen


@intrinsic
def atomic_store(typingctx: Any, array: Any, index: Any, value: Any) -> Any:
    """Write ``array[index]``, after all that was written before."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        address = _element(context, builder, array, values[0], values[1])
        builder.store_atomic(values[2], address, "release", 8)
        return context.get_dummy_value()

    return types.void(array, types.intp, types.int64), codegen


@intrinsic
def _pause(typingctx: Any) -> Any:
    """Tell the processor that this is a waiting loop, which saves power and helps the core's other thread."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        nothing, machine = llvm.VoidType(), platform.machine()
        if machine in ("x86_64", "AMD64"):
            pause = llvm.FunctionType(nothing, [])
            builder.call(cgutils.get_or_insert_function(builder.module, pause, "llvm.x86.sse2.pause"), [])
        elif machine in ("aarch64", "arm64"):
            hint = llvm.FunctionType(nothing, [llvm.IntType(32)])
            number = llvm.IntType(32)(1)  # the instruction "yield"
            builder.call(cgutils.get_or_insert_function(builder.module, hint, "llvm.aarch64.hint"), [number])
        return context.get_dummy_value()

    return types.void(), codegen


@intrinsic
def _yield(typingctx: Any) -> Any:
    """Let another thread run on this processor."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        function_type = llvm.FunctionType(llvm.IntType(32), [])
        builder.call(cgutils.get_or_insert_function(builder.module, function_type, "mlp_yield_processor"), [])
        return context.get_dummy_value()

    return types.void(), codegen


@intrinsic
def atomic_swap(typingctx: Any, array: Any, index: Any, old: Any, new: Any) -> Any:
    """Write `new` to ``array[index]`` if it holds `old`; returns whether it did."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        address = _element(context, builder, array, values[0], values[1])
        outcome = builder.cmpxchg(address, values[2], values[3], "seq_cst", "seq_cst")
        return builder.extract_value(outcome, 1)

    return types.boolean(array, types.intp, types.int64, types.int64), codegen


@numba.njit(nogil=True)
def wait_for(counter, index, target):  # type: ignore[no-untyped-def]
    """Wait until ``counter[index] >= target``: spin for a while, then give the processor away between looks."""
    spins = 0
    while atomic_load(counter, index) < target:
        if spins < _SPINS:
            spins += 1
            _pause()
        else:
            _yield()


@numba.njit(nogil=True)
def barrier(counter, index, threads):  # type: ignore[no-untyped-def]
    """Wait until `threads` threads have arrived at ``counter[index]``, an int64 that starts at 0 and only grows.

    What each wrote before, all read after.  The same counter serves one barrier after another.
    """
    if threads > 1:
        arrived = atomic_add(counter, index, 1)
        wait_for(counter, index, (arrived // threads + 1) * threads)


# A kernel in phases, none of which may begin before the one before has ended.  Each phase has one share of work
# for each thread.  A thread does its own share, and then, rather than wait for a thread that has not even begun
# (another program may have its processor), that thread's too.  The words of `phases` stand in cache lines of
# their own: shares done, the last phase that ended, and for each share the last phase in which somebody took it.

_DONE, _ENDED, _TAKEN, _LINE = 0, 8, 16, 8
_PATIENCE = 50  # looks, about a microsecond: as much as threads that started together are apart


def phases(threads: int) -> NDArray[np.int64]:
    """The words by which threads that run a kernel in phases find shares to do; phases count from 1."""
    return np.zeros(_TAKEN + _LINE * threads, np.int64)


@part
def take_share(words, phase, t, threads):  # type: ignore[no-untyped-def]
    """Number of a share that is now the caller's to do, or -1 when the phase has ended."""
    if atomic_swap(words, _TAKEN + _LINE * t, phase - 1, phase):
        return t
    spins = 0
    while atomic_load(words, _ENDED) < phase:
        if spins == _PATIENCE:
            for share in range(threads):
                if atomic_swap(words, _TAKEN + _LINE * share, phase - 1, phase):
                    return share
        if spins < _SPINS:
            spins += 1
            _pause()
        else:
            _yield()
    return -1


@part
def is_last_share(words, phase, threads):  # type: ignore[no-untyped-def]
    """Report a share as done: the last one must still `end_phase`, after what is to be done between phases."""
    return atomic_add(words, _DONE, 1) == phase * threads - 1


@part
def end_phase(words, phase):  # type: ignore[no-untyped-def]
    """Let the next phase begin."""
    atomic_store(words, _ENDED, phase)


@part
def next_share(words, phase, t, threads):  # type: ignore[no-untyped-def]
    """Report a share as done, and take another."""
    if is_last_share(words, phase, threads):
        end_phase(words, phase)
        return -1
    return take_share(words, phase, t, threads)
