"""What a page holds, as plain data: the network, its columns or images, its formulas, and rows if they were given."""

from __future__ import annotations

import base64
import json
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlp._backends import ConfigurationError
from mlp.data.preprocessing import NumericColumn
from mlp.inspection.play.update_settings import update_settings
from mlp.inspection.trace import symbols
from mlp.io.exports.model import Model
from mlp.io.model_files import describe
from mlp.network import FeedForward
from mlp.optimizers import Optimizer

MNIST_INPUTS = 784
"""Inputs that are taken for an image of 28 x 28 pixels even if the network has no factor for bytes."""


def contents(
    net: FeedForward,
    X: Any = None,
    y: Any = None,
    *,
    optimizer: Optimizer | None = None,
    batch_size: int | None = None,
    label_smoothing: float = 0.0,
    shuffle: bool = True,
    class_weights: NDArray[np.float64] | None = None,
    trained_rows: int | None = None,
    part: str = "",
    title: str = "",
    playground: bool = False,
) -> dict[str, Any]:
    """Everything that the page holds.

    Parameters
    ----------
    net : FeedForward
    X, y : array_like, optional
        Rows as `MLP.fit` takes them.
    optimizer : Optimizer, optional
        What the training in the page begins with; default: Adam.
    batch_size : int, optional
        Likewise; default: 32.
    label_smoothing : float
        Likewise.
    shuffle : bool
        Likewise.
    class_weights : ndarray, shape (number of classes,), optional
        Likewise.
    trained_rows : int, optional
        How many rows the network was trained on, if that is known.
    part : str
        The part of the data that the rows are from, such as ``"test"``.
    title : str
        Default: the widths of the layers.
    playground : bool
        Whether the page may replace the network by another one.

    Raises
    ------
    ConfigurationError
        If the network has a custom activation or loss, or there is something else that a page cannot compute.
    """
    model = Model.of(net)
    if net.kind.loss.custom:
        raise ConfigurationError(
            f"the loss {net.kind.loss.name!r} is a custom function, which a page cannot compute: it has only the "
            "losses of the library. Train with one of those."
        )
    plain = net.without_scaling_layer()
    rows = None if X is None else _rows(plain, X, y)
    side = image_side(model)
    kind = "image" if side else _KINDS.get(model.network_inputs, "columns")
    if model.columns is not None and _has_categories(model):
        kind = "columns"
    return {
        "title": title or "-".join(map(str, net.sizes)),
        "kind": kind,
        "network": _network(plain, model),
        "columns": None if model.columns is None else [_column(column) for column in model.columns],
        "inputs": _input_names(net),
        "image": None if side is None else {"side": side, "ink": _ink(model, X)},
        "parameters": _base64(_flat(model)),
        "rows": rows,
        "part": part,
        "training": _training(net, kind, rows, trained_rows)
        | update_settings(net.plan.layout, optimizer, rows["n"] if rows else None, batch_size or 32, class_weights)
        | {"labelSmoothing": label_smoothing, "shuffle": shuffle},
        "playground": playground,
        "file": _file(plain, rows),
        "formulas": _formulas(plain),
    }


_KINDS = {1: "curve", 2: "plane"}
"""How numbers are shown, by how many inputs there are."""


def image_side(model: Model) -> int | None:
    """The height and width of the images that a network takes; None if its inputs are not taken for an image."""
    side = math.isqrt(model.network_inputs)
    is_square = side * side == model.network_inputs and side > 1
    images = model.network_inputs == MNIST_INPUTS or model.input_scale is not None
    return side if model.columns is None and is_square and images else None


def _has_categories(model: Model) -> bool:
    return any(not isinstance(column, NumericColumn) for column in model.columns or ())


def _network(net: FeedForward, model: Model) -> dict[str, Any]:
    config = net.get_config()
    return {
        "sizes": config["sizes"],
        "activations": [*config["activation"], config["output_activation"]],
        "loss": config["loss"],
        "levels": list(net.kind.loss.level_of_each(net.sizes[-1])) if net.kind.loss.levels else [],
        "dropout": [config["input_dropout"], *config["dropout"]],
        "l2": config["l2"],
        "l1": config["l1"],
        "init": config["init"],
        "seed": str(config["seed"]),
        "dtype": config["dtype"],
        "targetScaling": config["target_scaling"],
        "task": model.task,
        "classes": [str(name) for name in model.classes],
        "oneOutput": model.has_one_output_for_two_classes,
        "areProbabilities": model.are_probabilities,
    }


def _column(column: Any) -> dict[str, Any]:
    if isinstance(column, NumericColumn):
        return {
            "name": str(column.name), "kind": "number", "fill": column.fill, "shift": column.shift,
            "scale": column.scale, "clipped": column.clipped,
        }  # fmt: skip
    return {"name": str(column.name), "kind": "category", "categories": list(column.categories), "rare": column.rare}


def _input_names(net: FeedForward) -> list[str] | None:
    """Names of the inputs after encoding; None for images, whose pixels have no names."""
    if net.preprocessing is not None:
        return [str(name) for name in net.preprocessing.feature_names]
    return None if net.sizes[0] > 100 else [f"x{i}" for i in range(net.sizes[0])]


def _ink(model: Model, X: Any) -> float:
    """The input of the network for a pixel that is drawn over completely."""
    if model.input_scale is not None:
        return model.input_scale * min(255, max(1, round(1 / model.input_scale)))
    return 1.0 if X is None or not np.size(X) else float(np.max(X)) or 1.0


def _flat(model: Model) -> NDArray[Any]:
    return np.concatenate([*(layer.W.ravel() for layer in model.layers), *(layer.b for layer in model.layers)])


def _rows(net: FeedForward, X: Any, y: Any) -> dict[str, Any]:
    """Rows as the network takes them, and targets as its loss takes them."""
    if y is None:
        inputs, target = net.xp.to_numpy(net.check_inputs(X)), None
    else:
        examples, _ = net.check_examples(X, y)
        inputs, target = net.xp.to_numpy(examples.X), net.xp.to_numpy(examples.target)
    scale = net.plan.input_scale if inputs.dtype == np.uint8 else 1.0
    return {
        "n": len(inputs),
        "X": _base64(inputs),
        "type": str(inputs.dtype),
        "scale": scale,
        "classes": None if target is None or target.ndim > 1 else target.tolist(),
        "targets": None if target is None or target.ndim == 1 else target.tolist(),
    }


def _training(net: FeedForward, kind: str, rows: dict[str, Any] | None, trained_rows: int | None) -> dict[str, Any]:
    """Whether the page can train the network, and on which part of the rows that it was trained on."""
    obstacle = None
    if any(row.backward is None for row in net.plan.activations):
        obstacle = "The activation step has no useful derivative, so the network cannot be trained."
    elif net.plan.layout.scaling_layer:
        obstacle = "The network has a scaling layer, which the page can use but not train."
    has_targets = rows is not None and (rows["classes"] is not None or rows["targets"] is not None)
    offered = obstacle is None and (kind in ("plane", "curve") or has_targets)
    is_part = rows is not None and trained_rows is not None and rows["n"] < trained_rows
    return {"offered": offered, "obstacle": obstacle, "trainedRows": trained_rows if is_part else None}


def _formulas(net: FeedForward) -> dict[str, Any]:
    """The formulas of one example, as the trace writes them, with the layer's number in brackets."""
    layers = []
    last = len(net.plan.activations)
    for number, row in enumerate(net.plan.activations, start=1):
        z, a = _of_layer("z", number), _of_layer("a", number)
        layers.append({"a": symbols.value_of(row, z), "slope": symbols.derivative_of(row, z, a)})
    z, a = _of_layer("z", last), _of_layer("a", last)
    texts = {
        "loss": symbols.loss_of(net.kind, a, net.sizes[-1], False),
        "delta": symbols.delta_of(net.kind, z, a, net.sizes[-1], False),
    }
    # a single row: m is 1
    return {"layers": layers} | {
        name: text.replace("1/m · ", "").replace(f"1/({net.sizes[-1]}m)", f"1/{net.sizes[-1]}")
        for name, text in texts.items()
    }


CHANGEABLE = ("sizes", "activation", "init", "dropout", "seed")
"""What the page can change in the description of the network."""


def _file(net: FeedForward, rows: dict[str, Any] | None) -> str:
    """The metadata of a model file as JSON, in which ``"@name"`` stands for what the page can change."""
    description = describe(net)
    config = description["config"] | {name: f"@{name}" for name in CHANGEABLE}
    class_numbers = net.class_numbers or (rows is not None and rows["classes"] is not None)
    return json.dumps(description | {"config": config, "class_numbers": class_numbers})


_SUPERSCRIPTS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


def _of_layer(letter: str, number: int) -> str:
    return f"{letter}⁽{str(number).translate(_SUPERSCRIPTS)}⁾"


def _base64(array: NDArray[Any]) -> str:
    return base64.b64encode(array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()).decode()
