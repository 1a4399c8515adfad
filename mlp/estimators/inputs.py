"""What comes in: arrays of other libraries, and checked rows on the host."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split


def on_host(x: Any) -> Any:
    """`x` as scikit-learn's checks understand it.

    Arrays of a GPU and those that speak DLPack alone become NumPy arrays.  What scikit-learn reads itself is handed
    back as it is: arrays, lists, sparse matrices, and data frames, whose names of columns it remembers.
    """
    if hasattr(x, "__cuda_array_interface__") and hasattr(x, "get"):  # CuPy refuses to be converted unasked
        return x.get()
    on_gpu = hasattr(x, "__cuda_array_interface__")
    if hasattr(x, "__dlpack__") and (on_gpu or not hasattr(x, "__array__")):
        return np.from_dlpack(x, device="cpu") if on_gpu else np.from_dlpack(x)
    return x


def dense(X: Any) -> NDArray[Any]:
    """X itself, or a sparse matrix as a dense array."""
    return X.toarray() if scipy.sparse.issparse(X) else X  # type: ignore[no-any-return]


@dataclass
class Data:
    """Checked rows on the host: inputs, targets (n, n_out) as booleans or numbers, and weights if there are any."""

    X: NDArray[Any]
    y: NDArray[Any]
    weight: NDArray[Any] | None = None

    def split(self, fraction: float, rng: np.random.RandomState, stratify: NDArray[Any] | None) -> tuple[Data, Data]:
        """Rows to train on and rows to validate with, drawn by scikit-learn's `train_test_split`.

        Where the fraction comes to one row, which is too few for a score, two are taken; scikit-learn refuses that.
        """
        n = len(self.X)
        one = 0 < fraction * n <= 1
        if one and n < 3:
            raise ValueError(
                "The validation set is too small. Increase 'validation_fraction' or the size of your dataset: "
                f"n_samples={n} leaves none to train on."
            )
        arrays = [array for array in (self.X, self.y, self.weight) if array is not None]
        parts = train_test_split(*arrays, random_state=rng, test_size=2 if one else fraction, stratify=stratify)
        return Data(*parts[::2]), Data(*parts[1::2])
