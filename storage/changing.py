"""Changing a study that is there, inside a transaction: its state, and whether it publishes; each with its audit."""

from collections.abc import Mapping

from sqlalchemy.orm import Session

from steering.errors import InputError
from storage.audit import Audit
from storage.entering import study_row
from storage.records_publishing import Publishing
from storage.records_studies import Study, StudyState
from storage.study_rows import study_from, with_publishing

_CHANGES = {
    (StudyState.GENERATING, StudyState.OPEN),
    (StudyState.OPEN, StudyState.CLOSED),
    (StudyState.CLOSED, StudyState.OPEN),
}


def change_state(session: Session, audit: Audit, study_id: str, state: StudyState) -> Study:
    """Change a study's state; the one it has changes nothing.

    Raises:
        NotFoundError: there is no such study.
        InputError: it cannot go from the state it has to this one.
    """
    row = study_row(session, study_id, with_prompts=True, lock=True)
    before = StudyState(row.state)
    if before is not state:
        if (before, state) not in _CHANGES:
            raise InputError(f"The study is {before.value} and cannot become {state.value}.", hint="Make a new study.")
        row.state = state.value
        audit.add(state.value, "study", study_id, before=before.value)
    return study_from(row)


def change_publishing(session: Session, audit: Audit, study_id: str, publish: Publishing) -> Study:
    """Change whether a study has guides published by themselves; what it says already changes nothing.

    Raises:
        NotFoundError: there is no such study.
    """
    row = study_row(session, study_id, with_prompts=True, lock=True)
    if study_from(row).settings.publish != publish:
        row.settings = with_publishing(row.settings, publish)
        audit.add("publishing", "study", study_id, **publishing_details(publish))
    return study_from(row)


def publishing_details(publish: Publishing) -> Mapping[str, str]:
    """What the audit says of publishing: words of the code and a number."""
    return {"by_itself": "yes" if publish.enabled else "no", "margin": f"{publish.margin:g}"}
