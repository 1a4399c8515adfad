"""The data of ``mlp train`` and of the commands that prepare a training: the options, and how they are loaded."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from mlp.cli.options import READING_OPTIONS
from mlp.cli.printing import print_wrapped
from mlp.cli.reading_in_blocks import choose
from mlp.cli.training_options import COLUMN_OPTIONS

if TYPE_CHECKING:
    from mlp.data import Dataset, StreamedDataset

DATA_OPTIONS = (
    "data_dir", "target", "task", "scale", "test_fraction", "seed", "stream", *COLUMN_OPTIONS, *READING_OPTIONS,
)  # fmt: skip
"""The options that choose the data and the test part."""


def load_for_training(source: str, options: dict[str, Any]) -> tuple[Dataset | StreamedDataset, dict[str, Any]]:
    """The data set for the options of a command, and the arguments of `run_folders.load_data` for it, from any folder.

    What was decided about reading in blocks is printed before they are read, unless the options say ``quiet`` or
    ``as_json``.
    """
    from mlp import data
    from mlp.data.sources import names_npy_file
    from mlp.data.table_files import STANDARD_INPUT
    from mlp.io.run_folders import load_data

    arguments = {name: options[name] for name in ("target", "test_fraction", "seed", "task", "scale")}
    folder = options["data_dir"]
    if folder is None and source == "mnist":
        folder = os.environ.get("MLP_DATA")
    arguments |= {name: options[name] for name in COLUMN_OPTIONS if options[name]}
    arguments |= {name: options[name] for name in READING_OPTIONS if options[name] is not None}
    is_file = source not in (*data.SOURCE_NAMES, STANDARD_INPUT)
    target = options["target"]
    if is_file and (names_npy_file(target) or (target and os.path.isdir(source) and os.path.isdir(target))):
        arguments["target"] = os.path.abspath(target)
    arguments |= {
        "source": os.path.abspath(source) if is_file else source,
        "data_dir": os.path.abspath(folder) if folder else folder,  # "" is refused when the data are read
    }
    in_blocks, reason = choose(source, options)
    silent = options.get("quiet") or options.get("as_json")
    if in_blocks:
        arguments["stream"] = True
        if not silent:
            print_wrapped("reading", reason)
    # the paths as typed, for error messages
    typed = {"source": source, "target": target}
    return load_data(arguments | typed, progress=shows_progress(options)), arguments


def shows_progress(options: dict[str, Any]) -> bool:
    """Whether a command shows on stderr how much is read: in a terminal, unless it is to be quiet."""
    return sys.stderr.isatty() and not options.get("quiet")


def training_rows(dataset: Dataset | StreamedDataset) -> int:
    """Number of rows of the training part."""
    from mlp.data import StreamedDataset

    return dataset.train.n_rows if isinstance(dataset, StreamedDataset) else len(dataset.X)


def test_rows(data: Dataset | StreamedDataset) -> int:
    """Number of rows of the test part; 0 if there is none."""
    from mlp.data import StreamedDataset

    if isinstance(data, StreamedDataset):
        return 0 if data.test is None else data.test.n_rows
    return 0 if data.X_test is None else len(data.X_test)


def in_memory(dataset: Dataset | StreamedDataset, seed: int) -> tuple[Dataset, str]:
    """The data set, or a sample of its training rows if it is read in blocks, and a sentence about the sample.

    The sample has the rows that an epoch begins with, which are in memory together: some blocks, drawn at random.
    """
    from mlp._backends import BlockShuffle
    from mlp.data import Dataset, StreamedDataset

    if not isinstance(dataset, StreamedDataset):
        return dataset, ""
    import numpy as np

    stream = dataset.train
    order = BlockShuffle(seed, 0, stream.block_rows, stream.window_rows)
    window = next(order.windows())
    X, y = zip(*(stream.read(int(block)) for block in window.blocks), strict=True)
    inputs, targets = np.concatenate(X)[window.order], np.concatenate(y)[window.order]
    sample = Dataset(
        dataset.name, inputs, targets, task=dataset.task, classes=dataset.classes, input_scale=dataset.input_scale,
        preprocessing=dataset.preprocessing, feature_names=dataset.feature_names, target_names=dataset.target_names,
        task_reason=dataset.task_reason, notes=dataset.notes,
    )  # fmt: skip
    return sample, f"{len(inputs):,} of {stream.n_rows:,} training rows, in blocks drawn at random"


def first_rows(dataset: Dataset | StreamedDataset, count: int) -> tuple[Any, Any]:
    """X and y of the first rows of the training part."""
    from mlp.data import StreamedDataset
    from mlp.data.streams import chunks

    if isinstance(dataset, StreamedDataset):
        return chunks.first_rows(dataset.train, count)
    return dataset.X[:count], dataset.y[:count]
