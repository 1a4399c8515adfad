"""`bind`: run the formulas on the arrays of another library."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import FunctionType
from typing import Any

from backends.errors import ConfigurationError
from backends.formulas import activations, elementary, losses, update_rules
from backends.formulas.elementary import NAMES, ROW_NAMES

_MODULES = (elementary, activations, losses, update_rules)


def bind(namespace: Mapping[str, Callable[..., Any]]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return a function that re-creates a formula on other elementary functions.

    Parameters
    ----------
    namespace : mapping
        A function for each name of `NAMES` and `ROW_NAMES`.

    Returns
    -------
    callable
        ``rebind(formula) -> formula``, the same code looking its names up in `namespace`; formulas that call
        each other stay together.

    Examples
    --------
    >>> import numpy as np
    >>> shout = dict.fromkeys(NAMES + ROW_NAMES, lambda *a: "called")
    >>> bind(shout)(hyperbolic_tangent)(np.zeros(3))
    'called'
    """
    missing = [name for name in NAMES + ROW_NAMES if name not in namespace]
    if missing:
        raise ConfigurationError(f"a namespace for formulas needs {', '.join(missing)} as well.")
    names: dict[str, Any] = {}
    for module in _MODULES:
        names |= {key: value for key, value in vars(module).items() if not key.startswith("__")}
    names |= {name: namespace[name] for name in NAMES + ROW_NAMES}

    sources = {module.__name__ for module in _MODULES}

    def rebind(formula: Callable[..., Any]) -> Callable[..., Any]:
        if not isinstance(formula, FunctionType) or formula.__module__ not in sources:
            return formula  # a user's own function: it is handed its backend instead
        return FunctionType(formula.__code__, names, formula.__name__, formula.__defaults__)

    for key, value in list(names.items()):
        if isinstance(value, FunctionType) and key not in namespace:
            names[key] = rebind(value)
    return rebind
