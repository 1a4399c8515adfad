"""The progress bar of a training, on stderr if that is a terminal."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

from mlp.training.callbacks import Run


@contextlib.contextmanager
def progress_bar(run: Run, n: int, batch_size: int, *, shown: bool) -> Iterator[None]:
    """Show the progress of `run` within a ``with`` block: epochs, batches of the current epoch, last loss and speed."""
    if not shown or not sys.stderr.isatty():
        yield
        return
    from rich.console import Console, RenderableType
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    n_batches = -(-n // batch_size)

    class Bar(Progress):
        """Reads the progress of the run whenever it is drawn, so training never waits for it."""

        def get_renderables(self) -> Iterator[RenderableType]:
            done = run.epoch + (run.control.batches_done % n_batches) / n_batches
            history = run.history
            metrics = f"loss {history.loss[-1]:.4f}" if history.loss else ""
            if history.val_score:
                metrics += f"  val_score {history.val_score[-1]:.4f}"
            if history.samples_per_second:
                metrics += f"  {history.samples_per_second[-1]:,.0f} samples/s"
            for task in self.tasks:
                self.update(task.id, completed=done, metrics=metrics)
            yield from super().get_renderables()

    columns = (
        TextColumn("epoch"),
        MofNCompleteColumn(),
        BarColumn(),
        TextColumn("{task.fields[metrics]}"),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=Console(stderr=True), refresh_per_second=5) as bar:
        bar.add_task("training", total=run.epochs, completed=run.epoch, metrics="")
        yield
