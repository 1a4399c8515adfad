"""The header of the page: one sentence about the run, warnings, and the key figures."""

from __future__ import annotations

import os
import statistics

from mlp._backends import Layout
from mlp.inspection.report.formatting import duration, finite, short_number
from mlp.inspection.report.html_elements import Note, Part
from mlp.inspection.report.run_data import RunData
from mlp.io import run_folders


def lead(run: RunData) -> str:
    """The run in one sentence."""
    sizes = "-".join(map(str, run.config["model"]["sizes"]))
    source = os.path.basename(str(run.config["data"]["source"]))
    score, rows = run.result("test.score"), run.result("test.rows")
    outcome = "" if score is None else f": {run.score_name} {run.score_text(score)} on {rows or 0:,} test rows"
    return f"A {sizes} network trained on {source}{outcome}."


def status(run: RunData) -> list[Part]:
    """Notes about a run that did not finish as planned, and about the run that it resumes."""
    parts: list[Part] = []
    results = run.results
    if results is None:
        done, planned = len(run.history), run.config["training"]["epochs"]
        parts.append(
            Note(
                f"This run did not finish: there is no valid {run_folders.RESULTS}. It failed, was killed, or is still "
                f"running. {done} of {planned} epochs are recorded.",
                warning=True,
            )
        )
    elif results.get("interrupted"):
        parts.append(Note(f"This run was stopped early: {results.get('stop_reason')}.", warning=True))
    if run.config.get("parent"):
        parts.append(Note(f"It resumes the run {run.config['parent']}."))
    return parts


def key_figures(run: RunData) -> dict[str, str]:
    """The most important numbers of the run."""
    history, figures = run.history, {}
    score, loss = run.result("test.score"), run.result("test.loss")
    val_scores, losses = finite(history.val_score), finite(history.loss)
    if score is not None:
        figures[f"Test {run.score_name}"] = run.score_text(score)
    elif val_scores:
        figures[f"Validation {run.score_name}"] = run.score_text(val_scores[-1])
    if loss is not None:
        figures["Test loss"] = f"{loss:.4f}"
    elif losses:
        figures["Training loss"] = f"{losses[-1]:.4f}"
    figures["Epochs"] = f"{len(history):,}"
    figures["Training time"] = duration(run.result("training_seconds") or sum(finite(history.seconds)))
    if finite(history.samples_per_second):
        figures["Samples per second"] = short_number(statistics.median(finite(history.samples_per_second)))
    figures["Parameters"] = f"{Layout(tuple(run.config['model']['sizes'])).n_parameters:,}"
    return figures
