"""What the server remembers of an open page: its conversation, its newest run, and what has been judged."""

import hashlib
import hmac
import os
import re
import secrets
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeGuard
from urllib.parse import urlsplit

from models.answers import Answer, ComparisonRequest
from steering.errors import InputError, SettingsError
from steering.types import Choice, FinishReason, Message
from storage.records import Comparison
from ui import wording

MAX_SESSIONS = 1000  # each holds at most one comparison's numbers, about a megabyte
MAX_SESSION_ID_CHARS = 200
SECRET_FILE = "annotator.key"
SECRET_BYTES = 32
_BROWSER_TOKEN = re.compile(r"[A-Za-z0-9_-]{32,128}")


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
    """Both answers; ``comparison`` is None while they are being written, ``failure`` says why it was not stored."""

    left: Response
    right: Response
    comparison: Comparison | None = None
    failure: str = ""


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
    """An open page. Everything is read and changed under ``lock``.

    ``newest`` counts what was asked: a run whose number is not the newest is superseded. ``asked`` is the newest
    request, and ``waiting`` the same until a run takes it. ``running`` and ``stopping`` are the numbers of the run
    under way and of the one to stop. ``view`` is what was last switched; None before the first switch.
    """

    lock: threading.RLock = field(default_factory=threading.RLock)
    conversation: tuple[Message, ...] = ()
    newest: int = 0
    asked: ComparisonRequest | None = None
    waiting: ComparisonRequest | None = None
    running: int | None = None
    stopping: int | None = None
    result: Result | None = None
    chosen: dict[str, Chosen] = field(default_factory=dict)
    log: dict[tuple[str, str], Logged] = field(default_factory=dict)
    view: TokenView | None = None

    def ask(self, request: ComparisonRequest) -> None:
        """Make this the newest request; a run under way is superseded."""
        with self.lock:
            self.newest += 1
            self.asked = self.waiting = request

    def take(self) -> tuple[int, ComparisonRequest] | None:
        """The newest request with its number, once; None where another run has taken it already."""
        with self.lock:
            request, self.waiting = self.waiting, None
            if request is None:
                return None
            self.running = self.newest
            return self.newest, request

    def supersede(self) -> None:
        """Let nothing that was asked before show or store anything."""
        with self.lock:
            self.newest += 1
            self.asked = self.waiting = None

    def forget_answers(self) -> None:
        """Clear the answers and the choices made of them."""
        with self.lock:
            self.supersede()
            self.result = None
            self.chosen = {}

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

    def close(self, session_id: str) -> None:
        """Forget a session and stop what it runs."""
        with self._lock:
            session = self._sessions.pop(session_id, None)
        if session is not None:
            session.supersede()

    def __len__(self) -> int:
        return len(self._sessions)


def check_session_id(session_id: str | None) -> str:
    """Return the id a page gave.

    Raises:
        InputError: it is missing or absurdly long.
    """
    if not session_id or len(session_id) > MAX_SESSION_ID_CHARS:
        raise InputError("The request does not belong to an open page.", hint="Reload the page.")
    return session_id


def check_origin(headers: Mapping[str, str]) -> None:
    """Refuse a request another site's page made through the visitor's browser.

    Browsers name the asking page in ``Origin`` and Gradio answers any of them, so whoever changes something asks here
    first. A request without ``Origin`` does not come from a page at all and rides on nobody's login.

    Raises:
        InputError: the origin is not the host that was asked.
    """
    given = {name.lower(): value for name, value in headers.items()}
    origin = given.get("origin")
    if origin is None and given.get("sec-fetch-site") != "cross-site":
        return
    hosts = {given.get("host", "").lower()}
    hosts.update(host.strip().lower() for host in given.get("x-forwarded-host", "").split(","))
    if origin is None or urlsplit(origin).netloc.lower() not in hosts - {""}:
        raise InputError(
            f"The request comes from the page {origin or 'of another site'}, not from this one.",
            hint="Open Tiller at its own address; behind a proxy, pass Host or X-Forwarded-Host on.",
        )


def new_browser_token() -> str:
    """A random token by which a browser is known again; it stays in the browser."""
    return secrets.token_urlsafe(SECRET_BYTES)


def is_browser_token(value: object) -> TypeGuard[str]:
    """Whether a browser's stored value is a token of ours and not something else."""
    return isinstance(value, str) and _BROWSER_TOKEN.fullmatch(value) is not None


def key_hash(secret: bytes, token: str) -> str:
    """What the database knows an annotator by: HMAC-SHA-256 of the browser's token, in hexadecimal."""
    return hmac.new(secret, token.encode(), hashlib.sha256).hexdigest()


def server_secret(home: Path) -> bytes:
    """The server's secret, made on first use in a file only its owner can read.

    Raises:
        SettingsError: the file cannot be made or read, or is too short to be a secret.
    """
    path = home / SECRET_FILE
    try:
        home.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            with suppress(FileExistsError):
                _write_once(path, secrets.token_bytes(SECRET_BYTES))
        secret = path.read_bytes()
    except OSError as error:
        raise SettingsError(
            f"The server's secret {path} cannot be read or made: {error.strerror}.", hint="Choose another --home."
        ) from error
    if len(secret) < SECRET_BYTES:
        raise SettingsError(
            f"The server's secret {path} has {len(secret)} bytes; it must have {SECRET_BYTES}.",
            hint="Delete it; annotators will then count as new ones.",
        )
    return secret


def _write_once(path: Path, content: bytes) -> None:
    """Write a whole private file or nothing, also when two servers start at once."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        os.link(draft, path)
    finally:
        draft.unlink()
