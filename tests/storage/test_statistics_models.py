"""Ratings and the preferred blend, against choix, scipy and simulated annotators whose taste is known."""

from itertools import pairwise

import choix
import numpy as np
import pytest
from scipy.optimize import minimize

from storage.analysis.bradley_terry import cells_of, fit_many, fit_ratings
from storage.analysis.columns import columns_of
from storage.analysis.intervals import Estimate, Lack, Missing
from storage.analysis.preference import Preference, UtilityForm, best_point, fit_preference
from storage.analysis.ratings import (
    RatingPlan,
    Ratings,
    influence_of_annotators,
    rate_blends,
    rate_blends_at_equal_length,
)
from storage.records_pairs import NamedBlend, Outcome
from tests.storage.judged import HELPFUL, UNGUIDED, World, a_pair, pairs_of, plane

LINE = [NamedBlend.of({"helpfulness": float(weight)}) for weight in range(4)]


def rising(weights: dict[str, float]) -> float:
    return 0.5 * weights.get("helpfulness", 0.0)


def hill(weights: dict[str, float]) -> float:
    """Concave, greatest at helpfulness 1.2 and harmlessness 1.8."""
    x, y = weights.get("helpfulness", 0.0) - 1.2, weights.get("harmlessness", 0.0) - 1.8
    return -0.6 * x * x - 0.4 * y * y + 0.2 * x * y


def rated(found: Ratings | Missing) -> dict[str, Estimate]:
    assert isinstance(found, Ratings)
    return {blend.blend: blend.rating for blend in found.blends}


def preferred(found: Preference | Missing) -> Preference:
    assert isinstance(found, Preference)
    return found


def test_ratings_are_those_of_choix_given_every_judgement_and_the_prior_twice() -> None:
    pairs = World(LINE, rising, n_comparisons=60, tie_share=0.2).pairs(1)
    games: list[tuple[int, int]] = []
    place = {blend.key: number for number, blend in enumerate(LINE)}
    for pair in pairs:  # a win counts twice, so that a tie can be one for each
        a, b = place[pair.blend_a.key], place[pair.blend_b.key]
        games += {Outcome.A: [(a, b)] * 2, Outcome.B: [(b, a)] * 2, Outcome.TIE: [(a, b), (b, a)]}[pair.outcome]
    # Six times everything in all, so that the prior's 1/6 of a win is one game.
    games = games * 3 + [(a, b) for a in range(4) for b in range(4) if a != b]
    expected = choix.opt_pairwise(4, games, tol=1e-12)
    found = rated(rate_blends(columns_of(pairs)))
    # opt_pairwise minimises numerically and stops a little short.
    assert [found[blend.key].value for blend in LINE] == pytest.approx(expected - expected.mean(), abs=1e-4)


def test_the_fit_of_many_resamples_is_the_fit_of_each() -> None:
    rng = np.random.default_rng(0)
    cells, observations = cells_of(columns_of(World(LINE, rising, n_comparisons=50, tie_share=0.1).pairs(2)))
    counts = np.stack([observations.counts(rng.exponential(size=len(observations.cell))) for _ in range(20)])
    many = fit_many(cells, counts, np.zeros(4), with_length=False)
    assert many == pytest.approx(np.stack([fit_ratings(cells, row) for row in counts]), abs=1e-5)


def test_the_rating_at_equal_length_maximises_the_likelihood_it_states() -> None:
    pairs = World(LINE, rising, n_comparisons=80, length=0.6).pairs(3)
    columns = columns_of(pairs)
    cells, observations = cells_of(columns)
    wins, losses = observations.counts()
    np.add.at(wins, cells.even, cells.prior)
    np.add.at(losses, cells.even, cells.prior)

    def loss(values: np.ndarray) -> float:
        first, second = cells.pairs[cells.pair].T
        odds = values[first] - values[second] + values[4] * cells.length
        log_likelihood = -(wins * np.logaddexp(0, -odds)).sum() - (losses * np.logaddexp(0, odds)).sum()
        return float(values[4] ** 2 / 18 - log_likelihood)

    best = minimize(loss, np.zeros(5), method="BFGS", options={"gtol": 1e-9}).x
    found = rate_blends_at_equal_length(columns)
    ratings = rated(found)
    assert [ratings[columns.names.blends[code]].value for code in cells.blends] == pytest.approx(
        best[:4] - best[:4].mean(), abs=1e-4
    )
    assert isinstance(found, Ratings)
    assert found.twice_as_long is not None
    assert found.twice_as_long.value == pytest.approx(best[4] / 3, abs=1e-4)


def test_a_blend_that_wins_by_its_length_alone_is_no_better_at_equal_length() -> None:
    pairs = [
        a_pair(
            place,
            comparison_id=f"{place:032x}",
            n_tokens_a=100 if place % 4 else 50,
            n_tokens_b=50 if place % 4 else 100,
            outcome=Outcome.A if bool(place % 4) is bool(place % 7) else Outcome.B,  # the longer wins 6 times of 7
        )
        for place in range(200)
    ]
    plain = rated(rate_blends(columns_of(pairs)))[UNGUIDED.key]
    equal = rated(rate_blends_at_equal_length(columns_of(pairs)))[UNGUIDED.key]
    assert plain.low > 0.1
    assert equal.low < 0 < equal.high


@pytest.mark.parametrize(
    "world",
    [
        World(LINE, rising),
        World(LINE, rising, n_comparisons=40, overlap=1),
        World(LINE, rising, n_annotators=1, overlap=1),
        World(LINE, rising, taste=0.35, n_annotators=4, n_comparisons=200, overlap=3),
        World(LINE, rising, luck=0.4, n_comparisons=100, overlap=6),
    ],
    ids=["plain", "few", "one annotator", "annotators differ", "answers differ"],
)
def test_intervals_of_ratings_hold_the_truth_about_as_often_as_they_say(world: World) -> None:
    truth = {blend.key: rising(dict(blend.weights)) - 0.75 for blend in LINE}
    hits = []
    for seed in range(60):
        found = rated(rate_blends(columns_of(world.pairs(seed)), RatingPlan(seed=seed)))
        hits += [estimate.low <= truth[blend] <= estimate.high for blend, estimate in found.items()]
    # 240 intervals at 95 % that depend on each other in fours: three standard errors of 60 are 0.084.
    assert np.mean(hits) >= 0.95 - 0.084


def test_annotators_who_differ_make_the_interval_wider_than_their_number_of_judgements() -> None:
    alike, different = (
        World(LINE, rising, n_comparisons=200, n_annotators=6, overlap=3, taste=taste).pairs(4) for taste in (0.0, 1.0)
    )
    widths = [
        np.mean([rating.high - rating.low for rating in rated(rate_blends(columns_of(pairs))).values()])
        for pairs in (alike, different)
    ]
    assert widths[1] > 1.5 * widths[0]


def test_judgements_repeated_by_everybody_do_not_make_the_interval_shorter() -> None:
    once = [a_pair(place, outcome=Outcome("ab"[place % 3 == 0])) for place in range(60)]
    often = [
        a_pair(place, annotator_id=f"{person:032x}", outcome=Outcome("ab"[place % 3 == 0]))
        for place in range(60)
        for person in range(10)
    ]
    one, ten = (rated(rate_blends(columns_of(pairs)))[UNGUIDED.key] for pairs in (once, often))
    assert ten.high - ten.low > 0.75 * (one.high - one.low)


@pytest.mark.parametrize(
    ("outcomes", "missing"),
    [
        ("", Missing(Lack.JUDGEMENTS, 0, 1)),
        ("nss", Missing(Lack.JUDGEMENTS, 0, 1)),
    ],
)
def test_ratings_say_what_is_missing(outcomes: str, missing: Missing) -> None:
    columns = columns_of(pairs_of(outcomes))
    assert rate_blends(columns) == rate_blends_at_equal_length(columns) == missing
    assert fit_preference(columns) == influence_of_annotators(columns) == missing


def test_one_blend_has_no_rating() -> None:
    columns = columns_of(pairs_of("ab", blend_b=UNGUIDED))
    assert rate_blends(columns) == Missing(Lack.BLENDS, 1, 2)


def test_blends_that_were_never_compared_with_the_others_have_no_common_rating() -> None:
    columns = columns_of([*pairs_of("ab"), *pairs_of("ab", blend_a=LINE[2], blend_b=LINE[3])])
    assert rate_blends(columns) == Missing(Lack.LINKS, 2, 1)


def test_more_blends_than_can_be_rated_are_left_to_the_preference_model() -> None:
    many = [NamedBlend.of({"helpfulness": weight / 10}) for weight in range(60)]
    pairs = [a_pair(place, blend_a=one, blend_b=other) for place, (one, other) in enumerate(pairwise(many))]
    assert rate_blends(columns_of(pairs)) == Missing(Lack.TOO_MANY_BLENDS, 60, 40)
    assert preferred(fit_preference(columns_of(pairs))).at_edge == ("helpfulness",)


def test_lengths_that_never_differ_cannot_be_held_equal() -> None:
    columns = columns_of(pairs_of("aabb", n_tokens_a=0, n_tokens_b=0))
    assert rate_blends_at_equal_length(columns) == Missing(Lack.LENGTHS, 1, 2)


def test_a_blend_that_always_won_is_named_and_its_interval_is_open_upwards() -> None:
    found = rate_blends(columns_of(pairs_of("a" * 20)))
    assert isinstance(found, Ratings)
    assert (found.never_lost, found.never_won) == ((UNGUIDED.key,), (HELPFUL.key,))
    best = found.blends[0]
    # Jeffreys' interval of 20 wins in 20 starts at a share of 0.88, log-odds 2.0, half of it for each of two blends.
    assert best.rating.low == pytest.approx(1.0, abs=0.35)
    assert best.rating.high > 2 * best.rating.value
    assert best.best == 1.0


def test_only_ties_are_two_equal_blends() -> None:
    found = rate_blends(columns_of(pairs_of("t" * 10)))
    assert isinstance(found, Ratings)
    assert found.n_ties == 10
    for blend in found.blends:
        assert blend.rating.value == pytest.approx(0.0, abs=1e-9)
        assert blend.rating.low < 0 < blend.rating.high


def test_the_same_seed_gives_the_same_intervals() -> None:
    columns = columns_of(World(LINE, rising).pairs(5))
    assert rate_blends(columns, RatingPlan(seed=3)) == rate_blends(columns, RatingPlan(seed=3))
    assert rate_blends(columns, RatingPlan(seed=3)) != rate_blends(columns, RatingPlan(seed=4))


def test_the_one_annotator_against_all_others_moves_the_ranking_most() -> None:
    pairs = World(LINE, rising, n_annotators=6, n_comparisons=150, overlap=3).pairs(6)
    contrary = {Outcome.A: Outcome.B, Outcome.B: Outcome.A}
    odd = f"{2:032x}"
    pairs = [
        a_pair(place, **{**vars(pair), "outcome": contrary[pair.outcome]}) if pair.annotator_id == odd else pair
        for place, pair in enumerate(pairs)
    ]
    found = influence_of_annotators(columns_of(pairs))
    assert not isinstance(found, Missing)
    assert found[0].annotator_id == odd
    without = rated(rate_blends(columns_of(pair for pair in pairs if pair.annotator_id != odd)))
    within = rated(rate_blends(columns_of(pairs)))
    shifts = {blend: within[blend].value - without[blend].value for blend in within}
    assert found[0].largest_shift == pytest.approx(shifts[found[0].blend], abs=1e-6)
    assert abs(found[0].largest_shift) == pytest.approx(max(map(abs, shifts.values())), abs=1e-6)


def test_one_annotator_cannot_be_left_out() -> None:
    assert influence_of_annotators(columns_of(pairs_of("ab"))) == Missing(Lack.ANNOTATORS, 1, 2)


def test_the_preferred_blend_is_recovered_within_its_interval() -> None:
    world = World(plane(0.0, 1.0, 2.0, 3.0), hill, n_comparisons=200)
    hits = []
    for seed in range(60):
        found = preferred(fit_preference(columns_of(world.pairs(seed)), RatingPlan(seed=seed)))
        assert found.form is UtilityForm.QUADRATIC
        for axis, truth in (("helpfulness", 1.2), ("harmlessness", 1.8)):
            interval = found.preferred[axis]
            hits.append(interval.low <= truth <= interval.high)
            assert interval.high - interval.low < 2.0  # and not by being as wide as the plane
    assert np.mean(hits) >= 0.9


def test_the_preferred_blend_is_the_true_one_when_there_are_many_judgements() -> None:
    world = World(plane(0.0, 1.0, 2.0, 3.0), hill, n_comparisons=6000, n_annotators=40)
    found = preferred(fit_preference(columns_of(world.pairs(0))))
    assert found.preferred["helpfulness"].value == pytest.approx(1.2, abs=0.1)
    assert found.preferred["harmlessness"].value == pytest.approx(1.8, abs=0.1)
    truth = hill({"helpfulness": 1.2, "harmlessness": 1.8}) - hill({})
    assert found.gain.value == pytest.approx(truth, abs=0.25)
    assert found.at_edge == ()


def test_the_drawn_utility_is_that_of_the_people_and_zero_at_the_unguided_blend() -> None:
    world = World(plane(0.0, 1.0, 2.0, 3.0), hill, n_comparisons=6000, n_annotators=40)
    found = preferred(fit_preference(columns_of(world.pairs(1))))
    along_x, along_y, utility, deviation = found.grid("helpfulness", "harmlessness", n=7)
    truth = [[hill({"helpfulness": x, "harmlessness": y}) - hill({}) for x in along_x] for y in along_y]
    assert utility == pytest.approx(np.array(truth), abs=0.5)
    assert (utility[0, 0], deviation[0, 0]) == (pytest.approx(0, abs=1e-12), pytest.approx(0, abs=1e-12))
    assert (deviation[1:, 1:] > 0).all()


def test_two_levels_of_a_weight_carry_a_line_and_the_best_is_said_to_be_at_the_edge() -> None:
    world = World(plane(0.0, 1.0), lambda weights: sum(weights.values()), n_comparisons=200)
    found = preferred(fit_preference(columns_of(world.pairs(0))))
    assert found.form is UtilityForm.LINEAR
    assert found.at_edge == ("harmlessness", "helpfulness")
    assert {axis: weight.value for axis, weight in found.preferred.items()} == {"harmlessness": 1, "helpfulness": 1}


def test_blends_on_one_line_of_the_plane_have_no_preference_on_the_plane() -> None:
    blends = [NamedBlend.of({"helpfulness": weight, "harmlessness": weight}) for weight in (0.0, 1.0, 2.0)]
    columns = columns_of(World(blends, rising).pairs(0))
    assert fit_preference(columns) == Missing(Lack.WEIGHTS, 1, 2)


def test_blends_that_differ_in_no_weight_have_no_preference() -> None:
    versions = [NamedBlend("version 1", {"helpfulness": 1.0}), NamedBlend("version 2", {"helpfulness": 1.0})]
    assert fit_preference(columns_of(World(versions, rising).pairs(0))) == Missing(Lack.WEIGHTS, 0, 1)


def test_one_judgement_leaves_the_preferred_blend_open() -> None:
    found = preferred(fit_preference(columns_of(pairs_of("a"))))
    interval = found.preferred["helpfulness"]
    assert (interval.low, interval.high) == (0.0, 1.0)


@pytest.mark.parametrize("n_axes", [1, 2, 3])
def test_the_best_point_is_the_greatest_on_a_fine_lattice(n_axes: int) -> None:
    rng = np.random.default_rng(n_axes)
    first, second = np.triu_indices(n_axes)
    lattice = np.stack(np.meshgrid(*[np.linspace(-1, 1, 41)] * n_axes), axis=-1).reshape(-1, n_axes)
    features = np.concatenate([lattice, lattice[:, first] * lattice[:, second]], axis=1)
    for _ in range(40):
        root = rng.normal(size=(n_axes, n_axes))
        bend = -root @ root.T  # concave
        doubled = np.where(first == second, 1.0, 2.0) * bend[first, second]
        coefficients = np.concatenate([rng.normal(size=n_axes), doubled])
        found = best_point(coefficients[None], n_axes, UtilityForm.QUADRATIC)[0]
        value = np.concatenate([found, found[first] * found[second]]) @ coefficients
        assert value >= (features @ coefficients).max() - 1e-6
