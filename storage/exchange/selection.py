"""Which judgements an export uses, and why the others are left out; which prompts are for testing."""

import hashlib
import json
import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from steering.errors import InputError
from storage.exchange.pair_rows import message_rows
from storage.records_pairs import JudgedPair, Outcome


class LeftOut(StrEnum):
    """Why a judgement is in no row of an export."""

    SKIP = "skip"
    BOTH_BAD = "both_bad"
    TIE = "tie"
    GOLD = "gold"
    REPEAT = "repeat"
    NO_TEXT = "no_text"
    """Prompt and answers were deleted, or not read."""
    UNRELIABLE = "unreliable"
    RELIABILITY_UNKNOWN = "reliability_unknown"
    """A reliability was asked for, and the annotator judged no gold item."""
    DISAGREEMENT = "disagreement"
    OTHER_DIMENSION = "other_dimension"
    """The format has no place for this dimension."""


@dataclass(frozen=True)
class Selection:
    """What is exported, and how it is split.

    ``min_reliability`` is the least share of gold answers an annotator got right, over all dimensions and times of the
    studies meant, of which an export may hold less (``JudgedPair.reliability``).
    ``min_agreement`` is the least share of the judgements of a comparison in a dimension (skips left out) that say what
    most of them say; a comparison below it is left out with all its judgements. ``test_share`` of the prompts are for
    testing, drawn by ``seed``: a prompt is in the same half in every export with that seed.

    Raises:
        InputError: a share is not from 0 to 1.
    """

    min_reliability: float | None = None
    min_agreement: float | None = None
    test_share: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("min_reliability", "min_agreement", "test_share"):
            share = getattr(self, name)
            if share is not None and not (math.isfinite(share) and 0 <= share <= 1):
                raise InputError(f"The {name} is {share!r}.", hint="Give a number from 0 to 1.")

    def is_for_testing(self, pair: JudgedPair) -> bool:
        """Whether the prompt of a judgement is one of the test prompts."""
        text = json.dumps([self.seed, message_rows(pair.messages)])
        drawn = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
        return drawn < self.test_share * 2**64


def select(
    pairs: Sequence[JudgedPair], selection: Selection, leave_out: frozenset[LeftOut]
) -> tuple[list[JudgedPair], Counter[str]]:
    """The judgements to use, in their order, and how many are left out by reason; the first reason counts.

    ``leave_out`` are the reasons the format has of its own; reliability and agreement come from ``selection``.
    """
    agreement = _agreement(pairs)
    kept: list[JudgedPair] = []
    left_out: Counter[str] = Counter()
    for pair in pairs:
        reasons = [reason for reason in _own_reasons(pair) if reason in leave_out]
        if selection.min_reliability is not None:
            if pair.reliability is None:
                reasons.append(LeftOut.RELIABILITY_UNKNOWN)
            elif pair.reliability < selection.min_reliability:
                reasons.append(LeftOut.UNRELIABLE)
        if (
            selection.min_agreement is not None
            and agreement.get((pair.comparison_id, pair.dimension), 0.0) < selection.min_agreement
        ):
            reasons.append(LeftOut.DISAGREEMENT)
        if reasons:
            left_out[reasons[0].value] += 1
        else:
            kept.append(pair)
    return kept, left_out


def _own_reasons(pair: JudgedPair) -> list[LeftOut]:
    outcomes = {Outcome.SKIP: LeftOut.SKIP, Outcome.BOTH_BAD: LeftOut.BOTH_BAD, Outcome.TIE: LeftOut.TIE}
    reasons = [outcomes[pair.outcome]] if pair.outcome in outcomes else []
    if pair.is_gold:
        reasons.append(LeftOut.GOLD)
    if pair.repeat_of is not None:
        reasons.append(LeftOut.REPEAT)
    if not pair.messages:
        reasons.append(LeftOut.NO_TEXT)
    return reasons


def _agreement(pairs: Sequence[JudgedPair]) -> dict[tuple[str, str], float]:
    """Share of the most frequent outcome, by comparison and dimension."""
    said: dict[tuple[str, str], Counter[Outcome]] = defaultdict(Counter)
    for pair in pairs:
        if pair.outcome is not Outcome.SKIP:
            said[(pair.comparison_id, pair.dimension)][pair.outcome] += 1
    return {key: max(counts.values()) / counts.total() for key, counts in said.items()}
