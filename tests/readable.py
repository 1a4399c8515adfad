"""One epoch by the readable loop on any backend, where the backend itself may run something faster."""

from backends.loop import Trainer


def train_epoch(xp, plan, X, target, weight, params, state, control=None, on_batch=None):
    """`Backend.train_epoch` as the portable implementation runs it."""
    trainer = Trainer(xp, plan.network, plan.rule, X, target, weight, params, state, plan.batch_size)
    return trainer.epochs([plan], control, on_batch)[0]
