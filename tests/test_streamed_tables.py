"""Parquet files and folders of parts read in blocks: what `load` makes of the same rows."""

from __future__ import annotations

import datetime
import os
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlp import DataError, DtypeError, MLPError, ShapeError
from mlp._backends import ConfigurationError, FileFormatError, UnknownNameError
from mlp.data import CategoricalColumn, NumericColumn, Preprocessing, RowStream, load, stream
from mlp.data.streams import parquet_file, table_stream

pytest.importorskip("pyarrow")
pl = pytest.importorskip("polars")

Array = np.ndarray[Any, Any]
N = 2000


def rows_of(part: RowStream) -> tuple[Array, Array]:
    blocks = [part.read(block) for block in range(len(part.block_rows))]
    assert [len(X) for X, _ in blocks] == [len(y) for _, y in blocks] == part.block_rows.tolist()
    return np.concatenate([X for X, _ in blocks]), np.concatenate([y for _, y in blocks])


@pytest.fixture
def table() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    days = [datetime.date(2015, 1, 1) + datetime.timedelta(int(day)) for day in rng.integers(0, 3000, N)]
    return {
        "id": np.arange(N),
        "key": [f"name {i}" for i in range(N)],
        "city": rng.choice([*"abcdefghijk", "rare one"], N, p=[0.09] * 11 + [0.01]),
        "age": [None if i % 17 == 0 else float(value) for i, value in enumerate(rng.normal(40, 9, N))],
        "rooms": rng.integers(0, 50, N),
        "country": ["NO"] * N,
        "joined": [f"{day}" if i % 50 else "?" for i, day in enumerate(days)],
        "left on": days,
        "member": rng.random(N) > 0.5,
        "charge": ["see contract" if i % 100 == 7 else f"{value:.2f}" for i, value in enumerate(rng.random(N))],
        "price": rng.random(N),
        "size": rng.integers(0, 1000, N),
        "plan": rng.choice(["basic", "full"], N),
    }


def written(folder: Path, table: dict[str, Any], name: str = "t.parquet", rows: int = 300) -> Path:
    pl.DataFrame(table).write_parquet(folder / name, row_group_size=rows)
    return folder / name


def require_nearly_equal(one: Preprocessing | None, other: Preprocessing | None) -> None:
    assert one is not None
    assert other is not None
    assert (one.scale, one.preparation) == (other.scale, other.preparation)
    for column, expected in zip(one.columns, other.columns, strict=True):
        if isinstance(expected, CategoricalColumn):
            assert column == expected
            continue
        assert isinstance(column, NumericColumn)
        assert (column.name, column.fill, column.clipped) == (expected.name, expected.fill, expected.clipped)
        assert [column.shift, column.scale] == pytest.approx([expected.shift, expected.scale], rel=1e-13)


@pytest.mark.parametrize(
    ("target", "task", "scale"),
    [
        ("plan", None, None),
        ("price", None, "none"),
        ("size", None, "minmax"),
        ("member", None, "robust"),
        ("rooms", "classification", None),
        ("price,size", None, None),
    ],
)
def test_a_table_is_what_it_is_in_memory(
    tmp_path: Path, table: dict[str, Any], target: str, task: Any, scale: Any
) -> None:
    path = written(tmp_path, table)
    data = stream(path, target=target, task=task, scale=scale, test_fraction=0)
    loaded = load(path, target=target, task=task, scale=scale, test_fraction=0)
    assert len(data.train.block_rows) == 7
    for name in ("name", "task", "classes", "feature_names", "target_names", "n_inputs", "n_outputs", "task_reason"):
        assert getattr(data, name) == getattr(loaded, name), name
    assert data.notes == loaded.notes
    require_nearly_equal(data.preprocessing, loaded.preprocessing)
    assert loaded.rows is not None
    order = np.argsort(loaded.rows)
    X, y = rows_of(data.train)
    assert X.dtype == np.float32
    np.testing.assert_allclose(X, loaded.X[order], rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(y, loaded.y[order])
    assert y.dtype == loaded.y.dtype
    if data.target_statistics is not None:
        np.testing.assert_allclose(data.target_statistics.mean, np.atleast_1d(loaded.y.mean(0)), rtol=1e-12)
    else:
        np.testing.assert_array_equal(data.class_counts, np.bincount(loaded.y))


def test_the_preprocessing_is_fitted_on_the_training_rows_alone(tmp_path: Path, table: dict[str, Any]) -> None:
    del table["id"]  # it does not count the training rows
    data = stream(written(tmp_path, table), target="plan", seed=5)
    mask = np.concatenate([data.train.mask(block) for block in range(len(data.train.block_rows))])  # type: ignore[attr-defined]
    training = pl.DataFrame(table).filter(pl.Series(mask))
    expected = load(
        written(tmp_path, {name: training[name] for name in table}, "u.parquet"), target="plan", test_fraction=0
    )
    require_nearly_equal(data.preprocessing, expected.preprocessing)
    assert data.test is not None
    assert [data.train.n_rows, data.test.n_rows] == [mask.sum(), (~mask).sum()]
    X, _ = rows_of(data.test)
    columns = {name: pl.DataFrame(table).filter(~pl.Series(mask))[name].to_numpy() for name in table}
    assert data.preprocessing is not None
    np.testing.assert_array_equal(X, data.preprocessing.transform_table(columns)[0].astype(np.float32))


def test_what_later_rows_decide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first rows decide what the columns are; constants and categories are known after all rows."""
    monkeypatch.setattr(table_stream, "FIRST_ROWS", 100)
    later = np.arange(N) >= 1500
    table = {
        "late": np.where(later, "b", "a"),
        "late number": np.where(later, 2.0, 1.0),
        "late year": np.where(later, "2021-05-03", "2020-05-04"),
        "same": ["x"] * N,
        "one": np.ones(N),
        "text later": [f"{i % 3}.5" if i < 1500 else "unknown" for i in range(N)],
        "empty first": [None if i < 1500 else "text" for i in range(N)],
        "number": np.arange(N) % 7 / 7,
        "y": np.arange(N) % 2,
    }
    data = stream(written(tmp_path, table, rows=64), target="y", test_fraction=0)
    assert data.feature_names == (
        "late=a", "late=b", "late number", "late year year", "late year elapsed", "text later", "number",
    )  # fmt: skip
    texts = [f"{note.heading}: {note.text}" for note in data.notes]
    assert texts[0] == "read: what the columns are was decided on the first 100 training rows of 2,000"
    assert "left out: same (constant: 'x')" in texts
    assert "left out: one (constant: 1)" in texts
    assert "left out: empty first (empty)" in texts
    assert "dates: late year: year, elapsed" in texts
    assert any(text.startswith("stray: text later: 500 texts such as 'unknown'") for text in texts)


def test_categories_that_only_the_test_part_has_and_far_numbers_are_told(tmp_path: Path, table: dict[str, Any]) -> None:
    data = stream(written(tmp_path, table), target="plan", seed=1)
    mask = np.concatenate([data.train.mask(block) for block in range(len(data.train.block_rows))])  # type: ignore[attr-defined]
    table["member"] = np.where(mask, np.where(table["member"], "yes", "no"), "perhaps")
    price = np.array(table["price"])
    price[np.flatnonzero(~mask)[0]] = 1e9
    table["price"] = price
    notes = stream(written(tmp_path, table), target="plan", seed=1).notes
    texts = [note.text for note in notes]
    are = "with a category that the training rows did not have"
    assert f"member: {(~mask).sum()} rows {are}, such as 'perhaps', which sets none of its inputs" in texts
    assert "price: numbers such as 1e+09 out of all range, read as missing" in texts


def test_folders_of_parts_are_read_in_natural_order(tmp_path: Path, table: dict[str, Any]) -> None:
    folder = tmp_path / "parts"
    folder.mkdir()
    frame = pl.DataFrame(table)
    cuts = [0, 500, 600, 1700, N]
    for number, (first, stop) in zip((1, 2, 10, 11), pairwise(cuts), strict=True):
        frame[first:stop].write_parquet(folder / f"part-{number}.parquet", row_group_size=250)
    (folder / "_SUCCESS").touch()
    (folder / ".part-3.parquet").write_bytes(b"being written")
    (folder / "README.txt").write_text("parts")
    whole = stream(written(tmp_path, table), target="plan", seed=2)
    data = stream(folder, target="plan", seed=2)
    assert data.train.block_rows.shape != whole.train.block_rows.shape
    require_nearly_equal(data.preprocessing, whole.preprocessing)
    for part, expected in ((data.train, whole.train), (data.test, whole.test)):
        assert part is not None
        assert expected is not None
        for one, other in zip(rows_of(part), rows_of(expected), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-6)


def test_folders_of_npy_files_and_pairs_of_folders(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    X, y = rng.random((100, 3)), np.arange(100) % 3
    for name in ("X", "y", "m"):
        (tmp_path / name).mkdir()
    for number, rows in ((9, slice(0, 30)), (10, slice(30, 31)), (11, slice(31, 100))):
        np.save(tmp_path / "X" / f"{number}.npy", X[rows])
        np.save(tmp_path / "y" / f"{number}.npy", y[rows])
        np.save(tmp_path / "m" / f"{number}.npy", np.column_stack([X[rows], y[rows]]))
    pair = stream(tmp_path / "X", target=tmp_path / "y", test_fraction=0)
    np.testing.assert_array_equal(rows_of(pair.train)[0], X)
    np.testing.assert_array_equal(rows_of(pair.train)[1], y)
    matrix = stream(str(tmp_path / "m"), test_fraction=0)
    np.testing.assert_array_equal(rows_of(matrix.train)[0], X)
    assert matrix.classes == (0, 1, 2)
    np.save(tmp_path / "X" / "11.npy", X[31:99])
    with pytest.raises(ShapeError, match=r"11.npy' has 68 rows, but .*11.npy' has 69"):
        stream(tmp_path / "X", target=tmp_path / "y")
    np.save(tmp_path / "X" / "12.npy", X[31:99])
    with pytest.raises(ShapeError, match="4 parts with inputs, but 3 with targets"):
        stream(tmp_path / "X", target=tmp_path / "y")
    np.save(tmp_path / "m" / "10.npy", X[:5, :2])
    with pytest.raises(ShapeError, match=r"10.npy' has rows of shape \(2,\) of float64, but .*9.npy' of \(4,\)"):
        stream(tmp_path / "m")


def test_folders_that_are_no_data_set(tmp_path: Path, table: dict[str, Any]) -> None:
    with pytest.raises(FileFormatError, match=r"holds no files that end in \.npy or \.parquet"):
        stream(tmp_path)
    written(tmp_path, table, "a.parquet")
    for other, message in [
        (
            {**table, "rooms": np.ones(N)},
            r"b.parquet' has a column 'rooms' of type double, but .* has one of type int64",
        ),
        ({name: table[name] for name in table if name != "city"}, r"b.parquet' has no column 'city', but .* of type"),
        ({**table, "new": np.ones(N)}, r"b.parquet' has a column 'new' of type double, but .* has none"),
        (dict(reversed(table.items())), "has the columns in another order"),
    ]:
        written(tmp_path, other, "b.parquet")
        with pytest.raises(ShapeError, match=message):
            stream(tmp_path, target="plan")
    np.save(tmp_path / "c.npy", np.zeros((3, 3)))
    with pytest.raises(FileFormatError, match=r"holds files of several kinds, such as 'a\.parquet' and 'c\.npy'"):
        stream(tmp_path, target="plan")


def test_tables_that_cannot_be_streamed(tmp_path: Path, table: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, table)
    cases: list[tuple[dict[str, Any], type[MLPError], str]] = [
        ({}, ConfigurationError, "no target column is given"),
        ({"target": "plam"}, UnknownNameError, "did you mean 'plan'"),
        ({"target": "left on"}, DataError, "holds dates, which are no target"),
        ({"target": "plan", "task": "regression"}, DataError, "holds text values, but regression needs numbers"),
        ({"target": "country"}, DataError, "has one class only, 'NO'"),
        ({"target": "age"}, DataError, r"column age has no value in rows 0, 17, 34, 51, 68 and 113 more.*drop_nulls"),
        ({"target": "price,size", "task": "classification"}, ConfigurationError, "several targets must be numbers"),
        ({"target": "plan", "drop": ["sity"]}, UnknownNameError, "drop: unknown column 'sity'"),
        ({"target": "plan", "columns": ["country"]}, DataError, "has no column to learn from"),
    ]  # fmt: skip
    for arguments, error, message in cases:
        with pytest.raises(error, match=message):
            stream(path, **arguments)
    with monkeypatch.context() as patch:
        patch.setattr(parquet_file, "MAX_GROUP_BYTES", 30_000)
        with pytest.raises(FileFormatError, match=r"row group 0 takes \d+ bytes.*limit of 30000.*row_group_size"):
            stream(path, target="plan")
    pl.DataFrame({**table, "list": [[1]] * N}).write_parquet(path)
    with pytest.raises(DtypeError, match="is nested"):
        stream(path, target="plan")


def test_columns_can_be_chosen(tmp_path: Path, table: dict[str, Any]) -> None:
    path = written(tmp_path, table)
    choices = {"target": "plan", "test_fraction": 0, "columns": ["rooms", "charge", "id"], "categorical": ["rooms"]}
    data, loaded = stream(path, **choices), load(path, **choices)  # type: ignore[arg-type]
    assert data.feature_names == loaded.feature_names
    assert data.notes == loaded.notes


def test_a_parquet_file_that_changes_is_an_error(tmp_path: Path, table: dict[str, Any]) -> None:
    path = written(tmp_path, table)
    data = stream(path, target="plan")
    other = stream(path, target="plan")
    assert data.train.fingerprint == other.train.fingerprint
    os.utime(path, ns=(1, 1))
    with pytest.raises(FileFormatError, match="has been changed while it was used"):
        data.train.read(0)
    table["rooms"][N - 1] += 1
    assert stream(written(tmp_path, table), target="plan").train.fingerprint != data.train.fingerprint


def test_encoded_blocks_have_a_limit_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = {"city": [f"city {i % 90}" for i in range(9000)], "x": np.arange(9000) % 5, "y": np.arange(9000) % 2}
    path = written(tmp_path, table, rows=9000)
    stream(path, target="y")
    monkeypatch.setenv("MLP_MAX_EXPANDED_BYTES", "1000000")
    with pytest.raises(FileFormatError, match=r"a row group of 9000 rows of 91 inputs takes 3276000 bytes"):
        stream(path, target="y")
