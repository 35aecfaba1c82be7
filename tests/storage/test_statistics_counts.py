"""Win rates, agreement and annotators, against counting by hand, published examples and scipy."""

import tracemalloc
from datetime import timedelta

import numpy as np
import pytest
from scipy import stats

from steering.errors import InputError
from storage.analysis.agreement import Agreement, PairAgreement, agreement
from storage.analysis.annotators import AnnotatorFigures, annotator_figures
from storage.analysis.columns import JudgementColumns, columns_of
from storage.analysis.intervals import Estimate, Lack, Missing, wilson
from storage.analysis.summary import summarise
from storage.analysis.wins import Tally, WinRate, pair_rates, win_rates
from storage.records_pairs import CanonicalSide, JudgedPair, NamedBlend, Outcome
from tests.storage.examples import START
from tests.storage.judged import HELPFUL, UNGUIDED, World, a_pair, pairs_of, plane

# Four observers and twelve units in the shape of Krippendorff (2011), "Computing Krippendorff's alpha-reliability",
# section C, with skips added; "." where an observer did not look.
OBSERVERS = ("abttbanab...", "abttbbnabs.t", ".tttbtnbbsa.", "abttbnnabsa.")


def rate_of(rates: tuple[WinRate, ...], blend: NamedBlend) -> WinRate:
    (found,) = [rate for rate in rates if rate.blend == blend.key]
    return found


def figures(pairs: list[JudgedPair]) -> AnnotatorFigures:
    (found,) = annotator_figures(columns_of(pairs))
    return found


@pytest.mark.parametrize(("hits", "n"), [(0, 5), (3, 10), (10, 10), (500, 1000)])
def test_wilsons_interval_is_scipys(hits: int, n: int) -> None:
    expected = stats.binomtest(hits, n).proportion_ci(0.9, method="wilson")
    found = wilson(hits / n, n, 0.9)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_a_win_rate_counts_a_tie_half_and_skips_and_both_bad_apart() -> None:
    rates = win_rates(columns_of(pairs_of("aaabttnsss")))
    unguided = rate_of(rates, UNGUIDED)
    assert unguided.tally == Tally(n_wins=3, n_losses=1, n_ties=2, n_both_bad=1, n_skips=3)
    assert isinstance(unguided.share, Estimate)
    assert unguided.share.value == 4 / 6
    helpful = rate_of(rates, HELPFUL)
    assert isinstance(helpful.share, Estimate)
    assert helpful.share.value == 2 / 6
    assert [rate.blend for rate in rates] == [UNGUIDED.key, HELPFUL.key]


def test_which_side_is_called_a_does_not_matter() -> None:
    pairs = pairs_of("aabt")
    turned = {Outcome.A: Outcome.B, Outcome.B: Outcome.A}
    mixed = [
        a_pair(place, blend_a=HELPFUL, blend_b=UNGUIDED, outcome=turned.get(pair.outcome, pair.outcome))
        if place % 2
        else pair
        for place, pair in enumerate(pairs)
    ]
    assert win_rates(columns_of(mixed)) == win_rates(columns_of(pairs))
    assert pair_rates(columns_of(mixed))[0].tally.n_decided == 4


def test_the_interval_is_wilsons_where_every_judgement_stands_alone() -> None:
    pairs = [a_pair(place, annotator_id=f"{place:032x}", outcome=Outcome(side)) for place, side in enumerate("aaabab")]
    share = rate_of(win_rates(columns_of(pairs)), UNGUIDED).share
    assert isinstance(share, Estimate)
    # 6 comparisons by 6 annotators: the correction G/(G−1) counts them as 5 (V = pq/n·6/5).
    expected = wilson(4 / 6, 5)
    assert (share.low, share.high) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_ten_people_who_judge_one_comparison_alike_are_one_observation() -> None:
    pairs = [a_pair(place, comparison_id="c" * 32, annotator_id=f"{place:032x}") for place in range(10)]
    assert rate_of(win_rates(columns_of(pairs)), UNGUIDED).share == wilson(1.0, 1)


def test_gold_items_and_repetitions_do_not_count_for_the_blends() -> None:
    extra = [
        a_pair(90, is_gold=True, gold_answer=Outcome.B, outcome=Outcome.B),
        a_pair(91, repeat_of="0" * 32, outcome=Outcome.B),
    ]
    assert win_rates(columns_of([*pairs_of("ab"), *extra])) == win_rates(columns_of(pairs_of("ab")))


def test_a_blend_of_which_nobody_decided_has_no_share() -> None:
    assert rate_of(win_rates(columns_of(pairs_of("nss"))), HELPFUL).share == Missing(Lack.JUDGEMENTS, 0, 1)


@pytest.mark.parametrize("level", [0.0, 0.4, 1.0, float("nan")])
def test_a_level_that_no_interval_has_is_refused(level: float) -> None:
    with pytest.raises(InputError, match="level"):
        win_rates(columns_of(pairs_of("ab")), level)


def columns_by_observer(observers: tuple[str, ...]) -> JudgementColumns:
    pairs: list[JudgedPair] = []
    for observer, values in enumerate(observers):
        said = [(unit, value) for unit, value in enumerate(values) if value != "."]
        for (unit, _), pair in zip(said, pairs_of("".join(value for _, value in said)), strict=True):
            pairs.append(a_pair(unit, outcome=pair.outcome, annotator_id=f"{observer:032x}"))
    return columns_of(pairs)


def test_alpha_agrees_with_its_definition_where_observers_skip_and_miss_units() -> None:
    found = agreement(columns_by_observer(OBSERVERS))
    assert isinstance(found, Agreement)
    # By hand: the coincidence matrix of the values that are not skips, from units with two values or more.
    units = [[values[unit] for values in OBSERVERS if values[unit] not in ".s"] for unit in range(12)]
    units = [unit for unit in units if len(unit) > 1]
    values = [value for unit in units for value in unit]
    observed = sum(sum(x != y for x in unit for y in unit) / (len(unit) - 1) for unit in units) / len(values)
    n_different = sum(x != y for x in values for y in values)
    expected = n_different / (len(values) * (len(values) - 1))
    assert found.alpha == pytest.approx(1 - observed / expected, abs=1e-12)
    same = [x == y for unit in units for place, x in enumerate(unit) for y in unit[place + 1 :]]
    assert (found.n_pairs, found.raw) == (len(same), pytest.approx(np.mean(same)))


def test_alpha_of_the_published_example_is_the_published_value() -> None:
    # The krippendorff package's nominal example (three coders, fifteen units), whose alpha is 0.691358.
    coders = (".....tnabaatt.t", "a.battnt.......", "..batnn.baatt.n")
    found = agreement(columns_by_observer(coders))
    assert isinstance(found, Agreement)
    assert found.alpha == pytest.approx(0.691358, abs=1e-6)


def test_agreement_of_every_two_annotators_is_counted() -> None:
    found = agreement(columns_by_observer(("aabt", "aaas", "b..t")))
    assert isinstance(found, Agreement)
    ids = [f"{place:032x}" for place in range(3)]
    assert set(found.pairs) == {
        PairAgreement(ids[0], ids[1], 3, 2),
        PairAgreement(ids[0], ids[2], 2, 1),
        PairAgreement(ids[1], ids[2], 1, 0),
    }


def test_agreement_needs_no_room_for_annotators_who_share_nothing() -> None:
    """On the Steer page every browser is an annotator: of 10,000 the tables of every two had 100 million cells each."""
    pairs = [a_pair(number, annotator_id=f"{number:032x}") for number in range(4000)]
    columns = columns_of([*pairs, *(a_pair(number, annotator_id=f"{number + 1:032x}") for number in range(2))])
    tracemalloc.start()
    try:
        found = agreement(columns)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert isinstance(found, Agreement)
    assert [(pair.n_shared, pair.n_same) for pair in found.pairs] == [(1, 1), (1, 1)]
    assert peak < 32 * 2**20  # one table of 4000 x 4000 counts has 128 MB


@pytest.mark.parametrize(
    ("observers", "missing"),
    [
        (("ab",), Missing(Lack.ANNOTATORS, 1, 2)),
        (("ss", "ss"), Missing(Lack.JUDGEMENTS, 0, 1)),
        (("a.", ".b"), Missing(Lack.OVERLAP, 0, 1)),
    ],
)
def test_agreement_says_what_is_missing(observers: tuple[str, ...], missing: Missing) -> None:
    assert agreement(columns_by_observer(observers)) == missing


def test_alpha_is_not_defined_where_everybody_always_says_the_same() -> None:
    found = agreement(columns_by_observer(("aaa", "aaa")))
    assert isinstance(found, Agreement)
    assert (found.raw, found.alpha) == (1.0, Missing(Lack.VARIETY, 1, 2))


def test_reliability_is_the_share_of_gold_answers_given_right_without_skips() -> None:
    pairs = [
        a_pair(place, is_gold=True, gold_answer=Outcome.A, outcome=outcome)
        for place, outcome in enumerate([Outcome.A, Outcome.A, Outcome.A, Outcome.TIE, Outcome.SKIP])
    ]
    found = figures([*pairs, a_pair(9, is_gold=True, gold_answer=None)])
    assert (found.n_gold, found.gold) == (4, wilson(0.75, 4))


def test_repetitions_are_held_against_the_first_answer_of_the_same_person_in_the_same_dimension() -> None:
    left, right = CanonicalSide.A, CanonicalSide.B
    pairs = [
        a_pair(0, outcome=Outcome.A, shown_left=left),
        a_pair(10, repeat_of=f"{0:032x}", outcome=Outcome.A, shown_left=right),  # the same answer
        a_pair(1, outcome=Outcome.A, shown_left=left),
        a_pair(11, repeat_of=f"{1:032x}", outcome=Outcome.B, shown_left=right),  # left both times
        a_pair(2, outcome=Outcome.B, shown_left=left),
        a_pair(12, repeat_of=f"{2:032x}", outcome=Outcome.A, shown_left=right),  # right both times
        a_pair(3, outcome=Outcome.TIE),
        a_pair(13, repeat_of=f"{3:032x}", outcome=Outcome.B),  # changed, but to no side
        a_pair(14, repeat_of=f"{99:032x}", outcome=Outcome.B),  # its first showing is not there
        a_pair(15, repeat_of=f"{0:032x}", outcome=Outcome.A, dimension="safety"),  # another question
    ]
    found = figures(pairs)
    assert (found.n_repeats, found.consistency) == (4, wilson(0.25, 4))
    assert (found.n_left_twice, found.n_right_twice) == (1, 1)


def test_another_persons_first_answer_says_nothing_of_consistency() -> None:
    pairs = [a_pair(0), a_pair(1, repeat_of=f"{0:032x}", annotator_id="b" * 32)]
    assert {found.consistency for found in annotator_figures(columns_of(pairs))} == {Missing(Lack.REPEATS, 0, 1)}


def test_position_bias_is_the_share_of_choices_on_the_left() -> None:
    pairs = [a_pair(place, shown_left=CanonicalSide.A if place < 9 else CanonicalSide.B) for place in range(10)]
    assert figures(pairs).chose_left == wilson(0.9, 10)


def test_pace_leaves_out_pauses() -> None:
    seconds = [0, 30, 60, 60 + 3600, 90 + 3600]
    pairs = [a_pair(place, judged_at=START + timedelta(seconds=gone)) for place, gone in enumerate(seconds)]
    found = figures(pairs)
    assert (found.active_seconds, found.judgements_per_hour) == (pytest.approx(90), pytest.approx(120))


def test_two_dimensions_of_one_comparison_are_two_judgements_and_one_comparison_an_hour() -> None:
    pairs = [
        a_pair(place, dimension=dimension, judged_at=START + timedelta(seconds=60 * place))
        for place in range(5)
        for dimension in ("overall", "safety")
    ]
    found = figures(pairs)
    assert found.comparisons_per_hour == pytest.approx(60)
    assert found.judgements_per_hour == pytest.approx(135)


def test_one_judgement_has_no_pace() -> None:
    assert figures([a_pair()]).judgements_per_hour == Missing(Lack.TIME, 0, 1)


@pytest.mark.parametrize("outcomes", ["", "a", "t", "s", "n", "ttttt", "sss", "nnn", "aaaaaaaa", "ab"])
def test_little_data_gives_every_figure_or_says_what_is_missing(outcomes: str) -> None:
    found = summarise(columns_of(pairs_of(outcomes)))
    assert found.counts.n_judgements == len(outcomes)
    assert [dimension.dimension for dimension in found.dimensions] == (["overall"] if outcomes else [])


def test_every_judgement_is_counted_once() -> None:
    pairs = [
        *pairs_of("aabttns"),
        a_pair(50, is_gold=True),
        a_pair(51, repeat_of=f"{0:032x}"),
        a_pair(52, blend_b=UNGUIDED),
    ]
    counts = summarise(columns_of(pairs)).counts
    assert (counts.n_gold, counts.n_repeats, counts.n_same_blend) == (1, 1, 1)
    assert (counts.n_decided, counts.n_ties, counts.n_both_bad, counts.n_skips) == (5, 2, 1, 1)
    apart = counts.n_gold + counts.n_repeats + counts.n_same_blend + counts.n_both_bad + counts.n_skips
    assert apart + counts.n_decided == counts.n_judgements == len(pairs)


def test_the_whole_summary_is_the_same_whatever_the_order_of_the_judgements() -> None:
    pairs = World(plane(0.0, 1.0), lambda weights: sum(weights.values()), n_comparisons=40, tie_share=0.2).pairs(0)
    forward, backward = (summarise(columns_of(given)).dimensions[0] for given in (pairs, pairs[::-1]))
    assert {rate.blend: rate.tally for rate in forward.win_rates} == {
        rate.blend: rate.tally for rate in backward.win_rates
    }
    assert isinstance(forward.agreement, Agreement)
    assert isinstance(backward.agreement, Agreement)
    assert forward.agreement.alpha == pytest.approx(backward.agreement.alpha)
