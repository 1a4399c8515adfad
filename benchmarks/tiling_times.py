"""Times the tilings of the persistent kernel on a GPU; a stage of ``benchmarks/on_gpu.py``.

The result is the table ``MEASURED`` for ``backends/cupy_backend/tilings.py``.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

import backends
import mlp
from backends.cupy_backend import tilings
from backends.cupy_backend.kernel_source import KernelOptions
from backends.cupy_backend.tiling import Tiling

NETS, BATCH_SIZES = ((784, 30, 10), (784, 128, 10), (784, 16, 16, 10)), (10, 16, 32, 64, 128)
X_DTYPES = "uint8", "float32"
ROWS = 60_000
TOLERANCE = 1e-4
"""Of the weights after 20 steps, relative to the largest of them in a training with NumPy."""


def measure(seconds: float) -> dict[str, Any]:
    """Time as many tilings as `seconds` allow; print each, and the table of the fastest.

    Compiling the kernel for a tiling takes longer than timing it.  So the tilings that are estimated to be fastest come
    first, one of each case in turn.

    Returns
    -------
    dict
        ``times``: a dict for each tiling; ``table``: those of them that are fastest in their case; ``without``: cases
        that the persistent kernel cannot run, and why; ``failures``: tilings with wrong weights or an error.
    """
    deadline = time.monotonic() + seconds
    times, without, queues = [], [], []
    for case in itertools.starmap(Case, itertools.product(NETS, BATCH_SIZES, X_DTYPES)):
        reason = case.reason()
        if reason:
            without.append(case.to_dict() | {"reason": reason})
            print(json.dumps(without[-1]), flush=True)
        else:
            queues.append([(case, tiling) for tiling in case.tilings()])
    for case, tiling in _in_turn(queues):
        if time.monotonic() > deadline:
            break
        times.append(case.time(tiling))
        print(json.dumps(times[-1]), flush=True)
    table, failures = fastest(times), [each for each in times if not each["passed"]]
    count = sum(map(len, queues))
    sentence = f"{len(times)} of {count} tilings were timed, and {len(failures)} of them failed"
    print(as_python(table), sentence, sep="\n")
    return {"times": times, "table": table, "without": without, "failures": failures, "sentence": sentence}


def fastest(times: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The fastest tiling of each case, of those that passed."""
    found: dict[Any, dict[str, Any]] = {}
    for each in times:
        case = tuple(each["sizes"]), each["rows"], each["X"]
        if each["passed"] and (case not in found or each["microseconds"] < found[case]["microseconds"]):
            found[case] = each
    return list(found.values())


def as_python(table: Sequence[dict[str, Any]]) -> str:
    """The table as the text of ``MEASURED``.

    Examples
    --------
    >>> row = {"sizes": [784, 30, 10], "rows": 16, "X": "uint8", "choice": [8, 4, 1, 2, 16, False], "microseconds": 2.5}
    >>> print(as_python([row]))
    MEASURED = {
        ((784, 30, 10), 16, "float32", "uint8"): Choice(8, 4, 1, 2, 16, False),  # 2.50 microseconds
    }
    """
    lines = [
        f'    ({tuple(each["sizes"])}, {each["rows"]}, "float32", "{each["X"]}"): '
        f"Choice({', '.join(map(str, each['choice']))}),  # {each['microseconds']:.2f} microseconds"
        for each in table
    ]
    return "\n".join(["MEASURED = {", *lines, "}"])


def _in_turn(queues: Sequence[Sequence[Any]]) -> Iterator[Any]:
    """The first of each queue, then the second of each, and so on."""
    return (each for turn in itertools.zip_longest(*queues) for each in turn if each is not None)


@dataclass(frozen=True)
class Case:
    """A network, the rows of a batch, and the type of X; in float32, with plain SGD, on data of MNIST's size."""

    sizes: tuple[int, ...]
    rows: int
    X: str

    def to_dict(self) -> dict[str, Any]:
        return {"sizes": list(self.sizes), "rows": self.rows, "X": self.X}

    def reason(self) -> str:
        """Why the persistent kernel cannot run this case; empty if it can, whatever the estimates say."""
        every = self.tilings() if len(self.sizes) > 2 else []
        with self._measured(every[0]) if every else contextlib.nullcontext():
            how = self._execution()
        return "" if _is_persistent(how) else how.reason or how.method

    def tilings(self) -> list[Tiling]:
        """All tilings, those that are estimated to be fastest first."""
        device = backends.get_backend("cupy")._device  # type: ignore[attr-defined]
        found = tilings.tilings(self._options(), self.rows, device.shared_bytes, device.most_blocks)
        return sorted(found, key=lambda tiling: tilings.expected_microseconds(self._options(), tiling))

    def time(self, tiling: Tiling) -> dict[str, Any]:
        """Microseconds of a step with this tiling, and the error of the weights after 20 steps."""
        found = self.to_dict() | {
            "choice": list(tiling.choice),
            "threads": tiling.threads,
            "estimate": tilings.expected_microseconds(self._options(), tiling),
        }
        try:
            with self._measured(tiling):
                few = self.trained("cupy", 20 * self.rows, 1)
                speeds = self.trained("cupy", ROWS, 3).history.samples_per_second
                persistent = _is_persistent(self._execution())
        except Exception as error:  # the other tilings are still worth knowing
            return found | {"passed": False, "message": f"{type(error).__name__}: {error}"}
        expected = _expected(self)
        error = float(np.abs(_weights(few) - expected).max() / np.abs(expected).max())
        microseconds = 1e6 * self.rows / float(np.median(speeds[1:]))
        return found | {"microseconds": microseconds, "error": error, "passed": persistent and error <= TOLERANCE}

    @contextlib.contextmanager
    def _measured(self, tiling: Tiling) -> Iterator[None]:
        """As if this tiling had been the fastest."""
        key = self.sizes, self.rows, "float32", self.X
        before = dict(tilings.MEASURED)
        tilings.MEASURED[key] = tiling.choice
        try:
            yield
        finally:
            tilings.MEASURED.clear()
            tilings.MEASURED.update(before)

    def _options(self) -> KernelOptions:
        rule, real = mlp.SGD().rule.row, np.dtype(np.float32)
        return KernelOptions(self._network("numpy").plan, rule, real, np.dtype(self.X), class_numbers=True)

    def _execution(self) -> Any:
        with _persistent_kernel():
            return mlp.training.execution(self._network("cupy"), mlp.SGD(), ROWS, self.rows)

    def _network(self, backend: str) -> mlp.MLP:
        return mlp.MLP(list(self.sizes), input_scale=1 / 255, seed=1, backend=backend)

    def trained(self, backend: str, rows: int, epochs: int) -> mlp.MLP:
        """The network after `epochs` over the first `rows` rows."""
        X, y = _data(self.sizes[0], self.sizes[-1], self.X)
        net = self._network(backend)
        with _persistent_kernel():
            net.fit(X[:rows], y[:rows], epochs=epochs, batch_size=self.rows, optimizer=mlp.SGD(0.05))
        return net


@contextlib.contextmanager
def _persistent_kernel() -> Iterator[None]:
    """Let the GPU train with it."""
    xp: Any = backends.get_backend("cupy")
    before, xp.execution = xp.execution, "persistent"
    try:
        yield
    finally:
        xp.execution = before


def _is_persistent(how: Any) -> bool:
    return bool(how.method.startswith("persistent kernel"))


def _weights(net: mlp.MLP) -> NDArray[Any]:
    return np.concatenate([p.ravel() for p in (*net.weights, *net.biases)])


@functools.cache
def _expected(case: Case) -> NDArray[Any]:
    return _weights(case.trained("numpy", 20 * case.rows, 1))


@functools.cache
def _data(n_in: int, n_out: int, dtype: str) -> tuple[NDArray[Any], NDArray[Any]]:
    rng = np.random.default_rng(0)
    X, y = rng.integers(0, 256, (ROWS, n_in), dtype=np.uint8), rng.integers(0, n_out, ROWS)
    return (X if dtype == "uint8" else (X / np.float32(255)).astype(dtype)), y
