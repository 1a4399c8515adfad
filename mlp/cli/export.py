"""``mlp export``: write a model as a file for other programs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mlp.cli.options import SectionedCommand
from mlp.cli.paths import require_model, require_new_file
from mlp.cli.printing import print_message

if TYPE_CHECKING:
    from mlp.model import MLP


def _to_program(net: MLP, path: Path) -> str:
    from mlp.io import exports

    return exports.export(net, path)


def _to_onnx(net: MLP, path: Path) -> str:
    net.to_onnx(path)
    return "its outputs in ONNX Runtime agree with the model"


WRITERS: Mapping[str, Callable[[MLP, Path], str]] = {
    ".c": _to_program,
    ".js": _to_program,
    ".py": _to_program,
    ".onnx": _to_onnx,
}
"""What writes a file, by its suffix; it returns how the file was tested."""


@click.command(cls=SectionedCommand, short_help="Write a model as a file for other programs.")
@click.argument("model")
@click.argument("file")
def export(model: str, file: str) -> None:
    """Write MODEL as a file for programs that do not have this library.

    MODEL is a run folder or a .safetensors file.  The suffix of FILE, a new file, is the format: .c (C99 in one file),
    .js (an ES module for Node and browsers), .py (Python with NumPy), or .onnx (for ONNX Runtime and others; needs the
    packages onnx and onnxruntime).  The file includes the preprocessing and the names of the classes.

    A program tests itself: it has a few rows with the outputs of the model, and compares its own.  This test is run
    before the file is written, if there is a C compiler or Node.  An ONNX file is tested in ONNX Runtime.

    \b
    mlp export runs/digits-1 digits.onnx
    mlp export runs/digits-1 digits.c
    cc -DSELF_TEST digits.c -lm && ./a.out
    """
    from mlp import persistence
    from mlp.io import run_folders

    path = Path(file)
    if path.suffix.lower() not in WRITERS:
        raise click.UsageError(f"FILE: {file!r} must end in {', '.join(WRITERS)}.")
    require_model(model)
    require_new_file(file, "FILE")
    net = persistence.load(run_folders.model_path(model), backend="numpy")
    tested = WRITERS[path.suffix.lower()](net, path)
    print_message(f"written: {file}, {path.stat().st_size:,} bytes, {tested}")
