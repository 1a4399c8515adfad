"""scikit-learn's stochastic solvers as optimizers: its rules, and its ways of changing the learning rate."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from mlp import optimizers
from mlp._backends import ConfigurationError, formulas
from mlp.optimizers import Optimizer
from mlp.schedules import Schedule

STOCHASTIC = ("sgd", "adam", "adamw", "adagrad", "rmsprop")
"""Names of the solvers that go through the rows in batches: scikit-learn's two, then those it lacks."""

SMALLEST_RATE = 1e-6
"""Where ``learning_rate="adaptive"`` gives up, as in scikit-learn."""


@dataclass
class Solver(Optimizer):
    """scikit-learn's ``sgd`` or ``adam``.

    Its SGD takes any momentum from 0 to 1, both included, and keeps the rate inside the velocity; its Adam has epsilon
    beside the uncorrected root.

    Attributes
    ----------
    learning_rate : float or Schedule
        The rate at hand, which `after_epoch` and `on_plateau` change.
    update : Rule
    way : {"constant", "invscaling", "adaptive"}
    power : float
        Of ``"invscaling"``.
    """

    update: formulas.Rule = field(default_factory=lambda: formulas.Rule("sgd", {}))
    way: str = "constant"
    power: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        self.first_rate = self.learning_rate

    @property
    def rule(self) -> formulas.Rule:
        return self.update

    def after_epoch(self, samples_seen: int) -> None:
        """Follow ``learning_rate="invscaling"``, which counts the rows seen."""
        if self.way == "invscaling" and isinstance(self.first_rate, float):
            self.learning_rate = self.first_rate / float((samples_seen + 1) ** self.power)

    def on_plateau(self) -> tuple[bool, str]:
        """What follows from no improvement: whether to stop, and how to say it."""
        if self.way != "adaptive" or isinstance(self.learning_rate, Schedule):
            return True, "Stopping."
        if self.learning_rate <= SMALLEST_RATE:
            return True, "Learning rate too small. Stopping."
        self.learning_rate /= 5.0
        return False, f"Setting learning rate to {self.learning_rate:f}"


def make_solver(estimator: Any) -> Optimizer:
    """The optimizer that an estimator's parameters describe.

    Raises
    ------
    ConfigurationError
        If they contradict each other.
    """
    solver, rate = estimator.solver, estimator.learning_rate
    way, rate = ("constant", rate) if isinstance(rate, Schedule) else (rate, float(estimator.learning_rate_init))
    if solver == "sgd":
        return Solver(rate, update=_sgd_rule(estimator.momentum, estimator.nesterovs_momentum), way=way,
                      power=estimator.power_t)  # fmt: skip
    if solver == "adam":
        hyper = {"beta1": estimator.beta_1, "beta2": estimator.beta_2, "epsilon": estimator.epsilon}
        return Solver(rate, update=formulas.Rule("adam_epsilon_hat", hyper))
    if way != "constant":
        raise ConfigurationError(
            f"learning_rate={way!r} belongs to solver='sgd'. For {solver!r} give learning_rate a schedule, such as "
            "mlp.schedules.Cosine(0.01, epochs=50)."
        )
    if isinstance(solver, str):
        return optimizers.OPTIMIZERS[solver](rate)
    if isinstance(rate, Schedule):
        raise ConfigurationError(
            f"both solver={solver!r} and learning_rate={rate!r} say what the learning rate is. Give the schedule to "
            f"the optimizer: solver=mlp.{type(solver).__name__}({rate!r})."
        )
    return solver  # type: ignore[no-any-return]


def _sgd_rule(momentum: float, nesterov: bool) -> formulas.Rule:
    if momentum == 0:
        return formulas.Rule("sgd", {})
    return formulas.Rule("nesterov_rate_inside" if nesterov else "momentum_rate_inside", {"momentum": float(momentum)})
