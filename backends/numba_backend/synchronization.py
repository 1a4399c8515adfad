"""Functions of compiled code that synchronize threads: atomic operations, a barrier, and the phases of a kernel.

Counters are int64, in arrays or behind pointers.
"""

# mypy: allow-untyped-decorators

from __future__ import annotations

import ctypes
import os
import platform
from typing import Any

import llvmlite.binding
import numba
import numpy as np
from llvmlite import ir as llvm
from numba.core import cgutils, types
from numba.extending import intrinsic
from numpy.typing import NDArray

from backends.numba_backend.subroutine import noinline, subroutine

_SPINS = 2000  # about 20 to 50 microseconds, longer than a step of a small network


def _yield_processor() -> int:
    """Address of the system function that lets another thread run."""
    library = ctypes.windll.kernel32 if os.name == "nt" else ctypes.CDLL(None)  # type: ignore[attr-defined, unused-ignore]
    function = library.SwitchToThread if os.name == "nt" else library.sched_yield
    return ctypes.cast(function, ctypes.c_void_p).value or 0


# compiled code refers to it by name, because the address is different in the next process that loads the cache
llvmlite.binding.add_symbol("mlp_yield_processor", _yield_processor())


def _element(context: Any, builder: Any, kind: Any, array: Any, index: Any) -> Any:
    start = array if isinstance(kind, types.CPointer) else context.make_array(kind)(context, builder, array).data  # type: ignore[attr-defined]
    return builder.gep(start, [index])


@intrinsic
def atomic_add(typingctx: Any, array: Any, index: Any, value: Any) -> Any:
    """Add to ``array[index]`` atomically; return the previous value."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.atomic_rmw("add", _element(context, builder, array, values[0], values[1]), values[2], "seq_cst")

    return types.int64(array, types.intp, types.int64), codegen


@intrinsic
def atomic_load(typingctx: Any, array: Any, index: Any) -> Any:
    """Read ``array[index]`` atomically, with acquire ordering (later reads see what the writer wrote before)."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.load_atomic(_element(context, builder, array, values[0], values[1]), "acquire", 8)

    return types.int64(array, types.intp), codegen


@intrinsic
def atomic_store(typingctx: Any, array: Any, index: Any, value: Any) -> Any:
    """Write ``array[index]`` atomically, with release ordering (after all earlier writes of this thread)."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        address = _element(context, builder, array, values[0], values[1])
        builder.store_atomic(values[2], address, "release", 8)
        return context.get_dummy_value()

    return types.void(array, types.intp, types.int64), codegen


@intrinsic
def _pause(typingctx: Any) -> Any:
    """Processor hint for a spin-wait loop: saves power and gives resources to the other thread of the core."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        void, machine = llvm.VoidType(), platform.machine()
        if machine in ("x86_64", "AMD64"):
            pause = llvm.FunctionType(void, [])
            builder.call(cgutils.get_or_insert_function(builder.module, pause, "llvm.x86.sse2.pause"), [])
        elif machine in ("aarch64", "arm64"):
            hint = llvm.FunctionType(void, [llvm.IntType(32)])
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
def compare_and_swap(typingctx: Any, array: Any, index: Any, old: Any, new: Any) -> Any:
    """Write `new` to ``array[index]`` if its value is `old`, atomically; return whether it was written."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        address = _element(context, builder, array, values[0], values[1])
        outcome = builder.cmpxchg(address, values[2], values[3], "seq_cst", "seq_cst")
        return builder.extract_value(outcome, 1)

    return types.boolean(array, types.intp, types.int64, types.int64), codegen


@numba.njit(nogil=True)
def wait_for(counter, index, target):  # type: ignore[no-untyped-def]
    """Wait until ``counter[index] >= target``: spin first, then yield the processor between checks."""
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

    Writes before the barrier are visible to all threads after it.  A counter can be reused for the next barrier.
    """
    if threads > 1:
        arrived = atomic_add(counter, index, 1)
        wait_for(counter, index, (arrived // threads + 1) * threads)


# A kernel that runs in phases: a phase begins after the previous one has ended.  The work of a phase is divided
# into one share for each thread.  A thread does its own share first.  Then it also takes the share of a thread
# that has not begun (for instance because another program uses that processor), instead of waiting for it.
# The counters are in separate cache lines: number of shares done, number of the last phase that ended, and for
# each share the number of the last phase in which a thread took it.

_DONE, _ENDED, _TAKEN, _LINE = 0, 8, 16, 8
_CHECKS_BEFORE_STEALING = 50  # about a microsecond, the time between threads that start together


def phase_counters(threads: int) -> NDArray[np.int64]:
    """The counters shared by `threads` threads that run a kernel in phases; phases are numbered from 1."""
    return np.zeros(_TAKEN + _LINE * threads, np.int64)


@subroutine
def take_share(counters, phase, t, threads):  # type: ignore[no-untyped-def]
    """Take a share of the phase for thread t; return its number, or -1 when the phase has ended."""
    noinline()
    if compare_and_swap(counters, _TAKEN + _LINE * t, phase - 1, phase):
        return t
    spins = 0
    while atomic_load(counters, _ENDED) < phase:
        if spins == _CHECKS_BEFORE_STEALING:
            for share in range(threads):
                if compare_and_swap(counters, _TAKEN + _LINE * share, phase - 1, phase):
                    return share
        if spins < _SPINS:
            spins += 1
            _pause()
        else:
            _yield()
    return -1


@subroutine
def is_last_share(counters, phase, threads):  # type: ignore[no-untyped-def]
    """Count a share as done.  If it was the last one, the caller may do more work and must then call `end_phase`."""
    return atomic_add(counters, _DONE, 1) == phase * threads - 1


@subroutine
def end_phase(counters, phase):  # type: ignore[no-untyped-def]
    """End the phase, so that the next one can begin."""
    atomic_store(counters, _ENDED, phase)


@subroutine
def next_share(counters, phase, t, threads):  # type: ignore[no-untyped-def]
    """Count a share as done, end the phase if it was the last, and else take another share."""
    if is_last_share(counters, phase, threads):
        end_phase(counters, phase)
        return -1
    return take_share(counters, phase, t, threads)
