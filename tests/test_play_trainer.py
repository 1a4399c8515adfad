"""The training of a page in Chromium: of images too, in slices, with the settings of the run; and what it says."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import page_scripts
import pytest
from devtools import PROGRAM, Browser, browser
from page_actions import cells, choose, click, control, fill, saved, shown, wait_until
from play_networks import mnist_like

import mlp
from mlp import schedules
from mlp.inspection import play


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
        return chromium

    yield opened_page
    assert chromium.console == []


def some_images(n: int = 60, side: int = 8) -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    y = np.arange(n) % 3
    X = rng.integers(0, 120, (n, side * side))
    X[np.arange(n), y] += 100
    return X.astype(np.uint8), y


# -- images -------------------------------------------------------------------------------------------------------


def test_a_page_of_images_goes_on_training_as_fit(opened: Any, tmp_path: Path) -> None:
    X, y = some_images()
    net = mlp.MLP([64, 12, 3], input_scale=1 / 255, dropout=0.1, dtype="float64", backend="numpy")
    net.fit(X, y, epochs=2, batch_size=16, optimizer=mlp.Adam(0.02, weight_decay=0.01))
    page = opened(net, X, y, optimizer=mlp.Adam(0.02, weight_decay=0.01), batch_size=16)
    for _ in range(25):
        click(page, "One epoch")
    wait_until(page, lambda: shown(page, ".state").startswith("Epoch 25,") and shown(page, ".primary") == "Train")
    net.fit(X, y, epochs=25, batch_size=16, optimizer=mlp.Adam(0.02, weight_decay=0.01))
    loss, score = net.evaluate(X, y)
    assert shown(page, ".state") == f"Epoch 25, step 100 · 60 rows · loss {loss:.4g} · {100 * score:.1f} % right"
    np.testing.assert_allclose(saved(page, tmp_path).parameters, net.parameters, rtol=1e-6, atol=1e-6)


def test_a_long_training_shows_its_progress_and_can_be_stopped(opened: Any, tmp_path: Path) -> None:
    net = mnist_like()
    X, y = some_images(300, 28)
    page = opened(net, X, y, optimizer=mlp.Adam(1e-3), batch_size=30)
    page.run("""(() => {
        window.pictures = 0;
        const count = () => { window.pictures += 1; requestAnimationFrame(count); };
        count();
    })()""")
    click(page, "Train")
    assert shown(page, ".primary") == "Pause"
    wait_until(page, lambda: re.match(r"Epoch [1-9]", shown(page, ".state")) is not None)
    assert page.run("!document.querySelector('.progress').hidden")
    assert re.search(r"batch \d+ of 10 of this epoch", shown(page, ".progress"))
    assert page.run("document.querySelector('progress').max") == 10
    assert page.run("window.pictures") > 3  # the page could draw meanwhile
    click(page, "Pause")
    wait_until(page, lambda: shown(page, ".primary") == "Train")
    assert page.run("document.querySelector('.progress').hidden")
    wait_until(page, lambda: "after epoch" not in shown(page, ".state"))
    state = shown(page, ".state")
    time.sleep(0.3)
    assert shown(page, ".state") == state
    found = saved(page, tmp_path)
    loss, score = found.evaluate(X, y)
    assert f"300 rows · loss {loss:.4g} · {100 * score:.1f} % right" in state
    steps = int(re.search(r"step (\d+)", state)[1])  # type: ignore[index]
    net.fit(X, y, epochs=steps // 10, batch_size=30, optimizer=mlp.Adam(1e-3))
    recorded = [float(row[2].replace("−", "-")) for row in _losses(page)]
    assert recorded[-1] == pytest.approx(net.evaluate(X, y)[0], rel=2e-3)
    assert len(recorded) == steps // 10 + 1


def _losses(page: Browser) -> list[list[str]]:
    page.run("document.querySelectorAll('details').forEach((each) => (each.open = true))")
    time.sleep(0.1)
    return cells(page, "Loss on all rows")


def test_start_again_stops_a_long_training_at_once(opened: Any, tmp_path: Path) -> None:
    net = mnist_like()
    X, y = some_images(300, 28)
    page = opened(net, X, y)
    click(page, "Train")
    time.sleep(0.2)
    click(page, "Start again")
    assert shown(page, ".primary") == "Train"
    assert shown(page, ".state").startswith("Epoch 0, step 0 · 300 rows")
    np.testing.assert_array_equal(saved(page, tmp_path).parameters, net.parameters)


def test_weights_are_saved_after_a_whole_step(opened: Any, tmp_path: Path) -> None:
    """With one row in a batch, nearly all of a step is the update, which is made in several parts."""
    X, y = some_images(300, 28)
    net = mlp.MLP([784, 128, 3], input_scale=1 / 255, dtype="float64", backend="numpy")
    page = opened(net, X, y, optimizer=mlp.Adam(1e-3), batch_size=1)
    click(page, "Train")
    time.sleep(0.3)
    found = saved(page, tmp_path)
    steps: list[Any] = []

    class Steps(mlp.Callback):
        def on_batch_end(self, run: Any, batch: int, loss: float) -> None:
            steps.append(run.net.parameters[::1000].copy())
            if len(steps) == 200:
                run.stop()

    net.fit(X, y, epochs=1, batch_size=1, optimizer=mlp.Adam(1e-3), callbacks=[Steps()])
    assert any(np.allclose(found.parameters[::1000], one, rtol=1e-6, atol=1e-9) for one in steps)


def test_clicks_while_it_trains_add_epochs(opened: Any) -> None:
    X, y = some_images(150, 28)
    page = opened(mnist_like(), X, y, batch_size=50)
    for _ in range(3):
        click(page, "One epoch")
    assert shown(page, ".primary") == "Pause"
    wait_until(page, lambda: shown(page, ".primary") == "Train")
    assert shown(page, ".state").startswith("Epoch 3, step 9 ")


def test_images_without_rows_are_not_trained(opened: Any) -> None:
    page = opened(mnist_like())
    assert page.run("document.querySelector('#training')") is None


def test_a_point_that_is_added_is_trained_on(opened: Any, tmp_path: Path) -> None:
    moons = mlp.data.toy("moons", n=40)
    net = mlp.MLP([2, 4, 2], "tanh", dtype="float64", backend="numpy")
    page = opened(net, moons.X, moons.y, optimizer=mlp.Adam(0.02), batch_size=10)
    click(page, "One epoch")
    page.run("document.querySelector('.plane').focus()")
    page.key("Enter", 13)  # at the cross, which is at the first point
    assert "41 rows" in shown(page, ".state")
    click(page, "One epoch")
    wait_until(page, lambda: shown(page, ".state").startswith("Epoch 2, step 9"))
    net.fit(moons.X, moons.y, epochs=1, batch_size=10, optimizer=mlp.Adam(0.02))
    X, y = np.vstack([moons.X, moons.X[:1]]), np.append(moons.y, 0)
    net.fit(X, y, epochs=1, batch_size=10, optimizer=mlp.Adam(0.02))
    np.testing.assert_allclose(saved(page, tmp_path).parameters, net.parameters, rtol=1e-9, atol=1e-9)


# -- what the page says -------------------------------------------------------------------------------------------


def test_a_page_with_a_part_of_the_rows_says_so(opened: Any) -> None:
    X, y = some_images(20)
    net = mlp.MLP([64, 4, 3], input_scale=1 / 255)
    text = (
        "This page holds only 20 of the 1,438 rows that the network was trained on. It goes on training on these "
        "alone, and may get worse at others."
    )
    page = opened(net, X, y, part="training", trained_rows=1438)
    assert shown(page, ".trainer .warning") == text
    page = opened(net, X, y, trained_rows=1438)  # maybe not of those
    assert shown(page, ".trainer .warning").startswith(
        "This page holds 20 rows, but the network was trained on 1,438. "
    )
    page = opened(net, X, y, part="training", trained_rows=20)
    assert page.run("document.querySelector('.trainer .warning')") is None


def test_the_settings_of_the_run_are_shown_and_can_be_changed(opened: Any, tmp_path: Path) -> None:
    moons = mlp.data.toy("moons", n=40)
    net = mlp.MLP([2, 4, 2], "tanh", dtype="float64", backend="numpy")
    optimizer = mlp.SGD(
        schedules.Step(0.5, every=2, factor=0.1), momentum=0.5, weight_decay=0.02, clip_value=0.5, clip_norm=0.3
    )
    page = opened(net, moons.X, moons.y, optimizer=optimizer, batch_size=20, class_weights=np.array([0.5, 2.0]))
    values = {
        "Optimizer": "momentum", "Learning rate at first": "0.5", "Momentum": "0.5", "Batch size": "20",
        "Schedule of the rate": "own", "Weight decay": "0.02", "Largest entry of the gradient": "0.5",
        "Largest norm of the gradient": "0.3", "Label smoothing": "0",
    }  # fmt: skip
    for label, value in values.items():
        assert page.run(f"{control(label)}.value") == value, label
    assert page.run("document.querySelector('.trainer details[open] summary').textContent") == (
        "Weight decay and clipping"
    )
    notes = page.run("[...document.querySelectorAll('.trainer > .hint')].map((e) => e.textContent)")
    assert notes[-2:] == [
        "The classes have the weights of the last training.",
        "The schedule of the learning rate begins again, as with fit.",
    ]
    for _ in range(3):
        click(page, "One epoch")
    assert shown(page, ".state").endswith("rate 0.05")
    click(page, "Start again")
    # other settings: the page must then train as fit does with these
    choose(page, "Schedule of the rate", "constant")
    fill(page, "Learning rate", "0.2")
    fill(page, "Weight decay", "0.3")
    fill(page, "Largest entry of the gradient", "")
    fill(page, "Largest norm of the gradient", "0.1")
    fill(page, "Label smoothing", "0.1")
    for _ in range(4):
        click(page, "One epoch")
    wait_until(page, lambda: shown(page, ".state").startswith("Epoch 4, step 8"))
    changed = mlp.SGD(0.2, momentum=0.5, weight_decay=0.3, clip_norm=0.1)
    weights = {0: 0.5, 1: 2.0}
    net.fit(moons.X, moons.y, epochs=4, batch_size=20, optimizer=changed, label_smoothing=0.1, class_weight=weights)
    np.testing.assert_allclose(saved(page, tmp_path).parameters, net.parameters, rtol=1e-9, atol=1e-9)


def test_a_rate_that_follows_the_loss_starts_at_the_rate_of_the_field(opened: Any) -> None:
    moons = mlp.data.toy("moons", n=40)
    optimizer = mlp.SGD(schedules.ReduceOnPlateau(0.5, patience=1, min_delta=100.0, factor=0.5))
    page = opened(mlp.MLP([2, 4, 2]), moons.X, moons.y, optimizer=optimizer)
    fill(page, "Learning rate at first", "0.4")
    rates = []
    for _ in range(3):
        click(page, "One epoch")
        rates.append(shown(page, ".state").rpartition(" rate ")[2])
    assert rates == ["0.4", "0.2", "0.1"]  # the first loss is less than infinity


# -- slices -------------------------------------------------------------------------------------------------------

SLICES = """
    let time = 0;
    const waiting = [];
    performance.now = () => time;
    globalThis.setTimeout = (next) => waiting.push(next);
    function* steps(count) {
      for (let k = 0; k < count; k++) {
        for (let part = 0; part < 10; part++) {
          time += 1;
          yield;
        }
        yield "whole";
      }
      return "the end";
    }
    const work = new SlicedWork();
    const slices = [];
    let end = null;
    let began = 0;
    const note = () => {
      slices.push(time - began);
      began = time;
    };
    work.start(steps(10), (value) => (end = value), note);
    while (waiting.length) waiting.shift()();
    result = { slices, time, end, isRunning: work.isRunning };

    work.start(steps(1000), (value) => (end = value), () => {});
    work.complete();
    result.completed = time % 10;
    work.stop();
    const stopped = time;
    while (waiting.length) waiting.shift()();
    result.afterStop = time - stopped;

    for (let k = 0; k < 3; k++) work.start(steps(1000), () => {}, () => {});
    for (let k = waiting.length; k > 0; k--) waiting.shift()();
    result.waiting = waiting.length; // of the last one only
"""


def test_a_slice_of_work_ends_in_time_for_the_next_picture() -> None:
    if page_scripts.NODE is None:
        pytest.skip("needs Node 20 or newer, node")
    found = page_scripts.in_node(SLICES, None)
    assert found["slices"] == [24] * 4  # milliseconds of 100; the last slice ends with the work
    assert found["time"] == 100
    assert found["end"] == "the end"
    assert not found["isRunning"]
    assert found["completed"] == 0
    assert found["afterStop"] == 0
    assert found["waiting"] == 1
