"""``mlp bench --predict``: the peers, the measurement, its file, its tables and the command."""

from __future__ import annotations

import contextlib
import json
import sys

import numpy as np
import pytest
from click.testing import CliRunner
from numpy.testing import assert_allclose

from mlp._backends import ConfigurationError, FileFormatError, UnknownNameError
from mlp.bench.entries import Entry
from mlp.bench.inference import PredictionCase, PredictionReport, PredictionResult, measure_predictions
from mlp.bench.inference_peers import PREDICTION_PEERS, PredictionPeer, find_prediction_peers
from mlp.bench.inference_report import as_markdown, as_table, duration, notes
from mlp.cli import cli
from mlp.io import machine_info

TINY = PredictionCase("8-4-3", 5)
SMALL = ("--nets", "8-4-3", "--batch-sizes", "1,5", "--backends", "numpy", "--peers", "scikit-learn", "--rounds", "2")


def run(*arguments, status=0):
    result = CliRunner().invoke(cli, ["bench", "--predict", *map(str, arguments)], prog_name="mlp")
    assert result.exit_code == status, result.output
    return result


def made_up(case=TINY, **seconds):
    """A result; ours begin with mlp."""
    entries = [
        Entry(name.replace("_", " "), name.startswith("mlp"), "cpu", seconds=each) for name, each in seconds.items()
    ]
    return PredictionResult(case, entries)


def constant(outputs, name="peer", **more):
    return PredictionPeer(name, lambda net, X, threads: lambda: np.full((5, 3), outputs), **more)


# -- who is measured --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PREDICTION_PEERS)
@pytest.mark.parametrize("rows", [1, 5])
def test_every_peer_has_the_outputs_of_the_network(name, rows):
    found, missing = find_prediction_peers(["numpy"], [name])
    if missing:
        pytest.skip(missing[name])
    net, X = PredictionCase("8-4-3", rows).make()
    assert X.shape == (rows, 8)
    for peer in found:
        outputs = peer.start(net, X, 1)()
        assert type(outputs) is np.ndarray
        assert_allclose(outputs, net.predict_proba(X), atol=1e-6)


def test_all_usable_backends_and_the_estimator_are_ours(backend):
    names = [peer.name for peer in find_prediction_peers(peers=[])[0] if peer.ours]
    assert f"mlp {backend}" in names
    assert names[-1] == "mlp.MLPClassifier"


def test_a_peer_that_is_unknown_or_not_installed_is_named(monkeypatch):
    with pytest.raises(UnknownNameError, match="ONNX Runtime"):
        find_prediction_peers(["numpy"], ["onnxruntime"])
    monkeypatch.setitem(sys.modules, "torch", None)
    found, missing = find_prediction_peers(["numpy"], ["PyTorch"])
    assert missing == {"PyTorch": "torch is not installed: pip install torch"}
    assert [peer.name for peer in found] == ["mlp numpy", "mlp.MLPClassifier"]


@pytest.mark.parametrize(("net", "rows"), [("8", 5), ("8-1", 5), ("8-4-3", 0), ("8-x", 1)])
def test_a_case_that_cannot_be_is_refused(net, rows):
    with pytest.raises(ConfigurationError):
        PredictionCase(net, rows)


# -- the measurement --------------------------------------------------------------------------------------------


def test_implementations_take_turns_and_each_has_every_round():
    steps, reports = [], []
    found, missing = find_prediction_peers(["numpy"], ["scikit-learn"])
    cases = [TINY, PredictionCase("8-4-3", 1, "dense")]
    report = measure_predictions(cases, found, missing, rounds=2, on_step=steps.append, on_result=reports.append)
    assert len(steps) == len(cases) * len(found) * 3
    assert [result.case for result in report.results] == cases
    assert len(reports) == 2
    for result in report.results:
        assert [entry.name for entry in result.entries] == ["mlp numpy", "mlp.MLPClassifier", "scikit-learn"]
        assert all(len(entry.seconds) == 2 and not entry.note for entry in result.entries)
        assert result.best_peer().name == "scikit-learn"
    assert report.about["versions"]["numpy"]


def test_other_outputs_and_failures_are_told_and_get_no_ratio():
    def broken(net, X, threads):
        raise RuntimeError("no\nlibrary")

    ours = find_prediction_peers(["numpy"], [])[0]
    peers = [*ours, constant(0.5, "off"), constant(np.nan, "lost"), PredictionPeer("broken", broken)]
    report = measure_predictions([TINY], peers, rounds=2)
    _, _, off, lost, failed = report.results[0].entries
    assert off.note.startswith("different outputs: 0.")
    assert lost.note.startswith("different outputs: nan")
    assert failed.note == "failed: RuntimeError: no library"
    assert report.results[0].best_peer() is None
    assert report.results[0].ratio(off) is None
    assert f"broken: {failed.note} (8-4-3, 5 rows)" in notes(report)
    with pytest.raises(RuntimeError, match="library"):
        measure_predictions([TINY], [PredictionPeer("mlp new", broken, ours=True)], rounds=2)


@pytest.mark.parametrize("threads", [None, 3])
def test_one_thread_and_all_are_tried_unless_the_case_sets_the_number(threads, monkeypatch):
    started, limited = [], []

    def limit(number):
        limited.append(number)
        return contextlib.nullcontext()

    def start(net, X, number):
        started.append(number)
        return lambda: net.predict_proba(X)

    monkeypatch.setattr(machine_info, "usable_processors", lambda: 7)
    peers = [
        PredictionPeer("mlp", start, ours=True, limit_threads=limit),
        PredictionPeer("cannot", lambda net, X, number: lambda: net.predict_proba(X), sets_threads=False),
    ]
    case = PredictionCase("8-4-3", 5, threads=threads)
    ours, cannot = measure_predictions([case], peers, rounds=2).results[0].entries
    assert started == [7, 1] if threads is None else [3]
    assert set(limited) == ({7, 1} if threads is None else {3})
    assert ours.threads in ((7, 1) if threads is None else (3,))
    assert cannot.note == ("" if threads is None else "skipped: its number of threads cannot be set")


# -- results ----------------------------------------------------------------------------------------------------


def test_ratios_are_those_of_the_same_round():
    result = made_up(mlp_numba=[1.0, 2.0, 3.0], mlp_numpy=[9.0, 9.0, 9.0], fast=[2.0, 6.0, 9.0], slow=[9.0, 9.0, 9.0])
    assert result.best().name == "mlp numba"
    assert result.best_peer().name == "fast"
    assert result.best_ratio().median == 3.0
    assert result.best_ratio() == result.ratio(result.entries[0])


def test_a_report_survives_its_file(tmp_path):
    report = PredictionReport([made_up(mlp_numba=[1.0, 2.0], peer=[2.0, 2.0])], {"JAX": "no"}, {"threads": {"cpu": 2}})
    report.save(tmp_path / "now.json")
    assert PredictionReport.load(tmp_path / "now.json") == report
    document = json.loads((tmp_path / "now.json").read_text())
    entry = document["results"][0]["entries"][0]
    assert entry["seconds_per_call"] == {"median": 1.5, "spread": 0.5}
    assert entry["ratio"]["median"] == 1.5


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": "mlp-bench-1"}', '{"format": "mlp-bench-predict-1"}'])
def test_another_file_is_told_apart(tmp_path, text):
    path = tmp_path / "other.json"
    with pytest.raises(FileFormatError, match="there is no file"):
        PredictionReport.load(path)
    path.write_text(text)
    with pytest.raises(FileFormatError, match=r"other\.json"):
        PredictionReport.load(path)


def test_tables_show_the_time_of_a_call():
    many = PredictionCase("8-4-3", 60_000)
    report = PredictionReport([made_up(mlp_numba=[5e-6] * 2, peer=[1e-5] * 2), made_up(many, mlp_numba=[0.05] * 2)])
    assert as_markdown(report).splitlines() == [
        "| net | rows | mlp numba | peer | ours ÷ best peer |",
        "| --- | ---: | ---: | ---: | ---: |",
        "| 8-4-3 | 5 | **5.00 µs** | 10.0 µs | 2.00 ± 0.00 |",
        "| 8-4-3 | 60,000 | **50.0 ms** |  |  |",
    ]
    cells = [list(column.cells) for column in as_table(report).columns]
    assert cells[0][1:3] == ["  mlp numba", "  peer"]
    assert cells[3] == ["", "1,000,000", "500,000", "", "1,200,000"]
    assert cells[4][1:3] == ["2.00", "1.00"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(1e-9, "0.00 µs"), (9.996e-4, "1.00 ms"), (9.99e-4, "999 µs"), (0.1, "100 ms"), (61, "61.0 s")],
)
def test_durations_have_three_digits(seconds, text):
    assert duration(seconds) == text


# -- the command ------------------------------------------------------------------------------------------------


def test_the_command_prints_a_table_and_writes_all_figures(tmp_path):
    path = tmp_path / "now.json"
    result = run(*SMALL, "--json", path)
    assert "8-4-3, 1 row " in result.stdout
    assert "rows/s" in result.stdout
    assert f"written: {path}" in result.stderr
    report = PredictionReport.load(path)
    assert [result.case.rows for result in report.results] == [1, 5]
    assert run("--from", path, "--markdown").stdout == f"{as_markdown(report)}\n"


def test_json_on_stdout_is_json_and_nothing_else():
    document = json.loads(run(*SMALL, "--threads", "1", "--json", "-").stdout)
    assert document["format"] == "mlp-bench-predict-1"
    assert [entry["threads"] for entry in document["results"][0]["entries"]] == [1, 1, 1]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--optimizer", "adam"], "--optimizer is for the measurement of training"),
        (["--first-use"], "--first-use is for the measurement of training"),
        (["--plot", "a.png"], "--plot is for the measurement of training"),
        (["--batch-sizes", "0"], "batch_size is 0"),
        (["--batch-sizes", "x"], "not a list of whole numbers"),
        (["--peers", "Torch"], "PyTorch"),
        (["--from", "no-such-file.json"], "no-such-file.json"),
    ],
)
def test_mistakes_are_told_before_the_work(arguments, told):
    assert told in run(*arguments, status=2).stderr


def test_the_help_names_every_peer():
    told = " ".join(CliRunner().invoke(cli, ["bench", "--help"]).stdout.split())
    assert ", ".join(PREDICTION_PEERS) in told
