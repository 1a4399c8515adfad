"""Model files: one safetensors file per network, with or without its training state.

The tensors are ``layers.0.weight`` (n_in, n_out), ``layers.0.bias`` (n_out,), and so on, and ``scaling`` (n_in,) if the
network has a scaling layer.  The metadata describes the
network, as JSON under the key ``mlp``; `mlp.io.descriptions` has its fields.  A file contains only numbers and names:
reading it runs no code.

The last field of the JSON, ``sha256``, is the checksum of all that is read.  It is the SHA-256 of

- the JSON without that field: its text ends in ``}`` instead of ``, "sha256": "...64 digits..."}``;
- for each tensor, in the order of the names: name, type and shape as ``["layers.0.bias","F32",[30]]``, and its bytes.

A zero byte follows the JSON and each such list.  The order of the entries in the header of the safetensors file does
not matter, nor do spaces between them.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import logging
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlp import optimizers
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
from mlp.data.files import open_checked
from mlp.io import descriptions
from mlp.io.atomic_write import write_atomically
from mlp.io.fields import FieldError
from mlp.io.json_documents import parse_json, require_moderate
from mlp.network import FeedForward
from mlp.training import History, TrainingState

Custom = Mapping[str, Activation | formulas.Loss]
Tensors = dict[str, NDArray[Any]]

logger = logging.getLogger("mlp")

FORMAT_VERSION = 2
"""Version of files with a training state: epochs are counted from 1, and in version 1 from 0."""
MODEL_FORMAT_VERSION = 1
"""Version of files without one, which are the same in both versions: older versions of mlp can read them."""
TABLE_FORMAT_VERSION = 3
"""Version of files, with or without a training state, that version 0.2.0 cannot read; see `_is_new`."""

_KEY = "mlp"
_ESTIMATOR_BYTES = 1024
# the first entry of the archive that `mlp.estimators.tabular_files` writes; it is not compressed
_ESTIMATOR = re.compile(
    rb'PK\x03\x04.{26}estimator\.json[^\n]{0,200}?"estimator": "(Tabular[A-Za-z]{1,20})"', re.DOTALL
)
_CHECKSUM = re.compile(r', "sha256": "([0-9a-f]{64})"\}\Z')
_TYPES = {"F32": "float32", "F64": "float64"}
_TYPE_NAMES = {name: short for short, name in _TYPES.items()}
_MAX_HEADER = 100_000_000
"""The safetensors library reads no longer headers."""

_SCALING = "scaling"
_SLOTS, _OTHER, _BATCHES = "training.slots", "training.other_weights", "training.batches"


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
    write_atomically(path, *_to_chunks(describe(net), _layer_tensors(net.plan.layout, _host(net, net.parameters))))


def read(
    path: str | os.PathLike[str], *, backend: str = "auto", device: str = "auto", custom: Custom | None = None
) -> tuple[FeedForward, TrainingState | None]:
    """Read a network and, if the file contains it, its training state; see `mlp.load`."""
    resolve(backend, device)  # first, so that all later errors are errors of the file
    with opened(path) as file:
        tensors = file.read()
    description, where = file.description, file.where
    net = FeedForward(_configuration(description, custom or {}, where), backend, device)
    net.set_parameters(_flat(file.layout, tensors))
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
        tensors = _layer_tensors(self.layout, self.parameters) | {_SLOTS: self.state.slots}
        if self.state.other_weights is not None:
            tensors[_OTHER] = self.state.other_weights
        if self.state.batches.size:
            tensors[_BATCHES] = self.state.batches
        version = max(FORMAT_VERSION, self.description["format_version"])
        training = {"format_version": version, "training": self.state.to_dict()}
        return _to_chunks(self.description | training, tensors)

    def save_model(self, path: str | os.PathLike[str]) -> None:
        """Write only the network, as `save` does, with the best weights if there are any from early stopping."""
        best = self.state.other_weights
        tensors = _layer_tensors(self.layout, self.parameters if best is None else best)
        write_atomically(path, *_to_chunks(self.description, tensors))


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
    net.set_parameters(_flat(file.layout, tensors))
    net.class_numbers = description["class_numbers"]
    return state


def _training_state(net: FeedForward, description: dict[str, Any], tensors: Tensors, where: str) -> TrainingState:
    slots, weights = tensors[_SLOTS], tensors.get(_OTHER)
    other_weights = None if weights is None else net.xp.asarray(weights)
    batches = tensors.get(_BATCHES, np.empty((2, 0)))
    try:
        state = TrainingState.from_dict(description["training"], net.xp.asarray(slots), batches, other_weights)
    except (ConfigurationError, KeyError, TypeError, AttributeError) as error:
        cause = f"{type(error).__name__}: {shortened(error)}"
        raise _damaged(where, f"its training state cannot be read ({cause})") from error
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


# -- writing -------------------------------------------------------------------------------------------


def _host(net: FeedForward, array: Any) -> NDArray[Any]:
    return net.xp.to_numpy(array)


def _layer_tensors(layout: Layout, flat: NDArray[Any]) -> Tensors:
    factors = layout.scaling(flat)
    return {
        f"layers.{l}.{part}": array
        for l, (W, b) in enumerate(layout.layers(flat))
        for part, array in (("weight", W), ("bias", b))
    } | ({} if factors is None else {_SCALING: factors})


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


def _to_chunks(description: dict[str, Any], tensors: Tensors) -> list[bytes | memoryview]:
    """The content of a file, without a copy of the tensors.

    It is what ``safetensors.numpy.save`` returns, which copies them twice: that is much for a checkpoint every second.
    """
    classes = description["config"]["classes"] or ()
    if invalid := [name for name in classes if not isinstance(name, str | int | float | bool)]:
        raise ConfigurationError(
            f"classes contains {invalid[0]!r} of type {type(invalid[0]).__name__}; class names must be strings, "
            "numbers or booleans to be saved: convert them to strings."
        )
    contiguous = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    text = json.dumps(description)
    _require_readable(description, text)
    digest = _Digest(text)
    for name in sorted(contiguous):
        digest.update(name, contiguous[name])
    header: dict[str, Any] = {"__metadata__": {_KEY: f'{text[:-1]}, "sha256": "{digest.hexdigest()}"}}'}}
    position, chunks = 0, []
    for name in sorted(
        contiguous, key=lambda name: (-contiguous[name].itemsize, name)
    ):  # each at a multiple of its size
        array = contiguous[name]
        header[name] = {
            "dtype": _TYPE_NAMES[array.dtype.name],
            "shape": array.shape,
            "data_offsets": (position, position + array.nbytes),
        }
        position += array.nbytes
        chunks.append(array.data.cast("B") if array.size else b"")
    encoded = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    encoded += b" " * (-len(encoded) % 8)
    return [len(encoded).to_bytes(8, "little"), encoded, *chunks]


def _require_readable(description: dict[str, Any], text: str) -> None:
    """Raise `ConfigurationError` if a file with this description could not be read."""
    try:
        require_moderate(text.encode(), "the description of the network")
        # the preprocessing is not checked, because that takes longer than all else
        descriptions.check_model(description | {"preprocessing": None})
    except (FieldError, FileFormatError) as error:
        raise ConfigurationError(f"this network cannot be saved: {error}.") from error


class _Digest:
    """The checksum of a file, from the text of its description and its tensors in the order of their names."""

    def __init__(self, text: str) -> None:
        self._hash = hashlib.sha256(text.encode() + b"\0")

    def update(self, name: str, array: NDArray[Any]) -> None:
        """Add a tensor, whose memory is contiguous."""
        self._hash.update(
            json.dumps([name, _TYPE_NAMES[array.dtype.name], array.shape], separators=(",", ":")).encode() + b"\0"
        )
        self._hash.update(array.data)  # little-endian, as in the file

    def hexdigest(self) -> str:
        """The checksum as 64 hexadecimal digits."""
        return self._hash.hexdigest()


# -- reading -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ModelFile:
    """An open model file, whose description is checked and fits the tensors; the tensors are not read yet.

    Attributes
    ----------
    where : str
        The path, for messages.
    size : int
        Number of bytes.
    description : dict
        The metadata, see `mlp.io.descriptions.MODEL`.
    text : str
        The metadata as the checksum covers it.
    checksum : str or None
        The checksum in the file; None in files of mlp 0.2.0 and before.
    """

    where: str
    size: int
    description: dict[str, Any]
    text: str
    checksum: str | None
    _handle: Any

    @cached_property
    def layout(self) -> Layout:
        """The positions of the parameters."""
        config = self.description["config"]
        return Layout(tuple(config["sizes"]), config["scaling_layer"])

    def tensors(self) -> Iterator[tuple[str, NDArray[Any]]]:
        """Read one tensor after the other, in the order of the checksum."""
        for name in sorted(self._handle.keys()):
            yield name, self._handle.get_tensor(name)

    def read(self) -> Tensors:
        """Read all tensors, and compare the checksum."""
        digest, result = _Digest(self.text), {}
        for name, array in self.tensors():
            if self.checksum is not None:
                digest.update(name, array)
            result[name] = array
        if self.checksum is None:
            logger.info(
                "%s has no checksum, because it was written by %s: a change of its values cannot be noticed; save the "
                "model again to add one",
                self.where,
                self.description["written_by"],
            )
        elif digest.hexdigest() != self.checksum:
            raise FileFormatError(
                f"{self.where} is damaged: its content does not have the checksum that it had when it was written "
                f"(SHA-256 {self.checksum[:16]}...); copy the file again from its source, or save the model again"
            )
        for name, array in result.items():
            if not np.isfinite(array).all():
                raise _damaged(self.where, f"{name} contains NaN or infinity")
        return result

    def computed_checksum(self) -> str:
        """The checksum of the content, computed with one tensor in memory at a time."""
        digest = _Digest(self.text)
        for name, array in self.tensors():
            digest.update(name, array)
        return digest.hexdigest()


@contextlib.contextmanager
def opened(path: str | os.PathLike[str]) -> Iterator[ModelFile]:
    """Open a model file, and check everything but the values of its tensors.

    Raises
    ------
    FileFormatError
        If the file is missing, damaged, of a newer version, or of another program.
    """
    from safetensors import safe_open

    where = repr(os.fspath(path))
    with open_checked(path, "safetensors") as (raw, size):
        _refuse_estimator(raw, where)
        length = int.from_bytes(raw.read(8), "little")
        if not 2 <= length <= min(size - 8, _MAX_HEADER):
            raise _damaged(where, f"it begins with a header of {length} bytes, but has {size} bytes in all")
        require_moderate(raw.read(length), where)
        with safe_open(os.fspath(path), framework="np") as handle:
            text = (handle.metadata() or {}).get(_KEY)
            if text is None:
                raise FileFormatError(
                    f"{where} is a safetensors file of another program: it has no metadata {_KEY!r}, which describes "
                    "the network; save models with net.save(path)"
                )
            description = parse_json(text, where)
            checksum, text = _split_checksum(description, text, where)
            _check_description(description, where)
            file = ModelFile(where, size, description, text, checksum, handle)
            _check_tensors(file)
            yield file


def _refuse_estimator(raw: io.BufferedReader, where: str) -> None:
    """Raise an error if a file was written by a tabular estimator: it holds several networks and more."""
    found = _ESTIMATOR.match(raw.peek(_ESTIMATOR_BYTES))
    if found:
        name = found[1].decode()
        raise FileFormatError(f"{where} holds a {name}, not a network: mlp.{name}.load({where}) reads it")


def _split_checksum(description: Any, text: str, where: str) -> tuple[str | None, str]:
    """The checksum of a description, and the text that it covers."""
    if not isinstance(description, dict):
        raise _damaged(where, "its metadata does not describe a network")
    found = _CHECKSUM.search(text)
    if found is None and "sha256" in description:
        raise _damaged(where, "its metadata does not end with its checksum")
    return (None, text) if found is None else (found[1], text[: found.start()] + "}")


def _check_description(description: dict[str, Any], where: str) -> None:
    version = description.get("format_version")
    known = (MODEL_FORMAT_VERSION, FORMAT_VERSION, TABLE_FORMAT_VERSION)
    if version not in known or isinstance(version, bool):
        writer = shortened(description.get("written_by", "an unknown program"), 80)
        raise FileFormatError(
            f"{where} has format version {quoted(version)}, written by {writer}, but mlp {__version__} reads versions "
            f"up to {max(known)}; use the version of mlp that wrote it, or a newer one"
        )
    try:
        descriptions.check_model(description)
    except FieldError as error:
        raise _damaged(where, str(error)) from error
    description["config"].setdefault("precision", "float32")
    description["config"].setdefault("scaling_layer", False)


def _damaged(where: str, reason: str) -> FileFormatError:
    return FileFormatError(f"{where} is damaged: {reason}; copy the file again, or save the model again")


def _check_tensors(file: ModelFile) -> None:
    """Compare the names, shapes and types of the tensors with the description, before memory for them is allocated."""
    description, where = file.description, file.where
    config = description["config"]
    sizes, dtype = config["sizes"], config["dtype"]
    names = set(file._handle.keys())
    network = f"a network of {len(sizes) - 1} layers, {quoted(sizes)},"
    needed = (*_layer_names(len(sizes) - 1), *[_SCALING] * config["scaling_layer"])
    missing = next((name for name in needed if name not in names), None)
    if missing is not None:
        raise _damaged(where, f"{network} needs a tensor {missing!r}, which is missing")
    shapes: dict[str, tuple[int, ...]] = {}
    for l, (n_in, n_out) in enumerate(pairwise(sizes)):
        shapes |= {f"layers.{l}.weight": (n_in, n_out), f"layers.{l}.bias": (n_out,)}
    if config["scaling_layer"]:
        shapes[_SCALING] = (sizes[0],)
    if "training" in description:
        shapes |= _training_shapes(description["training"], file.layout, names)
    types = dict.fromkeys(shapes, dtype) | {_BATCHES: "float64"}
    extra = names - set(shapes)
    if extra:
        raise _damaged(where, f"{network} has no tensor {quoted(min(extra))}")
    for name, expected in shapes.items():
        if name not in names:
            raise _damaged(where, f"a training state needs a tensor {name!r}, which is missing")
        entry = file._handle.get_slice(name)
        shape, kind = tuple(entry.get_shape()), entry.get_dtype()
        if shape != expected:
            raise _damaged(where, f"{name} has shape {quoted(shape)}, but must have {expected}")
        if _TYPES.get(kind) != types[name]:
            raise _damaged(where, f"{name} is {_TYPES.get(kind, quoted(kind))}, but must be {types[name]}")


def _layer_names(n_layers: int) -> Iterator[str]:
    for l in range(n_layers):
        yield f"layers.{l}.weight"
        yield f"layers.{l}.bias"


def _training_shapes(training: dict[str, Any], layout: Layout, names: set[str]) -> dict[str, tuple[int, ...]]:
    rule = optimizers.from_dict(training["optimizer"]).rule
    shapes: dict[str, tuple[int, ...]] = {_SLOTS: (len(rule.row.state), layout.n_parameters)}
    if _OTHER in names or training["restored"]:
        shapes[_OTHER] = (layout.n_parameters,)
    if training.get("batches"):
        shapes[_BATCHES] = (2, training["batches"])
    return shapes


def _flat(layout: Layout, tensors: Tensors) -> NDArray[Any]:
    flat = np.empty(layout.n_parameters, tensors["layers.0.weight"].dtype)
    for l, (W, b) in enumerate(layout.layers(flat)):
        W[...], b[...] = tensors[f"layers.{l}.weight"], tensors[f"layers.{l}.bias"]
    if (factors := layout.scaling(flat)) is not None:
        factors[...] = tensors[_SCALING]
    return flat


def _configuration(description: dict[str, Any], custom: Custom, where: str) -> Configuration:
    """The configuration that a file describes."""
    arguments, state = _with_custom(description["config"], custom, where), description["preprocessing"]
    try:
        preprocessing = None if state is None else Preprocessing.from_dict(state)
        return configure(**arguments, preprocessing=preprocessing)
    except (ConfigurationError, ShapeError) as error:
        raise _damaged(where, f"its configuration is invalid ({shortened(error)})") from error


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
