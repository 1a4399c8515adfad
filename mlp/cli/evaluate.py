"""``mlp evaluate``: score a trained model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from mlp.checks import counted
from mlp.cli import paths
from mlp.cli.options import SectionedCommand, data_options, device_options, json_option, threshold_option
from mlp.cli.printing import (
    describe_network,
    format_score,
    print_field,
    print_json,
    print_line,
    print_table,
    print_wrapped,
)
from mlp.cli.score_output import print_scores

if TYPE_CHECKING:
    from mlp.cli.table_rows import Rows

SHOWN_ROWS = 8
"""The first row numbers that are printed; ``--json`` and ``mlp predict --part test`` have all of them."""

MAX_MATRIX_CLASSES = 20
"""The confusion matrix is printed for at most this many classes; ``--json`` always has it."""


@click.command(cls=SectionedCommand, short_help="Score a trained model.")
@click.argument("model")
@click.argument("data")
@data_options
@device_options
@threshold_option
@json_option
def evaluate(model: str, data: str, **options: Any) -> None:
    """Print the scores of MODEL on DATA, beside those of a constant answer.

    For classes: accuracy, balanced accuracy, macro F1, ROC-AUC, average precision, log-loss, the confusion matrix, and
    precision and recall of each class.  For numbers: R^2, and RMSE and MAE in the unit of the target.  The constant
    answer is the class that is most frequent in these rows, or their mean.  Of a part of the data it prints which rows
    they are, counted from 0; and it warns if the data of the run have changed since the training.

    MODEL is a run folder or a .safetensors file; DATA is
    as in mlp train.

    \b
    mlp evaluate runs/digits-1 digits
    mlp evaluate runs/houses-1 houses_2024.csv --json
    """
    from mlp import persistence
    from mlp.cli.input_rows import load_rows, target_names_of
    from mlp.inspection.class_predictions import ClassPredictions
    from mlp.inspection.network_scores import scores_of
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
        "score": score, "score_name": net.score_name, "row_numbers": rows.rows.tolist(),
    }  # fmt: skip
    threshold = options["threshold"]
    scores = scores_of(net, rows.X, rows.y, threshold)
    if threshold is not None:
        score = scores["accuracy"]
        document |= {"threshold": threshold, "score": score}
    document |= scores
    if net.task != "numbers" and rows.y.ndim == 1:
        predictions = ClassPredictions.of(net, rows.X, rows.y, threshold)
        document |= {
            "classes": predictions.classes,
            **predictions.by_class(),
            "confusion": predictions.confusion.tolist(),
        }
    if options["as_json"]:
        print_json(document)
        return
    print_field("model", f"{path}: {describe_network(net)}")
    part = "all" if rows.part == "all" else f"{rows.part} part"
    print_wrapped("data", f"{data}, {part}, {counted(len(rows.X), 'row')}{_which_rows(rows)}")
    if rows.n_without_target:
        print_wrapped("left out", f"{counted(rows.n_without_target, 'row')} without a target")
    print_field("loss", f"{loss:.4f}")
    print_field("score", click.style(format_score(net.score_name, score), bold=True, fg="green"))
    print_scores(net, scores, target_names_of(net, model, options["target"]))
    if "classes" in document:
        _print_classes(document)


def _which_rows(rows: Rows) -> str:
    """For a part of a file, which of its rows it has, counted from 0."""
    if rows.part == "all":
        return ""
    first = sorted(rows.rows.tolist())
    shown = ", ".join(map(str, first[:SHOWN_ROWS]))
    if len(first) > SHOWN_ROWS:
        shown += ", ..."
    return f" of {rows.n_rows}: {shown}"


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
