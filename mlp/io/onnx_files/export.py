"""Write a network as an ONNX file, with its preprocessing, its target scaling and the names of its classes.

Opset 17 of ONNX and version 3 of ``ai.onnx.ml``, which has the operator for categories.  Weights are stored as they are
and under the names of model files: ``layers.0.weight`` of shape (n_in, n_out), ``layers.0.bias``.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlp._backends import ConfigurationError
from mlp._version import __version__
from mlp.checks import quoted
from mlp.data.encoders import CLIP
from mlp.data.preprocessing import CategoricalColumn, NumericColumn, Preprocessing
from mlp.io.atomic_write import write_atomically
from mlp.io.onnx_files.activation_nodes import add_activation
from mlp.io.onnx_files.agreement import require_agreement
from mlp.io.onnx_files.graph_writer import ML_DOMAIN, GraphWriter
from mlp.io.onnx_files.libraries import require
from mlp.network import FeedForward

logger = logging.getLogger("mlp")

OPSET, ML_OPSET, IR_VERSION = 17, 3, 8
INPUT = "X"
MISSING_TEXT = ""
"""Stands for a missing value in a column of text: a tensor of strings cannot hold None."""
MISSING_BESIDE_EMPTY = "\0missing"
"""Stands for a missing value in a column that has empty texts, too: it keeps the place of its category."""

_COLUMN_HAS_NAME = "output_"
_MAX_BYTES = 2**31 - 1  # of a message of protobuf
_COARSE = 2.0**14
"""Columns whose values are this many times their spread lose more than 1e-3 of it in float32."""


def to_onnx(net: FeedForward, path: str | os.PathLike[str]) -> None:
    """Write a network as an ONNX file; see `MLP.to_onnx`."""
    net = net.without_scaling_layer()
    outputs = output_names(net)
    try:
        content = to_bytes(net, outputs)
    except UnicodeEncodeError as error:
        raise ConfigurationError(
            f"{quoted(error.object)} cannot be stored in an ONNX file, because it is not valid Unicode; rename this "
            "column, category or class."
        ) from None
    require_agreement(content, net, outputs)
    for output in outputs:
        if output.startswith(_COLUMN_HAS_NAME):
            logger.warning("the output is called %r, because a column of the table has its usual name", output)
    write_atomically(path, content)


def to_bytes(net: FeedForward, outputs: Sequence[str]) -> bytes:
    """The ONNX model of a network, with outputs of these names; it has not been compared with the network."""
    onnx = require("onnx")
    size = net.plan.layout.n_parameters * net.dtype.itemsize
    if size > _MAX_BYTES:
        raise ConfigurationError(
            f"this network has {size} bytes of parameters, but an ONNX file holds at most {_MAX_BYTES}; export a copy "
            "in float32, or save it with net.save."
        )
    helper = onnx.helper
    columns = _column_names(net.preprocessing)
    writer = GraphWriter({*columns, *outputs})
    inputs, value = _add_inputs(writer, net, helper)
    for number, (W, b, activation) in enumerate(zip(net.weights, net.biases, net.plan.activations, strict=True)):
        layer = f"layers.{number}"
        weight, bias = writer.constant(W, f"{layer}.weight"), writer.constant(b, f"{layer}.bias")
        value = writer.node("Gemm", [value, weight, bias], f"{layer}.z")
        value = add_activation(writer, activation, value, net.dtype, f"{layer}.{activation.name}")
    graph = helper.make_graph(
        writer.nodes, "mlp", inputs, _add_outputs(writer, net, value, outputs, helper), writer.constants
    )
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid(ML_DOMAIN, ML_OPSET)],
        ir_version=IR_VERSION,
        producer_name="mlp",
        producer_version=__version__,
    )
    content: bytes = model.SerializeToString(deterministic=True)
    return content


# -- inputs ---------------------------------------------------------------------------------------------


def _add_inputs(writer: GraphWriter, net: FeedForward, helper: Any) -> tuple[list[Any], str]:
    """The descriptions of the inputs, and the value that the first layer takes."""
    if net.preprocessing is not None:
        return _add_columns(writer, net.preprocessing, net.dtype, helper)
    shape = ["batch", net.sizes[0]]
    name = writer.unused(INPUT)
    if net.input_scale is None:
        return [helper.make_tensor_value_info(name, _kind(helper, net.dtype), shape)], name
    numbers = writer.node("Cast", [name], "numbers", to=_kind(helper, net.dtype))
    scaled = writer.node("Mul", [numbers, writer.scalar(net.input_scale, net.dtype)], "inputs")
    return [helper.make_tensor_value_info(name, _kind(helper, np.dtype(np.uint8)), shape)], scaled


def _add_columns(
    writer: GraphWriter, preprocessing: Preprocessing, dtype: np.dtype[Any], helper: Any
) -> tuple[list[Any], str]:
    """One input for each column of a table; neighbouring numeric columns are scaled together."""
    inputs, blocks, numeric = [], [], []
    for column in (*preprocessing.columns, None):
        if isinstance(column, NumericColumn):
            _warn_if_coarse(column, dtype)
            numeric.append(column)
            inputs.append(helper.make_tensor_value_info(column.name, _kind(helper, dtype), ["batch", 1]))
            continue
        if numeric:
            blocks.append(_add_numbers(writer, numeric, dtype, helper))
            numeric = []
        if column is not None:
            column_dtype = input_dtype(column, dtype)
            inputs.append(helper.make_tensor_value_info(column.name, _kind(helper, column_dtype), ["batch", 1]))
            blocks.append(_add_categories(writer, column, column_dtype, dtype, helper))
    return inputs, blocks[0] if len(blocks) == 1 else writer.node("Concat", blocks, "inputs", axis=1)


def input_dtype(column: NumericColumn | CategoricalColumn, dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The type of the input for a column, where `dtype` is that of the network.

    Numbers have the type of the network, text is a tensor of strings.  A boolean column is a tensor of booleans, or of
    numbers 0, 1 and NaN if it had missing values in training: a tensor of booleans cannot hold them.
    """
    if isinstance(column, NumericColumn):
        return dtype
    if column.kind == "text":
        return np.dtype(np.str_)
    return dtype if None in column.categories else np.dtype(np.bool_)


def _add_numbers(writer: GraphWriter, columns: list[NumericColumn], dtype: np.dtype[Any], helper: Any) -> str:
    """Missing values and scaling, in float64 as in `Preprocessing.transform`."""
    names = [column.name for column in columns]
    value = names[0] if len(names) == 1 else writer.node("Concat", names, "numeric_columns", axis=1)
    double = _kind(helper, np.dtype(np.float64))
    if dtype != np.float64:
        value = writer.node("Cast", [value], "numbers", to=double)
    fill, shift, scale = (
        writer.constant(np.array([[getattr(column, field) for column in columns]]), field)
        for field in ("fill", "shift", "scale")
    )
    value = writer.node("Where", [writer.node("IsNaN", [value], "missing"), fill, value], "filled")
    value = writer.node("Div", [writer.node("Sub", [value, shift], "shifted"), scale], "scaled")
    if columns[0].clipped:  # then all are
        value = _add_clipping(writer, value)
    return value if dtype == np.float64 else writer.node("Cast", [value], "numeric_inputs", to=_kind(helper, dtype))


def _add_clipping(writer: GraphWriter, z: str) -> str:
    """z / sqrt(1 + (z / 3)^2); beyond 1e100 the square could overflow, and the result is 3 anyway."""
    bound, one, huge = (
        writer.constant(np.array(number), name) for number, name in ((CLIP, "bound"), (1.0, "one"), (1e100, "huge"))
    )
    z = writer.node("Min", [writer.node("Max", [z, writer.node("Neg", [huge], "least")], "at_least"), huge], "at_most")
    part = writer.node("Div", [z, bound], "part")
    root = writer.node("Sqrt", [writer.node("Add", [one, writer.node("Mul", [part, part], "square")], "sum")], "root")
    return writer.node("Div", [z, root], "clipped")


def _add_categories(
    writer: GraphWriter, column: CategoricalColumn, column_dtype: np.dtype[Any], dtype: np.dtype[Any], helper: Any
) -> str:
    """One-hot encoding; unknown categories give zeros, or belong to the rare ones if these share an input."""
    value, n = column.name, len(column.categories)
    without_missing = False
    if column.kind == "text":
        if MISSING_TEXT in column.categories and None in column.categories:
            logger.warning(
                "column %r has both empty texts and missing values; in the ONNX file an empty text is the category "
                "of empty texts, and a missing value cannot be given",
                column.name,
            )
        texts = _texts(column)
        # a missing value is not rare: its output is made, and left out
        without_missing = column.rare and MISSING_TEXT not in texts
        categories: dict[str, Any] = {"cats_strings": [*texts, MISSING_TEXT] if without_missing else texts}
    else:
        if column_dtype != np.bool_:
            missing = writer.node("IsNaN", [value], f"{column.name}.missing")
            value = writer.node("Where", [missing, writer.scalar(2, dtype), value], f"{column.name}.filled")
        value = writer.node("Cast", [value], f"{column.name}.number", to=_kind(helper, np.dtype(np.int64)))
        categories = {"cats_int64s": [2 if category is None else int(category) for category in column.categories]}
    encoded = writer.node("OneHotEncoder", [value], f"{column.name}.one_hot", domain=ML_DOMAIN, zeros=1, **categories)
    shape = writer.constant(np.array([-1, n + without_missing]), f"{column.name}.shape")
    encoded = writer.node("Reshape", [encoded, shape], f"{column.name}.inputs")
    if column.rare:
        known = writer.node("ReduceSum", [encoded, writer.constant(np.array([1]), "axis")], f"{column.name}.known")
        rare = writer.node("Sub", [writer.scalar(1, np.dtype(np.float32)), known], f"{column.name}.rare")
        if without_missing:
            start, stop, axis = (writer.constant(np.array([number]), "slice") for number in (0, n, 1))
            encoded = writer.node("Slice", [encoded, start, stop, axis], f"{column.name}.own")
        encoded = writer.node("Concat", [encoded, rare], f"{column.name}.all", axis=1)
    return encoded if dtype == np.float32 else writer.node("Cast", [encoded], encoded, to=_kind(helper, dtype))


def _texts(column: CategoricalColumn) -> list[str]:
    """The categories of a column of text, which must all be different."""
    texts = [MISSING_TEXT if category is None else str(category) for category in column.categories]
    if texts.count(MISSING_TEXT) > 1:
        texts[-1] = MISSING_BESIDE_EMPTY
    return texts


def _column_names(preprocessing: Preprocessing | None) -> list[str]:
    names = [] if preprocessing is None else [column.name for column in preprocessing.columns]
    if "" in names:
        raise ConfigurationError("a column of the training data has no name, but each input of an ONNX file needs one.")
    return names


def _warn_if_coarse(column: NumericColumn, dtype: np.dtype[Any]) -> None:
    if dtype == np.float32 and abs(column.shift) > _COARSE * column.scale:
        logger.warning(
            "column %r has values around %.3g that spread by %.3g: as float32 they lose digits that matter. Export "
            "net.copy('float64'), whose inputs are float64, or subtract a constant from the column before training",
            column.name, column.shift, column.scale,
        )  # fmt: skip


# -- outputs --------------------------------------------------------------------------------------------


def output_names(net: FeedForward) -> tuple[str, ...]:
    """``label`` and ``probabilities`` of a classifier, ``variable`` of a regressor, as skl2onnx has them.

    Outputs of a classifier that are not probabilities are called ``scores``.  A name that a column of the table has is
    preceded by ``output_``.
    """
    if net.task == "numbers":
        names = ["variable"]
    else:
        names = ["label", "probabilities" if net.kind.output.name in ("softmax", "sigmoid") else "scores"]
    columns = _column_names(net.preprocessing)
    for position in range(len(names)):
        while names[position] in columns:
            names[position] = _COLUMN_HAS_NAME + names[position]
    return tuple(names)


def _add_outputs(writer: GraphWriter, net: FeedForward, value: str, names: Sequence[str], helper: Any) -> list[Any]:
    """Add what follows the output activation, and return the descriptions of the outputs."""
    n_outputs, kind = net.sizes[-1], _kind(helper, net.dtype)
    if net.task == "numbers":
        if net.target_scaling is not None:
            shift, scale = (np.array([values], dtype=net.dtype) for values in net.target_scaling)
            value = writer.node("Mul", [value, writer.constant(scale, "target_scale")], "unshifted")
            value = writer.node("Add", [value, writer.constant(shift, "target_shift")], "outputs")
        writer.output("Identity", [value], names[0])
        return [helper.make_tensor_value_info(names[0], kind, ["batch", n_outputs])]
    label, scores = names
    two_classes = n_outputs == 1 and net.kind.output.name == "sigmoid"
    if two_classes:
        complement = writer.node("Sub", [writer.scalar(1, net.dtype), value], "complement")
        writer.output("Concat", [complement, value], scores, axis=1)
    else:
        writer.output("Identity", [value], scores)
    if net.task == "labels" and not two_classes:
        above = writer.node("Greater", [value, writer.scalar(0.5, net.dtype)], "above_half")
        integer = _kind(helper, np.dtype(np.int64))
        writer.output("Cast", [above], label, to=integer)
        label_info = helper.make_tensor_value_info(label, integer, ["batch", n_outputs])
    else:
        label_info = _add_class(writer, net, scores, label, helper)
    return [label_info, helper.make_tensor_value_info(scores, kind, ["batch", 2 if two_classes else n_outputs])]


def _add_class(writer: GraphWriter, net: FeedForward, scores: str, label: str, helper: Any) -> Any:
    """The class of each row: its name, or its number if the classes have no names."""
    if net.classes is None:
        writer.output("ArgMax", [scores], label, axis=1, keepdims=0)
        return helper.make_tensor_value_info(label, _kind(helper, np.dtype(np.int64)), ["batch"])
    classes = class_array(net.classes)
    number = writer.node("ArgMax", [scores], "class_number", axis=1, keepdims=0)
    writer.output("Gather", [writer.constant(classes, "classes"), number], label, axis=0)
    return helper.make_tensor_value_info(label, _kind(helper, classes.dtype), ["batch"])


def class_array(classes: Sequence[Any]) -> NDArray[Any]:
    """The names of the classes as an array of one type that ONNX has.

    Raises
    ------
    ConfigurationError
        If the names have several types, or are integers of more than 64 bits.
    """
    types = {type(name) for name in classes}
    if types <= {str}:
        return np.array(classes, dtype=np.str_)
    if types <= {bool}:
        return np.array(classes, dtype=np.bool_)
    if types <= {int} and all(-(2**63) <= name < 2**63 for name in classes):
        return np.array(classes, dtype=np.int64)
    if types <= {int, float} and float in types:
        return np.array(classes, dtype=np.float64)
    raise ConfigurationError(
        f"the classes are {quoted(list(classes))}, but the labels of an ONNX file must be all strings, all booleans, "
        "all integers of 64 bits, or all numbers; assign other names to net.classes."
    )


def _kind(helper: Any, dtype: np.dtype[Any]) -> int:
    """The number of a type in ONNX."""
    if dtype.kind == "U":
        return int(require("onnx").TensorProto.STRING)
    return int(helper.np_dtype_to_tensor_dtype(dtype))
