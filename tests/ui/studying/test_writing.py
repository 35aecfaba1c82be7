"""Answers are written in the background: a study at a time, stopped and gone on with, and no visitor is kept out."""

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from models.answers import ComparisonRequest
from models.engine import Engine
from steering.errors import BusyError, CapacityError
from steering.types import Blend, Message, Role, SamplingSettings
from storage.database import Database, open_database
from storage.records_studies import StudyState
from storage.sql_results import SqlResults
from storage.sql_studies import SqlStudies
from storage.study_repository import StudyRepository
from tests.ui.pages import wait_until
from tests.ui.test_commands_generating import a_plan, all_items, an_engine, texts
from ui.studies import create_study, generate_answers
from ui.studying.writing import Writer


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with open_database(f"sqlite:///{tmp_path}/tiller.db") as opened:
        yield opened


@pytest.fixture
def studies(database: Database) -> SqlStudies:
    return SqlStudies(database)


def a_study(studies: StudyRepository, name: str = "pilot") -> str:
    return create_study(studies, replace(a_plan(), name=name)).id


def state_of(studies: StudyRepository, study_id: str) -> StudyState:
    return studies.study(study_id).state


def is_idle(writer: Writer) -> bool:
    return writer.written.study_id is None and not writer.written.waiting


def test_a_study_is_written_and_opened_while_nobody_looks_on(database: Database, studies: SqlStudies) -> None:
    writer, study_id = Writer(an_engine(), studies), a_study(studies)
    writer.start(study_id, "page")
    wait_until(lambda: is_idle(writer))
    assert state_of(studies, study_id) is StudyState.OPEN
    assert len(all_items(studies, study_id)) == 18
    assert writer.written.failures == {}
    actions = {(entry.action, entry.actor) for entry in SqlResults(database).audit(record_id=study_id)}
    assert actions == {("made", "system"), ("grew", "page"), ("open", "page")}


def test_studies_are_written_one_after_the_other_in_the_order_they_were_asked_for(studies: SqlStudies) -> None:
    engine = an_engine(step_seconds=0.01)
    writer, ids = Writer(engine, studies), [a_study(studies, name) for name in ("one", "two", "three")]
    for study_id in (*ids, ids[1]):
        writer.start(study_id, "page")
    assert set(writer.written.waiting) >= {ids[1], ids[2]}
    wait_until(lambda: is_idle(writer))
    assert [state_of(studies, study_id) for study_id in ids] == [StudyState.OPEN] * 3
    assert engine.most_running == 1
    assert list(dict.fromkeys(engine.owners)) == ids
    assert len(engine.requests) == 18


def test_progress_tells_how_many_comparisons_are_there_and_what_time_is_left(studies: SqlStudies) -> None:
    writer, study_id = Writer(an_engine(step_seconds=0.02), studies), a_study(studies)
    writer.start(study_id, "page")
    told = []
    while not is_idle(writer):
        told.append(writer.written.progress)
        time.sleep(0.01)
    seen = [progress for progress in told if progress is not None]
    assert seen[0].n_all == 18
    n_done = [progress.n_done for progress in seen]
    assert n_done == sorted(n_done)
    assert set(n_done) <= set(range(0, 19, 3))  # three comparisons a prompt
    assert len(set(n_done)) > 3
    assert any(progress.seconds_left for progress in seen)


def test_a_stopped_study_keeps_what_is_written_and_goes_on_where_it_was_also_after_a_restart(
    studies: SqlStudies,
) -> None:
    engine, study_id = an_engine(step_seconds=0.02), a_study(studies)
    writer = Writer(engine, studies)
    writer.start(study_id, "page")
    wait_until(lambda: len(all_items(studies, study_id)) >= 6)
    writer.stop(study_id)
    wait_until(lambda: is_idle(writer))
    n_there = len(all_items(studies, study_id))
    assert 6 <= n_there < 18
    assert engine.closed == 1
    assert state_of(studies, study_id) is StudyState.GENERATING
    n_asked = len(engine.requests)
    anew = Writer(engine, studies)  # what a server that was started again has
    anew.start(study_id, "page")
    wait_until(lambda: is_idle(anew))
    assert state_of(studies, study_id) is StudyState.OPEN
    assert len(engine.requests) - n_asked == (18 - n_there) / 3
    whole = a_study(studies, "whole")
    list(generate_answers(an_engine(), studies, whole))
    assert texts(all_items(studies, study_id)) == texts(all_items(studies, whole))


def test_a_study_that_waits_can_be_taken_out_of_the_line(studies: SqlStudies) -> None:
    writer = Writer(an_engine(step_seconds=0.02), studies)
    first, second = a_study(studies, "one"), a_study(studies, "two")
    writer.start(first, "page")
    writer.start(second, "page")
    writer.stop(second)
    assert second not in writer.written.waiting
    wait_until(lambda: is_idle(writer))
    assert (state_of(studies, first), all_items(studies, second)) == (StudyState.OPEN, [])


def test_what_goes_wrong_is_told_and_the_next_study_is_written(studies: SqlStudies) -> None:
    engine = an_engine(error=CapacityError("Memory ran out.", hint="Shorten it."), step_seconds=0.01)
    writer, first, second = Writer(engine, studies), a_study(studies, "one"), a_study(studies, "two")
    writer.start(first, "page")
    wait_until(lambda: first in writer.written.failures)
    assert "Prompt 1: Memory ran out. Shorten it." in writer.written.failures[first]
    engine.error = None
    writer.start(second, "page")
    writer.start(first, "page")
    wait_until(lambda: is_idle(writer))
    assert writer.written.failures == {}
    assert state_of(studies, first) is state_of(studies, second) is StudyState.OPEN


def test_a_study_waits_where_visitors_fill_the_line_and_does_not_fail(
    studies: SqlStudies, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ui.studying.writing.BUSY_SECONDS", 0.01)
    engine, study_id = an_engine(error=BusyError("Too many others.")), a_study(studies)
    writer = Writer(engine, studies)
    writer.start(study_id, "page")
    wait_until(lambda: len(engine.requests) > 2)
    engine.error = None
    wait_until(lambda: is_idle(writer))
    assert state_of(studies, study_id) is StudyState.OPEN


def test_closing_stops_everything_and_ends_the_thread(studies: SqlStudies) -> None:
    before = threading.active_count()
    writer = Writer(an_engine(step_seconds=0.02), studies)
    for name in ("one", "two"):
        writer.start(a_study(studies, name), "page")
    writer.close()
    assert is_idle(writer)
    assert threading.active_count() == before


def test_visitors_and_a_study_take_turns_at_an_engine_with_room_for_one(
    studies: SqlStudies, narrow_engine: Engine
) -> None:
    settings = replace(
        a_plan().settings, blends=a_plan().settings.blends[:2], sampling=SamplingSettings(max_new_tokens=8)
    )
    study_id = create_study(studies, replace(a_plan(), settings=settings)).id
    writer = Writer(narrow_engine, studies)
    writer.start(study_id, "page")
    asked = ComparisonRequest(
        (Message(Role.USER, "Hello?"),), (Blend(), Blend({"helpfulness": 1.0})), SamplingSettings(max_new_tokens=8)
    )
    there = []
    for _ in range(3):  # each visitor waits for at most the prompt under way, not for the study
        last = list(narrow_engine.compare(asked, lambda: False, "visitor"))[-1]
        assert last.finished
        there.append(len(all_items(studies, study_id)))
    assert there[0] < 6, "the first visitor had to wait for the whole study"
    wait_until(lambda: is_idle(writer), 60)
    assert state_of(studies, study_id) is StudyState.OPEN
    assert writer.written.failures == {}
