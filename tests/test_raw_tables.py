"""Raw tables: which columns are used, what they are read as, and that every row is answered."""

from __future__ import annotations

import csv
import gzip
import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import raw_tables
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st

import mlp
from mlp._backends import ConfigurationError, DataError, FileFormatError, UnknownNameError
from mlp.cli import cli
from mlp.data import CategoricalColumn, Dataset, Preprocessing, load
from mlp.data.preparation import MISSING_MARKS

pl = pytest.importorskip("polars")

FILES = Path(__file__).parent / "files"
QUICK = ("--backend", "numpy", "--epochs", "2")


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(*arguments: object, status: int = 0, stdin: bytes | None = None) -> Result:
    result = CliRunner().invoke(cli, [str(argument) for argument in arguments], input=stdin, prog_name="mlp")
    assert result.exit_code == status, (result.output, result.exception)
    return result


def said(result: Result) -> dict[str, list[str]]:
    """The lines of a report by their heading; a line that goes on in the next one is joined."""
    lines: list[str] = []
    for line in result.stdout.splitlines():
        if line.startswith(" " * 10) and line.strip() and lines:
            lines[-1] += f" {line.strip()}"
        else:
            lines.append(line)
    found: dict[str, list[str]] = {}
    for line in lines:
        found.setdefault(line[:9].strip(), []).append(line[10:])
    return found


def table(path: str | Path, **columns: Any) -> Path:
    """Write columns to a CSV file; None is an empty field."""
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    return Path(path)


def prepared(dataset: Dataset) -> dict[str, str]:
    assert dataset.preprocessing is not None
    assert dataset.preprocessing.preparation is not None
    return {column.name: column.kind for column in dataset.preprocessing.preparation.columns}


def left_out(dataset: Dataset) -> dict[str, str]:
    assert dataset.preprocessing is not None
    assert dataset.preprocessing.preparation is not None
    return dict(dataset.preprocessing.preparation.left_out)


def numbers(n: int = 100) -> list[float]:
    return np.random.default_rng(0).normal(size=n).round(4).tolist()


# -- three raw files ------------------------------------------------------------------------------------


def test_passengers_train_with_one_command() -> None:
    lines = said(run("train", raw_tables.titanic(Path("titanic.csv")), "--target", "Survived", *QUICK))
    assert lines["task"][0].startswith("classification: 2 classes, 0 59 %, 1 41 % (2 different whole numbers")
    assert lines["left out"] == [
        "PassengerId (it counts the rows)",
        "Name (text, 480 different values in 480 rows)",
        "Ticket (text, 480 different values in 480 rows)",
        "Cabin (text, 90 different values in 103 rows)",
    ]
    assert "missing" not in lines  # blanks are no surprise


def test_customers_train_with_one_command() -> None:
    path = raw_tables.churn(Path("churn.csv"))
    lines = said(run("train", path, "--target", "Churn", *QUICK))
    assert lines["task"] == ["classification: 2 classes, No 90 %, Yes 10 % (text; see --task)"]
    assert lines["left out"] == [
        "customerID (text, 560 different values in 560 rows)",
        "country (constant: 'NO')",
        "notes (empty)",
    ]
    assert lines["dates"] == ["joined: year, month, weekday, elapsed"]
    rows = list(csv.DictReader(path.read_text().splitlines()))
    assert lines["missing"] == [
        f"Partner: {sum(row['Partner'] == '?' for row in rows)} values such as '?'",
        f"TotalCharges: {sum(row['TotalCharges'] == ' ' for row in rows)} values such as ' '",
    ]
    assert lines["stray"] == ["MonthlyCharges: 2 texts such as 'unknown' among numbers, read as missing"]
    assert lines["rare"] == ["city: 57 rare categories share one input"]
    training = load(path, target="Churn").rows.tolist()
    unknown = [row["city"] for row in rows if row["city"] not in {rows[i]["city"] for i in training}]
    start = f"city: {len(unknown)} rows with a category that the training rows did not have, such as 'city "
    assert lines["unknown"][0].startswith(start)


def test_houses_train_with_one_command() -> None:
    lines = said(run("train", raw_tables.houses(Path("houses.csv")), "--target", "SalePrice", *QUICK))
    assert lines["task"][0].startswith("regression: SalePrice from 75,700 to 587,100 (463 different whole numbers")
    assert lines["left out"] == ["10 rows without a value of SalePrice", "Unnamed: 0 (it counts the rows)"]
    assert lines["dates"] == ["sold: year, month, weekday, hour, elapsed"]


# -- columns --------------------------------------------------------------------------------------------


def test_each_kind_of_column_is_found() -> None:
    n = 100
    rng = np.random.default_rng(0)
    path = table(
        "a.csv",
        number=numbers(),
        whole=rng.integers(0, 1000, n),
        word=rng.choice(["a", "b"], n),
        flag=rng.choice(["true", "false"], n),
        day=[f"2024-{1 + i % 12:02}-{1 + i % 28:02}" for i in range(n)],
        moment=[f"2024-01-{1 + i % 28:02}T{i % 24:02}:30:00+01:00" for i in range(n)],
        time=[f"{i % 24:02}:{i % 60:02}" for i in range(n)],
        grade=["3+" if i % 10 == 0 else i % 3 for i in range(n)],
        nothing=[None] * n,
        marks=["?", "NA", " n/a ", "-", "None", "null", "#N/A", "nan", ".", ""] * 10,
        always=["x"] * n,
        seven=[7] * 50 + [None] * 50,
        today=["2024-05-05"] * n,
        name=[f"name {i}" for i in range(n)],
        rare=[f"{i % 40}" + "x" for i in range(n)][:60] + ["alone " + str(i) for i in range(40)],
        row_id=range(n),
        y=numbers(),
    )
    data = load(path, target="y", seed=1)
    assert prepared(data) == {
        "number": "number", "whole": "number", "word": "text", "flag": "boolean", "day": "date", "moment": "date",
        "time": "time", "grade": "text",
    }  # fmt: skip
    assert left_out(data) == {
        "nothing": "empty", "marks": "empty", "always": "constant: 'x'", "seven": "constant: 7",
        "today": "constant: 2024-05-05T00:00:00.000000", "name": "text, 80 different values in 80 rows",
        "rare": left_out(data)["rare"], "row_id": "it counts the rows",
    }  # fmt: skip
    assert left_out(data)["rare"].startswith("text, ")


def test_dates_become_the_numbers_that_polars_gives() -> None:
    rng = np.random.default_rng(0)
    moments = [
        np.datetime64("1969-01-01T00:00") + np.timedelta64(int(minutes), "m")
        for minutes in rng.integers(0, 60 * 365 * 24 * 60, 200)
    ]
    table("a.csv", at=[str(moment).replace("T", " ") for moment in moments], y=numbers(200))
    data = load("a.csv", target="y", scale="none", test_fraction=0)
    assert data.feature_names == ("at year", "at month", "at weekday", "at hour", "at elapsed")
    at = pl.Series(np.array(moments)[data.rows].astype("datetime64[us]"))
    expected = [
        at.dt.year(), at.dt.month(), at.dt.weekday(), at.dt.hour() + at.dt.minute() / 60,
        at.dt.timestamp("us") / (24 * 3600 * 1e6),
    ]  # fmt: skip
    np.testing.assert_allclose(data.X, np.column_stack([part.to_numpy() for part in expected]), rtol=1e-13)


@given(st.datetimes(), st.sampled_from(["", "Z", "+05:30", "-0800"]), st.sampled_from(["T", " "]))
def test_any_iso_date_is_read_as_the_standard_library_writes_it(moment: Any, offset: str, between: str) -> None:
    import datetime

    from mlp.data.dates import date_parts, parse_date

    try:
        aware = datetime.datetime.fromisoformat(moment.isoformat() + offset)
        utc = aware if aware.tzinfo is None else aware.astimezone(datetime.UTC).replace(tzinfo=None)
    except OverflowError:
        return
    parsed = parse_date(moment.isoformat(sep=between) + offset)
    assert parsed == utc
    parts = date_parts(np.array([parsed], dtype="datetime64[us]"))
    assert [parts["year"][0], parts["month"][0], parts["weekday"][0]] == [utc.year, utc.month, utc.isoweekday()]
    assert parts["hour"][0] == pytest.approx(utc.hour + utc.minute / 60 + (utc.second + utc.microsecond / 1e6) / 3600)
    assert parts["elapsed"][0] == pytest.approx((utc - datetime.datetime(1970, 1, 1)) / datetime.timedelta(1), abs=1e-9)


@pytest.mark.parametrize("text", ["2023-02-29", "31.01.2024", "01/31/2024", "2024-1-5", "20240131", "2024-01-31x", "-"])
def test_other_texts_are_no_dates(text: str) -> None:
    from mlp.data.dates import parse_date

    assert parse_date(text) is None


def test_dates_of_parquet_are_those_of_csv() -> None:
    import datetime

    days = [datetime.date(2020, 1, 1) + datetime.timedelta(37 * i) for i in range(40)]
    moments = [datetime.datetime(2020, 1, 1, 6) + datetime.timedelta(hours=31 * i) for i in range(40)]
    frame = pl.DataFrame({"day": [None, *days[1:]], "moment": moments, "y": numbers(40)})
    frame.write_csv("a.csv")
    frame.write_parquet("a.parquet")
    text, binary = (load(name, target="y") for name in ("a.csv", "a.parquet"))
    assert text.feature_names == binary.feature_names
    np.testing.assert_array_equal(text.X, binary.X)
    for unit in ("ms", "ns"):
        frame.with_columns(pl.col("moment").cast(pl.Datetime(unit))).write_parquet("b.parquet")
        np.testing.assert_array_equal(load("b.parquet", target="y").X, text.X)


@pytest.mark.parametrize("mark", [mark for mark in MISSING_MARKS if mark])
def test_each_mark_is_a_missing_value(mark: str) -> None:
    n = 60
    spelt = [mark, mark.upper(), f" {mark} "]
    size = [spelt[i % 3] if i % 4 == 0 else i + 0.5 for i in range(n)]
    city = [spelt[i % 3] if i % 4 == 0 else "ab"[i % 2] for i in range(n)]
    data = load(table("a.csv", size=size, city=city, y=numbers(n)), target="y", scale="none", test_fraction=0)
    assert data.feature_names == ("size", "city=a", "city=b", "city is missing")
    present = [i + 0.5 for i in range(n) if i % 4]
    rows = data.rows % 4 == 0
    assert set(data.X[rows, 0]) == {np.median(present)}
    np.testing.assert_array_equal(data.X[:, 3], rows)


def test_rare_categories_share_an_input() -> None:
    rng = np.random.default_rng(0)
    letters = np.array([f"c{i}" for i in range(30)])
    city = letters[np.minimum(rng.geometric(0.15, 2000) - 1, 29)]
    data = load(table("a.csv", city=city, y=numbers(2000)), target="y", scale="none")
    [column] = data.preprocessing.columns
    assert isinstance(column, CategoricalColumn)
    in_training = city[data.rows]
    counts = {name: int((in_training == name).sum()) for name in set(in_training)}
    assert set(column.categories) == {name for name, n in counts.items() if n >= 10}
    assert set(column.rare_names) == {name for name, n in counts.items() if n < 10} != set()
    rare = data.X[:, data.feature_names.index("city is rare")]
    np.testing.assert_array_equal(rare, np.isin(in_training, column.rare_names))
    np.testing.assert_array_equal(data.X.sum(axis=1), 1)


def test_at_most_a_hundred_categories_have_their_own_input() -> None:
    city = [f"c{i % 150}" for i in range(3000)]
    data = load(table("a.csv", city=city, y=numbers(3000)), target="y")
    assert data.n_inputs == 101


def test_unknown_categories_are_answered_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    few = Preprocessing.fit({"city": np.array(["Oslo", "Bergen"])}, share_rare=True)
    new = {"city": np.array(["Rome", "Oslo", "Rome", None], dtype=object)}
    assert few.transform(new).tolist() == [[0, 0], [0, 1], [0, 0], [0, 0]]
    assert "city: 2 rows with a category that the training rows did not have, such as 'Rome', which sets none" in (
        caplog.text
    )
    names = np.array([f"c{i:02}" for i in range(12)] * 5 + ["Rome"])
    many = Preprocessing.fit({"city": names}, share_rare=True)
    caplog.clear()
    assert many.transform({"city": np.array(["Rome"])}).tolist() == [[0] * 12 + [1]]
    assert not caplog.text  # rare, but known
    assert many.transform({"city": np.array(["Paris"])}).tolist() == [[0] * 12 + [1]]
    assert "city: 1 row with a category that the training rows did not have, such as 'Paris', read" in caplog.text


def test_options_choose_the_columns() -> None:
    n = 60
    columns = {"code": [i % 3 for i in range(n)], "size": numbers(n), "text": [f"t{i}" for i in range(n)]}
    path = table("a.csv", **columns, number=[f"{i}kg" if i % 2 else i for i in range(n)], y=numbers(n))

    def names(**chosen: Any) -> tuple[str, ...]:
        return load(path, target="y", test_fraction=0, **chosen).feature_names

    assert names() == ("code", "size")
    assert names(drop=["code"]) == ("size",)
    assert names(columns=["code"]) == ("code",)
    assert names(categorical=["code"]) == ("code=0", "code=1", "code=2", "size")
    assert names(numeric=["number"]) == ("code", "size", "number")
    assert len(names(columns=["text", "size"], drop=[])) == 1  # all texts are rare, even if they are asked for
    result = run("train", path, "--target", "y", "--drop", "code, text", "--numeric", "number", *QUICK)
    lines = said(result)
    assert lines["left out"] == ["code (as asked)", "text (as asked)"]
    assert lines["stray"] == ["number: 30 texts such as '1kg' among numbers, read as missing"]
    config = json.loads(Path("runs/a-1/config.json").read_text())
    assert (config["data"]["drop"], config["data"]["numeric"]) == (["code", "text"], ["number"])
    run("train", "--resume", "runs/a-1", "--epochs", 3, "--quiet")
    assert "--drop code,text" in Path(run_report("runs/a-1")).read_text()


def run_report(folder: str) -> str:
    pytest.importorskip("matplotlib")
    run("report", folder)
    return f"{folder}/report.html"


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"drop": ["sise"]}, UnknownNameError, "drop: unknown column 'sise'; did you mean 'size'"),
        ({"columns": ["y"]}, ConfigurationError, "columns names 'y', which is the target"),
        ({"drop": ["size"], "numeric": ["size"]}, ConfigurationError, "'size' is in drop and in numeric"),
        ({"categorical": ["size"], "numeric": ["size"]}, ConfigurationError, "is in categorical and in numeric"),
        ({"columns": ["size"], "numeric": ["code"]}, ConfigurationError, "'code' is not in columns"),
        ({"drop": ["size", "code"]}, DataError, r"no column to learn from: all are left out: .*size \(as asked\)"),
        ({"target": ["y", "y"]}, ConfigurationError, "a target column is given twice"),
    ],
)
def test_choices_that_cannot_be_followed(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    path = table("a.csv", size=numbers(20), code=[i % 3 for i in range(20)], y=numbers(20))
    with pytest.raises(error, match=message):
        load(path, **{"target": "y"} | arguments)
    with pytest.raises(ConfigurationError, match="drop names columns of a table and does not apply to 'digits'"):
        load("digits", drop=["x"])


def test_nothing_is_learnt_from_the_test_rows() -> None:
    """What the test rows hold decides neither the columns nor their numbers."""
    n = 200
    rng = np.random.default_rng(0)
    columns = {"city": rng.choice(list("ab"), n), "size": np.array(numbers(n), dtype=object), "y": numbers(n)}
    test = load(table("a.csv", **columns), target="y").rows_test
    first = load("a.csv", target="y")
    columns["city"], columns["size"] = columns["city"].astype(object), columns["size"].copy()
    columns["city"][test], columns["size"][test] = "z", "many"
    second = load(table("a.csv", **columns), target="y")
    assert first.preprocessing == second.preprocessing
    np.testing.assert_array_equal(first.X, second.X)


# -- sources --------------------------------------------------------------------------------------------


def test_compressed_files_and_the_standard_input_hold_the_same() -> None:
    import pyarrow

    content = raw_tables.churn(Path("churn.csv"), 200).read_bytes()
    Path("churn.csv.gz").write_bytes(gzip.compress(content))
    Path("churn.csv.zst").write_bytes(pyarrow.compress(content, codec="zstd", asbytes=True))
    expected = json.loads(run("train", "churn.csv", "--target", "Churn", "--json", *QUICK).stdout)
    for name in ("churn.csv.gz", "churn.csv.zst"):
        result = json.loads(run("train", name, "--target", "Churn", "--json", *QUICK).stdout)
        assert result["history"]["loss"] == expected["history"]["loss"]
        assert result["run"].startswith("runs/churn-")
    piped = json.loads(run("train", "-", "--target", "Churn", "--json", *QUICK, stdin=content).stdout)
    assert piped["history"]["loss"] == expected["history"]["loss"]
    assert piped["run"] == "runs/stdin-1"
    answers = run("predict", "runs/churn-1", "churn.csv.zst").stdout
    assert run("predict", "runs/stdin-1", "-", stdin=content).stdout == answers
    assert "was trained on the standard input, which cannot be read again" in (
        run("train", "--resume", "runs/stdin-1", "--epochs", 3, status=1).stderr
    )


@pytest.mark.parametrize("name", ["a.csv.gz", "a.csv.zst"])
def test_damaged_compressed_files_are_refused(name: str) -> None:
    import pyarrow

    content = b"a,b\n" + b"1,2\n" * 1000
    packed = gzip.compress(content) if name.endswith("gz") else pyarrow.compress(content, codec="zstd", asbytes=True)
    for wrong in (packed[: len(packed) // 2], content, b"\x00" + packed, b""):
        Path(name).write_bytes(wrong)
        with pytest.raises(FileFormatError, match=name):
            mlp.data.read_table(name)


# -- targets --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "task", "classes", "reason"),
    [
        (["0.0", "1.0"] * 20, "classification", (0.0, 1.0), "2 different whole numbers"),
        ([0, 1, 1, 1] * 10, "classification", (0, 1), "2 different whole numbers"),
        (list(range(20)) * 2, "classification", tuple(range(20)), "20 different whole numbers"),
        (list(range(21)) * 3, "regression", None, "21 different whole numbers"),
        ([100 * i for i in range(12)] * 1, "regression", None, "12 different whole numbers in 12 rows"),
        ([1.5, 2.0] * 20, "regression", None, "not whole numbers"),
        (["yes", "no", "?"] * 20, "classification", ("no", "yes"), "text"),
        (["true", "false"] * 20, "classification", (False, True), "true and false"),
        ([1, 2, None, 2] * 10, "classification", (1, 2), "2 different whole numbers"),
        ([*range(100), "none", "sold"], "regression", None, "100 different whole numbers"),
    ],
)
def test_the_task_and_its_reason(values: list[Any], task: str, classes: Any, reason: str) -> None:
    data = load(table("a.csv", x=numbers(len(values)), y=values), target="y")
    assert (data.task, data.classes, data.task_reason) == (task, classes, reason)
    if classes:
        assert [type(label) for label in data.classes] == [type(label) for label in classes]
    other = "regression" if task == "classification" else "classification"
    if all(isinstance(value, int | float) for value in values):
        assert load("a.csv", target="y", task=other).task == other


def test_several_targets_are_numbers() -> None:
    x = np.array(numbers(80))
    path = table("a.csv", x=x, width=2 * x, height=[*(100 + x[:-1]), None])
    data = load(path, target="width,height")
    assert (data.target_names, data.task, data.n_outputs, data.y.shape) == (
        ("width", "height"),
        "regression",
        2,
        (63, 2),
    )
    lines = said(run("train", path, "--target", "width,height", "--epochs", 60, "--lr", 0.01, "--backend", "numpy"))
    assert lines["task"][0].startswith("regression: width from -")
    assert "height from 9" in lines["task"][0]
    answers = list(csv.DictReader(io.StringIO(run("predict", "runs/a-1", path).stdout)))
    assert list(answers[0]) == ["row", "prediction_width", "prediction_height"]
    assert len(answers) == 80
    assert float(answers[0]["prediction_height"]) == pytest.approx(100 + x[0], abs=0.5)
    document = json.loads(run("evaluate", "runs/a-1", path, "--json").stdout)
    trained = json.loads(Path("runs/a-1/results.json").read_text())["test"]
    assert (document["score"], document["rows"]) == (trained["score"], trained["rows"])
    with pytest.raises(ConfigurationError, match="several targets must be numbers"):
        load(path, target=["width", "height"], task="classification")


# -- predict and evaluate -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def churn_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("churn")
    path = raw_tables.churn(folder / "churn.csv", 300)
    CliRunner().invoke(cli, ["train", str(path), "--target", "Churn", "--output-dir", str(folder / "run"), *QUICK])
    return folder


cells = st.one_of(
    st.sampled_from(["", "?", "NA", "1e308", "-inf", "2024-02-30", "2024-02-29", "Yes", "One year", "12:30", "1,5"]),
    st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=6),
)


@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_every_row_is_answered_whatever_is_in_it(churn_run: Path, data: st.DataObject) -> None:
    header = next(csv.reader(open(churn_run / "churn.csv")))  # noqa: SIM115
    n = data.draw(st.integers(1, 4))
    rows = data.draw(st.lists(st.lists(cells, min_size=len(header), max_size=len(header)), min_size=n, max_size=n))
    new = churn_run / "new.csv"
    table(new, **dict(zip(header, zip(*rows, strict=True), strict=True)))
    result = run("predict", churn_run / "run", new, "--proba")
    answers = list(csv.DictReader(io.StringIO(result.stdout)))
    assert [row["row"] for row in answers] == [str(i) for i in range(n)]
    for row in answers:
        assert row["prediction"] in ("No", "Yes")
        assert float(row["p_No"]) + float(row["p_Yes"]) == pytest.approx(1, abs=1e-5)


def test_columns_are_kept_and_rows_are_numbered(churn_run: Path) -> None:
    rows = list(csv.DictReader(open(churn_run / "churn.csv")))  # noqa: SIM115
    data = load(churn_run / "churn.csv", target="Churn")
    part = run("predict", churn_run / "run", churn_run / "churn.csv", "--part", "test", "--keep", "customerID,tenure")
    answers = list(csv.DictReader(io.StringIO(part.stdout)))
    assert list(answers[0]) == ["row", "customerID", "tenure", "prediction"]
    assert [int(row["row"]) for row in answers] == sorted(data.rows_test.tolist())
    for row in answers:
        assert (row["customerID"], row["tenure"]) == tuple(
            rows[int(row["row"])][name] for name in ("customerID", "tenure")
        )
    everything = list(csv.DictReader(io.StringIO(run("predict", churn_run / "run", churn_run / "churn.csv").stdout)))
    assert len(everything) == len(rows)
    assert [everything[int(row["row"])]["prediction"] for row in answers] == [row["prediction"] for row in answers]
    assert (
        "has no column 'id'"
        in run("predict", churn_run / "run", churn_run / "churn.csv", "--keep", "id", status=2).stderr
    )
    assert (
        "--keep names columns of a table"
        in run("predict", churn_run / "run", "digits", "--keep", "id", status=2).stderr
    )


def test_evaluate_names_its_rows_and_notices_a_change(churn_run: Path) -> None:
    path = churn_run / "churn.csv"
    data = load(path, target="Churn")
    document = json.loads(run("evaluate", churn_run / "run", path, "--json").stdout)
    assert document["row_numbers"] == data.rows_test.tolist()
    shown = run("evaluate", churn_run / "run", path)
    first = sorted(data.rows_test.tolist())[:3]
    assert f"test part, 60 rows of 300: {first[0]}, {first[1]}, {first[2]}" in said(shown)["data"][0]
    assert "changed" not in shown.stderr
    before = path.read_bytes()
    try:
        path.write_bytes(before.replace(b"Two year", b"One year", 1))
        assert "has changed since the training" in run("evaluate", churn_run / "run", path).stderr
    finally:
        path.write_bytes(before)
    other = churn_run / "other.csv"
    other.write_bytes(before.replace(b",No\n", b",?\n", 1))
    elsewhere = run("evaluate", churn_run / "run", other)
    assert "all, 299 rows" in said(elsewhere)["data"][0]
    assert "left out  1 row without a target" in elsewhere.stdout


# -- saved models ---------------------------------------------------------------------------------------


def test_the_preparation_is_saved_with_the_model(churn_run: Path) -> None:
    data = load(churn_run / "churn.csv", target="Churn")
    net = mlp.load(churn_run / "run" / "model.safetensors", backend="numpy")
    assert net.preprocessing == data.preprocessing
    assert Preprocessing.from_dict(json.loads(json.dumps(data.preprocessing.to_dict()))) == data.preprocessing
    columns = mlp.data.tables.read_columns(churn_run / "churn.csv", data.preprocessing.text_columns, raw=True)
    np.testing.assert_array_equal(net.preprocessing.transform(columns)[data.rows], data.X)


def test_a_data_frame_is_read_as_the_file(churn_run: Path) -> None:
    data = load(churn_run / "churn.csv", target="Churn")
    frame = pl.read_csv(churn_run / "churn.csv", try_parse_dates=True)
    assert frame["joined"].dtype == pl.Date
    np.testing.assert_array_equal(data.preprocessing.transform(frame)[data.rows], data.X)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"marks": None}, "preparation marks is None, expected a list of texts"),
        ({"marks": [1]}, r"preparation marks is \[1\]"),
        ({"columns": []}, "preparation columns is"),
        ({"columns": [{"name": "size"}]}, r"preparation columns\[0\] has the keys"),
        ({"columns": [{"name": "size", "kind": "code"}]}, r"columns\[0\] kind is 'code'"),
        ({"columns": [{"name": "size", "kind": ["number"]}]}, r"columns\[0\] kind is"),
        ({"columns": [{"name": "size", "kind": "date", "parts": ["century"]}]}, r"columns\[0\] parts is"),
        ({"columns": [{"name": "size", "kind": "number", "parts": ["year"]}]}, r"columns\[0\] parts is"),
        ({"columns": [{"name": "other", "kind": "number"}]}, "makes the columns"),
        ({"left_out": [["a"]]}, "left_out is"),
        ({"other": 1}, "preparation has the keys"),
    ],
)
def test_a_damaged_preparation_is_refused(change: dict[str, Any], message: str) -> None:
    data = load(table("a.csv", size=numbers(20), y=numbers(20)), target="y")
    state = data.preprocessing.to_dict()
    state["preparation"] |= change
    with pytest.raises(FileFormatError, match=message):
        Preprocessing.from_dict(state)


@pytest.mark.parametrize("rare", [False, [], ["a"], [1], "c", {}])
def test_damaged_rare_categories_are_refused(rare: object) -> None:
    state = {"scale": "none", "columns": [{"name": "city", "categories": ["a", "b"], "rare": rare}]}
    with pytest.raises(FileFormatError, match="rare is"):
        Preprocessing.from_dict(state)
    state["columns"][0]["rare"] = True
    assert Preprocessing.from_dict(state).n_outputs == 3


def test_a_run_of_the_version_before_is_read_as_it_was(tmp_path: Path) -> None:
    shutil.copytree(FILES / "table-run-0.2", tmp_path / "run")
    config = json.loads(Path("run/config.json").read_text())
    config["data"]["source"] = str(tmp_path / "run" / "flats.csv")
    Path("run/config.json").write_text(json.dumps(config))
    answers = [row["prediction"] for row in csv.DictReader(io.StringIO(run("predict", "run", "run/flats.csv").stdout))]
    assert answers == (FILES / "table-run-0.2" / "predictions.csv").read_text().split()[1:]
    evaluated = run("evaluate", "run", "run/flats.csv")
    assert "changed" not in evaluated.stderr
    assert "R^2 -0.4813" in evaluated.stdout
    run("train", "--resume", "run", "--epochs", 4, "--quiet")
    assert mlp.load("runs/flats-1/model.safetensors").sizes[0] == 9


def test_older_versions_refuse_a_model_of_a_raw_table(churn_run: Path) -> None:
    assert json.loads(run("inspect", churn_run / "run", "--json").stdout)["format_version"] == 3
    run("train", "moons", "--output-dir", "moons", *QUICK)
    assert json.loads(run("inspect", "moons", "--json").stdout)["format_version"] == 1
