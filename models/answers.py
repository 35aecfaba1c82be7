"""What is asked of the engine and what it gives back; plain values without tensors."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from steering.errors import BlendError, InputError
from steering.types import Blend, FinishReason, Message, Role, SamplingSettings, StepTrace


@dataclass(frozen=True)
class ComparisonRequest:
    """Any number of blends of one prompt, decoded together; two panes are the case of two.

    ``n_top`` is how many of the likeliest tokens each step reports (0: none). The last message must be the user's.
    With ``score_unguided`` the guides, which do not see an unguided answer while it is written, say afterwards what
    they make of it.

    Raises:
        InputError: there is no blend or no message, or ``n_top`` is outside 0..20.
    """

    messages: tuple[Message, ...]
    blends: tuple[Blend, ...]
    sampling: SamplingSettings = field(default_factory=SamplingSettings)
    n_top: int = 0
    score_unguided: bool = True

    def __post_init__(self) -> None:
        if not self.blends:
            raise BlendError(
                "The comparison has no blend.", hint="Give at least one; a blend without weights is unguided."
            )
        if not self.messages or not self.messages[-1].content.strip():
            raise InputError("The prompt is empty.", hint="Type a question or a request first.")
        if self.messages[-1].role is not Role.USER:
            raise InputError(
                f"The last message is the {self.messages[-1].role.value}'s; it must be the user's.",
                hint="End the chat with what the model should answer.",
            )
        if not 0 <= self.n_top <= 20:
            raise InputError(f"n_top is {self.n_top}; it must be from 0 to 20.", hint="Ask for 5.")


@dataclass(frozen=True)
class BaseInfo:
    """The base model that is loaded; ``revision`` is a Hub commit or ``sha256:…`` of a local folder's files."""

    id: str
    revision: str
    device: str
    dtype: str
    context_length: int
    vocabulary_size: int


@dataclass(frozen=True)
class GuideInfo:
    """A guide that is loaded: its card's facts and the sha256 over its weight and configuration files.

    ``kind`` is ``"lora"`` for an adapter on the base and ``"model"`` for a causal LM of its own.
    """

    id: str
    dimension: str
    unit: float
    sha256: str
    kind: str
    version: int | None = None
    beta: float | None = None
    n_pairs: int | None = None
    held_out_accuracy: float | None = None
    licence: str | None = None


@dataclass(frozen=True)
class Answer:
    """One response, finished or still being written.

    ``finish_reason`` is None while it is being written. ``exponents`` maps every guide's dimension to weight × unit.
    ``seconds`` runs from the start of the comparison to this answer's last token. ``text`` never ends in half a
    character. ``steps`` has one entry per token; ``guide_logprobs`` in the steps of an unguided answer is empty until
    the answer has ended.
    """

    blend: Blend
    exponents: Mapping[str, float]
    text: str
    token_ids: tuple[int, ...]
    finish_reason: FinishReason | None
    seconds: float
    steps: tuple[StepTrace, ...]

    @property
    def tokens_per_second(self) -> float:
        """Tokens written per second of wall time; 0 before the first."""
        return len(self.token_ids) / self.seconds if self.seconds > 0 else 0.0

    @property
    def kl_per_token(self) -> float | None:
        """Mean KL(mixed ‖ base) per token, in nats; None before the first token."""
        return sum(step.kl for step in self.steps) / len(self.steps) if self.steps else None

    @property
    def guide_rewards(self) -> dict[str, float]:
        """Each guide's mean log-prob per token of this answer, in nats: its reward, free of weight and beta."""
        known = [step.guide_logprobs for step in self.steps if step.guide_logprobs]
        if not known or len(known) < len(self.steps):
            return {}
        return {dimension: sum(row[dimension] for row in known) / len(known) for dimension in known[0]}


@dataclass(frozen=True)
class Progress:
    """Where a comparison stands after a step; ``finished`` when nothing more comes.

    ``position`` is above 0 while the request waits: 1 is next. ``timed_out``: the answers were ended by the time limit.
    ``guides`` are those that answer it, which need not be those that answer the next one.
    ``answers()`` takes a snapshot in the order of the request's blends. It is built only when asked for, so that a
    caller who draws 15 times a second pays 15 times a second.
    """

    n_tokens: int
    finished: bool
    answers: Callable[[], tuple[Answer, ...]]
    prompt_token_ids: tuple[int, ...]
    position: int = 0
    timed_out: bool = False
    guides: tuple[GuideInfo, ...] = ()
