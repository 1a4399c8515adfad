"""Models on disk: one safetensors file for a network, with or without the memory of its training.

The tensors are ``layers.0.weight`` (n_in, n_out), ``layers.0.bias`` (n_out,), and so on; what they mean stands in the
metadata, as JSON under the key ``mlp``.  Such a file holds numbers and names only: reading it runs no code.
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
from mlp.io.storage import write_atomically
from mlp.network import FeedForward
from mlp.training import TrainingState

Custom = Mapping[str, Activation | formulas.Loss]
Tensors = dict[str, NDArray[Any]]

FORMAT_VERSION = 1
_KEY = "mlp"
_SLOTS, _OTHER = "training.slots", "training.other_weights"


def save(net: FeedForward, path: str | os.PathLike[str]) -> None:
    """Write a network to a safetensors file, complete or not at all.

    Parameters
    ----------
    net : MLP
    path : str or path-like
        By custom it ends in ``.safetensors``.  A file of that name is replaced.

    Raises
    ------
    StorageError
        If the file cannot be written; an old one is whole.
    ConfigurationError
        If names of classes are neither text, numbers nor booleans.

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
    """The network in a file, and the memory of its training if the file holds it; see `mlp.load`."""
    resolve(backend, device)  # first, so that what follows can only be the file's fault
    where = repr(os.fspath(path))
    description, tensors = _read(path)
    layout = _check_tensors(description, tensors, where)
    net = FeedForward(_configuration(description, custom or {}, where), backend, device)
    net.parameters[...] = net.xp.asarray(_flat(layout, tensors))
    net.class_numbers = description["class_numbers"] is True
    state = _training_state(net, description, tensors, where) if "training" in description else None
    return net, state


# -- training ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Snapshot:
    """A network and the memory of its training as they were at one moment, independent of what happens next."""

    description: dict[str, Any]
    layout: Layout
    parameters: NDArray[Any]
    state: TrainingState

    @classmethod
    def of(cls, net: FeedForward, state: TrainingState) -> Snapshot:
        """Copy what training will change."""
        history = copy.copy(state.history)
        for name, value in vars(history).items():
            if isinstance(value, list):
                setattr(history, name, value.copy())
        kept = replace(
            state,
            optimizer=copy.deepcopy(state.optimizer),
            slots=_host(net, state.slots).copy(),
            history=history,
            other_weights=None if state.other_weights is None else _host(net, state.other_weights).copy(),
        )
        return cls(_describe(net), net.plan.layout, _host(net, net.parameters).copy(), kept)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it to a safetensors file, complete or not at all."""
        tensors = _layer_tensors(self.layout, self.parameters) | {_SLOTS: self.state.slots}
        if self.state.other_weights is not None:
            tensors[_OTHER] = self.state.other_weights
        write_atomically(path, _to_bytes(self.description | {"training": self.state.to_dict()}, tensors))

    def save_model(self, path: str | os.PathLike[str]) -> None:
        """Write the network alone, with the best weights where early stopping keeps them, as `save` does."""
        best = self.state.other_weights
        tensors = _layer_tensors(self.layout, self.parameters if best is None else best)
        write_atomically(path, _to_bytes(self.description, tensors))


def read_training_state(net: FeedForward, path: str | os.PathLike[str]) -> TrainingState:
    """Give `net` the weights in a file, and return the memory of their training; see `load_training_state`."""
    where = repr(os.fspath(path))
    description, tensors = _read(path)
    layout = _check_tensors(description, tensors, where)
    if "training" not in description:
        raise FileFormatError(
            f"{where} holds a model without the memory of its training; write one with "
            "mlp.persistence.save_training_state(net, path)"
        )
    own = json.loads(json.dumps(net.get_config()))
    different = [key for key in own if own[key] != description["config"].get(key)]
    if different:
        key = different[0]
        raise ConfigurationError(
            f"{where} is the training of another network: its {key} is {description['config'].get(key)!r}, and this "
            f"network's is {own[key]!r}."
        )
    state = _training_state(net, description, tensors, where)
    net.parameters[...] = net.xp.asarray(_flat(layout, tensors))
    net.class_numbers = description["class_numbers"] is True
    return state


def _training_state(net: FeedForward, description: dict[str, Any], tensors: Tensors, where: str) -> TrainingState:
    best = tensors.get(_OTHER)
    try:
        slots = net.xp.asarray(tensors[_SLOTS])
        state = TrainingState.from_dict(description["training"], slots, None if best is None else net.xp.asarray(best))
        expected = len(state.optimizer.rule.row.state), net.plan.layout.n_parameters
    except (ConfigurationError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(where, f"the memory of its training cannot be read ({type(error).__name__}: {error})") from error
    if slots.shape != expected or (best is not None and best.shape != expected[1:]):
        raise _damaged(where, f"{_SLOTS} has shape {slots.shape} and its optimizer needs {expected}")
    return state


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
    return {
        "format_version": FORMAT_VERSION,
        "written_by": f"mlp {__version__}",
        "config": net.get_config(),
        "class_numbers": net.class_numbers,
        "preprocessing": None if net.preprocessing is None else net.preprocessing.to_dict(),
    }


def _to_bytes(description: dict[str, Any], tensors: Tensors) -> bytes:
    from safetensors.numpy import save as serialize

    classes = description["config"]["classes"] or ()
    if odd := [name for name in classes if not isinstance(name, str | int | float | bool)]:
        raise ConfigurationError(
            f"classes holds {odd[0]!r} of type {type(odd[0]).__name__}; names of classes are saved as text, numbers or "
            "booleans, so make them strings."
        )
    # safetensors writes an array's memory as it lies, whatever its strides say
    contiguous = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    return serialize(contiguous, metadata={_KEY: json.dumps(description)})


# -- reading -------------------------------------------------------------------------------------------


def _read(path: str | os.PathLike[str]) -> tuple[dict[str, Any], Tensors]:
    """The description and the tensors of one of our files; what they say is yet to be checked."""
    from safetensors import safe_open

    where = repr(os.fspath(path))
    with open_checked(path, "safetensors"), safe_open(os.fspath(path), framework="np") as handle:
        text = (handle.metadata() or {}).get(_KEY)
        if text is None:
            raise FileFormatError(
                f"{where} is a safetensors file of another program: it has no metadata {_KEY!r}, which says what its "
                "tensors mean; save models with net.save(path)"
            )
        description = json.loads(text)
        if not isinstance(description, dict) or not isinstance(description.get("config"), dict):
            raise _damaged(where, "its metadata describes no network")
        version = description.get("format_version")
        if version != FORMAT_VERSION:
            writer = description.get("written_by", "an unknown program")
            raise FileFormatError(
                f"{where} has format version {version!r}, written by {writer}, "
                f"and mlp {__version__} reads version {FORMAT_VERSION}; use the mlp that wrote it, or a newer one"
            )
        if not {"class_numbers", "preprocessing"} <= set(description):
            raise _damaged(where, "its metadata is incomplete")
        return description, {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118


def _damaged(where: str, what: str) -> FileFormatError:
    return FileFormatError(f"{where} is damaged: {what}; save the model again")


def _check_tensors(description: dict[str, Any], tensors: Tensors, where: str) -> Layout:
    """Compare the tensors with the configuration before a network of that size is made."""
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
            raise _damaged(where, f"a network of sizes {sizes} has a tensor {name!r}, and it is missing")
        if tensors[name].shape != shape:
            raise _damaged(where, f"{name} has shape {tensors[name].shape} and must have {shape}")
    extra = set(tensors) - set(shapes) - ({_SLOTS, _OTHER} if "training" in description else set())
    if extra:
        raise _damaged(where, f"a network of sizes {sizes} has no tensor {min(extra)!r}")
    for name, array in tensors.items():
        if str(array.dtype) != config.get("dtype"):
            raise _damaged(where, f"{name} is {array.dtype}, and the network's dtype is {config.get('dtype')!r}")
        if not np.isfinite(array).all():
            raise _damaged(where, f"{name} holds NaN or infinity")
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
        raise _damaged(where, f"its configuration makes no network ({error})") from error


def _with_custom(config: dict[str, Any], custom: Custom, where: str) -> dict[str, Any]:
    """The configuration with a user's own functions in place of their names."""
    for name, row in custom.items():
        if not isinstance(row, Activation | formulas.Loss) or row.name != name:
            raise ConfigurationError(
                f"custom[{name!r}] is {row!r:.80}; expected what mlp.custom_activation({name!r}, ...) or "
                f"mlp.custom_loss({name!r}, ...) gave."
            )

    def named(name: Any, kind: type, table: Mapping[str, Any]) -> Any:
        if name in table or not isinstance(name, str):
            return name
        if isinstance(custom.get(name), kind):
            return custom[name]
        what = kind.__name__.lower()
        near = UnknownNameError.among(what, name, [*table, *custom])
        raise ConfigurationError(
            f"{where} uses the {what} {name!r}, which is not built in, so it is one of your own: hand it over, "
            f"mlp.load(path, custom={{{name!r}: mlp.custom_{what}({name!r}, ...)}}). ({near})"
        )

    hidden = config.get("activation")
    if not isinstance(hidden, list):
        raise _damaged(where, "its configuration names no activations")
    return config | {
        "activation": [named(name, Activation, formulas.ACTIVATIONS) for name in hidden],
        "output_activation": named(config.get("output_activation"), Activation, formulas.ACTIVATIONS),
        "loss": named(config.get("loss"), formulas.Loss, formulas.LOSSES),
    }
