"""The Results page in a real browser: hostile names run nothing, data come down, and a blend opens in Steer."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from steering.types import Choice
from storage.database import open_database
from storage.records import Strength
from storage.records_pairs import NamedBlend
from storage.sql_repository import SqlRepository
from storage.sql_results import SqlResults
from storage.sql_studies import SqlStudies
from tests.storage.examples import a_click, a_comparison
from tests.storage.judged import plane
from tests.storage.study_examples import an_open_study, answers_to
from tests.ui.browser.conftest import LAPTOP
from tests.ui.fakes import ScriptedEngine
from tests.ui.pages import free_port, in_a_loop
from tests.ui.results.simulated import a_judged_study
from ui import wording_results as wording
from ui.page import Backing, open_page
from ui.settings import Settings

RUNS = "window.__pwned = 1"
HOSTILE = f'<img src=x onerror="{RUNS}">'
LINKED = f'=<a href="javascript:{RUNS}">x</a>'
PHONE = {"width": 390, "height": 844}


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[str, SqlRepository, SqlStudies]]:
    settings = Settings(home=tmp_path, port=free_port())
    with open_database(settings.database_url) as database:
        repository, studies = SqlRepository(database), SqlStudies(database)
        stores = repository, settings, studies, SqlResults(database)
        blocks = in_a_loop(lambda: open_page(Backing(ScriptedEngine(), *stores)))
        yield f"http://127.0.0.1:{settings.port}", repository, studies
        blocks.close(verbose=False)


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    with ExitStack() as stack:
        context = chromium.new_context(viewport=LAPTOP)  # type: ignore[arg-type]
        stack.callback(context.close)
        yield context.new_page()


def test_a_hostile_name_runs_nothing_in_plots_hovers_and_tables(page: Page, site: Any) -> None:
    url, repository, studies = site
    blends = [*plane(0.0, 1.0, 2.0)[1:], NamedBlend(LINKED, {})]
    a_judged_study(repository, studies, names=("Ada", "Bob", HOSTILE), blends=blends)
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(f"{url}/results")
    expect(page.locator("#results-wins .js-plotly-plot .main-svg").first).to_be_visible()
    page.locator("#results-annotators button.label-wrap").click()
    expect(page.locator("#results-annotators")).to_contain_text("onerror")
    page.locator("#results-wins .js-plotly-plot .ytick", has_text="=<a").first.wait_for()
    dots = page.locator("#results-wins .scatterlayer .point")
    for place in range(dots.count()):
        dots.nth(place).hover(force=True)
        page.wait_for_timeout(60)
    assert page.locator(".results-part .js-plotly-plot a[*|href^=javascript]").count() == 0
    assert page.locator(".results-part img[src=x]").count() == 0
    assert page.evaluate("window.__pwned") is None
    assert complaints == []


def test_a_table_and_an_export_come_down_and_the_preferred_blend_opens_in_steer(page: Page, site: Any) -> None:
    url, repository, studies = site
    a_judged_study(repository, studies)
    page.goto(f"{url}/results")
    expect(page.locator("#results-open")).to_be_visible()
    page.locator("#results-wins button.label-wrap").click()
    with page.expect_download() as table:
        page.locator("#results-wins-csv").click()
    assert table.value.suggested_filename == "tiller-wins.csv"
    assert "helpfulness=1" in table.value.path().read_text(encoding="utf-8-sig")
    page.locator("#results-prepare").click()
    with page.expect_download() as export:
        page.locator("#results-download").click()
    assert export.value.suggested_filename.endswith(".zip")
    page.get_by_text(wording.OPEN_IN_STEER).click()
    expect(page.get_by_text(wording.BLEND_OPENED)).to_be_visible()
    weights = page.locator("input[type=range][aria-label*=Helpfulness]")
    # People prefer 1; what 120 judgements make of it is within half of that.
    assert abs(float(weights.input_value()) - 1) < 0.5


def test_why_a_table_or_an_export_does_not_come_down_is_told_where_it_was_asked_for(page: Page, site: Any) -> None:
    """A day that is none was once answered with silence, and must not be with the table of before, saved again."""
    url, repository, studies = site
    a_judged_study(repository, studies, n_items=8)
    saved: list[str] = []
    page.on("download", lambda download: saved.append(download.suggested_filename))
    page.goto(f"{url}/results")
    page.locator("#results-wins button.label-wrap").click()
    told, since = page.locator("#results-wins-told"), page.locator("#results-since").get_by_role("textbox")
    with page.expect_download():
        page.locator("#results-wins-csv").click()
    since.fill("31.12.2026")
    page.locator("#results-wins-csv").click()
    expect(told).to_contain_text("“31.12.2026” is not a day.")
    page.locator("#results-prepare").click()
    expect(page.locator("#results-export-note")).to_contain_text("“31.12.2026” is not a day.")
    since.fill("2020-01-01")
    since.press("Enter")
    expect(told).to_have_text("")
    with page.expect_download():
        page.locator("#results-wins-csv").click()
    assert saved == ["tiller-wins.csv", "tiller-wins.csv"]


def test_a_plot_comes_down_as_a_picture_that_is_white_behind(page: Page, site: Any) -> None:
    url, repository, studies = site
    a_judged_study(repository, studies, n_items=8)
    page.emulate_media(color_scheme="dark")
    page.goto(f"{url}/results")
    plot = page.locator("#results-wins .js-plotly-plot")
    expect(plot.locator(".main-svg").first).to_be_visible()
    plot.hover()
    with page.expect_download() as picture:
        plot.locator('.modebar-btn[data-title*="PNG"]').click()
    with Image.open(picture.value.path()) as drawn:
        assert drawn.format == "PNG"
        assert min(drawn.size) > 100
        colours = sorted((drawn.convert("RGB").getcolors(1_000_000) or []), reverse=True)
    assert colours[0][1] == (255, 255, 255)
    assert len(colours) > 10


def test_steers_judgements_and_slight_preferences_can_be_asked_for(page: Page, site: Any) -> None:
    url, repository, studies = site
    study_id = an_open_study(studies, 4)
    ada = repository.annotator("h", "Ada").id
    while (given := studies.next_assignment(study_id, ada)) is not None:
        studies.answer(answers_to(given, Choice.LEFT, strength=Strength.SLIGHTLY))
    comparison = a_comparison()
    repository.save_comparison(comparison)
    repository.record_judgement(a_click(comparison.id, ada, Choice.RIGHT))
    page.goto(f"{url}/results")
    counts = page.locator("#results-counts")
    expect(counts).to_contain_text("0 were said to be clear and 8 to be slight")
    expect(page.locator("#results-dimension label", has=page.locator("input:checked"))).to_have_text("Overall")
    page.get_by_label(wording.BY_STRENGTH).check()
    expect(counts).to_contain_text(wording.BY_STRENGTH_NOTE)
    page.locator("#results-study input").click()
    page.get_by_role("option", name="Steer page").click()
    expect(counts).to_contain_text("Judgements: 1, of comparisons: 1, by annotators: 1.")
    expect(counts).to_contain_text("not blind")
    expect(page.get_by_label(wording.BY_STRENGTH)).to_have_count(0)


@pytest.mark.parametrize("n_items", [0, 1])
def test_with_no_or_one_item_the_page_says_what_is_missing(page: Page, site: Any, n_items: int) -> None:
    url, repository, studies = site
    if n_items:
        a_judged_study(repository, studies, n_items=2, names=("Ada",))
    page.set_viewport_size(PHONE)  # type: ignore[arg-type]
    page.goto(f"{url}/results")
    words = wording.NO_STUDIES if not n_items else "At least 2 annotators are needed; there are 1."
    expect(page.get_by_text(words).first).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
