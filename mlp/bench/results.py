"""Stored measurements, and values computed from them: speeds, ratios, and comparisons with an earlier run."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from mlp._backends import FileFormatError
from mlp.bench.cases import Case
from mlp.io.atomic_write import write_atomically
from mlp.io.json_documents import to_json

FORMAT = "mlp-bench-1"


@dataclass(frozen=True)
class Figure:
    """A median and the interquartile range.

    Examples
    --------
    >>> Figure.of([1.0, 2.0, 3.0, 4.0, 100.0])
    Figure(median=3.0, spread=2.0)
    """

    median: float
    spread: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Figure:
        """Compute it from the values of all rounds."""
        low, middle, high = np.percentile(list(values), (25, 50, 75))
        return cls(float(middle), float(high - low))


@dataclass(frozen=True)
class Roof:
    """The peak performance of a device (its roofline), measured in the same run.

    Attributes
    ----------
    gflops : float
        GFLOP/s of the product of two large float32 matrices.
    gigabytes_per_second : float
        GB/s read and written by the copy of a large array.
    """

    gflops: float
    gigabytes_per_second: float


@dataclass
class Entry:
    """The measurements of an implementation in a case.

    Attributes
    ----------
    name, device : str
    ours : bool
    threads : int or None
        The faster number of threads; None if only one number was measured.
    startup : float
        Seconds for building, moving data and compiling: the time until the end of the first epoch, minus the time of a
        later epoch.
    seconds : list of float
        Seconds per epoch, one value per round.
    losses : list of float
        Losses of the first epochs.
    note : str
        Why it has no ratio (it failed, or its losses differ), or "".
    """

    name: str
    ours: bool
    device: str
    threads: int | None = None
    startup: float = 0.0
    seconds: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    note: str = ""

    @property
    def counts(self) -> bool:
        """Whether it can be compared with others."""
        return bool(self.seconds) and not self.note


@dataclass
class Result:
    """The entries of all implementations in a case; round i of all entries was measured at about the same time."""

    case: Case
    entries: list[Entry]

    def find(self, name: str) -> Entry | None:
        """Return the entry with this name, or None if it cannot be compared with others."""
        return next((entry for entry in self.entries if entry.name == name and entry.counts), None)

    def samples_per_second(self, entry: Entry) -> Figure:
        """Return the training speed in rows per second."""
        return Figure.of(self.case.rows / seconds for seconds in entry.seconds)

    def gflops(self, entry: Entry) -> float:
        """Return billions of floating-point operations per second."""
        return self.samples_per_second(entry).median * self.case.flops / 1e9

    def microseconds_per_step(self, entry: Entry) -> float:
        """Return the microseconds of one update."""
        return 1e6 * Figure.of(entry.seconds).median / self.case.steps

    def best_peer(self, among: Iterable[str] | None = None) -> Entry | None:
        """Return the fastest peer, of all or of the names in `among`."""
        names = None if among is None else set(among)
        peers = [e for e in self.entries if e.counts and not e.ours and (names is None or e.name in names)]
        return min(peers, key=lambda entry: Figure.of(entry.seconds).median, default=None)

    def ratio(self, entry: Entry, among: Iterable[str] | None = None) -> Figure | None:
        """Return the speed divided by that of the best peer, computed per round, so that other load cancels out."""
        peer = self.best_peer(among)
        if peer is None or not entry.counts:
            return None
        return Figure.of(a / b for a, b in zip(peer.seconds, entry.seconds, strict=True))


@dataclass
class Report:
    """A run of the benchmarks.

    Attributes
    ----------
    results : list of Result
    missing : dict
        The reason by name of a missing implementation.
    roofs : dict
        `Roof` by device.
    about : dict
        The machine, its threads, the versions of the libraries, and the date.
    """

    results: list[Result]
    missing: dict[str, str] = field(default_factory=dict)
    roofs: dict[str, Roof] = field(default_factory=dict)
    about: dict[str, Any] = field(default_factory=dict)

    def percent_of_peak(self, result: Result, entry: Entry) -> float | None:
        """Return GFLOP/s in percent of the peak of the device."""
        roof = self.roofs.get(entry.device)
        return None if roof is None else 100 * result.gflops(entry) / roof.gflops

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-compatible dict; it also has the computed values, for other programs."""
        return {
            "format": FORMAT,
            **self.about,
            "roofs": {device: vars(roof) for device, roof in self.roofs.items()},
            "missing": self.missing,
            "results": [
                {
                    **vars(result.case),
                    "rows": result.case.rows,
                    "steps": result.case.steps,
                    "flops_per_row": result.case.flops,
                    "best_peer": peer.name if (peer := result.best_peer()) else None,
                    "entries": [vars(entry) | self._derived(result, entry) for entry in result.entries],
                }
                for result in self.results
            ],
        }

    def _derived(self, result: Result, entry: Entry) -> dict[str, Any]:
        if not entry.seconds:
            return {}
        speed, ratio = result.samples_per_second(entry), result.ratio(entry)
        return {
            "samples_per_second": vars(speed),
            "microseconds_per_step": result.microseconds_per_step(entry),
            "gflops": result.gflops(entry),
            "percent_of_peak": self.percent_of_peak(result, entry),
            "ratio": None if ratio is None else vars(ratio),
        }

    @classmethod
    def from_dict(cls, document: dict[str, Any]) -> Report:
        """Create a report from the result of `to_dict`."""
        fields = Entry.__dataclass_fields__
        return cls(
            [
                Result(
                    Case(row["net"], row["batch_size"], row["optimizer"], row["max_rows"]),
                    [Entry(**{key: entry[key] for key in fields}) for entry in row["entries"]],
                )
                for row in document["results"]
            ],
            document["missing"],
            {device: Roof(**roof) for device, roof in document["roofs"].items()},
            {key: document[key] for key in ABOUT if key in document},
        )

    def save(self, path: str | PathLike[str]) -> None:
        """Write the report as JSON, atomically."""
        write_atomically(path, (to_json(self.to_dict()) + "\n").encode())

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Report:
        """Read a file that `save` wrote.

        Raises
        ------
        FileFormatError
            If the file is missing or has another format.
        """
        try:
            document = json.loads(Path(path).read_bytes())
            if document["format"] != FORMAT:
                raise FileFormatError(f"{str(path)!r} has format {document['format']!r}; this version reads {FORMAT}.")
            return cls.from_dict(document)
        except FileNotFoundError:
            raise FileFormatError(
                f"there is no file {str(path)!r}; check the spelling and the current folder"
            ) from None
        except (KeyError, TypeError, AttributeError, UnicodeDecodeError, json.JSONDecodeError) as error:
            raise FileFormatError(
                f"{str(path)!r} was not written by `mlp bench --json FILE` ({type(error).__name__}: {error})."
            ) from error


ABOUT = ("recorded", "machine", "threads", "versions")


@dataclass(frozen=True)
class Change:
    """A ratio to the best peer in an old and a new run.

    Attributes
    ----------
    case : Case
    name, peer : str
        Our backend, and the best of the peers that both runs measured.
    old, new : Figure
    """

    case: Case
    name: str
    peer: str
    old: Figure
    new: Figure

    @property
    def worse(self) -> bool:
        """Whether it decreased by more than the noise, which is the sum of the two spreads."""
        return self.new.median < self.old.median - (self.old.spread + self.new.spread)

    def __str__(self) -> str:
        return (
            f"{self.case}: {self.name} was {self.old.median:.2f} ± {self.old.spread:.2f} times as fast as {self.peer}, "
            f"now {self.new.median:.2f} ± {self.new.spread:.2f}"
        )


def compare(old: Report, new: Report) -> tuple[list[Change], list[str]]:
    """Compare the ratios of our backends with an earlier run.

    The ratios are to the best of the peers that both runs measured, so that a library that is missing in one run has
    no influence.

    Returns
    -------
    changes : list of Change
    skipped : list of str
        What could not be compared, and why.
    """
    changes, skipped = [], []
    old_results = {result.case: result for result in old.results}
    for new_result in new.results:
        case, old_result = new_result.case, old_results.get(new_result.case)
        if old_result is None:
            skipped.append(f"{case}: not in the earlier run")
            continue
        common = {e.name for e in old_result.entries if e.counts} & {e.name for e in new_result.entries if e.counts}
        peer = new_result.best_peer(common)
        for name in [entry.name for entry in new_result.entries if entry.ours]:
            old_entry, new_entry = old_result.find(name), new_result.find(name)
            old_ratio = old_result.ratio(old_entry, common) if old_entry else None
            new_ratio = new_result.ratio(new_entry, common) if new_entry else None
            if old_ratio is None or new_ratio is None or peer is None:
                skipped.append(f"{case}: the two runs did not both measure {name} and a peer")
            else:
                changes.append(Change(case, name, peer.name, old_ratio, new_ratio))
    return changes, skipped
