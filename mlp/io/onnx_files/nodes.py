"""A node of an ONNX graph: its attributes and its constants."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from mlp.checks import quoted
from mlp.io.onnx_files.values import Constant, Refusal, Value

MAX_NODES = 20_000
"""Most nodes, inputs or stored tensors of a graph."""

MAX_STEPS = 8
"""Most operators that scale the inputs or the outputs."""


@dataclass(frozen=True)
class Node:
    """A node without its inputs.

    Attributes
    ----------
    name : str
        With the operator, for messages.
    operator : str
    output : str
        The name of its value.
    attributes : mapping
    file : str
        For messages.
    weights : set of str
        The stored matrices that layers use; a reader adds those of its layer.
    """

    name: str
    operator: str
    output: str
    attributes: Mapping[str, Any]
    file: str
    weights: set[str]


_ATTRIBUTE_FIELDS = {1: "f", 2: "i", 3: "s", 4: "t", 6: "floats", 7: "ints", 8: "strings"}
"""The field with the value of an attribute, by the number of its type."""

_ATTRIBUTES = {
    "f": ("alpha", "beta", "gamma", "max", "min", "replaced_value_float", "threshold", "value_float"),
    "i": ("allowzero", "axis", "end", "select_last_index", "start", "to", "transA", "transB", "value_int", "zeros"),
    "s": ("approximate",),
    "t": ("value",),
    "floats": ("imputed_value_floats", "offset", "scale", "value_floats"),
    "ints": ("cats_int64s", "classlabels_int64s", "perm", "value_ints"),
    "strings": ("cats_strings", "classlabels_strings"),
}
"""The attributes that are read, by their field."""

_FIELD_OF = {name: field for field, names in _ATTRIBUTES.items() for name in names}


def read_attributes(node: Any) -> dict[str, Any]:
    """The attributes of a NodeProto: numbers, bytes, and lists of them; the tensors of constants unread."""
    found: dict[str, Any] = {}
    for attribute in node.attribute:
        field = _ATTRIBUTE_FIELDS.get(attribute.type)
        if field is None or field != _FIELD_OF.get(attribute.name, field):
            raise Refusal(f"its attribute {quoted(attribute.name)} has a type that is not supported")
        value = getattr(attribute, field)
        found[attribute.name] = list(value) if field in ("floats", "ints", "strings") else value
    return found


def operands_of(inputs: list[Value], fewest: int, most: int) -> list[Value]:
    """The inputs of a node, if there are so many."""
    if not fewest <= len(inputs) <= most:
        raise Refusal(f"it has {len(inputs)} inputs; expected {fewest if fewest == most else f'{fewest} to {most}'}")
    return inputs


def array_of(value: Value) -> NDArray[Any]:
    """The numbers of a constant."""
    if not isinstance(value, Constant):
        raise Refusal("it needs a constant")
    if value.array.dtype == object:
        raise Refusal("it needs numbers, not texts")
    return value.array


def row_of(value: Value, width: int | None) -> NDArray[Any]:
    """A constant for each column, or one for all: shape (width,) or (1,)."""
    array = array_of(value)
    if (
        array.size not in (1, width)
        or (array.size > 1 and array.shape[-1] != array.size)
        or array.dtype.kind not in "fiu"
    ):
        raise Refusal(f"its constant has shape {quoted(list(array.shape))}, and there are {width} columns")
    return array.reshape(-1)
