"""What a network answers beside what is true: the figures behind ``mlp evaluate``, the pictures and the report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mlp._backends import ConfigurationError
from mlp.validation import check_targets

if TYPE_CHECKING:
    from mlp.network import FeedForward


@dataclass(frozen=True)
class Answers:
    """A classifier's answers to rows whose classes are known.

    Attributes
    ----------
    classes : list
        Names of the classes.
    truth, answer : ndarray of int, shape (n,)
        Class numbers.
    outputs : ndarray, shape (n, number of classes)
        What the network gives each class.
    are_probabilities : bool
        Whether the outputs are.

    Examples
    --------
    >>> answers = Answers(["ham", "spam"], np.array([0, 1, 1]), np.array([0, 1, 0]), np.eye(2)[[0, 1, 0]])
    >>> answers.confusion.tolist()
    [[1, 0], [1, 1]]
    >>> answers.by_class()["recall"]
    [1.0, 0.5]
    >>> answers.worst(5).tolist()
    [2]
    """

    classes: list[Any]
    truth: NDArray[np.int64]
    answer: NDArray[np.int64]
    outputs: NDArray[Any]
    are_probabilities: bool = True

    @classmethod
    def of(cls, net: FeedForward, X: Any, y: Any) -> Answers:
        """Ask `net` about the rows of X.

        Parameters
        ----------
        net : MLP
        X : array_like, shape (n, n_in)
        y : array_like, shape (n,) or (n, n_out)
            As in `MLP.fit`.

        Raises
        ------
        ConfigurationError
            If the network does not choose one of several classes.
        ShapeError, DtypeError, DataError
            As `MLP.evaluate` has it.
        """
        outputs, n_out = net.feedforward(X), net.sizes[-1]
        target, class_numbers = check_targets(
            y, len(outputs), net.kind, n_out, net.dtype, net.xp, require_two_classes=False
        )
        task = "classes" if class_numbers else net.task
        if task == "numbers":
            raise ConfigurationError("this network answers with numbers, not with classes.")
        if task == "labels" and n_out > 1:
            raise ConfigurationError(f"this network says yes or no to {n_out} labels, and does not choose one of them.")
        truth = net.xp.to_numpy(target)
        if n_out == 1:
            truth, outputs = truth[:, 0] > 0.5, np.hstack([1 - outputs, outputs])
        elif truth.ndim > 1:
            truth = truth.argmax(axis=1)
        probable = net.kind.output.name in ("softmax", "sigmoid")
        return cls(class_names(net), truth.astype(np.int64), outputs.argmax(axis=1), outputs, probable)

    @property
    def confusion(self) -> NDArray[np.int64]:
        """Rows by their class (down) and their answer (across)."""
        n = len(self.classes)
        counts = np.zeros((n, n), np.int64)
        np.add.at(counts, (self.truth, self.answer), 1)
        return counts

    def by_class(self) -> dict[str, list[Any]]:
        """``support`` (rows), ``precision``, ``recall`` and ``f1`` of each class; 0 where there is no row."""
        confusion = self.confusion
        right, of_class, answered = confusion.diagonal(), confusion.sum(axis=1), confusion.sum(axis=0)
        return {
            "support": of_class.tolist(),
            "precision": (right / np.maximum(answered, 1)).tolist(),
            "recall": (right / np.maximum(of_class, 1)).tolist(),
            "f1": (2 * right / np.maximum(of_class + answered, 1)).tolist(),
        }

    def worst(self, n: int) -> NDArray[np.int64]:
        """Numbers of the rows answered wrongly, those most certain of the wrong class first; n at most."""
        rows = np.flatnonzero(self.truth != self.answer)
        return rows[np.argsort(-self.excess[rows], kind="stable")][:n]

    @property
    def excess(self) -> NDArray[Any]:
        """By how much the answer's output exceeds that of the true class; 0 for a right answer. Shape (n,)."""
        each = np.arange(len(self.truth))
        excess: NDArray[Any] = self.outputs[each, self.answer] - self.outputs[each, self.truth]
        return excess


def class_names(net: FeedForward) -> list[Any]:
    """Names of the classes that a network tells apart; their numbers where they have no names.

    Examples
    --------
    >>> import mlp
    >>> class_names(mlp.MLP([2, 1], loss="binary_cross_entropy"))
    [0, 1]
    """
    return list(range(max(net.sizes[-1], 2))) if net.classes is None else list(net.classes)
