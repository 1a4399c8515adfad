"""What scikit-learn's networks lack: `transform`, early stopping on any score, quantiles, output activations."""

from __future__ import annotations

import pickle
import re
import warnings

import numpy as np
import pytest
import scipy.optimize
import scipy.sparse
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import norm
from sklearn import metrics
from sklearn.base import clone
from sklearn.datasets import load_iris, load_wine
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import mlp
from mlp import MLPClassifier, MLPRegressor, TabularClassifier, TabularRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

WINE, KINDS = load_wine(return_X_y=True)
WINE = StandardScaler().fit_transform(WINE)
NAMES = np.array(["barolo", "grignolino", "barbera"])[KINDS]
TRAIN, HELD_OUT = np.arange(len(WINE)) % 3 > 0, np.arange(len(WINE)) % 3 == 0
NUMBERS = WINE[:, 0] + WINE[:, 1] * WINE[:, 2]
SMALL = {"hidden_layer_sizes": (8, 5), "random_state": 0, "max_iter": 8}
WEIGHTS = "a row of weight 2 and a repeated row are assigned differently to batches, folds and validation sets"
PARTIAL_FIT = "scikit-learn's test_mlp_partial_fit_after_fit requires that partial_fit rejects early_stopping=True"


def expected_failures(estimator):
    failures = {}
    if getattr(estimator, "early_stopping", True):
        failures |= {f"check_sample_weight_equivalence_on_{kind}_data": WEIGHTS for kind in ("dense", "sparse")}
    if getattr(estimator, "early_stopping", False):
        names = (
            "check_fit_score_takes_y",
            "check_n_features_in_after_fitting",
            "check_estimators_partial_fit_n_features",
        )
        failures |= dict.fromkeys(names, PARTIAL_FIT)
    return failures


@parametrize_with_checks(
    [
        MLPClassifier(early_stopping=True, scoring="loss"),
        MLPRegressor("quantile", quantile=0.5),
        MLPRegressor("quantile", quantile=[0.4, 0.5, 0.6], early_stopping=True, scoring="loss"),
        MLPRegressor(output_activation="silu", exact_gradient=True),
        TabularRegressor(hidden_layer_sizes=(16,), epochs=40, quantile=0.5, backend="numpy"),
    ],
    expected_failed_checks=expected_failures,
)
def test_scikit_learns_checks(estimator, check):
    if "quantile" in repr(estimator) and "multioutput" in str(check) and isinstance(estimator.quantile, list):
        pytest.skip("several quantiles are for one target")
    check(estimator)


# -- transform ----------------------------------------------------------------------------------------------


def by_hand(X, coefs, intercepts):
    for W, b in zip(coefs[:-1], intercepts[:-1], strict=True):
        X = np.tanh(X @ W + b)
    return X


@pytest.mark.parametrize("estimator", [MLPClassifier, MLPRegressor])
def test_transform_gives_the_last_hidden_layer(estimator, backend):
    net = estimator(**SMALL, activation="tanh", backend=backend).fit(WINE, KINDS)
    expected = by_hand(WINE, net.coefs_, net.intercepts_)
    assert expected.shape == (len(WINE), 5)
    assert_allclose(net.transform(WINE), expected, rtol=1e-12, atol=1e-14)
    assert_allclose(net.transform(scipy.sparse.csr_array(WINE)), expected, rtol=1e-12, atol=1e-14)
    assert_allclose(mlp.from_sklearn(net, backend=backend).transform(WINE), expected, rtol=1e-12, atol=1e-14)
    output = expected @ net.coefs_[-1] + net.intercepts_[-1]
    assert_allclose(np.argmax(output, axis=1) if estimator is MLPClassifier else output[:, 0], net.predict(WINE))


def test_transform_keeps_float32(backend):
    X = WINE.astype(np.float32)
    assert MLPClassifier(**SMALL, backend=backend).fit(X, KINDS).transform(X).dtype == np.float32


@pytest.mark.parametrize("library", ["pandas", "polars"])
@pytest.mark.parametrize("estimator", [MLPClassifier(**SMALL), TabularClassifier(hidden_layer_sizes=(5,), epochs=2)])
def test_transform_gives_data_frames(library, estimator):
    frames = pytest.importorskip(library)
    X, y = load_iris(return_X_y=True)
    frame = frames.DataFrame({f"c{i}": X[:, i] for i in range(4)})
    net = clone(estimator).set_params(random_state=0).set_output(transform=library)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        warnings.simplefilter("ignore", ConvergenceWarning)
        result = net.fit(frame, y).transform(frame)
    assert isinstance(result, frames.DataFrame)
    name = type(net).__name__.lower()
    assert list(result.columns) == list(net.get_feature_names_out()) == [f"{name}{i}" for i in range(5)]
    assert_allclose(result.to_numpy(), net.set_output(transform="default").transform(frame))


def test_a_pipeline_can_be_searched():
    model = make_pipeline(MLPClassifier(**SMALL), LogisticRegression())
    search = GridSearchCV(model, {"mlpclassifier__hidden_layer_sizes": [3, (4, 6)]}, cv=2).fit(WINE, NAMES)
    assert search.best_score_ > 0.7
    union = FeatureUnion([("net", MLPRegressor(**SMALL)), ("same", "passthrough")]).fit(WINE, NUMBERS)
    assert union.transform(WINE).shape == (len(WINE), 5 + WINE.shape[1])


def test_without_a_hidden_layer_there_is_nothing_to_transform_to():
    net = MLPClassifier((), max_iter=2).fit(WINE, KINDS)
    for call in (lambda: net.transform(WINE), net.get_feature_names_out):
        with pytest.raises(mlp.ConfigurationError, match="has no hidden layer"):
            call()
    with pytest.raises(mlp.ConfigurationError, match="has no hidden layer"):
        mlp.MLP([13, 1], loss="mse").transform(WINE)


def test_MLP_transforms_scaled_bytes_and_reports_what_is_not_finite(backend):
    X = np.random.default_rng(0).integers(0, 256, (3000, 4), dtype=np.uint8)
    net = mlp.MLP([4, 7, 6, 2], "tanh", input_scale=1 / 255, dtype="float64", backend=backend, scaling_layer=True)
    net.scaling = [1.0, 2.0, 0.5, 3.0]
    expected = by_hand(X / 255 * [1, 2, 0.5, 3], net.weights, net.biases)
    assert_allclose(net.transform(X), expected, rtol=1e-12, atol=1e-14)
    with pytest.raises(mlp.DataError, match=re.escape("X[1, 0] is inf")):
        net.transform([[0.0] * 4, [np.inf] * 4])


def test_activations_that_overflow_are_errors(backend):
    net = mlp.MLP([1, 1, 1], "relu", loss="mse", dtype="float64", backend=backend)
    net.weights = [[[1e200]], [[1.0]]]
    with pytest.raises(mlp.DataError, match="layer 1"):
        net.transform([[1e-200], [1e200]])


@pytest.mark.parametrize("estimator", [TabularClassifier, TabularRegressor])
def test_tabular_estimators_transform_by_all_their_networks(estimator):
    X = np.column_stack([WINE[:, :3].astype(object), NAMES.astype(object)])
    model = estimator(hidden_layer_sizes=(6, 5), epochs=3, n_models=2, activation="tanh", random_state=0).fit(X, KINDS)
    inputs = model.preprocessing_.transform(dict(zip(("x0", "x1", "x2", "x3"), X.T, strict=True)))
    features = [by_hand(np.asarray(inputs), net.weights, net.biases) for net in model.networks_]
    assert_allclose(model.transform(X), np.hstack(features), rtol=1e-4, atol=1e-5)
    assert len(model.get_feature_names_out()) == 10


# -- early stopping on any score ------------------------------------------------------------------------------

SCORES = {
    "neg_log_loss": (MLPClassifier, lambda net, X, y: -metrics.log_loss(y, net.predict_proba(X), labels=net.classes_)),
    "f1_macro": (MLPClassifier, lambda net, X, y: metrics.f1_score(y, net.predict(X), average="macro")),
    "neg_mean_absolute_error": (MLPRegressor, lambda net, X, y: -metrics.mean_absolute_error(y, net.predict(X))),
}


@pytest.mark.parametrize("name", SCORES)
def test_scores_are_those_of_scikit_learn_after_each_epoch(name, backend):
    estimator, score = SCORES[name]
    y = NAMES if estimator is MLPClassifier else NUMBERS
    settings = SMALL | {"backend": backend, "restore_best": False, "scoring": name}
    validation = {"X_val": WINE[HELD_OUT], "y_val": y[HELD_OUT]}
    scores = estimator(**settings).fit(WINE[TRAIN], y[TRAIN], **validation).validation_scores_
    assert len(scores) == 8
    for epochs in (1, 5, 8):
        net = estimator(**settings | {"max_iter": epochs}).fit(WINE[TRAIN], y[TRAIN], **validation)
        assert scores[epochs - 1] == pytest.approx(score(net, WINE[HELD_OUT], y[HELD_OUT]), rel=1e-12)


def test_the_epoch_of_the_best_score_is_restored(backend):
    settings = SMALL | {"max_iter": 100, "early_stopping": True, "n_iter_no_change": 3, "learning_rate_init": 0.05}
    net = MLPClassifier(**settings, scoring="neg_log_loss", backend=backend)
    wrong = np.random.default_rng(0).permutation(NAMES[TRAIN])  # what it learns is of no use for other rows
    net.fit(WINE[TRAIN], wrong, X_val=WINE[HELD_OUT], y_val=NAMES[HELD_OUT])
    loss = metrics.log_loss(NAMES[HELD_OUT], net.predict_proba(WINE[HELD_OUT]))
    assert net.best_validation_score_ == max(net.validation_scores_) == pytest.approx(-loss, rel=1e-12)
    assert net.n_iter_ < 100
    assert net.validation_scores_[-1] < net.best_validation_score_


@pytest.mark.parametrize(
    ("estimator", "y", "scoring"), [(MLPClassifier, NAMES, "accuracy"), (MLPRegressor, NUMBERS, "r2")], ids=["", "r2"]
)
def test_the_default_score_by_its_name_changes_nothing(estimator, y, scoring):
    settings = SMALL | {"early_stopping": True, "max_iter": 30}
    nets = [estimator(**settings, scoring=name).fit(WINE, y) for name in (None, scoring)]
    assert_allclose(nets[1].validation_scores_, nets[0].validation_scores_, rtol=1e-12)
    assert_array_equal(nets[1].validation_loss_curve_, nets[0].validation_loss_curve_)  # of the same rows
    for a, b in zip(nets[0].coefs_, nets[1].coefs_, strict=True):
        assert_array_equal(a, b)


def test_a_function_gets_labels_rows_and_weights():
    seen = []

    def scoring(net, X, y, sample_weight=None):
        seen.append((X, y, sample_weight, net.predict(X)))
        return 0.25

    weight = np.linspace(0.5, 2, HELD_OUT.sum())
    held_out = {"X_val": WINE[HELD_OUT], "y_val": NAMES[HELD_OUT]}
    net = MLPClassifier(**SMALL | {"max_iter": 2}, scoring=scoring)
    net.fit(WINE[TRAIN], NAMES[TRAIN], **held_out, sample_weight_val=weight)
    X, y, sample_weight, predicted = seen[-1]
    assert_array_equal(X, WINE[HELD_OUT])
    assert_array_equal(y, NAMES[HELD_OUT])
    assert_array_equal(sample_weight, weight)
    assert_array_equal(predicted, net.predict(WINE[HELD_OUT]))
    assert net.validation_scores_ == [0.25, 0.25]
    net.fit(WINE[TRAIN], NAMES[TRAIN], **held_out)
    assert seen[-1][2] is None


@pytest.mark.parametrize(
    "y", [(KINDS > 0).astype(int), np.column_stack([KINDS > 0, KINDS > 1]).astype(int)], ids=["2", "labels"]
)
def test_scores_of_two_classes_and_of_labels(y):
    labels = []
    net = MLPClassifier(**SMALL, early_stopping=True, scoring=lambda net, X, y: labels.append(y) or net.score(X, y))
    net.fit(WINE, y)
    plain = MLPClassifier(**SMALL, early_stopping=True).fit(WINE, y)
    assert labels[0].shape[1:] == y.shape[1:]
    assert_allclose(net.validation_scores_, plain.validation_scores_, rtol=1e-12)


def test_the_score_loss_is_minus_the_validation_loss():
    net = MLPRegressor(**SMALL, early_stopping=True, scoring="loss").fit(WINE, NUMBERS)
    assert_array_equal(net.validation_scores_, -np.array(net.validation_loss_curve_))


def test_names_of_columns_give_no_warning():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(WINE, columns=[f"c{i}" for i in range(13)])
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        warnings.simplefilter("ignore", ConvergenceWarning)
        net = MLPClassifier(**SMALL, early_stopping=True, scoring="f1_macro").fit(frame, NAMES)
    assert net.feature_names_in_[0] == "c0"


def test_a_score_of_outputs_that_are_not_finite_is_nan():
    net = MLPRegressor(
        hidden_layer_sizes=4,
        solver="sgd",
        learning_rate_init=1e200,
        max_iter=2,
        early_stopping=True,
        scoring="neg_mean_squared_error",
        random_state=0,
    )
    net.fit(WINE, NUMBERS)
    assert np.isnan(net.validation_scores_).all()


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"scoring": "f1_macro"}, "scores a validation set after each epoch, but there is none"),
        ({"scoring": "f1_macro", "early_stopping": True, "solver": "lbfgs"}, "solver='lbfgs' has no validation set"),
        ({"scoring": "f1_marco", "early_stopping": True}, "f1_marco"),
        ({"scoring": 3, "early_stopping": True}, "'scoring' parameter of MLPClassifier must be"),
    ],
)
def test_mistakes_in_scoring(settings, text):
    with pytest.raises(ValueError, match=re.escape(text)):
        MLPClassifier(**settings).fit(WINE, KINDS)


# -- quantiles ------------------------------------------------------------------------------------------------

LEVELS = [0.05, 0.25, 0.5, 0.75, 0.95]


def spread_data(n, seed):
    """Normal targets whose mean and standard deviation depend on x, and their true quantiles."""
    x = np.random.default_rng(seed).uniform(-1, 1, (n, 1))
    mean, deviation = 2 * np.sin(2 * x), 0.3 + 0.5 * (x + 1)
    y = mean + deviation * np.random.default_rng(seed + 1).normal(size=(n, 1))
    return x, y[:, 0], mean + deviation * norm.ppf(LEVELS)


ESTIMATORS = [
    MLPRegressor("quantile", (32, 16), "tanh", quantile=LEVELS, learning_rate_init=0.005, max_iter=100, tol=0),
    TabularRegressor(quantile=LEVELS, epochs=60, n_models=2),
]


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda estimator: type(estimator).__name__)
def test_quantiles_are_calibrated(estimator):
    x, y, _ = spread_data(3000, 0)
    x_new, y_new, true = spread_data(4000, 10)
    net = clone(estimator).set_params(random_state=0).fit(x, y)
    quantiles = net.predict_quantiles(x_new)
    # the share of new targets below each quantile: three standard errors, and the error of the fit
    assert_allclose((y_new[:, None] <= quantiles).mean(axis=0), LEVELS, atol=0.035)
    assert np.abs(quantiles - true).mean() < 0.1
    for k, level in enumerate(LEVELS):
        loss = metrics.mean_pinball_loss(y_new, quantiles[:, k], alpha=level)
        assert loss < 1.04 * metrics.mean_pinball_loss(y_new, true[:, k], alpha=level)
    assert (np.diff(quantiles, axis=1) >= 0).all()
    assert_array_equal(net.predict(x_new), quantiles[:, 2])
    assert_array_equal(net.predict_interval(x_new), quantiles[:, [0, 4]])
    assert_array_equal(net.predict_interval(x_new, coverage=0.5), quantiles[:, [1, 3]])
    # in each half of x, the interval of nine tenths has nine tenths of the targets
    inside = (quantiles[:, 0] <= y_new) & (y_new <= quantiles[:, 4])
    for half in (x_new[:, 0] < 0, x_new[:, 0] > 0):
        assert inside[half].mean() == pytest.approx(0.9, abs=0.04)
    copy = pickle.loads(pickle.dumps(net))
    assert_array_equal(copy.predict_quantiles(x_new), quantiles)


def test_tabular_quantiles_have_the_units_of_the_target():
    x, y, _ = spread_data(300, 0)
    net = TabularRegressor(quantile=LEVELS, epochs=10, hidden_layer_sizes=(16,), dtype="float64", random_state=0)
    quantiles = net.fit(x, y).predict_quantiles(x)
    assert_allclose(net.fit(x, 1000 * y + 5000).predict_quantiles(x), 1000 * quantiles + 5000, rtol=1e-5)


def test_outputs_that_cross_are_sorted():
    net = MLPRegressor("quantile", 3, quantile=[0.1, 0.5, 0.9], max_iter=1, random_state=0).fit(WINE, NUMBERS)
    net.intercepts_[-1] = np.array([9.0, 5.0, -3.0])
    net.coefs_[-1] = np.zeros((3, 3))
    assert_array_equal(net.predict_quantiles(WINE[:2]), [[-3, 5, 9]] * 2)
    assert_array_equal(net.predict_interval(WINE[:2]), [[-3, 9]] * 2)
    assert_array_equal(net.predict(WINE[:2]), [5, 5])


def test_losses_and_scores_of_quantiles(backend):
    held_out = {"X_val": WINE[HELD_OUT], "y_val": NUMBERS[HELD_OUT]}
    levels = [0.2, 0.5, 0.7]
    net = MLPRegressor("quantile", **SMALL, quantile=levels, backend=backend).fit(
        WINE[TRAIN], NUMBERS[TRAIN], **held_out
    )
    outputs = mlp.from_sklearn(net, backend=backend).feedforward(WINE[HELD_OUT])
    each = list(zip(levels, outputs.T, strict=True))
    losses = [metrics.mean_pinball_loss(NUMBERS[HELD_OUT], y, alpha=level) for level, y in each]
    scores = [metrics.d2_pinball_score(NUMBERS[HELD_OUT], y, alpha=level) for level, y in each]
    assert net.validation_loss_curve_[-1] == pytest.approx(sum(losses), rel=1e-10)
    assert net.validation_scores_[-1] == pytest.approx(np.mean(scores), rel=1e-3)
    assert net.score(WINE, NUMBERS) == pytest.approx(metrics.r2_score(NUMBERS, net.predict(WINE)), rel=1e-12)


def test_one_level_is_a_regressor_of_that_quantile():
    x, y, true = spread_data(2000, 0)
    net = MLPRegressor("quantile", 20, quantile=0.95, solver="lbfgs", max_iter=300, random_state=0).fit(x, y)
    assert net.predict(x).shape == (2000,)
    assert np.abs(net.predict(x) - true[:, 4]).mean() < 0.25
    assert (y <= net.predict(x)).mean() == pytest.approx(0.95, abs=0.02)
    two = MLPRegressor("quantile", 20, quantile=0.95, random_state=0).fit(x, np.column_stack([y, -y]))
    assert two.predict_quantiles(x).shape == two.predict(x).shape == (2000, 2)
    assert mlp.from_sklearn(two).kind.loss.levels == (0.95,)
    assert clone(net).get_params()["quantile"] == 0.95


def test_the_default_quantile_is_the_median():
    settings = SMALL | {"early_stopping": True}
    nets = [MLPRegressor("quantile", **settings, quantile=level).fit(WINE, NUMBERS) for level in (None, 0.5)]
    assert_array_equal(nets[0].predict(WINE), nets[1].predict(WINE))


def test_levels_of_a_saved_estimator(tmp_path):
    x, y, _ = spread_data(200, 0)
    net = TabularRegressor(quantile=[0.1, 0.5, 0.9], epochs=5, hidden_layer_sizes=(8,), backend="numpy").fit(x, y)
    net.save(tmp_path / "net.zip")
    loaded = TabularRegressor.load(tmp_path / "net.zip", backend="numpy")
    assert_array_equal(loaded.predict_interval(x), net.predict_interval(x))
    assert loaded.get_params()["quantile"] == [0.1, 0.5, 0.9]


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"loss": "quantile", "quantile": [0.1, 0.9]}, "must contain 0.5, the median, which predict returns"),
        ({"loss": "quantile", "quantile": [0.9, 0.5, 0.1]}, "levels must increase: [0.1, 0.5, 0.9]"),
        ({"loss": "quantile", "quantile": [0.5, 0.5]}, "levels must increase"),
        ({"loss": "quantile", "quantile": 1.5}, "levels lie between 0 and 1"),
        ({"quantile": 0.5}, "is for loss='quantile', not for 'squared_error'"),
        ({"quantile": "half"}, "'quantile' parameter of MLPRegressor must be"),
    ],
)
def test_mistakes_in_quantiles(settings, text):
    with pytest.raises(ValueError, match=re.escape(text)):
        MLPRegressor(**settings).fit(WINE, NUMBERS)
    if settings.get("loss"):
        with pytest.raises(ValueError, match=re.escape(text)):
            TabularRegressor(quantile=settings["quantile"]).fit(WINE, NUMBERS)


@pytest.mark.parametrize("estimator", [MLPRegressor("quantile"), TabularRegressor()], ids=["MLP", "Tabular"])
def test_several_levels_of_several_targets_are_refused(estimator):
    with pytest.raises(mlp.ConfigurationError, match="several levels are for one target"):
        estimator.set_params(quantile=[0.1, 0.5, 0.9]).fit(WINE, WINE[:, :2])


def test_intervals_need_their_levels():
    net = MLPRegressor("quantile", **SMALL, quantile=[0.25, 0.5, 0.75]).fit(WINE, NUMBERS)
    with pytest.raises(mlp.ConfigurationError, match=re.escape("quantile=[0.05, 0.5, 0.95]")):
        net.predict_interval(WINE, coverage=0.9)
    with pytest.raises(mlp.ConfigurationError, match="a probability between 0 and 1"):
        net.predict_interval(WINE, coverage=90)
    with pytest.raises(mlp.ConfigurationError, match="an interval needs two of the levels"):
        MLPRegressor("quantile", **SMALL).fit(WINE, NUMBERS).predict_interval(WINE)
    for mean in (MLPRegressor(), TabularRegressor()):
        assert not hasattr(mean, "predict_interval")
        assert not hasattr(mean, "predict_quantiles")


# -- output activations -----------------------------------------------------------------------------------------

OUTPUTS = {
    "softplus": (lambda z: np.logaddexp(0, z), np.exp(WINE[:, :2])),
    "logistic": (lambda z: 1 / (1 + np.exp(-z)), norm.cdf(WINE[:, :2])),
    "tanh": (np.tanh, np.sin(WINE[:, :2])),
}


@pytest.mark.parametrize("name", OUTPUTS)
def test_outputs_pass_through_their_activation(name, backend):
    function, y = OUTPUTS[name]
    net = MLPRegressor(**SMALL, output_activation=name, backend=backend).fit(WINE, y)
    assert net.out_activation_ == name
    expected = function(net.transform(WINE) @ net.coefs_[-1] + net.intercepts_[-1])
    assert_allclose(net.predict(WINE), expected, rtol=1e-9)
    same = mlp.from_sklearn(net, backend=backend)
    assert_allclose(same.predict(WINE), expected, rtol=1e-9)
    assert (same.task, same.kind.loss.name) == ("numbers", "quadratic")


@pytest.mark.parametrize("name", OUTPUTS)
def test_a_step_follows_the_gradient_through_the_output_activation(name, backend):
    function, y = OUTPUTS[name]
    settings = {"solver": "sgd", "momentum": 0, "batch_size": len(WINE), "alpha": 0, "backend": backend}
    settings |= {"learning_rate_init": 1e-6, "max_iter": 1, "random_state": 0, "warm_start": True, "activation": "tanh"}
    net = MLPRegressor(hidden_layer_sizes=4, output_activation=name, **settings).fit(WINE, y)
    before = [W.copy() for W in net.coefs_]
    net.set_params(learning_rate_init=0.1).fit(WINE, y)

    def loss(W):
        hidden = np.tanh(WINE @ before[0] + intercepts[0])
        return 0.5 * np.square(function(hidden @ W.reshape(4, 2) + intercepts[1]) - y).sum() / len(y)

    net_before = MLPRegressor(hidden_layer_sizes=4, output_activation=name, **settings).fit(WINE, y)
    intercepts = net_before.intercepts_
    slopes = scipy.optimize.approx_fprime(before[1].ravel(), loss, 1e-7).reshape(4, 2)
    assert_allclose(net.coefs_[1], before[1] - 0.1 * slopes, rtol=1e-5, atol=1e-7)


def test_targets_out_of_reach_are_warned_of():
    with pytest.warns(UserWarning, match="y ranges from -.* but outputs of 'softplus' lie between 0 and inf"):
        MLPRegressor(**SMALL, output_activation="softplus").fit(WINE, NUMBERS)


@pytest.mark.parametrize(
    ("settings", "error", "text"),
    [
        ({"output_activation": "softpluss"}, mlp.UnknownNameError, "did you mean 'softplus'"),
        ({"output_activation": "exp"}, mlp.ConfigurationError, "Use output_activation='softplus'"),
        ({"output_activation": "identity", "loss": "poisson"}, mlp.ConfigurationError, "must be a positive rate"),
        ({"output_activation": "step"}, mlp.NotDifferentiableError, "step"),
    ],
)
def test_mistakes_in_output_activations(settings, error, text):
    with pytest.raises(error, match=text):
        MLPRegressor(**settings).fit(WINE, np.abs(NUMBERS))


# -- the gradient of several outputs -----------------------------------------------------------------------------


@pytest.mark.parametrize(("exact", "outputs", "factor"), [(False, 3, 3), (True, 3, 1), (False, 1, 1), (True, 1, 1)])
def test_the_gradient_of_lbfgs_is_that_of_its_loss_if_exact(monkeypatch, exact, outputs, factor, backend):
    calls = []
    minimize = scipy.optimize.minimize

    def watched(function, start, **options):
        calls.append((function, start.copy()))
        return minimize(function, start, **options)

    monkeypatch.setattr(scipy.optimize, "minimize", watched)
    net = MLPRegressor(
        hidden_layer_sizes=3,
        activation="tanh",
        solver="lbfgs",
        alpha=0,
        exact_gradient=exact,
        max_iter=3,
        random_state=0,
        backend=backend,
    )
    net.fit(WINE, WINE[:, :outputs] if outputs > 1 else WINE[:, 0])
    function, start = calls[0]
    slopes = scipy.optimize.approx_fprime(start, lambda p: function(p)[0], 1e-6)
    assert_allclose(function(start)[1], factor * slopes, rtol=1e-4, atol=1e-5)


def test_with_adam_only_the_reported_loss_differs():
    nets = [MLPRegressor(**SMALL, exact_gradient=exact).fit(WINE, WINE[:, :3]) for exact in (False, True)]
    for a, b in zip(nets[0].coefs_, nets[1].coefs_, strict=True):
        assert_array_equal(a, b)
    # without the penalty: the first is the mean over the outputs, the second their sum
    penalty = [net.alpha / 2 * sum(float(np.sum(W**2)) for W in net.coefs_) / len(WINE) for net in nets]
    assert nets[1].loss_ - penalty[1] == pytest.approx(3 * (nets[0].loss_ - penalty[0]), rel=1e-3)
