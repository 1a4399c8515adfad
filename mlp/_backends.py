"""The only module of `mlp` that imports `backends`.

`backends` is a top-level package with a common name. A folder of that name beside a user's script would be
imported instead; then the check below raises an error that names the folder.
"""

import backends

if getattr(backends, "DISTRIBUTION", None) != "mlp":
    raise ImportError(
        f"`import backends` found {getattr(backends, '__file__', None) or list(backends.__path__)}, which is not the "
        "package that mlp installs under that name. Rename that file or folder, or start Python from another directory."
    )

from backends import (
    Backend,
    Status,
    Work,
    available,
    backpropagation,
    estimates,
    formulas,
    get_backend,
    limit_threads,
    peak_kernels,
    random,
    resolve,
    status,
)
from backends.checks import require_precision
from backends.environment import THREAD_VARIABLES, threads_of_environment, usable_processors
from backends.errors import (
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
from backends.float_warnings import callers_float_warnings, no_float_warnings
from backends.formulas import Activation
from backends.loop import Execution, StepParts, Trainer, all_finite
from backends.operations import Operations
from backends.plan import (
    PRECISIONS,
    SMOOTHED_LOSSES,
    BatchHook,
    Control,
    EpochPlan,
    EpochResult,
    Layout,
    NetworkPlan,
)
from backends.predictor import Predictor
from backends.row_orders import BlockShuffle, RowOrder, Shuffle

__all__ = [
    "PRECISIONS",
    "SMOOTHED_LOSSES",
    "THREAD_VARIABLES",
    "Activation",
    "Backend",
    "BackendUnavailableError",
    "BatchHook",
    "BlockShuffle",
    "ConfigurationError",
    "Control",
    "DataError",
    "DeviceMemoryError",
    "DivergenceError",
    "DtypeError",
    "EpochPlan",
    "EpochResult",
    "Execution",
    "FileFormatError",
    "GradientError",
    "Layout",
    "MLPError",
    "NetworkPlan",
    "NotDifferentiableError",
    "Operations",
    "Predictor",
    "RowOrder",
    "ShapeError",
    "Shuffle",
    "Status",
    "StepParts",
    "StorageError",
    "Trainer",
    "UnknownNameError",
    "Work",
    "WrongDeviceError",
    "all_finite",
    "available",
    "backpropagation",
    "callers_float_warnings",
    "estimates",
    "formulas",
    "get_backend",
    "limit_threads",
    "no_float_warnings",
    "peak_kernels",
    "random",
    "require_precision",
    "resolve",
    "status",
    "threads_of_environment",
    "usable_processors",
]
