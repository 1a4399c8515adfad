"""What the launcher of this process, such as ``mpiexec``, says about the ranks, before MPI is loaded."""

from __future__ import annotations

import os

_VARIABLES = {  # the number of processes, and the number of this one; the launcher that was started last comes first
    "PMI_SIZE": "PMI_RANK",  # MPICH and its relatives, and some ways of srun
    "OMPI_COMM_WORLD_SIZE": "OMPI_COMM_WORLD_RANK",  # Open MPI
    "MV2_COMM_WORLD_SIZE": "MV2_COMM_WORLD_RANK",
    "JSM_NAMESPACE_SIZE": "JSM_NAMESPACE_RANK",  # jsrun
    "SLURM_STEP_NUM_TASKS": "SLURM_PROCID",  # srun; SLURM_NTASKS is also set in scripts of which there is one process
}
_PMIX_RANK = "PMIX_RANK"
"""Launchers that have only PMIx do not say how many processes there are."""


def launched_ranks() -> tuple[int, str]:
    """How many processes the launcher has started, and which environment variable says so.

    Returns
    -------
    count : int
        1 without a launcher; 0 if there is one that does not say how many.
    variable : str
        Empty without a launcher.
    """
    for name in _VARIABLES:
        text = os.environ.get(name, "")
        if text.isdecimal() and int(text) > 0:
            return int(text), name
    return (0, _PMIX_RANK) if os.environ.get(_PMIX_RANK, "").isdecimal() else (1, "")


def launched_rank() -> int:
    """The number that the launcher gave to this process; 0 without a launcher."""
    count, variable = launched_ranks()
    text = os.environ.get(_VARIABLES.get(variable, _PMIX_RANK), "") if count != 1 else ""
    return int(text) if text.isdecimal() else 0
