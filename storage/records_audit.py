"""The record of who did what."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from storage.records import MAX_NAME_CHARS, is_id


@dataclass(frozen=True)
class AuditEntry:
    """Who did what when, to which record. ``actor`` is an annotator's id or a word such as "cli".

    ``details`` are ids, numbers and words of the code, never what a person wrote. ``number`` grows by time.
    """

    number: int
    at: datetime
    actor: str
    action: str
    record_kind: str
    record_id: str
    details: Mapping[str, str | int]


def is_actor(text: str) -> bool:
    """Whether ``text`` may stand as an actor in the audit: an id, or a short lowercase word."""
    return is_id(text) or (text.isascii() and text.isalpha() and text.islower() and len(text) <= MAX_NAME_CHARS)
