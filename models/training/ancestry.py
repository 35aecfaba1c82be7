"""What a guide and the guides before it were trained on, so that none of it is what a later one is tested on."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from models.guides import CARD_NAME, read_card
from models.training.rows import Preference

TRAINED_PROMPTS = "trained_prompts"
"""The key in a guide's card: hashes of all prompts that it or a guide before it was trained on."""


@dataclass(frozen=True)
class Seen:
    """Hashes of prompts, and ids of preferences where a card of an earlier Tiller has only those."""

    prompts: frozenset[str] = frozenset()
    ids: frozenset[str] = frozenset()

    def has(self, preference: Preference) -> bool:
        """Whether a guide was trained on this preference or on another with the same prompt."""
        return preference.id in self.ids or preference.prompt_hash in self.prompts

    def with_prompts_of(self, trained: Iterable[Preference]) -> list[str]:
        """Return all hashes, in order, with those of what is trained on now."""
        return sorted(self.prompts | {each.prompt_hash for each in trained})


def seen_by(guide: Path | None) -> Seen:
    """Read from its card what a guide was trained on; nothing is known where the card does not say.

    Raises:
        LoadError: the card cannot be read.
    """
    if guide is None or not (guide / CARD_NAME).exists():
        return Seen()
    ids = read_card(guide).data_ids
    prompts = json.loads((guide / CARD_NAME).read_text(encoding="utf-8")).get(TRAINED_PROMPTS) or ()
    return Seen(frozenset(map(str, prompts)), frozenset(ids))
