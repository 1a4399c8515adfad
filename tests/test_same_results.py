"""Reproducibility: with one seed every backend gives the same results, for every plan and thread count."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import oracle
import pytest
import readable_loop
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import backends
import mlp
from backends import formulas, random
from backends.formulas import Rule
from backends.plan import Control, EpochPlan, Layout, NetworkPlan

ROOT = Path(__file__).resolve().parents[1]

HIDDEN = [name for name, row in formulas.ACTIVATIONS.items() if row.role == "any" and row.backward is not None]
PAIRS = [
    ("softmax", "cross_entropy"),
    ("sigmoid", "binary_cross_entropy"),
    ("exp", "poisson"),
    ("softplus", "poisson"),
    ("identity", "mse"),
    ("tanh", "mse"),
    ("softmax", "mse"),
    ("sigmoid", "quadratic"),
    ("identity", "mae"),
    ("gelu", "huber"),
]
RULES = [
    Rule("sgd", {}),
    Rule("momentum", {"momentum": 0.9}),
    Rule("momentum_rate_inside", {"momentum": 0.9}),
    Rule("nesterov", {"momentum": 0.9}),
    Rule("nesterov_rate_inside", {"momentum": 0.9}),
    Rule("adagrad", {"epsilon": 1e-10}),
    Rule("rmsprop", {"rho": 0.9, "epsilon": 1e-8}),
    Rule("adam", {"beta1": 0.9, "beta2": 0.99, "epsilon": 1e-8}),
    Rule("adam_epsilon_hat", {"beta1": 0.9, "beta2": 0.99, "epsilon": 1e-8}),
]


@dataclass(frozen=True, repr=False)
class Case:
    """The plan of an epoch, with its data on the host."""

    plan: EpochPlan
    X: np.ndarray
    target: np.ndarray
    weight: np.ndarray | None
    params: np.ndarray
    state: np.ndarray

    def __repr__(self):
        plan, network = self.plan, self.plan.network
        rows = [row.name for row in network.activations]
        numbers = {key: value for key, value in vars(plan).items() if not isinstance(value, (np.ndarray, NetworkPlan))}
        return f"{network.layout.sizes} {rows} {network.kind.name} {network.dropout}, {len(self.X)} rows, {numbers}"

    def run(self, xp, dtype="float64", train=None):
        """(losses, params, state) after the epoch on a backend; `train` replaces its `train_epoch`."""
        X = self.X if self.X.dtype == np.uint8 else self.X.astype(dtype)
        target = self.target if self.target.dtype.kind == "i" else self.target.astype(dtype)
        weight = None if self.weight is None else xp.asarray(self.weight.astype(dtype))
        params, state = (xp.asarray(a.astype(dtype)) for a in (self.params, self.state))
        train = train or (lambda *arguments: xp.train_epoch(*arguments))
        result = train(self.plan, xp.asarray(X), xp.asarray(target), weight, params, state)
        return result.losses, xp.to_numpy(params), xp.to_numpy(state)

    def run_naively(self):
        """(losses, params) after the epoch, computed by `oracle`."""
        plan, network = self.plan, self.plan.network
        views = network.layout.layers(self.params)
        naive = oracle.Net(
            [W for W, _ in views],
            [b for _, b in views],
            [row.name for row in network.activations],
            network.kind.loss.name,
            list(network.dropout),
            l2=float(plan.l2[0]),
            l1=plan.l1,
        )
        rule = oracle.Rule(plan.rule.name, **plan.rule.hyper)
        rule.step, rule.states = plan.first_step, self._optimizer_state()
        X = self.X * network.input_scale if self.X.dtype == np.uint8 else self.X
        batches = []
        for start in range(0, len(plan.order), plan.batch_size):
            rows = plan.order[start : start + plan.batch_size]
            batches.append((X[rows], self.target[rows], None if self.weight is None else self.weight[rows]))
        losses = naive.train(
            batches,
            rule,
            rates=plan.learning_rates,
            weight_decay=plan.weight_decay,
            clip_value=plan.clip_value,
            clip_norm=plan.clip_norm,
            seed=plan.seed,
            epoch=plan.epoch,
        )
        return np.array(losses), np.concatenate([p.ravel() for p in (*naive.weights, *naive.biases)])

    def _optimizer_state(self):
        """The optimizer state in the oracle's form: for each array "v" (velocity, mean) and "s" (squares)."""
        letters = {"velocity": "v", "mean": "v", "squares": "s", "variance": "s"}
        names = [letters[name] for name in self.plan.rule.row.state]
        slots = [self.plan.network.layout.layers(slot) for slot in self.state]
        states = [
            {name: np.array(layers[number][part]) for name, layers in zip(names, slots, strict=True)}
            for part in (0, 1)
            for number in range(self.plan.network.layout.n_layers)
        ]
        return states if names else None


rates = st.sampled_from([0.0, 0.0, 0.2, 0.5])


@st.composite
def cases(draw, max_batches=3, hidden_layers=(0, 2)):
    fewest, most = hidden_layers
    sizes = tuple(draw(st.lists(st.integers(1, 40), min_size=2 + fewest, max_size=2 + most)))
    output, loss = draw(st.sampled_from(PAIRS))
    hidden = [draw(st.sampled_from(HIDDEN)) for _ in sizes[1:-1]]
    batch, n_batches = draw(st.integers(1, 24)), draw(st.integers(1, max_batches))
    n = max(batch * n_batches - draw(st.integers(0, batch - 1)), 1)  # the last batch is ragged
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    layout = Layout(sizes)
    rule = draw(st.sampled_from(RULES))
    bytes_in = draw(st.booleans())
    plan = EpochPlan(
        network=NetworkPlan(
            layout,
            tuple(formulas.activation(name) for name in (*hidden, output)),
            formulas.pair(output, loss),
            tuple(draw(rates) for _ in sizes[:-1]),
            1 / 255,
        ),
        rule=rule,
        batch_size=batch,
        order=rng.permutation(n),
        learning_rates=rng.uniform(0.001, 0.05, n_batches),
        l2=np.full(n_batches, draw(st.sampled_from([0.0, 0.01]))),
        l1=draw(st.sampled_from([0.0, 0.001])),
        weight_decay=draw(st.sampled_from([0.0, 0.1])),
        clip_value=draw(st.sampled_from([None, 0.3])),
        # an unbounded activation may diverge within several steps; then no two computations agree
        clip_norm=draw(st.sampled_from([0.5, 5.0] if max_batches > 1 else [None, 0.5])),
        seed=draw(st.integers(0, 2**64 - 1)),
        epoch=draw(st.integers(0, 1000)),
        first_step=draw(st.integers(0, 1000)),
    )
    shape = (n, sizes[-1])
    if loss == "cross_entropy":
        target = rng.integers(0, sizes[-1], n) if draw(st.booleans()) else rng.dirichlet(np.ones(sizes[-1]), n)
    elif loss == "poisson":
        target = rng.poisson(1.5, shape).astype(float)
    else:
        target = rng.uniform(0, 1, shape)
    params = rng.normal(size=layout.n_parameters) / np.sqrt(max(sizes))
    signed = {"velocity": True, "mean": True, "squares": False, "variance": False}
    slots = [
        rng.normal(size=layout.n_parameters) / 50 if signed[name] else rng.uniform(0.1, 0.5, layout.n_parameters)
        for name in rule.row.state
    ]
    state = np.array(slots).reshape(len(slots), layout.n_parameters)
    X = rng.integers(0, 256, (n, sizes[0]), np.uint8) if bytes_in else rng.normal(size=(n, sizes[0]))
    return Case(plan, X, target, rng.integers(1, 4, n) / 2 if draw(st.booleans()) else None, params, state)


def assert_close(found, expected, tolerance):
    """Compare with a tolerance relative to the largest entry: cancellation affects single entries."""
    scale = max(1.0, np.abs(expected).max(initial=0))
    assert_allclose(found, expected, rtol=0, atol=tolerance * scale)


# -- one step, one epoch ------------------------------------------------------------------------------------


@settings(max_examples=150)
@given(case=cases(max_batches=1))
def test_one_step_of_any_plan_is_the_naive_one(xp, case):
    losses, params, state = case.run(xp)
    naive_losses, naive_params = case.run_naively()
    assert_close(losses, naive_losses, 1e-12)
    assert_close(params, naive_params, 1e-12)
    reference = case.run(backends.get_backend("numpy"))
    for actual, desired in zip((losses, params, state), reference, strict=True):
        assert_close(actual, desired, 1e-12)


@settings(max_examples=75)
@given(case=cases())
def test_one_epoch_of_any_plan_is_the_naive_one(xp, case):
    losses, params, _ = case.run(xp)
    naive_losses, naive_params = case.run_naively()
    assert_close(losses, naive_losses, 1e-12)
    assert_close(params, naive_params, 1e-12)


@settings(max_examples=75)
@given(case=cases())
def test_one_epoch_in_float32_is_near_the_naive_one(xp, case):
    losses, params, _ = case.run(xp, "float32")
    naive_losses, naive_params = case.run_naively()
    assert params.dtype == np.float32
    assert_close(losses, naive_losses, 1e-5)
    assert_close(params, naive_params, 1e-5)


@settings(max_examples=75)
@given(case=cases())
def test_an_epoch_is_what_the_readable_loop_makes_it(xp, case):
    """On the same backend, `train_epoch` must give the results of the loop over the backend's operations."""

    def by_loop(*arguments):
        return readable_loop.train_epoch(xp, *arguments)

    for dtype, tolerance in (("float64", 1e-12), ("float32", 1e-5)):
        for actual, desired in zip(case.run(xp, dtype), case.run(xp, dtype, by_loop), strict=True):
            assert_close(actual, desired, tolerance)


@pytest.mark.parametrize(
    ("sizes", "batch", "rule", "dropout"),
    [
        ((784, 30, 10), 16, "sgd", 0.0),
        ((784, 128, 10), 32, "momentum", 0.0),
        ((784, 128, 10), 33, "adam", 0.2),
        ((200, 512, 512, 10), 48, "sgd", 0.0),
        ((60, 700, 10), 1, "adagrad", 0.0),
        ((9, 33, 65, 129, 7), 300, "nesterov", 0.0),
        ((784, 10), 32, "sgd", 0.0),
    ],
    ids=str,
)
def test_an_epoch_of_a_network_of_the_usual_size(xp, sizes, batch, rule, dropout):
    rng = np.random.default_rng(6)
    layout, n = Layout(sizes), 2 * batch + max(batch // 3, 1)
    plan = EpochPlan(
        network=NetworkPlan(
            layout,
            tuple(formulas.activation(name) for name in (*["relu"] * (len(sizes) - 2), "softmax")),
            formulas.pair("softmax", "cross_entropy"),
            (dropout,) * (len(sizes) - 1),
            1 / 255,
        ),
        rule=next(row for row in RULES if row.name == rule),
        batch_size=batch,
        order=rng.permutation(n),
        learning_rates=np.full(3, 0.01),
        l2=np.full(3, 1e-3),
    )
    params = rng.normal(size=layout.n_parameters) / np.sqrt(max(sizes))
    state = np.full((len(plan.rule.row.state), layout.n_parameters), 0.1)
    X, target = rng.integers(0, 256, (n, sizes[0]), np.uint8), rng.integers(0, sizes[-1], n)
    case = Case(plan, X, target, None, params, state)
    naive_losses, naive_params = case.run_naively()
    for dtype, tolerance in (("float64", 1e-12), ("float32", 1e-5)):
        losses, params, _ = case.run(xp, dtype)
        assert_close(losses, naive_losses, tolerance)
        assert_close(params, naive_params, tolerance)


@settings(max_examples=25)
@given(case=cases())
def test_the_same_epoch_twice_is_the_same_to_the_bit(xp, case):
    for dtype in ("float32", "float64"):
        for first, second in zip(case.run(xp, dtype), case.run(xp, dtype), strict=True):
            assert_array_equal(first, second)


# -- two hundred steps ----------------------------------------------------------------------------------------

LONG = {
    "logistic regression by SGD": {"sizes": [6, 1], "loss": "binary_cross_entropy", "optimizer": mlp.SGD(0.5)},
    "linear regression by momentum": {"sizes": [6, 2], "loss": "mse", "optimizer": mlp.SGD(0.02, momentum=0.9)},
    "softmax regression by Adagrad": {"sizes": [6, 3], "optimizer": mlp.Adagrad(0.1)},
    "sigmoid network, Nielsen's cost": {
        "sizes": [6, 8, 3],
        "activation": "sigmoid",
        "output_activation": "sigmoid",
        "loss": "quadratic",
        "optimizer": mlp.SGD(1.0),
    },
    "tanh network, Nesterov and l2": {
        "sizes": [6, 8, 3],
        "activation": "tanh",
        "l2": 0.01,
        "optimizer": mlp.SGD(0.05, momentum=0.9, nesterov=True),
    },
    "deep tanh network, clipped": {
        "sizes": [6, 9, 8, 7, 3],
        "activation": "tanh",
        "optimizer": mlp.SGD(0.1, clip_norm=1.0, clip_value=0.5),
    },
    "GELU network by AdamW": {
        "sizes": [6, 16, 3],
        "activation": "gelu",
        "optimizer": mlp.AdamW(0.005, weight_decay=0.1),
    },
    "SiLU network by RMSprop": {"sizes": [6, 16, 3], "activation": "silu", "optimizer": mlp.RMSprop(0.002)},
    "ReLU network by Adam with dropout": {
        "sizes": [6, 16, 8, 3],
        "activation": "relu",
        "dropout": 0.3,
        "input_dropout": 0.1,
        "optimizer": mlp.Adam(0.005),
    },
    "softplus network of counts": {
        "sizes": [6, 8, 2],
        "activation": "softplus",
        "loss": "poisson",
        "optimizer": mlp.Adam(0.005, epsilon_hat=True),
    },
    "leaky network, l1, a cosine": {
        "sizes": [6, 12, 3],
        "activation": "leaky_relu",
        "l1": 0.001,
        "optimizer": mlp.SGD(mlp.schedules.Cosine(0.1, epochs=50, warmup=5), momentum=0.9, rate_inside=True),
    },
}
EPOCHS, ROWS, BATCH = 50, 78, 20  # four steps an epoch, the last one ragged


def long_data(sizes, loss="cross_entropy"):
    rng = np.random.default_rng(8)
    X = rng.normal(size=(ROWS, sizes[0]))
    signal = np.tanh(X @ rng.normal(size=(sizes[0], sizes[-1])))
    if loss == "cross_entropy":
        return X, signal.argmax(axis=1)
    if loss == "poisson":
        return X, rng.poisson(np.exp(signal)).astype(float)
    return X, signal if loss == "mse" else (signal > 0).astype(float)


@pytest.mark.parametrize("name", LONG)
def test_two_hundred_steps(backend, name):
    options = {key: value for key, value in LONG[name].items() if key != "optimizer"}
    optimizer = LONG[name]["optimizer"]
    X, y = long_data(options["sizes"], options.get("loss", "cross_entropy"))

    def train(where):
        net = mlp.MLP(**options, dtype="float64", seed=3, backend=where)
        start = net.weights, net.biases
        history = net.fit(X, y, epochs=EPOCHS, batch_size=BATCH, optimizer=optimizer)
        return net, start, history

    net, (weights, biases), history = train(backend)
    naive = oracle.Net(
        weights,
        biases,
        [row.name for row in net.plan.activations],
        net.kind.loss.name,
        list(net.plan.dropout),
        l2=net.l2,
        l1=net.l1,
    )
    rule, losses, target = oracle.Rule(optimizer.rule.name, **optimizer.rule.hyper), [], y
    for epoch in range(EPOCHS):
        order = random.permutation(3, epoch, ROWS)
        parts = [order[start : start + BATCH] for start in range(0, ROWS, BATCH)]
        found = naive.train(
            [(X[rows], target[rows], None) for rows in parts],
            rule,
            rates=optimizer.schedule.rates(epoch * len(parts), epoch, len(parts)),
            weight_decay=optimizer.weight_decay,
            clip_value=optimizer.clip_value,
            clip_norm=optimizer.clip_norm,
            seed=3,
            epoch=epoch,
        )
        losses.append(np.average(found, weights=[len(rows) for rows in parts]))
    assert_allclose(history.loss, losses, rtol=1e-10)
    for actual, desired in zip((*net.weights, *net.biases), (*naive.weights, *naive.biases), strict=True):
        assert_close(actual, desired, 1e-10)
    assert history.loss[-1] < history.loss[0]  # training reduces the loss
    reference, _, _ = train("numpy")
    for actual, desired in zip((*net.weights, *net.biases), (*reference.weights, *reference.biases), strict=True):
        assert_close(actual, desired, 1e-10)


def test_a_network_may_move_between_backends_in_mid_training(backend):
    X, y = long_data([6, 3])
    stays, moves = (mlp.MLP([6, 8, 3], dtype="float64", dropout=0.2, backend=name) for name in ("numpy", backend))
    for net in (stays, moves):
        net.fit(X, y, epochs=2, optimizer=mlp.Adam(0.01))
    moves.to("numpy")
    for net in (stays, moves):
        net.fit(X, y, epochs=4, resume=True)
    for actual, desired in zip(moves.weights, stays.weights, strict=True):
        assert_close(actual, desired, 1e-12)


# -- other guarantees of an epoch -------------------------------------------------------------------------------


def small_case(n=50, batch=8, **changes):
    rng = np.random.default_rng(1)
    layout = Layout((5, 6, 3))
    network = NetworkPlan(
        layout,
        (formulas.activation("relu"), formulas.activation("softmax")),
        formulas.pair("softmax", "cross_entropy"),
        (0.0, 0.0),
    )
    n_batches = -(-n // batch)
    plan = EpochPlan(network, RULES[1], batch, rng.permutation(n), np.full(n_batches, 0.1), np.zeros(n_batches))
    params = rng.normal(size=layout.n_parameters)
    state = np.zeros((1, layout.n_parameters))
    return Case(replace(plan, **changes), rng.normal(size=(n, 5)), rng.integers(0, 3, n), None, params, state)


def epoch(xp, case, control=None, on_batch=None):
    params, state = xp.asarray(case.params.copy()), xp.asarray(case.state.copy())
    weight = None if case.weight is None else xp.asarray(case.weight)
    result = xp.train_epoch(
        case.plan, xp.asarray(case.X), xp.asarray(case.target), weight, params, state, control, on_batch
    )
    return result, xp.to_numpy(params), xp.to_numpy(state)


def first_batches(case, count):
    return replace(case, plan=replace(case.plan, n_batches=count))


def test_the_hook_hears_of_each_batch_after_its_update(xp):
    case, heard, control = small_case(), [], Control()
    result, params, _ = epoch(xp, case, control, lambda batch, loss: heard.append((batch, loss)))
    assert heard == list(enumerate(result.losses))
    assert control.batches_done == len(case.plan.batches) == 7
    assert result.failed is None
    assert_close(params, epoch(xp, case)[1], 1e-13)


@pytest.mark.parametrize("after", [1, 4, 7])
def test_a_request_to_stop_is_heeded_after_the_batch_at_hand(xp, after):
    case, control = small_case(), Control()

    def stop(batch, loss):
        if batch == after - 1:
            control.request_stop()

    result, params, state = epoch(xp, case, control, stop)
    assert len(result.losses) == control.batches_done == after
    _, expected, memory = epoch(xp, first_batches(case, after))
    assert_close(params, expected, 1e-13)
    assert_close(state, memory, 1e-13)


def test_a_request_to_stop_before_the_first_batch(xp):
    case, control = small_case(), Control()
    control.request_stop()
    result, params, _ = epoch(xp, case, control)
    assert len(result.losses) == 0
    assert_array_equal(params, case.params)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_loss_that_is_not_finite_ends_the_epoch_before_its_update(xp, bad):
    case = small_case()
    case.X[case.plan.order[3 * 8 + 2], 1] = bad
    result, params, state = epoch(xp, case)
    assert result.failed == 3
    assert len(result.losses) == 4
    assert np.isfinite(result.losses[:3]).all()
    assert not np.isfinite(result.losses[3])
    _, expected, memory = epoch(xp, first_batches(case, 3))
    assert_close(params, expected, 1e-13)
    assert_close(state, memory, 1e-13)


def test_an_epoch_that_may_not_halt_goes_on_to_its_end(xp):
    case = small_case(halt=False)
    case.X[case.plan.order[3 * 8 + 2], 1] = np.nan
    control = Control()
    result, params, _ = epoch(xp, case, control)
    assert result.failed == 3
    assert len(result.losses) == control.batches_done == 7
    assert np.isnan(result.losses[3:]).all()
    assert np.isnan(params).any()


def test_inputs_of_an_epoch_are_not_written_to(xp):
    case = replace(small_case(), weight=np.linspace(0, 2, 50))
    kept = [a.copy() for a in (case.X, case.target, case.weight, case.plan.order)]
    epoch(xp, case)
    for array, original in zip((case.X, case.target, case.weight, case.plan.order), kept, strict=True):
        assert_array_equal(array, original)


def test_data_of_every_layout_trains_the_same(xp):
    case = replace(small_case(), weight=np.linspace(0.5, 2, 50))
    expected = epoch(xp, case)[1]
    wide = np.zeros((50, 11))
    wide[:, ::2][:, :5] = case.X
    spread = np.zeros(100, np.int64)
    spread[::2] = case.target
    for X in (np.asfortranarray(case.X), wide[:, ::2][:, :5]):
        other = replace(case, X=X, target=spread[::2], weight=np.repeat(case.weight, 2)[::2])
        if xp.device == "cpu":
            X.flags.writeable = False
        assert_close(epoch(xp, other)[1], expected, 1e-13)


@pytest.mark.parametrize("integer", ["int64", "int32", "uint8"])
def test_class_numbers_of_any_integer_type_train_the_same(xp, integer):
    case = small_case()
    expected = epoch(xp, case)[1]
    assert_close(epoch(xp, replace(case, target=case.target.astype(integer)))[1], expected, 1e-14)
    assert_close(epoch(xp, replace(case, target=np.eye(3)[case.target]))[1], expected, 1e-13)


# -- threads ------------------------------------------------------------------------------------------------------

HASH = """
import hashlib
import numpy as np
import mlp

rng = np.random.default_rng(0)
digest = hashlib.sha256()
for sizes, batch, n, options in (
    ([784, 30, 10], 16, 500, dict(dropout=0.2)),
    ([784, 128, 10], 32, 500, {}),
    ([784, 512, 512, 10], 256, 700, dict(l2=1e-4)),
    ([50, 300, 7], 33, 200, dict(activation="gelu", dtype="float64")),
):
    X, y = rng.integers(0, 256, (n, sizes[0]), np.uint8), rng.integers(0, sizes[-1], n)
    for optimizer in (mlp.SGD(0.05, momentum=0.9), mlp.Adam(0.001, clip_norm=1.0)):
        net = mlp.MLP(sizes, backend="numba", input_scale=1 / 255, **options)
        net.fit(X, y, epochs=2, batch_size=batch, optimizer=optimizer)
        digest.update(net.feedforward(X).tobytes())
        for array in (*net.weights, *net.biases):
            digest.update(np.ascontiguousarray(array).tobytes())
    x, W, b = (rng.normal(size=s).astype("float32") for s in ((300, 400), (400, 500), 500))
    digest.update(net.xp.dense(x, W, b, "tanh").tobytes())
    for slope in net.xp.dense_backward(rng.normal(size=(300, 500)).astype("float32"), x, x @ W, W, "tanh"):
        digest.update(slope.tobytes())
print(digest.hexdigest())
"""


def test_numba_gives_the_same_bits_with_any_number_of_threads():
    if "numba" not in backends.available():
        reason = backends.status()["numba"].reason if "numba" in backends.names() else "it is not there"
        pytest.skip(f"backend numba: {reason}")
    digests = set()
    for threads in ("1", "2", "3"):
        done = subprocess.run(
            [sys.executable, "-c", HASH],
            env={**os.environ, "PYTHONPATH": str(ROOT), "MLP_NUM_THREADS": threads},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        digests.add(done.stdout.strip())
    assert len(digests) == 1
