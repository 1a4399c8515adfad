"""Multilayer perceptrons that train fast on CPU or GPU behind one array interface.

>>> import mlp
>>> net = mlp.MLP([64, 64, 10], seed=0)
>>> digits = mlp.data.load("digits")
>>> history = net.fit(digits.X, digits.y, epochs=5)

The names below are loaded on first use, so that ``import mlp`` stays fast.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from mlp import _backends as _backends  # first: checks that `backends` is our package
from mlp._version import __version__ as __version__

_NAMES_BY_MODULE = {
    "mlp.model": ("MLP",),
    "mlp.estimators": ("MLPClassifier", "MLPRegressor", "TabularClassifier", "TabularRegressor"),
    "mlp.training": ("Callback", "EarlyStopping", "History", "Run"),
    "mlp.optimizers": ("Adagrad", "Adam", "AdamW", "GradientDescent", "Optimizer", "RMSprop", "SGD"),
    "mlp.custom": ("custom_activation", "custom_loss"),
    "mlp.io.checkpoints": ("Checkpoint",),
    "mlp.persistence": ("load",),
    "mlp.interchange": ("from_onnx", "from_sklearn", "from_torch"),
    "mlp.many_networks": ("fit_many",),
    "mlp.rate_finder": ("find_learning_rate",),
    "mlp.tuning": ("Tuning", "tune"),
    "mlp._backends": (
        "BackendUnavailableError",
        "ConfigurationError",
        "DataError",
        "DivergenceError",
        "DeviceMemoryError",
        "DtypeError",
        "FileFormatError",
        "GradientError",
        "MLPError",
        "NotDifferentiableError",
        "ShapeError",
        "StorageError",
        "UnknownNameError",
        "WrongDeviceError",
    ),
}
_MODULE_OF = {name: module for module, names in _NAMES_BY_MODULE.items() for name in names}
_MODULES = (
    "classic",
    "data",
    "distributed",
    "initializers",
    "optimizers",
    "persistence",
    "plots",
    "schedules",
    "trace",
    "training",
)

__all__ = [*sorted(_MODULE_OF), *_MODULES]


def __getattr__(name: str) -> Any:
    if name in _MODULE_OF:
        value = getattr(importlib.import_module(_MODULE_OF[name]), name)
    elif name in _MODULES:
        value = importlib.import_module(f"mlp.{name}")
    else:
        raise AttributeError(f"module 'mlp' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])


if TYPE_CHECKING:
    from mlp import classic, data, distributed, initializers, optimizers, persistence, plots, schedules, trace, training
    from mlp._backends import (
        BackendUnavailableError,
        ConfigurationError,
        DataError,
        DeviceMemoryError,
        DivergenceError,
        DtypeError,
        FileFormatError,
        GradientError,
        MLPError,
        NotDifferentiableError,
        ShapeError,
        StorageError,
        UnknownNameError,
        WrongDeviceError,
    )
    from mlp.custom import custom_activation, custom_loss
    from mlp.estimators import MLPClassifier, MLPRegressor, TabularClassifier, TabularRegressor
    from mlp.interchange import from_onnx, from_sklearn, from_torch
    from mlp.io.checkpoints import Checkpoint
    from mlp.many_networks import fit_many
    from mlp.model import MLP
    from mlp.optimizers import SGD, Adagrad, Adam, AdamW, GradientDescent, Optimizer, RMSprop
    from mlp.persistence import load
    from mlp.rate_finder import find_learning_rate
    from mlp.training import Callback, EarlyStopping, History, Run
    from mlp.tuning import Tuning, tune
