"""Read the nodes of constants, and those that change the shape or type of values but not their numbers.

See `interpretation`.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mlp.checks import quoted
from mlp.io.onnx_files.nodes import MAX_NODES, Node, array_of, operands_of
from mlp.io.onnx_files.operators import are_equal
from mlp.io.onnx_files.output_readers import named
from mlp.io.onnx_files.table_readers import side_by_side, single
from mlp.io.onnx_files.tensors import TYPES, read_tensor, type_name
from mlp.io.onnx_files.values import (
    BatchSize,
    Constant,
    Label,
    Numbers,
    Refusal,
    Shape,
    Signal,
    Stacked,
    Table,
    TwoClasses,
    Value,
)

_ROWS = -2
"""Stands for the number of rows in a shape that the graph computes."""


def constant(node: Node, inputs: list[Value]) -> Value:
    [(name, value)] = list(node.attributes.items())[:1] or [("", None)]
    if name == "value":
        array = read_tensor(value, node.file)
    elif name in ("value_float", "value_floats"):
        array = np.array(value, dtype=np.float32)
    elif name in ("value_int", "value_ints"):
        array = np.array(value, dtype=np.int64)
    else:
        raise Refusal(f"a constant given as {quoted(name)} is not supported")
    return Constant(array, node.output)


def same(node: Node, inputs: list[Value]) -> Value:
    return operands_of(inputs, 1, 8)[0]


def dropout(node: Node, inputs: list[Value]) -> Value:
    """Identity, except in training mode, which is the third input."""
    operands_of(inputs, 1, 3)
    if len(inputs) > 2 and array_of(inputs[2]).any():
        raise Refusal("it is in training mode; export the module after module.eval()")
    return inputs[0]


def cast(node: Node, inputs: list[Value]) -> Value:
    [value] = operands_of(inputs, 1, 1)
    dtype = TYPES.get(node.attributes.get("to", 0))
    if dtype is None or dtype == "string":
        raise Refusal(f"a conversion to type {type_name(node.attributes.get('to', 0))} is not supported")
    kind = np.dtype(dtype).kind
    with np.errstate(all="ignore"):
        if isinstance(value, Constant) and value.array.dtype != object:
            return Constant(value.array.astype(dtype), value.source)
        if isinstance(value, Signal) and value.values is not None:
            values = value.values.astype(np.float64 if kind == "f" else dtype)
            return replace(value, values=values, steps=value.steps if kind == "f" else None)
    if isinstance(value, Table) and kind == "f":
        return value
    if isinstance(value, Table) and kind in "iu":
        part = single(value)
        if not part.steps and part.dtype != "string":
            return Table((replace(part, whole=np.dtype(part.dtype).kind == "f"),))
    if isinstance(value, Label):
        return value
    raise Refusal(f"a conversion to {dtype} is not supported here")


def flatten(node: Node, inputs: list[Value]) -> Value:
    [value] = operands_of(inputs, 1, 1)
    if node.attributes.get("axis", 1) != 1:
        raise Refusal("axis must be 1, so that rows stay rows")
    return _flattened(value)


def reshape(node: Node, inputs: list[Value]) -> Value:
    value, shape = operands_of(inputs, 2, 2)
    if array_of(shape).dtype.kind != "i":
        raise Refusal("its shape is not given in integers")
    target = array_of(shape).ravel()[:8].tolist()
    if node.attributes.get("allowzero", 0) and 0 in target:
        raise Refusal("a dimension of size 0 is not supported")
    if target and target[0] == _ROWS:
        target[0] = 0
    if isinstance(value, Constant):
        try:
            return replace(value, array=value.array.reshape(target))
        except (ValueError, MemoryError):
            raise Refusal(f"a constant of {value.array.size} values cannot have shape {quoted(target)}") from None
    width = value.width if isinstance(value, Table) else value.layer.width if isinstance(value, Signal) else 1
    if isinstance(value, Label) or (isinstance(value, Signal) and width == 1 and target == [-1]):
        return value
    if isinstance(value, Signal) and target == [-1, 1]:
        return Stacked(value)
    rows_stay = len(target) == 2 and (
        target in ([0, -1], [0, width], [-1, width]) or (target[0] > 0 and target[1] == width)
    )
    if not rows_stay:
        raise Refusal(f"the shape {quoted(target)} does not keep rows as rows")
    return _flattened(value)


def squeeze(node: Node, inputs: list[Value]) -> Value:
    value = operands_of(inputs, 1, 2)[0]
    if isinstance(value, Label | BatchSize) or (isinstance(value, Signal) and value.layer.width == 1):
        return value
    raise Refusal("it is supported for labels and a single output only")


def transpose(node: Node, inputs: list[Value]) -> Value:
    [value] = operands_of(inputs, 1, 1)
    if not isinstance(value, Constant) or value.array.ndim != 2 or list(node.attributes.get("perm", [1, 0])) != [1, 0]:
        raise Refusal("it is supported for constant matrices only")
    return replace(value, array=value.array.T)


def shape(node: Node, inputs: list[Value]) -> Value:
    operands_of(inputs, 1, 1)
    if node.attributes.get("start", 0) == 0 and node.attributes.get("end") == 1:
        return BatchSize()
    return Shape()


def concat(node: Node, inputs: list[Value]) -> Value:
    values = operands_of(inputs, 1, MAX_NODES)
    axis = node.attributes.get("axis")
    if isinstance(values[0], BatchSize) and axis == 0:
        rest = [array_of(value).ravel()[:8] for value in values[1:9]]
        return Constant(np.concatenate([np.array([_ROWS]), *rest]), node.output)
    if axis not in (1, -1):
        raise Refusal(f"axis must be 1, not {quoted(axis)}")
    tables = [value for value in values if isinstance(value, Table)]
    if len(tables) == len(values):
        return side_by_side(tables)
    signals = [value for value in values if isinstance(value, Signal) and value.values is not None]
    if len(values) == len(signals) == 2 and signals[0].layer is signals[1].layer and signals[0].layer.width == 1:
        complement, probability = (np.asarray(signal.values, dtype=np.float64) for signal in signals)
        if are_equal(complement, 1 - probability):
            return TwoClasses(signals[1])
    raise Refusal("it may join inputs, or the probabilities 1 - y and y of two classes, and nothing else")


def gather(node: Node, inputs: list[Value]) -> Value:
    source, position = operands_of(inputs, 2, 2)
    if isinstance(source, Shape) and isinstance(position, Constant) and position.array.ravel().tolist() == [0]:
        return BatchSize()
    if isinstance(source, Constant) and isinstance(position, Label) and node.attributes.get("axis", 0) == 0:
        return named(position, source)
    if isinstance(source, Table) and isinstance(position, Constant) and node.attributes.get("axis", 0) in (1, -1):
        chosen = position.array.ravel()[:MAX_NODES]
        if source.width is not None and chosen.tolist() == list(range(min(source.width, MAX_NODES + 1))):
            return source
    raise Refusal("it may choose the names of classes by their numbers, and nothing else")


def _flattened(value: Value) -> Value:
    if isinstance(value, Table):
        return Table(tuple(replace(part, flat=True) if isinstance(part, Numbers) else part for part in value.parts))
    if isinstance(value, Signal | TwoClasses):
        return value
    raise Refusal("it does not work on rows")
