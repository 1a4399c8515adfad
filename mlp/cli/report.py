"""``mlp report``: a run as one HTML page."""

from __future__ import annotations

from pathlib import Path

import click

from mlp.cli.options import SectionedCommand, data_dir_option, option
from mlp.cli.output import complain


@click.command(cls=SectionedCommand, short_help="Write a page about a run.")
@click.argument("run")
@data_dir_option
@option("Output", "--output", "-o", metavar="FILE", help="The page, .html.  Default: report.html in the run's folder.")
def report(run: str, output: str | None, data_dir: str | None) -> None:
    """Write all there is to know about RUN, a run's folder, to one HTML page.

    How training went, what the network answers on the test part, what its neurons look for, how fast it was, how it
    was set up and on what machine, and the command that does it again.  The page needs nothing but itself: no network,
    no scripts.  What a failed or interrupted run lacks is named on it, and so are data that are not there any more.

    \b
    mlp report runs/digits-1
    mlp report runs/mnist-1 --data-dir mnist --output mnist.html
    """
    if output is not None and Path(output).suffix.lower() not in (".html", ".htm"):
        raise click.BadParameter(f"{output!r} must end in .html.", param_hint="--output")

    from mlp.inspection import report as reports
    from mlp.io.storage import write_atomically

    page = reports.report(run, data_dir=data_dir)
    path = Path(run) / "report.html" if output is None else Path(output)
    write_atomically(path, page.encode())
    complain(f"written: {path}")
