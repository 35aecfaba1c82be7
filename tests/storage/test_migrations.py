"""From any older schema to this one, and never from a newer one."""

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import create_engine, select

from steering.errors import SchemaError, StorageError
from storage import schema
from storage.__main__ import main
from storage.database import Database, open_database
from storage.records import OVERALL
from storage.records_pairs import PairFilter
from storage.records_studies import Progress
from storage.sql_repository import SqlRepository
from storage.sql_results import SqlResults
from storage.sql_studies import SqlStudies
from storage.tables import Base, GenerationRow
from tests.storage.make_fixture import FIXTURES, KEY_HASH, STUDY, the_click, the_comparison, the_items
from tests.storage.study_examples import an_open_study, answers_to, judge_all

ROOT = Path(__file__).parents[2]
MIGRATIONS = sorted((schema.MIGRATIONS / "versions").glob("v*.py"))


def _table_definitions(file: Path) -> dict[str, list[str]]:
    """Every table and index of an SQLite file by name, as sorted columns and constraints of its SQL."""
    with sqlite3.connect(file) as connection:
        query = "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL AND type IN ('table', 'index')"
        rows = connection.execute(query).fetchall()
    connection.close()
    return {name: sorted(_parts(sql)) for name, sql in rows if name != "alembic_version"}


def _parts(sql: str) -> Iterator[str]:
    """The pieces between the outer commas; a constraint written behind its column is a piece of its own."""
    sql = " ".join(sql.replace('"', "").split())
    if sql.startswith("CREATE TABLE"):
        head, _, sql = sql.partition("(")
        yield head.strip()
        sql = sql.removesuffix(")")
    depth, piece = 0, ""
    for character in f"{sql},":
        depth += {"(": 1, ")": -1}.get(character, 0)
        if character == "," and depth == 0:
            yield from (part.strip() for part in piece.split("CONSTRAINT") if part.strip())
            piece = ""
        else:
            piece += character


def test_the_migrations_make_what_the_models_say(any_database: Database) -> None:
    with any_database.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []


def test_the_migrations_make_the_same_checks_and_partial_indexes_as_the_models(tmp_path: Path) -> None:
    """Alembic compares neither."""
    with open_database(f"sqlite:///{tmp_path}/migrated.db"):
        pass
    engine = create_engine(f"sqlite:///{tmp_path}/models.db")
    Base.metadata.create_all(engine)
    engine.dispose()
    assert _table_definitions(tmp_path / "migrated.db") == _table_definitions(tmp_path / "models.db")


def test_every_migration_has_a_saved_database() -> None:
    assert [path.stem for path in sorted(FIXTURES.glob("*.db"))] == [path.stem[1:5] for path in MIGRATIONS]


@pytest.mark.parametrize("fixture", sorted(FIXTURES.glob("*.db")), ids=lambda path: path.stem)
def test_a_saved_database_of_every_schema_is_upgraded_and_read(fixture: Path, tmp_path: Path) -> None:
    copy = tmp_path / "old.db"
    shutil.copyfile(fixture, copy)
    with open_database(f"sqlite:///{copy}") as database:
        repository = SqlRepository(database)
        comparison = the_comparison()
        assert repository.get_comparison(comparison.id) == comparison
        person = repository.annotator(KEY_HASH)
        history = repository.history_of(comparison.id, OVERALL, person.id)
        assert [judgement.choice for judgement in history] == [the_click(person.id, number).choice for number in (1, 2)]
        assert repository.judgements_of(comparison.id, person.id) == history[-1:]
        assert database.integrity_check() == ()
        with database.reading() as session:
            assert schema.is_current(session.connection(), database.url)
            lengths = session.scalars(select(GenerationRow.n_tokens).where(GenerationRow.id == comparison.left.id))
            assert lengths.all() == [len(comparison.left.token_ids)]
        # And it is used: a study is made and judged in it.
        studies = SqlStudies(database)
        study_id = an_open_study(studies, 2)
        assert len(judge_all(studies, study_id, person.id)) == 2
        pairs = list(SqlResults(database).pairs(PairFilter(include_steer=True)))
        assert {pair.study for pair in pairs} >= {"", studies.study(study_id).name}


@pytest.mark.parametrize(
    "fixture", [file for file in sorted(FIXTURES.glob("*.db")) if file.stem >= "0002"], ids=lambda path: path.stem
)
def test_the_study_in_a_saved_database_goes_on_where_it_stopped(fixture: Path, tmp_path: Path) -> None:
    copy = tmp_path / "old.db"
    shutil.copyfile(fixture, copy)
    with open_database(f"sqlite:///{copy}") as database:
        studies, results = SqlStudies(database), SqlResults(database)
        (summary,) = studies.studies()
        assert summary.name == STUDY
        assert list(studies.items(summary.id)) == the_items(summary.id)
        person = SqlRepository(database).annotator(KEY_HASH)
        assert studies.has_consented(summary.id, person.id)
        assert studies.progress(summary.id, person.id) == Progress(1, 1)
        open_again = studies.next_assignment(summary.id, person.id)
        assert open_again is not None
        assert open_again.position == 1
        assert len(studies.answer(answers_to(open_again))) == 2
        assert len(list(results.pairs(PairFilter(study_ids=(summary.id,))))) == 4
        actions = [entry.action for entry in results.audit()]
        assert {"made", "open", "consented", "recorded", "withdrawn"} <= set(actions)


def _set_revision(file: Path, revision: str) -> None:
    with sqlite3.connect(file) as connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", (revision,))
    connection.close()


@pytest.mark.parametrize("migrate", [True, False])
def test_a_newer_schema_is_refused_with_the_command_to_run(tmp_path: Path, migrate: bool) -> None:
    file = tmp_path / "newer.db"
    with open_database(f"sqlite:///{file}"):
        pass
    _set_revision(file, "9999")
    before = file.read_bytes()
    known = rf"schema 9999; this Tiller knows up to {schema.newest_revision()}.*git pull"
    with pytest.raises(SchemaError, match=known) as raised:
        open_database(f"sqlite:///{file}", migrate=migrate)
    assert str(file) in raised.value.message
    assert file.read_bytes() == before


def test_another_programs_database_is_refused_and_not_touched(tmp_path: Path) -> None:
    file = tmp_path / "places.sqlite"
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE bookmarks (url)")
    connection.close()
    with pytest.raises(SchemaError, match="bookmarks"):
        open_database(f"sqlite:///{file}")
    assert list(_table_definitions(file)) == ["bookmarks"]


def test_without_migrating_an_empty_database_is_refused_with_the_command_to_run(tmp_path: Path) -> None:
    file = tmp_path / "empty.db"
    with pytest.raises(StorageError, match="python -m storage upgrade"):
        open_database(f"sqlite:///{file}", migrate=False)
    assert not file.exists()
    file.touch()
    with pytest.raises(SchemaError, match="python -m storage upgrade sqlite:///"):
        open_database(f"sqlite:///{file}", migrate=False)
    assert file.read_bytes() == b""


def test_opening_a_new_database_many_times_at_once_makes_it_once(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/deep/folder/new.db"

    def open_and_close(_: int) -> str:
        with open_database(url) as database:
            database.check()
            return database.url

    with ThreadPoolExecutor(6) as threads:
        assert set(threads.map(open_and_close, range(6))) == {url}


def test_the_command_line_upgrades_and_checks_from_any_folder(tmp_path: Path) -> None:
    def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-W", "error", "-m", "storage", *arguments],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )

    assert f"has schema {schema.newest_revision()}" in run("upgrade", "sqlite:///here.db").stdout
    assert "is sound" in run("check", "sqlite:///here.db").stdout
    absent = run("check", "sqlite:///absent.db")
    assert (absent.returncode, absent.stdout) == (1, "")
    assert "Traceback" not in absent.stderr
    assert run("check", "mysql://host/name").returncode == 2


def test_a_drafted_migration_follows_the_newest_and_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "100% migrations"
    shutil.copytree(schema.MIGRATIONS, folder, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(schema, "MIGRATIONS", folder)
    before = schema.newest_revision()
    with open_database(f"sqlite:///{tmp_path}/old.db"):
        pass
    assert main(["revision", "Add reviews"]) == 0
    drafted = schema.newest_revision()
    assert drafted == f"{int(before) + 1:04}"
    text = (folder / "versions" / f"v{drafted}_add_reviews.py").read_text()
    assert f"down_revision = '{before}'" in text
    with pytest.raises(SchemaError, match="python -m storage upgrade"):
        open_database(f"sqlite:///{tmp_path}/old.db", migrate=False)
    with open_database(f"sqlite:///{tmp_path}/old.db") as database, database.reading() as session:
        assert schema.is_current(session.connection(), database.url)


def test_the_room_is_imported_without_torch() -> None:
    script = "import sys, storage.sql_repository; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=False).returncode == 0
