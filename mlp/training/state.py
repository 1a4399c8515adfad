"""`TrainingState`: what training remembers between two epochs beside the weights."""

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

    @classmethod
    def begin(cls, net: FeedForward, optimizer: Optimizer) -> TrainingState:
        """The state before the first update of `net`."""
        optimizer = copy.deepcopy(optimizer)  # schedules have a memory, which is this run's
        slots = net.xp.zeros((len(optimizer.rule.row.state), net.plan.layout.n_parameters), net.dtype)
        return cls(optimizer, slots)

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

    def on_host(self, xp: Backend) -> TrainingState:
        """The same state with its arrays, which are on `xp`, as host arrays."""
        best = None if self.other_weights is None else xp.to_numpy(self.other_weights)
        return replace(self, slots=xp.to_numpy(self.slots), other_weights=best)

    def move(self, source: Backend, target: Backend) -> None:
        """Bring the arrays from one backend to another."""
        self.slots = target.asarray(source.to_numpy(self.slots))
        if self.other_weights is not None:
            self.other_weights = target.asarray(source.to_numpy(self.other_weights))

    def exchange(self, net: FeedForward) -> None:
        """Give the network the other weights, and keep those it had."""
        mine, self.other_weights = self.other_weights, net.parameters.copy()
        net.parameters[...] = mine
        self.restored = not self.restored

    def forget_best(self) -> None:
        """Let early stopping begin anew, from weights that did not come out of this training."""
        self.best, self.waited, self.other_weights, self.restored = math.inf, 0, None, False
        self.history.best_epoch = None


def require_resumable(state: TrainingState | None, epochs: int) -> TrainingState:
    """The state of the training to resume, if there is one that `epochs` epochs in all go beyond."""
    if state is None:
        raise ConfigurationError("there is no training to resume: this network has not been trained yet.")
    if epochs <= state.epoch:
        raise ConfigurationError(
            f"the training to resume has {state.epoch} epochs behind it; epochs={epochs} counts them "
            "in, so ask for more."
        )
    return state
