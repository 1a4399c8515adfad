"""`formula`: a decorator that compiles a scalar function whose numeric literals take the type of its arguments."""

# mypy: allow-untyped-decorators

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numba.core import errors, ir, types
from numba.core.compiler_machinery import FunctionPass, register_pass

from backends.numba_backend.subroutine import simple_function


@register_pass(mutates_CFG=False, analysis_only=False)
class _LiteralsTakeArgumentType(FunctionPass):  # type: ignore[misc]  # numba has no types
    """Convert every number in the source, literal or global, to the floating type of the arguments.

    Numba types ``1`` as int64 and ``0.5`` as float64, so ``0.5 * x`` would be float64 for a float32 x.
    NumPy converts the literal to the type of the array, and so do functions compiled with this pass.
    """

    _name = "literals_take_argument_type"

    def __init__(self) -> None:
        FunctionPass.__init__(self)

    def run_pass(self, state: Any) -> bool:
        floats = {getattr(argument, "value_type", argument) for argument in map(_without_omitted, state.args)}
        floats = {t for t in floats if isinstance(t, types.Float)}
        if len(floats) != 1:
            name, given = state.func_id.func_name, ", ".join(map(str, state.args))
            raise errors.TypingError(f"{name}({given}): the arguments must share one floating type")
        real = np.dtype(str(floats.pop())).type
        for block in state.func_ir.blocks.values():
            for assignment in block.find_insts(ir.Assign):
                value = assignment.value
                if isinstance(value, ir.Const | ir.Global | ir.FreeVar) and type(value.value) in (int, float):
                    assignment.value = ir.Const(real(value.value), value.loc)
        return True


def _without_omitted(argument: types.Type) -> types.Type:
    """The argument's type; for an omitted argument, the type of its default value."""
    return numba.typeof(argument.value) if isinstance(argument, types.Omitted) else argument  # type: ignore[attr-defined]


def formula(function: Callable[..., Any]) -> Any:
    """Decorator: a scalar function of floats of one type for kernels (see `subroutine`); its literals get that type."""
    # a call in a loop would prevent its vectorization
    return simple_function(function, _LiteralsTakeArgumentType, forceinline=True)
