"""A comparison as its caller sees it: answers that grow with every letter from the scheduler."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from models.answers import Answer, ComparisonRequest, GuideInfo, Progress
from models.detokenizing import Detokenizer
from models.jobs import Ended, Letter, Over, Scored, Waiting, Written
from steering.types import Blend, FinishReason, StepTrace


@dataclass
class _Growing:
    """One answer while it is being written."""

    detokenizer: Detokenizer
    steps: list[StepTrace] = field(default_factory=list)
    finish_reason: FinishReason | None = None
    seconds: float = 0.0
    n_scored: int = 0


class Run:
    """A comparison under way.

    Args:
        request: what was asked.
        prompt_token_ids: the prompt as the base model reads it.
        guides: the guides that answer it, in their order.
        exponents: weight × unit of every guide, for a blend.
        new_detokenizer: makes a detokenizer for each answer.
    """

    def __init__(
        self,
        request: ComparisonRequest,
        prompt_token_ids: Sequence[int],
        guides: Sequence[GuideInfo],
        exponents: Callable[[Blend], dict[str, float]],
        new_detokenizer: Callable[[], Detokenizer],
    ) -> None:
        self.request, self.prompt_token_ids = request, tuple(prompt_token_ids)
        self.guides, self._exponents = tuple(guides), exponents
        self.dimensions = tuple(guide.dimension for guide in guides)
        self.answers = [_Growing(new_detokenizer()) for _ in request.blends]
        self.position, self.timed_out, self.is_over = 0, False, False

    def add(self, letter: Letter) -> None:
        """Take in what the scheduler says.

        Raises:
            Exception: the error that ended the run.
        """
        match letter:
            case Waiting(position):
                self.position = position
            case Written(steps, seconds):
                for index, step in steps:
                    answer = self.answers[index]
                    answer.steps.append(step.trace(self.dimensions))
                    answer.detokenizer.add(step.token_id)
                    answer.finish_reason, answer.seconds = step.finish_reason, seconds
            case Ended(timed_out):
                self.timed_out = timed_out
                for answer in self.answers:
                    answer.finish_reason = answer.finish_reason or FinishReason.STOPPED
            case Scored(index, rows):
                self._score(self.answers[index], rows)
            case Over(error):
                self.is_over = True
                if error is not None:
                    raise error

    def _score(self, answer: _Growing, rows: Sequence[Sequence[float]]) -> None:
        for row in rows:
            logprobs = dict(zip(self.dimensions, row, strict=True))
            answer.steps[answer.n_scored] = replace(answer.steps[answer.n_scored], guide_logprobs=logprobs)
            answer.n_scored += 1

    def progress(self) -> Progress:
        """Where the comparison stands."""
        return Progress(
            n_tokens=max(len(answer.steps) for answer in self.answers),
            finished=self.is_over,
            answers=self.snapshot,
            prompt_token_ids=self.prompt_token_ids,
            position=self.position,
            timed_out=self.timed_out,
            guides=self.guides,
        )

    def snapshot(self) -> tuple[Answer, ...]:
        """The answers as they are now."""
        return tuple(
            Answer(
                blend=blend,
                exponents=self._exponents(blend),
                text=answer.detokenizer.text,
                token_ids=tuple(step.token_id for step in answer.steps),
                finish_reason=answer.finish_reason,
                seconds=answer.seconds,
                steps=tuple(answer.steps),
            )
            for blend, answer in zip(self.request.blends, self.answers, strict=True)
        )
