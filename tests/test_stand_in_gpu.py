"""The stand-in for CuPy and cuBLAS: what it must notice, that it has CuPy's interface, and the shared tests on it."""

from __future__ import annotations

import ctypes
import gc
import importlib
import inspect
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import backends
import mlp

TESTS = Path(__file__).parent
SEEDS = range(8)

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="the stand-in needs g++")

SUM = """
template <class T, int N>
__device__ __forceinline__ T sum_over_block(T value) {
    __shared__ T parts[N];
    parts[threadIdx.x] = value;
    __syncthreads();
    for (int half = N / 2; half; half /= 2) {
        if (threadIdx.x < half) parts[threadIdx.x] += parts[threadIdx.x + half];
        __syncthreads();
    }
    return parts[0];
}
extern "C" __global__ void __launch_bounds__(128) sum(const float* x, int n, float* total) {
    float value = 0;
    for (int i = blockIdx.x * 128 + threadIdx.x; i < n; i += gridDim.x * 128) value += x[i];
    value = sum_over_block<float, 128>(value);
    if (threadIdx.x == 0) total[blockIdx.x] = value;
}
"""
BARRIERS = [number for number, line in enumerate(SUM.splitlines(), 1) if "__syncthreads" in line]
ADD = 'extern "C" __global__ void add(float by, float* x, int n) { if (threadIdx.x < n) x[threadIdx.x] += by; }'


def cupy():
    return importlib.import_module("cupy")


def kernel(code, name, *options):
    return cupy().RawModule(code=code, options=("-std=c++17", *options)).get_function(name)


def run(body, threads=64, declarations=""):
    """Run a kernel of one block, whose argument is ``double* x`` with an entry for each thread; return the entries."""
    code = f'{declarations}\nextern "C" __global__ void f(double* x) {{\n{body}\n}}'
    x = cupy().zeros(threads, "float64")
    kernel(code, "f")((1,), (threads,), (x,))
    return x.get()


def add_on(stream, x, add=None):
    add = add or kernel(ADD, "add")
    with stream:
        add((1,), (32,), (np.float32(2), x, np.int32(x.size)))


# -- arrays ---------------------------------------------------------------------------------------------------


def test_host_arrays_are_no_operands(stand_in_gpu):
    x, host = cupy().ones(3, "float32"), np.ones(3, "float32")
    for attempt in (
        lambda: x + host, lambda: host + x, lambda: cupy().exp(host), lambda: x.__setitem__(slice(None), host),
        lambda: np.asarray(x), lambda: np.add(host, x), lambda: cupy().where(x > 0, host, x), lambda: x[host > 0],
    ):  # fmt: skip
        with pytest.raises(TypeError):
            attempt()
    assert isinstance(np.exp(x), cupy().ndarray)
    assert isinstance(np.float32(2) * x, cupy().ndarray)


def test_views_share_memory_and_results_do_not(stand_in_gpu):
    x = cupy().arange(12, dtype="float32").reshape(3, 4)
    view, copy = x[1:, ::2].T, x + 0
    x[...] = 7
    assert (view.get() == 7).all()
    assert copy.get().tolist() == np.arange(12).reshape(3, 4).tolist()
    assert cupy().shares_memory(x, view)
    assert not cupy().shares_memory(x, copy)
    x[1, 2] = 5
    assert float(view[1, 0]) == 5


def test_dtypes_are_those_of_numpy(stand_in_gpu):
    x = cupy().ones(3, "float32")
    assert (x * 2.5).dtype == (x + x[0]).dtype == cupy().where(x > 0, x, 0).dtype == np.float32
    assert (x + cupy().ones(3, "float64")).dtype == x.sum(dtype="float64").dtype == np.float64
    assert (x > 0).sum().dtype == np.int64
    with pytest.raises(TypeError):
        x += cupy().ones(3, "complex128")


def test_fresh_memory_is_nan_and_aligned(stand_in_gpu):
    x = cupy().empty((5, 3), "float32")
    assert np.isnan(x.get()).all()
    assert x.data.ptr % 512 == 0
    assert cupy().empty(0).data.ptr == 0


def test_arrays_must_be_on_the_current_device(stand_in_gpu):
    with cupy().cuda.Device(1):
        x = cupy().ones(3)
    for attempt in (lambda: x + 1, lambda: x.copy(), lambda: x.fill(0), lambda: x.sum()):
        with pytest.raises(ValueError, match="array device = 1 while current = 0"):
            attempt()
    assert x.get().tolist() == [1, 1, 1]
    with cupy().cuda.Device(1):
        assert float((x + 1).sum()) == 6


def test_a_stream_belongs_to_its_device(stand_in_gpu):
    stream = cupy().cuda.Stream(non_blocking=True)
    with cupy().cuda.Device(1), pytest.raises(RuntimeError, match="does not match"):
        stream.use()


def test_memory_is_limited(stand_in_gpu):
    stand_in_gpu.set_memory(1 << 20)
    x = cupy().empty(1 << 19, "uint8")
    with pytest.raises(
        MemoryError, match=r"Out of memory allocating 1,048,576 bytes \(allocated so far: 524,288 bytes"
    ):
        cupy().empty(1 << 20, "uint8")
    free, total = cupy().cuda.runtime.memGetInfo()
    assert (free, total) == (1 << 19, 1 << 20)
    del x
    cupy().empty(1 << 20, "uint8")
    with cupy().cuda.Device(1):
        cupy().empty(1 << 21, "uint8")


# -- kernels --------------------------------------------------------------------------------------------------


def test_kernels_run(stand_in_gpu):
    x, totals = cupy().arange(1000, dtype="float32"), cupy().zeros(4, "float32")
    kernel(SUM, "sum")((4,), (128,), (x, np.int32(1000), totals))
    assert float(totals.sum()) == 999 * 500
    assert stand_in_gpu.counters.launches == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {0: 1.0}, {0: np.float64(1)}, {0: np.int32(1)}, {2: 3}, {2: np.int64(3)}, {1: np.ones(3, "float32")},
        {1: "float64"}, {1: "int32"}, {1: np.float32(1)}, {1: None},
    ],
    ids=str,
)  # fmt: skip
def test_arguments_must_have_the_types_of_the_signature(stand_in_gpu, wrong):
    right = {0: np.float32(1), 1: cupy().ones(3, "float32"), 2: np.int32(3)}
    wrong = {i: cupy().ones(3, value) if isinstance(value, str) else value for i, value in wrong.items()}
    with pytest.raises(TypeError, match="argument"):
        kernel(ADD, "add")((1,), (32,), tuple((right | wrong).values()))
    with pytest.raises(TypeError, match="has 3 arguments"):
        kernel(ADD, "add")((1,), (32,), tuple(right.values())[:2])


@pytest.mark.parametrize(("grid", "block"), [((0,), (32,)), ((1,), (1025,)), ((1, 65536), (32,)), ((1,), (32, 33))])
def test_launches_have_cudas_limits(stand_in_gpu, grid, block):
    with pytest.raises(RuntimeError, match="INVALID_VALUE"):
        kernel(ADD, "add")(grid, block, (np.float32(1), cupy().ones(3, "float32"), np.int32(3)))


def test_code_that_does_not_compile(stand_in_gpu):
    with pytest.raises(Exception, match=r"kernels:3:1: error: .nonsense"):
        run("nonsense;")
    for name in ("uint32_t n = 0;", "std::swap(x, x);", "x[0] = INFINITY;"):
        with pytest.raises(Exception, match="error"):
            run(name)
    with pytest.raises(RuntimeError, match="not found: other"):
        kernel(ADD, "other")


@pytest.mark.parametrize("line", BARRIERS)
def test_each_barrier_is_needed(stand_in_gpu, line):
    def right_sums(*options):
        stand_in_gpu.compile_with(*options)
        right = 0
        for seed in SEEDS:
            stand_in_gpu.seed(seed)
            found = kernel(SUM, "sum")
            x, total = cupy().arange(1000, dtype="float32"), cupy().zeros(1, "float32")
            found((1,), (128,), (x, np.int32(1000), total))
            right += float(total[0]) == 999 * 500
        return right

    assert right_sums() == len(SEEDS)
    assert right_sums(f"-DWITHOUT_BARRIER={line}") < len(SEEDS) / 2


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("if (threadIdx.x < 40) __syncthreads();", "a barrier after|deadlock"),
        ("if (threadIdx.x < 40)\n__syncthreads();\nelse\n__syncthreads();", "at the barriers on the lines"),
        ("if (threadIdx.x % 2) x[0] = __shfl_xor_sync(0xffffffffu, 1.0, 1);", "deadlock"),
        ("x[0] = __shfl_xor_sync(1u, 1.0, 1);", "not in its own mask"),
        ("__shared__ double y[64]; y[threadIdx.x + 1] = 1;", "outside a shared variable of 512 bytes"),
        ("__shared__ double y[64]; y[(int)threadIdx.x - 1] = 1;", "outside a shared variable"),
        ("__shared__ double y[7000]; y[threadIdx.x] = 1;", "static shared memory"),
        ("*(int*)8 = 1;", "an address outside memory"),
        ("int zero = blockIdx.x;\nx[0] = 7 / zero;", "division by zero"),
    ],
)
def test_mistakes_of_a_kernel_are_exceptions(stand_in_gpu, body, message):
    with pytest.raises(RuntimeError, match=message):
        run(body)
    assert run("x[threadIdx.x] = threadIdx.x;").tolist() == list(range(64))  # and the next kernel runs


def test_alignment_matters(stand_in_gpu):
    code = """
    struct alignas(16) Four { float value[4]; };
    extern "C" __global__ void read(const float* x, float* y) {
        const Four four = *(const Four*)x;
        y[threadIdx.x] = four.value[threadIdx.x];
    }"""
    read, x, y = kernel(code, "read"), cupy().asarray(np.arange(9.0, dtype=np.float32)), cupy().zeros(4, np.float32)
    read((1,), (4,), (x[4:], y))
    assert y.tolist() == [4, 5, 6, 7]

    def read_unaligned():
        read((1,), (4,), (x[1:], y))
        stand_in_gpu.check()

    with pytest.raises(RuntimeError, match="not a multiple of the type's alignment"):
        read_unaligned()


def test_host_memory_must_stay_until_it_is_copied(stand_in_gpu):
    x = cupy().zeros(4, np.float32)
    kept = np.ones((2, 4), np.float32)
    x.set(kept[1])
    assert x.tolist() == [1, 1, 1, 1]
    stand_in_gpu.machine._eagerness, stand_in_gpu.machine._left = 0.0, 100  # nothing runs before the host waits
    x.set(np.ones(4, np.float32))
    with pytest.raises(RuntimeError, match="16 bytes of the host that were freed"):
        stand_in_gpu.check()


def test_a_write_outside_an_array_is_noticed(stand_in_gpu):
    x = cupy().zeros(3, "float32")
    kernel(ADD, "add")((1,), (32,), (np.float32(1), x, np.int32(4)))
    with pytest.raises(RuntimeError, match="outside an allocation of 12 bytes"):
        stand_in_gpu.check()
    stand_in_gpu.seed(0)


def test_warps_and_votes(stand_in_gpu):
    lanes = np.arange(64)
    assert_array_equal(run("x[threadIdx.x] = __shfl_xor_sync(~0u, (int)threadIdx.x, 5);"), lanes ^ 5)
    assert_array_equal(run("x[threadIdx.x] = __shfl_sync(~0u, (int)threadIdx.x, 3, 8);"), lanes // 8 * 8 + 3)
    down = run("x[threadIdx.x] = __shfl_down_sync(~0u, 1.0 * threadIdx.x, 2, 16);")
    assert_array_equal(down, np.where(lanes % 16 < 14, lanes + 2, lanes))
    assert (run("x[threadIdx.x] = __syncthreads_or(threadIdx.x == 50);") == 1).all()
    assert (run("x[threadIdx.x] = __syncthreads_count(threadIdx.x < 7);") == 7).all()
    assert_array_equal(run("x[threadIdx.x] = __ballot_sync(~0u, threadIdx.x == 33);"), np.where(lanes < 32, 0, 2))


def test_shared_memory_is_nan_at_first_and_belongs_to_an_instance(stand_in_gpu):
    assert np.isnan(run("__shared__ double y[64]; x[threadIdx.x] = y[threadIdx.x];")).all()
    function = "template <int N> __device__ double* own() { __shared__ double y[8][8]; return y[0]; }"
    assert (run("x[threadIdx.x] = own<1>() != own<2>() && own<1>() == own<1>();", declarations=function) == 1).all()


def test_elementary_functions_have_the_type_of_their_argument(stand_in_gpu):
    function = "template <class T> __device__ double error(T x) { return exp(x) - exp((double)x); }"
    wide, narrow = run("x[0] = error(0.7); x[1] = error(0.7f);", declarations=function)[:2]
    assert wide == 0
    assert 0 < abs(narrow) < 1e-6


# -- clusters of blocks ---------------------------------------------------------------------------------------

ROTATE = """
extern "C" __global__ void __cluster_dims__(4, 1, 1) rotate(const double* x, double* y, int rounds) {
    extern __shared__ double memory[];  // 64 numbers that are received, 64 of x, and an mbarrier
    unsigned long long* const mbarrier = (unsigned long long*)(memory + 128);
    const int thread = threadIdx.x, rank = cluster_rank();
    copy_async<8>(memory + 64 + (thread + 1) % 64, x + blockIdx.x * 64 + (thread + 1) % 64);
    if (thread == 0) {
        mbarrier_init(mbarrier, 1);
        fence_mbarrier_init();
    }
    copy_async_wait();
    cluster_barrier();
    double value = memory[64 + thread];
    for (int round = 0; round < rounds; ++round) {
        if (thread == 0) mbarrier_expect(mbarrier, 64 * 8);
        store_async(memory + thread, (rank + 1) % 4, value, mbarrier);
        mbarrier_wait(mbarrier, round % 2);
        value = memory[63 - thread];
        cluster_barrier();
    }
    y[blockIdx.x * 64 + thread] = value;
}
"""
"""Sends numbers around the blocks of a cluster, and reverses them on the way."""


def rotated(rounds=3, change=("", "")):
    x, y = cupy().asarray(np.arange(512.0)), cupy().zeros(512, "float64")
    kernel(ROTATE.replace(*change, 1), "rotate")((8,), (64,), (x, y, np.int32(rounds)), shared_mem=129 * 8)
    return y.get().reshape(2, 4, 64)


def test_blocks_of_a_cluster_exchange_numbers(stand_in_gpu):
    for seed in SEEDS:
        stand_in_gpu.seed(seed)
        expected = np.roll(np.arange(512.0).reshape(2, 4, 64), 3, axis=1)[:, :, ::-1]
        assert_array_equal(rotated(), expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("    copy_async_wait();\n", ""), None),
        (("    copy_async_wait();\n    cluster_barrier();", "    copy_async_wait();"), None),
        (("        mbarrier_wait(mbarrier, round % 2);\n", ""), None),
        (("thread];\n        cluster_barrier();", "thread];"), None),
        (("        fence_mbarrier_init();\n", ""), "no fence makes the mbarrier visible"),
        (("64 * 8);", "64 * 8 + 8);"), "deadlock: .* for an mbarrier"),
        (("        mbarrier_init(mbarrier, 1);\n", ""), "this is no mbarrier"),
        (("(rank + 1) % 4", "rank + 4"), "block [4-7] of a cluster of 4"),
        (("if (thread == 0) mbarrier_expect", "if (thread < 2) mbarrier_expect"), "more arrivals|deadlock"),
        (("copy_async<8>(memory", "copy_async<16>(memory"), "copy that is not aligned"),
        (("copy_async_wait();\n    cluster_barrier();", "cluster_barrier();\n    if (rounds) return;"), "copies"),
        (("store_async(memory +", "store_async(memory + 999 +"), "an asynchronous store to"),
    ],
    ids=lambda value: value[0].strip() if isinstance(value, tuple) else "",
)
def test_mistakes_of_a_cluster_are_noticed(stand_in_gpu, change, message):
    expected, seen = rotated(), []
    for seed in SEEDS:
        stand_in_gpu.seed(seed)
        try:
            seen.append("same" if np.array_equal(rotated(change=change), expected) else "other")
        except RuntimeError as error:
            seen.append(str(error))
    assert set(seen) != {"same"}
    assert message is None or any(re.search(message, each) for each in seen), seen


def test_clusters_have_cudas_limits(stand_in_gpu):
    for grid, dims in ((6, "4, 1, 1"), (16, "16, 1, 1")):
        x = cupy().zeros(1024, "float64")
        with pytest.raises(RuntimeError, match="INVALID_CLUSTER_SIZE"):
            kernel(ROTATE.replace("4, 1, 1", dims), "rotate")((grid,), (64,), (x, x, np.int32(0)), shared_mem=2000)


# -- cooperative grids ------------------------------------------------------------------------------------------

PASS_ON = """
struct alignas(16) Pair {
    double value[2];
};
extern "C" __global__ void pass_on(double* y, unsigned long long* counter, double* copies, int rounds) {
    const int next = (blockIdx.x + 1) % gridDim.x;
    double value = blockIdx.x * 64 + threadIdx.x;
    for (int round = 0; round < rounds; ++round) {
        double* const side = copies + round % 2 * gridDim.x * 64;
        publish(side + blockIdx.x * 64 + threadIdx.x, value);
        __syncthreads();
        if (threadIdx.x == 0) {
            grid_fence();
            arrive(counter);
            wait_for_count(counter, (round + 1) * gridDim.x);
            grid_fence();  // acquires
        }
        __syncthreads();  // before others collect
        value = collect((const Pair*)(side + next * 64) + threadIdx.x / 2).value[threadIdx.x % 2];
    }
    y[blockIdx.x * 64 + threadIdx.x] = value;
}
"""
"""Each block takes over the numbers of the next one, again and again."""


def passed_on(change=("", ""), blocks=5, cooperative=True):
    y, counter = cupy().zeros(blocks * 64, "float64"), cupy().zeros(1, "uint64")
    arguments = y, counter, cupy().zeros(2 * blocks * 64, "float64"), np.int32(5)
    function = kernel(PASS_ON.replace(*change, 1), "pass_on")
    function.kernel((blocks,), (64,), arguments, enable_cooperative_groups=cooperative)
    return y.get().reshape(blocks, 64)


def test_blocks_of_a_grid_exchange_numbers(stand_in_gpu):
    for seed in SEEDS:
        stand_in_gpu.seed(seed)
        assert_array_equal(passed_on(), np.arange(5 * 64.0).reshape(5, 64))  # once around
    assert_array_equal(passed_on(blocks=132), np.roll(np.arange(132 * 64.0).reshape(132, 64), -5, axis=0))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("        __syncthreads();\n        if", "        if"), None),
        (("            grid_fence();\n            arrive", "            arrive"), None),
        (("            arrive(counter);\n", ""), "deadlock"),
        (("            wait_for_count(counter, (round + 1) * gridDim.x);\n", ""), None),
        (("            grid_fence();  // acquires\n", ""), None),
        (("        __syncthreads();  // before others collect\n", ""), None),
        (("round % 2", "0"), None),
        (("(const Pair*)(side + next * 64)", "(const Pair*)(side + next * 64 + 1)"), "not aligned"),
    ],
    ids=lambda value: value[0].strip() if isinstance(value, tuple) else "",
)
def test_mistakes_of_a_grid_are_noticed(stand_in_gpu, change, message):
    expected, seen = passed_on(), []
    for seed in SEEDS:
        stand_in_gpu.seed(seed)
        try:
            seen.append("same" if np.array_equal(passed_on(change), expected) else "other")
        except RuntimeError as error:
            seen.append(str(error))
    assert set(seen) != {"same"}
    assert message is None or any(message in each for each in seen), seen


def test_grids_have_cudas_limits(stand_in_gpu):
    with pytest.raises(RuntimeError, match="COOPERATIVE_LAUNCH_TOO_LARGE: 133 blocks"):
        passed_on(blocks=133)
    with pytest.raises(RuntimeError, match="waits for others in a launch that is not cooperative"):
        passed_on(cooperative=False)


# -- streams and graphs ---------------------------------------------------------------------------------------


def fails_in_some(stand_in_gpu, attempt):
    """Whether a function gives a wrong result, or an error, for some order of the work."""
    for seed in range(20):
        stand_in_gpu.seed(seed)
        try:
            if not attempt():
                return True
        except RuntimeError:
            return True
    return False


@pytest.mark.parametrize("waits", [True, False])
def test_streams_must_wait_for_each_other(stand_in_gpu, waits):
    def attempt():
        stream = cupy().cuda.Stream(non_blocking=True)
        x = cupy().zeros(8, "float32")
        x += 1
        if waits:
            stream.wait_event(cupy().cuda.get_current_stream().record())
        add_on(stream, x)
        if waits:
            stream.synchronize()
        return (x.get() == 3).all()

    assert fails_in_some(stand_in_gpu, attempt) is not waits


@pytest.mark.parametrize("waits", [True, False])
def test_pinned_memory_must_not_change_before_it_is_copied(stand_in_gpu, waits):
    def attempt():
        stream, x = cupy().cuda.Stream(non_blocking=True), cupy().empty(4, "float32")
        staged = importlib.import_module("cupyx").empty_pinned(4, "float32")
        staged[:] = 1
        x.set(staged, stream)
        event = stream.record()
        if waits:
            event.synchronize()
        staged[:] = 2
        return (x.get(stream=stream) == 1).all()

    assert fails_in_some(stand_in_gpu, attempt) is not waits


@pytest.mark.parametrize("waits", [True, False])
def test_memory_must_not_be_freed_before_another_stream_has_used_it(stand_in_gpu, waits):
    def attempt():
        stream = cupy().cuda.Stream(non_blocking=True)
        x, out = cupy().zeros(8, "float32"), cupy().zeros(1, "float32")
        cupy().cuda.Device().synchronize()
        with stream:
            kernel(SUM, "sum")((1,), (128,), (x, np.int32(8), out))
        if waits:
            stream.synchronize()
        del x
        cupy().cuda.Device().synchronize()
        return float(out[0]) == 0

    assert fails_in_some(stand_in_gpu, attempt) is not waits


def test_what_waits_for_the_host_is_counted(stand_in_gpu):
    counters, x = stand_in_gpu.counters, cupy().zeros(3)
    x += 1
    assert counters.synchronizations == counters.copies_to_host == 0
    float(x[0]), bool(x[0] > 0), x.get(), cupy().asnumpy(x)
    assert counters.synchronizations == counters.copies_to_host == 4
    x.get(blocking=False)
    cupy().cuda.Device().synchronize()
    assert (counters.synchronizations, counters.copies_to_host) == (5, 5)
    counters.reset()
    assert counters.allocations == 0


def captured(x):
    stream, add = cupy().cuda.Stream(non_blocking=True), kernel(ADD, "add")
    stream.begin_capture()
    add_on(stream, x, add)
    return stream, stream.end_capture()


def test_a_graph_repeats_what_was_recorded(stand_in_gpu):
    x = cupy().zeros(3, "float32")
    cupy().cuda.Device().synchronize()
    stream, graph = captured(x)
    assert (x.get() == 0).all()
    stand_in_gpu.counters.reset()
    for _ in range(3):
        graph.launch(stream)
    stream.synchronize()
    assert (x.get() == 6).all()
    assert (stand_in_gpu.counters.graph_launches, stand_in_gpu.counters.launches) == (3, 0)


def test_a_graph_does_not_keep_its_arrays(stand_in_gpu):
    x = cupy().zeros(3, "float32")
    stream, graph = captured(x)
    del x
    gc.collect()
    with pytest.raises(RuntimeError, match="were freed"):
        graph.launch(stream)


NOT_WHILE_CAPTURING = {
    "allocation": lambda x, stream: cupy().empty(3),
    "operator": lambda x, stream: x.__iadd__(1),
    "fill": lambda x, stream: x.fill(1),
    "sort": lambda x, stream: x.sort(),
    "copy to the host": lambda x, stream: x.get(blocking=False),
    "copy to the device": lambda x, stream: x.set(np.ones(3, "float32"), stream),
    "float": lambda x, stream: float(x[0]),
    "synchronize": lambda x, stream: stream.synchronize(),
    "device": lambda x, stream: cupy().cuda.Device().synchronize(),
    "event": lambda x, stream: stream.wait_event(cupy().cuda.Event()),
    "loading a module": lambda x, stream: kernel(SUM, "sum"),
}


@pytest.mark.parametrize("action", NOT_WHILE_CAPTURING.values(), ids=NOT_WHILE_CAPTURING)
def test_what_a_stream_cannot_do_while_it_captures(stand_in_gpu, action):
    x, stream = cupy().zeros(3, "float32"), cupy().cuda.Stream(non_blocking=True)
    kernel(ADD, "add")
    stream.begin_capture()
    assert stream.is_capturing()
    with pytest.raises(RuntimeError, match="while a stream captures"):
        action(x, stream)
    stream.end_capture()
    action(x, stream)


def test_other_streams_do_nothing_while_one_captures(stand_in_gpu):
    x, add = cupy().zeros(3, "float32"), kernel(ADD, "add")
    cupy().cuda.Stream(non_blocking=True).begin_capture()
    with pytest.raises(RuntimeError, match="while a stream captures"):
        add_on(cupy().cuda.Stream.null, x, add)
    stand_in_gpu.seed(0)


def test_the_null_stream_does_not_capture(stand_in_gpu):
    with pytest.raises(RuntimeError, match="default"):
        cupy().cuda.Stream.null.begin_capture()


# -- cuBLAS ---------------------------------------------------------------------------------------------------


def product(library, handle, a, b, out, compute, kinds=(0, 0, 0), alpha=1.0, beta=0.0, scalar=ctypes.c_float):
    """``out = alpha a b + beta out`` of matrices with adjacent rows; returns the status."""
    (m, n), k = out.shape, a.shape[1]
    leading = [ctypes.c_int(x.strides[0] // x.itemsize) for x in (b, a, out)]
    return library.cublasGemmEx(
        handle, 0, 0, ctypes.c_int(n), ctypes.c_int(m), ctypes.c_int(k), ctypes.byref(scalar(alpha)),
        ctypes.c_void_p(b.data.ptr), kinds[0], leading[0], ctypes.c_void_p(a.data.ptr), kinds[1], leading[1],
        ctypes.byref(scalar(beta)), ctypes.c_void_p(out.data.ptr), kinds[2], leading[2], compute, -1,
    )  # fmt: skip


@pytest.fixture
def library(stand_in_gpu):
    return stand_in_gpu.cublas


@pytest.fixture
def handle(library):
    handle = ctypes.c_void_p()
    assert library.cublasCreate_v2(ctypes.byref(handle)) == 0
    return handle


def test_products(library, handle):
    rng = np.random.default_rng(0)
    a, b, c = rng.normal(size=(5, 7)), rng.normal(size=(7, 3)), rng.normal(size=(5, 3))
    x, y, z = (cupy().asarray(each) for each in (a, b, c))
    assert product(library, handle, x, y, z, 70, (1, 1, 1), 2.0, 0.5, ctypes.c_double) == 0
    assert_allclose(z.get(), 2 * a @ b + 0.5 * c, rtol=1e-12)
    wide = cupy().empty((5, 8))[:, :3]  # not read if beta is zero
    assert product(library, handle, x, y, wide, 70, (1, 1, 1), scalar=ctypes.c_double) == 0
    assert_allclose(wide.get(), a @ b, rtol=1e-12)


@pytest.mark.parametrize(("compute", "bits"), [(68, 23), (77, 10), (75, 7)])
def test_products_of_rounded_operands(library, handle, compute, bits):
    a = (1 + 2.0**-bits) * np.ones((1, 1), "float32")
    x, out = cupy().asarray(a), cupy().empty((1, 1), "float32")
    assert product(library, handle, x, x, out, compute) == 0
    assert float(out[0, 0]) == np.float32(a[0, 0]) * np.float32(a[0, 0])
    y = cupy().asarray(np.float32([[1 + 2.0 ** -(bits + 1)]]))  # a tie; it goes to the even neighbour
    assert product(library, handle, y, y, out, compute) == 0
    assert float(out[0, 0]) == 1


def test_products_of_bfloat16(library, handle):
    a = cupy().asarray(np.array([[0x3F80, 0x4000]], np.uint16))  # 1, 2
    b = cupy().asarray(np.array([[0x4040], [0xBF00]], np.uint16))  # 3, -1/2
    out = cupy().empty((1, 1), "float32")
    assert product(library, handle, a, b, out, 68, (14, 14, 0)) == 0
    assert float(out[0, 0]) == 2


def test_statuses_of_wrong_products(library, handle):
    x = cupy().ones((4, 4), "float32")
    assert product(library, ctypes.c_void_p(1), x, x, x, 68) == 1
    assert product(library, handle, x, x, x, 68, (14, 0, 0)) == 15
    assert product(library, handle, x, x, cupy().ones((4, 8), "float32"), 68) == 7  # a leading dimension of 4 for 8
    with pytest.raises(RuntimeError, match="live allocation"):
        product(library, handle, x, cupy().ones((4, 4), "float32")[2:], x, 68)
    with pytest.raises(TypeError, match="c_float"):
        product(library, handle, x, x, x, 68, scalar=ctypes.c_double)


def test_a_captured_product_needs_a_workspace(library, handle):
    stream, x, out = (
        cupy().cuda.Stream(non_blocking=True),
        cupy().ones((2, 2), "float32"),
        cupy().zeros((2, 2), "float32"),
    )
    space = cupy().empty(1024, "uint8")
    cupy().cuda.Device().synchronize()
    for prepared in (False, True):
        assert library.cublasSetStream_v2(handle, ctypes.c_void_p(stream.ptr)) == 0
        if prepared:
            assert library.cublasSetWorkspace_v2(handle, ctypes.c_void_p(space.data.ptr), ctypes.c_size_t(1024)) == 0
        stream.begin_capture()
        assert product(library, handle, x, x, out, 68) == (0 if prepared else 3)
        graph = stream.end_capture()
    assert (out.get() == 0).all()
    graph.launch(stream)
    stream.synchronize()
    assert (out.get() == 2).all()
    del space
    with pytest.raises(RuntimeError, match="freed"):
        graph.launch(stream)


# -- the product on it ----------------------------------------------------------------------------------------


def test_training_on_the_gpu(stand_in_gpu):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(70, 5)).astype("float32")
    y = (X[:, 0] > 0).astype(int)
    on = {}
    for backend, device in (("numpy", "cpu"), ("cupy", "cuda"), ("cupy", "cuda:1")):
        on[device] = mlp.MLP([5, 9, 2], seed=3, backend=backend, device=device)
        on[device].fit(X, y, epochs=3, batch_size=16)
    stand_in_gpu.check()
    for device in ("cuda", "cuda:1"):
        assert on[device].xp.name == "cupy"
        for ours, theirs in zip(on[device].weights, on["cpu"].weights, strict=True):
            assert_allclose(ours, theirs, atol=1e-5)


def test_everything_is_as_before_afterwards():
    import stand_in_gpu

    before = {name: sys.modules.get(name) for name in stand_in_gpu.modules()}
    status = backends.status()["cupy"]
    _, undo = stand_in_gpu.install()
    try:
        assert backends.status()["cupy"].devices == ("cuda:0", "cuda:1")
    finally:
        undo()
    assert {name: sys.modules.get(name) for name in before} == before
    assert backends.status()["cupy"] == status


def parameters(function):
    """Names of a function's parameters; those of compiled functions are in the first line of their docstrings."""
    try:
        names = [p.name for p in inspect.signature(function).parameters.values() if p.kind is not p.VAR_KEYWORD]
    except ValueError:
        line = (function.__doc__ or "").partition("\n")[0]
        inside = re.fullmatch(r"[\w.]+\((.*)\)", line)
        if inside is None:
            return None
        names = [part.partition("=")[0].split()[-1].strip("*\\") for part in inside[1].split(",")]
    return [name for name in names if name not in ("self", "", "/", "a", "args", "arguments")]


def test_the_interface_is_that_of_cupy():
    """All that the stand-in has, the real library has too, with the same parameters in the same order."""
    real = pytest.importorskip("cupy")
    import stand_in_gpu

    ours = stand_in_gpu.modules()
    special = importlib.import_module("cupyx.scipy.special")
    pairs = [(name, value, importlib.import_module(name)) for name, value in ours.items()]
    classes = [(ours["cupy"], real, ("ndarray", "RawModule"))]
    classes += [(ours["cupy.cuda"], real.cuda, ("Device", "Stream", "Event", "Graph"))]
    for our_module, real_module, names in classes:
        pairs += [(name, getattr(our_module, name), getattr(real_module, name)) for name in names]
    compared = 0
    for where, mine, theirs in pairs:
        for name, value in vars(mine).items():
            if name.startswith("_"):
                continue
            is_attribute = f".{name} " in (theirs.__doc__ or "") or f"{name} (" in (theirs.__doc__ or "")
            assert hasattr(theirs, name) or is_attribute, f"{where} has no {name}"
            found = parameters(value) if inspect.isfunction(value) else None
            expected = parameters(getattr(theirs, name)) if found and "out" not in found[1:2] else None
            if found and expected and value.__name__ not in stand_in_gpu.arrays.ELEMENTWISE.split():
                assert [p for p in expected if p in found] == found, (where, name, found, expected)
                compared += 1
    assert compared > 20
    assert issubclass(real.cuda.memory.OutOfMemoryError, MemoryError)
    assert callable(special.erfc)


# two groups that take about as long, for two processes
SHARED = (("contract", "signatures", "gradients", "update_rules"), ("backend_trainers", "same_results"))
SLOW = {
    "every_legal": "gradients by differences of single operations",
    "every_hidden": "likewise",
    "another_activation": "likewise",
    "with_every_pair": "likewise",
    "penalties_and_weights": "likewise",
    "loss_and_delta_are_accurate": "formulas of the portable implementation, in high precision",
    "every_layout": "each operation in five layouts; `test_out_is_used_and_returned` has three",
    "(test_contract and float64)": "the same code as for float32",
    "broken_cupy": "has modules of its own",
    "512": "a large network; there are others of several blocks",
    "128": "likewise",
}


def test_the_shared_tests_pass_on_it():
    command = [sys.executable, "-m", "pytest", "-q", "-p", "stand_in_gpu.plugin", "-p", "no:cacheprovider"]
    command += ["--most-examples=4", "-k", f"cupy and not ({' or '.join(SLOW)})"]
    environment = os.environ | {"PYTHONPATH": f"{TESTS.parent}{os.pathsep}{TESTS}"}
    runs = [
        subprocess.Popen(
            [*command, *(str(TESTS / f"test_{name}.py") for name in names)],
            env=environment, cwd=TESTS.parent, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for names in SHARED
    ]  # fmt: skip
    for run, least in zip(runs, (500, 80), strict=True):
        output, _ = run.communicate()
        assert run.returncode == 0, output[-8000:]
        assert int(re.search(r"(\d+) passed", output)[1]) > least, output[-2000:]
