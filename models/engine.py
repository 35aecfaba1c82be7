"""The engine: a loaded base model with its guides, which answers comparisons."""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import torch
from transformers import PreTrainedTokenizerBase

from models.answers import Answer, BaseInfo, ComparisonRequest, GuideInfo, Progress
from models.detokenizing import Detokenizer, spell
from models.ensemble import ModelEnsemble
from models.prompting import prompt_token_ids
from steering.controls import slot_for
from steering.decoder import Decoding, SlotStep
from steering.errors import CapacityError, LoadError, PromptError
from steering.types import Blend, FinishReason, Message, SamplingSettings, StepTrace

logger = logging.getLogger(__name__)


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
    examples: tuple[str, ...] = ()


class Engine:
    """Answers comparisons, one at a time; a second caller waits until the first has ended or was closed."""

    def __init__(self, loaded: Loaded) -> None:
        self.base = loaded.base
        self.guides = loaded.guides
        self.examples = loaded.examples
        self._loaded = loaded
        self._busy = threading.Lock()

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
        models = [group.model for group in self._loaded.ensemble.groups]
        return sum(weight.nbytes for model in models for weight in [*model.parameters(), *model.buffers()])

    @property
    def _units(self) -> dict[str, float]:
        return {guide.dimension: guide.unit for guide in self.guides}

    def prompt_token_ids(self, messages: Sequence[Message]) -> list[int]:
        """Return the prompt as the base model reads it.

        Raises:
            PromptError: the chat template refuses the messages.
        """
        return prompt_token_ids(self._loaded.tokenizer, messages, self._loaded.chat_templates[0])

    def spell(self, token_ids: Sequence[int]) -> tuple[str, ...]:
        """Return one visible piece of text per token; joined they are the answer's text."""
        return spell(self._loaded.tokenizer, token_ids)

    def compare(self, request: ComparisonRequest, stop: Callable[[], bool] = lambda: False) -> Iterator[Progress]:
        """Answer every blend of a request together; yields after each step, and once more with ``finished`` set
        when the guides have said what they make of the unguided answers.

        ``stop`` is asked after every step; when it says yes, the answers still running end as STOPPED and are reported
        like finished ones. Closing the generator frees everything without a report.

        Raises (before the first step):
            PromptError: the prompt and the answer do not fit into the context.
            BlendError: a dimension without a guide, or a negative weight without the plausibility mask.
            CapacityError: memory has run out (also later).
            LoadError: a model returns NaN (also later).
        """
        slots = [slot_for(blend, self._units, request.sampling) for blend in request.blends]
        prompts = self._prompts(request)
        with self._busy, _told_plainly():
            start = time.perf_counter()
            run = _Run(self, request, prompts, [_Growing(Detokenizer(self._loaded.tokenizer)) for _ in slots])
            scores = request.score_unguided and bool(self.guides)
            decoding = Decoding(self._loaded.ensemble, prompts, slots, request.n_top, scores=scores)
            for steps in decoding.steps():
                stopped = stop()
                run.add(steps, time.perf_counter() - start, stopped)
                if stopped or run.finished:
                    break
                yield run.progress()
            if scores and run.has_unscored:
                # the answers need not wait for what the guides make of them
                yield run.progress()
                try:
                    run.score_unguided(decoding)
                except (RuntimeError, MemoryError) as error:
                    if not _is_out_of_memory(error):
                        raise
                    logger.warning("No memory was left for the guides to score the unguided answers.")
            yield run.progress(finished=True)

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


@dataclass
class _Growing:
    """One answer while it is being written."""

    detokenizer: Detokenizer
    steps: list[StepTrace] = field(default_factory=list)
    finish_reason: FinishReason | None = None
    seconds: float = 0.0


@dataclass
class _Run:
    """A comparison under way."""

    engine: Engine
    request: ComparisonRequest
    prompts: list[list[int]]
    answers: list[_Growing]

    @property
    def finished(self) -> bool:
        return all(answer.finish_reason for answer in self.answers)

    def add(self, steps: Sequence[SlotStep], seconds: float, stopped: bool) -> None:
        for step in steps:
            answer = self.answers[step.slot]
            answer.steps.append(step.trace)
            answer.detokenizer.add(step.trace.token_id)
            answer.finish_reason = step.finish_reason or (FinishReason.STOPPED if stopped else None)
            answer.seconds = seconds

    def score_unguided(self, decoding: Decoding) -> None:
        """Ask the guides what they make of the answers they did not see while those were written."""
        for answer in self.answers:
            if not answer.steps[0].guide_logprobs:
                tokens = [step.token_id for step in answer.steps]
                rows = decoding.score(tokens).T.tolist()
                dimensions = [guide.dimension for guide in self.engine.guides]
                answer.steps = [
                    replace(step, guide_logprobs=dict(zip(dimensions, row, strict=True)))
                    for step, row in zip(answer.steps, rows, strict=True)
                ]

    @property
    def has_unscored(self) -> bool:
        return any(not answer.steps[0].guide_logprobs for answer in self.answers)

    def progress(self, *, finished: bool = False) -> Progress:
        return Progress(
            n_tokens=max(len(answer.steps) for answer in self.answers),
            finished=finished,
            answers=self.snapshot,
            prompt_token_ids=tuple(self.prompts[0]),
        )

    def snapshot(self) -> tuple[Answer, ...]:
        return tuple(
            Answer(
                blend=blend,
                exponents=self.engine.exponents(blend),
                text=answer.detokenizer.text,
                token_ids=tuple(step.token_id for step in answer.steps),
                finish_reason=answer.finish_reason,
                seconds=answer.seconds,
                steps=tuple(answer.steps),
            )
            for blend, answer in zip(self.request.blends, self.answers, strict=True)
        )


class _told_plainly:  # noqa: N801 - reads as a statement
    """Translate running out of memory, and models that return no numbers, into errors for a person."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if _is_out_of_memory(error):
            raise CapacityError(
                "Memory ran out while answering.", hint="Shorten the prompt or the answer, or compare fewer blends."
            ) from error
        if isinstance(error, FloatingPointError):
            raise LoadError(
                f"The answers cannot go on: {error}.",
                hint="Try --dtype float32; if it stays, the base model or a guide is damaged.",
            ) from error


def _is_out_of_memory(error: BaseException | None) -> bool:
    is_allocation = isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    return is_allocation or isinstance(error, torch.OutOfMemoryError | MemoryError)
