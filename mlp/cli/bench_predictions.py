"""``mlp bench --predict``: measure the time of predictions of our backends and of other libraries."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import click

from mlp.cli.options import names
from mlp.cli.printing import print_json, print_line, print_message

if TYPE_CHECKING:
    from mlp.bench.inference import PredictionReport

NETS, ROWS, ROUNDS = "784-30-10,784-128-10,784-512-512-10", [1, 60_000], 7
QUICK_NETS, QUICK_ROUNDS = "784-30-10", 3

_TRAINING_ALONE = {
    "optimizer": ("sgd", "--optimizer"),
    "precision": ("float32", "--precision"),
    "first_use": (False, "--first-use"),
    "max_seconds": (None, "--max-seconds"),
    "plot": (None, "--plot"),
    "compare": (None, "--compare"),
}
"""Options of `mlp bench` that have no meaning here, with their defaults."""


def bench_predictions(
    options: dict[str, Any],
    numbers: Callable[[str, str], list[int]],
    threads: list[int] | list[None],
    progress: Callable[[int], AbstractContextManager[Callable[[str], object]]],
) -> None:
    """Measure, and show the results.

    Parameters
    ----------
    options : dict
        Those of `mlp bench`; the batch sizes are the numbers of rows of a call.
    numbers : callable (text, name)
        Reads a list of integers.
    threads : list of int or None
    progress : callable (total)
        Returns a context manager that shows a progress bar.
    """
    for key, (default, name) in _TRAINING_ALONE.items():
        if options[key] != default:
            raise click.UsageError(f"{name} is for the measurement of training; omit it with --predict.")
    from mlp.bench.inference import PredictionReport

    if options["source"] is not None:
        report = PredictionReport.load(options["source"])
    else:
        report = _measure(options, numbers, threads, progress)
    _show(report, options)


def _measure(
    options: dict[str, Any],
    numbers: Callable[[str, str], list[int]],
    threads: list[int] | list[None],
    progress: Callable[[int], AbstractContextManager[Callable[[str], object]]],
) -> PredictionReport:
    from mlp.bench.inference import PredictionCase, measure_predictions
    from mlp.bench.inference_peers import PREDICTION_PEERS, find_prediction_peers

    quick, peers, json_file = options["quick"], options["peers"], options["json_file"]
    rows = ROWS if options["batch_sizes"] is None else numbers(options["batch_sizes"], "--batch-sizes")
    default_nets = QUICK_NETS if quick else NETS
    cases = [
        PredictionCase(net, count, options["contents"], number)
        for net in names(default_nets if options["nets"] is None else options["nets"])
        for count in rows
        for number in threads
    ]
    rounds = options["rounds"] or (QUICK_ROUNDS if quick else ROUNDS)
    keywords = {"all": list(PREDICTION_PEERS), "none": []}
    found, missing = find_prediction_peers(
        names(options["backends"]) if options["backends"] is not None else None,
        keywords[peers] if peers in keywords else names(peers),
    )

    def save(report: PredictionReport) -> None:
        """Write the results after each case, in case the process is ended."""
        if json_file not in (None, "-"):
            report.save(json_file)

    with progress(len(cases) * len(found) * (1 + rounds)) as on_step:
        return measure_predictions(cases, found, missing, rounds=rounds, on_step=on_step, on_result=save)


def _show(report: PredictionReport, options: dict[str, Any]) -> None:
    from mlp.bench.inference_report import as_markdown, as_table, notes

    if options["json_file"] not in (None, "-"):
        report.save(options["json_file"])
        print_message(f"written: {options['json_file']}")
    if options["json_file"] == "-":
        print_json(report.to_dict())
    elif options["markdown"]:
        print_line(as_markdown(report))
    else:
        from rich.console import Console

        console = Console(highlight=False)
        if not console.is_terminal:
            console.width = 200  # avoid wrapped lines
        console.print(as_table(report))
        for line in notes(report):
            print_line(line)
