"""``mlp trace``: training in numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from mlp.cli.exercises import FRESH, exercise_options, network_and_rows, refuse
from mlp.cli.options import SectionedCommand, option
from mlp.cli.output import complain, say
from mlp.optimizers import OPTIMIZERS, SGD, Optimizer, optimizer

FORMATS = {"text": ".txt", "markdown": ".md", "html": ".html", "json": ".json", "python": ".py"}


@click.command(cls=SectionedCommand, short_help="Show training in numbers, with every formula.")
@exercise_options(rows=1)
@option("Data", "--example", type=click.Choice(["mazur"]), help="A published example, with its own figures.")
@option("Training", "--steps", type=click.IntRange(1), default=1, show_default=True, metavar="N", help="Updates.")
@option("Training", "--batch-size", type=click.IntRange(1), metavar="N", help="Default: all rows.")
@option(
    "Training",
    "--optimizer",
    "name",
    default="sgd",
    show_default=True,
    metavar="NAME",
    help=f"{', '.join(OPTIMIZERS)}.",
)
@option("Training", "--lr", type=float, metavar="RATE", help="Default: 0.5 for sgd, else the optimizer's own.")
@option("Output", "--format", "form", type=click.Choice(list(FORMATS)), help="Default: by FILE's name, else text.")
@option("Output", "--blank", is_flag=True, help="Leave the values to be computed out of a Markdown table: an exercise.")
@option("Output", "--output", "-o", metavar="FILE", help="A new file to write instead of printing.")
@click.pass_context
def trace(ctx: click.Context, /, model: str | None, data: str | None, **options: Any) -> None:
    """Show every quantity of a step of training: forward, backward and update, with formula, shape and values.

    Either of MODEL (a run's folder or a .safetensors file) on the first rows of DATA, or of a network with round
    numbers drawn from a seed.  The model itself is not trained.  Large arrays are summed up.

    \b
    mlp trace --example mazur
    mlp trace --sizes 2,2,1 --seed 7 --format markdown --blank
    mlp trace --sizes 3,4,2 --loss cross_entropy --activation tanh --rows 3 --optimizer adam --steps 2
    mlp trace runs/digits-1 digits --rows 3 --output digits.html
    mlp trace --sizes 2,3,1 --output step.py && python step.py
    """
    form = _format(options)
    if options["example"] is None:
        net, X, y = network_and_rows(ctx, model, data, options)
    else:
        from mlp.trace import mazur

        refuse(ctx, (*FRESH, "rows", "model"), "--example has its own network and data")
        net, X, y = mazur()
    rule = _optimizer(options["name"], options["lr"])
    found = net.trace(X, y, optimizer=rule, steps=options["steps"], batch_size=options["batch_size"])
    match form:
        case "markdown":
            text = found.to_markdown(blank=options["blank"])
        case "html":
            text = found.to_html()
        case "json":
            text = found.to_json() + "\n"
        case "python":
            text = found.to_numpy_program()
        case _:
            text = found.to_text()
    if options["output"] is None:
        say(text.removesuffix("\n"))
        return
    from mlp.io.storage import write_atomically

    write_atomically(options["output"], text.encode())
    complain(f"written: {options['output']}")


def _format(options: dict[str, Any]) -> str:
    output, form = options["output"], options["form"]
    if output is not None and Path(output).exists():
        raise click.BadParameter(f"{output!r} is there already; name a new file.", param_hint="--output")
    if form is None and output is not None:
        suffix = Path(output).suffix.lower()
        if suffix not in FORMATS.values():
            known = ", ".join(FORMATS.values())
            raise click.BadParameter(f"{output!r} must end in one of {known}, or give --format.", param_hint="--output")
        form = next(name for name, ending in FORMATS.items() if ending == suffix)
    if options["blank"] and form != "markdown":
        raise click.UsageError("--blank makes an exercise of --format markdown.")
    return form or "text"


def _optimizer(name: str, rate: float | None) -> Optimizer:
    if rate is not None:
        return type(optimizer(name))(rate)
    return SGD(0.5) if name == "sgd" else optimizer(name)
