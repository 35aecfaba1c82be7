"""A lineup: the base with the guides of one time, and the requests that they answer."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from transformers import PreTrainedTokenizerBase

from models.answers import BaseInfo, ComparisonRequest, GuideInfo
from models.detokenizing import Detokenizer
from models.ensemble import ModelEnsemble
from models.jobs import Job
from models.limits import Limits
from models.parts import Parts
from models.prompting import prompt_token_ids
from models.runs import Run
from models.scheduler import Scheduler
from steering.controls import slot_for
from steering.errors import PromptError
from steering.types import Blend, SamplingSettings


@dataclass(frozen=True)
class Loaded:
    """What :func:`models.assembly.load_engine` puts together for an :class:`models.engine.Engine`.

    ``chat_templates`` has one entry per member, base first; None is the tokenizer's own. ``parts`` is what it was made
    of, for the next lineup.
    """

    ensemble: ModelEnsemble
    tokenizer: PreTrainedTokenizerBase
    chat_templates: tuple[str | None, ...]
    base: BaseInfo
    guides: tuple[GuideInfo, ...]
    limits: Limits
    parts: Parts
    examples: tuple[str, ...] = ()


class Lineup:
    """The base with the guides of one time, and the requests they answer; ``is_held``: kept though not asked."""

    def __init__(self, loaded: Loaded, *, is_held: bool = False) -> None:
        self.loaded, self.is_held = loaded, is_held
        self.scheduler = Scheduler(loaded.ensemble, loaded.limits)
        self._units = {guide.dimension: guide.unit for guide in loaded.guides}

    def exponents(self, blend: Blend) -> dict[str, float]:
        """Return weight × unit of every guide by dimension.

        Raises:
            BlendError: the blend names a dimension no guide has.
        """
        return _exponents(self._units, blend)

    def begin(self, request: ComparisonRequest, owner: str) -> tuple[Job, Run]:
        """Word a request for the scheduler, and make what its caller sees.

        Raises:
            PromptError: the prompt and the answer do not fit into the context.
            BlendError: a dimension without a guide, or a negative weight without the plausibility mask.
        """
        slots = [slot_for(blend, self._units, request.sampling, request.n_top) for blend in request.blends]
        prompts = self._prompts(request)
        guides, tokenizer = self.loaded.guides, self.loaded.tokenizer
        job = Job(prompts, slots, scores=request.score_unguided and bool(guides), owner=owner)
        # whoever still looks at answers must not keep these guides in memory
        exponents = partial(_exponents, self._units)
        return job, Run(request, prompts[0], guides, exponents, lambda: Detokenizer(tokenizer))

    def _prompts(self, request: ComparisonRequest) -> list[list[int]]:
        """Word the prompt for every member; members that share a template share the ids."""
        by_template: dict[str | None, list[int]] = {}
        for template in self.loaded.chat_templates:
            if template not in by_template:
                by_template[template] = prompt_token_ids(self.loaded.tokenizer, request.messages, template)
        prompts = [by_template[template] for template in self.loaded.chat_templates]
        length = self.loaded.base.context_length
        longest, allowed = max(map(len, prompts)), length - request.sampling.max_new_tokens
        if longest > allowed:
            raise PromptError(
                f"The prompt has {longest} tokens; {max(allowed, 0)} fit beside an answer of up to "
                f"{request.sampling.max_new_tokens} in the context of {length}.",
                hint="Shorten the prompt, reset the chat, or allow fewer new tokens.",
            )
        return prompts


def _exponents(units: Mapping[str, float], blend: Blend) -> dict[str, float]:
    slot = slot_for(blend, units, SamplingSettings())
    return dict(zip(units, slot.guide_exponents, strict=True))
