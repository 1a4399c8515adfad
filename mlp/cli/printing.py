"""Functions that print: results to stdout, messages to stderr."""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Sequence
from typing import Any

import click


def print_line(text: str = "") -> None:
    """Print a line to stdout; if the pipe is closed (``mlp train ... | head``), continue without output."""
    try:
        click.echo(text)
    except BrokenPipeError:
        with open(os.devnull, "w", encoding="utf-8") as null:
            os.dup2(null.fileno(), sys.stdout.fileno())


def print_message(text: str) -> None:
    """Print a line to stderr, with the name of the program as a prefix."""
    click.echo(f"mlp: {text}", err=True)


def print_shown_rows(path: object, n_rows: int) -> None:
    """Say how many rows of the data a file shows, if any."""
    if n_rows:
        rows = "1 row" if n_rows == 1 else f"{n_rows:,} rows"
        print_message(f"{os.path.basename(str(path))} shows {rows} of the data; --no-data leaves them out")


def print_json(document: dict[str, Any]) -> None:
    """Print a JSON document to stdout."""
    from mlp.io.json_documents import to_json

    print_line(to_json(document))


def print_field(name: str, text: str) -> None:
    """Print a line of a report: a name and its text."""
    print_line(f"{click.style(f'{name:<9}', bold=True)} {text}")


def print_wrapped(name: str, text: str) -> None:
    """Print a line of a report as `print_field` does, in lines of at most 80 characters."""
    first, *others = textwrap.wrap(text, 70, break_on_hyphens=False) or [""]
    print_field(name, first)
    for line in others:
        print_line(f"{'':<9} {line}")


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table; the first column is aligned left, the others right."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    for row in (header, *rows):
        others = (cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))
        print_line(click.style("  ".join((row[0].ljust(widths[0]), *others)), bold=row is header))


def format_score(name: str, score: float) -> str:
    """Format a score with its name."""
    return f"{name} {score:.2%}" if name == "accuracy" else f"{name} {score:.4f}"


def describe_network(net: Any) -> str:
    """Describe a network in one line."""
    hidden = [row.name for row in net.plan.activations[:-1]]
    names = hidden[:1] if len(set(hidden)) == 1 else hidden
    precision = "" if net.precision == "float32" else f", products in {net.precision}"
    return ", ".join(
        (
            "-".join(map(str, net.sizes)),
            *names,
            f"{net.kind.output.name} + {net.kind.loss.name}",
            f"{net.plan.layout.n_parameters:,} {net.dtype} parameters{precision}",
        )
    )
