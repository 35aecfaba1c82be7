"""Judged pairs out of the database, on SQLAlchemy: flat rows that come bit by bit."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeVarTuple

from sqlalchemy import Row, Select, func, select
from sqlalchemy.orm import Session, aliased

from steering.types import Choice
from storage.records import ComparisonKind, Strength
from storage.records_pairs import (
    CanonicalSide,
    JudgedPair,
    NamedBlend,
    Outcome,
    PairFilter,
    made_with,
    outcome_of,
)
from storage.records_studies import ItemRole
from storage.rows import messages_from, read, text_from
from storage.study_rows import gold_from
from storage.study_tables import AssignmentRow, StudyItemRow, StudyRow
from storage.tables import AnnotatorRow, ComparisonRow, GenerationGuideRow, GenerationRow, JudgementRow

Ts = TypeVarTuple("Ts")

_N_AT_ONCE = 500
_OriginalRow = aliased(StudyItemRow)
_LeftRow, _RightRow = aliased(GenerationRow), aliased(GenerationRow)

_SIDES = {side.value: side for side in CanonicalSide}
_STRENGTHS: dict[str | None, Strength | None] = {None: None, **{strength.value: strength for strength in Strength}}
OUTCOMES = {(choice.value, side.value): outcome_of(choice, side) for choice in Choice for side in CanonicalSide}

_JUDGED = (
    JudgementRow.id.label("judgement_id"),
    JudgementRow.comparison_id,
    JudgementRow.dimension,
    JudgementRow.annotator_id,
    JudgementRow.choice,
    JudgementRow.strength,
    JudgementRow.judged_at,
    JudgementRow.reason,
    AnnotatorRow.group_name,
    _LeftRow.id.label("generation_a_id"),
    _LeftRow.n_tokens.label("n_tokens_a"),
    _LeftRow.base_exponent.label("base_exponent_a"),
    _RightRow.id.label("generation_b_id"),
    _RightRow.n_tokens.label("n_tokens_b"),
    _RightRow.base_exponent.label("base_exponent_b"),
)


def of_studies(query: Select[*Ts], wanted: PairFilter) -> Select[*Ts]:
    """The judgements that hold of studies, with their items, assignments and annotators, filtered."""
    query = (
        query.select_from(JudgementRow)
        .join(StudyItemRow, StudyItemRow.comparison_id == JudgementRow.comparison_id)
        .join(
            AssignmentRow,
            (AssignmentRow.item_id == StudyItemRow.id) & (AssignmentRow.annotator_id == JudgementRow.annotator_id),
        )
        .join(AnnotatorRow, AnnotatorRow.id == JudgementRow.annotator_id)
    )
    if wanted.study_ids is not None:
        query = query.where(StudyItemRow.study_id.in_(wanted.study_ids))
    return filtered(query, wanted)


def filtered(query: Select[*Ts], wanted: PairFilter) -> Select[*Ts]:
    """The query of judgements and annotators, narrowed to judgements that hold and are wanted, studies left aside."""
    query = query.where(JudgementRow.superseded_at.is_(None))
    if wanted.dimensions is not None:
        query = query.where(JudgementRow.dimension.in_(wanted.dimensions))
    if wanted.annotator_ids is not None:
        query = query.where(JudgementRow.annotator_id.in_(wanted.annotator_ids))
    if wanted.groups is not None:
        query = query.where(AnnotatorRow.group_name.in_(wanted.groups))
    if wanted.since is not None:
        query = query.where(JudgementRow.judged_at >= wanted.since)
    if wanted.until is not None:
        query = query.where(JudgementRow.judged_at < wanted.until)
    return query


def _with_generations(query: Select[*Ts]) -> Select[*Ts]:
    return (
        query.join(_LeftRow, _LeftRow.id == ComparisonRow.left_generation_id)
        .join(_RightRow, _RightRow.id == ComparisonRow.right_generation_id)
        .order_by(JudgementRow.judged_at, JudgementRow.id)
        .execution_options(yield_per=_N_AT_ONCE)
    )


def study_pairs(session: Session, wanted: PairFilter, reliability: Mapping[str, float]) -> Iterator[JudgedPair]:
    """The wanted judgements of studies, oldest first, without texts; ``reliability`` is that of ``gold_shares``."""
    of_study = (
        StudyItemRow.study_id,
        StudyRow.name.label("study"),
        StudyItemRow.role,
        StudyItemRow.gold,
        StudyItemRow.blend_a,
        StudyItemRow.weights_a,
        StudyItemRow.blend_b,
        StudyItemRow.weights_b,
        AssignmentRow.shown_left,
        _OriginalRow.comparison_id.label("repeat_of"),
    )
    query = (
        of_studies(select(*_JUDGED, *of_study), wanted)
        .join(ComparisonRow, ComparisonRow.id == JudgementRow.comparison_id)
        .join(StudyRow, StudyRow.id == StudyItemRow.study_id)
        .outerjoin(_OriginalRow, _OriginalRow.id == StudyItemRow.repeat_of)
    )
    # Few blends and right answers come again and again; each is read once.
    blends: dict[tuple[str, str, str], NamedBlend] = {}
    golds: dict[str, Mapping[str, Outcome]] = {}
    for rows in session.execute(_with_generations(query)).partitions():
        made = {generation_id: words for generation_id, (_, words) in _made(session, rows).items()}
        for row in rows:
            a = (row.blend_a, row.weights_a, made[row.generation_a_id])
            b = (row.blend_b, row.weights_b, made[row.generation_b_id])
            for named in (a, b):
                if named not in blends:
                    blends[named] = stored_blend(*named)
            if row.gold not in golds:
                golds[row.gold] = read(f"right answer of comparison {row.comparison_id}", partial(gold_from, row.gold))
            yield JudgedPair(
                study_id=row.study_id,
                study=row.study,
                blend_a=blends[a],
                blend_b=blends[b],
                is_gold=row.role == ItemRole.GOLD.value,
                gold_answer=golds[row.gold].get(row.dimension),
                repeat_of=row.repeat_of,
                **_judged(row, _SIDES[row.shown_left], reliability),
            )


def gold_shares(session: Session, wanted: PairFilter) -> dict[str, float]:
    """Share of gold answers given right, by annotator who gave any: in the wanted studies, all dimensions and times."""
    names = (JudgementRow.annotator_id, JudgementRow.dimension, StudyItemRow.gold)
    seen = (JudgementRow.choice, AssignmentRow.shown_left)
    query = of_studies(select(*names, *seen, func.count()), wanted.whole).group_by(*names, *seen)
    right: dict[str, int] = {}
    given: dict[str, int] = {}
    for row in session.execute(query.where(StudyItemRow.role == ItemRole.GOLD.value)):
        annotator_id, dimension, gold, choice, shown_left, n_judgements = row
        answer = read(f"right answer {gold!r}", partial(gold_from, gold)).get(dimension)
        outcome = OUTCOMES[(choice, _SIDES[shown_left])]
        if answer is not None and outcome is not Outcome.SKIP:
            given[annotator_id] = given.get(annotator_id, 0) + n_judgements
            right[annotator_id] = right.get(annotator_id, 0) + n_judgements * (outcome is answer)
    return {annotator_id: right[annotator_id] / n for annotator_id, n in given.items()}


def of_steer(query: Select[*Ts], wanted: PairFilter) -> Select[*Ts]:
    """The judgements that hold of the Steer page, with their comparisons and annotators, filtered."""
    query = (
        query.select_from(JudgementRow)
        .join(AnnotatorRow, AnnotatorRow.id == JudgementRow.annotator_id)
        .join(ComparisonRow, ComparisonRow.id == JudgementRow.comparison_id)
        .where(ComparisonRow.kind == ComparisonKind.STEER.value)
    )
    return filtered(query, wanted)


def steer_pairs(session: Session, wanted: PairFilter, reliability: Mapping[str, float]) -> Iterator[JudgedPair]:
    """The wanted judgements of the Steer page, oldest first, without texts; see ``study_pairs``."""
    for rows in session.execute(_with_generations(of_steer(select(*_JUDGED), wanted))).partitions():
        blends = {generation_id: NamedBlend.of(*made) for generation_id, made in _made(session, rows).items()}
        for row in rows:
            yield JudgedPair(
                study_id=None,
                study="",
                blend_a=blends[row.generation_a_id],
                blend_b=blends[row.generation_b_id],
                is_gold=False,
                gold_answer=None,
                repeat_of=None,
                **_judged(row, CanonicalSide.A, reliability),
            )


def _judged(row: Row[*tuple[Any, ...]], shown_left: CanonicalSide, reliability: Mapping[str, float]) -> dict[str, Any]:
    """The fields that judgements of studies and of the Steer page have in common; looked up, not made, per row."""
    return {
        "judgement_id": row.judgement_id,
        "comparison_id": row.comparison_id,
        "dimension": row.dimension,
        "annotator_id": row.annotator_id,
        "group": row.group_name,
        "outcome": OUTCOMES[(row.choice, shown_left)],
        "strength": _STRENGTHS[row.strength],
        "n_tokens_a": row.n_tokens_a,
        "n_tokens_b": row.n_tokens_b,
        "shown_left": shown_left,
        "judged_at": row.judged_at,
        "generation_a_id": row.generation_a_id,
        "generation_b_id": row.generation_b_id,
        "reason": row.reason,
        "reliability": reliability.get(row.annotator_id),
    }


def stored_blend(key: str, weights: str, made_with: str = "") -> NamedBlend:
    """The blend of two columns, and what its answers were made with where that matters.

    Raises:
        StorageError: they hold something that no Tiller wrote.
    """
    return read(f"blend {key!r}", lambda: NamedBlend(key, json.loads(weights), made_with))


def _made(session: Session, rows: Sequence[Row[*tuple[Any, ...]]]) -> dict[str, tuple[dict[str, float], str]]:
    """The weights of every generation of the rows, by its id, and what beside them it was made with."""
    exponents = {row.generation_a_id: row.base_exponent_a for row in rows}
    exponents |= {row.generation_b_id: row.base_exponent_b for row in rows}
    weights: dict[str, dict[str, float]] = {generation_id: {} for generation_id in exponents}
    versions: dict[str, dict[str, int | None]] = {generation_id: {} for generation_id in exponents}
    guide = GenerationGuideRow
    query = select(guide.generation_id, guide.dimension, guide.weight, guide.version)
    for generation_id, dimension, weight, version in session.execute(
        query.where(guide.generation_id.in_(exponents), guide.weight.is_not(None))
    ):
        weights[generation_id][dimension] = float(weight or 0.0)
        if weight:
            versions[generation_id][dimension] = version
    return {
        generation_id: (weights[generation_id], made_with(versions[generation_id], exponent))
        for generation_id, exponent in exponents.items()
    }


def completed(session: Session, pairs: Iterator[JudgedPair]) -> Iterator[JudgedPair]:
    """The same rows with prompts and responses, read for many at once."""
    while bundle := [pair for _, pair in zip(range(_N_AT_ONCE), pairs, strict=False)]:
        wanted = {pair.generation_a_id for pair in bundle} | {pair.generation_b_id for pair in bundle}
        query = select(GenerationRow.id, GenerationRow.messages, GenerationRow.text).where(GenerationRow.id.in_(wanted))
        stored = {generation_id: (messages, text) for generation_id, messages, text in session.execute(query)}
        for pair in bundle:
            yield read(f"generation {pair.generation_a_id} or {pair.generation_b_id}", partial(_complete, pair, stored))


def _complete(pair: JudgedPair, stored: Mapping[str, tuple[str, str]]) -> JudgedPair:
    messages, response_a = stored[pair.generation_a_id]
    _, response_b = stored[pair.generation_b_id]
    return replace(
        pair, messages=messages_from(messages), response_a=text_from(response_a), response_b=text_from(response_b)
    )
