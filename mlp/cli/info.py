"""``mlp info``: backends, devices, threads and versions."""

from __future__ import annotations

import os
from dataclasses import asdict
from typing import Any

import click

from mlp.cli.options import SectionedCommand, json_option
from mlp.cli.printing import print_field, print_json, print_line


@click.command(cls=SectionedCommand, short_help="List backends, devices, threads and versions.")
@json_option
def info(as_json: bool) -> None:
    """Print which backends can be used on this machine and, if not, what to install.

    Also devices, threads, library versions, the processor, the cache of compiled kernels, and environment variables.

    \b
    mlp info
    mlp info --json
    """
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
