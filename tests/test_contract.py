"""The contract of `Backend`: each operation, on every backend and in both dtypes.

Values are compared with `oracle` within the bounds of `accuracy`.  Then follow rules that apply to all operations:
which arguments are modified, what is returned, and which arrays are accepted or rejected.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import accuracy
import numpy as np
import oracle
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from backends import formulas
from backends.errors import ConfigurationError, DtypeError, NotDifferentiableError, ShapeError, WrongDeviceError
from backends.formulas import Rule

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NaN and infinity are among the inputs

ELEMENTWISE = [name for name, row in formulas.ACTIVATIONS.items() if not row.rowwise]
DIFFERENTIABLE = [name for name in ELEMENTWISE if formulas.ACTIVATIONS[name].backward is not None]


def legal_pairs():
    """Every pair of output and loss that `formulas.pair` accepts."""
    for output in formulas.ACTIVATIONS:
        for loss in formulas.LOSSES:
            try:
                formulas.pair(output, loss)
            except ConfigurationError:
                continue
            if formulas.ACTIVATIONS[output].backward is not None:
                yield f"{output}+{loss}"


PAIRS = list(legal_pairs())

# none, one, and ragged sizes around the widths of vector registers
sizes = st.one_of(st.sampled_from([0, 1, 2, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65]), st.integers(0, 70))
widths = sizes.filter(bool)
seeds = st.integers(0, 2**32 - 1)


def host(xp, *arrays):
    return [None if a is None else xp.to_numpy(a) for a in arrays]


def integers(rng, shape, dtype, largest=8):
    """Small integers, whose products and sums are exact in both dtypes."""
    return rng.integers(-largest, largest, shape, endpoint=True).astype(dtype)


def normal(rng, shape, dtype):
    return rng.normal(size=shape).astype(dtype)


# -- accuracy of functions --------------------------------------------------------------------------------


def numbers(dtype):
    """Numbers of both signs and all magnitudes, from the smallest to those where all functions are saturated."""
    info = np.finfo(dtype)
    magnitudes = np.concatenate(
        [np.geomspace(float(info.tiny), 1e4, 100), np.linspace(0.25, 30, 120), [88, 103, 709, 745]]
    )
    crossings = np.concatenate([-0.7517915 + np.linspace(-1e-3, 1e-3, 9), -1.2784645 + np.linspace(-1e-3, 1e-3, 9)])
    return np.concatenate([[0.0], magnitudes, -magnitudes, crossings]).astype(dtype)


@dataclass(frozen=True)
class Samples:
    """Arguments of a function, with the exact result and the allowed error of each."""

    arguments: tuple
    exact: oracle.Exact
    allowed: np.ndarray


def samples(function, bound, dtype, *arguments):
    """`Samples` of ``function(*arguments)``; `Bound.argument` applies to the last argument."""
    *others, z = arguments
    exact = oracle.evaluate_exactly(function, *arguments)
    shifted = oracle.evaluate_exactly(function, *others, np.nextafter(z, np.inf)) if bound.argument else exact
    inside = np.abs(exact.high) <= float(np.finfo(dtype).max)
    allowed = accuracy.allowed_error(bound, exact, shifted, dtype)
    return Samples(tuple(a[inside] for a in arguments), exact[inside], allowed[inside])


@cache
def forward_samples(name, dtype):
    return samples(oracle.FORWARD[name], accuracy.FORWARD[name], dtype, numbers(dtype))


@cache
def backward_samples(name, dtype):
    """Gradients dy of various sizes, with the array saved by the forward pass: z or y."""
    saved = numbers(dtype)
    derivative = oracle.DERIVATIVE_FROM_Z.get(name)
    if derivative is None:
        derivative = oracle.DERIVATIVE_FROM_Y[name]
        saved = oracle.evaluate_exactly(oracle.FORWARD[name], saved).high.astype(dtype)
        saved = saved[np.isfinite(saved)]
    dy = np.resize(np.array([1, -0.3, 7.7, 1e-3, -2.5], dtype), saved.shape)
    return samples(lambda d, s: d * derivative(s), accuracy.BACKWARD[name], dtype, dy, saved)


def arrange(table, rows, units, start):
    """Arrange the samples from index `start` on as (rows, units); return arguments and indices."""
    index = (np.arange(rows * units) + start).reshape(rows, units) % len(table.allowed)
    return [a[index] for a in table.arguments], index


def assert_accurate(computed, table, index):
    error, allowed = table.exact[index].error(computed), table.allowed[index]
    # NaN fails every comparison
    assert (error <= allowed).all(), f"the error is {np.nanmax(error / allowed):.3g} times the allowed error"


@pytest.mark.parametrize("name", sorted(oracle.ELEMENTARY))
def test_elementary_functions_are_accurate(xp, dtype, name):
    z = numbers(dtype)
    domain = {"log": z > 0, "sqrt": z >= 0, "log1p": z > -1}.get(name, np.isfinite(z))
    table = samples(oracle.ELEMENTARY[name], accuracy.ELEMENTARY[name], dtype, z[domain])
    (y,) = host(xp, getattr(xp, name)(xp.asarray(table.arguments[0])))
    assert y.dtype == dtype
    assert_accurate(y, table, np.arange(len(y)))


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_activations_are_accurate(xp, dtype, name):
    table = forward_samples(name, dtype)

    @given(rows=sizes, units=widths, start=seeds)
    @example(rows=1, units=len(table.allowed), start=0)
    def check(rows, units, start):
        (z,), index = arrange(table, rows, units, start)
        (y,) = host(xp, xp.activate(xp.asarray(z), name))
        assert y.dtype == dtype
        assert y.shape == (rows, units)
        assert_accurate(y, table, index)

    check()


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_slopes_of_activations_are_accurate(xp, dtype, name):
    table = backward_samples(name, dtype)

    @given(rows=sizes, units=widths, start=seeds)
    @example(rows=1, units=len(table.allowed), start=0)
    def check(rows, units, start):
        (dy, saved), index = arrange(table, rows, units, start)
        (dz,) = host(xp, xp.activate_backward(xp.asarray(dy), xp.asarray(saved), name))
        assert dz.dtype == dtype
        assert dz.shape == (rows, units)
        assert_accurate(dz, table, index)

    check()


def test_every_activation_has_its_bounds():
    assert set(ELEMENTWISE) == set(accuracy.FORWARD) == set(oracle.FORWARD)
    assert (
        set(DIFFERENTIABLE) == set(accuracy.BACKWARD) == set(oracle.DERIVATIVE_FROM_Y) | set(oracle.DERIVATIVE_FROM_Z)
    )


@given(rows=st.integers(0, 5), units=widths, scale=st.sampled_from([0.1, 3, 30, 200]), seed=seeds)
def test_softmax_is_accurate(xp, dtype, rows, units, scale, seed):
    z = (scale * np.random.default_rng(seed).normal(size=(rows, units))).astype(dtype)
    (y,) = host(xp, xp.activate(xp.asarray(z), "softmax"))
    assert y.dtype == dtype
    assert_softmax(y, z)


def assert_softmax(y, z):
    exact = oracle.exact_softmax(z)
    # rounding z - max(z) by half a unit in the last place adds to the error of its exponential
    fall = np.abs(z.max(axis=1, keepdims=True) - z) if z.size else z
    # equal terms of the sum round alike, so their errors can add up: half a unit for each
    bound = (4 + z.shape[1] / 2 + fall) * accuracy.units(exact.high, y.dtype)
    assert (exact.error(y) <= np.maximum(bound, float(np.finfo(y.dtype).tiny))).all()


@given(rows=sizes, units=widths, seed=seeds)
def test_slope_of_softmax_is_accurate(xp, dtype, rows, units, seed):
    rng = np.random.default_rng(seed)
    y, dy = (normal(rng, (rows, units), dtype) for _ in range(2))
    y = np.exp(y) / np.exp(y).sum(axis=1, keepdims=True)
    (dz,) = host(xp, xp.activate_backward(xp.asarray(dy), xp.asarray(y), "softmax"))
    Y, DY = y.astype(np.longdouble), dy.astype(np.longdouble)
    exact = Y * (DY - (DY * Y).sum(axis=1, keepdims=True))
    u = float(np.finfo(dtype).eps) / 2
    bound = 2 * (units + 3) * u * Y * (np.abs(DY) + np.abs(DY * Y).sum(axis=1, keepdims=True))
    assert dz.dtype == dtype
    assert (np.abs(dz - exact) <= bound).all()


# -- products ---------------------------------------------------------------------------------------------

shapes = st.tuples(sizes, sizes, sizes)


@given(shape=shapes, trans_a=st.booleans(), trans_b=st.booleans(), with_out=st.booleans(), seed=seeds)
def test_matmul_is_within_the_bound_of_products(xp, dtype, shape, trans_a, trans_b, with_out, seed):
    m, k, n = shape
    rng = np.random.default_rng(seed)
    a, b = normal(rng, (m, k), dtype), normal(rng, (k, n), dtype)
    out = xp.asarray(np.full((m, n), np.nan, dtype)) if with_out else None
    arguments = (np.ascontiguousarray(a.T if trans_a else a), np.ascontiguousarray(b.T if trans_b else b))
    product = xp.matmul(*map(xp.asarray, arguments), trans_a, trans_b, out)
    assert out is None or product is out
    (c,) = host(xp, product)
    exact = a.astype(np.longdouble) @ b.astype(np.longdouble)
    assert c.dtype == dtype
    assert c.shape == (m, n)
    assert (np.abs(c - exact) <= accuracy.product_bound(a, b, dtype)).all()


@given(shape=shapes, trans_a=st.booleans(), trans_b=st.booleans(), seed=seeds)
def test_matmul_of_small_integers_is_exact(xp, dtype, shape, trans_a, trans_b, seed):
    m, k, n = shape
    rng = np.random.default_rng(seed)
    a = integers(rng, (k, m) if trans_a else (m, k), dtype)
    b = integers(rng, (n, k) if trans_b else (k, n), dtype)
    (c,) = host(xp, xp.matmul(xp.asarray(a), xp.asarray(b), trans_a, trans_b))
    left, right = a.astype(int).T if trans_a else a.astype(int), b.astype(int).T if trans_b else b.astype(int)
    assert_array_equal(c, left @ right)


@given(shape=st.tuples(sizes, widths, widths), seed=seeds, bad=st.sampled_from([np.nan, np.inf, -np.inf]))
def test_matmul_propagates_what_is_not_finite(xp, dtype, shape, seed, bad):
    m, k, n = shape
    rng = np.random.default_rng(seed)
    a, b = integers(rng, (m, k), dtype, largest=1), integers(rng, (k, n), dtype, largest=1)
    b[rng.integers(k), rng.integers(n)] = bad  # 0 * inf is NaN, and so is a sum that contains it
    (c,) = host(xp, xp.matmul(xp.asarray(a), xp.asarray(b)))
    expected = np.empty((m, n), dtype)
    for i, j in np.ndindex(m, n):
        expected[i, j] = sum(a[i] * b[:, j])
    assert_array_equal(c, expected)


# -- layers -----------------------------------------------------------------------------------------------


@given(name=st.sampled_from([*ELEMENTWISE, "softmax"]), shape=st.tuples(sizes, widths, widths), seed=seeds)
def test_dense_is_the_activation_of_the_product(xp, dtype, name, shape, seed):
    n, n_in, n_out = shape
    rng = np.random.default_rng(seed)
    x, W, b = integers(rng, (n, n_in), dtype, 3), integers(rng, (n_in, n_out), dtype, 1), integers(rng, n_out, dtype, 3)
    W[rng.random(W.shape) < 0.7] = 0
    preactivation = xp.empty((n, n_out), dtype)
    (y,) = host(xp, xp.dense(*map(xp.asarray, (x, W, b)), name, preactivation=preactivation))
    (z,) = host(xp, preactivation)
    assert_array_equal(z, x.astype(int) @ W.astype(int) + b.astype(int))  # integers are exact
    if name == "softmax":
        assert_softmax(y[:4], z[:4])
        return
    table = samples(oracle.FORWARD[name], accuracy.FORWARD[name], dtype, np.arange(-300, 301).astype(dtype))
    place = {float(value): i for i, value in enumerate(table.arguments[0])}
    index = np.array([place.get(float(value), -1) for value in z.ravel()], int)
    assert_accurate(y.ravel()[index >= 0], table, index[index >= 0])


@given(
    shape=st.tuples(sizes, widths, widths),
    seed=seeds,
    need_dx=st.booleans(),
    name=st.sampled_from(["identity", "relu"]),
)
def test_dense_backward_of_small_integers_is_exact(xp, dtype, shape, seed, need_dx, name):
    n, n_in, n_out = shape
    rng = np.random.default_rng(seed)
    x, W, y, dy = (integers(rng, s, dtype, 4) for s in ((n, n_in), (n_in, n_out), (n, n_out), (n, n_out)))
    dx, dW, db = host(xp, *xp.dense_backward(*map(xp.asarray, (dy, x, y, W)), name, need_dx=need_dx))
    dz = (dy * (y > 0) if name == "relu" else dy).astype(int)
    assert_array_equal(dW, x.astype(int).T @ dz)
    assert_array_equal(db, dz.sum(axis=0))
    if need_dx:
        assert_array_equal(dx, dz @ W.astype(int).T)
    else:
        assert dx is None


@given(name=st.sampled_from([*DIFFERENTIABLE, "softmax"]), shape=st.tuples(sizes, widths, widths), seed=seeds)
def test_dense_backward_is_within_the_bound_of_products(xp, dtype, name, shape, seed):
    n, n_in, n_out = shape
    rng = np.random.default_rng(seed)
    x, W, z, dy = (normal(rng, s, dtype) for s in ((n, n_in), (n_in, n_out), (n, n_out), (n, n_out)))
    saved = z if formulas.ACTIVATIONS[name].saves == "z" else oracle.activate(name, z.astype(float)).astype(dtype)
    dx, dW, db = host(xp, *xp.dense_backward(*map(xp.asarray, (dy, x, saved, W)), name))
    # the derivative has a separate test; here an additional error of a few units is allowed
    (dz,) = host(xp, xp.activate_backward(xp.asarray(dy), xp.asarray(saved), name))
    off = 4 * float(np.finfo(dtype).eps) * np.abs(dz.astype(float))
    for found, (a, b), slack in (
        (dW, (x.T, dz), np.abs(x.T) @ off),
        (dx, (dz, W.T), off @ np.abs(W.T)),
        (db, (np.ones((1, n)), dz), off.sum(axis=0)),
    ):
        error = np.abs(found - a.astype(np.longdouble) @ b.astype(np.longdouble))
        assert (error <= accuracy.product_bound(a, b, dtype) + slack).all()


# -- losses -----------------------------------------------------------------------------------------------


def draw_loss(rng, kind, n, n_out, dtype):
    """Draw logits, and targets that are valid for the loss and far from its kinks."""
    z = normal(rng, (n, n_out), dtype)
    name = kind.partition("+")[2]
    if name == "cross_entropy":
        t = rng.dirichlet(np.ones(n_out), n)
        certain = rng.random(n) < 0.5
        t[certain] = np.eye(n_out)[rng.integers(0, n_out, certain.sum())]
    elif name == "binary_cross_entropy":
        t = rng.random((n, n_out)).round(rng.integers(0, 3))
    elif name == "poisson":
        t = rng.poisson(1.5, (n, n_out))
    else:
        t = rng.normal(size=(n, n_out)) * 2
        if name in ("mae", "quantile"):
            t = 9 + np.abs(t)
    return z, np.asarray(t).astype(dtype).reshape(n, n_out)


@pytest.mark.parametrize("kind", PAIRS)
def test_loss_and_delta_are_accurate(xp, dtype, kind):
    @given(n=widths, n_out=st.integers(1, 20), weighted=st.booleans(), seed=seeds)
    def check(n, n_out, weighted, seed):
        rng = np.random.default_rng(seed)
        z, t = draw_loss(rng, kind, n, n_out, dtype)
        weight = rng.integers(0, 3, n).astype(dtype) if weighted else None
        if weighted:
            weight[0] = 1
        loss, delta = xp.loss_and_delta(kind, *(None if a is None else xp.asarray(a) for a in (z, t, weight)))
        (delta,) = host(xp, delta)
        wide = [None if a is None else a.astype(np.longdouble) for a in (z, t, weight)]
        exact_loss, exact_delta = oracle.loss_and_delta(*kind.split("+"), *wide)
        eps = float(np.finfo(dtype).eps)
        assert delta.dtype == dtype
        assert abs(float(loss) - exact_loss) <= 8 * eps * max(1, exact_loss)
        # cancellation leaves an error relative to the largest entry of the row
        size = np.abs(exact_delta).max(axis=1, keepdims=True) + 1 / n
        assert (np.abs(delta - exact_delta) <= 16 * eps * size).all()

    check()


@pytest.mark.parametrize("magnitude", [100, 1e4, 1e30])
@pytest.mark.parametrize("kind", ["softmax+cross_entropy", "sigmoid+binary_cross_entropy"])
def test_cross_entropies_are_stable_for_huge_logits(xp, dtype, kind, magnitude):
    z = np.array([[magnitude, -magnitude]], dtype)
    right, wrong = np.array([[1, 0]], dtype), np.array([[0, 1]], dtype)
    share = 2 if kind.startswith("softmax") else 1  # the mean over two outputs, or the difference of two logits
    for target, expected in ((right, 0.0), (wrong, share * float(z[0, 0]))):
        loss, delta = xp.loss_and_delta(kind, xp.asarray(z), xp.asarray(target))
        assert_allclose(float(loss), expected, rtol=4 * np.finfo(dtype).eps, atol=1e-40)
        assert_allclose(host(xp, delta)[0] * (1 if share == 2 else 2), [[1, 0]] - target, atol=1e-40)


def test_a_far_tail_keeps_its_accuracy(xp, dtype):
    """log(1 + e^-40) equals e^-40 in all digits; a naive formula gives zero."""
    z, t = np.array([[40.0]], dtype), np.array([[1.0]], dtype)
    loss, delta = xp.loss_and_delta("sigmoid+binary_cross_entropy", xp.asarray(z), xp.asarray(t))
    assert_allclose(float(loss), np.exp(-40.0), rtol=1e-6)
    assert_allclose(host(xp, delta)[0], 0, atol=np.finfo(dtype).eps)


@given(n=sizes, n_out=widths, weighted=st.booleans(), integer=st.sampled_from(["int64", "int32", "uint8"]), seed=seeds)
def test_class_numbers_mean_one_hot_rows(xp, dtype, n, n_out, weighted, integer, seed):
    rng = np.random.default_rng(seed)
    z, classes = xp.asarray(normal(rng, (n, n_out), dtype)), rng.integers(0, n_out, n)
    weight = xp.asarray(rng.random(n).astype(dtype)) if weighted else None
    one_hot = xp.asarray((classes[:, None] == np.arange(n_out)).astype(dtype))
    by_number = xp.loss_and_delta("softmax+cross_entropy", z, xp.asarray(classes.astype(integer)), weight)
    by_row = xp.loss_and_delta("softmax+cross_entropy", z, one_hot, weight)
    eps = float(np.finfo(dtype).eps)
    assert_allclose(float(by_number[0]), float(by_row[0]), rtol=8 * eps, atol=8 * eps)
    assert_allclose(*host(xp, by_number[1], by_row[1]), atol=4 * eps / max(n, 1))


@pytest.mark.parametrize("wrong", [-1, 3, 10**6])
def test_class_numbers_out_of_range_touch_nothing_else(xp, dtype, wrong):
    """Networks reject them before training; a backend treats them as a class without an output."""
    z = xp.asarray(np.ones((2, 3), dtype))
    loss, delta = xp.loss_and_delta("softmax+cross_entropy", z, xp.asarray(np.array([wrong, 1])))
    assert_allclose(float(loss), np.log(3) / 2, rtol=1e-6)
    assert_allclose(host(xp, delta)[0], [[1 / 6] * 3, [1 / 6, 1 / 6 - 1 / 2, 1 / 6]], rtol=1e-6)


@pytest.mark.parametrize("kind", PAIRS)
def test_rows_of_weight_zero_do_not_count(xp, dtype, kind):
    rng = np.random.default_rng(3)
    z, t = draw_loss(rng, kind, 9, 3, dtype)
    weight = np.array([1, 0, 2, 0, 0.5, 1, 0, 3, 0], dtype)
    z[1], z[3] = np.inf, np.nan  # not even infinity has an effect
    counted = weight > 0
    loss, delta = xp.loss_and_delta(kind, xp.asarray(z), xp.asarray(t), xp.asarray(weight))
    alone, slope = xp.loss_and_delta(kind, *(xp.asarray(a[counted]) for a in (z, t, weight)))
    delta, slope = host(xp, delta, slope)
    eps = float(np.finfo(dtype).eps)
    assert_allclose(float(loss), float(alone), rtol=8 * eps)
    assert_allclose(delta[counted], slope, rtol=8 * eps)
    assert_array_equal(delta[~counted], 0)


@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid value")
@pytest.mark.parametrize("one_hot", [False, True])
def test_the_farthest_logits_give_a_loss_where_the_answer_is_right(xp, dtype, one_hot):
    """Their difference overflows; 0 times infinity must not occur in the loss."""
    far = np.finfo(dtype).max
    z = np.array([[-far, far], [far, -far]], dtype)
    target = np.array([[0, 1], [1, 0]], dtype) if one_hot else np.array([1, 0])
    loss, delta = xp.loss_and_delta("softmax+cross_entropy", xp.asarray(z), xp.asarray(target))
    assert float(loss) == 0
    assert_array_equal(host(xp, delta)[0], np.zeros((2, 2), dtype))


@pytest.mark.parametrize("kind", PAIRS)
def test_weights_of_zero_everywhere_give_zero(xp, dtype, kind):
    z, t = draw_loss(np.random.default_rng(4), kind, 5, 3, dtype)
    loss, delta = xp.loss_and_delta(kind, xp.asarray(z), xp.asarray(t), xp.zeros((5,), dtype))
    assert float(loss) == 0
    assert_array_equal(host(xp, delta)[0], np.zeros((5, 3), dtype))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("kind", PAIRS)
def test_a_loss_of_what_is_not_finite_is_not_finite(xp, dtype, kind, bad):
    """With a saturating output, infinite logits can have a finite loss; NaN cannot."""
    z, t = draw_loss(np.random.default_rng(5), kind, 4, 3, dtype)
    z[2, 1] = bad
    loss, _ = xp.loss_and_delta(kind, xp.asarray(z), xp.asarray(t))
    saturates = kind.partition("+")[0] in ("sigmoid", "tanh")
    assert not np.isfinite(float(loss)) or (saturates and np.isinf(bad))


def test_step_has_no_slope_to_train_by(xp, dtype):
    z = xp.zeros((2, 2), dtype)
    with pytest.raises(NotDifferentiableError, match="step"):
        xp.activate_backward(z, z, "step")
    with pytest.raises(NotDifferentiableError, match="step"):
        xp.loss_and_delta("step+mse", z, z)


# -- NaN and infinity ---------------------------------------------------------------------------------------

INF = np.inf
AT_INFINITY = {  # f(-inf), f(inf)
    "identity": (-INF, INF),
    "sigmoid": (0, 1),
    "tanh": (-1, 1),
    "relu": (0, INF),
    "leaky_relu": (-INF, INF),
    "elu": (-1, INF),
    "selu": (-1.7580993408473766, INF),
    "gelu": (np.nan, INF),  # -inf * 0, as in PyTorch
    "gelu_tanh": (np.nan, INF),
    "silu": (np.nan, INF),
    "mish": (np.nan, INF),
    "softplus": (0, INF),
    "step": (0, 1),
    "exp": (0, INF),
}


@pytest.mark.parametrize("length", [1, 8, 33])
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_activations_propagate_nan_and_infinity(xp, dtype, name, length):
    for position in {0, length // 2, length - 1}:
        for value, expected in zip((-INF, INF, np.nan), (*AT_INFINITY[name], np.nan), strict=True):
            z = np.ones((1, length), dtype)
            z[0, position] = value
            (y,) = host(xp, xp.activate(xp.asarray(z), name))
            assert_array_equal(y[0, position], dtype.type(expected))
            assert np.isfinite(np.delete(y, position)).all()


@pytest.mark.parametrize("name", [*DIFFERENTIABLE, "softmax"])
def test_slopes_propagate_nan(xp, dtype, name):
    dy, saved = np.ones((3, 5), dtype), np.full((3, 5), 0.5, dtype)
    dy[1, 2] = np.nan
    (dz,) = host(xp, xp.activate_backward(xp.asarray(dy), xp.asarray(saved), name))
    assert np.isnan(dz[1, 2])
    assert np.isfinite(dz[[0, 2]]).all()


@pytest.mark.parametrize("name", ["gelu", "gelu_tanh", "silu", "mish"])
def test_slopes_of_huge_numbers_are_zero_or_one(xp, dtype, name):
    huge = float(np.finfo(dtype).max) / 4
    z = np.array([[-huge, -1e15, 1e15, huge]], dtype)
    (dz,) = host(xp, xp.activate_backward(xp.asarray(np.ones_like(z)), xp.asarray(z), name))
    assert_array_equal(dz, [[0, 0, 1, 1]])


def test_softmax_of_a_row_with_nan_is_nan(xp, dtype):
    z = np.zeros((3, 9), dtype)
    z[1, 4] = np.nan
    (y,) = host(xp, xp.activate(xp.asarray(z), "softmax"))
    assert np.isnan(y[1]).all()
    assert_allclose(y[[0, 2]], 1 / 9, rtol=1e-6)


# -- updates ----------------------------------------------------------------------------------------------

RULES = {
    "sgd": {},
    "momentum": {"momentum": 0.9},
    "momentum_rate_inside": {"momentum": 0.9},
    "nesterov": {"momentum": 0.9},
    "nesterov_rate_inside": {"momentum": 0.9},
    "adagrad": {"epsilon": 1e-10},
    "rmsprop": {"rho": 0.9, "epsilon": 1e-8},
    "adam": {"beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8},
    "adam_epsilon_hat": {"beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8},
}


def test_every_rule_is_tested():
    assert set(RULES) == set(formulas.RULES)


@pytest.mark.parametrize("name", RULES)
def test_update_follows_the_rule(xp, dtype, name):
    rule = Rule(name, RULES[name])

    @given(n=sizes, seed=seeds)
    def check(n, seed):
        rng = np.random.default_rng(seed)
        start = normal(rng, n, dtype)
        params, state = xp.asarray(start.copy()), xp.zeros((len(rule.row.state), n), dtype)
        expected, naive = [start.astype(float)], oracle.Rule(name, **RULES[name])
        for step, rate in enumerate((0.1, 0.1, 0.03), start=1):
            g = normal(rng, n, dtype)
            assert xp.update(rule, params, xp.asarray(g), state, step, rate) is None
            expected = naive(expected, [g.astype(float)], rate)
        (found,) = host(xp, params)
        assert found.dtype == dtype
        # the square root amplifies the rounding errors of very small squared gradients
        assert_allclose(found, expected[0], rtol=0, atol=64 * float(np.finfo(dtype).eps))

    check()


def test_update_changes_params_and_state_alone(xp, dtype):
    rng = np.random.default_rng(0)
    params, state, g = xp.asarray(normal(rng, 20, dtype)), xp.zeros((2, 20), dtype), xp.asarray(normal(rng, 20, dtype))
    kept = host(xp, g)[0].copy()
    xp.update(Rule("adam", RULES["adam"]), params, g, state, 1, 0.1)
    assert_array_equal(host(xp, g)[0], kept)
    assert (host(xp, state)[0] != 0).all()


def test_update_with_wrong_shapes_is_refused(xp, dtype):
    p, g = xp.zeros((4,), dtype), xp.zeros((5,), dtype)
    with pytest.raises(ShapeError, match=r"\(4,\).*\(5,\)"):
        xp.update(Rule("sgd", {}), p, g, xp.zeros((0, 4), dtype), 1, 0.1)
    with pytest.raises(ShapeError, match=r"\(2, 4\)"):
        xp.update(Rule("adam", RULES["adam"]), p, p, xp.zeros((1, 4), dtype), 1, 0.1)


@given(n=sizes, seed=seeds, l2=st.sampled_from([0, 0.1]), l1=st.sampled_from([0, 0.01]))
def test_add_penalty(xp, dtype, n, seed, l2, l1):
    rng = np.random.default_rng(seed)
    w, g = normal(rng, n, dtype), normal(rng, n, dtype)
    gradient = xp.asarray(g.copy())
    value = xp.add_penalty(xp.asarray(w), gradient, l2=l2, l1=l1)
    wide = w.astype(float)
    eps = float(np.finfo(dtype).eps)
    assert_allclose(value, l2 / 2 * (wide**2).sum() + l1 * np.abs(wide).sum(), rtol=4 * eps)
    assert_allclose(host(xp, gradient)[0], g + l2 * wide + l1 * np.sign(wide), rtol=4 * eps, atol=2 * eps)


@given(n=sizes, seed=seeds, by_value=st.sampled_from([None, 0.5]), by_norm=st.sampled_from([None, 0.25, 1e6]))
def test_clip(xp, dtype, n, seed, by_value, by_norm):
    g = normal(np.random.default_rng(seed), n, dtype)
    gradient = xp.asarray(g.copy())
    assert xp.clip(gradient, by_value=by_value, by_norm=by_norm) is None
    expected = g.astype(float) if by_value is None else np.clip(g.astype(float), -by_value, by_value)
    if by_norm is not None:
        expected *= min(1, by_norm / (np.sqrt((expected**2).sum()) + 1e-6))
    assert_allclose(host(xp, gradient)[0], expected, rtol=8 * float(np.finfo(dtype).eps))


def test_clip_lets_nan_through(xp, dtype):
    gradient = xp.asarray(np.array([1, np.nan, 3], dtype))
    xp.clip(gradient, by_value=0.5)
    assert_array_equal(host(xp, gradient)[0], np.array([0.5, np.nan, 0.5], dtype))
    xp.clip(gradient, by_norm=0.5)
    assert np.isnan(host(xp, gradient)[0]).all()


@given(n=sizes, seed=seeds)
def test_multiply(xp, dtype, n, seed):
    x = normal(np.random.default_rng(seed), n, dtype)
    product = xp.asarray(x.copy())
    assert xp.multiply(product, 0.7) is None
    assert_array_equal(host(xp, product)[0], x * dtype.type(0.7))


# -- other operations -------------------------------------------------------------------------------------

counters = st.tuples(st.integers(0, 2**64 - 1), st.integers(0, 1000), st.integers(0, 10**6), st.integers(0, 9))


@given(rows=st.integers(0, 9), units=widths, rate=st.sampled_from([0.0, 0.1, 0.5, 0.9]), counter=counters, seed=seeds)
def test_dropout_keeps_what_the_random_integers_say(xp, dtype, rows, units, rate, counter, seed):
    x = normal(np.random.default_rng(seed), (rows, units), dtype)
    first, second = (host(xp, xp.dropout(xp.asarray(x), rate, counter))[0] for _ in range(2))
    keep = oracle.keep_mask(rows, units, rate, counter)
    assert first.dtype == dtype
    assert_array_equal(first, second)
    assert_array_equal(first[~keep], 0)
    assert_allclose(first[keep], x[keep].astype(float) / (1 - rate), rtol=2 * float(np.finfo(dtype).eps))


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.8])
def test_dropout_drops_its_share_and_keeps_the_mean(xp, dtype, rate):
    n = 400 * 500
    (y,) = host(xp, xp.dropout(xp.asarray(np.ones((400, 500), dtype)), rate, (1, 2, 3, 4)))
    assert abs((y == 0).mean() - rate) < 4 * np.sqrt(rate * (1 - rate) / n)
    assert abs(y.mean(dtype=float) - 1) < 4 * np.sqrt(rate / (1 - rate) / n)


@given(n=widths, units=sizes, m=sizes, seed=seeds)
def test_take_rows(xp, dtype, n, units, m, seed):
    rng = np.random.default_rng(seed)
    x, rows = normal(rng, (n, units), dtype), rng.integers(0, n, m)
    out = xp.empty((m, units), dtype)
    assert xp.take_rows(xp.asarray(x), xp.asarray(rows), out=out) is out
    plain = xp.take_rows(xp.asarray(x), xp.asarray(rows))
    for found in host(xp, out, plain):
        assert_array_equal(found, x[rows])


@given(n=widths, units=sizes, m=sizes, seed=seeds)
def test_take_rows_scales_bytes(xp, dtype, n, units, m, seed):
    rng = np.random.default_rng(seed)
    x, rows = rng.integers(0, 256, (n, units), np.uint8), rng.integers(0, n, m)
    out = xp.empty((m, units), dtype)
    assert xp.take_rows(xp.asarray(x), xp.asarray(rows), out=out, scale=1 / 255) is out
    assert_array_equal(host(xp, out)[0], x[rows].astype(dtype) * dtype.type(1 / 255))


def test_take_rows_of_vectors(xp):
    labels, rows = np.array([5, 6, 7]), np.array([2, 0, 2])
    assert_array_equal(host(xp, xp.take_rows(xp.asarray(labels), xp.asarray(rows)))[0], [7, 5, 7])


def test_take_rows_refuses_a_row_that_is_not_there(xp, dtype):
    if xp.device != "cpu":
        pytest.skip("a GPU wraps indices that are out of range, and does not say so")
    out = xp.empty((1, 2), dtype)
    for x in (np.zeros((3, 2), dtype), np.zeros((3, 2), np.uint8)):
        for row in (3, -4):
            with pytest.raises(IndexError):
                xp.take_rows(xp.asarray(x), xp.asarray(np.array([row])), out=out)


def test_take_rows_refuses_an_out_that_does_not_fit(xp, dtype):
    rows = xp.asarray(np.arange(3))
    for x in (xp.zeros((3, 2), dtype), xp.zeros((3, 2), np.uint8)):
        for shape in ((2, 2), (4, 2), (3, 1), (3, 3)):
            with pytest.raises(ValueError, match=r"shape|size|broadcast|match"):
                xp.take_rows(x, rows, out=xp.empty(shape, dtype))


def test_take_rows_does_not_cast_between_floats(xp):
    with pytest.raises(DtypeError, match=r"float64.*float32"):
        xp.take_rows(xp.zeros((3, 2), np.float64), xp.asarray(np.array([0])), out=xp.empty((1, 2), np.float32))


@given(shape=st.tuples(sizes, sizes), axis=st.sampled_from([None, 0, 1]), seed=seeds)
def test_sum(xp, dtype, shape, axis, seed):
    x = integers(np.random.default_rng(seed), shape, dtype)
    total = xp.sum(xp.asarray(x), axis)
    assert total.dtype == dtype
    assert_array_equal(xp.to_numpy(total) if axis is not None else float(total), x.astype(int).sum(axis=axis))


# -- array conversion -------------------------------------------------------------------------------------


def test_asarray_and_to_numpy_are_inverse(xp, dtype):
    x = np.arange(6, dtype=dtype).reshape(2, 3)
    device = xp.asarray(x)
    assert_array_equal(xp.to_numpy(device), x)
    assert xp.asarray(device) is device
    assert xp.asarray(x, dtype=np.float32).dtype == np.float32
    assert isinstance(xp.to_numpy(device), np.ndarray)


def test_new_arrays_have_their_shape_and_dtype(xp, dtype):
    for shape in ((0,), (3,), (2, 5)):
        assert xp.empty(shape, dtype).shape == xp.zeros(shape, dtype).shape == shape
        assert xp.empty(shape, dtype).dtype == xp.zeros(shape, dtype).dtype == dtype
        assert_array_equal(xp.to_numpy(xp.zeros(shape, dtype)), np.zeros(shape))
    assert xp.synchronize() is None


class OnGPU:
    """An array with the interface of a GPU array, like those of PyTorch and Numba."""

    __cuda_array_interface__ = {"shape": (2,), "typestr": "<f4", "data": (0, False), "version": 3}  # noqa: RUF012


def test_an_array_of_a_gpu_is_sent_to_the_door(xp):
    if xp.device != "cpu":
        pytest.skip(f"{xp} takes arrays of a GPU")
    with pytest.raises(WrongDeviceError, match=r"OnGPU.*GPU.*to_numpy"):
        xp.asarray(OnGPU())
    with pytest.raises(WrongDeviceError, match=r"OnGPU.*xp\.asarray.*to_numpy"):
        xp.matmul(OnGPU(), xp.zeros((2, 2), np.float32))
    with pytest.raises(WrongDeviceError, match=r"to_numpy.*OnGPU"):
        xp.to_numpy(OnGPU())


# -- rules for all operations -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Operation:
    """An operation of the contract, with the shapes of its test arguments.

    Attributes
    ----------
    call : callable
        ``call(xp, *arrays, **outs)``.
    shapes : tuple of tuple
        Shapes of the array arguments, in the letters n (rows), i and o (units).
    outs : mapping of str to tuple
        Names and shapes of the output arguments, in the order in which the results are returned.
    writes : tuple of int
        Indices of the arguments that are modified in place.
    """

    call: Callable[..., Any]
    shapes: tuple
    outs: dict
    writes: tuple = ()


def _loss(kind, xp, *arrays):
    return xp.loss_and_delta(kind, *arrays)


def _update(name, xp, params, gradient, *state):
    rule = Rule(name, RULES[name])
    if not rule.row.state:
        dtype = next(a.dtype for a in (params, gradient) if hasattr(a, "dtype"))
        state = (xp.zeros((0, 9), dtype),)
    xp.update(rule, params, gradient, *state, 3, 0.01)


OPERATIONS = {
    "matmul": Operation(lambda xp, a, b, **out: xp.matmul(a, b, **out), ("ni", "io"), {"out": "no"}),
    "matmul, a transposed": Operation(
        lambda xp, a, b, **out: xp.matmul(a, b, trans_a=True, **out), ("in", "io"), {"out": "no"}
    ),
    "matmul, b transposed": Operation(
        lambda xp, a, b, **out: xp.matmul(a, b, trans_b=True, **out), ("ni", "oi"), {"out": "no"}
    ),
    **{
        f"dense, {name}": Operation(
            lambda xp, x, W, b, name=name, **outs: xp.dense(x, W, b, name, **outs),
            ("ni", "io", "o"),
            {"out": "no"},
        )
        for name in ("identity", "relu", "tanh", "gelu", "softmax")
    },
    **{
        f"activate, {name}": Operation(
            lambda xp, z, name=name, **out: xp.activate(z, name, **out), ("no",), {"out": "no"}
        )
        for name in formulas.ACTIVATIONS
    },
    **{
        f"activate_backward, {name}": Operation(
            lambda xp, dy, s, name=name, **out: xp.activate_backward(dy, s, name, **out), ("no", "no"), {"out": "no"}
        )
        for name in (*DIFFERENTIABLE, "softmax")
    },
    **{
        f"dense_backward, {name}": Operation(
            lambda xp, dy, x, s, W, name=name, **outs: xp.dense_backward(dy, x, s, W, name, **outs),
            ("no", "ni", "no", "io"),
            {"dx": "ni", "dW": "io", "db": "o"},
        )
        for name in ("identity", "relu", "tanh", "silu")
    },
    **{
        f"loss_and_delta, {kind}": Operation(partial(_loss, kind), ("no", "no"), {})
        for kind in (
            "softmax+cross_entropy",
            "sigmoid+binary_cross_entropy",
            "identity+mse",
            "tanh+huber",
            "softmax+mse",
        )
    },
    "loss_and_delta, weighted": Operation(partial(_loss, "softmax+cross_entropy"), ("no", "no", "n"), {}),
    "dropout": Operation(lambda xp, x, **out: xp.dropout(x, 0.5, (1, 2, 3, 4), **out), ("no",), {"out": "no"}),
    "take_rows": Operation(
        lambda xp, x, **out: xp.take_rows(x, xp.asarray(np.arange(x.shape[0])[::-1].copy()), **out),
        ("no",),
        {"out": "no"},
    ),
    "sum": Operation(lambda xp, x: xp.sum(x), ("no",), {}),
    "sum, by column": Operation(lambda xp, x: xp.sum(x, 0), ("no",), {}),
    "add_penalty": Operation(lambda xp, w, g: xp.add_penalty(w, g, l2=0.1, l1=0.2), ("o", "o"), {}, writes=(1,)),
    "clip": Operation(lambda xp, g: xp.clip(g, by_value=0.5, by_norm=0.1), ("o",), {}, writes=(0,)),
    "multiply": Operation(lambda xp, x: xp.multiply(x, 0.5), ("o",), {}, writes=(0,)),
    **{
        f"update, {name}": Operation(
            partial(_update, name), ("o", "o", "so")[: 2 + bool(row.state)], {}, writes=(0, 2)[: 1 + bool(row.state)]
        )
        for name, row in formulas.RULES.items()
    },
}

CASTING = ("take_rows", "sum", "sum, by column")  # these accept every dtype


def operations(wanted=lambda name: True):
    return pytest.mark.parametrize(
        "operation", [pytest.param(op, id=name) for name, op in OPERATIONS.items() if wanted(name)]
    )


every_operation = operations()


def arguments(operation, dtype, n=6, i=5, o=9):
    """Positive host arrays for an operation: state arrays of squares, and some saved outputs, are never negative."""
    rng = np.random.default_rng(7)
    n_states = len(formulas.RULES[operation.call.args[0]].state) if _is_update(operation) else 0
    length = {"n": n, "i": i, "o": o, "s": n_states}
    return [
        rng.uniform(0.1, 0.9, tuple(length[letter] for letter in shape)).astype(dtype) for shape in operation.shapes
    ]


def out_shapes(operation, n=6, i=5, o=9):
    length = {"n": n, "i": i, "o": o}
    return [(name, tuple(length[letter] for letter in letters)) for name, letters in operation.outs.items()]


def _is_update(operation):
    return isinstance(operation.call, partial) and operation.call.func is _update


def results(xp, operation, arrays, **outs):
    """All results of an operation, returned or written in place, as host arrays (copies)."""
    returned = operation.call(xp, *arrays, **outs)
    returned = returned if isinstance(returned, tuple) else (returned,)
    found = [r for r in returned if r is not None] + [arrays[i] for i in operation.writes]
    return [np.array(xp.to_numpy(r)) if hasattr(r, "dtype") and np.ndim(r) else np.array(float(r)) for r in found]


@every_operation
def test_inputs_are_not_written_to(xp, dtype, operation):
    originals = arguments(operation, dtype)
    arrays = [xp.asarray(a.copy()) for a in originals]
    operation.call(xp, *arrays)
    for number, (array, original) in enumerate(zip(arrays, originals, strict=True)):
        changed = not np.array_equal(xp.to_numpy(array), original)
        assert changed == (number in operation.writes)


@every_operation
def test_dtype_is_kept(xp, dtype, operation):
    arrays = [xp.asarray(a) for a in arguments(operation, dtype)]
    found = operation.call(xp, *arrays)
    for result in found if isinstance(found, tuple) else (found,):
        if getattr(result, "ndim", 0):
            assert result.dtype == dtype


@every_operation
def test_results_share_no_memory_with_inputs(xp, dtype, operation):
    arrays = [xp.asarray(a) for a in arguments(operation, dtype)]
    found = operation.call(xp, *arrays)
    for result in found if isinstance(found, tuple) else (found,):
        for array in arrays:
            assert not getattr(result, "ndim", 0) or not xp.namespace.shares_memory(result, array)


@operations(lambda name: OPERATIONS[name].outs)
def test_out_is_used_and_returned(xp, dtype, operation):
    arrays = [xp.asarray(a) for a in arguments(operation, dtype)]
    expected = results(xp, operation, arrays)
    for layout in ("C", "F", "strided"):
        outs = {name: view(xp, np.full(shape, np.nan, dtype), layout) for name, shape in out_shapes(operation)}
        found = operation.call(xp, *arrays, **outs)
        for result, out, value in zip(
            found if isinstance(found, tuple) else (found,), outs.values(), expected, strict=True
        ):
            assert result is out
            assert_allclose(xp.to_numpy(out), value, rtol=16 * float(np.finfo(dtype).eps))


@operations(lambda name: len(OPERATIONS[name].outs) > 1)
def test_some_outs_may_be_given_and_others_not(xp, dtype, operation):
    arrays = [xp.asarray(a) for a in arguments(operation, dtype)]
    expected = results(xp, operation, arrays)
    for name, shape in out_shapes(operation):
        out = xp.empty(shape, dtype)
        found = operation.call(xp, *arrays, **{name: out})
        assert any(result is out for result in found)
        for result, value in zip(found, expected, strict=True):
            assert_allclose(xp.to_numpy(result), value, rtol=16 * float(np.finfo(dtype).eps))


@operations(lambda name: OPERATIONS[name].outs and name != "take_rows")
def test_an_out_that_does_not_fit_is_refused(xp, dtype, operation):
    arrays = [xp.asarray(a) for a in arguments(operation, dtype)]
    for name, shape in out_shapes(operation):
        with pytest.raises(ShapeError, match="out"):
            operation.call(xp, *arrays, **{name: xp.empty((*shape[:-1], shape[-1] + 1), dtype)})
        other = np.float32 if dtype == np.float64 else np.float64
        with pytest.raises(DtypeError, match=r"float.*float"):
            operation.call(xp, *arrays, **{name: xp.empty(shape, other)})
        with pytest.raises(WrongDeviceError, match=r"xp\.asarray"):
            operation.call(xp, *arrays, **{name: np.empty(shape, dtype).tolist()})


def view(xp, host_array, layout):
    """The same values on the device, in the given memory layout."""
    shape, dtype = host_array.shape, host_array.dtype
    if layout == "C":
        array = xp.empty(shape, dtype)
    elif layout == "F":
        array = xp.empty(shape[::-1], dtype).T
    elif layout == "strided":
        array = xp.empty(tuple(2 * s + 1 for s in shape), dtype)[tuple(slice(0, 2 * s, 2) for s in shape)]
    elif layout == "reversed":
        array = xp.empty(shape, dtype)[tuple(slice(None, None, -1) for _ in shape)]
    elif layout == "a block of columns":
        array = xp.empty((*shape[:-1], shape[-1] + 3), dtype)[..., 2 : 2 + shape[-1]]
    elif layout == "a field of records":  # its rows are not at multiples of the size of an entry
        array = np.empty(shape[:-1], [("skipped", np.uint8), ("row", dtype, shape[-1:])])["row"]
    array[...] = xp.asarray(host_array)
    return array


@pytest.mark.parametrize("layout", ["F", "strided", "reversed", "a block of columns", "a field of records"])
@every_operation
def test_every_layout_of_memory_works(xp, dtype, operation, layout):
    if layout == "a field of records" and xp.device != "cpu":
        pytest.skip("arrays of a GPU have no fields")
    originals = arguments(operation, dtype)
    expected = results(xp, operation, [xp.asarray(a.copy()) for a in originals])
    found = results(xp, operation, [view(xp, a, layout) for a in originals])
    for value, right in zip(found, expected, strict=True):
        # the order of summation differs, so differences of sums have a larger relative error
        assert_allclose(
            value, right, rtol=16 * float(np.finfo(dtype).eps), atol=float(np.finfo(dtype).eps) * np.abs(right).max()
        )


@every_operation
def test_read_only_arrays_work(xp, dtype, operation):
    if xp.device != "cpu":
        pytest.skip("arrays of a GPU are never read-only")
    expected = results(xp, operation, [xp.asarray(a) for a in arguments(operation, dtype)])
    arrays = [xp.asarray(a) for a in arguments(operation, dtype)]
    for number, array in enumerate(arrays):
        array.flags.writeable = number in operation.writes
    for value, right in zip(results(xp, operation, arrays), expected, strict=True):
        assert_array_equal(value, right)


@every_operation
@pytest.mark.parametrize("empty", ["n", "i"])
def test_empty_arrays_work(xp, dtype, operation, empty):
    """Without rows or without inputs: empty sums are zero."""
    lengths = {"n": 6, "i": 5, "o": 9, empty: 0}
    found = results(xp, operation, [xp.asarray(a) for a in arguments(operation, dtype, **lengths)])
    for value in found:
        assert np.isfinite(value).all()


@operations(lambda name: name not in CASTING)
@pytest.mark.parametrize("wrong", ["int64", "float16", "complex64", "the other"])
def test_other_dtypes_are_refused(xp, dtype, operation, wrong):
    """One argument has another dtype: it is not cast silently."""
    if wrong == "the other":
        wrong = "float64" if dtype == np.float32 else "float32"
    arrays = [xp.asarray(a) for a in arguments(operation, dtype)]
    if len(arrays) == 1 and wrong.startswith("float") and wrong != "float16":
        return  # a single argument of either float dtype is valid
    arrays[-1] = xp.asarray(xp.to_numpy(arrays[-1]).astype(wrong))
    with pytest.raises(DtypeError, match=wrong):
        operation.call(xp, *arrays)


@operations(lambda name: name != "take_rows")
def test_what_is_no_array_of_the_backend_is_refused(xp, dtype, operation):
    for number in range(len(operation.shapes)):
        arrays = [xp.asarray(a) for a in arguments(operation, dtype)]
        arrays[number] = xp.to_numpy(arrays[number]).tolist()
        with pytest.raises(WrongDeviceError, match=r"list.*xp\.asarray"):
            operation.call(xp, *arrays)


# -- shapes that do not fit -----------------------------------------------------------------------------------


def test_matmul_names_the_dimensions_and_suggests_the_transpose(xp, dtype):
    with pytest.raises(ShapeError, match=r"dim 1 of a = 4 must equal dim 0 of b = 3.*trans_b=True"):
        xp.matmul(xp.zeros((3, 4), dtype), xp.zeros((3, 4), dtype))
    with pytest.raises(ShapeError, match=r"dim 1 of a = 4 must equal dim 0 of b = 3.*trans_a=True"):
        xp.matmul(xp.zeros((3, 4), dtype), xp.zeros((3, 5), dtype))
    with pytest.raises(ShapeError, match=r"dim 0 of a = 3 must equal dim 0 of b = 4.*trans_a=False"):
        xp.matmul(xp.zeros((3, 4), dtype), xp.zeros((4, 5), dtype), trans_a=True)
    with pytest.raises(ShapeError, match="two dimensions"):
        xp.matmul(xp.zeros((3,), dtype), xp.zeros((3, 5), dtype))
    with pytest.raises(ShapeError, match=r"out \(3, 6\).*\(3, 5\)"):
        xp.matmul(xp.zeros((3, 4), dtype), xp.zeros((4, 5), dtype), out=xp.zeros((3, 6), dtype))


@pytest.mark.parametrize(
    ("call", "shapes"),
    [
        (lambda xp, x, W, b: xp.dense(x, W, b), [(2, 3), (4, 5), (5,)]),
        (lambda xp, x, W, b: xp.dense(x, W, b), [(2, 3), (3, 5), (4,)]),
        (lambda xp, x, W, b: xp.dense(x, W, b), [(2, 3), (3, 5), (1, 5)]),
        (lambda xp, dy, x, s, W: xp.dense_backward(dy, x, s, W), [(2, 5), (2, 3), (2, 5), (4, 5)]),
        (lambda xp, dy, x, s, W: xp.dense_backward(dy, x, s, W), [(3, 5), (2, 3), (3, 5), (3, 5)]),
        (lambda xp, dy, x, s, W: xp.dense_backward(dy, x, s, W, "tanh"), [(2, 5), (2, 3), (2, 1), (3, 5)]),
        (lambda xp, dy, s: xp.activate_backward(dy, s, "tanh"), [(2, 5), (2, 1)]),
        (lambda xp, z, t: xp.loss_and_delta("identity+mse", z, t), [(2, 5), (2, 4)]),
        (lambda xp, z, t: xp.loss_and_delta("identity+mse", z, t), [(2, 5), (5,)]),
        (lambda xp, z, t: xp.loss_and_delta("identity+mse", z, t), [(2, 5), (2, 1)]),
        (lambda xp, z, t, w: xp.loss_and_delta("identity+mse", z, t, w), [(2, 5), (2, 5), (3,)]),
        (lambda xp, z, t, w: xp.loss_and_delta("identity+mse", z, t, w), [(2, 5), (2, 5), (2, 1)]),
        (lambda xp, w, g: xp.add_penalty(w, g, l2=0.1), [(5,), (1,)]),
        (lambda xp, z, out: xp.activate(z, "relu", out=out), [(1, 5), (3, 5)]),
        (lambda xp, dy, s, out: xp.activate_backward(dy, s, "relu", out=out), [(1, 5), (1, 5), (3, 5)]),
        (lambda xp, x, out: xp.dropout(x, 0.5, (0, 0, 0, 0), out=out), [(1, 5), (3, 5)]),
        (lambda xp, x, W, b, out: xp.dense(x, W, b, out=out), [(1, 3), (3, 5), (5,), (2, 5)]),
        (lambda xp, x, W, b, z: xp.dense(x, W, b, preactivation=z), [(1, 3), (3, 5), (5,), (2, 5)]),
    ],
)
def test_shapes_that_do_not_fit_are_named(xp, dtype, call, shapes):
    """Broadcasting would hide the error."""
    with pytest.raises(ShapeError) as caught:
        call(xp, *(xp.zeros(shape, dtype) for shape in shapes))
    assert any(str(shape) in str(caught.value) for shape in shapes)


# -- in place -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*ELEMENTWISE, "softmax"])
def test_activations_may_work_in_place(xp, dtype, name):
    z = normal(np.random.default_rng(2), (7, 9), dtype)
    (expected,) = host(xp, xp.activate(xp.asarray(z.copy()), name))
    array = xp.asarray(z.copy())
    assert xp.activate(array, name, out=array) is array
    assert_array_equal(xp.to_numpy(array), expected)


@pytest.mark.parametrize("name", [*DIFFERENTIABLE, "softmax"])
def test_slopes_may_work_in_place(xp, dtype, name):
    rng = np.random.default_rng(2)
    dy, saved = normal(rng, (7, 9), dtype), rng.uniform(0.1, 0.9, (7, 9)).astype(dtype)
    (expected,) = host(xp, xp.activate_backward(xp.asarray(dy), xp.asarray(saved), name))
    array = xp.asarray(dy.copy())
    assert xp.activate_backward(array, xp.asarray(saved), name, out=array) is array
    assert_array_equal(xp.to_numpy(array), expected)


def test_dense_gives_both_its_output_and_its_preactivation(xp, dtype):
    rng = np.random.default_rng(2)
    x, W, b = (xp.asarray(normal(rng, s, dtype)) for s in ((4, 3), (3, 5), (5,)))
    out, preactivation = xp.empty((4, 5), dtype), xp.empty((4, 5), dtype)
    assert xp.dense(x, W, b, "silu", out=out, preactivation=preactivation) is out
    y, z = host(xp, out, preactivation)
    assert_array_equal(host(xp, xp.activate(xp.asarray(z), "silu"))[0], y)
    assert_array_equal(z, host(xp, xp.dense(x, W, b))[0])
