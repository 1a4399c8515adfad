"""The critical tests of Chartability (chartability.fizz.studio), as far as a program can make them, in Chromium.

docs/guide/accessibility.md says how each of them is met, and names the test.
"""

from __future__ import annotations

import io
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from devtools import PROGRAM, Browser, browser
from play_networks import hostile_net, mnist_like, some_moons
from report_runs import train

import mlp
from mlp.inspection import play
from mlp.inspection.report import report

pytest.importorskip("matplotlib", reason="a report needs the extra plot")
pytest.importorskip("jinja2", reason="a report needs the extra plot")

PLAY = ("image", "plane", "table")
KINDS = (*PLAY, "report", "trace")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    if PROGRAM is None:
        pytest.skip("no browser here: apt install chromium")
    with browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A page of each kind that has pictures or numbers."""
    folder = tmp_path_factory.mktemp("chartability")
    moons = some_moons()
    plane = mlp.MLP([2, 6, 2], "tanh", dtype="float64", classes=moons.classes, backend="numpy")
    step = plane.trace(moons.X[:3], moons.y[:3], optimizer=mlp.SGD(0.1))
    made = {
        "image": play.page(mnist_like(), np.eye(784, dtype=np.uint8)[:3] * 255, [1, 2, 3], title="image"),
        "plane": play.page(plane, moons.X, moons.y, title="plane", playground=True),
        "table": play.page(*hostile_net(), title="table"),
        "report": report(train(folder / "moons", "moons", "--epochs", 5, "--validation", 0.2, "--hidden", 8)),
        "trace": step.to_html(),
    }
    paths = {kind: folder / f"{kind}.html" for kind in made}
    for kind, path in paths.items():
        path.write_text(made[kind], encoding="utf-8")
    return paths


def open_all(chromium: Browser) -> None:
    chromium.run("document.querySelectorAll('details').forEach((each) => (each.open = true))")


# -- perceivable ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_shapes_have_contrast(chromium: Browser, pages: dict[str, Path], dark: bool) -> None:
    """Low contrast: 3:1 for shapes; `test_axe_finds_nothing` checks text, `test_plots.py` the pictures of reports."""
    chromium.open(pages["plane"], dark=dark)
    found = chromium.run("""(() => {
        const part = (c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4);
        const luminance = (hex) => channels(hex).map(part).reduce((s, c, k) => s + c * [0.2126, 0.7152, 0.0722][k], 0);
        const background = luminance(ownColour("--background"));
        const contrast = (hex) => {
            const [low, high] = [luminance(hex), background].sort((a, b) => a - b);
            return (high + 0.05) / (low + 0.05);
        };
        const names = ["--text", "--muted", "--accent", "--back"];
        const classes = Array.from({ length: 10 }, (_, k) => classColour(k));
        return [...names.map(ownColour), ...classes].map((hex) => [hex, contrast(hex)]);
    })()""")
    assert len(found) == 14
    assert all(contrast >= 3 for _, contrast in found), found


@pytest.mark.parametrize("kind", KINDS)
def test_pictures_are_said_in_words(chromium: Browser, pages: dict[str, Path], kind: str) -> None:
    """Content is only visual; no title, summary or caption."""
    chromium.open(pages[kind])
    open_all(chromium)
    assert chromium.run("document.title") == chromium.run("document.querySelector('h1').textContent")
    pictures = chromium.run("""[...document.querySelectorAll("canvas, img, svg")].map((each) =>
        each.getAttribute("aria-hidden") || each.alt || each.getAttribute("aria-label"))""")
    assert len(pictures) > 3 or kind == "trace"
    assert all(pictures)
    untitled = chromium.run("""[...document.querySelectorAll("table, figure")].filter((each) => {
        const before = each.closest("section")?.querySelector("h2, h3");
        return !(each.caption || each.querySelector("figcaption") || each.getAttribute("aria-label") || before);
    }).length""")
    assert untitled == 0


RECORD = """(() => {
    globalThis.drawnSizes = [];
    const draw = CanvasRenderingContext2D.prototype.fillText;
    CanvasRenderingContext2D.prototype.fillText = function (...rest) {
        const page = this.canvas.clientWidth / this.canvas.width; // pixels of the page for one of the canvas
        drawnSizes.push(parseFloat(this.font) * this.getTransform().a * page);
        return draw.apply(this, rest);
    };
})()"""


@pytest.mark.parametrize("kind", KINDS)
def test_no_text_is_below_12_pixels(chromium: Browser, pages: dict[str, Path], kind: str) -> None:
    """Small text size, on the screen of a phone: of elements, of text on a canvas, and in the pictures of a report."""
    script = chromium.send("Page.addScriptToEvaluateOnNewDocument", source=RECORD)["identifier"]
    chromium.open(pages[kind], 390)
    open_all(chromium)
    chromium.send("Page.removeScriptToEvaluateOnNewDocument", identifier=script)
    small = chromium.run("""[...document.querySelectorAll("body *")].filter((each) => {
        const hasText = [...each.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
        return hasText && each.getBoundingClientRect().width > 1 && parseFloat(getComputedStyle(each).fontSize) < 12;
    }).map((each) => each.outerHTML.slice(0, 100))""")
    assert small == []
    drawn = chromium.run("drawnSizes")
    assert bool(drawn) == (kind in ("image", "plane", "table"))
    assert all(size >= 12 for size in drawn)
    # test_no_text_lies_on_another_or_outside_of_the_picture sees to it that text in plots has ten points
    scales = chromium.run("[...document.querySelectorAll('img')].map((each) => each.clientWidth / each.naturalWidth)")
    assert all(scale * 10 * 96 / 72 >= 12 for scale in scales), scales


def frames_of_training(chromium: Browser, page: Path, seconds: float, calm: bool) -> Any:
    """Grey values of points of the plane while it trains, from 0 to 1, for each look at it."""
    chromium.open(page, calm=calm)
    chromium.run("""(() => {
        const labels = [...document.querySelectorAll("label")];
        const field = labels.find((each) => each.textContent === "Learning rate").control;
        field.value = "0.5";
        field.dispatchEvent(new Event("change"));
        [...document.querySelectorAll("button")].find((each) => each.textContent === "Train").click();
    })()""")
    frames, end = [], time.monotonic() + seconds
    while time.monotonic() < end:
        frames.append(
            chromium.run("""(() => {
                const plane = document.querySelector(".plane");
                const pixels = plane.getContext("2d").getImageData(0, 0, plane.width, plane.height).data;
                const rows = [];
                for (let i = 0; i < pixels.length; i += 64) rows.push(pixels[i] + pixels[i + 1] + pixels[i + 2]);
                return rows;
            })()""")
        )
    return np.array(frames) / 765


def test_nothing_flashes(chromium: Browser, pages: dict[str, Path]) -> None:
    """Visual presents seizure risk: at most three flashes a second, also while the page trains at its fastest."""
    for kind in KINDS:
        chromium.open(pages[kind])
        assert chromium.run("document.getAnimations().length") == 0
    changes = np.diff(frames_of_training(chromium, pages["plane"], 2, calm=False), axis=0)
    assert len(changes) > 4
    assert np.abs(changes).max() > 0, "the plane is drawn while it trains"
    # a flash is a change of brightness by a tenth, over a quarter of the picture (WCAG 2.3.1)
    assert (np.mean(np.abs(changes) > 0.1, axis=1) > 0.25).sum() <= 6


def test_reduced_motion_is_respected(chromium: Browser, pages: dict[str, Path]) -> None:
    """User style change not respected: the plane is drawn at most every one and a half seconds."""
    frames = frames_of_training(chromium, pages["plane"], 1.2, calm=True)
    assert (np.abs(np.diff(frames, axis=0)).max(axis=1) > 0).sum() <= 1


# -- operable ------------------------------------------------------------------------------------------------------

FOCUS = """(() => {
    const each = document.activeElement;
    if (!each || each === document.body) return null;
    const [style, box] = [getComputedStyle(each), each.getBoundingClientRect()];
    globalThis.seen ??= [];
    const number = seen.includes(each) ? seen.indexOf(each) : seen.push(each) - 1;
    const mark = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2;
    return { number, mark, isShown: box.width > 0 && box.height > 0, html: each.outerHTML.slice(0, 90) };
})()"""


@pytest.mark.parametrize("kind", KINDS)
def test_the_tab_key_reaches_everything_and_leaves(chromium: Browser, pages: dict[str, Path], kind: str) -> None:
    """One input type; controls override AT controls; inappropriate tab stops; focus indicator; tedious navigation."""
    chromium.open(pages[kind])
    stops: list[Any] = []
    for _ in range(60):
        chromium.key("Tab", 9)
        found = chromium.run(FOCUS)
        if found is None or (found["number"] == 0 and stops):
            break
        assert found["number"] == len(stops), f"it is a trap: {found['html']}"
        stops.append(found)
    else:
        pytest.fail(f"after 60 presses the page still has the focus: {stops[-1]}")
    assert all(stop["mark"] and stop["isShown"] for stop in stops), [stop["html"] for stop in stops]
    missed = chromium.run("""[...document.querySelectorAll("a[href], button, input, select, summary, [tabindex]")]
        .filter((each) => each.checkVisibility() && !each.disabled && each.tabIndex >= 0 && !seen.includes(each))
        .filter((each) => each.type !== "radio") // a group of them is one stop
        .map((each) => each.outerHTML.slice(0, 90))""")
    assert missed == []
    still = chromium.run("""[...document.querySelectorAll(".scroll, [role=group]")].filter((each) =>
        each.checkVisibility() && each.scrollWidth > each.clientWidth + 1 && each.tabIndex < 0).length""")
    assert still == 0, "what scrolls can be scrolled with keys"
    if kind in PLAY:
        idle = chromium.run("""[...document.querySelectorAll(".scroll[tabindex]")].filter((each) =>
            each.scrollWidth <= each.clientWidth + 1 && each.scrollHeight <= each.clientHeight + 1).length""")
        assert idle == 0, "what does not scroll is no stop"


@pytest.mark.parametrize("kind", PLAY)
def test_keys_belong_to_the_part_that_has_the_focus(chromium: Browser, pages: dict[str, Path], kind: str) -> None:
    """Controls override AT controls: the page as a whole listens to no keys."""
    chromium.open(pages[kind])
    for whole in ("window", "document", "document.body"):
        thing = chromium.send("Runtime.evaluate", expression=whole)["result"]["objectId"]
        listeners = chromium.send("DOMDebugger.getEventListeners", objectId=thing)["listeners"]
        assert not [each["type"] for each in listeners if each["type"].startswith(("key", "touch", "wheel"))]


def test_each_part_says_how_to_use_it(chromium: Browser, pages: dict[str, Path]) -> None:
    """No interaction cues or instructions: beside what is not a usual control, a visible text names the keys."""
    for kind in PLAY:
        chromium.open(pages[kind])
        described = chromium.run("""[...document.querySelectorAll("[role=application], [role=listbox]")].map((each) => {
            const text = document.getElementById(each.getAttribute("aria-describedby"));
            return [each.getAttribute("aria-label"), text?.checkVisibility() ? text.textContent : ""];
        })""")
        assert described
        for name, text in described:
            assert "Keys:" in text, name


def test_the_arrows_go_through_the_steps(chromium: Browser, pages: dict[str, Path]) -> None:
    """Navigation and interaction is tedious: a list of steps is one stop, and the arrows move in it."""
    chromium.open(pages["plane"])
    chromium.run("document.querySelector('[data-step]').focus()")
    titles = []
    for name, code in (("ArrowRight", 39), ("ArrowRight", 39), ("ArrowLeft", 37), ("End", 35), ("Home", 36)):
        chromium.key(name, code)
        assert chromium.run("document.activeElement.getAttribute('aria-current')") == "step"
        titles.append(chromium.run("document.querySelector('.step h3').textContent"))
    last = "Gradient of the biases of layer 1"
    assert titles == ["Outputs of layer 1", "Sums of layer 2", "Outputs of layer 1", last, "Sums of layer 1"]
    assert chromium.run("document.querySelectorAll('[data-step][tabindex=\"0\"]').length") == 1


def test_links_lead_to_each_section(chromium: Browser, pages: dict[str, Path]) -> None:
    """Navigation is tedious: from the top of the page it is one link to any section."""
    for kind in (*PLAY, "report"):
        chromium.open(pages[kind])
        links, headings = chromium.run("""[
            [...document.querySelectorAll("nav a")].map((each) => each.getAttribute("href").slice(1)),
            [...document.querySelectorAll("h2")].map((each) => each.id),
        ]""")
        assert links == headings


# -- understandable and assistive ------------------------------------------------------------------------------------


def grade_of(text: str) -> float:
    """The grade of Flesch and Kincaid, with groups of vowels as syllables."""
    sentences = [part for part in re.split(r"[.:;!?]+(?:\s|$)", text) if re.search("[a-z]{2}", part)]
    words = re.findall(r"[A-Za-z]{2,}", text)
    syllables = sum(max(1, len(re.findall("[aeiouy]+", re.sub("(?<=[^l])e$", "", word.lower())))) for word in words)
    return 0.39 * len(words) / len(sentences) + 11.8 * syllables / len(words) - 15.59


@pytest.mark.parametrize("kind", KINDS)
def test_sections_explain_themselves_in_plain_words(chromium: Browser, pages: dict[str, Path], kind: str) -> None:
    """No explanation for purpose or for how to read; reading level inappropriate: grade 9 at most."""
    chromium.open(pages[kind])
    open_all(chromium)
    sections = chromium.run("""[...document.querySelectorAll("section")].map((each) => {
        const prose = [...each.querySelectorAll("p, li, figcaption")].filter((p) => !p.closest("button, ol"));
        const texts = prose.map((p) => p.textContent.trim()).filter((text) => text.split(" ").length > 4);
        return [each.querySelector("h2, h3").textContent, texts];
    })""")
    assert all(texts for _, texts in sections), sections
    prose = [text.rstrip(".") + "." for _, texts in sections for text in texts]
    assert grade_of(" ".join(prose)) <= 9


def test_there_is_a_table_for_each_picture(chromium: Browser, pages: dict[str, Path]) -> None:
    """No table."""
    for kind in PLAY:
        chromium.open(pages[kind])
        open_all(chromium)
        time.sleep(0.1)
        missing = chromium.run("""[...document.querySelectorAll("canvas:not([aria-hidden])")].filter((each) => {
            for (let part = each.parentElement; part && part.tagName !== "SECTION"; part = part.parentElement)
                if (part.querySelector("details table")) return false;
            return true;
        }).map((each) => each.outerHTML)""")
        assert missing == []


def test_pictures_are_not_crowded(chromium: Browser, pages: dict[str, Path]) -> None:
    """Data density is inappropriate: of many things the strongest are shown, and the page says of how many."""
    chromium.open(pages["image"])
    open_all(chromium)
    tables = chromium.run("""[...document.querySelectorAll(".detail table, .step table")].map((each) =>
        [each.caption.textContent, each.tBodies[0].rows.length])""")
    assert len(tables) == 3
    for caption, count in tables:
        assert count <= 28
        assert count == 28 or re.fullmatch(rf"The {count} largest of \d+ (terms of the sum|values)", caption), caption


# -- flexible ------------------------------------------------------------------------------------------------------

SPACING = """(() => {
    const style = document.createElement("style");
    style.textContent = `* { line-height: 1.5 !important; letter-spacing: 0.12em !important;
        word-spacing: 0.16em !important } p { margin-bottom: 2em !important }`;
    document.head.append(style);
})()"""
LOST = """(() => {
    const scrolls = (each) => each.closest(".scroll, .tiles, .hidden, pre, [role=group], .head") !== null;
    const all = [...document.querySelectorAll("body *")].filter((each) => !scrolls(each));
    const hides = (each) => ["hidden", "clip"].includes(getComputedStyle(each).overflowX);
    const isCut = (each) => hides(each) && each.clientWidth && each.scrollWidth > each.clientWidth + 1;
    const lost = all.filter((each) => each.getBoundingClientRect().right > innerWidth + 1 || isCut(each));
    return [document.documentElement.scrollWidth - innerWidth, lost.map((each) => each.outerHTML.slice(0, 90))];
})()"""


@pytest.mark.parametrize("kind", KINDS)
def test_the_readers_settings_are_respected(chromium: Browser, pages: dict[str, Path], kind: str) -> None:
    """User style change not respected: spacing of WCAG 1.4.12, 200 % and 400 % at 1280 pixels, contrast."""
    chromium.open(pages[kind], 640, height=450, scale=2)  # 200 %
    open_all(chromium)
    assert chromium.run(LOST) == [0, []]
    chromium.show_at(320, height=256, scale=4)
    assert chromium.run(LOST) == [0, []]
    for width in (1280, 390):
        chromium.show_at(width)
        chromium.run(SPACING)
        assert chromium.run(LOST) == [0, []]
    colours = """["--text", "--muted", "--line"].map((name) =>
        getComputedStyle(document.documentElement).getPropertyValue(name).trim())"""
    assert len(set(chromium.run(colours))) == 3
    chromium.show_at(1280, features={"prefers-contrast": "more"})
    assert len(set(chromium.run(colours))) == 1


def pixels_of(chromium: Browser, selector: str) -> Any:
    """The pixels of an element, shape (height, width, 3), from 0 to 1; computed styles do not tell forced colours."""
    from matplotlib.image import imread

    return imread(io.BytesIO(chromium.picture(selector)))[..., :3]


def test_forced_colours_lose_nothing(chromium: Browser, pages: dict[str, Path]) -> None:
    """User style change not respected: with the colours of the system, bars and the selected neuron are still seen."""
    chromium.open(pages["plane"], dark=True, features={"forced-colors": "active"})
    assert chromium.run("matchMedia('(forced-colors: active)').matches")
    track = pixels_of(chromium, ".best .track")
    middle = track[len(track) // 2]
    assert np.ptp(middle[3:-3], axis=0).max() > 0.3, "the bar differs from what is beside it"
    borders = [pixels_of(chromium, f".tile[aria-selected={state}]")[1] for state in ("true", "false")]
    chosen, other = (border[len(border) // 2] for border in borders)
    assert chosen.max() > 0.4 > 0.1 > other.max(), "the selected neuron alone has a border"
    chromium.open(pages["report"], dark=True, features={"forced-colors": "active"})
    assert chromium.console == []
