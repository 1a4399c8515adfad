"""The callbacks and the file of settings that the page about experiments shows."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import examples
import numpy as np
import pytest
from click.testing import CliRunner

import mlp
from mlp.cli import cli

BLOCKS = examples.blocks(examples.DOCS / "guide" / "experiments.md")


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def callback_class(name: str) -> Any:
    """The class that the page defines."""
    (block,) = [block for block in BLOCKS if f"class {name}(" in block.text]
    assert 10 <= len(block.text.splitlines()) <= 30
    namespace: dict[str, Any] = {}
    exec(block.text, namespace)
    return namespace[name]


def train(*callbacks: Any) -> mlp.History:
    moons = mlp.data.load("moons")
    net = mlp.MLP([2, 8, 2], backend="numpy")
    return net.fit(moons.X, moons.y, epochs=3, validation_fraction=0.2, metrics=["roc_auc"], callbacks=callbacks)


def test_the_file_of_settings_trains() -> None:
    (block,) = [block for block in BLOCKS if block.language == "toml"]
    Path("run.toml").write_text(block.text)
    assert len(tomllib.loads(block.text)) == 11
    command = ["train", "--config", "run.toml", "--epochs", "1", "--backend", "numpy", "--quiet"]
    result = CliRunner().invoke(cli, command)
    assert result.exit_code == 0, result.output


def test_tensorboard_reads_what_the_callback_writes() -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util.tensor_util import make_ndarray

    history = train(callback_class("TensorBoard")("logs"))
    events = EventAccumulator("logs")
    events.Reload()
    names = events.Tags()["tensors"]
    assert set(names) == history.columns().keys()
    assert {"loss", "val_loss", "val_score", "roc_auc"} <= set(names)
    for name in names:
        written = events.Tensors(name)
        assert [event.step for event in written] == [1, 2, 3]
        values = [float(make_ndarray(event.tensor_proto)) for event in written]
        np.testing.assert_allclose(values, history.columns()[name], rtol=1e-6)


def test_mlflow_reads_what_the_callback_writes() -> None:
    mlflow = pytest.importorskip("mlflow")
    mlflow.set_tracking_uri("sqlite:///mlflow.db")
    history = train(callback_class("MLflow")())
    client = mlflow.MlflowClient()
    (run,) = client.search_runs([client.get_experiment_by_name("Default").experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.params["sizes"] == "[2, 8, 2]"
    assert "Adam" in run.data.params["optimizer"]
    for name, values in history.columns().items():
        written = client.get_metric_history(run.info.run_id, name)
        assert [metric.step for metric in written] == [1, 2, 3]
        np.testing.assert_allclose([metric.value for metric in written], values)
    path = client.download_artifacts(run.info.run_id, "model.safetensors")
    assert mlp.load(path).sizes == (2, 8, 2)
