"""Shared options, parsers for lists, and help text in sections."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from typing import Any, TypeVar

import click

from mlp._backends import MLPError, threads_of_environment
from mlp.cli.usage import USAGE_ERRORS, usage_error

Function = TypeVar("Function", bound=Callable[..., Any])
Value = TypeVar("Value")


class SectionedOption(click.Option):
    """An option that belongs to a section of the help text."""

    def __init__(self, *args: Any, section: str = "Options", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.section = section


class SectionedCommand(click.Command):
    """A command with a help text that lists the options by section, and errors of usage that name the option."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            threads_of_environment()  # a wrong value would be an error only after the work has begun
            return super().invoke(ctx)
        except MLPError as error:
            if not isinstance(error, USAGE_ERRORS) or ctx.find_root().params.get("debug"):
                raise
            raise usage_error(ctx, error) from error

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None and isinstance(parameter, SectionedOption):
                sections.setdefault(parameter.section, []).append(record)
        for name, records in sections.items():
            with formatter.section(name):
                formatter.write_dl(records)


def widths(text: str) -> list[int]:
    """Parse the widths of layers; ``none`` is the empty list."""
    return [] if text == "none" else _parse_list(text, int, "a list of whole numbers such as 128,64, or none")


def numbers(text: str) -> list[float]:
    """Parse a number, or several separated by commas."""
    return _parse_list(text, float, "a number, or several such as 0.2,0.5")


def names(text: str) -> list[str]:
    """Parse a name, or several separated by commas."""
    return _parse_list(text, str, "a name, or several such as relu,tanh")


def column_names(text: str) -> list[str]:
    """Parse names of columns, separated by commas; a name that has a comma is in double quotes."""
    try:
        listed = next(csv.reader([text], skipinitialspace=True, strict=True), [])
    except csv.Error:
        listed = []
    parsed = [name.strip() for name in listed]
    if not parsed or not all(parsed):
        raise click.BadParameter(f"{text!r} is not a list of column names such as id,name.")
    return parsed


def share(text: str) -> float:
    """Parse a fraction, at least 0 and below 1."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < 1:
        raise click.BadParameter(f"{text!r} is not a fraction: a number of at least 0 and below 1, such as 0.2.")
    return value


def share_above_zero(text: str) -> float:
    """Parse a fraction above 0 and below 1."""
    value = share(text)
    if value == 0:
        raise click.BadParameter(f"{text!r} must be above 0 and below 1, such as 0.1; omit the option for none.")
    return value


def seconds(text: str) -> float:
    """Parse a time such as 90s, 10min or 2h."""
    from mlp.training import Interval

    try:
        found = Interval.parse(text).seconds
    except MLPError:
        found = None
    if found is None:
        raise click.BadParameter(f"{text!r} is not a time such as 90s, 10min or 2h.")
    return found


def _parse_list(text: str, convert: Callable[[str], Value], expected: str) -> list[Value]:
    try:
        return [convert(part.strip()) for part in text.split(",")]
    except ValueError:
        raise click.BadParameter(f"{text!r} is not {expected}.") from None


def one_or_list(values: list[Any]) -> Any:
    """Return a single value (for all layers) instead of a list of length 1."""
    return values[0] if len(values) == 1 else values


def option(section: str, *names: str, **settings: Any) -> Callable[[Function], Function]:
    """Declare an option in a section of the help text."""
    return click.option(*names, cls=SectionedOption, section=section, **settings)


def options_of(command: click.Command, *names: str) -> Callable[[Function], Function]:
    """Add options of another command, which then mean the same in both."""
    found = {one.name: one for one in command.params}

    def decorate(function: Function) -> Function:
        for name in reversed(names):
            existing: Any = lambda *_, _option=found[name], **__: _option  # noqa: E731  # makes no new option
            function = click.option(*found[name].opts, cls=existing)(function)
        return function

    return decorate


_DEVICE = "auto, cpu, cuda or cuda:1.  A GPU that is requested and missing is an error."
_BACKEND = "numpy, numba or cupy; auto chooses by the amount of work.  See mlp info."
_PART = (
    "train, test or all.  Default: all in mlp predict; elsewhere test, if DATA has a test part (digits, mnist, toy "
    "sets, the data of the run)."
)


def device_options(function: Function) -> Function:
    """Add ``--backend`` and ``--device``."""
    device = option("Device", "--device", metavar="DEVICE", default="auto", show_default=True, help=_DEVICE)
    backend = option("Device", "--backend", metavar="NAME", default="auto", show_default=True, help=_BACKEND)
    return backend(device(function))


def json_option(function: Function) -> Function:
    """Add ``--json``."""
    text = "Print one JSON document to stdout, and nothing else."
    return option("Output", "--json", "as_json", is_flag=True, help=text)(function)


def threshold_option(function: Function) -> Function:
    """Add ``--threshold``."""
    text = "Answer the second of two classes if its probability is at least P.  Default: the more probable class."
    return option("Output", "--threshold", type=share_above_zero, metavar="P", help=text)(function)


def no_data_option(function: Function) -> Function:
    """Add ``--no-data``."""
    text = "Leave out what shows rows of the data."
    return option("Output", "--no-data", is_flag=True, help=text)(function)


def data_dir_option(function: Function) -> Function:
    """Add ``--data-dir``."""
    text = "Folder of the MNIST files.  Default: the environment variable MLP_DATA."
    return option("Data", "--data-dir", metavar="DIR", help=text)(function)


READING_OPTIONS = ("separator", "encoding", "decimal")
"""The options of `reading_options`, as arguments of `mlp.data.load`."""


def reading_options(function: Function) -> Function:
    """Add ``--separator``, ``--encoding`` and ``--decimal``: how the text of a table is read."""
    separator = option(
        "Data",
        "--separator",
        type=_separator,
        metavar="CHARACTER",
        help="Between the fields of a CSV file: ';', tab, ...  Default: as in training, or recognised in the file.",
    )
    encoding = option(
        "Data",
        "--encoding",
        metavar="NAME",
        help="Encoding of a CSV file: latin-1, cp1252, utf-16, ...  Default: as in training, or utf-8.",
    )
    decimal = option(
        "Data",
        "--decimal",
        metavar="MARK",
        help="Decimal mark in a CSV file, . or ,  Default: as in training, or recognised in the file.",
    )
    return separator(encoding(decimal(function)))


def _separator(text: str) -> str:
    return "\t" if text in ("tab", "\\t") else text


def data_options(function: Function) -> Function:
    """Add the options that say which rows a trained model gets, and how they are read."""
    target = option("Data", "--target", metavar="COLUMN", help="The target column.  Default: that of the run.")
    part = option("Data", "--part", metavar="PART", help=_PART)
    return data_dir_option(target(part(reading_options(function))))
