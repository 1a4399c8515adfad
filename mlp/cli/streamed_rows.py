"""Rows of NPY files for a trained model, read in blocks and preprocessed as in training."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mlp import data
from mlp._backends import ConfigurationError, ShapeError, UnknownNameError
from mlp.cli.input_rows import PARTS, flattened, has_class_targets, load_rows, preprocess, run_config
from mlp.cli.options import READING_OPTIONS
from mlp.cli.printing import print_message
from mlp.cli.reading_in_blocks import choose
from mlp.cli.table_rows import Rows, encode_labels, warn_of_change
from mlp.data.arrays import column_number, without_column
from mlp.data.streams import RowStream
from mlp.data.streams.chunks import chunks, row_numbers, rows_per_chunk
from mlp.data.streams.in_order import in_order
from mlp.data.streams.npy_file import NpyFile
from mlp.io import run_folders
from mlp.network import CHUNK

if TYPE_CHECKING:
    from mlp.model import MLP


def choose_for_model(model: str, source: str, options: dict[str, Any]) -> str:
    """Why the rows of `source` are read in blocks for a command with a trained model; empty if they are not.

    The parts of the data of a run are those of its training, which depend on whether it read them in blocks.

    Raises
    ------
    ConfigurationError
        If ``--stream`` or ``--no-stream`` contradicts that.
    """
    part, asked, trained = options["part"], options["stream"], _training_on(model, source)
    if Path(source).suffix.lower() != ".npy":
        if asked or (trained and part != "all"):
            raise _not_npy(model, source, asked)
        return ""
    in_blocks, reason = choose(source, options)
    if part == "all" or trained is None:
        return reason if in_blocks else ""
    if trained and asked is False:
        raise ConfigurationError(
            f"--no-stream: {model!r} was trained on {source!r} in blocks, so its parts are only known in blocks; use "
            "--part all, or remove --no-stream"
        )
    if not trained and asked:
        raise ConfigurationError(
            f"--stream: {model!r} was trained on {source!r} in memory, so its parts are only known in memory; use "
            "--part all, or remove --stream"
        )
    return (reason or "in blocks, as in the training") if trained else ""


def _not_npy(model: str, source: str, asked: bool | None) -> ConfigurationError:
    if asked:
        return ConfigurationError(
            f"--stream: with a trained model only NPY files are read in blocks, and {source!r} is none; remove it"
        )
    return ConfigurationError(
        f"{model!r} was trained on {source!r} in blocks, and of tables that are read in blocks only mlp train knows "
        "the parts; results.json of the run has the scores of the test part; use --part all"
    )


def _training_on(model: str, source: str) -> bool | None:
    """Whether the run of a model read `source` in blocks; None if it was trained on other data."""
    trained_on = run_config(model).get("data", {})
    if not trained_on or trained_on["source"] != os.path.abspath(source):
        return None
    return bool(trained_on.get("stream"))


@dataclass(frozen=True)
class StreamedRows:
    """Inputs of a model and, if requested, the targets, which are read in blocks.

    Attributes
    ----------
    part : str
        ``"train"``, ``"test"`` or ``"all"``: the part of the data.
    count : int
        Number of rows of the part.
    n_rows : int
        Number of rows of the source.
    chunks : function
        Reads the rows: an iterator over `Rows`, in the order of the source, of some megabytes.
    stream : RowStream or None
        Inputs and targets as the model takes them; None without targets.
    """

    part: str
    count: int
    n_rows: int
    chunks: Callable[[], Iterator[Rows]]
    stream: RowStream | None = None


def some_rows(net: MLP, model: str, source: str, options: dict[str, Any]) -> Rows:
    """The rows of `load_rows` with their targets; of data that a run has read in blocks, only the first ones."""
    if not choose_for_model(model, source, options | {"stream": None}):
        return load_rows(net, model, source, options, with_targets=True)
    opened = open_rows(net, model, source, options, with_targets=True, progress=sys.stderr.isatty())
    rows = next(opened.chunks())
    if len(rows.X) < opened.count:
        part = "" if opened.part == "all" else f" of the {opened.part} part"
        print_message(
            f"{source} is read in blocks: only the first {len(rows.X):,} of {opened.count:,} rows{part} are used"
        )
    return rows


def open_rows(
    net: MLP, model: str, source: str, options: dict[str, Any], *, with_targets: bool, progress: bool
) -> StreamedRows:
    """Open an NPY file for `net`; see `mlp.cli.input_rows.load_rows`, whose arguments these are."""
    part, target = options["part"], options["target"]
    if part is not None and part not in PARTS:
        raise UnknownNameError.among("part", part, PARTS)
    for name in (*READING_OPTIONS, "keep"):
        if options.get(name):
            raise ConfigurationError(f"--{name} is of tables and does not apply to {source!r}; remove it")
    config = run_config(model)
    is_run_data = _training_on(model, source) is not None
    if part is None:
        part = "test" if is_run_data and config["data"].get("test_fraction", 0.2) else "all"
    if not with_targets and part == "all":
        return _inputs(net, source, target)
    return _inputs_and_targets(net, source, part, target, config, is_run_data=is_run_data, progress=progress)


def _inputs(net: MLP, source: str, target: str | None) -> StreamedRows:
    file = NpyFile(source)
    n, column = file.shape[0], None
    if target is not None:
        if len(file.shape) != 2:
            raise ShapeError(f"{source!r} has shape {file.shape}, expected (rows, columns)")
        column = column_number(target, file.shape[1], repr(source))
    step = rows_per_chunk(file.row_bytes, CHUNK)

    def read(first: int) -> NDArray[Any]:
        return file.read(first, min(first + step, n))

    def rows() -> Iterator[Rows]:
        firsts = range(0, n, step)
        for first, X in zip(firsts, in_order(read, firsts, threads=1, ahead=1), strict=True):
            inputs = flattened(X) if column is None else without_column(X, column)
            yield Rows(preprocess(net, inputs), None, "all", np.arange(first, first + len(X)), n)

    return StreamedRows("all", n, n, rows)


def _inputs_and_targets(
    net: MLP,
    source: str,
    part: str,
    target: str | None,
    config: dict[str, Any],
    *,
    is_run_data: bool,
    progress: bool,
) -> StreamedRows:
    run_data: dict[str, Any] = config.get("data", {})
    task: data.dataset.Task = "classification" if has_class_targets(net) else "regression"
    if is_run_data and target is None:
        task = run_folders.task_of(config)
    chosen = run_data.get("target") if target is None else target
    opened = data.stream(source, target=chosen, task=task, test_fraction=0, progress=progress)
    whole = opened.train
    fraction, seed = run_data.get("test_fraction", 0.2), run_data.get("seed", net.seed)
    train, test = whole.split(fraction, seed) if fraction else (whole, None)
    if is_run_data and target is None and run_data.get("stream"):
        warn_of_change(run_folders.fingerprint_of_stream(train) == config["data_sha256"], source)
    chosen_part = {"train": train, "test": test, "all": whole}[part]
    if chosen_part is None:
        raise ConfigurationError(f"{source!r} has no test part; use --part all")
    stream = _ForModel(net, chosen_part, opened.classes, repr(source))

    def rows() -> Iterator[Rows]:
        numbers, waiting = row_numbers(chosen_part, whole), np.empty(0, np.int64)
        for X, y in chunks(stream, CHUNK):
            while len(waiting) < len(X):
                waiting = np.concatenate([waiting, next(numbers)])
            yield Rows(X, y, part, waiting[: len(X)], whole.n_rows)
            waiting = waiting[len(X) :]

    return StreamedRows(part, chosen_part.n_rows, whole.n_rows, rows, stream)


class _ForModel(RowStream):
    """A stream with the preprocessing and the classes of a model.

    Parameters
    ----------
    net : MLP
    stream : RowStream
    classes : tuple or None
        Those of the stream.
    where : str
        The source, for error messages.
    """

    def __init__(self, net: MLP, stream: RowStream, classes: tuple[Any, ...] | None, where: str) -> None:
        self._net, self._stream, self._classes, self._where = net, stream, classes, where
        self.name, self.block_rows = stream.name, stream.block_rows
        self.is_bytes = stream.is_bytes and net.preprocessing is None
        self.n_inputs = stream.n_inputs
        self._codes: NDArray[np.int64] | None = None
        if classes is not None and net.classes is not None and classes != net.classes:
            known = {label: code for code, label in enumerate(net.classes)}
            self._codes = np.array([known.get(label, -1) for label in classes], np.int64)

    @property
    def fingerprint(self) -> str:
        return self._stream.fingerprint

    def read(self, block: int) -> tuple[NDArray[Any], NDArray[Any]]:
        X, y = self._stream.read(block)
        X = preprocess(self._net, X)
        if self._codes is None:
            return X, y
        codes = self._codes[y]
        if (codes < 0).any():
            assert self._classes is not None
            first = int(self.block_rows[:block].sum())
            labels = [self._classes[code] for code in y.tolist()]
            encode_labels(self._net, labels, self._where, np.arange(first, first + len(y)))  # raises the error
        return X, codes
