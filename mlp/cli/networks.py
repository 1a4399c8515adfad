"""The network and rows of ``mlp trace`` and ``mlp gradcheck``: a trained model with data, or a random network."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from mlp._backends import formulas
from mlp.cli import paths
from mlp.cli.options import Function, data_options, device_options, names, one_or_list, option, widths

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mlp.model import MLP

RANDOM_NETWORK_OPTIONS = ("sizes", "activation", "output_activation", "loss", "seed")
"""Parameters that apply only to a random network."""


def network_options(rows: int) -> Callable[[Function], Function]:
    """Add the arguments MODEL and DATA and the options of a random network; `rows` is the default of ``--rows``."""
    decorators = (
        click.argument("model", required=False),
        click.argument("data", required=False),
        option("Random network", "--sizes", type=widths, metavar="WIDTHS", help="Widths of all layers: 2,2,1."),
        option(
            "Random network",
            "--activation",
            type=names,
            default="sigmoid",
            show_default=True,
            metavar="NAME",
            help="Activation of the hidden layers: one, or one per layer.",
        ),
        option(
            "Random network",
            "--output-activation",
            metavar="NAME",
            help="Default: sigmoid for quadratic, otherwise the default of the loss.",
        ),
        option(
            "Random network",
            "--loss",
            default="quadratic",
            show_default=True,
            metavar="NAME",
            help=f"{', '.join(formulas.LOSSES)}.",
        ),
        option(
            "Random network",
            "--seed",
            type=int,
            default=0,
            show_default=True,
            metavar="N",
            help="Seed of the parameters and rows.",
        ),
        option(
            "Data",
            "--rows",
            type=click.IntRange(1),
            default=rows,
            show_default=True,
            metavar="N",
            help="Number of rows: the first rows of DATA, or random rows.",
        ),
        data_options,
        device_options,
    )

    def decorate(function: Function) -> Function:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return decorate


def load_network_and_rows(
    ctx: click.Context, model: str | None, data: str | None, options: dict[str, Any]
) -> tuple[MLP, NDArray[Any], NDArray[Any]]:
    """Return the network, inputs and targets for the arguments and options of a command."""
    device_settings = {name: options[name] for name in ("backend", "device")}
    if model is None:
        from mlp.trace import exercise

        if options["sizes"] is None:
            raise click.UsageError("give MODEL and DATA, or --sizes 2,2,1 for a random network.", ctx)
        return exercise(
            options["sizes"],
            one_or_list(options["activation"]),
            options["output_activation"],
            options["loss"],
            rows=options["rows"],
            seed=options["seed"],
            **device_settings,
        )
    if data is None:
        raise click.UsageError("MODEL needs DATA: name the data set or file to take rows from.", ctx)
    reject_options(ctx, RANDOM_NETWORK_OPTIONS, f"{model!r} has its own network")
    paths.require_model(model)
    paths.require_data(data, options["data_dir"], parts=True)
    from mlp import persistence
    from mlp.cli.streamed_rows import some_rows
    from mlp.io import run_folders

    net = persistence.load(run_folders.model_path(model), **device_settings)
    rows = some_rows(net, model, data, options)
    assert rows.y is not None
    return net, rows.X[: options["rows"]], rows.y[: options["rows"]]


def reject_options(ctx: click.Context, names: tuple[str, ...], reason: str) -> None:
    """Raise a usage error if one of these parameters is set on the command line."""
    for parameter in ctx.command.params:
        if parameter.name in names and ctx.get_parameter_source(parameter.name) is ParameterSource.COMMANDLINE:
            raise click.UsageError(f"{reason}; remove {parameter.opts[0]}.", ctx)
