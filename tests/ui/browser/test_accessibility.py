"""axe-core on every page, wide and narrow, light and dark: nothing serious in any state a person meets."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from storage.database import open_database
from storage.sql_repository import SqlRepository
from storage.sql_results import SqlResults
from storage.sql_studies import SqlStudies
from tests.ui.browser.conftest import LAPTOP, PATIENCE_MS
from tests.ui.fakes import ScriptedEngine
from tests.ui.judge.serving import QUESTIONS, a_study
from tests.ui.pages import free_port, in_a_loop
from tests.ui.results.simulated import a_judged_study
from ui import wording, wording_judge, wording_results
from ui.page import Backing, open_page
from ui.settings import Settings

pytestmark = pytest.mark.long
PHONE = {"width": 390, "height": 844}
LOOKS = [(size, scheme) for size in ("laptop", "phone") for scheme in ("light", "dark")]
SERIOUS = ("serious", "critical")
FADING_MS = 300  # colours fade in, and axe reads them as they are
LOADING_MS = 1000  # a page asks the server what to show once it stands; a heartbeat keeps the network from being idle


class Site:
    """A served page with its store and a scripted engine."""

    def __init__(self, home: Path, stack: ExitStack) -> None:
        settings = Settings(home=home, port=free_port())
        database = stack.enter_context(open_database(settings.database_url))
        self.repository, self.studies = SqlRepository(database), SqlStudies(database)
        stores = self.repository, settings, self.studies, SqlResults(database)
        blocks = in_a_loop(lambda: open_page(Backing(ScriptedEngine(), *stores)))
        stack.callback(blocks.close, verbose=False)
        self.url = f"http://127.0.0.1:{settings.port}"
        self.paths = [f"/{path}" for path, *_ in blocks.pages]


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with ExitStack() as stack:
        yield Site(tmp_path_factory.mktemp("empty"), stack)


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with ExitStack() as stack:
        site = Site(tmp_path_factory.mktemp("judged"), stack)
        a_judged_study(site.repository, site.studies, n_items=24, gold_share=0.2, repeat_share=0.1)
        yield site


@pytest.fixture(params=LOOKS, ids="-".join)
def page(chromium: Browser, request: pytest.FixtureRequest) -> Iterator[Page]:
    size, scheme = request.param
    context = chromium.new_context(viewport=LAPTOP if size == "laptop" else PHONE, color_scheme=scheme)  # type: ignore[arg-type]
    context.set_default_timeout(PATIENCE_MS)
    yield context.new_page()
    context.close()


def complaints(page: Page) -> list[str]:
    """What axe calls serious or critical in the page as it is now: the rule, the element and its HTML."""
    page.wait_for_timeout(FADING_MS)
    return [
        f"{rule['id']}: {' '.join(map(str, node['target']))}: {node['html'][:200]}"
        for rule in Axe().run(page).response["violations"]
        if rule["impact"] in SERIOUS
        for node in rule["nodes"]
    ]


def test_axe_sees_a_button_without_a_name_and_pale_text(page: Page, empty: Site) -> None:
    page.goto(f"{empty.url}/judge")
    page.locator("#title h1").wait_for()
    page.evaluate(
        "document.querySelector('main').insertAdjacentHTML('beforeend',"
        ' \'<button id="nameless"></button><p style="color: #999; background: #aaa">pale</p>\')'
    )
    assert {told.split(":")[0] for told in complaints(page)} == {"button-name", "color-contrast"}


def test_no_page_has_anything_serious_as_it_opens_on_an_empty_database_or_a_used_one(
    page: Page, empty: Site, judged: Site
) -> None:
    assert {"/", "/judge", "/results"} <= set(empty.paths)
    tested_below = {"/", "/judge", "/results"}
    addresses = [empty.url + path for path in empty.paths]
    addresses += [judged.url + path for path in judged.paths if path not in tested_below]
    found = {}
    for address in addresses:
        page.goto(address)
        page.locator("#title h1").wait_for()
        page.wait_for_timeout(LOADING_MS)
        found[address] = complaints(page)
    assert found == {address: [] for address in addresses}


def test_steer_has_nothing_serious_with_everything_unfolded_after_a_judgement(page: Page, empty: Site) -> None:
    page.goto(empty.url)
    page.locator("#prompt textarea").fill("Hello?")
    page.locator("#run").click()
    expect(page.locator("#status")).to_contain_text(wording.FINISHED)
    page.locator("#colour label").nth(1).click()
    page.locator("#show-table input").check()
    page.locator("#judge-0 label").first.click()
    expect(page.locator("#saved .saved").first).to_be_visible()
    for title in page.locator("#sampling button.label-wrap, #session-judgements button.label-wrap").all():
        title.click()
    expect(page.locator("#tables table").first).to_be_visible()
    assert complaints(page) == []


def test_judge_has_nothing_serious_before_while_and_after_judging(page: Page, empty: Site) -> None:
    study_id = a_study(empty.studies, 1, consent="We keep what you say.", questions=QUESTIONS)
    page.goto(f"{empty.url}/judge?study={study_id}")
    expect(page.locator(".judge-consent")).to_be_visible()
    page.locator("#judge-start").click()
    expect(page.get_by_role("alert")).to_be_visible()
    found = {"before": complaints(page)}
    page.locator("#judge-name").get_by_role("textbox").fill("Ada")
    page.get_by_label(wording_judge.ACCEPT).check()
    page.locator("#judge-start").click()
    expect(page.locator(".judge-item")).to_be_visible()
    for more in page.locator(".judge-question summary").all():
        more.click()
    for question in page.locator(".judge-question").all():
        question.locator("[data-choice]").first.click()
    page.keyboard.press("?")
    found["while"] = complaints(page)
    page.locator("[data-save]").click()
    expect(page.locator(".judge-finished")).to_be_visible()
    found["after"] = complaints(page)
    assert found == {"before": [], "while": [], "after": []}


def test_results_have_nothing_serious_with_plots_and_every_table_unfolded(page: Page, judged: Site) -> None:
    page.goto(f"{judged.url}/results")
    expect(page.get_by_role("link", name=wording_results.OPEN_IN_STEER)).to_be_visible()
    page.locator("#results-pace .js-plotly-plot .main-svg").first.wait_for()
    titles = page.locator(".results-part button.label-wrap")
    for title in titles.all():
        title.click()
    expect(page.locator(".results-part table:visible")).to_have_count(titles.count())
    assert complaints(page) == []
