"""Go through the nodes of an ONNX graph, and find out what each value stands for.

Nodes are in an order in which each uses only values of earlier ones, as ONNX requires; so a circle cannot be read.  No
node is run on data.  The work is limited by the size of the file: a node costs as much as the constants and the columns
of inputs that it uses.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlp._backends import FileFormatError
from mlp.checks import quoted, shortened
from mlp.io.onnx_files.export import MISSING_BESIDE_EMPTY, MISSING_TEXT
from mlp.io.onnx_files.graph_writer import ML_DOMAIN
from mlp.io.onnx_files.operators import OPERATORS, PROBE, are_equal, compute
from mlp.io.onnx_files.tensors import TYPES, decoded, read_tensor, type_name
from mlp.io.onnx_files.values import (
    BatchSize,
    Categories,
    ClassMap,
    Constant,
    Label,
    Layer,
    MissingFlags,
    Numbers,
    Refusal,
    Shape,
    Signal,
    Stacked,
    Table,
    TwoClasses,
    Value,
    is_plain,
)

MAX_NODES = 20_000
"""Most nodes, inputs or stored tensors of a graph."""

_MAX_STEPS = 8
"""Most operators that scale the inputs or the outputs."""

_ROWS = -2
"""Stands for the number of rows in a shape that the graph computes."""

_ADVICE = {
    "BatchNormalization": "fold it into the layer before it, with torch.nn.utils.fusion.fuse_linear_bn_eval",
    "DequantizeLinear": "export the network before it is quantized",
    "LayerNormalization": "this library has no normalization layers",
    "Conv": "a multilayer perceptron has no convolutions",
    "LSTM": "a multilayer perceptron has no recurrent layers",
    "GRU": "a multilayer perceptron has no recurrent layers",
}
_GENERAL_ADVICE = (
    "a multilayer perceptron is a chain of Gemm, or MatMul and Add, with activations between them. Export only that "
    "part, or build the network with mlp.MLP and assign net.weights and net.biases"
)


class Interpretation:
    """The values of a graph.

    Parameters
    ----------
    graph : GraphProto
    where : str
        The file, for messages.
    size : int
        Its size in bytes, to which the work is limited.
    """

    def __init__(self, graph: Any, where: str, size: int) -> None:
        self._where = where
        self._budget = 4 * size + 1_000_000
        self._values: dict[str, Value] = {}
        self._weights: set[str] = set()
        self._node = ""
        for what, entries in (("nodes", graph.node), ("inputs", graph.input), ("tensors", graph.initializer)):
            if len(entries) > MAX_NODES:
                raise self._error(f"it has {len(entries)} {what}, and at most {MAX_NODES} are read")
        if len(graph.sparse_initializer):
            raise self._error("it has sparse tensors, which are not supported; store them as dense ones")
        self._tensors = {tensor.name: tensor for tensor in graph.initializer}
        for value in graph.input:
            if value.name not in self._tensors:  # in old files, stored tensors are inputs, too
                self._values[value.name] = self._read_input(value)
        for number, node in enumerate(graph.node):
            self._read_node(node, number)

    def output(self, name: str) -> Value:
        """The value of an output of the graph."""
        value = self._value(name)
        if value is None:
            raise self._error(f"its output {quoted(name)} is computed by no node")
        return value

    def _error(self, message: str) -> FileFormatError:
        return FileFormatError(f"{self._where} cannot be read as a network: {message}")

    # -- inputs and constants -----------------------------------------------------------------------

    def _read_input(self, value: Any) -> Table:
        kind = value.type.WhichOneof("value")
        where = f"its input {quoted(value.name)}"
        if kind != "tensor_type":
            raise self._error(f"{where} is a {str(kind).removesuffix('_type')}, not a tensor")
        tensor = value.type.tensor_type
        dtype = TYPES.get(tensor.elem_type)
        if dtype is None:
            raise self._error(f"{where} has type {type_name(tensor.elem_type)}, which is not supported")
        if not tensor.HasField("shape"):
            return Table((Numbers((value.name,), (None,), dtype),))
        dimensions = [int(d.dim_value) if d.WhichOneof("value") == "dim_value" else None for d in tensor.shape.dim]
        if len(dimensions) < 2:
            raise self._error(f"{where} has {len(dimensions)} dimensions; it must be (batch, features)")
        if len(dimensions) > 8:
            raise self._error(f"{where} has {len(dimensions)} dimensions; at most 8 are read")
        width: int | None = 1
        for dimension in dimensions[1:]:
            width = None if width is None or not dimension or dimension < 0 else width * dimension
        return Table((Numbers((value.name,), (width,), dtype, flat=len(dimensions) == 2),))

    def _value(self, name: str) -> Value | None:
        """The value of a name; stored tensors are read when they are used first."""
        if name not in self._values and name in self._tensors:
            try:
                array = read_tensor(self._tensors[name], self._where)
            except Refusal as refusal:
                raise self._error(f"tensor {quoted(name)}: {refusal}") from None
            self._values[name] = Constant(array, name)
        return self._values.get(name)

    # -- nodes --------------------------------------------------------------------------------------

    def _read_node(self, node: Any, number: int) -> None:
        name = quoted(node.name) if node.name else f"number {number + 1}"
        self._node = f"node {name} ({shortened(node.op_type, 60)})"
        try:
            domain = "" if node.domain == "ai.onnx" else node.domain
            handler = _HANDLERS.get((domain, node.op_type))
            if handler is None and domain == "" and node.op_type in OPERATORS:
                handler = Interpretation._elementwise
            if handler is None or not len(node.output):
                raise Refusal(f"this operator is not supported; {_ADVICE.get(node.op_type, _GENERAL_ADVICE)}")
            given = list(node.input)
            while given and not given[-1]:
                given.pop()
            if "" in given:
                raise Refusal("it leaves out an input before the last one, which is not supported")
            inputs = [self._input(name) for name in given]
            self._budget -= sum(map(_cost, inputs))
            if self._budget < 0:
                raise Refusal("the file needs too much work for its size; simplify it, for example with onnxsim")
            result = handler(self, node, inputs, _attributes(node))
        except Refusal as refusal:
            raise self._error(f"{self._node}: {refusal}") from None
        if node.output[0] in self._values or node.output[0] in self._tensors:
            raise self._error(f"{self._node}: the value {quoted(node.output[0])} is computed twice")
        self._values[node.output[0]] = result

    def _input(self, name: str) -> Value:
        value = self._value(name)
        if value is None:
            raise Refusal(f"its input {quoted(name)} is computed by no earlier node")
        return value

    def _constant(self, node: Any, inputs: list[Value], attributes: Mapping[str, Any]) -> Value:
        [(name, value)] = list(attributes.items())[:1] or [("", None)]
        if name == "value":
            array = read_tensor(value, self._where)
        elif name in ("value_float", "value_floats"):
            array = np.array(value, dtype=np.float32)
        elif name in ("value_int", "value_ints"):
            array = np.array(value, dtype=np.int64)
        else:
            raise Refusal(f"a constant given as {quoted(name)} is not supported")
        return Constant(array, node.output[0])

    def _same(self, node: Any, inputs: list[Value], attributes: Mapping[str, Any]) -> Value:
        return _operands(inputs, 1, 8)[0]

    def _dropout(self, node: Any, inputs: list[Value], attributes: Mapping[str, Any]) -> Value:
        """Identity, except in training mode, which is the third input."""
        _operands(inputs, 1, 3)
        if len(inputs) > 2 and _array(inputs[2]).any():
            raise Refusal("it is in training mode; export the module after module.eval()")
        return inputs[0]

    def _cast(self, node: Any, inputs: list[Value], attributes: Mapping[str, Any]) -> Value:
        [value] = _operands(inputs, 1, 1)
        dtype = TYPES.get(attributes.get("to", 0))
        if dtype is None or dtype == "string":
            raise Refusal(f"a conversion to type {type_name(attributes.get('to', 0))} is not supported")
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
            part = _single(value)
            if not part.steps and part.dtype != "string":
                return Table((replace(part, whole=np.dtype(part.dtype).kind == "f"),))
        if isinstance(value, Label):
            return value
        raise Refusal(f"a conversion to {dtype} is not supported here")

    def _elementwise(self, node: Any, inputs: list[Value], attributes: Mapping[str, Any]) -> Value:
        fewest, most, _ = OPERATORS[node.op_type]
        operands = _operands(inputs, fewest, most)
        if any(isinstance(operand, Table | MissingFlags) for operand in operands):
            return self._on_table(node.op_type, operands)
        if all(isinstance(operand, Constant) for operand in operands):
            arrays = [_array(operand) for operand in operands]
            if math.prod(_broadcast(arrays)) > max(array.size for array in arrays):
                raise Refusal("the shapes of its constants do not match")
            return Constant(compute(node.op_type, arrays, attributes), node.output[0])
        return self._on_signals(node, operands, attributes)

    def _on_table(self, operator: str, operands: list[Value]) -> Value:
        """Scaling and missing values before the first layer."""
        if operator == "Where" and isinstance(operands[0], MissingFlags) and operands[2] is operands[0].table:
            part = _single(operands[0].table, pristine=True)
            return Table((replace(part, fill=_row(operands[1], part.width)),))
        first, *rest = operands
        if operator in ("Add", "Mul") and isinstance(first, Constant):
            first, rest = rest[0], [first]
        if operator not in ("Add", "Sub", "Mul", "Div") or not isinstance(first, Table):
            raise Refusal("before the first layer there may be only scaling of inputs by constants")
        part = _single(first)
        if len(part.steps) > _MAX_STEPS:
            raise Refusal("the inputs are scaled too often; simplify the file, for example with onnxsim")
        return Table((replace(part, steps=(*part.steps, (operator, _row(rest[0], part.width)))),))

    def _on_signals(self, node: Any, operands: list[Value], attributes: Mapping[str, Any]) -> Value:
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
        arithmetic = node.op_type in ("Add", "Sub", "Mul", "Div")
        if len(signals) == 1 and arithmetic and (operands[0] is signals[0] or node.op_type in ("Add", "Mul")):
            [signal], [constant] = signals, constants
            row = _row(constant, layer.width)
            if node.op_type == "Add" and layer.b is None and signal.steps == () and is_plain(signal, PROBE):
                return Signal(replace(layer, b=np.broadcast_to(row, (layer.width,))), PROBE, (), self._node)
            few = signal.steps is not None and len(signal.steps) <= _MAX_STEPS
            steps = (*(signal.steps or ()), (node.op_type, row)) if few else None
        else:
            steps = None
        scalars = [value for operand in operands if (value := _function_values(operand)) is not None]
        values = compute(node.op_type, scalars, attributes) if len(scalars) == len(operands) else None
        if values is None and steps is None:
            raise Refusal("it uses different constants for the outputs of a layer, which no activation here does")
        return Signal(layer, values, steps, self._node)

    def _is_missing(self, node: Any, inputs: list[Value], attributes: Mapping[str, Any]) -> Value:
        [value] = _operands(inputs, 1, 1)
        if not isinstance(value, Table):
            raise Refusal("it is supported for inputs only")
        return MissingFlags(value)

    # -- layers -------------------------------------------------------------------------------------

    def _gemm(self, node: Any, inputs: list[Value], attributes: Mapping[str, Any]) -> Value:
        source, weight, *rest = _operands(inputs, 2, 3)
        if attributes.get("transA", 0):
            raise Refusal("transA=1 is not supported")
        signal = self._layer(source, weight, transposed=bool(attributes.get("transB", 0)))
        layer = signal.layer
        alpha, beta = attributes.get("alpha", 1.0), attributes.get("beta", 1.0)
        if alpha != 1:
            with np.errstate(all="ignore"):  # weights that are not finite are refused later
                layer = replace(layer, W=(layer.W * alpha).astype(layer.W.dtype))
        if rest:
            row = _row(rest[0], layer.width)
            with np.errstate(all="ignore"):
                row = row if beta == 1 else (row * beta).astype(row.dtype)
            layer = replace(layer, b=np.broadcast_to(row, (layer.width,)))
        return Signal(layer, PROBE, (), self._node)

    def _matmul(self, node: Any, inputs: list[Value], attributes: Mapping[str, Any]) -> Value:
        source, weight = _operands(inputs, 2, 2)
        return self._layer(source, weight, transposed=False)

    def _layer(self, source: Value, weight: Value, *, transposed: bool) -> Signal:
        if not isinstance(weight, Constant) or not isinstance(source, Table | Signal):
            raise Refusal("a product must be that of a layer's inputs with a constant matrix")
        W = weight.array
        if W.ndim != 2 or 0 in W.shape:
            raise Refusal(f"its matrix has shape {quoted(list(W.shape))}; it must be (inputs, outputs)")
        if weight.source in self._weights:
            raise Refusal("it shares its weights with another layer, which is not supported")
        self._weights.add(weight.source)
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
        return Signal(Layer(source, W, None, self._node), PROBE, (), self._node)

    # -- shapes -------------------------------------------------------------------------------------

    def _flatten(self, node: Any, inputs: list[Value], attributes: Mapping[str, Any]) -> Value:
        [value] = _operands(inputs, 1, 1)
        if attributes.get("axis", 1) != 1:
            raise Refusal("axis must be 1, so that rows stay rows")
        return _flat(value)

    def _reshape(self, node: Any, inputs: list[Value], attributes: Mapping[str, Any]) -> Value:
        value, shape = _operands(inputs, 2, 2)
        if _array(shape).dtype.kind != "i":
            raise Refusal("its shape is not given in integers")
        target = _array(shape).ravel()[:8].tolist()
        if attributes.get("allowzero", 0) and 0 in target:
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
        return _flat(value)

    def _squeeze(self, node: Any, inputs: list[Value], attributes: Mapping[str, Any]) -> Value:
        value = _operands(inputs, 1, 2)[0]
        if isinstance(value, Label | BatchSize) or (isinstance(value, Signal) and value.layer.width == 1):
            return value
        raise Refusal("it is supported for labels and a single output only")

    def _transpose(self, node: Any, inputs: list[Value], attributes: Mapping[str, Any]) -> Value:
        [value] = _operands(inputs, 1, 1)
        if not isinstance(value, Constant) or value.array.ndim != 2 or list(attributes.get("perm", [1, 0])) != [1, 0]:
            raise Refusal("it is supported for constant matrices only")
        return replace(value, array=value.array.T)

    def _shape(self, node: Any, inputs: list[Value], attributes: Mapping[str, Any]) -> Value:
        _operands(inputs, 1, 1)
        if attributes.get("start", 0) == 0 and attributes.get("end") == 1:
            return BatchSize()
        return Shape()

    def _concat(self, node: Any, inputs: list[Value], attributes: Mapping[str, Any]) -> Value:
        values = _operands(inputs, 1, MAX_NODES)
        axis = attributes.get("axis")
        if isinstance(values[0], BatchSize) and axis == 0:
            rest = [_array(value).ravel()[:8] for value in values[1:9]]
            return Constant(np.concatenate([np.array([_ROWS]), *rest]), node.output[0])
        if axis not in (1, -1):
            raise Refusal(f"axis must be 1, not {quoted(axis)}")
        tables = [value for value in values if isinstance(value, Table)]
        if len(tables) == len(values):
            return _side_by_side(tables)
        signals = [value for value in values if isinstance(value, Signal) and value.values is not None]
        if len(values) == len(signals) == 2 and signals[0].layer is signals[1].layer and signals[0].layer.width == 1:
            complement, probability = (np.asarray(signal.values, dtype=np.float64) for signal in signals)
            if are_equal(complement, 1 - probability):
                return TwoClasses(signals[1])
        raise Refusal("it may join inputs, or the probabilities 1 - y and y of two classes, and nothing else")

    def _gather(self, node: Any, inputs: list[Value], attributes: Mapping[str, Any]) -> Value:
        source, position = _operands(inputs, 2, 2)
        if isinstance(source, Shape) and isinstance(position, Constant) and position.array.ravel().tolist() == [0]:
            return BatchSize()
        if isinstance(source, Constant) and isinstance(position, Label) and attributes.get("axis", 0) == 0:
            return _named(position, source)
        if isinstance(source, Table) and isinstance(position, Constant) and attributes.get("axis", 0) in (1, -1):
            chosen = position.array.ravel()[:MAX_NODES]
            if source.width is not None and chosen.tolist() == list(range(min(source.width, MAX_NODES + 1))):
                return source
        raise Refusal("it may choose the names of classes by their numbers, and nothing else")

    # -- outputs ------------------------------------------------------------------------------------

    def _softmax(self, node: Any, inputs: list[Value], attributes: Mapping[str, Any]) -> Value:
        [value] = _operands(inputs, 1, 1)
        if attributes.get("axis", 1) not in (1, -1):
            raise Refusal("axis must be 1")
        if not isinstance(value, Signal) or value.softmax or not is_plain(value, PROBE):
            raise Refusal("it must follow a layer directly")
        return replace(value, values=None, steps=None, softmax=True)

    def _argmax(self, node: Any, inputs: list[Value], attributes: Mapping[str, Any]) -> Value:
        [value] = _operands(inputs, 1, 1)
        if attributes.get("axis", 0) not in (1, -1) or attributes.get("select_last_index", 0):
            raise Refusal("it must find the first largest output of each row: axis=1, select_last_index=0")
        if isinstance(value, TwoClasses):
            return Label(value.signal)
        if isinstance(value, Signal) and value.layer.width > 1:
            return Label(value)
        raise Refusal("it does not work on several outputs of a layer")

    def _extract(self, node: Any, inputs: list[Value], attributes: Mapping[str, Any]) -> Value:
        source, position = _operands(inputs, 2, 2)
        if isinstance(source, Constant) and isinstance(position, Label):
            return _named(position, source)
        raise Refusal("it may choose the names of classes by their numbers, and nothing else")

    def _zip_map(self, node: Any, inputs: list[Value], attributes: Mapping[str, Any]) -> Value:
        [value] = _operands(inputs, 1, 1)
        names = attributes.get("classlabels_strings") or attributes.get("classlabels_int64s") or ()
        classes = tuple(decoded(name) if isinstance(name, bytes) else name for name in names)
        if isinstance(value, TwoClasses):
            value = value.signal
        if not isinstance(value, Signal):
            raise Refusal("it does not work on the outputs of a layer")
        return ClassMap(value, classes)

    def _binarizer(self, node: Any, inputs: list[Value], attributes: Mapping[str, Any]) -> Value:
        [value] = _operands(inputs, 1, 1)
        if not isinstance(value, Signal) or value.values is None:
            raise Refusal("it does not work on the outputs of a layer")
        above = value.values > attributes.get("threshold", 0.0)
        return replace(value, values=above.astype(np.float64), steps=None)

    # -- preparation of tables ----------------------------------------------------------------------

    def _scaler(self, node: Any, inputs: list[Value], attributes: Mapping[str, Any]) -> Value:
        [value] = _operands(inputs, 1, 1)
        if not isinstance(value, Table):
            raise Refusal("it is supported for inputs only")
        part = _single(value)
        offset, scale = (
            _row(Constant(np.array(attributes.get(name, [default])), ""), part.width)
            for name, default in (("offset", 0.0), ("scale", 1.0))
        )
        return Table((replace(part, steps=(*part.steps, ("Sub", offset), ("Mul", scale))),))

    def _imputer(self, node: Any, inputs: list[Value], attributes: Mapping[str, Any]) -> Value:
        [value] = _operands(inputs, 1, 1)
        fill = attributes.get("imputed_value_floats")
        if not isinstance(value, Table) or not fill or not np.isnan(attributes.get("replaced_value_float", np.nan)):
            raise Refusal("it must replace NaN in inputs by numbers")
        part = _single(value, pristine=True)
        return Table((replace(part, fill=_row(Constant(np.array(fill), ""), part.width)),))

    def _one_hot(self, node: Any, inputs: list[Value], attributes: Mapping[str, Any]) -> Value:
        [value] = _operands(inputs, 1, 1)
        part = _single(value) if isinstance(value, Table) else None
        if part is None or part.steps or len(part.names) != 1 or part.width not in (1, None):
            raise Refusal("it is supported for inputs of one column only")
        if attributes.get("zeros", 1) != 1:
            raise Refusal("zeros must be 1: an unknown category gives zeros")
        texts, numbers = attributes.get("cats_strings"), attributes.get("cats_int64s")
        if texts and part.dtype == "string":
            return Table((Categories(part.names[0], _text_categories([decoded(text) for text in texts])),))
        missing = None if part.fill is None else float(part.fill[0])
        if numbers and (part.dtype == "bool" or (missing == 2.0 and np.dtype(part.dtype).kind == "f")):
            meanings: dict[int, bool | None] = {0: False, 1: True} | ({} if missing is None else {2: None})
            if set(numbers) <= set(meanings) and list(numbers) == sorted(set(numbers)):
                return Table((Categories(part.names[0], tuple(meanings[number] for number in numbers)),))
        raise Refusal("the categories of a column must be texts or booleans; convert numbers to texts")


# -- parts of nodes -------------------------------------------------------------------------------------


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


def _attributes(node: Any) -> dict[str, Any]:
    """The attributes of a node: numbers, bytes, and lists of them; the tensors of constants unread."""
    found: dict[str, Any] = {}
    for attribute in node.attribute:
        field = _ATTRIBUTE_FIELDS.get(attribute.type)
        if field is None or field != _FIELD_OF.get(attribute.name, field):
            raise Refusal(f"its attribute {quoted(attribute.name)} has a type that is not supported")
        value = getattr(attribute, field)
        found[attribute.name] = list(value) if field in ("floats", "ints", "strings") else value
    return found


def _cost(value: Value) -> int:
    """What the use of a value costs, in entries of arrays."""
    if isinstance(value, Constant):
        return value.array.size
    if isinstance(value, Table):
        return 10 * len(value.parts) + sum(len(part.names) for part in value.parts if isinstance(part, Numbers))
    return 1


def _operands(inputs: list[Value], fewest: int, most: int) -> list[Value]:
    if not fewest <= len(inputs) <= most:
        raise Refusal(f"it has {len(inputs)} inputs; expected {fewest if fewest == most else f'{fewest} to {most}'}")
    return inputs


def _array(value: Value) -> NDArray[Any]:
    if not isinstance(value, Constant):
        raise Refusal("it needs a constant")
    if value.array.dtype == object:
        raise Refusal("it needs numbers, not texts")
    return value.array


def _broadcast(arrays: list[NDArray[Any]]) -> tuple[int, ...]:
    try:
        return np.broadcast_shapes(*(array.shape for array in arrays))
    except ValueError:
        raise Refusal("the shapes of its constants do not match") from None


def _row(value: Value, width: int | None) -> NDArray[Any]:
    """A constant for each column, or one for all: shape (width,) or (1,)."""
    array = _array(value)
    if (
        array.size not in (1, width)
        or (array.size > 1 and array.shape[-1] != array.size)
        or array.dtype.kind not in "fiu"
    ):
        raise Refusal(f"its constant has shape {quoted(list(array.shape))}, and there are {width} columns")
    return array.reshape(-1)


def _function_values(operand: Value) -> NDArray[Any] | None:
    """The values of an operand at `PROBE`, or a number; None if they differ between the outputs of a layer."""
    if isinstance(operand, Signal):
        return operand.values
    flat = _array(operand).reshape(-1)
    if not flat.size or (flat.size > 1 and not (flat == flat[0]).all()):
        return None
    return np.asarray(flat[0] if flat.dtype.kind in "b" else np.float64(flat[0]))


def _single(table: Table, *, pristine: bool = False) -> Numbers:
    """The numbers of a table that has nothing else."""
    if len(table.parts) != 1 or not isinstance(table.parts[0], Numbers):
        raise Refusal("it works on several kinds of inputs; scale the numbers before they are joined with categories")
    part = table.parts[0]
    if pristine and (part.steps or part.fill is not None):
        raise Refusal("missing values must be replaced before the inputs are scaled")
    return part


def _flat(value: Value) -> Value:
    if isinstance(value, Table):
        return Table(tuple(replace(part, flat=True) if isinstance(part, Numbers) else part for part in value.parts))
    if isinstance(value, Signal | TwoClasses):
        return value
    raise Refusal("it does not work on rows")


def _side_by_side(tables: list[Table]) -> Table:
    """Join tables; neighbouring inputs of numbers that are as given become one part."""
    parts: list[Numbers | Categories] = []
    run: list[Numbers] = []
    for part in (*(part for table in tables for part in table.parts), None):
        if isinstance(part, Numbers) and not part.steps and part.fill is None and part.flat and not part.whole:
            run.append(part)
            continue
        if run:
            names = tuple(name for member in run for name in member.names)
            widths = tuple(width for member in run for width in member.widths)
            parts.append(replace(run[0], names=names, widths=widths))
            run = []
        if part is not None:
            parts.append(part)
    used = [name for part in parts for name in (part.names if isinstance(part, Numbers) else (part.name,))]
    if len(set(used)) < len(used):
        raise Refusal("an input is used twice")
    return Table(tuple(parts))


def _named(label: Label, classes: Constant) -> Label:
    if label.classes is not None or classes.array.size > MAX_NODES:
        raise Refusal("it may choose the names of classes by their numbers, and nothing else")
    return replace(label, classes=tuple(classes.array.reshape(-1).tolist()))


def _text_categories(texts: list[str]) -> tuple[str | None, ...]:
    """The categories of a column of text; the mark of missing values is the last one."""
    *known, last = texts
    missing = last == MISSING_BESIDE_EMPTY or (last == MISSING_TEXT and bool(known))
    values = known if missing else texts
    if any(a >= b for a, b in pairwise(values)):
        raise Refusal("the categories of a column must be sorted, each once")
    return (*values, None) if missing else tuple(values)


_HANDLERS: Mapping[tuple[str, str], Callable[..., Value]] = {
    ("", "ArgMax"): Interpretation._argmax,
    ("", "Cast"): Interpretation._cast,
    ("", "Concat"): Interpretation._concat,
    ("", "Constant"): Interpretation._constant,
    ("", "Dropout"): Interpretation._dropout,
    ("", "Flatten"): Interpretation._flatten,
    ("", "Gather"): Interpretation._gather,
    ("", "Gemm"): Interpretation._gemm,
    ("", "Identity"): Interpretation._same,
    ("", "IsNaN"): Interpretation._is_missing,
    ("", "LogSoftmax"): Interpretation._softmax,
    ("", "MatMul"): Interpretation._matmul,
    ("", "Reshape"): Interpretation._reshape,
    ("", "Shape"): Interpretation._shape,
    ("", "Softmax"): Interpretation._softmax,
    ("", "Squeeze"): Interpretation._squeeze,
    ("", "Transpose"): Interpretation._transpose,
    ("", "Unsqueeze"): Interpretation._squeeze,
    (ML_DOMAIN, "ArrayFeatureExtractor"): Interpretation._extract,
    (ML_DOMAIN, "Binarizer"): Interpretation._binarizer,
    (ML_DOMAIN, "Imputer"): Interpretation._imputer,
    (ML_DOMAIN, "OneHotEncoder"): Interpretation._one_hot,
    (ML_DOMAIN, "Scaler"): Interpretation._scaler,
    (ML_DOMAIN, "ZipMap"): Interpretation._zip_map,
}
"""What reads a node, by the domain and name of its operator; `OPERATORS` has the elementwise ones."""
