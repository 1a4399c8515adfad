"""The options of ``mlp train`` that also describe a training for ``mlp info --plan``."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import click

from mlp._backends import PRECISIONS, UnknownNameError, formulas
from mlp.cli.options import Function, column_names, names, numbers, option
from mlp.optimizers import OPTIMIZERS, Optimizer

_HIDDEN = [name for name, row in formulas.ACTIVATIONS.items() if row.role != "output"]

activation_option = option(
    "Network",
    "--activation",
    type=names,
    default="relu",
    show_default=True,
    metavar="NAME",
    help=f"Activation of the hidden layers: one, or one per layer (relu,tanh).  {', '.join(_HIDDEN)}.",
)
loss_option = option(
    "Network",
    "--loss",
    metavar="NAME",
    help=f"{', '.join(formulas.LOSSES)}.  Default: cross_entropy for classes, mse for regression.",
)
dtype_option = option(
    "Network", "--dtype", default="float32", show_default=True, metavar="NAME", help="float32 or float64."
)
precision_option = option(
    "Network",
    "--precision",
    default="float32",
    show_default=True,
    metavar="NAME",
    help=f"Precision of the matrix products in training: {', '.join(PRECISIONS)}.  All but float32 need a GPU; they "
    "are faster and less exact.",
)
epochs_option = option(
    "Training",
    "--epochs",
    type=click.IntRange(1),
    metavar="N",
    help="Default: 10, or as many as are needed for 3000 updates.",
)
batch_size_option = option(
    "Training", "--batch-size", type=click.IntRange(1), metavar="N", help="Default: 32, or all rows if there are fewer."
)
optimizer_option = option(
    "Training", "--optimizer", default="adam", show_default=True, metavar="NAME", help=f"{', '.join(OPTIMIZERS)}."
)

_REGULARIZATION = (
    option("Regularization", "--weight-decay", type=float, metavar="X", help="Decoupled weight decay, as in AdamW."),
    option("Regularization", "--l2", type=float, default=0.0, metavar="X", help="Adds X/2 * sum(w**2)."),
    option("Regularization", "--l1", type=float, default=0.0, metavar="X", help="Adds X * sum(|w|)."),
    option(
        "Regularization",
        "--dropout",
        type=numbers,
        default="0",
        metavar="P",
        help="Dropout of hidden units: one, or one per layer.",
    ),
    option("Regularization", "--input-dropout", type=float, default=0.0, metavar="P", help="Dropout of the inputs."),
    option("Regularization", "--clip-norm", type=float, metavar="X", help="Limit on the norm of the gradient."),
    option("Regularization", "--clip-value", type=float, metavar="X", help="Limit on each element of the gradient."),
)


_SHARDS = (
    option(
        "Several processes",
        "--shards",
        type=click.IntRange(1),
        metavar="N",
        help="Cut each batch in N shards, a power of two, which the ranks that mpiexec has started share: mpiexec -n 4 "
        "mlp train ... --shards 8.  The results depend on N in the last digits, but not on the number of ranks.",
    ),
    option(
        "Several processes",
        "--timeout",
        type=float,
        metavar="SECONDS",
        help="End the job if a rank has waited so long for another.  Default: 600.",
    ),
)

CLASS_WEIGHTS = ("balanced",)

class_weight_option = option(
    "Training",
    "--class-weight",
    metavar="NAME",
    help="balanced: rows of rare classes count more, so that all classes count the same.",
)
_COLUMNS = (
    option("Data", "--drop", type=column_names, metavar="COLUMNS", help="Columns of a table to leave out: id,name."),
    option("Data", "--columns", type=column_names, metavar="COLUMNS", help="The only columns of a table to use."),
    option(
        "Data", "--categorical", type=column_names, metavar="COLUMNS", help="Columns of a table to read as categories."
    ),
    option("Data", "--numeric", type=column_names, metavar="COLUMNS", help="Columns of a table to read as numbers."),
)
COLUMN_OPTIONS = ("drop", "columns", "categorical", "numeric")
"""The options that choose columns of a table, as arguments of `mlp.data.load`."""


def column_options(function: Function) -> Function:
    """Add the options that choose columns of a table."""
    for decorator in reversed(_COLUMNS):
        function = decorator(function)
    return function


def shard_options(function: Function) -> Function:
    """Add the options of trainings by several processes."""
    for decorator in reversed(_SHARDS):
        function = decorator(function)
    return function


def regularization_options(function: Function) -> Function:
    """Add penalties, weight decay, dropout and clipping."""
    for decorator in reversed(_REGULARIZATION):
        function = decorator(function)
    return function


def total_epochs(n: int, options: dict[str, Any]) -> int:
    """Number of epochs over `n` rows: that of ``--epochs``, or the default."""
    from mlp.training import default_epochs

    if options["epochs"]:
        return int(options["epochs"])
    return default_epochs(n, n if options["optimizer"] == "gd" else options["batch_size"] or 32)


def optimizer_settings(options: dict[str, Any]) -> tuple[type[Optimizer], dict[str, Any]]:
    """The class of ``--optimizer``, and those of its arguments that are given, with its default learning rate."""
    name = options["optimizer"]
    if name not in OPTIMIZERS:
        raise UnknownNameError.among("optimizer", name, OPTIMIZERS)
    known = {entry.name: entry.default for entry in fields(OPTIMIZERS[name])}
    settings = {
        key: options[key]
        for key in ("momentum", "nesterov", "weight_decay", "clip_norm", "clip_value")
        if options.get(key) is not None and options[key] is not False  # 0 is a value: AdamW has another default
    }
    for key in settings:
        if key not in known:
            raise click.UsageError(f"--{key} does not apply to --optimizer {name}; use it with sgd.")
    return OPTIMIZERS[name], {"learning_rate": known["learning_rate"]} | settings
