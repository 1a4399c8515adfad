"""The gradient check: it accepts correct gradients, finds wrong ones, and reports undecidable ones."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

import mlp
from backends import formulas
from backends.numpy_backend import NumpyBackend
from mlp.cli import cli

HIDDEN = [name for name, row in formulas.ACTIVATIONS.items() if row.role == "any" and row.backward is not None]


def problem(activation="tanh", output="auto", loss="cross_entropy", sizes=(3, 5, 4, 2), seed=0, **settings):
    rng = np.random.default_rng(seed)
    net = mlp.MLP(sizes, activation, output, loss, seed=seed, **{"dtype": "float64", "backend": "numpy"} | settings)
    net.biases = [0.3 * rng.normal(size=b.shape) for b in net.biases]
    X, shape = rng.normal(size=(6, sizes[0])), (6, sizes[-1])
    y = {
        "cross_entropy": np.arange(6) % sizes[-1],
        "binary_cross_entropy": rng.integers(2, size=shape),
        "poisson": rng.poisson(2, size=shape),
    }
    return net, X, y.get(loss, rng.normal(size=shape))


# -- correct gradients ------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("activation", HIDDEN)
def test_every_activation_passes_on_every_backend(backend, activation, dtype):
    net, X, y = problem(activation, backend=backend, dtype=dtype, l2=0.1, l1=0.01)
    check = net.gradient_check(X, y, sample_weight=[1, 0, 2, 1, 0.5, 1])
    assert check.passed, str(check)
    assert check.error < 1e-6
    assert check.verdict.startswith("passed: 54 derivatives agree")
    assert any("float64" in note for note in check.notes) == (dtype == "float32")


@given(
    st.sampled_from(HIDDEN),
    st.sampled_from(list(formulas.LOSSES)),
    st.integers(0, 10_000),
    st.sampled_from([1, 30, 1000]),
)
def test_any_network_passes(activation, loss, seed, scale):
    net, X, y = problem(activation, "auto", loss, seed=seed)
    check = net.gradient_check(X * min(scale, 30 if loss == "poisson" else scale) ** 0.5, y)
    assert not check.offenders, str(check)


def test_the_network_is_left_as_it_was(backend):
    net, X, y = problem(backend=backend, dtype="float32", dropout=0.5)
    before = [W.copy() for W in net.weights]
    check = net.gradient_check(X, y)
    assert check.passed
    assert "dropout was off" in check.notes
    assert all((w == W).all() and W.dtype == np.float32 for W, w in zip(net.weights, before, strict=True))
    assert net.history is None


def test_slopes_that_all_but_vanish_are_no_mistakes():
    net, X, y = problem("sigmoid")
    net.weights = [W * 40 for W in net.weights]
    assert net.gradient_check(X, y).passed


# -- wrong gradients --------------------------------------------------------------------------------------


class WrongSign(NumpyBackend):
    """db of the first layer is negated."""

    def dense_backward(self, dy, x, saved, W, activation="identity", **out):
        dx, dW, db = super().dense_backward(dy, x, saved, W, activation, **out)
        if dx is None:
            db *= -1
        return dx, dW, db


class TransposedProduct(NumpyBackend):
    """dx is dz W instead of dz W^T, which raises no error for square weights."""

    def dense_backward(self, dy, x, saved, W, activation="identity", **out):
        dx, dW, db = super().dense_backward(dy, x, saved, W, activation, **out)
        if dx is not None and W.shape[0] == W.shape[1]:
            dx[...] = self.activate_backward(dy, saved, activation) @ W
        return dx, dW, db


class MissingMean(NumpyBackend):
    """The gradient of the loss is that of the sum over the rows, not of the mean."""

    def loss_and_delta(self, kind, z, target, weight=None, batch_weight=None):
        loss, delta = super().loss_and_delta(kind, z, target, weight, batch_weight)
        return loss, delta * z.shape[0]


class WrongDerivative(NumpyBackend):
    """The derivative of tanh is computed as 1 - |y|."""

    def activate_backward(self, dy, saved, activation, out=None):
        row = formulas.activation(activation)
        if row.name != "tanh":
            return super().activate_backward(dy, saved, row, out)
        return dy * (1 - abs(saved))


class MissingPenaltyGradient(NumpyBackend):
    """The loss includes the penalty, but its gradient is missing."""

    def add_penalty(self, weights, gradient, *, l2=0.0, l1=0.0):
        return super().add_penalty(weights, gradient.copy(), l2=l2, l1=l1)


@pytest.mark.parametrize(
    ("fault", "guilty"),
    [
        (WrongSign, {"1 b"}),
        (TransposedProduct, {"1 W", "1 b"}),
        (MissingMean, {"1 W", "1 b", "2 W", "2 b", "3 W", "3 b"}),
        (WrongDerivative, {"1 W", "1 b", "2 W", "2 b"}),
        (MissingPenaltyGradient, {"1 W", "2 W", "3 W"}),
    ],
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_planted_mistake_is_found_and_placed(fault, guilty, dtype):
    net, X, y = problem(sizes=(3, 4, 4, 2), l2=0.1, dtype=dtype)
    assert net.gradient_check(X, y).passed
    net.xp = fault()
    check = net.gradient_check(X, y)
    assert not check.passed
    assert check.verdict.startswith("failed: ")
    assert {f"{part.layer} {part.name}" for part in check.parts if part.wrong} == guilty
    assert not check.unreliable
    worst = check.offenders[0]
    assert worst.error == max(part.error for part in check.parts) > 0.01
    assert f"layer {worst.layer}, {worst.parameter}: back-propagation" in str(check)
    assert len(check.offenders) <= 10


@pytest.mark.parametrize("activation", HIDDEN)
def test_a_mistake_is_found_below_every_activation(activation):
    net, X, y = problem(activation, sizes=(3, 4, 4, 2))
    net.xp = WrongSign()
    check = net.gradient_check(X, y)
    assert {(c.layer, c.parameter) for c in check.offenders} == {(1, f"b[{i}]") for i in range(4)}


def test_offenders_tell_both_slopes():
    net = mlp.MLP([2, 1], loss="quadratic", init="zeros", backend="numpy", dtype="float64")
    net.xp = WrongSign()
    (offender,) = net.gradient_check([[3.0, 4.0]], [2.0]).offenders
    assert (offender.layer, offender.parameter) == (1, "b[0]")
    assert (offender.backward, round(offender.numeric, 8), round(offender.error, 8)) == (2.0, -2.0, 2.0)


# -- undecidable gradients --------------------------------------------------------------------------------


@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "selu"])
def test_at_a_kink_no_verdict_is_given_and_the_unit_is_named(activation):
    net, X, y = problem(activation, sizes=(3, 4, 2))
    net.biases = [[1.0, 0.0, -1.0, 2.0], [0.0, 0.0]]
    X[2] = 0  # z of the second unit is exactly 0
    check = net.gradient_check(X, y)
    assert check.passed
    (at_kink,) = check.unreliable
    assert (at_kink.layer, at_kink.parameter) == (1, "b[1]")
    assert f"row 2 crosses the kink of {activation} in layer 1, unit 1" in str(check)
    assert "1 more cannot be judged" in check.verdict


def test_a_kink_within_epsilon_is_told_from_a_mistake():
    net, X, y = problem("relu", sizes=(3, 20, 2))
    check = net.gradient_check(X, y, epsilon=0.05, tolerance=1e-3)
    assert not check.offenders
    assert any("kink of relu" in entry.unreliable for entry in check.unreliable)
    net.xp = WrongSign()
    assert net.gradient_check(X, y, epsilon=0.05, tolerance=1e-3).offenders


@pytest.mark.parametrize(("loss", "distance"), [("mae", 2e-4), ("huber", 1.0)])
def test_the_kink_of_a_loss(loss, distance):
    net = mlp.MLP([2, 1], loss=loss, init="zeros", backend="numpy")
    check = net.gradient_check([[1.0, 2.0], [0.3, 0.4]], [distance, 3.0], epsilon=1e-3, tolerance=1e-5)
    assert not check.offenders
    assert any(f"row 0 crosses the kink of {loss} in output 0" in entry.unreliable for entry in check.unreliable)


def test_the_kink_of_the_l1_penalty():
    net = mlp.MLP([1, 1], loss="mse", init="zeros", l1=0.1)
    check = net.gradient_check([[1.0]], [2.0])
    assert check.passed  # sign(0) is 0, and so are central differences at 0
    net.weights = [[[4e-6]]]
    check = net.gradient_check([[1.0]], [2.0])
    assert "l1 penalty has its kink at 0" in check.unreliable[0].unreliable


def test_where_nothing_can_be_judged_the_check_does_not_pass():
    net = mlp.MLP([1, 1], loss="mae", init="zeros")
    check = net.gradient_check([[1.0]], [5e-9])
    assert check.verdict == "inconclusive: none of 2 derivatives can be judged"
    assert not check.passed
    assert not check.offenders


def test_a_step_has_no_slope_to_check():
    with pytest.raises(mlp.NotDifferentiableError, match="'step' cannot be used for training"):
        mlp.MLP([2, 2, 1], "step", loss="mse").gradient_check([[0.0, 1.0]], [1.0])


# -- subsets of the parameters ----------------------------------------------------------------------------


def test_of_a_large_network_a_part_is_checked():
    net = mlp.MLP([784, 512, 512, 10], backend="numpy")
    X, y = np.random.default_rng(0).uniform(size=(4, 784)), np.arange(4)
    check = net.gradient_check(X, y, parameters=40)
    assert check.passed, str(check)
    counts = [part.checked for part in check.parts]
    assert sum(counts) == 40
    assert min(counts) >= 6
    assert any("40 of 669,706 parameters were checked, drawn with seed 0" in note for note in check.notes)
    assert [part.size for part in check.parts] == [784 * 512, 512, 512 * 512, 512, 5120, 10]
    assert check == net.gradient_check(X, y, parameters=40)
    assert [part.checked for part in net.gradient_check(X, y, parameters=1).parts] == [1] * 6


def test_all_of_them():
    net, X, y = problem(sizes=(30, 40, 2))
    assert sum(part.checked for part in net.gradient_check(X, y).parts) == 1000
    assert sum(part.checked for part in net.gradient_check(X, y, parameters="all").parts) == 1322


def test_bad_input_is_an_error_that_helps():
    net, X, y = problem()
    with pytest.raises(mlp.ShapeError, match="its 2 columns must equal the network's 3 inputs"):
        net.gradient_check(X[:, :2], y)
    with pytest.raises(mlp.DtypeError, match="y is None"):
        net.gradient_check(X, None)
    with pytest.raises(mlp.ConfigurationError, match="epsilon must be a positive number"):
        net.gradient_check(X, y, epsilon=0)
    with pytest.raises(mlp.ConfigurationError, match="any derivative would pass"):
        net.gradient_check(X, y, epsilon=1e-300)
    with pytest.raises(mlp.ConfigurationError, match="more digits than differences in float64 have"):
        net.gradient_check(X, y, tolerance=1e-200)
    with pytest.raises(mlp.ConfigurationError, match="tolerance must be a positive number"):
        net.gradient_check(X, y, tolerance=-1)
    for wrong in (0, 2.5, "some", None):
        with pytest.raises(mlp.ConfigurationError, match=r"parameters \(or 'all'\) must be a positive integer"):
            net.gradient_check(X, y, parameters=wrong)


# -- the command ------------------------------------------------------------------------------------------


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def run(*arguments, status=0):
        result = CliRunner().invoke(cli, ["gradcheck", *map(str, arguments)], prog_name="mlp")
        assert result.exit_code == status, (result.output, result.exception)
        return result

    return run


def test_a_fresh_network_on_the_command_line(run):
    output = run("--sizes", "4,5,3", "--activation", "relu", "--loss", "cross_entropy").stdout
    assert "passed: 43 derivatives agree" in output
    document = json.loads(run("--sizes", "4,5,3", "--json").stdout)
    assert document["passed"]
    assert [part["checked"] for part in document["parts"]] == [20, 5, 15, 3]


def test_a_saved_model_on_its_data(run):
    mlp.MLP([64, 5, 10], seed=1, input_scale=1 / 16).save("digits.safetensors")
    document = json.loads(run("digits.safetensors", "digits", "--parameters", 30, "--json").stdout)
    assert document["passed"]
    assert sum(part["checked"] for part in document["parts"]) == 30


def test_the_exit_status_tells_of_failure(run):
    output = run("--sizes", "4,5,3", "--loss", "mae", "--epsilon", "3", status=1).stdout
    assert "inconclusive" in output or "failed" in output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "--sizes"),
        (("model.safetensors",), "MODEL needs DATA: name the data set or file to take rows from."),
        (("--sizes", "2,2", "--parameters", "few"), "'few' must be a positive whole number, or all."),
        (("--sizes", "2,2", "--parameters", "0"), "'0' must be a positive whole number, or all."),
        (("model.safetensors", "digits", "--loss", "mse"), "remove --loss"),
    ],
)
def test_wrong_usage(run, arguments, message):
    assert message in run(*arguments, status=2).output
