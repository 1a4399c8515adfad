"""Permutation importance of the columns of a table (Breiman 2001, Random Forests, section 10)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mlp.training.evaluation import evaluate_rows

if TYPE_CHECKING:
    from mlp.data import Preprocessing
    from mlp.network import FeedForward

N_REPEATS = 5
MAX_ROWS = 2000
LEAST_ROWS = 200
MAX_PREDICTIONS = 500_000
"""Fewer rows are permuted than `MAX_ROWS` if more rows than these would have to be predicted."""

MAX_COLUMNS = 2000
"""With more columns none is permuted, for the time that it takes."""


def rows_permuted(n_columns: int) -> int:
    """The most rows that are permuted in a table of so many columns.

    Examples
    --------
    >>> rows_permuted(50), rows_permuted(100), rows_permuted(2000)
    (2000, 1000, 200)
    """
    return min(MAX_ROWS, max(LEAST_ROWS, MAX_PREDICTIONS // (n_columns * N_REPEATS)))


def column_importance(
    net: FeedForward, preprocessing: Preprocessing, X: NDArray[Any], y: NDArray[Any]
) -> list[tuple[str, float, float]]:
    """How much the score of a network falls if a column of the table is permuted, the largest first.

    All inputs that are made of a column, such as its categories or the parts of a date, are permuted together.  The
    computation is that of `sklearn.inspection.permutation_importance`.

    Parameters
    ----------
    net : MLP
    preprocessing : Preprocessing
        It made X.
    X : ndarray, shape (n, n_in)
    y : ndarray, shape (n,) or (n, n_out)
        The first 2000 rows are used, and fewer in tables of more than 50 columns; see `rows_permuted`.

    Returns
    -------
    list of (str, float, float)
        Name of the column, and mean and standard deviation of the fall of accuracy or R^2 in 5 permutations.

    Examples
    --------
    >>> import mlp
    >>> rng = np.random.default_rng(0)
    >>> table = {"size": rng.normal(size=200), "noise": rng.normal(size=200)}
    >>> fitted = mlp.data.Preprocessing.fit(table)
    >>> net = mlp.MLP([2, 1], loss="mse", preprocessing=fitted)
    >>> X = fitted.transform(table)
    >>> _ = net.fit(X, table["size"], epochs=60)
    >>> [name for name, *_ in column_importance(net, fitted, X, table["size"])]
    ['size', 'noise']
    """
    from sklearn.inspection import permutation_importance

    n_rows = rows_permuted(len(preprocessing.columns))
    X, y = np.asarray(X)[:n_rows], np.asarray(y)[:n_rows]
    names, inputs = _inputs_by_column(preprocessing)

    def score(_: object, rows: NDArray[np.intp], targets: NDArray[Any]) -> float:
        """The score where input j has the values of the rows in column j's column of `rows`."""
        permuted = X.copy()
        for column, places in enumerate(inputs):
            permuted[:, places] = X[rows[:, column]][:, places]
        return evaluate_rows(net, permuted, targets)[1]

    rows = np.repeat(np.arange(len(X))[:, np.newaxis], len(names), axis=1)
    result = permutation_importance(_Fitted(), rows, y, scoring=score, n_repeats=N_REPEATS, random_state=0)
    order = np.argsort(-result.importances_mean, kind="stable")
    return [(names[i], float(result.importances_mean[i]), float(result.importances_std[i])) for i in order]


class _Fitted:
    """What scikit-learn asks of an estimator; the score does all the work."""

    def fit(self) -> None:
        """Do nothing: the network is trained."""


def _inputs_by_column(preprocessing: Preprocessing) -> tuple[list[str], list[NDArray[np.intp]]]:
    """The columns of the table, and which inputs are made of each."""
    names = [column.name for column in preprocessing.columns]
    if preprocessing.preparation is not None:
        made = {name: raw.name for raw in preprocessing.preparation.columns for name in raw.prepared_names}
        names = [made[name] for name in names]
    places: dict[str, list[int]] = {}
    start = 0
    for name, column in zip(names, preprocessing.columns, strict=True):
        places.setdefault(name, []).extend(range(start, start + column.n_outputs))
        start += column.n_outputs
    return list(places), [np.array(numbers) for numbers in places.values()]
