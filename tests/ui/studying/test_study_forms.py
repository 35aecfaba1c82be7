"""The form of a new study becomes the document a person would write in TOML, and is checked as that is."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steering.errors import InputError, PromptError, SettingsError
from steering.types import Message, Role
from storage.records_pairs import NamedBlend
from storage.records_publishing import Publishing
from storage.records_studies import Ordering, Question
from tests.ui.studying.typed import DIMENSIONS, a_file, typed
from ui.prompt_files import built_in_prompts
from ui.settings import Settings
from ui.study_files import StudyPlan
from ui.studying.forms import MAX_FILE_BYTES, plan_of, prompts_read

SETTINGS = Settings(home=Path("nowhere"), max_new_tokens_limit=100, max_prompt_chars=1000)


def planned(values: Mapping[str, object]) -> StudyPlan:
    return plan_of(values, DIMENSIONS, SETTINGS)


def said(plan: StudyPlan) -> list[str]:
    return [prompt[-1].content for prompt in plan.settings.prompts]


def test_what_the_page_shows_at_first_is_a_study_once_name_and_prompts_are_typed() -> None:
    plan = planned(typed())
    assert (plan.name, said(plan), plan.gold) == ("Pilot", ["One?", "Two?", "Three?"], ())
    settings = plan.settings
    assert settings.questions == (
        Question("overall", "Which answer is better?"),
        Question("helpfulness", "Which answer is more helpful?"),
        Question("harmlessness", "Which answer is safer?"),
    )
    balanced = NamedBlend("balanced", {"helpfulness": 1.0, "harmlessness": 1.0})
    assert settings.blends == (NamedBlend("unguided"), balanced)
    assert (settings.overlap, settings.seed, settings.sampling.max_new_tokens) == (1, 0, 20)
    assert settings.sampling.plausibility is None


def test_everything_that_is_typed_is_in_the_study() -> None:
    values = typed(
        question_2_dimension="",
        question_2_text="",
        question_6_dimension="wit",
        question_6_text="Which is wittier?",
        blend_8_name="helpful",
        blend_8_helpfulness=2.5,
        blend_8_harmlessness=None,
        overlap=3.0,
        repeat_share=7,
        gold_share=10,
        gold_2_prompt="1 + 1?",
        gold_2_right="Two.",
        gold_2_wrong="Fish.",
        seed=12,
        order="uncertain",
        consent="Agree.",
        temperature=1,
        plausibility=" 0.2 ",
    )
    plan, settings = planned(values), planned(values).settings
    assert settings.dimensions == ("overall", "harmlessness", "wit")
    assert settings.blends[2] == NamedBlend("helpful", {"helpfulness": 2.5})
    assert (settings.overlap, settings.repeat_share, settings.gold_share) == (3, 0.07, 0.1)
    assert (settings.seed, settings.ordering, settings.reveals) == (12, Ordering.UNCERTAIN, False)
    assert (settings.consent, settings.sampling.temperature, settings.sampling.plausibility) == ("Agree.", 1, 0.2)
    (gold,) = plan.gold
    assert (gold.right, gold.wrong, gold.dimensions) == ("Two.", "Fish.", settings.dimensions)


def test_what_is_told_after_each_judgement_is_refused_where_it_would_tell_of_later_items() -> None:
    assert planned(typed(reveal=True)).settings.reveals
    with pytest.raises(SettingsError, match=r"and repeat_share is 0\.07"):
        planned(typed(reveal=True, repeat_share=7))


def test_nothing_is_published_by_itself_unless_the_box_is_ticked_and_then_by_the_margin_beside_it() -> None:
    assert planned(typed()).settings.publish == Publishing()
    assert planned(typed(publish=True)).settings.publish == Publishing(enabled=True, margin=0.1)
    assert planned(typed(publish=True, margin=0)).settings.publish == Publishing(enabled=True, margin=0)
    assert planned(typed(publish="yes", margin=-1)).settings.publish == Publishing()  # the margin is not to be seen


def test_blends_may_be_drawn_from_the_ranges_that_are_given() -> None:
    values = typed(compared="drawn", low_harmlessness=None, high_harmlessness=None, pairs_per_prompt=2)
    settings = planned(values).settings
    assert (settings.blends, settings.ranges) == ((), {"helpfulness": (0.0, 3.0)})
    assert said(planned(values)) == ["One?", "One?", "Two?", "Two?", "Three?", "Three?"]


def test_prompts_may_be_a_built_in_set() -> None:
    assert planned(typed(source="built-in", built_in="mixed")).settings.prompts == built_in_prompts("mixed")


def test_refused_lines_of_a_file_are_left_out_and_told_beside_those_that_are_understood() -> None:
    chat = '[{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]'
    values = typed(source="file", file=a_file("p.jsonl", f'"One?"\n7\n{{"messages": {chat}}}\n'))
    assert planned(values).settings.prompts[1] == (Message(Role.SYSTEM, "Be brief."), Message(Role.USER, "Hi"))
    read = prompts_read(values)
    assert [(one.line, one.prompt is None) for one in read] == [(1, False), (2, True), (3, False)]
    assert "line 2 of p.jsonl" in str(read[1].refusal)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"pasted": " \n"}, "no prompts"),
        ({"source": "file"}, "No file of prompts"),
        ({"source": "file", "file": "{"}, "No file of prompts"),
        ({"source": "file", "file": '{"name": "p.txt", "size": 3, "content": "%"}'}, "No file of prompts"),
        ({"source": "file", "file": a_file("p.txt", "")}, "no prompts"),
        ({"source": "file", "file": a_file("p.pdf", "x")}, "known kind"),
        ({"source": "file", "file": a_file("p.jsonl", "7")}, "line 1 of p.jsonl"),
        ({"source": "file", "file": a_file("p.txt", b"x" * (MAX_FILE_BYTES + 1))}, str(MAX_FILE_BYTES + 1)),
        ({"source": "file", "file": json.dumps({"name": "p.txt", "size": 10**9, "content": ""})}, str(10**9)),
        ({"source": "built-in", "built_in": "../../x"}, "no built-in set"),
    ],
)
def test_prompts_that_cannot_be_used_are_told(changes: dict[str, object], words: str) -> None:
    with pytest.raises(PromptError, match=words):
        planned(typed(**changes))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": " "}, "name: "),
        ({"overlap": None}, "overlap is ''; it must be a whole number"),
        ({"overlap": 1.5}, "overlap is 1.5; it must be a whole number"),
        ({"seed": None}, "seed is ''"),
        ({"question_1_text": ""}, r"questions\[1\]"),
        ({"question_2_dimension": "overall"}, "same dimension"),
        ({"blend_1_name": ""}, "1 blends and 0 ranges"),
        ({"blend_3_name": "unguided"}, "same name"),
        ({"blend_2_helpfulness": 1e9}, r"blends\[2\]: The weight of 'helpfulness'"),
        ({"compared": "drawn", "low_helpfulness": 4}, "The range of 'helpfulness' goes from 4"),
        ({"compared": "drawn", "low_helpfulness": None}, "ranges.helpfulness"),
        ({"compared": "drawn", "pairs_per_prompt": 0}, "pairs_per_prompt is 0"),
        ({"temperature": None}, "sampling.temperature is ''"),
        ({"plausibility": "much"}, "sampling.plausibility is 'much'; it must be a number"),
        ({"plausibility": "2"}, "sampling: plausibility is 2"),
        ({"max_new_tokens": 101}, "max_new_tokens is 101; at most 100"),
        ({"gold_share": 10}, "0 gold items, and gold_share is 0.1"),
        ({"gold_1_prompt": "P", "gold_1_right": "R"}, r"gold\[1\]"),
        ({"repeat_share": 150}, "repeat share is 1.5"),
        ({"order": "random"}, "order is 'random'"),
        ({"publish": True, "margin": -0.1}, r"publish: The margin for publishing is -0\.1"),
        ({"publish": True, "margin": None}, r"publish\.margin is ''; it must be a number"),
        ({"pasted": "x" * 1001}, r"prompts\[1\] has 1001 characters; at most 1000"),
    ],
)
def test_an_error_names_the_field(changes: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        planned(typed(**changes))


anything = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.lists(st.text(), max_size=2)
)


@given(name=st.sampled_from(sorted(typed())), value=anything)
def test_whatever_a_browser_sends_in_a_field_is_used_or_refused_as_bad_input(name: str, value: object) -> None:
    try:
        plan = planned(typed() | {name: value})
    except InputError:
        return
    assert plan.settings.prompts
