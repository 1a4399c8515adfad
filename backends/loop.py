"""The readable loop: forward pass, back-propagation and update, spelled out in the operations of `xp`.

This is the definition of what training means here.  A backend may run a whole epoch faster, but it
must arrive at the same numbers.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from backends.plan import Array, BatchHook, Control, EpochPlan, EpochResult, NetworkPlan

if TYPE_CHECKING:
    from backends.base import Backend


class Workspace:
    """Every intermediate array of a step, allocated once for the largest batch and sliced for a smaller one."""

    def __init__(self, xp: Backend, network: NetworkPlan, rows: int, dtype: Any, *, training: bool = True) -> None:
        sizes = network.layout.sizes
        self.x = xp.empty((rows, sizes[0]), dtype)
        self.y = [xp.empty((rows, n), dtype) for n in sizes[1:]]
        self.z = [
            xp.empty((rows, n), dtype) if training and row.saves == "z" else None
            for n, row in zip(sizes[1:], network.activations, strict=True)
        ]
        if training:
            self.dropped: list[Array] = [
                xp.empty((rows, n), dtype) if rate else None
                for n, rate in zip(sizes[:-1], network.dropout, strict=True)
            ]
            self.delta = [xp.empty((rows, n), dtype) for n in sizes[:-1]]
            self.gradient = xp.empty((network.layout.n_parameters,), dtype)


def logits(xp: Backend, network: NetworkPlan, params: Array, x: Array) -> Array:
    """What enters the output's activation, shape (n, n_out), for the rows of x; without dropout."""
    layers = network.layout.layers(params)
    for (W, b), activation in zip(layers[:-1], network.activations, strict=False):
        x = xp.dense(x, W, b, activation)
    return xp.dense(x, *layers[-1])


def loss_and_gradient(
    xp: Backend,
    network: NetworkPlan,
    params: Array,
    space: Workspace,
    x: Array,
    target: Array,
    weight: Array | None = None,
    *,
    l2: float = 0.0,
    l1: float = 0.0,
    counter: tuple[int, int, int] | None = None,
) -> tuple[float, Array]:
    """Loss of one batch and its slope in every parameter, by back-propagation.

    Parameters
    ----------
    params : array, shape (n_parameters,)
    x : array, shape (n, n_in)
    target : array, shape (n,) of class numbers or (n, n_out)
    weight : array, shape (n,), optional
    counter : tuple of int, optional
        (seed, epoch, step) of the dropout masks; None trains without dropout.

    Returns
    -------
    loss : float
    gradient : array, shape (n_parameters,)
        A view of the workspace: the next call overwrites it.
    """
    layout, rows = network.layout, x.shape[0]
    layers, gradients = layout.layers(params), layout.layers(space.gradient)
    last = layout.n_layers - 1

    inputs, saved = [], []  # of each layer: what it multiplied, and what its slope is told from
    for l, ((W, b), activation) in enumerate(zip(layers, network.activations, strict=True)):
        rate = network.dropout[l]
        if rate and counter:
            x = xp.dropout(x, rate, (*counter, l), out=space.dropped[l][:rows])
        inputs.append(x)
        z = space.z[l]
        z = None if z is None else z[:rows]
        if l == last:
            x = xp.dense(x, W, b, "identity", out=space.y[l][:rows])
        else:
            x = xp.dense(x, W, b, activation, out=space.y[l][:rows], preactivation=z)
        saved.append(x if z is None else z)

    loss, delta = xp.loss_and_delta(network.kind, x, target, weight)
    for l in range(last, -1, -1):
        slope = "identity" if l == last else network.activations[l]
        below = space.delta[l][:rows] if l else None
        dW, db = gradients[l]
        delta, _, _ = xp.dense_backward(
            delta, inputs[l], saved[l], layers[l][0], slope, dx=below, dW=dW, db=db, need_dx=l > 0
        )
        if l and counter and network.dropout[l]:
            delta = xp.dropout(delta, network.dropout[l], (*counter, l), out=delta)

    total = float(loss)
    if l2 or l1:
        n = layout.n_weights
        total += xp.add_penalty(params[:n], space.gradient[:n], l2=l2, l1=l1)
    return total, space.gradient


def train_epoch(
    xp: Backend,
    plan: EpochPlan,
    X: Array,
    target: Array,
    weight: Array | None,
    params: Array,
    state: Array,
    control: Control,
    on_batch: BatchHook | None = None,
) -> EpochResult:
    """One pass over the rows in the plan's order; see `Backend.train_epoch`."""
    network, n_weights = plan.network, plan.network.layout.n_weights
    space = Workspace(xp, network, min(plan.batch_size, len(plan.order)), params.dtype)
    order = xp.asarray(plan.order)
    losses = np.empty(plan.n_batches)
    step, failed = plan.first_step, None
    for batch in range(plan.n_batches):
        if control.stop_requested:
            return EpochResult(losses[:batch], failed)
        rows = order[batch * plan.batch_size : (batch + 1) * plan.batch_size]
        x = xp.take_rows(X, rows, out=space.x[: rows.shape[0]], scale=network.input_scale)
        t = xp.take_rows(target, rows)
        w = None if weight is None else xp.take_rows(weight, rows)
        rate, l2 = float(plan.learning_rates[batch]), float(plan.l2[batch])

        losses[batch], gradient = loss_and_gradient(
            xp, network, params, space, x, t, w, l2=l2, l1=plan.l1, counter=(plan.seed, plan.epoch, batch)
        )
        if failed is None and not math.isfinite(losses[batch]):
            failed = batch
            if plan.halt:
                return EpochResult(losses[: batch + 1], failed)
        step += 1
        if w is None or float(xp.sum(w)) > 0:  # a batch without weight changes nothing, not even a velocity
            xp.clip(gradient, by_value=plan.clip_value, by_norm=plan.clip_norm)
            if plan.weight_decay:
                xp.multiply(params[:n_weights], 1 - rate * plan.weight_decay)
            xp.update(plan.rule, params, gradient, state, step, rate)

        control.batches_done = batch + 1
        if on_batch is not None:
            on_batch(batch, float(losses[batch]))
    return EpochResult(losses, failed)
