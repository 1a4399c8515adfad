"""Find the layer in which training diverged, by repeating the epoch."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mlp._backends import DivergenceError, EpochPlan, Trainer, loop
from mlp.network import FeedForward
from mlp.training.state import TrainingState


def divergence_error(
    net: FeedForward, plan: EpochPlan, trainer: Trainer, state: TrainingState, batch: int
) -> DivergenceError:
    """Repeat the plan up to `batch`, where it failed, to find the first layer with values that are not finite.

    `batch` is counted from 0, as in plans; the error counts epochs and batches from 1.
    """
    xp = net.xp
    params, slots = net.parameters.copy(), state.slots.copy()
    # this stops before the update if the loss is not finite; otherwise the update made the weights not finite
    xp.train_epoch(
        replace(plan, n_batches=batch + 1 - plan.first_batch), trainer.X, trainer.target, trainer.weight, params, slots
    )
    rows = xp.asarray(plan.row_numbers()[plan.batch_rows(batch)])
    x = net.as_floats(xp.take_rows(trainer.X, rows))
    layer, cause = net.plan.layout.n_layers, "its outputs are finite, but the loss is not"
    with np.errstate(all="ignore"):
        for number, ((W, b), activation) in enumerate(
            zip(net.plan.layout.layers(params), net.plan.activations, strict=True), start=1
        ):
            x = xp.dense(x, W, b, activation)
            weights_ok = loop.all_finite(xp, W) and loop.all_finite(xp, b)
            if not weights_ok or not loop.all_finite(xp, x):
                layer, cause = number, "its outputs are not finite" if weights_ok else "its weights are not finite"
                break
    rate = float(plan.learning_rates[batch])
    start = (
        f"batch {plan.first_batch + 1}, with which it was resumed" if plan.first_batch else "the start of this epoch"
    )
    return DivergenceError(
        f"training diverged in epoch {state.epoch + 1}, batch {batch + 1}, at layer {layer} of "
        f"{net.plan.layout.n_layers}: {cause}. The learning rate was {rate:g}: lower it, scale the inputs, or clip the "
        f"gradient (clip_norm=1.0). The network has the weights from {start}.",
        epoch=state.epoch + 1,
        batch=batch + 1,
        layer=layer,
        learning_rate=rate,
    )
