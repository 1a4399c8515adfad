"""`mlp.classic.Network` compared with the algorithm of Nielsen's book, written here for one example at a time."""

from __future__ import annotations

import pickle
import random
from itertools import pairwise

import numpy as np
import pytest

import mlp
from mlp.classic import Network, sigmoid, sigmoid_prime

X, Y = np.zeros((4, 1)), np.zeros((2, 1))
"""An input and a target for a network of sizes [4, 3, 2]."""


class Reference:
    """Chapters 1 and 2 of the book in plain NumPy: one example at a time, gradients summed over a mini-batch."""

    def __init__(self, sizes):
        self.biases = [np.random.randn(n, 1) for n in sizes[1:]]  # noqa: NPY002 - the book draws from this generator
        self.weights = [np.random.randn(n, m) for m, n in pairwise(sizes)]  # noqa: NPY002

    def activations(self, x):
        layers = [x]
        for w, b in zip(self.weights, self.biases, strict=True):
            layers.append(1 / (1 + np.exp(-(w @ layers[-1] + b))))
        return layers

    def gradients(self, x, y):
        a = self.activations(x)
        delta = (a[-1] - y) * a[-1] * (1 - a[-1])
        found = [(delta, delta @ a[-2].T)]
        for l in range(len(self.weights) - 1, 0, -1):
            delta = (self.weights[l].T @ delta) * a[l] * (1 - a[l])
            found.append((delta, delta @ a[l - 1].T))
        return found[::-1]

    def step(self, batch, eta):
        totals = [(0 * b, 0 * w) for b, w in zip(self.biases, self.weights, strict=True)]
        for x, y in batch:
            totals = [(p + q, r + s) for (p, r), (q, s) in zip(totals, self.gradients(x, y), strict=True)]
        rate = eta / len(batch)
        self.biases = [b - rate * total for b, (total, _) in zip(self.biases, totals, strict=True)]
        self.weights = [w - rate * total for w, (_, total) in zip(self.weights, totals, strict=True)]

    def count_correct(self, tests):
        return sum(int(self.activations(x)[-1].argmax() == number) for x, number in tests)

    def train(self, pairs, epochs, size, eta, tests=None):
        lines = []
        for epoch in range(epochs):
            random.shuffle(pairs)
            for first in range(0, len(pairs), size):
                self.step(pairs[first : first + size], eta)
            lines.append(
                f"Epoch {epoch}: {self.count_correct(tests)} / {len(tests)}" if tests else f"Epoch {epoch} complete"
            )
        return lines


@pytest.fixture(scope="module")
def digits():
    """Training pairs and test pairs in the book's shapes, with float32 inputs, as its loader returns them."""
    data = mlp.data.load("digits")
    columns = [x[:, None] / np.float32(16) for x in data.X.astype(np.float32)]
    pairs = [(x, np.eye(10)[:, [label]]) for x, label in zip(columns, data.y, strict=True)]
    tests = [(x[:, None] / np.float32(16), label) for x, label in zip(data.X_test, data.y_test, strict=True)]
    return pairs, tests


def seeded(kind, sizes, **options):
    np.random.seed(7)  # noqa: NPY002
    random.seed(7)
    return kind(sizes, **options)


def assert_same(net, reference, tolerance=1e-10):
    for actual, desired in zip([*net.weights, *net.biases], [*reference.weights, *reference.biases], strict=True):
        np.testing.assert_allclose(actual, desired, rtol=0, atol=tolerance)


@pytest.mark.parametrize("sizes", [[64, 10], [64, 30, 10], [64, 12, 8, 10]], ids=str)
def test_the_same_seeds_give_the_books_run(digits, backend, sizes, capsys):
    pairs, tests = digits
    net = seeded(Network, sizes, backend=backend)
    pairs_of_net = list(pairs)
    net.SGD(pairs_of_net, 3, 10, 3.0, test_data=tests)
    printed, drawn_next = capsys.readouterr().out.splitlines(), random.random()
    reference = seeded(Reference, sizes)
    pairs_of_reference = list(pairs)
    assert printed == reference.train(pairs_of_reference, 3, 10, 3.0, tests)
    assert_same(net, reference)
    assert all(a is b for a, b in zip(pairs_of_net, pairs_of_reference, strict=True)), (
        "the list is shuffled as the book shuffles it"
    )
    assert drawn_next == random.random()


@pytest.mark.parametrize("size", [1, 7, 500, 5000])
def test_ragged_and_large_mini_batches(digits, backend, size):
    pairs = digits[0][:53]
    net = seeded(Network, [64, 5, 10], backend=backend)
    net.SGD(list(pairs), 2, size, 0.5)
    reference = seeded(Reference, [64, 5, 10])
    reference.train(list(pairs), 2, size, 0.5)
    assert_same(net, reference)


def test_more_examples_than_are_gathered_at_a_time(digits, backend):
    pairs = digits[0] * 4
    net = seeded(Network, [64, 5, 10], backend=backend)
    net.SGD(list(pairs), 1, 9, 0.5)
    reference = seeded(Reference, [64, 5, 10])
    reference.train(list(pairs), 1, 9, 0.5)
    assert len(pairs) > 2 * mlp.classic.network._CHUNK_ROWS
    assert_same(net, reference)


def test_full_batch(digits, backend, capsys):
    pairs, tests = digits
    before = list(pairs)
    net = seeded(Network, [64, 5, 10], backend=backend)
    net.GD(before, 3, 2.0, test_data=tests)
    reference = seeded(Reference, [64, 5, 10])
    for _ in range(3):
        reference.step(pairs, 2.0)
    assert_same(net, reference)
    assert capsys.readouterr().out.splitlines()[-1] == f"Epoch 2: {reference.count_correct(tests)} / {len(tests)}"
    assert all(a is b for a, b in zip(before, pairs, strict=True)), "there is nothing to shuffle"


def test_single_calls(digits, backend):
    pairs, tests = digits
    net, reference = seeded(Network, [64, 6, 10], backend=backend), seeded(Reference, [64, 6, 10])
    x, y = pairs[0]
    np.testing.assert_allclose(net.feedforward(x), reference.activations(x)[-1], atol=1e-14)
    side_by_side = np.hstack([x for x, _ in pairs[:5]])
    np.testing.assert_allclose(net.feedforward(side_by_side), reference.activations(side_by_side)[-1], atol=1e-14)
    nabla_b, nabla_w = net.backprop(x, y)
    for b, w, (expected_b, expected_w) in zip(nabla_b, nabla_w, reference.gradients(x, y), strict=True):
        assert b.shape == expected_b.shape
        assert w.shape == expected_w.shape
        np.testing.assert_allclose(b, expected_b, atol=1e-14)
        np.testing.assert_allclose(w, expected_w, atol=1e-14)
    assert net.evaluate(tests) == reference.count_correct(tests)
    net.update_mini_batch(pairs[:10], 3.0)
    reference.step(pairs[:10], 3.0)
    assert_same(net, reference)
    np.testing.assert_array_equal(net.cost_derivative(np.array([[0.8]]), np.array([[1.0]])), [[0.8 - 1.0]])


def test_iterators_as_the_books_loader_returns_them(digits, capsys):
    pairs, tests = digits
    net, reference = seeded(Network, [64, 5, 10]), seeded(Reference, [64, 5, 10])
    seeded(Network, [64, 5, 10])
    net.SGD(zip(*zip(*pairs, strict=True), strict=True), 1, 10, 3.0, test_data=iter(tests))
    seeded(Network, [64, 5, 10])
    reference.train(list(pairs), 1, 10, 3.0)
    assert_same(net, reference)
    assert capsys.readouterr().out == f"Epoch 0: {reference.count_correct(tests)} / {len(tests)}\n"


def test_parameters_may_be_changed_in_place_and_replaced(digits):
    x, y = digits[0][0]
    net = seeded(Network, [64, 4, 10])
    held = net.weights[0]
    net.weights[0][2, 5] = 9.0
    net.biases[1][3, 0] = -9.0
    net.weights[1] = np.zeros((10, 4), int)
    assert net.feedforward(x)[3, 0] == pytest.approx(1 / (1 + np.exp(9.0)), rel=1e-14)
    net.weights = [w + 1 for w in net.weights]
    net.update_mini_batch([(x, y)], 1.0)
    assert net.weights[1].dtype == np.float64
    assert held[2, 5] == 9.0, "training makes new arrays, as the book does"
    net.weights[0] *= 0.0
    assert not net.weights[0].any()


def test_what_a_subclass_overrides_is_used(digits):
    pairs, tests = digits[0][:40], digits[1][:40]
    calls = []

    class CrossEntropy(Network):
        """A cost whose derivative cancels that of the sigmoid."""

        def cost_derivative(self, output_activations, y):
            calls.append("cost_derivative")
            return (output_activations - y) / (output_activations * (1 - output_activations))

    class CustomUpdate(Network):
        def update_mini_batch(self, mini_batch, eta):
            calls.append(f"update_mini_batch {len(mini_batch)}")
            super().update_mini_batch(mini_batch, eta)

        def feedforward(self, a):
            calls.append("feedforward")
            return -super().feedforward(a)

    net, reference = seeded(CrossEntropy, [64, 10]), seeded(Reference, [64, 10])
    rows = list(pairs)
    random.seed(1)
    net.SGD(rows, 1, 8, 0.5)
    w, b = reference.weights[0], reference.biases[0]
    for first in range(0, 40, 8):
        X, Y = (np.hstack(part) for part in zip(*rows[first : first + 8], strict=True))
        delta = 1 / (1 + np.exp(-(w @ X + b))) - Y
        w, b = w - 0.5 / 8 * delta @ X.T, b - 0.5 / 8 * delta.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(net.weights[0], w, atol=1e-12)
    np.testing.assert_allclose(net.biases[0], b, atol=1e-12)
    assert calls == ["cost_derivative"] * 40
    calls.clear()
    CustomUpdate([64, 10]).SGD(list(pairs), 1, 16, 0.5, test_data=tests)
    assert calls == ["update_mini_batch 16"] * 2 + ["update_mini_batch 8"] + ["feedforward"] * 40


def test_float32(digits, backend):
    pairs = digits[0][:200]
    net = seeded(Network, [64, 8, 10], backend=backend, dtype="float32")
    assert {array.dtype for array in (*net.weights, *net.biases)} == {np.dtype(np.float32)}
    net.SGD(list(pairs), 2, 10, 1.0)
    reference = seeded(Reference, [64, 8, 10])
    reference.train(list(pairs), 2, 10, 1.0)
    assert_same(net, reference, 1e-4)
    assert net.feedforward(pairs[0][0]).dtype == np.float32


def test_it_pickles():
    net = Network([3, 4, 2])
    again = pickle.loads(pickle.dumps(net))
    x = np.ones((3, 1))
    np.testing.assert_array_equal(again.feedforward(x), net.feedforward(x))


def test_a_used_up_iterator_is_told():
    pairs = zip([X], [Y], strict=True)
    list(pairs)
    with pytest.raises(mlp.DataError, match=r"training_data is empty\. A zip can be iterated only once"):
        Network([4, 3, 2]).SGD(pairs, 1, 1, 1.0)
    with pytest.raises(mlp.DataError, match="test_data is empty"):
        Network([4, 3, 2]).SGD([(X, Y)], 1, 1, 1.0, test_data=pairs)


def test_no_test_data(capsys):
    Network([4, 3, 2]).SGD([(X, Y)], 1, 1, 1.0, test_data=[])
    assert capsys.readouterr().out == "Epoch 0 complete\n"


def test_as_a_network_of_the_framework(digits):
    pairs, tests = digits
    net = Network([64, 8, 10])
    copied = net.to_mlp()
    assert copied.score([x[:, 0] for x, _ in tests], [n for _, n in tests]) == net.evaluate(tests) / len(tests)
    copied.weights = [0 * w for w in copied.weights]
    net.update_mini_batch(pairs[:2], 1.0)
    assert all(w.any() for w in net.weights)
    assert not any(w.any() for w in copied.weights)


def test_sigmoid_and_its_slope():
    z = np.array([-800.0, -1.0, 0.0, 2.0, 800.0])
    np.testing.assert_allclose(sigmoid(z), [0, 1 / (1 + np.e), 0.5, 1 / (1 + np.exp(-2.0)), 1], rtol=1e-15)
    h = 1e-6
    np.testing.assert_allclose(sigmoid_prime(z), (sigmoid(z + h) - sigmoid(z - h)) / (2 * h), atol=1e-9)


@pytest.mark.parametrize(
    ("pairs", "error", "said"),
    [
        ([(X, Y), (X[:3], Y)], mlp.ShapeError, r"training_data\[\d\]: x has shape \(3, 1\).*layer 1 .*\(4, 1\)"),
        ([(X, Y), (X[:, 0], Y)], mlp.ShapeError, r"training_data\[\d\]: x has shape \(4,\).*reshape\(4, 1\)"),
        ([(X, Y), (X, 1)], mlp.ShapeError, r"training_data\[\d\]: y has shape \(\).*layer 2 .*\(2, 1\)"),
        ([(X, Y), (X, Y, Y)], mlp.ShapeError, r"training_data\[\d\] is not a pair"),
        ([(X, Y), 3], mlp.ShapeError, r"training_data\[\d\] is not a pair"),
        ([], mlp.DataError, "training_data is empty.*zip"),
        ([(X, Y), (X + np.nan, Y)], mlp.DataError, "example [01], in the order of this epoch, is not finite"),
        ([(X, Y), (X, Y - np.inf)], mlp.DataError, "example [01], in the order of this epoch, is not finite"),
        ([(X + 1j, Y)], mlp.DtypeError, "complex"),
        ([(np.full((4, 1), "a"), Y)], mlp.DtypeError, "text"),
    ],
)
def test_bad_examples_are_named_and_nothing_is_learnt(pairs, error, said, backend):
    net = Network([4, 3, 2], backend=backend)
    before = [array.copy() for array in (*net.weights, *net.biases)]
    with pytest.raises(error, match=said):
        net.SGD(pairs, 1, 1, 1.0)
    for now, then in zip((*net.weights, *net.biases), before, strict=True):
        np.testing.assert_array_equal(now, then)


@pytest.mark.parametrize(
    ("act", "said"),
    [
        (lambda net: net.feedforward(np.zeros(4)), r"shape \(4,\), and layer 1 .*reshape\(4, 1\)"),
        (lambda net: net.feedforward(np.zeros((1, 4))), r"shape \(1, 4\), and layer 1"),
        (lambda net: net.backprop(X, Y[:1]), r"backprop: y has shape \(1, 1\), and layer 2"),
        (lambda net: net.update_mini_batch([(Y, Y)], 1.0), r"mini_batch\[0\]: x has shape \(2, 1\)"),
        (lambda net: net.evaluate([(X, 1), (X, Y)]), r"test_data\[1\]: y has shape \(2, 1\).*argmax"),
        (lambda net: net.SGD([(X, Y)], 1, 0, 1.0), "mini_batch_size must be a positive integer"),
        (lambda net: net.SGD([(X, Y)], 1, 1, float("nan")), "eta must be"),
        (lambda net: net.SGD([(X, Y)], 1.5, 1, 1.0), "epochs must be a positive integer"),
        (lambda net: Network([4]), "an input and an output"),
        (lambda net: Network([4, 2], backend="nunba"), "did you mean 'numba'"),
    ],
)
def test_what_is_wrong_is_said(act, said):
    with pytest.raises(mlp.MLPError, match=said):
        act(Network([4, 3, 2]))


def test_a_rate_that_is_too_large_is_blamed(backend):
    net = Network([1, 1], backend=backend)
    net.weights, net.biases = [np.zeros((1, 1))], [np.zeros((1, 1))]
    with pytest.raises(mlp.ConfigurationError, match=r"with eta=1e\+20 the weights are not finite"):
        net.update_mini_batch([(np.array([[1e300]]), np.array([[1.0]]))], 1e20)
    assert not net.weights[0].any()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda net: net.weights.__setitem__(1, np.zeros((3, 2))),
            r"weights\[1\] of layer 2 .*\(3, 2\), not \(2, 3\)",
        ),
        (
            lambda net: net.biases.__setitem__(0, np.zeros(3)),
            r"biases\[0\] of layer 1 has shape \(3,\), not \(3, 1\)",
        ),
        (lambda net: net.weights.pop(), "weights contains 1 arrays, but the network needs 2"),
    ],
)
def test_parameters_that_do_not_fit_name_their_layer(change, said):
    net = Network([4, 3, 2])
    change(net)
    with pytest.raises(mlp.ShapeError, match=said):
        net.feedforward(X)
