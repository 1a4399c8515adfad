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
import warnings
from functools import cache
from typing import Any

from backends._status import Status
from backends.base import Backend
from backends.environment import limit_threads, threads_of_environment, usable_processors
from backends.errors import BackendUnavailableError, ConfigurationError, UnknownNameError
from backends.step_time import Estimate, Work, on_cpu, on_gpu

DISTRIBUTION = "mlp"
"""Name of the distribution; `mlp` checks it, because another package may also have the name ``backends``."""

__all__ = [
    "Backend", "Status", "Work", "available", "estimates", "get_backend", "limit_threads", "names", "peak_kernels",
    "resolve", "status",
]  # fmt: skip

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


def peak_kernels() -> Any:
    """Return the module of kernels that only compute or only read, or None without a backend that compiles them.

    They show what the processor can do at most: ``multiply_adds(repeats)`` and ``read(words, repeats)``, on all
    threads; ``VECTOR_BITS`` is the width of its vectors.

    Examples
    --------
    >>> kernels = peak_kernels()
    >>> kernels is None or kernels.VECTOR_BITS >= 128
    True
    """
    return importlib.import_module("backends.numba_backend.peak") if probe("numba").usable else None


CALLS = 1e6
"""Overhead of the calls of a step, about 50 microseconds, as the number of operations that NumPy does in that time."""

JIT_RUN = 1e10
"""Smallest number of operations of a run, with overhead, for which loading the compiled kernels saves time; it is
half a second of NumPy."""


def estimates(work: Work, device: str = "cuda") -> dict[str, Estimate | None]:
    """Estimate the time of `work` on the CPU with all threads, and on a GPU by CUDA graphs.

    Parameters
    ----------
    work : Work
    device : str
        ``"cuda"`` for the first GPU, or ``"cuda:i"``.

    Returns
    -------
    dict
        ``"cpu"``, and ``"gpu"`` if there is a usable one: None if the driver does not tell its speed.

    Examples
    --------
    >>> estimate = estimates(Work((784, 128, 10), rows=60_000, batch_size=32))["cpu"]
    >>> sorted(estimate.parts)
    ['parameters', 'products', 'rows']
    """
    found: dict[str, Estimate | None] = {"cpu": on_cpu(work, threads_of_environment() or usable_processors())}
    gpus = dict(zip(probe("cupy").devices, probe("cupy").gpus, strict=False))
    name = next(iter(gpus), device) if device == "cuda" else device
    if name in gpus:
        gpu = gpus[name]
        found["gpu"] = None if gpu is None else on_gpu(work, gpu)
    return found


def resolve(
    backend: str = "auto",
    device: str = "auto",
    *,
    work: Work | None = None,
    step_flops: float | None = None,
    run_flops: float | None = None,
) -> tuple[str, str, str]:
    """Choose a backend and a device from the size of the work and the capabilities of the machine.

    Parameters
    ----------
    backend : str
        Name of a backend, or ``"auto"``.
    device : str
        ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:i"``.
    work : Work, optional
        What is to be computed; None if it is not known yet.
    step_flops, run_flops : float
        Deprecated, give `work` instead.  Floating-point operations of one step and of the whole run.  They do not say
        enough to choose a GPU.

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
    >>> resolve(work=Work((64, 32, 10), rows=1438, batch_size=32, epochs=2))
    ('numpy', 'cpu', 'the run has only 4.1e+07 operations in 90 steps')
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
        is_gpu = backend == "cupy"
        if wants_gpu and not is_gpu:
            raise ConfigurationError(
                f"backend {backend!r} runs on the CPU, but device={device!r} was asked for. "
                "Use backend='cupy' or device='cpu'."
            )
        if is_gpu and device == "cpu":
            raise ConfigurationError(
                "backend 'cupy' runs on a GPU, but device='cpu' was asked for. "
                "Use backend='numba' or 'numpy', or device='cuda'."
            )
        xp = get_backend(backend, device if wants_gpu else None)
        return backend, xp.device, "as asked"
    if wants_gpu:
        return "cupy", get_backend("cupy", device).device, f"device={device!r} was asked for"
    if work is None:
        return _of_operations(step_flops, run_flops)
    name, reason = _on_cpu(work.operations, work.steps, prediction=work.prediction)
    # where NumPy is fast enough, loading the kernels of a GPU takes longer than the whole training
    if device == "auto" and probe("cupy").usable and (name == "numba" or work.prediction):
        faster, comparison = _faster_on_gpu(work)
        if faster:
            return "cupy", probe("cupy").devices[0], comparison
        reason = f"{reason}; {comparison}"
    return name, "cpu", reason


def _on_cpu(operations: float, steps: float, *, prediction: bool = False) -> tuple[str, str]:
    """The backend for the CPU, and the reason."""
    if prediction:
        # compiled kernels are faster, but most predictions are done before they would be loaded
        return "numpy", f"a prediction of {operations:.1e} operations"
    run = f"{operations:.1e} operations in {steps:,.0f} step{'s' * (round(steps) != 1)}"
    if operations + CALLS * steps >= JIT_RUN and probe("numba").usable:
        return "numba", f"the run has {run}"
    return "numpy", f"the run has only {run}"


def _faster_on_gpu(work: Work) -> tuple[bool, str]:
    """Whether the first GPU is estimated to need less time than the CPU, and the sentence about it."""
    found = estimates(work)
    cpu, gpu = found["cpu"], found["gpu"]
    if cpu is None or gpu is None:
        return False, "the GPU does not tell its speed, so its time cannot be estimated: select it with device='cuda'"
    faster = gpu.seconds < cpu.seconds
    return faster, (
        f"the GPU is estimated to take {'less' if faster else 'no less'} time: {_words(gpu)}, "
        f"and {_words(cpu)} on the CPU"
    )


def _words(estimate: Estimate) -> str:
    return f"{1e6 * estimate.step:.3g} microseconds a step and {estimate.seconds:.3g} s in total"


def _of_operations(step_flops: float | None, run_flops: float | None) -> tuple[str, str, str]:
    """The choice for the deprecated arguments."""
    if step_flops is not None or run_flops is not None:
        warnings.warn(
            "step_flops and run_flops of backends.resolve are deprecated and no longer choose a GPU: "
            "give work=Work(...)",
            FutureWarning,
            stacklevel=3,
        )
    if not run_flops:
        return "numpy", "cpu", "nothing to run yet"
    name, reason = _on_cpu(run_flops, run_flops / step_flops if step_flops else 1.0)
    return name, "cpu", reason
