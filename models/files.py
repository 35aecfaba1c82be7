"""Files that are there whole or as they were before, whatever ends the process or writes them at the same time."""

import os
import sys
import threading
from pathlib import Path

LOCK = ".lock"
"""The file in a folder by which one process keeps others out; the lock of a killed one is free."""


def write_whole(path: Path, text: str) -> None:
    """Put ``text`` in the place of the file ``path``: a reader finds the old one or the new one, whole.

    Raises:
        OSError: the disk refuses; the file is as it was.
    """
    # of threads that write the same file at once, each has its own
    fresh = path.with_name(f"{path.name}.{os.getpid()}-{threading.get_ident()}.new")
    try:
        with fresh.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except OSError:
        fresh.unlink(missing_ok=True)
        raise
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
