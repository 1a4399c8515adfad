"""`RepeatedStep`: runs a step many times, as graphs of several steps."""

from __future__ import annotations

from threading import Lock
from typing import Any

from backends.cupy_backend.step import Step

GRAPH_WORK = 2e10
"""Floating-point operations of a graph: enough that launching it takes much less time than running it."""

MOST_STEPS = 32
"""Steps of a graph at most; each is about ten nodes, which take time to capture and to launch."""


def steps_of_graph(step_flops: float) -> int:
    """Steps in one graph, for steps of `step_flops` operations.

    Examples
    --------
    >>> steps_of_graph(2e6), steps_of_graph(4e9), steps_of_graph(7e10)
    (32, 5, 1)
    """
    return max(1, min(MOST_STEPS, int(GRAPH_WORK / max(step_flops, 1))))


SMALLER = 8
"""Steps of a second graph, for what is left at the end of an epoch, and for short epochs."""


class RepeatedStep:
    """A step, and graphs of it.

    Parameters
    ----------
    step : Step
    stream : cupy.cuda.Stream
        The current stream whenever `start` is called.
    largest : int
        Steps of the largest graph; 0 runs the step without graphs.
    captures : Lock
        `Device.captures`.
    """

    def __init__(self, step: Step, stream: Any, largest: int, captures: Lock) -> None:
        self._step, self._stream, self._largest, self._captures = step, stream, largest, captures
        self._graphs: dict[int, Any] = {}
        self._ran = False

    def start(self, most: int) -> int:
        """Start up to `most` steps without waiting for them; return how many."""
        if not self._ran or not self._largest:
            # a first run outside any graph loads the kernels, which is not allowed during a capture
            self._step.run()
            self._ran = True
            return 1
        count = next(size for size in (self._largest, min(SMALLER, self._largest), 1) if size <= most)
        if count not in self._graphs:
            self._graphs[count] = self._capture(count)
        self._graphs[count].launch(self._stream)
        return count

    def _capture(self, count: int) -> Any:
        with self._captures:
            self._stream.begin_capture()
            try:
                for _ in range(count):
                    self._step.run()
            finally:
                graph = self._stream.end_capture()
            return graph
