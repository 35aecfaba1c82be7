"""Prompts line by line: what is refused does not hide what is understood; and the sets that come with the code."""

from pathlib import Path

import pytest

from steering.errors import PromptError
from steering.types import Message, Role
from ui.prompt_files import BUILT_IN, built_in_prompts, look_over, read_prompts
from ui.study_files import study_plan


def became(name: str, content: str) -> list[tuple[int, str]]:
    """Line and prompt, or the refusal in its place."""
    read = look_over(name, content.encode())
    return [(one.line, one.prompt[-1].content if one.prompt else str(one.refusal)) for one in read]


def test_a_line_that_is_refused_leaves_the_others_understood() -> None:
    lines = became("p.jsonl", '"One?"\n{"prompt": }\n\n{"prompt": "Two?"}\n[]\n{"text": "x"}\n7')
    assert [line for line, _ in lines] == [1, 2, 4, 5, 6, 7]
    said = [text for _, text in lines]
    assert (said[0], said[2]) == ("One?", "Two?")
    assert "Line 2 of p.jsonl is no JSON" in said[1]
    assert "line 5 of p.jsonl is empty" in said[3]
    assert "neither prompt nor messages" in said[4]
    assert "line 7 of p.jsonl is neither a text nor" in said[5]


def test_behind_a_broken_line_of_a_table_nothing_is_guessed() -> None:
    lines = became("p.csv", 'id,prompt\n1,One?\n2,"Two" or\n3,Three?\n')
    assert lines[0] == (2, "One?")
    assert "Line 3 of p.csv is no CSV" in lines[1][1]
    assert len(lines) == 2


def test_any_kind_of_line_end_ends_a_line() -> None:
    assert became("p.txt", "One?\r\nTwo?\rThree?\n") == [(1, "One?"), (2, "Two?"), (3, "Three?")]


def test_a_file_that_is_refused_as_a_whole_is_told() -> None:
    for name, content, words in (
        ("p.pdf", b"x", "known kind"),
        ("p.txt", b"\xff", "UTF-8"),
        ("p.csv", b"a\n1", "column"),
    ):
        with pytest.raises(PromptError, match=words):
            list(look_over(name, content))


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_built_in_set_has_twenty_different_prompts_and_a_study_may_name_it(name: str) -> None:
    prompts = built_in_prompts(name)
    assert len(set(prompts)) == 20
    assert all(len(prompt) == 1 and prompt[0].role is Role.USER for prompt in prompts)
    document = {
        "name": "x",
        "prompts": f"built-in:{name}",
        "questions": [{"dimension": "overall", "text": "Which?"}],
        "blends": [{"weights": {}}, {"weights": {"helpfulness": 2}}],
    }
    assert study_plan(document, Path("nowhere")).settings.prompts == prompts


def test_the_sets_share_no_prompt() -> None:
    assert len({prompt for name in BUILT_IN for prompt in built_in_prompts(name)}) == 20 * len(BUILT_IN)


@pytest.mark.parametrize("name", ["", "unknown", "../prompt_sets/mixed", "mixed.txt"])
def test_a_set_that_is_not_there_is_told_with_those_that_are(name: str) -> None:
    with pytest.raises(PromptError, match="built-in:everyday, built-in:sensitive, built-in:mixed"):
        built_in_prompts(name)


def test_reading_a_file_raises_its_first_refusal(tmp_path: Path) -> None:
    file = tmp_path / "p.jsonl"
    file.write_text('"One?"\n7\n{', encoding="utf-8")
    with pytest.raises(PromptError, match=r"line 2 of p\.jsonl"):
        read_prompts(file)
    file.write_text('"One?"\n', encoding="utf-8")
    assert read_prompts(file) == ((Message(Role.USER, "One?"),),)
