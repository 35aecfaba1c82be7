"""Files that are there whole or not at all, whatever ends the process."""

import json
import os
import secrets
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from steering.errors import LoadError

if sys.platform != "win32":
    import fcntl

_ASIDE = ".aside"


@contextmanager
def aside(root: Path) -> Iterator[Path]:
    """Yield an empty folder in ``root``, where what is being made stands until it is renamed; removed if it is not.

    Folders that killed processes left behind are removed first.
    """
    with told_as_load_error(root):
        root.mkdir(parents=True, exist_ok=True)
        for left in root.glob(f"{_ASIDE}-*"):
            if not _is_alive(left.name.split("-")[1]):
                shutil.rmtree(left, ignore_errors=True)
        folder = root / f"{_ASIDE}-{os.getpid()}-{secrets.token_hex(4)}"
        folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _is_alive(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, ValueError):
        return False
    except PermissionError:
        return True
    return True


@contextmanager
def locked(root: Path) -> Iterator[None]:
    """Let no other process or thread do the same; the lock of a killed process is free."""
    root.mkdir(parents=True, exist_ok=True)
    with (root / ".lock").open("a") as file:
        if sys.platform != "win32":
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def copy_synced(source: Path, target: Path) -> None:
    """Copy a file and have it written to the disk."""
    with source.open("rb") as read, target.open("wb") as written:
        shutil.copyfileobj(read, written)
        _sync(written.fileno())


def write_json(path: Path, document: Mapping[str, Any]) -> None:
    """Put ``document`` in the place of the file ``path``: a reader finds the old one or the new one, whole."""
    fresh = path.with_name(f"{path.name}.{os.getpid()}.new")
    with fresh.open("w", encoding="utf-8") as file:
        json.dump(document, file, ensure_ascii=False, indent=1)
        file.flush()
        _sync(file.fileno())
    fresh.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Have the names in a folder written to the disk."""
    if sys.platform == "win32":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync(descriptor: int) -> None:
    os.fsync(descriptor)


@contextmanager
def told_as_load_error(path: Path) -> Iterator[None]:
    """Translate what a disk refuses into an error for a person."""
    try:
        yield
    except OSError as error:
        raise LoadError(
            f"The guide versions in {path} cannot be read or written: {error}.",
            hint="Is there room on the disk, and may this user write there?",
        ) from error
