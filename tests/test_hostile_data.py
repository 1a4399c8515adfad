"""Damaged and hostile data files: no exception but the library's, little time and memory, and nothing is executed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import hostile_data
import pytest
from click.testing import CliRunner
from hypothesis import settings

from mlp.cli import cli

ROOT = Path(__file__).parent.parent
THOROUGH = settings().max_examples >= 1000
LONGEST_MESSAGE = 600
"""Characters of an error beside the path, which it has at most twice."""

pytest.importorskip("polars")
pytest.importorskip("pyarrow")

READ = """
import json, os, pathlib, resource, sys, time, warnings
import tempfile, tokenize, unicodedata  # of the standard library; Python and numpy need them for odd headers
warnings.simplefilter("ignore")  # the header of a damaged NPY file can be text that Python warns about
import mlp.data
folder = pathlib.Path(sys.argv[1])
def read(path):
    name = path.name
    kinds = {".npy": mlp.data.read_npy, ".npz": mlp.data.read_npz}
    if "-idx" in name:
        return mlp.data.read_idx(path)
    return kinds.get(path.suffix, mlp.data.read_table)(path)
def attempt(path):
    try:
        read(path)
    except mlp.MLPError as error:
        return str(error)
    return None

executed = []
LIBRARIES = sys.stdlib_module_names | {"numpy", "polars", "pyarrow", "mlp", "backends", "_polars_runtime_32"}
FOLDERS = ("<frozen", sys.prefix, sys.base_prefix, str(pathlib.Path(mlp.__file__).parent))
FORBIDDEN = {"os.system", "os.exec", "os.fork", "os.posix_spawn", "os.spawn", "subprocess.Popen", "socket.connect",
             "pickle.find_class"}

def hook(event, arguments):
    # libraries import parts of themselves when they are needed; nothing else may be executed
    if event == "import" and arguments[0].partition(".")[0] in LIBRARIES:
        return
    if event == "exec" and arguments[0].co_filename.startswith(FOLDERS):
        return
    if event in FORBIDDEN | {"import", "exec"}:
        executed.append((event, str(arguments[0])))
"""


def _python(program: str, *arguments: str) -> list[str]:
    process = subprocess.run(
        [sys.executable, "-c", READ + program, *arguments], cwd=ROOT, capture_output=True, text=True,
        timeout=3000 if THOROUGH else 120, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert process.returncode == 0, process.stdout[-500:] + process.stderr[-2000:]
    return process.stdout.splitlines()


def _write(folder: Path, files: Iterable[tuple[str, bytes]]) -> Path:
    folder.mkdir()
    for name, content in files:
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture(scope="module")
def valid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _write(tmp_path_factory.mktemp("data") / "valid", hostile_data.valid())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the memory of a single call is measured in a child process")
def test_hostile_files_are_refused_in_little_time_and_memory(tmp_path: Path, valid: Path) -> None:
    corpus = _write(tmp_path / "hostile", hostile_data.hostile())
    program = """
for path in sorted(pathlib.Path(sys.argv[2]).iterdir()):
    if not {".csv", ".tsv"} & set(path.suffixes):  # the threads of polars do not outlive a fork
        assert attempt(path) is None, path
import polars
for path in sorted(folder.iterdir()):
    child = os.fork()
    if not child:
        resource.setrlimit(resource.RLIMIT_AS, (8 * 2**30,) * 2)  # for the machine, if a file is not refused
        before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
        message = attempt(path)
        seconds = time.process_time() - start
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before  # in KiB, on macOS in bytes
        memory *= 1 if sys.platform == "darwin" else 1024
        print(json.dumps([path.name, path.stat().st_size, seconds, memory, message]), flush=True)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0, path
"""
    lines = _python(program, str(corpus), str(valid))
    assert len(lines) == len(list(corpus.iterdir()))
    wrong = []
    for line in lines:
        name, size, seconds, memory, message = json.loads(line)
        print(f"{name}: {size / 1e6:.2f} MB, {seconds:.2f} s, {memory / 1e6:.0f} MB more: {message}")
        if message is None:
            wrong.append(f"{name} was read")
        elif name not in message or "\n" in message or len(message) - 2 * len(str(corpus)) > LONGEST_MESSAGE:
            wrong.append(f"{name}: {message}")
        if seconds >= 1 or memory >= 2 * size + 64e6:
            wrong.append(f"{name} of {size / 1e6:.2f} MB took {seconds:.2f} s and {memory / 1e6:.0f} MB")
    assert not wrong, "\n".join(wrong)


def test_damaged_files_give_no_other_error_and_execute_nothing(tmp_path: Path, valid: Path) -> None:
    """Flipped bits, bytes that are all ones, and truncations; an audit hook sees what else happens."""
    program = """
import numpy as np
thorough, longest = sys.argv[2] == "True", 0
rng = np.random.default_rng(0)
for good in sorted(folder.iterdir()):
    assert attempt(good) is None, good  # the libraries are imported
sys.addaudithook(hook)
for good in sorted(folder.iterdir()):
    content = good.read_bytes()
    size = len(content)
    damaged = pathlib.Path.cwd() / good.name
    changes = [(place, mask) for place in range(size) for mask in (1, 2, 4, 8, 16, 32, 64, 128, 255)]
    cuts = range(size)
    if not thorough:
        changes = [changes[i] for i in rng.choice(len(changes), 150, replace=False)]
        cuts = rng.choice(size, 20, replace=False)
    refused = 0
    for place, mask in [*changes, *((cut, None) for cut in cuts)]:
        other = bytearray(content)
        if mask is None:
            del other[place:]
        else:
            other[place] ^= mask
        damaged.write_bytes(other)
        print(good.name, place, mask, end=": ", flush=True)  # the last line, if the process ends
        message = attempt(damaged)
        print("read" if message is None else "refused")
        assert not executed, (good.name, executed)
        if message is not None:
            refused += 1
            longest = max(longest, len(message) - 2 * len(str(damaged)))
    print("#", good.name, size, len(changes), refused)
print("#", longest)
"""
    work = tmp_path / "damaged"
    work.mkdir()
    lines = _python(f"os.chdir({str(work)!r})" + program, str(valid), str(THOROUGH))
    summary = [line for line in lines if line.startswith("#")]
    print("\n".join(summary))
    assert int(summary[-1].split()[1]) < LONGEST_MESSAGE


def test_files_with_commands_execute_nothing(tmp_path: Path) -> None:
    corpus = _write(tmp_path / "hostile", hostile_data.hostile_code())
    program = """
sys.addaudithook(hook)
for path in sorted(folder.iterdir()):
    assert attempt(path) is not None, path
    assert not executed, (path, executed)
"""
    assert _python(program, str(corpus)) == []


TABLES = [*hostile_data.tables(), *hostile_data.tables_written_elsewhere()]


@pytest.mark.parametrize(("name", "content", "options"), TABLES, ids=lambda value: str(value)[:40])
def test_a_hostile_table_is_trained_on_or_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, content: bytes, options: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).write_bytes(content)
    quick = ("--epochs", "1", "--backend", "numpy", "--output-dir", "run")
    trained = CliRunner().invoke(cli, ["train", name, "--target", "y", *options, *quick], prog_name="mlp")
    print(trained.output)
    assert "\x1b" not in trained.output
    if trained.exit_code:
        assert trained.exit_code in (1, 2)
        assert trained.stdout == ""
        lines = [line for line in trained.stderr.splitlines() if line.startswith("mlp: error: ")]
        assert len(lines) == 1 == len(trained.stderr.splitlines())
        assert len(lines[0]) < LONGEST_MESSAGE
        assert not Path("run").exists()
        return
    assert Path("run/results.json").is_file()
    answers = CliRunner().invoke(cli, ["predict", "run", name, "--json"], prog_name="mlp")
    document = json.loads(answers.stdout)
    assert document["rows"] == list(range(len(document["predictions"])))
    evaluated = CliRunner().invoke(cli, ["evaluate", "run", name, "--json"], prog_name="mlp")
    assert evaluated.exit_code == 0, evaluated.output
    assert "has changed" not in evaluated.stderr
