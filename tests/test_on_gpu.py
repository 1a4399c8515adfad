"""The script for a machine with a GPU, on a backend that needs none."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[1] / "benchmarks" / "on_gpu.py"


def run(folder, *arguments):
    command = [sys.executable, str(SCRIPT), str(folder), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    return done.returncode, done.stdout, json.loads((folder / "results.json").read_text(encoding="utf-8"))


def test_stages_pass_and_everything_is_packed(tmp_path):
    status, output, results = run(tmp_path, "--backend", "numba", "--only", "device,training")
    assert status == 0, (tmp_path / "log.txt").read_text(encoding="utf-8")
    assert output.count("passed") == 2
    cases = results["training"]["cases"]
    assert {case["dtype"] for case in cases} == {"float32", "float64"}
    assert all(case["same bits"] and case["error"] < 1e-4 for case in cases)
    with tarfile.open(tmp_path / "on_gpu.tar.gz") as archive:
        assert {"results.json", "log.txt", "device.json", "training.json"} <= set(archive.getnames())


def test_a_stage_that_fails_does_not_stop_the_next(tmp_path):
    fails = f"{sys.executable} -c 'raise SystemExit(3)'"
    arguments = ("--backend", "missing", "--only", "device,then", "--then", fails)
    status, _, results = run(tmp_path, *arguments)
    assert status == 1
    assert [stage["status"] for stage in results["stages"].values()] == ["failed with status 1", "failed with status 3"]
    assert "unknown backend 'missing'" in (tmp_path / "log.txt").read_text(encoding="utf-8")


def test_a_required_backend_is_not_skipped():
    tests = Path(__file__).with_name("test_signatures.py")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        str(tests),
        "-k",
        "the_shared_tests_run_on",
    ]
    environment = os.environ | {"MLP_REQUIRE_BACKENDS": "numpy,cupy", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert "1 failed, 2 passed" in done.stdout
