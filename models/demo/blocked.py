"""Words that neither the training texts nor the answers of the embedded model shall have.

The list is kept as hashes, so that the words themselves are nowhere in the project. It has slurs and the crudest
obscenities, no more: it finds a word, not what is meant.
"""

import hashlib
import re
from functools import cache
from pathlib import Path

_LENGTH = 16


def has_blocked_word(text: str) -> bool:
    """Whether one of the text's words, or its singular, is on the list."""
    words = set(re.findall(r"[a-z]+", text.lower()))
    return any(word_hash(word) in blocked_hashes() for word in words | {word.removesuffix("s") for word in words})


def word_hash(word: str) -> str:
    """What stands for a word in the list."""
    return hashlib.sha256(word.encode()).hexdigest()[:_LENGTH]


@cache
def blocked_hashes() -> frozenset[str]:
    """The list."""
    return frozenset(Path(__file__).with_name("blocked.txt").read_text(encoding="ascii").split())
