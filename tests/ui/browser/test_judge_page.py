"""Judging in a real browser: by keyboard alone, blind on the wire, and over every way of stopping in between."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Response, Route, expect

from storage.records import Strength
from storage.records_pairs import PairFilter
from storage.sql_results import SqlResults
from tests.ui.browser.conftest import Judge
from tests.ui.browser.test_hostile_text import HOSTILE
from tests.ui.judge.serving import GUIDE, PLAIN, PULLED, QUESTIONS, Served, a_study, an_item, judged, judging
from ui import wording_judge as wording

PHONE = {"width": 390, "height": 844}
# Of what is recorded about an item, nothing but its texts may reach a judge.
NAMES = ("zqplainblend", "zqpulledblend", "zqdimension", "zqguide", "zqoverall", "zqkind")
NUMBERS = ("1.414213", "2.718281", "3.844142", "0.771828")
TELLING = (*NAMES, *NUMBERS, GUIDE.sha256, "guided", "exponent", "blend", "gold", "repeat")
BELONGS_TO_STEER = re.compile(r"<script>.*?</script>", re.DOTALL)


def test_ten_items_are_judged_with_the_keyboard_alone(served: Served, judge: Callable[..., Judge]) -> None:
    a_study(served.studies, 10)
    here = judge(served.url)
    here.open()
    for _ in range(20):  # to the name, as somebody without a mouse goes
        if here.page.evaluate("document.activeElement?.closest('#judge-name') !== null"):
            break
        here.page.keyboard.press("Tab")
    here.page.keyboard.type("1 2 3 s u ?")  # a name of keys: while one types they are letters
    here.page.keyboard.press("Enter")
    expect(here.page.locator(".judge-item")).to_be_visible()
    seen, expected = [], []
    for key in "1234s12341"[:10]:
        left = here.page.locator("#judge-left .tiller-answer").inner_text()
        is_a_left = left.startswith("Plainly")
        seen.append(here.prompt)
        outcomes = {"1": "a" if is_a_left else "b", "2": "b" if is_a_left else "a"}
        expected.append((here.prompt, outcomes.get(key) or {"3": "tie", "4": "both_bad", "s": "skip"}[key]))
        here.press(key)
    expect(here.page.locator(".judge-finished")).to_have_text(wording.NOTHING_LEFT)
    assert len(set(seen)) == 10
    assert judged(served) == expected
    expect(here.page.locator("#judge-progress")).to_contain_text("10 done, 0 left · 10 in this session · about")
    here.page.keyboard.press("?")
    expect(here.page.locator("#judge-keys dl")).to_be_visible()
    assert here.complaints == []


@dataclass
class Wire:
    """Everything the server sent to a page, but for files that are the same for everybody."""

    waiting: list[Response] = field(default_factory=list)
    bodies: list[tuple[str, str]] = field(default_factory=list)

    def drain(self) -> None:
        """Read what has come; a body can only be read between two steps of the page."""
        while self.waiting:
            self._read(self.waiting.pop(0))

    def _read(self, response: Response) -> None:
        if any(part in response.url for part in ("/assets/", "/static/", "/heartbeat/")) or not response.ok:
            return  # a heartbeat says that the server lives, and never ends
        kind = response.headers.get("content-type", "")
        if "json" in kind or "text" in kind or "event-stream" in kind:
            self.bodies.append((response.url, response.text()))

    def tells(self, words: tuple[str, ...], after: int = 0) -> list[tuple[str, str]]:
        found = []
        for url, body in self.bodies[after:]:
            # The script of every page holds the Steer page's words, which say nothing of any item.
            said = BELONGS_TO_STEER.sub("", body).lower() if "<html" in body else body.lower()
            found += [(url, word) for word in words if word.lower() in said]
        return found


def listening(here: Judge) -> Wire:
    wire = Wire()
    here.page.on("response", lambda response: wire.waiting.append(response))
    return wire


def test_nothing_on_the_wire_tells_which_answer_is_whose(served: Served, judge: Callable[..., Judge]) -> None:
    study_id = a_study(served.studies, 8, questions=QUESTIONS, gold_share=0.25, repeat_share=0.25)
    ids = [
        record_id
        for item in served.studies.items(study_id)
        for record_id in (item.id, item.comparison.id, item.comparison.left.id, item.comparison.right.id)
    ]
    here = judge(served.url)
    wire = listening(here)
    here.sit_down()
    for _ in range(4):
        here.page.keyboard.press("1")
        here.press("2")
    here.page.keyboard.press("u")
    expect(here.page.locator("#judge-message")).to_contain_text(wording.TAKEN_BACK)
    wire.drain()
    urls = [url for url, _ in wire.bodies]
    assert sum(url.endswith("/judge/save") for url in urls) == 4
    assert sum("/gradio_api/run/predict" in url for url in urls) >= 2
    assert any("Plainly" in body for _, body in wire.bodies)
    assert wire.tells((*TELLING, *ids)) == []
    shown = here.page.locator("#judge-desk").inner_html().lower()
    assert [word for word in (*TELLING, *ids) if word in shown] == []


def test_a_study_that_reveals_tells_whose_an_answer_was_only_once_it_is_saved(
    served: Served, judge: Callable[..., Judge]
) -> None:
    a_study(served.studies, 3, reveals=True)
    here = judge(served.url)
    wire = listening(here)
    here.sit_down()
    wire.drain()
    assert wire.tells((PLAIN.key, PULLED.key)) == []
    is_plain_left = here.page.locator("#judge-left").inner_text().count("Plainly") == 1
    before = len(wire.bodies)
    here.press("1")
    left, right = (PLAIN.key, PULLED.key) if is_plain_left else (PULLED.key, PLAIN.key)
    expect(here.page.locator("#judge-revealed")).to_have_text(wording.REVEALED.format(left=left, right=right))
    wire.drain()
    told = {word for _, word in wire.tells((PLAIN.key, PULLED.key), after=before)}
    assert told == {PLAIN.key, PULLED.key}
    # What was told cannot be judged again as if it had not been.
    expect(here.page.locator("#judge-undo")).to_be_disabled()


def test_reload_restart_and_another_machine_go_on_where_the_name_stopped(
    tmp_path: Path, judge: Callable[..., Judge]
) -> None:
    seen: list[str] = []

    def judge_two(here: Judge) -> None:
        for _ in range(2):
            seen.append(here.prompt)
            here.press("1")

    with judging(tmp_path) as served:
        a_study(served.studies, 8, "The study")
        here = judge(served.url)
        here.sit_down("Ada  Lovelace")
        judge_two(here)
        waiting = here.prompt
        here.page.reload()
        expect(here.page.locator(".judge-item")).to_be_visible()
        assert here.prompt == waiting
        judge_two(here)
        port = int(served.url.split(":")[2].split("/")[0])
        waiting = here.prompt
        seen.append(waiting)
    with judging(tmp_path, port=port) as served:
        here.press("2")  # the page that was open all the while
        judge_two(here)
        elsewhere = judge(served.url)
        elsewhere.sit_down(" ada LOVELACE ")
        assert elsewhere.prompt == here.prompt
        seen.append(elsewhere.prompt)
        elsewhere.press("3")
        expect(elsewhere.page.locator(".judge-finished")).to_be_visible()
        assert sorted(seen) == sorted({f"Prompt number {number}?" for number in range(1, 9)})
        assert len(judged(served)) == 8
        other = judge(served.url)
        other.sit_down("Grace")
        expect(other.page.locator("#judge-progress")).to_contain_text("0 done, 8 left")


def test_strength_and_reason_are_kept_and_typed_letters_are_no_keys(
    served: Served, judge: Callable[..., Judge]
) -> None:
    a_study(served.studies, 2, questions=QUESTIONS)
    here = judge(served.url)
    here.sit_down()
    first = here.page.locator(".judge-question").first
    first.locator("summary").click()
    first.locator("textarea").click()
    reason = "Points 1, 2, 3 and 4; is this such a good use?"
    here.page.keyboard.type(reason)
    item_id = here.page.locator(".judge-item").get_attribute("data-item")
    here.page.locator("h1").click()
    here.page.keyboard.press("2")
    first.get_by_role("button", name="Clearly").click()
    here.page.locator("h1").click()
    here.page.keyboard.press("3")
    assert judged(served) == []  # with “why?” unfolded it waits for Save
    here.page.reload()  # and is kept over a reload
    expect(first.locator("textarea")).to_have_value(reason)
    here.page.locator("h1").click()
    here.press("Enter")
    stored = {pair.dimension: pair for pair in SqlResults(served.database).pairs(PairFilter())}
    assert stored["zqoverall"].strength is Strength.CLEARLY
    assert stored["zqoverall"].reason == reason
    assert stored["zqkind"].outcome.value == "tie"
    assert stored["zqkind"].reason == ""
    assert here.page.locator(".judge-item").get_attribute("data-item") != item_id


def test_what_one_chose_is_not_laid_before_the_next_one_in_the_same_tab(
    served: Served, judge: Callable[..., Judge]
) -> None:
    """The draft once lay under the item alone: it became the next one's answer, perhaps with the sides swapped."""
    a_study(served.studies, 1, questions=QUESTIONS)
    here = judge(served.url)
    pressed, reason = here.page.locator('.judge-item [aria-pressed="true"]'), here.page.locator("textarea").first
    here.sit_down("Alice")
    here.page.keyboard.press("1")
    here.page.locator(".judge-item summary").first.click()
    reason.fill("Alice's own.")

    def leave_to(name: str) -> None:
        here.page.locator("#judge-leave").click()
        here.page.locator("#judge-name").get_by_role("textbox").fill(name)
        here.page.locator("#judge-start").click()
        expect(here.page.locator(".judge-item")).to_be_visible()

    leave_to("Bob")
    expect(reason).to_have_value("")
    expect(pressed).to_have_count(0)
    leave_to("Alice")
    expect(reason).to_have_value("Alice's own.")
    expect(pressed).to_have_count(1)


def test_a_save_that_is_answered_when_somebody_else_sits_there_does_not_show_them_the_first_ones_next_item(
    served: Served, judge: Callable[..., Judge]
) -> None:
    a_study(served.studies, 2)
    here = judge(served.url)
    held: list[Route] = []
    here.page.route("**/judge/save", lambda route: held.append(route), times=1)  # a builtin is no handler
    here.sit_down("Alice")
    here.page.keyboard.press("1")
    here.page.locator("#judge-leave").click()
    here.page.locator("#judge-name").get_by_role("textbox").fill("Bob")
    here.page.locator("#judge-start").click()
    item = here.page.locator(".judge-item")
    expect(item).to_be_visible()
    bobs = item.get_attribute("data-item")
    with here.page.expect_response("**/judge/save"):
        held[0].continue_()
    here.page.wait_for_timeout(300)  # for what would be drawn
    assert item.get_attribute("data-item") == bobs
    expect(here.page.locator("#judge-progress")).to_contain_text("0 done, 2 left · 0 in this session")
    assert len(judged(served)) == 1


def test_the_consent_text_is_shown_and_must_be_accepted_once(served: Served, judge: Callable[..., Judge]) -> None:
    a_study(served.studies, 2, consent=f"We keep your answers. {HOSTILE[0]} {HOSTILE[2]}")
    here = judge(served.url)
    here.open()
    expect(here.page.locator(".judge-consent")).to_contain_text("We keep your answers.")
    here.page.locator("#judge-name").get_by_role("textbox").fill("Ada")
    here.page.locator("#judge-start").click()
    expect(here.page.get_by_role("alert")).to_contain_text(wording.NEEDS_CONSENT)
    assert here.page.locator(".judge-item").count() == 0
    here.page.get_by_label(wording.ACCEPT).check()
    here.page.locator("#judge-start").click()
    expect(here.page.locator(".judge-item")).to_be_visible()
    again = judge(served.url)
    again.sit_down("ada")
    assert here.page.evaluate("window.__pwned") is None


def test_hostile_prompts_answers_and_questions_run_nothing(served: Served, judge: Callable[..., Judge]) -> None:
    study_id = a_study(served.studies, 0, name=HOSTILE[0][:90])
    everything = " ".join(HOSTILE)
    served.studies.add_items(study_id, [an_item(study_id, 1, everything, everything[::-1] + everything)])
    here = judge(served.url)
    here.sit_down(HOSTILE[2])
    for text in HOSTILE:
        assert text in here.page.locator("#judge-left .tiller-answer").inner_text()
        assert text in here.page.locator("#judge-right .tiller-answer").inner_text()
    assert here.page.locator("#judge-desk :is(img, script, iframe, style, a)").count() == 0
    here.press("3")
    assert here.page.evaluate("window.__pwned") is None
    assert here.complaints == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_everything_without_scrolling_sideways(
    served: Served, judge: Callable[..., Judge], scheme: str
) -> None:
    study_id = a_study(served.studies, 0, questions=QUESTIONS)
    served.studies.add_items(study_id, [an_item(study_id, n, "x" * 400, "A long answer. " * 60) for n in (1, 2)])
    here = judge(served.url, viewport=PHONE, color_scheme=scheme, has_touch=True, is_mobile=True)
    here.sit_down()
    here.page.locator(".judge-question summary").first.tap()
    assert here.page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    wide = here.page.evaluate(
        "[...document.querySelectorAll('#judge-desk button, #judge-desk label, #judge-desk h2, .judge-answer')]"
        ".filter(e => e.offsetParent && e.getBoundingClientRect().right > 391).map(e => e.outerHTML.slice(0, 120))"
    )
    assert wide == []


def test_an_item_judged_in_another_tab_meanwhile_is_no_second_judgement(
    served: Served, judge: Callable[..., Judge]
) -> None:
    a_study(served.studies, 3)
    here = judge(served.url)
    here.sit_down("Ada")
    item_id = str(here.page.locator(".judge-item").get_attribute("data-item"))
    second = Judge(here.page.context.new_page(), served.url)
    second.page.goto(served.url)
    expect(second.page.locator(".judge-item")).to_be_visible()
    assert second.page.locator(".judge-item").get_attribute("data-item") == item_id
    second.press("1")
    here.press("1")
    assert len(judged(served)) == 1
    assert here.prompt == second.prompt
    assert served.studies.studies()[0].n_given == 1
