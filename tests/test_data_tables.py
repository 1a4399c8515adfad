"""Reading CSV, TSV and Parquet, and loading them as data sets."""

from __future__ import annotations

import csv
import io
import logging
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlp._backends import ConfigurationError, DataError, DtypeError, FileFormatError, MLPError, UnknownNameError
from mlp.data import MissingExtraError, Preprocessing, load, read_table

pl = pytest.importorskip("polars")


def written(folder: Path, content: str | bytes, name: str = "table.csv") -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tables")


# no bare carriage return: csv.writer sometimes leaves it unquoted, and only one of the readers ends a line there
cells = st.text(st.characters(codec="utf-8", exclude_characters="\r"), max_size=5)


@given(
    rows=st.integers(1, 4).flatmap(lambda k: st.lists(st.lists(cells, min_size=k, max_size=k), min_size=1, max_size=6)),
    suffix=st.sampled_from([".csv", ".tsv"]),
)
@settings(deadline=None, max_examples=150)
def test_text_comes_back_as_the_csv_module_wrote_it(folder: Path, rows: list[list[str]], suffix: str) -> None:
    header = [f"c{i}" for i in range(len(rows[0]))]
    buffer = io.StringIO(newline="")
    csv.writer(buffer, delimiter="," if suffix == ".csv" else "\t", lineterminator="\n").writerows([header, *rows])
    table = read_table(written(folder, buffer.getvalue(), f"text{suffix}"), text=header)
    missing = ("", "NA", "N/A", "NaN", "nan", "null", "NULL")
    expected = [[None if value in missing else value for value in column] for column in zip(*rows, strict=True)]
    assert [column.tolist() for column in table.values()] == expected


@given(content=st.one_of(st.binary(max_size=60), st.text('a1.,"\n\r\t -', max_size=40).map(str.encode)))
@settings(deadline=None, max_examples=300)
def test_any_bytes_give_a_table_or_one_of_our_errors(folder: Path, content: bytes) -> None:
    try:
        table = read_table(written(folder, b"a,b\n" + content, "junk.csv"))
    except MLPError:
        return
    assert list(table) == ["a", "b"]
    assert len(table["a"]) == len(table["b"]) > 0


def test_types_and_missing_values(tmp_path: Path) -> None:
    path = written(tmp_path, 'i,f,b,t,im,bm\n1,0.5,true,"a, b",NA,true\n2,nan,false,,3,\n')
    table = read_table(path)
    assert {name: column.dtype.kind for name, column in table.items()} == {
        "i": "i",
        "f": "f",
        "b": "b",
        "t": "O",
        "im": "f",
        "bm": "O",
    }
    assert table["i"].tolist() == [1, 2]
    np.testing.assert_array_equal(table["f"], [0.5, np.nan])
    assert table["b"].tolist() == [True, False]
    assert table["t"].tolist() == ["a, b", None]
    np.testing.assert_array_equal(table["im"], [np.nan, 3])
    assert table["bm"].tolist() == [True, None]


@pytest.mark.parametrize("value", ["", "NA", "N/A", "NaN", "nan", "null", "NULL"])
def test_each_spelling_of_missing(tmp_path: Path, value: str) -> None:
    table = read_table(written(tmp_path, f"n,t\n1,a\n{value},{value}\n"))
    np.testing.assert_array_equal(table["n"], [1, np.nan])
    assert table["t"].tolist() == ["a", None]


def test_three_formats_hold_the_same(tmp_path: Path) -> None:
    frame = pl.DataFrame({"n": [1.5, None, 3.0], "i": [1, 2, 3], "t": ["x", None, "y"], "b": [True, False, None]})
    frame.write_csv(tmp_path / "a.csv")
    frame.write_csv(tmp_path / "a.tsv", separator="\t")
    frame.write_parquet(tmp_path / "a.parquet")
    first, *others = (read_table(tmp_path / name) for name in ("a.csv", "a.tsv", "a.parquet"))
    for other in others:
        for name in frame.columns:
            np.testing.assert_array_equal(first[name], other[name])


def test_byte_order_mark_line_ends_blank_lines_and_quoted_line_breaks(tmp_path: Path) -> None:
    table = read_table(written(tmp_path, b'\xef\xbb\xbfa,b\r\n1,"x\r\ny"\r\n\r\n3,z\r\n\r\n'))
    assert list(table) == ["a", "b"]
    assert table["a"].tolist() == [1, 3]
    assert table["b"].tolist() == ["x\r\ny", "z"]


def test_the_type_of_a_column_does_not_hang_on_its_first_rows(tmp_path: Path) -> None:
    table = read_table(written(tmp_path, "a\n" + "1\n" * 5000 + "2.5\n"))
    assert table["a"].dtype == np.float64
    assert table["a"][-1] == 2.5


def test_text_columns_stay_as_they_are_spelt(tmp_path: Path) -> None:
    path = written(tmp_path, "code,n\n0150,1\n7030,2\n")
    assert read_table(path, text=["code", "absent"])["code"].tolist() == ["0150", "7030"]
    assert read_table(path)["code"].tolist() == [150, 7030]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a,b\n1,2\n3\n", r"line 3: 1 fields, but the header has 2"),
        (b"a,b\n1,2\n3,4,5\n", r"line 3: 3 fields, but the header has 2"),
        (b'a,b\n"x\ny",1\n3\n', r"line 4: 1 fields"),
        (b"a,b\n1,2\n1,\xe9\n", r"line 3, byte 10 \(0xe9\): not UTF-8 text; give its encoding"),
        (b"a,a\n1,2\n", r"column 2 has the same name as another column, 'a'"),
        (b"a,\n1,2\n", r"column 2 of 2 has no name"),
        (b"\n1,2\n", r"has no header"),
        (b"a,b\n", r"a header and no rows"),
        (b"a,b\n\n\n", r"a header and no rows"),
        (b'a,b\n"x,2\n', r"correct the quotes"),
        (b'a,b\nx"y,2\n3,4\n', r"table\.csv"),
        (b"a,b\r1,2\r3,4\r", r"line ends"),
    ],
)
def test_malformed_files_name_the_place(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(FileFormatError, match=message):
        read_table(written(tmp_path, content))


def test_numbers_in_an_odd_form_are_not_taken_for_text(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="column ' b' holds numbers in an unusual format, such as ' 2' in row 0"):
        read_table(written(tmp_path, "a, b\n1, 2\n3, 4\n"))
    with pytest.raises(DataError, match="more than 64 bits"):
        read_table(written(tmp_path, "a\n123456789012345678901234567890\n5\n"))


def test_a_stray_value_among_numbers_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="mlp.data"):
        read_table(written(tmp_path, "a,t\n1,x\n2,y\nthree,7\n"))
    assert [record.getMessage().split("column")[1] for record in caplog.records] == [
        " 'a' is read as text: row 2 (counted from 0) holds 'three', although most values are numbers"
    ]


def test_dates_and_lists_of_parquet_are_refused_by_name(tmp_path: Path) -> None:
    import datetime

    pl.DataFrame({"n": [1], "day": [datetime.date(2020, 1, 1)]}).write_parquet(tmp_path / "a.parquet")
    with pytest.raises(DtypeError, match=r"column 'day' holds values of type date32.*convert dates and times"):
        read_table(tmp_path / "a.parquet")
    pl.DataFrame({"n": [1], "list": [[1, 2]]}).write_parquet(tmp_path / "b.parquet")
    with pytest.raises(DtypeError, match="column 'list'"):
        read_table(tmp_path / "b.parquet")


def test_a_small_parquet_file_of_many_rows_meets_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "many.parquet"
    pl.DataFrame({"a": np.zeros(100_000)}).write_parquet(path)
    with pytest.raises(
        FileFormatError, match="would expand to 800000 bytes or more, above the limit of 100000; if you"
    ):
        read_table(path, max_bytes=100_000)
    assert len(read_table(path)["a"]) == 100_000


def test_damaged_parquet_raises_our_errors_only(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.parquet"
    pl.DataFrame({"a": [1, 2, 3] * 50, "b": ["x", "y", None] * 50}).write_parquet(path)
    raw = path.read_bytes()
    generator = np.random.default_rng(0)
    refused = 0
    for _ in range(150):
        damaged = np.frombuffer(raw, dtype=np.uint8).copy()
        damaged[generator.integers(0, len(raw), 3)] = generator.integers(0, 256, 3)
        path.write_bytes(damaged.tobytes())
        try:
            read_table(path)
        except MLPError:
            refused += 1
    capfd.readouterr()  # threads of polars print when they crash
    assert refused > 50


def test_without_polars_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, "a\n1\n")
    monkeypatch.setitem(sys.modules, "polars", None)
    with pytest.raises(MissingExtraError, match="pip install polars") as caught:
        read_table(path)
    assert isinstance(caught.value, ImportError)


def people(n: int = 60) -> str:
    lines = ["key,age,city,spam,price"]
    for i in range(n):
        age = "" if i % 7 == 0 else str(20 + i * 13 % 50)
        lines.append(f"{i},{age},{('Oslo', 'Bergen', '')[i % 3]},{('yes', 'no')[i % 5 == 0]},{i * 1.5}")
    return "\n".join(lines) + "\n"


def test_load_fits_on_the_training_part_only(tmp_path: Path) -> None:
    path = written(tmp_path, people())
    table = read_table(path)
    raw = load(path, target="spam", scale="none")
    train, test = raw.X[:, 0].astype(int), raw.X_test[:, 0].astype(int)
    assert sorted([*train, *test]) == list(range(60))
    features = {name: column for name, column in table.items() if name != "spam"}
    assert (raw.rows.tolist(), raw.rows_test.tolist()) == (train.tolist(), test.tolist())
    for scale in ("standard", "minmax", "none"):
        dataset = load(path, target="spam", scale=scale)
        fitted = Preprocessing.fit({name: column[train] for name, column in features.items()}, scale)
        assert dataset.preprocessing.columns == fitted.columns
        assert [column.name for column in dataset.preprocessing.preparation.columns] == ["key", "age", "city", "price"]
        np.testing.assert_array_equal(dataset.X, fitted.transform({n: c[train] for n, c in features.items()}))
        np.testing.assert_array_equal(dataset.X_test, fitted.transform({n: c[test] for n, c in features.items()}))
        assert dataset.feature_names == ("key", "age", "city=Bergen", "city=Oslo", "city is missing", "price")
        assert dataset.classes == ("no", "yes")
        labels = np.array(dataset.classes)
        assert labels[dataset.y].tolist() == table["spam"][train].tolist()
        assert labels[dataset.y_test].tolist() == table["spam"][test].tolist()
    assert load(path, target="spam").preprocessing.scale == "standard"


def test_the_type_of_the_target_decides_the_task(tmp_path: Path) -> None:
    path = written(tmp_path, people())
    price = load(path, target="price")
    assert (price.task, price.classes, price.n_outputs, price.y.dtype) == ("regression", None, 1, np.float64)
    assert load(path, target="spam").task == "classification"
    as_classes = load(path, target="price", task="classification")
    assert as_classes.n_outputs == 60
    assert as_classes.classes[1] == 1.5
    number = load(path, target="key")
    assert (number.task, number.task_reason, number.y.dtype) == ("regression", "60 different whole numbers", np.float64)
    with pytest.raises(DataError, match="holds text values, but regression needs numbers"):
        load(path, target="spam", task="regression")


def test_classes_are_plain_python_values(tmp_path: Path) -> None:
    path = written(tmp_path, "x,t,b,i\n" + "1,u,true,7\n2,v,false,3\n" * 5)
    assert load(path, target="t").classes == ("u", "v")
    assert load(path, target="b").classes == (False, True)
    assert [type(label) for label in load(path, target="i").classes] == [int, int]


@pytest.mark.parametrize(
    ("content", "target", "error", "message"),
    [
        ("a,b\n1,2\n", None, ConfigurationError, "no target column is given.*: a, b"),
        ("price,b\n1,2\n", "prize", UnknownNameError, "has no column 'prize'; did you mean 'price'"),
        ("a,y\n1,u\n2,u\n", "y", DataError, "one class only, 'u'"),
        ("a,y\n1,\n2,?\n", "y", DataError, "column y: no row has a value; choose another target"),
        ("a,y\n1,1.5\n2,\n", "y", DataError, "1 rows split with test_fraction=0.2 leave"),
        ("y\n1.5\n2.5\n", "y", DataError, "no column but the target"),
        ("a,y\n,1.5\n,2.5\n,3.5\n", "y", DataError, r"no column to learn from: all are left out: a \(empty\)"),
        ("a,y\n1,2024-01-01\n2,2024-01-02\n", "y", DataError, "holds dates, which are no target"),
        ("a,y\n1,1.5\n", "y", DataError, "1 rows split with test_fraction=0.2 leave"),
    ],
)
def test_tables_that_cannot_be_learnt_from(
    tmp_path: Path, content: str, target: str | None, error: type[MLPError], message: str
) -> None:
    with pytest.raises(error, match=message):
        load(written(tmp_path, content), target=target)


def test_names_with_quotes_are_read_as_they_are_meant(tmp_path):
    path = tmp_path / "quoted.csv"
    path.write_text('"a ""q""",b\n1,2\n3,4\n')
    assert list(read_table(path)) == ['a "q"', "b"]


@pytest.mark.parametrize(("suffix", "mark"), [(".csv", ";"), (".csv", "\t"), (".tsv", ",")])
def test_another_separator_is_told_of(tmp_path, suffix, mark):
    path = tmp_path / f"other{suffix}"
    path.write_text(f"a{mark}b\n1{mark}2\n")
    with pytest.raises(FileFormatError, match=f"separated by {re.escape(repr(mark))}"):
        read_table(path)
