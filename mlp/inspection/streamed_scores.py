"""The scores of a network on rows that are read in blocks: those of `network_scores`, from sums over the rows."""

from __future__ import annotations

import warnings
from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlp.data.streams import RowStream, TargetStatistics
from mlp.data.streams.chunks import chunks
from mlp.inspection.class_predictions import ClassPredictions, class_names, require_two_classes
from mlp.inspection.plots.regression import predictions_and_targets
from mlp.inspection.scores import Scores, log_loss_of, number_scores, with_class_baseline
from mlp.network import CHUNK, FeedForward

KEPT_VALUES = 2**20
"""Most outputs that are kept in memory; with more of them, scores that need all of them are left out."""

RANKING_SCORES = ("roc_auc", "average_precision")
"""Scores that depend on the order of all outputs."""


def streamed_scores(
    net: FeedForward, stream: RowStream, threshold: float | None = None
) -> tuple[Scores, ClassCounts | None]:
    """Score a network on a stream, whose rows are never in memory all at once.

    Parameters
    ----------
    net : MLP
    stream : RowStream
        With the classes of the network.  It is read once; and twice for numbers, if there are more than `KEPT_VALUES`.
    threshold : float, optional
        As in `mlp.inspection.class_predictions.classes_above`.

    Returns
    -------
    scores : dict
        As of `mlp.inspection.network_scores.scores_of`.  If there are more than `KEPT_VALUES` outputs, the sums are
        those of the chunks, which may change the last digits; ``roc_auc`` and ``average_precision`` are None; and
        ``left_out`` says why.
    counts : ClassCounts or None
        The confusion matrix; None if the network does not predict one of several classes.

    Raises
    ------
    ConfigurationError
        If there is a threshold, and the network has no probabilities of two classes.
    ShapeError, DtypeError, DataError
        As in `MLP.evaluate`.
    """
    if threshold is not None:
        require_two_classes(net)
    if net.task == "numbers" and not net.class_numbers:
        return _number_scores(net, stream), None
    if net.task == "labels" and net.sizes[-1] > 1:
        return {}, None
    return _class_scores(net, stream, threshold)


class ClassCounts:
    """How many rows there are of each pair of a true and a predicted class.

    Parameters
    ----------
    classes : list
        Their names.

    Examples
    --------
    >>> counts = ClassCounts(["ham", "spam"])
    >>> counts.add(np.array([0, 1, 1]), np.array([0, 1, 0]))
    >>> counts.confusion.tolist(), counts.by_class()["recall"]
    ([[1, 0], [1, 1]], [1.0, 0.5])
    """

    def __init__(self, classes: list[Any]) -> None:
        self.classes = classes
        self._counts: Counter[int] = Counter()  # by true class * number of classes + predicted class

    def add(self, target: NDArray[Any], predicted: NDArray[Any], rows: NDArray[Any] | int = 1) -> None:
        """Add pairs of class numbers, shape (n,), each of which stands for so many rows."""
        pairs, places = np.unique(target.astype(np.int64) * len(self.classes) + predicted, return_inverse=True)
        counts = np.zeros(len(pairs), np.int64)
        np.add.at(counts, places, rows)
        self._counts.update(dict(zip(pairs.tolist(), counts.tolist(), strict=True)))

    def pairs(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """The pairs that occur: true class, predicted class, number of rows."""
        codes = np.array(sorted(self._counts), np.int64)
        numbers = np.array([self._counts[code] for code in codes.tolist()], np.int64)
        return codes // len(self.classes), codes % len(self.classes), numbers

    @property
    def confusion(self) -> NDArray[np.int64]:
        """The confusion matrix: a row for each true class, a column for each predicted class."""
        target, predicted, rows = self.pairs()
        matrix = np.zeros((len(self.classes), len(self.classes)), np.int64)
        matrix[target, predicted] = rows
        return matrix

    def by_class(self) -> dict[str, list[Any]]:
        """As `ClassPredictions.by_class`."""
        from sklearn.metrics import precision_recall_fscore_support

        target, predicted, rows = self.pairs()
        labels = range(len(self.classes))
        precision, recall, f1, _ = precision_recall_fscore_support(
            target, predicted, labels=labels, sample_weight=rows, zero_division=0
        )
        support = np.bincount(target, weights=rows, minlength=len(self.classes)).astype(np.int64)
        return {
            "support": support.tolist(), "precision": precision.tolist(), "recall": recall.tolist(), "f1": f1.tolist(),
        }  # fmt: skip

    def scores(self) -> Scores:
        """Those scores of `class_scores` that only depend on the predicted classes."""
        from sklearn import metrics

        target, predicted, rows = self.pairs()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of classes that are predicted and do not occur
            return {
                "accuracy": float(metrics.accuracy_score(target, predicted, sample_weight=rows)),
                "balanced_accuracy": float(metrics.balanced_accuracy_score(target, predicted, sample_weight=rows)),
                "macro_f1": float(
                    metrics.f1_score(target, predicted, average="macro", sample_weight=rows, zero_division=0)
                ),
            }


def _class_scores(net: FeedForward, stream: RowStream, threshold: float | None) -> tuple[Scores, ClassCounts]:
    classes = class_names(net)
    counts, log_loss, n = ClassCounts(classes), 0.0, stream.n_rows
    kept: list[ClassPredictions] | None = [] if n * len(classes) <= KEPT_VALUES else None
    probabilities = True
    for X, y in chunks(stream, CHUNK):
        part = ClassPredictions.of(net, X, y, threshold)
        counts.add(part.target, part.predicted)
        probabilities = part.are_probabilities
        if kept is not None:
            kept.append(part)
        elif probabilities:
            log_loss += log_loss_of(part.target, part.outputs) * len(part.target)
    if kept is not None:
        target, predicted, outputs = (
            np.concatenate([getattr(part, name) for part in kept]) for name in ("target", "predicted", "outputs")
        )
        return with_class_baseline(target, predicted, outputs, classes, probabilities=probabilities), counts
    none = dict.fromkeys(RANKING_SCORES)
    scores = counts.scores() | none | {"log_loss": log_loss / n if probabilities else None}
    true, answered, rows = counts.pairs()
    occurring = np.bincount(true, weights=rows, minlength=len(classes)).astype(np.int64)
    never = [k for k in np.flatnonzero(occurring).tolist() if k not in set(answered.tolist())]
    reason = f"ROC-AUC and average precision need the outputs of all {n:,} rows in memory"
    return {
        **scores,
        "never_answered": [{"class": classes[k], "rows": int(occurring[k])} for k in never],
        "baseline": _class_baseline(occurring, classes) | none,
        "left_out": reason,
    }, counts


def _class_baseline(rows: NDArray[np.int64], classes: list[Any]) -> Scores:
    """The scores of the most frequent class as the answer, with the shares of the classes as probabilities."""
    most, n = int(rows.argmax()), int(rows.sum())
    constant, occurring = ClassCounts(classes), np.flatnonzero(rows)
    constant.add(occurring, np.full(len(occurring), most), rows[occurring])
    shares = rows[rows > 0] / n
    return {"answer": classes[most], **constant.scores(), "log_loss": float(-(shares * np.log(shares)).sum())}


def _number_scores(net: FeedForward, stream: RowStream) -> Scores:
    n, n_out = stream.n_rows, net.sizes[-1]
    parts = (predictions_and_targets(net, X, y) for X, y in chunks(stream, CHUNK))
    if n * n_out <= KEPT_VALUES:
        predicted, target = map(np.concatenate, zip(*parts, strict=True))
        return number_scores(target, predicted)
    statistics, squares, absolute = TargetStatistics(n_out), np.zeros(n_out), np.zeros(n_out)
    for outputs, targets in parts:
        target, residual = targets.astype(np.float64), targets.astype(np.float64) - outputs
        statistics.add(target)
        squares += np.square(residual).sum(axis=0)
        absolute += np.abs(residual).sum(axis=0)
    mean = statistics.mean
    from_mean = np.zeros(n_out)
    for _, y in chunks(stream):
        from_mean += np.abs(y.reshape(-1, n_out).astype(net.dtype).astype(np.float64) - mean).sum(axis=0)
    about_mean = np.square(statistics.std) * n
    varies = statistics.high > statistics.low
    r2 = np.where(varies, 1 - squares / np.where(varies, about_mean, 1), np.where(squares > 0, 0.0, 1.0))
    return {
        "r2": r2.tolist(),
        "rmse": np.sqrt(squares / n).tolist(),
        "mae": (absolute / n).tolist(),
        "baseline": {
            "answer": mean.tolist(),
            "r2": np.where(varies, 0.0, 1.0).tolist(),
            "rmse": statistics.std.tolist(),
            "mae": (from_mean / n).tolist(),
        },
    }
