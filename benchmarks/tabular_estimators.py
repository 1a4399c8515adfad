"""The estimators that `benchmarks.tabular` compares, all at their defaults.

scikit-learn's networks and linear models get standardized inputs, and its networks standardized targets: without them
they would be compared at a task that nobody gives them.
"""

from __future__ import annotations

import csv
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
from click.testing import CliRunner
from numpy.typing import NDArray
from sklearn.compose import TransformedTargetRegressor, make_column_selector, make_column_transformer
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import mlp
from mlp.cli import cli

SINGLE, THREE, COMMAND = "mlp, 1 network", "mlp, 3 networks", "mlp train"
NETWORK, STOPPED_NETWORK = "MLP", "MLP, early stopping"


class CommandLine:
    """`mlp train` and `mlp predict` at their defaults, with an estimator's interface.

    Parameters
    ----------
    task : {"classes", "numbers"}
    seed : int
    """

    def __init__(self, task: str, seed: int) -> None:
        self.task, self.seed = task, seed
        self.folder = tempfile.TemporaryDirectory()

    def __del__(self) -> None:
        self.folder.cleanup()

    def fit(self, X: pd.DataFrame, y: NDArray[Any]) -> Self:
        """Write the table to a file, and train on all of it."""
        self.classes_ = np.unique(y)
        file, self.run = Path(self.folder.name) / "train.csv", Path(self.folder.name) / "run"
        target = np.searchsorted(self.classes_, y) if self.task == "classes" else y
        X.assign(**{"the target": target}).to_csv(file, index=False)
        task = "classification" if self.task == "classes" else "regression"
        self._call("train", file, "--target", "the target", "--task", task, "--test-fraction", 0, "--seed", self.seed,
                   "--output-dir", self.run)  # fmt: skip
        return self

    def predict(self, X: pd.DataFrame) -> NDArray[np.float64]:
        """Predict the numbers, shape (n,)."""
        return self._predictions(X)["prediction"]

    def predict_proba(self, X: pd.DataFrame) -> NDArray[np.float64]:
        """Probability of each class, shape (n, n_classes)."""
        found = self._predictions(X)
        p = np.column_stack([values for name, values in found.items() if name.startswith("p_")])
        return p / p.sum(axis=1, keepdims=True)

    def _predictions(self, X: pd.DataFrame) -> dict[str, NDArray[np.float64]]:
        file, output = Path(self.folder.name) / "test.csv", Path(self.folder.name) / "predictions.csv"
        output.unlink(missing_ok=True)
        X.to_csv(file, index=False)
        probabilities = ["--proba"] if self.task == "classes" else []
        self._call("predict", self.run, file, *probabilities, "--output", output)
        with open(output, newline="", encoding="utf-8") as lines:
            rows = list(csv.DictReader(lines))
        return {name: np.array([float(row[name]) for row in rows]) for name in rows[0]}

    def _call(self, *arguments: object) -> None:
        result = CliRunner().invoke(cli, [str(argument) for argument in arguments])
        if result.exit_code:
            raise RuntimeError(f"mlp {' '.join(map(str, arguments))} ended with {result.exit_code}:\n{result.output}")


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
    THREE: lambda seed: mlp.TabularClassifier(n_models=3, random_state=seed),
    COMMAND: lambda seed: CommandLine("classes", seed),
    "logistic regression": lambda seed: _prepared(LogisticRegression(max_iter=1000), scaled=True),
    "random forest": lambda seed: _prepared(RandomForestClassifier(random_state=seed), scaled=False),
    "gradient boosting": lambda seed: _prepared(HistGradientBoostingClassifier(random_state=seed), scaled=False),
    NETWORK: lambda seed: _prepared(MLPClassifier(random_state=seed), scaled=True),
    STOPPED_NETWORK: lambda seed: _prepared(MLPClassifier(early_stopping=True, random_state=seed), scaled=True),
}
REGRESSORS: dict[str, Callable[[int], Any]] = {
    SINGLE: lambda seed: mlp.TabularRegressor(random_state=seed),
    THREE: lambda seed: mlp.TabularRegressor(n_models=3, random_state=seed),
    COMMAND: lambda seed: CommandLine("numbers", seed),
    "ridge regression": lambda seed: _prepared(Ridge(), scaled=True),
    "random forest": lambda seed: _prepared(RandomForestRegressor(random_state=seed), scaled=False),
    "gradient boosting": lambda seed: _prepared(HistGradientBoostingRegressor(random_state=seed), scaled=False),
    NETWORK: lambda seed: _regressor(_prepared(MLPRegressor(random_state=seed), scaled=True)),
    STOPPED_NETWORK: lambda seed: _regressor(
        _prepared(MLPRegressor(early_stopping=True, random_state=seed), scaled=True)
    ),
}
