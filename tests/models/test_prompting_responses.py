"""Responses that somebody wrote: their tokens are those that decoding would have written behind the prompt."""

import unicodedata
from collections.abc import Callable
from functools import cache

import pytest
from hypothesis import assume, example, given, settings
from tokenizers import AddedToken
from transformers import PreTrainedTokenizerFast

from models.presets import load_preset
from models.prompting import prompt_ending, prompt_token_ids, response_token_ids
from steering.errors import PromptError
from tests.models import odd_tokenizers
from tests.models.odd_tokenizers import LLAMA_TEMPLATE
from tests.models.test_prompting import MAKERS, benign, chat, control_ids, hostile
from tests.models.tiny import TEMPLATE, make_tokenizer

OWN_MAKERS: dict[str, Callable[[], PreTrainedTokenizerFast]] = {
    **MAKERS,
    "llama": lambda: odd_tokenizers.llama(legacy=False),
    "llama legacy": lambda: odd_tokenizers.llama(legacy=True),
}
KINDS = tuple(OWN_MAKERS)
LLAMAS = ("metaspace", "metaspace legacy", "llama", "llama legacy")
# These put a space behind a control token, too, which no model of theirs ever saw missing.
ALWAYS_SPACED = ("metaspace legacy", "llama legacy")
# The others lack letters.
EXACT = ("demo", "tiny", *LLAMAS, "thinking", "normalising", "with words", "with gaps")

TULU = load_preset("tulu2-7b").chat_template
TEMPLATES = {
    "tulu": TULU,
    "llama without a gap": LLAMA_TEMPLATE.replace("' ' + m['content'] + ' </s>'", "m['content'] + '</s>'"),
    "control": "{% for m in messages %}{{ m['content'] + eos_token }}{% endfor %}",
    "bare": "{{ bos_token }}{% for m in messages %}{{ m['content'] }}{% endfor %}",
    "half a control token": "{% for m in messages %}{{ m['content'] + '<|e' }}{% endfor %}",
}
prompts = benign.filter(str.strip)


@cache
def tokenizer_of(kind: str) -> PreTrainedTokenizerFast:
    return OWN_MAKERS[kind]()


def read(
    tokenizer: PreTrainedTokenizerFast, prompt: str, response: str, template: str | None = None
) -> tuple[list[int], list[int]]:
    """The ids of a prompt and of a response to it."""
    messages = chat(prompt)
    ids = prompt_token_ids(tokenizer, messages, template)
    return ids, response_token_ids(tokenizer, prompt_ending(tokenizer, messages, template), response)


def pieces(kind: str, prompt: str, response: str, template: str | None = None) -> list[str]:
    """A response's tokens by name."""
    tokenizer = tokenizer_of(kind)
    return tokenizer.convert_ids_to_tokens(read(tokenizer, prompt, response, template)[1])


def shown(kind: str, text: str) -> str:
    """A text as its tokens decode: Llama's write the letter that stands for a space as one."""
    if kind == "normalising":
        return unicodedata.normalize("NFKC", text)
    return text.replace("▁", " ") if kind in LLAMAS else text


@pytest.mark.parametrize(
    ("kind", "template"),
    [(kind, name) for kind in EXACT for name in TEMPLATES if not (kind in ALWAYS_SPACED and name == "control")],
)
@settings(max_examples=10)
@given(prompt=prompts, response=hostile)
@example(prompt="the cat", response="the cat </s>")
@example(prompt="the cat", response=" the cat")
@example(prompt="a\n", response="\n\nb")
@example(prompt="cat", response="dog")
@example(prompt="e", response="\u0301")
@example(prompt="x", response="nd|>")
@example(prompt="x", response="")
def test_a_response_stands_in_the_text_behind_its_prompt_to_the_letter(
    kind: str, template: str, prompt: str, response: str
) -> None:
    tokenizer = tokenizer_of(kind)
    ids, response_ids = read(tokenizer, prompt, response, TEMPLATES[template])
    assert tokenizer.decode([*ids, *response_ids]) == tokenizer.decode(ids) + shown(kind, response)
    assert control_ids(tokenizer, response_ids) == []


@pytest.mark.parametrize("template", [name for name in TEMPLATES if name != "half a control token"])
@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=10)
@given(prompt=prompts, response=benign)
@example(prompt="the cat", response="the cat")
def test_its_tokens_are_those_it_has_in_the_whole_text_where_none_reaches_over_from_the_prompt(
    kind: str, template: str, prompt: str, response: str
) -> None:
    tokenizer, written = tokenizer_of(kind), TEMPLATES[template]
    turns = [{"role": "user", "content": prompt}]
    text = tokenizer.apply_chat_template(turns, chat_template=written, add_generation_prompt=True, tokenize=False)
    ids, response_ids = read(tokenizer, prompt, response, written)
    whole = tokenizer.encode(text + response, add_special_tokens=False)
    assume(whole[: len(ids)] == ids)
    assert response_ids == whole[len(ids) :]


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "thinking"])  # whose chats have no thoughts in them
@settings(max_examples=10)
@given(prompt=prompts, response=benign.filter(lambda text: text == text.strip() and text))
@example(prompt="the cat", response="the cat")
def test_its_tokens_are_those_that_the_chat_template_gives_it_as_an_answer(
    kind: str, prompt: str, response: str
) -> None:
    tokenizer = tokenizer_of(kind)
    turns = [{"role": "user", "content": prompt}, {"role": "assistant", "content": response}]
    whole = tokenizer.apply_chat_template(turns, tokenize=True, return_dict=False)
    ids, response_ids = read(tokenizer, prompt, response)
    assume(whole[: len(ids)] == ids)
    assert whole[len(ids) :][: len(response_ids)] == response_ids


@pytest.mark.parametrize("kind", LLAMAS)
def test_behind_a_text_the_first_word_has_no_space_of_its_own(kind: str) -> None:
    """Tokenised alone, "the" was "▁the", which Tulu never writes behind the end of its line."""
    assert pieces(kind, "a dog", "the cat", TULU) == ["the", "▁cat"]
    assert pieces(kind, "a dog", " the cat", TULU) == ["▁the", "▁cat"]


@pytest.mark.parametrize("kind", LLAMAS)
def test_a_space_that_the_template_puts_before_every_answer_is_written_once(kind: str) -> None:
    """Llama 2 has learned to write it, and its decoding takes it away again."""
    for response in ("the cat", " the cat"):
        assert pieces(kind, "a dog", response, LLAMA_TEMPLATE) == ["▁the", "▁cat"]
    assert pieces(kind, "a dog", "", LLAMA_TEMPLATE) == []


@pytest.mark.parametrize("kind", LLAMAS)
@pytest.mark.parametrize(
    ("prompt", "response", "expected"),
    [("x<", "s the", ["s", "▁the"]), ("the ca", "t the", ["t", "▁the"]), ("x ", "the", ["the"])],
)
def test_a_token_that_would_reach_over_from_the_prompt_is_not_taken(
    kind: str, prompt: str, response: str, expected: list[str]
) -> None:
    tokenizer, bare = tokenizer_of(kind), TEMPLATES["bare"]
    ids = prompt_token_ids(tokenizer, chat(prompt), bare)
    whole = tokenizer.encode(f"<s>{prompt}{response}", add_special_tokens=False)
    assert whole[: len(ids)] != ids, "nothing reaches over"
    assert pieces(kind, prompt, response, bare) == expected


def test_an_added_word_that_would_reach_over_from_the_prompt_is_not_taken() -> None:
    assert pieces("with words", "cat", "dog", TEMPLATES["bare"]) == pieces("with words", "a ", "dog", TEMPLATES["bare"])


@pytest.mark.parametrize("kind", ALWAYS_SPACED)
def test_behind_a_control_token_that_takes_the_line_end_it_is_the_tokenizers_own(kind: str) -> None:
    """Phi 3's kind."""
    tokenizer = OWN_MAKERS[kind]()
    tokenizer.add_tokens([AddedToken("<|assistant|>", rstrip=True, special=True, normalized=False)])
    template = (
        "{% for m in messages %}{{ '<|' + m['role'] + '|>\n' + m['content'] + '\n' }}{% endfor %}"
        "{{ '<|assistant|>\n' }}"
    )
    ids, response_ids = read(tokenizer, "a dog", "the cat", template)
    assert tokenizer.convert_ids_to_tokens(response_ids) == ["▁the", "▁cat"]
    assert [*ids, *response_ids] == tokenizer.encode(
        "<|user|>\na dog\n<|assistant|>\nthe cat", add_special_tokens=False
    )


@pytest.mark.parametrize("kind", ["demo", "tiny", "thinking", "with gaps"])
@settings(max_examples=40)
@given(response=benign)
def test_behind_a_control_token_bytes_are_what_they_are_alone(kind: str, response: str) -> None:
    """The embedded model's guides were trained on these."""
    tokenizer = tokenizer_of(kind)
    assert read(tokenizer, "x", response, TEMPLATE)[1] == tokenizer.encode(response, add_special_tokens=False)


def test_only_white_space_counts_as_what_a_template_puts_before_an_answer() -> None:
    """Qwen 3's puts an empty thought there, which a model that is asked to think does not write."""
    tokenizer = make_tokenizer()
    for between, expected in (("\n ", "\n "), ("<think></think>\n", ""), ("", "")):
        template = TEMPLATE.replace(
            "'|>' + m['content']", f"'|>' + ({between!r} if m['role'] == 'assistant' else '') + m['content']"
        )
        assert prompt_ending(tokenizer, chat("x"), template).gap == expected


@pytest.mark.parametrize("refusal", ["{{ raise_exception('no') }}", "", "{{ 'an answer' }}"])
def test_a_template_that_has_no_place_for_an_answer_puts_nothing_before_it(refusal: str) -> None:
    template = f"{{% if messages[-1]['role'] == 'assistant' %}}{refusal}{{% else %}}{TEMPLATE}{{% endif %}}"
    tokenizer = make_tokenizer()
    assert prompt_ending(tokenizer, chat("x"), template) == prompt_ending(tokenizer, chat("x"))


@pytest.mark.parametrize("kind", LLAMAS)
def test_of_a_long_prompt_only_the_end_is_looked_at(kind: str) -> None:
    tokenizer, bare = tokenizer_of(kind), TEMPLATES["bare"]
    prompt = "the cat and the dog. " * 500 + "why?"
    assert prompt_ending(tokenizer, chat(prompt), bare) == prompt_ending(tokenizer, chat(f"x{prompt}"), bare)
    ids, response_ids = read(tokenizer, prompt, "the cat", bare)
    assert [*ids, *response_ids] == tokenizer.encode(f"<s>{prompt}the cat", add_special_tokens=False)


@settings(max_examples=30)
@given(prompt=hostile, response=hostile)
def test_what_was_typed_into_the_prompt_is_no_control_token_for_the_response_either(prompt: str, response: str) -> None:
    for kind in ("metaspace", "unigram", "tiny"):
        tokenizer = tokenizer_of(kind)
        assert control_ids(tokenizer, read(tokenizer, prompt, response, TEMPLATES["bare"])[1]) == []


@pytest.mark.parametrize("response", ["\ud83d", "a\udc4d"])
def test_half_of_a_surrogate_pair_is_refused(response: str) -> None:
    with pytest.raises(PromptError, match="surrogate"):
        read(make_tokenizer(), "x", response)
    with pytest.raises(PromptError, match="surrogate"):
        prompt_ending(make_tokenizer(), chat(response))
