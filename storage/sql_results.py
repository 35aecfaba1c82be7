"""Reading what was judged, on SQLAlchemy: the database counts, and flat rows come bit by bit."""

import heapq
from collections import Counter
from collections.abc import Iterator

from sqlalchemy import Select, func, literal, select

from steering.errors import InputError
from storage.database import Database
from storage.judged_pairs import (
    OUTCOMES,
    completed,
    gold_shares,
    of_steer,
    of_studies,
    steer_pairs,
    stored_blend,
    study_pairs,
)
from storage.records_audit import AuditEntry
from storage.records_pairs import AnnotatorCount, JudgedPair, NamedBlend, Outcome, OutcomeCount, PairFilter
from storage.records_studies import ItemRole
from storage.study_repository import MAX_PAGE
from storage.study_rows import audit_entry_from
from storage.study_tables import AssignmentRow, AuditRow, StudyItemRow
from storage.tables import AnnotatorRow, JudgementRow


class SqlResults:
    """A ``ResultsRepository`` on an open database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def outcome_counts(self, wanted: PairFilter) -> tuple[OutcomeCount, ...]:
        """How often each outcome was judged; see ``ResultsRepository``."""
        names = (StudyItemRow.study_id, JudgementRow.dimension, StudyItemRow.blend_a, StudyItemRow.blend_b)
        seen = (JudgementRow.choice, AssignmentRow.shown_left)
        query = of_studies(select(*names, *seen, func.count()), wanted).group_by(*names, *seen)
        counts: Counter[tuple[str, str, str, str, Outcome]] = Counter()
        with self._database.reading() as session:
            for row in session.execute(query.where(StudyItemRow.role == ItemRole.REGULAR.value)):
                study_id, dimension, blend_a, blend_b, choice, shown_left, n_judgements = row
                outcome = OUTCOMES[(choice, shown_left)]
                counts[(study_id, dimension, blend_a, blend_b, outcome)] += n_judgements
        return tuple(OutcomeCount(*key, n_judgements) for key, n_judgements in sorted(counts.items()))

    def blends_of_items(self, study_id: str) -> dict[str, tuple[NamedBlend, NamedBlend]]:
        """Blends A and B of every regular item of a study; see ``ResultsRepository``."""
        columns = (StudyItemRow.blend_a, StudyItemRow.weights_a, StudyItemRow.blend_b, StudyItemRow.weights_b)
        query = select(StudyItemRow.id, *columns).where(
            StudyItemRow.study_id == study_id, StudyItemRow.role == ItemRole.REGULAR.value
        )
        with self._database.reading() as session:
            return {
                item_id: (stored_blend(blend_a, weights_a), stored_blend(blend_b, weights_b))
                for item_id, blend_a, weights_a, blend_b, weights_b in session.execute(query)
            }

    def n_items(self, study_id: str) -> int:
        """How many regular items a study has; see ``ResultsRepository``."""
        regular = (StudyItemRow.study_id == study_id, StudyItemRow.role == ItemRole.REGULAR.value)
        with self._database.reading() as session:
            return session.scalars(select(func.count()).select_from(StudyItemRow).where(*regular)).one()

    def annotator_counts(self, wanted: PairFilter) -> tuple[AnnotatorCount, ...]:
        """What each annotator did in each study; see ``ResultsRepository``."""
        who = (AnnotatorRow.id, AnnotatorRow.display_name, AnnotatorRow.group_name)
        when = (func.count(), func.min(JudgementRow.judged_at), func.max(JudgementRow.judged_at))
        items = func.count(StudyItemRow.id.distinct())
        queries = [of_studies(select(StudyItemRow.study_id, *who, items, *when), wanted)]
        queries[0] = queries[0].group_by(StudyItemRow.study_id, *who)
        if wanted.wants_steer:
            comparisons = func.count(JudgementRow.comparison_id.distinct())
            queries.append(of_steer(select(literal(""), *who, comparisons, *when), wanted).group_by(*who))
        with self._database.reading() as session:
            rows = [AnnotatorCount(*row) for query in queries for row in session.execute(query)]
        return tuple(sorted(rows, key=_by_ids))

    def annotators_called(self, display_name: str) -> tuple[str, ...]:
        """The ids of the annotators of that name; see ``ResultsRepository``."""
        query = select(AnnotatorRow.id).where(
            AnnotatorRow.display_name == display_name, AnnotatorRow.deleted_at.is_(None)
        )
        with self._database.reading() as session:
            return tuple(sorted(session.scalars(query))) if display_name else ()

    def pairs(self, wanted: PairFilter, *, with_texts: bool = True) -> Iterator[JudgedPair]:
        """The judgements that hold, oldest first; see ``ResultsRepository``."""
        with self._database.reading() as session:
            reliability = gold_shares(session, wanted)
            streams = [study_pairs(session, wanted, reliability)]
            if wanted.wants_steer:
                streams.append(steer_pairs(session, wanted, reliability))
            if with_texts:
                streams = [completed(session, stream) for stream in streams]
            yield from heapq.merge(*streams, key=lambda pair: (pair.judged_at, pair.judgement_id))

    def audit(self, after: int = 0, limit: int = 100, record_id: str | None = None) -> tuple[AuditEntry, ...]:
        """Entries with a number above ``after``, oldest first; see ``ResultsRepository``."""
        query = select(AuditRow).where(AuditRow.number > after).order_by(AuditRow.number)
        return self._audit(query, limit, record_id)

    def newest_audit(
        self, before: int | None = None, limit: int = 100, record_id: str | None = None
    ) -> tuple[AuditEntry, ...]:
        """Entries with a number below ``before``, newest first; see ``ResultsRepository``."""
        query = select(AuditRow).order_by(AuditRow.number.desc())
        if before is not None:
            query = query.where(AuditRow.number < before)
        return self._audit(query, limit, record_id)

    def _audit(self, query: Select[AuditRow], limit: int, record_id: str | None) -> tuple[AuditEntry, ...]:
        if not 1 <= limit <= MAX_PAGE:
            raise InputError(f"The limit is {limit}; it must be from 1 to {MAX_PAGE}.", hint="Ask for 100.")
        if record_id is not None:
            query = query.where(AuditRow.record_id == record_id)
        with self._database.reading() as session:
            return tuple(audit_entry_from(row) for row in session.scalars(query.limit(limit)))


def _by_ids(count: AnnotatorCount) -> tuple[str, str]:
    return count.study_id, count.annotator_id
