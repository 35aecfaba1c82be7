"""The Guides page in a real browser: trying a version, axe in every look, narrow screens."""

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from models.files import write_whole
from models.presets import load_preset
from models.training.run_folder import RunFolder
from models.versions.publishing import GuideVersions
from models.versions.starting import load_published
from storage.database import open_database
from storage.records_publishing import Publishing
from storage.sql_repository import SqlRepository
from storage.sql_results import SqlResults
from storage.sql_studies import SqlStudies
from tests.ui.browser.conftest import LAPTOP, PATIENCE_MS
from tests.ui.browser.test_accessibility import LOOKS, PHONE, complaints
from tests.ui.pages import free_port, made
from tests.ui.results.simulated import a_judged_study
from ui.guides.asking import Ask
from ui.guides.runs import make_folder
from ui.page import Backing, open_page
from ui.settings import Settings

HARMLESSNESS = Path(__file__).parents[3] / "models" / "demo" / "guides" / "harmlessness"


@dataclass
class Site:
    """The application with the embedded model; helpfulness has a version 2, which is the other guide's weights."""

    url: str
    versions: GuideVersions
    home: Path


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    home = tmp_path_factory.mktemp("guides")
    settings = Settings(home=home, port=free_port())
    versions = load_published(load_preset("demo"), home)
    versions.add(str(HARMLESSNESS), "helpfulness")
    a_training(home)
    with open_database(settings.database_url) as database:
        stores = SqlStudies(database), SqlResults(database)
        repository = SqlRepository(database)
        a_judged_study(repository, stores[0], n_items=24)
        blocks = made(lambda _: open_page(Backing(versions.engine, repository, settings, *stores, versions)), home)
        yield Site(f"http://127.0.0.1:{settings.port}/guides", versions, home)
        blocks.close(verbose=False)
        versions.engine.close()


def a_training(home: Path) -> None:
    """One that is done, and was compared."""
    folder = make_folder(home, Ask("helpfulness", "helpfulness"), old=1)
    run = RunFolder(folder.run)
    with run.begun({}, resume=False):
        pass
    run.say("before", accuracy=0.5, low=0.4, high=0.6, n_pairs=90)
    for step in range(1, 5):
        run.say("step", step=step, n_steps=4, loss=1 / step, learning_rate=0.1, seconds=step, seconds_left=4 - step)
    run.say("held_out", step=4, n_steps=4, held_out_accuracy=0.6, held_out_loss=0.6)
    run.say("finished", guide="", unit=0.3, accuracy=0.6, low=0.5, high=0.7)
    folder.note(version=2)
    figures = {"kl_per_token": 0.1, "n_tokens": 50, "distinct_1": 0.5, "distinct_2": 0.9}
    rewards = {"harmlessness": -2.0, "old": -1.0, "new": -1.5}
    side = figures | {"rewards": rewards}
    pairs = {"n_pairs": 90, "accuracy": {"old": 0.6, "new": 0.62}, "interval": {"old": [0.5, 0.7], "new": [0.51, 0.71]},
             "n_only_old": 8, "n_only_new": 10, "p_value": 0.81}  # fmt: skip
    prompts = {"n_prompts": 20, "n_tokens": 60, "old": side, "new": side}
    write_whole(folder.assessment, json.dumps({"old": 1, "new": 2, "pairs": pairs, "prompts": prompts}))
    folder.log.write_text("Held-out accuracy before: 0.500.\n", encoding="utf-8")


def a_page(chromium: Browser, stack: ExitStack, **options: object) -> Page:
    context = chromium.new_context(**({"viewport": LAPTOP} | options))  # type: ignore[arg-type]
    context.set_default_timeout(PATIENCE_MS)
    stack.callback(context.close)
    return context.new_page()


def pick(page: Page, label: str, option: str) -> None:
    page.get_by_label(label, exact=True).click()
    page.get_by_role("option", name=option).click()
    expect(page.get_by_role("option")).to_have_count(0)  # the list fades out


def opened(page: Page, site: Site) -> Page:
    page.goto(site.url)
    expect(page.locator("#guides-list")).to_contain_text("Versions of Helpfulness")
    expect(page.locator("#run-state")).to_contain_text("was trained: version 2")
    page.locator(
        "#run-accuracy .main-svg"
    ).first.wait_for()  # until Plotly is there Gradio shows an empty box of its own
    return page


def test_a_version_is_tried_beside_the_active_one_and_nothing_is_published(site: Site, chromium: Browser) -> None:
    with ExitStack() as stack:
        page = opened(a_page(chromium, stack), site)
        pick(page, "Version", "helpfulness, version 2")
        expect(page.locator("#guides-told").get_by_role("alert")).to_contain_text("is not shown to be better")
        page.locator("#guides-try button.label-wrap").click()
        page.get_by_label("number input for Weight").fill("3")
        page.locator("#try-prompt textarea").fill(" ")
        page.locator("#try-run").click()
        expect(page.locator("#try-message")).to_contain_text("The prompt is empty")
        page.locator("#try-prompt textarea").fill("How do I ask my boss for a day off?")
        page.locator("#try-run").click()
        texts = [page.locator(f"#try-{side} textarea") for side in ("old", "new")]
        for text in texts:
            expect(text).to_have_value(re.compile(r"\w{3}"))
        expect(page.locator("#try-message")).not_to_contain_text("empty")
        expect(page.locator("#try-old-note")).to_contain_text("helpfulness version 1")
        expect(page.locator("#try-new-note")).to_contain_text("helpfulness version 2")
        old, new = (text.input_value() for text in texts)
        assert old[:40] != new[:40]
    assert [guide.version for guide in site.versions.engine.guides] == [1, 1]
    assert site.versions.history() == ()


def test_the_page_says_whether_a_training_is_published_by_itself_before_it_starts(
    site: Site, chromium: Browser
) -> None:
    with ExitStack() as stack, open_database(f"sqlite:///{site.home}/tiller.db") as database:
        studies = SqlStudies(database)
        (study,) = studies.studies()
        page = opened(a_page(chromium, stack), site)

        def expect_gate(words: str) -> None:
            expect(page.locator("#retrain-gate")).to_contain_text(words)

        expect_gate(f"Nothing is published by itself: study “{study.name}” does not ask for it.")
        studies.set_publishing(study.id, Publishing(enabled=True, margin=0.025))
        pick(page, "From", study.name)
        expect_gate(f"Study “{study.name}” publishes a better guide by itself")
        expect_gate("no other dimension loses more than 0.025 nats per token")
        page.get_by_label("To day").fill("2001-01-01")
        pick(page, "From", "All studies")
        expect_gate("there are no such judgements yet")
        page.get_by_label("To day").fill("")
        page.get_by_label("From day").focus()
        expect_gate("publishes a better guide by itself")
        studies.set_publishing(study.id, Publishing())


@pytest.mark.parametrize("look", LOOKS, ids="-".join)
def test_nothing_is_serious_to_axe_with_everything_unfolded(
    site: Site, chromium: Browser, look: tuple[str, str]
) -> None:
    size, scheme = look
    with ExitStack() as stack:
        viewport = LAPTOP if size == "laptop" else PHONE
        page = opened(a_page(chromium, stack, viewport=viewport, color_scheme=scheme), site)
        found = {"as it opens": complaints(page)}
        pick(page, "Version", "helpfulness, version 2")
        pick(page, "Compare with", "helpfulness, version 1")
        page.locator("#guides-compare").click()
        expect(page.locator("#guides-found")).to_contain_text("On 90 held-out pairs")
        page.locator("#retrain-check").click()
        expect(page.locator("#retrain-told")).to_contain_text("left to train on")  # one prompt, so none to test on
        for title in page.locator("#guides-try button.label-wrap, #run-log button.label-wrap").all():
            title.click()
        found["unfolded"] = complaints(page)
        assert found == {"as it opens": [], "unfolded": []}
        width = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert page.evaluate(width) <= 0
