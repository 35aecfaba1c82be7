"""A backup of a database in use is whole; a restored one is used; nothing is overwritten."""

import shutil
import sqlite3
import threading
from pathlib import Path

import pytest

from steering.errors import InputError, SchemaError, StorageError
from storage.backup import backup, restore
from storage.database import Database, open_database
from storage.sql_repository import SqlRepository
from tests.storage.examples import a_click, a_comparison
from tests.storage.make_fixture import FIXTURES, the_comparison


def test_a_backup_made_while_judgements_are_stored_is_sound_and_holds_what_was_there(
    database: Database, tmp_path: Path
) -> None:
    repository = SqlRepository(database)
    comparison = a_comparison()
    repository.save_comparison(comparison)
    person = repository.annotator("a").id
    stop = threading.Event()

    def judge() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            repository.record_judgement(a_click(comparison.id, person, dimension=f"dimension {number}"))

    thread = threading.Thread(target=judge)
    thread.start()
    try:
        while repository.count_judgements() < 5:
            pass
        n_before = repository.count_judgements()
        made = backup(database.url, tmp_path / "copies" / "tiller.db")
        n_after = repository.count_judgements()
    finally:
        stop.set()
        thread.join()
    assert n_before <= made.n_rows["judgements"] <= n_after
    assert made.file.stat().st_size == made.n_bytes
    assert [file.name for file in made.file.parent.iterdir()] == ["tiller.db"]
    with open_database(f"sqlite:///{made.file}") as copy:
        assert copy.integrity_check() == ()
        assert SqlRepository(copy).count_judgements() == made.n_rows["judgements"]


def test_a_restored_backup_is_used_and_an_old_one_upgraded(tmp_path: Path) -> None:
    for fixture in sorted(FIXTURES.glob("*.db")):
        url = f"sqlite:///{tmp_path}/new folder/{fixture.name}"
        # Read elsewhere: SQLite puts its -wal next to a file it reads, too.
        restore(shutil.copyfile(fixture, tmp_path / fixture.name), url)
        with open_database(url) as database:
            assert SqlRepository(database).get_comparison(the_comparison().id) == the_comparison()


def test_nothing_is_overwritten(database: Database, tmp_path: Path) -> None:
    taken = tmp_path / "taken.db"
    taken.write_text("mine")
    with pytest.raises(InputError, match="there already"):
        backup(database.url, taken)
    made = backup(database.url, tmp_path / "copy.db")
    with pytest.raises(InputError, match="there already"):
        restore(made.file, database.url)
    with pytest.raises(InputError, match="there already"):
        restore(made.file, f"sqlite:///{taken}")
    # What is left of a database in use would be mixed into the restored one.
    (tmp_path / "other.db-wal").write_bytes(b"")
    with pytest.raises(InputError, match="wal"):
        restore(made.file, f"sqlite:///{tmp_path}/other.db")
    assert taken.read_text() == "mine"


def test_what_is_no_backup_is_refused_and_leaves_nothing_behind(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/target/tiller.db"
    notes, empty, other, damaged = (tmp_path / f"{name}.db" for name in ("notes", "empty", "other", "damaged"))
    notes.write_bytes(b"These are my holiday notes. " * 100)
    empty.touch()
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE bookmarks (url)")
    connection.close()
    shutil.copyfile(sorted(FIXTURES.glob("*.db"))[-1], damaged)
    with sqlite3.connect(damaged) as connection:
        query = "SELECT rootpage FROM sqlite_master WHERE tbl_name = 'judgements' AND rootpage > 0"
        roots = connection.execute(query).fetchall()
    connection.close()
    with damaged.open("r+b") as pages:
        for (page,) in roots:
            pages.seek((page - 1) * 4096)
            pages.write(b"\xff" * 4096)
    for source, error in (
        (tmp_path / "absent.db", StorageError),
        (notes, StorageError),
        (empty, StorageError),
        (damaged, StorageError),
        (other, SchemaError),
    ):
        with pytest.raises(error) as raised:
            restore(source, url)
        assert raised.value.hint
    assert list((tmp_path / "target").iterdir()) == []


def test_a_backup_that_cannot_be_written_says_so(database: Database, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cannot be written"):
        backup(database.url, tmp_path / "file" / "copy.db")


def test_postgresql_is_left_to_its_own_tools(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="PostgreSQL") as raised:
        backup("postgresql://host/name", tmp_path / "copy.db")
    assert "pg_dump" in raised.value.hint
    with pytest.raises(InputError, match="PostgreSQL"):
        restore(tmp_path / "copy.db", "postgresql://host/name")
