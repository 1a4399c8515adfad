"""Settings as the text of a TOML file: keys with texts, numbers, booleans and lists of them (TOML 1.0)."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any


def to_toml(settings: Mapping[str, Any], comment: str = "") -> str:
    """The text of a TOML file with `settings`, below a comment.

    Examples
    --------
    >>> print(to_toml({"data": "digits", "hidden": [64, 32], "lr": 1e-05}, "the best trial"), end="")
    # the best trial
    data = "digits"
    hidden = [64, 32]
    lr = 1e-05
    """
    lines = [f"# {_printable(line)}".rstrip() for line in comment.splitlines()]
    lines += [f"{_key(key)} = {_value(value)}" for key, value in settings.items()]
    return "".join(f"{line}\n" for line in lines)


def _printable(line: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in line)


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _text(key)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else str(value)
    if isinstance(value, int):
        return str(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    return _text(str(value))


def _text(text: str) -> str:
    # the strings of JSON are those of TOML, but JSON may leave the character DEL as it is
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
