"""Handwritten digits: the small set of scikit-learn, and MNIST from a local folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlp._backends import ConfigurationError, DataError, FileFormatError
from mlp.data.dataset import Dataset
from mlp.data.idx import read_idx

DATA_DIR_VARIABLE = "MLP_DATA"

_MNIST_FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


def digits() -> Dataset:
    """Return the digits of scikit-learn: 1797 images of 8x8 pixels from 0 to 16, without a test part.

    Returns
    -------
    Dataset
        With `X` of shape (1797, 64), uint8, to be scaled by 1/16.

    Examples
    --------
    >>> digits()
    <Dataset 'digits': classification, 1797 training rows, no test rows, 64 inputs, 10 outputs>
    """
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    return Dataset(
        "digits", pixels.astype(np.uint8), labels.astype(np.int64), classes=tuple(range(10)), input_scale=1 / 16
    )


def mnist(data_dir: str | os.PathLike[str] | None = None) -> Dataset:
    """Read MNIST, or a set of the same format such as Fashion-MNIST, from four IDX files, uncompressed or ``.gz``.

    Parameters
    ----------
    data_dir : str or path-like, optional
        The folder; by default the value of the environment variable ``MLP_DATA``.

    Returns
    -------
    Dataset
        With `X` of shape (60000, 784) and `X_test` of shape (10000, 784), uint8, to be scaled by 1/255.

    Raises
    ------
    ConfigurationError
        If no folder is given.
    DataError
        If the folder or one of the files is missing, or images and labels do not match.
    FileFormatError
        If a file is damaged.
    """
    folder, source = _folder(data_dir)
    paths = [_find(folder, source, name) for name in _MNIST_FILES]
    X, y = _read_part(*paths[:2])
    X_test, y_test = _read_part(*paths[2:])
    if X.shape[1:] != X_test.shape[1:]:
        raise DataError(
            f"images are {X.shape[1:]} in {paths[0]} and {X_test.shape[1:]} in {paths[2]}; the files are from two sets"
        )
    classes, codes = np.unique(np.concatenate([y, y_test]), return_inverse=True)
    return Dataset(
        "mnist",
        X.reshape(len(X), -1),
        codes[: len(y)].astype(np.int64),
        X_test.reshape(len(X_test), -1),
        codes[len(y) :].astype(np.int64),
        classes=tuple(classes.tolist()),
        input_scale=1 / 255,
    )


def _folder(data_dir: str | os.PathLike[str] | None) -> tuple[Path, str]:
    """Return the folder of the files, and what named it, for an error message."""
    path = data_dir if data_dir is not None else os.environ.get(DATA_DIR_VARIABLE)
    if not path:
        raise ConfigurationError(
            f"the folder of the MNIST files is not set; set it with --data-dir (data_dir=...) or the environment "
            f"variable {DATA_DIR_VARIABLE}; {_expected_files()}"
        )
    folder = Path(path)
    source = "data_dir" if data_dir is not None else f"the environment variable {DATA_DIR_VARIABLE}"
    if not folder.is_dir():
        raise DataError(f"there is no folder '{folder.absolute()}', given by {source}; {_expected_files()}")
    return folder, source


def _find(folder: Path, source: str, name: str) -> Path:
    for spelling in (name, name.replace("-idx", ".idx")):
        for suffix in ("", ".gz"):
            path = folder / (spelling + suffix)
            if path.exists():
                return path
    raise DataError(
        f"the folder '{folder.absolute()}', given by {source}, has no {name} or {name}.gz; {_expected_files()}"
    )


def _expected_files() -> str:
    return f"it must contain {', '.join(_MNIST_FILES)}, each uncompressed or as .gz"


def _read_part(images_path: Path, labels_path: Path) -> tuple[NDArray[Any], NDArray[Any]]:
    images, labels = read_idx(images_path), read_idx(labels_path)
    for path, array, dimensions in ((images_path, images, 3), (labels_path, labels, 1)):
        if array.dtype != np.uint8 or array.ndim != dimensions or array.size == 0:
            raise FileFormatError(
                f"{path} holds {array.dtype.name} of shape {array.shape}, expected uint8 of {dimensions} dimension"
                f"{'s' if dimensions > 1 else ''}; check that the files are not interchanged"
            )
    if len(images) != len(labels):
        raise DataError(
            f"{images_path} holds {len(images)} images, {labels_path} {len(labels)} labels; the numbers must be equal"
        )
    return images, labels
