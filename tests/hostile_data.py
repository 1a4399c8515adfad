"""Data files for tests: small valid ones of every format, and those that are made to use up time or memory."""

from __future__ import annotations

import functools
import gzip
import io
import os
import pickle
import zipfile
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from parquet_bytes import (
    DELTA_LENGTHS,
    DELTA_TEXT,
    DICTIONARY,
    GZIP,
    INT64,
    RLE_DICTIONARY,
    TEXT,
    Column,
    Page,
    of,
    thrift,
    varint,
    zigzag,
)

MEBI = 2**20
_BOMB = 128 * MEBI


def valid() -> Iterator[tuple[str, bytes]]:
    """The name and content of files that are read; polars and pyarrow must be installed."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    n = 24
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(n, 3)), np.arange(n) % 2
    cities = [("Oslo", "Bergen", None)[i % 3] for i in range(n)]
    lines = [f'{x:.3f},{i},{city or "NA"},"a ""b"", {i}"' for (x, *_), i, city in zip(X, range(n), cities, strict=True)]
    text = "\n".join(["x,i,city,note", *lines, ""])
    yield "rows.csv", text.encode()
    yield "rows.tsv", text.replace(",", "\t").replace("\n", "\r\n").encode()
    yield "rows.csv.gz", gzip.compress(text.encode(), mtime=0)
    yield "rows.csv.zst", pa.compress(text.encode(), codec="zstd", asbytes=True)
    for name, array in (("c", X), ("f", np.asfortranarray(X)), ("big", X.astype(">f4")), ("u", y.astype(np.uint8))):
        yield f"{name}.npy", _npy(array)
    for name, save in (("stored", np.savez), ("deflated", np.savez_compressed)):
        file = io.BytesIO()
        save(file, X=X, y=y)
        yield f"{name}.npz", file.getvalue()
    idx = bytes([0, 0, 8, 2, 0, 0, 0, n, 0, 0, 0, 1]) + bytes(range(n))
    yield "rows-idx2-ubyte", idx
    yield "rows-idx2-ubyte.gz", gzip.compress(idx, mtime=0)
    columns = {"x": X[:, 0], "i": pa.array([None if i % 5 == 0 else i for i in range(n)]), "city": cities, "b": y > 0}
    categories = pa.array(cities).dictionary_encode()
    for codec in ("none", "snappy", "zstd", "gzip"):
        file = io.BytesIO()
        pq.write_table(pa.table(columns | {"c": categories}), file, compression=codec)
        yield f"{codec}.parquet", file.getvalue()
    file = io.BytesIO()
    encodings = {"x": "BYTE_STREAM_SPLIT", "i": "DELTA_BINARY_PACKED"}
    pq.write_table(
        pa.table(columns), file, use_dictionary=False, column_encoding=encodings, data_page_version="2.0",
        write_page_checksum=True, row_group_size=10,
    )  # fmt: skip
    yield "encodings.parquet", file.getvalue()


def hostile() -> Iterator[tuple[str, bytes]]:
    """The name and content of files that must be refused in little time and memory."""
    yield from _hostile_text()
    yield from _hostile_arrays()
    yield from _hostile_idx()
    yield from _hostile_parquet()


def tables() -> Iterator[tuple[str, bytes, tuple[str, ...]]]:
    """Name and content of tables that people have, and options; each can be trained on, or is refused in one line."""
    rng = np.random.default_rng(0)
    x, n = [f"{value:.4f}" for value in rng.normal(size=200)], 200
    yes = ["yes" if float(value) > 0 else "no" for value in x]
    kinds = ["1", "x", "2024-01-01", "", "true", "12:30", "?"]

    def of(target: list[str] = yes, **columns: Any) -> bytes:
        rows = zip(*columns.values(), target, strict=True)
        return "\n".join([",".join([*columns, "y"]), *(",".join(row) for row in rows), ""]).encode()

    yield "all empty.csv", b"a,b,y\n" + b",,\n" * 20, ()
    yield "empty inputs.csv", of(a=[""] * n, b=["?"] * n), ()
    yield "constant inputs.csv", of(a=["1"] * n, b=["z"] * n), ()
    yield "constant target.csv", of(["yes"] * n, x=x), ()
    yield "constant numbers to predict.csv", of(["2.5"] * n, x=x), ()
    yield "the same name twice.csv", b"x,x,y\n" + b"1,2,a\n2,1,b\n" * 20, ()
    yield "10,000 categories.csv", of(yes * 100, x=x * 100, c=[f"c{i // 2}" for i in range(20_000)]), ()
    yield "mixed types.csv", of(m=[kinds[i % 7] for i in range(n)], x=x), ()
    yield "quoted line ends.csv", of(t=[f'"a\n{i % 3},"' for i in range(n)], x=x), ()
    yield "byte order mark.csv", b"\xef\xbb\xbf" + of(x=x), ()
    yield "latin-1.csv", of(x=x, t=["caf\xe9"] * n).decode().encode("latin-1"), ()
    yield "utf-16.csv", of(x=x).decode().encode("utf-16"), ()
    yield "large numbers.csv", of(x=x, big=["1e308", "-1e308"] * 100), ()
    yield "one large number.csv", of(x=[*x[:-1], "1e308"]), ()
    yield "large targets.csv", of([*["1.5e308", "-1.5e308"] * 100], x=x), ()
    yield "infinite numbers.csv", of(x=["inf", "-inf", *x[2:]]), ()
    yield "infinite targets.csv", of(["inf", *x[1:]], x=x), ()
    yield "dates of three kinds.csv", of(d=[("2024-01-31", "31.01.2024", "01/31/24")[i % 3] for i in range(n)], x=x), ()
    yield "impossible dates.csv", of(d=[f"2024-02-{i % 31 + 1:02}" for i in range(n)], x=x), ()
    yield "dates to predict.csv", of([f"2024-01-{i % 28 + 1:02}" for i in range(n)], x=x), ()
    yield "one row.csv", b"x,y\n1,2.5\n", ()
    yield "two rows.csv", b"x,y\n1,a\n2,b\n", ()
    yield "only a header.csv", b"x,y\n", ()
    yield "only a target.csv", b"y\n" + b"a\nb\n" * 20, ()
    yield "a row too short.csv", of(x=x) + b"1\n", ()
    yield "a row too long.csv", of(x=x) + b"1,2,3\n", ()
    yield "semicolons.csv", of(x=x, z=x).replace(b",", b";"), ()
    yield "an open quote.csv", of(x=x) + b'"1,no\n', ()
    yield "integers of 30 digits.csv", of(i=["9" * 30] * 100 + ["1" * 30] * 100, x=x), ()
    yield "a target with one rare class.csv", of([*yes[:-1], "maybe"], x=x), ()
    yield "classes that are ids.csv", of([f"id{i}" for i in range(n)], x=x), ()
    yield "names of markup.csv", of(**{"</script><img src=x onerror=alert(1)>": x, "\x1b[31m": x}), ()
    yield "names of spaces.csv", of(**{" ": x, "  ": x}), ()
    yield "no names.csv", of(**{"": x}), ()
    yield "a part of a date.csv", of(d=["2024-01-01", "2023-01-02"] * 100, **{"d year": x}), ()
    yield "marks of all kinds.csv", of(x=["NA", "n/a", "?", "-", "null", *x[5:]], c=["None", "a", ".", "b"] * 50), ()
    yield "missing targets.csv", of(["", "NA", "?", *yes[3:]], x=x), ()
    yield "no targets.csv", of([""] * n, x=x), ()
    yield "zero bytes.csv", of(x=x) + bytes(100), ()
    yield "500 columns.csv", of(**{f"c{i}": x for i in range(500)}), ()
    yield "asked for a column that is not there.csv", of(x=x), ("--drop", "z")
    yield "asked for numbers where there is text.csv", of(x=x, t=["a", "b"] * 100), ("--numeric", "t")
    yield "asked for 200 categories.csv", of(x=x, t=[f"t{i}" for i in range(n)]), ("--categorical", "t,x")


def tables_written_elsewhere() -> Iterator[tuple[str, bytes, tuple[str, ...]]]:
    """The same of tables in other encodings, with other separators, decimal marks and dates."""
    rng = np.random.default_rng(0)
    x, n = [f"{value:.4f}" for value in rng.normal(size=200)], 200
    yes = ["yes" if float(value) > 0 else "no" for value in x]
    comma = [value.replace(".", ",") for value in x]

    def of(separator: str = ";", target: list[str] = yes, **columns: Any) -> bytes:
        rows = zip(*columns.values(), target, strict=True)
        return "\n".join([separator.join([*columns, "y"]), *(separator.join(row) for row in rows), ""]).encode()

    yield "latin-1, and told.csv", of(t=["caf\xe9", "x"] * 100).decode().encode("latin-1"), ("--encoding", "latin-1")
    yield "utf-16, and told.csv", of(x=x).decode().encode("utf-16"), ("--encoding", "utf-16")
    yield "utf-16 cut off.csv", of(x=x).decode().encode("utf-16")[:-1], ("--encoding", "utf-16")
    yield "utf-8, but told otherwise.csv", of(t=["caf\xe9", "x"] * 100), ("--encoding", "ascii")
    yield "an encoding that is none.csv", of(x=x), ("--encoding", "base64")
    yield "decimal commas.csv", of(x=comma), ()
    yield "decimal commas to predict.csv", of(target=comma, x=x), ()
    yield "decimal commas in few values.csv", of(x=[*comma[:20], *["text"] * 180]), ()
    yield "decimal commas and points.csv", of(x=[*comma[:100], *x[100:]]), ()
    yield "decimal commas between commas.csv", of(",", x=comma), ()
    yield "decimal commas in quotes.csv", of(",", x=[f'"{value}"' for value in comma]), ("--decimal", ",")
    yield "decimal commas in quotes, and a bar.csv", of("|", x=[f'"{value}"' for value in comma]), ()
    yield "groups of digits.csv", of(x=[f"{i}.{i:03},5" for i in range(n)]), ()
    yield "tabs.csv", of("\t", x=x), ()
    yield "two separators.csv", of(x=x, z=["1,2"] * 100 + ["1,3"] * 100).replace(b"\n", b"\r\n"), ()
    yield "a separator that is not there.csv", of(x=x), ("--separator", "|")
    yield "a separator of two characters.csv", of(x=x), ("--separator", "||")
    yield "a row too long, with semicolons.csv", of(x=x) + b"1;2;3\n", ()
    yield "days first.csv", of(d=[f"{i % 28 + 1:02}.{i % 12 + 1:02}.2024" for i in range(n)], x=x), ()
    yield "months first.csv", of(d=[f"{i % 12 + 1}/{i % 28 + 1}/2024" for i in range(n)], x=x), ()
    yield "days or months first.csv", of(d=[f"{i % 12 + 1}/{i % 11 + 1}/2024" for i in range(n)]), ()
    yield "days and months first.csv", of(d=["31/01/2024", "01/31/2024"] * 100, x=x), ()
    yield "days before Christ.csv", of(d=[f"0{i % 9 + 1}.01.0000" for i in range(n)], x=x), ()
    yield "dates to predict, days first.csv", of(target=[f"{i % 28 + 1}.01.2024" for i in range(n)], x=x), ()
    yield "the target twice.csv", b"x,y,y\n" + b"1,a,a\n2,b,b\n" * 20, ()
    yield "numbered names twice.csv", b"x,x.1,x,y\n" + b"1,2,3,a\n2,1,4,b\n" * 20, ()
    same = b"1," * 300 + b"a\n" + b"2," * 300 + b"b\n"
    yield "names that are all the same.csv", b"x," * 300 + b"y\n" + same * 20, ()


def hostile_code() -> Iterator[tuple[str, bytes]]:
    """Those of the hostile files that hold commands for Python."""
    yield from (file for file in _hostile_arrays() if file[0].startswith(("code", "objects", "pickle")))


def _hostile_text() -> Iterator[tuple[str, bytes]]:
    yield "one long line.csv", b"a" * (4 * MEBI)
    yield "long name twice.csv", b"a" * MEBI + b"," + b"a" * MEBI + b"\n1,2\n"
    yield "many columns.csv", ",".join(map(str, range(300_000))).encode() + b"\n" + b"1," * 299_999 + b"1\n"
    yield "many columns of one row too short.csv", ",".join(map(str, range(40_000))).encode() + b"\n1,2\n"
    yield "open quote.csv", b'a,b\n1,"' + b"x\n" * MEBI
    yield "quotes.csv", b"a,b\n" + b'"' * (2 * MEBI) + b"x\n"
    yield "blank lines.csv", b"a,b\n" + b"\n" * MEBI
    yield "quotes in one line.csv", b"a,b\n" + b'""' * (10 * MEBI)
    yield "zeros.csv", b"a,b\n" + bytes(2 * MEBI)
    yield "utf-16.csv", "a,b\n1,2\n".encode("utf-16")
    yield "long field in a short row.csv", b"a,b\n1,2\n" + b"x" * MEBI + b"\n"
    yield "short last row.tsv", b"a\tb\n" + b"1\t2\n" * 200_000 + b"1"
    yield "long number of many digits.csv", b"a,b\n" + b"1" * MEBI + b",2\n"
    yield "bomb.csv.gz", _zeros_in_gzip(b"a,b\n", _BOMB)
    yield "bomb.csv.zst", _zeros_in_zstd(b"a,b\n", _BOMB)
    yield "nested.csv.gz", gzip.compress(gzip.compress(b"a,b\n1,2\n"))
    yield "empty.csv.gz", gzip.compress(b"")


class _Command:
    def __reduce__(self) -> Any:
        return os.system, ("echo executed",)


def _hostile_arrays() -> Iterator[tuple[str, bytes]]:
    def header(text: str, version: int = 1) -> bytes:
        length = len(text).to_bytes(2 if version == 1 else 4, "little")
        return b"\x93NUMPY" + bytes([version, 0]) + length + text.encode()

    def array(shape: object, descr: str = "'<f8'") -> bytes:
        return header(f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}\n")

    yield "huge shape.npy", array((2**16, 2**16))
    yield "shape beyond all integers.npy", array((10**30,))
    yield "negative shape.npy", array((-1, 3)) + bytes(24)
    yield "shape of booleans.npy", array("(True,)") + bytes(8)
    yield "long header.npy", b"\x93NUMPY\2\0\xff\xff\xff\xff" + b" " * 100
    yield "long header of spaces.npy", header(" " * 4 * MEBI, 2)
    for name, text in (("parentheses", "(" * 9000), ("signs", "-" * 9000 + "1"), ("lists", "[" * 9000 + "]" * 9000)):
        yield f"nested {name}.npy", header(text + "\n")
    yield "code.npy", header("__import__('os').system('echo executed')\n")
    yield "many fields.npy", array((1,), repr([(f"f{i}", "<f8") for i in range(400)]))
    yield "subarray.npy", array((1,), "('<f8', (1000000000,))")
    yield "long text.npy", array((1,), "'<U500000000'")
    objects = pickle.dumps(_Command())
    yield "objects.npy", array((1,), "'|O'") + objects
    yield "pickle.npy", objects
    yield "objects.npz", _zip({"X.npy": array((1,), "'|O'") + objects, "y.npy": array((1,), "'|O'") + objects})
    yield "bomb.npz", _zeros_in_zip(_BOMB)
    yield "many arrays.npz", _zip({f"{i}.npy": b"" for i in range(30_000)})
    yield "long names.npz", _zip({"a" * 60_000 + f"{i}.npy": b"" for i in range(20)})
    yield "nested.npz", _zip({"X.npy": _zeros_in_zip(MEBI)})


def _hostile_idx() -> Iterator[tuple[str, bytes]]:
    most = b"\xff\xff\xff\xff"
    yield "huge-idx2-ubyte", bytes([0, 0, 8, 2]) + most * 2
    yield "dimensions-idx255-ubyte", bytes([0, 0, 8, 255]) + most * 255
    yield "huge-idx1-ubyte.gz", gzip.compress(bytes([0, 0, 8, 1]) + most)
    yield "bomb-idx1-ubyte.gz", _zeros_in_gzip(bytes([0, 0, 8, 1]) + (_BOMB).to_bytes(4, "big"), _BOMB)
    yield "nested-idx1-ubyte.gz", gzip.compress(gzip.compress(bytes([0, 0, 8, 1]) + most))


def _hostile_parquet() -> Iterator[tuple[str, bytes]]:
    number = np.zeros(1).tobytes()
    for n in (10**7, 10**9):
        run = b"\1" + varint(n << 1) + b"\0"  # so many times the first value of the dictionary
        pages = [Page(number, 1, 8, kind=DICTIONARY), Page(run, n, len(run), RLE_DICTIONARY)]
        yield f"{n} rows of a run.parquet", of([Column(pages)], n)
    zeros = _zeros_in_gzip(b"", _BOMB)
    n = _BOMB // 8
    for name, n_values, size, n_rows in (
        ("page", n, _BOMB, n), ("page with more values than rows", n, _BOMB, 10),
        ("page larger than its values", 10, _BOMB, 10), ("page larger than it says", 10, 80, 10),
    ):  # fmt: skip
        yield f"{name}.parquet", of([Column([Page(zeros, n_values, size)], codec=GZIP)], n_rows)
    few = bytes([1]) + varint(10 << 1) + b"\0"
    indices = Page(gzip.compress(few), 10, len(few), RLE_DICTIONARY)
    for n_values in (n, 2**31 - 1):
        dictionary = Page(zeros, n_values, _BOMB, kind=DICTIONARY)
        yield f"dictionary of {n_values}.parquet", of([Column([dictionary, indices], codec=GZIP)], 10)
    declared = Page(number, 2**31 - 1, 8)
    yield "rows that are not there.parquet", of([Column([declared])], 2**31 - 1)
    yield "values that are not there.parquet", of([Column([declared])], 1)
    small = Page(number, 1, 8)
    yield "many columns.parquet", of([Column([small], name=f"{i:0100}") for i in range(8000)], 1)
    page = Page(bytes(MEBI), MEBI // 8, MEBI)
    overlapping = {6: MEBI, 7: len(page.written), 9: 4}  # each column is the page of the first
    columns = [Column([page]), *(Column([small], name=str(i), changes=overlapping) for i in range(1000))]
    yield "columns that are one.parquet", of(columns, MEBI // 8)
    yield "many pages.parquet", of([Column([small] * 70_000)], 70_000)
    lengths = varint(2**31) + varint(1) + varint(2**31 - 1) + zigzag(0) + zigzag(0) + b"\0"
    for name, encoding in (("lengths", DELTA_LENGTHS), ("prefixes", DELTA_TEXT)):
        yield f"many {name}.parquet", of([Column([Page(lengths, 3, len(lengths), encoding)], TEXT)], 3)
    yield "many distances.parquet", of([Column([Page(lengths, 2**30, len(lengths), np.int32(5))], INT64)], 2**30)
    yield "outside of the file.parquet", of([Column([small], changes={7: 10**12, 9: 10**12})], 1)
    yield "before the file.parquet", of([Column([small], changes={9: -5})], 1)
    footer = thrift({1: np.int32(1), 2: [{4: "schema", 5: np.int32(2**31 - 1)}], 3: 1, 4: [{1: [{2: 0}], 2: 0, 3: 1}]})
    for name, content in (
        ("children", footer[1]), ("containers", b"\x15\2\x19\xfc" + varint(2**31 - 1)), ("nested", b"\x1c" * MEBI),
        ("long footer", bytes(40 * MEBI)), ("no footer", b""),
    ):  # fmt: skip
        yield f"{name}.parquet", b"PAR1" + content + len(content).to_bytes(4, "little") + b"PAR1"
    deep: list[dict[int, Any]] = [{3: np.int32(0), 4: "g", 5: np.int32(1)} for _ in range(50_000)]
    schema = [{4: "schema", 5: np.int32(1)}, *deep, {1: INT64, 3: np.int32(0), 4: "x"}]
    content = thrift({1: np.int32(1), 2: schema, 3: 1, 4: [{1: [{2: 0}], 2: 0, 3: 1}]})[1]
    yield "deep schema.parquet", b"PAR1" + content + len(content).to_bytes(4, "little") + b"PAR1"


def _npy(array: np.ndarray[Any, Any]) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def _zip(members: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return file.getvalue()


def _zeros_in_zip(size: int) -> bytes:
    file = io.BytesIO()
    text = f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({size},)}}\n"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("X.npy", "w") as stream:
        stream.write(b"\x93NUMPY\1\0" + len(text).to_bytes(2, "little") + text.encode())
        for _ in range(size // MEBI):
            stream.write(bytes(MEBI))
    return file.getvalue()


@functools.cache
def _zeros_in_gzip(start: bytes, size: int) -> bytes:
    compressor = zlib.compressobj(wbits=31)
    parts = [compressor.compress(start), *(compressor.compress(bytes(MEBI)) for _ in range(size // MEBI))]
    return b"".join([*parts, compressor.flush()])


@functools.cache
def _zeros_in_zstd(start: bytes, size: int) -> bytes:
    import pyarrow as pa

    return bytes(pa.compress(start + bytes(size), codec="zstd", asbytes=True))
