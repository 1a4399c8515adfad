"""What the Numba backend compiles for a training; the bits are the same with an empty and with a warm cache."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal

pytest.importorskip("numba")

import numba
from test_epoch_kernel import NUMBA, make

from backends.formulas import Rule
from backends.numba_backend.epoch_kernel import epoch_kernel
from backends.numba_backend.subroutine import subroutine
from backends.plan import Control

ROOT = Path(__file__).parent.parent

TRAIN = """
import hashlib
import sys
from pathlib import Path

import numpy as np

import mlp
from backends.numba_backend.kernel_cache import cache_dir

def train(optimizer=mlp.SGD(0.1), **options):
    net = mlp.MLP([70, 33, 4], activation="relu", backend="numba", dtype="float32", seed=1, **options)
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(100, 70)).astype(np.float32), rng.integers(0, 4, 100)
    net.fit(X, y, epochs=2, batch_size=16, optimizer=optimizer)
    print(hashlib.sha256(b"".join(w.tobytes() for w in net.weights)).hexdigest())

def compiled():
    names = (path.name.split("-")[0].split(".py")[0] for path in cache_dir().glob("*.nbc"))
    print(*sorted(name.replace(".locals.", ".") for name in names))

"""


def run(program, cache):
    result = subprocess.run(
        [sys.executable, "-c", TRAIN + program], env=os.environ | {"MLP_CACHE_DIR": str(cache)}, cwd=ROOT,
        text=True, capture_output=True, timeout=300,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines(), result.stderr


def test_a_plan_compiles_what_it_needs_and_trains_to_the_same_bits_from_the_cache(tmp_path):
    (bits, first), message = run("train(); compiled()", tmp_path)
    assert message.count("compiling Numba kernels") == 1
    assert first.split() == ["_activation.loop", "_derivative.loop", "_losses.losses", "epoch_kernel.epoch"]
    # a second process loads these, and compiles one more part for dropout
    (cold, second), _ = run("train(dropout=0.5); compiled()", tmp_path)
    assert second.split() == sorted([*first.split(), "dropout.drop"])
    (warm, same, third), message = run("train(dropout=0.5); train(); compiled()", tmp_path)
    assert (warm, same, third, message) == (cold, bits, second, "")
    assert warm != same


def test_a_scaling_layer_and_its_rates_compile_what_they_need_once_for_all_values(tmp_path):
    one = "train(mlp.SGD(0.1, scaling_rate_factor=6.0, weight_rate_factor=0.5), scaling_layer=True); compiled()"
    other = "train(mlp.SGD(0.1, scaling_rate_factor=2.0, bias_rate_factor=0.1), scaling_layer=True); compiled()"
    (cold, first), message = run(one, tmp_path)
    assert message.count("compiling Numba kernels") == 1
    assert first.split() == [
        "_activation.loop", "_derivative.loop", "_losses.losses", "_rule.no_state", "epoch_kernel.epoch",
        "scale_gradient.scale", "scale_inputs.scale", "update_factors.update",
    ]  # fmt: skip
    (warm, same), message = run(one, tmp_path)
    assert (warm, same, message) == (cold, first, "")
    (changed, still_same), message = run(other, tmp_path)
    assert (still_same, message) == (first, "")
    assert changed != cold


def test_a_trainer_gets_the_parts_that_each_of_its_epochs_needs():
    case = make([20, 33, 4], rule=Rule("momentum", {"momentum": 0.9}), n=40)
    changes = [{}, {"l1": 0.01}, {"clip_value": 1e-3}, {}, {"clip_norm": 0.1}, {"l2": np.full(3, 0.1)}, {"l1": 0.1}]
    plans = [replace(case.plan, epoch=epoch, **change) for epoch, change in enumerate(changes)]
    params, state = case.params.copy(), case.state.copy()
    trainer = NUMBA.trainer(case.plan.network, case.plan.rule, case.X, case.target, None, params, state, 16)
    losses = [result.losses for result in trainer.epochs(plans)]
    trainer.read_back()
    expected = replace(case)
    for plan, loss in zip(plans, losses, strict=True):
        found, _, p, s = replace(expected, plan=plan).train(control=Control())
        assert_array_equal(loss, found)
        expected = replace(expected, params=p, state=s)
    assert_array_equal(params, expected.params)
    assert_array_equal(state, expected.state)


def test_a_subroutine_is_compiled_once_for_all_constants_except_those_it_names():
    def add(x, y):
        return x + y

    plain, by_x = subroutine(add), subroutine(add, constants=["x"])

    @numba.njit  # not from the cache
    def call(n):
        return plain(1, 2) + plain(n, 2) + by_x(3, 4) + by_x(3, n) + by_x(5, 6)

    assert call(10) == 3 + 12 + 7 + 13 + 11
    assert len(plain.overloads) == 1
    assert len(by_x.overloads) == 2


def test_the_kernel_refuses_arrays_of_another_type():
    run_epoch = epoch_kernel(np.dtype("float32"))
    sizes, doubles, reals = np.zeros((1, 9), np.int64), np.zeros((1, 9)), np.zeros((1, 9), np.float32)
    integers, no_bytes = np.zeros(9, np.int32), np.zeros((0, 0), np.uint8)
    arguments = [
        sizes, sizes, sizes, doubles, sizes, reals, sizes, sizes, doubles, integers, sizes, doubles,
        reals, no_bytes, 1.0, sizes, sizes, reals, reals, 0, 0, 1.0, 1.0, 1.0, 0, 0, reals, doubles,
        0.0, 0.0, 0.0, sizes,
    ]  # fmt: skip
    for position, given in enumerate(arguments):
        if isinstance(given, np.ndarray):
            wrong = [*arguments[:position], given.astype(np.int16), *arguments[position + 1 :]]
            with pytest.raises(TypeError, match="needs an array of"):
                run_epoch(0, 1, *wrong, 0, 0, True)
