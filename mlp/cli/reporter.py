"""What ``mlp train`` says about a training: before, meanwhile and after."""

from __future__ import annotations

import os
import statistics
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mlp.cli.output import fact, network_text, say, score_name, score_text
from mlp.io import runs
from mlp.training import Callback, History, Run

if TYPE_CHECKING:
    from mlp.data import Dataset
    from mlp.model import MLP

ROWS = 12
"""About as many epochs are shown; ``metrics.csv`` has all of them."""

_WIDTHS = {"epoch": 6, "loss": 10, "val_loss": 10, "val_score": 10, "learning_rate": 14, "samples_per_second": 12}
_TITLES = {"learning_rate": "learning rate", "samples_per_second": "samples/s"}


class Reporter(Callback):
    """Prints the report of a training.

    Parameters
    ----------
    dataset : Dataset
    config : dict
        Of the run.
    live : bool
        Print epochs as they end; else, where a progress bar shows them, all at the end.
    silent : bool
        Print nothing.
    """

    def __init__(self, dataset: Dataset, config: dict[str, Any], *, live: bool, silent: bool) -> None:
        self.dataset, self.config = dataset, config
        self.live, self.silent = live, silent
        self.first = 0

    def on_train_begin(self, run: Run) -> None:
        self.first = run.epoch
        if self.silent:
            return
        net, data, training = run.net, self.dataset, self.config["training"]
        rows = [f"{len(data.X)} rows to train on"]
        if training["validation_fraction"]:
            rows[0] += f" ({training['validation_fraction']:.0%} of them to validate)"
        if data.X_test is not None:
            rows.append(f"{len(data.X_test)} to test")
        inputs = "1 input" if data.n_inputs == 1 else f"{data.n_inputs} inputs"
        outputs = "1 output" if data.n_outputs == 1 else f"{data.n_outputs} {'classes' if data.classes else 'outputs'}"
        fact("data", f"{data.name}: {', '.join(rows)}, {inputs}, {outputs}")
        fact("network", network_text(net))
        optimizer = training["optimizer"]
        rate = optimizer["learning_rate"]
        if isinstance(rate, dict):
            rate = f"{rate['name']} from {rate['learning_rate']:g}"
        batch = "all rows at once" if optimizer["name"] == "gd" else f"batches of {training['batch_size'] or 32}"
        name = optimizer["name"]
        fact("training", f"{name} {rate}, {batch}, {run.epochs} epochs, seed {net.seed}")
        if self.config["parent"]:
            fact("resumes", f"{os.path.relpath(self.config['parent'])}, after {run.epoch} epochs")
        fact("backend", f"{net.backend} on {net.xp.device} ({net.backend_reason})")
        if self.live:
            self._header()

    def on_epoch_end(self, run: Run) -> None:
        if self.live and not self.silent and self._is_shown(run.epoch, run.epochs):
            self._row(run.history, run.epoch)

    def finish(self, results: dict[str, Any]) -> None:
        """Print how it ended."""
        history = self._history
        if not self.live:
            self._header()
            for epoch in range(self.first + 1, len(history) + 1):
                if self._is_shown(epoch, len(history)):
                    self._row(history, epoch)
        elif self.first < len(history) and not self._is_shown(len(history), self.config["training"]["epochs"]):
            self._row(history, len(history))
        say()
        if history.best_epoch is not None:
            fact("best", f"epoch {history.best_epoch + 1}")
        fact("ended", results["stop_reason"])
        if results["test"]:
            test = results["test"]
            score = click.style(score_text(results["task"], test["score"]), bold=True, fg="green")
            fact("test", f"{score}, loss {test['loss']:.4f}, {test['rows']} rows")
        fact("time", f"{results['seconds']:.1f} s, {results['samples_per_second']:,.0f} samples/s in training")
        fact("run", results["run"])

    def results(self, net: MLP, folder: Path, seconds: float) -> dict[str, Any]:
        """What came of the training, as plain data; scores the test part."""
        assert net.history is not None
        history = self._history = net.history
        data = self.dataset
        trained = sum(history.seconds[self.first :])
        test = None
        if data.X_test is not None:
            loss, score = net.evaluate(data.X_test, data.y_test)
            test = {"rows": len(data.X_test), "loss": loss, "score": score}
        return {
            "run": str(folder),
            "parent": self.config["parent"],
            "model": str(folder / runs.MODEL),
            "data": data.name,
            "task": net.task,
            "sizes": list(net.sizes),
            "parameters": net.plan.layout.n_parameters,
            "backend": net.backend,
            "device": net.xp.device,
            "backend_reason": net.backend_reason,
            "epochs": len(history),
            "best_epoch": None if history.best_epoch is None else history.best_epoch + 1,
            "stop_reason": history.stop_reason,
            "interrupted": history.stop_reason.startswith("interrupted"),
            "score": score_name(net.task),
            "test": test,
            "seconds": seconds,
            "training_seconds": trained,
            # of the median epoch: the first one may compile, and the last one may be cut short
            "samples_per_second": statistics.median(history.samples_per_second[self.first :] or [0.0]),
            "history": {name: getattr(history, name) for name in runs.COLUMNS[1:]},
        }

    def _columns(self) -> list[str]:
        watched = ("val_loss", "val_score") if self.config["training"]["validation_fraction"] else ()
        return ["epoch", "loss", *watched, "learning_rate", "samples_per_second"]

    def _header(self) -> None:
        say()
        say(click.style("".join(f"{_TITLES.get(name, name):>{_WIDTHS[name]}}" for name in self._columns()), bold=True))

    def _is_shown(self, epoch: int, epochs: int) -> bool:
        every = max(round((epochs - self.first) / (ROWS - 2)), 1)
        return epoch in (self.first + 1, epochs) or epoch % every == 0

    def _row(self, history: History, epoch: int) -> None:
        def cell(name: str) -> str:
            if name == "epoch":
                return str(epoch)
            value = getattr(history, name)[epoch - 1]
            return f"{value:,.0f}" if name == "samples_per_second" else f"{value:.4g}" if value else "0"

        say("".join(f"{cell(name):>{_WIDTHS[name]}}" for name in self._columns()))
