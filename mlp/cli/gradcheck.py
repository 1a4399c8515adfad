"""``mlp gradcheck``: back-propagation against central differences."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from mlp.cli.exercises import exercise_options, network_and_rows
from mlp.cli.options import SectionedCommand, json_option, option
from mlp.cli.output import fact, network_text, say, say_json, table

if TYPE_CHECKING:
    from mlp.inspection.gradcheck import GradientCheck
    from mlp.model import MLP


def _count(text: str) -> int | str:
    """A whole number, or ``all``."""
    if text != "all" and (not text.isdecimal() or not int(text)):
        raise click.BadParameter(f"{text!r} is neither a whole number nor all.")
    return text if text == "all" else int(text)


@click.command(cls=SectionedCommand, short_help="Check back-propagation against central differences.")
@exercise_options(rows=20)
@option("Check", "--epsilon", type=float, default=1e-5, show_default=True, metavar="X", help="Parameters move by +-X.")
@option(
    "Check",
    "--parameters",
    type=_count,
    default="1000",
    show_default=True,
    metavar="N",
    help="How many to check at most, drawn by the network's seed; or all.",
)
@option(
    "Check", "--tolerance", type=float, default=1e-5, show_default=True, metavar="X", help="Relative error allowed."
)
@json_option
@click.pass_context
def gradcheck(ctx: click.Context, /, model: str | None, data: str | None, **options: Any) -> None:
    """Compare the slopes of back-propagation with central differences of the loss, in float64.

    Either of MODEL (a run's folder or a .safetensors file) on the first rows of DATA, or of a network drawn from a
    seed.  Exit status 1 if a slope is wrong, or none can be judged.

    \b
    mlp gradcheck --sizes 4,5,3 --activation tanh
    mlp gradcheck --sizes 4,5,3 --activation relu --loss cross_entropy
    mlp gradcheck runs/digits-1 digits --parameters 200 --json
    """
    net, X, y = network_and_rows(ctx, model, data, options)
    settings = {name: options[name] for name in ("epsilon", "parameters", "tolerance")}
    found = net.gradient_check(X, y, **settings)
    if options["as_json"]:
        say_json({"passed": found.passed, "verdict": found.verdict, "error": found.error, **asdict(found)})
    else:
        _report(net, len(X), found)
    ctx.exit(0 if found.passed else 1)


def _report(net: MLP, rows: int, found: GradientCheck) -> None:
    fact("network", network_text(net))
    fact("check", f"{rows} rows, epsilon {found.epsilon:g}, tolerance {found.tolerance:g}, loss {found.loss:.6g}")
    fact("verdict", click.style(found.verdict, bold=True, fg="green" if found.passed else "red"))
    say()
    table(
        ("layer", "checked", "of", "largest error", "wrong", "unreliable"),
        [
            (f"{part.layer} {part.name}", str(part.checked), str(part.size), f"{part.error:.1e}", str(part.wrong),
             str(part.unreliable))
            for part in found.parts
        ],
    )  # fmt: skip
    for name, lines in (("wrong", found.offenders), ("unsure", found.unreliable), ("note", found.notes)):
        if lines:
            say()
        for line in lines:
            fact(name, str(line))
