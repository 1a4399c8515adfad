"""``mlp plot``: pictures of a network, of its training and of its answers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mlp._backends import ConfigurationError, UnknownNameError
from mlp.cli.options import SectionedCommand, option, place_options, rows_options
from mlp.cli.output import complain, score_name

if TYPE_CHECKING:
    from matplotlib.figure import Figure

OF_EXPERIMENTS = ("descent", "sine")
OF_A_RUN = ("curves", "layers")
OF_A_NETWORK = ("weights", "network")
OF_ANSWERS = ("confusion", "mistakes", "predictions", "boundary")
KINDS = (*OF_A_RUN, *OF_A_NETWORK, *OF_ANSWERS, *OF_EXPERIMENTS)

WATCHED = 500
"""On so many of the training rows the layers are watched."""


@click.command(cls=SectionedCommand, short_help="Draw a network, its training or its answers.")
@click.argument("kind")
@click.argument("model", required=False)
@click.argument("data", required=False)
@rows_options
@place_options
@option("Output", "--output", "-o", metavar="FILE", help="A .png, .svg or .pdf file.  Default: KIND.png.")
@option("Output", "--shape", metavar="HxW", help="Pixels of an image, such as 24x32.  Default: square, where known.")
def plot(kind: str, model: str | None, data: str | None, **options: Any) -> None:
    """Draw a picture of MODEL, a run's folder or a .safetensors file.

    \b
    curves       loss and score over the epochs of a run
    layers       activations and gradients of each layer over a run
    weights      what the neurons of the first layer look for
    network      the network with its weights
    confusion    which classes are taken for which
    mistakes     the rows that are answered worst
    predictions  of a regression, beside the true numbers
    boundary     the answers all over the plane of two inputs; of a run, at six epochs
    descent      gradient descent and SGD on their way down a cost surface; no MODEL
    sine         ReLU networks of 1, 2, 8 and 64 neurons bent onto a sine; no MODEL

    DATA is as in mlp train, by default the run's own.  For layers and boundary a run is trained again, in memory:
    from the same seed it is the same training.

    \b
    mlp plot weights runs/mnist-1 --output weights.png
    mlp plot mistakes runs/digits-1
    mlp plot confusion model.safetensors new.csv --target kind
    """
    if kind not in KINDS:
        raise UnknownNameError.among("picture", kind, KINDS)
    if model is not None and kind in OF_EXPERIMENTS:
        raise click.UsageError(f"The picture {kind!r} is of an experiment of its own; leave {model!r} out.")
    if data is not None and kind not in OF_ANSWERS:
        raise click.UsageError(f"The picture {kind!r} is of MODEL alone; leave {data!r} out.")
    path, shape = options["output"] or f"{kind}.png", _shape(options["shape"])

    from mlp import plots

    plots.check_path(path)
    if kind in OF_EXPERIMENTS:
        figure = _of_an_experiment(kind)
    elif model is None:
        raise click.UsageError(f"The picture {kind!r} is of a MODEL: a run's folder or a .safetensors file.")
    elif kind in OF_A_RUN:
        figure = _of_a_run(kind, model, options)
    elif kind in OF_A_NETWORK:
        net = _net(model, options)
        figure = plots.network(net) if kind == "network" else plots.weights(net, shape=shape)
    else:
        figure = _of_answers(kind, model, data, shape, options)
    plots.save(figure, path)
    complain(f"drawn: {path}")


def _shape(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    height, _, width = text.lower().partition("x")
    if not (height.isdecimal() and width.isdecimal()):
        raise click.BadParameter(f"{text!r} is not of the form HEIGHTxWIDTH, such as 28x28.", param_hint="--shape")
    return int(height), int(width)


def _net(model: str, options: dict[str, Any]) -> Any:
    from mlp import persistence
    from mlp.io import runs

    return persistence.load(runs.model_path(model), backend=options["backend"], device=options["device"])


def _of_a_run(kind: str, model: str, options: dict[str, Any]) -> Figure:
    from mlp import plots, runs

    if not Path(model).is_dir():
        raise ConfigurationError(f"the picture {kind!r} is of a whole training, and {model!r} is no run's folder")
    if kind == "curves":
        loss = runs.read_config(model)["model"]["loss"]
        return plots.curves(runs.read_history(model), loss=loss, score=score_name(_net(model, options).task))
    dataset = runs.read_dataset(model, data_dir=options["data_dir"])
    recorder = plots.LayerRecorder(dataset.X[:WATCHED], dataset.y[:WATCHED])
    runs.repeat(model, data_dir=options["data_dir"], callbacks=[recorder], progress=True)
    return plots.layers(recorder)


def _of_answers(
    kind: str, model: str, data: str | None, shape: tuple[int, int] | None, options: dict[str, Any]
) -> Figure:
    from mlp import plots, runs
    from mlp.cli.rows import load_rows

    net, of_a_run = _net(model, options), Path(model).is_dir()
    if data is None:
        if not of_a_run:
            raise click.UsageError(f"The picture {kind!r} needs DATA; only a run's folder knows its own.")
        data = runs.read_config(model)["data"]["source"]
    rows = load_rows(net, model, data, options, answers=True)
    match kind:
        case "confusion":
            return plots.confusion(net, rows.X, rows.y)
        case "mistakes":
            return plots.mistakes(net, rows.X, rows.y, shape=shape)
        case "predictions":
            return plots.predictions(net, rows.X, rows.y)
        case _:
            return plots.boundary(_learning(model) if of_a_run else net, rows.X, rows.y)


def _learning(run: str) -> dict[int, Any]:
    """The network of a run with two inputs, at several epochs."""
    from mlp import plots, runs

    if runs.read_config(run)["model"]["sizes"][0] != 2:
        return {0: _net(run, {"backend": "numpy", "device": "auto"})}  # `boundary` says what is wrong with it
    snapshots = plots.Snapshots(plots.spread_epochs(len(runs.read_history(run))))
    runs.repeat(run, callbacks=[snapshots], progress=True)
    return snapshots.nets


def _of_an_experiment(kind: str) -> Figure:
    from mlp import classic, plots

    return plots.descent(classic.compare_descents()) if kind == "descent" else plots.sine(classic.sine_fits())
