"""``mlp plot``: plots of a network, its training and its predictions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mlp._backends import UnknownNameError
from mlp.cli import paths
from mlp.cli.options import SectionedCommand, data_options, device_options, no_data_option, option
from mlp.cli.printing import print_message, print_shown_rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure

EXPERIMENT_KINDS = ("descent", "sine")
RUN_KINDS = ("curves", "layers")
MODEL_KINDS = ("weights", "network")
PREDICTION_KINDS = ("confusion", "mistakes", "predictions", "boundary")
KINDS = (*RUN_KINDS, *MODEL_KINDS, *PREDICTION_KINDS, *EXPERIMENT_KINDS)

ROW_KINDS = ("mistakes", "predictions")
"""Plots that consist of rows of the data."""

MAX_MISTAKES = 12
"""Most rows of the plot of mistakes."""

RECORDED_ROWS = 500
"""Number of training rows on which the layers are recorded."""


@click.command(cls=SectionedCommand, short_help="Plot a network, its training or its predictions.")
@click.argument("kind")
@click.argument("model", required=False)
@click.argument("data", required=False)
@data_options
@device_options
@option(
    "Output",
    "--output",
    "-o",
    metavar="FILE",
    help="A .png, .svg or .pdf file; an existing one is replaced.  Default: KIND.png.",
)
@no_data_option
@option("Output", "--shape", metavar="HxW", help="Image size in pixels, such as 24x32.  Default: square, if possible.")
def plot(kind: str, model: str | None, data: str | None, **options: Any) -> None:
    """Plot MODEL, a run folder or a .safetensors file.

    \b
    curves       loss and score over the epochs of a run
    layers       activations and gradients of each layer over a run
    weights      weights of the first layer
    network      the network with its weights
    confusion    the confusion matrix
    mistakes     the rows with the worst predictions
    predictions  predictions of a regression against the targets
    boundary     predictions over the plane of two inputs; for a run, at six epochs
    descent      gradient descent and SGD on a cost surface; without MODEL
    sine         ReLU networks of 1, 2, 8 and 64 neurons fitted to a sine; without MODEL

    The plots mistakes, predictions and boundary show rows of the data, and how many is printed.  With --no-data,
    boundary has no points, and weights no categories; mistakes and predictions are nothing but rows.

    DATA is as in mlp train, by default the data of the run.  For layers and boundary a run is trained again in memory;
    the same seed gives the same training.

    \b
    mlp plot weights runs/mnist-1 --output weights.png
    mlp plot mistakes runs/digits-1
    mlp plot confusion model.safetensors new.csv --target kind
    """
    if kind not in KINDS:
        raise UnknownNameError.among("plot", kind, KINDS)
    if model is not None and kind in EXPERIMENT_KINDS:
        raise click.UsageError(f"The plot {kind!r} takes no MODEL; remove {model!r}.")
    if data is not None and kind not in PREDICTION_KINDS:
        raise click.UsageError(f"The plot {kind!r} takes no DATA; remove {data!r}.")
    if options["no_data"] and kind in ROW_KINDS:
        raise click.UsageError(
            f"The plot {kind!r} consists of rows of the data; remove --no-data, or choose another plot."
        )
    path = f"{kind}.png" if options["output"] is None else options["output"]
    shape = _parse_shape(options["shape"])

    from mlp import plots
    from mlp.inspection.report.data_rows import names_without_values

    plots.check_path(path)
    paths.require_output(path)
    if model is not None:
        (paths.require_run if kind in RUN_KINDS else paths.require_model)(model, "MODEL")
    paths.require_data(data, options["data_dir"], parts=True)
    n_rows = 0
    if kind in EXPERIMENT_KINDS:
        figure = _plot_experiment(kind)
    elif model is None:
        raise click.UsageError(f"The plot {kind!r} needs a MODEL: a run folder or a .safetensors file.")
    elif kind in RUN_KINDS:
        figure = _plot_run(kind, model, options)
    elif kind in MODEL_KINDS:
        net = _load_net(model, options)
        names = names_without_values(net.preprocessing) if options["no_data"] else None
        figure = plots.network(net) if kind == "network" else plots.weights(net, shape=shape, names=names)
    else:
        figure, n_rows = _plot_predictions(kind, model, data, shape, options)
    plots.save(figure, path)
    print_message(f"written: {path}")
    print_shown_rows(path, n_rows)


def _parse_shape(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    height, _, width = text.lower().partition("x")
    if not (height.isdecimal() and width.isdecimal()):
        raise click.BadParameter(f"{text!r} is not of the form HEIGHTxWIDTH, such as 28x28.", param_hint="--shape")
    return int(height), int(width)


def _load_net(model: str, options: dict[str, Any]) -> Any:
    from mlp import persistence
    from mlp.io import run_folders

    return persistence.load(run_folders.model_path(model), backend=options["backend"], device=options["device"])


def _plot_run(kind: str, model: str, options: dict[str, Any]) -> Figure:
    from mlp import plots, runs
    from mlp.cli.training_data import first_rows

    if kind == "curves":
        loss = runs.read_config(model)["model"]["loss"]
        return plots.curves(runs.read_history(model), loss=loss, score=_load_net(model, options).score_name)
    dataset = runs.read_dataset(model, data_dir=options["data_dir"])
    recorder = plots.LayerRecorder(*first_rows(dataset, RECORDED_ROWS))
    runs.repeat(model, data_dir=options["data_dir"], callbacks=[recorder], progress=True)
    return plots.layers(recorder)


def _plot_predictions(
    kind: str, model: str, data: str | None, shape: tuple[int, int] | None, options: dict[str, Any]
) -> tuple[Figure, int]:
    """The plot, and how many rows of the data it shows."""
    from mlp import plots, runs
    from mlp.cli.streamed_rows import some_rows
    from mlp.inspection.class_predictions import ClassPredictions
    from mlp.inspection.plots.boundary import drawn_rows

    net, is_run = _load_net(model, options), Path(model).is_dir()
    if data is None:
        if not is_run:
            raise click.UsageError(f"The plot {kind!r} needs DATA, because MODEL is not a run folder.")
        data = runs.read_config(model)["data"]["source"]
    rows = some_rows(net, model, data, options)
    match kind:
        case "confusion":
            return plots.confusion(net, rows.X, rows.y), 0
        case "mistakes":
            figure = plots.mistakes(net, rows.X, rows.y, n=MAX_MISTAKES, shape=shape, numbers=rows.rows)
            return figure, len(ClassPredictions.of(net, rows.X, rows.y).worst(MAX_MISTAKES))
        case "predictions":
            return plots.predictions(net, rows.X, rows.y), len(rows.X)
        case _:
            nets, points = _nets_by_epoch(model) if is_run else net, not options["no_data"]
            figure = plots.boundary(nets, rows.X, rows.y, points=points)
            return figure, points * len(drawn_rows(net, len(rows.X)))


def _nets_by_epoch(run: str) -> dict[int, Any]:
    """Return the network of a run at several epochs."""
    from mlp import plots, runs

    if runs.read_config(run)["model"]["sizes"][0] != 2:
        return {0: _load_net(run, {"backend": "numpy", "device": "auto"})}  # `boundary` raises the error
    snapshots = plots.Snapshots(plots.spread_epochs(len(runs.read_history(run))))
    runs.repeat(run, callbacks=[snapshots], progress=True)
    return snapshots.nets


def _plot_experiment(kind: str) -> Figure:
    from mlp import classic, plots

    return plots.descent(classic.compare_descents()) if kind == "descent" else plots.sine(classic.sine_fits())
