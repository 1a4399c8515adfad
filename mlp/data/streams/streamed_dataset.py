"""`StreamedDataset`: a data set that is read in blocks, in place of `Dataset`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from mlp.data.dataset import Task
from mlp.data.preparation import Note
from mlp.data.preprocessing import Preprocessing
from mlp.data.streams.row_stream import RowStream
from mlp.data.streams.target_statistics import TargetStatistics


@dataclass(frozen=True, eq=False, repr=False)
class StreamedDataset:
    """A named data set that is read in blocks, split into a training and a test part; the result of `mlp.data.stream`.

    Attributes
    ----------
    name : str
        The path.
    train : RowStream
        The training part: ``net.fit(data.train)``.
    test : RowStream or None
        The test part: ``net.evaluate(data.test)``.
    task : {"classification", "regression"}
    classes : tuple or None
        The labels of the source, sorted; None for regression.
    class_counts : ndarray of int64, shape (n_classes,), or None
        Training rows of each class.
    target_statistics : TargetStatistics or None
        Mean, standard deviation and range of the regression targets of the training part; None for classes.
    input_scale : float or None
        Factor by which a model multiplies the inputs, so that images can stay uint8.
    preprocessing : Preprocessing or None
        Fitted on the training part and applied to both parts.
    feature_names : tuple of str
        One name per input.
    target_names : tuple of str
        The target columns of a table; empty for other sources.
    task_reason : str
        Why `task` was chosen.
    notes : tuple of Note
        What was done with the columns of a table, and which statistics are those of a sample.
    """

    name: str
    train: RowStream
    test: RowStream | None
    task: Task
    classes: tuple[str | int | float | bool, ...] | None
    class_counts: NDArray[Any] | None
    target_statistics: TargetStatistics | None
    input_scale: float | None = None
    preprocessing: Preprocessing | None = None
    feature_names: tuple[str, ...] = ()
    target_names: tuple[str, ...] = ()
    task_reason: str = ""
    notes: tuple[Note, ...] = ()

    @property
    def n_inputs(self) -> int:
        """Number of inputs per row."""
        return self.train.n_inputs

    @property
    def n_outputs(self) -> int:
        """Number of classes, or of regression targets per row."""
        if self.classes is not None:
            return len(self.classes)
        assert self.target_statistics is not None
        return len(self.target_statistics.low)

    def __repr__(self) -> str:
        test = "no" if self.test is None else str(self.test.n_rows)
        return (
            f"<StreamedDataset {self.name!r}: {self.task}, {self.train.n_rows} training rows, {test} test rows, "
            f"{self.n_inputs} input{'s' * (self.n_inputs != 1)}, {self.n_outputs} output{'s' * (self.n_outputs != 1)}>"
        )
