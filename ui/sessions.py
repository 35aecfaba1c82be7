"""What the server remembers of an open page: its conversation, its newest run, and what has been judged."""

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from models.answers import Answer, ComparisonRequest
from steering.errors import InputError
from steering.types import Choice, FinishReason, Message
from storage.records import Comparison
from ui import wording

OLDER_RUN_SECONDS = 2.0
COMING_SECONDS = 2.0
MAX_SESSIONS = 1000  # each holds at most one comparison's numbers, about a megabyte


@dataclass(frozen=True)
class Response:
    """One answer as a pane shows it, fresh from the engine or restored; only a fresh one has its ``answer``."""

    text: str
    token_ids: tuple[int, ...]
    finish_reason: FinishReason | None
    seconds: float
    kl_per_token: float | None
    guide_rewards: Mapping[str, float]
    answer: Answer | None = None

    @property
    def tokens_per_second(self) -> float:
        """Tokens per second of wall time; 0 before the first."""
        return len(self.token_ids) / self.seconds if self.seconds > 0 else 0.0


@dataclass(frozen=True)
class Result:
    """Both answers; ``comparison`` is None while they are being written, ``failure`` says why it was not stored.

    ``timed_out``: the engine's time limit ended what was still being written.
    """

    left: Response
    right: Response
    comparison: Comparison | None = None
    failure: str = ""
    timed_out: bool = False


@dataclass(frozen=True)
class Chosen:
    """What a person said of one dimension. ``revision`` is None until it is stored; the key stays for a retry."""

    choice: Choice
    client_key: str
    revision: int | None = None
    failure: str = ""


@dataclass(frozen=True)
class Logged:
    """One line of the session's list of judgements; a change replaces the line."""

    prompt: str
    dimension: str
    choice: Choice
    revision: int


@dataclass(frozen=True)
class TokenView:
    """How the tokens are shown: coloured by a guide (empty: not at all), and whether the tables are open."""

    colour: str
    show_table: bool


@dataclass
class Session:
    """An open page. Everything is read and changed under ``lock``; ``engine_turn`` is held by the run in the engine.

    ``newest`` counts what was asked: a run whose number is not the newest is superseded. ``asked`` is the newest
    request, ``asked_at`` when it was made on the monotonic clock, and ``waiting`` the same request until a run takes
    it. ``running`` and ``stopping`` are the numbers of the run under way and of the one to stop; ``is_writing``: the
    one under way has begun to write. ``has_turned``: the conversation was changed here, so a page that shows another
    one is only behind. ``view`` is what was last switched; None before the first switch.
    """

    lock: threading.RLock = field(default_factory=threading.RLock)
    engine_turn: threading.Lock = field(default_factory=threading.Lock)
    conversation: tuple[Message, ...] = ()
    newest: int = 0
    asked: ComparisonRequest | None = None
    asked_at: float = -math.inf
    waiting: ComparisonRequest | None = None
    running: int | None = None
    stopping: int | None = None
    is_writing: bool = False
    has_turned: bool = False
    result: Result | None = None
    chosen: dict[str, Chosen] = field(default_factory=dict)
    log: dict[tuple[str, str], Logged] = field(default_factory=dict)
    view: TokenView | None = None

    def ask(self, request: ComparisonRequest) -> None:
        """Make this the newest request; a run under way is superseded."""
        with self.lock:
            self.newest += 1
            self.asked = self.waiting = request
            self.asked_at = time.monotonic()

    def take(self) -> tuple[int, ComparisonRequest] | None:
        """The newest request with its number, once; None where another run has taken it already."""
        with self.lock:
            request, self.waiting = self.waiting, None
            if request is None:
                return None
            self.running = self.newest
            self.is_writing = False
            return self.newest, request

    def supersede(self) -> None:
        """Let nothing that was asked before show or store anything."""
        with self.lock:
            self.newest += 1
            self.asked = self.waiting = None

    def turn_to(self, conversation: tuple[Message, ...]) -> None:
        """Go on from another conversation; the answers and the choices made of them are cleared."""
        with self.lock:
            self.supersede()
            self.conversation = conversation
            self.has_turned = True
            self.result = None
            self.chosen = {}

    def check_shown(self, n_before: object) -> None:
        """Refuse what is asked from a page that shows another conversation: answering would drop or add turns.

        Raises:
            InputError: the page shows ``n_before`` messages, the session has another number of them.
        """
        if n_before == len(self.conversation):
            return
        if self.has_turned:  # "Continue" or "New conversation" is done here and still on its way to the page
            raise InputError(wording.PAGE_BEHIND, hint=wording.PAGE_BEHIND_HINT)
        raise InputError(wording.PAGE_LOST, hint=wording.PAGE_LOST_HINT)

    def shown(self, comparison_id: str) -> Comparison:
        """The comparison the page shows; only that one is judged or carried on.

        Raises:
            InputError: the session shows another one, or none, or a run is under way.
        """
        comparison = self.result.comparison if self.result is not None else None
        if comparison is None:
            raise InputError(wording.PAGE_LOST, hint=wording.PAGE_LOST_HINT)
        if self.running is not None or comparison.id != comparison_id:
            raise InputError("The answers have changed since.", hint="Look at the new ones and choose again.")
        return comparison

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Let an older run leave the engine first, or a newer request would find it taken, or full, by this page's own.

        An older run leaves within half a second; one that hangs is not waited for.
        """
        is_alone = self.engine_turn.acquire(timeout=OLDER_RUN_SECONDS)
        try:
            yield
        finally:
            if is_alone:
                self.engine_turn.release()

    @contextmanager
    def run_ends(self, number: int) -> Iterator[None]:
        """Mark the run as over, however it ends; what did not end well may be asked again."""
        try:
            yield
        except BaseException:
            with self.lock:
                if self.newest == number:
                    self.asked = None
            raise
        finally:
            with self.lock:
                if self.running == number:
                    self.running = None


class Sessions:
    """The open pages by Gradio's session id; the longest unused is forgotten when there are too many."""

    def __init__(self, limit: int = MAX_SESSIONS) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._sessions: OrderedDict[str, Session] = OrderedDict()

    def get(self, session_id: str) -> Session:
        """The session with that id, made if there is none."""
        with self._lock:
            session = self._sessions.setdefault(session_id, Session())
            self._sessions.move_to_end(session_id)
            while len(self._sessions) > self._limit:
                self._sessions.popitem(last=False)[1].supersede()
            return session

    def n_coming(self) -> int:
        """How many have just asked and are on their way to the engine; who has not come for long will not."""
        since = time.monotonic() - COMING_SECONDS
        with self._lock:
            return sum(session.waiting is not None and session.asked_at > since for session in self._sessions.values())

    def close(self, session_id: str) -> None:
        """Forget a session and stop what it runs."""
        with self._lock:
            session = self._sessions.pop(session_id, None)
        if session is not None:
            session.supersede()

    def __len__(self) -> int:
        return len(self._sessions)
