"""The numbers of single tokens, and where two answers part."""

import math

import pytest

from models.answers import Answer
from steering.types import Blend, FinishReason, StepTrace, TopAlternative
from ui.tokens import first_difference, token_name, token_rows

VOCABULARY = {0: "The", 1: " sky", 2: "\n\n", 3: "", 4: " ", 5: "\t"}


def spell(token_ids: object) -> tuple[str, ...]:
    return tuple(VOCABULARY[token_id] for token_id in token_ids)  # type: ignore[attr-defined]


def an_answer(step: StepTrace) -> Answer:
    blend, exponents = Blend({"wit": 2.0}), {"wit": 0.5, "calm": 0.0}
    return Answer(blend, exponents, "x", (step.token_id,), FinishReason.EOS, 1.0, (step,))


def test_a_pull_is_the_guides_logprob_less_the_bases_and_a_share_is_exponent_times_pull() -> None:
    top = (TopAlternative(1, 0.5, 0.25), TopAlternative(3, 0.1, 0.2))
    step = StepTrace(1, math.log(0.5), math.log(0.25), {"wit": math.log(0.125), "calm": 0.0}, 0.5, 1.0, top)
    (row,) = token_rows(an_answer(step), spell)
    assert (row.piece, row.name, row.kl) == (" sky", "␣sky", 0.5)
    assert row.base_prob == pytest.approx(0.5)
    assert row.mixed_prob == pytest.approx(0.25)
    assert row.pulls["wit"].nats == pytest.approx(math.log(0.25))
    assert row.pulls["wit"].share == pytest.approx(0.5 * math.log(0.25))
    assert row.pulls["calm"].nats == pytest.approx(math.log(2))
    assert row.pulls["calm"].share == 0
    assert [top.name for top in row.alternatives] == ["␣sky", "token 3"]


def test_a_token_a_model_gives_no_probability_makes_no_nan() -> None:
    step = StepTrace(1, -math.inf, -math.inf, {"wit": -math.inf, "calm": -1.0}, 0.0, 0.0)
    (row,) = token_rows(an_answer(step), spell)
    assert (row.base_prob, row.pulls["wit"].nats, row.pulls["wit"].share) == (0, 0, 0)
    assert row.pulls["calm"].nats == math.inf
    assert row.pulls["calm"].share == 0


@pytest.mark.parametrize(("token_id", "name"), [(0, "The"), (1, "␣sky"), (2, "⏎⏎"), (3, "token 3"), (4, "␣"), (5, "⇥")])
def test_a_token_always_has_a_name_that_can_be_seen(token_id: int, name: str) -> None:
    assert token_name(VOCABULARY[token_id], token_id) == name


@pytest.mark.parametrize(
    ("left", "right", "position"),
    [
        ((), (), None),
        ((1, 2), (1, 2), None),
        ((1, 2), (1, 3), 1),
        ((1, 2), (1, 2, 3), 2),
        ((1, 2, 3), (1,), 1),
        ((9,), (1,), 0),
        ((), (1,), 0),
    ],
)
def test_the_first_difference_is_where_the_shorter_ends_at_the_latest(
    left: tuple[int, ...], right: tuple[int, ...], position: int | None
) -> None:
    assert first_difference(left, right) == position
