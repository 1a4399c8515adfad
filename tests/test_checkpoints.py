"""Checkpoints: a training that was ended at any batch, in any way, ends as if it had not been ended."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mlp
from mlp import persistence, schedules
from mlp.io import atomic_write, checkpoints, run_folders
from mlp.training import Interval, Run

ROOT = Path(__file__).parent.parent
THOROUGH = os.environ.get("MLP_HYPOTHESIS") == "thorough"

RNG = np.random.default_rng(3)
N = 47
X, Y = RNG.normal(size=(N, 6)), RNG.integers(0, 3, N)
WEIGHT = RNG.random(N)
BATCH_SIZE, EPOCHS = 5, 20  # ten batches in an epoch, the last one of two rows: 200 updates
SETTINGS: dict[str, Any] = {"epochs": EPOCHS, "batch_size": BATCH_SIZE, "validation_data": (X[:9], Y[:9])}

OPTIMIZERS: dict[str, Callable[[], mlp.Optimizer]] = {
    "sgd": lambda: mlp.SGD(0.2),
    "sgd, clipped": lambda: mlp.SGD(
        schedules.Step(0.2, every=3, factor=0.7), momentum=0.9, nesterov=True, clip_norm=1.0
    ),
    "adam": lambda: mlp.Adam(schedules.Exponential(0.01, factor=0.9), clip_value=0.5),
    "adamw": lambda: mlp.AdamW(schedules.Cosine(0.02, epochs=EPOCHS, warmup=2)),
    "rmsprop": lambda: mlp.RMSprop(schedules.ReduceOnPlateau(0.02, patience=1)),
    "adagrad": lambda: mlp.Adagrad(schedules.InverseScaling(0.1)),
}


def make(backend: str = "numpy", **options: Any) -> mlp.MLP:
    return mlp.MLP([6, 9, 3], **{"dropout": 0.2, "l2": 1e-3, "seed": 5, "backend": backend} | options)


def sha256(net: mlp.MLP, folder: Path) -> str:
    net.save(folder / "model.safetensors")
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


def assert_same_history(history: mlp.History, expected: mlp.History) -> None:
    for name in ("loss", "val_loss", "val_score", "learning_rate", "best_epoch", "stop_reason"):
        assert getattr(history, name) == getattr(expected, name), name


class Killed(Exception):
    """Raised in place of SIGKILL."""


class KilledAfterWriting(mlp.Checkpoint):
    """Ends the training when the first checkpoint is on disk."""

    def capture(self, *arguments: Any) -> Callable[[], None]:
        write = super().capture(*arguments)

        def write_and_die() -> None:
            write()
            raise Killed

        return write_and_die


# -- ended at any update -----------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_training_killed_after_any_update_ends_as_if_it_had_not_been(
    backend: str, optimizer: str, tmp_path: Path
) -> None:
    settings = SETTINGS | {"sample_weight": WEIGHT, "early_stopping": mlp.EarlyStopping(patience=7)}
    whole = make(backend)
    history = whole.fit(X, Y, optimizer=OPTIMIZERS[optimizer](), **settings)
    expected, updates = sha256(whole, tmp_path), 10 * len(history)
    for step in range(1, updates + 1, 1 if THOROUGH else 17):
        first = KilledAfterWriting(tmp_path / str(step), f"{step}steps")
        with pytest.raises(Killed):
            make(backend).fit(X, Y, optimizer=OPTIMIZERS[optimizer](), checkpoint=first, **settings)
        checkpoint, resumed = mlp.Checkpoint(tmp_path / str(step), "13 steps"), make(backend)
        assert checkpoint.restore(resumed)
        assert resumed.training_state.step == step
        assert_same_history(resumed.fit(X, Y, checkpoint=checkpoint, resume=True, **settings), history)
        assert sha256(resumed, tmp_path) == expected, step


def test_a_training_killed_after_its_last_update_gets_the_best_weights(backend: str, tmp_path: Path) -> None:
    settings = SETTINGS | {"early_stopping": mlp.EarlyStopping(patience=EPOCHS)}
    whole, resumed = make(backend), make(backend)
    history = whole.fit(X, Y, optimizer=mlp.Adam(0.05), **settings)
    assert history.best_epoch != EPOCHS
    with pytest.raises(Killed):
        make(backend).fit(
            X, Y, optimizer=mlp.Adam(0.05), checkpoint=KilledAfterWriting(tmp_path, f"{10 * EPOCHS}steps"), **settings
        )
    checkpoint = mlp.Checkpoint(tmp_path)
    for _ in range(2):  # the second time there is nothing left to do at all
        assert checkpoint.restore(resumed)
        assert_same_history(resumed.fit(X, Y, checkpoint=checkpoint, resume=True, **settings), history)
        assert sha256(resumed, tmp_path) == sha256(whole, tmp_path)
    with pytest.raises(mlp.ConfigurationError, match="has done 20 epochs, and epochs=19 is the total"):
        resumed.fit(X, Y, checkpoint=checkpoint, resume=True, **settings | {"epochs": EPOCHS - 1})


def test_callbacks_at_the_end_do_not_change_the_checkpoint(tmp_path: Path) -> None:
    """Not even if they fail: the checkpoint is on disk before."""

    class Zero(mlp.Callback):
        def on_train_end(self, run: Run) -> None:
            run.net.weights = [0 * W for W in run.net.weights]
            raise ValueError("at the end")

    whole, resumed, checkpoint = make(), make(), mlp.Checkpoint(tmp_path)
    whole.fit(X, Y, **SETTINGS)
    with pytest.raises(ValueError, match="at the end"):
        make().fit(X, Y, callbacks=[StopAfter(33), Zero()], checkpoint=checkpoint, **SETTINGS)
    assert checkpoint.restore(resumed)
    resumed.fit(X, Y, checkpoint=checkpoint, resume=True, **SETTINGS)
    assert sha256(resumed, tmp_path) == sha256(whole, tmp_path)


def test_a_network_that_a_callback_moved_is_resumed_on_its_new_backend(tmp_path: Path) -> None:
    def move(run: Run) -> None:
        if run.epoch == 2:
            run.net.to("numba")

    net, checkpoint = make(), mlp.Checkpoint(tmp_path)
    net.fit(X, Y, callbacks=[move], checkpoint=checkpoint, **SETTINGS | {"epochs": 3})
    resumed = make()
    checkpoint.restore(resumed)
    with pytest.raises(mlp.ConfigurationError, match="ran with backend 'numba', not 'numpy'"):
        resumed.fit(X, Y, checkpoint=checkpoint, resume=True, **SETTINGS)


@pytest.mark.parametrize("every", ["1steps", "7steps", "10 steps", "1000steps", "0.001s", "0.05s", "1h", None])
def test_checkpoints_change_no_result(backend: str, every: str | None, tmp_path: Path) -> None:
    nets = [make(backend) for _ in range(2)]
    history = nets[0].fit(X, Y, **SETTINGS)
    assert_same_history(nets[1].fit(X, Y, checkpoint=mlp.Checkpoint(tmp_path, every), **SETTINGS), history)
    assert sha256(nets[0], tmp_path) == sha256(nets[1], tmp_path)
    saved = mlp.load(tmp_path / "training.safetensors", backend=backend)
    assert_same_history(saved.history, history)


class Counting(mlp.Checkpoint):
    """Remembers the update after which each file was written."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.steps: list[int] = []

    def capture(self, net: Any, state: Any, parameters: Any) -> Callable[[], None]:
        self.steps.append(state.step)
        return super().capture(net, state, parameters)


@pytest.mark.parametrize(
    ("every", "expected"),
    [
        ("70steps", [70, 140, 200]),
        ("4steps", [*range(4, 201, 4), 200]),
        ("1 step", [*range(1, 201), 200]),
        (None, [200]),
    ],
)
def test_a_number_of_updates_is_kept_across_epochs(every: str, expected: list[int], tmp_path: Path) -> None:
    checkpoint = Counting(tmp_path, every)
    make().fit(X, Y, checkpoint=checkpoint, **SETTINGS)
    assert checkpoint.steps == expected


def test_a_time_divides_epochs(backend: str, tmp_path: Path) -> None:
    """There is a checkpoint within the one epoch of this training."""
    n = {"numpy": 12_000, "numba": 200_000}.get(backend, 4000)
    rows = RNG.normal(size=(n, 6))
    targets = (rows[:, 0] > 0).astype(int)
    checkpoint = Counting(tmp_path, "0.02s")
    net = mlp.MLP([6, 32, 2], backend=backend)
    net.fit(rows[:100], targets[:100], epochs=1, batch_size=1)  # compiles
    net.fit(rows, targets, epochs=1, batch_size=1, checkpoint=checkpoint)
    assert any(step % n for step in checkpoint.steps)


def test_full_batch_gradient_descent_is_resumed_too(backend: str, tmp_path: Path) -> None:
    settings = SETTINGS | {"batch_size": None}
    whole, resumed = make(backend), make(backend)
    history = whole.fit(X, Y, optimizer=mlp.GradientDescent(0.1), **settings)
    with pytest.raises(Killed):
        make(backend).fit(
            X, Y, optimizer=mlp.GradientDescent(0.1), checkpoint=KilledAfterWriting(tmp_path, "7steps"), **settings
        )
    checkpoint = mlp.Checkpoint(tmp_path)
    assert checkpoint.restore(resumed)
    assert_same_history(resumed.fit(X, Y, checkpoint=checkpoint, resume=True, **settings), history)
    assert sha256(resumed, tmp_path) == sha256(whole, tmp_path)


class SlowlyWritten(KilledAfterWriting):
    """Writes when the training has gone on."""

    def capture(self, *arguments: Any) -> Callable[[], None]:
        write = super().capture(*arguments)

        def wait_and_write() -> None:
            time.sleep(0.3)
            write()

        return wait_and_write


def test_what_is_written_is_the_state_of_the_checkpoint_and_not_a_later_one(backend: str, tmp_path: Path) -> None:
    """The schedule, the history and the weights change before the file is written."""
    settings = SETTINGS | {"early_stopping": mlp.EarlyStopping(patience=7)}
    whole, resumed = make(backend), make(backend)
    history = whole.fit(X, Y, optimizer=OPTIMIZERS["rmsprop"](), **settings)
    with pytest.raises(Killed):
        make(backend).fit(
            X, Y, optimizer=OPTIMIZERS["rmsprop"](), checkpoint=SlowlyWritten(tmp_path, "34steps"), **settings
        )
    assert mlp.Checkpoint(tmp_path).restore(resumed)
    assert resumed.training_state.step == 34
    assert_same_history(resumed.fit(X, Y, resume=True, **settings), history)
    assert sha256(resumed, tmp_path) == sha256(whole, tmp_path)


# -- ended within an epoch, in memory -------------------------------------------------------------------------


class StopAfter(mlp.Callback):
    def __init__(self, updates: int, signal_number: int | None = None) -> None:
        self.updates, self.signal_number = updates, signal_number

    def on_batch_end(self, run: Run, batch: int, loss: float) -> None:
        self.updates -= 1
        if not self.updates and self.signal_number is None:
            run.stop()
        elif not self.updates:
            os.kill(os.getpid(), self.signal_number)


@pytest.mark.parametrize("updates", [1, 9, 10, 11, 57, 199])
def test_a_stopped_training_goes_on_with_the_next_batch(updates: int, tmp_path: Path) -> None:
    whole, stopped = make(), make()
    history = whole.fit(X, Y, **SETTINGS)
    part = stopped.fit(X, Y, callbacks=[StopAfter(updates)], **SETTINGS)
    assert len(part) == -(-updates // 10)
    assert stopped.training_state.step == updates
    assert_same_history(stopped.fit(X, Y, resume=True, **SETTINGS), history)
    assert sha256(whole, tmp_path) == sha256(stopped, tmp_path)


def test_a_stopped_training_shows_a_part_of_the_epoch_which_the_resumed_one_completes() -> None:
    net, losses = make(), []
    watch = type(
        "Watch", (mlp.Callback,), {"on_batch_end": lambda self, run, batch, loss: losses.append((batch, loss))}
    )
    part = net.fit(X, Y, callbacks=[StopAfter(13), watch()], **SETTINGS)
    assert part.stop_reason == "a callback asked for it (in epoch 2, after 3 of 10 batches)"
    assert part.loss[1] == pytest.approx(np.mean([loss for _, loss in losses[10:]]))
    assert (net.training_state.epoch, net.training_state.batches_done) == (1, 3)
    net.fit(X, Y, resume=True, callbacks=[watch()], **SETTINGS | {"epochs": 2})
    assert [batch for batch, _ in losses[13:]] == list(range(3, 10))
    epoch = np.array([loss for _, loss in losses[10:20]])
    assert net.history.loss[1] == pytest.approx(np.average(epoch, weights=[5] * 9 + [2]))
    assert len(net.history.val_loss) == len(net.history.seconds) == 2


@pytest.mark.parametrize(
    ("changed", "difference"),
    [
        ({"batch_size": 6}, r"with batch_size=5; it cannot continue there with batch_size=6"),
        ({"shuffle": False}, r"with shuffle=True; it cannot continue there with shuffle=False"),
        ({"X": X[1:], "y": Y[1:]}, r"after batch 3 of epoch 1, with rows=47; it cannot continue there with rows=46"),
    ],
)
def test_within_an_epoch_the_batches_must_be_the_same(changed: dict[str, Any], difference: str) -> None:
    net = make()
    net.fit(X, Y, callbacks=[StopAfter(3)], **SETTINGS)
    before = net.parameters.copy()
    with pytest.raises(mlp.ConfigurationError, match=difference):
        net.fit(**{"X": X, "y": Y} | SETTINGS | changed, resume=True)
    np.testing.assert_array_equal(net.parameters, before)


def test_a_resumed_training_has_the_batch_size_of_the_last_one() -> None:
    net = make()
    net.fit(X, Y, epochs=2, batch_size=7)
    net.fit(X, Y, epochs=4, resume=True)
    assert net.training_state.step == 4 * 7


@pytest.mark.parametrize(
    "first",
    [
        lambda net: net.fit(X, Y, epochs=1, batch_size=N),
        lambda net: net.fit(X, Y, epochs=1, optimizer=mlp.GradientDescent(0.1)),
        lambda net: net.partial_fit(X, Y),
    ],
)
@pytest.mark.parametrize("rows", [N - 7, 2 * N])
def test_a_resumed_training_can_have_another_number_of_rows(first: Callable[[mlp.MLP], object], rows: int) -> None:
    net = make()
    first(net)
    net.fit(np.resize(X, (rows, 6)), np.resize(Y, rows), epochs=2, resume=True)
    one_batch = rows < N or isinstance(net.training_state.optimizer, mlp.GradientDescent)
    assert net.training_state.step == (2 if one_batch else 3)


def test_partial_fit_and_trace_do_not_continue_within_an_epoch() -> None:
    net = make()
    net.fit(X, Y, callbacks=[StopAfter(3)], **SETTINGS)
    net.trace(X[:4], Y[:4], steps=2)
    assert net.training_state.batches_done == 3
    net.partial_fit(X[:4], Y[:4])
    assert (net.training_state.epoch, net.training_state.step, net.training_state.batches_done) == (2, 4, 0)


def test_divergence_after_a_checkpoint_restores_the_weights_of_the_start_of_the_epoch(
    backend: str, tmp_path: Path
) -> None:
    errors = []
    for checkpoint in (None, mlp.Checkpoint(tmp_path, "3steps")):
        net = make(backend, dropout=0.0)
        rate = schedules.Step(0.1, every=2, factor=1e30)
        with pytest.raises(mlp.DivergenceError, match="from the start of this epoch") as caught:
            net.fit(X, Y, optimizer=mlp.SGD(rate), checkpoint=checkpoint, **SETTINGS)
        errors.append((str(caught.value), caught.value.batch, sha256(net, tmp_path)))
    assert errors[0] == errors[1]


# -- the file ------------------------------------------------------------------------------------------------


def stopped_at(updates: int, folder: Path, **settings: Any) -> mlp.Checkpoint:
    checkpoint = mlp.Checkpoint(folder)
    make().fit(X, Y, callbacks=[StopAfter(updates)], checkpoint=checkpoint, **SETTINGS | settings)
    return checkpoint


def test_the_file_is_not_overwritten_by_another_training(tmp_path: Path) -> None:
    checkpoint = stopped_at(13, tmp_path / "new" / "folder")
    content = checkpoint.file.read_bytes()
    with pytest.raises(
        mlp.ConfigurationError, match=r"exists already, and a training that does not continue it would overwrite it"
    ):
        make().fit(X, Y, checkpoint=checkpoint, **SETTINGS)
    assert checkpoint.file.read_bytes() == content
    assert not mlp.Checkpoint(tmp_path).restore(make())


def test_the_file_is_not_overwritten_by_a_resumed_training_that_does_not_continue_it(tmp_path: Path) -> None:
    checkpoint, other, behind = stopped_at(33, tmp_path), make(seed=6), make()
    other.fit(X, Y, **SETTINGS)
    behind.fit(X, Y, callbacks=[StopAfter(20)], **SETTINGS)
    content = checkpoint.file.read_bytes()
    for net in (other, behind):
        with pytest.raises(mlp.ConfigurationError, match="a training that does not continue it would overwrite it"):
            net.fit(X, Y, checkpoint=checkpoint, resume=True, **SETTINGS | {"epochs": EPOCHS + 1})
    assert checkpoint.file.read_bytes() == content
    ahead = make()
    ahead.fit(X, Y, callbacks=[StopAfter(50)], **SETTINGS)
    ahead.fit(X, Y, checkpoint=checkpoint, resume=True, **SETTINGS)
    assert mlp.load(checkpoint.file).training_state.step == 200


def test_a_refused_training_leaves_the_network_with_its_last_one(tmp_path: Path) -> None:
    checkpoint, net = stopped_at(13, tmp_path), make()
    net.fit(X, Y, **SETTINGS)
    state = net.training_state
    with pytest.raises(mlp.ConfigurationError, match="exists already"):
        net.fit(X, Y, checkpoint=checkpoint, **SETTINGS)
    assert net.training_state is state


def test_a_training_stopped_before_its_first_update_can_be_resumed(tmp_path: Path) -> None:
    """As by SIGTERM while the kernels are compiled."""

    class Stop(mlp.Callback):
        def on_train_begin(self, run: Run) -> None:
            run.stop()

    checkpoint, whole, resumed = mlp.Checkpoint(tmp_path), make(), make()
    make().fit(X, Y, callbacks=[Stop()], checkpoint=checkpoint, **SETTINGS)
    assert checkpoint.restore(resumed)
    resumed.fit(X, Y, checkpoint=checkpoint, resume=True, **SETTINGS)
    whole.fit(X, Y, **SETTINGS)
    assert sha256(resumed, tmp_path) == sha256(whole, tmp_path)


@pytest.mark.parametrize(
    "changed",
    [
        {"shuffle": np.True_},
        {"shuffle": 1, "batch_size": np.int64(5)},
        {"early_stopping": mlp.EarlyStopping(patience=np.int64(30), min_delta=np.float32(0.1))},
        {"optimizer": mlp.SGD(np.float32(0.1), momentum=np.float32(0.5), nesterov=np.True_)},
        {"optimizer": mlp.SGD(schedules.Step(np.float32(0.1), every=np.int64(2), factor=np.float32(0.7)))},
        {"optimizer": mlp.SGD(schedules.ReduceOnPlateau(np.float32(0.1), patience=np.int64(1)))},
    ],
)
def test_arguments_of_numpy_types_are_recorded(changed: dict[str, Any], tmp_path: Path) -> None:
    settings = SETTINGS | changed
    whole, resumed, checkpoint = make(), make(), mlp.Checkpoint(tmp_path)
    whole.fit(X, Y, **settings)
    with pytest.raises(Killed):
        make().fit(X, Y, checkpoint=KilledAfterWriting(tmp_path, "57steps"), **settings)
    assert checkpoint.restore(resumed)
    resumed.fit(X, Y, checkpoint=checkpoint, resume=True, **settings | {"optimizer": None})
    assert sha256(resumed, tmp_path) == sha256(whole, tmp_path)


class OwnSchedule(schedules.Schedule):
    def __call__(self, step: int, epoch: float) -> float:
        return self.learning_rate


@pytest.mark.parametrize(
    ("options", "settings", "reason"),
    [
        ({}, {"checkpoint": "folder"}, "checkpoint must be a mlp.Checkpoint, such as .*, not 'folder'"),
        ({}, {"optimizer": mlp.SGD(OwnSchedule(0.1))}, "the schedule OwnSchedule cannot be saved"),
        ({"classes": [b"a", b"b", b"c"]}, {}, "class names must be strings, numbers or booleans to be saved"),
    ],
)
def test_what_cannot_be_saved_is_refused_before_the_first_update(
    options: dict[str, Any], settings: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    net = make(**options)
    with pytest.raises(mlp.ConfigurationError, match=reason):
        net.fit(X, Y, **{"checkpoint": mlp.Checkpoint(tmp_path)} | SETTINGS | settings)
    assert net.training_state is None


def test_a_folder_that_cannot_be_read_gives_a_storage_error() -> None:
    checkpoint, net = mlp.Checkpoint("x" * 300), make()
    assert not checkpoint.restore(net)
    with pytest.raises(mlp.StorageError, match="File name too long"):
        net.fit(X, Y, checkpoint=checkpoint, **SETTINGS)


def test_a_file_with_more_batches_than_updates_is_damaged(tmp_path: Path) -> None:
    checkpoint = stopped_at(13, tmp_path)
    net = mlp.load(checkpoint.file)
    net.training_state.step = 2
    with pytest.raises(mlp.ConfigurationError, match="batches is 3, but there were 2 updates in total"):
        persistence.save_training_state(net, checkpoint.file)


@pytest.mark.parametrize(
    ("changed", "error", "difference"),
    [
        ({"X": X + 1e-9}, mlp.DataError, "training data differ"),
        ({"y": (Y + 1) % 3}, mlp.DataError, "training data differ"),
        ({"sample_weight": WEIGHT}, mlp.DataError, "training data differ"),
        ({"validation_data": (X[:8], Y[:8])}, mlp.DataError, "validation data differ"),
        ({"batch_size": 6}, mlp.ConfigurationError, "had batch_size=5, and this one has batch_size=6"),
        ({"shuffle": False}, mlp.ConfigurationError, "had shuffle=True, and this one has shuffle=False"),
        (
            {"early_stopping": True},
            mlp.ConfigurationError,
            "had early_stopping=None, and this one has early_stopping={",
        ),
    ],
)
@pytest.mark.parametrize("updates", [10, 13])
def test_other_data_and_another_plan_are_refused(
    changed: dict[str, Any], error: type[Exception], difference: str, updates: int, tmp_path: Path
) -> None:
    checkpoint, net = stopped_at(updates, tmp_path), make()
    checkpoint.restore(net)
    arguments = {"X": X, "y": Y} | SETTINGS | changed
    if updates == 13 and error is mlp.ConfigurationError and "early_stopping" not in changed:
        difference = "it cannot continue there"
    with pytest.raises(error, match=difference):
        net.fit(**arguments, resume=True, checkpoint=checkpoint)


def test_another_network_is_refused(tmp_path: Path) -> None:
    checkpoint = stopped_at(13, tmp_path)
    with pytest.raises(mlp.ConfigurationError, match=r"its l2 is 0\.001, and that of this network is 0\.0"):
        checkpoint.restore(make(l2=0.0))


@pytest.mark.parametrize(
    ("key", "value", "difference"),
    [
        ("cpu", "Pentium", "ran with cpu 'Pentium', not"),
        ("cpu_features", ["MMX"], r"ran with cpu features \['MMX'\], not"),
        ("versions", {"mlp": "0.0.1"}, "ran with versions {'mlp': '0.0.1', 'numpy': None}, not {'mlp'"),
        ("blas_threads", 96, r"ran with blas threads 96, not \d"),
        ("backend", "numba", "ran with backend 'numba', not 'numpy'"),
    ],
)
def test_another_machine_is_refused_unless_it_is_allowed(key: str, value: Any, difference: str, tmp_path: Path) -> None:
    checkpoint, net = stopped_at(13, tmp_path), make()
    checkpoint.restore(net)
    net.training_state.conditions[key] = value
    persistence.save_training_state(net, checkpoint.file)
    net = make()
    checkpoint.restore(net)
    with pytest.raises(mlp.ConfigurationError, match=difference):
        net.fit(X, Y, resume=True, checkpoint=checkpoint, **SETTINGS)
    allowed = mlp.Checkpoint(tmp_path, allow_different_machine=True)
    assert len(net.fit(X, Y, resume=True, checkpoint=allowed, **SETTINGS)) == EPOCHS


def test_the_automatic_backend_is_that_of_the_training_to_resume(tmp_path: Path) -> None:
    """By the amount of work alone, the resumed training would get the faster backend."""
    big, classes = RNG.normal(size=(4000, 64)), RNG.integers(0, 3, 4000)

    def net() -> mlp.MLP:
        return mlp.MLP([64, 64, 3], backend="auto")

    checkpoint, first, resumed = mlp.Checkpoint(tmp_path), net(), net()
    first.fit(big, classes, epochs=1, batch_size=4000, checkpoint=checkpoint)
    assert first.backend == "numpy"
    checkpoint.restore(resumed)
    if resumed.backend_for(resumed.training_work(4000, 400, 4000))[0] == "numpy":
        pytest.skip("NumPy is the fastest backend here")
    resumed.fit(big, classes, epochs=2, checkpoint=checkpoint, resume=True)
    assert (resumed.backend, resumed.backend_reason) == ("numpy", "the training to resume ran on it")


@pytest.mark.parametrize(
    "text", ["30", "s", "-1s", "0s", "0steps", "1.5steps", "1e3s", "30 days", "", "nans", "9" * 400 + "s"]
)
def test_what_is_no_interval_is_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(mlp.ConfigurationError, match="is not an interval; expected a time such as 30s"):
        mlp.Checkpoint(tmp_path, text)


def test_a_folder_is_a_path() -> None:
    with pytest.raises(mlp.ConfigurationError, match="the folder of a checkpoint must be a path, not None"):
        mlp.Checkpoint(None)  # type: ignore[arg-type]


@given(st.floats(0.001, 1e5), st.sampled_from(["s", "min", "h"]), st.integers(1, 10**9))
def test_intervals_are_read_as_written(number: float, unit: str, steps: int) -> None:
    seconds = {"s": 1, "min": 60, "h": 3600}[unit]
    assert Interval.parse(f"{number:f} {unit}").seconds == pytest.approx(float(f"{number:f}") * seconds)
    assert Interval.parse(f"{steps}steps") == Interval(steps=steps)


# -- ended by the system ---------------------------------------------------------------------------------------

PROGRAM = f"""
import sys
sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / "tests")!r}]
import resource, signal
import mlp
from test_checkpoints import X, Y, SETTINGS, make
signal.signal(signal.SIGTERM, signal.SIG_DFL)  # background jobs of a shell may ignore them
signal.signal(signal.SIGINT, signal.default_int_handler)
backend, every, epochs, limit = sys.argv[1:]
if int(limit):
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
settings = SETTINGS | {{"epochs": int(epochs)}}
class Saved(mlp.Checkpoint):
    def capture(self, net, state, parameters):
        write = super().capture(net, state, parameters)
        return lambda: (write(), print("saved", state.step, flush=True))
net = make(backend)
checkpoint = Saved("killed", every)
print("done", net.fit(X, Y, checkpoint=checkpoint, resume=checkpoint.restore(net), **settings).stop_reason)
"""


def started(folder: Path, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *map(str, arguments)],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def last_saved(output: str) -> int:
    lines = output.rpartition("\n")[0].splitlines()
    return max((int(line.split()[1]) for line in lines if line.startswith("saved ")), default=0)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_a_process_that_was_ended_goes_on_where_it_was(number: signal.Signals, backend: str, tmp_path: Path) -> None:
    if backend == "cupy":
        pytest.skip("other processes have no stand-in for a GPU")
    every, epochs = "0.01s", 3000
    process = started(tmp_path, backend, every, epochs, 0)
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(3)]
    assert lines[-1].startswith("saved "), process.communicate()
    process.send_signal(number)
    output, errors = process.communicate(timeout=60)
    ended = {signal.SIGKILL: -9, signal.SIGTERM: 143, signal.SIGINT: 0}
    assert process.returncode == ended[number], errors
    if number == signal.SIGINT:
        assert "done interrupted by Ctrl-C" in output
    saved = mlp.load(tmp_path / "killed" / "training.safetensors", backend=backend)
    assert saved.training_state.step >= last_saved("".join(lines) + output), "an acknowledged checkpoint is lost"
    left = 1 + saved.training_state.epoch
    process = started(tmp_path, backend, every, left, 0)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    whole = make(backend)
    whole.fit(X, Y, **SETTINGS | {"epochs": left})
    resumed = mlp.load(tmp_path / "killed" / "training.safetensors", backend=backend)
    assert sha256(resumed, tmp_path) == sha256(whole, tmp_path)
    assert os.listdir(tmp_path / "killed") == ["training.safetensors"]


def test_a_full_disk_ends_the_training_and_keeps_the_last_checkpoint(tmp_path: Path) -> None:
    """The file grows with the history, until the system refuses to write it."""
    process = started(tmp_path, "numpy", "10steps", 150, 7000)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "StorageError: 'killed/training.safetensors' cannot be written: File too large" in errors
    saved = mlp.load(tmp_path / "killed" / "training.safetensors", backend="numpy")
    assert 20 < saved.training_state.step == last_saved(output) < 1500
    assert os.listdir(tmp_path / "killed") == ["training.safetensors"]
    process = started(tmp_path, "numpy", "10steps", 150, 0)
    assert "done all 150 epochs done" in process.communicate(timeout=60)[0]
    whole = make()
    whole.fit(X, Y, **SETTINGS | {"epochs": 150})
    assert sha256(mlp.load(tmp_path / "killed" / "training.safetensors"), tmp_path) == sha256(whole, tmp_path)


def test_sigterm_raises_system_exit_after_the_checkpoint(tmp_path: Path) -> None:
    before, net = signal.signal(signal.SIGTERM, signal.SIG_DFL), make()
    try:
        with pytest.raises(SystemExit) as caught:
            net.fit(X, Y, checkpoint=mlp.Checkpoint(tmp_path), callbacks=[StopAfter(13, signal.SIGTERM)], **SETTINGS)
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    finally:
        signal.signal(signal.SIGTERM, before)
    assert caught.value.code == 143
    assert net.history.stop_reason == "interrupted by SIGTERM (in epoch 2, after 3 of 10 batches)"
    assert mlp.load(tmp_path / "training.safetensors").training_state.step == 13


AT_THE_END = f"""
import sys
sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / "tests")!r}]
import multiprocessing, os, signal, time
import mlp
from test_checkpoints import X, Y, SETTINGS, StopAfter, make
signal.signal(signal.SIGTERM, signal.SIG_DFL)
class Terminate(mlp.Callback):
    def __init__(self, event):
        setattr(self, event, lambda run: (os.kill(os.getpid(), signal.SIGTERM), run.stop("good enough")))
checkpoint, net = mlp.Checkpoint("here"), make()
net.fit(X, Y, checkpoint=checkpoint, callbacks=[Terminate(sys.argv[1])], **SETTINGS)
print("goes on")
"""


@pytest.mark.parametrize("event", ["on_epoch_end", "on_train_end"])
def test_sigterm_is_not_forgotten_if_the_training_ends_anyway(event: str, tmp_path: Path) -> None:
    command = [sys.executable, "-c", AT_THE_END, event]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stdout) == (143, ""), ended.stderr
    assert mlp.load(tmp_path / "here" / "training.safetensors").training_state.step in (10, 200)


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="needs fork")
def test_sigterm_ends_a_forked_process_at_once(tmp_path: Path) -> None:
    """So that a pool of processes in a callback can end its workers."""
    exit_codes = []

    def fork(run: Run) -> None:
        child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
        child.start()
        time.sleep(0.2)
        child.terminate()
        child.join(10)
        exit_codes.append(child.exitcode)
        child.kill()

    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        make().fit(X, Y, checkpoint=mlp.Checkpoint(tmp_path), callbacks=[fork], **SETTINGS | {"epochs": 1})
    finally:
        signal.signal(signal.SIGTERM, before)
    assert exit_codes == [-signal.SIGTERM]


def test_sigterm_is_left_alone_without_a_checkpoint() -> None:
    """A program without checkpoints would go on after `fit` as if nothing had happened."""
    seen = []
    net = make()
    net.fit(X, Y, epochs=1, callbacks=[lambda run: seen.append(signal.getsignal(signal.SIGTERM))])
    assert seen == [signal.getsignal(signal.SIGTERM)]


def test_a_checkpoint_that_cannot_be_written_ends_the_training(tmp_path: Path) -> None:
    class Full(mlp.Checkpoint):
        def capture(self, net: Any, state: Any, parameters: Any) -> Callable[[], None]:
            def write() -> None:
                raise mlp.StorageError("no space left")

            return write

    started_at = time.monotonic()
    net = make()
    with pytest.raises(mlp.StorageError, match="no space left"):
        net.fit(X, Y, checkpoint=Full(tmp_path, "0.05s"), **SETTINGS | {"epochs": 10**6})
    assert time.monotonic() - started_at < 60
    assert np.isfinite(net.parameters).all()


@pytest.mark.skipif(not THOROUGH, reason="a long test: set MLP_HYPOTHESIS=thorough")
def test_a_thousand_kills(tmp_path: Path) -> None:
    """Children of one process, which has imported everything, are killed at random times."""
    random, step = np.random.default_rng(), 0
    for kill in range(1000):
        reader, writer = os.pipe()
        child = os.fork()
        if not child:
            os.dup2(writer, 1)
            os.chdir(tmp_path)
            checkpoint, net = mlp.Checkpoint("killed", "1steps"), make()
            capture = checkpoint.capture

            def acknowledging(net: Any, state: Any, parameters: Any, capture: Any = capture) -> Callable[[], None]:
                write = capture(net, state, parameters)
                return lambda: (write(), os.write(1, b"saved %d\n" % state.step))  # type: ignore[return-value]

            checkpoint.capture = acknowledging  # type: ignore[method-assign]
            net.fit(X, Y, checkpoint=checkpoint, resume=checkpoint.restore(net), **SETTINGS | {"epochs": 10**6})
            os._exit(1)
        os.close(writer)
        time.sleep(random.uniform(0.02, 0.2))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        with open(reader) as handle:
            acknowledged = last_saved(handle.read())
        file = tmp_path / "killed" / "training.safetensors"
        if not file.exists():
            assert not acknowledged
            continue
        saved = mlp.load(file, backend="numpy")
        assert saved.training_state.step >= max(acknowledged, step), kill
        step = saved.training_state.step
    assert step > 1000
    whole, settings = make(), SETTINGS | {"epochs": saved.training_state.epoch + 1}
    whole.fit(X, Y, **settings)
    saved.fit(X, Y, resume=True, **settings)
    assert sha256(saved, tmp_path) == sha256(whole, tmp_path)


# -- folders ----------------------------------------------------------------------------------------------------


def test_temporary_files_of_killed_processes_are_deleted_and_others_kept(tmp_path: Path) -> None:
    names = [".model.safetensors.0123abcd.tmp", ".other.0123abcd.tmp", ".notes.tmp", "x.0123abcd.tmp", ".model.tmp"]
    for name in names:
        (tmp_path / name).write_text("left")
    with atomic_write._temporary_file(tmp_path / "model.safetensors") as (busy, _):
        make().save(tmp_path / "model.safetensors")
        assert sorted(os.listdir(tmp_path)) == sorted([*names[1:], busy.name, "model.safetensors"])
        atomic_write.remove_leftovers(tmp_path)
        assert sorted(os.listdir(tmp_path)) == sorted([*names[2:], busy.name, "model.safetensors"])
    busy.unlink()
    atomic_write.remove_leftovers(tmp_path / "deleted by another process")


def test_no_timer_is_left_after_a_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The training ends while the thread that has written a checkpoint is about to start the timer again."""

    class SlowTimer(threading.Timer):
        def __init__(self, seconds: float, function: Callable[[], None]) -> None:
            if again := threading.current_thread() is not threading.main_thread():
                time.sleep(0.5)
            super().__init__(3600 if again else seconds, function)

    monkeypatch.setattr(threading, "Timer", SlowTimer)
    checkpoint = Counting(tmp_path, "0.02s")
    make().fit(X, Y, checkpoint=checkpoint, **SETTINGS)
    assert len(checkpoint.steps) > 1
    for thread in threading.enumerate():
        if isinstance(thread, threading.Timer):
            thread.join(1)
            assert not thread.is_alive()


def test_two_runs_never_share_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both have seen that the folder is empty."""
    monkeypatch.chdir(tmp_path)
    assert run_folders.create_folder("moons", "mine") == Path("mine")
    monkeypatch.setattr(run_folders, "require_new", lambda folder: None)
    with pytest.raises(mlp.ConfigurationError, match="another run has just started in 'mine'"):
        run_folders.create_folder("moons", "mine")
    program = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from mlp.io.run_folders import create_folder
print(*(create_folder("moons") for _ in range(50)))
"""
    processes = [
        subprocess.Popen([sys.executable, "-c", program], cwd=tmp_path, stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    folders = [folder for process in processes for folder in process.communicate(timeout=60)[0].split()]
    assert len(set(folders)) == len(folders) == 150


# -- the command line ---------------------------------------------------------------------------------------------


def command(folder: Path, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "mlp", *map(str, arguments)],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_sigterm_saves_reports_and_exits_with_143(tmp_path: Path) -> None:
    options = ("--backend", "numpy", "--batch-size", 1, "--epochs", 100_000, "--validation", 0.2)
    process = command(tmp_path, "train", "moons", *options, "--checkpoint-every", "0.05s", "--output-dir", "first")
    metrics = tmp_path / "first" / "metrics.csv"
    while process.poll() is None and not (metrics.exists() and len(metrics.read_text().splitlines()) > 2):
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 143, errors
    assert "ended     interrupted by SIGTERM" in output
    assert "continue with: mlp train --resume first" in errors
    assert json.loads((tmp_path / "first" / "results.json").read_text())["interrupted"]
    state = mlp.load(tmp_path / "first" / "training.safetensors").training_state
    epochs = state.epoch + 1
    resumed = command(tmp_path, "train", "--resume", "first", "--epochs", epochs, "--output-dir", "second")
    output, errors = resumed.communicate(timeout=60)
    assert resumed.returncode == 0, errors
    assert f"after {state.epoch} epochs and {state.batches_done} batch" in output or not state.batches_done
    whole = command(tmp_path, "train", "moons", *options, "--epochs", epochs, "--output-dir", "whole")
    assert whole.wait(timeout=60) == 0
    second, unbroken = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("second", "whole"))
    assert second == unbroken


def test_the_command_line_refuses_another_machine(tmp_path: Path) -> None:
    assert command(tmp_path, "train", "moons", "--epochs", 1, "--output-dir", "run").wait(timeout=60) == 0
    file = tmp_path / "run" / "training.safetensors"
    net = mlp.load(file)
    net.training_state.conditions["cpu"] = "Pentium"
    persistence.save_training_state(net, file)
    refused = command(tmp_path, "train", "--resume", "run", "--epochs", 2)
    assert "ran with cpu 'Pentium', not" in refused.communicate(timeout=60)[1]
    assert refused.returncode == 2
    allowed = command(tmp_path, "train", "--resume", "run", "--epochs", 2, "--allow-different-machine")
    assert allowed.wait(timeout=60) == 0


def test_the_backend_that_a_run_had_permits_no_other_machine(tmp_path: Path) -> None:
    options = ("--epochs", 1, "--backend", "numpy", "--output-dir", "run")
    assert command(tmp_path, "train", "moons", *options).wait(timeout=60) == 0
    file = tmp_path / "run" / "training.safetensors"
    net = mlp.load(file)
    net.training_state.conditions["cpu"] = "Pentium"
    persistence.save_training_state(net, file)
    refused = command(tmp_path, "train", "--resume", "run", "--epochs", 2, "--backend", "numpy")
    assert "ran with cpu 'Pentium', not" in refused.communicate(timeout=60)[1]
    assert command(tmp_path, "train", "--resume", "run", "--epochs", 2, "--backend", "numba").wait(timeout=60) == 0


def test_a_run_killed_before_its_results_is_completed(tmp_path: Path) -> None:
    assert command(tmp_path, "train", "moons", "--epochs", 2, "--output-dir", "run").wait(timeout=60) == 0
    done = command(tmp_path, "train", "--resume", "run")
    assert "has done 2 epochs" in done.communicate(timeout=60)[1]
    (tmp_path / "run" / "results.json").unlink()
    assert command(tmp_path, "train", "--resume", "run", "--output-dir", "again").wait(timeout=60) == 0
    models = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("run", "again")]
    assert models[0] == models[1]


def test_states_of_before_have_no_conditions(tmp_path: Path) -> None:
    net = make()
    net.fit(X, Y, **SETTINGS | {"epochs": 2})
    net.training_state = replace(net.training_state, conditions={})
    persistence.save_training_state(net, tmp_path / checkpoints.FILE)
    checkpoint, again = mlp.Checkpoint(tmp_path), make()
    assert checkpoint.restore(again)
    assert len(again.fit(X, Y, checkpoint=checkpoint, resume=True, **SETTINGS)) == EPOCHS
