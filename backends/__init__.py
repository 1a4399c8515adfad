"""Array backends for multilayer perceptrons: one interface, `Backend`, and what runs behind it.

A backend is a module ``NAME_backend.py`` (or a folder ``NAME_backend/``) beside this file with two
functions: ``probe() -> Status`` says whether it can run here, ``create(device) -> Backend`` makes it.
Dropping one in is all it takes; it is found by its name, and imported only when it is asked for.

Examples
--------
>>> import backends
>>> xp = backends.get_backend("numpy")
>>> xp.matmul(xp.asarray([[1.0, 2.0]]), xp.asarray([[3.0], [4.0]]))
array([[11.]])
"""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

from backends._status import Status
from backends.base import Backend
from backends.errors import BackendUnavailableError, ConfigurationError, UnknownNameError

DISTRIBUTION = "mlp"
"""Tells this package from any other folder that happens to be called ``backends``."""

__all__ = ["Backend", "Status", "available", "get_backend", "names", "resolve", "status"]

_FIRST = ("numpy", "numba", "cupy")


@cache
def names() -> tuple[str, ...]:
    """Every backend that is installed with the project, usable or not; imports none of them."""
    found = {m.name.removesuffix("_backend") for m in pkgutil.iter_modules(__path__) if m.name.endswith("_backend")}
    return tuple(name for name in (*_FIRST, *sorted(found - set(_FIRST))) if name in found)


@cache
def probe(name: str) -> Status:
    """What backend `name` says of itself; never raises for one that is broken."""
    if name not in names():
        raise UnknownNameError.among("backend", name, names())
    try:
        result = importlib.import_module(f"backends.{name}_backend").probe()
        return result if isinstance(result, Status) else Status(usable=False, reason=f"probe() gave {result!r}")
    except Exception as error:
        return Status(usable=False, reason=f"{type(error).__name__}: {error}")


def status() -> dict[str, Status]:
    """`Status` of every backend by name.

    Examples
    --------
    >>> status()["numpy"].usable
    True
    """
    return {name: probe(name) for name in names()}


def available() -> list[str]:
    """Names of the backends that can be used on this machine."""
    return [name for name, found in status().items() if found.usable]


def get_backend(name: str, device: str | None = None) -> Backend:
    """The backend called `name`.

    Parameters
    ----------
    name : str
        One of `names()`.
    device : str, optional
        One of the backend's devices, or ``"cuda"`` for its first GPU; default: its first.

    Raises
    ------
    UnknownNameError
        If there is no such backend; with the nearest name.
    BackendUnavailableError
        If it cannot run here; with the reason and the remedy.  Nothing falls back.
    """
    found = probe(name)
    if not found.usable:
        raise BackendUnavailableError(f"backend {name!r} cannot be used here: {found.reason}")
    first = found.devices[0]
    # "cuda" is short for the first GPU, where the backend has one
    chosen = first if device is None or device == first.partition(":")[0] else str(device)
    if chosen not in found.devices:
        raise ConfigurationError(
            f"backend {name!r} has no device {device!r}; it has {', '.join(found.devices)}. "
            "Leave the device out, or name the backend that goes with it."
        )
    return _create(name, chosen)


@cache
def _create(name: str, device: str) -> Backend:
    backend: Backend = importlib.import_module(f"backends.{name}_backend").create(device)
    return backend


GPU_STEP = 1e8
"""Floating-point operations of a step from which a GPU, at some 400 microseconds of calls a step, pays."""

CALLS = 1e6
"""Floating-point operations that NumPy could do while the calls of a step are made, some 50 microseconds."""

JIT_RUN = 1e10
"""Operations of a whole run, calls included, from which loading the compiled kernels pays: half a second of NumPy."""


def resolve(
    backend: str = "auto", device: str = "auto", *, step_flops: float = 0.0, run_flops: float = 0.0
) -> tuple[str, str, str]:
    """Choose a backend and a device for a plan, by the plan and the machine alone.

    Parameters
    ----------
    backend : str
        A name, or ``"auto"``.
    device : str
        ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:i"``.
    step_flops, run_flops : float
        Work of one step and of the whole run; zero where not known yet.

    Returns
    -------
    backend, device, reason : str

    Raises
    ------
    ConfigurationError
        If the two contradict each other.
    BackendUnavailableError
        If a GPU was asked for that cannot be used.

    Examples
    --------
    >>> resolve("numpy")
    ('numpy', 'cpu', 'as asked')
    >>> resolve("numpy", "cuda")
    Traceback (most recent call last):
        ...
    backends.errors.ConfigurationError: backend 'numpy' runs on the CPU, but device='cuda' was asked for. Use \
backend='cupy' or device='cpu'.
    """
    if backend != "auto" and backend not in names():
        raise UnknownNameError.among("backend", backend, ("auto", *names()))
    if not isinstance(device, str):
        raise UnknownNameError.among("device", device, ("auto", "cpu", "cuda", "cuda:0"))
    wants_gpu = device == "cuda" or (device.startswith("cuda:") and device[5:].isdigit())
    if not wants_gpu and device not in ("auto", "cpu"):
        raise UnknownNameError.among("device", device, ("auto", "cpu", "cuda", "cuda:0"))
    if backend != "auto":
        on_gpu = backend == "cupy"
        if wants_gpu and not on_gpu:
            raise ConfigurationError(
                f"backend {backend!r} runs on the CPU, but device={device!r} was asked for. "
                "Use backend='cupy' or device='cpu'."
            )
        if on_gpu and device == "cpu":
            raise ConfigurationError(
                "backend 'cupy' runs on a GPU, but device='cpu' was asked for. "
                "Use backend='numba' or 'numpy', or device='cuda'."
            )
        xp = get_backend(backend, device if wants_gpu else None)
        return backend, xp.device, "as asked"
    if wants_gpu:
        return "cupy", get_backend("cupy", device).device, f"device={device!r} was asked for"
    if device == "auto" and step_flops >= GPU_STEP and probe("cupy").usable:
        return "cupy", probe("cupy").devices[0], f"a GPU is there and a step has {step_flops:.1e} operations"
    if not run_flops:
        return "numpy", "cpu", "nothing to run yet"
    steps = run_flops / step_flops if step_flops else 1.0
    work = f"{run_flops:.1e} operations in {steps:,.0f} step{'s' * (round(steps) != 1)}"
    if run_flops + CALLS * steps >= JIT_RUN and probe("numba").usable:
        return "numba", "cpu", f"the run has {work}"
    return "numpy", "cpu", f"the run has only {work}"
