"""The scaling layer, factors of the learning rate and label smoothing: training against the definition, and files."""

import json
import subprocess
import sys

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import mlp
from mlp import optimizers, training
from mlp.persistence import load_training_state, save_training_state

SIZES = (3, 5, 4, 2)
N, BATCH, STEPS = 8, 4, 10
RNG = np.random.default_rng(5)
X = RNG.normal(size=(N, 3))
Y = np.array([0, 1, 1, 0, 1, 0, 0, 1])
SMOOTHING = 0.1
EPSILON = 1e-30  # the two parametrizations divide by another number only where epsilon counts


def factors(sizes=SIZES):
    return tuple(1 / np.sqrt(n) for n in sizes[:-1])


def optimizer(rate=0.04, epochs=STEPS * BATCH // N, **changes):
    settings = {"weight_rate_factor": factors(), "bias_rate_factor": 0.1, "scaling_rate_factor": 6.0}
    schedule = mlp.schedules.CosLog4(rate, epochs=epochs)
    return mlp.Adam(schedule, beta2=0.95, epsilon=EPSILON, **settings | changes)


def network(backend="numpy", **settings):
    settings = {"init": ["neural_tangent"] * 2 + ["zeros"], "dtype": "float64", "scaling_layer": True} | settings
    return mlp.MLP(SIZES, "selu", seed=3, backend=backend, **settings)


def trained(backend="numpy", epochs=3, **settings):
    net = network(backend, **settings)
    net.fit(X, Y, epochs=epochs, batch_size=3, optimizer=optimizer(), label_smoothing=SMOOTHING)
    return net


# -- the definition --------------------------------------------------------------------------------


def selu(z):
    scale, alpha = 1.0507009873554805, 1.6732632423543772
    return scale * np.where(z > 0, z, alpha * np.expm1(z)), scale * np.where(z > 0, 1, alpha * np.exp(z))


def ten_steps(net):
    """RealMLP's definition, in float64: x * s, then x W / sqrt(n_in) + b with W ~ N(0, 1), by Adam with several
    rates."""
    weights = [W * np.sqrt(len(W)) for W in net.weights]
    params = [net.scaling.copy(), *weights, *(b.copy() for b in net.biases)]
    rates = [6.0, *[1.0] * 3, *[0.1] * 3]
    moments = [[np.zeros_like(p), np.zeros_like(p)] for p in params]
    targets = np.eye(2)[Y] * (1 - SMOOTHING) + SMOOTHING / 2
    for step in range(STEPS):
        rows = slice(BATCH * (step % 2), BATCH * (step % 2) + BATCH)
        s, W, b = params[0], params[1:4], params[4:]
        inputs, slopes = [X[rows] * s], []
        for l in range(3):
            z = inputs[-1] @ W[l] / np.sqrt(len(W[l])) + b[l]
            y, slope = selu(z)
            inputs.append(y)
            slopes.append(slope)
        e = np.exp(z - z.max(axis=1, keepdims=True))
        delta = (e / e.sum(axis=1, keepdims=True) - targets[rows]) / BATCH
        gradients = [None] * 7
        for l in (2, 1, 0):
            gradients[1 + l] = inputs[l].T @ delta / np.sqrt(len(W[l]))
            gradients[4 + l] = delta.sum(axis=0)
            delta = delta @ W[l].T / np.sqrt(len(W[l]))
            delta = delta * slopes[l - 1] if l else delta
        gradients[0] = (delta * X[rows]).sum(axis=0)
        rate = 0.04 * (1 - np.cos(2 * np.pi * np.log2(1 + 15 * step / STEPS))) / 2
        for p, g, m, factor in zip(params, gradients, moments, rates, strict=True):
            m[0] = 0.9 * m[0] + 0.1 * g
            m[1] = 0.95 * m[1] + 0.05 * g**2
            p -= factor * rate * (m[0] / (1 - 0.9 ** (step + 1))) / (np.sqrt(m[1] / (1 - 0.95 ** (step + 1))) + EPSILON)
    return params[0], [W / np.sqrt(len(W)) for W in params[1:4]], params[4:]


def test_ten_steps_are_those_of_the_definition(backend):
    net = network(backend)
    scaling, weights, biases = ten_steps(net)
    net.fit(
        X, Y, epochs=STEPS * BATCH // N, batch_size=BATCH, optimizer=optimizer(), shuffle=False,
        label_smoothing=SMOOTHING,
    )  # fmt: skip
    assert np.abs(scaling - 1).min() > 1e-3  # it has been trained
    assert_allclose(net.scaling, scaling, rtol=1e-10)
    for ours, expected in zip([*net.weights, *net.biases], [*weights, *biases], strict=True):
        assert_allclose(ours, expected, rtol=1e-9, atol=1e-11)


def test_initial_weights_of_the_neural_tangent_parametrization():
    net = mlp.MLP([400, 300, 2], init="neural_tangent", scaling_layer=True)
    assert_allclose(net.weights[0].std() * 20, 1, rtol=0.02)
    assert_allclose(net.biases[0].std(), 1, rtol=0.1)
    assert_array_equal(net.scaling, 1)


# -- factors of the learning rate --------------------------------------------------------------------------------


def test_a_factor_multiplies_the_step_of_its_part(backend):
    steps = {}
    for factor in (1.0, 0.25):
        net = network(backend)
        before = net.scaling, net.weights, net.biases
        rule = mlp.SGD(0.1, weight_rate_factor=(1.0, factor, 1.0), bias_rate_factor=factor, scaling_rate_factor=factor)
        net.weights = [W + 0.1 for W in net.weights]
        before = net.scaling, net.weights, net.biases
        net.fit(X, Y, epochs=1, batch_size=N, optimizer=rule)
        flat = [[net.scaling - before[0]]]
        flat += [
            [a - b for a, b in zip(getattr(net, n), old, strict=True)]
            for n, old in zip(("weights", "biases"), before[1:], strict=True)
        ]
        steps[factor] = flat
    (s1,), w1, b1 = steps[1.0]
    (s2,), w2, b2 = steps[0.25]
    assert_allclose(s2, 0.25 * s1, rtol=1e-9)
    for l, factor in enumerate((1, 0.25, 1)):
        assert_allclose(w2[l], factor * w1[l], rtol=1e-9, atol=1e-15)
        assert_allclose(b2[l], 0.25 * b1[l], rtol=1e-9, atol=1e-15)


def test_a_factor_of_zero_keeps_the_parameters(backend):
    net = network(backend)
    before = net.scaling, net.biases
    net.fit(X, Y, epochs=3, optimizer=mlp.Adam(0.1, bias_rate_factor=0.0, scaling_rate_factor=0))
    assert_array_equal(net.scaling, before[0])
    for b, b_before in zip(net.biases, before[1], strict=True):
        assert_array_equal(b, b_before)


def test_estimators_use_the_factors():
    frozen = mlp.MLPClassifier(4, solver=mlp.Adam(0.1, weight_rate_factor=0.0), max_iter=3, random_state=0)
    again = mlp.MLPClassifier(4, solver=mlp.Adam(0.2, weight_rate_factor=0.0), max_iter=3, random_state=0)
    with pytest.warns(match="Maximum iterations"):
        frozen.fit(X, Y)
    with pytest.warns(match="Maximum iterations"):
        again.fit(X, Y)
    assert_array_equal(frozen.coefs_[0], again.coefs_[0])
    assert (frozen.intercepts_[0] != again.intercepts_[0]).any()


def test_factors_are_saved_and_only_where_they_are_not_one():
    assert set(mlp.Adam().to_dict()) == {
        "name", "learning_rate", "weight_decay", "clip_norm", "clip_value", "beta1", "beta2", "epsilon", "epsilon_hat",
    }  # fmt: skip
    rule = mlp.Adam(weight_rate_factor=np.array([0.5, 1]), bias_rate_factor=np.float64(0.1), scaling_rate_factor=6)
    assert optimizers.from_dict(json.loads(json.dumps(rule.to_dict()))) == rule


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"weight_rate_factor": -1}, "weight_rate_factor"),
        ({"bias_rate_factor": (1.0, float("nan"))}, "bias_rate_factor"),
        ({"scaling_rate_factor": "6"}, "scaling_rate_factor"),
    ],
)
def test_factors_must_be_numbers(settings, message):
    with pytest.raises(mlp.ConfigurationError, match=message):
        mlp.Adam(**settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"weight_rate_factor": (1.0, 2.0)}, "weight_rate_factor"),
        ({"bias_rate_factor": (1.0,)}, "bias_rate_factor"),
        ({"scaling_rate_factor": 6.0}, "scaling_layer=True"),
    ],
)
def test_factors_must_fit_the_network(settings, message):
    net = network(scaling_layer=False)
    before = net.weights
    with pytest.raises(mlp.ConfigurationError, match=message):
        net.fit(X, Y, epochs=1, optimizer=mlp.Adam(**settings))
    with pytest.raises(mlp.ConfigurationError, match=message):
        mlp.fit_many([net], X, Y, epochs=1, optimizer=mlp.Adam(**settings))
    assert net.history is None
    assert_array_equal(net.weights[0], before[0])


# -- label smoothing --------------------------------------------------------------------------------


def test_smoothed_labels_are_probabilities_given_as_targets(backend):
    smooth = np.eye(2)[Y] * (1 - SMOOTHING) + SMOOTHING / 2
    by_labels, by_targets = network(backend), network(backend)
    first = by_labels.fit(
        X, Y, epochs=3, batch_size=3, optimizer="sgd", label_smoothing=SMOOTHING, validation_data=(X, Y)
    )
    second = by_targets.fit(X, smooth, epochs=3, batch_size=3, optimizer="sgd", validation_data=(X, Y))
    assert_allclose(first.loss, second.loss, rtol=1e-12)
    assert_allclose(first.val_loss, second.val_loss, rtol=1e-12)  # that of the labels as they are
    assert_allclose(by_labels.weights[0], by_targets.weights[0], rtol=1e-10)


@pytest.mark.parametrize("value", [-0.1, 1.0, "much"])
def test_label_smoothing_is_a_fraction(value):
    with pytest.raises(mlp.ConfigurationError, match="label_smoothing"):
        network().fit(X, Y, epochs=1, label_smoothing=value)


def test_numbers_cannot_be_smoothed():
    net = mlp.MLP([3, 1], loss="mse")
    with pytest.raises(mlp.ConfigurationError, match=r"label_smoothing=0\.1 is for targets that are probabilities"):
        net.fit(X, Y, epochs=1, label_smoothing=0.1)


# -- files --------------------------------------------------------------------------------


def test_a_saved_network_has_its_factors(tmp_path, backend):
    net = trained(backend)
    net.save(tmp_path / "net.safetensors")
    again = mlp.load(tmp_path / "net.safetensors", backend=backend)
    assert_array_equal(again.scaling, net.scaling)
    assert_array_equal(again.feedforward(X), net.feedforward(X))
    assert again.get_config() == net.get_config()
    assert again.get_config()["scaling_layer"] is True


def test_a_network_without_the_layer_is_saved_as_version_0_2_0_reads_it(tmp_path):
    from mlp.io import model_format

    network(scaling_layer=False).save(tmp_path / "net.safetensors")
    with model_format.opened(tmp_path / "net.safetensors") as file:
        assert "scaling_layer" not in json.loads(file.text)["config"]
        assert file.description["format_version"] == 1


def test_a_resumed_training_continues_exactly(tmp_path, backend):
    whole = trained(backend, epochs=5)
    half = trained(backend, epochs=2)
    save_training_state(half, tmp_path / "half.safetensors")
    resumed = network(backend)
    load_training_state(resumed, tmp_path / "half.safetensors")
    resumed.fit(X, Y, epochs=5, batch_size=3, resume=True)  # with the smoothing and the factors that it had
    assert_array_equal(resumed.scaling, whole.scaling)
    assert_array_equal(resumed.feedforward(X), whole.feedforward(X))


def test_the_layer_can_be_folded_into_the_first_weights():
    net = trained()
    folded = net.without_scaling_layer()
    assert folded.scaling is None
    assert folded.training_state is None
    assert folded.plan.layout.n_parameters == net.plan.layout.n_parameters - 3
    assert_allclose(folded.weights[0], net.scaling[:, None] * net.weights[0], rtol=1e-15)
    assert_allclose(folded.feedforward(X), net.feedforward(X), rtol=1e-12)
    plain = network(scaling_layer=False)
    assert plain.scaling is None
    assert_array_equal(plain.without_scaling_layer().feedforward(X), plain.feedforward(X))


def test_exports_have_the_layer_in_their_weights(tmp_path):
    net = trained(dtype="float32")
    net.to_onnx(tmp_path / "net.onnx")
    assert_allclose(mlp.from_onnx(tmp_path / "net.onnx").predict_proba(X), net.predict_proba(X), atol=1e-6)
    net.export(tmp_path / "net.py")
    program = "import numpy as np, sys; import net; print(net.predict_proba(np.load('X.npy')).tolist())"
    np.save(tmp_path / "X.npy", X)
    printed = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True
    ).stdout
    assert_allclose(json.loads(printed), net.predict_proba(X), atol=1e-6)
    for suffix in ("c", "js"):  # they compare themselves with the network, where there is a compiler
        net.export(tmp_path / f"net.{suffix}")


def test_a_pytorch_module_has_the_layer_in_its_weights():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")
    net = trained()
    assert_allclose(net.to_torch()(torch.tensor(X)).detach().numpy(), net.predict_proba(X), rtol=1e-9)


# -- the attribute, and what does not know the layer -------------------------------------------------------------------


def test_factors_can_be_assigned(backend):
    net = network(backend)
    net.scaling = [1.0, 2.0, -0.5]
    assert_array_equal(net.scaling, [1, 2, -0.5])
    plain = network(backend, scaling_layer=False)
    assert_allclose(net.feedforward(X), plain.feedforward(X * [1, 2, -0.5]), rtol=1e-12)
    with pytest.raises(ValueError, match="read-only"):
        net.scaling[0] = 1
    with pytest.raises(mlp.ShapeError, match=r"\(3,\)"):
        net.scaling = [1.0]
    with pytest.raises(mlp.DataError, match="finite"):
        net.scaling = [1.0, np.nan, 1.0]
    with pytest.raises(mlp.ConfigurationError, match="scaling_layer=True"):
        plain.scaling = [1.0, 1.0, 1.0]


def test_the_summary_counts_the_factors():
    assert "57 parameters of float64, 456 bytes, 3 of them in a scaling layer" in network().summary().totals[0]


@pytest.mark.parametrize("method", ["trace", "gradient_check"])
def test_what_does_not_know_the_layer_says_so(method):
    with pytest.raises(mlp.ConfigurationError, match="without_scaling_layer"):
        getattr(network(), method)(X, Y)


def test_a_trace_does_not_know_factors_of_the_rate():
    with pytest.raises(mlp.ConfigurationError, match="factors of the learning rate"):
        network(scaling_layer=False).trace(X, Y, optimizer=mlp.Adam(bias_rate_factor=0.1))


@pytest.mark.parametrize("choice", [1, "yes", None])
def test_the_layer_is_there_or_not(choice):
    with pytest.raises(mlp.ConfigurationError, match="scaling_layer must be True or False"):
        network(scaling_layer=choice)


def test_a_diverged_training_names_the_first_layer():
    net = network()
    net.scaling = [1e300, 1.0, 1.0]
    with pytest.raises(mlp.DivergenceError, match="layer 1"):
        net.fit(1e10 * X, Y, epochs=1, optimizer="sgd")


# -- several networks --------------------------------------------------------------------------------


def test_fit_many_is_fit_with_weights_and_smoothing(backend):
    weight = np.array([1, 2, 0.5, 1, 1, 0, 3, 1])
    rows = [np.array([0, 1, 2, 3, 5, 6]), np.array([2, 3, 4, 7])]
    together = [network(backend), network(backend)]
    mlp.fit_many(
        together, X, Y, rows=rows, sample_weight=weight, label_smoothing=0.1, epochs=3, batch_size=3,
        optimizer=optimizer(),
    )  # fmt: skip
    for net, chosen in zip(together, rows, strict=True):
        alone = network(backend)
        alone.fit(
            X[chosen], Y[chosen], sample_weight=weight[chosen], label_smoothing=0.1, epochs=3, batch_size=3,
            optimizer=optimizer(),
        )  # fmt: skip
        assert_array_equal(net.scaling, alone.scaling)
        assert_array_equal(net.feedforward(X), alone.feedforward(X))
    with pytest.raises(mlp.ShapeError, match="sample_weight"):
        mlp.fit_many([network(backend)], X, Y, sample_weight=weight[:3])
    with pytest.raises(mlp.ConfigurationError, match="scaling layer"):
        mlp.fit_many([network(backend), network(backend, scaling_layer=False)], X, Y)


def test_the_numba_backend_trains_such_networks_in_its_kernel_and_folds_at_once(caplog):
    threads = pytest.importorskip("backends.numba_backend.threads")
    data = np.random.default_rng(0).normal(size=(90, 3))
    labels, folds = (data[:, 0] * data[:, 1] > 0).astype(int), np.arange(90) % 3
    rows, validation = [folds != i for i in range(3)], [(data[folds == i], labels[folds == i]) for i in range(3)]
    assert training.execution(network("numba"), optimizer(), 60, 16).method == "epoch kernel, 1 thread"
    outputs = []
    try:
        for count in (1, 2):
            threads.set_num_threads(count)
            nets = [network("numba", dtype="float32") for _ in range(3)]
            with caplog.at_level("INFO", "mlp"):
                mlp.fit_many(
                    nets, data, labels, rows=rows, validation_data=validation, early_stopping=True, epochs=5,
                    batch_size=16, optimizer=optimizer(epochs=5), label_smoothing=0.1,
                )  # fmt: skip
            outputs.append([net.feedforward(data) for net in nets])
    finally:
        threads.set_num_threads(None)
    assert "up to 2 networks at the same time" in caplog.text
    assert "step by step" not in caplog.text
    assert_array_equal(*outputs)
    assert (outputs[0][0] != outputs[0][1]).any()
