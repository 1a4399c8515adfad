"""What the launcher of this process, such as ``mpiexec``, says about the ranks, before MPI is loaded."""

from __future__ import annotations

import os

_VARIABLES = {
    "PMI_SIZE": "PMI_RANK",  # MPICH and its relatives
    "OMPI_COMM_WORLD_SIZE": "OMPI_COMM_WORLD_RANK",  # Open MPI
    "MV2_COMM_WORLD_SIZE": "MV2_COMM_WORLD_RANK",
}
_SLURM = {"SLURM_STEP_NUM_TASKS": "SLURM_PROCID"}
"""srun sets it for programs that are to run independently, too."""


def launched_ranks(*, tasks: bool = False) -> tuple[int, str]:
    """How many ranks the launcher has started, and which environment variable says so; (1, "") without a launcher.

    Parameters
    ----------
    tasks : bool
        Whether the tasks of a batch system count, which need not belong to one program.
    """
    for name in _VARIABLES | (_SLURM if tasks else {}):
        text = os.environ.get(name, "")
        if text.isdecimal() and int(text) > 1:
            return int(text), name
    return 1, ""


def launched_rank() -> int:
    """The number that the launcher gave to this process; 0 without a launcher."""
    for name in (_VARIABLES | _SLURM).values():
        text = os.environ.get(name, "")
        if text.isdecimal():
            return int(text)
    return 0
