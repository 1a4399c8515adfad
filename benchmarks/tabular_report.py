"""Mean ranks of the estimators of `benchmarks.tabular`, as Markdown tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from benchmarks.tabular_estimators import COMMAND, NETWORK, SINGLE, STOPPED_NETWORK, THREE

LOWER_IS_BETTER = {"RMSE": True, "log-loss": True, "ROC-AUC": False, "accuracy": False}
SAME_NAMES = {"logistic regression": "linear model", "ridge regression": "linear model"}
N_BOOTSTRAP = 10_000

Scores = dict[str, dict[str, dict[str, float]]]
"""Set, estimator, metric: the mean over the splits."""


def mean_ranks(results: Scores, metric: str, ours: str) -> dict[str, tuple[float, float, float]]:
    """The mean rank of `ours` and of scikit-learn's estimators, over the sets that have the metric.

    Parameters
    ----------
    results : dict
    metric : str
    ours : str
        The one of our estimators that takes part.

    Returns
    -------
    dict of str to (float, float, float)
        Of each estimator: the mean rank, 1 is best; and the 95 % paired bootstrap interval of the mean difference of
        its rank from that of `ours`, over the sets.
    """
    tables = [table for table in results.values() if metric in table[ours]]
    if not tables:
        return {}
    names = [name for name in tables[0] if name == ours or name not in (SINGLE, THREE, COMMAND)]
    sign = 1 if LOWER_IS_BETTER[metric] else -1
    ranks = np.array([rankdata([sign * table[name][metric] for name in names]) for table in tables])
    drawn = _drawn(len(ranks))
    found = {}
    for name, column in zip(names, ranks.T, strict=True):
        low, high = interval(column - ranks[:, names.index(ours)], drawn)
        found[SAME_NAMES.get(name, name)] = (float(column.mean()), low, high)
    return found


def interval(values: NDArray[Any], drawn: NDArray[np.intp]) -> tuple[float, float]:
    """The 95 % bootstrap interval of the mean of the values."""
    low, high = np.percentile(values[drawn].mean(axis=1), [2.5, 97.5])
    return float(low), float(high)


def _drawn(n: int) -> NDArray[np.intp]:
    return np.random.default_rng(0).integers(0, n, (N_BOOTSTRAP, n))


def rank_table(results: Scores) -> Iterator[str]:
    """A Markdown table: a row per estimator, a column per metric, the best mean rank in bold.

    The row of the three networks is from a ranking in which they take the place of the single one.
    """
    columns = {metric: mean_ranks(results, metric, SINGLE) for metric in LOWER_IS_BETTER}
    columns = {metric: column for metric, column in columns.items() if column}
    heads = [f"{metric} ({n_sets(results, metric)} sets)" for metric in columns]
    yield from _lines([["mean rank", *heads], ["---", *["---:"] * len(heads)]])
    yield from _lines([[SINGLE, *(_rank(column, SINGLE) for column in columns.values())]])
    three = [mean_ranks(results, metric, THREE) for metric in columns]
    yield from _lines([[THREE, *(_rank(column, THREE) for column in three)]])
    for name in next(iter(columns.values())):
        if name != SINGLE:
            yield from _lines([[name, *(_rank(column, name, SINGLE) for column in columns.values())]])


def n_sets(results: Scores, metric: str) -> int:
    """The number of sets that have the metric."""
    return sum(metric in table[SINGLE] for table in results.values())


def _rank(column: dict[str, tuple[float, float, float]], name: str, ours: str | None = None) -> str:
    rank, low, high = column[name]
    text = f"{rank:.2f}"
    if rank == min(each[0] for each in column.values()):
        text = f"**{text}**"
    return text if ours is None else f"{text} ({low:+.2f} to {high:+.2f})"


def command_table(results: Scores) -> Iterator[str]:
    """A Markdown table: `mlp train` beside scikit-learn's networks, by the ratio of log-loss or RMSE."""
    heads = ["`mlp train` beside", "sets", "better in", "geometric mean of the ratio (95 %)"]
    yield from _lines([heads, ["---", *["---:"] * 3]])
    for metric in ("log-loss", "RMSE"):
        tables = [table for table in results.values() if metric in table[COMMAND]]
        for peer in (NETWORK, STOPPED_NETWORK) if tables else ():
            logs = np.log([table[COMMAND][metric] / table[peer][metric] for table in tables])
            low, high = np.exp(interval(logs, _drawn(len(logs))))
            ratio = f"{np.exp(logs.mean()):.2f} ({low:.2f} to {high:.2f})"
            yield from _lines([[f"{peer}, {metric}", str(len(logs)), str(int((logs < 0).sum())), ratio]])


def set_table(results: Scores) -> Iterator[str]:
    """A Markdown table: a row per set with its log-loss or RMSE, the best in bold."""
    names = list(dict.fromkeys(SAME_NAMES.get(name, name) for table in results.values() for name in table))
    yield from _lines([["set", *names], ["---", *["---:"] * len(names)]])
    for name, table in results.items():
        metric = "RMSE" if "RMSE" in table[SINGLE] else "log-loss"
        scores = [row[metric] for row in table.values()]
        cells = (f"**{score:.4g}**" if score == min(scores) else f"{score:.4g}" for score in scores)
        yield from _lines([[f"{name} ({metric})", *cells]])


def _lines(rows: Iterable[Iterable[str]]) -> Iterator[str]:
    for row in rows:
        yield f"| {' | '.join(row)} |"
