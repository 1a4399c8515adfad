"""The data of ``mlp train`` and of the commands that prepare a training: the options, and how they are loaded."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from mlp.cli.options import READING_OPTIONS
from mlp.cli.training_options import COLUMN_OPTIONS

if TYPE_CHECKING:
    from mlp.data import Dataset

DATA_OPTIONS = ("data_dir", "target", "task", "scale", "test_fraction", "seed", *COLUMN_OPTIONS, *READING_OPTIONS)
"""The options that choose the data and the test part."""


def load_for_training(source: str, options: dict[str, Any]) -> tuple[Dataset, dict[str, Any]]:
    """The data set for the options of a command, and the arguments of `mlp.data.load` that load it from any folder."""
    from mlp import data
    from mlp.data.table_files import STANDARD_INPUT

    arguments = {name: options[name] for name in ("target", "test_fraction", "seed", "task", "scale")}
    folder = options["data_dir"]
    if folder is None and source == "mnist":
        folder = os.environ.get("MLP_DATA")
    arguments |= {name: options[name] for name in COLUMN_OPTIONS if options[name]}
    arguments |= {name: options[name] for name in READING_OPTIONS if options[name] is not None}
    is_file = source not in (*data.SOURCE_NAMES, STANDARD_INPUT)
    arguments |= {
        "source": os.path.abspath(source) if is_file else source,
        "data_dir": os.path.abspath(folder) if folder else folder,  # "" is refused when the data are read
    }
    return data.load(**arguments | {"source": source}), arguments  # the path as typed, for error messages
