"""Losses that are not finite: find the layer in which training diverged, and warn if the validation loss is."""

from __future__ import annotations

import logging
from dataclasses import replace

from mlp._backends import DivergenceError, EpochPlan, Trainer, no_float_warnings
from mlp.finite_outputs import first_layer_not_finite
from mlp.network import FeedForward
from mlp.training.callbacks import Run
from mlp.training.state import TrainingState

logger = logging.getLogger("mlp")


def divergence_error(
    net: FeedForward, plan: EpochPlan, trainer: Trainer, state: TrainingState, batch: int
) -> DivergenceError:
    """Repeat the plan up to `batch`, where it failed, to find the first layer with values that are not finite.

    `batch` is counted from 0, as in plans; the error counts epochs and batches from 1.
    """
    xp = net.xp
    params, slots = net.parameters.copy(), state.slots.copy()
    # this stops before the update if the loss is not finite; otherwise the update made the weights not finite
    repeated = trainer.another(params, slots)
    repeated.epochs([replace(plan, n_batches=batch + 1 - plan.first_batch)])
    repeated.read_back()
    x = net.as_floats(repeated.inputs_of(plan, batch))
    if (factors := net.plan.layout.scaling(params)) is not None:
        with no_float_warnings():
            x = xp.scale_columns(x, factors)  # if the result is not finite, neither is that of the first layer
    layers = [(W, b, f) for (W, b), f in zip(net.plan.layout.layers(params), net.plan.activations, strict=True)]
    place = first_layer_not_finite(xp, x, layers)
    layer, cause = place or (len(layers), "its outputs are finite, but the loss is not")
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


def warn_of_infinite_validation(run: Run) -> None:
    """Log a warning that the last validation loss is not finite."""
    logger.warning(
        "the validation loss is %s after epoch %d: the network's outputs or losses overflow for some rows of the "
        "validation set. Training goes on; early stopping takes it as no improvement. Are these rows scaled as those "
        "for training?",
        run.history.val_loss[-1], len(run.history),
    )  # fmt: skip
