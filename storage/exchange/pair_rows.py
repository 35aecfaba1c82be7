"""Judged pairs as rows of JSON or Parquet, and back, with nothing lost."""

from datetime import datetime
from typing import Any

import pyarrow as pa  # type: ignore[import-untyped]

from steering.types import Message, Role
from storage.exchange.writing import Row
from storage.records import Strength
from storage.records_pairs import CanonicalSide, JudgedPair, NamedBlend, Outcome

_TEXTS = ("judgement_id", "comparison_id", "study", "dimension", "annotator_id", "group", "reason")
_SAME = (*_TEXTS, "study_id", "n_tokens_a", "n_tokens_b", "is_gold", "repeat_of", "generation_a_id", "generation_b_id")


def full_row(pair: JudgedPair) -> Row:
    """Everything known of a judgement; ``pair_from`` gives it back equal."""
    return {
        **{name: getattr(pair, name) for name in _SAME},
        "blend_a": pair.blend_a.key,
        "weights_a": _weights(pair.blend_a),
        "made_with_a": pair.blend_a.made_with,
        "blend_b": pair.blend_b.key,
        "weights_b": _weights(pair.blend_b),
        "made_with_b": pair.blend_b.made_with,
        "outcome": pair.outcome.value,
        "strength": pair.strength.value if pair.strength else None,
        "shown_left": pair.shown_left.value,
        "judged_at": pair.judged_at.isoformat(),
        "gold_answer": pair.gold_answer.value if pair.gold_answer else None,
        "messages": message_rows(pair.messages),
        "response_a": pair.response_a,
        "response_b": pair.response_b,
    }


def pair_from(row: Row) -> JudgedPair:
    """The judgement of a full row.

    Raises:
        KeyError, TypeError, ValueError, InputError: it is not one.
    """
    same: dict[str, Any] = {name: row[name] for name in _SAME}
    for name in (*_TEXTS, "response_a", "response_b"):
        if not isinstance(row[name], str):
            raise TypeError(f"{name} is not a text")
    return JudgedPair(
        **same,
        blend_a=_blend(row, "a"),
        blend_b=_blend(row, "b"),
        outcome=Outcome(row["outcome"]),
        strength=Strength(row["strength"]) if row["strength"] is not None else None,
        shown_left=CanonicalSide(row["shown_left"]),
        judged_at=datetime.fromisoformat(row["judged_at"]),
        gold_answer=Outcome(row["gold_answer"]) if row["gold_answer"] is not None else None,
        messages=tuple(Message(Role(entry["role"]), entry["content"]) for entry in row["messages"]),
        response_a=row["response_a"],
        response_b=row["response_b"],
    )


def message_rows(messages: tuple[Message, ...]) -> list[Row]:
    """A conversation as TRL and the chat templates have it."""
    return [{"role": message.role.value, "content": message.content} for message in messages]


def full_schema() -> pa.Schema:
    """The Parquet columns of ``full_row``, the same whatever is in the rows."""
    weights = pa.list_(pa.struct([("axis", pa.string()), ("weight", pa.float64())]))
    messages = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
    special = {
        "n_tokens_a": pa.int64(),
        "n_tokens_b": pa.int64(),
        "is_gold": pa.bool_(),
        "weights_a": weights,
        "weights_b": weights,
        "messages": messages,
    }
    return pa.schema([(name, special.get(name, pa.string())) for name in FULL_COLUMNS])


def _weights(blend: NamedBlend) -> list[Row]:
    return [{"axis": axis, "weight": float(weight)} for axis, weight in blend.weights.items()]


def _blend(row: Row, side: str) -> NamedBlend:
    weights = {entry["axis"]: entry["weight"] for entry in row[f"weights_{side}"]}
    return NamedBlend(row[f"blend_{side}"], weights, row[f"made_with_{side}"])


FULL_COLUMNS = (
    *_SAME,
    *(
        "blend_a",
        "weights_a",
        "made_with_a",
        "blend_b",
        "weights_b",
        "made_with_b",
        "outcome",
        "strength",
        "shown_left",
        "judged_at",
    ),
    *("gold_answer", "messages", "response_a", "response_b"),
)
"""The columns of ``full_row``, in their order."""
