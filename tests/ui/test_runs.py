"""Runs that wait, are refused, are stopped before they begin, or end by the time limit; what a page behind is told."""

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from models.engine import Engine
from steering.errors import BusyError, InputError
from steering.types import FinishReason, Side
from storage.records import OVERALL
from tests.storage.fakes import InMemoryRepository
from tests.ui.fakes import BUSY, ScriptedEngine
from tests.ui.pages import wait_until
from tests.ui.test_actions import FORM, ME, NEXT_FORM, TOKEN, id_of, run_to_end
from tests.ui.test_handlers import a_request
from ui import sessions as sessions_module
from ui import wording
from ui.actions import SteerActions, Stopped
from ui.handlers import SteerHandlers
from ui.runs import Queued, Withdrawn
from ui.sessions import Result
from ui.settings import Settings

OTHER = "another page"


@pytest.fixture
def actions(engine: ScriptedEngine, repository: InMemoryRepository, tmp_path: Path) -> SteerActions:
    return SteerActions(engine, repository, Settings(home=tmp_path, time_limit=7.5))


def test_a_run_that_waits_reports_its_place_and_where_it_has_moved(
    actions: SteerActions, engine: ScriptedEngine
) -> None:
    engine.positions = (3, 3, 1, 0)
    actions.ask(ME, FORM)
    reports = list(actions.run(ME))
    assert reports[:4] == [Queued(3, True), Queued(3, False), Queued(1, True), Queued(0, True)]
    assert all(isinstance(report, Result) for report in reports[4:])
    assert len(reports) > 4


def test_sessions_own_their_requests(actions: SteerActions, engine: ScriptedEngine) -> None:
    run_to_end(actions)
    run_to_end(actions, session_id="you")
    assert engine.owners == [ME, "you"]


@pytest.mark.parametrize("is_seen", [False, True], ids=["nothing before", "answers before"])
def test_a_run_stopped_while_it_waits_leaves_what_was_shown_and_stores_nothing(
    actions: SteerActions, engine: ScriptedEngine, repository: InMemoryRepository, is_seen: bool
) -> None:
    before = run_to_end(actions) if is_seen else None
    engine.positions = (2,) * 100
    actions.ask(ME, FORM)
    reports = actions.run(ME)
    assert next(reports) == Queued(2, True)
    assert actions.stop(ME) is Stopped.WAITING
    assert list(reports) == [Withdrawn(timed_out=False)]
    assert engine.line == []
    assert actions.sessions.get(ME).result == before
    assert len(repository.comparisons) == is_seen
    if before is not None:
        actions.judge(ME, TOKEN, id_of(before), OVERALL, "left")
        assert repository.count_judgements() == 1
    assert actions.follow(ME, FORM), "a withdrawn request may be asked again"


def test_a_newer_request_and_a_closed_tab_end_a_run_that_waits(actions: SteerActions, engine: ScriptedEngine) -> None:
    engine.positions = (2,) * 100
    for end in (lambda: actions.ask(ME, replace(FORM, seed="8")), lambda: actions.sessions.close(ME)):
        actions.ask(ME, FORM)
        reports = actions.run(ME)
        next(reports)
        end()
        assert [report for report in reports if report is not None] == []
        assert engine.line == []
    actions.ask(ME, FORM)
    reports = actions.run(ME)
    next(reports)
    reports.close()
    assert engine.line == []


def test_a_page_is_never_twice_in_the_engine_so_it_cannot_take_its_own_place_away(
    actions: SteerActions, engine: ScriptedEngine
) -> None:
    engine.positions, engine.step_seconds = (1,) * 20, 0.02
    with ThreadPoolExecutor(max_workers=4) as threads:
        ends = []
        for seed in range(4):
            actions.ask(ME, replace(FORM, seed=str(seed)))
            ends.append(threads.submit(lambda: list(actions.run(ME))[-1:]))
            time.sleep(0.1)
    shown = [end.result() for end in ends]
    assert [bool(end) and isinstance(end[0], Result) for end in shown] == [False, False, False, True]
    assert len(engine.requests) == 4
    assert engine.most_in_line == 1


def test_a_run_that_hangs_keeps_the_next_one_waiting_only_for_a_while(
    actions: SteerActions, engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions_module, "OLDER_RUN_SECONDS", 0.1)
    actions.ask(ME, FORM)
    hanging = actions.run(ME)
    next(hanging)
    assert run_to_end(actions, replace(FORM, seed="8")).comparison is not None
    list(hanging)
    assert run_to_end(actions).comparison is not None


def test_answers_ended_by_the_time_limit_are_kept_and_marked(
    actions: SteerActions, engine: ScriptedEngine, repository: InMemoryRepository
) -> None:
    engine.time_out_after = 2
    result = run_to_end(actions)
    assert result.timed_out
    assert repository.get_comparison(id_of(result)).right.finish_reason is FinishReason.STOPPED
    engine.time_out_after = None
    assert not run_to_end(actions).timed_out


def status_of(handlers: SteerHandlers) -> str:
    """What the status line says at the end of a run of FORM."""
    handlers.actions.ask(ME, FORM)
    return str(streamed(handlers)[-1][handlers.page.status])


def streamed(handlers: SteerHandlers) -> list[dict[object, object]]:
    """Every report of a run, by component."""
    reports = handlers.run(a_request(), "", False)
    return [dict(zip(handlers.page.streamed, report, strict=True)) for report in reports]


def test_the_status_line_tells_the_place_the_time_limit_and_the_end(handlers: SteerHandlers) -> None:
    engine = handlers.actions.engine
    assert isinstance(engine, ScriptedEngine)
    engine.positions = (4, 4, 1, 0)
    handlers.actions.ask(ME, FORM)
    told = [report[handlers.page.status] for report in streamed(handlers)]
    words = [str(status) for status in told if isinstance(status, str)]
    expected = ["Waiting: 3 before you.", wording.NEXT_IN_LINE, wording.WAITING, wording.WRITING, wording.FINISHED]
    assert len(words) == len(expected)
    assert all(expectation in word for word, expectation in zip(words, expected, strict=True))
    engine.positions, engine.time_out_after = (), 2
    assert "The time limit of 300 seconds ended the answers" in status_of(handlers)
    assert "--time-limit" in status_of(handlers)


def test_the_judgement_is_closed_while_a_new_run_waits_and_opens_again_when_it_is_stopped(
    handlers: SteerHandlers,
) -> None:
    engine = handlers.actions.engine
    assert isinstance(engine, ScriptedEngine)
    run_to_end(handlers.actions)
    engine.positions = (2,) * 100
    page = handlers.page
    row = page.judgement.rows[OVERALL]
    handlers.actions.ask(ME, FORM)
    assert not handlers.view.asked()[row]["interactive"]
    reports = handlers.run(a_request(), "", False)
    next(reports), next(reports)
    assert row not in handlers.settle(a_request(), "", False)
    assert wording.WITHDRAWN in handlers.stop(a_request())[page.status]
    last = dict(zip(page.streamed, list(reports)[-1], strict=True))
    assert wording.WITHDRAWN in last[page.status]
    assert last[page.judgement.comparison_id]
    assert handlers.settle(a_request(), "", False)[row]["interactive"]


def test_a_refusal_of_a_run_is_told_in_the_engines_words_and_changes_nothing_typed(handlers: SteerHandlers) -> None:
    engine = handlers.actions.engine
    assert isinstance(engine, ScriptedEngine)
    engine.error = BUSY
    handlers.actions.ask(ME, FORM)
    assert str(BUSY) in streamed(handlers)[-1][handlers.page.ask.message]
    drawn = {*handlers.page.streamed, *handlers.settle(a_request(), "", False)}
    assert drawn & set(handlers.page.form) == set()
    engine.error = None
    assert wording.FINISHED in status_of(handlers)


def test_who_would_be_refused_is_told_when_asking_and_takes_nobodys_place(handlers: SteerHandlers) -> None:
    actions, engine = handlers.actions, handlers.actions.engine
    assert isinstance(engine, ScriptedEngine)
    engine.most_coming = 1
    actions.ask(OTHER, FORM)
    with pytest.raises(BusyError):
        actions.ask(ME, FORM)
    with pytest.raises(BusyError):
        actions.follow(ME, FORM)
    actions.ask(OTHER, replace(FORM, prompt="Another?"))  # who has a place asks for something else in it
    assert len(streamed(handlers)) == 1
    assert engine.requests == []
    list(actions.run(OTHER))
    assert wording.FINISHED in status_of(handlers)


def test_who_asked_and_never_came_keeps_nobody_waiting(actions: SteerActions, engine: ScriptedEngine) -> None:
    engine.most_coming = 1
    actions.ask(OTHER, FORM)
    actions.sessions.get(OTHER).asked_at -= sessions_module.COMING_SECONDS
    actions.ask(ME, FORM)


def test_a_run_pressed_before_the_conversation_arrived_is_told_to_press_again_and_not_to_reload(
    actions: SteerActions, engine: ScriptedEngine
) -> None:
    actions.carry_on(ME, id_of(run_to_end(actions)), Side.RIGHT)
    with pytest.raises(InputError, match="press Run again"):
        actions.ask(ME, FORM)
    run_to_end(actions, NEXT_FORM)
    actions.reset(ME)
    with pytest.raises(InputError, match="press Run again"):
        actions.ask(ME, NEXT_FORM)
    assert len(engine.requests) == 2


def test_a_restored_base_exponent_is_told_used_by_the_next_run_and_gone_with_another_start(
    handlers: SteerHandlers,
) -> None:
    blend = handlers.page.blend
    drawn = handlers.view.blend({"helpfulness": 1.0}, base_exponent=0.5)
    assert drawn[blend.base_exponent] == 0.5
    assert drawn[blend.base_note]["visible"]
    assert "0.5" in drawn[blend.base_note]["value"]
    result = run_to_end(handlers.actions, replace(FORM, base_exponent=drawn[blend.base_exponent]))
    assert result.comparison is not None
    assert result.comparison.right.blend.base_exponent == 0.5
    assert result.comparison.left.blend.base_exponent == 1
    restored = handlers.actions.restore("another tab", TOKEN, id_of(result))
    assert handlers.view.restored(restored)[blend.base_exponent] == 0.5
    again = handlers.start_from(wording.UNGUIDED)
    assert again[blend.base_exponent] == 1
    assert not again[blend.base_note]["visible"]


@pytest.mark.parametrize("end", ["closed", "stopped", "forgotten"])
def test_the_real_engine_is_empty_after_runs_that_wait_or_write_have_ended(
    narrow_engine: Engine, tmp_path: Path, end: str
) -> None:
    actions = SteerActions(narrow_engine, InMemoryRepository(), Settings(home=tmp_path))
    runs = {}
    for session_id, kind in (("writes", Result), ("waits", Queued)):
        actions.ask(session_id, replace(FORM, max_new_tokens=400, temperature=2.0))
        runs[session_id] = actions.run(session_id)
        while not isinstance(report := next(runs[session_id]), kind):
            assert report is not None
    assert narrow_engine.n_slots == 2
    for session_id, reports in reversed(runs.items()):
        if end == "closed":
            reports.close()
        elif end == "stopped":
            actions.stop(session_id)
            expected = Withdrawn if session_id == "waits" else Result
            assert isinstance(list(reports)[-1], expected)
        else:
            actions.sessions.close(session_id)
            assert [report for report in reports if report is not None] == []
    wait_until(lambda: narrow_engine.n_slots == 0)
    assert run_to_end(actions, replace(FORM, max_new_tokens=3), "afterwards").comparison is not None


def test_the_real_engine_refuses_who_comes_when_all_places_are_taken(narrow_engine: Engine, tmp_path: Path) -> None:
    actions = SteerActions(narrow_engine, InMemoryRepository(), Settings(home=tmp_path))
    runs = []
    for session_id in ("writes", "first", "second"):
        actions.ask(session_id, replace(FORM, max_new_tokens=400, temperature=2.0))
        runs.append(actions.run(session_id))
        while not isinstance(report := next(runs[-1]), Result) and not (isinstance(report, Queued) and report.position):
            assert report is not None
    with pytest.raises(BusyError, match="2 requests are waiting"):
        actions.ask("third", FORM)
    engine_says, narrow_engine.check_room = narrow_engine.check_room, lambda n_coming: None  # type: ignore[method-assign]
    actions.ask("third", FORM)
    with pytest.raises(BusyError, match="2 requests are waiting"):
        next(actions.run("third"))
    narrow_engine.check_room = engine_says  # type: ignore[method-assign]
    for reports in runs:
        reports.close()
    wait_until(lambda: narrow_engine.n_slots == 0)
    assert run_to_end(actions, replace(FORM, max_new_tokens=3), "third").comparison is not None
