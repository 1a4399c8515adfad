"""The quantile loss: backends, gradients, files, traces, and quantiles whose shares are right."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.metrics import d2_pinball_score, mean_pinball_loss
from test_gpu_kernels import compiled, options

import backends
import mlp
from backends import formulas
from backends.cupy_backend.kernel_source import kernel_source
from backends.errors import ConfigurationError
from backends.plan import Control, EpochPlan, Layout, NetworkPlan

LEVELS = (0.05, 0.3, 0.5, 0.95)
RNG = np.random.default_rng(0)
X = RNG.uniform(-1, 1, (300, 2))
Y = X[:, 0] + RNG.exponential(size=300)
WEIGHT = RNG.uniform(0, 2, 300)


def kind_of(levels, output="identity", **options):
    kind = formulas.pair(output, "quantile")
    return replace(kind, loss=replace(kind.loss, levels=levels, **options))


def pinball(y, t, levels):
    """The loss of each entry, by cases."""
    level = np.broadcast_to(levels, y.shape)
    return np.where(t >= y, level * (t - y), (1 - level) * (y - t))


def make(levels=LEVELS, **settings):
    sizes = [2, 8, len(levels)]
    return mlp.MLP(sizes, "tanh", loss="quantile", quantile=levels, **{"dtype": "float64", "seed": 1} | settings)


# -- the operation ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("levels", [(0.9,), LEVELS], ids=["one level", "several"])
@pytest.mark.parametrize("output", ["identity", "softplus", "silu", "softmax"])
def test_loss_and_delta_are_those_of_the_definition(xp, dtype, output, levels):
    rng = np.random.default_rng(3)
    z, t = (rng.normal(size=(7, 4)).astype(dtype) for _ in range(2))
    weight = rng.uniform(0.5, 2, 7).astype(dtype)
    kind = kind_of(levels, output)
    loss, delta = xp.loss_and_delta(kind, *map(xp.asarray, (z, t, weight)))
    tolerance = 1e-12 if dtype == np.float64 else 1e-5
    wide = z.astype(float)
    e = np.exp(wide)
    y = {
        "identity": wide, "softplus": np.log1p(e), "silu": wide * e / (1 + e), "softmax": e / e.sum(1, keepdims=True)
    }[output]  # fmt: skip
    expected = np.average(pinball(y, t, levels).mean(axis=1), weights=weight)
    assert_allclose(float(loss), expected, rtol=tolerance)
    if dtype == np.float64:
        step = 1e-6
        for i, k in np.ndindex(z.shape):
            ends = []
            for sign in (1, -1):
                moved = z.copy()
                moved[i, k] += sign * step
                ends.append(float(xp.loss_and_delta(kind, *map(xp.asarray, (moved, t, weight)))[0]))
            assert xp.to_numpy(delta)[i, k] == pytest.approx((ends[0] - ends[1]) / (2 * step), abs=1e-7)


def test_at_the_target_the_derivative_is_zero_and_nan_stays_nan(xp, dtype):
    z, t = np.array([[1.0, np.nan, np.inf, -np.inf]], dtype), np.array([[1.0, 1, 1, 1]], dtype)
    loss, delta = xp.loss_and_delta(kind_of((0.25,)), xp.asarray(z), xp.asarray(t))
    assert np.isnan(float(loss))
    assert_array_equal(xp.to_numpy(delta), np.array([[0, np.nan, 0.75 / 4, -0.25 / 4]], dtype))


def test_levels_that_do_not_fit_are_errors(xp):
    z = xp.asarray(np.zeros((2, 3)))
    with pytest.raises(ConfigurationError, match="2 quantiles and 3 outputs"):
        xp.loss_and_delta(kind_of((0.1, 0.9)), z, z)
    kind = kind_of((0.1, 0.9))
    with pytest.raises(ConfigurationError, match="2 quantiles and 3 outputs"):
        NetworkPlan(Layout((1, 3)), (kind.output,), kind, (0.0,))
    for level in (0.0, 1.0, -1, np.nan):
        with pytest.raises(ConfigurationError, match="between 0 and 1"):
            kind_of((level,))


@pytest.mark.parametrize("levels", [(0.9,), (0.1, 0.5), LEVELS], ids=len)
@pytest.mark.parametrize("batch_size", [1, 7, 40])
def test_epochs_are_those_of_numpy(xp, levels, batch_size):
    rng = np.random.default_rng(2)
    layout, kind = Layout((3, 9, len(levels))), kind_of(tuple(levels))
    network = NetworkPlan(layout, (formulas.activation("tanh"), kind.output), kind, (0.0, 0.0))
    rule = formulas.Rule("momentum", {"momentum": 0.9})
    order, n_batches = rng.permutation(40), -(-40 // batch_size)
    plan = EpochPlan(network, rule, batch_size, order, np.full(n_batches, 0.02), np.zeros(n_batches), seed=5)
    rows, target = rng.normal(size=(40, 3)), rng.normal(size=(40, len(levels)))
    start = rng.normal(size=layout.n_parameters)

    def trained(backend):
        params, state = backend.asarray(start.copy()), backend.zeros((1, start.size), np.dtype(float))
        arrays = backend.asarray(rows), backend.asarray(target)
        trainer = backend.trainer(network, rule, *arrays, None, params, state, batch_size)
        (result,) = trainer.epochs([plan], Control())
        trainer.read_back()
        return result.losses, backend.to_numpy(params), trainer.execution(plan).method

    losses, params, method = trained(xp)
    expected_losses, expected, _ = trained(backends.get_backend("numpy"))
    assert_allclose(losses, expected_losses, rtol=1e-9)
    assert_allclose(params, expected, rtol=1e-8, atol=1e-10)
    if xp.name == "numba":
        assert method.startswith("epoch kernel")


@pytest.mark.parametrize("execution", ["graphs", "launches", "loop", "persistent"])
@pytest.mark.parametrize("levels", [(0.9,) * 3, (0.1, 0.5, 0.9)], ids=["same levels", "different levels"])
def test_kernels_for_gpus_train_like_numpy(stand_in_gpu, monkeypatch, execution, levels):
    monkeypatch.setattr(backends.get_backend("cupy"), "execution", execution)
    nets = [make(levels, **where) for where in ({"device": "cuda"}, {"backend": "numpy"})]
    for net in nets:
        net.fit(X, Y, epochs=2, batch_size=16, optimizer=mlp.SGD(0.05))
    assert_allclose(nets[0].history.loss, nets[1].history.loss, rtol=1e-11)
    assert_allclose(nets[0].weights[1], nets[1].weights[1], rtol=0, atol=1e-11)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_kernels_for_gpus_compile(dtype):
    source = kernel_source(options(kind=kind_of(LEVELS), width=4, dtype=dtype, X_dtype=dtype))
    assert "0.05, 0.3, 0.5, 0.95" in source
    compiled("sm_90", source)


# -- networks -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["unweighted", "weighted"])
def test_loss_and_score_are_those_of_scikit_learn(backend, weight):
    net = make(backend=backend)
    net.fit(X, Y, epochs=3)
    outputs = net.feedforward(X)
    loss, score = net.evaluate(X, Y, weight)
    each = list(zip(LEVELS, outputs.T, strict=True))
    expected = [mean_pinball_loss(Y, y, alpha=level, sample_weight=weight) for level, y in each]
    assert loss == pytest.approx(np.mean(expected), rel=1e-9)
    # scikit-learn takes the mean of two quantiles where the weights allow several: the loss of the constant is the same
    scores = [d2_pinball_score(Y, y, alpha=level, sample_weight=weight) for level, y in each]
    assert score == pytest.approx(np.mean(scores), rel=2e-4 if weight is not None else 1e-9)


def test_the_score_has_its_name(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("a,b,y\n" + "\n".join(f"{a},{b},{t}" for (a, b), t in zip(X, Y, strict=True)), encoding="utf-8")
    command = ["train", path, "--target", "y", "--loss", "quantile", "--epochs", "2", "--output-dir", tmp_path / "run"]
    result = subprocess.run(
        [sys.executable, "-m", "mlp", *map(str, command)], capture_output=True, text=True, check=True, timeout=120
    )
    assert re.search(r"test +D\^2 -?\d", result.stdout)
    names = {"quantile": "D^2", "mse": "R^2", "binary_cross_entropy": "accuracy"}
    assert {loss: mlp.MLP([2, 1], loss=loss).score_name for loss in names} == names


def test_one_target_is_that_of_all_levels(backend):
    rows = np.repeat(Y[:, np.newaxis], len(LEVELS), axis=1)
    nets = [make(backend=backend) for _ in range(3)]
    for net, target in zip(nets, (Y, Y[:, np.newaxis], rows), strict=True):
        net.fit(X, target, epochs=2)
        assert_array_equal(net.weights[0], nets[0].weights[0])
    other = make(backend=backend)
    other.fit(X, rows * [1, 2, 3, 4], epochs=2)  # a target for each level
    assert not (other.weights[0] == nets[0].weights[0]).any()


def test_one_level_for_several_targets():
    net = mlp.MLP([2, 2], loss="quantile", quantile=0.9, dtype="float64")
    targets = np.column_stack([Y, 2 * Y])
    expected = mean_pinball_loss(targets, net.predict(X), alpha=0.9)
    assert net.evaluate(X, targets)[0] == pytest.approx(expected, rel=1e-12)
    assert net.get_config()["quantile"] == [0.9]
    assert "loss quantile 0.9, predicts numbers" in str(net.summary())


def test_the_default_is_the_median():
    net = mlp.MLP([2, 1], loss="quantile", dtype="float64")
    assert net.evaluate(X, Y)[0] == pytest.approx(np.abs(net.predict(X) - Y).mean() / 2, rel=1e-12)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"loss": "mse", "quantile": 0.5}, "is for loss='quantile', not for 'mse'"),
        ({"loss": "quantile", "quantile": [0.1, 0.9]}, "2 quantiles and 1 outputs"),
        ({"loss": "quantile", "quantile": 1.0}, "levels lie between 0 and 1"),
        ({"loss": "quantile", "quantile": [float("nan")]}, "levels lie between 0 and 1"),
        ({"loss": "quantile", "quantile": "0.5"}, "must be a number between 0 and 1"),
        ({"loss": "quantile", "quantile": True}, "must be a number between 0 and 1"),
        ({"loss": "quantile", "quantile": []}, "must be a number between 0 and 1"),
        ({"loss": "quantile", "output_activation": "exp"}, "does not go with output 'exp'"),
    ],
)
def test_mistakes(settings, text):
    with pytest.raises(mlp.ConfigurationError, match=re.escape(text)):
        mlp.MLP([2, 1], **settings)


def test_the_gradient_check_passes_and_names_the_kink(backend):
    net = make(backend=backend)
    check = net.gradient_check(X[:20], Y[:20] + 20)
    assert check.passed, str(check)
    net.biases = [np.zeros(8), np.zeros(4)]
    net.weights = [np.ones((2, 8)), np.zeros((8, 4))]
    check = net.gradient_check(X[:5], np.zeros(5))  # all outputs are at the kink
    assert "crosses the kink of quantile" in str(check)


def test_a_trace_as_a_program_repeats_the_step(tmp_path):
    trace = make().trace(X[:4], Y[:4])
    assert "τ = (0.05, 0.3, 0.5, 0.95)" in str(trace)
    (tmp_path / "step.py").write_text(trace.to_numpy_program(), encoding="utf-8")
    subprocess.run([sys.executable, "step.py"], cwd=tmp_path, check=True, capture_output=True, timeout=120)


def test_files_keep_the_levels(tmp_path, backend):
    net = make(backend=backend, target_scaling=([1.0] * 4, [2.0] * 4))
    net.fit(X, Y, epochs=2)
    net.save(tmp_path / "net.safetensors")
    loaded = mlp.load(tmp_path / "net.safetensors", backend=backend)
    assert loaded.kind == net.kind
    assert_array_equal(loaded.predict(X), net.predict(X))
    assert b'\\"format_version\\": 3' in (tmp_path / "net.safetensors").read_bytes()
    mlp.MLP([2, 1], loss="mae").save(tmp_path / "old.safetensors")
    assert b"quantile" not in (tmp_path / "old.safetensors").read_bytes()


def test_exports_compute_the_quantiles(tmp_path):
    pytest.importorskip("onnxruntime")
    net = make()
    net.fit(X, Y, epochs=2)
    net.export(tmp_path / "net.py")  # these compare rows with the network before they write
    net.to_onnx(tmp_path / "net.onnx")
    assert_allclose(mlp.from_onnx(tmp_path / "net.onnx").predict(X), net.predict(X), rtol=1e-5, atol=1e-6)


def test_networks_that_train_together_have_the_same_levels(backend):
    nets = [make(backend=backend, seed=i) for i in range(2)]
    mlp.fit_many(nets, X, Y, epochs=2)
    alone = make(backend=backend, seed=1)
    alone.fit(X, Y, epochs=2)
    assert_array_equal(nets[1].weights[1], alone.weights[1])
    with pytest.raises(mlp.ConfigurationError, match=r"quantile 0.2 .*quantile 0.1 "):
        mlp.fit_many([make([0.1, 0.9]), make([0.2, 0.9])], X, Y)


def test_constants_that_are_learned_are_the_quantiles_of_the_data(backend):
    """A network without inputs that matter has nothing but its biases to minimize the loss."""
    target = np.random.default_rng(5).gumbel(size=2000)
    net = mlp.MLP([1, 3], loss="quantile", quantile=[0.1, 0.5, 0.9], backend=backend, dtype="float64", init="zeros")
    net.fit(np.zeros((2000, 1)), target, epochs=200, batch_size=2000, optimizer=mlp.SGD(1.0))
    net.fit(np.zeros((2000, 1)), target, epochs=60, batch_size=2000, optimizer=mlp.SGD(0.1))
    assert_allclose(net.biases[0], np.quantile(target, [0.1, 0.5, 0.9]), atol=0.03)
