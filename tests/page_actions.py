"""What a reader does on the page of a network in a browser, and what the page shows then."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

from devtools import Browser

import mlp


def shown(page: Browser, selector: str) -> str:
    return str(page.run(f"document.querySelector({json.dumps(selector)}).textContent"))


def cells(page: Browser, caption: str) -> list[list[str]]:
    """The texts of the table with a caption, after its header."""
    rows = (
        f"""[...document.querySelectorAll("table")].find((e) => e.caption.textContent === {json.dumps(caption)}).rows"""
    )
    found = page.run(f"[...{rows}].slice(1).map((row) => [...row.cells].map((cell) => cell.textContent))")
    assert found
    return found  # type: ignore[no-any-return]


def numbers(row: list[str]) -> list[float]:
    return [float(text.replace("−", "-").replace(" %", "e-2")) for text in row]


def control(label: str) -> str:
    """The control of a label, as an expression."""
    return f"[...document.querySelectorAll('label')].find((e) => e.textContent === {json.dumps(label)}).control"


def choose(page: Browser, label: str, value: str) -> None:
    page.run(f"{control(label)}.value = {json.dumps(value)}")
    page.run(f"{control(label)}.dispatchEvent(new Event('change'))")


def pixels(page: Browser, selector: str = ".plane") -> str:
    return str(page.run(f"document.querySelector({json.dumps(selector)}).toDataURL()"))


def box_of(page: Browser, selector: str) -> list[float]:
    """Left, top and width of an element in the window, into which it is scrolled."""
    page.run(f"document.querySelector({json.dumps(selector)}).scrollIntoView({{ block: 'center' }})")
    box = f"document.querySelector({json.dumps(selector)}).getBoundingClientRect()"
    return page.run(f"(({{ left, top, width }}) => [left, top, width])({box})")  # type: ignore[no-any-return]


def click(page: Browser, text: str) -> None:
    """Press the button with a text."""
    page.run(f"[...document.querySelectorAll('button')].find((e) => e.textContent === {json.dumps(text)}).click()")


def fill(page: Browser, label: str, value: str) -> None:
    """Write into the field with a label."""
    choose(page, label, value)


def wait_until(page: Browser, holds: Callable[[], bool], seconds: float = 30) -> None:
    """Wait for something that the page does later."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, (shown(page, ".state"), page.console)
        time.sleep(0.05)


def saved(page: Browser, folder: Path) -> mlp.MLP:
    """The network that the page saves as a file."""
    page.send("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder))
    click(page, "Save the weights")
    path = folder / "network.safetensors"
    wait_until(page, path.exists)
    time.sleep(0.1)
    return mlp.load(path, backend="numpy")
