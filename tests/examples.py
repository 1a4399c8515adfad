"""Find and run the examples in the README and in the documentation.

A page is a Markdown file.  Its blocks run in order, in one namespace and one folder:

- ``python``: the code runs.
- ``pycon``: the code runs, and its output is compared with the output shown, as in a doctest.
- ``console``: lines that begin with ``$`` run, if the command is ``mlp`` or ``python``; the following lines are
  compared with the output.  Numbers may differ by 1 %, as they do between processors; ``...`` matches the rest of a
  line, or any number of lines.  For a command that fails, the page must show the error.
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
import unittest.mock
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
    r"onnx": "onnxruntime",
    r"dask": "distributed",
    r"mlp tune|mlp\.tune|digits\.toml": "optuna",
    r"lr-find .*--output": "matplotlib",
    r"TensorBoard": "tensorboard",
    r"MLflow": "mlflow",
}
"""Patterns in a block, and the library that the block then needs."""


@dataclass(frozen=True)
class Block:
    """A fenced block of code."""

    page: str
    line: int
    language: str
    text: str

    @property
    def runs(self) -> bool:
        """Whether the block contains code or commands to run."""
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
        """A library that the block needs but that is not installed."""
        needed = [name for pattern, name in LIBRARIES.items() if re.search(pattern, self.text)]
        return next((name for name in needed if importlib.util.find_spec(name) is None), None)


def blocks(path: Path, text: str | None = None) -> list[Block]:
    """The fenced blocks of a page, or of a part of it."""
    page_text = path.read_text(encoding="utf-8")
    text = page_text if text is None else text
    lines_before = page_text[: page_text.index(text)].count("\n")
    return [
        Block(path.name, lines_before + text[: match.start()].count("\n") + 2, match[1], match[2])
        for match in re.finditer(r"^```(\w+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    ]


def run(
    page_blocks: list[Block], folder: Path, mnist: Path | None, namespace: dict[str, Any] | None = None
) -> list[str]:
    """Run blocks in order, with `folder` as the current folder; return the reasons for skipped blocks."""
    namespace, skipped = {"__name__": "__main__"} if namespace is None else namespace, []
    variables = {} if mnist is None else {"MLP_DATA": str(mnist)}
    with unittest.mock.patch.dict(os.environ, variables):
        for block in page_blocks:
            if block.needs_mnist and mnist is None:
                skipped.append(f"line {block.line}: no MNIST files; set MLP_DATA to the folder that has them")
            elif block.runs and block.missing:
                skipped.append(f"line {block.line}: {block.missing} is not installed")
            elif block.language == "python":
                code = "\n" * (block.line - 1) + block.text
                exec(compile(code, block.page, "exec"), namespace)
            elif block.language == "pycon":
                run_session(block, namespace)
            elif block.language == "console" and block.runs:
                run_commands(block, folder)
            else:
                check_commands(block)
    return skipped


def run_session(block: Block, namespace: dict[str, Any]) -> None:
    """Run an interactive session, and compare its output."""
    test = doctest.DocTestParser().get_doctest(block.text, namespace, block.page, block.page, block.line - 1)
    report: list[str] = []
    results = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test, out=report.append, clear_globs=False)
    namespace.update(test.globs)
    assert not results.failed, "".join(report)


def run_commands(block: Block, folder: Path) -> None:
    """Run the commands of a block, and compare their output."""
    environment = os.environ | {"PYTHONIOENCODING": "utf-8", "COLUMNS": "120", "PYTHONPATH": str(ROOT)}
    for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
        command, _, shown = part.partition("\n")
        words = shlex.split(command, comments=True)
        settings = {}
        while "=" in words[0]:
            name, _, value = words.pop(0).partition("=")
            settings[name] = value
        programs = {"mlp": [sys.executable, "-m", "mlp"], "python": [sys.executable]}
        assert words[0] in programs, f"{block.page}, line {block.line}: {command!r} cannot run; use a block of type sh"
        process = subprocess.run(
            [*programs[words[0]], *words[1:]],
            cwd=folder, env=environment | settings, capture_output=True, text=True, encoding="utf-8", timeout=300,
        )  # fmt: skip
        if shown.startswith("mlp: error:"):
            assert process.returncode in (1, 2), f"{command!r} exits with {process.returncode}"
            assert_matches(process.stderr.splitlines(), shown.splitlines())
        else:
            assert process.returncode == 0, f"{command!r}: {process.stderr}"
            assert_matches(process.stdout.splitlines(), shown.splitlines())


def check_commands(block: Block) -> None:
    """Parse the ``mlp`` commands of a block that does not run; fail on unknown options."""
    if block.language not in ("sh", "console"):
        return
    from mlp.cli import cli

    for line in block.text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if words[:1] != ["mlp"]:
            continue
        command = cli.commands[words[1]]
        if "--config" in words and any("--config" in parameter.opts for parameter in command.params):
            place = words.index("--config")  # the file would be read
            del words[place : place + 2]
        command.make_context(words[1], words[2:])


def assert_matches(lines: Any, shown: list[str]) -> None:
    """Compare output lines with the lines that a page shows."""
    lines = iter(lines)
    for expected, before in zip(shown, [None, *shown], strict=False):
        if expected.strip() == "...":
            continue
        if before is not None and before.strip() == "...":
            actual = next((line for line in lines if lines_match(line, expected)), None)
        else:
            actual = next(lines, None)
        assert actual is not None, f"missing line: {expected}"
        assert lines_match(actual, expected), f"actual line: {actual}\nexpected: {expected}"
    if shown[-1:] != ["..."]:
        assert list(lines) == []


def lines_match(actual: str, shown: str) -> bool:
    """Whether two lines are equal, except for the last digits of numbers."""
    for word, shown_word in zip_longest(actual.split(), shown.split()):
        if shown_word == "...":
            return True
        if word != shown_word and not are_close_numbers(word, shown_word):
            return False
    return True


def are_close_numbers(actual: str | None, shown: str | None) -> bool:
    """Whether two words are numbers that differ by at most 1 %."""
    try:
        a, b = (float(text.strip("[](),%").replace(",", "")) for text in (actual, shown))
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
