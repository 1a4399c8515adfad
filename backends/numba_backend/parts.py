"""`part`: a decorator for functions that only other compiled functions call.

Numba makes machine code of every function it meets, with a wrapper for Python around it, and then compiles
the same code once more within each function that calls it.  A kernel of a hundred small functions takes more
than twice as long for that.  A part is translated to LLVM's language and left at that; optimising it, and
machine code, are the business of the kernel it ends up in.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
from numba.core import compiler
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler_machinery import register_pass
from numba.core.typed_passes import NativeLowering


class _Unfinished(JITCodeLibrary):  # type: ignore[misc]  # numba has no types
    """LLVM code that is only good for being linked into other code."""

    def _optimize_final_module(self) -> None:
        pass

    def _finalize_final_module(self) -> None:
        self._finalize_dynamic_globals()
        self._finalized = True


@register_pass(mutates_CFG=True, analysis_only=False)
class _PartLowering(NativeLowering):  # type: ignore[misc]
    _name = "part_lowering"

    def run_pass(self, state: Any) -> bool:
        state.library = _Unfinished(state.targetctx.codegen(), state.func_id.func_qualname)
        state.library.enable_object_caching()
        state.flags.no_compile = True
        super().run_pass(state)
        # Numba knows compiled code by the built-in function that Python would call: any that is like no other will do
        result = state["cr"]
        name: Any = [].index
        state.targetctx.insert_user_function(name, result.fndesc, [state.library])
        state["cr"] = result._replace(cfunc=name)
        return True


class _PartCompiler(compiler.CompilerBase):  # type: ignore[misc]
    def define_pipelines(self) -> list[Any]:
        passes = compiler.DefaultPassBuilder.define_nopython_pipeline(self.state)
        passes.passes = [
            (_PartLowering if step is NativeLowering else step, description) for step, description in passes.passes
        ]
        passes.finalize()
        return [passes]


part: Callable[..., Any] = numba.njit(
    pipeline_class=_PartCompiler,
    no_cpython_wrapper=True,
    no_cfunc_wrapper=True,
    nogil=True,
    error_model="numpy",
    boundscheck=False,
)
"""Decorator: compile a function into the kernels that call it; Python cannot call it."""
