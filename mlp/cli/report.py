"""``mlp report``: write an HTML page about a run."""

from __future__ import annotations

from pathlib import Path

import click

from mlp.cli import paths
from mlp.cli.options import SectionedCommand, data_dir_option, no_data_option, option
from mlp.cli.printing import print_message, print_shown_rows


@click.command(cls=SectionedCommand, short_help="Write an HTML page about a run.")
@click.argument("run")
@data_dir_option
@option(
    "Output",
    "--output",
    "-o",
    metavar="FILE",
    help="The .html file; an existing one is replaced.  Default: report.html in the run folder.",
)
@no_data_option
def report(run: str, output: str | None, data_dir: str | None, no_data: bool) -> None:
    """Write an HTML page about RUN, a run folder.

    The page has the training curves, the predictions on the test part, the weights, the speed, the configuration, the
    machine, and the command that repeats the run.  It is one file without scripts or links to other files.  It lists
    what is missing if the run failed or was interrupted, or if the data no longer exist.

    The page shows rows of the data, and how many is printed: the worst mistakes with their values, and points in
    plots.  With --no-data it has no value of the data but the names of classes.

    \b
    mlp report runs/digits-1
    mlp report runs/customers-1 --no-data
    mlp report runs/mnist-1 --data-dir mnist --output mnist.html
    """
    if output is not None and Path(output).suffix.lower() not in (".html", ".htm"):
        raise click.BadParameter(f"{output!r} must end in .html.", param_hint="--output")

    from mlp.inspection import report as reports
    from mlp.io.atomic_write import write_atomically

    path = Path(run) / "report.html" if output is None else Path(output)
    paths.require_run(run, "RUN")
    paths.require_data(None, data_dir)
    paths.require_output(path, "RUN" if output is None else "--output")
    page, n_rows = reports.page(run, data_dir=data_dir, show_data=not no_data)
    write_atomically(path, page.encode())
    print_message(f"written: {path}")
    print_shown_rows(path, n_rows)
