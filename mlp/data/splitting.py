"""Split rows into a training and a test part."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlp._backends import ConfigurationError, DataError


def split_rows(
    n_rows: int, test_fraction: float, seed: int, labels: NDArray[Any] | None = None
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Choose the rows of the training and the test part, in shuffled order.

    Rows are sorted by random integers of Philox4x64-10 and then, if `labels` are given, by label (stable).  Every
    ``1 / test_fraction``-th row of this sequence goes to the test part.  Each class is therefore split in proportion,
    exact to one row.  If `test_fraction` is at most one half, a class of two or more rows keeps at least one for
    training.  The same arguments give the same split with every version of NumPy.

    Parameters
    ----------
    n_rows : int
        Number of rows.
    test_fraction : float
        Fraction of the rows in the test part, at least 0 and below 1.
    seed : int
        Seed of the shuffle, 0 or more.
    labels : ndarray of shape (n_rows,), optional
        Classes to stratify by.

    Returns
    -------
    train, test : ndarray of intp
        Row numbers; each row is in exactly one of the two.

    Raises
    ------
    ConfigurationError
        If `test_fraction` or `seed` is out of range.
    DataError
        If a part would have no rows.

    Examples
    --------
    >>> train, test = split_rows(10, 0.2, seed=0, labels=np.array([0, 0, 0, 0, 0, 1, 1, 1, 1, 1]))
    >>> len(train), sorted((test // 5).tolist())
    (8, [0, 1])
    """
    check_test_fraction(test_fraction)
    if seed < 0:
        raise ConfigurationError(f"seed is {seed}, expected 0 or more")
    # Generator.permutation may change between versions of numpy; random_raw does not
    shuffled = np.argsort(np.random.Philox(seed).random_raw(n_rows), kind="stable")
    sequence = shuffled if labels is None else shuffled[np.argsort(labels[shuffled], kind="stable")]
    n_test = np.floor(np.arange(n_rows + 1) * test_fraction + 0.5)  # cumulative
    in_test = np.zeros(n_rows, dtype=bool)
    in_test[sequence] = np.diff(n_test) > 0
    train, test = shuffled[~in_test[shuffled]], shuffled[in_test[shuffled]]
    if len(train) == 0 or (len(test) == 0 and test_fraction > 0):
        raise DataError(
            f"{n_rows} rows split with test_fraction={test_fraction} leave {len(train)} for training and {len(test)} "
            "for testing; use more rows, or test_fraction=0 for no test part"
        )
    return train, test


def check_test_fraction(test_fraction: float) -> None:
    """Raise an error if the fraction of a test part is out of range.

    Raises
    ------
    ConfigurationError
        If so.
    """
    if not 0 <= test_fraction < 1:
        raise ConfigurationError(f"test_fraction is {test_fraction}, expected at least 0 and below 1, such as 0.2")
