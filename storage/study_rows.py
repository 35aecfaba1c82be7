"""Studies, items, assignments and audit entries to rows and back; what comes back is checked."""

import json
from typing import Any

from sqlalchemy import Row

from steering.types import SamplingSettings
from storage.next_item import Rules
from storage.records_audit import AuditEntry
from storage.records_pairs import CanonicalSide, NamedBlend, Outcome
from storage.records_publishing import OFF, Publishing
from storage.records_studies import (
    Assignment,
    Ordering,
    Question,
    Study,
    StudyItem,
    StudySettings,
    StudyState,
    StudySummary,
)
from storage.rows import comparison_from, messages_from, messages_json, read, to_json
from storage.study_tables import AssignmentRow, AuditRow, StudyItemRow, StudyRow


def settings_json(settings: StudySettings) -> str:
    """What the column holds for the settings; their prompts have a column of their own."""
    sampling = settings.sampling
    return to_json(
        {
            "questions": [[question.dimension, question.text] for question in settings.questions],
            "blends": [[blend.key, dict(blend.weights)] for blend in settings.blends],
            "ranges": {dimension: list(ends) for dimension, ends in settings.ranges.items()},
            "sampling": {name: getattr(sampling, name) for name in SamplingSettings.__dataclass_fields__},
            "overlap": settings.overlap,
            "gold_share": settings.gold_share,
            "repeat_share": settings.repeat_share,
            "consent": settings.consent,
            "reveals": settings.reveals,
            "ordering": settings.ordering.value,
            "seed": settings.seed,
            "publish": _publishing_values(settings.publish),
        }
    )


def with_publishing(stored: str, publish: Publishing) -> str:
    """What the column of the settings holds once the study says ``publish``; the rest stays as it is."""
    return to_json({**json.loads(stored), "publish": _publishing_values(publish)})


def prompts_json(settings: StudySettings) -> str:
    """What the column holds for the prompts: each a list of messages, as text in a list."""
    return to_json([messages_json(messages) for messages in settings.prompts])


def study_from(row: StudyRow) -> Study:
    """The study of a row, with its prompts.

    Raises:
        StorageError: the row holds something that no Tiller wrote.
    """
    return read(f"study {row.id}", lambda: _study(row))


def summary_from(row: Row[Any]) -> StudySummary:
    """The study of a row of a list: id, name, state, when it was made, the three counts, and its settings.

    Raises:
        StorageError: the row holds something that no Tiller wrote.
    """
    values: tuple[Any, ...] = tuple(row)
    study_id, name, state, made_at, n_items, n_given, n_wanted, settings = values
    counts = int(n_items), int(n_given), int(n_wanted)
    return read(
        f"study {study_id}",
        lambda: StudySummary(study_id, name, StudyState(state), made_at, *counts, _publishing(json.loads(settings))),
    )


def rules_from(row: StudyRow | Row[Any]) -> Rules:
    """What of the settings is needed at every click; of a row with the columns ``id``, ``settings`` and ``overlap``.

    Raises:
        StorageError: the row holds something that no Tiller wrote.
    """
    return read(f"study {row.id}", lambda: _rules(row))


def item_values(item: StudyItem) -> dict[str, Any]:
    """The column values of an item that nobody has answered."""
    return {
        "id": item.id,
        "study_id": item.study_id,
        "comparison_id": item.comparison.id,
        "role": item.role.value,
        "blend_a": item.blend_a.key,
        "blend_b": item.blend_b.key,
        "weights_a": weights_json(item.blend_a),
        "weights_b": weights_json(item.blend_b),
        "gold": to_json({dimension: outcome.value for dimension, outcome in sorted(item.gold.items())}),
        "repeat_of": item.repeat_of,
        "n_answered": 0,
    }


def item_from(row: StudyItemRow) -> StudyItem:
    """The item of a row.

    Raises:
        StorageError: the row or its comparison holds something that no Tiller wrote.
    """
    comparison = comparison_from(row.comparison)
    return read(
        f"item {row.id}",
        lambda: StudyItem(
            id=row.id,
            study_id=row.study_id,
            comparison=comparison,
            blend_a=NamedBlend(row.blend_a, json.loads(row.weights_a)),
            blend_b=NamedBlend(row.blend_b, json.loads(row.weights_b)),
            gold=gold_from(row.gold),
            repeat_of=row.repeat_of,
        ),
    )


def assignment_from(row: AssignmentRow) -> Assignment:
    """The assignment of a row.

    Raises:
        StorageError: a row holds something that no Tiller wrote.
    """
    item = item_from(row.item)
    return Assignment(
        item, row.annotator_id, CanonicalSide(row.shown_left), row.position, row.shown_at, row.answered_at
    )


def audit_entry_from(row: AuditRow) -> AuditEntry:
    """The audit entry of a row.

    Raises:
        StorageError: the row holds something that no Tiller wrote.
    """
    details: dict[str, str | int] = read(f"audit entry {row.number}", lambda: json.loads(row.details))
    return AuditEntry(row.number, row.at, row.actor, row.action, row.record_kind, row.record_id, details)


def weights_json(blend: NamedBlend) -> str:
    """What a column holds for the weights of a blend."""
    return to_json({dimension: float(weight) for dimension, weight in sorted(blend.weights.items())})


def gold_from(stored: str) -> dict[str, Outcome]:
    """The right outcomes of a column, which holds JSON.

    Raises:
        ValueError: it holds something else.
    """
    return {dimension: Outcome(outcome) for dimension, outcome in json.loads(stored).items()}


def _study(row: StudyRow) -> Study:
    stored = json.loads(row.settings)
    settings = StudySettings(
        prompts=tuple(messages_from(messages) for messages in json.loads(row.prompts)),
        questions=tuple(Question(*question) for question in stored["questions"]),
        blends=tuple(NamedBlend(*blend) for blend in stored["blends"]),
        ranges={dimension: (low, high) for dimension, (low, high) in stored["ranges"].items()},
        sampling=SamplingSettings(**stored["sampling"]),
        overlap=row.overlap,
        gold_share=stored["gold_share"],
        repeat_share=stored["repeat_share"],
        consent=stored["consent"],
        reveals=stored["reveals"],
        ordering=Ordering(stored["ordering"]),
        seed=stored["seed"],
        publish=_publishing(stored),
    )
    return Study(row.id, row.name, settings, StudyState(row.state), row.created_at)


def _publishing_values(publish: Publishing) -> dict[str, Any]:
    return {"enabled": publish.enabled, "margin": publish.margin}


def _publishing(stored: dict[str, Any]) -> Publishing:
    # studies of before this could be said do not have it
    return Publishing(**stored["publish"]) if "publish" in stored else OFF


def _rules(row: StudyRow | Row[Any]) -> Rules:
    stored = json.loads(row.settings)
    return Rules(
        dimensions=frozenset(dimension for dimension, _ in stored["questions"]),
        overlap=row.overlap,
        gold_share=stored["gold_share"],
        repeat_share=stored["repeat_share"],
        ordering=Ordering(stored["ordering"]),
        seed=stored["seed"],
        consent=stored["consent"],
        reveals=stored["reveals"],
    )
