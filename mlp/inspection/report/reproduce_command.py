"""The ``mlp train`` command that repeats a run, from its configuration."""

from __future__ import annotations

import csv
import io
import shlex
from dataclasses import MISSING, fields
from typing import Any

from mlp.optimizers import OPTIMIZERS
from mlp.schedules import SCHEDULES


def train_command(config: dict[str, Any]) -> tuple[list[str], list[str]]:
    """Arguments of ``mlp train ...`` for the run's ``config.json``, and the settings that have no option.

    For a run of ``mlp train`` the second list is empty; for a run that was made in Python it may not be.
    """
    data, model, training = config["data"], config["model"], config["training"]
    options: dict[str, Any] = {
        "--data-dir": data.get("data_dir"),
        "--target": data.get("target"),
        "--task": data.get("task"),
        "--drop": _columns(data.get("drop")),
        "--columns": _columns(data.get("columns")),
        "--categorical": _columns(data.get("categorical")),
        "--numeric": _columns(data.get("numeric")),
        "--separator": data.get("separator"),
        "--encoding": data.get("encoding"),
        "--decimal": data.get("decimal"),
        "--scale": data.get("scale"),
        "--stream": data.get("stream"),
        "--test-fraction": data.get("test_fraction"),
        "--validation": training.get("validation_fraction") or 0,
        "--hidden": _list(model["sizes"][1:-1]) or "none",
        "--activation": _list(model["activation"]) or None,
        "--output-activation": model["output_activation"],
        "--loss": model["loss"],
        "--init": _list(model["init"]),
        "--dropout": _list(model["dropout"]) if any(model["dropout"]) else None,
        "--input-dropout": model["input_dropout"] or None,
        "--l2": model["l2"] or None,
        "--l1": model["l1"] or None,
        "--dtype": model["dtype"],
        "--precision": model.get("precision"),
        "--class-weight": training.get("class_weight"),
        "--shards": training.get("shards"),
        "--epochs": training["epochs"],
        "--batch-size": training.get("batch_size"),
        "--seed": model["seed"],
    }
    optimizer, without_option = _optimizer(training["optimizer"])
    stopping = training.get("early_stopping") or {}
    options |= optimizer | {"--early-stopping": stopping.get("patience")}
    without_option += [f"early_stopping.{name}" for name in stopping if name != "patience"]
    if data.get("seed") != model["seed"]:
        without_option.append(f"the seed {data.get('seed')} of the split")
    if model.get("quantile", [0.5]) != [0.5]:  # the default of the loss
        without_option.append(f"quantile = {model['quantile']}")
    backend = config["backend"]
    options |= {"--backend": backend.get("name"), "--device": backend.get("device")}
    arguments = [["mlp", "train", str(data["source"])]]
    arguments += [
        [option] if value is True else [option, str(value)] for option, value in options.items() if value is not None
    ]
    return [shlex.join(argument) for argument in arguments], without_option


def _columns(names: list[str] | None) -> str | None:
    """Names of columns as an option has them: in double quotes if they hold a comma or a quote."""
    if not names:
        return None
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(names)
    return text.getvalue()


def _list(values: list[Any]) -> str:
    """One value if it is the same for all layers, else one for each layer."""
    return ",".join(map(str, values[:1] if len(set(values)) == 1 and not isinstance(values[0], int) else values))


def _optimizer(settings: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Options of the optimizer, and the settings that have no option."""
    rate, options, without_option = settings["learning_rate"], {"--optimizer": settings["name"]}, []
    if isinstance(rate, dict):
        not_arguments = ("name", "learning_rate", "current", "best", "waited")
        parameters = {entry.name for entry in fields(SCHEDULES[rate["name"]])}
        arguments = [
            f"{name}={value}" for name, value in rate.items() if name in parameters and name not in not_arguments
        ]
        options["--schedule"] = ":".join(filter(None, (rate["name"], ",".join(arguments))))
        rate = rate["learning_rate"]
    options["--lr"] = rate
    for entry in fields(OPTIMIZERS[settings["name"]]):
        default = None if entry.default is MISSING else entry.default
        name, value = entry.name, settings.get(entry.name, default)  # factors of the rate that are 1 are not in files
        if name == "learning_rate" or value == default:
            continue
        if name in ("momentum", "nesterov", "weight_decay", "clip_norm", "clip_value"):
            options["--" + name.replace("_", "-")] = value
        else:
            without_option.append(f"optimizer.{name} = {value}")
    return options, without_option
