"""The command that trains a run again, from its configuration."""

from __future__ import annotations

import shlex
from dataclasses import MISSING, fields
from typing import Any

from mlp.optimizers import OPTIMIZERS
from mlp.schedules import SCHEDULES


def command(config: dict[str, Any]) -> tuple[list[str], list[str]]:
    """``mlp train ...`` for the run's ``config.json``, flag by flag, and the settings that it has no flag for.

    A run of ``mlp train`` has none of the latter; one that was made in Python may.
    """
    data, model, training = config["data"], config["model"], config["training"]
    flags: dict[str, Any] = {
        "--data-dir": data.get("data_dir"),
        "--target": data.get("target"),
        "--task": data.get("task"),
        "--scale": data.get("scale"),
        "--test-fraction": data.get("test_fraction"),
        "--validation": training.get("validation_fraction"),
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
        "--epochs": training["epochs"],
        "--batch-size": training.get("batch_size"),
        "--seed": model["seed"],
    }
    optimizer, unsaid = _optimizer(training["optimizer"])
    stopping = training.get("early_stopping") or {}
    flags |= optimizer | {"--early-stopping": stopping.get("patience")}
    unsaid += [f"early_stopping.{name}" for name in stopping if name != "patience"]
    if data.get("seed") != model["seed"]:
        unsaid.append(f"the seed {data.get('seed')} of the split")
    place = config["backend"]
    flags |= {"--backend": place.get("name"), "--device": place.get("device")}
    words = [["mlp", "train", str(data["source"])]]
    words += [[flag] if value is True else [flag, str(value)] for flag, value in flags.items() if value is not None]
    return [shlex.join(part) for part in words], unsaid


def _list(values: list[Any]) -> str:
    """One value for all layers, or one for each."""
    return ",".join(map(str, values[:1] if len(set(values)) == 1 and not isinstance(values[0], int) else values))


def _optimizer(settings: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Flags of the optimizer, and the settings there is no flag for."""
    rate, flags, unsaid = settings["learning_rate"], {"--optimizer": settings["name"]}, []
    if isinstance(rate, dict):
        memory = ("name", "learning_rate", "current", "best", "waited")
        own = {entry.name for entry in fields(SCHEDULES[rate["name"]])}
        told = [f"{name}={value}" for name, value in rate.items() if name in own and name not in memory]
        flags["--schedule"] = ":".join(filter(None, (rate["name"], ",".join(told))))
        rate = rate["learning_rate"]
    flags["--lr"] = rate
    for entry in fields(OPTIMIZERS[settings["name"]]):
        name, value = entry.name, settings.get(entry.name)
        if name == "learning_rate" or value == (None if entry.default is MISSING else entry.default):
            continue
        if name in ("momentum", "nesterov", "weight_decay", "clip_norm", "clip_value"):
            flags["--" + name.replace("_", "-")] = value
        else:
            unsaid.append(f"optimizer.{name} = {value}")
    return flags, unsaid
