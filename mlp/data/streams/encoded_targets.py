"""The task of a stream, and how its targets are encoded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlp._backends import DataError
from mlp.data.dataset import Task
from mlp.data.streams.target_statistics import TargetStatistics

MAX_CLASSES = 2**16
"""Most different targets that are counted."""


@dataclass(frozen=True)
class EncodedTargets:
    """How the targets of a stream are encoded.

    Attributes
    ----------
    task : {"classification", "regression"}
    reason : str
        Why it is this task.
    where : str
        The targets, for error messages.
    classes : tuple or None
        The labels, sorted.
    class_counts : ndarray of int64, shape (n_classes,), or None
        Rows of each class in the training part.
    statistics : TargetStatistics or None
        Of a regression.
    is_one_hot : bool
        Whether the classes are the columns of a matrix.
    """

    task: Task
    reason: str
    where: str
    classes: tuple[Any, ...] | None = None
    class_counts: NDArray[np.int64] | None = None
    statistics: TargetStatistics | None = None
    is_one_hot: bool = False

    def encode(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return class numbers, int64, or the numbers of a regression as floating-point numbers.

        Parameters
        ----------
        values : ndarray of shape (n,) or (n, k)

        Raises
        ------
        DataError
            If there is a label that the data did not have when they were first read.
        """
        if self.classes is None:
            return values if values.dtype.kind == "f" else values.astype(np.float64)
        if self.is_one_hot:
            places: NDArray[np.int64] = values.argmax(axis=1).astype(np.int64)
            return places
        if values.dtype.kind == "O":
            numbers = {label: number for number, label in enumerate(self.classes)}
            listed = [numbers.get(label, -1) for label in values.tolist()]
            if -1 in listed:
                raise self._unknown()
            return np.array(listed, np.int64)
        if values.dtype.kind == "f":
            values = values.astype(np.float64)
        labels = np.array(self.classes)
        codes = np.minimum(np.searchsorted(labels, values), len(labels) - 1).astype(np.int64)
        if (labels[codes] != values).any():
            raise self._unknown()
        return codes

    def _unknown(self) -> DataError:
        return DataError(f"{self.where} has labels now that it did not have before; read the data again")
