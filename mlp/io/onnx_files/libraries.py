"""The optional packages onnx and onnxruntime."""

from __future__ import annotations

import importlib
from typing import Any

from mlp._backends import ConfigurationError


def require(package: str) -> Any:
    """Import ``onnx`` or ``onnxruntime``, or raise an error that says what to install.

    Raises
    ------
    ConfigurationError
        If the package cannot be imported.
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise ConfigurationError(
            f"ONNX files need {package}, which cannot be imported ({error}): pip install onnx onnxruntime"
        ) from error
