"""The examples of the README and of the documentation: find them in a page, and run them.

A page is a Markdown file.  Its blocks run in order, in one namespace and one folder:

- ``python``: the code runs.
- ``pycon``: the code runs, and what it prints is compared with what is shown, as in a doctest.
- ``console``: lines that begin with ``$`` run, ``mlp`` and ``python`` alone; the lines below are compared with their
  output.  Numbers may differ by a hundredth, as they do between processors; ``...`` stands for the rest of a line, or
  for any number of lines.  A command that fails must show its error.
- ``sh``, and ``console`` without ``$``: nothing runs, but the options of every ``mlp`` command must exist.
"""

from __future__ import annotations

import doctest
import importlib.util
import math
import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
README = ROOT / "README.md"
PAGES = [path for path in sorted(DOCS.rglob("*.md")) if not {"_build", "generated"} & set(path.relative_to(DOCS).parts)]

LIBRARIES = {
    r"\btorch\b": "torch",
    r"mlp (plot|report)|plots\.|matplotlib": "matplotlib",
    r"\.csv|\.parquet": "polars",
}
"""What a block needs, by what it mentions."""


@dataclass(frozen=True)
class Block:
    """A fenced block of code."""

    page: str
    line: int
    language: str
    text: str

    @property
    def runs(self) -> bool:
        """Whether there is anything to run."""
        return self.language in ("python", "pycon") or (self.language == "console" and self._commands is not None)

    @property
    def _commands(self) -> list[str] | None:
        return re.findall(r"^\$ (.*)", self.text, re.MULTILINE) or None

    @property
    def needs_mnist(self) -> bool:
        return self.runs and bool(
            re.search(r"load\(\"mnist\"|^(>>> )?mnist\.|train mnist|runs/mnist", self.text, re.MULTILINE)
        )

    @property
    def missing(self) -> str | None:
        """A library that the block needs and that is not installed."""
        needed = [name for pattern, name in LIBRARIES.items() if re.search(pattern, self.text)]
        return next((name for name in needed if importlib.util.find_spec(name) is None), None)


def blocks(path: Path, text: str | None = None) -> list[Block]:
    """The fenced blocks of a page, or of a part of it."""
    whole = path.read_text(encoding="utf-8")
    text = whole if text is None else text
    above = whole[: whole.index(text)].count("\n")
    return [
        Block(path.name, above + text[: found.start()].count("\n") + 2, found[1], found[2])
        for found in re.finditer(r"^```(\w+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    ]


def run(found: list[Block], folder: Path, mnist: Path | None, namespace: dict[str, Any] | None = None) -> list[str]:
    """Run blocks in order, from `folder`, which is the current one; says of what could not run why."""
    namespace, left_out = {"__name__": "__main__"} if namespace is None else namespace, []
    for block in found:
        if block.needs_mnist and mnist is None:
            left_out.append(f"line {block.line}: no MNIST files; set MLP_DATA to the folder that has them")
        elif block.runs and block.missing:
            left_out.append(f"line {block.line}: {block.missing} is not installed")
        elif block.language == "python":
            code = "\n" * (block.line - 1) + block.text
            exec(compile(code, block.page, "exec"), namespace)
        elif block.language == "pycon":
            run_session(block, namespace)
        elif block.language == "console" and block.runs:
            run_commands(block, folder, mnist)
        else:
            check_commands(block)
    return left_out


def run_session(block: Block, namespace: dict[str, Any]) -> None:
    """Type a session into Python, and compare what it says."""
    test = doctest.DocTestParser().get_doctest(block.text, namespace, block.page, block.page, block.line - 1)
    said: list[str] = []
    results = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test, out=said.append, clear_globs=False)
    namespace.update(test.globs)
    assert not results.failed, "".join(said)


def run_commands(block: Block, folder: Path, mnist: Path | None) -> None:
    """Run the commands of a block, and compare their output."""
    environment = os.environ | {"PYTHONIOENCODING": "utf-8", "COLUMNS": "120", "PYTHONPATH": str(ROOT)}
    if mnist is not None:
        environment["MLP_DATA"] = str(mnist)
    for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
        command, _, shown = part.partition("\n")
        words = shlex.split(command, comments=True)
        settings = {}
        while "=" in words[0]:
            name, _, value = words.pop(0).partition("=")
            settings[name] = value
        programs = {"mlp": [sys.executable, "-m", "mlp"], "python": [sys.executable]}
        assert words[0] in programs, f"{block.page}, line {block.line}: {command!r} is not run; put it in a block of sh"
        found = subprocess.run(
            [*programs[words[0]], *words[1:]],
            cwd=folder, env=environment | settings, capture_output=True, text=True, encoding="utf-8", timeout=300,
        )  # fmt: skip
        if shown.startswith("mlp: error:"):
            assert found.returncode == 1, f"{command!r} exits with {found.returncode}"
            assert_shown(found.stderr.splitlines(), shown.splitlines())
        else:
            assert found.returncode == 0, f"{command!r}: {found.stderr}"
            assert_shown(found.stdout.splitlines(), shown.splitlines())


def check_commands(block: Block) -> None:
    """Whether the ``mlp`` commands of a block that does not run have the options they are given."""
    if block.language not in ("sh", "console"):
        return
    from mlp.cli import cli

    for line in block.text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if words[:1] != ["mlp"]:
            continue
        command = cli.commands[words[1]]
        command.make_context(words[1], words[2:])


def assert_shown(lines: Any, shown: list[str]) -> None:
    """Whether output is what a page shows of it."""
    lines = iter(lines)
    for expected, before in zip(shown, [None, *shown], strict=False):
        if expected.strip() == "...":
            continue
        if before is not None and before.strip() == "...":
            found = next((line for line in lines if alike(line, expected)), None)
        else:
            found = next(lines, None)
        assert found is not None, f"this never comes: {expected}"
        assert alike(found, expected), f"this comes: {found}\nand not: {expected}"
    if shown[-1:] != ["..."]:
        assert list(lines) == []


def alike(found: str, shown: str) -> bool:
    """Whether a line is the one that is shown, but for the last digits of its numbers."""
    for mine, its in zip_longest(found.split(), shown.split()):
        if its == "...":
            return True
        if mine != its and not close(mine, its):
            return False
    return True


def close(found: str | None, shown: str | None) -> bool:
    """Whether two words are numbers within a hundredth of each other."""
    try:
        a, b = (float(text.strip("[](),%").replace(",", "")) for text in (found, shown))
    except (AttributeError, ValueError):
        return False
    return math.isclose(a, b, rel_tol=0.01)


def table(text: str, mark: str) -> list[str]:
    """The lines of the Markdown table between ``<!-- mark -->`` and ``<!-- /mark -->``."""
    [inside] = re.findall(rf"^<!-- {mark} -->\n(.*?)^<!-- /{mark} -->", text, re.MULTILINE | re.DOTALL)
    return [line for line in inside.splitlines() if line.strip()]


def links(text: str) -> list[str]:
    """The relative targets of the links and images of a page."""
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    return [target for target in re.findall(r"\]\(([^)\s]+)\)", prose) if not re.match(r"\w+:|#", target)]
