"""A visitor of the page over HTTP, as a browser is one: opens it, runs, reads the stream, stops or goes away.

The page's events are private to Gradio's API listing, so they are found as the browser finds them: in /config, by the
ids of the elements they hang on.
"""

import asyncio
import html
import json
import re
import secrets
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import httpx
from gradio_client.utils import apply_diff  # type: ignore[import-untyped]

from steering.errors import InputError
from ui import wording

_PATIENCE_SECONDS = 900.0
_FULL = 503
_SHOWN = ("message", "status", "pane-left", "pane-right")


class Outcome(StrEnum):
    """How a run ended for whoever asked."""

    ANSWERED = "answered"
    STOPPED = "stopped"
    DROPPED = "dropped"
    REFUSED = "refused"
    FAILED = "failed"


@dataclass(frozen=True)
class Cut:
    """A run that is not read to its end: so many seconds after its first text, or at once where ``is_early``."""

    how: Outcome
    seconds: float
    is_early: bool


@dataclass(frozen=True)
class Visit:
    """One run: its outcome, the seconds from the press to what is named, None where it never came, and what was said.

    ``stop_seconds`` runs from the press of Stop to the end.
    """

    outcome: Outcome
    first_seconds: float | None = None
    whole_seconds: float | None = None
    stop_seconds: float | None = None
    words: str = ""


@dataclass(frozen=True)
class SitePlan:
    """Where things are in the page's /config."""

    prefix: str
    opened: int
    ask: int
    run: int
    stop: int
    form: tuple[tuple[str, Any], ...]  # what each input of `ask` is, and its starting value
    view: tuple[Any, ...]
    shown: Mapping[str, int]  # the index among the outputs of `run`
    empty: frozenset[str]  # what the panes say before there is an answer
    ask_message: int
    run_button: int


def read_site(config: Mapping[str, Any]) -> SitePlan:
    """Find the Steer page's events.

    Raises:
        InputError: it is not that page.
    """
    components = {component["id"]: component["props"] for component in config["components"]}
    ids = {props.get("elem_id"): number for number, props in components.items()}
    targets = {tuple(target): event for event in config["dependencies"] for target in event["targets"]}
    try:
        ask, stop = targets[ids["run"], "click"], targets[ids["stop"], "click"]
        opened = next(event for (_, name), event in targets.items() if name == "load")
        run = next(event for event in config["dependencies"] if event["trigger_after"] == ask["id"])
        return SitePlan(
            prefix=config["api_prefix"],
            opened=opened["id"],
            ask=ask["id"],
            run=run["id"],
            stop=stop["id"],
            form=tuple((_kind(components[number]), components[number].get("value")) for number in ask["inputs"]),
            view=tuple(components[number].get("value") for number in run["inputs"]),
            shown={name: run["outputs"].index(ids[name]) for name in _SHOWN},
            empty=frozenset(_text(components[ids[name]].get("value")) for name in _SHOWN if name.startswith("pane")),
            ask_message=ask["outputs"].index(ids["message"]),
            run_button=ids["run"],
        )
    except (KeyError, StopIteration, ValueError) as error:
        raise InputError("What is served there is not Tiller's Steer page.", hint="Check --url.") from error


def _kind(props: Mapping[str, Any]) -> str:
    if props.get("elem_id") in ("prompt", "seed"):
        return str(props["elem_id"])
    if "weight" in (props.get("elem_classes") or []):
        return "weight"
    return "tokens" if props.get("label") == wording.MAX_NEW_TOKENS else ""


@dataclass(frozen=True)
class Ask:
    """What a visitor asks for: one weight for each guide in turn, 0 ≤ weight ≤ 4."""

    prompt: str
    weights: tuple[float, ...]
    seed: int
    n_tokens: int

    def values(self, site: SitePlan) -> list[Any]:
        """Fill in the page's form; what is not named here stays as the page has it."""
        weights = iter(self.weights)
        known = {"prompt": self.prompt, "seed": str(self.seed), "tokens": self.n_tokens}
        return [next(weights, 1.0) if kind == "weight" else known.get(kind, value) for kind, value in site.form]


@dataclass
class _Told:
    """What the stream has said so far."""

    values: list[Any] = field(default_factory=list)
    first: asyncio.Event = field(default_factory=asyncio.Event)
    first_at: float | None = None
    failure: str = ""


class Browser:
    """One open tab, with a session and connections of its own; closed like a tab that goes away."""

    def __init__(self, url: str, site: SitePlan) -> None:
        self._site = site
        self._session = secrets.token_hex(8)
        self._client = httpx.AsyncClient(base_url=url, timeout=_PATIENCE_SECONDS)
        self._beating: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Load the page and say so; the heartbeat by which the server sees the tab runs from here on."""
        (await self._client.get("/")).raise_for_status()
        self._beating = asyncio.create_task(self._beat())
        (await self._call(self._site.opened, [""])).raise_for_status()

    async def close(self) -> None:
        """Go away without a word: every connection is cut."""
        if self._beating is not None:
            self._beating.cancel()
            await asyncio.wait({self._beating})
        await self._client.aclose()

    async def run(self, ask: Ask, cut: Cut | None = None) -> Visit:
        """Press Run and read what comes, or cut it short; a tab that was dropped must be closed by the caller."""
        start = time.perf_counter()
        answer = await self._call(self._site.ask, ask.values(self._site))
        said = _text(answer.json()["data"][self._site.ask_message]) if answer.is_success else answer.text
        if said:
            return Visit(Outcome.REFUSED, whole_seconds=time.perf_counter() - start, words=said)
        joined = await self._post("/queue/join", self._site.run, list(self._site.view))
        if not joined.is_success:
            outcome = Outcome.REFUSED if joined.status_code == _FULL else Outcome.FAILED
            return Visit(outcome, whole_seconds=time.perf_counter() - start, words=joined.text)
        told = _Told()
        reader = asyncio.create_task(self._read(joined.json()["event_id"], told))
        stopped_at = None
        if cut is not None and not await self._ends_before(cut, reader, told):
            if cut.how is Outcome.DROPPED:
                reader.cancel()
                await asyncio.wait({reader})
                return Visit(Outcome.DROPPED, _since(start, told.first_at))
            stopped_at = time.perf_counter()
            (await self._call(self._site.stop, [])).raise_for_status()
        try:
            await reader
        except (httpx.HTTPError, ValueError) as error:
            told.failure = f"{type(error).__name__}: {error}"
        return self._ended(told, start, stopped_at)

    def _ended(self, told: _Told, start: float, stopped_at: float | None) -> Visit:
        end = time.perf_counter()
        first, whole = _since(start, told.first_at), end - start
        message = told.failure or self._shown(told, "message")
        if message:
            outcome = Outcome.FAILED if told.failure or told.first_at else Outcome.REFUSED
            return Visit(outcome, first, whole, words=message)
        if stopped_at is not None:
            return Visit(Outcome.STOPPED, first, whole, end - stopped_at)
        if told.first_at is None:
            return Visit(Outcome.FAILED, None, whole, words=self._shown(told, "status") or "nothing came")
        return Visit(Outcome.ANSWERED, first, whole)

    async def _ends_before(self, cut: Cut, reader: "asyncio.Task[None]", told: _Told) -> bool:
        """Wait until a run is to be cut short; whether it had ended by then."""
        if not cut.is_early:
            first = asyncio.create_task(told.first.wait())
            await asyncio.wait({reader, first}, return_when=asyncio.FIRST_COMPLETED)
            first.cancel()
        await asyncio.wait({reader}, timeout=cut.seconds)
        return reader.done()

    async def _read(self, event: str, told: _Told) -> None:
        """Take in the stream's messages until the run is over."""
        async with self._client.stream(
            "GET", f"{self._site.prefix}/queue/data", params={"session_hash": self._session}
        ) as stream:
            async for line in stream.aiter_lines():
                message = json.loads(line[5:]) if line.startswith("data:") else {}
                if message.get("event_id") not in (event, None):
                    continue
                match message.get("msg"):
                    case "process_generating":
                        self._draw(message, told)
                    case "process_completed":
                        if not message["success"]:
                            told.failure = str(message["output"].get("error") or "the run failed")
                        elif message["output"].get("data"):
                            told.values = message["output"]["data"]
                            self._look(told)
                        return
                    case "unexpected_error":
                        told.failure = str(message.get("message"))
                        return
        told.failure = "the stream ended before the run"

    def _draw(self, message: Mapping[str, Any], told: _Told) -> None:
        data = message["output"]["data"]
        # the first message has whole values, the others what has changed
        told.values = [apply_diff(*pair) for pair in zip(told.values, data, strict=True)] if told.values else data
        self._look(told)

    def _look(self, told: _Told) -> None:
        panes = {self._shown(told, "pane-left"), self._shown(told, "pane-right")} - {""} - self._site.empty
        if panes and told.first_at is None:
            told.first_at = time.perf_counter()
            told.first.set()

    def _shown(self, told: _Told, name: str) -> str:
        return _text(told.values[self._site.shown[name]]) if told.values else ""

    async def _call(self, event: int, data: list[Any]) -> httpx.Response:
        """Call an event that is not queued."""
        return await self._post("/run/predict", event, data)

    async def _post(self, path: str, event: int, data: list[Any]) -> httpx.Response:
        body = {"data": data, "fn_index": event, "session_hash": self._session, "event_data": None}
        return await self._client.post(self._site.prefix + path, json=body | {"trigger_id": self._site.run_button})

    async def _beat(self) -> None:
        with suppress(httpx.HTTPError):
            url = f"{self._site.prefix}/heartbeat/{self._session}"
            async with self._client.stream("GET", url) as stream:
                async for _ in stream.aiter_raw():
                    pass


def _since(start: float, end: float | None) -> float | None:
    return None if end is None else end - start


def _text(value: object) -> str:
    """What a person reads of a component's value; an update that says nothing of it is nothing."""
    if isinstance(value, Mapping):
        value = value.get("value", "")
    return html.unescape(re.sub(r"<[^>]*>", "", value)).strip() if isinstance(value, str) else ""
