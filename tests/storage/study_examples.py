"""Studies that look like real ones."""

from collections.abc import Callable
from dataclasses import replace

from steering.types import Choice, Message, Role
from storage.records import OVERALL, ComparisonKind, new_id
from storage.records_pairs import NamedBlend, Outcome
from storage.records_studies import Answer, Assignment, Question, StudyItem, StudySettings, StudyState
from storage.study_repository import StudyRepository
from tests.storage.examples import a_comparison

UNGUIDED = NamedBlend.of({})
HELPFUL = NamedBlend.of({"helpfulness": 2.0})
DIMENSIONS = (OVERALL, "helpfulness")


def some_settings(**changes: object) -> StudySettings:
    """Two questions about two blends, with anything in it replaced."""
    settings = StudySettings(
        prompts=((Message(Role.USER, "What is 1/3?\0 🙂"),),),
        questions=(Question(OVERALL, "Which is better?"), Question("helpfulness", "Which is more helpful?")),
        blends=(UNGUIDED, HELPFUL),
        overlap=3,
    )
    return replace(settings, **changes)  # type: ignore[arg-type]


def an_item(study_id: str, **changes: object) -> StudyItem:
    """A comparison of the two blends, with anything in it replaced."""
    comparison = a_comparison(kind=ComparisonKind.STUDY, sides_known=False)
    return replace(StudyItem(new_id(), study_id, comparison, UNGUIDED, HELPFUL), **changes)  # type: ignore[arg-type]


def an_open_study(studies: StudyRepository, n_items: int, n_gold: int = 0, **changes: object) -> str:
    """A study that can be judged; its id."""
    study = studies.create_study(f"study {new_id()}", some_settings(**changes))
    golds = [an_item(study.id, gold={OVERALL: Outcome.A}) for _ in range(n_gold)]
    studies.add_items(study.id, [an_item(study.id) for _ in range(n_items)] + golds)
    studies.set_state(study.id, StudyState.OPEN)
    return study.id


def answers_to(assignment: Assignment, choice: Choice = Choice.LEFT, **changes: object) -> list[Answer]:
    """One answer to each question, under fresh client keys."""
    return [
        replace(
            Answer(assignment.item.id, assignment.annotator_id, dimension, choice, new_id()),
            **changes,  # type: ignore[arg-type]
        )
        for dimension in DIMENSIONS
    ]


def judge_all(
    studies: StudyRepository,
    study_id: str,
    annotator_id: str,
    choose: Callable[[Assignment], Choice] = lambda _: Choice.LEFT,
    at_most: int = 1000,
) -> list[Assignment]:
    """Judge until nothing is left; what was given, in turn."""
    given = []
    while len(given) < at_most and (assignment := studies.next_assignment(study_id, annotator_id)) is not None:
        given.append(assignment)
        studies.answer(answers_to(assignment, choose(assignment)))
    return given
