"""Where the ranking is uncertain: against integrals done by hand, and with simulated judges who are asked there."""

import math
from collections import Counter
from itertools import combinations
from random import Random

import numpy as np
import pytest

from steering.types import Choice
from storage.analysis.uncertainty import PRIOR_SD, doubts
from storage.database import Database
from storage.doubtful_items import KEPT_SECONDS, DoubtfulItems
from storage.records import OVERALL, new_id
from storage.records_pairs import CanonicalSide, NamedBlend, Outcome, OutcomeCount
from storage.records_studies import Answer, Ordering, Question, StudyState
from storage.sql_repository import SqlRepository
from storage.sql_results import SqlResults
from storage.sql_studies import SqlStudies
from tests.storage.study_examples import an_item, some_settings

UTILITY = {"plain": 0.0, "close": 0.3, "far": 4.0}
BLENDS = tuple(NamedBlend(key, {"helpfulness": float(place)}) for place, key in enumerate(UTILITY))
PAIRS = tuple(combinations(BLENDS, 2))
STUDY = "5" * 32
GOLDEN = (math.sqrt(5) - 1) / 2


def counted(first: str, second: str, wins: int, losses: int, ties: int = 0) -> list[OutcomeCount]:
    said = ((Outcome.A, wins), (Outcome.B, losses), (Outcome.TIE, ties), (Outcome.BOTH_BAD, 50), (Outcome.SKIP, 50))
    return [OutcomeCount(STUDY, OVERALL, first, second, outcome, n) for outcome, n in said if n]


@pytest.mark.parametrize(("wins", "losses", "ties"), [(12, 8, 0), (14, 5, 4), (30, 60, 0), (10, 10, 7)])
def test_the_doubt_about_two_blends_is_the_posterior_tail_found_by_integration(
    wins: int, losses: int, ties: int
) -> None:
    first, second = BLENDS[:2]
    found = doubts(counted(first.key, second.key, wins, losses, ties), [(first, second)], [OVERALL])
    gap = np.linspace(-12, 12, 200_001)  # the difference of two ratings, whose prior has twice the variance
    won, lost = wins + ties / 2, losses + ties / 2
    log_density = -won * np.log1p(np.exp(-gap)) - lost * np.log1p(np.exp(gap)) - gap**2 / (4 * PRIOR_SD**2)
    density = np.exp(log_density - log_density.max())
    below = float(density[gap < 0].sum() / density.sum())
    # Laplace's approximation of 20 judgements or more is within a hundredth of the integral.
    assert found[(first.key, second.key)] == pytest.approx(min(below, 1 - below), abs=0.01)


def test_without_a_judgement_every_pair_is_in_the_same_full_doubt_and_each_question_counts_alike() -> None:
    assert set(doubts([], PAIRS, [OVERALL]).values()) == {0.5}
    sure = counted("plain", "far", 0, 400)
    one, two = doubts(sure, PAIRS, [OVERALL]), doubts(sure, PAIRS, [OVERALL, "never judged"])
    assert {key: (doubt + 0.5) / 2 for key, doubt in one.items()} == pytest.approx(two)
    assert doubts([], [], [OVERALL]) == {}


def test_a_pair_never_compared_is_in_less_doubt_where_others_tell_its_order() -> None:
    chained = counted("plain", "close", 0, 30) + counted("close", "far", 0, 30)
    found = doubts(chained, PAIRS, [OVERALL])
    assert found[("plain", "far")] < 0.01
    assert doubts(counted("plain", "close", 0, 30), PAIRS, [OVERALL])[("close", "far")] > 0.1


def test_of_blends_drawn_from_ranges_those_with_weights_alike_are_in_more_doubt() -> None:
    rng = Random(3)
    drawn = [NamedBlend(f"blend {number:03}", {"helpfulness": rng.uniform(0, 3)}) for number in range(120)]
    pairs = list(zip(drawn[::2], drawn[1::2], strict=True))
    counts = []
    for first, second in pairs:
        gap = 2.0 * (first.weights["helpfulness"] - second.weights["helpfulness"])
        wins = sum(rng.random() < 1 / (1 + math.exp(-gap)) for _ in range(3))
        counts += counted(first.key, second.key, wins, 3 - wins)
    found = doubts(counts, pairs, [OVERALL])
    distance = {(a.key, b.key): abs(a.weights["helpfulness"] - b.weights["helpfulness"]) for a, b in pairs}
    near, far = (
        [doubt for key, doubt in found.items() if is_it(distance[key])]
        for is_it in (lambda gap: gap < 0.2, lambda gap: gap > 1.5)
    )
    assert min(len(near), len(far)) > 3
    assert sum(near) / len(near) > 3 * sum(far) / len(far)
    assert max(far) < 0.05


def _asked(database: Database, ordering: Ordering, n_judgements: int) -> Counter[tuple[str, str]]:
    """How often three simulated judges were asked about each pair, of which every one has as many items.

    The n-th judgement of a pair is the same in every run, evenly spread over the shares of its two outcomes: drawn by
    chance, one early judgement in thirty against what is clear has that pair asked about for long.
    """
    seconds = iter(range(0, 1_000_000, round(2 * KEPT_SECONDS)))
    studies, results = SqlStudies(database), SqlResults(database)
    doubtful = DoubtfulItems(results, lambda: float(next(seconds)))
    settings = some_settings(questions=(Question(OVERALL, "Which?"),), blends=BLENDS, ordering=ordering, overlap=1)
    study = studies.create_study(f"study {new_id()}", settings)
    items = [an_item(study.id, blend_a=a, blend_b=b) for a, b in PAIRS for _ in range(n_judgements)]
    studies.add_items(study.id, items)
    study = studies.set_state(study.id, StudyState.OPEN)
    judges = [SqlRepository(database).annotator(f"{study.id} {name}", name).id for name in ("Ada", "Bob", "Eve")]
    asked = Counter[tuple[str, str]]()
    for number in range(n_judgements):
        judge = judges[number % len(judges)]
        given = studies.next_assignment(study.id, judge, doubtful.scores(study))
        assert given is not None
        a, b = given.item.blend_a.key, given.item.blend_b.key
        wants_a = (0.5 + asked[(a, b)] * GOLDEN) % 1 < 1 / (1 + math.exp(UTILITY[b] - UTILITY[a]))
        asked[(a, b)] += 1
        is_left = (CanonicalSide.A if wants_a else CanonicalSide.B) is given.shown_left
        choice = Choice.LEFT if is_left else Choice.RIGHT
        studies.answer([Answer(given.item.id, judge, OVERALL, choice, new_id())])
    return asked


def test_simulated_judges_are_asked_most_about_the_pair_that_is_close(database: Database) -> None:
    uncertain = _asked(database, Ordering.UNCERTAIN, 60)
    fewest = _asked(database, Ordering.FEWEST, 60)
    # Two pairs of three are told apart after a handful of judgements, which leaves the close one at least half of all;
    # with the other order each has a third, give or take.
    assert uncertain[("plain", "close")] >= 30
    assert uncertain[("plain", "close")] > 1.5 * max(uncertain[("plain", "far")], uncertain[("close", "far")])
    assert max(fewest.values()) < 30


def test_the_scores_are_kept_for_some_seconds_and_then_follow_the_judgements(database: Database) -> None:
    now = [0.0]
    studies, results = SqlStudies(database), SqlResults(database)
    doubtful = DoubtfulItems(results, lambda: now[0])
    study = studies.create_study("pilot", some_settings(questions=(Question(OVERALL, "Which?"),), blends=BLENDS[:2]))
    items = [an_item(study.id, blend_a=BLENDS[0], blend_b=BLENDS[1]) for _ in range(3)]
    gold = an_item(study.id, gold={OVERALL: Outcome.A})
    studies.add_items(study.id, [*items, gold])
    study = studies.set_state(study.id, StudyState.OPEN)
    assert doubtful.scores(study) == {item.id: 0.5 for item in items}
    ada = SqlRepository(database).annotator("h", "Ada").id
    while (given := studies.next_assignment(study.id, ada)) is not None:
        choice = Choice.LEFT if given.shown_left is CanonicalSide.A else Choice.RIGHT
        studies.answer([Answer(given.item.id, ada, OVERALL, choice, new_id())])
    now[0] = KEPT_SECONDS - 0.1
    assert set(doubtful.scores(study).values()) == {0.5}
    now[0] = KEPT_SECONDS + 0.1
    assert max(doubtful.scores(study).values()) < 0.2
