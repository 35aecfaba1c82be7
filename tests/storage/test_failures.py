"""What a person is told when the world is wrong; every case is made, none is imitated."""

import os
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import event, select, text

from steering.errors import SettingsError, StorageError
from storage.database import Database, open_database
from storage.sql_repository import SqlRepository
from storage.sql_studies import SqlStudies
from storage.tables import GenerationRow
from tests.storage.examples import a_click, a_comparison
from tests.storage.study_examples import an_open_study, answers_to, judge_all, some_settings

NOBODY = 65534


@contextmanager
def _as_an_ordinary_user() -> Iterator[None]:
    """Root may write to anything, so a test of permissions becomes somebody else for a moment."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def shared_folder() -> Iterator[Path]:
    """A folder that an ordinary user can reach; pytest's own is for its owner alone."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o777)
        yield folder
        folder.chmod(0o777)


def _a_database(file: Path) -> tuple[str, str]:
    """A database with a comparison and an annotator in it; their ids."""
    with open_database(f"sqlite:///{file}") as database:
        comparison = a_comparison()
        SqlRepository(database).save_comparison(comparison)
        return comparison.id, SqlRepository(database).annotator("hash").id


def _message_of(call: Callable[[], object]) -> str:
    with pytest.raises(StorageError) as raised:
        call()
    error = raised.value
    assert type(error) is StorageError
    assert error.message
    assert error.hint
    assert "sqlalche.me" not in str(error)
    assert "[SQL" not in str(error)
    return str(error)


def test_a_read_only_file_says_so_at_once_and_at_a_judgement(shared_folder: Path) -> None:
    file = shared_folder / "tiller.db"
    comparison_id, annotator_id = _a_database(file)
    file.chmod(0o444)
    with _as_an_ordinary_user():
        assert "is read-only" in _message_of(lambda: open_database(f"sqlite:///{file}"))
        with open_database(f"sqlite:///{file}", migrate=False) as database:
            repository = SqlRepository(database)
            assert repository.get_comparison(comparison_id).id == comparison_id
            told = _message_of(lambda: repository.record_judgement(a_click(comparison_id, annotator_id)))
    assert "is read-only" in told
    assert "Your judgement was not saved." in told
    assert "try again" in told


def test_a_folder_that_may_not_be_written_says_so(shared_folder: Path) -> None:
    shared_folder.chmod(0o555)
    with _as_an_ordinary_user():
        for name in ("tiller.db", "deeper/tiller.db"):
            told = _message_of(lambda name=name: open_database(f"sqlite:///{shared_folder}/{name}"))  # type: ignore[misc]
            assert str(shared_folder) in told


def test_a_file_that_is_no_database_says_so_and_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "tiller.db"
    file.write_bytes(b"These are my holiday notes. " * 100)
    told = _message_of(lambda: open_database(f"sqlite:///{file}"))
    assert "is not a readable database" in told
    assert "backup" in told
    assert file.read_bytes() == b"These are my holiday notes. " * 100


def test_a_damaged_file_says_so_when_it_is_read(tmp_path: Path) -> None:
    file = tmp_path / "tiller.db"
    comparison_id, annotator_id = _a_database(file)
    # The schema stays whole, so that the damage is met by a query and not on opening.
    with sqlite3.connect(file) as connection:
        pages_of = "SELECT rootpage FROM sqlite_master WHERE tbl_name <> 'alembic_version' AND rootpage > 0"
        roots = connection.execute(pages_of).fetchall()
    connection.close()
    with file.open("r+b") as pages:
        for (page,) in roots:
            pages.seek((page - 1) * 4096)
            pages.write(b"\xff" * 4096)
    with open_database(f"sqlite:///{file}", migrate=False) as database:
        told = _message_of(lambda: SqlRepository(database).record_judgement(a_click(comparison_id, annotator_id)))
        assert "Your judgement was not saved." in told
        assert "damaged" in told
        assert "damaged" in _message_of(database.integrity_check)


def test_a_database_that_breaks_its_own_rules_is_found_out(tmp_path: Path) -> None:
    file = tmp_path / "tiller.db"
    comparison_id, annotator_id = _a_database(file)
    with open_database(f"sqlite:///{file}") as database:
        SqlRepository(database).record_judgement(a_click(comparison_id, annotator_id))
        assert database.integrity_check() == ()
        other = sqlite3.connect(file, isolation_level=None)
        other.execute("DELETE FROM annotators")
        assert database.integrity_check() == ("judgements: row 1 points nowhere",)
        other.execute("PRAGMA ignore_check_constraints = ON")
        other.execute("UPDATE judgements SET choice = 'guided'")
        other.close()
        assert database.integrity_check() == ("CHECK constraint failed in judgements",)


def test_a_record_that_another_program_changed_says_so(database: Database) -> None:
    repository = SqlRepository(database)
    for column, value in (("token_ids", "[1, true]"), ("messages", '[{"role": "god"}]'), ("text", "{"), ("text", "7")):
        comparison = a_comparison()
        repository.save_comparison(comparison)
        with database.writing() as session:
            session.execute(text(f"UPDATE generations SET {column} = :value"), {"value": value})
        assert "damaged" in _message_of(lambda comparison=comparison: repository.get_comparison(comparison.id))  # type: ignore[misc]


def test_a_lock_held_by_another_program_says_so(tmp_path: Path) -> None:
    file = tmp_path / "tiller.db"
    comparison_id, annotator_id = _a_database(file)
    other = sqlite3.connect(file, isolation_level=None)
    with open_database(f"sqlite:///{file}", busy_timeout_seconds=0.05) as database:
        repository = SqlRepository(database)
        click = a_click(comparison_id, annotator_id)
        other.execute("BEGIN IMMEDIATE")
        told = _message_of(lambda: repository.record_judgement(click))
        assert "locked" in told
        assert "Your judgement was not saved." in told
        assert repository.judgements_of(comparison_id, annotator_id) == ()
        other.execute("ROLLBACK")
        assert repository.record_judgement(click).revision == 1
    other.close()


def test_a_full_disk_says_so_and_stores_no_half_comparison(tmp_path: Path) -> None:
    file = tmp_path / "tiller.db"
    _a_database(file)
    n_pages = file.stat().st_size // 4096
    with open_database(f"sqlite:///{file}") as database:
        database.engine.dispose()
        limit = f"PRAGMA max_page_count = {n_pages + 1}"
        event.listen(database.engine, "connect", lambda connection, _: connection.execute(limit))
        repository = SqlRepository(database)
        stored = []

        def fill() -> None:
            for _ in range(200):
                comparison = a_comparison()
                repository.save_comparison(comparison)
                stored.append(comparison)

        told = _message_of(fill)
        assert "no space left" in told
        assert "The comparison was not saved." in told
        for comparison in stored:
            assert repository.get_comparison(comparison.id) == comparison
        with database.reading() as session:
            assert len(session.scalars(select(GenerationRow.id)).all()) == 2 + 2 * len(stored)
        assert database.integrity_check() == ()


def test_a_judge_on_a_full_disk_is_told_loses_nothing_said_before_and_goes_on_when_there_is_space(
    tmp_path: Path,
) -> None:
    file = tmp_path / "tiller.db"
    with open_database(f"sqlite:///{file}") as database:
        studies, repository = SqlStudies(database), SqlRepository(database)
        study_id = an_open_study(studies, 60)
        person = repository.annotator("hash").id
        database.flush_deleted()
        n_pages = file.stat().st_size // 4096

        def limit_pages(n_most: int) -> None:
            database.engine.dispose()
            event.listen(
                database.engine,
                "connect",
                lambda connection, _: connection.execute(f"PRAGMA max_page_count = {n_most}"),
            )

        limit_pages(n_pages + 3)
        told = _message_of(lambda: judge_all(studies, study_id, person))
        assert "no space left" in told
        n_stored = repository.count_judgements()
        # Answers come in twos, and no item is half answered.
        assert n_stored == 2 * studies.progress(study_id, person).n_answered
        limit_pages(n_pages + 10_000)
        judge_all(studies, study_id, person)
        assert repository.count_judgements() == 120
        assert database.integrity_check() == ()


def test_a_study_in_a_read_only_file_says_so_and_goes_on_once_it_can_be_written(shared_folder: Path) -> None:
    file = shared_folder / "tiller.db"
    with open_database(f"sqlite:///{file}") as database:
        study_id = an_open_study(SqlStudies(database), 2)
        person = SqlRepository(database).annotator("hash").id
        given = SqlStudies(database).next_assignment(study_id, person)
        assert given is not None
    file.chmod(0o444)
    with _as_an_ordinary_user(), open_database(f"sqlite:///{file}", migrate=False) as database:
        studies = SqlStudies(database)
        assert studies.next_assignment(study_id, person) == given
        told = _message_of(lambda: studies.answer(answers_to(given)))
        assert "is read-only" in told
        assert "Your judgement was not saved." in told
        assert "The study was not made." in _message_of(lambda: studies.create_study("Tone", some_settings()))
    file.chmod(0o666)
    with open_database(f"sqlite:///{file}") as database:
        assert len(SqlStudies(database).answer(answers_to(given))) == 2


@pytest.mark.parametrize(
    "url",
    [
        "",
        "var/tiller.db",
        "mysql://host/name",
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite:///file:tiller.db?mode=ro&uri=true",
        "postgresql://host:port/name",
    ],
)
def test_a_url_that_cannot_be_used_is_refused_with_an_example(url: str) -> None:
    with pytest.raises(SettingsError, match=r"sqlite:///var/tiller\.db"):
        open_database(url)


def test_an_unreachable_server_says_so_without_the_password() -> None:
    pytest.importorskip("psycopg", reason="psycopg is not installed")
    url = "postgresql://ada:secret@127.0.0.1:1/tiller"
    told = _message_of(lambda: open_database(url))
    assert "127.0.0.1" in told
    assert "secret" not in told
