"""The benchmarks: what is measured, what follows from it, and what the command says."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import mlp
from mlp.bench import Case, Entry, Implementation, Report, Selection, compare, find_implementations, measure
from mlp.bench import Result as CaseResult
from mlp.bench.entries import Figure, Roof
from mlp.bench.implementations import PEERS
from mlp.bench.measure import CHECKED_EPOCHS, progress_steps
from mlp.bench.report import as_markdown, notes
from mlp.cli import cli

TINY = Case("8-4-3", 512)
SMALL = ("--nets", "8-4-3", "--batch-sizes", "512", "--backends", "numpy")


def run(*arguments: object, status: int = 0) -> Result:
    result = CliRunner().invoke(cli, ["bench", *map(str, arguments)], prog_name="mlp")
    assert result.exit_code == status, (result.output, result.exception)
    return result


def made_up(**seconds: list[float]) -> Report:
    """A report of one case in which a name that begins with mlp is ours."""
    entries = [Entry(name.replace("_", " "), name.startswith("mlp"), "cpu", seconds=s) for name, s in seconds.items()]
    return Report([CaseResult(TINY, entries)], roofs={"cpu": Roof(100.0, 20.0)})


# -- what is trained -------------------------------------------------------------------------------


def test_work_of_a_row_is_two_products_of_the_first_layer_and_three_of_the_others():
    assert Case("784-30-10", 1).flops == 2 * (2 * 784 * 30 + 3 * 30 * 10)


def test_an_epoch_has_whole_batches_and_large_networks_get_fewer():
    for size in (1, 16, 100, 1024):
        assert Case("784-30-10", size).rows % size == 0
    assert Case("784-2500-2000-1500-1000-500-10", 32).rows < Case("784-30-10", 32).rows


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
        peers=[name for name in PEERS if name != "torch.compile"]
    )  # which takes many seconds
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
    wide = Implementation("wide", broken, max_parameters=1)
    selection = Selection(
        [*ours, _says(9.0, "off"), _says(float("nan"), "lost"), Implementation("broken", broken), wide]
    )
    result = measure([TINY], selection, rounds=2, matrix=64).results[0]
    _, off, lost, failed, skipped = result.entries
    assert off.note.startswith("different loss: 9 in epoch 1, expected 1.")
    assert lost.note.startswith("different loss")
    assert failed.note == "failed: RuntimeError: no compiler in the path"
    assert skipped.note.startswith("skipped")
    assert result.best_peer() is None
    assert result.ratio(off) is None
    assert not failed.seconds
    told = notes(Report([result]))
    assert any(line.startswith("broken: failed") for line in told)


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
    assert report.percent_of_peak(result, ours) == pytest.approx(result.gflops(ours))


def test_a_report_survives_its_file(tmp_path):
    report = made_up(mlp_numba=[1.0, 2.0], peer=[3.0, 3.0])
    report.missing["JAX"] = "jax is not installed"
    report.about |= {"recorded": "2026-01-01", "machine": {"cpu": "a"}}
    report.save(tmp_path / "now.json")
    again = Report.load(tmp_path / "now.json")
    assert again.to_dict() == report.to_dict()
    entry = json.loads((tmp_path / "now.json").read_text())["results"][0]["entries"][0]
    assert {"name", "ours", "device", "threads", "startup", "seconds", "losses", "note"} < set(entry)
    assert {"samples_per_second", "microseconds_per_step", "gflops", "percent_of_peak", "ratio"} < set(entry)


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


@pytest.mark.parametrize(
    ("arguments", "status", "told"),
    [
        (["--nets", "10"], 1, "784-30-10"),
        (["--batch-sizes", "many"], 2, "whole numbers"),
        (["--optimizer", "adm"], 1, "did you mean 'adam'"),
        (["--peers", "Torch"], 1, "PyTorch"),
        (["--backends", "nump"], 1, "did you mean 'numpy'"),
        (["--plot", "speed.txt"], 2, ".png"),
        (["--json", "-", "--markdown"], 2, "stdout"),
        (["--compare", "no-such-file.json"], 1, "there is no file 'no-such-file.json'"),
    ],
)
def test_mistakes_are_told_before_the_work(arguments, status, told, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert told in run(*arguments, status=status).stderr
    assert list(Path().iterdir()) == []
