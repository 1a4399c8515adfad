"""The loss of one batch and its gradient: forward pass and back-propagation, as operations of a backend `xp`."""

from __future__ import annotations

from typing import Any

from backends.operations import Operations
from backends.plan import Array, NetworkPlan


class Workspace:
    """The intermediate arrays of a step, allocated once for the largest batch; a smaller batch uses slices."""

    def __init__(self, xp: Operations, network: NetworkPlan, rows: int, dtype: Any) -> None:
        sizes, scaled = network.layout.sizes, network.layout.scaling_layer
        self.rows = rows
        self.x = xp.empty((rows, sizes[0]), dtype)
        self.scaled: Array = xp.empty((rows, sizes[0]), dtype) if scaled else None
        self.y = [xp.empty((rows, n), dtype) for n in sizes[1:]]
        self.z = [
            xp.empty((rows, n), dtype) if row.saves == "z" else None
            for n, row in zip(sizes[1:], network.activations, strict=True)
        ]
        self.dropped: list[Array] = [
            xp.empty((rows, n), dtype) if rate else None for n, rate in zip(sizes[:-1], network.dropout, strict=True)
        ]
        self.delta = [xp.empty((rows, n), dtype) if l or scaled else None for l, n in enumerate(sizes[:-1])]
        self.gradient = xp.empty((network.layout.n_parameters,), dtype)


def logits(xp: Operations, network: NetworkPlan, params: Array, x: Array) -> Array:
    """The input of the output activation, shape (n, n_out), for the rows of x; without dropout."""
    layers, factors = network.layout.layers(params), network.layout.scaling(params)
    if factors is not None:
        x = xp.scale_columns(x, factors)
    for (W, b), activation in zip(layers[:-1], network.activations, strict=False):
        x = xp.dense(x, W, b, activation)
    return xp.dense(x, *layers[-1])


def loss_and_gradient(
    xp: Operations,
    network: NetworkPlan,
    params: Array,
    workspace: Workspace,
    x: Array,
    target: Array,
    weight: Array | None = None,
    *,
    l2: float = 0.0,
    l1: float = 0.0,
    counter: tuple[int, int, int] | None = None,
    first_row: int = 0,
    batch_weight: float | None = None,
) -> tuple[float, Array]:
    """Loss of one batch and its gradient with respect to every parameter, by back-propagation.

    Parameters
    ----------
    params : array, shape (n_parameters,)
    workspace : Workspace
        For n rows or more.
    x : array, shape (n, n_in)
    target : array, shape (n,) of class numbers or (n, n_out)
    weight : array, shape (n,), optional
    l2, l1 : float
        Penalties on the weights.
    counter : tuple of int, optional
        (seed, epoch, step) of the dropout masks; without it there is no dropout.
    first_row, batch_weight : int, float, optional
        If the rows are a part of a batch: the position of the first row in it, and the number of rows (or the sum of
        the weights) of the whole batch, by which loss and gradient are divided.

    Returns
    -------
    loss : float
    gradient : array, shape (n_parameters,)
        An array of the workspace: the next call overwrites it.
    """
    layout, rows, last = network.layout, x.shape[0], network.layout.n_layers - 1
    layers, gradients = layout.layers(params), layout.layers(workspace.gradient)
    factors, unscaled = layout.scaling(params), x
    if factors is not None:
        x = xp.scale_columns(x, factors, out=workspace.scaled[:rows])

    inputs, saved = [], []  # of each layer: its input, and what the activation's backward pass needs
    for l, ((W, b), activation) in enumerate(zip(layers, network.activations, strict=True)):
        rate = network.dropout[l]
        if rate and counter:
            x = xp.dropout(x, rate, (*counter, l), out=workspace.dropped[l][:rows], first_row=first_row)
        inputs.append(x)
        z = workspace.z[l]
        z = None if z is None else z[:rows]
        if l == last:
            x = xp.dense(x, W, b, "identity", out=workspace.y[l][:rows])
        else:
            x = xp.dense(x, W, b, activation, out=workspace.y[l][:rows], preactivation=z)
        saved.append(x if z is None else z)

    loss, delta = xp.loss_and_delta(network.kind, x, target, weight, batch_weight)
    for l in range(last, -1, -1):
        dx = workspace.delta[l]
        dW, db = gradients[l]
        delta, _, _ = xp.dense_backward(
            delta, inputs[l], saved[l], layers[l][0], "identity" if l == last else network.activations[l],
            dx=None if dx is None else dx[:rows], dW=dW, db=db, need_dx=dx is not None,
        )  # fmt: skip
        if dx is not None and counter and network.dropout[l]:
            delta = xp.dropout(delta, network.dropout[l], (*counter, l), out=delta, first_row=first_row)
    if factors is not None:
        xp.scale_columns_backward(delta, unscaled, out=layout.scaling(workspace.gradient))

    total = float(loss)
    if l2 or l1:
        n = layout.n_weights
        total += xp.add_penalty(params[:n], workspace.gradient[:n], l2=l2, l1=l1)
    return total, workspace.gradient
