"""Validation by default for tables: rows are set aside, and the weights of the best epoch are kept."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import raw_tables
from click.testing import CliRunner
from numpy.testing import assert_array_equal

import mlp
from mlp.cli import cli

QUICK = ("--epochs", "30", "--lr", "0.05", "--backend", "numpy", "--output-dir", "run")


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def train(*arguments, status=0):
    result = CliRunner().invoke(cli, ["train", *map(str, arguments)], prog_name="mlp")
    assert result.exit_code == status, result.output
    return result


def settings():
    return json.loads(Path("run/config.json").read_text())["training"]


def test_the_weights_of_the_best_epoch_are_kept():
    path = raw_tables.churn(Path("churn.csv"))
    shown = train(path, "--target", "Churn", *QUICK).stdout
    trained, data = mlp.load("run/model.safetensors", backend="numpy"), mlp.data.load(path, target="Churn")
    net = mlp.MLP(trained.sizes, init="glorot_uniform", backend="numpy")
    history = net.fit(
        data.X, data.y, epochs=30, validation_fraction=0.15, optimizer=mlp.Adam(0.05),
        early_stopping=mlp.EarlyStopping(patience=30),
    )  # fmt: skip
    assert len(history) == 30
    assert history.best_epoch < 30
    for found, expected in zip(trained.weights, net.weights, strict=True):
        assert_array_equal(found, expected)
    assert json.loads(Path("run/results.json").read_text())["best_epoch"] == history.best_epoch
    assert "(15% for validation)" in " ".join(shown.split())
    assert "kept" in shown
    assert f"epoch {history.best_epoch}" in shown


def test_a_given_fraction_and_patience_are_used():
    path = raw_tables.churn(Path("churn.csv"))
    train(path, "--target", "Churn", "--validation", 0.3, *QUICK)
    assert settings()["validation_fraction"] == 0.3
    assert settings()["early_stopping"]["patience"] == 30
    train(path, "--target", "Churn", "--early-stopping", 4, *QUICK[:-1], "other")
    other = json.loads(Path("other/config.json").read_text())["training"]
    assert (other["validation_fraction"], other["early_stopping"]["patience"]) == (0.15, 4)


@pytest.mark.parametrize(
    ("rows", "options"), [(700, ("--validation", "0")), (110, ())], ids=["switched off", "too few rows"]
)
def test_all_rows_are_for_training(rows, options):
    path = raw_tables.churn(Path("churn.csv"), rows)
    shown = train(path, "--target", "Churn", *options, *QUICK).stdout
    assert (settings()["validation_fraction"], settings()["early_stopping"]) == (None, None)
    assert "validation" not in shown


def test_other_data_have_no_validation_by_default():
    np.savez("some.npz", X=np.random.default_rng(0).random((300, 3)), y=np.arange(300) % 2)
    train("some.npz", *QUICK)
    assert settings()["validation_fraction"] is None


def test_early_stopping_needs_rows_to_validate_with():
    path = raw_tables.churn(Path("churn.csv"), 110)
    told = train(path, "--target", "Churn", "--early-stopping", 4, *QUICK, status=2).stderr
    assert "has only 88 rows for training: add --validation 0.1" in told


@pytest.mark.parametrize("options", [(), ("--validation", "0")], ids=["with", "without"])
def test_the_report_repeats_the_run(options):
    from mlp.inspection.report.reproduce_command import train_command

    path = raw_tables.churn(Path("churn.csv"), 200)
    train(path, "--target", "Churn", *options, *QUICK)
    arguments, _ = train_command(json.loads(Path("run/config.json").read_text()))
    again = [part for text in arguments[1:] for part in text.split()]
    train(path, *again, "--output-dir", "again")
    assert json.loads(Path("again/config.json").read_text())["training"] == settings()
