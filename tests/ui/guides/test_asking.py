"""What a browser may ask of a retraining, and what it may not."""

import json
from typing import Any

import pytest

from steering.errors import InputError, TillerError
from ui.guides.asking import Ask, ask_from, ask_of, pace_of

FORM: dict[str, Any] = {
    "question": "overall",
    "dimension": " Wit ",
    "study": "5" * 32,
    "without": ["a" * 32],
    "since": "2026-01-02",
    "until": "",
    "agreement": 60,
    "reliability": 70,
    "annotator_cap": 50,
    "prompt_cap": 6,
    "held_out": 25,
    "further": False,
}


def test_the_form_is_read_as_shares_and_days() -> None:
    ask = ask_of(FORM)
    assert (ask.dimension, ask.min_agreement, ask.min_reliability, ask.held_out_share) == ("wit", 0.6, 0.7, 0.25)
    wanted = ask.wanted()
    assert (wanted.study_ids, wanted.dimensions) == (("5" * 32,), ("overall",))
    assert wanted.since is not None
    assert wanted.since.isoformat() == "2026-01-02T00:00:00+00:00"
    assert ask.rules().max_per_annotator == 50


def test_an_ask_comes_back_from_its_file_equal() -> None:
    ask = ask_of(FORM)
    stored = json.loads(json.dumps(ask.as_json()))
    assert ask_from(stored) == ask
    assert ask_from({**stored, "publish": True}) == ask  # once a box of the form, whose answers are on disk


def test_without_a_name_the_guide_is_called_as_what_was_judged() -> None:
    assert ask_of(FORM | {"question": "helpfulness", "dimension": ""}).dimension == "helpfulness"


@pytest.mark.parametrize(
    "changes",
    [
        {"question": None},
        {"dimension": "overall"},
        {"question": "overall", "dimension": ""},
        {"dimension": "a=b"},
        {"dimension": "a\nb"},
        {"study": 7},
        {"without": [7]},
        {"since": "yesterday"},
        {"since": "2026-02-02", "until": "2026-01-01"},
        {"agreement": 101},
        {"reliability": -1},
        {"reliability": True},
        {"annotator_cap": "many"},
        {"held_out": 0},
        {"held_out": 60},
        {"held_out": float("nan")},
    ],
)
def test_what_the_page_does_not_offer_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        ask_of(FORM | changes)


def test_a_field_that_is_missing_is_refused() -> None:
    with pytest.raises(TillerError, match="cannot be read"):
        ask_of({name: value for name, value in FORM.items() if name != "further"})


@pytest.mark.parametrize("n_train", [1, 10, 43, 200, 1000, 20_000])
def test_few_pairs_are_seen_often_and_many_once(n_train: int) -> None:
    batch, epochs = pace_of(n_train)
    assert 4 <= batch <= 16
    assert 1 <= epochs <= 8
    assert epochs == 1 or epochs * n_train / batch <= 90
    assert Ask("overall", "wit").held_out_share == 0.2
