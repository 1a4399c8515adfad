"""The public interface of `MLP`: structure, parameters, predictions, scores, losses, copies and moves."""

from __future__ import annotations

import copy
import io
import logging
import pickle

import joblib
import numpy as np
import pytest
from scipy import special
from sklearn import metrics

import backends
import mlp

RNG = np.random.default_rng(7)
X = RNG.normal(size=(60, 4))
CLASSES = np.arange(60) % 3
LABELS = (X[:, :3] > 0).astype(int)
NUMBERS = X[:, :2] @ [[1.0, 2.0], [0.5, -1.0]] + 0.1
COUNTS = RNG.poisson(np.exp(X[:, :2]))
WEIGHT = RNG.uniform(0, 3, size=60)


def make(sizes=(4, 5, 3), **options):
    return mlp.MLP(sizes, **{"dtype": "float64", "backend": "numpy"} | options)


def classifier():
    net = make()
    net.fit(X, CLASSES, epochs=3)
    return net


# -- structure -----------------------------------------------------------------------------------------


def test_weights_are_n_in_by_n_out_and_biases_n_out():
    net = make([4, 7, 5, 3])
    assert net.sizes == (4, 7, 5, 3)
    assert [W.shape for W in net.weights] == [(4, 7), (7, 5), (5, 3)]
    assert [b.shape for b in net.biases] == [(7,), (5,), (3,)]


@pytest.mark.parametrize("sizes", [[4, 3], (4, 3), np.array([4, 3])])
def test_a_network_may_have_no_hidden_layer(sizes):
    net = make(sizes)
    z = X @ net.weights[0] + net.biases[0]
    np.testing.assert_allclose(net.feedforward(X), special.softmax(z, axis=1), rtol=1e-12)


def test_one_value_serves_all_hidden_layers_and_a_list_each():
    same = make([4, 7, 5, 3], activation="tanh", dropout=0.2, init="he_normal")
    each = make(
        [4, 7, 5, 3],
        activation=["tanh", "tanh"],
        dropout=[0.2, 0.2],
        init=["he_normal"] * 3,
    )
    assert same.get_config() == each.get_config()
    for W, V in zip(same.weights, each.weights, strict=True):
        np.testing.assert_array_equal(W, V)


def test_layers_apply_their_own_activation():
    net = make([4, 7, 5, 3], activation=["tanh", "relu"])
    h = np.maximum(np.tanh(X @ net.weights[0] + net.biases[0]) @ net.weights[1] + net.biases[1], 0)
    e = np.exp(h @ net.weights[2] + net.biases[2])
    np.testing.assert_allclose(net.feedforward(X), e / e.sum(axis=1, keepdims=True), rtol=1e-12)


@pytest.mark.parametrize(
    ("loss", "output"),
    [
        ("cross_entropy", "softmax"),
        ("binary_cross_entropy", "sigmoid"),
        ("poisson", "exp"),
        ("mse", "identity"),
        ("quadratic", "identity"),
        ("mae", "identity"),
        ("huber", "identity"),
    ],
)
def test_the_output_follows_the_loss(loss, output):
    assert make(loss=loss).get_config()["output_activation"] == output


@pytest.mark.parametrize(
    ("activation", "init", "spread"),
    [
        ("relu", "he_normal", 2 / 400),
        ("gelu", "he_normal", 2 / 400),
        ("selu", "lecun_normal", 1 / 400),
        ("tanh", "glorot_uniform", 2 / 900),
        ("sigmoid", "glorot_uniform", 2 / 900),
    ],
)
def test_automatic_weights_suit_the_activation(activation, init, spread):
    net = make([400, 500, 2], activation=activation)
    assert net.init[0] == init
    assert net.weights[0].var() == pytest.approx(spread, rel=0.02)
    assert not net.biases[0].any()


def test_one_seed_is_one_network_in_both_dtypes():
    double, single = make(seed=5), make(seed=5, dtype="float32")
    assert single.weights[0].dtype == np.float32
    np.testing.assert_array_equal(double.weights[0].astype(np.float32), single.weights[0])
    assert not np.array_equal(double.weights[0], make(seed=6).weights[0])


def test_a_drawn_seed_is_told_and_makes_the_network_again():
    net = make(seed=None)
    assert net.seed != make(seed=None).seed
    np.testing.assert_array_equal(net.weights[0], make(seed=net.seed).weights[0])


def test_the_configuration_makes_the_network_again():
    options = {
        "sizes": [4, 7, 5, 2],
        "activation": ["elu", "tanh"],
        "output_activation": "sigmoid",
        "loss": "mse",
        "dropout": [0.1, 0.0],
        "input_dropout": 0.3,
        "l2": 0.01,
        "l1": 0.001,
        "init": ["normal", "uniform", "zeros"],
        "seed": 9,
        "dtype": "float64",
        "input_scale": 0.5,
        "classes": ["no", "yes"],
    }
    net = mlp.MLP(**options)
    config = net.get_config()
    assert {name: config[name] for name in options} == options
    again = mlp.MLP(**config)
    assert again.get_config() == config
    for W, V in zip(net.weights, again.weights, strict=True):
        np.testing.assert_array_equal(W, V)


# -- parameters ----------------------------------------------------------------------------------------


def test_parameters_can_be_read_but_not_written_in_place():
    net = make()
    with pytest.raises(ValueError, match="read-only"):
        net.weights[0][0, 0] = 1.0
    with pytest.raises(ValueError, match="read-only"):
        net.biases[0][0] = 1.0


def test_parameters_read_earlier_do_not_change_with_training():
    net = make()
    before = net.weights[0]
    kept = before.copy()
    net.fit(X, CLASSES, epochs=1)
    np.testing.assert_array_equal(before, kept)


def test_assigned_parameters_are_used(backend):
    net = make([2, 2, 1], activation="relu", loss="mse", backend=backend)
    net.weights = [[[1, 1], [1, 1]], [[1], [-2]]]
    net.biases = [[0, -1], [0]]
    assert net.predict([[0, 0], [0, 1], [1, 0], [1, 1]]).tolist() == [0, 1, 1, 0]


@pytest.mark.parametrize("name", ["weights", "biases"])
def test_assignment_is_all_or_nothing(name):
    net = make()
    before = [array.copy() for array in getattr(net, name)]
    with pytest.raises(mlp.ShapeError, match="layer 2"):
        setattr(net, name, [np.ones_like(before[0]), np.ones((9, 9))])
    for old, new in zip(before, getattr(net, name), strict=True):
        np.testing.assert_array_equal(old, new)


def test_reset_returns_to_the_beginning():
    net, fresh = classifier(), make()
    assert not np.array_equal(net.weights[0], fresh.weights[0])
    net.reset()
    np.testing.assert_array_equal(net.weights[0], fresh.weights[0])
    assert net.history is None


# -- predictions ---------------------------------------------------------------------------------------


def test_classes():
    net = classifier()
    assert net.task == "classes"
    probabilities = net.predict_proba(X)
    assert probabilities.shape == (60, 3)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-12)
    np.testing.assert_array_equal(net.feedforward(X), probabilities)
    np.testing.assert_array_equal(net.predict(X), probabilities.argmax(axis=1))


def test_class_numbers_make_classes_of_the_outputs_of_any_loss():
    net = make(loss="quadratic", output_activation="sigmoid")
    assert net.task == "numbers"
    net.fit(X, CLASSES, epochs=1)
    assert net.task == "classes"
    assert set(net.predict(X)) <= {0, 1, 2}
    net.reset()
    assert net.task == "numbers"


def test_class_numbers_are_scored_as_classes_before_any_training():
    net = make(loss="quadratic", output_activation="sigmoid")
    assert net.score(X, CLASSES) == np.mean(net.feedforward(X).argmax(axis=1) == CLASSES)


def test_class_numbers_and_one_hot_rows_are_the_same_targets():
    numbers, rows = make(), make()
    numbers.fit(X, CLASSES, epochs=2)
    rows.fit(X, np.eye(3)[CLASSES], epochs=2)
    np.testing.assert_allclose(numbers.weights[0], rows.weights[0], rtol=1e-12)


def test_several_labels():
    net = make(loss="binary_cross_entropy")
    net.fit(X, LABELS, epochs=2)
    assert net.task == "labels"
    assert net.predict(X).shape == (60, 3)
    np.testing.assert_array_equal(net.predict(X), net.predict_proba(X) > 0.5)


def test_a_single_yes_or_no():
    net = make([4, 5, 1], loss="binary_cross_entropy")
    net.fit(X, LABELS[:, 0], epochs=2)
    assert net.task == "labels"
    assert net.predict(X).shape == (60,)
    yes = net.feedforward(X)[:, 0]
    np.testing.assert_array_equal(net.predict_proba(X), np.column_stack([1 - yes, yes]))
    np.testing.assert_array_equal(net.predict(X), yes > 0.5)


@pytest.mark.parametrize(("outputs", "shape"), [(1, (60,)), (2, (60, 2))])
def test_numbers(outputs, shape):
    net = make([4, 5, outputs], loss="mse")
    assert net.task == "numbers"
    assert net.predict(X).shape == shape
    np.testing.assert_array_equal(net.predict(X).reshape(60, outputs), net.feedforward(X))
    with pytest.raises(mlp.ConfigurationError, match="not probabilities"):
        net.predict_proba(X)


def test_a_row_has_the_same_answer_alone_and_in_any_company():
    net = classifier()
    many = np.tile(X, (100, 1))
    np.testing.assert_allclose(net.feedforward(many)[-60:], net.feedforward(X), rtol=1e-12)
    np.testing.assert_allclose(net.feedforward(X[3:4]), net.feedforward(X)[3:4], rtol=1e-12)


def test_bytes_are_scaled_by_the_network_and_floats_are_not():
    images = RNG.integers(0, 256, size=(20, 4)).astype(np.uint8)
    net, plain = make(input_scale=1 / 255), make()
    np.testing.assert_allclose(net.feedforward(images), plain.feedforward(images / 255), rtol=1e-12)
    np.testing.assert_array_equal(net.feedforward(X), plain.feedforward(X))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_answers_have_the_dtype_of_the_network(dtype):
    assert make(dtype=dtype).feedforward(X).dtype == dtype


def test_a_step_network_answers_but_is_not_trained():
    net = make([4, 5, 1], activation="step", output_activation="step", loss="mse")
    assert set(net.predict(X)) <= {0.0, 1.0}
    with pytest.raises(mlp.NotDifferentiableError, match="step"):
        net.fit(X, NUMBERS[:, 0])


# -- scores and losses ---------------------------------------------------------------------------------

CASES = {
    "classes": (make(), CLASSES),
    "labels": (make(loss="binary_cross_entropy"), LABELS),
    "yes or no": (make([4, 5, 1], loss="binary_cross_entropy"), LABELS[:, 0]),
    "number": (make([4, 5, 1], loss="mse"), NUMBERS[:, 0]),
    "numbers": (make([4, 5, 2], loss="mse"), NUMBERS),
}


@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["unweighted", "weighted"])
@pytest.mark.parametrize(("net", "y"), CASES.values(), ids=CASES)
def test_the_score_is_that_of_scikit_learn(net, y, weight):
    reference = metrics.r2_score if net.task == "numbers" else metrics.accuracy_score
    expected = reference(y, net.predict(X), sample_weight=weight)
    assert net.score(X, y, sample_weight=weight) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("value", [0.1, 3.0])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["unweighted", "weighted"])
def test_constant_numbers_score_one_if_met_and_else_zero(value, dtype, weight):
    net = make([4, 1], loss="mse", init="zeros", dtype=dtype)
    y = np.full(60, value)
    assert net.score(X, y, sample_weight=weight) == 0
    net.biases = [[value]]
    assert net.score(X, y, sample_weight=weight) == 1


def halved(metric):
    return lambda *args, **kwargs: 0.5 * metric(*args, **kwargs)


def mean_over_labels(y, p, sample_weight=None):
    return np.mean([metrics.log_loss(y[:, k], p[:, k], sample_weight=sample_weight) for k in range(y.shape[1])])


def mean_over_counts(y, p, sample_weight=None):
    deviance = halved(metrics.mean_poisson_deviance)
    return np.mean([deviance(y[:, k], p[:, k], sample_weight=sample_weight) for k in range(y.shape[1])])


def huber(y, p, sample_weight=None):
    r = np.abs(y - p)
    return np.average(np.where(r < 1, r**2 / 2, r - 0.5).mean(axis=1), weights=sample_weight)


LOSSES = [
    ("cross_entropy", 3, CLASSES, metrics.log_loss),
    ("binary_cross_entropy", 3, LABELS, mean_over_labels),
    ("mse", 2, NUMBERS, metrics.mean_squared_error),
    ("quadratic", 2, NUMBERS, metrics.mean_squared_error),  # half of the sum over two outputs is their mean
    ("mae", 2, NUMBERS, metrics.mean_absolute_error),
    ("huber", 2, NUMBERS, huber),
    ("quantile", 2, NUMBERS, metrics.mean_pinball_loss),
    ("poisson", 2, COUNTS, mean_over_counts),
]


@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["unweighted", "weighted"])
@pytest.mark.parametrize(("loss", "outputs", "y", "reference"), LOSSES, ids=[row[0] for row in LOSSES])
def test_the_loss_is_that_of_scikit_learn(loss, outputs, y, reference, weight, backend):
    net = make([4, 5, outputs], loss=loss, backend=backend)
    expected = reference(y, net.feedforward(X), sample_weight=weight)
    assert net.evaluate(X, y, weight)[0] == pytest.approx(expected, rel=1e-9)
    assert net.loss_and_gradients(X, y, weight)[0] == pytest.approx(expected, rel=1e-9)


def test_evaluation_goes_through_large_sets_in_portions():
    net = classifier()
    many, y, weight = np.tile(X, (100, 1)), np.tile(CLASSES, 100), np.tile(WEIGHT, 100)
    assert net.evaluate(many, y, weight) == pytest.approx(net.evaluate(X, CLASSES, WEIGHT), rel=1e-12)


def test_penalties_join_the_loss_of_training_alone():
    net, plain = make(l2=0.1, l1=0.01), make()
    penalty = sum(0.05 * (W**2).sum() + 0.01 * np.abs(W).sum() for W in net.weights)
    loss, gradients = net.loss_and_gradients(X, CLASSES)
    bare, slopes = plain.loss_and_gradients(X, CLASSES)
    assert loss == pytest.approx(bare + penalty, rel=1e-12)
    assert net.evaluate(X, CLASSES) == plain.evaluate(X, CLASSES)
    for W, (dW, db), (slope_W, slope_b) in zip(net.weights, gradients, slopes, strict=True):
        np.testing.assert_allclose(dW, slope_W + 0.1 * W + 0.01 * np.sign(W), rtol=1e-10)
        np.testing.assert_allclose(db, slope_b, rtol=1e-10)


def test_looking_at_a_network_does_not_change_it():
    net = make(loss="quadratic", output_activation="sigmoid", dropout=0.5)
    before = net.weights
    net.score(X, CLASSES)
    net.evaluate(X, CLASSES)
    net.loss_and_gradients(X, CLASSES)
    net.predict(X)
    assert net.task == "numbers"
    assert net.history is None
    np.testing.assert_array_equal(before[0], net.weights[0])


# -- backend and device --------------------------------------------------------------------------------


def test_a_network_moves_between_backends_with_its_answers_and_its_training(backend):
    here, there = classifier(), classifier()
    assert there.to(backend) is there
    assert there.backend == backend
    np.testing.assert_allclose(here.feedforward(X), there.feedforward(X), rtol=1e-12)
    for net in (here, there):
        net.fit(X, CLASSES, epochs=5, resume=True)
    there.to("numpy")
    np.testing.assert_allclose(here.weights[0], there.weights[0], rtol=1e-9, atol=1e-12)


def test_a_small_training_stays_on_numpy_and_says_why(caplog):
    net = make(backend="auto")
    with caplog.at_level(logging.INFO, logger="mlp"):
        history = net.fit(X, CLASSES, epochs=1)
    assert (net.backend, history.backend) == ("numpy", "numpy")
    assert "operations" in net.backend_reason
    assert history.backend_reason == net.backend_reason
    assert net.backend_reason in caplog.text


@pytest.mark.skipif("numba" not in backends.available(), reason="needs the Numba backend")
def test_the_choice_depends_on_the_work():
    def chosen(**numbers):
        return backends.resolve(work=backends.Work((100, 10), **numbers), device="cpu")[0]

    assert chosen(rows=100, batch_size=10) == "numpy"
    assert chosen(rows=1_000_000, batch_size=1000, epochs=100) == "numba"
    # with small steps NumPy needs much longer for the same work: most of the time is call overhead
    assert chosen(rows=100_000, batch_size=1000) == "numpy"
    assert chosen(rows=100_000, batch_size=1) == "numba"


# -- copies --------------------------------------------------------------------------------------------


def through_pickle(net):
    return pickle.loads(pickle.dumps(net))


def through_joblib(net):
    file = io.BytesIO()
    joblib.dump(net, file)
    file.seek(0)
    return joblib.load(file)


@pytest.mark.parametrize("duplicate", [through_pickle, through_joblib, copy.deepcopy])
def test_a_copy_is_the_same_network_with_the_same_training_and_a_life_of_its_own(duplicate, backend):
    net = make(backend=backend, seed=3)
    net.fit(X, CLASSES, epochs=3)
    clone = duplicate(net)
    before = net.weights[0]
    assert clone.get_config() == net.get_config()
    assert clone.backend == backend
    assert clone.history == net.history
    np.testing.assert_array_equal(clone.feedforward(X), net.feedforward(X))

    clone.fit(X, CLASSES, epochs=6, resume=True)
    np.testing.assert_array_equal(net.weights[0], before)
    net.fit(X, CLASSES, epochs=6, resume=True)
    np.testing.assert_array_equal(net.weights[0], clone.weights[0])


def test_a_network_loaded_from_a_read_only_map_can_be_trained(tmp_path):
    net = classifier()
    joblib.dump(net, tmp_path / "net")
    mapped = joblib.load(tmp_path / "net", mmap_mode="r")
    for clone in (net, mapped):
        clone.fit(X, CLASSES, epochs=5, resume=True)
    np.testing.assert_array_equal(net.weights[0], mapped.weights[0])
