"""Targets that come in blocks of an array: the task, the classes and the statistics, as `encode_targets` has them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mlp._backends import DataError, ShapeError
from mlp.data.dataset import Task
from mlp.data.streams.encoded_targets import MAX_CLASSES, EncodedTargets
from mlp.data.streams.row_numbers import FaultyRows
from mlp.data.streams.target_statistics import TargetStatistics
from mlp.data.targets import (
    NOT_WHOLE,
    check_are_classes,
    check_task,
    no_numbers,
    not_finite,
    not_one_hot,
    one_hot_error,
    require_two_classes,
    task_of_whole_numbers,
)


class ArrayTargets:
    """What the targets of an array are, found block by block.

    Parameters
    ----------
    dtype : dtype
        Of the targets: real numbers, booleans or objects.
    shape : tuple of int
        Of all of them: (n,) or (n, k).
    where : str
        The targets, for error messages.
    task : {"classification", "regression"} or None
        The task; None chooses it.
    labels : {"text", "boolean"} or None
        What objects are; the dtype is that of objects then.
    few_are_classes : bool
        Whether numbers may be classes even if they are floating-point numbers, as `choose_task` says; otherwise the
        dtype decides, as in `encode_targets`.
    """

    def __init__(
        self,
        dtype: np.dtype[Any],
        shape: tuple[int, ...],
        where: str,
        task: Task | None,
        *,
        labels: Literal["text", "boolean"] | None = None,
        few_are_classes: bool,
    ) -> None:
        check_task(task)
        if len(shape) not in (1, 2) or 0 in shape:
            raise ShapeError(f"{where} has shape {shape}, expected one target per row: (n,) or (n, k)")
        self._dtype, self._shape, self._where, self._task, self._labels = dtype, shape, where, task, labels
        self._chooses = few_are_classes and dtype.kind in "iuf"
        self._is_matrix = len(shape) == 2
        # by number of rows: of all rows, and of the training part
        self._counts: dict[Any, list[int]] | None = {}
        self._whole = True
        self._faulty, self._not_one_hot = FaultyRows(), FaultyRows()
        self._statistics = TargetStatistics(shape[1] if self._is_matrix else 1)

    def add(self, values: NDArray[Any], first: int, training: NDArray[np.bool_]) -> None:
        """Add the targets of a block, the number of its first row, and a mask of the rows of the training part."""
        if self._labels is not None:
            in_training = Counter(values[training].tolist())
            self._add_counts({label: (n, in_training[label]) for label, n in Counter(values.tolist()).items()})
            return
        matrix = values.reshape(len(values), -1)
        if values.dtype.kind == "f":
            self._faulty.add(~np.isfinite(matrix).all(axis=1), first)
        if self._task != "classification":
            self._statistics.add(matrix[training])
        if self._task == "regression":
            return
        if self._is_matrix:
            self._not_one_hot.add(not_one_hot(matrix), first)
            places = matrix.argmax(axis=1)
            self._count(places, training)
            return
        if values.dtype.kind == "f":
            values = values.astype(np.float64)
            self._whole = self._whole and bool((values == np.floor(values)).all())
        self._count(values, training)

    def _count(self, values: NDArray[Any], training: NDArray[np.bool_]) -> None:
        if self._counts is None or (self._task is None and not self._whole):
            return  # there are too many, or they will not be classes
        distinct, codes = np.unique(values, return_inverse=True)
        counts = np.bincount(codes), np.bincount(codes[training], minlength=len(distinct))
        self._add_counts(dict(zip(distinct.tolist(), zip(*map(np.ndarray.tolist, counts), strict=True), strict=True)))

    def _add_counts(self, counts: Mapping[Any, tuple[int, int]]) -> None:
        if self._counts is None:
            return
        for value, (n, n_training) in counts.items():
            known = self._counts.setdefault(value, [0, 0])
            known[0] += n
            known[1] += n_training
        if len(self._counts) > MAX_CLASSES:
            self._counts = None

    def finish(self) -> EncodedTargets:
        """Return the task and the encoding.

        Raises
        ------
        DataError
            If targets are missing or infinite, there is one class only or more than can be counted, or integers look
            like targets of a regression.
        ShapeError
            If a matrix of classes is not one-hot.
        """
        where, n_rows = self._where, self._shape[0]
        if self._faulty:
            raise not_finite(str(self._faulty), where)
        task, reason = self._choose()
        if task == "regression":
            if self._dtype.kind not in "iuf":
                raise no_numbers(self._labels or "boolean", where)
            return EncodedTargets(task, reason, where, statistics=self._statistics)
        if self._is_matrix:
            if self._not_one_hot:
                raise one_hot_error(self._shape, str(self._not_one_hot), where)
            classes: tuple[Any, ...] = tuple(range(self._shape[1]))
        elif self._counts is None:
            raise DataError(
                f"{where} has more than {MAX_CLASSES:,} different values, too many for classes; set task='regression', "
                "or choose another target"
            )
        else:
            if self._task is None and not self._chooses and self._dtype.kind in "iu":
                check_are_classes(len(self._counts), n_rows, where)
            classes = tuple(sorted(self._counts))
        require_two_classes(classes, where)
        counts = np.array([(self._counts or {}).get(label, (0, 0))[1] for label in classes], np.int64)
        return EncodedTargets(task, reason, where, classes=classes, class_counts=counts, is_one_hot=self._is_matrix)

    def _choose(self) -> tuple[Task, str]:
        if self._task is not None:
            return self._task, "as asked"
        if self._labels is not None:
            return "classification", "text" if self._labels == "text" else "true and false"
        if not self._chooses:
            return "regression" if self._dtype.kind == "f" else "classification", ""
        if not self._whole:
            return NOT_WHOLE
        if self._counts is None:
            return "regression", f"more than {MAX_CLASSES:,} different whole numbers"
        return task_of_whole_numbers(len(self._counts), self._shape[0], is_float=self._dtype.kind == "f")
