"""Taking annotators' answers about the items of a study, and taking them back, inside a transaction."""

from collections.abc import Sequence
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, Update, bindparam, exists, func, or_, select, update
from sqlalchemy.orm import Session

from steering.errors import InputError
from storage.judging import Withdrawal, record, withdraw
from storage.records import Judgement, JudgementInput, is_id
from storage.records_studies import MAX_UNDO, Answer
from storage.saving import not_found
from storage.study_rows import rules_from
from storage.study_tables import AssignmentRow, StudyItemRow, StudyRow
from storage.tables import ComparisonRow, JudgementRow

_ITEMS, _ASSIGNMENTS = StudyItemRow.__table__, AssignmentRow.__table__


def answer_item(session: Session, answers: Sequence[Answer], now: datetime) -> tuple[Judgement, ...]:
    """Store answers of one annotator about one item; see ``StudyRepository.answer``.

    Raises:
        NotFoundError: the annotator was not given this item.
        InputError: an answer is about what the study does not ask, or its client key was used elsewhere.
        AlreadyJudgedError: the study reveals, the item is answered, and an answer differs from what is stored.
    """
    item_id, annotator_id = answers[0].item_id, answers[0].annotator_id
    comparison_id, given = _locked_item(session, item_id, annotator_id)
    rules = rules_from(given)
    dimensions = rules.dimensions
    for answer in answers:
        if answer.dimension not in dimensions:
            raise InputError(
                f"The study does not ask about {answer.dimension!r}.",
                hint=f"It asks about: {', '.join(sorted(dimensions))}.",
            )
    clicks = [_judgement_input(answer, comparison_id) for answer in answers]
    recorded = record(session, clicks, now, is_final=rules.reveals and given.answered_at is not None)
    if given.answered_at is None and dimensions <= recorded.dimensions:
        changed = {"of_item": item_id, "of_annotator": annotator_id, "answered_at": now}
        session.connection().execute(_answering(), changed)
        _count_answer(session, item_id, 1)
    return recorded.judgements


def undo_item(session: Session, item_id: str, annotator_id: str, now: datetime) -> AssignmentRow:
    """Take back what the annotator said of an item; see ``StudyRepository.undo``.

    Raises:
        NotFoundError: the annotator was not given this item.
        InputError: ten items or more were answered since, or taken back and not answered again.
    """
    _locked_item(session, item_id, annotator_id)
    # Read after the lock: another tab may have answered meanwhile.
    assignment = session.get_one(AssignmentRow, (item_id, annotator_id))
    if assignment.answered_at is not None:
        # Those that were answered later, and those taken back before: nobody goes back further than ten in one go.
        taken_back = exists().where(
            JudgementRow.annotator_id == annotator_id,
            JudgementRow.comparison_id == StudyItemRow.comparison_id,
            JudgementRow.withdrawn_at.is_not(None),
        )
        is_taken_back = AssignmentRow.answered_at.is_(None) & taken_back
        later = (
            select(func.count())
            .select_from(AssignmentRow)
            .join(StudyItemRow, StudyItemRow.id == AssignmentRow.item_id)
            .where(
                AssignmentRow.study_id == assignment.study_id,
                AssignmentRow.annotator_id == annotator_id,
                or_(AssignmentRow.answered_at > assignment.answered_at, is_taken_back),
            )
        )
        if session.scalars(later).one() >= MAX_UNDO:
            raise InputError(
                f"This answer is not one of your last {MAX_UNDO}.", hint="Ask whoever runs the study to change it."
            )
        assignment.answered_at = None
        _count_answer(session, item_id, -1)
    withdraw(session, Withdrawal(assignment.item.comparison_id, annotator_id, now))
    return assignment


def _locked_item(session: Session, item_id: str, annotator_id: str) -> tuple[str, Row[Any]]:
    """Lock an item that the annotator was given; its comparison, and of assignment and study what answering needs.

    One item is answered at a time: PostgreSQL locks its comparison's row, SQLite's whole database is already locked.

    Raises:
        NotFoundError: the annotator was not given this item.
    """
    if is_id(item_id) and is_id(annotator_id):
        connection = session.connection()
        comparison_id = connection.execute(_locking(), {"of_item": item_id}).scalar_one_or_none()
        # Read after the lock: another tab may have answered meanwhile.
        given = connection.execute(_given(), {"of_item": item_id, "of_annotator": annotator_id}).one_or_none()
        if comparison_id is not None and given is not None:
            return comparison_id, given
    raise not_found("item of yours", item_id)


@cache
def _locking() -> Select[Any]:
    comparisons = ComparisonRow.__table__
    query = select(comparisons.c.id).join(_ITEMS, _ITEMS.c.comparison_id == comparisons.c.id)
    return query.where(_ITEMS.c.id == bindparam("of_item")).with_for_update(of=comparisons)


@cache
def _given() -> Select[Any]:
    studies = StudyRow.__table__
    columns = (_ASSIGNMENTS.c.answered_at, studies.c.id, studies.c.overlap, studies.c.settings)
    query = select(*columns).join(studies, studies.c.id == _ASSIGNMENTS.c.study_id)
    return query.where(_is_theirs())


@cache
def _answering() -> Update:
    return update(AssignmentRow).where(_is_theirs())


def _is_theirs() -> ColumnElement[bool]:
    of_item = _ASSIGNMENTS.c.item_id == bindparam("of_item")
    return of_item & (_ASSIGNMENTS.c.annotator_id == bindparam("of_annotator"))


def _count_answer(session: Session, item_id: str, change: int) -> None:
    session.connection().execute(_counting(), {"of_item": item_id, "change": change})


@cache
def _counting() -> Update:
    n_answered = _ITEMS.c.n_answered + bindparam("change")
    return update(StudyItemRow).where(_ITEMS.c.id == bindparam("of_item")).values(n_answered=n_answered)


def _judgement_input(answer: Answer, comparison_id: str) -> JudgementInput:
    return JudgementInput(
        comparison_id=comparison_id,
        annotator_id=answer.annotator_id,
        dimension=answer.dimension,
        choice=answer.choice,
        client_key=answer.client_key,
        reason=answer.reason,
        strength=answer.strength,
    )
