"""The roof over the speeds in `mlp bench`, and measurements with given numbers of threads."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner

import backends
from backends.environment import limit_threads
from mlp.bench import Case, Report, Result, Selection, find_implementations, measure
from mlp.bench.entries import Entry, Roof
from mlp.bench.report import notes, sentences
from mlp.cli import cli

TINY = Case("8-4-3", 16, max_rows=512)


def made_up(**seconds):
    """A report of one case; names that begin with mlp are ours."""
    entries = [
        Entry(name.replace("_", " "), name.startswith("mlp"), "cpu", seconds=each) for name, each in seconds.items()
    ]
    return Report([Result(TINY, entries)], roofs={"cpu": Roof(100.0, [(2**15, 200.0), (2**28, 20.0)])})


@pytest.mark.parametrize(
    ("bandwidths", "cache_bytes", "expected"),
    [
        ([(2**10, 1e6)], 0, 100.0),  # the operations are the limit
        (
            [(2**10, 1e6), (2**14, 8.0)],
            0,
            8.0 * TINY.flops / TINY.row_bytes,
        ),  # X is larger than a cache, and read slowly
        ([(2**4, 1.0)], 0, 1.0 * TINY.flops / TINY.row_bytes),
        ([(2**4, 1e-3)], 2**30, 100.0),  # all of it is in a cache of unknown speed
    ],
)
def test_the_roof_is_the_slowest_of_operations_and_reading(bandwidths, cache_bytes, expected):
    assert TINY.row_bytes == 4 * 8
    assert TINY.row_bytes * TINY.rows >= 2**14
    assert Roof(100.0, bandwidths, cache_bytes).limit(TINY) == pytest.approx(expected)


def test_the_parameters_of_a_small_batch_are_read_once():
    case = Case("1000-1000-10", 1)
    roof = Roof(1e6, [(2**10, 1e6), (2**20, 5.0)])  # the parameters have 4 MB
    rows_first = Roof(1e6, [(2**10, 1e6), (case.row_bytes * case.rows, 5.0)])
    assert case.parameter_bytes == 4 * 1_011_010
    assert roof.seconds(case) == pytest.approx(4 * 1_011_010 / 5e9)
    assert rows_first.seconds(case) < roof.seconds(case)
    assert replace(case, optimizer="adam").parameter_bytes == 3 * case.parameter_bytes


def test_a_speed_above_the_roof_has_a_note():
    report = made_up(mlp_numba=[1e-6, 1e-6], peer=[1.0, 1.0])
    report.results[0].zeros = 0.8
    (line,) = (line for line in notes(report) if line.startswith("* above the roof"))
    assert "mlp numba on 8-4-3" in line
    assert "zeros of the input" in line
    assert "peer" not in line
    report.results[0].zeros = 0.0
    assert any("faster than during the measurement" in line for line in notes(report))
    assert not any("above" in line for line in notes(made_up(mlp_numba=[1.0, 1.0])))


def test_the_roof_is_measured_with_each_number_of_threads():
    cases = [replace(TINY, threads=1), TINY]
    report = measure(cases, find_implementations(["numpy"], []), rounds=2, matrix=64)
    assert set(report.roofs) == {"cpu", "cpu, 1 thread"}
    assert report.roof(cases[0], "cpu") is report.roofs["cpu, 1 thread"]
    assert report.roofs["cpu, 1 thread"].threads == 1
    for roof in report.roofs.values():
        assert 1 < roof.gflops < 1e6
        assert all(0.1 < speed < 1e5 for _, speed in roof.bandwidths)
    assert [result.entries[0].threads for result in report.results] == [1, None]
    assert Report.from_dict(report.to_dict()).to_dict() == report.to_dict()


def test_who_cannot_limit_its_threads_is_skipped_where_the_case_asks_for_a_number():
    selection = find_implementations(["numpy"], ["NumPy by hand"])
    fixed = replace(selection.implementations[1], name="fixed", limit_threads=None)
    selection = Selection([*selection.implementations, fixed])
    result = measure([replace(TINY, threads=1)], selection, rounds=2, matrix=64).results[0]
    notes_by_name = {entry.name: entry.note for entry in result.entries}
    assert notes_by_name == {
        "mlp numpy": "",
        "NumPy by hand": "",
        "fixed": "skipped: its number of threads cannot be set",
    }


def test_more_threads_are_compared_with_fewer():
    results = [
        Result(replace(TINY, threads=1), [Entry("mlp numba", True, "cpu", 1, seconds=[3.0])]),
        Result(replace(TINY, threads=4), [Entry("mlp numba", True, "cpu", 4, seconds=[1.0])]),
        Result(TINY, [Entry("mlp numba", True, "cpu", seconds=[1.0])]),
    ]
    (line,) = sentences(Report(results))
    assert line == f"{TINY}: times as fast with 4 threads instead of 1: mlp numba 3.00"


@pytest.fixture
def kernels():
    found = backends.peak_kernels()
    if found is None:
        pytest.skip("Numba cannot be used")
    return found


def test_multiply_adds_are_counted_and_all_computed(kernels):
    lanes, chains, repeats = kernels.VECTOR_BITS // 32, 12, 7
    with limit_threads(1):
        assert kernels.multiply_adds(repeats) == 2 * repeats * chains * lanes
    numbers = np.array([0.75, 0.5, 0.0], np.float32)
    kernels._multiply_adds(numbers, repeats)
    sums = np.float32(0.75) * np.arange(chains, dtype=np.float32)
    for _ in range(repeats):
        sums = (sums.astype(np.float64) * 0.75 + 0.5).astype(np.float32)  # rounded once, as a fused multiply-add
    assert numbers[2] == pytest.approx(sums.sum(), rel=1e-6)


@pytest.mark.parametrize("threads", [1, 2])
def test_every_word_is_read(kernels, threads):
    words = np.random.default_rng(0).integers(0, 2**63, 1001, dtype=np.uint64)
    with limit_threads(threads):
        first = kernels.read(words, 2)
        for changed in (0, 500, 1000):
            words[changed] ^= np.uint64(1)
            assert kernels.read(words, 2) != first
            words[changed] ^= np.uint64(1)


@pytest.mark.parametrize("environment", [None, "5", "1"])
def test_the_number_of_threads_is_limited_within_the_block(monkeypatch, environment):
    threads = pytest.importorskip("backends.numba_backend.threads")
    monkeypatch.delenv("MLP_NUM_THREADS", raising=False)
    monkeypatch.delenv("NUMBA_NUM_THREADS", raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if environment:
        monkeypatch.setenv("MLP_NUM_THREADS", environment)
    monkeypatch.setattr("backends.environment.usable_processors", lambda: 4)
    before = threads.get_num_threads()
    with limit_threads(3):
        assert threads.get_num_threads() == (1 if environment == "1" else 3)
        with limit_threads(2):
            assert threads.get_num_threads() == (1 if environment == "1" else 2)
        with limit_threads(8):
            assert threads.get_num_threads() == (1 if environment == "1" else 3)
    assert threads.get_num_threads() == before


def test_a_limit_below_one_is_an_error():
    with pytest.raises(backends.errors.ConfigurationError, match="positive integer"), limit_threads(0):
        pass


def test_the_command_line_measures_with_each_number_of_threads(tmp_path):
    options = ["--nets", "8-4-3", "--batch-sizes", "512", "--backends", "numpy", "--peers", "none", "--rounds", "2"]
    result = CliRunner().invoke(cli, ["bench", *options, "--threads", "1", "--json", str(tmp_path / "now.json")])
    assert result.exit_code == 0, result.output
    assert [each.case.threads for each in Report.load(tmp_path / "now.json").results] == [1]
    assert "8-4-3, batch 512, sgd, 1 thread\n" in re.sub(r" +\n", "\n", result.stdout)


@pytest.mark.parametrize(
    ("numbers", "reason"), [("0", "0 threads"), ("1,999", "999 threads"), ("two", "whole numbers")]
)
def test_wrong_numbers_of_threads_are_refused(numbers, reason):
    result = CliRunner().invoke(cli, ["bench", "--threads", numbers])
    assert result.exit_code == 2
    assert reason in result.stderr
    assert "--threads" in result.stderr
