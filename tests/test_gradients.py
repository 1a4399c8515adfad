"""Backpropagation compared with central differences and PyTorch's autograd; user-defined functions."""

from __future__ import annotations

import itertools

import numpy as np
import oracle
import pytest
from numpy.testing import assert_allclose

import mlp
from backends import formulas

HIDDEN = [name for name, row in formulas.ACTIVATIONS.items() if row.role == "any" and row.backward is not None]
PAIRS = [
    (output.name, loss.name)
    for output, loss in itertools.product(formulas.ACTIVATIONS.values(), formulas.LOSSES.values())
    if output.backward is not None
    and (loss.outputs is None or output.name in loss.outputs)
    and not (output.name == "exp" and loss.outputs is None)
]
ILLEGAL = [
    pair for pair in itertools.product(formulas.ACTIVATIONS, formulas.LOSSES) if pair not in PAIRS and pair[0] != "step"
]
WEIGHT = np.array([1, 0, 2, 0.5, 1, 3])


def targets(rng, loss, shape):
    """Targets that are valid for the loss, and far from the kinks of `mae`, `quantile` and `huber`."""
    if loss == "cross_entropy":
        return rng.dirichlet(np.ones(shape[1]), shape[0])
    if loss == "binary_cross_entropy":
        return rng.uniform(0, 1, shape)
    if loss == "poisson":
        return rng.poisson(2, shape).astype(float)
    far = loss in ("mae", "quantile")
    return rng.choice([-1, 1], shape) * rng.uniform(8, 9, shape) if far else rng.normal(size=shape)


def problem(sizes, hidden, output, loss, backend, seed=0, **options):
    """A float64 network, with data far from every kink."""
    rng = np.random.default_rng(seed)
    net = mlp.MLP(sizes, hidden, output, loss, dtype="float64", backend=backend, init="glorot_normal", **options)
    net.biases = [rng.normal(size=b.shape) * 0.3 for b in net.biases]
    return net, rng.normal(size=(len(WEIGHT), sizes[0])), targets(rng, loss, (len(WEIGHT), sizes[-1]))


def flat(gradients):
    return np.concatenate([dW.ravel() for dW, _ in gradients] + [db for _, db in gradients])


def central_differences(net, X, y, weight=None, step=1e-4):
    """Gradient of the loss for every parameter, by the fourth-order formula: its error is of order step**4."""
    start, slopes = net.xp.to_numpy(net.parameters).copy(), []

    def loss(index, shift):
        moved = start.copy()
        moved[index] += shift
        net.parameters[...] = net.xp.asarray(moved)
        return net.loss_and_gradients(X, y, weight)[0]

    for i in range(len(start)):
        near, far = (loss(i, d) - loss(i, -d) for d in (step, 2 * step))
        slopes.append((8 * near - far) / (12 * step))
    net.parameters[...] = net.xp.asarray(start)
    return np.array(slopes)


def assert_gradients_match(net, X, y, weight=None):
    """Compare with a relative tolerance of 1e-6; entries near zero, relative to a thousandth of the largest."""
    found = flat(net.loss_and_gradients(X, y, weight)[1])
    expected = central_differences(net, X, y, weight)
    size = np.maximum(np.abs(expected), 1e-3 * np.abs(expected).max())
    assert size.max() > 1e-3  # not all gradients vanish
    assert (np.abs(found - expected) <= 1e-6 * size).all()


# -- central differences ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("output", "loss"), PAIRS)
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_every_legal_pair(backend, output, loss, depth):
    hidden = ["tanh", "silu"][: depth - 1]
    net, X, y = problem([*[3, 4, 3][:depth], 2], hidden, output, loss, backend)
    assert_gradients_match(net, X, y)


@pytest.mark.parametrize("depth", [2, 3])
@pytest.mark.parametrize("loss", formulas.LOSSES)
@pytest.mark.parametrize("hidden", HIDDEN)
def test_every_hidden_activation_with_every_loss_at_every_depth(backend, hidden, loss, depth):
    net, X, y = problem([*[3, 4, 3][:depth], 2], hidden, "auto", loss, backend)
    assert_gradients_match(net, X, y)


@pytest.mark.parametrize("hidden", HIDDEN)
def test_every_hidden_activation_below_an_output_that_bends(backend, hidden):
    net, X, y = problem([3, 4, 2], hidden, "softplus", "huber", backend)
    assert_gradients_match(net, X, y)


@pytest.mark.parametrize("pair", list(zip(HIDDEN, HIDDEN[1:] + HIDDEN[:1], strict=True)), ids="-".join)
def test_another_activation_in_each_layer(backend, pair):
    net, X, y = problem([3, 4, 5, 2], list(pair), "sigmoid", "binary_cross_entropy", backend)
    assert_gradients_match(net, X, y)


@pytest.mark.parametrize("options", [{"l2": 0.1}, {"l1": 0.05}, {"l2": 0.1, "l1": 0.05}], ids=str)
@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["plain", "weighted"])
@pytest.mark.parametrize("loss", ["cross_entropy", "mse", "quadratic"])
def test_penalties_and_weights(backend, loss, weight, options):
    net, X, y = problem([3, 4, 2], "tanh", "auto", loss, backend, **options)
    assert_gradients_match(net, X, y, weight)


@pytest.mark.parametrize(("output", "loss"), PAIRS)
def test_sample_weights_with_every_pair(backend, output, loss):
    net, X, y = problem([3, 2], [], output, loss, backend)
    assert_gradients_match(net, X, y, WEIGHT)


def test_a_weight_of_two_is_two_rows(backend):
    net, X, y = problem([3, 4, 2], "tanh", "softmax", "cross_entropy", backend)
    weight = np.array([1, 0, 2, 1, 0, 3])
    loss, gradients = net.loss_and_gradients(X, y, weight)
    again, repeated = net.loss_and_gradients(np.repeat(X, weight, axis=0), np.repeat(y, weight, axis=0))
    assert_allclose(loss, again, rtol=1e-14)
    assert_allclose(flat(gradients), flat(repeated), rtol=1e-12, atol=1e-15)


def test_loss_and_gradients_are_those_of_the_naive_network(backend):
    for number, hidden in enumerate(HIDDEN):
        net, X, y = problem(
            [3, 7, 6, 4], [hidden, HIDDEN[number - 1]], "softmax", "cross_entropy", backend, l2=0.1, l1=0.01
        )
        naive = oracle.Net(
            net.weights, net.biases, [hidden, HIDDEN[number - 1], "softmax"], "cross_entropy", l2=0.1, l1=0.01
        )
        loss, gradients = net.loss_and_gradients(X, y, WEIGHT)
        expected_loss, expected = naive.loss_and_gradients(X, y, WEIGHT)
        assert_allclose(loss, expected_loss, rtol=1e-13)
        assert_allclose(flat(gradients), flat(expected), rtol=1e-11, atol=1e-14)


def test_dropout_does_not_act_outside_training(backend):
    net, X, y = problem([3, 8, 2], "relu", "softmax", "cross_entropy", backend, dropout=0.5, input_dropout=0.2)
    plain, _, _ = problem([3, 8, 2], "relu", "softmax", "cross_entropy", backend)
    assert_allclose(flat(net.loss_and_gradients(X, y)[1]), flat(plain.loss_and_gradients(X, y)[1]), rtol=1e-14)


# -- PyTorch --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def torch():
    module = pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")
    module.set_num_threads(1)
    return module


def torch_activation(torch, name):
    functional = torch.nn.functional
    return {
        "identity": lambda z: z,
        "leaky_relu": functional.leaky_relu,
        "gelu_tanh": lambda z: functional.gelu(z, approximate="tanh"),
        "softmax": lambda z: torch.softmax(z, 1),
        "exp": torch.exp,
    }.get(name) or getattr(functional, name)


def torch_loss(torch, name, z, t, output):
    functional = torch.nn.functional
    y = torch_activation(torch, output)(z)
    match name:
        case "cross_entropy":
            return functional.cross_entropy(z, t)
        case "binary_cross_entropy":
            return functional.binary_cross_entropy_with_logits(z, t)
        case "mse":
            return functional.mse_loss(y, t)
        case "quadratic":
            return functional.mse_loss(y, t, reduction="sum") / 2 / len(t)
        case "mae":
            return functional.l1_loss(y, t)
        case "huber":
            return functional.huber_loss(y, t)
        case "quantile":
            return functional.l1_loss(y, t) / 2
        case "poisson":  # PyTorch omits the part of the deviance that depends only on the targets
            return functional.poisson_nll_loss(y, t, log_input=False, eps=0)


def torch_gradients(torch, net, X, y, hidden, output, loss):
    parameters = [torch.tensor(np.array(p), requires_grad=True) for p in (*net.weights, *net.biases)]
    layers = list(zip(parameters[: len(net.weights)], parameters[len(net.weights) :], strict=True))
    x = torch.tensor(X)
    for (W, b), name in zip(layers[:-1], hidden, strict=True):
        x = torch_activation(torch, name)(x @ W + b)
    W, b = layers[-1]
    value = torch_loss(torch, loss, x @ W + b, torch.tensor(y), output)
    value.backward()
    return value.item(), np.concatenate([p.grad.numpy().ravel() for p in parameters])


@pytest.mark.parametrize(("output", "loss"), PAIRS)
def test_losses_agree_with_pytorch(backend, torch, output, loss):
    net, X, y = problem([3, 5, 4], "tanh", output, loss, backend, seed=2)
    found, gradients = net.loss_and_gradients(X, y)
    expected, slopes = torch_gradients(torch, net, X, y, ["tanh"], output, loss)
    if loss == "poisson":
        expected += (np.where(y > 0, y * np.log(np.where(y > 0, y, 1)), 0) - y).mean()
    assert_allclose(found, expected, rtol=1e-10)
    assert_allclose(flat(gradients), slopes, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("hidden", HIDDEN)
def test_activations_agree_with_pytorch(backend, torch, hidden):
    net, X, y = problem([3, 6, 5, 4], hidden, "softmax", "cross_entropy", backend, seed=3)
    found, gradients = net.loss_and_gradients(X, y)
    expected, slopes = torch_gradients(torch, net, X, y, [hidden] * 2, "softmax", "cross_entropy")
    assert_allclose(found, expected, rtol=1e-10)
    assert_allclose(flat(gradients), slopes, rtol=1e-10, atol=1e-13)


def test_class_numbers_agree_with_pytorch(backend, torch):
    net, X, _ = problem([3, 6, 4], "gelu", "softmax", "cross_entropy", backend)
    y = np.array([0, 3, 1, 2, 2, 0])
    found, gradients = net.loss_and_gradients(X, y)
    expected, slopes = torch_gradients(torch, net, X, y, ["gelu"], "softmax", "cross_entropy")
    assert_allclose(found, expected, rtol=1e-10)
    assert_allclose(flat(gradients), slopes, rtol=1e-10, atol=1e-13)


# -- user-defined functions -------------------------------------------------------------------------------------


def bent_identity(slope=lambda xp, z: z / (2 * xp.sqrt(z * z + 1)) + 1):
    return mlp.custom_activation("bent_identity", lambda xp, z: (xp.sqrt(z * z + 1) - 1) / 2 + z, slope)


def log_cosh(slope=lambda xp, y, t: xp.tanh(y - t)):
    return mlp.custom_loss("log_cosh", lambda xp, y, t: xp.log(0.5 * (xp.exp(y - t) + xp.exp(t - y))), slope)


def test_functions_of_ones_own_run_on_every_backend(backend):
    net, X, y = problem([3, 4, 4, 2], ["tanh", bent_identity()], bent_identity(), log_cosh(), backend, l2=0.1)
    assert_gradients_match(net, X, y, WEIGHT)
    before = net.loss_and_gradients(X, y)[0]
    net.fit(X, y, epochs=20, batch_size=4, optimizer=mlp.Adam(0.01))
    assert net.loss_and_gradients(X, y)[0] < before


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_functions_of_ones_own_give_the_same_on_every_backend(backend, dtype):
    def train(name):
        net = mlp.MLP([3, 8, 2], bent_identity(), loss=log_cosh(), dtype=dtype, backend=name, dropout=0.2)
        rng = np.random.default_rng(0)
        net.fit(rng.normal(size=(30, 3)), rng.normal(size=(30, 2)), epochs=3, batch_size=8, optimizer=mlp.SGD(0.1))
        return np.concatenate([W.ravel() for W in net.weights])

    tolerance = 1e-12 if dtype == "float64" else 1e-4
    assert_allclose(train(backend), train("numpy"), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    "slope",
    [
        lambda xp, z: z / (2 * xp.sqrt(z * z + 1)) + 1.001,
        lambda xp, z: xp.where(z > 2, 9.0, z / (2 * xp.sqrt(z * z + 1)) + 1),
        lambda xp, z: z * np.nan,
        lambda xp, z: np.ones(3),
    ],
    ids=["a little off", "off in one place", "nan", "of another shape"],
)
def test_a_wrong_derivative_is_an_error(slope):
    with pytest.raises(mlp.GradientError, match="bent_identity"):
        mlp.MLP([2, 3, 1], bent_identity(slope), loss="mse")


def test_a_wrong_slope_of_a_loss_is_an_error():
    with pytest.raises(mlp.GradientError, match="log_cosh"):
        mlp.MLP([2, 3, 1], loss=log_cosh(lambda xp, y, t: xp.tanh(t - y)))


def test_a_name_that_is_taken_is_refused():
    with pytest.raises(mlp.ConfigurationError, match="built-in activation 'relu'"):
        mlp.custom_activation("relu", lambda xp, z: z, lambda xp, z: 1)
    with pytest.raises(mlp.ConfigurationError, match="built-in loss 'mse'"):
        mlp.custom_loss("mse", lambda xp, y, t: y, lambda xp, y, t: 1)


# -- invalid combinations ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("output", "loss"), ILLEGAL)
def test_illegal_pairs_are_refused_with_a_reason_and_a_remedy(output, loss):
    with pytest.raises(mlp.ConfigurationError, match=rf"'{loss}' does not go with output '{output}': .*Use ") as caught:
        mlp.MLP([2, 2], output_activation=output, loss=loss)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["softmax", "exp"])
def test_outputs_are_no_hidden_activations(name):
    with pytest.raises(mlp.ConfigurationError, match="output layer only"):
        mlp.MLP([2, 3, 2], name)


def test_a_network_of_steps_predicts_and_refuses_to_train(backend):
    net = mlp.MLP([2, 1], output_activation="step", loss="mse", backend=backend)
    net.weights, net.biases = [[[1], [1]]], [[-1.5]]  # the logical and
    assert net.predict([[0, 0], [0, 1], [1, 0], [1, 1]]).tolist() == [0, 0, 0, 1]
    for train in (net.fit, net.loss_and_gradients, net.partial_fit):
        with pytest.raises(mlp.NotDifferentiableError, match="step"):
            train([[0, 0]], [0])
    hidden = mlp.MLP([2, 2, 1], "step", loss="mse", backend=backend)
    with pytest.raises(mlp.NotDifferentiableError, match="step"):
        hidden.fit([[0, 0]], [0])
