"""`StreamedTrainer`: trains on rows of which only some are in memory."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlp._backends import BatchHook, BlockShuffle, Control, EpochPlan, EpochResult, Trainer
from mlp.training.streamed_examples import StreamedExamples, WindowReader
from mlp.wrapped_trainer import WrappedTrainer


def buffer_rows(examples: StreamedExamples, batch_size: int) -> int:
    """Rows of a buffer that has room for any window, and for the rows before it that did not fill a batch."""
    stream = examples.stream
    return min(stream.window_rows + int(stream.block_rows.max()), examples.rows) + batch_size - 1


class StreamedTrainer(WrappedTrainer):
    """Trains as `trainer` does on all rows of a stream, window by window.

    The rows of a window are copied to the arrays of `trainer`, and its batches are trained on while the next window is
    read.  Rows that do not fill a batch stay in the arrays, before those of the next window.  So the batches, and all
    results, are those of a training in memory with the same order of the rows.

    Parameters
    ----------
    trainer : Trainer
        On arrays of `buffer_rows` rows, which are overwritten.
    examples : StreamedExamples
    """

    def __init__(self, trainer: Trainer, examples: StreamedExamples) -> None:
        super().__init__(trainer)
        self._examples = examples
        self._reader: WindowReader | None = None
        self._order: Any = None  # of the epoch that is read
        self._batch = 0  # the next one of that epoch
        self._waiting = np.empty(0, np.int64)  # numbers of the rows in the arrays that wait for their batch

    def another(self, params: Any, state: Any) -> Trainer:
        self._order = None  # the arrays of rows are shared, and will have other rows
        return StreamedTrainer(super().another(params, state), self._examples)

    def inputs_of(self, plan: EpochPlan, batch: int) -> Any:
        one = replace(plan, first_batch=batch, n_batches=1)
        self._begin(one)
        part, _ = self._next_part(one, 1)
        return self._trainer.inputs_of(part, part.first_batch)

    def _epoch(self, plan: EpochPlan, control: Control, on_batch: BatchHook | None) -> EpochResult:
        batches = plan.batches
        if self._order is not plan.order or self._batch != batches.start:
            self._begin(plan)
        losses, weights = list[NDArray[np.float64]](), list[NDArray[np.float64]]()
        failed, finite, count, done = None, True, 0, 0
        try:
            while self._batch < batches.stop and done == count:
                part, count = self._next_part(plan, batches.stop - self._batch)
                control.batches_before = before = self._batch - part.first_batch
                hook = None if on_batch is None else _shifted(on_batch, before)
                (result,) = self._trainer.epochs([part], control, hook)
                losses.append(result.losses)
                weights.append(result.weights)
                done, finite = len(result.losses), result.finite
                self._waiting = self._waiting[done * plan.batch_size :]
                self._batch += done
                if failed is None and result.failed is not None:
                    failed = before + result.failed
                if not finite or (failed is not None and plan.halt):
                    break
        finally:
            control.batches_before, control.batches_done = 0, self._batch
        return EpochResult(np.concatenate([[], *losses]), np.concatenate([[], *weights]), failed, finite)

    def _begin(self, plan: EpochPlan) -> None:
        """Read from the window that contains the first row of the plan's first batch."""
        assert isinstance(plan.order, BlockShuffle)
        first_row = plan.batches.start * plan.batch_size
        ends = np.cumsum([plan.order.block_rows[blocks].sum() for blocks in plan.order.window_blocks()])
        window = int(np.searchsorted(ends, first_row, side="right"))
        self._reader = WindowReader(self._examples, plan.order, window)
        self._waiting = np.empty(0, np.int64)
        self._read_window()
        start = 0 if window == 0 else int(ends[window - 1])
        self._waiting = self._waiting[first_row - start :]
        self._order, self._batch = plan.order, plan.batches.start

    def _read_window(self) -> None:
        """Copy the next window to the arrays, behind the rows that wait."""
        assert self._reader is not None
        xp, n = self.xp, len(self._waiting)
        examples, order = self._reader.next()
        if n:
            waiting = xp.asarray(self._waiting)
            self._trainer.write_rows(0, *(None if a is None else xp.take_rows(a, waiting) for a in self._arrays))
        self._trainer.write_rows(n, *examples)
        del examples
        self._reader.read_ahead()
        self._waiting = np.concatenate([np.arange(n), n + order])

    @property
    def _arrays(self) -> tuple[Any, Any, Any]:
        return self.X, self.target, self.weight

    def _next_part(self, plan: EpochPlan, most: int) -> tuple[EpochPlan, int]:
        """A plan for the next batches whose rows are in the arrays, at most so many; and their number."""
        assert self._reader is not None
        size = plan.batch_size
        while len(self._waiting) < size and not self._reader.at_end:
            self._read_window()
        rows, n = self._waiting, len(plan.order)
        ends = self._reader.at_end and self._batch + -(-len(rows) // size) == len(plan.l2)
        count = -(-len(rows) // size) if ends else len(rows) // size
        ends, count = ends and count <= most, min(count, most)
        # all parts have orders of one length, for which tables and graphs are prepared once; other batches fill them
        length = min(self.X.shape[0] // size * size + n % size, n)
        order = np.zeros(length, np.int64)
        first = (length - len(rows)) // size if ends else 0
        part = rows if ends else rows[: count * size]
        order[first * size : first * size + len(part)] = part
        start, total = self._batch - first, -(-length // size)
        return replace(
            plan,
            order=order,
            learning_rates=_values(plan.learning_rates, start, total),
            l2=_values(plan.l2, start, total),
            first_step=plan.first_step + start,
            batches_before=plan.batches_before + start,
            first_batch=first,
            n_batches=count,
        ), count


def _values(array: NDArray[np.float64], start: int, count: int) -> NDArray[np.float64]:
    """So many values from `start` on; after the end of the array, its last one."""
    values = array[start : start + count]
    return np.concatenate([values, np.full(count - len(values), array[-1])])


def _shifted(on_batch: BatchHook, before: int) -> BatchHook:
    return lambda batch, loss: on_batch(before + batch, loss)
