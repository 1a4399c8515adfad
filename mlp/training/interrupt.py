"""Ctrl-C while a network trains."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator

from mlp.training.callbacks import Run


@contextlib.contextmanager
def stop_on_ctrl_c(run: Run) -> Iterator[None]:
    """Turn the first Ctrl-C into a request to stop after the batch; a second one interrupts as usual."""
    mine = threading.current_thread() is threading.main_thread()
    if not mine or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield  # another thread cannot, and somebody else's handler is not ours to replace
        return

    def request(signum: int, frame: object) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        run.stop("interrupted by Ctrl-C")

    signal.signal(signal.SIGINT, request)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
