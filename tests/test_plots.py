"""Plots: they show the correct numbers, have descriptive labels, and their texts do not overlap."""

from __future__ import annotations

import csv
import itertools
import os
import re
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

import mlp
from mlp import classic, plots, runs
from mlp.cli import cli
from mlp.inspection.class_predictions import ClassPredictions
from mlp.inspection.plots import style
from mlp.inspection.plots.probabilities import probability_curves

pytest.importorskip("matplotlib", reason="pictures need the extra plot")

ROOT = Path(__file__).parent.parent
HOSTILE = ("<script>alert(1)</script>", "5 $ and 6 $", "a name that does not come to an end", "a_b^c", "\\frac")


@pytest.fixture(scope="module")
def digits() -> mlp.data.Dataset:
    return mlp.data.load("digits")


@pytest.fixture(scope="module")
def digits_net(digits: mlp.data.Dataset) -> mlp.MLP:
    net = mlp.MLP([64, 40, 10], input_scale=digits.input_scale, backend="numpy")
    net.fit(digits.X, digits.y, epochs=8, validation_fraction=0.2, early_stopping=mlp.EarlyStopping(patience=2))
    return net


@pytest.fixture(scope="module")
def moons() -> mlp.data.Dataset:
    return mlp.data.load("moons")


@pytest.fixture(scope="module")
def moons_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "moons"
    command = ["train", "moons", "--epochs", "12", "--validation", "0.2", "--backend", "numpy", "--hidden", "8,8"]
    assert CliRunner().invoke(cli, [*command, "--lr", "0.02", "--output-dir", str(folder)]).exit_code == 0
    return folder


def hostile_net(n_inputs: int = 2, **settings: Any) -> tuple[mlp.MLP, Any, Any]:
    """A network whose class names are hard to draw, and rows for it."""
    rng = np.random.default_rng(0)
    y = np.arange(200) % 5
    X = rng.normal(size=(200, n_inputs)) + 2 * rng.normal(size=(5, n_inputs))[y]
    net = mlp.MLP([n_inputs, 8, 5], classes=HOSTILE, backend="numpy", **settings)
    net.fit(X, y, epochs=5)
    return net, X, y


# -- contents of the plots --------------------------------------------------------------------------------


def test_the_confusion_matrix_and_its_figures_are_scikit_learns(digits: Any, digits_net: mlp.MLP) -> None:
    truth, said = digits.y_test, digits_net.predict(digits.X_test)
    predictions = ClassPredictions.of(digits_net, digits.X_test, truth)
    expected = confusion_matrix(truth, said)
    np.testing.assert_array_equal(predictions.confusion, expected)
    table = predictions.by_class()
    figures = precision_recall_fscore_support(truth, said, zero_division=0)
    for name, figure in zip(("precision", "recall", "f1", "support"), figures, strict=True):
        np.testing.assert_allclose(table[name], figure)
    axes = plots.confusion(digits_net, digits.X_test, truth).axes[0]
    np.testing.assert_allclose(axes.images[0].get_array(), 100 * expected / expected.sum(axis=1, keepdims=True))
    cells = {text.get_position(): text.get_text() for text in axes.texts}
    share = 100 * expected / expected.sum(axis=1, keepdims=True)
    assert cells == {(j, i): f"{share[i, j]:.0f}" for (i, j), count in np.ndenumerate(expected) if count}
    rows = [label.get_text() for label in axes.get_yticklabels()]
    assert rows == [f"{k} ({np.count_nonzero(truth == k)})" for k in range(10)]
    assert axes.figure.get_suptitle() == f"{(truth == said).sum()} of 359 rows are classified correctly"


@pytest.mark.parametrize(
    ("sizes", "settings"),
    [([2, 8, 1], {"loss": "binary_cross_entropy"}), ([2, 8, 2], {"loss": "mse"}), ([2, 8, 2], {})],
    ids=["one sigmoid", "two numbers", "softmax"],
)
def test_answers_are_those_of_predict(moons: Any, sizes: list[int], settings: Any, backend: str) -> None:
    net = mlp.MLP(sizes, backend=backend, **settings)
    net.fit(moons.X, moons.y, epochs=2)
    predictions = ClassPredictions.of(net, moons.X, moons.y)
    np.testing.assert_array_equal(predictions.predicted, net.predict(moons.X))
    np.testing.assert_array_equal(predictions.target, moons.y)
    assert predictions.outputs.shape == (len(moons.X), 2)
    assert predictions.are_probabilities == (settings.get("loss") != "mse")


def test_the_worst_mistakes_come_first(digits: Any, digits_net: mlp.MLP) -> None:
    chances, truth = digits_net.predict_proba(digits.X_test), digits.y_test
    said = chances.argmax(axis=1)
    wrong = [row for row in range(len(truth)) if said[row] != truth[row]]
    wrong.sort(key=lambda row: chances[row, truth[row]] - chances[row, said[row]])
    figure = plots.mistakes(digits_net, digits.X_test, truth, n=5)
    assert [axes.get_xlabel() for axes in figure.axes] == [f"row {row}" for row in wrong[:5]]
    for axes, row in zip(figure.axes, wrong, strict=False):
        np.testing.assert_array_equal(axes.images[0].get_array(), digits.X_test[row].reshape(8, 8))
        told, true = (f"{which} ({100 * chances[row, which]:.0f} %)" for which in (said[row], truth[row]))
        assert axes.get_title() == f"pred. {told}\ntrue {true}"


def test_mistakes_on_a_table_are_drawn_as_what_either_class_was_given() -> None:
    net, X, y = hostile_net(4)
    chances, said = net.predict_proba(X), net.predict(X)
    (axes,) = plots.mistakes(net, X, y, n=3).axes
    rows = [int(re.match(r"row (\d+): ", label.get_text())[1]) for label in axes.get_yticklabels()]
    assert len(rows) == 3
    told, true = (line.get_xdata() for line in axes.lines)
    np.testing.assert_allclose(told, 100 * chances[rows, said[rows]])
    np.testing.assert_allclose(true, 100 * chances[rows, y[rows]])
    wrong = np.flatnonzero(said != y)
    assert max(told - true) == pytest.approx(100 * (chances.max(axis=1) - chances[np.arange(200), y])[wrong].max())


def test_no_mistakes_are_said_to_be_none() -> None:
    net = mlp.MLP([1, 2], init="zeros", backend="numpy")
    net.weights = [[[-9.0, 9.0]]]
    figure = plots.mistakes(net, [[-1.0], [1.0]], [0, 1])
    assert [text.get_text() for text in figure.texts] == ["No mistakes in 2 rows"]


def test_curves_are_the_history(digits_net: mlp.MLP) -> None:
    history = digits_net.history
    assert history is not None
    loss, score = plots.curves(history, score="accuracy").axes
    np.testing.assert_array_equal(loss.lines[0].get_xydata().T, [range(1, len(history) + 1), history.loss])
    np.testing.assert_array_equal(loss.lines[1].get_ydata(), history.val_loss)
    np.testing.assert_allclose(score.lines[0].get_ydata(), 100 * np.array(history.val_score))


def test_curves_without_validation_or_epochs() -> None:
    (axes,) = plots.curves(mlp.History(loss=[2.0])).axes
    assert axes.get_title() == "Training loss: 2 → 2 in 1 epoch"
    with pytest.raises(mlp.DataError, match="no epoch yet"):
        plots.curves(mlp.History())


def test_images_of_the_first_layer_are_its_columns(digits_net: mlp.MLP) -> None:
    W = digits_net.weights[0]
    figure = plots.weights(digits_net)
    shown = {int(axes.get_title()): axes.images[0] for axes in figure.axes if axes.images}
    assert sorted(shown) == sorted(np.argsort(-abs(W).max(axis=0), kind="stable")[:30])
    for unit, image in shown.items():
        np.testing.assert_array_equal(image.get_array(), W[:, unit].reshape(8, 8))
        assert image.norm.vmin == -image.norm.vmax  # white is zero
    assert plots.weights(digits_net, shape=(4, 16)).axes[0].images[0].get_array().shape == (4, 16)
    with pytest.raises(mlp.ShapeError, match="images of 8x9 pixels do not fit a network of 64 inputs"):
        plots.weights(digits_net, shape=(8, 9))


def test_the_drawing_of_a_small_network_has_all_of_its_numbers() -> None:
    net = mlp.MLP([2, 2, 1], "tanh", loss="mse", backend="numpy")
    net.weights, net.biases = [[[0.15, -0.25], [0.2, 0.3]], [[0.4], [0.5]]], [[0.35, -0.36], [0.6]]
    axes = plots.network(net).axes[0]
    written = {text.get_text() for text in axes.texts}
    assert {"0.15", "−0.25", "0.20", "0.30", "0.40", "0.50", "0.35", "−0.36", "0.60"} <= written
    assert {"x0", "x1", "y", "input\n2 units", "tanh\n2 units", "identity\n1 unit"} <= written
    lines = [collection for collection in axes.collections if hasattr(collection, "get_segments")]
    assert sum(len(collection.get_segments()) for collection in lines) == 6


def test_of_a_wide_network_the_strongest_units_are_drawn(digits_net: mlp.MLP) -> None:
    texts = [text.get_text() for text in plots.network(digits_net).axes[0].texts]
    assert {"input\n8 of 64 units", "relu\n8 of 40 units", "softmax\n10 units"} <= set(texts)


def test_predictions_are_drawn_over_the_truth() -> None:
    sine = mlp.data.load("sine")
    net = mlp.MLP([1, 8, 1], loss="mse", target_scaling=([0.5], [2.0]), backend="numpy")
    net.fit(sine.X, sine.y, epochs=3)
    over, _ = plots.predictions(net, sine.X_test, sine.y_test).axes
    points = over.lines[1].get_xydata()
    np.testing.assert_allclose(points, np.column_stack([sine.y_test, net.predict(sine.X_test)]), rtol=1e-6)
    assert over.get_title().endswith(f"R² {net.score(sine.X_test, sine.y_test):.4f}")
    two = mlp.MLP([1, 4, 2], loss="mse", backend="numpy")
    assert len(plots.predictions(two, sine.X, np.column_stack([sine.y, sine.y])).axes) == 4


def test_the_boundary_lies_where_the_answer_changes() -> None:
    net = mlp.MLP([2, 2], init="zeros", backend="numpy")
    net.weights = [[[-5.0, 5.0], [0.0, 0.0]]]  # class 1 if the first input is positive
    X = np.array([[-1.0, -1.0], [-1.0, 1.0], [1.0, -1.0], [1.0, 1.0]])
    axes = plots.boundary(net, X, [0, 0, 1, 1]).axes[0]
    line = next(entry for entry in axes.collections if hasattr(entry, "levels"))
    np.testing.assert_allclose(line.get_paths()[0].vertices[:, 0], 0, atol=1e-6)
    left, right = axes.images[0].get_array()[80, [5, -5]]
    assert left[2] > left[0]  # blue, the colour of class 0
    assert right[0] > right[2]  # vermilion, the colour of class 1
    assert axes.get_title() == "accuracy 100.0 %"


def test_a_regression_of_two_inputs_has_a_plane_too() -> None:
    X = np.random.default_rng(0).normal(size=(50, 2))
    net = mlp.MLP([2, 4, 1], loss="mse", backend="numpy")
    axes = plots.boundary(net, X, X[:, 0]).axes[0]
    np.testing.assert_allclose(axes.collections[-1].get_array(), X[:, 0])


def test_paths_and_fits_are_those_of_the_experiments() -> None:
    descents, fits = classic.compare_descents(n=64, epochs=5), classic.sine_fits(epochs=5)
    panels = plots.descent(descents).axes
    for axes, path in zip(panels, descents.paths, strict=False):
        np.testing.assert_array_equal(axes.lines[0].get_xydata(), path.parameters)
        assert axes.get_title().startswith(f"{path.name}\n{len(path.cost) - 1:,} updates")
    for axes, fit in zip(plots.sine(fits).axes, fits.fits.values(), strict=True):
        np.testing.assert_array_equal(axes.lines[0].get_ydata(), fits.y)
        np.testing.assert_array_equal(axes.lines[1].get_ydata(), fit)


# -- recorded training values --------------------------------------------------------------------------------


def test_snapshots_are_the_network_of_their_epoch(moons: Any, backend: str) -> None:
    net, snapshots = mlp.MLP([2, 6, 2], backend=backend), plots.Snapshots([0, 2, 5])
    untrained = net.weights
    net.fit(moons.X, moons.y, epochs=5, callbacks=[snapshots])
    assert list(snapshots.nets) == [0, 2, 5]
    shorter = mlp.MLP([2, 6, 2], backend=backend)
    shorter.fit(moons.X, moons.y, epochs=2)
    for found, expected in ((0, untrained), (2, shorter.weights), (5, net.weights)):
        for one, other in zip(snapshots.nets[found].weights, expected, strict=True):
            np.testing.assert_array_equal(one, other)


def test_layers_are_recorded_as_pytorch_has_them(moons: Any, backend: str) -> None:
    torch = pytest.importorskip("torch", reason="the reference is PyTorch's autograd")
    net = mlp.MLP([2, 5, 4, 2], ["tanh", "relu"], dtype="float64", backend=backend)
    recorder = plots.LayerRecorder(moons.X, moons.y)
    net.fit(moons.X, moons.y, epochs=3, callbacks=[recorder])
    x = torch.tensor(moons.X)
    layers = [
        (torch.tensor(W, requires_grad=True), torch.tensor(b)) for W, b in zip(net.weights, net.biases, strict=True)
    ]
    outputs = []
    for (W, b), function in zip(layers, (torch.tanh, torch.relu, torch.nn.Identity()), strict=True):
        x = function(x @ W + b)
        outputs.append(x)
    torch.nn.functional.cross_entropy(x, torch.tensor(moons.y)).backward()
    outputs[-1] = torch.softmax(x, 1)
    record = recorder.record
    assert record.epochs == [0, 1, 2, 3]
    assert recorder.names == ["1: tanh", "2: relu", "3: softmax"]
    for found, expected in (
        (record.mean, [y.mean().item() for y in outputs]),
        (record.spread, [y.std(unbiased=False).item() for y in outputs]),
        (record.gradient, [W.grad.square().mean().sqrt().item() for W, _ in layers]),
    ):
        np.testing.assert_allclose(found[-1], expected, rtol=1e-9)


def test_dead_units_and_vanishing_gradients_come_to_light(moons: Any) -> None:
    net = mlp.MLP([2, 4, 4, 2], backend="numpy")
    net.biases = [[-99.0, -99.0, 0.0, 0.0], [0.0] * 4, [0.0] * 2]
    recorder = plots.LayerRecorder(moons.X, moons.y)
    net.fit(moons.X, moons.y, epochs=1, callbacks=[recorder])
    assert recorder.record.constant[0][0] == 0.5
    deep = mlp.MLP([2, *[8] * 6, 2], "sigmoid", backend="numpy")
    recorder = plots.LayerRecorder(moons.X, moons.y)
    deep.fit(moons.X, moons.y, epochs=1, callbacks=[recorder])
    gradient = recorder.record.gradient[0]
    assert gradient[-1] > 100 * gradient[0]
    title = plots.layers(recorder).axes[2].get_title()
    assert title == f"Gradients: initially {gradient[-1] / gradient[0]:,.0f} times smaller\nin layer 1"


def test_nothing_recorded_is_said_to_be_nothing() -> None:
    with pytest.raises(mlp.DataError, match=r"callbacks=\[recorder\]"):
        plots.layers(plots.LayerRecorder([[0.0]], [0]))
    with pytest.raises(mlp.ConfigurationError, match="no network to draw"):
        plots.boundary({}, [[0.0, 0.0]], [0])


# -- repeated runs --------------------------------------------------------------------------------------


@pytest.mark.parametrize("schedule", ["constant", "reduce_on_plateau:patience=1"])
def test_a_run_repeated_is_the_same_run(schedule: str, backend: str, tmp_path: Path) -> None:
    command = [
        "train",
        "moons",
        "--epochs",
        "4",
        "--validation",
        "0.2",
        "--early-stopping",
        "2",
        "--schedule",
        schedule,
    ]
    result = CliRunner().invoke(cli, [*command, "--backend", backend, "--output-dir", str(tmp_path / "run")])
    assert result.exit_code == 0, result.output
    net, _ = runs.repeat(tmp_path / "run")
    assert net.backend == backend
    np.testing.assert_array_equal(net.weights[0], mlp.load(tmp_path / "run" / "model.safetensors").weights[0])
    history = runs.read_history(tmp_path / "run")
    assert (history.loss, history.val_score) == (net.history.loss, net.history.val_score)  # type: ignore[union-attr]


def test_a_row_of_metrics_that_was_cut_short_is_left_out(moons_run: Path, tmp_path: Path) -> None:
    text = (moons_run / "metrics.csv").read_text()
    (tmp_path / "metrics.csv").write_text(text[:-5])
    assert len(runs.read_history(tmp_path)) == 11
    (tmp_path / "metrics.csv").write_text("epoch,loss\n1,0.5\n")
    with pytest.raises(mlp.FileFormatError, match="is damaged: its columns are 'epoch, loss'"):
        runs.read_history(tmp_path)


# -- appearance -------------------------------------------------------------------------------------------


def every_plot() -> dict[str, Any]:
    """A plot of each kind, with names and numbers that are hard to draw."""
    net, X, y = hostile_net()
    wide, wide_X, wide_y = hostile_net(30)
    snapshots = plots.Snapshots([0, 1, 2, 30])
    recorder = plots.LayerRecorder(X, y)
    deep = mlp.MLP([2, *[6] * 8, 5], "sigmoid", backend="numpy")
    history = deep.fit(X, y, epochs=30, validation_fraction=0.2, callbacks=[recorder, snapshots])
    digits = mlp.data.load("digits")
    on_images = mlp.MLP(
        [64, 40, 10], input_scale=1 / 16, backend="numpy", classes=[*HOSTILE, *(f"{name}!" for name in HOSTILE)]
    )
    regression = mlp.MLP([2, 8, 3], loss="mse", backend="numpy")
    return {
        "curves": plots.curves(history, loss="binary_cross_entropy", score="accuracy"),
        "layers": plots.layers(recorder),
        "weights of a table": plots.weights(wide),
        "weights of images": plots.weights(on_images),
        "network": plots.network(net),
        "wide network": plots.network(wide),
        "confusion": plots.confusion(net, X, y),
        "confusion of many": plots.confusion(mlp.MLP([2, 120], backend="numpy"), X, y),
        "probabilities": probability_curves(ClassPredictions.of(net, X, y)),
        "mistakes": plots.mistakes(wide, wide_X, wide_y),
        "mistakes on images": plots.mistakes(on_images, digits.X, digits.y),
        "predictions": plots.predictions(regression, X, 1e5 * np.column_stack([X, X[:, 0]])),
        "boundary": plots.boundary(net, X, y),
        "boundary at epochs": plots.boundary(snapshots.nets, X, y),
        "descent": plots.descent(classic.compare_descents(n=64, epochs=5)),
        "sine": plots.sine(classic.sine_fits(epochs=5)),
    }


def test_no_text_lies_on_another_or_outside_of_the_picture() -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    faults = []
    for name, figure in every_plot().items():
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        small = {text.get_text() for text in drawn_texts(figure) if text.get_fontsize() < 10}
        assert not small, (name, small)
        boxes = [(text.get_text(), text.get_window_extent(canvas.get_renderer())) for text in drawn_texts(figure)]
        assert len(boxes) > 3, name
        for text, box in boxes:
            if box.x0 < -1 or box.y0 < -1 or box.x1 > figure.bbox.width + 1 or box.y1 > figure.bbox.height + 1:
                faults.append(f"{name}: {text!r} is cut off")
        for (one, a), (other, b) in itertools.combinations(boxes, 2):
            if min(a.x1, b.x1) - max(a.x0, b.x0) > 1 and min(a.y1, b.y1) - max(a.y0, b.y0) > 1:
                faults.append(f"{name}: {one!r} lies on {other!r}")
    assert not faults, "\n".join(faults)


def drawn_texts(figure: Any) -> list[Any]:
    """The texts in a plot, without tick labels outside the axes, and without slanted text, which has no simple box."""
    from matplotlib.axis import Tick
    from matplotlib.text import Text

    unseen = set()
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            drawn = {*axis.get_major_ticks(), *axis.get_minor_ticks()}
            for tick in axis.findobj(Tick):
                if tick not in drawn or not low <= tick.get_loc() <= high:
                    unseen |= {tick.label1, tick.label2}
    texts = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip()]
    return [text for text in texts if text not in unseen and text.get_rotation() in (0.0, 90.0)]


def test_the_colours_can_be_seen_on_light_and_dark_pages() -> None:
    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))

    assert len(set(style.COLOURS)) == len(style.COLOURS)
    for colour in set(style.COLOURS) - {style.BLACK}:  # black is drawn in the colour of the text
        for page in ("#ffffff", "#0d1117"):
            low, high = sorted((luminance(colour), luminance(page)))
            assert (high + 0.05) / (low + 0.05) >= 3, (colour, page)


@pytest.mark.parametrize("n", range(1, 8))
def test_panels_leave_no_hole(n: int) -> None:
    figure, panels = style.new_panels(n, 3, 2.0, shared=True)
    style.label_outer(panels, 3, "x", "y")
    figure.draw_without_rendering()
    boxes = [axes.get_position() for axes in panels]
    assert len(figure.axes) == n
    for bottom in {round(box.y0, 3) for box in boxes}:
        row = [box for box in boxes if round(box.y0, 3) == bottom]
        centre = (min(box.x0 for box in row) + max(box.x1 for box in row)) / 2
        everything = (min(box.x0 for box in boxes) + max(box.x1 for box in boxes)) / 2
        assert centre == pytest.approx(everything, abs=0.06)  # labels beside a panel move it


def test_predicted_and_actual_values_have_equal_axes() -> None:
    sine = mlp.data.load("sine")
    over = plots.predictions(mlp.MLP([1, 4, 1], loss="mse", backend="numpy"), sine.X, 3 * sine.y).axes[0]
    assert over.get_xlim() == over.get_ylim()
    assert over.get_aspect() == 1


def test_names_are_drawn_as_they_stand() -> None:
    net, X, y = hostile_net()
    labels = [text.get_text() for text in plots.confusion(net, X, y).axes[0].get_xticklabels()]
    assert labels == ["<script>alert…", r"5 \$ and 6 \$", "a name that d…", "a_b^c", "\\frac"]


def test_nothing_of_matplotlib_leaks() -> None:
    code = """
import sys, mlp, mlp.plots
assert "matplotlib" not in sys.modules
import matplotlib
before = matplotlib.rcParams.copy()
figure = mlp.plots.network(mlp.MLP([2, 2]))
assert "matplotlib.pyplot" not in sys.modules
assert all(matplotlib.rcParams[name] == value for name, value in before.items() if name != "backend")
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment, timeout=60)


# -- files, errors and the command --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("suffix", "magic"), [(".png", b"\x89PNG"), (".svg", b"<?xml"), (".pdf", b"%PDF"), (".PNG", b"\x89PNG")]
)
def test_pictures_are_saved_by_their_suffix(suffix: str, magic: bytes, tmp_path: Path) -> None:
    path = tmp_path / f"net{suffix}"
    plots.save(plots.network(mlp.MLP([2, 2])), path)
    assert path.read_bytes().startswith(magic)
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_letters_the_font_lacks_are_told_in_one_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    net = mlp.MLP([2, 2], classes=["日本", "中国"])
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # Matplotlib's about each letter
        plots.save(plots.network(net), tmp_path / "net.png")
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "4 characters" in caplog.text


def test_mistakes_of_the_caller_are_told(moons: Any, digits: Any, digits_net: mlp.MLP, tmp_path: Path) -> None:
    regression = mlp.MLP([2, 1], loss="mse")
    for picture in (plots.confusion, plots.mistakes):
        with pytest.raises(mlp.ConfigurationError, match="predicts numbers, not classes"):
            picture(regression, moons.X, moons.y)
    with pytest.raises(mlp.ConfigurationError, match="predicts 2 independent labels"):
        plots.confusion(mlp.MLP([2, 2], loss="binary_cross_entropy"), moons.X, np.eye(2)[moons.y])
    with pytest.raises(mlp.ConfigurationError, match="predicts classes, not numbers"):
        plots.predictions(digits_net, digits.X, digits.y)
    with pytest.raises(mlp.ConfigurationError, match="over two inputs, and this network has 64"):
        plots.boundary(digits_net, digits.X, digits.y)
    with pytest.raises(mlp.ConfigurationError, match="9 classes are more than the 8 available colours"):
        plots.boundary(mlp.MLP([2, 9]), moons.X, moons.y)
    with pytest.raises(mlp.ShapeError, match="has 300 rows and X has 320"):
        plots.confusion(mlp.MLP([2, 2]), moons.X, moons.y[:300])
    with pytest.raises(mlp.ConfigurationError, match=r"must end in \.png, \.svg or \.pdf"):
        plots.save(plots.network(regression), tmp_path / "net.jpeg")


def test_without_matplotlib_the_remedy_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(mlp.ConfigurationError, match=r"pip install matplotlib$"):
        plots.network(mlp.MLP([2, 2]))


def draw(*arguments: object, status: int = 0) -> str:
    result = CliRunner().invoke(cli, ["plot", *map(str, arguments)], prog_name="mlp")
    assert result.exit_code == status, (result.output, result.exception)
    assert result.stdout == ""
    return result.stderr


@pytest.mark.parametrize("kind", ["curves", "layers", "weights", "network", "confusion", "mistakes", "boundary"])
def test_the_command_draws_a_run(kind: str, moons_run: Path, tmp_path: Path) -> None:
    path = tmp_path / f"{kind}.svg"
    assert f"written: {path}" in draw(kind, moons_run, "--output", path)
    assert path.stat().st_size > 2000


@pytest.mark.parametrize("kind", ["descent", "sine"])
def test_the_command_draws_the_experiments(kind: str, tmp_path: Path) -> None:
    assert "written: " in draw(kind, "--output", tmp_path / "picture.png")


def test_the_command_draws_a_model_alone(moons_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    model = moons_run / "model.safetensors"
    draw("boundary", model, "moons")
    assert Path("boundary.png").read_bytes().startswith(b"\x89PNG")
    with open("two.csv", "w", newline="", encoding="utf-8") as handle:
        csv.writer(handle).writerows([("a", "b", "kind"), *((i % 7, i % 5, i % 2) for i in range(40))])
    draw("confusion", model, "two.csv", "--target", "kind", "--part", "all", "--output", "two.png")
    assert Path("two.png").exists()


@pytest.mark.parametrize(
    ("arguments", "status", "told"),
    [
        (["wieghts"], 2, "did you mean 'weights'"),
        (["weights"], 2, "needs a MODEL"),
        (["weights", "RUN", "moons"], 2, "remove 'moons'"),
        (["sine", "RUN"], 2, "takes no MODEL"),
        (["weights", "RUN", "--output", "w.jpeg"], 2, ".png, .svg or .pdf"),
        (["weights", "RUN", "--shape", "8"], 2, "HEIGHTxWIDTH"),
        (["weights", "RUN", "--shape", "8x8"], 1, "do not fit a network of 2 inputs"),
        (["curves", "RUN/model.safetensors"], 2, "is a file; a run is a folder"),
        (["confusion", "RUN/model.safetensors"], 2, "needs DATA"),
        (["predictions", "RUN"], 2, "predicts classes"),
        (["curves", "no-such-run"], 2, "no-such-run"),
    ],
)
def test_mistakes_on_the_command_line_are_told(
    arguments: list[str], status: int, told: str, moons_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert told in draw(*(word.replace("RUN", str(moons_run)) for word in arguments), status=status)
    assert not list(tmp_path.iterdir())
