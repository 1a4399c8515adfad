"""The page of a network: what it holds and refuses, and the command that writes it."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from play_networks import HOSTILE, hostile_net, mnist_like

import mlp
from backends import random
from mlp.cli import cli
from mlp.inspection import play


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
        ({"sizes": [1, 5, 3]}, "curve"),
        ({"sizes": [4, 5, 3]}, "columns"),
    ],
)
def test_the_kind_of_the_inputs(settings: dict[str, Any], kind: str) -> None:
    assert data_of(play.page(mlp.MLP(**settings)))["kind"] == kind


def test_the_last_optimizer_is_offered(tmp_path: Path) -> None:
    net, X, y = hostile_net()
    net.fit(X, y, epochs=2, batch_size=3, optimizer=mlp.SGD(0.25, momentum=0.7), shuffle=False, label_smoothing=0.1)
    net.play(tmp_path / "net.html", X, y)
    training = data_of((tmp_path / "net.html").read_text(encoding="utf-8"))["training"]
    assert (training["rule"], training["batchSize"]) == ("momentum", 3)
    assert (training["shuffle"], training["labelSmoothing"], training["trainedRows"]) == (False, 0.1, None)
    assert training["rules"]["momentum"] | {"label": ""} == {"label": "", "hyper": {"momentum": 0.7}, "rate": 0.25}


# -- the command --------------------------------------------------------------------------------------------------


def command(*arguments: str, status: int = 0) -> str:
    result = CliRunner().invoke(cli, arguments, prog_name="mlp", catch_exceptions=False)
    assert result.exit_code == status, result.output
    return result.stderr


def test_the_page_of_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = ["--lr", "0.02", "--batch-size", "50", "--schedule", "step:every=3", "--clip-norm", "2"]
    command("train", "digits", "--epochs", "1", "--quiet", *settings)
    said = command("play", "runs/digits-1")
    page = Path("runs/digits-1/play.html")
    assert re.fullmatch(
        rf"mlp: written: {page}, 0\.\d\d MB\nmlp: play.html holds no rows of the data; --data adds them\n", said
    )
    assert data_of(page.read_text(encoding="utf-8"))["rows"] is None
    assert command("play", "runs/digits-1", "--no-data") == said

    said = command("play", "runs/digits-1", "--data", "--output", "digits.html")
    assert (
        "digits.html holds 100 of the 1,438 rows that the network was trained on; --rows 1438 for all of them" in said
    )
    text = Path("digits.html").read_text(encoding="utf-8")
    assert "This page holds 100 rows of the training part of the data." in text
    data = data_of(text)
    assert data["title"] == "digits-1"
    training = data["training"]
    assert (training["offered"], training["trainedRows"], training["batchSize"]) == (True, 1438, 50)
    assert (training["rules"]["adam"]["rate"], training["clipNorm"]) == (0.02, 2)
    assert training["schedule"]["label"] == "step (every=3, factor=0.1)"
    digits = mlp.data.load("digits")
    np.testing.assert_array_equal(
        np.frombuffer(base64.b64decode(data["rows"]["X"]), np.uint8).reshape(100, 64), digits.X[:100]
    )
    assert data["rows"]["classes"] == digits.y[:100].tolist()

    said = command("play", "runs/digits-1", "--data", "--rows", "1438", "--output", "digits.html")
    assert said.endswith("mlp: digits.html holds 1,438 rows of the data\n")
    assert data_of(Path("digits.html").read_text(encoding="utf-8"))["training"]["trainedRows"] is None

    said = command("play", "runs/digits-1/model.safetensors")
    assert said.endswith("mlp: play-model.html holds no rows of the data\n")


def test_rows_of_a_run_are_held_only_if_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    lines = [f"{i % 17},{'Oslo' if i % 3 else 'Rome'},{i % 17 > 8}" for i in range(120)]
    Path("people.csv").write_text("\n".join(["age,city,left", *lines]))
    command("train", "people.csv", "--target", "left", "--epochs", "1", "--quiet", "--class-weight", "balanced")
    assert "play.html holds no rows of the data" in command("play", "runs/people-1")
    assert "play.html holds 96 rows of the data" in command("play", "runs/people-1", "--data")
    assert "holds 7 of the 96 rows that" in command("play", "runs/people-1", "--data", "--rows", "7")
    data = data_of(Path("runs/people-1/play.html").read_text(encoding="utf-8"))
    count = np.bincount(mlp.data.load("people.csv", target="left").y)  # of all rows, not only those of the page
    np.testing.assert_allclose(data["training"]["classWeights"], 96 / 2 / count)
    Path("people.csv").unlink()
    assert "Without --data the page holds the network alone" in command("play", "runs/people-1", "--data", status=2)
    command("play", "runs/people-1")


def test_a_page_of_a_run_holds_the_rows_in_the_order_of_its_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the rows of the validation set."""
    monkeypatch.chdir(tmp_path)
    command("train", "moons", "--epochs", "2", "--quiet", "--validation", "0.25", "--seed", "3")
    command("play", "runs/moons-1", "--data")
    data = data_of(Path("runs/moons-1/play.html").read_text(encoding="utf-8"))
    moons = mlp.data.load("moons", seed=3)
    kept = random.permutation(3, 0, 320, stream=random.SPLIT)[80:]
    assert data["rows"]["n"] == 240
    held = np.frombuffer(base64.b64decode(data["rows"]["X"]), data["rows"]["type"]).reshape(240, 2)
    np.testing.assert_array_equal(held, moons.X[kept].astype(held.dtype))
    assert data["rows"]["classes"] == moons.y[kept].tolist()


def test_a_playground_is_about_its_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("people.csv").write_text("\n".join(["age,left", *(f"{i % 17},{i % 17 > 8}" for i in range(120))]))
    said = command("play", "people.csv", "--target", "left", "--rows", "50")
    assert "mlp: 50 of 120 rows; --rows 120 for all of them" in said
    assert "written: play-people.html" in said
    assert "play-people.html holds 50 rows of the data" in said
    assert data_of(Path("play-people.html").read_text(encoding="utf-8"))["playground"]
    assert "play-sine.html holds 400 rows of the data" in command("play", "sine")
    data = data_of(Path("play-sine.html").read_text(encoding="utf-8"))
    assert (data["kind"], data["training"]["offered"]) == ("curve", True)


def test_a_playground_with_several_targets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rows = np.random.default_rng(0).normal(size=(30, 4)).round(3)
    Path("two.csv").write_text("\n".join(["a,b,u,v", *(",".join(map(str, row)) for row in rows)]))
    command("play", "two.csv", "--target", "u,v")
    data = data_of(Path("play-two.html").read_text(encoding="utf-8"))
    assert (data["kind"], data["network"]["sizes"]) == ("plane", [2, 8, 8, 2])
