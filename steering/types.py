"""The words every room shares: blends, sampling settings, choices, and what one decoding step reports.

Everything here is a frozen value checked when it is made. Nothing here knows of tensors, files or databases.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from steering.errors import BlendError, SamplingError

MAX_SEED = 2**63 - 1
MAX_EXPONENT = 100.0


class Role(StrEnum):
    """Who said a message of a chat."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"


@dataclass(frozen=True)
class Message:
    """One turn of a chat; ``content`` is exactly what the person or the model wrote."""

    role: Role
    content: str


class Side(StrEnum):
    """Where on the screen a response was shown."""

    LEFT = "left"
    RIGHT = "right"


class Choice(StrEnum):
    """What an annotator can say of a comparison in one dimension."""

    LEFT = "left"
    RIGHT = "right"
    TIE = "tie"
    BOTH_BAD = "both_bad"
    SKIP = "skip"


class FinishReason(StrEnum):
    """Why a response ended: the model ended it, the token limit was reached, or it was stopped from outside."""

    EOS = "eos"
    LENGTH = "length"
    STOPPED = "stopped"


@dataclass(frozen=True)
class Blend:
    """A full setting of the sliders.

    ``weights`` maps a guide's dimension to its weight (a dimension left out has weight 0). ``base_exponent`` is a_0 of
    the mixing formula: 1 for GenARM, 0 for a product of the guides alone (MOD).

    Raises:
        BlendError: a weight or the base exponent is not a finite number, or everything is zero.
    """

    weights: Mapping[str, float] = field(default_factory=dict)
    base_exponent: float = 1.0

    def __post_init__(self) -> None:
        for dimension, weight in {**self.weights, "base exponent": self.base_exponent}.items():
            if not (math.isfinite(weight) and abs(weight) <= MAX_EXPONENT):
                raise BlendError(
                    f"The weight of {dimension!r} is {weight!r}; it must be a finite number from "
                    f"{-MAX_EXPONENT:g} to {MAX_EXPONENT:g}.",
                    hint="Sliders usually go from 0 to 4.",
                )
        if self.base_exponent < 0:
            raise BlendError(
                f"The base exponent is {self.base_exponent:g}; it must be 0 or more.",
                hint="Use 1 unless you know why not.",
            )
        if self.base_exponent == 0 and not any(self.weights.values()):
            raise BlendError(
                "The base exponent and every weight are 0, so there is nothing to sample from.",
                hint="Give at least one guide a weight, or set the base exponent to 1.",
            )

    @property
    def is_unguided(self) -> bool:
        """Whether every weight is 0, so that the answer is the base model's own."""
        return not any(self.weights.values())


@dataclass(frozen=True)
class SamplingSettings:
    """How a token is drawn from the mixed distribution: softmax(score / T) after top-k, top-p and min-p.

    ``temperature`` 0 is greedy. ``top_k`` 0, ``top_p`` 1 and ``min_p`` 0 are off. ``plausibility`` is ε of the
    mask π_base(v) ≥ ε·max π_base (Li et al. 2022, contrastive decoding, eq. 2); None means 0.1 where a guide has a
    negative exponent and off elsewhere. ``seed`` fixes the noise: the same seed replays the same text. Without
    ``stop_at_eos`` an answer goes on to ``max_new_tokens`` whatever the model says (for measurements).

    Raises:
        SamplingError: a value is outside its range; the message names it and the range.
    """

    temperature: float = 0.7
    top_k: int = 0
    top_p: float = 0.95
    min_p: float = 0.0
    max_new_tokens: int = 200
    seed: int = 0
    plausibility: float | None = None
    stop_at_eos: bool = True

    def __post_init__(self) -> None:
        _check("temperature", self.temperature, 0.0, 10.0)
        _check("top_k", self.top_k, 0, 2**31 - 1, whole=True)
        _check("top_p", self.top_p, 0.0, 1.0, open_low=True)
        _check("min_p", self.min_p, 0.0, 1.0)
        _check("max_new_tokens", self.max_new_tokens, 1, 2**20, whole=True)
        _check("seed", self.seed, 0, MAX_SEED, whole=True)
        if self.plausibility is not None:
            _check("plausibility", self.plausibility, 0.0, 1.0)


def _check(name: str, value: float, low: float, high: float, *, open_low: bool = False, whole: bool = False) -> None:
    is_number = isinstance(value, int) if whole else isinstance(value, int | float)
    inside = is_number and not isinstance(value, bool) and low <= value <= high and not (open_low and value == low)
    if not inside:
        kind = "a whole number" if whole else "a number"
        allowed = f"{kind} above {low:g} and up to {high:g}" if open_low else f"{kind} from {low} to {high}"
        raise SamplingError(f"{name} is {value!r}; it must be {allowed}.", hint=f"Change {name} and run again.")


@dataclass(frozen=True)
class TopAlternative:
    """One of the likeliest tokens of a step, with its probability under the base and under the mixture."""

    token_id: int
    base_prob: float
    mixed_prob: float


@dataclass(frozen=True)
class StepTrace:
    """What one decoding step reports for one answer.

    All numbers are in nats, at temperature 1 and before top-k, top-p and min-p; the plausibility mask, where it is on,
    is part of the mixture. ``guide_logprobs`` maps dimension to that guide's log-prob of the token (empty until known).
    ``kl`` is KL(mixed ‖ base), ``entropy`` the mixture's.
    """

    token_id: int
    base_logprob: float
    mixed_logprob: float
    guide_logprobs: Mapping[str, float]
    kl: float
    entropy: float
    top: tuple[TopAlternative, ...] = ()
