"""A judged study in a real database: annotators whose taste is known, on the plane of two weights."""

import math
from pathlib import Path
from random import Random

from steering.types import Choice, Message, Role
from storage.records import ComparisonKind, new_id
from storage.records_pairs import CanonicalSide, NamedBlend, Outcome
from storage.records_studies import Answer, Question, StudyItem, StudySettings, StudyState
from storage.repository import Repository
from storage.sql_studies import SqlStudies
from tests.storage.examples import a_comparison
from tests.storage.judged import plane

QUESTIONS = (Question("overall", "Which is better?"), Question("helpfulness", "Which is more helpful?"))
PEAK = {"helpfulness": 1.0, "harmlessness": 1.0}


def taste(blend: NamedBlend) -> float:
    """Utility in log-odds, greatest at ``PEAK``."""
    return -2.0 * sum((blend.weights.get(axis, 0.0) - best) ** 2 for axis, best in PEAK.items())


def a_judged_study(
    repository: Repository,
    studies: SqlStudies,
    n_items: int = 40,
    names: tuple[str, ...] = ("Ada", "Bob", "Cleo"),
    blends: list[NamedBlend] | None = None,
    **changes: object,
) -> str:
    """Every annotator judges every item, one in eight of them gold; returns the id of the study."""
    rng, blends = Random(5), blends or plane(0.0, 1.0, 2.0)
    settings = StudySettings(
        prompts=((Message(Role.USER, "Prompt?"),),),
        questions=QUESTIONS,
        blends=tuple(blends),
        overlap=len(names),
        **changes,  # type: ignore[arg-type]
    )
    study = studies.create_study(f"Study {new_id()}", settings)
    items = []
    for number in range(n_items):
        first, second = rng.sample(blends, 2)
        comparison = a_comparison(kind=ComparisonKind.STUDY, sides_known=False)
        gold = {"overall": Outcome.A} if number % 8 == 0 else {}
        items.append(StudyItem(new_id(), study.id, comparison, first, second, gold=gold))
    studies.add_items(study.id, items)
    studies.set_state(study.id, StudyState.OPEN)
    for place, name in enumerate(names):
        annotator = repository.annotator(f"hash-{name}", display_name=name).id
        while (given := studies.next_assignment(study.id, annotator)) is not None:
            odds = taste(given.item.blend_a) - taste(given.item.blend_b)
            wants_a = rng.random() < 1 / (1 + math.exp(-odds))
            if given.item.gold:  # the first annotator is always right on gold items, the last never
                wants_a = place < len(names) - 1
            side = CanonicalSide.A if wants_a else CanonicalSide.B
            choice = Choice.LEFT if side is given.shown_left else Choice.RIGHT
            studies.answer([Answer(given.item.id, annotator, q.dimension, choice, new_id()) for q in QUESTIONS])
    return study.id


def home_of(path: Path) -> str:
    """A database file below a folder."""
    return f"sqlite:///{path / 'tiller.db'}"
