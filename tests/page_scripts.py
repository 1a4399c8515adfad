"""Runs the scripts of a page about a network in Node, or in a browser."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from devtools import PROGRAM, browser

from mlp.inspection import play

Engine = Callable[[str, Any], Any]

NODE = shutil.which("node")


def program(body: str, data: Any) -> str:
    """A program in which `body` sets ``result``, from ``data`` and the scripts that compute."""
    return (
        f"(async () => {{\n{play.script(play.CORE)}\nconst data = {json.dumps(data)};\nlet result;\n{body}\n"
        "const plain = (key, value) => (ArrayBuffer.isView(value) ? Array.from(value, Number) : value);\n"
        "return JSON.stringify(result, plain);\n"
        "})()"
    )


def in_node(body: str, data: Any) -> Any:
    """The result of a program in Node."""
    assert NODE is not None
    text = f"{program(body, data)}.then(console.log)"
    done = subprocess.run([NODE, "-"], input=text, capture_output=True, text=True, encoding="utf-8", timeout=60)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


def in_browser(browser: Any, body: str, data: Any) -> Any:
    """The result of a program in the page of a browser."""
    return json.loads(browser.run(program(body, data)))


@contextmanager
def engine(kind: str, folder: Path) -> Iterator[Engine]:
    """A function that returns the result of a program, in "node" or in "chromium"; the test is skipped without it."""
    if kind == "node":
        if NODE is None:
            pytest.skip("needs Node 20 or newer, node")
        yield in_node
    else:
        if PROGRAM is None:
            pytest.skip("no browser here: apt install chromium")
        blank = folder / "blank.html"
        blank.write_text("<!doctype html><title>blank</title>")
        with browser() as opened:
            opened.open(blank)
            yield lambda body, data: in_browser(opened, body, data)
