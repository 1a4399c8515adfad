"""Who is told of a fit under way: our callbacks, and those of `sklearn.callback`, which scikit-learn has since 1.9."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from mlp.training import Callback, Run

try:
    from sklearn.callback import CallbackSupportMixin, with_callbacks
except ImportError:  # scikit-learn 1.7 and 1.8

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Nothing to support."""

    def with_callbacks(method: Callable[..., Any]) -> Callable[..., Any]:
        return method


__all__ = ["CallbackSupportMixin", "Listeners", "with_callbacks"]


class Listeners:
    """Everybody who is told of a fit.

    Parameters
    ----------
    estimator : estimator
        Its ``set_callbacks``, where it has one, says who listens on scikit-learn's side.
    run : Run
    hooks : sequence of Callback
    data : dict
        X, y and metadata of the fit, as scikit-learn's callbacks get them.
    snapshot : callable
        Gives the attributes that make a copy of the estimator predict with the weights at hand.
    """

    def __init__(
        self,
        estimator: Any,
        run: Run,
        hooks: Sequence[Callback],
        data: dict[str, Any],
        snapshot: Callable[[], dict[str, Any]],
    ) -> None:
        self.estimator, self.run, self.hooks = estimator, run, hooks
        self.told = {**data, "estimator": estimator, "reconstruction_attributes": snapshot}
        self.context: Any = None
        self.task: Any = None
        # making the tree of tasks for nobody would take longer than an epoch of a small network
        if data and (hasattr(estimator, "_skl_callbacks") or hasattr(estimator, "_parent_callback_ctx")):
            self.context = estimator._init_callback_context(max_subtasks=run.epochs)
        batch_hooks = [hook for hook in hooks if type(hook).on_batch_end is not Callback.on_batch_end]
        self.on_batch = self._on_batch(batch_hooks) if batch_hooks else None

    def _on_batch(self, hooks: Sequence[Callback]) -> Callable[[int, float], None]:
        def tell(batch: int, loss: float) -> None:
            for hook in hooks:
                hook.on_batch_end(self.run, batch, loss)

        return tell

    def train_begins(self) -> None:
        for hook in self.hooks:
            hook.on_train_begin(self.run)
        if self.context is not None:
            self.context.call_on_fit_task_begin(**self.told)

    def epoch_begins(self) -> None:
        """Unless it has begun already: L-BFGS looks at a function several times in one iteration."""
        if self.context is not None and self.task is None:
            self.task = self.context.subcontext(task_name="iteration").call_on_fit_task_begin(**self.told)

    def epoch_ends(self) -> None:
        for hook in self.hooks:
            hook.on_epoch_end(self.run)
        task, self.task = self.task, None
        if task is not None and task.call_on_fit_task_end(**self.told):
            self.run.stop("a callback of scikit-learn asked for it")

    def train_ends(self) -> None:
        for hook in self.hooks:
            hook.on_train_end(self.run)
        if self.task is not None:  # begun, and nothing came of it
            self.task.call_on_fit_task_end(estimator=self.estimator)
        if self.context is not None:
            self.context.call_on_fit_task_end(**self.told)
