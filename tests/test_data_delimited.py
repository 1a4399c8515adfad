"""Reading CSV and TSV files fast: the same tables and the same faults as row by row."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlp._backends import DataError, FileFormatError, MLPError
from mlp.data import delimited, read_table
from mlp.data.row_scan import scan_rows

pl = pytest.importorskip("polars")
ROWS = 3000
"""More than those from which the types are inferred."""


def outcome(path: Path) -> Any:
    """The table as lists, or the error."""
    try:
        return {name: (column.dtype.kind, list(map(repr, column))) for name, column in read_table(path).items()}
    except MLPError as error:
        return type(error), str(error)


def slow_outcome(path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    with monkeypatch.context() as patched:
        patched.setattr(delimited, "scan_rows", lambda *_: None)
        return outcome(path)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("delimited") / "table.csv"


NUMBERS = ["1", "2.5", "-3", "1e5", "1.e5", " 2", "2 ", "+2", "\t2", "Infinity", "-inf", "NAN", "-nan", "nan"]
OTHERS = ["", " ", "NA", "true", "x", "é"]
QUOTED = ['" 2"', '"1"', '"a,b"', '"a\nb"', '"a ""q"""', '""', 'a"b', '"a"b', '"']
FIELDS = st.sampled_from([*NUMBERS, *OTHERS, *QUOTED, "9" * 20, "9" * 40])


@given(
    rows=st.lists(st.lists(FIELDS, min_size=2, max_size=2) | st.lists(FIELDS, max_size=4), min_size=1, max_size=5),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    last=st.sampled_from(["", "\n", "\n\n", ",", '"']),
    start=st.sampled_from(["", "\ufeff"]),
)
@settings(max_examples=300)
def test_any_file_gives_the_same_table_or_fault_as_row_by_row(
    path: Path, rows: list[list[str]], end: str, last: str, start: str
) -> None:
    path.write_bytes((start + end.join(["a,b", *map(",".join, rows)]) + last).encode())
    with pytest.MonkeyPatch.context() as patch:
        expected = slow_outcome(path, patch)
    assert outcome(path) == expected


@given(
    first=st.sampled_from(["1", "1.5", "true", "x", "", "NA"]), field=FIELDS.filter(lambda text: text.count('"') != 1)
)
@settings(max_examples=200, deadline=None)
def test_a_value_after_those_that_gave_the_type_is_read_as_by_its_own_type(path: Path, first: str, field: str) -> None:
    path.write_text("a,b\n" + f"{first},x\n" * ROWS + f"{field},y\n" + f"{first},x\n" * 10)
    with pytest.MonkeyPatch.context() as patch:
        expected = slow_outcome(path, patch)
    assert outcome(path) == expected


PLAIN = "a,b,c\n" + "".join(f"{i},{i}.5,x{i % 3}\n" for i in range(ROWS))
LINE = 2500
"""Where the faults are: far from the beginning."""


def with_line(text: str, line: int = LINE) -> str:
    lines = PLAIN.splitlines(keepends=True)
    lines[line - 1] = text
    return "".join(lines)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (with_line("1,2\n"), rf"line {LINE}: 2 fields, but the header has 3"),
        (with_line("1,2,x,4\n"), rf"line {LINE}: 4 fields, but the header has 3"),
        (with_line("1,2\n", 2400).replace("2450,", "2450,,"), r"line 2400: 2 fields"),  # as many separators as needed
        (with_line("1,2\n2,3,x,5\n"), rf"line {LINE}: 2 fields"),
        (with_line('1,2,"x\n'), r"correct the quotes"),
        (with_line('1,2,"x"y\n'), rf"line {LINE}: .*correct the quotes"),
        (with_line('1,2,x"y\n') + '1,2,x"y\n', r"table\.csv"),
        (PLAIN + "1,2", rf"line {ROWS + 2}: 2 fields"),
        (PLAIN + "1,2,x,", rf"line {ROWS + 2}: 4 fields"),
        (with_line("1,2\n", 100) + "1,2,x,", r"line 100: 2 fields"),  # polars ignores the last separator
        (PLAIN.replace("\n", "\r"), r"line ends"),
        (PLAIN.replace("b,c", "b,b", 1), r"column 3 has the same name as another column, 'b'"),
        (PLAIN.replace("b,c", "b,", 1), r"column 3 of 3 has no name"),
        (PLAIN.replace(",", ";"), r"separated by ';'"),
    ],
)
def test_a_fault_far_from_the_beginning_is_found_with_its_line(path: Path, content: str, message: str) -> None:
    path.write_bytes(content.encode())
    with pytest.raises(FileFormatError, match=message):
        read_table(path)


@pytest.mark.parametrize("bad", [b"\xe9", b"\xff\xfe", b"\xc3"])
def test_text_that_is_not_utf_8_is_found_with_its_line(path: Path, bad: bytes) -> None:
    for line in ("1,2,X\n", "1,2X,x\n", "X,2,x\n"):
        path.write_bytes(with_line(line).encode().replace(b"X", bad))
        with pytest.raises(FileFormatError, match=rf"line {LINE}, byte \d+ \(0x{bad[0]:02x}\): not UTF-8 text"):
            read_table(path)


@pytest.mark.parametrize("value", ["+5", " 5", "Infinity", "NAN", "1.e5"])
def test_numbers_of_an_unusual_spelling_are_found_far_from_the_beginning(path: Path, value: str) -> None:
    path.write_text(with_line(f"1,{value},x\n"))
    with pytest.raises(DataError, match="column 'b' holds numbers in an unusual format"):
        read_table(path)


def test_a_blank_field_among_numbers_is_no_missing_value(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path.write_text(with_line("1, ,x\n"))
    assert read_table(path)["b"][LINE - 2] == " "
    assert f"column 'b' is read as text: row {LINE - 2} (counted from 0) holds ' '" in caplog.text


def test_a_column_that_begins_with_missing_values_has_the_type_of_the_others(path: Path) -> None:
    path.write_text("a,b\n" + ",x\n" * ROWS + "5,y\n")
    assert read_table(path)["a"][-1] == 5.0


def test_integers_that_no_float_holds_are_refused_beside_missing_values(path: Path) -> None:
    path.write_text(f"a,b\n{2**53 + 1},x\n2,y\n")
    assert read_table(path)["a"][0] == 2**53 + 1
    path.write_text(f"a,b\n{2**53 + 1},x\n,y\n")
    with pytest.raises(DataError, match=r"column 'a' has missing values and integers above 2\*\*53"):
        read_table(path)
    path.write_text(f"a,b\n{2**53},x\n,y\n")
    assert read_table(path)["a"][0] == 2**53


def test_blank_lines_are_skipped_far_from_the_beginning(path: Path) -> None:
    path.write_text(with_line("\n") + "\n\n")
    assert len(read_table(path)["a"]) == ROWS - 1


@pytest.mark.parametrize("block", [1, 7, 64])
def test_the_scan_does_not_depend_on_its_blocks(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    text = 'é,"b\n\n"\r\n1," 2"\r\n"3\n",4\r\n" \r\n""",+5'
    expected = scan_rows(io.BufferedReader(io.BytesIO(text.encode())), ",", 2)
    monkeypatch.setattr("mlp.data.row_scan._BLOCK_BYTES", block)
    found = scan_rows(io.BufferedReader(io.BytesIO(text.encode())), ",", 2)
    assert expected is not None
    assert found is not None
    assert (found.n_rows, found.odd.tolist()) == (expected.n_rows, expected.odd.tolist()) == (3, [True, True])


def test_a_plain_file_is_not_read_row_by_row(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delimited, "_check_rows", None)
    rows = "".join(f'{i},"name, {i}",{i}.5\r\n' for i in range(ROWS))
    path.write_bytes(b"\xef\xbb\xbfid,Full Name,Unit Price\r\n" + rows.encode())
    assert read_table(path)["Full Name"][-1] == f"name, {ROWS - 1}"


def test_the_types_of_a_plain_file_are_inferred_from_its_first_rows(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inferred, read = [], delimited._read_frame
    monkeypatch.setattr(delimited, "_read_frame", lambda *arguments: inferred.append(arguments[-2]) or read(*arguments))
    path.write_text("Unit Price, Name\n" + "".join(f"{i}.5,name {i}\n" for i in range(ROWS)))
    read_table(path)
    assert inferred == [delimited._FIRST_ROWS]
    path.write_text("Unit Price, Name\n" + "".join(f"{i},name {i}\n" for i in range(ROWS)) + "2.5,x\n")
    read_table(path)
    assert inferred[1:] == [delimited._FIRST_ROWS, None]


@pytest.mark.parametrize("large", [0, 2**30])
def test_files_are_read_and_scanned_at_the_same_time_or_not(
    path: Path, monkeypatch: pytest.MonkeyPatch, large: int
) -> None:
    monkeypatch.setattr(delimited, "_LARGE_FILE", large)
    monkeypatch.setattr(delimited, "_FIRST_BYTES", 100)
    rows = "".join(f"{i},{i}.5\n" for i in range(ROWS))
    path.write_text("a,b\n" + rows + "NA,NA\n" + rows)  # the first word comes late
    found = outcome(path)
    assert [found[name][1][ROWS] for name in "ab"] == ["np.float64(nan)"] * 2
    assert found == slow_outcome(path, monkeypatch)


def test_short_rows_of_a_large_file_take_no_memory(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delimited, "_LARGE_FILE", 0)
    read, heights = delimited._read_frame, []
    monkeypatch.setattr(delimited, "_read_frame", lambda *a: (frame := read(*a), heights.append(frame.height))[0])
    path.write_text(",".join(f"c{i}" for i in range(1000)) + "\n" + "1\n" * 10_000)
    with pytest.raises(FileFormatError, match="line 2: 1 fields, but the header has 1000 columns"):
        read_table(path)
    assert heights
    assert max(heights) <= 1 + path.stat().st_size // 1000


def test_a_file_that_is_replaced_while_it_is_read_is_noticed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_text("a,b\n1,2\n")

    def replace_first(*arguments: Any) -> Any:
        other = path.with_name("other.csv")
        other.write_text("a,b\n3,4\n")
        other.replace(path)
        return scan(*arguments)

    scan = delimited._scan
    monkeypatch.setattr(delimited, "_scan", replace_first)
    with pytest.raises(FileFormatError, match="was replaced while it was read"):
        read_table(path)
