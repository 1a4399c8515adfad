"""The documentation: examples run, links resolve, public names are complete, tables match the recorded results."""

from __future__ import annotations

import json
import re
import runpy
from xml.etree import ElementTree

import click
import examples
import numpy as np
import pytest

import mlp
from backends import formulas
from mlp.bench import inference_report
from mlp.bench.inference import PredictionReport
from mlp.bench.report import as_markdown
from mlp.bench.results import Report

WITH_EXAMPLES = [page for page in examples.PAGES if examples.blocks(page) and page.name != "tour.md"]
RESULTS = examples.ROOT / "benchmarks" / "results"
API = "".join(page.read_text(encoding="utf-8") for page in examples.PAGES if page.parent.name == "api")


def name_of(page):
    return page.relative_to(examples.DOCS).as_posix()


@pytest.mark.parametrize("page", WITH_EXAMPLES, ids=name_of)
def test_the_examples_of_a_page_run_in_order(page, tmp_path, request, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)  # as in a session: a page may import a file that it writes
    found = examples.blocks(page)
    try:
        mnist = request.getfixturevalue("mnist_folder") if any(block.needs_mnist for block in found) else None
    except pytest.skip.Exception:
        mnist = None
    skipped = examples.run(found, tmp_path, mnist)
    if skipped:  # the other examples ran
        pytest.skip("; ".join(skipped))


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("python", "1 / 0"),
        ("pycon", ">>> 1 + 1\n3"),
        ("console", "$ mlp --version\nmlp, version 9.9"),
        ("console", "$ mlp train digitz"),
        ("console", "$ rm -r ."),
        ("sh", "mlp train digits --epoch 3"),
        ("sh", "mlp tarin digits"),
    ],
)
def test_an_example_that_is_wrong_is_noticed(language, text, tmp_path):
    with pytest.raises((AssertionError, ZeroDivisionError, KeyError, click.UsageError)):
        examples.run([examples.Block("page.md", 1, language, text + "\n")], tmp_path, None)


def test_blocks_without_their_needs_are_left_out_and_said(tmp_path):
    found = [
        examples.Block("page.md", 1, "python", 'mlp.data.load("mnist")'),
        examples.Block("page.md", 9, "console", "$ mlp train mnist"),
        examples.Block("page.md", 19, "sh", "mlp train mnist"),
    ]
    skipped = examples.run(found, tmp_path, None)
    assert [line.partition(":")[0] for line in skipped] == ["line 1", "line 9"]


@pytest.mark.parametrize("page", [examples.README, *examples.PAGES], ids=lambda page: page.name)
def test_every_block_of_code_names_its_language(page):
    fences = re.findall(r"^[ \t]*```.*$", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(fences) % 2 == 0
    known = {"```python", "```pycon", "```console", "```sh", "```text", "```toml", "```{eval-rst}", "```{toctree}"}
    assert set(fences[::2]) <= known
    assert set(fences[1::2]) <= {"```"}


@pytest.mark.parametrize("page", [examples.README, *examples.PAGES], ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in examples.links(page.read_text(encoding="utf-8")):
        path, _, anchor = target.partition("#")
        found = page.parent / path
        assert found.exists(), target
        if anchor:
            titles = re.findall(r"^#+ (.+)$", found.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in [re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles], target


def test_every_public_name_is_in_the_reference():
    names = re.findall(r"^   (\w+)$|(?:autoexception|py:module):: (?:mlp\.)?(\w+)$", API, re.MULTILINE)
    assert set(mlp.__all__) <= {name for pair in names for name in pair}


@pytest.mark.parametrize("module", ["classic", "data", "plots", "trace"])
def test_every_public_name_of_a_module_is_in_the_reference(module):
    names = set(getattr(mlp, module).__all__) - {"SOURCE_NAMES"}
    assert names <= set(re.findall(r"^   (\w+)$", API, re.MULTILINE))


def test_the_training_guide_names_every_formula_and_optimizer():
    text = (examples.DOCS / "guide" / "training.md").read_text(encoding="utf-8")
    quoted = set(re.findall(r"`(\w+)`", text))
    assert {*formulas.ACTIVATIONS, *formulas.LOSSES} <= quoted
    assert set(mlp.optimizers.OPTIMIZERS) <= quoted


def test_the_full_table_of_speeds_is_the_recorded_one():
    page = (examples.DOCS / "guide" / "performance.md").read_text(encoding="utf-8")
    assert examples.table(page, "bench") == recorded()
    assert examples.table(page, "bench-adam") == recorded("cpu-adam.json")


def test_the_comparison_of_tables_is_the_recorded_one(monkeypatch):
    pytest.importorskip("pandas")
    monkeypatch.syspath_prepend(examples.ROOT)
    from benchmarks import tabular

    page = (examples.DOCS / "guide" / "tabular.md").read_text(encoding="utf-8")
    found = tabular.tables(json.loads((RESULTS / "tabular.json").read_text(encoding="utf-8")))
    for mark, lines in zip(("real", "generated", "final", "command", "sets"), found.values(), strict=True):
        assert examples.table(page, mark) == lines


def test_the_table_of_predictions_is_the_recorded_one():
    page = (examples.DOCS / "guide" / "performance.md").read_text(encoding="utf-8")
    report = PredictionReport.load(RESULTS / "predict.json")
    assert examples.table(page, "bench-predict") == inference_report.as_markdown(report).splitlines()


def test_the_speeds_of_the_drop_in_classes_are_the_recorded_ones():
    page = (examples.DOCS / "guide" / "performance.md").read_text(encoding="utf-8")
    benchmarks = json.loads((RESULTS / "drop-in.json").read_text())["benchmarks"]
    rows = [benchmark["group"].partition(" times")[0] for benchmark in benchmarks if "numba]" in benchmark["name"]]
    assert rows == [f"{task}: {factor}" for task, factor in re.findall(r"^\| (.+) \| ([\d.]+) \|$", page, re.MULTILINE)]


def test_the_table_of_the_readme_is_a_part_of_it():
    shown = examples.table(examples.README.read_text(encoding="utf-8"), "bench")
    batches = {line.split("|")[2].strip() for line in shown[2:]}
    nets = {line.split("|")[1].strip() for line in shown[2:]}
    assert (len(nets), batches) == (4, {"16", "32", "128"})
    assert shown == [
        line for number, line in enumerate(recorded()) if number < 2 or line.split("|")[2].strip() in batches
    ]


def recorded(name="cpu.json"):
    return as_markdown(Report.load(RESULTS / name)).splitlines()


# -- the figure of the fused epoch ----------------------------------------------------------------------


def test_the_drawing_is_what_its_script_draws():
    namespace = {"__name__": "drawing"}
    exec((examples.DOCS / "develop" / "draw_fused_epoch.py").read_text(encoding="utf-8"), namespace)
    drawn = (examples.DOCS / "_static" / "fused-epoch.svg").read_text(encoding="utf-8")
    assert drawn == namespace["drawing"]()
    ElementTree.fromstring(drawn)


# -- the pictures of the pages --------------------------------------------------------------------------


def test_the_pictures_of_the_notes_are_those_of_the_script(tmp_path):
    pytest.importorskip("matplotlib", reason="the pictures need the extra plot")
    script = runpy.run_path(str(examples.DOCS / "guide" / "draw_notes.py"))
    script["main"](tmp_path)
    drawn = {path.name for path in tmp_path.iterdir()}
    committed = {path.name for path in script["FOLDER"].iterdir()}
    page = (examples.DOCS / "guide" / "notes.md").read_text(encoding="utf-8")
    assert drawn == committed == set(re.findall(r"_static/notes/([\w.-]+)\)", page))
    assert all(path.stat().st_size < 60_000 for path in (*tmp_path.iterdir(), *script["FOLDER"].iterdir()))


@pytest.mark.parametrize("page", [examples.README, *examples.PAGES], ids=lambda page: page.name)
def test_every_picture_has_a_text_that_describes_it(page):
    text = page.read_text(encoding="utf-8")
    for alt in re.findall(r"!\[([^\]]*)\]", re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)):
        assert len(alt.split()) >= 5, alt


@pytest.mark.parametrize("name", ["boundary_animation", "loss_landscape"])
def test_the_scripts_of_the_gallery_draw_what_the_page_shows(name, tmp_path):
    pytest.importorskip("matplotlib", reason="the pictures need the extra plot")
    from PIL import Image

    script = runpy.run_path(str(examples.DOCS / "gallery" / f"{name}.py"))
    committed = script["PICTURE"]
    script["draw"](tmp_path / committed.name)
    with Image.open(tmp_path / committed.name) as drawn, Image.open(committed) as shown:
        assert drawn.size == shown.size
        assert getattr(drawn, "n_frames", 1) == getattr(shown, "n_frames", 1)
        assert "loop" not in shown.info, "an animation plays once"
        time_shown = shown.info.get("duration", 0) * getattr(shown, "n_frames", 1)
    assert time_shown < 5000, "WCAG 2.2.2: what moves by itself stops within five seconds"
    assert committed.stat().st_size < 60_000
    page = (examples.DOCS / "gallery" / "index.md").read_text(encoding="utf-8")
    assert f"_static/gallery/{committed.name})" in page
    assert f"literalinclude:: {name}.py" in page


def test_the_directions_of_the_landscape_are_as_long_as_the_weights_of_each_neuron():
    pytest.importorskip("matplotlib", reason="the pictures need the extra plot")
    script = runpy.run_path(str(examples.DOCS / "gallery" / "loss_landscape.py"))
    moons, net = mlp.data.toy("moons", n=60), mlp.MLP([2, 5, 2], seed=0, dtype="float64", backend="numpy")
    for D, W in zip(script["direction"](net, np.random.default_rng(0)), net.weights, strict=True):
        np.testing.assert_allclose(np.linalg.norm(D, axis=0), np.linalg.norm(W, axis=0))
    losses = script["landscape"](net, moons.X, moons.y)
    assert losses[15, 15] == pytest.approx(net.evaluate(moons.X, moons.y)[0]), "the middle is the network itself"
    assert losses.std() > 0
