"""Pictures of a page in Chromium: the curve of one input, and the output that a picture shows."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from devtools import PROGRAM, Browser, browser
from page_actions import box_of, cells, choose, control, numbers, pixels, shown

import mlp
from mlp.data import Preprocessing
from mlp.inspection import play

HINT = ".plane-view .hint[aria-live]"


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    if PROGRAM is None:
        pytest.skip("no browser here: apt install chromium")
    with browser() as opened:
        yield opened


@pytest.fixture
def opened(chromium: Browser, tmp_path: Path) -> Any:
    """A function that opens the page of a network, which may have no errors until the end of the test."""

    def opened_page(net: mlp.MLP, X: Any = None, y: Any = None, **settings: Any) -> Browser:
        path = tmp_path / "page.html"
        path.write_text(play.page(net, X, y, **settings), encoding="utf-8")
        chromium.open(path)
        chromium.run("document.querySelectorAll('details').forEach((each) => (each.open = true))")
        return chromium

    yield opened_page
    assert chromium.console == []


# -- the curve of one input ------------------------------------------------------------------------------------------


def sine_net(**settings: Any) -> tuple[mlp.MLP, Any, Any]:
    """A network for one column of a table, whose targets are scaled."""
    x = np.linspace(10, 30, 24)
    preprocessing = Preprocessing.fit({"hour": x})
    scaling = ([100.0], [20.0])
    net = mlp.MLP(
        [1, 6, 1], "tanh", loss="mse", target_scaling=scaling, preprocessing=preprocessing, dtype="float64", **settings
    )
    return net, preprocessing.transform({"hour": x}), 100 + 40 * np.sin(x / 3)


def test_the_curve_and_those_of_the_neurons_are_what_the_network_answers(opened: Any) -> None:
    net, X, y = sine_net()
    page = opened(net, X, y)
    assert shown(page, ".axis") == "Up: the predicted number. To the right: hour."
    curve = np.array([numbers(row) for row in cells(page, "Answers of the network")])
    assert len(curve) == 21
    assert curve[0, 0] < 10 < 30 < curve[-1, 0]
    assert net.preprocessing is not None
    inputs = net.preprocessing.transform({"hour": curve[:, 0]})
    np.testing.assert_allclose(curve[:, 1], net.predict(inputs), rtol=1e-3)
    hidden = np.tanh(inputs @ net.weights[0] + net.biases[0])
    for neuron in (1, 2):
        found = np.array([numbers(row) for row in cells(page, f"Output of neuron {neuron}")])
        np.testing.assert_allclose(found[:, 1], hidden[:, neuron - 1], atol=2e-3)
        page.run("document.querySelector('.tiles').focus()")
        page.key("ArrowRight", 39)
    assert page.run("new Set([...document.querySelectorAll('.tile canvas')].map((e) => e.toDataURL())).size") == 6
    points = cells(page, "Points")
    assert points[3][1] == f"{10 + 20 * 3 / 23:.4g}"
    assert numbers([points[3][2].removeprefix("target ")]) == pytest.approx([y[3]], rel=1e-3)
    assert numbers(points[3][3:]) == pytest.approx(net.predict(X[3:4]), rel=1e-3)


def test_a_point_of_the_curve_is_dragged_to_another_input_and_target(opened: Any) -> None:
    net, X, y = sine_net()
    page = opened(net, X, y)
    assert shown(page, HINT) == "24 points. The cross is at hour = 10."
    page.run("document.querySelector('.plane').focus()")
    page.key("n", 78, "n")
    page.key("n", 78, "n")
    before = shown(page, HINT)
    assert f"Selected: point 2, target {y[1]:.4g}, at hour = 10.9." in before
    for _ in range(2):
        page.key("ArrowUp", 38)
    page.key("ArrowRight", 39)
    found = re.search(r"target ([\d.]+), at hour = ([\d.]+)\.$", shown(page, HINT))
    assert found is not None
    assert float(found[1]) > y[1] + 2
    assert float(found[2]) > 11
    left, top, width = box_of(page, ".plane")
    page.key("Escape", 27)
    place = [left + 60 + 0.5 * (width - 68), top + 40]
    page.run(f"{control('Add')}.click()")
    page.pointer("mousePressed", *place)
    state = shown(page, ".state")
    page.pointer("mouseMoved", place[0] + 30, place[1] + 50)
    time.sleep(0.1)
    assert shown(page, ".state") != state  # the loss follows
    page.pointer("mouseReleased", place[0] + 30, place[1] + 50)
    time.sleep(0.1)
    dragged = re.search(r"^25 points. Selected: point 25, target ([\d.]+), at hour = ([\d.]+)\.$", shown(page, HINT))
    assert dragged is not None
    assert 105 < float(dragged[1]) < 140
    assert 20.5 < float(dragged[2]) < 24
    page.key("Delete", 46)
    assert shown(page, HINT).startswith("24 points.")


def test_training_bends_the_curve(opened: Any) -> None:
    net, X, y = sine_net(seed=3)
    page = opened(net, X, y, batch_size=8, optimizer=mlp.Adam(0.02))
    before = pixels(page)
    page.run("[...document.querySelectorAll('button')].find((e) => e.textContent === 'One epoch').click()")
    net.fit(X, y, epochs=1, batch_size=8, optimizer=mlp.Adam(0.02))
    for _ in range(100):
        if shown(page, ".state").startswith("Epoch 1,"):
            break
        time.sleep(0.05)
    assert f"loss {net.evaluate(X, y)[0]:.4g}" in shown(page, ".state")
    curve = np.array([numbers(row) for row in cells(page, "Answers of the network")])
    assert net.preprocessing is not None
    np.testing.assert_allclose(curve[:, 1], net.predict(net.preprocessing.transform({"hour": curve[:, 0]})), rtol=1e-3)
    assert pixels(page) != before


def test_the_curve_of_a_class_is_its_probability(opened: Any) -> None:
    net = mlp.MLP([1, 5, 3], "tanh", classes=["low", "middle", "high"], dtype="float64", seed=1)
    X = np.linspace(-2, 2, 9)[:, np.newaxis]
    page = opened(net, X, [0, 0, 0, 1, 1, 1, 2, 2, 2])
    assert shown(page, ".axis") == "Up: the probability of low. To the right: x0."
    before = pixels(page)
    choose(page, "Drawn output", "2")
    assert shown(page, ".axis") == "Up: the probability of high. To the right: x0."
    assert pixels(page) != before
    curve = np.array([numbers(row) for row in cells(page, "Answers of the network")])
    np.testing.assert_allclose(curve[:, 1:], net.predict_proba(curve[:, :1]), atol=2e-3)
    left, top, width = box_of(page, ".plane")
    lowest = top + 8 + 0.75 * (width - 68) * 1.08 / 1.16  # the height of 0
    choose(page, "Drawn output", "0")
    place = [left + 60 + (width - 68) * 1.06 / 1.12, lowest]
    page.pointer("mousePressed", *place)
    page.pointer("mouseMoved", place[0] - 20, top + 20)
    page.pointer("mouseReleased", place[0] - 20, top + 20)
    time.sleep(0.1)
    # it follows to the side, but a class is not changed by the height
    assert re.match(r"9 points. Selected: point 9, class high, at x0 = 1\.[5-9]", shown(page, HINT))
    assert cells(page, "Points")[8][2] == "class high"


def test_quantiles_have_one_target(opened: Any) -> None:
    X = np.linspace(-2, 2, 12)[:, np.newaxis]
    scaling = ([3.0] * 3, [2.0] * 3)
    net = mlp.MLP(
        [1, 5, 3], "tanh", loss="quantile", quantile=[0.1, 0.5, 0.9], target_scaling=scaling, dtype="float64", seed=1
    )
    page = opened(net, X, 3 + X[:, 0])
    assert f"loss {net.evaluate(X, 3 + X[:, 0])[0]:.4g}" in shown(page, ".state")
    assert "the other quantiles" in shown(page, ".legend")
    before = pixels(page)
    choose(page, "Drawn output", "2")
    assert pixels(page) != before
    assert shown(page, ".axis") == "Up: the predicted number, quantile 0.9. To the right: x0."
    page.run("document.querySelector('.plane').focus()")
    page.key("n", 78, "n")
    page.key("ArrowUp", 38)
    moved = cells(page, "Points")[0][2]
    assert numbers([moved.removeprefix("target ")])[0] > 1.05
    targets = page.run("[...document.querySelectorAll('#steps .field input')].map((each) => Number(each.value))")
    assert targets == pytest.approx([numbers([moved.removeprefix("target ")])[0]] * 3, rel=1e-3)


# -- the output that the plane shows ---------------------------------------------------------------------------------


def test_each_of_several_numbers_can_be_drawn(opened: Any) -> None:
    X = np.random.default_rng(0).normal(size=(12, 2))
    scaling = ([5.0, -3.0], [2.0, 0.5])
    net = mlp.MLP([2, 6, 2], "tanh", loss="mse", target_scaling=scaling, dtype="float64", seed=1)
    page = opened(net, X, X * [2, 0.5] + [5, -3])
    first, legend = pixels(page), shown(page, ".legend")
    choose(page, "Drawn output", "1")
    assert pixels(page) != first
    assert shown(page, ".legend") != legend
    side = np.array([numbers(re.findall(r"[−\d.]+\d", text)) for text in re.findall(r"Orange: .*\d", legend)])
    low, high = side[0]
    answers = cells(page, "Answers of the network; x1 upward, x0 to the right")
    drawn = [float(cell.split(",")[0].replace("−", "-")) for row in answers for cell in row[1:]]
    assert min(drawn) == pytest.approx(low, abs=0.02)
    assert max(drawn) == pytest.approx(high, abs=0.02)
    page.run(f"{control('Target of new points: output 2')}.value = '-3.25'")
    page.run("document.querySelector('.plane').focus()")
    page.key("Escape", 27)
    page.key("Enter", 13)
    assert "target 0, −3.25, at x0" in shown(page, HINT)


def test_each_of_several_labels_can_be_drawn(opened: Any) -> None:
    X = np.random.default_rng(0).normal(size=(30, 2))
    labels = (X > 0).astype(float)
    net = mlp.MLP([2, 8, 2], "tanh", loss="binary_cross_entropy", classes=["right", "upper"], dtype="float64", seed=0)
    net.fit(X, labels, epochs=4, batch_size=10, optimizer=mlp.Adam(0.05))
    assert 0.3 < net.score(X, labels) < 0.9
    page = opened(net, X, labels, part="training")
    assert shown(page, ".legend").startswith("not rightrightboundary")
    first = pixels(page)
    choose(page, "Drawn output", "1")
    assert shown(page, ".legend").startswith("not upperupperboundary")
    assert pixels(page) != first
    points = cells(page, "Points")
    predicted = net.predict(X)
    for row, target, found in zip(points, labels, predicted, strict=True):
        names = [", ".join(np.array(["right", "upper"])[line > 0]) or "no label" for line in (target, found)]
        assert row[3:] == [f"labels: {names[0]}", names[1]]
    assert f"{100 * net.score(X, labels):.1f} % right" in shown(page, ".state")
    assert shown(page, ".answer") == f"The network answers: {points[0][4]}."
    page.run(f"{control('upper')}.click()")
    page.run("document.querySelector('.plane').focus()")
    page.key("Enter", 13)
    assert "Selected: point 31, labels: upper, at" in shown(page, HINT)


def test_classes_have_no_such_menu(opened: Any) -> None:
    page = opened(mlp.MLP([2, 3, 3]))
    assert page.run("[...document.querySelectorAll('label')].every((e) => e.textContent !== 'Drawn output')")
