"""Making a study and having its answers written; the page and the command line ask the same functions."""

import hashlib
import random
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations

from models.answers import ComparisonRequest, Progress
from steering.errors import CapacityError, InputError, TillerError
from steering.types import MAX_SEED, Blend, FinishReason
from storage.records import Comparison, ComparisonKind, utc_now
from storage.records_pairs import NamedBlend
from storage.records_publishing import Publishing
from storage.records_studies import Study, StudyItem, StudySettings, StudyState, StudySummary
from storage.study_repository import MAX_PAGE, StudyRepository
from storage.written import written_answer
from ui.comparisons import Models
from ui.runs import SteerEngine
from ui.study_files import GoldPair, StudyPlan

WRITTEN = "written"
"""The base model, and the blend, of answers that a person wrote for a gold item."""
_DECIMALS = 2  # of a weight that is drawn: nobody sees a finer difference, and a blend's name stays readable


@dataclass(frozen=True)
class GeneratingProgress:
    """How many of a study's comparisons are there; ``seconds_left`` is None until one was made."""

    n_done: int
    n_all: int
    seconds_left: float | None = None


def create_study(studies: StudyRepository, plan: StudyPlan, actor: str = "system") -> Study:
    """Make the study of a plan, with its gold items; its answers are still to be generated.

    Where this was interrupted, the same plan again makes the rest.

    Raises:
        InputError: another study has the name.
        StorageError: the database cannot be written.
    """
    known = [study for study in studies.studies() if study.name == plan.name]
    begun = studies.study(known[0].id) if known and known[0].state is StudyState.GENERATING else None
    # whether guides are published by themselves may have been changed meanwhile; all else is as it was
    if begun is not None and replace(begun.settings, publish=plan.settings.publish) == plan.settings:
        study = begun
    else:
        study = studies.create_study(plan.name, plan.settings, actor)
    items = [_gold_item(study, number, gold) for number, gold in enumerate(plan.gold)]
    if items:
        studies.add_items(study.id, items, actor)
    return study


def study_named(studies: StudyRepository, name: str) -> StudySummary:
    """The study with that name.

    Raises:
        InputError: there is none; says which there are.
    """
    summaries = studies.studies()
    for summary in summaries:
        if summary.name == name:
            return summary
    named = ", ".join(repr(summary.name) for summary in summaries[:10]) or "none"
    raise InputError(f"There is no study {name!r}.", hint=f"The studies are: {named}.")


def close_study(studies: StudyRepository, name: str, actor: str = "system") -> Study:
    """End a study: nobody is given anything more.

    Raises:
        InputError: there is no such study, or it was not opened yet.
    """
    return studies.set_state(study_named(studies, name).id, StudyState.CLOSED, actor)


def reopen_study(studies: StudyRepository, name: str, actor: str = "system") -> Study:
    """Let a study that was closed be judged again.

    Raises:
        InputError: there is no such study, or its answers are not all there.
    """
    found = study_named(studies, name)
    if found.state is StudyState.GENERATING:  # the storage would open it: that is how writing its answers ends
        raise InputError(f"The answers of the study {name!r} are not all there.", hint="Have them written first.")
    return studies.set_state(found.id, StudyState.OPEN, actor)


def change_publishing(
    studies: StudyRepository, name: str, *, enabled: bool, margin: float | None = None, actor: str = "system"
) -> Study:
    """Have guides trained on a study's judgements published by themselves, or not any more; None keeps the margin.

    Raises:
        InputError: there is no such study, or the margin, in nats per token, is none.
    """
    found = study_named(studies, name)
    publish = Publishing(enabled, found.publish.margin if margin is None else margin)
    return studies.set_publishing(found.id, publish, actor)


def n_comparisons(settings: StudySettings) -> int:
    """How many comparisons a study has, gold items and repetitions left out."""
    return len(settings.prompts) * max(1, len(settings.pairs_of_blends()))


def blends_of(settings: StudySettings, prompt_number: int) -> tuple[NamedBlend, ...]:
    """The blends that answer a prompt: the fixed ones, or two drawn evenly from the ranges, the same ones every time.

    Two decimals of a drawn weight are kept.
    """
    if settings.blends:
        return settings.blends
    drawing = random.Random(f"{settings.seed} {prompt_number}")
    drawn: list[NamedBlend] = []
    while len(drawn) < 2:
        weights = {dimension: _drawn(drawing, low, high) for dimension, (low, high) in sorted(settings.ranges.items())}
        blend = NamedBlend.of(weights)
        if blend.key not in [other.key for other in drawn] or not _can_differ(settings):
            drawn.append(blend)
    return tuple(drawn)


def generate_answers(
    engine: SteerEngine,
    studies: StudyRepository,
    study_id: str,
    actor: str = "system",
    clock: Callable[[], float] = time.monotonic,
) -> Generator[GeneratingProgress, None, None]:
    """Write the answers of a study that are missing, prompt by prompt, and open it when all are there.

    Reports at the start, while an answer is written, and after every prompt, which is then stored with all its
    comparisons. Closing the iterator stops within a step; calling again goes on with the first prompt that is missing.
    A study that was opened already is left as it is.

    Raises:
        NotFoundError: there is no such study.
        InputError: a prompt is too long, a blend names a dimension without a guide, other models than the loaded ones
            have written what is there already, or guides were published meanwhile.
        CapacityError: memory or the time for an answer ran out.
        StorageError: the database cannot be read or written.
    """
    study = studies.study(study_id)
    n_all = n_comparisons(study.settings)
    if study.state is not StudyState.GENERATING:
        yield GeneratingProgress(n_all, n_all)
        return
    models = Models(engine.base, engine.guides)
    there = _item_ids(studies, study, models)
    n_pairs = n_all // len(study.settings.prompts)
    missing = [n for n in range(len(study.settings.prompts)) if _id(study, n, "item", 0) not in there]
    progress = GeneratingProgress(n_all - n_pairs * len(missing), n_all)
    yield progress
    began = clock()
    for n_made, number in enumerate(missing, start=1):
        request = request_of(study.settings, number)
        with closing(engine.compare(request, lambda: False, study_id)) as reports, _named(f"Prompt {number + 1}"):
            for report in reports:
                last = report
                yield progress
        items = _items(study, number, request, last, models)
        _check_same_models(number, items[0], models)
        studies.add_items(study_id, items, actor)
        left = (clock() - began) / n_made * (len(missing) - n_made)
        progress = GeneratingProgress(progress.n_done + n_pairs, n_all, left)
        yield progress
    studies.set_state(study_id, StudyState.OPEN, actor)


def _drawn(drawing: random.Random, low: float, high: float) -> float:
    return min(max(round(drawing.uniform(low, high), _DECIMALS), low), high)


def _can_differ(settings: StudySettings) -> bool:
    """Whether two drawn blends can have different names; within ranges finer than the decimals they may not."""
    return any(high - low >= 10**-_DECIMALS for low, high in settings.ranges.values())


def request_of(settings: StudySettings, number: int) -> ComparisonRequest:
    """All answers to a prompt, with one seed of its own: what differs between them is the blend's doing."""
    return ComparisonRequest(
        settings.prompts[number],
        tuple(Blend(blend.weights) for blend in blends_of(settings, number)),
        replace(settings.sampling, seed=(settings.seed + number) % MAX_SEED),
    )


@contextmanager
def _named(where: str) -> Iterator[None]:
    """Say in the message of an error what it is about."""
    try:
        yield
    except TillerError as error:
        raise type(error)(f"{where}: {error.message}", hint=error.hint) from error


def _item_ids(studies: StudyRepository, study: Study, models: Models) -> set[str]:
    """The ids of the items that are there.

    Raises:
        InputError: other models than ``models`` wrote their answers.
    """
    found: list[str] = []
    while page := studies.items(study.id, found[-1] if found else "", MAX_PAGE):
        for item in page:
            others = models.made_by_others(item.comparison.left)
            if item.comparison.left.base_id != WRITTEN and others:
                raise InputError(
                    f"The study {study.name!r} was begun with other models: {others}.",
                    hint=f"Load those (now: {models.named}), or make a new study.",
                )
        found += [item.id for item in page]
    return set(found)


def _check_same_models(number: int, item: StudyItem, models: Models) -> None:
    """Refuse an answer of guides that took the place of those the others are of: its blend would be another one."""
    others = models.made_by_others(item.comparison.left)
    if others:
        raise InputError(
            f"The guides changed while the study was written; prompt {number + 1} was answered with {others}.",
            hint=f"Roll back to the guides it was begun with ({models.named}) and go on, or make a new study.",
        )


def _items(study: Study, number: int, request: ComparisonRequest, last: Progress, models: Models) -> list[StudyItem]:
    """Every two answers to a prompt; answer A is of the blend that stands first in the study."""
    answers, now = last.answers(), utc_now()
    if last.timed_out or any(answer.finish_reason in (None, FinishReason.STOPPED) for answer in answers):
        raise CapacityError(
            f"The answers to prompt {number + 1} were not finished in time.",
            hint="Allow more with --time-limit, or fewer new tokens in the study.",
        )
    named = blends_of(study.settings, number)
    items = []
    for place, (a, b) in enumerate(combinations(range(len(answers)), 2)):
        two = (answers[a], answers[b])
        made = models.comparison(request, replace(last, answers=partial(tuple, two)))
        comparison = Comparison(
            _id(study, number, "comparison", place),
            ComparisonKind.STUDY,
            # An answer that stands in several comparisons is one generation.
            replace(made.left, id=_id(study, number, "generation", a), created_at=now),
            replace(made.right, id=_id(study, number, "generation", b), created_at=now),
            sides_known=False,
            created_at=now,
        )
        items.append(StudyItem(_id(study, number, "item", place), study.id, comparison, named[a], named[b]))
    return items


def _gold_item(study: Study, number: int, gold: GoldPair) -> StudyItem:
    right, wrong = (
        written_answer(
            _id(study, number, f"gold {side}", 0), gold.prompt, text, source=WRITTEN, created_at=study.created_at
        )
        for side, text in (("right", gold.right), ("wrong", gold.wrong))
    )
    comparison = Comparison(
        _id(study, number, "gold comparison", 0),
        ComparisonKind.STUDY,
        right,
        wrong,
        sides_known=False,
        created_at=study.created_at,
    )
    blend = NamedBlend(WRITTEN)
    return StudyItem(_id(study, number, "gold", 0), study.id, comparison, blend, blend, gold.answers)


def _id(study: Study, number: int, part: str, place: int) -> str:
    """The same id for the same thing, so that what is there is known again."""
    return hashlib.sha256(f"{study.id} {number} {part} {place}".encode()).hexdigest()[:32]
