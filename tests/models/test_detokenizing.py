"""Streaming text: whole characters only, and in the end exactly what the tokenizer makes of all tokens."""

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from models.detokenizing import Detokenizer, spell
from tests.models import odd_tokenizers
from tests.models.tiny import make_tokenizer

DEMO = Path(__file__).parent.parent.parent / "models" / "demo" / "base"
MAKERS: dict[str, Callable[[], PreTrainedTokenizerFast]] = {
    "demo": lambda: AutoTokenizer.from_pretrained(DEMO),
    "tiny": make_tokenizer,
    "metaspace": odd_tokenizers.metaspace,
    "metaspace legacy": lambda: odd_tokenizers.metaspace(legacy=True),
    "unigram": odd_tokenizers.unigram,
}
KINDS = tuple(MAKERS)
WHOLE = [
    " ",
    "  ",
    "\n",
    "e\u0301",
    "日本語",
    "👩\u200d👩\u200d👧",
    "🇩🇪",
    "नमस्ते",
    "the cat",
    "É",
    "𝔘",
    "\u200f",
    "\x00",
]
texts = st.lists(st.sampled_from(WHOLE) | st.text(st.characters(exclude_categories=["Cs"]), max_size=5), max_size=10)
whole_texts = texts.map("".join).filter(lambda text: "\ufffd" not in text)


@cache
def tokenizer_of(kind: str) -> PreTrainedTokenizerFast:
    return MAKERS[kind]()


def decoded(tokenizer: PreTrainedTokenizerFast, ids: Sequence[int]) -> str:
    return tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=80)
@given(text=whole_texts)
@example(text="  the  cat ")
@example(text="👩\u200d👩\u200d👧 日本語 e\u0301")
def test_the_pieces_of_any_text_join_to_what_the_tokenizer_decodes(kind: str, text: str) -> None:
    tokenizer = tokenizer_of(kind)
    ids = tokenizer.encode(text, add_special_tokens=False)
    pieces = spell(tokenizer, ids)
    assert len(pieces) == len(ids)
    assert "".join(pieces) == decoded(tokenizer, ids)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=60)
@given(text=whole_texts, data=st.data())
def test_an_answer_cut_anywhere_shows_only_whole_characters_of_the_text(
    kind: str, text: str, data: st.DataObject
) -> None:
    tokenizer = tokenizer_of(kind)
    ids = tokenizer.encode(text, add_special_tokens=False)
    cut = data.draw(st.integers(0, len(ids)))
    shown = "".join(spell(tokenizer, ids[:cut]))
    assert "\ufffd" not in shown
    assert decoded(tokenizer, ids).startswith(shown)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=80)
@given(data=st.data())
def test_any_ids_in_any_order_give_text_that_only_grows(kind: str, data: st.DataObject) -> None:
    tokenizer = tokenizer_of(kind)
    ids = data.draw(st.lists(st.integers(0, len(tokenizer) - 1), max_size=12))
    detokenizer = Detokenizer(tokenizer)
    so_far = ""
    for token, piece in zip(ids, spell(tokenizer, ids), strict=True):
        assert detokenizer.add(token) == piece
        so_far += piece
        assert detokenizer.text == so_far


def test_bytes_that_spoil_a_shown_character_do_not_end_the_answer() -> None:
    # tokenizers' DecodeStream raised "Invalid prefix encountered" here: a run of byte tokens is text or none of it is
    tokenizer = tokenizer_of("metaspace")
    ids = tokenizer.convert_tokens_to_ids(["<0xC3>", "<0xA9>", "<0xA5>", "G", "▁the"])
    assert spell(tokenizer, ids) == ("", "é", "", "\ufffdG", " the")


@pytest.mark.parametrize("kind", ["demo", "tiny", "metaspace"])
def test_a_character_of_several_tokens_appears_with_its_last(kind: str) -> None:
    tokenizer = tokenizer_of(kind)
    ids = tokenizer.encode("🜁", add_special_tokens=False)
    pieces = [piece.strip() for piece in spell(tokenizer, ids)]
    assert len(ids) >= 4
    assert pieces == [""] * (len(ids) - 1) + ["🜁"]


@pytest.mark.parametrize("kind", KINDS)
def test_control_tokens_add_nothing_and_take_no_space_away(kind: str) -> None:
    tokenizer = tokenizer_of(kind)
    the, cat = (tokenizer.encode(text, add_special_tokens=False) for text in ("the", "the cat"))
    ids = [*the, tokenizer.eos_token_id, *cat[len(the) :], tokenizer.eos_token_id]
    pieces = spell(tokenizer, ids)
    assert "".join(pieces) == decoded(tokenizer, cat)
    assert pieces[-1] == ""


def test_a_typed_replacement_character_is_shown_once_something_follows() -> None:
    tokenizer = tokenizer_of("tiny")
    ids = tokenizer.encode("a\ufffdb", add_special_tokens=False)
    assert "".join(spell(tokenizer, ids)) == "a\ufffdb"


def test_no_tokens_give_no_text() -> None:
    assert spell(tokenizer_of("tiny"), ()) == ()
    assert Detokenizer(tokenizer_of("tiny")).text == ""
