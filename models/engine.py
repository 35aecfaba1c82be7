"""The engine: a loaded base model with its guides, which answers comparisons, those of many visitors at once."""

import atexit
import logging
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from models.answers import BaseInfo, ComparisonRequest, GuideInfo, Progress
from models.detokenizing import Detokenizer, spell
from models.ensemble import ModelEnsemble
from models.jobs import Job, Letter
from models.memory import is_out_of_memory
from models.prompting import prompt_token_ids
from models.runs import Run
from models.scheduler import Limits, Scheduler
from steering.controls import slot_for
from steering.errors import CapacityError, LoadError, PromptError
from steering.types import Blend, Message, SamplingSettings

logger = logging.getLogger(__name__)

# A caller that waits is woken this often, so that it notices a stop, or that nobody reads it any more.
HEARTBEAT_SECONDS = 0.5
CLOSING_SECONDS = 30.0
# The thread waits this long for more work: each new one would take its memory from another part of the heap.
LINGER_SECONDS = 60.0


@dataclass(frozen=True)
class Loaded:
    """What :func:`models.assembly.load_engine` puts together for an :class:`Engine`.

    ``chat_templates`` has one entry per member, base first; None is the tokenizer's own.
    """

    ensemble: ModelEnsemble
    tokenizer: PreTrainedTokenizerBase
    chat_templates: tuple[str | None, ...]
    base: BaseInfo
    guides: tuple[GuideInfo, ...]
    limits: Limits
    examples: tuple[str, ...] = ()


class Engine:
    """Answers comparisons; may be asked from any number of threads.

    Args:
        loaded: the models.
        in_background: answer all callers together on a thread that exists while there is work. Without, each
            comparison is answered on its caller's thread, one at a time, for places that allow no thread.
    """

    def __init__(self, loaded: Loaded, *, in_background: bool = True) -> None:
        self.base = loaded.base
        self.guides = loaded.guides
        self.examples = loaded.examples
        self._loaded = loaded
        self._units = {guide.dimension: guide.unit for guide in loaded.guides}
        self._scheduler = Scheduler(loaded.ensemble, loaded.limits)
        self._in_background = in_background
        self._turns = threading.Lock()  # without a thread of ours: whose turn it is
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._is_closing = False
        self._arrived = threading.Event()

    def exponents(self, blend: Blend) -> dict[str, float]:
        """Return weight × unit of every guide by dimension.

        Raises:
            BlendError: the blend names a dimension no guide has.
        """
        slot = slot_for(blend, self._units, SamplingSettings())
        return dict(zip(self._units, slot.guide_exponents, strict=True))

    @property
    def weight_bytes(self) -> int:
        """The bytes of all weights, which every decoding step reads at least once."""
        return self._loaded.ensemble.members.nbytes

    @property
    def n_slots(self) -> int:
        """How many answers are being decoded."""
        return self._scheduler.n_slots

    def prompt_token_ids(self, messages: Sequence[Message]) -> list[int]:
        """Return the prompt as the base model reads it.

        Raises:
            PromptError: the chat template refuses the messages.
        """
        return prompt_token_ids(self._loaded.tokenizer, messages, self._loaded.chat_templates[0])

    def spell(self, token_ids: Sequence[int]) -> tuple[str, ...]:
        """Return one visible piece of text per token; joined they are the answer's text."""
        return spell(self._loaded.tokenizer, token_ids)

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
            CapacityError: memory has run out (also later).
            LoadError: a model returns NaN or fails (also later).
        """
        slots = [slot_for(blend, self._units, request.sampling, request.n_top) for blend in request.blends]
        prompts = self._prompts(request)
        job = Job(prompts, slots, scores=request.score_unguided and bool(self.guides), owner=owner)
        tokenizer = self._loaded.tokenizer
        run = Run(request, prompts[0], list(self._units), self.exponents, lambda: Detokenizer(tokenizer))
        with nullcontext() if self._in_background else self._turns, _told_plainly():
            self._scheduler.submit(job)
            try:
                while not run.is_over:
                    for letter in self._letters(job):
                        run.add(letter)
                    job.is_stopping = job.is_stopping or stop()
                    yield run.progress()
            finally:
                job.is_cancelled = True
                if not self._in_background:
                    self._turn()

    def _letters(self, job: Job) -> list[Letter]:
        """What has come for a job since the last time; at least one letter unless nothing happens for a while."""
        if self._in_background:
            self._wake()
            return job.letters(HEARTBEAT_SECONDS)
        letters: list[Letter] = []
        while not letters:
            self._turn()
            letters = job.letters(None)
        return letters

    def _turn(self) -> None:
        """Take a turn; whatever fails beyond one request fails for all, and the next ones are answered."""
        try:
            self._scheduler.turn()
        except Exception as error:
            logger.exception("The engine failed and begins afresh.")
            self._scheduler.fail_all(error)

    def _wake(self) -> None:
        """Have a thread take turns as long as there is work."""
        with self._starting:
            is_at_work = self._thread is not None and self._thread.is_alive()
            if not is_at_work and not self._scheduler.is_idle and not self._is_closing:
                self._thread = threading.Thread(target=self._work, name="engine", daemon=True)
                self._thread.start()
                atexit.register(self.close)
        self._arrived.set()

    def _work(self) -> None:
        while True:
            self._turn()
            if not (self._scheduler.is_idle or self._is_closing):
                continue
            self._arrived.clear()
            if self._scheduler.is_idle and not self._is_closing:
                self._arrived.wait(LINGER_SECONDS)
            with self._starting:
                if self._is_closing or (self._scheduler.is_idle and not self._arrived.is_set()):
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

    def _prompts(self, request: ComparisonRequest) -> list[list[int]]:
        """Word the prompt for every member; members that share a template share the ids."""
        by_template: dict[str | None, list[int]] = {}
        for template in self._loaded.chat_templates:
            if template not in by_template:
                by_template[template] = prompt_token_ids(self._loaded.tokenizer, request.messages, template)
        prompts = [by_template[template] for template in self._loaded.chat_templates]
        longest, allowed = max(map(len, prompts)), self.base.context_length - request.sampling.max_new_tokens
        if longest > allowed:
            raise PromptError(
                f"The prompt has {longest} tokens; {max(allowed, 0)} fit beside an answer of up to "
                f"{request.sampling.max_new_tokens} in the context of {self.base.context_length}.",
                hint="Shorten the prompt, reset the chat, or allow fewer new tokens.",
            )
        return prompts


@contextmanager
def _told_plainly() -> Iterator[None]:
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
        raise CapacityError(
            "Memory ran out while answering.", hint="Shorten the prompt or the answer, or compare fewer blends."
        ) from error
