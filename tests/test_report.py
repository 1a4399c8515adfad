"""The HTML report of a run: its contents, and reports of unusual runs."""

from __future__ import annotations

import csv
import itertools
import json
import re
import shlex
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report_runs import HOSTILE, KINDS, run, train, train_each_kind
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

import mlp
from mlp import runs
from mlp.inspection.report import report

pytest.importorskip("matplotlib", reason="a report needs the extra plot")
pytest.importorskip("jinja2", reason="a report needs the extra plot")


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one run of each kind."""
    return train_each_kind(tmp_path_factory.mktemp("trained"))


@pytest.fixture(scope="session")
def pages(trained: Path) -> dict[str, str]:
    """The report of each run."""
    return {kind: report(trained / kind) for kind in KINDS}


class Page(HTMLParser):
    """A parsed page: elements with their attributes, headings, tables, and the text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.headings: list[tuple[int, str]] = []
        self.tables: list[list[list[str]]] = []
        self.path: list[str] = []
        self.text = ""
        self.feed(text)
        self.text = " ".join(self.text.split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta", "link", "img"):
            self.path.append(tag)
        if re.fullmatch("h[1-6]", tag):
            self.headings.append((int(tag[1]), ""))
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.path.pop() == tag, "elements are closed in the order they were opened"

    def handle_data(self, data: str) -> None:
        if "style" in self.path:
            return
        self.text += data
        if self.path and re.fullmatch("h[1-6]", self.path[-1]):
            level, said = self.headings[-1]
            self.headings[-1] = level, said + data
        if {"td", "th"} & set(self.path):
            self.tables[-1][-1][-1] += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def table(self, first: str) -> list[list[str]]:
        """The table with this first cell."""
        return next(table for table in self.tables if table[0][0] == first)


# -- contents -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_the_page_is_well_made_and_needs_nothing_but_itself(kind: str, pages: dict[str, str]) -> None:
    text = pages[kind]
    page = Page(text)
    assert text.lstrip().startswith("<!doctype html>")
    assert page.path == []
    assert page.all("html") == [{"lang": "en"}]
    assert page.all("script") == page.all("iframe") == []
    links = [element[name] for _, element in page.elements for name in ("src", "href", "srcset") if name in element]
    assert links
    assert all(str(link).startswith(("data:", "#")) for link in links)
    assert "@import" not in text
    assert "url(" not in text
    levels = [level for level, _ in page.headings]
    assert levels.count(1) == 1
    assert levels[0] == 1
    assert all(below - above <= 1 for above, below in itertools.pairwise(levels))
    pictures = page.all("img")
    assert len(pictures) >= 3
    assert all(len(str(picture["alt"])) > 30 for picture in pictures)
    assert len(page.all("caption")) == len(page.tables)
    assert {attributes.get("scope") for attributes in page.all("th")} == {"col", "row"}
    anchors = {str(attributes["href"])[1:] for attributes in page.all("a")}
    assert anchors == {attributes["id"] for attributes in page.all("h2")}


def test_a_phone_folds_all_but_the_first_two_sections(pages: dict[str, str]) -> None:
    page = Page(pages["digits"])
    folded = ["open" not in attributes for attributes in page.all("details") if "class" not in attributes]
    assert folded == [False, False, *[True] * (len(page.all("section")) - 2)]
    assert len(page.all("h2")) == len(folded) > 5
    assert "section > details::details-content" in pages["digits"]  # wide screens show all of them


def test_a_classifier_is_shown_with_its_figures(trained: Path, pages: dict[str, str]) -> None:
    page = Page(pages["digits"])
    results = json.loads((trained / "digits" / "results.json").read_text())
    digits, net = mlp.data.load("digits"), mlp.load(trained / "digits" / "model.safetensors")
    said = net.predict(digits.X_test)
    assert page.headings[0] == (1, "Run digits")
    assert f"accuracy {100 * results['test']['score']:.2f} % on 359 test rows" in page.text
    header, *rows = page.table("class")
    assert header == ["class", "rows", "precision", "recall", "F1"]
    precision, recall, f1, support = precision_recall_fscore_support(digits.y_test, said, zero_division=0)
    for number, row in enumerate(rows):
        figures = precision[number], recall[number], f1[number]
        assert row == [str(number), str(support[number]), *(f"{figure:.4f}" for figure in figures)]
    epochs = page.table("epoch")
    history = runs.read_history(trained / "digits")
    assert epochs[-1][:3] == ["12", f"{history.loss[-1]:.4g}", f"{history.val_loss[-1]:.4g}"]
    headings = [heading for _, heading in page.headings]
    for heading in (
        "Training",
        "Confusion matrix",
        "Worst mistakes",
        "Weights of the first layer",
        "Speed",
        "Environment",
    ):
        assert heading in headings
    assert "as images of 8 by 8 pixels" in " ".join(str(picture["alt"]) for picture in page.all("img"))
    assert ["numpy", np.__version__] in page.table("mlp")


def test_a_regression_is_shown_with_its_errors(trained: Path, pages: dict[str, str]) -> None:
    page = Page(pages["houses"])
    dataset, net = runs.read_dataset(trained / "houses"), mlp.load(trained / "houses" / "model.safetensors")
    residual = net.predict(dataset.X_test) - dataset.y_test
    worst = int(abs(residual).argmax())
    header, first, *_ = page.table("row")
    assert header == ["row", "actual", "predicted", "residual", "size", "city"]
    assert first[0] == str(dataset.rows_test[worst])
    with (trained / "houses.csv").open(encoding="utf-8") as handle:
        row = list(csv.DictReader(handle))[int(first[0])]
    assert float(first[1]) == pytest.approx(float(row["price"]), rel=1e-3)
    assert first[4:] == [row["size"], row["city"]]
    assert float(first[3]) == pytest.approx(residual[worst], rel=1e-3)
    errors = dict(page.table("Median absolute error"))
    assert float(errors["Median absolute error"]) == pytest.approx(np.median(np.abs(residual)), rel=1e-3)
    assert f"R² {net.score(dataset.X_test, dataset.y_test):.4f}" in page.text
    assert "Confusion matrix" not in page.text


def test_every_picture_has_a_table_with_its_numbers(trained: Path, pages: dict[str, str]) -> None:
    for kind in KINDS:
        text = pages[kind]
        parts = re.split("<figure>", text)[1:]
        assert len(parts) >= 3
        for part in parts[1:]:  # the curves of the training are followed by the table of epochs
            assert re.match(r'<img [^>]*>\s*</figure>\s*(<details class="numbers">|<div class="scroll")', part)
    digits, net = mlp.data.load("digits"), mlp.load(trained / "digits" / "model.safetensors")
    page = Page(pages["digits"])
    cells = [[int(cell) for cell in row[1:]] for row in page.table("true class")[1:]]
    np.testing.assert_array_equal(cells, confusion_matrix(digits.y_test, net.predict(digits.X_test)))
    neuron, largest, place, *_ = page.table("neuron")[1]
    weights = net.weights[0][:, int(neuron)].reshape(8, 8)
    row, column = (int(number) - 1 for number in re.findall(r"\d+", place))
    assert weights[row, column] == weights.max() == pytest.approx(float(largest), rel=0.01)


def test_the_tables_of_curves_are_those_of_the_probabilities(trained: Path, pages: dict[str, str]) -> None:
    moons, net = mlp.data.load("moons"), mlp.load(trained / "moons" / "model.safetensors")
    page, probability = Page(pages["moons"]), net.predict_proba(moons.X_test)[:, 1]
    header, roc = next(table for table in page.tables if table[0][:2] == ["class", "at 50 %"])
    least = [
        min(
            np.mean(probability[moons.y_test == 0] >= threshold)
            for threshold in probability
            if np.mean(probability[moons.y_test == 1] >= threshold) >= rate
        )
        for rate in (0.5, 0.8, 0.9, 0.95, 1.0)
    ]
    assert header[1:] == ["at 50 %", "at 80 %", "at 90 %", "at 95 %", "at 100 %"]
    assert roc == ["1", *(f"{100 * value:.1f} %" for value in least)]
    plane = next(table for table in page.tables if table[0][0] == "x1")
    for up, *answers in plane[1:]:
        outputs = net.predict_proba(np.array([[float(across), float(up)] for across in plane[0][1:]]))
        for answer, shares in zip(answers, outputs, strict=True):
            name, share = re.fullmatch(r"(\d) \(([\d.]+) %\)", answer).groups()  # type: ignore[union-attr]
            assert float(share) == pytest.approx(100 * shares.max(), abs=2)  # the places are rounded
            assert shares.max() < 0.55 or int(name) == shares.argmax()


def test_groups_of_a_regression_hold_all_rows(trained: Path, pages: dict[str, str]) -> None:
    dataset, net = runs.read_dataset(trained / "houses"), mlp.load(trained / "houses" / "model.safetensors")
    lines = Page(pages["houses"]).table("actual")[1:]
    order = np.argsort(dataset.y_test, kind="stable")
    predicted = net.predict(dataset.X_test)
    assert sum(int(rows) for _, rows, *_ in lines) == len(dataset.y_test)
    first = order[: int(lines[0][1])]
    found = [float(cell) for cell in lines[0][2:]]
    residual = predicted[first] - dataset.y_test[first]
    expected = [dataset.y_test[first].mean(), predicted[first].mean(), np.sqrt(np.mean(residual**2))]
    np.testing.assert_allclose(found, expected, rtol=1e-3)


def test_names_are_text_and_nothing_else(pages: dict[str, str]) -> None:
    page = Page(pages["mail <u>"])
    assert page.headings[0] == (1, "Run mail <u>")
    assert {row[0] for row in page.table("class")[1:]} == set(HOSTILE)
    assert "mail <b>.csv" in page.text
    assert {"b", "u", "i", "script"}.isdisjoint({tag for tag, _ in page.elements})
    assert not [attributes for _, attributes in page.elements if "onerror" in attributes]
    assert "49" not in {row[0] for row in page.table("class")}  # names are not expanded as templates


# -- incomplete runs -------------------------------------------------------------------------------------


@pytest.fixture
def copied(trained: Path, tmp_path: Path) -> Any:
    def copy(kind: str) -> Path:
        return Path(shutil.copytree(trained / kind, tmp_path / kind))

    return copy


def test_data_that_are_gone_are_said_to_be(copied: Any) -> None:
    folder = copied("houses")
    config = json.loads((folder / "config.json").read_text())
    config["data"]["source"] = "/no/such/houses.csv"
    (folder / "config.json").write_text(json.dumps(config))
    page = Page(report(folder))
    assert "the data of this run could not be read" in page.text
    assert "there is no file '/no/such/houses.csv'" in page.text
    assert len(page.all("img")) == 2  # two plots: the curves and the weights


def test_data_that_have_changed_are_not_shown_as_the_runs(copied: Any) -> None:
    folder = copied("moons")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"data_sha256": "0" * 64}))
    page = Page(report(folder))
    assert "have changed since the run" in page.text
    assert "Confusion matrix" not in page.text


@pytest.mark.parametrize(
    ("name", "damage", "text"),
    [
        (runs.METRICS, "gone", "There are no curves: there is no file"),
        (runs.METRICS, "cut short", "There are no curves"),
        (runs.RESULTS, "gone", "This run did not finish"),
        (runs.RESULTS, "cut short", "This run did not finish"),
        (runs.RESULTS, "foreign", "This run did not finish"),
        (runs.MODEL, "gone", "The model of this run could not be read"),
        (runs.MODEL, "cut short", "The model of this run could not be read"),
    ],
)
def test_whatever_is_damaged_the_page_is_written(name: str, damage: str, text: str, copied: Any) -> None:
    path = copied("moons") / name
    content = {"gone": b"", "cut short": path.read_bytes()[:20], "foreign": b'["nothing", "of", "ours"]'}[damage]
    path.unlink()
    if content:
        path.write_bytes(content)
    assert text in Page(report(path.parent)).text


def test_a_run_that_diverged_has_a_page(tmp_path: Path) -> None:
    folder = train(tmp_path / "lost", "moons", "--optimizer", "sgd", "--lr", "1e30", status=1)
    page = Page(report(folder))
    assert "did not finish" in page.text
    assert "0 of 300 epochs are recorded" in page.text


def test_an_interrupted_run_says_so(copied: Any) -> None:
    folder = copied("moons")
    results = json.loads((folder / "results.json").read_text())
    results |= {"interrupted": True, "stop_reason": "interrupted by Ctrl-C", "test": None, "score": "accuracy"}
    (folder / "results.json").write_text(json.dumps(results))
    page = Page(report(folder))
    assert "This run was stopped early: interrupted by Ctrl-C." in page.text


def test_a_network_with_functions_of_ones_own_has_a_page(tmp_path: Path) -> None:
    source = {
        "source": "moons",
        "data_dir": None,
        "target": None,
        "test_fraction": 0.2,
        "seed": 0,
        "task": None,
        "scale": None,
    }
    dataset = mlp.data.load(**source)
    own = mlp.custom_activation("own", lambda xp, z: z * abs(z), lambda xp, z: 2 * abs(z))
    settings = {"epochs": 2, "batch_size": 16, "optimizer": mlp.Adam(beta1=0.8).to_dict(), "validation_fraction": None}
    recorder = runs.Recorder(runs.configuration(dataset, source, settings | {"early_stopping": None}), tmp_path / "own")
    runs.train(mlp.MLP([2, 4, 2], own, backend="numpy"), dataset, recorder)
    page = Page(report(tmp_path / "own"))
    assert "'own'" in page.text
    assert "The command leaves out these settings, which have no option: optimizer.beta1 = 0.8." in page.text


def test_several_labels_a_row_are_no_mistake(tmp_path: Path) -> None:
    X = np.random.default_rng(0).normal(size=(60, 2))
    np.savez(tmp_path / "labels.npz", X=X, y=(X > 0).astype(float))
    yes_or_no = ("--loss", "binary_cross_entropy", "--output-activation", "sigmoid", "--epochs", 2)
    folder = train(tmp_path / "labels", tmp_path / "labels.npz", *yes_or_no)
    assert "predicts several labels for each row" in Page(report(folder)).text


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(mlp.FileFormatError, match=r"is not a run: it has no config\.json"):
        report(tmp_path)


def test_a_damaged_configuration_is_refused(copied: Any) -> None:
    folder = copied("moons")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model": {"sizes": [2, 2]}}))
    with pytest.raises(mlp.FileFormatError, match=r"is damaged: config\.model lacks the field 'activation'"):
        report(folder)


# -- reproduction -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        "moons --epochs 3",
        "moons --epochs 3 --hidden none --optimizer gd --lr 0.5",
        "moons --epochs 3 --hidden 8,6 --activation tanh,relu --loss quadratic --init normal --dtype float64",
        "moons --epochs 3 --optimizer sgd --momentum 0.9 --nesterov --weight-decay 0.01 --clip-norm 1 --dropout 0.2",
        "moons --epochs 6 --validation 0.2 --early-stopping 2 --l2 0.001 --seed 5 --schedule cosine --warmup 2",
        "sine --epochs 3 --batch-size 16 --schedule step:every=2,factor=0.5 --test-fraction 0.1",
        "'DATA' --target kind --epochs 3 --scale minmax --l1 0.001 --input-dropout 0.1 --clip-value 0.5",
    ],
)
def test_the_command_on_the_page_trains_the_same_network(arguments: str, trained: Path, tmp_path: Path) -> None:
    words = [str(trained / "mail <b>.csv") if word == "DATA" else word for word in shlex.split(arguments)]
    first = train(tmp_path / "first", *words)
    text = Page(report(first)).text
    command = text[text.index("mlp train ") :].split("In Python")[0].replace("\\ ", "")
    second = tmp_path / "second"
    run(*shlex.split(command)[1:], "--quiet", "--output-dir", second)
    one, other = (mlp.load(folder / runs.MODEL) for folder in (first, second))
    np.testing.assert_array_equal(one.parameters, other.parameters)
    assert runs.read_config(first)["training"] == runs.read_config(second)["training"]
    assert runs.read_config(first)["model"] == runs.read_config(second)["model"]
    assert "leaves out" not in text


# -- the command --------------------------------------------------------------------------------------------


def test_the_python_on_the_page_says_where_it_works(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(trained.parent)
    page = Page(report(f"{trained.name}/moons")).text
    assert f"In Python, in the folder that contains {trained.name}/:" in page
    assert f"runs.repeat('{trained.name}/moons')" in page
    monkeypatch.chdir(trained / "moons")
    for folder in (".", "../moons", trained / "moons"):
        page = Page(report(folder)).text
        assert "In Python: " in page
        assert f"runs.repeat({str(trained / 'moons')!r})" in page


def test_the_command_writes_the_page_into_the_folder(copied: Any, tmp_path: Path) -> None:
    folder = copied("moons")
    assert f"written: {folder / 'report.html'}" in run("report", folder)
    assert "<h1>Run moons</h1>" in (folder / "report.html").read_text(encoding="utf-8")
    run("report", folder, "--output", tmp_path / "page.html")
    assert (tmp_path / "page.html").exists()
    assert "no-such-run" in run("report", "no-such-run", status=2)
    model = folder / runs.MODEL
    before = model.read_bytes()
    assert "must end in .html" in run("report", folder, "--output", model, status=2)
    assert model.read_bytes() == before


@pytest.mark.parametrize("written_by", ["this version", "version 0.2"])
def test_the_best_epoch_is_counted_from_1(tmp_path: Path, written_by: str) -> None:
    arguments = ("moons", "--epochs", 60, "--validation", 0.3, "--early-stopping", 2, "--lr", 0.3)
    folder = train(tmp_path / "run", *arguments)
    results = json.loads((folder / "results.json").read_text())
    best = int(np.argmin(runs.read_history(folder).val_loss)) + 1
    text = "val_loss has not improved for 2 epochs; best was epoch {}"
    assert (results["best_epoch"], results["stop_reason"]) == (best, text.format(best))
    assert mlp.load(folder / "training.safetensors").history.best_epoch == best
    if written_by == "version 0.2":
        results["stop_reason"] = text.format(best - 1)
        (folder / "results.json").write_text(json.dumps(results))
    page = report(folder)
    assert f"Training ended: {text.format(best)}." in page
    figure = mlp.plots.curves(mlp.load(folder / "training.safetensors").history)
    texts = [text for axes in figure.axes for text in axes.texts]
    labels = [(text.get_text(), text.xy[0]) for text in texts if text.get_text().startswith("best: epoch")]
    assert labels == [(f"best: epoch {best}", best)] * len(figure.axes)
