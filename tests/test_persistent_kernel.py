"""The persistent kernel on the stand-in for a GPU: the steps of NumPy for every plan, and each wait is needed."""

from __future__ import annotations

import functools
import logging
import os
import re
import shutil
from dataclasses import replace
from itertools import zip_longest

import numpy as np
import pytest
from hypothesis import given, settings
from numpy.testing import assert_allclose, assert_array_equal
from test_backend_trainers import extended_cases
from test_gpu_kernels import all_kinds
from test_same_results import HIDDEN, PAIRS, RULES, Case, assert_close

import backends
from backends import formulas
from backends.cupy_backend import tilings
from backends.cupy_backend.kernel_source import KernelOptions
from backends.cupy_backend.persistent_source import persistent_source
from backends.cupy_backend.tilings import tiling_for
from backends.cupy_backend.tilings import tilings as all_tilings
from backends.plan import Control, EpochPlan, Layout, NetworkPlan
from backends.row_orders import Shuffle

SHARED_BYTES = 232448  # that a block can have on an H100 or H200

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="the stand-in needs g++")


@pytest.fixture
def gpu(stand_in_gpu):
    """The backend, with the persistent kernel."""
    xp = backends.get_backend("cupy")
    xp.execution = "persistent"
    return xp


def case_of(
    sizes=(9, 7, 3), n=22, batch=6, *, activation="tanh", kind="softmax+cross_entropy", rule=RULES[0],
    dropout=(0.0,), bytes_in=False, weighted=False, classes=True, seed=0, **fields,
):  # fmt: skip
    """A case of `test_same_results`, with its fields by name.

    `activation` may be one for each hidden layer.  The last of the dropout rates is that of all further layers.
    """
    rng, layout, kind = np.random.default_rng(seed), Layout(sizes), formulas.output_loss(kind)
    batches = -(-n // batch)
    fields.setdefault("order", rng.permutation(n))
    fields["l2"] = np.full(batches, fields.get("l2", 0.0))
    names = [activation] * (layout.n_layers - 1) if isinstance(activation, str) else activation
    activations = (*map(formulas.activation, names), kind.output)
    dropout = (*dropout, *[dropout[-1]] * layout.n_layers)[: layout.n_layers]
    network = NetworkPlan(layout, activations, kind, dropout, 1 / 255)
    plan = EpochPlan(network, rule, batch, learning_rates=rng.uniform(0.01, 0.1, batches), **fields)
    X = rng.integers(0, 256, (n, sizes[0]), np.uint8) if bytes_in else rng.normal(size=(n, sizes[0]))
    if kind.loss.name == "cross_entropy" and classes:
        target = rng.integers(0, sizes[-1], n)
    else:
        target = rng.dirichlet(np.ones(sizes[-1]), n) if sizes[-1] > 1 else rng.uniform(0, 1, (n, 1))
    params = rng.normal(size=layout.n_parameters) / np.sqrt(max(sizes))
    state = rng.uniform(0.1, 0.5, (len(rule.row.state), layout.n_parameters))
    return Case(plan, X, target, rng.integers(0, 3, n) / 2 if weighted else None, params, state)


def persistently(plan, *arguments):
    """`train_epoch` on the GPU; fails where the persistent kernel does not run the plan."""
    xp = backends.get_backend("cupy")
    trainer = xp.trainer(plan.network, plan.rule, *arguments, plan.batch_size)
    how = trainer.execution(plan)
    assert how.method.startswith("persistent kernel"), how
    (result,) = trainer.epochs([plan])
    trainer.read_back()
    return result


def assert_trains_like_numpy(gpu, case, dtype="float64", tolerance=1e-12):
    found, expected = case.run(gpu, dtype, persistently), case.run(backends.get_backend("numpy"), dtype)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.shape == theirs.shape
        assert_close(ours, theirs, tolerance)


# -- shapes -----------------------------------------------------------------------------------------------------

SHAPES = {
    "usual, bytes": ({"sizes": (784, 30, 10), "n": 40, "batch": 16, "bytes_in": True}, 8),
    "two groups of units": ({"sizes": (13, 40, 10), "n": 40, "batch": 16, "bytes_in": True}, 8),
    "one block": ({"sizes": (5, 3, 2)}, 1),
    "units that blocks do not divide": ({"sizes": (6, 13, 4)}, 4),
    "a block without units": ({"sizes": (6, 33, 4)}, 8),
    "one of each": ({"sizes": (1, 1, 1), "kind": "sigmoid+binary_cross_entropy", "batch": 1, "n": 5}, 1),
    "one output": ({"sizes": (17, 9, 1), "kind": "identity+mse"}, 4),
    "many outputs": ({"sizes": (10, 6, 70), "batch": 5}, 2),
    "one row": ({"sizes": (21, 12, 5), "batch": 1, "n": 7}, 4),
    "a batch larger than the data": ({"sizes": (8, 8, 3), "n": 11, "batch": 30}, 2),
    "more rows than threads": ({"sizes": (4, 3, 2), "n": 150, "batch": 70}, 1),
    "two hidden layers": ({"sizes": (784, 16, 16, 10), "n": 40, "batch": 16, "bytes_in": True}, 4),
    "a wide second layer": ({"sizes": (20, 19, 40, 6)}, 8),
    "16 entries of a product in a thread": ({"sizes": (4, 9, 70, 30, 3), "batch": 25, "n": 60}, 4),
    "wider layers from one to the next": ({"sizes": (4, 5, 9, 17, 34, 3)}, 2),
    "narrower ones": ({"sizes": (40, 17, 9, 5, 2, 1), "kind": "identity+mse"}, 8),
    "one of each, three hidden layers": (
        {"sizes": (1, 1, 1, 1, 1), "kind": "sigmoid+binary_cross_entropy", "batch": 1, "n": 5},
        1,
    ),
    "two hidden layers, many outputs": ({"sizes": (10, 6, 12, 70), "batch": 5}, 2),
    "two hidden layers, more rows than threads": ({"sizes": (4, 3, 4, 2), "n": 480, "batch": 230}, 1),
    "two hidden layers, a block without units": ({"sizes": (6, 33, 8, 4)}, 8),
}


@pytest.mark.parametrize("name", SHAPES)
def test_every_shape_gives_the_steps_of_numpy(gpu, name):
    shape, blocks = SHAPES[name]
    case = case_of(**shape, rule=RULES[7], l2=1e-3)
    state = gpu.zeros(case.state.shape, "float64")
    arrays = gpu.asarray(case.X), gpu.asarray(case.target), None, gpu.asarray(case.params), state
    trainer = gpu.trainer(case.plan.network, case.plan.rule, *arrays, case.plan.batch_size)
    assert f"on {blocks} block" in trainer.execution(case.plan).method
    assert_trains_like_numpy(gpu, case)


@pytest.mark.parametrize("bytes_in", [True, False])
@pytest.mark.parametrize("buffers", [2, 1, 0])
def test_rows_may_be_in_shared_memory_or_not(gpu, monkeypatch, buffers, bytes_in):
    from backends.cupy_backend import persistent

    def with_buffers(options, rows, limit, _):
        for size in range(1000, limit, 200):
            tiling = tilings.tiling_for(options, rows, size)
            if not isinstance(tiling, str) and tiling.x_buffers == buffers:
                return tiling
        return "no such tiling"

    monkeypatch.setattr(persistent, "tiling_for", with_buffers)
    case = case_of((37, 9, 3), 44, 10, bytes_in=bytes_in, dropout=(0.3, 0.0))
    assert_trains_like_numpy(gpu, case)


def test_rows_of_a_wider_array_are_not_mixed_up(gpu):
    import cupy

    for dtype in ("uint8", "float64"):
        whole = np.random.default_rng(0).integers(0, 256, (22, 24)).astype(dtype)
        whole[:, 9:] = 255 if dtype == "uint8" else np.nan
        case = replace(case_of((9, 7, 3)), X=whole[:, :9])
        device = cupy.asarray(whole)[:, :9]
        found = case.run(gpu, train=lambda plan, X, *rest, device=device: persistently(plan, device, *rest))
        for ours, theirs in zip(found, case.run(backends.get_backend("numpy")), strict=True):
            assert_close(ours, theirs, 1e-12)


# -- formulas and fields ----------------------------------------------------------------------------------------

THOROUGH = os.environ.get("MLP_HYPOTHESIS") == "thorough"
KINDS = all_kinds() if THOROUGH else [all_kinds()[0], *(formulas.pair(*names) for names in PAIRS)]
FORMULAS = [
    (activation or "relu", kind or KINDS[0], rule or RULES[0])
    for activation, kind, rule in zip_longest(HIDDEN, KINDS, RULES)
]
"""Every activation, loss and rule at least once; every pair of an output and a loss in a thorough run."""


@pytest.mark.parametrize(
    ("activation", "kind", "rule"), FORMULAS, ids=[f"{a}-{k.name}-{r.name}" for a, k, r in FORMULAS]
)
def test_every_formula_gives_the_steps_of_numpy(gpu, activation, kind, rule):
    assert_trains_like_numpy(gpu, case_of(activation=activation, kind=kind, rule=rule, classes=False, n=6))


FIELDS = {
    "weights of rows, some zero": {"weighted": True, "l2": 0.1},
    "a batch without weight": {"batch_weight": np.array([6.0, 0, 7, 3]), "rule": RULES[1]},
    "penalties": {"l2": 0.1, "l1": 0.01, "weight_decay": 0.1},
    "clipped by value": {"clip_value": 0.02, "l2": 0.1},
    "clipped by the norm": {"clip_norm": 0.05, "clip_value": 0.1, "weighted": True, "rule": RULES[7]},
    "dropout": {"dropout": (0.3, 0.4), "activation": "gelu", "row_offset": 5, "batches_before": 3, "seed": 2},
    "dropout, bytes": {"dropout": (0.3, 0.4), "sizes": (30, 25, 4), "bytes_in": True},
    "part of an epoch": {"first_batch": 1, "n_batches": 2, "rule": RULES[7], "first_step": 9},
    "a shuffle": {"order": Shuffle(3, 1, 22)},
    "label smoothing": {"label_smoothing": 0.2},
    "label smoothing, two values": {"label_smoothing": 0.2, "kind": "sigmoid+binary_cross_entropy"},
}


def tiling_by_owners(options, rows, limit, most_blocks=8):
    """A tiling by which blocks add up shares for each other, however few these are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tilings, "EXCHANGE_BYTES", -(2**40))
        return tiling_for(options, rows, limit, most_blocks)


def tiling_in_parts(options, rows, limit, _=8, *, part_rows=2, tilings_of=all_tilings):
    """A tiling by which batches are worked off in parts of so many rows."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tilings, "PART_ROWS", part_rows)
        return next(each for each in tilings_of(options, rows, limit) if each.part_rows == part_rows)


def tiling_in_parts_by_owners(options, rows, limit, _=8):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tilings, "EXCHANGE_BYTES", -(2**40))
        return tiling_in_parts(options, rows, limit)


NETWORKS = {
    "one hidden layer": ({}, tiling_for),
    "one, in parts": ({"sizes": (9, 11, 3)}, tiling_in_parts),
    "two": ({"sizes": (9, 11, 5, 3)}, tiling_for),
    "three": ({"sizes": (9, 11, 5, 6, 3)}, tiling_by_owners),
    "three, in parts": ({"sizes": (9, 11, 5, 6, 3)}, tiling_in_parts_by_owners),
}


@pytest.fixture(params=NETWORKS)
def network(request, monkeypatch):
    """Fields of a case for each kind of network, which is divided as that kind is."""
    from backends.cupy_backend import persistent

    fields, tiling = NETWORKS[request.param]
    monkeypatch.setattr(persistent, "tiling_for", tiling)
    return fields


@pytest.mark.parametrize("name", FIELDS)
def test_every_field_of_a_plan_is_used(gpu, network, name):
    assert_trains_like_numpy(gpu, case_of(**FIELDS[name] | network))


@pytest.mark.parametrize("first", range(0, len(HIDDEN), 3))
def test_each_layer_has_its_own_activation_and_dropout(gpu, first):
    names = (HIDDEN * 2)[first : first + 3]
    case = case_of((12, 9, 10, 11, 4), activation=names, dropout=(0.1, 0.2, 0.5, 0.3), seed=first, n=12)
    assert_trains_like_numpy(gpu, case)


@pytest.mark.parametrize("rows", range(1, 8))
def test_blocks_own_shares_of_a_last_batch_of_any_size(gpu, monkeypatch, rows):
    from backends.cupy_backend import persistent

    monkeypatch.setattr(persistent, "tiling_for", tiling_by_owners)
    assert_trains_like_numpy(gpu, case_of((5, 9, 3, 2), n=14 + rows, batch=7))


@pytest.mark.parametrize(("rows", "part_rows"), [(7, 4), (8, 4), (9, 4), (70, 32)])
@pytest.mark.parametrize("buffers", [2, 1, 0])
def test_batches_may_be_worked_off_in_parts(gpu, monkeypatch, rows, part_rows, buffers):
    from backends.cupy_backend import persistent

    def with_buffers(*arguments):
        return (each for each in all_tilings(*arguments) if each.x_buffers == buffers)

    chosen = functools.partial(tiling_in_parts, part_rows=part_rows, tilings_of=with_buffers)
    monkeypatch.setattr(persistent, "tiling_for", chosen)
    # the last batch has two rows: parts of it have none
    case = case_of((20, 12, 4), n=2 * rows + 2, batch=rows, rule=RULES[7], bytes_in=True, weighted=True, l2=1e-3)
    assert_trains_like_numpy(gpu, case)


@settings(max_examples=max(12, settings.default.max_examples // 5))  # each compiles a kernel
@given(case=extended_cases(scaling_layers=False, hidden_layers=(1, 3)))
def test_any_plan_gives_the_steps_of_numpy(case):
    import stand_in_gpu

    stand_in, undo = stand_in_gpu.install()
    try:
        gpu = backends.get_backend("cupy")
        gpu.execution = "persistent"
        assert_trains_like_numpy(gpu, replace(case, plan=replace(case.plan, rate_factors=())))
        stand_in.check()
    finally:
        undo()


def on_tensor_cores(options, rows, limit, _=8, *, part_rows=tilings.PART_ROWS, buffers=2):
    """The first tiling with tensor cores, in parts of so many rows if the batch has more."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tilings, "PART_ROWS", part_rows)
        every = all_tilings(options, rows, limit)
        return next(each for each in every if each.tensor and each.x_buffers == buffers)


TENSOR_SHAPES = {
    "usual": {"sizes": (784, 30, 10), "n": 40, "batch": 16},
    "inputs that do not fill up a tile, of rows in wider arrays": {"sizes": (37, 9, 3), "n": 22, "batch": 9},
    "one of each": {"sizes": (1, 1, 1), "n": 5, "batch": 1, "kind": "sigmoid+binary_cross_entropy"},
    "two tiles of units": {"sizes": (50, 100, 4), "n": 40, "batch": 16},
    "three tiles of units": {"sizes": (50, 160, 4), "n": 40, "batch": 20},
    "two tiles of rows, and a last batch of one": {"sizes": (100, 12, 5), "n": 81, "batch": 20},
    "dropout": {"sizes": (45, 30, 4), "dropout": (0.3, 0.4), "n": 40, "batch": 10},
    "several hidden layers": {"sizes": (60, 40, 9, 3), "n": 40, "batch": 16, "clip_norm": 0.05, "l2": 1e-3},
    "clipping by the norm": {"sizes": (60, 40, 3), "n": 40, "batch": 16, "clip_norm": 0.05, "l2": 1e-3},
    "in parts": {"sizes": (60, 40, 3), "n": 150, "batch": 70, "clip_value": 0.05, "weighted": True},
    "in parts of other sizes": {"sizes": (60, 12, 9, 3), "n": 90, "batch": 40, "clip_norm": 0.05, "part_rows": 9},
    "one batch of X": {"sizes": (60, 40, 3), "n": 40, "batch": 16, "buffers": 1},
}


WITH_STATES = "inputs that do not fill up a tile, of rows in wider arrays", "several hidden layers", "in parts"


@pytest.mark.parametrize(
    ("name", "rule"),
    [*((name, RULES[0]) for name in TENSOR_SHAPES), *((name, RULES[7]) for name in WITH_STATES)],
    ids=lambda value: getattr(value, "name", value),
)
def test_tensor_cores_are_as_accurate_as_float32(gpu, monkeypatch, name, rule):
    from backends.cupy_backend import persistent

    fields = dict(TENSOR_SHAPES[name])
    how = {key: fields.pop(key) for key in ("part_rows", "buffers") if key in fields}
    case = case_of(**fields, bytes_in=True, activation="tanh", rule=rule)
    exact = case.run(backends.get_backend("numpy"), "float64")

    def error(tiling):
        monkeypatch.setattr(persistent, "tiling_for", tiling)
        found = case.run(gpu, "float32", persistently)
        assert np.isfinite(found[1]).all()
        return max(np.abs(a - b).max() / max(1e-30, np.abs(b).max()) for a, b in zip(found[:2], exact[:2], strict=True))

    def without(options, rows, limit, _):
        return next(each for each in all_tilings(options, rows, limit) if not each.tensor)

    plain, tensor = error(without), error(functools.partial(on_tensor_cores, **how))
    assert tensor <= max(2 * plain, 4e-7), (plain, tensor)


def test_without_one_of_the_three_products_it_would_not_be(gpu, monkeypatch):
    from backends.cupy_backend import persistent
    from backends.cupy_backend import persistent_source as module

    case = case_of((100, 40, 5), 40, 16, bytes_in=True)
    monkeypatch.setattr(persistent, "tiling_for", on_tensor_cores)
    exact = case.run(backends.get_backend("numpy"), "float64")[1]
    text_of = module.text_of
    errors = []
    try:
        for first in (2, 1, 0):
            changed = f"for (int p = {first}; p >= 0; --p)"
            monkeypatch.setattr(module, "text_of", lambda name, new=changed: text_of(name).replace(OF_PRODUCTS, new))
            module.persistent_source.cache_clear()
            backends.get_backend("cupy").execution = "persistent"
            errors.append(np.abs(case.run(gpu, "float32", persistently)[1] - exact).max())
    finally:
        module.persistent_source.cache_clear()
    assert text_of("persistent_tensor.cuh").count(OF_PRODUCTS) == 2
    assert 3 * errors[0] < errors[1] < errors[2] / 20, errors


OF_PRODUCTS = "for (int p = 2; p >= 0; --p)"


def with_sixteen_blocks(options, rows, limit, most_blocks):
    """The first tiling with as many blocks."""
    every = all_tilings(options, rows, limit, most_blocks)
    return next((each for each in every if each.blocks == 16), "no cluster has 16 blocks")


@pytest.mark.parametrize("sizes", [(9, 48, 3), (9, 47, 5, 3)])
def test_clusters_may_have_sixteen_blocks_where_the_gpu_has_them(gpu, stand_in_gpu, monkeypatch, caplog, sizes):
    from backends.cupy_backend import persistent

    caplog.set_level(logging.INFO, "mlp")
    monkeypatch.setattr(persistent, "tiling_for", with_sixteen_blocks)
    monkeypatch.setattr(persistent, "grid_tiling_for", lambda *_: "a grid is not asked for")
    case = case_of(sizes, dropout=(0.2, 0.5), clip_norm=0.5, l2=1e-2, weighted=True)
    assert "no cluster has 16 blocks" in trainer_of(gpu, case).execution(case.plan).reason
    assert "in clusters of 8 blocks, not of 16: cuFuncSetAttribute failed (CUresult 1)" in caplog.text
    stand_in_gpu.allow_clusters_of(16)
    stand_in_gpu.forget_backends()
    gpu = backends.get_backend("cupy")
    gpu.execution = "persistent"
    assert "on 16 blocks" in trainer_of(gpu, case).execution(case.plan).method
    assert_trains_like_numpy(gpu, case)


def test_a_kernel_must_ask_for_sixteen_blocks(gpu, stand_in_gpu, monkeypatch):
    from backends.cupy_backend import persistent

    stand_in_gpu.allow_clusters_of(16)
    monkeypatch.setattr(persistent, "tiling_for", with_sixteen_blocks)
    monkeypatch.setattr(persistent, "allow_large_clusters", lambda kernel: None)
    with pytest.raises(RuntimeError, match="CLUSTER_SIZE"):
        case_of((9, 48, 3)).run(gpu, train=persistently)


def test_float32_is_near_float64(gpu):
    for sizes in ((784, 30, 10), (784, 128, 64, 10)):
        case = case_of(sizes, 33, 16, bytes_in=True, activation="relu", rule=RULES[1])
        assert_trains_like_numpy(gpu, case, "float32", 2e-6)


# -- launches ---------------------------------------------------------------------------------------------------


def trainer_of(gpu, case):
    X, target, params, state = (gpu.asarray(each) for each in (case.X, case.target, case.params, case.state))
    weight = None if case.weight is None else gpu.asarray(case.weight)
    return gpu.trainer(case.plan.network, case.plan.rule, X, target, weight, params, state, case.plan.batch_size)


def in_launches_of(monkeypatch, batches):
    from backends.cupy_backend import persistent

    monkeypatch.setattr(persistent, "batches_of_launch", lambda tiling: batches)


def test_the_division_into_launches_does_not_matter(gpu, stand_in_gpu, monkeypatch, network):
    fields = {"sizes": (20, 12, 4), "dropout": (0.2, 0.5), "l2": 1e-2, "clip_norm": 0.5, "weighted": True}
    case = case_of(n=70, batch=8, rule=RULES[7], **fields | network)
    expected = case.run(gpu, train=persistently)
    assert_trains_like_numpy(gpu, case)
    for batches in (1, 2, 4, 5):
        stand_in_gpu.seed(batches)
        backends.get_backend("cupy").execution = "persistent"
        in_launches_of(monkeypatch, batches)
        for ours, theirs in zip(case.run(gpu, train=persistently), expected, strict=True):
            assert_array_equal(ours, theirs)


def test_a_batch_of_fewer_rows_has_the_bits_of_a_last_batch(gpu):
    case = case_of((20, 12, 4), 70, 32, rule=RULES[7])
    expected = case.run(gpu, train=persistently)
    trainer, plan = trainer_of(gpu, case), case.plan
    for first, last in ((0, 64), (64, 70)):
        batches = slice(first // 32, -(-last // 32))
        part = replace(
            plan, order=plan.order[first:last], learning_rates=plan.learning_rates[batches], l2=plan.l2[batches],
            first_step=first // 32,
        )  # fmt: skip
        trainer.epochs([part])
    for ours, theirs in zip(trainer.current(), expected[1:], strict=True):
        assert_array_equal(ours, theirs)


def test_a_stop_is_answered_between_launches(gpu, monkeypatch):
    class StopAfter(Control):
        times = 3

        @property
        def stop_requested(self):
            self.times -= 1
            return self.times < 0

    in_launches_of(monkeypatch, 3)
    case, control = case_of(n=60), StopAfter()
    trainer = trainer_of(gpu, case)
    (result,) = trainer.epochs([case.plan], control)
    assert len(result.losses) == control.batches_done == 6
    few = replace(case, plan=replace(case.plan, n_batches=6))
    _, params, _ = few.run(backends.get_backend("numpy"))
    assert_close(trainer.current()[0], params, 1e-12)


@pytest.mark.parametrize("launches", [1, 2, 9])
@pytest.mark.parametrize("halt", [True, False])
def test_training_halts_at_a_loss_that_is_not_finite(gpu, monkeypatch, network, halt, launches):
    in_launches_of(monkeypatch, launches)
    case = case_of(n=40, kind="identity+mse", halt=halt, **network)
    case.X[case.plan.order[20]] = np.nan
    trainer = trainer_of(gpu, case)
    (found,) = trainer.epochs([case.plan])
    params = case.params.copy()
    arguments = case.X, case.target, None, params, case.state.copy()
    expected = backends.get_backend("numpy").train_epoch(case.plan, *arguments)
    assert found.failed == expected.failed == 3
    assert found.finite == expected.finite == halt
    assert_allclose(found.losses, expected.losses, rtol=1e-12)
    assert_allclose(trainer.current()[0], params, rtol=0, atol=1e-12)
    trainer.roll_back()
    assert_array_equal(trainer.params.get(), case.params)


def test_the_execution_may_change_between_epochs(gpu):
    case = case_of((20, 12, 4), 70, 8, rule=RULES[7])
    plans = [replace(case.plan, first_step=9 * epoch, epoch=epoch) for epoch in range(4)]
    trainer, params, state = trainer_of(gpu, case), case.params.copy(), case.state.copy()
    reference = backends.get_backend("numpy")
    for plan, execution in zip(plans, ("persistent", "graphs", "persistent", "loop"), strict=True):
        gpu.execution = execution
        trainer.epochs([plan])
        reference.train_epoch(plan, case.X, case.target, None, params, state)
        for ours, theirs in zip(trainer.current(), (params, state), strict=True):
            assert_close(ours, theirs, 1e-11)


def test_rows_on_the_host_are_copied_in_windows(gpu, monkeypatch):
    from backends.cupy_backend import host_rows

    monkeypatch.setattr(host_rows, "WINDOW_BYTES", 5000)
    case = case_of((20, 12, 4), 200, 8, weighted=True)
    expected = case.run(gpu, train=persistently)

    def from_the_host(plan, X, *rest):
        gpu._device.free_bytes = lambda: 10_000
        rows = gpu.as_rows(case.X)
        assert isinstance(rows, host_rows.HostRows)
        return persistently(plan, rows, *rest)

    for ours, theirs in zip(case.run(gpu, train=from_the_host), expected, strict=True):
        assert_array_equal(ours, theirs)


def test_the_host_waits_once_an_epoch(gpu, stand_in_gpu):
    case = case_of(n=60)
    trainer = trainer_of(gpu, case)
    trainer.epochs([case.plan])
    stand_in_gpu.counters.reset()
    trainer.epochs([case.plan])
    counters = stand_in_gpu.counters
    assert (counters.synchronizations, counters.copies_to_host, counters.allocations, counters.graph_launches) == (
        1, 1, 0, 0,
    )  # fmt: skip
    assert counters.launches == 2  # of ten batches, and of the check that the parameters are finite


# -- what it does not run -----------------------------------------------------------------------------------------


def reason_and_result(gpu, case, caplog):
    caplog.set_level(logging.INFO, "mlp")
    trainer = trainer_of(gpu, case)
    how = trainer.execution(case.plan)
    assert how.method.startswith("CUDA graphs of ")
    assert_close(case.run(gpu)[1], case.run(backends.get_backend("numpy"))[1], 1e-11)
    assert f"training runs as {how.method}: {how.reason}" in caplog.text
    return how.reason


OBSTACLES = {
    "needs compute capability 9.0, and this GPU has 8.9": {},
    "has one learning rate": {"rate_factors": ((3, 9, 0.5),)},
    "no tiling: batches of 22 rows and the state of the update rule need [0-9]+ bytes of shared memory in each of 2 "
    "blocks, and a block can have 232448": {"sizes": (9, 7, 700), "batch": 22},
    "no tiling: 50 hidden units of 900 weights do not fit in the registers of each of 8 blocks; a step on a grid of "
    "100 blocks is estimated to take [0-9.]+ microseconds, which is not 1.3 times as fast as CUDA graphs": {
        "sizes": (900, 400, 2),
        "n": 128,
        "batch": 128,
    },
    "no tiling: each block computes the layers above the second, and a step of them takes some 122082 cycles for 2 "
    "rows, more than 40000": {"sizes": (9, 7, 500, 402, 2), "n": 2, "batch": 2},
}


@pytest.mark.parametrize("reason", OBSTACLES)
def test_graphs_take_the_rest_and_say_why(gpu, caplog, reason):
    if "8.9" in reason:
        gpu._device.compute_capability = 89
    assert re.search(reason, reason_and_result(gpu, case_of(**OBSTACLES[reason]), caplog))


def test_other_networks_run_as_graphs(gpu):
    hidden, kind = formulas.activation("relu"), formulas.output_loss("softmax+cross_entropy")
    for layout, others, reason in (
        (Layout((9, 3)), {}, "is for networks with a hidden layer, and this one has none"),
        (Layout((9, 7, 6, 3), scaling_layer=True), {}, "has no scaling layer"),
        (Layout((9, 7, 3)), {"precision": "tf32"}, "are in float32, not tf32"),
    ):
        rates = (0.0,) * layout.n_layers
        network = NetworkPlan(layout, (*[hidden] * (layout.n_layers - 1), kind.output), kind, rates, **others)
        case = case_of()
        plan = replace(case.plan, network=network)
        arrays = [gpu.asarray(each) for each in (case.X.astype("float32"), case.target)]
        params, state = gpu.zeros(layout.n_parameters, "float32"), gpu.zeros((0, layout.n_parameters), "float32")
        how = gpu.trainer(network, plan.rule, *arrays, None, params, state, 6).execution(plan)
        assert how.method.startswith("CUDA graphs of ")
        assert reason in how.reason


# -- waits --------------------------------------------------------------------------------------------------------

WAITS = r"\b(__syncthreads|__syncwarp|cluster_barrier|fence_mbarrier_init|mbarrier_wait|copy_async_wait)\("

STRUCTURES = "namespace persistent {", "struct Layers : Step {", "struct Launch : Layers {"

# several warps in a block, and lanes without an output
PLANTED, SEVERAL = (
    case_of(sizes, 44, 9, l2=1e-2, clip_norm=0.5, weighted=True, dropout=(0.2, 0.5), rule=RULES[1])
    for sizes in ((140, 8, 3), (140, 8, 5, 6, 3))
)
# the exchange of norms would keep a block from sending shares before others have read those of the step before, and a
# thread from fetching rows that others read
UNCLIPPED, SEVERAL_UNCLIPPED = (replace(case, plan=replace(case.plan, clip_norm=None)) for case in (PLANTED, SEVERAL))
HALTING, SEVERAL_HALTING = (
    replace(case, X=np.where(np.arange(44)[:, None] == case.plan.order[20], np.nan, case.X))
    for case in (PLANTED, SEVERAL)
)


def planted_options(case):
    plan, row = case.plan, case.plan.rule.row
    real = np.dtype(np.float64)
    return KernelOptions(plan.network, row, real, real, True, weighted=True, penalized=True, by_norm=True)


def tiling_with_one_buffer(options, rows, limit, _=8):
    """The tiling with the rows of X once in shared memory."""
    return tiling_with_buffers(1, options, rows, limit)


def tiling_with_buffers(count, options, rows, limit):
    choice = tiling_for(options, rows, limit).choice._replace(x_buffers=count)
    return next(tiling for tiling in all_tilings(options, rows, limit) if tiling.choice == choice)


def lines_of_waits(case, tiling):
    """Numbers of the lines of the module on which a thread waits, or makes something visible to others.

    Of several hidden layers, those that do not wait for the same with one; in a thorough run, nearly all.
    """
    options = planted_options(case)
    several, by_owners = case is SEVERAL, tiling is tiling_by_owners
    lines = persistent_source(options, tiling(options, 9, SHARED_BYTES), 16, False).splitlines()
    kernel, layers, launch = (lines.index(text) for text in STRUCTURES)
    found = []
    for number, line in enumerate(lines[kernel:], kernel + 1):
        of_layers, of_owners = layers < number < launch, "AT_MBARRIERS) + 3" in line
        if (
            not re.search(WAITS, line.partition("//")[0])
            or (of_owners and not by_owners)
            or (of_layers and not several)
        ):
            continue
        if of_layers or of_owners or not several or (THOROUGH and not by_owners):
            found.append(number)
    return found


def outcome(stand_in_gpu, monkeypatch, case, tiling, seed, line=0):
    """The bits of losses, parameters and state, or the error, without the wait on a line."""
    from backends.cupy_backend import persistent

    stand_in_gpu.seed(seed)
    stand_in_gpu.compile_with(f"-DWITHOUT_BARRIER={line}")
    backends.get_backend("cupy").execution = "persistent"
    with monkeypatch.context() as patch:
        patch.setattr(persistent, "tiling_for", tiling)
        try:
            return [array.tobytes() for array in case.run(backends.get_backend("cupy"), train=persistently)]
        except RuntimeError as error:
            return str(error)


SITUATIONS = (
    (PLANTED, tiling_for), (PLANTED, tiling_with_one_buffer), (HALTING, tiling_for), (SEVERAL, tiling_by_owners),
    (SEVERAL, tiling_for), (SEVERAL, tiling_with_one_buffer), (SEVERAL_HALTING, tiling_for),
    (UNCLIPPED, tiling_with_one_buffer),
)  # fmt: skip
WAITS_OF = {"one hidden layer": (0, 1, 2, 7), "several, by owners": (3,), "several": (4, 5, 6)}


@pytest.fixture(scope="module")
def complete_outcomes():
    """With all waits: for each situation, the same with each seed."""
    import stand_in_gpu

    stand_in, undo = stand_in_gpu.install()
    found = []
    try:
        with pytest.MonkeyPatch.context() as patch:
            for situation in SITUATIONS:
                outcomes = [outcome(stand_in, patch, *situation, seed) for seed in range(4)]
                assert isinstance(outcomes[0], list), outcomes[0]
                assert all(each == outcomes[0] for each in outcomes)
                found.append(outcomes[0])
    finally:
        undo()
    return found


@pytest.mark.parametrize(
    ("kind", "line"), [(kind, line) for kind in WAITS_OF for line in lines_of_waits(*SITUATIONS[WAITS_OF[kind][0]])]
)
def test_a_missing_wait_is_noticed(stand_in_gpu, monkeypatch, complete_outcomes, kind, line):
    for number in WAITS_OF[kind]:
        for seed in range(6):
            if outcome(stand_in_gpu, monkeypatch, *SITUATIONS[number], seed, line) != complete_outcomes[number]:
                return
    pytest.fail(f"nothing happens without the wait on line {line}")


def tiling_without_buffers(options, rows, limit, _=8):
    """The tiling with the rows of X in global memory."""
    return tiling_with_buffers(0, options, rows, limit)


ONE_SIDE = {
    "shares": ((UNCLIPPED, tiling_for), {"((part & 1) * BLOCKS + block) * SHARES": "block * SHARES"}),
    "shares of a hidden layer": (
        (SEVERAL_UNCLIPPED, tiling_for),
        {"((part & 1) * BLOCKS + block) * SHARES": "block * SHARES"},
    ),
    "masks of the second hidden layer": (SITUATIONS[4], {"((part & 1) * PART_ROWS + row) * ((": "row * (("}),
    "row numbers": ((PLANTED, tiling_without_buffers), {"(unsigned int)part % 3": "(unsigned int)part % 2"}),
    "rows": (SITUATIONS[0], {"(part & 1) * TALL": "0 * TALL"}),
    "weights": (SITUATIONS[0], {"side * PART_ROWS + row": "row"}),
    "masks": (SITUATIONS[0], {"((part & 1) * PART_ROWS + row) * OWN_GROUPS": "row * OWN_GROUPS"}),
    "scalars": (SITUATIONS[0], {"(batch & 1) * SCALARS": "0", "of_batch * SCALARS": "0"}),
}


@pytest.mark.parametrize("buffer", ONE_SIDE)
def test_each_further_side_of_a_buffer_is_needed(stand_in_gpu, monkeypatch, buffer):
    from backends.cupy_backend import persistent_source as module

    situation, changes = ONE_SIDE[buffer]
    expected = outcome(stand_in_gpu, monkeypatch, *situation, 0)
    assert isinstance(expected, list), expected

    def with_one_side(name, text_of=module.text_of):
        text = text_of(name)
        for old, new in changes.items():
            text = text.replace(old, new)
        return text

    files = {name for tensor in (False, True) for name in module.files_of_kernel(on_grid=False, tensor=tensor)}
    texts = [module.text_of(name) for name in files]
    assert all(any(old in text for text in texts) for old in changes)
    monkeypatch.setattr(module, "text_of", with_one_side)
    module.persistent_source.cache_clear()
    try:
        found = (outcome(stand_in_gpu, monkeypatch, *situation, seed) for seed in range(20))
        assert any(each != expected for each in found)
    finally:
        module.persistent_source.cache_clear()


def test_shares_for_their_owners_and_sums_need_one_side(stand_in_gpu, monkeypatch):
    outcomes = [outcome(stand_in_gpu, monkeypatch, SEVERAL_UNCLIPPED, tiling_by_owners, seed) for seed in range(12)]
    assert isinstance(outcomes[0], list), outcomes[0]
    assert all(each == outcomes[0] for each in outcomes)
