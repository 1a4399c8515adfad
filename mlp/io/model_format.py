"""The format of model files: one safetensors file with named tensors and a description in JSON.

The description stands in the metadata of the file under the key ``mlp``; `mlp.io.descriptions` has its fields, and
`model_tensors` the names of the tensors.  A file contains only numbers and names: reading it runs no code.

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
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlp._backends import ConfigurationError, FileFormatError, Layout
from mlp._version import __version__
from mlp.checks import quoted, shortened
from mlp.data.files import open_checked
from mlp.io import descriptions
from mlp.io.fields import FieldError
from mlp.io.json_documents import parse_json, require_moderate
from mlp.io.model_tensors import BATCHES, Tensors, network_shapes, training_shapes

logger = logging.getLogger("mlp")

FORMAT_VERSION = 2
"""Version of files with a training state: epochs are counted from 1, and in version 1 from 0."""
MODEL_FORMAT_VERSION = 1
"""Version of files without one, which are the same in both versions: older versions of mlp can read them."""
TABLE_FORMAT_VERSION = 3
"""Version of files, with or without a training state, that version 0.2.0 cannot read; see `model_files`."""

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


# -- writing -------------------------------------------------------------------------------------------


def to_chunks(description: dict[str, Any], tensors: Tensors) -> list[bytes | memoryview]:
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
                raise damaged(self.where, f"{name} contains NaN or infinity")
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
            raise damaged(where, f"it begins with a header of {length} bytes, but has {size} bytes in all")
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
        raise damaged(where, "its metadata does not describe a network")
    found = _CHECKSUM.search(text)
    if found is None and "sha256" in description:
        raise damaged(where, "its metadata does not end with its checksum")
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
        raise damaged(where, str(error)) from error
    description["config"].setdefault("precision", "float32")
    description["config"].setdefault("scaling_layer", False)


def damaged(where: str, reason: str) -> FileFormatError:
    """The error for a file whose content is not what was written."""
    return FileFormatError(f"{where} is damaged: {reason}; copy the file again, or save the model again")


def _check_tensors(file: ModelFile) -> None:
    """Compare the names, shapes and types of the tensors with the description, before memory for them is allocated."""
    description, where = file.description, file.where
    config = description["config"]
    sizes, dtype = config["sizes"], config["dtype"]
    names = set(file._handle.keys())
    network = f"a network of {len(sizes) - 1} layers, {quoted(sizes)},"
    shapes = network_shapes(config)
    missing = next((name for name in shapes if name not in names), None)
    if missing is not None:
        raise damaged(where, f"{network} needs a tensor {missing!r}, which is missing")
    if "training" in description:
        shapes |= training_shapes(description["training"], file.layout, names)
    types = dict.fromkeys(shapes, dtype) | {BATCHES: "float64"}
    extra = names - set(shapes)
    if extra:
        raise damaged(where, f"{network} has no tensor {quoted(min(extra))}")
    for name, expected in shapes.items():
        if name not in names:
            raise damaged(where, f"a training state needs a tensor {name!r}, which is missing")
        entry = file._handle.get_slice(name)
        shape, kind = tuple(entry.get_shape()), entry.get_dtype()
        if shape != expected:
            raise damaged(where, f"{name} has shape {quoted(shape)}, but must have {expected}")
        if _TYPES.get(kind) != types[name]:
            raise damaged(where, f"{name} is {_TYPES.get(kind, quoted(kind))}, but must be {types[name]}")
