"""The ``config.json`` of a run as settings of ``mlp train``, by the names of the options."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from mlp._backends import ConfigurationError, formulas
from mlp.data.table_files import STANDARD_INPUT, table_suffix
from mlp.initializers import initializer_for
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
    model, training = config["model"], config["training"]
    data = {name: value for name, value in config["data"].items() if value not in (None, [])}
    data["data"] = data.pop("source")
    seed = data.setdefault("seed", model["seed"])
    _require(where, "model.seed", model["seed"], seed)
    _require(where, "model.scaling_layer", model.get("scaling_layer", False), False)
    network = {
        "hidden": model["sizes"][1:-1],
        "activation": _one_for_all(model["activation"]),
        "output_activation": model["output_activation"],
        "loss": model["loss"],
        "init": _init(model),
        "dropout": _one_for_all(model["dropout"]),
        **{name: model[name] for name in ("input_dropout", "l2", "l1", "dtype")},
        "precision": model.get("precision", "float32"),
    }
    length = {
        "epochs": training["epochs"],
        "batch_size": training["batch_size"],
        "validation": training["validation_fraction"] or 0.0,
        "class_weight": training.get("class_weight"),
    }
    stopping = _early_stopping(config, where)
    optimizer = _optimizer(training, where)
    backend = {name: config["backend"].get(key) for name, key in (("backend", "name"), ("device", "device"))}
    settings = data | network | length | stopping | optimizer | backend
    return {name: value for name, value in settings.items() if value is not None}


def _require(where: str, field: str, value: object, expected: object) -> None:
    if value != expected:
        raise ConfigurationError(
            f"{where}: {field} is {value!r:.80}, but mlp train can only set {expected!r:.80}; train this network from "
            "Python, with mlp.runs.repeat"
        )


def _one_for_all(values: Sequence[Any]) -> Any:
    """One value if all layers have it, which is also valid for another number of layers; None if there are none."""
    return values[0] if len(set(values)) == 1 else list(values) or None


def _init(model: Mapping[str, Any]) -> Any:
    names = [*model["activation"], model["output_activation"]]
    if not set(names) <= formulas.ACTIVATIONS.keys():  # custom functions, which mlp train will refuse by their name
        return None
    automatic = [initializer_for("auto", formulas.activation(name)) for name in names]
    return None if model["init"] == automatic else _one_for_all(model["init"])


def _early_stopping(config: Mapping[str, Any], where: str) -> dict[str, Any]:
    data, training = config["data"], config["training"]
    rule = training["early_stopping"]
    is_table = bool(table_suffix(data["source"])) or data["source"] == STANDARD_INPUT
    keeps_best = is_table or data.get("scale") not in (None, "none")
    if rule is None:
        if keeps_best:
            _require(where, "training.early_stopping", rule if training["validation_fraction"] else "", "")
        return {}
    for field in dataclasses.fields(EarlyStopping):
        if field.name != "patience":
            _require(where, f"training.early_stopping.{field.name}", rule.get(field.name, field.default), field.default)
    patience = rule.get("patience", EarlyStopping.patience)
    return {} if keeps_best and patience == training["epochs"] else {"early_stopping": patience}


def _optimizer(training: Mapping[str, Any], where: str) -> dict[str, Any]:
    settings = training["optimizer"]
    name, rate = settings["name"], settings.get("learning_rate")
    defaults = {field.name: field.default for field in dataclasses.fields(OPTIMIZERS[name])}
    result = {"optimizer": name}
    for key, value in settings.items():
        if key in _OPTIMIZER:
            result |= {} if value == defaults[key] else {key: value}
        elif key not in ("name", "learning_rate"):
            _require(where, f"training.optimizer.{key}", value, defaults[key])
    if not isinstance(rate, dict):
        return result | {"lr": rate}
    kind = rate["name"]
    texts = []
    for field in dataclasses.fields(SCHEDULES[kind]):
        value = rate.get(field.name)
        default = training["epochs"] if field.name == "epochs" else field.default
        if field.name not in ("learning_rate", *_STATE) and value not in (None, default):
            texts.append(f"{field.name}={value!r}")
    return result | {"lr": rate["learning_rate"], "schedule": f"{kind}:{','.join(texts)}" if texts else kind}
