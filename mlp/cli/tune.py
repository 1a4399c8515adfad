"""``mlp tune``: search for good settings, and write them as a file for ``mlp train --config``."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mlp._backends import DataError, UnknownNameError, resolve
from mlp.checks import counted
from mlp.cli import paths
from mlp.cli.data_description import describe_task, print_notes
from mlp.cli.options import (
    SectionedCommand,
    device_options,
    json_option,
    option,
    options_of,
    seconds,
    share,
)
from mlp.cli.printing import print_field, print_json, print_line, print_message, print_wrapped
from mlp.cli.tables import print_rich_table
from mlp.cli.train import INTERRUPTED, train
from mlp.cli.training_data import DATA_OPTIONS, in_memory, load_for_training
from mlp.cli.training_options import CLASS_WEIGHTS, class_weight_option

if TYPE_CHECKING:
    from mlp.tuning import Trial, Tuning

FOLDER = "studies"
"""The folder of files of trials whose names are not given."""

SHOWN_TRIALS = 10


@click.command(cls=SectionedCommand, short_help="Search for good settings of a network.")
@click.argument("data")
@options_of(train, *DATA_OPTIONS)
@option(
    "Search",
    "--trials",
    type=click.IntRange(1),
    default=50,
    show_default=True,
    metavar="N",
    help="Number of trainings, with those in --storage.",
)
@option("Search", "--timeout", type=seconds, metavar="TIME", help="Begin no further trial after 90s, 10min or 2h.")
@option(
    "Search",
    "--storage",
    metavar="FILE",
    help="SQLite file for the trials.  An existing one is continued.  Default: studies/NAME-1.db, -2, ...",
)
@option(
    "Search",
    "--validation",
    type=share,
    default=0.2,
    show_default=True,
    metavar="FRACTION",
    help="Fraction of the training rows on which the trials are compared.",
)
@option(
    "Training",
    "--epochs",
    type=click.IntRange(1),
    metavar="N",
    help="Of each trial, at most.  Default: 10, or as many as are needed for 3000 updates of 32 rows.",
)
@class_weight_option
@device_options
@option("Output", "--output", metavar="FILE", help="TOML file for the best settings.  Default: beside --storage.")
@json_option
@option("Output", "--quiet", is_flag=True, help="Print only the name of the TOML file.")
@click.pass_context
def tune(ctx: click.Context, /, data: str, **options: Any) -> None:
    """Search for good settings of a network for DATA.

    Many networks are trained, and compared by their loss on a part of the training rows.  The optimizer, learning rate,
    weight decay, depth, widths, activation, dropout, batch size and schedule vary.  The first trial has the defaults of
    mlp train, ten are drawn at random, and the others where the results so far promise most (Optuna's TPE).  A trial
    that is worse than the median of the earlier ones is stopped.  The test part is not used.

    DATA is as in mlp train; if it is read in blocks, the trials have a sample of about 32 MiB.  The best settings are
    written as a file for mlp train --config, which trains the network of the best trial again, and scores it on the
    test part.

    Each trial is recorded in a file when it ends.  Ctrl-C ends the search; the same command with --storage continues
    it.  With the same --seed the trials are the same, whether or not the search was interrupted.

    \b
    mlp tune digits --trials 30
    mlp tune houses.csv --target price --timeout 10min --storage houses.db
    mlp train --config houses.toml
    """
    from mlp.tuning.study import require_optuna

    require_optuna()
    resolve(options["backend"], options["device"])
    paths.require_data(data, options["data_dir"], parts=True)
    if options["class_weight"] not in (None, *CLASS_WEIGHTS):
        raise UnknownNameError.among("class weight", options["class_weight"], CLASS_WEIGHTS)
    for name in ("storage", "output"):
        paths.require_output(options[name], f"--{name}")
    if options["validation"] == 0:
        raise click.UsageError("--validation must be above 0: the trials are compared on these rows.")
    if options["storage"] is None:
        paths.require_folder_for_runs(FOLDER, "--storage")

    from mlp import tuning

    opened, arguments = load_for_training(data, options)
    dataset, sample = in_memory(opened, options["seed"])
    if options["class_weight"] and dataset.classes is None:
        raise click.UsageError("--class-weight applies to classes, but the targets are numbers; remove it.")
    storage = _new_storage(data) if options["storage"] is None else Path(options["storage"])
    output = storage.with_suffix(".toml") if options["output"] is None else Path(options["output"])
    paths.require_output(output)
    silent = options["quiet"] or options["as_json"]
    if not silent:
        print_wrapped(
            "data",
            f"{dataset.name}: {len(dataset.X)} training rows ({options['validation']:.0%} to compare the trials)",
        )
        if sample:
            print_wrapped("sample", sample)
        print_wrapped("task", describe_task(dataset))
        print_notes(dataset.notes, "results.json of a run")
        print_field("trials", f"{options['trials']}, in {storage}")
    result = tuning.tune(
        dataset,
        trials=options["trials"],
        timeout=options["timeout"],
        storage=storage,
        seed=options["seed"],
        epochs=options["epochs"],
        validation_fraction=options["validation"],
        class_weight=options["class_weight"],
        backend=options["backend"],
        device=options["device"],
        progress=not silent,
    )
    settings = _data_settings(arguments) | _device_settings(options)
    if result.ranking:
        from mlp.io.atomic_write import write_atomically

        write_atomically(output, result.to_toml(**settings).encode())
    if options["as_json"]:
        print_json(_document(result, settings, storage, output))
    elif options["quiet"] and result.ranking:
        print_line(str(output))
    elif not options["quiet"]:
        _print_result(result, settings, output, "R^2" if dataset.classes is None else "accuracy")
    if result.interrupted:
        words = ["mlp", "tune", data, *_typed(ctx, options), "--storage", str(storage)]
        print_message(f"interrupted; continue with: {shlex.join(words)}")
        ctx.exit(INTERRUPTED)
    if not result.ranking:
        raise DataError("no trial is finished; give more --trials or a longer --timeout, and check the data")


def _new_storage(data: str) -> Path:
    """The first free one of ``studies/NAME-1.db``, ``studies/NAME-2.db``, ..."""
    from mlp.data.table_files import table_stem
    from mlp.io.atomic_write import make_folder

    make_folder(FOLDER)
    name, number = table_stem(data) or "study", 1
    while any(Path(FOLDER, f"{name}-{number}{suffix}").exists() for suffix in (".db", ".toml")):
        number += 1
    return Path(FOLDER, f"{name}-{number}.db")


def _data_settings(arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments of `mlp.data.load` as settings of ``mlp train``; the seed is one of all trials."""
    settings = {"data": arguments["source"]} | {key: arguments[key] for key in arguments if key != "source"}
    return {key: value for key, value in settings.items() if value is not None and key != "seed"}


def _device_settings(options: dict[str, Any]) -> dict[str, str]:
    return {name: options[name] for name in ("backend", "device") if options[name] != "auto"}


def _typed(ctx: click.Context, options: dict[str, Any]) -> list[str]:
    """The options on the command line but for ``--storage``, to type them again."""
    words = []
    for parameter in ctx.command.params:
        source = ctx.get_parameter_source(str(parameter.name))
        if isinstance(parameter, click.Option) and source is click.core.ParameterSource.COMMANDLINE:
            value = options[str(parameter.name)]
            if parameter.is_flag:
                words.append(parameter.opts[0])
            elif parameter.name == "timeout":
                words += [parameter.opts[0], f"{value:g}s"]
            elif parameter.name != "storage":
                words += [parameter.opts[0], ",".join(map(str, value)) if isinstance(value, list) else str(value)]
    return words


def _document(result: Tuning, settings: dict[str, Any], storage: Path, output: Path) -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "storage": str(storage),
        "output": str(output) if result.ranking else None,
        "interrupted": result.interrupted,
        "best": asdict(result.best) if result.ranking else None,
        "settings": settings | result.best_settings if result.ranking else None,
        "trials": [asdict(trial) for trial in result.trials],
    }


def _print_result(result: Tuning, settings: dict[str, Any], output: Path, score: str) -> None:
    states = [trial.state for trial in result.trials]
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    print_field("done", f"{counted(len(states), 'trial')}: {counts}" if states else "no trial")
    if not result.ranking:
        return
    print_line()
    header = (
        "trial", "val_loss", score, "epoch", "time", "optimizer", "lr", "hidden", "batch", "activation", "dropout",
        "decay", "schedule",
    )  # fmt: skip
    print_rich_table(header, [_row(trial, score) for trial in result.ranking[:SHOWN_TRIALS]])
    print_line()
    print_line(result.to_toml(**settings).rstrip())
    print_line()
    print_field("written", str(output))
    print_field("train it", f"mlp train --config {shlex.quote(os.fspath(output))}")


def _row(trial: Trial, score: str) -> list[str]:
    chosen = trial.settings
    shown = "" if trial.val_score is None else f"{trial.val_score:{'.4f' if score == 'R^2' else '.2%'}}"
    return [
        str(trial.number), f"{trial.val_loss:.4g}", shown, str(trial.best_epoch), f"{trial.seconds or 0:.1f} s",
        chosen["optimizer"], f"{chosen['lr']:g}", ",".join(map(str, chosen["hidden"])), str(chosen["batch_size"]),
        chosen["activation"], f"{chosen['dropout']:g}", f"{chosen['weight_decay']:g}", chosen["schedule"],
    ]  # fmt: skip
