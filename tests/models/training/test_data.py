"""The rules by which preferences are used, and the split."""

from collections import Counter
from dataclasses import replace

import pytest

from models.training.ancestry import Seen
from models.training.data import DataSettings, Split, choose, is_held_out
from models.training.rows import Preference, RowsRead
from steering.errors import InputError, SettingsError
from steering.types import Message, Role

LOOSE = DataSettings(held_out_share=0.5, max_per_prompt=0)


def preference(prompt: str, chosen: str = "good", rejected: str | None = "bad", **more: object) -> Preference:
    values: dict[str, object] = {"id": f"{prompt}/{chosen}/{rejected}/{more.get('annotator')}", **more}
    return Preference(messages=(Message(Role.USER, prompt),), chosen=chosen, rejected=rejected, **values)


def fill(n: int = 20) -> list[Preference]:
    """Enough prompts for both halves."""
    return [preference(f"filler {index}") for index in range(n)]


def chosen_of(rows: list[Preference], settings: DataSettings = LOOSE, **more: object) -> Split:
    read = RowsRead(train=[*fill(), *rows], **more)
    return choose(read, RowsRead(), settings, lambda _: "", pairs_only=True)


def used(split: Split) -> list[Preference]:
    return [each for each in [*split.train, *split.held_out] if "filler" not in each.messages[0].content]


def test_a_prompt_is_in_one_half_only_and_in_the_same_one_in_every_run() -> None:
    rows = [preference(f"p{index}", chosen=text) for index in range(40) for text in ("a", "b")]
    split = chosen_of(rows)
    train, held_out = ({each.prompt_key for each in half} for half in (split.train, split.held_out))
    assert train
    assert held_out
    assert not train & held_out
    fewer = chosen_of(rows[:30])
    assert {each.prompt_key for each in fewer.held_out} <= held_out


def test_another_seed_draws_another_split() -> None:
    keys = [f"[{index}]" for index in range(50)]
    assert [is_held_out(key, LOOSE) for key in keys] != [is_held_out(key, replace(LOOSE, seed=1)) for key in keys]


def test_about_the_share_asked_for_is_held_out() -> None:
    n = sum(is_held_out(str(index), DataSettings(held_out_share=0.2)) for index in range(2000))
    assert 330 < n < 470  # four standard deviations


def test_what_one_annotator_said_twice_counts_once() -> None:
    split = chosen_of([preference("p", annotator="ann"), preference("p", annotator="ann")])
    assert len(used(split)) == 1
    assert split.report.left_out == {"duplicate": 1}


def test_two_annotators_who_agree_make_one_pair_and_that_is_counted() -> None:
    split = chosen_of([preference("p", annotator="ann"), preference("p", annotator="bob")])
    assert len(used(split)) == 1
    assert split.report.n_merged == 1


def test_the_majority_decides_and_the_outvoted_are_counted() -> None:
    split = chosen_of(
        [
            preference("p", "good", "bad", annotator="ann"),
            preference("p", "bad", "good", annotator="bob"),
            preference("p", "bad", "good", annotator="cat"),
        ]
    )
    assert [(each.chosen, each.rejected) for each in used(split)] == [("bad", "good")]
    assert split.report.left_out == {"outvoted": 1}
    assert split.report.n_merged == 1


def test_a_pair_that_is_contradicted_as_often_as_said_is_left_out() -> None:
    rows = [preference("p", "good", "bad", annotator="ann"), preference("p", "bad", "good", annotator="bob")]
    split = chosen_of(rows)
    assert used(split) == []
    assert split.report.left_out == {"contradictory": 2}


def test_a_prompt_has_no_more_pairs_than_the_cap_whatever_the_order_of_the_rows() -> None:
    rows = [preference("p", f"good {index}") for index in range(9)]
    settings = replace(LOOSE, max_per_prompt=4)
    split, turned = chosen_of(rows, settings), chosen_of(rows[::-1], settings)
    assert len(used(split)) == 4
    assert {each.id for each in used(split)} == {each.id for each in used(turned)}
    assert split.report.left_out == {"prompt_cap": 5}


@pytest.mark.parametrize("has_tests_of_its_own", [True, False])
def test_how_many_of_a_prompt_are_tested_on_is_not_how_many_are_trained_on(has_tests_of_its_own: bool) -> None:
    rows = [preference(f"p{prompt}", f"good {index}") for prompt in range(20) for index in range(5)]
    other = [preference(f"q{prompt}", f"good {index}") for prompt in range(3) for index in range(5)]
    read = RowsRead(train=rows, held_out=other) if has_tests_of_its_own else RowsRead(train=rows)
    settings = replace(LOOSE, max_held_out_per_prompt=2)
    split = choose(read, RowsRead(), settings, lambda _: "", pairs_only=True)
    trained, tested = (Counter(each.prompt_key for each in half) for half in (split.train, split.held_out))
    assert set(trained.values()) == {5}
    assert set(tested.values()) == {2}
    assert len(trained) + len(tested) == (23 if has_tests_of_its_own else 20)
    assert split.report.left_out == {"prompt_cap": 3 * len(tested)}
    every = choose(read, RowsRead(), replace(settings, max_held_out_per_prompt=0), lambda _: "", pairs_only=True)
    assert len(every.held_out) == 5 * len(tested)


def test_a_prompt_that_the_parent_knows_by_one_pair_is_not_tested_on_whichever_pairs_the_cap_leaves() -> None:
    rows = [preference("p", f"good {index}") for index in range(5)]
    settings = replace(LOOSE, max_held_out_per_prompt=1)
    for row in rows:
        read = RowsRead(train=fill(), held_out=[*rows, preference("q")])
        split = choose(read, RowsRead(), settings, lambda _: "", pairs_only=True, seen=Seen(ids=frozenset({row.id})))
        assert [each.prompt_key for each in split.held_out] == [preference("q").prompt_key]
        assert split.report.n_seen_by_parent == 5


def test_an_annotator_has_no_more_than_the_cap_and_unnamed_rows_are_nobodys() -> None:
    rows = [preference(f"p{index}", annotator="ann" if index < 8 else "bob") for index in range(10)]
    split = chosen_of(rows, replace(LOOSE, max_per_annotator=3))
    assert Counter(each.annotator for each in used(split)) == {"ann": 3, "bob": 2}
    assert split.report.left_out == {"annotator_cap": 5}
    assert len(split.train) + len(split.held_out) == 25


def test_who_fails_at_gold_items_is_left_out_with_all_they_said_and_named() -> None:
    rows = [preference(f"p{index}", annotator=("ann", "bob")[index % 2]) for index in range(8)]
    read = RowsRead(
        train=rows + [replace(each, annotator="ann") for each in fill()], gold={"ann": (9, 10), "bob": (2, 10)}
    )
    split = choose(read, RowsRead(), replace(LOOSE, min_reliability=0.7), lambda _: "", pairs_only=True)
    assert {each.annotator for each in used(split)} == {"ann"}
    assert split.report.left_out == {"unreliable": 4}
    assert split.report.quarantined == ["bob"]


def test_where_reliability_is_asked_for_and_not_known_it_is_not_assumed() -> None:
    rows = [preference(f"p{index}", reliability=0.9 if index else None) for index in range(30)]
    read = RowsRead(train=rows)
    split = choose(read, RowsRead(), replace(LOOSE, min_reliability=0.7), lambda _: "", pairs_only=True)
    assert split.report.left_out == {"reliability_unknown": 1}


def test_what_does_not_fit_is_counted_by_reason() -> None:
    read = RowsRead(train=[*fill(), preference("p", "long"), preference("q", "longer")])
    reasons = {"long": "long_prompt", "longer": "long_response"}
    split = choose(read, RowsRead(), LOOSE, lambda each: reasons.get(str(each.chosen), ""), pairs_only=True)
    assert split.report.left_out == {"long_prompt": 1, "long_response": 1}


def test_responses_judged_on_their_own_are_used_only_where_the_loss_can() -> None:
    read = RowsRead(train=[*fill(), preference("p", "alone", None)])
    paired = choose(read, RowsRead(), LOOSE, lambda _: "", pairs_only=True)
    assert paired.report.left_out == {"single": 1}
    both = choose(read, RowsRead(), replace(LOOSE, held_out_share=0.3), lambda _: "", pairs_only=False)
    assert both.report.left_out == {}
    assert all(each.rejected is not None for each in both.held_out)


def test_test_rows_of_an_export_are_what_is_tested_on_and_their_prompts_are_not_trained_on() -> None:
    read = RowsRead(train=fill(4), held_out=[preference("filler 0", "other"), preference("q")])
    split = choose(read, RowsRead(), LOOSE, lambda _: "", pairs_only=True)
    assert {each.messages[0].content for each in split.train} == {"filler 1", "filler 2", "filler 3"}
    assert {each.messages[0].content for each in split.held_out} == {"filler 0", "q"}


@pytest.mark.parametrize("by", ["prompt", "id"])
def test_what_the_parent_was_trained_on_is_never_tested_on_and_is_counted(by: str) -> None:
    parent = choose(RowsRead(train=fill(40)), RowsRead(), replace(LOOSE, seed=1), lambda _: "", pairs_only=True)
    ids = frozenset(each.id for each in parent.train)
    seen = Seen(frozenset(Seen().with_prompts_of(parent.train))) if by == "prompt" else Seen(ids=ids)
    naive = chosen_of([])
    overlap = [each for each in naive.held_out if each.id in ids]
    assert overlap, "both seeds hold the same prompts out"
    split = choose(RowsRead(train=fill()), RowsRead(), LOOSE, lambda _: "", pairs_only=True, seen=seen)
    assert not {each.id for each in split.held_out} & ids
    assert split.report.n_seen_by_parent == len(overlap)
    assert {each.id for each in overlap} <= {each.id for each in split.train}


def test_a_test_prompt_of_an_export_that_the_parent_was_trained_on_is_left_out() -> None:
    seen = Seen(frozenset(Seen().with_prompts_of([preference("q", "other")])))
    read = RowsRead(train=fill(4), held_out=[preference("q"), preference("r")])
    split = choose(read, RowsRead(), LOOSE, lambda _: "", pairs_only=True, seen=seen)
    assert {each.messages[0].content for each in split.held_out} == {"r"}
    assert not any(each.messages[0].content == "q" for each in split.train)
    assert split.report.n_seen_by_parent == 1


def test_earlier_data_are_mixed_in_by_share_and_never_from_held_out_prompts() -> None:
    earlier = RowsRead(train=[preference(f"old {index}") for index in range(60)])
    split = choose(RowsRead(train=fill(40)), earlier, replace(LOOSE, replay_share=0.5), lambda _: "", pairs_only=True)
    assert split.report.n_replayed == len(split.replayed) == round(0.5 * len(split.train))
    assert not any(is_held_out(each.prompt_key, LOOSE) for each in split.replayed)


def test_nothing_to_train_on_or_to_test_on_is_an_error_that_says_what_was_left_out() -> None:
    read = RowsRead(train=fill(3), left_out=Counter(tie=7))
    with pytest.raises(InputError, match="'tie': 7"):
        choose(read, RowsRead(), replace(LOOSE, held_out_share=0.0), lambda _: "", pairs_only=True)


@pytest.mark.parametrize(
    "values",
    [
        {"max_prompt_tokens": 0},
        {"max_per_prompt": -1},
        {"min_reliability": 1.5},
        {"held_out_share": 0.95},
        {"max_held_out": 0},
        {"max_held_out_per_prompt": -1},
        {"replay_share": float("nan")},
    ],
)
def test_a_rule_outside_its_range_is_refused(values: dict[str, float]) -> None:
    with pytest.raises(SettingsError) as caught:
        DataSettings(**values)
    assert caught.value.hint
