"""Saving on the Judge page in a real browser: what is taken back, lost on its way or refused is not lost."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Request, Route, expect
from sqlalchemy import event

from storage.records_pairs import PairFilter
from storage.sql_results import SqlResults
from tests.ui.browser.conftest import Judge
from tests.ui.judge.serving import Served, a_study, judged, judging
from ui import wording_judge as wording


def test_the_last_ten_answers_can_be_taken_back_and_given_again(served: Served, judge: Callable[..., Judge]) -> None:
    a_study(served.studies, 12)
    here = judge(served.url)
    here.sit_down()
    order = []
    for _ in range(11):
        order.append(here.prompt)
        here.press("1")
    for prompt in reversed(order[1:]):
        here.page.keyboard.press("u")
        expect(here.page.locator(".judge-prompt")).to_contain_text(prompt)
    here.page.keyboard.press("u")
    expect(here.page.get_by_role("alert")).to_contain_text("not one of your last 10")
    assert len(judged(served)) == 1
    for prompt in order[1:]:
        expect(here.page.locator(".judge-prompt")).to_contain_text(prompt)
        here.press("4")
    assert sorted(outcome for _, outcome in judged(served))[1:] == ["both_bad"] * 10


def test_a_server_that_does_not_answer_is_told_and_the_choice_is_saved_once_it_does(
    tmp_path: Path, judge: Callable[..., Judge]
) -> None:
    with judging(tmp_path) as served:
        a_study(served.studies, 3)
        here = judge(served.url)
        here.sit_down()
        here.press("1")
        waiting = here.prompt
        port = int(served.base_url.split(":")[2])
    here.page.keyboard.press("2")
    expect(here.page.get_by_role("alert")).to_contain_text(wording.UNREACHABLE)
    expect(here.page.locator(".judge-item").get_by_role("button", name="Right")).to_have_attribute(
        "aria-pressed", "true"
    )
    with judging(tmp_path, port=port) as served:
        assert len(judged(served)) == 1
        here.press("Enter")
        expect(here.page.get_by_role("alert")).to_have_count(0)
        assert [prompt for prompt, _ in judged(served)][1:] == [waiting]
        expect(here.page.locator("#judge-progress")).to_contain_text("2 done, 1 left · 2 in this session")


def test_where_the_reply_to_a_save_is_lost_a_changed_answer_takes_the_place_of_the_first_and_the_same_one_is_one(
    served: Served, judge: Callable[..., Judge]
) -> None:
    """The changed answer was once sent under the first one's key: the page went on, and the first one stayed."""
    a_study(served.studies, 2)
    here = judge(served.url)
    keys: list[str] = []

    def lose(route: Route) -> None:
        route.fetch()
        route.abort()

    def note(request: Request) -> None:
        if request.url.endswith("/judge/save"):
            keys.append(json.loads(request.post_data_json["sent"])["key"])

    here.page.on("request", note)
    here.sit_down()
    for first, second in (("4", "3"), ("4", "Enter")):
        here.page.route("**/judge/save", lose, times=1)
        here.page.keyboard.press(first)
        expect(here.page.get_by_role("alert")).to_contain_text(wording.UNREACHABLE)
        assert judged(served)[-1][1] == "both_bad"  # stored, though the page does not know
        here.press(second)
    assert [outcome for _, outcome in judged(served)] == ["tie", "both_bad"]
    histories = [
        [
            made.choice.value
            for made in served.repository.history_of(pair.comparison_id, pair.dimension, pair.annotator_id)
        ]
        for pair in SqlResults(served.database).pairs(PairFilter())
    ]
    assert histories == [["both_bad", "tie"], ["both_bad"]]
    assert len(set(keys[:2])) == 2
    assert len(set(keys[2:])) == 1


TROUBLES: dict[str, Callable[[object], str]] = {
    "no space left": lambda n_pages: f"PRAGMA max_page_count = {n_pages}",
    "read-only": lambda _n_pages: "PRAGMA query_only = ON",
}


@pytest.mark.parametrize("told", TROUBLES)
def test_where_saving_fails_the_choice_stays_on_the_page_and_is_saved_by_a_retry(
    served: Served, judge: Callable[..., Judge], told: str
) -> None:
    a_study(served.studies, 60)
    here = judge(served.url)
    here.sit_down()
    pragmas = ["PRAGMA user_version"]
    event.listen(served.database.engine, "checkout", lambda connection, _record, _proxy: connection.execute(pragmas[0]))
    with served.database.reading() as session:
        n_pages = session.connection().exec_driver_sql("PRAGMA page_count").scalar()
    pragmas[0] = TROUBLES[told](n_pages)
    alert = here.page.get_by_role("alert")
    item = here.page.locator(".judge-item")
    reason = "r" * 2000  # fills pages
    before = None
    for _ in range(40):
        before = item.get_attribute("data-item")
        item.locator("summary").click()
        item.locator("textarea").fill(reason)
        item.get_by_role("button", name="Right").click()
        item.locator("[data-save]").click()
        here.page.wait_for_function(
            "before => document.querySelector('#judge-message [role=alert]') ||"
            " document.querySelector('.judge-item')?.dataset.item !== before",
            arg=before,
        )
        if alert.count():
            break
    expect(alert).to_contain_text(told)
    expect(alert).to_contain_text("What you chose is kept here")
    n_before = len(judged(served))
    assert item.get_attribute("data-item") == before
    expect(item.get_by_role("button", name="Right")).to_have_attribute("aria-pressed", "true")
    expect(item.locator("textarea")).to_have_value(reason)
    pragmas[0] = "PRAGMA query_only = OFF" if told == "read-only" else "PRAGMA max_page_count = 1000000"
    item.locator("[data-save]").click()
    here.wait_for_another(before)
    expect(alert).to_have_count(0)
    assert len(judged(served)) == n_before + 1
    assert {pair.reason for pair in SqlResults(served.database).pairs(PairFilter())} == {reason}
