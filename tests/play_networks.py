"""The networks whose pages are tested."""

from __future__ import annotations

from typing import Any

import numpy as np

import mlp
from mlp.data import Preprocessing

HOSTILE = "</script><img src=x onerror=alert(1)>"


def hostile_net() -> tuple[mlp.MLP, Any, Any]:
    table = {HOSTILE: np.array([1.0, 2.0, 3.0, 4.0]), "city": np.array(["Oslo", HOSTILE, "Rome", HOSTILE])}
    preprocessing = Preprocessing.fit(table)
    net = mlp.MLP([4, 5, 2], preprocessing=preprocessing, classes=["a & b", HOSTILE], seed=2)
    return net, preprocessing.transform(table), np.array([0, 1, 0, 1])


def some_moons() -> mlp.data.Dataset:
    return mlp.data.toy("moons", n=120)


def mnist_like() -> mlp.MLP:
    return mlp.MLP([784, 128, 10], input_scale=1 / 255, classes=list(range(10)))
