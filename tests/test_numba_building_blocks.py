"""The parts that the Numba backend is made of: elementary functions, matrix products, threads, the cache on disk."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

numba = pytest.importorskip("numba")
special = pytest.importorskip("scipy.special")

from backends import formulas  # noqa: E402
from backends.errors import ConfigurationError  # noqa: E402
from backends.numba_backend import gemm, pointers, synchronization, threads, transposition, vector_math  # noqa: E402
from backends.numba_backend.kernel_cache import kernel, target_cpu  # noqa: E402
from backends.numba_backend.specialize import specialize  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
FLOATS = [np.float32, np.float64]
MAX_ULP = {"exp": 2, "expm1": 3, "log": 2, "log1p": 3, "tanh": 4, "erf": 4, "erfc": 8}
NUMPY = {name: getattr(special if name in ("erf", "erfc") else np, name) for name in MAX_ULP}


@pytest.fixture(autouse=True)
def _warnings_are_numpys(recwarn):
    with np.errstate(all="ignore"):
        yield


def over_array(function):
    """Compiled loop that applies a scalar function."""

    @numba.njit(error_model="numpy")
    def loop(x, out):
        for i in range(x.size):
            out[i] = function(x[i])
        return out

    return loop


def numbers(dtype, count):
    """Both signs, every exponent including the subnormal ones, and the ranges where the functions bend."""
    rng = np.random.default_rng(0)
    info = np.finfo(dtype)
    integer = np.dtype(f"i{info.bits // 8}")
    largest = int(np.array(info.max, dtype).view(integer))
    anywhere = rng.integers(0, largest, count).astype(integer).view(dtype)
    exponents = np.ldexp(
        rng.uniform(0.5, 1, info.maxexp - info.minexp + info.nmant), np.arange(info.minexp - info.nmant, info.maxexp)
    )
    ranges = [rng.uniform(-limit, limit, count) for limit in (1, 3, 12, 30, 110, 750)]
    edges = [1 / np.sqrt(2), np.sqrt(2), 1, 2, -1, 0.5 * np.log(2), np.log(info.max), np.log(info.tiny)]
    near_edges = np.concatenate([np.asarray(edge * (1 + np.arange(-20, 21) * info.eps)) for edge in edges])
    positive = np.concatenate([anywhere, exponents, *ranges, near_edges]).astype(dtype)
    return np.unique(np.concatenate([positive, -positive]))


def spacing_of(reference, dtype):
    """Unit in the last place, on the grid of the subnormal numbers below the normal ones."""
    return np.spacing(np.maximum(np.abs(reference).astype(dtype), np.finfo(dtype).tiny)).astype(np.float64)


def exact(name, x):
    mpmath = pytest.importorskip("mpmath")
    with mpmath.workprec(160):
        return getattr(mpmath, name)(mpmath.mpf(float(x)))


def measured_ulp(name, dtype):
    """Largest error in units in the last place, against float64 for float32 and against mpmath for float64."""
    x = numbers(dtype, 40_000 if dtype is np.float32 else 20_000)
    got = over_array(getattr(vector_math, name))(x, np.empty_like(x))
    wide = NUMPY[name](x.astype(np.float64))
    rounded = wide.astype(dtype)
    finite = np.isfinite(rounded)
    # where the exact result is within rounding of the overflow, either answer is right
    assert np.array_equal(np.isfinite(got), finite)
    assert np.array_equal(got[~finite], rounded[~finite], equal_nan=True)
    x, got, wide = x[finite], got[finite], wide[finite]
    error = np.abs(got.astype(np.float64) - wide) / spacing_of(wide, dtype)
    if dtype is np.float32:
        return error.max()
    # NumPy and SciPy are themselves a few units off: ask mpmath about the worst and some others
    asked = np.concatenate([np.argsort(error)[-300:], np.arange(0, x.size, max(1, x.size // 1500))])
    asked = asked[(np.abs(x[asked]) < 1e4) | (name.startswith("log"))]
    return max(
        float(abs(exact(name, x[i]) - float(got[i])) / float(spacing_of(wide[i], dtype))) for i in np.unique(asked)
    )


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", MAX_ULP)
def test_elementary_functions_keep_to_their_error_bound(name, dtype):
    assert measured_ulp(name, dtype) <= MAX_ULP[name]


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", [*MAX_ULP, "sqrt", "abs", "sign"])
def test_special_values_are_numpys(name, dtype):
    x = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, -1, 1, 1e-320, -1e-320, np.finfo(dtype).max, 1e-45]).astype(dtype)
    got = over_array(getattr(vector_math, name))(x, np.empty_like(x))
    expected = NUMPY.get(name, getattr(np, name, None))(x)
    np.testing.assert_allclose(got, expected, rtol=8 * np.finfo(dtype).eps, atol=0)
    signed = ~np.isnan(expected)
    assert np.array_equal(np.signbit(got)[signed], np.signbit(expected)[signed])


@pytest.mark.parametrize("name", ["maximum", "minimum"])
def test_extremes_hand_on_nan(name):
    values = np.array([np.nan, -np.inf, -1, 0, 2, np.inf], np.float32)
    x, y = (grid.ravel() for grid in np.meshgrid(values, values))
    compiled = getattr(vector_math, name)
    function = numba.njit(lambda a, b: compiled(a, b))
    got = [function(a, b) for a, b in zip(x, y, strict=True)]
    np.testing.assert_array_equal(got, getattr(np, name)(x, y))


@pytest.mark.parametrize("name", [*MAX_ULP])
def test_bits_do_not_depend_on_the_place_in_the_loop(name):
    x = np.abs(numbers(np.float32, 50))[:997]
    loop = over_array(getattr(vector_math, name))
    together = loop(x, np.empty_like(x))
    alone = np.concatenate([loop(x[i : i + 1], np.empty(1, np.float32)) for i in range(x.size)])
    assert np.array_equal(together, alone, equal_nan=True)


@pytest.mark.skipif("fma" not in target_cpu().features, reason="looks for x86's fused instructions")
@pytest.mark.parametrize("name", ["exp", "expm1", "log", "log1p", "tanh", "erf", "erfc"])
def test_loops_are_vectorised(name):
    loop = over_array(getattr(vector_math, name))
    loop(np.ones(3, np.float32), np.empty(3, np.float32))
    (assembly,) = loop.inspect_asm().values()
    assert re.search(r"vfn?m(add|sub)\d+ps", assembly)
    assert not re.search(rf"\b{name}f?\b@", assembly)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(
    "name", ["sigmoid", "softplus", "gelu", "selu", "silu", "mish", "elu", "gelu_tanh", "relu", "leaky_relu"]
)
def test_formulas_compile_to_scalars_of_their_type(name, dtype):
    formula = getattr(formulas.activations, name)
    scalar = specialize(formula, dtype)
    x = np.linspace(-5, 5, 2001).astype(dtype)
    got = over_array(scalar)(x, np.empty_like(x))
    (signature,) = scalar.nopython_signatures
    assert str(signature.return_type) == np.dtype(dtype).name
    np.testing.assert_allclose(got, formula(x.astype(np.float64)), rtol=60 * np.finfo(dtype).eps, atol=0)


SCALE = 3


def test_specialize_casts_literals_globals_defaults_and_closures():
    shift = 7

    def helper(x):
        return x * SCALE

    def formula(x, slope=0.1, bias=2):
        return helper(x) * slope + bias / 3 + shift + 0.1

    scalar = specialize(formula, np.float32)
    run = numba.njit(lambda x: scalar(x))
    f = np.float32
    assert run(f(5)) == f(5) * f(3) * f(0.1) + f(2) / f(3) + f(7) + f(0.1)
    (signature,) = run.nopython_signatures
    assert str(signature.return_type) == "float32"


def test_specialize_refuses_mixed_types():
    scalar = specialize(formulas.activations.sigmoid_backward, np.float32)
    with pytest.raises(numba.TypingError, match="one floating type"):
        scalar(np.float32(1), np.float64(1))
    with pytest.raises(TypeError, match="float16"):
        specialize(formulas.activations.sigmoid, np.float16)


# ---------------------------------------------------------------------------------------------------
# Products
# ---------------------------------------------------------------------------------------------------


def product(a, b, out=None, trans_a=False, trans_b=False, rows=None, alpha=1, accumulate=False):
    m = a.shape[1] if trans_a else a.shape[0]
    n = b.shape[0] if trans_b else b.shape[1]
    if out is None:
        out = np.full((m, n), np.nan, a.dtype)
    start, stop = rows or (0, m)
    gemm.gemm(a, b, out, trans_a, trans_b, start, stop, a.dtype.type(alpha), accumulate)
    return out


def random_pair(m, k, n, dtype, integers=False):
    rng = np.random.default_rng(m * 10007 + k * 101 + n)
    draw = (lambda shape: rng.integers(-4, 5, shape)) if integers else rng.standard_normal
    return draw((m, k)).astype(dtype), draw((k, n)).astype(dtype)


SHAPES = [
    (1, 1, 1),
    (16, 784, 128),
    (7, 30, 10),
    (13, 5, 47),
    (9, 520, 33),
    (200, 17, 530),
    (70, 600, 1050),
    (1, 64, 300),
]


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(("m", "k", "n"), SHAPES)
def test_small_integers_are_multiplied_exactly(m, k, n, dtype):
    a, b = random_pair(m, k, n, dtype, integers=True)
    expected = a @ b
    at, bt = np.ascontiguousarray(a.T), np.ascontiguousarray(b.T)
    assert np.array_equal(product(a, b), expected)
    assert np.array_equal(product(at, bt, trans_a=True, trans_b=True), expected)
    assert np.array_equal(product(a, bt, trans_b=True, alpha=2), 2 * expected)
    assert np.array_equal(
        product(at, b, np.ones_like(expected), trans_a=True, alpha=-2, accumulate=True), 1 - 2 * expected
    )


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(("m", "k", "n"), SHAPES)
def test_bits_depend_neither_on_the_rows_taken_nor_on_the_layout(m, k, n, dtype):
    a, b = random_pair(m, k, n, dtype)
    whole = product(a, b, alpha=0.3)
    for cuts in ([0, m // 3, m // 2, m], range(0, m + 1, max(1, m // 10))):
        parts = np.full_like(whole, np.nan)
        for start, stop in zip(cuts, [*cuts[1:], m], strict=True):
            product(a, b, parts, rows=(start, stop), alpha=0.3)
        assert np.array_equal(parts, whole)
    assert np.array_equal(product(a[m // 2 : m // 2 + 1], b, alpha=0.3)[0], whole[m // 2])
    spread = np.zeros((2 * k, 3 * n), dtype)
    spread[::2, ::3] = b
    wide = np.zeros((k, n + 4096), dtype)
    wide[:, :n] = b
    for same in (spread[::2, ::3], wide[:, :n], np.asfortranarray(b)):
        assert np.array_equal(product(np.asfortranarray(a), same, alpha=0.3), whole)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 40), st.integers(0, 70), st.integers(0, 80), st.booleans(), st.booleans(), st.sampled_from(FLOATS)
)
def test_any_shape_agrees_with_numpy(m, k, n, trans_a, trans_b, dtype):
    a, b = random_pair(m, k, n, dtype)
    exactly = a.astype(np.longdouble) @ b.astype(np.longdouble)
    bound = (k + 2) * np.finfo(dtype).eps * (np.abs(a) @ np.abs(b))
    # the result lies inside a larger array, whose other elements must stay as they are
    frame = np.full((m + 2, n + 5), 7, dtype)
    left = np.ascontiguousarray(a.T) if trans_a else a
    right = np.ascontiguousarray(b.T) if trans_b else b
    product(left, right, frame[1 : m + 1, 2 : n + 2], trans_a, trans_b)
    assert (np.abs(frame[1 : m + 1, 2 : n + 2] - exactly) <= bound).all()
    frame[1 : m + 1, 2 : n + 2] = 7
    assert (frame == 7).all()


def test_empty_sums_are_zero_and_add_nothing():
    a, b = np.empty((3, 0), np.float32), np.empty((0, 5), np.float32)
    assert np.array_equal(product(a, b), np.zeros((3, 5)))
    assert np.array_equal(product(a, b, np.ones((3, 5), np.float32), accumulate=True), np.ones((3, 5)))


@pytest.mark.parametrize("trans_b", [False, True])
def test_nan_and_infinity_propagate(trans_b):
    a, b = np.zeros((9, 20), np.float32), np.ones((20, 37), np.float32)
    b[3, 36], a[8, 19] = np.inf, np.nan
    expected = np.zeros((9, 37), np.float32)
    expected[:, 36], expected[8] = np.nan, np.nan
    right = np.ascontiguousarray(b.T) if trans_b else b
    np.testing.assert_array_equal(product(a, right, trans_b=trans_b), expected)


def test_read_only_inputs_are_fine_and_stay_as_they_are():
    a, b = random_pair(9, 20, 37, np.float32)
    expected = product(a, b)
    before = a.copy(), b.copy()
    a.flags.writeable = b.flags.writeable = False
    assert np.array_equal(product(a, b), expected)
    assert np.array_equal(a, before[0])
    assert np.array_equal(b, before[1])


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("shape", [(1, 1), (16, 16), (33, 50), (5, 100), (100, 7)])
def test_transpose(shape, dtype):
    @numba.njit
    def transpose(x, out):
        transposition.transpose(
            pointers.pointer(x), x.shape[1], pointers.pointer(out), out.shape[1], x.shape[0], x.shape[1]
        )

    x = np.random.default_rng(0).standard_normal(shape).astype(dtype)
    frame = np.full((shape[1] + 1, shape[0] + 3), 7, dtype)
    transpose(x, frame)
    assert np.array_equal(frame[:-1, :-3], x.T)
    assert (frame[-1] == 7).all()
    assert (frame[:, -3:] == 7).all()


AVX2 = (
    "+cx8,+cmov,+mmx,+fxsr,+sse,+sse2,+sse3,+ssse3,+sse4.1,+sse4.2,+popcnt,"
    "+avx,+avx2,+fma,+bmi,+bmi2,+f16c,+lzcnt,+xsave"
)


@pytest.mark.skipif("avx2" not in target_cpu().features, reason="narrower x86 processors are imitated by a wider one")
@pytest.mark.parametrize(("cpu", "features", "width"), [("haswell", AVX2, 32), ("generic", "", 16)])
def test_narrower_processors(cpu, features, width, tmp_path):
    program = """
        import numpy as np
        import numba
        from backends.numba_backend import gemm, vector_math, vectors
        assert vectors.VECTOR_BYTES == {width}, vectors.VECTOR_BYTES
        rng = np.random.default_rng(0)
        for dtype in (np.float32, np.float64):
            for m, k, n in ((16, 40, 30), (13, 600, 47), (1, 9, 3), (5, 7, 66)):
                a, b = rng.integers(-4, 5, (m, k)).astype(dtype), rng.integers(-4, 5, (k, n)).astype(dtype)
                out = np.full((m, n), np.nan, dtype)
                gemm.gemm(a, b, out, False, False, 0, m, dtype(1), False)
                assert np.array_equal(out, a @ b)
                gemm.gemm(a, np.ascontiguousarray(b.T), out, False, True, 0, m, dtype(1), True)
                assert np.array_equal(out, 2 * (a @ b))
            x = np.linspace(-5, 5, 1001).astype(dtype)
            for name in ("exp", "expm1", "tanh"):
                compiled = getattr(vector_math, name)
                f = numba.njit(lambda v: compiled(v))
                got = np.array([f(v) for v in x])
                np.testing.assert_allclose(got, getattr(np, name)(x), rtol=8 * np.finfo(dtype).eps)
        print(numba.config.CPU_NAME, "right")
    """
    settings = {"NUMBA_CPU_NAME": cpu, "NUMBA_CPU_FEATURES": features, "MLP_CACHE_DIR": str(tmp_path)}
    assert f"{cpu} right" in python(program.replace("{width}", str(width)), settings).stdout


# ---------------------------------------------------------------------------------------------------
# Threads
# ---------------------------------------------------------------------------------------------------


@pytest.fixture
def pool():
    yield threads
    threads.set_num_threads(None)


@numba.njit(nogil=True)
def count_steps(part, counter, steps, x, torn):
    """Each thread counts its steps; between two barriers all counts must be equal."""
    for _ in range(steps):
        x[part] += 1
        synchronization.barrier(counter, 0, x.size)
        for other in range(x.size):
            if x[other] != x[part]:
                synchronization.atomic_add(torn, 0, 1)
        synchronization.barrier(counter, 0, x.size)


def count_together(workers, steps):
    with threads.reserve(workers) as team:  # fewer threads if others are in use
        counter, torn, x = np.zeros(1, np.int64), np.zeros(1, np.int64), np.zeros(team.size, np.int64)
        team.run(lambda part: count_steps(part, counter, steps, x, torn), team.size)
    return torn[0] == 0 and (x == steps).all()


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_threads_meet_at_barriers_even_where_processors_are_few(pool, workers):
    pool.set_num_threads(workers)
    assert count_together(workers, 300)


def test_every_part_runs_once(pool):
    pool.set_num_threads(3)
    counts = np.zeros(10, int)

    def task(part):
        counts[part] += 1

    for parts in (0, 1, 3, 10):
        counts[:] = 0
        pool.run(task, parts)
        assert counts.sum() == parts
        assert (counts[:parts] == 1).all()


def test_an_error_in_a_part_reaches_the_caller_after_the_others_are_done(pool):
    pool.set_num_threads(2)
    done = []

    def task(part):
        if part == 1:
            raise ZeroDivisionError("part 1")
        done.append(part)

    with pytest.raises(ZeroDivisionError, match="part 1"):
        pool.run(task, 2)
    assert done == [0]
    assert count_together(2, 3)


def test_several_callers_and_nested_calls(pool):
    pool.set_num_threads(2)
    fine = []
    callers = [threading.Thread(target=lambda: fine.extend(count_together(2, 5) for _ in range(30))) for _ in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(30)
    assert fine == [True] * 120
    inner = []
    pool.run(lambda part: pool.run(lambda nested: inner.append((part, nested)), 2), 2)
    assert sorted(inner) == [(0, 0), (0, 1), (1, 0), (1, 1)]


def test_an_interrupt_at_the_end_of_the_wait_ends_it(monkeypatch):
    class Interrupted:
        """A lock whose owner is interrupted as soon as it has it."""

        def __init__(self, lock):
            self.lock, self.release = lock, lock.release

        def acquire(self, timeout):
            self.lock.acquire()
            raise KeyboardInterrupt

    class Job(threads._Job):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            self._done = Interrupted(self._done)

    monkeypatch.setattr(threads, "_Job", Job)
    raised, done = [], []

    def caller():
        try:
            threads.run(done.append, 2, on_interrupt=lambda: None)
        except KeyboardInterrupt as interrupt:
            raised.append(interrupt)

    thread = threading.Thread(target=caller, daemon=True)
    thread.start()
    thread.join(20)
    assert not thread.is_alive()
    assert len(raised) == 1
    assert sorted(done) == [0, 1]


def test_the_caller_only_waits_where_it_listens_for_an_interrupt(pool):
    pool.set_num_threads(2)
    names = []
    pool.run(lambda part: names.append(threading.current_thread().name), 2, on_interrupt=lambda: None)
    assert len(set(names)) == 2
    assert threading.current_thread().name not in names


@pytest.mark.parametrize(
    ("variables", "number"),
    [
        ({"MLP_NUM_THREADS": "3", "NUMBA_NUM_THREADS": "5", "OMP_NUM_THREADS": "7"}, 3),
        ({"NUMBA_NUM_THREADS": "5", "OMP_NUM_THREADS": "7"}, 5),
        ({"OMP_NUM_THREADS": "7"}, 7),
        ({"OMP_NUM_THREADS": "7,2"}, 7),
    ],
)
def test_number_of_threads_from_the_environment(monkeypatch, variables, number):
    for name in ("MLP_NUM_THREADS", "NUMBA_NUM_THREADS", "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert threads.get_num_threads() == number


@pytest.mark.parametrize("bad", ["0", "-1", "two", "1.5"])
def test_bad_numbers_of_threads(monkeypatch, bad):
    monkeypatch.setenv("MLP_NUM_THREADS", bad)
    with pytest.raises(ConfigurationError, match="MLP_NUM_THREADS"):
        threads.get_num_threads()


@pytest.mark.parametrize("bad", [0, -2, 1.5, True, "2"])
def test_bad_numbers_set(bad):
    with pytest.raises(ConfigurationError, match="positive integer"):
        threads.set_num_threads(bad)


# ---------------------------------------------------------------------------------------------------
# Other processes: interrupts, forks, the cache
# ---------------------------------------------------------------------------------------------------

COMPILE = """
    import logging
    import numpy as np
    from backends.numba_backend import kernel_cache
    from backends.numba_backend.specialize import specialize

    def make(function):
        @kernel_cache.kernel
        def apply(x):
            for i in range(x.size):
                x[i] = function(x[i])
            return x
        return apply

    def twice(x):
        return 2 * x

    apply = make(specialize(twice, np.float32))
    assert apply(np.ones(3, np.float32)).tolist() == [2, 2, 2]
    print("hits", sum(apply.stats.cache_hits.values()), "misses", sum(apply.stats.cache_misses.values()))
    print("folder", kernel_cache.cache_dir())
"""


def python(program, environment, **options):
    """Run a program in a fresh interpreter, without the variables that say where a cache could be."""
    hidden = ("HOME", "XDG_CACHE_HOME", "MLP_CACHE_DIR", "NUMBA_CACHE_DIR", "TMPDIR", "MLP_NUM_THREADS")
    clean = {name: value for name, value in os.environ.items() if name not in hidden}
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        env={**clean, "PYTHONPATH": path, **environment}, text=True, capture_output=True, timeout=120, **options,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return result


def test_the_second_process_loads_what_the_first_compiled(tmp_path):
    cache = {"MLP_CACHE_DIR": str(tmp_path / "cache")}
    first, second = python(COMPILE, cache), python(COMPILE, cache)
    assert "hits 0 misses 1" in first.stdout
    assert first.stderr.count("compiling") == 1
    assert str(tmp_path) in first.stderr
    assert "hits 1 misses 0" in second.stdout
    assert second.stderr == ""
    # the kernel is known by the function it was made with, though its own code is the same
    other = python(COMPILE.replace("return 2 * x", "return x + x"), cache)
    assert "hits 0 misses 1" in other.stdout
    global_changed = COMPILE.replace("return 2 * x", "return TWO * x").replace("import logging", "TWO = 2")
    assert "hits 0 misses 1" in python(global_changed, cache).stdout
    assert "hits 1 misses 0" in python(global_changed, cache).stdout


def test_a_changed_source_or_processor_opens_another_folder(tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(ROOT / "backends", copy / "backends", ignore=shutil.ignore_patterns("__pycache__"))
    cache = {"MLP_CACHE_DIR": str(tmp_path / "cache")}
    show = "from backends.numba_backend import kernel_cache; print(kernel_cache.cache_dir())"
    here = {**cache, "PYTHONPATH": str(copy)}

    def folder(environment):
        return python(show, environment, cwd=copy).stdout.strip()

    folders = [folder(here), folder({**here, "NUMBA_CPU_NAME": "generic"})]
    for version in range(4):
        with (copy / "backends" / "errors.py").open("a") as source:
            source.write(f"# version {version}\n")
        folders.append(folder(here))
    assert len(set(folders)) == len(folders)
    assert sorted(path.name for path in (tmp_path / "cache").iterdir()) == sorted(Path(f).name for f in folders[-3:])


@pytest.mark.skipif(os.name == "nt", reason="these variables and permissions are those of Unix")
class TestNoPlaceForTheCache:
    def test_a_file_in_the_place_of_every_folder(self, tmp_path):
        blocked = tmp_path / "file"
        blocked.touch()
        nowhere = {
            "MLP_CACHE_DIR": str(blocked),
            "XDG_CACHE_HOME": str(blocked),
            "HOME": str(blocked),
            "TMPDIR": str(blocked),
        }
        # tempfile falls back to /tmp and the like, so it is told that they are not there either
        program = f"import tempfile; tempfile.tempdir = {str(blocked)!r}\n" + textwrap.dedent(COMPILE)
        result = python(program, nowhere)
        assert "hits 0 misses 1" in result.stdout
        assert "folder None" in result.stdout
        assert result.stderr.count("no folder to cache") == 1

    def test_without_a_home_a_private_temporary_folder_serves(self, tmp_path):
        environment = {"HOME": "/proc/nowhere", "TMPDIR": str(tmp_path)}
        result = python(COMPILE, environment)
        private = tmp_path / f"mlp-cache-{os.getuid()}"
        assert f"folder {private}" in result.stdout
        assert private.stat().st_mode & 0o777 == 0o700
        assert "hits 1 misses 0" in python(COMPILE, environment).stdout

    def test_a_folder_that_others_may_write_to_is_refused(self, tmp_path):
        private = tmp_path / f"mlp-cache-{os.getuid()}"
        private.mkdir()
        private.chmod(0o777)
        result = python(COMPILE, {"HOME": "/proc/nowhere", "TMPDIR": str(tmp_path)})
        assert "folder None" in result.stdout
        assert "another user owns it or may write to it" in result.stderr
        assert not any(private.iterdir())

    def test_a_link_in_the_temporary_folder_is_refused(self, tmp_path):
        (tmp_path / "elsewhere").mkdir(mode=0o700)
        (tmp_path / f"mlp-cache-{os.getuid()}").symlink_to(tmp_path / "elsewhere")
        assert "folder None" in python(COMPILE, {"HOME": "/proc/nowhere", "TMPDIR": str(tmp_path)}).stdout


def test_a_damaged_file_is_compiled_again(tmp_path):
    cache = {"MLP_CACHE_DIR": str(tmp_path)}
    python(COMPILE, cache)
    (file,) = tmp_path.glob("kernels-*/*.nbc")
    file.write_bytes(file.read_bytes()[:100])
    assert "hits 0 misses 1" in python(COMPILE, cache).stdout
    assert "hits 1 misses 0" in python(COMPILE, cache).stdout


def test_processes_that_compile_at_once_do_not_disturb_each_other(tmp_path):
    signature = COMPILE.replace("np.float32", "np.{dtype}")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "MLP_CACHE_DIR": str(tmp_path)}
    programs = [textwrap.dedent(signature.replace("{dtype}", dtype)) for dtype in ("float32", "float64", "float32")]
    running = [subprocess.Popen([sys.executable, "-c", p], env=environment, stderr=subprocess.PIPE) for p in programs]
    for process in running:
        _, messages = process.communicate(timeout=120)
        assert process.returncode == 0, messages
    for program in programs:
        assert "hits 1 misses 0" in python(program, {"MLP_CACHE_DIR": str(tmp_path)}).stdout
    assert not list(tmp_path.glob("kernels-*/*.tmp"))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_threads_and_cache_survive_a_fork(tmp_path):
    program = (
        COMPILE
        + """
    import os
    from backends.numba_backend import gemm, threads

    a = np.ones((3, 4), np.float32)

    def multiply():
        out = np.zeros((3, 3), np.float32)
        threads.run(lambda part: gemm.gemm(a, a, out, False, True, part, part + 1, np.float32(1), False), 3)
        return (out == 4).all()

    threads.set_num_threads(3)
    assert multiply()
    child = os.fork()
    if child == 0:
        apply(np.ones(2, np.float64).astype(np.float32)[::1])
        os._exit(0 if multiply() else 1)
    _, status = os.waitpid(child, 0)
    assert status == 0
    print("forked")
    """
    )
    assert "forked" in python(program, {"MLP_CACHE_DIR": str(tmp_path)}).stdout


@pytest.mark.skipif(os.name == "nt", reason="signals are those of Unix")
def test_ctrl_c_stops_running_kernels_and_leaves_the_pool_usable():
    program = """
        import os, signal, threading
        import numpy as np
        from backends.numba_backend import synchronization, threads
        threads.set_num_threads(2)
        stop = np.zeros(1, np.int64)
        threads.run(lambda part: synchronization.wait_for(stop, 0, 0), 2)
        def interrupt():
            stop[0] = 1
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
        try:
            threads.run(lambda part: synchronization.wait_for(stop, 0, 1), 2, on_interrupt=interrupt)
        except KeyboardInterrupt:
            print("interrupted")
        done = []
        threads.run(done.append, 2)
        print(sorted(done))
    """
    assert python(program, {}).stdout.split("\n")[:2] == ["interrupted", "[0, 1]"]


def test_importing_compiles_and_writes_nothing(tmp_path):
    program = """
        from backends.numba_backend import gemm, kernel_cache, threads, vector_math
        assert not gemm.gemm.signatures
    """
    result = python(program, {"MLP_CACHE_DIR": str(tmp_path / "cache")})
    assert result.stderr == ""
    assert not (tmp_path / "cache").exists()


def test_kernels_do_not_wait_for_the_interpreter_to_end():
    program = """
        import threading
        from backends.numba_backend import threads
        threads.set_num_threads(2)
        threads.run(lambda part: None, 2)
        print(threading.active_count())
    """
    assert python(program, {}).stdout.strip() == "2"


@kernel
def _divide(x, y):
    return x / y


def test_kernels_divide_by_zero_like_numpy():
    assert _divide(1.0, 0.0) == np.inf
    assert np.isnan(_divide(0.0, 0.0))


def test_symbols_of_two_processes_differ():
    """Else a kernel from the cache could run a function of this process in place of its own of the same name."""
    program = """
import os
from numba.core import bytecode
from backends.numba_backend import subroutine
print(next(bytecode.FunctionIdentity._unique_ids), flush=True)
if hasattr(os, "fork"):
    for _ in range(2):
        if os.fork() == 0:
            print(next(bytecode.FunctionIdentity._unique_ids), flush=True)
            os._exit(0)
        os.wait()
"""
    numbers = [int(number) for _ in range(2) for number in python(program, {}).stdout.split()]
    gaps = np.diff(sorted(numbers))
    assert len(numbers) == (6 if hasattr(os, "fork") else 2)
    assert gaps.min() > 10**5  # more functions than a process compiles
