"""The page as a whole: built from engine, repository and settings, and served until it is interrupted."""

import hmac
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import gradio as gr
from gradio.components import Navbar
from starlette.middleware import Middleware
from starlette.routing import BaseRoute

from models.answers import GuideInfo
from models.versions.publishing import GuideVersions
from steering.errors import SettingsError
from storage.doubtful_items import DoubtfulItems
from storage.repository import Repository
from storage.study_repository import ResultsRepository, StudyRepository
from ui import wording, wording_judge
from ui.actions import SteerActions
from ui.components.steer import build_steer
from ui.components.view import SteerView
from ui.events import connect, most_runs
from ui.forgetting import forgetting_prompts
from ui.forms import starting_weights
from ui.guides.actions import GuidesActions
from ui.guides.events import add_guides_page
from ui.handlers import SteerHandlers
from ui.judge.actions import JudgeActions
from ui.judge.events import add_judge_page
from ui.layouts import Build, FollowingGuides, Layouts
from ui.privacy import is_private
from ui.results.actions import ResultsActions
from ui.results.events import add_results_page, connect_blend_link
from ui.runs import SteerEngine
from ui.sessions import Sessions
from ui.settings import Settings
from ui.studying.actions import StudyingActions
from ui.studying.events import add_studies_page
from ui.theme import build_theme, head, style_sheet

POLL_SECONDS = 0.2
MAX_UPLOAD = "1kb"  # the page uploads nothing, but Gradio would take files of any size from anybody
MAX_PAGES = 1000  # open at once, each with about a megabyte in Gradio, and 0.02 more for every layout that was made
HANDLER_THREADS = 40  # for everything but runs; as many as Gradio has of itself
KEEP_EXPORTS = (600, 3600)  # seconds: how often to look for old ones, and how old they get
LIVE_PRESET = "demo"  # fast enough everywhere to answer while a slider moves

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Backing:
    """What the pages stand on.

    Without ``studies`` there is no Judge page, and without ``results`` and those neither a Results nor a Studies page.
    Without ``versions``, the versions of the engine's guides, besides, there is no Guides page.
    """

    engine: SteerEngine
    repository: Repository
    settings: Settings
    studies: StudyRepository | None = None
    results: ResultsRepository | None = None
    versions: GuideVersions | None = None


@dataclass(frozen=True)
class Site:
    """The pages, and what is served beside them."""

    blocks: gr.Blocks
    layouts: Layouts
    routes: list[BaseRoute]


def build_page(backing: Backing) -> gr.Blocks:
    """Lay the pages out and bind their events; see ``build_site``."""
    return build_site(backing).blocks


def build_site(backing: Backing) -> Site:
    """Lay the pages out and bind their events.

    Raises:
        SettingsError: the server's secret under the settings' home cannot be read or made.
    """
    engine, settings = backing.engine, backing.settings
    studies, results, versions = backing.studies, backing.results, backing.versions
    actions = SteerActions(engine, backing.repository, settings)
    with gr.Blocks(title=wording.TITLE, analytics_enabled=False, fill_width=True, delete_cache=KEEP_EXPORTS) as blocks:
        layouts = Layouts(blocks, engine)
        if studies is not None:
            Navbar(main_page_name=wording_judge.STEER_PAGE)
        layouts.add(steer_page(blocks, actions))
        blocks.unload(forget_page(blocks, actions.sessions))
    routes: list[BaseRoute] = []
    if studies is not None:
        doubtful = DoubtfulItems(results) if results is not None else None
        routes += add_judge_page(blocks, JudgeActions(backing.repository, studies, settings.home, doubtful))
        if results is not None:
            may, has_code = is_private(settings), bool(settings.access_code)
            add_results_page(blocks, ResultsActions(results, studies, is_private=may, has_code=has_code))
            studying = StudyingActions(engine, studies, results, settings, is_private=may)
            add_studies_page(blocks, layouts, studying)
            if versions is not None:
                guides = GuidesActions(versions, studies, results, settings, is_private=may)
                add_guides_page(blocks, guides)
    return Site(blocks, layouts, routes)


def steer_page(blocks: gr.Blocks, actions: SteerActions) -> Build:
    """Lays the Steer page out for the guides there are; a guide that was not there at the start begins at 0."""
    opens_with, live = starting_weights(actions.engine.guides), actions.settings.preset == LIVE_PRESET

    def build(guides: Sequence[GuideInfo]) -> None:
        weights = {guide.dimension: opens_with.get(guide.dimension, 0.0) for guide in guides}
        page = build_steer(actions, guides, weights, live)
        connect(page, SteerHandlers(page, actions), blocks)
        connect_blend_link(blocks, page, SteerView(page, actions))

    return build


def forget_page(blocks: gr.Blocks, sessions: Sessions) -> Callable[[gr.Request], None]:
    """The handler of a page that was closed: Gradio would keep what it knows of it, most of a megabyte, for good."""

    def closed(request: gr.Request) -> None:
        sessions.close(request.session_hash or "")
        holder = blocks.state_holder
        holder.session_data.pop(request.session_hash or "", None)
        holder.time_last_used.pop(request.session_hash or "", None)

    return closed


def open_page(backing: Backing) -> gr.Blocks:
    """Serve the page and return at once; ``close()`` of what is returned ends it.

    Raises:
        SettingsError: the address cannot be listened on, or the server's secret cannot be read or made.
    """
    site, settings = build_site(backing), backing.settings
    blocks = site.blocks
    n_runs = most_runs(settings)
    blocks.queue(max_size=n_runs)
    try:
        blocks.launch(
            server_name=settings.host,
            server_port=settings.port,
            root_path=settings.root_path or None,
            auth=_only_with(settings.access_code) if settings.access_code else None,
            auth_message=wording.AUTH_MESSAGE if settings.access_code else None,
            inbrowser=settings.open_browser,
            share=False,
            quiet=True,
            prevent_thread_lock=True,
            ssr_mode=False,
            run_history=False,
            enable_monitoring=False,
            max_file_size=MAX_UPLOAD,
            state_session_capacity=MAX_PAGES,
            max_threads=n_runs + HANDLER_THREADS,  # a run holds a thread while it waits, too
            footer_links=["settings"],
            theme=build_theme(),
            css=style_sheet(),
            head=head(),
            app_kwargs={
                "routes": site.routes,
                "middleware": [Middleware(FollowingGuides, layouts=site.layouts)],
            },
        )
    except OSError as error:
        raise SettingsError(
            f"The page cannot be served at {settings.host}, port {settings.port}.",
            hint="The port may be taken, or the address not this machine's; choose another --port or --host.",
        ) from error
    return blocks


def launch_page(backing: Backing) -> None:
    """Serve the page until interrupted, and remove what was typed on Steer once it is as old as the settings say.

    Raises:
        SettingsError: the address cannot be listened on, or the server's secret cannot be read or made.
    """
    blocks = open_page(backing)
    logger.info(wording.SERVING.format(url=blocks.local_url))
    try:
        with forgetting_prompts(backing.repository, backing.settings.keep_prompts_days):
            while blocks.is_running:  # Gradio's own waiting prints on Ctrl-C
                time.sleep(POLL_SECONDS)
    finally:
        blocks.close(verbose=False)


def _only_with(access_code: str) -> Callable[[str, str], bool]:
    """Let any user name in with the access code as password, compared in constant time."""
    return lambda _name, password: hmac.compare_digest(password.encode(), access_code.encode())
