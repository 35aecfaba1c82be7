"""A real browser on a served page: the embedded model with a SQLite file, or a scripted engine."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Dialog, Page, expect, sync_playwright

from models.engine import Engine
from storage.database import open_database
from storage.repository import Repository
from storage.sql_repository import SqlRepository
from tests.ui.fakes import ScriptedEngine
from tests.ui.judge import serving
from tests.ui.pages import free_port, in_a_loop
from ui import wording
from ui.page import Backing, open_page
from ui.runs import SteerEngine
from ui.settings import Settings

CHROMIUM = Path("/usr/bin/chromium")
# Gradio 6.31 sums up its own events with words of pandas that pandas 3 deprecates; it is their code and their thread.
GRADIO_ON_PANDAS_3 = ("ignore:.*no_silent_downcasting.*", "ignore:The copy keyword is deprecated.*")
QUIET = [
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-pings",
]
LAPTOP = {"width": 1280, "height": 800}
PATIENCE_MS = 30_000


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.browser)
            item.add_marker(pytest.mark.filterwarnings(*GRADIO_ON_PANDAS_3))
            item.add_marker(pytest.mark.skipif(not CHROMIUM.exists(), reason=f"there is no {CHROMIUM}"))


@dataclass
class Visit:
    """An open page, with what it complained about and whether anything hostile ran in it."""

    page: Page
    url: str
    complaints: list[str] = field(default_factory=list)
    dialogs: list[str] = field(default_factory=list)

    def open(self, query: str = "") -> None:
        self.page.goto(self.url + query)
        expect(self.page.locator("#status")).to_contain_text(".")
        self.page.wait_for_function("localStorage.getItem('tiller-annotator')")

    def write(self, prompt: str) -> None:
        self.page.locator("#prompt textarea").fill(prompt)

    def run(self, prompt: str) -> None:
        self.write(prompt)
        self.page.locator("#run").click()

    def pane(self, side: str) -> str:
        return self.page.locator(f"#pane-{side} .tiller-answer").inner_text()

    def wait_for_status(self, words: str) -> None:
        expect(self.page.locator("#status")).to_contain_text(words)

    def wait_until_finished(self) -> None:
        self.wait_for_status(wording.FINISHED)

    def judge(self, row: int, choice: str) -> None:
        self.page.locator(f"#judge-{row}").get_by_text(choice, exact=True).click()

    def slide(self, dimension: str, weight: float) -> None:
        """Set a slider as a hand would: one input event."""
        slider = self.page.get_by_label(f"range slider for {wording.title_of(dimension)}")
        slider.evaluate(
            "(e, v) => { e.value = v; e.dispatchEvent(new Event('input', {bubbles: true})); "
            "e.dispatchEvent(new Event('pointerup', {bubbles: true})); }",
            weight,
        )

    def check_harmless(self) -> None:
        """Nothing of the hostile text ran, and the page has nothing to complain of."""
        assert self.page.evaluate("window.__pwned") is None
        assert self.dialogs == []
        assert self.complaints == []


Served = tuple[str, Repository]
Serve = Callable[..., Served]


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    expect.set_options(timeout=PATIENCE_MS)  # Playwright's own 5 s are too few beside other programs
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=QUIET)
        yield browser
        browser.close()


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Serve an engine over a fresh SQLite file (or the repository given); returns the address and the repository."""
    with ExitStack() as stack:

        def start(engine: SteerEngine, repository: Repository | None = None, **options: object) -> Served:
            settings = Settings(home=tmp_path, port=free_port(), **options)  # type: ignore[arg-type]
            if repository is None:
                repository = SqlRepository(stack.enter_context(open_database(settings.database_url)))
            blocks = in_a_loop(lambda: open_page(Backing(engine, repository, settings)))
            stack.callback(blocks.close, verbose=False)
            return f"http://127.0.0.1:{settings.port}/", repository

        yield start


@pytest.fixture(scope="session")
def demo_engine() -> Engine:
    from models.assembly import load_engine
    from models.presets import load_preset

    return load_engine(load_preset("demo", None))


@pytest.fixture
def visit(chromium: Browser) -> Iterator[Callable[..., Visit]]:
    """Open a page in a browser profile of its own."""
    with ExitStack() as stack:

        def go(url: str, query: str = "", **options: object) -> Visit:
            context = chromium.new_context(**({"viewport": LAPTOP} | options))  # type: ignore[arg-type]
            stack.callback(context.close)
            page = context.new_page()
            visit = Visit(page, url)

            def heard(message: ConsoleMessage) -> None:
                if message.type in ("error", "warning"):
                    visit.complaints.append(message.text)

            def asked(dialog: Dialog) -> None:
                visit.dialogs.append(dialog.message)
                dialog.dismiss()

            page.on("console", heard)
            page.on("pageerror", lambda error: visit.complaints.append(str(error)))
            page.on("dialog", asked)
            visit.open(query)
            return visit

        yield go


@pytest.fixture
def scripted() -> ScriptedEngine:
    return ScriptedEngine()


@dataclass
class Judge:
    """A browser profile of its own on the Judge page."""

    page: Page
    url: str
    complaints: list[str] = field(default_factory=list)

    def open(self) -> None:
        self.page.goto(self.url)
        expect(self.page.locator("#judge-start")).to_be_visible()
        expect(self.page.locator("#judge-study, #judge-message .tiller-status").first).to_be_visible()

    def sit_down(self, name: str = "Ada") -> None:
        self.open()
        self.page.locator("#judge-name").get_by_role("textbox").fill(name)
        self.page.locator("#judge-start").click()
        expect(self.page.locator(".judge-item, .judge-finished")).to_be_visible()

    @property
    def prompt(self) -> str:
        return self.page.locator(".judge-prompt p").inner_text()

    def press(self, key: str) -> None:
        """Press a key that ends the item, and wait for the next one."""
        before = self.page.locator(".judge-item").get_attribute("data-item")
        self.page.keyboard.press(key)
        self.wait_for_another(before)

    def wait_for_another(self, before: str | None) -> None:
        self.page.wait_for_function(
            "before => document.querySelector('.judge-finished') ||"
            " document.querySelector('.judge-item')?.dataset.item !== before",
            arg=before,
        )


@pytest.fixture
def judge(chromium: Browser) -> Iterator[Callable[..., Judge]]:
    with ExitStack() as stack:

        def go(url: str, **options: object) -> Judge:
            context = chromium.new_context(**({"viewport": LAPTOP} | options))  # type: ignore[arg-type]
            stack.callback(context.close)
            here = Judge(context.new_page(), url)
            here.page.set_default_timeout(PATIENCE_MS)
            here.page.on("pageerror", lambda error: here.complaints.append(str(error)))
            return here

        yield go


@pytest.fixture
def served(tmp_path: Path) -> Iterator[serving.Served]:
    """The pages with studies, over a file of their own."""
    with serving.judging(tmp_path) as served:
        yield served
