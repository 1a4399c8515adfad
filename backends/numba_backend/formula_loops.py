"""The formulas of activations, losses and update rules, applied to adjacent numbers by compiled loops.

A network needs a few of about fifty formulas.  So each loop is compiled on its own, or loaded from the cache, when it
is first needed, and kernels call it by its address.  The formulas are those of `backends.formulas`, compiled for
scalars by `specialize`.

A kernel gets the address as an argument.  Whoever calls a kernel must therefore get the loops that it needs from
`activation_loop`, `derivative_loop`, `loss_loop` and `rule_loop` before.
"""

# mypy: allow-untyped-decorators

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Hashable
from typing import Any

import numba
import numpy as np
from llvmlite import ir as llvm
from numba.core import types
from numba.extending import intrinsic

from backends import formulas
from backends.formulas import Activation, OutputLoss
from backends.numba_backend.kernel_cache import function_address
from backends.numba_backend.pointers import leading, offset
from backends.numba_backend.specialize import specialize

_compiling = threading.Lock()  # two threads may need the same loop at the same time


def activation_loop(activation: Activation, dtype: np.dtype[Any]) -> int:
    """Address of the loop for `apply_activation`."""
    return _address(_activation, activation.forward, dtype)


def derivative_loop(activation: Activation, dtype: np.dtype[Any]) -> int:
    """Address of the loop for `apply_derivative`; of an activation that has a derivative."""
    assert activation.backward is not None
    return _address(_derivative, activation.backward, dtype)


def loss_loop(kind: OutputLoss, n_out: int, dtype: np.dtype[Any]) -> int:
    """Address of the loop for `apply_loss`, which takes one row of `n_out` entries at a time if the loss has levels."""
    formula = kind.fused or kind.loss.formula
    assert formula is not None
    if kind.loss.levels:
        kind.loss.level_of_each(n_out)  # raises an error if there are fewer: the loop does not check its index
        return _address(_loss_with_levels, formula, dtype, tuple(map(dtype.type, kind.loss.levels)))
    return _address(_loss, formula, dtype)


def rule_loop(rule: str, dtype: np.dtype[Any]) -> int:
    """Address of the loop for `apply_rule`."""
    return _address(_rule, formulas.RULES[rule].formula, dtype)


def _address(make: Callable[..., Any], formula: Callable[..., Any], dtype: np.dtype[Any], *constants: Hashable) -> int:
    with _compiling:
        return _compiled(make, formula, dtype, *constants)


@functools.cache
def _compiled(make: Callable[..., Any], formula: Callable[..., Any], dtype: np.dtype[Any], *constants: Hashable) -> int:
    loop, *rest = make(formula, specialize(formula, dtype), *constants)
    numbers = types.CPointer(numba.from_dtype(dtype))  # type: ignore[attr-defined]
    return function_address(loop, tuple(numbers if kind is float else types.intp for kind in rest))


def _activation(formula: Callable[..., Any], f: Any) -> Any:
    def loop(y, n):  # type: ignore[no-untyped-def]
        for i in range(n):
            y[i] = f(y[i])

    return loop, float, int


def _derivative(formula: Callable[..., Any], f: Any) -> Any:
    def loop(delta, saved, n):  # type: ignore[no-untyped-def]
        for i in range(n):
            delta[i] = f(delta[i], saved[i])

    return loop, float, float, int


def _loss(formula: Callable[..., Any], f: Any) -> Any:
    def loop(y, target, losses, delta, n):  # type: ignore[no-untyped-def]
        for i in range(n):
            losses[i], delta[i] = f(y[i], target[i])

    return loop, float, float, float, float, int


def _loss_with_levels(formula: Callable[..., Any], f: Any, values: tuple[Any, ...]) -> Any:
    first, levels = values[0], np.array(values)

    def same_level(y, target, losses, delta, n):  # type: ignore[no-untyped-def]
        for i in range(n):
            losses[i], delta[i] = f(y[i], target[i], first)

    def level_of_each(y, target, losses, delta, n):  # type: ignore[no-untyped-def]
        for i in range(n):
            losses[i], delta[i] = f(y[i], target[i], levels[i])

    return (same_level if len(values) == 1 else level_of_each), float, float, float, float, int


def _rule(formula: Callable[..., Any], f: Any) -> Any:
    row = next(row for row in formulas.RULES.values() if row.formula is formula)
    read_scalars = leading(formula.__code__.co_argcount - 2 - len(row.state))

    def no_state(p, g, s, stride, scalars, n):  # type: ignore[no-untyped-def]
        values = read_scalars(scalars)
        for i in range(n):
            (p[i],) = f(p[i], g[i], *values)

    def one_row(p, g, s, stride, scalars, n):  # type: ignore[no-untyped-def]
        values = read_scalars(scalars)
        for i in range(n):
            p[i], s[i] = f(p[i], g[i], s[i], *values)

    def two_rows(p, g, s, stride, scalars, n):  # type: ignore[no-untyped-def]
        values = read_scalars(scalars)
        r = offset(s, stride)
        for i in range(n):
            p[i], s[i], r[i] = f(p[i], g[i], s[i], r[i], *values)

    return (no_state, one_row, two_rows)[len(row.state)], float, float, float, int, float, int


# -- calls in compiled code --------------------------------------------------------------------------


def _call(context: Any, builder: Any, signature: Any, values: Any) -> Any:
    """Call the function at the address that is the first argument, with the others."""
    kinds = [context.get_value_type(kind) for kind in signature.args[1:]]
    function = builder.inttoptr(values[0], llvm.FunctionType(llvm.VoidType(), kinds).as_pointer())
    builder.call(function, values[1:])
    return context.get_dummy_value()


@intrinsic
def apply_activation(typingctx: Any, loop: Any, y: Any, n: Any) -> Any:
    """``y[i] = f(y[i])`` for n elements."""
    return types.void(types.intp, y, types.intp), _call


@intrinsic
def apply_derivative(typingctx: Any, loop: Any, delta: Any, saved: Any, n: Any) -> Any:
    """``delta[i] = f(delta[i], saved[i])`` for n elements: from the gradient with respect to y to that for z."""
    return types.void(types.intp, delta, saved, types.intp), _call


@intrinsic
def apply_loss(typingctx: Any, loop: Any, y: Any, target: Any, losses: Any, delta: Any, n: Any) -> Any:
    """``losses[i], delta[i] = f(y[i], target[i])`` for n elements."""
    return types.void(types.intp, y, target, losses, delta, types.intp), _call


@intrinsic
def apply_rule(typingctx: Any, loop: Any, p: Any, g: Any, s: Any, stride: Any, scalars: Any, n: Any) -> Any:
    """Update n parameters p by their gradients g; s is the first row of their state, `stride` before the next."""
    return types.void(types.intp, p, g, s, types.intp, scalars, types.intp), _call
