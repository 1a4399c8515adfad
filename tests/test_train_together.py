"""Several networks on a GPU at the same time: each gets the bits of its own training with the persistent kernel."""

from __future__ import annotations

import logging
import os
import signal
from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from test_fit_many import X, Y, assert_same, networks
from test_persistent_kernel import case_of, in_launches_of, trainer_of
from test_same_results import RULES

import backends
import mlp
from backends.plan import Control


@pytest.fixture
def gpu(stand_in_gpu):
    """The backend, with the persistent kernel."""
    xp = backends.get_backend("cupy")
    xp.execution = "persistent"
    return xp


# -- fit_many ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", range(1, 6))
def test_each_result_is_that_of_its_own_fit(gpu, count):
    rows = [np.random.default_rng(i).permutation(60)[: 60 - 9 * i] for i in range(count)]
    # one kernel serves several learning rates and decays; another rule needs another kernel
    rules = [mlp.Adam(0.01), mlp.Adam(0.03, beta1=0.8), mlp.SGD(0.1, momentum=0.9), mlp.Adam(0.002), mlp.SGD(0.1)]
    settings = {"epochs": 5, "batch_size": 7, "validation_data": (X[:20], Y[:20])}
    rule = mlp.EarlyStopping(patience=1)
    nets = networks("cupy", count)
    mlp.fit_many(nets, X, Y, rows=rows, optimizer=rules[:count], early_stopping=rule, **settings)
    for net, own, part, optimizer in zip(nets, networks("cupy", count), rows, rules, strict=False):
        own.fit(X[part], Y[part], optimizer=optimizer, early_stopping=rule, **settings)
        assert_same(net, own)
        assert net.history.stop_reason == own.history.stop_reason
    assert count < 5 or len({len(net.history) for net in nets}) > 1


@pytest.mark.parametrize("penalty", [0.0, 1e-3])
def test_networks_share_the_launches(gpu, stand_in_gpu, penalty):
    launches = {}
    for count in (1, 4):
        stand_in_gpu.counters.reset()
        nets = [mlp.MLP([5, 8, 3], seed=seed, l2=penalty * seed, backend="cupy") for seed in range(count)]
        mlp.fit_many(nets, X, Y, epochs=3, batch_size=9, optimizer=[mlp.SGD(0.1 + seed) for seed in range(count)])
        launches[count] = stand_in_gpu.counters.launches
    # for each network and epoch: two launches for the order, and one to check the weights; then one for all batches
    assert launches == {1: 3 * (3 + 1), 4: 3 * (4 * 3 + (2 if penalty else 1))}


def test_more_networks_than_fit_take_turns(gpu, caplog):
    gpu._device.multiprocessors = 16
    nets = networks("cupy", 5)
    with caplog.at_level(logging.INFO, "mlp"):
        mlp.fit_many(nets, X, Y, epochs=2, batch_size=20)
    assert "fit_many trains up to 2 networks at the same time" in caplog.messages
    for net, own in zip(nets, networks("cupy", 5), strict=True):
        own.fit(X, Y, epochs=2, batch_size=20)
        assert_same(net, own)


def test_one_that_diverges_leaves_the_others_alone(gpu):
    targets = np.random.default_rng(2).normal(size=(60, 3))
    rates = 0.01, 1e200, 0.02
    nets = networks("cupy", loss="mse", dropout=0.0)
    with pytest.raises(mlp.DivergenceError) as caught:
        mlp.fit_many(nets, X, targets, epochs=4, batch_size=8, optimizer=[mlp.SGD(rate) for rate in rates])
    assert "network 1 of 3" in caught.value.__notes__[0]
    for net, own, rate in zip(nets, networks("cupy", loss="mse", dropout=0.0), rates, strict=True):
        if rate > 1:
            with pytest.raises(mlp.DivergenceError) as alone:
                own.fit(X, targets, epochs=4, batch_size=8, optimizer=mlp.SGD(rate))
            assert net.history.error == str(alone.value)
        else:
            own.fit(X, targets, epochs=4, batch_size=8, optimizer=mlp.SGD(rate))
        assert_same(net, own)


def test_ctrl_c_stops_all_after_a_launch(gpu, monkeypatch):
    in_launches_of(monkeypatch, 2)
    begun = []

    class Interrupts(mlp.schedules.Constant):
        def rates(self, step, epoch, n_batches):
            begun.append(epoch)
            if begun.count(1) == 2:
                os.kill(os.getpid(), signal.SIGINT)
            return super().rates(step, epoch, n_batches)

    nets = networks("cupy", 2)
    with pytest.raises(KeyboardInterrupt) as caught:
        mlp.fit_many(nets, X, Y, epochs=100, batch_size=5, optimizer=mlp.SGD(Interrupts(0.1)))
    assert "0 of 2 networks are trained, and networks 0, 1 up to" in caught.value.__notes__[0]
    for net, own in zip(nets, networks("cupy", 2), strict=True):
        assert net.history.interrupted
        assert net.training_state.epoch == 1
        own.fit(X, Y, epochs=1, batch_size=5, optimizer=mlp.SGD(0.1))
        for actual, desired in zip(net.weights, own.weights, strict=True):
            assert_array_equal(actual, desired)


@pytest.mark.parametrize(
    ("execution", "sizes", "reason"),
    [
        ("graphs", [5, 8, 3], "one after the other: the backend's execution is 'graphs', and only 'persistent'"),
        ("persistent", [5, 3], "network 0 alone: the persistent kernel is for"),
        ("loop", [5, 8, 3], "one after the other: the backend's execution is 'loop'"),
    ],
)
def test_others_train_one_after_the_other_and_the_log_says_why(gpu, caplog, execution, sizes, reason):
    gpu.execution = execution

    def made():
        return [mlp.MLP(sizes, seed=seed, backend="cupy") for seed in range(2)]

    nets = made()
    with caplog.at_level(logging.INFO, "mlp"):
        mlp.fit_many(nets, X, Y, epochs=2)
    assert reason in caplog.text
    for net, own in zip(nets, made(), strict=True):
        own.fit(X, Y, epochs=2, batch_size=32)
        assert_same(net, own)


# -- train_together ---------------------------------------------------------------------------------------------------


def test_every_backend_can_be_asked(backend):
    xp = backends.get_backend(backend)
    cases = [case_of(seed=seed, n=22 + 6 * seed) for seed in range(3)]
    expected = [case.run(xp) for case in cases]
    trainers = [trainer_of(xp, case) for case in cases]
    found = trainers[0].train_together(
        [(trainer, case.plan, Control()) for trainer, case in zip(trainers, cases, strict=True)]
    )
    for trainer, result, (losses, params, _) in zip(trainers, found, expected, strict=True):
        trainer.read_back()
        assert_array_equal(result.losses, losses)
        assert_array_equal(xp.to_numpy(trainer.params), params)


@pytest.mark.parametrize("batches", [1, 3, 100])
def test_epochs_of_different_length_and_kind(gpu, monkeypatch, stand_in_gpu, batches):
    """The last case is no plan for the persistent kernel; the one before has another kernel; the first halts."""
    in_launches_of(monkeypatch, batches)
    common = {"sizes": (20, 12, 4), "batch": 8, "dropout": (0.2, 0.5), "rule": RULES[7], "weighted": True, "l2": 1e-2}
    cases = [
        case_of(n=70, seed=1, **common),
        case_of(n=33, seed=2, **common),
        case_of(n=90, seed=3, first_batch=2, n_batches=7, **common),
        case_of(n=40, clip_norm=0.5, **common),
        case_of(n=40, **common | {"sizes": (20, 900, 4)}),
    ]
    cases[0].X[cases[0].plan.order[20]] = np.nan
    for seed in range(3):
        stand_in_gpu.seed(seed)
        xp = backends.get_backend("cupy")
        xp.execution = "persistent"
        alone, together = ([trainer_of(xp, case) for case in cases] for _ in range(2))
        plans = [case.plan for case in cases]
        controls = [Control() for _ in cases]
        found = together[0].train_together(list(zip(together, plans, controls, strict=True)))
        for one, other, plan, control, result in zip(alone, together, plans, controls, found, strict=True):
            own = Control()
            (expected,) = one.epochs([plan], own)
            assert_array_equal(result.losses, expected.losses)
            assert (result.failed, result.finite) == (expected.failed, expected.finite)
            assert control.batches_done == own.batches_done
            for ours, theirs in zip(other.current(), one.current(), strict=True):
                assert_array_equal(ours, theirs)
    assert found[0].failed is not None


def test_one_may_stop_while_others_go_on(gpu, monkeypatch):
    class StopAfter(Control):
        times = 12

        @property
        def stop_requested(self):
            self.times -= 1
            return self.times < 0

    in_launches_of(monkeypatch, 1)
    cases = [case_of(n=90, seed=seed) for seed in range(3)]
    trainers = [trainer_of(gpu, case) for case in cases]
    stopping = StopAfter()
    controls = [Control(), stopping, Control()]
    found = trainers[0].train_together(
        [(t, c.plan, control) for t, c, control in zip(trainers, cases, controls, strict=True)]
    )
    done = [len(result.losses) for result in found]
    assert done[0] == done[2] == 15
    assert 0 < done[1] < 15
    cases[1] = replace(cases[1], plan=replace(cases[1].plan, n_batches=done[1]))
    for trainer, case in zip(trainers, cases, strict=True):
        alone = trainer_of(gpu, case)
        alone.epochs([case.plan])
        for ours, theirs in zip(trainer.current(), alone.current(), strict=True):
            assert_array_equal(ours, theirs)


def test_an_error_can_be_rolled_back_everywhere(gpu):
    cases = [case_of(n=30, seed=seed) for seed in range(3)]
    trainers, plans = [trainer_of(gpu, case) for case in cases], [case.plan for case in cases]
    plans[2] = replace(plans[2], order=plans[2].order + 100)
    with pytest.raises(mlp.ShapeError, match="the order has row"):
        trainers[0].train_together([(trainer, plan, Control()) for trainer, plan in zip(trainers, plans, strict=True)])
    for trainer, case in zip(trainers, cases, strict=True):
        trainer.roll_back()
        assert_array_equal(gpu.to_numpy(trainer.params), case.params)


def test_rows_on_the_host_are_trained_alone(gpu, monkeypatch):
    from backends.cupy_backend import host_rows

    monkeypatch.setattr(host_rows, "WINDOW_BYTES", 5000)
    gpu._device.free_bytes = lambda: 10_000
    case = case_of((20, 12, 4), 200, 8)
    arrays = [gpu.asarray(each) for each in (case.target, case.params, case.state)]
    trainer = gpu.trainer(case.plan.network, case.plan.rule, gpu.as_rows(case.X), arrays[0], None, *arrays[1:], 8)
    assert trainer.why_alone(case.plan) == "X does not fit in the memory of the GPU"
    (found,) = trainer.train_together([(trainer, case.plan, Control())])
    assert_array_equal(found.losses, case.run(gpu)[0])
