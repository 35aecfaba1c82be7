"""Archives written by earlier versions are read, whichever schema they are of."""

import json
import shutil
import sqlite3
from pathlib import Path

import pytest

from storage import schema
from storage.database import Database, open_database
from storage.exchange.archive import MANIFEST, export_archive, import_archive
from tests.storage.make_fixture import FIXTURES
from tests.storage.test_import import everything

DATABASES = sorted(FIXTURES.glob("*.db"))
FIRST_WITH_ARCHIVES = "0002"


def upgraded(fixture: Path, tmp_path: Path) -> dict[str, list[tuple[object, ...]]]:
    """What a saved database holds once it is brought up to date where it is."""
    copy = shutil.copy(fixture, tmp_path / "copy.db")
    with open_database(f"sqlite:///{copy}") as database:
        return everything(database)


def archive_of(fixture: Path, folder: Path) -> Path:
    """The archive that the version of a saved database would have written, made by SQLite alone."""
    folder.mkdir()
    connection = sqlite3.connect(f"file:{fixture}?mode=ro&immutable=1", uri=True)
    names = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    columns, n_rows = {}, {}
    for name in set(names) - {"alembic_version", "sqlite_sequence"}:
        described = connection.execute(f"PRAGMA table_info({name})").fetchall()
        columns[name] = [row[1] for row in described]
        is_time = ["DATETIME" in row[2] for row in described]
        lines = []
        for row in connection.execute(f"SELECT * FROM {name}"):
            values = [
                {"utc": f"{value.replace(' ', 'T')}+00:00"} if value and of_time else value
                for value, of_time in zip(row, is_time, strict=True)
            ]
            lines.append(json.dumps(dict(zip(columns[name], values, strict=True))) + "\n")
        (folder / f"{name}.jsonl").write_text("".join(lines), encoding="ascii")
        n_rows[name] = len(lines)
    connection.close()
    (folder / MANIFEST).write_text(json.dumps({"revision": fixture.stem, "columns": columns, "n_rows": n_rows}))
    return folder


@pytest.mark.parametrize("fixture", DATABASES, ids=lambda path: path.stem)
def test_an_archive_of_any_schema_comes_back_as_its_database_does(
    any_database: Database, tmp_path: Path, fixture: Path
) -> None:
    """The next migration would have made every archive unreadable, the snapshots of Spaces among them."""
    import_archive(any_database, archive_of(fixture, tmp_path / "archive"))
    assert everything(any_database) == upgraded(fixture, tmp_path)
    assert any_database.integrity_check() == ()


@pytest.mark.parametrize(
    "fixture", [path for path in DATABASES if path.stem >= FIRST_WITH_ARCHIVES], ids=lambda path: path.stem
)
def test_the_saved_archive_of_every_schema_is_read(database: Database, tmp_path: Path, fixture: Path) -> None:
    import_archive(database, fixture.with_suffix(""))
    assert everything(database) == upgraded(fixture, tmp_path)


def test_the_manifest_names_the_schema_and_one_that_does_not_is_of_the_first_that_had_archives(
    database: Database, tmp_path: Path
) -> None:
    export_archive(database, tmp_path / "archive")
    path = tmp_path / "archive" / MANIFEST
    manifest = json.loads(path.read_text())
    assert manifest.pop("revision") == schema.newest_revision()
    saved = shutil.copytree(FIXTURES / FIRST_WITH_ARCHIVES, tmp_path / "unnamed")
    manifest = json.loads((saved / MANIFEST).read_text())
    del manifest["revision"]
    (saved / MANIFEST).write_text(json.dumps(manifest))
    import_archive(database, saved)
    assert everything(database) == upgraded(FIXTURES / f"{FIRST_WITH_ARCHIVES}.db", tmp_path)
