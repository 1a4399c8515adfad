"""Options that commands share, lists as values, and help in sections."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

Function = TypeVar("Function", bound=Callable[..., Any])
Value = TypeVar("Value")


class SectionedOption(click.Option):
    """An option that knows the section of the help it stands in."""

    def __init__(self, *args: Any, section: str = "Options", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.section = section


class SectionedCommand(click.Command):
    """A command whose help lists the options by section."""

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
    """Widths of hidden layers; ``none`` for a network without any."""
    return [] if text == "none" else _list(text, int, "a list of whole numbers such as 128,64, or none")


def numbers(text: str) -> list[float]:
    """A number, or several with commas between them."""
    return _list(text, float, "a number, or several such as 0.2,0.5")


def names(text: str) -> list[str]:
    """A name, or several with commas between them."""
    return _list(text, str, "a name, or several such as relu,tanh")


def _list(text: str, kind: Callable[[str], Value], what: str) -> list[Value]:
    try:
        return [kind(part.strip()) for part in text.split(",")]
    except ValueError:
        raise click.BadParameter(f"{text!r} is not {what}.") from None


def one_or_list(values: list[Any]) -> Any:
    """A single value stands for all layers."""
    return values[0] if len(values) == 1 else values


def option(section: str, *names: str, **settings: Any) -> Callable[[Function], Function]:
    """An option that stands in a section of the help."""
    return click.option(*names, cls=SectionedOption, section=section, **settings)


_DEVICE = "auto, cpu, cuda or cuda:1.  A GPU that is asked for and not there is an error."
_BACKEND = "numpy, numba or cupy; auto chooses by the work there is.  See mlp info."
_PART = "train, test or all.  Default: test where DATA has such a part (digits, mnist, toy sets, the run's data)."


def place_options(function: Function) -> Function:
    """``--backend`` and ``--device``."""
    device = option("Where", "--device", metavar="DEVICE", default="auto", show_default=True, help=_DEVICE)
    backend = option("Where", "--backend", metavar="NAME", default="auto", show_default=True, help=_BACKEND)
    return backend(device(function))


def json_option(function: Function) -> Function:
    """``--json``."""
    text = "Print one JSON document, and nothing else, to stdout."
    return option("Output", "--json", "as_json", is_flag=True, help=text)(function)


def data_dir_option(function: Function) -> Function:
    """``--data-dir``."""
    text = "Folder of the MNIST files; by default what MLP_DATA names."
    return option("Data", "--data-dir", metavar="DIR", help=text)(function)


def rows_options(function: Function) -> Function:
    """Which rows a trained model is given."""
    target = option("Data", "--target", metavar="COLUMN", help="Column of the answers; by default that of the run.")
    part = option("Data", "--part", metavar="PART", help=_PART)
    return data_dir_option(target(part(function)))
