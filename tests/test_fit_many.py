"""Several networks in one call: each gets the same result as from its own `fit`."""

from __future__ import annotations

import os
import signal
import threading

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import mlp

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(60, 5)), RNG.integers(0, 3, 60)
folds = np.arange(60) % 3


def networks(backend, count=3, **changes):
    settings = {"dropout": 0.2, "dtype": "float64"} | changes
    return [mlp.MLP([5, 8, 3], "tanh", seed=seed, backend=backend, **settings) for seed in range(count)]


def assert_same(net, other):
    for actual, desired in zip([*net.weights, *net.biases], [*other.weights, *other.biases], strict=True):
        assert_array_equal(actual, desired)
    assert net.history.loss == other.history.loss
    assert net.history.val_loss == other.history.val_loss


def test_each_result_is_that_of_its_own_fit(backend):
    optimizers = [mlp.SGD(0.1, momentum=0.9), "adam", mlp.AdamW(0.01)]
    rows = [folds != 0, np.flatnonzero(folds != 1)[::-1], np.array([3, 3, 5, 40])]
    nets = networks(backend)
    histories = mlp.fit_many(nets, X, Y, rows=rows, epochs=4, batch_size=4, optimizer=optimizers)
    for net, history, part, optimizer, own in zip(nets, histories, rows, optimizers, networks(backend), strict=True):
        own.fit(X[part], Y[part], epochs=4, batch_size=4, optimizer=optimizer)
        assert history is net.history
        assert_same(net, own)


def test_validation_and_early_stopping_are_each_networks_own(backend):
    held_out = [(X[folds == i], Y[folds == i]) for i in range(3)]
    rule = mlp.EarlyStopping(patience=1)
    nets = networks(backend)
    mlp.fit_many(
        nets, X, Y, rows=[folds != i for i in range(3)], validation_data=held_out, early_stopping=rule, epochs=30,
        batch_size=8, optimizer=mlp.Adam(0.01),
    )  # fmt: skip
    for i, own in enumerate(networks(backend)):
        own.fit(
            X[folds != i], Y[folds != i], validation_data=held_out[i], early_stopping=rule, epochs=30, batch_size=8,
            optimizer=mlp.Adam(0.01),
        )  # fmt: skip
        assert_same(nets[i], own)
    assert len({len(net.history) for net in nets}) > 1


def test_one_validation_set_serves_all(backend):
    nets = networks(backend, 2)
    histories = mlp.fit_many(nets, X, Y, validation_data=(X[:9], Y[:9]), epochs=2)
    assert all(len(history.val_loss) == 2 for history in histories)


def test_one_that_diverges_does_not_stop_the_others(backend):
    nets = networks(backend, loss="mse", dropout=0.0)
    targets = RNG.normal(size=(60, 3))
    with pytest.raises(mlp.DivergenceError, match="diverged") as caught:
        mlp.fit_many(nets, X, targets, epochs=5, optimizer=[mlp.SGD(0.01), mlp.SGD(1e200), mlp.SGD(0.01)])
    assert "network 1 of 3" in caught.value.__notes__[0]
    assert [bool(net.history.error) for net in nets] == [False, True, False]
    assert [len(net.history) for net in nets] == [5, 0, 5]
    assert all(np.isfinite(W).all() for net in nets for W in net.weights)


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"nets": []}, mlp.ConfigurationError, "one or more"),
        ({"nets": [mlp.MLP([5, 8, 3]), mlp.MLP([5, 9, 3])]}, mlp.ConfigurationError, "sizes of network 1"),
        ({"nets": [mlp.MLP([5, 3]), mlp.MLP([5, 3], loss="mse")]}, mlp.ConfigurationError, "network 1"),
        ({"nets": [mlp.MLP([5, 3])] * 2}, mlp.ConfigurationError, "the same network twice"),
        ({"nets": mlp.MLP([5, 3])}, mlp.ConfigurationError, "one or more"),
        ({"optimizer": ["adam", "adom"]}, mlp.UnknownNameError, "did you mean 'adam'"),
        ({"validation_data": [(X, Y), (X, Y[:3])]}, mlp.ShapeError, "y"),
        ({"optimizer": ["adam"]}, mlp.ConfigurationError, "optimizer has 1 entries, but there are 2"),
        ({"rows": [[0, 1]]}, mlp.ConfigurationError, "rows has 1 entries"),
        ({"rows": [[0, 1], [0, 60]]}, mlp.DataError, "contains row 60"),
        ({"rows": [[0, 1], [-1, 0]]}, mlp.DataError, "contains row -1"),
        ({"rows": [[0, 1], []]}, mlp.DataError, r"rows\[1\]"),
        ({"rows": [[0, 1], [0.5, 1]]}, mlp.DataError, "integers or a boolean mask"),
        ({"rows": [[0, 1], [True, False]]}, mlp.ShapeError, "must be"),
        ({"y": Y[:-1]}, mlp.ShapeError, "same number of rows"),
    ],
)
def test_mistakes_are_told_before_any_training(change, error, text):
    nets = [mlp.MLP([5, 8, 3], seed=seed) for seed in range(2)]
    arguments = {"nets": nets, "X": X, "y": Y, "epochs": 1} | change
    with pytest.raises(error, match=text):
        mlp.fit_many(arguments.pop("nets"), arguments.pop("X"), arguments.pop("y"), **arguments)
    assert all(net.history is None for net in nets)


def test_a_history_with_an_error_is_saved(backend, tmp_path):
    (net,) = networks(backend, 1)
    mlp.fit_many([net], X, Y, epochs=1)
    net.history.error = "text"
    mlp.persistence.save_training_state(net, tmp_path / "state.safetensors")
    assert mlp.load(tmp_path / "state.safetensors").history.error == "text"


def test_ctrl_c_ends_the_whole_call(backend):
    nets = networks(backend)
    started = threading.Event()

    def interrupt():
        started.wait()
        os.kill(os.getpid(), signal.SIGINT)

    class Started(mlp.schedules.Constant):
        def rates(self, step, epoch, n_batches):
            started.set()
            return super().rates(step, epoch, n_batches)

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt) as caught:
        mlp.fit_many(nets, X, Y, epochs=100_000, optimizer=mlp.SGD(Started(0.001)))
    assert "0 of 3 networks are trained" in caught.value.__notes__[0]
    assert nets[0].history.interrupted
    assert [net.history for net in nets[1:]] == [None, None]
