"""`Backend.predictor`: on every backend, the outputs are those of the layers one after the other."""

from __future__ import annotations

import subprocess
import sys
import threading

import numpy as np
import oracle
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import backends
from backends import formulas
from backends.errors import DtypeError, ShapeError, WrongDeviceError

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NaN and infinity are among the inputs

HIDDEN = [name for name, row in formulas.ACTIVATIONS.items() if row.role == "any"]
OUTPUTS = list(formulas.ACTIVATIONS)

# around the widths of vectors, the rows of tiles, blocks of the inner dimension, and both ways of the compiled kernel
ROWS = st.one_of(st.sampled_from([0, 1, 2, 7, 8, 9, 31, 33, 511, 512, 513, 700]), st.integers(0, 40))
WIDTHS = st.one_of(st.sampled_from([1, 2, 15, 16, 17, 32, 33, 64, 71]), st.integers(1, 70))
INPUTS = st.one_of(WIDTHS, st.sampled_from([100, 512, 513, 784]))
SEEDS = st.integers(0, 2**32 - 1)


def network(sizes, activations, dtype, seed=0):
    """Layers on the host."""
    rng = np.random.default_rng(seed)
    return [
        (rng.normal(size=(n_in, n_out), scale=n_in**-0.5).astype(dtype), rng.normal(size=n_out).astype(dtype), name)
        for n_in, n_out, name in zip(sizes, sizes[1:], activations, strict=False)
    ]


def on(xp, layers):
    return [(xp.asarray(W), xp.asarray(b), activation) for W, b, activation in layers]


def by_dense(xp, layers, x):
    """The outputs and the logits by one call of `dense` for each layer."""
    for W, b, activation in layers[:-1]:
        x = xp.dense(x, W, b, activation)
    W, b, activation = layers[-1]
    z = xp.dense(x, W, b)
    return xp.to_numpy(xp.activate(z, activation)), xp.to_numpy(z)


def assert_same(found, expected):
    """The same bits, the sign of zero too; a NaN is a NaN."""
    assert found.dtype == expected.dtype
    assert_array_equal(found, expected)
    numbers = ~np.isnan(expected)
    assert_array_equal(np.signbit(found[numbers]), np.signbit(expected[numbers]))


def with_zeros(rng, shape, dtype, share=0.8):
    """Numbers of which most are zero, of both signs; some columns have nothing else."""
    x = rng.normal(size=shape)
    x[rng.random(shape) < share] = 0
    x[:, rng.random(shape[1]) < 0.3] = 0
    x[(x == 0) & (rng.random(shape) < 0.3)] = -0.0
    return x.astype(dtype)


# -- values -----------------------------------------------------------------------------------------------------


@given(
    n=ROWS,
    n_in=INPUTS,
    widths=st.lists(WIDTHS, min_size=1, max_size=3),
    names=st.lists(st.sampled_from(HIDDEN), min_size=2, max_size=2),
    output=st.sampled_from(OUTPUTS),
    kind=st.sampled_from(["dense", "zeros", "bytes"]),
    seed=SEEDS,
)
def test_it_has_the_bits_of_the_layers_one_by_one(xp, dtype, n, n_in, widths, names, output, kind, seed):
    rng = np.random.default_rng(seed)
    layers = on(xp, network([n_in, *widths], [*names[: len(widths) - 1], output], dtype, seed))
    if kind == "bytes":
        x = rng.integers(0, 256, (n, n_in), np.uint8) * (rng.random((n, n_in)) < 0.4).astype(np.uint8)
        floats = x * np.array(1 / 255, dtype)
    else:
        x = floats = with_zeros(rng, (n, n_in), dtype, 0.8 if kind == "zeros" else 0.0)
    predictor = xp.predictor(layers, input_scale=1 / 255)
    outputs, logits = by_dense(xp, layers, xp.asarray(floats))
    assert_same(xp.to_numpy(predictor(xp.asarray(x))), outputs)
    assert_same(xp.to_numpy(predictor(xp.asarray(x), logits=True)), logits)
    checked, finite = predictor.checked(xp.asarray(x))
    assert_same(xp.to_numpy(checked), outputs)
    assert finite == np.isfinite(outputs).all()


def test_outputs_are_those_of_a_network_in_float64(xp, dtype):
    rng = np.random.default_rng(1)
    layers = network([784, 40, 20, 10], ["relu", "tanh", "softmax"], dtype)
    x = with_zeros(rng, (1000, 784), dtype)
    y = x.astype(np.float64)
    for W, b, name in layers:
        y = oracle.activate(name, y @ W.astype(np.float64) + b.astype(np.float64))
    found = xp.to_numpy(xp.predictor(on(xp, layers))(xp.asarray(x)))
    assert_allclose(found, y, rtol=0, atol=200 * np.finfo(dtype).eps)


def test_a_row_has_the_same_outputs_alone_and_in_any_company():
    pytest.importorskip("numba")
    xp, rng = backends.get_backend("numba"), np.random.default_rng(2)
    predictor = xp.predictor(network([784, 33, 10], ["gelu", "softmax"], np.float32))
    x = with_zeros(rng, (2000, 784), np.float32)
    expected = predictor(x)
    for first, last in [(0, 1), (5, 12), (100, 611), (611, 1999), (1, 1001)]:
        assert_same(predictor(x[first:last]), expected[first:last])


@pytest.mark.parametrize("rows", [1, 9, 700])
@pytest.mark.parametrize("in_bytes", [False, True], ids=["numbers", "bytes"])
def test_a_scaling_layer_comes_first(xp, dtype, rows, in_bytes):
    rng = np.random.default_rng(3)
    layers, factors = on(xp, network([70, 4, 3], ["relu", "softmax"], dtype)), rng.normal(size=70).astype(dtype)
    x = rng.normal(size=(rows, 70)).astype(dtype)
    predictor = xp.predictor(layers, xp.asarray(factors), 1 / 255)
    if in_bytes:
        given = rng.integers(0, 256, (rows, 70), np.uint8)
        x = given * np.dtype(dtype).type(1 / 255)
    else:
        given = with_zeros(rng, (rows, 70), dtype)
        x = given
    x, given = xp.asarray(x * factors), xp.asarray(given)
    outputs, logits = by_dense(xp, layers, x)
    assert_same(xp.to_numpy(predictor(given)), outputs)
    assert_same(xp.to_numpy(predictor(given, logits=True)), logits)
    assert_same(xp.to_numpy(predictor.checked(given)[0]), outputs)
    assert predictor.checked(given)[1]
    assert not predictor.in_blocks  # it makes a copy of all rows


def test_a_scaling_layer_hides_nothing_that_is_not_finite(xp, dtype):
    layers, factors = on(xp, network([5, 4, 3], ["relu", "identity"], dtype)), np.zeros(5, dtype)
    for planted in (np.nan, np.inf):
        x = np.ones((9, 5), dtype)
        x[3, 2] = planted
        assert not xp.predictor(layers, xp.asarray(factors)).checked(xp.asarray(x))[1]
    assert xp.predictor(layers, xp.asarray(factors)).checked(xp.asarray(np.ones((9, 5), dtype)))[1]


def test_a_users_activation(xp, dtype):
    cube = formulas.Activation("cube", lambda xp, z: z * z * z, None, custom=True)
    for names in (["relu", cube], [cube, "softmax"]):
        layers = on(xp, network([5, 4, 3], names, dtype))
        x = xp.asarray(np.random.default_rng(4).normal(size=(9, 5)).astype(dtype))
        assert_same(xp.to_numpy(xp.predictor(layers)(x)), by_dense(xp, layers, x)[0])
    assert not xp.predictor(layers).in_blocks  # the function may need any amount of memory
    values = np.ones((9, 5), dtype)
    assert xp.predictor(layers).checked(xp.asarray(values))[1]
    values[4, 4] = np.nan
    assert not xp.predictor(layers).checked(xp.asarray(values))[1]
    wrong = formulas.Activation("wrong", lambda xp, z: z[:, :1], None, custom=True)
    with pytest.raises(ShapeError):
        xp.predictor(on(xp, network([5, 4, 3], [wrong, "relu"], dtype)))(x)


def test_it_follows_changes_of_the_arrays(xp, dtype):
    layers = on(xp, network([20, 4, 3], ["relu", "identity"], dtype))
    predictor, x = xp.predictor(layers), xp.asarray(np.ones((700, 20), dtype))
    before = xp.to_numpy(predictor(x))
    for W, b, _ in layers:
        W *= 2
        b -= 1
    after = xp.to_numpy(predictor(x))
    assert not np.array_equal(before, after)
    assert_same(after, by_dense(xp, layers, x)[0])


# -- numbers that are not finite --------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", ["x", "W1", "b1", "W2", "b2"])
@pytest.mark.parametrize("n", [3, 600])
def test_what_is_not_finite_propagates(xp, dtype, bad, place, n):
    rng = np.random.default_rng(5)
    layers = network([96, 20, 3], ["tanh", "relu"], dtype)
    x = with_zeros(rng, (n, 96), dtype, 0.95)
    arrays = {"x": x, "W1": layers[0][0], "b1": layers[0][1], "W2": layers[1][0], "b2": layers[1][1]}
    arrays[place].flat[-7 if arrays[place].size > 7 else -1] = bad
    layers, x = on(xp, layers), xp.asarray(x)
    found, finite = xp.predictor(layers).checked(x)
    expected = by_dense(xp, layers, x)[0]
    assert_same(xp.to_numpy(found), expected)
    assert finite == bool(np.isfinite(xp.to_numpy(x)).all() and np.isfinite(expected).all())


@pytest.mark.parametrize("n", [3, 600])
def test_infinity_that_tanh_hides_is_found_in_x_and_allowed_within(xp, dtype, n):
    largest = float(np.finfo(dtype).max)
    layers = on(xp, [(np.full((64, 2), 2, dtype), np.zeros(2, dtype), "tanh")])
    x = np.zeros((n, 64), dtype)
    x[-1, 5] = largest / 1.5  # times 2 is infinite, and tanh of that is 1
    predictor = xp.predictor(layers)
    y, finite = predictor.checked(xp.asarray(x))
    assert_array_equal(xp.to_numpy(y)[-1], [1, 1])
    assert finite
    x[-1, 5] = np.inf
    y, finite = predictor.checked(xp.asarray(x))
    assert_array_equal(xp.to_numpy(y)[-1], [1, 1])
    assert not finite


# -- arrays of any kind -----------------------------------------------------------------------------------------


def layouts(x):
    """The same numbers in other places of memory, read-only."""
    strided = np.zeros((2 * x.shape[0], 3 * x.shape[1]), x.dtype)[::2, ::3]
    block = np.zeros((x.shape[0], x.shape[1] + 5), x.dtype)[:, 2:-3]
    raw = np.zeros(x.nbytes + 1, np.uint8)[1:].view(x.dtype).reshape(x.shape)  # at an odd address
    for array in (strided, block, raw, np.zeros_like(x, order="F"), np.zeros_like(x)[::-1, ::-1]):
        array[...] = x
        array.flags.writeable = False
        yield array


@pytest.mark.parametrize("n", [5, 600])
@pytest.mark.parametrize("kind", ["float", "bytes"])
def test_every_layout_of_memory_works(xp, dtype, n, kind):
    rng = np.random.default_rng(6)
    layers = network([70, 20, 3], ["relu", "softmax"], dtype)
    x = with_zeros(rng, (n, 70), dtype) if kind == "float" else rng.integers(0, 3, (n, 70), np.uint8)
    expected = xp.to_numpy(xp.predictor(on(xp, layers))(xp.asarray(x)))
    for array in layouts(x):
        assert_allclose(xp.to_numpy(xp.predictor(on(xp, layers))(xp.asarray(array))), expected, rtol=1e-5)
    (W, b, name), last = layers
    for matrix in layouts(W):
        predictor = xp.predictor(on(xp, [(matrix, b, name), last]))
        assert_allclose(xp.to_numpy(predictor(xp.asarray(x))), expected, rtol=1e-5)


@pytest.mark.parametrize("n", [5, 600])
def test_rows_may_begin_at_any_byte(xp, dtype, n):
    x = with_zeros(np.random.default_rng(6), (n, 70), dtype)
    distance = 70 * dtype.itemsize + 1
    odd = np.ndarray(x.shape, dtype, np.zeros(n * distance, np.uint8), strides=(distance, dtype.itemsize))
    odd[...] = x
    predictor = xp.predictor(on(xp, network([70, 20, 3], ["relu", "softmax"], dtype)))
    assert_allclose(xp.to_numpy(predictor(xp.asarray(odd))), xp.to_numpy(predictor(xp.asarray(x))), rtol=1e-5)


@pytest.mark.skipif(sys.platform != "linux", reason="mprotect is called as on Linux")
@pytest.mark.parametrize("n_in", [64, 70, 519])
def test_nothing_beyond_the_rows_is_read(n_in):
    pytest.importorskip("numba")
    code = f"""
import ctypes, mmap, numpy as np, backends
n, n_in = 600, {n_in}
size = -(-n * n_in * 4 // mmap.PAGESIZE) * mmap.PAGESIZE
memory = mmap.mmap(-1, size + mmap.PAGESIZE)
start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.mprotect(ctypes.c_void_p(start + size), mmap.PAGESIZE, 0) == 0  # reading there ends the process
x = np.frombuffer(memory, np.float32, n * n_in, size - 4 * n * n_in).reshape(n, n_in)
x[:, ::9] = 1
layers = [(np.ones((n_in, 20), np.float32), np.ones(20, np.float32), "relu")]
predictor = backends.get_backend("numba").predictor(layers)
for rows in (x, x[-1:], x[-9:]):
    assert (predictor(rows) == 1 + -(-n_in // 9)).all()
print("done")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False)
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr


def test_nothing_is_written_to(xp, dtype):
    layers = network([70, 20, 3], ["relu", "softmax"], dtype)
    x = with_zeros(np.random.default_rng(7), (600, 70), dtype)
    copies = [x.copy(), *(array.copy() for layer in layers for array in layer[:2])]
    xp.predictor(on(xp, layers))(xp.asarray(x))
    for array, copy in zip([x, *(array for layer in layers for array in layer[:2])], copies, strict=True):
        assert_array_equal(array, copy)


def test_outputs_are_new_arrays(xp, dtype):
    layers = on(xp, network([3, 3], ["identity"], dtype))
    predictor, x = xp.predictor(layers), xp.asarray(np.ones((2, 3), dtype))
    first = predictor(x)
    kept = xp.to_numpy(first).copy()
    predictor(x * 2)
    assert_array_equal(xp.to_numpy(first), kept)


def test_several_threads_may_use_it(xp):
    rng = np.random.default_rng(8)
    predictor = xp.predictor(on(xp, network([64, 50, 10], ["tanh", "softmax"], np.float32)))
    parts = [xp.asarray(with_zeros(rng, (n, 64), np.float32)) for n in (1, 3, 600, 2000)]
    expected = [xp.to_numpy(predictor(x)) for x in parts]
    wrong = []

    def work():
        for _ in range(20):
            for x, y in zip(parts, expected, strict=True):
                if not np.array_equal(xp.to_numpy(predictor(x)), y):
                    wrong.append(len(x))

    workers = [threading.Thread(target=work) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong


@pytest.mark.parametrize("threads", [1, 2, 3, 5])
@pytest.mark.parametrize("sizes", [(784, 30, 10), (300, 300, 4)])
def test_bits_do_not_depend_on_the_number_of_threads(sizes, threads):
    pytest.importorskip("numba")
    from backends.numba_backend.threads import get_num_threads, set_num_threads

    xp = backends.get_backend("numba")
    predictor = xp.predictor(network(sizes, ["gelu", "softmax"], np.float32))
    x = with_zeros(np.random.default_rng(9), (1111, sizes[0]), np.float32)
    try:
        set_num_threads(1)
        expected = predictor(x)
        set_num_threads(threads)
        assert get_num_threads() == threads
        assert_same(predictor(x), expected)
    finally:
        set_num_threads(None)


# -- errors -----------------------------------------------------------------------------------------------------


def test_layers_that_do_not_fit_are_refused(xp):
    W, b, V, c = (xp.zeros(shape, np.float32) for shape in [(4, 3), (3,), (2, 5), (5,)])
    with pytest.raises(ShapeError, match=r"the 3 outputs of layer 1, W \(4, 3\), must equal the 2 inputs of layer 2"):
        xp.predictor([(W, b, "relu"), (V, c, "identity")])
    with pytest.raises(ShapeError, match=r"W \(2, 5\) and b \(3,\) of layer 1"):
        xp.predictor([(V, b, "relu")])
    with pytest.raises(ShapeError, match="at least one layer"):
        xp.predictor([])
    with pytest.raises(ShapeError, match=r"factors \(3,\)"):
        xp.predictor([(W, b, "relu")], b)
    with pytest.raises(DtypeError, match="b1 float64"):
        xp.predictor([(W, b.astype(np.float64), "relu")])
    with pytest.raises(WrongDeviceError):
        xp.predictor([(W.tolist(), b, "relu")])


def test_rows_that_do_not_fit_are_refused(xp, dtype):
    predictor = xp.predictor(on(xp, network([4, 3], ["relu"], dtype)))
    other = np.float64 if dtype == np.float32 else np.float32
    for shape in [(2, 3), (4,), (1, 2, 4)]:
        with pytest.raises(ShapeError, match=r"must have shape \(n, 4\)"):
            predictor(xp.zeros(shape, dtype))
    for wrong in (other, np.int64):
        with pytest.raises(DtypeError, match="or be uint8"):
            predictor(xp.zeros((2, 4), wrong))
    with pytest.raises(WrongDeviceError):
        predictor([[0.0] * 4])
