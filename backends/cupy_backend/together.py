"""`train_together`: an epoch of several networks at the same time, in shared launches of the persistent kernel."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from backends.cupy_backend.device import IN_FLIGHT, Device
from backends.cupy_backend.persistent import PersistentKernel
from backends.float_warnings import no_float_warnings
from backends.operations import Operations
from backends.plan import Control, EpochPlan, EpochResult


class Trainee(Protocol):
    """What is used of `GraphTrainer`, which uses this module."""

    xp: Operations

    @property
    def stream(self) -> Any: ...

    def why_alone(self, plan: EpochPlan) -> str: ...

    def begin(self, plan: EpochPlan) -> PersistentKernel | None: ...

    def end(self, plan: EpochPlan, control: Control) -> EpochResult: ...

    def epochs(self, plans: Sequence[EpochPlan], control: Control) -> list[EpochResult]: ...


def train_together(device: Device, epochs: Sequence[tuple[Trainee, EpochPlan, Control]]) -> list[EpochResult]:
    """Train each network for an epoch; see `Trainer.train_together`.

    Networks whose kernels have the same text share their launches: each has a cluster of blocks in each.  Other groups
    of networks have launches of their own, on other streams, which can run at the same time.
    """
    results: list[EpochResult | None] = [None] * len(epochs)
    members: dict[int, _Member] = {}
    with device.cuda, no_float_warnings():
        try:
            for i, (trainer, plan, control) in enumerate(epochs):
                if not plan.batches or control.stop_requested or trainer.why_alone(plan):
                    (results[i],) = trainer.epochs([plan], control)
                else:
                    members[i] = _Member.of(trainer, plan, control)
            _run([*members.values()])
            for i, member in members.items():
                results[i] = member.trainer.end(member.plan, member.control)
        except BaseException:
            for trainer, _, _ in epochs:
                trainer.stream.synchronize()  # the caller may roll back, which must not run beside the training
            raise
    return [result for result in results if result is not None]


@dataclass(eq=False)  # compared by identity
class _Member:
    """A network in training, and what is prepared for its epoch."""

    trainer: Trainee
    plan: EpochPlan
    control: Control
    kernel: PersistentKernel

    @classmethod
    def of(cls, trainer: Trainee, plan: EpochPlan, control: Control) -> _Member:
        kernel = trainer.begin(plan)
        assert kernel is not None
        return cls(trainer, plan, control, kernel)


def _run(members: list[_Member]) -> None:
    """Start all steps of all members; before each launch, see which of them are to stop."""
    by_kernel: dict[Any, list[_Member]] = {}
    for member in members:
        by_kernel.setdefault((member.kernel.source, member.kernel.tiling), []).append(member)
    groups, in_flight = [_Group(found) for found in by_kernel.values()], deque[Any]()
    while running := [group for group in groups if group.has_steps()]:
        for group in running:
            in_flight.append(group.start())
        while len(in_flight) > IN_FLIGHT * len(groups):
            in_flight.popleft().synchronize()
    for group in groups:
        group.release()


class _Group:
    """Networks that are trained in the same launches, on the stream of the first."""

    def __init__(self, members: list[_Member]) -> None:
        self._all, self._stream = members, members[0].trainer.stream
        self._members: list[_Member] = []
        self._networks: Any = None
        self._done = 0
        for member in members:
            self._stream.wait_event(member.trainer.stream.record())  # what is prepared there

    def has_steps(self) -> bool:
        """Whether steps are left of a network that is not to stop."""
        return any(self._left(member) for member in self._all)

    def _left(self, member: _Member) -> int:
        return 0 if member.control.stop_requested else max(0, len(member.plan.batches) - self._done)

    def start(self) -> Any:
        """Start the next steps without waiting for them; return an event after them."""
        members = [member for member in self._all if self._left(member)]
        kernel = members[0].kernel
        with self._stream:
            if members != self._members:
                records = np.concatenate([member.kernel.record for member in members])
                self._members, self._networks = members, members[0].trainer.xp.asarray(records)
            self._done += kernel.start_all(self._networks, len(members), max(map(self._left, members)))
            return self._stream.record()

    def release(self) -> None:
        """Let the stream of each network wait for the launches."""
        event = self._stream.record()
        for member in self._all:
            member.trainer.stream.wait_event(event)
