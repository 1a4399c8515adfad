"""`ShardedTrainer`: batches in a fixed number of shards, whose gradients are summed in one binary tree.

The tree belongs to the shards, and not to the ranks, which only divide it:

====== ======== ======== ======== ========
level  shards of rank 0  shards of rank 1
====== ======== ======== ======== ========
0      g0       g1       g2       g3
1      g0 + g1           g2 + g3
2      (g0 + g1) + (g2 + g3), on both ranks
====== ===================================

So all sums, and all results, are the same bits for any number of ranks.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from mlp._backends import BatchHook, ConfigurationError, Control, EpochPlan, EpochResult, StepParts, Trainer
from mlp.checks import require_count
from mlp.distributed.communicator import Communicator
from mlp.wrapped_trainer import WrappedTrainer


def check_shards(shards: Any, comm: Communicator) -> int:
    """Return the checked number of shards of a batch.

    Raises
    ------
    ConfigurationError
        If it is not a power of two, or cannot be divided among the ranks.
    """
    if comm is not None and not isinstance(comm, Communicator):
        raise ConfigurationError(f"comm must be a communicator such as mlp.distributed.mpi(), not {comm!r}.")
    require_count("shards", shards)
    if shards & (shards - 1):
        raise ConfigurationError(f"shards={shards} must be a power of two, such as 8: gradients are summed in pairs.")
    if shards == 1 < comm.size:
        raise ConfigurationError(
            f"{comm.size} ranks cannot divide shards=1: several processes share one training only if its batches are "
            f"cut into shards (shards=8, or --shards 8). For a training without shards, start one process."
        )
    if shards % comm.size:
        raise ConfigurationError(
            f"{comm.size} ranks cannot divide shards={shards}: start 1, 2, 4, ... ranks, up to one for each shard, or "
            "give more shards (shards=8, or --shards 8)."
        )
    return int(shards)


class ShardedTrainer(WrappedTrainer):
    """Trains as `trainer` does, with the gradient of a batch summed over its shards and over the ranks.

    Parameters
    ----------
    trainer : Trainer
        Computes gradients and updates.
    shards : int
        In how many shards a batch is cut; a multiple of the number of ranks.
    comm : Communicator
    """

    def __init__(self, trainer: Trainer, shards: int, comm: Communicator) -> None:
        super().__init__(trainer)
        self._shards, self._comm = shards, comm
        self._own = range(comm.rank * shards // comm.size, (comm.rank + 1) * shards // comm.size)
        self._free: list[Any] = []

    def _epoch(self, plan: EpochPlan, control: Control, on_batch: BatchHook | None) -> EpochResult:
        comm, rows = self._comm, self._rows(plan)
        parts = self._trainer.step_parts(plan, -(-plan.batch_size // self._shards), len(self._own).bit_length())
        self._free = list(parts.gradients)
        weights = plan.batch_weights(self._weight_of(rows))
        normalizers, losses, failed = plan.normalizers(weights), np.empty(len(weights)), None
        stop = comm.agree(control.stop_requested)
        for done, batch in enumerate(plan.batches):
            if stop:
                return EpochResult(losses[:done], weights[:done], failed, parts.is_finite())
            comm.step = plan.first_step + batch
            loss, stop, gradient = self._sum(parts, plan, batch, control)
            loss += parts.add_penalty(batch, gradient)
            losses[done] = loss
            if failed is None and not math.isfinite(loss):
                failed = batch
                if plan.halt:
                    return EpochResult(losses[: done + 1], weights[: done + 1], failed, parts.is_finite())
            if normalizers[done] > 0:  # a batch with weight zero changes neither parameters nor state
                parts.update(batch, gradient)
            self._free.append(gradient)
            control.batches_done = batch + 1
            if on_batch is not None:
                parts.write_back()
                on_batch(batch, float(loss))
        return EpochResult(losses, weights, failed, parts.is_finite())

    def _sum(self, parts: StepParts, plan: EpochPlan, batch: int, control: Control) -> tuple[float, bool, Any]:
        """Loss and gradient of a batch, summed over all shards; and whether a rank has a request to stop."""
        rows = plan.batch_rows(batch)
        n = rows.stop - rows.start
        losses, sums = [], list[tuple[int, Any]]()
        for shard in self._own:
            first, last = n * shard // self._shards, n * (shard + 1) // self._shards
            gradient, level = self._free.pop(), 0
            if first < last:
                losses.append(parts.gradient(batch, first, last, gradient))
            else:  # a batch of fewer rows than shards
                losses.append(0.0)
                gradient[...] = 0
            while sums and sums[-1][0] == level:  # its neighbour in the tree is complete
                _, left = sums.pop()
                left += gradient
                self._free.append(gradient)
                gradient, level = left, level + 1
            sums.append((level, gradient))
        ((_, gradient),) = sums
        while len(losses) > 1:
            losses = [left + right for left, right in zip(losses[::2], losses[1::2], strict=True)]
        numbers = np.array([losses[0], control.stop_requested])
        if self._comm.size > 1:
            host = self.xp.to_numpy(gradient)
            self._comm.tree_sum(host)
            if host is not gradient:
                gradient[...] = self.xp.asarray(host)
            self._comm.tree_sum(numbers)
        return float(numbers[0]), bool(numbers[1] > 0), gradient
