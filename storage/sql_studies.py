"""Studies on SQLAlchemy: one transaction per method, on SQLite and PostgreSQL alike."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from sqlalchemy import Select, case, func, or_, select
from sqlalchemy.orm import Session

from steering.errors import InputError
from storage.answering import answer_item, undo_item
from storage.assigning import assign_next, open_assignment, progress_of, standing_of, turn_of
from storage.audit import SYSTEM, Audit
from storage.changing import change_publishing, change_state, publishing_details
from storage.database import Database
from storage.entering import has_consented, require_judging, study_row
from storage.judging import AlreadyJudgedError
from storage.next_item import Rules
from storage.records import MAX_NAME_CHARS, Judgement, check_text, is_id, new_id, utc_now
from storage.records_publishing import Publishing
from storage.records_seen import Standing
from storage.records_studies import (
    MAX_UNDO,
    Answer,
    Assignment,
    ItemRole,
    Progress,
    Study,
    StudyItem,
    StudySettings,
    StudyState,
    StudySummary,
)
from storage.saving import insert_if_absent, other_content, require_annotator, save_comparison
from storage.study_repository import MAX_PAGE
from storage.study_rows import (
    assignment_from,
    item_from,
    item_values,
    prompts_json,
    rules_from,
    settings_json,
    study_from,
    summary_from,
)
from storage.study_tables import AssignmentRow, ConsentRow, StudyItemRow, StudyRow

_NOT_CHANGED = "The study was not changed."


class SqlStudies:
    """A ``StudyRepository`` on an open database. ``clock`` gives the times."""

    def __init__(self, database: Database, clock: Callable[[], datetime] = utc_now) -> None:
        self._database = database
        self._clock = clock

    def create_study(self, name: str, settings: StudySettings, actor: str = SYSTEM) -> Study:
        """Make a study in the state GENERATING; see ``StudyRepository``."""
        check_text("name of the study", name, 1, MAX_NAME_CHARS)
        with self._database.writing("The study was not made.") as session:
            study = Study(new_id(), name, settings, StudyState.GENERATING, self._clock())
            values = {
                "id": study.id,
                "name": name,
                "state": study.state.value,
                "overlap": settings.overlap,
                "settings": settings_json(settings),
                "prompts": prompts_json(settings),
                "created_at": study.created_at,
            }
            if not insert_if_absent(session, StudyRow, values, "name"):
                raise InputError(f"There is already a study {name!r}.", hint="Give this one another name.")
            told = publishing_details(settings.publish) if settings.publish.enabled else {}
            Audit(session, actor, study.created_at).add("made", "study", study.id, **told)
            return study

    def study(self, study_id: str) -> Study:
        """The study with that id; see ``StudyRepository``."""
        with self._database.reading() as session:
            return study_from(study_row(session, study_id, with_prompts=True))

    def studies(self) -> tuple[StudySummary, ...]:
        """Every study, newest first; see ``StudyRepository``."""
        is_regular = StudyItemRow.role == ItemRole.REGULAR.value
        # a study without items has one row of the outer join, in which this is NULL
        answered = func.coalesce(StudyItemRow.n_answered, 0)
        given = case((answered < StudyRow.overlap, answered), else_=StudyRow.overlap)
        query = (
            select(
                StudyRow.id,
                StudyRow.name,
                StudyRow.state,
                StudyRow.created_at,
                func.count(StudyItemRow.id),
                func.coalesce(func.sum(given), 0),
                func.count(StudyItemRow.id) * StudyRow.overlap,
                StudyRow.settings,
            )
            .outerjoin(StudyItemRow, (StudyItemRow.study_id == StudyRow.id) & is_regular)
            .group_by(StudyRow.id)
            .order_by(StudyRow.created_at.desc(), StudyRow.id)
        )
        with self._database.reading() as session:
            return tuple(summary_from(row) for row in session.execute(query))

    def set_state(self, study_id: str, state: StudyState, actor: str = SYSTEM) -> Study:
        """Change the state; see ``StudyRepository``."""
        with self._database.writing(_NOT_CHANGED) as session:
            return change_state(session, Audit(session, actor, self._clock()), study_id, state)

    def set_publishing(self, study_id: str, publish: Publishing, actor: str = SYSTEM) -> Study:
        """Change whether guides are published by themselves; see ``StudyRepository``."""
        with self._database.writing(_NOT_CHANGED) as session:
            return change_publishing(session, Audit(session, actor, self._clock()), study_id, publish)

    def add_items(self, study_id: str, items: Sequence[StudyItem], actor: str = SYSTEM) -> None:
        """Store items with their comparisons, all or none; see ``StudyRepository``."""
        with self._database.writing("The items were not saved.") as session:
            rules = rules_from(study_row(session, study_id))
            n_added = sum(
                _add_item(session, study_id, rules, item)
                for item in sorted(items, key=lambda item: bool(item.repeat_of))
            )
            if n_added:
                Audit(session, actor, self._clock()).add("grew", "study", study_id, items=n_added)

    def items(self, study_id: str, after: str = "", limit: int = 100) -> tuple[StudyItem, ...]:
        """The items of a study in the order of their ids; see ``StudyRepository``."""
        _check_limit(limit)
        query = select(StudyItemRow).where(StudyItemRow.study_id == study_id, StudyItemRow.id > after)
        if not is_id(study_id) or (after and not is_id(after)):
            return ()
        with self._database.reading() as session:
            return tuple(item_from(row) for row in session.scalars(query.order_by(StudyItemRow.id).limit(limit)))

    def accept_consent(self, study_id: str, annotator_id: str) -> None:
        """Note that an annotator accepts the study's consent text; see ``StudyRepository``."""
        with self._database.writing("Your consent was not saved.") as session:
            text = rules_from(study_row(session, study_id)).consent
            require_annotator(session, annotator_id)
            now = self._clock()
            sha256 = hashlib.sha256(text.encode()).hexdigest()
            values = {
                "study_id": study_id,
                "annotator_id": annotator_id,
                "text_sha256": sha256,
                "accepted_at": now,
            }
            if insert_if_absent(session, ConsentRow, values, "study_id", "annotator_id"):
                Audit(session, annotator_id, now).add("consented", "study", study_id, sha256=sha256)

    def has_consented(self, study_id: str, annotator_id: str) -> bool:
        """Whether nothing stands between the annotator and judging; see ``StudyRepository``."""
        with self._database.reading() as session:
            return has_consented(session, rules_from(study_row(session, study_id)), study_id, annotator_id)

    def next_assignment(
        self, study_id: str, annotator_id: str, uncertainty: Mapping[str, float] | None = None
    ) -> Assignment | None:
        """What this annotator is to judge now; see ``StudyRepository``."""
        with self._database.reading() as session:
            study = study_row(session, study_id)
            require_annotator(session, annotator_id)
            require_judging(session, study, annotator_id)
            found = open_assignment(session, study_id, annotator_id)
            if found is not None:
                return assignment_from(found)
        with self._database.writing("Nothing was given to you.") as session:
            # One at a time, so that no two draw the same item for its last answer.
            rules = rules_from(study_row(session, study_id, lock=True))
            require_annotator(session, annotator_id)
            if open_assignment(session, study_id, annotator_id) is None:
                assign_next(session, rules, turn_of(session, study_id, annotator_id, self._clock()), uncertainty)
        with self._database.reading() as session:
            found = open_assignment(session, study_id, annotator_id)
            return assignment_from(found) if found else None

    def go_on(
        self,
        study_id: str,
        annotator_id: str,
        answers: Sequence[Answer] = (),
        uncertainty: Mapping[str, float] | None = None,
    ) -> Standing:
        """Store answers and lay out what is to be judged now, in one transaction; see ``StudyRepository``."""
        if any(answer.annotator_id != annotator_id for answer in answers):
            raise InputError("The answers are another annotator's.", hint="Send your own.")
        _check_answers(answers, at_least=0)
        told = "Your judgement was not saved." if answers else "Nothing was given to you."
        with self._database.writing(told) as session:
            is_refused = False
            if answers:
                try:
                    answer_item(session, answers, self._clock())
                except AlreadyJudgedError:
                    is_refused = True  # it was refused before anything was written
            else:
                require_annotator(session, annotator_id)
            # Locked, as for ``next_assignment``, and after the item: always in this order.
            study = study_row(session, study_id, lock=True)
            if answers and study.state == StudyState.CLOSED.value:
                n_answered = progress_of(session, study_id, annotator_id, rules_from(study)).n_answered
                return Standing(None, Progress(n_answered, 0), is_refused, is_closed=True)
            try:
                require_judging(session, study, annotator_id)
            except InputError as error:
                refusal: InputError | None = error  # what was said is stored all the same
            else:
                refusal = None
                standing = standing_of(session, study, annotator_id, self._clock(), uncertainty)
        if refusal is not None:
            raise refusal
        return replace(standing, is_refused=is_refused)

    def answer(self, answers: Sequence[Answer]) -> tuple[Judgement, ...]:
        """Store answers of one annotator about one item, all or none; see ``StudyRepository``."""
        _check_answers(answers, at_least=1)
        with self._database.writing("Your judgement was not saved.") as session:
            return answer_item(session, answers, self._clock())

    def answered(self, study_id: str, annotator_id: str, limit: int = MAX_UNDO) -> tuple[Assignment, ...]:
        """What the annotator answered last, newest first; see ``StudyRepository``."""
        _check_limit(limit)
        if not (is_id(study_id) and is_id(annotator_id)):
            return ()
        query = (
            _assignments(study_id, annotator_id)
            .where(AssignmentRow.answered_at.is_not(None))
            .order_by(AssignmentRow.answered_at.desc(), AssignmentRow.position.desc())
            .limit(limit)
        )
        with self._database.reading() as session:
            return tuple(assignment_from(row) for row in session.scalars(query))

    def undo(self, item_id: str, annotator_id: str) -> Assignment:
        """Take back what the annotator said of an item; see ``StudyRepository``."""
        with self._database.writing("Nothing was taken back.") as session:
            return assignment_from(undo_item(session, item_id, annotator_id, self._clock()))

    def progress(self, study_id: str, annotator_id: str) -> Progress:
        """How far the annotator is; see ``StudyRepository``."""
        with self._database.reading() as session:
            rules = rules_from(study_row(session, study_id))
            if not is_id(annotator_id):
                return Progress(0, 0)
            return progress_of(session, study_id, annotator_id, rules)


def _check_answers(answers: Sequence[Answer], at_least: int) -> None:
    n_about = len({(answer.item_id, answer.annotator_id) for answer in answers})
    if not at_least <= n_about <= 1:
        raise InputError(
            f"{len(answers)} answers are not of one annotator about one item.", hint="Send them item by item."
        )


def _assignments(study_id: str, annotator_id: str) -> Select[AssignmentRow]:
    return select(AssignmentRow).where(AssignmentRow.study_id == study_id, AssignmentRow.annotator_id == annotator_id)


def _add_item(session: Session, study_id: str, rules: Rules, item: StudyItem) -> bool:
    if item.study_id != study_id:
        raise InputError(f"Item {item.id} is of another study.", hint="Make it with this study's id.")
    unasked = sorted(set(item.gold) - rules.dimensions)
    if unasked:
        raise InputError(
            f"Item {item.id} has a right answer for {unasked[0]!r}, which the study does not ask.",
            hint=f"It asks about: {', '.join(sorted(rules.dimensions))}.",
        )
    if item.repeat_of is not None:
        original = session.get(StudyItemRow, item.repeat_of)
        if original is None or original.study_id != study_id or original.role != ItemRole.REGULAR.value:
            raise InputError(f"Item {item.id} repeats no regular item of its study.", hint="Correct its repeat_of.")
    save_comparison(session, item.comparison)
    same = [StudyItemRow.id == item.id, StudyItemRow.comparison_id == item.comparison.id]
    if item.repeat_of is not None:
        same.append(StudyItemRow.repeat_of == item.repeat_of)
    stored = session.scalars(select(StudyItemRow).where(or_(*same))).all()
    if stored:
        if len(stored) > 1 or item_from(stored[0]) != item:
            raise other_content("item", stored[0].id)
        return False
    session.add(StudyItemRow(**item_values(item)))
    session.flush()
    return True


def _check_limit(limit: int) -> None:
    if not 1 <= limit <= MAX_PAGE:
        raise InputError(f"The limit is {limit}; it must be from 1 to {MAX_PAGE}.", hint="Ask for 100.")
