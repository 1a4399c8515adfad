"""From which batch size on the GPU is faster than the CPU, as computed from the measurements of our backends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mlp.bench.entries import Result


@dataclass(frozen=True)
class Crossover:
    """Our fastest GPU backend compared with our fastest CPU backend, over the batch sizes of a network.

    Attributes
    ----------
    net, optimizer, precision : str
    gpu, cpu : str
        Names of the backends; several if the fastest one differs between batch sizes.
    ratios : dict
        Speed of the GPU divided by that of the CPU, by batch size, in ascending order.

    Examples
    --------
    >>> print(Crossover("784-128-10", "sgd", "float32", "mlp cupy", "mlp numba", {16: 0.6, 64: 1.5, 256: 4.2}))
    784-128-10: the GPU (mlp cupy) is faster than the CPU (mlp numba) from batch 64 on; at 16 it is 0.6x.
    """

    net: str
    optimizer: str
    precision: str
    gpu: str
    cpu: str
    ratios: dict[int, float]

    @property
    def batch_size(self) -> int | None:
        """Smallest measured batch size from which on the GPU is faster at all measured ones, or None."""
        found = None
        for size, ratio in reversed(self.ratios.items()):
            if ratio <= 1:
                break
            found = size
        return found

    def __str__(self) -> str:
        sizes = list(self.ratios)
        kind = [self.net, *([self.optimizer] if self.optimizer != "sgd" else [])]
        kind += [self.precision] if self.precision != "float32" else []
        start = f"{', '.join(kind)}: the GPU ({self.gpu}) is"
        than = f"than the CPU ({self.cpu})"
        if self.batch_size is None:
            faster = [size for size in sizes if self.ratios[size] > 1]
            if faster:
                last = f"at {sizes[-1]} it is {self._times(sizes[-1])}"
                return f"{start} faster {than} at batch {_join(faster)} only; {last}."
            best = max(sizes, key=lambda size: self.ratios[size])
            return f"{start} not faster {than} at any measured batch size; at {best} it is {self._times(best)}."
        if self.batch_size == sizes[0]:
            return f"{start} faster {than} at every measured batch size; at {sizes[0]} it is {self._times(sizes[0])}."
        below = sizes[sizes.index(self.batch_size) - 1]
        return f"{start} faster {than} from batch {self.batch_size} on; at {below} it is {self._times(below)}."

    def _times(self, size: int) -> str:
        """Format a ratio with two significant digits, but with three where two would look like a draw."""
        ratio = self.ratios[size]
        text = f"{ratio:.0f}" if ratio >= 9.95 else f"{ratio:.1f}"
        return f"{ratio:.2f}x" if text in ("0.0", "1.0") else f"{text}x"

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-compatible dict, with the sentence."""
        values = vars(self) | {"ratios": {str(size): ratio for size, ratio in self.ratios.items()}}
        return values | {"faster_from_batch_size": self.batch_size, "sentence": str(self)}


def crossovers(results: Sequence[Result]) -> list[Crossover]:
    """Return one `Crossover` for each network, optimizer and precision that was measured on a CPU and on a GPU."""
    groups: dict[tuple[str, str, str], dict[int, Result]] = {}
    for result in results:
        case = result.case
        if result.gpu_to_cpu() is not None:
            groups.setdefault((case.net, case.optimizer, case.precision), {})[case.batch_size] = result
    found = []
    for key, by_size in groups.items():
        ratios: dict[int, float] = {}
        names: dict[str, dict[str, None]] = {"GPU": {}, "CPU": {}}
        for size, result in sorted(by_size.items()):
            ratio = result.gpu_to_cpu()
            assert ratio is not None
            ratios[size] = ratio.median
            for place, found_names in names.items():
                entry = result.best_of_ours(place)
                assert entry is not None
                found_names[entry.name] = None
        found.append(Crossover(*key, " or ".join(names["GPU"]), " or ".join(names["CPU"]), ratios))
    return found


def _join(sizes: Sequence[int]) -> str:
    """Join numbers for a sentence.

    Examples
    --------
    >>> _join([16]), _join([16, 64]), _join([1, 16, 64])
    ('16', '16 and 64', '1, 16 and 64')
    """
    *first, last = map(str, sizes)
    return f"{', '.join(first)} and {last}" if first else last
