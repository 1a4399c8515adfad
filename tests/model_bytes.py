"""Model files as bytes: taken apart, and put together with any content and the right checksum."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import safetensors.numpy

KINDS = {"float32": "F32", "float64": "F64", "float16": "F16", "int32": "I32"}


def parts(data: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    """The description, without the checksum, and the tensors."""
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    description = json.loads(header["__metadata__"]["mlp"])
    description.pop("sha256", None)
    return description, safetensors.numpy.load(data)


def of(description: Any, tensors: dict[str, Any], *, checksum: bool = True) -> bytes:
    """A file; `description` is an object, or the text of its JSON."""
    text = description if isinstance(description, str) else json.dumps(description)
    if checksum:
        text = f'{text[:-1]}, "sha256": "{digest(text, tensors)}"}}'
    return safetensors.numpy.save(tensors, metadata={"mlp": text})


def digest(text: str, tensors: dict[str, Any]) -> str:
    """The checksum, written out from its definition in the documentation."""
    content = text.encode() + b"\0"
    for name in sorted(tensors):
        array = tensors[name]
        shape = ",".join(map(str, array.shape))
        content += f'["{name}","{KINDS[array.dtype.name]}",[{shape}]]'.encode() + b"\0" + array.tobytes()
    return hashlib.sha256(content).hexdigest()
