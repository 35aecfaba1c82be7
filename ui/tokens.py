"""What the page says of single tokens: how hard each guide pulled, and where two answers part."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from models.answers import Answer
from steering.types import StepTrace
from ui import wording

Speller = Callable[[Sequence[int]], tuple[str, ...]]
"""One visible piece of text per token id."""

_VISIBLE = str.maketrans({" ": wording.SPACE_MARK, "\n": wording.NEWLINE_MARK + "\n", "\t": wording.TAB_MARK})


@dataclass(frozen=True)
class Pull:
    """A guide's say in one token: ``nats`` = log π_guide − log π_base, ``share`` = exponent × nats."""

    nats: float
    share: float


@dataclass(frozen=True)
class Alternative:
    """One of the likeliest tokens of a step, spelt out."""

    name: str
    base_prob: float
    mixed_prob: float


@dataclass(frozen=True)
class TokenRow:
    """One token of an answer: its ``piece`` of the text (may be empty), a ``name`` for it, and its numbers.

    ``pulls`` is by dimension, ``kl`` in nats. Probabilities are at temperature 1, before top-k and the like.
    """

    piece: str
    name: str
    base_prob: float
    mixed_prob: float
    pulls: Mapping[str, Pull]
    kl: float
    alternatives: tuple[Alternative, ...]


def token_rows(answer: Answer, spell: Speller) -> tuple[TokenRow, ...]:
    """The rows of a finished answer, one per token."""
    pieces = spell(answer.token_ids)
    names: dict[int, str] = {}
    for step in answer.steps:
        for top in step.top:
            if top.token_id not in names:
                names[top.token_id] = token_name(spell([top.token_id])[0], top.token_id)
    return tuple(_row(step, piece, answer.exponents, names) for step, piece in zip(answer.steps, pieces, strict=True))


def _row(step: StepTrace, piece: str, exponents: Mapping[str, float], names: Mapping[int, str]) -> TokenRow:
    pulls = {}
    for dimension, logprob in step.guide_logprobs.items():
        nats = logprob - step.base_logprob
        nats = nats if not math.isnan(nats) else 0.0  # both gave it no probability at all
        exponent = exponents.get(dimension, 0.0)
        pulls[dimension] = Pull(nats, exponent * nats if exponent else 0.0)
    return TokenRow(
        piece=piece,
        name=token_name(piece, step.token_id),
        base_prob=math.exp(step.base_logprob),
        mixed_prob=math.exp(step.mixed_logprob),
        pulls=pulls,
        kl=step.kl,
        alternatives=tuple(Alternative(names[top.token_id], top.base_prob, top.mixed_prob) for top in step.top),
    )


def token_name(piece: str, token_id: int) -> str:
    """A token's text with its spaces and line ends visible; its id where it has no text of its own."""
    visible = piece.translate(_VISIBLE).replace("\n", "")
    return visible if visible.strip() else wording.TOKEN_ID.format(token_id=token_id)


def first_difference(left: Sequence[int], right: Sequence[int]) -> int | None:
    """The position of the first token at which two answers differ; None where they are the same."""
    for position, (one, other) in enumerate(zip(left, right, strict=False)):
        if one != other:
            return position
    return None if len(left) == len(right) else min(len(left), len(right))
