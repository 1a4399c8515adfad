"""Model files: a network, with or without its training state.

Their format is described in `model_format` and `model_tensors`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlp._backends import (
    Activation,
    ConfigurationError,
    FileFormatError,
    Layout,
    ShapeError,
    UnknownNameError,
    formulas,
    resolve,
)
from mlp._version import __version__
from mlp.checks import quoted, shortened
from mlp.configuration import Configuration, configure
from mlp.data import Preprocessing
from mlp.io.atomic_write import write_atomically
from mlp.io.model_format import FORMAT_VERSION, MODEL_FORMAT_VERSION, TABLE_FORMAT_VERSION, damaged, opened, to_chunks
from mlp.io.model_tensors import BATCHES, OTHER, SLOTS, Tensors, flat_parameters, layer_tensors
from mlp.network import FeedForward
from mlp.training import History, TrainingState

Custom = Mapping[str, Activation | formulas.Loss]


def save(net: FeedForward, path: str | os.PathLike[str]) -> None:
    """Write a network atomically to a safetensors file.

    Parameters
    ----------
    net : MLP
    path : str or path-like
        The usual suffix is ``.safetensors``.  An existing file is replaced.

    Raises
    ------
    StorageError
        If the file cannot be written; then an existing file is not changed.
    ConfigurationError
        If a class name is not a string, number or boolean.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = pathlib.Path(folder.name) / "small.safetensors"
    >>> import mlp
    >>> save(mlp.MLP([2, 3, 1], loss="mse"), path)
    >>> mlp.load(path).sizes
    (2, 3, 1)
    >>> folder.cleanup()
    """
    write_atomically(path, *to_chunks(describe(net), layer_tensors(net.plan.layout, _host(net, net.parameters))))


def read(
    path: str | os.PathLike[str], *, backend: str = "auto", device: str = "auto", custom: Custom | None = None
) -> tuple[FeedForward, TrainingState | None]:
    """Read a network and, if the file contains it, its training state; see `mlp.load`."""
    resolve(backend, device)  # first, so that all later errors are errors of the file
    with opened(path) as file:
        tensors = file.read()
    description, where = file.description, file.where
    net = FeedForward(_configuration(description, custom or {}, where), backend, device)
    net.set_parameters(flat_parameters(file.layout, tensors))
    net.class_numbers = description["class_numbers"]
    state = _training_state(net, description, tensors, where) if "training" in description else None
    return net, state


# -- training state ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Snapshot:
    """A copy of a network and its training state; further training does not change it."""

    description: dict[str, Any]
    layout: Layout
    parameters: NDArray[Any]
    state: TrainingState

    @classmethod
    def of(cls, net: FeedForward, state: TrainingState) -> Snapshot:
        """Copy everything that training changes."""
        return cls.made_of(
            net, state.snapshot(net.xp, _host(net, state.slots).copy()), _host(net, net.parameters).copy()
        )

    @classmethod
    def made_of(cls, net: FeedForward, state: TrainingState, parameters: NDArray[Any]) -> Snapshot:
        """A snapshot of copies that were made already."""
        return cls(describe(net), net.plan.layout, parameters, state)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the network and its training state atomically to a safetensors file."""
        write_atomically(path, *self.to_chunks())

    def to_chunks(self) -> list[bytes | memoryview]:
        """The content of that file.

        Raises
        ------
        ConfigurationError
            If there can be no such file.
        """
        tensors = layer_tensors(self.layout, self.parameters) | {SLOTS: self.state.slots}
        if self.state.other_weights is not None:
            tensors[OTHER] = self.state.other_weights
        if self.state.batches.size:
            tensors[BATCHES] = self.state.batches
        version = max(FORMAT_VERSION, self.description["format_version"])
        training = {"format_version": version, "training": self.state.to_dict()}
        return to_chunks(self.description | training, tensors)

    def save_model(self, path: str | os.PathLike[str]) -> None:
        """Write only the network, as `save` does, with the best weights if there are any from early stopping."""
        best = self.state.other_weights
        tensors = layer_tensors(self.layout, self.parameters if best is None else best)
        write_atomically(path, *to_chunks(self.description, tensors))


def read_training_state(net: FeedForward, path: str | os.PathLike[str]) -> TrainingState:
    """Load the weights of a file into `net` and return the training state; see `load_training_state`."""
    with opened(path) as file:
        description, where = file.description, file.where
        if "training" not in description:
            raise FileFormatError(
                f"{where} contains a model without training state; write the file with "
                "mlp.persistence.save_training_state(net, path)"
            )
        config = json.loads(json.dumps(net.get_config()))
        different = [key for key in config if config[key] != description["config"].get(key)]
        if different:
            key = different[0]
            raise ConfigurationError(
                f"{where} is the training state of another network: its {key} is "
                f"{quoted(description['config'].get(key))}, and that of this network is {quoted(config[key])}."
            )
        tensors = file.read()
    state = _training_state(net, description, tensors, where)
    net.set_parameters(flat_parameters(file.layout, tensors))
    net.class_numbers = description["class_numbers"]
    return state


def _training_state(net: FeedForward, description: dict[str, Any], tensors: Tensors, where: str) -> TrainingState:
    slots, weights = tensors[SLOTS], tensors.get(OTHER)
    other_weights = None if weights is None else net.xp.asarray(weights)
    batches = tensors.get(BATCHES, np.empty((2, 0)))
    try:
        state = TrainingState.from_dict(description["training"], net.xp.asarray(slots), batches, other_weights)
    except (ConfigurationError, KeyError, TypeError, AttributeError) as error:
        cause = f"{type(error).__name__}: {shortened(error)}"
        raise damaged(where, f"its training state cannot be read ({cause})") from error
    if description["format_version"] == 1:
        _count_epochs_from_one(state.history)
    return state


def _count_epochs_from_one(history: History) -> None:
    """Convert a history of format version 1, whose epochs are counted from 0."""
    if history.best_epoch is not None:
        before, marker, _ = history.stop_reason.rpartition("best was epoch ")
        if marker:
            history.stop_reason = f"{before}{marker}{history.best_epoch + 1}"
        history.best_epoch += 1


# -- what a file says about a network ------------------------------------------------------------------


def describe(net: FeedForward) -> dict[str, Any]:
    """The metadata of the file of a network, without the checksum."""
    config = net.get_config()
    if net.precision == "float32":
        del config["precision"]  # so that older versions, which do not know it, read the file
    if not net.plan.layout.scaling_layer:
        del config["scaling_layer"]
    return {
        "format_version": TABLE_FORMAT_VERSION if _is_new(net) else MODEL_FORMAT_VERSION,
        "written_by": f"mlp {__version__}",
        "config": config,
        "class_numbers": net.class_numbers,
        "preprocessing": None if net.preprocessing is None else net.preprocessing.to_dict(),
    }


def _is_new(net: FeedForward) -> bool:
    """Whether version 0.2.0 would ignore a part of the network or fail: quantiles, a scaling layer, or raw tables."""
    preprocessing = net.preprocessing
    return bool(net.kind.loss.levels or net.plan.layout.scaling_layer) or (
        preprocessing is not None
        and (
            preprocessing.preparation is not None
            or preprocessing.scale == "robust"
            or any(getattr(column, "rare", False) for column in preprocessing.columns)
        )
    )


def _configuration(description: dict[str, Any], custom: Custom, where: str) -> Configuration:
    """The configuration that a file describes."""
    arguments, state = _with_custom(description["config"], custom, where), description["preprocessing"]
    try:
        preprocessing = None if state is None else Preprocessing.from_dict(state)
        return configure(**arguments, preprocessing=preprocessing)
    except (ConfigurationError, ShapeError) as error:
        raise damaged(where, f"its configuration is invalid ({shortened(error)})") from error


def _with_custom(config: dict[str, Any], custom: Custom, where: str) -> dict[str, Any]:
    """The configuration with custom functions in place of their names."""
    if not isinstance(custom, Mapping):
        raise ConfigurationError(
            "custom must be a dict of the custom functions by name, such as "
            f"{{'bent': mlp.custom_activation('bent', ...)}}, not {custom!r:.80}."
        )
    for name, function in custom.items():
        if not isinstance(function, Activation | formulas.Loss) or function.name != name:
            raise ConfigurationError(
                f"custom[{name!r}] is {function!r:.80}; expected the result of mlp.custom_activation({name!r}, ...) or "
                f"mlp.custom_loss({name!r}, ...)."
            )

    def replace_name(name: str, kind: type, builtin: Mapping[str, Any]) -> Any:
        if name in builtin:
            return name
        if isinstance(custom.get(name), kind):
            return custom[name]
        kind_name = kind.__name__.lower()
        suggestion = UnknownNameError.among(kind_name, name, [*builtin, *custom])
        raise ConfigurationError(
            f"{where} uses the custom {kind_name} {name!r}, and files do not contain code: pass it to "
            f"mlp.load(path, custom={{{name!r}: mlp.custom_{kind_name}({name!r}, ...)}}). ({suggestion})"
        )

    return config | {
        "activation": [replace_name(name, Activation, formulas.ACTIVATIONS) for name in config["activation"]],
        "output_activation": replace_name(config["output_activation"], Activation, formulas.ACTIVATIONS),
        "loss": replace_name(config["loss"], formulas.Loss, formulas.LOSSES),
    }


def _host(net: FeedForward, array: Any) -> NDArray[Any]:
    return net.xp.to_numpy(array)
