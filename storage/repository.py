"""What the other rooms may ask of the store; one contract test holds every implementation to it."""

from datetime import datetime
from typing import Protocol

from storage.records import Annotator, Comparison, Forgotten, Judgement, JudgementInput

MAX_RECENT = 1000


class Repository(Protocol):
    """Comparisons, annotators and judgements. Every method may be called from any thread, and is done when it returns.

    Every method raises StorageError when the database cannot be read or written; nothing is then half stored.
    """

    def save_comparison(self, comparison: Comparison) -> None:
        """Store a comparison and both its generations; what is already there with equal content stays as it is.

        Raises:
            StorageError: another comparison or generation is stored under one of the ids.
        """

    def get_comparison(self, comparison_id: str) -> Comparison:
        """The comparison with that id, equal to the one that was saved.

        Raises:
            NotFoundError: there is none.
        """

    def annotator(self, key_hash: str, display_name: str = "", group: str = "") -> Annotator:
        """The annotator with that key hash, made with ``display_name`` and ``group`` if there is none.

        Raises:
            InputError: a text is too long, empty (the hash) or cannot be stored.
        """

    def record_judgement(self, judgement: JudgementInput) -> Judgement:
        """Store what a click says and return the row that holds it.

        A client key seen before returns the row it led to, whatever came later. The same choice under a new key
        changes nothing, unless it brings another reason that is not empty. Anything else becomes the next revision,
        and the one before it is kept as history.

        Raises:
            NotFoundError: there is no such comparison or annotator, or the annotator's data was deleted.
            InputError: the client key was used for another comparison, dimension or annotator, or the comparison is
                one of a study.
        """

    def judgements_of(self, comparison_id: str, annotator_id: str) -> tuple[Judgement, ...]:
        """The judgements that hold, of one comparison by one annotator, in the order of their dimensions."""

    def history_of(self, comparison_id: str, dimension: str, annotator_id: str) -> tuple[Judgement, ...]:
        """Every revision, oldest first; the last one holds."""

    def recent_judgements(self, limit: int = 20, annotator_id: str | None = None) -> tuple[Judgement, ...]:
        """The judgements that hold, newest first, at most ``limit``; of one annotator, or of all.

        Raises:
            InputError: ``limit`` is outside 1..1000.
        """

    def count_judgements(self) -> int:
        """How many judgements hold; replaced ones are not counted."""

    def delete_annotator(self, annotator_id: str, actor: str = "system") -> Annotator:
        """Remove an annotator's name, group, key, judgements and their history; what is left says only that, and when.

        Who comes back under the same key is a new annotator. Deleting twice changes nothing. ``actor`` is who did it,
        for the audit.

        Raises:
            NotFoundError: there is no such annotator.
        """

    def forget_prompts(self, before: datetime, actor: str = "system") -> Forgotten:
        """Remove what was typed on the Steer page before a time, answers included.

        Comparisons that nobody ever judged are removed whole. Of the others prompts and responses are emptied and their
        generations marked (``text_removed_at``), unless a comparison that stays shows the same generation.

        Raises:
            InputError: the time has no zone.
        """
