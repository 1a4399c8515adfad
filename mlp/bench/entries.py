"""The measurements of a case, and values computed from them: speeds and ratios."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from mlp.bench.cases import Case
from mlp.checks import counted


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
    """What a device can do at most, measured in the same run (Williams, Waterman & Patterson 2009, "Roofline").

    Attributes
    ----------
    gflops : float
        GFLOP/s in float32.
    bandwidths : list of (int, float)
        GB/s by the size of the array in bytes, ascending; the last one is that of the memory.
    cache_bytes : int
        Size of a cache whose bandwidth is not known: reading what fits into it takes no time in `seconds`.
    method : str
        How `gflops` was measured.
    threads : int or None
        Number of threads on a CPU.
    """

    gflops: float
    bandwidths: list[tuple[int, float]]
    cache_bytes: int = 0
    method: str = "product of large matrices"
    threads: int | None = None

    @property
    def memory_bandwidth(self) -> float:
        """GB/s of the memory."""
        return self.bandwidths[-1][1]

    def bandwidth(self, size: int) -> float:
        """Return GB/s for reading an array of so many bytes: that of the next smaller size, which is not lower.

        Examples
        --------
        >>> roof = Roof(100.0, [(2**15, 200.0), (2**25, 10.0)])
        >>> roof.bandwidth(1000), roof.bandwidth(2**20), roof.bandwidth(2**30)
        (200.0, 200.0, 10.0)
        """
        if size <= self.cache_bytes:
            return math.inf
        return next((speed for known, speed in reversed(self.bandwidths) if known <= size), self.bandwidths[0][1])

    def seconds(self, case: Case) -> float:
        """Return the shortest time of a step: that of its operations, or of reading its rows or the parameters.

        Operations count as in a dense network, including those with zeros, which an implementation may leave out.
        """
        return max(
            case.flops * case.batch_size / self.gflops / 1e9,
            case.row_bytes * case.batch_size / self.bandwidth(case.row_bytes * case.rows) / 1e9,
            case.parameter_bytes / self.bandwidth(case.parameter_bytes) / 1e9,
        )

    def limit(self, case: Case) -> float:
        """Return the largest possible GFLOP/s in a case."""
        return case.flops * case.batch_size / self.seconds(case) / 1e9


@dataclass(frozen=True)
class Transfer:
    """The copy of the data of a case to a device, which is not part of any training time.

    Examples
    --------
    >>> Transfer(seconds=0.5, nbytes=10**9).gigabytes_per_second
    2.0
    """

    seconds: float
    nbytes: int

    @property
    def gigabytes_per_second(self) -> float:
        """Bytes per second, in billions."""
        return self.nbytes / self.seconds / 1e9


@dataclass(frozen=True)
class Start:
    """The beginning of a training in a new process.

    Attributes
    ----------
    total : float
        Seconds from the start of the process to the end of the first epoch, without making the data.
    preparation : float
        The part of `total` for building the network, compiling and copying the data: until the end of the first epoch,
        after the imports, minus the time of a later epoch.
    epoch : float
        Seconds of the later epoch.
    """

    total: float
    preparation: float
    epoch: float


@dataclass(frozen=True)
class FirstUse:
    """The first training of an implementation in a new process, without and with compiled kernels in the caches.

    Attributes
    ----------
    name, case : str
    empty, warm : Start
        With empty caches, and with what the first process left there.
    """

    name: str
    case: str
    empty: Start
    warm: Start


@dataclass
class Entry:
    """The measurements of an implementation in a case.

    Attributes
    ----------
    name, device : str
    ours : bool
    threads : int or None
        The number of threads that the case asks for, or the faster one; None if only one number was measured.
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

    @property
    def place(self) -> str:
        """``"CPU"`` or ``"GPU"``."""
        return "CPU" if self.device == "cpu" else "GPU"

    @property
    def label(self) -> str:
        """The name with the device and the number of threads, where they are not the usual ones."""
        details = [self.device] if self.device != "cpu" else []
        if self.threads is not None:
            details.append(counted(self.threads, "thread"))
        return f"{self.name} ({', '.join(details)})" if details else self.name


@dataclass
class Result:
    """The entries of all implementations in a case; round i of all entries was measured at about the same time.

    Attributes
    ----------
    case : Case
    entries : list of Entry
    transfers : dict
        `Transfer` of the data by device.
    products : dict
        Seconds of the matrix products of a step alone, by device.
    zeros : float
        Share of the numbers of X that are zero.
    """

    case: Case
    entries: list[Entry]
    transfers: dict[str, Transfer] = field(default_factory=dict)
    products: dict[str, float] = field(default_factory=dict)
    zeros: float = 0.0

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

    def step_to_products(self, entry: Entry) -> float | None:
        """Return the time of a step divided by that of its matrix products alone on the same device."""
        seconds = self.products.get(entry.device)
        return None if seconds is None or not entry.seconds else self.microseconds_per_step(entry) / (1e6 * seconds)

    def best_peer(self, among: Iterable[str] | None = None, place: str | None = None) -> Entry | None:
        """Return the fastest peer: of all or of the names in `among`, on both devices or only on CPU or GPU."""
        names = None if among is None else set(among)
        return fastest(
            e for e in self.entries if not e.ours and (names is None or e.name in names) and place in (None, e.place)
        )

    def best_of_ours(self, place: str) -> Entry | None:
        """Return our fastest backend on the CPU or on the GPU."""
        return fastest(entry for entry in self.entries if entry.ours and entry.place == place)

    def ratio(self, entry: Entry, among: Iterable[str] | None = None, place: str | None = None) -> Figure | None:
        """Return the speed divided by that of the best peer; `among` and `place` as in `best_peer`."""
        return self.ratio_to(self.best_peer(among, place), entry)

    def ratio_to(self, other: Entry | None, entry: Entry | None) -> Figure | None:
        """Return the speed of `entry` divided by that of `other`; see `speed_ratio`."""
        return speed_ratio(other, entry)

    def gpu_to_cpu(self) -> Figure | None:
        """Return the speed of our fastest GPU backend divided by that of our fastest CPU backend."""
        return self.ratio_to(self.best_of_ours("CPU"), self.best_of_ours("GPU"))


def fastest(entries: Iterable[Entry]) -> Entry | None:
    """The fastest of the entries that can be compared, or None."""
    return min(
        (entry for entry in entries if entry.counts), key=lambda entry: Figure.of(entry.seconds).median, default=None
    )


def failure(error: Exception) -> str:
    """The note of an entry whose implementation raised an error."""
    return f"failed: {type(error).__name__}: {' '.join(str(error).split())[:200]}"


def speed_ratio(other: Entry | None, entry: Entry | None) -> Figure | None:
    """The speed of `entry` divided by that of `other`, per round, so that other load cancels out; None without one."""
    if other is None or entry is None or not (other.counts and entry.counts):
        return None
    return Figure.of(a / b for a, b in zip(other.seconds, entry.seconds, strict=True))
