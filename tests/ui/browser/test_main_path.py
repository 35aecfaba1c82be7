"""The main job in a real browser, with the embedded model and a real database."""

import re
from collections.abc import Callable

from playwright.sync_api import expect

from models.engine import Engine
from steering.types import Choice, Side
from storage.records import OVERALL
from tests.ui.browser.conftest import Serve, Visit
from ui import wording

PROMPT = "What should I say to a friend who failed an exam?"


def test_type_run_judge_change_and_come_back_by_the_link(
    serve: Serve, visit: Callable[..., Visit], demo_engine: Engine
) -> None:
    url, repository = serve(demo_engine, max_new_tokens_limit=60)
    here = visit(url)
    page = here.page
    page.get_by_label("Live").uncheck()
    here.slide("helpfulness", 2.0)
    expect(page.locator(".guide").first).to_contain_text(f"exponent {2 * demo_engine.guides[0].unit:.2f}")
    expect(page.locator("#judge-0 input").first).to_be_disabled()
    here.run(PROMPT)
    here.wait_for_status(wording.WRITING)
    here.wait_until_finished()

    left, right = here.pane("left"), here.pane("right")
    assert left.strip()
    assert left != right
    assert page.locator(".first-difference").count() == 2
    expect(page.locator("#difference")).to_contain_text("first differ at token")
    for side in ("left", "right"):
        expect(page.locator(f"#metrics-{side}")).to_contain_text(re.compile(r"\d+ tokens/s"))
        expect(page.locator(f"#metrics-{side}")).not_to_contain_text("–")
    assert repository.count_judgements() == 0

    here.judge(0, "Right")
    expect(page.locator("#saved")).to_contain_text("Overall: Right saved")
    (first,) = repository.recent_judgements()
    assert (first.dimension, first.choice, first.revision) == (OVERALL, Choice.RIGHT, 1)
    comparison = repository.get_comparison(first.comparison_id)
    assert [message.content for message in comparison.right.messages] == [PROMPT]
    assert comparison.left.text.split() == left.split()
    assert comparison.right.blend.weights["helpfulness"] == 2.0

    here.judge(0, "Left")
    expect(page.locator("#saved")).to_contain_text("Overall: Left saved, changed once")
    here.judge(2, "Both bad")
    expect(page.locator("#saved")).to_contain_text("Harmlessness: Both bad saved")
    history = repository.history_of(first.comparison_id, OVERALL, first.annotator_id)
    assert [judgement.choice for judgement in history] == [Choice.RIGHT, Choice.LEFT]
    expect(page.locator("#session-judgements")).to_contain_text("(2)")

    href = page.locator(".tiller-link").get_attribute("href")
    assert href == f"?c={first.comparison_id}"
    here.open(href)
    expect(page.locator("#prompt textarea")).to_have_value(PROMPT)
    assert (here.pane("left"), here.pane("right")) == (left, right)
    expect(page.locator("#judge-0").get_by_label("Left", exact=True)).to_be_checked()
    expect(page.get_by_label("number input for Helpfulness")).to_have_value("2")
    expect(page.locator("#metrics-right")).to_contain_text("nats/token")
    here.judge(0, "Tie")
    expect(page.locator("#saved")).to_contain_text("changed twice")

    page.locator("#run").click()
    here.wait_for_status(wording.WRITING)
    here.wait_until_finished()
    assert (here.pane("left"), here.pane("right")) == (left, right)
    here.check_harmless()


def test_colours_hover_arrow_keys_and_table_show_each_tokens_numbers(
    serve: Serve, visit: Callable[..., Visit], demo_engine: Engine
) -> None:
    here = visit(serve(demo_engine, max_new_tokens_limit=60)[0])
    page = here.page
    here.run("Explain to a ten-year-old why the sky is blue.")
    here.wait_until_finished()
    plain = here.pane("right")
    page.locator("#colour").get_by_text("Helpfulness").click()
    expect(page.locator("#legend")).to_contain_text("log π_guide − log π_base")
    tokens = page.locator("#pane-right .token")
    assert tokens.count() > 5
    assert here.pane("right").removesuffix(wording.END_OF_ANSWER) == plain
    colours = tokens.evaluate_all("all => all.map(e => e.style.backgroundColor)")
    assert len(set(colours)) > 3
    tokens.nth(2).hover()
    tooltip = page.locator("#tiller-tooltip")
    for label in ("Token", "Base prob.", "Mixed prob.", "Helpfulness: pull", "Harmlessness: share", "KL", "Likeliest"):
        expect(tooltip).to_contain_text(label)
    page.mouse.move(5, 5)
    expect(tooltip).to_be_hidden()
    page.get_by_role("region", name="Right: guided answer").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#pane-right .token.current")).to_have_attribute("data-i", "1")
    expect(tooltip).to_be_visible()
    page.keyboard.press("Escape")
    expect(tooltip).to_be_hidden()
    page.get_by_label("Token table").check()
    rows = page.get_by_role("table", name="Guided answer, token by token", exact=True).get_by_role("row")
    expect(rows).to_have_count(tokens.count() + 1)
    page.locator("#colour").get_by_text("Off").click()
    expect(tokens).to_have_count(0)
    assert here.pane("right") == plain
    here.check_harmless()


def test_the_conversation_goes_on_from_the_answer_that_is_picked(
    serve: Serve, visit: Callable[..., Visit], demo_engine: Engine
) -> None:
    url, repository = serve(demo_engine, max_new_tokens_limit=60)
    here = visit(url)
    here.page.locator(".example").first.click()  # live on the embedded model: an example runs at once
    here.wait_until_finished()
    picked = here.pane("right")
    here.page.locator("#continue-right").click()
    expect(here.page.locator("#conversation")).to_contain_text(demo_engine.examples[0])
    expect(here.page.locator("#prompt textarea")).to_have_value("")
    expect(here.page.locator("#prompt textarea")).to_be_focused()
    here.run("Thank you! And then?")
    here.wait_until_finished()
    here.judge(0, "Tie")
    expect(here.page.locator("#saved")).to_contain_text("Overall: Tie saved")
    comparison = repository.get_comparison(repository.recent_judgements()[0].comparison_id)
    assert comparison.left.messages == comparison.right.messages
    assert comparison.left.messages[1].content.split() == picked.split()
    here.page.locator("#new-conversation").click()
    expect(here.page.locator("#conversation")).to_be_hidden()
    expect(here.page.locator("#pane-left")).to_contain_text(wording.EMPTY_PANES[Side.LEFT])
    here.check_harmless()
