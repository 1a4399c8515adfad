"""What ``mlp train`` says about the data: the task, and what was done with the columns of a table."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mlp.checks import counted, shortened
from mlp.cli.printing import print_wrapped
from mlp.data import Dataset, StreamedDataset
from mlp.data.preparation import Note, plain
from mlp.inspection.scores import plainly

MAX_CLASSES = 6
"""The share of each class is printed for at most this many."""

MAX_NOTES = 12
"""Most notes of a kind that are printed."""


def describe_task(data: Dataset | StreamedDataset) -> str:
    """The task, the balance of the classes or the range of the numbers, and the reason for the task.

    Of data that are read in blocks, they are those of the training part.
    """
    reason = f" ({data.task_reason}; see --task)" if data.task_reason else ""
    if data.classes is None:
        return f"regression: {_numbers(data, *_ranges(data))}{reason}"
    shares = _class_shares(data, len(data.classes))
    classes = f"{len(data.classes):,} classes"
    if len(shares) <= MAX_CLASSES:
        balance = ", ".join(f"{_label(c)} {_percent(share)}" for c, share in zip(data.classes, shares, strict=True))
        return f"classification: {classes}, {balance}{reason}"
    return f"classification: {classes}, each {_percent(shares.min())} to {_percent(shares.max())} of the rows{reason}"


def _targets(data: Dataset) -> np.ndarray:
    return data.y if data.y_test is None else np.concatenate([data.y, data.y_test])


def _class_shares(data: Dataset | StreamedDataset, n_classes: int) -> np.ndarray:
    if isinstance(data, StreamedDataset):
        counts = data.class_counts
        assert counts is not None
    else:
        counts = np.bincount(_targets(data), minlength=n_classes)
    shares: np.ndarray = counts / counts.sum()
    return shares


def _ranges(data: Dataset | StreamedDataset) -> tuple[np.ndarray, np.ndarray]:
    """The lowest and the highest value of each target."""
    if isinstance(data, StreamedDataset):
        assert data.target_statistics is not None
        return data.target_statistics.low, data.target_statistics.high
    y = _targets(data)
    columns = y.reshape(len(y), -1)
    return columns.min(axis=0), columns.max(axis=0)


def _numbers(data: Dataset | StreamedDataset, low: np.ndarray, high: np.ndarray) -> str:
    names = data.target_names if len(data.target_names) == len(low) else ("numbers",) * len(low)
    ranges = [
        " ".join(
            filter(None, (shortened(plain(name), 40) if name else "", f"from {plainly(lowest)} to {plainly(highest)}"))
        )
        for name, lowest, highest in zip(names, low, high, strict=True)
    ]
    more = f" and {len(ranges) - MAX_CLASSES} more" if len(ranges) > MAX_CLASSES else ""
    return ", ".join(ranges[:MAX_CLASSES]) + more


def _label(label: object) -> str:
    return shortened(label, 30)


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share >= 0.1 or share == 0 else f"{100 * share:.2g} %"


def print_notes(notes: Sequence[Note], all_of_them: str = "results.json") -> None:
    """Print one line for each note, or for some of them if there are many of a kind; `all_of_them` names the rest."""
    by_heading: dict[str, list[str]] = {}
    for note in notes:
        by_heading.setdefault(note.heading, []).append(note.text)
    for heading, texts in by_heading.items():
        shown = texts if len(texts) <= MAX_NOTES else texts[: MAX_NOTES - 1]
        for text in shown:
            print_wrapped(heading, text)
        if len(shown) < len(texts):
            print_wrapped(heading, f"and {counted(len(texts) - len(shown), 'column')} more; {all_of_them} names them")
