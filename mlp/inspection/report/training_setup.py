"""The configuration of a run, its environment, and how to reproduce it."""

from __future__ import annotations

from typing import Any

from mlp.inspection.report.html_elements import Command, Note, Part, Section, name_value_table
from mlp.inspection.report.run_data import RunData

MAX_ENTRIES = 20
"""Longer lists are cut after this number of entries."""


def configuration(run: RunData) -> Section:
    """Data, network and training settings of ``config.json``."""
    config = run.config
    digest = {"SHA-256 of the training rows": config["data_sha256"]}
    return Section(
        "Configuration",
        [Note("What the run was told: the data, the network, and how to train it.")],
        sections=[
            Section("Data", [name_value_table("Data source and preparation", _flat(config["data"] | digest))]),
            Section("Network", [name_value_table("Settings of the network", _flat(config["model"]))]),
            Section("Training settings", [name_value_table("Settings of the training", _flat(config["training"]))]),
        ],
    )


def _flat(settings: dict[str, Any], prefix: str = "") -> dict[str, str | None]:
    """Names and values as text; nested settings get the name of their group as a prefix."""
    flat: dict[str, str | None] = {}
    for key, value in settings.items():
        name = prefix + key.replace("_", " ")
        if isinstance(value, dict):
            flat |= _flat(value, f"{name}: ")
        else:
            flat[name] = None if value is None else _value(value)
    return flat


def _value(value: Any) -> str:
    if isinstance(value, list):
        text = ", ".join(map(_value, value[:MAX_ENTRIES])) or "none"
        return text + (f", … ({len(value)})" if len(value) > MAX_ENTRIES else "")
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def environment(run: RunData) -> Section:
    """The machine, and the versions of the libraries."""
    config = run.config
    machine, versions = config.get("machine"), config.get("versions")
    started = str(config.get("created")).replace("T", " ").replace("+00:00", " UTC")
    text = Note("The machine on which the network was trained, and the versions of the libraries.")
    parts: list[Part] = [text, name_value_table("Time", {"Started": started})]
    if isinstance(machine, dict):
        parts.append(name_value_table("Machine", _flat(machine)))
    if isinstance(versions, dict):
        parts.append(name_value_table("Versions", _flat(versions)))
    return Section("Environment", parts)


def reproduction(run: RunData) -> Section:
    """Commands that train the same network again."""
    config, folder = run.config, run.folder
    movable = not folder.is_absolute() and folder.parts[:1] not in ((), ("..",))
    arguments, without_option = run.train_command
    versions = config.get("versions") or {}
    parts: list[Part] = [
        Note(
            "This command trains the same network again, with the same data, the same versions and the same kind of "
            "machine:"
        ),
        Command(arguments, "Command that trains the network again"),
    ]
    if without_option:
        text = f"The command leaves out these settings, which have no option: {', '.join(without_option)}."
        parts.append(Note(text, warning=True))
    parts += [
        Note(f"In Python, in the folder that contains {folder.parts[0]}/:" if movable else "In Python:"),
        Command(
            ["from mlp import runs\n", f"net, dataset = runs.repeat({str(folder if movable else folder.resolve())!r})"],
            "The same in Python",
            continuation="",
        ),
    ]
    if "numpy" in versions:
        libraries = [f"{name}=={version}" for name, version in versions.items() if name not in ("mlp", "python")]
        parts += [
            Note(f"The run used Python {versions.get('python')} and these libraries:"),
            Command(["pip install", *libraries], "Command that installs the same libraries"),
        ]
    return Section("How to reproduce this run", parts)
