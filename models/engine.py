"""The engine: a loaded base model with its guides, which answers comparisons, those of many visitors at once."""

import atexit
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial

from models.answers import BaseInfo, ComparisonRequest, GuideInfo, Progress
from models.detokenizing import spell
from models.jobs import Job, Letter, Waiting
from models.lineup import Lineup, Loaded
from models.lineups import Build, Lineups
from models.memory import is_out_of_memory
from models.parts import Parts
from models.prompting import prompt_token_ids
from models.scheduler import Scheduler
from steering.errors import CapacityError, LoadError
from steering.types import Blend, Message

# A caller that waits is woken this often, so that it notices a stop, or that nobody reads it any more.
HEARTBEAT_SECONDS = 0.5
CLOSING_SECONDS = 30.0
# A caller is given what has come at most this often: were it woken for every token, it and the engine's thread would
# hand Python's lock to and fro all the time.
REPORT_SECONDS = 0.02
# The thread waits this long for more work: each new one would take its memory from another part of the heap.
LINGER_SECONDS = 60.0

_RAN_OUT = "Memory ran out while answering."
_RAN_OUT_HINT = "Shorten the prompt or the answer, or compare fewer blends."
_NO_ROOM = "Memory ran out while the guides were being replaced; those that answered go on."
_NO_ROOM_HINT = "Lower --memory-fraction, or use smaller guides."


class Engine:
    """Answers comparisons; may be asked from any number of threads.

    Args:
        loaded: the models.
        in_background: answer all callers together on a thread that exists while there is work. Without, each
            comparison is answered on its caller's thread, one at a time, for places that allow no thread.
    """

    def __init__(self, loaded: Loaded, *, in_background: bool = True) -> None:
        self.examples = loaded.examples
        self._lineups = Lineups(loaded)
        self._in_background = in_background
        self._turns = threading.Lock()  # without a thread of ours: whose turn it is
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._is_closing = False
        self._arrived = threading.Event()

    @property
    def base(self) -> BaseInfo:
        """The base model."""
        return self._loaded.base

    @property
    def guides(self) -> tuple[GuideInfo, ...]:
        """The guides that answer what is asked now."""
        return self._loaded.guides

    @property
    def parts(self) -> Parts:
        """What the lineup that answers now is made of."""
        return self._loaded.parts

    @property
    def _loaded(self) -> Loaded:
        return self._lineups.current.loaded

    @property
    def _scheduler(self) -> Scheduler:
        return self._lineups.current.scheduler

    def exponents(self, blend: Blend) -> dict[str, float]:
        """Return weight × unit of every guide by dimension.

        Raises:
            BlendError: the blend names a dimension no guide has.
        """
        return self._lineups.current.exponents(blend)

    @property
    def weight_bytes(self) -> int:
        """The bytes of all weights, which every decoding step reads at least once."""
        return self._loaded.ensemble.members.nbytes

    @property
    def n_slots(self) -> int:
        """How many answers are being decoded."""
        return self._lineups.n_slots

    @property
    def is_idle(self) -> bool:
        """Whether nothing is left to do for anybody."""
        return self._lineups.is_idle

    def prompt_token_ids(self, messages: Sequence[Message]) -> list[int]:
        """Return the prompt as the base model reads it.

        Raises:
            PromptError: the chat template refuses the messages.
        """
        return prompt_token_ids(self._loaded.tokenizer, messages, self._loaded.chat_templates[0])

    def spell(self, token_ids: Sequence[int]) -> tuple[str, ...]:
        """Return one visible piece of text per token; joined they are the answer's text."""
        return spell(self._loaded.tokenizer, token_ids)

    def check_room(self, n_coming: int = 0, n_answers: int = 2) -> None:
        """Say now that a request for ``n_answers`` would be refused, with ``n_coming`` such on their way already.

        Where this is silent, :meth:`compare` may still refuse.

        Raises:
            BusyError: too many requests are waiting.
        """
        self._scheduler.check_room(n_coming, n_answers)

    def compare(
        self, request: ComparisonRequest, stop: Callable[[], bool] = lambda: False, owner: str = ""
    ) -> Generator[Progress, None, None]:
        """Answer every blend of a request together.

        Yields while the request waits (``position`` above 0), after every step, and once more with ``finished`` set
        when the guides have said what they make of the unguided answers. A caller that is slower than the engine
        misses steps in between, but no token.

        ``stop`` is asked all along; when it says yes, or when the time limit is over, the answers still running end as
        STOPPED. Closing the generator releases everything within a step. ``owner`` is whose request it is: where
        requests wait, owners take turns.

        Raises (before the first step):
            PromptError: the prompt and the answer do not fit into the context.
            BlendError: a dimension without a guide, or a negative weight without the plausibility mask.
            BusyError: too many requests are waiting.
            CapacityError: memory has run out, or the engine is closed (both also later).
            LoadError: a model returns NaN or fails (also later).
        """
        yield from self._answers(request, stop, owner, lambda: self._lineups.current)

    def _answers(
        self, request: ComparisonRequest, stop: Callable[[], bool], owner: str, pick: Callable[[], Lineup]
    ) -> Generator[Progress, None, None]:
        with nullcontext() if self._in_background else self._turns, _told_plainly():
            lineup = pick()
            job, run = lineup.begin(request, owner)
            while not self._lineups.submit(lineup, job):  # its guides are being replaced: it is worded for the next
                run.add(Waiting(position=1))
                yield run.progress()
                if stop():
                    job.end_unstarted()
                    break
                self._lineups.wait(HEARTBEAT_SECONDS)
                lineup = pick()
                job, run = lineup.begin(request, owner)
            del lineup  # what a slow reader still looks at keeps no old guides in memory
            try:
                while not run.is_over:
                    for letter in self._letters(job):
                        run.add(letter)
                    job.is_stopping = job.is_stopping or stop()
                    yield run.progress()
            finally:
                job.is_cancelled = True
                if not self._in_background:
                    self._lineups.turn()

    def _letters(self, job: Job) -> list[Letter]:
        """What has come for a job since the last time; at least one letter unless nothing happens for a while."""
        letters: list[Letter] = []
        if self._in_background:
            self._wake()
            time.sleep(max(0.0, job.looked_at + REPORT_SECONDS - time.perf_counter()))
            letters = job.letters(HEARTBEAT_SECONDS)
            job.looked_at = time.perf_counter()
            if self._is_closing and not letters:
                raise CapacityError("The engine has been closed.", hint="Start Tiller again.")
            return letters
        while not letters:
            self._lineups.turn()
            letters = job.letters(None)
        return letters

    def _wake(self) -> None:
        """Have a thread take turns as long as there is work."""
        with self._starting:
            is_at_work = self._thread is not None and self._thread.is_alive()
            if not is_at_work and not self._lineups.is_idle and not self._is_closing:
                self._thread = threading.Thread(target=self._work, name="engine", daemon=True)
                self._thread.start()
                atexit.register(self.close)
        self._arrived.set()

    def _work(self) -> None:
        while True:
            self._lineups.turn()
            if not (self._lineups.is_idle or self._is_closing):
                continue
            self._arrived.clear()
            if self._lineups.is_idle and not self._is_closing:
                self._arrived.wait(LINGER_SECONDS)
            with self._starting:
                if self._is_closing or (self._lineups.is_idle and not self._arrived.is_set()):
                    self._thread = None
                    atexit.unregister(self.close)
                    return

    def close(self) -> None:
        """Take no more turns and wait for the one under way: a thread must not compute while Python ends."""
        with self._starting:
            self._is_closing = True
            thread = self._thread
        self._arrived.set()
        if thread is not None:
            thread.join(timeout=CLOSING_SECONDS)
        self._lineups.close()

    def swap(self, build: Build) -> None:
        """Replace the guides between two steps by what ``build`` makes; see :meth:`models.lineups.Lineups.swap`.

        Returns when new requests are answered by them.

        Raises:
            Exception: what ``build`` raises; the guides are then those they were.
        """
        self._between_steps(partial(self._lineups.swap, build))

    @contextmanager
    def trial(self, build: Build) -> Iterator["Trial"]:
        """Hold other guides beside those that answer everybody, for whoever asks what is yielded.

        Raises:
            CapacityError: memory does not suffice for both.
            Exception: what ``build`` raises.
        """
        lineup = self._between_steps(partial(self._lineups.hold, build))
        try:
            yield Trial(lineup.loaded.guides, partial(self._answers, pick=lambda: lineup))
        finally:
            self._lineups.let_go(lineup)
            if self._in_background:
                self._wake()
            else:
                with self._turns:
                    self._lineups.turn()

    def _between_steps(self, ask: Callable[[], "Future[Lineup]"]) -> Lineup:
        with nullcontext() if self._in_background else self._turns, _told_plainly(_NO_ROOM, _NO_ROOM_HINT):
            done = ask()
            if self._in_background:
                self._wake()
            else:
                self._lineups.turn()
            return done.result()


@dataclass(frozen=True)
class Trial:
    """Guides held beside those that answer everybody; ``compare`` is as :meth:`Engine.compare`."""

    guides: tuple[GuideInfo, ...]
    _answers: Callable[..., Generator[Progress, None, None]]

    def compare(
        self, request: ComparisonRequest, stop: Callable[[], bool] = lambda: False, owner: str = ""
    ) -> Generator[Progress, None, None]:
        """Answer every blend of a request together, with these guides."""
        return self._answers(request, stop, owner)


@contextmanager
def _told_plainly(what: str = _RAN_OUT, hint: str = _RAN_OUT_HINT) -> Iterator[None]:
    """Translate running out of memory, and models that fail or return no numbers, into errors for a person."""
    try:
        yield
    except FloatingPointError as error:
        raise LoadError(
            f"The answers cannot go on: {error}.",
            hint="Try --dtype float32; if it stays, the base model or a guide is damaged.",
        ) from error
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise CapacityError(what, hint=hint) from error
