"""Lists of the entries that are not zero, for products that leave out zeros.

A tile of a product has `ROWS` rows of its first factor.  A list says in which columns not all of these rows are zero:
their number, followed by the column numbers.  Only these columns add to the sums of the tile, if the second factor is
finite.  An empty list is followed by the number of any column, so that one product with zero can be computed.
"""

# mypy: allow-untyped-decorators

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir as llvm
from numba.core import cgutils, types
from numba.extending import intrinsic
from numpy.typing import NDArray

from backends.numba_backend.integers import larger, smaller
from backends.numba_backend.pointers import offset
from backends.numba_backend.register_tiles import ROWS
from backends.numba_backend.subroutine import noinline, subroutine

GROUP = 8
"""Entries that are compared with zero at once."""

DENSE_COLUMNS = 0.75
"""Share of columns in the lists from which on the lists cost more time than they save."""

SAMPLE_ROWS = 256
"""Rows of the data by which the share is estimated."""

_I32, _I64 = llvm.IntType(32), llvm.IntType(64)


def list_length(columns: int) -> int:
    """Number of int32 entries that the list of so many columns may need."""
    return 1 + -(-columns // GROUP) * GROUP + GROUP


def column_share(X: NDArray[Any]) -> float:
    """Share of the columns that a list has on average, for the rows of X in random order.

    Examples
    --------
    >>> column_share(np.zeros((100, 5))), column_share(np.ones((100, 5)))
    (0.0, 1.0)
    """
    rows = X[:: max(1, len(X) // SAMPLE_ROWS)][:SAMPLE_ROWS] != 0
    rows = rows[: max(1, len(rows) // ROWS) * ROWS]
    starts = np.arange(0, len(rows), ROWS)
    return float(np.mean(np.logical_or.reduceat(rows, starts, axis=0))) if rows.size else 1.0


@intrinsic
def _nonzero(typingctx: Any, start: Any) -> Any:
    """Bits that say which of the next `GROUP` numbers are not zero; NaN is not."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        scalar = llvm.FloatType() if start.dtype == types.float32 else llvm.DoubleType()
        vector = llvm.VectorType(scalar, GROUP)
        numbers = builder.load(builder.bitcast(values[0], vector.as_pointer()), align=int(start.dtype.bitwidth) // 8)
        differ = builder.fcmp_unordered("!=", numbers, llvm.Constant(vector, [0.0] * GROUP))
        return builder.zext(builder.bitcast(differ, llvm.IntType(GROUP)), _I64)

    return types.int64(start), codegen


def _numbers_of_bits() -> NDArray[np.int32]:
    """For each byte, the numbers of its bits that are set, in order; the rest is 0."""
    table = np.zeros((2**GROUP, GROUP), np.int32)
    for byte in range(2**GROUP):
        numbers = [bit for bit in range(GROUP) if byte >> bit & 1]
        table[byte, : len(numbers)] = numbers
    return table


@intrinsic
def _append(typingctx: Any, items: Any, count: Any, first: Any, bits: Any) -> Any:
    """Write ``first + bit`` for each bit that is set after `count` items; return the new count."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        target, length, start, byte = values
        vector = llvm.VectorType(_I32, GROUP)
        rows = [llvm.Constant(vector, [int(number) for number in row]) for row in _numbers_of_bits()]
        table = cgutils.global_constant(
            builder, "numbers_of_bits", llvm.Constant(llvm.ArrayType(vector, 2**GROUP), rows)
        )
        numbers = builder.load(builder.gep(table, [_I64(0), byte]))
        one = builder.insert_element(llvm.Constant(vector, llvm.Undefined), builder.trunc(start, _I32), _I32(0))
        starts = builder.shuffle_vector(one, llvm.Constant(vector, llvm.Undefined), llvm.Constant(vector, [0] * GROUP))
        place = builder.bitcast(builder.gep(target, [length]), vector.as_pointer())
        builder.store(builder.add(numbers, starts), place, align=4)
        return builder.add(length, builder.ctpop(byte))

    return types.int64(items, types.int64, types.int64, types.int64), codegen


@intrinsic
def _magnitude(typingctx: Any, start: Any, number: Any) -> Any:
    """Bits of the absolute value of entry `number`; they are ordered as the values, with infinity and NaN last."""
    width = 32 if start.dtype == types.float32 else 64
    integer: Any = types.int32 if width == 32 else types.int64

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        bits = llvm.IntType(width)
        entry = builder.load(builder.gep(builder.bitcast(values[0], bits.as_pointer()), [values[1]]))
        return builder.and_(entry, bits((1 << (width - 1)) - 1))

    return integer(start, types.intp), codegen


@intrinsic
def _as_number(typingctx: Any, bits: Any) -> Any:
    """The number that has these bits, as a double."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        if bits == types.int32:
            return builder.fpext(builder.bitcast(values[0], llvm.FloatType()), llvm.DoubleType())
        return builder.bitcast(values[0], llvm.DoubleType())

    return types.float64(bits), codegen


@subroutine
def largest(numbers, count):  # type: ignore[no-untyped-def]
    """Largest absolute value; infinity or NaN if one of the numbers is not finite."""
    noinline()
    result = _magnitude(numbers, 0)
    for i in range(1, count):
        result = larger(result, _magnitude(numbers, i))
    return _as_number(result)


@subroutine
def list_columns(x, row, rows, columns, lists, stride):  # type: ignore[no-untyped-def]
    """Lists of the columns of x (rows, columns), one for each `ROWS` rows."""
    noinline()
    for i in range(0, rows, ROWS):
        first, items, count = offset(x, i * row), offset(lists, i // ROWS * stride + 1), 0
        height = smaller(ROWS, rows - i)
        items[0] = np.int32(0)
        for k in range(0, columns, GROUP):
            bits = np.int64(0)
            if height == ROWS:
                for r in range(ROWS):
                    bits |= _nonzero(offset(first, r * row + k))
            else:
                for r in range(height):
                    bits |= _nonzero(offset(first, r * row + k))
            if columns - k < GROUP:
                bits &= (1 << (columns - k)) - 1
            if bits:
                count = _append(items, count, k, bits)
        lists[i // ROWS * stride] = np.int32(count)


@subroutine
def list_rows(x, row, rows, columns, lists, stride):  # type: ignore[no-untyped-def]
    """Lists of the rows of x (rows, columns), one for each `ROWS` columns: the columns of its transpose."""
    noinline()
    for k in range(0, columns, ROWS):
        first, items, count = offset(x, k), offset(lists, k // ROWS * stride + 1), 0
        inside = (1 << smaller(ROWS, columns - k)) - 1
        for i in range(rows):
            items[count] = np.int32(i)
            count += 1 if _nonzero(offset(first, i * row)) & inside else 0
        lists[k // ROWS * stride] = np.int32(count)
