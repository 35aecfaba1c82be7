"""Which prompts are for what, by their content and the seed alone: a prompt is in the same part in every file."""

import hashlib
from collections.abc import Sequence
from enum import StrEnum

from models.demo.build.rows import Row, plain_words

TESTED_SHARE = 0.12
VALIDATION_SHARE = 0.01


class Part(StrEnum):
    """What the pairs of a prompt are for."""

    TESTED = "test"
    GUIDES = "guides"
    JUDGES = "judges"


def part_of(messages: Sequence[Row], seed: int) -> Part:
    """The part of a prompt; conversations that end with the same words of the user are in one part."""
    share = _draw(seed, "pairs", prompt_key(messages))
    if share < TESTED_SHARE:
        return Part.TESTED
    return Part.GUIDES if share < (1 + TESTED_SHARE) / 2 else Part.JUDGES


def is_validation(text: str, seed: int) -> bool:
    """Whether a document is for the base model's validation loss."""
    return _draw(seed, "documents", plain_words(text)) < VALIDATION_SHARE


def prompt_key(messages: Sequence[Row]) -> str:
    """The words of what the user said last."""
    return plain_words(str(messages[-1]["content"]))


def _draw(seed: int, what: str, text: str) -> float:
    digest = hashlib.sha256(f"{seed}\0{what}\0{text}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
