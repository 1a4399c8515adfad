"""Read the nodes of layers: products with constant matrices, biases, and parts of activations; see `interpretation`."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlp.checks import quoted
from mlp.io.onnx_files.nodes import MAX_STEPS, Node, array_of, operands_of, row_of
from mlp.io.onnx_files.operators import OPERATORS, PROBE, compute
from mlp.io.onnx_files.table_readers import scale_inputs
from mlp.io.onnx_files.values import Constant, Layer, MissingFlags, Numbers, Refusal, Signal, Table, Value, is_plain


def gemm(node: Node, inputs: list[Value]) -> Value:
    source, weight, *rest = operands_of(inputs, 2, 3)
    if node.attributes.get("transA", 0):
        raise Refusal("transA=1 is not supported")
    signal = _layer(node, source, weight, transposed=bool(node.attributes.get("transB", 0)))
    layer = signal.layer
    alpha, beta = node.attributes.get("alpha", 1.0), node.attributes.get("beta", 1.0)
    if alpha != 1:
        with np.errstate(all="ignore"):  # weights that are not finite are refused later
            layer = replace(layer, W=(layer.W * alpha).astype(layer.W.dtype))
    if rest:
        row = row_of(rest[0], layer.width)
        with np.errstate(all="ignore"):
            row = row if beta == 1 else (row * beta).astype(row.dtype)
        layer = replace(layer, b=np.broadcast_to(row, (layer.width,)))
    return Signal(layer, PROBE, (), node.name)


def matmul(node: Node, inputs: list[Value]) -> Value:
    source, weight = operands_of(inputs, 2, 2)
    return _layer(node, source, weight, transposed=False)


def _layer(node: Node, source: Value, weight: Value, *, transposed: bool) -> Signal:
    if not isinstance(weight, Constant) or not isinstance(source, Table | Signal):
        raise Refusal("a product must be that of a layer's inputs with a constant matrix")
    W = weight.array
    if W.ndim != 2 or 0 in W.shape:
        raise Refusal(f"its matrix has shape {quoted(list(W.shape))}; it must be (inputs, outputs)")
    if weight.source in node.weights:
        raise Refusal("it shares its weights with another layer, which is not supported")
    node.weights.add(weight.source)
    W = W.T if transposed else W
    if isinstance(source, Table):
        numbers = [part for part in source.parts if isinstance(part, Numbers)]
        if not all(part.flat and not part.whole and part.dtype != "string" for part in numbers):
            raise Refusal("its inputs are not rows of numbers; flatten them before the first layer")
        if source.width is None and len(source.parts) == 1:
            [part] = source.parts
            if isinstance(part, Numbers) and len(part.names) == 1:
                source = Table((replace(part, widths=(len(W),)),))
        n_in = source.width
    else:
        n_in = source.layer.width
    if n_in != len(W):
        number = "an unknown number of" if n_in is None else n_in
        raise Refusal(f"its matrix has {len(W)} rows, but there are {number} inputs")
    return Signal(Layer(source, W, None, node.name), PROBE, (), node.name)


def elementwise(node: Node, inputs: list[Value]) -> Value:
    """Any of `OPERATORS`."""
    fewest, most, _ = OPERATORS[node.operator]
    operands = operands_of(inputs, fewest, most)
    if any(isinstance(operand, Table | MissingFlags) for operand in operands):
        return scale_inputs(node.operator, operands)
    if all(isinstance(operand, Constant) for operand in operands):
        arrays = [array_of(operand) for operand in operands]
        if math.prod(_broadcast(arrays)) > max(array.size for array in arrays):
            raise Refusal("the shapes of its constants do not match")
        return Constant(compute(node.operator, arrays, node.attributes), node.output)
    return _on_signals(node, operands)


def _on_signals(node: Node, operands: list[Value]) -> Value:
    """A part of an activation, a bias, or a scaling of the outputs."""
    signals = [operand for operand in operands if isinstance(operand, Signal)]
    constants = [operand for operand in operands if isinstance(operand, Constant)]
    if len(signals) + len(constants) < len(operands):
        raise Refusal("it does not work on the outputs of a layer")
    layer = signals[0].layer
    if any(signal.layer is not layer for signal in signals):
        raise Refusal("it combines the outputs of two layers; a multilayer perceptron has no skip connections")
    if any(signal.softmax for signal in signals):
        raise Refusal("it works on the output of a softmax, which must be the end of the network")
    arithmetic = node.operator in ("Add", "Sub", "Mul", "Div")
    if len(signals) == 1 and arithmetic and (operands[0] is signals[0] or node.operator in ("Add", "Mul")):
        [signal], [constant] = signals, constants
        row = row_of(constant, layer.width)
        if node.operator == "Add" and layer.b is None and signal.steps == () and is_plain(signal, PROBE):
            return Signal(replace(layer, b=np.broadcast_to(row, (layer.width,))), PROBE, (), node.name)
        few = signal.steps is not None and len(signal.steps) <= MAX_STEPS
        steps = (*(signal.steps or ()), (node.operator, row)) if few else None
    else:
        steps = None
    scalars = [value for operand in operands if (value := _function_values(operand)) is not None]
    values = compute(node.operator, scalars, node.attributes) if len(scalars) == len(operands) else None
    if values is None and steps is None:
        raise Refusal("it uses different constants for the outputs of a layer, which no activation here does")
    return Signal(layer, values, steps, node.name)


def _broadcast(arrays: list[NDArray[Any]]) -> tuple[int, ...]:
    try:
        return np.broadcast_shapes(*(array.shape for array in arrays))
    except ValueError:
        raise Refusal("the shapes of its constants do not match") from None


def _function_values(operand: Value) -> NDArray[Any] | None:
    """The values of an operand at `PROBE`, or a number; None if they differ between the outputs of a layer."""
    if isinstance(operand, Signal):
        return operand.values
    flat = array_of(operand).reshape(-1)
    if not flat.size or (flat.size > 1 and not (flat == flat[0]).all()):
        return None
    return np.asarray(flat[0] if flat.dtype.kind in "b" else np.float64(flat[0]))
