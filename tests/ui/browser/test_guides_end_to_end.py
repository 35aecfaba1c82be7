"""The whole loop in a real browser on the embedded model: judge, retrain, look, publish, and roll back."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from models.answers import ComparisonRequest
from models.engine import Engine
from models.presets import load_preset
from models.versions.publishing import GuideVersions
from models.versions.starting import load_published
from steering.types import Blend, SamplingSettings
from storage.database import open_database
from storage.records_pairs import NamedBlend
from storage.records_studies import Question, StudySettings
from storage.sql_repository import SqlRepository
from storage.sql_results import SqlResults
from storage.sql_studies import SqlStudies
from tests.ui.browser.conftest import LAPTOP, PATIENCE_MS, Visit
from tests.ui.pages import free_port, made
from ui.page import Backing, open_page
from ui.prompt_files import built_in_prompts
from ui.settings import Settings
from ui.studies import generate_answers

pytestmark = pytest.mark.long
DIMENSION = "harmlessness"
TRAINING_MS = 400_000
PROMPTS = [prompt for name in ("everyday", "mixed", "sensitive") for prompt in built_in_prompts(name)]
DISLIKED = "sorry"
STEERED = "How do I ask my boss for a day off at short notice?"


@dataclass
class Site:
    """The application with all its pages, on a store of its own."""

    url: str
    versions: GuideVersions
    studies: SqlStudies


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    settings = Settings(home=tmp_path, port=free_port(), max_new_tokens_limit=60)
    versions = load_published(load_preset("demo"), tmp_path)
    with open_database(settings.database_url) as database:
        stores = SqlStudies(database), SqlResults(database)
        repository = SqlRepository(database)
        blocks = made(lambda _: open_page(Backing(versions.engine, repository, settings, *stores, versions)), tmp_path)
        yield Site(f"http://127.0.0.1:{settings.port}", versions, stores[0])
        blocks.close(verbose=False)
        versions.engine.close()


@pytest.fixture
def pages(chromium: Browser) -> Iterator[tuple[Page, Page]]:
    """Two tabs of one browser."""
    with ExitStack() as stack:
        context = chromium.new_context(viewport=LAPTOP)  # type: ignore[arg-type]
        context.set_default_timeout(PATIENCE_MS)
        stack.callback(context.close)
        two = context.new_page(), context.new_page()
        complaints: list[str] = []
        for page in two:
            page.on("pageerror", lambda error: complaints.append(str(error)))
        yield two
        assert complaints == []


def a_written_study(site: Site) -> str:
    """Sixty prompts, each answered carefully, and helpfully; the real engine writes."""
    blends = (NamedBlend("careful", {"harmlessness": 4.0}), NamedBlend("helpful", {"helpfulness": 4.0}))
    settings = StudySettings(
        prompts=tuple(PROMPTS),
        questions=(Question(DIMENSION, "Which answer is better?"),),
        blends=blends,
        sampling=SamplingSettings(temperature=0.8, max_new_tokens=24, seed=7),
    )
    study = site.studies.create_study("Excuses", settings)
    for _ in generate_answers(site.versions.engine, site.studies, study.id):
        pass
    return study.id


def judge_everything(page: Page, url: str) -> int:
    """Judge with the keyboard, always against the answer that says sorry; how many items there were."""
    page.goto(url)
    expect(page.locator("#judge-study")).to_contain_text("0 of 60")
    page.locator("#judge-name").get_by_role("textbox").fill("Ada")
    page.locator("#judge-start").click()
    expect(page.locator(".judge-item")).to_be_visible()
    n_judged = 0
    while page.locator(".judge-item").count():
        item = page.locator(".judge-item").get_attribute("data-item")
        page.keyboard.press("2" if DISLIKED in page.locator("#judge-left .tiller-answer").inner_text() else "1")
        page.wait_for_function(
            "before => document.querySelector('.judge-finished') ||"
            " (document.querySelector('.judge-item')?.dataset.item ?? before) !== before",
            arg=item,
        )
        n_judged += 1
    return n_judged


def pick(page: Page, label: str, option: str) -> None:
    page.get_by_label(label, exact=True).click()
    page.get_by_role("option", name=option).click()


def steered(steer: Visit) -> str:
    steer.page.locator("#run").click()
    steer.page.wait_for_function("document.querySelector('#status').textContent.includes('Writing')")
    steer.wait_until_finished()
    return steer.pane("right")


def n_sorry(engine: Engine, weight: float) -> int:
    """How many of the prompts are answered with an excuse."""
    n_found = 0
    for seed, prompt in enumerate(PROMPTS):
        sampling = SamplingSettings(temperature=0.8, max_new_tokens=12, seed=seed)
        *_, last = engine.compare(ComparisonRequest(prompt, (Blend({DIMENSION: weight}),), sampling))
        n_found += DISLIKED in last.answers()[0].text
    return n_found


@pytest.mark.timeout(900)  # sixty judgements and a training; on busy cores each takes its time
def test_a_guide_learns_a_judges_taste_steers_that_way_and_is_rolled_back(site: Site, pages: tuple[Page, Page]) -> None:
    page, other = pages
    study_id = a_written_study(site)
    assert judge_everything(page, f"{site.url}/judge?study={study_id}") == len(PROMPTS) == 60

    steer = Visit(other, f"{site.url}/")
    steer.open()
    other.get_by_label("Live").uncheck()
    steer.slide(DIMENSION, 2.0)
    steer.write(STEERED)
    old_text = steered(steer)
    n_before, n_unguided = n_sorry(site.versions.engine, 2.0), n_sorry(site.versions.engine, 0.0)

    page.goto(f"{site.url}/guides")
    expect(page.locator("#guides-list")).to_contain_text("Version 1 answers.")
    pick(page, "Judged", DIMENSION)
    page.get_by_label("Held out, %").fill("30")
    page.locator("#retrain-check").click()
    expect(page.locator("#retrain-told")).to_contain_text("60 usable pairs over 60 prompts")
    expect(page.locator("#retrain-told")).to_contain_text("Everything hangs on one annotator.")
    expect(page.locator("#retrain-gate")).to_contain_text("published by itself: study “Excuses” does not ask for it.")
    page.locator("#retrain-start").click()
    expect(page.locator("#retrain-told")).to_contain_text("The training has begun")
    page.reload()  # whoever comes back finds it again
    expect(page.locator("#run-state")).to_contain_text("Training Harmlessness")
    expect(page.locator("#run-cancel")).to_be_visible()
    expect(page.locator("#run-state")).to_contain_text("was trained: version 2.", timeout=TRAINING_MS)
    expect(page.locator("#run-found")).to_contain_text("held-out pairs")
    expect(page.locator("#run-accuracy .main-svg").first).to_be_visible()
    assert site.versions.answering(DIMENSION) == 1, "nothing is published by itself"

    metrics = site.versions.registry.version(DIMENSION, 2).card.metrics
    assert metrics["low"] > 0.5 > metrics["before"]["accuracy"]

    pick(page, "Version", f"{DIMENSION}, version 2")
    expect(page.locator("#guides-told")).to_contain_text("version 2 is better than version 1")
    page.locator("#guides-publish").click()
    expect(page.locator("#guides-told")).to_contain_text("harmlessness version 2 answers from now on")
    new_text = steered(steer)
    n_after = n_sorry(site.versions.engine, 2.0)
    assert n_after < n_unguided < n_before
    assert new_text != old_text

    page.locator("#guides-roll-back").click()
    expect(page.locator("#guides-told")).to_contain_text("harmlessness version 1 answers again")
    assert steered(steer) == old_text
