"""``mlp train``: train a network and write a run folder."""

from __future__ import annotations

import dataclasses
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mlp._backends import UnknownNameError, resolve
from mlp.checks import counted
from mlp.cli import paths, ranks
from mlp.cli.config_file import FINGERPRINT, config_option, is_set, label, leave_out, on_command_line
from mlp.cli.options import (
    SectionedCommand,
    data_dir_option,
    device_options,
    json_option,
    names,
    one_or_list,
    option,
    reading_options,
    share,
    widths,
)
from mlp.cli.printing import print_json, print_line, print_message, print_wrapped
from mlp.cli.reading_in_blocks import can_be_read_in_blocks, stream_option
from mlp.cli.training_data import DATA_OPTIONS, load_for_training, shows_progress, training_rows
from mlp.cli.training_options import (
    CLASS_WEIGHTS,
    activation_option,
    batch_size_option,
    class_weight_option,
    column_options,
    dtype_option,
    epochs_option,
    loss_option,
    optimizer_option,
    optimizer_settings,
    precision_option,
    regularization_options,
    shard_options,
    total_epochs,
)
from mlp.cli.usage import CONFIG_FILE
from mlp.initializers import INITIALIZERS, TABLE_INIT
from mlp.optimizers import OPTIMIZERS, Optimizer
from mlp.schedules import SCHEDULES, Schedule

if TYPE_CHECKING:
    from mlp.data import Dataset, StreamedDataset
    from mlp.model import MLP

INTERRUPTED, TERMINATED = 130, 143
"""Exit statuses after Ctrl-C and after SIGTERM: 128 and the number of the signal, as of all programs."""

VALIDATION, VALIDATED_ROWS = 0.15, 100
"""Fraction of the training rows of a table for validation, from so many rows on."""

_RESUME_OPTIONS = {
    "resume", "epochs", "output_dir", "data_dir", "backend", "device", "checkpoint_every", "allow_different_machine",
    "as_json", "quiet", "timeout",
}  # fmt: skip


_NETWORK_OPTIONS = ("input_dropout", "l2", "l1", "seed", "dtype", "precision", "backend", "device")


@click.command(cls=SectionedCommand, short_help="Train a network and write a run folder.")
@click.argument("data", required=False)
@config_option
@data_dir_option
@option(
    "Data",
    "--target",
    metavar="COLUMN",
    help="The target column: its name in a table, or its number in an NPY file.  Several columns of numbers: a,b.",
)
@option("Data", "--task", metavar="TASK", help="classification or regression.  Default: depends on the targets.")
@column_options
@reading_options
@option(
    "Data",
    "--scale",
    metavar="NAME",
    help="none, standard, minmax or robust.  Default: standard for tables, otherwise none.",
)
@option(
    "Data",
    "--test-fraction",
    type=share,
    default=0.2,
    show_default=True,
    metavar="FRACTION",
    help="Fraction of the rows for the test part, if DATA has no test part.",
)
@option(
    "Data",
    "--validation",
    type=share,
    metavar="FRACTION",
    help=f"Fraction of the training rows for validation; 0 for none.  Default: {VALIDATION:g} for tables of at least "
    f"{VALIDATED_ROWS} training rows, none for other data.  Of tables, the weights of the best epoch are kept.",
)
@stream_option
@option(
    "Network",
    "--hidden",
    type=widths,
    metavar="WIDTHS",
    help="Widths of the hidden layers, such as 128,64, or none.  Default: one layer, as wide as the input, but at "
    "least 32, for tables 100, and at most 128.",
)
@activation_option
@option("Network", "--output-activation", default="auto", metavar="NAME", help="Default: depends on the loss.")
@loss_option
@option(
    "Network",
    "--init",
    type=names,
    default="auto",
    metavar="NAME",
    help=f"Initial weights: {', '.join(INITIALIZERS)}.  Default: {TABLE_INIT} for tables, elsewhere it depends on "
    "the activation.",
)
@dtype_option
@precision_option
@epochs_option
@batch_size_option
@class_weight_option
@optimizer_option
@option("Training", "--lr", type=float, metavar="RATE", help="Learning rate.  Default: depends on the optimizer.")
@option("Training", "--momentum", type=float, metavar="M", help="Momentum of sgd; 0.9 is usual.")
@option("Training", "--nesterov", is_flag=True, help="Use Nesterov momentum.")
@option(
    "Training",
    "--schedule",
    default="constant",
    show_default=True,
    metavar="NAME",
    help=f"{', '.join(SCHEDULES)}; with settings: step:every=5,factor=0.5.",
)
@option("Training", "--warmup", type=float, metavar="EPOCHS", help="Warmup of the cosine schedule.")
@option(
    "Training",
    "--early-stopping",
    type=click.IntRange(1),
    metavar="EPOCHS",
    help="Stop after this many epochs without a lower validation loss, and keep the best weights.",
)
@option(
    "Training",
    "--seed",
    type=int,
    default=0,
    show_default=True,
    metavar="N",
    help="Seed of the split, the initial weights, the row order and dropout.",
)
@regularization_options
@device_options
@shard_options
@option("Output", "--output-dir", metavar="DIR", help="The run folder, new or empty.  Default: runs/NAME-1, -2, ...")
@option(
    "Output",
    "--checkpoint-every",
    metavar="INTERVAL",
    help="Time between two checkpoints, within epochs too: 30s, 5min, 500steps.  Default: after epochs, every 10 s.",
)
@option("Output", "--resume", metavar="RUN", help="Continue a run, in a new folder; --epochs is the total number.")
@option(
    "Output",
    "--allow-different-machine",
    is_flag=True,
    help="With --resume: allow another type of processor or other versions; the last digits may then differ.",
)
@json_option
@option("Output", "--quiet", is_flag=True, help="Print only the run folder.")
@click.pass_context
def train(ctx: click.Context, /, data: str | None, **options: Any) -> None:
    """Train a network on DATA.

    DATA is digits (1797 images from scikit-learn), mnist (see --data-dir), a toy set (xor, moons, circles, spirals,
    sine), or a file: .csv .tsv .parquet .npy .npz; .csv.gz and .csv.zst too.  - is a table on the standard input, in
    CSV format.

    A table may be as it comes.  Columns that are empty, constant or nearly unique text are left out; blanks and marks
    such as NA or ? are missing values; dates become numbers.  What was done is printed.

    The run folder contains the model, the metrics of each epoch, the configuration, and the training state, from which
    --resume continues exactly where the training stopped.  The test part is scored once, at the end, and used for
    nothing else.  Regression targets are standardised for training and predictions are scaled back; losses are those of
    the standardised targets.
    Ctrl-C ends training after the current batch, saves the model, prints the results, and exits with 130; a second
    Ctrl-C exits immediately.  SIGTERM does the same, and exits with 143.

    \b
    mlp train digits
    mlp train mnist --data-dir mnist --hidden 512,512 --dropout 0.2 --validation 0.1
    mlp train houses.csv --target price --drop agent --early-stopping 20 --validation 0.2
    mlp train mnist --hidden 30 --activation sigmoid --output-activation sigmoid \\
        --loss quadratic --init normal --optimizer sgd --lr 3 --batch-size 10
    mlp train --resume runs/digits-1 --epochs 200
    mlp train --config run.toml --epochs 50
    mpiexec -n 4 mlp train mnist --batch-size 1024 --shards 8
    """
    _drop_settings_of_file(ctx, data, options)
    _check_usage(ctx, data, options)
    started = time.perf_counter()

    from mlp import runs
    from mlp.cli.training_output import Reporter
    from mlp.distributed import check_shards
    from mlp.io.json_documents import write_json

    if options["output_dir"] is not None:
        paths.require_new_folder(options["output_dir"], label(ctx, "output_dir"))
    else:
        paths.require_folder_for_runs("runs", "--output-dir")
    paths.require_data(data, options["data_dir"], label(ctx, "data"), parts=True)
    if options["resume"] is not None:
        paths.require_run(options["resume"], label(ctx, "resume"))
        net, dataset, config = _resume_run(ctx, options)
    else:
        assert data is not None
        net, dataset, config = new_run(data, options)
        _warn_of_other_data(ctx, config)
    shards = config["training"].get("shards", 1)
    comm = ranks.communicator(options["timeout"])
    check_shards(shards, comm)
    if comm.size > 1 and data == "-":
        raise click.UsageError(
            "only rank 0 has a standard input: save the table to a file, which all ranks can read.", ctx
        )
    reporter = Reporter(dataset, config, live=not sys.stderr.isatty(), silent=options["quiet"] or options["as_json"])
    recorder = runs.Recorder(
        config,
        options["output_dir"],
        every=options["checkpoint_every"],
        allow_different_machine=options["allow_different_machine"] or _has_moved(net),
    )
    runs.train(
        net,
        dataset,
        recorder,
        callbacks=[reporter],
        progress=not options["quiet"],
        resume=options["resume"] is not None,
        comm=comm,
    )
    history = net.history
    assert history is not None
    status = (TERMINATED if history.terminated else INTERRUPTED) if history.interrupted else 0
    if comm.rank > 0:
        ranks.wait_for_rank_0(comm)
        ctx.exit(status)
    results = reporter.results(net, recorder.folder, time.perf_counter() - started)
    write_json(recorder.folder / runs.RESULTS, results)
    if options["as_json"]:
        print_json(results)
    elif options["quiet"]:
        print_line(str(recorder.folder))
    else:
        reporter.finish(results)
    if results["interrupted"]:
        print_message(f"interrupted; continue with: mlp train --resume {recorder.folder}")
        ctx.exit(status)


def _drop_settings_of_file(ctx: click.Context, data: str | None, options: dict[str, Any]) -> None:
    """Leave out what the file of ``--config`` says but what does not apply to the options on the command line."""
    if data is not None and on_command_line(ctx, "data"):
        leave_out(ctx, options, "data_dir", "DATA is on the command line")
        if not can_be_read_in_blocks(data):
            leave_out(ctx, options, "stream", "it does not apply to DATA on the command line")
    for one, other in (("backend", "device"), ("device", "backend")):
        if on_command_line(ctx, one):
            leave_out(ctx, options, other, f"--{one} is on the command line")
    if on_command_line(ctx, "optimizer") and options["optimizer"] in OPTIMIZERS:
        known = {field.name for field in dataclasses.fields(OPTIMIZERS[options["optimizer"]])}
        for name in ("momentum", "nesterov"):
            if name not in known:
                leave_out(ctx, options, name, f"it does not apply to --optimizer {options['optimizer']}")
    if on_command_line(ctx, "schedule") and not options["schedule"].startswith("cosine"):
        leave_out(ctx, options, "warmup", f"it does not apply to --schedule {options['schedule']}")
    if on_command_line(ctx, "validation") and options["validation"] == 0:
        leave_out(ctx, options, "early_stopping", "there is no validation part")


def _has_moved(net: MLP) -> bool:
    """Whether a network is to continue its training on another backend or device, which only an option can ask for."""
    conditions = net.training_state.conditions if net.training_state else {}
    present = {"backend": net.backend, "device": net.xp.device}
    return any(conditions.get(key, value) != value for key, value in present.items())


def _warn_of_other_data(ctx: click.Context, config: dict[str, Any]) -> None:
    """Warn if the data are not those of the run in ``--config``, although the command line asks for no others."""
    recorded = ctx.meta.get(FINGERPRINT)
    if recorded and recorded != config["data_sha256"] and not on_command_line(ctx, "data", *DATA_OPTIONS):
        print_message("warning: the data have changed since the run of --config was trained; the weights will differ")


def _check_usage(ctx: click.Context, data: str | None, options: dict[str, Any]) -> None:
    explicit = {name for name in options if is_set(ctx, name)}
    flags = {parameter.name: parameter.opts[0] for parameter in ctx.command.params}
    if options["resume"] is not None:
        for name in sorted(explicit - _RESUME_OPTIONS):
            place = "" if on_command_line(ctx, name) else f" from {ctx.meta[CONFIG_FILE]}"
            raise click.UsageError(
                f"--resume takes {flags[name]} from the run that it continues; remove it{place}.", ctx
            )
        if data is not None:
            raise click.UsageError(f"--resume takes the data from the run that it continues; remove {data!r}.", ctx)
    elif options["allow_different_machine"]:
        raise click.UsageError("--allow-different-machine applies to --resume only; remove it.", ctx)
    elif data is None:
        raise click.UsageError("DATA is missing: give a data set such as digits, or a file; see mlp train --help.", ctx)
    elif options["early_stopping"] and not options["validation"]:
        from mlp.data.table_files import table_suffix

        if options["validation"] == 0 or not table_suffix(data):
            raise click.UsageError("--early-stopping needs a validation loss: add --validation 0.1.", ctx)


def _resume_run(ctx: click.Context, options: dict[str, Any]) -> tuple[MLP, Dataset | StreamedDataset, dict[str, Any]]:
    from mlp import runs
    from mlp.schedules import Cosine, CosLog4
    from mlp.training import require_resumable

    in_blocks = runs.read_config(options["resume"])["data"].get("stream")
    if in_blocks and not (options["quiet"] or options["as_json"]):
        print_wrapped("reading", "in blocks, as the run that is continued")
    net, dataset, config = runs.resume(
        options["resume"],
        epochs=options["epochs"],
        data_dir=options["data_dir"],
        backend=options["backend"] if is_set(ctx, "backend") else None,
        device=options["device"],
        progress=shows_progress(options),
    )
    if (Path(options["resume"]) / runs.RESULTS).exists():  # otherwise the results of a run that was killed are left
        require_resumable(net.training_state, config["training"]["epochs"])
    schedule = net.training_state.optimizer.schedule if net.training_state else None
    if isinstance(schedule, Cosine | CosLog4) and config["training"]["epochs"] > schedule.epochs:
        print_message(
            f"warning: the schedule {type(schedule).__name__} was made for {schedule.epochs:g} epochs; after them the "
            f"learning rate stays at {getattr(schedule, 'floor', 0.0):g}"
        )
    return net, dataset, config


def new_run(source: str, options: dict[str, Any]) -> tuple[MLP, Dataset | StreamedDataset, dict[str, Any]]:
    """The network that is not yet trained, its data, and the configuration, for the options of ``mlp train``."""
    from mlp import runs
    from mlp.dataset_networks import network_for

    resolve(options["backend"], options["device"])  # fails before the data are read
    dataset, arguments = load_for_training(source, options)
    classes, n_rows = dataset.classes, training_rows(dataset)
    net = network_for(
        dataset,
        options["hidden"],
        loss=options["loss"],
        output_activation=options["output_activation"],
        activation=one_or_list(options["activation"]),
        dropout=one_or_list(options["dropout"]),
        init=one_or_list(options["init"]),
        **{name: options[name] for name in _NETWORK_OPTIONS},
    )
    class_weight = options["class_weight"]
    if class_weight is not None:
        if class_weight not in CLASS_WEIGHTS:
            raise UnknownNameError.among("class weight", class_weight, CLASS_WEIGHTS)
        if classes is None:
            raise click.UsageError("--class-weight applies to classes, but the targets are numbers; remove it.")
    fraction = options["validation"]
    if fraction is None and dataset.preprocessing is not None and n_rows >= VALIDATED_ROWS:
        fraction = VALIDATION
    patience = options["early_stopping"]
    if patience and not fraction:
        raise click.UsageError(
            f"--early-stopping needs a validation loss, and {source!r} has only {counted(n_rows, 'row')} for "
            "training: add --validation 0.1."
        )
    epochs = total_epochs(n_rows - round(n_rows * (fraction or 0)), options)
    if patience is None and fraction and dataset.preprocessing is not None:
        patience = epochs  # all epochs, and then the weights of the best one
    training: dict[str, Any] = {
        "epochs": epochs,
        "batch_size": options["batch_size"],
        "validation_fraction": fraction or None,
        "early_stopping": {"patience": patience} if patience else None,
    } | ({"class_weight": class_weight} if class_weight else {})
    if options["shards"] not in (None, 1):
        training["shards"] = options["shards"]
    training["optimizer"] = _optimizer(options, training["epochs"]).to_dict()
    return net, dataset, runs.configuration(dataset, arguments, training)


def _optimizer(options: dict[str, Any], epochs: int) -> Optimizer:
    optimizer_class, settings = optimizer_settings(options)
    rate = settings["learning_rate"] if options["lr"] is None else options["lr"]
    schedule = _schedule(options["schedule"], rate, options["warmup"], epochs)
    return optimizer_class(**settings | {"learning_rate": schedule})


def _schedule(text: str, rate: float, warmup: float | None, epochs: int) -> float | Schedule:
    """Parse a schedule, ``NAME`` or ``NAME:KEY=VALUE,KEY=VALUE``; return a constant one as a number."""
    name, _, rest = text.partition(":")
    if name not in SCHEDULES:
        raise UnknownNameError.among("schedule", name, SCHEDULES)
    not_settings = ("learning_rate", "current", "best", "waited")  # the argument `rate`, and state
    known = [entry.name for entry in dataclasses.fields(SCHEDULES[name]) if entry.name not in not_settings]
    settings: dict[str, Any] = {"epochs": epochs} if "epochs" in known else {}
    for part in filter(None, rest.split(",")):
        key, _, value = part.partition("=")
        if key.strip() not in known:
            raise UnknownNameError.among(f"setting of the {name} schedule", key.strip(), known or ["none"])
        try:
            settings[key.strip()] = int(value) if value.strip().isdecimal() else float(value)
        except ValueError:
            raise click.UsageError(f"--schedule: {part!r} is not of the form KEY=NUMBER.") from None
    if warmup is not None:
        if "warmup" not in known:
            raise click.UsageError(f"--warmup needs --schedule cosine; it does not apply to {name}.")
        settings["warmup"] = warmup
    return rate if name == "constant" else SCHEDULES[name](rate, **settings)
