"""Optimizers and schedules: trajectories of ten updates of a network, compared with PyTorch and scikit-learn."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.neural_network import _stochastic_optimizers as sklearn_optimizers

import mlp
from mlp import schedules

N, BATCH, STEPS = 58, 6, 10  # the last batch is ragged


@pytest.fixture(scope="module")
def torch():
    module = pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")
    module.set_num_threads(1)
    return module


def data():
    rng = np.random.default_rng(11)
    return rng.normal(size=(N, 5)), rng.integers(0, 3, N)


def network(backend):
    net = mlp.MLP([5, 7, 3], "tanh", dtype="float64", backend=backend, seed=4)
    net.biases = [0.1 * np.arange(len(b)) for b in net.biases]
    return net


def batches(X, y):
    return [(X[i : i + BATCH], y[i : i + BATCH]) for i in range(0, N, BATCH)]


def train(net, optimizer, epochs=1):
    """Train with `STEPS` updates per epoch, in the order of the rows."""
    X, y = data()
    net.fit(X, y, epochs=epochs, batch_size=BATCH, optimizer=optimizer, shuffle=False)
    return net


def parameters(net):
    return [np.array(p) for p in (*net.weights, *net.biases)]


def assert_same_trajectory(found, expected):
    for actual, desired in zip(found, expected, strict=True):
        assert_allclose(actual, desired, rtol=1e-10, atol=1e-10)


# -- PyTorch --------------------------------------------------------------------------------------------------


def torch_trajectory(torch, net, make, clip=None, schedule=None, epochs=1):
    """The same updates with ``make(weights, biases)``, an optimizer of PyTorch."""
    tensors = [torch.tensor(p, requires_grad=True) for p in parameters(net)]
    weights, biases = tensors[:2], tensors[2:]
    optimizer = make(weights, biases)
    scheduler = schedule and schedule(optimizer)
    for _ in range(epochs):
        for x, t in batches(*data()):
            optimizer.zero_grad()
            hidden = torch.tanh(torch.tensor(x) @ weights[0] + biases[0])
            loss = torch.nn.functional.cross_entropy(hidden @ weights[1] + biases[1], torch.tensor(t))
            loss.backward()
            if clip:
                clip(tensors)
            optimizer.step()
        if scheduler:
            scheduler.step()
    return [tensor.detach().numpy() for tensor in tensors]


PEERS = {
    "sgd": (mlp.SGD(0.1), lambda o, p: o.SGD(p, lr=0.1)),
    "momentum": (mlp.SGD(0.1, momentum=0.9), lambda o, p: o.SGD(p, lr=0.1, momentum=0.9)),
    "nesterov": (
        mlp.SGD(0.1, momentum=0.9, nesterov=True),
        lambda o, p: o.SGD(p, lr=0.1, momentum=0.9, nesterov=True),
    ),
    "adagrad": (mlp.Adagrad(0.05), lambda o, p: o.Adagrad(p, lr=0.05)),
    "rmsprop": (mlp.RMSprop(0.01), lambda o, p: o.RMSprop(p, lr=0.01)),
    "rmsprop, all given": (
        mlp.RMSprop(0.02, rho=0.8, epsilon=1e-3),
        lambda o, p: o.RMSprop(p, lr=0.02, alpha=0.8, eps=1e-3),
    ),
    "adam": (mlp.Adam(0.01), lambda o, p: o.Adam(p, lr=0.01)),
    "adam, all given": (
        mlp.Adam(0.02, beta1=0.8, beta2=0.95, epsilon=1e-2),
        lambda o, p: o.Adam(p, lr=0.02, betas=(0.8, 0.95), eps=1e-2),
    ),
}


@pytest.mark.parametrize("name", PEERS)
def test_optimizers_follow_pytorch(backend, torch, name):
    ours, theirs = PEERS[name]
    net = network(backend)
    expected = torch_trajectory(torch, net, lambda weights, biases: theirs(torch.optim, [*weights, *biases]))
    assert_same_trajectory(parameters(train(net, ours)), expected)


@pytest.mark.parametrize("epochs", [1, 3])
def test_adamw_decays_the_weights_alone(backend, torch, epochs):
    net = network(backend)

    def make(weights, biases):
        groups = [{"params": weights, "weight_decay": 0.1}, {"params": biases, "weight_decay": 0.0}]
        return torch.optim.AdamW(groups, lr=0.01)

    expected = torch_trajectory(torch, net, make, epochs=epochs)
    assert_same_trajectory(parameters(train(net, mlp.AdamW(0.01, weight_decay=0.1), epochs)), expected)
    assert mlp.AdamW().weight_decay == 0.01


def test_l2_is_pytorchs_weight_decay_of_the_gradient(backend, torch):
    net = mlp.MLP([5, 7, 3], "tanh", l2=0.1, dtype="float64", backend=backend, seed=4)

    def make(weights, biases):
        groups = [{"params": weights, "weight_decay": 0.1}, {"params": biases, "weight_decay": 0.0}]
        return torch.optim.SGD(groups, lr=0.1, momentum=0.5)

    expected = torch_trajectory(torch, net, make)
    assert_same_trajectory(parameters(train(net, mlp.SGD(0.1, momentum=0.5))), expected)


@pytest.mark.parametrize(
    ("options", "clip"),
    [
        ({"clip_norm": 0.5}, lambda utils, p: utils.clip_grad_norm_(p, 0.5)),
        ({"clip_norm": 1e6}, lambda utils, p: None),
        ({"clip_value": 0.05}, lambda utils, p: utils.clip_grad_value_(p, 0.05)),
        (
            {"clip_value": 0.05, "clip_norm": 0.1},
            lambda utils, p: (utils.clip_grad_value_(p, 0.05), utils.clip_grad_norm_(p, 0.1)),
        ),
    ],
    ids=["norm", "a norm out of reach", "value", "value and then norm"],
)
def test_clipping_follows_pytorch(backend, torch, options, clip):
    net = network(backend)

    def make(weights, biases):
        return torch.optim.SGD([*weights, *biases], lr=0.2, momentum=0.9)

    expected = torch_trajectory(torch, net, make, clip=lambda p: clip(torch.nn.utils, p))
    assert_same_trajectory(parameters(train(net, mlp.SGD(0.2, momentum=0.9, **options))), expected)


def test_a_schedule_acts_as_pytorchs_on_the_velocity(backend, torch):
    """The velocity does not include the rate: a smaller rate takes effect immediately, also for past gradients."""
    net = network(backend)
    expected = torch_trajectory(
        torch,
        net,
        lambda weights, biases: torch.optim.SGD([*weights, *biases], lr=0.1, momentum=0.9, nesterov=True),
        schedule=lambda optimizer: torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.3),
        epochs=3,
    )
    optimizer = mlp.SGD(schedules.Step(0.1, every=1, factor=0.3), momentum=0.9, nesterov=True)
    assert_same_trajectory(parameters(train(net, optimizer, epochs=3)), expected)


# -- scikit-learn -----------------------------------------------------------------------------------------------


def sklearn_trajectory(net, make, epochs=1, rates=None):
    """The same updates with an optimizer of scikit-learn and the gradients of this network."""
    found = parameters(net)
    optimizer = make(found)
    half = len(found) // 2
    for epoch in range(epochs):
        if rates:
            optimizer.learning_rate = rates[epoch]
        for x, t in batches(*data()):
            net.weights, net.biases = found[:half], found[half:]
            _, gradients = net.loss_and_gradients(x, t)
            slopes = [dW for dW, _ in gradients] + [db for _, db in gradients]
            optimizer.update_params(found, [np.array(slope) for slope in slopes])  # in place
    return found


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("epochs", [1, 3])
def test_rate_inside_is_scikit_learns_momentum(backend, nesterov, epochs):
    """Also if the rate decreases between epochs, where the two forms differ."""
    expected = sklearn_trajectory(
        network(backend),
        lambda p: sklearn_optimizers.SGDOptimizer(p, learning_rate_init=0.1, momentum=0.9, nesterov=nesterov),
        epochs,
        rates=[0.1, 0.03, 0.009],
    )
    schedule = schedules.Step(0.1, every=1, factor=0.3)
    optimizer = mlp.SGD(schedule, momentum=0.9, nesterov=nesterov, rate_inside=True)
    assert_same_trajectory(parameters(train(network(backend), optimizer, epochs)), expected)
    outside = mlp.SGD(schedule, momentum=0.9, nesterov=nesterov)
    differs = any(
        np.abs(actual - desired).max() > 1e-6
        for actual, desired in zip(parameters(train(network(backend), outside, epochs)), expected, strict=True)
    )
    assert differs == (epochs > 1)


@pytest.mark.parametrize("epsilon", [1e-8, 1e-2])
def test_epsilon_hat_is_scikit_learns_adam(backend, epsilon):
    expected = sklearn_trajectory(
        network(backend), lambda p: sklearn_optimizers.AdamOptimizer(p, learning_rate_init=0.01, epsilon=epsilon)
    )
    optimizer = mlp.Adam(0.01, epsilon=epsilon, epsilon_hat=True)
    assert_same_trajectory(parameters(train(network(backend), optimizer)), expected)
    other = parameters(train(network(backend), mlp.Adam(0.01, epsilon=epsilon)))
    assert max(np.abs(a - b).max() for a, b in zip(other, expected, strict=True)) > 1e-9


# -- optimizer state ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", [mlp.SGD(0.1, momentum=0.9), mlp.Adam(0.01), mlp.Adagrad(0.05)], ids=repr)
def test_two_trainings_of_one_epoch_are_one_of_two(backend, optimizer):
    whole = train(network(backend), optimizer, epochs=2)
    X, y = data()
    halves = train(network(backend), optimizer, epochs=1)
    halves.fit(X, y, epochs=2, batch_size=BATCH, shuffle=False, resume=True)
    for actual, desired in zip(parameters(halves), parameters(whole), strict=True):
        assert_array_equal(actual, desired)


@pytest.mark.parametrize("optimizer", [mlp.SGD(0.1, momentum=0.9), mlp.Adam(), mlp.Adam(epsilon_hat=True)], ids=repr)
def test_scalars_leave_float32_as_it_is(optimizer):
    scalars = optimizer.rule.scalars(3, np.float64(0.1))
    assert all((np.float32(1) * scalar).dtype == np.float32 for scalar in scalars)


def test_gradient_descent_is_one_update_an_epoch(backend):
    net = network(backend)
    X, y = data()
    for _ in range(3):
        before, (_, gradients) = parameters(net), net.loss_and_gradients(X, y)
        net.fit(X, y, epochs=1, optimizer=mlp.GradientDescent(0.5))
        slopes = [dW for dW, _ in gradients] + [db for _, db in gradients]
        for now, old, slope in zip(parameters(net), before, slopes, strict=True):
            assert_allclose(now, old - 0.5 * slope, rtol=1e-12, atol=1e-14)


def test_a_batch_without_weight_changes_nothing(backend):
    """Not even a velocity."""
    X, y = data()
    weight = np.ones(N)
    weight[BATCH : 3 * BATCH] = 0
    keep = weight > 0
    with_zeros, without = network(backend), network(backend)
    optimizer = mlp.SGD(0.1, momentum=0.9, weight_decay=0.1)
    with_zeros.fit(X, y, epochs=1, batch_size=BATCH, optimizer=optimizer, shuffle=False, sample_weight=weight)
    without.fit(X[keep], y[keep], epochs=1, batch_size=BATCH, optimizer=optimizer, shuffle=False)
    for actual, desired in zip(parameters(with_zeros), parameters(without), strict=True):
        assert_allclose(actual, desired, rtol=1e-12)


# -- schedules ----------------------------------------------------------------------------------------------------


def torch_rates(torch, make, epochs):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.5)
    scheduler, rates = make(torch.optim.lr_scheduler, optimizer), []
    for _ in range(epochs):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (schedules.Step(0.5, every=3, factor=0.2), lambda s, o: s.StepLR(o, 3, 0.2)),
        (schedules.Exponential(0.5, factor=0.8), lambda s, o: s.ExponentialLR(o, 0.8)),
        (schedules.Cosine(0.5, epochs=12, floor=0.01), lambda s, o: s.CosineAnnealingLR(o, 12, 0.01)),
        (schedules.Constant(0.5), lambda s, o: s.ConstantLR(o, 1.0)),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, schedules.Schedule) else "",
)
def test_schedules_follow_pytorch_from_epoch_to_epoch(torch, ours, theirs):
    assert_allclose([ours(0, epoch) for epoch in range(12)], torch_rates(torch, theirs, 12), rtol=1e-12)


def test_reduce_on_plateau_follows_pytorch(torch):
    """PyTorch's patience is one less: it counts the tolerated epochs."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.5)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, factor=0.3, patience=2, threshold=0.01, threshold_mode="abs", min_lr=0.005, eps=0
    )
    ours = schedules.ReduceOnPlateau(0.5, factor=0.3, patience=3, min_delta=0.01, floor=0.005)
    losses = [3, 2, 1.995, 1.991, 1.2, 1.3, 1.3, 1.3, 1.3, 1.3, 1.3, 1.1, *[1.1] * 20]
    for epoch, loss in enumerate(losses, start=1):
        ours.observe(loss)
        theirs.step(loss)
        assert_allclose(ours(0, epoch), optimizer.param_groups[0]["lr"], rtol=1e-12)
    assert ours(0, 99.0) == 0.005


def test_inverse_scaling_is_scikit_learns_rule():
    theirs = sklearn_optimizers.SGDOptimizer([], learning_rate_init=0.5, lr_schedule="invscaling", power_t=0.3)
    ours = schedules.InverseScaling(0.5, power=0.3)
    for step in (0, 1, 7, 1000):
        theirs.iteration_ends(step)
        assert_allclose(ours(step, 0.0), theirs.learning_rate, rtol=1e-14)


def test_a_schedule_moves_within_an_epoch():
    """Each batch has its rate; the step count continues across epochs."""

    def coslog4(t):
        return (1 - math.cos(2 * math.pi * math.log2(1 + 15 * t))) / 2

    cosine = schedules.Cosine(1.0, epochs=2, warmup=1)
    assert_allclose(cosine.rates(0, 0, 4), [0, 0.25, 0.5, 0.75])
    assert_allclose(cosine.rates(4, 1, 4), [(1 + math.cos(math.pi * k / 4)) / 2 for k in range(4)])
    rates = schedules.CosLog4(0.04, epochs=5).rates(8, 2, 4)
    assert_allclose(rates, [0.04 * coslog4((2 + k / 4) / 5) for k in range(4)], rtol=1e-12)
    assert_allclose(schedules.CosLog4(0.04, epochs=5).rates(20, 5, 4), 0, atol=1e-15)  # the training is over
    assert_allclose(schedules.Exponential(1.0, factor=0.5).rates(0, 2, 2), [0.25, 0.25 * 0.5**0.5])
    assert_allclose(schedules.Step(1.0, every=1, factor=0.5).rates(6, 2, 3), [0.25] * 3)
    assert_allclose(schedules.InverseScaling(1.0).rates(8, 1, 3), [1 / 3, 10**-0.5, 11**-0.5])


@pytest.mark.parametrize("name", schedules.SCHEDULES)
def test_schedules_survive_a_round_trip_with_their_memory(name):
    schedule = schedules.SCHEDULES[name](0.3)
    for loss in (3.0, 3.0, 3.0, 2.0, 2.0):
        schedule.observe(loss)
    again = schedules.from_dict(schedule.to_dict())
    assert again == schedule
    for loss in [2.0] * 5:
        schedule.observe(loss)
        again.observe(loss)
    assert [again(step, step / 3) for step in range(40)] == [schedule(step, step / 3) for step in range(40)]


@pytest.mark.parametrize(
    "make",
    [
        lambda: mlp.SGD(0),
        lambda: mlp.SGD(-1),
        lambda: mlp.SGD(math.nan),
        lambda: mlp.SGD(0.1, momentum=1),
        lambda: mlp.SGD(0.1, nesterov=True),
        lambda: mlp.Adam(beta2=1),
        lambda: mlp.Adam(epsilon=0),
        lambda: mlp.RMSprop(rho=-0.1),
        lambda: mlp.Adagrad(weight_decay=-1),
        lambda: mlp.SGD(clip_norm=0),
        lambda: schedules.Cosine(0.1, epochs=3, warmup=3),
        lambda: schedules.Step(0.1, every=0),
    ],
)
def test_hyper_parameters_out_of_range_are_refused(make):
    with pytest.raises(mlp.ConfigurationError):
        make()
