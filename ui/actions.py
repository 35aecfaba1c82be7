"""What the Steer page does, without Gradio: runs, judgements and links of its open pages."""

import logging
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Protocol

from models.answers import BaseInfo, ComparisonRequest, GuideInfo, Progress
from steering.errors import InputError, NotFoundError, StorageError
from steering.types import Choice, Message, Role, SamplingSettings, Side
from storage.records import OVERALL, JudgementInput, is_id, new_id
from storage.repository import Repository
from ui.comparisons import Models, fresh, stored
from ui.forms import SteerForm, to_request
from ui.sessions import (
    Chosen,
    Logged,
    Result,
    Session,
    Sessions,
    is_browser_token,
    key_hash,
    new_browser_token,
    server_secret,
)
from ui.settings import Settings

UPDATE_SECONDS = 1 / 15  # the page cannot draw more often without falling behind
OFFERED_CHOICES = (Choice.LEFT, Choice.TIE, Choice.RIGHT, Choice.BOTH_BAD)
MAX_LOGGED = 50
EXCERPT_CHARS = 80

logger = logging.getLogger(__name__)


class SteerEngine(Protocol):
    """What the page asks of `models.engine.Engine`."""

    base: BaseInfo
    guides: tuple[GuideInfo, ...]
    examples: tuple[str, ...]

    def compare(self, request: ComparisonRequest, stop: Callable[[], bool]) -> Iterator[Progress]:
        """Answer every blend together, one report per step, the last with ``finished`` set, early where ``stop``."""

    def spell(self, token_ids: Sequence[int]) -> tuple[str, ...]:
        """One visible piece of text per token."""


@dataclass(frozen=True)
class Restored:
    """A comparison brought back by its link. ``other_models`` names its models where those are not loaded now."""

    result: Result
    conversation: tuple[Message, ...]
    prompt: str
    weights: dict[str, float]
    sampling: SamplingSettings
    other_models: str


class SteerActions:
    """The actions of the Steer page for every open page; methods may be called from any thread.

    Raises:
        SettingsError: the server's secret under ``settings.home`` cannot be read or made.
    """

    def __init__(self, engine: SteerEngine, repository: Repository, settings: Settings) -> None:
        self.engine = engine
        self.settings = settings
        self.models = Models(engine.base, engine.guides)
        self.sessions = Sessions()
        self._repository = repository
        self._secret = server_secret(settings.home)

    @property
    def dimensions(self) -> tuple[str, ...]:
        """What can be judged: overall first, then every guide's dimension."""
        return (OVERALL, *(guide.dimension for guide in self.engine.guides if guide.dimension != OVERALL))

    def ask(self, session_id: str, form: SteerForm) -> None:
        """Check a form and make it the session's newest request; an older run stops within a step.

        Raises:
            InputError: the form cannot be used; an older run goes on.
        """
        session = self.sessions.get(session_id)
        session.ask(to_request(form, session.conversation, self.settings))

    def follow(self, session_id: str, form: SteerForm) -> bool:
        """Ask like `ask`, unless the very same was asked last; whether it was asked.

        Raises:
            InputError: the form cannot be used; an older run goes on.
        """
        session = self.sessions.get(session_id)
        request = to_request(form, session.conversation, self.settings)
        if request == session.asked:
            return False
        session.ask(request)
        return True

    def run(self, session_id: str) -> Generator[Result | None, None, None]:
        """Answer the newest request, at most 15 reports a second; the last one has a comparison and is stored.

        Ends early where a newer request has taken over. Where the request was withdrawn instead, the last report is
        what the session shows now (None: nothing). Closing it frees the engine and stores nothing.

        Raises:
            TillerError: the engine refuses the request or cannot answer it.
        """
        session = self.sessions.get(session_id)
        taken = session.take()
        if taken is None:
            return
        number, request = taken
        with session.run_ends(number):
            yield from self._reports(session, number, request)
        if session.newest != number and session.waiting is None and session.running is None:
            yield session.result

    def _reports(self, session: Session, number: int, request: ComparisonRequest) -> Iterator[Result]:
        drawn_at = 0.0
        with closing(self._compare(session, number, request)) as reports:
            for progress in reports:
                if session.newest != number:
                    return
                if progress.finished:
                    break
                if time.monotonic() - drawn_at >= UPDATE_SECONDS:
                    drawn_at = time.monotonic()
                    left, right = map(fresh, progress.answers())
                    yield Result(left, right)
        result = self._keep(session, number, request, progress)
        if result is not None:
            yield result

    def _compare(self, session: Session, number: int, request: ComparisonRequest) -> Generator[Progress, None, None]:
        """The engine's reports; closing this closes the engine's own generator."""
        yield from self.engine.compare(request, lambda: session.stopping == number)

    def _keep(self, session: Session, number: int, request: ComparisonRequest, last: Progress) -> Result | None:
        """Store a finished comparison and make it what the session shows, unless a newer request has come."""
        left, right = map(fresh, last.answers())
        comparison = self.models.comparison(request, last)
        with session.lock:
            if session.newest != number:
                return None
            session.running = None
            session.chosen = {}
            session.result = self._save(Result(left, right, comparison))
            return session.result

    def _save(self, result: Result) -> Result:
        assert result.comparison is not None
        try:
            self._repository.save_comparison(result.comparison)
        except StorageError as error:
            logger.warning("comparison %s was not saved: %s", result.comparison.id, error)
            return replace(result, failure=str(error))
        return replace(result, failure="")

    def stop(self, session_id: str) -> bool:
        """Stop what the session runs or waits for, keeping what is written; whether there was anything to stop."""
        session = self.sessions.get(session_id)
        with session.lock:
            if was_waiting := session.waiting is not None:
                session.asked = session.waiting = None
            session.stopping = session.running
            return was_waiting or session.running is not None

    def carry_on(self, session_id: str, comparison_id: str, side: Side) -> tuple[Message, ...]:
        """Take the prompt and the answer on that side into the conversation, and clear the answers.

        Raises:
            InputError: the page shows another comparison than the session has.
        """
        session = self.sessions.get(session_id)
        with session.lock:
            comparison = session.shown(comparison_id)
            picked = comparison.left if side is Side.LEFT else comparison.right
            session.conversation = (*picked.messages, Message(Role.ASSISTANT, picked.text))
            session.forget_answers()
            return session.conversation

    def reset(self, session_id: str) -> None:
        """Begin a new conversation."""
        session = self.sessions.get(session_id)
        with session.lock:
            session.conversation = ()
            session.forget_answers()

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
        if dimension not in self.dimensions or choice not in OFFERED_CHOICES:
            raise InputError("That choice is not on the page.", hint="Choose one of those shown.")
        known_by = self._key_hash(token)
        with session.lock:
            session.shown(comparison_id)
            held = session.chosen.get(dimension)
            if held is None or held.choice != choice:
                session.chosen[dimension] = Chosen(Choice(str(choice)), client_key=new_id())
            self._save_chosen(session, known_by)

    def retry(self, session_id: str, token: object) -> None:
        """Try again to store what could not be stored.

        Raises:
            InputError: the browser has no token of ours.
        """
        session = self.sessions.get(session_id)
        known_by = self._key_hash(token)
        with session.lock:
            self._save_chosen(session, known_by)

    def _key_hash(self, token: object) -> str:
        if not is_browser_token(token):
            raise InputError("Your browser has no key to know you by.", hint="Allow local storage and reload.")
        return key_hash(self._secret, token)

    def _save_chosen(self, session: Session, known_by: str) -> None:
        """Store the comparison if it is not there yet, then every choice that is not; failures are noted."""
        if session.result is None or session.result.comparison is None:
            return
        if session.result.failure:
            session.result = self._save(session.result)
        for dimension, chosen in session.chosen.items():
            if chosen.revision is None:
                try:
                    session.chosen[dimension] = self._record(session, known_by, dimension, chosen)
                except StorageError as error:
                    logger.warning("judgement %s was not saved: %s", chosen.client_key, error)
                    session.chosen[dimension] = replace(chosen, failure=str(error))

    def _record(self, session: Session, known_by: str, dimension: str, chosen: Chosen) -> Chosen:
        assert session.result is not None
        comparison = session.result.comparison
        assert comparison is not None
        if session.result.failure:
            raise StorageError(session.result.failure)
        annotator = self._repository.annotator(known_by)
        judgement = self._repository.record_judgement(
            JudgementInput(comparison.id, annotator.id, dimension, chosen.choice, chosen.client_key)
        )
        session.log.pop((comparison.id, dimension), None)
        excerpt = comparison.left.messages[-1].content[:EXCERPT_CHARS]
        session.log[comparison.id, dimension] = Logged(excerpt, dimension, judgement.choice, judgement.revision)
        while len(session.log) > MAX_LOGGED:
            del session.log[next(iter(session.log))]
        return replace(chosen, revision=judgement.revision, failure="")

    def restore(self, session_id: str, token: object, comparison_id: str) -> Restored:
        """Bring a stored comparison back into the session, with the choices this browser's annotator made of it.

        Raises:
            NotFoundError: there is no such comparison.
            StorageError: the database cannot be read.
        """
        if not is_id(comparison_id):
            raise NotFoundError("It has no valid id.", hint="Check that the whole link was copied.")
        comparison = self._repository.get_comparison(comparison_id)
        try:  # making an annotator writes, and a database that can only be read still shows what it has
            annotator = self._repository.annotator(self._key_hash(token))
            judged = self._repository.judgements_of(comparison.id, annotator.id)
        except StorageError as error:
            logger.warning("comparison %s is shown without its choices: %s", comparison.id, error)
            judged = ()
        session = self.sessions.get(session_id)
        left, right = comparison.left, comparison.right
        with session.lock:
            session.forget_answers()
            session.conversation = left.messages[:-1]
            session.result = Result(stored(left), stored(right), comparison)
            session.chosen = {j.dimension: Chosen(j.choice, j.client_key, j.revision) for j in judged}
            return Restored(
                session.result,
                session.conversation,
                left.messages[-1].content,
                dict(right.blend.weights),
                right.sampling,
                self.models.made_by_others(right),
            )
