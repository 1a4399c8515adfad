"""Read an ONNX file as a network; see `mlp.from_onnx`.

No code of the file is run, no other file is opened, and constants are limited to what the file holds.
"""

from __future__ import annotations

import itertools
import logging
import os
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlp._backends import ConfigurationError, FileFormatError, MLPError, formulas, resolve
from mlp.checks import quoted, shortened
from mlp.configuration import LOSS_FOR, configure
from mlp.data.files import open_checked
from mlp.data.preprocessing import CategoricalColumn, NumericColumn, Preprocessing
from mlp.io.onnx_files.interpretation import Interpretation
from mlp.io.onnx_files.libraries import require
from mlp.io.onnx_files.operators import activation_of
from mlp.io.onnx_files.values import (
    ClassMap,
    Label,
    Layer,
    Numbers,
    Refusal,
    Signal,
    Stacked,
    Steps,
    Table,
    TwoClasses,
    Value,
)
from mlp.network import FeedForward

logger = logging.getLogger("mlp")

_MAX_BYTES = 2**31 - 1  # of a message of protobuf


def from_onnx(
    path: str | os.PathLike[str], *, loss: Any = None, backend: str = "auto", device: str = "auto"
) -> FeedForward:
    """Read an ONNX file as a network; see `mlp.from_onnx`."""
    resolve(backend, device)  # first, so that all later errors are errors of the file
    if loss is not None:
        formulas.loss(loss)
    onnx = require("onnx")
    where = repr(os.fspath(path))
    with open_checked(path, "ONNX") as (handle, size):
        if size > _MAX_BYTES:
            raise FileFormatError(f"{where} has {size} bytes, but an ONNX file has at most {_MAX_BYTES}")
        model = onnx.ModelProto()
        model.ParseFromString(handle.read())
        if not len(model.graph.node):
            raise FileFormatError(
                f"{where} is not an ONNX file, or it has a graph without nodes; export the model again"
            )
        values = Interpretation(model.graph, where, size)
        outputs = [(output.name, values.output(output.name)) for output in model.graph.output]
        try:
            result = _Result.of(outputs)
            return _network(result, loss, backend, device)
        except Refusal as refusal:
            raise FileFormatError(f"{where} cannot be read as a network: {refusal}") from None
        except FileFormatError:
            raise
        except MLPError as error:
            if loss is not None and isinstance(
                error, ConfigurationError
            ):  # such as a loss that does not fit the output
                raise
            raise FileFormatError(f"{where} describes an invalid network: {shortened(error)}") from error


# -- outputs --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Result:
    """What the outputs of a graph say about the network.

    Attributes
    ----------
    layer : Layer
        The last one.
    activation : str or None
        The output activation; None if the graph ends in the last layer's sums.
    scaling : Steps
        What follows an identity.
    classes : tuple or None
    picks_one : bool
        Whether there is a label for the largest output.
    numbers : bool
        Whether the only output has the name that regressors give it.
    """

    layer: Layer
    activation: str | None
    scaling: Steps
    classes: tuple[Any, ...] | None
    picks_one: bool
    numbers: bool

    @classmethod
    def of(cls, outputs: list[tuple[str, Value]]) -> _Result:
        """Understand the outputs of a graph.

        Raises
        ------
        Refusal
            If they are not those of one network.
        """
        signals, labels, flags = [], [], []
        classes: tuple[Any, ...] | None = None
        for name, value in outputs:
            if isinstance(value, Label):
                labels.append(value)
                classes = value.classes or classes
            elif isinstance(value, Signal) and value.values is not None and value.values.dtype.kind in "bi":
                flags.append((name, value))
            elif isinstance(value, Signal):
                signals.append((name, value))
            elif isinstance(value, TwoClasses | ClassMap | Stacked):
                signals.append((name, value.signal))
                classes = (value.classes if isinstance(value, ClassMap) else None) or classes
            else:
                raise Refusal(f"its output {quoted(name)} is not that of a layer")
        if len(signals) > 1:
            names = ", ".join(quoted(name) for name, _ in signals[:3])
            raise Refusal(f"it has several outputs of numbers, {names}; keep one, with onnx.utils.extract_model")
        if not signals and not labels:
            raise Refusal("it has no output of numbers")
        main = signals[0][1] if signals else labels[0].signal
        for label in labels:
            _require_same(main, label.signal)
        for name, flag in flags:
            if flag.layer is not main.layer or not _is_above_half(flag, main):
                raise Refusal(f"its output {quoted(name)} is not that of a layer, nor 1 where that is above 1/2")
        activation, scaling = _output_activation(main)
        halves = [name for name, _ in flags] or [name for name, _ in outputs if labels and main.layer.width == 1]
        if halves and activation != "sigmoid":
            raise Refusal(f"its output {quoted(halves[0])} compares with 1/2 what is not the output of a sigmoid")
        return cls(
            main.layer, activation, scaling, classes, bool(labels), [name for name, _ in outputs] == ["variable"]
        )


def _require_same(main: Signal, other: Signal) -> None:
    if other.layer is not main.layer:
        raise Refusal("its label and its probabilities come from different layers")
    kinds = [_output_activation(signal) for signal in (main, other)]
    if kinds[0][0] != kinds[1][0] and {name for name, _ in kinds} not in ({None, "softmax"}, {None, "sigmoid"}):
        raise Refusal("its label is not that of the largest of its outputs")


def _is_above_half(flag: Signal, main: Signal) -> bool:
    assert flag.values is not None
    return main.values is not None and np.array_equal(flag.values, main.values > 0.5)


def _output_activation(signal: Signal) -> tuple[str | None, Steps]:
    if signal.softmax:
        return "softmax", ()
    name = None if signal.values is None else activation_of(np.asarray(signal.values, dtype=np.float64))
    if name == "identity" and not signal.steps:
        return None, ()
    if name is not None and name != "identity":
        return name, ()
    if signal.steps:
        return "identity", signal.steps
    raise Refusal(f"{signal.node} ends what follows {signal.layer.node}, which is no activation of this library")


# -- the network ----------------------------------------------------------------------------------------


def _network(result: _Result, loss: Any, backend: str, device: str) -> FeedForward:
    layers, activations = _chain(result.layer)
    output, loss = _output_and_loss(result, loss)
    dtypes = sorted({str(array.dtype) for layer in layers for array in (layer.W, layer.b) if array is not None})
    if dtypes not in (["float32"], ["float64"]):
        raise Refusal(f"its weights are {' and '.join(dtypes)}; they must all be float32, or all float64")
    table = layers[0].source
    assert isinstance(table, Table)
    sizes = [layers[0].W.shape[0], *(layer.width for layer in layers)]
    input_scale, preprocessing = _preparation(table)
    configuration = configure(
        sizes,
        activations,
        output,
        loss,
        dtype=dtypes[0],
        classes=result.classes,
        input_scale=input_scale,
        preprocessing=preprocessing,
        target_scaling=_target_scaling(result.scaling, sizes[-1]) if result.scaling else None,
    )
    net = FeedForward(configuration, backend, device)
    if unbiased := [layer.node for layer in layers if layer.b is None]:
        more = f" and {len(unbiased) - 1} more" if len(unbiased) > 1 else ""
        logger.warning("%s%s: no bias; these layers get biases of zeros, which training changes", unbiased[0], more)
    net.weights = [layer.W for layer in layers]
    net.biases = [np.zeros(layer.width, dtypes[0]) if layer.b is None else layer.b.copy() for layer in layers]
    net.class_numbers = result.picks_one and sizes[-1] > 1 and net.kind.loss.name != "cross_entropy"
    part = table.parts[0]
    if preprocessing is not None and len(table.parts) == 1 and isinstance(part, Numbers) and len(part.names) == 1:
        logger.warning(
            "the graph scales its input %r, and the network takes scaled inputs: net.preprocessing.transform(X)",
            part.names[0],
        )
    return net


def _chain(last: Layer) -> tuple[list[Layer], list[str]]:
    """The layers from the first to the last, and the activations between them."""
    layers, activations = [last], list[str]()
    while isinstance(source := layers[0].source, Signal):
        values = None if source.softmax else source.values
        name = None if values is None else activation_of(np.asarray(values, dtype=np.float64))
        if name is None:
            raise Refusal(
                f"{source.node} ends what is between {source.layer.node} and {layers[0].node}, which is no activation "
                "of this library. Define it with mlp.custom_activation, and build the network with mlp.MLP, "
                "net.weights and net.biases"
            )
        if formulas.ACTIVATIONS[name].role == "output":
            raise Refusal(f"{name!r} follows {source.layer.node}, but it is for the output only")
        layers.insert(0, source.layer)
        activations.insert(0, name)
    return layers, activations


def _output_and_loss(result: _Result, loss: Any) -> tuple[str, Any]:
    """The output activation and the loss; with a `loss`, a graph that ends in sums gets the activation for that."""
    if loss is not None:
        return result.activation or "auto", loss
    output = result.activation or "identity"
    loss = LOSS_FOR.get(output, "mse")
    return output, "mse" if result.numbers and loss != "poisson" else loss


def _target_scaling(steps: Steps, n_outputs: int) -> tuple[list[float], list[float]]:
    """The shift and the scale of ``z * scale + shift``."""
    shift, scale = np.zeros(n_outputs), np.ones(n_outputs)
    for operator, row in steps:
        number = row.astype(np.float64)
        if operator in ("Add", "Sub"):
            shift = shift + (number if operator == "Add" else -number)
        else:
            shift, scale = (part * number if operator == "Mul" else part / number for part in (shift, scale))
    return shift.tolist(), scale.tolist()


# -- inputs ---------------------------------------------------------------------------------------------


def _preparation(table: Table) -> tuple[float | None, Preprocessing | None]:
    """`input_scale` and `preprocessing` of the network."""
    if len(table.parts) == 1 and isinstance(part := table.parts[0], Numbers) and len(part.names) == 1:
        if part.fill is None and not part.steps:
            return None, None
        if part.dtype == "uint8" and len(part.steps) == 1 and part.steps[0][0] in ("Mul", "Div"):
            [(operator, row)] = part.steps
            if (row == row[0]).all():
                return float(row[0]) if operator == "Mul" else 1 / float(row[0]), None
    columns: list[NumericColumn | CategoricalColumn] = []
    for part in table.parts:
        if isinstance(part, Numbers):
            columns += _numeric_columns(part, alone=len(table.parts) == 1)
        else:
            columns.append(CategoricalColumn(part.name, part.categories))
    names = [column.name for column in columns]
    if len(set(names)) < len(names):
        raise Refusal("its numbered inputs have the names of others; rename the inputs")
    scaled = any(isinstance(column, NumericColumn) and (column.shift, column.scale) != (0, 1) for column in columns)
    preprocessing = Preprocessing("standard" if scaled else "none", tuple(columns))
    return None, Preprocessing.from_dict(preprocessing.to_dict())  # which checks it


def _numeric_columns(part: Numbers, *, alone: bool) -> list[NumericColumn]:
    """The columns of ``(x - shift) / scale``; inputs of several columns are numbered."""
    assert part.width is not None
    names: list[str] = []
    for name, width in zip(part.names, part.widths, strict=True):
        prefix = "x" if alone and len(part.names) == 1 else name
        names += [name] if width == 1 else [f"{prefix}{number}" for number in range(width or 0)]
    shift, scale = np.zeros(part.width), np.ones(part.width)
    with np.errstate(all="ignore"):
        for operator, row in part.steps:
            number: NDArray[np.float64] = row.astype(np.float64)
            if operator in ("Add", "Sub"):
                shift = shift + scale * (number if operator == "Sub" else -number)
            else:
                scale = scale * number if operator == "Div" else scale / number
    fill = shift if part.fill is None else np.broadcast_to(part.fill.astype(np.float64), shift.shape)
    columns = zip(names, fill.tolist(), shift.tolist(), scale.tolist(), strict=True)
    return list(itertools.starmap(NumericColumn, columns))
