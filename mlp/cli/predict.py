"""``mlp predict``: the predictions of a trained model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mlp.cli import paths
from mlp.cli.options import (
    SectionedCommand,
    column_names,
    data_options,
    device_options,
    json_option,
    option,
    threshold_option,
)
from mlp.cli.printing import print_json, print_line, print_message
from mlp.cli.reading_in_blocks import stream_option
from mlp.cli.training_data import shows_progress

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mlp.cli.table_rows import Rows
    from mlp.model import MLP


@click.command(cls=SectionedCommand, short_help="Print or write the predictions of a model.")
@click.argument("model")
@click.argument("data")
@data_options
@stream_option
@option(
    "Output",
    "--keep",
    type=column_names,
    metavar="COLUMNS",
    help="Columns of the table to write beside the predictions: id,name.",
)
@device_options
@option(
    "Output",
    "--output",
    "-o",
    metavar="FILE",
    help="Write to this new .csv or .npy file instead of stdout.",
)
@option("Output", "--proba", is_flag=True, help="Add the probability of each class (an .npy file has only these).")
@threshold_option
@json_option
def predict(model: str, data: str, **options: Any) -> None:
    """Print or write the prediction of MODEL for each row of DATA.

    MODEL is a run folder or a .safetensors file.  DATA is as in mlp train, but needs no targets: the columns of a table
    are matched by name and preprocessed as in training; an NPY file has only inputs (or --target names the column to
    ignore); an NPZ file has an array X.

    Every row is answered, in the order of DATA: a value that cannot be read is treated as a missing one, and counted in
    a warning.  The column row has the number of the row, counted from 0.  With --part only the rows of this part are
    answered.

    An NPY or Parquet file that takes much of the memory is read in blocks, and so is a folder of them; the predictions
    are written block by block.

    \b
    mlp predict runs/houses-1 new_houses.csv --keep id --output prices.csv
    mlp predict runs/digits-1 digits --proba --json
    """
    from mlp import persistence
    from mlp.cli.streamed_rows import choose_for_model
    from mlp.io import run_folders

    suffix = _check_output(options["output"])
    paths.require_model(model)
    paths.require_data(data, options["data_dir"], parts=True)
    options["part"] = options["part"] or "all"
    net = persistence.load(run_folders.model_path(model), backend=options["backend"], device=options["device"])
    reason = choose_for_model(net, model, data, options)
    if reason and options["as_json"]:
        raise click.UsageError(
            f"--json holds all predictions in one document, but the data are read in blocks ({reason}); use --output "
            "FILE.csv instead of --json."
        )
    if options["threshold"] is not None:
        from mlp.inspection.class_predictions import require_two_classes

        require_two_classes(net)
    if reason:
        _predict_in_blocks(net, model, data, reason, options)
    else:
        _predict_in_memory(net, model, data, suffix, options)


def _predict_in_memory(net: MLP, model: str, data: str, suffix: str, options: dict[str, Any]) -> None:
    from mlp.cli.input_rows import load_rows

    rows = load_rows(net, model, data, options, with_targets=False, keep=options["keep"]).in_order()
    predictions, probabilities = _answers(net, rows, options)
    names = _names(net, model, options["target"])
    if options["output"] is not None:
        from mlp.io.atomic_write import write_atomically

        content = (
            _to_npy(predictions if probabilities is None else probabilities)
            if suffix == ".npy"
            else to_csv(rows, predictions, probabilities, names).encode()
        )
        write_atomically(options["output"], content)
        print_message(f"{len(predictions)} predictions written to {options['output']}")
    if options["as_json"]:
        document = {
            "model": model, "data": data, "part": rows.part, "rows": rows.rows.tolist(), **_kept(rows),
            "predictions": predictions.tolist(),
        }  # fmt: skip
        if probabilities is not None:
            document |= {"classes": _classes(net), "probabilities": probabilities.tolist()}
        print_json(document)
    elif options["output"] is None:
        print_line(to_csv(rows, predictions, probabilities, names).removesuffix("\n"))


def _predict_in_blocks(net: MLP, model: str, data: str, reason: str, options: dict[str, Any]) -> None:
    """As in memory, some megabytes at a time; the file is complete or not there."""
    from mlp.cli.streamed_rows import open_rows

    print_message(f"{data}: {reason}")
    rows = open_rows(net, model, data, options, with_targets=False, progress=shows_progress(options))
    names, output = _names(net, model, options["target"]), options["output"]
    answers = ((part, *_answers(net, part, options)) for part in rows.chunks())
    if output is None:
        for text in _csv_texts(answers, names):
            print_line(text.removesuffix("\n"))
        rows.warn()
        return
    from mlp.io.atomic_write import write_chunks_atomically

    if Path(output).suffix.lower() == ".npy":
        chosen = (predictions if probabilities is None else probabilities for _, predictions, probabilities in answers)
        write_chunks_atomically(output, _npy_parts(chosen, rows.count))
    else:
        write_chunks_atomically(output, (text.encode() for text in _csv_texts(answers, names)))
    rows.warn()
    print_message(f"{rows.count} predictions written to {output}")


def _answers(net: MLP, rows: Rows, options: dict[str, Any]) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """The predictions, and the probabilities if they are wanted."""
    if options["threshold"] is None:
        answers = net.predict(rows.X)
    else:
        from mlp.inspection.class_predictions import classes_above

        answers = classes_above(net, net.predict_proba(rows.X), options["threshold"])
    return _class_names(net, answers), net.predict_proba(rows.X) if options["proba"] else None


def _csv_texts(answers: Iterable[tuple[Rows, NDArray[Any], NDArray[Any] | None]], names: list[str]) -> Iterator[str]:
    """The text of `to_csv` in parts, of which the first one has the header."""
    for number, (rows, predictions, probabilities) in enumerate(answers):
        text = to_csv(rows, predictions, probabilities, names)
        yield text if number == 0 else text.partition("\n")[2]


def _npy_parts(arrays: Iterable[NDArray[Any]], rows: int) -> Iterator[bytes]:
    """The bytes of an NPY file with so many rows, from arrays that are parts of it."""
    import io

    import numpy as np

    for number, array in enumerate(arrays):
        if number == 0:
            header = io.BytesIO()
            description = np.lib.format.dtype_to_descr(array.dtype)
            np.lib.format.write_array_header_1_0(
                header, {"descr": description, "fortran_order": False, "shape": (rows, *array.shape[1:])}
            )
            yield header.getvalue()
        yield array.tobytes()


def _check_output(output: str | None) -> str:
    suffix = "" if output is None else Path(output).suffix.lower()
    if output is not None and suffix not in (".csv", ".npy"):
        raise click.BadParameter(f"{output!r} must end in .csv or .npy.", param_hint="--output")
    paths.require_new_file(output)
    return suffix


def _classes(net: MLP) -> list[Any]:
    return list(net.classes) if net.classes is not None else list(range(max(net.sizes[-1], 2)))


def _class_names(net: MLP, predictions: NDArray[Any]) -> NDArray[Any]:
    """Replace class numbers with class names, if the model has them."""
    import numpy as np

    if net.classes is None or net.task == "numbers" or predictions.ndim > 1:
        return predictions
    named: NDArray[Any] = np.array(net.classes)[predictions]
    return named


def _to_npy(array: NDArray[Any]) -> bytes:
    import io

    import numpy as np

    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getvalue()


def _names(net: MLP, model: str, target: str | None) -> list[str]:
    """Names of the columns of predictions and probabilities."""
    from mlp.cli.input_rows import target_names_of

    n = net.sizes[-1]
    header = ["prediction"]
    if net.task == "numbers" and n > 1:
        header = [f"prediction_{name}" for name in target_names_of(net, model, target)]
    elif net.task == "labels" and n > 1:
        header = [f"prediction_{k}" for k in range(n)]
    return header + ([] if net.task == "numbers" else [f"p_{name}" for name in _classes(net)])


def _kept(rows: Rows) -> dict[str, Any]:
    return {"kept": rows.kept} if rows.kept else {}


def to_csv(rows: Rows, predictions: NDArray[Any], probabilities: NDArray[Any] | None, names: list[str]) -> str:
    """The predictions as a table: number of the row, kept columns, predictions, probabilities."""
    import csv
    import io

    import numpy as np

    columns = [predictions] if predictions.ndim == 1 else list(predictions.T)
    columns += [] if probabilities is None else list(probabilities.T)
    taken = {"row", *names}
    kept = [name if name not in taken else f"{name} in the table" for name in rows.kept]
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["row", *kept, *names[: len(columns)]])
    # str gives the shortest text that parses to the same value in the dtype of the array
    texts = ([str(value) for value in np.asarray(column)] for column in columns)
    writer.writerows(zip(rows.rows.tolist(), *rows.kept.values(), *texts, strict=True))
    return file.getvalue()
