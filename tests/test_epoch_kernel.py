"""The Numba backend's epoch kernel: the numbers of the readable_loop loop, for every plan and any number of threads."""

from __future__ import annotations

import ctypes
import itertools
import logging
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import pytest
import readable_loop
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import backends
from backends import formulas
from backends.errors import ConfigurationError
from backends.formulas import Rule
from backends.loop import Execution
from backends.plan import Control, EpochPlan, Layout, NetworkPlan

pytest.importorskip("numba")

from backends.numba_backend import panels, threads, trainer
from backends.numba_backend.panels import SHARED_WEIGHTS, Panels
from backends.numba_backend.scaling_parts import scale_gradient
from backends.numba_backend.step_parts import step_part

NUMPY, NUMBA = backends.get_backend("numpy"), backends.get_backend("numba")

HIDDEN = [name for name, row in formulas.ACTIVATIONS.items() if row.role == "any" and row.backward]
RULES = [
    Rule("sgd", {}),
    Rule("momentum", {"momentum": 0.9}),
    Rule("momentum_rate_inside", {"momentum": 0.9}),
    Rule("nesterov", {"momentum": 0.9}),
    Rule("nesterov_rate_inside", {"momentum": 0.9}),
    Rule("adagrad", {"epsilon": 1e-8}),
    Rule("rmsprop", {"rho": 0.9, "epsilon": 1e-8}),
    Rule("adam", {"beta1": 0.9, "beta2": 0.99, "epsilon": 1e-8}),
    Rule("adam_epsilon_hat", {"beta1": 0.9, "beta2": 0.99, "epsilon": 1e-8}),
]


def legal(output, loss):
    try:
        return bool(formulas.pair(output, loss).output.backward)
    except ConfigurationError:
        return False


PAIRS = [f"{output}+{loss}" for output in formulas.ACTIVATIONS for loss in formulas.LOSSES if legal(output, loss)]


@dataclass(frozen=True)
class Case:
    """An epoch to train, and its data in float64."""

    plan: EpochPlan
    X: np.ndarray
    target: np.ndarray
    weight: np.ndarray | None
    params: np.ndarray
    state: np.ndarray

    def train(self, train=NUMBA.train_epoch, dtype="float64", control=None, **changes):
        """(losses, failed, params, state) after the epoch."""
        X, target, params, state = (
            a.astype(dtype) if a.dtype.kind == "f" else a for a in (self.X, self.target, self.params, self.state)
        )
        params, state = params.copy(), state.copy()
        weight = None if self.weight is None else self.weight.astype(dtype)
        result = train(replace(self.plan, **changes), X, target, weight, params, state, control or Control())
        return result.losses, result.failed, params, state


def numba_loop(*arguments):
    return readable_loop.train_epoch(NUMBA, *arguments)


def make(
    sizes, hidden="tanh", kind="softmax+cross_entropy", rule=RULES[0], *, n=48, batch_size=16, dropout=0.0, l2=0.0,
    weighted=False, in_bytes=False, rows=False, rate=0.05, scaling_layer=False, factors=False, seed=0, **options,
):  # fmt: skip
    rng = np.random.default_rng(seed)
    layout, kind, k = Layout(tuple(sizes), scaling_layer), formulas.output_loss(kind), sizes[-1]
    hidden = [hidden] * (layout.n_layers - 1) if isinstance(hidden, str) else hidden
    activations = (*map(formulas.activation, hidden), kind.output)
    rates = (dropout,) * layout.n_layers
    network = NetworkPlan(layout, activations, kind, rates, 1 / 255 if in_bytes else 1.0)
    n_batches = -(-n // batch_size)
    if factors:
        options["rate_factors"] = different_rates(layout)
    plan = EpochPlan(
        network, rule, batch_size, rng.permutation(n + 3)[:n], rate * rng.uniform(0.5, 1, n_batches),
        np.full(n_batches, l2), seed=7, epoch=2, first_step=4, **options,
    )  # fmt: skip
    X = rng.integers(0, 256, (n + 3, sizes[0])).astype(np.uint8) if in_bytes else rng.normal(size=(n + 3, sizes[0]))
    if kind.loss.name == "cross_entropy":
        target = rng.dirichlet(np.ones(k), n + 3) if rows else rng.integers(0, k, n + 3)
    elif kind.loss.name == "poisson":
        target = rng.poisson(2, (n + 3, k)).astype(float)
    else:
        target = rng.random((n + 3, k))
    weight = None
    if weighted:
        weight = rng.random(n + 3)
        weight[plan.order[batch_size : 2 * batch_size]] = 0  # a batch that must change nothing
    params = 0.1 * rng.normal(size=layout.n_parameters)
    for W, _ in layout.layers(params):
        W *= 10 / np.sqrt(len(W))
    state = 0.01 * rng.random((len(rule.row.state), params.size))
    return Case(plan, X, target, weight, params, state)


def different_rates(layout):
    """A factor of the learning rate for each array of parameters: 0.3, 0.6, ..."""
    starts = [0]
    for array in (*layout.weights(np.empty(layout.n_weights)), *map(np.empty, layout.sizes[1:])):
        starts.append(starts[-1] + array.size)
    ends = [*starts[1:], layout.n_parameters]
    return tuple(
        (start, end, 0.3 * number)
        for number, (start, end) in enumerate(zip(starts, ends, strict=True), start=1)
        if end > start
    )


def assert_same(found, expected, tolerance):
    assert found[1] == expected[1]
    for a, b in zip(found[::2] + found[3:], expected[::2] + expected[3:], strict=True):
        assert_allclose(a, b, rtol=tolerance, atol=tolerance * max(np.abs(b).max(initial=0), 1))


# -- the numbers of the loop -----------------------------------------------------------------------------

bounds = st.sampled_from([None, None, 0.01, 1.0])


@st.composite
def cases(draw):
    sizes = draw(st.lists(st.sampled_from([1, 3, 8, 15, 17, 31, 33, 64, 100, 130]), min_size=2, max_size=5))
    batch_size = draw(st.sampled_from([1, 3, 8, 17, 40, 130]))
    n = max(batch_size * draw(st.integers(1, 3)) - draw(st.integers(0, batch_size - 1)), 1)
    return make(
        sizes,
        [draw(st.sampled_from(HIDDEN)) for _ in sizes[1:-1]],
        draw(st.sampled_from(PAIRS)),
        draw(st.sampled_from(RULES)),
        n=n,
        batch_size=batch_size,
        dropout=draw(st.sampled_from([0.0, 0.0, 0.3])),
        l2=draw(st.sampled_from([0.0, 0.01])),
        l1=draw(st.sampled_from([0.0, 0.001])),
        weight_decay=draw(st.sampled_from([0.0, 0.1])),
        clip_value=draw(bounds),
        clip_norm=draw(bounds),
        weighted=draw(st.booleans()),
        in_bytes=draw(st.booleans()),
        rows=draw(st.booleans()),
        scaling_layer=draw(st.booleans()),
        factors=draw(st.booleans()),
        seed=draw(st.integers(0, 1000)),
    )


@given(case=cases())
def test_random_plans(case):
    found = case.train()
    assert_same(found, case.train(numba_loop), 1e-12)
    assert_same(found, case.train(NUMPY.train_epoch), 1e-12)


@pytest.mark.parametrize("kind", PAIRS)
def test_every_loss(kind):
    case = make([20, 9, 5], kind=kind, weighted=True)
    assert_same(case.train(), case.train(NUMPY.train_epoch), 1e-12)


@pytest.mark.parametrize("name", HIDDEN)
@pytest.mark.parametrize("sizes", [[9, 20, 33, 4], [80, 70, 90, 4]], ids=["by rows", "by panels"])
def test_every_activation(sizes, name):
    case = make(sizes, name, dropout=0.2)
    assert_same(case.train(), case.train(NUMPY.train_epoch), 1e-12)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
@pytest.mark.parametrize("sizes", [[9, 20, 33, 4], [80, 70, 90, 4]], ids=["by rows", "by panels"])
@pytest.mark.parametrize(
    "options",
    [
        {"l2": 0.01, "l1": 0.001, "weight_decay": 0.1},
        {"l2": 0.01, "clip_value": 0.01},
        {"clip_value": 0.02, "clip_norm": 0.05, "l1": 0.001, "weight_decay": 0.1},
        {"factors": True, "l2": 0.01, "weight_decay": 0.1},
        {"scaling_layer": True, "factors": True, "l1": 0.001, "weight_decay": 0.1, "dropout": 0.2},
        {"scaling_layer": True, "clip_value": 0.01, "in_bytes": True},
        {"scaling_layer": True, "factors": True, "clip_value": 0.02, "clip_norm": 0.05, "dropout": 0.2},
    ],
    ids=[
        "penalties", "clip_value", "clip_norm", "factors of the rate", "scaling and factors", "scaling and clip_value",
        "scaling, factors and clip_norm",
    ],
)  # fmt: skip
def test_every_rule(sizes, rule, options):
    case = make(sizes, rule=rule, **options)
    if options.get("scaling_layer") or options.get("factors"):
        assert trainer_of(case).execution(case.plan).reason == ""
    assert_same(case.train(), case.train(NUMPY.train_epoch), 1e-12)


@pytest.mark.parametrize("rule", [RULES[0], RULES[1], RULES[7]], ids=lambda rule: rule.name)
@pytest.mark.parametrize("sizes", [[12, 10, 3], [64, 80, 66, 3]], ids=["by rows", "by panels"])
def test_two_hundred_steps(sizes, rule):
    case = make(sizes, rule=rule, n=200 * 8, batch_size=8, rate=0.005)
    assert_same(case.train(), case.train(NUMPY.train_epoch), 1e-10)


@pytest.mark.parametrize("sizes", [[30, 20, 5], [80, 70, 90, 5]], ids=["by rows", "by panels"])
def test_float32(sizes):
    case = make(sizes, rule=RULES[7], dropout=0.2, weighted=True, rate=0.001)
    found, exact = case.train(dtype="float32"), case.train(NUMPY.train_epoch)
    assert found[2].dtype == np.float32
    assert_same(found, exact, 1e-4)


@pytest.mark.parametrize("scaling_layer", [False, True], ids=["", "scaling layer"])
def test_softmax_regression(scaling_layer):
    case = make([60, 7], n=50, batch_size=16, scaling_layer=scaling_layer)
    assert_same(case.train(), case.train(NUMPY.train_epoch), 1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("width", [2, 4, 6, 8, 32])
def test_the_gradient_of_a_scaling_layer_for_panels_of_any_processor(dtype, width):
    """The widths of panels follow from the processor's vectors; some have two numbers."""
    real = {"float32": ctypes.c_float, "float64": ctypes.c_double}[dtype]
    kinds = ctypes.POINTER(ctypes.c_int64), *[ctypes.POINTER(real)] * 3, *[ctypes.c_int64] * 4
    part = ctypes.CFUNCTYPE(None, *kinds)(step_part(scale_gradient, np.dtype(dtype)))
    rng, n_in, k0, k1, panel = np.random.default_rng(0), 7, 2, 6, 1
    W, G = rng.normal(size=(2, k1 - k0, width)).astype(dtype)
    layer, space = np.zeros(len(panels.FIELDS), np.int64), rng.normal(size=40).astype(dtype)
    layer[[panels.N_IN, panels.FACTORS, panels.FACTOR_SUMS]] = n_in, 3, 20
    before, gradient = space.copy(), G.copy()
    pointers = (array.ctypes.data_as(kind) for array, kind in zip((layer, space, W, gradient), kinds, strict=False))
    part(*pointers, panel, k0, k1, width)
    factors, sums = before[3 + k0 : 3 + k1], slice(20 + panel * n_in + k0, 20 + panel * n_in + k1)
    assert_array_equal(gradient, G * factors[:, None])
    assert_allclose(space[sums], (W * G).sum(axis=1), rtol=1e-4 if dtype == "float32" else 1e-13)
    space[sums] = before[sums]
    assert_array_equal(space, before)


# -- threads ---------------------------------------------------------------------------------------------


@pytest.fixture
def any_work_is_shared(monkeypatch):
    monkeypatch.setattr(panels, "THREAD_WORK", 0)
    yield
    threads.set_num_threads(None)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("sizes", [[12, 10, 3], [100, 30, 10], [100, 130, 140, 10]])
@pytest.mark.parametrize("batch_size", [5, 16, 100])
@pytest.mark.parametrize("scaled", [False, True], ids=["", "scaling layer"])
def test_bits_do_not_depend_on_threads(any_work_is_shared, sizes, batch_size, dtype, scaled):
    options = {"clip_norm": 0.1} if batch_size == 16 else {}
    options |= {"scaling_layer": True, "factors": True} if scaled else {}
    case = make(sizes, "gelu", rule=RULES[1], n=210, batch_size=batch_size, dropout=0.2, l2=0.01, **options)
    results = []
    for number in (1, 2, 3):
        threads.set_num_threads(number)
        results.append(case.train(dtype=dtype))
    for result in results[1:]:
        for a, b in zip(results[0], result, strict=True):
            assert_array_equal(a, b)


@pytest.mark.parametrize("batch_size", [16, 100])
@pytest.mark.parametrize("sizes", [[100, 30, 10], [100, 130, 140, 10]])
@pytest.mark.parametrize("scaling_layer", [False, True], ids=["", "scaling layer"])
def test_bits_do_not_depend_on_the_division(any_work_is_shared, monkeypatch, sizes, batch_size, scaling_layer):
    case = make(sizes, rule=RULES[1], n=210, batch_size=batch_size, dropout=0.2, scaling_layer=scaling_layer)
    results = []
    for least in (1, SHARED_WEIGHTS, 10**9):
        monkeypatch.setattr("backends.numba_backend.panels.SHARED_WEIGHTS", least)
        results.append(case.train())
    for result in results[1:]:
        for a, b in zip(results[0], result, strict=True):
            assert_array_equal(a, b)


def test_calls_from_several_threads(any_work_is_shared):
    case = make([60, 100, 10], n=500)
    expected = case.train()
    with ThreadPoolExecutor(3) as pool:
        for found in pool.map(lambda _: case.train(), range(6)):
            assert_array_equal(found[2], expected[2])


def test_call_from_within_a_task(any_work_is_shared):
    case = make([60, 100, 10])
    expected, found = case.train(), []
    threads.run(lambda part: found.append(case.train()), 2)
    for result in found:
        assert_array_equal(result[2], expected[2])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_after_a_fork(any_work_is_shared):
    case = make([60, 100, 10])
    expected = case.train()
    child = os.fork()
    if not child:
        signal.alarm(60)  # a child that hangs must not hang the tests
        os._exit(0 if np.array_equal(case.train()[2], expected[2]) else 1)
    assert os.waitpid(child, 0)[1] == 0


# -- the data --------------------------------------------------------------------------------------------


def test_bytes_are_scaled():
    case = make([30, 20, 5], in_bytes=True)
    floats = replace(case, X=case.X * case.plan.network.input_scale)
    for a, b in zip(case.train(), floats.train(), strict=True):
        assert_array_equal(a, b)


@pytest.mark.parametrize(
    "layout",
    [np.asfortranarray, lambda X: np.repeat(X, 2, axis=0)[::2], lambda X: np.repeat(X, 2, axis=1)[:, ::2]],
    ids=["fortran", "every other row", "every other column"],
)
@pytest.mark.parametrize("in_bytes", [False, True])
def test_layouts(layout, in_bytes):
    case = make([30, 20, 5], in_bytes=in_bytes)
    X = layout(case.X)
    X.flags.writeable = False
    params = case.params.copy()
    NUMBA.train_epoch(case.plan, X, case.target, None, params, case.state)
    assert_array_equal(params, case.train()[2])


def test_inputs_are_only_read():
    case = make([30, 20, 5], weighted=True, kind="identity+mse")
    for array in (case.X, case.target, case.weight, case.plan.order, case.plan.learning_rates, case.plan.l2):
        array.flags.writeable = False
    case.train(lambda *arguments: NUMBA.train_epoch(*arguments))


def test_parameters_that_are_part_of_something():
    case = make([30, 20, 5], rule=RULES[1])
    params, state = np.zeros(2 * case.params.size), np.zeros((1, 2 * case.params.size))
    params[::2], state[:, ::2] = case.params, case.state
    NUMBA.train_epoch(case.plan, case.X, case.target, None, params[::2], state[:, ::2])
    assert_array_equal(params[::2], case.train()[2])
    assert_array_equal(state[:, ::2], case.train()[3])
    assert not params[1::2].any()
    assert not state[:, 1::2].any()


def test_no_rows():
    case = make([30, 20, 5])
    empty = {"order": np.empty(0, np.int64), "learning_rates": np.empty(0), "l2": np.empty(0)}
    losses, failed, params, _ = case.train(**empty)
    assert losses.shape == (0,)
    assert failed is None
    assert_array_equal(params, case.params)


@pytest.mark.parametrize("scaling_layer", [False, True], ids=["", "scaling layer"])
def test_a_batch_without_weight_changes_nothing(scaling_layer):
    case = make([30, 20, 5], rule=RULES[7], weighted=True, n=32, l2=0.01, weight_decay=0.1, scaling_layer=scaling_layer)
    both, one = case.train(), case.train(n_batches=1)
    assert_array_equal(both[2], one[2])
    assert_array_equal(both[3], one[3])
    assert both[0][1] > 0  # the penalty


# -- the end before the end ------------------------------------------------------------------------------


def after(case, batches):
    """The case's parameters after so many batches."""
    plan = case.plan
    part = {"order": plan.order[: batches * plan.batch_size], "l2": plan.l2[:batches]}
    return case.train(**part, learning_rates=plan.learning_rates[:batches])[2]


@pytest.mark.parametrize("sizes", [[12, 10, 3], [64, 80, 66, 3]], ids=["by rows", "by panels"])
def test_stop_after_the_batch(any_work_is_shared, sizes):
    case = make(sizes, n=8 * 20000, batch_size=8, rate=1e-4)
    control = Control()

    def stop_soon():
        while control.batches_done < 50:
            pass
        control.request_stop()

    watcher = threading.Thread(target=stop_soon)
    watcher.start()
    losses, failed, params, _ = case.train(control=control)
    watcher.join()
    assert failed is None
    assert 50 <= len(losses) == control.batches_done < 20000
    assert_array_equal(params, after(case, len(losses)))


def test_stop_before_the_first_batch():
    case, control = make([12, 10, 3]), Control()
    control.request_stop()
    losses, _, params, _ = case.train(control=control)
    assert len(losses) == control.batches_done == 0
    assert_array_equal(params, case.params)


@pytest.mark.skipif(os.name == "nt", reason="signals work otherwise there")
def test_ctrl_c(any_work_is_shared):
    # the same rows a hundred times: many seconds of work, so that the signal comes in time on a busy machine, too
    case, control = make([64, 200, 160, 3], n=8 * 2000, batch_size=8, rate=1e-4), Control()
    plan = case.plan
    repeated = {name: np.tile(getattr(plan, name), 100) for name in ("order", "learning_rates", "l2")}
    case = replace(case, plan=replace(plan, **repeated))
    params, state = case.params.copy(), case.state.copy()

    def interrupt_soon():
        while control.batches_done < 50:
            time.sleep(0.001)
        os.kill(os.getpid(), signal.SIGINT)

    watcher = threading.Thread(target=interrupt_soon)
    watcher.start()
    with pytest.raises(KeyboardInterrupt):
        NUMBA.train_epoch(case.plan, case.X, case.target, None, params, state, control)
    watcher.join()
    assert 50 <= control.batches_done < 200_000
    assert_array_equal(params, after(case, control.batches_done))


@pytest.mark.parametrize("halt", [True, False])
@pytest.mark.parametrize("sizes", [[12, 10, 3], [64, 80, 66, 3]], ids=["by rows", "by panels"])
def test_failed_batch(sizes, halt):
    case = make(sizes, kind="identity+mse", n=80)
    case.X[case.plan.order[2 * 16 + 5]] = np.nan
    losses, failed, params, _ = case.train(halt=halt)
    assert failed == 2
    assert_array_equal(np.isfinite(losses), [True, True, False] if halt else [True, True, False, False, False])
    if halt:
        assert_array_equal(params, after(case, 2))
    else:
        assert np.isnan(params).any()
        assert_array_equal(np.isnan(params), np.isnan(case.train(NUMPY.train_epoch, halt=False)[2]))


@pytest.mark.parametrize("rule", [RULES[1], RULES[7]], ids=["momentum", "adam"])
@pytest.mark.parametrize("sizes", [[12, 10, 3], [64, 80, 66, 3]], ids=["by rows", "by panels"])
def test_state_below_the_normal_numbers_is_zero(any_work_is_shared, sizes, rule):
    """The first moment of a weight without gradient decreases by a constant factor until it is subnormal."""
    case = make(sizes, rule=rule, n=16 * 200, rate=1e-4)
    case.X[:, 5] = 0
    case.state[0, 5 * sizes[1] : 6 * sizes[1]] = 1e-30
    (_, _, params, state), (_, _, expected, of_loop) = case.train(dtype="float32"), case.train(numba_loop, "float32")
    normal = np.finfo(np.float32).smallest_normal
    assert ((of_loop[0] != 0) & (abs(of_loop[0]) < normal)).any()
    assert not ((state[0] != 0) & (abs(state[0]) < normal)).any()
    assert not state[0, 5 * sizes[1] : 6 * sizes[1]].any()
    assert_allclose(params, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("fails", [False, True])
def test_the_caller_keeps_its_subnormal_numbers(fails):
    case = make([12, 10, 3], kind="identity+mse")
    if fails:
        case.X[case.plan.order[20]] = np.nan

    def train_and_halve():
        case.train(dtype="float32")
        return np.float32(1e-38) * np.float32(0.5)

    with ThreadPoolExecutor(1) as caller:  # a thread other than the main one trains itself
        assert caller.submit(train_and_halve).result() > 0


def test_progress():
    case, control = make([12, 10, 3]), Control()
    case.train(control=control)
    assert control.batches_done == len(case.plan.batches)


# -- how a trainer runs a plan ---------------------------------------------------------------------------


def trainer_of(case, network=None):
    network = network or case.plan.network
    return NUMBA.trainer(network, case.plan.rule, case.X, case.target, None, case.params, case.state, 4096)


@pytest.mark.parametrize(("sizes", "expected"), [([12, 10, 3], 1), ([784, 128, 10], 3)])
def test_the_number_of_threads_is_told(sizes, expected):
    case = make(sizes, n=64, batch_size=64)
    try:
        threads.set_num_threads(3)
        method, reason = f"epoch kernel, {expected} thread{'s' * (expected > 1)}", ""
        assert trainer_of(case).execution(case.plan) == Execution(method, reason)
    finally:
        threads.set_num_threads(None)


def test_the_reason_for_the_loop_is_told(monkeypatch):
    case = make([12, 10, 3])
    network = case.plan.network
    twice = formulas.Activation("twice", lambda xp, z: 2 * z, lambda xp, dy, y: 2 * dy, custom=True)
    custom = replace(network, activations=(twice, network.activations[-1]))
    monkeypatch.setattr(trainer, "epoch_kernel", None)  # nothing is compiled
    for told, reason in (
        (trainer_of(case).execution(case.plan, on_batch=True), "callback runs after each batch"),
        (trainer_of(case, custom).execution(replace(case.plan, network=custom)), "user-defined"),
        (trainer_of(case).execution(replace(case.plan, rate_factors=((0, 5, 2.0),))), "different learning rates"),
    ):
        assert told.method == "step by step"
        assert reason in told.reason


# -- what is not for the kernel --------------------------------------------------------------------------


def test_the_loop_takes_over(caplog):
    case = make([12, 10, 3])
    custom = formulas.Activation("twice", lambda xp, z: 2 * z, lambda xp, dy, y: 2 * dy, custom=True)
    network = case.plan.network
    network = replace(network, activations=(custom, network.activations[-1]))
    with caplog.at_level(logging.INFO, "mlp"):
        found = case.train(network=network, first_step=0)
    assert "user-defined" in caplog.text
    assert_same(found, case.train(NUMPY.train_epoch, network=network, first_step=0), 1e-12)


def test_every_batch_is_reported():
    case, seen = make([12, 10, 3]), []
    losses = case.train(lambda *arguments: NUMBA.train_epoch(*arguments, lambda *batch: seen.append(batch)))[0]
    assert seen == list(enumerate(losses))


@pytest.mark.parametrize("wrong", ["X", "target", "weight", "class"])
def test_the_kernel_refuses_what_it_cannot_read(wrong):
    case = make([12, 10, 3], weighted=True)
    plan, arrays = case.plan, {"X": case.X, "target": case.target, "weight": case.weight}
    arrays[wrong] = case.target + 3 if wrong == "class" else arrays[wrong].astype("float16")
    if wrong == "class":
        arrays["target"] = arrays.pop("class")
    trainer_ = NUMBA.trainer(plan.network, plan.rule, *arrays.values(), case.params, case.state, 16)
    assert trainer_.execution(plan).method == "step by step"
    assert trainer_.execution(plan).reason


# -- the layout ------------------------------------------------------------------------------------------


def copy_back(panels, params, state):
    for flat, panel in panels.views(params, state):
        flat[...] = panel


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_panels_keep_everything(dtype):
    shapes = [[3, 2], [33, 17, 40, 9], [5, 64, 65, 1]]
    for sizes, slots, scaling_layer in itertools.product(shapes, [0, 2], [False, True]):
        case = make(sizes, scaling_layer=scaling_layer)
        params = case.params.astype(dtype)
        state = np.random.default_rng(1).random((slots, params.size)).astype(dtype)
        panels = Panels(case.plan.network, np.dtype(dtype), 16, 2, slots, False)
        for flat, panel in panels.views(params, state):
            panel[...] = flat
        copies = np.zeros_like(params), np.zeros_like(state)
        copy_back(panels, *copies)
        assert_array_equal(copies[0], params)
        assert_array_equal(copies[1], state)
        assert panels.space.ctypes.data % 16 == 0


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_padding_stays_zero(monkeypatch, rule):
    kept = []
    monkeypatch.setattr(trainer, "Panels", lambda *arguments: kept.append(Panels(*arguments)) or kept[-1])
    case = make(
        [20, 35, 5], rule=rule, l2=0.01, l1=0.01, weight_decay=0.1, clip_value=1.0, scaling_layer=True, factors=True
    )
    case.train()
    panels = kept[0]
    total = np.abs(panels.space[: (1 + len(case.state)) * panels.packed]).sum()
    params, state = np.zeros_like(case.params), np.zeros_like(case.state)
    copy_back(panels, params, state)
    assert_allclose(total, np.abs(params).sum() + np.abs(state).sum(), rtol=1e-12)
