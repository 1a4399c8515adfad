"""The defaults of the tabular estimators and of `mlp train`, against those of scikit-learn's estimators.

Each set of `benchmarks.tabular_sets` is split three times.  The result is a table of mean ranks, real and generated
sets apart, with paired bootstrap intervals over the sets::

    python -m benchmarks.tabular --part tuning   # the sets by which defaults may be chosen
    python -m benchmarks.tabular --part final    # the others
    python -m benchmarks.tabular --part all --output benchmarks/results/tabular.json
    python -m benchmarks.tabular --show benchmarks/results/tabular.json

Needs statsmodels and pandas.  ``--sets iris,wine`` runs only some.
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, log_loss, roc_auc_score, root_mean_squared_error

from benchmarks.tabular_estimators import CLASSIFIERS, REGRESSORS
from benchmarks.tabular_report import Scores, command_table, rank_table, set_table
from benchmarks.tabular_sets import SETS, TabularSet


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
    """The mean of each metric over the splits, for each estimator."""
    X, y = one.load()
    results: dict[str, list[dict[str, float]]] = {}
    for seed, (train, test) in enumerate(one.splits(y)):
        for name, make in (CLASSIFIERS if one.task == "classes" else REGRESSORS).items():
            model = make(seed).fit(X.iloc[train], y[train])
            results.setdefault(name, []).append(scores(one.task, model, X.iloc[test], y[test]))
    return {
        name: {metric: float(np.mean([row[metric] for row in rows])) for metric in rows[0]}
        for name, rows in results.items()
    }


def tables(results: Scores) -> dict[str, list[str]]:
    """The Markdown tables by their titles."""
    sets = {one.name: one for one in SETS}
    parts = {
        "Real sets": {name: table for name, table in results.items() if sets[name].real},
        "Generated sets": {name: table for name, table in results.items() if not sets[name].real},
        "Sets of the final half": {name: table for name, table in results.items() if sets[name].final},
    }
    ranks = {title: list(rank_table(part)) for title, part in parts.items() if part}
    return ranks | {"mlp train": list(command_table(results)), "Each set": list(set_table(results))}


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=("tuning", "final", "all"), default="tuning")
    parser.add_argument("--sets", help="names of sets, separated by commas, instead of a part")
    parser.add_argument("--output", type=Path, help="JSON file for the scores of each set")
    parser.add_argument("--show", type=Path, help="print the tables of a file of scores, and measure nothing")
    options = parser.parse_args()
    chosen = [one for one in SETS if options.part == "all" or one.final == (options.part == "final")]
    if options.sets:
        names = options.sets.split(",")
        unknown = set(names) - {one.name for one in SETS}
        if unknown:
            parser.error(f"unknown sets {', '.join(sorted(unknown))}; there are {', '.join(one.name for one in SETS)}")
        chosen = [one for one in SETS if one.name in names]
    if options.show:
        results = json.loads(options.show.read_text(encoding="utf-8"))
        results = {one.name: results[one.name] for one in chosen if one.name in results}
    else:
        warnings.simplefilter("ignore")  # scikit-learn's networks do not converge at their defaults
        results = {}
        for one in chosen:
            results[one.name] = measure(one)
            print(one.name, json.dumps(results[one.name]), file=sys.stderr, flush=True)
            if options.output:
                options.output.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    for title, lines in tables(results).items():
        print("", title, "", *lines, sep="\n")


if __name__ == "__main__":
    main()
