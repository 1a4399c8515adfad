"""Training on streams: the bits of a training in memory with the same order, exact resuming, and plain errors."""

from __future__ import annotations

import gc
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sharded_trainings import TRAININGS, digest
from streams_of_arrays import ArrayStream, fit_in_memory
from thread_ranks import on_ranks

import mlp
from backends import random
from backends.plan import EpochPlan
from backends.row_orders import BlockShuffle
from mlp.data.streams import RowStream

RNG = np.random.default_rng(0)
X = RNG.normal(size=(203, 12)).astype(np.float32)
Y = (X[:, 0] * X[:, 1] > 0).astype(np.int64) + (X[:, 2] > 0.5)
WEIGHTS = np.linspace(0, 2, 203).astype(np.float32)
SIZES = [40, 0, 7, 40, 40, 40, 33, 3]


def stream(X=X, y=Y, sizes=SIZES, window_rows=60):
    return ArrayStream(X, y, sizes, window_rows)


def network(**arguments):
    return mlp.MLP(**{"sizes": [12, 16, 3], "activation": "tanh", "seed": 3} | arguments)


# -- the order ------------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 9), max_size=30), st.integers(1, 40), st.integers(0, 5), st.booleans())
def test_an_order_has_each_row_once_and_keeps_blocks_in_one_window(sizes, window_rows, epoch, shuffled):
    order = BlockShuffle(1, epoch, np.array(sizes, np.int64), window_rows, shuffled)
    rows = order.row_numbers()
    assert_array_equal(np.sort(rows), np.arange(sum(sizes)))
    assert len(order) == len(rows)
    block_of = np.repeat(np.arange(len(sizes)), sizes)
    done = 0
    for window in order.windows():
        n = sum(sizes[block] for block in window.blocks)
        assert sorted(set(block_of[rows[done : done + n]])) == sorted(b for b in window.blocks if sizes[b])
        assert n <= window_rows + max(sizes) - 1 or n == 0
        done += n
    assert shuffled or (rows == np.arange(sum(sizes))).all()


def test_the_order_differs_between_epochs_seeds_and_windows():
    sizes = np.full(20, 50)
    orders = [BlockShuffle(seed, epoch, sizes, 200).row_numbers() for seed in (0, 1) for epoch in (0, 1)]
    assert len({order.tobytes() for order in orders}) == 4
    first, second, *_ = BlockShuffle(0, 0, sizes, 200).windows()
    assert not np.array_equal(first.order, second.order)


@given(st.integers(0, 99), st.integers(0, 50), st.integers(0, 50), st.sampled_from([0.1, 0.5, 0.9]))
def test_the_choice_of_a_row_depends_on_its_number_alone(seed, first, count, fraction):
    whole = random.chosen_rows(seed, fraction, range(200))
    assert_array_equal(random.chosen_rows(seed, fraction, range(first, first + count)), whole[first : first + count])


def test_chosen_rows_are_a_share_of_them_and_two_splits_are_independent():
    test = random.chosen_rows(0, 0.2, range(100_000))
    held_out = random.chosen_rows(0, 0.2, range(100_000), part=1)
    assert abs(test.mean() - 0.2) < 0.005
    assert abs(held_out[~test].mean() - 0.2) < 0.005


# -- the same bits as in memory -------------------------------------------------------------------------

OWN_CALLS = {"early stopping", "plateau", "row weights", "fewer rows than shards"}


@pytest.mark.parametrize("shards", [1, 4])
@pytest.mark.parametrize("name", sorted(set(TRAININGS) - OWN_CALLS))
def test_weights_and_losses_are_those_of_the_same_order_in_memory(backend, name, shards):
    settings, fit = TRAININGS[name]
    fit = {"batch_size": 32, "optimizer": "sgd", "shards": shards} | {k: v for k, v in fit.items() if k != "epochs"}
    streamed, in_memory = (network(backend=backend, **settings) for _ in range(2))
    streamed.fit(stream(), epochs=3, **fit)
    fit_in_memory(in_memory, stream(), epochs=3, **fit)
    assert digest(streamed) == digest(in_memory)
    assert streamed.history.loss == in_memory.history.loss


@settings(max_examples=15)
@given(
    st.lists(st.integers(0, 40), min_size=1, max_size=12).filter(lambda sizes: sum(sizes) > 1),
    st.integers(1, 60),
    st.data(),
)
def test_blocks_windows_and_batches_of_any_size(backend, sizes, window_rows, data):
    n = sum(sizes)
    batch_size = data.draw(st.integers(1, n))
    rng = np.random.default_rng(n)
    source = ArrayStream(rng.normal(size=(n, 3)).astype(np.float32), rng.normal(size=n), sizes, window_rows)
    nets = [mlp.MLP([3, 4, 1], loss="mse", dropout=0.2, backend=backend) for _ in range(2)]
    nets[0].fit(source, epochs=2, batch_size=batch_size)
    fit_in_memory(nets[1], source, epochs=2, batch_size=batch_size)
    assert digest(nets[0]) == digest(nets[1])
    assert len(source.reads) >= 2 * np.count_nonzero(sizes)


@pytest.mark.parametrize("shards", [1, 4])
def test_bytes_and_class_weights(backend, shards):
    images = RNG.integers(0, 256, (203, 12)).astype(np.uint8)
    nets = [network(backend=backend, input_scale=1 / 255) for _ in range(2)]
    source = stream(images)
    nets[0].fit(source, epochs=2, batch_size=16, class_weight="balanced", label_smoothing=0.1, shards=shards)
    fit_in_memory(nets[1], source, epochs=2, batch_size=16, class_weight="balanced", label_smoothing=0.1, shards=shards)
    assert digest(nets[0]) == digest(nets[1])


def test_learning_rates_change_with_each_batch(backend):
    rate = mlp.schedules.Cosine(0.2, epochs=3, warmup=2)
    nets = [network(backend=backend) for _ in range(2)]
    nets[0].fit(stream(), epochs=3, batch_size=32, optimizer=mlp.SGD(rate))
    fit_in_memory(nets[1], stream(), epochs=3, batch_size=32, optimizer=mlp.SGD(rate))
    assert digest(nets[0]) == digest(nets[1])


def test_a_training_that_diverges_names_the_batch(backend):
    messages = []
    for fit in (lambda net, source, **kw: net.fit(source, **kw), fit_in_memory):
        huge = np.where(np.arange(203)[:, np.newaxis] == 150, np.float32(3e38), X)
        net = network(backend=backend, activation="relu")
        with pytest.raises(mlp.DivergenceError) as error:
            fit(net, stream(huge), epochs=1, batch_size=16)
        messages.append(str(error.value))
    assert messages[0] == messages[1]


def test_without_shuffling_rows_are_in_their_order(backend):
    nets = [network(backend=backend) for _ in range(2)]
    nets[0].fit(stream(), epochs=2, batch_size=32, shuffle=False)
    nets[1].fit(X, Y, epochs=2, batch_size=32, shuffle=False)
    assert digest(nets[0]) == digest(nets[1])


def test_ranks_have_the_same_bits(backend):
    def train(comm):
        net = network(backend=backend, dropout=0.3)
        net.fit(stream(), epochs=2, batch_size=32, shards=4, comm=comm, validation_fraction=0.2)
        return digest(net)

    alone = network(backend=backend, dropout=0.3)
    alone.fit(stream(), epochs=2, batch_size=32, shards=4, validation_fraction=0.2)
    assert on_ranks(2, train) == [digest(alone)] * 2


def test_the_gpu_backend_has_the_same_bits(stand_in_gpu):
    nets = [network(backend="cupy", dropout=0.3) for _ in range(2)]
    nets[0].fit(stream(), epochs=2, batch_size=32, class_weight={0: 2.0})
    fit_in_memory(nets[1], stream(), epochs=2, batch_size=32, class_weight={0: 2.0})
    assert_array_equal(*(net.xp.to_numpy(net.parameters) for net in nets))
    assert nets[0].history.loss == nets[1].history.loss


def train_on_replaced_rows(backend):
    """Weights after rows were replaced, and those of a trainer that had them from the beginning."""
    weights = []
    for replaced in (False, True):
        net = network(backend=backend)
        xp, plan = net.xp, net.plan
        rule = mlp.SGD(0.1).rule
        arrays = [xp.asarray(a) for a in ((X[::-1].copy(), Y[::-1].copy(), np.ones(203, np.float32)))]
        if not replaced:
            for array, values in zip(arrays, (X, Y, WEIGHTS), strict=True):
                array[50:203] = xp.asarray(values[50:203])
        trainer = xp.trainer(plan, rule, *arrays, net.parameters, xp.zeros((0, 259), np.float32), 32)
        for epoch, rows in enumerate((np.arange(40), np.arange(100, 203), np.arange(40, 203), np.arange(203))):
            if replaced and epoch == 1:
                trainer.write_rows(50, X[50:203], Y[50:203], WEIGHTS[50:203])
            n = -(-len(rows) // 32)
            rates = {"learning_rates": np.full(n, 0.1), "l2": np.zeros(n)}
            trainer.epochs([EpochPlan(plan, rule, 32, rows, **rates, epoch=epoch, label_smoothing=0.1)])
        trainer.read_back()
        weights.append(xp.to_numpy(net.parameters).copy())
        with pytest.raises(mlp.ShapeError, match="rows 200 to 206 are not among the 203"):
            trainer.write_rows(200, X[:6], Y[:6], WEIGHTS[:6])
    return weights


def test_rows_of_a_trainer_can_be_replaced(backend):
    assert_array_equal(*train_on_replaced_rows(backend))


def test_rows_of_a_trainer_on_the_gpu_can_be_replaced(stand_in_gpu):
    assert_array_equal(*train_on_replaced_rows("cupy"))


# -- stopping and resuming ------------------------------------------------------------------------------


class StopAfter(mlp.Callback):
    def __init__(self, batches):
        self.left = batches

    def on_batch_end(self, run, batch, loss):
        self.left -= 1
        if not self.left:
            run.stop("enough")


@pytest.mark.parametrize("batches", [1, 2, 3, 6, 7, 8, 11])
def test_a_training_that_is_stopped_at_any_batch_continues_exactly(backend, batches):
    whole, net = (network(backend=backend, dropout=0.2) for _ in range(2))
    whole.fit(stream(), epochs=3, batch_size=32)
    net.fit(stream(), epochs=3, batch_size=32, callbacks=[StopAfter(batches)])
    assert net.training_state.step == batches
    net.fit(stream(), resume=True)
    assert digest(net) == digest(whole)
    assert net.history.loss == whole.history.loss


def test_checkpoints_within_an_epoch_change_nothing_and_resume_exactly(backend, tmp_path):
    whole, net, restored = (network(backend=backend) for _ in range(3))
    whole.fit(stream(), epochs=2, batch_size=16)
    saved = tmp_path / "saved.safetensors"
    net.fit(stream(), epochs=2, batch_size=16, checkpoint=mlp.Checkpoint(tmp_path / "run", every="3steps"))
    assert digest(net) == digest(whole)
    net = network(backend=backend)
    checkpoint = mlp.Checkpoint(saved.with_suffix(""), every="3steps")
    net.fit(stream(), epochs=2, batch_size=16, checkpoint=checkpoint, callbacks=[StopAfter(16)])
    checkpoint.restore(restored)
    restored.fit(stream(), epochs=2, batch_size=16, checkpoint=checkpoint, resume=True)
    assert digest(restored) == digest(whole)
    other = stream()
    type(other).fingerprint, kept = property(lambda self: "others"), type(other).fingerprint
    try:
        with pytest.raises(mlp.DataError, match="training data"):
            restored.fit(other, epochs=3, batch_size=16, checkpoint=checkpoint, resume=True)
    finally:
        ArrayStream.fingerprint = kept


def test_batches_are_numbered_through_the_epoch(backend):
    seen = []

    class Watch(mlp.Callback):
        def on_batch_end(self, run, batch, loss):
            seen.append((batch, run.control.batches_done))

        def on_epoch_end(self, run):
            assert run.control.batches_done == run.control.words[1] == 7

    network(backend=backend).fit(stream(), epochs=2, batch_size=32, callbacks=[Watch()])
    assert seen == [(batch, batch + 1) for batch in range(7)] * 2


# -- validation and evaluation --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "y"),
    [
        ({}, Y),
        ({"loss": "binary_cross_entropy"}, RNG.integers(0, 2, (203, 3))),
        ({"loss": "mse"}, RNG.normal(size=(203, 3))),
        ({"loss": "mse", "target_scaling": ([1.0, 2.0, 3.0], [2.0, 2.0, 2.0])}, RNG.normal(size=(203, 3))),
        ({"loss": "quantile", "quantile": [0.1, 0.5, 0.9]}, RNG.normal(size=203)),
    ],
)
def test_loss_and_score_are_those_of_the_rows_in_memory(backend, arguments, y):
    net = network(backend=backend, **arguments)
    assert_allclose(net.evaluate(stream(y=y)), net.evaluate(X, y), rtol=2e-6)
    assert net.score(stream(y=y)) == net.evaluate(stream(y=y))[1]


def test_validation_rows_are_split_off_or_given(backend):
    net = network(backend=backend)
    source = stream()
    net.fit(source, epochs=2, validation_fraction=0.25, early_stopping=True)
    rest, chosen = source.split(0.25, seed=3)
    assert rest.n_rows + chosen.n_rows == 203
    assert_allclose(net.history.val_loss[-1], net.evaluate(chosen)[0], rtol=1e-6)
    mask = random.chosen_rows(3, 0.25, range(203))
    assert_array_equal(np.concatenate([x for x, _ in chosen]), X[mask])
    assert_array_equal(np.concatenate([y for _, y in rest]), Y[~mask])
    given_stream, given_arrays = (network(backend=backend) for _ in range(2))
    given_stream.fit(rest, epochs=2, validation_data=chosen)
    given_arrays.fit(rest, epochs=2, validation_data=(X[mask], Y[mask]), metrics=["balanced_accuracy"])
    assert_allclose(given_stream.history.val_loss, given_arrays.history.val_loss, rtol=1e-6)
    assert_array_equal(*(net.xp.to_numpy(net.parameters) for net in (given_stream, given_arrays)))
    on_arrays = network(backend=backend)
    on_arrays.fit(X[~mask], Y[~mask], epochs=2, validation_data=chosen)
    assert len(on_arrays.history.val_loss) == 2


def test_a_part_of_a_part_is_another_choice():
    rest, _ = stream().split(0.5, seed=0)
    again, chosen = rest.split(0.5, seed=0)
    assert 20 < chosen.n_rows < 80
    assert again.n_rows + chosen.n_rows == rest.n_rows
    assert len({part.fingerprint for part in (stream(), rest, again, chosen)}) == 4


# -- errors ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"y": Y}, "without y"),
        ({"sample_weight": np.ones(203)}, "class_weight does"),
        ({"validation_fraction": 0.2, "metrics": ["accuracy"]}, "omit the metrics"),
        ({"validation_fraction": 0.2, "validation_data": (X, Y)}, "not both"),
        ({"validation_fraction": 1.5}, "fraction"),
        ({"batch_size": 204}, "batch_size"),
        ({"class_weight": {7: 1.0}}, "class_weight has the class 7"),
    ],
)
def test_arguments_that_do_not_apply(arguments, message):
    net = network()
    with pytest.raises(mlp.ConfigurationError, match=message):
        net.fit(stream(), **{"epochs": 1} | arguments)
    with pytest.raises(mlp.ConfigurationError, match="y is missing"):
        net.fit(X)


def test_no_rows():
    with pytest.raises(mlp.DataError, match="no rows"):
        network().fit(stream(X[:0], Y[:0], [0, 0]))
    with pytest.raises(mlp.DataError, match="no rows are chosen"):
        stream(X[:3], Y[:3], [3]).split(1e-9, seed=0)


def test_an_error_while_reading_leaves_the_weights_of_the_epoch_before(backend):
    source, net, one_epoch = stream(), network(backend=backend), network(backend=backend)
    one_epoch.fit(stream(), epochs=1, batch_size=32)
    source.fail_at = 1 + 7 + 4
    with pytest.raises(OSError, match="disk is gone"):
        net.fit(source, epochs=3, batch_size=32)
    assert_array_equal(net.xp.to_numpy(net.parameters), one_epoch.xp.to_numpy(one_epoch.parameters))


def test_an_invalid_row_is_named():
    bad = X.copy()
    bad[100, 3] = np.nan
    with pytest.raises(mlp.DataError, match=r"the arrays, block 4: X\[13, 3\] is nan"):
        network().fit(stream(bad), epochs=1)


def test_rows_that_are_gone_are_noticed():
    source = stream()
    net = network()
    net.fit(source, epochs=1)
    source.X = source.X[:-1]
    with pytest.raises(mlp.DataError, match="block 7 has 2 rows, and not 3"):
        net.fit(source, epochs=1)


def test_blocks_are_read_in_another_thread_that_ends():
    source = stream()
    network().fit(source, epochs=2)
    assert any(name.startswith("mlp-reader") for name in source.threads)
    gc.collect()
    for thread in threading.enumerate():
        if thread.name.startswith("mlp-reader"):
            thread.join(timeout=10)
            assert not thread.is_alive()


def test_a_stream_of_the_user_needs_only_the_documented_parts():
    class Rows(RowStream):
        name, n_inputs, is_bytes, fingerprint = "rows of mine", 12, False, "1"
        block_rows = np.array([100, 103])

        def read(self, block):
            return (X[:100], Y[:100]) if block == 0 else (X[100:], Y[100:])

    net = network()
    net.fit(Rows(), epochs=20, optimizer=mlp.Adam(0.02))
    assert net.score(Rows()) > 0.7
