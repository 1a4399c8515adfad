"""Several epochs in one call of a trainer: the results, the end before the end, and who asks for it."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
import warnings
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from sklearn.exceptions import ConvergenceWarning
from test_backend_trainers import ADAM, MOMENTUM, SGD, Training, assert_bitwise_equal, extended_cases, make
from test_same_results import assert_close

import backends
import mlp
from backends import loop
from backends.numba_backend import panels, threads
from backends.numba_backend.trainer import FusedTrainer
from backends.plan import Control
from backends.row_orders import Shuffle
from mlp import schedules

RNG = np.random.default_rng(0)
X = RNG.normal(size=(50, 6))
Y = RNG.integers(0, 3, 50)


@pytest.fixture
def any_work_is_shared(monkeypatch):
    monkeypatch.setattr(panels, "THREAD_WORK", 0)
    yield
    threads.set_num_threads(None)


def following(plan, count):
    """The plans of `count` epochs, each with other rows and rates; the first is `plan`."""
    n_batches, rng = len(plan.learning_rates), np.random.default_rng(1)
    return [plan] + [
        replace(
            plan,
            epoch=plan.epoch + i,
            first_step=plan.first_step + i * n_batches,
            order=rng.permutation(plan.row_numbers()),
            learning_rates=plan.learning_rates * rng.uniform(0.5, 1),
            l2=plan.l2 * rng.uniform(0.5, 1),
        )
        for i in range(1, count)
    ]


def train(xp, case, plans, dtype="float64", *, in_one_call):
    """The results, and (parameters, state) at the end."""
    training = Training(xp, case, dtype)
    if in_one_call:
        return training.epochs(*plans), training.arrays()
    results = []
    for plan in plans:
        results += training.epochs(plan)
        if results[-1].failed is not None and plan.halt:
            break
    return results, training.arrays()


def assert_same_results(found, expected):
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert_array_equal(one.losses, other.losses)
        assert_array_equal(one.weights, other.weights)
        assert (one.failed, one.finite) == (other.failed, other.finite)


# -- a trainer ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("sizes", [(6, 9, 4), (64, 80, 66, 4)], ids=["by rows", "by panels"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"dropout": 0.3},
        {"l1": 0.01, "rule": ADAM},
        {"weighted": True, "rule": SGD},
        {"clip_norm": 0.1, "rule": ADAM},
        {"clip_value": 0.01, "weight_decay": 0.1},
        {"label_smoothing": 0.1},
        {"batch_size": 50},
        {"batch_size": 64},
        {"batch_size": 1, "rule": ADAM},
        {"order": Shuffle(5, 3, 50)},
        {"first_batch": 2, "n_batches": 3, "batches_before": 7, "dropout": 0.3},
    ],
    ids=str,
)
def test_one_call_is_one_call_an_epoch(xp, dtype, any_work_is_shared, options, sizes, number):
    threads.set_num_threads(number)
    case = make(sizes=sizes, **options)
    plans = following(case.plan, 4)
    results, arrays = train(xp, case, plans, dtype, in_one_call=True)
    expected_results, expected = train(xp, case, plans, dtype, in_one_call=False)
    assert_same_results(results, expected_results)
    assert_bitwise_equal(arrays, expected)


@settings(max_examples=50)
@given(case=extended_cases(), count=st.integers(2, 4), data=st.data())
def test_any_plans_in_one_call(xp, case, count, data):
    """Plans that the kernel runs together, and others that it must not, as single calls of the reference."""
    plans = following(case.plan, count)
    for i in range(1, count):
        change = data.draw(st.sampled_from(["", "seed", "row_offset", "part", "clip_norm", "clip_value", "l1", "rows"]))
        plan = plans[i]
        if change in ("seed", "row_offset"):
            plan = replace(plan, **{change: data.draw(st.integers(0, 9))})
        elif change == "part":
            plan = replace(plan, first_batch=0, n_batches=data.draw(st.integers(0, len(plan.learning_rates))))
        elif change == "rows":  # fewer rows in as many batches
            last = len(plan.order) - (len(plan.learning_rates) - 1) * plan.batch_size
            rows = plan.row_numbers()
            plan = replace(plan, order=rows[: len(rows) - data.draw(st.integers(0, last - 1))])
        elif change:
            plan = replace(plan, **{change: data.draw(st.floats(0.01, 1))})
        plans[i] = plan
    results, arrays = train(xp, case, plans, in_one_call=True)
    expected_results, expected = train(backends.get_backend("numpy"), case, plans, in_one_call=False)
    assert [len(result.losses) for result in results] == [len(result.losses) for result in expected_results]
    for result, other in zip(results, expected_results, strict=True):
        assert_close(result.losses, other.losses, 1e-11)
        assert_array_equal(result.weights, other.weights)
    for mine, its in zip(arrays, expected, strict=True):
        assert_close(mine, its, 1e-11)


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 9},
        {"row_offset": 7},
        {"batches_before": 4},
        {"weight_decay": 0.5},
        {"l1": 0.05},
        {"clip_value": 0.01},
        {"clip_norm": 0.02},
        {"label_smoothing": 0.3},
        {"n_batches": 2},
        {"first_batch": 3},
        {"order": np.arange(49)},
        {"batch_weight": np.full(7, 11.0)},
        {"rate_factors": ((0, 20, 0.1),)},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_a_plan_that_differs_from_those_around_it(xp, changes):
    case = make(rule=ADAM, dropout=0.3)
    first, second, third = following(case.plan, 3)
    plans = [first, replace(second, **changes), third]
    results, arrays = train(xp, case, plans, in_one_call=True)
    expected_results, expected = train(xp, case, plans, in_one_call=False)
    assert_same_results(results, expected_results)
    assert_bitwise_equal(arrays, expected)
    plain, _ = train(xp, case, [first, second, third], in_one_call=True)
    assert not np.array_equal(results[2].losses, plain[2].losses)


def diverging(epoch, batch):
    """Four plans of seven batches; the rate of one batch is so high that a loss is not finite soon after it."""
    case = make(rule=SGD, hidden="relu", kind="identity+mse", n=50, batch_size=8)
    plans = following(case.plan, 4)
    rates = plans[epoch].learning_rates.copy()
    rates[batch] = 1e300
    plans[epoch] = replace(plans[epoch], learning_rates=rates)
    return case, plans


@pytest.mark.parametrize("halt", [True, False])
@pytest.mark.parametrize(("epoch", "batch"), [(0, 6), (1, 6), (2, 3), (3, 0)])
def test_a_loss_that_is_not_finite(xp, halt, epoch, batch):
    case, plans = diverging(epoch, batch)
    plans = [replace(plan, halt=halt) for plan in plans]
    results, arrays = train(xp, case, plans, in_one_call=True)
    expected_results, expected = train(xp, case, plans, in_one_call=False)
    assert_same_results(results, expected_results)
    assert_bitwise_equal(arrays, expected)
    failed = [result.failed for result in results]
    place = (epoch, batch + 1) if batch < 6 else (epoch + 1, 0)
    assert failed[: place[0] + 1] == [None] * place[0] + [place[1]]
    if halt:
        assert len(results) == place[0] + 1
    else:
        assert failed[place[0] + 1 :] == [0] * (3 - place[0])
        assert [result.finite for result in results] == [True] * place[0] + [False] * (4 - place[0])


def test_each_epoch_reports_whether_its_parameters_are_finite(xp):
    """Infinite weights of units whose output is zero, which no loss reveals."""
    case = make(sizes=(2, 3, 1), rule=SGD, hidden="relu", kind="identity+mse", n=8, batch_size=8, l2=np.zeros(1))
    case.params[...] = 0.1
    case.params[6:9] = 0
    case.X[...] = 1
    plans = following(case.plan, 3)
    plans = [replace(plan, learning_rates=np.full(1, rate)) for plan, rate in zip(plans, (0.1, np.inf, 0), strict=True)]
    results, _ = train(xp, case, plans, in_one_call=True)
    assert [result.finite for result in results][:2] == [True, False]


@pytest.mark.parametrize("sizes", [(6, 9, 4), (64, 80, 66, 4)], ids=["by rows", "by panels"])
def test_a_request_to_stop_between_the_epochs(xp, any_work_is_shared, sizes):
    threads.set_num_threads(2)
    case, control = make(sizes=sizes, rule=MOMENTUM, dropout=0.2), Control()
    plans = following(case.plan, 3000 if xp.name == "numba" else 100)
    training, n_batches = Training(xp, case), len(case.plan.batches)

    def stop_soon():
        while control.batches_done < 3:
            time.sleep(0)
        time.sleep(0.005)
        control.request_stop()

    watcher = threading.Thread(target=stop_soon)
    watcher.start()
    results = training.epochs(*plans, control=control)
    watcher.join()
    done = [len(result.losses) for result in results]
    assert 1 <= len(results) < len(plans)
    assert done[:-1] == [n_batches] * (len(results) - 1)
    assert 1 <= done[-1] == control.batches_done <= n_batches
    again = Training(xp, case)
    again.epochs(*plans[: len(results) - 1], replace(plans[len(results) - 1], n_batches=done[-1]))
    assert_bitwise_equal(training.arrays(), again.arrays())


def test_roll_back_undoes_all_epochs_of_a_call(xp):
    case = make(rule=ADAM)
    training, plans = Training(xp, case), following(case.plan, 5)
    training.epochs(*plans[:2])
    kept = training.arrays()
    training.epochs(*plans[2:])
    training.trainer.roll_back()
    assert_bitwise_equal(training.current_arrays(), kept)
    training.epochs(*plans[2:])
    expected = Training(xp, case)
    expected.epochs(*plans)
    assert_bitwise_equal(training.arrays(), expected.arrays())


def test_a_trainer_asks_for_as_many_epochs_as_take_a_short_time():
    training = Training(backends.get_backend("numba"), make())
    assert training.trainer.epochs_of_call(50) == 1  # not measured yet
    training.epochs(*following(make().plan, 2))
    few, many = training.trainer.epochs_of_call(50_000), training.trainer.epochs_of_call(50)
    assert 1 <= few < many
    assert training.trainer.epochs_of_call(10**12) == 1
    assert Training(backends.get_backend("numpy"), make()).trainer.epochs_of_call(1) == 1


# -- MLP ------------------------------------------------------------------------------------------------------


class Calls:
    """How many epochs the trainers ask for, and how many each call got."""

    def __init__(self, monkeypatch):
        self.size, self.sizes = 1, []
        run = loop.Trainer.epochs

        def epochs(trainer, plans, control=None, on_batch=None):
            self.sizes.append(len(plans))
            return run(trainer, plans, control, on_batch)

        monkeypatch.setattr(loop.Trainer, "epochs", epochs)
        for kind in (loop.Trainer, FusedTrainer):
            monkeypatch.setattr(kind, "epochs_of_call", lambda trainer, rows: self.size)


@pytest.fixture
def calls(monkeypatch):
    return Calls(monkeypatch)


class Jump(schedules.Constant):
    """A constant rate, except for one batch of one epoch, both counted from 0."""

    def __init__(self, learning_rate, epoch, batch, rate):
        super().__init__(learning_rate)
        self.place, self.rate = (epoch, batch), rate

    def rates(self, step, epoch, n_batches):
        rates = super().rates(step, epoch, n_batches)
        if epoch == self.place[0]:
            rates[self.place[1]] = self.rate
        return rates


def record_of(net):
    history = net.history
    figures = [getattr(history, name) for name in ("loss", "val_loss", "val_score", "learning_rate", "stop_reason")]
    state = net.training_state
    return [
        *figures,
        history.best_epoch,
        state.epoch,
        state.step,
        len(history.seconds),
        history.samples_per_second != [],
    ]


def fitted(backend, net_options=(), **options):
    net = mlp.MLP([6, 7, 3], backend=backend, seed=1, **dict(net_options))
    net.fit(X, Y, **{"epochs": 11, "batch_size": 8} | options)
    return net


def assert_same_training(net, other):
    assert record_of(net) == record_of(other)
    assert_bitwise_equal([*net.weights, *net.biases], [*other.weights, *other.biases])
    assert_array_equal(net.xp.to_numpy(net.training_state.slots), other.xp.to_numpy(other.training_state.slots))


@pytest.mark.parametrize(
    ("net_options", "options"),
    [
        ({}, {}),
        ({"dropout": 0.3, "input_dropout": 0.1, "dtype": "float64"}, {}),
        ({"l1": 0.01, "l2": 0.01}, {"optimizer": mlp.SGD(0.1, momentum=0.9)}),
        ({}, {"optimizer": mlp.AdamW(0.01, weight_decay=0.1, clip_norm=0.5)}),
        ({}, {"sample_weight": np.arange(50) % 3 * 0.5}),
        ({}, {"shuffle": False, "batch_size": 50}),
        ({}, {"optimizer": mlp.SGD(schedules.Cosine(0.1, epochs=11, warmup=2))}),
        ({}, {"optimizer": mlp.GradientDescent(0.1), "batch_size": None}),
    ],
    ids=str,
)
def test_a_training_that_nobody_watches(backend, calls, net_options, options):
    expected = fitted(backend, net_options, **options)
    assert calls.sizes == [1] * 11
    calls.size, calls.sizes = 4, []
    assert_same_training(fitted(backend, net_options, **options), expected)
    assert calls.sizes == [4, 4, 3]


@pytest.mark.parametrize(
    "options",
    [
        {"validation_data": (X[:9], Y[:9])},
        {"early_stopping": mlp.EarlyStopping("loss", patience=2, min_delta=0.05)},
        {"validation_fraction": 0.2, "early_stopping": True},
        {"callbacks": [lambda run: run.stop() if run.epoch == 6 else None]},
        {"optimizer": mlp.SGD(schedules.ReduceOnPlateau(0.5, patience=1, min_delta=0.1))},
    ],
    ids=["validation", "early stopping", "both", "callback", "plateau"],
)
def test_a_training_that_is_watched_has_one_epoch_in_a_call(backend, calls, options):
    calls.size = 4
    net = fitted(backend, **options)
    assert set(calls.sizes) == {1}
    calls.size = 1
    assert_same_training(fitted(backend, **options), net)


def test_a_resumed_training_finishes_its_epoch_first(backend, calls):
    class StopWithinAnEpoch(mlp.Callback):
        def on_batch_end(self, run, batch, loss):
            if (run.epoch, batch) == (2, 3):
                run.stop()

    calls.size = 4
    net = mlp.MLP([6, 7, 3], backend=backend, seed=1)
    net.fit(X, Y, epochs=11, batch_size=8, callbacks=[StopWithinAnEpoch()])
    assert net.training_state.batches_done == 4
    calls.sizes = []
    net.fit(X, Y, epochs=11, batch_size=8, resume=True)
    assert calls.sizes == [1, 4, 4]
    assert len(net.history) == 11


def test_a_training_with_checkpoints_has_one_epoch_in_a_call(backend, calls, tmp_path):
    calls.size = 4
    net = fitted(backend, checkpoint=mlp.Checkpoint(tmp_path / "run", every="1h"))
    assert calls.sizes == [1] * 11
    assert_same_training(net, fitted(backend))


@pytest.mark.parametrize("jump", [(99, 0, 0.0), (5, 0, 1e300)], ids=["to the end", "until it diverges"])
def test_epochs_without_validation_have_no_validation_loss(backend, calls, jump):
    net = mlp.MLP([6, 9, 1], loss="mse", backend=backend, seed=2, dtype="float64")
    net.fit(X, X[:, :1], epochs=2, batch_size=8, optimizer=mlp.SGD(Jump(0.01, *jump)), validation_data=(X, X[:, :1]))
    calls.size = 4
    with contextlib.suppress(mlp.DivergenceError):
        net.fit(X, X[:, :1], epochs=9, batch_size=8, resume=True)
    assert len(net.history) == min(jump[0], 9)
    assert np.isnan(net.history.val_loss).tolist() == [False] * 2 + [True] * (len(net.history) - 2)


def test_epochs_of_a_call_share_its_time(calls):
    calls.size = 4
    start = time.perf_counter()
    history = fitted("numba", batch_size=7).history
    elapsed = time.perf_counter() - start
    assert len(history.seconds) == 11
    assert 0 < sum(history.seconds) < elapsed
    for first in (0, 4, 8):
        assert len(set(history.seconds[first : first + 4])) == 1
    np.testing.assert_allclose(np.array(history.seconds) * history.samples_per_second, 50)


@pytest.mark.parametrize("rate", [3.0, 30.0, 1e10, 1e300])
def test_divergence_is_reported_as_with_single_calls(backend, calls, rate):
    def diverged(size):
        calls.size = size
        net = mlp.MLP([6, 9, 9, 1], loss="mse", backend=backend, seed=2, dtype="float64")
        with pytest.raises(mlp.DivergenceError) as caught:
            net.fit(X * 3, X[:, :1], epochs=400, batch_size=8, optimizer=mlp.SGD(rate))
        return net, caught.value

    expected, error = diverged(1)
    for size in (2, 50):
        net, found = diverged(size)
        assert str(found) == str(error)
        assert vars(found) == vars(error)
        assert_same_training(net, expected)
        assert len(net.history) == error.epoch - 1


@pytest.mark.parametrize(
    ("epoch", "batch", "rate", "place"),
    [(4, 0, 1e300, (5, 2)), (3, 6, np.inf, (4, 7))],  # a loss, and the weights after the last update of an epoch
    ids=["loss", "weights"],
)
def test_divergence_within_a_call(backend, calls, epoch, batch, rate, place):
    def diverged(size):
        calls.size, calls.sizes = size, []
        net = mlp.MLP([6, 9, 1], loss="mse", backend=backend, seed=2, dtype="float64")
        with pytest.raises(mlp.DivergenceError) as caught:
            net.fit(X, X[:, :1], epochs=20, batch_size=8, optimizer=mlp.SGD(Jump(0.01, epoch, batch, rate)))
        return net, caught.value

    expected, error = diverged(1)
    net, found = diverged(5)
    assert (str(found), found.epoch, found.batch) == (str(error), *place)
    assert calls.sizes[:2] == [5, place[0] - 1]  # the second time without the epoch that diverged
    assert_same_training(net, expected)


@pytest.mark.skipif(os.name == "nt", reason="signals work otherwise there")
def test_ctrl_c_ends_a_training_of_short_epochs_soon(backend):
    """The interrupted training goes on exactly where it stopped."""
    net = mlp.MLP([6, 7, 3], backend=backend, seed=1)
    net.fit(X, Y, epochs=3)  # the kernels are compiled
    sent = []

    def interrupt():
        sent.append(time.perf_counter())
        os.kill(os.getpid(), signal.SIGINT)

    timer = threading.Timer(0.2, interrupt)
    timer.start()
    net = mlp.MLP([6, 7, 3], backend=backend, seed=1, dropout=0.1)
    history = net.fit(X, Y, epochs=10**6, batch_size=8)
    answered = time.perf_counter() - sent[0]
    timer.join()
    assert history.stop_reason.startswith("interrupted by Ctrl-C")
    assert answered < 1  # on a busy machine; 0.05 on an idle one
    done = net.training_state.epoch + 1
    assert 1 < len(history) <= done < 10**6
    net.fit(X, Y, epochs=done + 20, batch_size=8, resume=True)
    whole = mlp.MLP([6, 7, 3], backend=backend, seed=1, dropout=0.1)
    whole.fit(X, Y, epochs=done + 20, batch_size=8)
    assert net.history.loss == whole.history.loss
    assert_bitwise_equal(net.weights, whole.weights)


def test_many_networks(backend, calls):
    nets, expected = ([mlp.MLP([6, 7, 3], backend=backend, seed=seed) for seed in range(3)] for _ in range(2))
    rows = [np.arange(50) % 3 != i for i in range(3)]
    mlp.fit_many(expected, X, Y, rows=rows, epochs=6)
    calls.size = 4
    mlp.fit_many(nets, X, Y, rows=rows, epochs=6)
    for net, other in zip(nets, expected, strict=True):
        assert_same_training(net, other)


# -- the estimators -------------------------------------------------------------------------------------------


def estimate(kind, backend, **options):
    """A fitted estimator, and the generator that it drew from."""
    generator = np.random.RandomState(3)
    options = {"max_iter": 40, "batch_size": 8} | options
    model = kind(hidden_layer_sizes=(7,), backend=backend, random_state=generator, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(X, Y), generator


def assert_same_fit(found, expected):
    (model, generator), (other, its) = found, expected
    for name in ("loss_curve_", "n_iter_", "t_", "best_loss_", "loss_", "_no_improvement_count"):
        assert getattr(model, name) == getattr(other, name), name
    assert_bitwise_equal([*model.coefs_, *model.intercepts_], [*other.coefs_, *other.intercepts_])
    assert model._state.history.stop_reason == other._state.history.stop_reason
    assert model._state.history.learning_rate == other._state.history.learning_rate
    assert_array_equal(generator.randint(2**31, size=9), its.randint(2**31, size=9))


@pytest.mark.parametrize("kind", [mlp.MLPClassifier, mlp.MLPRegressor])
@pytest.mark.parametrize(
    "options",
    [
        {"n_iter_no_change": np.inf},
        {"tol": 0.02, "n_iter_no_change": 3},
        {"tol": 0.5, "n_iter_no_change": 1},
        {"solver": "sgd", "learning_rate": "adaptive", "learning_rate_init": 0.3, "tol": 0.05, "n_iter_no_change": 2},
        {"solver": "sgd", "learning_rate": "invscaling", "learning_rate_init": 0.2},
        {"learning_rate": schedules.ReduceOnPlateau(0.05, patience=2, min_delta=0.05)},
        {"dropout": 0.2, "shuffle": False},
        {"learning_rate": schedules.Cosine(0.05, epochs=30)},
        {"early_stopping": True, "n_iter_no_change": 2},
        {"callbacks": [lambda run: run.stop("enough") if run.epoch == 6 else None]},
    ],
    ids=lambda options: ", ".join(options),
)
def test_an_estimator_stops_at_the_same_epoch(backend, calls, kind, options):
    expected = estimate(kind, backend, **options)
    calls.size, calls.sizes = 100, []
    assert_same_fit(estimate(kind, backend, **options), expected)
    rate = options.get("learning_rate")
    adapts = rate == "invscaling" or isinstance(rate, schedules.ReduceOnPlateau)
    watched = adapts or "early_stopping" in options or "callbacks" in options
    assert (max(calls.sizes) == 1) == watched
    assert sum(calls.sizes) == expected[0].n_iter_  # no epoch too many


def test_a_warm_start_after_convergence(backend, calls):
    def twice(size):
        calls.size = size
        model, generator = estimate(mlp.MLPClassifier, backend, tol=0.1, n_iter_no_change=2, warm_start=True)
        return model.fit(X, Y), generator

    assert_same_fit(twice(100), twice(1))


@pytest.mark.parametrize("shuffle", [True, False])
def test_an_estimator_that_is_stopped_has_drawn_for_its_epochs_only(backend, calls, monkeypatch, shuffle):
    options = {"n_iter_no_change": np.inf, "shuffle": shuffle}
    expected, generator = estimate(mlp.MLPClassifier, backend, max_iter=5, **options)
    calls.size, run = 100, loop.Trainer.epochs

    def stopped_after_five(trainer, plans, control=None, on_batch=None):
        results = run(trainer, plans[:5], control, on_batch)
        control.request_stop()
        return results

    monkeypatch.setattr(loop.Trainer, "epochs", stopped_after_five)
    model, its = estimate(mlp.MLPClassifier, backend, **options)
    assert model.n_iter_ == 5
    assert_bitwise_equal(model.coefs_, expected.coefs_)
    assert_array_equal(generator.randint(2**31, size=9), its.randint(2**31, size=9))


def test_verbose_lines_are_the_same(backend, calls, capsys):
    options = {"verbose": True, "tol": 0.05, "n_iter_no_change": 2}
    estimate(mlp.MLPClassifier, backend, **options)
    expected = capsys.readouterr().out
    calls.size = 100
    estimate(mlp.MLPClassifier, backend, **options)
    assert capsys.readouterr().out == expected
    assert "Stopping." in expected
