"""What the handlers answer the page, without a browser."""

from dataclasses import replace
from pathlib import Path

import gradio as gr
import pytest

from tests.storage.fakes import InMemoryRepository
from tests.ui.fakes import BASE, ScriptedEngine, say
from tests.ui.test_actions import FORM, ME, run_to_end
from ui.actions import SteerActions
from ui.components.view import SteerView
from ui.handlers import SteerHandlers
from ui.sessions import TokenView
from ui.settings import Settings


def a_request() -> gr.Request:
    return gr.Request(session_hash=ME, headers={}, query_params={})


def test_colours_and_tables_switched_during_a_run_are_shown_at_its_end(handlers: SteerHandlers) -> None:
    page = handlers.page
    tokens = page.tokens
    handlers.actions.ask(ME, FORM)
    run = handlers.run(a_request(), "", False)
    next(run)
    assert "Writing" in next(run)[page.streamed.index(page.status)]
    handlers.show_tokens(a_request(), "helpfulness", True)
    list(run)
    last = handlers.settle(a_request(), "helpfulness", True)
    assert last[tokens.legend]["visible"]
    assert all(last[table]["visible"] for table in tokens.tables.values())
    handlers.actions.ask(ME, FORM)
    run = handlers.run(a_request(), "helpfulness", True)
    handlers.show_tokens(a_request(), "", False)
    list(run)
    last = handlers.settle(a_request(), "", False)
    assert not last[tokens.legend]["visible"]
    assert not any(last[table]["visible"] for table in tokens.tables.values())


def test_a_run_shows_the_tokens_as_the_page_has_them_where_nothing_was_switched(handlers: SteerHandlers) -> None:
    handlers.actions.ask(ME, FORM)
    list(handlers.run(a_request(), "helpfulness", True))
    assert handlers.settle(a_request(), "helpfulness", True)[handlers.page.tokens.legend]["visible"]


def test_a_run_streams_values_alone_and_what_it_streams_is_not_drawn_again(handlers: SteerHandlers) -> None:
    """Gradio makes a component anew for every update that is no plain value; 50 of them outweighed the answers."""
    handlers.actions.ask(ME, FORM)
    _first, *reports = handlers.run(a_request(), "", False)
    assert len(reports) >= 2
    for report in reports:
        assert len(report) == len(handlers.page.streamed) < 10
        assert not any(isinstance(value, dict) for value in report[1:])
    assert not set(handlers.settle(a_request(), "", False)) & set(handlers.page.streamed)


def test_a_run_that_ended_draws_nothing_over_the_one_that_took_its_place(handlers: SteerHandlers) -> None:
    handlers.actions.ask(ME, FORM)
    list(handlers.run(a_request(), "", False))
    handlers.actions.ask(ME, FORM)
    assert list(handlers.settle(a_request(), "", False)) == [handlers.page.status]


@pytest.mark.parametrize(
    ("left", "right", "told"),
    [
        ("one two", "one four", "token 2: “token 1” on the left, “token 2” on the right"),
        ("one", "one two", "token 2: “end” on the left, “token 1” on the right"),
    ],
)
def test_where_answers_of_other_models_part_is_told_by_token_ids(
    handlers: SteerHandlers, tmp_path: Path, left: str, right: str, told: str
) -> None:
    handlers.actions.engine.script = say(left, right)  # type: ignore[attr-defined]
    result = run_to_end(handlers.actions)
    other = ScriptedEngine(base=replace(BASE, revision="sha256:1"))
    view = SteerView(handlers.page, SteerActions(other, InMemoryRepository(), Settings(home=tmp_path)))
    drawn = view.tokens(result, TokenView("", False))
    assert told in drawn[handlers.page.difference]
