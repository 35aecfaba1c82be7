"""Folders that are there whole or not at all, whatever ends the process."""

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from steering.errors import LoadError

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


def copy_synced(source: Path, target: Path) -> None:
    """Copy a file and have it written to the disk."""
    with source.open("rb") as read, target.open("wb") as written:
        shutil.copyfileobj(read, written)
        os.fsync(written.fileno())


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
