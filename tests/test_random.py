"""Philox, the layout of its counters, and the random values drawn with it: row orders, masks, initial weights."""

from __future__ import annotations

import itertools

import numpy as np
import oracle
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats

import mlp
from backends import formulas, random
from backends.errors import ConfigurationError, UnknownNameError
from mlp.initializers import INITIALIZERS, draw_layer, initializer_for

words64 = st.integers(0, 2**64 - 1)
ONES = 2**64 - 1

PUBLISHED = [  # Random123, tests/kat_vectors: philox4x64 10
    (
        (0, 0, 0, 0),
        (0, 0),
        (0x16554D9ECA36314C, 0xDB20FE9D672D0FDC, 0xD7E772CEE186176B, 0x7E68B68AEC7BA23B),
    ),
    (
        (ONES, ONES, ONES, ONES),
        (ONES, ONES),
        (0x87B092C3013FE90B, 0x438C3C67BE8D0224, 0x9CC7D7C69CD777B6, 0xA09CAEBF594F0BA0),
    ),
    (
        (0x243F6A8885A308D3, 0x13198A2E03707344, 0xA4093822299F31D0, 0x082EFA98EC4E6C89),
        (0x452821E638D01377, 0xBE5466CF34E90C6C),
        (0xA528F45403E61D95, 0x38C72DBD566E9788, 0xA5A1610E72FD18B5, 0x57BD43B5E52B7FE6),
    ),
]

# -- the generator ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("counter", "key", "block"), PUBLISHED)
def test_published_vectors(counter, key, block):
    assert oracle.philox(counter, key) == block
    assert_array_equal(random.words(key, counter, 4), np.array(block, np.uint64))


@given(counter=st.tuples(words64, words64, words64, words64), key=st.tuples(words64, words64), count=st.integers(0, 13))
@example(counter=(ONES, 5, 0, 0), key=(1, 2), count=3)
def test_words_are_those_of_the_paper(counter, key, count):
    first = [*oracle.philox(counter, key)]
    assert_array_equal(random.words(key, counter, count)[:4], np.array(first[:count], np.uint64))


@given(block=st.integers(0, 2**40), rest=st.tuples(words64, words64, words64), key=st.tuples(words64, words64))
def test_blocks_count_up_in_the_first_word(block, rest, key):
    assert_array_equal(
        random.words(key, (block, *rest), 12), np.array(oracle.stream(key, (block, *rest), 12), np.uint64)
    )


# -- counter layout -------------------------------------------------------------------------------------------


@given(seed=words64, layer=st.integers(0, 20), count=st.integers(1, 20))
def test_weights_come_from_their_own_stream(seed, layer, count):
    words = oracle.stream((seed, 1), (0, layer, 0, 0), count)
    assert_array_equal(random.uniform(seed, layer, count), [((w >> 11) + 0.5) / 2**53 for w in words])
    assert_allclose(random.normal(seed, layer, count), stats.norm.ppf([((w >> 11) + 0.5) / 2**53 for w in words]))


@given(seed=words64, epoch=st.integers(0, 10**6), count=st.integers(1, 40))
def test_an_order_sorts_the_rows_by_random_words(seed, epoch, count):
    """Sorted by all bits except those of the row number; rows with equal keys keep their order."""
    low = max(count - 1, 1).bit_length()
    words = oracle.stream((seed, 2), (0, epoch, 0, 0), count)
    expected = sorted(range(count), key=lambda row: (words[row] >> low, row))
    assert_array_equal(random.permutation(seed, epoch, count), expected)


@given(
    rows=st.integers(0, 6),
    units=st.integers(1, 40),
    rate=st.sampled_from([0.0, 0.1, 0.5, 0.9, 1 - 2**-33]),
    counter=st.tuples(words64, st.integers(0, 2**40), st.integers(0, 2**40), st.integers(0, 20)),
)
def test_a_mask_compares_halves_of_words_with_a_threshold(rows, units, rate, counter):
    if rate < 0.99:
        assert_array_equal(random.keep_mask(rows, units, rate, counter), oracle.keep_mask(rows, units, rate, counter))
    else:
        assert not random.keep_mask(rows, units, rate, counter).any()


def test_a_row_of_a_mask_does_not_depend_on_the_others():
    """Therefore a batch can be divided among threads, or be incomplete."""
    whole = random.keep_mask(20, 13, 0.5, (1, 2, 3, 4))
    assert_array_equal(random.keep_mask(7, 13, 0.5, (1, 2, 3, 4)), whole[:7])


def test_streams_of_different_purpose_differ():
    masks = [random.keep_mask(9, 9, 0.5, counter) for counter in itertools.product(range(2), repeat=4)]
    assert len({mask.tobytes() for mask in masks}) == 16
    orders = [random.permutation(seed, epoch, 50) for seed in range(3) for epoch in range(3)]
    orders.append(random.permutation(0, 0, 50, stream=random.SPLIT))
    assert len({order.tobytes() for order in orders}) == 10


@pytest.mark.parametrize("seed", [-1, 2**64, 1.0, "0", None, True])
def test_a_seed_is_a_64_bit_integer(seed):
    with pytest.raises(ConfigurationError, match="seed must be"):
        random.check_seed(seed)
    for good in (0, 2**64 - 1, np.int64(3), np.uint64(2**64 - 1)):
        assert random.check_seed(good) == int(good)


# -- permutations ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", sorted({0, 1, 2, 3, *(2**k + d for k in range(2, 15, 3) for d in (-1, 0, 1)), 60_000}))
def test_a_permutation_visits_every_row_once(n):
    for epoch in range(3):
        order = random.permutation(7, epoch, n)
        assert order.dtype == np.int64
        assert_array_equal(np.sort(order), np.arange(n))


def test_every_order_of_three_rows_is_as_likely():
    counts = np.unique([random.permutation(0, epoch, 3) for epoch in range(6000)], axis=0, return_counts=True)[1]
    assert len(counts) == 6
    assert stats.chisquare(counts).pvalue > 1e-3


def test_every_place_of_a_row_is_as_likely():
    places = [int(np.flatnonzero(random.permutation(1, epoch, 10) == 0)[0]) for epoch in range(5000)]
    assert stats.chisquare(np.bincount(places, minlength=10)).pvalue > 1e-3


# -- statistics -------------------------------------------------------------------------------------------------


def test_uniform_numbers_are_uniform_and_never_0_or_1():
    u = random.uniform(0, 0, 100_000)
    assert stats.kstest(u, "uniform").pvalue > 1e-3
    assert 0 < u.min() < u.max() < 1


def test_normal_numbers_are_normal():
    assert stats.kstest(random.normal(0, 0, 100_000), "norm").pvalue > 1e-3
    assert np.isfinite(random.normal(0, 1, 100_000)).all()


@pytest.mark.parametrize("rate", [0.01, 0.3, 0.5, 0.99])
def test_a_mask_drops_its_share(rate):
    keep = random.keep_mask(500, 401, rate, (0, 0, 0, 0))
    assert stats.binomtest(int((~keep).sum()), keep.size, rate).pvalue > 1e-3
    by_column = (~keep).sum(axis=0)
    assert abs(by_column.var() / (500 * rate * (1 - rate)) - 1) < 0.3  # not correlated, and not too regular


# -- initial weights ----------------------------------------------------------------------------------------------

N_IN, N_OUT = 300, 200
VARIANCE = {
    "zeros": 0,
    "normal": 1,
    "uniform": 0.2**2 / 12,
    "glorot_normal": 2 / (N_IN + N_OUT),
    "glorot_uniform": 2 / (N_IN + N_OUT),
    "he_normal": 2 / N_IN,
    "he_uniform": 2 / N_IN,
    "lecun_normal": 1 / N_IN,
    "lecun_uniform": 1 / N_IN,
    "neural_tangent": 1 / N_IN,
}


@pytest.mark.parametrize("name", INITIALIZERS)
def test_initial_weights_have_the_variance_of_their_formula(name):
    W, b = draw_layer(name, 0, 0, N_IN, N_OUT)
    variance = VARIANCE[name]
    assert W.shape == (N_IN, N_OUT)
    assert b.shape == (N_OUT,)
    assert abs(W.mean()) <= 4 * np.sqrt(variance / W.size)
    assert_allclose(W.var(), variance, rtol=0.03)
    if name in ("normal", "uniform", "neural_tangent"):
        assert_allclose(b.var(), 1 if name == "neural_tangent" else variance, rtol=0.4)
    else:
        assert_array_equal(b, 0)


@pytest.mark.parametrize("name", [name for name in INITIALIZERS if name.endswith("uniform")])
def test_uniform_weights_fill_their_bounds(name):
    bound = np.sqrt(3 * VARIANCE[name])
    largest = np.abs(draw_layer(name, 0, 0, N_IN, N_OUT)[0]).max()
    assert 0.999 * bound < largest <= bound


@pytest.mark.parametrize("name", [name for name in INITIALIZERS if name.endswith("normal")])
def test_normal_weights_are_normal(name):
    W, _ = draw_layer(name, 0, 0, N_IN, N_OUT)
    assert stats.kstest(W.ravel() / np.sqrt(VARIANCE[name]), "norm").pvalue > 1e-3


def test_auto_follows_the_activation():
    he = {"relu", "leaky_relu", "elu", "gelu", "gelu_tanh", "silu", "mish", "softplus"}
    for name, row in formulas.ACTIVATIONS.items():
        expected = "he_normal" if name in he else "lecun_normal" if name == "selu" else "glorot_uniform"
        assert initializer_for("auto", row) == expected
    net = mlp.MLP([3, 4, 5, 2], activation=["relu", "tanh"])
    assert net.init == ("he_normal", "glorot_uniform", "glorot_uniform")


def test_an_initializer_for_each_layer():
    net = mlp.MLP([3, 4, 2], init=["zeros", "lecun_uniform"], dtype="float64")
    assert_array_equal(net.weights[0], 0)
    assert_array_equal(net.weights[1], draw_layer("lecun_uniform", 0, 1, 4, 2)[0])
    with pytest.raises(UnknownNameError, match="did you mean 'he_normal'"):
        mlp.MLP([3, 4, 2], init="he_nrmal")


def test_initial_weights_are_the_same_on_every_backend(backend):
    for dtype in ("float32", "float64"):
        net = mlp.MLP([30, 20, 10], seed=5, dtype=dtype, backend=backend, init="normal")
        for layer, (W, b) in enumerate(zip(net.weights, net.biases, strict=True)):
            expected_W, expected_b = draw_layer("normal", 5, layer, *W.shape)
            assert_array_equal(W, expected_W.astype(dtype))
            assert_array_equal(b, expected_b.astype(dtype))


def test_a_seed_gives_one_network_and_another_seed_another():
    first, again, other = (mlp.MLP([5, 4, 3], seed=seed).weights[0] for seed in (1, 1, 2))
    assert_array_equal(first, again)
    assert (first != other).all()
    drawn = mlp.MLP([5, 4, 3], seed=None)
    assert_array_equal(drawn.weights[0], mlp.MLP([5, 4, 3], seed=drawn.seed).weights[0])
