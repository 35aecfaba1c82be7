"""Adding to the audit, in the transaction of what it tells about: neither is there without the other."""

from collections.abc import Iterable, Mapping
from datetime import datetime

from sqlalchemy import insert
from sqlalchemy.orm import Session

from steering.errors import InputError
from storage.records_audit import is_actor
from storage.rows import to_json
from storage.study_tables import AuditRow

SYSTEM = "system"
"""The actor when no person is known."""


class Audit:
    """The audit entries of one transaction: all by one actor at one time.

    Raises:
        InputError: the actor is neither an id nor a short lowercase word.
    """

    def __init__(self, session: Session, actor: str, at: datetime) -> None:
        if not is_actor(actor):
            raise InputError(f"The actor is {actor[:40]!r}.", hint="Give an annotator's id or a word such as cli.")
        self._session = session
        self._actor = actor
        self._at = at

    def add(self, action: str, record_kind: str, record_id: str, **details: str | int) -> None:
        """One entry; ``details`` are ids, numbers and words of the code, never what a person wrote."""
        self.add_all([(action, record_kind, record_id, details)])

    def add_all(self, entries: Iterable[tuple[str, str, str, Mapping[str, str | int]]]) -> None:
        """Several entries in one statement: each what ``add`` is given."""
        rows = [
            {
                "at": self._at,
                "actor": self._actor,
                "action": action,
                "record_kind": record_kind,
                "record_id": record_id,
                "details": to_json(details),
            }
            for action, record_kind, record_id, details in entries
        ]
        if rows:
            self._session.connection().execute(insert(AuditRow), rows)
