"""The progress bar of a training, on stderr if that is a terminal, and in notebooks."""

from __future__ import annotations

import contextlib
import html
import importlib
import sys
import threading
from collections.abc import Iterator
from typing import Any

from mlp.training.callbacks import Run

UPDATES_PER_SECOND = 5


@contextlib.contextmanager
def progress_bar(run: Run, n: int, batch_size: int, *, shown: bool) -> Iterator[None]:
    """Show the progress of `run` within a ``with`` block: epochs, batches of the current epoch, last loss and speed."""
    n_batches = -(-n // batch_size)
    if not shown:
        yield
    elif _in_notebook():
        with _in_cell(run, n_batches):
            yield
    elif sys.stderr.isatty():
        with _in_terminal(run, n_batches):
            yield
    else:
        yield


def _epochs_done(run: Run, n_batches: int) -> float:
    return run.epoch + (run.control.batches_done % n_batches) / n_batches


def _metrics(run: Run) -> str:
    history = run.history
    metrics = f"loss {history.loss[-1]:.4f}" if history.loss else ""
    if history.val_score:
        metrics += f"  val_score {history.val_score[-1]:.4f}"
    if history.samples_per_second:
        metrics += f"  {history.samples_per_second[-1]:,.0f} samples/s"
    return metrics


@contextlib.contextmanager
def _in_terminal(run: Run, n_batches: int) -> Iterator[None]:
    from rich.console import Console, RenderableType
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    class Bar(Progress):
        """Reads the progress of the run whenever it is drawn, so training never waits for it."""

        def get_renderables(self) -> Iterator[RenderableType]:
            for task in self.tasks:
                self.update(task.id, completed=_epochs_done(run, n_batches), metrics=_metrics(run))
            yield from super().get_renderables()

    columns = (
        TextColumn("epoch"),
        MofNCompleteColumn(),
        BarColumn(),
        TextColumn("{task.fields[metrics]}"),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=Console(stderr=True), refresh_per_second=UPDATES_PER_SECOND) as bar:
        bar.add_task("training", total=run.epochs, completed=run.epoch, metrics="")
        yield


def _in_notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    ipython: Any = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return getattr(shell, "kernel", None) is not None


@contextlib.contextmanager
def _in_cell(run: Run, n_batches: int) -> Iterator[None]:
    """Show the progress below the cell, as HTML that needs no widgets; a thread updates it."""
    display: Any = importlib.import_module("IPython.display")
    handle = display.display(display.HTML(_bar(run, n_batches)), display_id=True)
    ended = threading.Event()

    def update() -> None:
        while not ended.wait(1 / UPDATES_PER_SECOND):
            handle.update(display.HTML(_bar(run, n_batches)))

    thread = threading.Thread(target=update, name="mlp-progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        handle.update(display.HTML(_bar(run, n_batches)))


def _bar(run: Run, n_batches: int) -> str:
    done = _epochs_done(run, n_batches)
    return (
        f'<progress value="{done:.3f}" max="{run.epochs}"></progress> epoch {int(done)} of {run.epochs} '
        f"{html.escape(_metrics(run))}"
    )
