"""`subroutine`: a decorator for compiled functions that only other compiled functions call.

Numba generates machine code and a Python wrapper for every compiled function, and then compiles the same code
again inside each caller.  For a kernel of a hundred small functions this more than doubles the compile time.
A subroutine is only translated to LLVM IR, without optimization or machine code.  Both happen once, in the
kernel that it is linked into.
"""

from __future__ import annotations

import itertools
import os
import secrets
from collections.abc import Callable
from typing import Any

import numba
from numba.core import bytecode, compiler
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler_machinery import register_pass
from numba.core.typed_passes import NativeLowering


def _make_symbols_unique() -> None:
    # The symbol of a compiled function is its name with a number, which Numba counts from 1 in each process.  A kernel
    # from the cache brings the numbers of the process that compiled it.  Two different functions of the same name, such
    # as the loop of two losses, could then have one symbol, and one of them would silently run in place of the other.
    bytecode.FunctionIdentity._unique_ids = itertools.count(secrets.randbits(48))


_make_symbols_unique()
if hasattr(os, "register_at_fork"):  # the children of one parent would go on with the same numbers
    os.register_at_fork(after_in_child=_make_symbols_unique)


class _UnoptimizedLibrary(JITCodeLibrary):  # type: ignore[misc]  # numba has no types
    """LLVM IR that can only be linked into other code."""

    def _optimize_final_module(self) -> None:
        pass

    def _finalize_final_module(self) -> None:
        self._finalize_dynamic_globals()
        self._finalized = True


@register_pass(mutates_CFG=True, analysis_only=False)
class _SubroutineLowering(NativeLowering):  # type: ignore[misc]
    _name = "subroutine_lowering"

    def run_pass(self, state: Any) -> bool:
        state.library = _UnoptimizedLibrary(state.targetctx.codegen(), state.func_id.func_qualname)
        state.library.enable_object_caching()
        state.flags.no_compile = True
        super().run_pass(state)
        # Numba identifies compiled code by the built-in function that Python would call; any unique one will do
        result = state["cr"]
        name: Any = [].index
        state.targetctx.insert_user_function(name, result.fndesc, [state.library])
        state["cr"] = result._replace(cfunc=name)
        return True


def subroutine_passes(state: Any) -> Any:
    """The passes that translate a function to LLVM IR, to be finalized."""
    passes = compiler.DefaultPassBuilder.define_nopython_pipeline(state)
    passes.passes = [
        (_SubroutineLowering if step is NativeLowering else step, description) for step, description in passes.passes
    ]
    return passes


class _SubroutineCompiler(compiler.CompilerBase):  # type: ignore[misc]
    def define_pipelines(self) -> list[Any]:
        passes = subroutine_passes(self.state)
        passes.finalize()
        return [passes]


subroutine: Callable[..., Any] = numba.njit(
    pipeline_class=_SubroutineCompiler,
    no_cpython_wrapper=True,
    no_cfunc_wrapper=True,
    nogil=True,
    error_model="numpy",
    boundscheck=False,
)
"""Decorator: compile a function as part of the kernels that call it.  Python code cannot call it."""
