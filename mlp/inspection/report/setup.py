"""How a run was set up, on what machine, and how it is done again."""

from __future__ import annotations

from typing import Any

from mlp.inspection.report.found import Found
from mlp.inspection.report.parts import Command, Note, Part, Section, facts

LONG = 20
"""Of longer lists the first so many entries are shown."""


def configuration(found: Found) -> Section:
    """Data, network and training, as ``config.json`` has them."""
    config = found.config
    digest = {"SHA-256 of the training rows": config["data_sha256"]}
    return Section(
        "Configuration",
        sections=[
            Section("Data", [facts("Where the rows came from", _flat(config["data"] | digest))]),
            Section("Network", [facts("What was trained", _flat(config["model"]))]),
            Section("Settings of the training", [facts("How it was trained", _flat(config["training"]))]),
        ],
    )


def _flat(settings: dict[str, Any], group: str = "") -> dict[str, str | None]:
    """Settings in words, those within a group under its name; what is None has no value."""
    flat: dict[str, str | None] = {}
    for key, value in settings.items():
        name = group + key.replace("_", " ")
        if isinstance(value, dict):
            flat |= _flat(value, f"{name}: ")
        else:
            flat[name] = None if value is None else _value(value)
    return flat


def _value(value: Any) -> str:
    if isinstance(value, list):
        return (", ".join(map(_value, value[:LONG])) or "none") + (f", … ({len(value)})" if len(value) > LONG else "")
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def environment(found: Found) -> Section:
    """The machine, and the versions of the libraries."""
    config = found.config
    machine, versions = config.get("machine"), config.get("versions")
    started = str(config.get("created")).replace("T", " ").replace("+00:00", " UTC")
    parts: list[Part] = [facts("When", {"Started": started})]
    if isinstance(machine, dict):
        parts.append(facts("Machine", _flat(machine)))
    if isinstance(versions, dict):
        parts.append(facts("Versions", _flat(versions)))
    return Section("Environment", parts)


def reproduction(found: Found) -> Section:
    """Commands that train the same network."""
    config, folder = found.config, str(found.folder)
    words, unsaid = found.again
    versions = config.get("versions") or {}
    parts: list[Part] = [
        Note("From the same data, with the same versions on the same kind of machine, this trains the same network:"),
        Command(words, "Command that trains the network again"),
    ]
    if unsaid:
        parts.append(Note(f"It leaves out what has no flag: {', '.join(unsaid)}.", warning=True))
    parts += [
        Note("In Python, from the run's folder:"),
        Command(["from mlp import runs\n", f"net, dataset = runs.repeat({folder!r})"], "The same in Python", joint=""),
    ]
    if "numpy" in versions:
        libraries = [f"{name}=={version}" for name, version in versions.items() if name not in ("mlp", "python")]
        parts += [
            Note(f"The libraries it was trained with, on Python {versions.get('python')}:"),
            Command(["pip install", *libraries], "Command that installs the same libraries"),
        ]
    return Section("How to reproduce it", parts)
