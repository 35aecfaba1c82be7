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
    tokens = handlers.page.tokens
    handlers.actions.ask(ME, FORM)
    run = handlers.run(a_request(), "", False)
    next(run)
    assert "Writing" in next(run)[handlers.page.status]
    handlers.show_tokens(a_request(), "helpfulness", True)
    last = list(run)[-1]
    assert last[tokens.legend]["visible"]
    assert all(last[table]["visible"] for table in tokens.tables.values())
    handlers.actions.ask(ME, FORM)
    run = handlers.run(a_request(), "helpfulness", True)
    handlers.show_tokens(a_request(), "", False)
    last = list(run)[-1]
    assert not last[tokens.legend]["visible"]
    assert not any(last[table]["visible"] for table in tokens.tables.values())


def test_a_run_shows_the_tokens_as_the_page_has_them_where_nothing_was_switched(handlers: SteerHandlers) -> None:
    handlers.actions.ask(ME, FORM)
    last = list(handlers.run(a_request(), "helpfulness", True))[-1]
    assert last[handlers.page.tokens.legend]["visible"]


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
