"""`stream`: open a data set that is larger than the memory, and read it once."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from mlp._backends import ConfigurationError, FileFormatError, UnknownNameError, random
from mlp.data.dataset import Task
from mlp.data.encoders import SCALES, Scale
from mlp.data.inference import ColumnChoices
from mlp.data.sources import SOURCE_NAMES, names_npy_file
from mlp.data.splitting import check_test_fraction
from mlp.data.streams.npy_file import NpyFile
from mlp.data.streams.npy_source import NpySource
from mlp.data.streams.npy_stream import stream_npy
from mlp.data.streams.parquet_file import ParquetFile
from mlp.data.streams.parquet_source import ParquetSource
from mlp.data.streams.parts import list_parts
from mlp.data.streams.streamed_dataset import StreamedDataset
from mlp.data.streams.table_stream import stream_table
from mlp.data.table_files import STANDARD_INPUT, table_suffix
from mlp.data.table_targets import Target
from mlp.data.targets import check_task

STREAM_SUFFIXES = (".npy", ".parquet")
"""Suffixes of the files that `stream` reads."""


def stream(
    source: str | os.PathLike[str],
    *,
    target: Target | os.PathLike[str] = None,
    test_fraction: float = 0.2,
    seed: int = 0,
    task: Task | None = None,
    scale: Scale | None = None,
    drop: Sequence[str] = (),
    columns: Sequence[str] | None = None,
    categorical: Sequence[str] = (),
    numeric: Sequence[str] = (),
    progress: bool = False,
) -> StreamedDataset:
    """Open a data set that may be larger than the memory: it is read in blocks, now and again in each epoch.

    All of it is read once: the numbers are checked, the task and the classes are found, and the preprocessing is fitted
    on the training part.  What `load` says of the task, the classes and the scale holds here too.

    Parameters
    ----------
    source : str or path-like
        - a path that ends in ``.npy``: a matrix, one of whose columns is the target; or, if `target` is another NPY
          file, the inputs.  uint8 arrays of more than two dimensions are images: they are flattened, and `input_scale`
          is 1/255;
        - a path that ends in ``.parquet``: a table.  Its blocks are the row groups; none may take more than 256 MiB;
        - a folder: its NPY or Parquet files are the parts, in natural order of their names.
    target : str, int, path-like or list of str, optional
        The number of the target column of a matrix (by default the last, -1), the path of the NPY file of the targets,
        or the folder of its parts; of a table, the name of the target column, or those of several, as in `load`.  Each
        row must have a value.
    test_fraction : float
        Probability of a row to be in the test part; 0 for no test part.  A row is chosen by its number and the seed
        alone, see `RowStream.split`; so the classes are not split in proportion, as they are by `load`.
    seed : int
        Seed of the split, and of the sample for the medians.
    task : {"classification", "regression"}, optional
        As in `load`.  At most 65,536 classes are possible.
    scale : {"none", "standard", "minmax", "robust"}, optional
        Scaling of the inputs, fitted on the training part, see `Preprocessing.fit`.  By default tables are
        standardised, and arrays are not changed.  Scaled inputs are computed in float64 and rounded to float32.
    drop, columns, categorical, numeric : sequence of str
        Columns of a table that are left out, the only ones that are used, and those that are read as categories or as
        numbers, as in `load`.
    progress : bool
        Print the share that is read to the standard error.

    Returns
    -------
    StreamedDataset
        Its `train` and `test` are streams for `MLP.fit` and `MLP.evaluate`.

    Raises
    ------
    UnknownNameError
        If the kind of file, the column, the task or the scale is unknown.
    ConfigurationError
        If an argument is out of range, or does not apply to this source.
    FileFormatError
        If a file is missing, damaged, in Fortran order, of a kind that cannot be read in blocks, or changes meanwhile.
    DataError, ShapeError, DtypeError
        If the contents are not valid training data.
    MissingExtraError
        If pyarrow is not installed, for Parquet.

    Notes
    -----
    What the columns of a table are is decided on the first 2**18 training rows, or on fewer if these have more than
    2**23 values; a note says so.  These are the decisions if a column holds numbers, text or dates, counts the rows, is
    empty, or is nearly unique text.  Constant columns, rare categories and missing values are those of all training
    rows.

    Means and standard deviations are exact for integers.  For floating-point numbers, those of the blocks are merged in
    the order of the file; so nothing depends on the number of threads.  Medians and quartiles are exact if the training
    part has at most 2**20 rows and 128 MiB, and for columns of bytes or with few different values (at most 2**16,
    and at most 2**22 divided by the number of columns).  Otherwise they are those of a sample of about that many
    training rows, chosen by row number; a note says so.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import numpy as np
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = pathlib.Path(folder.name) / "points.npy"
    >>> points = np.random.default_rng(0).random((1000, 3))
    >>> np.save(path, np.column_stack([points, points.sum(axis=1) > 1.5]))
    >>> data = stream(path, scale="standard")
    >>> data.task, data.classes, data.train.n_rows, data.test.n_rows
    ('classification', (0.0, 1.0), 820, 180)
    >>> X, y = data.train.read(0)
    >>> X.shape, X.dtype, y.dtype
    ((820, 3), dtype('float32'), dtype('int64'))
    >>> folder.cleanup()
    """
    name = os.fspath(source)
    if isinstance(target, os.PathLike):
        target = os.fspath(target)
    check_test_fraction(test_fraction)
    seed = random.check_seed(seed)
    check_task(task)
    if scale is not None and scale not in SCALES:
        raise UnknownNameError.among("scale", scale, SCALES)
    choices = ColumnChoices(
        tuple(drop), None if columns is None else tuple(columns), tuple(categorical), tuple(numeric)
    )
    kind, parts = find_parts(name)
    if choices != ColumnChoices() and kind == ".npy":
        given = next(argument for argument in vars(choices) if getattr(choices, argument))
        raise ConfigurationError(f"{given} names columns of a table and does not apply to {name!r}; remove it")
    if kind == ".parquet":
        table = open_table(name)
        chosen_scale: Scale = "standard" if scale is None else scale
        return stream_table(table, target, task, chosen_scale, choices, test_fraction, seed, progress=progress)
    matrix = NpySource(name, *_npy_files(parts, target), target)
    return stream_npy(matrix, task, scale, test_fraction, seed, progress=progress)


def open_table(name: str) -> ParquetSource:
    """Open a Parquet file, or a folder of them."""
    return ParquetSource(name, [ParquetFile(part) for part in find_parts(name)[1]])


def _npy_files(parts: Sequence[str], target: Target) -> tuple[list[NpyFile], list[NpyFile] | None]:
    """The files of the inputs and of the targets; a target may be a file or a folder."""
    others: list[str] | None = None
    if isinstance(target, str) and os.path.isdir(target):
        others = list_parts(target, (".npy",))[1]
    elif names_npy_file(target):
        others = [str(target)]
    n_files = len(parts) + len(others or ())
    files = [NpyFile(part, n_files) for part in parts]
    return files, None if others is None else [NpyFile(part, n_files) for part in others]


def find_parts(name: str) -> tuple[str, list[str]]:
    """The suffix of a source that can be read in blocks, and its files."""
    if name not in (*SOURCE_NAMES, STANDARD_INPUT) and os.path.isdir(name):
        return list_parts(name, STREAM_SUFFIXES)
    suffix = Path(name).suffix.lower()
    if suffix in STREAM_SUFFIXES:
        return suffix, [name]
    if name in SOURCE_NAMES:
        raise ConfigurationError(f"{name!r} is small and is not read in blocks; use mlp.data.load")
    if name == STANDARD_INPUT:
        raise ConfigurationError(
            "the standard input can be read once only, not in each epoch; write it to a file first"
        )
    if table_suffix(name):
        raise FileFormatError(
            f"{name!r} cannot be read in blocks: the place of a row in it is unknown; convert it to Parquet: "
            f"polars.scan_csv({name!r}).sink_parquet('{Path(name).name.split('.')[0]}.parquet')"
        )
    if suffix == ".npz":
        raise FileFormatError(
            f"{name!r} is an archive, which cannot be read in blocks; write its arrays as NPY files: "
            "numpy.save('X.npy', X), numpy.save('y.npy', y), and give target='y.npy'"
        )
    raise UnknownNameError.among("kind of file", suffix or name, STREAM_SUFFIXES)
