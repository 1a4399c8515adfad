"""The ``config.json`` of a run as settings of ``mlp train``, by the names of the options."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mlp._backends import ConfigurationError, formulas
from mlp.data.streams.opening import STREAM_SUFFIXES
from mlp.data.table_files import STANDARD_INPUT, table_suffix
from mlp.initializers import TABLE_INIT, initializer_for
from mlp.optimizers import OPTIMIZERS
from mlp.schedules import SCHEDULES
from mlp.training import EarlyStopping

_OPTIMIZER = ("momentum", "nesterov", "weight_decay", "clip_norm", "clip_value")
_STATE = ("current", "best", "waited")
"""Fields of a schedule that change in a training; a new one begins with their defaults."""


def settings_of_run(config: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The settings with which ``mlp train`` trains the network of a run again.

    What is the default for the other settings is left out, so that some of them can be changed: the length of a
    cosine schedule, for example, is that of the training.

    Parameters
    ----------
    config : dict
        As `mlp.runs.read_config` returns it.
    where : str
        The name of the file, for messages.

    Raises
    ------
    ConfigurationError
        If there is something that no option can set; a program that trained the network from Python can do so.
    """
    # so that a run in memory stays one on a machine with less of it, since the order of the rows would be another one
    settings: dict[str, Any] = {"stream": False} if _could_be_streamed(config) else {}
    settings |= _settings(config)
    for field, (value, expected) in _others(config).items():
        raise ConfigurationError(
            f"{where}: {field} is {value!r:.80}, but mlp train can only set {expected!r:.80}; train this network from "
            "Python, with mlp.runs.repeat"
        )
    return settings


def described_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """All settings of a run that are not the default, also those that ``mlp train`` cannot set, to compare runs."""
    others = {field.rpartition(".")[2]: value for field, (value, _) in _others(config).items()}
    return _settings(config) | others


def _settings(config: Mapping[str, Any]) -> dict[str, Any]:
    model, training = config["model"], config["training"]
    data = {name: value for name, value in config["data"].items() if value not in (None, [])}
    network = {
        "hidden": model["sizes"][1:-1],
        "activation": _one_for_all(model["activation"]),
        "output_activation": model["output_activation"],
        "loss": model["loss"],
        "init": _init(model, _is_table(config)),
        "dropout": _one_for_all(model["dropout"]),
        **{name: model[name] for name in ("input_dropout", "l2", "l1", "dtype", "seed")},
        "precision": model.get("precision", "float32"),
    }
    length = {
        "epochs": training["epochs"],
        "batch_size": training["batch_size"],
        "validation": training["validation_fraction"] or 0.0,
        "class_weight": training.get("class_weight"),
        "shards": training.get("shards"),
    }
    rule = training["early_stopping"]
    if rule is not None:
        patience = rule.get("patience", EarlyStopping.patience)
        length["early_stopping"] = None if _is_table(config) and patience == training["epochs"] else patience
    backend = {name: config["backend"].get(key) for name, key in (("backend", "name"), ("device", "device"))}
    settings = {"data": data.pop("source")} | data | network | length | _optimizer(training) | backend
    return {name: value for name, value in settings.items() if value is not None}


def _others(config: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """The fields of a configuration that no option sets, and that are not as ``mlp train`` leaves them, with both."""
    model, training = config["model"], config["training"]
    optimizer, rule = training["optimizer"], training["early_stopping"]
    pairs = {
        "model.seed": (model["seed"], config["data"].get("seed", model["seed"])),
        "model.scaling_layer": (model.get("scaling_layer", False), False),
        "model.quantile": (model.get("quantile"), [0.5] if model["loss"] == "quantile" else None),
    }
    for field in dataclasses.fields(OPTIMIZERS[optimizer["name"]]):
        if field.name not in (*_OPTIMIZER, "learning_rate"):
            value = optimizer.get(field.name, field.default)
            pairs[f"training.optimizer.{field.name}"] = (value, field.default)
    for field in dataclasses.fields(EarlyStopping):
        if rule is not None and field.name != "patience":
            value = rule.get(field.name, field.default)
            pairs[f"training.early_stopping.{field.name}"] = (value, field.default)
    known = ("epochs", "batch_size", "optimizer", "validation_fraction", "early_stopping", "class_weight", "shards")
    pairs |= {f"training.{key}": (value, None) for key, value in training.items() if key not in known}
    if rule is None and training["validation_fraction"] and _is_table(config):
        pairs["training.early_stopping"] = (None, {"patience": training["epochs"]})
    return {field: (value, expected) for field, (value, expected) in pairs.items() if value != expected}


def _is_table(config: Mapping[str, Any]) -> bool:
    """Whether the data are a table, for which ``mlp train`` has other defaults."""
    source, scale = config["data"]["source"], config["data"].get("scale")
    return bool(table_suffix(source)) or source == STANDARD_INPUT or scale not in (None, "none")


def _could_be_streamed(config: Mapping[str, Any]) -> bool:
    return Path(config["data"]["source"]).suffix.lower() in STREAM_SUFFIXES


def _one_for_all(values: Sequence[Any]) -> Any:
    """One value if all layers have it, which is also valid for another number of layers; None if there are none."""
    return values[0] if len(set(values)) == 1 else list(values) or None


def _init(model: Mapping[str, Any], table: bool) -> Any:
    names = [*model["activation"], model["output_activation"]]
    if not set(names) <= formulas.ACTIVATIONS.keys():  # custom functions, which mlp train will refuse by their name
        return None
    automatic = [TABLE_INIT if table else initializer_for("auto", formulas.activation(name)) for name in names]
    return None if model["init"] == automatic else _one_for_all(model["init"])


def _optimizer(training: Mapping[str, Any]) -> dict[str, Any]:
    settings = training["optimizer"]
    name, rate = settings["name"], settings.get("learning_rate")
    defaults = {field.name: field.default for field in dataclasses.fields(OPTIMIZERS[name])}
    given = {key: settings[key] for key in _OPTIMIZER if key in settings and settings[key] != defaults[key]}
    if not isinstance(rate, dict):
        return {"optimizer": name, "lr": rate} | given
    kind = rate["name"]
    texts = []
    for field in dataclasses.fields(SCHEDULES[kind]):
        value = rate.get(field.name)
        default = training["epochs"] if field.name == "epochs" else field.default
        if field.name not in ("learning_rate", *_STATE) and value not in (None, default):
            texts.append(f"{field.name}={value!r}")
    schedule = f"{kind}:{','.join(texts)}" if texts else kind
    return {"optimizer": name, "lr": rate["learning_rate"], "schedule": schedule} | given
