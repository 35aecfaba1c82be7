"""Recording judgements inside a transaction: revisions, replayed clicks, withdrawals."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import Select, bindparam, insert, select, update
from sqlalchemy.orm import Session

from steering.errors import InputError
from storage.audit import Audit
from storage.records import Judgement, JudgementInput, new_id
from storage.rows import judgement_from
from storage.saving import not_found, require_annotator
from storage.tables import ComparisonRow, JudgementRow, RepeatedClickRow

_Row = dict[str, Any]
_JUDGEMENTS = JudgementRow.__table__


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


@dataclass(frozen=True)
class Recorded:
    """The rows that hold what clicks said, in their order, and all dimensions in which a judgement now holds."""

    judgements: tuple[Judgement, ...]
    dimensions: frozenset[str]


class AlreadyJudgedError(InputError):
    """What was judged must stay as it is, for its annotator was told whose the answers were."""


def record(
    session: Session, judgements: Sequence[JudgementInput], now: datetime, *, is_final: bool = False
) -> Recorded:
    """Store what clicks of one annotator about one comparison say, see ``Repository.record_judgement``.

    With ``is_final`` what holds is not changed any more. The comparison must be locked. Few statements, however many
    questions a study asks: this is done at every save.

    Raises:
        NotFoundError: there is no such annotator.
        InputError: a client key was used for another judgement.
        AlreadyJudgedError: with ``is_final``, a click would change what holds.
    """
    about = {(judgement.comparison_id, judgement.annotator_id) for judgement in judgements}
    assert len(about) == 1, "clicks of one annotator about one comparison"
    annotator_id = judgements[0].annotator_id
    require_annotator(session, annotator_id)
    revisions = _Revisions(session, judgements, now, is_final)
    stored = [revisions.holding(judgement) for judgement in judgements]
    revisions.write()
    audit = Audit(session, annotator_id, now)
    audit.add_all(
        ("recorded", "judgement", str(row["id"]), {"comparison": row["comparison_id"], "revision": row["revision"]})
        for row in revisions.made
    )
    return Recorded(tuple(judgement_from(JudgementRow(**row)) for row in stored), revisions.dimensions)


class _Revisions:
    """What is stored of one comparison and annotator, and what clicks add to it; rows are by column name."""

    def __init__(self, session: Session, judgements: Sequence[JudgementInput], now: datetime, is_final: bool) -> None:
        self._connection = session.connection()
        self._is_final = is_final
        self._now = now
        keys = [judgement.client_key for judgement in judgements]
        parameters = {"comparison_id": judgements[0].comparison_id, "annotator_id": judgements[0].annotator_id}
        history = self._rows(_history(), parameters)
        # A key is looked for everywhere: it may have been used for another judgement.
        self._by_key = {row["client_key"]: row for row in self._rows(_by_client_key(), {"keys": keys})}
        self._by_key |= {row.pop("repeated_key"): row for row in self._rows(_by_repeated_key(), {"keys": keys})}
        # By the highest revision, not by the row that holds: after a withdrawal none does.
        self._n_revisions = {row["dimension"]: row["revision"] for row in history}
        self._current = {row["dimension"]: row for row in history if row["superseded_at"] is None}
        self._superseded: list[str] = []
        self._repeated: list[_Row] = []
        self.made: list[_Row] = []

    def _rows(self, query: Select[Any], parameters: dict[str, Any]) -> list[_Row]:
        return [dict(row) for row in self._connection.execute(query, parameters).mappings()]

    @property
    def dimensions(self) -> frozenset[str]:
        """The dimensions in which a judgement holds."""
        return frozenset(self._current)

    def holding(self, judgement: JudgementInput) -> _Row:
        """The row that holds what this click says: one that is there, or a new one."""
        row = self._by_key.get(judgement.client_key)
        if row is not None:
            stored = (row["comparison_id"], row["dimension"], row["annotator_id"])
            if stored != (judgement.comparison_id, judgement.dimension, judgement.annotator_id):
                raise InputError(
                    f"The client key {judgement.client_key!r} was used for another judgement.",
                    hint="Give each click its own key.",
                )
            return row
        current = self._current.get(judgement.dimension)
        if current is not None and not _changes(current, judgement):
            repeated = {"client_key": judgement.client_key, "judgement_id": current["id"], "clicked_at": self._now}
            self._repeated.append(repeated)
            self._by_key[judgement.client_key] = current
            return current
        return self._add(judgement, current)

    def _add(self, judgement: JudgementInput, current: _Row | None) -> _Row:
        if current is not None:
            if self._is_final:
                raise AlreadyJudgedError("This item is judged already.", hint="Go on with the next one.")
            current["superseded_at"] = self._now
            self._superseded.append(current["id"])
        revision = self._n_revisions.get(judgement.dimension, 0) + 1
        row = _values(judgement, revision, self._now)
        self._n_revisions[judgement.dimension] = revision
        self._current[judgement.dimension] = self._by_key[judgement.client_key] = row
        self.made.append(row)
        return row

    def write(self) -> None:
        """Store what was added."""
        if self._superseded:
            # Before the insert: the schema lets only one row of a judgement hold.
            superseding = update(JudgementRow).where(JudgementRow.id.in_(self._superseded))
            self._connection.execute(superseding.values(superseded_at=self._now))
        for table, rows in ((JudgementRow, self.made), (RepeatedClickRow, self._repeated)):
            if rows:
                self._connection.execute(insert(table), rows)


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


@cache
def _history() -> Select[Any]:
    """Every revision of one annotator's judgements of a comparison, oldest first."""
    mine = (_JUDGEMENTS.c.comparison_id == bindparam("comparison_id")) & (
        _JUDGEMENTS.c.annotator_id == bindparam("annotator_id")
    )
    return select(_JUDGEMENTS).where(mine).order_by(_JUDGEMENTS.c.revision)


@cache
def _by_client_key() -> Select[Any]:
    """The rows that client keys made."""
    return select(_JUDGEMENTS).where(_JUDGEMENTS.c.client_key.in_(bindparam("keys", expanding=True)))


@cache
def _by_repeated_key() -> Select[Any]:
    """The rows that client keys led to without changing them."""
    repeated = RepeatedClickRow.__table__.c
    query = select(_JUDGEMENTS, repeated.client_key.label("repeated_key")).join(
        RepeatedClickRow.__table__, repeated.judgement_id == _JUDGEMENTS.c.id
    )
    return query.where(repeated.client_key.in_(bindparam("keys", expanding=True)))


def _changes(current: _Row, judgement: JudgementInput) -> bool:
    new_reason = judgement.reason not in ("", current["reason"])
    return new_reason or (current["choice"], current["strength"]) != (judgement.choice, judgement.strength)


def _values(judgement: JudgementInput, revision: int, now: datetime) -> _Row:
    return {
        "id": new_id(),
        "comparison_id": judgement.comparison_id,
        "annotator_id": judgement.annotator_id,
        "dimension": judgement.dimension,
        "choice": judgement.choice.value,
        "strength": None if judgement.strength is None else judgement.strength.value,
        "client_key": judgement.client_key,
        "reason": judgement.reason,
        "revision": revision,
        "judged_at": now,
        "superseded_at": None,
        "withdrawn_at": None,
    }
