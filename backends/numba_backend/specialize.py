"""`specialize`: compile a formula that was written for arrays, such as ``1 / (1 + exp(-z))``, as a scalar function."""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import CellType, FunctionType
from typing import Any

import numpy as np

from backends.numba_backend.formula_compiler import formula
from backends.numba_backend.vector_math import SCALARS


@functools.cache
def specialize(function: Callable[..., Any], dtype: Any) -> Any:
    """Compile a formula written for arrays as a function of scalars of one type.

    The code of `function` is used unchanged.  The names of `SCALARS` are bound to the functions of
    `vector_math`, and other Python functions that it calls are specialized too.  Every number, whether a
    literal, a global or a default, gets the type of the arguments, so ``1 / (1 + e)`` stays in float32.

    Parameters
    ----------
    function : callable
        A pure function of numbers, without keyword-only parameters (Numba does not support them).  The condition
        of ``where`` must be a comparison, and both branches must have one type.  ``(z > 0) * x`` is float64 in
        Numba: write ``where(z > 0, x, 0)``.
    dtype : numpy dtype
        float32 or float64: the type of every argument.

    Returns
    -------
    numba dispatcher
        Can be called from compiled code, where it is inlined.

    Examples
    --------
    >>> import numba
    >>> from numpy import exp
    >>> def logistic(z):
    ...     return 1 / (1 + exp(-z))
    >>> scalar_logistic = specialize(logistic, np.float32)
    >>> kernel = numba.njit(lambda z: scalar_logistic(z))
    >>> float(kernel(np.float32(0)))
    0.5
    >>> scalar_logistic.nopython_signatures
    [(float32,) -> float32]
    """
    real = np.dtype(dtype).type
    if real not in (np.float32, np.float64):
        raise TypeError(f"formulas can only be compiled for float32 and float64, not for {np.dtype(dtype)}")

    def rebind(name: str, value: Any) -> Any:
        if name in SCALARS:
            return SCALARS[name]
        return specialize(value, dtype) if isinstance(value, FunctionType) else value

    def convert(value: Any) -> Any:
        return real(value) if type(value) in (int, float) else value

    code = function.__code__
    names = {name: rebind(name, function.__globals__.get(name)) for name in code.co_names}
    names["__name__"] = function.__module__
    cells = tuple(
        CellType(rebind(name, cell.cell_contents))
        for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True)
    )
    defaults = tuple(map(convert, function.__defaults__ or ())) or None
    copy = FunctionType(code, {k: v for k, v in names.items() if v is not None}, function.__name__, defaults, cells)
    copy.__qualname__, copy.__doc__ = function.__qualname__, function.__doc__
    return formula(copy)
