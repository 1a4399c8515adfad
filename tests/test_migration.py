"""The table of equivalents in the documentation: each row runs, and gives the same results as what it replaces."""

from __future__ import annotations

import random
import re
import warnings
from itertools import pairwise

import examples
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier

import mlp

PAGE = examples.DOCS / "guide" / "migration.md"
SIZES, N, ETA = (64, 12, 10), 200, 0.1
X, y = load_digits(return_X_y=True)
X, y = X[:N] / 16, y[:N]
ONE_HOT = np.eye(10)[y]
TOLERANCE = {"float32": {"rtol": 1e-4, "atol": 2e-6}, "float64": {"rtol": 1e-9, "atol": 1e-11}}


def table():
    """The code in the last cell of each row, which uses this library."""
    section = PAGE.read_text(encoding="utf-8").partition("\n## Table of equivalents\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")][2:]
    return ["\n".join(re.findall("`(.+?)`", line.split("|")[-2])) for line in lines]


@pytest.fixture(scope="module")
def torch():
    module = pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")
    module.set_num_threads(1)
    return module


@pytest.fixture
def run(backend):
    """Run a row of the table with the names it uses; return the resulting namespace."""

    def execute(line, **names):
        namespace = {"mlp": mlp, "sizes": SIZES, "n": N, "k": SIZES[-1], "eta": ETA} | names
        exec(line, namespace)
        for value in list(namespace.values()):
            if isinstance(value, mlp.MLP):
                value.to(backend)
        return namespace

    return execute


def sklearn_run(epochs, **settings):
    """Weights and biases of scikit-learn before and after this number of epochs."""
    settings = {"hidden_layer_sizes": SIZES[1:-1], "shuffle": False, "random_state": 0} | settings
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        # the initial weights are not stored, so read them after a fit that does not change them
        start = MLPClassifier(**settings | {"solver": "sgd", "max_iter": 1, "learning_rate_init": 1e-300}).fit(X, y)
        end = MLPClassifier(**settings, max_iter=epochs).fit(X, y)
    return (start.coefs_, start.intercepts_), (end.coefs_, end.intercepts_)


def assert_training_gives(net, optimizer, start, end, *, epochs=1, batch_size=N, targets=y):
    """Training from `start` must give `end`; both are lists of W (n_in, n_out) and of b."""
    net.weights, net.biases = start
    net.fit(X, targets, epochs=epochs, batch_size=batch_size, optimizer=optimizer, shuffle=False)
    for actual, desired in zip(net.weights + net.biases, [*end[0], *end[1]], strict=True):
        assert_allclose(actual, desired, **TOLERANCE[str(net.dtype)])


def gradients(net):
    """Gradients of the loss without penalty, for the weights and the biases."""
    l2, net.l2 = net.l2, 0.0
    _, gradients = net.loss_and_gradients(X, y)
    net.l2 = l2
    return [dW for dW, _ in gradients], [db for _, db in gradients]


def copy_parameters(net):
    return [W.copy() for W in net.weights], [b.copy() for b in net.biases]


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def book_step(start, targets, eta, *, cross_entropy=False, lmbda=0.0):
    """One step of the book's network by equations BP1 to BP4, with one row for each example."""
    (W1, W2), (b1, b2) = start
    a1 = sigmoid(X @ W1 + b1)
    a2 = sigmoid(a1 @ W2 + b2)
    d2 = (a2 - targets) * (1 if cross_entropy else a2 * (1 - a2))
    d1 = d2 @ W2.T * a1 * (1 - a1)
    rate = eta / len(X)
    kept = 1 - eta * lmbda / N
    weights = [kept * W1 - rate * X.T @ d1, kept * W2 - rate * a1.T @ d2]
    return weights, [b1 - rate * d1.sum(axis=0), b2 - rate * d2.sum(axis=0)]


def check_estimator(run, line, request):
    ours = run(line)["MLPClassifier"]
    settings = {"hidden_layer_sizes": (12,), "max_iter": 3, "random_state": 0}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        mine, theirs = (kind(**settings).fit(X, y) for kind in (ours, MLPClassifier))
    assert ours is not MLPClassifier
    assert_allclose(mine.loss_curve_, theirs.loss_curve_, rtol=1e-8)


def check_from_sklearn(run, line, request):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        estimator = MLPClassifier((12,), max_iter=3, random_state=0).fit(X, y)
    net = run(line, estimator=estimator)["net"]
    assert_allclose(net.predict_proba(X), estimator.predict_proba(X), atol=1e-6)


def check_alpha(run, line, request):
    alpha, batch_size = 5.0, 40
    start, end = sklearn_run(2, solver="sgd", momentum=0, alpha=alpha, batch_size=batch_size, learning_rate_init=ETA)
    net = run(line, alpha=alpha, batch_size=batch_size)["net"]
    assert_training_gives(net, mlp.SGD(ETA), start, end, epochs=2, batch_size=batch_size)


def check_sklearn_solver(run, line, request):
    solver = "sgd" if "SGD" in line else "adam"
    start, end = sklearn_run(3, solver=solver, alpha=0, batch_size=40)
    net = mlp.MLP(SIZES, dtype="float64")
    assert_training_gives(net, run(line)["optimizer"], start, end, epochs=3, batch_size=40)


def check_keras_layers(run, line, request):
    net = run(line)["net"]
    assert [row.name for row in net.plan.activations] == ["relu", "softmax"]
    for W, b in zip(net.weights, net.biases, strict=True):
        bound = np.sqrt(6 / sum(W.shape))  # Glorot & Bengio 2010, as in Keras
        assert 0.9 * bound < np.abs(W).max() <= bound
        assert not b.any()


def check_keras_l2(run, line, request):
    """Keras adds c times the sum of squared weights to the loss."""
    c = 0.3
    net = run(line, c=c)["net"]
    with_penalty, _ = net.loss_and_gradients(X, y)
    net.l2 = 0.0
    without, _ = net.loss_and_gradients(X, y)
    assert with_penalty - without == pytest.approx(c * sum(np.sum(W * W) for W in net.weights), rel=1e-5)


def check_keras_adam(run, line, request):
    """The step in Keras's source: alpha = rate sqrt(1 - beta_2^t) / (1 - beta_1^t), with epsilon added to sqrt(v)."""
    net = mlp.MLP(SIZES, dtype="float64", backend="numpy", seed=3)
    start = copy_parameters(net)
    m, v = 0.0, 0.0
    for t in (1, 2, 3):
        flat = np.concatenate([part.ravel() for part in net.weights + net.biases])
        gradient = np.concatenate([part.ravel() for group in gradients(net) for part in group])
        m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
        flat = flat - 0.001 * np.sqrt(1 - 0.999**t) / (1 - 0.9**t) * m / (np.sqrt(v) + 1e-7)
        pairs = net.plan.layout.layers(flat)
        net.weights, net.biases = [W for W, _ in pairs], [b for _, b in pairs]
    other = mlp.MLP(SIZES, dtype="float64", backend="numpy")
    assert_training_gives(other, run(line)["optimizer"], start, copy_parameters(net), epochs=3)


def torch_classifier(torch):
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(64, 12), torch.nn.ReLU(), torch.nn.Linear(12, 10))


def check_from_torch(run, line, request):
    torch = request.getfixturevalue("torch")
    module = torch_classifier(torch)
    expected = torch.softmax(module(torch.tensor(X, dtype=torch.float32)), dim=1).detach().numpy()
    assert_allclose(run(line, module=module)["net"].predict_proba(X), expected, atol=1e-6)


def check_to_torch(run, line, request):
    torch = request.getfixturevalue("torch")
    net = mlp.MLP(SIZES)
    module = run(line, net=net)["module"]
    found = torch.nn.CrossEntropyLoss()(module(torch.tensor(X, dtype=torch.float32)), torch.tensor(y))
    assert float(found.detach()) == pytest.approx(net.evaluate(X, y)[0], rel=1e-5)


def check_torch_decay(run, line, request):
    """PyTorch's optimizer with the biases in a separate parameter group, compared with ours."""
    torch = request.getfixturevalue("torch")
    decay, module = 0.2, torch_classifier(torch)
    made = run(line, decay=decay)
    net, optimizer = made.get("net", mlp.MLP(SIZES)), made.get("optimizer", mlp.SGD(ETA))
    start = copy_parameters(mlp.from_torch(module))
    weights, biases = (
        [p for name, p in module.named_parameters() if name.endswith(part)] for part in ("weight", "bias")
    )
    groups = [{"params": weights, "weight_decay": decay}, {"params": biases, "weight_decay": 0}]
    theirs = torch.optim.SGD(groups, lr=ETA) if "net" in made else torch.optim.AdamW(groups, lr=0.001)
    for _ in range(3):
        theirs.zero_grad()
        torch.nn.CrossEntropyLoss()(module(torch.tensor(X, dtype=torch.float32)), torch.tensor(y)).backward()
        theirs.step()
    assert_training_gives(net, optimizer, start, copy_parameters(mlp.from_torch(module)), epochs=3)


def check_book_network(run, line, request):
    """The book's constructor draws all biases, then all weights; a step follows the book's equations."""
    Network = run(line)["Network"]
    np.random.seed(5)  # noqa: NPY002
    biases = [np.random.randn(n_out, 1) for n_out in SIZES[1:]]  # noqa: NPY002
    weights = [np.random.randn(n_out, n_in) for n_in, n_out in pairwise(SIZES)]  # noqa: NPY002
    np.random.seed(5)  # noqa: NPY002
    net = Network(list(SIZES))
    for actual, desired in zip([*net.biases, *net.weights], [*biases, *weights], strict=True):
        assert_array_equal(actual, desired)
    start = [W.T for W in weights], [b[:, 0] for b in biases]
    random.seed(0)
    net.SGD([(row[:, None], target[:, None]) for row, target in zip(X, ONE_HOT, strict=True)], 1, N, 3.0)
    end = book_step(start, ONE_HOT, 3.0)
    for actual, desired in zip([*net.weights, *net.biases], [*end[0], *end[1]], strict=True):
        assert_allclose(np.squeeze(actual.T), desired, rtol=1e-8, atol=1e-10)


def check_book_terms(run, line, request):
    assert run(line)["net"].sizes == (784, 30, 10)
    net = run(line.replace("[784, 30, 10]", "sizes"))["net"]
    start = copy_parameters(net)
    assert all(0.7 < np.std(W) < 1.3 for W in start[0])
    assert np.std(np.concatenate(start[1])) > 0.5
    assert_training_gives(net, mlp.SGD(3.0), start, book_step(start, ONE_HOT, 3.0), targets=ONE_HOT)


def check_lambda(run, line, request):
    """The book's equation 93: w becomes (1 - eta lambda / n) w - eta dC0/dw; b has no penalty."""
    lmbda = 30.0
    net = run(line, lmbda=lmbda)["net"]
    start, (dW, db) = copy_parameters(net), gradients(net)
    weights = [(1 - ETA * lmbda / N) * w - ETA * slope for w, slope in zip(start[0], dW, strict=True)]
    biases = [b - ETA * slope for b, slope in zip(start[1], db, strict=True)]
    assert_training_gives(net, mlp.SGD(ETA), start, (weights, biases))


def check_book_cross_entropy(run, line, request):
    lmbda = 30.0
    made = run(line, lmbda=lmbda)
    start = copy_parameters(made["net"])
    end = book_step(start, ONE_HOT, ETA, cross_entropy=True, lmbda=lmbda)
    assert_training_gives(made["net"], made["optimizer"], start, end, targets=ONE_HOT)


CHECKS = {
    "import MLPClassifier": check_estimator,
    "from_sklearn": check_from_sklearn,
    "alpha / batch_size": check_alpha,
    "mlp.Adam(epsilon_hat=True)": check_sklearn_solver,
    "nesterov=True": check_sklearn_solver,
    "glorot_uniform": check_keras_layers,
    "2 * c": check_keras_l2,
    "epsilon=1e-7": check_keras_adam,
    "from_torch": check_from_torch,
    "to_torch": check_to_torch,
    "l2=decay": check_torch_decay,
    "AdamW": check_torch_decay,
    "import Network": check_book_network,
    '"quadratic"': check_book_terms,
    "l2=lmbda / n)": check_lambda,
    "l2=lmbda / n / k": check_book_cross_entropy,
}


@pytest.mark.parametrize("line", table())
def test_a_line_of_the_table_does_what_it_replaces(line, run, request):
    [check] = [check for part, check in CHECKS.items() if part in line]
    check(run, line, request)


def test_the_table_has_all_its_lines():
    assert len(table()) == len(CHECKS)
