"""`MLP.fit` with its defaults: the number of epochs, weights of classes, metrics, and warnings; and `History`."""

from __future__ import annotations

import logging
import math

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import metrics as reference
from sklearn.datasets import load_breast_cancer, load_iris
from sklearn.preprocessing import StandardScaler
from sklearn.utils.class_weight import compute_sample_weight

import mlp
from mlp import persistence
from mlp.training import default_epochs, with_class_weight

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(120, 4)).astype(np.float32), RNG.choice(3, 120, p=(0.7, 0.2, 0.1))


def small(**options):
    return mlp.MLP([4, 5, 3], backend="numpy", **options)


def through_a_file(net, path):
    """The network with its training state, from a file."""
    persistence.save_training_state(net, path)
    again = small()
    persistence.load_training_state(again, path)
    return again


def warnings_of(caplog):
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


# -- the number of epochs --------------------------------------------------------------------------------


def test_the_default_makes_three_thousand_updates_and_is_recorded():
    history = small().fit(X, Y)
    assert len(history) == history.planned_epochs == 750  # four updates an epoch
    assert history.planned_reason.startswith("the default: at least 10 epochs and 3,000 updates")
    assert (default_epochs(60_000, 32), default_epochs(60_000, 60_000)) == (10, 3000)


def test_a_number_means_that_number():
    history = small().fit(X, Y, epochs=2)
    assert (len(history), history.planned_epochs, history.planned_reason) == (2, 2, "as asked")


def test_iris_is_learnt_with_the_defaults():
    X, y = load_iris(return_X_y=True)
    net = mlp.MLP([4, 16, 3])
    net.fit(X, y)
    assert net.score(X, y) >= 0.95


def test_full_batches_make_three_thousand_updates_too():
    assert small().fit(X, Y, optimizer="gd").planned_epochs == 3000


def test_a_training_that_was_stopped_is_resumed_up_to_its_plan(tmp_path):
    def stop(run):
        if run.epoch == 2:
            run.stop("enough for now")

    net, whole = small(), small()
    net.fit(X, Y, epochs=5, callbacks=[stop])
    again = through_a_file(net, tmp_path / "state.safetensors")
    assert (len(again.history), again.history.planned_epochs) == (2, 5)
    again.fit(X, Y, resume=True)
    whole.fit(X, Y, epochs=5)
    assert len(again.history) == 5
    for found, expected in zip(again.weights, whole.weights, strict=True):
        assert_array_equal(found, expected)
    with pytest.raises(mlp.ConfigurationError, match="has done 5 epochs, and epochs=5 is the total"):
        again.fit(X, Y, resume=True)


def test_a_training_without_a_plan_needs_a_number_to_be_resumed():
    net = small()
    net.fit(X, Y, epochs=1)
    net.history.planned_epochs = None  # as in files of earlier versions
    with pytest.raises(mlp.ConfigurationError, match="give epochs, the total"):
        net.fit(X, Y, resume=True)
    assert len(net.fit(X, Y, resume=True, epochs=3)) == 3


def test_many_networks_record_their_plan():
    histories = mlp.fit_many([small(seed=0), small(seed=1)], X, Y, epochs=2)
    assert [history.planned_epochs for history in histories] == [2, 2]


# -- weights of the classes ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("class_weight", "expected"),
    [
        ("balanced", compute_sample_weight("balanced", Y)),
        ({0: 1, 1: 2.5, 2: 4}, compute_sample_weight({0: 1, 1: 2.5, 2: 4}, Y)),
        ({2: 3}, np.where(Y == 2, 3, 1)),
    ],
)
@pytest.mark.parametrize("rows", [None, RNG.random(120)], ids=["unweighted", "weighted"])
def test_weights_of_classes_multiply_those_of_rows(backend, class_weight, expected, rows):
    nets = [mlp.MLP([4, 5, 3], backend=backend) for _ in range(2)]
    nets[0].fit(X, Y, epochs=3, class_weight=class_weight, sample_weight=rows)
    nets[1].fit(X, Y, epochs=3, sample_weight=expected if rows is None else expected * rows)
    assert_allclose(nets[0].history.loss, nets[1].history.loss, rtol=1e-5)
    for found, wanted in zip(nets[0].weights, nets[1].weights, strict=True):
        assert_allclose(found, wanted, rtol=1e-4, atol=1e-6)


def test_balanced_weights_are_those_of_scikit_learn_without_rows_of_a_class():
    net, y = small(), np.where(Y == 1, 0, Y)
    examples, _ = net.check_examples(X, y)
    found = with_class_weight(net, examples, "balanced").weight
    assert_allclose(found, compute_sample_weight("balanced", y), rtol=1e-6)


def test_names_of_classes_rows_of_zeros_with_a_one_and_single_outputs_have_classes():
    named = small(classes=["a", "b", "c"]).fit(X, Y, epochs=2, class_weight={"c": 3}).loss
    numbered = small().fit(X, Y, epochs=2, class_weight={2: 3}).loss
    one_hot = small().fit(X, np.eye(3)[Y], epochs=2, class_weight={2: 3}).loss
    assert named == numbered
    assert_allclose(one_hot, numbered, rtol=1e-6)
    binary = [mlp.MLP([4, 5, 1], loss="binary_cross_entropy", backend="numpy") for _ in range(2)]
    found = binary[0].fit(X, Y > 0, epochs=2, class_weight="balanced").loss
    expected = binary[1].fit(X, Y > 0, epochs=2, sample_weight=compute_sample_weight("balanced", Y > 0)).loss
    assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("class_weight", "reason"),
    [
        ("even", "must be 'balanced' or a mapping"),
        (2.0, "must be 'balanced' or a mapping"),
        ({3: 1}, "has the class 3, expected numbers from 0 to 2"),
        ({"a": 1}, "has the class 'a'"),
        ({True: 1}, "has the class True"),
        ({0: -1}, r"class_weight\[0\] is -1"),
        ({0: math.nan}, r"class_weight\[0\] is nan"),
        ({0: "1"}, r"class_weight\[0\] is '1'"),
    ],
)
def test_wrong_weights_of_classes_are_refused(class_weight, reason):
    with pytest.raises(mlp.ConfigurationError, match=reason):
        small().fit(X, Y, epochs=1, class_weight=class_weight)


def test_numbers_and_distributions_have_no_classes():
    with pytest.raises(mlp.ConfigurationError, match="predicts numbers: give sample_weight"):
        mlp.MLP([4, 1], loss="mse").fit(X, X[:, 0], epochs=1, class_weight="balanced")
    with pytest.raises(mlp.ConfigurationError, match="give sample_weight"):
        small().fit(X, np.full((120, 3), 1 / 3), epochs=1, class_weight="balanced")


# -- metrics ---------------------------------------------------------------------------------------------


def share_of_zeros(net, X, y):
    return float(np.mean(net.predict(X) == 0))


def test_metrics_are_those_of_scikit_learn_for_the_validation_set(backend):
    data = load_breast_cancer()
    inputs = StandardScaler().fit_transform(data.data)
    net = mlp.MLP([30, 8, 2], backend=backend)
    held_out = inputs[400:], data.target[400:]
    names = ["roc_auc", "neg_log_loss", "balanced_accuracy", "average_precision", "f1", share_of_zeros]
    history = net.fit(inputs[:400], data.target[:400], epochs=3, validation_data=held_out, metrics=names)
    proba, answers = net.predict_proba(held_out[0])[:, 1], net.predict(held_out[0])
    expected = {
        "roc_auc": reference.roc_auc_score(held_out[1], proba),
        "neg_log_loss": -reference.log_loss(held_out[1], proba),
        "balanced_accuracy": reference.balanced_accuracy_score(held_out[1], answers),
        "average_precision": reference.average_precision_score(held_out[1], proba),
        "f1": reference.f1_score(held_out[1], answers),
        "share_of_zeros": np.mean(answers == 0),
    }
    assert set(history.metrics) == set(expected)
    for name, value in expected.items():
        assert len(history.metrics[name]) == 3
        assert history.metrics[name][-1] == pytest.approx(value, rel=1e-6), name


def test_metrics_of_weighted_rows_scaled_numbers_and_several_outputs():
    weight, y = RNG.random(120), 5 + 3 * X[:, :2] @ np.array([[1, 2], [0, 1]])
    net = mlp.MLP([4, 5, 2], loss="mse", backend="numpy", target_scaling=([5, 5], [3, 7]))
    history = net.fit(X, y, epochs=2, validation_data=(X, y, weight), metrics=["neg_root_mean_squared_error", "r2"])
    expected = reference.root_mean_squared_error(y, net.predict(X), sample_weight=weight)
    assert -history.metrics["neg_root_mean_squared_error"][-1] == pytest.approx(expected, rel=1e-5)
    expected = reference.r2_score(y, net.predict(X), sample_weight=weight)
    assert history.metrics["r2"][-1] == pytest.approx(expected, rel=1e-5)


def test_metrics_of_several_labels_and_of_more_classes():
    labels = (X[:, :3] > 0).astype(int)
    net = mlp.MLP([4, 5, 3], loss="binary_cross_entropy", backend="numpy")
    history = net.fit(X, labels, epochs=2, validation_data=(X, labels), metrics=["roc_auc", "f1_macro"])
    assert history.metrics["roc_auc"][-1] == pytest.approx(reference.roc_auc_score(labels, net.predict_proba(X)))
    net = small()
    history = net.fit(X, Y, epochs=2, validation_data=(X, Y), metrics=["roc_auc_ovr", "neg_log_loss"])
    expected = reference.roc_auc_score(Y, net.predict_proba(X), multi_class="ovr")
    assert history.metrics["roc_auc_ovr"][-1] == pytest.approx(expected, rel=1e-6)


def test_probabilities_of_labels_are_labels_for_metrics():
    target = np.where(X[:, :3] > 0, 0.9, 0.2)
    net = mlp.MLP([4, 5, 3], loss="binary_cross_entropy", backend="numpy")
    history = net.fit(X, target, epochs=2, validation_data=(X, target), metrics=["f1_macro"])
    assert history.metrics["f1_macro"][-1] == reference.f1_score(target > 0.5, net.predict(X), average="macro")


@pytest.mark.parametrize(
    ("metrics", "error", "reason"),
    [
        (["roc_acu"], mlp.UnknownNameError, "roc_auc"),
        ("roc_auc", mlp.ConfigurationError, "must be a list"),
        (3, mlp.ConfigurationError, "must be a list"),
        ([3], mlp.ConfigurationError, "the name of a scorer or a function"),
        ([share_of_zeros, share_of_zeros], mlp.ConfigurationError, "two metrics have the name 'share_of_zeros'"),
        (["r2", "roc_auc"], mlp.ConfigurationError, "'roc_auc' cannot be computed for a network that predicts classes"),
    ],
)
def test_wrong_metrics_are_refused(metrics, error, reason):
    with pytest.raises(error, match=reason):
        small().fit(X, Y, epochs=1, validation_fraction=0.2, metrics=metrics)


def test_metrics_need_a_validation_set():
    with pytest.raises(mlp.ConfigurationError, match="give validation_data or validation_fraction"):
        small().fit(X, Y, epochs=1, metrics=["accuracy"])


def test_metrics_survive_a_file_and_follow_a_training_that_is_resumed(tmp_path):
    net, options = small(), {"validation_fraction": 0.2}
    net.fit(X, Y, epochs=2, metrics=["accuracy"], **options)
    again = through_a_file(net, tmp_path / "state.safetensors")
    assert again.history.metrics == net.history.metrics
    history = again.fit(X, Y, epochs=4, resume=True, metrics=["accuracy", share_of_zeros], **options)
    assert len(history.metrics["accuracy"]) == 4
    assert history.metrics["accuracy"] == history.val_score
    assert np.isnan(history.metrics["share_of_zeros"][:2]).all()


def test_metrics_of_an_epoch_that_was_stopped_are_replaced():
    class StopWithin(mlp.Callback):
        def on_batch_end(self, run, batch, loss):
            if run.epoch == 2 and batch == 1:
                run.stop()

    options = {"validation_fraction": 0.2, "metrics": ["accuracy"]}
    net, whole = small(), small()
    net.fit(X, Y, epochs=4, callbacks=[StopWithin()], **options)
    assert len(net.history.metrics["accuracy"]) == 3
    net.fit(X, Y, resume=True, **options)
    assert net.history.metrics == whole.fit(X, Y, epochs=4, **options).metrics


def test_further_training_does_not_change_a_snapshot():
    net = small()
    net.fit(X, Y, epochs=2, validation_fraction=0.2, metrics=["accuracy"])
    snapshot = net.training_state.snapshot(net.xp, net.training_state.slots)
    before = list(snapshot.history.metrics["accuracy"])
    net.fit(X, Y, epochs=3, resume=True, validation_fraction=0.2, metrics=["accuracy"])
    assert snapshot.history.metrics == {"accuracy": before}


def test_a_metric_can_stop_the_training_and_choose_the_weights():
    data = load_breast_cancer()
    inputs, net = StandardScaler().fit_transform(data.data), mlp.MLP([30, 32, 2], backend="numpy")
    rule = mlp.EarlyStopping("roc_auc", patience=5)
    history = net.fit(
        inputs, data.target, epochs=200, validation_fraction=0.3, metrics=["roc_auc"], early_stopping=rule
    )
    values = history.metrics["roc_auc"]
    assert history.best_epoch == int(np.argmax(values)) + 1
    assert len(values) == history.best_epoch + 5
    assert history.stop_reason.startswith("roc_auc has not improved for 5 epochs")
    with pytest.raises(mlp.UnknownNameError, match="roc_auc"):
        small().fit(X, Y, epochs=1, validation_fraction=0.2, early_stopping=rule)


# -- warnings --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        (X, []),
        (X * np.array([1, 100, 1, 1], np.float32), ["column 1 of X has values of about 92.2"]),
        (X / 1000, ["no column of X has values above"]),
        (X * 0, []),
        (np.full((120, 4), 200, np.uint8), ["they are bytes: pass input_scale=1/255"]),
    ],
)
def test_inputs_far_from_one_have_a_warning(caplog, inputs, expected):
    small().fit(inputs, Y, epochs=1)
    found = warnings_of(caplog)
    assert len(found) == len(expected)
    assert all(text in message for text, message in zip(expected, found, strict=True))


def test_rows_without_weight_do_not_count(caplog):
    inputs = X.copy()
    inputs[:10] = 1e5
    small().fit(inputs, Y, epochs=1, sample_weight=np.arange(120) >= 10)
    assert warnings_of(caplog) == []
    small().fit(inputs, Y, epochs=1)
    assert len(warnings_of(caplog)) == 1


def test_scaled_bytes_have_no_warning(caplog):
    small(input_scale=1 / 255).fit(np.full((120, 4), 200, np.uint8), Y, epochs=1)
    assert warnings_of(caplog) == []


@pytest.mark.parametrize("validation", [None, 0.2])
def test_a_loss_that_was_still_falling_has_a_warning(caplog, validation):
    slow, name = mlp.Adam(1e-3), "validation loss" if validation else "loss"
    target = (X[:, 0] > 0).astype(int)
    small().fit(X, target, epochs=20, optimizer=slow, validation_fraction=validation)
    (message,) = warnings_of(caplog)
    assert message.startswith(f"the {name} was still falling at the end")
    assert "in the last 6 of 20 epochs" in message


def test_a_training_that_is_long_enough_or_was_stopped_has_no_warning(caplog):
    target = (X[:, 0] > 0).astype(int)
    small().fit(X, target, epochs=200, optimizer=mlp.Adam(1e-2))
    small().fit(
        X, target, epochs=20, optimizer=mlp.Adam(1e-3), callbacks=[lambda run: run.stop() if run.epoch == 9 else 0]
    )
    small().fit(X, target, epochs=3, optimizer=mlp.Adam(1e-3))
    assert warnings_of(caplog) == []


def test_a_loss_that_falls_with_the_learning_rate_has_no_warning(caplog):
    target = (X[:, 0] > 0).astype(int)
    small().fit(X, target, epochs=20, optimizer=mlp.Adam(mlp.schedules.Cosine(2e-3, epochs=20)))
    assert warnings_of(caplog) == []


# -- the history and the summary -------------------------------------------------------------------------


def history_with_gaps():
    return mlp.History(
        loss=[3.0, 2.0, 1.0], val_loss=[math.nan, 2.5], seconds=[1.0, 1.0, 1.0], metrics={"<f1>": [0.5, 0.6, 0.7]}
    )


def test_a_history_is_a_data_frame():
    pandas, polars = pytest.importorskip("pandas"), pytest.importorskip("polars")
    frame = history_with_gaps().to_pandas()
    assert isinstance(frame, pandas.DataFrame)
    assert list(frame.columns) == ["loss", "val_loss", "seconds", "<f1>"]
    assert list(frame.index) == [1, 2, 3]
    assert_array_equal(frame["val_loss"], [math.nan, 2.5, math.nan])
    table = history_with_gaps().to_polars()
    assert isinstance(table, polars.DataFrame)
    assert table["epoch"].to_list() == [1, 2, 3]
    assert table["<f1>"].to_list() == [0.5, 0.6, 0.7]


def test_a_missing_library_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)
    with pytest.raises(mlp.ConfigurationError, match="pip install pandas"):
        history_with_gaps().to_pandas()


def test_a_history_is_short_in_a_terminal_and_a_table_in_a_notebook():
    history = history_with_gaps()
    assert repr(history) == "<History of 3 epochs: loss 3 to 1, val_loss nan to 2.5, <f1> 0.5 to 0.7>"
    page = history._repr_html_()
    assert page.count("<tr>") == 4
    assert page.count("<polyline") == 2
    assert '<th scope="col">&lt;f1&gt;</th>' in page
    assert "<f1>" not in page
    assert "nan" not in page.partition("<table>")[2]
    assert repr(mlp.History()) == "<History of 0 epochs>"
    assert "<svg" not in mlp.History(loss=[math.nan, math.nan])._repr_html_()
    long = mlp.History(loss=list(range(1000, 0, -1)))._repr_html_()
    assert long.count("<tr>") == 11
    assert '<th scope="row">1000</th>' in long
    assert "<caption>10 of 1000 epochs</caption>" in long


def test_a_summary_has_the_layers_and_the_state():
    net = mlp.MLP([4, 5, 3], "tanh", dropout=0.5, l2=0.01, classes=["a", "<b>", "c"], backend="numpy", seed=0)
    before, _ = repr(net.summary()), net.fit(X, Y, epochs=2)
    lines = repr(net.summary()).splitlines()
    assert lines[0] == "MLP 4-5-3"
    assert [line.split() for line in lines[1:4]] == [
        ["layer", "inputs", "outputs", "activation", "dropout", "weights", "biases"],
        ["1", "4", "5", "tanh", "0", "20", "5"],
        ["2", "5", "3", "softmax", "0.5", "15", "3"],
    ]
    assert lines[4:6] == [
        "43 parameters of float32, 172 bytes",
        "loss cross_entropy, l2 0.01, predicts classes: a, <b>, c",
    ]
    assert lines[6].startswith("trained: 2 epochs: loss ")
    assert "not trained" in before
    page = net._repr_html_()
    assert "&lt;b&gt;" in page
    assert "<b>," not in page


def test_the_bar_in_a_notebook_is_shown_below_the_cell():
    manager = pytest.importorskip("jupyter_client.manager")
    pytest.importorskip("ipykernel")
    kernel, client = manager.start_new_kernel(kernel_name="python3")
    messages = []
    code = """
import mlp, numpy, time
net = mlp.MLP([2, 3, 2], backend="numpy")
wait = lambda run: time.sleep(0.3)
net.fit(numpy.ones((8, 2)), numpy.arange(8) % 2, epochs=3, progress=True, callbacks=[wait])
"""
    try:
        client.execute_interactive(code, output_hook=messages.append, timeout=60)
    finally:
        client.stop_channels()
        kernel.shutdown_kernel(now=True)
    shown = [message for message in messages if "display_id" in message["content"].get("transient", {})]
    pages = [message["content"]["data"]["text/html"] for message in shown]
    assert len({message["content"]["transient"]["display_id"] for message in shown}) == 1
    assert "epoch 0 of 3" in pages[0]
    assert 'value="3.000" max="3"' in pages[-1]
    assert "loss 0." in pages[-1]
    assert len(pages) > 3
