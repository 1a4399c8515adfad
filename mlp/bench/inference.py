"""The measurement of predictions: every implementation computes the probabilities of the same rows.

`inference_peers` defines what runs them, and `inference_report` shows the results.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlp._backends import FileFormatError
from mlp.bench import report_files
from mlp.bench.cases import SEED, Case, conditions
from mlp.bench.entries import Entry, Figure, failure, fastest, speed_ratio
from mlp.bench.inference_peers import PredictionPeer
from mlp.bench.machine import about_machine, wait_until_idle
from mlp.bench.report_files import fields_of
from mlp.io import machine_info
from mlp.model import MLP

FORMAT = "mlp-bench-predict-1"

TOLERANCE = 1e-4
"""Largest difference of a probability from ours."""

MIN_SECONDS = 0.1
"""Approximate duration of a measurement; shorter calls are repeated."""

OnStep = Callable[[str], object]


@dataclass(frozen=True)
class PredictionCase:
    """The task: probabilities of a network with ReLU and softmax, in float32.

    Parameters
    ----------
    net : str
        Widths of the layers: ``"784-30-10"``.
    rows : int
        Rows of a call.
    contents : {"images", "dense"}
        As in `Case`.
    threads : int, optional
        Number of threads; None lets each implementation choose.

    Raises
    ------
    ConfigurationError, UnknownNameError
        If an argument is invalid.

    Examples
    --------
    >>> str(PredictionCase("784-30-10", 60_000))
    '784-30-10, 60,000 rows'
    """

    net: str
    rows: int
    contents: str = "images"
    threads: int | None = None

    def __post_init__(self) -> None:
        self._training_case()

    def __str__(self) -> str:
        return f"{self.net}, {self.rows:,} row{'s' * (self.rows > 1)}{conditions(self.contents, self.threads)}"

    def _training_case(self) -> Case:
        # its data have two batches or more
        half = -(-self.rows // 2) if self.rows > 0 else self.rows
        return Case(self.net, half, max_rows=2 * half, contents=self.contents, threads=self.threads)

    def make(self) -> tuple[MLP, NDArray[np.float32]]:
        """The network, on NumPy, and the rows, shape (rows, n_in)."""
        case = self._training_case()
        return MLP(case.sizes, backend="numpy", seed=SEED), case.data()[0][: self.rows].copy()


@dataclass
class PredictionResult:
    """The entries of all implementations in a case; their seconds are those of a call, one value per round."""

    case: PredictionCase
    entries: list[Entry]

    def best_peer(self) -> Entry | None:
        """Return the fastest peer, or None."""
        return fastest([entry for entry in self.entries if not entry.ours])

    def best(self) -> Entry | None:
        """Return the fastest of all, or None."""
        return fastest(self.entries)

    def ratio(self, entry: Entry | None) -> Figure | None:
        """Return the speed divided by that of the best peer, per round, so that other load cancels out."""
        return speed_ratio(self.best_peer(), entry)

    def best_ratio(self) -> Figure | None:
        """Return the ratio of our fastest implementation."""
        return self.ratio(fastest([entry for entry in self.entries if entry.ours]))


@dataclass
class PredictionReport:
    """A run of the measurement.

    Attributes
    ----------
    results : list of PredictionResult
    missing : dict
        The reason by name of a missing implementation.
    about : dict
        The machine, its threads, the versions of the libraries, and the date.
    """

    results: list[PredictionResult]
    missing: dict[str, str] = field(default_factory=dict)
    about: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-compatible dict; it also has the computed values, for other programs."""
        return {
            "format": FORMAT,
            **self.about,
            "missing": self.missing,
            "results": [
                {
                    **asdict(result.case),
                    "entries": [
                        asdict(entry)
                        | {
                            "seconds_per_call": asdict(Figure.of(entry.seconds)) if entry.seconds else None,
                            "ratio": None if (ratio := result.ratio(entry)) is None else asdict(ratio),
                        }
                        for entry in result.entries
                    ],
                }
                for result in self.results
            ],
        }

    def save(self, path: str | PathLike[str]) -> None:
        """Write the report as JSON, atomically."""
        report_files.write(path, self.to_dict())

    @classmethod
    def load(cls, path: str | PathLike[str]) -> PredictionReport:
        """Read a file that `save` wrote.

        Raises
        ------
        FileFormatError
            If the file is missing or has another format.
        """
        with report_files.reading(path, "mlp bench --predict --json FILE") as document:
            if document["format"] != FORMAT:
                raise FileFormatError(
                    f"{str(path)!r} has format {document['format']!r}, but files of `mlp bench --predict` have "
                    f"{FORMAT}."
                )
            about = {key: value for key, value in document.items() if key not in ("format", "missing", "results")}
            results = [
                PredictionResult(
                    PredictionCase(**fields_of(PredictionCase, row)),
                    [Entry(**fields_of(Entry, entry)) for entry in row["entries"]],
                )
                for row in document["results"]
            ]
            return cls(results, document["missing"], about)


def measure_predictions(
    cases: Sequence[PredictionCase],
    peers: Sequence[PredictionPeer],
    missing: dict[str, str] | None = None,
    *,
    rounds: int = 7,
    on_step: OnStep = lambda description: None,
    on_result: Callable[[PredictionReport], object] = lambda report: None,
) -> PredictionReport:
    """Measure every implementation in every case; they take turns in every round.

    Parameters
    ----------
    cases : sequence of PredictionCase
    peers : sequence of PredictionPeer
        The outputs of the first one are the reference; it must be ours.
    missing : dict, optional
        Reason by name, for the report.
    rounds : int
        Number of measurements of each implementation in each case.
    on_step : callable (str), optional
        Called ``len(cases) * len(peers) * (1 + rounds)`` times, with a description of the next step.
    on_result : callable (PredictionReport), optional
        Called after each case with the report so far.

    Returns
    -------
    PredictionReport
    """
    report = PredictionReport([], dict(missing or {}), about_machine())
    for case in cases:
        net, X = case.make()
        runners, expected = [], None
        for peer in peers:
            on_step(f"{case}: warm-up of {peer.name}")
            runner = _Runner(peer, case)
            outputs = runner.warm_up(net, X)
            expected = outputs if expected is None else expected
            runner.check(outputs, expected)
            runners.append(runner)
        for number in range(1, rounds + 1):
            for runner in runners:
                on_step(f"{case}: round {number} of {rounds}")
                runner.run_round()
        report.results.append(PredictionResult(case, [runner.entry for runner in runners]))
        on_result(report)
    return report


class _Runner:
    """Runs an implementation on a case."""

    def __init__(self, peer: PredictionPeer, case: PredictionCase) -> None:
        self.peer, self.case = peer, case
        self.entry = Entry(peer.name, peer.ours, peer.device)
        self.calls: dict[int | None, Callable[[], NDArray[Any]]] = {}  # by number of threads

    def warm_up(self, net: MLP, X: NDArray[np.float32]) -> NDArray[Any] | None:
        """Build and compile, choose the number of threads, and return the outputs."""
        entry, case = self.entry, self.case
        on_cpu = entry.place == "CPU"
        if case.threads is not None and on_cpu and not self.peer.sets_threads:
            entry.note = "skipped: its number of threads cannot be set"
            return None
        numbers: list[int | None] = [case.threads if on_cpu else None]
        if case.threads is None and on_cpu and self.peer.sets_threads:
            numbers = list(dict.fromkeys([machine_info.usable_processors(), 1]))
        outputs = None
        try:
            start = time.perf_counter()
            for number in numbers:
                with self.peer.limit(number):
                    call = self.peer.start(net, X, number)
                    outputs = call()
                self.calls[number] = call
            entry.startup = (time.perf_counter() - start) / len(numbers)
        except Exception as error:
            if entry.ours:
                raise
            entry.note = failure(error)
            self.calls = {}
            return None
        entry.threads = min(self.calls, key=self._time) if len(numbers) > 1 else numbers[0]
        return outputs

    def check(self, outputs: NDArray[Any] | None, expected: NDArray[Any] | None) -> None:
        """Set the note of the entry if its outputs differ from the reference."""
        if outputs is None or expected is None:
            return
        difference = float(np.abs(outputs - expected).max()) if outputs.shape == expected.shape else float("inf")
        if not difference <= TOLERANCE:
            self.entry.note = f"different outputs: {difference:.2g} from ours"

    def run_round(self) -> None:
        """Measure one round."""
        if self.calls:
            self.entry.seconds.append(self._time(self.entry.threads))

    def _time(self, threads: int | None) -> float:
        """Return the seconds of a call, averaged over about `MIN_SECONDS`."""
        call = self.calls[threads]
        with self.peer.limit(threads):
            wait_until_idle()
            start = time.perf_counter()
            call()  # start the threads and fill the caches
            number = max(1, round(MIN_SECONDS / (time.perf_counter() - start)))
            start = time.perf_counter()
            for _ in range(number):
                call()
            return (time.perf_counter() - start) / number
