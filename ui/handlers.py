"""The Steer page's handlers: read components, call one action, return updates by component."""

import functools
import logging
from collections.abc import Callable, Iterator
from typing import Any

import gradio as gr
from gradio.utils import get_space
from starlette.requests import Request

from steering.errors import TillerError
from steering.types import Side
from ui import wording
from ui.actions import SteerActions, Stopped
from ui.components import markup
from ui.components.steer import SteerPage
from ui.components.view import SteerView, Updates
from ui.forms import SteerForm, blend_presets, draw_seed, preset_named
from ui.sessions import TokenView
from ui.visitors import check_origin, check_session_id

WORDS_FOR = {
    Stopped.NOTHING: wording.NOTHING_TO_STOP,
    Stopped.WAITING: wording.WITHDRAWN,
    Stopped.WRITING: wording.STOPPED,
}
logger = logging.getLogger(__name__)
Handler = Callable[..., Updates]


def told_by(tell: Callable[[Any, str], Updates]) -> Callable[[Handler], Handler]:
    """Show an error as a message on the page; what a person typed stays where it is.

    ``tell`` puts the message, as HTML, where the handlers it is given want it.
    """

    def told(handler: Handler) -> Handler:
        @functools.wraps(handler)
        def guarded(self: Any, *args: Any) -> Updates:
            try:
                return handler(self, *args)
            except Exception as error:  # noqa: BLE001 - the page's boundary: whatever happens is told, not lost
                return tell(self, markup.message(words_for(error)))

        return guarded

    return told


def _told_by_steer(handlers: "SteerHandlers", message: str) -> Updates:
    return {handlers.page.ask.message: message}


told_on_page = told_by(_told_by_steer)


def words_for(error: Exception) -> str:
    """What the page says of an error; one that is not ours is logged and not shown."""
    if isinstance(error, TillerError):
        return str(error)
    logger.error("a handler failed", exc_info=error)
    return f"{wording.UNEXPECTED} {wording.UNEXPECTED_HINT}"


def own_session(request: gr.Request) -> str:
    """The id of the page that asks, which must be one of ours.

    Raises:
        InputError: the request comes from another site or belongs to no page.
    """
    check_origin(dict(request.headers), is_proxied(request.request))
    return check_session_id(request.session_hash)


def is_proxied(request: Request | None) -> bool:
    """Whether a proxy known to the server passes requests on: a Space's, or that of ``--root-path``."""
    # The application puts its root path into every request's scope; None is a request that came through no server.
    return get_space() is not None or (request is not None and bool(request.scope.get("root_path")))


class SteerHandlers:
    """One method per event; bound to the components in `ui.events`."""

    def __init__(self, page: SteerPage, actions: SteerActions) -> None:
        self.page = page
        self.actions = actions
        self.view = SteerView(page, actions)

    @told_on_page
    def ask(self, request: gr.Request, *values: Any) -> Updates:
        """Run was pressed."""
        self.actions.ask(own_session(request), self._form(values))
        return self.view.asked()

    @told_on_page
    def follow(self, request: gr.Request, live: bool, *values: Any) -> Updates:
        """An input moved: run again where the page is live."""
        form = self._form(values)
        updates: Updates = {self.page.blend.preset: preset_named(self.page.guides, form.weights)}
        if not live:
            return updates
        if not (form.prompt or "").strip():
            return updates | {self.page.status: markup.status(wording.NEEDS_PROMPT)}
        is_new = self.actions.follow(own_session(request), form)
        return updates | (self.view.asked() if is_new else {})

    def run(self, request: gr.Request, colour: str, show_table: bool) -> Iterator[list[Any]]:
        """Stream the newest request's answers, as values of ``page.streamed``; :meth:`settle` draws the rest."""
        session = self.actions.sessions.get(session_id := own_session(request))
        at_start = TokenView(colour or "", show_table)
        yield self._streamed({})  # Gradio empties every output of a generator that ends without a word
        try:
            for report in self.actions.run(session_id):
                yield self._streamed(self.view.report(report, session, session.view or at_start))
        except Exception as error:  # noqa: BLE001 - the page's boundary: whatever happens is told, not lost
            told = {self.page.ask.message: markup.message(words_for(error))}
            yield self._streamed(self.view.settled(session, session.view or at_start) | told)

    def settle(self, request: gr.Request, colour: str, show_table: bool) -> Updates:
        """A run has ended: draw all that it did not stream, unless another one is on its way."""
        session = self.actions.sessions.get(own_session(request))
        with session.lock:
            if session.running is not None or session.waiting is not None:
                return self._nothing()
            updates = self.view.settled(session, session.view or TokenView(colour or "", show_table))
            return {part: update for part, update in updates.items() if part not in self.page.streamed}

    def _streamed(self, updates: Updates) -> list[Any]:
        return [updates.get(part, gr.skip()) for part in self.page.streamed]

    @told_on_page
    def stop(self, request: gr.Request) -> Updates:
        """Stop was pressed."""
        words = WORDS_FOR[self.actions.stop(own_session(request))]
        return {self.page.status: markup.status(words), self.page.ask.stop: gr.update(interactive=False)}

    @told_on_page
    def carry_on(self, side: Side, request: gr.Request, comparison_id: str, colour: str, show_table: bool) -> Updates:
        """The conversation goes on from the answer on one side."""
        session_id = own_session(request)
        messages = self.actions.carry_on(session_id, comparison_id, side)
        settled = self.view.settled(self.actions.sessions.get(session_id), TokenView(colour or "", show_table))
        words = {
            self.page.ask.prompt: "",
            self.page.status: markup.status(wording.CONTINUED),
            self.page.ask.message: "",
        }
        return settled | self.view.conversation(messages) | words

    @told_on_page
    def reset(self, request: gr.Request, colour: str, show_table: bool) -> Updates:
        """Begin a new conversation."""
        self.actions.reset(session_id := own_session(request))
        settled = self.view.settled(self.actions.sessions.get(session_id), TokenView(colour or "", show_table))
        words = {self.page.ask.prompt: "", self.page.status: markup.status(wording.RESET), self.page.ask.message: ""}
        return settled | self.view.conversation(()) | words

    @told_on_page
    def show_tokens(self, request: gr.Request, colour: str, show_table: bool) -> Updates:
        """Colours or tables were switched; answers still being written take the switch when they end."""
        session = self.actions.sessions.get(own_session(request))
        with session.lock:
            session.view = TokenView(colour or "", show_table)
            if session.running is not None:
                return self._nothing()
            return self.view.tokens(session.result, session.view)

    @told_on_page
    def judge(self, dimension: str, request: gr.Request, token: str, comparison_id: str, choice: str) -> Updates:
        """A choice was made in one row."""
        session = self.actions.sessions.get(session_id := own_session(request))
        try:
            self.actions.judge(session_id, token, comparison_id, dimension, choice)
        except TillerError as error:
            row = self.page.judgement.rows[dimension]
            return {row: self.view.choices(session)[row], self.page.ask.message: markup.message(words_for(error))}
        return self.view.judgement(session) | {self.page.ask.message: ""}

    @told_on_page
    def retry(self, request: gr.Request, token: str) -> Updates:
        """Try again to save."""
        self.actions.retry(session_id := own_session(request), token)
        return self.view.judgement(self.actions.sessions.get(session_id))

    @told_on_page
    def opened(self, request: gr.Request, token: str | None) -> Updates:
        """The page was opened, perhaps by a link to a comparison."""
        session_id, token = own_session(request), self.actions.browser_token(token)
        updates: Updates = {self.page.browser_token: token} | self.view.opening()
        try:
            if comparison_id := request.query_params.get("c"):
                restored = self.actions.restore(session_id, token, comparison_id)
                updates |= self.view.settled(self.actions.sessions.get(session_id), TokenView("", False))
                updates |= self.view.restored(restored)
        except TillerError as error:
            updates[self.page.ask.message] = markup.message(wording.LINK_LACKS.format(reason=words_for(error)))
        return updates

    def start_from(self, preset: str) -> Updates:
        """A blend to start from was chosen."""
        return self.view.blend(blend_presets(self.page.guides)[preset])

    def allow_negative(self, allowed: bool, *weights: float) -> Updates:
        """Widen the sliders below 0, or bring them back to 0 and above."""
        sliders = self.page.blend.sliders
        kept = [weight if allowed else max(weight, 0.0) for weight in weights]
        return {
            slider: gr.update(minimum=-slider.maximum if allowed else 0, value=value)
            for slider, value in zip(sliders.values(), kept, strict=True)
        }

    def new_seed(self) -> Updates:
        """Draw a seed."""
        return {self.page.sampling.seed: draw_seed()}

    def _nothing(self) -> Updates:
        return {self.page.status: gr.skip()}

    def _form(self, values: tuple[Any, ...]) -> SteerForm:
        dimensions = list(self.page.blend.sliders)
        prompt, *numbers = values
        weights = dict(zip(dimensions, numbers, strict=False))
        return SteerForm(prompt, weights, *numbers[len(dimensions) :])
