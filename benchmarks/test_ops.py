"""Speed of each backend operation, on every usable backend.

python -m pytest benchmarks/test_ops.py --benchmark-group-by=group --benchmark-sort=name
python -m pytest benchmarks/test_ops.py -k "dense and numba" --benchmark-json=now.json
python -m pytest_benchmark compare before.json now.json --group-by=name
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import backends
from backends import formulas
from backends.formulas import Rule

N_IN, N_OUT, N_CLASSES = 784, 128, 10
HYPER = {"momentum": 0.9, "rho": 0.99, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8}
RULES = {
    "sgd": (),
    "momentum": ("momentum",),
    "nesterov": ("momentum",),
    "adagrad": ("epsilon",),
    "rmsprop": ("rho", "epsilon"),
    "adam": ("beta1", "beta2", "epsilon"),
}
"""Names of the constants of each update rule; the variants of a rule have the same cost."""

OUTPUTS = ("softmax+cross_entropy", "sigmoid+binary_cross_entropy", "identity+mse", "sigmoid+quadratic")


def _operations(xp: backends.Backend, rows: int) -> dict[str, Callable[[], Any]]:
    rng = np.random.default_rng(0)

    def array(*shape: int) -> Any:
        return xp.asarray(rng.standard_normal(shape), dtype=np.float32)

    x, W, b, dy = array(rows, N_IN), array(N_IN, N_OUT), array(N_OUT), array(rows, N_OUT)
    y = xp.dense(x, W, b, "relu")
    out, dx, dW, db = (xp.empty(v.shape, np.float32) for v in (dy, x, W, b))
    logits, labels = array(rows, N_CLASSES), rng.integers(0, N_CLASSES, rows)
    classes, one_hot = xp.asarray(labels), xp.asarray(np.eye(N_CLASSES, dtype=np.float32)[labels])
    params, gradient, state = array(W.size), array(W.size), xp.zeros((2, W.size), np.float32)
    images = xp.asarray(rng.integers(0, 256, (8192, N_IN)), dtype=np.uint8)
    order = xp.asarray(rng.permutation(8192)[:rows])
    shuffled = xp.asarray(rng.permutation(rows))
    host_array = rng.standard_normal((rows, N_IN), dtype=np.float32)
    calls: dict[str, Callable[[], Any]] = {
        "asarray": lambda: xp.asarray(host_array),
        "to_numpy": lambda: xp.to_numpy(x),
        "matmul": lambda: xp.matmul(x, W, out=out),
        "matmul of a transpose": lambda: xp.matmul(x, dy, trans_a=True, out=dW),
        "dense": lambda: xp.dense(x, W, b, "relu", out=y),
        "dense_backward": lambda: xp.dense_backward(dy, x, y, W, "relu", dx=dx, dW=dW, db=db),
        "dense_backward of the first layer": lambda: xp.dense_backward(
            dy, x, y, W, "relu", dW=dW, db=db, need_dx=False
        ),
        "add_penalty": lambda: xp.add_penalty(params, gradient, l2=1e-9, l1=1e-9),
        "clip by value": lambda: xp.clip(gradient, by_value=1e9),
        "clip by norm": lambda: xp.clip(gradient, by_norm=1e9),
        "multiply": lambda: xp.multiply(gradient, 1.0),
        "dropout": lambda: xp.dropout(y, 0.5, (0, 0, 0, 1), out=out),
        "take_rows": lambda: xp.take_rows(x, shuffled, out=dx),
        "take_rows of bytes": lambda: xp.take_rows(images, order, out=dx, scale=1 / 255),
        "sum": lambda: xp.sum(x),
        "sum of columns": lambda: xp.sum(x, axis=0),
    }
    for kind in OUTPUTS:
        target = classes if kind.endswith("+cross_entropy") else one_hot
        calls[f"loss_and_delta {kind}"] = lambda kind=kind, target=target: xp.loss_and_delta(  # type: ignore[misc]
            kind, logits, target
        )
    for name, constants in RULES.items():
        rule = Rule(name, {constant: HYPER[constant] for constant in constants})
        slots = state[: len(rule.row.state)]
        calls[f"update {name}"] = lambda rule=rule, slots=slots: xp.update(  # type: ignore[misc]
            rule, params, gradient, slots, 1, 1e-9
        )
    for name, row in formulas.ACTIVATIONS.items():
        calls[f"activate {name}"] = lambda name=name: xp.activate(dy, name, out=out)  # type: ignore[misc]
        if row.backward is not None:
            calls[f"activate_backward {name}"] = lambda name=name: xp.activate_backward(  # type: ignore[misc]
                dy, y, name, out=out
            )
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

    measured()  # compile before the measurement
    benchmark.group = f"{operation}, {rows} rows"
    benchmark(measured)
