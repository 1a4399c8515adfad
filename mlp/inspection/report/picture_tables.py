"""The numbers of the pictures as tables, for readers who do not see pictures, or want the numbers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mlp.checks import counted
from mlp.inspection.class_predictions import ClassPredictions, class_names
from mlp.inspection.plots.boundary import plane_of
from mlp.inspection.plots.images import image_shape
from mlp.inspection.plots.probabilities import calibration_points, classes_with_curves
from mlp.inspection.plots.weights import feature_names, shown_weights
from mlp.inspection.report.html_elements import Table
from mlp.inspection.scores import plainly

if TYPE_CHECKING:
    from mlp.model import MLP

RATES = (0.5, 0.8, 0.9, 0.95, 1.0)
"""True positive rates and recalls at which the curves are given."""

MAX_GROUPS = 10
"""Groups of rows by their actual value."""

NODES = 7
"""Places of the plane along each axis."""


def confusion_table(results: ClassPredictions, names: list[str]) -> Table:
    """The rows of each true class by predicted class."""
    rows = [[name, *map(str, counts)] for name, counts in zip(names, results.confusion.tolist(), strict=True)]
    return Table("Rows by true class (lines) and predicted class (columns)", rows, ["true class", *names], folded=True)


def curve_tables(results: ClassPredictions, names: list[str]) -> list[Table]:
    """Points of the curves of ROC and of precision and recall, and the points of the calibration."""
    from sklearn import metrics

    reached = [f"at {rate:.0%}".replace("%", " %") for rate in RATES]
    roc, precisions = [], []
    for k in classes_with_curves(results):
        is_class, output = results.target == k, results.outputs[:, k]
        false, true, _ = metrics.roc_curve(is_class, output)
        roc.append([names[k], *(_share(false[true >= rate].min()) for rate in RATES)])
        precision, recall, _ = metrics.precision_recall_curve(is_class, output)
        precisions.append([names[k], *(_share(precision[recall >= rate].max()) for rate in RATES)])
    header = ["class", *reached]
    tables = [
        Table("ROC: false positive rate where the true positive rate reaches a share", roc, header, folded=True),
        Table("Precision where the recall reaches a share", precisions, header, folded=True),
    ]
    if results.are_probabilities:
        mean, share = calibration_points(results)
        lines = [[_share(probability), _share(part)] for probability, part in zip(mean, share, strict=True)]
        header = ["mean probability", "share that is right"]
        tables.append(Table("Calibration, in groups of rows", lines, header, folded=True))
    return tables


def actual_and_predicted_table(actual: NDArray[Any], predicted: NDArray[Any], rows: Iterable[int]) -> Table:
    """Means of actual and predicted values and the error, in groups of rows by the actual value of an output."""
    several, lines = actual.shape[1] > 1, []
    for k in range(actual.shape[1]):
        order = np.argsort(actual[:, k], kind="stable")
        for group in np.array_split(order, min(MAX_GROUPS, len(order))):
            truth, answer = actual[group, k].astype(np.float64), predicted[group, k].astype(np.float64)
            error = float(np.sqrt(np.mean((answer - truth) ** 2)))
            ends = f"{plainly(float(truth[0]))} to {plainly(float(truth[-1]))}"
            numbers = [ends, str(len(group)), *map(plainly, (float(truth.mean()), float(answer.mean()), error))]
            lines.append([str(k), *numbers] if several else numbers)
    header = [*(["output"] if several else []), "actual", "rows", "mean actual", "mean predicted", "RMS residual"]
    return Table("Rows in groups by their actual value", lines, header, frozenset(map(int, rows)), folded=True)


def plane_table(net: MLP, X: Any, rows: Iterable[int]) -> Table:
    """What the network answers at some places of the plane; the first line is the top."""
    across, up = plane_of(np.asarray(X, np.float64), NODES)
    places = np.array([[x, y] for y in up[::-1] for x in across])
    if net.task == "numbers":
        answers = [plainly(float(value)) for value in net.feedforward(places)[:, 0]]
    else:
        outputs = net.feedforward(places)
        outputs = np.hstack([1 - outputs, outputs]) if outputs.shape[1] == 1 else outputs
        names, best = class_names(net), outputs.argmax(axis=1)
        sure = net.kind.output.name in ("softmax", "sigmoid")
        answers = [
            f"{names[k]} ({_share(row[k])})" if sure else str(names[k]) for k, row in zip(best, outputs, strict=True)
        ]
    scaled = " (scaled)" if net.preprocessing is not None else ""
    x_name, y_name = (name + scaled for name in feature_names(net))
    lines = [[f"{y:.3g}", *answers[i * NODES : (i + 1) * NODES]] for i, y in enumerate(up[::-1])]
    caption = f"Answers of the network: {x_name} to the right, {y_name} upward"
    return Table(caption, lines, [y_name, *(f"{x:.3g}" for x in across)], frozenset(map(int, rows)), folded=True)


def weights_table(net: MLP, names: Sequence[str]) -> Table:
    """The weights of the first layer as they are drawn; of images, the extreme pixels of each neuron."""
    rows, units = shown_weights(net)
    W = net.weights[0].astype(np.float64)
    shape = image_shape(net)
    if shape is None:
        lines = [[names[row], *(f"{W[row, unit]:.2g}" for unit in units)] for row in rows]
        caption = f"Weights of {counted(len(units), 'neuron')} for {counted(len(rows), 'input')}"
        return Table(caption, lines, ["input", *(f"neuron {unit}" for unit in units)], folded=True)
    lines = []
    for unit in units:
        cells = [str(unit)]
        for pixel in (W[:, unit].argmax(), W[:, unit].argmin()):
            line, column = divmod(int(pixel), shape[1])
            cells += [f"{W[pixel, unit]:.3g}", f"row {line + 1}, column {column + 1}"]
        lines.append(cells)
    header = ["neuron", "largest weight", "its pixel", "smallest weight", "its pixel"]
    return Table("The extreme weights of each neuron; pixels are counted from 1", lines, header, folded=True)


def _share(value: float) -> str:
    return f"{100 * value:.1f} %"
