"""``mlp export``: a trained model as a file for other programs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mlp.cli.options import SectionedCommand
from mlp.cli.printing import print_message

if TYPE_CHECKING:
    from mlp.model import MLP


def _to_onnx(net: MLP, path: str) -> None:
    net.to_onnx(path)


WRITERS: Mapping[str, Callable[[MLP, str], None]] = {".onnx": _to_onnx}
"""What writes a file, by its suffix."""


@click.command(cls=SectionedCommand, short_help="Write a model as a file for other programs.")
@click.argument("model")
@click.argument("file")
def export(model: str, file: str) -> None:
    """Write MODEL as FILE, for programs that do not have this library.

    MODEL is a run folder or a .safetensors file.  The suffix of FILE chooses the format; an existing file is replaced.

    \b
    .onnx  for ONNX Runtime and other programs that read ONNX; needs the packages onnx and onnxruntime

    \b
    mlp export runs/digits-1 digits.onnx
    """
    from mlp import persistence
    from mlp.io import run_folders

    write = WRITERS.get(Path(file).suffix.lower())
    if write is None:
        raise click.BadParameter(f"{file!r} must end in {', '.join(WRITERS)}.", param_hint="FILE")
    write(persistence.load(run_folders.model_path(model), backend="numpy"), file)
    print_message(f"model written to {file}")
