"""scikit-learn's stochastic solvers as optimizers: its update rules and its learning-rate policies."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from mlp import optimizers
from mlp._backends import ConfigurationError, formulas
from mlp.optimizers import Optimizer
from mlp.schedules import Schedule

STOCHASTIC = ("sgd", "adam", "adamw", "adagrad", "rmsprop")
"""Names of the mini-batch solvers: scikit-learn's two, then those it does not have."""

SMALLEST_RATE = 1e-6
"""At this rate or below, ``learning_rate="adaptive"`` stops training, as in scikit-learn."""


@dataclass
class Solver(Optimizer):
    """scikit-learn's ``sgd`` or ``adam``.

    Its SGD accepts a momentum in [0, 1], and its velocity includes the learning rate.  Its Adam adds epsilon to the
    square root before bias correction (the "epsilon hat" form).

    Attributes
    ----------
    learning_rate : float or Schedule
        The current rate; `after_epoch` and `on_plateau` change it.
    update : Rule
    policy : {"constant", "invscaling", "adaptive"}
        How the learning rate changes.
    power : float
        Exponent of ``"invscaling"``.
    """

    update: formulas.Rule = field(default_factory=lambda: formulas.Rule("sgd", {}))
    policy: str = "constant"
    power: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        self.initial_rate = self.learning_rate

    @property
    def rule(self) -> formulas.Rule:
        return self.update

    def after_epoch(self, samples_seen: int) -> None:
        """Apply ``learning_rate="invscaling"``, which depends on the number of rows seen."""
        if self.policy == "invscaling" and isinstance(self.initial_rate, float):
            self.learning_rate = self.initial_rate / float((samples_seen + 1) ** self.power)

    def on_plateau(self) -> tuple[bool, str]:
        """React to a plateau; return whether training stops, and a message."""
        if self.policy != "adaptive" or isinstance(self.learning_rate, Schedule):
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
        If the parameters contradict each other.
    """
    solver, rate = estimator.solver, estimator.learning_rate
    policy, rate = ("constant", rate) if isinstance(rate, Schedule) else (rate, float(estimator.learning_rate_init))
    if solver == "sgd":
        update = _sgd_rule(estimator.momentum, estimator.nesterovs_momentum)
        return Solver(rate, update=update, policy=policy, power=estimator.power_t)
    if solver == "adam":
        hyper = {"beta1": estimator.beta_1, "beta2": estimator.beta_2, "epsilon": estimator.epsilon}
        return Solver(rate, update=formulas.Rule("adam_epsilon_hat", hyper))
    if policy != "constant":
        raise ConfigurationError(
            f"learning_rate={policy!r} works only with solver='sgd'. For {solver!r} pass a schedule as learning_rate, "
            "for example mlp.schedules.Cosine(0.01, epochs=50)."
        )
    if isinstance(solver, str):
        return optimizers.OPTIMIZERS[solver](rate)
    if isinstance(rate, Schedule):
        raise ConfigurationError(
            f"both solver={solver!r} and learning_rate={rate!r} set the learning rate. Pass the schedule to the "
            f"optimizer: solver=mlp.{type(solver).__name__}({rate!r})."
        )
    return solver  # type: ignore[no-any-return]


def _sgd_rule(momentum: float, nesterov: bool) -> formulas.Rule:
    if momentum == 0:
        return formulas.Rule("sgd", {})
    return formulas.Rule("nesterov_rate_inside" if nesterov else "momentum_rate_inside", {"momentum": float(momentum)})
