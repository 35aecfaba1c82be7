"""A store without a database, for tests of other rooms; held to the same contract test as the real one.

Methods called ``…_unlocked`` are for tests/storage/study_fakes.py, which holds the lock.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime

from steering.errors import InputError, NotFoundError, StorageError
from storage.records import (
    MAX_NAME_CHARS,
    Annotator,
    Comparison,
    ComparisonKind,
    Forgotten,
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

    def annotator(self, key_hash: str, display_name: str = "", group: str = "") -> Annotator:
        check_text("key hash", key_hash, 1, MAX_NAME_CHARS)
        check_text("display name", display_name, 0, MAX_NAME_CHARS)
        check_text("group", group, 0, MAX_NAME_CHARS)
        with self.lock:
            if key_hash not in self.annotators:
                self.annotators[key_hash] = Annotator(new_id(), display_name, key_hash, self.clock(), group)
            return self.annotators[key_hash]

    def delete_annotator(self, annotator_id: str, actor: str = "system") -> Annotator:
        with self.lock:
            found = self.require_annotator(annotator_id, deleted_too=True)
            if found.deleted_at is not None:
                return found
            del self.annotators[found.key_hash]
            hidden = f"deleted {annotator_id}"
            self.annotators[hidden] = Annotator(annotator_id, "", hidden, found.created_at, "", self.clock())
            self.revisions = [revision for revision in self.revisions if revision.annotator_id != annotator_id]
            self.answered = {key: made for key, made in self.answered.items() if made.annotator_id != annotator_id}
            return self.annotators[hidden]

    def forget_prompts(self, before: datetime, actor: str = "system") -> Forgotten:
        if before.tzinfo is None:
            raise InputError("The time has no zone.", hint="Add one.")
        with self.lock:
            old = {
                comparison.id
                for comparison in self.comparisons.values()
                if comparison.kind is ComparisonKind.STEER and comparison.created_at < before
            }
            removed = old - {revision.comparison_id for revision in self.revisions}
            self.comparisons = {key: kept for key, kept in self.comparisons.items() if key not in removed}
            shown = {key: {side.id for side in (kept.left, kept.right)} for key, kept in self.comparisons.items()}
            staying = set().union(*(sides for key, sides in shown.items() if key not in old))
            emptying = set().union(*(sides for key, sides in shown.items() if key in old)) - staying
            self.generations = {key: self.generations[key] for key in set().union(*shown.values())}
            emptied = {key for key in emptying if self.generations[key].text_removed_at is None}
            now = self.clock()
            nothing = {"messages": (), "prompt_token_ids": (), "token_ids": (), "text": "", "text_removed_at": now}
            self.generations.update({key: replace(self.generations[key], **nothing) for key in emptied})  # type: ignore[arg-type]
            self.comparisons = {
                key: replace(kept, left=self.generations[kept.left.id], right=self.generations[kept.right.id])
                for key, kept in self.comparisons.items()
            }
            return Forgotten(len(removed), len(emptied))

    def require_annotator(self, annotator_id: str, *, deleted_too: bool = False) -> Annotator:
        found = [annotator for annotator in self.annotators.values() if annotator.id == annotator_id]
        if not found or (found[0].deleted_at is not None and not deleted_too):
            raise NotFoundError("There is no such annotator.", hint="Sign in again.")
        return found[0]

    def record_judgement(self, judgement: JudgementInput) -> Judgement:
        with self.lock:
            if judgement.comparison_id not in self.comparisons:
                raise NotFoundError("There is no such comparison.", hint="Check the link.")
            if self.comparisons[judgement.comparison_id].kind is ComparisonKind.STUDY:
                raise InputError("This comparison belongs to a study.", hint="Judge it there.")
            return self.record_unlocked(judgement)

    def record_unlocked(self, judgement: JudgementInput) -> Judgement:
        self.require_annotator(judgement.annotator_id)
        seen = self.answered.get(judgement.client_key)
        if seen is not None and _about(seen) != _about(judgement):
            raise InputError("The client key was used for another judgement.", hint="Use a new key.")
        if seen is not None:
            return next(revision for revision in self.revisions if revision.id == seen.id)
        return self._record(judgement)

    def withdraw_unlocked(self, comparison_id: str, annotator_id: str, now: datetime) -> None:
        holding = {
            judgement.id
            for judgement in self.current_unlocked()
            if (judgement.comparison_id, judgement.annotator_id) == (comparison_id, annotator_id)
        }
        self.revisions = [
            replace(revision, withdrawn_at=now) if revision.id in holding else revision for revision in self.revisions
        ]

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
        held = (earlier[-1].choice, earlier[-1].strength, earlier[-1].withdrawn_at) if earlier else None
        if held == (judgement.choice, judgement.strength, None) and judgement.reason in ("", earlier[-1].reason):
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
            strength=judgement.strength,
        )
        self.revisions.append(made)
        self.answered[judgement.client_key] = made
        return made

    def _current(self) -> tuple[Judgement, ...]:
        with self.lock:
            return self.current_unlocked()

    def current_unlocked(self) -> tuple[Judgement, ...]:
        last = {_about(revision): revision for revision in self.revisions}
        return tuple(revision for revision in last.values() if revision.withdrawn_at is None)


def _about(judgement: Judgement | JudgementInput) -> tuple[str, str, str]:
    return judgement.comparison_id, judgement.dimension, judgement.annotator_id
