"""Copies of an SQLite database in use, and putting one in place; copying the file itself would lose its -wal."""

import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, NullPool, create_engine, inspect, text

from steering.errors import InputError, StorageError
from storage import schema
from storage.database import sqlite_file
from storage.failures import translated

_REST = ("-wal", "-shm", "-journal")


@dataclass(frozen=True)
class Backup:
    """A verified copy: the file, its size and how many rows each table has."""

    file: Path
    n_bytes: int
    n_rows: Mapping[str, int]


def backup(url: str, target: Path) -> Backup:
    """Copy the SQLite database at ``url`` to the new file ``target``, while it may be written to, and verify the copy.

    The copy is one state of the database. It has its name only once it is whole, verified and on the disk.

    Raises:
        SettingsError: the URL cannot be used.
        InputError: ``target`` is there already, or the database is PostgreSQL's.
        SchemaError: the database is a newer Tiller's or another program's.
        StorageError: the database cannot be read, the copy cannot be written, or it is not sound.
    """
    source = sqlite_file(url)
    if source is None:
        raise InputError("The database is PostgreSQL's.", hint="Back it up with pg_dump, and restore with pg_restore.")
    return _copy(source, target)


def restore(source: Path, url: str) -> Backup:
    """Put a backup where the SQLite database at ``url`` shall be and where none is; it is verified, too.

    An older schema is brought up to date when Tiller opens the database.

    Raises:
        SettingsError: the URL cannot be used.
        InputError: there is a database at ``url``, or it is PostgreSQL's.
        SchemaError: the backup is a newer Tiller's or another program's.
        StorageError: the backup cannot be read or is damaged, or the database cannot be written.
    """
    target = sqlite_file(url)
    if target is None:
        raise InputError("The database is PostgreSQL's.", hint="Restore it with pg_restore.")
    return _copy(source, target)


def _copy(source: Path, target: Path) -> Backup:
    if not source.is_file():
        raise StorageError(f"There is no database {source}.", hint="Correct its name.")
    for taken in (target, *(target.with_name(target.name + rest) for rest in _REST)):
        if taken.exists():
            raise InputError(f"{taken} is there already.", hint="Move it away or choose another name.")
    # In the same folder, so that giving it its name is one step; of this process alone, so that two cannot mix.
    partial = target.with_name(f"{target.name}.{os.getpid()}.partial")
    with _writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    try:
        n_rows = _write_verified(source, partial)
        with _writing(target):
            _sync(partial)
            # A link, unlike a rename, fails when somebody has made the target meanwhile.
            os.link(partial, target)
            _sync(target.parent)
    finally:
        for rest in ("", *_REST):
            partial.with_name(partial.name + rest).unlink(missing_ok=True)
    return Backup(target, target.stat().st_size, n_rows)


def _write_verified(source: Path, copy: Path) -> Mapping[str, int]:
    with _opened(source) as connection:
        if not schema.is_current(connection, str(source)) and not _tables(connection):
            raise StorageError(f"{source} is an empty database.", hint="Give another one.")
        before = _n_rows(connection)
        # VACUUM refuses to run in a transaction, so the counts may be of states on both sides of the copy's.
        connection.exec_driver_sql("VACUUM INTO ?", (str(copy),))
        after = _n_rows(connection)
    with _opened(copy) as connection:
        damage = [row[0] for row in connection.execute(text("PRAGMA integrity_check")) if row[0] != "ok"]
        orphans = connection.execute(text("PRAGMA foreign_key_check")).all()
        n_rows = _n_rows(connection)
    strays = [
        table
        for table in n_rows.keys() | before.keys()
        if not _between(n_rows.get(table, -1), before.get(table, -1), after.get(table, -1))
    ]
    if damage or orphans or strays:
        raise StorageError(
            f"The copy of {source} is not sound: {'; '.join([*damage[:3], *map(str, orphans[:3]), *strays])}.",
            hint=f"See what `python -m storage check sqlite:///{source}` says, and check the disk.",
        )
    return n_rows


def _between(value: int, one: int, other: int) -> bool:
    return min(one, other) <= value <= max(one, other)


def _tables(connection: Connection) -> list[str]:
    return sorted(inspect(connection).get_table_names())


def _n_rows(connection: Connection) -> dict[str, int]:
    return {
        table: int(connection.execute(text(f'SELECT count(*) FROM "{table}"')).scalar_one())
        for table in _tables(connection)
    }


@contextmanager
def _opened(file: Path) -> Iterator[Connection]:
    """A connection that only reads, and sends no BEGIN."""

    def connect() -> sqlite3.Connection:
        return sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True, isolation_level=None)

    engine = create_engine("sqlite://", creator=connect, poolclass=NullPool)
    with translated(str(file)), engine.connect() as connection:
        yield connection


@contextmanager
def _writing(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"The copy {target} cannot be written: {error}.", hint="Correct that, or choose another name."
        ) from error


def _sync(path: Path) -> None:
    """Wait until a file, or what a folder lists, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
