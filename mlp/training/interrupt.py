"""Ctrl-C during training."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator

from mlp.training.callbacks import Run
from mlp.training.history import INTERRUPTED


@contextlib.contextmanager
def stop_on_ctrl_c(run: Run) -> Iterator[None]:
    """Stop after the current batch on the first Ctrl-C; a second one raises KeyboardInterrupt as usual."""
    in_main_thread = threading.current_thread() is threading.main_thread()
    if not in_main_thread or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield  # only the main thread can set signal handlers, and a handler of the program must not be replaced
        return

    def request(signum: int, frame: object) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        run.stop(INTERRUPTED)

    signal.signal(signal.SIGINT, request)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
