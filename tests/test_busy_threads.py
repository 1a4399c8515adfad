"""Several threads of a process compute at once with the Numba backend: nobody waits, and the bits are the same."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import joblib
import numpy as np
import pytest
from numpy.testing import assert_array_equal

import mlp

pytest.importorskip("numba")

from backends.numba_backend import synchronization, threads

WAIT = 60  # seconds; only a test that fails waits so long


@pytest.fixture(autouse=True)
def two_threads():
    threads.set_num_threads(2)
    yield
    threads.set_num_threads(None)


@contextmanager
def all_threads_in_use():
    """A training in another thread that does not end before the block ends."""
    stop, started = np.zeros(1, np.int64), threading.Barrier(3)

    def work(part: int) -> None:
        started.wait(WAIT)
        synchronization.wait_for(stop, 0, 1)

    def train() -> None:
        with threads.reserve(2, training=True) as team:
            team.run(work, team.size, on_interrupt=lambda: None)

    thread = threading.Thread(target=train, daemon=True)
    thread.start()
    started.wait(WAIT)
    try:
        yield
    finally:
        stop[0] = 1
        thread.join(WAIT)


def in_time(function: Callable[[], Any]) -> Any:
    """The result of a call in another thread, which must end soon."""
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(function()), daemon=True)
    thread.start()
    thread.join(WAIT)
    assert results, "the call waits for another thread"
    return results[0]


def network(seed: int = 0) -> mlp.MLP:
    return mlp.MLP([200, 256, 10], backend="numba", seed=seed)


def examples(n: int = 600) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(n, 200)).astype(np.float32), rng.integers(0, 10, n)


def train(seed: int, **settings: Any) -> list[np.ndarray]:
    net = network(seed)
    net.fit(*examples(), epochs=3, batch_size=64, **settings)
    return net.weights


def test_predictions_do_not_wait_for_a_training(caplog):
    net, (X, _) = network(), examples()
    expected = net.predict_proba(X)
    with all_threads_in_use(), caplog.at_level(logging.DEBUG, "mlp"):
        assert_array_equal(in_time(lambda: net.predict_proba(X)), expected)
    assert "an operation uses 1 of 2 threads: others of this process use the rest" in caplog.messages
    caplog.clear()
    with caplog.at_level(logging.DEBUG, "mlp"):
        net.predict_proba(X)
    assert not caplog.messages


def test_a_training_does_not_wait_for_another(caplog):
    expected = train(0)
    with all_threads_in_use(), caplog.at_level(logging.DEBUG, "mlp"):
        found = in_time(lambda: train(0))
    assert "a training uses 1 of 2 threads: others of this process use the rest" in caplog.messages
    for a, b in zip(found, expected, strict=True):
        assert_array_equal(a, b)


def test_a_training_step_by_step_does_not_wait_for_another():
    class EveryBatch(mlp.Callback):
        def on_batch_end(self, run: Any, batch: int, loss: float) -> None:
            pass

    expected = train(0, callbacks=[EveryBatch()])
    with all_threads_in_use():
        found = in_time(lambda: train(0, callbacks=[EveryBatch()]))
    for a, b in zip(found, expected, strict=True):
        assert_array_equal(a, b)


def test_trainings_at_once_get_the_same_bits_as_alone():
    expected = [train(seed) for seed in range(4)]
    with ThreadPoolExecutor(4) as callers:
        found = list(callers.map(train, range(4)))
    workers = joblib.Parallel(n_jobs=2, prefer="threads")(joblib.delayed(train)(seed) for seed in range(4))
    for alone, together, by_joblib in zip(expected, found, workers, strict=True):
        for a, b, c in zip(alone, together, by_joblib, strict=True):
            assert_array_equal(a, b)
            assert_array_equal(a, c)


def test_trainings_have_equal_shares_and_the_rest_is_for_others():
    threads.set_num_threads(8)
    sizes = []
    for _ in range(2):  # all are free again
        with threads.reserve(8, training=True) as first, threads.reserve(8, training=True) as second:
            with threads.reserve(8) as operation:
                sizes.append((first.size, second.size, operation.size))
            with threads.reserve(2, training=True) as third, threads.reserve(8, training=True) as fourth:
                sizes.append((third.size, fourth.size))
        with threads.reserve(5) as short, threads.reserve(8) as other, threads.reserve(8, training=True) as training:
            sizes.append((short.size, other.size, training.size))  # what is short does not slow a training down
    assert sizes == [(8, 4, 1), (2, 2), (5, 3, 8)] * 2


def test_threads_are_free_again_after_an_error():
    def fail(part: int) -> None:
        raise ZeroDivisionError

    for _ in range(3):
        with pytest.raises(ZeroDivisionError), threads.reserve(2, training=True) as team:
            team.run(fail, 2, on_interrupt=lambda: None)
    with threads.reserve(2) as team:
        assert team.size == 2


def test_callbacks_can_predict():
    net, (X, y) = network(), examples()
    other = network(1)
    expected, found = other.predict_proba(X), []

    class Predict(mlp.Callback):
        def on_epoch_end(self, run: Any) -> None:
            found.append(other.predict_proba(X))

        def on_train_end(self, run: Any) -> None:
            found.append(run.net.predict_proba(X))

    in_time(lambda: net.fit(X, y, epochs=2, batch_size=64, callbacks=[Predict()]))
    assert_array_equal(found[0], expected)
    assert_array_equal(found[-1], net.predict_proba(X))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_child_process_has_its_own_threads():
    expected = train(0)
    with all_threads_in_use():
        child = os.fork()
        if not child:
            signal.alarm(WAIT)  # a child that hangs must not hang the tests
            with threads.reserve(2, training=True) as team:
                size = team.size
            same = all(np.array_equal(a, b) for a, b in zip(train(0), expected, strict=True))
            os._exit(0 if same and size == 2 else 1)
        assert os.waitpid(child, 0)[1] == 0


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="signals work otherwise there")
def test_ctrl_c_is_seen_if_another_thread_receives_the_signal():
    stop, seen = np.zeros(1, np.int64), []

    def interrupt_itself() -> None:
        time.sleep(0.2)
        signal.pthread_kill(threading.get_ident(), signal.SIGINT)
        time.sleep(2)
        stop[0] = 1  # so that a test that fails ends

    def on_interrupt() -> None:
        seen.append(int(stop[0]))
        stop[0] = 1

    sender = threading.Thread(target=interrupt_itself)
    sender.start()
    with pytest.raises(KeyboardInterrupt):
        threads.run(lambda part: synchronization.wait_for(stop, 0, 1), 2, on_interrupt=on_interrupt)
    assert seen == [0]
    sender.join()


# -- run_divided ------------------------------------------------------------------------------------------------------


def test_divided_tasks_share_the_threads():
    threads.set_num_threads(6)
    both, seen = threading.Barrier(2), {}

    def task(number: int) -> None:
        both.wait(WAIT)
        with threads.reserve(8, training=True) as first, threads.reserve(2) as second:
            seen[number] = [threads.get_num_threads(), first.size, second.size]
            both.wait(WAIT)
            if number == 1:  # for others, all tasks together are one training
                seen["others"] = in_time(lambda: threads.reserve(6, training=True).size)
            both.wait(WAIT)
        while number == 3 and threads.get_num_threads() < 6:  # until the other thread finds no task any more
            time.sleep(0.001)

    threads.run_divided(task, 4, at_once=2)
    assert seen == {number: [3, 3, 2] for number in range(4)} | {"others": 3}
    assert threads.get_num_threads() == 6
    with threads.reserve(6, training=True) as team:  # all are free again
        assert team.size == 6


def test_no_divided_task_begins_after_an_error():
    stop, begun = threading.Event(), []

    def task(number: int) -> None:
        begun.append(number)
        if number == 2:
            raise ZeroDivisionError("2")
        if number:
            stop.wait(WAIT)

    with pytest.raises(ZeroDivisionError, match="2"):
        threads.run_divided(task, 9, at_once=2, on_interrupt=stop.set)
    assert begun == [0, 1, 2] or begun == [1, 0, 2]
    assert stop.is_set()


def test_divided_tasks_end_before_ctrl_c_is_raised():
    begun, stop, ended = threading.Barrier(3), threading.Event(), []

    def task(number: int) -> None:
        begun.wait(WAIT)
        stop.wait(WAIT)
        ended.append(number)

    def interrupt() -> None:
        begun.wait(WAIT)
        os.kill(os.getpid(), signal.SIGINT)

    sender = threading.Thread(target=interrupt)
    sender.start()
    with pytest.raises(KeyboardInterrupt):
        threads.run_divided(task, 5, at_once=2, on_interrupt=stop.set)
    assert sorted(ended) == [0, 1]
    sender.join()


def test_divided_tasks_have_the_settings_of_the_caller():
    seen = []
    with np.errstate(divide="raise"):
        threads.run_divided(lambda number: seen.append(np.geterr()["divide"]), 3, at_once=2)
    assert seen == ["raise"] * 3
