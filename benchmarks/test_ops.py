"""Speed of each operation of the contract, on every usable backend.

python -m pytest benchmarks/test_ops.py --benchmark-group-by=group --benchmark-sort=name
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import backends
from backends import formulas
from backends.formulas import Rule

N_IN, N_OUT = 784, 128


def _operations(xp: backends.Backend, rows: int) -> dict[str, Callable[[], Any]]:
    rng = np.random.default_rng(0)

    def array(*shape: int) -> Any:
        return xp.asarray(rng.standard_normal(shape), dtype=np.float32)

    x, W, b, dy = array(rows, N_IN), array(N_IN, N_OUT), array(N_OUT), array(rows, N_OUT)
    y = xp.dense(x, W, b, "relu")
    out, dx, dW, db = (xp.empty(v.shape, np.float32) for v in (dy, x, W, b))
    logits, labels = array(rows, 10), xp.asarray(rng.integers(0, 10, rows))
    params, gradient, state = array(W.size), array(W.size), xp.zeros((2, W.size), np.float32)
    images = xp.asarray(rng.integers(0, 256, (8192, N_IN)), dtype=np.uint8)
    order = xp.asarray(rng.permutation(8192)[:rows])
    adam = Rule("adam", {"beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8})
    calls: dict[str, Callable[[], Any]] = {
        "matmul": lambda: xp.matmul(x, W, out=out),
        "dense relu": lambda: xp.dense(x, W, b, "relu", out=y),
        "dense_backward relu": lambda: xp.dense_backward(dy, x, y, W, "relu", dx=dx, dW=dW, db=db),
        "loss_and_delta": lambda: xp.loss_and_delta("softmax+cross_entropy", logits, labels),
        "update sgd": lambda: xp.update(Rule("sgd", {}), params, gradient, state[:0], 1, 1e-3),
        "update adam": lambda: xp.update(adam, params, gradient, state, 1, 1e-3),
        "dropout": lambda: xp.dropout(y, 0.5, (0, 0, 0, 1), out=out),
        "take_rows of bytes": lambda: xp.take_rows(images, order, out=dx, scale=1 / 255),
    }
    for name in formulas.ACTIVATIONS:
        calls[f"activate {name}"] = lambda name=name: xp.activate(dy, name, out=out)  # type: ignore[misc]
    return calls


_NAMES = list(_operations(backends.get_backend("numpy"), 2))


@pytest.mark.parametrize("backend", backends.available())
@pytest.mark.parametrize("rows", [32, 1024])
@pytest.mark.parametrize("operation", _NAMES)
def test_operation(benchmark: Any, operation: str, rows: int, backend: str) -> None:
    xp = backends.get_backend(backend)
    call = _operations(xp, rows)[operation]

    def measured() -> None:
        call()
        xp.synchronize()

    measured()  # compiled here, not in the measurement
    benchmark.group = f"{operation}, {rows} rows"
    benchmark(measured)
