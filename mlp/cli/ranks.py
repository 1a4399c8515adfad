"""``mlp train`` under ``mpiexec``: rank 0 alone prints, and no rank waits for one that has failed."""

from __future__ import annotations

import io
import sys
import traceback
from typing import TYPE_CHECKING, NoReturn

import click

from mlp._backends import ConfigurationError, MLPError
from mlp.cli.printing import print_message
from mlp.cli.usage import one_line

if TYPE_CHECKING:
    from mlp.distributed import Communicator, MPICommunicator

FAILED, WRONG_USAGE = 1, 2


def is_started_by_launcher(arguments: list[str]) -> bool:
    """Whether a launcher has started several processes with these arguments, which are those of a training."""
    command = next((argument for argument in arguments if not argument.startswith("-")), None)
    if command != "train":
        return False
    from mlp.distributed import launched_ranks

    return launched_ranks()[0] != 1


def run(command: click.Command) -> NoReturn:
    """Run the command line as one of several ranks, and exit."""
    from mlp.distributed import launched_rank, launched_ranks, mpi

    try:
        comm = mpi()  # before anything that may fail: a rank that fails before this leaves the others waiting
    except MLPError as error:
        # rank 0 does not notice that it is alone if the launcher does not say how many ranks there are
        if launched_rank() == 0 or (launched_rank() == 1 and launched_ranks()[0] == 0):
            print_message(f"error: {one_line(error)}")
        sys.exit(WRONG_USAGE)
    if comm.rank:
        sys.stdout, sys.stderr = io.StringIO(), io.StringIO()
    try:
        status = _status_of(command)
    except BaseException:
        traceback.print_exc()
        status = FAILED
    if status and not comm.end(status):
        message = ""
        if comm.rank and isinstance(sys.stderr, io.StringIO):
            message = ": " + one_line(sys.stderr.getvalue().strip().rpartition("\n")[2]).removeprefix("mlp: ")
        comm.abort(status, f"rank {comm.rank} of {comm.size} has failed{message}")
    sys.exit(status)


def _status_of(command: click.Command) -> int:
    try:
        command(prog_name="mlp", color=False)  # stdout is the launcher's, of which Open MPI makes a terminal
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


def communicator(timeout: float | None) -> Communicator:
    """The communicator of this process; without a launcher that of a training in one process.

    Raises
    ------
    ConfigurationError
        If the ranks do not see each other, or the timeout is not positive.
    """
    from mlp.distributed import SERIAL, launched_ranks, mpi

    if timeout is not None and not timeout > 0:
        raise ConfigurationError(f"timeout={timeout:g} must be a positive number of seconds.")
    if launched_ranks()[0] == 1:
        return SERIAL
    return mpi() if timeout is None else mpi(timeout)


def wait_for_rank_0(comm: Communicator) -> None:
    """Wait until rank 0 has written the results of the training."""
    waiting: MPICommunicator = comm  # type: ignore[assignment]
    waiting.end(0)
