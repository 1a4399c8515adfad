"""The epochs of a training: what to train for, and a record of the results."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mlp._backends import Control, EpochPlan, EpochResult, Trainer
from mlp.training.callbacks import Run
from mlp.training.checkpoints import Checkpoints
from mlp.training.divergence import divergence_error
from mlp.training.history import History


@dataclass
class Part:
    """Epochs, or a part of one, that a training asks for; the answer is their results."""

    trainer: Trainer
    plans: Sequence[EpochPlan]
    control: Control
    on_batch: Callable[[int, float], None] | None = None

    def run(self) -> list[EpochResult]:
        """Train for this part."""
        return self.trainer.epochs(self.plans, self.control, self.on_batch)


Parts = Generator[Part, list[EpochResult], History]
"""A training that waits for the results of one part after the other."""


def complete(parts: Parts, part: Part | None = None) -> History:
    """Run all parts of a training, or those that are left from `part` on."""
    with contextlib.closing(parts):
        try:
            part = part or next(parts)
            while True:
                try:
                    results = part.run()
                except BaseException as error:
                    part = parts.throw(error)
                else:
                    part = parts.send(results)
        except StopIteration as end:
            history: History = end.value
            return history


def train_epoch(
    run: Run,
    trainer: Trainer,
    plan: EpochPlan,
    on_batch: Callable[[int, float], None] | None,
    checkpoints: Checkpoints,
) -> Generator[Part, list[EpochResult], bool]:
    """Train for one epoch, or the rest of it, and record the result; return False if it was stopped at once.

    Checkpoints divide the epoch into parts.  The results do not depend on it.
    """
    net, state, xp = run.net, run.state, run.net.xp
    first, last = plan.batches.start, plan.batches.stop
    run.control.batches_done = done = first
    parts = [state.batches]
    xp.synchronize()
    start = time.perf_counter() - state.seconds
    try:
        while True:
            left = checkpoints.updates_left(plan.first_step + done)
            part = plan
            if done > first or left is not None:  # a new plan is checked, which takes time
                n_batches = last - done if left is None else min(left, last - done)
                part = replace(plan, first_batch=done, n_batches=n_batches)
            (result,) = yield Part(trainer, [part], run.control, on_batch)
            parts.append(np.array([result.losses, result.weights]))
            done += len(result.losses)
            if result.failed is not None or not result.finite:
                trainer.roll_back()
                raise divergence_error(net, plan, trainer, state, done - 1)
            if done == last or run.agree_to_stop() or not run.comm.agree(checkpoints.due(plan.first_step + done)):
                break
            now = replace(
                state,
                step=plan.first_step + done,
                batches=np.concatenate(parts, axis=1),
                seconds=time.perf_counter() - start,
            )
            checkpoints.write(net, now, trainer)
    except BaseException:  # from a callback, a checkpoint, or a second Ctrl-C
        trainer.roll_back()
        raise
    batches = np.concatenate(parts, axis=1)
    loss = _mean_loss(batches)
    if not math.isfinite(loss):
        trainer.roll_back()
        raise divergence_error(net, plan, trainer, state, done - 1)
    trainer.read_back()
    xp.synchronize()
    if done == first:
        return False
    run.whole_epoch = done == last
    _record(run, plan, batches, loss, time.perf_counter() - start)
    return True


def train_epochs(run: Run, trainer: Trainer, plans: Sequence[EpochPlan]) -> Generator[Part, list[EpochResult], bool]:
    """Train for several whole epochs in one part, and record the results; return False if it was stopped at once.

    Each epoch is recorded as if it had been the only one.  Its share of the time is its share of the batches.
    """
    net, state, xp = run.net, run.state, run.net.xp
    run.control.batches_done = 0
    xp.synchronize()
    start = time.perf_counter()
    try:
        results = yield Part(trainer, plans, run.control)
        losses = [_mean_loss(np.array([result.losses, result.weights])) for result in results]
        finite = [
            result.failed is None and result.finite and math.isfinite(loss)
            for result, loss in zip(results, losses, strict=True)
        ]
        diverged = None if all(finite) else finite.index(False)
        if diverged is not None:
            trainer.roll_back()
            if diverged:  # the network gets the weights from the start of the epoch that diverged
                yield Part(trainer, plans[:diverged], Control())
    except BaseException:  # such as a second Ctrl-C
        trainer.roll_back()
        raise
    trainer.read_back()
    xp.synchronize()
    seconds, n_batches = time.perf_counter() - start, sum(len(result.losses) for result in results)
    if not n_batches:
        return False
    for plan, result, loss in list(zip(plans, results, losses, strict=False))[:diverged]:
        batches = np.array([result.losses, result.weights])
        run.whole_epoch = len(result.losses) == len(plan.batches)
        _record(run, plan, batches, loss, seconds * len(result.losses) / n_batches)
    if diverged is not None:
        raise divergence_error(net, plans[diverged], trainer, state, len(results[diverged].losses) - 1)
    return True


def _record(run: Run, plan: EpochPlan, batches: NDArray[np.float64], loss: float, seconds: float) -> None:
    """Append the values of an epoch to the history, and bring the training state up to date."""
    state, history = run.state, run.state.history
    done = batches.shape[1]
    history.loss.append(loss)
    history.learning_rate.append(float(plan.learning_rates[done - 1]))
    history.samples_per_second.append(min(done * plan.batch_size, len(plan.order)) / max(seconds, 1e-9))
    history.seconds.append(seconds)
    state.step, state.batches, state.seconds = plan.first_step + done, batches, seconds
    if run.whole_epoch:
        state.leave_epoch()
    else:
        history.stop_reason += f" (in epoch {state.epoch + 1}, after {done} of {len(plan.learning_rates)} batches)"


def _mean_loss(batches: NDArray[np.float64]) -> float:
    losses, weights = batches
    total = weights.sum()
    with np.errstate(over="ignore"):
        return float(losses @ weights / total) if total else 0.0
