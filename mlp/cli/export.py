"""``mlp export``: write a model as a program without dependencies."""

from __future__ import annotations

from pathlib import Path

import click

from mlp.cli.options import SectionedCommand
from mlp.cli.printing import print_message


@click.command(cls=SectionedCommand, short_help="Write a model as a program in C, JavaScript or NumPy.")
@click.argument("model")
@click.argument("file")
def export(model: str, file: str) -> None:
    """Write MODEL as a program that needs neither mlp nor other libraries.

    MODEL is a run folder or a .safetensors file.  The suffix of FILE, a new file, is the language: .c (C99 in one file,
    float32), .js (an ES module for Node and browsers) or .py (Python with NumPy).  The program includes the
    preprocessing and the names of the classes.  It has a few check rows; its self-test compares the outputs for them
    with those of the model.  The self-test is run before the file is written, if there is a C compiler or Node.

    \b
    mlp export runs/digits-1 digits.c
    cc -DSELF_TEST digits.c -lm && ./a.out
    """
    from mlp import persistence
    from mlp.io import exports, run_folders

    path = Path(file)
    if path.suffix.lower() not in exports.FORMATS:
        raise click.BadParameter(f"{file!r} must end in {', '.join(exports.FORMATS)}.", param_hint="FILE")
    if path.exists():
        raise click.BadParameter(f"{file!r} already exists; choose another file.", param_hint="FILE")
    tested = exports.export(persistence.load(run_folders.model_path(model), backend="numpy"), path)
    print_message(f"written: {file}, {path.stat().st_size:,} bytes, {tested}")
