"""Scores of a network on rows whose targets are known, beside those of a constant answer: metrics of scikit-learn."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlp.checks import shortened

Scores = dict[str, Any]


def class_scores(
    target: NDArray[Any], predicted: NDArray[Any], outputs: NDArray[Any], *, probabilities: bool
) -> Scores:
    """Score the predictions of classes.

    Parameters
    ----------
    target, predicted : ndarray of int, shape (n,)
        Class numbers.
    outputs : ndarray, shape (n, number of classes)
        The network's output for each class.
    probabilities : bool
        Whether the outputs are probabilities; only then there is a log-loss.

    Returns
    -------
    dict
        ``accuracy``, ``balanced_accuracy``, ``macro_f1``, ``roc_auc``, ``average_precision`` and ``log_loss``, as of
        `sklearn.metrics`.  With two classes, area and precision are those of the second one; with more, the mean over
        the classes that occur, each against the rest.  None if there is no such score: for rows of one class, or
        outputs that are not probabilities.

    Examples
    --------
    >>> outputs = np.array([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8], [0.6, 0.4]])
    >>> scores = class_scores(np.array([0, 0, 1, 1]), outputs.argmax(axis=1), outputs, probabilities=True)
    >>> scores["accuracy"], scores["roc_auc"], round(scores["log_loss"], 4)
    (0.5, 0.75, 0.5403)
    """
    from sklearn import metrics

    n_classes = outputs.shape[1]
    outputs = outputs.astype(np.float64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of classes that are predicted and do not occur
        scores: Scores = {
            "accuracy": metrics.accuracy_score(target, predicted),
            "balanced_accuracy": metrics.balanced_accuracy_score(target, predicted),
            "macro_f1": metrics.f1_score(target, predicted, average="macro", zero_division=0),
        }
    occurring = [k for k in ([1] if n_classes == 2 else range(n_classes)) if 0 < (target == k).sum() < len(target)]
    for name, metric in (("roc_auc", metrics.roc_auc_score), ("average_precision", metrics.average_precision_score)):
        values = [metric(target == k, outputs[:, k]) for k in occurring]
        scores[name] = float(np.mean(values)) if values else None
    scores["log_loss"] = log_loss_of(target, outputs) if probabilities else None
    return {name: None if value is None else float(value) for name, value in scores.items()}


def log_loss_of(target: NDArray[Any], outputs: NDArray[Any]) -> float:
    """The mean over the rows of the negative logarithm of the probability of the true class.

    Parameters
    ----------
    target : ndarray of int, shape (n,)
        Class numbers.
    outputs : ndarray, shape (n, number of classes)
        Probabilities, which are divided by their sum.

    Examples
    --------
    >>> round(log_loss_of(np.array([0, 1]), np.array([[0.9, 0.1], [0.4, 0.6]])), 4)
    0.3081
    """
    from sklearn import metrics

    outputs, n_classes = outputs.astype(np.float64), outputs.shape[1]
    total = outputs.sum(axis=1, keepdims=True)  # one up to rounding in float32, or not one for separate sigmoids
    shares = np.divide(outputs, total, out=np.full_like(outputs, 1 / n_classes), where=total > 0)
    return float(metrics.log_loss(target, shares, labels=list(range(n_classes))))


def with_class_baseline(
    target: NDArray[Any], predicted: NDArray[Any], outputs: NDArray[Any], classes: list[Any], *, probabilities: bool
) -> Scores:
    """Score predictions of classes, and the constant answer that is right most often on these rows.

    The constant answer gives each class its share of the rows as probability.

    Returns
    -------
    dict
        Those of `class_scores`; ``never_answered``: the classes that occur but are never predicted, with the number of
        their rows; ``baseline``: the scores of the constant ``answer``.

    Examples
    --------
    >>> outputs = np.array([[0.9, 0.1], [0.6, 0.4], [0.7, 0.3]])
    >>> scores = with_class_baseline(
    ...     np.array([0, 0, 1]), outputs.argmax(axis=1), outputs, ["no", "yes"], probabilities=True
    ... )
    >>> scores["never_answered"], scores["baseline"]["answer"], round(scores["baseline"]["accuracy"], 4)
    ([{'class': 'yes', 'rows': 1}], 'no', 0.6667)
    """
    counts = np.bincount(target, minlength=len(classes))
    shares = np.broadcast_to(counts / len(target), outputs.shape)
    most = int(counts.argmax())
    answered = set(np.unique(predicted).tolist())
    baseline = class_scores(target, np.full(len(target), most), shares, probabilities=True)
    return {
        **class_scores(target, predicted, outputs, probabilities=probabilities),
        "never_answered": [
            {"class": classes[k], "rows": int(counts[k])} for k in np.flatnonzero(counts) if k not in answered
        ],
        "baseline": {"answer": classes[most], **baseline},
    }


def number_scores(target: NDArray[Any], predicted: NDArray[Any]) -> Scores:
    """Score predictions of numbers, and the mean of the targets as the constant answer.

    Parameters
    ----------
    target, predicted : ndarray, shape (n, n_out)

    Returns
    -------
    dict
        ``r2``, ``rmse`` and ``mae`` for each output, as of `sklearn.metrics`, the last two in the unit of the targets;
        ``baseline``: the constant ``answer``, and its scores.  R^2 is None for a single row.

    Examples
    --------
    >>> scores = number_scores(np.array([[1.0], [3.0], [5.0]]), np.array([[1.0], [4.0], [5.0]]))
    >>> scores["r2"], scores["mae"], scores["baseline"]["answer"], scores["baseline"]["mae"]
    ([0.875], [0.3333333333333333], [3.0], [1.3333333333333333])
    """
    target, predicted = target.astype(np.float64), predicted.astype(np.float64)
    mean = target.mean(axis=0)
    constant = _number_scores(target, np.broadcast_to(mean, target.shape))
    return {**_number_scores(target, predicted), "baseline": {"answer": mean.tolist(), **constant}}


def _number_scores(target: NDArray[Any], predicted: NDArray[Any]) -> Scores:
    from sklearn import metrics

    scores: Scores = {
        "rmse": metrics.root_mean_squared_error(target, predicted, multioutput="raw_values").tolist(),
        "mae": metrics.mean_absolute_error(target, predicted, multioutput="raw_values").tolist(),
    }
    enough = len(target) > 1
    return {
        "r2": metrics.r2_score(target, predicted, multioutput="raw_values").tolist() if enough else None,
        **scores,
    }


# -- for readers ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Line:
    """A score as text, and that of the constant answer."""

    name: str
    model: str
    baseline: str


def class_lines(scores: Scores, classes: list[Any]) -> list[Line]:
    """The scores of classes as text.

    Examples
    --------
    >>> outputs = np.array([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8], [0.6, 0.4]])
    >>> scores = with_class_baseline(
    ...     np.array([0, 0, 1, 1]), outputs.argmax(axis=1), outputs, ["no", "yes"], probabilities=True
    ... )
    >>> class_lines(scores, ["no", "yes"])[0]
    Line(name='accuracy', model='50.00 %', baseline='50.00 %')
    """
    of = f" of {shortened(classes[1], 20)}" if len(classes) == 2 else ""
    mean = "mean " if len(classes) > 2 else ""
    names = {
        "accuracy": "accuracy",
        "balanced_accuracy": "balanced accuracy",
        "macro_f1": "macro F1",
        "roc_auc": f"{mean}ROC-AUC",
        "average_precision": f"{mean}average precision{of}",
        "log_loss": "log-loss",
    }

    def text(name: str, values: Scores) -> str:
        value = values[name]
        return "none" if value is None else f"{100 * value:.2f} %" if "accuracy" in name else f"{value:.4f}"

    return [Line(shown, text(name, scores), text(name, scores["baseline"])) for name, shown in names.items()]


def number_lines(scores: Scores, names: list[str]) -> list[Line]:
    """The scores of numbers as text; `names` are those of the outputs, if there are several.

    Examples
    --------
    >>> scores = number_scores(np.array([[1000.0], [3000.0]]), np.array([[1200.0], [3000.0]]))
    >>> [line.model for line in number_lines(scores, [])]
    ['0.9800', '141.4', '100']
    """
    lines = []
    for k in range(len(scores["rmse"])):
        of = f" of {shortened(names[k], 30)}" if len(scores["rmse"]) > 1 else ""
        for name, shown in (("r2", "R^2"), ("rmse", "RMSE"), ("mae", "MAE")):
            model, baseline = (_number_text(name, values[name], k) for values in (scores, scores["baseline"]))
            lines.append(Line(f"{shown}{of}", model, baseline))
    return lines


def _number_text(name: str, values: list[float] | None, k: int) -> str:
    return "none" if values is None else f"{values[k]:.4f}" if name == "r2" else plainly(values[k])


def constant_answer(scores: Scores) -> str:
    """The constant answer of the baseline as text.

    Examples
    --------
    >>> constant_answer({"baseline": {"answer": "No"}}), constant_answer({"baseline": {"answer": [1234.5]}})
    ('always No', 'always 1,234')
    """
    answer = scores["baseline"]["answer"]
    if not isinstance(answer, list):
        return f"always {shortened(answer, 20)}"
    return f"always {plainly(answer[0])}" if len(answer) == 1 else "always the mean"


def warnings_of(scores: Scores) -> list[str]:
    """A sentence for each class that is never answered; for many such classes one for all.

    Examples
    --------
    >>> warnings_of({"never_answered": [{"class": "Yes", "rows": 29}]})
    ['Yes is never answered, although it is the class of 29 rows']
    """
    never = scores.get("never_answered", [])
    if len(never) > 3:
        rows = sum(entry["rows"] for entry in never)
        return [f"{len(never)} classes are never answered, although they are those of {rows:,} rows"]
    return [
        f"{shortened(entry['class'], 40)} is never answered, although it is the class of "
        f"{entry['rows']:,} row{'s' * (entry['rows'] != 1)}"
        for entry in never
    ]


def plainly(number: float) -> str:
    """A number as people write it: four digits, or all of those before the point.

    Examples
    --------
    >>> plainly(181234.4), plainly(0.012345), plainly(3.0), plainly(1.5e300)
    ('181,234', '0.01235', '3', '1.5e+300')
    """
    if abs(number) >= 1e15 or number != number:
        return f"{number:.4g}"
    if abs(number) >= 1e4 or number == round(number):
        return f"{number:,.0f}"
    return f"{number:,.4g}"
