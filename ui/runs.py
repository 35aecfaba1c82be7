"""Answering a session's newest request: what is reported while it waits, while it is written, and at its end."""

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Protocol

from models.answers import BaseInfo, ComparisonRequest, GuideInfo, Progress
from steering.types import FinishReason
from ui.comparisons import Models, response
from ui.sessions import Result, Session

UPDATE_SECONDS = 1 / 15  # the page cannot draw more often without falling behind


class SteerEngine(Protocol):
    """What the page asks of `models.engine.Engine`."""

    examples: tuple[str, ...]

    @property
    def base(self) -> BaseInfo:
        """The base model."""

    @property
    def guides(self) -> tuple[GuideInfo, ...]:
        """The guides that answer what is asked now; versions published meanwhile take the places of others."""

    def check_room(self, n_coming: int) -> None:
        """Raise a BusyError where one more comparison would be refused, with ``n_coming`` on their way already."""

    def compare(
        self, request: ComparisonRequest, stop: Callable[[], bool], owner: str
    ) -> Generator[Progress, None, None]:
        """Answer every blend together: a report per step and, while it waits, about two a second.

        The last has ``finished`` set, early where ``stop`` says so. Requests of one ``owner`` take turns with others'.
        Closing it frees the engine within a step.
        """

    def spell(self, token_ids: Sequence[int]) -> tuple[str, ...]:
        """One visible piece of text per token."""


@dataclass(frozen=True)
class Queued:
    """Nothing is written yet: ``position`` 1 is next, 0 is being read; ``has_moved`` since the last report."""

    position: int
    has_moved: bool


@dataclass(frozen=True)
class Withdrawn:
    """The run ended before anything was written: it was stopped, or its time was over."""

    timed_out: bool


Report = Result | Queued | Withdrawn
Keep = Callable[[Result], Result]
"""Stores a finished comparison; what it returns says whether that worked."""


class Run:
    """One request on its way through the engine.

    Args:
        engine: what answers.
        models: its models, for the record.
        keep: stores the finished comparison.
        session: whose request it is.
        taken: the number and the request, as the session gave them out.
    """

    def __init__(
        self, engine: SteerEngine, models: Models, keep: Keep, session: Session, taken: tuple[int, ComparisonRequest]
    ) -> None:
        self._engine, self._models, self._keep, self._session = engine, models, keep, session
        self._number, self._request = taken

    def reports(self, owner: str) -> Iterator[Report]:
        """Answer, at most 15 reports a second; ends early where a newer request has come. Closing frees the engine.

        While nothing is written a report comes with each of the engine's, also where nothing has changed, so that
        whoever reads them can close this within half a second.

        Raises:
            TillerError: the engine refuses the request or cannot answer it.
        """
        drawn_at, position = 0.0, 0
        compared = self._engine.compare(self._request, self._is_stopping, owner)
        with self._session.alone(), closing(compared) as reports:
            if self._session.newest != self._number:
                return
            for progress in reports:
                if self._session.newest != self._number:
                    return
                if progress.finished or (progress.position and self._is_stopping()):
                    break
                if not progress.n_tokens:
                    yield Queued(progress.position, has_moved=progress.position != position)
                    position = progress.position
                elif time.monotonic() - drawn_at >= UPDATE_SECONDS:
                    drawn_at = time.monotonic()
                    self._session.is_writing = True
                    left, right = map(response, progress.answers())
                    yield Result(left, right)
        last = self._end(progress)
        if last is not None:
            yield last

    def _is_stopping(self) -> bool:
        return self._session.stopping == self._number

    def _end(self, last: Progress) -> Report | None:
        """Store what was written and make it what the session shows, unless a newer request has come."""
        session, answers = self._session, last.answers()
        with session.lock:
            if session.newest != self._number:
                return None
            session.running = None
            if not any(answer.token_ids or answer.finish_reason is FinishReason.EOS for answer in answers):
                session.asked = None  # may be asked again
                return Withdrawn(last.timed_out)
            left, right = map(response, answers)
            comparison = self._models.comparison(self._request, last)
            session.chosen = {}
            session.result = self._keep(Result(left, right, comparison, timed_out=last.timed_out))
            return session.result
