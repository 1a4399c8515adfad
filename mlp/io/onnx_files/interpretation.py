"""Go through the nodes of an ONNX graph, and find out what each value stands for.

Nodes are in an order in which each uses only values of earlier ones, as ONNX requires; so a circle cannot be read.  No
node is run on data.  The work is limited by the size of the file: a node costs as much as the constants and the columns
of inputs that it uses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from mlp._backends import FileFormatError
from mlp.checks import quoted, shortened
from mlp.io.onnx_files import layer_readers, output_readers, shape_readers, table_readers
from mlp.io.onnx_files.graph_writer import ML_DOMAIN
from mlp.io.onnx_files.nodes import MAX_NODES, Node, read_attributes
from mlp.io.onnx_files.operators import OPERATORS
from mlp.io.onnx_files.tensors import TYPES, read_tensor, type_name
from mlp.io.onnx_files.values import Constant, Numbers, Refusal, Table, Value

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
        where = f"node {name} ({shortened(node.op_type, 60)})"
        try:
            domain = "" if node.domain == "ai.onnx" else node.domain
            reader = _READERS.get((domain, node.op_type))
            if reader is None and domain == "" and node.op_type in OPERATORS:
                reader = layer_readers.elementwise
            if reader is None or not len(node.output):
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
            attributes = read_attributes(node)
            result = reader(Node(where, node.op_type, node.output[0], attributes, self._where, self._weights), inputs)
        except Refusal as refusal:
            raise self._error(f"{where}: {refusal}") from None
        if node.output[0] in self._values or node.output[0] in self._tensors:
            raise self._error(f"{where}: the value {quoted(node.output[0])} is computed twice")
        self._values[node.output[0]] = result

    def _input(self, name: str) -> Value:
        value = self._value(name)
        if value is None:
            raise Refusal(f"its input {quoted(name)} is computed by no earlier node")
        return value


def _cost(value: Value) -> int:
    """What the use of a value costs, in entries of arrays."""
    if isinstance(value, Constant):
        return value.array.size
    if isinstance(value, Table):
        return 10 * len(value.parts) + sum(len(part.names) for part in value.parts if isinstance(part, Numbers))
    return 1


_READERS: Mapping[tuple[str, str], Callable[[Node, list[Value]], Value]] = {
    ("", "ArgMax"): output_readers.argmax,
    ("", "Cast"): shape_readers.cast,
    ("", "Concat"): shape_readers.concat,
    ("", "Constant"): shape_readers.constant,
    ("", "Dropout"): shape_readers.dropout,
    ("", "Flatten"): shape_readers.flatten,
    ("", "Gather"): shape_readers.gather,
    ("", "Gemm"): layer_readers.gemm,
    ("", "Identity"): shape_readers.same,
    ("", "IsNaN"): table_readers.is_missing,
    ("", "LogSoftmax"): output_readers.softmax,
    ("", "MatMul"): layer_readers.matmul,
    ("", "Reshape"): shape_readers.reshape,
    ("", "Shape"): shape_readers.shape,
    ("", "Softmax"): output_readers.softmax,
    ("", "Squeeze"): shape_readers.squeeze,
    ("", "Transpose"): shape_readers.transpose,
    ("", "Unsqueeze"): shape_readers.squeeze,
    (ML_DOMAIN, "ArrayFeatureExtractor"): output_readers.extract,
    (ML_DOMAIN, "Binarizer"): output_readers.binarizer,
    (ML_DOMAIN, "Imputer"): table_readers.imputer,
    (ML_DOMAIN, "OneHotEncoder"): table_readers.one_hot,
    (ML_DOMAIN, "Scaler"): table_readers.scaler,
    (ML_DOMAIN, "ZipMap"): output_readers.zip_map,
}
"""What reads a node, by the domain and name of its operator; `OPERATORS` has the elementwise ones.

A reader takes the node and the values of its inputs, and returns the value of its first output, or raises `Refusal`.
"""
