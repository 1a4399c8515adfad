"""The estimates of the time of a step, by which ``device="auto"`` chooses: beside recorded times, counts and totals."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import backends
import mlp
from backends import Work
from backends.step_time import Gpu, launches_of_step, on_cpu, on_gpu
from mlp.cli import cli

RESULTS = Path(__file__).resolve().parents[1] / "benchmarks" / "results"
H200 = Gpu(90, multiprocessors=132, cycles=1.98e9, bytes=4.8e12)
WORK = Work((784, 128, 10), rows=60_000, batch_size=128, epochs=10)


def recorded(file, place):
    """Net, batch size and optimizer, the estimate, and the recorded seconds of a step, of our backends at a place."""
    document = json.loads((RESULTS / file).read_text())
    for result in document["results"]:
        work = Work(
            tuple(map(int, result["net"].split("-"))), result["rows"], result["batch_size"],
            states={"sgd": 0, "adam": 2}[result["optimizer"]],
        )  # fmt: skip
        for entry in result["entries"]:
            if entry["name"] == {"cpu": "mlp numba", "gpu": "mlp cupy"}[place]:
                threads = document["threads"]["kernels"]
                estimate = on_cpu(work, threads) if place == "cpu" else on_gpu(work, H200)
                yield result["net"], work, estimate.step, entry["microseconds_per_step"] / 1e6


@pytest.mark.parametrize(("file", "count"), [("cpu.json", 28), ("cpu-adam.json", 4)])
def test_the_estimates_for_a_cpu_are_near_the_recorded_times(file, count):
    ratios = {(net, work.batch_size): estimate / seconds for net, work, estimate, seconds in recorded(file, "cpu")}
    assert len(ratios) == count
    far = {case: ratio for case, ratio in ratios.items() if not 1 / 1.7 < ratio < 1.7}
    assert not far
    assert 0.8 < np.exp(np.mean(np.log(list(ratios.values())))) < 1.25  # neither too long nor too short on the whole


def test_the_loading_of_the_compiled_kernels_is_as_recorded():
    for file in ("cpu.json", "cpu-adam.json"):
        first = next(
            e for e in json.loads((RESULTS / file).read_text())["results"][0]["entries"] if e["name"] == "mlp numba"
        )
        assert first["startup"] == pytest.approx(on_cpu(WORK, 2).loading, rel=0.1)


@pytest.mark.parametrize("sizes", [(5, 3), (5, 4, 3), (6, 5, 4, 3)])
@pytest.mark.parametrize("batch_size", [8, 64, 65])
def test_the_kernels_of_a_step_are_counted(stand_in_gpu, sizes, batch_size):
    """Beside the launches that the stand-in sees: a step more is as many launches more."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(3 * batch_size, sizes[0])), rng.integers(0, sizes[-1], 3 * batch_size)
    xp = backends.get_backend("cupy")
    xp.execution = "launches"
    seen = []
    for steps in (2, 3):
        net = mlp.MLP(list(sizes), backend="cupy")
        stand_in_gpu.counters.reset()
        net.fit(X[: steps * batch_size], y[: steps * batch_size], epochs=1, batch_size=batch_size, optimizer=mlp.SGD())
        seen.append(stand_in_gpu.counters.launches + stand_in_gpu.counters.products)
    assert seen[1] - seen[0] == launches_of_step(Work(sizes, rows=3 * batch_size, batch_size=batch_size))


def test_a_large_product_takes_the_time_of_the_arithmetic():
    """Of 2 * 4096**3 * 3 operations a step, at 70 % of the peak of an H100 in NVIDIA's data sheet."""
    work = Work((4096, 4096), rows=4096, batch_size=4096)
    operations = 4 * 4096.0**3  # no gradient of the input
    for precision, itemsize, peak in (
        ("float32", 4, 67e12),
        ("tf32", 4, 494.7e12),
        ("bf16", 4, 989.4e12),
        ("float32", 8, 33.5e12),
    ):
        found = on_gpu(replace(work, precision=precision, itemsize=itemsize), H200).parts["products"]
        assert found == pytest.approx(operations / (0.7 * peak), rel=0.15)  # data sheets use another clock


def test_an_old_gpu_has_no_fast_low_precisions_and_a_new_one_has_those_of_the_last_known():
    old = replace(H200, compute_capability=75)
    assert on_gpu(replace(WORK, precision="tf32"), old).parts == on_gpu(WORK, old).parts
    assert on_gpu(replace(WORK, precision="tf32"), H200).step < on_gpu(WORK, H200).step
    later, last = replace(H200, compute_capability=200), replace(H200, compute_capability=120)
    assert on_gpu(replace(WORK, precision="bf16"), later).step == on_gpu(replace(WORK, precision="bf16"), last).step


def test_starting_and_capturing_kernels_takes_the_time_that_others_measured():
    parts = on_gpu(replace(WORK, sizes=(4, 4, 2), batch_size=2), H200).parts
    per_kernel = parts["start of 10 kernels"] / 10
    assert 1.3e-6 < per_kernel < 2.5e-6  # an empty kernel on an H100, and one with four accesses to memory in turn
    estimate = on_gpu(WORK, H200)
    assert estimate.loading - 0.5 == pytest.approx(41 * 11 * 10e-6)  # the host starts each kernel once


def test_predictions_are_estimated_for_numpy():
    document = json.loads((RESULTS / "cpu.json").read_text())
    work = Work((4096, 4096), rows=4096, batch_size=4096, prediction=True)
    found = on_cpu(work, document["threads"]["kernels"])
    assert found.loading == 0
    assert 2 * 4096.0**3 / found.parts["products"] == pytest.approx(1e9 * document["roofs"]["cpu"]["gflops"], rel=0.05)


def test_the_speed_of_a_gpu_is_read_from_its_driver(stand_in_gpu):
    """The stand-in has the clocks of an H200, whose data sheet says 4.8 TB/s."""
    gpu, _ = backends.status()["cupy"].gpus
    assert (gpu.compute_capability, gpu.multiprocessors, gpu.cycles) == (90, 132, 1.98e9)
    assert gpu.bytes == pytest.approx(4.8e12, rel=0.05)


@pytest.mark.parametrize("place", ["cpu", "gpu"])
def test_more_work_takes_more_time(place):
    def estimated(**changes):
        work = replace(WORK, **changes)
        return on_cpu(work, 2) if place == "cpu" else on_gpu(work, H200)

    base = estimated()
    assert estimated(batch_size=256).step > base.step
    assert estimated(sizes=(784, 256, 10)).step > base.step
    assert estimated(states=2).step > base.step
    assert estimated(itemsize=8).step > base.step
    assert estimated(prediction=True).parts["products"] < base.parts["products"]
    assert base.seconds == pytest.approx(base.loading + base.copying + 10 * 469 * base.step)
    more = estimated(trainings=3)
    assert more.copying == pytest.approx(3 * base.copying)
    assert more.steps == 3 * base.steps
    assert estimated(epochs=20).copying == base.copying


def test_threads_share_large_steps_only():
    assert on_cpu(WORK, 4).step == pytest.approx(on_cpu(WORK, 1).step / 4)
    small = replace(WORK, sizes=(20, 10, 2))
    assert on_cpu(small, 4).step == on_cpu(small, 1).step


# -- the choice ---------------------------------------------------------------------------------------------------


@pytest.fixture
def two_threads(monkeypatch):
    monkeypatch.setenv("MLP_NUM_THREADS", "2")


def test_auto_takes_the_device_that_is_estimated_to_be_faster(stand_in_gpu, two_threads):
    chosen = {}
    for batch_size in (1, 4, 16, 64, 256, 1024):
        work = replace(WORK, batch_size=batch_size, epochs=100)
        found = backends.estimates(work)
        name, device, reason = backends.resolve(work=work)
        chosen[batch_size] = name
        assert name == ("cupy" if found["gpu"].seconds < found["cpu"].seconds else "numba")
        assert device == ("cuda:0" if name == "cupy" else "cpu")
        for estimate in found.values():  # the reason has the numbers, whatever was chosen
            assert f"{1e6 * estimate.step:.3g} microseconds a step" in reason
    assert set(chosen.values()) == {"cupy", "numba"}
    assert list(chosen.values()) == sorted(chosen.values(), reverse=True)  # the GPU from some batch size on


def test_auto_uses_the_threads_there_are(stand_in_gpu, monkeypatch):
    work = replace(WORK, sizes=(784, 512, 512, 10), batch_size=32, epochs=100)
    found = {}
    for threads in (1, 4096):
        monkeypatch.setenv("MLP_NUM_THREADS", str(threads))
        found[threads] = backends.resolve(work=work)[0]
    assert found == {1: "cupy", 4096: "numba"}


def test_a_short_training_stays_on_numpy_beside_a_gpu(stand_in_gpu):
    assert backends.resolve(work=replace(WORK, rows=512, epochs=1))[0] == "numpy"
    # each of the few steps is much faster on the GPU, but NumPy has finished before the GPU's kernels are loaded
    assert backends.resolve(work=replace(WORK, rows=16_000, batch_size=4000, epochs=1))[0] == "numpy"


def test_a_prediction_goes_to_the_gpu_only_if_it_is_long(stand_in_gpu, two_threads):
    work = Work((784, 2048, 2048, 10), rows=4096, batch_size=4096, prediction=True)
    assert backends.resolve(work=work)[0] == "numpy"
    assert backends.resolve(work=replace(work, rows=1_000_000))[0] == "cupy"


def test_a_gpu_that_does_not_tell_its_speed_is_not_chosen_silently(stand_in_gpu):
    work = replace(WORK, batch_size=1024, epochs=100)
    before = stand_in_gpu.machine.attributes.pop("ClockRate")
    try:
        stand_in_gpu.forget_backends()
        name, _, reason = backends.resolve(work=work)
        assert backends.estimates(work)["gpu"] is None
    finally:
        stand_in_gpu.machine.attributes["ClockRate"] = before
    assert name == "numba"
    assert "does not tell its speed" in reason
    assert "device='cuda'" in reason


def test_a_training_says_in_the_log_why_it_runs_where_it_does(stand_in_gpu, two_threads, caplog):
    net = mlp.MLP([64, 300, 3])
    with caplog.at_level(logging.INFO, logger="mlp"):
        net.choose_backend(60_000, 1000, 512)
    assert net.backend == "cupy"
    assert "the GPU is estimated to take less time" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.INFO, logger="mlp"):
        net.choose_backend(60_000, 1000, 1)
    assert net.backend == "numba"
    assert "the GPU is estimated to take no less time" in caplog.text


def test_the_report_of_a_plan_has_what_the_estimates_consist_of(stand_in_gpu, two_threads):
    arguments = ["info", "--plan", "784-128-10", "--batch-size", "256", "--optimizer", "sgd", "--epochs", "50"]
    document = json.loads(CliRunner().invoke(cli, [*arguments, "--json"]).stdout)
    expected = backends.estimates(replace(WORK, batch_size=256, epochs=50))
    for place, estimate in document["estimates"].items():
        assert estimate["seconds"] == pytest.approx(expected[place].seconds)
        assert sum(estimate["parts_in_microseconds"].values()) == pytest.approx(estimate["microseconds_per_step"])
    assert document["choice"]["backend"] == "cupy"
    shown = CliRunner().invoke(cli, arguments).stdout
    for place, estimate in expected.items():
        (line,) = [line for line in shown.splitlines() if line.startswith(f"on {place.upper()}")]
        assert f"{1e6 * estimate.step:.3g} microseconds a step" in line
        for name, seconds in estimate.parts.items():
            assert f"{name} {1e6 * seconds:.3g}" in line
    assert f"{expected['gpu'].copying:.2g} s" in shown


def test_the_deprecated_arguments_still_choose_between_the_backends_for_a_cpu():
    with pytest.warns(FutureWarning, match=r"give work=Work"):
        assert backends.resolve(run_flops=1e6)[0] == "numpy"
    with pytest.warns(FutureWarning):
        found = backends.resolve(step_flops=1e4, run_flops=1e9)[0]
    assert found == ("numba" if "numba" in backends.available() else "numpy")
