"""`MPICommunicator`: ranks connected by MPI, of which none waits forever for another.

A rank that waits tests its messages in a loop, and does not call a blocking function of MPI.  So it notices Ctrl-C, a
rank that has ended, and that it has waited too long.
"""

from __future__ import annotations

import contextlib
import importlib
import math
import os
import sys
import time
import warnings
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from mlp._backends import ConfigurationError, limit_threads, usable_processors
from mlp.distributed.job_end import end_with_all_ranks
from mlp.distributed.launcher import launched_rank, launched_ranks

TIMEOUT = 600.0
"""Seconds that a rank waits for another one."""

GRACE = 0.5
"""Seconds in which all ranks must end with an error, for it to be an error of all of them."""

FORWARDING = 0.2
"""Seconds in which the launcher reads what a rank has printed; it may lose what comes with the end of the job."""

SMALL = 4096
"""Numbers of up to so many bytes are sent whole, in fewer messages than those that are divided."""

FAILED, TIMED_OUT = 1, 3
"""Exit statuses of a job."""

_SPIN = 0.002
"""Seconds of waiting without sleep: a step has many short waits."""


_yield_processor = getattr(os, "sched_yield", None) or (lambda: time.sleep(0))  # not on all systems


class MPICommunicator:
    """The communicator of the ranks of ``MPI.COMM_WORLD``; made by `mpi`.

    Parameters
    ----------
    MPI : module
        ``mpi4py.MPI``.
    timeout : float
        Seconds that a rank waits for another one, before it ends the job.
    """

    def __init__(self, MPI: Any, timeout: float = TIMEOUT) -> None:
        self.step, self.timeout = 0, timeout
        self._MPI = MPI
        self._comm, self._control = MPI.COMM_WORLD.Dup(), MPI.COMM_WORLD.Dup()
        self._rank, self._size = int(self._comm.rank), int(self._comm.size)
        self._scratch = np.empty(0, np.uint8)
        self._ended: dict[int, int] = {}  # exit status of each rank that has ended
        self._has_ended = False
        self._own_status, self._status = np.zeros((2, 1), np.int64)
        self._next_end = self._receive_end()

    @property
    def rank(self) -> int:
        """Number of this rank, from 0."""
        return self._rank

    @property
    def size(self) -> int:
        """Number of all ranks."""
        return self._size

    # -- what ranks exchange ------------------------------------------------------------------------

    def tree_sum(self, array: NDArray[Any]) -> None:
        """See `Communicator`."""
        if self._scratch.nbytes < array.nbytes:
            self._scratch = np.empty(array.nbytes, np.uint8)
        other = self._scratch[: array.nbytes].view(array.dtype)
        if array.nbytes <= SMALL:
            self._sum_whole(array, other)
        else:
            self._sum_divided(array, other)

    def _sum_whole(self, x: NDArray[Any], other: NDArray[Any]) -> None:
        """Each level of the tree adds the numbers of two ranks, on both of them."""
        for level in range(self._size.bit_length() - 1):
            partner = self._rank ^ (1 << level)
            self._swap(x, other, partner)
            self._add(x, other, partner)

    def _sum_divided(self, x: NDArray[Any], other: NDArray[Any]) -> None:
        """The same tree, but each rank of a pair adds only half of their numbers; then all collect the sums.

        A rank sends 2 (size - 1) / size times its numbers (Rabenseifner 2004), and not log2(size) times.
        """
        start, stop, spans = 0, x.size, []
        for level in range(self._size.bit_length() - 1):
            partner, middle = self._rank ^ (1 << level), (start + stop) // 2
            spans.append((start, stop))
            kept, sent = (start, middle), (middle, stop)
            if partner < self._rank:
                kept, sent = sent, kept
            start, stop = kept
            self._swap(x[slice(*sent)], other[start:stop], partner)
            self._add(x[start:stop], other[start:stop], partner)
        for level in reversed(range(self._size.bit_length() - 1)):
            whole = spans.pop()
            missing = (stop, whole[1]) if start == whole[0] and stop < whole[1] else (whole[0], start)
            self._swap(x[start:stop], x[slice(*missing)], self._rank ^ (1 << level))
            start, stop = whole

    def _add(self, x: NDArray[Any], other: NDArray[Any], partner: int) -> None:
        # the sum of two NaN has the bits of the first
        np.add(*((other, x) if partner < self._rank else (x, other)), out=x)

    def agree(self, number: int) -> int:
        """See `Communicator`."""
        x, other = np.array([number], np.int64), np.empty(1, np.int64)
        for level in range(self._size.bit_length() - 1):
            self._swap(x, other, self._rank ^ (1 << level))
            np.maximum(x, other, out=x)
        return int(x[0])

    def exchange(self, text: str) -> list[str]:
        """See `Communicator`."""
        own = np.frombuffer(text.encode(), np.uint8)
        lengths = np.zeros(self._size, np.int64)
        lengths[self._rank] = own.size
        self.tree_sum(lengths)
        ends = np.cumsum(lengths)
        texts = np.zeros(int(ends[-1]), np.uint8)
        texts[ends[self._rank] - own.size : ends[self._rank]] = own
        self.tree_sum(texts)
        return [texts[end - n : end].tobytes().decode() for end, n in zip(ends, lengths, strict=True)]

    # -- waiting ------------------------------------------------------------------------------------

    def _swap(self, sent: NDArray[Any], received: NDArray[Any], partner: int) -> None:
        requests = [self._comm.Irecv(received, partner), self._comm.Isend(sent, partner)]
        self._wait(requests, partner)

    def _wait(self, requests: list[Any], partner: int) -> None:
        tests, start, gone = 0, 0.0, math.inf
        while not self._MPI.Request.Testall(requests):
            tests += 1
            if tests % 64:
                _yield_processor()
                continue
            now = time.monotonic()
            start = start or now
            self._look_for_ends()
            if partner in self._ended:
                gone = min(gone, now)
            if now - gone > (2 * GRACE if self._ended.get(partner) else GRACE / 2):  # what it has sent would be here
                self.abort(FAILED, f"rank {partner} has ended, and rank {self._rank} waits for it")
            if now - start > self.timeout:
                self.abort(TIMED_OUT, f"rank {self._rank} has waited {self.timeout:g} s for rank {partner}")
            if now - start > _SPIN:
                time.sleep(1e-4)

    # -- the end of the job -------------------------------------------------------------------------

    def end(self, status: int) -> bool:
        """Tell the other ranks that this one ends, and wait for them.

        Parameters
        ----------
        status : int
            Exit status of this rank.  If it is 0, there is no limit on the time for which it waits.

        Returns
        -------
        bool
            Whether all ranks have ended.  Otherwise the caller must `abort`, since others may wait for this rank.
        """
        if not self._has_ended:
            self._has_ended = True
            self._own_status[0] = status
            for other in range(self._size):
                if other != self._rank:
                    self._control.Isend(self._own_status, other).Free()
        start = time.monotonic()
        while len(self._ended) < self._size - 1:
            if status and time.monotonic() - start > GRACE:
                return False
            self._look_for_ends()
            time.sleep(0.005)
        return True

    def _receive_end(self) -> Any:
        return self._control.Irecv(self._status, self._MPI.ANY_SOURCE)

    def _look_for_ends(self) -> None:
        found = self._MPI.Status()
        while len(self._ended) < self._size - 1 and self._next_end.Test(found):
            self._ended[found.source] = int(self._status[0])
            if len(self._ended) < self._size - 1:
                self._next_end = self._receive_end()

    def abort(self, status: int, reason: str) -> NoReturn:
        """Print the reason to stderr, and end all ranks."""
        stream = sys.__stderr__
        if stream is not None:
            stream.write(f"mlp: {reason}, after {self.step} updates; all {self._size} ranks end here\n")
            stream.flush()
            time.sleep(FORWARDING)
        self._MPI.COMM_WORLD.Abort(status)
        raise SystemExit(status)


_world: MPICommunicator | None = None
_threads = contextlib.ExitStack()


def mpi(timeout: float = TIMEOUT) -> MPICommunicator:
    """Connect to the other ranks that ``mpiexec`` has started; without it, to none.

    Call it at the beginning of the program: an error of a rank before this call may leave the others waiting.  From
    then on a rank that fails, ends, or does not answer ends the job.  The processors that this process may use are
    divided among the ranks that share them.

    Parameters
    ----------
    timeout : float
        Seconds that a rank waits for another one, before it ends the job with the exit status 3.

    Returns
    -------
    MPICommunicator
        A second call returns the same one, with the new timeout.

    Raises
    ------
    ConfigurationError
        If mpi4py or an MPI library is missing, if the ranks do not see each other, or if their number is not a power
        of two.

    Notes
    -----
    The last ranks to end wait for the others, as all programs of MPI do.
    """
    global _world
    if not isinstance(timeout, int | float) or not timeout > 0:
        raise ConfigurationError(f"timeout={timeout!r} must be a positive number of seconds.")
    if _world is None:
        MPI = _load()
        world = MPI.COMM_WORLD
        if world.size & (world.size - 1):
            raise ConfigurationError(
                f"there are {world.size} ranks; their number must be a power of two, since gradients are summed in a "
                "binary tree: start 1, 2, 4, 8, ... ranks."
            )
        _world = MPICommunicator(MPI, timeout)
        if world.size > 1:
            _threads.enter_context(limit_threads(_threads_of_rank(MPI)))
            end_with_all_ranks(_world)
    _world.timeout = float(timeout)
    return _world


def _load() -> Any:
    """The module ``mpi4py.MPI``, with MPI started."""
    launched, variable = launched_ranks()
    alone = f"For a training by this process alone, unset {variable}." if variable else ""
    try:
        rc = importlib.import_module("mpi4py").rc
        if "mpi4py.MPI" not in sys.modules:
            rc.initialize, rc.finalize = False, True  # the library is looked at before it starts
        MPI = importlib.import_module("mpi4py.MPI")
    except (ImportError, RuntimeError) as error:
        reason = f"the launcher has started {launched} processes ({variable}={launched}), and " if launched > 1 else ""
        raise ConfigurationError(
            f"{reason}training by several ranks needs mpi4py and an MPI library ({error}): "
            f"pip install 'mlp-xp[mpi]'. {alone}".rstrip()
        ) from error
    library = " ".join(MPI.Get_library_version().split("\n")[0].strip("\0").split())
    seen = 1  # MPICH ends the process if it finds the launcher of Open MPI
    if not (variable.startswith("OMPI") and "MPICH" in library):
        if not MPI.Is_initialized():
            with warnings.catch_warnings():  # the error below says more
                warnings.filterwarnings("ignore", "suspicious MPI execution environment", RuntimeWarning)
                MPI.Init_thread()
        seen = int(MPI.COMM_WORLD.size)
    if (launched > 1 and seen != launched) or seen <= launched_rank():
        started = launched if launched else f"at least {launched_rank() + 1}"
        raise ConfigurationError(
            f"the launcher has started {started} processes ({variable}={os.environ[variable]}), but MPI sees only "
            f"{seen} of them: each would train alone. The MPI library here is {library!r}; use the "
            f"mpiexec that belongs to it, such as {os.path.join(sys.prefix, 'bin', 'mpiexec')}. {alone}"
        )
    return MPI


def _threads_of_rank(MPI: Any) -> int:
    """The number of threads of this rank: its processors, divided among the ranks of this machine that share them."""
    try:
        processors = os.sched_getaffinity(0)
    except AttributeError:  # not on this operating system
        processors = set(range(os.cpu_count() or 1))
    machine = MPI.COMM_WORLD.Split_type(MPI.COMM_TYPE_SHARED)
    sharing = sum(1 for others in machine.allgather(processors) if others & processors)
    machine.Free()
    return max(usable_processors() // sharing, 1)
