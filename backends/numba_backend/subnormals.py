"""Results below the smallest normal number become zero while a thread trains.

Momentum and Adam multiply the state of a weight by a constant in each update.  Where the gradient is zero, as for
pixels that are always black, the state becomes subnormal after some hundred updates.  Many processors need a hundred
cycles or more for an operation with a subnormal number.  Subnormal inputs of an operation keep their values on x86.
"""

# mypy: allow-untyped-decorators

from __future__ import annotations

import platform
from typing import Any

from llvmlite import ir as llvm
from numba.core import types
from numba.extending import intrinsic

_MACHINE = platform.machine().lower()
_i32, _i64, _address = llvm.IntType(32), llvm.IntType(64), llvm.IntType(8).as_pointer()

_FLUSH_X86 = 1 << 15
"""Bit "flush to zero" of the register MXCSR (Intel 64 and IA-32 Architectures Software Developer's Manual, 10.2.3)."""

_FLUSH_ARM = 1 << 24
"""Bit FZ of the register FPCR (Arm Architecture Reference Manual, C5.2); it also flushes inputs."""


@intrinsic
def flush_subnormals(typingctx: Any) -> Any:
    """Set the mode for the calling thread; the result is the earlier mode, for `restore_mode`."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        mode = _read(builder)
        flush = _FLUSH_X86 if _MACHINE in ("x86_64", "amd64") else _FLUSH_ARM
        _write(builder, builder.or_(mode, _i64(flush)))
        return mode

    return types.int64(), codegen


@intrinsic
def restore_mode(typingctx: Any, mode: Any) -> Any:
    """Return to a mode that `flush_subnormals` gave."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        _write(builder, values[0])
        return context.get_dummy_value()

    return types.void(types.int64), codegen


def _read(builder: Any) -> Any:
    if _MACHINE in ("x86_64", "amd64"):
        place = builder.alloca(_i32)
        builder.call(
            _function(builder, "llvm.x86.sse.stmxcsr", llvm.VoidType(), [_address]), [_as_address(builder, place)]
        )
        return builder.zext(builder.load(place), _i64)
    if _MACHINE in ("aarch64", "arm64"):
        return builder.call(_function(builder, "llvm.aarch64.get.fpcr", _i64, []), [])
    return _i64(0)


def _write(builder: Any, mode: Any) -> None:
    if _MACHINE in ("x86_64", "amd64"):
        place = builder.alloca(_i32)
        builder.store(builder.trunc(mode, _i32), place)
        builder.call(
            _function(builder, "llvm.x86.sse.ldmxcsr", llvm.VoidType(), [_address]), [_as_address(builder, place)]
        )
    elif _MACHINE in ("aarch64", "arm64"):
        builder.call(_function(builder, "llvm.aarch64.set.fpcr", llvm.VoidType(), [_i64]), [mode])


def _as_address(builder: Any, place: Any) -> Any:
    return builder.bitcast(place, _address)


def _function(builder: Any, name: str, result: Any, arguments: list[Any]) -> Any:
    found = builder.module.globals.get(name)
    return found or llvm.Function(builder.module, llvm.FunctionType(result, arguments), name)
