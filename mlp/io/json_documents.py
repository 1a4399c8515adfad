"""Read and write JSON: standard JSON is written; what is read may come from anybody, so its size is limited."""

from __future__ import annotations

import json
import math
import os
from typing import Any

from mlp._backends import FileFormatError
from mlp.checks import quoted
from mlp.data.files import open_checked
from mlp.io.atomic_write import write_atomically

# What Python makes of JSON can take 25 times the memory of the text.  So its parts are counted first: a number of them
# that is enough for most files is free, and more in proportion to the length, for long histories and many columns.
_FREE = {b"[{": 100_000, b'"': 500_000, b",": 500_000}
_BYTES_EACH = {b"[{": 64, b'"': 12, b",": 16}


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


def read_json(path: str | os.PathLike[str]) -> Any:
    """Read a JSON file, see `parse_json`.

    Raises
    ------
    FileFormatError
        If the file is missing or damaged.
    """
    with open_checked(path, "JSON") as (handle, _):
        data = handle.read()
        where = repr(os.fspath(path))
        require_moderate(data, where)
        return parse_json(data.decode(), where)


def require_moderate(text: bytes, where: str) -> None:
    """Raise `FileFormatError` if JSON has so many parts that reading it would need far more memory than the text.

    Examples
    --------
    >>> require_moderate(b"[" * 10**6, "'config.json'")
    Traceback (most recent call last):
        ...
    backends.errors.FileFormatError: 'config.json' has JSON of 1000000 bytes with 1000000 times one of '[{', but at \
most 115625 are read; it is damaged, or made to use up memory
    """
    for characters, free in _FREE.items():
        found = sum(text.count(bytes([character])) for character in characters)
        if found > (most := free + len(text) // _BYTES_EACH[characters]):
            raise FileFormatError(
                f"{where} has JSON of {len(text)} bytes with {found} times one of {characters.decode()!r}, but at most "
                f"{most} are read; it is damaged, or made to use up memory"
            )


def parse_json(text: str, where: str) -> Any:
    """Parse JSON.  NaN and infinity are allowed; a key that occurs twice in an object is not.

    Examples
    --------
    >>> parse_json('{"a": NaN, "a": 1}', "'config.json'")
    Traceback (most recent call last):
        ...
    backends.errors.FileFormatError: 'config.json' is damaged: its JSON has the key 'a' twice; write or copy it again
    """

    def without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) < len(pairs):
            seen: set[str] = set()
            twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
            raise FileFormatError(
                f"{where} is damaged: its JSON has the key {quoted(twice)} twice; write or copy it again"
            )
        return result

    try:
        return json.loads(text, object_pairs_hook=without_duplicates)
    except RecursionError:
        raise FileFormatError(f"{where} is damaged: its JSON is nested too deeply; write or copy it again") from None
