"""From what the engine answers to what is stored, and from either to what a pane shows."""

from collections.abc import Sequence
from dataclasses import dataclass

from models.answers import Answer, BaseInfo, ComparisonRequest, GuideInfo, Progress
from storage.records import Comparison, ComparisonKind, Generation, GuideRecord, new_id
from ui.sessions import Response


@dataclass(frozen=True)
class Models:
    """The models that answer what is asked now; a stored generation names the guides that wrote it."""

    base: BaseInfo
    guides: Sequence[GuideInfo]

    def comparison(self, request: ComparisonRequest, last: Progress) -> Comparison:
        """The record of a finished Steer comparison: unguided on the left, guided on the right, known to the judge."""
        left, right = (self._generation(request, answer, last) for answer in last.answers())
        return Comparison(new_id(), ComparisonKind.STEER, left, right, sides_known=True)

    def _generation(self, request: ComparisonRequest, answer: Answer, last: Progress) -> Generation:
        assert answer.finish_reason is not None, "only finished answers are stored"
        return Generation(
            id=new_id(),
            messages=request.messages,
            blend=answer.blend,
            exponents=answer.exponents,
            sampling=request.sampling,
            base_id=self.base.id,
            base_revision=self.base.revision,
            guides=tuple(GuideRecord(g.id, g.dimension, g.version, g.unit, g.sha256) for g in last.guides),
            prompt_token_ids=last.prompt_token_ids,
            token_ids=answer.token_ids,
            text=answer.text,
            finish_reason=answer.finish_reason,
            seconds=answer.seconds,
            kl_per_token=answer.kl_per_token,
            guide_rewards=answer.guide_rewards,
        )

    @property
    def named(self) -> str:
        """The loaded models in words."""
        return ", ".join((self.base.id, *(guide.id for guide in self.guides)))

    def made_by_others(self, generation: Generation) -> str:
        """In words, the models a stored answer was made with; empty where they are the ones loaded now."""
        made = {(generation.base_id, generation.base_revision), *((g.id, g.sha256) for g in generation.guides)}
        loaded = {(self.base.id, self.base.revision), *((guide.id, guide.sha256) for guide in self.guides)}
        return "" if made == loaded else ", ".join((generation.base_id, *(guide.id for guide in generation.guides)))


def response(source: Answer | Generation) -> Response:
    """An answer of the engine, finished or not, or a stored one, which has no token numbers, as a pane shows it."""
    return Response(
        text=source.text,
        token_ids=source.token_ids,
        finish_reason=source.finish_reason,
        seconds=source.seconds,
        kl_per_token=source.kl_per_token,
        guide_rewards=source.guide_rewards,
        answer=source if isinstance(source, Answer) else None,
    )
