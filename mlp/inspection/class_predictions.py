"""Predictions of a classifier compared with their targets, for ``mlp evaluate``, the plots and the report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mlp._backends import ConfigurationError
from mlp.array_checks import check_targets
from mlp.inspection.scores import with_class_baseline

if TYPE_CHECKING:
    from mlp.network import FeedForward


@dataclass(frozen=True)
class ClassPredictions:
    """A classifier's predictions for rows whose classes are known.

    Attributes
    ----------
    classes : list
        Names of the classes.
    target, predicted : ndarray of int, shape (n,)
        Class numbers.
    outputs : ndarray, shape (n, number of classes)
        The network's output for each class.
    are_probabilities : bool
        Whether the outputs are probabilities.

    Examples
    --------
    >>> predictions = ClassPredictions(["ham", "spam"], np.array([0, 1, 1]), np.array([0, 1, 0]), np.eye(2)[[0, 1, 0]])
    >>> predictions.confusion.tolist()
    [[1, 0], [1, 1]]
    >>> predictions.by_class()["recall"]
    [1.0, 0.5]
    >>> predictions.scores()["accuracy"]
    0.6666666666666666
    >>> predictions.worst(5).tolist()
    [2]
    """

    classes: list[Any]
    target: NDArray[np.int64]
    predicted: NDArray[np.int64]
    outputs: NDArray[Any]
    are_probabilities: bool = True

    @classmethod
    def of(cls, net: FeedForward, X: Any, y: Any, threshold: float | None = None) -> ClassPredictions:
        """Predict the classes of the rows of X.

        Parameters
        ----------
        net : MLP
        X : array_like, shape (n, n_in)
        y : array_like, shape (n,) or (n, n_out)
            As in `MLP.fit`.
        threshold : float, optional
            As in `classes_above`.

        Raises
        ------
        ConfigurationError
            If the network does not predict one of several classes, or there is a threshold and it has no probabilities
            of two classes.
        ShapeError, DtypeError, DataError
            As in `MLP.evaluate`.
        """
        outputs, n_out = net.feedforward(X), net.sizes[-1]
        checked, class_numbers = check_targets(
            y, len(outputs), net.kind, n_out, net.dtype, net.xp, require_two_classes=False
        )
        task = "classes" if class_numbers else net.task
        if task == "numbers":
            raise ConfigurationError("this is a regression network: it predicts numbers, not classes.")
        if task == "labels" and n_out > 1:
            raise ConfigurationError(f"this network predicts {n_out} independent labels, not one of several classes.")
        target = net.xp.to_numpy(checked)
        if n_out == 1:
            target, outputs = target[:, 0] > 0.5, np.hstack([1 - outputs, outputs])
        elif target.ndim > 1:
            target = target.argmax(axis=1)
        are_probabilities = net.kind.output.name in ("softmax", "sigmoid")
        predicted = outputs.argmax(axis=1) if threshold is None else classes_above(net, outputs, threshold)
        return cls(class_names(net), target.astype(np.int64), predicted, outputs, are_probabilities)

    @property
    def confusion(self) -> NDArray[np.int64]:
        """Confusion matrix: a row for each true class, a column for each predicted class."""
        from sklearn.metrics import confusion_matrix

        counts: NDArray[np.int64] = confusion_matrix(self.target, self.predicted, labels=range(len(self.classes)))
        return counts

    def by_class(self) -> dict[str, list[Any]]:
        """``support`` (rows), ``precision``, ``recall`` and ``f1`` of each class; 0 for a class without rows."""
        from sklearn.metrics import precision_recall_fscore_support

        precision, recall, f1, support = precision_recall_fscore_support(
            self.target, self.predicted, labels=range(len(self.classes)), zero_division=0
        )
        return {
            "support": support.tolist(), "precision": precision.tolist(), "recall": recall.tolist(), "f1": f1.tolist(),
        }  # fmt: skip

    def scores(self) -> dict[str, Any]:
        """The scores of `mlp.inspection.scores.with_class_baseline`."""
        return with_class_baseline(
            self.target, self.predicted, self.outputs, self.classes, probabilities=self.are_probabilities
        )

    def worst(self, n: int) -> NDArray[np.int64]:
        """Indices of at most n wrong rows, the largest `excess` first."""
        rows = np.flatnonzero(self.target != self.predicted)
        return rows[np.argsort(-self.excess[rows], kind="stable")][:n]

    @property
    def excess(self) -> NDArray[Any]:
        """Output of the predicted class minus output of the true class, shape (n,); 0 for a correct row."""
        rows = np.arange(len(self.target))
        excess: NDArray[Any] = self.outputs[rows, self.predicted] - self.outputs[rows, self.target]
        return excess


def class_names(net: FeedForward) -> list[Any]:
    """Names of the classes of a network, or their numbers if they have no names.

    Examples
    --------
    >>> import mlp
    >>> class_names(mlp.MLP([2, 1], loss="binary_cross_entropy"))
    [0, 1]
    """
    return list(range(max(net.sizes[-1], 2))) if net.classes is None else list(net.classes)


def classes_above(net: FeedForward, outputs: NDArray[Any], threshold: float) -> NDArray[np.int64]:
    """Class numbers for outputs of shape (n, 2): 1 where the probability of the second class is `threshold` or more.

    Raises
    ------
    ConfigurationError
        If the outputs are not the probabilities of two classes.

    Examples
    --------
    >>> import mlp
    >>> classes_above(mlp.MLP([3, 2]), np.array([[0.8, 0.2], [0.6, 0.4]]), 0.3)
    array([0, 1])
    """
    require_two_classes(net)
    return (outputs[:, 1] >= threshold).astype(np.int64)


def require_two_classes(net: FeedForward) -> None:
    """Raise `ConfigurationError` if a network does not give the probabilities of two classes."""
    n_out, are_probabilities = net.sizes[-1], net.kind.output.name in ("softmax", "sigmoid")
    exclusive = n_out == 1 or (n_out == 2 and (net.task == "classes" or net.class_numbers))
    if net.task == "numbers" or not exclusive or not are_probabilities:
        raise ConfigurationError("a threshold needs the probabilities of two classes, which this network does not give")
