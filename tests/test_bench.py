"""The benchmarks: what is measured, what follows from it, and what the command says."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import re
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner, Result
from numpy.testing import assert_allclose, assert_array_equal

import mlp
from mlp._backends import get_backend
from mlp.bench import (
    Case,
    Entry,
    Implementation,
    Report,
    Selection,
    compare,
    find_implementations,
    first_use,
    gpu_costs,
    implementations,
    measure,
)
from mlp.bench import Result as CaseResult
from mlp.bench.entries import Figure, FirstUse, Roof, Start, Transfer
from mlp.bench.gpu_costs import measure_products, step_products
from mlp.bench.implementations import PEERS
from mlp.bench.measure import CHECKED_EPOCHS, progress_steps
from mlp.bench.report import as_markdown, notes, sentences
from mlp.cli import cli
from mlp.io import machine_info

TINY = Case("8-4-3", 512)
SMALL = ("--nets", "8-4-3", "--batch-sizes", "512", "--backends", "numpy")


def run(*arguments: object, status: int = 0) -> Result:
    result = CliRunner().invoke(cli, ["bench", *map(str, arguments)], prog_name="mlp")
    assert result.exit_code == status, (result.output, result.exception)
    return result


def made_up(**seconds: list[float]) -> Report:
    """A report of one case in which a name that begins with mlp is ours."""
    entries = [Entry(name.replace("_", " "), name.startswith("mlp"), "cpu", seconds=s) for name, s in seconds.items()]
    return Report([CaseResult(TINY, entries)], roofs={"cpu": Roof(100.0, [(2**15, 200.0), (2**28, 20.0)])})


# -- what is trained -------------------------------------------------------------------------------


def test_work_of_a_row_is_two_products_of_the_first_layer_and_three_of_the_others():
    assert Case("784-30-10", 1).flops == 2 * (2 * 784 * 30 + 3 * 30 * 10)


def test_an_epoch_has_whole_batches_and_large_networks_get_fewer():
    for size in (1, 16, 100, 1024):
        assert Case("784-30-10", size).rows % size == 0
    assert Case("784-2500-2000-1500-1000-500-10", 32).rows < Case("784-30-10", 32).rows


def test_images_are_real_and_fit_the_network(monkeypatch):
    monkeypatch.delenv("MLP_DATA", raising=False)
    digits = mlp.data.load("digits", test_fraction=0)
    X, y = Case("64-5-10", 7).data()
    known = {(*row, label) for row, label in zip(digits.X.tolist(), digits.y.tolist(), strict=True)}
    assert all((*row, label) in known for row, label in zip((X * 16).astype(int).tolist(), y.tolist(), strict=True))
    assert len(np.unique(X, axis=0)) > 1500
    wide, _ = Case("784-5-10", 7).data()
    assert wide.shape == (Case("784-5-10", 7).rows, 784)
    assert_array_equal(wide.reshape(-1, 28, 28)[:9, 2::7, 2::7], X[:9].reshape(-1, 8, 8)[:, ::2, ::2])
    assert 0.4 < np.mean(wide == 0) < 0.6
    narrow, labels = Case("5-3", 7).data()
    assert narrow.shape[1] == 5
    assert set(labels) == {0, 1, 2}


@pytest.mark.skipif("MLP_DATA" not in os.environ, reason="MLP_DATA does not name the folder of MNIST")
def test_images_are_those_of_mnist():
    X, y = Case("784-5-10", 7).data()
    dataset = mlp.data.load("mnist")
    known = {row.tobytes(): label for row, label in zip(dataset.X, dataset.y, strict=True)}
    assert all(
        known[np.rint(255 * x).astype(np.uint8).tobytes()] == label for x, label in zip(X[:99], y[:99], strict=True)
    )


def test_dense_data_have_no_zeros():
    X, _ = Case("30-5-10", 7, contents="dense").data()
    assert X.all()
    assert "dense" in str(Case("30-5-10", 7, contents="dense"))
    with pytest.raises(mlp.UnknownNameError, match="did you mean 'dense'"):
        Case("30-5-10", 7, contents="dens")


def test_rows_have_the_order_of_a_training():
    case = Case("6-5-3", 4, max_rows=40)
    orders = case.orders()
    net = mlp.MLP(case.sizes, backend="numpy", seed=0)
    X, y = case.data()
    seen = []

    class Recorded(mlp.Callback):
        def on_epoch_end(self, run):
            seen.append(net.copy())

    net.fit(X, y, epochs=2, batch_size=4, optimizer=mlp.SGD(0.1), callbacks=[Recorded()])
    by_hand = mlp.MLP(case.sizes, backend="numpy", seed=0)
    for trained in seen:
        order = next(orders)
        assert sorted(order) == list(range(40))
        for first in range(0, 40, 4):
            rows = order[first : first + 4]
            by_hand.partial_fit(X[rows], y[rows], optimizer=mlp.SGD(0.1), batch_size=4)
        assert_allclose(by_hand.parameters, trained.parameters, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    ("net", "size", "optimizer", "told"),
    [
        ("784", 1, "sgd", "784-30-10"),
        ("784-x-10", 1, "sgd", "784-30-10"),
        ("784-0-10", 1, "sgd", "784-30-10"),
        ("784-1", 1, "sgd", "two or more"),
        ("8-3", 0, "sgd", "1 or more"),
        ("8-3", 1, "adm", "did you mean 'adam'"),
    ],
)
def test_a_case_that_cannot_be_is_refused(net, size, optimizer, told):
    with pytest.raises(mlp.MLPError, match=told):
        Case(net, size, optimizer)


# -- who takes part --------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("size", [1, 32])
def test_every_contestant_does_the_same_work(optimizer, size):
    case = Case("20-16-8-5", size, optimizer, max_rows=10 * size)
    X, y = case.data()
    selection = find_implementations(
        peers=[name for name in PEERS if not name.startswith("torch.compile")]
    )  # which take many seconds
    losses = {}
    for implementation in selection.implementations:
        epoch = implementation.prepare(case, X, y)
        losses[implementation.name] = [epoch() for _ in range(CHECKED_EPOCHS)]
    assert len(losses) >= 4
    for found in losses.values():
        assert found == pytest.approx(losses["mlp numpy"], rel=1e-4)


def test_a_peer_that_is_not_installed_is_named(monkeypatch):
    real = importlib.import_module

    def without_torch(name, *rest):
        if name == "torch":
            raise ModuleNotFoundError("No module named 'torch'", name="torch")
        return real(name, *rest)

    monkeypatch.setattr(importlib, "import_module", without_torch)
    selection = find_implementations(["numpy"], ["PyTorch", "NumPy by hand"])
    assert [implementation.name for implementation in selection.implementations] == ["mlp numpy", "NumPy by hand"]
    assert selection.missing == {"PyTorch": "torch is not installed: pip install torch"}


def test_a_peer_that_nobody_knows_is_refused():
    with pytest.raises(mlp.UnknownNameError, match="did you mean 'PyTorch'"):
        find_implementations(["numpy"], ["Pytorch"])


def test_the_help_names_every_peer():
    told = " ".join(run("--help").stdout.split())
    assert all(name in told for name in PEERS)


# -- the measurement -------------------------------------------------------------------------------


def _says(loss, name):
    return Implementation(name, lambda case, X, y: lambda: loss)


def gpu_entry(name, seconds, **more):
    return Entry(name, name.startswith("mlp"), "cuda:0", seconds=seconds, **more)


def on_both(batch_size=16, net="8-4-3", products=None, **seconds):
    """A result of a CPU and a GPU: names with CUDA or cupy are on the GPU."""
    entries = [
        Entry(name.replace("_", " "), name.startswith("mlp"), "cuda:0" if "cu" in name.lower() else "cpu", seconds=each)
        for name, each in seconds.items()
    ]
    case = Case(net, batch_size, max_rows=16 * batch_size)
    return CaseResult(case, entries, {}, {} if products is None else {"cuda:0": products})


def test_contestants_take_turns_and_each_has_every_round():
    steps = []
    selection = find_implementations(["numpy"], ["NumPy by hand"])
    report = measure([TINY], selection, rounds=3, matrix=64, on_step=steps.append)
    assert len(steps) == progress_steps([TINY], selection, 3)
    ours, peer = report.results[0].entries
    assert (ours.name, peer.name) == ("mlp numpy", "NumPy by hand")
    assert len(ours.seconds) == len(peer.seconds) == 3
    assert ours.note == peer.note == ""
    assert ours.threads is None
    assert peer.threads >= 1
    assert report.roofs["cpu"].gflops > 0
    assert report.about["versions"]["numpy"]
    assert report.about["machine"]["cpu"]


def test_other_work_and_failures_are_told_and_get_no_ratio():
    def broken(case, X, y):
        raise RuntimeError("no compiler\nin the path")

    ours = find_implementations(["numpy"], []).implementations
    wide, long = (Implementation("wide", broken, **limit) for limit in ({"max_parameters": 1}, {"max_rows": 1}))
    selection = Selection(
        [*ours, _says(9.0, "off"), _says(float("nan"), "lost"), Implementation("broken", broken), wide, long]
    )
    result = measure([TINY], selection, rounds=2, matrix=64).results[0]
    _, off, lost, failed, skipped, also_skipped = result.entries
    assert off.note.startswith("different loss: 9 in epoch 1, expected 1.")
    assert lost.note.startswith("different loss")
    assert failed.note == "failed: RuntimeError: no compiler in the path"
    assert skipped.note == "skipped: it takes minutes on more than 1 parameters"
    assert also_skipped.note == "skipped: it takes minutes on more than 1 rows in an epoch"
    assert result.best_peer() is None
    assert result.ratio(off) is None
    assert not failed.seconds
    told = notes(Report([result]))
    assert any(line.startswith("broken: failed") for line in told)


@pytest.mark.parametrize(("least_work", "tried"), [(1e9, True), (1.0, False)])
def test_one_thread_is_tried_only_for_small_steps(least_work, tried, monkeypatch):
    numbers = []

    def limit(number):
        numbers.append(number)
        return contextlib.nullcontext()

    monkeypatch.setattr(importlib.import_module("mlp.bench.measure"), "ONE_THREAD_WORK", least_work)
    monkeypatch.setattr(machine_info, "usable_processors", lambda: 7)
    reference = find_implementations(["numpy"], []).implementations
    peer = Implementation("peer", PEERS["NumPy by hand"].prepare, limit_threads=limit)
    entry = measure([TINY], Selection([*reference, peer]), rounds=2, matrix=64).results[0].find("peer")
    assert (1 in numbers[:2]) == tried
    assert entry.threads == 7 or tried


def test_a_failure_of_ours_is_an_error():
    def broken(case, X, y):
        raise RuntimeError("ours")

    with pytest.raises(RuntimeError, match="ours"):
        measure([TINY], Selection([Implementation("mlp new", broken, ours=True)]), rounds=2, matrix=64)


# -- what follows from it --------------------------------------------------------------------------


def test_figures_follow_from_the_seconds():
    report = made_up(mlp_numba=[1.0, 1.0, 2.0], quick=[3.0, 3.0, 6.0], slow=[9.0, 9.0, 9.0])
    result = report.results[0]
    ours, quick, _ = result.entries
    assert result.best_peer() is quick
    assert result.ratio(ours) == Figure(3.0, 0.0)  # in each round three times as fast, whatever the machine did
    assert result.samples_per_second(ours).median == TINY.rows
    assert result.microseconds_per_step(ours) == pytest.approx(1e6 / TINY.steps)
    assert result.gflops(ours) == pytest.approx(TINY.rows * TINY.flops / 1e9)
    assert report.percent_of_roof(result, ours) == pytest.approx(result.gflops(ours))


def test_a_report_survives_its_file(tmp_path):
    report = made_up(mlp_numba=[1.0, 2.0], peer=[3.0, 3.0])
    report.missing["JAX"] = "jax is not installed"
    report.about |= {"recorded": "2026-01-01", "machine": {"cpu": "a"}}
    report.save(tmp_path / "now.json")
    again = Report.load(tmp_path / "now.json")
    assert again.to_dict() == report.to_dict()
    entry = json.loads((tmp_path / "now.json").read_text())["results"][0]["entries"][0]
    assert {"name", "ours", "device", "threads", "startup", "seconds", "losses", "note"} < set(entry)
    assert {"samples_per_second", "microseconds_per_step", "gflops", "percent_of_roof", "ratio"} < set(entry)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": "other"}', '{"format": "mlp-bench-1"}', "\xff"])
def test_another_file_is_told_apart(tmp_path, text):
    (tmp_path / "old.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(mlp.FileFormatError, match=r"old\.json"):
        Report.load(tmp_path / "old.json")


def test_slower_beyond_the_noise_is_worse():
    old = made_up(mlp_numba=[1.0, 1.0, 1.0], peer=[3.0, 3.1, 2.9])
    (steady,), _ = compare(old, made_up(mlp_numba=[2.0, 2.0, 2.0], peer=[5.9, 6.0, 6.1]))
    assert not steady.worse  # all of the machine was slower
    (worse,), _ = compare(old, made_up(mlp_numba=[1.5, 1.5, 1.5], peer=[3.0, 3.1, 2.9]))
    assert worse.worse
    assert "mlp numba was 3.00" in str(worse)
    (noisy,), _ = compare(old, made_up(mlp_numba=[0.5, 1.5, 3.0], peer=[3.0, 3.1, 2.9]))
    assert not noisy.worse  # slower, but nobody can tell


def test_ratios_are_compared_over_the_peers_of_both_runs():
    old = made_up(mlp_numba=[1.0, 1.0], peer=[3.0, 3.0])
    new = made_up(mlp_numba=[1.0, 1.0], peer=[3.0, 3.0], newcomer=[0.5, 0.5])
    (change,), skipped = compare(old, new)
    assert (change.peer, change.worse, skipped) == ("peer", False, [])
    changes, skipped = compare(old, made_up(mlp_numba=[1.0, 1.0], newcomer=[0.5, 0.5]))
    assert changes == []
    assert "mlp numba" in skipped[0]


def test_the_markdown_has_a_row_for_each_case():
    report = made_up(mlp_numba=[0.5, 0.5], peer=[1.0, 1.0])
    header, line, row = as_markdown(report).splitlines()
    assert header == "| net | batch | mlp numba | peer | ours ÷ best peer |"
    assert line.count("|") == header.count("|") == row.count("|")
    assert row == "| 8-4-3 | 512 | **32.8** | 16.4 | 2.00 ± 0.00 |"


def test_pictures_are_drawn(tmp_path):
    pytest.importorskip("matplotlib")
    from mlp.bench import plots

    report = made_up(mlp_numba=[0.5, 0.6], peer=[1.0, 1.1])
    for draw in (plots.speed, plots.roofline):
        draw(report, tmp_path / "picture.png")
        assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")


# -- a CPU and a GPU -------------------------------------------------------------------------------


def test_ratios_to_the_peers_of_each_device_are_apart():
    result = on_both(
        mlp_numba=[2.0, 2.0, 4.0], mlp_cupy=[0.5, 0.5, 1.0], JAX=[6.0, 6.0, 12.0], PyTorch=[9.0] * 3,
        PyTorch_CUDA=[2.0, 2.0, 4.0], JAX_CUDA=[1.0, 1.0, 2.0],
    )  # fmt: skip
    numba, cupy = result.find("mlp numba"), result.find("mlp cupy")
    assert result.best_peer(place="CPU").name == "JAX"
    assert result.best_peer(place="GPU").name == result.best_peer().name == "JAX CUDA"
    assert result.ratio(numba, place="CPU") == Figure(3.0, 0.0)
    assert result.ratio(numba, place="GPU") == Figure(0.5, 0.0)
    assert result.ratio(cupy, place="CPU") == Figure(12.0, 0.0)
    assert result.ratio(cupy, place="GPU") == Figure(2.0, 0.0)
    assert result.ratio_to(cupy, numba) == Figure(0.25, 0.0)
    assert result.gpu_to_cpu() == Figure(4.0, 0.0)


def test_our_fastest_backend_on_the_cpu_is_compared_with_the_gpu():
    result = on_both(mlp_numpy=[1.0] * 3, mlp_numba=[2.0] * 3, mlp_cupy=[0.5] * 3)
    assert result.gpu_to_cpu() == Figure(2.0, 0.0)
    result.find("mlp numpy").note = "different loss"
    assert result.gpu_to_cpu() == Figure(4.0, 0.0)
    assert on_both(mlp_numba=[2.0] * 3).gpu_to_cpu() is None
    assert on_both(mlp_cupy=[2.0] * 3, JAX=[1.0] * 3).gpu_to_cpu() is None


def test_a_step_is_compared_with_its_products_alone_on_the_same_device():
    result = on_both(products=25e-6, mlp_numba=[16 * 1e-3], mlp_cupy=[16 * 50e-6])  # 16 steps an epoch
    assert result.microseconds_per_step(result.find("mlp cupy")) == pytest.approx(50)
    assert result.step_to_products(result.find("mlp cupy")) == pytest.approx(2)
    assert result.step_to_products(result.find("mlp numba")) is None


@pytest.mark.parametrize(
    ("ratios", "size", "sentence"),
    [
        ({16: 0.6, 64: 1.5, 256: 4.2}, 64, "is faster than the CPU from batch 64 on; at 16 it is 0.6x."),
        ({1: 0.04, 16: 0.2}, None, "is not faster than the CPU at any measured batch size; at 16 it is 0.2x."),
        ({64: 12.4, 256: 99.0}, 64, "is faster than the CPU at every measured batch size; at 64 it is 12x."),
        ({1: 2.0, 16: 0.5, 64: 3.0}, 64, "is faster than the CPU from batch 64 on; at 16 it is 0.5x."),
        ({1: 2.0, 16: 1.2, 64: 0.98}, None, "is faster than the CPU at batch 1 and 16 only; at 64 it is 0.98x."),
        ({16: 1.0}, None, "is not faster than the CPU at any measured batch size; at 16 it is 1.00x."),
        ({16: 0.04, 64: 1.02}, 64, "is faster than the CPU from batch 64 on; at 16 it is 0.04x."),
    ],
)  # fmt: skip
def test_a_sentence_says_from_which_batch_size_on_the_gpu_is_faster(ratios, size, sentence):
    results = [on_both(size, mlp_numba=[ratio] * 2, mlp_cupy=[1.0] * 2) for size, ratio in ratios.items()]
    (found,) = Report(results[::-1]).crossovers()  # in any order
    assert found.batch_size == size
    told = sentence.replace("the CPU", "the CPU (mlp numba)")
    assert str(found) == f"8-4-3: the GPU (mlp cupy) {told}"


def test_each_network_has_its_sentence_and_without_a_gpu_there_is_none():
    results = [on_both(net=net, mlp_numba=[2.0], mlp_cupy=[1.0]) for net in ("8-4-3", "8-5-3")]
    assert [found.net for found in Report(results).crossovers()] == ["8-4-3", "8-5-3"]
    assert sentences(made_up(mlp_numba=[1.0], peer=[2.0])) == []
    assert sentences(Report([on_both(mlp_numba=[1.0], PyTorch_CUDA=[2.0])])) == []


def test_a_sentence_names_all_backends_that_were_the_fastest():
    results = [
        on_both(16, mlp_numba=[1.0], mlp_numpy=[2.0], mlp_cupy=[1.0]),
        on_both(64, mlp_numba=[3.0], mlp_numpy=[2.0], mlp_cupy=[1.0]),
    ]
    (found,) = Report(results).crossovers()
    assert "the CPU (mlp numba or mlp numpy)" in str(found)


def report_of_both():
    result = on_both(products=25e-6, mlp_numba=[0.4, 0.4], JAX=[0.8, 0.8], mlp_cupy=[0.1, 0.1], JAX_CUDA=[0.15, 0.15])
    result.transfers["cuda:0"] = Transfer(0.5, 10**9)
    use = FirstUse("mlp cupy", "8-4-3, batch 16, sgd", Start(12.3, 9.1, 0.01), Start(3.0, 0.4, 0.01))
    roofs = {"cpu": Roof(100.0, [(2**15, 200.0), (2**28, 20.0)]), "cuda:0": Roof(1000.0, [(2**28, 200.0)], 50_000_000)}
    return Report([result], {}, roofs, {}, [use], ["8-4-3, batch 64, sgd"])


def test_all_of_a_gpu_is_in_the_json_and_survives_its_file(tmp_path):
    report = report_of_both()
    report.save(tmp_path / "now.json")
    assert Report.load(tmp_path / "now.json").to_dict() == report.to_dict()
    document = json.loads((tmp_path / "now.json").read_text())
    assert document["gpu_and_cpu"][0]["ratios"] == {"16": 4.0}
    assert document["gpu_and_cpu"][0]["faster_from_batch_size"] == 16
    assert document["gpu_and_cpu"][0]["sentence"].startswith("8-4-3: the GPU (mlp cupy) is faster")
    assert document["first_uses"][0]["empty"] == {"total": 12.3, "preparation": 9.1, "epoch": 0.01}
    assert document["skipped"] == ["8-4-3, batch 64, sgd"]
    (result,) = document["results"]
    assert (result["best_cpu_peer"], result["best_gpu_peer"]) == ("JAX", "JAX CUDA")
    assert result["transfers"] == {"cuda:0": {"seconds": 0.5, "nbytes": 10**9, "gigabytes_per_second": 2.0}}
    assert result["products"] == {"cuda:0": 25e-6}
    numba, _, cupy, _ = result["entries"]
    assert cupy["ratio_to_cpu_peer"]["median"] == pytest.approx(8)
    assert cupy["ratio_to_gpu_peer"]["median"] == pytest.approx(1.5)
    assert cupy["step_to_products"] == pytest.approx(0.1 / 16 / 25e-6)
    assert numba["ratio_to_our_gpu"]["median"] == pytest.approx(0.25)
    assert numba["step_to_products"] is None


def test_files_from_before_the_gpu_are_read(tmp_path):
    document = made_up(mlp_numba=[1.0], peer=[2.0]).to_dict()
    for key in ("skipped", "first_uses", "gpu_and_cpu"):
        del document[key]
    for key in ("precision", "work", "transfers", "products"):
        del document["results"][0][key]
    (tmp_path / "old.json").write_text(json.dumps(document))
    assert Report.load(tmp_path / "old.json").results[0].case == TINY


def test_the_table_and_the_notes_show_all_of_a_gpu(tmp_path):
    report_of_both().save(tmp_path / "now.json")
    told = run("--from", tmp_path / "now.json").stdout
    (row,) = [line.split() for line in told.splitlines() if "mlp cupy (cuda:0)" in line]
    # samples/s, IQR, µs/step, GFLOP/s, of peak, CPU peer, IQR, GPU peer, IQR, to our GPU, step ÷ products, start-up
    assert row[3:] == [
        "2,560",
        "0%",
        "6,250.0",
        "0.0",
        "0.0%",
        "8.00",
        "0.00",
        "1.50",
        "0.00",
        "1.00",
        "250.00",
        "0.00",
        "s",
    ]
    lines = told.splitlines()
    assert (
        "8-4-3: the GPU (mlp cupy) is faster than the CPU (mlp numba) at every measured batch size; at 16 it is 4.0x."
        in lines
    )
    assert (
        "cuda:0: copying 1,000.0 MB of data to it took 500.0 ms (2.0 GB/s); it is not part of the training times"
        in lines
    )
    assert any("12.3 s to the end of the first epoch with empty caches, of which 9.1 s" in line for line in lines)
    assert "no time was left for: 8-4-3, batch 64, sgd" in lines


def test_the_notes_say_how_the_peak_was_measured():
    report = report_of_both()
    report.roofs["cuda:0"] = replace(report.roofs["cuda:0"], method="product of large matrices in TF32")
    report.about["machine"] = {"cpu": "Some CPU"}
    cpu, gpu, *_ = notes(report)
    assert cpu.startswith("cpu (Some CPU): peak 100 GFLOP/s (product of large matrices), memory 20 GB/s,")
    assert gpu.startswith("cuda:0: peak 1,000 GFLOP/s (product of large matrices in TF32),")
    result = report.results[0]
    result.case = replace(result.case, precision="tf32")
    assert str(report.crossovers()[0]).startswith("8-4-3, tf32: the GPU")


def test_the_markdown_has_the_ratios_of_each_device(tmp_path):
    report_of_both().save(tmp_path / "now.json")
    header, _, row, _, sentence = run("--from", tmp_path / "now.json", "--markdown").stdout.splitlines()
    assert header.endswith("| ours ÷ best CPU peer | ours ÷ best GPU peer | GPU ÷ CPU |")
    assert row.endswith("| 2.00 ± 0.00 | 1.50 ± 0.00 | 4.00 ± 0.00 |")
    assert sentence.startswith("- 8-4-3: the GPU")


def test_changes_are_relative_to_the_peers_of_the_same_device():
    old = Report([on_both(mlp_numba=[1.0] * 2, JAX=[2.0] * 2, mlp_cupy=[0.1] * 2, JAX_CUDA=[0.1] * 2)])
    new = Report([on_both(mlp_numba=[1.0] * 2, JAX=[2.0] * 2, mlp_cupy=[0.1] * 2, JAX_CUDA=[0.05] * 2)])
    numba, cupy = compare(old, new)[0]
    assert (numba.peer, numba.new.median, numba.worse) == ("JAX", 2.0, False)
    assert (cupy.peer, cupy.new.median, cupy.worse) == ("JAX CUDA", 0.5, True)


def test_lines_of_the_cpu_and_the_gpu_look_different():
    from mlp.bench import plots

    report = report_of_both()
    numba, jax, cupy, jax_cuda = (plots._style(report, entry) for entry in report.results[0].entries)
    assert {style["linestyle"] for style in (numba, jax)} == {"--"}
    assert {style["linestyle"] for style in (cupy, jax_cuda)} == {"-"}
    assert numba["markerfacecolor"] != cupy["markerfacecolor"]
    assert plots._label(report, report.results[0].entries[1]) == "JAX (CPU)"


def test_pictures_of_both_are_drawn(tmp_path):
    pytest.importorskip("matplotlib")
    report_of_both().save(tmp_path / "now.json")
    told = run("--from", tmp_path / "now.json", "--plot", tmp_path / "now.png").stderr
    for name in ("now.png", "now-steps.png", "now-roofline.png"):
        assert str(tmp_path / name) in told
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")


# -- parts of a GPU's measurement that a CPU can do ------------------------------------------------


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("steps", [3, 32, 70])
def test_several_steps_of_a_graph_are_those_of_the_reference(optimizer, steps):
    pytest.importorskip("torch")
    from mlp.bench.torch_peers import torch_graph

    case = Case("12-8-5-4", 4, optimizer, max_rows=4 * steps)
    X, y = case.data()
    expected = PEERS["NumPy by hand"].prepare(case, X, y)
    epoch = torch_graph(case, X, y, device="cpu")
    for _ in range(CHECKED_EPOCHS):
        assert epoch() == pytest.approx(expected(), rel=1e-5)


class FakeGraphs:
    """Records which functions are captured; a replay runs them."""

    def __init__(self, torch):
        self.torch, self.counts, self.replays = torch, [], 0

    def capture(self, run, count, device):
        assert device == "cuda"
        self.counts.append(count)

        def replay():
            self.replays += 1
            run(count)

        return replay


def test_an_epoch_is_a_few_graphs_of_many_steps(monkeypatch):
    torch = pytest.importorskip("torch")
    from mlp.bench import torch_peers

    graphs = FakeGraphs(torch)
    parts = torch_peers._parts
    # everything as on a GPU, except for the place of the tensors and the streams
    monkeypatch.setattr(torch_peers, "_parts", lambda case, X, y, device, capturable: parts(case, X, y, "cpu"))
    monkeypatch.setattr(torch_peers, "_capture", graphs.capture)
    monkeypatch.setattr(torch_peers, "_side_stream", lambda device: contextlib.nullcontext())
    zeros = torch.zeros
    monkeypatch.setattr(torch, "zeros", lambda *shape, device=None, **more: zeros(*shape, **more))
    case = Case("12-8-4", 4, max_rows=4 * 70)
    epoch = torch_peers.torch_graph(case, *case.data())
    assert sorted(graphs.counts) == [6, 32]
    assert epoch() == pytest.approx(PEERS["NumPy by hand"].prepare(case, *case.data())(), rel=1e-5)
    assert graphs.replays == 3


@pytest.mark.parametrize(("precision", "device", "setting"), [
    ("float32", "cuda", "highest"), ("float32", "cpu", "highest"), ("tf32", "cuda", "high"), ("tf32", "cpu", "highest"),
])  # fmt: skip
def test_float32_means_float32_in_pytorch(precision, device, setting, monkeypatch):
    torch = pytest.importorskip("torch")
    from mlp.bench.torch_peers import _set_precision

    before = torch.get_float32_matmul_precision()
    try:
        _set_precision(Case("8-3", 1, precision=precision), device)
        assert torch.get_float32_matmul_precision() == setting
    finally:
        torch.set_float32_matmul_precision(before)


@pytest.mark.parametrize(("precision", "expected"), [("float32", "HIGHEST"), ("tf32", "HIGH")])
def test_float32_means_float32_in_jax(precision, expected, monkeypatch):
    jax = pytest.importorskip("jax")
    from mlp.bench.jax_peers import jax_scan

    found = []
    jit = jax.jit

    def inspected(function, **settings):
        def call(*arguments):
            found.append(str(jax.make_jaxpr(function)(*arguments)))
            return jit(function)(*arguments)

        return call

    monkeypatch.setattr(jax, "jit", inspected)
    case = Case("8-4-3", 2, max_rows=8, precision=precision)
    jax_scan(case, *case.data(), unroll=2)()
    precisions = re.findall(r"dot_general\[.*?precision=(.*?)\n", found[0], re.DOTALL)
    assert len(precisions) >= 5  # two products forward, three backward
    assert all(f"Precision.{expected}," in each + "," for each in precisions)
    assert "Precision.DEFAULT" not in found[0]


@pytest.mark.parametrize(("precision", "device", "settings"), [
    ("float32", "cuda:0", {}), ("tf32", "cuda:0", {"precision": "tf32"}), ("tf32", "cpu", {}),
])  # fmt: skip
def test_only_gpus_get_another_precision(precision, device, settings, monkeypatch):
    given = {}

    class Recorded(mlp.MLP):
        def __init__(self, sizes, backend, **more):
            given.update(more)
            super().__init__(sizes, backend=backend)

    monkeypatch.setattr(implementations, "MLP", Recorded)
    monkeypatch.setattr(implementations, "get_backend", lambda name: SimpleNamespace(device=device))
    case = Case("8-4-3", 2, max_rows=8, precision=precision)
    implementations.our_backend("numpy").prepare(case, *case.data())
    assert given == settings | {"seed": 0}


def test_several_epochs_are_one_training():
    (ours,) = find_implementations(["numpy"], []).implementations
    case = Case("8-4-3", 2, max_rows=8)
    one, four = ours.start(case, *case.data()), ours.start(case, *case.data())
    losses = [one(1) for _ in range(4)]
    assert four(4) == losses[-1]
    calls = []
    peer = Implementation("peer", lambda case, X, y: lambda: calls.append(1) or float(len(calls)))
    assert peer.start(case, *case.data())(3) == 3.0


def test_the_products_of_a_step_are_three_for_each_layer_but_two_for_the_first():
    case, xp = Case("8-6-5-3", 4), get_backend("numpy")
    results = [call() for call in step_products(case, xp)]
    shapes = [(4, 6), (4, 5), (4, 3), (5, 3), (4, 5), (6, 5), (4, 6), (8, 6)]
    assert [result.shape for result in results] == shapes
    inner = [8, 6, 5, 4, 3, 4, 5, 4]
    assert sum(2 * a * b * k for (a, b), k in zip(shapes, inner, strict=True)) == case.flops * case.batch_size
    for call, result in zip(step_products(case, xp), results, strict=True):
        a, b = call.args
        np.testing.assert_allclose(result, a.astype(float) @ b.astype(float), rtol=1e-4, atol=1e-5)
    assert measure_products(case, xp) > 0


def test_the_products_are_measured_between_events_behind_a_full_queue():
    """A clock that the calls advance stands for the GPU; each small product takes 2 µs, a large one 3 ms."""
    clock = {"now": 0.0}

    class Event:
        def record(self):
            self.time = clock["now"]

        def synchronize(self):
            pass

    def dot(a, b, out):
        clock["now"] += 3.0 if a.shape == (gpu_costs.BLOCKER,) * 2 else 0.002

    cuda = SimpleNamespace(Event=Event, get_elapsed_time=lambda first, last: last.time - first.time)
    xp = SimpleNamespace(
        namespace=SimpleNamespace(dot=dot, cuda=cuda), asarray=np.asarray, empty=np.empty, synchronize=lambda: None
    )
    calls = step_products(Case("8-6-3", 4), xp)
    assert len(calls) == 5
    assert gpu_costs._seconds_on_gpu(calls, xp) == pytest.approx(5 * 2e-6)


@pytest.mark.parametrize(("precision", "kind"), [("float32", "default"), ("tf32", "tf32")])
def test_products_alone_have_the_precision_of_the_case(precision, kind, monkeypatch):
    kinds = {np.float32: "of the user"}
    core = ModuleType("cupy._core")
    core.get_compute_type, core.set_compute_type = kinds.get, kinds.__setitem__
    core._routines_linalg = SimpleNamespace(COMPUTE_TYPE_TF32="tf32", COMPUTE_TYPE_DEFAULT="default")
    monkeypatch.setitem(sys.modules, "cupy", SimpleNamespace(_core=core))
    monkeypatch.setitem(sys.modules, "cupy._core", core)
    with gpu_costs.compute_type(SimpleNamespace(device="cuda:0"), precision):
        assert kinds[np.float32] == kind
    assert kinds[np.float32] == "of the user"
    with gpu_costs.compute_type(get_backend("numpy"), precision):
        assert kinds[np.float32] == "of the user"


def test_the_copy_of_the_data_is_measured():
    X, y = np.zeros((100, 8), np.float32), np.zeros(100, np.int64)
    found = gpu_costs.measure_transfer(get_backend("numpy"), X, y)
    assert found.nbytes == 100 * 8 * 4 + 100 * 8
    assert found.gigabytes_per_second == found.nbytes / found.seconds / 1e9


def fake_gpu(prepare):
    return Implementation("PyTorch CUDA", prepare, device="cuda:0")


def test_a_gpu_without_a_backend_of_ours_has_no_costs_and_a_failure_of_a_cost_is_told(monkeypatch):
    reference = find_implementations(["numpy"], []).implementations
    case = Case("8-4-3", 4, max_rows=64)
    numpy_peer = PEERS["NumPy by hand"].prepare
    result = measure([case], Selection([*reference, fake_gpu(numpy_peer)]), rounds=2, matrix=64).results[0]
    assert result.transfers == result.products == {}
    assert result.find("PyTorch CUDA").place == "GPU"

    def broken(case, xp):
        raise RuntimeError("no cuBLAS")

    module = importlib.import_module("mlp.bench.measure")
    monkeypatch.setattr(module, "backend_on", lambda device: get_backend("numpy"))
    monkeypatch.setattr(module, "measure_products", broken)
    report = measure([case], Selection([*reference, fake_gpu(numpy_peer)]), rounds=2, matrix=64)
    assert report.results[0].transfers["cuda:0"].nbytes > 0
    assert report.missing == {"transfer or products alone on cuda:0 (8-4-3, batch 4, sgd)": "RuntimeError: no cuBLAS"}
    assert len(report.results[0].find("PyTorch CUDA").seconds) == 2


def test_after_the_time_no_case_begins_and_what_there_is_is_handed_over():
    selection = find_implementations(["numpy"], [])
    seen = []
    cases = [Case("8-4-3", size, max_rows=64) for size in (4, 8)]
    measure(cases, selection, rounds=2, matrix=64, on_result=lambda report: seen.append(len(report.results)))
    assert seen == [1, 2]
    report = measure(cases, selection, rounds=2, matrix=64, max_seconds=0)
    assert (report.results, report.skipped) == ([], ["8-4-3, batch 4, sgd", "8-4-3, batch 8, sgd"])


def test_the_first_use_is_measured_in_new_processes_with_empty_and_with_warm_caches(monkeypatch):
    selection = find_implementations(["numpy"], [])
    cases = [Case(net, size, max_rows=64) for net in ("8-4-3", "8-5-3") for size in (4, 8)]
    steps = []
    report = measure(cases[2:], selection, rounds=2, matrix=64, first_use=True, on_step=steps.append)
    assert len(steps) == progress_steps(cases[2:], selection, 2, first_use=True)
    (use,) = report.first_uses
    assert (use.name, use.case) == ("mlp numpy", "8-5-3, batch 4, sgd")
    for start in (use.empty, use.warm):
        assert start.total > start.preparation >= 0
        assert start.epoch > 0
    module = importlib.import_module("mlp.bench.measure")
    assert [(name, str(case)) for name, case in module._first_uses(cases, selection)] == [
        ("mlp numpy", "8-4-3, batch 4, sgd"), ("mlp numpy", "8-5-3, batch 4, sgd"),
    ]  # fmt: skip


def test_both_processes_of_a_first_use_share_caches_of_their_own(monkeypatch):
    folders = []

    def fake(name, case, environment, limit):
        folder = Path(environment["MLP_CACHE_DIR"])
        folders.append((folder, folder.exists(), environment["CUPY_CACHE_DIR"]))
        folder.mkdir(parents=True, exist_ok=True)
        return Start(1.0, 0.5, 0.1)

    monkeypatch.setattr(first_use, "_run", fake)
    first_use.measure_first_use("mlp numba", TINY)
    (one, existed, cupy), (two, exists, cupy_again) = folders
    assert one == two != Path.home()
    assert (existed, exists) == (False, True)
    assert cupy == cupy_again
    assert not one.parent.exists()


def test_a_failure_of_a_first_use_is_told():
    with pytest.raises(mlp.MLPError, match=r"first use of mlp nump failed: .*did you mean 'numpy'"):
        first_use.measure_first_use("mlp nump", TINY)
    with pytest.raises(mlp.MLPError, match="the first use of mlp numpy took longer than 0 s"):
        first_use.measure_first_use("mlp numpy", TINY, limit=0.001)


# -- the command -----------------------------------------------------------------------------------


def test_quick_prints_a_table_and_writes_all_figures(tmp_path):
    path = tmp_path / "now.json"
    result = run("--quick", *SMALL, "--peers", "NumPy by hand", "--json", path)
    assert "mlp numpy" in result.stdout
    assert "NumPy by hand" in result.stdout
    assert "GFLOP/s" in result.stdout
    assert f"written: {path}" in result.stderr
    assert Report.load(path).results[0].case == TINY


def test_json_on_stdout_is_json_and_nothing_else():
    document = json.loads(run("--quick", "--rounds", "2", *SMALL, "--peers", "none", "--json", "-").stdout)
    assert document["format"] == "mlp-bench-1"
    assert len(document["results"][0]["entries"][0]["seconds"]) == 2
    assert {"machine", "threads", "versions", "recorded", "roofs", "missing"} < set(document)


def test_compare_fails_with_the_names_of_what_got_slower(tmp_path):
    old, same, worse = tmp_path / "old.json", tmp_path / "same.json", tmp_path / "worse.json"
    made_up(mlp_numba=[1.0, 1.0], peer=[3.0, 3.0]).save(old)
    made_up(mlp_numba=[1.0, 1.0], peer=[3.0, 3.0]).save(same)
    made_up(mlp_numba=[2.0, 2.0], peer=[3.0, 3.0]).save(worse)
    assert "1 of 1 ratios are not worse" in run("--from", same, "--compare", old).stderr
    told = run("--from", worse, "--compare", old, status=1).stderr
    assert "slower: 8-4-3, batch 512, sgd: mlp numba was 3.00 ± 0.00 times as fast as peer, now 1.50" in told
    assert "| 8-4-3 | 512 |" in run("--from", old, "--markdown").stdout


def test_with_a_gpu_epochs_are_longer_and_batches_larger(monkeypatch):
    seen = []
    module = importlib.import_module("mlp.bench")
    reference = find_implementations(["numpy"], []).implementations
    numpy_peer = PEERS["NumPy by hand"].prepare

    def fake(cases, selection, **settings):
        seen.append((cases, settings))
        return Report([])

    monkeypatch.setattr(module, "measure", fake)
    monkeypatch.setattr(module, "find_implementations", lambda *names: Selection([*reference, fake_gpu(numpy_peer)]))
    run("--nets", "784-30-10", "--precision", "tf32", "--max-seconds", "9")
    monkeypatch.setattr(module, "find_implementations", lambda *names: Selection(reference))
    run("--nets", "784-30-10", "--first-use")
    (on_gpu, settings), (on_cpu, more) = seen
    assert [case.batch_size for case in on_gpu] == [16, 64, 256, 1024, 4096]
    assert [case.batch_size for case in on_cpu] == [16, 32, 128, 1024]
    assert {case.precision for case in on_gpu} == {"tf32"}
    assert (on_gpu[-1].steps, on_cpu[-1].steps) == (16, 16)
    assert (settings["max_seconds"], settings["first_use"]) == (9, False)
    assert (more["max_seconds"], more["first_use"]) == (float("inf"), True)


def test_results_are_written_after_each_case(tmp_path, monkeypatch):
    path, seen = tmp_path / "now.json", []
    original = Report.save

    def save(report, target):
        original(report, target)
        seen.append(len(Report.load(path).results))

    monkeypatch.setattr(Report, "save", save)
    run("--quick", "--rounds", "2", *SMALL, "--batch-sizes", "256,512", "--peers", "none", "--json", path)
    assert seen == [1, 2, 2]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--nets", "10"], "784-30-10"),
        (["--batch-sizes", "many"], "whole numbers"),
        (["--optimizer", "adm"], "did you mean 'adam'"),
        (["--precision", "tf23"], "did you mean 'tf32'"),
        (["--max-seconds", "-1"], "-1"),
        (["--peers", "Torch"], "PyTorch"),
        (["--backends", "nump"], "did you mean 'numpy'"),
        (["--plot", "speed.txt"], ".png"),
        (["--json", "-", "--markdown"], "stdout"),
        (["--compare", "no-such-file.json"], "there is no file 'no-such-file.json'"),
    ],
)
def test_mistakes_are_told_before_the_work(arguments, told, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert told in run(*arguments, status=2).stderr
    assert list(Path().iterdir()) == []
