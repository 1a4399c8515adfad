"""The pages that run no program, in Chromium: reports, traces, and the tables of a notebook."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from devtools import AXE, NO_AXE, PROGRAM, Browser, browser
from report_runs import KINDS, train_each_kind

import mlp
from mlp import runs
from mlp.inspection.report import report

pytest.importorskip("matplotlib", reason="a report needs the extra plot")
pytest.importorskip("jinja2", reason="a report needs the extra plot")

NOTEBOOK = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>A notebook</title><link rel="icon" href="data:,"><meta name="color-scheme" content="light dark">
<main><h1>A notebook</h1>{}</main></html>"""
"""What stands in for a notebook: a page without a style, in the colours of the browser."""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    if PROGRAM is None:
        pytest.skip("no browser here: apt install chromium")
    with browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A report of each kind of run, traces, and what a notebook shows."""
    folder = tmp_path_factory.mktemp("static")
    trained = train_each_kind(folder)
    texts = {kind: report(trained / kind) for kind in KINDS}
    net, X, y = mlp.trace.mazur()
    texts["trace"] = net.trace(X, y, optimizer=mlp.SGD(0.5)).to_html()
    digits = mlp.data.load("digits")
    wide = mlp.MLP([64, 16, 10], dropout=0.2, input_scale=digits.input_scale)
    texts["long trace"] = wide.trace(digits.X[:5], digits.y[:5], optimizer=mlp.Adam(0.01), steps=2).to_html()
    texts["notebook"] = NOTEBOOK.format(runs.read_history(trained / "digits")._repr_html_() + wide._repr_html_())
    paths = {}
    for number, (name, text) in enumerate(texts.items()):
        paths[name] = folder / f"page-{number}.html"
        paths[name].write_text(text, encoding="utf-8")
    return paths


MEASURE = """(() => {
    const box = (element) => element.getBoundingClientRect();
    const scrolls = (element) => element.closest(".scroll, pre, [role=group], svg, .head") !== null;
    const all = (selector) => [...document.querySelectorAll(selector)];
    const hidden = all("figure, table").filter((e) => !e.closest(".numbers") && !e.checkVisibility()).length;
    for (const details of all("details")) details.open = true;
    const named = (elements) => elements.map((element) => element.outerHTML.slice(0, 200));
    const sizeOf = (element) => parseFloat(getComputedStyle(element).fontSize);
    const hasText = (element) => [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    const isWide = (e) => e.scrollWidth > e.clientWidth && !e.querySelector(".figures");
    const seen = all("body *").filter((e) => box(e).width);
    return {
        hidden,
        width: document.documentElement.scrollWidth,
        outside: named(seen.filter((e) => !scrolls(e) && box(e).right > innerWidth + 1)),
        wide: named(all(".scroll").filter(isWide)),
        small: named(seen.filter((e) => hasText(e) && sizeOf(e) < 12)),
        images: all("img").map((e) => [e.complete && e.naturalWidth > 0, box(e).width]),
        text: getComputedStyle(document.body).color,
        background: getComputedStyle(document.body).backgroundColor,
    };
})()"""


@pytest.mark.parametrize(("width", "dark"), [(390, False), (768, True), (1280, False)])
@pytest.mark.parametrize("kind", [*KINDS, "trace", "long trace", "notebook"])
def test_the_page_fits_every_width(
    chromium: Browser, pages: dict[str, Path], kind: str, width: int, dark: bool
) -> None:
    chromium.open(pages[kind], width, dark=dark)
    page = chromium.run(MEASURE)
    assert chromium.console == []
    assert [url for url in chromium.requested if not url.startswith("data:")] == [pages[kind].resolve().as_uri()]
    assert (page["hidden"] > 0) == (width < 600 and kind in KINDS), "only a phone folds sections"
    assert page["width"] == width
    assert page["outside"] == page["wide"] == page["small"] == []
    assert bool(page["images"]) == (kind in KINDS)
    assert all(shown and wide >= 300 for shown, wide in page["images"])
    if kind != "notebook":
        text, background = (sum(map(int, re.findall(r"\d+", page[part])[:3])) for part in ("text", "background"))
        assert (text > 600 > 100 > background) if dark else (background > 600 > 150 > text)


@pytest.mark.parametrize("kind", ["digits", "mail <u>", "houses", "trace", "long trace", "notebook"])
def test_axe_finds_nothing(chromium: Browser, pages: dict[str, Path], kind: str) -> None:
    if not Path(AXE).is_file():
        pytest.skip(NO_AXE)
    chromium.open(pages[kind], 390)
    chromium.run("document.querySelectorAll('details').forEach((each) => (each.open = true))")
    for width in (390, 768, 1280):
        for dark in (False, True):
            chromium.show_at(width, dark=dark)
            assert chromium.violations() == [], (width, dark)


def grey_of(png: bytes) -> Any:
    from matplotlib.image import imread

    return imread(io.BytesIO(png))[..., :3].mean(axis=2)


def test_the_colour_of_text_in_pictures_follows_the_scheme(chromium: Browser, pages: dict[str, Path]) -> None:
    chromium.open(pages["digits"], dark=False)
    light = grey_of(chromium.picture("img"))
    assert (np.median(light), light.min()) == (1.0, pytest.approx(0.13, abs=0.1))
    chromium.open(pages["digits"], dark=True)
    dark = grey_of(chromium.picture("img"))
    assert np.median(dark) < 0.1
    assert dark.max() > 0.85
