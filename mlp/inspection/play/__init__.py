"""A self-contained HTML page that runs a network in the browser.

`contents` collects what the page holds, as plain data.  The template `page.html` defines the layout, `style.css` the
look, and the files in `SCRIPTS` the program, in this order; they share one scope.  `formulas` translates the
mathematics.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from importlib import resources
from typing import Any

import numpy as np

from mlp._backends import ConfigurationError
from mlp._version import __version__
from mlp.inspection.play.contents import contents
from mlp.inspection.play.formulas import javascript
from mlp.io.atomic_write import write_atomically
from mlp.io.exports.js import COLUMN_FUNCTIONS
from mlp.network import FeedForward

LARGEST_PAGE = 32 * 10**6
"""Bytes of a page; browsers take long to open a larger one."""

CORE = (
    "slices.js", "philox.js", "initial_weights.js", "network.js", "training.js", "model.js", "strokes.js",
    "model_file.js",
)  # fmt: skip
"""The scripts that compute; they need no browser."""

SCRIPTS = (
    *CORE, "ranking.js", "elements.js", "colours.js", "outputs.js", "drawing.js", "grid.js", "chart.js", "points.js",
    "plane.js", "curve.js", "sliders.js", "neurons.js", "step_list.js", "steps.js", "loss_curve.js",
    "training_settings.js", "trainer.js", "main.js",
)  # fmt: skip
"""All scripts, in the order of the page."""

HEADINGS = {
    "image": {"try": "Draw", "sentence": "The network answers while you draw."},
    "curve": {"try": "The curve", "sentence": "The line shows what the network answers for each input."},
    "plane": {"try": "The plane", "sentence": "Colours show what the network answers at each place."},
    "columns": {"try": "What if?", "sentence": "Change a value, and see how the answer changes."},
}
"""The heading of the first section and a sentence below it, by the kind of the inputs."""


def script(names: tuple[str, ...] = SCRIPTS) -> str:
    """The program of the page, or a part of it: formulas and scripts in one text."""
    folder = resources.files("mlp.inspection.play")
    parts = [(folder / name).read_text(encoding="utf-8") for name in names]
    return "\n".join(['"use strict";', javascript(), COLUMN_FUNCTIONS, *parts])


def page(net: FeedForward, X: Any = None, y: Any = None, **settings: Any) -> str:
    """Return the HTML page about a network; see `MLP.play`.

    Parameters
    ----------
    net : MLP
    X, y : array_like, optional
        Rows that the page is to hold.
    **settings
        The other arguments of `contents`.
    """
    try:
        import jinja2
    except ImportError as error:
        raise ConfigurationError(f"a page needs {error.name}: pip install jinja2") from error
    data = contents(net, X, y, **settings)
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("mlp.inspection.play", "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    program, style = f"\n{script()}", resources.files("mlp.inspection.play").joinpath("style.css").read_text("utf-8")
    text: str = environment.get_template("page.html").render(
        title=data["title"].encode("utf-8", "replace").decode(),  # the name of a folder may be no valid text
        headings=HEADINGS[data["kind"]],
        part=data["part"],
        rows=data["rows"]["n"] if data["rows"] else 0,
        training=data["training"]["offered"],
        obstacle=data["training"]["obstacle"],
        # a "<" could end the element
        data=json.dumps(data, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c"),
        program=program,
        program_hash=_hash(program),
        style=style,
        style_hash=_hash(style),
        signature=f"Written by mlp {__version__}. This file holds everything it needs, and opens no connection.",
    )
    return text


def write(net: FeedForward, path: str | os.PathLike[str], X: Any = None, y: Any = None, **settings: Any) -> int:
    """Write the page to a file, and return its size in bytes; see `MLP.play`.

    Raises
    ------
    ConfigurationError
        If the page would be larger than `LARGEST_PAGE`.
    """
    held = net.plan.layout.n_parameters * net.dtype.itemsize + (0 if X is None else np.asarray(X).nbytes)
    _require_moderate(net, held * 4 // 3)  # in base64; before there is a text of this size
    content = page(net, X, y, **settings).encode()
    _require_moderate(net, len(content))
    write_atomically(path, content)
    return len(content)


def _require_moderate(net: FeedForward, size: int) -> None:
    if size > LARGEST_PAGE:
        raise ConfigurationError(
            f"the page would have {size / 1e6:.1f} MB, but at most {LARGEST_PAGE / 1e6:.0f} MB are allowed: "
            f"{net.plan.layout.n_parameters:,} parameters of {net.dtype} and the rows are too much for a page. Give "
            "fewer rows, or train a smaller network."
        )


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
