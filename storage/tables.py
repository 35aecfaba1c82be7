"""The schema as SQLAlchemy mappings. The migrations make it; a test holds the two equal.

    annotators ──< judgements >── comparisons ──(left, right)── generations ──< generation_guides
                       └──< repeated_clicks

A row of ``judgements`` is one revision and is never changed except that ``superseded_at`` is set, once, when the next
revision replaces it or the annotator withdraws it (``withdrawn_at``). What has a limit has it here too, so that no
other program can store what the code would refuse. Studies are in storage/study_tables.py.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from enum import StrEnum

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    DateTime,
    Dialect,
    Double,
    ForeignKey,
    Index,
    MetaData,
    String,
    Text,
    TypeDecorator,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from steering.types import Choice, FinishReason
from storage.records import MAX_LABEL_CHARS, MAX_NAME_CHARS, MAX_REASON_CHARS, ComparisonKind, Strength

ID_CHARS = 32
_ZERO = text("0")
_EMPTY = text("''")


class UtcDateTime(TypeDecorator[datetime]):
    """An aware time, kept in UTC; SQLite drops the zone on the way in, so it is put back on the way out."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """The time in UTC."""
        assert value is None or value.tzinfo is not None, "times are aware"
        return value and value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """The time, aware, in UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Base(DeclarativeBase):
    """Every table; constraints have names, so that a migration can change them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {datetime: UtcDateTime, float: Double}  # noqa: RUF012 (SQLAlchemy's own shape)


def limit(name: str, rule: str) -> CheckConstraint:
    """A rule that every row keeps."""
    return CheckConstraint(rule, name=name)


def one_of(column: str, words: Iterable[StrEnum]) -> CheckConstraint:
    """Only these words in a column."""
    return limit(column, f"{column} IN ({', '.join(repr(word.value) for word in words)})")


def length(column: str, low: int, high: int) -> CheckConstraint:
    """Only texts of so many characters in a column."""
    return limit(f"{column}_length", f"length({column}) BETWEEN {low} AND {high}")


class GenerationRow(Base):
    """A response. ``messages``, ``prompt_token_ids``, ``token_ids`` and ``text`` are JSON: any character fits.

    ``n_tokens`` is the length of ``token_ids``, and stays when the text is removed.
    """

    __tablename__ = "generations"
    __table_args__ = (
        length("id", ID_CHARS, ID_CHARS),
        length("base_id", 1, MAX_LABEL_CHARS),
        length("base_revision", 0, MAX_LABEL_CHARS),
        one_of("finish_reason", FinishReason),
        limit("base_exponent", "base_exponent >= 0"),
        limit("temperature", "temperature BETWEEN 0 AND 10"),
        limit("top_k", "top_k BETWEEN 0 AND 2147483647"),
        limit("top_p", "top_p > 0 AND top_p <= 1"),
        limit("min_p", "min_p BETWEEN 0 AND 1"),
        limit("max_new_tokens", "max_new_tokens >= 1"),
        limit("seed", "seed >= 0"),
        limit("plausibility", "plausibility BETWEEN 0 AND 1"),
        limit("seconds", "seconds >= 0"),
        limit("n_tokens", "n_tokens >= 0"),
    )

    id: Mapped[str] = mapped_column(String(ID_CHARS), primary_key=True)
    messages: Mapped[str] = mapped_column(Text)
    prompt_token_ids: Mapped[str] = mapped_column(Text)
    token_ids: Mapped[str] = mapped_column(Text)
    text: Mapped[str] = mapped_column(Text)
    base_id: Mapped[str] = mapped_column(String(MAX_LABEL_CHARS))
    base_revision: Mapped[str] = mapped_column(String(MAX_LABEL_CHARS))
    base_exponent: Mapped[float]
    temperature: Mapped[float]
    top_k: Mapped[int]
    top_p: Mapped[float]
    min_p: Mapped[float]
    max_new_tokens: Mapped[int]
    seed: Mapped[int] = mapped_column(BigInteger)
    plausibility: Mapped[float | None]
    stop_at_eos: Mapped[bool]
    finish_reason: Mapped[str] = mapped_column(String(16))
    seconds: Mapped[float]
    kl_per_token: Mapped[float | None]
    created_at: Mapped[datetime]
    n_tokens: Mapped[int] = mapped_column(server_default=_ZERO)
    text_removed_at: Mapped[datetime | None]
    guides: Mapped[list["GenerationGuideRow"]] = relationship(
        order_by="GenerationGuideRow.position", lazy="selectin", viewonly=True
    )


class GenerationGuideRow(Base):
    """A guide of a generation, in the order of its rows; ``weight``, ``exponent`` and ``reward`` may not be known."""

    __tablename__ = "generation_guides"
    __table_args__ = (
        UniqueConstraint("generation_id", "dimension"),
        limit("position", "position >= 0"),
        length("guide_id", 1, MAX_LABEL_CHARS),
        length("dimension", 1, MAX_NAME_CHARS),
        length("sha256", 1, MAX_NAME_CHARS),
        limit("version", "version >= 0"),
    )

    generation_id: Mapped[str] = mapped_column(ForeignKey("generations.id"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    guide_id: Mapped[str] = mapped_column(String(MAX_LABEL_CHARS))
    dimension: Mapped[str] = mapped_column(String(MAX_NAME_CHARS))
    version: Mapped[int | None]
    unit: Mapped[float]
    sha256: Mapped[str] = mapped_column(String(MAX_NAME_CHARS))
    weight: Mapped[float | None]
    exponent: Mapped[float | None]
    reward: Mapped[float | None]


class ComparisonRow(Base):
    """Two generations by the screen side they were shown on."""

    __tablename__ = "comparisons"
    __table_args__ = (
        length("id", ID_CHARS, ID_CHARS),
        one_of("kind", ComparisonKind),
        limit("two_generations", "left_generation_id <> right_generation_id"),
    )

    id: Mapped[str] = mapped_column(String(ID_CHARS), primary_key=True)
    kind: Mapped[str] = mapped_column(String(16))
    left_generation_id: Mapped[str] = mapped_column(ForeignKey("generations.id"), index=True)
    right_generation_id: Mapped[str] = mapped_column(ForeignKey("generations.id"), index=True)
    sides_known: Mapped[bool] = mapped_column(Boolean(create_constraint=True, name="sides_known"))
    created_at: Mapped[datetime]
    left: Mapped[GenerationRow] = relationship(foreign_keys=left_generation_id, lazy="joined", viewonly=True)
    right: Mapped[GenerationRow] = relationship(foreign_keys=right_generation_id, lazy="joined", viewonly=True)


class AnnotatorRow(Base):
    """A person who judges."""

    __tablename__ = "annotators"
    __table_args__ = (
        UniqueConstraint("key_hash"),
        length("id", ID_CHARS, ID_CHARS),
        length("display_name", 0, MAX_NAME_CHARS),
        length("key_hash", 1, MAX_NAME_CHARS),
        length("group_name", 0, MAX_NAME_CHARS),
    )

    id: Mapped[str] = mapped_column(String(ID_CHARS), primary_key=True)
    display_name: Mapped[str] = mapped_column(String(MAX_NAME_CHARS))
    key_hash: Mapped[str] = mapped_column(String(MAX_NAME_CHARS))
    created_at: Mapped[datetime]
    group_name: Mapped[str] = mapped_column(String(MAX_NAME_CHARS), server_default=_EMPTY)
    deleted_at: Mapped[datetime | None]


class JudgementRow(Base):
    """One revision of a judgement; it holds while ``superseded_at`` is NULL, which it is not once withdrawn."""

    __tablename__ = "judgements"
    __table_args__ = (
        UniqueConstraint("client_key"),
        UniqueConstraint("comparison_id", "annotator_id", "dimension", "revision"),
        Index(
            "uq_judgements_current",
            "comparison_id",
            "annotator_id",
            "dimension",
            unique=True,
            sqlite_where=text("superseded_at IS NULL"),
            postgresql_where=text("superseded_at IS NULL"),
        ),
        Index(
            "ix_judgements_recent",
            "judged_at",
            "id",
            sqlite_where=text("superseded_at IS NULL"),
            postgresql_where=text("superseded_at IS NULL"),
        ),
        Index("ix_judgements_annotator_id_judged_at", "annotator_id", "judged_at"),
        length("id", ID_CHARS, ID_CHARS),
        length("dimension", 1, MAX_NAME_CHARS),
        length("client_key", 1, MAX_NAME_CHARS),
        length("reason", 0, MAX_REASON_CHARS),
        one_of("choice", Choice),
        one_of("strength", Strength),
        limit("revision", "revision >= 1"),
    )

    id: Mapped[str] = mapped_column(String(ID_CHARS), primary_key=True)
    comparison_id: Mapped[str] = mapped_column(ForeignKey("comparisons.id"))
    annotator_id: Mapped[str] = mapped_column(ForeignKey("annotators.id"))
    dimension: Mapped[str] = mapped_column(String(MAX_NAME_CHARS))
    choice: Mapped[str] = mapped_column(String(16))
    client_key: Mapped[str] = mapped_column(String(MAX_NAME_CHARS))
    reason: Mapped[str] = mapped_column(String(MAX_REASON_CHARS))
    revision: Mapped[int]
    judged_at: Mapped[datetime]
    superseded_at: Mapped[datetime | None]
    strength: Mapped[str | None] = mapped_column(String(16))
    withdrawn_at: Mapped[datetime | None]


class RepeatedClickRow(Base):
    """A client key that changed nothing because its choice already held; replaying it later changes nothing either."""

    __tablename__ = "repeated_clicks"
    __table_args__ = (length("client_key", 1, MAX_NAME_CHARS),)

    client_key: Mapped[str] = mapped_column(String(MAX_NAME_CHARS), primary_key=True)
    judgement_id: Mapped[str] = mapped_column(ForeignKey("judgements.id"), index=True)
    clicked_at: Mapped[datetime]
