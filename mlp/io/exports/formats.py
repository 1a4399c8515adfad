"""`export`: write a network in the format that the suffix of a file names."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from mlp._backends import ConfigurationError, UnknownNameError, formulas
from mlp.io.atomic_write import write_atomically
from mlp.io.exports.c import to_c
from mlp.io.exports.check_rows import CheckRows
from mlp.io.exports.js import to_js
from mlp.io.exports.model import Model
from mlp.io.exports.python import to_python
from mlp.io.exports.self_tests import NotTested, run_c, run_js, run_python
from mlp.network import FeedForward

logger = logging.getLogger("mlp")


@dataclass(frozen=True)
class _Program:
    """A format: how its text is written and tested, and the command that tests it."""

    write: Callable[[Model, CheckRows, Path], str]
    test: Callable[[str, str], None]
    command: str

    def __call__(self, net: FeedForward, path: Path) -> str:
        model = Model.of(net)
        checks = CheckRows.draw(net, model)
        try:
            text = self.write(model, checks, path)
        except (OSError, formulas.TranslationError) as error:
            raise ConfigurationError(
                f"the formulas of the activations are translated from their Python source, which this installation "
                f"lacks: {error}. Export where mlp is installed with its .py files."
            ) from error
        command = self.command.format(path.name)
        try:
            self.test(text, path.name)
        except NotTested as reason:
            logger.warning("%s is not tested, because %s; run: %s", path.name, reason, command)
            result = "not tested"
        else:
            result = f"tested with: {command}"
        write_atomically(path, text.encode())
        return result


FORMATS: Mapping[str, Callable[[FeedForward, Path], str]] = MappingProxyType(
    {
        ".c": _Program(to_c, run_c, "cc -DSELF_TEST {} -lm && ./a.out"),
        ".js": _Program(to_js, run_js, "node {}"),
        ".py": _Program(to_python, run_python, "python {}"),
    }
)
"""For each suffix a function that writes a network to a file, and returns in a few words how the file was tested."""


def export(net: FeedForward, path: str | os.PathLike[str]) -> str:
    """Write a network to a file, and return how the file was tested; see `MLP.export`."""
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        raise UnknownNameError.among("format of an export", path.suffix or path.name, FORMATS)
    return FORMATS[suffix](net, path)
