"""Who asks: pages of our own, browsers known by a token, and the server's secret that hides it."""

import hashlib
import hmac
import os
import re
import secrets
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeGuard
from urllib.parse import urlsplit

from steering.errors import InputError, SettingsError

MAX_SESSION_ID_CHARS = 200
SECRET_FILE = "annotator.key"
SECRET_BYTES = 32
_BROWSER_TOKEN = re.compile(r"[A-Za-z0-9_-]{32,128}")


def check_session_id(session_id: str | None) -> str:
    """Return the id a page gave.

    Raises:
        InputError: it is missing or absurdly long.
    """
    if not session_id or len(session_id) > MAX_SESSION_ID_CHARS:
        raise InputError("The request does not belong to an open page.", hint="Reload the page.")
    return session_id


def check_origin(headers: Mapping[str, str], is_proxied: bool = False) -> None:
    """Refuse a request another site's page made through the visitor's browser.

    Browsers name the asking page in ``Origin`` and Gradio answers any of them, so whoever changes something asks here
    first. A request without ``Origin`` does not come from a page at all and rides on nobody's login.
    ``X-Forwarded-Host``, which any page can send, counts only with ``is_proxied``: then a proxy has written it.

    Raises:
        InputError: the origin is not the host that was asked.
    """
    given = {name.lower(): value for name, value in headers.items()}
    origin = given.get("origin")
    is_foreign = given.get("sec-fetch-site") == "cross-site"  # no page can send this one itself
    if origin is None and not is_foreign:
        return
    hosts = {given.get("host", "").lower()}
    if is_proxied:
        hosts.update(host.strip().lower() for host in given.get("x-forwarded-host", "").split(","))
    if is_foreign or origin is None or urlsplit(origin).netloc.lower() not in hosts - {""}:
        raise InputError(
            f"The request comes from the page {origin or 'of another site'}, not from this one.",
            hint="Open Tiller at its own address; a proxy must pass Host on, or X-Forwarded-Host where --root-path is "
            "set.",
        )


def new_browser_token() -> str:
    """A random token by which a browser is known again; it stays in the browser."""
    return secrets.token_urlsafe(SECRET_BYTES)


def is_browser_token(value: object) -> TypeGuard[str]:
    """Whether a browser's stored value is a token of ours and not something else."""
    return isinstance(value, str) and _BROWSER_TOKEN.fullmatch(value) is not None


def key_hash(secret: bytes, token: str) -> str:
    """What the database knows an annotator by: HMAC-SHA-256 of the browser's token, in hexadecimal.

    What else is signed with the secret has a line break in it, which no token and no name has: a database's key hashes
    are nobody's signatures.
    """
    return hmac.new(secret, token.encode(), hashlib.sha256).hexdigest()


@dataclass(frozen=True)
class SessionTokens:
    """What pages show with everything they change; the same after a restart of the server.

    ``page`` keeps the tokens of one kind of page from being another's.
    """

    secret: bytes
    page: str

    def of(self, session_id: str) -> str:
        """The token of a page's session."""
        return key_hash(self.secret, f"{self.page}-session\n{session_id}")

    def is_of(self, session_id: str, token: object) -> bool:
        """Whether a page that shows ``token`` was given it for this session, compared in constant time."""
        return isinstance(token, str) and hmac.compare_digest(token.encode(), self.of(session_id).encode())


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


def keep_secret(home: Path, given: str | None) -> None:
    """Make the server's secret from what was ``given``, so that an emptied disk does not make everybody a stranger.

    Raises:
        SettingsError: it is too short to be a secret, or the home folder has another one, or cannot be written.
    """
    if given is None:
        return
    if len(given) < SECRET_BYTES:
        raise SettingsError(
            f"--annotator-secret (TILLER_ANNOTATOR_SECRET) has {len(given)} characters; at least {SECRET_BYTES} are "
            "needed.",
            hint="Make one with `openssl rand -hex 32`.",
        )
    path, secret = home / SECRET_FILE, hashlib.sha256(given.encode()).digest()
    try:
        home.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            _write_once(path, secret)
    except OSError as error:
        raise SettingsError(
            f"The server's secret {path} cannot be made: {error}.", hint="Choose another --home."
        ) from error
    if not hmac.compare_digest(server_secret(home), secret):
        raise SettingsError(
            f"The server's secret {path} was not made from --annotator-secret (TILLER_ANNOTATOR_SECRET).",
            hint="Leave the option out, or delete the file; annotators will then count as new ones.",
        )


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
