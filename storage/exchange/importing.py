"""Storing preferences that others collected: a closed study of its own, judged by an annotator named "imported"."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import insert, select, update
from sqlalchemy.orm import Session

from steering.errors import InputError
from steering.types import Choice
from storage.audit import Audit
from storage.database import Database
from storage.exchange.foreign import ForeignFile, ForeignPair, Refusal
from storage.records import MAX_NAME_CHARS, Comparison, ComparisonKind, check_text, new_id, utc_now
from storage.records_pairs import CanonicalSide, NamedBlend
from storage.records_studies import Question, StudyItem, StudySettings, StudyState
from storage.rows import generation_values
from storage.saving import insert_if_absent
from storage.study_rows import item_values, prompts_json, settings_json, study_from
from storage.study_tables import AssignmentRow, StudyItemRow, StudyRow
from storage.tables import AnnotatorRow, ComparisonRow, GenerationRow, JudgementRow
from storage.written import written_answer

IMPORTED = "imported"
"""The key hash, name and group of the annotator, the base model and the blend of what was imported."""
_N_AT_ONCE = 500


@dataclass(frozen=True)
class ImportReport:
    """What became of a file: every preference is new, was there already, or stood in the file more than once."""

    study: str
    n_lines: int
    n_new: int
    n_known: int
    n_repeated: int
    refusals: tuple[Refusal, ...]


def import_foreign(database: Database, file: ForeignFile, name: str, actor: str = "system") -> ImportReport:
    """Store the preferences of a file as judgements of the study ``imported NAME``, all of them or none.

    What this study has already, recognised by its content, is left as it is: importing again changes nothing. What was
    imported and then deleted with its annotator is judged again.

    Raises:
        InputError: the name cannot be used, the file has no preferences, or the study does not know their dimension.
        StorageError: the database cannot be written; nothing was changed.
    """
    study_name = f"{IMPORTED} {name}"
    check_text("name of the import", study_name, len(IMPORTED) + 2, MAX_NAME_CHARS)
    if not file.pairs:
        raise InputError(
            f"None of the {file.n_lines} lines can be used.",
            hint=file.refusals[0].reason if file.refusals else "The file is empty.",
        )
    now = utc_now()
    with database.writing("Nothing was imported.") as session:
        study_id = _study(session, study_name, file.pairs, now)
        annotator_id = _annotator(session, now)
        items = [_item(study_id, pair, now) for pair in file.pairs]
        there = set(session.scalars(select(StudyItemRow.id).where(StudyItemRow.study_id == study_id)))
        ours = AssignmentRow.study_id == study_id, AssignmentRow.annotator_id == annotator_id
        known = set(session.scalars(select(AssignmentRow.item_id).where(*ours)))
        fresh = [(item, pair) for item, pair in zip(items, file.pairs, strict=True) if item.id not in known]
        for start in range(0, len(fresh), _N_AT_ONCE):
            some = fresh[start : start + _N_AT_ONCE]
            _insert_items(session, [item for item, _ in some if item.id not in there])
            _insert_judgements(session, some, annotator_id, len(known) + start, now)
        if fresh:
            Audit(session, actor, now).add("imported", "study", study_id, n_judgements=len(fresh))
    return ImportReport(study_name, file.n_lines, len(fresh), len(items) - len(fresh), file.n_repeated, file.refusals)


def _study(session: Session, name: str, pairs: Sequence[ForeignPair], now: datetime) -> str:
    dimensions = sorted({pair.dimension for pair in pairs})
    settings = StudySettings(
        prompts=tuple(dict.fromkeys(pair.messages for pair in pairs)),
        questions=tuple(Question(dimension, dimension) for dimension in dimensions),
        # A study compares two blends at least; of the answers of others only one name is known.
        blends=(NamedBlend(IMPORTED), NamedBlend.of({})),
    )
    values = {
        "id": new_id(),
        "name": name,
        "state": StudyState.CLOSED.value,
        "overlap": 1,
        "settings": settings_json(settings),
        "prompts": prompts_json(settings),
        "created_at": now,
    }
    if insert_if_absent(session, StudyRow, values, "name"):
        return str(values["id"])
    row = session.scalars(select(StudyRow).where(StudyRow.name == name)).one()
    stored = study_from(row).settings
    if replace(stored, prompts=settings.prompts, publish=settings.publish) != settings:  # those two may change later
        raise InputError(
            f"There is a study {name!r} already, which asks something else.", hint="Import under another name."
        )
    return row.id


def _annotator(session: Session, now: datetime) -> str:
    values = {
        "id": new_id(),
        "display_name": IMPORTED,
        "key_hash": IMPORTED,
        "group_name": IMPORTED,
        "created_at": now,
    }
    insert_if_absent(session, AnnotatorRow, values, "key_hash")
    return session.scalars(select(AnnotatorRow.id).where(AnnotatorRow.key_hash == IMPORTED)).one()


def _item(study_id: str, pair: ForeignPair, now: datetime) -> StudyItem:
    """The item of a preference, its ids made from its content, so that the same one is known again."""
    responses = (pair.chosen, pair.rejected) if _chosen_is_a(pair) else (pair.rejected, pair.chosen)
    left, right = (
        written_answer(_id(study_id, pair, side), pair.messages, text, source=IMPORTED, created_at=now)
        for side, text in zip("ab", responses, strict=True)
    )
    comparison = Comparison(
        _id(study_id, pair, "comparison"), ComparisonKind.STUDY, left, right, sides_known=False, created_at=now
    )
    blend = NamedBlend(IMPORTED)
    return StudyItem(_id(study_id, pair, "item"), study_id, comparison, blend, blend)


def _chosen_is_a(pair: ForeignPair) -> bool:
    """Half of the chosen responses are A, so that the side tells nothing."""
    return int(pair.sha256[0], 16) % 2 == 0


def _id(study_id: str, pair: ForeignPair, part: str) -> str:
    return hashlib.sha256(f"{study_id} {pair.sha256} {part}".encode()).hexdigest()[:32]


def _insert_items(session: Session, fresh: Sequence[StudyItem]) -> None:
    """Insert items that nobody has answered, with what they show."""
    generations, comparisons = [], []
    for item in fresh:
        left, right = item.comparison.left, item.comparison.right
        generations += [generation_values(left), generation_values(right)]
        comparisons.append(
            {
                "id": item.comparison.id,
                "kind": item.comparison.kind.value,
                "left_generation_id": left.id,
                "right_generation_id": right.id,
                "sides_known": False,
                "created_at": item.comparison.created_at,
            }
        )
    if fresh:
        session.execute(insert(GenerationRow), generations)
        session.execute(insert(ComparisonRow), comparisons)
        session.execute(insert(StudyItemRow), [item_values(item) for item in fresh])


def _insert_judgements(
    session: Session, fresh: Sequence[tuple[StudyItem, ForeignPair]], annotator_id: str, position: int, now: datetime
) -> None:
    """Insert what the annotator says of items that are there."""
    assignments, judgements = [], []
    for place, (item, pair) in enumerate(fresh, start=position):
        assignments.append(
            {
                "item_id": item.id,
                "annotator_id": annotator_id,
                "study_id": item.study_id,
                "position": place,
                "shown_left": CanonicalSide.A.value,
                "shown_at": now,
                "answered_at": now,
            }
        )
        judgements.append(
            {
                "id": _id(item.study_id, pair, "judgement"),
                "comparison_id": item.comparison.id,
                "annotator_id": annotator_id,
                "dimension": pair.dimension,
                "choice": (Choice.LEFT if _chosen_is_a(pair) else Choice.RIGHT).value,
                "client_key": _id(item.study_id, pair, "click"),
                "reason": "",
                "revision": 1,
                "judged_at": now,
            }
        )
    session.execute(insert(AssignmentRow), assignments)
    session.execute(insert(JudgementRow), judgements)
    answered = update(StudyItemRow).where(StudyItemRow.id.in_([item.id for item, _ in fresh]))
    session.execute(
        answered.values(n_answered=StudyItemRow.n_answered + 1), execution_options={"synchronize_session": False}
    )
