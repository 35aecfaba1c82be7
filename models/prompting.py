"""Prompts: from chat messages to token ids, with what people typed never becoming a control token."""

import re
from collections.abc import Sequence

import jinja2
from transformers import PreTrainedTokenizerBase

from steering.errors import PromptError
from steering.types import Message


def prompt_token_ids(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], chat_template: str | None = None
) -> list[int]:
    """Return the ids of a chat prompt, ready for the assistant's answer.

    The tokenizer's own rendering is used as it is when it holds just the control tokens of the template. When what
    somebody typed would add one (a typed ``<|im_end|>``), the text between the template's control tokens is tokenised
    piece by piece as plain text instead.

    Args:
        tokenizer: of the base model or of a guide.
        messages: the chat so far, the user's message last.
        chat_template: Jinja, in place of the tokenizer's own.

    Raises:
        PromptError: there is no template, it refuses these messages, or they hold half a surrogate pair.
    """
    if any("\ud800" <= letter <= "\udfff" for message in messages for letter in message.content):
        raise PromptError("The prompt has half of a surrogate pair, which is no text.", hint="Remove it and run again.")
    # the template sees neutral markers in place of what was typed, so nothing typed can change its control tokens
    markers = [_marker(index) for index in range(len(messages))]
    skeleton = _render(
        tokenizer, [Message(m.role, mark) for m, mark in zip(messages, markers, strict=True)], chat_template
    )
    control = _control_tokens(tokenizer)
    expected = [token for token in tokenizer.encode(skeleton, add_special_tokens=False) if token in control]
    plain = tokenizer.encode(_render(tokenizer, messages, chat_template), add_special_tokens=False)
    if [token for token in plain if token in control] == expected:
        return plain
    return _assemble(tokenizer, skeleton, dict(zip(markers, messages, strict=True)), control)


def _marker(index: int) -> str:
    # private-use characters are in no template and, being letters to no regex, survive trimming
    return f"\ue000{index}\ue001"


def _render(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], chat_template: str | None) -> str:
    if not (chat_template or tokenizer.chat_template):
        raise PromptError(
            "The model's tokenizer has no chat template, so a chat cannot be turned into a prompt.",
            hint="Give one as chat_template in the configuration file.",
        )
    chat = [{"role": message.role.value, "content": message.content} for message in messages]
    try:
        text = tokenizer.apply_chat_template(
            chat, chat_template=chat_template, tokenize=False, add_generation_prompt=True
        )
    except jinja2.TemplateError as error:
        raise PromptError(f"The chat template refuses these messages: {error}.", hint="Reset the chat.") from error
    assert isinstance(text, str)
    return text


def _control_tokens(tokenizer: PreTrainedTokenizerBase) -> dict[int, str]:
    """Return every added token by id: the special ones and those, like ``<think>``, that only templates write."""
    added = tokenizer.added_tokens_decoder.items()
    return {index: token.content for index, token in added if token.special or len(token.content) > 1}


def _assemble(
    tokenizer: PreTrainedTokenizerBase, skeleton: str, contents: dict[str, Message], control: dict[int, str]
) -> list[int]:
    """Tokenise the template's control tokens as such and everything between them as plain text."""
    ids: list[int] = []
    text = ""
    for piece, token in _split_at(skeleton, control):
        text += piece
        if token is None:
            continue
        ids += [*_plain_ids(tokenizer, _fill(text, contents), control), token]
        text = ""
    return ids + _plain_ids(tokenizer, _fill(text, contents), control)


def _fill(text: str, contents: dict[str, Message]) -> str:
    """Put what was typed in place of the markers; one pass, so that typed markers stay what they are."""
    pieces = [(text, False)]
    for marker, message in contents.items():
        pieces = [
            part
            for piece, is_typed in pieces
            for part in ([(piece, True)] if is_typed else _interleave(piece.split(marker), message.content))
        ]
    return "".join(piece for piece, _ in pieces)


def _interleave(parts: list[str], content: str) -> list[tuple[str, bool]]:
    filled: list[tuple[str, bool]] = [(parts[0], False)]
    for part in parts[1:]:
        filled += [(content, True), (part, False)]
    return filled


def _split_at(text: str, control: dict[int, str]) -> list[tuple[str, int | None]]:
    """Cut ``text`` behind every control token, the longest first: (plain text before it, its id); the rest has None."""
    pieces: list[tuple[str, int | None]] = []
    while text:
        found = [(text.find(content), -len(content), index) for index, content in control.items() if content in text]
        if not found:
            pieces.append((text, None))
            break
        start, negative_length, index = min(found)
        pieces.append((text[:start], index))
        text = text[start - negative_length :]
    return pieces


def _plain_ids(tokenizer: PreTrainedTokenizerBase, text: str, control: dict[int, str]) -> list[int]:
    """Tokenise ``text`` so that no id of ``control`` comes out: their names are cut after the first letter."""
    names = "|".join(re.escape(name) for name in control.values())
    # a lookahead matches without consuming, so names that overlap are all cut
    cuts = [match.start() + 1 for match in re.finditer(f"(?={names})", text)] if names else []
    ids: list[int] = []
    for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True):
        part = tokenizer.encode(text[start:end], add_special_tokens=False, split_special_tokens=True)
        if any(token in control for token in part):  # a normaliser made one out of look-alike letters
            letters = [tokenizer.encode(letter, add_special_tokens=False) for letter in text[start:end]]
            part = [token for letter in letters for token in letter if token not in control]
        ids += part
    return ids
