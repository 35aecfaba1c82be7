"""A judge over HTTP, as the Judge page's script is one in a browser: a connection that stays open, no Gradio client.

The page's events are found as the browser finds them, by the ids of the elements they hang on.
"""

import html
import http.client
import json
import re
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from steering.errors import InputError

_PATIENCE_SECONDS = 60.0
_ITEM = re.compile(r'data-item="([0-9a-f]{64})"')
_ALERT = re.compile(r'class="tiller-message".*?>(.*?)</', re.DOTALL)
_PREDICT = "/gradio_api/run/predict"
_SAVE = "/judge/save"


class NotSavedError(Exception):
    """The page said why it did not do what was asked, or did not answer."""


class NoAnswerError(NotSavedError):
    """There was no answer, or not a whole one."""


@dataclass(frozen=True)
class JudgeSite:
    """The numbers of the page's events, and where in what `opened` gives the page's token stands."""

    opened: int
    start: int
    token: int


def read_judge_site(config: Mapping[str, Any]) -> JudgeSite:
    """Find the Judge page's events in /config.

    Raises:
        InputError: there is no Judge page.
    """
    ids = {component["props"].get("elem_id"): component["id"] for component in config["components"]}
    events = {tuple(target): event for event in config["dependencies"] for target in event["targets"]}
    try:
        start = events[ids["judge-start"], "click"]
        token = start["inputs"][0]
        # Every page has an event of this kind, on the same element; this page's is the one that gives the token.
        loads = (event for event in config["dependencies"] if any(name == "load" for _, name in event["targets"]))
        opened = next(event for event in loads if token in event["outputs"])
    except (KeyError, StopIteration) as error:
        raise InputError("What is served there has no Judge page.", hint="Check the address.") from error
    return JudgeSite(opened["id"], start["id"], opened["outputs"].index(token))


@dataclass
class HttpJudge:
    """One open page of one judge; used from one thread at a time.

    ``saves`` are the seconds each save took, from sending to the whole next item; ``items`` what was saved, in order,
    by the page's names for the items, which are handles and not ids (`ui.judge.item_handles`).
    """

    base_url: str
    name: str
    study_id: str
    session_hash: str = field(default_factory=lambda: secrets.token_hex(8))
    saves: list[float] = field(default_factory=list)
    items: list[str] = field(default_factory=list)
    token: str = ""
    cookie: str = ""

    def __post_init__(self) -> None:
        self._connection = http.client.HTTPConnection(urlsplit(self.base_url).netloc, timeout=_PATIENCE_SECONDS)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def sit_down(self) -> str | None:
        """Open the page and start; the first item, None when nothing is left.

        Raises:
            InputError: there is no Judge page.
            NotSavedError: the page refuses, with its words.
        """
        site = read_judge_site(self._ask("GET", "/config"))
        self.token = str(self.call(site.opened, [None])[site.token])
        return _shown(self.call(site.start, [self.token, self.study_id, self.name, False, ""]))

    def save(self, item: str, choice: str, key: str = "") -> str | None:
        """Answer the item, under a new key unless one is given; the next item.

        Raises:
            NotSavedError: the page refuses, with its words, or does not answer.
        """
        answers = {"item": item, "key": key or secrets.token_hex(16), "answers": [{"choice": choice}]}
        started = time.perf_counter()
        shown = self.send(answers)
        seconds = time.perf_counter() - started
        following = _shown(shown)
        self.saves.append(seconds)
        self.items.append(item)
        return following

    def send(self, answers: object, token: str = "", origin: str = "") -> dict[str, Any]:
        """Send a save as the page's script does; what the page is to show then, by component.

        Raises:
            NotSavedError: there is no answer, or none of the page's.
        """
        asked = {"token": token or self.token, "study": self.study_id, "name": self.name}
        body = json.dumps(asked | {"sent": json.dumps(answers), "pace": {"count": len(self.saves), "times": []}})
        return self._ask("POST", _SAVE, body, {"Origin": origin or self.base_url})

    def call(self, event: int, data: Sequence[object]) -> list[Any]:
        """Send an event of Gradio's and return what it changes.

        Raises:
            NotSavedError: there is no answer, or none of the page's.
        """
        body = json.dumps({"data": data, "fn_index": event, "session_hash": self.session_hash})
        return list(self._ask("POST", _PREDICT, body, {"Origin": self.base_url})["data"])

    def _ask(self, method: str, path: str, body: str = "", headers: Mapping[str, str] | None = None) -> dict[str, Any]:
        sent = {"Content-Type": "application/json", "Cookie": self.cookie, **(headers or {})}
        try:
            answer, text = self._exchange(method, path, body.encode(), sent)
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise NoAnswerError(f"{type(error).__name__}: {error}") from error
        if answer.status != http.client.OK:
            raise NotSavedError(f"{answer.status}: {text[:200]!r}")
        said: dict[str, Any] = json.loads(text)
        return said

    def _exchange(
        self, method: str, path: str, body: bytes, headers: Mapping[str, str]
    ) -> tuple[http.client.HTTPResponse, bytes]:
        is_reused = self._connection.sock is not None
        try:
            self._connection.request(method, path, body, headers)
            answer = self._connection.getresponse()
        except (ConnectionError, http.client.RemoteDisconnected):
            # The server closes what was idle for some seconds; browsers, too, then ask again on a new connection.
            self._connection.close()
            if not is_reused:
                raise
            self._connection.request(method, path, body, headers)
            answer = self._connection.getresponse()
        return answer, answer.read()


def _shown(changes: Sequence[Any] | Mapping[str, Any]) -> str | None:
    """The item among what changes on the page.

    Raises:
        NotSavedError: a message is there instead.
    """
    said = "\n".join(text for text in _texts(changes))
    alert = _ALERT.search(said)
    if alert:
        raise NotSavedError(html.unescape(re.sub("<[^>]*>", " ", alert.group(1))).strip())
    found = _ITEM.search(said)
    return found.group(1) if found else None


def _texts(changes: object) -> list[str]:
    if isinstance(changes, str):
        return [changes]
    parts = changes.values() if isinstance(changes, Mapping) else changes if isinstance(changes, Sequence) else ()
    return [text for part in parts for text in _texts(part)]
