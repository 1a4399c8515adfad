"""CSV files as programs of many countries write them: separators, encodings, decimal commas, dates, repeated names."""

from __future__ import annotations

import csv
import datetime
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

import mlp
from mlp import runs
from mlp.cli import cli
from mlp.data.dates import DATE_FORMATS, find_date_format, parse_date
from mlp.data.reading import SEPARATORS, Reading, find_separator
from mlp.data.tables import read_raw_table

pl = pytest.importorskip("polars")


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(*arguments: object, status: int = 0) -> Any:
    result = CliRunner().invoke(cli, [str(argument) for argument in arguments], prog_name="mlp")
    assert result.exit_code == status, (result.output, result.exception)
    return result


def flat(text: str) -> str:
    return " ".join(text.split())


def sales(n: int = 240) -> list[dict[str, str]]:
    """Rows as a program writes them that knows UTF-8, commas between fields, points in numbers and ISO dates."""
    rng = np.random.default_rng(0)
    rows = []
    for i in range(n):
        day = datetime.date(2020, 1, 1) + datetime.timedelta(days=int(rng.integers(0, 1500)))
        area, town = rng.uniform(20, 180), rng.choice(["Köln", "Münster", "Aß"])
        rooms = rng.choice(["1", "2", "2.5", ""], p=[0.4, 0.3, 0.25, 0.05])
        price = 2000 * area + 30_000 * (town == "Köln") + rng.normal(0, 5000)
        rows.append(
            {
                "Datum": day.isoformat(), "Fläche": f"{area:.2f}" if i % 40 else "k. A.", "Ort": town, "Zimmer": rooms,
                "Preis": f"{price:.2f}",
            }
        )  # fmt: skip
    return rows


def write(
    path: str, rows: list[dict[str, str]], separator: str = ",", encoding: str = "utf-8", decimal: str = ".",
    date: str = "%Y-%m-%d",
) -> None:  # fmt: skip
    def written(text: str) -> str:
        if re.fullmatch(r"\d{4}-\d\d-\d\d", text):
            return datetime.date.fromisoformat(text).strftime(date)
        return text.replace(".", decimal) if re.fullmatch(r"-?\d+\.\d+", text) else text

    file = io.StringIO()
    writer = csv.writer(file, delimiter=separator, lineterminator="\r\n")
    writer.writerow(rows[0])
    writer.writerows([written(value) for value in row.values()] for row in rows)
    Path(path).write_bytes(file.getvalue().encode(encoding))


TRAIN = ("--target", "Preis", "--epochs", 3, "--backend", "numpy", "--output-dir")


@pytest.mark.parametrize(
    ("separator", "encoding", "decimal", "date", "options"),
    [
        (";", "utf-8", ",", "%d.%m.%Y", ()),
        (";", "cp1252", ",", "%d.%m.%Y", ("--encoding", "cp1252")),
        (";", "latin-1", ".", "%d/%m/%Y", ("--encoding", "latin1")),
        ("\t", "utf-16", ",", "%m/%d/%Y", ("--encoding", "utf-16")),
        ("|", "utf-8-sig", ".", "%Y/%m/%d", ()),
        (",", "utf-8", ",", "%d-%m-%Y", ("--decimal", ",", "--separator", ",")),
        ("*", "utf-8", ",", "%d-%m-%Y", ("--separator", "*")),
    ],
)
def test_the_way_of_writing_changes_nothing(
    separator: str, encoding: str, decimal: str, date: str, options: tuple[str, ...]
) -> None:
    rows = sales()
    write("plain.csv", rows)
    write("other.csv", rows, separator, encoding, decimal, date)
    if separator == decimal:
        message = run("train", "other.csv", *TRAIN, "b", *options, status=2).stderr
        assert "separator and decimal are both ','" in message
        return
    run("train", "plain.csv", *TRAIN, "a")
    output = flat(run("train", "other.csv", *TRAIN, "b", *options).stdout)
    for one, other in zip(
        mlp.load("a/model.safetensors").weights, mlp.load("b/model.safetensors").weights, strict=True
    ):
        np.testing.assert_array_equal(one, other)
    spoken = {";": "semicolons", "\t": "tabs", "|": "vertical bars"}
    assert (f"{spoken.get(separator, '')} between the fields; see --separator" in output) == (separator in spoken)
    assert ("decimal commas in Fläche, Zimmer, Preis; see --decimal" in output) == (decimal == ",")
    assert "Fläche: 6 texts such as 'k. A.' among numbers, read as missing" in output

    # predictions of rows that are written in the same way, few and without a decimal comma in most of them
    write("few.csv", [row | {"Zimmer": zimmer} for row, zimmer in zip(rows[:3], ("2.5", "2", "viele"), strict=True)])
    write("others.csv", [row | {"Zimmer": zimmer} for row, zimmer in zip(rows[:3], ("2.5", "2", "viele"), strict=True)],
          separator, encoding, decimal, date)  # fmt: skip
    for command in ("predict", "evaluate"):
        first, second = (run(command, a, path, "--json").stdout for a, path in (("a", "few.csv"), ("b", "others.csv")))
        one, other = json.loads(first), json.loads(second)
        assert [one.get(key) for key in ("predictions", "loss")] == [other.get(key) for key in ("predictions", "loss")]
    assert (
        run("evaluate", "a", "plain.csv").stdout.splitlines()[2:]
        == run("evaluate", "b", "other.csv").stdout.splitlines()[2:]
    )
    # the data are read again as they were
    assert len(runs.read_dataset("b").X) == 192
    run("train", "--resume", "b", "--epochs", 4, "--output-dir", "c")
    assert runs.read_config("c")["data"] == runs.read_config("b")["data"]


def test_options_replace_what_a_model_knows() -> None:
    rows = [{key: value for key, value in row.items() if key != "Datum"} for row in sales()]
    write("other.csv", rows, ";", "cp1252", ",")
    write("plain.csv", rows)
    run("train", "other.csv", *TRAIN, "run", "--encoding", "cp1252")
    message = run("predict", "run", "plain.csv", status=1).stderr
    assert "the fields seem to be separated by ',', expected ';' (separator=..., --separator)" in message
    told = ("--separator", ",", "--encoding", "utf-8", "--decimal", ".")
    assert run("predict", "run", "plain.csv", *told).stdout == run("predict", "run", "other.csv").stdout
    for option, value in (("--separator", ";;"), ("--separator", "a"), ("--encoding", "latin-99"), ("--decimal", "'")):
        message = run("predict", "run", "other.csv", option, value, status=2).stderr
        assert message.startswith(f"mlp: error: {option}") or option[2:] in message
        assert len(message.splitlines()) == 1
    for source in ("moons", "rows.npy"):
        np.save("rows.npy", np.random.default_rng(0).normal(size=(50, 3)))
        message = run("train", source, "--separator", ";", "--output-dir", "none", status=2).stderr
        assert "separator is of CSV and TSV files and does not apply to" in message


def test_the_command_of_a_report_has_the_options() -> None:
    pytest.importorskip("jinja2")
    pytest.importorskip("matplotlib")
    write("other.csv", sales(), ";", "cp1252", ",")
    run("train", "other.csv", *TRAIN, "run", "--encoding", "cp1252", "--separator", ";", "--decimal", ",")
    run("report", "run")
    page = flat(Path("run/report.html").read_text())
    for option in ("--encoding cp1252", "--separator &#39;;&#39;", "--decimal ,"):
        assert option in page
    assert "Münster" in page


# -- encodings -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["utf-16", "shift_jis", "latin-1"])
def test_characters_that_a_block_cuts_are_read(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlp.data import table_files

    text = "a,名\n" + "1,東京 é\n" * 500
    if encoding == "latin-1":
        text = text.replace("名", "ñ").replace("東京", "ü")
    elif encoding == "shift_jis":
        text = text.replace("é", "x")
    Path("t.csv").write_bytes(text.encode(encoding))
    Path("u.csv").write_text(text, encoding="utf-8")
    for size in (3, 7, 1024):
        monkeypatch.setattr(table_files, "_BLOCK_BYTES", size)
        found, expected = mlp.data.read_table("t.csv", encoding=encoding), mlp.data.read_table("u.csv")
        assert list(found) == list(expected)
        assert all((found[name] == expected[name]).all() for name in expected)


@pytest.mark.parametrize("size", [4, 1000])
def test_bytes_that_are_not_of_the_encoding_are_named(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlp.data import table_files

    monkeypatch.setattr(table_files, "_BLOCK_BYTES", size)
    content = b"a,b\n1,x\n2,y\x81z\n3,w\n"  # cp1252 does not have 0x81
    Path("t.csv").write_bytes(content)
    with pytest.raises(mlp.FileFormatError, match=rf"line 3, byte {content.index(0x81)} \(0x81\): not cp1252 text"):
        mlp.data.read_table("t.csv", encoding="cp1252")
    with pytest.raises(mlp.FileFormatError, match=r"line 3, byte 11 \(0x81\): not UTF-8 text; give its encoding"):
        mlp.data.read_table("t.csv")
    for encoding in ("nonsense", "base64", "zlib", ""):
        with pytest.raises(mlp.ConfigurationError, match=f"unknown encoding '{encoding}'"):
            mlp.data.read_table("t.csv", encoding=encoding)


@pytest.mark.parametrize("size", range(1, 14))
def test_half_a_character_is_named_wherever_a_block_ends(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlp.data import table_files

    monkeypatch.setattr(table_files, "_BLOCK_BYTES", size)
    Path("t.csv").write_bytes("a,b\n1,東\n2,".encode("shift_jis") + b"\x93\n3,x\n")
    with pytest.raises(mlp.FileFormatError, match=r"line 3, byte 11 \(0x93\): not shift_jis text"):
        mlp.data.read_table("t.csv", encoding="shift_jis")


# -- separators and decimal marks -------------------------------------------------------------------------------


FIELDS = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Zl", "Zp"), exclude_characters='"'),
                 max_size=6)  # fmt: skip


@given(st.sampled_from(SEPARATORS), st.integers(2, 5), st.integers(1, 4), st.data())
def test_the_separator_of_a_file_is_found(separator: str, n_columns: int, n_rows: int, data: st.DataObject) -> None:
    fields = FIELDS.map(lambda text: "".join(c for c in text if c not in SEPARATORS))
    rows = data.draw(
        st.lists(st.lists(fields, min_size=n_columns, max_size=n_columns), min_size=n_rows, max_size=n_rows)
    )
    file = io.StringIO()
    csv.writer(file, delimiter=separator, lineterminator="\n").writerows([[f"c{i}" for i in range(n_columns)], *rows])
    for default in (",", "\t"):
        assert find_separator(file.getvalue(), default) == separator


@pytest.mark.parametrize(
    ("sample", "separator"),
    [
        ("a,b\n1;5,2\n2;5,3\n", ","),  # the usual one if it fits
        ('"a;b",c\n1,2\n', ","),
        ("price, EUR;y\n1,5;2\n3;4\n", ";"),
        ("a,b\n1,2\n3\n", ","),  # no other one fits better
        ("a\n1\n", ","),
        ("", ","),
        ("a;b;c|d\n1;2;3|4\n", ";"),
        ('a;b\n"x;\ny";2\n', ";"),
    ],
)
def test_a_separator_must_fit_all_rows(sample: str, separator: str) -> None:
    assert find_separator(sample, ",") == separator


@given(st.lists(st.one_of(st.floats(allow_nan=False, allow_infinity=False), st.integers(-999, 999)), min_size=1))
def test_numbers_with_decimal_commas_are_those_with_points(values: list[float]) -> None:
    from mlp.data.decimal_commas import with_points

    texts = [repr(value).replace(".", ",") for value in values]
    found = with_points(pl.Series("x", [*texts, None, " 1,5 "]), always=False)
    assert found is not None
    assert found.to_list() == [*map(float, values), None, 1.5]


@pytest.mark.parametrize(
    ("texts", "always", "expected"),
    [
        (["1,5"] * 9 + ["x"], False, ["1.5"] * 9 + ["x"]),
        (["1,5"] * 8 + ["x"] * 2, False, None),
        (["1,5"] * 8 + ["x"] * 2, True, ["1.5"] * 8 + ["x"] * 2),
        (["1", "2"], False, None),
        (["1,5", "1.234,5", "1,2,3", ","], True, ["1.5", "1.234,5", "1,2,3", ","]),
        (["1,5", "NA", "?"], False, ["1.5", "NA", "?"]),
        (["Oslo, Bergen", "1,5"], False, None),
    ],
)
def test_only_numbers_lose_their_commas(texts: list[str], always: bool, expected: list[str] | None) -> None:
    from mlp.data.decimal_commas import with_points

    found = with_points(pl.Series("x", texts), always=always)
    assert (None if found is None else found.to_list()) == expected


def test_the_reading_of_a_file_is_exact() -> None:
    Path("t.csv").write_text("a;b;c\n1,5;x,y;0,1\n2,25;z;3\n")
    found = mlp.data.read_table("t.csv", separator=";", decimal=",")
    assert found["a"].tolist() == [1.5, 2.25]
    assert found["b"].tolist() == ["x,y", "z"]
    assert found["c"].tolist() == [0.1, 3.0]
    assert mlp.data.read_table("t.csv", separator=";")["a"].tolist() == ["1,5", "2,25"]
    assert mlp.data.read_table("t.csv", separator=";", decimal=",", text=["a"])["a"].tolist() == ["1,5", "2,25"]
    with pytest.raises(mlp.FileFormatError, match=r"separated by ';', expected ','"):
        mlp.data.read_table("t.csv")
    with pytest.raises(mlp.ConfigurationError, match="are both ','"):
        mlp.data.read_table("t.csv", decimal=",")
    raw = read_raw_table("t.csv")
    assert raw.reading == Reading(";", decimal=",")
    assert raw.columns["a"].tolist() == [1.5, 2.25]
    assert read_raw_table("t.csv", reading=Reading(decimal=".")).columns["a"].tolist() == ["1,5", "2,25"]
    assert read_raw_table("t.csv", ["a"]).columns["a"].tolist() == ["1,5", "2,25"]


def test_how_a_file_was_read_is_saved_with_a_network() -> None:
    from mlp.data.preparation import Preparation

    columns = {"columns": [{"name": "a", "kind": "text"}]}
    for reading in (Reading(), Reading(";", "cp1252", ","), Reading("\t"), Reading(encoding="utf-16")):
        state = json.loads(json.dumps(Preparation((), (), (), reading).to_dict()))
        assert ("reading" in state) == (reading != Reading())
        assert Preparation.from_dict(state | columns, "p").reading == reading
    good = {"marks": [], "columns": [{"name": "a", "kind": "date", "parts": ["year"]}], "left_out": []}
    for wrong, message in (
        ({"reading": {"separator": "ab"}}, "p reading is .*separator is 'ab'"),
        ({"reading": {"encoding": 1}}, "p reading is .* expected texts"),
        ({"reading": {"other": ";"}}, "p reading has the keys"),
        ({"reading": {"separator": ",", "decimal": ","}}, "p reading is .*are both"),
        ({"columns": [good["columns"][0] | {"date_format": "%Y"}]}, r"p columns\[0\] date_format is '%Y'"),
        ({"columns": [{"name": "a", "kind": "text", "date_format": "%d.%m.%Y"}]}, "date_format is '%d.%m.%Y'"),
    ):
        with pytest.raises(mlp.FileFormatError, match=message):
            Preparation.from_dict(good | wrong, "p")


# -- names ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("header", ["a,a,b", "a,a,a.1", "a.1,a,a,a", "a,,a,", "Unnamed: 1,,a", "a,a.1,a,a.1"])
def test_names_that_occur_twice_are_numbered_as_by_pandas(header: str) -> None:
    pd = pytest.importorskip("pandas")
    row = ",".join(str(i) for i in range(header.count(",") + 1))
    Path("t.csv").write_text(f"{header}\n{row}\n")
    found = read_raw_table("t.csv")
    assert len(set(found.columns)) == len(found.columns)
    assert [column.tolist() for column in found.columns.values()] == [[i] for i in range(len(found.columns))]
    if header != "Unnamed: 1,,a":  # pandas gives the second column the name of the first
        assert list(found.columns) == list(pd.read_csv("t.csv").columns)
    numbered = [note.text for note in found.notes]
    assert len(numbered) == len([old for old in found.renamed.values() if old])
    # the type of such a column can be chosen too
    last = list(found.columns)[-1]
    assert read_raw_table("t.csv", [last]).columns[last].tolist() == [row[-1]]


def test_a_repeated_name_is_told_and_predicted_and_must_not_be_the_target() -> None:
    rng = np.random.default_rng(0)
    lines = [f"{v:.3f},{'ab'[i % 2]},{w:.3f},{v + w > 0}" for i, (v, w) in enumerate(rng.normal(size=(150, 2)))]
    Path("t.csv").write_text("\n".join(["x,kind,x,y", *lines, ""]))
    output = run("train", "t.csv", "--target", "y", "--epochs", 1, "--output-dir", "run").stdout
    assert "renamed   x.1, another column called x" in output
    assert mlp.load("run/model.safetensors").preprocessing.feature_names == ("x", "kind=a", "kind=b", "x.1")
    assert len(run("predict", "run", "t.csv").stdout.splitlines()) == 151
    Path("t.csv").write_text("\n".join(["x,kind,y,y", *lines, ""]))
    message = run("train", "t.csv", "--target", "y", status=1).stderr
    assert "has several columns called y, the target; give them different names" in message


# -- dates ------------------------------------------------------------------------------------------------------


@given(st.datetimes(datetime.datetime(1000, 1, 1)), st.sampled_from(DATE_FORMATS), st.booleans())
def test_dates_of_all_formats_are_read(moment: datetime.datetime, date_format: str, with_time: bool) -> None:
    moment = moment.replace(microsecond=0) if with_time else datetime.datetime.combine(moment, datetime.time())
    text = moment.strftime(date_format + (" %H:%M:%S" if with_time else "")).rjust(10, "0")
    assert parse_date(text, date_format) == moment
    found, ambiguous = find_date_format({text: 1}, 0.9)
    if moment.day > 12 or date_format in DATE_FORMATS[:3]:
        assert (found, ambiguous) == (date_format, None)
    else:
        assert (found, ambiguous) == (None, text)


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["13/01/2024", "02/03/2024"], ("%d/%m/%Y", None)),
        (["01/13/2024", "02/03/2024"], ("%m/%d/%Y", None)),
        (["01-13-2024", "02-03-2024"], ("%m-%d-%Y", None)),
        (["01/02/2024", "02/03/2024"], (None, "01/02/2024")),
        (["13/01/2024", "01/13/2024"] * 5, (None, None)),
        (["01/02/2024"] * 20 + ["13/01/2024", "01/14/2024"], (None, "01/02/2024")),
        (["13/01/2024"] * 19 + ["unknown"], ("%d/%m/%Y", None)),
        (["13/01/2024"] * 8 + ["unknown"] * 2, (None, None)),
        (["31.12.24"], (None, None)),
        (["30.2.2024"], (None, None)),
        (["1.2.2024 24:00"], (None, None)),
        (["2024/1/2"], ("%Y/%m/%d", None)),
        (["a"], (None, None)),
    ],
)
def test_a_format_must_tell_the_day_from_the_month(texts: list[str], expected: tuple[str | None, str | None]) -> None:
    counts = {text: texts.count(text) for text in texts}
    assert find_date_format(counts, 0.9) == expected


@pytest.mark.parametrize(("date_format", "spoken"), [("%d.%m.%Y", "day.month.year"), ("%m/%d/%Y", "month/day/year")])
def test_dates_become_numbers_and_ambiguous_ones_stay_text(date_format: str, spoken: str) -> None:
    rng = np.random.default_rng(0)
    days = [datetime.date(2020, 1, 1) + datetime.timedelta(days=int(d)) for d in rng.integers(0, 1500, 200)]
    texts = [f"{day:{date_format}}" for day in days]
    early = [f"{day.day % 12 + 1:02}/{day:%m/%Y}" for day in days]
    few = [f"{day.month:02}/01/2024" for day in days]
    y = [day.toordinal() % 100 for day in days]
    lines = [f"{i / 7:.3f},{','.join(row)}" for i, row in enumerate(zip(texts, early, few, map(str, y), strict=True))]
    Path("t.csv").write_text("\n".join(["x,day,early,few,y", *lines, ""]))
    data = mlp.data.load("t.csv", target="y")
    notes = [f"{note.heading}: {note.text}" for note in data.notes]
    assert f"dates: day: year, month, weekday, elapsed (of {spoken})" in notes
    told = "left out: early (dates such as {!r}, which may begin with the day or the month; write 2024-12-31)"
    first = data.rows[0]
    training = [early[row] for row in sorted(data.rows)]
    assert any(told.format(text) in notes for text in training)
    few_told = "dates: few: text, because {!r} may begin with the day or the month; write 2024-12-31"
    assert any(few_told.format(text) in notes for text in few)
    assert "few=01/01/2024" in data.feature_names
    column = data.preprocessing.columns[[c.name for c in data.preprocessing.columns].index("day elapsed")]
    elapsed = data.X[0, data.feature_names.index("day elapsed")] * column.scale + column.shift
    assert elapsed == pytest.approx((days[first] - datetime.date(1970, 1, 1)).days)
    named = mlp.data.load("t.csv", target="y", categorical=["early"], task="regression")
    assert not [note for note in named.notes if "early" in note.text and "the day or the month" in note.text]
    with pytest.raises(mlp.DataError, match="holds dates, which are no target"):
        mlp.data.load("t.csv", target="day")


# -- numbers that are too large ------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", ["standard", "minmax"])
def test_a_number_that_cannot_be_scaled_is_named_with_its_row(scale: str) -> None:
    x = [f"{i}" for i in range(100)]
    x[5], x[6] = "1e308", "-1.5e308"
    Path("t.csv").write_text("\n".join(["x,y", *(f"{v},{i % 2}" for i, v in enumerate(x)), ""]))
    rows = mlp.data.load("t.csv", target="y", columns=["x"], scale="none").rows
    assert {5, 6} <= set(rows.tolist())  # both are training rows
    with pytest.raises(mlp.DataError, match=r"'t.csv', column x, row 6 \(counted from 0\): -1.5e\+308 is too large"):
        mlp.data.load("t.csv", target="y", scale=scale)


# -- files of estimators ------------------------- -----------------------------------------------------------


def test_a_file_of_an_estimator_names_the_class_that_reads_it() -> None:
    X, y = np.random.default_rng(0).normal(size=(60, 2)), np.arange(60) % 2
    for estimator in (
        mlp.TabularClassifier(epochs=1, backend="numpy"),
        mlp.TabularRegressor(epochs=1, backend="numpy"),
    ):
        name = type(estimator).__name__
        estimator.fit(X, y).save("e.mlp")
        with pytest.raises(
            mlp.FileFormatError, match=rf"'e.mlp' holds a {name}, not a network: mlp.{name}.load\('e.mlp'\)"
        ):
            mlp.load("e.mlp")
        assert getattr(mlp, name).load("e.mlp").predict(X).shape == (60,)
    assert "mlp.TabularRegressor.load" in run("inspect", "e.mlp", status=1).stderr


# -- importance of many columns ------------------------------------------------------------------------------------


def test_the_importance_of_many_columns_is_computed_on_fewer_rows() -> None:
    from mlp.inspection.column_importance import MAX_PREDICTIONS, N_REPEATS, column_importance, rows_permuted

    assert [rows_permuted(n) for n in (2, 50, 80, 400)] == [2000, 2000, 1250, 250]
    assert all(rows_permuted(n) * n * N_REPEATS <= MAX_PREDICTIONS for n in range(1, 500))
    assert rows_permuted(10_000) == 200
    rng = np.random.default_rng(0)
    table = {f"c{i}": rng.normal(size=1500) for i in range(80)}
    fitted = mlp.data.Preprocessing.fit(table)
    net = mlp.MLP([80, 1], loss="mse", preprocessing=fitted, backend="numpy")
    weights = np.zeros((80, 1))
    weights[7] = 1
    net.weights = [weights]
    X = fitted.transform(table)
    y = X[:, 7].copy()
    y[1250:] = 100  # not among the rows that are used
    found = column_importance(net, fitted, X, y)
    assert found[0][0] == "c7"
    assert found[0][1] == pytest.approx(2, abs=0.2)
    assert all(mean == 0 for _, mean, _ in found[1:])


def test_the_report_shows_the_importance_of_some_of_many_columns() -> None:
    pytest.importorskip("jinja2")
    pytest.importorskip("matplotlib")
    rng = np.random.default_rng(0)
    X = rng.normal(size=(150, 60)).round(3)
    lines = [",".join(map(str, [*row, "ab"[int(row[3] > 0)]])) for row in X]
    Path("t.csv").write_text("\n".join([",".join([*(f"c{i}" for i in range(60)), "y"]), *lines, ""]))
    run("train", "t.csv", "--target", "y", "--epochs", 40, "--output-dir", "run")
    run("report", "run")
    page = Path("run/report.html").read_text()
    table = page[page.index("<caption>Permutation importance of 30 of 60 columns</caption>") :].partition("</table>")[0]
    assert table.count("<tr>") == 31
    assert re.findall(r"<th scope=.row.><span>(.*?)</span>", table)[0] == "c3"
    assert "5 permutations of the 30 rows" in page
