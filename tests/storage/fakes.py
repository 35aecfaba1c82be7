"""A store without a database, for tests of other rooms; held to the same contract test as the real one."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from steering.errors import InputError, NotFoundError, StorageError
from storage.records import (
    MAX_NAME_CHARS,
    Annotator,
    Comparison,
    Generation,
    Judgement,
    JudgementInput,
    check_text,
    new_id,
    utc_now,
)


@dataclass
class InMemoryRepository:
    """Keeps everything in lists and dictionaries, one call at a time."""

    clock: Callable[[], datetime] = utc_now
    comparisons: dict[str, Comparison] = field(default_factory=dict)
    generations: dict[str, Generation] = field(default_factory=dict)
    annotators: dict[str, Annotator] = field(default_factory=dict)
    revisions: list[Judgement] = field(default_factory=list)
    answered: dict[str, Judgement] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def save_comparison(self, comparison: Comparison) -> None:
        with self.lock:
            sides = (comparison.left, comparison.right)
            stored = [self.generations.get(side.id, side) for side in sides]
            if stored != list(sides) or self.comparisons.get(comparison.id, comparison) != comparison:
                raise StorageError("Another record is already stored under that id.", hint="Use a new id.")
            self.generations.update({side.id: side for side in sides})
            self.comparisons[comparison.id] = comparison

    def get_comparison(self, comparison_id: str) -> Comparison:
        with self.lock:
            if comparison_id not in self.comparisons:
                raise NotFoundError("There is no such comparison.", hint="Check the link.")
            return self.comparisons[comparison_id]

    def annotator(self, key_hash: str, display_name: str = "") -> Annotator:
        check_text("key hash", key_hash, 1, MAX_NAME_CHARS)
        check_text("display name", display_name, 0, MAX_NAME_CHARS)
        with self.lock:
            if key_hash not in self.annotators:
                self.annotators[key_hash] = Annotator(new_id(), display_name, key_hash, self.clock())
            return self.annotators[key_hash]

    def record_judgement(self, judgement: JudgementInput) -> Judgement:
        with self.lock:
            if judgement.comparison_id not in self.comparisons:
                raise NotFoundError("There is no such comparison.", hint="Check the link.")
            if judgement.annotator_id not in {annotator.id for annotator in self.annotators.values()}:
                raise NotFoundError("There is no such annotator.", hint="Sign in again.")
            seen = self.answered.get(judgement.client_key)
            if seen is not None and _about(seen) != _about(judgement):
                raise InputError("The client key was used for another judgement.", hint="Use a new key.")
            return seen or self._record(judgement)

    def judgements_of(self, comparison_id: str, annotator_id: str) -> tuple[Judgement, ...]:
        current = [
            judgement
            for judgement in self._current()
            if (judgement.comparison_id, judgement.annotator_id) == (comparison_id, annotator_id)
        ]
        return tuple(sorted(current, key=lambda judgement: judgement.dimension))

    def history_of(self, comparison_id: str, dimension: str, annotator_id: str) -> tuple[Judgement, ...]:
        check_text("dimension", dimension, 1, MAX_NAME_CHARS)
        with self.lock:
            return tuple(
                judgement
                for judgement in self.revisions
                if _about(judgement) == (comparison_id, dimension, annotator_id)
            )

    def recent_judgements(self, limit: int = 20, annotator_id: str | None = None) -> tuple[Judgement, ...]:
        if not 1 <= limit <= 1000:
            raise InputError(f"The limit is {limit}; it must be from 1 to 1000.", hint="Ask for 20.")
        wanted = [judgement for judgement in self._current() if annotator_id in (None, judgement.annotator_id)]
        newest_first = sorted(wanted, key=lambda judgement: (judgement.judged_at, judgement.id), reverse=True)
        return tuple(newest_first[:limit])

    def count_judgements(self) -> int:
        return len(self._current())

    def _record(self, judgement: JudgementInput) -> Judgement:
        earlier = [revision for revision in self.revisions if _about(revision) == _about(judgement)]
        if earlier and earlier[-1].choice == judgement.choice and judgement.reason in ("", earlier[-1].reason):
            self.answered[judgement.client_key] = earlier[-1]
            return earlier[-1]
        made = Judgement(
            id=new_id(),
            comparison_id=judgement.comparison_id,
            annotator_id=judgement.annotator_id,
            dimension=judgement.dimension,
            choice=judgement.choice,
            client_key=judgement.client_key,
            reason=judgement.reason,
            revision=len(earlier) + 1,
            judged_at=self.clock(),
        )
        self.revisions.append(made)
        self.answered[judgement.client_key] = made
        return made

    def _current(self) -> tuple[Judgement, ...]:
        with self.lock:
            return tuple({_about(revision): revision for revision in self.revisions}.values())


def _about(judgement: Judgement | JudgementInput) -> tuple[str, str, str]:
    return judgement.comparison_id, judgement.dimension, judgement.annotator_id
