"""Whether a retrained guide is published without anybody's word: what the studies behind it say, and what came of it.

Every study that judgements are taken from has to ask for it; the strictest of their margins counts.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from storage.records_publishing import DEFAULT_MARGIN_NATS, OFF, Publishing
from storage.study_repository import ResultsRepository, StudyRepository
from ui import wording_guides as wording
from ui.guides.asking import Ask
from ui.guides.verdict import Verdict
from ui.results.actions import STEER

UNKNOWN = "unknown"
"""In the place of a study's id: judgements that a version was trained on, and of which nothing is known here."""


@dataclass(frozen=True)
class Said:
    """What one study says; ``study_id`` is empty for the Steer page, whose judgements are of no study."""

    study_id: str
    name: str
    publish: Publishing


@dataclass(frozen=True)
class Gate:
    """What all the studies say that a training takes judgements from."""

    said: tuple[Said, ...] = ()

    @property
    def is_asked_for(self) -> bool:
        """Whether there are studies, and every one asks for publishing."""
        return bool(self.said) and not self.against

    @property
    def against(self) -> tuple[Said, ...]:
        """Those that do not ask for it."""
        return tuple(one for one in self.said if not one.publish.enabled)

    @property
    def margin(self) -> float:
        """The strictest margin in nats per token; the usual one where publishing is not asked for."""
        return min(one.publish.margin for one in self.said) if self.is_asked_for else DEFAULT_MARGIN_NATS

    def as_json(self) -> list[dict[str, Any]]:
        """As plain values, for :func:`gate_from`."""
        return [asdict(one) for one in self.said]


def gate_from(values: Sequence[Mapping[str, Any]]) -> Gate:
    """The gate that :meth:`Gate.as_json` wrote."""
    return Gate(tuple(Said(one["study_id"], one["name"], Publishing(**one["publish"])) for one in values))


def gate_of(studies: StudyRepository, study_ids: Iterable[str]) -> Gate:
    """What these studies say now; one that is not there says no.

    Raises:
        StorageError: the database cannot be read.
    """
    known = {study.id: Said(study.id, study.name, study.publish) for study in studies.studies()}
    known[""] = Said("", wording.STEER_PAGE, OFF)
    known[UNKNOWN] = Said(UNKNOWN, wording.UNKNOWN_STUDIES, OFF)
    return Gate(tuple(known.get(one) or Said(one, one, OFF) for one in sorted(set(study_ids))))


def studies_meant(results: ResultsRepository, ask: Ask) -> set[str]:
    """The ids of the studies of which judgements are asked for; an empty one is the Steer page.

    Raises:
        StorageError: the database cannot be read.
    """
    if ask.study_id not in ("", STEER):
        return {ask.study_id}
    counts = results.annotator_counts(ask.wanted())
    return {one.study_id for one in counts if one.annotator_id not in ask.without}


def studies_in(data: Path) -> set[str]:
    """The ids of the studies whose judgements are in a training's data; an empty one is the Steer page."""
    found: set[str] = set()
    for path in data.glob("*.jsonl"):
        with path.open(encoding="utf-8") as file:
            found.update(json.loads(line)["study_id"] or "" for line in file)
    return found


class Refusal(StrEnum):
    """Why a version was not published by itself though that was asked for when its training began."""

    OFF = "off"
    """A study does not ask for it any more."""
    SUPERSEDED = "superseded"
    """Another version answers now than the one it was compared with."""
    TAKEN_BACK = "taken_back"
    """Somebody published it meanwhile and took it back."""
    NOT_BETTER = "not_better"
    WORSE = "worse"
    """Other dimensions lose more than the margin."""


@dataclass(frozen=True)
class Decision:
    """What came of publishing by itself: done where ``refusal`` is None; ``names`` are of studies or dimensions."""

    margin: float
    refusal: Refusal | None = None
    names: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """As plain values, for :func:`decision_from`."""
        return asdict(self)


def decision_from(values: Mapping[str, Any]) -> Decision:
    """The decision that :meth:`Decision.as_json` wrote."""
    refusal = None if values["refusal"] is None else Refusal(values["refusal"])
    return Decision(values["margin"], refusal, tuple(values["names"]))


def decide(now: Gate, verdict: Verdict, *, is_superseded: bool, is_taken_back: bool) -> Decision:
    """Whether a version with this verdict is published by itself, where its studies say ``now``.

    ``is_superseded``: the version it was compared with is not the one that answers any more. ``is_taken_back``: it is
    again, after somebody published the new one.
    """
    if not now.is_asked_for:
        return Decision(verdict.margin, Refusal.OFF, tuple(one.name for one in now.against))
    if is_superseded:
        return Decision(verdict.margin, Refusal.SUPERSEDED)
    if is_taken_back:
        return Decision(verdict.margin, Refusal.TAKEN_BACK)
    if not verdict.is_known or not verdict.is_better:
        return Decision(verdict.margin, Refusal.NOT_BETTER)
    if verdict.worse:
        return Decision(verdict.margin, Refusal.WORSE, verdict.worse)
    assert verdict.may_publish
    return Decision(verdict.margin)
