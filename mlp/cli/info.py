"""``mlp info``: backends, devices, threads and versions."""

from __future__ import annotations

import os
from dataclasses import asdict
from typing import Any

import click

from mlp.cli import training_plan
from mlp.cli.networks import reject_options
from mlp.cli.options import SectionedCommand, device_options, json_option, option
from mlp.cli.printing import print_field, print_json, print_line
from mlp.cli.training_options import (
    activation_option,
    batch_size_option,
    dtype_option,
    epochs_option,
    loss_option,
    optimizer_option,
    precision_option,
    regularization_options,
)


@click.command(cls=SectionedCommand, short_help="List backends, devices, threads and versions; plan a training.")
@option(
    "Plan",
    "--plan",
    "sizes",
    type=training_plan.parse_sizes,
    metavar="NET",
    help="Print how each backend would train a network of these layer widths, such as 784-128-10.",
)
@option(
    "Plan",
    "--rows",
    type=click.IntRange(1),
    default=60000,
    show_default=True,
    metavar="N",
    help="Number of training rows.",
)
@activation_option
@loss_option
@dtype_option
@precision_option
@epochs_option
@batch_size_option
@optimizer_option
@regularization_options
@device_options
@json_option
@click.pass_context
def info(ctx: click.Context, /, sizes: list[int] | None, as_json: bool, **options: Any) -> None:
    """Print which backends can be used on this machine and, if not, what to install.

    Also devices, threads, library versions, the processor, the cache of compiled kernels, and environment variables.

    With --plan, print instead how each backend would run a training, why not faster, and which backend is chosen.  The
    options are those of mlp train.  A network with one output has the loss mse by default.  Nothing is trained or
    compiled.

    \b
    mlp info
    mlp info --json
    mlp info --plan 784-128-10
    mlp info --plan 784-512-512-10 --batch-size 256 --dropout 0.2 --epochs 20
    """
    if sizes is not None:
        net, plan = training_plan.describe(sizes, options)
        if as_json:
            print_json(plan)
        else:
            training_plan.show(net, plan)
        return
    reject_options(ctx, tuple(options), "without --plan, mlp info describes no training")
    document = _gather()
    if as_json:
        print_json(document)
        return
    for name, status in document["backends"].items():
        if status["usable"]:
            version = f" {status['version']}" if status["version"] else ""
            print_field(name, f"usable{version}, on {', '.join(status['devices'])}")
        else:
            print_field(name, f"not usable: {' '.join(status['reason'].split())}")
    print_line()
    machine, threads = document["machine"], document["threads"]
    print_field("cpu", f"{machine['cpu']}, {machine['usable_processors']} of {machine['processors']} processors usable")
    print_field("features", " ".join(machine["cpu_features"]) or "unknown")
    print_field("memory", "unknown" if machine["memory_gib"] is None else f"{machine['memory_gib']} GiB")
    print_field("system", machine["os"])
    blas = ", ".join(f"{library['library']} {library['version']}: {library['threads']}" for library in threads["blas"])
    print_field("threads", f"kernels: {threads['kernels']} (by {threads['kernels_set_by']}); {blas or 'no BLAS found'}")
    print_field("cache", document["cache"])
    print_line()
    print_field("versions", ", ".join(f"{name} {version}" for name, version in document["versions"].items()))
    print_line()
    for name, variable in document["variables"].items():
        value = "not set" if variable["value"] is None else f"= {variable['value']}"
        print_line(f"{name} {value}: {variable['meaning']}")


def _gather() -> dict[str, Any]:
    from mlp._backends import status
    from mlp.io import machine_info

    return {
        "backends": {name: asdict(backend) for name, backend in status().items()},
        "machine": machine_info.describe(),
        "threads": machine_info.threads(),
        "cache": machine_info.cache_folder(),
        "versions": machine_info.versions(),
        "variables": {
            name: {"value": os.environ.get(name), "meaning": meaning}
            for name, meaning in machine_info.VARIABLES.items()
        },
    }
