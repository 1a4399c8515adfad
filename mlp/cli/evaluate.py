"""``mlp evaluate``: score a trained model."""

from __future__ import annotations

from dataclasses import dataclass
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
from mlp.cli.reading_in_blocks import stream_option
from mlp.cli.score_output import print_scores
from mlp.cli.training_data import shows_progress

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mlp.inspection.class_predictions import ClassPredictions
    from mlp.inspection.streamed_scores import ClassCounts
    from mlp.model import MLP

SHOWN_ROWS = 8
"""The first row numbers that are printed; ``--json`` and ``mlp predict --part test`` have all of them."""

MAX_MATRIX_CLASSES = 20
"""The confusion matrix is printed for at most this many classes; ``--json`` always has it."""


@click.command(cls=SectionedCommand, short_help="Score a trained model.")
@click.argument("model")
@click.argument("data")
@data_options
@stream_option
@device_options
@threshold_option
@json_option
def evaluate(model: str, data: str, **options: Any) -> None:
    """Print the scores of MODEL on DATA, beside those of a constant answer.

    For classes: accuracy, balanced accuracy, macro F1, ROC-AUC, average precision, log-loss, the confusion matrix, and
    precision and recall of each class.  For numbers: R^2, and RMSE and MAE in the unit of the target.  The constant
    answer is the class that is most frequent in these rows, or their mean.  Of a part of the data it prints which rows
    they are, counted from 0; and it warns if the data of the run have changed since the training.

    MODEL is a run folder or a .safetensors file; DATA is as in mlp train.  An NPY or Parquet file that takes
    much of the memory is read in blocks, and so is a folder of them; then scores that need all outputs in memory may be
    left out, which is said.

    \b
    mlp evaluate runs/digits-1 digits
    mlp evaluate runs/houses-1 houses_2024.csv --json
    """
    from mlp import persistence
    from mlp.cli.input_rows import target_names_of
    from mlp.cli.streamed_rows import choose_for_model
    from mlp.io import run_folders

    paths.require_model(model)
    paths.require_data(data, options["data_dir"], parts=True)
    path = run_folders.model_path(model)
    net = persistence.load(path, backend=options["backend"], device=options["device"])
    reason = choose_for_model(net, model, data, options)
    if reason and not options["as_json"]:
        print_wrapped("reading", reason)
    scored = (_in_blocks if reason else _in_memory)(net, model, data, options)
    threshold, scores, score = options["threshold"], scored.scores, scored.score
    document: dict[str, Any] = {
        "model": str(path), "data": data, "part": scored.part, "rows": scored.count, "task": net.task,
        "loss": scored.loss, "score": score, "score_name": net.score_name,
    }  # fmt: skip
    if scored.rows is not None:
        document["row_numbers"] = scored.rows.tolist()
    if threshold is not None:
        score = scores["accuracy"]
        document |= {"threshold": threshold, "score": score}
    document |= scores
    if scored.counts is not None:
        document |= {
            "classes": scored.counts.classes,
            **scored.counts.by_class(),
            "confusion": scored.counts.confusion.tolist(),
        }
    if options["as_json"]:
        print_json(document)
        return
    print_field("model", f"{path}: {describe_network(net)}")
    part = "all" if scored.part == "all" else f"{scored.part} part"
    print_wrapped("data", f"{data}, {part}, {counted(scored.count, 'row')}{_which_rows(scored)}")
    if scored.n_without_target:
        print_wrapped("left out", f"{counted(scored.n_without_target, 'row')} without a target")
    print_field("loss", f"{scored.loss:.4f}")
    print_field("score", click.style(format_score(net.score_name, score), bold=True, fg="green"))
    print_scores(net, scores, target_names_of(net, model, options["target"]))
    if "classes" in document:
        _print_classes(document)


@dataclass(frozen=True)
class _Scored:
    """The scores of some rows, and which rows they are; `rows` is None if they are too many to be listed."""

    part: str
    count: int
    n_rows: int
    first: list[int]
    rows: NDArray[Any] | None
    n_without_target: int
    loss: float
    score: float
    scores: dict[str, Any]
    counts: ClassPredictions | ClassCounts | None


def _in_memory(net: MLP, model: str, data: str, options: dict[str, Any]) -> _Scored:
    from mlp.cli.input_rows import load_rows
    from mlp.inspection.class_predictions import ClassPredictions
    from mlp.inspection.network_scores import scores_of

    rows = load_rows(net, model, data, options, with_targets=True)
    assert rows.y is not None
    loss, score = net.evaluate(rows.X, rows.y)
    scores, counts = scores_of(net, rows.X, rows.y, options["threshold"]), None
    if net.task != "numbers" and rows.y.ndim == 1:
        counts = ClassPredictions.of(net, rows.X, rows.y, options["threshold"])
    first = sorted(rows.rows.tolist())[: SHOWN_ROWS + 1]
    return _Scored(
        rows.part, len(rows.X), rows.n_rows, first, rows.rows, rows.n_without_target, loss, score, scores, counts
    )


def _in_blocks(net: MLP, model: str, data: str, options: dict[str, Any]) -> _Scored:
    from mlp.cli.streamed_rows import open_rows
    from mlp.inspection.streamed_scores import streamed_scores

    progress = shows_progress(options)
    rows = open_rows(net, model, data, options, with_targets=True, progress=progress)
    assert rows.stream is not None
    loss, score = net.evaluate(rows.stream)
    scores, counts = streamed_scores(net, rows.stream, options["threshold"])
    first = next(rows.chunks()).rows[: SHOWN_ROWS + 1].tolist()
    rows.warn()
    return _Scored(rows.part, rows.count, rows.n_rows, first, None, rows.n_without_target, loss, score, scores, counts)


def _which_rows(scored: _Scored) -> str:
    """For a part of a file, which of its rows it has, counted from 0."""
    if scored.part == "all":
        return ""
    shown = ", ".join(map(str, scored.first[:SHOWN_ROWS]))
    if scored.count > SHOWN_ROWS:
        shown += ", ..."
    return f" of {scored.n_rows}: {shown}"


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
