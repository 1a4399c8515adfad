"""The benchmarks: cases, measurement, comparison of results, and the command."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import mlp
from mlp.bench import Case, Contestant, Entry, Field, Report, compare, find_contestants, measure
from mlp.bench import Result as CaseResult
from mlp.bench.contestants import PEERS
from mlp.bench.measure import CHECKED, ticks
from mlp.bench.report import as_markdown, notes
from mlp.bench.results import Figure, Roof
from mlp.cli import cli

TINY = Case("8-4-3", 512)
SMALL = ("--nets", "8-4-3", "--batch-sizes", "512", "--backends", "numpy")


def run(*arguments: object, status: int = 0) -> Result:
    result = CliRunner().invoke(cli, ["bench", *map(str, arguments)], prog_name="mlp")
    assert result.exit_code == status, (result.output, result.exception)
    return result


def make_report(**seconds: list[float]) -> Report:
    """A report of one case; names that begin with mlp are this library's contestants."""
    entries = [Entry(name.replace("_", " "), name.startswith("mlp"), "cpu", seconds=s) for name, s in seconds.items()]
    return Report([CaseResult(TINY, entries)], roofs={"cpu": Roof(100.0, 20.0)})


# -- cases -----------------------------------------------------------------------------------------


def test_work_of_a_row_is_two_products_of_the_first_layer_and_three_of_the_others():
    assert Case("784-30-10", 1).flops == 2 * (2 * 784 * 30 + 3 * 30 * 10)


def test_an_epoch_has_whole_batches_and_large_networks_get_fewer():
    for size in (1, 16, 100, 1024):
        assert Case("784-30-10", size).rows % size == 0
    assert Case("784-2500-2000-1500-1000-500-10", 32).rows < Case("784-30-10", 32).rows


@pytest.mark.parametrize(
    ("net", "size", "optimizer", "text"),
    [
        ("784", 1, "sgd", "784-30-10"),
        ("784-x-10", 1, "sgd", "784-30-10"),
        ("784-0-10", 1, "sgd", "784-30-10"),
        ("784-1", 1, "sgd", "two or more"),
        ("8-3", 0, "sgd", "1 or more"),
        ("8-3", 1, "adm", "did you mean 'adam'"),
    ],
)
def test_a_case_that_cannot_be_is_refused(net, size, optimizer, text):
    with pytest.raises(mlp.MLPError, match=text):
        Case(net, size, optimizer)


# -- contestants -----------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("size", [1, 32])
def test_every_contestant_does_the_same_work(optimizer, size):
    case = Case("20-16-8-5", size, optimizer, max_rows=10 * size)
    X, y = case.data()
    field = find_contestants(peers=[name for name in PEERS if name != "torch.compile"])  # takes many seconds
    losses = {}
    for contestant in field.contestants:
        epoch = contestant.prepare(case, X, y)
        losses[contestant.name] = [epoch() for _ in range(CHECKED)]
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
    field = find_contestants(["numpy"], ["PyTorch", "NumPy by hand"])
    assert [contestant.name for contestant in field.contestants] == ["mlp numpy", "NumPy by hand"]
    assert field.missing == {"PyTorch": "torch is not installed: pip install 'mlp[peers]'"}


def test_a_peer_that_nobody_knows_is_refused():
    with pytest.raises(mlp.UnknownNameError, match="did you mean 'PyTorch'"):
        find_contestants(["numpy"], ["Pytorch"])


def test_the_help_names_every_peer():
    text = " ".join(run("--help").stdout.split())
    assert all(name in text for name in PEERS)


# -- measurement -----------------------------------------------------------------------------------


def constant_contestant(loss, name):
    return Contestant(name, lambda case, X, y: lambda: loss)


def test_contestants_take_turns_and_each_has_every_round():
    ticked = []
    field = find_contestants(["numpy"], ["NumPy by hand"])
    report = measure([TINY], field, rounds=3, matrix=64, tick=ticked.append)
    assert len(ticked) == ticks([TINY], field, 3)
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
    def failing(case, X, y):
        raise RuntimeError("no compiler\nin the path")

    ours = find_contestants(["numpy"], []).contestants
    wide = Contestant("wide", failing, most_weights=1)
    field = Field(
        [
            *ours,
            constant_contestant(9.0, "off"),
            constant_contestant(float("nan"), "lost"),
            Contestant("broken", failing),
            wide,
        ]
    )
    result = measure([TINY], field, rounds=2, matrix=64).results[0]
    _, off, lost, failed, left_out = result.entries
    assert off.note.startswith("other work: loss 9 in epoch 1, not 1.")
    assert lost.note.startswith("other work")
    assert failed.note == "failed: RuntimeError: no compiler in the path"
    assert left_out.note.startswith("left out")
    assert result.best_peer() is None
    assert result.ratio(off) is None
    assert not failed.seconds
    text = notes(Report([result]))
    assert any(line.startswith("broken failed") for line in text)


def test_a_failure_of_ours_is_an_error():
    def failing(case, X, y):
        raise RuntimeError("ours")

    with pytest.raises(RuntimeError, match="ours"):
        measure([TINY], Field([Contestant("mlp new", failing, ours=True)]), rounds=2, matrix=64)


# -- comparing results -----------------------------------------------------------------------------


def test_figures_follow_from_the_seconds():
    report = make_report(mlp_numba=[1.0, 1.0, 2.0], quick=[3.0, 3.0, 6.0], slow=[9.0, 9.0, 9.0])
    result = report.results[0]
    ours, quick, _ = result.entries
    assert result.best_peer() is quick
    assert result.ratio(ours) == Figure(3.0, 0.0)  # three times as fast in each round
    assert result.samples_per_second(ours).median == TINY.rows
    assert result.microseconds_per_step(ours) == pytest.approx(1e6 / TINY.steps)
    assert result.gflops(ours) == pytest.approx(TINY.rows * TINY.flops / 1e9)
    assert report.percent_of_peak(result, ours) == pytest.approx(result.gflops(ours))


def test_a_report_survives_its_file(tmp_path):
    report = make_report(mlp_numba=[1.0, 2.0], peer=[3.0, 3.0])
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
    old = make_report(mlp_numba=[1.0, 1.0, 1.0], peer=[3.0, 3.1, 2.9])
    (steady,), _ = compare(old, make_report(mlp_numba=[2.0, 2.0, 2.0], peer=[5.9, 6.0, 6.1]))
    assert not steady.worse  # the machine was slower for all contestants
    (worse,), _ = compare(old, make_report(mlp_numba=[1.5, 1.5, 1.5], peer=[3.0, 3.1, 2.9]))
    assert worse.worse
    assert "mlp numba was 3.00" in str(worse)
    (noisy,), _ = compare(old, make_report(mlp_numba=[0.5, 1.5, 3.0], peer=[3.0, 3.1, 2.9]))
    assert not noisy.worse  # slower, but within the noise


def test_ratios_are_compared_over_the_peers_of_both_runs():
    old = make_report(mlp_numba=[1.0, 1.0], peer=[3.0, 3.0])
    new = make_report(mlp_numba=[1.0, 1.0], peer=[3.0, 3.0], newcomer=[0.5, 0.5])
    (change,), left_out = compare(old, new)
    assert (change.peer, change.worse, left_out) == ("peer", False, [])
    changes, left_out = compare(old, make_report(mlp_numba=[1.0, 1.0], newcomer=[0.5, 0.5]))
    assert changes == []
    assert "mlp numba" in left_out[0]


def test_the_markdown_has_a_row_for_each_case():
    report = make_report(mlp_numba=[0.5, 0.5], peer=[1.0, 1.0])
    header, line, row = as_markdown(report).splitlines()
    assert header == "| net | batch | mlp numba | peer | ours ÷ best peer |"
    assert line.count("|") == header.count("|") == row.count("|")
    assert row == "| 8-4-3 | 512 | **32.8** | 16.4 | 2.00 ± 0.00 |"


def test_pictures_are_drawn(tmp_path):
    pytest.importorskip("matplotlib")
    from mlp.bench import plots

    report = make_report(mlp_numba=[0.5, 0.6], peer=[1.0, 1.1])
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
    make_report(mlp_numba=[1.0, 1.0], peer=[3.0, 3.0]).save(old)
    make_report(mlp_numba=[1.0, 1.0], peer=[3.0, 3.0]).save(same)
    make_report(mlp_numba=[2.0, 2.0], peer=[3.0, 3.0]).save(worse)
    assert "1 of 1 ratios held" in run("--from", same, "--compare", old).stderr
    text = run("--from", worse, "--compare", old, status=1).stderr
    assert "slower: 8-4-3, batch 512, sgd: mlp numba was 3.00 ± 0.00 times as fast as peer, now 1.50" in text
    assert "| 8-4-3 | 512 |" in run("--from", old, "--markdown").stdout


@pytest.mark.parametrize(
    ("arguments", "status", "text"),
    [
        (["--nets", "10"], 1, "784-30-10"),
        (["--batch-sizes", "many"], 2, "whole numbers"),
        (["--optimizer", "adm"], 1, "did you mean 'adam'"),
        (["--peers", "Torch"], 1, "PyTorch"),
        (["--backends", "nump"], 1, "did you mean 'numpy'"),
        (["--plot", "speed.txt"], 2, ".png"),
        (["--json", "-", "--markdown"], 2, "stdout"),
        (["--compare", "no-such-file.json"], 1, "no-such-file.json"),
    ],
)
def test_mistakes_are_told_before_the_work(arguments, status, text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert text in run(*arguments, status=status).stderr
    assert list(Path().iterdir()) == []
