"""Calls the callbacks of a fit: `mlp.Callback` objects, and those of `sklearn.callback` (since scikit-learn 1.9)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from mlp.training import Callback, Run

try:
    from sklearn.callback import CallbackSupportMixin, with_callbacks
except ImportError:  # scikit-learn 1.7 and 1.8

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Empty: this version of scikit-learn has no callbacks."""

    def with_callbacks(method: Callable[..., Any]) -> Callable[..., Any]:
        return method


__all__ = ["CallbackList", "CallbackSupportMixin", "with_callbacks"]


class CallbackList:
    """All callbacks of one fit.

    Parameters
    ----------
    estimator : estimator
        scikit-learn's callbacks are those registered by its ``set_callbacks``, if it has that method.
    run : Run
    callbacks : sequence of Callback
    data : dict
        X, y and metadata of the fit, as scikit-learn's callbacks receive them; if empty, these are not called.
    snapshot : callable
        Returns the fitted attributes with which a copy of the estimator predicts by the current weights.
    """

    def __init__(
        self,
        estimator: Any,
        run: Run,
        callbacks: Sequence[Callback],
        data: dict[str, Any],
        snapshot: Callable[[], dict[str, Any]],
    ) -> None:
        self.estimator, self.run, self.callbacks = estimator, run, callbacks
        self.task_arguments = {**data, "estimator": estimator, "reconstruction_attributes": snapshot}
        self.context: Any = None
        self.task: Any = None
        # without callbacks, creating the tree of tasks would take longer than an epoch of a small network
        if data and (hasattr(estimator, "_skl_callbacks") or hasattr(estimator, "_parent_callback_ctx")):
            self.context = estimator._init_callback_context(max_subtasks=run.epochs)
        per_batch = [callback for callback in callbacks if type(callback).on_batch_end is not Callback.on_batch_end]
        self.on_batch_end = self._batch_function(per_batch) if per_batch else None

    def __bool__(self) -> bool:
        return bool(self.callbacks) or self.context is not None

    def _batch_function(self, callbacks: Sequence[Callback]) -> Callable[[int, float], None]:
        def on_batch_end(batch: int, loss: float) -> None:
            for callback in callbacks:
                callback.on_batch_end(self.run, batch, loss)

        return on_batch_end

    def on_train_begin(self) -> None:
        for callback in self.callbacks:
            callback.on_train_begin(self.run)
        if self.context is not None:
            self.context.call_on_fit_task_begin(**self.task_arguments)

    def on_epoch_begin(self) -> None:
        """Begin scikit-learn's task, unless it has begun: L-BFGS evaluates the loss several times per iteration."""
        if self.context is not None and self.task is None:
            subcontext = self.context.subcontext(task_name="iteration")
            self.task = subcontext.call_on_fit_task_begin(**self.task_arguments)

    def on_epoch_end(self) -> None:
        for callback in self.callbacks:
            callback.on_epoch_end(self.run)
        task, self.task = self.task, None
        if task is not None and task.call_on_fit_task_end(**self.task_arguments):
            self.run.stop("stopped by a scikit-learn callback")

    def on_train_end(self) -> None:
        for callback in self.callbacks:
            callback.on_train_end(self.run)
        if self.task is not None:  # an iteration of L-BFGS that began but did not finish
            self.task.call_on_fit_task_end(estimator=self.estimator)
        if self.context is not None:
            self.context.call_on_fit_task_end(**self.task_arguments)
