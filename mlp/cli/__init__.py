"""The command line: one module per command, and modules for what they share: options, printing, input rows, networks.

Heavy libraries are imported only when a command runs, so that help and usage errors are fast.
"""

from __future__ import annotations

import io
import logging
import os
import sys
from typing import Any

import click

from mlp._backends import MLPError
from mlp._version import __version__
from mlp.cli import ranks
from mlp.cli.bench import bench
from mlp.cli.evaluate import evaluate
from mlp.cli.export import export
from mlp.cli.gradcheck import gradcheck
from mlp.cli.info import info
from mlp.cli.inspect import inspect
from mlp.cli.lr_find import lr_find
from mlp.cli.play import play
from mlp.cli.plot import plot
from mlp.cli.predict import predict
from mlp.cli.printing import print_message
from mlp.cli.report import report
from mlp.cli.runs import runs
from mlp.cli.trace import trace
from mlp.cli.train import train
from mlp.cli.tune import tune
from mlp.cli.usage import one_line
from mlp.io.machine_info import VARIABLES

FAILED, WRONG_USAGE = 1, 2
INTERRUPTED = 130  # the exit status of shells for a program that Ctrl-C ended


class _Commands(click.Group):
    """A group that converts errors to one line and an exit status, and documents both in its help."""

    def make_context(self, *arguments: Any, **settings: Any) -> click.Context:
        try:
            return super().make_context(*arguments, **settings)
        except click.exceptions.NoArgsIsHelpError:
            raise
        except click.UsageError as error:
            _print_usage_error(error)
            raise click.exceptions.Exit(WRONG_USAGE) from error

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            print_message("interrupted")
            ctx.exit(INTERRUPTED)
        except click.UsageError as error:
            _print_usage_error(error)
            ctx.exit(WRONG_USAGE)
        except (MLPError, OSError, MemoryError) as error:
            if ctx.params["debug"]:
                raise
            print_message(f"error: {_one_line(error)}")
            ctx.exit(FAILED)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)  # in the order of use, not alphabetical

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Environment variables"):
            formatter.write_dl(list(VARIABLES.items()))
        with formatter.section("Exit status"):
            formatter.write_dl(
                [("0", "done"), ("1", "failed while working"), ("2", "wrong usage"), ("130", "stopped by Ctrl-C")]
            )


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="mlp", message="%(prog)s %(version)s")
@click.option("--debug", is_flag=True, envvar="MLP_DEBUG", help="Show the traceback of an error.")
def cli(debug: bool) -> None:
    """Train multilayer perceptrons, and use trained models.

    \b
    mlp train digits
    mlp evaluate runs/digits-1 digits
    mlp predict runs/digits-1 new.npy --output predictions.csv
    mlp train --resume runs/digits-1 --epochs 100
    """
    logger = logging.getLogger("mlp")
    logger.handlers = [_Warnings(logging.WARNING)]
    logger.propagate = False


for _command in (
    train,
    predict,
    evaluate,
    export,
    runs,
    tune,
    lr_find,
    inspect,
    info,
    bench,
    plot,
    play,
    report,
    trace,
    gradcheck,
):
    cli.add_command(_command)


def main() -> None:
    """The entry point ``mlp``."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # escape characters that the terminal cannot display
            stream.reconfigure(errors="backslashreplace")
    if ranks.is_started_by_launcher(sys.argv[1:]):
        ranks.run(cli)
    cli(prog_name="mlp")


class _Warnings(logging.Handler):
    """Prints the log messages of the library to stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        print_message(f"{record.levelname.lower()}: {record.getMessage()}")


def _one_line(error: BaseException) -> str:
    if isinstance(error, MemoryError):
        return f"not enough memory ({error or 'no details'}); use smaller data, batches or layers"
    if isinstance(error, OSError) and not isinstance(error, MLPError) and error.filename is not None:
        return f"{error.strerror}: {error.filename!r}"
    return one_line(error) or type(error).__name__


def _print_usage_error(error: click.UsageError) -> None:
    text = one_line(error.format_message())
    if isinstance(error, (click.NoSuchOption, click.MissingParameter)) and error.ctx is not None:
        text += f" See {error.ctx.command_path} --help."
    variable = getattr(getattr(error, "param", None), "envvar", None)
    if variable is not None and os.environ.get(variable):
        text += f" The environment variable {variable} sets it."
    print_message(f"error: {text}")
