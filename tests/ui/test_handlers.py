"""What the handlers answer the page, without a browser."""

from pathlib import Path

import gradio as gr
import pytest

from tests.storage.fakes import InMemoryRepository
from tests.ui.fakes import ScriptedEngine
from tests.ui.test_actions import FORM, ME
from tests.ui.test_page import made
from ui.actions import SteerActions
from ui.components.steer import build_steer
from ui.handlers import SteerHandlers
from ui.settings import Settings


@pytest.fixture
def handlers(tmp_path: Path) -> SteerHandlers:
    actions = SteerActions(ScriptedEngine(), InMemoryRepository(), Settings(home=tmp_path))
    pages = []

    def laid_out(*_: object) -> gr.Blocks:
        with gr.Blocks() as blocks:
            pages.append(build_steer(actions, live=False))
        return blocks

    made(laid_out, tmp_path)
    return SteerHandlers(pages[0], actions)


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
