"""Speed of reading tables: `read_table`, and polars or pyarrow alone, which check less.

python -m pytest benchmarks/test_tables.py
ROWS=1000000 python -m pytest benchmarks/test_tables.py -k "numbers and csv" --benchmark-json=now.json

Each group is a file of 100 columns.  Those of numbers have 98 columns of floats, one of integers and one of three
words; those of texts have 50 columns of floats and 50 of texts with spaces, quotes and separators.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mlp.data

pl = pytest.importorskip("polars")
pq = pytest.importorskip("pyarrow.parquet")

ROWS = int(os.environ.get("ROWS", "100000"))


def table(content: str, n: int) -> Any:
    """A data frame of n rows and 100 columns."""
    rng = np.random.default_rng(0)
    if content == "numbers":
        columns: dict[str, Any] = {f"x{i}": rng.normal(size=n) for i in range(98)}
        return pl.DataFrame(columns | {"count": rng.integers(0, 1000, n), "word": rng.choice(["a", "b", "c"], n)})
    columns = {f"x{i}": rng.normal(size=n) for i in range(50)}
    words = np.array([f'Mr. "{i}", of Oslo' if i % 3 else f"name {i}" for i in range(1000)])
    return pl.DataFrame(columns | {f"t{i}": rng.choice(words, n) for i in range(50)})


def written(folder: Path, content: str, suffix: str, n: int) -> Path:
    """The path of a new file of such a table."""
    path = folder / f"{content}-{n}.{suffix}"
    if not path.exists():
        frame = table(content, n)
        (frame.write_csv if suffix == "csv" else frame.write_parquet)(path)
    return path


READERS: dict[str, dict[str, Callable[[Path], Any]]] = {
    "csv": {"mlp": mlp.data.read_table, "polars": pl.read_csv},
    "parquet": {"mlp": mlp.data.read_table, "pyarrow": pq.read_table, "polars": pl.read_parquet},
}
CASES = [(suffix, library) for suffix, libraries in READERS.items() for library in libraries]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tables")


@pytest.mark.parametrize("content", ["numbers", "texts"])
@pytest.mark.parametrize(("suffix", "library"), CASES)
def test_read(folder: Path, benchmark: Any, suffix: str, library: str, content: str) -> None:
    path = written(folder, content, suffix, ROWS)
    benchmark.group = f"{content}, {ROWS} rows of 100 columns, {suffix}, {path.stat().st_size / 1e6:.0f} MB"
    benchmark.pedantic(READERS[suffix][library], args=(path,), rounds=5, warmup_rounds=1)


@pytest.mark.parametrize("content", ["numbers", "texts"])
@pytest.mark.parametrize("suffix", READERS)
def test_same_work(folder: Path, suffix: str, content: str) -> None:
    path = written(folder, content, suffix, 500)
    expected = table(content, 500)
    for library, read in READERS[suffix].items():
        found = read(path)
        found = found.to_pydict() if library == "pyarrow" else {name: list(found[name]) for name in expected.columns}
        assert found == {name: column.to_list() for name, column in expected.to_dict().items()}
