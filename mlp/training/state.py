"""`TrainingState`: everything besides the weights that training needs to resume."""

from __future__ import annotations

import copy
import math
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from mlp import optimizers
from mlp._backends import Backend, ConfigurationError
from mlp.network import FeedForward
from mlp.optimizers import Optimizer
from mlp.training.history import History


@dataclass
class TrainingState:
    """Everything besides the weights that training needs to resume exactly after an epoch.

    Attributes
    ----------
    optimizer : Optimizer
        With the state of its schedule.
    slots : array, shape (number of state arrays of the update rule, n_parameters)
        Optimizer state, on the network's device.
    epoch, step : int
        Number of epochs and updates done.
    history : History
    monitor, best, waited : str, float, int
        State of early stopping: the metric, its best value (negated for ``val_score``), and the number of epochs since
        then.
    other_weights : array or None
        The best weights during training with early stopping; the last weights if the network has the best (`restored`).
    restored : bool
        Whether the network has the best weights.
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

    @classmethod
    def begin(cls, net: FeedForward, optimizer: Optimizer) -> TrainingState:
        """The state before the first update of `net`."""
        optimizer = copy.deepcopy(optimizer)  # training changes the state of its schedule
        slots = net.xp.zeros((len(optimizer.rule.row.state), net.plan.layout.n_parameters), net.dtype)
        return cls(optimizer, slots)

    def to_dict(self) -> dict[str, Any]:
        """The state as plain data, except the arrays `slots` and `other_weights`."""
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
        """Make a state from the result of `to_dict` and the arrays."""
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

    def on_host(self, xp: Backend) -> TrainingState:
        """A copy of the state with its arrays, which are on `xp`, as host arrays."""
        weights = None if self.other_weights is None else xp.to_numpy(self.other_weights)
        return replace(self, slots=xp.to_numpy(self.slots), other_weights=weights)

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

    def reset_best(self) -> None:
        """Reset the state of early stopping."""
        self.best, self.waited, self.other_weights, self.restored = math.inf, 0, None, False
        self.history.best_epoch = None


def require_resumable(state: TrainingState | None, epochs: int) -> TrainingState:
    """Return `state` if it can be resumed up to `epochs` epochs in total, else raise `ConfigurationError`."""
    if state is None:
        raise ConfigurationError("there is no training to resume: this network has not been trained yet.")
    if epochs <= state.epoch:
        raise ConfigurationError(
            f"the training to resume has done {state.epoch} epochs, and epochs={epochs} is the total: it must be "
            f"greater than {state.epoch}."
        )
    return state
