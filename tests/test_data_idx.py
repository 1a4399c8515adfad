"""The IDX reader: every data type, damaged files, and no allocation for data that the file does not contain."""

from __future__ import annotations

import gzip
import struct
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mlp._backends import FileFormatError, MLPError
from mlp.data import read_idx

CODES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}


def idx_bytes(array: np.ndarray[Any, Any]) -> bytes:
    header = bytes([0, 0, CODES[array.dtype.str[1:]], array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


arrays = st.sampled_from(list(CODES)).flatmap(
    lambda code: hnp.arrays(code, hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=4))
)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("idx") / "array-idx-ubyte"


@given(array=arrays, compressed=st.booleans())
@settings(deadline=None, max_examples=150)
def test_round_trip(path: Path, array: np.ndarray[Any, Any], compressed: bool) -> None:
    path.write_bytes(gzip.compress(idx_bytes(array)) if compressed else idx_bytes(array))
    result = read_idx(path)
    assert result.dtype == array.dtype
    assert result.dtype.isnative
    np.testing.assert_array_equal(result, array)


@given(array=arrays, compressed=st.booleans(), data=st.data())
@settings(deadline=None, max_examples=150)
def test_every_truncation_is_refused(
    path: Path, array: np.ndarray[Any, Any], compressed: bool, data: st.DataObject
) -> None:
    raw = gzip.compress(idx_bytes(array)) if compressed else idx_bytes(array)
    path.write_bytes(raw[: data.draw(st.integers(0, len(raw) - 1))])
    with pytest.raises(FileFormatError, match="array-idx-ubyte"):
        read_idx(path)


@given(array=arrays, compressed=st.booleans(), data=st.data())
@settings(deadline=None, max_examples=300)
def test_flipped_bytes_raise_our_errors_only(
    path: Path, array: np.ndarray[Any, Any], compressed: bool, data: st.DataObject
) -> None:
    raw = bytearray(gzip.compress(idx_bytes(array)) if compressed else idx_bytes(array))
    for position in data.draw(st.lists(st.integers(0, len(raw) - 1), min_size=1, max_size=4)):
        raw[position] = data.draw(st.integers(0, 255))
    path.write_bytes(raw)
    tracemalloc.start()
    try:
        read_idx(path)
    except MLPError:
        pass
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 3 * 2**20  # the file has a few hundred bytes; the rest are buffers of gzip


@pytest.mark.parametrize("compressed", [False, True])
def test_a_small_file_that_declares_32_gib_takes_no_memory(path: Path, compressed: bool) -> None:
    raw = bytes([0, 0, 0x0E, 2]) + struct.pack(">2I", 2**16, 2**16) + bytes(116)
    path.write_bytes(gzip.compress(raw) if compressed else raw)
    tracemalloc.start()
    with pytest.raises(FileFormatError, match="34359738"):
        read_idx(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20


def test_gzip_cannot_hold_what_is_declared_even_below_the_limit(path: Path) -> None:
    path.write_bytes(gzip.compress(bytes([0, 0, 8, 1]) + struct.pack(">I", 2**30)))
    with pytest.raises(FileFormatError, match=r"declares 1073741824 bytes, but its .* compressed bytes cannot hold"):
        read_idx(path)


def test_a_gzip_bomb_is_not_expanded(path: Path) -> None:
    path.write_bytes(gzip.compress(bytes([0, 0, 8, 1, 0, 0, 0, 3]) + bytes(50 * 2**20)))
    tracemalloc.start()
    with pytest.raises(FileFormatError, match="holds more"):
        read_idx(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20


def test_the_limit_on_expansion_is_the_callers(path: Path) -> None:
    path.write_bytes(gzip.compress(idx_bytes(np.zeros(1000, dtype=np.uint8))))
    with pytest.raises(FileFormatError, match="limit of 999"):
        read_idx(path, max_bytes=999)
    assert read_idx(path, max_bytes=1000).shape == (1000,)


def test_trailing_bytes_are_refused(path: Path) -> None:
    path.write_bytes(idx_bytes(np.arange(3, dtype=np.uint8)) + b"\0")
    with pytest.raises(FileFormatError, match="11 bytes with its header, but has 12"):
        read_idx(path)


def test_a_shape_beyond_any_array_beside_a_zero_is_refused(path: Path) -> None:
    path.write_bytes(bytes([0, 0, 8, 4]) + struct.pack(">4I", 0, 2**32 - 1, 2**32 - 1, 2**32 - 1))
    with pytest.raises(FileFormatError, match="impossible shape"):
        read_idx(path)


@pytest.mark.parametrize(
    "magic", [b"\x00\x00\x07\x01", b"\x00\x01\x08\x01", b"\x00\x00\x08\x00", b"PK\x03\x04", b"\x00"]
)
def test_a_foreign_magic_number_is_shown(path: Path, magic: bytes) -> None:
    path.write_bytes(magic + bytes(8) if len(magic) == 4 else magic)
    with pytest.raises(FileFormatError, match=f"begins with the bytes '{magic.hex(' ')}'"):
        read_idx(path)
