"""A guide for a dimension that had none, published while people use the page, in a real browser."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from models.guides import CARD_NAME
from models.presets import load_preset
from models.versions.publishing import GuideVersions
from models.versions.starting import load_published
from tests.ui.browser.conftest import Serve, Visit
from ui import wording

HARMLESSNESS = Path(__file__).parents[3] / "models" / "demo" / "guides" / "harmlessness"
PROMPT = "What should I say to a friend who failed an exam?"


@pytest.fixture
def versions(tmp_path: Path) -> Iterator[GuideVersions]:
    """Beside the preset's guides there is one for a new dimension, caution; it is not published."""
    versions = load_published(load_preset("demo"), tmp_path)
    versions.add(str(HARMLESSNESS), "caution")
    yield versions
    versions.engine.close()


def test_a_page_loaded_again_has_the_new_guides_slider_and_one_that_was_open_goes_on(
    serve: Serve, visit: Callable[..., Visit], versions: GuideVersions
) -> None:
    url, _ = serve(versions.engine, max_new_tokens_limit=40)
    older, here = visit(url), visit(url)
    for tab in (older, here):
        tab.page.get_by_label("Live").uncheck()
    assert here.page.locator(".guide").count() == 2
    here.run(PROMPT)
    here.wait_until_finished()
    before = here.pane("right")

    versions.publish("caution", 1)
    here.open()
    here.page.get_by_label("Live").uncheck()
    assert here.page.locator(".guide").count() == 3
    expect(here.page.get_by_label("number input for Caution")).to_have_value("0")
    here.run(PROMPT)
    here.wait_until_finished()
    assert here.pane("right") == before, "at 0 the guide says nothing"
    here.slide("caution", 3.0)  # 4 × 0.15625 lies between two hundredths, which the browser rounds up
    unit = versions.engine.guides[2].unit
    expect(here.page.locator(".guide").nth(2)).to_contain_text(f"exponent {3 * unit:.2f}")
    here.page.locator("#run").click()
    here.wait_for_status(wording.WRITING)
    here.wait_until_finished()
    assert here.pane("right") != before
    here.page.locator("#colour").get_by_text("Caution", exact=True).click()
    expect(here.page.locator("#pane-right .token").first).to_be_visible()
    here.judge(3, "Right")
    expect(here.page.locator("#saved")).to_contain_text("Caution: Right saved")

    older.run(PROMPT)
    older.wait_until_finished()
    assert older.pane("right") == before
    assert older.page.locator(".guide").count() == 2
    older.judge(0, "Left")
    expect(older.page.locator("#saved")).to_contain_text("Overall: Left saved")

    versions.roll_back("caution")
    here.page.locator("#run").click()
    expect(here.page.locator("#message")).to_contain_text("There is no guide for 'caution'")
    here.open()
    assert here.page.locator(".guide").count() == 2
    here.run(PROMPT)
    here.wait_until_finished()
    assert here.pane("right") == before
    for tab in (older, here):
        tab.check_harmless()


def test_a_page_loaded_after_another_version_was_published_tells_exponents_by_its_unit(
    serve: Serve, visit: Callable[..., Visit], versions: GuideVersions, tmp_path: Path
) -> None:
    stronger = Path(shutil.copytree(HARMLESSNESS, tmp_path / "stronger"))
    card = json.loads((stronger / CARD_NAME).read_text("utf-8"))
    (stronger / CARD_NAME).write_text(json.dumps(card | {"unit": 0.25}), encoding="utf-8")
    here = visit(serve(versions.engine)[0])
    here.page.get_by_label("Live").uncheck()
    line = here.page.locator(".guide").first
    before = versions.engine.guides[0].unit
    expect(line).to_contain_text(f"exponent {before:.2f} (unit {before:.3g})")
    versions.publish("helpfulness", versions.add(str(stronger), "helpfulness").number)
    here.open()
    expect(line).to_contain_text("exponent 0.25 (unit 0.25)")
    here.slide("helpfulness", 3.0)
    expect(line).to_contain_text("exponent 0.75 (unit 0.25)")
    here.check_harmless()
