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
from mlp.bench.cases import GPU_ROWS, GPU_WORK
from mlp.bench.measure import CHECKED_EPOCHS, TOLERANCE

NETS = (
    "784-30-10",
    "784-16-16-10",
    "784-128-10",
    "784-512-512-10",
    "784-800-10",
    "784-2500-2000-1500-1000-500-10",
)
BATCH_SIZES = (1, 16, 32, 64, 128, 256, 1024, 4096)
OPTIMIZERS = ("sgd", "adam")
SELECTION = find_implementations()
COMPILE = ("torch.compile", "torch.compile CUDA")
"""They compile for many seconds, so `test_same_work` skips them; `mlp bench` checks their losses."""

LONG_EPOCHS: dict[str, Any] = {"max_rows": GPU_ROWS, "work": GPU_WORK}
EPOCHS = 10
"""Epochs of a call on a GPU: a training on it makes its buffers and graphs before the first."""


def _name(implementation: Implementation) -> str:
    return implementation.name


@pytest.mark.parametrize("implementation", SELECTION.implementations, ids=_name)
@pytest.mark.parametrize("batch_size", BATCH_SIZES)
@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_epoch(benchmark: Any, optimizer: str, net: str, batch_size: int, implementation: Implementation) -> None:
    on_gpu = implementation.device != "cpu"
    case = Case(net, batch_size, optimizer, **(LONG_EPOCHS if on_gpu else {}))
    if case.n_parameters > implementation.max_parameters:
        pytest.skip(f"{implementation.name} takes minutes on {case.n_parameters:,} weights")
    epochs, number = implementation.start(case, *case.data()), EPOCHS if on_gpu else 1
    benchmark.group = f"{case}, {number} epochs of {case.rows} rows" if on_gpu else str(case)
    benchmark.pedantic(epochs, args=(number,), rounds=5, warmup_rounds=1)
    seconds = benchmark.stats.stats.median / number
    speed = case.rows / seconds
    benchmark.extra_info |= {
        "samples_per_second": speed,
        "microseconds_per_step": 1e6 * seconds / case.steps,
        "gflops": speed * case.flops / 1e9,
    }


@pytest.mark.parametrize("implementation", [c for c in SELECTION.implementations if c.name not in COMPILE], ids=_name)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_same_work(optimizer: str, implementation: Implementation) -> None:
    """The first epochs of every implementation have the losses of the reference."""
    case = Case("784-30-10", 32, optimizer, max_rows=640)
    data = case.data()
    reference = SELECTION.implementations[0].prepare(case, *data)
    epoch = implementation.prepare(case, *data)
    for _ in range(CHECKED_EPOCHS):
        assert epoch() == pytest.approx(reference(), rel=TOLERANCE["float32"])


@pytest.mark.parametrize("name", SELECTION.missing)
def test_missing_contestant(name: str) -> None:
    pytest.skip(f"{name}: {SELECTION.missing[name]}")
