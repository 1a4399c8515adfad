"""The output of ``mlp train`` before, during and after training."""

from __future__ import annotations

import os
import statistics
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mlp._backends import DataError
from mlp.checks import counted
from mlp.cli.data_description import describe_task, print_notes
from mlp.cli.printing import (
    describe_network,
    format_score,
    print_field,
    print_line,
    print_message,
    print_wrapped,
)
from mlp.cli.score_output import print_scores
from mlp.cli.training_data import test_rows, training_rows
from mlp.io import run_folders
from mlp.training import Callback, History, Run

if TYPE_CHECKING:
    from mlp.data import Dataset, StreamedDataset
    from mlp.model import MLP

SHOWN_EPOCHS = 12
"""Approximate number of epochs to print; ``metrics.csv`` has all of them."""

_WIDTHS = {"epoch": 6, "loss": 10, "val_loss": 10, "val_score": 10, "learning_rate": 14, "samples_per_second": 12}
_TITLES = {"learning_rate": "learning rate", "samples_per_second": "samples/s"}


class Reporter(Callback):
    """Prints the settings, epochs and results of a training run.

    Parameters
    ----------
    dataset : Dataset or StreamedDataset
    config : dict
        The configuration of the run.
    live : bool
        Print each epoch when it ends; otherwise (with a progress bar) print all epochs at the end.
    silent : bool
        Print nothing.
    """

    def __init__(self, dataset: Dataset | StreamedDataset, config: dict[str, Any], *, live: bool, silent: bool) -> None:
        self.dataset, self.config = dataset, config
        self.live, self.silent = live, silent
        self.first = 0
        self.names = list(dataset.target_names) or [f"output {k}" for k in range(dataset.n_outputs)]

    def on_train_begin(self, run: Run) -> None:
        self.first = run.epoch
        if self.silent:
            return
        net, data, training = run.net, self.dataset, self.config["training"]
        n_training, n_test = training_rows(data), test_rows(data)
        rows = [f"{n_training} training rows"]
        if training["validation_fraction"]:
            rows[0] += f" ({training['validation_fraction']:.0%} for validation)"
        if n_test:
            rows.append(f"{n_test} test rows")
        inputs = "1 input" if data.n_inputs == 1 else f"{data.n_inputs} inputs"
        outputs = "1 output" if data.n_outputs == 1 else f"{data.n_outputs} {'classes' if data.classes else 'outputs'}"
        print_wrapped("data", f"{data.name}: {', '.join(rows)}, {inputs}, {outputs}")
        print_wrapped("task", describe_task(data))
        print_notes(data.notes)
        print_field("network", describe_network(net))
        optimizer = training["optimizer"]
        rate = optimizer["learning_rate"]
        if isinstance(rate, dict):
            rate = f"{rate['name']} from {rate['learning_rate']:g}"
        batch = "full batch" if optimizer["name"] == "gd" else f"batches of {training['batch_size'] or 32}"
        name = optimizer["name"]
        print_field("training", f"{name} {rate}, {batch}, {counted(run.epochs, 'epoch')}, seed {net.seed}")
        if training.get("shards"):
            print_field("shards", f"{training['shards']} of each batch, on {counted(run.comm.size, 'rank')}")
        if training["early_stopping"]:
            print_wrapped("kept", "the weights of the epoch with the lowest validation loss; see --validation")
        if self.config["parent"]:
            position, done = counted(run.epoch, "epoch"), run.state.batches_done
            if done:
                position += f" and {counted(done, 'batch')}"
            print_field("resumes", f"{os.path.relpath(self.config['parent'])}, after {position}")
        print_field("backend", f"{net.backend} on {net.xp.device} ({net.backend_reason})")
        if self.live:
            self._header()

    def on_epoch_end(self, run: Run) -> None:
        epoch = len(run.history)
        if self.live and not self.silent and self._is_shown(epoch, run.epochs):
            self._row(run.history, epoch)

    def finish(self, results: dict[str, Any]) -> None:
        """Print the results."""
        history = self._history
        if not self.live:
            self._header()
            for epoch in range(self.first + 1, len(history) + 1):
                if self._is_shown(epoch, len(history)):
                    self._row(history, epoch)
        elif self.first < len(history) and not self._is_shown(len(history), self.config["training"]["epochs"]):
            self._row(history, len(history))
        print_line()
        if history.best_epoch is not None:
            print_field("best", f"epoch {history.best_epoch}")
        print_field("ended", results["stop_reason"])
        if results["test"]:
            test = results["test"]
            score = click.style(format_score(results["score"], test["score"]), bold=True, fg="green")
            print_field("test", f"{score}, loss {test['loss']:.4f}, {test['rows']} rows")
            print_scores(self.net, {key: test[key] for key in test if key not in ("rows", "loss", "score")}, self.names)
        print_field("time", f"{results['seconds']:.1f} s, {results['samples_per_second']:,.0f} samples/s in training")
        print_field("run", results["run"])

    def results(self, net: MLP, folder: Path, seconds: float) -> dict[str, Any]:
        """Score the test part, and return the results of the training as a JSON-compatible dict."""
        assert net.history is not None
        history = self._history = net.history
        self.net = net
        data = self.dataset
        training_seconds = sum(history.seconds[self.first :])
        test = None
        if n_test := test_rows(data):
            try:
                test = {"rows": n_test, **_test_scores(net, data)}
            except DataError as error:  # the training is done, and its results must not be lost
                print_message(f"warning: the test part has no score: {error}")
        return {
            "run": str(folder),
            "parent": self.config["parent"],
            "model": str(folder / run_folders.MODEL),
            "data": data.name,
            "task": net.task,
            "task_reason": data.task_reason,
            "targets": self.names,
            "notes": [[note.heading, note.text] for note in data.notes],
            "sizes": list(net.sizes),
            "parameters": net.plan.layout.n_parameters,
            "backend": net.backend,
            "device": net.xp.device,
            "backend_reason": net.backend_reason,
            "epochs": len(history),
            "best_epoch": history.best_epoch,
            "stop_reason": history.stop_reason,
            "interrupted": history.interrupted,
            "score": net.score_name,
            "test": test,
            "seconds": seconds,
            "training_seconds": training_seconds,
            # the median, because the first epoch may compile and the last one may be interrupted
            "samples_per_second": statistics.median(history.samples_per_second[self.first :] or [0.0]),
            "history": {name: getattr(history, name) for name in run_folders.COLUMNS[1:]},
        }

    def _columns(self) -> list[str]:
        validation = ("val_loss", "val_score") if self.config["training"]["validation_fraction"] else ()
        return ["epoch", "loss", *validation, "learning_rate", "samples_per_second"]

    def _header(self) -> None:
        print_line()
        print_line(
            click.style("".join(f"{_TITLES.get(name, name):>{_WIDTHS[name]}}" for name in self._columns()), bold=True)
        )

    def _is_shown(self, epoch: int, epochs: int) -> bool:
        interval = max(round((epochs - self.first) / (SHOWN_EPOCHS - 2)), 1)
        return epoch in (self.first + 1, epochs) or epoch % interval == 0

    def _row(self, history: History, epoch: int) -> None:
        def cell(name: str) -> str:
            if name == "epoch":
                return str(epoch)
            value = getattr(history, name)[epoch - 1]
            return f"{value:,.0f}" if name == "samples_per_second" else f"{value:.4g}" if value else "0"

        print_line("".join(f"{cell(name):>{_WIDTHS[name]}}" for name in self._columns()))


def _test_scores(net: MLP, data: Dataset | StreamedDataset) -> dict[str, Any]:
    """Loss, score and the other scores of the test part."""
    from mlp.data import StreamedDataset

    if isinstance(data, StreamedDataset):
        from mlp.inspection.streamed_scores import streamed_scores

        assert data.test is not None
        loss, score = net.evaluate(data.test)
        scores = streamed_scores(net, data.test)[0]
    else:
        from mlp.inspection.network_scores import scores_of

        loss, score = net.evaluate(data.X_test, data.y_test)
        scores = scores_of(net, data.X_test, data.y_test)
    return {"loss": loss, "score": score, **scores}
