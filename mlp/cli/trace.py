"""``mlp trace``: every number of a training step."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import click

from mlp.cli import paths
from mlp.cli.networks import RANDOM_NETWORK_OPTIONS, load_network_and_rows, network_options, reject_options
from mlp.cli.options import SectionedCommand, no_data_option, option
from mlp.cli.printing import print_line, print_message, print_shown_rows
from mlp.optimizers import OPTIMIZERS, SGD, Optimizer, optimizer

FORMATS = {"text": ".txt", "markdown": ".md", "html": ".html", "json": ".json", "python": ".py"}


@click.command(cls=SectionedCommand, short_help="Print every number of a training step, with its formula.")
@network_options(rows=1)
@option("Data", "--example", type=click.Choice(["mazur"]), help="A published example, instead of MODEL and DATA.")
@option(
    "Training", "--steps", type=click.IntRange(1), default=1, show_default=True, metavar="N", help="Number of updates."
)
@option("Training", "--batch-size", type=click.IntRange(1), metavar="N", help="Default: all rows.")
@option(
    "Training",
    "--optimizer",
    "name",
    metavar="NAME",
    help=f"{', '.join(OPTIMIZERS)}.  Default: that of the run; for other networks sgd.",
)
@option(
    "Training",
    "--lr",
    type=float,
    metavar="RATE",
    help="Learning rate.  Default: that of the run, 0.5 for sgd, otherwise that of the optimizer.",
)
@option(
    "Output",
    "--format",
    "output_format",
    type=click.Choice(list(FORMATS)),
    help="Default: from the suffix of FILE, or text.",
)
@option("Output", "--blank", is_flag=True, help="Omit the computed values in the Markdown tables, for an exercise.")
@option("Output", "--output", "-o", metavar="FILE", help="Write to this new file instead of stdout.")
@no_data_option
@click.pass_context
def trace(ctx: click.Context, /, model: str | None, data: str | None, **options: Any) -> None:
    """Print every quantity of a training step: forward, backward and update, with formula, shape and values.

    The network is either MODEL (a run folder or a .safetensors file) on the first rows of DATA, or a random network
    with rounded numbers.  The optimizer is that of the run.  MODEL itself is not changed.  Large arrays are summarized.
    With --no-data only the parameters have values; all others would tell what is in the rows.

    \b
    mlp trace --example mazur
    mlp trace --sizes 2,2,1 --seed 7 --format markdown --blank
    mlp trace --sizes 3,4,2 --loss cross_entropy --activation tanh --rows 3 --optimizer adam --steps 2
    mlp trace runs/digits-1 digits --rows 3 --output digits.html
    mlp trace --sizes 2,3,1 --output step.py && python step.py
    """
    output_format = _format(options)
    if options["example"] is None:
        net, X, y = load_network_and_rows(ctx, model, data, options)
    else:
        from mlp.trace import mazur

        reject_options(ctx, (*RANDOM_NETWORK_OPTIONS, "rows", "model"), "--example has its own network and data")
        net, X, y = mazur()
    result = net.trace(
        X,
        y,
        optimizer=_optimizer(model, options["name"], options["lr"]),
        steps=options["steps"],
        batch_size=options["batch_size"],
    )
    if options["no_data"]:
        result = result.without_data()
    match output_format:
        case "markdown":
            text = result.to_markdown(blank=options["blank"])
        case "html":
            text = result.to_html()
        case "json":
            text = result.to_json() + "\n"
        case "python":
            text = result.to_numpy_program()
        case _:
            text = result.to_text()
    if options["output"] is None:
        print_line(text.removesuffix("\n"))
        return
    from mlp.io.atomic_write import write_atomically

    write_atomically(options["output"], text.encode())
    print_message(f"written: {options['output']}")
    if model is not None and not options["no_data"]:
        print_shown_rows(options["output"], len(X))


def _format(options: dict[str, Any]) -> str:
    output, output_format = options["output"], options["output_format"]
    paths.require_new_file(output)
    if output_format is None and output is not None:
        suffix = Path(output).suffix.lower()
        if suffix not in FORMATS.values():
            known = ", ".join(FORMATS.values())
            raise click.BadParameter(f"{output!r} must end in one of {known}, or give --format.", param_hint="--output")
        output_format = next(name for name, ending in FORMATS.items() if ending == suffix)
    if options["blank"] and output_format != "markdown":
        raise click.UsageError("--blank needs --format markdown.")
    if options["no_data"] and output_format == "python":
        raise click.UsageError("--no-data does not apply to a program, which computes with the rows; remove it.")
    return output_format or "text"


def _optimizer(model: str | None, name: str | None, rate: float | None) -> Optimizer:
    if name is None and model is not None and Path(model).is_dir():
        from mlp import runs

        found = runs.recorded_optimizer(runs.read_config(model)["training"]["optimizer"])
        return found if rate is None else dataclasses.replace(found, learning_rate=rate)
    name = name or "sgd"
    if rate is not None:
        return type(optimizer(name))(rate)
    return SGD(0.5) if name == "sgd" else optimizer(name)
