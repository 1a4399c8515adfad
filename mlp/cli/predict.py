"""``mlp predict``: what a trained model answers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mlp.cli.options import SectionedCommand, json_option, option, place_options, rows_options
from mlp.cli.output import complain, say, say_json

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mlp.model import MLP


@click.command(cls=SectionedCommand, short_help="Print or write a model's answers.")
@click.argument("model")
@click.argument("data")
@rows_options
@place_options
@option(
    "Output",
    "--output",
    "-o",
    metavar="FILE",
    help="A new .csv or .npy file to write instead of printing.",
)
@option("Output", "--proba", is_flag=True, help="The probability of each class too (in an .npy file, those alone).")
@json_option
def predict(model: str, data: str, **options: Any) -> None:
    """Print or write what MODEL answers for each row of DATA.

    MODEL is a run's folder or a .safetensors file.  DATA is as in mlp train, and needs no answers: a table's columns
    are found by name and prepared as in training; an NPY file holds inputs alone (or --target says which column to
    leave out), an NPZ file an array X.

    \b
    mlp predict runs/houses-1 new_houses.csv --output prices.csv
    mlp predict runs/digits-1 digits --proba --json
    """
    from mlp import persistence
    from mlp.cli.rows import load_rows
    from mlp.io import runs

    suffix = _check_output(options["output"])
    net = persistence.load(runs.model_path(model), backend=options["backend"], device=options["device"])
    rows = load_rows(net, model, data, options, answers=False)
    answers = _named(net, net.predict(rows.X))
    chances = net.predict_proba(rows.X) if options["proba"] else None
    if options["output"]:
        from mlp.io.storage import write_atomically

        content = (
            _to_npy(answers if chances is None else chances)
            if suffix == ".npy"
            else _to_csv(net, answers, chances).encode()
        )
        write_atomically(options["output"], content)
        complain(f"{len(answers)} answers written to {options['output']}")
    if options["as_json"]:
        document = {"model": model, "data": data, "part": rows.part, "predictions": answers.tolist()}
        if chances is not None:
            document |= {"classes": _classes(net), "probabilities": chances.tolist()}
        say_json(document)
    elif not options["output"]:
        say(_to_csv(net, answers, chances).removesuffix("\n"))


def _check_output(output: str | None) -> str:
    if output is not None and Path(output).exists():
        raise click.BadParameter(f"{output!r} is there already; name a new file.", param_hint="--output")
    suffix = "" if output is None else Path(output).suffix.lower()
    if output is not None and suffix not in (".csv", ".npy"):
        raise click.BadParameter(f"{output!r} must end in .csv or .npy.", param_hint="--output")
    return suffix


def _classes(net: MLP) -> list[Any]:
    return list(net.classes) if net.classes is not None else list(range(max(net.sizes[-1], 2)))


def _named(net: MLP, answers: NDArray[Any]) -> NDArray[Any]:
    """Class numbers as the names of the classes."""
    import numpy as np

    if net.classes is None or net.task == "numbers" or answers.ndim > 1:
        return answers
    named: NDArray[Any] = np.array(net.classes)[answers]
    return named


def _to_npy(array: NDArray[Any]) -> bytes:
    import io

    import numpy as np

    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getvalue()


def _to_csv(net: MLP, answers: NDArray[Any], chances: NDArray[Any] | None) -> str:
    import csv
    import io

    import numpy as np

    columns = [answers] if answers.ndim == 1 else list(answers.T)
    header = ["prediction"] if len(columns) == 1 else [f"prediction_{i}" for i in range(len(columns))]
    if chances is not None:
        header += [f"p_{name}" for name in _classes(net)]
        columns += list(chances.T)
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(header)
    # as the shortest text that reads back the same in the array's own precision
    writer.writerows(zip(*([str(value) for value in np.asarray(column)] for column in columns), strict=True))
    return file.getvalue()
