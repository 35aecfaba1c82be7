"""A PostgreSQL server for the length of a test run: made in a folder of its own, on a socket there, and removed."""

import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

DEBIAN = Path("/usr/lib/postgresql")


class NoServerError(Exception):
    """There can be no server here; the text says why."""


@contextmanager
def running_server() -> Iterator[str]:
    """Start a server and give the URL of its database ``postgres``; stopped and deleted afterwards.

    PostgreSQL refuses to run as root, so root runs it as Debian's user postgres, or as nobody.

    Raises:
        NoServerError: PostgreSQL or psycopg is not installed.
    """
    if importlib.util.find_spec("psycopg") is None:
        raise NoServerError("psycopg is not installed")
    initdb, pg_ctl = _program("initdb"), _program("pg_ctl")
    folder = Path(tempfile.mkdtemp(prefix="tiller-pg-", dir="/tmp"))  # a socket's path may have 107 characters
    identity = _identity()
    if identity:
        os.chown(folder, int(str(identity["user"])), int(str(identity["group"])))
    data, log = folder / "data", folder / "log"
    options = f"-k {folder} -c listen_addresses='' -c fsync=off -c max_connections=100"
    try:
        _run([initdb, "-D", data, "-U", "tiller", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"], identity)
        _run([pg_ctl, "-D", data, "-l", log, "-o", options, "-w", "start"], identity)
        try:
            yield f"postgresql+psycopg://tiller@/postgres?host={folder}"
        finally:
            _run([pg_ctl, "-D", data, "-m", "immediate", "-w", "stop"], identity)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _program(name: str) -> str:
    found = shutil.which(name) or next(
        (str(file) for file in sorted(DEBIAN.glob(f"*/bin/{name}"), reverse=True) if os.access(file, os.X_OK)), None
    )
    if found is None:
        raise NoServerError(f"{name} is not installed (Debian's package postgresql has it)")
    return found


def _identity() -> dict[str, object]:
    """Who runs the server: ourselves, or, when we are root, somebody with fewer rights."""
    if os.geteuid() != 0:
        return {}
    names = {entry.pw_name: entry for entry in pwd.getpwall()}
    person = names.get("postgres") or names["nobody"]
    return {"user": person.pw_uid, "group": person.pw_gid, "extra_groups": []}


def _run(command: list[object], identity: dict[str, object]) -> None:
    # Into nothing: the server keeps what it inherits open, and a pipe would never end.
    subprocess.run(
        [str(word) for word in command],
        cwd="/",
        check=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        timeout=60,
        **identity,  # type: ignore[call-overload]
    )
