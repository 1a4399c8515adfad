"""Print the scores of a network beside those of a constant answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from mlp.cli.printing import print_line, print_wrapped

if TYPE_CHECKING:
    from mlp.inspection.scores import Line
    from mlp.model import MLP


def print_scores(net: MLP, scores: dict[str, Any], names: list[str]) -> None:
    """Print a table of the scores, and a warning for classes that are never answered.

    `names` are those of the outputs, for numbers.
    """
    from mlp.inspection.class_predictions import class_names
    from mlp.inspection.scores import class_lines, constant_answer, number_lines, warnings_of

    if not scores:
        return
    lines = number_lines(scores, names) if net.task == "numbers" else class_lines(scores, class_names(net))
    _print_lines(lines, constant_answer(scores))
    if "left_out" in scores:
        print_wrapped("left out", scores["left_out"])
    for warning in warnings_of(scores):
        print_wrapped("warning", warning)


def _print_lines(lines: list[Line], constant: str) -> None:
    first = max(len(line.name) for line in lines)
    model = max(len("model"), *(len(line.model) for line in lines))
    baseline = max(len(constant), *(len(line.baseline) for line in lines))
    print_line(click.style(f"{'':<10}{'':<{first}}  {'model':>{model}}  {constant:>{baseline}}", bold=True))
    for line in lines:
        print_line(f"{'':<10}{line.name:<{first}}  {line.model:>{model}}  {line.baseline:>{baseline}}")
