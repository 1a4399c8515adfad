"""Networks in files: saving them, with or without the memory of their training, and loading them.

The format is described in `mlp.io.persistence`.
"""

from __future__ import annotations

import os

from mlp._backends import ConfigurationError
from mlp.io import persistence
from mlp.io.persistence import Custom, save
from mlp.model import MLP

__all__ = ["load", "load_training_state", "save", "save_training_state"]


def load(
    path: str | os.PathLike[str], *, backend: str = "auto", device: str = "auto", custom: Custom | None = None
) -> MLP:
    """Read a network that `save` or `save_training_state` wrote; from the latter, its training can be resumed.

    Parameters
    ----------
    path : str or path-like
    backend, device : str
        Where the network is to be, whatever it was saved on; as in `MLP`.
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
    return MLP.of(*persistence.read(path, backend=backend, device=device, custom=custom))


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
        raise ConfigurationError("this network has not been trained, so there is no state of a training to save.")
    persistence.Snapshot.of(net, net.training_state).save(path)


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
    net.training_state = persistence.read_training_state(net, path)
