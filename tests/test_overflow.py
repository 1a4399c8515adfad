"""Finite numbers that overflow: errors name the row and the layer, and NumPy warns only about the user's functions."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import mlp
from mlp.cli import cli

HUGE = np.array([[1.0, 2.0], [1.0, 1.0], [3e38, 3e38], [2.0, 1.0], [-3e38, 3e38]], np.float32)
SMALL = HUGE[[0, 1, 3]]


@pytest.fixture(autouse=True)
def numpy_does_not_warn() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        yield


def network(backend: str, loss: str = "cross_entropy", **settings: Any) -> mlp.MLP:
    """Layer 1 is the identity, and layer 2 multiplies by 10, so layer 2 overflows first."""
    net = mlp.MLP([2, 2, 2], "identity", loss=loss, backend=backend, **settings)
    net.weights = [np.eye(2), [[10.0, -10.0], [10.0, -10.0]]]
    return net


def targets(loss: str, n: int) -> np.ndarray:
    return np.arange(n) % 2 if loss == "cross_entropy" else np.ones((n, 2), np.float32)


@pytest.mark.parametrize("loss", ["cross_entropy", "mse", "poisson"])
@pytest.mark.parametrize("method", ["feedforward", "predict", "predict_proba", "score", "evaluate"])
def test_an_error_names_the_row_and_the_layer(backend: str, loss: str, method: str) -> None:
    if method == "predict_proba" and loss != "cross_entropy":
        pytest.skip("no probabilities")
    net = network(backend, loss)
    arguments = (targets(loss, 5),) if method in ("score", "evaluate") else ()
    with pytest.raises(
        mlp.DataError, match=r"outputs for row 2 of X \(counted from 0\).* from layer 2 on: its outputs"
    ):
        getattr(net, method)(HUGE, *arguments)
    with pytest.raises(mlp.DataError, match=r"row 2 .* 1 row has .*too large for this network in float32"):
        getattr(net, method)(HUGE[:4], *(a[:4] for a in arguments))
    getattr(net, method)(SMALL, *(a[:3] for a in arguments))


def test_a_float64_network_computes_what_float32_cannot(backend: str) -> None:
    net = network(backend)
    assert net.copy("float64").predict(HUGE[:4]).tolist() == [0, 0, 0, 0]


def test_rows_beyond_the_first_chunk_are_counted_from_the_beginning(backend: str) -> None:
    X = np.ones((10_000, 2), np.float32)
    X[9_000] = 3e38
    with pytest.raises(mlp.DataError, match="for row 9000 of X"):
        network(backend).predict(X)


@pytest.mark.parametrize("rows", [list, np.array])
def test_scaling_back_can_overflow(backend: str, rows: Callable[[Any], Any]) -> None:
    net = mlp.MLP([1, 1], loss="mse", backend=backend, target_scaling=([0.0], [1e30]))
    net.weights = [[[1.0]]]
    assert np.isfinite(net.predict(rows([[1e8]]))).all()
    with pytest.raises(mlp.DataError, match=r"row 0 .* from layer 1 on: scaling them back"):
        net.predict(rows([[1e9]]))


def test_infinity_within_the_network_is_allowed_where_the_outputs_are_finite(backend: str) -> None:
    net = mlp.MLP([2, 2, 2], "tanh", backend=backend)
    net.weights = [np.full((2, 2), 10.0), np.eye(2)]
    assert net.predict_proba(HUGE[:4]).sum(axis=1) == pytest.approx(1)
    saturated = mlp.MLP([2, 1], loss="binary_cross_entropy", backend=backend)
    saturated.weights = [[[10.0], [10.0]]]
    assert saturated.predict_proba(HUGE[:4])[2].tolist() == [0, 1]


def test_a_users_output_may_be_infinite_but_not_its_inputs(backend: str) -> None:
    limited = mlp.custom_activation("limited", lambda xp, z: xp.where(abs(z) < 15, z, np.inf), lambda xp, z: 1 + 0 * z)
    net = network(backend, "mse", output_activation=limited)
    assert net.feedforward([[1.0, 1.0], [0.5, 0.5]]).tolist() == [[np.inf, np.inf], [10, -10]]
    with pytest.raises(mlp.DataError, match=r"row 2 .* from layer 2 on"):
        net.feedforward(HUGE)


def test_a_users_function_may_warn(backend: str) -> None:
    def forward(xp: Any, z: Any) -> Any:
        np.float32(3e38) * np.float32(10)
        return z

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the check of the derivative
        activation = mlp.custom_activation("mine", forward, lambda xp, z: 1 + 0 * z)
        net = mlp.MLP([2, 2, 2], activation, backend=backend)
    with pytest.warns(RuntimeWarning, match="overflow"):
        net.predict(SMALL)
    with pytest.warns(RuntimeWarning, match="overflow"):
        net.fit(SMALL, [0, 1, 0], epochs=1)
    with np.errstate(all="ignore"):  # the user's setting
        net.predict(SMALL)


def test_callbacks_may_warn(backend: str) -> None:
    class Overflow(mlp.Callback):
        def on_batch_end(self, run: Any, batch: int, loss: float) -> None:
            np.float32(3e38) * np.float32(10)

    with pytest.warns(RuntimeWarning, match="overflow"):
        network(backend).fit(SMALL, [0, 1, 0], epochs=1, callbacks=[Overflow()])


@pytest.mark.parametrize("estimator", [mlp.MLPClassifier, mlp.MLPRegressor])
def test_estimators(backend: str, estimator: Any) -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40, 2))
    y = np.arange(40) % 3 if estimator is mlp.MLPClassifier else X[:, 0]
    fitted = estimator(hidden_layer_sizes=(4,), max_iter=2, backend=backend, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it does not converge
        fitted.fit(X, y)
    fitted.coefs_[0] *= 1e10
    X[7] = 1e300
    for method in ("predict", "predict_proba", "predict_log_proba"):
        if hasattr(fitted, method):
            with pytest.raises(mlp.DataError, match=r"row 7 of X .* from layer 1 on: its outputs"):
                getattr(fitted, method)(X)
    with pytest.raises(mlp.DataError, match="row 7 of X"):
        fitted.score(X, y)
    assert len(fitted.predict(X[:7])) == 7


def test_an_infinite_mean_of_finite_losses_is_a_divergence(backend: str) -> None:
    net = mlp.MLP([1, 1], loss="mse", dtype="float64", backend=backend)
    before = net.weights[0].copy()
    with pytest.raises(mlp.DivergenceError, match="the loss is not"):
        net.fit(
            np.ones((4, 1)), [1.3e154, 1.2e154, 1.3e154, 1.2e154], epochs=1, batch_size=1, optimizer=mlp.SGD(1e-300)
        )
    assert net.weights[0] == before


def test_an_infinite_validation_loss_is_a_warning_and_no_improvement(backend: str, caplog: Any) -> None:
    net = network(backend)
    rule = mlp.EarlyStopping(monitor="val_score", patience=3)
    with caplog.at_level(logging.WARNING, "mlp"):
        history = net.fit(
            SMALL, [0, 1, 0], epochs=9, validation_data=(HUGE, targets("cross_entropy", 5)), early_stopping=rule
        )
    assert not np.isfinite(history.val_loss).any()
    assert np.isnan(history.val_score).all()
    assert len(history) == 3
    assert history.best_epoch is None
    (message,) = [m for m in caplog.messages if "validation" in m]
    assert message.startswith("the validation loss is nan after epoch 1: ")


def test_gradients_of_rows_that_overflow(backend: str) -> None:
    loss, _ = network(backend).loss_and_gradients(HUGE, targets("cross_entropy", 5))
    assert not np.isfinite(loss)


def test_a_loss_may_be_infinite_where_the_outputs_are_finite(backend: str) -> None:
    net = mlp.MLP([1, 1], loss="mse", dtype="float64", backend=backend)
    net.weights = [[[1e200]]]
    assert net.evaluate([[1.0], [2.0]], [1.0, 2.0]) == (np.inf, -np.inf)


def test_the_command_line_names_the_row(tmp_path: Any) -> None:
    model, rows = tmp_path / "net.safetensors", tmp_path / "rows.npz"
    network("numpy", classes=(0, 1)).save(model)
    y = targets("cross_entropy", 5)
    np.savez(rows, X=SMALL, y=y[:3], X_test=HUGE, y_test=y)
    # predict answers all rows, of which the first three are training rows; evaluate takes the test rows
    for row, *command in ((5, "predict"), (5, "predict", "--proba"), (2, "predict", "--part", "test"), (2, "evaluate")):
        result = CliRunner().invoke(cli, [command[0], str(model), str(rows), *command[1:]], prog_name="mlp")
        assert result.exit_code == 1
        assert result.stdout == ""
        assert result.stderr.startswith(f"mlp: error: the outputs for row {row} of X")
        assert len(result.stderr.splitlines()) == 1


def test_a_test_part_that_overflows_does_not_lose_the_training(tmp_path: Any, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    y = targets("cross_entropy", 5)
    np.savez("rows.npz", X=SMALL / 4, y=y[:3], X_test=HUGE, y_test=y)
    arguments = [
        "train",
        "rows.npz",
        "--epochs",
        "1",
        "--lr",
        "1",
        "--output-dir",
        "run",
        "--backend",
        "numpy",
        "--json",
    ]
    result = CliRunner().invoke(cli, arguments, prog_name="mlp")
    assert result.exit_code == 0
    assert "mlp: warning: the test part has no score: the outputs for row 2 of X" in result.stderr
    assert json.loads(result.stdout)["test"] is None
