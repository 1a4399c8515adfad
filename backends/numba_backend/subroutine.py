"""`subroutine`: a decorator for compiled functions that only other compiled functions call.

Numba generates machine code and a Python wrapper for every compiled function, and then compiles the same code
again inside each caller.  For a kernel of a hundred small functions this more than doubles the compile time.
A subroutine is only translated to LLVM IR, without optimization or machine code.  Both happen once, in the
kernel that it is linked into.

Most of the rest of the time goes into Numba's passes over its own representation of the code.  A subroutine has only
those that its simple code needs: it works on numbers, pointers and tuples of these, so it has neither references to
count, nor closures, nor expressions of arrays.
"""

# mypy: allow-untyped-decorators

from __future__ import annotations

import functools
import itertools
import os
import secrets
from collections.abc import Callable, Collection
from typing import Any

import llvmlite.binding as llvm
from numba.core import bytecode, cgutils, compiler, types, typing
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler_machinery import PassManager, register_pass
from numba.core.registry import CPUDispatcher
from numba.core.typed_passes import AnnotateTypes, NativeLowering, NoPythonBackend, NopythonTypeInference
from numba.core.untyped_passes import FixupArgs, IRProcessing, TranslateByteCode
from numba.extending import intrinsic


def _make_symbols_unique() -> None:
    # The symbol of a compiled function is its name with a number, which Numba counts from 1 in each process.  A kernel
    # from the cache brings the numbers of the process that compiled it.  Two different functions of the same name, such
    # as the loop of two losses, could then have one symbol, and one of them would silently run in place of the other.
    bytecode.FunctionIdentity._unique_ids = itertools.count(secrets.randbits(48))


_make_symbols_unique()
if hasattr(os, "register_at_fork"):  # the children of one parent would go on with the same numbers
    os.register_at_fork(after_in_child=_make_symbols_unique)


class _UnoptimizedLibrary(JITCodeLibrary):  # type: ignore[misc]  # numba has no types
    """LLVM IR of one function, which is linked into kernels together with that of the functions it calls."""

    @property
    def with_callees(self) -> list[Any]:
        """This library and those that it needs, directly or indirectly, each of them once."""
        return list(dict.fromkeys([self, *self._linking_libraries]))

    def add_ir_module(self, ir_module: Any) -> None:
        for function in ir_module.functions:
            if not function.is_declaration:
                function.linkage = "linkonce_odr"  # it may be linked into several kernels
        module = llvm.parse_assembly(cgutils.normalize_ir_text(str(ir_module)))
        module.name, module.data_layout = ir_module.name, self._codegen._data_layout
        self._final_module = module

    def finalize(self) -> None:
        self._raise_if_finalized()
        self._finalize_dynamic_globals()
        self._finalized = True


@register_pass(mutates_CFG=True, analysis_only=False)
class _SubroutineLowering(NativeLowering):  # type: ignore[misc]
    _name = "subroutine_lowering"

    def run_pass(self, state: Any) -> bool:
        state.library = _UnoptimizedLibrary(state.targetctx.codegen(), state.func_id.func_qualname)
        state.flags.no_compile = True
        super().run_pass(state)
        # Numba identifies compiled code by the built-in function that Python would call; any unique one will do
        result = state["cr"]
        name: Any = [].index
        state.targetctx.insert_user_function(name, result.fndesc, state.library.with_callees)
        state["cr"] = result._replace(cfunc=name)
        return True


class _SimpleFunction(CPUDispatcher):  # type: ignore[misc]
    """A function that is compiled once for the types of its arguments.

    Numba would compile it, and all functions that it calls, again for each constant among the arguments.
    """

    constants: frozenset[str] = frozenset()
    """Names of the parameters for which it does."""

    def get_call_template(self, args: Any, kws: Any) -> Any:
        signature, folded = self._compiler.fold_argument_types(args, kws)
        chosen = tuple(
            kind if name in self.constants else types.unliteral(kind)  # type: ignore[attr-defined]
            for name, kind in zip(signature.parameters, folded, strict=True)
        )
        if chosen not in self.overloads:
            self.compile(chosen)
        name = self.py_func.__name__
        template = typing.make_concrete_template(name, name, [self.overloads[chosen].signature])
        return template, signature, chosen, {}


def simple_function(
    function: Callable[..., Any], *further_passes: type, lowering: type = _SubroutineLowering, **options: Any
) -> Any:
    """A compiled function of numbers, pointers and tuples of these, for compiled callers.

    Parameters
    ----------
    further_passes : FunctionPass
        Passes over the code before its types are inferred.
    lowering : LoweringPass
        The pass that generates code: that of a subroutine, or `NativeLowering` for machine code.
    options
        Options of Numba.
    """

    class Compiler(compiler.CompilerBase):  # type: ignore[misc]
        def define_pipelines(self) -> list[Any]:
            passes = PassManager("simple function")
            for step in (
                TranslateByteCode, FixupArgs, IRProcessing, *further_passes,
                NopythonTypeInference, AnnotateTypes, lowering, NoPythonBackend,
            ):  # fmt: skip
                passes.add_pass(step, step.__name__)
            passes.finalize()
            return [passes]

    options = {
        "nopython": True, "nogil": True, "error_model": "numpy", "boundscheck": False,
        "no_cpython_wrapper": True, "no_cfunc_wrapper": True,
    } | options  # fmt: skip
    return functools.update_wrapper(_SimpleFunction(function, {}, options, Compiler), function)


def subroutine(function: Callable[..., Any], constants: Collection[str] = ()) -> Any:
    """Decorator: compile a function as part of the kernels that call it.  Python code cannot call it.

    Parameters
    ----------
    constants : collection of str
        Parameters for which a version is compiled for each constant that a caller gives for them.
    """
    compiled = simple_function(function)
    compiled.constants = frozenset(constants)
    return compiled


@intrinsic
def noinline(typingctx: Any) -> Any:
    """Forbid inlining of the calling function: tiles are large, and each inlined copy would be compiled again."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        builder.function.attributes.add("noinline")
        return context.get_dummy_value()

    return types.void(), codegen
