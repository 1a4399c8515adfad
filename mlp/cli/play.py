"""``mlp play``: write an HTML page in which a network runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from mlp._backends import ConfigurationError, MLPError, formulas
from mlp.cli import paths
from mlp.cli.networks import reject_options
from mlp.cli.options import SectionedCommand, data_dir_option, names, one_or_list, option, widths
from mlp.cli.printing import print_message

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mlp.data import Dataset, StreamedDataset
    from mlp.model import MLP

ROWS, IMAGES = 500, 100
"""Most rows of a page, and most images."""

_MODEL_ONLY = ("with_data", "data_dir")
_ROWS_ONLY = ("rows", "data_dir")
_PLAYGROUND_ONLY = ("hidden", "activation", "target", "task", "seed")
_ACTIVATIONS = [name for name, row in formulas.ACTIVATIONS.items() if row.role != "output" and row.backward]


class _Page(NamedTuple):
    """What a page is about."""

    net: MLP
    X: NDArray[Any] | None
    y: NDArray[Any] | None
    settings: dict[str, Any]
    of: int | None = None  # rows that the network was trained on, if the page holds fewer


@click.command(cls=SectionedCommand, short_help="Write an HTML page in which a network runs.")
@click.argument("source")
@data_dir_option
@option(
    "Data",
    "--data/--no-data",
    "with_data",
    default=False,
    show_default="--no-data",
    help="Whether the page of a run holds rows of its training part, to look at and to train on.",
)
@option(
    "Data",
    "--rows",
    type=click.IntRange(1),
    metavar="N",
    help=f"Most rows that the page holds, if it holds any.  Default: {IMAGES} images, {ROWS} other rows.",
)
@option("Playground", "--target", metavar="COLUMN", help="The target column of a table.")
@option("Playground", "--task", metavar="TASK", help="classification or regression.  Default: depends on the targets.")
@option(
    "Playground",
    "--hidden",
    type=widths,
    default="8,8",
    show_default=True,
    metavar="WIDTHS",
    help="Widths of the hidden layers, or none.",
)
@option(
    "Playground",
    "--activation",
    type=names,
    default="tanh",
    show_default=True,
    metavar="NAME",
    help=f"Activation of the hidden layers: one, or one per layer.  {', '.join(_ACTIVATIONS)}.",
)
@option(
    "Playground", "--seed", type=int, default=0, show_default=True, metavar="N", help="Seed of the rows and weights."
)
@option(
    "Output",
    "--output",
    "-o",
    metavar="FILE",
    help="The .html file; an existing one is replaced.  Default: play.html in the run folder, or play-NAME.html.",
)
@click.pass_context
def play(ctx: click.Context, /, source: str, **options: Any) -> None:
    """Write one HTML page in which a network runs, for SOURCE: a trained model, or data to learn in the page.

    Of a run folder or a .safetensors file, the page has the trained network: images to draw, a curve or a plane with
    points to move, or a slider and a menu for each column; the neurons of each layer; and the steps of the forward and
    backward pass with formulas and numbers.  With --data it holds rows, and goes on training on them.

    moons, circles, spirals, xor, sine and a table (.csv, .tsv, .parquet) are a playground: a network that is not
    trained yet, and learns in the page.  Its weights can be saved as a .safetensors file for mlp.load.

    The page works without a connection.  How many rows it holds is printed, and the page says it.

    \b
    mlp play runs/mnist-1
    mlp play runs/houses-1 --data --output houses.html
    mlp play moons --hidden 8,8
    mlp play flowers.csv --target kind
    """
    output = options["output"]
    if output is not None and Path(output).suffix.lower() not in (".html", ".htm"):
        raise click.BadParameter(f"{output!r} must end in .html.", param_hint="--output")
    is_model = Path(source).is_dir() or Path(source).suffix.lower() == ".safetensors"
    if is_model:
        reject_options(ctx, _PLAYGROUND_ONLY, f"{source!r} is a trained model, and has its own network")
        if not options["with_data"]:
            reject_options(ctx, _ROWS_ONLY, "without --data the page of a run holds no rows")
        paths.require_model(source, "SOURCE")
        path = (Path(source) / "play.html") if Path(source).is_dir() else Path(f"play-{Path(source).stem}.html")
    else:
        reject_options(ctx, _MODEL_ONLY, f"{source!r} is data to learn from, and the page holds its rows")
        paths.require_data(source, None, "SOURCE")
        path = Path(f"play-{Path(source).name.split('.')[0]}.html")
    if output is not None:
        path = Path(output)
    paths.require_output(path, "--output")

    from mlp.inspection import play as pages

    page = _of_model(source, options) if is_model else _playground(source, options)
    size = pages.write(page.net, path, page.X, page.y, **page.settings)
    print_message(f"written: {path}, {size / 1e6:.2f} MB")
    print_message(f"{path.name} holds {_rows_text(page, is_run=Path(source).is_dir())}")


def _rows_text(page: _Page, *, is_run: bool) -> str:
    if page.X is None:
        return "no rows of the data" + ("; --data adds them" if is_run else "")
    if page.of is None:
        return f"{len(page.X):,} row{'s' if len(page.X) != 1 else ''} of the data"
    return f"{len(page.X):,} of the {page.of:,} rows that the network was trained on; --rows {page.of} for all of them"


def _of_model(source: str, options: dict[str, Any]) -> _Page:
    from mlp import persistence, runs
    from mlp.io import run_folders

    net = persistence.load(run_folders.model_path(source), backend="numpy")
    if not Path(source).is_dir():
        if options["with_data"]:
            raise click.UsageError("--data: the rows are those of a run, but SOURCE is a file; name the run folder.")
        return _Page(net, None, None, {"title": Path(source).stem})
    config = run_folders.read_config(source)
    training = config["training"]
    settings: dict[str, Any] = {
        "title": Path(source).resolve().name,
        "optimizer": runs.recorded_optimizer(training["optimizer"]),
        "batch_size": training["batch_size"],
    }
    if not options["with_data"]:
        return _Page(net, None, None, settings)
    try:
        dataset = run_folders.read_dataset(source, data_dir=options["data_dir"])
    except MLPError as error:
        raise ConfigurationError(f"{error}.  Without --data the page holds the network alone.") from error
    most = options["rows"] or (IMAGES if net.input_scale is not None else ROWS)
    rows, n, class_weights = _trained_rows(net, dataset, training, most)
    settings |= {"part": "training", "trained_rows": n}
    if class_weights is not None:
        settings["class_weights"] = class_weights
    return _Page(net, *rows, settings, of=n if n > most else None)


def _trained_rows(
    net: MLP, dataset: Dataset | StreamedDataset, training: dict[str, Any], most: int
) -> tuple[tuple[Any, Any], int, NDArray[Any] | None]:
    """The first rows that a run was trained on, in the order of its training, their number, and the class weights."""
    import numpy as np

    from mlp.data.streams import StreamedDataset, chunks
    from mlp.network import Examples
    from mlp.training import StreamedExamples
    from mlp.training.class_weights import class_numbers_of, weights_of_classes
    from mlp.training.validation_split import split_validation

    fraction, class_weight = training["validation_fraction"], training.get("class_weight")
    if isinstance(dataset, StreamedDataset):
        stream = dataset.train.split(fraction, net.seed)[0] if fraction else dataset.train
        weights = StreamedExamples(net, stream, class_weight).class_weights
        return chunks.first_rows(stream, most), stream.n_rows, weights
    trained, _ = split_validation(net, Examples(dataset.X, dataset.y, None), fraction)
    weights = None
    if class_weight:
        numbers = class_numbers_of(net, net.check_examples(dataset.X, dataset.y)[0].target)
        weights = weights_of_classes(net, np.bincount(numbers, minlength=max(net.sizes[-1], 2)), class_weight)
    return (trained.X[:most], trained.target[:most]), trained.rows, weights


def _playground(source: str, options: dict[str, Any]) -> _Page:
    from mlp import data
    from mlp.model import MLP

    if source in ("digits", "mnist"):
        raise click.UsageError(
            f"SOURCE: {source!r} takes long to learn in a page.  Train a network, and play with it:  mlp train {source}"
            f"  and then  mlp play runs/{source}-1"
        )
    dataset = data.load(source, target=options["target"], task=options["task"], test_fraction=0.0, seed=options["seed"])
    X, y = _some_rows(dataset, options)
    net = MLP(
        [dataset.n_inputs, *options["hidden"], dataset.n_outputs],
        one_or_list(options["activation"]),
        loss="mse" if dataset.classes is None else "cross_entropy",
        seed=options["seed"],
        dtype="float64",
        backend="numpy",
        classes=dataset.classes,
        preprocessing=dataset.preprocessing,
        target_scaling=None if dataset.classes is not None else _scaling(dataset.y),
    )
    net.require_trainable()
    return _Page(net, X, y, {"title": f"Playground: {Path(source).name}", "playground": True})


def _some_rows(dataset: Dataset, options: dict[str, Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """At most as many rows as a page holds, drawn by the seed."""
    from mlp.data.splitting import split_rows

    n, most = len(dataset.X), options["rows"] or ROWS
    if n <= most:
        return dataset.X, dataset.y
    kept, _ = split_rows(n, 1 - most / n, options["seed"], None)
    print_message(f"{len(kept):,} of {n:,} rows; --rows {n} for all of them")
    return dataset.X[kept], dataset.y[kept]


def _scaling(y: NDArray[Any]) -> tuple[list[float], list[float]]:
    columns = y.reshape(len(y), -1)
    return columns.mean(axis=0).tolist(), [float(std) if std > 0 else 1.0 for std in columns.std(axis=0)]
