"""``mlp train --config``: options from a TOML file, and from the ``config.json`` of a run."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import json
import tempfile
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

import mlp
from mlp.cli import cli
from mlp.cli.train import train
from mlp.io.run_settings import settings_of_run

QUICK = ("--backend", "numpy", "--quiet")


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLP_DATA", raising=False)


def run(*arguments: object, status: int = 0) -> Result:
    result = CliRunner().invoke(cli, ["train", *map(str, arguments)], prog_name="mlp")
    assert result.exit_code == status, (result.output, result.exception)
    return result


def refused(text: str, *arguments: object) -> str:
    """The error for a file `run.toml` with this text."""
    Path("run.toml").write_text(text, encoding="utf-8")
    result = run(*arguments, "--config", "run.toml", status=2)
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1
    assert not Path("runs").exists()
    return result.stderr.removeprefix("mlp: error: ").strip()


def config(folder: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(Path(folder, "config.json").read_text())
    return document


def weights(folder: str) -> str:
    """SHA-256 of the parameters of the model of a run."""
    return hashlib.sha256(mlp.load(Path(folder, "model.safetensors"), backend="numpy").parameters.tobytes()).hexdigest()


def houses(rows: int = 130, seed: int = 0) -> None:
    rng = np.random.default_rng(seed)
    size, city = rng.uniform(50, 200, rows), rng.choice(["Bergen", "Oslo", "Åsgård, inner"], rows)
    price = size / 50 + (city == "Oslo") + rng.normal(0, 0.05, rows)
    with open("houses.csv", "w", encoding="utf-8", newline="") as handle:
        csv.writer(handle).writerows([("size", "a, b", "price"), *zip(size, city, price, strict=True)])


# -- TOML ------------------------------------------------------------------------------------------------

EVERY_OPTION = {
    "data": "digits", "task": "classification", "scale": "standard", "test-fraction": 0.25, "validation": 0.2,
    "hidden": [12, 6], "activation": ["tanh", "elu"], "output-activation": "sigmoid", "loss": "binary_cross_entropy",
    "init": ["normal", "he_normal", "zeros"], "dtype": "float64", "precision": "float32", "epochs": 2,
    "batch-size": 50, "optimizer": "sgd", "lr": 0.05, "momentum": 0.9, "nesterov": True,
    "schedule": "cosine:floor=0.001", "warmup": 1, "early-stopping": 3, "seed": 7, "weight-decay": 0.01, "l2": 0.1,
    "l1": 0.2, "dropout": [0.1, 0.2], "input-dropout": 0.3, "clip-norm": 5, "clip-value": 2.5,
    "class-weight": "balanced", "device": "cpu", "backend": "numpy", "checkpoint-every": "100steps",
    "shards": 8, "timeout": 60.0,
}  # fmt: skip


def toml(settings: dict[str, Any]) -> str:
    return "".join(f"{key} = {json.dumps(value)}\n" for key, value in settings.items())


def flags(settings: dict[str, Any]) -> list[str]:
    result = [settings["data"]]
    for key, value in settings.items():
        if value is True:
            result.append(f"--{key}")
        elif key != "data":
            result += [f"--{key}", ",".join(map(str, value)) if isinstance(value, list) else str(value)]
    return result


@pytest.mark.parametrize("separator", ["-", "_"])
def test_every_option_can_be_in_the_file(separator: str) -> None:
    settings = {key.replace("-", separator): value for key, value in EVERY_OPTION.items()}
    Path("run.toml").write_text(toml(settings))
    run("--config", "run.toml", "--quiet", "--output-dir", "file")
    run(*flags(EVERY_OPTION), "--quiet", "--output-dir", "flags")
    assert weights("file") == weights("flags")
    same = ("data", "training", "model", "backend", "data_sha256")
    assert {key: config("file")[key] for key in same} == {key: config("flags")[key] for key in same}


def test_no_option_is_forgotten_above() -> None:
    long_names = {option.opts[0].removeprefix("--") for option in train.params if isinstance(option, click.Option)}
    of_the_test = {"config", "output-dir", "quiet", "json", "resume", "allow-different-machine"}
    for_files = {
        "target", "drop", "columns", "categorical", "numeric", "data-dir", "separator", "encoding", "decimal", "stream",
    }  # fmt: skip
    assert long_names == {*EVERY_OPTION, *of_the_test, *for_files} - {"data"}


def test_the_options_for_tables_and_output_can_be_in_the_file() -> None:
    houses()
    Path("run.toml").write_text(
        'data = "houses.csv"\ntarget = "price"\ndrop = ["a, b"]\nnumeric = "size"\nepochs = 1\nbackend = "numpy"\n'
        'quiet = true\noutput_dir = "here"\n'
    )
    assert run("--config", "run.toml").stdout == "here\n"
    assert config("here")["data"]["drop"] == ["a, b"]
    assert config("here")["model"]["sizes"][0] == 1


def test_the_command_line_wins() -> None:
    Path("run.toml").write_text('data = "digits"\nhidden = [8]\nepochs = 1\nlr = 0.5\nnesterov = false\n')
    run("moons", "--config", "run.toml", "--hidden", "4,4", "--lr", "0.25", *QUICK, "--output-dir", "x")
    assert config("x")["data"]["source"] == "moons"
    assert config("x")["model"]["sizes"] == [2, 4, 4, 2]
    assert config("x")["training"]["epochs"] == 1
    assert config("x")["training"]["optimizer"]["learning_rate"] == 0.25


def test_a_target_may_be_a_number_or_several_names() -> None:
    np.save("rows.npy", np.random.default_rng(0).normal(size=(40, 3)))
    Path("run.toml").write_text('data = "rows.npy"\ntarget = 0\nepochs = 1\n')
    run("--config", "run.toml", *QUICK, "--output-dir", "x")
    assert config("x")["data"]["target"] == "0"
    Path("t.csv").write_text("a,b,c\n" + "".join(f"{i},{i * 0.5},{i * i * 0.1}\n" for i in range(30)))
    Path("run.toml").write_text('data = "t.csv"\ntarget = ["b", "c"]\nepochs = 1\n')
    run("--config", "run.toml", *QUICK, "--output-dir", "y")
    assert config("y")["model"]["sizes"][-1] == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lern-rate = 0.1", "unknown key 'lern-rate'; did you mean '"),
        ("batchsize = 3", "unknown key 'batchsize'; did you mean 'batch-size'?"),
        ('config = "a.toml"', "unknown key 'config'"),
        ('lr = "fast"', "lr is 'fast', expected a number."),
        ("lr = true", "lr is True, expected a number."),
        ("lr = nan", "lr: learning_rate must be a positive number, not nan."),
        ("epochs = 1.5", "epochs is 1.5, expected a whole number."),
        ("epochs = true", "epochs is True, expected a whole number."),
        ('epochs = "3"', "epochs is '3', expected a whole number."),
        ("epochs = 0", "epochs: 0 is not in the range x>=1."),
        ("validation = 1", "validation: '1' is not a fraction"),
        ("nesterov = 1", "nesterov is 1, expected true or false."),
        ('hidden = ["a"]', "hidden is ['a'], expected a list of whole numbers such as [128, 64], or \"none\"."),
        ("hidden = [1.5]", "hidden is [1.5], expected a list of whole numbers"),
        ('hidden = "a"', "hidden: 'a' is not a list of whole numbers"),
        ("dropout = [0.1, true]", "dropout is [0.1, True], expected a number, or a list of numbers"),
        ("activation = 3", "activation is 3, expected a name, or a list of names"),
        ('activation = "rleu"', "activation: unknown activation 'rleu'; did you mean 'relu'?"),
        ("loss = 2021-01-01", "loss is datetime.date(2021, 1, 1), expected a text in quotation marks."),
        ('optimizer = "adm"', "optimizer: unknown optimizer 'adm'; did you mean 'adam'?"),
        ("[train]\nlr = 1", "train is a table; write the keys at the top level, without [train]."),
        ("lr = ", "this is not TOML: Invalid value (at "),
        ("batch-size = 1\nbatch_size = 2", "batch-size is there twice, with - and with _; remove one of them."),
        ("l2 = -1", "l2: l2 must be"),
        ('output-dir = "."', "output-dir: '.' exists already"),
    ],
)
def test_an_error_names_the_file_and_the_key(text: str, message: str) -> None:
    assert refused(text, "digits", "--backend", "numpy").startswith(f"run.toml: {message}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('data = "nowhere.csv"', "data: there is no file 'nowhere.csv'"),
        ('data = "digts"', "data: unknown data set 'digts'; did you mean 'digits'?"),
        ('resume = "nowhere"', "resume: there is no file 'nowhere'"),
    ],
)
def test_an_error_about_the_data_names_the_file(text: str, message: str) -> None:
    assert refused(text).startswith(f"run.toml: {message}")


def test_the_file_must_exist_and_be_of_a_known_kind() -> None:
    assert run("--config", "no.toml", status=2).stderr.startswith("mlp: error: --config: there is no file 'no.toml'")
    Path("run.yaml").write_text("lr: 1")
    assert "must be a TOML file, which ends in .toml, or the config.json of a run" in run(
        "--config", "run.yaml", status=2
    ).stderr  # fmt: skip
    Path("bytes.toml").write_bytes(b"lr = \xff")
    assert "'bytes.toml' is damaged or not of format TOML" in run("--config", "bytes.toml", status=2).stderr
    Path("empty").mkdir()
    assert "there is no file 'empty/config.json'" in run("--config", "empty", status=2).stderr


def test_resume_takes_no_settings_of_a_file() -> None:
    run("moons", "--epochs", 1, *QUICK)
    Path("run.toml").write_text("lr = 0.1\nquiet = true")
    error = run("--resume", "runs/moons-1", "--config", "run.toml", status=2).stderr
    assert "--resume takes --lr from the run that it continues; remove it from run.toml." in error


KEYS = st.text(st.characters(codec="utf-8", exclude_categories=("Cc",)), max_size=8)
VALUES = st.recursive(
    st.booleans() | st.integers(-(2**40), 2**40) | st.floats(width=16) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=4,
)


@given(st.sampled_from(sorted({*EVERY_OPTION, "target", "drop", "columns"} - {"data", "epochs"})), VALUES)
def test_any_value_of_any_key_trains_or_is_one_line(key: str, value: Any) -> None:
    text = json.dumps(value, allow_nan=True).replace("NaN", "nan").replace("Infinity", "inf")
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        Path("run.toml").write_text(f"{key} = {text}\n".encode("ascii", "backslashreplace").decode())
        command = ["train", "xor", "--config", "run.toml", "--epochs", "1", "--quiet", "--hidden", "2"]
        result = CliRunner().invoke(cli, command, prog_name="mlp")
        assert result.exit_code in (0, 1, 2), result.exception
        if result.exit_code:
            assert result.stderr.splitlines()[-1].startswith("mlp: error: ")
            assert "Traceback" not in result.stderr


# -- config.json -----------------------------------------------------------------------------------------

RUNS = {
    "digits": ["digits", "--epochs", 3],
    "digits-all": [*flags(EVERY_OPTION)],
    "sgd": ["digits", "--optimizer", "sgd", "--schedule", "step:every=1,factor=0.5", "--epochs", 3],
    "no hidden": ["digits", "--hidden", "none", "--epochs", 2, "--optimizer", "adamw", "--weight-decay", 0],
    "plateau": ["spirals", "--schedule", "reduce_on_plateau:patience=1", "--lr", 0.1, "--epochs", 4],
    "gd": ["moons", "--optimizer", "gd", "--epochs", 3, "--init", "uniform", "--seed", 5],
    "table": ["houses.csv", "--target", "price", "--epochs", 5],
    "table-stopping": ["houses.csv", "--target", "price", "--epochs", 9, "--early-stopping", 2, "--lr", 1],
    "table-no-validation": ["houses.csv", "--target", "price", "--epochs", 3, "--validation", 0],
    "table-columns": ["houses.csv", "--target", "a, b", "--drop", "price", "--epochs", 2, "--class-weight", "balanced"],
}


@pytest.mark.parametrize("name", RUNS)
def test_the_configuration_of_a_run_trains_the_same_weights(name: str) -> None:
    houses()
    run(*RUNS[name], "--quiet", "--output-dir", "first")
    assert run("--config", "first/config.json", "--quiet", "--output-dir", "second").stderr == ""
    assert weights("first") == weights("second")
    for part in ("data", "data_sha256", "training", "model"):
        assert config("first")[part] == config("second")[part]


def test_the_configuration_of_mnist_trains_the_same_weights(mnist_folder: Path) -> None:
    run("mnist", "--data-dir", mnist_folder, "--hidden", 8, "--epochs", 1, "--quiet", "--output-dir", "first",
        "--batch-size", 500)  # fmt: skip
    run("--config", "first", "--quiet", "--output-dir", "second")  # the folder means its config.json
    assert weights("first") == weights("second")


def test_settings_that_follow_from_others_follow_the_command_line() -> None:
    houses()
    run("houses.csv", "--target", "price", "--epochs", 3, "--schedule", "cosine", "--hidden", "8,8", *QUICK)
    run("--config", "runs/houses-1", "--epochs", 5, "--hidden", 4, "--quiet")
    training = config("runs/houses-2")["training"]
    assert training["early_stopping"]["patience"] == 5  # all epochs, then the weights of the best one
    assert training["optimizer"]["learning_rate"]["epochs"] == 5
    assert config("runs/houses-2")["model"]["init"] == ["glorot_uniform"] * 2
    run("digits", "--epochs", 1, "--hidden", "8,8", *QUICK)
    run("--config", "runs/digits-1", "--hidden", 4, "--activation", "selu", "--quiet")
    assert config("runs/digits-2")["model"]["init"] == ["lecun_normal", "glorot_uniform"]


def test_what_does_not_fit_the_command_line_is_left_out_and_said() -> None:
    run(*flags(EVERY_OPTION), "--quiet", "--output-dir", "a")
    result = run("--config", "a", "--optimizer", "adam", "--schedule", "constant", "--validation", 0, "--backend",
                 "numpy", "--quiet", "--output-dir", "b")  # fmt: skip
    assert result.stderr.splitlines() == [
        "mlp: a/config.json: device is not used, because --backend is on the command line",
        "mlp: a/config.json: momentum is not used, because it does not apply to --optimizer adam",
        "mlp: a/config.json: nesterov is not used, because it does not apply to --optimizer adam",
        "mlp: a/config.json: early-stopping is not used, because there is no validation part",
    ]
    assert config("b")["training"]["early_stopping"] is None


def test_other_data_are_a_warning() -> None:
    houses()
    run("houses.csv", "--target", "price", "--epochs", 1, *QUICK, "--output-dir", "a")
    houses(seed=1)
    assert "the data have changed" in run("--config", "a", "--quiet").stderr
    assert run("--config", "a", "--quiet", "--seed", 3).stderr == ""


@pytest.mark.parametrize(
    ("part", "field", "value"),
    [("optimizer", "beta1", 0.8), ("early_stopping", "monitor", "val_score"), ("early_stopping", "min_delta", 0.1)],
)
def test_what_no_option_can_set_is_refused(part: str, field: str, value: object) -> None:
    run("moons", "--epochs", 1, "--validation", 0.2, "--early-stopping", 2, *QUICK, "--output-dir", "a")
    document = config("a")
    document["training"][part][field] = value
    Path("a/config.json").write_text(json.dumps(document))
    error = run("--config", "a", status=2).stderr
    assert error.startswith(f"mlp: error: a/config.json: training.{part}.{field} is {value!r}, but mlp train can only")


def test_levels_of_quantiles_that_no_option_can_set_are_refused() -> None:
    run("sine", "--loss", "quantile", "--epochs", 1, *QUICK, "--output-dir", "a")
    run("--config", "a", "--output-dir", "b")
    assert Path("b/model.safetensors").read_bytes() == Path("a/model.safetensors").read_bytes()
    document = config("a")
    document["model"]["quantile"] = [0.9]
    Path("a/config.json").write_text(json.dumps(document))
    assert "model.quantile is [0.9], but mlp train can only set [0.5]" in run("--config", "a", status=2).stderr


def test_a_setting_that_is_added_to_the_configuration_is_not_forgotten() -> None:
    run("moons", "--epochs", 1, *QUICK, "--output-dir", "a")
    document = config("a")
    settings_of_run(document, "a")
    document["training"]["new"] = 3
    with pytest.raises(mlp.ConfigurationError, match=r"a: training\.new is 3, but mlp train can only set None"):
        settings_of_run(document, "a")


def test_a_damaged_configuration_is_one_line() -> None:
    Path("config.json").write_text('{"format_version": 1}')
    assert "'config.json' is damaged" in run("--config", "config.json", status=2).stderr


def test_settings_of_a_run_are_values_of_toml() -> None:
    run(*flags(EVERY_OPTION), "--quiet", "--output-dir", "a")
    settings = settings_of_run(mlp.io.run_folders.read_config("a"), "a")
    assert settings["hidden"] == [12, 6]
    assert settings["schedule"] == "cosine:warmup=1.0,floor=0.001"
    assert settings["data"] == "digits"
