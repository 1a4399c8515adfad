"""What the network answers on the rows that were set aside, and where it is wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mlp.inspection import plots
from mlp.inspection.answers import Answers
from mlp.inspection.plots.numbers import answers_and_targets
from mlp.inspection.plots.style import COLOURS
from mlp.inspection.report.found import Found
from mlp.inspection.report.parts import Note, Section, Table, picture

if TYPE_CHECKING:
    from mlp.model import MLP

WORST = 12
"""So many mistakes are shown."""

CLASSES = 50
"""Up to so many classes have a row each."""


def answers(found: Found) -> Section:
    """Confusion matrix and worst mistakes, or predicted and actual numbers; or why they cannot be had."""
    if found.net is None or found.dataset is None:
        section = Section("Answers")
        for what, verb in (("model", "is"), ("data", "are")):
            if what in found.problems:
                text = f"The {what} of this run {verb} not to be had, so its answers cannot be shown"
                section.parts.append(Note(f"{text}: {found.problems[what].rstrip('.')}.", warning=True))
        return section
    net, (X, y) = found.net, found.rows
    section = Section(f"Answers on the {found.part} rows")
    if found.part == "training":
        section.parts.append(Note("No test part was set aside: these are rows that the network was trained on."))
    if net.task == "numbers":
        section.sections.extend(_of_numbers(net, X, y))
    elif net.task == "labels" and net.sizes[-1] > 1:
        section.parts.append(Note("The network says yes or no to several labels, so a row has no single answer."))
        return section
    else:
        section.sections.extend(_of_classes(net, X, y))
    if net.sizes[0] == 2 and net.sizes[-1] <= len(COLOURS):
        alt = "The plane of the two inputs, coloured by what the network answers there, with the rows as points."
        section.sections.append(Section("All over the plane", [picture(plots.boundary(net, X, y), alt)]))
    return section


def _of_classes(net: MLP, X: Any, y: Any) -> list[Section]:
    answers = Answers.of(net, X, y)
    names = [str(name) for name in answers.classes]
    confusion = Section("Confusion matrix", [picture(plots.confusion(net, X, y), _confusion_in_words(answers, names))])
    if len(names) <= CLASSES:
        confusion.parts.append(_figures_of_classes(answers, names))
    mistakes, worst = Section("Worst mistakes"), answers.worst(WORST)
    if len(worst):
        said = (f"row {row} says {names[answers.answer[row]]}, is {names[answers.truth[row]]}" for row in worst)
        alt = f"The rows it is surest of and wrong about: {'; '.join(said)}."
        mistakes.parts.append(picture(plots.mistakes(net, X, y, n=WORST), alt))
    else:
        mistakes.parts.append(Note(f"There are none: all {len(answers.truth)} rows are answered rightly."))
    return [confusion, mistakes]


def _confusion_in_words(answers: Answers, names: list[str]) -> str:
    confusion = answers.confusion
    text = f"Confusion matrix of {len(names)} classes: {confusion.trace()} of {confusion.sum()} rows are right."
    wrong = confusion - np.diag(confusion.diagonal())
    if wrong.any():
        true, told = np.unravel_index(wrong.argmax(), wrong.shape)
        text += f" Most often {names[true]} is taken for {names[told]}, {wrong[true, told]} times."
    return text


def _figures_of_classes(answers: Answers, names: list[str]) -> Table:
    figures = answers.by_class()
    columns = [[f"{figure:.4f}" for figure in figures[name]] for name in ("precision", "recall", "f1")]
    rows = [list(row) for row in zip(names, map(str, figures["support"]), *columns, strict=True)]
    return Table("Figures of each class", rows, ["class", "rows", "precision", "recall", "F1"])


def _of_numbers(net: MLP, X: Any, y: Any) -> list[Section]:
    predicted, actual = answers_and_targets(net, X, y)
    residual = (predicted - actual).astype(np.float64)
    alt = (
        f"Above, predicted over actual numbers of {len(residual)} rows with the diagonal of perfect answers; below, a "
        "histogram of the residuals."
    )
    return [
        Section("Predicted and actual", [picture(plots.predictions(net, X, y), alt), _errors(residual, actual)]),
        Section("Worst mistakes", [_furthest_off(actual, predicted, residual)]),
    ]


def _errors(residual: NDArray[Any], actual: NDArray[Any]) -> Table:
    figures = {
        "Root mean square": np.sqrt(np.square(residual).mean(axis=0)),
        "Mean absolute": np.abs(residual).mean(axis=0),
        "Median absolute": np.median(np.abs(residual), axis=0),
        "Mean (predicted − actual)": residual.mean(axis=0),
        "Spread of the actual numbers": actual.std(axis=0),
    }
    header = ["", *(f"output {k}" for k in range(residual.shape[1]))] if residual.shape[1] > 1 else []
    return Table("Errors", [[name, *(f"{value:.4g}" for value in values)] for name, values in figures.items()], header)


def _furthest_off(actual: NDArray[Any], predicted: NDArray[Any], residual: NDArray[Any]) -> Table:
    """The rows with the largest errors; of several outputs, by how much each of them varies."""
    size = np.abs(residual) / np.maximum(actual.std(axis=0), np.finfo(np.float64).tiny)
    several = residual.shape[1] > 1
    rows = []
    for row in np.argsort(-size.max(axis=1), kind="stable")[:WORST].tolist():
        k = int(size[row].argmax())
        which = [str(row), str(k)] if several else [str(row)]
        rows.append(which + [f"{values[row, k]:.4g}" for values in (actual, predicted, residual)])
    header = ["row", *(["output"] if several else []), "actual", "predicted", "residual"]
    return Table("The rows that are furthest off", rows, header)
