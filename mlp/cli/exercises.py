"""What ``mlp trace`` and ``mlp gradcheck`` work on: a trained model with its data, or a small network freshly drawn."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from mlp._backends import formulas
from mlp.cli.options import Function, names, one_or_list, option, place_options, rows_options, widths

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mlp.model import MLP

FRESH = ("sizes", "activation", "output_activation", "loss", "seed")
"""What describes a network to be drawn."""


def exercise_options(rows: int) -> Callable[[Function], Function]:
    """MODEL and DATA, or the network to draw, and how many rows there are to be by default."""
    decorators = (
        click.argument("model", required=False),
        click.argument("data", required=False),
        option("Fresh network", "--sizes", type=widths, metavar="WIDTHS", help="Of all layers: 2,2,1."),
        option(
            "Fresh network",
            "--activation",
            type=names,
            default="sigmoid",
            show_default=True,
            metavar="NAME",
            help="Of the hidden layers; one, or one for each.",
        ),
        option(
            "Fresh network",
            "--output-activation",
            metavar="NAME",
            help="Default: sigmoid with quadratic, else what goes with the loss.",
        ),
        option(
            "Fresh network",
            "--loss",
            default="quadratic",
            show_default=True,
            metavar="NAME",
            help=f"{', '.join(formulas.LOSSES)}.",
        ),
        option("Fresh network", "--seed", type=int, default=0, show_default=True, metavar="N", help="Of all numbers."),
        option(
            "Data",
            "--rows",
            type=click.IntRange(1),
            default=rows,
            show_default=True,
            metavar="N",
            help="How many rows: the first of DATA, or drawn.",
        ),
        rows_options,
        place_options,
    )

    def decorate(function: Function) -> Function:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return decorate


def network_and_rows(
    ctx: click.Context, model: str | None, data: str | None, options: dict[str, Any]
) -> tuple[MLP, NDArray[Any], NDArray[Any]]:
    """The network, its inputs and its targets that a command line asks for."""
    place = {name: options[name] for name in ("backend", "device")}
    if model is None:
        from mlp.trace import exercise

        if options["sizes"] is None:
            raise click.UsageError("of what? Name a MODEL and its DATA, or draw a network with --sizes 2,2,1.", ctx)
        activation, rows, seed = one_or_list(options["activation"]), options["rows"], options["seed"]
        chosen = options["output_activation"], options["loss"]
        return exercise(options["sizes"], activation, *chosen, rows=rows, seed=seed, **place)
    if data is None:
        raise click.UsageError(f"name the DATA that {model!r} is to be given.", ctx)
    refuse(ctx, FRESH, f"{model!r} has its own network")
    from mlp import persistence
    from mlp.cli.rows import load_rows
    from mlp.io import runs

    net = persistence.load(runs.model_path(model), **place)
    found = load_rows(net, model, data, options, answers=True)
    assert found.y is not None
    return net, found.X[: options["rows"]], found.y[: options["rows"]]


def refuse(ctx: click.Context, names: tuple[str, ...], reason: str) -> None:
    """Complain of the first of these parameters that the command line gives."""
    for parameter in ctx.command.params:
        if parameter.name in names and ctx.get_parameter_source(parameter.name) is ParameterSource.COMMANDLINE:
            raise click.UsageError(f"{reason}; leave {parameter.opts[0]} out.", ctx)
