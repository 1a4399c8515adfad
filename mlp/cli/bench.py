"""``mlp bench``: measure training speed of our backends and of other libraries."""

from __future__ import annotations

import contextlib
import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mlp.cli import paths
from mlp.cli.options import SectionedCommand, names, option
from mlp.cli.printing import print_json, print_line, print_message

if TYPE_CHECKING:
    from mlp.bench import Report

NETS, BATCH_SIZES, ROUNDS = "784-30-10,784-128-10,784-512-512-10", "16,32,128,1024", 5
GPU_BATCH_SIZES = "16,64,256,1024,4096"
QUICK_NETS, QUICK_BATCH_SIZES, QUICK_ROUNDS = "784-30-10", "32", 3
NOT_QUICK = ("torch.compile", "torch.compile CUDA", "Nielsen")
"""Skipped by ``--quick`` unless named: the first two compile for many seconds, the last is a hundred times slower."""


_PEERS = (
    "all, none, or a list of: NumPy by hand, PyTorch, torch.compile, JAX, scikit-learn, Nielsen, PyTorch CUDA, "
    "torch.compile CUDA, PyTorch CUDA graph, JAX CUDA."
)


@click.command(cls=SectionedCommand, short_help="Compare the training speed with other libraries.")
@option("Libraries", "--backends", metavar="NAMES", help="Such as numpy,numba.  Default: all usable backends.")
@option("Libraries", "--peers", metavar="NAMES", default="all", show_default=True, help=f"Other libraries: {_PEERS}")
@option("Networks", "--nets", metavar="NETS", help=f"Layer widths of each network.  Default: {NETS}.")
@option("Networks", "--batch-sizes", metavar="SIZES", help=f"Default: {BATCH_SIZES}; with a GPU {GPU_BATCH_SIZES}.")
@option("Networks", "--optimizer", metavar="NAME", default="sgd", show_default=True, help="sgd, adam, or sgd,adam.")
@option(
    "Networks",
    "--precision",
    metavar="NAME",
    default="float32",
    show_default=True,
    help="float32, or tf32 to allow matrix products in TF32 on a GPU.",
)
@option(
    "Networks",
    "--data",
    "contents",
    metavar="NAME",
    default="images",
    show_default=True,
    help="images: MNIST in the folder MLP_DATA, else the digits of scikit-learn, enlarged; or dense: random numbers.",
)
@option(
    "Networks",
    "--threads",
    metavar="NUMBERS",
    help="Measure with each of these numbers of threads, such as 1,2,4.  Default: each library chooses.",
)
@option("Measurement", "--rounds", type=click.IntRange(2), metavar="N", help=f"Number of rounds.  Default: {ROUNDS}.")
@option("Measurement", "--quick", is_flag=True, help="One network, one batch size, three rounds: fast but imprecise.")
@option(
    "Measurement",
    "--first-use",
    is_flag=True,
    help="Also measure the first training of our backends in new processes, with empty and with warm caches.",
)
@option(
    "Measurement",
    "--max-seconds",
    type=click.FloatRange(0),
    metavar="SECONDS",
    help="Begin no further network or batch size after this time.",
)
@option("Output", "--json", "json_file", metavar="FILE", help="Write all results; - prints only them to stdout.")
@option("Output", "--markdown", is_flag=True, help="Print only a Markdown table (as in docs/guide/performance.md).")
@option("Output", "--plot", metavar="FILE.png", help="Plot the speeds; also FILE-steps.png and FILE-roofline.png.")
@option("Output", "--from", "source", metavar="FILE", help="Do not measure; read a file that --json wrote.")
@option(
    "Output",
    "--compare",
    metavar="OLD.json",
    help="Fail if a ratio to the best peer became worse by more than the noise.",
)
def bench(**options: Any) -> None:
    """Measure the training speed of our backends and of the other installed libraries (peers).

    All libraries start with the same weights, see the same rows in the same shuffled order and make the same updates,
    in float32.  They take
    turns in every round.  A library with different losses is listed and gets no ratio.  Results are medians with the
    interquartile range (IQR).  With a GPU, epochs are longer, and the results say for each network from which batch
    size on the GPU is faster than the CPU.

    \b
    mlp bench
    mlp bench --quick
    mlp bench --nets 784-800-10 --batch-sizes 1,128 --optimizer adam --peers PyTorch,JAX
    mlp bench --json now.json --plot now.png --compare before.json
    mlp bench --threads 1,2 --batch-sizes 32,1024
    mlp bench --from now.json --markdown
    mlp bench --backends numba,cupy --batch-sizes 1,16,64,256,1024,4096 --first-use
    """
    from mlp.bench.results import Report

    if options["json_file"] == "-" and options["markdown"]:
        raise click.UsageError("--json - and --markdown both write to stdout; give --json a file name.")
    paths.require_file(options["source"], "--from")
    paths.require_file(options["compare"], "--compare")
    paths.require_output(options["json_file"] if options["json_file"] != "-" else None, "--json")
    earlier = (
        Report.load(options["compare"]) if options["compare"] is not None else None
    )  # fails before the measurement
    plots = _plot_paths(options["plot"])
    report = Report.load(options["source"]) if options["source"] is not None else _measure(options)
    _show(report, options)
    if plots:
        from mlp.bench.plots import roofline, speed, step_time

        for draw, path in zip((speed, step_time, roofline), plots, strict=True):
            draw(report, path)
        print_message(f"written: {', '.join(map(str, plots))}")
    if earlier is not None:
        _compare(earlier, report)


def _measure(options: dict[str, Any]) -> Report:
    from mlp.bench import Case, find_implementations, measure
    from mlp.bench.cases import GPU_ROWS, GPU_WORK
    from mlp.bench.implementations import PEERS
    from mlp.bench.measure import progress_steps

    quick, peers = options["quick"], options["peers"]
    keywords = {"all": [name for name in PEERS if not quick or name not in NOT_QUICK], "none": []}
    default_nets = QUICK_NETS if quick else NETS
    nets = names(default_nets if options["nets"] is None else options["nets"])
    optimizers = names(options["optimizer"])
    given_sizes = _numbers(options["batch_sizes"], "--batch-sizes") if options["batch_sizes"] is not None else None
    threads = _threads(options["threads"])
    for net in nets:  # what is wrong is said before the libraries are imported, which takes seconds
        for optimizer in optimizers:
            Case(
                net,
                min(given_sizes or [1]),
                optimizer,
                precision=options["precision"],
                contents=options["contents"],
            )
    selection = find_implementations(
        names(options["backends"]) if options["backends"] is not None else None,
        keywords[peers] if peers in keywords else names(peers),
    )
    on_gpu = any(implementation.device != "cpu" for implementation in selection.implementations)
    epoch: dict[str, Any] = {"max_rows": GPU_ROWS, "work": GPU_WORK} if on_gpu else {}
    default_sizes = QUICK_BATCH_SIZES if quick else GPU_BATCH_SIZES if on_gpu else BATCH_SIZES
    cases = [
        Case(
            net, size, optimizer, precision=options["precision"], contents=options["contents"], threads=number, **epoch
        )
        for optimizer in optimizers
        for net in nets
        for size in given_sizes or _numbers(default_sizes, "--batch-sizes")
        for number in threads
    ]
    rounds = options["rounds"] or (QUICK_ROUNDS if quick else ROUNDS)
    first_use, json_file = options["first_use"], options["json_file"]

    def save(report: Report) -> None:
        """Write the results after each case, in case the process is ended."""
        if json_file not in (None, "-"):
            report.save(json_file)

    with _progress(progress_steps(cases, selection, rounds, first_use)) as on_step:
        return measure(
            cases,
            selection,
            rounds=rounds,
            matrix=2048 if quick else 4096,
            first_use=first_use,
            max_seconds=math.inf if options["max_seconds"] is None else options["max_seconds"],
            on_step=on_step,
            on_result=save,
        )


def _numbers(text: str, name: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise click.BadParameter(f"{text!r} is not a list of whole numbers such as 16,128.", param_hint=name) from None


def _threads(text: str | None) -> list[int] | list[None]:
    """Return the numbers of threads; None means that each library chooses."""
    if text is None:
        return [None]
    from mlp.io.machine_info import usable_processors

    numbers, usable = _numbers(text, "--threads"), usable_processors()
    for number in numbers:
        if not 1 <= number <= usable:
            raise click.BadParameter(
                f"{number} threads: this process may use {usable} processors, so 1 to {usable} are possible.",
                param_hint="--threads",
            )
    return numbers


def _plot_paths(path: str | None) -> tuple[Path, ...] | None:
    """Return the paths of the three plots; check before the measurement that they can be written."""
    if path is None:
        return None
    first = Path(path)
    if first.suffix.lower() not in (".png", ".svg", ".pdf"):
        raise click.BadParameter(f"{path!r} must end in .png, .svg or .pdf.", param_hint="--plot")
    from importlib.util import find_spec

    from mlp._backends import ConfigurationError

    if find_spec("matplotlib") is None:
        raise ConfigurationError("plots need matplotlib: pip install matplotlib")
    written = (first, first.with_stem(f"{first.stem}-steps"), first.with_stem(f"{first.stem}-roofline"))
    for one in written:
        paths.require_output(one, "--plot")
    return written


@contextlib.contextmanager
def _progress(total: int) -> Iterator[Callable[[str], object]]:
    """Show a progress bar on stderr, if it is a terminal."""
    if not sys.stderr.isatty():
        yield lambda description: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (BarColumn(), TextColumn("{task.description}"), TimeRemainingColumn())
    # no refresh thread: it would disturb the measurement
    with Progress(*columns, console=Console(stderr=True), auto_refresh=False, transient=True) as bar:
        task = bar.add_task("", total=total)

        def on_step(description: str) -> None:
            bar.update(task, advance=1, description=description, refresh=True)

        yield on_step


def _show(report: Report, options: dict[str, Any]) -> None:
    if options["json_file"] not in (None, "-"):
        report.save(options["json_file"])
        print_message(f"written: {options['json_file']}")
    if options["json_file"] == "-":
        print_json(report.to_dict())
        return
    from mlp.bench.report import as_markdown, as_table, notes, sentences

    if options["markdown"]:
        print_line(as_markdown(report))
        if report.has_gpu:
            print_line("")
        for line in sentences(report):
            print_line(f"- {line}")
        return
    from rich.console import Console

    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 200  # avoid wrapped lines
    console.print(as_table(report))
    for line in (*sentences(report), *notes(report)):
        print_line(line)


def _compare(earlier: Report, report: Report) -> None:
    """Print the changes since the earlier run to stderr; exit with 1 if a ratio is worse."""
    from mlp.bench import compare

    changes, skipped = compare(earlier, report)
    if earlier.about.get("machine") != report.about.get("machine"):
        print_message("compare: the earlier run is from another machine or system; its ratios are only a rough guide")
    for text in skipped:
        print_message(f"compare: {text}")
    worse = [change for change in changes if change.worse]
    for change in worse:
        print_message(f"slower: {change}")
    print_message(f"compare: {len(changes) - len(worse)} of {len(changes)} ratios are not worse")
    if worse or not changes:
        raise click.exceptions.Exit(1)
