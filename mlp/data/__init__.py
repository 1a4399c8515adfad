"""Data sets: the digits of scikit-learn, MNIST, tables, NumPy files and toy sets.

`load` reads all of them; the readers can also be used directly.  Nothing is downloaded.  Files are not trusted: sizes
are checked against the file before memory is allocated, and nothing is unpickled.
"""

from mlp.data.arrays import read_npy, read_npz
from mlp.data.dataset import Dataset
from mlp.data.extras import MissingExtraError
from mlp.data.idx import read_idx
from mlp.data.preprocessing import CategoricalColumn, NumericColumn, Preprocessing
from mlp.data.sources import SOURCE_NAMES, load
from mlp.data.streams import RowStream, StreamedDataset, TargetStatistics, stream
from mlp.data.tables import read_table
from mlp.data.toy_sets import toy

__all__ = [
    "SOURCE_NAMES",
    "CategoricalColumn",
    "Dataset",
    "MissingExtraError",
    "NumericColumn",
    "Preprocessing",
    "RowStream",
    "StreamedDataset",
    "TargetStatistics",
    "load",
    "read_idx",
    "read_npy",
    "read_npz",
    "read_table",
    "stream",
    "toy",
]
