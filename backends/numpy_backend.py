"""The NumPy backend: the portable implementation, and the reference for the results of all backends."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from backends import formulas
from backends._status import Status
from backends.base import Backend
from backends.formulas import Activation
from backends.plan import Array
from backends.predictor import BYTES, Predictor


class NumpyBackend(Backend):
    """The portable implementation with `numpy` as its namespace."""

    name = "numpy"

    def __init__(self) -> None:
        super().__init__(np, erfc=formulas.erfc)

    def predictor(
        self,
        layers: Sequence[tuple[Array, Array, str | Activation]],
        factors: Array | None = None,
        input_scale: float = 1.0,
    ) -> Predictor:
        return _NumpyPredictor(self, layers, factors, input_scale)


class _NumpyPredictor(Predictor):
    """For a single row, the checks of `dense` would take longer than its arithmetic; here they are made once."""

    def _layer(self, x: Array, W: Array, b: Array, activation: Activation) -> Array:
        if activation.custom:  # its result must be checked
            return super()._layer(x, W, b, activation)
        z = np.matmul(x, W)
        z += b
        return self._activate(z, activation)

    def _activate(self, z: Array, activation: Activation) -> Array:
        if activation.custom:
            return super()._activate(z, activation)
        return self.xp._formula(activation.forward)(z).astype(z.dtype, copy=False)

    def _sum_is_finite(self, x: Array) -> bool:
        return x.dtype == BYTES or math.isfinite(np.add.reduce(x, axis=None))


def probe() -> Status:
    """NumPy is always usable."""
    return Status(usable=True, devices=("cpu",), version=np.__version__)


def create(device: str) -> Backend:
    """Return the backend; `device` is always ``"cpu"``."""
    return NumpyBackend()


__all__ = ["NumpyBackend", "create", "probe"]
