"""Trainings by several processes under ``mpiexec``: the same bits as in one, no rank that waits forever, commands."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from sharded_trainings import TRAININGS, digest, trained
from thread_ranks import tree_sum

import backends
import mlp
from mlp.cli import cli

ROOT = Path(__file__).resolve().parents[1]
MPIEXEC = shutil.which("mpiexec", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
THOROUGH = os.environ.get("MLP_HYPOTHESIS") == "thorough"
long_test = pytest.mark.skipif(not THOROUGH, reason="a long test: set MLP_HYPOTHESIS=thorough")

if importlib.util.find_spec("mpi4py") is None or MPIEXEC is None:
    pytest.skip("needs mpi4py and mpiexec: pip install 'mlp-xp[mpi]'", allow_module_level=True)

VERSION = subprocess.run([MPIEXEC, "--version"], capture_output=True, text=True).stdout
OPEN_MPI, INTEL_MPI = "Open MPI" in VERSION or "PRRTE" in VERSION, "Intel(R) MPI" in VERSION  # else MPICH
MPICH_ENDS = pytest.mark.skipif(not OPEN_MPI and not INTEL_MPI, reason="MPICH itself ends with an error about PMIx")
KILLED = 137 if OPEN_MPI else 255 if INTEL_MPI else 9
"""Exit status of the launcher if a signal has ended a rank."""

HOST_BACKENDS = [name for name in ("numpy", "numba") if name in backends.available()]


def run(ranks, *arguments, folder=None, limit=120, **environment):
    """Run Python under ``mpiexec``; the job may not hang."""
    command = [MPIEXEC, "-n", str(ranks), sys.executable, *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | environment
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=limit)


def command_line(ranks, *arguments, **settings):
    return run(ranks, "-m", "mlp", *arguments, **settings)


# -- the same bits ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", HOST_BACKENDS)
@pytest.mark.parametrize(
    "ranks", [2, pytest.param(1, marks=long_test), pytest.param(4, marks=long_test), pytest.param(8, marks=long_test)]
)
def test_processes_train_to_the_bits_of_one(backend, ranks):
    names = TRAININGS if THOROUGH else ["adam", "dropout", "clip_norm", "fewer rows than shards", "early stopping"]
    result = run(ranks, "tests/sharded_trainings.py", backend, *names, folder=ROOT)
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    assert found == {"ranks": ranks, "digests": {name: digest(trained(backend, name)) for name in names}}


SUMS = """
import sys, numpy as np, mlp
comm = mlp.distributed.mpi()
for dtype in (np.float32, np.float64):
    for n in (1, 2, 3, 1023, 1024, 1025, 5001, 100_003):
        x = np.random.default_rng([n, comm.rank]).normal(size=n).astype(dtype)
        x[:: n // 7 + 1] = np.nan if comm.rank % 2 else np.inf
        comm.tree_sum(x)
        np.save(f"{np.dtype(dtype)}-{n}-{comm.rank}.npy", x)
texts = comm.exchange("ä" * comm.rank)
assert texts == ["ä" * rank for rank in range(comm.size)], texts
assert comm.agree(-comm.rank) == 0 and comm.agree(comm.rank) == comm.size - 1
assert mlp.distributed.of_first(comm, [comm.rank + 0.1, float("nan")])[0] == 0.1
"""


@pytest.mark.parametrize("ranks", [2, 4, pytest.param(8, marks=long_test)])
def test_sums_are_those_of_one_tree(ranks, tmp_path):
    result = run(ranks, "-c", SUMS, folder=tmp_path)
    assert result.returncode == 0, result.stderr
    for dtype in ("float32", "float64"):
        for n in (1, 2, 3, 1023, 1024, 1025, 5001, 100_003):
            arrays = [np.random.default_rng([n, rank]).normal(size=n).astype(dtype) for rank in range(ranks)]
            for rank, array in enumerate(arrays):
                array[:: n // 7 + 1] = np.nan if rank % 2 else np.inf
            expected = tree_sum(arrays)
            for rank in range(ranks):
                found = np.load(tmp_path / f"{dtype}-{n}-{rank}.npy")
                np.testing.assert_array_equal(found.view(np.uint8), expected.view(np.uint8))


# -- nothing hangs ------------------------------------------------------------------------------------------

ONE_RANK_FAILS = [
    # what happens, to which rank; exit status; what stderr says
    ("raise", 1, 1, r"a mistake of this rank[^$]*rank 1 has failed with ValueError, after 6 updates"),
    ("raise", 0, 1, r"a mistake of this rank[^$]*rank 0 has failed with ValueError, after 6 updates"),
    ("exit", 1, 1, r"rank 1 has ended, and rank \d waits for it, after 7 updates"),
    ("exit", 0, 1, r"rank 0 has ended, and rank \d waits for it, after 7 updates"),
    ("kill", 1, KILLED, r"(?i)signal:? 9"),
    ("stop", 1, 3, r"has waited 3 s for rank 1, after 7 updates"),
    ("stop", 0, 3, r"has waited 3 s for rank 0, after 7 updates"),
    ("two Ctrl-C", 1, 130, r"rank 1 has failed with KeyboardInterrupt"),
    ("before", 1, 1, r"before the training[^$]*rank 1 has failed with KeyError, after 0 updates"),
    ("leaves early", 1, 1, r"rank 1 has ended, and rank \d waits for it, after 0 updates"),
]
IN_EVERY_RUN = [("raise", 1), ("exit", 1), ("stop", 1), ("kill", 1)]


@pytest.mark.parametrize(
    ("kind", "rank", "status", "message"),
    [pytest.param(*case, marks=() if case[:2] in IN_EVERY_RUN else long_test) for case in ONE_RANK_FAILS],
)
@pytest.mark.parametrize("ranks", [2, pytest.param(4, marks=long_test)])
def test_a_rank_that_fails_ends_the_job(kind, rank, status, message, ranks):
    result = run(ranks, "tests/rank_failures.py", kind, rank, folder=ROOT)
    ended = time.time()
    assert result.returncode == status, result.stderr
    assert re.search(message, result.stdout + result.stderr), result.stderr
    (began,) = (float(line.split()[0]) for line in result.stdout.splitlines() if line.endswith("begins"))
    assert ended - began < (3 if kind == "stop" else 0) + (2 if THOROUGH else 10)  # the machine may be busy


@pytest.mark.parametrize(
    ("kind", "stop_reason"),
    [("one Ctrl-C", "interrupted by Ctrl-C (in epoch 2, after 4 of 4 batches)"), ("slow end", "all 4 epochs done")],
)
@long_test
def test_jobs_that_end_as_they_should(kind, stop_reason):
    result = run(2, "tests/rank_failures.py", kind, 1, folder=ROOT)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count(stop_reason.partition(" (")[0]) == 2


@long_test
def test_a_rank_with_fewer_epochs_is_refused():
    result = run(2, "tests/rank_failures.py", "fewer epochs", 1, folder=ROOT)
    assert result.returncode == 1
    assert result.stderr.count("rank 1 differs from rank 0 in its settings: {'epochs': 2}, not {'epochs': 4}") == 2


def test_without_mpi4py_the_message_says_what_to_install():
    command = [sys.executable, "tests/rank_failures.py", "no mpi4py", "0"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert result.returncode == 1
    assert "pip install 'mlp-xp[mpi]'" in result.stderr


@pytest.mark.parametrize("options", [(), ("--shards", "8")])
@pytest.mark.parametrize(
    ("variable", "value", "started"),
    [
        ("PMI_SIZE", "4", "4"),
        pytest.param("OMPI_COMM_WORLD_SIZE", "2", "2", marks=long_test),
        ("SLURM_STEP_NUM_TASKS", "4", "4"),
        pytest.param("PMIX_RANK", "1", "at least 2", marks=MPICH_ENDS),
    ],
)
def test_processes_that_do_not_see_each_other_are_refused(tmp_path, variable, value, started, options):
    environment = os.environ | {"PYTHONPATH": str(ROOT), variable: value}
    command = [sys.executable, "-m", "mlp", "train", "moons", *options]
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
    assert result.returncode == 2
    assert result.stderr.startswith(f"mlp: error: the launcher has started {started} processes ({variable}={value})")
    assert result.stderr.endswith(f"unset {variable}.\n")
    assert not list(tmp_path.iterdir())


@MPICH_ENDS
def test_a_launcher_that_does_not_say_how_many_ranks_there_are(tmp_path):
    """Its ranks see each other, but a training without shards is refused."""
    program = "import os; os.environ.pop('OMPI_COMM_WORLD_SIZE', 0); from mlp.cli import main; main()"
    for options, status in (((), 2), (("--shards", "8"), 0)):
        result = run(2, "-c", program, "train", "moons", "--epochs", "1", "--quiet", *options, folder=tmp_path)
        assert result.returncode == status, result.stderr
        assert len(list(tmp_path.glob("runs/*"))) == (status == 0)


@long_test
def test_three_ranks_are_refused():
    result = run(3, "-c", "import mlp; mlp.distributed.mpi()", folder=ROOT)
    assert result.returncode == 1
    assert "there are 3 ranks; their number must be a power of two" in result.stderr


# -- the command line -----------------------------------------------------------------------------------------

TRAIN = ("train", "digits", "--backend", "numpy", "--batch-size", "64", "--shards", "8")


def model(folder):
    return digest(mlp.load(folder / "training.safetensors"))


def test_rank_0_alone_prints_and_writes_and_a_run_is_resumed_without_ranks(tmp_path, monkeypatch):
    result = command_line(2, *TRAIN, "--epochs", "2", "--output-dir", "two", folder=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    assert re.search(r"^shards +8 of each batch, on 2 ranks$", result.stdout, re.MULTILINE)
    assert len(re.findall(r"^run ", result.stdout, re.MULTILINE)) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["two"]
    monkeypatch.chdir(tmp_path)
    for arguments in (["--resume", "two", "--output-dir", "one"], [*TRAIN[1:], "--output-dir", "whole"]):
        assert CliRunner().invoke(cli, ["train", *arguments, "--epochs", "3"]).exit_code == 0
    assert model(tmp_path / "one") == model(tmp_path / "whole")


@long_test
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_job_and_another_number_of_ranks_continues(tmp_path, number, status):
    command = [MPIEXEC, "-n", "4", sys.executable, "-m", "mlp", *TRAIN, "--epochs", "1000", "--output-dir", "first"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as job:
        metrics, deadline = tmp_path / "first" / "metrics.csv", time.monotonic() + 60
        while not metrics.exists() or metrics.read_text().count("\n") < 3:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        job.send_signal(number)
        _, errors = job.communicate(timeout=30)
    if OPEN_MPI:  # its launcher forwards nothing after a signal, and exits with 1
        assert job.returncode == 1, errors
    else:
        assert job.returncode == status, errors
        assert "continue with: mlp train --resume first" in errors
    epochs = str(mlp.load(tmp_path / "first" / "training.safetensors").training_state.epoch + 2)
    for ranks, name, arguments in ((1, "one", ("train", "--resume", "first")), (2, "whole", TRAIN)):
        result = command_line(ranks, *arguments, "--epochs", epochs, "--output-dir", name, folder=tmp_path)
        assert result.returncode == 0, result.stderr
    assert model(tmp_path / "one") == model(tmp_path / "whole")


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("train", "moons"), 2, "2 ranks cannot divide shards=1: several processes share one training only if"),
        pytest.param(("train", "moons", "--shards", "8", "--lr", "x"), 2, "'x' is not a valid float", marks=long_test),
        pytest.param(("train", "nothing.csv", "--shards", "8"), 2, "nothing.csv", marks=long_test),
        pytest.param(
            ("train", "moons", "--shards", "8", "--optimizer", "sgd", "--lr", "1e30"), 1, "diverged", marks=long_test
        ),
    ],
)
def test_an_error_of_all_ranks_is_printed_once(tmp_path, arguments, status, message):
    result = command_line(2, *arguments, "--quiet", folder=tmp_path)
    assert (result.returncode, result.stdout) == (status, "")
    assert result.stderr.startswith("mlp: error: ")
    lines = result.stderr.splitlines()
    assert message in lines[0]
    assert [line for line in lines if line.startswith("mlp: ")] == lines[:1]
    assert OPEN_MPI or len(lines) == 1  # its launcher adds a report about the exit status


EXIT = """
import os, threading, time
from pathlib import Path
from mlp.cli import main
from mlp.distributed import launched_rank
def leave():
    metrics = Path("first/metrics.csv")
    while not metrics.exists() or metrics.read_text().count("\\n") < 3:
        time.sleep(0.01)
    os._exit(0)
if launched_rank() == 1:
    threading.Thread(target=leave, daemon=True).start()
main()
"""


@long_test
def test_a_run_whose_rank_has_left_silently_is_unfinished(tmp_path, monkeypatch):
    """The launcher of MPICH then ends with 0, too."""
    result = run(2, "-c", EXIT, *TRAIN, "--epochs", "10000", "--output-dir", "first", folder=tmp_path)
    assert result.returncode != 0 or not (OPEN_MPI or INTEL_MPI)
    assert not (tmp_path / "first" / "results.json").exists()
    monkeypatch.chdir(tmp_path)
    assert "unfinished" in CliRunner().invoke(cli, ["runs", "."]).stdout
    epochs = str(mlp.load("first/training.safetensors").training_state.epoch + 1)
    resumed = CliRunner().invoke(cli, ["train", "--resume", "first", "--epochs", epochs, "--output-dir", "second"])
    assert re.search("^resumes   first, .*: it did not finish$", resumed.stdout, re.MULTILINE), resumed.output


@pytest.mark.parametrize("option", [["--timeout", "0"], ["--timeout", "nan"], ["--shards", "3"], ["--shards", "0"]])
def test_wrong_options_are_named(tmp_path, monkeypatch, option):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(cli, ["train", "moons", *option])
    assert result.exit_code == 2
    assert result.stderr.startswith("mlp: error: ")
    assert option[0] in result.stderr
    assert not list(tmp_path.iterdir())


@long_test
def test_an_error_of_one_rank_names_it(tmp_path):
    """Rank 1 finds no file, because it has another working directory."""
    program = (
        "import os, mlp.distributed as d; d.launched_rank() and os.chdir('other'); from mlp.cli import main; main()"
    )
    (tmp_path / "other").mkdir()
    (tmp_path / "table.csv").write_text("a,b\n" + "".join(f"{i % 7},{i % 2}\n" for i in range(200)))
    result = run(2, "-c", program, "train", "table.csv", "--target", "b", "--shards", "8", folder=tmp_path)
    assert result.returncode == 2
    assert re.search(r"mlp: rank 1 of 2 has failed: error: .*table.csv.*, after 0 updates", result.stderr)


# -- threads ----------------------------------------------------------------------------------------------------

THREADS = """
import os, mlp, threadpoolctl
from backends.environment import threads_of_environment, usable_processors
comm = mlp.distributed.mpi()
blas = max(each["num_threads"] for each in threadpoolctl.threadpool_info() if each["user_api"] == "blas")
os.write(1, f"{threads_of_environment()} {usable_processors()} {blas}\\n".encode())  # whole lines: both ranks print
"""


@pytest.mark.parametrize("variables", [{}, pytest.param({"OMP_NUM_THREADS": "1"}, marks=long_test)])
def test_ranks_divide_the_processors(tmp_path, variables):
    for name in ("MLP_NUM_THREADS", "NUMBA_NUM_THREADS", "OMP_NUM_THREADS"):
        variables = {name: ""} | variables
    result = run(2, "-c", THREADS, folder=tmp_path, **variables)
    assert result.returncode == 0, result.stderr
    lines = [tuple(map(int, line.split())) for line in result.stdout.splitlines()]
    assert len(lines) == 2
    for threads, processors, blas in lines:
        share = max(processors // 2, 1)
        assert threads == (1 if variables["OMP_NUM_THREADS"] else share)
        assert blas <= share
