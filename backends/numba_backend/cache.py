"""Compiled kernels on disk, in a folder of our own, so that only the first run of a version compiles.

Numba's own ``cache=True`` writes beside the source, notices changes of that one file only (numba #3588),
and raises where no folder can be written.  Here the folder's name holds a digest of all sources of
`backends`, of the versions that matter and of the processor, so a change of any of them starts a new
folder; a kernel made from other functions, such as a user's activation, is known by the code of all of
them; and where nothing can be written, kernels are compiled anew in each process, after one warning.

The folder is the first that can be used of

1. the environment variable MLP_CACHE_DIR,
2. the user's cache folder (`platformdirs`), in it ``mlp``,
3. a private folder in the system's folder for temporary files.

Numba stores pickles, and whoever may write there may run code here: a folder that belongs to somebody else,
or that others may write to, is not used.
"""

from __future__ import annotations

import contextlib
import functools
import glob
import hashlib
import logging
import os
import pickle
import platform
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any, NamedTuple

import llvmlite
import llvmlite.binding
import numba
import numpy as np
import platformdirs
from numba.core import caching, config, serialize
from numba.core.dispatcher import Dispatcher

logger = logging.getLogger("mlp")

_KEPT_VERSIONS = 3
_PACKAGE = Path(__file__).resolve().parent.parent


# ---------------------------------------------------------------------------------------------------
# What the compiled code depends on
# ---------------------------------------------------------------------------------------------------


class TargetCPU(NamedTuple):
    """The processor that Numba compiles for: this one, unless NUMBA_CPU_NAME or NUMBA_CPU_FEATURES say otherwise."""

    name: str
    features: frozenset[str]


@functools.cache
def target_cpu() -> TargetCPU:
    """Name and features of the processor, in LLVM's words (``"znver4"``, ``"avx512f"``)."""
    name = config.CPU_NAME or llvmlite.binding.get_host_cpu_name()
    listed = config.CPU_FEATURES
    if listed is None:
        listed = llvmlite.binding.get_host_cpu_features().flatten()
    features = {feature[1:] for feature in listed.split(",") if feature.startswith("+")}
    if platform.machine() in ("aarch64", "arm64"):
        features.add("neon")  # part of every 64-bit ARM, though not every system lists it
    return TargetCPU(name, frozenset(features))


def _environment_digest(package: Path = _PACKAGE) -> str:
    """Digest of everything but the kernel itself that its machine code depends on."""
    digest = hashlib.sha256()
    for source in sorted(package.rglob("*.py")):
        digest.update(f"{source.relative_to(package).as_posix()}\0".encode())
        digest.update(source.read_bytes())
    cpu = target_cpu()
    facts = (
        numba.__version__, llvmlite.__version__, np.__version__, platform.python_implementation(), sys.version,
        platform.system(), platform.machine(), cpu.name, sorted(cpu.features), config.OPT,
    )  # fmt: skip
    digest.update(repr(facts).encode())
    return digest.hexdigest()[:16]


_ENVIRONMENT = _environment_digest()  # now: a source edited later is not the one that this process compiles


def _fingerprint(function: Callable[..., Any]) -> str:
    """Digest of a function's code and of every function and constant that it reaches."""
    digest = hashlib.sha256()
    seen: set[int] = set()

    def add(value: Any) -> None:
        if isinstance(value, Dispatcher):
            value = value.py_func
        if isinstance(value, FunctionType):
            if id(value) in seen:
                return
            seen.add(id(value))
            digest.update(f"function {value.__module__}.{value.__qualname__}\0".encode())
            add_code(value.__code__)
            for cell in value.__closure__ or ():
                add(cell.cell_contents)
            add(value.__defaults__)
            for name in sorted(reached_names(value.__code__)):
                if name in value.__globals__:
                    add(value.__globals__[name])
        elif isinstance(value, CodeType):
            add_code(value)
        elif isinstance(value, tuple):
            digest.update(f"tuple {len(value)}\0".encode())
            for item in value:
                add(item)
        elif isinstance(value, np.ndarray):
            digest.update(f"array {value.dtype} {value.shape}\0".encode() + value.tobytes())
        elif value is None or isinstance(value, bool | int | float | complex | str | bytes | np.generic):
            digest.update(f"{type(value).__name__} {value!r}\0".encode())
        else:
            # modules, types and intrinsics: their sources are in the digest of the folder
            named = getattr(value, "__qualname__", None) or getattr(value, "__name__", "")
            digest.update(f"{type(value).__name__} {named}\0".encode())

    def add_code(code: CodeType) -> None:
        digest.update(code.co_code)
        digest.update(repr((code.co_names, code.co_varnames, code.co_freevars, code.co_argcount)).encode())
        add(code.co_consts)

    def reached_names(code: CodeType) -> set[str]:
        inner = (constant for constant in code.co_consts if isinstance(constant, CodeType))
        return set(code.co_names).union(*map(reached_names, inner))

    add(function)
    return digest.hexdigest()


# ---------------------------------------------------------------------------------------------------
# Where
# ---------------------------------------------------------------------------------------------------


def _is_private(folder: Path) -> bool:
    """Whether only we can put files there."""
    if not hasattr(os, "getuid"):
        return True  # Windows keeps users' folders apart by itself
    status = folder.lstat()
    return (
        stat.S_ISDIR(status.st_mode)
        and status.st_uid == os.getuid()
        and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    )


def _usable(root: Path) -> bool:
    """Create the folder if need be, and say whether we may write there and nobody else may."""
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not _is_private(root):
            logger.warning("the cache folder %s is not used: others own it or may write to it", root)
            return False
        tempfile.TemporaryFile(dir=root).close()
    except OSError:
        return False
    return True


def _candidates() -> Iterator[Path]:
    if chosen := os.environ.get("MLP_CACHE_DIR"):
        yield Path(chosen).expanduser().resolve()
        logger.warning("MLP_CACHE_DIR=%s cannot be used; trying other folders", chosen)
    # without a home, expanding "~" fails or leaves a relative path
    with contextlib.suppress(RuntimeError, OSError):
        user = Path(platformdirs.user_cache_dir("mlp", appauthor=False))
        if user.is_absolute():
            yield user.resolve()
    owner = str(os.getuid()) if hasattr(os, "getuid") else os.environ.get("USERNAME", "user")
    with contextlib.suppress(FileNotFoundError):  # no folder for temporary files at all
        yield Path(tempfile.gettempdir()) / f"mlp-cache-{owner}"


@functools.cache
def cache_dir() -> Path | None:
    """Folder of the compiled kernels of this version on this processor, or None if none can be written."""
    for root in _candidates():
        folder = root / f"kernels-{_ENVIRONMENT}"
        if _usable(root) and _usable(folder):
            _prune(root, keep=folder)
            return folder
    logger.warning("no folder to cache compiled kernels in (set MLP_CACHE_DIR): each process compiles its own")
    return None


def _prune(root: Path, keep: Path) -> None:
    """Remove the folders of all but the versions used last."""
    with contextlib.suppress(OSError):
        os.utime(keep)
        versions = sorted(root.glob("kernels-*"), key=lambda folder: folder.stat().st_mtime, reverse=True)
        for old in versions[_KEPT_VERSIONS:]:
            if old != keep:
                shutil.rmtree(old, ignore_errors=True)


# ---------------------------------------------------------------------------------------------------
# The cache of one kernel
# ---------------------------------------------------------------------------------------------------


class _Locator(caching._CacheLocator):  # type: ignore[misc]
    """Tells Numba's cache our folder, and that a kernel is as fresh as its fingerprint."""

    def __init__(self, function: Callable[..., Any], folder: Path) -> None:
        self._folder = folder
        self._fingerprint = _fingerprint(function)
        self._py_file = function.__code__.co_filename  # named in Numba's warnings

    def ensure_cache_path(self) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def get_cache_path(self) -> str:
        return str(self._folder)

    def get_source_stamp(self) -> str:
        return self._fingerprint

    def get_disambiguator(self) -> str:
        return self._fingerprint[:16]


class _CompileResults(caching.CompileResultCacheImpl):  # type: ignore[misc]
    """Numba's way to and from bytes; only the constructor, which searches a folder by itself, is ours."""

    def __init__(self, function: Callable[..., Any], folder: Path) -> None:
        self._lineno = function.__code__.co_firstlineno
        self._locator = _Locator(function, folder)
        readable = "".join(letter for letter in function.__qualname__ if letter.isalnum() or letter in "._")
        self._filename_base = self.get_filename_base(readable[-60:], "")


class _Files:
    """One file for each signature of a kernel, written whole or not at all.

    Numba keeps an index of numbered files instead, and two processes that compile different signatures at
    the same time may both take the same number.
    """

    def __init__(self, folder: Path, base: str) -> None:
        self._folder, self._base = folder, base

    def _path(self, key: Any) -> Path:
        return self._folder / f"{self._base}-{hashlib.sha256(repr(key).encode()).hexdigest()[:16]}.nbc"

    def save(self, key: Any, data: Any) -> None:
        handle, temporary = tempfile.mkstemp(dir=self._folder, suffix=".tmp")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(serialize.dumps((key, data)))
            os.replace(temporary, self._path(key))
        except BaseException:
            os.unlink(temporary)
            raise

    def load(self, key: Any) -> Any:
        try:
            stored_key, data = pickle.loads(self._path(key).read_bytes())
        except FileNotFoundError:
            return None
        return data if stored_key == key else None

    def flush(self) -> None:
        for path in self._folder.glob(f"{glob.escape(self._base)}-*.nbc"):
            path.unlink(missing_ok=True)


class _KernelCache(caching.Cache):  # type: ignore[misc]
    """Numba's cache in our folder, found out at the first call, not when a module is imported.

    Reading never raises: a damaged or vanished file means compiling again.
    """

    _announced = False

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self._ready = False
        self._enabled = True
        self._started = 0.0

    @property
    def cache_path(self) -> str | None:
        folder = cache_dir()
        return None if folder is None else str(folder)

    def _prepare(self) -> bool:
        folder = cache_dir()
        if folder is not None and not self._ready:
            self._name, self._py_func = repr(self._function), self._function
            self._impl = _CompileResults(self._function, folder)
            self._cache_path = str(folder)
            self._cache_file = _Files(folder, self._impl.filename_base)
            self._ready = True
        return folder is not None

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        found = None
        if self._prepare():
            try:
                found = super().load_overload(sig, target_context)
            except Exception as error:
                logger.debug("compiled kernel not readable, compiling again: %s", error)
        if found is None:
            self._announce()
            self._started = time.perf_counter()
        return found

    def save_overload(self, sig: Any, data: Any) -> None:
        logger.debug("compiled %s in %.1f s", self._function.__qualname__, time.perf_counter() - self._started)
        if self._prepare():
            try:
                super().save_overload(sig, data)
            except OSError as error:
                logger.debug("compiled kernel not saved: %s", error)

    def flush(self) -> None:
        if self._prepare():
            super().flush()

    def _index_key(self, sig: Any, codegen: Any) -> Any:
        # Numba would pickle the closure, where a dispatcher has another identity in every process
        return sig, codegen.magic_tuple(), self._impl.locator.get_source_stamp()

    def _announce(self) -> None:
        if _KernelCache._announced:
            return
        _KernelCache._announced = True
        where = f"once, then kept in {self.cache_path}" if self.cache_path else "in each process, not kept"
        logger.warning("compiling Numba kernels, %s first: some seconds each, %s", self._function.__name__, where)


def kernel(function: Callable[..., Any]) -> Any:
    """Decorator: compile a function for the processor, without the GIL, lazily and cached on disk.

    NaN and infinity propagate (no fast-math), division by zero gives what it gives in NumPy, and indices are
    neither checked nor wrapped: a kernel's caller guarantees the shapes.

    The functions it calls are known by their code, at any depth.  What the code refers to otherwise (modules,
    types, intrinsics) is known by name only; those of `backends` are covered by the digest of the folder.

    Examples
    --------
    >>> @kernel
    ... def total(x):
    ...     result = 0.0
    ...     for i in range(x.size):
    ...         result += x[i]
    ...     return result
    """
    dispatcher = numba.njit(nogil=True, error_model="numpy", boundscheck=False, fastmath=False)(function)
    dispatcher._cache = _KernelCache(function)
    return dispatcher
