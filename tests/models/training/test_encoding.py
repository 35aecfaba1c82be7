"""Preferences as token ids of a tokenizer that puts a space before a text: they are those of the whole chat."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from models.loading import Placement, load_tokenizer
from models.presets import load_preset
from models.training.data import DataSettings
from models.training.encoding import Encoder
from models.training.reward_model import load_classifier
from models.training.rows import Preference
from steering.errors import InputError
from steering.types import Message, Role
from tests.models.odd_tokenizers import LLAMA_TEMPLATE, llama, metaspace
from tests.models.tiny import save_model

TULU = load_preset("tulu2-7b").chat_template
BARE = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
END = 2


@pytest.fixture(
    scope="module", params=[lambda: metaspace(legacy=True), lambda: llama(legacy=False)], ids=["old", "new"]
)
def llama_base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny Llama 2 with a tokenizer of its kind."""
    folder = tmp_path_factory.mktemp("llama-2") / "base"
    return save_model(folder, "llama", seed=1, tokenizer=request.param())


def user(text: str) -> tuple[Message, ...]:
    return (Message(Role.USER, text),)


def encoder(folder: Path, template: str, **limits: int) -> Encoder:
    return Encoder(load_tokenizer(folder), END, template, 128, DataSettings(**limits))


@pytest.mark.parametrize("template", [TULU, LLAMA_TEMPLATE])
def test_a_prompt_and_its_response_are_what_the_tokenizer_makes_of_the_whole_chat(
    llama_base: Path, template: str
) -> None:
    pair = Preference("x", user("the dog"), "the cat and a dog", "cat the")
    (example,) = encoder(llama_base, template).examples([pair])
    tokenizer = load_tokenizer(llama_base)
    for text, response in zip((pair.chosen, pair.rejected), example.responses, strict=True):
        turns = [{"role": "user", "content": "the dog"}, {"role": "assistant", "content": text}]
        whole = tokenizer.apply_chat_template(turns, chat_template=template, tokenize=True, return_dict=False)
        *ids, end = [*example.prompt, *response]
        assert whole[: len(ids)] == ids
        assert end == END


def test_the_same_response_behind_another_ending_is_read_anew(llama_base: Path) -> None:
    read = encoder(llama_base, BARE)
    texts = ("a dog", "x<", "a dog")
    pairs = [Preference(str(n), user(text), "the cat", "s") for n, text in enumerate(texts)]
    tokenizer = load_tokenizer(llama_base)
    for pair, example in zip(pairs, read.examples(pairs), strict=True):
        ids = [*example.prompt, *example.responses[0][:-1]]
        assert ids == tokenizer.encode(pair.messages[0].content + "the cat", add_special_tokens=False)
    # nothing stands before the first word of an empty prompt
    (alone,) = read.examples([Preference("x", user(""), "the cat", "s")])
    assert tokenizer.convert_ids_to_tokens(alone.responses[0][:-1]) == ["▁the", "▁cat"]


def test_the_length_of_a_response_is_that_behind_its_prompt(llama_base: Path) -> None:
    """Alone, "t" would be two tokens: a space and itself."""
    pair = Preference("x", user("a"), "t", "x")
    assert encoder(llama_base, TULU, max_response_tokens=2).why_not(pair) == ""
    assert encoder(llama_base, TULU, max_response_tokens=1).why_not(pair) == "long_response"


def test_a_prompt_that_the_template_refuses_is_told_apart_from_one_that_is_no_text(llama_base: Path) -> None:
    read = encoder(llama_base, "{% if messages|length > 1 %}{{ raise_exception('One turn.') }}{% endif %}" + BARE)
    pair = Preference("x", user("a"), "the", "dog")
    long, broken = replace(pair, messages=user("a") * 2), replace(pair, chosen="half \ud83d")
    nothing = InputError("Nothing is left.", hint="Use more data.")
    assert [read.why_not(broken), read.reason(nothing)] == ["no_text", nothing]
    assert read.why_not(long) == "template_refuses"
    assert "One turn." in read.reason(nothing).message
    assert read.why_not(pair) == ""
    assert read.reason(nothing) is nothing, "another prompt was read"


def test_a_reward_model_reads_a_response_behind_its_prompt(llama_base: Path) -> None:
    judge = load_classifier(llama_base, Placement(torch.device("cpu"), torch.float32, ""), TULU, seed=0)
    texts = ["the cat", "cat and dog", "the"]
    rows = [
        judge.tokenizer.encode(f"<s><|user|>\na dog\n<|assistant|>\n{text}", add_special_tokens=False) for text in texts
    ]
    found = judge.score([(user("a dog"), text) for text in texts])
    assert found == judge.score_rows([[*row, judge.eos_token_id] for row in rows])
    assert len(set(found)) == 3
