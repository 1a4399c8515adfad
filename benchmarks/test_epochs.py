"""Training speed: one epoch of each contestant on each network and batch size.

python -m pytest benchmarks/test_epochs.py --benchmark-group-by=group --benchmark-sort=name
"""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.contestants import CONTESTANTS, MISSING, random_images, work

NETS = {"784-30-10": [784, 30, 10], "784-128-10": [784, 128, 10], "784-512-512-10": [784, 512, 512, 10]}
BATCH_SIZES = (16, 32, 64, 128, 256, 1024)


@pytest.mark.parametrize("contestant", CONTESTANTS)
@pytest.mark.parametrize("batch_size", BATCH_SIZES)
@pytest.mark.parametrize("net", NETS)
def test_epoch(benchmark: Any, net: str, batch_size: int, contestant: str) -> None:
    sizes = NETS[net]
    n = max(2048, min(8192, 64 * batch_size)) // batch_size * batch_size
    X, y = random_images(n, sizes)
    epoch = CONTESTANTS[contestant](sizes, batch_size, X, y)
    benchmark.group = f"{net}, batch {batch_size}"
    benchmark.pedantic(epoch, rounds=5, warmup_rounds=1)
    seconds = benchmark.stats.stats.median
    benchmark.extra_info |= {"samples_per_second": n / seconds, "gflops": work(sizes) * n / seconds / 1e9}


@pytest.mark.parametrize("contestant", CONTESTANTS)
def test_same_work(contestant: str) -> None:
    """The first epochs of every contestant come to the losses of the reference."""
    sizes = [784, 30, 10]
    X, y = random_images(640, sizes)
    reference = CONTESTANTS["numpy"](sizes, 32, X, y)
    epoch = CONTESTANTS[contestant](sizes, 32, X, y)
    for _ in range(3):
        assert epoch() == pytest.approx(reference(), rel=1e-4)


@pytest.mark.parametrize("peer", MISSING)
def test_missing_peer(peer: str) -> None:
    pytest.skip(f"{peer} is not installed: pip install 'mlp[peers]'")
