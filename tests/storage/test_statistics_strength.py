"""How clearly somebody preferred an answer: counted always, weighed where that is asked for."""

from dataclasses import replace

import pytest

from storage.analysis.columns import JudgementColumns, columns_of
from storage.analysis.intervals import Estimate
from storage.analysis.preference import Preference, fit_preference
from storage.analysis.ratings import RatingPlan, Ratings, influence_of_annotators, rate_blends
from storage.analysis.summary import count
from storage.analysis.wins import Tally, win_rates
from storage.records import Strength
from storage.records_pairs import JudgedPair
from tests.storage.judged import HELPFUL, UNGUIDED, World, a_pair, pairs_of, plane

PLAIN, GRADED = RatingPlan(n_draws=20), RatingPlan(n_draws=20, by_strength=True)


def said(outcomes: str, strengths: str) -> list[JudgedPair]:
    """One pair per letter; strengths are c(learly), s(lightly) and anything else for none."""
    meanings = {"c": Strength.CLEARLY, "s": Strength.SLIGHTLY}
    return [
        replace(pair, strength=meanings.get(letter)) for pair, letter in zip(pairs_of(outcomes), strengths, strict=True)
    ]


def rating_of(columns: JudgementColumns, plan: RatingPlan) -> dict[str, float]:
    rated = rate_blends(columns, plan)
    assert isinstance(rated, Ratings)
    return {one.blend: one.rating.value for one in rated.blends}


def test_clear_and_slight_wins_and_losses_are_counted_and_those_without_a_word_are_neither() -> None:
    columns = columns_of(said("aaaabbbtns", "ccs.css..."))
    (unguided,) = [rate for rate in win_rates(columns) if rate.blend == UNGUIDED.key]
    assert unguided.tally == Tally(4, 3, 1, 1, 1, n_clear_wins=2, n_slight_wins=1, n_clear_losses=1, n_slight_losses=2)
    assert (count(columns).n_clear, count(columns).n_slight) == (3, 3)


def test_eight_slight_wins_rate_as_six_wins_and_two_losses_do() -> None:
    slight = columns_of(said("aaaaaaaa", "ssssssss"))
    assert rating_of(slight, GRADED) == pytest.approx(rating_of(columns_of(pairs_of("aaaaaabb")), PLAIN))
    assert rating_of(slight, PLAIN) == pytest.approx(rating_of(columns_of(pairs_of("aaaaaaaa")), PLAIN))
    lost = columns_of(said("bbbbbbbb", "ssssssss"))
    assert rating_of(lost, GRADED)[HELPFUL.key] == pytest.approx(rating_of(slight, GRADED)[UNGUIDED.key])


def test_ties_and_clear_wins_and_wins_without_a_word_rate_alike_either_way() -> None:
    columns = columns_of(said("aabtaabb", "cc.c..c."))
    assert rating_of(columns, GRADED) == pytest.approx(rating_of(columns, PLAIN))


def test_weighing_strength_moves_influence_and_the_preferred_blend_too() -> None:
    pairs = World(plane(0.0, 1.0, 2.0), lambda weights: 2 * weights.get("helpfulness", 0.0), n_comparisons=80).pairs(4)
    # Who wins over the unguided blend does so slightly; all else is clear.
    graded = [
        replace(
            pair,
            strength=Strength.SLIGHTLY if UNGUIDED.key in (pair.blend_a.key, pair.blend_b.key) else Strength.CLEARLY,
        )
        if pair.outcome.value in "ab"
        else pair
        for pair in pairs
    ]
    columns = columns_of(graded)
    plain, weighed = (fit_preference(columns, plan) for plan in (PLAIN, GRADED))
    assert isinstance(plain, Preference)
    assert isinstance(weighed, Preference)
    assert weighed.gain.value < plain.gain.value
    assert rating_of(columns, GRADED)[UNGUIDED.key] > rating_of(columns, PLAIN)[UNGUIDED.key]
    assert influence_of_annotators(columns, GRADED) != influence_of_annotators(columns, PLAIN)


def test_two_blends_that_win_as_often_are_told_apart_by_how_clearly() -> None:
    clear, slight = plane(1.0, 2.0)[1:3]
    pairs = []
    for number in range(60):
        winner, strength = ((clear, Strength.CLEARLY), (slight, Strength.SLIGHTLY))[number % 2]
        outcome = "b" if number % 10 < 8 else "a"
        changes = {"blend_b": winner, "strength": strength, "outcome": pairs_of(outcome)[0].outcome}
        pairs.append(a_pair(number, **changes))
    plain, weighed = (rating_of(columns_of(pairs), plan) for plan in (PLAIN, GRADED))
    assert plain[clear.key] == pytest.approx(plain[slight.key])
    assert weighed[clear.key] > weighed[slight.key] + 0.3


def test_the_interval_of_a_weighed_rating_is_there_and_holds_it() -> None:
    rated = rate_blends(columns_of(said("aabtaabb" * 5, "cs.cs.cs" * 5)), RatingPlan(by_strength=True))
    assert isinstance(rated, Ratings)
    for one in rated.blends:
        assert isinstance(one.rating, Estimate)
        assert one.rating.low < one.rating.value < one.rating.high
