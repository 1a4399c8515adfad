"""Ctrl-C and SIGTERM during training."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator

from mlp.training.history import INTERRUPTED, TERMINATED


@contextlib.contextmanager
def stop_on_ctrl_c(stop: Callable[[str], object]) -> Iterator[None]:
    """On the first Ctrl-C call `stop`, such as `Run.stop`; a second one raises KeyboardInterrupt as usual."""
    with _stop_on(stop, signal.SIGINT, INTERRUPTED, signal.default_int_handler):
        yield


@contextlib.contextmanager
def stop_on_sigterm(stop: Callable[[str], object]) -> Iterator[None]:
    """On the first SIGTERM call `stop`; a second one ends the process as usual."""
    with _stop_on(stop, signal.SIGTERM, TERMINATED, signal.SIG_DFL):
        yield


@contextlib.contextmanager
def _stop_on(
    stop: Callable[[str], object], number: signal.Signals, reason: str, default: signal._HANDLER
) -> Iterator[None]:
    in_main_thread = threading.current_thread() is threading.main_thread()
    if not in_main_thread or signal.getsignal(number) is not default:
        yield  # only the main thread can set signal handlers, and a handler of the program must not be replaced
        return

    process = os.getpid()

    def request(signum: int, frame: object) -> None:
        signal.signal(number, default)
        if os.getpid() == process:
            stop(reason)
        else:
            signal.raise_signal(number)  # a forked process has this handler too, but it must end as usual

    signal.signal(number, request)
    try:
        yield
    finally:
        signal.signal(number, default)
