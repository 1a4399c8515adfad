"""Input conversion: arrays of other libraries to NumPy, and the checked data of a fit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split

from mlp.checks import refuse_masked


def to_host(name: str, x: Any) -> Any:
    """Convert `x` to a type that scikit-learn's input checks accept.

    GPU arrays, and arrays that support only DLPack, become NumPy arrays.  Everything else is returned unchanged, since
    scikit-learn reads it itself: arrays, lists, sparse matrices, and data frames (it stores their column names).

    Raises
    ------
    DataError
        If it is a masked array with masked values; scikit-learn would ignore the mask.
    """
    refuse_masked(name, x)
    if hasattr(x, "__cuda_array_interface__") and hasattr(x, "get"):  # CuPy refuses implicit conversion
        return x.get()
    on_gpu = hasattr(x, "__cuda_array_interface__")
    if hasattr(x, "__dlpack__") and (on_gpu or not hasattr(x, "__array__")):
        return np.from_dlpack(x, device="cpu") if on_gpu else np.from_dlpack(x)
    return x


def dense(X: Any) -> NDArray[Any]:
    """Convert a sparse matrix to a dense array; return any other X unchanged."""
    return X.toarray() if scipy.sparse.issparse(X) else X  # type: ignore[no-any-return]


@dataclass
class Data:
    """Checked data on the host.

    Attributes
    ----------
    X : ndarray, shape (n, n_features)
    y : ndarray, shape (n, n_outputs)
        Targets: booleans for a classifier, numbers for a regressor.
    weight : ndarray, shape (n,), or None
        Sample weights.
    """

    X: NDArray[Any]
    y: NDArray[Any]
    weight: NDArray[Any] | None = None

    def split(self, fraction: float, rng: np.random.RandomState, stratify: NDArray[Any] | None) -> tuple[Data, Data]:
        """Split into training and validation data with scikit-learn's `train_test_split`.

        If `fraction` gives a single validation row, too few for a score, two are used; scikit-learn raises an error.

        Raises
        ------
        ValueError
            If no row is left for training.
        """
        n = len(self.X)
        single_row = 0 < fraction * n <= 1
        if single_row and n < 3:
            raise ValueError(
                "The validation set is too small. Increase 'validation_fraction' or the size of your dataset: "
                f"n_samples={n} leaves no rows for training."
            )
        arrays = [array for array in (self.X, self.y, self.weight) if array is not None]
        parts = train_test_split(*arrays, random_state=rng, test_size=2 if single_row else fraction, stratify=stratify)
        return Data(*parts[::2]), Data(*parts[1::2])
