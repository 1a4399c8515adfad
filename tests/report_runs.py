"""Runs of each kind, for tests of their reports."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from click.testing import CliRunner

from mlp.cli import cli

HOSTILE = ("<script>alert(1)</script>", "a & b", '"><img src=x onerror=alert(2)>', "x" * 60, "{{ 7 * 7 }}")
KINDS = ("digits", "moons", "mail <u>", "houses")


def run(*arguments: object, status: int = 0) -> str:
    result = CliRunner().invoke(cli, [str(argument) for argument in arguments], prog_name="mlp")
    assert result.exit_code == status, (result.output, result.exception)
    return result.output


def train(folder: Path, *arguments: object, status: int = 0) -> Path:
    run("train", *arguments, "--backend", "numpy", "--quiet", "--output-dir", folder, status=status)
    return folder


def train_each_kind(folder: Path) -> Path:
    """Write one run of each of the `KINDS` into a folder, beside the data of two."""
    train(folder / "digits", "digits", "--epochs", 12, "--validation", 0.1, "--hidden", 40)
    train(folder / "moons", "moons", "--epochs", 5, "--hidden", 8)
    rng = np.random.default_rng(0)
    with (folder / "mail <b>.csv").open("w", newline="", encoding="utf-8") as handle:
        rows = [(k + rng.normal(), rng.normal(), HOSTILE[k]) for k in np.arange(200) % 5]
        csv.writer(handle).writerows([("<i>length</i>", "b", "kind"), *rows])
    train(folder / "mail <u>", folder / "mail <b>.csv", "--target", "kind", "--epochs", 5)
    with (folder / "houses.csv").open("w", newline="", encoding="utf-8") as handle:
        rows = [
            (size, city, size / 50 + (city == "Oslo"))
            for size, city in zip(rng.uniform(50, 200, 120), ["Oslo", "Rom"] * 60, strict=True)
        ]
        csv.writer(handle).writerows([("size", "city", "price"), *rows])
    train(folder / "houses", folder / "houses.csv", "--target", "price", "--epochs", 20, "--validation", 0.2)
    return folder
