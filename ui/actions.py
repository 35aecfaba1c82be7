"""What the Steer page does, without Gradio: runs, judgements and links of its open pages."""

import logging
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from enum import Enum, auto
from functools import partial

from models.answers import ComparisonRequest, GuideInfo
from steering.errors import InputError, NotFoundError, StorageError
from steering.types import Choice, Message, Role, SamplingSettings, Side
from storage.records import OVERALL, ComparisonKind, is_id
from storage.repository import Repository
from ui import judging
from ui.comparisons import Models, response
from ui.forms import SteerForm, to_request
from ui.runs import Report, Run, SteerEngine
from ui.sessions import Chosen, Result, Session, Sessions
from ui.settings import Settings
from ui.visitors import is_browser_token, new_browser_token, server_secret

OFFERED_CHOICES = (Choice.LEFT, Choice.TIE, Choice.RIGHT, Choice.BOTH_BAD)

logger = logging.getLogger(__name__)


class Stopped(Enum):
    """What there was to stop: nothing, a request of which nothing is written, or answers being written."""

    NOTHING = auto()
    WAITING = auto()
    WRITING = auto()


@dataclass(frozen=True)
class Restored:
    """A comparison brought back by its link. ``other_models`` names its models where those are not loaded now."""

    result: Result
    conversation: tuple[Message, ...]
    prompt: str
    weights: dict[str, float]
    base_exponent: float
    sampling: SamplingSettings
    other_models: str


def judged(guides: Iterable[GuideInfo]) -> tuple[str, ...]:
    """What can be judged: overall first, then every guide's dimension."""
    return (OVERALL, *(guide.dimension for guide in guides if guide.dimension != OVERALL))


class SteerActions:
    """The actions of the Steer page for every open page; methods may be called from any thread.

    Raises:
        SettingsError: the server's secret under ``settings.home`` cannot be read or made.
    """

    def __init__(self, engine: SteerEngine, repository: Repository, settings: Settings) -> None:
        self.engine = engine
        self.settings = settings
        self.sessions = Sessions()
        self._repository = repository
        self._secret = server_secret(settings.home)

    @property
    def models(self) -> Models:
        """The models that answer what is asked now."""
        return Models(self.engine.base, self.engine.guides)

    def ask(self, session_id: str, form: SteerForm) -> None:
        """Check a form and make it the session's newest request; an older run stops within a step.

        Raises:
            InputError: the form cannot be used; an older run goes on.
            BusyError: too many others are waiting.
        """
        session = self.sessions.get(session_id)
        request = self._request(session, form)
        self._check_room(session)
        session.ask(request)

    def follow(self, session_id: str, form: SteerForm) -> bool:
        """Ask like `ask`, unless the very same was asked last; whether it was asked.

        Raises:
            InputError: the form cannot be used; an older run goes on.
            BusyError: too many others are waiting.
        """
        session = self.sessions.get(session_id)
        request = self._request(session, form)
        if request == session.asked:
            return False
        self._check_room(session)
        session.ask(request)
        return True

    def _request(self, session: Session, form: SteerForm) -> ComparisonRequest:
        with session.lock:
            session.check_shown(form.n_before)
            return to_request(form, session.conversation, self.settings)

    def _check_room(self, session: Session) -> None:
        """Refuse what has no place in the engine yet: told here a refusal is one event, later it would be three."""
        with session.lock:
            has_place = session.waiting is not None or session.running is not None
        if not has_place:
            self.engine.check_room(self.sessions.n_coming())

    def run(self, session_id: str) -> Generator[Report | None, None, None]:
        """Answer the newest request, at most 15 reports a second; the last has a comparison and is stored.

        Where the request was stopped before anything was written, the last report says so. Ends early where a newer
        request has taken over; where this one was dropped instead, the last report is what the session shows now (None:
        nothing). Closing it frees the engine and stores nothing.

        Raises:
            TillerError: the engine refuses the request or cannot answer it.
        """
        session = self.sessions.get(session_id)
        taken = session.take()
        if taken is None:
            return
        number, _ = taken
        run = Run(self.engine, self.models, partial(judging.save, self._repository), session, taken)
        with session.run_ends(number):
            yield from run.reports(owner=session_id)
        if session.newest != number and session.waiting is None and session.running is None:
            yield session.result

    def stop(self, session_id: str) -> Stopped:
        """Stop what the session runs or waits for, keeping what is written; what there was to stop."""
        session = self.sessions.get(session_id)
        with session.lock:
            was_waiting = session.waiting is not None
            if was_waiting:
                session.asked = session.waiting = None
            session.stopping = session.running
            if session.running is not None and session.is_writing:
                return Stopped.WRITING
            return Stopped.WAITING if was_waiting or session.running is not None else Stopped.NOTHING

    def carry_on(self, session_id: str, comparison_id: str, side: Side) -> tuple[Message, ...]:
        """Take the prompt and the answer on that side into the conversation, and clear the answers.

        Raises:
            InputError: the page shows another comparison than the session has.
        """
        session = self.sessions.get(session_id)
        with session.lock:
            comparison = session.shown(comparison_id)
            picked = comparison.left if side is Side.LEFT else comparison.right
            session.turn_to((*picked.messages, Message(Role.ASSISTANT, picked.text)))
            return session.conversation

    def reset(self, session_id: str) -> None:
        """Begin a new conversation."""
        self.sessions.get(session_id).turn_to(())

    def browser_token(self, stored_token: object) -> str:
        """The browser's own token, or a new one where it has none of ours."""
        return stored_token if is_browser_token(stored_token) else new_browser_token()

    def judge(self, session_id: str, token: object, comparison_id: str, dimension: str, choice: object) -> None:
        """Store a choice; where that fails it stays in the session, with the reason, for a retry.

        Choosing the same again is the same click, so a doubled click is one row.

        Raises:
            InputError: the page shows another comparison, a run is under way, or there is no such choice.
        """
        session = self.sessions.get(session_id)
        annotator_key = judging.known_by(self._secret, token)
        with session.lock:
            wrote = {guide.dimension for guide in session.shown(comparison_id).right.guides}  # some may be gone since
            if dimension not in {*judged(self.engine.guides), *wrote} or choice not in OFFERED_CHOICES:
                raise InputError("That choice is not on the page.", hint="Choose one of those shown.")
            judging.choose(session, dimension, Choice(str(choice)))
            judging.save_chosen(self._repository, session, annotator_key)

    def retry(self, session_id: str, token: object) -> None:
        """Try again to store what could not be stored.

        Raises:
            InputError: the browser has no token of ours.
        """
        session = self.sessions.get(session_id)
        annotator_key = judging.known_by(self._secret, token)
        with session.lock:
            judging.save_chosen(self._repository, session, annotator_key)

    def restore(self, session_id: str, token: object, comparison_id: str) -> Restored:
        """Bring a stored comparison back into the session, with the choices this browser's annotator made of it.

        Raises:
            NotFoundError: there is no such comparison, its text was removed, or it belongs to a study.
            StorageError: the database cannot be read.
        """
        if not is_id(comparison_id):
            raise NotFoundError("It has no valid id.", hint="Check that the whole link was copied.")
        comparison = self._repository.get_comparison(comparison_id)
        if comparison.kind is ComparisonKind.STUDY:
            raise NotFoundError("It belongs to a study, which is judged blind.", hint="Open the Judge page.")
        left, right = comparison.left, comparison.right
        if left.text_removed_at is not None or right.text_removed_at is not None:
            raise NotFoundError("Its prompt and its answers were removed.", hint="Write the prompt anew.")
        try:  # making an annotator writes, and a database that can only be read still shows what it has
            annotator = self._repository.annotator(judging.known_by(self._secret, token))
            judged = self._repository.judgements_of(comparison.id, annotator.id)
        except StorageError as error:
            logger.warning("comparison %s is shown without its choices: %s", comparison.id, error)
            judged = ()
        session = self.sessions.get(session_id)
        with session.lock:
            session.turn_to(left.messages[:-1])
            session.result = Result(response(left), response(right), comparison)
            session.chosen = {j.dimension: Chosen(j.choice, j.client_key, j.revision) for j in judged}
            return Restored(
                session.result,
                session.conversation,
                left.messages[-1].content,
                dict(right.blend.weights),
                right.blend.base_exponent,
                right.sampling,
                self.models.made_by_others(right),
            )
