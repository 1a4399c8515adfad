"""`Dataset`: the result of every loader and the input of every training run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mlp._backends import ConfigurationError, ShapeError
from mlp.checks import refuse_masked
from mlp.data.preparation import Note
from mlp.data.preprocessing import Preprocessing

Task = Literal["classification", "regression"]


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """A named data set, split into a training and a test part.

    Attributes
    ----------
    name : str
        The source: ``"digits"``, ``"moons"``, the path of a file, ...
    X : ndarray of shape (n, n_in)
        Training inputs, one row per sample.
    y : ndarray of shape (n,) or (n, k)
        Classification: int64 indices into `classes`.  Regression: floating-point targets.
    X_test, y_test : ndarray or None
        The test part, with the same columns and dtypes; None if there is none.
    task : {"classification", "regression"}
        The meaning of `y`.
    classes : tuple or None
        The labels of the source, sorted; None for regression.
    input_scale : float or None
        Factor by which a model multiplies `X`, so that images can stay uint8 in memory.
    preprocessing : Preprocessing or None
        Fitted on the training part and already applied to both parts.
    feature_names : tuple of str
        One name per column of `X`; ``x0, x1, ...`` if the source has no names.
    target_names : tuple of str
        The target columns of a table; empty for other sources.
    rows, rows_test : ndarray of int or None
        The rows of the source, counted from 0, that the rows of `X` and `X_test` are; None if it has two parts.
    task_reason : str
        Why `task` was chosen.
    notes : tuple of Note
        What was done with the columns and rows of a table: which were left out, and what was read as missing.

    Raises
    ------
    ShapeError
        If the numbers of rows, columns or names do not match.
    ConfigurationError
        If `classes` is given for regression, or missing for classification.

    Examples
    --------
    >>> import numpy as np
    >>> data = Dataset("two points", np.array([[0.0, 1.0], [1.0, 0.0]]), np.array([0, 1]), classes=("left", "right"))
    >>> data
    <Dataset 'two points': classification, 2 training rows, no test rows, 2 inputs, 2 outputs>
    >>> data.feature_names
    ('x0', 'x1')
    """

    name: str
    X: NDArray[Any]
    y: NDArray[Any]
    X_test: NDArray[Any] | None = None
    y_test: NDArray[Any] | None = None
    task: Task = "classification"
    classes: tuple[str | int | float | bool, ...] | None = None
    input_scale: float | None = None
    preprocessing: Preprocessing | None = None
    feature_names: tuple[str, ...] = field(default=())
    target_names: tuple[str, ...] = ()
    rows: NDArray[np.intp] | None = None
    rows_test: NDArray[np.intp] | None = None
    task_reason: str = ""
    notes: tuple[Note, ...] = ()

    def __post_init__(self) -> None:
        self._check_part("X", self.X, "y", self.y)
        if (self.X_test is None) != (self.y_test is None):
            raise ShapeError(f"data set {self.name!r}: X_test and y_test must be given together; one is missing")
        if self.X_test is not None and self.y_test is not None:
            self._check_part("X_test", self.X_test, "y_test", self.y_test)
            if self.X_test.shape[1] != self.X.shape[1] or self.y_test.shape[1:] != self.y.shape[1:]:
                raise ShapeError(
                    f"data set {self.name!r}: training part X {self.X.shape}, y {self.y.shape} and test part "
                    f"X_test {self.X_test.shape}, y_test {self.y_test.shape} must have the same columns"
                )
        if not self.feature_names:
            object.__setattr__(self, "feature_names", tuple(f"x{i}" for i in range(self.X.shape[1])))
        if len(self.feature_names) != self.X.shape[1]:
            raise ShapeError(
                f"data set {self.name!r}: {len(self.feature_names)} feature names for {self.X.shape[1]} columns of X"
            )
        if (self.task == "classification") != (self.classes is not None):
            raise ConfigurationError(
                f"data set {self.name!r}: task is {self.task!r} and classes is {self.classes!r}; give the labels for "
                "classification, or None for regression"
            )

    def _check_part(self, x_name: str, x: NDArray[Any], y_name: str, y: NDArray[Any]) -> None:
        for name, array in ((x_name, x), (y_name, y)):
            refuse_masked(f"data set {self.name!r}: {name}", array)
        if x.ndim != 2:
            raise ShapeError(
                f"data set {self.name!r}: {x_name} has shape {x.shape}, expected 2 dimensions (rows, inputs); "
                f"reshape it with {x_name}.reshape(len({x_name}), -1)"
            )
        if y.ndim not in (1, 2) or len(y) != len(x):
            raise ShapeError(
                f"data set {self.name!r}: {y_name} has shape {y.shape} and {x_name} {x.shape}; expected one target "
                f"for each of the {len(x)} rows"
            )

    @property
    def n_inputs(self) -> int:
        """Number of columns of `X`."""
        return int(self.X.shape[1])

    @property
    def n_outputs(self) -> int:
        """Number of classes, or of regression targets per row."""
        if self.classes is not None:
            return len(self.classes)
        return 1 if self.y.ndim == 1 else int(self.y.shape[1])

    def __repr__(self) -> str:
        test = "no" if self.X_test is None else str(len(self.X_test))
        return (
            f"<Dataset {self.name!r}: {self.task}, {len(self.X)} training rows, {test} test rows, "
            f"{self.n_inputs} input{'s' * (self.n_inputs != 1)}, {self.n_outputs} output{'s' * (self.n_outputs != 1)}>"
        )
