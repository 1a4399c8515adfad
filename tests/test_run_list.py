"""``mlp runs``: the table of runs, whatever state they are in."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from mlp import runs
from mlp.cli import cli

SETTINGS = {
    "a": ["digits", "--epochs", 2, "--validation", 0.2, "--lr", 0.01, "--hidden", 8],
    "b": ["digits", "--epochs", 3, "--validation", 0.2, "--lr", 0.001, "--hidden", "8,4"],
    "c": ["sine", "--epochs", 2, "--hidden", 8, "--test-fraction", 0],
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with three runs, which are not changed by the tests."""
    folder = tmp_path_factory.mktemp("trained")
    for day, (name, arguments) in enumerate(SETTINGS.items(), 1):
        run("train", *arguments, "--backend", "numpy", "--quiet", "--output-dir", folder / "runs" / name)
        edit(folder / "runs" / name / "config.json", created=f"2025-01-0{day}T10:00:00+00:00")
    return folder


@pytest.fixture(autouse=True)
def in_a_copy(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COLUMNS", raising=False)


def run(*arguments: object, status: int = 0, env: dict[str, str] | None = None) -> Result:
    result = CliRunner().invoke(cli, [*map(str, arguments)], prog_name="mlp", env=env)
    assert result.exit_code == status, (result.output, result.exception)
    return result


def edit(path: Path, **fields: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def results(name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(Path("runs", name, "results.json").read_text())
    return document


def table(*arguments: object, **settings: Any) -> tuple[list[str], list[str]]:
    """The header, and the first column."""
    lines = run("runs", *arguments, **settings).stdout.split("\n\n")[0].splitlines()
    return lines[0].split(), [line.split()[0] for line in lines[1:]]


def as_csv(*arguments: object) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(run("runs", "--csv", *arguments).stdout)))


def test_the_table_has_the_settings_that_differ_and_the_results() -> None:
    header, names = table()
    assert names == ["a", "b", "c"]
    assert header == [
        "run", "date", "data", "test_fraction", "hidden", "output_activation", "loss", "validation", "lr", "epochs",
        "val_loss", "val_score", "test_loss", "test_score", "seconds",
    ]  # fmt: skip
    header, names = table("--where", "data=digits")
    assert header[3:5] == ["hidden", "lr"]
    assert names == ["a", "b"]


def test_the_figures_are_those_of_the_files() -> None:
    rows = {row["run"]: row for row in as_csv()}
    row, recorded = rows["runs/b"], results("b")
    best = min(range(3), key=recorded["history"]["val_loss"].__getitem__)
    assert float(row["val_loss"]) == recorded["history"]["val_loss"][best]
    assert float(row["val_score"]) == recorded["history"]["val_score"][best]
    assert int(row["best_epoch"]) == best + 1
    assert float(row["train_loss"]) == recorded["history"]["loss"][-1]
    assert float(row["test_loss"]) == recorded["test"]["loss"]
    assert float(row["test_roc_auc"]) == recorded["test"]["roc_auc"]
    assert float(row["seconds"]) == recorded["seconds"]
    assert (row["epochs"], row["data"], row["state"], row["hidden"]) == ("3", "digits", "finished", "8,4")
    assert row["date"] == "2025-01-02T10:00:00+00:00"
    assert rows["runs/c"]["test_loss"] == rows["runs/c"]["val_loss"] == ""


def test_json_has_the_settings_and_metrics_of_each_run() -> None:
    document = json.loads(run("runs", "--json").stdout)
    assert [one["run"] for one in document["runs"]] == ["runs/a", "runs/b", "runs/c"]
    assert document["runs"][0]["settings"]["lr"] == 0.01
    assert document["runs"][0]["metrics"]["test_score"] == results("a")["test"]["score"]
    assert [one.run for one in runs.list_runs("runs")] == ["runs/a", "runs/b", "runs/c"]


@pytest.mark.parametrize(
    ("column", "order"),
    [("lr", "bca"), ("hidden", "acb"), ("date", "abc"), ("state", "abc"), ("run", "abc"), ("epochs", "acb")],
)
def test_sorting_by_a_setting(column: str, order: str) -> None:
    for name, rate in {"a": 0.3, "b": 0.1, "c": 0.2}.items():
        path = Path("runs", name, "config.json")
        training = json.loads(path.read_text())["training"]
        edit(path, training=training | {"optimizer": {"name": "adam", "learning_rate": rate}})
    assert table("--sort", column)[1] == list(order)
    assert table("--sort", column, "--reverse")[1] == list(order)[::-1]


def test_sorting_by_a_result_puts_the_best_first_and_those_without_it_last() -> None:
    scores = {name: results(name)["test"]["score"] for name in "ab"}
    losses = {name: results(name)["test"]["loss"] for name in "ab"}
    assert table("--sort", "test_score")[1] == [*sorted(scores, key=lambda name: -scores[name]), "c"]
    assert table("--sort", "test_loss")[1] == [*sorted(losses, key=losses.__getitem__), "c"]
    assert table("--sort", "test_log_loss")[1] == [*sorted(losses, key=losses.__getitem__), "c"]
    assert table("--sort", "test_score", "--limit", 1)[1] == [max(scores, key=scores.__getitem__)]


@pytest.mark.parametrize(
    ("conditions", "names"),
    [
        (["lr<0.01"], "bc"),
        (["lr<=0.01"], "abc"),
        (["lr=0.010"], "a"),
        (["lr>0.001", "data=digits"], "a"),
        (["data!=digits"], "c"),
        (["hidden=8"], "ac"),
        (["hidden=8,4"], "b"),
        (["val_score>=0"], "ab"),
        (["val_score!=2"], "abc"),
        (["state=finished", "epochs = 3"], "b"),
        (["run=runs/c"], "c"),
        (["date>2025-01-02"], "bc"),
    ],
)
def test_filters(conditions: list[str], names: str) -> None:
    arguments = [word for condition in conditions for word in ("--where", condition)]
    assert [Path(row["run"]).name for row in as_csv(*arguments)] == list(names)


def test_columns_are_chosen_in_any_order() -> None:
    assert table("--columns", "test_roc_auc,lr,run")[0] == ["run", "test_roc_auc", "lr"]
    assert run("runs", "--csv", "--columns", "lr,epochs").stdout.splitlines()[:2] == ["run,lr,epochs", "runs/a,0.01,2"]


def test_runs_that_are_not_whole_are_listed() -> None:
    shutil.copytree("runs/a", "runs/killed")
    Path("runs/killed/results.json").unlink()
    metrics = Path("runs/killed/metrics.csv")
    metrics.write_text(metrics.read_text() + "3,0.2,0.")  # a row that was not written to its end
    Path("runs/claimed").mkdir()
    Path("runs/claimed/metrics.csv").touch()
    shutil.copytree("runs/a", "runs/stopped")
    edit(Path("runs/stopped/results.json"), interrupted=True)
    damages = {"config.json": "{", "metrics.csv": "epoch\n1\n", "results.json": "[]"}
    for name, text in damages.items():
        shutil.copytree("runs/a", f"runs/{name}")
        Path("runs", name, name).write_text(text)
    shutil.copytree("runs/a", "runs/no numbers")
    edit(Path("runs/no numbers/results.json"), test={"loss": "x", "score": None}, seconds=[])
    Path("runs/empty").mkdir()
    Path("runs/notes.txt").touch()
    states = {Path(row["run"]).name: row["state"] for row in as_csv()}
    assert states == {
        "a": "finished", "b": "finished", "c": "finished", "killed": "unfinished", "claimed": "unfinished",
        "stopped": "interrupted", "config.json": "damaged", "metrics.csv": "damaged", "results.json": "damaged",
        "no numbers": "finished",
    }  # fmt: skip
    output = run("runs").stdout
    assert len([line for line in output.splitlines() if line.startswith("damaged   runs/")]) == 3
    assert "state" in table()[0]
    killed = next(row for row in as_csv() if row["run"] == "runs/killed")
    assert (killed["epochs"], killed["lr"], killed["test_score"]) == ("2", "0.01", "")


@pytest.mark.parametrize("killed", [False, True])
def test_a_run_without_validation_is_listed_alone(killed: bool) -> None:
    if killed:
        Path("runs/c/results.json").unlink()
    header, names = table("runs/c")
    assert names == ["runs/c"]
    assert ("state" in header, "val_score" in header) == (killed, False)


def test_a_run_that_resumes_an_unfinished_one_says_so() -> None:
    finished = run("train", "--resume", "runs/a", "--epochs", 3).stdout
    assert "resumes   runs/a, after 2 epochs\n" in finished
    Path("runs/a/results.json").unlink()
    unfinished = run("train", "--resume", "runs/a", "--epochs", 3).stdout
    assert "resumes   runs/a, after 2 epochs, which has no results.json: it did not finish\n" in unfinished


@pytest.mark.parametrize("width", [1, 20, 40, 60, 80, 120])
def test_narrow_terminals_leave_columns_out_and_name_them(width: int) -> None:
    output = run("runs", env={"COLUMNS": str(width)}).stdout
    rows, _, more = output.partition("\n\n")
    assert all(len(line) <= max(width, 3) for line in rows.splitlines())
    header = rows.splitlines()[0].split()
    assert header[0] == "run"[: max(width, 1)]
    assert more.startswith("not shown ")
    if width >= 80:
        assert {"test_score", "val_score", "val_loss", "lr"} >= {"test_score", "val_score", "val_loss"} <= set(header)


def test_a_folder_may_be_one_run_or_have_none() -> None:
    assert table("runs/b")[1] == ["runs/b"]
    os.mkdir("other")
    assert run("runs", "other").stdout == "no runs in 'other'\n"
    assert run("runs", "--where", "lr>1").stdout == "no runs in 'runs' with these conditions; there are 3\n"
    assert json.loads(run("runs", "other", "--json").stdout) == {"runs": []}


def test_names_do_not_control_the_terminal() -> None:
    shutil.copytree("runs/a", "runs/\x1b[31mred\n")
    assert "\x1b" not in run("runs").stdout


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("nowhere", "FOLDER: there is no folder 'nowhere'"),
        ("--sort val_los", "--sort: unknown column 'val_los'; did you mean 'val_loss'?"),
        ("--columns lr,hiden", "--columns: unknown column 'hiden'; did you mean 'hidden'?"),
        ("--where lr", "'lr' is not a condition such as"),
        ("--where nosuch=1", "unknown column 'nosuch'"),
        ("--limit 0", "--limit"),
        ("--csv --json", "--csv and --json exclude each other"),
    ],
)
def test_wrong_usage_is_one_line(command: str, message: str) -> None:
    result = run("runs", *command.split(), status=2)
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1
    assert message in result.stderr
