"""Training speed: one epoch of each contestant on each network, batch size and optimizer.

python -m pytest benchmarks/test_epochs.py --benchmark-group-by=group --benchmark-sort=name
python -m pytest benchmarks/test_epochs.py -k "784-30-10 and sgd" --benchmark-json=now.json
python -m pytest_benchmark compare before.json now.json --group-by=name

One contestant is measured after the other here, which suits a look at one of them over time; `mlp bench` lets them
take turns, which suits ratios between them.
"""

from __future__ import annotations

from typing import Any

import pytest

from mlp.bench import Case, Contestant, find_contestants
from mlp.bench.measure import CHECKED, TOLERANCE

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
FIELD = find_contestants()
COMPILES = "torch.compile"
"""For many seconds, so the quick check leaves it out; `mlp bench` checks it with all others."""


def _by_name(contestant: Contestant) -> str:
    return contestant.name


@pytest.mark.parametrize("contestant", FIELD.contestants, ids=_by_name)
@pytest.mark.parametrize("batch_size", BATCH_SIZES)
@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_epoch(benchmark: Any, optimizer: str, net: str, batch_size: int, contestant: Contestant) -> None:
    case = Case(net, batch_size, optimizer)
    if case.n_parameters > contestant.most_weights:
        pytest.skip(f"{contestant.name} takes minutes on {case.n_parameters:,} weights")
    epoch = contestant.prepare(case, *case.data())
    benchmark.group = str(case)
    benchmark.pedantic(epoch, rounds=5, warmup_rounds=1)
    speed = case.rows / benchmark.stats.stats.median
    benchmark.extra_info |= {"samples_per_second": speed, "gflops": speed * case.flops / 1e9}


@pytest.mark.parametrize("contestant", [c for c in FIELD.contestants if c.name != COMPILES], ids=_by_name)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_same_work(optimizer: str, contestant: Contestant) -> None:
    """The first epochs of every contestant come to the losses of the reference."""
    case = Case("784-30-10", 32, optimizer, max_rows=640)
    data = case.data()
    reference = FIELD.contestants[0].prepare(case, *data)
    epoch = contestant.prepare(case, *data)
    for _ in range(CHECKED):
        assert epoch() == pytest.approx(reference(), rel=TOLERANCE)


@pytest.mark.parametrize("name", FIELD.missing)
def test_missing_contestant(name: str) -> None:
    pytest.skip(f"{name}: {FIELD.missing[name]}")
