"""The settings with which the training in a page begins: optimizer, schedule, weight decay, clipping."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlp._backends import Layout
from mlp.optimizers import SGD, Adagrad, Adam, GradientDescent, Optimizer, RMSprop
from mlp.schedules import SCHEDULES, Constant, Schedule

_RATES = {"sgd": 0.1, "momentum": 0.03, "nesterov": 0.03, "adagrad": 0.05, "rmsprop": 0.005, "adam": 0.01}
"""Learning rates that the page suggests: those for small networks and many epochs."""

_CHOICES: list[tuple[Optimizer, str]] = [
    (SGD(), "SGD"),
    (SGD(momentum=0.9), "SGD with momentum"),
    (SGD(momentum=0.9, nesterov=True), "SGD with Nesterov momentum"),
    (Adagrad(), "AdaGrad"),
    (RMSprop(), "RMSprop"),
    (Adam(), "Adam"),
]
_VARIANTS = {
    "momentum_rate_inside": "SGD with momentum, rate inside",
    "nesterov_rate_inside": "SGD with Nesterov momentum, rate inside",
    "adam_epsilon_hat": "Adam, epsilon hat",
}
"""Offered only if the network was trained with them."""

_STATE = {"current": math.nan, "best": math.inf, "waited": 0}
"""The state of a schedule at the beginning of a training."""


def update_settings(
    layout: Layout,
    optimizer: Optimizer | None,
    rows: int | None,
    batch_size: int,
    class_weights: NDArray[np.float64] | None,
) -> dict[str, Any]:
    """The settings as plain data.

    Parameters
    ----------
    layout : Layout
        Of the network.
    optimizer : Optimizer, optional
        Default: Adam.
    rows : int, optional
        Number of rows in the page.
    batch_size : int
    class_weights : ndarray, shape (number of classes,), optional

    Returns
    -------
    dict
        Among others ``notes``, sentences for the reader.

    Examples
    --------
    >>> settings = update_settings(Layout((2, 3, 1)), Adam(0.04, clip_norm=1.0), None, 32, None)
    >>> settings["rule"], settings["rules"]["adam"]["rate"], settings["clipNorm"], settings["schedule"]
    ('adam', 0.04, 1.0, None)
    """
    rules = {
        choice.rule.name: {"label": label, "hyper": dict(choice.rule.hyper), "rate": _RATES[choice.rule.name]}
        for choice, label in _CHOICES
    }
    weights = None if class_weights is None else class_weights.tolist()
    settings: dict[str, Any] = {
        "rules": rules, "rule": "adam", "batchSize": batch_size, "schedule": None, "weightDecay": 0.0,
        "clipValue": None, "clipNorm": None, "rateFactors": [], "classWeights": weights, "notes": [],
    }  # fmt: skip
    if weights:
        settings["notes"].append("The classes have the weights of the last training.")
    if optimizer is None:
        return settings
    rule, schedule = optimizer.rule, optimizer.schedule
    if rule.name in _VARIANTS:
        rules[rule.name] = {"label": _VARIANTS[rule.name]}
    rules[rule.name] |= {"hyper": dict(rule.hyper), "rate": float(schedule.learning_rate)}
    settings |= {
        "rule": rule.name,
        "weightDecay": optimizer.weight_decay,
        "clipValue": optimizer.clip_value,
        "clipNorm": optimizer.clip_norm,
        "rateFactors": list(optimizer.rate_factors(layout)),
    }
    if isinstance(optimizer, GradientDescent) and rows:
        settings["batchSize"] = rows
    if settings["rateFactors"]:
        settings["notes"].append("The learning rates of some parameters have the factors of the last training.")
    if type(schedule) not in SCHEDULES.values():
        settings["notes"].append(
            f"The learning rate followed {type(schedule).__name__}, a schedule that the page does not know; here it is "
            "constant."
        )
    elif not isinstance(schedule, Constant):
        settings["schedule"] = _from_the_beginning(schedule)
        settings["notes"].append("The schedule of the learning rate begins again, as with fit.")
    return settings


def _from_the_beginning(schedule: Schedule) -> dict[str, Any]:
    fields = [field.name for field in dataclasses.fields(schedule)]
    fresh = dataclasses.replace(schedule, **{name: value for name, value in _STATE.items() if name in fields})
    values = dataclasses.asdict(fresh)
    name = next(name for name, cls in SCHEDULES.items() if cls is type(schedule))
    shown = [f"{field}={values[field]:g}" for field in fields if field not in ("learning_rate", *_STATE)]
    # JSON has no infinity
    settings = {field: "Infinity" if value == math.inf else value for field, value in values.items()}
    return {"name": name, "label": f"{name} ({', '.join(shown)})" if shown else name, "settings": settings}
