"""What results and exports are made of: one flat row per judgement that holds, in canonical sides A and B.

The screen sides of a judgement differ per annotator; here they are turned back, so that A and B mean the same two
responses for everybody. A study says which response is A; of a comparison of the Steer page A is the left one.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from functools import cached_property

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


def made_with(versions: Mapping[str, int | None], base_exponent: float) -> str:
    """What beside the weights of a blend decides on its answers, in words; empty where nothing is out of the ordinary.

    ``versions`` are by dimension, of the guides that have a weight: any other has no part in the answer.
    """
    named = [f"{dimension} version {version}" for dimension, version in sorted(versions.items()) if version is not None]
    return ", ".join([*named, *([f"base exponent {base_exponent:.15g}"] if base_exponent != 1 else [])])


BlendIdentity = tuple[str, tuple[tuple[str, float], ...], str]
"""Key, weights that are not 0 and ``made_with``: blends of which any of these differs are not the same."""


@dataclass(frozen=True)
class NamedBlend:
    """A blend that is compared, by a study or on the Steer page.

    ``key`` names it: in a study no two blends have the same one, in two studies they may. ``weights`` is by dimension;
    one that is left out is 0. ``made_with`` is what the function of that name says of its answers, empty while there
    are none.

    Raises:
        InputError: a text is too long or cannot be stored, the key is empty, or a weight is not a finite number.
    """

    key: str
    weights: Mapping[str, float] = field(default_factory=dict)
    made_with: str = ""

    def __post_init__(self) -> None:
        check_text("name of a blend", self.key, 1, MAX_LABEL_CHARS)
        check_text("guides of a blend", self.made_with, 0, MAX_LABEL_CHARS)
        Blend(self.weights)

    @classmethod
    def of(cls, weights: Mapping[str, float], made_with: str = "") -> "NamedBlend":
        """The blend with these weights under the key they make; two versions of a guide get keys of their own."""
        key = blend_key(weights)
        return cls(f"{key} ({made_with})" if made_with else key, dict(weights), made_with)

    @cached_property
    def identity(self) -> BlendIdentity:
        """What is equal for two blends if, and only if, they are the same."""
        return (
            self.key,
            tuple(sorted((name, weight) for name, weight in self.weights.items() if weight)),
            self.made_with,
        )


def blend_labels(blends: Iterable[NamedBlend]) -> dict[BlendIdentity, str]:
    """What to call each of some blends, no two alike: the key, and of several with one key also what differs."""
    same_key: dict[str, list[NamedBlend]] = {}
    for blend in {blend.identity: blend for blend in blends}.values():
        same_key.setdefault(blend.key, []).append(blend)
    labels = {group[0].identity: key for key, group in same_key.items() if len(group) == 1}
    taken = set(labels.values())
    for group in (group for group in same_key.values() if len(group) > 1):
        weights_differ = len({blend_key(blend.weights) for blend in group}) > 1
        guides_differ = len({blend.made_with for blend in group}) > 1
        for blend in sorted(group, key=lambda blend: blend.identity):
            told = [blend_key(blend.weights)] if weights_differ else []
            told += [blend.made_with] if guides_differ and blend.made_with else []
            name = f"{blend.key} ({', '.join(told)})" if told else blend.key
            label, number = name, 1
            while label in taken:  # weights that differ beyond the digits of a key, or somebody's own name like this
                number += 1
                label = f"{name} #{number}"
            taken.add(label)
            labels[blend.identity] = label
    return labels


@dataclass(frozen=True)
class JudgedPair:
    """One judgement that holds, with everything results and exports need.

    ``study_id`` is None and ``study`` empty for a judgement of the Steer page. ``n_tokens_a`` and ``n_tokens_b`` are
    the lengths of the responses in tokens. ``shown_left`` is the response this annotator saw on the left.
    ``gold_answer`` is what the study says is right in this dimension; None where it says nothing. ``repeat_of`` is the
    id of the comparison of which this one is the repetition. ``messages`` and the responses are empty when they were
    not asked for. ``judged_at`` is in UTC. ``reliability`` is of the annotator and no part of the judgement: the share
    of gold answers given right in the studies that were asked for, over all dimensions and all times, whatever of them
    was read; None without any.
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
    reliability: float | None = field(default=None, compare=False)

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

    @property
    def whole(self) -> "PairFilter":
        """The same studies and annotators, in every dimension and at all times: what their reliability is from."""
        return replace(self, dimensions=None, since=None, until=None)

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
