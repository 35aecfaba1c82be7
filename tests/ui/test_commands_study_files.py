"""A study written down in TOML, and prompts in files: what is read, and which line or field an error names."""

import re
import tomllib
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steering.errors import InputError, PromptError, SettingsError
from steering.types import Message, Role
from storage.records_pairs import NamedBlend, Outcome
from storage.records_publishing import Publishing
from storage.records_studies import Ordering, Question
from ui.prompt_files import read_prompts
from ui.study_files import read_study, study_plan

ROOT = Path(__file__).parent.parent.parent
LEAST = """
name = "pilot"
prompts = ["One?", "Two?"]
questions = [{ dimension = "overall", text = "Which is better?" }]
blends = [{ weights = {} }, { name = "helpful", weights = { helpfulness = 2 } }]
"""


def example() -> str:
    """The study of docs/studies.md."""
    (found,) = re.findall(r"^```toml\n(.*?)^```$", (ROOT / "docs/studies.md").read_text("utf-8"), re.S | re.M)
    return found


def written(folder: Path, name: str, text: str | bytes) -> Path:
    file = folder / name
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return file


def user(*texts: str) -> tuple[tuple[Message, ...], ...]:
    return tuple((Message(Role.USER, text),) for text in texts)


def test_the_example_of_the_documentation_says_what_its_comments_say(tmp_path: Path) -> None:
    plan = read_study(written(tmp_path, "pilot.toml", example()))
    settings = plan.settings
    assert plan.name == "Pilot: helpful and harmless"
    assert [prompt[0].content for prompt in settings.prompts] == tomllib.loads(example())["prompts"]
    assert settings.dimensions == ("overall", "helpfulness")
    assert settings.blends[2] == NamedBlend("both", {"helpfulness": 2.0, "harmlessness": 1.0})
    assert (settings.overlap, settings.gold_share, settings.repeat_share, settings.seed) == (2, 0.1, 0.1, 7)
    assert (settings.reveals, settings.ordering, settings.sampling.max_new_tokens) == (False, Ordering.FEWEST, 60)
    assert settings.consent.startswith("Your judgements are stored")
    (gold,) = plan.gold
    assert gold.answers == {"overall": Outcome.A, "helpfulness": Outcome.A}


@pytest.mark.parametrize(("share", "says"), [("0.1", "repeat_share is 0.1"), ("0.0", "3 blends")])
def test_whose_an_answer_was_is_not_told_where_the_answer_comes_again(tmp_path: Path, share: str, says: str) -> None:
    text = example().replace("reveal = false", "reveal = true").replace("repeat_share = 0.1", f"repeat_share = {share}")
    with pytest.raises(SettingsError, match=f"reveal is true, and .*{says}"):
        read_study(written(tmp_path, "pilot.toml", text))
    two = re.sub(r'\[\[blends\]\]\nname = "both"\n.*\n', "", text).replace("repeat_share = 0.1", "repeat_share = 0.0")
    assert read_study(written(tmp_path, "pilot.toml", two)).settings.reveals


def test_every_field_of_the_table_in_the_documentation_exists_and_every_field_is_in_the_table() -> None:
    from ui.study_files import _STUDY

    rows = [line.split("|")[1] for line in (ROOT / "docs/studies.md").read_text("utf-8").splitlines() if "|" in line]
    named = {word.strip("[]") for row in rows for word in re.findall(r"`(\[{0,2}[a-z_]+\]{0,2})`", row)}
    assert set(_STUDY) <= named


def test_what_is_left_out_has_its_default(tmp_path: Path) -> None:
    plan = read_study(written(tmp_path, "least.toml", LEAST))
    assert plan.settings.prompts == user("One?", "Two?")
    assert plan.settings.questions == (Question("overall", "Which is better?"),)
    assert [blend.key for blend in plan.settings.blends] == ["unguided", "helpful"]
    assert (plan.settings.overlap, plan.settings.consent, plan.settings.reveals, plan.gold) == (1, "", False, ())
    assert plan.settings.publish == Publishing(enabled=False, margin=0.1)


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ("{ enabled = true }", Publishing(enabled=True)),
        ("{ enabled = true, margin = 0 }", Publishing(enabled=True, margin=0.0)),
        ("{ enabled = false, margin = 0.25 }", Publishing(enabled=False, margin=0.25)),
    ],
)
def test_a_study_says_whether_its_guides_are_published_by_themselves(
    tmp_path: Path, table: str, expected: Publishing
) -> None:
    plan = read_study(written(tmp_path, "publishing.toml", f"publish = {table}\n{LEAST}"))
    assert plan.settings.publish == expected


def test_blends_can_be_drawn_from_ranges_several_times_for_each_prompt(tmp_path: Path) -> None:
    text = LEAST.replace("blends", "pairs_per_prompt = 3\nranges = { helpfulness = [0, 3] } #")
    settings = read_study(written(tmp_path, "ranges.toml", text)).settings
    assert settings.ranges == {"helpfulness": (0.0, 3.0)}
    assert settings.prompts == user("One?", "One?", "One?", "Two?", "Two?", "Two?")


@pytest.mark.parametrize(
    ("changed", "into", "named"),
    [
        ('name = "pilot"', "", "name is missing"),
        ('name = "pilot"', "name = 3", "name is 3; it must be a text"),
        ('name = "pilot"', f'name = "{"x" * 101}"', "name: "),
        ('name = "pilot"', 'name = "pilot', "line 2"),
        ('name = "pilot"', 'name = "pilot"\noverlapp = 2', "Did you mean overlap?"),
        ('name = "pilot"', 'name = "pilot"\noverlap = true', "overlap is True; it must be a whole number"),
        ('name = "pilot"', 'name = "pilot"\noverlap = 0', "overlap is 0"),
        ('name = "pilot"', 'name = "pilot"\norder = "random"', "fewest, uncertain"),
        ('name = "pilot"', 'name = "pilot"\ngold_share = 0.1', "There are 0 gold items"),
        ('name = "pilot"', 'name = "pilot"\npairs_per_prompt = 2', "no ranges"),
        ('name = "pilot"', 'name = "pilot"\nranges = { helpfulness = [0, 1] }', "2 blends and 1 ranges"),
        ('name = "pilot"', 'name = "pilot"\nsampling = { temperature = -1 }', "sampling: temperature"),
        ('name = "pilot"', 'name = "pilot"\nsampling = { seed = 1 }', "There is no field sampling.seed"),
        ('name = "pilot"', 'name = "pilot"\npublish = true', "publish is True; it must be a table"),
        ('name = "pilot"', 'name = "pilot"\npublish = { margin = 0.1 }', "publish.enabled is missing"),
        ('name = "pilot"', 'name = "pilot"\npublish = { enabled = 1 }', "publish.enabled is 1; it must be true or"),
        ('name = "pilot"', 'name = "pilot"\npublish = { enabled = true, margin = nan }', "publish: The margin"),
        ('name = "pilot"', 'name = "pilot"\npublish = { enabled = true, margins = 1 }', "Did you mean publish.margin?"),
        ('"Two?"', "2", "prompts[2] is neither a text nor"),
        ('"Two?"', '" "', "prompts[2] is empty"),
        ('["One?", "Two?"]', '"../prompts.txt"', "without a folder"),
        ('["One?", "Two?"]', '"/etc/prompts.txt"', "without a folder"),
        ('["One?", "Two?"]', '"a\\u0000.txt"', "cannot be read"),
        ('["One?", "Two?"]', '"prompts.txt"', "prompts.txt' cannot be read"),
        (', text = "Which is better?"', "", "questions[1].text is missing"),
        ("helpfulness = 2", 'helpfulness = "2"', "blends[2].weights.helpfulness is '2'; it must be a number"),
        ("helpfulness = 2", "helpfulness = nan", "blends[2]: The weight of 'helpfulness' is nan"),
        ('name = "helpful"', 'name = "unguided"', "Two blends have the same name"),
        ("{ weights = {} }", "3", "blends[1] is 3; it must be a table"),
    ],
)
def test_an_error_names_the_file_and_the_line_or_field(changed: str, into: str, named: str, tmp_path: Path) -> None:
    assert changed in LEAST
    with pytest.raises(InputError) as caught:
        read_study(written(tmp_path, "broken.toml", LEAST.replace(changed, into)))
    assert named in str(caught.value)
    assert "broken.toml" in str(caught.value)


@pytest.mark.parametrize(
    ("gold", "named"),
    [
        ('{ prompt = "P", right = "R", wrong = "R" }', "gold[1]: both answers are the same"),
        ('{ prompt = "P", right = "R", wrong = "W", dimensions = [] }', "gold[1]: dimensions is empty"),
        ('{ prompt = "P", right = "R", wrong = "W", dimensions = ["tone"] }', "gold[1].dimensions names 'tone'"),
        ('{ prompt = "", right = "R", wrong = "W" }', "gold[1].prompt is empty"),
        ('{ prompt = "P", right = "", wrong = "W" }', "gold[1]: The right has 0 characters"),
        ('{ prompt = "P", right = "R" }', "gold[1].wrong is missing"),
    ],
)
def test_a_gold_item_that_checks_nobody_is_refused(gold: str, named: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        read_study(written(tmp_path, "gold.toml", f"gold_share = 0.1\ngold = [{gold}]\n{LEAST}"))
    assert named in str(caught.value)


def test_a_file_that_is_no_toml_or_no_text_is_told_and_not_raised_as_something_else(tmp_path: Path) -> None:
    for content in (b"\xff\xfe", b"name = ", b"a = " + b"[" * 100_000):
        with pytest.raises(SettingsError, match="cannot be read"):
            read_study(written(tmp_path, "broken.toml", content))
    for path in (tmp_path, tmp_path / "missing.toml"):
        with pytest.raises(SettingsError, match="cannot be read"):
            read_study(path)


def test_prompts_come_from_text_tables_and_documents(tmp_path: Path) -> None:
    text = written(tmp_path, "p.txt", "\ufeffOne?\r\n\r\n  Two,\u2028three?  \n")
    assert read_prompts(text) == user("One?", "Two,\u2028three?")
    table = written(tmp_path, "p.csv", '\ufeffid,prompt\r\n1,"One,\r\ntwo?"\r\n2,\r\n3,=SUM(A1)\r\n')
    assert read_prompts(table) == user("One,\r\ntwo?", "=SUM(A1)")
    chat = '[{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi\\u2028"}]'
    lines = written(tmp_path, "p.jsonl", f'"One?"\n\n{{"prompt": "Two?", "id": 7}}\n{{"messages": {chat}}}\n')
    talk = (Message(Role.SYSTEM, "Be brief."), Message(Role.USER, "Hi\u2028"))
    assert read_prompts(lines) == (*user("One?", "Two?"), talk)


@pytest.mark.parametrize(
    ("name", "content", "named"),
    [
        ("p.md", "One?", "no known kind"),
        ("p.txt", " \n\n", "no prompts"),
        ("p.txt", b"One?\n\xff\n", "no text in UTF-8"),
        ("p.csv", "question\nOne?\n", "no column 'prompt'"),
        ("p.csv", "", "no column 'prompt'"),
        ("p.csv", 'prompt\n"One?" or\n', "Line 2 of p.csv is no CSV"),
        ("p.jsonl", '"One?"\n{"prompt": }\n', "Line 2 of p.jsonl is no JSON"),
        ("p.jsonl", '"One?"\n' + "[" * 100_000, "Line 2 of p.jsonl is no JSON"),
        ("p.jsonl", '"One?"\n\n7\n', "line 3 of p.jsonl is neither a text nor"),
        ("p.jsonl", '"One?"\nnull\n', "line 2 of p.jsonl is neither a text nor"),
        ("p.jsonl", '"One?"\n""\n', "line 2 of p.jsonl is empty"),
        ("p.jsonl", '{"prompt": ""}\n', "line 1 of p.jsonl is empty"),
        ("p.jsonl", '{"prompt": "a", "messages": []}\n', "Line 1 of p.jsonl has prompt and messages"),
        ("p.jsonl", '{"text": "a"}\n', "neither prompt nor messages"),
        ("p.jsonl", '{"prompt": [{"role": "user"}]}\n', "line 1 of p.jsonl stands what is no message"),
        ("p.jsonl", '{"prompt": [{"role": ["user"], "content": "a"}]}\n', "what is no message"),
        ("p.jsonl", '{"prompt": [{"role": "assistant", "content": "a"}]}\n', "ends with the assistant's"),
        ("p.jsonl", '"\\ud800"\n', "line 1 of p.jsonl: The prompt has half a character"),
    ],
)
def test_a_prompt_that_cannot_be_used_is_told_by_its_line(
    name: str, content: str | bytes, named: str, tmp_path: Path
) -> None:
    with pytest.raises(PromptError) as caught:
        read_prompts(written(tmp_path, name, content))
    assert named in str(caught.value)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
fields = st.sampled_from([*tomllib.loads(example()), "ranges", "pairs_per_prompt"])


@given(field=fields, value=values)
def test_whatever_stands_in_a_field_is_used_or_refused_as_bad_input(field: str, value: object) -> None:
    document = {**tomllib.loads(example()), field: value}
    with suppress(InputError):
        assert study_plan(document, ROOT).settings.prompts
