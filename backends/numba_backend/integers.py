"""The smaller and the larger of two integers in compiled code.

Numba compiles a function of its own for ``min`` and ``max`` for each pair of types, which takes as long as ten lines.
"""

# mypy: allow-untyped-decorators

from __future__ import annotations

from typing import Any

from numba.core import types
from numba.extending import intrinsic


def _chosen(comparison: str, x: Any, y: Any) -> Any:
    x, y = types.unliteral(x), types.unliteral(y)  # type: ignore[attr-defined]
    if not {x, y} <= {types.int32, types.int64}:
        return None
    kind: Any = x if x == y else types.intp

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.select(builder.icmp_signed(comparison, *values), *values)

    return kind(kind, kind), codegen


@intrinsic
def smaller(typingctx: Any, x: Any, y: Any) -> Any:
    """The smaller of two signed integers."""
    return _chosen("<", x, y)


@intrinsic
def larger(typingctx: Any, x: Any, y: Any) -> Any:
    """The larger of two signed integers."""
    return _chosen(">", x, y)
