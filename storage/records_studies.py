"""What a study is: what it asks of which comparisons, and who was shown what."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from itertools import combinations

from steering.errors import InputError
from steering.types import MAX_SEED, Choice, Message, Role, SamplingSettings
from storage.checks import check_whole
from storage.records import (
    MAX_NAME_CHARS,
    MAX_REASON_CHARS,
    Comparison,
    ComparisonKind,
    Strength,
    check_id,
    check_strength,
    check_text,
)
from storage.records_pairs import CanonicalSide, NamedBlend, Outcome
from storage.records_publishing import OFF, Publishing

MAX_QUESTION_CHARS = 500
MAX_CONSENT_CHARS = 20_000
MAX_OVERLAP = 1000
MAX_UNDO = 10
"""How many answers an annotator can take back before answering again."""


class StudyState(StrEnum):
    """A study's answers are being generated, it can be judged, or it has ended."""

    GENERATING = "generating"
    OPEN = "open"
    CLOSED = "closed"


class Ordering(StrEnum):
    """What is asked next: fewest judgements first, or among those the most uncertain first."""

    FEWEST = "fewest"
    UNCERTAIN = "uncertain"


class ItemRole(StrEnum):
    """Why an item is asked: to learn something, to check the annotator, or to see whether the answer is the same."""

    REGULAR = "regular"
    GOLD = "gold"
    REPEAT = "repeat"


@dataclass(frozen=True)
class Question:
    """A dimension and how the annotator is asked about it.

    Raises:
        InputError: a text is empty, too long or cannot be stored.
    """

    dimension: str
    text: str

    def __post_init__(self) -> None:
        check_text("dimension", self.dimension, 1, MAX_NAME_CHARS)
        check_text("question", self.text, 1, MAX_QUESTION_CHARS)


@dataclass(frozen=True)
class StudySettings:
    """Everything that fixes a study; kept as it was when the study was made, but for ``publish``.

    ``prompts`` are the conversations to answer. What is compared are either ``blends`` or blends drawn evenly from
    ``ranges`` (dimension -> lowest and highest weight). ``overlap`` is how many annotators shall answer each
    comparison. ``gold_share`` and ``repeat_share`` say how much of what an annotator is asked are gold items and
    repetitions. ``reveals`` says whether the page tells, after the judgement, which side was which. ``seed`` fixes what
    is drawn. ``publish`` says whether guides trained on its judgements are published by themselves.

    Raises:
        InputError: a value is outside what is allowed; the message names it.
    """

    prompts: tuple[tuple[Message, ...], ...]
    questions: tuple[Question, ...]
    blends: tuple[NamedBlend, ...] = ()
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    sampling: SamplingSettings = field(default_factory=SamplingSettings)
    overlap: int = 1
    gold_share: float = 0.0
    repeat_share: float = 0.0
    consent: str = ""
    reveals: bool = False
    ordering: Ordering = Ordering.FEWEST
    seed: int = 0
    publish: Publishing = OFF

    def __post_init__(self) -> None:
        self._check_prompts()
        dimensions = [question.dimension for question in self.questions]
        _require(len(dimensions) > 0, "The study asks nothing.", "Give at least one question.")
        _require(
            len(set(dimensions)) == len(dimensions),
            f"Two questions are about the same dimension: {', '.join(dimensions)}.",
            "Ask one question per dimension.",
        )
        keys = [blend.key for blend in self.blends]
        _require(
            len(set(keys)) == len(keys),
            f"Two blends have the same name: {', '.join(keys)}.",
            "Give each blend a name of its own.",
        )
        for dimension, (low, high) in self.ranges.items():
            check_text("dimension", dimension, 1, MAX_NAME_CHARS)
            NamedBlend("range", {f"lowest {dimension}": low, f"highest {dimension}": high})
            _require(
                low < high, f"The range of {dimension!r} goes from {low} to {high}.", "Put the smaller weight first."
            )
        check_text("consent", self.consent, 0, MAX_CONSENT_CHARS)
        self._check_numbers()

    @property
    def dimensions(self) -> tuple[str, ...]:
        """The dimensions asked about, in the order of the questions."""
        return tuple(question.dimension for question in self.questions)

    def _check_prompts(self) -> None:
        _require(len(self.prompts) > 0, "The study has no prompts.", "Give at least one.")
        for number, messages in enumerate(self.prompts, start=1):
            _require(
                bool(messages) and messages[-1].role is Role.USER,
                f"Prompt {number} does not end with what a person says.",
                "End each prompt with a message of the user.",
            )
            for message in messages:
                check_text(f"message of prompt {number}", message.content, nul_allowed=True)

    def _check_numbers(self) -> None:
        _require(
            bool(self.ranges) != (len(self.blends) >= 2),
            f"The study has {len(self.blends)} blends and {len(self.ranges)} ranges.",
            "Name two or more blends, or give ranges to draw them from, not both.",
        )
        check_whole("overlap", self.overlap, 1, MAX_OVERLAP)
        check_whole("seed", self.seed, 0, MAX_SEED)
        for name, share in (("gold share", self.gold_share), ("repeat share", self.repeat_share)):
            _require(
                math.isfinite(share) and 0 <= share <= 1, f"The {name} is {share!r}.", "Give a number from 0 to 1."
            )
        _require(
            self.gold_share + self.repeat_share <= 1,
            f"Gold items and repetitions together are {self.gold_share + self.repeat_share:g} of what is asked.",
            "Lower one of the shares.",
        )

    def pairs_of_blends(self) -> tuple[tuple[NamedBlend, NamedBlend], ...]:
        """Every two of the fixed blends, in their order; empty when blends are drawn from ranges."""
        return tuple(combinations(self.blends, 2))


@dataclass(frozen=True)
class Study:
    """A study as stored; ``name`` is unique. ``created_at`` is in UTC."""

    id: str
    name: str
    settings: StudySettings
    state: StudyState
    created_at: datetime


@dataclass(frozen=True)
class StudySummary:
    """A study in a list: how many items it has, and how many of the answers it wants have been given.

    Gold items and repetitions are in none of the numbers; ``n_wanted`` is items times overlap.
    """

    id: str
    name: str
    state: StudyState
    created_at: datetime
    n_items: int
    n_given: int
    n_wanted: int
    publish: Publishing = OFF


@dataclass(frozen=True)
class StudyItem:
    """A comparison to be judged in a study: response A is the comparison's left one, B its right one.

    ``gold`` is the right outcome by dimension; an item with gold checks annotators and is asked of everybody.
    ``repeat_of`` is the id of the item that this one repeats.

    Raises:
        InputError: an id is malformed, the comparison is not one for a study, or gold is not a clear answer.
    """

    id: str
    study_id: str
    comparison: Comparison
    blend_a: NamedBlend
    blend_b: NamedBlend
    gold: Mapping[str, Outcome] = field(default_factory=dict)
    repeat_of: str | None = None

    def __post_init__(self) -> None:
        check_id("id of an item", self.id)
        check_id("id of a study", self.study_id)
        if self.repeat_of is not None:
            check_id("id of the repeated item", self.repeat_of)
        _require(
            self.comparison.kind is ComparisonKind.STUDY and not self.comparison.sides_known,
            f"The comparison {self.comparison.id} is not one for a blind study.",
            "Make it with kind STUDY and sides_known False.",
        )
        _require(
            not (self.gold and self.repeat_of), "A repetition has no right answer of its own.", "Leave out its gold."
        )
        for dimension, outcome in self.gold.items():
            check_text("dimension", dimension, 1, MAX_NAME_CHARS)
            _require(
                outcome is not Outcome.SKIP,
                f"The right answer in {dimension!r} is to skip.",
                "Leave that dimension out.",
            )

    @property
    def role(self) -> ItemRole:
        """Why the item is asked."""
        return ItemRole.REPEAT if self.repeat_of else ItemRole.GOLD if self.gold else ItemRole.REGULAR


@dataclass(frozen=True)
class Assignment:
    """An item that was given to an annotator. ``position`` counts from 0 in the order in which they were given.

    ``shown_left`` is the response that this annotator sees on the left. ``answered_at`` is None until every question
    of the study has an answer, and again after an undo. Times are in UTC.
    """

    item: StudyItem
    annotator_id: str
    shown_left: CanonicalSide
    position: int
    shown_at: datetime
    answered_at: datetime | None = None


@dataclass(frozen=True)
class Answer:
    """One annotator's answer to one question about one item, in sides of the screen.

    Raises:
        InputError: an id is malformed, a text is empty, too long or cannot be stored, or the strength has no side.
    """

    item_id: str
    annotator_id: str
    dimension: str
    choice: Choice
    client_key: str
    strength: Strength | None = None
    reason: str = ""

    def __post_init__(self) -> None:
        check_id("id of an item", self.item_id)
        check_id("id of an annotator", self.annotator_id)
        check_text("dimension", self.dimension, 1, MAX_NAME_CHARS)
        check_text("client key", self.client_key, 1, MAX_NAME_CHARS)
        check_text("reason", self.reason, 0, MAX_REASON_CHARS)
        check_strength(self.choice, self.strength)


@dataclass(frozen=True)
class Progress:
    """How far an annotator is in a study, in items; ``n_left`` is about what is left for them now."""

    n_answered: int
    n_left: int


def _require(holds: bool, message: str, hint: str) -> None:
    if not holds:
        raise InputError(message, hint=hint)
