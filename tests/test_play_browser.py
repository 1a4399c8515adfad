"""The page of a network in Chromium: for eyes, hands, keys and axe."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from devtools import AXE, NO_AXE, PROGRAM, Browser, browser
from play_networks import HOSTILE, hostile_net, mnist_like, some_moons

import mlp
from mlp.inspection import play


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    if PROGRAM is None:
        pytest.skip("no browser here: apt install chromium")
    with browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A page of each kind."""
    folder = tmp_path_factory.mktemp("pages")
    moons = some_moons()
    plane = mlp.MLP([2, 8, 8, 2], "tanh", dtype="float64", classes=moons.classes, backend="numpy")
    net, X, y = hostile_net()
    x = np.linspace(-2, 2, 30).reshape(15, 2)
    scaling = ([100.0], [20.0])
    numbers = mlp.MLP([2, 4, 1], "gelu", loss="mse", target_scaling=scaling, dtype="float64", dropout=0.2)
    made = {
        "image": play.page(mnist_like(), np.eye(784, dtype=np.uint8)[:3] * 255, [1, 2, 3], title="image"),
        "plane": play.page(plane, moons.X, moons.y, title="plane", playground=True),
        "numbers": play.page(numbers, x, 100 + 9 * x[:, 0], title="numbers"),
        "table": play.page(net, X, y, title=HOSTILE),
        "empty": play.page(mlp.MLP([2, 3, 2]), title="empty"),
        "curve": play.page(
            mlp.MLP([1, 6, 1], "tanh", loss="mse"), x[:, :1], 9 * x[:, 0], title="curve", playground=True
        ),
        "labels": play.page(
            mlp.MLP([2, 4, 3], loss="binary_cross_entropy", classes=["a", "b", HOSTILE]),
            x,
            np.eye(3)[[0, 1, 2] * 5],
            title="labels",
            optimizer=mlp.AdamW(mlp.schedules.Cosine(0.1, epochs=5)),
            trained_rows=1000,
        ),
        "step": play.page(mlp.MLP([2, 3, 1], "step", "step", "mse"), title="step"),
    }
    paths = {name: folder / f"{name}.html" for name in made}
    for name, path in paths.items():
        path.write_text(made[name], encoding="utf-8")
    return paths


MEASURE = """(() => {
    const box = (element) => element.getBoundingClientRect();
    const scrolls = (element) => element.closest(".scroll, .tiles, .hidden") !== null;
    const all = (selector) => [...document.querySelectorAll(selector)];
    const hasText = (element) => [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    const sizeOf = (element) => parseFloat(getComputedStyle(element).fontSize);
    const isPainted = ({ width, height }, context) => context.getImageData(0, 0, width, height).data.some(Boolean);
    const named = (elements) => elements.map((element) => element.outerHTML.slice(0, 200));
    return {
        ready: "ready" in document.documentElement.dataset,
        width: document.documentElement.scrollWidth,
        outside: named(all("body *").filter((e) => !scrolls(e) && box(e).right > innerWidth + 1)),
        small: named(all("body *").filter((e) => hasText(e) && box(e).width && sizeOf(e) < 12)),
        pictures: all("canvas").map((e) => [e.width, e.height, isPainted(e, e.getContext("2d"))]),
        images: all("img").length,
    };
})()"""


@pytest.mark.parametrize(("width", "dark"), [(390, False), (768, True), (1280, False)])
@pytest.mark.parametrize("kind", ["image", "plane", "numbers", "curve", "labels", "table", "empty", "step"])
def test_the_page_works_at_every_width(
    chromium: Browser, pages: dict[str, Path], kind: str, width: int, dark: bool
) -> None:
    chromium.open(pages[kind], width, dark=dark)
    chromium.run("document.querySelectorAll('details').forEach((each) => (each.open = true))")
    page = chromium.run(MEASURE)
    assert page["ready"]
    assert chromium.console == []
    assert chromium.requested == [pages[kind].resolve().as_uri()]
    assert page["width"] == width
    assert page["outside"] == page["small"] == []
    assert page["images"] == 0
    assert page["pictures"]
    assert all(painted and w > 1 and h >= 1 for w, h, painted in page["pictures"])


def test_the_policy_is_kept_by_the_browser(chromium: Browser, pages: dict[str, Path]) -> None:
    chromium.open(pages["plane"])
    assert chromium.run("fetch('https://example.org').then(() => 'sent', (error) => error.name)") == "TypeError"
    chromium.run("document.body.insertAdjacentHTML('beforeend', '<img src=\"https://example.org/x.png\">')")
    time.sleep(0.1)
    chromium.run("0")
    for what in ("Connecting to 'https://example.org/'", "Loading the image 'https://example.org/x.png'"):
        assert any(line.startswith(what) and "Content Security Policy" in line for line in chromium.console)


@pytest.mark.parametrize("kind", ["image", "plane", "numbers", "curve", "labels", "table"])
def test_axe_finds_nothing(chromium: Browser, pages: dict[str, Path], kind: str) -> None:
    if not Path(AXE).is_file():
        pytest.skip(NO_AXE)
    for width, schemes in ((390, (False, True)), (768, (True,)), (1280, (False,))):
        chromium.open(pages[kind], width)
        chromium.run("document.querySelectorAll('details').forEach((each) => (each.open = true))")
        for dark in schemes:
            chromium.show_at(width, dark=dark)
            assert chromium.violations() == [], (width, dark)


def click(chromium: Browser, text: str) -> None:
    chromium.run(
        f"[...document.querySelectorAll('button')].find((each) => each.textContent === {json.dumps(text)}).click()"
    )


def shown(chromium: Browser, selector: str) -> str:
    return str(chromium.run(f"document.querySelector({json.dumps(selector)}).textContent"))


def box_of(chromium: Browser, selector: str) -> list[float]:
    """Left, top and width of an element in the window."""
    chromium.run(f"document.querySelector({json.dumps(selector)}).scrollIntoView({{ block: 'center' }})")
    box = f"document.querySelector({json.dumps(selector)}).getBoundingClientRect()"
    return chromium.run(f"(({{ left, top, width }}) => [left, top, width])({box})")  # type: ignore[no-any-return]


def saved(chromium: Browser, folder: Path) -> mlp.MLP:
    """The network that the page saves as a file."""
    settings = {"behavior": "allow", "downloadPath": str(folder)}
    chromium.send("Browser.setDownloadBehavior", **settings)
    click(chromium, "Save the weights")
    path = folder / "network.safetensors"
    end = time.monotonic() + 10
    while not path.exists():
        assert time.monotonic() < end, chromium.console
        time.sleep(0.05)
    time.sleep(0.1)
    return mlp.load(path, backend="numpy")


def test_training_in_the_page_is_that_of_fit(chromium: Browser, pages: dict[str, Path], tmp_path: Path) -> None:
    moons = some_moons()
    net = mlp.MLP([2, 8, 8, 2], "tanh", dtype="float64", classes=moons.classes, backend="numpy")
    chromium.open(pages["plane"])
    for _ in range(25):  # 100 steps
        click(chromium, "One epoch")
    net.fit(moons.X, moons.y, epochs=25, batch_size=32, optimizer=mlp.Adam(0.01))
    found = saved(chromium, tmp_path)
    np.testing.assert_allclose(found.parameters, net.parameters, rtol=1e-6, atol=1e-6)
    loss, score = net.evaluate(moons.X, moons.y)
    assert shown(chromium, ".state") == f"Epoch 25, step 100 · 120 rows · loss {loss:.4g} · {100 * score:.1f} % right"
    assert chromium.console == []


def test_a_new_network_learns_in_the_page(chromium: Browser, pages: dict[str, Path], tmp_path: Path) -> None:
    chromium.open(pages["plane"])
    chromium.run("""(() => {
        const labels = [...document.querySelectorAll("label")];
        const field = (name) => labels.find((label) => label.textContent === name).control;
        field("Hidden layers").value = "12, 6";
        field("Activation").value = "silu";
        field("Seed").value = "18446744073709551615".slice(0, 19);
    })()""")
    click(chromium, "New network")
    assert shown(chromium, "#structure") == "2-12-6-2, silu, silu, softmax, 128 parameters"
    click(chromium, "Train")
    time.sleep(1.5)
    click(chromium, "Pause")
    right = re.search(r"([\d.]+) % right", shown(chromium, ".state"))
    assert right is not None
    assert float(right[1]) > 80
    net = saved(chromium, tmp_path)
    moons = some_moons()
    assert 100 * net.score(moons.X, moons.y) == pytest.approx(float(right[1]), abs=0.06)
    assert (net.sizes, net.seed) == ((2, 12, 6, 2), 1844674407370955161)
    assert chromium.console == []


def test_a_training_that_diverges_says_so(chromium: Browser, pages: dict[str, Path], tmp_path: Path) -> None:
    chromium.open(pages["numbers"])
    chromium.run("""(() => {
        const labels = [...document.querySelectorAll("label")];
        const field = (name) => labels.find((label) => label.textContent === name).control;
        field("Optimizer").value = "sgd";
        field("Optimizer").dispatchEvent(new Event("change"));
        field("Learning rate").value = "1e200";
        field("Learning rate").dispatchEvent(new Event("change"));
    })()""")
    before = shown(chromium, ".state")
    click(chromium, "Train")
    time.sleep(0.3)
    assert shown(chromium, ".news").startswith("The training diverged")
    assert shown(chromium, ".state") == before
    assert chromium.console == []


def test_points_are_moved_added_and_removed_with_the_pointer(chromium: Browser, pages: dict[str, Path]) -> None:
    chromium.open(pages["empty"])
    left, top, width = box_of(chromium, ".plane")
    place = [left + width / 2, top + width / 2]
    chromium.run(
        "[...document.querySelectorAll('.plane-view label')].find((e) => e.textContent === 'Add 1').control.click()"
    )
    chromium.pointer("mousePressed", *place)
    chromium.pointer("mouseReleased", *place)
    hint = ".plane-view .hint[aria-live]"
    assert shown(chromium, hint).startswith("1 points. Selected: point 1, class 1, at x0 = ")
    before = shown(chromium, hint)
    chromium.pointer("mousePressed", *place)
    chromium.pointer("mouseMoved", place[0] + 40, place[1])
    chromium.pointer("mouseReleased", place[0] + 40, place[1])
    time.sleep(0.1)
    after = shown(chromium, hint)
    x = [float(re.search(r"x0 = (−?[\d.]+)", text)[1].replace("−", "-")) for text in (before, after)]  # type: ignore[index]
    assert x[1] > x[0] + 0.2
    chromium.run(
        "[...document.querySelectorAll('.plane-view label')].find((e) => e.textContent === 'Remove').control.click()"
    )
    chromium.pointer("mousePressed", place[0] + 40, place[1])
    chromium.pointer("mouseReleased", place[0] + 40, place[1])
    assert shown(chromium, hint).startswith("0 points. The cross is at ")
    assert chromium.console == []


def test_everything_in_the_plane_can_be_done_with_keys(chromium: Browser, pages: dict[str, Path]) -> None:
    chromium.open(pages["empty"])
    chromium.run("document.querySelector('.plane').focus()")
    hint = ".plane-view .hint[aria-live]"
    for _ in range(3):
        chromium.key("ArrowRight", 39)
    assert shown(chromium, hint) == "0 points. The cross is at x0 = 0.27, x1 = 0."
    chromium.key("Enter", 13)
    chromium.key("ArrowUp", 38)
    assert shown(chromium, hint) == "1 points. Selected: point 1, class 0, at x0 = 0.27, x1 = 0.09."
    chromium.key("Escape", 27)
    chromium.key("ArrowLeft", 37)
    chromium.key("Enter", 13)
    chromium.key("n", 78, "n")
    assert "Selected: point 1" in shown(chromium, hint)
    chromium.key("p", 80, "p")
    assert "Selected: point 2" in shown(chromium, hint)
    chromium.key("Delete", 46)
    assert shown(chromium, hint).startswith("1 points.")
    assert chromium.console == []


def test_neurons_and_steps_with_keys(chromium: Browser, pages: dict[str, Path]) -> None:
    chromium.open(pages["plane"])
    chromium.run("document.querySelector('.tiles').focus()")
    chromium.key("ArrowRight", 39)
    assert shown(chromium, ".detail h3") == "Neuron 2 of layer 1"
    chromium.key("End", 35)
    assert shown(chromium, ".detail h3") == "Neuron 8 of layer 1"
    phases = []
    for _ in range(18):
        phases.append(shown(chromium, ".step .phase").split(" · ")[0])
        click(chromium, "Next")
    assert phases == ["Forward →"] * 7 + ["← Backward"] * 11


def test_without_derivatives_there_are_steps_forward(chromium: Browser, pages: dict[str, Path]) -> None:
    chromium.open(pages["step"])
    assert chromium.run("document.querySelectorAll('.phases .forward button').length") == 4
    assert shown(chromium, ".phases .backward p") == "An activation has no derivative, so there is no backward pass."


def test_the_steps_have_the_numbers_of_the_trace(chromium: Browser, pages: dict[str, Path]) -> None:
    moons = some_moons()
    net = mlp.MLP([2, 8, 8, 2], "tanh", dtype="float64", classes=moons.classes, backend="numpy")
    [step] = net.trace(moons.X[:1], moons.y[:1], optimizer=mlp.SGD(0.1)).steps
    chromium.open(pages["plane"])
    names = [
        "z1",
        "a1",
        "z2",
        "a2",
        "z3",
        "a3",
        "L",
        "dz3",
        "dW3",
        "db3",
        "da2",
        "dz2",
        "dW2",
        "db2",
        "da1",
        "dz1",
        "dW1",
        "db1",
    ]
    for name in names:
        values = np.ravel(step[name])
        order = np.argsort(-np.abs(values), kind="stable")[:12] if values.size > 12 else np.arange(values.size)
        cells = chromium.run("[...document.querySelectorAll('.step td:nth-child(2)')].map((cell) => cell.textContent)")
        found = [float(cell.replace("−", "-")) for cell in cells]
        np.testing.assert_allclose(found, values[order], rtol=6e-4, atol=1e-9, err_msg=name)
        click(chromium, "Next")


def test_what_if(chromium: Browser, pages: dict[str, Path]) -> None:
    net, _, _ = hostile_net()
    assert net.preprocessing is not None
    chromium.open(pages["table"])
    chromium.run("""(() => {
        const [slider, menu] = ["input[type=range]", ".sliders select"].map((each) => document.querySelector(each));
        slider.value = 3.5;
        slider.dispatchEvent(new Event("input"));
        menu.value = "2";
        menu.dispatchEvent(new Event("change"));
    })()""")
    time.sleep(0.1)
    value = float(chromium.run("document.querySelector('.slider input[type=number]').value"))
    expected = net.predict_proba(net.preprocessing.transform({HOSTILE: np.array([value]), "city": np.array(["Rome"])}))[
        0
    ]
    cells = chromium.run("[...document.querySelectorAll('.outputs .value')].map((cell) => cell.textContent)")
    assert cells == [f"{100 * p:.1f} %" for p in expected]
    assert HOSTILE in shown(chromium, ".sliders label")
    assert chromium.console == []


# -- drawing ------------------------------------------------------------------------------------------------------

DIGITS: dict[int, list[list[tuple[int, int]]]] = {
    0: [[(140, 40), (90, 70), (75, 140), (90, 210), (140, 240), (190, 210), (205, 140), (190, 70), (140, 40)]],
    1: [[(140, 40), (140, 240)]],
    2: [[(80, 90), (100, 55), (150, 45), (190, 70), (190, 110), (150, 160), (100, 205), (75, 235), (200, 235)]],
    3: [[(80, 60), (130, 40), (180, 65), (175, 110), (130, 130), (180, 150), (190, 195), (150, 235), (80, 220)]],
    4: [[(100, 40), (75, 150), (200, 150)], [(180, 50), (175, 245)]],
    5: [[(190, 45), (95, 45), (88, 125), (140, 115), (190, 145), (190, 200), (140, 238), (80, 222)]],
    6: [[(170, 40), (110, 100), (80, 180), (100, 235), (160, 240), (190, 200), (165, 160), (110, 165), (85, 190)]],
    7: [[(70, 50), (200, 50), (150, 140), (120, 240)]],
    8: [
        [(140, 135), (90, 100), (95, 55), (140, 40), (185, 60), (185, 100), (140, 135), (90, 175), (90, 220),
         (140, 243), (190, 215), (185, 170), (140, 135)]
    ],
    9: [[(190, 90), (160, 130), (105, 120), (95, 75), (130, 45), (180, 60), (190, 90), (185, 160), (170, 240)]],
}  # fmt: skip
"""Strokes of each digit in an area of 280 x 280 pixels."""


@pytest.fixture(scope="module")
def trained(mnist_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    mnist = mlp.data.load("mnist", data_dir=mnist_folder)
    net = mlp.MLP([784, 128, 10], input_scale=mnist.input_scale, classes=mnist.classes)
    net.fit(mnist.X, mnist.y, epochs=3, batch_size=64, optimizer=mlp.Adam(0.002))
    path = tmp_path_factory.mktemp("mnist") / "mnist.html"
    net.play(path)
    return path


def draw(chromium: Browser, strokes: list[list[tuple[int, int]]], scale: float, shift: tuple[int, int]) -> None:
    left, top, _ = box_of(chromium, ".pad")
    for stroke in strokes:
        points = [(left + shift[0] + scale * x, top + shift[1] + scale * y) for x, y in stroke]
        chromium.pointer("mousePressed", *points[0])
        for point in points[1:]:
            chromium.pointer("mouseMoved", *point)
        chromium.pointer("mouseReleased", *points[-1])


@pytest.mark.parametrize(("scale", "shift"), [(1.0, (0, 0)), (0.4, (20, 150))], ids=["large", "small in a corner"])
def test_drawn_digits_are_answered_rightly(
    chromium: Browser, trained: Path, scale: float, shift: tuple[int, int]
) -> None:
    chromium.open(trained)
    answers = []
    for strokes in DIGITS.values():
        click(chromium, "Clear")
        assert shown(chromium, ".answer") == "Nothing is drawn yet."
        draw(chromium, strokes, scale, shift)
        answers.append(int(re.search(r"answers (\d)", shown(chromium, ".answer"))[1]))  # type: ignore[index]
    assert answers == list(DIGITS)
    assert chromium.console == []


def test_a_digit_is_drawn_with_a_finger(chromium: Browser, trained: Path) -> None:
    chromium.open(trained, 390)
    left, top, _ = box_of(chromium, ".pad")
    [points] = DIGITS[7]
    chromium.touch("touchStart", left + points[0][0], top + points[0][1])
    for x, y in points[1:]:
        chromium.touch("touchMove", left + x, top + y)
    chromium.touch("touchEnd")
    assert "answers 7" in shown(chromium, ".answer")


def test_a_digit_is_drawn_with_keys(chromium: Browser, trained: Path) -> None:
    chromium.open(trained)
    chromium.run("document.querySelector('.pad').focus()")
    chromium.key(" ", 32, " ")
    for _ in range(14):
        chromium.key("ArrowDown", 40)
    chromium.key(" ", 32, " ")
    assert "answers 1" in shown(chromium, ".answer")
    chromium.key("Delete", 46)
    assert shown(chromium, ".answer") == "Nothing is drawn yet."
