"""The way from page to page on narrow screens, where there are five pages."""

import itertools
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from tests.ui.guides.test_guides_over_http import serving
from ui import wording_guides, wording_judge, wording_results, wording_studies

NAMES = [wording_judge.STEER_PAGE, *(words.PAGE for words in (wording_judge, wording_results, wording_studies))]
NAMES.append(wording_guides.PAGE)
FINGER = 40  # pixels that a finger needs


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("navigation")) as visitor:
        yield visitor.url


@pytest.mark.parametrize("width", [390, 320])
@pytest.mark.parametrize("path", ["", "guides"])
def test_all_pages_stand_in_one_row_of_whole_words_as_high_as_a_finger(
    chromium: Browser, site: str, width: int, path: str
) -> None:
    """The fifth page was once alone in a second row."""
    with chromium.new_context(viewport={"width": width, "height": 844}) as context:
        page = context.new_page()
        page.goto(f"{site}/{path}")
        links = page.locator(".nav-holder a")
        expect(links).to_have_text(NAMES)
        boxes = [box for link in links.all() if (box := link.bounding_box())]
        assert len(boxes) == len(NAMES)
        assert len({box["y"] for box in boxes}) == 1
        assert min(box["height"] for box in boxes) >= FINGER
        assert all(box["x"] >= 0 and box["x"] + box["width"] <= width for box in boxes)
        assert all(left["x"] + left["width"] <= right["x"] for left, right in itertools.pairwise(boxes))
        assert links.evaluate_all("all => all.every((link) => link.scrollWidth <= link.clientWidth)")
