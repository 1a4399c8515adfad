"""``mlp bench``: how fast networks train here, on our backends and in other libraries."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mlp.cli.options import SectionedCommand, names, option
from mlp.cli.output import complain, say, say_json

if TYPE_CHECKING:
    from mlp.bench import Report

NETS, BATCH_SIZES, ROUNDS = "784-30-10,784-128-10,784-512-512-10", "16,32,128,1024", 5
QUICK_NETS, QUICK_BATCH_SIZES, QUICK_ROUNDS = "784-30-10", "32", 3
NOT_QUICK = ("torch.compile", "Nielsen")
"""Left out by ``--quick`` unless named: the one compiles for many seconds, the other is a hundred times slower."""


_PEERS = (
    "all, none, or some of NumPy by hand, PyTorch, torch.compile, JAX, scikit-learn, Nielsen, PyTorch CUDA, "
    "PyTorch CUDA graph."
)


@click.command(cls=SectionedCommand, short_help="Measure the speed of training, beside other libraries.")
@option("Who", "--backends", metavar="NAMES", help="Such as numpy,numba.  Default: all that can be used here.")
@option("Who", "--peers", metavar="NAMES", default="all", show_default=True, help=_PEERS)
@option("What", "--nets", metavar="NETS", help=f"Widths of the layers.  Default: {NETS}.")
@option("What", "--batch-sizes", metavar="SIZES", help=f"Default: {BATCH_SIZES}.")
@option("What", "--optimizer", metavar="NAME", default="sgd", show_default=True, help="sgd, adam, or sgd,adam.")
@option("How", "--rounds", type=click.IntRange(2), metavar="N", help=f"Turns that each takes.  Default: {ROUNDS}.")
@option("How", "--quick", is_flag=True, help="One net, one batch size, three rounds: seconds, and rough figures.")
@option("Output", "--json", "json_file", metavar="FILE", help="Write all figures; - prints them and nothing else.")
@option("Output", "--markdown", is_flag=True, help="Print the table of the README, and nothing else.")
@option("Output", "--plot", metavar="FILE.png", help="Draw the speeds, and in FILE-roofline.png the roofline.")
@option("Output", "--from", "source", metavar="FILE", help="Measure nothing: show what --json wrote.")
@option("Output", "--compare", metavar="OLD.json", help="Fail where we lost ground to the best peer, beyond the noise.")
def bench(**options: Any) -> None:
    """Measure how fast networks train here, on our backends and in the other libraries that are installed.

    Contestants take turns, begin with the same weights, see the same rows and apply the same updates, in float32;
    one whose losses differ is named and gets no ratio.  Figures are medians, with the distance of the quartiles (IQR).

    \b
    mlp bench
    mlp bench --quick
    mlp bench --nets 784-800-10 --batch-sizes 1,128 --optimizer adam --peers PyTorch,JAX
    mlp bench --json now.json --plot now.png --compare before.json
    mlp bench --from now.json --markdown
    """
    from mlp.bench.results import Report

    if options["json_file"] == "-" and options["markdown"]:
        raise click.UsageError("--json - and --markdown both want stdout to themselves; name a file for one of them.")
    earlier = Report.load(options["compare"]) if options["compare"] else None  # a bad file is told before the work
    plots = _plot_paths(options["plot"])
    report = Report.load(options["source"]) if options["source"] else _measure(options)
    _show(report, options)
    if plots:
        from mlp.bench.plots import roofline, speed

        speed(report, plots[0])
        roofline(report, plots[1])
        complain(f"drawn: {plots[0]}, {plots[1]}")
    if earlier is not None:
        _compare(earlier, report)


def _measure(options: dict[str, Any]) -> Report:
    from mlp.bench import Case, find_contestants, measure
    from mlp.bench.contestants import PEERS
    from mlp.bench.measure import ticks

    quick, peers = options["quick"], options["peers"]
    cases = [
        Case(net, size, optimizer)
        for optimizer in names(options["optimizer"])
        for net in names(options["nets"] or (QUICK_NETS if quick else NETS))
        for size in _batch_sizes(options["batch_sizes"] or (QUICK_BATCH_SIZES if quick else BATCH_SIZES))
    ]
    chosen = {"all": [name for name in PEERS if not quick or name not in NOT_QUICK], "none": []}
    field = find_contestants(
        names(options["backends"]) if options["backends"] else None,
        chosen[peers] if peers in chosen else names(peers),
    )
    rounds = options["rounds"] or (QUICK_ROUNDS if quick else ROUNDS)
    with _progress(ticks(cases, field, rounds)) as tick:
        return measure(cases, field, rounds=rounds, matrix=2048 if quick else 4096, tick=tick)


def _batch_sizes(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise click.BadParameter(f"{text!r} is not a list of whole numbers such as 16,128.") from None


def _plot_paths(path: str | None) -> tuple[Path, Path] | None:
    """The two pictures; what would stop them is told before the work."""
    if path is None:
        return None
    first = Path(path)
    if first.suffix.lower() not in (".png", ".svg", ".pdf"):
        raise click.BadParameter(f"{path!r} must end in .png, .svg or .pdf.")
    from importlib.util import find_spec

    from mlp._backends import ConfigurationError

    if find_spec("matplotlib") is None:
        raise ConfigurationError("pictures need matplotlib: pip install matplotlib")
    return first, first.with_stem(f"{first.stem}-roofline")


@contextlib.contextmanager
def _progress(total: int) -> Iterator[Callable[[str], object]]:
    """A bar on stderr, if that is a terminal."""
    if not sys.stderr.isatty():
        yield lambda doing: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (BarColumn(), TextColumn("{task.fields[doing]}"), TimeRemainingColumn())
    # drawn when something changes only: a thread that draws would take part in the measurement
    with Progress(*columns, console=Console(stderr=True), auto_refresh=False, transient=True) as bar:
        task = bar.add_task("", total=total, doing="")

        def tick(doing: str) -> None:
            bar.update(task, advance=1, doing=doing, refresh=True)

        yield tick


def _show(report: Report, options: dict[str, Any]) -> None:
    if options["json_file"] not in (None, "-"):
        report.save(options["json_file"])
        complain(f"written: {options['json_file']}")
    if options["json_file"] == "-":
        say_json(report.to_dict())
        return
    from mlp.bench.report import as_markdown, as_table, notes

    if options["markdown"]:
        say(as_markdown(report))
        return
    from rich.console import Console

    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 160  # nobody's window: let no line be folded
    console.print(as_table(report))
    for line in notes(report):
        say(line)


def _compare(earlier: Report, report: Report) -> None:
    """Print to stderr what changed against the earlier run; exit with 1 if something is slower."""
    from mlp.bench import compare

    changes, left_out = compare(earlier, report)
    if earlier.about.get("machine") != report.about.get("machine"):
        complain("compare: the earlier run is of another machine or system; ratios carry over in part only")
    for text in left_out:
        complain(f"compare: {text}")
    worse = [change for change in changes if change.worse]
    for change in worse:
        complain(f"slower: {change}")
    complain(f"compare: {len(changes) - len(worse)} of {len(changes)} ratios held")
    if worse or not changes:
        raise click.exceptions.Exit(1)
