"""Trainings in shards, each with a hash of its results; as a program under ``mpiexec``, it prints those of rank 0.

mpiexec -n 2 python tests/sharded_trainings.py numpy adam "l1 and l2"
"""

from __future__ import annotations

import hashlib
import json
import sys
from typing import Any

import numpy as np

import mlp

ROWS = 90
_RNG = np.random.default_rng(0)
X = _RNG.normal(size=(ROWS, 12)).astype(np.float32)
y = (X[:, 0] * X[:, 1] > 0).astype(np.int64) + (X[:, 2] > 0.5)
WEIGHTS = np.linspace(0, 2, ROWS).astype(np.float32)

NETWORK = {"activation": "tanh", "seed": 3}
FIT: dict[str, Any] = {"epochs": 2, "batch_size": 32, "optimizer": mlp.SGD(0.1)}

TRAININGS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "sgd": ({}, {}),
    "momentum": ({}, {"optimizer": mlp.SGD(0.1, momentum=0.9)}),
    "nesterov": ({}, {"optimizer": mlp.SGD(0.1, momentum=0.9, nesterov=True)}),
    "adam": ({}, {"optimizer": mlp.Adam(0.01)}),
    "adamw": ({}, {"optimizer": mlp.AdamW(0.01, weight_decay=0.1)}),
    "dropout": ({"dropout": 0.4, "input_dropout": 0.2}, {}),
    "l1 and l2": ({"l1": 1e-3, "l2": 1e-2}, {}),
    "clip_value": ({}, {"optimizer": mlp.SGD(0.1, clip_value=0.01)}),
    "clip_norm": ({"l2": 1e-2}, {"optimizer": mlp.SGD(0.1, clip_norm=0.1)}),
    "row weights": ({}, {"sample_weight": WEIGHTS}),
    "float64": ({"dtype": "float64"}, {"optimizer": mlp.Adam(0.01)}),
    "ragged batches": ({"dropout": 0.4}, {"batch_size": 37}),
    "fewer rows than shards": ({"l2": 1e-2}, {"batch_size": 3, "epochs": 1, "sample_weight": WEIGHTS}),
    "one row": ({"dropout": 0.4}, {"batch_size": 1, "epochs": 1}),
    "label smoothing": ({}, {"label_smoothing": 0.1}),
    "own rates": ({}, {"optimizer": mlp.Adam(0.01, bias_rate_factor=0.1)}),
    "scaling layer": ({"scaling_layer": True}, {"optimizer": mlp.Adam(0.01, scaling_rate_factor=6)}),
    "early stopping": (
        {},
        {
            "epochs": 12,
            "optimizer": mlp.SGD(2.0),
            "validation_fraction": 0.3,
            "early_stopping": mlp.EarlyStopping(patience=2),
            "metrics": ["balanced_accuracy"],
        },
    ),
    "plateau": (
        {},
        {
            "epochs": 8,
            "validation_fraction": 0.3,
            "optimizer": mlp.SGD(mlp.schedules.ReduceOnPlateau(2.0, patience=1)),
        },
    ),
}


def trained(backend: str, name: str, comm: Any = None, shards: int = 8, **more: Any) -> mlp.MLP:
    """The network after the training of this name."""
    network, fit = TRAININGS[name]
    net = mlp.MLP([12, 24, 16, 3], backend=backend, **NETWORK | network)
    net.fit(X, y, shards=shards, comm=comm, **FIT | fit | more)
    return net


def digest(net: mlp.MLP) -> str:
    """Of the weights, the optimizer state and all losses of a training."""
    state = net.training_state
    assert state is not None
    history = state.history
    result = hashlib.sha256()
    for array in (net.parameters, state.slots, state.batches):
        result.update(np.ascontiguousarray(net.xp.to_numpy(array)).tobytes())
    values = (history.loss, history.val_loss, history.val_score, history.metrics, history.learning_rate)
    result.update(repr((state.epoch, state.step, history.stop_reason, values)).encode())
    return result.hexdigest()


if __name__ == "__main__":
    world = mlp.distributed.mpi(timeout=60)
    digests = {name: digest(trained(sys.argv[1], name, world)) for name in sys.argv[2:] or TRAININGS}
    if world.rank == 0:
        print(json.dumps({"ranks": world.size, "digests": digests}))
