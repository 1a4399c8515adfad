"""`mlp.tune` and ``mlp tune``: the search, its file, and the settings that it finds."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import signal
import sqlite3
import subprocess
import sys
import time
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

import mlp
from mlp.cli import cli
from mlp.data import Dataset
from mlp.io.toml_text import to_toml
from mlp.tuning import space

optuna = pytest.importorskip("optuna")

ROOT = Path(__file__).parent.parent
WIDTHS = space.WIDTHS


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(space, "WIDTHS", (4, 6))  # wide layers take time, and change nothing here


def run(*arguments: object, status: int = 0) -> Result:
    result = CliRunner().invoke(cli, [*map(str, arguments)], prog_name="mlp")
    assert result.exit_code == status, (result.output, result.exception)
    return result


def moons() -> Dataset:
    return mlp.data.load("moons")


def search(dataset: Dataset | None = None, **settings: Any) -> mlp.Tuning:
    return mlp.tune(moons() if dataset is None else dataset, **{"epochs": 3, "backend": "numpy"} | settings)


def without_times(tuning: mlp.Tuning) -> list[Any]:
    return [replace(trial, seconds=None) for trial in tuning.trials]


def digest(net: mlp.MLP) -> str:
    return hashlib.sha256(net.parameters.tobytes()).hexdigest()


# -- the search ------------------------------------------------------------------------------------------


def test_the_first_trial_has_the_defaults_and_the_best_one_is_not_worse() -> None:
    tuning = search(trials=4)
    first = tuning.trials[0]
    assert first.settings == {
        "hidden": [32], "activation": "relu", "dropout": 0.0, "optimizer": "adamw", "lr": 0.001,
        "schedule": "constant", "weight_decay": 0.01, "batch_size": 32,
    }  # fmt: skip
    assert tuning.best.val_loss == min(trial.val_loss for trial in tuning.ranking)
    assert tuning.best.val_loss <= first.val_loss
    assert [trial.val_loss for trial in tuning.ranking] == sorted(trial.val_loss for trial in tuning.ranking)


def test_the_trials_depend_on_the_seed_alone() -> None:
    first, again, other = (search(trials=4, seed=seed) for seed in (1, 1, 2))
    assert without_times(first) == without_times(again)
    assert [trial.settings for trial in first.trials[1:]] != [trial.settings for trial in other.trials[1:]]


def test_settings_differ_from_trial_to_trial() -> None:
    chosen = [json.dumps(trial.settings) for trial in search(trials=6).trials]
    assert len(set(chosen)) == 6


def test_the_test_part_is_not_used() -> None:
    dataset = moons()
    assert dataset.X_test is not None
    broken = replace(dataset, X_test=np.full_like(dataset.X_test, 1e30), y_test=1 - dataset.y_test)
    assert without_times(search(dataset, trials=3)) == without_times(search(broken, trials=3))


def test_the_values_are_those_of_the_validation_part() -> None:
    tuning = search(trials=2, validation_fraction=0.3)
    best = tuning.best
    net = tuning.train_best()
    assert net.history is not None
    assert len(net.history) == best.epochs
    assert net.history.best_epoch == best.best_epoch
    assert min(net.history.val_loss) == best.val_loss
    assert net.history.val_score[best.best_epoch - 1] == best.val_score


def test_bad_trials_are_pruned() -> None:
    tuning = search(mlp.data.load("digits"), trials=14, epochs=5)
    pruned = [trial for trial in tuning.trials if trial.state == "pruned"]
    assert pruned
    assert all(trial.val_loss is None and trial.epochs < 5 for trial in pruned)
    assert all(trial.state == "finished" for trial in tuning.trials[:5])


def test_a_trial_that_diverges_does_not_end_the_search(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(space, "LEARNING_RATES", {"adamw": (1e-3, 1e-2), "sgd": (1e37, 1e38)})
    tuning = search(trials=8)
    states = [trial.state for trial in tuning.trials]
    assert "diverged" in states
    assert len(states) == 8
    assert tuning.best.settings["optimizer"] == "adamw"


def test_a_trial_ends_when_the_loss_has_not_fallen_for_a_fifth_of_the_epochs() -> None:
    tuning = search(trials=4, epochs=60)
    assert tuning.fixed["early_stopping"] == 12
    early = [trial for trial in tuning.ranking if trial.epochs < 60]
    assert early
    assert all(trial.epochs == trial.best_epoch + 12 for trial in early)


def test_a_timeout_ends_the_search_after_a_trial() -> None:
    started = time.monotonic()
    tuning = search(trials=1000, timeout=0.5)
    assert 1 <= len(tuning.trials) < 1000
    assert time.monotonic() - started < 60


def test_class_weights_and_regression() -> None:
    dataset = moons()
    rows = np.flatnonzero((dataset.y == 0) | (np.arange(len(dataset.y)) % 5 == 0))
    uneven = replace(dataset, X=dataset.X[rows], y=dataset.y[rows], rows=None)
    weighted, plain = search(uneven, trials=1, class_weight="balanced"), search(uneven, trials=1)
    assert weighted.best_settings["class_weight"] == "balanced"
    assert weighted.best.val_loss != plain.best.val_loss
    assert search(mlp.data.load("sine"), trials=2).best.val_score is not None


def test_advice_about_single_trainings_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    dataset = moons()
    far = replace(dataset, X=dataset.X * 1000)
    with caplog.at_level(logging.WARNING, "mlp"):
        search(far, trials=2)
        assert not caplog.messages
        mlp.MLP([2, 2, 2]).fit(far.X, far.y, epochs=1)
    assert "Trainings are slow or fail" in caplog.text


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"trials": 0}, "trials must be a positive integer"),
        ({"timeout": -1}, "timeout must be a positive number"),
        ({"validation_fraction": 0}, "validation_fraction must be a positive number"),
        ({"validation_fraction": 1}, "validation_fraction must be"),
        ({"epochs": 0}, "epochs must be a positive integer"),
        ({"seed": -1}, "seed must be an integer"),
        ({"class_weight": "odd"}, "odd"),
    ],
)
def test_wrong_arguments(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(mlp.ConfigurationError, match=message):
        search(**{"trials": 1} | settings)


def test_without_optuna_the_error_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    error = run("tune", "moons", status=2).stderr
    assert error == "mlp: error: tuning needs optuna, which is not installed; run: pip install 'optuna>=4'\n"
    assert os.listdir() == []


@given(st.integers(2, 10**6), st.integers(0, 2**32 - 1))
def test_the_space_has_only_valid_settings(n_rows: int, seed: int) -> None:
    assert WIDTHS == (4, 9)
    sampler = optuna.samplers.RandomSampler(seed=seed)
    trial = optuna.create_study(sampler=sampler).ask()
    settings = space.suggest(trial, n_rows)
    assert 1 <= settings["batch_size"] <= n_rows
    assert all(width in (16, 32, 64, 128, 256, 512) for width in settings["hidden"])
    assert 0 <= settings["dropout"] <= 0.5
    assert 1e-4 <= settings["lr"] <= 1
    usual = space.usual(64, n_rows, table=False)
    fixed = optuna.trial.FixedTrial(usual)
    assert space.suggest(fixed, n_rows)["batch_size"] <= n_rows
    assert fixed.params.keys() == usual.keys()


# -- the file --------------------------------------------------------------------------------------------


def test_a_search_that_is_continued_has_the_trials_of_one_that_is_not() -> None:
    whole = search(trials=13, epochs=2)
    assert len(search(trials=4, epochs=2, storage="a b?#%.db").trials) == 4
    continued = search(trials=13, epochs=2, storage="a b?#%.db")
    assert without_times(continued) == without_times(whole)
    assert os.listdir() == ["a b?#%.db"]
    assert without_times(search(trials=3, epochs=2, storage="a b?#%.db")) == without_times(whole)  # nothing to do


def test_ctrl_c_ends_the_search_and_loses_no_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    fit, count = mlp.MLP.fit, 0

    def fit_with_ctrl_c(self: mlp.MLP, *arguments: Any, **settings: Any) -> mlp.History:
        nonlocal count
        count += 1
        if count == 3:
            settings["callbacks"] = [*settings["callbacks"], lambda run: signal.raise_signal(signal.SIGINT)]
        return fit(self, *arguments, **settings)

    with monkeypatch.context() as patch:
        patch.setattr(mlp.MLP, "fit", fit_with_ctrl_c)
        interrupted = search(trials=6, storage="study.db")
    assert interrupted.interrupted
    assert [trial.state for trial in interrupted.trials] == ["finished", "finished", "failed"]
    continued = search(trials=6, storage="study.db")
    finished = [replace(trial, number=0) for trial in without_times(continued) if trial.state != "failed"]
    assert finished == [replace(trial, number=0) for trial in without_times(search(trials=6))]


def test_ctrl_c_between_trainings(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(space, "suggest", interrupt)
    tuning = search(trials=2, storage="study.db")
    assert tuning.interrupted
    assert [trial.state for trial in tuning.trials] == ["failed"]


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_a_search_that_is_killed_can_be_continued() -> None:
    program = """
import mlp
from mlp.tuning import space

space.WIDTHS = (4, 6)
mlp.tune(mlp.data.load("moons"), trials=500, epochs=3, backend="numpy", storage="study.db")
"""
    process = subprocess.Popen([sys.executable, "-c", program], env=os.environ | {"PYTHONPATH": str(ROOT)})
    try:
        for _ in range(600):
            time.sleep(0.1)
            if _finished("study.db") >= 2:
                break
    finally:
        process.kill()
        process.wait()
    done = _finished("study.db")
    assert done >= 2
    continued = search(trials=done + 2, storage="study.db")
    finished = [replace(one, number=0) for one in without_times(continued) if one.state not in ("running", "failed")]
    assert finished == [replace(one, number=0) for one in without_times(search(trials=done + 2))]


def _finished(path: str) -> int:
    try:
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as connection:
            query = "select count(*) from trials where state in ('COMPLETE', 'PRUNED')"
            return int(connection.execute(query).fetchone()[0])
    except sqlite3.Error:  # not written yet
        return 0


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"seed": 1}, "has trials with seed 0, not 1"),
        ({"epochs": 2}, "has trials with epochs 3, not 2"),
        ({"validation_fraction": 0.3}, "has trials with validation 0.2, not 0.3"),
        ({"class_weight": "balanced"}, "has trials with class_weight None, not 'balanced'"),
        ({"dataset": mlp.data.load("circles")}, "has trials with other data"),
    ],
)
def test_a_study_of_another_search_is_not_continued(other: dict[str, Any], message: str) -> None:
    search(trials=1, storage="study.db")
    before = Path("study.db").read_bytes()
    with pytest.raises(mlp.ConfigurationError, match=message):
        search(**{"trials": 2, "storage": "study.db"} | other)
    assert Path("study.db").read_bytes() == before


def test_a_file_that_is_not_a_study() -> None:
    Path("notes.db").write_text("this is no database, and long enough to be read as a header of one" * 20)
    before = Path("notes.db").read_bytes()
    with pytest.raises(mlp.FileFormatError, match=r"'notes\.db' is no file of trials"):
        search(trials=1, storage="notes.db")
    assert Path("notes.db").read_bytes() == before
    with pytest.raises(mlp.StorageError, match=r"'nowhere/a\.db' cannot be used for the trials"):
        search(trials=1, storage="nowhere/a.db")


# -- the command -----------------------------------------------------------------------------------------


def test_the_best_settings_train_the_network_of_the_best_trial() -> None:
    document = json.loads(run("tune", "digits", "--trials", 3, "--epochs", 4, "--backend", "numpy", "--seed", 3,
                              "--json").stdout)  # fmt: skip
    assert document["output"] == str(Path("studies", "digits-1.toml"))
    assert document["storage"] == str(Path("studies", "digits-1.db"))
    assert len(document["trials"]) == 3
    settings = tomllib.loads(Path(document["output"]).read_text())
    assert settings == document["settings"]
    run("train", "--config", document["output"], "--quiet", "--output-dir", "run")
    results = json.loads(Path("run/results.json").read_text())
    best = document["best"]
    assert results["history"]["val_loss"][best["best_epoch"] - 1] == best["val_loss"]
    assert results["best_epoch"] == best["best_epoch"]
    digits = mlp.data.load("digits", seed=3)
    tuning = mlp.tune(digits, trials=3, epochs=4, seed=3, backend="numpy")
    assert digest(tuning.train_best()) == digest(mlp.load("run/model.safetensors", backend="numpy"))


def test_a_table_with_its_columns(tmp_path: Path) -> None:
    rows = [f"{i},{i * 7 % 13},{(i * 7 % 13) * 0.5 + 0.1},{'left' if i % 2 else 'right'}" for i in range(120)]
    Path("houses.csv").write_text("\n".join(["id,size,price,side", *rows]) + "\n")
    output = run("tune", "houses.csv", "--target", "price", "--drop", "side", "--trials", 2, "--epochs", 2, "--storage",
                 "h.db").stdout  # fmt: skip
    lines = output.splitlines()
    assert lines[0].split()[0] == "data"
    assert [line for line in lines if line.startswith("left out")]
    assert any(line.split()[:4] == ["trial", "val_loss", "R^2", "epoch"] for line in lines)
    assert lines[-1] == "train it  mlp train --config h.toml"
    settings = tomllib.loads(Path("h.toml").read_text())
    assert settings["data"] == str(tmp_path / "houses.csv")
    assert settings["drop"] == ["side"]
    text = Path("h.toml").read_text()
    assert text in output
    run("train", "--config", "h.toml", "--quiet")


def test_the_same_command_continues_and_the_names_of_files_are_free_ones() -> None:
    options = ("tune", "xor", "--epochs", 2, "--backend", "numpy", "--quiet")
    assert run(*options, "--trials", 1).stdout == f"{Path('studies', 'xor-1.toml')}\n"
    assert run(*options, "--trials", 2).stdout == f"{Path('studies', 'xor-2.toml')}\n"
    more = run(*options, "--trials", 2, "--storage", "studies/xor-1.db", "--output", "best.toml")
    assert more.stdout == "best.toml\n"
    assert tomllib.loads(Path("best.toml").read_text()) == tomllib.loads(Path("studies/xor-2.toml").read_text())


def test_ctrl_c_prints_the_results_and_the_command_that_continues(monkeypatch: pytest.MonkeyPatch) -> None:
    fit, count = mlp.MLP.fit, 0

    def fit_with_ctrl_c(self: mlp.MLP, *arguments: Any, **settings: Any) -> mlp.History:
        nonlocal count
        count += 1
        if count == 2:
            signal.raise_signal(signal.SIGINT)
        return fit(self, *arguments, **settings)

    monkeypatch.setattr(mlp.MLP, "fit", fit_with_ctrl_c)
    result = run("tune", "xor", "--epochs", 2, "--backend", "numpy", "--trials", 9, "--timeout", "2min", status=130)
    assert "done      2 trials: 1 finished, 1 failed" in result.stdout
    command = result.stderr.splitlines()[-1].partition("continue with: mlp ")[2]
    assert command == "tune xor --trials 9 --timeout 120s --epochs 2 --backend numpy --storage studies/xor-1.db"
    assert "9 trials" in run(*command.replace("--trials 9", "--trials 8").split()).stdout


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("", "Missing argument 'DATA'"),
        ("nowhere.csv", "DATA"),
        ("moons --trials 0", "--trials"),
        ("moons --timeout soon", "--timeout"),
        ("moons --timeout 5steps", "--timeout"),
        ("moons --validation 0", "--validation must be above 0"),
        ("moons --validation 1", "--validation"),
        ("moons --storage no/study.db", "--storage: 'no/study.db' cannot be written"),
        ("moons --output no/best.toml", "--output: 'no/best.toml' cannot be written"),
        ("moons --class-weight odd", "--class-weight: unknown class weight 'odd'"),
        ("sine --class-weight balanced", "--class-weight applies to classes"),
        ("moons --seed -1", "--seed"),
        ("moons --backend nmpy", "--backend"),
    ],
)
def test_wrong_usage_is_one_line(command: str, message: str) -> None:
    result = run("tune", *command.split(), status=2)
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1
    assert message in result.stderr
    assert not Path("studies").exists()


# -- TOML ------------------------------------------------------------------------------------------------

TEXTS = st.text(st.characters(codec="utf-8"))
SCALARS = st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | TEXTS


@given(st.dictionaries(TEXTS, SCALARS | st.lists(SCALARS)), st.text())
def test_what_is_written_as_toml_is_read_back(settings: dict[str, Any], comment: str) -> None:
    assert tomllib.loads(to_toml(settings, comment)) == settings
