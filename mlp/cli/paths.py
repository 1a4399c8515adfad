"""Checks of the files and folders that a command names, before it begins to work."""

from __future__ import annotations

import os
from pathlib import Path

import click

from mlp.cli.reading_in_blocks import can_be_read_in_blocks


def require_file(path: str | None, name: str) -> None:
    """Raise a usage error if the file `path` of the argument or option `name` does not exist."""
    if path is None:
        return
    if Path(path).is_dir():
        raise _error(name, f"{path!r} is a folder; name a file in it.")
    if not os.path.exists(path):
        raise _error(name, f"there is no file {path!r}; check the spelling and the current folder.")


def require_model(path: str, name: str = "MODEL") -> None:
    """Raise a usage error if `path` is neither a file nor the folder of a run."""
    if Path(path).is_dir():
        require_run(path, name)
    else:
        require_file(path, name)


def require_run(path: str, name: str) -> None:
    """Raise a usage error if `path` is not the folder of a run."""
    from mlp.io.run_folders import CONFIG, MODEL

    if not os.path.exists(path):
        raise _error(name, f"there is no file {path!r}, and no such folder; check the spelling and the current folder.")
    if not Path(path).is_dir():
        raise _error(name, f"{path!r} is a file; a run is a folder with {CONFIG}.")
    if not (Path(path) / CONFIG).exists() and not (Path(path) / MODEL).exists():
        raise _error(name, f"the folder {path!r} is not a run; the folder of a run contains {CONFIG} and {MODEL}.")


def require_data(source: str | None, data_dir: str | None, name: str = "DATA", *, parts: bool = False) -> None:
    """Raise a usage error if the file `source` or the folder of MNIST does not exist.

    With `parts`, the source may be a folder of files that can be read in blocks.
    """
    from mlp import data
    from mlp.data.sources import FILE_SUFFIXES
    from mlp.data.table_files import STANDARD_INPUT, table_suffix

    if data_dir:
        _require_folder(data_dir, "--data-dir")
    if source == "mnist" and data_dir is None and os.environ.get("MLP_DATA"):
        _require_folder(os.environ["MLP_DATA"], "environment variable MLP_DATA")
    if source is None or source == STANDARD_INPUT or source in data.SOURCE_NAMES:
        return
    if parts and Path(source).is_dir() and can_be_read_in_blocks(source):
        return
    is_known = bool(table_suffix(source)) or Path(source).suffix.lower() in FILE_SUFFIXES
    if is_known or Path(source).is_dir():
        require_file(source, name)
    elif os.path.exists(source):
        raise _error(
            name, f"the name {source!r} has no known suffix; name a file that ends in {' '.join(FILE_SUFFIXES)}."
        )


def require_new_file(path: str | None, name: str = "--output") -> None:
    """Raise a usage error if the file `path` exists, or cannot be created."""
    if path is not None and os.path.lexists(path):
        raise _error(name, f"{path!r} already exists; choose another file.")
    require_output(path, name)


def require_output(path: str | os.PathLike[str] | None, name: str = "--output") -> None:
    """Raise a usage error if the file `path`, which is replaced if it exists, cannot be written."""
    if path is None:
        return
    target = Path(os.path.realpath(path))
    if target.is_dir():
        raise _error(name, f"{os.fspath(path)!r} is a folder; name a file in it.")
    if target.exists() and not target.is_file():
        raise _error(name, f"{os.fspath(path)!r} is a device or a pipe; name a file.")
    if not target.parent.is_dir():
        raise _error(
            name, f"{os.fspath(path)!r} cannot be written: there is no folder {str(target.parent)!r}; create it."
        )
    _require_writable(target.parent, os.fspath(path), name)


def require_new_folder(path: str, name: str) -> None:
    """Raise a usage error if the folder `path` cannot be created, with its missing parents, or is not empty."""
    target = Path(os.path.realpath(path))
    if target.is_dir() and any(target.iterdir()):
        raise _error(
            name,
            f"{path!r} exists already, and a run never overwrites files; choose another folder, or omit {name} for a "
            "new folder under runs/.",
        )
    require_folder_for_runs(path, name)


def require_folder_for_runs(path: str, name: str) -> None:
    """Raise a usage error if the folder `path` does not exist and cannot be created, or cannot be written to."""
    target = Path(os.path.realpath(path))
    existing = next(folder for folder in (target, *target.parents) if os.path.lexists(folder))
    if not existing.is_dir():
        raise _error(name, f"{path!r} cannot be created: {str(existing)!r} exists already and is not a folder.")
    _require_writable(existing, path, name)


def _require_folder(path: str, name: str) -> None:
    if not Path(path).is_dir():
        raise _error(name, f"there is no folder {path!r}; check the spelling and the current folder.")


def _require_writable(folder: Path, path: str, name: str) -> None:
    if not os.access(folder, os.W_OK | os.X_OK):
        raise _error(name, f"{path!r} cannot be written: no permission to write in the folder {str(folder)!r}.")


def _error(name: str, problem: str) -> click.UsageError:
    return click.UsageError(f"{name}: {problem}")
