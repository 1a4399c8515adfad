"""The learning rate range test: `mlp.find_learning_rate` and ``mlp lr-find``."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import mlp
from mlp.cli import cli
from mlp.training.learning_rate_test import LearningRateTest

DIGITS = mlp.data.load("digits")


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(*arguments: object, status: int = 0) -> Result:
    result = CliRunner().invoke(cli, ["lr-find", *map(str, arguments)], prog_name="mlp")
    assert result.exit_code == status, (result.output, result.exception)
    return result


def network(backend: str = "numpy", **settings: Any) -> mlp.MLP:
    return mlp.MLP([64, 16, 10], input_scale=DIGITS.input_scale, backend=backend, **settings)


def find(net: mlp.MLP, **settings: Any) -> LearningRateTest:
    return mlp.find_learning_rate(net, DIGITS.X, DIGITS.y, **settings)


# -- the test ------------------------------------------------------------------------------------------


def test_the_losses_are_those_of_a_training_step_by_step(backend: str) -> None:
    low, high, steps, batch_size = 1e-4, 1e-1, 60, 50
    net = network(backend, dtype="float64", seed=3)
    found = mlp.find_learning_rate(
        net, DIGITS.X, DIGITS.y, low=low, high=high, steps=steps, batch_size=batch_size, optimizer="sgd"
    )
    assert len(found.losses) == steps
    assert not found.diverged
    np.testing.assert_allclose(found.learning_rates, np.geomspace(low, high, steps), rtol=1e-12)
    # the same by hand: fit gives the order of the rows, loss_and_gradients everything else
    from backends.row_orders import Shuffle

    n, copy, expected = len(DIGITS.X), net.copy(), []
    batches = [
        rows[start : start + batch_size]
        for epoch in range(3)
        for rows in [Shuffle(3, epoch, n).row_numbers()]
        for start in range(0, n, batch_size)
    ]
    for rate, rows in zip(np.geomspace(low, high, steps), batches, strict=False):
        loss, gradients = copy.loss_and_gradients(DIGITS.X[rows], DIGITS.y[rows])
        expected.append(loss)
        copy.weights = [W - rate * dW for W, (dW, _) in zip(copy.weights, gradients, strict=True)]
        copy.biases = [b - rate * db for b, (_, db) in zip(copy.biases, gradients, strict=True)]
    np.testing.assert_allclose(found.losses, expected, rtol=1e-7)


def test_the_network_is_not_changed(backend: str) -> None:
    net = network(backend)
    net.fit(DIGITS.X, DIGITS.y, epochs=1)
    history, state = net.history, net.training_state
    before = [array.copy() for array in (*net.weights, *net.biases)]
    find(net)
    for array, old in zip((*net.weights, *net.biases), before, strict=True):
        np.testing.assert_array_equal(array, old)
    assert net.history is history
    assert net.training_state is state


def test_the_smoothed_losses_are_an_average_without_bias() -> None:
    found = find(network(), high=0.1)
    for n in (1, 2, 50, 100):
        weights = 0.98 ** np.arange(n)[::-1]
        assert found.smoothed[n - 1] == pytest.approx(np.average(found.losses[:n], weights=weights))


def test_a_loss_that_diverges_ends_the_test(backend: str) -> None:
    found = find(network(backend), optimizer="sgd", high=1e6)
    assert found.diverged
    assert 10 < len(found.losses) < 100
    assert np.isfinite(found.losses).all()
    assert found.smoothed[-1] > 4 * found.smoothed.min() or found.learning_rates[-1] > 1
    assert (found.smoothed[:-1] <= 4 * np.minimum.accumulate(found.smoothed)[:-1]).all()


def test_a_loss_that_is_not_finite_ends_the_test(backend: str) -> None:
    net = mlp.MLP([1, 1], loss="mse", init="normal", backend=backend)
    X, y = np.full((64, 1), 1e10), np.zeros(64)
    found = mlp.find_learning_rate(net, X, y, low=1e25, high=1e30, optimizer="sgd")
    assert found.diverged
    assert len(found.losses) < 5
    assert np.isfinite(found.losses).all()
    assert found.suggestion is None


def test_a_loss_that_does_not_fall_gives_no_suggestion() -> None:
    found = find(network(), low=1e-12, high=1e-11)
    assert not found.diverged
    assert found.suggestion is None


@pytest.mark.parametrize("optimizer", ["adam", mlp.SGD(5.0, momentum=0.9, nesterov=True), "rmsprop"])
def test_a_suggestion_trains_well(optimizer: Any) -> None:
    net = network()
    suggestion = find(net, optimizer=optimizer).suggestion
    assert suggestion is not None
    chosen = mlp.optimizers.optimizer(optimizer)
    chosen.learning_rate = suggestion
    net.fit(DIGITS.X, DIGITS.y, epochs=10, optimizer=chosen)
    assert net.score(DIGITS.X_test, DIGITS.y_test) > 0.9


def test_full_batches() -> None:
    found = find(network(), optimizer="gd", steps=30)
    assert len(found.losses) == 30 or found.diverged
    assert found.losses[1] < found.losses[0]


def test_weights_of_rows_and_classes_count() -> None:
    plain = find(network()).losses
    weights = np.random.default_rng(0).uniform(size=len(DIGITS.y))
    assert not np.array_equal(plain, find(network(), sample_weight=weights).losses)
    assert not np.array_equal(plain, find(network(), class_weight={0: 3.0}).losses)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"low": 0}, "low must be a positive number"),
        ({"high": math.inf}, "high must be a positive number"),
        ({"low": 1, "high": 1}, "low must be less than high=1, not 1"),
        ({"steps": 9}, "steps must be at least 10, not 9"),
        ({"steps": 1.5}, "steps must be a positive integer"),
        ({"optimizer": "adm"}, "unknown optimizer 'adm'"),
        ({"batch_size": 0}, "batch_size"),
    ],
)
def test_wrong_arguments(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(mlp.ConfigurationError, match=message):
        find(network(), **settings)


# -- the suggestions -----------------------------------------------------------------------------------


def fastai_valley(lrs: NDArray[Any], losses: NDArray[Any]) -> float:
    """`fastai.callback.schedule.valley` (fastai 2.7, Apache License 2.0), as it is written there."""
    n = len(losses)
    max_start, max_end = 0, 0
    lds = [1] * n
    for i in range(1, n):
        for j in range(i):
            if (losses[i] < losses[j]) and (lds[i] < lds[j] + 1):
                lds[i] = lds[j] + 1
            if lds[max_end] < lds[i]:
                max_end = i
                max_start = max_end - lds[max_end]
    sections = (max_end - max_start) / 3
    idx = max_start + int(sections) + int(sections / 2)
    return float(lrs[idx])


def fastai_steep(lrs: NDArray[Any], losses: NDArray[Any]) -> float:
    """`fastai.callback.schedule.steep`."""
    grads = (losses[1:] - losses[:-1]) / (np.log(lrs[1:]) - np.log(lrs[:-1]))
    return float(lrs[grads.argmin()])


@given(st.lists(st.floats(0.5, 2), min_size=30, max_size=60), st.integers(1, 25))
def test_the_suggestions_are_those_of_fastai(noise: list[float], depth: int) -> None:
    n = len(noise)
    losses = np.array(noise) * 0.05 + np.concatenate([np.full(n - depth, 3.0), np.linspace(3, 1, depth)])
    rates = np.geomspace(1e-5, 1, n)
    found = LearningRateTest(rates, losses, losses, planned=n, diverged=False)
    considered = slice(n // 10, -5)
    if found.valley is not None:
        assert found.valley == fastai_valley(rates[considered], losses[considered])
    else:
        assert losses[considered].min() > 0.9 * losses[considered].max() or depth < 10
    assert found.steepest in (None, fastai_steep(rates[considered], losses[considered]))
    assert (found.steepest is None) == (np.diff(losses[considered]) >= 0).all()


def test_the_curve_is_drawn_with_both_rates() -> None:
    pytest.importorskip("matplotlib")
    found = find(network())
    axes = mlp.plots.learning_rates(found).axes[0]
    lines = {line.get_label(): line.get_xydata() for line in axes.get_lines()}
    np.testing.assert_array_equal(lines["each batch"], np.column_stack([found.learning_rates, found.losses]))
    np.testing.assert_array_equal(lines["smoothed"], np.column_stack([found.learning_rates, found.smoothed]))
    ((rate, height),) = lines[f"valley (suggested): {found.valley:.2g}"]
    assert rate == found.valley
    assert height == pytest.approx(found.smoothed[found.learning_rates.tolist().index(rate)])
    empty = LearningRateTest(np.zeros(0), np.zeros(0), np.zeros(0), 10, True)
    with pytest.raises(mlp.DataError, match="fewer than two losses"):
        mlp.plots.learning_rates(empty)


# -- the command ---------------------------------------------------------------------------------------


def test_the_command_prints_the_curve_and_the_suggestion() -> None:
    lines = run("digits", "--backend", "numpy", "--hidden", 16).stdout.splitlines()
    document = json.loads(run("digits", "--backend", "numpy", "--hidden", 16, "--json").stdout)
    assert lines[0].startswith("network   64-16-10")
    assert lines[1] == "training  adam, batches of 32"
    suggestion = f"{document['suggestion']:.2g}"
    assert lines[-1] == f"suggested --lr {suggestion} (valley; steepest {document['steepest']:.2g})"
    (marked,) = [line for line in lines if line.endswith("  suggested")]
    assert marked.split()[0] == suggestion
    assert document["suggestion"] == find(network()).suggestion
    assert list(Path().iterdir()) == []


def test_the_network_and_the_data_are_those_of_train() -> None:
    options = ("sine", "--hidden", "8,4", "--activation", "tanh", "--optimizer", "sgd", "--momentum", 0.9, "--seed", 4,
               "--backend", "numpy", "--batch-size", 20)  # fmt: skip
    n = len(mlp.data.load("sine", seed=4).X)
    steps = -(-n // 20)
    assert n % 20 == 0  # all batches weigh the same in the loss of an epoch
    rates = ("--low", 0.01, "--high", 0.01 + 1e-12)
    losses = json.loads(run(*options, "--json", "--steps", steps, *rates).stdout)["losses"]
    train = ["train", *map(str, options), "--lr", "0.01", "--epochs", "1", "--quiet"]
    assert CliRunner().invoke(cli, train).exit_code == 0
    results = json.loads(Path("runs/sine-1/results.json").read_text())
    assert np.mean(losses) == pytest.approx(results["history"]["loss"][0], rel=1e-6)


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_the_picture(suffix: str) -> None:
    pytest.importorskip("matplotlib")
    assert run("moons", "--backend", "numpy", "--output", f"rates.{suffix}").stdout.splitlines()[-1] == (
        f"picture   rates.{suffix}"
    )
    assert Path(f"rates.{suffix}").stat().st_size > 5000


def test_a_test_without_a_result_says_so() -> None:
    output = run("digits", "--backend", "numpy", "--low", 1e-12, "--high", 1e-11).stdout
    assert "suggested none, because the loss did not fall" in output


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("", "Missing argument 'DATA'"),
        ("digts", "DATA: unknown data set 'digts'; did you mean 'digits'?"),
        ("moons --low 0", "--low: low must be a positive number"),
        ("moons --low 1 --high 0.1", "low must be less than high"),
        ("moons --steps 5", "--steps"),
        ("moons --output rates.txt", "--output"),
        ("moons --output no/rates.png", "--output: 'no/rates.png' cannot be written"),
        ("moons --lr 0.1", "--lr"),
        ("moons --optimizer adam --momentum 0.9", "--momentum does not apply"),
        ("moons --activation rleu", "--activation: unknown activation"),
        ("sine --class-weight balanced", "--class-weight applies to classes"),
        ("moons --batch-size 100000", "--batch-size"),
    ],
)
def test_wrong_usage_is_one_line(command: str, message: str) -> None:
    result = run(*command.split(), status=2)
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1
    assert message in result.stderr


def test_the_picture_needs_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    error = run("moons", "--output", "rates.png", status=2).stderr
    assert error == "mlp: error: pictures need matplotlib: pip install matplotlib\n"
