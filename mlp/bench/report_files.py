"""Files of reports in JSON, of training and of predictions."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import fields
from os import PathLike
from pathlib import Path
from typing import Any

from mlp._backends import FileFormatError
from mlp.io.atomic_write import write_atomically
from mlp.io.json_documents import to_json


def write(path: str | PathLike[str], document: dict[str, Any]) -> None:
    """Write the document of a report atomically."""
    write_atomically(path, (to_json(document) + "\n").encode())


@contextlib.contextmanager
def reading(path: str | PathLike[str], command: str) -> Iterator[Any]:
    """Read a file, and tell errors in it and in the block, which reads the document, by the file.

    Parameters
    ----------
    path : path-like
    command : str
        What writes such files.

    Raises
    ------
    FileFormatError
        If there is no such file, or it has another content.
    """
    try:
        yield json.loads(Path(path).read_bytes())
    except FileNotFoundError:
        raise FileFormatError(f"there is no file {str(path)!r}; check the spelling and the current folder") from None
    except (KeyError, TypeError, AttributeError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise FileFormatError(
            f"{str(path)!r} was not written by `{command}` ({type(error).__name__}: {error})."
        ) from error


def fields_of(kind: type, values: dict[str, Any]) -> dict[str, Any]:
    """The values that are fields of a dataclass, without the computed ones."""
    return {field.name: values[field.name] for field in fields(kind)}
