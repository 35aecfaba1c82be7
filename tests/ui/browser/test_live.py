"""Sliders that run at once: the newest wins, older runs stop, and nothing is lost or left behind."""

from collections.abc import Callable

from playwright.sync_api import expect

from models.answers import ComparisonRequest
from models.engine import Engine
from storage.repository import Repository
from tests.storage.fakes import InMemoryRepository
from tests.ui.browser.conftest import Serve, Visit
from tests.ui.fakes import ScriptedEngine
from tests.ui.pages import wait_until
from ui import wording


def weight_in_words(request: ComparisonRequest) -> tuple[list[str], list[str]]:
    """Forty words: on the left the prompt, on the right the weight that was asked for."""
    weight = request.blends[1].weights.get("helpfulness", 0.0)
    return [f"{request.messages[-1].content} "] * 40, [f"w{weight:g} "] * 40


def test_the_newest_slider_position_wins_and_older_runs_store_nothing(
    serve: Serve, visit: Callable[..., Visit], scripted: ScriptedEngine
) -> None:
    scripted.script, scripted.step_seconds = weight_in_words, 0.02
    repository = InMemoryRepository()
    here = visit(serve(scripted, repository)[0])
    here.write("go")
    seen_on_right: list[str] = []
    for tenths in range(1, 31):
        here.slide("helpfulness", tenths / 10)
        here.page.wait_for_timeout(25)
        if tenths > 5 and here.page.locator("#pane-right .tiller-answer").count():
            seen_on_right.append(here.pane("right"))
    here.wait_until_finished()
    assert set(here.pane("right").split()) == {"w3"}
    (comparison,) = repository.comparisons.values()
    assert comparison.right.blend.weights["helpfulness"] == 3.0
    assert len(scripted.requests) > 3, "it did not follow the slider while it moved"
    assert scripted.closed == len(scripted.requests) - 1
    assert scripted.most_running == 1
    assert all(len(set(text.split())) == 1 for text in seen_on_right), "answers of two runs were mixed"
    expect(here.page.get_by_label("number input for Helpfulness")).to_have_value("3")
    here.check_harmless()


def test_a_slider_moves_both_answers_of_the_embedded_model(
    serve: Serve, visit: Callable[..., Visit], demo_engine: Engine
) -> None:
    url, repository = serve(demo_engine, max_new_tokens_limit=60)
    here = visit(url)
    here.page.locator(".example").nth(1).click()
    here.wait_until_finished()
    before = here.pane("left"), here.pane("right")
    for weight in (1.5, 2.0, 2.5, 3.0):
        here.slide("harmlessness", weight)
    wait_until(lambda: shown_weight(here, repository) == 3.0, seconds=30)
    assert here.pane("left") == before[0], "the unguided answer does not depend on the sliders"
    assert here.pane("right") != before[1]
    here.check_harmless()


def shown_weight(here: Visit, repository: Repository) -> float:
    """The weight of harmlessness in the stored comparison the page links to."""
    here.page.wait_for_timeout(100)  # lets the browser's own events through
    href = here.page.locator(".tiller-link").get_attribute("href") or ""
    return repository.get_comparison(href.removeprefix("?c=")).right.blend.weights["harmlessness"]


def test_the_start_from_choice_sets_and_follows_the_sliders(
    serve: Serve, visit: Callable[..., Visit], scripted: ScriptedEngine
) -> None:
    here = visit(serve(scripted)[0])
    here.write("go")
    presets = here.page.locator("#blend-preset")
    presets.get_by_label("Helpful", exact=True).check()
    here.wait_until_finished()
    assert scripted.requests[-1].blends[1].weights == {"helpfulness": 2.0}
    here.slide("helpfulness", 1.0)
    expect(presets.get_by_label("Helpful", exact=True)).not_to_be_checked()
    here.slide("harmlessness", 1.0)
    expect(presets.get_by_label("Balanced")).to_be_checked()
    here.page.get_by_label("Allow negative weights").check()
    here.slide("harmlessness", -2.0)
    wait_until(lambda: scripted.requests[-1].blends[1].weights.get("harmlessness") == -2.0)
    here.page.get_by_label("Allow negative weights").uncheck()
    wait_until(lambda: "harmlessness" not in scripted.requests[-1].blends[1].weights)
    here.check_harmless()


def test_stop_keeps_what_is_written_and_opens_the_judgement(
    serve: Serve, visit: Callable[..., Visit], scripted: ScriptedEngine
) -> None:
    scripted.script, scripted.step_seconds = weight_in_words, 0.1
    repository = InMemoryRepository()
    here = visit(serve(scripted, repository)[0])
    here.run("go")
    expect(here.page.locator("#pane-right .tiller-answer")).to_contain_text("w1 w1")
    here.page.locator("#stop").click()
    here.wait_for_status(wording.STOPPED)
    expect(here.page.locator("#metrics-right")).to_contain_text("stopped")
    n_words = len(here.pane("right").split())
    assert 2 <= n_words < 40
    expect(here.page.locator("#stop")).to_be_disabled()
    here.judge(0, "Tie")
    expect(here.page.locator("#saved")).to_contain_text("Overall: Tie saved")
    (comparison,) = repository.comparisons.values()
    assert len(comparison.right.text.split()) == n_words
    here.check_harmless()


def test_a_closed_tab_frees_the_model_for_the_next_visitor(
    serve: Serve, visit: Callable[..., Visit], scripted: ScriptedEngine
) -> None:
    scripted.script, scripted.step_seconds = weight_in_words, 0.25  # ten seconds if nobody stops it
    scripted.n_at_once = 1
    url = serve(scripted)[0]
    here, other = visit(url), visit(url)
    here.run("go")
    expect(here.page.locator("#pane-right .tiller-answer")).to_contain_text("w1")
    other.run("me too")
    other.wait_for_status(wording.NEXT_IN_LINE)
    here.page.close()
    wait_until(lambda: scripted.closed == 1)
    expect(other.page.locator("#pane-left .tiller-answer")).to_contain_text("me too")
    assert scripted.most_running == 1


def test_nothing_jumps_while_the_answers_are_written(
    serve: Serve, visit: Callable[..., Visit], scripted: ScriptedEngine
) -> None:
    scripted.step_seconds = 0.02
    scripted.script = lambda _request: (["word "] * 40, ["longer words "] * 100)
    here = visit(serve(scripted)[0])
    place = (
        "['#pane-left', '#pane-right', '#metrics-left', '#judgement'].map(s => Object.values("
        "document.querySelector(s).getBoundingClientRect().toJSON()).map(Math.round)).join(';')"
    )
    before = here.page.evaluate(place)
    here.run("go")
    here.wait_for_status(wording.WRITING)
    for _ in range(5):
        assert here.page.evaluate(place) == before
        here.page.wait_for_timeout(100)
    here.wait_until_finished()
    assert here.page.evaluate(place) == before
