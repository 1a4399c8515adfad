"""``mlp gradcheck``: compare back-propagation with central differences."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from mlp.cli.networks import load_network_and_rows, network_options
from mlp.cli.options import SectionedCommand, json_option, option
from mlp.cli.printing import describe_network, print_field, print_json, print_line, print_table

if TYPE_CHECKING:
    from mlp.inspection.gradcheck import GradientCheck
    from mlp.model import MLP


def _count(text: str) -> int | str:
    """Parse a whole number, or ``all``."""
    if text != "all" and (not text.isdecimal() or not int(text)):
        raise click.BadParameter(f"{text!r} must be a positive whole number, or all.")
    return text if text == "all" else int(text)


@click.command(cls=SectionedCommand, short_help="Check the gradient with central differences.")
@network_options(rows=20)
@option(
    "Check", "--epsilon", type=float, default=1e-5, show_default=True, metavar="X", help="Change parameters by +-X."
)
@option(
    "Check",
    "--parameters",
    type=_count,
    default="1000",
    show_default=True,
    metavar="N",
    help="Largest number of parameters to check, chosen with the seed of the network; or all.",
)
@option(
    "Check", "--tolerance", type=float, default=1e-5, show_default=True, metavar="X", help="Largest relative error."
)
@json_option
@click.pass_context
def gradcheck(ctx: click.Context, /, model: str | None, data: str | None, **options: Any) -> None:
    """Compare the gradient of back-propagation with central differences of the loss, in float64.

    The network is either MODEL (a run folder or a .safetensors file) on the first rows of DATA, or a random network.
    The exit status is 1 if a derivative is wrong, or if no derivative can be checked.

    \b
    mlp gradcheck --sizes 4,5,3 --activation tanh
    mlp gradcheck --sizes 4,5,3 --activation relu --loss cross_entropy
    mlp gradcheck runs/digits-1 digits --parameters 200 --json
    """
    net, X, y = load_network_and_rows(ctx, model, data, options)
    settings = {name: options[name] for name in ("epsilon", "parameters", "tolerance")}
    check = net.gradient_check(X, y, **settings)
    if options["as_json"]:
        print_json({"passed": check.passed, "verdict": check.verdict, "error": check.error, **asdict(check)})
    else:
        _report(net, len(X), check)
    ctx.exit(0 if check.passed else 1)


def _report(net: MLP, rows: int, check: GradientCheck) -> None:
    print_field("network", describe_network(net))
    print_field(
        "check", f"{rows} rows, epsilon {check.epsilon:g}, tolerance {check.tolerance:g}, loss {check.loss:.6g}"
    )
    print_field("verdict", click.style(check.verdict, bold=True, fg="green" if check.passed else "red"))
    print_line()
    print_table(
        ("layer", "checked", "of", "largest error", "wrong", "unreliable"),
        [
            (f"{part.layer} {part.name}", str(part.checked), str(part.size), f"{part.error:.1e}", str(part.wrong),
             str(part.unreliable))
            for part in check.parts
        ],
    )  # fmt: skip
    for name, lines in (("wrong", check.offenders), ("unsure", check.unreliable), ("note", check.notes)):
        if lines:
            print_line()
        for line in lines:
            print_field(name, str(line))
