"""The script for a machine with a GPU, on a backend that needs none."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from test_gpu_kernels import persistent_options

import backends
import mlp
from backends.cupy_backend import tilings
from backends.cupy_backend.tiling import Choice
from backends.cupy_backend.trainer import GraphTrainer

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


@pytest.fixture
def script(monkeypatch):
    """The script as a module, with two cases, and the Numba backend with the ways of a GPU's, which all do the same."""
    spec = importlib.util.spec_from_file_location("on_gpu", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "on_gpu", module)
    monkeypatch.syspath_prepend(str(SCRIPT.parents[1]))
    spec.loader.exec_module(module)
    cases = list(module.training_cases())[:2]
    monkeypatch.setattr(module, "training_cases", lambda: iter(cases))
    monkeypatch.setattr(backends.get_backend("numba"), "execution", "graphs", raising=False)
    return module


def change_training(monkeypatch, change):
    """Call `change` with the network after each training, and with the way of its backend."""
    original = mlp.MLP.fit

    def fit(net, *arguments, **keywords):
        history = original(net, *arguments, **keywords)
        change(net, getattr(net.xp, "execution", "reference"))
        return history

    monkeypatch.setattr(mlp.MLP, "fit", fit)


def test_every_way_of_running_an_epoch_is_compared(script):
    found = script.check_training("numba")
    assert found["executions"] == ["graphs", "launches", "loop"]
    assert len(found["cases"]) == 3 * 2 * 2
    assert backends.get_backend("numba").execution == "graphs"  # as before


def test_graphs_and_launches_must_have_the_same_bits(script, monkeypatch):
    def next_number(net, way):
        if way == "launches":
            net.parameters[0] = np.nextafter(net.parameters[0], net.dtype.type(9))

    change_training(monkeypatch, next_number)
    with pytest.raises(AssertionError, match="sgd, float32: graphs and launches differ") as caught:
        script.check_training("numba")
    assert "loop" not in str(caught.value)


def test_the_loop_must_agree_within_the_tolerance(script, monkeypatch):
    def far(net, way):
        if way == "loop":
            net.parameters[0] += 0.1

    change_training(monkeypatch, far)
    with pytest.raises(AssertionError, match="sgd, float64, loop; sgd, float64: graphs and loop differ by"):
        script.check_training("numba")


def test_a_way_that_fails_does_not_hide_the_others(script, monkeypatch):
    def fail(net, way):
        if way == "graphs":
            raise RuntimeError("no capture")

    change_training(monkeypatch, fail)
    with pytest.raises(AssertionError) as caught:
        script.check_training("numba")
    assert "sgd, float64, graphs: RuntimeError: no capture" in str(caught.value)
    assert "launches" not in str(caught.value)


def test_the_persistent_kernel_is_compared_and_timed(script, monkeypatch, tmp_path):
    monkeypatch.setattr(script, "PERSISTENT_NETS", ((20, 6, 4),))
    monkeypatch.setattr(script, "PERSISTENT_BATCH_SIZES", (500,))
    found = script.check_persistent("numba")
    assert [each["execution"] for each in found["times"]] == ["graphs", "persistent"]
    assert all(each["error"] < 1e-4 and each["microseconds a step"] > 0 for each in found["times"])
    assert "default" in found["sentence"]
    (tmp_path / "persistent.json").write_text(json.dumps(found))
    assert script.sentences(tmp_path) == [found["sentence"]]

    def far(net, way):
        if way == "persistent":
            net.parameters[0] += 0.1

    change_training(monkeypatch, far)
    with pytest.raises(AssertionError, match="sgd, float64, persistent; sgd, float64: graphs and persistent differ by"):
        script.check_persistent("numba")
    with monkeypatch.context() as patch:
        patch.setattr(script, "check_training", lambda *arguments: {})
        with pytest.raises(AssertionError, match=r"other weights than those of NumPy.*\"persistent\""):
            script.check_persistent("numba")


def test_grids_are_compared_and_timed(script, monkeypatch, tmp_path):
    monkeypatch.setattr(script, "GRID_NETS", ((20, 6, 4),))
    monkeypatch.setattr(script, "GRID_BATCH_SIZES", (500,))
    found = script.check_grid("numba")
    assert len(found["cases"]) == 2 * 2 * 2 * 2  # cases, types, ways, grids
    assert [each["execution"] for each in found["times"]] == ["graphs", "persistent"]
    assert found["sentence"].startswith("the persistent kernel on grids takes 1 / ")
    (tmp_path / "grid.json").write_text(json.dumps(found))
    assert script.sentences(tmp_path) == [found["sentence"]]

    original = script._times_of_ways

    def as_graphs(*arguments):
        return [each | {"how": "CUDA graphs of 32 steps"} for each in original(*arguments)]

    monkeypatch.setattr(script, "_times_of_ways", as_graphs)
    assert script.check_grid("numba")["sentence"] == ""  # nothing ran on a grid


@pytest.mark.skipif(shutil.which("g++") is None, reason="the stand-in needs g++")
def test_small_networks_are_trained_on_grids(script, stand_in_gpu, monkeypatch):
    cases = list(script.training_cases())[:1]
    monkeypatch.setattr(script, "training_cases", lambda: iter(cases))
    monkeypatch.setattr(script, "TOLERANCE", {"float32": 1e-4})
    methods, execution = [], GraphTrainer.execution

    def noted(trainer, *arguments):
        how = execution(trainer, *arguments)
        methods.append(how.method.partition(",")[0])
        return how

    monkeypatch.setattr(GraphTrainer, "execution", noted)
    with script._on_grids("cupy", 20):
        script.check_training("cupy", ("persistent",))
    assert set(methods) == {"persistent kernel on a grid of 16 blocks"}  # of two of the 32 units each
    methods.clear()
    script.check_training("cupy", ("persistent",))
    assert set(methods) == {"persistent kernel on 8 blocks"}


def test_the_stages_begin_with_what_one_wants_to_know_first(script, tmp_path):
    stages = script.plan_stages(tmp_path, "cupy", None)
    first = ["device", "training", "persistent", "benchmark", "first-use", "precision", "windows", "tests"]
    assert [stage.name for stage in stages[: len(first)]] == first
    grid = stages[3].command
    assert float(grid[grid.index("--max-seconds") + 1]) < stages[3].seconds


def test_the_sentences_of_all_benchmarks_are_printed(script, tmp_path):
    for name, sentences in (("bench", ["a", "b"]), ("tf32", ["c"])):
        document = {"gpu_and_cpu": [{"sentence": sentence} for sentence in sentences]}
        (tmp_path / f"{name}.json").write_text(json.dumps(document))
    assert script.sentences(tmp_path) == ["a", "b", "c"]


def test_a_benchmark_on_the_cpu_is_in_the_results(tmp_path):
    _, output, results = run(tmp_path, "--backend", "numpy", "--only", "first-use")
    assert "first-use  passed" in output, (tmp_path / "log.txt").read_text(encoding="utf-8")
    (use,) = results["first-use"]["first_uses"]
    assert use["name"] == "mlp numpy"
    assert min(use["empty"]["total"], use["empty"]["epoch"]) > 0  # a busy machine decides which is larger


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


# -- the tilings ----------------------------------------------------------------------------------------------


@pytest.fixture
def tiling_times(stand_in_gpu, monkeypatch):
    """The stage on the stand-in, with small cases; one of them cannot run there."""
    if shutil.which("g++") is None:
        pytest.skip("the stand-in needs g++")
    monkeypatch.syspath_prepend(str(SCRIPT.parents[1]))
    module = importlib.import_module("benchmarks.tiling_times")
    monkeypatch.setattr(module, "NETS", ((9, 5, 3), (9, 3)))
    monkeypatch.setattr(module, "BATCH_SIZES", (4,))
    monkeypatch.setattr(module, "X_DTYPES", ("uint8",))
    monkeypatch.setattr(module, "ROWS", 90)
    module._data.cache_clear()
    module._expected.cache_clear()
    yield module
    module._data.cache_clear()
    module._expected.cache_clear()


def test_the_tilings_of_each_case_are_timed(tiling_times, monkeypatch, capsys):
    other = {((784, 30, 10), 16, "float32", "uint8"): Choice(8, 4, 1, 2, 16, False)}
    monkeypatch.setattr(tilings, "MEASURED", dict(other))
    found = tiling_times.measure(seconds=3600)
    times = found["times"]
    assert other == tilings.MEASURED  # as before
    expected = {(blocks, units, 1, x, 4, False) for blocks, units in ((2, 4), (1, 4), (1, 8)) for x in (0, 1, 2)}
    expected |= {(blocks, 1, 1, x, 4, True) for blocks in (2, 1) for x in (1, 2)}  # on tensor cores
    assert {tuple(each["choice"]) for each in times} == expected
    assert all(each["passed"] and each["error"] < 1e-4 and each["microseconds"] > 0 for each in times)
    assert [each["estimate"] for each in times] == sorted(each["estimate"] for each in times)
    (best,) = found["table"]
    assert best["microseconds"] == min(each["microseconds"] for each in times)
    text = capsys.readouterr().out.split("MEASURED = ")[1].partition("}")[0] + "}"
    assert eval(text, {"Choice": Choice}) == {((9, 5, 3), 4, "float32", "uint8"): tuple(best["choice"])}
    ((without,), failures) = found["without"], found["failures"]
    assert without["sizes"] == [9, 3]
    assert "hidden layer" in without["reason"]
    assert (failures, found["sentence"]) == ([], "13 of 13 tilings were timed, and 0 of them failed")


def test_tilings_that_fail_are_not_in_the_table(tiling_times, monkeypatch):
    """One computes other weights, though in no time, and another one does not run."""
    trained = tiling_times.Case.trained

    def spoiled(case, backend, *arguments):
        chosen = tilings.MEASURED.get((case.sizes, case.rows, "float32", case.X))
        if chosen is not None and chosen.x_buffers == 1:
            raise RuntimeError("too many resources requested for launch")
        net = trained(case, backend, *arguments)
        if chosen is not None and chosen.x_buffers == 2:
            net.parameters[0] += 0.1
            net.history.samples_per_second[:] = [1e12] * len(net.history.samples_per_second)
        return net

    monkeypatch.setattr(tiling_times.Case, "trained", spoiled)
    all_of = tiling_times.Case.tilings
    monkeypatch.setattr(tiling_times.Case, "tilings", lambda case: [t for t in all_of(case) if t.blocks == 2])
    found = tiling_times.measure(seconds=3600)
    failures = {each["choice"][3]: each.get("message") for each in found["failures"]}
    assert failures == {1: "RuntimeError: too many resources requested for launch", 2: None}
    assert [each["choice"][3] for each in found["table"]] == [0]
    assert found["sentence"] == "5 of 5 tilings were timed, and 4 of them failed"


def test_no_tiling_is_timed_after_the_time_is_up(tiling_times):
    found = tiling_times.measure(seconds=0)
    assert (found["times"], found["table"]) == ([], [])
    assert found["sentence"] == "0 of 13 tilings were timed, and 0 of them failed"


def test_a_measured_tiling_is_used_where_it_fits(monkeypatch):
    options = persistent_options((784, 30, 10), "float32", "uint8", False)
    estimated = tilings.tiling_for(options, 16, 232448)
    measured = Choice(2, 8, 4, 1, 16, False)
    monkeypatch.setitem(tilings.MEASURED, ((784, 30, 10), 16, "float32", "uint8"), measured)
    assert tilings.tiling_for(options, 16, 232448).choice == measured != estimated.choice
    assert tilings.tiling_for(options, 17, 232448).blocks == estimated.blocks != measured.blocks
    other = tilings.tiling_for(options, 16, 24_000)  # bytes of shared memory, too few for the measured one
    assert other.shared_bytes <= 24_000
    assert other.choice != measured


def test_a_backend_without_tilings_says_so(tmp_path):
    status, output, results = run(tmp_path, "--backend", "numba", "--only", "tilings")
    assert status == 0, (tmp_path / "log.txt").read_text(encoding="utf-8")
    assert "the backend 'numba' has no tilings" in output
    assert results["tilings"] == {"sentence": "the backend 'numba' has no tilings"}
