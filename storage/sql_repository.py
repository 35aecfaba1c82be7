"""The store on SQLAlchemy: one transaction per method, on SQLite and PostgreSQL alike."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Select, func, select

from steering.errors import InputError
from storage.audit import SYSTEM, Audit
from storage.database import Database
from storage.forgetting import forget_annotator, forget_prompts
from storage.judging import history_query, lock_comparison, record
from storage.records import (
    MAX_NAME_CHARS,
    Annotator,
    Comparison,
    ComparisonKind,
    Forgotten,
    Judgement,
    JudgementInput,
    check_text,
    is_id,
    new_id,
    utc_now,
)
from storage.repository import MAX_RECENT
from storage.rows import annotator_from, comparison_from, judgement_from
from storage.saving import insert_if_absent, not_found, save_comparison
from storage.tables import AnnotatorRow, ComparisonRow, JudgementRow


class SqlRepository:
    """A ``Repository`` on an open database. ``clock`` gives the times of annotators and judgements."""

    def __init__(self, database: Database, clock: Callable[[], datetime] = utc_now) -> None:
        self._database = database
        self._clock = clock

    def save_comparison(self, comparison: Comparison) -> None:
        """Store a comparison and both its generations; see ``Repository``."""
        with self._database.writing("The comparison was not saved.") as session:
            save_comparison(session, comparison)

    def get_comparison(self, comparison_id: str) -> Comparison:
        """The comparison with that id; see ``Repository``."""
        with self._database.reading() as session:
            row = session.get(ComparisonRow, comparison_id) if is_id(comparison_id) else None
            if row is None:
                raise not_found("comparison", comparison_id)
            return comparison_from(row)

    def annotator(self, key_hash: str, display_name: str = "", group: str = "") -> Annotator:
        """The annotator with that key hash, found or made; see ``Repository``."""
        check_text("key hash", key_hash, 1, MAX_NAME_CHARS)
        check_text("display name", display_name, 0, MAX_NAME_CHARS)
        check_text("group", group, 0, MAX_NAME_CHARS)
        query = select(AnnotatorRow).where(AnnotatorRow.key_hash == key_hash)
        with self._database.reading() as session:
            found = session.scalars(query).one_or_none()
            if found is not None:
                return annotator_from(found)
        with self._database.writing("The annotator was not saved.") as session:
            values: dict[str, Any] = {
                "id": new_id(),
                "display_name": display_name,
                "key_hash": key_hash,
                "created_at": (now := self._clock()),
                "group_name": group,
            }
            if insert_if_absent(session, AnnotatorRow, values, "key_hash"):
                Audit(session, values["id"], now).add("made", "annotator", values["id"])
            return annotator_from(session.scalars(query).one())

    def record_judgement(self, judgement: JudgementInput) -> Judgement:
        """Store what a click says and return the row that holds it; see ``Repository``."""
        with self._database.writing("Your judgement was not saved.") as session:
            if lock_comparison(session, judgement.comparison_id) == ComparisonKind.STUDY:
                raise InputError(
                    "This comparison belongs to a study.", hint="Judge it on the Judge page, where its sides are drawn."
                )
            (stored,) = record(session, [judgement], self._clock()).judgements
            return stored

    def judgements_of(self, comparison_id: str, annotator_id: str) -> tuple[Judgement, ...]:
        """The judgements that hold, of one comparison by one annotator; see ``Repository``."""
        query = select(JudgementRow).where(
            JudgementRow.comparison_id == comparison_id,
            JudgementRow.annotator_id == annotator_id,
            JudgementRow.superseded_at.is_(None),
        )
        if not (is_id(comparison_id) and is_id(annotator_id)):
            return ()
        # Sorted here: PostgreSQL would sort by the collation of its server.
        return tuple(sorted(self._judgements(query), key=lambda judgement: judgement.dimension))

    def history_of(self, comparison_id: str, dimension: str, annotator_id: str) -> tuple[Judgement, ...]:
        """Every revision, oldest first; see ``Repository``."""
        check_text("dimension", dimension, 1, MAX_NAME_CHARS)
        if not (is_id(comparison_id) and is_id(annotator_id)):
            return ()
        return self._judgements(history_query(comparison_id, dimension, annotator_id).order_by(JudgementRow.revision))

    def recent_judgements(self, limit: int = 20, annotator_id: str | None = None) -> tuple[Judgement, ...]:
        """The judgements that hold, newest first; see ``Repository``."""
        if not 1 <= limit <= MAX_RECENT:
            raise InputError(f"The limit is {limit}; it must be from 1 to {MAX_RECENT}.", hint="Ask for 20.")
        query = select(JudgementRow).where(JudgementRow.superseded_at.is_(None))
        if annotator_id is not None:
            if not is_id(annotator_id):
                return ()
            query = query.where(JudgementRow.annotator_id == annotator_id)
        return self._judgements(query.order_by(JudgementRow.judged_at.desc(), JudgementRow.id.desc()).limit(limit))

    def count_judgements(self) -> int:
        """How many judgements hold; see ``Repository``."""
        with self._database.reading() as session:
            query = select(func.count()).select_from(JudgementRow).where(JudgementRow.superseded_at.is_(None))
            return session.scalars(query).one()

    def delete_annotator(self, annotator_id: str, actor: str = SYSTEM) -> Annotator:
        """Remove an annotator's data; see ``Repository``."""
        with self._database.writing("Nothing was deleted.") as session:
            if not is_id(annotator_id):
                raise not_found("annotator", annotator_id)
            deleted = annotator_from(forget_annotator(session, annotator_id, actor, self._clock()))
        self._database.flush_deleted()
        return deleted

    def forget_prompts(self, before: datetime, actor: str = SYSTEM) -> Forgotten:
        """Remove what was typed on the Steer page before a time; see ``Repository``."""
        if before.tzinfo is None:
            raise InputError(f"The time {before!r} has no zone.", hint="Add one, e.g. +00:00.")
        with self._database.writing("Nothing was deleted.") as session:
            forgotten = forget_prompts(session, before, actor, self._clock())
        self._database.flush_deleted()
        return forgotten

    def _judgements(self, query: Select[JudgementRow]) -> tuple[Judgement, ...]:
        with self._database.reading() as session:
            rows: Sequence[JudgementRow] = session.scalars(query).all()
            return tuple(judgement_from(row) for row in rows)
