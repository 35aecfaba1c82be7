"""The store on SQLAlchemy: one transaction per method, on SQLite and PostgreSQL alike."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Select, func, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from steering.errors import InputError, NotFoundError, StorageError
from storage.database import Database
from storage.records import (
    MAX_NAME_CHARS,
    Annotator,
    Comparison,
    Generation,
    Judgement,
    JudgementInput,
    check_text,
    is_id,
    new_id,
    utc_now,
)
from storage.repository import MAX_RECENT
from storage.rows import (
    annotator_from,
    comparison_from,
    generation_from,
    generation_values,
    guide_values,
    judgement_from,
)
from storage.tables import (
    AnnotatorRow,
    Base,
    ComparisonRow,
    GenerationGuideRow,
    GenerationRow,
    JudgementRow,
    RepeatedClickRow,
)


class SqlRepository:
    """A ``Repository`` on an open database. ``clock`` gives the times of annotators and judgements."""

    def __init__(self, database: Database, clock: Callable[[], datetime] = utc_now) -> None:
        self._database = database
        self._clock = clock

    def save_comparison(self, comparison: Comparison) -> None:
        """Store a comparison and both its generations; see ``Repository``."""
        with self._database.writing("The comparison was not saved.") as session:
            for generation in (comparison.left, comparison.right):
                _save_generation(session, generation)
            made = _insert_if_absent(
                session,
                ComparisonRow,
                {
                    "id": comparison.id,
                    "kind": comparison.kind.value,
                    "left_generation_id": comparison.left.id,
                    "right_generation_id": comparison.right.id,
                    "sides_known": comparison.sides_known,
                    "created_at": comparison.created_at,
                },
            )
            if not made and comparison_from(session.get_one(ComparisonRow, comparison.id)) != comparison:
                raise _other_content("comparison", comparison.id)

    def get_comparison(self, comparison_id: str) -> Comparison:
        """The comparison with that id; see ``Repository``."""
        with self._database.reading() as session:
            row = session.get(ComparisonRow, comparison_id) if is_id(comparison_id) else None
            if row is None:
                raise _not_found("comparison", comparison_id)
            return comparison_from(row)

    def annotator(self, key_hash: str, display_name: str = "") -> Annotator:
        """The annotator with that key hash, found or made; see ``Repository``."""
        check_text("key hash", key_hash, 1, MAX_NAME_CHARS)
        check_text("display name", display_name, 0, MAX_NAME_CHARS)
        query = select(AnnotatorRow).where(AnnotatorRow.key_hash == key_hash)
        with self._database.reading() as session:
            found = session.scalars(query).one_or_none()
            if found is not None:
                return annotator_from(found)
        with self._database.writing("The annotator was not saved.") as session:
            values = {
                "id": new_id(),
                "display_name": display_name,
                "key_hash": key_hash,
                "created_at": self._clock(),
            }
            _insert_if_absent(session, AnnotatorRow, values, unique="key_hash")
            return annotator_from(session.scalars(query).one())

    def record_judgement(self, judgement: JudgementInput) -> Judgement:
        """Store what a click says and return the row that holds it; see ``Repository``."""
        with self._database.writing("Your judgement was not saved.") as session:
            _lock_comparison(session, judgement.comparison_id)
            if session.get(AnnotatorRow, judgement.annotator_id) is None:
                raise _not_found("annotator", judgement.annotator_id)
            answered = _answered(session, judgement)
            if answered is not None:
                return judgement_from(answered)
            now = self._clock()
            current = session.scalars(
                _history(judgement.comparison_id, judgement.dimension, judgement.annotator_id).where(
                    JudgementRow.superseded_at.is_(None)
                )
            ).one_or_none()
            if current is not None and not _changes(current, judgement):
                session.add(RepeatedClickRow(client_key=judgement.client_key, judgement_id=current.id, clicked_at=now))
                return judgement_from(current)
            return judgement_from(_add_revision(session, judgement, current, now))

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
        return self._judgements(_history(comparison_id, dimension, annotator_id).order_by(JudgementRow.revision))

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

    def _judgements(self, query: Select[JudgementRow]) -> tuple[Judgement, ...]:
        with self._database.reading() as session:
            rows: Sequence[JudgementRow] = session.scalars(query).all()
            return tuple(judgement_from(row) for row in rows)


def _save_generation(session: Session, generation: Generation) -> None:
    if _insert_if_absent(session, GenerationRow, generation_values(generation)):
        session.add_all(GenerationGuideRow(**values) for values in guide_values(generation))
        session.flush()
    elif generation_from(session.get_one(GenerationRow, generation.id)) != generation:
        raise _other_content("generation", generation.id)


def _lock_comparison(session: Session, comparison_id: str) -> None:
    """Judge one comparison at a time: PostgreSQL locks its row, SQLite's whole database is already locked."""
    query = select(ComparisonRow.id).where(ComparisonRow.id == comparison_id).with_for_update()
    if session.scalars(query).one_or_none() is None:
        raise _not_found("comparison", comparison_id)


def _answered(session: Session, judgement: JudgementInput) -> JudgementRow | None:
    """The row that this client key led to when it was first seen."""
    query = select(JudgementRow).where(JudgementRow.client_key == judgement.client_key)
    row = session.scalars(query).one_or_none()
    if row is None:
        repeated = session.get(RepeatedClickRow, judgement.client_key)
        row = session.get_one(JudgementRow, repeated.judgement_id) if repeated else None
    if row is None:
        return None
    stored = (row.comparison_id, row.dimension, row.annotator_id)
    if stored != (judgement.comparison_id, judgement.dimension, judgement.annotator_id):
        raise InputError(
            f"The client key {judgement.client_key!r} was used for another judgement.",
            hint="Give each click its own key.",
        )
    return row


def _changes(current: JudgementRow, judgement: JudgementInput) -> bool:
    new_reason = judgement.reason not in ("", current.reason)
    return current.choice != judgement.choice or new_reason


def _add_revision(
    session: Session, judgement: JudgementInput, current: JudgementRow | None, now: datetime
) -> JudgementRow:
    if current is not None:
        # Before the insert: the schema lets only one row of a judgement hold.
        session.execute(update(JudgementRow).where(JudgementRow.id == current.id).values(superseded_at=now))
    row = JudgementRow(
        id=new_id(),
        comparison_id=judgement.comparison_id,
        annotator_id=judgement.annotator_id,
        dimension=judgement.dimension,
        choice=judgement.choice.value,
        client_key=judgement.client_key,
        reason=judgement.reason,
        revision=current.revision + 1 if current else 1,
        judged_at=now,
        superseded_at=None,
    )
    session.add(row)
    session.flush()
    return row


def _history(comparison_id: str, dimension: str, annotator_id: str) -> Select[JudgementRow]:
    return select(JudgementRow).where(
        JudgementRow.comparison_id == comparison_id,
        JudgementRow.annotator_id == annotator_id,
        JudgementRow.dimension == dimension,
    )


def _insert_if_absent(session: Session, table: type[Base], values: dict[str, Any], unique: str = "id") -> bool:
    """Insert a row unless one with the same ``unique`` column is there; whether it was inserted. Safe in a race."""
    connection = session.connection()
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    statement = insert(table).values(**values).on_conflict_do_nothing(index_elements=[unique])
    # Not rowcount, which SQLAlchemy does not promise for an INSERT.
    return connection.execute(statement.returning(table.__table__.c.id)).first() is not None


def _not_found(what: str, record_id: str) -> NotFoundError:
    return NotFoundError(
        f"There is no {what} {record_id[:40]!r}.", hint="Check the link or the id; it may be of another database."
    )


def _other_content(what: str, record_id: str) -> StorageError:
    return StorageError(
        f"Another {what} is already stored under the id {record_id}.", hint=f"Save a changed {what} under a new id."
    )
