"""The persistent kernel on a cooperative grid: on the stand-in the steps of NumPy, and each wait is needed."""

from __future__ import annotations

import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from numpy.testing import assert_allclose, assert_array_equal
from nvrtc import compile_for
from test_backend_trainers import extended_cases
from test_gpu_kernels import case_name, persistent_options
from test_persistent_kernel import (
    FIELDS,
    SHARED_BYTES,
    assert_trains_like_numpy,
    case_of,
    in_launches_of,
    persistently,
    planted_options,
    trainer_of,
)
from test_same_results import RULES, assert_close

import backends
import mlp
from backends.cupy_backend import persistent, persistent_source, tilings
from backends.cupy_backend.grid_tilings import FASTER, fastest_grid, graph_microseconds
from backends.cupy_backend.persistent import fastest_way
from backends.cupy_backend.tiling import Tiling
from backends.cupy_backend.tilings import (
    L2_BYTES_A_CYCLE,
    choices_of,
    expected_microseconds,
    meeting_cycles,
    tiling_for,
    tiling_of,
)

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks import latency_model

MULTIPROCESSORS = 132

on_the_stand_in = pytest.mark.skipif(shutil.which("g++") is None, reason="the stand-in needs g++")


def no_cluster(options, rows, limit, most_blocks):
    return "a cluster is not asked for"


def grid_of(blocks, by_owners=None, x_buffers=2, part_rows=None, tensor=False):
    """A function in place of `grid_tiling_for`: a grid of so many blocks, whatever its time.

    With `part_rows`, batches are worked off in parts of so many rows.
    """

    def tiling(options, rows, limit, *_):
        with pytest.MonkeyPatch.context() as patch:
            if by_owners is not None:
                cycles = [1.0, 0.0] if by_owners else [0.0, 1.0]
                patch.setattr(tilings, "meeting_cycles", lambda *a: cycles[a[-1]])
            if part_rows is not None:
                patch.setattr(tilings, "PART_ROWS", part_rows)
            choices = choices_of(options, rows, (blocks,))
            every = (tiling_of(options, rows, limit, choice, on_grid=True) for choice in choices)
            wanted = part_rows or rows, x_buffers, tensor
            return next(
                each
                for each in every
                if isinstance(each, Tiling) and (each.part_rows, each.x_buffers, each.tensor) == wanted
            )

    return tiling


def use(monkeypatch, tiling):
    monkeypatch.setattr(persistent, "tiling_for", no_cluster)
    monkeypatch.setattr(persistent, "grid_tiling_for", tiling)


@pytest.fixture
def gpu(stand_in_gpu):
    """The backend, with the persistent kernel."""
    xp = backends.get_backend("cupy")
    xp.execution = "persistent"
    return xp


# -- results ------------------------------------------------------------------------------------------------------

SHAPES = {
    "a block for each unit": ({"sizes": (6, 9, 4)}, 9, None),
    "units that blocks do not divide": ({"sizes": (13, 40, 10), "n": 40, "batch": 16, "bytes_in": True}, 14, None),
    "one block": ({"sizes": (5, 3, 2)}, 1, None),
    "more blocks than are read at once": ({"sizes": (5, 37, 3)}, 37, None),
    "one row": ({"sizes": (21, 12, 5), "batch": 1, "n": 7}, 4, None),
    "a batch larger than the data": ({"sizes": (8, 8, 3), "n": 11, "batch": 30}, 2, None),
    "two hidden layers": ({"sizes": (20, 19, 40, 6)}, 10, False),
    "two hidden layers, by owners": ({"sizes": (20, 19, 40, 6)}, 10, True),
    "three hidden layers, by owners": ({"sizes": (9, 40, 5, 6, 3)}, 20, True),
    "more owners than entries": ({"sizes": (9, 40, 1, 3), "batch": 5}, 20, True),
    "in parts": ({"sizes": (13, 40, 10), "n": 40, "batch": 16, "bytes_in": True}, 14, None, 5),
    "in parts, by owners": ({"sizes": (9, 40, 5, 6, 3)}, 20, True, 4),
}


@on_the_stand_in
@pytest.mark.parametrize("name", SHAPES)
def test_every_shape_gives_the_steps_of_numpy(gpu, monkeypatch, name):
    shape, blocks, by_owners, *part_rows = SHAPES[name]
    use(monkeypatch, grid_of(blocks, by_owners, part_rows=part_rows[0] if part_rows else None))
    case = case_of(**shape, rule=RULES[7], l2=1e-3)
    plural = "" if blocks == 1 else "s"
    method = trainer_of(gpu, case).execution(case.plan).method
    assert method.startswith(f"persistent kernel on a grid of {blocks} block{plural}, ")
    assert_trains_like_numpy(gpu, case)


NETWORKS = {
    "one hidden layer": ({"sizes": (9, 11, 3)}, grid_of(6)),
    "two": ({"sizes": (9, 11, 5, 3)}, grid_of(11, by_owners=False)),
    "three, by owners, in parts": ({"sizes": (9, 11, 5, 6, 3)}, grid_of(4, by_owners=True, part_rows=2)),
}


@pytest.fixture(params=NETWORKS)
def network(request, monkeypatch):
    """Fields of a case for each kind of network, which runs on a grid."""
    fields, tiling = NETWORKS[request.param]
    use(monkeypatch, tiling)
    return fields


@on_the_stand_in
@pytest.mark.parametrize("name", FIELDS)
def test_every_field_of_a_plan_is_used(gpu, network, name):
    assert_trains_like_numpy(gpu, case_of(**FIELDS[name] | network))


@on_the_stand_in
@pytest.mark.parametrize("bytes_in", [True, False])
@pytest.mark.parametrize("x_buffers", [1, 0])
def test_rows_may_be_in_shared_memory_or_not(gpu, monkeypatch, x_buffers, bytes_in):
    use(monkeypatch, grid_of(9, x_buffers=x_buffers))
    assert_trains_like_numpy(gpu, case_of((37, 9, 3), 44, 10, bytes_in=bytes_in, dropout=(0.3, 0.0)))


@settings(max_examples=max(8, settings.default.max_examples // 8))  # each compiles a kernel
@given(case=extended_cases(scaling_layers=False, hidden_layers=(1, 3)))
@on_the_stand_in
def test_any_plan_gives_the_steps_of_numpy(case):
    import stand_in_gpu

    stand_in, undo = stand_in_gpu.install()
    try:
        gpu = backends.get_backend("cupy")
        gpu.execution = "persistent"
        with pytest.MonkeyPatch.context() as patch:
            use(patch, grid_of(case.plan.network.layout.sizes[1]))
            assert_trains_like_numpy(gpu, replace(case, plan=replace(case.plan, rate_factors=())))
        stand_in.check()
    finally:
        undo()


@on_the_stand_in
def test_a_network_that_no_cluster_holds_runs_on_a_grid(gpu):
    case = case_of((784, 512, 10), 44, 40, bytes_in=True, activation="relu", rule=RULES[1], l2=1e-3)
    methods = []

    def train(plan, *arguments):
        methods.append(gpu.trainer(plan.network, plan.rule, *arguments, plan.batch_size).execution(plan).method)
        return persistently(plan, *arguments)

    found, expected = case.run(gpu, "float32", train), case.run(backends.get_backend("numpy"), "float32")
    for ours, theirs in zip(found, expected, strict=True):
        assert_close(ours, theirs, 2e-6)
    assert methods[0].startswith("persistent kernel on a grid of 32 blocks, ")


# -- launches -----------------------------------------------------------------------------------------------------


@on_the_stand_in
def test_the_division_into_launches_does_not_matter(gpu, stand_in_gpu, monkeypatch, network):
    fields = {"dropout": (0.2, 0.5), "l2": 1e-2, "clip_norm": 0.5, "weighted": True}
    case = case_of(n=70, batch=8, rule=RULES[7], **fields | network)
    expected = case.run(gpu, train=persistently)
    for batches in (1, 2, 5):
        stand_in_gpu.seed(batches)
        backends.get_backend("cupy").execution = "persistent"
        in_launches_of(monkeypatch, batches)
        for ours, theirs in zip(case.run(gpu, train=persistently), expected, strict=True):
            assert_array_equal(ours, theirs)


@on_the_stand_in
@pytest.mark.parametrize("launches", [1, 2, 9])
@pytest.mark.parametrize("halt", [True, False])
def test_training_halts_at_a_loss_that_is_not_finite(gpu, monkeypatch, network, halt, launches):
    in_launches_of(monkeypatch, launches)
    case = case_of(n=40, kind="identity+mse", halt=halt, **network)
    case.X[case.plan.order[20]] = np.nan
    trainer = trainer_of(gpu, case)
    for _ in range(2):  # the second epoch also after the launches that did nothing
        trainer.roll_back()
        (found,) = trainer.epochs([case.plan])
        params = case.params.copy()
        arguments = case.X, case.target, None, params, case.state.copy()
        expected = backends.get_backend("numpy").train_epoch(case.plan, *arguments)
        assert found.failed == expected.failed == 3
        assert found.finite == expected.finite == halt
        assert_allclose(found.losses, expected.losses, rtol=1e-12)
        assert_allclose(trainer.current()[0], params, rtol=0, atol=1e-12)


@on_the_stand_in
def test_networks_on_grids_train_one_after_the_other(gpu, monkeypatch):
    use(monkeypatch, grid_of(5))
    case = case_of((9, 13, 3))
    assert trainer_of(gpu, case).why_alone(case.plan) == "a grid of 5 blocks trains one network"
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(40, 9)).astype("float32"), rng.integers(0, 3, 40)

    def nets():
        return [mlp.MLP([9, 13, 3], activation="tanh", seed=seed, backend="cupy") for seed in range(2)]

    together, alone = nets(), nets()
    mlp.fit_many(together, X, y, epochs=2, batch_size=8)
    for net in alone:
        net.fit(X, y, epochs=2, batch_size=8)
    for ours, theirs in zip(together, alone, strict=True):
        for W, V in zip(ours.weights, theirs.weights, strict=True):
            assert_array_equal(W, V)


# -- waits --------------------------------------------------------------------------------------------------------

PLANTED, SEVERAL = (
    case_of(sizes, 44, 9, l2=1e-2, clip_norm=0.5, weighted=True, dropout=(0.2, 0.5), rule=RULES[1])
    for sizes in ((140, 9, 3), (140, 9, 5, 3))
)
UNCLIPPED, SEVERAL_UNCLIPPED = (replace(case, plan=replace(case.plan, clip_norm=None)) for case in (PLANTED, SEVERAL))
WAITS = r"\b(__syncthreads|grid_fence|arrive|wait_for_count)\("
ONE_LAYER, OWNERS = grid_of(3), grid_of(5, by_owners=True)


def outcome(stand_in_gpu, monkeypatch, case, tiling, seed, line=0):
    """The bits of losses, parameters and state, or the error, without the wait on a line."""
    stand_in_gpu.seed(seed)
    stand_in_gpu.compile_with(f"-DWITHOUT_BARRIER={line}")
    backends.get_backend("cupy").execution = "persistent"
    with monkeypatch.context() as patch:
        use(patch, tiling)
        try:
            return [array.tobytes() for array in case.run(backends.get_backend("cupy"), train=persistently)]
        except RuntimeError as error:
            return str(error)


def lines_of_exchange():
    """Numbers of the lines of ``grid_exchange.cuh`` in the module on which a thread waits or fences."""
    options = planted_options(PLANTED)
    tiling = ONE_LAYER(options, 9, SHARED_BYTES, MULTIPROCESSORS)
    lines = persistent_source.persistent_source(options, tiling, 16, False).splitlines()
    first = lines.index("struct Exchange : Thread {")
    last = lines.index("}  // namespace persistent", first)
    code = ((number, line.partition("//")[0]) for number, line in enumerate(lines[first:last], first + 1))
    return [number for number, line in code if re.search(WAITS, line)]


@on_the_stand_in
@pytest.mark.parametrize("line", lines_of_exchange())
def test_a_missing_wait_or_fence_is_noticed(stand_in_gpu, monkeypatch, line):
    complete = outcome(stand_in_gpu, monkeypatch, PLANTED, ONE_LAYER, 0)
    assert isinstance(complete, list), complete
    assert outcome(stand_in_gpu, monkeypatch, PLANTED, ONE_LAYER, 1) == complete
    assert any(outcome(stand_in_gpu, monkeypatch, PLANTED, ONE_LAYER, seed, line) != complete for seed in range(6))


CHANGES = {
    "meeting before shares": (
        (PLANTED, ONE_LAYER),
        "        meet();\n        copy(RECEIVED_AT",
        "        copy(RECEIVED_AT",
    ),
    "meeting before norms": (
        (PLANTED, ONE_LAYER),
        "        meet();\n        copy(AT_BLOCK_NORMS",
        "        copy(AT_BLOCK_NORMS",
    ),
    "meeting before the shares of owners": (
        (SEVERAL, OWNERS),
        "        meet();\n        copy(AT_SHARES",
        "        copy(AT_SHARES",
    ),
    "meeting before sums": ((SEVERAL, OWNERS), "        meet();\n        copy(RECEIVED_AT", "        copy(RECEIVED_AT"),
    "second side of the copy": ((UNCLIPPED, ONE_LAYER), "(part & 1) * COPY_BYTES", "0 * COPY_BYTES"),
    "place of each owner": ((SEVERAL_UNCLIPPED, OWNERS), "owner * OWNER_BYTES", "0 * OWNER_BYTES"),
    "multiple of the blocks": ((PLANTED, ONE_LAYER), "/ BLOCKS * BLOCKS", "* 1"),
}


@on_the_stand_in
@pytest.mark.parametrize("name", CHANGES)
def test_each_part_of_the_exchange_is_needed(stand_in_gpu, monkeypatch, name):
    situation, old, new = CHANGES[name]
    expected = outcome(stand_in_gpu, monkeypatch, *situation, 0)
    assert isinstance(expected, list), expected
    assert (
        sum(persistent_source.text_of(file).count(old) for file in persistent_source.files_of_kernel(True, False)) == 1
    )
    of_file = persistent_source.text_of
    monkeypatch.setattr(persistent_source, "text_of", lambda file: of_file(file).replace(old, new))
    persistent_source.persistent_source.cache_clear()
    try:
        assert any(outcome(stand_in_gpu, monkeypatch, *situation, seed) != expected for seed in range(20))
    finally:
        persistent_source.persistent_source.cache_clear()


@on_the_stand_in
def test_a_launch_that_is_not_cooperative_is_refused(gpu, stand_in_gpu, monkeypatch):
    from stand_in_gpu.kernels import Function

    use(monkeypatch, ONE_LAYER)
    plain = Function.__call__
    monkeypatch.setattr(
        Function,
        "__call__",
        lambda self, *args, enable_cooperative_groups, **rest: plain(self, *args, **rest),
    )
    with pytest.raises(RuntimeError, match="not cooperative"):
        PLANTED.run(gpu, train=persistently)


@on_the_stand_in
def test_a_grid_of_another_size_ends_with_an_error(gpu, stand_in_gpu, monkeypatch):
    from stand_in_gpu.kernels import Function

    use(monkeypatch, ONE_LAYER)
    whole = Function.__call__
    monkeypatch.setattr(Function, "__call__", lambda self, grid, *args, **rest: whole(self, (2,), *args, **rest))
    with pytest.raises(RuntimeError, match="trap"):
        PLANTED.run(gpu, train=persistently)


# -- which networks, and the estimate -----------------------------------------------------------------------------

WAYS = {
    # by the rows of a batch, with clusters of eight blocks and with those of sixteen
    (784, 128, 10): {16: (8, 8), 128: (8, 8), 1024: ("graphs", "graphs")},
    (784, 256, 10): {32: (8, 16), 64: ("grid", 16)},  # on eight blocks, 64 rows would take longer than as graphs
    (784, 512, 10): {16: ("grid", 16), 64: ("grid", "grid"), 128: ("grid", "grid"), 256: ("graphs", "graphs")},
    (784, 1024, 10): {16: ("grid", "grid"), 64: ("grid", "grid"), 256: ("graphs", "graphs")},
    (784, 256, 128, 10): {64: ("grid", 16)},  # on a grid faster than on sixteen blocks, but not by as much
    (784, 512, 64, 10): {16: ("grid", 16), 32: ("grid", "grid")},
    (784, 512, 512, 10): {16: ("grid", "grid"), 32: ("graphs", "graphs")},
    (784, 128, 128, 128, 10): {16: ("graphs", "graphs")},
    (784, 20_000, 10): {16: ("graphs", "graphs")},
}


@pytest.mark.parametrize("sizes", WAYS)
def test_the_way_that_is_estimated_to_be_fastest_is_used(sizes):
    options = persistent_options(sizes, "float32", "uint8", False)
    for rows, expected in WAYS[sizes].items():
        graphs = graph_microseconds(options, rows, MULTIPROCESSORS)
        for most_blocks, way in zip((8, 16), expected, strict=True):
            found = fastest_way(options, rows, SHARED_BYTES, MULTIPROCESSORS, most_blocks)
            cluster = tiling_for(options, rows, SHARED_BYTES, most_blocks)
            on_cluster = expected_microseconds(options, cluster) if isinstance(cluster, Tiling) else np.inf
            if isinstance(found, str):
                assert (way, graphs < on_cluster) == ("graphs", True), found
            elif not found.on_grid:
                assert (way, found) == (found.blocks, cluster)
                assert on_cluster <= graphs
            else:
                assert way == "grid"
                assert 8 < found.blocks <= MULTIPROCESSORS
                assert (found.blocks - 1) * found.units < sizes[1] <= found.blocks * found.units
                assert found.shared_bytes <= SHARED_BYTES
                assert FASTER * expected_microseconds(options, found) <= min(graphs, on_cluster)
                fewer = fastest_grid(options, rows, SHARED_BYTES, found.blocks - 1)
                assert isinstance(fewer, str) or fewer.blocks < found.blocks


def test_a_measured_tiling_is_used_without_a_comparison(monkeypatch):
    options, rows = persistent_options((784, 128, 10), "float32", "uint8", False), 1024
    tiling = tiling_for(options, rows, SHARED_BYTES)
    assert isinstance(fastest_way(options, rows, SHARED_BYTES, MULTIPROCESSORS, 8), str)
    monkeypatch.setitem(tilings.MEASURED, ((784, 128, 10), rows, "float32", "uint8"), tiling.choice)
    assert fastest_way(options, rows, SHARED_BYTES, MULTIPROCESSORS, 8) == tiling


REASONS = {
    (
        (784, 128, 10),
        1024,
    ): r"a step on a cluster of 8 blocks is estimated to take 112.9 microseconds, more than CUDA graphs with 37.3; "
    r"a step on a grid of 11 blocks is estimated to take [0-9.]+ microseconds, which is not 1.3 times as fast as CUDA "
    r"graphs with 37.3",
    (
        (784, 300, 10),
        128,
    ): r"38 hidden units of 784 weights do not fit .*; a step on a grid of 19 blocks is estimated to take "
    r"[0-9.]+ microseconds, which is not 1.3 times as fast as CUDA graphs with [0-9.]+",
    (
        (784, 512, 512, 10),
        32,
    ): ".*; on a grid, batches of 32 rows .* need 379744 bytes of shared memory in each of 128 blocks",
    ((784, 20_000, 10), 16): ".*; 20000 hidden units are too few for a grid, or too many for 132 blocks",
    ((9, 7, 700), 22): ".*; 7 hidden units are too few for a grid, or too many for 132 blocks",
}


@pytest.mark.parametrize(("sizes", "rows"), REASONS)
def test_the_reason_says_why_there_is_no_tiling(sizes, rows):
    options = persistent_options(sizes, "float32", "uint8", False)
    found = fastest_way(options, rows, SHARED_BYTES, MULTIPROCESSORS, 8)
    assert re.fullmatch("the persistent kernel has no tiling: " + REASONS[sizes, rows] + ".*", found)


def test_the_estimate_counts_meetings_and_bytes():
    one, clipped = (persistent_options((784, 512, 10), "float32", "uint8", each) for each in (False, True))
    read = 64 * 16 * 10 * 4 / L2_BYTES_A_CYCLE  # shares of 64 blocks for 16 rows of 10 logits
    assert meeting_cycles(one, 16, 1, 64, 0) == 2376 + 263 + read
    assert meeting_cycles(one, 16, 3, 64, 0) == 3 * (2376 + 263) + read
    assert meeting_cycles(clipped, 16, 1, 64, 0) == 2 * (2376 + 263) + read
    assert meeting_cycles(clipped, 16, 3, 64, 0) == 4 * (2376 + 263) + read
    two = persistent_options((784, 512, 64, 10), "float32", "uint8", False)
    assert meeting_cycles(two, 16, 1, 64, 1) == 2 * (2376 + 263) + 2 * 16 * 64 * 4 / L2_BYTES_A_CYCLE


def test_the_estimate_of_graphs_is_that_of_auto_without_memory():
    options = persistent_options((784, 512, 10), "float32", "uint8", False)
    # ten kernels, each with its start and four accesses to the L2 cache; five products of tiles of 32 by 32
    start = 10 * (1.3 + 4 * 263 / 1980)
    tiles = 784 + 512 + -(-25 * 16 // 132) * 16 + 16 + 10  # inner dimensions, times rounds of tiles
    products = 32 * 32 * tiles / (128 * 0.7 * 1980)
    assert graph_microseconds(options, 16, 132) == pytest.approx(start + products)
    double = persistent_options((784, 512, 10), "float64", "float64", False)
    assert graph_microseconds(double, 16, 132) == pytest.approx(start + 2 * products)


def test_the_report_says_how_each_network_runs(capsys):
    latency_model.show_grids(["784-512-10", "784-128-10", "784-512-512-10"], "uint8")
    lines = {tuple(line.split()[:2]): line for line in capsys.readouterr().out.splitlines()[2:]}
    for each in latency_model.on_grids(["784-512-10", "784-128-10", "784-512-512-10"], "uint8"):
        line = lines[each["net"], str(each["rows"])]
        assert f"  {each['runs']}" in line
        if "tiling" in each:
            assert f"{each['grid']:.1f}" in line
            assert each["exchange"] < each["grid"]
    assert lines["784-512-10", "16"].endswith("cluster of 16")
    assert lines["784-512-10", "64"].endswith("grid")
    assert lines["784-128-10", "16"].endswith("cluster of 8")
    assert lines["784-512-512-10", "128"].partition(":")[0].endswith("graphs")
    assert "need 379744 bytes of shared memory" in lines["784-512-512-10", "32"]


def test_the_instructions_of_a_step_on_a_grid_are_counted():
    pytest.importorskip("cuda.bindings.nvrtc", reason="NVRTC is not installed")
    options = latency_model.options_of((784, 512, 10))
    tiling = fastest_grid(options, 16, SHARED_BYTES, MULTIPROCESSORS)
    phases = latency_model.persistent_phases(options, tiling)
    assert [phase.wait for phase in phases] == ["block barrier"] * 8
    meeting, reading = (phases[number] for number in (3, 4))
    assert [phase.meets for phase in phases] == [phase is meeting for phase in phases]
    pieces = tiling.blocks * 16 * 10 * 4 / 16  # shares of all blocks for 16 rows of 10 logits
    rounds = [warp["ld.global.cg.v4.u32"] for warp in reading.warps]
    assert sum(rounds) == sum(len(range(first, int(pieces), tiling.threads)) for first in range(0, tiling.threads, 32))
    barrier = phases[1].latency
    assert (meeting.latency, reading.latency) == (barrier + 2376, barrier + 263)
    assert reading.busiest[0] == "L2 cache"
    assert reading.busiest[1] == pytest.approx(sum(rounds) * 32 * 16 / L2_BYTES_A_CYCLE)
    # they wait for the same, and the one counts what the other estimates
    ratio = latency_model.microseconds(phases, clock=1.5) / expected_microseconds(options, tiling)
    assert 0.7 < ratio < 1.4
    clipped = latency_model.options_of((784, 512, 10), by_norm=True)
    tiling = fastest_grid(clipped, 16, SHARED_BYTES, MULTIPROCESSORS)
    assert sum(phase.meets for phase in latency_model.persistent_phases(clipped, tiling)) == 2


COMPILED = [
    ((784, 512, 10), 16, "float32", "uint8", False), ((784, 512, 10), 16, "float32", "uint8", True),
    ((784, 512, 10), 32, "float32", "float32", True), ((784, 2048, 10), 16, "float32", "uint8", True),
    ((784, 512, 64, 10), 32, "float32", "uint8", False), ((784, 512, 64, 10), 32, "float32", "uint8", True),
    ((784, 512, 512, 10), 16, "float32", "uint8", False), ((784, 512, 10), 16, "float64", "float64", True),
]  # fmt: skip


@pytest.mark.parametrize("case", COMPILED, ids=case_name)
def test_the_kernel_compiles_without_spills(case):
    pytest.importorskip("cuda.bindings.nvrtc", reason="NVRTC is not installed")
    sizes, rows, *kind = case
    options, everything = persistent_options(sizes, *kind), case[-1]
    tiling = fastest_grid(options, rows, SHARED_BYTES, MULTIPROCESSORS)
    assert isinstance(tiling, Tiling), tiling
    source = persistent_source.persistent_source(options, tiling, 16, clipped=everything)
    resources = compile_for("sm_90", source)
    assert resources.spilled == 0
    assert resources.registers * tiling.threads <= 65536
    assert "__cluster_dims__" not in source
