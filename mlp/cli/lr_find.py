"""``mlp lr-find``: the learning rate range test."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from mlp.checks import counted
from mlp.cli import paths
from mlp.cli.options import SectionedCommand, json_option, option, options_of
from mlp.cli.printing import describe_network, print_field, print_json, print_line, print_wrapped
from mlp.cli.train import new_run, train
from mlp.cli.training_data import DATA_OPTIONS, in_memory

if TYPE_CHECKING:
    from mlp.training.learning_rate_test import LearningRateTest

ROWS, BAR = 20, 40
"""Lines of the table, and characters of the longest bar."""

_SHARED = (
    *DATA_OPTIONS, "hidden", "activation", "output_activation", "loss", "init", "dtype", "precision", "batch_size",
    "class_weight", "optimizer", "momentum", "nesterov", "weight_decay", "l2", "l1", "dropout", "input_dropout",
    "clip_norm", "clip_value", "device", "backend",
)  # fmt: skip
_FIXED = {
    "lr": None,
    "schedule": "constant",
    "warmup": None,
    "epochs": None,
    "validation": 0.0,
    "early_stopping": None,
    "shards": None,
}
"""The options of ``mlp train`` that do not matter here."""


@click.command(cls=SectionedCommand, short_help="Find a good learning rate.")
@click.argument("data")
@options_of(train, *_SHARED)
@option("Test", "--low", type=float, default=1e-7, show_default=True, metavar="RATE", help="The first learning rate.")
@option("Test", "--high", type=float, default=10.0, show_default=True, metavar="RATE", help="The last learning rate.")
@option("Test", "--steps", type=click.IntRange(10), default=100, show_default=True, metavar="N", help="Updates.")
@option("Output", "--output", metavar="FILE", help="Draw the curve: .png, .svg or .pdf.  Needs matplotlib.")
@json_option
def lr_find(data: str, output: str | None, as_json: bool, **options: Any) -> None:
    """Find a good learning rate for a network and DATA, with the options that mlp train would have.

    The learning rate grows from update to update while the network is trained.  The loss does not change as long as the
    rate is too low, then it falls, and grows when the rate is too high, which ends the test (Smith 2017, "Cyclical
    learning rates for training neural networks").  Two rates are printed, as in fastai: valley, in the longest stretch
    in which the smoothed loss falls, which is the suggestion; and steepest, where it falls fastest.

    Only the training part is used, or a sample of about 32 MiB of it if the data are read in blocks.  No file is
    written but --output.

    \b
    mlp lr-find digits
    mlp lr-find houses.csv --target price --optimizer sgd --momentum 0.9 --output rates.png
    """
    paths.require_data(data, options["data_dir"], parts=True)
    if output is not None:
        from mlp.inspection.plots.style import check_path, new_figure

        check_path(output)
        paths.require_output(output)
        new_figure(1)  # fails now if matplotlib is not installed

    from mlp import optimizers
    from mlp.rate_finder import find_learning_rate

    net, opened, config = new_run(data, options | _FIXED | {"as_json": as_json})
    dataset, sample = in_memory(opened, options["seed"])
    test = find_learning_rate(
        net,
        dataset.X,
        dataset.y,
        low=options["low"],
        high=options["high"],
        steps=options["steps"],
        batch_size=options["batch_size"],
        optimizer=optimizers.from_dict(config["training"]["optimizer"]),
        class_weight=options["class_weight"],
    )
    if output is not None:
        from mlp.inspection.plots import learning_rates, save

        save(learning_rates(test), output)
    if as_json:
        print_json(
            {
                "suggestion": test.suggestion, "valley": test.valley, "steepest": test.steepest,
                "diverged": test.diverged, "learning_rates": test.learning_rates.tolist(),
                "losses": test.losses.tolist(), "smoothed": test.smoothed.tolist(), "output": output,
            }
            | ({"sample": sample} if sample else {})
        )  # fmt: skip
        return
    if sample:
        print_wrapped("sample", sample)
    print_field("network", describe_network(net))
    name = config["training"]["optimizer"]["name"]
    batch = "full batch" if name == "gd" else f"batches of {options['batch_size'] or min(32, len(dataset.X))}"
    print_field("training", f"{name}, {batch}")
    print_line()
    _print_curve(test)
    print_line()
    end = "the loss diverged" if test.diverged else "all updates done"
    print_field("ended", f"{end}, after {counted(len(test.losses), 'update')}")
    if test.suggestion is None:
        print_wrapped("suggested", "none, because the loss did not fall; try other --low, --high or --steps")
    else:
        steepest = "" if test.steepest is None else f"; steepest {test.steepest:.2g}"
        rate = click.style(f"--lr {test.suggestion:.2g}", bold=True, fg="green")
        print_field("suggested", f"{rate} (valley{steepest})")
    if output is not None:
        print_field("picture", output)


def _print_curve(test: LearningRateTest) -> None:
    """A bar for the smoothed loss at some of the rates, evenly spaced; the suggested rate is among them."""
    n = len(test.losses)
    if not n:
        return
    shown = np.unique(np.linspace(0, n - 1, min(ROWS, n)).round().astype(int))
    if test.suggestion is not None:
        suggested = int(np.abs(test.learning_rates - test.suggestion).argmin())
        shown[np.abs(shown - suggested).argmin()] = suggested
    low = float(test.smoothed.min())
    high = min(float(test.smoothed.max()), 1.25 * float(np.median(test.smoothed[: -(-n // 3)])))
    print_line(click.style(f"{'learning rate':>14}{'loss':>10}", bold=True))
    for update in shown:
        rate, loss = test.learning_rates[update], float(test.smoothed[update])
        share = 1.0 if high <= low else min(max((loss - low) / (high - low), 0.0), 1.0)
        bar = _block() * max(round(share * BAR), 1) + (">" if loss > high else "")
        mark = "  suggested" if test.suggestion == rate else ""
        print_line(f"{rate:>14.2g}{loss:>10.4g}  {bar}{mark}")


def _block() -> str:
    try:
        "█".encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return "#"
    return "█"
