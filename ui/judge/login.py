"""Judges who logged in with Hugging Face: what the page sends in the place of a name.

Logging in is Gradio's (`gr.LoginButton`, on Spaces with ``hf_oauth: true`` only: elsewhere it pretends). A save is a
request of its own that knows nothing of it, so the server hands a page of somebody logged in a signed credential.
"""

import hmac
import re
import time
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec

from gradio import oauth
from gradio.utils import get_space

from steering.errors import InputError
from storage.records import MAX_NAME_CHARS
from ui import wording_judge as wording
from ui.visitors import key_hash

VALID_SECONDS = 8 * 3600.0  # as long as Gradio takes somebody for logged in
_PREFIX = "huggingface-login"
_MARK = wording.LOGGED_IN_NAME.format(name="").casefold()
_ACCOUNT = re.compile(r"[A-Za-z0-9_-]{1,64}")
_USERNAME = re.compile(r"[A-Za-z0-9._-]{1,96}")


@dataclass(frozen=True)
class Login:
    """An account on Hugging Face; ``account_id`` stays the same when its owner takes another ``username``."""

    account_id: str
    username: str

    @property
    def display_name(self) -> str:
        """What results and exports call this judge, so that nobody takes it for a name somebody typed."""
        return wording.LOGGED_IN_NAME.format(name=self.username)[:MAX_NAME_CHARS]

    def key_hash(self, secret: bytes) -> str:
        """What the database knows the judge by; no name that can be typed has the line break, so none is the same."""
        return key_hash(secret, f"{_PREFIX}\n{self.account_id}")


def can_log_in() -> bool:
    """Whether this is a Space whose visitors can log in."""
    has_packages = all(find_spec(name) is not None for name in ("authlib", "itsdangerous"))  # Spaces' images have them
    return get_space() is not None and oauth.OAUTH_CLIENT_ID is not None and has_packages


def login_of(profile: Mapping[str, object] | None) -> Login | None:
    """The account of Gradio's profile; None where nobody is logged in.

    Raises:
        InputError: the profile does not say whose it is.
    """
    if profile is None:
        return None
    account_id, username = str(profile.get("sub", "")), str(profile.get("preferred_username", ""))
    if not (_ACCOUNT.fullmatch(account_id) and _USERNAME.fullmatch(username)):
        raise InputError(wording.BAD_LOGIN, hint=wording.BAD_LOGIN_HINT)
    return Login(account_id, username)


def is_credential(name: object) -> bool:
    """Whether what stands for a name says to be a credential; nothing is checked."""
    return isinstance(name, str) and name.startswith(f"{_PREFIX}:")


def is_like_a_login(name: str) -> bool:
    """Whether a typed name could be taken for somebody's who logged in; what is not seen makes no other name."""
    seen = (letter for letter in unicodedata.normalize("NFKC", name) if unicodedata.category(letter)[0] not in "CZ")
    squeezed = "".join(seen).casefold()
    return "".join(_MARK.split()) in squeezed or squeezed.startswith(_PREFIX)


def credential_for(login: Login, secret: bytes, now: float | None = None) -> str:
    """What a page of this account shows instead of a name, for some hours."""
    until = round((time.time() if now is None else now) + VALID_SECONDS)
    claim = f"{_PREFIX}:{until}:{login.account_id}:{login.username}"
    return f"{claim}:{_signed(claim, secret)}"


def login_from(credential: str, secret: bytes, now: float | None = None) -> Login:
    """The account a credential was made for.

    Raises:
        InputError: this server did not make it, or too long ago.
    """
    claim, _, signature = credential.rpartition(":")
    if not hmac.compare_digest(signature.encode(), _signed(claim, secret).encode()):
        raise InputError(wording.BAD_LOGIN, hint=wording.BAD_LOGIN_HINT)
    _, until, account_id, username = claim.split(":")
    if int(until) < (time.time() if now is None else now):
        raise InputError(wording.OLD_LOGIN, hint=wording.OLD_LOGIN_HINT)
    return Login(account_id, username)


def _signed(claim: str, secret: bytes) -> str:
    return key_hash(secret, f"login-credential\n{claim}")
