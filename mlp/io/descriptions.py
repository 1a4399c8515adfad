"""What the metadata of a model file and the ``config.json`` of a run must be, field by field."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, get_args

from mlp import optimizers
from mlp._backends import PRECISIONS
from mlp.data import Preprocessing
from mlp.data.dataset import Task
from mlp.data.preprocessing import SCALES
from mlp.io.fields import (
    BOOLEAN,
    OBJECT,
    Built,
    Choice,
    Either,
    FieldError,
    Instance,
    Kind,
    ListOf,
    MapOf,
    Named,
    Nullable,
    Number,
    OneOrSeveral,
    Record,
    Text,
)
from mlp.optimizers import OPTIMIZERS
from mlp.schedules import SCHEDULES
from mlp.training import EarlyStopping, History

_COUNT, _POSITIVE_COUNT = Number(0, 2**53, whole=True), Number(1, 2**53, whole=True)
_NAME = Text(200)
_FRACTION = Number(0, 1)
_PATH = Text(4096)
_NAMES = ListOf(Text(1000))

# -- optimizers: the fields of their classes, whose constructors check the ranges -------------------------


def _fields_of(cls: type, kinds: Mapping[str, Kind], **others: Kind) -> Record:
    """A record with a field for each one of a dataclass, by its name in `others` or by its annotation in `kinds`."""
    assert dataclasses.is_dataclass(cls)
    entries = dataclasses.fields(cls)
    optional = {
        entry.name
        for entry in entries
        if entry.default is not dataclasses.MISSING or entry.default_factory is not dataclasses.MISSING
    }
    return Record({entry.name: others.get(entry.name) or kinds[str(entry.type)] for entry in entries}, optional)


def _with_name(record: Record) -> Record:
    return Record({"name": Text(), **record.fields}, record.optional)


def _make_optimizer(settings: dict[str, Any]) -> object:
    rate = settings.get("learning_rate")
    if isinstance(rate, dict):
        settings = settings | {"learning_rate": {key: value for key, value in rate.items() if value is not None}}
    return optimizers.from_dict(settings)


_NUMBERS: dict[str, Kind] = {
    "float": Number(),
    "int": Number(),  # a schedule may have half an epoch
    "bool": BOOLEAN,
    "float | None": Nullable(Number()),
    "float | tuple[float, ...]": OneOrSeveral(Number(0)),
}
_RATE, _LOSS = Number(0, 1e308, finite=False), Number(finite=False)


def _optimizer(current: Kind, best: Kind) -> Kind:
    """An optimizer, with kinds for the two numbers of `ReduceOnPlateau` that need not be finite."""
    state: dict[str, Kind] = {"current": current, "best": best, "waited": _COUNT}
    schedule = Named({name: _with_name(_fields_of(cls, _NUMBERS, **state)) for name, cls in SCHEDULES.items()})
    kinds = _NUMBERS | {"float | Schedule": Either(Number(), schedule)}
    return Named({name: _with_name(_fields_of(cls, kinds)) for name, cls in OPTIMIZERS.items()}, _make_optimizer)


# -- model files ----------------------------------------------------------------------------------------

NETWORK = Record(
    {
        "sizes": ListOf(Number(1, 2**40, whole=True), shortest=2),
        "activation": ListOf(_NAME),
        "output_activation": _NAME,
        "loss": _NAME,
        "quantile": ListOf(Number(0, 1, open=True)),
        "dropout": ListOf(_FRACTION),
        "input_dropout": _FRACTION,
        "l2": Number(0),
        "l1": Number(0),
        "init": ListOf(_NAME),
        "seed": Number(0, 2**64 - 1, whole=True),
        "dtype": Choice(("float32", "float64")),
        "precision": Choice(PRECISIONS),
        "input_scale": Nullable(Number(0, open=True)),
        "classes": Nullable(ListOf(Instance((str, int, float, bool), "a string, a number or a boolean"))),
        "target_scaling": Nullable(ListOf(ListOf(Number()), 2, 2)),
        "scaling_layer": BOOLEAN,
    },
    # files have them if they are not float32 and False, and for quantiles, because version 0.2.0 does not know them
    optional={"precision", "scaling_layer", "quantile"},
)

_STOPPING_RULE = Nullable(_fields_of(EarlyStopping, {"str": Text(), "int": _POSITIVE_COUNT, "float": Number(0)}))

_CONDITIONS: dict[str, Kind] = {
    "rows": _COUNT,
    "batch_size": _POSITIVE_COUNT,
    "shuffle": BOOLEAN,
    "label_smoothing": _FRACTION,
    "shards": _POSITIVE_COUNT,
    "early_stopping": _STOPPING_RULE,
    "data": Text(64),
    "validation": Nullable(Text(64)),
    "backend": _NAME,
    "device": _NAME,
    "cpu": Text(),
    "cpu_features": ListOf(_NAME),
    "versions": OBJECT,
    "blas_threads": _COUNT,
}

_VALUES = ListOf(Number(finite=False))

TRAINING = Record(
    {
        "optimizer": _optimizer(_RATE, _LOSS),
        "epoch": _COUNT,
        "step": _COUNT,
        "batches": _COUNT,
        "seconds": Number(0),
        "conditions": Record(_CONDITIONS, optional=_CONDITIONS),
        "history": _fields_of(
            History,
            {
                "list[float]": _VALUES,
                "dict[str, list[float]]": MapOf(_VALUES),
                "int | None": Nullable(_COUNT),
                "str": Text(),
            },
        ),
        "monitor": Text(),
        "best": Number(finite=False),
        "waited": _COUNT,
        "restored": BOOLEAN,
    },
    optional={"batches", "seconds", "conditions"},  # version 0.2.0 does not write them
)

MODEL = Record(
    {
        "format_version": _COUNT,
        "written_by": Text(),
        "config": NETWORK,
        "class_numbers": BOOLEAN,
        "preprocessing": Nullable(Built(Preprocessing.from_dict)),
        "training": TRAINING,
        "sha256": Text(64),
    },
    optional={"training", "sha256"},
)


def check_model(description: object) -> None:
    """Check the metadata of a model file as a whole; raise `FieldError`."""
    MODEL.check(description, "metadata")
    assert isinstance(description, dict)
    _check_network(description["config"], "metadata.config")
    if "training" in description:
        _check_training(description["training"])


def _check_network(config: dict[str, Any], where: str) -> None:
    layers = len(config["sizes"]) - 1
    for name, count in (("activation", layers - 1), ("dropout", layers - 1), ("init", layers)):
        if len(config[name]) != count:
            raise FieldError(f"{where}.{name} has {len(config[name])} entries, but {layers} layers need {count}")


def _check_training(training: dict[str, Any]) -> None:
    history = training["history"]
    epochs = len(history.get("loss", ()))
    metrics = {f"metrics.{name}": values for name, values in history.get("metrics", {}).items()}
    for name, values in (history | metrics).items():
        # Ctrl-C can come before the validation of the last epoch
        may_be_shorter = name.startswith(("val_", "metrics."))
        if isinstance(values, list) and len(values) != epochs and not (may_be_shorter and len(values) < epochs):
            raise FieldError(f"metadata.training.history.{name} has {len(values)} entries, but loss has {epochs}")
    done, conditions = training.get("batches", 0), training.get("conditions", {})
    if done and not done * conditions.get("batch_size", 1) < conditions.get("rows", 0):
        raise FieldError(f"metadata.training.batches is {done}, but an epoch has fewer, or its rows are not given")
    if done > training["step"]:
        raise FieldError(f"metadata.training.batches is {done}, but there were {training['step']} updates in total")
    for name, number in (("epoch", training["epoch"]), ("history.best_epoch", history.get("best_epoch"))):
        if number is not None and number > epochs:
            raise FieldError(f"metadata.training.{name} is {number}, but the history has {epochs} epochs")


# -- config.json ----------------------------------------------------------------------------------------

CONFIG = Record(
    {
        "format_version": _COUNT,
        "created": Text(),
        "parent": Nullable(_PATH),
        "data": Record(
            {
                "source": _PATH,
                "data_dir": Nullable(_PATH),
                "target": Nullable(Either(Number(whole=True), Text(1000))),
                "drop": _NAMES,
                "columns": _NAMES,
                "categorical": _NAMES,
                "numeric": _NAMES,
                "separator": Text(1),
                "encoding": Text(50),
                "decimal": Text(1),
                "test_fraction": _FRACTION,
                "seed": Number(0, 2**64 - 1, whole=True),
                "task": Nullable(Choice(get_args(Task))),
                "scale": Nullable(Choice(SCALES)),
                "stream": BOOLEAN,
            },
            optional={
                "data_dir",
                "target",
                "test_fraction",
                "seed",
                "task",
                "scale",
                "drop",
                "columns",
                "categorical",
                "numeric",
                "separator",
                "encoding",
                "decimal",
                "stream",
            },
        ),
        "data_sha256": Text(64),
        "training": Record(
            {
                "epochs": _POSITIVE_COUNT,
                "batch_size": Nullable(_POSITIVE_COUNT),
                "optimizer": _optimizer(Nullable(_RATE), Nullable(_LOSS)),  # standard JSON has null for infinity
                "validation_fraction": Nullable(_FRACTION),
                "early_stopping": _STOPPING_RULE,
                "class_weight": Choice(("balanced",)),
                "shards": _POSITIVE_COUNT,
            },
            optional={"class_weight", "shards"},
        ),
        "versions": OBJECT,
        "machine": OBJECT,
        "model": NETWORK,
        "backend": Record({"name": _NAME, "device": _NAME, "reason": Text()}, optional={"name", "device", "reason"}),
    },
    optional={"created", "parent", "versions", "machine"},  # only read by people
)


def check_config(config: object) -> None:
    """Check the ``config.json`` of a run as a whole; raise `FieldError`."""
    CONFIG.check(config, "config")
    assert isinstance(config, dict)
    _check_network(config["model"], "config.model")
