"""Callbacks that record data of a training for plots."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlp.network import FeedForward
from mlp.training import Callback, Run


class Snapshots(Callback):
    """Keeps copies of the network after selected epochs, for `boundary`.

    Parameters
    ----------
    epochs : iterable of int
        The epochs after which the network is copied; 0 means before training.

    Attributes
    ----------
    nets : dict of int to MLP
        The copies, by epoch.

    Examples
    --------
    >>> import mlp
    >>> moons, net = mlp.data.toy("moons"), mlp.MLP([2, 8, 2])
    >>> snapshots = Snapshots([0, 2, 5])
    >>> _ = net.fit(moons.X, moons.y, epochs=5, callbacks=[snapshots])
    >>> list(snapshots.nets)
    [0, 2, 5]
    """

    def __init__(self, epochs: Iterable[int]) -> None:
        self.epochs = frozenset(epochs)
        self.nets: dict[int, FeedForward] = {}

    def on_train_begin(self, run: Run) -> None:
        self.on_epoch_end(run)

    def on_epoch_end(self, run: Run) -> None:
        if run.whole_epoch and run.epoch in self.epochs:
            self.nets[run.epoch] = run.net.copy()


def spread_epochs(last: int, n: int = 6) -> list[int]:
    """Select at most n epochs from 0 to `last`, closer together at the beginning, where the network changes most.

    Examples
    --------
    >>> spread_epochs(100), spread_epochs(3)
    ([0, 1, 3, 10, 32, 100], [0, 1, 2, 3])
    """
    between = np.geomspace(1, max(last, 1), n - 1).round().astype(int)
    return sorted({0, *between.tolist()})


@dataclass
class LayerRecord:
    """Statistics of the layers: in each list, one array of shape (n_layers,) for each recorded epoch.

    Attributes
    ----------
    epochs : list of int
        The recorded epochs; 0 means before training.
    mean, spread : list of ndarray
        Mean and standard deviation of the layer's outputs, over units and rows.
    constant : list of ndarray
        Share of the layer's units that have the same output for every row, such as dead ReLU or saturated tanh
        units.
    gradient : list of ndarray
        Root mean square of the gradient of the loss with respect to the layer's weights.
    """

    epochs: list[int] = field(default_factory=list)
    mean: list[NDArray[Any]] = field(default_factory=list)
    spread: list[NDArray[Any]] = field(default_factory=list)
    constant: list[NDArray[Any]] = field(default_factory=list)
    gradient: list[NDArray[Any]] = field(default_factory=list)


class LayerRecorder(Callback):
    """Records the activations and gradients of each layer during training, for `layers`.

    Parameters
    ----------
    X : array_like, shape (n, n_in)
        The rows to compute them for; a few hundred are enough.
    y : array_like, shape (n,) or (n, n_out)
    points : int
        Approximate number of epochs to record, evenly spaced; the first and the last are always recorded.

    Attributes
    ----------
    record : LayerRecord
    names : list of str
        Number and activation of each layer.

    Examples
    --------
    >>> import mlp
    >>> moons, net = mlp.data.toy("moons"), mlp.MLP([2, 8, 8, 2])
    >>> recorder = LayerRecorder(moons.X, moons.y)
    >>> _ = net.fit(moons.X, moons.y, epochs=3, callbacks=[recorder])
    >>> recorder.record.epochs, recorder.record.gradient[0].shape
    ([0, 1, 2, 3], (3,))
    """

    def __init__(self, X: Any, y: Any, *, points: int = 50) -> None:
        self.X, self.y, self.points = X, y, points
        self.record = LayerRecord()
        self.names: list[str] = []

    def on_train_begin(self, run: Run) -> None:
        rows = [row.name for row in run.net.plan.activations]
        self.names = [f"{number}: {name}" for number, name in enumerate(rows, start=1)]
        self._record(run)

    def on_epoch_end(self, run: Run) -> None:
        if run.whole_epoch and (run.epoch % math.ceil(run.epochs / self.points) == 0 or run.epoch == run.epochs):
            self._record(run)

    def _record(self, run: Run) -> None:
        record, outputs = self.record, layer_outputs(run.net, self.X)
        _, gradients = run.net.loss_and_gradients(self.X, self.y)
        record.epochs.append(run.epoch)
        record.mean.append(np.array([y.mean() for y in outputs]))
        record.spread.append(np.array([y.std() for y in outputs]))
        record.constant.append(np.array([_constant(y).mean() for y in outputs]))
        record.gradient.append(np.array([np.sqrt(np.square(dW).mean()) for dW, _ in gradients]))


def layer_outputs(net: FeedForward, X: Any) -> list[NDArray[Any]]:
    """Outputs of all layers for the rows of X, from the first layer to the last, without dropout.

    Parameters
    ----------
    net : MLP
    X : array_like, shape (n, n_in)

    Returns
    -------
    list of ndarray, shapes (n, n_out of the layer)
    """
    net = net.without_scaling_layer()
    x = net.as_floats(net.check_inputs(X))
    outputs = []
    for (W, b), row in zip(net.plan.layout.layers(net.parameters), net.plan.activations, strict=True):
        x = net.xp.activate(net.xp.dense(x, W, b), row)
        outputs.append(net.xp.to_numpy(x))
    return outputs


def _constant(outputs: NDArray[Any]) -> NDArray[np.bool_]:
    """Which units vary over the rows by at most a thousandth of the layer's largest output."""
    spread = np.ptp(outputs, axis=0)
    return np.asarray(spread <= 1e-3 * np.abs(outputs).max())
