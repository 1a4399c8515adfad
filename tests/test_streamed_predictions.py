"""``mlp predict`` and ``mlp evaluate`` with tables and folders of parts that are read in blocks."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from numpy.testing import assert_allclose

import mlp
from mlp.cli import cli

pl = pytest.importorskip("polars")
pytest.importorskip("pyarrow")

N = 6_000


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("mlp.data.streams.chunks.CHUNK_BYTES", 1)  # chunks of 4096 rows


def run(*arguments: object, status: int = 0) -> Result:
    result = CliRunner().invoke(cli, list(map(str, arguments)), prog_name="mlp")
    assert result.exit_code == status, (result.output, result.exception)
    return result


def error(*arguments: object) -> str:
    result = CliRunner().invoke(cli, list(map(str, arguments)), prog_name="mlp")
    assert result.exit_code in (1, 2), (result.output, result.exception)
    return result.stderr


def train(*arguments: object, to: str) -> None:
    run("train", *arguments, "--hidden", 8, "--epochs", 1, "--backend", "numpy", "--quiet", "--output-dir", to)


def table(seed: int = 0) -> Any:
    rng = np.random.default_rng(seed)
    x, kind = rng.normal(size=N), rng.choice(["a", "b", "c"], N)
    late = np.arange(N) >= 3000
    return pl.DataFrame(
        {
            "x": x,
            "kind": kind,
            "rooms": [None if late[i] and i % 9 == 0 else i % 7 for i in range(N)],
            "member": [None if late[i] and i % 5 == 0 else i % 3 == 0 for i in range(N)],
            "size": [f"{i % 11}.5" if i % 50 else "-" for i in range(N)],
            "day": pl.date_range(pl.date(2000, 1, 1), pl.date(2000, 1, 1) + pl.duration(days=N - 1), eager=True),
            "label": np.where(x + (kind == "b") > 0.5, "yes", "no"),
            "price": 3 * x + (kind == "a") + 10,
            "width": x + rng.normal(size=N),
        }
    )


def write(frame: Any, path: str = "t.parquet", rows: int = 700) -> str:
    frame.write_parquet(path, row_group_size=rows)
    return path


def unusual(frame: Any) -> Any:
    """With unknown categories, numbers out of range, texts among numbers, and rows without targets."""
    row = pl.int_range(pl.len())
    return frame.with_columns(
        pl.when(row % 900 == 800)
        .then(pl.concat_str(pl.lit("new "), row.cast(pl.String)))
        .otherwise("kind")
        .alias("kind"),
        pl.when(row % 1000 == 7).then(row * 1e30).otherwise("x").alias("x"),
        pl.when(row % 1100 == 3).then(pl.lit("large")).otherwise("size").alias("size"),
        pl.when(row % 60 == 1).then(None).otherwise("label").alias("label"),
        pl.when(row % 60 == 2).then(None).otherwise("price").alias("price"),
    )


TARGETS = {"label": "price,width", "price": "label,width", "price,width": "label"}
"""The targets of trainings, and the columns that are left out."""


def scores(*arguments: object) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(run("evaluate", *arguments, "--json").stdout)
    return document


def assert_close(found: Any, expected: Any) -> None:
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            assert_close(found[key], value)
    elif isinstance(expected, list):
        for one, other in zip(found, expected, strict=True):
            assert_close(one, other)
    elif isinstance(expected, float):
        assert_allclose(found, expected, rtol=1e-6, atol=1e-9)
    else:
        assert found == expected


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_predictions_are_the_same_bytes(target: str, dtype: str) -> None:
    write(table())
    train("t.parquet", "--target", target, "--drop", TARGETS[target], "--dtype", dtype, to="run")
    write(unusual(table(1)).drop(*target.split(",")), "new.parquet")
    variants: list[list[Any]] = [[], ["--keep", "rooms,member,size,day,kind"]]
    if target == "label":
        variants += [["--proba"], ["--threshold", 0.3]]
    for number, variant in enumerate(variants):
        for suffix in ("csv", "npy"):
            names = [f"{number}-{way}.{suffix}" for way in ("memory", "stream")]
            in_memory = run("predict", "run", "new.parquet", *variant, "--no-stream", "-o", names[0]).stderr
            in_blocks = run("predict", "run", "new.parquet", *variant, "--stream", "-o", names[1]).stderr
            assert Path(names[0]).read_bytes() == Path(names[1]).read_bytes()
            first, *rest = in_blocks.splitlines()
            assert first.endswith("read in blocks: --stream")
            assert rest == [line.replace(*names) for line in in_memory.splitlines()]
            assert len(rest) == 4  # three warnings, each once
        printed = [run("predict", "run", "new.parquet", *variant, way).stdout for way in ("--no-stream", "--stream")]
        assert printed[0] == printed[1]
        assert len(printed[1].splitlines()) == N + 1


@pytest.mark.parametrize("target", TARGETS)
def test_scores_are_those_in_memory(target: str) -> None:
    write(table())
    train("t.parquet", "--target", target, "--drop", TARGETS[target], to="run")
    write(unusual(table(1)), "new.parquet")
    expected = scores("run", "new.parquet", "--no-stream")
    assert expected["rows"] == len(expected.pop("row_numbers")) < N
    assert_close(scores("run", "new.parquet", "--stream"), expected)
    in_memory, in_blocks = (run("evaluate", "run", "new.parquet", way) for way in ("--no-stream", "--stream"))
    assert in_blocks.stdout.partition("\n")[2] == in_memory.stdout
    assert in_blocks.stderr == in_memory.stderr
    assert in_blocks.stderr.count("warning") == 3
    assert f"{N - expected['rows']} rows without a target" in in_blocks.stdout


@pytest.mark.parametrize("target", ["label", "price"])
@pytest.mark.parametrize("part", ["test", "train"])
def test_the_parts_of_a_run_are_those_of_its_training(target: str, part: str) -> None:
    write(table())
    train("t.parquet", "--target", target, "--stream", "--seed", 3, to="run")
    data = mlp.runs.read_dataset("run")
    X, y = (np.concatenate(arrays) for arrays in zip(*getattr(data, part), strict=True))
    lines = run("predict", "run", "t.parquet", "--part", part, "--keep", target).stdout.splitlines()[1:]
    numbers = [int(line.partition(",")[0]) for line in lines]
    frame = table()[numbers]
    assert [line.split(",")[1] for line in lines] == [str(value) for value in frame[target].to_list()]
    targets = frame[target].to_list()
    assert targets == ([data.classes[code] for code in y] if data.classes else y.tolist())
    net = mlp.load("run/model.safetensors")
    answers = net.predict(X)
    assert [line.split(",")[2] for line in lines] == [str(net.classes[a] if net.classes else a) for a in answers]
    found = run("evaluate", "run", "t.parquet", "--part", part)
    assert f"{part} part, {len(lines)} rows of {N}: {', '.join(map(str, numbers[:8]))}, ..." in (
        " ".join(found.stdout.split())
    )
    assert not found.stderr
    if part == "test":
        results = json.loads(Path("run", "results.json").read_text())["test"]
        document = scores("run", "t.parquet")
        assert document["part"] == "test"
        assert {key: document[key] for key in results} == results


def test_changed_data_are_noticed() -> None:
    write(table())
    train("t.parquet", "--target", "label", "--stream", to="run")
    write(table().with_columns(pl.col("x") + 1e-9))
    for command in ("evaluate", "predict"):
        assert "t.parquet has changed since the training" in run(command, "run", "t.parquet", "--part", "test").stderr
    write(table())
    assert "changed" not in run("evaluate", "run", "t.parquet").stderr


def test_folders_of_tables_are_one_table() -> None:
    whole = unusual(table())
    write(table())
    write(whole, "new.parquet")
    Path("parts").mkdir()
    for number, (first, stop) in zip((2, 10, 11), pairwise((0, 1000, 1001, N)), strict=True):
        write(whole[first:stop], f"parts/{number}.parquet", 800)
    train("t.parquet", "--target", "label", to="run")
    one, parts = (run("predict", "run", source, "--keep", "rooms") for source in ("new.parquet", "parts"))
    assert one.stdout == parts.stdout
    assert one.stderr == parts.stderr.partition("\n")[2]
    assert parts.stderr.splitlines()[0].endswith("in a folder, read in blocks")
    expected = scores("run", "new.parquet") | {"data": "parts"}
    del expected["row_numbers"]
    assert_close(scores("run", "parts"), expected)


def test_folders_of_arrays_are_one_array() -> None:
    rng = np.random.default_rng(0)
    X, y = rng.integers(0, 256, (9000, 4, 5), np.uint8), rng.integers(0, 3, 9000)
    for name, array in (("X", X), ("y", y), ("m", np.column_stack([X.reshape(9000, -1), y]).astype(np.float32))):
        np.save(f"{name}.npy", array)
        Path(name).mkdir()
        for number, (first, stop) in zip((9, 10, 11, 12), pairwise((0, 8000, 8001, 8003, 9000)), strict=True):
            np.save(f"{name}/{number}.npy", array[first:stop])
    train("X", "--target", "y", to="run")
    expected = run("predict", "run", "X.npy", "--no-stream").stdout
    assert run("predict", "run", "X").stdout == expected
    results = json.loads(Path("run", "results.json").read_text())["test"]
    document = scores("run", "X")
    assert {key: document[key] for key in results} == results
    assert len(run("predict", "run", "X", "--part", "test").stdout.splitlines()) == results["rows"] + 1
    train("m.npy", to="matrix")
    assert (
        run("predict", "matrix", "m", "--target", -1).stdout == run("predict", "matrix", "m.npy", "--target", -1).stdout
    )
    expected_scores = scores("matrix", "m.npy", "--part", "all") | {"data": "m"}
    del expected_scores["row_numbers"]
    assert_close(scores("matrix", "m"), expected_scores)
    np.save("X/13.npy", X[:2, :3])
    assert "must be alike" in error("predict", "run", "X")


def test_errors_are_those_in_memory() -> None:
    write(table())
    train("t.parquet", "--target", "label", "--drop", "price,width", to="run")
    row = pl.int_range(pl.len())
    other = pl.when(row == 4321).then(pl.lit("maybe")).otherwise("label").alias("label")
    cases = [
        (table().with_columns(other), [], "row 4321 (counted from 0) is 'maybe'"),
        (table().with_columns(pl.lit(None, pl.String).alias("label")), [], "no row has a value"),
        (table().drop("kind"), [], "the table lacks column 'kind'"),
        (table().drop("label"), [], "has no column 'label'"),
        (table(), ["--part", "some"], "part"),
    ]
    for frame, options, message in cases:
        write(frame, "new.parquet")
        errors = [error("evaluate", "run", "new.parquet", *options, way) for way in ("--stream", "--no-stream")]
        assert errors[0] == errors[1]
        assert message in errors[0]
    refused = [
        (["predict", "run", "t.parquet", "--stream", "--keep", "rom"], "did you mean 'rooms'"),
        (["predict", "run", "t.parquet", "--stream", "--separator", ";"], "--separator is of CSV and TSV files"),
        (["evaluate", "run", "t.parquet", "--stream"], "was trained on 't.parquet' in memory"),
    ]
    for arguments, message in refused:
        assert message in error(*arguments)


def test_a_run_without_a_test_part_has_all_rows() -> None:
    write(table())
    train("t.parquet", "--target", "label", "--stream", "--test-fraction", 0, to="run")
    assert scores("run", "t.parquet")["part"] == "all"
    assert "'t.parquet' has no test part; use --part all" in error("evaluate", "run", "t.parquet", "--part", "test")
    assert scores("run", "t.parquet", "--part", "train")["rows"] == N


def test_a_network_for_arrays_reads_tables_into_memory() -> None:
    X = np.random.default_rng(0).normal(size=(300, 3))
    np.save("m.npy", X)
    train("m.npy", "--task", "regression", to="run")
    frame = pl.DataFrame({"a": X[:, 0], "b": X[:, 1]})
    assert len(run("predict", "run", write(frame)).stdout.splitlines()) == 301
    Path("parts").mkdir()
    write(frame, "parts/1.parquet")
    for source, options in (("t.parquet", ["--stream"]), ("parts", [])):
        assert "was not trained on a table file" in error("predict", "run", source, *options)


def test_pictures_and_traces_use_the_first_rows_of_a_table() -> None:
    write(table())
    train("t.parquet", "--target", "label", "--stream", to="run")
    assert "only the first 4,096 of" in run("plot", "confusion", "run", "--part", "train").stderr
    assert "softmax" in run("trace", "run", "t.parquet", "--rows", 1).stdout
    Path("parts").mkdir()
    write(unusual(table()).with_columns(pl.col("label").fill_null("no")), "parts/1.parquet")
    assert run("trace", "run", "parts", "--rows", 1).stderr.count("that the training rows did not have") == 1


def test_a_row_group_that_is_too_large_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    write(table())
    train("t.parquet", "--target", "label", to="run")
    monkeypatch.setattr("mlp.data.streams.parquet_file.MAX_GROUP_BYTES", 30_000)
    for command in ("predict", "evaluate"):
        assert "row group 0 takes" in error(command, "run", "t.parquet", "--stream", "--part", "all")
