"""Warnings about trainings that run, but not well: inputs of an unusual scale, and too few epochs."""

from __future__ import annotations

import logging

import numpy as np

from mlp._backends import no_float_warnings
from mlp.network import FeedForward
from mlp.training.history import History
from mlp.training.streamed_examples import AnyExamples, StreamedExamples

logger = logging.getLogger("mlp")

SAMPLE = 1000
"""Rows whose scale is looked at, at equal distances."""

LARGEST, SMALLEST = 10.0, 0.05
"""Initial weights and learning rates suit inputs near 1.  A column is far from that if the root of its mean square is
larger than the first, and all columns are if none reaches the second."""

STILL_FALLING, MIN_LENGTH = 0.1, 6
"""The loss was still falling if the last third of the epochs has at least this share of the whole decrease; it would be
a third if the loss had fallen evenly.  Shorter trainings are not judged."""


def advise_on_inputs(net: FeedForward, examples: AnyExamples) -> None:
    """Log a warning if a column of the inputs is far from unit scale; rows without weight do not count.

    Of a stream, the first rows are looked at.
    """
    if isinstance(examples, StreamedExamples):
        examples = net.on_device(examples.first_rows())
    step = max(examples.rows // SAMPLE, 1)
    sample = net.xp.to_numpy(examples.X[::step][:SAMPLE])
    if examples.weight is not None:
        sample = sample[net.xp.to_numpy(examples.weight[::step][:SAMPLE]) > 0]
    if not len(sample):
        return
    scale = net.plan.input_scale if sample.dtype == np.uint8 else 1.0
    with no_float_warnings():
        sizes = np.sqrt(np.mean(np.square(sample.astype(np.float64) * scale), axis=0))
    column = int(sizes.argmax())
    if sizes[column] > LARGEST:
        remedy = (
            "they are bytes: pass input_scale=1/255 to MLP"
            if sample.dtype == np.uint8
            else "standardize them, as sklearn.preprocessing.StandardScaler does"
        )
        logger.warning(
            "column %d of X has values of about %.3g. Trainings are slow or fail if inputs are far from 1: %s.",
            column, sizes[column], remedy,
        )  # fmt: skip
    elif 0 < sizes[column] < SMALLEST:
        logger.warning(
            "no column of X has values above about %.2g. Trainings are slow if inputs are far from 1: standardize "
            "them, as sklearn.preprocessing.StandardScaler does.",
            sizes[column],
        )


def advise_on_length(history: History) -> None:
    """Log a warning if all epochs are done and the loss was still falling.

    With validation it is the validation loss: the loss on the training data usually falls until the end.  If the
    learning rate decreases towards the end, the loss falls with it, which says nothing.
    """
    if history.learning_rate and history.learning_rate[-1] < 0.5 * max(history.learning_rate):
        return
    values = np.array(history.val_loss or history.loss)
    n = len(values)
    if n < MIN_LENGTH or not np.isfinite(values).all() or not history.stop_reason.startswith("all "):
        return
    third = max(n // 3, 1)  # means of several epochs, because single ones vary
    last, before = values[-third:], values[-2 * third : -third]
    fallen = values[0] - values[-1]
    if fallen > 0 and before.mean() - last.mean() > STILL_FALLING * fallen:
        logger.warning(
            "the %s was still falling at the end, from %.4g to %.4g in the last %d of %d epochs: train for more epochs "
            "(fit with resume=True and a larger number), or with a higher learning rate.",
            "validation loss" if history.val_loss else "loss", values[-third - 1], values[-1], third, n,
        )  # fmt: skip
