"""Giving items to annotators, taking their answers and taking them back, inside a transaction."""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Select, exists, func, or_, select, update
from sqlalchemy.orm import Session, aliased

from steering.errors import InputError
from storage.judging import Withdrawal, lock_comparison, record, withdraw
from storage.next_item import (
    REPEAT_GAP,
    RESERVED_FOR,
    Candidate,
    Given,
    Rules,
    choose_any,
    choose_regular,
    roles_due,
)
from storage.records import ComparisonKind, Judgement, JudgementInput, is_id, new_id
from storage.records_pairs import CanonicalSide
from storage.records_studies import MAX_UNDO, Answer, ItemRole
from storage.saving import not_found
from storage.study_rows import rules_from
from storage.study_tables import AssignmentRow, StudyItemRow, StudyRow
from storage.tables import ComparisonRow, JudgementRow


@dataclass(frozen=True)
class Turn:
    """An annotator's turn in a study, and what they were given before."""

    study_id: str
    annotator_id: str
    given: Given
    now: datetime


def open_assignment(session: Session, study_id: str, annotator_id: str) -> AssignmentRow | None:
    """The oldest assignment that was given and not answered."""
    query = select(AssignmentRow).where(
        AssignmentRow.study_id == study_id,
        AssignmentRow.annotator_id == annotator_id,
        AssignmentRow.answered_at.is_(None),
    )
    return session.scalars(query.order_by(AssignmentRow.position).limit(1)).one_or_none()


def given_to(session: Session, study_id: str, annotator_id: str) -> Given:
    """How many items of a study the annotator was given."""
    query = (
        select(StudyItemRow.role, func.count())
        .join(AssignmentRow, AssignmentRow.item_id == StudyItemRow.id)
        .where(AssignmentRow.study_id == study_id, AssignmentRow.annotator_id == annotator_id)
        .group_by(StudyItemRow.role)
    )
    counts = {role: int(n_items) for role, n_items in session.execute(query)}
    return Given(*(counts.get(role.value, 0) for role in (ItemRole.REGULAR, ItemRole.GOLD, ItemRole.REPEAT)))


def assign_next(session: Session, rules: Rules, turn: Turn, uncertainty: Mapping[str, float] | None) -> None:
    """Give the annotator their next item, if there is one; the study must be locked."""
    for role in roles_due(rules, turn.annotator_id, turn.given):
        if role is ItemRole.REPEAT:
            if _assign_repetition(session, rules, turn):
                return
            continue
        if role is ItemRole.GOLD:
            unseen = session.scalars(_unseen(turn.study_id, turn.annotator_id, ItemRole.GOLD))
            item_id = choose_any(rules, turn.annotator_id, unseen)
        else:
            candidates = _candidates(session, rules, turn)
            item_id = choose_regular(rules, turn.annotator_id, candidates, uncertainty)
        if item_id is not None:
            _assign(session, turn, item_id, secrets.choice(tuple(CanonicalSide)))
            return


def unanswered_regular(study_id: str, annotator_id: str) -> Select[str]:
    """The ids of the regular items that the annotator was not given."""
    return _unseen(study_id, annotator_id, ItemRole.REGULAR)


def answer_item(session: Session, answers: Sequence[Answer], now: datetime) -> tuple[Judgement, ...]:
    """Store answers of one annotator about one item; see ``StudyRepository.answer``.

    Raises:
        NotFoundError: the annotator was not given this item.
        InputError: an answer is about what the study does not ask, or its client key was used elsewhere.
    """
    assignment = _locked_assignment(session, answers[0].item_id, answers[0].annotator_id)
    dimensions = rules_from(session.get_one(StudyRow, assignment.study_id)).dimensions
    for answer in answers:
        if answer.dimension not in dimensions:
            raise InputError(
                f"The study does not ask about {answer.dimension!r}.",
                hint=f"It asks about: {', '.join(sorted(dimensions))}.",
            )
    comparison_id = assignment.item.comparison_id
    stored = tuple(record(session, _judgement_input(answer, comparison_id), now) for answer in answers)
    session.flush()
    if assignment.answered_at is None:
        holding = select(JudgementRow.dimension).where(
            JudgementRow.comparison_id == comparison_id,
            JudgementRow.annotator_id == assignment.annotator_id,
            JudgementRow.superseded_at.is_(None),
        )
        if dimensions <= set(session.scalars(holding)):
            assignment.answered_at = now
            _count_answer(session, assignment.item_id, 1)
    return stored


def undo_item(session: Session, item_id: str, annotator_id: str, now: datetime) -> AssignmentRow:
    """Take back what the annotator said of an item; see ``StudyRepository.undo``.

    Raises:
        NotFoundError: the annotator was not given this item.
        InputError: ten items or more were answered since, or taken back and not answered again.
    """
    assignment = _locked_assignment(session, item_id, annotator_id)
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


def _locked_assignment(session: Session, item_id: str, annotator_id: str) -> AssignmentRow:
    item = session.get(StudyItemRow, item_id) if is_id(item_id) and is_id(annotator_id) else None
    if item is not None:
        lock_comparison(session, item.comparison_id)
        # Read after the lock: another tab may have answered meanwhile.
        assignment = session.get(AssignmentRow, (item_id, annotator_id))
        if assignment is not None:
            return assignment
    raise not_found("item of yours", item_id)


def _count_answer(session: Session, item_id: str, change: int) -> None:
    n_answered = StudyItemRow.n_answered + change
    session.execute(update(StudyItemRow).where(StudyItemRow.id == item_id).values(n_answered=n_answered))


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


def _unseen(study_id: str, annotator_id: str, role: ItemRole) -> Select[str]:
    seen = exists().where(AssignmentRow.item_id == StudyItemRow.id, AssignmentRow.annotator_id == annotator_id)
    return select(StudyItemRow.id).where(StudyItemRow.study_id == study_id, StudyItemRow.role == role.value, ~seen)


def _candidates(session: Session, rules: Rules, turn: Turn) -> list[Candidate]:
    being_given = (
        select(AssignmentRow.item_id, func.count())
        .where(
            AssignmentRow.study_id == turn.study_id,
            AssignmentRow.answered_at.is_(None),
            AssignmentRow.shown_at > turn.now - RESERVED_FOR,
        )
        .group_by(AssignmentRow.item_id)
    )
    reserved = {item_id: int(n_given) for item_id, n_given in session.execute(being_given)}
    wanting = unanswered_regular(turn.study_id, turn.annotator_id).where(StudyItemRow.n_answered < rules.overlap)
    return [
        Candidate(item_id, n_answered + reserved.get(item_id, 0))
        for item_id, n_answered in session.execute(wanting.add_columns(StudyItemRow.n_answered))
    ]


def _assign(session: Session, turn: Turn, item_id: str, shown_left: CanonicalSide) -> None:
    last = select(func.max(AssignmentRow.position)).where(
        AssignmentRow.study_id == turn.study_id, AssignmentRow.annotator_id == turn.annotator_id
    )
    n_before = session.scalars(last).one()
    session.add(
        AssignmentRow(
            item_id=item_id,
            annotator_id=turn.annotator_id,
            study_id=turn.study_id,
            position=0 if n_before is None else n_before + 1,
            shown_left=shown_left.value,
            shown_at=turn.now,
            answered_at=None,
        )
    )
    session.flush()


def _assign_repetition(session: Session, rules: Rules, turn: Turn) -> bool:
    """Ask once more, with the sides swapped, about an item that the annotator answered some time ago."""
    repetition, repeated = aliased(StudyItemRow), aliased(AssignmentRow)
    already = (
        exists()
        .where(repetition.repeat_of == AssignmentRow.item_id, repeated.item_id == repetition.id)
        .where(repeated.annotator_id == turn.annotator_id)
    )
    query = (
        select(AssignmentRow.item_id, AssignmentRow.shown_left)
        .join(StudyItemRow, StudyItemRow.id == AssignmentRow.item_id)
        .where(
            AssignmentRow.study_id == turn.study_id,
            AssignmentRow.annotator_id == turn.annotator_id,
            AssignmentRow.answered_at.is_not(None),
            AssignmentRow.position < turn.given.n_items - REPEAT_GAP,
            StudyItemRow.role == ItemRole.REGULAR.value,
            ~already,
        )
    )
    shown_left = {item_id: CanonicalSide(side) for item_id, side in session.execute(query)}
    original_id = choose_any(rules, turn.annotator_id, shown_left)
    if original_id is None:
        return False
    found = select(StudyItemRow.id).where(StudyItemRow.repeat_of == original_id)
    item_id = session.scalars(found).one_or_none() or _make_repetition(session, original_id, turn.now)
    _assign(session, turn, item_id, shown_left[original_id].other)
    return True


def _make_repetition(session: Session, original_id: str, now: datetime) -> str:
    original = session.get_one(StudyItemRow, original_id)
    comparison = ComparisonRow(
        id=new_id(),
        kind=ComparisonKind.STUDY.value,
        left_generation_id=original.comparison.left_generation_id,
        right_generation_id=original.comparison.right_generation_id,
        sides_known=False,
        created_at=now,
    )
    session.add(comparison)
    session.flush()
    same = ("study_id", "blend_a", "blend_b", "weights_a", "weights_b")
    item = StudyItemRow(
        id=new_id(),
        comparison_id=comparison.id,
        role=ItemRole.REPEAT.value,
        gold="{}",
        repeat_of=original_id,
        n_answered=0,
        **{column: getattr(original, column) for column in same},
    )
    session.add(item)
    session.flush()
    return item.id
