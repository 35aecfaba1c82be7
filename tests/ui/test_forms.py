"""What the page sends is checked on the server, whatever the browser let through."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from models.answers import GuideInfo
from steering.errors import InputError
from steering.types import MAX_SEED, Message, Role
from tests.ui.fakes import GUIDES
from tests.ui.test_actions import FORM
from ui import wording
from ui.forms import MAX_DRAWN_SEED, MAX_MESSAGES, blend_presets, draw_seed, preset_named, starting_weights, to_request
from ui.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path, max_prompt_chars=100, max_new_tokens_limit=60)


def test_a_form_becomes_the_comparison_of_unguided_and_guided(settings: Settings) -> None:
    request = to_request(replace(FORM, seed=f" {MAX_SEED} ", max_new_tokens=60.0), (), settings)
    unguided, guided = request.blends
    assert unguided.is_unguided
    assert guided.weights == {"helpfulness": 2.0}
    assert request.sampling.seed == MAX_SEED
    assert request.sampling.max_new_tokens == 60
    assert request.n_top > 0


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"prompt": ""}, "empty"),
        ({"prompt": " \n"}, "empty"),
        ({"prompt": None}, "empty"),
        ({"prompt": "x" * 101}, "101 characters"),
        ({"prompt": "half \ud800"}, "half a character"),
        ({"max_new_tokens": 61}, "61; at most 60"),
        ({"max_new_tokens": 0}, "max_new_tokens is 0"),
        ({"max_new_tokens": None}, "Max tokens is empty"),
        ({"max_new_tokens": 1.5}, "whole number"),
        ({"temperature": None}, "Temperature is empty"),
        ({"temperature": math.nan}, "Temperature is empty or not a number"),
        ({"temperature": "hot"}, "Temperature is empty or not a number"),
        ({"temperature": -0.1}, "temperature is -0.1"),
        ({"top_p": 0}, "top_p is 0"),
        ({"top_k": -1}, "top_k is -1"),
        ({"min_p": 2}, "min_p is 2"),
        ({"seed": ""}, "seed is “”"),
        ({"seed": None}, "seed is “”"),
        ({"seed": "-1"}, "seed is “-1”"),
        ({"seed": "1.5"}, "seed is “1.5”"),
        ({"seed": "٣"}, "seed is"),
        ({"seed": str(MAX_SEED + 1)}, "from 0 to"),
        ({"seed": "9" * 100_000}, "from 0 to"),
        ({"weights": {"helpfulness": None}}, "Helpfulness is empty"),
        ({"weights": {"helpfulness": math.inf}}, "Helpfulness is empty or not a number"),
        ({"weights": {"helpfulness": 1e9}}, "finite number from"),
    ],
)
def test_a_bad_input_is_named_in_the_message(settings: Settings, changes: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError) as caught:
        to_request(replace(FORM, **changes), (), settings)
    assert told in str(caught.value)
    assert caught.value.hint
    assert len(str(caught.value)) < 400


def test_the_conversation_counts_towards_the_length(settings: Settings) -> None:
    before = (Message(Role.USER, "x" * 50), Message(Role.ASSISTANT, "y" * 50))
    with pytest.raises(InputError, match="new conversation"):
        to_request(replace(FORM, n_before=2), before, settings)


def test_a_conversation_cannot_have_too_many_messages(settings: Settings) -> None:
    with pytest.raises(InputError, match=str(MAX_MESSAGES - 1)):
        to_request(replace(FORM, n_before=MAX_MESSAGES), (Message(Role.USER, ""),) * MAX_MESSAGES, settings)


@pytest.mark.parametrize(
    ("n_guides", "names"),
    [
        (0, [wording.UNGUIDED]),
        (1, [wording.UNGUIDED, "Helpful"]),
        (2, [wording.UNGUIDED, "Helpful", "Harmless", wording.BALANCED]),
        (3, [wording.UNGUIDED, "Helpful", "Harmless", "Plain speech", wording.BALANCED]),
    ],
)
def test_the_blends_to_start_from_come_from_the_guides(n_guides: int, names: list[str]) -> None:
    guides = (*GUIDES, replace(GUIDES[0], dimension="plain_speech"))[:n_guides]
    presets = blend_presets(guides)
    assert list(presets) == names
    assert all(set(weights) == {guide.dimension for guide in guides} for weights in presets.values())
    for name in list(presets)[1:]:
        assert preset_named(guides, presets[name]) == name
        assert any(presets[name].values())


def test_weights_that_are_no_preset_have_no_name() -> None:
    assert preset_named(GUIDES, {"helpfulness": 0.3, "harmlessness": 0.0}) is None


def test_the_page_opens_with_a_blend_that_does_something() -> None:
    guides: tuple[GuideInfo, ...] = GUIDES
    assert all(starting_weights(guides).values())
    assert starting_weights(()) == {}


def test_a_drawn_seed_is_accepted_and_short(settings: Settings) -> None:
    seeds = {draw_seed() for _ in range(20)}
    assert len(seeds) > 15
    for seed in seeds:
        assert 0 <= to_request(replace(FORM, seed=seed), (), settings).sampling.seed <= MAX_DRAWN_SEED
