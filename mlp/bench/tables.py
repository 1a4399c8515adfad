"""What the tables of training and of predictions have in common, for the terminal and in Markdown."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mlp.bench.entries import Entry, Figure

if TYPE_CHECKING:
    from rich.table import Table


def blocks(
    headers: Sequence[str],
    results: Iterable[Any],
    *,
    seconds: Callable[[Any, Entry], float],
    best_peers: Callable[[Any], Sequence[Entry | None]],
    cells: Callable[[Any, Entry], Sequence[str]],
) -> Table:
    """A table for the terminal with a block for each result, its fastest entry first.

    Parameters
    ----------
    headers : sequence of str
        Of the columns after the name.
    results : iterable of Result or PredictionResult
    seconds : callable (result, entry)
        By which the entries are sorted.
    best_peers : callable (result)
        The entries to emphasize.
    cells : callable (result, entry)
        The columns after the name.
    """
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("", no_wrap=True)
    for header in headers:
        table.add_column(header, justify="right", no_wrap=True)
    for result in results:
        table.add_row(f"[bold]{result.case}[/bold]")
        best = best_peers(result)
        for entry in sorted(result.entries, key=lambda entry: seconds(result, entry)):
            style = "green" if entry.ours else "yellow" if any(entry is peer for peer in best) else ""
            table.add_row(f"  {entry.label}", *cells(result, entry), style=style)
        table.add_section()
    return table


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown, whose columns after the first are numbers."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def bold_if(text: str, condition: bool) -> str:
    """A text in Markdown, in bold if it is to be emphasized."""
    return f"**{text}**" if condition else text


def plus_minus(figure: Figure | None) -> str:
    """The median and the interquartile range, or nothing."""
    return "" if figure is None else f"{figure.median:.2f} ± {figure.spread:.2f}"


def figure_cells(ratio: Figure | None, entry: Entry) -> list[str]:
    """The median and the IQR, or the beginning of the note that says why there is no ratio."""
    return [why_nothing(entry), ""] if ratio is None else [f"{ratio.median:.2f}", f"{ratio.spread:.2f}"]


def why_nothing(entry: Entry) -> str:
    """The beginning of an entry's note."""
    return entry.note.partition(":")[0]


def missing_notes(missing: Mapping[str, str]) -> list[str]:
    """A line for each implementation that is missing."""
    return [f"{name} is missing: {reason}" for name, reason in missing.items()]


def entry_notes(results: Iterable[Any]) -> list[str]:
    """A line for each note of the entries of results, with the cases."""
    cases: dict[str, list[str]] = {}
    for result in results:
        for entry in result.entries:
            if entry.note:
                cases.setdefault(f"{entry.name}: {entry.note}", []).append(str(result.case))
    return [f"{note} ({'; '.join(told) if len(told) < 4 else f'{len(told)} cases'})" for note, told in cases.items()]
