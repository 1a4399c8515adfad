"""One epoch with the portable loop on any backend, even if the backend has a faster implementation."""

from backends.loop import Trainer


def train_epoch(xp, plan, X, target, weight, params, state, control=None, on_batch=None):
    """The portable implementation of `Backend.train_epoch`."""
    trainer = Trainer(xp, plan.network, plan.rule, X, target, weight, params, state, plan.batch_size)
    return trainer.epochs([plan], control, on_batch)[0]
