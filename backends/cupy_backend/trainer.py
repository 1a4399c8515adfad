"""`GraphTrainer`: trains with CUDA graphs of whole steps, or with `backends.loop` if they cannot run a plan."""

from __future__ import annotations

import logging
from collections import deque
from typing import TYPE_CHECKING, Any

import numpy as np

from backends.cupy_backend.cublas import WORKSPACE, Cublas
from backends.cupy_backend.device_arrays import (
    Buffers,
    EpochTables,
    fits,
    host_words,
    in_flight_limit,
    padded_rows,
    shuffle_shift,
)
from backends.cupy_backend.device_memory import explained
from backends.cupy_backend.formula_translator import TranslationError
from backends.cupy_backend.kernel_source import THREADS, KernelOptions, kernel_source
from backends.cupy_backend.step import Step, StepArrays, settings_of
from backends.loop import Trainer
from backends.plan import BatchHook, Control, EpochPlan, EpochResult, Shuffle

if TYPE_CHECKING:
    from backends.cupy_backend.backend import CupyBackend

logger = logging.getLogger("mlp")
