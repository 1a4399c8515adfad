"""The command line: a file for each command, `options` and `output` for what they share.

Nothing but click is imported before a command runs, so that help and mistakes are answered at once.
"""

from __future__ import annotations

import io
import logging
import sys
from typing import Any

import click

from mlp._backends import MLPError
from mlp._version import __version__
from mlp.cli.bench import bench
from mlp.cli.evaluate import evaluate
from mlp.cli.gradcheck import gradcheck
from mlp.cli.info import info
from mlp.cli.output import complain
from mlp.cli.plot import plot
from mlp.cli.predict import predict
from mlp.cli.report import report
from mlp.cli.trace import trace
from mlp.cli.train import train
from mlp.io.machine import VARIABLES

INTERRUPTED = 130  # what shells report for a program that Ctrl-C ended


class _Commands(click.Group):
    """Answers errors with one line and an exit status, and its own help with what holds for all commands."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            complain("interrupted")
            ctx.exit(INTERRUPTED)
        except (MLPError, OSError, MemoryError) as error:
            if ctx.params["debug"]:
                raise
            complain(f"error: {_one_line(error)}")
            ctx.exit(1)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)  # as they are used, not by the alphabet

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Environment variables"):
            formatter.write_dl(list(VARIABLES.items()))
        with formatter.section("Exit status"):
            formatter.write_dl([("0", "done"), ("1", "failed"), ("2", "wrong usage"), ("130", "stopped by Ctrl-C")])


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="mlp", message="%(prog)s %(version)s")
@click.option("--debug", is_flag=True, envvar="MLP_DEBUG", help="Show the traceback of an error.")
def cli(debug: bool) -> None:
    """Train multilayer perceptrons, and use them.

    \b
    mlp train digits
    mlp evaluate runs/digits-1 digits
    mlp predict runs/digits-1 new.npy --output answers.csv
    mlp train --resume runs/digits-1 --epochs 100
    """
    logger = logging.getLogger("mlp")
    logger.handlers = [_Warnings(logging.WARNING)]
    logger.propagate = False


for _command in (train, predict, evaluate, info, bench, plot, report, trace, gradcheck):
    cli.add_command(_command)


def main() -> None:
    """The entry point ``mlp``."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a name that the terminal cannot show is no reason to fail
            stream.reconfigure(errors="backslashreplace")
    cli(prog_name="mlp")


class _Warnings(logging.Handler):
    """What the library has to say while it works, on stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        complain(f"{record.levelname.lower()}: {record.getMessage()}")


def _one_line(error: BaseException) -> str:
    if isinstance(error, MemoryError):
        return f"not enough memory ({error or 'no details'}); use smaller data, batches or layers"
    if isinstance(error, OSError) and not isinstance(error, MLPError) and error.filename is not None:
        return f"{error.strerror}: {error.filename!r}"
    return " ".join(str(error).split()) or type(error).__name__
