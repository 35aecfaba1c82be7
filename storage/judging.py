"""Recording judgements inside a transaction: revisions, replayed clicks, withdrawals."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Select, func, select, update
from sqlalchemy.orm import Session

from steering.errors import InputError
from storage.audit import Audit
from storage.records import Judgement, JudgementInput, new_id
from storage.rows import judgement_from
from storage.saving import not_found, require_annotator
from storage.tables import ComparisonRow, JudgementRow, RepeatedClickRow


def lock_comparison(session: Session, comparison_id: str) -> str:
    """Judge one comparison at a time: PostgreSQL locks its row, SQLite's whole database is already locked.

    Returns its kind.

    Raises:
        NotFoundError: there is none.
    """
    query = select(ComparisonRow.kind).where(ComparisonRow.id == comparison_id).with_for_update()
    kind = session.scalars(query).one_or_none()
    if kind is None:
        raise not_found("comparison", comparison_id)
    return kind


def record(session: Session, judgement: JudgementInput, now: datetime) -> Judgement:
    """Store what a click says, see ``Repository.record_judgement``; the comparison must be locked.

    Raises:
        NotFoundError: there is no such annotator.
        InputError: the client key was used for another judgement.
    """
    require_annotator(session, judgement.annotator_id)
    answered = _answered(session, judgement)
    if answered is not None:
        return judgement_from(answered)
    history = history_query(judgement.comparison_id, judgement.dimension, judgement.annotator_id)
    current = session.scalars(history.where(JudgementRow.superseded_at.is_(None))).one_or_none()
    if current is not None and not _changes(current, judgement):
        session.add(RepeatedClickRow(client_key=judgement.client_key, judgement_id=current.id, clicked_at=now))
        return judgement_from(current)
    row = _add_revision(session, judgement, current, now)
    Audit(session, judgement.annotator_id, now).add(
        "recorded", "judgement", row.id, comparison=row.comparison_id, revision=row.revision
    )
    return judgement_from(row)


@dataclass(frozen=True)
class Withdrawal:
    """Which judgements are taken back, by whom and when."""

    comparison_id: str
    annotator_id: str
    at: datetime


def withdraw(session: Session, withdrawal: Withdrawal) -> int:
    """Take back the judgements that hold of a comparison; they stay as history. Returns how many there were."""
    holding = select(JudgementRow).where(
        JudgementRow.comparison_id == withdrawal.comparison_id,
        JudgementRow.annotator_id == withdrawal.annotator_id,
        JudgementRow.superseded_at.is_(None),
    )
    audit = Audit(session, withdrawal.annotator_id, withdrawal.at)
    rows = session.scalars(holding).all()
    for row in rows:
        row.superseded_at = row.withdrawn_at = withdrawal.at
        audit.add("withdrawn", "judgement", row.id, comparison=row.comparison_id, revision=row.revision)
    session.flush()
    return len(rows)


def history_query(comparison_id: str, dimension: str, annotator_id: str) -> Select[JudgementRow]:
    """Every revision of one judgement."""
    return select(JudgementRow).where(
        JudgementRow.comparison_id == comparison_id,
        JudgementRow.annotator_id == annotator_id,
        JudgementRow.dimension == dimension,
    )


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
    return new_reason or (current.choice, current.strength) != (judgement.choice, judgement.strength)


def _add_revision(
    session: Session, judgement: JudgementInput, current: JudgementRow | None, now: datetime
) -> JudgementRow:
    # Asked of the history, not of the row that holds: after a withdrawal none does.
    history = history_query(judgement.comparison_id, judgement.dimension, judgement.annotator_id)
    n_before = session.scalars(history.with_only_columns(func.max(JudgementRow.revision))).one() or 0
    if current is not None:
        # Before the insert: the schema lets only one row of a judgement hold.
        session.execute(update(JudgementRow).where(JudgementRow.id == current.id).values(superseded_at=now))
    row = JudgementRow(
        id=new_id(),
        comparison_id=judgement.comparison_id,
        annotator_id=judgement.annotator_id,
        dimension=judgement.dimension,
        choice=judgement.choice.value,
        strength=None if judgement.strength is None else judgement.strength.value,
        client_key=judgement.client_key,
        reason=judgement.reason,
        revision=n_before + 1,
        judged_at=now,
        superseded_at=None,
        withdrawn_at=None,
    )
    session.add(row)
    session.flush()
    return row
