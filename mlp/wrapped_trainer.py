"""`WrappedTrainer`: a trainer that divides its work otherwise and leaves it to another one."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from mlp._backends import EpochPlan, Execution, Trainer


class WrappedTrainer(Trainer):
    """Has the arrays of `trainer`; a subclass defines an epoch.

    Parameters
    ----------
    trainer : Trainer
    """

    def __init__(self, trainer: Trainer) -> None:
        self._trainer = trainer
        super().__init__(
            trainer.xp, trainer.network, trainer.rule, trainer.X, trainer.target, trainer.weight,
            trainer.params, trainer.state, trainer.batch_size,
        )  # fmt: skip

    def execution(self, plan: EpochPlan, on_batch: bool = False) -> Execution:
        return self._trainer.execution(plan, on_batch)

    def read_back(self) -> None:
        self._trainer.read_back()

    def roll_back(self) -> None:
        self._trainer.roll_back()

    def current(self, out: tuple[Any, Any] | None = None) -> tuple[NDArray[Any], NDArray[Any]]:
        return self._trainer.current(out)

    def refresh(self) -> None:
        super().refresh()
        self._trainer.refresh()

    def another(self, params: Any, state: Any) -> Trainer:
        return self._trainer.another(params, state)

    def write_rows(self, first: int, X: Any, target: Any, weight: Any = None) -> None:
        self._trainer.write_rows(first, X, target, weight)
        self._read_weight()
