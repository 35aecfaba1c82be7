"""What is kept: generations, comparisons, annotators and judgements; frozen values checked when they are made."""

import re
import reprlib
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum

from steering.errors import InputError
from steering.types import Blend, Choice, FinishReason, Message, SamplingSettings
from storage.checks import check_finite, check_not_nan, check_time, check_whole

OVERALL = "overall"
"""The dimension of a judgement that is about the whole answer."""

MAX_NAME_CHARS = 100
MAX_REASON_CHARS = 2000
MAX_LABEL_CHARS = 4096
MAX_TOKEN_ID = 2**31 - 1

_ID = re.compile(r"[0-9a-f]{32}")
_SURROGATE = re.compile("[\ud800-\udfff]")


class ComparisonKind(StrEnum):
    """How the two responses of a comparison came about.

    STEER shows unguided on the left and guided on the right. STUDY is judged blind in a study, where each annotator
    sees the sides in an order of their own.
    """

    STEER = "steer"
    STUDY = "study"


class Strength(StrEnum):
    """How much better the chosen response is; only with a choice of one side."""

    SLIGHTLY = "slightly"
    CLEARLY = "clearly"


def new_id() -> str:
    """A fresh random id: 32 lowercase hexadecimal digits."""
    return uuid.uuid4().hex


def is_id(text: str) -> bool:
    """Whether ``text`` has the form of an id."""
    return _ID.fullmatch(text) is not None


def utc_now() -> datetime:
    """The time now, aware, in UTC."""
    return datetime.now(UTC)


@dataclass(frozen=True)
class GuideRecord:
    """A guide as it was when a response was written; ``sha256`` is over its weight and configuration files.

    Raises:
        InputError: a text is empty, too long or cannot be written as UTF-8, or the unit is not finite.
    """

    id: str
    dimension: str
    version: int | None
    unit: float
    sha256: str

    def __post_init__(self) -> None:
        check_text("guide id", self.id, 1, MAX_LABEL_CHARS)
        check_text("dimension", self.dimension, 1, MAX_NAME_CHARS)
        check_text("sha256 of a guide", self.sha256, 1, MAX_NAME_CHARS)
        check_finite("unit of a guide", self.unit)
        if self.version is not None:
            check_whole("version of a guide", self.version, 0, MAX_TOKEN_ID)


@dataclass(frozen=True)
class Generation:
    """A response with everything needed to write it again, token for token.

    ``exponents``, ``guide_rewards`` and the weights of ``blend`` are by dimension and name only ``guides``' dimensions.
    ``guide_rewards`` are mean log-probs per token and ``kl_per_token`` is mean KL(mixed ‖ base), both in nats; they may
    be infinite where a model gives a token no probability. ``seconds`` is wall time. ``created_at`` is in UTC.
    ``text_removed_at`` is set when prompt and response were deleted: they are then empty.

    Raises:
        InputError: a value is outside what can be stored; the message names it and what is allowed.
    """

    id: str
    messages: tuple[Message, ...]
    blend: Blend
    exponents: Mapping[str, float]
    sampling: SamplingSettings
    base_id: str
    base_revision: str
    guides: tuple[GuideRecord, ...]
    prompt_token_ids: tuple[int, ...]
    token_ids: tuple[int, ...]
    text: str
    finish_reason: FinishReason
    seconds: float
    kl_per_token: float | None = None
    guide_rewards: Mapping[str, float] = field(default_factory=dict)
    created_at: datetime = field(default_factory=utc_now)
    text_removed_at: datetime | None = None

    def __post_init__(self) -> None:
        check_id("id of a generation", self.id)
        for message in self.messages:
            check_text("message", message.content, nul_allowed=True)
        check_text("response", self.text, nul_allowed=True)
        check_text("base id", self.base_id, 1, MAX_LABEL_CHARS)
        check_text("base revision", self.base_revision, 0, MAX_LABEL_CHARS)
        self._check_dimensions()
        for token_id in (*self.prompt_token_ids, *self.token_ids):
            check_whole("token id", token_id, 0, MAX_TOKEN_ID)
        check_finite("seconds", self.seconds, low=0.0)
        if self.kl_per_token is not None:
            check_not_nan("KL per token", self.kl_per_token)
        check_time(self.created_at)

    def _check_dimensions(self) -> None:
        dimensions = [guide.dimension for guide in self.guides]
        if len(set(dimensions)) < len(dimensions):
            raise InputError(
                f"Two guides have the same dimension: {', '.join(dimensions)}.",
                hint="Give each guide its own dimension.",
            )
        named = (("weight", self.blend.weights), ("exponent", self.exponents), ("reward", self.guide_rewards))
        for what, values in named:
            for dimension, value in values.items():
                check_not_nan(f"{what} of {dimension!r}", value)
                if dimension not in dimensions:
                    raise InputError(
                        f"There is a {what} for {dimension!r}, but the guides are: {', '.join(dimensions) or 'none'}.",
                        hint="List every guide that took part in the generation.",
                    )


@dataclass(frozen=True)
class Comparison:
    """Two responses to one prompt, each with the screen side it was shown on.

    ``sides_known`` says whether the annotator could know which side was guided. ``created_at`` is in UTC.

    Raises:
        InputError: an id or the time is malformed, or both sides are the same generation.
    """

    id: str
    kind: ComparisonKind
    left: Generation
    right: Generation
    sides_known: bool
    created_at: datetime = field(default_factory=utc_now)

    def __post_init__(self) -> None:
        check_id("id of a comparison", self.id)
        check_time(self.created_at)
        if self.left.id == self.right.id:
            raise InputError(
                f"Both sides of the comparison are generation {self.left.id}.", hint="Give each answer its own id."
            )


@dataclass(frozen=True)
class Annotator:
    """A person who judges; known by the hash of a key, never by the key itself.

    When their data was deleted, ``deleted_at`` is set and nothing else is left of name, key and group.
    """

    id: str
    display_name: str
    key_hash: str
    created_at: datetime
    group: str = ""
    deleted_at: datetime | None = None


@dataclass(frozen=True)
class JudgementInput:
    """What one click says. ``dimension`` is a guide's dimension or ``OVERALL``; ``client_key`` names the click.

    Raises:
        InputError: an id is malformed, or a text is empty, too long or cannot be stored.
    """

    comparison_id: str
    annotator_id: str
    dimension: str
    choice: Choice
    client_key: str
    reason: str = ""
    strength: Strength | None = None

    def __post_init__(self) -> None:
        check_id("id of a comparison", self.comparison_id)
        check_id("id of an annotator", self.annotator_id)
        check_text("dimension", self.dimension, 1, MAX_NAME_CHARS)
        check_text("client key", self.client_key, 1, MAX_NAME_CHARS)
        check_text("reason", self.reason, 0, MAX_REASON_CHARS)
        check_strength(self.choice, self.strength)


@dataclass(frozen=True)
class Judgement:
    """A stored judgement; ``revision`` counts from 1 and the highest of a (comparison, dimension, annotator) holds.

    None holds once the highest was withdrawn, until there is another.
    """

    id: str
    comparison_id: str
    annotator_id: str
    dimension: str
    choice: Choice
    client_key: str
    reason: str
    revision: int
    judged_at: datetime
    strength: Strength | None = None
    withdrawn_at: datetime | None = None


@dataclass(frozen=True)
class Forgotten:
    """How many comparisons were removed whole, and of how many generations only the texts, because they were judged."""

    n_comparisons_removed: int
    n_generations_emptied: int


def check_strength(choice: Choice, strength: Strength | None) -> None:
    """Refuse a strength where no side was chosen.

    Raises:
        InputError: there is one.
    """
    if strength is not None and choice not in (Choice.LEFT, Choice.RIGHT):
        raise InputError(
            f"The choice {choice.value} cannot be {strength.value} better.",
            hint="Leave the strength out unless one side is better.",
        )


def check_text(name: str, value: str, low: int = 0, high: int | None = None, *, nul_allowed: bool = False) -> None:
    """Refuse a text with fewer than ``low`` or more than ``high`` characters, or that no database can hold.

    Raises:
        InputError: the text is too short or long, has half a surrogate pair, or a NUL where none is allowed.
    """
    if len(value) < low or (high is not None and len(value) > high):
        allowed = f"from {low} to {high}" if high is not None else f"at least {low}"
        raise InputError(f"The {name} has {len(value)} characters; it must have {allowed}.", hint=f"Change the {name}.")
    surrogate = _SURROGATE.search(value)
    if surrogate:
        raise InputError(
            f"The {name} has half a character (U+{ord(surrogate.group()):04X}) at position {surrogate.start()}; "
            "such text cannot be written as UTF-8.",
            hint="Type the character again; it was cut in two.",
        )
    if "\0" in value and not nul_allowed:
        raise InputError(
            f"The {name} has a NUL character at position {value.index(chr(0))}; none is allowed.", hint="Remove it."
        )


def check_id(name: str, value: str) -> None:
    """Refuse a text that has not the form of an id.

    Raises:
        InputError: it has not.
    """
    if not is_id(value):
        raise InputError(
            f"The {name} is {reprlib.repr(value)}; it must be 32 lowercase hexadecimal digits.",
            hint="Make it with new_id().",
        )
