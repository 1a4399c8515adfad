"""Files of the tabular estimators: an uncompressed ZIP archive of a JSON description and one model file a network."""

from __future__ import annotations

import io
import json
import tempfile
import zipfile
from dataclasses import asdict
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import numpy as np

from mlp._backends import ConfigurationError, FileFormatError, MLPError, resolve
from mlp._version import __version__
from mlp.data.files import open_checked
from mlp.io import model_files
from mlp.io.atomic_write import write_atomically
from mlp.io.fields import (
    OBJECT,
    Choice,
    FieldError,
    Instance,
    ListOf,
    Nullable,
    Number,
    Record,
    Text,
)
from mlp.io.json_documents import parse_json, require_moderate
from mlp.model import MLP
from mlp.training import History

FORMAT_VERSION = 1

_DESCRIPTION = "estimator.json"
_ZIP_DATE = (1980, 1, 1, 0, 0, 0)  # the same estimator gives the same file

_FIELDS = Record(
    {
        "format_version": Number(FORMAT_VERSION, FORMAT_VERSION, whole=True),
        "written_by": Text(),
        "estimator": Text(200),
        "parameters": OBJECT,
        "n_features_in": Number(1, 2**31, whole=True),
        "feature_names_in": Nullable(ListOf(Text())),
        "classes": Nullable(ListOf(Instance((str, int, float, bool), "a string, a number or a boolean"), shortest=2)),
        "classes_type": Nullable(Choice(("bool", "int", "uint", "float", "str", "object"))),
        "histories": ListOf(OBJECT, shortest=1),
    }
)
_KINDS = {"b": "bool", "i": "int", "u": "uint", "f": "float", "U": "str", "O": "object"}


def save(estimator: Any, path: str | PathLike[str]) -> None:
    """Write a fitted estimator atomically; see `TabularClassifier.save`."""
    parameters = estimator.get_params()
    if not isinstance(parameters["random_state"], int | None):
        parameters["random_state"] = None  # a generator has a state, which the file does not need
    classes = getattr(estimator, "classes_", None)
    names = getattr(estimator, "feature_names_in_", None)
    description = {
        "format_version": FORMAT_VERSION,
        "written_by": f"mlp {__version__}",
        "estimator": type(estimator).__name__,
        "parameters": {name: _plain(value) for name, value in parameters.items()},
        "n_features_in": estimator.n_features_in_,
        "feature_names_in": None if names is None else names.tolist(),
        "classes": None if classes is None else classes.tolist(),
        "classes_type": None if classes is None else _KINDS.get(classes.dtype.kind),
        "histories": [asdict(history) for history in estimator.histories_],
    }
    try:
        _FIELDS.check(description, "the estimator")
        text = json.dumps(description)
    except (FieldError, TypeError) as error:
        raise ConfigurationError(f"this estimator cannot be saved: {error}.") from error
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive, tempfile.TemporaryDirectory() as folder:
        archive.writestr(zipfile.ZipInfo(_DESCRIPTION, _ZIP_DATE), text)
        for number, net in enumerate(estimator.networks_):
            file = Path(folder) / "network.safetensors"
            model_files.save(net, file)
            archive.writestr(zipfile.ZipInfo(_network_name(number), _ZIP_DATE), file.read_bytes())
    write_atomically(path, content.getvalue())


def _network_name(number: int) -> str:
    return f"network-{number}.safetensors"


def _plain(value: Any) -> Any:
    """A parameter as JSON can hold it."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def load(cls: Any, path: str | PathLike[str], *, backend: str, device: str | None) -> Any:
    """Read an estimator of a class; see `TabularClassifier.load`."""
    resolve(backend, "auto" if device is None else device)  # first, so that all later errors are errors of the file
    where = repr(fspath(path))
    with open_checked(path, "estimator") as (handle, size), zipfile.ZipFile(handle) as archive:
        for entry in archive.infolist():
            if entry.compress_type != zipfile.ZIP_STORED or entry.file_size > size:
                raise _damaged(where, f"its entry {entry.filename!r:.80} is compressed or too long")
        text = archive.read(_DESCRIPTION)
        require_moderate(text, where)
        description = parse_json(text.decode(), where)
        try:
            _FIELDS.check(description, "description")
        except FieldError as error:
            raise _damaged(where, str(error)) from error
        if description["estimator"] != cls.__name__:
            raise FileFormatError(f"{where} has a {description['estimator']}, not a {cls.__name__}: load it with that.")
        estimator = _estimator(cls, description, where)
        estimator.backend, estimator.device = backend, device
        with tempfile.TemporaryDirectory() as folder:
            estimator.networks_ = [
                _network(archive, number, Path(folder), where, backend=backend, device=device)
                for number in range(len(description["histories"]))
            ]
    _check_networks(estimator, where)
    estimator.preprocessing_ = estimator.networks_[0].preprocessing
    return estimator


def _estimator(cls: Any, description: dict[str, Any], where: str) -> Any:
    try:
        parameters = description["parameters"]
        if isinstance(parameters.get("hidden_layer_sizes"), list):
            parameters["hidden_layer_sizes"] = tuple(parameters["hidden_layer_sizes"])
        estimator = cls(**parameters)
        estimator._validate_params()
        histories = [History(**history) for history in description["histories"]]
    except (TypeError, ValueError) as error:
        raise _damaged(where, str(error)) from error
    estimator.histories_ = histories
    estimator.n_features_in_ = description["n_features_in"]
    if description["feature_names_in"] is not None:
        estimator.feature_names_in_ = np.array(description["feature_names_in"], dtype=object)
    if hasattr(cls, "predict_proba"):
        if description["classes"] is None:
            raise _damaged(where, "it has no classes")
        estimator.classes_ = np.array(description["classes"], dtype=description["classes_type"])
    return estimator


def _network(
    archive: zipfile.ZipFile, number: int, folder: Path, where: str, *, backend: str, device: str | None
) -> MLP:
    file = folder / _network_name(number)
    file.write_bytes(archive.read(_network_name(number)))
    try:
        core, _ = model_files.read(file, backend=backend, device="auto" if device is None else device)
    except MLPError as error:
        raise _damaged(where, f"network {number} cannot be read: {error}".replace(str(folder), "")) from error
    return MLP.of(core)


def _check_networks(estimator: Any, where: str) -> None:
    """Raise an error if the networks do not fit each other and the estimator."""
    first, *others = estimator.networks_
    if first.preprocessing is None or first.preprocessing.preparation is None:
        raise _damaged(where, "its networks have no preprocessing")
    if any(net.preprocessing != first.preprocessing or net.sizes[-1] != first.sizes[-1] for net in others):
        raise _damaged(where, "its networks are for different tables")
    if hasattr(estimator, "classes_") and len(estimator.classes_) != first.sizes[-1]:
        raise _damaged(where, f"it has {len(estimator.classes_)} classes, but its networks have {first.sizes[-1]}")


def _damaged(where: str, reason: str) -> FileFormatError:
    return FileFormatError(f"{where} is damaged: {reason}; copy the file again, or save the estimator again")
