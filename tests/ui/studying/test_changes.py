"""The audit as the page reads it: newest first, page by page, and whole as a file."""

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.database import Database, open_database
from storage.sql_repository import SqlRepository
from storage.sql_results import SqlResults
from storage.sql_studies import SqlStudies
from tests.storage.study_examples import an_open_study, judge_all
from ui.studying.changes import FileKind, changes_before, write_changes


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with open_database(f"sqlite:///{tmp_path}/tiller.db") as opened:
        yield opened


@pytest.fixture
def judged(database: Database) -> str:
    """Of two studies, whose changes alternate with others, the first; some forty changes in all."""
    studies, repository = SqlStudies(database), SqlRepository(database)
    first, second = an_open_study(studies, 4), an_open_study(studies, 4)
    for name in ("Ada", "Bob"):
        annotator = repository.annotator(f"hash-{name}", name).id
        for study_id in (first, second):
            judge_all(studies, study_id, annotator)
    return first


def all_numbers(results: SqlResults, record_id: str | None = None) -> list[int]:
    return [entry.number for entry in results.audit(0, 1000, record_id)]


def paged(results: SqlResults, record_id: str | None, length: int) -> list[int]:
    """Every number by going from the newest page to the oldest."""
    numbers: list[int] = []
    before: int | None = None
    while True:
        found = changes_before(results, before, record_id, length)
        numbers += [entry.number for entry in found.entries]
        if not found.has_older:
            return numbers
        assert len(found.entries) == length, "a page before the last is full"
        before = found.entries[-1].number


@pytest.mark.parametrize("length", [1, 2, 3, 7, 50])
def test_the_pages_hold_everything_once_newest_first(database: Database, judged: str, length: int) -> None:
    results = SqlResults(database)
    assert len(all_numbers(results)) > 30
    assert paged(results, None, length) == all_numbers(results)[::-1]
    of_study = all_numbers(results, judged)
    assert 1 < len(of_study) < len(all_numbers(results))
    assert paged(results, judged, length) == of_study[::-1]


def test_where_nothing_was_changed_there_is_nothing(database: Database) -> None:
    found = changes_before(SqlResults(database), None, None)
    assert (found.entries, found.has_older) == ((), False)


@pytest.mark.parametrize("of_study", [False, True])
def test_a_file_has_every_change_oldest_first_as_it_is_stored(
    database: Database, judged: str, of_study: bool, tmp_path: Path
) -> None:
    results, record_id = SqlResults(database), judged if of_study else None
    stored = results.audit(0, 1000, record_id)
    lines = write_changes(results, record_id, FileKind.JSONL, tmp_path).read_text("utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    assert [(row["number"], row["actor"], row["action"], row["details"]) for row in rows] == [
        (entry.number, entry.actor, entry.action, dict(entry.details)) for entry in stored
    ]
    text = write_changes(results, record_id, FileKind.CSV, tmp_path).read_bytes().decode("utf-8-sig")
    table = list(csv.DictReader(io.StringIO(text)))
    assert [(int(row["number"]), row["record_id"], json.loads(row["details"])) for row in table] == [
        (entry.number, entry.record_id, dict(entry.details)) for entry in stored
    ]
    assert [row["at"] for row in table] == [entry.at.isoformat() for entry in stored]
