"""What there is to say of a run, in the order of the page."""

from __future__ import annotations

import os
import statistics
from typing import Any

import numpy as np

from mlp._version import __version__
from mlp.inspection import plots
from mlp.inspection.plots.weights import feature_names
from mlp.inspection.report.answers import answers
from mlp.inspection.report.found import Found, find
from mlp.inspection.report.head import key_figures, lead, summary
from mlp.inspection.report.parts import Note, Section, Table, facts, picture
from mlp.inspection.report.setup import configuration, environment, reproduction
from mlp.inspection.report.words import duration, finite
from mlp.io import runs

EPOCHS = 12
"""At most so many epochs stand in the table."""


def gather(folder: str | os.PathLike[str], *, data_dir: str | os.PathLike[str] | None = None) -> dict[str, Any]:
    """All that the page shows, as plain data."""
    found = find(folder, data_dir=data_dir)
    return {
        "title": f"Run {found.folder.resolve().name}",
        "lead": lead(found),
        "summary": summary(found),
        "key_figures": key_figures(found),
        "sections": [
            _training(found),
            answers(found),
            _weights(found),
            _speed(found),
            configuration(found),
            environment(found),
            reproduction(found),
        ],
        "signature": f"Written by mlp {__version__} from {found.folder.resolve()}.",
    }


def _training(found: Found) -> Section:
    history, section = found.history, Section("Training")
    if not len(history):
        why = found.problems.get("history", "no epoch was finished")
        section.parts.append(Note(f"There are no curves: {why}.", warning=True))
        return section
    best = found.figure("best_epoch")
    history.best_epoch = None if best is None else int(best) - 1
    loss, score = found.config["model"]["loss"], found.score_name
    alt = f"Curves over {len(history)} epochs. Training loss: {history.loss[0]:.3g}, at last {history.loss[-1]:.3g}."
    if finite(history.val_score):
        low, high = (figure(finite(history.val_score)) for figure in (min, max))
        alt += f" Validation {score}: from {found.score_text(low)} to {found.score_text(high)}."
    section.parts.append(picture(plots.curves(history, loss=loss, score=score), alt))
    if found.results is not None:
        section.parts.append(Note(f"Training ended: {found.results.get('stop_reason')}."))
    section.parts.append(_epochs(found))
    return section


def _epochs(found: Found) -> Table:
    history = found.history
    shown = sorted(set(np.linspace(1, len(history), min(len(history), EPOCHS)).round().astype(int).tolist()))
    columns = {"loss": history.loss, "validation loss": history.val_loss}
    if len(set(history.learning_rate)) > 1:
        columns["learning rate"] = history.learning_rate
    columns = {name: values for name, values in columns.items() if finite(values)}
    score = f"validation {found.score_name}"
    validated = bool(finite(history.val_score))
    rows = [
        [str(epoch), *(f"{values[epoch - 1]:.4g}" for values in columns.values())]
        + ([found.score_text(history.val_score[epoch - 1])] if validated else [])
        for epoch in shown
    ]
    some = f"{len(shown)} of {len(history)} epochs" if len(shown) < len(history) else "Each epoch"
    return Table(f"{some}; {runs.METRICS} has all figures", rows, ["epoch", *columns, *([score] if validated else [])])


def _weights(found: Found) -> Section:
    section = Section("What the neurons look for")
    net = found.net
    if net is None:
        why = found.problems["model"].rstrip(".")
        section.parts.append(Note(f"The model of this run is not to be had: {why}.", warning=True))
        return section
    shape = plots.image_shape(net)
    if shape is None:
        W = np.abs(net.weights[0])
        row, unit = np.unravel_index(W.argmax(), W.shape)
        alt = f"The weights of layer 1 as a matrix. The largest joins {feature_names(net)[row]} to neuron {unit}."
        text = "A row for each input, a column for each neuron of the first layer."
    else:
        alt = f"The weights of neurons of layer 1 as images of {shape[0]} by {shape[1]} pixels."
        text = "Each neuron of the first layer has a weight for each pixel: what it would like to see."
    section.parts.extend([Note(text), picture(plots.weights(net), alt)])
    return section


def _speed(found: Found) -> Section:
    history, seconds = found.history, found.figure("seconds")
    place = found.config["backend"]
    entries = {"Backend": f"{place.get('name')} on {place.get('device')}", "Why there": place.get("reason")}
    speeds = finite(history.samples_per_second)
    if speeds:
        entries["Median epoch"] = f"{statistics.median(speeds):,.0f} samples/s"
        entries["Fastest epoch"] = f"{max(speeds):,.0f} samples/s"
        entries["Slowest epoch"] = f"{min(speeds):,.0f} samples/s (the first may compile)"
        entries["Time of an epoch"] = duration(statistics.median(finite(history.seconds) or [0.0]))
        entries["Time of training"] = duration(sum(finite(history.seconds)))
    if seconds is not None:
        entries["Time of the whole run"] = f"{duration(seconds)}, with reading, validating and saving"
    return Section("Speed", [facts("Speed of training", entries)])
