"""The schema of studies, of what annotators were given in them, and of the audit.

    studies ──< study_items ──(one each)── comparisons
       │              └──< assignments >── annotators
       └──< consents >── annotators

``audit`` stands alone: triggers, made by its migration, refuse to change or delete its rows.
"""

from datetime import datetime

from sqlalchemy import ForeignKey, Index, String, Text, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from storage.records import MAX_LABEL_CHARS, MAX_NAME_CHARS
from storage.records_pairs import CanonicalSide
from storage.records_studies import ItemRole, StudyState
from storage.tables import ID_CHARS, Base, ComparisonRow, length, limit, one_of

_OPEN = text("answered_at IS NULL")


class StudyRow(Base):
    """A study; ``settings`` and ``prompts`` are JSON, apart because the prompts may be long and are seldom needed."""

    __tablename__ = "studies"
    __table_args__ = (
        UniqueConstraint("name"),
        length("id", ID_CHARS, ID_CHARS),
        length("name", 1, MAX_NAME_CHARS),
        one_of("state", StudyState),
        limit("overlap", "overlap >= 1"),
    )

    id: Mapped[str] = mapped_column(String(ID_CHARS), primary_key=True)
    name: Mapped[str] = mapped_column(String(MAX_NAME_CHARS))
    state: Mapped[str] = mapped_column(String(16))
    overlap: Mapped[int]
    settings: Mapped[str] = mapped_column(Text)
    prompts: Mapped[str] = mapped_column(Text, deferred=True)
    created_at: Mapped[datetime]


class StudyItemRow(Base):
    """A comparison of a study. ``weights_a``, ``weights_b`` and ``gold`` are JSON; ``n_answered`` counts annotators."""

    __tablename__ = "study_items"
    __table_args__ = (
        UniqueConstraint("comparison_id"),
        UniqueConstraint("repeat_of"),
        Index("ix_study_items_next", "study_id", "role", "n_answered"),
        length("id", ID_CHARS, ID_CHARS),
        one_of("role", ItemRole),
        length("blend_a", 1, MAX_LABEL_CHARS),
        length("blend_b", 1, MAX_LABEL_CHARS),
        limit("n_answered", "n_answered >= 0"),
        limit("repeats", "(role = 'repeat') = (repeat_of IS NOT NULL)"),
    )

    id: Mapped[str] = mapped_column(String(ID_CHARS), primary_key=True)
    study_id: Mapped[str] = mapped_column(ForeignKey("studies.id"))
    comparison_id: Mapped[str] = mapped_column(ForeignKey("comparisons.id"))
    role: Mapped[str] = mapped_column(String(16))
    blend_a: Mapped[str] = mapped_column(String(MAX_LABEL_CHARS))
    blend_b: Mapped[str] = mapped_column(String(MAX_LABEL_CHARS))
    weights_a: Mapped[str] = mapped_column(Text)
    weights_b: Mapped[str] = mapped_column(Text)
    gold: Mapped[str] = mapped_column(Text)
    repeat_of: Mapped[str | None] = mapped_column(ForeignKey("study_items.id"))
    n_answered: Mapped[int]
    comparison: Mapped[ComparisonRow] = relationship(lazy="joined", viewonly=True)


class AssignmentRow(Base):
    """An item given to an annotator; it is open while ``answered_at`` is NULL."""

    __tablename__ = "assignments"
    __table_args__ = (
        UniqueConstraint("study_id", "annotator_id", "position"),
        Index("ix_assignments_annotator_id", "annotator_id"),
        Index("ix_assignments_open", "study_id", sqlite_where=_OPEN, postgresql_where=_OPEN),
        one_of("shown_left", CanonicalSide),
        limit("position", "position >= 0"),
    )

    item_id: Mapped[str] = mapped_column(ForeignKey("study_items.id"), primary_key=True)
    annotator_id: Mapped[str] = mapped_column(ForeignKey("annotators.id"), primary_key=True)
    study_id: Mapped[str] = mapped_column(ForeignKey("studies.id"))
    position: Mapped[int]
    shown_left: Mapped[str] = mapped_column(String(1))
    shown_at: Mapped[datetime]
    answered_at: Mapped[datetime | None]
    item: Mapped[StudyItemRow] = relationship(lazy="joined", viewonly=True)


class ConsentRow(Base):
    """An annotator's consent to the text of a study; ``text_sha256`` says to which text."""

    __tablename__ = "consents"
    __table_args__ = (length("text_sha256", 64, 64),)

    study_id: Mapped[str] = mapped_column(ForeignKey("studies.id"), primary_key=True)
    annotator_id: Mapped[str] = mapped_column(ForeignKey("annotators.id"), primary_key=True, index=True)
    text_sha256: Mapped[str] = mapped_column(String(64))
    accepted_at: Mapped[datetime]


class AuditRow(Base):
    """Who did what when; ``details`` is JSON."""

    __tablename__ = "audit"
    __table_args__ = (
        Index("ix_audit_record_id", "record_id"),
        length("actor", 1, MAX_NAME_CHARS),
        length("action", 1, MAX_NAME_CHARS),
        length("record_kind", 1, MAX_NAME_CHARS),
        length("record_id", 0, MAX_NAME_CHARS),
    )

    number: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[datetime]
    actor: Mapped[str] = mapped_column(String(MAX_NAME_CHARS))
    action: Mapped[str] = mapped_column(String(MAX_NAME_CHARS))
    record_kind: Mapped[str] = mapped_column(String(MAX_NAME_CHARS))
    record_id: Mapped[str] = mapped_column(String(MAX_NAME_CHARS))
    details: Mapped[str] = mapped_column(Text)
