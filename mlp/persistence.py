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
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

import mlp
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
from mlp.storage import write_atomically

if TYPE_CHECKING:
    from mlp.model import MLP
    from mlp.training import TrainingState

Custom = Mapping[str, Activation | formulas.Loss]
Tensors = dict[str, NDArray[Any]]

FORMAT_VERSION = 1
_KEY = "mlp"
_SLOTS, _OTHER = "training.slots", "training.other_weights"


def save(net: MLP, path: str | os.PathLike[str]) -> None:
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
    >>> save(mlp.MLP([2, 3, 1], loss="mse"), path)
    >>> load(path).sizes
    (2, 3, 1)
    >>> folder.cleanup()
    """
    write_atomically(path, _to_bytes(_describe(net), _layer_tensors(net.plan.layout, _host(net, net.parameters))))


def load(
    path: str | os.PathLike[str], *, backend: str = "auto", device: str = "auto", custom: Custom | None = None
) -> MLP:
    """Read a network that `save` or `save_training_state` wrote; from the latter, its training can be resumed.

    Parameters
    ----------
    path : str or path-like
    backend, device : str
        Where the network is to live, whatever it was saved on; as in `MLP`.
    custom : mapping of str to Activation or Loss, optional
        The functions of your own that the network uses, by name; a file holds names, never code.

    Returns
    -------
    MLP

    Raises
    ------
    FileFormatError
        If the file is missing, damaged, not one of ours, or holds numbers that no network can have.
    ConfigurationError
        If a function of your own is not in `custom`.
    """
    from mlp.model import MLP

    resolve(backend, device)  # first, so that what follows can only be the file's fault
    where = repr(os.fspath(path))
    description, tensors = _read(path)
    layout = _check_tensors(description, tensors, where)
    config = _with_custom(description["config"], custom or {}, where)
    try:
        net = MLP(**config, preprocessing=_preprocessing(description), backend=backend, device=device)
    except (ConfigurationError, ShapeError, TypeError) as error:
        raise _damaged(where, f"its configuration makes no network ({error})") from error
    net.parameters[...] = net.xp.asarray(_flat(layout, tensors))
    net.class_numbers = description["class_numbers"] is True
    if "training" in description:
        net.training_state = _training_state(net, description, tensors, where)
    return net


# -- training ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Snapshot:
    """A network and the memory of its training as they were at one moment, independent of what happens next."""

    description: dict[str, Any]
    layout: Layout
    parameters: NDArray[Any]
    state: TrainingState

    @classmethod
    def of(cls, net: MLP) -> Snapshot:
        """Copy what training will change."""
        state = net.training_state
        if state is None:
            raise ConfigurationError("this network has not been trained, so there is no state of a training to save.")
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


def save_training_state(net: MLP, path: str | os.PathLike[str]) -> None:
    """Write a network with all that its training remembers, so that it can go on as if it had never stopped.

    Parameters
    ----------
    net : MLP
    path : str or path-like

    Raises
    ------
    ConfigurationError
        If the network has not been trained.
    StorageError
        If the file cannot be written.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = pathlib.Path(folder.name) / "training.safetensors"
    >>> X, y = np.eye(4), np.array([0, 1, 1, 0])
    >>> net = mlp.MLP([4, 3, 2])
    >>> _ = net.fit(X, y, epochs=3)
    >>> save_training_state(net, path)
    >>> history = load(path).fit(X, y, epochs=5, resume=True)
    >>> len(history)
    5
    >>> folder.cleanup()
    """
    Snapshot.of(net).save(path)


def load_training_state(net: MLP, path: str | os.PathLike[str]) -> None:
    """Give a network the weights and the memory of a training that `save_training_state` wrote.

    Parameters
    ----------
    net : MLP
        Of the same configuration as the one saved.
    path : str or path-like

    Raises
    ------
    FileFormatError
        If the file is missing, damaged, or holds no training.
    ConfigurationError
        If the network is not like the one saved.
    """
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
    net.training_state = state


def _training_state(net: MLP, description: dict[str, Any], tensors: Tensors, where: str) -> TrainingState:
    from mlp.training import TrainingState

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


def _host(net: MLP, array: Any) -> NDArray[Any]:
    return net.xp.to_numpy(array)


def _layer_tensors(layout: Layout, flat: NDArray[Any]) -> Tensors:
    return {
        f"layers.{l}.{part}": array
        for l, (W, b) in enumerate(layout.layers(flat))
        for part, array in (("weight", W), ("bias", b))
    }


def _describe(net: MLP) -> dict[str, Any]:
    return {
        "format_version": FORMAT_VERSION,
        "written_by": f"mlp {mlp.__version__}",
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

    from mlp.data.files import open_checked

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
                f"and mlp {mlp.__version__} reads version {FORMAT_VERSION}; use the mlp that wrote it, or a newer one"
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


def _preprocessing(description: dict[str, Any]) -> Any:
    from mlp.data import Preprocessing

    state = description["preprocessing"]
    return None if state is None else Preprocessing.from_dict(state)


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
