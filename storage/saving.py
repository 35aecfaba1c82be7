"""Writing comparisons and generations inside a transaction, and the refusals that every store shares."""

from functools import cache
from typing import Any

from sqlalchemy import Select, bindparam, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from steering.errors import NotFoundError, StorageError
from storage.records import Comparison, Generation, is_id
from storage.rows import comparison_from, generation_from, generation_values, guide_values
from storage.tables import AnnotatorRow, Base, ComparisonRow, GenerationGuideRow, GenerationRow


def save_comparison(session: Session, comparison: Comparison) -> None:
    """Store a comparison and both its generations; what is there with equal content stays as it is.

    Raises:
        StorageError: another comparison or generation is stored under one of the ids.
    """
    for generation in (comparison.left, comparison.right):
        _save_generation(session, generation)
    values = {
        "id": comparison.id,
        "kind": comparison.kind.value,
        "left_generation_id": comparison.left.id,
        "right_generation_id": comparison.right.id,
        "sides_known": comparison.sides_known,
        "created_at": comparison.created_at,
    }
    if not insert_if_absent(session, ComparisonRow, values) and (
        comparison_from(session.get_one(ComparisonRow, comparison.id)) != comparison
    ):
        raise other_content("comparison", comparison.id)


def _save_generation(session: Session, generation: Generation) -> None:
    if insert_if_absent(session, GenerationRow, generation_values(generation)):
        session.add_all(GenerationGuideRow(**values) for values in guide_values(generation))
        session.flush()
    elif generation_from(session.get_one(GenerationRow, generation.id)) != generation:
        raise other_content("generation", generation.id)


def insert_if_absent(session: Session, table: type[Base], values: dict[str, Any], *unique: str) -> bool:
    """Insert a row unless one with the same ``unique`` columns (the id) is there; whether it was. Safe in a race."""
    connection = session.connection()
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    columns = unique or ("id",)
    statement = insert(table).values(**values).on_conflict_do_nothing(index_elements=columns)
    # Not rowcount, which SQLAlchemy does not promise for an INSERT.
    return connection.execute(statement.returning(table.__table__.c[columns[0]])).first() is not None


def require_annotator(session: Session, annotator_id: str) -> None:
    """Make sure that an annotator is there whose data was not deleted, nor can be until the transaction ends.

    Raises:
        NotFoundError: there is none.
    """
    about = {"of_annotator": annotator_id}
    if not is_id(annotator_id) or session.connection().execute(_kept_annotator(), about).first() is None:
        raise not_found("annotator", annotator_id)


@cache
def _kept_annotator() -> Select[Any]:
    annotators = AnnotatorRow.__table__.c
    query = select(annotators.id).where(annotators.id == bindparam("of_annotator"), annotators.deleted_at.is_(None))
    return query.with_for_update(read=True)


def not_found(what: str, record_id: str) -> NotFoundError:
    """The error for a record that is not there."""
    return NotFoundError(
        f"There is no {what} {record_id[:40]!r}.", hint="Check the link or the id; it may be of another database."
    )


def other_content(what: str, record_id: str) -> StorageError:
    """The error for a record that is there and is another."""
    return StorageError(
        f"Another {what} is already stored under the id {record_id}.", hint=f"Save a changed {what} under a new id."
    )
