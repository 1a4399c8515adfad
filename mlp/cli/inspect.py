"""``mlp inspect``: what a model file contains, and whether it is intact."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mlp.checks import counted, shortened
from mlp.cli import paths
from mlp.cli.options import SectionedCommand, json_option
from mlp.cli.printing import print_field, print_json, print_line, print_message, print_table

if TYPE_CHECKING:
    from mlp.data.preparation import Note

SHOWN_CLASSES = 10
"""At most this many class names are printed; ``--json`` always has them."""


@click.command(cls=SectionedCommand, short_help="Describe a model file, and check that it is intact.")
@click.argument("file")
@json_option
@click.pass_context
def inspect(ctx: click.Context, /, file: str, as_json: bool) -> None:
    """Print what FILE contains: layers, preprocessing, training, precision, and whether its checksum holds.

    FILE is a .safetensors file or a run folder; in a run folder, the training state is checked too.  No network is
    made, and the weights are only read to compute the checksum.  The exit status is 1 if a checksum does not hold.

    \b
    mlp inspect digits.safetensors
    mlp inspect runs/digits-1 --json
    """
    from mlp import persistence
    from mlp.io import run_folders

    paths.require_model(file, "FILE")
    model = persistence.inspect(run_folders.model_path(file))
    summaries = [model]
    state = Path(file) / run_folders.TRAINING
    if Path(file).is_dir() and state.is_file():
        summaries.append(persistence.inspect(state))
        model |= {"training": summaries[1]["training"], "training_state": _file_of(summaries[1])}
    if as_json:
        print_json(model)
    else:
        _show(model, summaries)
    damaged = [summary["file"] for summary in summaries if summary["checksum"]["holds"] is False]
    if damaged:
        print_message(
            f"error: {damaged[0]!r} is damaged: its checksum does not hold; copy the file again from its source"
        )
        ctx.exit(1)


def _file_of(summary: dict[str, Any]) -> dict[str, Any]:
    return {name: summary[name] for name in ("file", "bytes", "written_by", "checksum")}


def _show(model: dict[str, Any], summaries: list[dict[str, Any]]) -> None:
    config = model["config"]
    print_field("model", f"{model['file']}, {model['bytes']:,} bytes, written by {shortened(model['written_by'])}")
    print_field("network", _network(model))
    if config["classes"] is not None:
        print_field("classes", _names(config["classes"]))
    if model["preprocessing"] is not None:
        from mlp.cli.data_description import print_notes

        columns = model["preprocessing"]
        print_field(
            "inputs",
            f"{counted(columns['numeric_columns'], 'numeric column')}, scaling {columns['scale']}; "
            f"{counted(columns['categorical_columns'], 'column')} of categories",
        )
        print_notes(_notes(columns), "--json")
    if config["input_scale"] is not None:
        print_field("inputs", f"multiplied by {config['input_scale']:g} if they are of type uint8")
    if config["target_scaling"] is not None:
        print_field("targets", "standardised for training; predictions are scaled back")
    if model["custom"]:
        print_field("needs", f"mlp.load(path, custom=...) with {_names(model['custom'])}")
    if model["training"] is not None:
        _show_training(model["training"])
    for summary in summaries:
        print_field("checksum", _checksum(summary))
    print_line()
    print_table(
        ("layer", "inputs", "outputs", "parameters", "activation", "dropout", "init"),
        [
            (
                str(number),
                str(layer["inputs"]),
                str(layer["outputs"]),
                f"{layer['parameters']:,}",
                shortened(layer["activation"]),
                f"{layer['dropout']:g}",
                shortened(layer["init"]),
            )
            for number, layer in enumerate(model["layers"], start=1)
        ],
    )


def _notes(columns: dict[str, Any]) -> list[Note]:
    from mlp.data.preparation import Note, plain

    return [
        *(Note("left out", f"{plain(name)} ({shortened(reason)})") for name, reason in columns["left_out"].items()),
        *(Note("dates", f"{plain(name)}: {', '.join(parts)}") for name, parts in columns["dates"].items()),
    ]


def _network(model: dict[str, Any]) -> str:
    config = model["config"]
    sizes = "-".join(map(str, config["sizes"]))
    precision = "" if config["precision"] == "float32" else f", products in {config['precision']}"
    penalties = "".join(f", {name} {config[name]:g}" for name in ("l2", "l1") if config[name])
    return (
        f"{shortened(sizes, 60)}, {shortened(config['output_activation'])} + {shortened(config['loss'])}, "
        f"{model['parameters']:,} {config['dtype']} parameters{precision}{penalties}, seed {config['seed']}"
    )


def _show_training(training: dict[str, Any]) -> None:
    part = f" and {counted(training['batches'], 'batch')}" if training["batches"] else ""
    epochs = counted(training["epochs"], "epoch") + part
    done = f"{training['optimizer']['name']}, {epochs}, {training['steps']:,} steps"
    losses = [
        f"{title} {training[name]:.4g}"
        for name, title in (("loss", "loss"), ("val_loss", "validation loss"), ("val_score", "validation score"))
        if training[name] is not None
    ]
    print_field("training", ", ".join((done, *losses, f"{training['seconds']:.1f} s")))
    if training["stop_reason"]:
        print_field("ended", shortened(training["stop_reason"]))


def _checksum(summary: dict[str, Any]) -> str:
    checksum = summary["checksum"]
    name = Path(summary["file"]).name
    if checksum["sha256"] is None:
        return f"{name}: none, as in all files of mlp 0.2.0 and before; a change cannot be noticed"
    result = (
        click.style("holds", fg="green") if checksum["holds"] else click.style("does not hold", bold=True, fg="red")
    )
    return f"{name}: {result}, SHA-256 {checksum['sha256'][:16]}..."


def _names(names: list[Any]) -> str:
    more = f", ... ({len(names)} in all)" if len(names) > SHOWN_CLASSES else ""
    return ", ".join(shortened(name) for name in names[:SHOWN_CLASSES]) + more
