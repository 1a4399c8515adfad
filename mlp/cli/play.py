"""``mlp play``: write an HTML page in which a network runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from mlp._backends import ConfigurationError, MLPError, formulas
from mlp.checks import counted
from mlp.cli import paths
from mlp.cli.networks import reject_options
from mlp.cli.options import SectionedCommand, data_dir_option, names, one_or_list, option, widths
from mlp.cli.printing import print_message
from mlp.cli.training_data import first_rows, test_rows

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mlp.data import Dataset
    from mlp.model import MLP

ROWS, IMAGES = 500, 100
"""Most rows of a page, and most images."""

_MODEL_ONLY = ("with_data", "data_dir")
_PLAYGROUND_ONLY = ("hidden", "activation", "target", "task", "seed")
_ACTIVATIONS = [name for name, row in formulas.ACTIVATIONS.items() if row.role != "output" and row.backward]


class _Page(NamedTuple):
    """What a page is about."""

    net: MLP
    X: NDArray[Any] | None
    y: NDArray[Any] | None
    settings: dict[str, Any]


@click.command(cls=SectionedCommand, short_help="Write an HTML page in which a network runs.")
@click.argument("source")
@data_dir_option
@option(
    "Data",
    "--data/--no-data",
    "with_data",
    default=None,
    help="Whether the page of a run holds rows of its data.  Default: yes for built-in data sets, no for files.",
)
@option(
    "Data",
    "--rows",
    type=click.IntRange(1),
    metavar="N",
    help=f"Most rows that the page holds.  Default: {IMAGES} images, {ROWS} other rows.",
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

    Of a run folder or a .safetensors file, the page has the trained network: images to draw, a plane with points to
    move, or a slider and a menu for each column; the neurons of each layer; and the steps of the forward and backward
    pass with formulas and numbers.

    moons, circles, spirals, xor, sine and a table (.csv, .tsv, .parquet) are a playground: a network that is not
    trained yet, and learns in the page.  Its weights can be saved as a .safetensors file for mlp.load.

    The page works without a connection.  It says how many rows it holds.

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
    held = counted(0 if page.X is None else len(page.X), "row")
    print_message(f"written: {path}, {size / 1e6:.2f} MB, with {held} of data")


def _of_model(source: str, options: dict[str, Any]) -> _Page:
    from mlp import data, optimizers, persistence
    from mlp.io import run_folders

    net = persistence.load(run_folders.model_path(source), backend="numpy")
    if not Path(source).is_dir():
        if options["with_data"]:
            raise click.UsageError("--data: the rows are those of a run, but SOURCE is a file; name the run folder.")
        return _Page(net, None, None, {"title": Path(source).stem})
    config = run_folders.read_config(source)
    settings = {
        "title": Path(source).resolve().name,
        "optimizer": optimizers.from_dict(config["training"]["optimizer"]),
        "batch_size": config["training"]["batch_size"],
    }
    wanted = options["with_data"]
    if wanted is None:
        wanted = config["data"]["source"] in data.SOURCE_NAMES
    if not wanted:
        return _Page(net, None, None, settings)
    try:
        dataset = run_folders.read_dataset(source, data_dir=options["data_dir"])
    except MLPError as error:
        raise ConfigurationError(f"{error}.  With --no-data the page holds the network alone.") from error
    # images are shown, and other rows are trained on
    is_test = net.input_scale is not None and test_rows(dataset) > 0
    most = options["rows"] or (IMAGES if net.input_scale is not None else ROWS)
    return _Page(net, *first_rows(dataset, most, test=is_test), settings | {"part": "test" if is_test else "training"})


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
