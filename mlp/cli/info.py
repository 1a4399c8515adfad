"""``mlp info``: what there is to compute with."""

from __future__ import annotations

import os
from dataclasses import asdict
from typing import Any

import click

from mlp.cli.options import SectionedCommand, json_option
from mlp.cli.output import fact, say, say_json


@click.command(cls=SectionedCommand, short_help="Say what there is to compute with.")
@json_option
def info(as_json: bool) -> None:
    """Say which backends can be used here, and if not, what to install.

    Also: devices, threads, versions of the libraries, the processor, the cache of compiled kernels, and the
    environment variables.

    \b
    mlp info
    mlp info --json
    """
    document = _gather()
    if as_json:
        say_json(document)
        return
    for name, status in document["backends"].items():
        if status["usable"]:
            version = f" {status['version']}" if status["version"] else ""
            fact(name, f"usable{version}, on {', '.join(status['devices'])}")
        else:
            fact(name, f"not usable: {' '.join(status['reason'].split())}")
    say()
    machine, threads = document["machine"], document["threads"]
    fact("cpu", f"{machine['cpu']}, {machine['usable_processors']} of {machine['processors']} processors usable")
    fact("features", " ".join(machine["cpu_features"]) or "unknown")
    fact("memory", "unknown" if machine["memory_gib"] is None else f"{machine['memory_gib']} GiB")
    fact("system", machine["os"])
    blas = ", ".join(f"{library['library']} {library['version']}: {library['threads']}" for library in threads["blas"])
    fact("threads", f"kernels: {threads['kernels']} (by {threads['kernels_set_by']}); {blas or 'no BLAS found'}")
    fact("cache", document["cache"])
    say()
    fact("versions", ", ".join(f"{name} {version}" for name, version in document["versions"].items()))
    say()
    for name, variable in document["variables"].items():
        value = "not set" if variable["value"] is None else f"= {variable['value']}"
        say(f"{name} {value}: {variable['meaning']}")


def _gather() -> dict[str, Any]:
    from mlp._backends import status
    from mlp.io import machine

    return {
        "backends": {name: asdict(found) for name, found in status().items()},
        "machine": machine.describe(),
        "threads": machine.threads(),
        "cache": machine.cache_folder(),
        "versions": machine.versions(),
        "variables": {
            name: {"value": os.environ.get(name), "meaning": meaning} for name, meaning in machine.VARIABLES.items()
        },
    }
