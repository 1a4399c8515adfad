"""All activations, losses and update rules as functions of JavaScript, translated from `backends.formulas`."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from mlp._backends import formulas
from mlp.io.exports.js_formulas import ERFC, JavaScript

RULES = ("sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adam")
"""The update rules that a page has."""


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
            "formula": _Name(translator.add(formulas.RULES[name].formula)),
            "state": list(formulas.RULES[name].state),
        }
        for name in RULES
    }
    table = {"activations": activations, "losses": losses, "fused": fused, "rules": rules}
    return (
        f"// The formulas of mlp, translated from Python.\n\nconst FORMULAS = (() => {{\n{ERFC}\n{translator.text()}\n"
        f"return {_object(table)};\n}})();\n"
    )


class _Name(str):
    """The name of a function."""


def _object(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)}: {_object(entry)}" for key, entry in value.items()) + "}"
    return str(value) if isinstance(value, _Name) else json.dumps(value)
