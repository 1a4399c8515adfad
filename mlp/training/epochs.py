"""The loop over epochs; the loop over the batches of an epoch is `backends.loop`."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mlp._backends import ConfigurationError, EpochPlan, Execution, Shuffle, Trainer
from mlp.checks import check_batch_size
from mlp.network import Examples, FeedForward
from mlp.optimizers import GradientDescent, Optimizer
from mlp.training.callbacks import Callback, Run
from mlp.training.divergence import divergence_error, warn_of_infinite_validation
from mlp.training.early_stopping import EarlyStopping, update_early_stopping
from mlp.training.evaluation import evaluate
from mlp.training.history import History
from mlp.training.interrupt import stop_on_ctrl_c
from mlp.training.progress import progress_bar
from mlp.training.state import TrainingState


def train(
    net: FeedForward,
    examples: Examples,
    state: TrainingState,
    *,
    epochs: int,
    batch_size: int,
    shuffle: bool = True,
    validation: Examples | None = None,
    early_stopping: EarlyStopping | None = None,
    callbacks: Sequence[Callback] = (),
    progress: bool = False,
    catch_interrupt: bool = True,
) -> History:
    """Train `net` until `epochs` epochs are done in total.

    Raises
    ------
    DivergenceError
        If a loss or a weight is not finite.  The network has the weights from the start of that epoch.
    """
    run = Run(net, state, epochs)
    batch_callbacks = [callback for callback in callbacks if type(callback).on_batch_end is not Callback.on_batch_end]

    def on_batch(batch: int, loss: float) -> None:
        for callback in batch_callbacks:
            callback.on_batch_end(run, batch, loss)

    state.history.stop_reason = ""
    if state.restored:
        state.swap_weights(net)
    monitor = early_stopping.monitor if early_stopping else ""
    if monitor != state.monitor:  # the best values of different metrics cannot be compared
        state.reset_best()
        state.monitor = monitor
    for callback in callbacks:
        callback.on_train_begin(run)
    interrupts = stop_on_ctrl_c(run) if catch_interrupt else contextlib.nullcontext()
    trainer = _make_trainer(run, examples, batch_size)
    warned = False
    with interrupts, progress_bar(run, examples.rows, batch_size, shown=progress):
        while state.epoch < epochs and not run.control.stop_requested:
            if callbacks:  # one of them may have moved the network, changed its optimizer, or assigned weights
                trainer = _follow(trainer, run, examples, batch_size)
            plan = _plan_epoch(net, state, examples.rows, batch_size, shuffle)
            if not _train_epoch(run, trainer, plan, on_batch if batch_callbacks else None):
                break
            loss = state.history.loss[-1]
            if validation is not None:
                loss, score = evaluate(net, validation)
                state.history.append_validation(loss, score)
                warned = warned or warn_of_infinite_validation(run)
            elif state.history.val_loss:
                state.history.append_validation(math.nan, math.nan)
            state.optimizer.schedule.observe(loss)
            if early_stopping:
                update_early_stopping(run, early_stopping)
            for callback in callbacks:
                callback.on_epoch_end(run)
    state.history.stop_reason = state.history.stop_reason or (
        "1 epoch done" if epochs == 1 else f"all {epochs} epochs done"
    )
    if early_stopping and state.other_weights is not None:
        state.swap_weights(net)
    for callback in callbacks:
        callback.on_train_end(run)
    return state.history


def batch_size_for(optimizer: Optimizer, batch_size: Any, n: int) -> int:
    """The checked number of rows in a batch of `n` rows; for None the default, and all rows for `GradientDescent`.

    Raises
    ------
    ConfigurationError
        If `batch_size` is not a positive integer, is larger than n, or is less than n for `GradientDescent`.
    """
    if isinstance(optimizer, GradientDescent):
        if batch_size not in (None, n):
            raise ConfigurationError(
                f"GradientDescent uses all {n} rows in each update: omit batch_size={batch_size}, or use SGD."
            )
        batch_size = n
    return check_batch_size(batch_size, n)


def execution(net: FeedForward, optimizer: Optimizer, n: int, batch_size: int) -> Execution:
    """How the backend of `net` would train it on `n` rows of its dtype; nothing is trained or compiled.

    Raises
    ------
    ConfigurationError
        If the backend does not have the network's precision.
    """
    state = TrainingState.begin(net, optimizer)
    X = np.zeros((min(n, 2), net.sizes[0]), net.dtype)
    y = np.zeros(len(X), np.int64) if net.kind.loss.name == "cross_entropy" else np.zeros((len(X), net.sizes[-1]))
    examples, _ = net.check_examples(X, y)
    trainer = _make_trainer(Run(net, state, 1), examples, batch_size)
    return trainer.execution(_plan_epoch(net, state, n, batch_size, shuffle=True))


def _make_trainer(run: Run, examples: Examples, batch_size: int) -> Trainer:
    net, state = run.net, run.state
    return net.xp.trainer(net.plan, state.optimizer.rule, *examples, net.parameters, state.slots, batch_size)


def _follow(trainer: Trainer, run: Run, examples: Examples, batch_size: int) -> Trainer:
    """The trainer for the network as it is now: the same one with the arrays' present values, or a new one."""
    net, state = run.net, run.state
    same_arrays = trainer.params is net.parameters and trainer.state is state.slots
    if trainer.xp is net.xp and same_arrays and trainer.network == net.plan and trainer.rule == state.optimizer.rule:
        trainer.refresh()
        return trainer
    return _make_trainer(run, net.on_device(examples), batch_size)


def _plan_epoch(net: FeedForward, state: TrainingState, n: int, batch_size: int, shuffle: bool) -> EpochPlan:
    n_batches = -(-n // batch_size)
    optimizer = state.optimizer
    return EpochPlan(
        network=net.plan,
        rule=optimizer.rule,
        batch_size=batch_size,
        order=Shuffle(net.seed, state.epoch, n) if shuffle else np.arange(n),
        learning_rates=optimizer.schedule.rates(state.step, state.epoch, n_batches),
        l2=np.full(n_batches, net.l2),
        l1=net.l1,
        weight_decay=optimizer.weight_decay,
        clip_value=optimizer.clip_value,
        clip_norm=optimizer.clip_norm,
        seed=net.seed,
        epoch=state.epoch,
        first_step=state.step,
    )


def _train_epoch(run: Run, trainer: Trainer, plan: EpochPlan, on_batch: Callable[[int, float], None] | None) -> bool:
    """Train for one epoch and record its result; return False if it was stopped before its first batch."""
    net, state, xp = run.net, run.state, run.net.xp
    run.control.batches_done = 0
    xp.synchronize()
    start = time.perf_counter()
    try:
        (result,) = trainer.epochs([plan], run.control, on_batch)
    except BaseException:  # from a callback, or a second Ctrl-C: an incomplete epoch cannot be resumed exactly
        trainer.roll_back()
        raise
    done, total = len(result.losses), result.weights.sum()
    with np.errstate(over="ignore"):  # an infinite mean of large losses is an error, too
        loss = float(result.losses @ result.weights / total) if total else 0.0
    if result.failed is not None or not result.finite or not math.isfinite(loss):
        trainer.roll_back()
        raise divergence_error(net, plan, trainer, state, done - 1)
    trainer.read_back()
    xp.synchronize()
    seconds = time.perf_counter() - start
    if not done:
        return False
    rows = min(done * plan.batch_size, len(plan.order))
    history = state.history
    history.loss.append(loss)
    history.learning_rate.append(float(plan.learning_rates[done - 1]))
    history.samples_per_second.append(rows / max(seconds, 1e-9))
    history.seconds.append(seconds)
    state.epoch += 1
    state.step += done
    run.whole_epoch = done == len(plan.batches)
    if not run.whole_epoch:
        history.stop_reason += f" (in epoch {state.epoch}, after {done} of {len(plan.batches)} batches)"
    return True
