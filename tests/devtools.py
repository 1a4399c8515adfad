"""Headless Chromium, driven over the pipe of its DevTools protocol: no driver and no further package is needed."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PROGRAM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
SECONDS = 40
AXE = os.environ.get("MLP_AXE") or str(Path(__file__).resolve().parents[1] / ".cache/node_modules/axe-core/axe.min.js")
NO_AXE = "axe is not here: npm install --prefix .cache axe-core, or MLP_AXE=path/of/axe.min.js"


class Browser:
    """One page of a browser.

    Attributes
    ----------
    console : list of str
        Messages of the console that are warnings or errors, uncaught exceptions, and violations of the page's policy.
    requested : list of str
        Addresses that the page asked for.
    """

    def __init__(self, to_browser: int, from_browser: int) -> None:
        self._to, self._from = to_browser, from_browser
        self._number, self._received = 0, b""
        self._session: str | None = None
        self._loaded = False
        self.console: list[str] = []
        self.requested: list[str] = []
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **parameters: Any) -> Any:
        """Send a command, and return its result."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        end = time.monotonic() + SECONDS
        while True:
            answer = self._receive(end)
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]

    def _receive(self, end: float) -> dict[str, Any]:
        while b"\0" not in self._received:
            if not select.select([self._from], [], [], max(0.0, end - time.monotonic()))[0]:
                raise TimeoutError(f"no answer from the browser after {SECONDS} s")
            part = os.read(self._from, 2**20)
            if not part:
                raise RuntimeError("the browser has ended")
            self._received += part
        text, _, self._received = self._received.partition(b"\0")
        message: dict[str, Any] = json.loads(text)
        self._note(message.get("method", ""), message.get("params", {}))
        return message

    def _note(self, method: str, event: dict[str, Any]) -> None:
        if method == "Page.loadEventFired":
            self._loaded = True
        elif method == "Runtime.exceptionThrown":
            self.console.append(str(event["exceptionDetails"].get("exception", event["exceptionDetails"])))
        elif method == "Runtime.consoleAPICalled" and event["type"] in ("error", "warning", "assert"):
            self.console.append(str([argument.get("value") for argument in event["args"]]))
        elif method == "Log.entryAdded" and event["entry"]["level"] in ("error", "warning"):
            self.console.append(event["entry"]["text"])
        elif method == "Network.requestWillBeSent":
            self.requested.append(event["request"]["url"])

    def open(
        self, path: Path, width: int = 1280, *, height: int = 900, scale: float = 1, dark: bool = False,
        calm: bool = False, features: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        """Open a file, with networking off; see `show_at` for the arguments."""
        self.console.clear()
        self.requested.clear()
        self._loaded = False
        self.send("Network.emulateNetworkConditions", offline=True, latency=0, downloadThroughput=0, uploadThroughput=0)
        wanted = {"prefers-reduced-motion": "reduce"} if calm else {}
        self.show_at(width, height=height, scale=scale, dark=dark, features=wanted | dict(features or {}))
        self.send("Page.navigate", url=path.resolve().as_uri())
        end = time.monotonic() + SECONDS
        while not self._loaded:
            self._receive(end)

    def show_at(
        self, width: int, *, height: int = 900, scale: float = 1, dark: bool = False,
        features: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        """Give the window a size, and the user's settings.

        A pixel of CSS is `scale` pixels of the screen. `features` are those of CSS's media queries, such as
        ``{"forced-colors": "active"}``; the others have their defaults.
        """
        screen = {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": width < 600 and scale == 1}
        self.send("Emulation.setDeviceMetricsOverride", **screen)
        wanted = {"prefers-color-scheme": "dark" if dark else "light", **dict(features or {})}
        self.send("Emulation.setEmulatedMedia", features=[{"name": k, "value": v} for k, v in wanted.items()])

    def violations(self) -> list[Any]:
        """What axe finds on the page as it is: the rule, and the elements that break it."""
        if not self.run("'axe' in globalThis"):
            self.run(Path(AXE).read_text(encoding="utf-8") + ";0")
        return self.run(  # type: ignore[no-any-return]
            "axe.run().then(({ violations }) => violations.map("
            "(v) => [v.id, v.nodes.map((n) => [n.html.slice(0, 300), n.failureSummary])]))"
        )

    def run(self, expression: str) -> Any:
        """The value of an expression of JavaScript; a promise is awaited."""
        answer = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(str(answer["exceptionDetails"].get("exception", answer["exceptionDetails"])))
        return answer["result"].get("value")

    def pointer(self, kind: str, x: float, y: float) -> None:
        """A pointer event of the mouse: ``"mousePressed"``, ``"mouseMoved"`` or ``"mouseReleased"``."""
        held = 0 if kind == "mouseReleased" else 1
        button = "left" if kind != "mouseMoved" else "none"
        self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button=button, buttons=held, clickCount=1)

    def touch(self, kind: str, *place: float) -> None:
        """An event of a finger: ``"touchStart"``, ``"touchMove"`` or ``"touchEnd"``."""
        points = [dict(zip("xy", place, strict=True))] if place else []
        self.send("Input.dispatchTouchEvent", type=kind, touchPoints=points)

    def key(self, name: str, code: int, text: str = "", modifiers: int = 0) -> None:
        """Press and release a key."""
        pressed = {"key": name, "windowsVirtualKeyCode": code, "text": text, "modifiers": modifiers}
        self.send("Input.dispatchKeyEvent", type="keyDown", **{k: v for k, v in pressed.items() if v})
        self.send("Input.dispatchKeyEvent", type="keyUp", key=name, windowsVirtualKeyCode=code)

    def screenshot(self, path: Path) -> None:
        """Write a picture of the whole page as PNG."""
        path.write_bytes(self.picture())

    def picture(self, selector: str = "") -> bytes:
        """A picture of the whole page as PNG, or of the first element that `selector` gives."""
        clip = {}
        if selector:
            box = f"document.querySelector({json.dumps(selector)}).getBoundingClientRect()"
            x, y, width, height = self.run(
                f"(({{ x, y, width, height }}) => [x + scrollX, y + scrollY, width, height])({box})"
            )
            clip = {"clip": {"x": x, "y": y, "width": width, "height": height, "scale": 1}}
        data = self.send("Page.captureScreenshot", format="png", captureBeyondViewport=True, **clip)["data"]
        return base64.b64decode(data)


@contextmanager
def browser() -> Iterator[Browser]:
    """Start Chromium, and end it."""
    assert PROGRAM is not None
    read_commands, to_browser = os.pipe()
    from_browser, write_answers = os.pipe()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [
            PROGRAM, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run",
            "--disable-dev-shm-usage", "--remote-debugging-pipe", f"--user-data-dir={profile}",
        ]  # fmt: skip
        # Chromium reads commands from file 3 and writes answers to file 4
        shell = f'exec 3<&{read_commands} 4>&{write_answers}; exec "$@"'
        process = subprocess.Popen(
            ["bash", "-c", shell, "chromium", *command], pass_fds=(read_commands, write_answers),
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(read_commands)
        os.close(write_answers)
        try:
            yield Browser(to_browser, from_browser)
        finally:
            os.close(to_browser)
            os.close(from_browser)
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
