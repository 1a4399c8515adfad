"""``mlp evaluate``: how good a trained model is."""

from __future__ import annotations

from typing import Any

import click

from mlp.cli.options import SectionedCommand, json_option, place_options, rows_options
from mlp.cli.output import fact, network_text, say, say_json, score_name, score_text, table

MATRIX = 20
"""Up to this many classes the confusion matrix is printed; ``--json`` always has it."""


@click.command(cls=SectionedCommand, short_help="Score a model.")
@click.argument("model")
@click.argument("data")
@rows_options
@place_options
@json_option
def evaluate(model: str, data: str, **options: Any) -> None:
    """Score MODEL on DATA: loss, accuracy or R^2, and for classes precision, recall and the confusion matrix.

    MODEL is a run's folder or a .safetensors file; DATA is as in mlp train.

    \b
    mlp evaluate runs/digits-1 digits
    mlp evaluate runs/houses-1 houses_2024.csv --json
    """
    from mlp import persistence
    from mlp.cli.rows import load_rows
    from mlp.inspection.predictions import ClassPredictions
    from mlp.io import runs

    path = runs.model_path(model)
    net = persistence.load(path, backend=options["backend"], device=options["device"])
    rows = load_rows(net, model, data, options, answers=True)
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
        say_json(document)
        return
    fact("model", f"{path}: {network_text(net)}")
    fact("data", f"{data}, {'all' if rows.part == 'all' else rows.part + ' part'}, {len(rows.X)} rows")
    fact("loss", f"{loss:.4f}")
    fact("score", click.style(score_text(net.task, score), bold=True, fg="green"))
    if "classes" in document:
        _say_classes(document)


def _say_classes(document: dict[str, Any]) -> None:
    names = [str(name) for name in document["classes"]]
    say()
    table(
        ("class", "rows", "precision", "recall", "f1"),
        [
            (name, str(rows), *(f"{figure:.4f}" for figure in figures))
            for name, rows, *figures in zip(
                names, document["support"], document["precision"], document["recall"], document["f1"], strict=True
            )
        ],
    )
    say()
    if len(names) > MATRIX:
        say(f"The confusion matrix of {len(names)} classes is in the output of --json.")
        return
    table(
        ("true \\ answer", *names),
        [
            (name, *(str(count) if count else "." for count in row))
            for name, row in zip(names, document["confusion"], strict=True)
        ],
    )
