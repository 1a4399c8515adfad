"""``mlp evaluate``: score a trained model."""

from __future__ import annotations

from typing import Any

import click

from mlp.cli import paths
from mlp.cli.options import SectionedCommand, data_options, device_options, json_option
from mlp.cli.printing import (
    describe_network,
    format_score,
    print_field,
    print_json,
    print_line,
    print_table,
    score_name,
)

MAX_MATRIX_CLASSES = 20
"""The confusion matrix is printed for at most this many classes; ``--json`` always has it."""


@click.command(cls=SectionedCommand, short_help="Score a trained model.")
@click.argument("model")
@click.argument("data")
@data_options
@device_options
@json_option
def evaluate(model: str, data: str, **options: Any) -> None:
    """Print the scores of MODEL on DATA: loss, and accuracy or R^2.

    For classes also precision, recall and the confusion matrix.  MODEL is a run folder or a .safetensors file; DATA is
    as in mlp train.

    \b
    mlp evaluate runs/digits-1 digits
    mlp evaluate runs/houses-1 houses_2024.csv --json
    """
    from mlp import persistence
    from mlp.cli.input_rows import load_rows
    from mlp.inspection.class_predictions import ClassPredictions
    from mlp.io import run_folders

    paths.require_model(model)
    paths.require_data(data, options["data_dir"])
    path = run_folders.model_path(model)
    net = persistence.load(path, backend=options["backend"], device=options["device"])
    rows = load_rows(net, model, data, options, with_targets=True)
    assert rows.y is not None
    loss, score = net.evaluate(rows.X, rows.y)
    document: dict[str, Any] = {
        "model": str(path), "data": data, "part": rows.part, "rows": len(rows.X), "task": net.task, "loss": loss,
        "score": score, "score_name": score_name(net.task),
    }  # fmt: skip
    if net.task != "numbers" and rows.y.ndim == 1:
        predictions = ClassPredictions.of(net, rows.X, rows.y)
        document |= {
            "classes": predictions.classes,
            **predictions.by_class(),
            "confusion": predictions.confusion.tolist(),
        }
    if options["as_json"]:
        print_json(document)
        return
    print_field("model", f"{path}: {describe_network(net)}")
    print_field("data", f"{data}, {'all' if rows.part == 'all' else rows.part + ' part'}, {len(rows.X)} rows")
    print_field("loss", f"{loss:.4f}")
    print_field("score", click.style(format_score(net.task, score), bold=True, fg="green"))
    if "classes" in document:
        _print_classes(document)


def _print_classes(document: dict[str, Any]) -> None:
    names = [str(name) for name in document["classes"]]
    print_line()
    print_table(
        ("class", "rows", "precision", "recall", "f1"),
        [
            (name, str(rows), *(f"{figure:.4f}" for figure in figures))
            for name, rows, *figures in zip(
                names, document["support"], document["precision"], document["recall"], document["f1"], strict=True
            )
        ],
    )
    print_line()
    if len(names) > MAX_MATRIX_CLASSES:
        print_line(f"Use --json for the confusion matrix of {len(names)} classes.")
        return
    print_table(
        ("true \\ predicted", *names),
        [
            (name, *(str(count) if count else "." for count in row))
            for name, row in zip(names, document["confusion"], strict=True)
        ],
    )
