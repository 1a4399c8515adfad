"""Which environments are those of several processes, and that a training in each of them is refused; without MPI."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mlp.distributed import launched_rank, launched_ranks

ROOT = Path(__file__).resolve().parents[1]
VARIABLES = (
    "PMI_SIZE", "PMI_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK",
    "MV2_COMM_WORLD_SIZE", "MV2_COMM_WORLD_RANK",
    "JSM_NAMESPACE_SIZE", "JSM_NAMESPACE_RANK", "SLURM_STEP_NUM_TASKS", "SLURM_PROCID", "PMIX_RANK",
)  # fmt: skip

SEVERAL = [
    ({"PMI_SIZE": "4", "PMI_RANK": "3"}, 4, "PMI_SIZE", 3),
    ({"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "1", "PMIX_RANK": "1"}, 2, "OMPI_COMM_WORLD_SIZE", 1),
    ({"MV2_COMM_WORLD_SIZE": "8", "MV2_COMM_WORLD_RANK": "0"}, 8, "MV2_COMM_WORLD_SIZE", 0),
    ({"JSM_NAMESPACE_SIZE": "6", "JSM_NAMESPACE_RANK": "5"}, 6, "JSM_NAMESPACE_SIZE", 5),
    ({"SLURM_NTASKS": "9", "SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "2"}, 4, "SLURM_STEP_NUM_TASKS", 2),
    ({"PMI_SIZE": "2", "PMI_RANK": "1", "SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "3"}, 2, "PMI_SIZE", 1),
    ({"PMIX_RANK": "2", "SLURM_NTASKS": "4", "SLURM_PROCID": "0"}, 0, "PMIX_RANK", 2),
    ({"PMIX_RANK": "0"}, 0, "PMIX_RANK", 0),
]
ALONE = [
    {},
    {"SLURM_NTASKS": "4", "SLURM_PROCID": "0", "SLURM_JOB_ID": "1"},  # a script of sbatch
    {"SLURM_NTASKS": "4", "SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0"},
    {
        "PMI_SIZE": "1",
        "PMI_RANK": "0",
        "SLURM_STEP_NUM_TASKS": "2",
        "SLURM_PROCID": "1",
    },  # mpiexec -n 1 on two machines
    {"PMI_SIZE": "", "OMPI_COMM_WORLD_SIZE": "0", "SLURM_STEP_NUM_TASKS": "many"},
]


@pytest.fixture(autouse=True)
def no_launcher(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(("variables", "count", "name", "rank"), SEVERAL)
def test_several_processes(monkeypatch, variables, count, name, rank):
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)
    assert (launched_ranks(), launched_rank()) == ((count, name), rank)


@pytest.mark.parametrize("variables", ALONE)
def test_one_process(monkeypatch, variables):
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)
    assert launched_ranks()[0] == 1
    assert launched_rank() == 0


def train(folder, variables, *options):
    """Run ``mlp train`` in an environment without mpi4py."""
    program = "import sys; sys.modules['mpi4py'] = None; from mlp.cli import main; main()"
    command = [sys.executable, "-c", program, "train", "moons", "--epochs", "1", "--backend", "numpy", *options]
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | variables
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("options", [(), ("--shards", "8")])
@pytest.mark.parametrize(
    ("variables", "name", "name_of_rank"),
    [
        ({"MV2_COMM_WORLD_SIZE": "8"}, "MV2_COMM_WORLD_SIZE", "MV2_COMM_WORLD_RANK"),
        ({"SLURM_NTASKS": "9", "SLURM_STEP_NUM_TASKS": "4"}, "SLURM_STEP_NUM_TASKS", "SLURM_PROCID"),
        ({}, "PMIX_RANK", "PMIX_RANK"),
    ],
)
def test_a_training_in_each_of_several_processes_is_refused(tmp_path, variables, name, name_of_rank, options):
    for rank in ("0", "3"):
        result = train(tmp_path, variables | {name_of_rank: rank}, *options)
        assert result.returncode == 2
        assert not list(tmp_path.iterdir()), "it has trained"
        if rank == "0":
            assert result.stderr.startswith("mlp: error: ")
            assert "pip install 'mlp-xp[mpi]'" in result.stderr
            assert result.stderr.endswith(f"unset {name}.\n")
        else:
            assert result.stderr == ""


@pytest.mark.parametrize("variables", ALONE[1:4], ids=["sbatch", "srun -n 1", "mpiexec -n 1"])
def test_a_training_in_one_process_is_not(tmp_path, variables):
    result = train(tmp_path, variables, "--quiet")
    assert (result.returncode, result.stderr) == (0, "")
    assert (tmp_path / "runs" / "moons-1" / "results.json").exists()
