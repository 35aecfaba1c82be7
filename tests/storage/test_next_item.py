"""What is asked next, whatever the shares, counts and scores are."""

from hypothesis import given
from hypothesis import strategies as st

from storage.next_item import Candidate, Given, Rules, choose_any, choose_regular, roles_due
from storage.records_studies import ItemRole, Ordering

names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=5)
candidates = st.lists(st.builds(Candidate, names, st.integers(0, 6)), unique_by=lambda one: one.item_id, max_size=12)
scores = st.none() | st.dictionaries(names, st.floats(-1e6, 1e6))


def _rules(
    gold_share: float = 0.0, repeat_share: float = 0.0, seed: int = 0, ordering: Ordering = Ordering.FEWEST
) -> Rules:
    return Rules(frozenset({"overall"}), 4, gold_share, repeat_share, ordering, seed, "", reveals=False)


@given(st.integers(0, 2**63 - 1), names, st.floats(0, 0.5), st.floats(0, 0.5), st.integers(1, 300))
def test_shares_are_kept_at_every_moment_while_there_are_enough(
    seed: int, annotator: str, gold_share: float, repeat_share: float, n_items: int
) -> None:
    rules = _rules(gold_share, repeat_share, seed)
    counts = dict.fromkeys(ItemRole, 0)
    for n_before in range(n_items):
        now = Given(counts[ItemRole.REGULAR], counts[ItemRole.GOLD], counts[ItemRole.REPEAT])
        assert now.n_items == n_before
        due = roles_due(rules, annotator, now)
        assert due[-1] is ItemRole.REGULAR
        counts[due[0]] += 1
        # 1e-6 for the rounding of share times count. Where both are due gold goes first, so repetitions may lag: all
        # that is lacking is less than two after a regular item and does not grow after another, and gold is one ahead
        # at most.
        assert abs(counts[ItemRole.GOLD] - gold_share * (n_before + 1)) <= 1 + 1e-6
        assert -1 - 1e-6 <= repeat_share * (n_before + 1) - counts[ItemRole.REPEAT] <= 3 + 1e-6


def test_where_gold_comes_cannot_be_learnt_from_another_annotator() -> None:
    def places(annotator: str) -> tuple[int, ...]:
        found, n_gold = [], 0
        for position in range(60):
            if roles_due(_rules(0.1), annotator, Given(position - n_gold, n_gold))[0] is ItemRole.GOLD:
                found.append(position)
                n_gold += 1
        return tuple(found)

    assert len({places(f"annotator {number}") for number in range(10)}) == 10


@given(st.integers(0, 9), names, candidates, scores, st.sampled_from(Ordering))
def test_the_chosen_item_wants_answers_and_none_has_fewer_or_is_more_uncertain(
    seed: int, annotator: str, listed: list[Candidate], uncertainty: dict[str, float] | None, ordering: Ordering
) -> None:
    rules = _rules(seed=seed, ordering=ordering)
    chosen = choose_regular(rules, annotator, listed, uncertainty)
    wanting = {one.item_id: one.n_answers for one in listed if one.n_answers < rules.overlap}
    if chosen is None:
        assert wanting == {}
        return
    assert wanting[chosen] == min(wanting.values())
    if ordering is Ordering.UNCERTAIN and uncertainty:
        rivals = [item_id for item_id, n_answers in wanting.items() if n_answers == wanting[chosen]]
        assert uncertainty.get(chosen, 0.0) == max(uncertainty.get(item_id, 0.0) for item_id in rivals)
    assert choose_regular(rules, annotator, list(reversed(listed)), uncertainty) == chosen


@given(st.sets(names, min_size=1))
def test_an_order_of_ones_own_depends_on_nothing_but_the_items(items: set[str]) -> None:
    first = choose_any(_rules(), "Ada", sorted(items))
    assert first in items
    assert choose_any(_rules(), "Ada", sorted(items, reverse=True)) == first


def test_first_items_are_spread_evenly_over_annotators() -> None:
    listed = [Candidate(f"item {number}", 0) for number in range(4)]
    first = [choose_regular(_rules(), f"annotator {number}", listed) for number in range(400)]
    # 400 fair draws of four: each outside 60..140 less than once in 100,000; the names are fixed, so this never varies.
    assert all(60 <= first.count(one.item_id) <= 140 for one in listed)
