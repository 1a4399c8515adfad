"""The forward pass of a fitted estimator: its outputs, and the activations of its last hidden layer."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted, validate_data

from mlp._backends import Activation, Predictor, Work, get_backend, no_float_warnings, resolve
from mlp.estimators.inputs import dense, to_host
from mlp.finite_outputs import first_layer_not_finite, outputs_if_finite, require_finite_outputs

FLOATS = (np.float64, np.float32)

CHUNK = 1024
"""Rows per forward pass: with more, allocating memory takes longer than the matrix products."""


class ForwardPassMixin:
    """Computes outputs from the fitted arrays `coefs_` and `intercepts_`, which users may assign."""

    backend: str
    device: str | None
    dtype: Any
    coefs_: list[NDArray[Any]]
    intercepts_: list[NDArray[Any]]
    out_activation_: str | Activation

    @abstractmethod
    def _hidden_activations(self, count: int) -> list[str | Activation]:
        """The activations of `count` hidden layers, by their names in `mlp`."""

    def _forward(self, X: Any, last: int | None = None) -> NDArray[Any]:
        """The network's outputs, shape (n, n_outputs); with `last` those of another layer, numbered as in a slice."""
        y = self._usual_outputs(X, last)
        return self._checked_outputs(X, last) if y is None else y

    def _usual_outputs(self, X: Any, last: int | None = None) -> NDArray[Any] | None:
        """The outputs for rows in which scikit-learn's checks would find nothing to report or to convert, else None.

        For a single row, its checks take several times as long as the arithmetic.
        """
        fitted = vars(self)
        if (
            type(X) is not np.ndarray
            or X.ndim != 2
            or X.dtype not in FLOATS
            or not len(X)
            or fitted.get("n_features_in_") != X.shape[1]
            or "coefs_" not in fitted
            or "feature_names_in_" in fitted  # then it gives a warning
        ):
            return None
        predictor = self._predictor(X, last)
        if predictor.xp.namespace is not np:
            return None
        return outputs_if_finite(predictor, X, CHUNK)

    def _checked_outputs(self, X: Any, last: int | None = None) -> NDArray[Any]:
        check_is_fitted(self)
        X = dense(validate_data(self, to_host("X", X), accept_sparse=["csr", "csc"], reset=False))
        predictor = self._predictor(X, last)
        xp, dtype = predictor.xp, predictor.dtype
        with no_float_warnings():
            step = len(X) if predictor.in_blocks and X.dtype == dtype else CHUNK
            parts = [X[first : first + step] for first in range(0, len(X), step)]
            out = np.concatenate([xp.to_numpy(predictor(xp.asarray(rows, dtype=dtype))) for rows in parts])
            require_finite_outputs(
                out, lambda row: first_layer_not_finite(xp, xp.asarray(X[row : row + 1], dtype=dtype), predictor.layers)
            )
        return out

    def _predictor(self, X: NDArray[Any], last: int | None = None) -> Predictor:
        """Computes the outputs for rows such as those of X, on the backend that is best for so many."""
        dtype = np.dtype(self.dtype or np.result_type(X, self.coefs_[0]))
        dtype = dtype if dtype in FLOATS else np.dtype(np.float64)
        n, sizes = len(X), (X.shape[1], *(len(b) for b in self.intercepts_))
        work = Work(sizes, rows=n, batch_size=min(n, CHUNK), itemsize=dtype.itemsize, prediction=True)
        name, device, _ = resolve(self.backend, "auto" if self.device is None else self.device, work=work)
        xp = get_backend(name, device)
        names = (*self._hidden_activations(len(self.coefs_) - 1), mlp_name(self.out_activation_))
        # the arrays can be assigned or changed at any time, so no predictor is kept
        return xp.predictor(
            [
                (xp.asarray(W, dtype=dtype), xp.asarray(b, dtype=dtype), name)
                for W, b, name in list(zip(self.coefs_, self.intercepts_, names, strict=True))[:last]
            ]
        )


def mlp_name(activation: str | Activation) -> str | Activation:
    """The name in `mlp` of an activation; scikit-learn's ``"logistic"`` is ``"sigmoid"``."""
    return "sigmoid" if activation == "logistic" else activation
