"""Trainings by several ranks, here threads of one process: the same bits, one decision for all, exact resuming."""

from __future__ import annotations

import numpy as np
import pytest
import threadpoolctl
from sharded_trainings import FIT, TRAININGS, X, digest, trained, y
from thread_ranks import on_ranks

import mlp
from mlp.distributed import SERIAL, require_same


def nets_of(results):
    """The networks of all ranks; the first exception is raised."""
    for result in results:
        if isinstance(result, Exception):
            raise result
    return results


@pytest.mark.parametrize("name", TRAININGS)
def test_the_results_are_the_same_bits_for_any_number_of_ranks(backend, name):
    alone = digest(trained(backend, name))
    for ranks in (1, 2, 8):
        nets = nets_of(on_ranks(ranks, lambda comm: trained(backend, name, comm)))
        assert [digest(net) for net in nets] == [alone] * ranks


@pytest.mark.parametrize("name", sorted(set(TRAININGS) - {"early stopping", "plateau"}))
def test_shards_add_up_to_the_whole_batch(backend, name):
    network, _ = TRAININGS[name]
    if name != "float64":
        TRAININGS[name] = network | {"dtype": "float64"}, TRAININGS[name][1]
    whole, sharded = (trained(backend, name, shards=shards) for shards in (1, 8))
    TRAININGS[name] = network, TRAININGS[name][1]
    weights = [net.xp.to_numpy(net.parameters) for net in (whole, sharded)]
    np.testing.assert_allclose(*weights, rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(whole.history.loss, sharded.history.loss, rtol=1e-11)


def test_callbacks_see_the_weights_after_each_batch(backend):
    seen = []

    class Weights(mlp.Callback):
        def on_batch_end(self, run, batch, loss):
            seen.append(run.net.xp.to_numpy(run.net.parameters).copy())

    net = trained(backend, "adam", callbacks=[Weights()])
    assert len({array.tobytes() for array in seen}) == 6
    np.testing.assert_array_equal(seen[-1], net.xp.to_numpy(net.parameters))
    assert digest(net) == digest(trained(backend, "adam"))


def test_products_of_numpy_have_one_thread():
    threads = []

    def watch(run):
        info = threadpoolctl.threadpool_info()
        threads.append({each["num_threads"] for each in info if each["user_api"] == "blas"})

    with threadpoolctl.threadpool_limits(2, user_api="blas"):
        trained("numpy", "sgd", callbacks=[watch])
        trained("numpy", "sgd", callbacks=[watch], shards=1)
    assert threads == [{1}, {1}, {2}, {2}]


def test_different_numbers_of_shards_are_different_sums(backend):
    assert digest(trained(backend, "sgd", shards=2)) != digest(trained(backend, "sgd", shards=8))


def test_one_shard_is_the_default(backend):
    net = mlp.MLP([12, 24, 16, 3], activation="tanh", seed=3, backend=backend)
    net.fit(X, y, **FIT)
    assert digest(net) == digest(trained(backend, "sgd", shards=1)) == digest(trained(backend, "sgd", shards=None))
    assert "shards" not in net.training_state.conditions  # earlier versions do not know it


class StopAt(mlp.Callback):
    """Asks for a stop in one batch, on one of the ranks."""

    def __init__(self, comm, rank, step):
        self.comm, self.rank, self.step = comm, rank, step

    def on_batch_end(self, run, batch, loss):
        if self.comm.rank == self.rank and run.epoch * 3 + batch == self.step:
            run.stop("seen enough")


@pytest.mark.parametrize("rank", [0, 1, 3])
@pytest.mark.parametrize("step", [0, 1, 2, 4])
def test_all_ranks_stop_after_the_same_batch_and_the_training_is_resumed_alone(backend, rank, step):
    fit = {"epochs": 3, "optimizer": mlp.Adam(0.01)}

    def stopped(comm):
        return trained(backend, "dropout", comm, callbacks=[StopAt(comm, rank, step)], **fit)

    nets = nets_of(on_ranks(4, stopped))
    steps = {net.training_state.step for net in nets}
    assert len(steps) == 1
    assert step < steps.pop() <= step + 2
    assert nets[rank].history.stop_reason.startswith("seen enough")
    assert all(net.history.stop_reason.startswith("another rank asked for it") for net in nets if net is not nets[rank])
    whole = trained(backend, "dropout", **fit)
    for net in nets[:2]:
        net.fit(X, y, epochs=3, batch_size=32, resume=True)  # shards are those of the training
        assert digest(net) == digest(whole)


def test_a_signal_to_one_rank_is_the_reason_on_all(backend):
    class Interrupt(StopAt):
        def on_batch_end(self, run, batch, loss):
            if batch == 1:
                run.stop("interrupted by Ctrl-C" if self.comm.rank == 1 else "seen enough")

    nets = nets_of(on_ranks(4, lambda comm: trained(backend, "sgd", comm, callbacks=[Interrupt(comm, 1, 1)])))
    assert all(net.history.interrupted for net in nets)
    assert len({net.history.stop_reason for net in nets}) == 1


@pytest.mark.parametrize("ranks", [1, 4])
def test_checkpoints_hold_nothing_of_the_ranks(backend, ranks, tmp_path):
    """A training whose last checkpoint is of step 5 of 9 is continued from that file, on another number of ranks."""
    written = []

    class Counting(mlp.Checkpoint):
        def capture(self, net, state, parameters):
            written.append(state.step)
            save = super().capture(net, state, parameters)
            return save if state.step <= 5 else lambda: None

    def begun(comm):
        return trained(backend, "adam", comm, epochs=3, checkpoint=Counting(tmp_path, every="5steps"))

    nets = nets_of(on_ranks(ranks, begun))
    assert written == [5, 9]  # by rank 0 alone
    whole = digest(trained(backend, "adam", epochs=3))
    assert [digest(net) for net in nets] == [whole] * ranks
    continued = mlp.load(tmp_path / "training.safetensors", backend=backend)
    assert continued.training_state.step == 5

    def resumed(comm):
        net = mlp.load(tmp_path / "training.safetensors", backend=backend)
        net.fit(X, y, epochs=3, batch_size=32, resume=True, comm=comm)
        return digest(net)

    for other in (1, 2, 8):
        assert on_ranks(other, resumed) == [whole] * other


def test_timed_checkpoints_of_rank_0_do_not_change_the_results(backend, tmp_path):
    def fit(comm):
        return trained(backend, "adam", comm, epochs=30, checkpoint=mlp.Checkpoint(tmp_path, every="0.01s"))

    whole = digest(trained(backend, "adam", epochs=30))
    assert [digest(net) for net in nets_of(on_ranks(2, fit))] == [whole] * 2
    assert digest(mlp.load(tmp_path / "training.safetensors", backend=backend)) == whole


@pytest.mark.parametrize("callbacks", [[], [mlp.Callback()]])
def test_a_diverging_training_is_the_same_error_on_all_ranks(backend, callbacks):
    class Watching(mlp.Callback):
        def on_batch_end(self, run, batch, loss):
            assert np.isfinite(loss)

    callbacks = [Watching() for _ in callbacks]

    def fit(comm):
        net = mlp.MLP([12, 24, 3], activation="relu", backend=backend)
        before = net.xp.to_numpy(net.parameters).copy()
        try:
            net.fit(X, y, epochs=2, batch_size=32, optimizer=mlp.SGD(1e30), shards=4, comm=comm, callbacks=callbacks)
        except mlp.DivergenceError as error:
            np.testing.assert_array_equal(net.xp.to_numpy(net.parameters), before)
            return str(error)

    one, two = on_ranks(2, fit)
    assert one == two
    assert "diverged in epoch 1, batch 2" in one


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"X": X[::-1]}, "training data"),
        ({"epochs": 3}, "'epochs': 3"),
        ({"batch_size": 16}, "'batch_size': 16"),
        ({"optimizer": mlp.SGD(0.2)}, "'learning_rate': 0.2"),
        ({"shuffle": False}, "'shuffle': False"),
        ({"shards": 8}, "'shards': 8"),
        ({"seed": 5}, "network"),
        ({"weights": 1.0}, "weights and optimizer state"),
        ({"validation_data": (X, y)}, "validation data"),
    ],
)
def test_ranks_with_different_trainings_do_not_begin(change, message):
    def fit(comm):
        settings = {"epochs": 2, "batch_size": 32, "shards": 4, "optimizer": mlp.SGD(0.1), "X": X}
        settings |= change if comm.rank == 1 else {}
        net = mlp.MLP([12, 8, 3], seed=settings.pop("seed", 0), backend="numpy")
        net.parameters[0] = settings.pop("weights", 0.5)
        net.fit(settings.pop("X"), y, comm=comm, **settings)

    results = on_ranks(4, fit)
    assert all(isinstance(result, mlp.ConfigurationError) for result in results), results
    assert all(f"rank 1 differs from rank 0 in its {message}".split("'")[0] in str(result) for result in results)
    assert all(message in str(result) for result in results)


def test_other_processors_and_versions_are_named():
    def compare(comm):
        require_same(comm, {"processor": "A" if comm.rank < 2 else "B", "versions": {"numpy": "2.0", "mlp": "1"}})

    results = on_ranks(4, compare)
    assert {str(result).partition(". ")[0] for result in results} == {
        "rank 2 differs from rank 0 in its processor: 'B', not 'A'"
    }
    require_same(SERIAL, {"processor": "A"})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"shards": 3}, "power of two"),
        ({"shards": 0}, "shards"),
        ({"shards": 2.0}, "shards"),
        ({"shards": 8, "comm": "mpi"}, "mlp.distributed.mpi"),
    ],
)
def test_wrong_arguments(arguments, message):
    net = mlp.MLP([12, 3], backend="numpy")
    with pytest.raises(mlp.ConfigurationError, match=message):
        net.fit(X, y, **arguments)


def test_more_ranks_than_shards():
    def fit(comm):
        mlp.MLP([12, 3], backend="numpy").fit(X, y, comm=comm)

    for result in on_ranks(2, fit):
        assert isinstance(result, mlp.ConfigurationError)
        assert "2 ranks cannot divide shards=1" in str(result)


@pytest.mark.parametrize("stop_at", [1, 2])  # within an epoch, and at its end
def test_an_exact_training_is_not_continued_with_other_shards(tmp_path, stop_at):
    first = mlp.Checkpoint(tmp_path)
    net = trained("numpy", "sgd", callbacks=[StopAt(SERIAL, 0, stop_at)], checkpoint=first)
    assert net.training_state.conditions["shards"] == 8
    for shards in (1, 4):
        with pytest.raises(mlp.ConfigurationError, match="shards"):
            net.fit(X, y, epochs=3, batch_size=32, resume=True, shards=shards, checkpoint=first)
    net.fit(X, y, epochs=3, batch_size=32, resume=True, checkpoint=first)
