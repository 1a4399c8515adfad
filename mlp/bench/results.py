"""What was measured, as plain data, and what follows from it: speeds, ratios, and whether something got slower."""

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
from mlp.io.documents import to_json
from mlp.io.storage import write_atomically

FORMAT = "mlp-bench-1"


@dataclass(frozen=True)
class Figure:
    """A median, and the distance between the quartiles around it.

    Examples
    --------
    >>> Figure.of([1.0, 2.0, 3.0, 4.0, 100.0])
    Figure(median=3.0, spread=2.0)
    """

    median: float
    spread: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Figure:
        """From the values of all rounds."""
        low, middle, high = np.percentile(list(values), (25, 50, 75))
        return cls(float(middle), float(high - low))


@dataclass(frozen=True)
class Roof:
    """What a device can do at best, as measured in the same run.

    Attributes
    ----------
    gflops : float
        Of the product of two large float32 matrices.
    gigabytes_per_second : float
        Read and written by the copy of a large array.
    """

    gflops: float
    gigabytes_per_second: float


@dataclass
class Entry:
    """A contestant in a case.

    Attributes
    ----------
    name, device : str
    ours : bool
    threads : int or None
        How many suited it best, where that was tried.
    startup : float
        Seconds from nothing to the end of the first epoch, less a usual epoch: building, moving data, compiling.
    seconds : list of float
        Of an epoch, one value a round.
    losses : list of float
        Of the first epochs.
    note : str
        Why it has no ratio: it did other work, or it failed; empty where all is well.
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
        """Whether it may be compared with others."""
        return bool(self.seconds) and not self.note


@dataclass
class Result:
    """All contestants in a case; round i of each was measured beside round i of the others."""

    case: Case
    entries: list[Entry]

    def find(self, name: str) -> Entry | None:
        """The entry of that name, if it may be compared with others."""
        return next((entry for entry in self.entries if entry.name == name and entry.counts), None)

    def samples_per_second(self, entry: Entry) -> Figure:
        """Rows that go through a training step in a second."""
        return Figure.of(self.case.rows / seconds for seconds in entry.seconds)

    def gflops(self, entry: Entry) -> float:
        """Billions of floating-point operations a second."""
        return self.samples_per_second(entry).median * self.case.flops / 1e9

    def microseconds_per_step(self, entry: Entry) -> float:
        """Of one update."""
        return 1e6 * Figure.of(entry.seconds).median / self.case.steps

    def best_peer(self, among: Iterable[str] | None = None) -> Entry | None:
        """The fastest that is not ours, of all or of those named."""
        names = None if among is None else set(among)
        peers = [e for e in self.entries if e.counts and not e.ours and (names is None or e.name in names)]
        return min(peers, key=lambda entry: Figure.of(entry.seconds).median, default=None)

    def ratio(self, entry: Entry, among: Iterable[str] | None = None) -> Figure | None:
        """How many times faster than the best peer it is; taken in each round, so that the machine's moods cancel."""
        peer = self.best_peer(among)
        if peer is None or not entry.counts:
            return None
        return Figure.of(theirs / own for theirs, own in zip(peer.seconds, entry.seconds, strict=True))


@dataclass
class Report:
    """A run of the benchmarks.

    Attributes
    ----------
    results : list of Result
    missing : dict
        By name of a contestant why it could not take part.
    roofs : dict
        By device its `Roof`.
    about : dict
        The machine, its threads, the versions of the libraries, and when it was.
    """

    results: list[Result]
    missing: dict[str, str] = field(default_factory=dict)
    roofs: dict[str, Roof] = field(default_factory=dict)
    about: dict[str, Any] = field(default_factory=dict)

    def percent_of_peak(self, result: Result, entry: Entry) -> float | None:
        """Of the matrix products that its device can do in the same time."""
        roof = self.roofs.get(entry.device)
        return None if roof is None else 100 * result.gflops(entry) / roof.gflops

    def to_dict(self) -> dict[str, Any]:
        """As plain data; what follows from the measurements is written beside them, for other readers."""
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
        """Read back what `to_dict` gave."""
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
        """Write it as JSON, whole or not at all."""
        write_atomically(path, (to_json(self.to_dict()) + "\n").encode())

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Report:
        """Read what `save` wrote.

        Raises
        ------
        FileFormatError
            If it is anything else.
        """
        try:
            document = json.loads(Path(path).read_bytes())
            if document["format"] != FORMAT:
                raise FileFormatError(f"{str(path)!r} has format {document['format']!r}; this version reads {FORMAT}.")
            return cls.from_dict(document)
        except (KeyError, TypeError, AttributeError, UnicodeDecodeError, json.JSONDecodeError) as error:
            raise FileFormatError(
                f"{str(path)!r} is not what `mlp bench --json FILE` writes ({type(error).__name__}: {error})."
            ) from error


ABOUT = ("recorded", "machine", "threads", "versions")


@dataclass(frozen=True)
class Change:
    """A ratio to the best peer, then and now.

    Attributes
    ----------
    case : Case
    name, peer : str
        Ours, and the best of the peers that both runs measured.
    old, new : Figure
    """

    case: Case
    name: str
    peer: str
    old: Figure
    new: Figure

    @property
    def worse(self) -> bool:
        """Whether it fell by more than the noise, which is the two spreads together."""
        return self.new.median < self.old.median - (self.old.spread + self.new.spread)

    def __str__(self) -> str:
        return (
            f"{self.case}: {self.name} was {self.old.median:.2f} ± {self.old.spread:.2f} times as fast as {self.peer}, "
            f"now {self.new.median:.2f} ± {self.new.spread:.2f}"
        )


def compare(old: Report, new: Report) -> tuple[list[Change], list[str]]:
    """Set each of our ratios against the one of an earlier run.

    A ratio is taken to the best of the peers that both runs measured, so that a library that is not installed today
    neither helps nor harms.

    Returns
    -------
    changes : list of Change
    left_out : list of str
        What could not be compared, and why.
    """
    changes, left_out = [], []
    before = {result.case: result for result in old.results}
    for now in new.results:
        then = before.get(now.case)
        if then is None:
            left_out.append(f"{now.case}: not in the earlier run")
            continue
        common = {e.name for e in then.entries if e.counts} & {e.name for e in now.entries if e.counts}
        ours = [entry.name for entry in now.entries if entry.ours]
        for name in ours:
            mine_then, mine_now, peer = then.find(name), now.find(name), now.best_peer(common)
            ratio_then = then.ratio(mine_then, common) if mine_then else None
            ratio_now = now.ratio(mine_now, common) if mine_now else None
            if ratio_then is None or ratio_now is None or peer is None:
                left_out.append(f"{now.case}: the two runs did not both measure {name} and a peer")
            else:
                changes.append(Change(now.case, name, peer.name, ratio_then, ratio_now))
    return changes, left_out
