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
    """Return a function that binds a formula to other elementary functions.

    Parameters
    ----------
    namespace : mapping
        A function for each name of `NAMES` and `ROW_NAMES`.

    Returns
    -------
    callable
        ``rebind(formula) -> formula``: a function with the same code, whose names refer to `namespace`.  Formulas
        that it calls are bound too.

    Examples
    --------
    >>> import numpy as np
    >>> namespace = dict.fromkeys(NAMES + ROW_NAMES, lambda *a: "called")
    >>> bind(namespace)(activations.hyperbolic_tangent)(np.zeros(3))
    'called'
    """
    missing = [name for name in NAMES + ROW_NAMES if name not in namespace]
    if missing:
        raise ConfigurationError(f"the namespace for formulas lacks {', '.join(missing)}; add them.")
    names: dict[str, Any] = {}
    for module in _MODULES:
        names |= {key: value for key, value in vars(module).items() if not key.startswith("__")}
    names |= {name: namespace[name] for name in NAMES + ROW_NAMES}

    sources = {module.__name__ for module in _MODULES}

    def rebind(formula: Callable[..., Any]) -> Callable[..., Any]:
        if not isinstance(formula, FunctionType) or formula.__module__ not in sources:
            return formula  # a user-defined function, which gets the backend as an argument instead
        return FunctionType(formula.__code__, names, formula.__name__, formula.__defaults__)

    for key, value in list(names.items()):
        if isinstance(value, FunctionType) and key not in namespace:
            names[key] = rebind(value)
    return rebind
