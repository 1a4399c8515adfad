"""Compile and run the self-test of an exported program, before the program is written to its place."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from mlp._backends import MLPError
from mlp.checks import shortened

COMPILERS = ("cc", "gcc", "clang")
NODE_VERSION = (20, 19)
"""The first version of Node that runs an ES module from a file that ends in ``.js``."""

_SMALLEST_C = """\
#include <math.h>
#include <stdio.h>
int main(void) { return 0; }
"""

_SECONDS = 600


class ExportError(MLPError, RuntimeError):
    """An exported program does not compute what the network computes, so it was not written."""


class NotTested(Exception):
    """The program that is needed for a self-test is not at hand; the message says which."""


def run_c(text: str, name: str) -> None:
    """Compile and run a C program.

    Raises
    ------
    ExportError
        If that fails.
    NotTested
        If there is no C compiler that works.
    """
    compiler = next(filter(None, map(shutil.which, COMPILERS)), None)
    if compiler is None:
        raise NotTested(f"there is no C compiler ({', '.join(COMPILERS)}) on the PATH")
    with tempfile.TemporaryDirectory() as folder:
        program = str(Path(folder, "net.exe"))
        build = [compiler, "-std=c99", "-DSELF_TEST", "-o", program]
        Path(folder, "smallest.c").write_text(_SMALLEST_C, encoding="utf-8")
        try:
            _run([*build, "smallest.c", "-lm"], folder, name)
            _run([program], folder, name)
        except ExportError as error:
            raise NotTested(f"{compiler} cannot compile the smallest program") from error
        Path(folder, "net.c").write_text(text, encoding="utf-8")
        _run([*build, "net.c", "-lm"], folder, name)
        _run([program], folder, name)


def run_js(text: str, name: str) -> None:
    """Run an ES module with Node.

    Raises
    ------
    ExportError
        If that fails.
    NotTested
        If there is no Node, or it is too old.
    """
    node = shutil.which("node")
    if node is None:
        raise NotTested("there is no Node (node) on the PATH")
    needed = ".".join(map(str, NODE_VERSION))
    with tempfile.TemporaryDirectory() as folder:
        version = _run([node, "--version"], folder, name)
        numbers = re.match(r"v(\d+)\.(\d+)", version)
        if numbers is None or tuple(map(int, numbers.groups())) < NODE_VERSION:
            raise NotTested(f"Node {version.strip()} is too old, {needed} is needed")
        Path(folder, "net.js").write_text(text, encoding="utf-8")
        _run([node, "net.js"], folder, name)


def run_python(text: str, name: str) -> None:
    """Run a Python module, with the interpreter of this process.

    Raises
    ------
    ExportError
        If that fails.
    NotTested
        If this process has no interpreter of its own.
    """
    if not sys.executable:
        raise NotTested("the Python interpreter is part of another program")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, name).write_text(text, encoding="utf-8")
        _run([sys.executable, name], folder, name)


def _run(command: Sequence[str], folder: str, name: str) -> str:
    """Run a command and return what it prints, or raise `ExportError`."""
    environment = os.environ | {"PYTHONIOENCODING": "utf-8"}
    try:
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, encoding="utf-8", errors="replace",
            timeout=_SECONDS, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise ExportError(f"{name!r} was not written: its self-test took more than {_SECONDS} seconds.") from error
    if done.returncode:
        said = shortened(done.stderr.strip() or done.stdout.strip() or "nothing printed", 400)
        raise ExportError(
            f"{name!r} was not written, because its self-test failed: {Path(command[0]).name} ended with status "
            f"{done.returncode} ({said}). If other programs compile and run on this machine, please report this as a "
            "bug of mlp."
        )
    return done.stdout
