"""Mini-batch training: the epochs of one fit, and the fitted attributes that record them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mlp import training
from mlp._backends import EpochPlan, EpochResult, callers_float_warnings, no_float_warnings
from mlp.estimators.callbacks import CallbackList
from mlp.estimators.solvers import Solver
from mlp.optimizers import Optimizer
from mlp.training import Examples, Run, progress_bar


class Estimator(Protocol):
    """The parameters that `BatchTraining` reads from an estimator, and the attributes it updates."""

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
    """The split of an epoch into batches, with the total sample weight of each batch.

    Attributes
    ----------
    n, size : int
        Number of rows, in all and in a batch.
    alpha : float
        scikit-learn's L2 penalty.
    weight : ndarray, shape (n,), or None
        Sample weights.
    """

    n: int
    size: int
    alpha: float
    weight: NDArray[Any] | None

    def __post_init__(self) -> None:
        self.starts = np.arange(0, self.n, self.size)
        self.rows = np.diff(self.starts, append=self.n)
        self._counts = self.rows.astype(np.float64)
        self._l2_of_counts = self.alpha / self._counts

    def weight_sums(self, order: NDArray[np.int64]) -> NDArray[np.float64]:
        """Sum of the sample weights of each batch, with the rows in this order."""
        if self.weight is None:
            return self._counts
        return np.add.reduceat(self.weight[order], self.starts, dtype=np.float64)

    def l2(self, weight_sums: NDArray[np.float64]) -> NDArray[np.float64]:
        """L2 coefficient of each batch's mean loss; zero if the batch has no weight."""
        if self.weight is None:
            return self._l2_of_counts
        return np.where(weight_sums > 0, self.alpha / np.where(weight_sums > 0, weight_sums, 1), 0.0)

    def mean_loss(self, losses: NDArray[np.float64], weight_sums: NDArray[np.float64]) -> float:
        """Mean loss of the epoch: as in scikit-learn weighted by the rows of each batch, or 0 if it has no weight."""
        rows = self.rows if self.weight is None else np.where(weight_sums > 0, self.rows, 0)
        rows = rows[: len(losses)]
        return float(losses @ rows) / max(int(rows.sum()), 1)


class BatchTraining:
    """The epochs of one fit.

    Parameters
    ----------
    estimator : Estimator
        Its parameters control training; its attributes record the result.
    run : Run
    examples : Examples
    batches : Batches
    rng : RandomState
        For the order of the rows.
    seed : int
        For dropout.
    callbacks : CallbackList
    """

    def __init__(
        self,
        estimator: Estimator,
        run: Run,
        examples: Examples,
        batches: Batches,
        rng: np.random.RandomState,
        seed: int,
        callbacks: CallbackList,
    ) -> None:
        self.estimator, self.run = estimator, run
        self.batches, self.rng, self.seed, self.callbacks = batches, rng, seed, callbacks
        net, state = run.net, run.state
        self.trainer = net.xp.trainer(
            net.plan, state.optimizer.rule, *examples, net.parameters, state.slots, batches.size
        )
        self.validation: Examples | None = None
        self.best_weights: Any = None
        self._order = np.arange(batches.n)

    def validate_on(
        self,
        validation: Examples,
        task: str,
        best_weights: Any,
        *,
        loss_breaks_ties: bool,
        scorer: Callable[[float], float] | None = None,
    ) -> None:
        """Evaluate these examples after each epoch.

        Parameters
        ----------
        validation : Examples
        task : {"classes", "labels", "numbers"}
            As in `mlp.training.score`.
        best_weights : array or None
            The weights to restore if no epoch has a score.
        loss_breaks_ties : bool
            Whether the lowest loss selects the best of the epochs whose scores differ by less than `tol`.
        scorer : callable, optional
            Returns the score of the current weights, from their validation loss.  Default: that of the task.
        """
        self.scorer = scorer
        self.validation, self.task = validation, task
        self.best_weights, self.loss_breaks_ties = best_weights, loss_breaks_ties
        if self.estimator.validation_scores_ is None:
            self.estimator.validation_scores_, self.estimator.validation_loss_curve_ = [], []
            self.estimator.best_validation_score_ = -np.inf

    def train(self, epochs: int) -> None:
        """Train for `epochs` epochs, or until a stop is requested."""
        estimator, run, optimizer = self.estimator, self.run, self.run.state.optimizer
        estimator.n_iter_ = 0
        with no_float_warnings(), progress_bar(run, self.batches.n, self.batches.size, shown=estimator.progress):
            while estimator.n_iter_ < epochs and not run.control.stop_requested:
                with callers_float_warnings():
                    self.callbacks.on_epoch_begin()
                orders = self._draw_orders(min(self._epochs_of_call(), epochs - estimator.n_iter_))
                weight_sums = [self.batches.weight_sums(order) for order in orders]
                results = self._train_epochs(orders, [self.batches.l2(sums) for sums in weight_sums])
                for result, sums in zip(results, weight_sums, strict=False):
                    self._end_epoch(optimizer, result, sums)

    def _end_epoch(self, optimizer: Optimizer, result: EpochResult, weight_sums: NDArray[np.float64]) -> None:
        """Record an epoch, and react to its losses as scikit-learn does."""
        estimator = self.estimator
        monitored_loss = self._record_loss(self.batches.mean_loss(result.losses, weight_sums))
        if self.validation is not None:
            monitored_loss = self._validate(self.validation)
        if not estimator.early_stopping:
            self._monitor_training_loss()
        optimizer.schedule.observe(monitored_loss)
        if isinstance(optimizer, Solver):
            optimizer.after_epoch(estimator.t_)
        if estimator._no_improvement_count > estimator.n_iter_no_change:
            self._on_plateau()
        with callers_float_warnings():
            self.callbacks.on_epoch_end()

    def _epochs_of_call(self) -> int:
        """How many epochs to train for in one call of the backend: only after the last may something happen.

        Each epoch without improvement adds one to a count, and the training ends, or its rate changes, when the count
        exceeds `n_iter_no_change`.  So this is certain not to happen in the next epochs, as many as are missing.
        """
        estimator, optimizer = self.estimator, self.run.state.optimizer
        if self.callbacks or self.validation is not None or optimizer.schedule.adapts:
            return 1
        if isinstance(optimizer, Solver) and optimizer.policy == "invscaling":
            return 1
        before_plateau = estimator.n_iter_no_change + 1 - estimator._no_improvement_count
        return int(max(1, min(self.trainer.epochs_of_call(self.batches.n), before_plateau)))

    def _draw_orders(self, count: int) -> list[NDArray[np.int64]]:
        """The orders of the rows in the next epochs; each is a shuffle of the one before it, as in scikit-learn."""
        if not self.estimator.shuffle:
            return [self._order] * count
        if count > 1:
            self._drawn = self._order, self.rng.get_state()
        orders = []
        for _ in range(count):
            self._order = self._order[_permutation(self.rng, len(self._order))]
            orders.append(self._order)
        return orders

    def _draw_fewer(self, count: int) -> None:
        """Leave the generator as if only the first `count` of the last orders had been drawn."""
        self._order, state = self._drawn
        self.rng.set_state(state)
        self._draw_orders(count)

    def restore_best(self) -> None:
        """Set the network to the weights of the best validation score."""
        if self.best_weights is not None:
            self.run.net.parameters[...] = self.best_weights

    def _train_epochs(self, orders: list[NDArray[np.int64]], l2: list[NDArray[np.float64]]) -> list[EpochResult]:
        run, net, state = self.run, self.run.net, self.run.state
        optimizer, network = state.optimizer, net.plan
        rule, schedule, n_batches = optimizer.rule, optimizer.schedule, len(self.batches.rows)
        plans = [
            EpochPlan(
                network=network,
                rule=rule,
                batch_size=self.batches.size,
                order=order,
                learning_rates=schedule.rates(state.step + i * n_batches, state.epoch + i, n_batches),
                l2=l2[i],
                weight_decay=optimizer.weight_decay,
                clip_value=optimizer.clip_value,
                clip_norm=optimizer.clip_norm,
                rate_factors=optimizer.rate_factors(network.layout),
                seed=self.seed,
                epoch=state.epoch + i,
                first_step=state.step + i * n_batches,
                halt=False,  # like scikit-learn, continue after a loss that is not finite
            )
            for i, order in enumerate(orders)
        ]
        run.control.batches_done = 0
        if self.callbacks.callbacks:
            self.trainer.refresh()  # a callback may have assigned weights
        start = time.perf_counter()
        try:
            results = self.trainer.epochs(plans, run.control, self.callbacks.on_batch_end)
        finally:
            self.trainer.read_back()
        net.xp.synchronize()
        seconds, batches = time.perf_counter() - start, sum(len(result.losses) for result in results)
        if len(results) < len(plans) and self.estimator.shuffle:
            self._draw_fewer(len(results))
        for plan, result in zip(plans, results, strict=False):
            done = len(result.losses)
            share = seconds * done / max(batches, 1)
            state.epoch += 1
            state.step += done
            run.whole_epoch = done == n_batches
            run.history.seconds.append(share)
            run.history.samples_per_second.append(float(self.batches.rows[:done].sum()) / max(share, 1e-9))
            run.history.learning_rate.append(float(plan.learning_rates[max(done - 1, 0)]))
        return results

    def _record_loss(self, loss: float) -> float:
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
        """Evaluate the validation set, store the weights if they are the best so far, and return the loss."""
        estimator, history = self.estimator, self.run.history
        loss, score = training.evaluate(self.run.net, validation, self.task)
        if self.scorer is not None and math.isfinite(score):  # otherwise outputs are not finite
            with callers_float_warnings():
                score = self.scorer(loss)
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
            self._count_no_improvement(improved=not score < best_score + estimator.tol)
        loss_of_best = -math.inf if history.best_epoch is None else history.val_loss[history.best_epoch - 1]
        tied = self.loss_breaks_ties and score > best_score - estimator.tol
        if score > best_score or (tied and loss < loss_of_best):
            estimator.best_validation_score_ = max(score, best_score)
            history.best_epoch = estimator.n_iter_
            self.best_weights = self.run.net.parameters.copy()
        return loss

    def _monitor_training_loss(self) -> None:
        estimator = self.estimator
        best = np.inf if estimator.best_loss_ is None else estimator.best_loss_
        self._count_no_improvement(improved=not estimator.loss_ > best - estimator.tol)
        estimator.best_loss_ = min(best, estimator.loss_)

    def _count_no_improvement(self, *, improved: bool) -> None:
        # the callers' comparisons make NaN count as an improvement, as in scikit-learn
        self.estimator._no_improvement_count = 0 if improved else self.estimator._no_improvement_count + 1

    def _on_plateau(self) -> None:
        estimator, optimizer = self.estimator, self.run.state.optimizer
        stop, text = optimizer.on_plateau() if isinstance(optimizer, Solver) else (True, "Stopping.")
        quantity = "Validation score" if estimator.early_stopping else "Training loss"
        reason = (
            f"{quantity} did not improve more than tol={estimator.tol:f} for {estimator.n_iter_no_change} consecutive "
            f"epochs. {text}"
        )
        if estimator.verbose:
            print(reason)
        if stop:
            self.run.stop(reason)
        else:
            estimator._no_improvement_count = 0


def _permutation(rng: np.random.RandomState, n: int) -> NDArray[np.int64]:
    """Draw a permutation as `sklearn.utils.shuffle` does."""
    order = np.arange(n)
    rng.shuffle(order)
    return order
