"""`MLPClassifier` and `MLPRegressor` with scikit-learn's tools, and their additional parameters."""

from __future__ import annotations

import io
import logging
import os
import signal
import subprocess
import sys
import warnings
from unittest import mock

import joblib
import numpy as np
import pytest
import scipy.sparse
import sklearn
import sklearn.neural_network as reference
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_digits, load_iris
from sklearn.inspection import permutation_importance
from sklearn.model_selection import GridSearchCV, cross_val_score, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import mlp
from mlp import MLPClassifier, MLPRegressor
from mlp.schedules import Cosine, ReduceOnPlateau, Step

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, y = load_digits(return_X_y=True)
X, y = X[:400] / 16, y[:400]
X_new, y_new = load_digits(return_X_y=True)
X_new, y_new = X_new[400:600] / 16, y_new[400:600]
SMALL = {"hidden_layer_sizes": (16,), "max_iter": 30, "random_state": 0, "learning_rate_init": 0.01}


def same_weights(a, b):
    return all(np.array_equal(W, V) for W, V in zip(a.coefs_ + a.intercepts_, b.coefs_ + b.intercepts_, strict=True))


# -- tools of scikit-learn ---------------------------------------------------------------------------


def test_parameters_come_first_and_are_scikit_learns():
    import inspect

    for ours, theirs in ((MLPClassifier, reference.MLPClassifier), (MLPRegressor, reference.MLPRegressor)):
        expected = list(inspect.signature(theirs).parameters.values())
        found = list(inspect.signature(ours).parameters.values())
        assert [(p.name, p.default, p.kind) for p in found[: len(expected)]] == [
            (p.name, p.default, p.kind) for p in expected
        ]
        assert all(p.kind is p.KEYWORD_ONLY for p in found[len(expected) :])


def test_fitted_attributes_are_scikit_learns():
    def public(estimator):
        return {name for name in vars(estimator) if name.endswith("_") and not name.startswith("_")}

    for name in ("MLPClassifier", "MLPRegressor"):
        for more in ({}, {"solver": "lbfgs", "max_iter": 2}, {"early_stopping": True}):
            theirs = getattr(reference, name)(**SMALL | more).fit(X, y)
            ours = getattr(mlp, name)(**SMALL | more).fit(X, y)
            assert public(ours) - public(theirs) <= {"backend_", "validation_loss_curve_"}
            assert public(theirs) <= public(ours)


def test_pipeline_and_cross_validation(backend):
    model = make_pipeline(StandardScaler(), MLPClassifier(**SMALL, backend=backend))
    assert cross_val_score(model, X, y, cv=3).mean() > 0.85
    assert set(cross_validate(model, X, y, cv=2, scoring=["accuracy", "neg_log_loss"])) >= {"test_neg_log_loss"}


def test_grid_search_gives_scikit_learns_scores_in_two_processes(backend):
    grid = {"alpha": [1e-4, 1.0], "hidden_layer_sizes": [(8,), (16,)]}
    found = [
        GridSearchCV(model, grid, cv=2, n_jobs=jobs).fit(X, y)
        for model, jobs in ((reference.MLPClassifier(**SMALL), None), (MLPClassifier(**SMALL, backend=backend), 2))
    ]
    np.testing.assert_allclose(found[1].cv_results_["mean_test_score"], found[0].cv_results_["mean_test_score"])
    assert found[1].best_params_ == found[0].best_params_


@pytest.mark.parametrize("model", [MLPClassifier(**SMALL), mlp.TabularClassifier(epochs=5, random_state=0)])
def test_a_grid_search_on_dask_workers_has_the_scores_of_one_process(model):
    distributed = pytest.importorskip("distributed")
    search = GridSearchCV(model, {"batch_size": [32, 64], "hidden_layer_sizes": [(8,), (16,)]}, cv=2)
    here = search.fit(X, y).cv_results_["mean_test_score"]
    with (
        mock.patch.dict(os.environ),  # dask sets variables such as OMP_NUM_THREADS and leaves them
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
        joblib.parallel_config("dask"),
    ):
        there = search.fit(X, y).cv_results_["mean_test_score"]
        assert all(client.run(lambda: "mlp" in sys.modules).values())
    np.testing.assert_array_equal(there, here)
    assert len(set(here)) > 1


def worker_thread_count(_):
    from backends.numba_backend import threads

    return threads.get_num_threads()


def test_workers_share_the_processors(monkeypatch):
    monkeypatch.delenv("MLP_NUM_THREADS", raising=False)
    monkeypatch.delenv("NUMBA_NUM_THREADS", raising=False)
    cores = joblib.cpu_count()
    with joblib.parallel_config("loky", n_jobs=2):
        assert joblib.Parallel()(joblib.delayed(worker_thread_count)(i) for i in range(2)) == [max(cores // 2, 1)] * 2


def test_results_do_not_depend_on_threads():
    pytest.importorskip("numba")
    from backends.numba_backend import threads

    fitted = []
    for number in (1, 2):
        threads.set_num_threads(number)
        fitted.append(MLPClassifier((300,), max_iter=3, random_state=0, backend="numba").fit(X, y))
    threads.set_num_threads(None)
    assert same_weights(*fitted)


def test_clone_keeps_parameters_and_forgets_the_fit():
    model = MLPClassifier(
        **SMALL, solver=mlp.AdamW(0.01), activation=["gelu"], dropout=[0.1], class_weight={0: 2.0}, callbacks=[print]
    ).fit(X, y)
    again = clone(model)
    assert not hasattr(again, "coefs_")
    assert again.get_params()["solver"] == mlp.AdamW(0.01)
    assert again.get_params()["class_weight"] == {0: 2.0}


@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs", mlp.RMSprop(0.01)])
def test_pickled_by_joblib_it_predicts_and_learns_on(solver, backend, tmp_path):
    model = MLPClassifier(**SMALL | {"solver": solver, "backend": backend}).fit(X, y)
    joblib.dump(model, tmp_path / "model.joblib")
    for mode in (None, "r"):  # "r": arrays are read-only and mapped from the file
        loaded = joblib.load(tmp_path / "model.joblib", mmap_mode=mode)
        np.testing.assert_array_equal(loaded.predict_proba(X_new), model.predict_proba(X_new))
        if solver != "lbfgs":
            loaded.partial_fit(X, y)
            assert not same_weights(loaded, model)


def test_a_pickle_needs_neither_numba_nor_cupy(tmp_path):
    model = MLPClassifier(**SMALL, backend="numba").fit(X, y).set_params(backend="auto")
    joblib.dump((model, X_new), tmp_path / "model.joblib")
    code = (
        f"import joblib, sys; model, X = joblib.load({str(tmp_path / 'model.joblib')!r}); model.predict(X); "
        "sys.exit('numba' in sys.modules or 'cupy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_calibration_and_permutation_importance_are_those_of_scikit_learns_class():
    features, kinds = load_iris(return_X_y=True)
    found = []
    for cls in (reference.MLPClassifier, MLPClassifier):
        model = make_pipeline(StandardScaler(), cls(**SMALL))
        calibrated = CalibratedClassifierCV(model, cv=3).fit(features, kinds)
        importance = permutation_importance(model.fit(features, kinds), features, kinds, n_repeats=3, random_state=0)
        found.append((calibrated.predict_proba(features), importance.importances))
    for theirs, ours in zip(*found, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-8)


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_data_frames(library):
    frames = pytest.importorskip(library, reason=f"{library} is optional")
    iris = load_iris()
    frame = frames.DataFrame({name: iris.data[:, i] for i, name in enumerate(iris.feature_names)})
    names = frames.Series(iris.target_names[iris.target])
    model = MLPClassifier(**SMALL).fit(frame, names)
    assert set(model.predict(frame)) <= set(iris.target_names)
    expected = MLPClassifier(**SMALL).fit(iris.data, iris.target)
    np.testing.assert_array_equal(model.predict_proba(frame), expected.predict_proba(iris.data))
    if not hasattr(reference.MLPClassifier(max_iter=1).fit(frame, iris.target), "feature_names_in_"):
        return  # scikit-learn 1.7 does not read the column names of every library
    assert list(model.feature_names_in_) == iris.feature_names
    frame.columns = [name.upper() for name in iris.feature_names]
    with pytest.raises(ValueError, match="feature names"):
        model.predict(frame)


def test_columns_of_a_frame_through_transformers():
    pandas = pytest.importorskip("pandas", reason="pandas is optional")
    frame = pandas.DataFrame({"size": np.arange(60.0), "color": ["red", "green", "blue"] * 20})
    target = frame["size"] / 60 + (frame["color"] == "red")
    steps = ColumnTransformer([("number", StandardScaler(), ["size"]), ("word", OneHotEncoder(), ["color"])])
    steps.set_output(transform="default")
    model = make_pipeline(steps, MLPRegressor(solver="lbfgs", hidden_layer_sizes=8, random_state=0)).fit(frame, target)
    assert model.score(frame, target) > 0.99


def test_a_transformed_target_and_pandas_output():
    pandas = pytest.importorskip("pandas", reason="pandas is optional")
    model = make_pipeline(StandardScaler().set_output(transform="pandas"), MLPClassifier(**SMALL))
    frame = pandas.DataFrame(X[:, :5], columns=list("abcde"))
    model.fit(frame, y)
    assert list(model[-1].feature_names_in_) == list("abcde")


@pytest.mark.parametrize("container", [scipy.sparse.csr_matrix, scipy.sparse.csc_array, scipy.sparse.csr_array])
def test_sparse_input_is_the_dense_one(container, backend):
    model = MLPClassifier(**SMALL, backend=backend)
    dense = clone(model).fit(X, y)
    sparse = clone(model).fit(container(X), y)
    assert same_weights(dense, sparse)
    np.testing.assert_array_equal(sparse.predict(container(X_new)), dense.predict(X_new))


def test_sample_weight_is_routed():
    weight = np.where(y < 5, 1.0, 0.0)
    with sklearn.config_context(enable_metadata_routing=True):
        weighted = MLPClassifier(**SMALL).set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        model = make_pipeline(StandardScaler().set_fit_request(sample_weight=False), weighted)
        model.fit(X, y, sample_weight=weight)
        assert model.predict(X).max() < 5
        routed = cross_validate(weighted, X, y, cv=2, params={"sample_weight": weight})
    assert routed["test_score"].min() > 0.8


# -- arrays of other libraries --------------------------------------------------------------------------


class OnlyArray:
    """An array that supports only ``__array__``."""

    def __init__(self, values):
        self.values = values
        self.shape = values.shape

    def __len__(self):
        return len(self.values)

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self.values, dtype=dtype)


class OnlyDLPack:
    """An array that supports only DLPack."""

    def __init__(self, values):
        self.values = values

    def __dlpack__(self, **settings):
        return self.values.__dlpack__(**settings)

    def __dlpack_device__(self):
        return self.values.__dlpack_device__()


class OnGPU(OnlyDLPack):
    """Like an array of CuPy: it refuses implicit conversion to NumPy, and has `get`."""

    __cuda_array_interface__ = {"shape": (), "typestr": "<f8", "data": (0, False), "version": 3}  # noqa: RUF012

    def get(self):
        return self.values

    def __array__(self, dtype=None, copy=None):
        raise TypeError("Implicit conversion to a NumPy array is not allowed.")

    def __dlpack__(self, **settings):
        raise BufferError("this memory is not the host's")


@pytest.mark.parametrize("kind", [OnlyArray, OnlyDLPack, OnGPU])
def test_arrays_of_other_kinds(kind):
    expected = MLPClassifier(**SMALL).fit(X, y, np.ones(len(y)))
    model = MLPClassifier(**SMALL).fit(kind(X), kind(y), kind(np.ones(len(y))))
    assert same_weights(model, expected)
    assert type(model.predict(kind(X_new))) is np.ndarray
    np.testing.assert_array_equal(model.predict_proba(kind(X_new)), expected.predict_proba(X_new))
    assert model.score(kind(X_new), y_new) == expected.score(X_new, y_new)


def test_tensors():
    torch = pytest.importorskip("torch", reason="PyTorch is optional")
    model = MLPRegressor(**SMALL).fit(torch.tensor(X), torch.tensor(y))
    expected = MLPRegressor(**SMALL).fit(X, y).predict(X_new)
    found = model.predict(torch.tensor(X_new))
    assert type(found) is np.ndarray
    np.testing.assert_array_equal(found, expected)


# -- additional parameters -----------------------------------------------------------------------------


def test_backend_is_as_asked_and_recorded(backend):
    assert MLPClassifier(**SMALL, backend=backend).fit(X, y).backend_ == backend


def test_auto_chooses_by_the_work(caplog):
    small = MLPClassifier((4,), max_iter=1, random_state=0)
    with caplog.at_level(logging.INFO, logger="mlp"):
        assert small.fit(X[:50], y[:50]).backend_ == "numpy"
        assert "backend numpy" in caplog.text
    if "numba" in mlp._backends.available():
        large = MLPClassifier((500,), max_iter=200, n_iter_no_change=1, tol=1e9, random_state=0)
        assert large.fit(X, y).backend_ == "numba"


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_dtype_is_what_is_computed_in(solver, backend):
    model = MLPRegressor(**SMALL | {"dtype": "float32", "solver": solver, "backend": backend}).fit(X, y)
    assert {array.dtype for array in model.coefs_ + model.intercepts_} == {np.dtype("float32")}
    assert model.predict(X).dtype == np.float32


def test_dropout_changes_training_alone(backend):
    plain = MLPClassifier(**SMALL, backend=backend).fit(X, y)
    dropped = MLPClassifier(**SMALL, backend=backend, dropout=0.5).fit(X, y)
    assert dropped.loss_ > 1.2 * plain.loss_  # the training loss of a network with dropped units
    np.testing.assert_array_equal(dropped.predict_proba(X), dropped.predict_proba(X))
    assert same_weights(dropped, MLPClassifier(**SMALL, backend=backend, dropout=[0.5]).fit(X, y))


def test_class_weight_counts_like_sample_weight(backend):
    weights = {digit: 1.0 + digit for digit in range(10)}
    by_class = MLPClassifier(**SMALL, backend=backend, class_weight=weights).fit(X, y)
    assert same_weights(by_class, MLPClassifier(**SMALL, backend=backend).fit(X, y, sample_weight=1.0 + y))
    both = MLPClassifier(**SMALL, backend=backend, class_weight=weights).fit(X, y, sample_weight=1.0 + y)
    assert same_weights(both, MLPClassifier(**SMALL, backend=backend).fit(X, y, sample_weight=(1.0 + y) ** 2))


def test_balanced_classes_help_the_rare_one():
    rows = np.concatenate([np.flatnonzero(y == 1)[:3], np.flatnonzero(y == 8)])
    recall = [
        np.mean(
            MLPClassifier(**SMALL | {"max_iter": 12}, class_weight=weight)
            .fit(X[rows], y[rows])
            .predict(X_new[y_new == 1])
            == 1
        )
        for weight in (None, "balanced")
    ]
    assert recall[1] > recall[0]


def test_activation_of_each_layer(backend):
    shape = SMALL | {"hidden_layer_sizes": (12, 8), "backend": backend}
    assert same_weights(MLPClassifier(**shape).fit(X, y), MLPClassifier(**shape, activation=["relu", "relu"]).fit(X, y))
    mixed = MLPClassifier(**shape, activation=["tanh", "silu"]).fit(X, y)
    hidden = np.tanh(X_new @ mixed.coefs_[0] + mixed.intercepts_[0]) @ mixed.coefs_[1] + mixed.intercepts_[1]
    z = hidden / (1 + np.exp(-hidden)) @ mixed.coefs_[2] + mixed.intercepts_[2]
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(mixed.predict_proba(X_new), p, rtol=1e-9)


@pytest.mark.parametrize(
    "name", ["sigmoid", "leaky_relu", "elu", "selu", "gelu", "gelu_tanh", "silu", "mish", "softplus"]
)
def test_all_activations_learn(name):
    assert MLPClassifier(**SMALL, activation=name).fit(X, y).score(X, y) > 0.9


def test_sigmoid_is_logistic():
    assert same_weights(
        MLPClassifier(**SMALL, activation="sigmoid").fit(X, y), MLPClassifier(**SMALL, activation="logistic").fit(X, y)
    )


def test_an_activation_of_ones_own():
    bent = mlp.custom_activation(
        "bent", lambda xp, z: (xp.sqrt(z * z + 1) - 1) / 2 + z, lambda xp, z: z / (2 * xp.sqrt(z * z + 1)) + 1
    )
    assert MLPClassifier(**SMALL, activation=bent).fit(X, y).score(X, y) > 0.9


@pytest.mark.parametrize(
    "solver",
    [
        "adamw",
        "adagrad",
        "rmsprop",
        mlp.GradientDescent(0.5),
        mlp.SGD(0.1, momentum=0.9),
        mlp.AdamW(Cosine(0.01, epochs=30), clip_norm=1.0),
    ],
    ids=str,
)
def test_our_optimizers_are_those_of_MLP(solver, backend):
    settings = SMALL | {"max_iter": 3, "shuffle": False, "alpha": 0, "backend": backend}
    model = MLPClassifier(**settings, solver=solver)
    start = clone(model).set_params(solver="sgd", max_iter=1, learning_rate_init=1e-300).fit(X, y)
    model.fit(X, y)
    net = mlp.MLP([64, 16, 10], dtype="float64", backend=backend)
    net.weights, net.biases = start.coefs_, start.intercepts_
    named = mlp.optimizers.OPTIMIZERS[solver](0.01) if isinstance(solver, str) else solver
    batch_size = None if isinstance(solver, mlp.GradientDescent) else 200
    history = net.fit(X, y, epochs=3, batch_size=batch_size, optimizer=named, shuffle=False)
    np.testing.assert_allclose(model.loss_curve_, history.loss, rtol=1e-9)
    np.testing.assert_allclose(model.coefs_[0], net.weights[0], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("solver", ["sgd", "adam", "adamw"])
def test_schedules_set_the_rate(solver):
    rates = []
    model = MLPClassifier(
        **SMALL | {"max_iter": 6},
        solver=solver,
        learning_rate=Step(0.02, every=2, factor=0.5),
        callbacks=[lambda run: rates.append(run.history.learning_rate[-1])],
    )
    model.fit(X, y)
    assert rates == [0.02, 0.02, 0.01, 0.01, 0.005, 0.005]


def test_a_schedule_with_a_memory_starts_anew_at_each_fit():
    schedule = ReduceOnPlateau(0.5, factor=0.1, patience=1, min_delta=10)
    model = MLPClassifier(**SMALL, solver="sgd", learning_rate=schedule)
    assert same_weights(clone(model).fit(X, y), model.fit(X, y).fit(X, y))
    assert schedule.current == 0.5


def test_a_validation_set_of_ones_own_is_measured_and_watched(backend):
    model = MLPClassifier(**SMALL | {"max_iter": 200}, backend=backend, early_stopping=True, n_iter_no_change=5)
    model.fit(X, y, X_val=X_new, y_val=y_new)
    assert model.n_iter_ < 200
    assert len(model.validation_scores_) == len(model.validation_loss_curve_) == model.n_iter_
    assert model.score(X_new, y_new) == model.best_validation_score_ == max(model.validation_scores_)


def test_without_early_stopping_the_validation_set_is_only_measured():
    model = MLPClassifier(**SMALL).fit(X, y, X_val=X_new, y_val=y_new)
    assert same_weights(model, MLPClassifier(**SMALL).fit(X, y))
    assert model.score(X_new, y_new) == model.validation_scores_[-1]
    p = model.predict_proba(X_new)[np.arange(len(y_new)), y_new]
    np.testing.assert_allclose(model.validation_loss_curve_[-1], -np.log(p).mean(), rtol=1e-9)
    assert model.best_loss_ == min(model.loss_curve_)


def test_restore_best():
    noisy = SMALL | {"learning_rate_init": 0.3, "max_iter": 12}
    kept = MLPClassifier(**noisy, restore_best=True).fit(X, y, X_val=X_new, y_val=y_new)
    last = MLPClassifier(**noisy).fit(X, y, X_val=X_new, y_val=y_new)
    assert kept.score(X_new, y_new) == max(kept.validation_scores_) > last.score(X_new, y_new)
    stopped = MLPClassifier(**noisy, early_stopping=True, restore_best=False).fit(X, y, X_val=X_new, y_val=y_new)
    assert stopped.score(X_new, y_new) == stopped.validation_scores_[-1]


def test_weights_of_the_validation_set():
    weight = (y_new < 3).astype(float)
    model = MLPClassifier(**SMALL).fit(X, y, X_val=X_new, y_val=y_new, sample_weight_val=weight)
    assert model.validation_scores_[-1] == pytest.approx(model.score(X_new, y_new, sample_weight=weight))


def test_a_batch_without_weight_changes_nothing(backend):
    weight = np.ones(len(y))
    weight[50:100] = 0
    settings = SMALL | {"batch_size": 50, "shuffle": False, "solver": "sgd", "backend": backend}
    with_zeros = MLPClassifier(**settings).fit(X, y, sample_weight=weight)
    without = MLPClassifier(**settings).fit(np.delete(X, slice(50, 100), 0), np.delete(y, slice(50, 100)))
    for W, V in zip(with_zeros.coefs_, without.coefs_, strict=True):
        np.testing.assert_allclose(W, V, rtol=1e-9)
    np.testing.assert_allclose(with_zeros.loss_curve_, without.loss_curve_, rtol=1e-9)


class Recorder(mlp.Callback):
    def __init__(self):
        self.seen = []

    def on_train_begin(self, run):
        self.seen.append("begin")

    def on_batch_end(self, run, batch, loss):
        self.seen.append(batch)

    def on_epoch_end(self, run):
        self.seen.append(f"epoch {run.epoch} of {run.epochs}")
        if run.epoch == 2:
            run.stop("enough")

    def on_train_end(self, run):
        self.seen.append(run.history.stop_reason)


def test_callbacks_see_and_stop_training(backend):
    recorder = Recorder()
    model = MLPClassifier(**SMALL, backend=backend, callbacks=[recorder]).fit(X, y)
    assert recorder.seen == ["begin", 0, 1, "epoch 1 of 30", 0, 1, "epoch 2 of 30", "enough"]
    assert model.n_iter_ == 2
    losses = []
    MLPRegressor(solver="lbfgs", max_iter=5, callbacks=[lambda run: losses.append(run.history.loss[-1])]).fit(X, y)
    assert len(losses) == 5
    assert losses == sorted(losses, reverse=True)


def test_the_network_of_a_run_can_be_used_and_saved(tmp_path):
    predictions = []

    def look(run):
        predictions.append(run.net.predict(X_new))
        run.net.save(tmp_path / "net.safetensors")

    model = MLPClassifier(**SMALL | {"max_iter": 2}, callbacks=[look]).fit(X, y > 4)
    np.testing.assert_array_equal(predictions[-1], model.predict(X_new))
    np.testing.assert_array_equal(mlp.load(tmp_path / "net.safetensors").predict(X_new), predictions[-1])


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_callbacks_of_scikit_learn(solver):
    callback = pytest.importorskip("sklearn.callback", reason="scikit-learn has callbacks since 1.9")

    class Watch:
        def __init__(self):
            self.scores, self.order = [], []

        def setup(self, estimator, context):
            self.order.append("setup")

        def teardown(self, estimator, context):
            self.order.append("teardown")

        def on_fit_task_begin(self, estimator, context):
            self.order.append(context.task_name)

        def on_fit_task_end(self, estimator, context, *, X, y, fitted_estimator):
            if context.task_name == "iteration":
                self.scores.append(fitted_estimator.score(X, y))
            return len(self.scores) == 3

    assert isinstance(Watch(), callback.FitCallback)
    watch = Watch()
    model = MLPClassifier(**SMALL | {"solver": solver}).set_callbacks(watch)
    model.fit(X, y)
    assert model.n_iter_ == len(watch.scores) == 3
    assert watch.scores[-1] == model.score(X, y)
    assert watch.order[:3] == ["setup", "fit", "iteration"]
    assert watch.order[-1] == "teardown"


def test_scikit_learns_score_monitor_in_a_pipeline():
    callback = pytest.importorskip("sklearn.callback", reason="scikit-learn has callbacks since 1.9")
    monitor = callback.ScoringMonitor(scoring="accuracy")
    net = MLPClassifier(**SMALL | {"max_iter": 4}).set_callbacks(monitor)
    make_pipeline(StandardScaler(), net).fit(X, y)
    scores = [row["accuracy"] for row in monitor.get_logs().data if row["task_name"] == "iteration"]
    assert len(scores) == 4
    assert scores[-1] > scores[0]


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_scikit_learns_progress_bar_sees_all_iterations(solver):
    callback = pytest.importorskip("sklearn.callback", reason="scikit-learn has callbacks since 1.9")
    model = MLPClassifier(**SMALL | {"solver": solver, "max_iter": 3}).set_callbacks(callback.ProgressBar())
    assert model.fit(X, y).n_iter_ == 3


def test_ctrl_c_keeps_what_was_learnt():
    def interrupt(run):
        if run.epoch == 3:
            signal.raise_signal(signal.SIGINT)

    model = MLPClassifier(**SMALL, backend="numpy", callbacks=[interrupt])
    with pytest.warns(UserWarning, match="interrupted by user"):
        model.fit(X, y)
    assert model.n_iter_ == 3
    assert same_weights(model, MLPClassifier(**SMALL | {"max_iter": 3}, backend="numpy").fit(X, y))


def test_another_solver_goes_on_from_lbfgs():
    model = MLPClassifier(**SMALL | {"max_iter": 5}, solver="lbfgs", warm_start=True).fit(X, y)
    loss = model.loss_
    model.set_params(solver="adam", learning_rate_init=1e-3).fit(X, y)
    assert model.loss_curve_[0] < 1.2 * loss
    assert len(model.loss_curve_) == 5


def test_progress_is_drawn_on_a_terminal_only(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    for stream, drawn in ((Terminal(), True), (io.StringIO(), False)):
        monkeypatch.setattr(sys, "stderr", stream)
        MLPClassifier(**SMALL, progress=True).fit(X, y)
        assert ("epoch" in stream.getvalue()) == drawn


def test_verbose_prints_what_scikit_learn_prints(capsys):
    settings = SMALL | {
        "early_stopping": True,
        "solver": "sgd",
        "learning_rate": "adaptive",
        "tol": 0.5,
        "n_iter_no_change": 1,
    }
    texts = []
    for cls in (reference.MLPClassifier, MLPClassifier):
        cls(**settings, verbose=True).fit(X, y)
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1]
    assert "Setting learning rate to" in texts[1]


def test_weights_can_be_assigned(backend):
    model = MLPClassifier(**SMALL, backend=backend).fit(X, y)
    model.coefs_[1] = np.zeros((16, 10))
    model.intercepts_[1] = np.arange(10.0)
    assert set(model.predict(X)) == {9}
    model.partial_fit(X, y)
    assert np.abs(model.coefs_[1]).max() <= 0.03  # three steps of Adam from zero


# -- invalid parameters and data ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameters", "error", "text"),
    [
        ({"backend": "nmupy"}, mlp.UnknownNameError, "did you mean 'numpy'"),
        ({"backend": "numpy", "device": "cuda"}, mlp.ConfigurationError, "runs on the CPU"),
        ({"dtype": "float16"}, mlp.UnknownNameError, "unknown dtype 'float16'"),
        ({"dtype": "flaot32"}, mlp.UnknownNameError, "did you mean 'float32'"),
        ({"dropout": [0.1, 0.2]}, mlp.ConfigurationError, "dropout has 2 entries, but the network has 1 hidden"),
        ({"dropout": [1.5]}, mlp.ConfigurationError, "at least 0 and below 1"),
        ({"dropout": 0.5, "solver": "lbfgs"}, mlp.ConfigurationError, "without dropout"),
        ({"activation": ["relu", "tanh"]}, mlp.ConfigurationError, "activation has 2 entries"),
        ({"activation": ["rleu"]}, mlp.UnknownNameError, "did you mean 'relu'"),
        ({"activation": ["step"]}, mlp.NotDifferentiableError, "cannot be used for training"),
        ({"activation": "softmax"}, ValueError, "The 'activation' parameter of MLPClassifier must be"),
        ({"solver": "adm"}, ValueError, "The 'solver' parameter of MLPClassifier must be"),
        ({"solver": "adamw", "learning_rate": "adaptive"}, mlp.ConfigurationError, "works only with solver='sgd'"),
        (
            {"solver": mlp.AdamW(0.1), "learning_rate": Cosine(0.1)},
            mlp.ConfigurationError,
            r"solver=mlp.AdamW\(Cosine",
        ),
        (
            {"solver": mlp.GradientDescent(0.1), "batch_size": 10},
            mlp.ConfigurationError,
            "uses all 400 rows in each step",
        ),
        ({"restore_best": True}, mlp.ConfigurationError, "there is no validation set"),
        ({"hidden_layer_sizes": (10, 0)}, ValueError, "hidden_layer_sizes must be > 0, got"),
        ({"callbacks": [3]}, mlp.ConfigurationError, "a callback must be a mlp.Callback"),
        ({"class_weight": "heavy"}, ValueError, "The 'class_weight' parameter"),
        ({"progress": 3}, ValueError, "The 'progress' parameter"),
        ({"alpha": -1}, ValueError, "The 'alpha' parameter of MLPClassifier must be"),
    ],
    ids=str,
)
def test_bad_parameters(parameters, error, text):
    with pytest.raises(error, match=text):
        MLPClassifier(**SMALL | parameters).fit(X, y)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"X_val": X_new}, "X_val and y_val together"),
        ({"sample_weight_val": y_new}, "X_val and y_val together"),
        ({"X_val": X_new, "y_val": y_new + 10}, "classes that y does not"),
        ({"X_val": X_new[:, :5], "y_val": y_new}, "expecting 64 features"),
        ({"sample_weight": np.ones(3)}, "inconsistent numbers of samples|sample_weight.shape"),
    ],
    ids=["no y_val", "only weights", "new classes", "columns", "weights"],
)
def test_bad_data(settings, text):
    with pytest.raises(ValueError, match=text):
        MLPClassifier(**SMALL).fit(X, y, **settings)


def test_bad_data_of_other_kinds():
    with pytest.raises(mlp.DataError, match="counts: targets of zero or more"):
        MLPRegressor(loss="poisson").fit(X, y - 5.0)
    with pytest.raises(mlp.DtypeError, match="a regressor needs numeric targets"):
        MLPRegressor().fit(X, y.astype(str))
    with pytest.raises(mlp.ConfigurationError, match="fixed function of all rows, without a validation set"):
        MLPRegressor(solver="lbfgs").fit(X, y, X_val=X_new, y_val=y_new)
    with pytest.raises(mlp.ConfigurationError, match="partial_fit sees only a part"):
        MLPClassifier(class_weight="balanced").partial_fit(X, y, classes=np.arange(10))
    with pytest.raises(AttributeError) as refused:
        MLPClassifier(solver="lbfgs").partial_fit(X, y)
    assert "lbfgs is not stochastic" in str(refused.value.__cause__)
    model = MLPClassifier(**SMALL, warm_start=True).fit(X, y)
    with pytest.raises(mlp.ShapeError, match=r"coefs_\[0\] \(64, 16\).*must have shapes.*\(64, 20\)"):
        model.set_params(hidden_layer_sizes=20).fit(X, y)


def test_no_gpu_is_said_and_nothing_falls_back():
    if "cupy" in mlp._backends.available():
        pytest.skip("there is a GPU")
    with pytest.raises(mlp.BackendUnavailableError, match="cupy"):
        MLPClassifier(device="cuda").fit(X, y)


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_warnings_are_filtered_by_scikit_learns_name(solver):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", module="sklearn")
        MLPClassifier((4,), solver=solver, max_iter=2, random_state=0).fit(X, y)
        MLPClassifier((4,), solver="sgd", max_iter=2, batch_size=5000, random_state=0).fit(X, y)


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_losses_are_numpys_as_scikit_learns(solver):
    ours, theirs = (
        kind((4,), solver=solver, max_iter=2, random_state=0).fit(X / 16, y)
        for kind in (MLPClassifier, reference.MLPClassifier)
    )
    assert type(ours.loss_) is type(theirs.loss_)
    if solver == "adam":
        assert list(map(type, ours.loss_curve_)) == list(map(type, theirs.loss_curve_))
        assert type(ours.best_loss_) is type(theirs.best_loss_)


# -- weights and masks ----------------------------------------------------------------------------------


def with_mask(array, place):
    result = np.ma.array(array)
    result[place] = np.ma.masked
    return result


def test_negative_weights_are_refused_with_their_place():
    weight = np.ones(len(X))
    weight[3] = -0.5
    for model in (MLPClassifier(**SMALL), MLPRegressor(**SMALL)):
        for act in (
            lambda model=model: model.fit(X, y, sample_weight=weight),
            lambda model=model: model.partial_fit(X, y, sample_weight=weight, **classes_for(model)),
            lambda model=model: model.fit(X, y, X_val=X, y_val=y, sample_weight_val=weight),
        ):
            with pytest.raises(mlp.DataError, match=r"sample_weight\[3\] is -0.5: a weight must be zero or positive"):
                act()


def classes_for(model):
    return {"classes": np.unique(y)} if isinstance(model, MLPClassifier) else {}


@pytest.mark.parametrize("wrong", [-1, float("nan"), float("inf"), "2"])
def test_class_weights_that_cannot_be_are_refused_by_name(wrong):
    with pytest.raises(mlp.ConfigurationError, match=r"class_weight\[1\] must be zero or a positive number"):
        MLPClassifier(**SMALL, class_weight={0: 1, 1: wrong}).fit(X, y)
    Y = np.column_stack([y > 4, y <= 4]).astype(int)
    with pytest.raises(mlp.ConfigurationError, match=r"class_weight\[1\]\[0\] must be zero or a positive number"):
        MLPClassifier(**SMALL, class_weight=[{0: 1, 1: 1}, {0: wrong, 1: 1}]).fit(X, Y)


def test_weights_that_are_all_zero_are_refused():
    with pytest.raises(mlp.DataError, match="every row has the weight zero"):
        MLPClassifier(**SMALL, class_weight=dict.fromkeys(np.unique(y).tolist(), 0)).fit(X, y)


@pytest.mark.parametrize("name", ["MLPClassifier", "MLPRegressor"])
def test_masks_are_refused(name):
    weight = np.ones(len(X))
    model = getattr(mlp, name)(**SMALL).fit(X, y)
    for act, place in (
        (lambda: model.fit(with_mask(X, (2, 1)), y), r"X\[2, 1\]"),
        (lambda: model.fit(X, with_mask(y, 2)), r"y\[2\]"),
        (lambda: model.fit(X, y, sample_weight=with_mask(weight, 2)), r"sample_weight\[2\]"),
        (lambda: model.fit(X, y, X_val=with_mask(X, (2, 1)), y_val=y), r"X\[2, 1\]"),
        (lambda: model.predict(with_mask(X, (2, 1))), r"X\[2, 1\]"),
        (lambda: model.score(X, with_mask(y, 2)), r"y\[2\]"),
        (lambda: model.score(X, y, sample_weight=with_mask(weight, 2)), r"sample_weight\[2\]"),
    ):
        with pytest.raises(mlp.DataError, match=place + " is masked"):
            act()


def test_the_best_epoch_is_counted_from_1():
    seen = []
    model = MLPClassifier(**SMALL, early_stopping=True, callbacks=[lambda run: seen.append(run.history.best_epoch)])
    model.fit(X, y)
    assert seen[0] == 1
    assert seen[-1] == int(np.argmax(model.validation_scores_)) + 1
