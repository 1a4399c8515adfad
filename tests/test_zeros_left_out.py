"""The epoch kernel leaves out zeros of the input; the bits are those of the kernel that does not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

pytest.importorskip("numba")

from test_epoch_kernel import NUMPY, PAIRS, RULES, make

from backends.numba_backend import panels, threads, trainer
from backends.numba_backend.nonzero_lists import column_share


def with_zeros(case, share=0.9, seed=0):
    """The case with zeros among the inputs, of both signs; some columns have nothing else."""
    rng = np.random.default_rng(seed)
    X = case.X.copy()
    X[rng.random(X.shape) < share] = 0
    X[:, rng.random(X.shape[1]) < 0.3] = 0
    if X.dtype.kind == "f":
        X[(X == 0) & (rng.random(X.shape) < 0.3)] = -0.0
    return replace(case, X=X)


def record_lists(monkeypatch):
    """A list that will say of each memory layout that is made whether it has lists, so that zeros are left out."""
    made = []

    class Recorded(panels.Panels):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            made.append(self.lists.size > 0)

    monkeypatch.setattr(trainer, "Panels", Recorded)
    return made


def trained(case, monkeypatch, leave_out, **options):
    """Losses, failed batch, parameters and state of a training that leaves out zeros, or does not."""
    with monkeypatch.context() as patched:
        made = record_lists(patched)
        patched.setattr(trainer, "SPARSE_INPUTS", 1)
        patched.setattr(trainer, "DENSE_COLUMNS", 2.0 if leave_out else -1.0)
        result = case.train(**options)
    assert made == [leave_out]
    return result


def assert_same_bits(found, expected):
    assert found[1] == expected[1]
    for a, b in zip(found[::2] + found[3:], expected[::2] + expected[3:], strict=True):
        assert_array_equal(a.view(f"u{a.itemsize}"), b.view(f"u{b.itemsize}"))  # the sign of zero too


@pytest.fixture
def some_threads(monkeypatch):
    monkeypatch.setattr(panels, "THREAD_WORK", 0)
    yield
    threads.set_num_threads(None)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("batch_size", [1, 5, 16, 100, 230])
@pytest.mark.parametrize("sizes", [[70, 3], [70, 30, 10], [100, 130, 140, 10]])
@pytest.mark.parametrize("scaling_layer", [False, True], ids=["", "scaling layer"])
def test_bits(some_threads, monkeypatch, sizes, batch_size, dtype, scaling_layer):
    case = with_zeros(make(sizes, "relu", n=250, batch_size=batch_size, scaling_layer=scaling_layer))
    if scaling_layer:
        case.params[-sizes[0] :: 3] = 0  # the layer makes more zeros, whose factors must learn
    expected = trained(case, monkeypatch, False, dtype=dtype)
    for number in (1, 2, 3):
        threads.set_num_threads(number)
        assert_same_bits(trained(case, monkeypatch, True, dtype=dtype), expected)


@st.composite
def cases(draw):
    batch_size = draw(st.sampled_from([1, 7, 16, 97, 200]))
    bounds = st.sampled_from([None, None, 0.01, 1.0])
    return with_zeros(
        make(
            [draw(st.integers(1, 120)), *draw(st.lists(st.sampled_from([3, 17, 80]), max_size=2)), 4],
            draw(st.sampled_from(["relu", "tanh", "gelu"])),
            draw(st.sampled_from(PAIRS)),
            draw(st.sampled_from(RULES)),
            n=draw(st.integers(1, 250)),
            batch_size=batch_size,
            dropout=draw(st.sampled_from([0.0, 0.3])),
            l2=draw(st.sampled_from([0.0, 0.01])),
            l1=draw(st.sampled_from([0.0, 0.01])),
            weighted=draw(st.booleans()),
            in_bytes=draw(st.booleans()),
            clip_value=draw(bounds),
            clip_norm=draw(bounds),
            scaling_layer=draw(st.booleans()),
        ),
        draw(st.sampled_from([0.0, 0.5, 0.9, 1.0])),
    )


@given(case=cases(), dtype=st.sampled_from(["float32", "float64"]))
def test_bits_of_random_plans(case, dtype):
    with pytest.MonkeyPatch.context() as monkeypatch:
        expected = trained(case, monkeypatch, False, dtype=dtype)
        assert_same_bits(trained(case, monkeypatch, True, dtype=dtype), expected)


@pytest.mark.parametrize("tiny", [1e-45, -1e-45])
def test_the_sign_of_a_zero_whose_products_are_too_small(monkeypatch, tiny):
    case = make([70, 20, 3], n=60)
    X = np.full_like(case.X, tiny)
    X[case.plan.order[np.arange(60) % 16 > 3]] = 0  # products with zero come last
    params = case.params.copy()
    params[: 70 * 20] = -0.0
    case = replace(case, X=X, params=params)
    expected = trained(case, monkeypatch, False, dtype="float32")
    assert np.signbit(expected[2][: 70 * 20]).any()
    assert_same_bits(trained(case, monkeypatch, True, dtype="float32"), expected)


# -- numbers that are not finite: a product with zero is NaN ------------------------------------------------

ZERO, FIRST, SECOND = slice(24), slice(24, 48), slice(48, None)
"""Inputs that are zero in all rows, in all but those of the second batch, and in these only: whole tiles."""


def in_blocks(case):
    X = case.X.copy()
    second = np.zeros(len(X), bool)
    second[case.plan.order[16:32]] = True
    X[:, ZERO] = 0
    X[~second, FIRST] = 0
    X[second, SECOND] = 0
    return replace(case, X=X)


def of_first_layer(case, flat):
    sizes = case.plan.network.layout.sizes
    return flat[: sizes[0] * sizes[1]].reshape(sizes[:2])


def weight_is_infinite(case):
    of_first_layer(case, case.params)[3, 0] = np.inf


def weight_is_nan(case):
    of_first_layer(case, case.params)[3, 0] = np.nan


def input_is_infinite(case):
    case.X[case.plan.order[2 * 16 + 5], 3] = np.inf


def gradient_is_infinite(case):
    case.target[case.plan.order[4 * 16 + 5], 0] = np.inf  # of the last batch


def weights_overflow(case):
    case.plan.learning_rates[1] = 1e300
    case.target[case.plan.order[16:32]] = 1e100


def state_overflows(case):
    for row in case.state[:1]:
        of_first_layer(case, row)[3] = 1e305
    case.plan.learning_rates[1] = 1e5


def factor_is_infinite(case):
    if (factors := case.plan.network.layout.scaling(case.params)) is not None:
        factors[3] = np.inf


PLANTED = [
    weight_is_infinite, weight_is_nan, input_is_infinite, gradient_is_infinite, weights_overflow, state_overflows,
    factor_is_infinite,
]  # fmt: skip


@pytest.mark.parametrize("halt", [True, False])
@pytest.mark.parametrize("sizes", [[70, 3], [70, 20, 3], [100, 80, 66, 3]])
@pytest.mark.parametrize(
    "options",
    [{}, {"rule": RULES[7]}, {"clip_norm": 1.0}, {"l1": 0.01}, {"scaling_layer": True}],
    ids=lambda options: str({name: getattr(value, "name", value) for name, value in options.items()}),
)
@pytest.mark.parametrize("plant", PLANTED, ids=lambda plant: plant.__name__)
def test_numbers_that_are_not_finite(monkeypatch, plant, options, sizes, halt):
    case = in_blocks(make(sizes, "identity", "identity+mse", n=80, **options))
    plant(case)
    found = trained(case, monkeypatch, True, halt=halt)
    assert_same_bits(found, trained(case, monkeypatch, False, halt=halt))
    with np.errstate(all="ignore"):
        losses, failed, params, _ = case.train(NUMPY.train_epoch, halt=halt)
    assert found[1] == failed
    assert_array_equal(np.isfinite(found[0]), np.isfinite(losses))
    assert_array_equal(np.isfinite(found[2]), np.isfinite(params))


# -- when it is done -----------------------------------------------------------------------------------------


def test_the_data_decide(monkeypatch):
    made = record_lists(monkeypatch)
    dense = make([100, 20, 3])
    with_zeros(dense).train()
    dense.train()
    with_zeros(make([20, 20, 3])).train()  # few inputs
    assert made == [True, False, False]


def test_share_of_the_columns():
    X = np.zeros((1200, 50))
    X[:, :10] = 1
    assert column_share(X) == 0.2
    X[::120, 40] = np.nan  # one row of some hundred
    assert 0.2 < column_share(X) < 0.22
    assert column_share(np.zeros((0, 5))) == 1.0
    assert column_share(np.ones((1, 5), np.uint8)) == 1.0


def test_a_part_of_an_epoch_has_the_same_bits(monkeypatch):
    case = with_zeros(make([100, 40, 3], "relu", rule=RULES[7], n=160))
    whole = trained(case, monkeypatch, True)
    first = trained(case, monkeypatch, True, n_batches=4)
    rest = replace(case, params=first[2], state=first[3])
    second = trained(rest, monkeypatch, True, first_batch=4)
    assert_same_bits((np.concatenate([first[0], second[0]]), None, *second[2:]), whole)
