"""Predictions for the test rows, and the worst mistakes."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mlp.checks import counted, shortened
from mlp.inspection import plots
from mlp.inspection.class_predictions import ClassPredictions, class_names
from mlp.inspection.column_importance import MAX_COLUMNS, N_REPEATS, column_importance, rows_permuted
from mlp.inspection.network_scores import scores_of
from mlp.inspection.plots.boundary import drawn_rows
from mlp.inspection.plots.probabilities import MAX_CURVES, probability_curves
from mlp.inspection.plots.regression import MAX_OUTPUTS, predictions_and_targets
from mlp.inspection.plots.style import COLOURS
from mlp.inspection.report.data_rows import MAX_CHARACTERS, row_numbers, row_values
from mlp.inspection.report.html_elements import Note, Part, Section, Table, picture
from mlp.inspection.report.picture_tables import (
    actual_and_predicted_table,
    confusion_table,
    curve_tables,
    plane_table,
)
from mlp.inspection.report.run_data import RunData
from mlp.inspection.scores import class_lines, constant_answer, number_lines, plainly, warnings_of

if TYPE_CHECKING:
    from mlp.model import MLP

MAX_MISTAKES = 12
"""Maximum number of mistakes that are shown."""

MAX_SHOWN = 30
"""Most columns in the table of importance."""

MAX_CLASSES = 50
"""With more classes than this there is no table of them."""


def predictions(run: RunData) -> Section:
    """Confusion matrix and worst mistakes, or predicted and actual values; or why they are missing."""
    if run.net is None or run.dataset is None:
        section = Section("Predictions")
        for what in ("model", "data"):
            if what in run.problems:
                reason = run.problems[what].rstrip(".")
                text = f"There are no predictions, because the {what} of this run could not be read: {reason}."
                section.parts.append(Note(text, warning=True))
        return section
    net, (X, y) = run.net, run.rows
    section = Section(f"Predictions on the {run.part} rows")
    if run.part == "training":
        section.parts.append(Note("There is no test set: the network was trained on these rows."))
    _add_scores(section, net, X, y, list(run.dataset.target_names))
    if net.task == "numbers":
        section.sections.extend(_regression(run, net, X, y))
    elif net.task == "labels" and net.sizes[-1] > 1:
        section.parts.append(Note("The network predicts several labels for each row, so there is no confusion matrix."))
        return section
    else:
        section.sections.extend(_classification(run, net, X, y))
    _add_importance(section, run)
    if net.sizes[0] == 2 and net.sizes[-1] <= len(COLOURS):
        alt = "The plane of the two inputs, coloured by the network's prediction, with the rows as points."
        drawn = row_numbers(run)[drawn_rows(net, len(X))]
        text = (
            "The colour of a place is the network's answer there; points are rows in the colour of their class. At a "
            "black line the answer changes."
            if net.task != "numbers"
            else "The colour of a place is the predicted number there, and that of a point the actual one."
        )
        parts: list[Part] = [Note(text), picture(plots.boundary(net, X, y), alt, drawn), plane_table(net, X, drawn)]
        section.sections.append(Section("Predictions over the input plane", parts))
    return section


def _add_scores(section: Section, net: MLP, X: Any, y: Any, names: list[str]) -> None:
    """A table of the scores beside those of a constant answer, and a warning for classes that are never answered."""
    scores = scores_of(net, X, y)
    if not scores:
        return
    names = names if len(names) == net.sizes[-1] else [f"output {k}" for k in range(net.sizes[-1])]
    lines = number_lines(scores, names) if net.task == "numbers" else class_lines(scores, class_names(net))
    rows = [[line.name.replace("R^2", "R²"), line.model, line.baseline] for line in lines]
    section.parts.append(
        Table(f"Scores on {counted(len(y), 'row')}", rows, ["score", "model", constant_answer(scores)])
    )
    section.parts.extend(Note(f"{warning}.", warning=True) for warning in warnings_of(scores))


def _add_importance(section: Section, run: RunData) -> None:
    """A table of the columns by their permutation importance, for tables of several columns."""
    net, dataset, (X, y) = run.net, run.dataset, run.rows
    assert net is not None
    assert dataset is not None
    fitted = dataset.preprocessing
    if fitted is None or not dataset.target_names or len(fitted.columns) < 2:
        return
    n_columns = len(fitted.columns)
    if n_columns > MAX_COLUMNS:
        text = f"It was not computed, because the table has more than {MAX_COLUMNS:,} columns ({n_columns:,})."
        section.sections.append(Section("Importance of the columns", [Note(text)]))
        return
    found = column_importance(net, fitted, X, y)
    if len(found) < 2:
        return
    n_rows = min(rows_permuted(n_columns), len(X))
    digits = ".1%" if run.score_name == "accuracy" else ".4f"
    rows = [
        [name, *(f"{value:{digits}}".replace("%", " %") for value in values)] for name, *values in found[:MAX_SHOWN]
    ]
    text = (
        f"By how much the {run.score_name} falls if the values of a column are permuted among the rows, so that the "
        f"network cannot use them: mean and standard deviation of {N_REPEATS} permutations of "
        f"{'the' if n_rows == len(X) else 'the first'} {counted(n_rows, 'row')}. Of columns that say the "
        "same, each looks unimportant."
    )
    caption = "Permutation importance" + (f" of {MAX_SHOWN} of {len(found)} columns" if len(found) > MAX_SHOWN else "")
    table = Table(caption, rows, ["column", f"fall of the {run.score_name}", "deviation"])
    section.sections.append(Section("Importance of the columns", [Note(text), table]))


def _probabilities(results: ClassPredictions) -> list[Section]:
    """Curves of ROC, precision and recall, and calibration."""
    occurring = np.unique(results.target)
    if len(results.classes) > MAX_CURVES or len(occurring) < 2:
        return []
    scores = results.scores()
    alt = (
        f"Receiver operating characteristic: area {scores['roc_auc']:.4f}. Precision over recall: average precision "
        f"{scores['average_precision']:.4f}."
    )
    if results.are_probabilities:
        alt += " Calibration: observed shares over mean probabilities, with the diagonal of perfect calibration."
    names = [str(name) for name in results.classes]
    text = (
        "A good ROC curve rises near the left side. A good curve of precision and recall stays near the top. A dashed "
        "line is what guessing gives."
    )
    if results.are_probabilities:
        text += " Calibrated probabilities lie on the dashed diagonal: of the answers with 80 %, 80 % are right."
    return [
        Section("Probabilities", [Note(text), picture(probability_curves(results), alt), *curve_tables(results, names)])
    ]


def _classification(run: RunData, net: MLP, X: Any, y: Any) -> list[Section]:
    results = ClassPredictions.of(net, X, y)
    names = [str(name) for name in results.classes]
    text = (
        "Each line is a true class, each column an answer. Right answers are on the diagonal; all others are mistakes."
    )
    confusion = Section(
        "Confusion matrix", [Note(text), picture(plots.confusion(net, X, y), _confusion_alt(results, names))]
    )
    if len(names) <= MAX_CLASSES:
        confusion.parts.extend([confusion_table(results, names), _class_table(results, names)])
    mistakes, worst = Section("Worst mistakes"), results.worst(MAX_MISTAKES)
    if len(worst):
        mistakes.parts.append(Note("The wrong answers of which the network was most certain."))
        numbers = row_numbers(run)
        rows = (
            f"row {numbers[row]}: predicted {names[results.predicted[row]]}, true {names[results.target[row]]}"
            for row in worst
        )
        alt = f"The wrong predictions with the highest confidence: {'; '.join(rows)}."
        figure = plots.mistakes(net, X, y, n=MAX_MISTAKES, numbers=numbers)
        mistakes.parts.append(picture(figure, alt, numbers[worst]))
        answers = [
            [_answer(results, names, row, codes[row]) for codes in (results.predicted, results.target)] for row in worst
        ]
        table = _values(run, numbers[worst], ["predicted", "true"], answers)
        mistakes.parts.append(table if len(table.header) > 3 else replace(table, folded=True))
    else:
        mistakes.parts.append(Note(f"There are none: all {len(results.target)} rows are classified correctly."))
    return [confusion, *_probabilities(results), mistakes]


def _answer(results: ClassPredictions, names: list[str], row: int, code: int) -> str:
    """A class with the network's output for it in a row."""
    output = float(results.outputs[row, code])
    text = f"{100 * output:.1f} %" if results.are_probabilities else plainly(output)
    return f"{shortened(names[code], MAX_CHARACTERS)} ({text})"


def _values(run: RunData, rows: NDArray[Any], header: list[str], cells: list[list[str]]) -> Table:
    """A table of some rows of the data, by their numbers in the source: the cells and, of a file, the values."""
    names, values, n_columns = row_values(run, rows)
    caption = f"These rows of {os.path.basename(str(run.config['data']['source']))}, counted from 0"
    caption += f"; {len(names)} of {n_columns} columns" if len(names) < n_columns else ""
    lines = [[str(row), *line, *given] for row, line, given in zip(rows, cells, values, strict=True)]
    return Table(caption, lines, ["row", *header, *names], frozenset(rows.tolist()))


def _confusion_alt(results: ClassPredictions, names: list[str]) -> str:
    confusion = results.confusion
    text = f"Confusion matrix of {len(names)} classes: {confusion.trace()} of {confusion.sum()} rows are correct."
    wrong = confusion - np.diag(confusion.diagonal())
    if wrong.any():
        true, predicted = np.unravel_index(wrong.argmax(), wrong.shape)
        count = wrong[true, predicted]
        text += f" The most frequent mistake: {names[true]} is predicted as {names[predicted]}, {count} times."
    return text


def _class_table(results: ClassPredictions, names: list[str]) -> Table:
    metrics = results.by_class()
    columns = [[f"{value:.4f}" for value in metrics[name]] for name in ("precision", "recall", "f1")]
    rows = [list(row) for row in zip(names, map(str, metrics["support"]), *columns, strict=True)]
    return Table("Metrics of each class", rows, ["class", "rows", "precision", "recall", "F1"])


def _regression(run: RunData, net: MLP, X: Any, y: Any) -> list[Section]:
    predicted, actual = predictions_and_targets(net, X, y)
    residual = (predicted - actual).astype(np.float64)
    alt = (
        f"Top: predicted over actual values of {len(residual)} rows, with the diagonal of perfect predictions. "
        "Bottom: a histogram of the residuals."
    )
    points = picture(plots.predictions(net, X, y), alt, row_numbers(run))
    groups = actual_and_predicted_table(actual[:, :MAX_OUTPUTS], predicted[:, :MAX_OUTPUTS], row_numbers(run))
    text = Note("A perfect prediction lies on the dashed line. A residual is the predicted minus the actual value.")
    return [
        Section("Predicted and actual values", [text, points, groups, _errors(residual, actual)]),
        Section("Worst mistakes", [_largest_residuals(run, actual, predicted, residual)]),
    ]


def _errors(residual: NDArray[Any], actual: NDArray[Any]) -> Table:
    metrics = {
        "Median absolute error": np.median(np.abs(residual), axis=0),
        "Mean error (predicted − actual)": residual.mean(axis=0),
        "Standard deviation of the actual values": actual.std(axis=0),
    }
    header = ["error", *(f"output {k}" for k in range(residual.shape[1]))] if residual.shape[1] > 1 else []
    rows = [[name, *(plainly(float(value)) for value in values)] for name, values in metrics.items()]
    return Table("Errors", rows, header)


def _largest_residuals(run: RunData, actual: NDArray[Any], predicted: NDArray[Any], residual: NDArray[Any]) -> Table:
    """The rows with the largest residuals, each output relative to its standard deviation."""
    relative = np.abs(residual) / np.maximum(actual.std(axis=0), np.finfo(np.float64).tiny)
    several = residual.shape[1] > 1
    worst = np.argsort(-relative.max(axis=1), kind="stable")[:MAX_MISTAKES]
    cells = []
    for row in worst.tolist():
        k = int(relative[row].argmax())
        numbers = [plainly(float(values[row, k])) for values in (actual, predicted, residual)]
        cells.append([str(k), *numbers] if several else numbers)
    header = [*(["output"] if several else []), "actual", "predicted", "residual"]
    return _values(run, row_numbers(run)[worst], header, cells)
