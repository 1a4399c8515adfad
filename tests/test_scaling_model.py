"""The model of the time of a step on several ranks, its constants, and the page with its tables."""

from __future__ import annotations

import importlib.util
import json
import math
import re
import shutil
import subprocess
import sys

import examples
import pytest
from hypothesis import given
from hypothesis import strategies as st

sys.path.insert(0, str(examples.ROOT))

from benchmarks import scaling_model, scaling_report
from benchmarks.scaling_model import Cluster, Costs, Link, efficiency, fitted, smallest_batch, step_seconds

PAGE = examples.DOCS / "guide" / "distributed.md"
PICTURE = examples.ROOT / "benchmarks" / "results" / "scaling.png"

seconds = st.floats(1e-6, 1e-2)
links = st.builds(Link, latency=seconds, byte=st.floats(1e-11, 1e-8), short=seconds)
costs = st.builds(
    Costs,
    parameters=st.just(1000),
    gradient_bytes=st.integers(1, 10**8),
    shard=seconds,
    row=seconds,
    addition=seconds,
    update=seconds,
)
levels = st.integers(0, 8)


@given(links, st.integers(1, 10**8), levels)
def test_the_sum_over_ranks_is_that_of_rabenseifner(link, n_bytes, level):
    ranks = 2**level
    expected = 2 * level * link.latency + 2 * (ranks - 1) / ranks * n_bytes * link.byte + level * link.short
    assert Cluster(link, link, 8).sum_seconds(n_bytes, ranks) == pytest.approx(expected)


@given(links, links, st.integers(1, 10**8), levels, levels)
def test_groups_of_ranks_use_the_far_link_for_what_is_left(near, far, n_bytes, inside, between):
    """First the sum in each group; then the groups sum what each rank of them has: its share of the bytes."""
    cluster = Cluster(near, far, 2**inside)
    apart = Cluster(near, near, 1).sum_seconds(n_bytes, 2**inside)
    apart += Cluster(far, far, 1).sum_seconds(n_bytes / 2**inside, 2**between)
    assert cluster.sum_seconds(n_bytes, 2 ** (inside + between)) == pytest.approx(apart)


@given(costs, links, st.integers(1, 2**20), levels, levels)
def test_a_step_is_the_sum_of_its_parts(costs, link, batch, level, more):
    ranks, shards = 2**level, 2 ** (level + more)
    cluster = Cluster(link, link, 1)
    parts = [
        batch * costs.row / ranks,
        *[costs.shard] * (shards // ranks),
        *[costs.addition] * (shards // ranks - 1),
        cluster.sum_seconds(costs.gradient_bytes, ranks),
        costs.update,
    ]
    assert step_seconds(costs, cluster, batch, ranks, shards) == pytest.approx(math.fsum(parts))


@given(costs, links, levels, st.floats(0.01, 0.95))
def test_the_smallest_batch_is_the_first_that_is_efficient_enough(costs, link, level, least):
    ranks, cluster = 2**level, Cluster(link, link, 1)
    found = smallest_batch(costs, cluster, ranks, least)
    batches = [ranks * 2**i for i in range(25) if ranks * 2**i <= 2**24]
    enough = [batch for batch in batches if efficiency(costs, cluster, batch, ranks) > least]
    assert found == (enough[0] if enough else None)
    assert efficiency(costs, cluster, 2**12, 1) == 1


@given(st.floats(1e-6, 1), st.floats(1e-9, 1), st.lists(st.integers(1, 10**6), min_size=2, max_size=8, unique=True))
def test_the_line_is_found_in_exact_times(a, b, sizes):
    found = fitted(sizes, [a + b * size for size in sizes])
    assert [found[0] + found[1] * size for size in sizes] == pytest.approx([a + b * size for size in sizes], rel=1e-6)
    assert found[2] == pytest.approx(0, abs=1e-6)


def test_the_line_is_never_negative_and_the_error_is_the_largest():
    a, b, error = fitted([1, 2, 4], [1, 2.2, 4])
    assert (a, b > 0) == (0, True)
    assert error == pytest.approx(max(abs(b * x / t - 1) for x, t in ((1, 1), (2, 2.2), (4, 4))))


# -- the record and the page -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def recorded():
    return scaling_model.read(scaling_model.CONSTANTS), scaling_model.read(scaling_model.SPEEDS)


def test_the_tables_of_the_page_are_those_of_the_record(recorded):
    text = PAGE.read_text(encoding="utf-8")
    for name, lines in scaling_report.blocks(*recorded).items():
        assert examples.table(text, name) == [line for line in lines if line], "see benchmarks/scaling_model.py"


def test_the_link_of_the_record_gives_the_measured_sums(recorded):
    constants, _ = recorded
    cluster = scaling_model.cluster_of(constants)
    *_, error = fitted(*zip(*constants["sums"], strict=True))
    for n_bytes, measured in constants["sums"]:
        expected = cluster.sum_seconds(n_bytes, 2) - constants["short_sum"]
        assert expected == pytest.approx(measured, rel=1.001 * error)


def test_the_page_is_written_and_its_other_text_stays(tmp_path, recorded):
    page = tmp_path / "page.md"
    blocks = scaling_report.blocks(*recorded)
    page.write_text("before\n" + "".join(f"<!-- {name} -->\nold\n<!-- /{name} -->\ntext\n" for name in blocks))
    scaling_report.write_page(page, blocks)
    scaling_report.write_page(page, blocks)  # again, over what it has written
    text = page.read_text()
    assert "old" not in text
    assert (text.count("before\n"), text.count("text\n")) == (1, len(blocks))
    for name, lines in blocks.items():
        assert examples.table(text, name) == [line for line in lines if line]
    page.write_text("no marks")
    with pytest.raises(SystemExit, match="scaling-measured"):
        scaling_report.write_page(page, blocks)


def test_the_picture_shows_each_batch_and_the_line_of_one_rank(tmp_path, recorded):
    pytest.importorskip("matplotlib", reason="the picture needs the extra plot")
    from PIL import Image

    scaling_report.plot(recorded[0], tmp_path / "new.png")
    with Image.open(tmp_path / "new.png") as drawn, Image.open(PICTURE) as shown:
        assert drawn.size == shown.size
    assert re.search(r"!\[[^]]{80,}\]\(\.\./\.\./benchmarks/results/scaling\.png\)", PAGE.read_text(encoding="utf-8"))


def test_the_command_prints_the_tables(capsys, recorded):
    scaling_model.main([])
    printed = capsys.readouterr().out
    for lines in scaling_report.blocks(*recorded).values():
        assert "\n".join(lines) in printed


@pytest.mark.skipif(
    importlib.util.find_spec("mpi4py") is None or shutil.which("mpiexec", path=f"{sys.prefix}/bin") is None,
    reason="needs mpi4py and mpiexec: pip install 'mlp-xp[mpi]'",
)
def test_the_constants_can_be_measured(tmp_path):
    command = [sys.executable, "-m", "benchmarks.scaling_model", "--quick", "--measure", tmp_path / "new.json"]
    subprocess.run(command, cwd=examples.ROOT, check=True, capture_output=True, timeout=300)
    record = json.loads((tmp_path / "new.json").read_text())
    for network in record["networks"]:
        measured = scaling_model.costs_of(network)
        assert network["gradient_bytes"] >= 4 * network["parameters"]
        assert min(measured.row, measured.addition, measured.update) > 0
    assert scaling_model.link_of(record).byte > 0
    assert record["machine"]["cpu"]
