"""Write standard JSON."""

from __future__ import annotations

import json
import math
import os
from typing import Any

from mlp.io.atomic_write import write_atomically


def write_json(path: str | os.PathLike[str], document: dict[str, Any]) -> None:
    """Write a JSON file atomically."""
    write_atomically(path, (to_json(document) + "\n").encode())


def to_json(document: Any) -> str:
    """Convert to standard JSON: in ASCII, with null for NaN and infinity.

    Examples
    --------
    >>> print(to_json({"loss": [0.5, float("nan")]}))
    {
      "loss": [
        0.5,
        null
      ]
    }
    """
    return json.dumps(_finite(document), indent=2, allow_nan=False, default=str)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
