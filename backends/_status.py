"""`Status`: whether a backend is usable on this machine."""

from __future__ import annotations

from dataclasses import dataclass

from backends.step_time import Gpu


@dataclass(frozen=True)
class Status:
    """Whether a backend can be used here and, if not, why.

    Attributes
    ----------
    usable : bool
    reason : str
        Why it is not usable, and what to install; empty if it is usable.
    devices : tuple of str
        Devices that it can use: ``"cpu"``, or ``"cuda:0"``, ``"cuda:1"``, ...
    version : str
        Version of its array library.
    gpus : tuple of Gpu or None
        The speed of each device, if they are GPUs; None for one whose speed is not known.
    """

    usable: bool
    reason: str = ""
    devices: tuple[str, ...] = ()
    version: str = ""
    gpus: tuple[Gpu | None, ...] = ()
