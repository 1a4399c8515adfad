"""Read the nodes that turn the outputs of the last layer into probabilities and labels; see `interpretation`."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mlp.io.onnx_files.nodes import MAX_NODES, Node, operands_of
from mlp.io.onnx_files.operators import PROBE
from mlp.io.onnx_files.tensors import decoded
from mlp.io.onnx_files.values import ClassMap, Constant, Label, Refusal, Signal, TwoClasses, Value, is_plain


def softmax(node: Node, inputs: list[Value]) -> Value:
    [value] = operands_of(inputs, 1, 1)
    if node.attributes.get("axis", 1) not in (1, -1):
        raise Refusal("axis must be 1")
    if not isinstance(value, Signal) or value.softmax or not is_plain(value, PROBE):
        raise Refusal("it must follow a layer directly")
    return replace(value, values=None, steps=None, softmax=True)


def argmax(node: Node, inputs: list[Value]) -> Value:
    [value] = operands_of(inputs, 1, 1)
    if node.attributes.get("axis", 0) not in (1, -1) or node.attributes.get("select_last_index", 0):
        raise Refusal("it must find the first largest output of each row: axis=1, select_last_index=0")
    if isinstance(value, TwoClasses):
        return Label(value.signal)
    if isinstance(value, Signal) and value.layer.width > 1:
        return Label(value)
    raise Refusal("it does not work on several outputs of a layer")


def extract(node: Node, inputs: list[Value]) -> Value:
    source, position = operands_of(inputs, 2, 2)
    if isinstance(source, Constant) and isinstance(position, Label):
        return named(position, source)
    raise Refusal("it may choose the names of classes by their numbers, and nothing else")


def zip_map(node: Node, inputs: list[Value]) -> Value:
    [value] = operands_of(inputs, 1, 1)
    names = node.attributes.get("classlabels_strings") or node.attributes.get("classlabels_int64s") or ()
    classes = tuple(decoded(name) if isinstance(name, bytes) else name for name in names)
    if isinstance(value, TwoClasses):
        value = value.signal
    if not isinstance(value, Signal):
        raise Refusal("it does not work on the outputs of a layer")
    return ClassMap(value, classes)


def binarizer(node: Node, inputs: list[Value]) -> Value:
    [value] = operands_of(inputs, 1, 1)
    if not isinstance(value, Signal) or value.values is None:
        raise Refusal("it does not work on the outputs of a layer")
    above = value.values > node.attributes.get("threshold", 0.0)
    return replace(value, values=above.astype(np.float64), steps=None)


def named(label: Label, classes: Constant) -> Label:
    """A label by the names of the classes."""
    if label.classes is not None or classes.array.size > MAX_NODES:
        raise Refusal("it may choose the names of classes by their numbers, and nothing else")
    return replace(label, classes=tuple(classes.array.reshape(-1).tolist()))
