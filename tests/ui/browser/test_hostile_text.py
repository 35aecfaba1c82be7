"""Hostile text of a person or a model is shown as it is, everywhere, and runs nothing."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from playwright.sync_api import expect

from tests.ui.browser.conftest import Serve, Visit
from tests.ui.fakes import BASE, GUIDES, ScriptedEngine

HOSTILE = [
    "<img src=x onerror=\"window.__pwned='img';alert(1)\">",
    "</div></textarea><script>window.__pwned='script';alert(1)</script>",
    "${window.__pwned='template'}",
    "${alert(1)}",
    "{{window.__pwned='mustache'}}",
    "`+(window.__pwned='tick')+`",
    "<a href=\"javascript:window.__pwned='href'\">click</a>",
    "[click](javascript:window.__pwned='markdown')",
    "<svg/onload=window.__pwned='svg'>",
    "\" onmouseover=\"window.__pwned='attribute'",
    "<style>*{display:none}</style>",
    "<iframe srcdoc=\"<script>parent.__pwned='frame'</script>\"></iframe>",
]
EVERYTHING = " ".join(HOSTILE)


@pytest.fixture
def hostile_engine() -> ScriptedEngine:
    """Says what it is asked, and bears hostile names itself."""
    return ScriptedEngine(
        script=lambda request: ([*HOSTILE], [*reversed(HOSTILE), request.messages[-1].content]),
        base=replace(BASE, id=HOSTILE[0]),
        guides=(GUIDES[0], replace(GUIDES[1], id=HOSTILE[2], dimension=HOSTILE[2])),
        examples=(HOSTILE[0], HOSTILE[2]),
    )


def test_hostile_text_runs_nothing_in_any_pane_hover_table_conversation_or_list(
    serve: Serve, visit: Callable[..., Visit], hostile_engine: ScriptedEngine
) -> None:
    url, repository = serve(hostile_engine)
    here = visit(url)
    page = here.page
    here.run(EVERYTHING)
    here.wait_until_finished()
    for text in HOSTILE:
        assert text in here.pane("left")
        assert text in here.pane("right")
    assert page.locator("#answers :is(img, script, svg[onload], iframe, style)").count() == 0

    page.locator("#colour label").nth(2).click()
    expect(page.locator("#pane-right .token")).to_have_count(len(HOSTILE) + 1)
    for index in range(len(HOSTILE)):
        page.locator("#pane-left .token").nth(index).dispatch_event("pointerover", {"bubbles": True})
        expect(page.locator("#tiller-tooltip")).to_contain_text(HOSTILE[index].replace(" ", "␣"))
    page.get_by_label("Token table").check()
    expect(page.locator("#table-left")).to_contain_text(HOSTILE[2])
    for row in range(3):
        here.judge(row, "Tie")
    expect(page.locator("#session-judgements")).to_contain_text("(3)")
    page.locator("#session-judgements button").click()
    expect(page.locator("#judgement-log")).to_contain_text(EVERYTHING[:70])
    assert page.locator("#answers :is(img, script, iframe, style)").count() == 0

    page.locator("#continue-left").click()
    expect(page.locator("#conversation")).to_contain_text(HOSTILE[0])
    assert page.locator("#conversation :is(img, script, svg, iframe, style)").count() == 0
    assert page.locator("a[href^='javascript']").count() == 0
    here.open(f"?c={repository.recent_judgements()[0].comparison_id}")
    assert HOSTILE[2] in here.pane("right")
    page.locator(".example").nth(1).click()
    here.wait_until_finished()
    here.check_harmless()


def test_a_hostile_link_is_told_and_runs_nothing(
    serve: Serve, visit: Callable[..., Visit], scripted: ScriptedEngine
) -> None:
    here = visit(serve(scripted)[0], "?c=%3Cimg%20src%3Dx%20onerror%3D%22window.__pwned%3D1%22%3E${alert(1)}")
    expect(here.page.locator("#message")).to_contain_text("does not lead to a comparison")
    here.check_harmless()
