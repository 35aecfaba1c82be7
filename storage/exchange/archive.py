"""The whole record as a folder of JSON lines, one file per table, and back into an empty database, equal in every row.

Unlike an export of judgements it holds everything: generations with what replays them, studies, history, display names
and key hashes, the audit. It is for moving a record, between SQLite and PostgreSQL too, not for publishing.

The manifest names the schema. An archive of an older one goes through a database of that schema, which is then brought
up to date.
"""

import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import MetaData, Table, create_engine, func, insert, select
from sqlalchemy.orm import Session

import storage.study_tables  # so that the metadata has every table
from steering.errors import InputError, StorageError
from storage import schema
from storage.database import Database, open_database
from storage.exchange.writing import Row, new_folder, write_json_lines
from storage.failures import translated
from storage.tables import Base

MANIFEST = "archive.json"
_N_AT_ONCE = 500
_UNNAMED_REVISION = "0002"  # archives were first written of this schema, and did not name it

assert storage.study_tables.AuditRow.metadata is Base.metadata


def export_archive(database: Database, target: Path) -> dict[str, int]:
    """Write every row of every table, all of one state of the database, into the new folder ``target``.

    Returns the number of rows by table.

    Raises:
        InputError: something is at ``target`` already.
        StorageError: the database cannot be read or the folder not written; nothing is left behind.
    """
    n_rows: dict[str, int] = {}
    with new_folder(target) as folder, database.reading() as session:
        # On PostgreSQL every statement would see its own state; SQLite keeps that of the first one anyhow.
        if session.get_bind().dialect.name == "postgresql":
            session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
        for table in Base.metadata.sorted_tables:
            counter = _Counting(session, table)
            write_json_lines(folder / f"{table.name}.jsonl", counter.rows())
            n_rows[table.name] = counter.n_rows
        columns = _columns(Base.metadata.sorted_tables)
        manifest = {"revision": schema.newest_revision(), "columns": columns, "n_rows": n_rows}
        (folder / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    return n_rows


def is_empty(database: Database) -> bool:
    """Whether no table has a row, so that an archive can be imported.

    Raises:
        StorageError: the database cannot be read.
    """
    with database.reading() as session:
        return _filled_table(session) is None


def import_archive(database: Database, source: Path) -> dict[str, int]:
    """Put an archive into an empty database, in one transaction. Returns the number of rows by table.

    An archive of an older schema is brought up to date on the way, in a database of its own in a temporary folder.

    Raises:
        InputError: the folder is no archive, or one of a newer version, or a line of it is damaged; says which.
        StorageError: the database is not empty, or cannot be written; nothing was changed.
    """
    manifest = _read_manifest(source)
    if manifest.revision == schema.newest_revision():
        return _import(database, source, manifest)
    with tempfile.TemporaryDirectory(prefix="tiller-archive-") as working:
        newest = _brought_up_to_date(source, manifest, Path(working))
        return _import(database, newest, _read_manifest(newest))


def _import(database: Database, source: Path, manifest: "_Manifest") -> dict[str, int]:
    with database.writing("Nothing was imported.") as session:
        filled = _filled_table(session)
        if filled is not None:
            raise StorageError(
                f"The database is not empty: there are rows in {filled}.",
                hint="Nothing was imported. Name a new database with --database-url.",
            )
        _insert(session, source, manifest, Base.metadata.sorted_tables)
        _set_sequences(session)
    return manifest.n_rows


def _brought_up_to_date(source: Path, manifest: "_Manifest", working: Path) -> Path:
    """The archive as this version writes it, made in the folder ``working``."""
    url = f"sqlite:///{working / 'older.db'}"
    with translated("of the archive", "Nothing was imported."):
        engine = create_engine(url)
        try:
            with engine.begin() as connection:
                schema.upgrade(connection, manifest.revision)
            older = MetaData()
            older.reflect(engine, only=lambda name, _: name != "alembic_version")
            with Session(engine) as session, session.begin():
                _insert(session, source, manifest, older.sorted_tables)
        finally:
            engine.dispose()
    with open_database(url) as database:  # this brings it up to date
        export_archive(database, working / "newest")
    return working / "newest"


def _insert(session: Session, source: Path, manifest: "_Manifest", tables: Sequence[Table]) -> None:
    """Put every row of the archive into ``tables``, which have the schema it was written of."""
    # A migration may have put a column elsewhere than the models do, so the order says nothing.
    if _as_sets(manifest.columns) != _as_sets(_columns(tables)):
        raise InputError(
            f"The archive {source} has other tables or columns than the schema {manifest.revision} it names.",
            hint="The archive is damaged; copy it again.",
        )
    for table in tables:
        n_rows, n_expected = 0, manifest.n_rows[table.name]
        for rows in _bundles(_ordered(source / f"{table.name}.jsonl", table)):
            session.execute(insert(table), rows)
            n_rows += len(rows)
        if n_rows != n_expected:
            raise InputError(
                f"{table.name}.jsonl has {n_rows} rows; its manifest says {n_expected}.",
                hint="The archive is incomplete; copy it again.",
            )


def _filled_table(session: Session) -> str | None:
    """The first table with a row."""
    tables = Base.metadata.sorted_tables
    return next((table.name for table in tables if session.execute(select(table).limit(1)).first()), None)


class _Counting:
    """The rows of a table as JSON documents, counted as they pass."""

    def __init__(self, session: Session, table: Table) -> None:
        self._session = session
        self._table = table
        self.n_rows = 0

    def rows(self) -> Iterator[Row]:
        query = select(self._table).order_by(*self._table.primary_key.columns)
        for row in self._session.execute(query.execution_options(yield_per=_N_AT_ONCE)):
            self.n_rows += 1
            yield {name: _outward(value) for name, value in row._mapping.items()}


def _outward(value: Any) -> Any:
    if isinstance(value, datetime):
        return {"utc": value.isoformat()}
    # JSON has no infinity, which the reward of a token that a guide excludes may be.
    if isinstance(value, float) and value in (float("inf"), -float("inf")):
        return {"float": repr(value)}
    return value


def _inward(value: Any) -> Any:
    if isinstance(value, dict):
        ((kind, text),) = value.items()
        return datetime.fromisoformat(text) if kind == "utc" else float(text)
    return value


def _columns(tables: Sequence[Table]) -> dict[str, list[str]]:
    return {table.name: [column.name for column in table.columns] for table in tables}


def _as_sets(columns: dict[str, list[str]]) -> dict[str, set[str]]:
    return {name: set(names) for name, names in columns.items()}


@dataclass(frozen=True)
class _Manifest:
    """Of which schema an archive is, and the columns and the number of rows of each of its tables."""

    revision: str
    columns: dict[str, list[str]]
    n_rows: dict[str, int]


def _read_manifest(source: Path) -> _Manifest:
    try:
        manifest = json.loads((source / MANIFEST).read_text(encoding="utf-8"))
        columns, n_rows = manifest["columns"], manifest["n_rows"]
        revision = manifest.get("revision", _UNNAMED_REVISION)
        found = {str(name): int(number) for name, number in n_rows.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{source} is not an archive: {error}.", hint="Name the folder of `export --format archive`."
        ) from error
    if revision not in schema.known_revisions():
        raise InputError(
            f"The archive {source} has schema {revision}; this Tiller knows up to {schema.newest_revision()}.",
            hint="It was written by a newer Tiller: get that one with `git pull && make run`.",
        )
    if found.keys() != columns.keys():
        raise InputError(f"{source} does not count its tables.", hint="The archive is damaged; copy it again.")
    return _Manifest(revision, columns, found)


def _ordered(path: Path, table: Table) -> Iterator[Row]:
    """The rows of a file; those that point into their own table come after all others."""
    later: list[Row] = []
    points_home = [key.parent.name for key in table.foreign_keys if key.column.table is table]
    names = {column.name for column in table.columns}
    for number, row in _lines(path):
        if row.keys() != names:
            raise InputError(f"Line {number} of {path.name} has other columns.", hint="Copy the archive again.")
        if any(row[name] is not None for name in points_home):
            later.append(row)
        else:
            yield row
    yield from later


def _lines(path: Path) -> Iterator[tuple[int, Row]]:
    number = 0
    try:
        with path.open(encoding="ascii") as file:
            for number, line in enumerate(file, start=1):
                yield number, {name: _inward(value) for name, value in json.loads(line).items()}
    except (OSError, ValueError, AttributeError) as error:
        raise InputError(
            f"Line {number} of {path.name} cannot be read: {error}.", hint="Copy the archive again."
        ) from error


def _bundles(rows: Iterator[Row]) -> Iterator[list[Row]]:
    while bundle := [row for _, row in zip(range(_N_AT_ONCE), rows, strict=False)]:
        yield bundle


def _set_sequences(session: Session) -> None:
    """Let PostgreSQL count on from the highest number that came in; SQLite does by itself."""
    if session.get_bind().dialect.name == "postgresql":
        audit = Base.metadata.tables["audit"]
        highest = select(func.coalesce(func.max(audit.c.number), 0) + 1).scalar_subquery()
        session.execute(select(func.setval(func.pg_get_serial_sequence("audit", "number"), highest, False)))
