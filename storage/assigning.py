"""Giving items to annotators, inside a transaction. What is done at every save is few statements, made once."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, Select, bindparam, exists, func, insert, select
from sqlalchemy.orm import Session, aliased

from storage.next_item import (
    REPEAT_GAP,
    RESERVED_FOR,
    Candidate,
    Given,
    Rules,
    choose_any,
    choose_regular,
    n_left,
    roles_due,
)
from storage.records import ComparisonKind, new_id
from storage.records_pairs import CanonicalSide
from storage.records_seen import Seen, Standing
from storage.records_studies import ItemRole, Progress
from storage.rows import messages_from, read, text_from
from storage.study_rows import rules_from
from storage.study_tables import AssignmentRow, StudyItemRow, StudyRow
from storage.tables import ComparisonRow, GenerationRow

_ITEMS, _ASSIGNMENTS = StudyItemRow.__table__, AssignmentRow.__table__


@dataclass(frozen=True)
class Turn:
    """An annotator's turn in a study, and what they were given before; ``position`` is that of the next item."""

    study_id: str
    annotator_id: str
    given: Given
    position: int
    now: datetime


def open_assignment(session: Session, study_id: str, annotator_id: str) -> AssignmentRow | None:
    """The oldest assignment that was given and not answered."""
    query = select(AssignmentRow).where(
        AssignmentRow.study_id == study_id,
        AssignmentRow.annotator_id == annotator_id,
        AssignmentRow.answered_at.is_(None),
    )
    return session.scalars(query.order_by(AssignmentRow.position).limit(1)).one_or_none()


def turn_of(session: Session, study_id: str, annotator_id: str, now: datetime) -> Turn:
    """The annotator's next turn."""
    found = session.connection().execute(_given_by_role(), {"of_study": study_id, "of_annotator": annotator_id}).all()
    counts = {role: int(n_items) for role, n_items, _ in found}
    given = Given(*(counts.get(role.value, 0) for role in (ItemRole.REGULAR, ItemRole.GOLD, ItemRole.REPEAT)))
    position = max((last for _, _, last in found), default=-1) + 1
    return Turn(study_id, annotator_id, given, position, now)


def standing_of(
    session: Session, study: StudyRow, annotator_id: str, now: datetime, uncertainty: Mapping[str, float] | None
) -> Standing:
    """What lies before the annotator, given to them now if nothing does; the study must be locked."""
    rules = rules_from(study)
    seen = _seen(session, study.id, annotator_id)
    if seen is None:
        assign_next(session, rules, turn_of(session, study.id, annotator_id, now), uncertainty)
        seen = _seen(session, study.id, annotator_id)
    return Standing(seen, progress_of(session, study.id, annotator_id, rules))


def _seen(session: Session, study_id: str, annotator_id: str) -> Seen | None:
    """The oldest item that was given to the annotator and not answered."""
    found = session.connection().execute(_lying(), {"of_study": study_id, "of_annotator": annotator_id}).one_or_none()
    if found is None:
        return None

    def seen() -> Seen:
        texts = text_from(found.text_a), text_from(found.text_b)
        left, right = texts if found.shown_left == CanonicalSide.A.value else texts[::-1]
        return Seen(found.item_id, messages_from(found.messages), left, right)

    return read(f"item {found.item_id}", seen)


def progress_of(session: Session, study_id: str, annotator_id: str, rules: Rules) -> Progress:
    """How far the annotator is in a study."""
    about = {"of_study": study_id, "of_annotator": annotator_id}
    regular = {"role": ItemRole.REGULAR.value, "overlap": rules.overlap}
    found = session.connection().execute(_counts(), about | regular).one()
    n_given, n_answered, n_regular, n_unasked, n_gold = map(int, found)
    counts = {"n_regular": n_regular, "n_unasked": n_unasked, "n_gold": n_gold}
    return Progress(n_answered, n_left(rules, n_answered=n_answered, n_open=n_given - n_answered, **counts))


def assign_next(session: Session, rules: Rules, turn: Turn, uncertainty: Mapping[str, float] | None) -> None:
    """Give the annotator their next item, if there is one; the study must be locked."""
    for role in roles_due(rules, turn.annotator_id, turn.given):
        if role is ItemRole.REPEAT:
            if _assign_repetition(session, rules, turn):
                return
            continue
        if role is ItemRole.GOLD:
            about = {"of_study": turn.study_id, "of_annotator": turn.annotator_id, "role": ItemRole.GOLD.value}
            unseen = session.connection().execute(_unseen(), about).scalars()
            item_id = choose_any(rules, turn.annotator_id, unseen)
        else:
            candidates = _candidates(session, rules, turn)
            item_id = choose_regular(rules, turn.annotator_id, candidates, uncertainty)
        if item_id is not None:
            _assign(session, turn, item_id, secrets.choice(tuple(CanonicalSide)))
            return


@cache
def _given_by_role() -> Select[Any]:
    return (
        select(_ITEMS.c.role, func.count(), func.max(_ASSIGNMENTS.c.position))
        .join(_ASSIGNMENTS, _ASSIGNMENTS.c.item_id == _ITEMS.c.id)
        .where(_is_theirs())
        .group_by(_ITEMS.c.role)
    )


@cache
def _lying() -> Select[Any]:
    comparisons = ComparisonRow.__table__
    a, b = GenerationRow.__table__.alias("a"), GenerationRow.__table__.alias("b")
    texts = (a.c.messages, a.c.text.label("text_a"), b.c.text.label("text_b"))
    return (
        select(_ASSIGNMENTS.c.item_id, _ASSIGNMENTS.c.shown_left, *texts)
        .join(_ITEMS, _ITEMS.c.id == _ASSIGNMENTS.c.item_id)
        .join(comparisons, comparisons.c.id == _ITEMS.c.comparison_id)
        .join(a, a.c.id == comparisons.c.left_generation_id)
        .join(b, b.c.id == comparisons.c.right_generation_id)
        .where(_is_theirs(), _ASSIGNMENTS.c.answered_at.is_(None))
        .order_by(_ASSIGNMENTS.c.position)
        .limit(1)
    )


@cache
def _counts() -> Select[Any]:
    unasked = _unseen().where(_ITEMS.c.n_answered < bindparam("overlap")).with_only_columns(func.count())
    gold = _ITEMS.alias("gold")
    n_gold = select(func.count()).where(gold.c.study_id == bindparam("of_study"), gold.c.role == ItemRole.GOLD.value)
    mine = _ITEMS.alias("mine")
    n_given, n_answered = func.count(_ASSIGNMENTS.c.item_id), func.count(_ASSIGNMENTS.c.answered_at)
    n_regular = func.count().filter(mine.c.role == bindparam("role"))
    return (
        select(n_given, n_answered, n_regular, unasked.scalar_subquery(), n_gold.scalar_subquery())
        .join(mine, mine.c.id == _ASSIGNMENTS.c.item_id)
        .where(_is_theirs())
    )


def _is_theirs() -> ColumnElement[bool]:
    of_study = _ASSIGNMENTS.c.study_id == bindparam("of_study")
    return of_study & (_ASSIGNMENTS.c.annotator_id == bindparam("of_annotator"))


@cache
def _unseen() -> Select[Any]:
    """The items of a role that an annotator was not given."""
    given = AssignmentRow.__table__.alias("given")
    seen = exists().where(given.c.item_id == _ITEMS.c.id, given.c.annotator_id == bindparam("of_annotator"))
    return select(_ITEMS.c.id).where(
        _ITEMS.c.study_id == bindparam("of_study"), _ITEMS.c.role == bindparam("role"), ~seen
    )


@cache
def _wanting() -> Select[Any]:
    return _unseen().where(_ITEMS.c.n_answered < bindparam("overlap")).add_columns(_ITEMS.c.n_answered)


@cache
def _being_given() -> Select[Any]:
    return (
        select(_ASSIGNMENTS.c.item_id, func.count())
        .where(
            _ASSIGNMENTS.c.study_id == bindparam("of_study"),
            _ASSIGNMENTS.c.answered_at.is_(None),
            _ASSIGNMENTS.c.shown_at > bindparam("since"),
        )
        .group_by(_ASSIGNMENTS.c.item_id)
    )


def _candidates(session: Session, rules: Rules, turn: Turn) -> list[Candidate]:
    connection = session.connection()
    lately = {"of_study": turn.study_id, "since": turn.now - RESERVED_FOR}
    reserved = {item_id: int(n_given) for item_id, n_given in connection.execute(_being_given(), lately)}
    about = {"of_study": turn.study_id, "of_annotator": turn.annotator_id}
    wanted = {"role": ItemRole.REGULAR.value, "overlap": rules.overlap}
    found = connection.execute(_wanting(), about | wanted)
    return [Candidate(item_id, n_answered + reserved.get(item_id, 0)) for item_id, n_answered in found]


def _assign(session: Session, turn: Turn, item_id: str, shown_left: CanonicalSide) -> None:
    values = {
        "item_id": item_id,
        "annotator_id": turn.annotator_id,
        "study_id": turn.study_id,
        "position": turn.position,
        "shown_left": shown_left.value,
        "shown_at": turn.now,
        "answered_at": None,
    }
    session.connection().execute(insert(AssignmentRow), values)


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
