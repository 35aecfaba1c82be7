"""What a page sends is read with suspicion."""

import json
from typing import Any

import pytest

from steering.errors import InputError
from steering.types import Choice
from storage.records import Strength
from ui.judge import payload

HANDLE, KEY, JUDGE, ITEM = "1" * 64, "2" * 32, "3" * 32, "4" * 32


def sent(*answers: Any, **changes: Any) -> str:
    return json.dumps({"item": HANDLE, "key": KEY, "answers": list(answers)} | changes)


def test_answers_go_to_the_questions_in_their_order_each_under_a_key_of_its_own() -> None:
    text = sent({"choice": "left", "strength": "clearly", "reason": " Kinder. "}, {"choice": "skip"})
    first, second = payload.read(text).to_answers(ITEM, JUDGE, ("overall", "kindness"))
    assert (first.dimension, first.choice, first.strength, first.reason) == (
        "overall",
        Choice.LEFT,
        Strength.CLEARLY,
        "Kinder.",
    )
    assert (second.dimension, second.choice, second.strength, second.reason) == ("kindness", Choice.SKIP, None, "")
    assert (first.item_id, first.annotator_id) == (second.item_id, second.annotator_id) == (ITEM, JUDGE)
    assert first.client_key != second.client_key


def test_a_strength_chosen_before_the_mind_changed_to_a_tie_is_dropped() -> None:
    assert payload.read(sent({"choice": "tie", "strength": "clearly"})).answers == ((Choice.TIE, None, ""),)


@pytest.mark.parametrize(
    "text",
    [
        None,
        7,
        "",
        "{}",
        "[]",
        "null",
        "[" * 100_000,
        "x" * 300_000,
        sent({"choice": "guided"}),
        sent({}),
        sent("left"),
        sent(None),
        sent({"choice": "left", "strength": "very"}),
        sent({"choice": "left", "reason": 7}),
        sent({"choice": "left"}, item="../../etc/passwd"),
        sent({"choice": "left"}, item=None),
        sent({"choice": "left"}, item=ITEM),
        sent({"choice": "left"}, key="short"),
        sent({"choice": "left"}, key=[1]),
        sent({"choice": "left"}, answers=7),
        sent({"choice": ["left"]}),
    ],
)
def test_what_no_page_of_ours_sends_is_refused(text: object) -> None:
    with pytest.raises(InputError, match="cannot be read as answers"):
        payload.read(text)


def test_an_answer_too_many_or_too_few_is_refused() -> None:
    for dimensions in ((), ("a", "b")):
        with pytest.raises(InputError, match="1 answers"):
            payload.read(sent({"choice": "left"})).to_answers(ITEM, JUDGE, dimensions)


def test_a_reason_that_no_database_holds_is_refused() -> None:
    for reason in ("\ud800", "a\0b", "x" * 2001):
        with pytest.raises(InputError, match="reason"):
            payload.read(sent({"choice": "left", "reason": reason})).to_answers(ITEM, JUDGE, ("overall",))
