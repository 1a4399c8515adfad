"""The content of the page, section by section."""

from __future__ import annotations

import os
import statistics
from typing import Any

import numpy as np

from mlp._version import __version__
from mlp.checks import counted
from mlp.inspection import plots
from mlp.inspection.plots.weights import feature_names
from mlp.inspection.report.data_rows import names_without_values, without_rows
from mlp.inspection.report.formatting import duration, finite
from mlp.inspection.report.header import key_figures, lead, status
from mlp.inspection.report.html_elements import Note, Section, Table, name_value_table, picture
from mlp.inspection.report.picture_tables import weights_table
from mlp.inspection.report.predictions import predictions
from mlp.inspection.report.run_data import RunData, read_run
from mlp.inspection.report.training_setup import configuration, environment, reproduction
from mlp.io import run_folders

MAX_EPOCHS = 12
"""Maximum number of epochs in the table."""


def content(
    folder: str | os.PathLike[str], *, data_dir: str | os.PathLike[str] | None = None, show_data: bool = True
) -> dict[str, Any]:
    """The variables of the template ``page.html``."""
    run = read_run(folder, data_dir=data_dir)
    if not show_data and "data" in run.problems:
        run.problems["data"] = "the reason is left out, since it may quote values (--no-data)"
    sections = [
        _training(run),
        predictions(run),
        _weights(run, show_data),
        _speed(run),
        configuration(run),
        environment(run),
        reproduction(run),
    ]
    return {
        "title": f"Run {run.folder.resolve().name}",
        "lead": lead(run),
        "status": status(run),
        "key_figures": key_figures(run),
        "sections": sections if show_data else [without_rows(section) for section in sections],
        "signature": f"Written by mlp {__version__} from {run.folder.resolve()}.",
    }


def _training(run: RunData) -> Section:
    history, section = run.history, Section("Training")
    if not len(history):
        reason = run.problems.get("history", "no epoch was finished")
        section.parts.append(Note(f"There are no curves: {reason}.", warning=True))
        return section
    best = run.result("best_epoch")
    history.best_epoch = None if best is None else int(best)
    loss, score = run.config["model"]["loss"], run.score_name
    epochs = counted(len(history), "epoch")
    alt = f"Curves over {epochs}. Training loss: from {history.loss[0]:.3g} to {history.loss[-1]:.3g}."
    if finite(history.val_score):
        low, high = (extreme(finite(history.val_score)) for extreme in (min, max))
        alt += f" Validation {score}: minimum {run.score_text(low)}, maximum {run.score_text(high)}."
    text = "The loss says how far the answers are from the targets; training makes it smaller."
    if finite(history.val_loss):
        text += " Where the dashed line rises while the other one falls, the network learns rows by heart."
    section.parts.extend([Note(text), picture(plots.curves(history, loss=loss, score=score), alt)])
    if run.results is not None:
        reason = str(run.results.get("stop_reason"))
        if best is not None and reason.endswith(f"best was epoch {int(best) - 1}"):
            # version 0.2 counted epochs from 0 in this text, but from 1 in `best_epoch`
            reason = f"{reason.rpartition(' ')[0]} {int(best)}"
        section.parts.append(Note(f"Training ended: {reason}."))
    section.parts.append(_epochs(run))
    return section


def _epochs(run: RunData) -> Table:
    history = run.history
    shown = sorted(set(np.linspace(1, len(history), min(len(history), MAX_EPOCHS)).round().astype(int).tolist()))
    columns = {"loss": history.loss, "validation loss": history.val_loss}
    if len(set(history.learning_rate)) > 1:
        columns["learning rate"] = history.learning_rate
    columns = {name: values for name, values in columns.items() if finite(values)}
    score = f"validation {run.score_name}"
    validated = bool(finite(history.val_score))
    rows = [
        [str(epoch), *(f"{values[epoch - 1]:.4g}" for values in columns.values())]
        + ([run.score_text(history.val_score[epoch - 1])] if validated else [])
        for epoch in shown
    ]
    caption = f"{len(shown)} of {len(history)} epochs" if len(shown) < len(history) else "All epochs"
    caption += f"; {run_folders.METRICS} contains all values"
    return Table(caption, rows, ["epoch", *columns, *([score] if validated else [])])


def _weights(run: RunData, show_data: bool) -> Section:
    section = Section("Weights of the first layer")
    net = run.net
    if net is None:
        reason = run.problems["model"].rstrip(".")
        section.parts.append(Note(f"The model of this run could not be read: {reason}.", warning=True))
        return section
    shape = plots.image_shape(net)
    names = feature_names(net) if show_data else names_without_values(net.preprocessing) or feature_names(net)
    if shape is None:
        W = np.abs(net.weights[0])
        row, unit = np.unravel_index(W.argmax(), W.shape)
        alt = f"The weights of layer 1 as a matrix. The largest weight is from {names[row]} to neuron {unit}."
        text = "Each row is an input, each column is a neuron of the first layer."
    else:
        alt = f"The weights of neurons of layer 1 as images of {shape[0]} by {shape[1]} pixels."
        text = (
            "Each neuron of the first layer has one weight for each pixel. The images show which pixels it reacts to."
        )
    section.parts.extend([Note(text), picture(plots.weights(net, names=names), alt), weights_table(net, names)])
    return section


def _speed(run: RunData) -> Section:
    history, seconds = run.history, run.result("seconds")
    backend = run.config["backend"]
    entries = {
        "Backend": f"{backend.get('name')} on {backend.get('device')}",
        "Reason for this backend": backend.get("reason"),
    }
    speeds = finite(history.samples_per_second)
    if speeds:
        entries["Median epoch"] = f"{statistics.median(speeds):,.0f} samples/s"
        entries["Fastest epoch"] = f"{max(speeds):,.0f} samples/s"
        entries["Slowest epoch"] = f"{min(speeds):,.0f} samples/s (the first epoch may include compilation)"
        entries["Time per epoch"] = duration(statistics.median(finite(history.seconds) or [0.0]))
        entries["Training time"] = duration(sum(finite(history.seconds)))
    if seconds is not None:
        entries["Total time of the run"] = f"{duration(seconds)}, including reading, validation and saving"
    text = Note("How long the training took, and how many rows it read in a second.")
    return Section("Speed", [text, name_value_table("Training speed", entries)])
