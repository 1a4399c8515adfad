"""Model files: one safetensors file per network, with or without its training state.

The tensors are ``layers.0.weight`` (n_in, n_out), ``layers.0.bias`` (n_out,), and so on.  The metadata describes the
network, as JSON under the key ``mlp``.  A file contains only numbers and names: reading it runs no code.
"""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
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
from mlp.configuration import Configuration, configure
from mlp.data import Preprocessing
from mlp.data.files import open_checked
from mlp.io.atomic_write import write_atomically
from mlp.network import FeedForward
from mlp.training import History, TrainingState

Custom = Mapping[str, Activation | formulas.Loss]
Tensors = dict[str, NDArray[Any]]

FORMAT_VERSION = 2
"""Version of files with a training state: epochs are counted from 1, and in version 1 from 0."""
MODEL_FORMAT_VERSION = 1
"""Version of files without one, which are the same in both versions: older versions of mlp can read them."""

_KEY = "mlp"
_SLOTS, _OTHER = "training.slots", "training.other_weights"


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
    write_atomically(path, _to_bytes(_describe(net), _layer_tensors(net.plan.layout, _host(net, net.parameters))))


def read(
    path: str | os.PathLike[str], *, backend: str = "auto", device: str = "auto", custom: Custom | None = None
) -> tuple[FeedForward, TrainingState | None]:
    """Read a network and, if the file contains it, its training state; see `mlp.load`."""
    resolve(backend, device)  # first, so that all later errors are errors of the file
    where = repr(os.fspath(path))
    description, tensors = _read(path)
    layout = _check_tensors(description, tensors, where)
    net = FeedForward(_configuration(description, custom or {}, where), backend, device)
    net.set_parameters(_flat(layout, tensors))
    net.class_numbers = description["class_numbers"] is True
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
        history = copy.copy(state.history)
        for name, value in vars(history).items():
            if isinstance(value, list):
                setattr(history, name, value.copy())
        copied_state = replace(
            state,
            optimizer=copy.deepcopy(state.optimizer),
            slots=_host(net, state.slots).copy(),
            history=history,
            other_weights=None if state.other_weights is None else _host(net, state.other_weights).copy(),
        )
        return cls(_describe(net), net.plan.layout, _host(net, net.parameters).copy(), copied_state)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the network and its training state atomically to a safetensors file."""
        tensors = _layer_tensors(self.layout, self.parameters) | {_SLOTS: self.state.slots}
        if self.state.other_weights is not None:
            tensors[_OTHER] = self.state.other_weights
        training = {"format_version": FORMAT_VERSION, "training": self.state.to_dict()}
        write_atomically(path, _to_bytes(self.description | training, tensors))

    def save_model(self, path: str | os.PathLike[str]) -> None:
        """Write only the network, as `save` does, with the best weights if there are any from early stopping."""
        best = self.state.other_weights
        tensors = _layer_tensors(self.layout, self.parameters if best is None else best)
        write_atomically(path, _to_bytes(self.description, tensors))


def read_training_state(net: FeedForward, path: str | os.PathLike[str]) -> TrainingState:
    """Load the weights of a file into `net` and return the training state; see `load_training_state`."""
    where = repr(os.fspath(path))
    description, tensors = _read(path)
    layout = _check_tensors(description, tensors, where)
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
            f"{where} is the training state of another network: its {key} is {description['config'].get(key)!r}, and "
            f"that of this network is {config[key]!r}."
        )
    state = _training_state(net, description, tensors, where)
    net.set_parameters(_flat(layout, tensors))
    net.class_numbers = description["class_numbers"] is True
    return state


def _training_state(net: FeedForward, description: dict[str, Any], tensors: Tensors, where: str) -> TrainingState:
    weights = tensors.get(_OTHER)
    try:
        slots = net.xp.asarray(tensors[_SLOTS])
        other_weights = None if weights is None else net.xp.asarray(weights)
        state = TrainingState.from_dict(description["training"], slots, other_weights)
        if description["format_version"] == 1:
            _count_epochs_from_one(state.history)
        expected = len(state.optimizer.rule.row.state), net.plan.layout.n_parameters
    except (ConfigurationError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(where, f"its training state cannot be read ({type(error).__name__}: {error})") from error
    if slots.shape != expected or (weights is not None and weights.shape != expected[1:]):
        raise _damaged(where, f"{_SLOTS} has shape {slots.shape}, but its optimizer needs {expected}")
    return state


def _count_epochs_from_one(history: History) -> None:
    """Convert a history of format version 1, whose epochs are counted from 0."""
    if history.best_epoch is not None:
        before, marker, _ = history.stop_reason.rpartition("best was epoch ")
        if marker:
            history.stop_reason = f"{before}{marker}{history.best_epoch + 1}"
        history.best_epoch += 1


# -- writing -------------------------------------------------------------------------------------------


def _host(net: FeedForward, array: Any) -> NDArray[Any]:
    return net.xp.to_numpy(array)


def _layer_tensors(layout: Layout, flat: NDArray[Any]) -> Tensors:
    return {
        f"layers.{l}.{part}": array
        for l, (W, b) in enumerate(layout.layers(flat))
        for part, array in (("weight", W), ("bias", b))
    }


def _describe(net: FeedForward) -> dict[str, Any]:
    config = net.get_config()
    if net.precision == "float32":
        del config["precision"]  # so that older versions, which do not know it, read the file
    return {
        "format_version": MODEL_FORMAT_VERSION,
        "written_by": f"mlp {__version__}",
        "config": config,
        "class_numbers": net.class_numbers,
        "preprocessing": None if net.preprocessing is None else net.preprocessing.to_dict(),
    }


def _to_bytes(description: dict[str, Any], tensors: Tensors) -> bytes:
    from safetensors.numpy import save as serialize

    classes = description["config"]["classes"] or ()
    if invalid := [name for name in classes if not isinstance(name, str | int | float | bool)]:
        raise ConfigurationError(
            f"classes contains {invalid[0]!r} of type {type(invalid[0]).__name__}; class names must be strings, "
            "numbers or booleans to be saved: convert them to strings."
        )
    # safetensors ignores strides
    contiguous = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    return serialize(contiguous, metadata={_KEY: json.dumps(description)})


# -- reading -------------------------------------------------------------------------------------------


def _read(path: str | os.PathLike[str]) -> tuple[dict[str, Any], Tensors]:
    """Read the description and the tensors of a model file; the caller checks their values."""
    from safetensors import safe_open

    where = repr(os.fspath(path))
    with open_checked(path, "safetensors"), safe_open(os.fspath(path), framework="np") as handle:
        text = (handle.metadata() or {}).get(_KEY)
        if text is None:
            raise FileFormatError(
                f"{where} is a safetensors file of another program: it has no metadata {_KEY!r}, which describes the "
                "network; save models with net.save(path)"
            )
        description = json.loads(text)
        if not isinstance(description, dict) or not isinstance(description.get("config"), dict):
            raise _damaged(where, "its metadata does not describe a network")
        version = description.get("format_version")
        if version not in (MODEL_FORMAT_VERSION, FORMAT_VERSION):
            writer = description.get("written_by", "an unknown program")
            raise FileFormatError(
                f"{where} has format version {version!r}, written by {writer}, but mlp {__version__} reads versions "
                f"up to {FORMAT_VERSION}; use the version of mlp that wrote it, or a newer one"
            )
        if not {"class_numbers", "preprocessing"} <= set(description):
            raise _damaged(where, "its metadata is incomplete")
        description["config"].setdefault("precision", "float32")
        return description, {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118


def _damaged(where: str, reason: str) -> FileFormatError:
    return FileFormatError(f"{where} is damaged: {reason}; save the model again")


def _check_tensors(description: dict[str, Any], tensors: Tensors, where: str) -> Layout:
    """Compare the tensors with the configuration before memory for the network is allocated."""
    config = description["config"]
    sizes = config.get("sizes")
    if not isinstance(sizes, list) or len(sizes) < 2 or not all(type(n) is int and n > 0 for n in sizes):
        raise _damaged(where, f"its sizes are {sizes!r:.80}")
    layout = Layout(tuple(sizes))
    shapes: dict[str, tuple[int, ...]] = {}
    for l, (n_in, n_out) in enumerate(pairwise(sizes)):
        shapes |= {f"layers.{l}.weight": (n_in, n_out), f"layers.{l}.bias": (n_out,)}
    for name, shape in shapes.items():
        if name not in tensors:
            raise _damaged(where, f"a network of sizes {sizes} needs a tensor {name!r}, which is missing")
        if tensors[name].shape != shape:
            raise _damaged(where, f"{name} has shape {tensors[name].shape}, but must have {shape}")
    extra = set(tensors) - set(shapes) - ({_SLOTS, _OTHER} if "training" in description else set())
    if extra:
        raise _damaged(where, f"a network of sizes {sizes} has no tensor {min(extra)!r}")
    for name, array in tensors.items():
        if str(array.dtype) != config.get("dtype"):
            raise _damaged(where, f"{name} is {array.dtype}, but the network's dtype is {config.get('dtype')!r}")
        if not np.isfinite(array).all():
            raise _damaged(where, f"{name} contains NaN or infinity")
    return layout


def _flat(layout: Layout, tensors: Tensors) -> NDArray[Any]:
    flat = np.empty(layout.n_parameters, tensors["layers.0.weight"].dtype)
    for l, (W, b) in enumerate(layout.layers(flat)):
        W[...], b[...] = tensors[f"layers.{l}.weight"], tensors[f"layers.{l}.bias"]
    return flat


def _configuration(description: dict[str, Any], custom: Custom, where: str) -> Configuration:
    """The configuration that a file describes."""
    arguments, state = _with_custom(description["config"], custom, where), description["preprocessing"]
    try:
        preprocessing = None if state is None else Preprocessing.from_dict(state)
        return configure(**arguments, preprocessing=preprocessing)
    except (ConfigurationError, ShapeError, TypeError) as error:
        raise _damaged(where, f"its configuration is invalid ({error})") from error


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

    def replace_name(name: Any, kind: type, builtin: Mapping[str, Any]) -> Any:
        if name in builtin or not isinstance(name, str):
            return name
        if isinstance(custom.get(name), kind):
            return custom[name]
        kind_name = kind.__name__.lower()
        suggestion = UnknownNameError.among(kind_name, name, [*builtin, *custom])
        raise ConfigurationError(
            f"{where} uses the custom {kind_name} {name!r}, and files do not contain code: pass it to "
            f"mlp.load(path, custom={{{name!r}: mlp.custom_{kind_name}({name!r}, ...)}}). ({suggestion})"
        )

    hidden = config.get("activation")
    if not isinstance(hidden, list):
        raise _damaged(where, "its configuration has no list of activations")
    return config | {
        "activation": [replace_name(name, Activation, formulas.ACTIVATIONS) for name in hidden],
        "output_activation": replace_name(config.get("output_activation"), Activation, formulas.ACTIVATIONS),
        "loss": replace_name(config.get("loss"), formulas.Loss, formulas.LOSSES),
    }
