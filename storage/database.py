"""Opening a database and running transactions on it: SQLite from a file, PostgreSQL from a URL."""

import sqlite3
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError
from sqlalchemy.orm import Session

from steering.errors import SettingsError, StorageError
from storage import schema
from storage.failures import NOTHING_LOST, translated
from storage.turns import Turns

_BEGIN = "tiller_begin"
_MAX_CONNECTIONS = 64
_URL_HINT = "Write sqlite:///var/tiller.db or postgresql+psycopg://user:password@host/name."


class Database:
    """An open database with the schema this code knows; may be used from many threads.

    ``url`` names it without its password. Made by ``open_database``; a context manager that closes it.
    """

    def __init__(self, engine: Engine, busy_timeout_seconds: float) -> None:
        self.engine = engine
        self.url = engine.url.render_as_string(hide_password=True)
        self._writing_engine = engine.execution_options(**{_BEGIN: "BEGIN IMMEDIATE"})
        self._turns = Turns() if engine.dialect.name == "sqlite" else None
        self._busy_timeout_seconds = busy_timeout_seconds

    def __repr__(self) -> str:
        return f"Database({self.url!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close every connection; SQLite then folds its -wal file into the database."""
        with translated(self.url):
            self.engine.dispose()

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A session for reading; on SQLite it sees one state of the database, from its first statement on.

        Raises:
            StorageError: the database cannot be read.
        """
        with translated(self.url), Session(self.engine) as session:
            yield session

    @contextmanager
    def writing(self, consequence: str = NOTHING_LOST) -> Iterator[Session]:
        """A session whose changes are committed when the block ends, and undone when it raises.

        On SQLite it holds the one write lock from the start (BEGIN IMMEDIATE): a transaction that reads first and
        asks for the lock later fails with "database is locked", however long it is willing to wait.
        ``consequence`` is what the person is told when it fails, e.g. "Your judgement was not saved."

        Raises:
            StorageError: nothing was changed.
        """
        with (
            self._in_turn(consequence),
            translated(self.url, consequence),
            Session(self._writing_engine) as session,
            session.begin(),
        ):
            yield session

    @contextmanager
    def _in_turn(self, consequence: str) -> Iterator[None]:
        """Let this program's threads write to SQLite in turn.

        SQLite's own way to wait is to look again ever more seldom: of sixteen threads some waited for most of a second.
        """
        if self._turns is None:
            yield
            return
        # More patient than SQLite, whose own words are better when another program holds the lock.
        if not self._turns.take(2 * self._busy_timeout_seconds):
            waiting = f"Too many requests are waiting for the database {self.url}."
            raise StorageError(waiting, hint=f"{consequence} Try again in a moment.")
        try:
            yield
        finally:
            self._turns.leave()

    def flush_deleted(self) -> None:
        """Let what was deleted leave the disk, too: SQLite's -wal file is emptied into the database if nobody reads."""
        if self.engine.dialect.name == "sqlite":
            engine = self.engine.execution_options(**{_BEGIN: ""})
            with (
                translated(self.url, "The data was deleted, but may still be on the disk."),
                engine.connect() as connection,
            ):
                connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")

    def check(self) -> None:
        """Ask the database for one row; for health checks.

        Raises:
            StorageError: it does not answer.
        """
        with self.reading() as session:
            session.execute(text("SELECT 1"))

    def integrity_check(self) -> tuple[str, ...]:
        """Read the whole database and say what is wrong with it; empty when all is well.

        On PostgreSQL, whose server watches over its own files, it is ``check``.

        Raises:
            StorageError: it cannot be read at all.
        """
        if self.engine.dialect.name != "sqlite":
            self.check()
            return ()
        with self.reading() as session:
            damage = tuple(row[0] for row in session.execute(text("PRAGMA integrity_check")) if row[0] != "ok")
            if damage:
                return damage
            orphans = session.execute(text("PRAGMA foreign_key_check"))
            return tuple(f"{row[0]}: row {row[1]} points nowhere" for row in orphans)


def open_database(url: str, *, migrate: bool = True, busy_timeout_seconds: float = 10.0) -> Database:
    """Open the database at ``url``, by default making it and bringing its schema up to date.

    With ``migrate`` the folder and file of an SQLite database are made, and a database that cannot be written is
    refused now rather than at the first judgement. Without it nothing is written. ``busy_timeout_seconds`` is how long
    a transaction waits for other programs' locks.

    Raises:
        SettingsError: the URL is not one of SQLite (a file) or PostgreSQL.
        SchemaError: the schema is newer, another program's, or, without ``migrate``, older; says what to run.
        StorageError: the database cannot be opened, or, with ``migrate``, not written.
    """
    target = _parse(url)
    shown = target.render_as_string(hide_password=True)
    if target.get_backend_name() == "sqlite":
        _prepare_folder(Path(target.database or ""), shown, make=migrate)
        engine = _sqlite_engine(target, busy_timeout_seconds)
    else:
        engine = _postgresql_engine(target, busy_timeout_seconds)
    database = Database(engine, busy_timeout_seconds)
    try:
        _settle_schema(database, migrate=migrate)
    except BaseException:
        engine.dispose()
        raise
    return database


def sqlite_file(url: str) -> Path | None:
    """The file of an SQLite database, or None where the URL is PostgreSQL's.

    Raises:
        SettingsError: the URL is not one of SQLite (a file) or PostgreSQL.
    """
    target = _parse(url)
    return Path(target.database or "") if target.get_backend_name() == "sqlite" else None


def _parse(url: str) -> URL:
    try:
        target = make_url(url)
    except (ArgumentError, ValueError):
        # The text is not shown: it may hold a password.
        raise SettingsError("The database URL cannot be understood.", hint=_URL_HINT) from None
    if target.drivername not in ("sqlite", "sqlite+pysqlite", "postgresql", "postgresql+psycopg"):
        raise SettingsError(f"The database URL starts with {target.drivername}://.", hint=_URL_HINT)
    if target.get_backend_name() == "postgresql":
        return target.set(drivername="postgresql+psycopg")
    name = target.database or ""
    if name in ("", ":memory:") or name.startswith("file:") or target.query:
        raise SettingsError(
            f"The database URL {target.render_as_string()} is not a plain file; judgements must outlive the program.",
            hint=_URL_HINT,
        )
    return target


def _prepare_folder(file: Path, shown: str, *, make: bool) -> None:
    try:
        if make:
            file.parent.mkdir(parents=True, exist_ok=True)
        exists = file.exists()
    except (OSError, ValueError) as error:
        raise StorageError(
            f"The folder of the database {shown} cannot be used: {error}.",
            hint="Correct that, or choose another with --database-url.",
        ) from error
    if not make and not exists:
        raise StorageError(f"There is no database {shown}.", hint=f"Make it with `python -m storage upgrade {shown}`.")


def _sqlite_engine(target: URL, busy_timeout_seconds: float) -> Engine:
    engine = create_engine(target, max_overflow=_MAX_CONNECTIONS, connect_args={"timeout": busy_timeout_seconds})

    @event.listens_for(engine, "connect")
    def _configure(connection: sqlite3.Connection, _: object) -> None:
        # The sqlite3 module must send no BEGIN of its own: _begin below sends the right one. From Python 3.12 on the
        # module has a second way to run transactions, which would take over if it ever became the default.
        if sys.version_info >= (3, 12):
            connection.autocommit = sqlite3.LEGACY_TRANSACTION_CONTROL
        connection.isolation_level = None
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA synchronous = FULL")
        # What is deleted is overwritten, not left in unused pages: it may be somebody's personal data.
        connection.execute("PRAGMA secure_delete = ON")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        statement = connection.get_execution_options().get(_BEGIN, "BEGIN")
        if statement:
            connection.exec_driver_sql(statement)

    return engine


def _postgresql_engine(target: URL, busy_timeout_seconds: float) -> Engine:
    defaults: dict[str, Any] = {
        "options": f"-c lock_timeout={int(busy_timeout_seconds * 1000)}",
        "connect_timeout": 10,
    }
    ours = {name: value for name, value in defaults.items() if name not in target.query}
    try:
        return create_engine(target, max_overflow=_MAX_CONNECTIONS, pool_pre_ping=True, connect_args=ours)
    except ModuleNotFoundError as error:
        raise SettingsError(
            "PostgreSQL needs the package psycopg, which is not installed.", hint='Run `pip install "psycopg[binary]"`.'
        ) from error


def _settle_schema(database: Database, *, migrate: bool) -> None:
    if not migrate:
        with database.reading() as session:
            schema.require_current(session.connection(), database.url)
        return
    if database.engine.dialect.name == "sqlite":
        _turn_wal_on(database)
    with database.reading() as session:
        current = schema.is_current(session.connection(), database.url)
    if not current:
        _upgrade(database)
    with database.writing() as session:
        # Changes nothing, but fails where writing would: SQLite lets BEGIN IMMEDIATE pass on a read-only file.
        session.execute(text("UPDATE alembic_version SET version_num = version_num WHERE version_num = ''"))


def _upgrade(database: Database) -> None:
    """Bring the schema up to date in one transaction.

    On SQLite with foreign keys off, which only works before it begins: a migration that has to copy a table could not
    drop the old one (https://www.sqlite.org/lang_altertable.html, section 7). What they guard is checked at the end.
    """
    is_sqlite = database.engine.dialect.name == "sqlite"
    engine = database.engine.execution_options(**{_BEGIN: ""}) if is_sqlite else database.engine
    with translated(database.url), engine.connect() as connection:
        if is_sqlite:
            connection.exec_driver_sql("PRAGMA foreign_keys = OFF")
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        try:
            # Asked again under the lock: another program may have done it meanwhile.
            if not schema.is_current(connection, database.url):
                schema.upgrade(connection)
            if is_sqlite and connection.exec_driver_sql("PRAGMA foreign_key_check").first() is not None:
                raise StorageError(
                    f"The records of {database.url} do not fit together, so its schema was not changed.",
                    hint=f"See what `python -m storage check {database.url}` says of a copy, or use a backup.",
                )
            connection.commit()
        finally:
            # Never back to the pool with foreign keys off.
            connection.invalidate()


def _turn_wal_on(database: Database) -> None:
    """Write-ahead logging, once for the life of the file: readers and the writer do not wait for each other."""
    with translated(database.url), database.engine.execution_options(**{_BEGIN: ""}).connect() as connection:
        mode = connection.exec_driver_sql("PRAGMA journal_mode = WAL").scalar_one()
    if mode != "wal":
        raise StorageError(
            f"The disk of {database.url} cannot do write-ahead logging (it stays in mode {mode}).",
            hint="Put the database on a local disk with --database-url; network and bucket mounts are not safe.",
        )
