"""An engine that says what it is told to, at the pace it is told to: for timing, errors and hostile text."""

import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace

from models.answers import Answer, BaseInfo, ComparisonRequest, GuideInfo, Progress
from steering.controls import slot_for
from steering.errors import BusyError
from steering.types import Blend, FinishReason, StepTrace, TopAlternative

BASE = BaseInfo("scripted", "sha256:0", "cpu", "float32", context_length=1024, vocabulary_size=1000)
GUIDES = (
    GuideInfo("guide-a", "helpfulness", unit=0.5, sha256="a" * 64, kind="lora"),
    GuideInfo("guide-b", "harmlessness", unit=2.0, sha256="b" * 64, kind="lora"),
)

BUSY = BusyError("32 requests are waiting already, as many as are let wait.", hint="Try again in a moment.")

Script = Callable[[ComparisonRequest], tuple[list[str], list[str]]]


def say(left: str, right: str) -> Script:
    """A script of two fixed answers, a token per word."""
    return lambda _request: (pieces_of(left), pieces_of(right))


def pieces_of(text: str) -> list[str]:
    """The words of a text, each with the space before it."""
    return [word if index == 0 else f" {word}" for index, word in enumerate(text.split(" "))]


@dataclass
class ScriptedEngine:
    """Honours `models.engine.Engine`'s contract without a model.

    ``script`` gives both answers' pieces for a request. Every step waits ``step_seconds``. ``error`` is raised before
    the first step, ``late_error`` after the third. ``closed`` counts comparisons that were closed before their end.
    Every request waits at the ``positions`` in turn, a step at each; with ``n_at_once`` those beyond it wait for one
    before them to end; while ``most_coming`` are on their way no other may ask. ``time_out_after`` is the token after
    which the time limit ends the answers.
    """

    script: Script = field(default_factory=lambda: say("one two three", "one four five six"))
    step_seconds: float = 0.0
    error: Exception | None = None
    late_error: Exception | None = None
    positions: Sequence[int] = ()
    n_at_once: int | None = None
    most_coming: int | None = None
    time_out_after: int | None = None
    base: BaseInfo = BASE
    guides: tuple[GuideInfo, ...] = GUIDES
    examples: tuple[str, ...] = ("Say something.", "Say more.")
    requests: list[ComparisonRequest] = field(default_factory=list)
    owners: list[str] = field(default_factory=list)
    line: list[object] = field(default_factory=list)
    most_in_line: int = 0
    closed: int = 0
    running: int = 0
    most_running: int = 0
    vocabulary: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def check_room(self, n_coming: int) -> None:
        """Refuse while ``most_coming`` or more are on their way."""
        if self.most_coming is not None and n_coming >= self.most_coming:
            raise BUSY

    def compare(
        self, request: ComparisonRequest, stop: Callable[[], bool] = lambda: False, owner: str = ""
    ) -> Generator[Progress, None, None]:
        me = object()
        with self.lock:
            self.requests.append(request)
            self.owners.append(owner)
            self.line.append(me)
            self.most_in_line = max(self.most_in_line, len(self.line))
        is_over = False
        try:
            yield from self._wait(request, me)
            with self.lock:
                self.running += 1
                self.most_running = max(self.most_running, self.running)
            try:
                for progress in self._steps(request, stop):
                    is_over = progress.finished
                    yield progress
            finally:
                with self.lock:
                    self.running -= 1
        finally:
            with self.lock:
                self.line.remove(me)
                self.closed += not is_over

    def _wait(self, request: ComparisonRequest, me: object) -> Iterator[Progress]:
        waiting = self._progress(request, [[] for _ in request.blends], 0, False)
        for position in self.positions:
            time.sleep(self.step_seconds)
            yield replace(waiting, position=position, finished=False)
        while self.n_at_once is not None:
            with self.lock:
                position = self.line.index(me) + 1 - self.n_at_once
            if position <= 0:
                return
            time.sleep(max(self.step_seconds, 0.02))
            yield replace(waiting, position=position, finished=False)

    def _steps(self, request: ComparisonRequest, stop: Callable[[], bool]) -> Iterator[Progress]:
        if self.error is not None:
            raise self.error
        units = {guide.dimension: guide.unit for guide in self.guides}
        for blend in request.blends:
            slot_for(blend, units, request.sampling)  # which refuses a dimension without a guide
        scripts = [self._ids(pieces) for pieces in self.script(request)]
        for n_tokens in range(1, max(map(len, scripts)) + 1):
            if n_tokens == 4 and self.late_error is not None:
                raise self.late_error
            time.sleep(self.step_seconds)
            timed_out = n_tokens == self.time_out_after
            is_stopped = stop() or timed_out
            yield replace(self._progress(request, scripts, n_tokens, is_stopped), timed_out=timed_out)
            if is_stopped:
                return

    def _progress(self, request: ComparisonRequest, scripts: list[list[int]], n: int, is_stopped: bool) -> Progress:
        answers = tuple(
            self._answer(blend, ids, n, is_stopped) for blend, ids in zip(request.blends, scripts, strict=True)
        )
        is_over = all(answer.finish_reason for answer in answers)
        return Progress(n, is_over, lambda: answers, (7, 8, 9), guides=self.guides)

    def _answer(self, blend: Blend, ids: list[int], n_tokens: int, is_stopped: bool) -> Answer:
        taken = tuple(ids[:n_tokens])
        ended = FinishReason.EOS if n_tokens >= len(ids) > 0 else FinishReason.STOPPED if is_stopped else None
        exponents = {guide.dimension: blend.weights.get(guide.dimension, 0.0) * guide.unit for guide in self.guides}
        text = "".join(self.spell(taken))
        return Answer(blend, exponents, text, taken, ended, 0.01 * n_tokens, tuple(map(self._step, taken)))

    def _step(self, token_id: int) -> StepTrace:
        top = (TopAlternative(token_id, 0.5, 0.75), TopAlternative(0, 0.25, 0.125))
        logprobs = {guide.dimension: -1.0 - index for index, guide in enumerate(self.guides)}
        return StepTrace(token_id, -0.5, -0.25, logprobs, kl=0.125, entropy=1.0, top=top)

    def _ids(self, pieces: Sequence[str]) -> list[int]:
        with self.lock:
            for piece in pieces:
                if piece not in self.vocabulary:
                    self.vocabulary.append(piece)
            return [self.vocabulary.index(piece) for piece in pieces]

    def spell(self, token_ids: Sequence[int]) -> tuple[str, ...]:
        return tuple(self.vocabulary[token_id] for token_id in token_ids)
