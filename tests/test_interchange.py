"""Conversion from and to scikit-learn and PyTorch: same predictions, and the same next training step."""

from __future__ import annotations

import logging
import pickle
import sys
import warnings
from collections import OrderedDict
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import mlp
from backends import formulas
from mlp.data import Preprocessing

RNG = np.random.default_rng(3)
N, N_IN = 60, 4
X = RNG.normal(size=(N, N_IN))
TOLERANCE = {"float32": 1e-6, "float64": 1e-12}
DEEP = {"float32": 1e-5, "float64": 1e-12}
"""Tolerance for deep networks: layers amplify float32 rounding errors, which depend on the summation order."""

ESTIMATORS = {"scikit-learn": (MLPClassifier, MLPRegressor), "ours": (mlp.MLPClassifier, mlp.MLPRegressor)}


@pytest.fixture(scope="module")
def torch():
    module = pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")
    module.set_num_threads(1)
    return module


def fitted(kind, X, y, **settings):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # not converged, and batch sizes larger than the data
        return kind(**{"hidden_layer_sizes": (6, 5), "max_iter": 8, "random_state": 0} | settings).fit(X, y)


# -- scikit-learn ---------------------------------------------------------------------------------------

THREE = RNG.choice(np.array(["ash", "beech", "oak"]), N)
NUMBERS = np.unique(THREE, return_inverse=True)[1]
TARGETS = {
    "two classes": (0, np.where(X[:, 0] > 0, "yes", "no")),
    "three classes": (0, THREE),
    "classes that are numbers": (0, RNG.choice([-1, 5, 7], N)),
    "labels": (0, (X[:, :3] > 0).astype(int)),
    "numbers": (1, X.sum(axis=1)),
    "rows of numbers": (1, X[:, :2] ** 2),
    "counts": (1, RNG.poisson(2.0, N)),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("origin", ESTIMATORS)
def test_a_fitted_estimator_becomes_a_network_of_the_same_predictions(origin, target, dtype, backend):
    regression, y = TARGETS[target]
    rows = X.astype(dtype)
    settings = {"loss": "poisson"} if target == "counts" else {}
    if target == "counts" and "loss" not in MLPRegressor().get_params():
        pytest.skip("this scikit-learn has no Poisson loss")
    estimator = fitted(ESTIMATORS[origin][regression], rows, y, activation="logistic", **settings)
    net = mlp.from_sklearn(estimator, backend=backend)
    assert (net.backend, str(net.dtype)) == (backend, dtype)
    if regression:
        assert_allclose(net.predict(rows), estimator.predict(rows), rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])
        return
    assert_allclose(net.predict_proba(rows), estimator.predict_proba(rows), rtol=0, atol=TOLERANCE[dtype])
    assert net.classes == tuple(estimator.classes_.tolist())
    found = net.predict(rows)
    assert_array_equal(found if found.ndim > 1 else estimator.classes_[found], estimator.predict(rows))


@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
@pytest.mark.parametrize("hidden", [(), (7,), (3, 9)])
def test_every_activation_and_depth_of_scikit_learn(activation, hidden):
    estimator = fitted(MLPClassifier, X, THREE, activation=activation, hidden_layer_sizes=hidden)
    net = mlp.from_sklearn(estimator)
    assert_allclose(net.predict_proba(X), estimator.predict_proba(X), rtol=0, atol=1e-12)


@pytest.mark.parametrize("target", ["two classes", "three classes", "numbers", "rows of numbers", "counts"])
def test_training_goes_on_as_scikit_learn_would(target):
    """Another epoch of SGD, including the penalty, changes both networks equally."""
    regression, y = TARGETS[target]
    settings = {"loss": "poisson"} if target == "counts" else {}
    if target == "counts" and "loss" not in MLPRegressor().get_params():
        pytest.skip("this scikit-learn has no Poisson loss")
    settings |= {"solver": "sgd", "momentum": 0.0, "learning_rate_init": 0.01, "alpha": 0.5}
    settings |= {"batch_size": 20, "shuffle": False}
    estimator = fitted((MLPClassifier, MLPRegressor)[regression], X, y, **settings)
    net = mlp.from_sklearn(estimator)
    assert net.l2 == pytest.approx(0.5 / 20)
    numbers = y if regression else np.unique(y, return_inverse=True)[1]
    net.fit(X, numbers, epochs=1, batch_size=20, optimizer=mlp.SGD(0.01), shuffle=False)
    estimator.partial_fit(X, y)
    for actual, desired in zip(net.weights + net.biases, estimator.coefs_ + estimator.intercepts_, strict=True):
        assert_allclose(actual, desired, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    ("kind", "settings", "rows"),
    [
        (MLPClassifier, {}, 200),
        (MLPClassifier, {"batch_size": 7}, 7),
        (MLPClassifier, {"batch_size": 240, "early_stopping": True}, 216),
        (mlp.MLPClassifier, {"batch_size": 7}, 7),
        (mlp.MLPClassifier, {"solver": mlp.GradientDescent(0.5)}, 240),
    ],
)
def test_the_penalty_counts_the_rows_of_a_batch(kind, settings, rows):
    estimator = fitted(kind, np.tile(X, (4, 1)), np.tile(NUMBERS, 4), alpha=0.3, **settings)
    assert mlp.from_sklearn(estimator).l2 == pytest.approx(0.3 / rows)


def test_what_our_estimators_have_beyond_scikit_learns_comes_along():
    estimator = fitted(mlp.MLPClassifier, X, THREE, activation=["gelu", "logistic"], dropout=[0.5, 0.0])
    net = mlp.from_sklearn(estimator)
    assert [row.name for row in net.plan.activations] == ["gelu", "sigmoid", "softmax"]
    assert net.plan.dropout == (0.0, 0.5, 0.0)
    assert_allclose(net.predict_proba(X), estimator.predict_proba(X), rtol=0, atol=1e-12)


def test_the_penalty_of_lbfgs_is_told_to_be_unknown(caplog):
    estimator = fitted(MLPClassifier, X, THREE, solver="lbfgs", alpha=0.3)
    with caplog.at_level(logging.INFO, "mlp"):
        assert mlp.from_sklearn(estimator).l2 == 0
    assert "number of rows" in caplog.text


def test_an_estimator_is_not_changed_and_shares_no_memory():
    estimator = fitted(MLPClassifier, X, THREE)
    before = pickle.dumps(estimator)
    mlp.from_sklearn(estimator).fit(X, NUMBERS, epochs=1)
    assert pickle.dumps(estimator) == before


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: MLPClassifier(), "not fitted"),
        (lambda: LogisticRegression().fit(X, THREE), "takes a fitted MLPClassifier"),
        (lambda: "MLPClassifier", "takes a fitted MLPClassifier"),
        (lambda: make_pipeline(StandardScaler(), MLPClassifier(max_iter=2)), r"steps\[-1\]"),
        (lambda: fitted(MLPClassifier, X, np.full(N, "ash")), "single class 'ash'"),
    ],
)
def test_what_is_no_fitted_estimator_is_refused(make, says):
    with pytest.raises(mlp.ConfigurationError, match=says):
        mlp.from_sklearn(make())


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_search_is_told_from_its_best_estimator():
    search = GridSearchCV(MLPClassifier(max_iter=2), {"alpha": [0.1]}, cv=2).fit(X, THREE)
    with pytest.raises(mlp.ConfigurationError, match="best_estimator_"):
        mlp.from_sklearn(search)
    assert mlp.from_sklearn(search.best_estimator_).classes == ("ash", "beech", "oak")


# -- PyTorch: any architecture, in both directions ------------------------------------------------------------

HIDDEN = [name for name, row in formulas.ACTIVATIONS.items() if row.role == "any"]
KINDS = [
    ("softmax", "cross_entropy"),
    ("sigmoid", "binary_cross_entropy"),
    ("exp", "poisson"),
    ("softplus", "poisson"),
    ("identity", "mse"),
    ("tanh", "huber"),
    ("relu", "mae"),
]


@st.composite
def networks(draw):
    sizes = draw(st.lists(st.integers(1, 9), min_size=2, max_size=5))
    output, loss = draw(st.sampled_from(KINDS))
    if output == "softmax":
        sizes[-1] += 1
    rates = st.sampled_from([0.0, 0.25, 0.5])
    net = mlp.MLP(
        sizes,
        [draw(st.sampled_from(HIDDEN)) for _ in sizes[2:]],
        output,
        loss,
        dropout=[draw(rates) for _ in sizes[2:]],
        input_dropout=draw(rates),
        input_scale=draw(st.sampled_from([None, 1 / 255])),
        target_scaling=([3.0] * sizes[-1], [0.5] * sizes[-1]) if output == "identity" and draw(st.booleans()) else None,
        dtype=draw(st.sampled_from(["float32", "float64"])),
        seed=draw(st.integers(0, 1000)),
        backend="numpy",
    )
    net.biases = [np.linspace(-1, 1, len(b)) for b in net.biases]
    return net


@given(net=networks())
def test_any_network_goes_to_pytorch_and_back(torch, net):
    tolerance = DEEP[str(net.dtype)]
    rows = RNG.normal(size=(9, net.sizes[0])).astype(net.dtype)
    expected = net.feedforward(rows)
    module = net.to_torch()
    found = module(torch.from_numpy(rows))
    assert str(found.dtype) == f"torch.{net.dtype}"
    assert_allclose(found.detach().numpy(), expected, rtol=tolerance, atol=tolerance)

    back = mlp.from_torch(module, loss=net.kind.loss.name, backend="numpy")
    assert_allclose(back.feedforward(rows), expected, rtol=tolerance, atol=tolerance)
    other = {"seed", "init", "target_scaling"}
    mine, theirs = net.get_config(), back.get_config()
    assert {key: mine[key] for key in mine.keys() - other} == {key: theirs[key] for key in mine.keys() - other}
    if net.target_scaling is None:
        assert all(map(np.array_equal, back.weights + back.biases, net.weights + net.biases))


MODULES = {
    "sigmoid": "Sigmoid()",
    "tanh": "Tanh()",
    "relu": "ReLU(inplace=True)",
    "leaky_relu": "LeakyReLU()",
    "elu": "ELU()",
    "selu": "SELU()",
    "gelu": "GELU()",
    "gelu_tanh": "GELU(approximate='tanh')",
    "silu": "SiLU()",
    "mish": "Mish()",
    "softplus": "Softplus()",
    "identity": "Identity()",
}
OUTPUTS = {None: "Identity()", "softmax": "Softmax(dim=-1)", "sigmoid": "Sigmoid()"}


def built(torch, text):
    """Create a module of torch.nn from its repr."""
    return eval(f"nn.{text}", {"nn": torch.nn})


@given(data=st.data())
def test_any_stack_of_pytorch_comes_over_and_back(torch, data):
    sizes = data.draw(st.lists(st.integers(1, 9), min_size=2, max_size=5))
    dtype = data.draw(st.sampled_from(["float32", "float64"]))
    torch.manual_seed(data.draw(st.integers(0, 1000)))
    parts = [torch.nn.Flatten()]
    for n_in, n_out in pairwise(sizes):
        linear = torch.nn.Linear(n_in, n_out, bias=data.draw(st.booleans()))
        hidden = built(torch, MODULES[data.draw(st.sampled_from(sorted(MODULES)))])
        dropout = torch.nn.Dropout(data.draw(st.sampled_from([0.0, 0.5])))
        parts.append(torch.nn.Sequential(linear, hidden, dropout) if data.draw(st.booleans()) else linear)
    output = data.draw(st.sampled_from(list(OUTPUTS)))
    parts += [torch.nn.Linear(sizes[-1], 3), built(torch, OUTPUTS[output])]
    module = torch.nn.Sequential(*parts).to(getattr(torch, dtype)).eval()
    rows = RNG.normal(size=(9, sizes[0])).astype(dtype)
    expected = module(torch.from_numpy(rows)).detach().numpy()

    net = mlp.from_torch(module, backend="numpy")
    assert net.kind.output.name == (output or "identity")
    assert_allclose(net.feedforward(rows), expected, rtol=DEEP[dtype], atol=DEEP[dtype])
    again = net.to_torch()(torch.from_numpy(rows)).detach().numpy()
    assert_allclose(again, expected, rtol=DEEP[dtype], atol=DEEP[dtype])


@pytest.mark.parametrize("name", MODULES)
def test_state_dict_with_the_name_of_the_activation(torch, name, backend):
    module = torch.nn.Sequential(
        torch.nn.Linear(N_IN, 6), built(torch, MODULES[name]), torch.nn.Linear(6, 3), torch.nn.Sigmoid()
    ).double()
    net = mlp.from_torch(module.state_dict(), activation=name, output_activation="sigmoid", backend=backend)
    assert (net.backend, net.kind.name) == (backend, "sigmoid+binary_cross_entropy")
    expected = module(torch.from_numpy(X)).detach().numpy()
    assert_allclose(net.feedforward(X), expected, rtol=1e-12, atol=1e-12)


def test_layers_of_a_state_dict_follow_their_numbers_or_else_its_order(torch):
    torch.manual_seed(0)
    parts = [part for _ in range(6) for part in (torch.nn.Linear(4, 4), torch.nn.Tanh())]
    module = torch.nn.Sequential(*parts).double()
    state = module.state_dict()
    by_alphabet = OrderedDict(sorted(state.items()))
    assert list(by_alphabet) != list(state)
    named = OrderedDict(
        (f"{name}.{part}", state[f"{2 * i}.{part}"]) for i, name in enumerate("zyxwvu") for part in ("weight", "bias")
    )
    expected = module(torch.from_numpy(X)).detach().numpy()
    for version in (state, by_alphabet, named, {f"_orig_mod.{key}": by_alphabet[key] for key in by_alphabet}):
        net = mlp.from_torch(version, activation="tanh", output_activation="tanh")
        assert_allclose(net.feedforward(X), expected, rtol=1e-12, atol=1e-12)


# -- PyTorch: continued training ----------------------------------------------------------------------------

LOSSES = {
    "cross_entropy": ("CrossEntropyLoss()", RNG.integers(0, 3, N)),
    "binary_cross_entropy": ("BCEWithLogitsLoss()", RNG.integers(0, 2, (N, 3)).astype(float)),
    "mse": ("MSELoss()", RNG.normal(size=(N, 3))),
    "mae": ("L1Loss()", RNG.normal(size=(N, 3))),
    "huber": ("HuberLoss()", RNG.normal(size=(N, 3))),
    "poisson": ("PoissonNLLLoss()", RNG.poisson(2.0, (N, 3)).astype(float)),
}


def torch_step(torch, module, loss, y, **settings):
    """One step of gradient descent in PyTorch; return the new weights (n_in, n_out) and biases."""
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1, **settings)
    built(torch, loss)(module(torch.from_numpy(X)), torch.from_numpy(y)).backward()
    optimizer.step()
    linear = [part for part in module.modules() if isinstance(part, torch.nn.Linear)]
    return [part.weight.detach().numpy().T for part in linear] + [part.bias.detach().numpy() for part in linear]


@pytest.mark.parametrize("loss", LOSSES)
def test_one_step_after_from_torch_is_pytorchs_step(torch, loss, backend):
    torch.manual_seed(1)
    criterion, y = LOSSES[loss]
    module = torch.nn.Sequential(torch.nn.Linear(N_IN, 8), torch.nn.GELU(), torch.nn.Linear(8, 3)).double()
    net = mlp.from_torch(module, loss=loss, backend=backend)
    net.fit(X, y, epochs=1, batch_size=N, optimizer=mlp.SGD(0.1), shuffle=False)
    for actual, desired in zip(net.weights + net.biases, torch_step(torch, module, criterion, y), strict=True):
        assert_allclose(actual, desired, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("loss", LOSSES)
def test_one_step_after_to_torch_is_ours(torch, loss):
    criterion, y = LOSSES[loss]
    net = mlp.MLP([N_IN, 8, 3], "tanh", loss=loss, dtype="float64", backend="numpy", seed=5)
    found = torch_step(torch, net.to_torch(logits=True).train(), criterion, y)
    net.fit(X, y, epochs=1, batch_size=N, optimizer=mlp.SGD(0.1), shuffle=False)
    for actual, desired in zip(net.weights + net.biases, found, strict=True):
        assert_allclose(actual, desired, rtol=1e-10, atol=1e-12)


# -- PyTorch: details -----------------------------------------------------------------------------------------


def test_the_module_scales_bytes_as_the_network_does_and_pickles(torch):
    digits = mlp.data.load("digits")
    net = mlp.MLP([64, 8, 10], "tanh", input_scale=digits.input_scale)
    module = pickle.loads(pickle.dumps(net.to_torch()))
    for rows in (digits.X, digits.X.astype("float32")):
        found = module(torch.from_numpy(rows)).detach().numpy()
        assert_allclose(found, net.feedforward(rows), rtol=0, atol=1e-6)


def test_a_module_is_its_own_copy_and_draws_nothing_from_pytorchs_generator(torch):
    net = mlp.MLP([N_IN, 5, 3])
    before = np.concatenate([part.ravel() for part in net.weights + net.biases])
    state = torch.get_rng_state()
    module = net.to_torch()
    assert torch.equal(torch.get_rng_state(), state)
    assert not module.training
    assert all(parameter.is_contiguous() for parameter in module.parameters())
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += 1
    assert_array_equal(np.concatenate([part.ravel() for part in net.weights + net.biases]), before)


def test_dropout_of_the_module_drops_as_often_as_the_network(torch):
    module = mlp.MLP([4, 2000, 1], dropout=0.3, input_dropout=0.1, loss="mse").to_torch().train()
    drops = [part for part in module if isinstance(part, torch.nn.Dropout)]
    assert [part.p for part in drops] == [0.1, 0.3]
    assert [type(part).__name__ for part in module] == ["Dropout", "Linear", "ReLU", "Dropout", "Linear"]


def test_two_dropouts_are_one_and_may_stand_before_a_relu(torch):
    nn = torch.nn
    module = nn.Sequential(
        nn.Dropout(0.2), nn.Dropout(0.5), nn.Linear(4, 5), nn.Dropout(0.5), nn.ReLU(), nn.Dropout(0.2), nn.Linear(5, 1)
    )
    config = mlp.from_torch(module).get_config()
    assert config["input_dropout"] == pytest.approx(0.6)
    assert config["dropout"] == [pytest.approx(0.6)]


def test_one_module_may_stand_in_many_places_but_for_layers(torch):
    nn = torch.nn
    layer, act = nn.Linear(4, 4), nn.Tanh()
    module = nn.Sequential(layer, act, nn.Sequential(nn.Linear(4, 4), act), nn.Linear(4, 2), act).double()
    assert_allclose(mlp.from_torch(module).feedforward(X), module(torch.from_numpy(X)).detach().numpy(), rtol=1e-12)
    with pytest.raises(mlp.ConfigurationError, match=r"module '2', Linear.*shares its weight"):
        mlp.from_torch(nn.Sequential(layer, act, layer))


def test_log_softmax_is_the_logarithm_of_our_output(torch):
    module = torch.nn.Sequential(torch.nn.Linear(N_IN, 3), torch.nn.LogSoftmax(dim=1)).double()
    net = mlp.from_torch(module)
    assert net.kind.name == "softmax+cross_entropy"
    assert_allclose(np.log(net.predict_proba(X)), module(torch.from_numpy(X)).detach().numpy(), rtol=1e-12)


def test_logits_become_probabilities_where_the_loss_is_named(torch):
    module = torch.nn.Sequential(torch.nn.Linear(N_IN, 3)).double()
    logits = module(torch.from_numpy(X))
    net = mlp.from_torch(module, loss="cross_entropy", classes=["a", "b", "c"], l2=0.1, seed=4)
    assert_allclose(net.predict_proba(X), torch.softmax(logits, 1).detach().numpy(), rtol=1e-12)
    assert (net.classes, net.l2, net.seed) == (("a", "b", "c"), 0.1, 4)
    assert_allclose(mlp.from_torch(module).predict(X), logits.detach().numpy(), rtol=1e-12)


def test_a_linear_without_bias_gets_zeros_and_a_warning(torch, caplog):
    module = torch.nn.Sequential(torch.nn.Linear(N_IN, 2, bias=False))
    net = mlp.from_torch(module)
    assert_array_equal(net.biases[0], [0, 0])
    assert "module '0'" in caplog.text
    caplog.clear()
    mlp.from_torch(module.state_dict())
    assert "'0.bias'" in caplog.text


def test_preprocessing_stays_behind_with_a_warning(torch, caplog):
    preprocessing = Preprocessing.fit({"age": np.array([1.0, 2.0]), "height": np.array([3.0, 4.0])})
    mlp.MLP([2, 1], loss="mse", preprocessing=preprocessing).to_torch()
    assert "net.preprocessing" in caplog.text


def test_an_activation_of_ones_own_is_refused_by_name(torch):
    double = mlp.custom_activation("double", lambda xp, z: 2 * z, lambda xp, z: 2 + 0 * z)
    with pytest.raises(mlp.ConfigurationError, match="'double'"):
        mlp.MLP([2, 3, 1], double, loss="mse").to_torch()


def test_a_slope_that_ours_lacks_comes_over_as_an_activation_of_ones_own(torch):
    module = torch.nn.Sequential(torch.nn.Linear(N_IN, 5), torch.nn.LeakyReLU(0.2), torch.nn.Linear(5, 1)).double()
    leaky = mlp.custom_activation(
        "leaky_0.2", lambda xp, z: xp.where(z > 0, z, 0.2 * z), lambda xp, z: xp.where(z > 0, 1.0, 0.2)
    )
    net = mlp.from_torch(module.state_dict(), activation=leaky)
    assert_allclose(net.feedforward(X), module(torch.from_numpy(X)).detach().numpy(), rtol=1e-12, atol=1e-12)


def test_without_pytorch_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(mlp.ConfigurationError, match="pip install torch"):
        mlp.MLP([2, 1], loss="mse").to_torch()
    assert mlp.from_torch({"weight": np.ones((1, 2)), "bias": np.zeros(1)}).sizes == (2, 1)


UNSUPPORTED_MODULES = {
    "Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))": r"module '1', BatchNorm1d\(3",
    "Sequential(nn.Conv2d(1, 2, 3))": "module '0', Conv2d",
    "Sequential(nn.Linear(4, 3), nn.Sequential(nn.ReLU(), nn.PReLU()), nn.Linear(3, 1))": "module '1.1', PReLU",
    "Sequential(nn.Linear(4, 3), nn.LeakyReLU(0.2))": "negative_slope=0.2, but 'leaky_relu' has 0.01",
    "Sequential(nn.Linear(4, 3), nn.ELU(alpha=0.5))": "alpha=0.5, but 'elu' has 1.0",
    "Sequential(nn.Linear(4, 3), nn.Softplus(beta=2))": "beta=2",
    "Sequential(nn.Linear(4, 3), nn.Softmax(dim=0))": "dim=0",
    "Sequential(nn.Linear(4, 3), nn.Softmax(dim=1), nn.Linear(3, 1))": "'softmax' in a hidden layer",
    "Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Tanh())": "module '2', Tanh.*follows another",
    "Sequential(nn.ReLU(), nn.Linear(4, 3))": "before the first Linear",
    "Sequential(nn.Linear(4, 3), nn.Dropout(0.5), nn.Tanh(), nn.Linear(3, 1))": "module '2', Tanh.*Swap",
    "Sequential(nn.Linear(4, 3), nn.Dropout(0.5))": "Dropout after its last layer",
    "Sequential(nn.Linear(4, 3), nn.AlphaDropout(0.5), nn.Linear(3, 1))": "module '1', AlphaDropout",
    "Sequential(nn.Linear(4, 3), nn.Flatten(0), nn.Linear(3, 1))": "module '1', Flatten",
    "Sequential(nn.Linear(4, 3), nn.Linear(2, 1))": "layer 1 has 3 outputs, but layer 2 has 2 inputs",
    "Sequential(nn.Tanh())": "before the first Linear",
    "Sequential()": "no torch.nn.Linear",
    "Sequential(nn.LazyLinear(3))": "LazyLinear",
    "Sequential(nn.Linear(4, 3), nn.Linear(3, 1).double())": "both float32",
    "Linear(4, 3).half()": "is float16",
    "utils.parametrizations.weight_norm(nn.Linear(4, 3))": "ParametrizedLinear",
    "RNN(4, 3)": "the module RNN",
}


@pytest.mark.parametrize("text", UNSUPPORTED_MODULES)
def test_what_no_mlp_can_be_is_refused_by_name(torch, text):
    with pytest.raises(mlp.MLPError, match=UNSUPPORTED_MODULES[text]):
        mlp.from_torch(built(torch, text))


def test_a_forward_of_its_own_needs_a_state_dict(torch):
    class Residual(torch.nn.Sequential):
        def forward(self, x):
            return x + super().forward(x)

    with pytest.raises(mlp.ConfigurationError, match="state_dict"):
        mlp.from_torch(torch.nn.Sequential(Residual(torch.nn.Linear(4, 4)), torch.nn.Linear(4, 1)))


STATE = {"0.weight": np.eye(4), "0.bias": np.zeros(4), "2.weight": np.eye(4), "2.bias": np.zeros(4)}


@pytest.mark.parametrize(
    ("source", "settings", "says"),
    [
        (STATE, {}, "activation='relu'"),
        ({}, {}, "is empty"),
        (STATE | {"1.running_mean": np.zeros(4)}, {"activation": "relu"}, "'1.running_mean'"),
        (STATE | {"1.weight": np.zeros(4)}, {"activation": "relu"}, r"'1.weight' of shape \(4,\)"),
        ({"1.running_mean": np.zeros(4)}, {}, "'1.running_mean'"),
        (STATE | {"epoch": 3}, {"activation": "relu"}, "'epoch'"),
        (STATE | {"2.weight": np.eye(4, dtype=int)}, {"activation": "relu"}, r"state_dict\['2.weight'\] is int64"),
        (STATE | {"2.weight": np.eye(4, 5)}, {"activation": "relu"}, "4 outputs, but layer 2 has 5"),
        (STATE | {"2.bias": np.zeros(3)}, {"activation": "relu"}, "biases of layer 2"),
        (STATE | {"2.bias": np.full(4, np.nan)}, {"activation": "relu"}, "nan"),
        (STATE, {"activation": "rleu"}, "did you mean 'relu'"),
        (STATE, {"activation": "relu", "output_activation": "tanh", "loss": "cross_entropy"}, "does not go with"),
        (np.eye(3), {}, "from_torch takes a torch.nn.Sequential"),
    ],
)
def test_a_state_dict_of_something_else_is_refused(torch, source, settings, says):
    with pytest.raises(mlp.MLPError, match=says):
        mlp.from_torch(source, **settings)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"activation": "relu"}, "defines its activations"),
        ({"output_activation": "softmax"}, "ends in 'sigmoid'"),
        ({"dropout": 0.1}, "defines dropout"),
        ({"loss": "cross_entropy"}, "does not go with"),
    ],
)
def test_a_module_is_not_contradicted(torch, settings, says):
    nn = torch.nn
    module = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Dropout(0.5), nn.Linear(3, 1), nn.Sigmoid())
    with pytest.raises(mlp.ConfigurationError, match=says):
        mlp.from_torch(module, **settings)
