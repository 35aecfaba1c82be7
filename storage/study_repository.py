"""What the other rooms may ask about studies and results; one contract test holds every implementation to it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from storage.records import Judgement
from storage.records_audit import AuditEntry
from storage.records_pairs import AnnotatorCount, JudgedPair, NamedBlend, OutcomeCount, PairFilter
from storage.records_publishing import Publishing
from storage.records_seen import Standing
from storage.records_studies import (
    MAX_UNDO,
    Answer,
    Assignment,
    Progress,
    Study,
    StudyItem,
    StudySettings,
    StudyState,
    StudySummary,
)

MAX_PAGE = 1000


class StudyRepository(Protocol):
    """Studies, their items and what annotators say of them. Safe in threads; a method that returned is stored.

    Every method raises StorageError when the database cannot be read or written; nothing is then half stored.
    ``actor`` is who did it, for the audit: an annotator's id or a short lowercase word.
    """

    def create_study(self, name: str, settings: StudySettings, actor: str = "system") -> Study:
        """Make a study in the state GENERATING.

        Raises:
            InputError: the name is empty, too long or taken.
        """

    def study(self, study_id: str) -> Study:
        """The study with that id.

        Raises:
            NotFoundError: there is none.
        """

    def studies(self) -> tuple[StudySummary, ...]:
        """Every study, newest first."""

    def set_state(self, study_id: str, state: StudyState, actor: str = "system") -> Study:
        """Change the state: GENERATING to OPEN, OPEN to CLOSED, CLOSED to OPEN; setting it again changes nothing.

        Raises:
            NotFoundError: there is no such study.
            InputError: the change is another one.
        """

    def set_publishing(self, study_id: str, publish: Publishing, actor: str = "system") -> Study:
        """Change whether guides trained on the study's judgements are published by themselves, whatever its state.

        Raises:
            NotFoundError: there is no such study.
        """

    def add_items(self, study_id: str, items: Sequence[StudyItem], actor: str = "system") -> None:
        """Store items with their comparisons, all or none; an item already stored stays as it is.

        Raises:
            NotFoundError: there is no such study.
            InputError: an item is of another study, repeats no regular item of it, or has gold for what is not asked.
            StorageError: another record is stored under one of the ids.
        """

    def items(self, study_id: str, after: str = "", limit: int = 100) -> tuple[StudyItem, ...]:
        """The items of a study in the order of their ids, from behind ``after`` on; for going through them in pages.

        Raises:
            InputError: ``limit`` is outside 1..1000.
        """

    def accept_consent(self, study_id: str, annotator_id: str) -> None:
        """Note that an annotator accepts the study's consent text; again changes nothing.

        Raises:
            NotFoundError: there is no such study or annotator.
        """

    def has_consented(self, study_id: str, annotator_id: str) -> bool:
        """Whether nothing stands between the annotator and judging: they accepted the text, or there is none."""

    def next_assignment(
        self, study_id: str, annotator_id: str, uncertainty: Mapping[str, float] | None = None
    ) -> Assignment | None:
        """What this annotator is to judge now; None when nothing is left for them.

        What they were given and have not answered comes first, oldest first: two tabs get the same item, and so does
        another machine after a restart. Otherwise an item is drawn and given to them: gold items and repetitions as
        their shares say, else a regular item with the fewest answers that still wants some. With the ordering UNCERTAIN
        the one with the highest ``uncertainty`` (item id -> any number; 0 where absent) goes first among those. What
        is still equal comes in an order of the annotator's own. The left side is drawn for each annotator, and is the
        other one when an item is repeated. An item that somebody was given in the last half hour counts as answered.

        Raises:
            NotFoundError: there is no such study or annotator.
            InputError: the study is not open, or its consent text was not accepted.
        """

    def answer(self, answers: Sequence[Answer]) -> tuple[Judgement, ...]:
        """Store answers of one annotator about one item, all or none, and return the rows that hold them.

        Client keys, changes of mind and history are as in ``Repository.record_judgement``. The item is answered once
        every question of the study has an answer. What was given can be answered also when the study has closed.

        Raises:
            NotFoundError: the annotator was not given this item.
            InputError: the answers are of several items or annotators, are none, or about what the study does not ask;
                or the study reveals and has told whose the answers were, which are then not changed any more.
        """

    def go_on(
        self,
        study_id: str,
        annotator_id: str,
        answers: Sequence[Answer] = (),
        uncertainty: Mapping[str, float] | None = None,
    ) -> Standing:
        """Store this annotator's answers about an item, if any, as ``answer`` does, and lay out what is next.

        What lies before them is that of ``next_assignment``, and is given together with the answers or not at all. But
        when the study has closed, the answers are stored, and the standing says that nothing more is asked. Where a
        study that reveals has told whose the answers were, other answers to the item are refused: nothing is stored,
        and the next one laid out.

        Raises:
            NotFoundError: there is no such study or annotator, or they were not given the item.
            InputError: as ``answer`` and ``next_assignment``.
        """

    def answered(self, study_id: str, annotator_id: str, limit: int = MAX_UNDO) -> tuple[Assignment, ...]:
        """What the annotator answered last, newest first.

        Raises:
            InputError: ``limit`` is outside 1..1000.
        """

    def undo(self, item_id: str, annotator_id: str) -> Assignment:
        """Take back all the annotator said of one of their last ten answered items, which is then asked again.

        The judgements stay as history. Again, before it is answered again, changes nothing.

        Raises:
            NotFoundError: the annotator was not given this item.
            InputError: ten items or more were answered since, or taken back and not answered again.
        """

    def progress(self, study_id: str, annotator_id: str) -> Progress:
        """How far the annotator is.

        Raises:
            NotFoundError: there is no such study.
        """


class ResultsRepository(Protocol):
    """Reading what was judged: counts made by the database, flat rows, the audit."""

    def outcome_counts(self, wanted: PairFilter) -> tuple[OutcomeCount, ...]:
        """How often each outcome was judged, per study, dimension and pair of blends; without repetitions and gold.

        Judgements of the Steer page, which are of no study, are in none of the counts.
        """

    def blends_of_items(self, study_id: str) -> dict[str, tuple[NamedBlend, NamedBlend]]:
        """Blends A and B of every regular item of a study, by the item's id; empty when there is no such study."""

    def n_items(self, study_id: str) -> int:
        """How many regular items a study has; 0 when there is no such study."""

    def annotator_counts(self, wanted: PairFilter) -> tuple[AnnotatorCount, ...]:
        """What each annotator did in each study, gold items and repetitions included, and if wanted on Steer."""

    def annotators_called(self, display_name: str) -> tuple[str, ...]:
        """The ids of the annotators of that name, also of those who judged nothing; an empty name is nobody's."""

    def pairs(self, wanted: PairFilter, *, with_texts: bool = True) -> Iterator[JudgedPair]:
        """The judgements that hold, oldest first, read bit by bit; ``with_texts`` False leaves prompt and answers out.

        All are of one state of the database. Close the iterator, or use it up, to free its connection.
        """

    def audit(self, after: int = 0, limit: int = 100, record_id: str | None = None) -> tuple[AuditEntry, ...]:
        """Entries with a number above ``after``, oldest first; of one record, or of all.

        Raises:
            InputError: ``limit`` is outside 1..1000.
        """

    def newest_audit(
        self, before: int | None = None, limit: int = 100, record_id: str | None = None
    ) -> tuple[AuditEntry, ...]:
        """Entries with a number below ``before``, None for all, newest first; of one record, or of all.

        Raises:
            InputError: ``limit`` is outside 1..1000.
        """
