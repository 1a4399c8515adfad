"""The parts of a data set in a folder, in natural order of their names."""

from __future__ import annotations

import os
import re
from pathlib import Path

from mlp._backends import FileFormatError
from mlp.checks import shortened

_DIGITS = re.compile(r"(\d+)")


def list_parts(folder: str | os.PathLike[str], suffixes: tuple[str, ...]) -> tuple[str, list[str]]:
    """Return the suffix and the paths of the files in a folder that have one of these suffixes.

    Numbers in names count as numbers: ``part-2`` comes before ``part-10``.  Other files and folders, and names that
    begin with a point or an underscore, are not parts.

    Raises
    ------
    FileFormatError
        If there is no such file, or there are files of two kinds.
    """
    where = repr(os.fspath(folder))
    try:
        names = sorted((entry.name for entry in os.scandir(folder) if entry.is_file()), key=_natural)
    except OSError as error:
        raise FileFormatError(f"{where} cannot be listed: {error.strerror}; check its access rights") from error
    parts: dict[str, list[str]] = {}
    for name in names:
        suffix = Path(name).suffix.lower()
        if suffix in suffixes and name[0] not in "._":
            parts.setdefault(suffix, []).append(str(Path(folder, name)))
    if not parts:
        raise FileFormatError(
            f"{where} holds no files that end in {' or '.join(suffixes)}; name the folder of the parts of a data set"
        )
    if len(parts) > 1:
        examples = " and ".join(repr(Path(paths[0]).name) for paths in parts.values())
        raise FileFormatError(
            f"{where} holds files of several kinds, such as {shortened(examples)}; move those of one data set to a "
            "folder of their own"
        )
    return next(iter(parts.items()))


def _natural(name: str) -> list[tuple[int, str]]:
    """A key for sorting: numbers by value, and before texts."""
    pieces = _DIGITS.split(name)  # texts and numbers in turn
    return [(int(piece), piece) if i % 2 else (-1, piece) for i, piece in enumerate(pieces)]
