"""Training: the loop over epochs, with history, validation, early stopping, callbacks and resumption.

What happens within an epoch is `backends.loop`; here is everything between the epochs.
"""

from __future__ import annotations

import contextlib
import math
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mlp import optimizers
from mlp._backends import (
    Backend,
    ConfigurationError,
    Control,
    DivergenceError,
    EpochPlan,
    UnknownNameError,
    random,
)
from mlp.optimizers import Optimizer
from mlp.progress import progress_bar
from mlp.validation import require_count, require_nonnegative

if TYPE_CHECKING:
    from mlp.model import MLP


@dataclass
class History:
    """What each epoch came to: lists with one value an epoch, and how training ended.

    Attributes
    ----------
    loss : list of float
        Mean over the epoch's rows of the loss as it was when they were visited, penalties included.
    val_loss, val_score : list of float
        Loss (without penalties) and score on the validation set after the epoch; empty without one, and NaN for the
        epochs that had none.
    learning_rate : list of float
        Of the epoch's last update.
    samples_per_second : list of float
        Rows over wall time of the epoch's training, validation not counted.
    seconds : list of float
        Wall time of the epoch's training.
    best_epoch : int or None
        The epoch, from 0, whose weights early stopping restored.
    stop_reason : str
        Why training ended.
    backend, backend_reason : str
        Where it ran, and why there.
    """

    loss: list[float] = field(default_factory=list)
    val_loss: list[float] = field(default_factory=list)
    val_score: list[float] = field(default_factory=list)
    learning_rate: list[float] = field(default_factory=list)
    samples_per_second: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    best_epoch: int | None = None
    stop_reason: str = ""
    backend: str = ""
    backend_reason: str = ""

    def __len__(self) -> int:
        return len(self.loss)

    def append_validation(self, loss: float, score: float) -> None:
        """Add the figures of the epoch that `loss` was last told of; epochs without any have NaN."""
        missing = [math.nan] * (len(self.loss) - 1 - len(self.val_loss))
        self.val_loss += [*missing, loss]
        self.val_score += [*missing, score]


@dataclass(frozen=True)
class EarlyStopping:
    """Stop when a figure has not improved for a while, and go back to the best weights.

    Attributes
    ----------
    monitor : {"val_loss", "val_score", "loss"}
    patience : int
        Epochs without improvement to wait for.
    min_delta : float
        What counts as an improvement.
    """

    monitor: str = "val_loss"
    patience: int = 10
    min_delta: float = 0.0

    def __post_init__(self) -> None:
        if self.monitor not in ("val_loss", "val_score", "loss"):
            raise UnknownNameError.among("figure to monitor", self.monitor, ("val_loss", "val_score", "loss"))
        require_count("patience", self.patience)
        require_nonnegative("min_delta", self.min_delta)


class Callback:
    """Base for code of your own that runs while a network trains; override what you need.

    A plain function given as a callback is called as `on_epoch_end`.

    Examples
    --------
    >>> import mlp
    >>> class StopAt(mlp.Callback):
    ...     def on_epoch_end(self, run):
    ...         if run.history.loss[-1] < 0.1:
    ...             run.stop("good enough")
    """

    def on_train_begin(self, run: Run) -> None:
        """Before the first epoch."""

    def on_batch_end(self, run: Run, batch: int, loss: float) -> None:
        """After each update."""

    def on_epoch_end(self, run: Run) -> None:
        """After each epoch, when `Run.history` has its figures."""

    def on_train_end(self, run: Run) -> None:
        """At the end, with the weights as they will stay."""


class _EpochFunction(Callback):
    def __init__(self, function: Callable[[Run], object]) -> None:
        self.function = function

    def on_epoch_end(self, run: Run) -> None:
        self.function(run)


@dataclass
class TrainingState:
    """All that training remembers between two epochs beside the weights; it makes resumption exact.

    Attributes
    ----------
    optimizer : Optimizer
        Its schedule's memory included.
    slots : array, shape (number of state arrays of the rule, n_parameters)
        On the network's device.
    epoch, step : int
        Epochs and updates done.
    history : History
    monitor, best, waited : str, float, int
        Memory of early stopping: what it watches, the best of it so far, and for how long.
    other_weights : array or None
        The best weights while early stopping watches; the last ones once the network has the best (`restored`).
    restored : bool
    """

    optimizer: Optimizer
    slots: Any
    epoch: int = 0
    step: int = 0
    history: History = field(default_factory=History)
    monitor: str = ""
    best: float = math.inf
    waited: int = 0
    other_weights: Any = None
    restored: bool = False

    def to_dict(self) -> dict[str, Any]:
        """The numbers, as plain data; the arrays are `slots` and `other_weights`."""
        return {
            "optimizer": self.optimizer.to_dict(),
            "epoch": self.epoch,
            "step": self.step,
            "history": asdict(self.history),
            "monitor": self.monitor,
            "best": self.best,
            "waited": self.waited,
            "restored": self.restored,
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any], slots: Any, other_weights: Any) -> TrainingState:
        """Read back what `to_dict` gave, with its arrays."""
        return cls(
            optimizers.from_dict(data["optimizer"]),
            slots,
            data["epoch"],
            data["step"],
            History(**data["history"]),
            data["monitor"],
            data["best"],
            data["waited"],
            other_weights,
            data["restored"],
        )

    def exchange(self, net: MLP) -> None:
        """Give the network the other weights, and keep those it had."""
        mine, self.other_weights = self.other_weights, net.parameters.copy()
        net.parameters[...] = mine
        self.restored = not self.restored

    def forget_best(self) -> None:
        """Let early stopping begin anew, from weights that did not come out of this training."""
        self.best, self.waited, self.other_weights, self.restored = math.inf, 0, None, False
        self.history.best_epoch = None


class Examples(NamedTuple):
    """Inputs, targets and weights on the device, checked."""

    X: Any
    target: Any
    weight: Any

    @property
    def rows(self) -> int:
        """How many there are."""
        return int(self.X.shape[0])


@dataclass
class Run:
    """A training under way, as callbacks see it.

    Attributes
    ----------
    net : MLP
    state : TrainingState
    epochs : int
        How many there are to be in all.
    whole_epoch : bool
        Whether the last epoch saw all of its batches; False where training was stopped within it.
    """

    net: MLP
    state: TrainingState
    epochs: int
    whole_epoch: bool = True
    control: Control = field(default_factory=Control)

    @property
    def history(self) -> History:
        return self.state.history

    @property
    def epoch(self) -> int:
        """Epochs done so far."""
        return self.state.epoch

    def stop(self, reason: str = "a callback asked for it") -> None:
        """End training after the batch at hand."""
        self.history.stop_reason = reason
        self.control.request_stop()


def check_early_stopping(choice: EarlyStopping | bool, *, validated: bool) -> EarlyStopping | None:
    """What `fit` was told, as a rule or None; `validated` says whether there is a validation set."""
    if not isinstance(choice, (bool, EarlyStopping)):
        raise ConfigurationError(f"early_stopping must be True, False or an EarlyStopping(...), not {choice!r}.")
    if not choice:
        return None
    rule = EarlyStopping() if choice is True else choice
    if rule.monitor != "loss" and not validated:
        raise ConfigurationError(
            f"early stopping watches {rule.monitor!r}, and there is no validation set. Give validation_data "
            "or validation_fraction, or use EarlyStopping(monitor='loss')."
        )
    return rule


def check_callbacks(callbacks: Iterable[Callback | Callable[[Run], object]]) -> tuple[Callback, ...]:
    """Callbacks as `Callback` objects: a function becomes one that is called after each epoch."""
    hooks = tuple(callbacks) if isinstance(callbacks, Iterable) else (callbacks,)
    for hook in hooks:
        if isinstance(hook, type) or not (isinstance(hook, Callback) or callable(hook)):
            raise ConfigurationError(f"a callback is a mlp.Callback object or a function of the run, not {hook!r}.")
    return tuple(hook if isinstance(hook, Callback) else _EpochFunction(hook) for hook in hooks)


def train(
    net: MLP,
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
    """Train `net` until `state` has seen `epochs` epochs.

    Raises
    ------
    DivergenceError
        If a loss or a weight is not finite.  The network keeps the weights it had when that epoch began.
    """
    run = Run(net, state, epochs)
    each_batch = [hook for hook in callbacks if type(hook).on_batch_end is not Callback.on_batch_end]

    def on_batch(batch: int, loss: float) -> None:
        for hook in each_batch:
            hook.on_batch_end(run, batch, loss)

    state.history.stop_reason = ""
    if state.restored:
        state.exchange(net)
    monitor = early_stopping.monitor if early_stopping else ""
    if monitor != state.monitor:  # the best of one figure says nothing of another
        state.forget_best()
        state.monitor = monitor
    for hook in callbacks:
        hook.on_train_begin(run)
    interrupts = _stop_on_ctrl_c(run) if catch_interrupt else contextlib.nullcontext()
    with interrupts, progress_bar(run, examples.rows, batch_size, shown=progress):
        while state.epoch < epochs and not run.control.stop_requested:
            plan = _plan_epoch(net, state, examples, batch_size, shuffle)
            if not _train_epoch(run, plan, examples, on_batch if each_batch else None):
                break
            watched = state.history.loss[-1]
            if validation is not None:
                watched, score = evaluate(net, validation)
                state.history.append_validation(watched, score)
            elif state.history.val_loss:
                state.history.append_validation(math.nan, math.nan)
            state.optimizer.schedule.observe(watched)
            if early_stopping:
                _watch(run, early_stopping)
            for hook in callbacks:
                hook.on_epoch_end(run)
    state.history.stop_reason = state.history.stop_reason or f"all {epochs} epochs done"
    if early_stopping and state.other_weights is not None:
        state.exchange(net)
    for hook in callbacks:
        hook.on_train_end(run)
    return state.history


def _plan_epoch(net: MLP, state: TrainingState, examples: Examples, batch_size: int, shuffle: bool) -> EpochPlan:
    n = examples.rows
    n_batches = -(-n // batch_size)
    optimizer = state.optimizer
    return EpochPlan(
        network=net.plan,
        rule=optimizer.rule,
        batch_size=batch_size,
        order=random.permutation(net.seed, state.epoch, n) if shuffle else np.arange(n),
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


def _train_epoch(run: Run, plan: EpochPlan, examples: Examples, on_batch: Callable[[int, float], None] | None) -> bool:
    """Train for one epoch and write down what it came to; False if it was stopped before its first batch."""
    net, state, xp = run.net, run.state, run.net.xp
    before = net.parameters.copy(), state.slots.copy()
    run.control.batches_done = 0
    xp.synchronize()
    start = time.perf_counter()
    try:
        result = xp.train_epoch(
            plan, examples.X, examples.target, examples.weight, net.parameters, state.slots, run.control, on_batch
        )
    except BaseException:  # of a callback, or a second Ctrl-C: what is half done could not be gone on with
        net.parameters[...], state.slots[...] = before
        raise
    xp.synchronize()
    seconds = time.perf_counter() - start
    done = len(result.losses)
    if result.failed is not None or not _all_finite(xp, net.parameters):
        net.parameters[...], state.slots[...] = before
        raise _divergence(net, plan, examples, state, done - 1)
    if not done:
        return False
    shares = _batch_weights(net, plan, examples)[:done]
    rows = min(done * plan.batch_size, len(plan.order))
    history = state.history
    history.loss.append(float(result.losses @ shares / shares.sum()) if shares.sum() else 0.0)
    history.learning_rate.append(float(plan.learning_rates[done - 1]))
    history.samples_per_second.append(rows / max(seconds, 1e-9))
    history.seconds.append(seconds)
    state.epoch += 1
    state.step += done
    run.whole_epoch = done == plan.n_batches
    if not run.whole_epoch:
        history.stop_reason += f" (in epoch {state.epoch}, after {done} of {plan.n_batches} batches)"
    return True


def _all_finite(xp: Backend, array: Any) -> bool:
    with np.errstate(all="ignore"):
        total = float(xp.sum(array))  # one cheap pass settles nearly every case
    return math.isfinite(total) or bool(np.isfinite(xp.to_numpy(array)).all())


def _batch_weights(net: MLP, plan: EpochPlan, examples: Examples) -> NDArray[np.float64]:
    """What each batch counts in the epoch's mean loss: its rows, or the sum of their weights."""
    n = len(plan.order)
    weight = np.ones(n) if examples.weight is None else net.xp.to_numpy(examples.weight)[plan.order]
    return np.add.reduceat(weight, np.arange(0, n, plan.batch_size), dtype=np.float64)


def _watch(run: Run, rule: EarlyStopping) -> None:
    state, history = run.state, run.history
    value = getattr(history, rule.monitor)[-1]
    cost = -value if rule.monitor == "val_score" else value
    if cost < state.best - rule.min_delta:
        state.best, state.waited = cost, 0
        state.other_weights = run.net.parameters.copy()
        history.best_epoch = state.epoch - 1
        return
    state.waited += 1
    if state.waited >= rule.patience:
        run.stop(f"{rule.monitor} has not improved for {rule.patience} epochs; best was epoch {history.best_epoch}")


@contextlib.contextmanager
def _stop_on_ctrl_c(run: Run) -> Iterator[None]:
    """Turn the first Ctrl-C into a request to stop after the batch; a second one interrupts as usual."""
    mine = threading.current_thread() is threading.main_thread()
    if not mine or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield  # another thread cannot, and somebody else's handler is not ours to replace
        return

    def request(signum: int, frame: object) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        run.stop("interrupted by Ctrl-C")

    signal.signal(signal.SIGINT, request)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


# -- evaluation ----------------------------------------------------------------------------------------

CHUNK = 4096
"""Rows that go through a network at a time outside training; bounds the memory of the activations."""


def evaluate(net: MLP, examples: Examples, task: str | None = None) -> tuple[float, float]:
    """Mean loss (without penalties) and score: accuracy for classes, R^2 for numbers; `task` is the network's."""
    xp, outputs = net.xp, []
    total, mass = 0.0, 0.0
    for first in range(0, examples.rows, CHUNK):
        chunk = slice(first, first + CHUNK)
        z = net._logits(examples.X[chunk])
        weight = None if examples.weight is None else examples.weight[chunk]
        share = float(z.shape[0]) if weight is None else float(xp.sum(weight))
        total += share * float(xp.loss_and_delta(net.kind, z, examples.target[chunk], weight)[0])
        mass += share
        outputs.append(xp.to_numpy(xp.activate(z, net.kind.output)))
    weight = None if examples.weight is None else xp.to_numpy(examples.weight)
    return total / mass, score(task or net.task, np.concatenate(outputs), xp.to_numpy(examples.target), weight)


def score(task: str, y: NDArray[Any], target: NDArray[Any], weight: NDArray[Any] | None = None) -> float:
    """Share of the rows that are right, or for numbers the coefficient of determination, mean over the outputs.

    Parameters
    ----------
    task : {"classes", "labels", "numbers"}
        As `MLP.task`.
    y : ndarray, shape (n, n_out)
        What the network gave.
    target : ndarray, shape (n,) of class numbers or (n, n_out)
    weight : ndarray, shape (n,), optional

    Examples
    --------
    >>> score("classes", np.array([[0.9, 0.1], [0.6, 0.4]]), np.array([0, 1]))
    0.5
    """
    if task == "classes":
        truth = target if target.ndim == 1 else target.argmax(axis=1)
        return float(np.average(y.argmax(axis=1) == truth, weights=weight))
    if task == "labels":
        return float(np.average(((y > 0.5) == (target > 0.5)).all(axis=1), weights=weight))
    y, target = y.astype(np.float64), target.astype(np.float64)
    residual = np.average(np.square(y - target), axis=0, weights=weight)
    variance = np.average(np.square(target - np.average(target, axis=0, weights=weight)), axis=0, weights=weight)
    # a constant target leaves nothing to explain: 1 for getting it right, else 0, as scikit-learn has it
    varies = np.ptp(target if weight is None else target[weight > 0], axis=0) > 0
    r2 = np.where(varies, 1 - residual / np.where(varies, variance, 1), np.where(residual > 0, 0.0, 1.0))
    return float(r2.mean())


# -- divergence ----------------------------------------------------------------------------------------


def _divergence(net: MLP, plan: EpochPlan, examples: Examples, state: TrainingState, batch: int) -> DivergenceError:
    """Replay the epoch through `batch`, where it failed, and name the first layer whose numbers are not finite."""
    xp, size = net.xp, plan.batch_size
    params, slots = net.parameters.copy(), state.slots.copy()
    # a loss that is not finite halts the replay before its update too; else it was the update that failed
    xp.train_epoch(replace(plan, order=plan.order[: (batch + 1) * size]), *examples, params, slots)
    rows = xp.asarray(plan.order[batch * size : (batch + 1) * size])
    x = net._as_floats(xp.take_rows(examples.X, rows))
    layer, what = net.plan.layout.n_layers, "its outputs are finite, but the loss is not"
    with np.errstate(all="ignore"):
        for number, ((W, b), activation) in enumerate(
            zip(net.plan.layout.layers(params), net.plan.activations, strict=True), start=1
        ):
            x = xp.dense(x, W, b, activation)
            weights_ok = _all_finite(xp, W) and _all_finite(xp, b)
            if not weights_ok or not _all_finite(xp, x):
                layer, what = number, "its outputs are not finite" if weights_ok else "its weights are not finite"
                break
    rate = float(plan.learning_rates[batch])
    return DivergenceError(
        f"training diverged in epoch {state.epoch}, batch {batch} (both counted from 0), at layer {layer} of "
        f"{net.plan.layout.n_layers}: {what}. The learning rate was {rate:g}: lower it, scale the inputs, or clip the "
        "gradient (clip_norm=1.0). The network has the weights with which this epoch began.",
        epoch=state.epoch,
        batch=batch,
        layer=layer,
        learning_rate=rate,
    )
