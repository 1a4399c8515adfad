"""NumPy, the reference: the portable implementation as it stands.  What it computes is the definition."""

from __future__ import annotations

from typing import Any

import numpy as np

from backends import formulas
from backends._status import Status
from backends.base import Backend
from backends.plan import Array, BatchHook, Control, EpochPlan, EpochResult


class NumpyBackend(Backend):
    """The portable implementation, bound to `numpy`."""

    name = "numpy"

    def __init__(self) -> None:
        super().__init__(np, erfc=formulas.erfc)

    def train_epoch(
        self,
        plan: EpochPlan,
        X: Array,
        target: Array,
        weight: Array | None,
        params: Array,
        state: Array,
        control: Control | None = None,
        on_batch: BatchHook | None = None,
    ) -> EpochResult:
        # what overflows shows in the loss, and is reported there with its layer
        with np.errstate(all="ignore"):
            return super().train_epoch(plan, X, target, weight, params, state, control, on_batch)


def probe() -> Status:
    """NumPy is always there."""
    return Status(usable=True, devices=("cpu",), version=np.__version__)


def create(device: str) -> Backend:
    """The backend; `device` is always ``"cpu"``."""
    return NumpyBackend()


__all__: list[Any] = ["NumpyBackend", "create", "probe"]
