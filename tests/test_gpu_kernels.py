"""The CUDA source: formulas translated to C++, and all kernels compiled for each architecture, without a GPU."""

from __future__ import annotations

import itertools
import os
import re
from dataclasses import replace

import numpy as np
import pytest
from nvrtc import compile_for

import mlp
from backends import formulas
from backends.cupy_backend.formula_translator import CudaTranslator
from backends.cupy_backend.kernel_source import KernelOptions, kernel_source
from backends.cupy_backend.persistent_source import persistent_source
from backends.cupy_backend.tilings import expected_microseconds, tiling_for, tilings
from backends.errors import ConfigurationError
from backends.formulas.translator import TranslationError
from backends.plan import Layout, NetworkPlan

ARCHITECTURES = ("sm_75", "sm_80", "sm_86", "sm_89", "sm_90", "sm_100", "sm_120")
HIDDEN = [row for row in formulas.ACTIVATIONS.values() if row.role == "any" and row.backward is not None]


def options(
    hidden=("relu",), kind="softmax+cross_entropy", rule="sgd", *, width=10, dropout=0.0, scaling=False, **others
):
    kind = formulas.output_loss(kind)
    activations = (*map(formulas.activation, hidden), kind.output)
    layout = Layout((20, *(16 for _ in hidden), width), scaling_layer=scaling)
    network = NetworkPlan(
        layout, activations, kind, (dropout,) * len(activations), precision=others.pop("precision", "float32")
    )
    settings = {"dtype": "float32", "X_dtype": "float32", "class_numbers": kind.loss.name == "cross_entropy"} | others
    settings |= {name: np.dtype(settings[name]) for name in ("dtype", "X_dtype")}
    return KernelOptions(network, formulas.RULES[rule], **settings)


def all_kinds():
    kinds = []
    for output in formulas.ACTIVATIONS.values():
        for loss in formulas.LOSSES.values():
            try:
                kinds.append(formulas.pair(output, loss))
            except ConfigurationError:
                continue
    bounded = formulas.pair("sigmoid", "binary_cross_entropy")
    bounded = replace(bounded, loss=replace(bounded.loss, bounded=True))
    return [bounded, *(kind for kind in kinds if kind.output.backward is not None)]


def compiled(architecture, source):
    pytest.importorskip("cuda.bindings.nvrtc", reason="NVRTC is not installed: pip install 'mlp-xp[gpu-check]'")
    resources = compile_for(architecture, source)
    assert resources.spilled == 0
    assert resources.registers <= 128  # so that two blocks of 256 threads fit
    assert 0 < resources.shared <= 48 << 10
    return resources


# -- compilation --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_kernels_compile_for_every_architecture_without_spills(architecture, dtype):
    every = options(
        [row.name for row in HIDDEN], rule="adam", dropout=0.2, scaling=True, dtype=dtype, X_dtype="uint8",
        weighted=True, penalized=True, by_norm=True,
    )  # fmt: skip
    resources = compiled(architecture, kernel_source(every))
    assert resources.kernels >= 2 * len(HIDDEN)  # a forward and a backward kernel for each


@pytest.mark.parametrize("kind", all_kinds(), ids=lambda kind: kind.name + "-bounded" * kind.loss.bounded)
def test_every_loss_compiles(kind):
    compiled("sm_90", kernel_source(options(kind=kind, width=3, class_numbers=False)))


@pytest.mark.parametrize("rule", formulas.RULES)
def test_every_rule_compiles(rule):
    compiled("sm_90", kernel_source(options(rule=rule)))


@pytest.mark.parametrize("width", [1, 2, 10, 33, 1000])
def test_any_number_of_outputs_compiles(width):
    kind = "softmax+cross_entropy" if width > 1 else "sigmoid+binary_cross_entropy"
    compiled("sm_90", kernel_source(options(kind=kind, width=width)))


def test_operands_in_bfloat16_compile():
    assert "unsigned short* x" in kernel_source(options(precision="bf16"))
    compiled("sm_80", kernel_source(options(precision="bf16", dropout=0.1)))


def test_compiler_errors_are_reported():
    pytest.importorskip("cuda.bindings.nvrtc", reason="NVRTC is not installed")
    with pytest.raises(RuntimeError, match="expected"):
        compile_for("sm_90", "__global__ void broken( {}")


def test_a_spill_is_noticed():
    pytest.importorskip("cuda.bindings.nvrtc", reason="NVRTC is not installed")
    body = "".join(f"float a{i} = x[{i}] * x[{i + 1}];" for i in range(300))
    total = " + ".join(f"a{i}" for i in range(300))
    source = (
        'extern "C" __global__ void __launch_bounds__(1024, 2) many(float* x) { '
        f"{body} __syncthreads(); x[threadIdx.x] = {total}; __syncthreads(); x[1] = {total.replace('+', '*')}; }}"
    )
    assert compile_for("sm_90", source).spilled > 0


# -- the persistent kernel ----------------------------------------------------------------------------------

THOROUGH = os.environ.get("MLP_HYPOTHESIS") == "thorough"
CLUSTER_ARCHITECTURES = ("sm_90", "sm_100")
SHARED_BYTES = 232448  # that a block of these can have

EVERYTHING = {
    "rule": "adam", "dropout": (0.2, 0.3), "hidden": ("gelu",), "weighted": True, "penalized": True, "by_norm": True,
}  # fmt: skip
PERSISTENT = {
    # sizes, rows of a batch, types of parameters and X, all options: the choice, and threads
    ((784, 30, 10), 16, "float32", "uint8", False): (8, 1, 7, 2, 16, True, 224),
    ((784, 30, 10), 32, "float32", "uint8", False): (8, 1, 13, 2, 32, True, 128),
    ((784, 30, 10), 128, "float32", "uint8", False): (8, 1, 13, 2, 32, True, 128),
    ((784, 30, 10), 128, "float32", "float32", False): (8, 4, 1, 0, 128, False, 224),
    ((784, 128, 10), 16, "float32", "uint8", False): (8, 2, 5, 2, 16, True, 320),
    ((784, 128, 10), 32, "float32", "float32", False): (8, 8, 1, 1, 32, False, 448),
    ((784, 128, 10), 128, "float32", "uint8", False): (8, 2, 7, 2, 32, True, 224),
    ((784, 256, 10), 32, "float32", "float32", False): (8, 8, 4, 1, 32, False, 256),
    ((784, 30, 10), 32, "float32", "uint8", True): (8, 1, 13, 2, 32, True, 128),
    ((784, 128, 10), 16, "float32", "uint8", True): (8, 2, 5, 2, 16, True, 320),
    ((784, 30, 10), 16, "float64", "uint8", True): (8, 4, 1, 2, 16, False, 224),
    ((784, 64, 10), 32, "float64", "uint8", False): (8, 4, 2, 2, 32, False, 256),
    ((13, 7, 3), 5, "float64", "float64", True): (2, 4, 1, 2, 5, False, 32),
    ((784, 16, 16, 10), 16, "float32", "uint8", False): (8, 1, 13, 2, 16, True, 192),
    ((784, 16, 16, 10), 32, "float32", "uint8", False): (8, 1, 5, 2, 32, True, 320),
    ((784, 16, 16, 10), 32, "float32", "float32", True): (4, 4, 1, 1, 32, False, 224),
    ((784, 128, 64, 10), 16, "float32", "uint8", False): (8, 2, 5, 2, 16, True, 320),
    ((784, 128, 64, 10), 32, "float32", "uint8", False): (8, 2, 5, 2, 32, True, 320),
    ((784, 128, 64, 10), 32, "float32", "float32", True): (8, 8, 1, 0, 32, False, 448),
    ((784, 256, 128, 10), 32, "float32", "uint8", False): (8, 4, 7, 2, 32, True, 224),
    ((784, 64, 32, 32, 10), 16, "float64", "uint8", True): (8, 4, 2, 0, 16, False, 256),
    ((64, 64, 32, 10), 32, "float32", "uint8", False): (8, 1, 1, 2, 32, True, 192),
    ((784, 128, 10), 512, "float32", "uint8", False): (8, 2, 7, 2, 32, True, 224),
    ((784, 128, 10), 512, "float32", "uint8", True): (8, 2, 7, 2, 32, True, 224),
    ((784, 30, 10), 1024, "float32", "float32", True): (8, 4, 1, 1, 32, False, 224),
    ((784, 30, 10), 512, "float64", "uint8", False): (8, 4, 1, 2, 32, False, 224),
}
COMPILED = [
    case
    for case in PERSISTENT
    if THOROUGH
    or (len(case[0]) == 3 and (case[1] == 16 or case[1:4] == (128, "float32", "float32")))
    or (len(case[0]) > 3 and (case[0][1] == 16 or case[-1]))
]
"""With few of the tilings the compiler needs half of a minute, with all of them one and a half."""


def persistent_options(sizes, dtype, X_dtype, everything, kind="softmax+cross_entropy"):
    settings = {"hidden": ("relu",), "rule": "sgd", "dropout": (0.0, 0.0)} | (EVERYTHING if everything else {})
    of_input, of_hidden = settings.pop("dropout")
    hidden = settings.pop("hidden") * (len(sizes) - 2)
    dropout = of_input, *(of_hidden for _ in hidden)
    found = options(hidden, kind=kind, dtype=dtype, X_dtype=X_dtype, **settings)
    return replace(found, network=replace(found.network, layout=Layout(sizes), dropout=dropout))


def case_name(case):
    sizes, rows, dtype, X_dtype, everything = case
    return f"{'-'.join(map(str, sizes))}, {rows} rows, {dtype}, {X_dtype}{', everything' * everything}"


@pytest.mark.parametrize("case", PERSISTENT, ids=case_name)
def test_tilings_are_those_of_the_table(case):
    sizes, rows, *kind = case
    tiling = tiling_for(persistent_options(sizes, *kind), rows, SHARED_BYTES)
    assert (*tiling.choice, tiling.threads) == PERSISTENT[case]


@pytest.mark.parametrize("case", COMPILED, ids=case_name)
def test_the_persistent_kernel_compiles_without_spills(case):
    pytest.importorskip("cuda.bindings.nvrtc", reason="NVRTC is not installed: pip install 'mlp-xp[gpu-check]'")
    sizes, rows, *kind = case
    chosen = persistent_options(sizes, *kind)
    tiling = tiling_for(chosen, rows, SHARED_BYTES)
    source = persistent_source(chosen, tiling, 16, clipped=case[-1])
    for architecture in CLUSTER_ARCHITECTURES if THOROUGH or case == COMPILED[0] else CLUSTER_ARCHITECTURES[:1]:
        resources = compile_for(architecture, source)
        assert resources.spilled == 0
        assert resources.registers * tiling.threads <= 65536
        assert resources.shared == 0  # all of it is dynamic


@pytest.mark.parametrize("sizes", [(784, 30, 10), (784, 128, 10)])
def test_every_tiling_compiles_without_spills(sizes):
    pytest.importorskip("cuda.bindings.nvrtc", reason="NVRTC is not installed")
    chosen = persistent_options(sizes, "float32", "uint8", False)
    every = [tiling for tiling in tilings(chosen, 16, SHARED_BYTES) if tiling.x_buffers == 2]
    assert len(every) >= 9
    for tiling in every if THOROUGH else every[-1:]:
        resources = compile_for("sm_90", persistent_source(chosen, tiling, 16, clipped=False))
        assert resources.spilled == 0
        assert resources.registers * tiling.threads <= 65536


def inputs_of_group(tiling):
    """Inputs for which a group of threads has weights: on tensor cores, eight lanes have those of the same four."""
    return tiling.group_threads * tiling.quads_of_thread * 4 // (8 if tiling.tensor else 1)


@pytest.mark.parametrize("everything", [False, True])
@pytest.mark.parametrize("sizes", [(784, 30, 10), (784, 128, 10), (784, 16, 16, 10)])
def test_the_kernel_without_tensor_cores_compiles_without_spills_for_bytes(sizes, everything):
    pytest.importorskip("cuda.bindings.nvrtc", reason="NVRTC is not installed")
    chosen = persistent_options(sizes, "float32", "uint8", everything)
    plain = (each for each in tilings(chosen, 16, SHARED_BYTES) if not each.tensor)
    tiling = min(plain, key=lambda each: expected_microseconds(chosen, each))
    assert compile_for("sm_90", persistent_source(chosen, tiling, 16, clipped=everything)).spilled == 0


def test_sixteen_blocks_are_used_where_that_is_clearly_faster():
    def blocks(sizes, most_blocks, rows=32):
        tiling = tiling_for(persistent_options(sizes, "float32", "uint8", False), rows, SHARED_BYTES, most_blocks)
        return tiling if isinstance(tiling, str) else tiling.blocks

    assert (blocks((784, 30, 10), 16), blocks((784, 256, 10), 16), blocks((784, 256, 10), 8)) == (8, 16, 8)
    assert "registers of each of 8 blocks" in blocks((784, 512, 10), 8)
    assert blocks((784, 512, 10), 16) == 16
    assert "registers of each of 16 blocks" in blocks((784, 4000, 10), 16)


def test_large_batches_are_worked_off_in_parts():
    for rows, expected in ((16, 1), (32, 1), (64, 2), (1000, 32), (1024, 32)):
        tiling = tiling_for(persistent_options((784, 128, 10), "float32", "uint8", False), rows, SHARED_BYTES)
        assert (tiling.parts, tiling.tensor) == (expected, True)
    floats = persistent_options((784, 128, 10), "float32", "float32", False)
    assert [tiling_for(floats, rows, SHARED_BYTES).parts for rows in (128, 512)] == [1, 16]


def test_the_chosen_tiling_is_the_one_that_is_estimated_to_be_fastest():
    """Or the first that is estimated to be about as fast: more threads wait less."""
    others = 0
    for sizes, rows, *kind in (*PERSISTENT, ((64, 128, 100), 32, "float32", "uint8", False)):
        chosen = persistent_options(sizes, *kind)
        every = list(tilings(chosen, rows, SHARED_BYTES))
        assert len(set(every)) == len(every) > 0
        estimates = [expected_microseconds(chosen, tiling) for tiling in every]
        first = next(n for n, estimate in enumerate(estimates) if estimate <= 1.1 * min(estimates))
        assert tiling_for(chosen, rows, SHARED_BYTES) == every[first]
        others += first > 0
        for tiling in every:
            assert tiling.shared_bytes <= SHARED_BYTES
            assert (tiling.blocks - 1) * tiling.units < sizes[1] <= tiling.blocks * tiling.units
            assert inputs_of_group(tiling) >= sizes[0]
    assert others


def test_rows_in_shared_memory_are_estimated_to_be_faster():
    chosen = persistent_options((784, 30, 10), "float32", "uint8", False)
    by_buffers = {t.x_buffers: t for t in tilings(chosen, 16, SHARED_BYTES) if t.choice[:3] == (8, 4, 1)}
    estimates = [expected_microseconds(chosen, by_buffers[count]) for count in (2, 1, 0)]
    assert estimates == sorted(set(estimates))
    bytes_in, floats = (persistent_options((784, 30, 10), "float32", X, False) for X in ("uint8", "float32"))
    tiling = by_buffers[2]
    reading = [expected_microseconds(options, tiling) - tiling.microseconds for options in (bytes_in, floats)]
    # a quarter of the bytes; but each becomes a number, which takes twice as long as to read it
    assert reading[0] / reading[1] == pytest.approx(3 / 4)


@pytest.mark.parametrize("kind", all_kinds() if THOROUGH else all_kinds()[::20], ids=lambda kind: kind.name)
def test_the_persistent_kernel_compiles_for_other_losses(kind):
    chosen = replace(persistent_options((9, 7, 3), "float32", "float32", False, kind), class_numbers=False)
    pytest.importorskip("cuda.bindings.nvrtc", reason="NVRTC is not installed")
    assert compile_for("sm_90", persistent_source(chosen, tiling_for(chosen, 8, SHARED_BYTES), 8, True)).spilled == 0


def test_tilings_fit_or_say_why_not():
    """For any shape: no array overlaps another, every unit and input has a thread, and nothing exceeds the limits."""
    seen = set()
    others = [(), (5,), (64,), (300, 20), (40, 50, 6)]
    shapes = itertools.product((1, 7, 64, 784, 3000, 20000), (1, 5, 30, 128, 500, 4000), others, (1, 10, 300))
    for n_in, n_hidden, between, n_out in shapes:
        for rows in (1, 16, 128, 5000):
            for dtype, X_dtype in (("float32", "uint8"), ("float32", "float32"), ("float64", "float64")):
                chosen = persistent_options((n_in, n_hidden, *between, n_out), dtype, X_dtype, n_out == 10)
                tiling = tiling_for(chosen, rows, SHARED_BYTES)
                if isinstance(tiling, str):
                    reason = re.search(
                        r"fit in the (registers)|need \d{6,} (bytes) of|takes some \d{5,} (cycles) for", tiling
                    )
                    assert reason, tiling
                    seen.add(reason[reason.lastindex])
                    continue
                assert tiling.shared_bytes <= SHARED_BYTES
                assert tiling.threads <= 448
                assert tiling.blocks in (1, 2, 4, 8)
                assert tiling.blocks * tiling.units >= n_hidden
                assert tiling.blocks * tiling.owned >= tiling.part_rows * (*between, n_out)[0]
                units = tiling.groups * tiling.units_of_thread * (8 if tiling.tensor else 1)
                assert units == tiling.padded_units >= tiling.units
                assert tiling.groups * tiling.group_threads <= tiling.threads
                assert between or tiling.groups * tiling.group_threads == tiling.threads
                assert tiling.group_threads % 32 == tiling.threads % 32 == 0
                assert inputs_of_group(tiling) >= n_in
                assert (tiling.parts - 1) * tiling.part_rows < rows <= tiling.parts * tiling.part_rows
                places = [place for _, place in tiling.places]
                assert places == sorted(places)
                assert all(place % 16 == 0 for place in places)
                seen |= {tiling.x_buffers, (len(between), tiling.by_owners)}
    exchanges = {(n, by_owners) for n in (1, 2, 3) for by_owners in (False, True)} | {(0, False)}
    assert seen == {0, 1, 2, "registers", "bytes", "cycles"} | exchanges


# -- translation --------------------------------------------------------------------------------------------


def translated(function, rowwise=False):
    translator = CudaTranslator()
    translator.add(function, rowwise)
    return translator.text()


def test_names_swapped_in_one_assignment_keep_their_old_values():
    def swapped(z):
        a, b = z, 2 * z
        a, b = b, a
        return a - b

    text = translated(swapped)
    assert "a_0 = z_" in text
    assert "a_2 = b_1" in text
    assert "b_3 = a_0" in text
    assert "(a_2 - b_3)" in text


def test_a_name_of_a_row_can_be_used_again():
    def shifted(z):
        z = z - formulas.row_max(z)
        z = z * z
        return z / formulas.row_sum(z)

    text = translated(shifted, rowwise=True)
    assert "z_1 = [=](int k) -> T { return (z_(k) - row_max_0); }" in text
    assert "return (z_1(k) * z_1(k))" in text


def test_user_functions_are_translated_with_their_constants():
    scale = 1.5
    bent = mlp.custom_activation(
        "bent",
        lambda xp, z: scale * (xp.sqrt(z**2 + 1) - 1) + np.pi * z,
        lambda xp, z: scale * z / xp.sqrt(z**2 + 1) + np.pi,
    )
    text = translated(bent.forward)
    assert "T(1.5) * (np::sqrt<T>(((z_ * z_) + T(1))) - T(1))" in text
    assert f"T({np.pi!r})" in text
    assert "(dy_ * " in translated(bent.backward)


def helper_of_a_formula(z):
    return 2 * z


def test_functions_that_a_function_calls_are_translated_before_it():
    text = translated(lambda xp, z: helper_of_a_formula(z) + xp.exp(z))
    assert text.index("T helper_of_a_formula(") < text.index("helper_of_a_formula<T>(z_)")


def with_a_loop(xp, z):
    for _ in range(3):
        z = xp.tanh(z)
    return z


def with_a_method(xp, z):
    return z.clip(0, 1)


def with_an_unknown_function(xp, z):
    return xp.arctan(z)


def with_a_branch(xp, z):
    return z if z > 0 else 0


def with_infinity(xp, z):
    return z * float(np.inf)


def of_the_row(xp, z):
    return z - xp.row_max(z)


@pytest.mark.parametrize(
    ("function", "named"),
    [
        (with_a_loop, "for _ in range(3)"),
        (with_a_method, "z.clip(0, 1)"),
        (with_an_unknown_function, "xp.arctan"),
        (with_a_branch, "if z > 0"),
        (with_infinity, "the constant inf"),
        (of_the_row, "row_max"),
        (np.tanh, "tanh is not a Python function"),
        (eval("lambda xp, z: z"), "source"),  # there is no file
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_what_cannot_be_translated_is_named(function, named):
    with pytest.raises(TranslationError) as error:
        translated(function)
    assert named in str(error.value)
