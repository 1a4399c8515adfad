"""Training: row order, batches, validation, early stopping, resumption, divergence."""

from __future__ import annotations

import io
import math
import os
import pickle
import pty
import signal
import sys
import threading
from collections import Counter
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

import mlp
from mlp import schedules

RNG = np.random.default_rng(11)
N = 22
X = RNG.normal(size=(N, 3))
Y = np.sin(X.sum(axis=1))
CLASSES = (X[:, 0] > 0).astype(int) + (X[:, 1] > 0)
X_VAL = RNG.normal(size=(9, 3))
Y_VAL = np.sin(X_VAL.sum(axis=1))


def make(sizes=(3, 6, 1), **options):
    return mlp.MLP(sizes, **{"activation": "tanh", "loss": "mse", "dtype": "float64", "backend": "numpy"} | options)


def parameters(net):
    return np.concatenate([array.ravel() for array in (*net.weights, *net.biases)])


def same_parameters(net, other):
    return np.array_equal(parameters(net), parameters(other))


# -- batches and their order ---------------------------------------------------------------------------


def visited_rows(epochs=3, batch_size=5, **options):
    """The rows of each batch, in the order of training."""
    # one weight, with a rate too small to change it: the loss of a batch identifies its rows
    net = make([1, 1], init="zeros")
    marks = 2.0 ** np.arange(N)
    batches = []

    class Watch(mlp.Callback):
        def on_batch_end(self, run, batch, loss):
            rows = N - batch * batch_size if (batch + 1) * batch_size > N else batch_size
            batches.append((batch, round(loss * rows)))

    net.fit(
        np.zeros((N, 1)),
        np.sqrt(marks),
        epochs=epochs,
        batch_size=batch_size,
        optimizer=mlp.SGD(1e-30),
        callbacks=[Watch()],
        **options,
    )
    assert [number for number, _ in batches] == list(range(-(-N // batch_size))) * epochs
    return [[row for row in range(N) if mark >> row & 1] for _, mark in batches]


def test_every_epoch_visits_every_row_once_in_an_order_of_its_own():
    batches = visited_rows(epochs=3, batch_size=1)
    epochs = [[row for [row] in batches[first : first + N]] for first in range(0, 3 * N, N)]
    for order in epochs:
        assert Counter(order) == Counter(range(N))
    assert epochs[0] != epochs[1] != epochs[2]


def test_the_order_is_that_of_sorted_philox_words():
    def order(epoch):
        # key (seed, 2), counter (block, epoch, 0, 0); NumPy's generator increments its counter before each block
        start = ((epoch << 64) - 1) % 2**256
        words = np.random.Philox(key=0 + (2 << 64), counter=start).random_raw(N)
        return sorted(range(N), key=lambda row: (int(words[row]) >> 5, row))  # the lowest 5 bits hold the row number

    assert visited_rows(epochs=2, batch_size=1) == [[row] for row in order(0) + order(1)]


def test_without_shuffling_the_rows_keep_their_order():
    assert visited_rows(epochs=1, batch_size=5, shuffle=False) == [
        list(range(first, min(first + 5, N))) for first in range(0, N, 5)
    ]


@pytest.mark.parametrize("batch_size", range(1, N + 1))
def test_any_batch_size_equals_a_loop_written_by_hand(batch_size, backend):
    net = make(backend=backend)
    (W, V), (b, c) = (list(map(np.array, part)) for part in (net.weights, net.biases))
    losses = []
    for epoch in range(2):
        total = 0.0
        order = mlp._backends.random.permutation(0, epoch, N)
        for first in range(0, N, batch_size):
            rows = order[first : first + batch_size]
            x, t = X[rows], Y[rows, None]
            h = np.tanh(x @ W + b)
            r = h @ V + c - t
            total += (r**2).sum()
            dz = 2 * r / len(rows)
            dh = (dz @ V.T) * (1 - h**2)
            V, c = V - 0.1 * (h.T @ dz), c - 0.1 * dz.sum(axis=0)
            W, b = W - 0.1 * (x.T @ dh), b - 0.1 * dh.sum(axis=0)
        losses.append(total / N)

    history = net.fit(X, Y, epochs=2, batch_size=batch_size, optimizer=mlp.SGD(0.1))
    np.testing.assert_allclose(history.loss, losses, rtol=1e-11)
    np.testing.assert_allclose(parameters(net), np.concatenate([W.ravel(), V.ravel(), b, c]), rtol=1e-10, atol=1e-14)


def test_batches_are_of_32_rows_or_of_all_there_are():
    default, all_rows = make(), make()
    default.fit(X, Y, epochs=2)
    all_rows.fit(X, Y, epochs=2, batch_size=N)
    assert same_parameters(default, all_rows)
    many, stated = make(), make()
    many.fit(np.tile(X, (3, 1)), np.tile(Y, 3), epochs=1)
    stated.fit(np.tile(X, (3, 1)), np.tile(Y, 3), epochs=1, batch_size=32)
    assert same_parameters(many, stated)


def test_gradient_descent_takes_all_rows_at_once():
    net, by_hand = make(), make()
    x, y = RNG.normal(size=(100, 3)), RNG.normal(size=100)
    history = net.fit(x, y, epochs=3, optimizer=mlp.GradientDescent(0.2), shuffle=False)
    for epoch in range(3):
        loss, gradients = by_hand.loss_and_gradients(x, y)
        assert history.loss[epoch] == pytest.approx(loss, rel=1e-12)
        by_hand.weights = [W - 0.2 * dW for W, (dW, _) in zip(by_hand.weights, gradients, strict=True)]
        by_hand.biases = [b - 0.2 * db for b, (_, db) in zip(by_hand.biases, gradients, strict=True)]
    np.testing.assert_allclose(parameters(net), parameters(by_hand), rtol=1e-12)


def test_the_arrays_given_are_not_written_to():
    x, y, weight = X.copy(), Y.copy(), np.ones(N)
    for array in (x, y, weight):
        array.flags.writeable = False
    make(input_dropout=0.5).fit(x, y, sample_weight=weight, epochs=2)
    np.testing.assert_array_equal(x, X)


# -- partial_fit ---------------------------------------------------------------------------------------

OPTIMIZERS = {
    "gradient descent": mlp.GradientDescent(0.1),
    "plain": mlp.SGD(0.1),
    "momentum": mlp.SGD(0.05, momentum=0.9),
    "momentum, rate inside": mlp.SGD(0.05, momentum=0.9, rate_inside=True),
    "nesterov": mlp.SGD(0.05, momentum=0.9, nesterov=True),
    "adagrad": mlp.Adagrad(0.1),
    "rmsprop": mlp.RMSprop(0.01),
    "adam": mlp.Adam(0.01),
    "adam, epsilon hat": mlp.Adam(0.01, epsilon_hat=True),
    "adamw": mlp.AdamW(0.01, weight_decay=0.1),
    "clipped": mlp.SGD(0.1, clip_norm=0.5, clip_value=0.2),
}
each_optimizer = pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)


@each_optimizer
def test_portions_equal_one_epoch_in_order(optimizer):
    whole, portions = make(l2=0.01), make(l2=0.01)
    size = N if isinstance(optimizer, mlp.GradientDescent) else 5
    history = whole.fit(X, Y, epochs=1, batch_size=size, optimizer=optimizer, shuffle=False)
    losses = [
        portions.partial_fit(X[i : i + size], Y[i : i + size], optimizer=None if i else optimizer)
        for i in range(0, N, size)
    ]
    assert same_parameters(whole, portions)
    rows = [min(size, N - i) for i in range(0, N, size)]
    assert np.average(losses, weights=rows) == pytest.approx(history.loss[0], rel=1e-12)


def test_a_portion_may_hold_one_class_alone():
    net = make([3, 6, 3], loss="cross_entropy")
    net.partial_fit(X[:1], CLASSES[:1])
    net.partial_fit(X[1:2], CLASSES[1:2])
    assert net.training_state.step == 2


def test_a_portion_leaves_ctrl_c_alone():
    before = signal.getsignal(signal.SIGINT)
    seen = []

    class Rate(schedules.Constant):
        def rates(self, *args):
            seen.append(signal.getsignal(signal.SIGINT))
            return super().rates(*args)

    make().partial_fit(X, Y, optimizer=mlp.SGD(Rate(0.1)))
    assert seen == [before]


# -- sample weights ------------------------------------------------------------------------------------


@each_optimizer
def test_a_weight_of_k_is_k_copies_of_the_row(optimizer, backend):
    copies = np.array([0, 1, 2, 3] * 5 + [1, 2])
    weighted, repeated = make(backend=backend), make(backend=backend)
    a = weighted.fit(X, Y, sample_weight=copies, epochs=3, batch_size=N, optimizer=optimizer)
    rows = np.repeat(np.arange(N), copies)
    b = repeated.fit(X[rows], Y[rows], epochs=3, batch_size=len(rows), optimizer=optimizer)
    np.testing.assert_allclose(a.loss, b.loss, rtol=1e-11)
    np.testing.assert_allclose(parameters(weighted), parameters(repeated), rtol=1e-9, atol=1e-12)


def test_only_the_ratio_of_weights_counts():
    one, many = make(), make()
    weight = RNG.uniform(size=N)
    for net, factor in ((one, 1), (many, 1024)):
        net.fit(X, Y, sample_weight=weight * factor, epochs=2, batch_size=5)
    np.testing.assert_allclose(parameters(one), parameters(many), rtol=1e-12)


@each_optimizer
def test_a_batch_without_weight_changes_nothing(optimizer, backend):
    net = make(backend=backend, l2=0.1)
    weight = np.repeat([1.0, 0.0], N // 2)
    size = N // 2
    if isinstance(optimizer, mlp.GradientDescent):
        optimizer = mlp.SGD(0.1)
    seen = []

    class Watch(mlp.Callback):
        def on_batch_end(self, run, batch, loss):
            seen.append((parameters(net), net.xp.to_numpy(net.training_state.slots).copy()))

    net.fit(
        X,
        Y,
        sample_weight=weight,
        epochs=1,
        batch_size=size,
        shuffle=False,
        optimizer=optimizer,
        callbacks=[Watch()],
    )
    (after_first, memory), (after_second, later) = seen
    assert after_first.tobytes() == after_second.tobytes()
    assert memory.tobytes() == later.tobytes()


def test_a_row_without_weight_may_hold_anything_huge():
    x, y = X.copy(), Y.copy()
    x[0], y[0] = 1e300, -1e300
    weight = np.ones(N)
    weight[0] = 0
    with_it, without = make(), make()
    with_it.fit(x, y, sample_weight=weight, epochs=2, batch_size=N)
    without.fit(X[1:], Y[1:], epochs=2, batch_size=N - 1)
    np.testing.assert_allclose(parameters(with_it), parameters(without), rtol=1e-10)


# -- validation and history ----------------------------------------------------------------------------


def test_history_has_a_value_for_each_epoch():
    net = make()
    history = net.fit(X, Y, epochs=4, batch_size=5, validation_data=(X_VAL, Y_VAL), optimizer=mlp.SGD(0.1))
    assert len(history) == 4
    for name in ("loss", "val_loss", "val_score", "learning_rate", "samples_per_second", "seconds"):
        assert len(getattr(history, name)) == 4
    assert (history.val_loss[-1], history.val_score[-1]) == net.evaluate(X_VAL, Y_VAL)
    assert history.learning_rate == [0.1] * 4
    assert all(value > 0 for value in history.samples_per_second)
    for speed, seconds in zip(history.samples_per_second, history.seconds, strict=True):
        assert speed * seconds == pytest.approx(N)
    assert history.stop_reason == "all 4 epochs done"
    assert history.backend == "numpy"
    assert net.history is history


def test_the_loss_of_an_epoch_is_the_mean_over_its_rows_as_they_were_visited():
    net = make()
    losses = []

    class Watch(mlp.Callback):
        def on_batch_end(self, run, batch, loss):
            losses.append(loss)

    history = net.fit(X, Y, epochs=1, batch_size=5, callbacks=[Watch()])
    assert history.loss[0] == pytest.approx(np.average(losses, weights=[5, 5, 5, 5, 2]), rel=1e-12)


def test_validation_data_are_not_learnt_from():
    with_it, without = make(), make()
    with_it.fit(X, Y, epochs=3, validation_data=(X_VAL, Y_VAL))
    history = without.fit(X, Y, epochs=3)
    assert same_parameters(with_it, without)
    assert history.val_loss == history.val_score == []


def test_validation_data_may_have_weights():
    net, weight = make(), np.arange(9.0)
    history = net.fit(X, Y, epochs=1, validation_data=(X_VAL, Y_VAL, weight))
    assert history.val_loss[0] == net.evaluate(X_VAL, Y_VAL, weight)[0]


def test_a_validation_fraction_is_split_off_by_the_seed():
    chosen = mlp._backends.random.permutation(0, 0, N, stream=mlp._backends.random.SPLIT)
    held_out, rest = chosen[:6], chosen[6:]
    split, by_hand = make(), make()
    a = split.fit(X, Y, epochs=3, batch_size=4, validation_fraction=0.25)
    b = by_hand.fit(X[rest], Y[rest], epochs=3, batch_size=4, validation_data=(X[held_out], Y[held_out]))
    assert same_parameters(split, by_hand)
    assert a.val_loss == b.val_loss


# -- learning rates ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (schedules.Constant(0.5), [0.5] * 6),
        (schedules.Step(0.8, every=2, factor=0.5), [0.8, 0.8, 0.4, 0.4, 0.2, 0.2]),
        # recorded for the last update of an epoch: with 5 batches, at 4/5 of the epoch, after 4, 9, ... updates
        (schedules.Exponential(1.0, factor=0.5), [0.5 ** (epoch + 0.8) for epoch in range(6)]),
        (schedules.InverseScaling(1.0, power=0.5), [1 / math.sqrt(5 * epoch) for epoch in range(1, 7)]),
        (
            schedules.Cosine(1.0, epochs=4, warmup=1),
            [0.8, *[0.5 * (1 + math.cos(math.pi * t / 3)) for t in (0.8, 1.8, 2.8)], 0, 0],
        ),
    ],
)
def test_schedules_set_the_rate(schedule, expected):
    history = make().fit(X, Y, epochs=6, batch_size=5, optimizer=mlp.SGD(schedule))
    np.testing.assert_allclose(history.learning_rate, expected, rtol=1e-12, atol=1e-15)


def test_a_plateau_lowers_the_rate():
    plateau = schedules.ReduceOnPlateau(1e-12, factor=0.1, patience=2, floor=1e-14)
    history = make().fit(X, Y, epochs=8, optimizer=mlp.SGD(plateau))
    # the first epoch is the best, and each lower rate lasts two epochs
    np.testing.assert_allclose(history.learning_rate, [1e-12] * 3 + [1e-13] * 2 + [1e-14] * 3)


def test_a_plateau_is_one_of_the_validation_loss_where_there_is_one():
    seen = []

    class Watch(schedules.ReduceOnPlateau):
        def observe(self, loss):
            seen.append(loss)

    history = make().fit(X, Y, epochs=3, validation_data=(X_VAL, Y_VAL), optimizer=mlp.SGD(Watch(0.1)))
    assert seen == history.val_loss


def test_a_schedule_given_twice_starts_twice():
    optimizer = mlp.SGD(schedules.ReduceOnPlateau(1e-12, patience=1))
    first = make().fit(X, Y, epochs=4, optimizer=optimizer)
    second = make().fit(X, Y, epochs=4, optimizer=optimizer)
    assert first.learning_rate == second.learning_rate


# -- early stopping ------------------------------------------------------------------------------------

OVERFITTING = {"epochs": 60, "batch_size": 5, "optimizer": mlp.SGD(0.3), "validation_data": (X_VAL, Y_VAL)}


@pytest.mark.parametrize("monitor", ["val_loss", "val_score", "loss"])
def test_early_stopping_restores_the_best_weights(monitor):
    net, weights = make(), []
    history = net.fit(
        X,
        Y,
        **OVERFITTING,
        early_stopping=mlp.EarlyStopping(monitor, patience=4),
        callbacks=[lambda run: weights.append(parameters(net))],
    )
    figures = getattr(history, monitor)
    best = int(np.argmax(figures) if monitor == "val_score" else np.argmin(figures))
    assert len(history) == best + 1 + 4 < 60
    assert history.best_epoch == best + 1, "epochs are counted from 1"
    assert history.stop_reason.endswith(f"has not improved for 4 epochs; best was epoch {best + 1}")
    np.testing.assert_array_equal(parameters(net), weights[best])


def test_a_training_that_ends_by_itself_has_the_best_weights_too():
    net = make()
    history = net.fit(X, Y, **OVERFITTING | {"epochs": 30}, early_stopping=mlp.EarlyStopping(patience=1000))
    assert history.stop_reason == "all 30 epochs done"
    assert net.evaluate(X_VAL, Y_VAL)[0] == min(history.val_loss) < history.val_loss[-1]


def test_small_improvements_do_not_count():
    rule = mlp.EarlyStopping("loss", patience=3, min_delta=1e9)
    history = make().fit(X, Y, epochs=50, early_stopping=rule)
    assert len(history) == 4  # the first epoch always counts as an improvement


# -- callbacks -----------------------------------------------------------------------------------------


def test_callbacks_are_called_in_order_with_the_run():
    calls = []

    class Watch(mlp.Callback):
        def on_train_begin(self, run):
            calls.append(("begin", run.epoch))

        def on_batch_end(self, run, batch, loss):
            calls.append((batch, run.epoch))

        def on_epoch_end(self, run):
            calls.append(("epoch", run.epoch, len(run.history.val_loss)))

        def on_train_end(self, run):
            calls.append(("end", run.epoch))

    net = make()
    net.fit(X, Y, epochs=2, batch_size=11, callbacks=[Watch()], validation_data=(X_VAL, Y_VAL))
    assert calls == [("begin", 0), (0, 0), (1, 0), ("epoch", 1, 1), (0, 1), (1, 1), ("epoch", 2, 2), ("end", 2)]


def test_weights_that_a_callback_assigns_are_trained(backend):
    """Whatever a backend keeps from one epoch to the next."""

    def halve(run):
        if run.epoch == 2:
            run.net.weights = [W / 2 for W in run.net.weights]

    net, resumed = make(backend=backend), make(backend=backend)
    net.fit(X, Y, epochs=4, batch_size=5, callbacks=[halve])
    resumed.fit(X, Y, epochs=2, batch_size=5)
    resumed.weights = [W / 2 for W in resumed.weights]
    resumed.fit(X, Y, epochs=4, batch_size=5, resume=True)
    assert same_parameters(net, resumed)


def test_a_callback_can_move_the_network(backend):
    def move(run):
        if run.epoch == 2:
            run.net.to("numpy")

    net, resumed = make(backend=backend), make(backend=backend)
    net.fit(X, Y, epochs=4, batch_size=5, callbacks=[move])
    resumed.fit(X, Y, epochs=2, batch_size=5)
    resumed.to("numpy").fit(X, Y, epochs=4, batch_size=5, resume=True)
    assert net.backend == "numpy"
    assert same_parameters(net, resumed)


def test_an_optimizer_that_a_callback_exchanges_must_fit_the_state(backend):
    def exchange(run):
        run.state.optimizer = mlp.Adam(0.01)

    with pytest.raises(mlp.ShapeError, match="the rule 'adam'"):
        make(backend=backend).fit(X, Y, epochs=3, batch_size=5, optimizer=mlp.SGD(0.01), callbacks=[exchange])


def test_dropout_that_a_callback_changes_is_used(backend):
    def drop(run):
        if run.epoch == 1:
            run.net.plan = replace(run.net.plan, dropout=(0.5, 0.5))

    net, plain = make(backend=backend), make(backend=backend)
    net.fit(X, Y, epochs=3, batch_size=5, callbacks=[drop])
    plain.fit(X, Y, epochs=3, batch_size=5)
    assert net.history.loss[0] == plain.history.loss[0]
    assert net.history.loss[1] != plain.history.loss[1]


def test_callbacks_do_not_change_the_run(backend):
    class Watch(mlp.Callback):
        def on_batch_end(self, run, batch, loss):
            pass

    watched, alone = make(backend=backend), make(backend=backend)
    a = watched.fit(X, Y, epochs=3, batch_size=5, callbacks=[Watch()])
    b = alone.fit(X, Y, epochs=3, batch_size=5)
    np.testing.assert_allclose(a.loss, b.loss, rtol=1e-12)
    np.testing.assert_allclose(parameters(watched), parameters(alone), rtol=1e-10)


def test_a_function_is_called_after_each_epoch_and_may_stop():
    def enough(run):
        if run.epoch == 3:
            run.stop("it is enough")

    history = make().fit(X, Y, epochs=10, callbacks=[enough])
    assert len(history) == 3
    assert history.stop_reason == "it is enough"


def test_stopping_within_an_epoch_ends_it_after_the_batch(backend):
    class Stop(mlp.Callback):
        def on_batch_end(self, run, batch, loss):
            if batch == 1:
                run.stop()

    net, short = make(backend=backend), make(backend=backend)
    history = net.fit(X, Y, epochs=10, batch_size=5, shuffle=False, callbacks=[Stop()])
    short.fit(X[:10], Y[:10], epochs=1, batch_size=5, shuffle=False)
    np.testing.assert_allclose(parameters(net), parameters(short), rtol=1e-12)
    assert history.loss == pytest.approx(short.history.loss, rel=1e-12)
    assert history.stop_reason == "a callback asked for it (in epoch 1, after 2 of 5 batches)"


def test_stopping_before_the_first_batch_leaves_everything_as_it_was():
    class Never(mlp.Callback):
        def on_train_begin(self, run):
            run.stop("not today")

    net = make()
    history = net.fit(X, Y, callbacks=[Never()])
    assert (len(history), history.stop_reason) == (0, "not today")
    assert same_parameters(net, make())


# -- Ctrl-C --------------------------------------------------------------------------------------------


class Interrupt(mlp.Callback):
    """Simulates Ctrl-C after some batches of the first epoch."""

    def __init__(self, *batches):
        self.batches = batches

    def on_batch_end(self, run, batch, loss):
        if run.epoch == 0 and batch in self.batches:
            os.kill(os.getpid(), signal.SIGINT)


def test_ctrl_c_ends_training_after_the_batch_and_keeps_the_network():
    net = make()
    history = net.fit(X, Y, epochs=10, batch_size=1, callbacks=[Interrupt(3)])
    assert history.stop_reason == f"interrupted by Ctrl-C (in epoch 1, after 4 of {N} batches)"
    assert (len(history), net.training_state.step) == (1, 4)
    assert np.isfinite(parameters(net)).all()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert len(net.fit(X, Y, epochs=3, resume=True)) == 3


def test_ctrl_c_before_an_epochs_first_batch_does_not_count_the_epoch():
    class Late(schedules.Constant):
        def rates(self, step, epoch, n_batches):
            if epoch == 2:
                os.kill(os.getpid(), signal.SIGINT)
            return super().rates(step, epoch, n_batches)

    history = make().fit(X, Y, epochs=10, optimizer=mlp.SGD(Late(0.1)), validation_data=(X_VAL, Y_VAL))
    assert len(history.loss) == len(history.val_loss) == 2
    assert history.stop_reason == "interrupted by Ctrl-C"


def test_ctrl_c_arrives_in_the_midst_of_the_work(backend):
    net = make(backend=backend)
    net.fit(X, Y, epochs=1)  # compile all kernels first
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    history = net.fit(np.tile(X, (2000, 1)), np.tile(Y, 2000), epochs=3000)
    timer.join()
    assert history.stop_reason.startswith("interrupted by Ctrl-C")


def test_a_second_ctrl_c_interrupts_at_once():
    class Twice(mlp.Callback):
        def on_batch_end(self, run, batch, loss):
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        make().fit(X, Y, callbacks=[Twice()])
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_handler_of_the_program_stays_in_place():
    calls = []
    before = signal.signal(signal.SIGINT, lambda *args: calls.append(args))
    try:
        history = make().fit(X, Y, epochs=2, batch_size=5, callbacks=[Interrupt(1)])
        assert signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert len(calls) == 1
    assert history.stop_reason == "all 2 epochs done"


def test_training_works_in_a_thread():
    net, here = make(), make()
    thread = threading.Thread(target=lambda: net.fit(X, Y, epochs=2))
    thread.start()
    thread.join()
    here.fit(X, Y, epochs=2)
    assert same_parameters(net, here)


# -- resumption ----------------------------------------------------------------------------------------


def assert_resumed_equals_uninterrupted(net_options=(), **options):
    """Ten epochs must equal five, pickling, and five more, bit for bit."""
    whole, parts = (make(**dict(net_options)) for _ in range(2))
    expected = whole.fit(X, Y, epochs=10, **options)
    parts.fit(X, Y, epochs=5, **options)
    parts = pickle.loads(pickle.dumps(parts))
    history = parts.fit(X, Y, epochs=10, resume=True, **{key: v for key, v in options.items() if key != "optimizer"})
    assert same_parameters(whole, parts)
    for name in ("loss", "val_loss", "val_score", "learning_rate"):
        assert getattr(history, name) == getattr(expected, name)
    assert history.best_epoch == expected.best_epoch
    return history


@each_optimizer
def test_five_and_five_epochs_are_ten(optimizer, backend):
    size = None if isinstance(optimizer, mlp.GradientDescent) else 5
    assert_resumed_equals_uninterrupted({"backend": backend, "l2": 0.01}, optimizer=optimizer, batch_size=size)


@pytest.mark.parametrize(
    "schedule",
    [
        schedules.Constant(0.1),
        schedules.Step(0.1, every=3),
        schedules.Exponential(0.1),
        schedules.InverseScaling(0.1),
        schedules.Cosine(0.1, epochs=10, warmup=2),
        schedules.CosLog4(0.1, epochs=10),
        schedules.ReduceOnPlateau(0.5, patience=1, min_delta=0.01),
    ],
    ids=lambda schedule: type(schedule).__name__,
)
def test_five_and_five_epochs_are_ten_under_a_schedule(schedule):
    assert_resumed_equals_uninterrupted(
        optimizer=mlp.SGD(schedule, momentum=0.9), batch_size=5, validation_data=(X_VAL, Y_VAL)
    )


def test_five_and_five_epochs_are_ten_with_dropout(backend):
    assert_resumed_equals_uninterrupted({"backend": backend, "dropout": 0.3, "input_dropout": 0.1}, batch_size=5)


@pytest.mark.parametrize(("patience", "epochs"), [(7, 8), (100, 10)])
def test_five_and_five_epochs_are_ten_with_early_stopping(patience, epochs):
    # the best epoch is the first, so training must resume from other weights than the restored ones
    history = assert_resumed_equals_uninterrupted(
        optimizer=mlp.SGD(0.2),
        batch_size=5,
        validation_fraction=0.3,
        early_stopping=mlp.EarlyStopping(patience=patience),
    )
    assert (len(history), history.best_epoch) == (epochs, 1)


def test_weights_assigned_after_early_stopping_are_those_that_training_goes_on_from():
    net, fresh = make(), make()
    net.fit(X, Y, **OVERFITTING | {"epochs": 20}, early_stopping=mlp.EarlyStopping(patience=100))
    assert net.history.best_epoch < 20
    net.weights, net.biases = fresh.weights, fresh.biases
    net.fit(X, Y, epochs=21, batch_size=N, resume=True)
    fresh.fit(X, Y, epochs=1, batch_size=N, optimizer=mlp.SGD(0.3))
    assert net.history.loss[-1] == pytest.approx(fresh.history.loss[0], rel=1e-12)


def test_another_training_begins_anew():
    net = make()
    net.fit(X, Y, epochs=3, optimizer=mlp.Adam(0.01))
    start = parameters(net)
    history = net.fit(X, Y, epochs=2, optimizer=mlp.SGD(0.1))
    assert len(history) == 2
    assert net.training_state.step == 2
    assert not np.array_equal(parameters(net), start)


# -- dropout -------------------------------------------------------------------------------------------


def test_dropout_keeps_the_expectation_and_is_off_outside_training():
    # a linear unit with 10,000 inputs of one: the loss shows how many inputs were kept
    units = 10_000
    net = make([units, 1], activation="identity", init="zeros", input_dropout=0.3)
    net.weights = [np.full((units, 1), 1 / units)]
    assert net.predict(np.ones((1, units))) == pytest.approx([1.0])

    sums = []

    class Watch(mlp.Callback):
        def on_batch_end(self, run, batch, loss):
            sums.append(math.sqrt(loss))

    rows = np.ones((50, units))
    net.fit(rows, np.zeros(50), epochs=1, batch_size=1, optimizer=mlp.SGD(1e-30), callbacks=[Watch()])
    deviation = math.sqrt(0.3 / 0.7 / units)
    assert np.mean(sums) == pytest.approx(1, abs=5 * deviation / math.sqrt(50))
    assert np.std(sums) == pytest.approx(deviation, rel=0.5)


def test_dropout_draws_another_mask_for_every_step_from_the_seed():
    def losses(seed):
        net = make([3, 50, 1], dropout=0.5, seed=seed)
        net.weights, net.biases = make([3, 50, 1]).weights, make([3, 50, 1]).biases
        rows = np.tile(X[:1], (6, 1))
        seen = []

        class Watch(mlp.Callback):
            def on_batch_end(self, run, batch, loss):
                seen.append(loss)

        net.fit(rows, np.ones(6), epochs=2, batch_size=1, optimizer=mlp.SGD(1e-30), callbacks=[Watch()])
        return seen

    first = losses(0)
    assert len(set(first)) == 12
    assert first == losses(0)
    assert first != losses(1)


# -- divergence ----------------------------------------------------------------------------------------


def diverge(net, **options):
    with pytest.raises(mlp.DivergenceError) as caught:
        net.fit(X, Y, **{"epochs": 200, "batch_size": 4, "optimizer": mlp.SGD(30.0)} | options)
    return caught.value


def test_divergence_is_reported_with_its_place_and_leaves_the_weights_of_the_epochs_start(backend):
    weights, batches = [], []

    class Watch(mlp.Callback):
        def on_train_begin(self, run):
            weights.append(parameters(run.net))

        def on_batch_end(self, run, batch, loss):
            batches.append((run.epoch + 1, batch + 1))

        def on_epoch_end(self, run):
            weights.append(parameters(run.net))

    net = make([3, 6, 6, 1], activation="relu", backend=backend)
    error = diverge(net, callbacks=[Watch()])
    last_epoch, last_batch = batches[-1]
    assert (error.epoch, error.batch) in [(last_epoch, last_batch), (last_epoch, last_batch + 1), (last_epoch + 1, 1)]
    assert 1 <= error.layer <= 3
    assert error.learning_rate == 30.0
    for part in (f"epoch {error.epoch}", f"batch {error.batch}", f"layer {error.layer} of 3", "30", "clip_norm"):
        assert part in str(error)
    np.testing.assert_array_equal(parameters(net), weights[-1])
    assert net.training_state.epoch == error.epoch - 1 == len(net.history)


def test_divergence_names_the_layer():
    net = make([3, 6, 6, 1], activation="relu")
    net.weights = [W if l != 1 else np.full_like(W, 1e308) for l, W in enumerate(net.weights)]
    error = diverge(net, optimizer=mlp.SGD(1e-3))
    assert (error.epoch, error.batch, error.layer) == (1, 1, 2)
    assert "outputs are not finite" in str(error)


@pytest.mark.parametrize("epochs", [1, 3])
def test_weights_that_overflow_in_the_last_update_are_noticed(epochs):
    net = make(activation="relu")
    net.biases = [np.zeros(6), [1e3]]  # makes the gradient large too
    before = parameters(net)
    error = diverge(net, epochs=epochs, batch_size=N, optimizer=mlp.SGD(1e308))
    assert (error.epoch, error.batch) == (1, 1)
    assert "weights are not finite" in str(error)
    np.testing.assert_array_equal(parameters(net), before)


def test_a_diverged_training_goes_on_with_a_lower_rate():
    net = make(activation="relu")
    diverge(net)
    net.partial_fit(X, Y, optimizer=mlp.SGD(1e-3, clip_norm=1.0))
    assert np.isfinite(parameters(net)).all()


def test_a_divergence_error_passes_between_processes():
    error = diverge(make(activation="relu"))
    copy = pickle.loads(pickle.dumps(error))
    assert str(copy) == str(error)
    assert vars(copy) == vars(error)


# -- progress ------------------------------------------------------------------------------------------


def test_progress_is_quiet_where_nobody_watches(capfd):
    make().fit(X, Y, epochs=2, progress=True)
    assert capfd.readouterr() == ("", "")


def test_progress_is_shown_in_a_terminal(monkeypatch):
    master, slave = pty.openpty()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    shown = io.BytesIO()

    def listen():
        while chunk := os.read(master, 4096):
            shown.write(chunk)
            if b"END" in chunk:
                return

    listener = threading.Thread(target=listen)
    listener.start()
    with os.fdopen(slave, "w") as terminal, monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", terminal)
        make().fit(X, Y, epochs=3, batch_size=5, progress=True, validation_data=(X_VAL, Y_VAL))
        terminal.write("END")
        terminal.flush()
        listener.join(timeout=10)
    os.close(master)
    text = shown.getvalue().decode()
    for part in ("epoch", "3/3", "loss", "val_score", "samples/s"):
        assert part in text


def test_losses_fall(backend):
    history = make(backend=backend).fit(X, Y, epochs=200, batch_size=5, optimizer=mlp.Adam(0.02))
    assert history.loss[-1] < 0.1 * history.loss[0]
    assert all(later < earlier for earlier, later in pairwise(history.loss[::40]))


# -- errors within an epoch ----------------------------------------------------------------------------


class FailingCallback(mlp.Callback):
    """Raises an error in the given batch of the given epoch."""

    def __init__(self, epoch, batch):
        self.place = epoch, batch

    def on_batch_end(self, run, batch, loss):
        if (run.epoch, batch) == self.place:
            raise RuntimeError("tripped")


def test_an_error_of_a_callback_leaves_the_epochs_start_to_go_on_from(backend):
    whole, net = make(backend=backend), make(backend=backend)
    whole.fit(X, Y, epochs=4, batch_size=5, optimizer="adam")
    with pytest.raises(RuntimeError, match="tripped"):
        net.fit(X, Y, epochs=4, batch_size=5, optimizer="adam", callbacks=[FailingCallback(2, 3)])
    assert len(net.history) == 2
    net.fit(X, Y, epochs=4, batch_size=5, resume=True)
    # with a batch callback the Numba backend runs single steps, which round differently
    np.testing.assert_allclose(parameters(net), parameters(whole), rtol=1e-12)


def test_the_best_of_one_figure_says_nothing_of_another():
    net = make()
    options = {"validation_data": (X_VAL, Y_VAL)}
    net.fit(X, Y, epochs=3, early_stopping=mlp.EarlyStopping("val_score", patience=50), **options)
    history = net.fit(X, Y, epochs=40, early_stopping=mlp.EarlyStopping("val_loss", patience=3), resume=True, **options)
    watched = history.val_loss[3:]
    assert history.best_epoch == 3 + int(np.argmin(watched)) + 1
    net.fit(X, Y, epochs=60, resume=True)
    assert net.history.best_epoch is None


def test_validation_figures_keep_to_their_epochs():
    net = make()
    net.fit(X, Y, epochs=2)
    net.fit(X, Y, epochs=3, resume=True, validation_data=(X_VAL, Y_VAL))
    history = net.fit(X, Y, epochs=4, resume=True)
    assert [np.isnan(value) for value in history.val_loss] == [True, True, False, True]
    assert len(history.val_score) == len(history.loss) == 4


def test_scaled_targets_are_learnt_as_such_and_answered_as_they_were():
    far = 1e6 + 2e5 * Y
    scaled = make(target_scaling=([1e6], [2e5]))
    plain = make()
    losses = [net.fit(X, y, epochs=5).loss for net, y in ((scaled, far), (plain, Y))]
    np.testing.assert_allclose(*losses, rtol=1e-9)
    np.testing.assert_allclose(scaled.predict(X), 1e6 + 2e5 * plain.predict(X), rtol=1e-9)
    assert scaled.score(X, far) == pytest.approx(plain.score(X, Y), rel=1e-9)
    assert mlp.MLP(**scaled.get_config()).target_scaling == ((1e6,), (2e5,))
