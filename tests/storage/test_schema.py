"""The schema itself refuses what the code would refuse: these tests write past the code."""

import pytest
from sqlalchemy import event, insert, text, update
from sqlalchemy.exc import DBAPIError, IntegrityError

from storage.database import Database
from storage.records import JudgementInput, new_id
from storage.rows import generation_values, guide_values
from storage.sql_repository import SqlRepository
from storage.tables import (
    AnnotatorRow,
    Base,
    ComparisonRow,
    GenerationGuideRow,
    GenerationRow,
    JudgementRow,
    RepeatedClickRow,
)
from tests.storage.examples import START, a_click, a_comparison, a_generation


@pytest.fixture
def click(any_database: Database) -> JudgementInput:
    """A stored judgement's click."""
    repository = SqlRepository(any_database)
    comparison = a_comparison()
    repository.save_comparison(comparison)
    stored = a_click(comparison.id, repository.annotator("hash").id)
    repository.record_judgement(stored)
    return stored


def _insert(database: Database, table: type[Base], values: dict[str, object]) -> None:
    with database.engine.begin() as connection:
        connection.execute(insert(table).values(**values))


def _refused(database: Database, table: type[Base], values: dict[str, object]) -> None:
    # PostgreSQL refuses an over-long text by its type (DataError), SQLite by the CHECK (IntegrityError).
    with pytest.raises(DBAPIError, match=r"constraint|too long|out of range"):
        _insert(database, table, values)


def _judgement_values(click: JudgementInput, **changes: object) -> dict[str, object]:
    values: dict[str, object] = {
        "id": new_id(),
        "comparison_id": click.comparison_id,
        "annotator_id": click.annotator_id,
        "dimension": "another dimension",
        "choice": "left",
        "client_key": new_id(),
        "reason": "",
        "revision": 1,
        "judged_at": START,
        "superseded_at": None,
    }
    return {**values, **changes}


@pytest.mark.parametrize(
    "changes",
    [
        {"id": "short"},
        {"choice": "guided"},
        {"choice": None},
        {"dimension": ""},
        {"dimension": "d" * 101},
        {"client_key": ""},
        {"reason": "r" * 2001},
        {"reason": None},
        {"revision": 0},
        {"judged_at": None},
        {"comparison_id": "0" * 32},
        {"annotator_id": "0" * 32},
    ],
    ids=str,
)
def test_a_judgement_outside_its_limits_is_refused(
    any_database: Database, click: JudgementInput, changes: dict[str, object]
) -> None:
    _insert(any_database, JudgementRow, _judgement_values(click, dimension="sound"))
    _refused(any_database, JudgementRow, _judgement_values(click, **changes))


def test_only_one_judgement_of_a_comparison_dimension_and_annotator_may_hold(
    any_database: Database, click: JudgementInput
) -> None:
    same = _judgement_values(click, dimension=click.dimension, revision=2)
    _refused(any_database, JudgementRow, same)
    with any_database.engine.begin() as connection:
        connection.execute(update(JudgementRow).values(superseded_at=START))
    _insert(any_database, JudgementRow, same)


def test_a_revision_is_stored_once(any_database: Database, click: JudgementInput) -> None:
    _refused(any_database, JudgementRow, _judgement_values(click, dimension=click.dimension, superseded_at=START))


def test_a_client_key_is_stored_once(any_database: Database, click: JudgementInput) -> None:
    _refused(any_database, JudgementRow, _judgement_values(click, client_key=click.client_key))
    judgement_id = SqlRepository(any_database).recent_judgements()[0].id
    repeated = {"client_key": "again", "judgement_id": judgement_id, "clicked_at": START}
    _insert(any_database, RepeatedClickRow, repeated)
    _refused(any_database, RepeatedClickRow, repeated)
    _refused(any_database, RepeatedClickRow, {**repeated, "client_key": "more", "judgement_id": "0" * 32})


@pytest.mark.parametrize(
    "changes",
    [
        {"id": "short"},
        {"base_id": ""},
        {"finish_reason": "bored"},
        {"base_exponent": -1.0},
        {"temperature": 10.5},
        {"top_k": -1},
        {"top_p": 0.0},
        {"min_p": 1.5},
        {"max_new_tokens": 0},
        {"seed": -1},
        {"plausibility": 2.0},
        {"stop_at_eos": None},
        {"seconds": -0.1},
        {"messages": None},
        {"text": None},
        {"created_at": None},
    ],
    ids=str,
)
def test_a_generation_outside_its_limits_is_refused(any_database: Database, changes: dict[str, object]) -> None:
    _insert(any_database, GenerationRow, generation_values(a_generation()))
    _refused(any_database, GenerationRow, {**generation_values(a_generation()), **changes})


@pytest.mark.parametrize(
    "changes",
    [
        {"generation_id": "0" * 32},
        {"position": -1},
        {"dimension": ""},
        {"guide_id": ""},
        {"unit": None},
        {"sha256": ""},
    ],
    ids=str,
)
def test_a_guide_outside_its_limits_is_refused(any_database: Database, changes: dict[str, object]) -> None:
    generation = a_generation()
    first, second = guide_values(generation)
    _insert(any_database, GenerationRow, generation_values(generation))
    _insert(any_database, GenerationGuideRow, first)
    _refused(any_database, GenerationGuideRow, {**second, **changes})
    _refused(any_database, GenerationGuideRow, {**second, "dimension": first["dimension"]})
    _insert(any_database, GenerationGuideRow, second)


def test_a_comparison_outside_its_limits_is_refused(any_database: Database) -> None:
    left, right = a_generation(), a_generation()
    for generation in (left, right):
        _insert(any_database, GenerationRow, generation_values(generation))
    sound = {
        "id": new_id(),
        "kind": "steer",
        "left_generation_id": left.id,
        "right_generation_id": right.id,
        "sides_known": True,
        "created_at": START,
    }
    for changes in (
        {"id": "short"},
        {"kind": "duel"},
        {"right_generation_id": left.id},
        {"right_generation_id": "0" * 32},
        {"left_generation_id": None},
        {"sides_known": None},
    ):
        _refused(any_database, ComparisonRow, {**sound, **changes})
    _insert(any_database, ComparisonRow, sound)


def test_an_annotator_outside_its_limits_is_refused(any_database: Database) -> None:
    sound = {"id": new_id(), "display_name": "", "key_hash": "hash", "created_at": START}
    _insert(any_database, AnnotatorRow, sound)
    for changes in ({}, {"key_hash": ""}, {"key_hash": "h" * 101}, {"display_name": "n" * 101}):
        _refused(any_database, AnnotatorRow, {**sound, "id": new_id(), **changes})


def test_a_screen_side_known_is_true_or_false(database: Database) -> None:
    SqlRepository(database).save_comparison(a_comparison())
    with pytest.raises(IntegrityError, match="ck_comparisons_sides_known"), database.engine.begin() as connection:
        connection.execute(text("UPDATE comparisons SET sides_known = 2"))


def test_sqlite_runs_with_wal_full_synchronisation_and_foreign_keys(database: Database) -> None:
    with database.reading() as session:
        pragmas = {
            name: session.execute(text(f"PRAGMA {name}")).scalar_one()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    assert pragmas == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 10_000}


def test_every_write_takes_the_lock_first_and_no_read_does(database: Database) -> None:
    seen: list[str] = []
    event.listen(database.engine, "before_cursor_execute", lambda _c, _u, statement, *_: seen.append(statement))
    repository = SqlRepository(database)
    comparison = a_comparison()
    repository.save_comparison(comparison)
    person = repository.annotator("hash").id
    repository.record_judgement(a_click(comparison.id, person))
    writes = [statement for statement in seen if statement.startswith(("INSERT", "UPDATE"))]
    assert writes
    transaction = ""
    for statement in seen:
        transaction = statement if statement.startswith("BEGIN") else transaction
        if statement in writes:
            assert transaction == "BEGIN IMMEDIATE"
    seen.clear()
    repository.get_comparison(comparison.id)
    repository.recent_judgements()
    assert [statement for statement in seen if statement.startswith("BEGIN")] == ["BEGIN", "BEGIN"]


def test_no_query_of_judgements_reads_the_whole_table(database: Database) -> None:
    seen: list[tuple[str, object]] = []
    event.listen(
        database.engine,
        "before_cursor_execute",
        lambda _c, _u, statement, parameters, *_: seen.append((statement, parameters)),
    )
    repository = SqlRepository(database)
    comparison = a_comparison()
    repository.save_comparison(comparison)
    person = repository.annotator("hash").id
    repository.record_judgement(a_click(comparison.id, person))
    repository.judgements_of(comparison.id, person)
    repository.history_of(comparison.id, "overall", person)
    repository.recent_judgements(annotator_id=person)
    selects = {statement: parameters for statement, parameters in seen if "FROM judgements" in statement}
    assert len(selects) >= 5
    with database.engine.connect() as connection:
        for statement, parameters in selects.items():
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).all()  # type: ignore[arg-type]
            assert not any(row.detail.startswith("SCAN") for row in plan), (statement, plan)
