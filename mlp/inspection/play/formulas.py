"""All activations, losses, update rules and schedules as functions of JavaScript, translated from Python."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from mlp._backends import formulas
from mlp.inspection.play.scalar_functions import FLOOR_DIVIDE, scalar_function
from mlp.io.exports.js_formulas import ERFC, JavaScript
from mlp.schedules import SCHEDULES, Schedule


@cache
def javascript() -> str:
    """The constant ``FORMULAS`` with the functions and what is to be known of them.

    Examples
    --------
    >>> "maximum" in javascript(), "Math.max(z, 0)" in javascript()
    (False, True)
    """
    translator = formulas.Translator(JavaScript())
    activations = {
        row.name: {
            "forward": _Name(translator.add(row.forward, row.rowwise)),
            "backward": None if row.backward is None else _Name(translator.add(row.backward, row.rowwise)),
            "saves": row.saves,
            "rowwise": row.rowwise,
        }
        for row in formulas.ACTIVATIONS.values()
    }
    losses = {
        row.name: {
            "formula": None if row.formula is None else _Name(translator.add(row.formula)),
            "meanOverOutputs": row.mean_over_outputs,
        }
        for row in formulas.LOSSES.values()
    }
    fused = {
        f"{output}+{loss}": _Name(translator.add(function, formulas.ACTIVATIONS[output].rowwise))
        for (output, loss), function in formulas.FUSED.items()
        if loss in formulas.LOSSES
    }
    rules = {
        name: {
            "formula": _Name(translator.add(row.formula)),
            "state": list(row.state),
            "scalars": _Name(f"scalars_of_{name}"),
        }
        for name, row in formulas.RULES.items()
    }
    schedules = {
        name: {
            "rate": _Name(f"rate_of_{name}"),
            "observe": _Name(f"observe_of_{name}") if _observes(schedule) else None,
        }
        for name, schedule in SCHEDULES.items()
    }
    functions = [
        FLOOR_DIVIDE,
        *(scalar_function(row.scalars, f"scalars_of_{name}") for name, row in formulas.RULES.items()),
        *(scalar_function(schedule.__call__, f"rate_of_{name}") for name, schedule in SCHEDULES.items()),
        *(scalar_function(one.observe, f"observe_of_{name}") for name, one in SCHEDULES.items() if _observes(one)),
    ]
    table = {"activations": activations, "losses": losses, "fused": fused, "rules": rules, "schedules": schedules}
    return (
        f"// The formulas of mlp, translated from Python.\n\nconst FORMULAS = (() => {{\n{ERFC}\n{translator.text()}\n"
        + "\n".join(functions)
        + f"\nreturn {_object(table)};\n}})();\n"
    )


def _observes(schedule: type[Schedule]) -> bool:
    return schedule.observe is not Schedule.observe


class _Name(str):
    """The name of a function."""


def _object(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)}: {_object(entry)}" for key, entry in value.items()) + "}"
    return str(value) if isinstance(value, _Name) else json.dumps(value)
