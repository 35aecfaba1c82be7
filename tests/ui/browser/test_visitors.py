"""Several visitors at once: they share the model, wait in line with a place, are refused, and leave nothing behind."""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from models.answers import ComparisonRequest
from models.engine import Engine
from steering.errors import BusyError
from tests.storage.fakes import InMemoryRepository
from tests.ui.browser.conftest import Serve, Visit
from tests.ui.fakes import ScriptedEngine
from tests.ui.pages import wait_until
from ui import wording


def echo(request: ComparisonRequest) -> tuple[list[str], list[str]]:
    """Forty words of the prompt on both sides."""
    words = [f"{request.messages[-1].content} "] * 40
    return words, words


def wait_for_words(visit: Visit, side: str, words: str | re.Pattern[str] = re.compile(r"\w")) -> None:
    expect(visit.page.locator(f"#pane-{side} .tiller-answer")).to_contain_text(words)


def test_two_pages_write_at_once_and_a_third_sees_its_place_and_then_gets_its_answer(
    serve: Serve, visit: Callable[..., Visit], scripted: ScriptedEngine
) -> None:
    scripted.script, scripted.step_seconds, scripted.n_at_once = echo, 0.2, 2
    url = serve(scripted)[0]
    first, second, third, fourth = (visit(url) for _ in range(4))
    first.run("one")
    wait_for_words(first, "right", "one one")
    second.run("two")
    wait_for_words(second, "right", "two two")
    first.wait_for_status(wording.WRITING)
    third.run("three")
    third.wait_for_status(wording.NEXT_IN_LINE)
    fourth.run("four")
    fourth.wait_for_status("Waiting: 1 before you.")
    first.wait_until_finished()
    wait_for_words(third, "right", "three three")
    fourth.wait_for_status(wording.NEXT_IN_LINE)
    for here, word in ((second, "two"), (third, "three"), (fourth, "four")):
        here.wait_until_finished()
        assert set(here.pane("left").split()) == {word}
    assert scripted.most_running == 2
    assert len(set(scripted.owners)) == 4
    for here in (first, second, third, fourth):
        here.check_harmless()


def test_a_visitor_who_waits_can_stop_and_what_was_there_before_can_be_judged(
    serve: Serve, visit: Callable[..., Visit], scripted: ScriptedEngine
) -> None:
    url = serve(scripted)[0]
    here = visit(url)
    here.run("go")
    here.wait_until_finished()
    scripted.positions, scripted.step_seconds = (3,) * 200, 0.1
    here.run("again")
    here.wait_for_status("Waiting: 2 before you.")
    expect(here.page.locator("#judge-0 input").first).to_be_disabled()
    here.page.locator("#stop").click()
    here.wait_for_status(wording.WITHDRAWN)
    assert here.pane("left") == "one two three"
    expect(here.page.locator("#prompt textarea")).to_have_value("again")
    here.judge(0, "Left")
    expect(here.page.locator("#saved")).to_contain_text("Overall: Left saved")
    assert scripted.line == []
    here.check_harmless()


def test_a_refusal_is_told_and_loses_nothing_typed(
    serve: Serve, visit: Callable[..., Visit], scripted: ScriptedEngine
) -> None:
    here = visit(serve(scripted)[0])
    scripted.error = BusyError("32 requests are waiting already, as many as are let wait.", hint="Try again.")
    here.slide("helpfulness", 2.5)
    here.run("a long and careful question")
    expect(here.page.get_by_role("alert")).to_contain_text("32 requests are waiting already")
    expect(here.page.locator("#prompt textarea")).to_have_value("a long and careful question")
    expect(here.page.get_by_label("number input for Helpfulness")).to_have_value("2.5")
    scripted.error = None
    here.page.locator("#run").click()
    here.wait_until_finished()
    here.check_harmless()


def test_answers_that_took_too_long_say_so_with_the_seconds(
    serve: Serve, visit: Callable[..., Visit], scripted: ScriptedEngine
) -> None:
    scripted.time_out_after = 2
    here = visit(serve(scripted, time_limit=45)[0])
    here.run("go")
    here.wait_for_status("The time limit of 45 seconds ended the answers")
    here.wait_for_status("--time-limit")
    here.judge(0, "Tie")
    here.check_harmless()


@pytest.mark.parametrize("leaves", ["the one that writes", "the one that waits"])
def test_a_closed_tab_leaves_nothing_in_the_real_engine(
    serve: Serve, visit: Callable[..., Visit], narrow_engine: Engine, leaves: str
) -> None:
    repository = InMemoryRepository()
    url = serve(narrow_engine, repository)[0]
    writes, waits = visit(url), visit(url)
    for here in (writes, waits):
        here.page.get_by_label("Live").uncheck()
        here.page.locator("#sampling button").first.click()
        here.page.wait_for_timeout(500)  # a field just unfolded takes its first value again when it has been wired up
        here.page.get_by_label("number input for Max tokens").fill("300")
        here.page.get_by_label("number input for Temperature").fill("2")
    writes.run("Tell me a very long story.")
    wait_for_words(writes, "right")
    wait_until(lambda: narrow_engine.n_slots == 2)
    waits.run("Tell me another one.")
    waits.wait_for_status("Waiting")
    gone, left = (writes, waits) if leaves == "the one that writes" else (waits, writes)
    gone.page.close()
    wait_for_words(left, "right")
    left.wait_until_finished()
    wait_until(lambda: narrow_engine.n_slots == 0, seconds=5)
    assert len(repository.comparisons) == 1, "the closed tab's run went on to its end"
    left.check_harmless()
