"""The table of requested features in the documentation: each line runs here, and fails with scikit-learn's class."""

from __future__ import annotations

import re

import examples
import numpy as np
import pytest
import sklearn.neural_network
from sklearn.datasets import load_digits

import mlp

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

PAGE = examples.DOCS / "guide" / "migration.md"
X, Y = load_digits(n_class=3, return_X_y=True)
DATA = {"X": X[:200] / 16, "y": Y[:200], "X_new": X[200:300] / 16, "y_new": Y[200:300], "t": X[:200].mean(axis=1)}


def table():
    """The issues and the code of each row."""
    text = PAGE.read_text(encoding="utf-8")
    section = text.partition("\n## What scikit-learn's users asked for\n")[2].partition("\n## ")[0]
    rows = [line.strip("|").split(" | ") for line in section.splitlines() if line.startswith("|")][2:]
    return [(re.findall(r"#(\d+)", issues), code.strip(" `")) for _, issues, code in rows]


class Small:
    """Makes the estimators of a module, with few epochs."""

    def __init__(self, module):
        self.module = module

    def __getitem__(self, name):
        cls = getattr(self.module, name)
        return lambda *args, **settings: cls(*args, **settings).set_params(max_iter=3)


def run(line, module):
    names = {name: Small(module)[name] for name in ("MLPClassifier", "MLPRegressor")}
    namespace = DATA | names
    exec(line, namespace)
    return {name: value for name, value in namespace.items() if name not in {*DATA, *names, "__builtins__"}}


def test_every_row_names_an_issue_and_code():
    rows = table()
    assert len(rows) == 14
    assert all(issues and code for issues, code in rows)


@pytest.mark.parametrize(
    ("issues", "line"), table(), ids=lambda value: "-".join(value) if isinstance(value, list) else ""
)
def test_the_line_runs_here_and_not_in_scikit_learn(issues, line):
    (result,) = run(line, mlp).values()
    assert result is not None
    if isinstance(result, (np.ndarray, list)):
        assert np.isfinite(result).all()
    with pytest.raises((TypeError, AttributeError, ValueError)):
        run(line, sklearn.neural_network)
