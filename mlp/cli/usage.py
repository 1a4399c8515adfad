"""Errors of usage: a command that cannot be run as given ends with status 2, before it does anything."""

from __future__ import annotations

import re
from dataclasses import fields
from typing import Any

import click
from click.core import ParameterSource

from mlp._backends import BackendUnavailableError, ConfigurationError, NotDifferentiableError
from mlp.schedules import SCHEDULES

USAGE_ERRORS = (ConfigurationError, NotDifferentiableError, BackendUnavailableError, ImportError)
"""The errors of the library about arguments, which are options here, and about what is not installed or not there."""

_NAMES_IN_MESSAGES = {
    "lr": ("learning_rate",),
    "validation": ("validation_fraction",),
    "init": ("initializer",),
    "hidden": ("width", "sizes"),
    "data": ("data set",),
    "peers": ("peer", "implementation"),
    "backends": ("backend",),
    "nets": ("net",),
    "batch_sizes": ("batch size", "batch_size"),
    "resume": ("resume",),
    "proba": ("predict_proba",),
    "target": ("column",),
    "device": ("cupy",),
    "schedule": tuple(
        {entry.name for schedule in SCHEDULES.values() for entry in fields(schedule)}
        - {"learning_rate", "epochs", "warmup"}  # these have options of their own
    ),
}
"""What the messages of the library call some options."""


_GIVEN = (ParameterSource.COMMANDLINE, ParameterSource.ENVIRONMENT, ParameterSource.DEFAULT_MAP)

CONFIG_FILE = "mlp.config_file"
"""The key of `click.Context.meta` for the name of the file from which ``--config`` reads options."""


def usage_error(ctx: click.Context, error: Exception) -> click.UsageError:
    """The error of the library as one of usage, which begins with the name of the option or argument."""
    message = str(error)
    if not any(_mentions(message, flag) for parameter in ctx.command.params for flag in parameter.opts):
        label = _parameter_of(ctx, message)
        message = message if label is None else f"{label}: {message}"
    return click.UsageError(message, ctx)


def _mentions(message: str, flag: str) -> bool:
    return flag.startswith("--") and re.search(rf"{re.escape(flag)}(?![\w-])", message) is not None


def _parameter_of(ctx: click.Context, message: str) -> str | None:
    """The given option or argument that a message is about, judged by its name and its value; or None."""
    best_score, best = 0, None
    for parameter in ctx.command.params:
        name = str(parameter.name)
        if ctx.get_parameter_source(name) not in _GIVEN:
            continue
        names = (name, name.replace("_", " "), *_NAMES_IN_MESSAGES.get(name, ()))
        as_subject = any(re.search(rf"^{re.escape(one)}\b|(?<!\w){re.escape(one)}=", message) for one in names)
        by_name = any(re.search(rf"(?<!\w){re.escape(one)}s?(?!\w)", message) for one in names)
        score = 2 * as_subject + 2 * by_name + _shows(message, ctx.params.get(name))
        if score > best_score:
            best_score, best = score, parameter
    if best is None:
        return None
    if ctx.get_parameter_source(str(best.name)) is ParameterSource.DEFAULT_MAP:
        return f"{ctx.meta[CONFIG_FILE]}: {best.opts[0].removeprefix('--')}"
    return best.opts[0] if isinstance(best, click.Option) else best.human_readable_name


def _shows(message: str, value: Any) -> bool:
    values = value if isinstance(value, list) else [value]
    return any(
        re.search(rf"(?<![\w.]){re.escape(repr(one))}(?![\w])", message) is not None
        for one in values
        if not isinstance(one, bool)
    )


def one_line(text: object) -> str:
    """The text of an error in one line."""
    return " ".join(str(text).split())
