"""Array backends for multilayer perceptrons: one interface, `Backend`, with several implementations.

A backend is a module ``NAME_backend.py`` (or a package ``NAME_backend/``) in this folder with two functions:
``probe() -> Status`` checks whether it can run on this machine, and ``create(device) -> Backend`` returns it.
No registration is needed.  A backend is found by the name of its module, and imported on first use.

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
"""Name of the distribution; `mlp` checks it, because another package may also have the name ``backends``."""

__all__ = ["Backend", "Status", "available", "get_backend", "names", "resolve", "status"]

_FIRST = ("numpy", "numba", "cupy")


@cache
def names() -> tuple[str, ...]:
    """Names of all installed backends, usable or not, without importing them."""
    found = {m.name.removesuffix("_backend") for m in pkgutil.iter_modules(__path__) if m.name.endswith("_backend")}
    return tuple(name for name in (*_FIRST, *sorted(found - set(_FIRST))) if name in found)


@cache
def probe(name: str) -> Status:
    """`Status` of the backend `name`; an error of its own ``probe`` is reported in `Status.reason`."""
    if name not in names():
        raise UnknownNameError.among("backend", name, names())
    try:
        result = importlib.import_module(f"backends.{name}_backend").probe()
        if isinstance(result, Status):
            return result
        return Status(usable=False, reason=f"its probe() must return a Status, but returned {result!r}")
    except Exception as error:
        return Status(usable=False, reason=f"{type(error).__name__}: {error}")


def status() -> dict[str, Status]:
    """`Status` of each backend, by name.

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
    """Return the backend called `name`.

    Parameters
    ----------
    name : str
        One of `names()`.
    device : str, optional
        One of the backend's devices, or ``"cuda"`` for its first GPU; default: its first device.

    Raises
    ------
    UnknownNameError
        If there is no such backend; the message suggests the most similar name.
    BackendUnavailableError
        If it cannot run on this machine; the message says why, and what to do.  There is no fallback.
    ConfigurationError
        If the backend has no such device.
    """
    found = probe(name)
    if not found.usable:
        raise BackendUnavailableError(f"backend {name!r} cannot be used here: {found.reason}")
    first = found.devices[0]
    # "cuda" is an abbreviation for the first GPU, if the backend has one
    chosen = first if device is None or device == first.partition(":")[0] else str(device)
    if chosen not in found.devices:
        raise ConfigurationError(
            f"backend {name!r} has no device {device!r}; it has {', '.join(found.devices)}. "
            "Omit the device, or choose a backend that has it."
        )
    return _create(name, chosen)


@cache
def _create(name: str, device: str) -> Backend:
    backend: Backend = importlib.import_module(f"backends.{name}_backend").create(device)
    return backend


GPU_STEP = 1e8
"""Smallest number of operations of a step for which a GPU is faster; its calls take about 400 microseconds a step."""

CALLS = 1e6
"""Overhead of the calls of a step, about 50 microseconds, as the number of operations that NumPy does in that time."""

JIT_RUN = 1e10
"""Smallest number of operations of a run, with overhead, for which loading the compiled kernels saves time; it is
half a second of NumPy."""


def resolve(
    backend: str = "auto", device: str = "auto", *, step_flops: float = 0.0, run_flops: float = 0.0
) -> tuple[str, str, str]:
    """Choose a backend and a device from the size of the work and the capabilities of the machine.

    Parameters
    ----------
    backend : str
        Name of a backend, or ``"auto"``.
    device : str
        ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:i"``.
    step_flops, run_flops : float
        Floating-point operations of one step and of the whole run; zero if unknown.

    Returns
    -------
    backend, device, reason : str

    Raises
    ------
    UnknownNameError
        If there is no such backend or device.
    ConfigurationError
        If backend and device contradict each other.
    BackendUnavailableError
        If the requested backend or GPU cannot be used.

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
