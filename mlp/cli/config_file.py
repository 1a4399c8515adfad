"""``--config FILE``: the values of options from a file, which those on the command line replace."""

from __future__ import annotations

import csv
import difflib
import io
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from mlp._backends import MLPError
from mlp.cli.options import Function, column_names, names, numbers, option, share, widths
from mlp.cli.printing import print_message
from mlp.cli.usage import CONFIG_FILE

FINGERPRINT = "mlp.config_data_sha256"
"""The key of `click.Context.meta` for the checksum of the data of a run whose ``config.json`` is read."""

_NUMBER = "a number"
_EXPECTED: dict[Any, tuple[str, tuple[type, ...], type | None]] = {
    share: (_NUMBER, (int, float), None),
    numbers: ("a number, or a list of numbers such as [0.2, 0.5]", (int, float), float),
    widths: ('a list of whole numbers such as [128, 64], or "none"', (str, int), int),
    names: ('a name, or a list of names such as ["relu", "tanh"]', (str,), str),
    column_names: ('a name, or a list of names such as ["id", "name"]', (str,), str),
    click.INT: ("a whole number", (int,), None),
    click.FLOAT: (_NUMBER, (int, float), None),
    click.BOOL: ("true or false", (bool,), None),
}
"""For the type of an option: what is expected, the types of TOML that it may be, and those of the entries of a list."""


def config_option(function: Function) -> Function:
    """Add ``--config``."""
    text = (
        "Read options from a TOML file, by their long names, with data = for DATA; or the config.json of a run.  "
        "Options on the command line replace those of the file."
    )
    return option("Data", "--config", metavar="FILE", is_eager=True, callback=_read, expose_value=False, help=text)(
        function
    )


def is_set(ctx: click.Context, name: str) -> bool:
    """Whether a parameter was given, on the command line or in the file."""
    return ctx.get_parameter_source(name) in (ParameterSource.COMMANDLINE, ParameterSource.DEFAULT_MAP)


def on_command_line(ctx: click.Context, *names: str) -> bool:
    """Whether one of these parameters was given on the command line."""
    return any(ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE for name in names)


def label(ctx: click.Context, name: str) -> str:
    """What error messages call a parameter: as it is on the command line, or the file and the key."""
    parameter = next(one for one in ctx.command.params if one.name == name)
    if ctx.get_parameter_source(name) is ParameterSource.DEFAULT_MAP:
        return f"{ctx.meta[CONFIG_FILE]}: {_key(parameter)}"
    return parameter.opts[0] if isinstance(parameter, click.Option) else parameter.human_readable_name


def leave_out(ctx: click.Context, options: dict[str, Any], name: str, reason: str) -> None:
    """Give a parameter that only the file sets its default, and say so."""
    if ctx.get_parameter_source(name) is ParameterSource.DEFAULT_MAP:
        parameter = next(one for one in ctx.command.params if one.name == name)
        assert isinstance(ctx.default_map, dict)
        del ctx.default_map[name]
        default = parameter.get_default(ctx)
        # click has a mark of its own for no default
        options[name] = default if isinstance(default, bool | int | float | str) else None
        ctx.set_parameter_source(name, ParameterSource.DEFAULT)
        print_message(f"{ctx.meta[CONFIG_FILE]}: {_key(parameter)} is not used, because {reason}")


def _read(ctx: click.Context, parameter: click.Parameter, path: str | None) -> None:
    if path is None or ctx.resilient_parsing:
        return
    name, settings = _settings(ctx, path)
    ctx.meta[CONFIG_FILE] = name
    known = {_key(one): one for one in ctx.command.params if _key(one) not in ("config", "help")}
    values: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(value, dict):
            raise click.UsageError(f"{name}: {key} is a table; write the keys at the top level, without [{key}].")
        if (plain := key.replace("_", "-").lower()) not in known:
            near = difflib.get_close_matches(plain, known, n=1, cutoff=0.0)
            raise click.UsageError(
                f"{name}: unknown key {key!r}; did you mean {near[0]!r}? The keys are the long options of "
                f"{ctx.command_path} without --, and data."
            )
        target = known[plain]
        if target.name in values:
            raise click.UsageError(f"{name}: {plain} is there twice, with - and with _; remove one of them.")
        values[str(target.name)] = _value(ctx, target, f"{name}: {key}", value)
    ctx.default_map = values


def _key(parameter: click.Parameter) -> str:
    """The name of a parameter in the file."""
    return str(parameter.name) if isinstance(parameter, click.Argument) else parameter.opts[0].removeprefix("--")


def _settings(ctx: click.Context, path: str) -> tuple[str, Mapping[str, Any]]:
    """The settings in a file, with the name of the file; those of a run as `mlp.io.run_settings` has them."""
    from mlp.data.files import open_checked
    from mlp.io import run_folders

    file = Path(path) / run_folders.CONFIG if Path(path).is_dir() else Path(path)
    name = os.fspath(file)
    if not file.exists():
        raise click.UsageError(f"--config: there is no file {name!r}; check the spelling and the current folder.")
    try:
        if file.suffix.lower() == ".toml":
            with open_checked(file, "TOML") as (handle, _):
                text = handle.read().decode()
            return name, tomllib.loads(text)
        if file.name == run_folders.CONFIG:
            from mlp.io.run_settings import settings_of_run

            config = run_folders.read_config(file.parent)
            ctx.meta[FINGERPRINT] = config["data_sha256"]
            return name, settings_of_run(config, name)
    except MLPError as error:
        raise click.UsageError(str(error)) from error
    except tomllib.TOMLDecodeError as error:
        raise click.UsageError(f"{name}: this is not TOML: {error}") from error
    raise click.UsageError(
        f"--config: {name!r} must be a TOML file, which ends in .toml, or the {run_folders.CONFIG} of a run."
    )


def _value(ctx: click.Context, parameter: click.Parameter, where: str, value: Any) -> Any:
    """The value as the command line would have it, as text; checked, so that an error names the file and the key."""
    kind = getattr(parameter.type, "func", parameter.type)
    if parameter.name == "target":
        expected: tuple[str, tuple[type, ...], type | None] = ("a name, a number, or a list of names", (str, int), str)
    elif isinstance(kind, click.types.IntParamType):
        expected = _EXPECTED[click.INT]
    elif isinstance(kind, click.types.BoolParamType):
        expected = _EXPECTED[click.BOOL]
    else:
        expected = _EXPECTED.get(kind, ("a text in quotation marks", (str,), None))
    noun, types, entries = expected
    if isinstance(value, list) and entries is not None:
        fits = all(_is(entry, (int, float) if entries is float else (entries,)) for entry in value)
    else:
        fits = _is(value, types)
    if not fits:
        raise click.UsageError(f"{where} is {value!r:.80}, expected {noun}.")
    if isinstance(value, bool):
        return value
    text = _as_text(value, quoted=kind is column_names)
    try:
        parameter.type_cast_value(ctx, text)
    except click.BadParameter as error:
        raise click.UsageError(f"{where}: {error.message}") from error
    return text


def _is(value: Any, types: tuple[type, ...]) -> bool:
    return isinstance(value, types) and (bool in types or not isinstance(value, bool))


def _as_text(value: Any, *, quoted: bool) -> str:
    if not isinstance(value, list):
        return str(value)
    if not value:
        return "none"
    if not quoted:
        return ",".join(map(str, value))
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(value)
    return text.getvalue()
