"""The Studies page in a real browser: a study is made, written by the real engine, and its first item judged."""

import json
import tomllib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from models.engine import Engine
from storage.database import open_database
from storage.records_publishing import Publishing
from storage.records_studies import StudyState
from storage.sql_repository import SqlRepository
from storage.sql_results import SqlResults
from storage.sql_studies import SqlStudies
from tests.ui.browser.conftest import LAPTOP, PATIENCE_MS
from tests.ui.browser.test_accessibility import complaints
from tests.ui.pages import free_port, in_a_loop
from tests.ui.test_commands_generating import a_plan, an_engine
from ui.page import Backing, open_page
from ui.runs import SteerEngine
from ui.settings import Settings
from ui.studies import create_study
from ui.study_files import study_plan

PHONE = {"width": 390, "height": 844}


class Site:
    """A served page with its store."""

    def __init__(self, url: str, studies: SqlStudies, repository: SqlRepository) -> None:
        self.url, self.studies, self.repository = url, studies, repository


@contextmanager
def serving(home: Path, engine: SteerEngine) -> Iterator[Site]:
    settings = Settings(home=home, port=free_port())
    with open_database(settings.database_url) as database:
        repository, studies = SqlRepository(database), SqlStudies(database)
        results = SqlResults(database)
        blocks = in_a_loop(lambda: open_page(Backing(engine, repository, settings, studies, results)))
        yield Site(f"http://127.0.0.1:{settings.port}", studies, repository)
        blocks.close(verbose=False)


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    with ExitStack() as stack:
        context = chromium.new_context(viewport=LAPTOP)  # type: ignore[arg-type]
        context.set_default_timeout(PATIENCE_MS)
        stack.callback(context.close)
        opened = context.new_page()
        complaints: list[str] = []
        opened.on("pageerror", lambda error: complaints.append(str(error)))
        yield opened
        assert complaints == []


def open_studies(page: Page, site: Site) -> None:
    page.goto(f"{site.url}/studies")
    expect(page.locator("#studies-list")).to_contain_text(".")


def field(page: Page, label: str) -> Any:
    return page.get_by_label(label, exact=True)


def name_field(page: Page) -> Any:
    return page.locator("#study-name").get_by_role("textbox")


def choose(page: Page, name: str, content: str) -> None:
    page.locator("#study-source").get_by_text("From a file").click()
    with page.expect_file_chooser() as chooser:
        page.locator("#study-pick-file").click()
    chooser.value.set_files({"name": name, "mimeType": "text/plain", "buffer": content.encode()})


def test_a_study_is_made_from_a_file_written_by_the_engine_and_judged(
    page: Page, tmp_path: Path, demo_engine: Engine
) -> None:
    with serving(tmp_path, demo_engine) as site:
        open_studies(page, site)
        name_field(page).fill("Pilot <b>bold</b>")
        choose(page, "prompts.jsonl", '{"prompt": "How do plants drink?"}\n7\n"Tell me a joke."\n')
        expect(page.locator("#study-file-note")).to_contain_text("2 of 3 prompts understood. Refused and left out: 1")
        expect(page.locator("#study-file-note")).to_contain_text("line 2 of prompts.jsonl is neither")
        page.locator("#study-sampling button.label-wrap").click()
        field(page, "Max tokens").fill("8")
        page.locator("#study-check").click()
        expect(page.locator("#studies-told")).to_contain_text("2 prompts, 4 answers, 2 comparisons")
        expect(page.locator("#studies-told")).to_contain_text("Writing the answers takes at most about")
        assert site.studies.studies() == ()
        page.locator("#study-make").click()
        expect(page.locator("#studies-told")).to_contain_text("is made")
        judge = page.locator("#studies-list").get_by_role("link", name="Judge")
        judge.wait_for()
        assert page.locator("#studies-list b").count() == 0
        judge.click()
        expect(page.locator("#judge-study")).to_contain_text("Pilot <b>bold</b>")
        page.locator("#judge-name").get_by_role("textbox").fill("Ada")
        page.locator("#judge-start").click()
        expect(page.locator(".judge-item")).to_be_visible()
        for key in ("1", "2", "3"):
            page.keyboard.press(key)
        expect(page.locator("#judge-progress")).to_contain_text("1 done, 1 left")
        assert site.repository.count_judgements() == 3


def test_what_was_typed_stays_where_the_study_is_refused_and_where_it_is_made(page: Page, tmp_path: Path) -> None:
    with serving(tmp_path, an_engine()) as site:
        open_studies(page, site)
        name_field(page).fill("Pilot")
        field(page, "Prompts, one a line").fill("One?\nTwo?")
        page.locator("#study-add-question").click()
        field(page, "Question 4").fill("Which is wittier?")
        page.locator("#study-make").click()
        expect(page.get_by_role("alert")).to_contain_text("questions[4]")
        expect(field(page, "Prompts, one a line")).to_have_value("One?\nTwo?")
        field(page, "Dimension 4").fill("wit")
        page.locator("#study-add-blend").click()
        field(page, "Blend 4").fill("helpful")
        field(page, "Helpfulness 4").fill("2.5")
        with page.expect_download() as draft:
            page.locator("#study-toml").click()
        document = tomllib.loads(draft.value.path().read_text(encoding="utf-8"))
        assert draft.value.suggested_filename == "Pilot.toml"
        page.locator("#study-make").click()
        expect(page.locator("#studies-told")).to_contain_text("is made")
        expect(field(page, "Question 4")).to_have_value("Which is wittier?")
        page.get_by_role("link", name="Judge: Pilot").wait_for()
        with page.expect_download() as stored:
            page.get_by_role("button", name="Save as TOML: Pilot").click()
        plan = study_plan(tomllib.loads(stored.value.path().read_text(encoding="utf-8")), tmp_path)
        assert plan == study_plan(document, tmp_path)
        assert [blend.key for blend in plan.settings.blends] == ["unguided", "balanced", "helpful"]
        assert plan.settings.blends[2].weights == {"helpfulness": 2.5}
        assert plan.settings.dimensions == ("overall", "helpfulness", "harmlessness", "wit")


def test_a_study_publishes_by_itself_once_the_box_is_ticked_and_is_stopped_and_let_by_keyboard(
    page: Page, tmp_path: Path
) -> None:
    with serving(tmp_path, an_engine()) as site:
        open_studies(page, site)
        name_field(page).fill("Pilot")
        field(page, "Prompts, one a line").fill("One?\nTwo?")
        margin = field(page, "Margin, nats per token")
        expect(margin).to_be_hidden()
        page.get_by_label("Publish a better guide by itself").check()
        margin.fill("-1")
        page.locator("#study-make").click()
        expect(page.get_by_role("alert")).to_contain_text("publish: The margin for publishing is -1")
        margin.fill("0.025")
        page.locator("#study-make").click()
        expect(page.locator("#studies-told")).to_contain_text("is made")
        page.get_by_role("link", name="Judge: Pilot").wait_for()
        listed = page.locator("#studies-list")
        expect(listed).to_contain_text("no other dimension may lose more than 0.025 nats per token")
        page.get_by_role("button", name="Stop publishing by itself: Pilot").focus()
        page.keyboard.press("Enter")
        expect(listed).not_to_contain_text("0.025")
        assert not site.studies.studies()[0].publish.enabled
        expect(page.get_by_role("button", name="Publish by itself: Pilot")).to_be_focused()  # and not "Close"
        page.keyboard.press("Enter")
        expect(listed).to_contain_text("0.025 nats per token")
        assert site.studies.studies()[0].publish == Publishing(enabled=True, margin=0.025)
        page.get_by_label("Publish a better guide by itself").uncheck()
        expect(margin).to_be_hidden()


def test_a_study_is_watched_left_stopped_and_gone_on_with_by_keyboard(page: Page, tmp_path: Path) -> None:
    with serving(tmp_path, an_engine(step_seconds=0.03)) as site:
        open_studies(page, site)
        name_field(page).fill("Pilot")
        page.locator("#study-source").get_by_text("Built-in set").click()
        page.locator("#study-make").click()
        expect(page.locator("#studies-now")).to_contain_text("of 20 comparisons, about")
        page.goto("about:blank")  # the tab is closed, and the study goes on
        open_studies(page, site)
        expect(page.locator("#studies-now progress")).to_have_attribute("max", "20")
        stop = page.get_by_role("button", name="Stop: Pilot")
        stop.focus()
        page.keyboard.press("Enter")
        expect(page.locator("#studies-list")).to_contain_text("Stopped at")
        expect(page.get_by_role("button", name="Go on writing: Pilot")).to_be_focused()
        n_there = len(site.studies.items(site.studies.studies()[0].id))
        assert 0 < n_there < 20
        page.keyboard.press("Enter")
        close = page.get_by_role("button", name="Close: Pilot")
        close.wait_for()
        close.click()
        expect(page.locator("#studies-list")).to_contain_text("Closed: 0 of 20")
        page.get_by_role("button", name="Open again: Pilot").click()
        expect(page.locator("#studies-list")).to_contain_text("Open: 0 of 20")
        assert site.studies.studies()[0].state is StudyState.OPEN


def test_the_changes_are_read_and_come_down_as_a_file(page: Page, tmp_path: Path) -> None:
    with serving(tmp_path, an_engine()) as site:
        open_studies(page, site)
        name_field(page).fill("Pilot")
        page.locator("#study-source").get_by_text("Built-in set").click()
        page.locator("#study-make").click()
        page.get_by_role("link", name="Judge: Pilot").wait_for()
        page.locator("#studies-changes button.label-wrap").click()
        page.locator("#changes-show").click()
        rows = page.locator("#changes-table tbody tr")
        expect(rows.first).to_contain_text("open study")
        expect(rows.first).to_contain_text("Pilot")
        expect(rows.last).to_contain_text("made study")
        assert rows.count() == 22  # made, a prompt's items twenty times, opened
        page.locator("#studies-changes").get_by_text("JSON lines").click()
        page.locator("#changes-prepare").click()
        with page.expect_download() as file:
            page.locator("#changes-download").click()
        lines = [json.loads(line) for line in file.value.path().read_text(encoding="utf-8").splitlines()]
        assert [(line["action"], line["actor"]) for line in lines] == [
            ("made", "page"),
            *[("grew", "page")] * 20,
            ("open", "page"),
        ]


def test_the_page_fits_a_phone(page: Page, tmp_path: Path) -> None:
    page.set_viewport_size(PHONE)  # type: ignore[arg-type]
    with serving(tmp_path, an_engine()) as site:
        open_studies(page, site)
        for title in page.locator("#studies-new .block button.label-wrap").all():
            title.click()
        name_field(page).fill("W" * 100)
        page.locator("#study-source").get_by_text("Built-in set").click()
        page.locator("#study-make").click()
        page.get_by_role("link", name="Judge").first.wait_for()
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


@pytest.mark.parametrize(("size", "scheme"), [(LAPTOP, "light"), (PHONE, "dark")])
def test_axe_finds_nothing_serious_with_everything_unfolded(page: Page, tmp_path: Path, size: Any, scheme: Any) -> None:
    page.set_viewport_size(size)
    page.emulate_media(color_scheme=scheme)
    with serving(tmp_path, an_engine()) as site:
        create_study(site.studies, a_plan())  # is listed as stopped
        open_studies(page, site)
        name_field(page).fill("Pilot")
        choose(page, "prompts.jsonl", '"One?"\n7\n')
        page.locator("#study-file-note table").wait_for()
        page.locator("#study-make").click()
        page.get_by_role("link", name="Judge: Pilot").wait_for()
        page.locator("#study-compared").get_by_text("Blends drawn").click()
        page.get_by_label("Publish a better guide by itself").check()
        field(page, "Margin, nats per token").wait_for()
        page.locator("#study-check").click()
        page.locator("#studies-told table").wait_for()
        for title in page.locator("#studies-new .block button.label-wrap, #studies-changes button.label-wrap").all():
            title.click()
        page.locator("#changes-show").click()
        page.locator("#changes-table table").wait_for()
        page.get_by_role("button", name="Go on writing: pilot").wait_for()
        assert complaints(page) == []
