"""When a new version counts as better, and when it may be published without anybody's word."""

import math
from typing import Any

import pytest

from models.guides import GuideCard
from ui.guides.verdict import Verdict, verdict_of


def assessed(only_old: int, only_new: int, p: float, other: tuple[float, float] = (-2.0, -2.0)) -> dict[str, Any]:
    return {
        "old": 1,
        "pairs": {"n_pairs": 50, "n_only_old": only_old, "n_only_new": only_new, "p_value": p},
        "prompts": {
            "old": {"rewards": {"care": other[0], "old": -1.0, "new": -3.0}},
            "new": {"rewards": {"care": other[1], "old": -9.0, "new": -1.0}},
        },
    }


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (assessed(2, 15, 0.002), Verdict(is_better=True, worse=())),
        (assessed(15, 2, 0.002), Verdict(is_better=False, worse=())),
        (assessed(4, 9, 0.27), Verdict(is_better=False, worse=())),
        (assessed(2, 15, 0.002, (-2.0, -2.09)), Verdict(is_better=True, worse=())),
        (assessed(2, 15, 0.002, (-2.0, -2.11)), Verdict(is_better=True, worse=("care",))),
        ({}, Verdict(is_better=False, worse=(), is_known=False)),
    ],
)
def test_a_verdict_needs_confidence_and_looks_at_the_other_dimensions(found: dict[str, Any], expected: Verdict) -> None:
    verdict = verdict_of(found, GuideCard())
    assert verdict == expected
    assert verdict.may_publish is (expected.is_known and expected.is_better and not expected.worse)


@pytest.mark.parametrize(
    ("margin", "new", "worse"),
    [
        (0.0, -2.0, ()),
        (0.0, -2.01, ("care",)),
        (0.025, -2.02, ()),
        (0.025, -2.03, ("care",)),
        (5.0, -6.9, ()),
        (5.0, math.nan, ("care",)),
        (5.0, None, ("care",)),
    ],
)
def test_another_dimension_may_lose_as_much_as_the_study_says_and_a_reward_that_is_no_number_is_a_loss(
    margin: float, new: float | None, worse: tuple[str, ...]
) -> None:
    found = assessed(2, 15, 0.002, (-2.0, new))  # type: ignore[arg-type]
    verdict = verdict_of(found, GuideCard(), margin)
    assert (verdict.worse, verdict.margin, verdict.may_publish) == (worse, margin, not worse)


@pytest.mark.parametrize(("low", "is_better"), [(0.58, True), (0.47, False)])
def test_a_first_version_has_to_beat_chance(low: float, is_better: bool) -> None:
    found = assessed(0, 0, 1.0) | {"old": None, "pairs": {"n_pairs": 50}}
    assert verdict_of(found, GuideCard(metrics={"low": low})).is_better is is_better


def test_without_pairs_the_old_one_was_not_trained_on_nothing_is_better() -> None:
    found = assessed(0, 0, 1.0) | {"pairs": {"n_pairs": 0}}
    assert not verdict_of(found, GuideCard(metrics={"low": 0.9})).may_publish
