"""Run folders: always complete, never overwritten, and sufficient to resume training exactly."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mlp
from mlp import runs
from mlp.data import Dataset
from mlp.training import Run

ROOT = Path(__file__).parent.parent
SOURCE = {
    "source": "moons",
    "data_dir": None,
    "target": None,
    "test_fraction": 0.2,
    "seed": 0,
    "task": None,
    "scale": None,
}
TRAINING: dict[str, Any] = {
    "epochs": 10,
    "batch_size": 16,
    "optimizer": mlp.Adam(0.01).to_dict(),
    "validation_fraction": 0.2,
    "early_stopping": None,
}


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def moons() -> Dataset:
    return mlp.data.load(**SOURCE)


def new_net(**settings: Any) -> mlp.MLP:
    return mlp.MLP([2, 8, 2], seed=3, backend="numpy", dropout=0.1, **settings)


def recorder(moons: Dataset, output_dir: str | None = None, **training: Any) -> runs.Recorder:
    return runs.Recorder(runs.configuration(moons, SOURCE, TRAINING | training), output_dir, pause=0)


class StopInEpoch(mlp.Callback):
    """Stops training within an epoch, like Ctrl-C."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def on_batch_end(self, run: Run, batch: int, loss: float) -> None:
        if (run.epoch, batch) == (self.epoch, 5):
            run.stop("interrupted by Ctrl-C")


def continued(folder: Path, **options: Any) -> tuple[mlp.MLP, Path]:
    net, dataset, config = runs.resume(folder, **options)
    goes_on = runs.Recorder(config)
    runs.train(net, dataset, goes_on, resume=True)
    return net, goes_on.folder


def test_a_run_holds_what_is_promised(moons: Dataset) -> None:
    net, keeper = new_net(), recorder(moons)
    history = runs.train(net, moons, keeper)
    assert keeper.folder == Path("runs/moons-1")
    assert sorted(os.listdir(keeper.folder)) == [
        "config.json",
        "metrics.csv",
        "model.safetensors",
        "training.safetensors",
    ]
    config = json.loads((keeper.folder / "config.json").read_text())
    assert config["model"] == net.get_config()
    assert config["data"] == SOURCE
    assert config["training"] == TRAINING
    assert config["backend"] == {"name": "numpy", "device": "cpu", "reason": "as asked"}
    assert config["versions"]["mlp"] == mlp.__version__
    assert config["parent"] is None
    np.testing.assert_array_equal(mlp.load(keeper.folder / "model.safetensors").parameters, net.parameters)
    rows = list(csv.DictReader((keeper.folder / "metrics.csv").open()))
    assert tuple(rows[0]) == runs.COLUMNS
    assert [int(row["epoch"]) for row in rows] == list(range(1, 11))
    assert [float(row["val_loss"]) for row in rows] == history.val_loss


def test_five_epochs_and_five_more_are_ten(moons: Dataset) -> None:
    whole = new_net()
    runs.train(whole, moons, recorder(moons))
    first = recorder(moons, epochs=5)
    runs.train(new_net(), moons, first)
    net, folder = continued(first.folder, epochs=10)
    np.testing.assert_array_equal(net.parameters, whole.parameters)
    assert net.history.loss == whole.history.loss
    assert folder != first.folder
    assert runs.read_config(folder)["parent"] == str(first.folder.resolve())
    assert len((folder / "metrics.csv").read_text().splitlines()) == 11


@pytest.mark.parametrize("epoch", [0, 4])
def test_a_run_stopped_within_an_epoch_goes_on_as_if_it_had_not_been(moons: Dataset, epoch: int) -> None:
    whole = new_net()
    runs.train(whole, moons, recorder(moons))
    stopped = recorder(moons)
    stopped.pause = 1e9  # the result must not depend on the time of the last checkpoint
    half = new_net()
    runs.train(half, moons, stopped, callbacks=[StopInEpoch(epoch)])
    np.testing.assert_array_equal(mlp.load(stopped.folder / "model.safetensors").parameters, half.parameters)
    net, _ = continued(stopped.folder)
    np.testing.assert_array_equal(net.parameters, whole.parameters)
    assert net.history.val_loss == whole.history.val_loss


def test_early_stopping_keeps_the_best_model_and_the_last_training(moons: Dataset) -> None:
    stopping = {"monitor": "val_score", "patience": 2}
    whole = new_net()
    runs.train(whole, moons, recorder(moons, early_stopping=stopping, epochs=40))
    first = recorder(moons, early_stopping=stopping, epochs=3)
    runs.train(new_net(), moons, first)
    net, folder = continued(first.folder, epochs=40)
    assert net.history.best_epoch == whole.history.best_epoch
    assert len(net.history) == len(whole.history) < 40
    np.testing.assert_array_equal(net.parameters, whole.parameters)
    np.testing.assert_array_equal(mlp.load(folder / "model.safetensors").parameters, whole.parameters)


def test_nothing_is_overwritten(moons: Dataset, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("all of it")
    with pytest.raises(mlp.ConfigurationError, match="'mine' exists already, and a run never overwrites files"):
        runs.train(new_net(), moons, recorder(moons, "mine"))
    assert os.listdir("mine") == ["thesis.txt"]
    folders = []
    for _ in range(3):
        keeper = recorder(moons, epochs=1)
        runs.train(new_net(), moons, keeper)
        folders.append(str(keeper.folder))
    assert folders == ["runs/moons-1", "runs/moons-2", "runs/moons-3"]
    os.rename("runs/moons-3", "runs/moons-7")
    assert runs.create_folder("moons") == Path("runs/moons-8")


def test_a_run_that_cannot_start_leaves_nothing(moons: Dataset) -> None:
    with pytest.raises(mlp.ConfigurationError, match="batch_size"):
        runs.train(new_net(), moons, recorder(moons, batch_size=10**6))
    assert not os.listdir()


def test_a_diverged_run_keeps_its_last_good_weights(moons: Dataset) -> None:
    keeper = recorder(moons, optimizer=mlp.SGD(mlp.schedules.Step(0.1, every=2, factor=1e30)).to_dict())
    with pytest.raises(mlp.DivergenceError):
        runs.train(new_net(), moons, keeper)
    kept = mlp.load(keeper.folder / "model.safetensors")
    assert np.isfinite(kept.parameters).all()
    assert kept.score(moons.X, moons.y) > 0.5


def test_changed_data_are_noticed(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(50, 3))
    np.save("table.npy", rows)
    source = SOURCE | {"source": str(tmp_path / "table.npy")}
    keeper = runs.Recorder(runs.configuration(mlp.data.load(**source), source, TRAINING | {"epochs": 1}))
    runs.train(mlp.MLP([2, 4, 1], loss="mse", backend="numpy"), mlp.data.load(**source), keeper)
    np.save("table.npy", rows + 1e-9)
    with pytest.raises(mlp.DataError, match="have changed since the run"):
        runs.resume(keeper.folder, epochs=2)


def test_what_is_no_run_is_named(moons: Dataset, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(mlp.FileFormatError, match=r"'empty' is not a run: it has no config.json"):
        runs.resume("empty")
    with pytest.raises(mlp.FileFormatError, match="'empty' is not a run"):
        runs.model_path("empty")
    with pytest.raises(mlp.FileFormatError, match="there is no file"):
        runs.resume("nowhere")
    keeper = recorder(moons, epochs=1)
    runs.train(new_net(), moons, keeper)
    config = json.loads((keeper.folder / "config.json").read_text())
    (keeper.folder / "config.json").write_text(json.dumps(config | {"data": []}))
    with pytest.raises(mlp.FileFormatError, match=r"is damaged: config.data is \[\], expected an object"):
        runs.resume(keeper.folder)
    (keeper.folder / "config.json").write_text("{")
    with pytest.raises(mlp.FileFormatError, match="is damaged or not of format JSON"):
        runs.resume(keeper.folder)


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_a_killed_run_can_be_read_and_goes_on(moons: Dataset, tmp_path: Path) -> None:
    whole = new_net()
    runs.train(whole, moons, recorder(moons, epochs=400))
    program = f"""
import mlp
from mlp import runs
moons = mlp.data.load("moons")
net = mlp.MLP([2, 8, 2], seed=3, backend="numpy", dropout=0.1)
keeper = runs.Recorder(runs.configuration(moons, {SOURCE!r}, {TRAINING | {"epochs": 400}!r}), "killed", pause=0)
runs.train(net, moons, keeper)
"""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, "-c", program], cwd=tmp_path, env=environment)
    metrics = tmp_path / "killed" / "metrics.csv"
    while process.poll() is None and not (metrics.exists() and len(metrics.read_text().splitlines()) > 20):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert mlp.load("killed/model.safetensors").sizes == (2, 8, 2)
    net, _ = continued(Path("killed"))
    np.testing.assert_array_equal(net.parameters, whole.parameters)
