"""`kernel_source`: the CUDA C++ text of all kernels for one network, rule and kind of data.

The files in ``kernels`` contain templates.  What is generated here are the formulas, and one instance of each template
that a step needs.  Sizes are arguments, so networks that differ in their sizes alone share a compiled module.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from backends.cupy_backend.formula_translator import CudaTranslator
from backends.formulas import ACTIVATIONS, Activation, OutputLoss, UpdateRule
from backends.plan import NetworkPlan

THREADS = 256
"""Threads of a block of every kernel."""

WORDS = (
    "next_batch", "batch", "end_batch", "failed", "finite", "halt", "seed", "epoch", "batches_before", "row_offset",
)  # fmt: skip
"""Entries of `EpochTables.words`; the kernels have constants of these names."""

TYPES = {np.dtype(np.float32): "float", np.dtype(np.float64): "double", np.dtype(np.uint8): "unsigned char"}
_FOLDER = Path(__file__).parent / "kernels"


@dataclass(frozen=True)
class KernelOptions:
    """What decides the text of the kernels.

    Attributes
    ----------
    network : NetworkPlan
    rule : UpdateRule
    dtype : dtype
        Of the parameters.
    X_dtype : dtype
        That, or uint8.
    class_numbers, weighted : bool
        Whether targets are class numbers, and whether the rows have weights.
    penalized, by_norm : bool
        Whether there are penalties on the weights, and whether the gradient is clipped by its norm.
    """

    network: NetworkPlan
    rule: UpdateRule
    dtype: np.dtype[Any]
    X_dtype: np.dtype[Any]
    class_numbers: bool
    weighted: bool = False
    penalized: bool = False
    by_norm: bool = False

    @property
    def rounded(self) -> bool:
        """Whether operands of the products are separate arrays in bfloat16."""
        return self.network.precision == "bf16"

    @property
    def lanes(self) -> int:
        """Threads that share a row of the outputs: a power of two, 32 at most."""
        return min(32, 1 << (self.network.layout.sizes[-1] - 1).bit_length())

    def separate_input(self, layer: int) -> bool:
        """Whether the input of a layer is another array than what its predecessor saves for the backward pass."""
        activation = self.network.activations[layer - 1]
        return self.rounded or activation.saves == "z" or bool(self.network.dropout[layer])


def activate_name(options: KernelOptions, layer: int) -> str:
    """Name of the kernel that makes the input of `layer` from the product of the layer before."""
    return f"activate_{_combination(options, layer, forward=True)}"


def activate_backward_name(options: KernelOptions, layer: int) -> str:
    """Name of the kernel that makes the gradient of the logits before `layer` from that of its input."""
    return f"activate_backward_{_combination(options, layer, forward=False)}"


def _combination(options: KernelOptions, layer: int, forward: bool) -> int:
    """Layers with the same activation and settings share a kernel: number of the first such layer."""
    network = options.network

    def settings(number: int) -> tuple[Any, ...]:
        activation = network.activations[number - 1]
        return activation, bool(network.dropout[number]), forward and options.separate_input(number)

    return next(number for number in range(1, layer + 1) if settings(number) == settings(layer))


@functools.cache
def text_of(name: str) -> str:
    """The text of a file of the folder ``kernels``."""
    return (_FOLDER / name).read_text(encoding="utf-8")


@functools.lru_cache(maxsize=64)
def kernel_source(options: KernelOptions) -> str:
    """The text of one module.

    Raises
    ------
    TranslationError
        If a user-defined function cannot be translated.
    """
    return "\n".join([definitions(options), *_kernels(options), *epoch_kernels(options)])


def definitions(options: KernelOptions) -> str:
    """What kernels use: constants, templates, and the formulas of the network and the rule."""
    translator = CudaTranslator()
    structures = [
        _activation(translator, activation, f"Activation{number}")
        for number, activation in enumerate(options.network.activations[:-1], start=1)
    ]
    structures.append(_activation(translator, ACTIVATIONS["identity"], "Identity"))
    structures.append(_loss(translator, options.network.kind))
    structures.append(_rule(translator, options.rule))
    formulas = f"namespace formula {{\n{translator.text()}}}  // namespace formula\n"
    files = [text_of(name) for name in ("elementary.cuh", "random.cuh", "step.cuh")]
    constants = f"const int THREADS = {THREADS};\nenum {{ {', '.join(WORDS).upper()} }};  // entries of words\n"
    return "\n".join([constants, *files, formulas, *structures])


def _activation(translator: CudaTranslator, row: Activation, name: str) -> str:
    forward = translator.add(row.forward)
    backward = f"formula::{translator.add(row.backward)}<T>(dy, s)" if row.backward else "T(0)"
    return (
        f"struct {name} {{  // {row.name}\n"
        f"    static const bool SAVES_Z = {_flag(row.saves == 'z')};\n"
        f"    template <class T> static DEVICE T forward(T z) {{ return formula::{forward}<T>(z); }}\n"
        f"    template <class T> static DEVICE T backward(T dy, T s) {{ return {backward}; }}\n"
        "};\n"
    )


def _loss(translator: CudaTranslator, kind: OutputLoss) -> str:
    """`rows`: calls ``write(k, value, slope)`` for each entry of this lane, from the logits z(k) and targets t(k)."""
    output, formula = kind.output, kind.fused or kind.loss.formula
    assert formula is not None
    loss = translator.add(formula, rowwise=kind.fused is not None and kind.rowwise)
    level = ", level<T>(k)" if kind.loss.levels else ""
    value_and_slope = "T value, slope;"
    if kind.fused is not None and kind.rowwise:
        before = f"const auto result = formula::{loss}<T>(row, z, t);"
        body = "write(k, result.first(k), result.second(k));"
    elif kind.fused is not None:
        before, body = "", f"{value_and_slope} formula::{loss}<T>(z(k), t(k), value, slope); write(k, value, slope);"
    elif kind.rowwise:
        assert output.backward is not None
        forward, backward = translator.add(output.forward, True), translator.add(output.backward, True)
        before = (
            f"const auto y = formula::{forward}<T>(row, z);\n"
            f"        const auto dy = [=](int k) -> T {{ {value_and_slope} "
            f"formula::{loss}<T>(y(k), t(k){level}, value, slope); return slope; }};\n"
            f"        const auto dz = formula::{backward}<T>(row, dy, y);"
        )
        body = f"{value_and_slope} formula::{loss}<T>(y(k), t(k){level}, value, slope); write(k, value, dz(k));"
    else:
        assert output.backward is not None
        forward, backward = translator.add(output.forward), translator.add(output.backward)
        saved = "z(k)" if output.saves == "z" else "y"
        before = ""
        body = (
            f"const T y = formula::{forward}<T>(z(k)); {value_and_slope} "
            f"formula::{loss}<T>(y, t(k){level}, value, slope); "
            f"write(k, value, formula::{backward}<T>(slope, {saved}));"
        )
    return (
        f"struct Loss {{  // {kind.name}\n"
        f"{_levels(kind.loss.levels)}"
        "    template <class T, class Lanes, class Z, class Y, class Write>\n"
        "    static DEVICE void rows(Lanes row, Z z, Y t, Write write) {\n"
        f"        {before}\n"
        f"        for (int k = row.lane; k < row.n; k += row.lanes()) {{ {body} }}\n"
        "    }\n};\n"
    )


def _levels(levels: tuple[float, ...]) -> str:
    """`level`: the level of the quantile that output k estimates."""
    if not levels:
        return ""
    if len(levels) == 1:
        return f"    template <class T> static DEVICE T level(int k) {{ return T({levels[0]!r}); }}\n"
    values = ", ".join(map(repr, levels))
    return (
        "    template <class T> static DEVICE T level(int k) {\n"
        f"        static constexpr double levels[] = {{{values}}};\n        return T(levels[k]);\n    }}\n"
    )


def _rule(translator: CudaTranslator, row: UpdateRule) -> str:
    states = len(row.state)
    scalars = n_scalars(row)
    takes = ["p", "g", *(f"states[{i}]" for i in range(states)), *(f"scalars[{i}]" for i in range(scalars))]
    gives = ["p", *(f"states[{i}]" for i in range(states))]
    return (
        f"struct Rule {{  // {row.name}\n    static const int STATES = {states}, SCALARS = {scalars};\n"
        "    template <class T> static DEVICE void apply(T& p, T g, T* states, const T* scalars) {\n"
        f"        formula::{translator.add(row.formula)}<T>({', '.join(takes + gives)});\n    }}\n}};\n"
    )


def n_scalars(row: UpdateRule) -> int:
    """Number of scalars that a rule's formula takes."""
    return row.formula.__code__.co_argcount - 2 - len(row.state)


def _flag(value: bool) -> str:
    return "true" if value else "false"


def _kernels(options: KernelOptions) -> list[str]:
    network = options.network
    real = TYPES[options.dtype]
    operand = "unsigned short" if options.rounded else real
    source = TYPES[options.X_dtype]
    target = "long long" if options.class_numbers else real
    dropout_arguments = "int layer, long long threshold, REAL dropout_scale"
    dropout = "step::Dropout<REAL>{layer, (unsigned int)threshold, dropout_scale}"
    gradient_arguments = "REAL* gradient, const long long* sources, int n_weights, int n, double l1, REAL clip_value"
    gradient = "step::Gradient<REAL>{gradient, sources, n_weights, n, l1, clip_value}"
    rounded, penalized = _flag(options.rounded), _flag(options.penalized)
    kernels = {}

    def add(name: str, arguments: str, call: str) -> None:
        text = f'extern "C" __global__ void {name}({arguments}) {{\n    {call};\n}}\n'
        kernels[name] = text.replace("REAL", real).replace("OPERAND", operand)

    add(
        "gather",
        f"long long* words, const long long* order, const {source}* X, long long X_stride, REAL input_scale, "
        f"const REAL* factors, int batch_size, int rows, int n, int stride, {dropout_arguments}, OPERAND* x, "
        "REAL* unscaled",
        f"step::gather_rows<REAL, {source}, OPERAND, {_flag(network.layout.scaling_layer)}, "
        f"{_flag(network.dropout[0] > 0)}>("
        f"words, order, X, X_stride, input_scale, factors, batch_size, rows, n, stride, {dropout}, x, unscaled)",
    )
    for layer in range(1, network.layout.n_layers):
        dropped = _flag(network.dropout[layer] > 0)
        add(
            activate_name(options, layer),
            "const long long* words, REAL* saved, const REAL* bias, int rows, int n, int stride, "
            f"{dropout_arguments}, OPERAND* input",
            f"step::activate_rows<REAL, OPERAND, Activation{layer}, {_flag(options.separate_input(layer))}, {dropped}>("
            f"words, saved, bias, rows, n, stride, {dropout}, input)",
        )
        add(
            activate_backward_name(options, layer),
            "const long long* words, REAL* delta, const REAL* saved, int rows, int n, int stride, "
            f"{dropout_arguments}, OPERAND* operand",
            f"step::activate_backward_rows<REAL, OPERAND, Activation{layer}, {rounded}, {dropped}>("
            f"words, delta, saved, rows, n, stride, {dropout}, operand)",
        )
    if network.layout.scaling_layer and network.dropout[0]:
        add(
            "drop_rows",
            f"const long long* words, REAL* delta, int rows, int n, int stride, {dropout_arguments}",
            "step::activate_backward_rows<REAL, REAL, Identity, false, true>("
            f"words, delta, delta, rows, n, stride, {dropout}, nullptr)",
        )
    add(
        "loss",
        f"long long* words, const long long* order, const {target}* target, const REAL* weight, "
        "const double* normalizers, int batch_size, int rows, int n, int stride, const REAL* product, "
        "const REAL* bias, REAL keep, REAL add, REAL delta_factor, REAL ceiling, REAL* delta, OPERAND* operand, "
        "double* block_losses",
        f"step::loss_rows<REAL, {target}, OPERAND, Loss, {options.lanes}, {_flag(options.weighted)}, {rounded}>(words, "
        "order, target, weight, normalizers, batch_size, rows, n, stride, product, bias, "
        "step::LossSettings<REAL>{keep, add, delta_factor, ceiling}, delta, operand, block_losses)",
    )
    add(
        "sum_columns",
        "const long long* sources, int columns, int rows_of_block, REAL* sums",
        "step::sum_columns<REAL>(sources, columns, rows_of_block, sums)",
    )
    if options.by_norm:
        add(
            "finish_gradient",
            f"const long long* words, {gradient_arguments}, const REAL* params, const double* l2, "
            "double* block_squares",
            f"step::finish_gradient<REAL, {penalized}>(words, {gradient}, params, l2, block_squares)",
        )
    add(
        "update",
        f"long long* words, {gradient_arguments}, const double* normalizers, const double* l2, "
        "const double* block_losses, const double* block_squares, double* block_sums, double* losses, "
        "int n_block_losses, double loss_factor, double clip_norm, const REAL* scalars, const int* segment_stops, "
        "int n_segments, REAL* params, REAL* state, OPERAND* operand",
        f"step::update_parameters<REAL, OPERAND, Rule, {penalized}, {_flag(options.by_norm)}, {rounded}>("
        f"words, {gradient}, step::UpdateSettings<REAL>{{normalizers, l2, block_losses, block_squares, block_sums, "
        "losses, n_block_losses, loss_factor, clip_norm, scalars, segment_stops, n_segments}, params, state, operand)",
    )
    if options.penalized:
        add(
            "sum_weights",
            "const long long* words, const REAL* params, int n_weights, double* block_sums",
            "step::sum_weights<REAL>(words, params, n_weights, block_sums)",
        )
    if options.rounded:
        add(
            "round_weights",
            "const REAL* params, int n_weights, OPERAND* operand",
            "step::round_weights<REAL>(params, n_weights, operand)",
        )
    return list(kernels.values())


def epoch_kernels(options: KernelOptions) -> list[str]:
    """The kernels that run once an epoch, however its steps run."""
    kernels = (
        'extern "C" __global__ void weigh_batches(const long long* order, const REAL* weight, long long n_rows, '
        "int batch_size, int first_batch, int last_batch, double* totals) {\n"
        "    step::weigh_batches<REAL>(order, weight, n_rows, batch_size, first_batch, last_batch, totals);\n}\n",
        'extern "C" __global__ void check_finite(long long* words, const REAL* params, int n) {\n'
        "    step::check_finite<REAL>(words, params, n);\n}\n",
    )
    return [text.replace("REAL", TYPES[options.dtype]) for text in kernels]
