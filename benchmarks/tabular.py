"""The defaults of the tabular estimators, against those of scikit-learn's estimators.

Each set of `benchmarks.tabular_sets` is split three times.  The results are means of ranks and, for each pair of an
estimator with the single network, a paired bootstrap interval of the mean difference of ranks over the sets.  Real and
generated sets are reported apart::

    python -m benchmarks.tabular --part tuning --output tuning.json     # the sets by which defaults may be chosen
    python -m benchmarks.tabular --part final --output final.json       # the others, once, at the end

Needs statsmodels and pandas.  ``--sets iris,wine`` runs only some.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.compose import TransformedTargetRegressor, make_column_selector, make_column_transformer
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import accuracy_score, log_loss, roc_auc_score, root_mean_squared_error
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import mlp
from benchmarks.tabular_sets import SETS, TabularSet

SINGLE = "mlp, 1 network"
LOWER_IS_BETTER = {"log-loss": True, "accuracy": False, "ROC-AUC": False, "RMSE": True}


def _prepared(estimator: Any, *, scaled: bool) -> Any:
    numbers = StandardScaler() if scaled else "passthrough"
    columns = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore", sparse_output=False), make_column_selector(dtype_exclude="number")),
        remainder=numbers,
    )
    return make_pipeline(columns, estimator)


def _regressor(estimator: Any) -> Any:
    return TransformedTargetRegressor(estimator, transformer=StandardScaler())


CLASSIFIERS: dict[str, Callable[[int], Any]] = {
    SINGLE: lambda seed: mlp.TabularClassifier(random_state=seed),
    "mlp, 3 networks": lambda seed: mlp.TabularClassifier(n_models=3, random_state=seed),
    "logistic regression": lambda seed: _prepared(LogisticRegression(max_iter=1000), scaled=True),
    "random forest": lambda seed: _prepared(RandomForestClassifier(random_state=seed), scaled=False),
    "gradient boosting": lambda seed: _prepared(HistGradientBoostingClassifier(random_state=seed), scaled=False),
    "MLP": lambda seed: _prepared(MLPClassifier(random_state=seed), scaled=True),
    "MLP, early stopping": lambda seed: _prepared(MLPClassifier(early_stopping=True, random_state=seed), scaled=True),
}
REGRESSORS: dict[str, Callable[[int], Any]] = {
    SINGLE: lambda seed: mlp.TabularRegressor(random_state=seed),
    "mlp, 3 networks": lambda seed: mlp.TabularRegressor(n_models=3, random_state=seed),
    "ridge regression": lambda seed: _prepared(Ridge(), scaled=True),
    "random forest": lambda seed: _prepared(RandomForestRegressor(random_state=seed), scaled=False),
    "gradient boosting": lambda seed: _prepared(HistGradientBoostingRegressor(random_state=seed), scaled=False),
    "MLP": lambda seed: _regressor(_prepared(MLPRegressor(random_state=seed), scaled=True)),
    "MLP, early stopping": lambda seed: _regressor(
        _prepared(MLPRegressor(early_stopping=True, random_state=seed), scaled=True)
    ),
}


def scores(task: str, model: Any, X: Any, y: NDArray[Any]) -> dict[str, float]:
    """The metrics of a fitted model on test rows."""
    if task == "numbers":
        return {"RMSE": root_mean_squared_error(y, model.predict(X))}
    p = model.predict_proba(X)
    auc = (
        roc_auc_score(y, p[:, 1]) if p.shape[1] == 2 else roc_auc_score(y, p, multi_class="ovr", labels=model.classes_)
    )
    return {
        "log-loss": log_loss(y, p, labels=model.classes_),
        "accuracy": accuracy_score(y, model.classes_[p.argmax(axis=1)]),
        "ROC-AUC": float(auc),
    }


def measure(one: TabularSet) -> dict[str, dict[str, float]]:
    """The mean of each metric over the splits, and the seconds of a fit, for each estimator."""
    X, y = one.load()
    results: dict[str, list[dict[str, float]]] = {}
    for seed, (train, test) in enumerate(one.splits(y)):
        for name, make in (CLASSIFIERS if one.task == "classes" else REGRESSORS).items():
            start = time.perf_counter()
            model = make(seed).fit(X.iloc[train], y[train])
            seconds = time.perf_counter() - start
            found = scores(one.task, model, X.iloc[test], y[test]) | {"seconds": seconds}
            results.setdefault(name, []).append(found)
    return {
        name: {metric: float(np.mean([row[metric] for row in rows])) for metric in rows[0]}
        for name, rows in results.items()
    }


def ranks(results: dict[str, dict[str, dict[str, float]]], metric: str, leave_out: str) -> tuple[list[str], Any]:
    """The rank of each estimator in each set that has the metric, shape (sets, estimators); 1 is best."""
    from scipy.stats import rankdata

    tables = [table for table in results.values() if metric in next(iter(table.values()))]
    names = [name for name in next(iter(tables), {}) if name != leave_out]
    sign = 1 if LOWER_IS_BETTER[metric] else -1
    values = [[sign * table[name][metric] for name in names] for table in tables]
    return names, np.array([rankdata(row) for row in values]).reshape(-1, len(names))


def report(results: dict[str, dict[str, dict[str, float]]], network: str, other: str) -> None:
    """Print mean ranks, with `network` among scikit-learn's estimators and without the `other` network."""
    rng = np.random.default_rng(0)
    for metric in LOWER_IS_BETTER:
        names, table = ranks(results, metric, other)
        if not len(table):
            continue
        print(f"\n{metric}, mean rank over {len(table)} sets")
        drawn = rng.integers(0, len(table), (2000, len(table)))
        own = table[:, names.index(network)]
        for name, rank in sorted(zip(names, table.mean(axis=0), strict=True), key=lambda pair: pair[1]):
            difference = (table[:, names.index(name)] - own)[drawn].mean(axis=1)
            low, high = np.percentile(difference, [2.5, 97.5])
            interval = "" if name == network else f"   worse by {low:+.2f} to {high:+.2f}"
            print(f"  {rank:5.2f}  {name}{interval}")


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=("tuning", "final", "all"), default="tuning")
    parser.add_argument("--sets", help="names of sets, separated by commas, instead of a part")
    parser.add_argument("--output", help="JSON file for the scores of each set")
    options = parser.parse_args()
    chosen = [one for one in SETS if options.part == "all" or one.final == (options.part == "final")]
    if options.sets:
        names = options.sets.split(",")
        unknown = set(names) - {one.name for one in SETS}
        if unknown:
            parser.error(f"unknown sets {', '.join(sorted(unknown))}; there are {', '.join(one.name for one in SETS)}")
        chosen = [one for one in SETS if one.name in names]
    warnings.simplefilter("ignore")  # scikit-learn's networks do not converge at their defaults
    results = {}
    for one in chosen:
        results[one.name] = measure(one)
        print(one.name, json.dumps(results[one.name]), flush=True)
        if options.output:
            with open(options.output, "w", encoding="utf-8") as file:
                json.dump(results, file, indent=1)
    for real, heading in ((True, "real sets"), (False, "generated sets")):
        part = {one.name: results[one.name] for one in chosen if one.real == real}
        if part:
            for network, other in ((SINGLE, "mlp, 3 networks"), ("mlp, 3 networks", SINGLE)):
                print(f"\n== {heading}, {network}")
                report(part, network, other)


if __name__ == "__main__":
    main()
