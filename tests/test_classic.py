"""The systems of the course notes: compared with the figures in the notes, and with formulas written out here."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import backends
import mlp
from mlp import classic
from mlp.classic import MPNeuron, Network, Neuron, Perceptron

CORNERS = [[0, 0], [0, 1], [1, 0], [1, 1]]


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


# -- neurons --------------------------------------------------------------------------------------------


def test_a_neuron():
    neuron = Neuron([0.5, 1.5, 0.7], threshold=2)
    assert neuron.weighted_sum([0, 1, 1]) == 2.2
    assert neuron([0, 1, 1]) == 1
    assert neuron([1, 1, 0]) == 1, "reaching the threshold is enough"
    assert neuron([0, 1, 0]) == 0
    assert Neuron([0.5, 1.5, 0.7], bias=-0.25, threshold=2).weighted_sum([0, 1, 1]) == pytest.approx(1.95)
    np.testing.assert_array_equal(neuron([[0, 1, 1], [1, 0, 0]]), [1, 0])


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_gates(n):
    rows = list(product((0, 1), repeat=n))
    np.testing.assert_array_equal(MPNeuron.AND(n)(rows), [all(row) for row in rows])
    np.testing.assert_array_equal(MPNeuron.OR()(rows), [any(row) for row in rows])
    np.testing.assert_array_equal(MPNeuron.majority(n)(rows), [sum(row) > n / 2 for row in rows])
    assert [MPNeuron.NOT()([x]) for x in (0, 1)] == [1, 0]


def test_an_inhibiting_input_silences_whatever_the_others_are():
    neuron = MPNeuron(1, inhibiting=[2])
    rows = list(product((0, 1), repeat=3))
    np.testing.assert_array_equal(neuron(rows), [(a or b) and not c for a, b, c in rows])


@pytest.mark.parametrize(
    ("act", "error"),
    [
        (lambda: MPNeuron(1)([0, 2]), mlp.DataError),
        (lambda: MPNeuron(1)(1), mlp.ShapeError),
        (lambda: MPNeuron(1, inhibiting=[2])([0, 1]), mlp.ShapeError),
        (lambda: MPNeuron.AND(0), mlp.ConfigurationError),
        (lambda: Neuron([1.0, 2.0])([1.0]), mlp.ShapeError),
        (lambda: Neuron([1.0, 2.0])([1.0, np.nan]), mlp.DataError),
        (lambda: Neuron([[1.0], [2.0]]), mlp.ShapeError),
        (lambda: Neuron(["a"]), mlp.DtypeError),
        (lambda: classic.layer([1, 2], [[1, 2]], [1, 2]), mlp.ShapeError),
        (lambda: Perceptron(2, "relu"), mlp.UnknownNameError),
        (lambda: Perceptron(2, learning_rate=0), mlp.ConfigurationError),
        (lambda: Perceptron(2).fit(CORNERS, [0, 1, 2, 1]), mlp.DataError),
        (lambda: Perceptron(2).fit(CORNERS, [0, 1, 1]), mlp.ShapeError),
        (lambda: Perceptron(3).fit(CORNERS, [0, 1, 1, 1]), mlp.ShapeError),
        (lambda: classic.nine_gradients(mlp.MLP([2, 3, 1], loss="mse"), [1, 2], 0), mlp.ConfigurationError),
        (lambda: classic.twelve_steps(y=[1, 0]), mlp.ShapeError),
        (lambda: classic.squared_differences([1, 2], [1]), mlp.ShapeError),
        (lambda: classic.average_cost(lambda x: x, []), mlp.DataError),
        (lambda: classic.confidence_on_noise(mlp.MLP([4, 3])), mlp.ConfigurationError),
        (lambda: classic.compare_descents(batch_sizes=(1000,)), mlp.ConfigurationError),
        (lambda: classic.sine_fits(neurons=(0,)), mlp.ConfigurationError),
    ],
)
def test_what_does_not_fit_is_refused(act, error):
    with pytest.raises(error):
        act()


def test_a_layer_of_three_neurons(backend):
    weights = [[0.2, 0.8, -0.5, 1.0], [0.5, -0.91, 0.26, -0.5], [-0.26, -0.27, 0.17, 0.87]]
    biases = [2.0, 3.0, 0.5]
    batch = [[1, 2, 3, 2.5], [2, 5, -1, 2], [-1.5, 2.7, 3.3, -0.8]]
    expected = [[4.8, 1.21, 2.385], [8.9, -1.81, 0.2], [1.41, 1.051, 0.026]]
    np.testing.assert_allclose(classic.layer(batch[0], weights, biases, backend=backend), expected[0], rtol=1e-14)
    np.testing.assert_allclose(classic.layer(batch, weights, biases, backend=backend), expected, atol=1e-14)
    clipped = classic.layer(batch, weights, biases, "relu", backend=backend)
    np.testing.assert_allclose(clipped, np.maximum(expected, 0), atol=1e-14)
    xp = backends.get_backend(backend)
    with pytest.raises(mlp.ShapeError, match=r"dim 1 of a = 4 must equal dim 0 of b = 3\. The transpose of b fits"):
        xp.matmul(xp.asarray(batch), xp.asarray(weights))


# -- perceptron -----------------------------------------------------------------------------------------


def reference_perceptron(X, y, *, rate, per_row, epochs):
    """Apply the notes' rule until an epoch has no mistakes; return weights (w0, w1, ...) and mistakes of each epoch."""
    rows = np.column_stack([np.ones(len(X)), X])
    w, mistakes = np.zeros(rows.shape[1]), []
    for _ in range(epochs):
        mistakes.append(0)
        for part in range(len(rows)) if per_row else [slice(None)]:
            x, t = np.atleast_2d(rows[part]), np.atleast_1d(np.array(y)[part])
            wrong = (x @ w >= 0) - t
            mistakes[-1] += int(abs(wrong).sum())
            w = w - rate / len(x) * (wrong @ x)
        if not mistakes[-1]:
            break
    return w, tuple(mistakes)


@st.composite
def separable(draw):
    """Draw rows of two classes with a margin between them, and their classes."""
    n_inputs, seed = draw(st.integers(1, 4)), draw(st.integers(0, 10_000))
    generator = np.random.default_rng(seed)
    X, w = generator.normal(size=(30, n_inputs)), generator.normal(size=n_inputs + 1)
    z = (X @ w[1:] + w[0]) / np.linalg.norm(w)
    outside_margin = abs(z) > draw(st.floats(0.05, 0.5))
    return X[outside_margin], (z[outside_margin] > 0).astype(int)


@given(separable(), st.booleans(), st.sampled_from([0.1, 1.0, 3.0]))
def test_separable_rows_are_learnt_within_the_bound(rows, per_row, rate):
    X, y = rows
    if not len(X):
        return
    perceptron = Perceptron(X.shape[1], learning_rate=rate)
    learning = perceptron.fit(X, y, epochs=20_000, per_row=per_row)
    assert learning.converged
    assert learning.mistakes[-1] == 0
    assert sum(learning.mistakes) <= learning.bound < np.inf
    assert "converged" in learning.verdict
    np.testing.assert_array_equal(perceptron.predict(X), y)
    w, mistakes = reference_perceptron(X, y, rate=rate, per_row=per_row, epochs=20_000)
    assert learning.mistakes == mistakes
    np.testing.assert_allclose([perceptron.bias, *perceptron.weights], w, atol=1e-9)


@pytest.mark.parametrize("kind", ["AND", "OR"])
def test_the_margin_of_a_gate_is_that_of_a_support_vector_machine(kind):
    from sklearn.svm import SVC

    X = np.array(CORNERS, float)
    y = X.all(axis=1) if kind == "AND" else X.any(axis=1)
    rows = np.column_stack([X, np.ones(4)]) * np.where(y, 1, -1)[:, None]
    machine = SVC(kernel="linear", C=1e9, tol=1e-12).fit(np.vstack([rows, -rows]), np.repeat([1, 0], 4))
    margin = 1 / np.linalg.norm(machine.coef_)
    assert classic.mistake_bound(X, y.astype(int)) == pytest.approx(3 / margin**2, rel=1e-6)


@pytest.mark.parametrize("middle", [0.0, 10.0, 1e4, 1e6])
def test_the_bound_of_two_points_however_far_from_the_origin(middle):
    bound = classic.mistake_bound([[middle - 1], [middle + 1]], [0, 1])
    assert bound == pytest.approx(((middle + 1) ** 2 + 1) * (middle**2 + 1), rel=1e-6)
    assert classic.mistake_bound(np.add(CORNERS, middle), [0, 1, 1, 0]) == np.inf


@pytest.mark.parametrize("per_row", [True, False])
def test_xor_is_told_to_be_not_separable(per_row, caplog):
    learning = Perceptron(2).fit(CORNERS, [0, 1, 1, 0], per_row=per_row)
    assert not learning.converged
    assert learning.bound == np.inf
    assert len(learning.mistakes) == 100
    assert min(learning.mistakes) > 0
    assert "not separable" in learning.verdict
    assert "not separable" in caplog.text


def test_going_on_has_no_bound():
    perceptron = Perceptron(2)
    first = perceptron.fit(CORNERS, [0, 0, 0, 1], epochs=2)
    assert "not converged" in first.verdict
    second = perceptron.fit(CORNERS, [0, 0, 0, 1])
    assert (second.converged, second.bound) == (True, None)


@pytest.mark.parametrize("per_row", [True, False])
def test_the_sigmoid_descends_the_log_loss(per_row, backend):
    X, y = np.array(CORNERS, float), np.array([0, 1, 1, 1])
    perceptron = Perceptron(2, "sigmoid", learning_rate=0.7, backend=backend)
    learning = perceptron.fit(X, y, epochs=40, per_row=per_row)
    w, losses = np.zeros(3), []
    rows = np.column_stack([np.ones(4), X])
    for _ in range(40):
        losses.append([])
        for part in [[0], [1], [2], [3]] if per_row else [[0, 1, 2, 3]]:
            a, t = sigmoid(rows[part] @ w), y[part]
            losses[-1].append(-np.mean(t * np.log(a) + (1 - t) * np.log(1 - a)))
            w -= 0.7 / len(part) * ((a - t) @ rows[part])
    np.testing.assert_allclose([perceptron.bias, *perceptron.weights], w, rtol=1e-12)
    np.testing.assert_allclose(learning.losses, np.mean(losses, axis=1), rtol=1e-12)
    assert learning.converged
    assert learning.bound is None


# -- derivatives ----------------------------------------------------------------------------------------


def test_one_hidden_layer_for_all_rows(backend):
    generator = np.random.default_rng(3)
    X, y = generator.normal(size=(7, 4)), generator.integers(0, 2, 7)
    net = classic.one_hidden_layer(4, 5, seed=3, backend=backend)
    net.biases = [generator.normal(size=5), generator.normal(size=1)]
    (W1, W2), (b1, b2), m = net.weights, net.biases, len(X)
    z1 = X @ W1 + b1
    a1 = np.tanh(z1)
    z2 = a1 @ W2 + b2
    a2 = sigmoid(z2)
    t = y[:, None]
    dz2 = (a2 - t) / m
    da1 = dz2 @ W2.T
    dz1 = da1 * (1 - a1**2)
    expected = {
        "z1": z1,
        "a1": a1,
        "z2": z2,
        "a2": a2,
        "J": -np.mean(t * np.log(a2) + (1 - t) * np.log(1 - a2)),
        "dz2": dz2,
        "dW2": a1.T @ dz2,
        "db2": dz2.sum(axis=0),
        "da1": da1,
        "dz1": dz1,
        "dW1": X.T @ dz1,
        "db1": dz1.sum(axis=0),
    }
    found = classic.slopes(net, X, y)
    assert list(found) == list(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-12, atol=1e-15, err_msg=name)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("y", [0.0, 0.8, 1.0])
def test_the_nine_gradients_of_the_2_2_1_network(seed, y, backend):
    net = classic.two_two_one(seed=seed, backend=backend)
    (W, V), (b, (c,)) = net.weights, net.biases
    (w11, w12), (w21, w22), (b1, b2), ((v1,), (v2,)) = *W, b, V
    x1, x2 = 0.3, -1.2
    z1, z2 = sigmoid(w11 * x1 + w21 * x2 + b1), sigmoid(w12 * x1 + w22 * x2 + b2)
    z3 = sigmoid(v1 * z1 + v2 * z2 + c)
    d = z3 - y
    expected = {
        "w11": d * v1 * z1 * (1 - z1) * x1,
        "w12": d * v2 * z2 * (1 - z2) * x1,
        "w21": d * v1 * z1 * (1 - z1) * x2,
        "w22": d * v2 * z2 * (1 - z2) * x2,
        "b1": d * v1 * z1 * (1 - z1),
        "b2": d * v2 * z2 * (1 - z2),
        "v1": d * z1,
        "v2": d * z2,
        "c": d,
    }
    assert classic.nine_gradients(net, [x1, x2], y) == pytest.approx(expected, rel=1e-12)


def test_the_nine_gradients_are_the_slopes_of_the_notes_cost():
    names = ("w11", "w12", "w21", "w22", "b1", "b2", "v1", "v2", "c")
    x1, x2, y, epsilon = 0.3, -1.2, 0.8, 1e-6

    def cost(parameters):
        w11, w12, w21, w22, b1, b2, v1, v2, c = parameters
        z1, z2 = sigmoid(w11 * x1 + w21 * x2 + b1), sigmoid(w12 * x1 + w22 * x2 + b2)
        z3 = sigmoid(v1 * z1 + v2 * z2 + c)
        return -y * np.log(z3) - (1 - y) * np.log(1 - z3)

    net = classic.two_two_one(seed=4)
    (W, V), (b, c) = net.weights, net.biases
    point = np.concatenate([W.ravel(), b, V.ravel(), c])
    slopes = [(cost(point + shift) - cost(point - shift)) / (2 * epsilon) for shift in epsilon * np.eye(9)]
    assert classic.nine_gradients(net, [x1, x2], y) == pytest.approx(dict(zip(names, slopes, strict=True)), rel=1e-7)
    assert net.evaluate([[x1, x2]], [y])[0] == pytest.approx(cost(point), rel=1e-12)


def test_the_network_of_digits():
    sizes = [784, 16, 16, 10]
    net = Network(sizes)
    assert classic.parameter_count(sizes) == 13_002 == sum(a.size for a in (*net.weights, *net.biases))
    assert classic.layer_shapes(sizes) == [(w.shape, b.shape) for w, b in zip(net.weights, net.biases, strict=True)]
    assert classic.layer_shapes(sizes) == [((16, 784), (16, 1)), ((16, 16), (16, 1)), ((10, 16), (10, 1))]


def test_cost_of_one_example_and_the_average_over_all():
    generator = np.random.default_rng(0)
    net = Network([6, 4, 3])
    examples = [(generator.normal(size=(6, 1)), generator.uniform(size=(3, 1))) for _ in range(9)]
    costs = [float(((net.feedforward(x) - y) ** 2).sum()) for x, y in examples]
    assert classic.squared_differences(net.feedforward(examples[0][0]), examples[0][1]) == pytest.approx(costs[0])
    assert classic.average_cost(net.feedforward, examples) == pytest.approx(sum(costs) / 9, rel=1e-14)


# -- gradient descent -------------------------------------------------------------------------------------


def test_a_descent_in_one_dimension():
    runs = classic.one_dimension(start=-2.0, steps=12)
    for run in runs.values():
        np.testing.assert_allclose(run.x, -2.0 * (1 - 2 * run.learning_rate) ** np.arange(13), rtol=1e-12)
        np.testing.assert_allclose(run.cost, run.x**2, rtol=1e-12)
    assert runs["too low"].cost[-1] > 0.5 * runs["too low"].cost[0]
    assert runs["just right"].cost[-1] < 1e-8
    assert runs["too high"].cost[-1] > runs["too high"].cost[0]


def test_descents_with_batches_of_several_sizes(backend):
    found = classic.compare_descents(n=64, epochs=6, backend=backend)
    assert [(path.name, path.batch_size) for path in found.paths] == [
        ("full batch", 64),
        ("one row", 1),
        ("16 rows", 16),
        ("32 rows", 32),
    ]
    x, y = found.X[:, 0], found.y
    for path in found.paths:
        assert path.parameters.shape == (1 + 6 * (64 // path.batch_size), 2)
        np.testing.assert_array_equal(path.parameters[0], [-2, -2])
        expected = [0.5 * np.mean((w * x + b - y) ** 2) for w, b in path.parameters]
        np.testing.assert_allclose(path.cost, expected, rtol=1e-12)
    w, b = found.paths[0].parameters[0]
    for now in found.paths[0].parameters[1:]:
        r = w * x + b - y
        w, b = w - 0.1 * np.mean(r * x), b - 0.1 * np.mean(r)
        np.testing.assert_allclose(now, [w, b], rtol=1e-12)
    full, one, *_ = found.paths
    assert (np.diff(full.cost) < 0).all()
    assert (np.diff(one.cost) > 0).any(), "single rows do not always lead downwards"
    assert one.cost[-1] < full.cost[-1], "but in as many epochs they lead further"
    surface = found.surface
    assert surface.cost.shape == (len(surface.b), len(surface.w))
    i, j = 7, 50
    assert surface.cost[i, j] == pytest.approx(0.5 * np.mean((surface.w[j] * x + surface.b[i] - y) ** 2))


# -- experiments ----------------------------------------------------------------------------------------


def test_lines_bent_onto_a_sine():
    found = classic.sine_fits()
    assert list(found.fits) == ["linear", "1 neuron", "2 neurons", "8 neurons", "64 neurons"]
    losses = list(found.losses.values())
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 0.002
    best = np.polyfit(found.x, found.y, 1)
    np.testing.assert_allclose(found.fits["linear"], np.polyval(best, found.x), atol=0.05)
    np.testing.assert_allclose(np.diff(found.fits["linear"], 2), 0, atol=1e-12)
    kinks = np.count_nonzero(abs(np.diff(found.fits["2 neurons"], 2)) > 1e-9)
    assert 2 <= kinks <= 4, "a kink between two points is seen from both"
    for name, fit in found.fits.items():
        assert found.losses[name] == pytest.approx(np.mean((fit - found.y) ** 2))


def test_a_network_is_sure_of_noise():
    noise = classic.confidence_on_noise(n=300, seed=4)
    assert noise.images.shape == (300, 64)
    assert (noise.images.min(), noise.images.max()) == (0, 16)
    np.testing.assert_allclose(noise.probabilities.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_array_equal(noise.confidence, noise.probabilities.max(axis=1))
    assert noise.test_score > 0.95
    assert np.median(noise.test_confidence) > 0.99
    assert np.median(noise.confidence) > 0.8, "none of it is a digit"


def test_inputs_of_very_different_size():
    found = classic.normalisation()
    assert found.X[:, 0].max() <= 1 < 900 < found.X[:, 1].max()
    np.testing.assert_allclose(found.scaled.X.min(axis=0), 0, atol=1e-15)
    np.testing.assert_allclose(found.scaled.X.max(axis=0), 1)
    np.testing.assert_array_equal(found.raw.X, found.X)
    assert found.scaled.score > 0.97 > 0.8 > found.raw.score
    assert found.scaled.loss[-1] < found.scaled.loss[0]
    assert found.scaled.score == np.mean(found.scaled.net.predict(found.scaled.X) == found.y)


# -- the twelve steps -----------------------------------------------------------------------------------


def test_the_twelve_steps(backend):
    steps = classic.twelve_steps(seed=5, learning_rate=0.1, backend=backend)
    assert [step.number for step in steps] == list(range(1, 13))
    (X, y), (wh, bh, wout, bout) = (tuple(step.values.values()) for step in steps[:2])
    np.testing.assert_array_equal(X, [[1, 0, 1, 0], [1, 0, 1, 1], [0, 1, 0, 1]])
    np.testing.assert_array_equal(y, [[1], [1], [0]])
    assert (wh.shape, bh.shape, wout.shape, bout.shape) == ((4, 3), (3,), (3, 1), (1,))
    hidden_input = X @ wh + bh
    hidden = sigmoid(hidden_input)
    output = sigmoid(hidden @ wout + bout)
    error = y - output
    slope_out, slope_hidden = output * (1 - output), hidden * (1 - hidden)
    d_out = error * slope_out
    d_hidden = (d_out @ wout.T) * slope_hidden
    expected = [
        (hidden_input,),
        (hidden,),
        (output,),
        (error,),
        (slope_out, slope_hidden),
        (d_out,),
        (d_out @ wout.T,),
        (d_hidden,),
        (wout + 0.1 * hidden.T @ d_out, wh + 0.1 * X.T @ d_hidden),
        (bout + 0.1 * d_out.sum(axis=0), bh + 0.1 * d_hidden.sum(axis=0)),
    ]
    for step, values in zip(steps[2:], expected, strict=True):
        assert len(step.values) == len(values)
        for found, value in zip(step.values.values(), values, strict=True):
            np.testing.assert_allclose(found, value, rtol=1e-12, err_msg=step.name)


def test_the_twelve_steps_say_where_they_differ_from_the_notes():
    assert [step.number for step in classic.twelve_steps() if step.note] == [8]
    assert "η²" in classic.twelve_steps()[7].note


def test_the_twelve_steps_are_a_step_of_the_framework():
    steps = classic.twelve_steps(seed=5, learning_rate=0.1)
    net = mlp.MLP([4, 3, 1], "sigmoid", "sigmoid", "quadratic", dtype="float64")
    drawn, weights, biases = (steps[i].values for i in (1, 10, 11))
    net.weights, net.biases = [drawn["wh"], drawn["wout"]], [drawn["bh"], drawn["bout"]]
    net.fit(classic.steps.SAMPLES, classic.steps.TARGETS, epochs=1, optimizer=mlp.GradientDescent(3 * 0.1))
    for found, name in zip(net.weights, ("wh", "wout"), strict=True):
        np.testing.assert_allclose(found, weights[name], rtol=1e-12)
    for found, name in zip(net.biases, ("bh", "bout"), strict=True):
        np.testing.assert_allclose(found, biases[name], rtol=1e-12)


def test_a_seed_gives_other_numbers():
    first, second = (classic.twelve_steps(seed=seed)[1].values["wh"] for seed in (0, 1))
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(first, classic.twelve_steps(seed=0)[1].values["wh"])


# -- what results print ---------------------------------------------------------------------------------


def test_results_print_in_a_few_lines():
    descents, steps = classic.compare_descents(n=64, epochs=2), classic.twelve_steps()
    results = [
        *classic.one_dimension().values(),
        descents,
        descents.surface,
        *descents.paths,
        classic.sine_fits(neurons=(1,), epochs=2),
        classic.confidence_on_noise(n=50),
        classic.normalisation(epochs=2),
        *steps,
        Perceptron(2).fit(CORNERS, [0, 1, 1, 0]),
        classic.cost_terms(np.zeros(100), np.ones(100)),
    ]
    for result in results:
        assert "\n" not in repr(result)
        assert len(repr(result)) < 240, repr(result)
        assert "array" not in repr(result)
    assert str(descents).splitlines()[1].split() == [
        "full",
        "batch",
        "2",
        f"{descents.paths[0].cost[0]:.3f}",
        f"{descents.paths[0].cost[-1]:.3f}",
    ]
    assert "bout = " in str(steps[11])


def test_the_terms_of_a_cost_add_up_to_it():
    output, wanted = np.random.default_rng(0).uniform(size=(2, 7, 1))
    terms = classic.cost_terms(output, wanted)
    np.testing.assert_allclose(terms.terms, ((output - wanted) ** 2).ravel(), rtol=1e-14)
    assert terms.cost == pytest.approx(terms.terms.sum()) == classic.squared_differences(output, wanted)
    lines = str(terms).splitlines()
    assert [line.split()[0] for line in lines] == ["neuron", *map(str, range(7)), "sum"]
    assert float(lines[-1].split()[1]) == pytest.approx(terms.cost, abs=5e-5)
    with pytest.raises(mlp.ShapeError):
        classic.cost_terms([1, 2], [1])


@pytest.mark.parametrize("n_inputs", [4, 5])
@pytest.mark.parametrize("rows", [3, 6])
def test_a_layer_advises_the_transpose_that_fits(n_inputs, rows):
    generator = np.random.default_rng(0)
    inputs, weights, biases = generator.normal(size=(rows, n_inputs)), generator.normal(size=(3, n_inputs)), np.ones(3)
    expected = inputs @ weights.T + 1
    np.testing.assert_allclose(classic.layer(inputs, weights, biases), expected, rtol=1e-12)
    with pytest.raises(mlp.ShapeError, match=r"The transpose of the weights, \(3, \d\), fits: np.transpose\(weights\)"):
        classic.layer(inputs, weights.T, biases)
    with pytest.raises(mlp.ShapeError, match=r"The transpose of the inputs, .*, fits: np.transpose\(inputs\)"):
        classic.layer(inputs.T, weights, biases)
    with pytest.raises(mlp.ShapeError) as none_fits:
        classic.layer(inputs[:, 1:], weights, biases)
    assert "transpose" not in str(none_fits.value)
