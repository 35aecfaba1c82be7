"""Studies without a database, on top of ``InMemoryRepository``; held to the same contract test as the real ones."""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from steering.errors import InputError, NotFoundError, StorageError
from storage.judging import AlreadyJudgedError
from storage.next_item import (
    REPEAT_GAP,
    RESERVED_FOR,
    Candidate,
    Given,
    Rules,
    choose_any,
    choose_regular,
    n_left,
    roles_due,
)
from storage.records import MAX_NAME_CHARS, Judgement, JudgementInput, check_text, new_id, utc_now
from storage.records_pairs import CanonicalSide, JudgedPair, PairFilter, outcome_of
from storage.records_publishing import Publishing
from storage.records_seen import Seen, Standing
from storage.records_studies import (
    MAX_UNDO,
    Answer,
    Assignment,
    ItemRole,
    Progress,
    Study,
    StudyItem,
    StudySettings,
    StudyState,
    StudySummary,
)
from tests.storage.fakes import InMemoryRepository

ALLOWED = {("generating", "open"), ("open", "closed"), ("closed", "open")}


@dataclass
class InMemoryStudies:
    """Keeps studies in dictionaries; annotators, comparisons and judgements are in ``repository``."""

    repository: InMemoryRepository
    clock: Callable[[], datetime] = utc_now
    kept: dict[str, Study] = field(default_factory=dict)
    all_items: dict[str, StudyItem] = field(default_factory=dict)
    assignments: list[Assignment] = field(default_factory=list)
    consents: set[tuple[str, str]] = field(default_factory=set)
    sides: random.Random = field(default_factory=random.Random)

    def create_study(self, name: str, settings: StudySettings, actor: str = "system") -> Study:
        check_text("name", name, 1, MAX_NAME_CHARS)
        with self.repository.lock:
            if name in {study.name for study in self.kept.values()}:
                raise InputError("There is already a study of that name.", hint="Choose another.")
            study = Study(new_id(), name, settings, StudyState.GENERATING, self.clock())
            self.kept[study.id] = study
            return study

    def study(self, study_id: str) -> Study:
        if study_id not in self.kept:
            raise NotFoundError("There is no such study.", hint="Check the link.")
        return self.kept[study_id]

    def studies(self) -> tuple[StudySummary, ...]:
        with self.repository.lock:
            newest_first = sorted(self.kept.values(), key=lambda study: study.created_at, reverse=True)
            return tuple(self._summary(study) for study in newest_first)

    def set_state(self, study_id: str, state: StudyState, actor: str = "system") -> Study:
        with self.repository.lock:
            study = self.study(study_id)
            if state is not study.state and (study.state, state) not in ALLOWED:
                raise InputError("The study cannot become that.", hint="Make a new one.")
            self.kept[study_id] = replace(study, state=state)
            return self.kept[study_id]

    def set_publishing(self, study_id: str, publish: Publishing, actor: str = "system") -> Study:
        with self.repository.lock:
            study = self.study(study_id)
            self.kept[study_id] = replace(study, settings=replace(study.settings, publish=publish))
            return self.kept[study_id]

    def add_items(self, study_id: str, items: Sequence[StudyItem], actor: str = "system") -> None:
        study = self.study(study_id)
        before = dict(self.repository.comparisons), dict(self.repository.generations), dict(self.all_items)
        try:
            for item in sorted(items, key=lambda item: item.repeat_of is not None):
                self._add(study, item)
        except (InputError, StorageError):
            self.repository.comparisons, self.repository.generations, self.all_items = before
            raise

    def items(self, study_id: str, after: str = "", limit: int = 100) -> tuple[StudyItem, ...]:
        _check(limit)
        wanted = [item for item in self.all_items.values() if item.study_id == study_id and item.id > after]
        return tuple(sorted(wanted, key=lambda item: item.id)[:limit])

    def accept_consent(self, study_id: str, annotator_id: str) -> None:
        self.study(study_id)
        self.repository.require_annotator(annotator_id)
        self.consents.add((study_id, annotator_id))

    def has_consented(self, study_id: str, annotator_id: str) -> bool:
        return not self.study(study_id).settings.consent or (study_id, annotator_id) in self.consents

    def next_assignment(
        self, study_id: str, annotator_id: str, uncertainty: Mapping[str, float] | None = None
    ) -> Assignment | None:
        with self.repository.lock:
            study = self.study(study_id)
            self.repository.require_annotator(annotator_id)
            if study.state is not StudyState.OPEN or not self.has_consented(study_id, annotator_id):
                raise InputError("The study is not open, or asks for consent.", hint="Accept its text.")
            waiting = [given for given in self._of(study_id, annotator_id) if given.answered_at is None]
            if not waiting:
                waiting = self._give(study, annotator_id, uncertainty)
            return waiting[0] if waiting else None

    def answer(self, answers: Sequence[Answer]) -> tuple[Judgement, ...]:
        if len({(answer.item_id, answer.annotator_id) for answer in answers}) != 1:
            raise InputError("Not answers of one annotator about one item.", hint="Send them apart.")
        with self.repository.lock:
            given = self._given(answers[0].item_id, answers[0].annotator_id)
            asked = set(self.kept[given.item.study_id].settings.dimensions)
            if not {answer.dimension for answer in answers} <= asked:
                raise InputError("The study does not ask about that.", hint="Correct the dimension.")
            clicks = [_click(answer, given.item.comparison.id) for answer in answers]
            before = list(self.repository.revisions), dict(self.repository.answered)
            try:
                stored = tuple(self.repository.record_unlocked(click) for click in clicks)
            except InputError:
                self.repository.revisions, self.repository.answered = before
                raise
            reveals = self.kept[given.item.study_id].settings.reveals
            if reveals and given.answered_at is not None and len(self.repository.revisions) > len(before[0]):
                self.repository.revisions, self.repository.answered = before
                raise AlreadyJudgedError("This item is judged already.", hint="Go on.")
            if given.answered_at is None and asked <= {made.dimension for made in self._holding(given)}:
                self._replace(given, replace(given, answered_at=self.clock()))
            return stored

    def answered(self, study_id: str, annotator_id: str, limit: int = MAX_UNDO) -> tuple[Assignment, ...]:
        _check(limit)
        done = [given for given in self._of(study_id, annotator_id) if given.answered_at is not None]
        return tuple(sorted(done, key=lambda given: str(given.answered_at), reverse=True)[:limit])

    def undo(self, item_id: str, annotator_id: str) -> Assignment:
        with self.repository.lock:
            given = self._given(item_id, annotator_id)
            others = self._of(given.item.study_id, annotator_id)
            if given.answered_at is not None:
                later = [other for other in others if other.answered_at and other.answered_at > given.answered_at]
                taken_back = [other for other in others if other.answered_at is None and self._was_withdrawn(other)]
                if len(later) + len(taken_back) >= MAX_UNDO:
                    raise InputError("This answer is not one of your last ten.", hint="Ask whoever runs the study.")
            reopened = replace(given, answered_at=None)
            self._replace(given, reopened)
            self.repository.withdraw_unlocked(given.item.comparison.id, annotator_id, self.clock())
            return reopened

    def progress(self, study_id: str, annotator_id: str) -> Progress:
        study = self.study(study_id)
        mine = self._of(study_id, annotator_id)
        n_answered = sum(given.answered_at is not None for given in mine)
        wanting = [
            item
            for item in self._unseen(study_id, annotator_id, ItemRole.REGULAR)
            if self._n_answers(item.id) < study.settings.overlap
        ]
        counts = {
            "n_open": len(mine) - n_answered,
            "n_regular": sum(given.item.role is ItemRole.REGULAR for given in mine),
            "n_unasked": len(wanting),
            "n_gold": sum(each.study_id == study_id and each.role is ItemRole.GOLD for each in self.all_items.values()),
        }
        return Progress(n_answered, n_left(_rules(study), n_answered=n_answered, **counts))

    def go_on(
        self,
        study_id: str,
        annotator_id: str,
        answers: Sequence[Answer] = (),
        uncertainty: Mapping[str, float] | None = None,
    ) -> Standing:
        if any(answer.annotator_id != annotator_id for answer in answers):
            raise InputError("The answers are another's.", hint="Send your own.")
        self.study(study_id)
        is_refused = False
        try:
            if answers:
                self.answer(answers)
        except AlreadyJudgedError:
            is_refused = True
        if answers and self.study(study_id).state is StudyState.CLOSED:
            n_answered = self.progress(study_id, annotator_id).n_answered
            return Standing(None, Progress(n_answered, 0), is_refused, is_closed=True)
        given = self.next_assignment(study_id, annotator_id, uncertainty)
        progress = self.progress(study_id, annotator_id)
        if given is None:
            return Standing(None, progress, is_refused)
        comparison = given.item.comparison
        texts = [comparison.left.text, comparison.right.text]
        left, right = texts if given.shown_left is CanonicalSide.A else reversed(texts)
        return Standing(Seen(given.item.id, comparison.left.messages, left, right), progress, is_refused)

    def pairs(self, wanted: PairFilter, *, with_texts: bool = True) -> Iterator[JudgedPair]:
        """As ``ResultsRepository.pairs``, for studies only and filtered by study only."""
        for given in self.assignments:
            study = self.kept[given.item.study_id]
            if wanted.study_ids is None or study.id in wanted.study_ids:
                yield from (self._pair(study, given, made) for made in self._holding(given))

    def _pair(self, study: Study, given: Assignment, made: Judgement) -> JudgedPair:
        item, left, right = given.item, given.item.comparison.left, given.item.comparison.right
        return JudgedPair(
            judgement_id=made.id,
            comparison_id=item.comparison.id,
            study_id=study.id,
            study=study.name,
            dimension=made.dimension,
            annotator_id=made.annotator_id,
            group=self.repository.require_annotator(made.annotator_id).group,
            blend_a=item.blend_a,
            blend_b=item.blend_b,
            outcome=outcome_of(made.choice, given.shown_left),
            strength=made.strength,
            n_tokens_a=len(left.token_ids),
            n_tokens_b=len(right.token_ids),
            shown_left=given.shown_left,
            judged_at=made.judged_at,
            is_gold=bool(item.gold),
            gold_answer=item.gold.get(made.dimension),
            repeat_of=self.all_items[item.repeat_of].comparison.id if item.repeat_of else None,
            generation_a_id=left.id,
            generation_b_id=right.id,
            reason=made.reason,
            messages=left.messages,
            response_a=left.text,
            response_b=right.text,
        )

    def _add(self, study: Study, item: StudyItem) -> None:
        original = self.all_items.get(item.repeat_of or "")
        wrong_original = item.repeat_of and (
            original is None or original.study_id != study.id or original.role is not ItemRole.REGULAR
        )
        if item.study_id != study.id or not set(item.gold) <= set(study.settings.dimensions) or wrong_original:
            raise InputError("The item does not fit its study.", hint="Correct it.")
        self.repository.save_comparison(item.comparison)
        for other in self.all_items.values():
            same = other.id == item.id or other.comparison.id == item.comparison.id
            if (same or (item.repeat_of and other.repeat_of == item.repeat_of)) and other != item:
                raise StorageError("Another item is already stored.", hint="Use a new id.")
        self.all_items[item.id] = item

    def _give(self, study: Study, annotator_id: str, uncertainty: Mapping[str, float] | None) -> list[Assignment]:
        rules, now = _rules(study), self.clock()
        mine = self._of(study.id, annotator_id)
        roles = [given.item.role for given in mine]
        counts = Given(*(roles.count(role) for role in (ItemRole.REGULAR, ItemRole.GOLD, ItemRole.REPEAT)))
        for role in roles_due(rules, annotator_id, counts):
            left = self.sides.choice(tuple(CanonicalSide))
            if role is ItemRole.GOLD:
                unseen = self._unseen(study.id, annotator_id, role)
                chosen = choose_any(rules, annotator_id, [item.id for item in unseen])
            elif role is ItemRole.REGULAR:
                unseen = self._unseen(study.id, annotator_id, role)
                candidates = [Candidate(item.id, self._n_answers(item.id, now)) for item in unseen]
                chosen = choose_regular(rules, annotator_id, candidates, uncertainty)
            else:
                old = {given.item.id: given for given in mine[: max(0, len(mine) - REPEAT_GAP)]}
                repeated = {given.item.repeat_of for given in mine}
                could = [
                    key
                    for key, given in old.items()
                    if given.item.role is ItemRole.REGULAR and given.answered_at and key not in repeated
                ]
                original = choose_any(rules, annotator_id, could)
                chosen = self._repetition(original) if original else None
                left = old[original].shown_left.other if original else left
            if chosen is not None:
                self.assignments.append(Assignment(self.all_items[chosen], annotator_id, left, len(mine), now))
                return self.assignments[-1:]
        return []

    def _repetition(self, original_id: str) -> str:
        found = [item.id for item in self.all_items.values() if item.repeat_of == original_id]
        if found:
            return found[0]
        original = self.all_items[original_id]
        comparison = replace(original.comparison, id=new_id())
        self.repository.comparisons[comparison.id] = comparison
        item = replace(original, id=new_id(), comparison=comparison, repeat_of=original_id)
        self.all_items[item.id] = item
        return item.id

    def _of(self, study_id: str, annotator_id: str) -> list[Assignment]:
        return [
            given
            for given in self.assignments
            if (given.item.study_id, given.annotator_id) == (study_id, annotator_id) and self._exists(annotator_id)
        ]

    def _exists(self, annotator_id: str) -> bool:
        return any(
            person.id == annotator_id and not person.deleted_at for person in self.repository.annotators.values()
        )

    def _unseen(self, study_id: str, annotator_id: str, role: ItemRole) -> list[StudyItem]:
        seen = {given.item.id for given in self._of(study_id, annotator_id)}
        return [
            item
            for item in self.all_items.values()
            if item.study_id == study_id and item.role is role and item.id not in seen
        ]

    def _n_answers(self, item_id: str, now: datetime | None = None) -> int:
        """Answers that count; with a time also those that are being given then."""
        return sum(
            given.answered_at is not None or (now is not None and given.shown_at > now - RESERVED_FOR)
            for given in self.assignments
            if given.item.id == item_id and self._exists(given.annotator_id)
        )

    def _summary(self, study: Study) -> StudySummary:
        regular = [item for item in self.all_items.values() if item.study_id == study.id and item.role == "regular"]
        overlap = study.settings.overlap
        n_given = sum(min(overlap, self._n_answers(item.id)) for item in regular)
        counts = len(regular), n_given, overlap * len(regular)
        return StudySummary(
            study.id, study.name, study.state, study.created_at, *counts, publish=study.settings.publish
        )

    def _given(self, item_id: str, annotator_id: str) -> Assignment:
        for given in self.assignments:
            if (given.item.id, given.annotator_id) == (item_id, annotator_id) and self._exists(annotator_id):
                return given
        raise NotFoundError("You were not given this item.", hint="Reload the page.")

    def _holding(self, given: Assignment) -> list[Judgement]:
        about = (given.item.comparison.id, given.annotator_id)
        return [
            made
            for made in self.repository.current_unlocked()
            if (made.comparison_id, made.annotator_id) == about and made.withdrawn_at is None
        ]

    def _was_withdrawn(self, given: Assignment) -> bool:
        about = (given.item.comparison.id, given.annotator_id)
        return any(
            made.withdrawn_at for made in self.repository.revisions if (made.comparison_id, made.annotator_id) == about
        )

    def _replace(self, old: Assignment, new: Assignment) -> None:
        self.assignments[self.assignments.index(old)] = new


def _rules(study: Study) -> Rules:
    settings = study.settings
    return Rules(
        frozenset(settings.dimensions),
        settings.overlap,
        settings.gold_share,
        settings.repeat_share,
        settings.ordering,
        settings.seed,
        settings.consent,
        settings.reveals,
    )


def _click(answer: Answer, comparison_id: str) -> JudgementInput:
    return JudgementInput(
        comparison_id,
        answer.annotator_id,
        answer.dimension,
        answer.choice,
        answer.client_key,
        answer.reason,
        answer.strength,
    )


def _check(limit: int) -> None:
    if not 1 <= limit <= 1000:
        raise InputError(f"The limit is {limit}.", hint="Ask for 100.")
