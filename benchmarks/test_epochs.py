"""Training speed: one epoch of each implementation for each network, batch size and optimizer.

python -m pytest benchmarks/test_epochs.py --benchmark-group-by=group --benchmark-sort=name
python -m pytest benchmarks/test_epochs.py -k "784-30-10 and sgd" --benchmark-json=now.json
python -m pytest_benchmark compare before.json now.json --group-by=name

The implementations are measured one after the other.  Use this to follow one implementation over time.  In `mlp bench`
they take turns; use it to compare implementations.
"""

from __future__ import annotations

from typing import Any

import pytest

from mlp.bench import Case, Implementation, find_implementations
from mlp.bench.measure import CHECKED_EPOCHS, TOLERANCE

NETS = (
    "784-30-10",
    "784-16-16-10",
    "784-128-10",
    "784-512-512-10",
    "784-800-10",
    "784-2500-2000-1500-1000-500-10",
)
BATCH_SIZES = (1, 16, 32, 64, 128, 256, 1024)
OPTIMIZERS = ("sgd", "adam")
SELECTION = find_implementations()
COMPILES = "torch.compile"
"""Compiles for many seconds, so `test_same_work` skips it; `mlp bench` checks its losses."""


def _name(implementation: Implementation) -> str:
    return implementation.name


@pytest.mark.parametrize("implementation", SELECTION.implementations, ids=_name)
@pytest.mark.parametrize("batch_size", BATCH_SIZES)
@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_epoch(benchmark: Any, optimizer: str, net: str, batch_size: int, implementation: Implementation) -> None:
    case = Case(net, batch_size, optimizer)
    if case.n_parameters > implementation.max_parameters:
        pytest.skip(f"{implementation.name} takes minutes on {case.n_parameters:,} weights")
    epoch = implementation.prepare(case, *case.data())
    benchmark.group = str(case)
    benchmark.pedantic(epoch, rounds=5, warmup_rounds=1)
    speed = case.rows / benchmark.stats.stats.median
    benchmark.extra_info |= {"samples_per_second": speed, "gflops": speed * case.flops / 1e9}


@pytest.mark.parametrize("implementation", [c for c in SELECTION.implementations if c.name != COMPILES], ids=_name)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_same_work(optimizer: str, implementation: Implementation) -> None:
    """The first epochs of every implementation have the losses of the reference."""
    case = Case("784-30-10", 32, optimizer, max_rows=640)
    data = case.data()
    reference = SELECTION.implementations[0].prepare(case, *data)
    epoch = implementation.prepare(case, *data)
    for _ in range(CHECKED_EPOCHS):
        assert epoch() == pytest.approx(reference(), rel=TOLERANCE)


@pytest.mark.parametrize("name", SELECTION.missing)
def test_missing_contestant(name: str) -> None:
    pytest.skip(f"{name}: {SELECTION.missing[name]}")
