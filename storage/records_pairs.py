"""What results and exports are made of: one flat row per judgement that holds, in canonical sides A and B.

The screen sides of a judgement differ per annotator; here they are turned back, so that A and B mean the same two
responses for everybody. A study says which response is A; of a comparison of the Steer page A is the left one.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from steering.errors import InputError
from steering.types import Blend, Choice, Message, Role
from storage.records import MAX_LABEL_CHARS, Strength, check_text


class CanonicalSide(StrEnum):
    """One of the two responses of a comparison, wherever it was shown."""

    A = "a"
    B = "b"

    @property
    def other(self) -> "CanonicalSide":
        """The other response."""
        return CanonicalSide.B if self is CanonicalSide.A else CanonicalSide.A


class Outcome(StrEnum):
    """What a judgement says of responses A and B, whatever side of the screen they were on."""

    A = "a"
    B = "b"
    TIE = "tie"
    BOTH_BAD = "both_bad"
    SKIP = "skip"


def outcome_of(choice: Choice, shown_left: CanonicalSide) -> Outcome:
    """The outcome of a choice on the screen when ``shown_left`` was on the left."""
    if choice is Choice.LEFT:
        return Outcome(shown_left.value)
    if choice is Choice.RIGHT:
        return Outcome(shown_left.other.value)
    return Outcome(choice.value)


def blend_key(weights: Mapping[str, float]) -> str:
    """A short name of a blend: ``unguided``, or ``harmlessness=1 helpfulness=2`` in the order of the dimensions."""
    named = (f"{dimension}={weight:g}" for dimension, weight in sorted(weights.items()) if weight)
    return " ".join(named) or "unguided"


@dataclass(frozen=True)
class NamedBlend:
    """A blend that a study compares. ``key`` names it in results; two versions of a guide get keys of their own.

    ``weights`` is by dimension; one that is left out is 0.

    Raises:
        InputError: the key is empty, too long or cannot be stored, or a weight is not a finite number.
    """

    key: str
    weights: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_text("name of a blend", self.key, 1, MAX_LABEL_CHARS)
        Blend(self.weights)

    @classmethod
    def of(cls, weights: Mapping[str, float]) -> "NamedBlend":
        """The blend with these weights under the key they make."""
        return cls(blend_key(weights), dict(weights))


@dataclass(frozen=True)
class JudgedPair:
    """One judgement that holds, with everything results and exports need.

    ``study_id`` is None and ``study`` empty for a judgement of the Steer page. ``n_tokens_a`` and ``n_tokens_b`` are
    the lengths of the responses in tokens. ``shown_left`` is the response this annotator saw on the left.
    ``gold_answer`` is what the study says is right in this dimension; None where it says nothing. ``repeat_of`` is the
    id of the comparison of which this one is the repetition. ``messages`` and the responses are empty when they were
    not asked for. ``judged_at`` is in UTC.
    """

    judgement_id: str
    comparison_id: str
    study_id: str | None
    study: str
    dimension: str
    annotator_id: str
    group: str
    blend_a: NamedBlend
    blend_b: NamedBlend
    outcome: Outcome
    strength: Strength | None
    n_tokens_a: int
    n_tokens_b: int
    shown_left: CanonicalSide
    judged_at: datetime
    is_gold: bool
    gold_answer: Outcome | None
    repeat_of: str | None
    generation_a_id: str
    generation_b_id: str
    reason: str = ""
    messages: tuple[Message, ...] = ()
    response_a: str = ""
    response_b: str = ""

    @property
    def prompt(self) -> str:
        """The last thing the person said; the conversation before it is in ``messages``."""
        said = [message.content for message in self.messages if message.role is Role.USER]
        return said[-1] if said else ""


@dataclass(frozen=True)
class PairFilter:
    """Which judgements are meant; None means all. Times are aware; ``since`` is included, ``until`` is not.

    ``include_steer`` adds judgements of the Steer page, which belong to no study and are left out when ``study_ids``
    names one; with no study in it they are all there is.

    Raises:
        InputError: a time has no zone, the times leave nothing between them, or a text cannot be stored.
    """

    study_ids: tuple[str, ...] | None = None
    dimensions: tuple[str, ...] | None = None
    annotator_ids: tuple[str, ...] | None = None
    groups: tuple[str, ...] | None = None
    since: datetime | None = None
    until: datetime | None = None
    include_steer: bool = False

    @property
    def wants_steer(self) -> bool:
        """Whether judgements of the Steer page are meant."""
        return self.include_steer and not self.study_ids

    def __post_init__(self) -> None:
        named = (self.study_ids, self.dimensions, self.annotator_ids, self.groups)
        for text in (text for texts in named for text in texts or ()):
            check_text("word to filter by", text, 0, MAX_LABEL_CHARS)
        for name, moment in (("since", self.since), ("until", self.until)):
            if moment is not None and not isinstance(moment.utcoffset(), timedelta):
                raise InputError(f"The time {name} is {moment!r}; it has no zone.", hint="Add one, e.g. +00:00.")
        if self.since is not None and self.until is not None and self.since >= self.until:
            raise InputError(
                f"Nothing is from {self.since} and before {self.until}.", hint="Put the earlier time first."
            )


@dataclass(frozen=True)
class OutcomeCount:
    """How many judgements that hold say ``outcome`` of two blends in one dimension of a study."""

    study_id: str
    dimension: str
    blend_a: str
    blend_b: str
    outcome: Outcome
    n_judgements: int


@dataclass(frozen=True)
class AnnotatorCount:
    """What one annotator did in a study; times in UTC. ``n_items`` counts comparisons, all dimensions together.

    ``study_id`` is empty for the Steer page.
    """

    study_id: str
    annotator_id: str
    display_name: str
    group: str
    n_items: int
    n_judgements: int
    first_at: datetime
    last_at: datetime
