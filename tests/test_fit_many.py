"""Several networks in one call: each gets the same result as from its own `fit`."""

from __future__ import annotations

import os
import signal
import threading
import tracemalloc

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


class Started(mlp.schedules.Constant):
    """Ctrl-C comes when `count` networks have begun an epoch and not before, and none goes on without it."""

    barrier = None

    def rates(self, step, epoch, n_batches):
        if not epoch and Started.barrier:
            Started.barrier.wait(60)
        return super().rates(step, epoch, n_batches)


def interrupted(nets, count):
    """The error of a call of `fit_many` that Ctrl-C ends when `count` networks are in training."""
    Started.barrier = threading.Barrier(count + 1)

    def interrupt():
        Started.barrier.wait(60)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt) as caught:
        mlp.fit_many(nets, X, Y, epochs=100_000, optimizer=mlp.SGD(Started(0.001)))
    Started.barrier = None
    return caught.value


def test_ctrl_c_ends_the_whole_call(backend, thread_count):
    thread_count(1)
    nets = networks(backend)
    error = interrupted(nets, 1)
    assert error.__notes__ == ["0 of 3 networks are trained, and network 0 up to the batch at that time."]
    assert nets[0].history.interrupted
    assert [net.history for net in nets[1:]] == [None, None]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


# -- at the same time, with the Numba backend -------------------------------------------------------------------------


@pytest.fixture
def thread_count():
    """Sets the number of threads of the Numba backend."""
    threads = pytest.importorskip("backends.numba_backend.threads")
    yield threads.set_num_threads
    threads.set_num_threads(None)


class Meet(mlp.schedules.Constant):
    """A training goes on only if as many others as `barrier` waits for are in their first epoch at that time."""

    def rates(self, step, epoch, n_batches):
        if not epoch:
            Meet.barrier.wait(60)
        return super().rates(step, epoch, n_batches)


def larger(count, sizes=(200, 256, 10), **changes):
    return [mlp.MLP(list(sizes), seed=seed, dropout=0.1, backend="numba", **changes) for seed in range(count)]


def larger_examples(n=400):
    rng = np.random.default_rng(1)
    return rng.normal(size=(n, 200)).astype(np.float32), rng.integers(0, 10, n)


@pytest.mark.parametrize("number", [1, 2, 3, 5])
@pytest.mark.parametrize("batch_size", [4, 64])  # with more work than one thread should do, and with less
def test_any_number_of_threads_gives_the_bits_of_fit(thread_count, number, batch_size):
    thread_count(number)
    inputs, labels = larger_examples()
    rows = [np.random.default_rng(i).permutation(400)[: 200 + 30 * i] for i in range(5)]
    optimizers = [mlp.Adam(0.001 * (i + 1), clip_norm=5.0 if i == 2 else None) for i in range(5)]
    validation, rule = (inputs[:50], labels[:50]), mlp.EarlyStopping(patience=1)
    settings = {"epochs": 4, "batch_size": batch_size, "validation_data": validation, "early_stopping": rule}
    nets = larger(5, l2=1e-3)
    mlp.fit_many(nets, inputs, labels, rows=rows, optimizer=optimizers, **settings)
    thread_count(2)
    for net, own, part, optimizer in zip(nets, larger(5, l2=1e-3), rows, optimizers, strict=True):
        own.fit(inputs[part], labels[part], optimizer=optimizer, **settings)
        assert_same(net, own)
        assert net.history.stop_reason == own.history.stop_reason


def test_networks_train_at_the_same_time(thread_count):
    thread_count(3)
    Meet.barrier = threading.Barrier(3)
    nets = networks("numba", 6)
    mlp.fit_many(nets, X, Y, epochs=2, optimizer=mlp.SGD(Meet(0.1)))
    assert [len(net.history) for net in nets] == [2] * 6


@pytest.mark.parametrize(
    "changes",
    [
        {"sizes": (200, 1300, 10)},  # 1.1 MB of parameters
        {"activation": mlp.custom_activation("twice", lambda xp, z: 2 * z, lambda xp, z: 2 + 0 * z)},
    ],
)
def test_other_networks_train_one_after_the_other(thread_count, changes):
    thread_count(2)
    threads = set()

    class Note(mlp.schedules.Constant):
        def rates(self, step, epoch, n_batches):
            threads.add(threading.get_ident())
            return super().rates(step, epoch, n_batches)

    mlp.fit_many(larger(3, **changes), *larger_examples(), epochs=1, batch_size=64, optimizer=mlp.SGD(Note(0.01)))
    assert threads == {threading.get_ident()}


def test_ctrl_c_ends_all_networks_in_training(thread_count):
    thread_count(2)
    nets = networks("numba", 4)
    error = interrupted(nets, 2)
    assert error.__notes__ == ["0 of 4 networks are trained, and networks 0, 1 up to the batch at that time."]
    assert [net.history.interrupted for net in nets[:2]] == [True, True]
    assert [net.history for net in nets[2:]] == [None, None]
    # they go on with the same bits
    for net, own in zip(nets[:2], networks("numba", 2), strict=True):
        net.fit(X, Y, epochs=net.training_state.epoch + 3, batch_size=32, resume=True)
        own.fit(X, Y, epochs=net.training_state.epoch, batch_size=32, optimizer=mlp.SGD(0.001))
        for actual, desired in zip(net.weights, own.weights, strict=True):
            assert_array_equal(actual, desired)


def test_an_error_that_is_no_divergence_ends_all_networks(thread_count):
    thread_count(2)
    Meet.barrier = threading.Barrier(2)

    class Fails(Meet):
        def rates(self, step, epoch, n_batches):
            if epoch == 1:
                raise ZeroDivisionError("in a schedule")
            return super().rates(step, epoch, n_batches)

    nets = networks("numba", 3)
    with pytest.raises(ZeroDivisionError, match="in a schedule"):
        mlp.fit_many(nets, X, Y, epochs=10**6, optimizer=[mlp.SGD(Meet(0.001)), mlp.SGD(Fails(0.001)), "adam"])
    assert "ended early" in nets[0].history.stop_reason
    assert nets[2].history is None


def test_divergence_beside_others(thread_count):
    thread_count(3)
    test_one_that_diverges_does_not_stop_the_others("numba")


# -- the rows -------------------------------------------------------------------------------------------------------


def test_a_training_can_be_resumed_with_its_rows(backend):
    part = np.flatnonzero(folds != 1)
    (net,), (own,) = networks(backend, 1), networks(backend, 1)
    mlp.fit_many([net], X, Y, rows=[part], epochs=2, batch_size=7)
    net.fit(X[part], Y[part], epochs=4, resume=True)
    own.fit(X[part], Y[part], epochs=4, batch_size=7)
    assert_same(net, own)


def test_rows_that_no_network_uses_may_be_invalid(backend):
    dirty, labels = X.copy(), Y.copy()
    dirty[3], labels[4] = np.nan, 99
    rows = [np.array([59, 1, 0, 2, 1]), np.arange(5, 40)]
    nets, others = networks(backend, 2), networks(backend, 2)
    mlp.fit_many(nets, dirty, labels, rows=rows, epochs=3, batch_size=2)
    mlp.fit_many(others, X, Y, rows=rows, epochs=3, batch_size=2)
    for net, other in zip(nets, others, strict=True):
        assert_same(net, other)
    with pytest.raises(mlp.DataError):
        mlp.fit_many(nets, dirty, labels, rows=[np.arange(5), np.arange(5, 40)], epochs=3, batch_size=2)


def test_rows_of_one_class_are_refused():
    rows = [np.arange(60), np.flatnonzero(Y == 1)]
    with pytest.raises(mlp.DataError, match=r"only the class 1 in rows\[1\]"):
        mlp.fit_many(networks("numpy", 2), X, Y, rows=rows, epochs=1)


def test_targets_may_be_scaled_differently(backend):
    targets = RNG.normal(size=60)
    scalings = [None, ((1.0,), (2.0,)), None]

    def made():
        return [
            mlp.MLP([5, 8, 1], "tanh", loss="mse", backend=backend, target_scaling=scaling, dtype="float64")
            for scaling in scalings
        ]

    nets = made()
    mlp.fit_many(nets, X, targets, epochs=3)
    for net, own in zip(nets, made(), strict=True):
        own.fit(X, targets, epochs=3, batch_size=32)
        assert_same(net, own)


def test_the_networks_share_the_rows(thread_count):
    thread_count(4)
    n = 40_000
    inputs, labels = np.ones((n, 100), np.float32), np.arange(n) % 3
    rows = [np.arange(n) % 8 != i for i in range(8)]
    nets = [mlp.MLP([100, 4, 3], seed=seed, backend="numba") for seed in range(8)]
    mlp.fit_many(nets, inputs[:64], labels[:64], epochs=1)  # compiles
    tracemalloc.start()
    mlp.fit_many(nets, inputs, labels, rows=rows, epochs=1)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < inputs.nbytes
