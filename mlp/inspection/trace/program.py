"""A trace as a NumPy program: the source text of the formulas, and the steps line by line."""

from __future__ import annotations

import inspect
from types import FunctionType
from typing import Any

from mlp._backends import ConfigurationError, formulas
from mlp.inspection.trace.quantities import Quantity, Recording

MAX_NUMBERS = 20_000
"""A program with more numbers than this would not be readable."""

_ERFC = '''def erfc(z: Any) -> Any:
    """Complementary error function, which is not part of NumPy."""
    return np.array([math.erfc(value) for value in z.ravel()], z.dtype).reshape(z.shape)
'''

_HEAD = '''"""Training steps of a network, computed again with NumPy only.

Network: {title}
This program prints each quantity, and fails if one differs from the trace.
"""

import math
from typing import Any

import numpy as np
from numpy import {names}

dtype = np.{dtype}


def array(values: Any) -> Any:
    """Given values, in the data type of the network."""
    return np.array(values, dtype)


def check(name: str, computed: Any, expected: Any) -> None:
    """Print a computed quantity and compare it with the trace."""
    print(f"{{name}} = {{np.asarray(computed).tolist()}}")
    np.testing.assert_allclose(computed, expected, rtol={rtol:g}, atol={atol:g}, err_msg=name)


'''


def to_numpy_program(trace: Recording) -> str:
    """See `Trace.to_numpy_program`."""
    _require_readable(trace)
    sources, names = _formulas(trace)
    rtol, atol = (1e-9, 1e-12) if trace.dtype == "float64" else (1e-4, 1e-6)
    head = _HEAD.format(title=trace.title, names=", ".join(names), dtype=trace.dtype, rtol=rtol, atol=atol)
    lines = [head + "\n\n".join(filter(None, sources))]
    for step in trace.steps:
        lines += ["", f"# {step.title}"]
        for quantity in step.quantities:
            lines += _quantity(quantity)
    return "\n".join(lines) + "\n"


def _require_readable(trace: Recording) -> None:
    if any(quantity.hidden for step in trace.steps for quantity in step.quantities):
        raise ConfigurationError("a program computes with the values of the rows; use another format without them.")
    network = trace.network
    custom = [row.name for row in network.activations if row.custom]
    custom += [network.kind.loss.name] * network.kind.loss.custom
    if custom:
        raise ConfigurationError(
            f"{custom[0]!r} is a user-defined function, whose source cannot be part of the program; use another format."
        )
    numbers = sum(quantity.values.size for step in trace.steps for quantity in step.quantities)
    if numbers > MAX_NUMBERS:
        raise ConfigurationError(
            f"the program would contain {numbers:,} numbers, but at most {MAX_NUMBERS:,} are allowed; trace a smaller "
            "network, fewer rows or fewer steps, or use another format, which summarises large arrays."
        )


def _formulas(trace: Recording) -> tuple[list[str], list[str]]:
    """Source text of the constants and formulas that are used, and the names that they import from NumPy."""
    network, kind = trace.network, trace.network.kind
    pending: list[Any] = [trace.optimizer.rule.row.formula, kind.fused or kind.loss.formula, kind.output.forward]
    pending += [function for row in network.activations[:-1] for function in (row.forward, row.backward)]
    if kind.fused is None:
        pending.append(kind.output.backward)
    constants: dict[str, str] = {}
    functions: dict[str, str] = {}
    names = {"abs", "maximum", "minimum", "sign", "sqrt", "where"}
    while pending:
        function = pending.pop(0)
        if function is formulas.erfc:
            functions["erfc"] = _ERFC
        elif isinstance(function, FunctionType):
            functions[function.__name__] = inspect.getsource(function)
            for name in function.__code__.co_names:
                value = function.__globals__.get(name)
                if name in formulas.NAMES:
                    names.add(name)
                elif isinstance(value, float):
                    constants[name] = f"{name} = {value!r}\n"
                elif name not in functions:
                    pending.append(value)
    return ["".join(constants.values()), *functions.values()], sorted(names)


def _quantity(quantity: Quantity) -> list[str]:
    """The lines that compute a quantity and check it."""
    values = quantity.values.tolist()
    comment = f"# {quantity.equation}"
    if quantity.code is None:
        return ["", comment, f"{quantity.name} = array({values!r})"]
    return ["", comment, *quantity.code.splitlines(), f"check({quantity.name!r}, {quantity.name}, {values!r})"]
