"""Pages and pictures that show rows of the data: how many they say, --no-data, and names and values that are markup."""

from __future__ import annotations

import base64
import csv
import http.server
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from click.testing import CliRunner

import mlp
from mlp import runs
from mlp.cli import cli

pytest.importorskip("polars")
pytest.importorskip("matplotlib", reason="a report needs the extra plot")
pytest.importorskip("jinja2", reason="a report needs the extra plot")

MARKUP = "</script><img src=http://127.0.0.1:1/x onerror=alert(1)>"
POLICY = {"default-src": "'none'", "img-src": "data:", "style-src": "'unsafe-inline'"}


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(*arguments: object, status: int = 0) -> Any:
    result = CliRunner().invoke(cli, [str(argument) for argument in arguments], prog_name="mlp")
    assert result.exit_code == status, (result.output, result.exception)
    return result


def train(*arguments: object) -> None:
    run("train", *arguments, "--backend", "numpy", "--quiet", "--output-dir", "run")


class Page(HTMLParser):
    """The elements of a page, its text, and that of its pictures."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.source = Path(path).read_text(encoding="utf-8")
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.feed(self.source)
        sources = [attributes["src"] for tag, attributes in self.elements if tag == "img"]
        self.pictures = [base64.b64decode(source.partition(",")[2]).decode() for source in sources]
        self.everything = "\n".join([self.source, self.text, *self.pictures])

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        self.text += data

    def lines(self, caption: str) -> list[list[str]]:
        """The lines of the table whose caption begins so."""
        table = self.source[self.source.index(f"<caption>{caption}") :].partition("</table>")[0]
        rows = re.findall(r"<tr>(.*?)</tr>", table, re.DOTALL)
        return [[re.sub("<[^>]+>", "", cell) for cell in re.findall(r"<t[hd].*?>(.*?)</t[hd]>", row)] for row in rows]


def customers(path: str, seed: int = 0) -> list[dict[str, str]]:
    """A table whose rows each have values of their own, in every kind of column."""
    rng = np.random.default_rng(seed)
    towns = [f"Town{i:03}x" for i in range(8)]
    rows = [
        {
            "name": f"Planted{i:04}",
            "town": towns[i % 8],
            "joined": f"{1950 + i % 70}-{i % 12 + 1:02}-{i % 28 + 1:02}",
            "income": f"{rng.uniform(70000, 80000):.5f}",
            "left": "yes" if rng.random() < 0.5 else "no",
            "price": f"{rng.uniform(310000, 390000):.5f}",
        }
        for i in range(200)
    ]
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return rows


def values_on(page: Page, rows: list[dict[str, str]], columns: tuple[str, ...]) -> set[str]:
    """Values of the data that occur on a page: in its text, its attributes or its pictures; numbers also rounded."""
    found = set()
    for row in rows:
        for column in columns:
            written = {row[column]}
            if re.fullmatch(r"\d+\.\d{5}", row[column]):
                number = float(row[column])
                written |= {f"{number:.2f}", f"{number:,.0f}", f"{number:.7g}"}
            found |= {text for text in written if text in page.everything}
    return found


# -- rows of the data ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["left", "price", "price,income"])
def test_a_report_says_how_many_rows_it_shows_and_can_leave_them_out(target: str) -> None:
    rows = customers("customers.csv")
    others = {"left": ("price",), "price": ("left",), "price,income": ("left",)}[target]
    train("customers.csv", "--target", target, "--epochs", 3, "--drop", ",".join(others))
    columns = tuple(name for name in rows[0] if name not in (*others, "name", "left"))

    shown = run("report", "run").stderr
    page = Page("run/report.html")
    worst = page.lines("These rows of customers.csv, counted from 0")[1:]
    assert 1 < len(worst) <= 12
    n_rows = len(worst) if target == "left" else 40  # each test row is a point of the predictions
    assert f"report.html shows {n_rows} rows of the data; --no-data leaves them out" in shown
    assert len(values_on(page, rows, columns)) > 12

    shown = run("report", "run", "--no-data", "-o", "private.html").stderr
    assert "rows of the data" not in shown
    page = Page("private.html")
    assert values_on(page, rows, ("name", *columns)) == set()
    assert "What shows rows of the data was left out" in page.text
    assert "town (1)" in page.everything  # the inputs that are made of a column have numbers in place of categories
    assert len(page.pictures) >= 2


def test_worst_mistakes_are_rows_of_the_file_with_their_values() -> None:
    rows = customers("customers.csv")
    train("customers.csv", "--target", "left", "--epochs", 3)
    run("report", "run")
    page = Page("run/report.html")
    header, *lines = page.lines("These rows of customers.csv, counted from 0")
    assert header == ["row", "predicted", "true", "town", "joined", "income", "price"]
    answers = csv.DictReader(run("predict", "run", "customers.csv", "--part", "test", "--proba").stdout.splitlines())
    wrong = {}
    for answer in answers:
        true = rows[int(answer["row"])]["left"]
        if answer["prediction"] != true:
            wrong[int(answer["row"])] = float(answer[f"p_{answer['prediction']}"]) - float(answer[f"p_{true}"])
    assert [int(row) for row, *_ in lines] == sorted(wrong, key=lambda row: -wrong[row])[:12]
    for number, _, true, *values in lines:
        row = rows[int(number)]
        assert re.fullmatch(rf"{row['left']} \([\d.]+ %\)", true)
        assert values == [row[name] for name in ("town", "joined", "income", "price")]
    alternatives = [attributes["alt"] for attributes in _images(page)]
    place = next(i for i, alt in enumerate(alternatives) if alt.startswith("The wrong predictions"))
    for row, *answers in lines:
        predicted, true = (answer.partition(" (")[0] for answer in answers[:2])
        assert f"row {row}: predicted {predicted}, true {true}" in alternatives[place]
        assert f"row {row}: predicted {predicted}" in page.pictures[place]


def test_a_part_of_many_columns_is_shown() -> None:
    rng = np.random.default_rng(0)
    header = [f"c{i}" for i in range(12)]
    lines = [",".join(f"{v:.3f}" for v in rng.normal(size=12)) + f",{rng.integers(2)}" for _ in range(120)]
    Path("wide.csv").write_text("\n".join([",".join([*header, "y"]), *lines, ""]))
    train("wide.csv", "--target", "y", "--epochs", 1)
    run("report", "run")
    names, *_ = Page("run/report.html").lines("These rows of wide.csv, counted from 0; 8 of 12 columns")
    assert names == ["row", "predicted", "true", *header[:8]]


def test_images_of_rows_and_points_can_be_left_out() -> None:
    for source, part in (("digits", "Worst mistakes"), ("moons", "Predictions over the input plane")):
        train(source, "--epochs", 1, "--hidden", 4)
        assert "rows of the data" in run("report", "run").stderr
        complete = Page("run/report.html")
        run("report", "run", "--no-data", "-o", f"{source}.html")
        private = Page(f"{source}.html")
        kept = [attributes["alt"] for attributes in _images(private)]
        left_out = [attributes["alt"] for attributes in _images(complete) if attributes["alt"] not in kept]
        assert left_out
        assert all(alt.startswith(("The wrong predictions", "The plane of the two inputs")) for alt in left_out)
        assert part in private.text
        shutil.rmtree("run")


def _images(page: Page) -> list[dict[str, str]]:
    return [attributes for tag, attributes in page.elements if tag == "img"]


def test_reasons_that_quote_values_are_left_out() -> None:
    customers("customers.csv")
    train("customers.csv", "--target", "left", "--epochs", 1)
    text = Path("customers.csv").read_text()
    Path("customers.csv").write_text(text.replace("\n", "\nPlanted9999,a,b,c\n", 1))
    run("report", "run")
    assert "4 fields, but the header has 6" in Page("run/report.html").text
    run("report", "run", "--no-data")
    page = Page("run/report.html")
    assert "4 fields" not in page.text
    assert "the reason is left out, since it may quote values" in page.text


def test_plots_say_how_many_rows_they_show() -> None:
    train("moons", "--epochs", 1, "--hidden", 4)
    shown = run("plot", "boundary", "run", "--output", "a.svg").stderr
    n_rows = len(runs.read_dataset("run").X_test)
    assert f"a.svg shows {n_rows} rows of the data; --no-data leaves them out" in shown
    points = re.compile(r"<use [^>]*PathCollection|<use ")
    n_points = len(points.findall(Path("a.svg").read_text()))
    shown = run("plot", "boundary", "run", "--no-data", "--output", "b.svg").stderr
    assert "rows of the data" not in shown
    assert n_points - len(points.findall(Path("b.svg").read_text())) >= n_rows
    shown = run("plot", "mistakes", "run").stderr
    net, dataset = mlp.load("run/model.safetensors"), runs.read_dataset("run")
    n_wrong = int((net.predict(dataset.X_test) != dataset.y_test).sum())
    assert f"mistakes.png shows {min(n_wrong, 12)} rows of the data" in shown
    assert "rows of the data" not in run("plot", "confusion", "run").stderr
    for kind in ("mistakes", "predictions"):
        message = run("plot", kind, "run", "--no-data", "--output", "c.png", status=2).stderr
        assert f"The plot '{kind}' consists of rows of the data" in message
    assert not Path("c.png").exists()


def test_a_plot_of_weights_has_no_categories_without_data() -> None:
    customers("customers.csv")
    train("customers.csv", "--target", "left", "--epochs", 1)
    for options, shown in (((), True), (("--no-data",), False)):
        run("plot", "weights", "run", "--output", "w.svg", *options)
        picture = Path("w.svg").read_text()
        assert ("town=Town000x" in picture, "town (1)" in picture) == (shown, not shown)


@pytest.mark.parametrize("target", ["left", "price"])
def test_a_regression_plane_and_mistakes_have_rows_of_the_file(target: str) -> None:
    customers("customers.csv")
    train("customers.csv", "--target", target, "--columns", "income,joined", "--epochs", 1)
    if target == "left":
        run("plot", "mistakes", "run", "--output", "a.svg")
        test_rows = set(runs.read_dataset("run").rows_test.tolist())
        numbers = {int(number) for number in re.findall(r"row (\d+)", Path("a.svg").read_text())}
        assert numbers
        assert numbers <= test_rows
        assert not numbers <= set(range(12))
    else:
        assert "shows 40 rows" in run("plot", "predictions", "run").stderr


@pytest.mark.parametrize("suffix", [".html", ".md", ".txt", ".json"])
def test_a_trace_says_how_many_rows_it_shows_and_can_leave_them_out(suffix: str) -> None:
    train("moons", "--epochs", 1, "--hidden", 3)
    arguments = ("trace", "run", "moons", "--rows", 2, "--steps", 2)
    shown = run(*arguments, "--output", f"a{suffix}").stderr
    assert f"a{suffix} shows 2 rows of the data; --no-data leaves them out" in shown
    assert "rows of the data" not in run(*arguments, "--no-data", "--output", f"b{suffix}").stderr
    net, dataset = mlp.load("run/model.safetensors"), runs.read_dataset("run")
    trace = net.trace(dataset.X_test[:2], dataset.y_test[:2], optimizer=mlp.SGD(0.5), steps=2)
    complete, private = Path(f"a{suffix}").read_text(), Path(f"b{suffix}").read_text()

    def texts(values: Any) -> set[str]:
        """The first digits of the numbers that have many."""
        return {f"{abs(v):.9g}"[:7] for v in np.ravel(values) if abs(v) > 0.1 and len(f"{abs(v):.9g}") > 8}

    given = set().union(*(texts(trace.steps[0][name]) for name in ("W1", "b1", "W2", "b2")))
    assert len(given) > 9
    for step in trace.steps:
        for quantity in step.quantities:
            if step.number == 2 or quantity.phase != "given" or quantity.name[0] not in "Wb":
                found = {text for text in texts(quantity.values) - given if text in private}
                assert not found, quantity.name
    assert all(text in complete for text in texts(trace.steps[0]["a0"]))
    assert all(text in private for text in given)
    assert "shows" not in run("trace", "--sizes", "2,2", "--output", f"c{suffix}").stderr  # random rows
    message = run(*arguments, "--no-data", "--output", "b.py", status=2).stderr
    assert "--no-data does not apply to a program" in message
    with pytest.raises(mlp.ConfigurationError, match="a program computes with the values of the rows"):
        trace.without_data().to_numpy_program()


# -- markup ----------------------------------------------------------------------------------------------------


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """A report of a run in which every name and value that a user can choose is markup."""
    rng = np.random.default_rng(0)
    name = "<img src=x onerror=alert(2)>.csv"
    with open(name, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([MARKUP, "--><svg/onload=alert(3)>", "]]>&amp;", "<script>alert(4)</script>"])
        for i in range(150):
            writer.writerow([rng.normal(), MARKUP + str(i % 3), f"<b>{i % 2}</b>", f"{MARKUP} class {i % 2}"])
    run("train", name, "--target", "<script>alert(4)</script>", "--epochs", 1, "--output-dir", "<u>run")
    run("report", "<u>run", "-o", "page.html")
    return tmp_path / "page.html"


def test_names_and_values_are_text_on_a_page_and_in_its_pictures(hostile: Path) -> None:
    page = Page(str(hostile))
    tags = {tag for tag, _ in page.elements}
    assert tags.isdisjoint({"script", "svg", "b", "u", "iframe", "object", "embed", "form"})
    assert not [1 for _, attributes in page.elements if any(name.startswith("on") for name in attributes)]
    assert all(attributes["src"].startswith("data:image/svg+xml;base64,") for attributes in _images(page))
    for said in (f"{MARKUP} class 0", "<u>run", "<b>1</b>", "onload=alert(3)", "<img src=x onerror=alert(2)>.csv"):
        assert said in page.text
    import xml.etree.ElementTree as ElementTree

    for picture in page.pictures:
        elements = list(ElementTree.fromstring(picture).iter())
        names = {element.tag.rpartition("}")[2] for element in elements}
        assert names.isdisjoint({"script", "img", "b", "foreignObject"})
        assert not [name for element in elements for name in element.attrib if name.lower().startswith("on")]
        hrefs = [v for element in elements for name, v in element.attrib.items() if name.endswith("href")]
        assert all(value.startswith(("#", "data:")) for value in hrefs)


def test_pages_have_a_policy_that_forbids_to_load_anything(hostile: Path) -> None:
    run("trace", "--sizes", "2,2,1", "--output", "trace.html")
    for path in (str(hostile), "trace.html"):
        metas = [attributes for tag, attributes in Page(path).elements if tag == "meta"]
        (policy,) = [meta["content"] for meta in metas if meta.get("http-equiv") == "Content-Security-Policy"]
        directives = dict(part.strip().split(" ", 1) for part in policy.split(";"))
        assert directives == POLICY
        before = Path(path).read_text(encoding="utf-8").partition("Content-Security-Policy")[0]
        assert "<img" not in before
        assert "<link" not in before
        assert "<style" not in before


def test_notebooks_get_text() -> None:
    net = mlp.MLP([2, 2], classes=[MARKUP, "b"], backend="numpy")

    def score(*_: Any) -> float:
        return 1.0

    score.__name__ = MARKUP
    X, y = np.random.default_rng(0).normal(size=(20, 2)), np.arange(20) % 2
    history = net.fit(X, y, epochs=2, metrics=[score], validation_fraction=0.5)
    for html in (net._repr_html_(), history._repr_html_()):
        assert "<img" not in html
        assert "<script" not in html
    assert "&lt;img" in history._repr_html_()


# -- in a browser ------------------------------------------------------------------------------------------------


class _Asked(http.server.BaseHTTPRequestHandler):
    paths: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.paths.append(self.path)
        self.send_response(404)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@pytest.fixture
def server() -> Iterator[http.server.ThreadingHTTPServer]:
    _Asked.paths.clear()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Asked) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield running
        running.shutdown()


def test_a_browser_loads_nothing_and_runs_nothing(hostile: Path, server: http.server.ThreadingHTTPServer) -> None:
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no browser here: apt install chromium")

    def opened(path: Path) -> str:
        arguments = ["--headless", "--no-sandbox", "--disable-gpu", "--timeout=5000", "--dump-dom", path.as_uri()]
        profile = f"--user-data-dir={path.parent / 'profile'}"
        process = subprocess.run([browser, profile, *arguments], capture_output=True, text=True, timeout=120)
        return process.stdout

    # what a mistake in the escaping would let in
    address = f"http://127.0.0.1:{server.server_port}"
    injected = (
        f"<img src={address}/img onerror=\"document.title='run'\"><link rel=stylesheet href={address}/css>"
        f"<script src={address}/script></script><script>document.title='run'</script>"
        f"<iframe src={address}/frame></iframe>"
    )
    source = hostile.read_text(encoding="utf-8")
    guarded, open_ = hostile.with_name("guarded.html"), hostile.with_name("open.html")
    guarded.write_text(source.replace("<main>", f"<main>{injected}"), encoding="utf-8")
    without = re.sub(r"<meta http-equiv=.Content-Security-Policy.[^>]*>", "", guarded.read_text(encoding="utf-8"))
    open_.write_text(without, encoding="utf-8")

    assert "<title>Run &lt;u&gt;run</title>" in opened(hostile)
    assert "<title>Run &lt;u&gt;run</title>" in opened(guarded)
    assert _Asked.paths == []
    assert "<title>run</title>" in opened(open_)
    assert {"/img", "/css", "/script", "/frame"} <= set(_Asked.paths)
