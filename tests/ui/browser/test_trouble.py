"""When something is wrong: bad input, a database that fails, another site's page, a visitor without the code."""

import json
import urllib.error
import urllib.request
from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from steering.errors import PromptError
from storage.records import OVERALL
from tests.ui.browser.conftest import Serve, Visit
from tests.ui.fakes import ScriptedEngine
from tests.ui.test_actions import FailingRepository
from ui import wording


def test_bad_input_is_told_and_nothing_typed_is_lost(
    serve: Serve, visit: Callable[..., Visit], scripted: ScriptedEngine
) -> None:
    here = visit(serve(scripted, max_prompt_chars=100)[0])
    message = here.page.get_by_role("alert")
    here.page.locator("#run").click()
    expect(message).to_contain_text("Your message is empty")
    too_long = "x" * 101
    here.run(too_long)
    expect(message).to_contain_text("101 characters")
    expect(here.page.locator("#prompt textarea")).to_have_value(too_long)
    here.write("fine")
    here.page.locator("#sampling button").first.click()
    seed = here.page.locator("#seed").get_by_role("textbox")
    expect(seed).to_have_value("0")
    here.page.wait_for_timeout(500)  # a field just unfolded takes its first value again when it has been wired up
    seed.fill("twelve")
    here.page.locator("#run").click()
    expect(message).to_contain_text("The seed is “twelve”")
    here.page.locator("#new-seed").click()
    here.wait_until_finished()
    expect(message).to_have_count(0)
    assert len(scripted.requests) == 1
    scripted.error = PromptError("The prompt has 2000 tokens; 800 fit beside the answer.", hint="Shorten the prompt.")
    here.run("longer")
    expect(message).to_contain_text("2000 tokens; 800 fit")
    expect(here.page.locator("#prompt textarea")).to_have_value("longer")
    assert here.pane("left") == "one two three", "the answers before stay"
    scripted.error = ValueError("secret path /home/somebody")
    here.run("once more")
    expect(message).to_contain_text(wording.UNEXPECTED)
    expect(here.page.locator("body")).not_to_contain_text("secret path")
    here.check_harmless()


def test_a_choice_that_cannot_be_saved_is_kept_and_saved_by_the_retry(
    serve: Serve, visit: Callable[..., Visit], scripted: ScriptedEngine
) -> None:
    repository = FailingRepository()
    repository.fails = True
    here = visit(serve(scripted, repository)[0])
    here.run("go")
    here.wait_until_finished()
    expect(here.page.locator("#saved")).to_contain_text("could not be saved: The disk is full.")
    expect(here.page.locator("#copy-link")).to_be_disabled()
    here.judge(0, "Left")
    expect(here.page.locator("#saved")).to_contain_text("Overall: Left is not saved yet")
    repository.fails = False
    here.page.locator("#retry").click()
    expect(here.page.locator("#saved")).to_contain_text("Overall: Left saved")
    expect(here.page.locator("#retry")).to_be_hidden()
    expect(here.page.locator("#copy-link")).to_be_enabled()
    assert [judgement.dimension for judgement in repository.recent_judgements()] == [OVERALL]
    here.check_harmless()


def test_a_double_click_and_the_copied_link(
    serve: Serve, visit: Callable[..., Visit], scripted: ScriptedEngine
) -> None:
    url, repository = serve(scripted)
    here = visit(url, permissions=["clipboard-read", "clipboard-write"])
    here.run("go")
    here.wait_until_finished()
    here.page.locator("#judge-0").get_by_text("Right", exact=True).dblclick()
    expect(here.page.locator("#saved")).to_contain_text("Overall: Right saved")
    assert repository.count_judgements() == 1
    here.page.locator("#copy-link").click()
    expect(here.page.locator("#copied")).to_contain_text(wording.LINK_COPIED)
    link = here.page.evaluate("navigator.clipboard.readText()")
    assert link == f"{url}?c={repository.recent_judgements()[0].comparison_id}"


@pytest.mark.parametrize("origin", ["https://evil.example", "null"])
def test_another_sites_page_can_change_nothing(serve: Serve, scripted: ScriptedEngine, origin: str) -> None:
    url, _ = serve(scripted)
    with urllib.request.urlopen(f"{url}config") as answer:
        dependencies = json.load(answer)["dependencies"]
    ask = next(entry for entry in dependencies if entry["api_name"] == "ask")
    body = {"data": ["hi", 1, 1, 0.7, 0.95, 0, 0, 50, "0", 0, 1], "fn_index": ask["id"], "session_hash": "stranger"}
    headers = {"Content-Type": "application/json"}

    def told(**more: str) -> str:
        request = urllib.request.Request(f"{url}gradio_api/run/predict", json.dumps(body).encode(), headers | more)
        with urllib.request.urlopen(request) as answer:
            return str(answer.read(), "utf-8")

    assert "not from this one" in told(Origin=origin)
    assert "not from this one" not in told(Origin=url.removesuffix("/"))


def test_the_page_opens_only_with_the_access_code(
    serve: Serve, visit: Callable[..., Visit], scripted: ScriptedEngine
) -> None:
    url, _ = serve(scripted, access_code="öpen sesame")
    with pytest.raises(urllib.error.HTTPError):
        urllib.request.urlopen(f"{url}config")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_everything_without_scrolling_sideways(
    serve: Serve, visit: Callable[..., Visit], scripted: ScriptedEngine, scheme: str
) -> None:
    phone = {"width": 390, "height": 844}
    here = visit(serve(scripted)[0], viewport=phone, color_scheme=scheme, has_touch=True, is_mobile=True)
    here.run("x" * 300)
    here.wait_until_finished()
    here.page.locator("#colour").get_by_text("Helpfulness").tap()
    here.page.locator("#pane-right .token").nth(1).tap()
    expect(here.page.locator("#tiller-tooltip")).to_be_visible()
    here.page.get_by_label("Token table").check()
    expect(here.page.locator("#table-left table")).to_be_visible()
    assert here.page.evaluate("document.documentElement.scrollWidth") == 390
    wide = here.page.evaluate(
        "[...document.querySelectorAll('button:not(.label-wrap), label, .tiller-metrics dd, h2')]"
        ".filter(e => e.offsetParent && (e.getBoundingClientRect().right > 391"
        " || e.scrollWidth > e.clientWidth + 2 && e.tagName === 'BUTTON'))"
        ".map(e => e.outerHTML.slice(0, 120))"
    )
    assert wide == []
    here.check_harmless()


def test_nobody_can_fill_the_disk_with_uploads(
    serve: Serve, visit: Callable[..., Visit], scripted: ScriptedEngine
) -> None:
    here = visit(serve(scripted)[0])
    body = (
        b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.txt"\r\n\r\n'
        + b"a" * 5000
        + b"\r\n--x--\r\n"
    )
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    asked = urllib.request.Request(here.url + "gradio_api/upload", body, headers)
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(asked)
    refused.value.close()
    assert refused.value.code == 413
