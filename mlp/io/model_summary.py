"""What a model file contains, without making a network of it."""

from __future__ import annotations

import os
from typing import Any

from mlp._backends import formulas
from mlp.io.model_format import ModelFile, opened


def summarize(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Describe a model file as plain data; see `mlp.persistence.inspect`."""
    with opened(path) as file:
        description = file.description
        config, preprocessing, training = (description.get(key) for key in ("config", "preprocessing", "training"))
        assert config is not None
        return {
            "file": os.fspath(path),
            "bytes": file.size,
            "format_version": description["format_version"],
            "written_by": description["written_by"],
            "layers": _layers(config),
            "parameters": file.layout.n_parameters,
            "config": config,
            "custom": _custom(config),
            "preprocessing": None if preprocessing is None else _preprocessing(preprocessing),
            "training": None if training is None else _training(training),
            "checksum": _checksum(file),
        }


def _layers(config: dict[str, Any]) -> list[dict[str, Any]]:
    sizes, rates = config["sizes"], [config["input_dropout"], *config["dropout"]]
    activations = [*config["activation"], config["output_activation"]]
    return [
        {
            "inputs": n_in,
            "outputs": n_out,
            "parameters": n_in * n_out + n_out,
            "activation": activation,
            "dropout": rate,
            "init": init,
        }
        for n_in, n_out, activation, rate, init in zip(
            sizes[:-1], sizes[1:], activations, rates, config["init"], strict=True
        )
    ]


def _custom(config: dict[str, Any]) -> list[str]:
    """The names of the functions that `mlp.load` needs as its argument `custom`."""
    names = [name for name in (*config["activation"], config["output_activation"]) if name not in formulas.ACTIVATIONS]
    return sorted({*names, *({config["loss"]} - set(formulas.LOSSES))})


def _preprocessing(state: dict[str, Any]) -> dict[str, Any]:
    categorical = [column for column in state["columns"] if "categories" in column]
    preparation = state.get("preparation") or {"columns": [], "left_out": []}
    return {
        "scale": state["scale"],
        "numeric_columns": len(state["columns"]) - len(categorical),
        "categorical_columns": len(categorical),
        "dates": {column["name"]: column["parts"] for column in preparation["columns"] if column["kind"] == "date"},
        "left_out": dict(preparation["left_out"]),
    }


def _training(training: dict[str, Any]) -> dict[str, Any]:
    history = training["history"]
    last = {name: (history.get(name) or [None])[-1] for name in ("loss", "val_loss", "val_score")}
    return {
        "optimizer": training["optimizer"],
        "epochs": training["epoch"],
        "batches": training.get("batches", 0),
        "steps": training["step"],
        "seconds": sum(history.get("seconds", ())),
        **last,
        "stop_reason": history.get("stop_reason", ""),
        "backend": history.get("backend", ""),
    }


def _checksum(file: ModelFile) -> dict[str, Any]:
    """The checksum in the file, and whether it is that of the content; both are None if the file has none."""
    return {
        "sha256": file.checksum,
        "holds": None if file.checksum is None else file.computed_checksum() == file.checksum,
    }
