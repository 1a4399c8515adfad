"""Training by batches: the epochs of one fit, and the records that the estimator keeps of them."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mlp import training
from mlp._backends import EpochPlan, EpochResult
from mlp.estimators.callbacks import Listeners
from mlp.estimators.solvers import Solver
from mlp.training import Examples, Run, progress_bar


class Estimator(Protocol):
    """What an estimator says of its training, and the records that are kept for it."""

    shuffle: bool
    early_stopping: bool
    tol: float
    n_iter_no_change: float
    verbose: bool
    progress: bool

    n_iter_: int
    t_: int
    loss_: Any
    loss_curve_: list[Any]
    best_loss_: Any
    validation_scores_: list[float] | None
    validation_loss_curve_: list[float] | None
    best_validation_score_: Any
    _no_improvement_count: int


@dataclass
class Batches:
    """How the rows of an epoch fall into batches, and what each batch counts.

    Attributes
    ----------
    n, size : int
        Rows, and rows of a batch.
    alpha : float
        scikit-learn's penalty.
    weight : ndarray, shape (n,), or None
    """

    n: int
    size: int
    alpha: float
    weight: NDArray[Any] | None

    def __post_init__(self) -> None:
        self.starts = np.arange(0, self.n, self.size)
        self.rows = np.diff(self.starts, append=self.n)

    def totals(self, order: NDArray[np.int64]) -> NDArray[np.float64]:
        """Sum of the weights of each batch, for the rows in this order."""
        if self.weight is None:
            return self.rows.astype(np.float64)
        return np.add.reduceat(self.weight[order], self.starts, dtype=np.float64)

    def l2(self, totals: NDArray[np.float64]) -> NDArray[np.float64]:
        """The penalty of each batch's mean loss; none where there is no weight."""
        return np.where(totals > 0, self.alpha / np.where(totals > 0, totals, 1), 0.0)

    def mean(self, losses: NDArray[np.float64], totals: NDArray[np.float64]) -> float:
        """Mean loss of the epoch: as in scikit-learn each batch counts its rows; one without weight counts nothing."""
        rows = np.where(totals > 0, self.rows, 0)[: len(losses)]
        return float(losses @ rows) / max(int(rows.sum()), 1)


class BatchTraining:
    """The epochs of one fit.

    Parameters
    ----------
    estimator : Estimator
        Says how to train, and is told what came of it.
    run : Run
    examples : Examples
    batches : Batches
    rng : RandomState
        Of the order of the rows.
    seed : int
        Of dropout.
    listeners : Listeners
    """

    def __init__(
        self,
        estimator: Estimator,
        run: Run,
        examples: Examples,
        batches: Batches,
        rng: np.random.RandomState,
        seed: int,
        listeners: Listeners,
    ) -> None:
        self.estimator, self.run = estimator, run
        self.batches, self.rng, self.seed, self.listeners = batches, rng, seed, listeners
        net, state = run.net, run.state
        self.trainer = net.xp.trainer(
            net.plan, state.optimizer.rule, *examples, net.parameters, state.slots, batches.size
        )
        self.validation: Examples | None = None
        self.best: Any = None

    def validate_on(self, validation: Examples, task: str, best: Any, *, breaks_ties: bool) -> None:
        """Measure these examples after each epoch.

        Parameters
        ----------
        validation : Examples
        task : str
            As `mlp.training.score` takes it.
        best : array or None
            The weights to go back to if no epoch has a score.
        breaks_ties : bool
            Whether of epochs whose scores differ by less than `tol` the one of the lowest loss is best.
        """
        self.validation, self.task, self.best, self.breaks_ties = validation, task, best, breaks_ties
        if self.estimator.validation_scores_ is None:
            self.estimator.validation_scores_, self.estimator.validation_loss_curve_ = [], []
            self.estimator.best_validation_score_ = -np.inf

    def go(self, epochs: int) -> None:
        """Train for `epochs` epochs, or until something asks for a stop."""
        estimator, run, optimizer = self.estimator, self.run, self.run.state.optimizer
        order = np.arange(self.batches.n)
        estimator.n_iter_ = 0
        with np.errstate(all="ignore"), progress_bar(run, self.batches.n, self.batches.size, shown=estimator.progress):
            while estimator.n_iter_ < epochs and not run.control.stop_requested:
                self.listeners.epoch_begins()
                if estimator.shuffle:
                    order = order[_shuffled(self.rng, len(order))]
                totals = self.batches.totals(order)
                result = self._train(order, self.batches.l2(totals))
                watched = self._record(self.batches.mean(result.losses, totals))
                if self.validation is not None:
                    watched = self._validate(self.validation)
                if not estimator.early_stopping:
                    self._watch_loss()
                optimizer.schedule.observe(watched)
                if isinstance(optimizer, Solver):
                    optimizer.after_epoch(estimator.t_)
                if estimator._no_improvement_count > estimator.n_iter_no_change:
                    self._on_plateau()
                self.listeners.epoch_ends()

    def restore_best(self) -> None:
        """Give the network the weights of the best validation score."""
        if self.best is not None:
            self.run.net.parameters[...] = self.best

    def _train(self, order: NDArray[np.int64], l2: NDArray[np.float64]) -> EpochResult:
        run, net, state = self.run, self.run.net, self.run.state
        optimizer = state.optimizer
        plan = EpochPlan(
            network=net.plan,
            rule=optimizer.rule,
            batch_size=self.batches.size,
            order=order,
            learning_rates=optimizer.schedule.rates(state.step, state.epoch, len(l2)),
            l2=l2,
            weight_decay=optimizer.weight_decay,
            clip_value=optimizer.clip_value,
            clip_norm=optimizer.clip_norm,
            seed=self.seed,
            epoch=state.epoch,
            first_step=state.step,
            halt=False,  # scikit-learn goes on whatever the loss
        )
        run.control.batches_done = 0
        if self.listeners.hooks:
            self.trainer.refresh()  # one of them may have assigned weights
        start = time.perf_counter()
        try:
            (result,) = self.trainer.epochs([plan], run.control, self.listeners.on_batch)
        finally:
            self.trainer.read_back()
        net.xp.synchronize()
        seconds, done = time.perf_counter() - start, len(result.losses)
        state.epoch += 1
        state.step += done
        run.whole_epoch = done == len(plan.batches)
        run.history.seconds.append(seconds)
        run.history.samples_per_second.append(float(self.batches.rows[:done].sum()) / max(seconds, 1e-9))
        run.history.learning_rate.append(float(plan.learning_rates[max(done - 1, 0)]))
        return result

    def _record(self, loss: float) -> float:
        estimator = self.estimator
        estimator.n_iter_ += 1
        estimator.t_ += self.batches.n
        estimator.loss_ = np.float64(loss)
        estimator.loss_curve_.append(estimator.loss_)
        self.run.history.loss.append(loss)
        if estimator.verbose:
            print(f"Iteration {estimator.n_iter_}, loss = {loss:.8f}")
        return loss

    def _validate(self, validation: Examples) -> float:
        """Measure the validation set, and keep the weights if they are the best; return the loss."""
        estimator, history = self.estimator, self.run.history
        loss, score = training.evaluate(self.run.net, validation, self.task)
        score = score if math.isfinite(score) else math.nan
        assert estimator.validation_loss_curve_ is not None
        assert estimator.validation_scores_ is not None
        estimator.validation_loss_curve_.append(loss)
        estimator.validation_scores_.append(score)
        history.append_validation(loss, score)
        if estimator.verbose:
            print(f"Validation score: {score:f}")
        best_score = estimator.best_validation_score_
        if estimator.early_stopping:
            self._count(improved=not score < best_score + estimator.tol)
        lowest = -math.inf if history.best_epoch is None else history.val_loss[history.best_epoch]
        as_good = self.breaks_ties and score > best_score - estimator.tol
        if score > best_score or (as_good and loss < lowest):
            estimator.best_validation_score_ = max(score, best_score)
            history.best_epoch = estimator.n_iter_ - 1
            self.best = self.run.net.parameters.copy()
        return loss

    def _watch_loss(self) -> None:
        estimator = self.estimator
        best = np.inf if estimator.best_loss_ is None else estimator.best_loss_
        self._count(improved=not estimator.loss_ > best - estimator.tol)
        estimator.best_loss_ = min(best, estimator.loss_)

    def _count(self, *, improved: bool) -> None:
        # what is NaN counts as an improvement, as in scikit-learn
        self.estimator._no_improvement_count = 0 if improved else self.estimator._no_improvement_count + 1

    def _on_plateau(self) -> None:
        estimator, optimizer = self.estimator, self.run.state.optimizer
        stops, text = optimizer.on_plateau() if isinstance(optimizer, Solver) else (True, "Stopping.")
        what = "Validation score" if estimator.early_stopping else "Training loss"
        reason = (
            f"{what} did not improve more than tol={estimator.tol:f} for {estimator.n_iter_no_change} consecutive "
            f"epochs. {text}"
        )
        if estimator.verbose:
            print(reason)
        if stops:
            self.run.stop(reason)
        else:
            estimator._no_improvement_count = 0


def _shuffled(rng: np.random.RandomState, n: int) -> NDArray[np.int64]:
    """A permutation as `sklearn.utils.shuffle` draws it."""
    order = np.arange(n)
    rng.shuffle(order)
    return order
