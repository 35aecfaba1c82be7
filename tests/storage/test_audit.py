"""The audit on real databases: who did what, read from either end, and never changed."""

from datetime import UTC, datetime

import pytest
from sqlalchemy import event, text
from sqlalchemy.exc import DBAPIError

from steering.errors import InputError
from storage.audit import Audit
from storage.database import Database
from storage.records_studies import StudyState
from storage.sql_repository import SqlRepository
from storage.sql_results import SqlResults
from storage.sql_studies import SqlStudies
from tests.storage.examples import Ticking
from tests.storage.study_examples import an_open_study, answers_to


@pytest.fixture
def results(any_database: Database) -> SqlResults:
    return SqlResults(any_database)


def test_the_audit_tells_who_did_what_in_pages(any_database: Database, results: SqlResults) -> None:
    studies, repository = SqlStudies(any_database, Ticking()), SqlRepository(any_database, Ticking())
    ada = repository.annotator("a").id
    study_id = an_open_study(studies, 1)
    assignment = studies.next_assignment(study_id, ada)
    assert assignment is not None
    (stored, _) = studies.answer(answers_to(assignment))
    studies.undo(assignment.item.id, ada)
    studies.set_state(study_id, StudyState.CLOSED, actor=ada)
    told = [(entry.actor, entry.action, entry.record_kind, entry.record_id) for entry in results.audit()]
    assert told[:4] == [
        (ada, "made", "annotator", ada),
        ("system", "made", "study", study_id),
        ("system", "grew", "study", study_id),
        ("system", "open", "study", study_id),
    ]
    assert (ada, "recorded", "judgement", stored.id) in told
    assert (ada, "withdrawn", "judgement", stored.id) in told
    assert told[-1] == (ada, "closed", "study", study_id)
    first = results.audit(limit=5)
    assert first + results.audit(after=first[-1].number) == results.audit()
    assert {entry.record_id for entry in results.audit(record_id=stored.id)} == {stored.id}
    for limit in (0, 1001):
        with pytest.raises(InputError, match="limit"):
            results.audit(limit=limit)
        with pytest.raises(InputError, match="limit"):
            results.newest_audit(limit=limit)
    with pytest.raises(InputError, match="actor"):
        studies.set_state(study_id, StudyState.OPEN, actor="Ada <script>")


def test_the_newest_of_ten_thousand_changes_are_read_at_once_and_those_before_page_by_page(
    any_database: Database, results: SqlResults
) -> None:
    """The newest were once looked for by halving, in some twenty readings from the oldest side."""
    with any_database.writing() as session:
        records = [f"record {number % 4}" for number in range(10_000)]
        Audit(session, "cli", datetime(2026, 1, 1, tzinfo=UTC)).add_all(
            ("made", "study", record, {"place": place}) for place, record in enumerate(records)
        )
    statements: list[str] = []
    event.listen(any_database.engine, "before_cursor_execute", lambda *told: statements.append(told[2]))
    newest = results.newest_audit(limit=1000)
    assert sum("FROM audit" in statement for statement in statements) == 1
    assert [entry.details["place"] for entry in newest] == list(range(9999, 8999, -1))
    following = results.newest_audit(before=newest[-1].number, limit=3)
    assert [entry.details["place"] for entry in following] == [8999, 8998, 8997]
    of_one = results.newest_audit(before=following[0].number, limit=3, record_id="record 2")
    assert [entry.details["place"] for entry in of_one] == [8998, 8994, 8990]
    (oldest,) = results.audit(limit=1)
    assert results.newest_audit(before=oldest.number) == ()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit SET actor = 'nobody'",
        "DELETE FROM audit",
        "DELETE FROM audit WHERE number = 1",
        "INSERT OR REPLACE INTO audit SELECT number, at, 'nobody', action, record_kind, record_id, details FROM audit",
        "TRUNCATE audit",
    ],
)
def test_the_audit_cannot_be_changed_even_past_the_code(any_database: Database, statement: str) -> None:
    repository, results = SqlRepository(any_database), SqlResults(any_database)
    repository.annotator("a")
    before = results.audit()
    assert before
    is_sqlite = any_database.engine.dialect.name == "sqlite"
    if ("TRUNCATE" in statement and is_sqlite) or ("REPLACE" in statement and not is_sqlite):
        pytest.skip("the other database's SQL")
    with pytest.raises(DBAPIError, match="append-only"), any_database.engine.begin() as connection:
        connection.execute(text(statement))
    assert results.audit() == before
