"""The table of experiments of the notes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mlp
from mlp import classic

NOTES = Path(__file__).resolve().parents[1] / "docs" / "guide" / "notes.md"


def test_each_line_is_a_training_of_its_own(caplog: pytest.LogCaptureFixture) -> None:
    digits = mlp.data.load("digits")
    settings: dict[str, Any] = {"learning_rates": [0.5, 3.0], "batch_sizes": [20], "epochs": [7, 3], "seed": 4}
    table = classic.experiment_table(hidden=[(12, 6), ()], backend="numpy", **settings)
    assert [(each.hidden, each.learning_rate, each.epochs) for each in table.experiments] == [
        (hidden, rate, epochs) for hidden in ((12, 6), ()) for rate in (0.5, 3.0) for epochs in (7, 3)
    ]
    assert caplog.records == [], "that more epochs would help is what the table shows"
    for each in table.experiments:
        net = mlp.MLP(
            [64, *each.hidden, 10], "sigmoid", output_activation="sigmoid", loss="quadratic", seed=4, dtype="float64",
            input_scale=digits.input_scale, classes=digits.classes, backend="numpy",
        )  # fmt: skip
        net.fit(digits.X, digits.y, epochs=each.epochs, batch_size=20, optimizer=mlp.SGD(each.learning_rate))
        assert each.accuracy == np.mean(net.predict(digits.X_test) == digits.y_test)
    seven, three = table.experiments[:2]
    assert seven.seconds > three.seconds > 0
    assert table.best.accuracy == max(each.accuracy for each in table.experiments)


def test_it_is_printed_as_on_the_page() -> None:
    [shown] = re.findall(r"^```text\n(hidden .*?)```", NOTES.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    table = classic.experiment_table(
        hidden=[(16, 16), (30,)], learning_rates=[1, 3], batch_sizes=[16, 32], epochs=[5, 20]
    )
    without_seconds = [[line.split()[:-1] for line in str(text).splitlines()] for text in (shown, table)]
    assert without_seconds[0] == without_seconds[1]
    assert repr(table) == f"<ExperimentTable: 16 experiments, best accuracy {table.best.accuracy:.1%}>"


@pytest.mark.parametrize("name", ["hidden", "learning_rates", "batch_sizes", "epochs"])
def test_every_setting_needs_a_value(name: str) -> None:
    with pytest.raises(mlp.ConfigurationError, match=f"{name} must have at least one entry"):
        classic.experiment_table(**{name: []})  # type: ignore[arg-type]


def test_only_a_classification_with_a_test_part_can_be_scored() -> None:
    with pytest.raises(mlp.ConfigurationError, match="need a classification with a test part"):
        classic.experiment_table(mlp.data.load("sine"))
    moons = mlp.data.toy("moons")
    assert moons.X_test is None
    with pytest.raises(mlp.ConfigurationError, match="need a classification with a test part"):
        classic.experiment_table(moons)
    with pytest.raises(mlp.ConfigurationError, match="epochs"):
        classic.experiment_table(epochs=[0])
