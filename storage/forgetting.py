"""Removing what people wrote, inside a transaction: an annotator's data, and old prompts of the Steer page."""

from datetime import datetime

from sqlalchemy import ColumnElement, CursorResult, Delete, Update, delete, exists, or_, select, update
from sqlalchemy.orm import Session

from storage.audit import Audit
from storage.records import ComparisonKind, Forgotten
from storage.saving import not_found
from storage.study_tables import AssignmentRow, ConsentRow, StudyItemRow
from storage.tables import (
    AnnotatorRow,
    ComparisonRow,
    GenerationGuideRow,
    GenerationRow,
    JudgementRow,
    RepeatedClickRow,
)


def forget_annotator(session: Session, annotator_id: str, actor: str, now: datetime) -> AnnotatorRow:
    """Remove everything an annotator said and was called; a row with an id and a time stays.

    Items they answered are asked of others again. When it was done before, nothing changes.

    Raises:
        NotFoundError: there is no such annotator.
    """
    row = session.get(AnnotatorRow, annotator_id, with_for_update=True)
    if row is None:
        raise not_found("annotator", annotator_id)
    if row.deleted_at is not None:
        return row
    theirs = select(JudgementRow.id).where(JudgementRow.annotator_id == annotator_id)
    _run(session, delete(RepeatedClickRow).where(RepeatedClickRow.judgement_id.in_(theirs)))
    n_judgements = _run(session, delete(JudgementRow).where(JudgementRow.annotator_id == annotator_id))
    answered = select(AssignmentRow.item_id).where(
        AssignmentRow.annotator_id == annotator_id, AssignmentRow.answered_at.is_not(None)
    )
    fewer = {"n_answered": StudyItemRow.n_answered - 1}
    _run(session, update(StudyItemRow).where(StudyItemRow.id.in_(answered)).values(fewer))
    for table in (AssignmentRow, ConsentRow):
        _run(session, delete(table).where(table.annotator_id == annotator_id))
    row.display_name, row.group_name, row.key_hash, row.deleted_at = "", "", f"deleted {annotator_id}", now
    Audit(session, actor, now).add("deleted", "annotator", annotator_id, judgements=n_judgements)
    session.flush()
    return row


def forget_prompts(session: Session, before: datetime, actor: str, now: datetime) -> Forgotten:
    """Remove what was typed on the Steer page before a time.

    Comparisons that nobody judged are removed whole. Of those that were judged, prompts and responses are emptied and
    marked, unless a comparison that stays shows the same generation.
    """
    old = (ComparisonRow.kind == ComparisonKind.STEER.value) & (ComparisonRow.created_at < before)
    judged = exists().where(JudgementRow.comparison_id == ComparisonRow.id)
    n_removed = _run(session, delete(ComparisonRow).where(old, ~judged))
    unused = select(GenerationRow.id).where(~exists().where(_shows(GenerationRow)))
    _run(session, delete(GenerationGuideRow).where(GenerationGuideRow.generation_id.in_(unused)))
    _run(session, delete(GenerationRow).where(~exists().where(_shows(GenerationRow))))
    emptied = {"messages": "[]", "prompt_token_ids": "[]", "token_ids": "[]", "text": '""', "text_removed_at": now}
    n_emptied = _run(
        session,
        update(GenerationRow)
        .where(
            GenerationRow.text_removed_at.is_(None),
            exists().where(_shows(GenerationRow), old),
            ~exists().where(_shows(GenerationRow), ~old),
        )
        .values(emptied),
    )
    if n_removed or n_emptied:
        Audit(session, actor, now).add(
            "forgotten", "comparisons", "", comparisons_removed=n_removed, generations_emptied=n_emptied
        )
    return Forgotten(n_removed, n_emptied)


def _shows(generation: type[GenerationRow]) -> ColumnElement[bool]:
    return or_(ComparisonRow.left_generation_id == generation.id, ComparisonRow.right_generation_id == generation.id)


def _run(session: Session, statement: Delete | Update) -> int:
    """Run a statement that changes rows; how many it did."""
    result = session.execute(statement, execution_options={"synchronize_session": False})
    assert isinstance(result, CursorResult), "a DELETE or UPDATE reports its rows"
    return int(result.rowcount)
