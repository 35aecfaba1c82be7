"""Studies and whether somebody may judge them, inside a transaction."""

from sqlalchemy import select
from sqlalchemy.orm import Session, undefer

from steering.errors import InputError
from storage.next_item import Rules
from storage.records import is_id
from storage.records_studies import StudyState
from storage.saving import not_found
from storage.study_rows import rules_from
from storage.study_tables import ConsentRow, StudyRow


def study_row(session: Session, study_id: str, *, with_prompts: bool = False, lock: bool = False) -> StudyRow:
    """The row of a study, its prompts only where they are asked for; with ``lock`` no other may lock it meanwhile.

    Raises:
        NotFoundError: there is none.
    """
    query = select(StudyRow).where(StudyRow.id == study_id)
    if with_prompts:
        query = query.options(undefer(StudyRow.prompts))
    if lock:
        # Not FOR UPDATE, which would keep rows that only refer to the study waiting.
        query = query.with_for_update(key_share=True)
    row = session.scalars(query).one_or_none() if is_id(study_id) else None
    if row is None:
        raise not_found("study", study_id)
    return row


def has_consented(session: Session, rules: Rules, study_id: str, annotator_id: str) -> bool:
    """Whether the annotator accepted the study's text, or there is none."""
    if not rules.consent:
        return True
    return is_id(annotator_id) and session.get(ConsentRow, (study_id, annotator_id)) is not None


def require_judging(session: Session, row: StudyRow, annotator_id: str) -> None:
    """Refuse an annotator, who must be there, if they may not judge the study now.

    Raises:
        InputError: the study is not open, or its consent text was not accepted.
    """
    if row.state != StudyState.OPEN.value:
        raise InputError(f"The study {row.name!r} is {row.state}, not open.", hint="Ask whoever runs it.")
    if not has_consented(session, rules_from(row), row.id, annotator_id):
        raise InputError("This study asks for your consent first.", hint="Read its text and accept it.")
