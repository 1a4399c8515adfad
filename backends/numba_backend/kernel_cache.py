"""A cache of compiled kernels on disk, so that only the first run of a version compiles.

Numba's ``cache=True`` writes next to the source file, detects changes of that one file only (numba #3588), and
raises if no folder is writable.  This cache differs in three points.  The name of its folder contains a digest
of all sources of `backends`, of the relevant versions and of the processor, so a change of any of them leads to
a new folder.  A kernel that is built from other functions is identified by the code of all of them.  If no
folder is writable, each process compiles its kernels again, after one warning.

The folder is the first usable one of

1. the environment variable MLP_CACHE_DIR,
2. ``mlp`` in the user's cache folder (`platformdirs`),
3. a private folder in the system's folder for temporary files.

Numba stores pickles, so anybody who can write to the folder can run code in this process.  Therefore a folder
that belongs to another user, or that others may write to, is not used.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import gc
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
from numba.core import caching, config, serialize, types
from numba.core.dispatcher import Dispatcher
from numba.core.typed_passes import NativeLowering

from backends.numba_backend.subroutine import simple_function

logger = logging.getLogger("mlp")

_MAX_VERSIONS = 3
_PACKAGE = Path(__file__).resolve().parent.parent


# ---------------------------------------------------------------------------------------------------
# What the compiled code depends on
# ---------------------------------------------------------------------------------------------------


class TargetCPU(NamedTuple):
    """The processor that Numba compiles for: this one, unless NUMBA_CPU_NAME or NUMBA_CPU_FEATURES is set."""

    name: str
    features: frozenset[str]


@functools.cache
def target_cpu() -> TargetCPU:
    """LLVM's names of the processor and its features (``"znver4"``, ``"avx512f"``)."""
    name = config.CPU_NAME or llvmlite.binding.get_host_cpu_name()
    listed = config.CPU_FEATURES
    if listed is None:
        listed = llvmlite.binding.get_host_cpu_features().flatten()
    features = {feature[1:] for feature in listed.split(",") if feature.startswith("+")}
    if platform.machine() in ("aarch64", "arm64"):
        features.add("neon")  # every 64-bit ARM processor has it, but not every system lists it
    return TargetCPU(name, frozenset(features))


def _environment_digest(package: Path = _PACKAGE) -> str:
    """Digest of everything that the machine code depends on, except the kernel itself."""
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


_ENVIRONMENT = _environment_digest()  # at import: later edits of a source do not affect what this process compiles


def _fingerprint(function: Callable[..., Any]) -> str:
    """Digest of a function's code and of all functions and constants that it refers to, directly or indirectly."""
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
            for name in sorted(referenced_names(value.__code__)):
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
            # modules, types and intrinsics: the digest of the folder covers their sources
            object_name = getattr(value, "__qualname__", None) or getattr(value, "__name__", "")
            digest.update(f"{type(value).__name__} {object_name}\0".encode())

    def add_code(code: CodeType) -> None:
        digest.update(code.co_code)
        digest.update(repr((code.co_names, code.co_varnames, code.co_freevars, code.co_argcount)).encode())
        add(code.co_consts)

    def referenced_names(code: CodeType) -> set[str]:
        inner = (constant for constant in code.co_consts if isinstance(constant, CodeType))
        return set(code.co_names).union(*map(referenced_names, inner))

    add(function)
    return digest.hexdigest()


# ---------------------------------------------------------------------------------------------------
# The folder
# ---------------------------------------------------------------------------------------------------


def _is_private(folder: Path) -> bool:
    """Whether only this user can write files there."""
    if not hasattr(os, "getuid"):
        return True  # Windows itself protects the folders of a user
    status = folder.lstat()
    return (
        stat.S_ISDIR(status.st_mode)
        and status.st_uid == os.getuid()
        and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    )


def _usable(root: Path) -> bool:
    """Create the folder if necessary; return whether this user, and nobody else, can write there."""
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not _is_private(root):
            logger.warning("the cache folder %s is not used: another user owns it or may write to it", root)
            return False
        tempfile.TemporaryFile(dir=root).close()
    except OSError:
        return False
    return True


def _candidates() -> Iterator[Path]:
    if chosen := os.environ.get("MLP_CACHE_DIR"):
        yield Path(chosen).expanduser().resolve()
        logger.warning("MLP_CACHE_DIR=%s cannot be used; trying other folders", chosen)
    # without a home folder, expanding "~" fails or gives a relative path
    with contextlib.suppress(RuntimeError, OSError):
        user = Path(platformdirs.user_cache_dir("mlp", appauthor=False))
        if user.is_absolute():
            yield user.resolve()
    owner = str(os.getuid()) if hasattr(os, "getuid") else os.environ.get("USERNAME", "user")
    with contextlib.suppress(FileNotFoundError):  # no folder for temporary files at all
        yield Path(tempfile.gettempdir()) / f"mlp-cache-{owner}"


@functools.cache
def cache_dir() -> Path | None:
    """Folder of the compiled kernels of this version on this processor, or None if no folder is writable."""
    for root in _candidates():
        folder = root / f"kernels-{_ENVIRONMENT}"
        if _usable(root) and _usable(folder):
            _prune(root, keep=folder)
            return folder
    logger.warning(
        "no folder to cache compiled kernels is writable, so each process compiles them again; "
        "set the environment variable MLP_CACHE_DIR to a writable folder"
    )
    return None


def _prune(root: Path, keep: Path) -> None:
    """Remove the folders of all versions except those used most recently."""
    with contextlib.suppress(OSError):
        os.utime(keep)
        versions = sorted(root.glob("kernels-*"), key=lambda folder: folder.stat().st_mtime, reverse=True)
        for old in versions[_MAX_VERSIONS:]:
            if old != keep:
                shutil.rmtree(old, ignore_errors=True)


# ---------------------------------------------------------------------------------------------------
# The cache of one kernel
# ---------------------------------------------------------------------------------------------------


class _Locator(caching._CacheLocator):  # type: ignore[misc]
    """Gives Numba's cache this module's folder, and the fingerprint of a kernel as its version."""

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
    """Numba's serialization, with another constructor, because Numba's chooses the folder itself."""

    def __init__(self, function: Callable[..., Any], folder: Path) -> None:
        self._lineno = function.__code__.co_firstlineno
        self._locator = _Locator(function, folder)
        readable = "".join(letter for letter in function.__qualname__ if letter.isalnum() or letter in "._")
        self._filename_base = self.get_filename_base(readable[-60:], "")


class _Files:
    """One file for each signature of a kernel, written atomically.

    Numba uses numbered files with an index instead; two processes that compile different signatures at the same
    time can choose the same number.
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
    """Numba's cache in this module's folder, which is determined at the first call, not on import.

    Reading never raises: if a file is damaged or missing, the kernel is compiled again.
    """

    _warned = False

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
                logger.debug("the compiled kernel cannot be read and is compiled again: %s", error)
        if found is None:
            self._warn_once()
            self._started = time.perf_counter()
        return found

    def save_overload(self, sig: Any, data: Any) -> None:
        logger.debug("compiled %s in %.1f s", self._function.__qualname__, time.perf_counter() - self._started)
        if self._prepare():
            try:
                super().save_overload(sig, data)
            except OSError as error:
                logger.debug("the compiled kernel cannot be saved: %s", error)

    def flush(self) -> None:
        if self._prepare():
            super().flush()

    def _index_key(self, sig: Any, codegen: Any) -> Any:
        # Numba would include the pickled closure, but a dispatcher in it has a different identity in every process
        return sig, codegen.magic_tuple(), self._impl.locator.get_source_stamp()

    def _warn_once(self) -> None:
        if _KernelCache._warned:
            return
        _KernelCache._warned = True
        where = f"once, then loaded from {self.cache_path}" if self.cache_path else "in each process, without a cache"
        logger.warning("compiling Numba kernels: some seconds, %s", where)


def kernel(function: Callable[..., Any]) -> Any:
    """Decorator: compile a function for the processor on its first call, without the GIL, and cache it on disk.

    NaN and infinity propagate (no fast-math), and division by zero behaves as in NumPy.  Indices are neither
    checked nor wrapped: the caller of a kernel must ensure that the shapes are valid.

    The cache identifies the functions that a kernel calls by their code, at any depth.  It identifies other
    objects (modules, types, intrinsics) by name only; for those of `backends`, the digest of the folder covers
    their code.

    Examples
    --------
    >>> @kernel
    ... def total(x):
    ...     result = 0.0
    ...     for i in range(x.size):
    ...         result += x[i]
    ...     return result
    """
    dispatcher = numba.njit(
        nogil=True, error_model="numpy", boundscheck=False, fastmath=False, no_cfunc_wrapper=True
    )(function)  # fmt: skip
    dispatcher._cache = _KernelCache(function)
    return dispatcher


@contextlib.contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """A compilation makes millions of small objects, and to look for cycles among them takes a tenth of its time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def compile_or_load(dispatcher: Dispatcher, arguments: tuple[types.Type, ...]) -> None:
    """Make a kernel ready to be called with arguments of these types, and with no others."""
    with _without_garbage_collection():
        dispatcher.compile(arguments)
    dispatcher.disable_compile()


_with_address: list[Dispatcher] = []  # must live as long as the process, since anything may have their addresses


def function_address(function: Callable[..., Any], arguments: tuple[types.Type, ...]) -> int:
    """Compile a function of pointers and numbers, or load it from the cache; return its address for compiled callers.

    It returns nothing, and has the calling convention of C.  The address is that of this process.
    """
    dispatcher = simple_function(function, lowering=NativeLowering, no_cfunc_wrapper=False)
    dispatcher._cache = _KernelCache(function)
    compile_or_load(dispatcher, arguments)
    _with_address.append(dispatcher)
    result = dispatcher.overloads[arguments]
    return int(result.library.get_pointer_to_function(result.fndesc.llvm_cfunc_wrapper_name))


def function_of_c(function: Callable[..., Any], arguments: tuple[types.Type, ...]) -> Callable[..., None]:
    """`function_address` for calls from Python, with addresses as pointers; other Python threads can run meanwhile.

    Numba's own conversion of twenty arrays would take as long to compile as a tenth of the kernel of an epoch.
    """
    numbers: dict[types.Type, Any] = {
        types.int64: ctypes.c_int64, types.uint64: ctypes.c_uint64,
        types.float32: ctypes.c_float, types.float64: ctypes.c_double,
    }  # fmt: skip
    kinds: Any = [numbers.get(kind, ctypes.c_void_p) for kind in arguments]  # all others are pointers
    return ctypes.CFUNCTYPE(None, *kinds)(function_address(function, arguments))
