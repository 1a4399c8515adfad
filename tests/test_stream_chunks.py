"""Rows of a stream in chunks whose size does not depend on the blocks."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from streams_of_arrays import ArrayStream

from mlp.data.streams import chunks

SIZES = st.lists(st.integers(0, 30), min_size=1, max_size=12).filter(any)


def numbered(sizes, width=1, dtype=np.float32):
    n = sum(sizes)
    return ArrayStream(np.arange(n * width).reshape(n, width).astype(dtype), np.arange(n), sizes, 10)


@given(SIZES, st.integers(1, 20), st.integers(1, 200))
def test_chunks_have_all_rows_in_order_and_a_multiple_of_them_each(sizes, multiple, chunk_bytes):
    stream, whole = numbered(sizes), chunks.CHUNK_BYTES
    chunks.CHUNK_BYTES = chunk_bytes
    try:
        parts = list(chunks.chunks(stream, multiple))
    finally:
        chunks.CHUNK_BYTES = whole
    assert_array_equal(np.concatenate([X for X, _ in parts]), stream.X)
    assert_array_equal(np.concatenate([y for _, y in parts]), stream.y)
    rows = max(chunk_bytes // (4 * multiple), 1) * multiple
    assert [len(X) for X, _ in parts[:-1]] == [rows] * (len(parts) - 1)
    assert 0 < len(parts[-1][0]) <= rows


@given(SIZES, st.integers(1, 400))
def test_first_rows_read_no_more_blocks_than_they_need(sizes, count):
    stream = numbered(sizes)
    X, y = chunks.first_rows(stream, count)
    assert_array_equal(X, stream.X[:count])
    assert_array_equal(y, np.arange(sum(sizes))[:count])
    ends = np.cumsum(sizes)
    needed = [block for block, size in enumerate(sizes) if size and ends[block] - size < count]
    assert stream.reads == needed


@given(SIZES, st.integers(0, 5), st.sampled_from([0.2, 0.5]))
def test_row_numbers_of_a_part_are_those_of_the_whole(sizes, seed, fraction):
    stream = numbered([*sizes, 50])
    for part in (stream, *stream.split(fraction, seed)):
        numbers = np.concatenate(list(chunks.row_numbers(part, stream)))
        assert_array_equal(np.concatenate([y for _, y in part]), numbers)
