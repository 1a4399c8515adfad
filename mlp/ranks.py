"""The training of a network by several ranks: what they must have in common, and which of them writes."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlp._backends import limit_threads
from mlp.distributed import Communicator, require_same
from mlp.io import checkpoints
from mlp.network import FeedForward
from mlp.training import AnyExamples, CheckpointWriter, EarlyStopping, Interval, Run, TrainingState


def require_same_training(
    comm: Communicator,
    net: FeedForward,
    state: TrainingState,
    examples: AnyExamples,
    validation: AnyExamples | None,
    checkpoint: CheckpointWriter | None,
    early_stopping: EarlyStopping | None,
    **settings: Any,
) -> None:
    """Compare the trainings that the ranks are about to begin.

    Raises
    ------
    ConfigurationError
        If they differ; on all ranks.
    """
    if comm.size == 1:
        return
    plan = net.plan
    arrays = hashlib.sha256()
    for array in (net.parameters, state.slots):
        arrays.update(np.ascontiguousarray(net.xp.to_numpy(array)).data)
    machine = checkpoints.machine(net)
    every = checkpoint.every if checkpoint else None
    facts = {
        "processor": machine["cpu"],
        "features of the processor": machine["cpu_features"],
        "versions": machine["versions"],
        "threads of BLAS": machine["blas_threads"],
        "backend": [net.backend, net.xp.device],
        "network": {
            "sizes": list(net.sizes),
            "activations": [row.name for row in plan.activations],
            "loss": net.kind.loss.name,
            "dropout": list(plan.dropout),
            "l2, l1": [net.l2, net.l1],
            "seed": net.seed,
            "dtype": str(net.dtype),
        },
        "weights and optimizer state": arrays.hexdigest(),
        "settings": {
            **settings,
            "optimizer": state.optimizer.to_dict(),
            "epochs and updates done": [state.epoch, state.step, state.batches_done],
            "early_stopping": asdict(early_stopping) if early_stopping else None,
            "steps between checkpoints": every.steps if every else None,
        },
        "training data": checkpoints.digest(examples, net),
        "validation data": None if validation is None else checkpoints.digest(validation, net),
    }
    require_same(comm, facts)


def threads_for_same_bits(net: FeedForward, shards: int) -> contextlib.AbstractContextManager[None]:
    """One thread of BLAS for NumPy, whose results depend on it: ranks have fewer than a process alone."""
    return limit_threads(1) if shards > 1 and net.backend == "numpy" else contextlib.nullcontext()


def writer_of_rank(comm: Communicator, checkpoint: CheckpointWriter | None) -> CheckpointWriter | None:
    """The checkpoint as this rank uses it: only rank 0 writes it."""
    return checkpoint if comm.rank == 0 or checkpoint is None else _ReadOnly(checkpoint)


class _ReadOnly:
    """A checkpoint that is due when it is written by rank 0, and is not written by this rank."""

    def __init__(self, writer: CheckpointWriter) -> None:
        self._writer = writer
        every = writer.every
        self.every = every if every is not None and every.steps is not None else Interval()  # rank 0 has the timer

    def conditions(self, net: FeedForward, examples: AnyExamples, validation: AnyExamples | None) -> dict[str, Any]:
        return self._writer.conditions(net, examples, validation)

    def require_same(self, recorded: dict[str, Any], present: dict[str, Any]) -> None:
        self._writer.require_same(recorded, present)

    def begin(self, net: FeedForward, state: TrainingState) -> None:
        """Do nothing: rank 0 creates the folder."""

    def capture(self, net: FeedForward, state: TrainingState, parameters: NDArray[Any]) -> Callable[[], None]:
        return lambda: None

    def finish(self, run: Run) -> None:
        self._writer.finish(run)
