"""The loop over epochs; the loop over the batches of an epoch is `backends.loop`."""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, ParamSpec

import numpy as np
from numpy.typing import NDArray

from mlp._backends import ConfigurationError, EpochPlan, Execution, RowOrder, Shuffle, Trainer
from mlp.checks import check_batch_size
from mlp.distributed import ShardedTrainer, of_first
from mlp.network import Examples, FeedForward
from mlp.optimizers import GradientDescent, Optimizer
from mlp.training.callbacks import Callback, Run
from mlp.training.checkpoints import Checkpoints, CheckpointWriter
from mlp.training.divergence import warn_of_infinite_validation
from mlp.training.early_stopping import EarlyStopping, stop_if_waited, update_early_stopping
from mlp.training.evaluation import evaluate
from mlp.training.history import History
from mlp.training.interrupt import stop_on_ctrl_c, stop_on_sigterm
from mlp.training.metrics import Metric, record_metrics
from mlp.training.parts import Parts, complete, train_epoch, train_epochs
from mlp.training.progress import progress_bar
from mlp.training.state import TrainingState
from mlp.training.streamed_evaluation import evaluate_stream
from mlp.training.streamed_examples import AnyExamples, StreamedExamples
from mlp.training.streamed_trainer import StreamedTrainer, buffer_rows

Arguments = ParamSpec("Arguments")


def _completed(function: Callable[Arguments, Parts]) -> Callable[Arguments, History]:
    """A function that runs the training that `function` returns."""

    @functools.wraps(function)
    def train(*arguments: Arguments.args, **keywords: Arguments.kwargs) -> History:
        return complete(function(*arguments, **keywords))

    return train


def in_parts(
    run: Run,
    examples: AnyExamples,
    *,
    batch_size: int,
    rows: NDArray[np.int64] | None = None,
    shuffle: bool = True,
    label_smoothing: float = 0.0,
    shards: int = 1,
    validation: AnyExamples | None = None,
    early_stopping: EarlyStopping | None = None,
    metrics: Mapping[str, str | Metric] | None = None,
    callbacks: Sequence[Callback] = (),
    progress: bool = False,
    catch_interrupt: bool = True,
    checkpoint: CheckpointWriter | None = None,
) -> Parts:
    """Train `run.net` until `run.epochs` epochs are done in total, or `run.stop` is called.

    `train` does this; `in_parts` leaves it to the caller to run each part, maybe together with those of others.

    Parameters
    ----------
    run : Run
    examples : Examples or StreamedExamples
    rows : ndarray of int64, optional
        The rows of the examples to train on; not for a stream.  Default: all of them.
    batch_size, shuffle, label_smoothing, shards, early_stopping, callbacks, progress, checkpoint
        As in `MLP.fit`, checked.
    validation : Examples or StreamedExamples, optional
    metrics : mapping, optional
        From `check_metrics`.
    catch_interrupt : bool
        Whether the first Ctrl-C stops the training after the current batch.

    Raises
    ------
    DivergenceError
        If a loss or a weight is not finite.  The network has the weights from the start of that epoch.
    StorageError
        If a checkpoint cannot be written.
    ConfigurationError, DataError
        If the training cannot be resumed exactly under other conditions than it had.
    """
    net, state, epochs = run.net, run.state, run.epochs
    n = examples.rows if rows is None else len(rows)
    streamed = isinstance(examples, StreamedExamples)

    def conditions() -> dict[str, Any]:
        present = {"rows": n, "batch_size": batch_size, "shuffle": bool(shuffle), "backend": net.backend}
        if label_smoothing:  # version 0.2.0 does not know it
            present["label_smoothing"] = float(label_smoothing)
        if shards > 1:
            present["shards"] = shards
        if checkpoint:
            present |= checkpoint.conditions(net, examples, validation)
            present["early_stopping"] = asdict(early_stopping) if early_stopping else None
        return present

    in_order = None if shuffle or streamed else (np.arange(n) if rows is None else rows)

    def order_of(epoch: int) -> RowOrder | NDArray[np.int64]:
        if isinstance(examples, StreamedExamples):
            return examples.order(net.seed, epoch, shuffle)
        if in_order is not None:
            return in_order
        order = Shuffle(net.seed, epoch, n)
        return order if rows is None else rows[order.row_numbers()]

    def call_back(event: str) -> None:
        xp = net.xp
        for callback in callbacks:
            getattr(callback, event)(run)
        if net.xp is not xp:  # one of them has moved the network
            state.conditions = conditions()

    present = conditions()
    _require_same_conditions(state, present, checkpoint)
    state.conditions = present
    watched = bool(callbacks or checkpoint or early_stopping or validation is not None)
    batch_callbacks = [callback for callback in callbacks if type(callback).on_batch_end is not Callback.on_batch_end]

    def on_batch(batch: int, loss: float) -> None:
        for callback in batch_callbacks:
            callback.on_batch_end(run, batch, loss)

    if not run.stopping:
        state.history.stop_reason = ""
    state.history.shorten(state.epoch)
    if state.restored:
        state.swap_weights(net)
    monitor = early_stopping.monitor if early_stopping else ""
    if monitor != state.monitor:  # the best values of different metrics cannot be compared
        state.reset_best()
        state.monitor = monitor
    if early_stopping:
        stop_if_waited(run, early_stopping)
    call_back("on_train_begin")
    trainer = _make_trainer(run, examples, batch_size, shards)
    with stop_on_sigterm(run.stop) if checkpoint else contextlib.nullcontext():
        with (
            stop_on_ctrl_c(run.stop) if catch_interrupt else contextlib.nullcontext(),
            progress_bar(run, n, batch_size, shown=progress),
            Checkpoints(checkpoint, run) as checkpoints,
        ):
            while state.epoch < epochs and not run.agree_to_stop():
                if callbacks:  # one of them may have moved the network, changed its optimizer, or assigned weights
                    trainer = _follow(trainer, run, examples, batch_size, shards)
                count = 1 if watched else _epochs_of_call(run, trainer, n)
                plans = _plan_epochs(net, state, order_of, n, batch_size, count)
                if not (
                    yield from train_epochs(run, trainer, plans)
                    if len(plans) > 1
                    else train_epoch(run, trainer, plans[0], on_batch if batch_callbacks else None, checkpoints)
                ):
                    break
                _validate(run, validation)
                if isinstance(validation, Examples) and metrics:
                    record_metrics(run, metrics, validation)
                    of_rank_0 = of_first(run.comm, [run.history.metrics[name][-1] for name in metrics])
                    for name, value in zip(metrics, of_rank_0, strict=True):
                        run.history.metrics[name][-1] = value
                if run.whole_epoch:
                    history = state.history
                    state.optimizer.schedule.observe((history.loss if validation is None else history.val_loss)[-1])
                    if early_stopping:
                        update_early_stopping(run, early_stopping)
                call_back("on_epoch_end")
                if run.comm.agree(checkpoints.due(state.step)) and not run.agree_to_stop():
                    trainer = _follow(trainer, run, examples, batch_size, shards)
                    checkpoints.write(net, state, trainer)
        state.history.stop_reason = state.history.stop_reason or (
            "1 epoch done" if epochs == 1 else f"all {epochs} epochs done"
        )
        if early_stopping and state.other_weights is not None:
            state.swap_weights(net)
        if checkpoint:  # before the callbacks: they may change the weights, or fail
            checkpoint.capture(net, *_copies(net, state))()
        call_back("on_train_end")
    if checkpoint:
        checkpoint.finish(run)
    return state.history


train = _completed(in_parts)


def batch_size_for(optimizer: Optimizer, batch_size: Any, n: int, previous: int | None = None) -> int:
    """The checked number of rows in a batch of `n` rows; for None the default, and all rows for `GradientDescent`.

    The default is that of the `previous` training, as far as there are so many rows, if there was one.

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
    elif batch_size is None and previous is not None:
        batch_size = min(previous, n)
    return check_batch_size(batch_size, n)


def execution(net: FeedForward, optimizer: Optimizer, n: int, batch_size: int) -> Execution:
    """How the backend of `net` would train it on `n` rows of its dtype; nothing is trained or compiled.

    Raises
    ------
    ConfigurationError
        If the backend does not have the network's precision.
    """
    X = np.zeros((min(n, 2), net.sizes[0]), net.dtype)
    y = np.zeros(len(X), np.int64) if net.kind.loss.name == "cross_entropy" else np.zeros((len(X), net.sizes[-1]))
    examples, _ = net.check_examples(X, y)
    state = TrainingState.begin(net, optimizer)
    trainer = _make_trainer(Run(net, state, 1), examples, batch_size)
    (plan,) = _plan_epochs(net, state, lambda epoch: Shuffle(net.seed, epoch, n), n, batch_size)
    return trainer.execution(plan)


def trainer_for(net: FeedForward, optimizer: Optimizer, examples: Examples, batch_size: int) -> Trainer:
    """A trainer as in a training of `net`, to ask how several such networks are trained."""
    return _make_trainer(Run(net, TrainingState.begin(net, optimizer), 1), examples, batch_size)


def _make_trainer(run: Run, examples: AnyExamples, batch_size: int, shards: int = 1) -> Trainer:
    net, state = run.net, run.state
    if isinstance(examples, StreamedExamples):
        arrays = examples.buffer(buffer_rows(examples, batch_size))
    else:
        arrays = net.on_device(examples)
    trainer = net.xp.trainer(net.plan, state.optimizer.rule, *arrays, net.parameters, state.slots, batch_size)
    if shards > 1:
        trainer = ShardedTrainer(trainer, shards, run.comm)
    return StreamedTrainer(trainer, examples) if isinstance(examples, StreamedExamples) else trainer


def _follow(trainer: Trainer, run: Run, examples: AnyExamples, batch_size: int, shards: int) -> Trainer:
    """The trainer for the network as it is now: the same one with the arrays' present values, or a new one."""
    net, state = run.net, run.state
    same_arrays = trainer.params is net.parameters and trainer.state is state.slots
    if trainer.xp is net.xp and same_arrays and trainer.network == net.plan and trainer.rule == state.optimizer.rule:
        trainer.refresh()
        return trainer
    return _make_trainer(run, examples, batch_size, shards)


def _epochs_of_call(run: Run, trainer: Trainer, n: int) -> int:
    """How many epochs the backend is to train for in one call, if nobody looks at the results of each."""
    state = run.state
    if state.batches_done or state.history.val_loss or state.optimizer.schedule.adapts:
        return 1
    return min(trainer.epochs_of_call(n), run.epochs - state.epoch)


def _plan_epochs(
    net: FeedForward,
    state: TrainingState,
    order_of: Callable[[int], RowOrder | NDArray[np.int64]],
    n: int,
    batch_size: int,
    count: int = 1,
) -> list[EpochPlan]:
    """The next epochs over `n` rows, whose order is a function of the epoch."""
    n_batches, optimizer, network = -(-n // batch_size), state.optimizer, net.plan
    rule, schedule, l2 = optimizer.rule, optimizer.schedule, np.full(n_batches, net.l2)
    plans = []
    for epoch in range(state.epoch, state.epoch + count):
        first_step = state.step - state.batches_done + (epoch - state.epoch) * n_batches
        plans.append(
            EpochPlan(
                network=network,
                rule=rule,
                batch_size=batch_size,
                order=order_of(epoch),
                learning_rates=schedule.rates(first_step, epoch, n_batches),
                l2=l2,
                l1=net.l1,
                weight_decay=optimizer.weight_decay,
                clip_value=optimizer.clip_value,
                clip_norm=optimizer.clip_norm,
                seed=net.seed,
                epoch=epoch,
                first_step=first_step,
                first_batch=state.batches_done,
                rate_factors=optimizer.rate_factors(network.layout),
                label_smoothing=state.conditions.get("label_smoothing", 0.0),
            )
        )
    return plans


def _validate(run: Run, validation: AnyExamples | None) -> None:
    history = run.history
    if validation is not None:
        if isinstance(validation, StreamedExamples):
            results = evaluate_stream(run.net, validation)
        else:
            results = evaluate(run.net, validation)
        history.append_validation(*of_first(run.comm, results))
        if not math.isfinite(history.val_loss[-1]) and all(map(math.isfinite, history.val_loss[-2:-1])):
            warn_of_infinite_validation(run)
    elif history.val_loss:
        history.append_validation(math.nan, math.nan)


def _copies(net: FeedForward, state: TrainingState) -> tuple[TrainingState, NDArray[Any]]:
    """Host copies of the training state and the parameters, which further training does not change."""
    slots, parameters = (np.array(net.xp.to_numpy(array)) for array in (state.slots, net.parameters))
    return state.snapshot(net.xp, slots), parameters


def _require_same_conditions(
    state: TrainingState, present: dict[str, Any], checkpoint: CheckpointWriter | None
) -> None:
    """Raise an error if a training would be resumed within an epoch with other batches, or checkpoints forbid it."""
    recorded, done = state.conditions, state.batches_done
    for key in ("rows", "batch_size", "shuffle", "label_smoothing", "shards"):
        before, now = recorded.get(key), present.get(key)
        if done and before != now:
            raise ConfigurationError(
                f"the training to resume stopped after batch {done} of epoch {state.epoch + 1}, with "
                f"{key}={before}; it cannot continue there with {key}={now}. Give fit the same "
                "data, batch_size, shuffle, label_smoothing and shards."
            )
    if checkpoint:
        if recorded:
            recorded, present = ({"shards": 1} | conditions for conditions in (recorded, present))
        checkpoint.require_same(recorded, present)
