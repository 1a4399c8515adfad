"""The page of a network: what it holds and refuses, and how it works in Chromium for eyes, hands, keys and axe."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import time
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from devtools import PROGRAM, Browser, browser

import mlp
from mlp.cli import cli
from mlp.data import Preprocessing
from mlp.inspection import play

HOSTILE = "</script><img src=x onerror=alert(1)>"


class Elements(HTMLParser):
    """The elements of a page, and the texts of its scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {"script": [], "style": [], "title": [], "h1": []}
        self._inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        self._inside = tag if tag in self.texts else ""
        if self._inside:
            self.texts[tag].append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.texts[self._inside][-1] += data


def hostile_net() -> tuple[mlp.MLP, Any, Any]:
    table = {HOSTILE: np.array([1.0, 2.0, 3.0, 4.0]), "city": np.array(["Oslo", HOSTILE, "Rome", HOSTILE])}
    preprocessing = Preprocessing.fit(table)
    net = mlp.MLP([4, 5, 2], preprocessing=preprocessing, classes=["a & b", HOSTILE], seed=2)
    return net, preprocessing.transform(table), np.array([0, 1, 0, 1])


def some_moons() -> mlp.data.Dataset:
    return mlp.data.toy("moons", n=120)


def mnist_like() -> mlp.MLP:
    return mlp.MLP([784, 128, 10], input_scale=1 / 255, classes=list(range(10)))


def data_of(page: str) -> Any:
    return json.loads(Elements(page).texts["script"][0])


# -- what a page holds ------------------------------------------------------------------------------------------


def test_a_page_of_mnist_has_less_than_a_megabyte(tmp_path: Path) -> None:
    path = tmp_path / "net.html"
    mnist_like().play(path)
    assert 500_000 < path.stat().st_size < 1_000_000


def test_a_page_is_one_file_that_may_not_reach_a_network() -> None:
    page = Elements(play.page(mnist_like()))
    policy = next(attributes["content"] for tag, attributes in page.found if "http-equiv" in attributes)
    assert policy is not None
    data, program = page.texts["script"]
    [style] = page.texts["style"]
    allowed = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    assert allowed["default-src"] == "'none'"
    for kind, text in (("script-src", program), ("style-src", style)):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert allowed[kind] == f"'sha256-{digest}'"
    assert set(allowed) == {"default-src", "script-src", "style-src", "img-src", "base-uri", "form-action"}
    assert [attributes["href"] for tag, attributes in page.found if tag == "link"] == ["data:,"]
    assert not any("src" in attributes or tag in ("img", "iframe", "object") for tag, attributes in page.found)
    assert "http" not in program.replace('"http', "")
    assert json.loads(data)["rows"] is None


def test_names_are_never_elements() -> None:
    net, X, y = hostile_net()
    text = play.page(net, X, y, title=HOSTILE, part=HOSTILE)
    page = Elements(text)
    assert [tag for tag, _ in page.found].count("script") == 2
    assert "img" not in [tag for tag, _ in page.found]
    assert page.texts["title"] == page.texts["h1"] == [HOSTILE]
    assert "<img" not in text
    data = data_of(text)
    assert data["network"]["classes"] == ["a & b", HOSTILE]
    assert data["columns"][0]["name"] == HOSTILE


def test_rows_are_held_only_if_they_are_given() -> None:
    net, X, y = hostile_net()
    without, with_rows = play.page(net), play.page(net, X, y)
    assert "This page holds no data, only the network." in without
    assert data_of(without)["rows"] is None
    assert "This page holds 4 rows of data." in with_rows
    assert data_of(with_rows)["rows"]["n"] == 4
    assert "This page holds 4 rows of the test part of the data." in play.page(net, X, y, part="test")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_weights_are_held_in_the_type_of_the_network(dtype: str) -> None:
    net = mlp.MLP([3, 4, 2], dtype=dtype)
    data = data_of(play.page(net))
    held = np.frombuffer(base64.b64decode(data["parameters"]), dtype)
    np.testing.assert_array_equal(held, net.parameters)


def test_a_page_that_is_too_large_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "net.html"
    path.write_text("before")
    net = mlp.MLP([3000, 2500, 2], init="zeros")
    with pytest.raises(
        mlp.ConfigurationError, match=r"would have 40\.\d MB, but at most 32 MB .* 7,507,502 parameters"
    ):
        net.play(path)
    assert path.read_text() == "before"


def test_custom_functions_are_refused(tmp_path: Path) -> None:
    square = mlp.custom_activation("square", lambda xp, z: z * z, lambda xp, z: 2 * z)
    with pytest.raises(mlp.ConfigurationError, match=r"layer 1, 'square', is a custom function"):
        mlp.MLP([2, 3, 1], square, loss="mse").play(tmp_path / "net.html")
    own = mlp.custom_loss("own", lambda xp, y, t: (y - t) * (y - t), lambda xp, y, t: 2 * (y - t))
    with pytest.raises(mlp.ConfigurationError, match=r"the loss 'own' is a custom function"):
        mlp.MLP([2, 3, 1], loss=own).play(tmp_path / "net.html")


def test_what_cannot_be_trained_says_why() -> None:
    step = play.page(mlp.MLP([2, 3, 2], "step"))
    assert "The activation step has no useful derivative" in step
    assert 'id="training"' not in step
    scaled = mlp.MLP([2, 3, 2], scaling_layer=True)
    assert "a scaling layer, which the page can use but not train" in play.page(scaled)
    assert 'id="training"' in play.page(mlp.MLP([2, 3, 2]))
    assert 'id="training"' not in play.page(mlp.MLP([3, 3, 2]))  # nothing to train on


@pytest.mark.parametrize(
    ("settings", "kind"),
    [
        ({"sizes": [784, 5, 3]}, "image"),
        ({"sizes": [64, 5, 3], "input_scale": 1 / 16}, "image"),
        ({"sizes": [64, 5, 3]}, "columns"),
        ({"sizes": [65, 5, 3], "input_scale": 1 / 16}, "columns"),
        ({"sizes": [2, 5, 3]}, "plane"),
        ({"sizes": [4, 5, 3]}, "columns"),
    ],
)
def test_the_kind_of_the_inputs(settings: dict[str, Any], kind: str) -> None:
    assert data_of(play.page(mlp.MLP(**settings)))["kind"] == kind


def test_the_last_optimizer_is_offered(tmp_path: Path) -> None:
    net, X, y = hostile_net()
    net.fit(X, y, epochs=2, batch_size=3, optimizer=mlp.SGD(0.25, momentum=0.7))
    net.play(tmp_path / "net.html", X, y)
    training = data_of((tmp_path / "net.html").read_text(encoding="utf-8"))["training"]
    assert (training["rule"], training["batchSize"]) == ("momentum", 3)
    assert training["rules"]["momentum"] | {"label": ""} == {"label": "", "hyper": {"momentum": 0.7}, "rate": 0.25}


# -- the command --------------------------------------------------------------------------------------------------


def command(*arguments: str, status: int = 0) -> str:
    result = CliRunner().invoke(cli, arguments, prog_name="mlp", catch_exceptions=False)
    assert result.exit_code == status, result.output
    return result.stderr


def test_the_page_of_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    command("train", "digits", "--epochs", "1", "--quiet", "--lr", "0.02", "--batch-size", "50")
    said = command("play", "runs/digits-1")
    page = Path("runs/digits-1/play.html")
    assert re.search(rf"written: {page}, 0\.\d\d MB, with 100 rows of data\n", said)
    text = page.read_text(encoding="utf-8")
    assert "This page holds 100 rows of the test part of the data." in text
    data = data_of(text)
    assert data["title"] == "digits-1"
    assert (data["training"]["batchSize"], data["training"]["rules"]["adam"]["rate"]) == (50, 0.02)
    digits = mlp.data.load("digits")
    assert digits.X_test is not None
    np.testing.assert_array_equal(
        np.frombuffer(base64.b64decode(data["rows"]["X"]), np.uint8).reshape(100, 64), digits.X_test[:100]
    )
    assert "0 rows" in command("play", "runs/digits-1", "--no-data", "--output", "empty.html")
    assert data_of(Path("empty.html").read_text(encoding="utf-8"))["rows"] is None
    assert "0 rows" in command("play", "runs/digits-1/model.safetensors")
    assert Path("play-model.html").exists()


def test_rows_of_a_file_are_held_only_if_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    lines = [f"{i % 17},{'Oslo' if i % 3 else 'Rome'},{i % 17 > 8}" for i in range(120)]
    Path("people.csv").write_text("\n".join(["age,city,left", *lines]))
    command("train", "people.csv", "--target", "left", "--epochs", "1", "--quiet")
    assert "with 0 rows" in command("play", "runs/people-1")
    assert "with 96 rows" in command("play", "runs/people-1", "--data")
    assert "with 7 rows" in command("play", "runs/people-1", "--data", "--rows", "7")
    said = command("play", "people.csv", "--target", "left", "--rows", "50")
    assert "mlp: 50 of 120 rows; --rows 120 for all of them" in said
    assert "written: play-people.html" in said
    assert data_of(Path("play-people.html").read_text(encoding="utf-8"))["playground"]
    Path("people.csv").unlink()
    assert "With --no-data" in command("play", "runs/people-1", "--data", status=2)


# -- in a browser -------------------------------------------------------------------------------------------------


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
@pytest.mark.parametrize("kind", ["image", "plane", "numbers", "table", "empty", "step"])
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


AXE = os.environ.get("MLP_AXE") or str(Path(__file__).resolve().parents[1] / ".cache/node_modules/axe-core/axe.min.js")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("kind", ["image", "plane", "numbers", "table"])
def test_axe_finds_nothing(chromium: Browser, pages: dict[str, Path], kind: str, dark: bool) -> None:
    if not Path(AXE).is_file():
        pytest.skip("axe is not here: npm install --prefix .cache axe-core, or MLP_AXE=path/of/axe.min.js")
    chromium.open(pages[kind], 390, dark=dark)
    chromium.run("document.querySelectorAll('details').forEach((each) => (each.open = true))")
    chromium.run(Path(AXE).read_text(encoding="utf-8") + ";0")
    found = chromium.run(
        "axe.run().then(({ violations }) => violations.map((v) => [v.id, v.nodes.map((n) => n.html.slice(0, 300))]))"
    )
    assert found == []


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
