"""Counted instructions of CUDA kernels, and the model of the time of a step that uses them."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from backends.cupy_backend.tilings import tiling_for, tilings  # noqa: E402
from benchmarks import latency_model  # noqa: E402
from benchmarks.latency_model import SHARED_BYTES, Phase, microseconds, options_of, persistent_phases  # noqa: E402
from benchmarks.ptx_counts import Thread, compile_to_ptx, parse  # noqa: E402

KERNEL = """
extern "C" __global__ void sums(const float* x, float* y, int n, unsigned int seed) {
    __shared__ float shared[256];
    shared[threadIdx.x] = x[threadIdx.x];
    __syncthreads();
    float sum = 0;
    #pragma unroll 1
    for (int i = threadIdx.x; i < n; i += 32) sum = fmaf(shared[i], 2.0f, sum);
    __syncthreads();
    // as many additions as the hash has bits: a wrong integer gives another number of them
    unsigned long long wide = (unsigned long long)seed * 0x9E3779B97F4A7C15ull;
    unsigned int hash = (unsigned int)(wide >> 29) ^ __umulhi(seed, 0xD2511F53u) ^ (unsigned int)((int)seed >> 3);
    #pragma unroll 1
    for (int i = 0; i < __popc(hash % 100003u * 7u); ++i) sum += sum * 0.25f - 1.5f > 1e30f ? 1.0f : 0.5f;
    y[threadIdx.x] = sum;
}
"""


def run(ptx, name, thread, *arguments):
    kernel = parse(ptx, name)
    return Thread(kernel, dict(zip(kernel.parameters, arguments, strict=True)), {"%tid.x": thread}).run()


def of_kind(counter, *prefixes):
    return sum(number for opcode, number in counter.items() if opcode.startswith(prefixes))


def hashed(seed):
    wide = seed * 0x9E3779B97F4A7C15 % 2**64
    signed = seed - 2**32 if seed >= 2**31 else seed
    value = (wide >> 29 ^ seed * 0xD2511F53 >> 32 ^ signed >> 3) % 2**32
    return (value % 100003 * 7 % 2**32).bit_count()


def test_a_loop_is_counted_as_often_as_it_runs():
    pytest.importorskip("cuda.bindings.nvrtc", reason="NVRTC is not installed")
    ptx = compile_to_ptx(KERNEL)
    for thread, n in ((0, 100), (5, 100), (31, 3), (4, 100)):
        before, loop, after = run(ptx, "sums", thread, 1 << 40, 2 << 40, n, 1)
        trips = len(range(thread, n, 32))
        assert of_kind(loop, "fma") == of_kind(loop, "ld.shared") == trips
        assert of_kind(before, "ld.global", "st.shared") == 2
        assert of_kind(after, "st.global") == 1
        assert (of_kind(before, "bar"), of_kind(loop, "bar"), of_kind(after, "bar")) == (1, 1, 0)


def test_memory_that_others_fill_can_be_given():
    body = "ld.global.u32 %r1, [%rd1+8];\nst.global.u32 [%rd1+8], 1;\nld.volatile.global.u32 %r1, [%rd1+8];\n"
    body += "setp.eq.u32 %p, %r1, 3;\n@%p bra $L1;\nadd.u32 %r2, %r2, 1;\n$L1:\nret;"
    kernel = parse(f".visible .entry one(\n.param .u32 one_param_0\n)\n{{\n{body}\n}}\n", "one")
    counts = [Thread(kernel, {}, {}, memory).run()[0]["add.u32"] for memory in (None, {("global", 8): 3})]
    assert counts == [1, 0]


def test_wide_products_have_wide_addends():
    body = "mov.u32 %r1, 2;\nmov.u32 %r2, 3;\nmov.u64 %rd2, 4294967296;\nmad.wide.u32 %rd1, %r1, %r2, %rd2;\n"
    body += "setp.eq.u64 %p, %rd1, 4294967302;\n@%p bra $L1;\nadd.u32 %r3, %r3, 1;\n$L1:\nret;"
    (phase,) = run(f".visible .entry one(\n.param .u32 one_param_0\n)\n{{\n{body}\n}}\n", "one", 0, 1)
    assert phase["add.u32"] == 0


def test_integers_are_computed_as_on_a_gpu():
    pytest.importorskip("cuda.bindings.nvrtc", reason="NVRTC is not installed")
    ptx = compile_to_ptx(KERNEL)
    counts = []
    for seed in (0, 1, 2, 12345, 2**31, 2**32 - 1, 0xDEADBEEF):
        counts.append((of_kind(run(ptx, "sums", 0, 1 << 40, 2 << 40, 0, seed)[-1], "fma"), hashed(seed)))
    per_trip = {found / expected for found, expected in counts if expected}
    assert len(per_trip) == 1, counts
    assert len({expected for _, expected in counts}) > 3


def test_what_cannot_be_counted_is_an_error():
    text = ".visible .entry {name}(\n.param .u32 {name}_param_0\n)\n{{\n{body}\n}}\n"
    with pytest.raises(ValueError, match="no kernel 'other'"):
        parse(text.format(name="one", body="ret;"), "other")
    with pytest.raises(ValueError, match="ends within the kernel"):
        parse(".visible .entry one()\n{\nret;", "one")
    with pytest.raises(RuntimeError, match="does not end"):
        run(text.format(name="one", body="$L1:\nbra $L1;"), "one", 0, 1)
    for body in ("wmma.fancy.s32 %r1, %r2;", "wmma.fancy.f32 %f1, %f2;"):
        with pytest.raises(NotImplementedError, match="is not known"):
            run(text.format(name="one", body=body), "one", 0, 1)
    pytest.importorskip("cuda.bindings.nvrtc", reason="NVRTC is not installed")
    with pytest.raises(RuntimeError, match="error"):
        compile_to_ptx("__global__ void broken( {}")


def test_labels_of_inline_assembly_are_those_of_their_braces():
    body = "{\nagain:\nadd.u32 %r3, %r3, 1;\nsetp.eq.u32 %p, %r3, 3;\n@!%p bra again;\n}\n"
    body += "{\nagain:\nbra.uni done;\nmov.u32 %r2, 1;\ndone:\n}\nret;"
    (phase,) = run(f".visible .entry one(\n.param .u32 one_param_0\n)\n{{\n{body}\n}}\n", "one", 0, 1)
    assert phase == Counter({"add.u32": 3, "setp.eq.u32": 3, "bra": 3, "bra.uni": 1, "ret": 1})


# -- the persistent kernel --------------------------------------------------------------------------------------


def waits(phases):
    return tuple(sum(phase.wait == kind for phase in phases) for kind in ("block barrier", "exchange"))


def is_plain(tiling):
    return not tiling.tensor


def phases_of(sizes=(784, 30, 10), rows=16, X_dtype="uint8", clipped=False, choose=is_plain, **settings):
    pytest.importorskip("cuda.bindings.nvrtc", reason="NVRTC is not installed")
    options = options_of(sizes, X_dtype, **settings)
    tiling = next(
        each
        for each in (tiling_for(options, rows, SHARED_BYTES), *tilings(options, rows, SHARED_BYTES, 16))
        if choose(each)
    )
    return tiling, persistent_phases(options, tiling, clipped)


def test_the_products_of_a_step_are_counted():
    tiling, phases = phases_of()
    per_warp = 2 * tiling.rows * tiling.quads_of_thread * 4 * tiling.units_of_thread  # forward, and for the gradient
    large = [phase for phase in phases if phase.count("FMA") >= per_warp / 2 * len(phase.warps)]
    assert len(large) == 2
    assert all(phase.count("FMA") == per_warp / 2 * len(phase.warps) for phase in large)
    # each entry of a batch becomes a number twice, but where the padding of the rows does not
    assert all(phase.count("conversion") == tiling.rows * 4 * len(phase.warps) for phase in large)
    # a block sends its share of each logit to each block, in the first thread of a warp as in all others
    sent = -(-tiling.rows * 10 // 32)
    assert sum(phase.count("remote store") for phase in phases) == sent * tiling.blocks


def test_products_on_tensor_cores_are_counted():
    tiling, phases = phases_of(rows=32, choose=lambda tiling: tiling.tensor)
    assert waits(phases) == (5, 1)
    tiles = 49  # of 16 inputs; for each and 16 rows three products forward, and for the gradient six of eight inputs
    assert sum(phase.count("tensor") for phase in phases) == tiles * 2 * (3 * tiling.units_of_thread + 6)
    _, plain = phases_of(rows=32)
    assert microseconds(phases) < microseconds(plain)


def test_a_batch_in_parts_has_the_waits_of_each_part():
    in_parts, whole = (
        phases_of(rows=rows, choose=lambda tiling: is_plain(tiling) and tiling.part_rows == 32)[1] for rows in (96, 32)
    )
    assert waits(in_parts) == (15, 3)
    assert waits(whole) == (5, 1)
    assert sum(p.count("FMA") for p in in_parts) == pytest.approx(3 * sum(p.count("FMA") for p in whole), rel=0.01)


PROTOTYPE = 1520
"""Instructions of a warp and step of the first version of this kernel, which had neither dropout nor clipping."""


def test_dropout_and_clipping_take_no_more_instructions_than_the_first_version_without():
    pytest.importorskip("cuda.bindings.nvrtc", reason="NVRTC is not installed")
    options = options_of((784, 30, 10), dropout=True)
    tiling = next(filter(is_plain, tilings(options, 16, SHARED_BYTES)))
    phases = persistent_phases(options, tiling, clipped=True)
    assert sum(phase.instructions for phase in phases) <= PROTOTYPE
    assert waits(phases) == (5, 1)


def test_no_option_needs_more_barriers_but_clipping_by_the_norm():
    """Five barriers and one exchange: the bar for the kernel with everything that is needed for each step."""
    assert waits(phases_of()[1]) == (5, 1)
    assert waits(phases_of(dropout=True, input_dropout=True, clipped=True)[1]) == (5, 1)
    assert waits(phases_of(by_norm=True)[1]) == (6, 2)
    assert waits(phases_of(choose=lambda tiling: is_plain(tiling) and tiling.x_buffers == 1)[1]) == (6, 1)
    assert waits(phases_of(choose=lambda tiling: is_plain(tiling) and tiling.x_buffers == 0)[1]) == (5, 1)


def test_more_rows_take_more_time_and_clipping_does():
    short, long = (microseconds(phases_of(rows=rows)[1]) for rows in (16, 32))
    assert 1.2 * short < long < 2 * short
    assert microseconds(phases_of(by_norm=True)[1]) > 1.1 * short


# -- the model --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("counts", "warps", "busiest"),
    [
        ({"fma.rn.ftz.f32": 100}, 4, ("schedulers", 100)),  # one instruction a cycle of each scheduler
        ({"fma.rn.ftz.f32": 100}, 5, ("schedulers", 200)),  # two warps on one of them
        ({"add.s32": 100}, 4, ("integer", 200)),  # 64 lanes
        ({"ex2.approx.ftz.f32": 10}, 8, ("special", 160)),  # 16 lanes
        ({"ld.shared.f32": 100}, 4, ("shared memory", 400)),  # a warp's 128 bytes in each cycle
        ({"ld.shared.v4.f32": 100}, 1, ("shared memory", 400)),
        ({"ld.shared.v4.u8": 100}, 4, ("shared memory", 400)),
        ({"ld.shared.u8": 100}, 4, ("shared memory", 400)),
        ({"mov.u32": 1000, "fma.rn.f32": 1}, 4, ("schedulers", 1)),  # ptxas removes moves
    ],
)
def test_a_phase_takes_as_long_as_its_busiest_part(counts, warps, busiest):
    phase = Phase("block barrier", [Counter(counts)] * warps)
    assert phase.busiest == busiest
    assert phase.cycles == busiest[1] + phase.latency


def test_barriers_of_more_warps_take_longer_and_exchanges_longest():
    barriers = [Phase("block barrier", [Counter()] * warps).latency for warps in (4, 14, 32)]
    assert barriers == sorted(barriers)
    assert (barriers[0], barriers[2]) == (30 + 29, 86 + 29)
    assert Phase("exchange", [Counter()] * 4).latency > barriers[2]


def report(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["latency_model.py", *map(str, arguments)])
    latency_model.main()
    return capsys.readouterr().out


def test_the_report_has_the_phases_and_the_time(monkeypatch, capsys):
    _, phases = phases_of()
    text = report(monkeypatch, capsys, "--net", "784-30-10", "--choice", "8,4,1,2,16,0")
    assert "5 barriers and 1 exchanges a step" in text
    assert f"{microseconds(phases):.2f} microseconds" in text
    slow = report(monkeypatch, capsys, "--net", "784-30-10", "--choice", "8,4,1,2,16,0", "--clock", "0.99")
    assert f"{2 * microseconds(phases):.2f} microseconds" in slow
    with pytest.raises(SystemExit, match="does not fit"):
        report(monkeypatch, capsys, "--net", "784-30-10", "--choice", "8,8,1,2,16,0")


def test_the_model_stands_beside_measured_tilings(monkeypatch, capsys, tmp_path):
    tiling, phases = phases_of()
    row = {"sizes": [784, 30, 10], "rows": 16, "X": "uint8", "choice": list(tiling.choice), "microseconds": 7.77}
    (tmp_path / "tilings.json").write_text(json.dumps({"table": [row]}))
    *_, line = report(monkeypatch, capsys, "--times", tmp_path / "tilings.json").splitlines()
    assert line.split()[-1] == "7.77"
    assert line.split()[-3] == f"{microseconds(phases):.2f}"


def test_the_estimates_of_auto_stand_beside_a_benchmark(monkeypatch, capsys, tmp_path):
    path = ROOT / "benchmarks" / "results" / "cpu-adam.json"
    document = json.loads(path.read_text())
    lines = report(monkeypatch, capsys, "--recorded", path).splitlines()[2:]
    assert [line.split()[3] for line in lines] == ["numba"] * len(document["results"])
    for line in lines:
        estimate, recorded = map(float, line.split()[-2:])
        assert 1 / 1.7 < estimate / recorded < 1.7
    for result in document["results"]:  # as if a GPU had been measured
        result["entries"][0] |= {"name": "mlp cupy", "microseconds_per_step": 12.5}
    (tmp_path / "gpu.json").write_text(json.dumps(document))
    lines = report(monkeypatch, capsys, "--recorded", tmp_path / "gpu.json").splitlines()[2:]
    assert [line.split()[-1] for line in lines if "cupy" in line] == ["12.5"] * len(document["results"])
