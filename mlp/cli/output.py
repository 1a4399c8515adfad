"""What commands print: the report on stdout, complaints on stderr."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

import click


def say(text: str = "") -> None:
    """Print a line to stdout; once nobody reads it any more (``mlp train ... | head``), go on in silence."""
    try:
        click.echo(text)
    except BrokenPipeError:
        with open(os.devnull, "w", encoding="utf-8") as nowhere:
            os.dup2(nowhere.fileno(), sys.stdout.fileno())


def complain(text: str) -> None:
    """Print a line to stderr, with the program's name before it."""
    click.echo(f"mlp: {text}", err=True)


def say_json(document: dict[str, Any]) -> None:
    """Print a JSON document to stdout."""
    from mlp.io.documents import to_json

    say(to_json(document))


def fact(name: str, text: str) -> None:
    """Print a line of a report: what it is about, and what there is to say."""
    say(f"{click.style(f'{name:<9}', bold=True)} {text}")


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table, its first column to the left and the others to the right."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    for row in (header, *rows):
        others = (cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))
        say(click.style("  ".join((row[0].ljust(widths[0]), *others)), bold=row is header))


def score_name(task: str) -> str:
    """What the score of `MLP.task` is called."""
    return "R^2" if task == "numbers" else "accuracy"


def score_text(task: str, score: float) -> str:
    """The score with its name, as people read it."""
    return f"R^2 {score:.4f}" if task == "numbers" else f"accuracy {score:.2%}"


def network_text(net: Any) -> str:
    """A network in a line."""
    hidden = [row.name for row in net.plan.activations[:-1]]
    names = hidden[:1] if len(set(hidden)) == 1 else hidden
    return ", ".join(
        (
            "-".join(map(str, net.sizes)),
            *names,
            f"{net.kind.output.name} + {net.kind.loss.name}",
            f"{net.plan.layout.n_parameters:,} {net.dtype} parameters",
        )
    )
