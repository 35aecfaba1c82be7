"""What an annotator is shown: an item's texts by the side of the screen, and how far they are."""

from dataclasses import dataclass

from steering.types import Message
from storage.records_studies import Progress


@dataclass(frozen=True)
class Seen:
    """All that an annotator may see of an item: its texts, and nothing of whose they are."""

    item_id: str
    messages: tuple[Message, ...]
    left: str
    right: str


@dataclass(frozen=True)
class Standing:
    """Where an annotator stands in a study: what lies before them, None when nothing is left, and how far they are.

    ``is_refused``: what they sent would have changed what the study has told them about, so nothing of it was stored.
    ``is_closed``: they sent answers after the study had closed, and nothing more is asked.
    """

    seen: Seen | None
    progress: Progress
    is_refused: bool = False
    is_closed: bool = False
