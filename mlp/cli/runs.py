"""``mlp runs``: compare the runs in a folder."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mlp._backends import UnknownNameError
from mlp.checks import shortened
from mlp.cli.options import SectionedCommand, column_names, json_option, option
from mlp.cli.printing import print_json, print_line, print_wrapped
from mlp.cli.tables import print_rich_table

if TYPE_CHECKING:
    from mlp.io.run_list import RunSummary

RESULTS = ("epochs", "best_epoch", "train_loss", "val_loss", "val_score", "test_loss", "test_score", "seconds")
"""Results that come first where all are listed."""

_SHOWN = ("epochs", "val_loss", "val_score", "test_loss", "test_score", "seconds")
"""Results that are in the table; ``--columns`` can name the others."""

MAX_NAMED = 8
"""Most columns that are named if they do not fit."""

_RISING = ("score", "accuracy", "f1", "roc_auc", "precision", "r2")
"""Parts of the names of results of which larger ones are better."""

_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "=": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}

Row = dict[str, Any]


def condition(text: str) -> tuple[str, str, Any]:
    """Parse a condition such as ``lr<0.01`` or ``data=digits``."""
    found = re.fullmatch(r"\s*(\w+)\s*(!=|<=|>=|=|<|>)\s*(.*?)\s*", text)
    if found is None:
        raise click.BadParameter(f"{text!r} is not a condition such as lr<0.01, data=digits or state!=finished.")
    return found[1], found[2], _number_or_text(found[3])


@click.command(cls=SectionedCommand, short_help="Compare runs.")
@click.argument("folder", default="runs")
@option("Rows", "--sort", metavar="COLUMN", help="The best first, for a result; else the smallest.  Default: by date.")
@option("Rows", "--reverse", is_flag=True, help="In the opposite order.")
@option(
    "Rows",
    "--where",
    type=condition,
    multiple=True,
    metavar="CONDITION",
    help="Only runs with lr<0.01, data=digits, state!=finished, ...; can be given several times.",
)
@option("Rows", "--limit", type=click.IntRange(1), metavar="N", help="Only the first N runs.")
@option(
    "Columns",
    "--columns",
    type=column_names,
    metavar="NAMES",
    help="Settings and results to show: lr,hidden,val_loss.  Default: the settings that differ, and the main results.",
)
@option("Output", "--csv", "as_csv", is_flag=True, help="Print all columns in CSV format.")
@json_option
def runs(
    folder: str,
    sort: str | None,
    reverse: bool,
    where: Sequence[tuple[str, str, Any]],
    limit: int | None,
    columns: list[str] | None,
    as_csv: bool,
    as_json: bool,
) -> None:
    """Print a table of the runs in FOLDER (default: runs), with the settings in which they differ, and the results.

    val_loss and val_score are those of the epoch with the lowest validation loss, test_loss and test_score those of the
    test part.  The test part is for the end: choose between runs by val_loss.

    Runs that are in training or were killed are unfinished.  Runs whose files cannot be read are damaged; the reason is
    below the table.  Columns that do not fit into the terminal are left out, and named below.

    \b
    mlp runs
    mlp runs --sort val_loss --limit 5
    mlp runs --where data=digits --where "val_score>0.9" --columns hidden,lr,val_score,test_roc_auc
    mlp runs experiments --csv > runs.csv
    """
    if as_csv and as_json:
        raise click.UsageError("--csv and --json exclude each other; remove one of them.")
    if not Path(folder).is_dir():
        raise click.UsageError(f"FOLDER: there is no folder {folder!r}; mlp train makes runs, or name another folder.")
    from mlp.io.run_list import list_runs

    found = list_runs(folder)
    rows = {id(one): _row(one) for one in found}
    known = ["run", "date", "state", "data", *_settings(found), *_results(found)]
    for name in (*([sort] if sort else []), *(columns or []), *(key for key, _, _ in where)):
        if name not in known and found:
            raise UnknownNameError.among("column", name, known)
    chosen = [one for one in found if all(_holds(rows[id(one)], *one_condition) for one_condition in where)]
    if sort is not None:
        chosen = _sorted(chosen, rows, sort)
    chosen = chosen[::-1] if reverse else chosen
    chosen = chosen[:limit]
    if as_json:
        print_json({"runs": [asdict(one) for one in chosen]})
    elif as_csv:
        _print_csv([rows[id(one)] for one in chosen], ["run", *columns] if columns else known)
    elif not chosen:
        print_line(f"no runs in {folder!r}" + (f" with these conditions; there are {len(found)}" if found else ""))
    else:
        _print_table(folder, chosen, [rows[id(one)] for one in chosen], columns)


def _row(run: RunSummary) -> Row:
    settings = dict(run.settings)
    source = settings.pop("data", None)
    data = None if source is None else Path(source).name or source
    return {"run": run.run, "date": run.created, "state": run.state, "data": data} | settings | run.metrics | (
        {"planned_epochs": settings["epochs"]} if "epochs" in settings else {}
    )  # fmt: skip


def _settings(runs: Sequence[RunSummary]) -> list[str]:
    """The names of all settings; the number of epochs done is a result, and that of the setting has its own name."""
    names = dict.fromkeys(name for run in runs for name in run.settings)
    return [{"epochs": "planned_epochs"}.get(name, name) for name in names if name != "data"]


def _results(runs: Sequence[RunSummary]) -> list[str]:
    names = dict.fromkeys(name for run in runs for name in run.metrics)
    return sorted(names, key=lambda name: (RESULTS.index(name) if name in RESULTS else len(RESULTS), name))


def _number_or_text(text: str) -> Any:
    try:
        return float(text)
    except ValueError:
        return text


def _as_text(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def _holds(row: Row, name: str, comparison: str, expected: Any) -> bool:
    """Whether a condition holds; a run that lacks the value fulfils none but ``!=``."""
    value = row.get(name)
    if value is None:
        return comparison == "!="
    if isinstance(expected, float) and isinstance(value, int | float):
        return _COMPARISONS[comparison](float(value), expected)
    text = str(value).lower() if isinstance(value, bool) else _as_text(value)
    wanted = f"{expected:g}" if isinstance(expected, float) else str(expected)
    return _COMPARISONS[comparison](text, wanted)


def _sorted(chosen: list[RunSummary], rows: dict[int, Row], name: str) -> list[RunSummary]:
    falling = any(part in name for part in _RISING) and "loss" not in name
    having = [run for run in chosen if rows[id(run)].get(name) is not None]
    lacking = [run for run in chosen if rows[id(run)].get(name) is None]

    def key(run: RunSummary) -> tuple[bool, float, str]:
        value = rows[id(run)][name]
        is_number = isinstance(value, int | float)
        return not is_number, (-value if falling else value) if is_number else 0.0, _as_text(value)

    return sorted(having, key=key) + lacking


# -- output ----------------------------------------------------------------------------------------------


def _print_csv(rows: list[Row], columns: Sequence[str]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        cells = (row.get(name) for name in columns)
        writer.writerow(["" if cell is None else _as_text(cell) for cell in cells])
    print_line(text.getvalue().rstrip("\n"))


def _print_table(folder: str, runs: list[RunSummary], rows: list[Row], columns: list[str] | None) -> None:
    if columns is None:
        configured = [row for run, row in zip(runs, rows, strict=True) if run.settings]
        differing = [
            name
            for name in _settings(runs)
            if name != "planned_epochs" and len({json.dumps(row.get(name)) for row in configured}) > 1
        ]
        results = [name for name in _SHOWN if any(name in row for row in rows)]
        states = ["state"] if any(row["state"] != "finished" for row in rows) else []
        shown = ["date", *states, "data", *differing, *results]
        importance = [*states, "test_score", "val_score", "val_loss", *differing, *results, "data", "date"]
    else:
        shown = importance = columns
    shown = list(dict.fromkeys(name for name in shown if name != "run"))
    header = ["run", *shown]
    base = f"{Path(folder)}/"
    table = [
        [shortened(row["run"].removeprefix(base), 60), *(_cell(name, row, run) for name in shown)]
        for run, row in zip(runs, rows, strict=True)
    ]
    importance = [name for name in ("run", *importance) if name in header]
    hidden = print_rich_table(header, table, left=("date", "data", "state"), importance=importance)
    problems = [run for run in runs if run.problem]
    if hidden or problems:
        print_line()
    if hidden:
        more = f" and {len(hidden) - MAX_NAMED} more" if len(hidden) > MAX_NAMED else ""
        print_wrapped("not shown", f"{', '.join(hidden[:MAX_NAMED])}{more}; see --columns, or widen the terminal")
    for run in problems:
        print_wrapped("damaged", shortened(f"{run.run}: {run.problem}", 300))


def _cell(name: str, row: Row, run: RunSummary) -> str:
    value = row.get(name)
    if value is None:
        return ""
    if name == "date":
        return _local_time(value)
    if name == "seconds":
        return f"{value:.1f} s"
    if name in ("val_score", "test_score", "test_accuracy", "test_balanced_accuracy"):
        return f"{value:.2%}" if run.task == "classification" else f"R² {value:.4f}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    return shortened(_as_text(value), 40)


def _local_time(text: str) -> str:
    try:
        return datetime.fromisoformat(text).astimezone().strftime("%Y-%m-%d %H:%M")
    except ValueError:
        return shortened(text, 20)
