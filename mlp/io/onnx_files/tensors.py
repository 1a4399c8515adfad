"""Read the tensors of an ONNX file; what they declare is compared with what they hold before memory is allocated."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlp.checks import quoted
from mlp.data.files import declared_bytes
from mlp.io.onnx_files.libraries import require
from mlp.io.onnx_files.values import Refusal

TYPES = {
    1: "float32", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64", 8: "string", 9: "bool",
    11: "float64", 12: "uint32", 13: "uint64",
}  # fmt: skip
"""The types of tensors by their numbers in ONNX, without those of which NumPy has none."""

_FIELDS = {
    "float32": "float_data",
    "float64": "double_data",
    "int64": "int64_data",
    "string": "string_data",
    "uint32": "uint64_data",
    "uint64": "uint64_data",
}
"""Where a tensor keeps values that are not raw bytes; those of other types are in ``int32_data``."""


def read_tensor(tensor: Any, where: str) -> NDArray[Any]:
    """The array of a TensorProto.

    Raises
    ------
    Refusal, FileFormatError
        If it is in another file, of a type that is not supported, or its size is not what its shape declares.
    """
    if tensor.data_location != 0 or len(tensor.external_data):
        raise Refusal(
            "its values are in another file, and no other file is read; write the model into a single file: "
            "onnx.save(onnx.load(path), path)"
        )
    kind = TYPES.get(tensor.data_type)
    if kind is None:
        raise Refusal(f"it has type {type_name(tensor.data_type)}, which is not supported; convert it to float32")
    shape = tuple(tensor.dims)
    size = np.dtype("O" if kind == "string" else kind).itemsize
    declared = declared_bytes(shape, size, where)
    raw = tensor.HasField("raw_data")
    values = tensor.raw_data if raw else getattr(tensor, _FIELDS.get(kind, "int32_data"))
    found = len(values) if raw else len(values) * size
    if found != declared or (raw and kind == "string"):
        raise Refusal(f"its shape {quoted(list(shape))} needs {declared} bytes, but it has {found}")
    if kind == "string":
        return np.array([decoded(text) for text in values], dtype=object).reshape(shape)
    if raw:
        return np.frombuffer(values, np.dtype(kind).newbyteorder("<")).astype(kind).reshape(shape)
    return np.array(values).astype(kind).reshape(shape)


def decoded(text: bytes) -> str:
    """A string of the file."""
    try:
        return text.decode()
    except UnicodeDecodeError:
        raise Refusal(f"it has the string {quoted(text)}, which is not UTF-8") from None


def type_name(number: int) -> str:
    """The name of a type in ONNX, for messages."""
    names = require("onnx").TensorProto.DataType
    return str(names.Name(number)) if number in names.values() else f"number {number}"
