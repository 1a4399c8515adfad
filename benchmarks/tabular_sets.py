"""The data sets and splits of `benchmarks.tabular`: fixed, and half of them unused until the end.

All come with scikit-learn and statsmodels, or are generated; nothing is downloaded.  Sets of more than 5,000 rows are
reduced to 5,000 at random.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn import datasets
from sklearn.model_selection import ShuffleSplit, StratifiedShuffleSplit

MAX_ROWS, N_SPLITS, TEST_FRACTION = 5000, 3, 0.25

Table = tuple[pd.DataFrame, NDArray[Any]]


@dataclass(frozen=True)
class TabularSet:
    """A data set: a table and its target.

    Attributes
    ----------
    name : str
    task : {"classes", "numbers"}
    real : bool
        Whether it was observed and not generated.
    final : bool
        Whether it is unused until the end: no default may be chosen by it.
    make : callable
        Returns the table and the target.
    """

    name: str
    task: Literal["classes", "numbers"]
    real: bool
    final: bool
    make: Callable[[], Table]

    def load(self) -> Table:
        """The table and the target, with at most 5,000 rows."""
        X, y = self.make()
        if len(X) > MAX_ROWS:
            rows = np.sort(np.random.default_rng(0).permutation(len(X))[:MAX_ROWS])
            X, y = X.iloc[rows].reset_index(drop=True), y[rows]
        return X, y

    def splits(self, y: NDArray[Any]) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
        """The rows for training and for the test, three times."""
        splitter = StratifiedShuffleSplit if self.task == "classes" else ShuffleSplit
        yield from splitter(N_SPLITS, test_size=TEST_FRACTION, random_state=0).split(np.zeros((len(y), 1)), y)


def _sklearn(load: Callable[..., Any]) -> Callable[[], Table]:
    def make() -> Table:
        X, y = load(return_X_y=True, as_frame=True)
        return X, y.to_numpy()

    return make


def _generated(make: Callable[..., Any], **settings: Any) -> Callable[[], Table]:
    def table() -> Table:
        X, y = make(random_state=0, **settings)[:2]
        return pd.DataFrame(X, columns=[f"x{i}" for i in range(X.shape[1])]), y

    return table


def _statsmodels(
    name: str, target: str | Callable[[pd.DataFrame], Any], drop: tuple[str, ...] = ()
) -> Callable[[], Table]:
    def make() -> Table:
        data = importlib.import_module(f"statsmodels.datasets.{name}").load_pandas().data
        y = data[target] if isinstance(target, str) else target(data)
        return data.drop(columns=[*drop, *([target] if isinstance(target, str) else [])]), np.asarray(y)

    return make


def _steps(random_state: int) -> tuple[NDArray[Any], NDArray[Any]]:
    rng = np.random.default_rng(random_state)
    X = rng.uniform(size=(1500, 6))
    y = 3.0 * (X[:, 0] > 0.5) - 2.0 * (X[:, 1] > 0.3) * (X[:, 2] < 0.7) + 0.3 * rng.normal(size=1500)
    return X, y


SETS: tuple[TabularSet, ...] = (
    TabularSet("breast cancer", "classes", True, False, _sklearn(datasets.load_breast_cancer)),
    TabularSet("wine", "classes", True, True, _sklearn(datasets.load_wine)),
    TabularSet("iris", "classes", True, False, _sklearn(datasets.load_iris)),
    TabularSet("digits", "classes", True, True, _sklearn(datasets.load_digits)),
    TabularSet(
        "affair or not", "classes", True, False, _statsmodels("fair", lambda data: data["affairs"] > 0, ("affairs",))
    ),
    TabularSet("vote", "classes", True, True, _statsmodels("anes96", "vote")),
    TabularSet("party", "classes", True, False, _statsmodels("anes96", "PID", ("vote",))),
    TabularSet("mode of travel", "classes", True, True, _statsmodels("modechoice", "choice", ("individual",))),
    TabularSet(
        "linear classes", "classes", False, False,
        _generated(datasets.make_classification, n_samples=2000, n_features=20, n_informative=5),
    ),
    TabularSet(
        "clusters", "classes", False, True,
        _generated(datasets.make_classification, n_samples=1500, n_features=12, n_informative=8, n_classes=4),
    ),
    TabularSet("moons", "classes", False, False, _generated(datasets.make_moons, n_samples=1000, noise=0.3)),
    TabularSet(
        "quantiles", "classes", False, True,
        _generated(datasets.make_gaussian_quantiles, n_samples=2000, n_features=6, n_classes=3),
    ),
    TabularSet("diabetes", "numbers", True, False, _sklearn(datasets.load_diabetes)),
    TabularSet("income by food", "numbers", True, True, _statsmodels("engel", "income")),
    TabularSet("cancer by county", "numbers", True, False, _statsmodels("cancer", "cancer")),
    TabularSet("investment", "numbers", True, True, _statsmodels("grunfeld", "invest")),
    TabularSet(
        "share above the median", "numbers", True, False,
        _statsmodels("star98", lambda data: data["NABOVE"] / (data["NABOVE"] + data["NBELOW"]), ("NABOVE", "NBELOW")),
    ),
    TabularSet("visits to a doctor", "numbers", True, True, _statsmodels("randhie", "mdvis")),
    TabularSet("rating of a marriage", "numbers", True, False, _statsmodels("fair", "rate_marriage")),
    TabularSet("friedman 1", "numbers", False, True, _generated(datasets.make_friedman1, n_samples=1000, noise=1.0)),
    TabularSet("friedman 2", "numbers", False, False, _generated(datasets.make_friedman2, n_samples=1000, noise=100.0)),
    TabularSet("friedman 3", "numbers", False, True, _generated(datasets.make_friedman3, n_samples=1000, noise=0.1)),
    TabularSet(
        "linear numbers", "numbers", False, False,
        _generated(datasets.make_regression, n_samples=800, n_features=30, n_informative=8, noise=20.0),
    ),
    TabularSet("steps", "numbers", False, True, _generated(_steps)),
)  # fmt: skip
"""12 sets of classes and 12 of numbers; 15 of the 24 are real, and 12 are final."""
