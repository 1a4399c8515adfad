"""`TrainingState`: everything besides the weights that training needs to resume."""

from __future__ import annotations

import copy
import math
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlp import optimizers
from mlp._backends import Backend, ConfigurationError
from mlp.checks import counted
from mlp.network import FeedForward
from mlp.optimizers import Optimizer
from mlp.training.history import History


@dataclass
class TrainingState:
    """Everything besides the weights that training needs to resume exactly after any batch.

    Attributes
    ----------
    optimizer : Optimizer
        With the state of its schedule.
    slots : array, shape (number of state arrays of the update rule, n_parameters)
        Optimizer state, on the network's device.
    epoch, step : int
        Number of complete epochs, and of updates.
    batches : ndarray of float64, shape (2, batches done)
        Loss and weight of each batch of the epoch in which training stopped; none after a complete epoch.
    seconds : float
        Wall time of these batches.
    conditions : dict
        What a resumed training must have in common with this one, such as the number of rows.
    history : History
        With a last entry for the epoch in which training stopped, if there is one.
    monitor, best, waited : str, float, int
        State of early stopping: the metric, its best value (negated where larger is better), and the number of epochs
        since then.
    other_weights : array or None
        The best weights during training with early stopping; the last weights if the network has the best (`restored`).
    restored : bool
        Whether the network has the best weights.
    """

    optimizer: Optimizer
    slots: Any
    epoch: int = 0
    step: int = 0
    batches: NDArray[np.float64] = field(default_factory=lambda: np.empty((2, 0)))
    seconds: float = 0.0
    conditions: dict[str, Any] = field(default_factory=dict)
    history: History = field(default_factory=History)
    monitor: str = ""
    best: float = math.inf
    waited: int = 0
    other_weights: Any = None
    restored: bool = False

    @classmethod
    def begin(cls, net: FeedForward, optimizer: Optimizer) -> TrainingState:
        """The state before the first update of `net`."""
        optimizer.rate_factors(net.plan.layout)  # raises an error if they do not fit
        optimizer = copy.deepcopy(optimizer)  # training changes the state of its schedule
        slots = net.xp.zeros((len(optimizer.rule.row.state), net.plan.layout.n_parameters), net.dtype)
        return cls(optimizer, slots)

    def to_dict(self) -> dict[str, Any]:
        """The state as plain data, except the arrays `slots`, `batches` and `other_weights`."""
        return {
            "optimizer": self.optimizer.to_dict(),
            "epoch": self.epoch,
            "step": self.step,
            "batches": self.batches_done,
            "seconds": self.seconds,
            "conditions": self.conditions,
            "history": asdict(self.history),
            "monitor": self.monitor,
            "best": self.best,
            "waited": self.waited,
            "restored": self.restored,
        }

    @classmethod
    def from_dict(
        cls, data: dict[str, Any], slots: Any, batches: NDArray[np.float64], other_weights: Any
    ) -> TrainingState:
        """Make a state from the result of `to_dict` and the arrays."""
        settings = {
            name: data[name]
            for name in ("epoch", "step", "seconds", "conditions", "monitor", "best", "waited", "restored")
            if name in data  # earlier versions did not save all of them
        }
        return cls(
            optimizer=optimizers.from_dict(data["optimizer"]),
            slots=slots,
            batches=batches,
            history=History(**data["history"]),
            other_weights=other_weights,
            **settings,
        )

    def on_host(self, xp: Backend) -> TrainingState:
        """A copy of the state with its arrays, which are on `xp`, as host arrays."""
        weights = None if self.other_weights is None else xp.to_numpy(self.other_weights)
        return replace(self, slots=xp.to_numpy(self.slots), other_weights=weights)

    def snapshot(self, xp: Backend, slots: NDArray[Any]) -> TrainingState:
        """A copy, with the host array `slots`, that further training does not change."""
        history = copy.copy(self.history)
        for name, value in vars(history).items():
            if isinstance(value, list):
                setattr(history, name, value.copy())
        history.metrics = {name: values.copy() for name, values in self.history.metrics.items()}
        return replace(
            self,
            optimizer=copy.deepcopy(self.optimizer),
            slots=slots,
            history=history,
            other_weights=None
            if self.other_weights is None
            else xp.to_numpy(self.other_weights),  # never changed in place
        )

    def move(self, source: Backend, target: Backend) -> None:
        """Move the arrays from one backend to another."""
        self.slots = target.asarray(source.to_numpy(self.slots))
        if self.other_weights is not None:
            self.other_weights = target.asarray(source.to_numpy(self.other_weights))

    def swap_weights(self, net: FeedForward) -> None:
        """Exchange the weights of the network and `other_weights`."""
        stored, self.other_weights = self.other_weights, net.parameters.copy()
        net.parameters[...] = stored
        self.restored = not self.restored

    @property
    def batches_done(self) -> int:
        """Number of batches done of the epoch in which training stopped; 0 after a complete epoch."""
        return len(self.batches[0])

    def leave_epoch(self) -> None:
        """Count the epoch in which training stopped as a complete one: training does not continue within it."""
        if self.batches_done:
            self.epoch += 1
            self.batches, self.seconds = np.empty((2, 0)), 0.0

    def reset_best(self) -> None:
        """Reset the state of early stopping."""
        self.best, self.waited, self.other_weights, self.restored = math.inf, 0, None, False
        self.history.best_epoch = None


def require_resumable(state: TrainingState | None, epochs: int | None, *, may_be_done: bool = False) -> TrainingState:
    """Return `state` if it can be resumed up to `epochs` epochs in total, else raise `ConfigurationError`.

    None is the number that was planned for that training.

    With `may_be_done` these epochs may be done already: then only the end of the training is left.
    """
    if state is None:
        raise ConfigurationError("there is no training to resume: this network has not been trained yet.")
    epochs = state.history.planned_epochs if epochs is None else epochs
    if epochs is None:
        raise ConfigurationError(
            "the training to resume did not record how many epochs it should have: give epochs, the total."
        )
    if epochs < state.epoch or (epochs == state.epoch and not may_be_done):
        raise ConfigurationError(
            f"the training to resume has done {counted(state.epoch, 'epoch')}, and epochs={epochs} is the total: it "
            f"must be greater than {state.epoch}."
        )
    return state
