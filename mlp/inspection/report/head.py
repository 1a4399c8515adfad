"""The head of the page: what was trained, what came of it, and what went wrong."""

from __future__ import annotations

import os
import statistics

from mlp._backends import Layout
from mlp.inspection.report.found import Found
from mlp.inspection.report.parts import Note, Part
from mlp.inspection.report.words import duration, finite, short
from mlp.io import runs


def lead(found: Found) -> str:
    """The run in a sentence."""
    sizes = "-".join(map(str, found.config["model"]["sizes"]))
    source = os.path.basename(str(found.config["data"]["source"]))
    score, rows = found.figure("test.score"), found.figure("test.rows")
    came = "" if score is None else f": {found.score_name} {found.score_text(score)} on {rows or 0:,} test rows"
    return f"A {sizes} network trained on {source}{came}."


def summary(found: Found) -> list[Part]:
    """How it ended, if not as planned, and what it goes on with."""
    parts: list[Part] = []
    results = found.results
    if results is None:
        done, planned = len(found.history), found.config["training"]["epochs"]
        parts.append(
            Note(
                f"This run did not come to its end: it has no {runs.RESULTS}, so it failed, was killed, or goes on. "
                f"{done} of {planned} epochs are recorded.",
                warning=True,
            )
        )
    elif results.get("interrupted"):
        parts.append(Note(f"This run was stopped early: {results.get('stop_reason')}.", warning=True))
    if found.config.get("parent"):
        parts.append(Note(f"It goes on with the run {found.config['parent']}."))
    return parts


def key_figures(found: Found) -> dict[str, str]:
    """The figures that one looks for first."""
    history, figures = found.history, {}
    score, loss = found.figure("test.score"), found.figure("test.loss")
    validated, losses = finite(history.val_score), finite(history.loss)
    if score is not None:
        figures[f"Test {found.score_name}"] = found.score_text(score)
    elif validated:
        figures[f"Validation {found.score_name}"] = found.score_text(validated[-1])
    if loss is not None:
        figures["Test loss"] = f"{loss:.4f}"
    elif losses:
        figures["Training loss"] = f"{losses[-1]:.4f}"
    figures["Epochs"] = f"{len(history):,}"
    figures["Training time"] = duration(found.figure("training_seconds") or sum(finite(history.seconds)))
    if finite(history.samples_per_second):
        figures["Samples a second"] = short(statistics.median(finite(history.samples_per_second)))
    figures["Parameters"] = f"{Layout(tuple(found.config['model']['sizes'])).n_parameters:,}"
    return figures
