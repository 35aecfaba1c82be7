"""A process that outlives the one that began it, and is known again by its id and the time it was born."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from signal import SIGTERM
from typing import Any

from models.files import write_whole

NICENESS = 10  # a tenth of what others get: with the least there is it would stand still on a busy machine
_ROOT = Path(__file__).parents[2]
_PROC = Path("/proc")
_STATE, _BORN = 0, 19  # of the fields of /proc/PID/stat that stand behind the name


def begin(arguments: Sequence[str], record: Path, log: Path) -> "subprocess.Popen[bytes]":
    """Begin ``python ARGUMENTS`` with a low claim to the processor, in a session of its own.

    Its output goes to the end of ``log``; ``record`` is the file by which it is found again.
    """
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=_ROOT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    with suppress(OSError):  # it may have ended already
        os.setpriority(os.PRIO_PROCESS, process.pid, NICENESS)
    write_whole(record, json.dumps({"pid": process.pid, "born": _stat(process.pid).get("born")}))
    return process


def is_alive(record: Path) -> bool:
    """Whether the process of a record is still at work; another one that got its number is not it."""
    known = _read(record)
    if not known:
        return False
    now = _stat(known["pid"])
    if now:
        return now["born"] == known["born"] and now["state"] not in ("Z", "X")
    if _PROC.is_dir():
        return False
    try:
        os.kill(known["pid"], 0)
    except OSError:
        return False
    return True


def cancel(record: Path) -> None:
    """Ask the process of a record to end tidily, if it is still there."""
    if is_alive(record):
        with suppress(OSError):
            os.kill(_read(record)["pid"], SIGTERM)


def _read(record: Path) -> dict[str, Any]:
    try:
        known = json.loads(record.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) and isinstance(known.get("pid"), int) else {}


def _stat(pid: int) -> Mapping[str, str]:
    """The state of a process and its time of birth in ticks since the machine's; empty where that cannot be told."""
    try:
        behind_name = (
            (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        )
    except OSError:
        return {}
    return {"state": behind_name[_STATE], "born": behind_name[_BORN]}
