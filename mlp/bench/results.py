"""`Report`: the results of a run, stored as JSON; and comparisons with an earlier run."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from os import PathLike
from typing import Any

from mlp._backends import FileFormatError
from mlp.bench import report_files
from mlp.bench.cases import WORK, Case
from mlp.bench.crossover import Crossover, crossovers
from mlp.bench.entries import Entry, Figure, FirstUse, Result, Roof, Start, Transfer
from mlp.bench.report_files import fields_of
from mlp.checks import counted

FORMAT = "mlp-bench-1"


@dataclass
class Report:
    """A run of the benchmarks.

    Attributes
    ----------
    results : list of Result
    missing : dict
        The reason by name of a missing implementation, or of another thing that could not be measured.
    roofs : dict
        `Roof` by `roof_name`.
    about : dict
        The machine, its threads, the versions of the libraries, and the date.
    first_uses : list of FirstUse
        How long the first training in a new process takes.
    skipped : list of str
        The cases for which no time was left.
    """

    results: list[Result]
    missing: dict[str, str] = field(default_factory=dict)
    roofs: dict[str, Roof] = field(default_factory=dict)
    about: dict[str, Any] = field(default_factory=dict)
    first_uses: list[FirstUse] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    @property
    def has_gpu(self) -> bool:
        """Whether anything was measured on a GPU."""
        return any(entry.counts and entry.place == "GPU" for result in self.results for entry in result.entries)

    def crossovers(self) -> list[Crossover]:
        """Compare our GPU backend with our CPU backends, for each network; empty if no GPU was measured."""
        return crossovers(self.results)

    def roof(self, case: Case, device: str) -> Roof | None:
        """Return the roof of a device with the threads of a case, or None if it was not measured."""
        return self.roofs.get(roof_name(device, case.threads if device == "cpu" else None))

    def percent_of_roof(self, result: Result, entry: Entry) -> float | None:
        """Return GFLOP/s in percent of the roof of the device."""
        roof = self.roof(result.case, entry.device)
        return None if roof is None else 100 * result.gflops(entry) / roof.limit(result.case)

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-compatible dict; it also has the computed values, for other programs."""
        return {
            "format": FORMAT,
            **self.about,
            "roofs": {name: vars(roof) for name, roof in self.roofs.items()},
            "missing": self.missing,
            "skipped": self.skipped,
            "first_uses": [asdict(use) for use in self.first_uses],
            "gpu_and_cpu": [crossover.to_dict() for crossover in self.crossovers()],
            "results": [self._result(result) for result in self.results],
        }

    def _result(self, result: Result) -> dict[str, Any]:
        def name(entry: Entry | None) -> str | None:
            return None if entry is None else entry.name

        return {
            **vars(result.case),
            "rows": result.case.rows,
            "steps": result.case.steps,
            "flops_per_row": result.case.flops,
            "best_peer": name(result.best_peer()),
            "best_cpu_peer": name(result.best_peer(place="CPU")),
            "best_gpu_peer": name(result.best_peer(place="GPU")),
            "our_gpu_to_our_cpu": _figure(result.gpu_to_cpu()),
            "transfers": {
                device: vars(transfer) | {"gigabytes_per_second": transfer.gigabytes_per_second}
                for device, transfer in result.transfers.items()
            },
            "products": result.products,
            "zeros": result.zeros,
            "entries": [vars(entry) | self._derived(result, entry) for entry in result.entries],
        }

    def _derived(self, result: Result, entry: Entry) -> dict[str, Any]:
        if not entry.seconds:
            return {}
        return {
            "samples_per_second": vars(result.samples_per_second(entry)),
            "microseconds_per_step": result.microseconds_per_step(entry),
            "gflops": result.gflops(entry),
            "percent_of_roof": self.percent_of_roof(result, entry),
            "ratio": _figure(result.ratio(entry)),
            "ratio_to_cpu_peer": _figure(result.ratio(entry, place="CPU")),
            "ratio_to_gpu_peer": _figure(result.ratio(entry, place="GPU")),
            "ratio_to_our_gpu": _figure(result.ratio_to(result.best_of_ours("GPU"), entry)),
            "step_to_products": result.step_to_products(entry),
        }

    @classmethod
    def from_dict(cls, document: dict[str, Any]) -> Report:
        """Create a report from the result of `to_dict`."""
        # files from before the comparison with a GPU lack what is read with `get`
        return cls(
            [
                Result(
                    Case(
                        row["net"], row["batch_size"], row["optimizer"], row["max_rows"],
                        row.get("precision", "float32"), row.get("work", WORK), row.get("contents", "dense"),
                        row.get("threads"),
                    ),
                    [Entry(**fields_of(Entry, entry)) for entry in row["entries"]],
                    {name: Transfer(**fields_of(Transfer, each)) for name, each in row.get("transfers", {}).items()},
                    row.get("products", {}),
                    row.get("zeros", 0.0),
                )
                for row in document["results"]
            ],
            document["missing"],
            {name: _read_roof(roof) for name, roof in document["roofs"].items()},
            {key: document[key] for key in ABOUT if key in document},
            [
                FirstUse(use["name"], use["case"], Start(**use["empty"]), Start(**use["warm"]))
                for use in document.get("first_uses", [])
            ],
            document.get("skipped", []),
        )  # fmt: skip

    def save(self, path: str | PathLike[str]) -> None:
        """Write the report as JSON, atomically."""
        report_files.write(path, self.to_dict())

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Report:
        """Read a file that `save` wrote.

        Raises
        ------
        FileFormatError
            If the file is missing or has another format.
        """
        with report_files.reading(path, "mlp bench --json FILE") as document:
            if document["format"] != FORMAT:
                raise FileFormatError(f"{str(path)!r} has format {document['format']!r}; this version reads {FORMAT}.")
            return cls.from_dict(document)


ABOUT = ("recorded", "images", "machine", "threads", "versions")


def roof_name(device: str, threads: int | None) -> str:
    """Return the name of the roof of a device, with a number of threads if that was asked for."""
    return f"{device}, {counted(threads, 'thread')}" if threads else device


def _read_roof(values: dict[str, Any]) -> Roof:
    if "gigabytes_per_second" in values:  # of a copy, in older files
        return Roof(values["gflops"], [(1 << 28, values["gigabytes_per_second"])])
    bandwidths = [(int(size), float(speed)) for size, speed in values["bandwidths"]]
    return Roof(**(fields_of(Roof, values) | {"bandwidths": bandwidths}))


def _figure(figure: Figure | None) -> dict[str, float] | None:
    return None if figure is None else vars(figure)


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
    no influence.  The peers are those on the same kind of device, CPU or GPU.

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
        for name, place in [(entry.name, entry.place) for entry in new_result.entries if entry.ours]:
            peer = new_result.best_peer(common, place)
            old_entry, new_entry = old_result.find(name), new_result.find(name)
            old_ratio = old_result.ratio(old_entry, common, place) if old_entry else None
            new_ratio = new_result.ratio(new_entry, common, place) if new_entry else None
            if old_ratio is None or new_ratio is None or peer is None:
                skipped.append(f"{case}: the two runs did not both measure {name} and a peer")
            else:
                changes.append(Change(case, name, peer.name, old_ratio, new_ratio))
    return changes, skipped
