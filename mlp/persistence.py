"""Save and load networks, with or without their training state.

The file format is described in `mlp.io.model_format` and `mlp.io.model_tensors`.
"""

from __future__ import annotations

import os
from typing import Any

from mlp._backends import ConfigurationError
from mlp.io import model_files, model_summary
from mlp.io.model_files import Custom, save
from mlp.model import MLP

__all__ = ["inspect", "load", "load_training_state", "save", "save_training_state"]


def load(
    path: str | os.PathLike[str], *, backend: str = "auto", device: str = "auto", custom: Custom | None = None
) -> MLP:
    """Read a network from a file written by `save` or `save_training_state`; from the latter, training can resume.

    Parameters
    ----------
    path : str or path-like
    backend, device : str
        Where to put the network, as in `MLP`; the backend it was saved on does not matter.
    custom : mapping of str to Activation or Loss, optional
        The custom functions that the network uses, by name; a file contains their names, never code.

    Returns
    -------
    MLP

    Raises
    ------
    FileFormatError
        If the file is missing, damaged, not written by this library, or contains invalid values; or if it holds a
        tabular estimator, which `TabularClassifier.load` or `TabularRegressor.load` reads.
    ConfigurationError
        If a custom function of the network is not in `custom`.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = pathlib.Path(folder.name) / "small.safetensors"
    >>> MLP([2, 3, 1], loss="mse").save(path)
    >>> load(path, backend="numpy")
    <MLP 2-3-1, relu, identity+mse, 13 parameters of float32, numpy on cpu>
    >>> folder.cleanup()
    """
    return MLP.of(*model_files.read(path, backend=backend, device=device, custom=custom))


def inspect(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Describe a model file, and compute its checksum, without making a network.

    Everything but the values of the weights is checked as by `load`.  A checksum that does not hold is no error here.

    Parameters
    ----------
    path : str or path-like

    Returns
    -------
    dict
        ``file``, ``bytes``, ``format_version``, ``written_by``; ``layers``, a dict for each layer; ``parameters``,
        their number; ``config``, the arguments of `MLP`; ``custom``, the names of custom functions; summaries of
        ``preprocessing`` and ``training``, or None; ``checksum`` with ``sha256`` and whether it ``holds``, both None in
        files of mlp 0.2.0 and before.

    Raises
    ------
    FileFormatError
        If the file is missing, not written by this library, or contains invalid metadata.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = pathlib.Path(folder.name) / "small.safetensors"
    >>> MLP([2, 3, 1], loss="mse").save(path)
    >>> content = inspect(path)
    >>> content["parameters"], content["layers"][0]["activation"], content["checksum"]["holds"]
    (13, 'relu', True)
    >>> folder.cleanup()
    """
    return model_summary.summarize(path)


def save_training_state(net: MLP, path: str | os.PathLike[str]) -> None:
    """Write a network with its training state, so that training can resume exactly where it stopped.

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
    >>> import numpy as np
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = pathlib.Path(folder.name) / "training.safetensors"
    >>> X, y = np.eye(4), np.array([0, 1, 1, 0])
    >>> net = MLP([4, 3, 2])
    >>> _ = net.fit(X, y, epochs=3)
    >>> save_training_state(net, path)
    >>> history = load(path).fit(X, y, epochs=5, resume=True)
    >>> len(history)
    5
    >>> folder.cleanup()
    """
    if net.training_state is None:
        raise ConfigurationError("this network has not been trained, so there is no training state to save.")
    model_files.Snapshot.of(net, net.training_state).save(path)


def load_training_state(net: MLP, path: str | os.PathLike[str]) -> None:
    """Load the weights and the training state from a file written by `save_training_state`.

    Parameters
    ----------
    net : MLP
        A network with the same configuration as the saved one; it is changed in place.
    path : str or path-like

    Raises
    ------
    FileFormatError
        If the file is missing, damaged, or contains no training state.
    ConfigurationError
        If the configurations differ.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = pathlib.Path(folder.name) / "training.safetensors"
    >>> trained, fresh = MLP([2, 2]), MLP([2, 2])
    >>> _ = trained.fit([[0.0, 1.0], [1.0, 0.0]], [0, 1], epochs=3)
    >>> save_training_state(trained, path)
    >>> load_training_state(fresh, path)
    >>> bool((fresh.weights[0] == trained.weights[0]).all()), len(fresh.history)
    (True, 3)
    >>> folder.cleanup()
    """
    net.training_state = model_files.read_training_state(net, path)
