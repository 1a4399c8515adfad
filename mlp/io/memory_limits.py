"""The memory that this process may use: the least of what the machine has and what the system allows."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import NamedTuple

CGROUPS, MEMBERSHIP = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


class Memory(NamedTuple):
    """An amount of memory in bytes, and what sets it."""

    bytes: int
    source: str


def usable_memory() -> Memory | None:
    """The least of the physical memory, the limits of the process's cgroups, and the limit on its address space.

    It does not depend on what is in use at the moment, so it is the same from call to call.

    Returns
    -------
    Memory or None
        None if the system tells nothing about its memory, such as Windows.
    """
    known = [*_physical(), *_cgroups(), *_address_space()]
    return min(known, default=None, key=lambda memory: memory.bytes)


def _physical() -> list[Memory]:
    try:
        return [Memory(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), "of the machine")]
    except (AttributeError, ValueError, OSError):  # not a POSIX system
        return []


def _address_space() -> list[Memory]:
    if sys.platform == "win32":
        return []
    import resource

    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return [] if limit == resource.RLIM_INFINITY else [Memory(limit, "of address space (ulimit -v)")]


def _cgroups() -> list[Memory]:
    """The limits of the cgroups of the process and of those around them, of version 1 and 2."""
    try:
        lines = MEMBERSHIP.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if not controllers:
            root, name = CGROUPS, "memory.max"
        elif "memory" in controllers.split(","):
            root, name = CGROUPS / "memory", "memory.limit_in_bytes"
        else:
            continue
        group = root / path.lstrip("/")
        for folder in (group, *group.parents):
            found += _limit(folder / name)
            if folder == root:
                break
    return found


def _limit(path: Path) -> list[Memory]:
    try:
        text = path.read_text(encoding="ascii").strip()
    except (OSError, ValueError):  # inside a container the path may be that of the host
        return []
    return [Memory(int(text), "of the control group")] if text.isdecimal() else []  # "max" is no limit
