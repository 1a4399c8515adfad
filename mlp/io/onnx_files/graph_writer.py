"""`GraphWriter`: collects the nodes and constants of an ONNX graph."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlp.io.onnx_files.libraries import require

ML_DOMAIN = "ai.onnx.ml"
"""The domain of the operators for categories, in the names of ONNX."""


class GraphWriter:
    """A graph under construction.

    Parameters
    ----------
    reserved : collection of str
        Names that no inner value may have, such as those of the inputs and outputs.

    Attributes
    ----------
    nodes, constants : list
        Messages of ONNX, in the order in which they were added.
    """

    def __init__(self, reserved: Collection[str]) -> None:
        self._onnx = require("onnx")
        self._names = set(reserved)
        self._scalars: dict[tuple[str, bytes], str] = {}
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def node(self, operator: str, inputs: Sequence[str], name: str, *, domain: str = "", **attributes: Any) -> str:
        """Add a node with one output, and return the name of that; a number is added to a `name` that is taken."""
        return self._add(operator, inputs, self.unused(name), domain, attributes)

    def output(self, operator: str, inputs: Sequence[str], name: str, **attributes: Any) -> None:
        """Add a node whose result is the output `name` of the graph."""
        self._add(operator, inputs, name, "", attributes)

    def constant(self, array: NDArray[Any], name: str) -> str:
        """Add a constant, and return its name."""
        name = self.unused(name)
        if array.dtype.kind == "U":
            helper, kind = self._onnx.helper, self._onnx.TensorProto.STRING
            tensor = helper.make_tensor(name, kind, array.shape, [text.encode() for text in array.ravel().tolist()])
        else:
            tensor = self._onnx.numpy_helper.from_array(np.ascontiguousarray(array), name)
        self.constants.append(tensor)
        return name

    def scalar(self, value: float, dtype: np.dtype[Any]) -> str:
        """The name of a constant of one number; equal ones stand once."""
        number = np.array(value, dtype)
        key = (str(dtype), number.tobytes())
        if key not in self._scalars:
            self._scalars[key] = self.constant(number, f"constant_{value:g}")
        return self._scalars[key]

    def unused(self, name: str) -> str:
        """`name`, or `name` with a number, reserved for a value."""
        candidate, number = name, 1
        while candidate in self._names:
            number += 1
            candidate = f"{name}_{number}"
        self._names.add(candidate)
        return candidate

    def _add(self, operator: str, inputs: Sequence[str], output: str, domain: str, attributes: dict[str, Any]) -> str:
        self.nodes.append(
            self._onnx.helper.make_node(operator, list(inputs), [output], name=output, domain=domain, **attributes)
        )
        return output
