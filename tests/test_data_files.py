"""The errors of every reader for paths that are missing, not readable or not files."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mlp._backends import FileFormatError
from mlp.data import read_idx, read_npy, read_npz, read_table

READERS: list[tuple[Callable[..., Any], str]] = [
    (read_idx, "a-idx1-ubyte"),
    (read_npy, "a.npy"),
    (read_npz, "a.npz"),
    (read_table, "a.csv"),
    (read_table, "a.tsv"),
    (read_table, "a.parquet"),
]
every_reader = pytest.mark.parametrize(("read", "name"), READERS, ids=[name for _, name in READERS])


@every_reader
def test_a_missing_file(tmp_path: Path, read: Callable[..., Any], name: str) -> None:
    with pytest.raises(FileFormatError, match=f"there is no file '.*{name}'"):
        read(tmp_path / name)


@every_reader
def test_a_folder(tmp_path: Path, read: Callable[..., Any], name: str) -> None:
    (tmp_path / name).mkdir()
    with pytest.raises(FileFormatError, match=r"is a folder, .*; name a file inside it"):
        read(tmp_path / name)


@every_reader
def test_an_empty_file(tmp_path: Path, read: Callable[..., Any], name: str) -> None:
    (tmp_path / name).touch()
    with pytest.raises(FileFormatError, match="is empty"):
        read(tmp_path / name)


@every_reader
def test_a_file_without_permission(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: Callable[..., Any], name: str
) -> None:
    def deny_access(*_: object, **__: object) -> None:  # root may read every file, so the permission error is simulated
        raise PermissionError(13, "Permission denied")

    (tmp_path / name).write_bytes(b"content")
    monkeypatch.setattr(Path, "open", deny_access)
    with pytest.raises(FileFormatError, match="cannot be opened: Permission denied; check its access rights"):
        read(tmp_path / name)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
@every_reader
def test_a_pipe_is_refused_without_waiting(tmp_path: Path, read: Callable[..., Any], name: str) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(FileFormatError, match="is a pipe or a device"):
        read(tmp_path / name)


@every_reader
def test_a_file_of_another_kind(tmp_path: Path, read: Callable[..., Any], name: str) -> None:
    (tmp_path / name).write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(256)))
    with pytest.raises(FileFormatError, match=name):
        read(tmp_path / name)
