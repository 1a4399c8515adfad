"""Parquet files: the types of columns, and the limits on what a file may expand to."""

from __future__ import annotations

import datetime
import itertools
import os
import subprocess
import sys
import zlib
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from parquet_bytes import DICTIONARY, GZIP, RLE_DICTIONARY, TEXT, Column, Page, of, varint

from mlp._backends import ConfigurationError, DataError, DtypeError, FileFormatError
from mlp.data import load, parquet, read_table
from mlp.data.parquet_layout import read_footer

pl = pytest.importorskip("polars")
pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")
ROOT = Path(__file__).parent.parent


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("MLP_MAX_EXPANDED_BYTES", raising=False)
    return tmp_path / "table.parquet"


def written(path: Path, **columns: Any) -> Path:
    pl.DataFrame(columns).write_parquet(path)
    return path


INTEGERS = [pl.Int8, pl.Int16, pl.Int32, pl.Int64, pl.UInt8, pl.UInt16, pl.UInt32, pl.UInt64]


@pytest.mark.parametrize("dtype", [*INTEGERS, pl.Float32, pl.Float64])
def test_numbers_keep_their_type_unless_a_value_is_missing(path: Path, dtype: Any) -> None:
    table = read_table(written(path, x=pl.Series([1, 2, 3], dtype=dtype), y=pl.Series([1, None, 3], dtype=dtype)))
    assert table["x"].dtype == pl.Series([1], dtype=dtype).to_numpy().dtype
    assert table["x"].tolist() == [1, 2, 3]
    assert table["y"].dtype == (np.float32 if dtype == pl.Float32 else np.float64)
    np.testing.assert_array_equal(table["y"], [1, np.nan, 3])


def test_the_largest_integers_are_exact_or_refused(path: Path) -> None:
    assert read_table(written(path, x=[2**63 - 1, -(2**63)]))["x"].tolist() == [2**63 - 1, -(2**63)]
    assert read_table(written(path, x=pl.Series([2**64 - 1], dtype=pl.UInt64)))["x"].tolist() == [2**64 - 1]
    assert read_table(written(path, x=[2**53, None]))["x"][0] == 2**53
    with pytest.raises(DataError, match=r"column 'x' has missing values and integers above 2\*\*53"):
        read_table(written(path, x=[2**53 + 1, None]))


def test_booleans_texts_and_empty_columns(path: Path) -> None:
    table = read_table(
        written(
            path, b=[True, False, True], bn=[True, None, False], t=["a", None, "é"], n=[None, None, None],
            e=pl.Series([None] * 3, dtype=pl.String), f=[np.nan, None, np.inf],
        )
    )  # fmt: skip
    assert (table["b"].dtype, table["b"].tolist()) == (np.bool_, [True, False, True])
    assert (table["bn"].dtype, table["bn"].tolist()) == (object, [True, None, False])
    assert type(table["bn"][0]) is bool
    assert table["t"].tolist() == ["a", None, "é"]
    assert np.isnan(table["n"]).all()
    assert table["e"].tolist() == [None] * 3
    np.testing.assert_array_equal(table["f"], [np.nan, np.nan, np.inf])


def test_categories_are_texts_or_what_they_stand_for(path: Path) -> None:
    written(
        path,
        c=pl.Series(["b", "a", None, "b"], dtype=pl.Categorical),
        e=pl.Series(["x", "y", "x", None], dtype=pl.Enum(["y", "x"])),
    )
    table = read_table(path)
    assert table["c"].tolist() == ["b", "a", None, "b"]
    assert table["e"].tolist() == ["x", "y", "x", None]
    columns = {"i": pa.array([7, 5, None]).dictionary_encode(), "s": pa.array(["b", "a", "b"]).dictionary_encode()}
    pq.write_table(pa.table(columns), path)
    np.testing.assert_array_equal(read_table(path)["i"], [7, 5, np.nan])
    assert read_table(path)["s"].tolist() == ["b", "a", "b"]


def test_many_categories_of_several_row_groups_and_names_with_points(path: Path) -> None:
    rng = np.random.default_rng(0)
    words = [f"w{i}" for i in rng.integers(0, 300, size=200_000)]
    numbers = pa.array(rng.integers(0, 128, 200_000), pa.int8(), mask=rng.random(200_000) < 0.1)
    small = pa.DictionaryArray.from_arrays(numbers, pa.array([f"c{i}" for i in range(128)]))
    columns = {"a": words, "a.b": [f"{i}" for i in range(200_000)], "c": small, "x": np.arange(200_000)}
    pq.write_table(pa.table(columns), path, row_group_size=70_000)
    table = read_table(path)
    assert table["a"].tolist() == words
    assert table["a.b"].tolist() == columns["a.b"]
    assert table["c"].tolist() == small.to_pylist()
    assert table["x"].tolist() == list(range(200_000))
    assert len({id(word) for word in table["a"]}) <= 4 * 300  # a text is stored once in each part


NESTED = [[[1], [2]], [{"a": 1}, {"a": 2}], pl.Series([[1.0, 2.0]] * 2, dtype=pl.Array(pl.Float64, 2))]


@pytest.mark.parametrize("values", NESTED)
def test_nested_columns_are_refused_by_name(path: Path, values: Any) -> None:
    with pytest.raises(DtypeError, match=r"column 'parts' is nested: it holds .*columns of their own, or remove it"):
        read_table(written(path, x=[1, 2], parts=values))


def test_maps_are_refused_by_name(path: Path) -> None:
    pq.write_table(pa.table({"m": pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64()))}), path)
    with pytest.raises(DtypeError, match="column 'm' is nested"):
        read_table(path)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([Decimal("1.50")], "decimal128.*convert decimals to floating-point numbers"),
        ([datetime.date(2020, 1, 1)], "date32.*convert dates and times to numbers"),
        ([datetime.datetime(2020, 1, 1)], "timestamp.*convert dates and times to numbers"),
        ([datetime.time(1)], "time64.*convert dates and times to numbers"),
        ([datetime.timedelta(1)], "duration.*convert dates and times to numbers"),
        ([b"a"], "binary"),
    ],
)
def test_other_types_are_refused_by_name_and_not_converted(path: Path, values: Any, message: str) -> None:
    with pytest.raises(DtypeError, match=f"column 'other' holds values of type .*{message}.*, or remove the column"):
        read_table(written(path, other=values))


def test_a_name_that_occurs_twice_and_no_rows_are_refused(path: Path) -> None:
    pq.write_table(pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"]), path)
    with pytest.raises(FileFormatError, match="column 'a': another column has the same name"):
        read_table(path)
    with pytest.raises(FileFormatError, match="has 1 columns and 0 rows"):
        read_table(written(path, a=pl.Series([], dtype=pl.Int64)))


@pytest.mark.parametrize("compression", ["none", "snappy", "gzip", "zstd", "lz4", "brotli"])
@pytest.mark.parametrize("version", ["1.0", "2.0"])
def test_every_compression_and_page_version(path: Path, compression: str, version: str) -> None:
    columns = {"x": np.arange(1000) / 3, "t": [f"text {i % 7}" for i in range(1000)], "b": np.arange(1000) % 3 == 0}
    pq.write_table(
        pa.table(columns), path, compression=compression, data_page_version=version, data_page_size=500,
        row_group_size=300, write_page_index=True,
    )  # fmt: skip
    table = read_table(path)
    assert {name: list(column) for name, column in table.items()} == {name: list(c) for name, c in columns.items()}


def test_texts_in_a_delta_encoding_are_refused_and_integers_are_read(path: Path) -> None:
    for encoding in ("DELTA_BYTE_ARRAY", "DELTA_LENGTH_BYTE_ARRAY"):
        pq.write_table(pa.table({"t": ["a", "b"]}), path, use_dictionary=False, column_encoding={"t": encoding})
        with pytest.raises(FileFormatError, match=f"column 't' holds texts in the encoding {encoding}"):
            read_table(path)
    encoding = {"i": "DELTA_BINARY_PACKED", "f": "BYTE_STREAM_SPLIT"}
    pq.write_table(pa.table({"i": [3, 1], "f": [1.5, 2.5]}), path, use_dictionary=False, column_encoding=encoding)
    assert {name: column.tolist() for name, column in read_table(path).items()} == {"i": [3, 1], "f": [1.5, 2.5]}


def test_a_wrong_checksum_of_a_page_is_noticed(path: Path) -> None:
    pq.write_table(pa.table({"x": np.arange(1000.0)}), path, compression="none", write_page_checksum=True)
    content = bytearray(path.read_bytes())
    content[2000] ^= 1
    path.write_bytes(content)
    with pytest.raises(FileFormatError, match="damaged"):
        read_table(path)


def run_of(n: int, kind: Any = None) -> bytes:
    """A file of n rows that are all the same value, from a dictionary."""
    run = b"\1" + varint(n << 1) + b"\0"
    value = (1).to_bytes(4, "little") + b"a" if kind == TEXT else np.ones(1).tobytes()
    pages = [Page(value, 1, len(value), kind=DICTIONARY), Page(run, n, len(run), RLE_DICTIONARY)]
    return of([Column(pages, **({"type": kind} if kind else {}))], n)


def test_a_file_may_expand_to_32_mib_or_to_1000_times_its_size(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_bytes(run_of(2**22 - 10))
    assert read_table(path)["x"].sum() == 2**22 - 10
    path.write_bytes(run_of(2**22))
    with pytest.raises(FileFormatError, match=r"would expand to \d+ bytes or more, above the limit of 33554432; if"):
        read_table(path)
    assert len(read_table(path, max_bytes=2**26)["x"]) == 2**22
    monkeypatch.setenv("MLP_MAX_EXPANDED_BYTES", str(2**26))
    assert len(read_table(path)["x"]) == 2**22
    with pytest.raises(FileFormatError, match="above the limit of 1000"):
        read_table(path, max_bytes=1000)
    for wrong in ("8 GB", "-1", "0", "1e9"):
        monkeypatch.setenv("MLP_MAX_EXPANDED_BYTES", wrong)
        with pytest.raises(
            ConfigurationError, match=f"MLP_MAX_EXPANDED_BYTES is '{wrong}', expected a number of bytes"
        ):
            read_table(path)


def test_a_text_of_many_rows_is_one_python_string(path: Path) -> None:
    path.write_bytes(run_of(100_000, TEXT))
    column = read_table(path)["x"]
    assert set(column.tolist()) == {"a"}


def test_pages_that_hold_more_than_the_footer_says_are_refused_before_they_are_decompressed(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    zeros = zlib.compressobj(wbits=31)
    content = zeros.compress(bytes(2**26)) + zeros.flush()
    monkeypatch.setattr(parquet, "_read_column", None)
    for pages, n_rows, message in (
        ([Page(content, 10, 2**26)], 10, "would expand to"),
        ([Page(content, 20, 100)], 10, "has 20 values in 10 rows"),
        ([Page(content, 200, 100, kind=DICTIONARY), Page(b"", 10, 0)], 10, "a dictionary of 200 values in 100 bytes"),
    ):
        path.write_bytes(of([Column(pages, codec=GZIP)], n_rows))
        with pytest.raises(FileFormatError, match=message):
            read_table(path)


def test_short_texts_count_as_python_strings(path: Path) -> None:
    n = 400_000  # of two characters, so 6 bytes each in the file, and 64 in memory
    content = b"\2\0\0\0ab" * n
    compressor = zlib.compressobj(wbits=31)
    page = Page(compressor.compress(content) + compressor.flush(), n, len(content))
    path.write_bytes(of([Column([page], TEXT, GZIP)], n))
    with pytest.raises(FileFormatError, match=f"would expand to {n * (8 + 6 + 56)} bytes or more"):
        read_table(path, max_bytes=n * (8 + 6 + 56) - 1)
    assert len(read_table(path, max_bytes=n * (8 + 6 + 56))["x"]) == n


def test_rows_that_row_groups_do_not_have_are_refused(path: Path) -> None:
    content = bytearray(run_of(10))
    with pytest.raises(FileFormatError, match="declare -1 rows, and 0 in all row groups"):
        read_footer(b"\0", "'x'")
    start = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    place = content.index(b"\x16\x14", start)  # the field of 64 bits with the number of rows
    content[place + 1] = 12 << 1
    path.write_bytes(content)
    with pytest.raises(FileFormatError, match="declare 12 rows, and 10 in all row groups"):
        read_table(path)


def test_a_footer_that_ends_the_process_elsewhere_is_an_error_here(path: Path) -> None:
    """pyarrow 26 ends the process if Python asks it for the columns of some of these files."""
    columns = {"b": [True, False] * 12, "i": [None, *range(23)]}
    pq.write_table(pa.table(columns), path, compression="gzip")
    good = path.read_bytes()
    program = "import sys, mlp.data, pathlib\nfor path in sys.argv[1:]:\n"
    program += "    try: mlp.data.read_table(path)\n    except mlp.MLPError: pass\n"
    start = len(good) - 8 - int.from_bytes(good[-8:-4], "little")
    paths = []
    for place, bit in itertools.product(range(start, start + 40), range(8)):
        paths.append(path.with_name(f"{place}-{bit}.parquet"))
        paths[-1].write_bytes(good[:place] + bytes([good[place] ^ 1 << bit]) + good[place + 1 :])
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", program, *map(str, paths)], env=environment, capture_output=True)
    assert done.returncode == 0, done.stderr


def test_pandas_is_not_imported(path: Path) -> None:
    written(path, x=[1.0, None], i=[1, None], b=[True, None], t=["a", None])
    program = "import sys, mlp.data; mlp.data.read_table(sys.argv[1]); assert 'pandas' not in sys.modules"
    subprocess.run([sys.executable, "-c", program, str(path)], check=True, env=os.environ | {"PYTHONPATH": str(ROOT)})


def test_a_data_set_with_categories_is_loaded(path: Path) -> None:
    n = 100
    cities = pl.Series([("Oslo", "Bergen", None)[i % 3] for i in range(n)], dtype=pl.Categorical)
    written(path, age=[None if i % 9 == 0 else i for i in range(n)], city=cities, survived=[i % 2 for i in range(n)])
    dataset = load(path, target="survived")
    assert dataset.feature_names == ("age", "city=Bergen", "city=Oslo", "city is missing")
    assert dataset.classes == (0, 1)
