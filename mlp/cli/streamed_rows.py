"""Rows of NPY and Parquet files for a trained model, read in blocks and preprocessed as in training."""

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
from mlp.cli.streamed_tables import TableForModel
from mlp.cli.table_rows import Rows, encode_labels, warn_of_change
from mlp.data.arrays import column_number, without_column
from mlp.data.streams import RowStream
from mlp.data.streams.chunks import chunks, row_numbers, rows_per_chunk
from mlp.data.streams.held_out_part import split_off
from mlp.data.streams.in_order import in_order
from mlp.data.streams.npy_parts import NpyParts
from mlp.data.streams.opening import find_parts
from mlp.io import run_folders
from mlp.network import CHUNK

if TYPE_CHECKING:
    from mlp.model import MLP


def choose_for_model(net: MLP, model: str, source: str, options: dict[str, Any]) -> str:
    """Why the rows of `source` are read in blocks for a command with a trained model; empty if they are not.

    The parts of the data of a run are those of its training, which depend on whether it read them in blocks.

    Raises
    ------
    ConfigurationError
        If ``--stream`` or ``--no-stream`` contradicts that.
    """
    part, asked, trained = options["part"], options["stream"], _training_on(model, source)
    in_blocks, reason = choose(source, options)
    if in_blocks and _kind(source) == ".parquet" and not _reads_raw_tables(net):
        if asked or Path(source).is_dir():
            raise ConfigurationError(
                f"{source!r} cannot be read in blocks for {model!r}, which was not trained on a table file; give a "
                "single file without --stream"
            )
        return ""
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


def _kind(source: str) -> str:
    """The suffix of a file that can be read in blocks, or of those in a folder."""
    return find_parts(source)[0]


def _reads_raw_tables(net: MLP) -> bool:
    return net.preprocessing is not None and net.preprocessing.preparation is not None


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
    n_without_target : int
        Number of rows of the source that were left out because they have no target.
    warn : function
        Logs what was found in the rows that have been read, such as unknown categories; to be called once, at the end.
    """

    part: str
    count: int
    n_rows: int
    chunks: Callable[[], Iterator[Rows]]
    stream: RowStream | None = None
    n_without_target: int = 0
    warn: Callable[[], None] = lambda: None


def some_rows(net: MLP, model: str, source: str, options: dict[str, Any]) -> Rows:
    """The rows of `load_rows` with their targets; of data that a run has read in blocks, only the first ones."""
    if not choose_for_model(net, model, source, options | {"stream": None}):
        return load_rows(net, model, source, options, with_targets=True)
    opened = open_rows(net, model, source, options, with_targets=True, progress=sys.stderr.isatty())
    rows = next(opened.chunks())
    opened.warn()
    if len(rows.X) < opened.count:
        part = "" if opened.part == "all" else f" of the {opened.part} part"
        print_message(
            f"{source} is read in blocks: only the first {len(rows.X):,} of {opened.count:,} rows{part} are used"
        )
    return rows


def open_rows(
    net: MLP, model: str, source: str, options: dict[str, Any], *, with_targets: bool, progress: bool
) -> StreamedRows:
    """Open a source for `net`; see `mlp.cli.input_rows.load_rows`, whose arguments these are."""
    part, target = options["part"], options["target"]
    if part is not None and part not in PARTS:
        raise UnknownNameError.among("part", part, PARTS)
    is_table = _kind(source) == ".parquet"
    for name in READING_OPTIONS:
        if options.get(name):
            raise ConfigurationError(f"--{name} is of CSV and TSV files and does not apply to {source!r}; remove it")
    keep = options.get("keep") or []
    if keep and not is_table:
        raise ConfigurationError(f"--keep names columns of a table and does not apply to {source!r}; remove it")
    config = run_config(model)
    is_run_data = _training_on(model, source) is not None
    if part is None:
        part = "test" if is_run_data and config["data"].get("test_fraction", 0.2) else "all"
    if is_table:
        return _table_rows(
            net, source, part, target, keep, config,
            with_targets=with_targets or part != "all", is_run_data=is_run_data, progress=progress,
        )  # fmt: skip
    if not with_targets and part == "all":
        return _inputs(net, source, target)
    return _inputs_and_targets(net, source, part, target, config, is_run_data=is_run_data, progress=progress)


def _inputs(net: MLP, source: str, target: str | None) -> StreamedRows:
    matrix = NpyParts(source)
    n, column = matrix.shape[0], None
    if target is not None:
        if len(matrix.shape) != 2:
            raise ShapeError(f"{source!r} has shape {matrix.shape}, expected (rows, columns)")
        column = column_number(target, matrix.shape[1], repr(source))
    step = rows_per_chunk(matrix.row_bytes, CHUNK)

    def read(first: int) -> NDArray[Any]:
        return matrix.read(first, min(first + step, n))

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


def _table_rows(
    net: MLP,
    source: str,
    part: str,
    target: str | None,
    keep: list[str],
    config: dict[str, Any],
    *,
    with_targets: bool,
    is_run_data: bool,
    progress: bool,
) -> StreamedRows:
    run_data: dict[str, Any] = config.get("data", {})
    chosen = run_data.get("target") if target is None else target
    table = TableForModel(net, source, chosen, with_targets=with_targets, keep=keep, progress=progress)
    fraction, seed = run_data.get("test_fraction", 0.2), run_data.get("seed", net.seed)
    if part == "test" and not fraction:
        raise ConfigurationError(f"{source!r} has no test part; use --part all")
    if with_targets and is_run_data and target is None and run_data.get("stream"):
        train, _ = split_off(table, fraction, seed)
        warn_of_change(run_folders.fingerprint_of_stream(train) == config["data_sha256"], source)

    def choose_part(rows: RowStream) -> RowStream:
        train, test = split_off(rows, fraction, seed) if part != "all" else (rows, None)
        return train if test is None or part == "train" else test

    stream = choose_part(table)
    return StreamedRows(
        part, stream.n_rows, table.n_rows_of_source, lambda: table.chunks(choose_part, part),
        stream if with_targets else None, table.n_rows_of_source - table.n_rows, table.warn,
    )  # fmt: skip


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
