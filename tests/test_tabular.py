"""`TabularClassifier` and `TabularRegressor`: tables as they are, the folds, the average, and files."""

import logging
import pickle
import zipfile

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_wine, make_friedman1
from sklearn.linear_model import RidgeCV
from sklearn.metrics import log_loss
from sklearn.utils.estimator_checks import parametrize_with_checks

import mlp
from mlp.estimators.tabular_base import fold_of_each_row

SMALL = {"hidden_layer_sizes": (16, 16), "epochs": 30, "random_state": 0, "backend": "numpy"}
WEIGHTS = "a row of weight 2 and a repeated row are assigned differently to folds and batches"
EXPECTED = {"check_sample_weight_equivalence_on_dense_data": WEIGHTS}


@parametrize_with_checks(
    [
        mlp.TabularClassifier(hidden_layer_sizes=(32, 32), epochs=40, backend="numpy"),
        mlp.TabularRegressor(hidden_layer_sizes=(32, 32), epochs=40, backend="numpy"),
        mlp.TabularClassifier(hidden_layer_sizes=(32,), epochs=30, n_models=3, backend="numpy"),
        mlp.TabularRegressor(hidden_layer_sizes=(32,), epochs=60, n_models=3, backend="numpy"),
    ],
    expected_failed_checks=lambda estimator: EXPECTED,
)
def test_scikit_learns_checks(estimator, check):
    check(estimator)


# -- tables as they are --------------------------------------------------------------------------------

N = 120


def people(seed=0):
    """Columns of each kind; the target depends on the city, the age and the weekday."""
    rng = np.random.default_rng(seed)
    city = rng.choice(["Oslo", "Bergen", "Bodø"], N).astype(object)
    age = rng.normal(40, 10, N).round()
    day = np.datetime64("2024-01-01") + rng.integers(0, 300, N)
    y = np.where((city == "Oslo") == (age > 40), "yes", "no")
    city[::10], age[::7] = None, np.nan
    return {
        "city": city,
        "age": age,
        "day": day.astype(str).astype(object),
        "member": rng.random(N) < 0.5,
        "name": np.array([f"person {i}" for i in range(N)], object),
        "constant": np.ones(N),
    }, y


@pytest.fixture(params=["pandas", "polars", "array"])
def table(request):
    columns, y = people()
    if request.param == "array":
        return np.column_stack([column.astype(object) for column in columns.values()]), y
    library = pytest.importorskip(request.param)
    return library.DataFrame(columns), y


def test_a_table_as_it_is(table):
    X, y = table
    model = mlp.TabularClassifier(**SMALL | {"epochs": 100}).fit(X, y)
    assert model.score(X, y) > 0.85
    assert_array_equal(model.classes_, ["no", "yes"])
    assert model.n_features_in_ == 6
    names = list(model.left_out_)
    assert names == (["x4", "x5"] if isinstance(X, np.ndarray) else ["name", "constant"])
    assert "constant" in model.left_out_[names[1]]
    probabilities = model.predict_proba(X)
    assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-12)
    assert_array_equal(model.predict(X), model.classes_[probabilities.argmax(axis=1)])


def test_every_kind_of_input_gives_the_same():
    pandas, polars = pytest.importorskip("pandas"), pytest.importorskip("polars")
    columns, y = people()
    frames = [pandas.DataFrame(columns), polars.DataFrame(columns)]
    models = [mlp.TabularClassifier(**SMALL).fit(X, y) for X in frames]
    assert_array_equal(models[0].predict_proba(frames[0]), models[1].predict_proba(frames[1]))
    assert_array_equal(models[0].feature_names_in_, list(columns))
    dates = pandas.DataFrame(columns).assign(day=pandas.to_datetime(columns["day"]))
    model = mlp.TabularClassifier(**SMALL).fit(dates, y)
    assert_array_equal(model.predict_proba(dates), models[0].predict_proba(frames[0]))


def test_the_preprocessing_is_robust_and_has_no_effect_of_the_target():
    columns, _ = people()
    pandas = pytest.importorskip("pandas")
    X = pandas.DataFrame(columns)
    model = mlp.TabularRegressor(**SMALL).fit(X, np.arange(N))
    age = next(column for column in model.preprocessing_.columns if column.name == "age")
    present = columns["age"][~np.isnan(columns["age"])]
    assert age.clipped
    assert_allclose([age.shift, age.scale], [np.median(present), np.subtract(*np.percentile(present, [75, 25]))])
    assert [name for name in model.preprocessing_.feature_names if name.startswith("city")] == [
        "city=Bergen", "city=Bodø", "city=Oslo", "city is missing",
    ]  # fmt: skip


def test_numbers_can_be_categories():
    rng = np.random.default_rng(0)
    X = np.column_stack([rng.integers(0, 4, 80), rng.normal(size=80)])
    y = np.array([0, 1, 1, 0])[X[:, 0].astype(int)]
    model = mlp.TabularClassifier(**SMALL, categorical_features=[0]).fit(X, y)
    assert model.preprocessing_.feature_names == ("x0=0", "x0=1", "x0=2", "x0=3", "x1")
    assert model.score(X, y) == 1
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"kind": pandas.Categorical(X[:, 0].astype(int)), "size": X[:, 1]})
    by_type = mlp.TabularClassifier(**SMALL).fit(frame, y)
    assert by_type.preprocessing_.feature_names[:4] == ("kind=0", "kind=1", "kind=2", "kind=3")
    assert_allclose(by_type.predict_proba(frame), model.predict_proba(X), rtol=1e-12)
    for wrong, error in (("x0", ValueError), ([7], mlp.UnknownNameError), (["y"], mlp.UnknownNameError)):
        with pytest.raises(error, match="categorical_features"):
            mlp.TabularClassifier(**SMALL, categorical_features=wrong).fit(X, y)


def test_an_unknown_category_is_answered_with_a_warning(caplog):
    columns, y = people()
    pandas = pytest.importorskip("pandas")
    X = pandas.DataFrame(columns)
    model = mlp.TabularClassifier(**SMALL).fit(X, y)
    new = X.head(3).assign(city=["Paris", None, "Oslo"])
    with caplog.at_level(logging.WARNING, logger="mlp"):
        assert model.predict_proba(new).shape == (3, 2)
    assert "Paris" in caplog.text


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (np.ones((20, 2)), "no column to learn from"),
        (np.array([[np.inf, 1.0]] * 20), "infinity"),
    ],
)
def test_inputs_that_cannot_be_used(X, message):
    with pytest.raises(mlp.DataError, match=message):
        mlp.TabularRegressor(**SMALL).fit(X, np.arange(20.0))


def test_columns_of_the_same_name():
    pandas = pytest.importorskip("pandas")
    X = pandas.DataFrame(np.random.default_rng(0).normal(size=(20, 2)), columns=["a", "a"])
    with pytest.raises(mlp.DataError, match="several columns of the name 'a'"):
        mlp.TabularRegressor(**SMALL).fit(X, np.arange(20.0))


def test_one_class_is_an_error():
    with pytest.raises(mlp.DataError, match="only the class"):
        mlp.TabularClassifier(**SMALL).fit(np.arange(20.0)[:, None], [3] * 20)


# -- training --------------------------------------------------------------------------------


def test_folds_are_stratified_and_each_row_is_in_one():
    rng = np.random.RandomState(0)
    classes = np.array([0] * 50 + [1] * 10 + [2] * 2 + [3])
    folds = fold_of_each_row(len(classes), classes, rng)
    assert_array_equal(np.bincount(folds[:50]), 10)
    assert_array_equal(np.bincount(folds[50:60]), 2)
    assert folds[60] != folds[61]
    assert folds[62] == -1  # always in training
    assert_array_equal(np.bincount(fold_of_each_row(103, None, rng)), [21, 21, 21, 20, 20])


def test_the_best_epoch_of_the_validation_rows_is_kept():
    X, y = load_wine(return_X_y=True)
    model = mlp.TabularClassifier(**SMALL | {"random_state": 3, "epochs": 60}).fit(X, y)
    (history,), (net,) = model.histories_, model.networks_
    assert len(history) == 60
    assert history.best_epoch == np.argmin(history.val_loss) + 1
    rng = np.random.RandomState(3)
    held_out = fold_of_each_row(len(y), y, rng) == 0
    assert_allclose(log_loss(y[held_out], model.predict_proba(X[held_out])), min(history.val_loss), rtol=1e-5)
    assert net.scaling is None
    assert net.seed == rng.randint(np.iinfo(np.int32).max)


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_the_networks_are_those_of_mlp(backend, dropout):
    """The definition of the estimator, by the public interface of `MLP`."""
    X, y = make_friedman1(150, random_state=0)
    settings = SMALL | {"backend": backend, "epochs": 5, "dtype": "float64", "dropout": dropout}
    model = mlp.TabularRegressor(**settings).fit(X, y)
    rng = np.random.RandomState(0)
    folds = fold_of_each_row(150, None, rng)
    quartiles = np.percentile(X, [25, 50, 75], axis=0)
    z = (X - quartiles[1]) / (quartiles[2] - quartiles[0])
    z = z / np.sqrt(1 + (z / 3) ** 2)
    net = mlp.MLP(
        [10, 16, 16, 1], "mish", loss="mse", scaling_layer=True, dtype="float64", backend=backend, dropout=dropout,
        init=["neural_tangent", "neural_tangent", "zeros"], target_scaling=([y.mean()], [y.std()]),
        seed=int(rng.randint(np.iinfo(np.int32).max)),
    )  # fmt: skip
    net.fit(
        z[folds != 0], y[folds != 0], epochs=5, batch_size=120, validation_data=(z[folds == 0], y[folds == 0]),
        early_stopping=mlp.EarlyStopping(patience=5),
        optimizer=mlp.Adam(
            mlp.schedules.CosLog4(0.014, epochs=5), beta2=0.95, bias_rate_factor=0.1, scaling_rate_factor=6.0,
            weight_rate_factor=(10**-0.5, 0.25, 0.25),
        ),
    )  # fmt: skip
    assert_allclose(model.predict(X), net.predict(z), rtol=1e-9)


def test_the_default_rates():
    X, y = make_friedman1(600, random_state=0)
    small = {"epochs": 3, "hidden_layer_sizes": (4,), "random_state": 0}
    few = mlp.TabularRegressor(**small).fit(X[:499], y[:499])
    many = mlp.TabularRegressor(**small).fit(X[:500], y[:500])
    classes = mlp.TabularClassifier(**small).fit(X[:100], y[:100] > 15)
    rates = [model.networks_[0].seed and max(model.histories_[0].learning_rate) for model in (few, many, classes)]
    assert_allclose(rates[0] / 0.014, rates[1] / 0.07, rtol=0.5)
    for model, rate in ((few, 0.014), (many, 0.07), (classes, 0.04)):
        batches = 2 if model is not classes else 1
        last = [epoch + (batches - 1) / batches for epoch in range(3)]
        expected = [rate * (1 - np.cos(2 * np.pi * np.log2(1 + 15 * t / 3))) / 2 for t in last]
        assert_allclose(model.histories_[0].learning_rate, expected, rtol=1e-12)


def test_an_average_of_networks_on_different_folds():
    X, y = load_wine(return_X_y=True)
    model = mlp.TabularClassifier(**SMALL, n_models=3).fit(X, y)
    single = mlp.TabularClassifier(**SMALL).fit(X, y)
    assert len(model.networks_) == len(model.histories_) == 3
    inputs = model.preprocessing_.transform({f"x{i}": column for i, column in enumerate(X.T)})
    each = [net.predict_proba(inputs) for net in model.networks_]
    assert_allclose(model.predict_proba(X), np.mean(each, axis=0), atol=1e-6)
    assert_allclose(single.predict_proba(X), each[0], atol=1e-6)  # the first network is that of one model
    assert np.abs(each[0] - each[1]).max() > 1e-3


def test_weights_of_zero_leave_rows_out():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 3))
    y = X[:, 0].copy()
    weight = np.ones(200)
    y[100:], weight[100:] = -50, 0
    model = mlp.TabularRegressor(**SMALL | {"epochs": 60}).fit(X, y, weight)
    assert model.score(X[:100], y[:100]) > 0.9
    with pytest.raises(ValueError, match="zero"):
        model.fit(X, y, np.zeros(200))
    with pytest.raises(mlp.DataError, match="zero or positive"):
        model.fit(X, y, -weight)


def test_several_targets():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(150, 3))
    y = np.column_stack([1e4 + X[:, 0], 1e-3 * X[:, 1]])
    model = mlp.TabularRegressor(**SMALL | {"epochs": 60}, learning_rate=0.07).fit(X, y)
    assert model.predict(X).shape == (150, 2)
    assert model.score(X, y) > 0.9


def test_the_same_seed_is_the_same_model():
    X, y = load_diabetes(return_X_y=True)
    first, second = (mlp.TabularRegressor(**SMALL).fit(X, y).predict(X) for _ in range(2))
    assert_array_equal(first, second)
    other = mlp.TabularRegressor(**SMALL | {"random_state": 1}).fit(X, y).predict(X)
    assert (first != other).any()


def test_defaults_are_better_than_a_line_on_a_curved_function():
    X, y = make_friedman1(700, noise=0.5, random_state=0)
    model = mlp.TabularRegressor(random_state=0).fit(X[:500], y[:500])
    assert model.score(X[500:], y[500:]) > 0.95 > RidgeCV().fit(X[:500], y[:500]).score(X[500:], y[500:])


# -- files --------------------------------------------------------------------------------


@pytest.mark.parametrize("n_models", [1, 3])
def test_a_saved_estimator_is_the_same(table, tmp_path, n_models):
    X, y = table
    model = mlp.TabularClassifier(**SMALL, n_models=n_models).fit(X, y)
    model.save(tmp_path / "model.zip")
    again = mlp.TabularClassifier.load(tmp_path / "model.zip", backend="numpy")
    assert_array_equal(again.predict_proba(X), model.predict_proba(X))
    assert_array_equal(again.predict(X), model.predict(X))
    assert again.classes_.dtype.kind == model.classes_.dtype.kind
    assert again.left_out_ == model.left_out_
    assert again.histories_ == model.histories_
    assert clone(again).get_params() == clone(model).get_params()
    assert vars(again).keys() == vars(model).keys()
    assert_array_equal(pickle.loads(pickle.dumps(again)).predict(X), model.predict(X))


@pytest.mark.parametrize("classes", [[True, False], [3, 7], [0.5, 1.0], ["a", "b"]])
def test_saved_classes_keep_their_type(tmp_path, classes):
    X = np.arange(40.0)[:, None]
    y = np.array(classes)[(np.arange(40) > 20).astype(int)]
    model = mlp.TabularClassifier(**SMALL).fit(X, y if not isinstance(classes[0], float) else y.astype(str))
    model.save(tmp_path / "model.zip")
    again = mlp.TabularClassifier.load(tmp_path / "model.zip")
    assert_array_equal(again.predict(X), model.predict(X))
    assert again.classes_.dtype.kind == model.classes_.dtype.kind


def test_a_saved_regressor_is_the_same(tmp_path):
    X, y = load_diabetes(return_X_y=True)
    model = mlp.TabularRegressor(**SMALL | {"random_state": np.random.RandomState(0)}).fit(X, y)
    model.save(tmp_path / "model.zip")
    again = mlp.TabularRegressor.load(tmp_path / "model.zip")
    assert_array_equal(again.predict(X), model.predict(X))
    with pytest.raises(mlp.FileFormatError, match="has a TabularRegressor, not a TabularClassifier"):
        mlp.TabularClassifier.load(tmp_path / "model.zip")


def test_damaged_files_are_refused(tmp_path):
    path = tmp_path / "model.zip"
    mlp.TabularRegressor(**SMALL).fit(np.arange(40.0)[:, None], np.arange(40.0)).save(path)
    content = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}

    def refused(match):
        with pytest.raises(mlp.FileFormatError, match=match):
            mlp.TabularRegressor.load(path)

    for length in (0, 10, len(content) // 2, len(content) - 5):
        path.write_bytes(content[:length])
        refused("model.zip")
    for name, old, new, match in (
        ("estimator.json", b'"n_features_in": 1', b'"n_features_in": "1"', "n_features_in"),
        ("estimator.json", b'"epochs": 30', b'"epochs": -1', "epochs"),
        ("estimator.json", b'"format_version": 1', b'"format_version": 9', "format_version"),
        ("network-0.safetensors", b'"sizes"', b'"sises"', "network 0"),
    ):
        assert old in entries[name].replace(b'\\"', b'"')
        changed = entries[name].replace(old, new).replace(old.replace(b'"', b'\\"'), new.replace(b'"', b'\\"'))
        with zipfile.ZipFile(path, "w") as archive:
            for entry, value in entries.items():
                archive.writestr(entry, changed if entry == name else value)
        refused(match)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("estimator.json", b" " * 10**6)
    refused("compressed")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("estimator.json", entries["estimator.json"])
    refused("model.zip")
