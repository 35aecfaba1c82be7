"""Prompts: from chat messages to token ids, with what people typed never becoming a control token."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import jinja2
from tokenizers import AddedToken, Tokenizer
from tokenizers.models import Model
from transformers import PreTrainedTokenizerBase

from steering.errors import PromptError
from steering.types import Message, Role

# What a template, which is a small program, can raise besides Jinja's own errors.
_TEMPLATE_TROUBLE = (TypeError, ValueError, ArithmeticError, LookupError, AttributeError, RecursionError)
# How many letters before a response are looked at: more than any token joins.
_N_LETTERS_BEFORE = 64


@dataclass(frozen=True)
class Ending:
    """What a response stands behind.

    ``text`` is the end of the prompt behind its last control token, at most 64 letters; ``behind_control`` is whether
    there is such a token. ``gap`` is the white space that the template itself puts between prompt and
    response, which a model has learned to write (Llama 2's is a space).
    """

    text: str
    behind_control: bool
    gap: str


def prompt_token_ids(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], chat_template: str | None = None
) -> list[int]:
    """Return the ids of a chat prompt, ready for the assistant's answer.

    The tokenizer's own rendering is used as it is when it holds just the control tokens of the template. When what
    somebody typed would add one (a typed ``<|im_end|>``), the template's control tokens are kept and all else is
    tokenised as plain text.

    Args:
        tokenizer: of the base model or of a guide; a fast one.
        messages: the chat so far, the user's message last.
        chat_template: Jinja, in place of the tokenizer's own.

    Raises:
        PromptError: there is no template, it refuses these messages, or they hold half a surrogate pair.
    """
    rendered, unused = _rendered(tokenizer, messages, chat_template)
    # the template sees a mark in place of what was typed, so nothing typed can change its control tokens
    marks = [next(unused) for _ in messages]
    skeleton = _render(tokenizer, _marked(messages, marks), chat_template)
    control = _control_tokens(tokenizer)

    def control_ids(text: str) -> list[int]:
        ids = tokenizer.encode(text, add_special_tokens=False, verbose=False)
        return [token for token in ids if token in control]

    if not any(control_ids(message.content) for message in messages):
        ids = tokenizer.encode(rendered, add_special_tokens=False, verbose=False)
        if [token for token in ids if token in control] == control_ids(skeleton):
            return ids
    text, stand_ins = _with_stand_ins(tokenizer, skeleton, control, unused)
    text = _unmarked(text, messages, marks)
    return _plain_ids(_plain_tokenizer(tokenizer, stand_ins, control, next(unused)), text, control)


def prompt_ending(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], chat_template: str | None = None
) -> Ending:
    """Return what a response to a chat stands behind; the arguments are those of :func:`prompt_token_ids`.

    Raises:
        PromptError: there is no template, it refuses these messages, or they hold half a surrogate pair.
    """
    _, unused = _rendered(tokenizer, messages, chat_template)
    marks = [next(unused) for _ in messages]
    marked = _marked(messages, marks)
    skeleton = _render(tokenizer, marked, chat_template)
    text, stand_ins = _with_stand_ins(tokenizer, skeleton, _control_tokens(tokenizer), unused)
    start = max((text.rfind(letter) for letter in stand_ins), default=-1) + 1
    behind = _unmarked(text[start:], messages, marks)
    gap = _gap(tokenizer, marked, skeleton, next(unused), chat_template)
    return Ending(behind[-_N_LETTERS_BEFORE:], start > 0, gap)


def response_token_ids(tokenizer: PreTrainedTokenizerBase, ending: Ending, text: str) -> list[int]:
    """Return the ids of a response that somebody wrote, as decoding would write them behind the prompt.

    They are those the text has as a part of the whole. Where a token of the whole would reach over from the prompt,
    whose ids are fixed, they are those it has behind a letter that nothing joins. None of them is a control token, and
    what ends the response is not added.

    Raises:
        PromptError: it holds half a surrogate pair.
    """
    if has_half_a_pair(text):
        raise PromptError("The response has half of a surrogate pair, which is no text.", hint="Remove it.")
    control = _control_tokens(tokenizer)
    unused = _unused_characters({*ending.text, *text})
    mark, letter = next(unused), next(unused)
    plain = _plain_tokenizer(tokenizer, {mark: 0}, control, next(unused))  # nobody sees the mark's id
    if text and not text.startswith(ending.gap):
        text = ending.gap + text
    for before in (mark * ending.behind_control + ending.text, letter):
        start = _plain_ids(plain, before, control)
        ids = _plain_ids(plain, before + text, control)
        if ids[: len(start)] == start:
            return ids[len(start) :]
    return _plain_ids(plain, mark + text, control)[1:]  # nothing reaches over a control token


def has_half_a_pair(text: str) -> bool:
    """Whether half of a surrogate pair is in it, which no tokenizer can read."""
    return any("\ud800" <= letter <= "\udfff" for letter in text)


def answer_end(eos_token_ids: Collection[int], tokenizer: PreTrainedTokenizerBase) -> int:
    """Return which of the tokens that end an answer a written one ends with: the tokenizer's own if it is there."""
    own = tokenizer.eos_token_id
    return int(own) if own in eos_token_ids else min(eos_token_ids)


def _rendered(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], chat_template: str | None
) -> tuple[str, Iterator[str]]:
    """Return the prompt as text, and characters that are neither in it nor were typed."""
    if any(has_half_a_pair(message.content) for message in messages):
        raise PromptError("The prompt has half of a surrogate pair, which is no text.", hint="Remove it and run again.")
    rendered = _render(tokenizer, messages, chat_template)
    return rendered, _unused_characters({*rendered, *chain.from_iterable(message.content for message in messages)})


def _unused_characters(used: set[str]) -> Iterator[str]:
    """Yield private-use characters that are not in ``used``.

    Raises:
        PromptError: there are none left.
    """
    yield from (letter for letter in map(chr, range(0xF0000, 0x10FFFE)) if letter not in used)
    raise PromptError("The prompt uses every private-use character there is.", hint="Remove some of them.")


def _marked(messages: Sequence[Message], marks: Sequence[str]) -> list[Message]:
    """Put marks in place of what was typed, but leave white space at its ends, which templates trim."""
    marked = []
    for message, mark in zip(messages, marks, strict=True):
        inner = message.content.strip()
        content = message.content.replace(inner, mark, 1) if inner else message.content
        marked.append(Message(message.role, content))
    return marked


def _unmarked(text: str, messages: Sequence[Message], marks: Sequence[str]) -> str:
    """Put what was typed in place of the marks again."""
    return text.translate({ord(mark): each.content.strip() for mark, each in zip(marks, messages, strict=True)})


def _gap(
    tokenizer: PreTrainedTokenizerBase, marked: list[Message], skeleton: str, mark: str, chat_template: str | None
) -> str:
    """Return the white space between the prompt ``skeleton`` and ``mark`` as the answer to it."""
    try:
        whole = _render(tokenizer, [*marked, Message(Role.ASSISTANT, mark)], chat_template, asks=False)
    except PromptError:  # it has no place for an answer
        return ""
    before, found, _ = whole.partition(mark)
    between = before.removeprefix(skeleton)
    return between if found and before.startswith(skeleton) and between.isspace() else ""


def _render(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], chat_template: str | None, *, asks: bool = True
) -> str:
    """Return what the template makes of a chat; ``asks`` for an answer to it."""
    if not (chat_template or tokenizer.chat_template):
        raise PromptError(
            "The model's tokenizer has no chat template, so a chat cannot be turned into a prompt.",
            hint="Give one as chat_template in the configuration file, or with --chat-template.",
        )
    chat = [{"role": message.role.value, "content": message.content} for message in messages]
    try:
        text = tokenizer.apply_chat_template(
            chat, chat_template=chat_template, tokenize=False, add_generation_prompt=asks
        )
    except jinja2.TemplateSyntaxError as error:
        raise PromptError(
            f"The chat template cannot be read: {error} (line {error.lineno}).",
            hint="Mend chat_template in the configuration file, or --chat-template.",
        ) from error
    except (jinja2.TemplateError, *_TEMPLATE_TROUBLE) as error:
        raise PromptError(
            f"The chat template refuses these messages: {error}.",
            hint="Reset the chat, or mend chat_template in the configuration file or --chat-template.",
        ) from error
    assert isinstance(text, str)
    return text


def _control_tokens(tokenizer: PreTrainedTokenizerBase) -> dict[int, str]:
    """Return by id the special tokens and those added ones, like ``<think>``, that only templates write.

    Added words and runs of white space (GPT-NeoX has those for code) are text like any other.
    """
    added = ((index, token.special, token.content) for index, token in tokenizer.added_tokens_decoder.items())
    return {index: name for index, special, name in added if _is_markup(name) or (special and not name.isspace())}


def _is_markup(name: str) -> bool:
    return len(name) > 1 and not all(letter.isalnum() or letter.isspace() or letter == "▁" for letter in name)


def _with_stand_ins(
    tokenizer: PreTrainedTokenizerBase, skeleton: str, control: Mapping[int, str], unused: Iterator[str]
) -> tuple[str, dict[str, int]]:
    """Replace the template's control tokens by one unused character each; returns the text and what they stand for."""
    encoding = tokenizer(skeleton, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    stand_ins: dict[int, str] = {}
    pieces = []
    done = 0
    for token, (start, end) in zip(encoding["input_ids"], encoding["offset_mapping"], strict=True):
        if token in control:
            if token not in stand_ins:
                stand_ins[token] = next(unused)
            pieces += [skeleton[done:start], stand_ins[token]]
            done = end
    text = "".join([*pieces, skeleton[done:]])
    return text, {letter: token for token, letter in stand_ins.items()}


@dataclass(frozen=True)
class _Plain:
    """A tokenizer without control tokens; ``originals`` has the ids of what was added to it in the true numbering."""

    tokenizer: Tokenizer
    originals: Mapping[int, int]


def _plain_tokenizer(
    tokenizer: PreTrainedTokenizerBase, stand_ins: dict[str, int], control: Mapping[int, str], unused: str
) -> _Plain:
    """Build a tokenizer on the same vocabulary that knows the stand-ins in place of the control tokens; cheap."""
    backend: Tokenizer = tokenizer.backend_tokenizer
    plain = Tokenizer(backend.model)
    for part in ("normalizer", "pre_tokenizer"):
        if getattr(backend, part) is not None:
            setattr(plain, part, getattr(backend, part))
    words = {index: token for index, token in tokenizer.added_tokens_decoder.items() if index not in control}
    added = [*(AddedToken(letter, normalized=False, special=True) for letter in stand_ins), *words.values()]
    # new tokens are numbered from the vocabulary's size on, where a vocabulary with gaps has tokens of its own
    size = first = plain.get_vocab_size()
    while taken := [id for id in range(first, first + len(added)) if backend.model.id_to_token(id) is not None]:
        first = taken[-1] + 1
    fillers = [AddedToken(f"{unused}{index}{unused}", normalized=False) for index in range(first - size)]
    plain.add_tokens([*fillers, *added])
    names = stand_ins | {token.content: index for index, token in words.items()}
    numbers = ((plain.token_to_id(name), index) for name, index in names.items())
    return _Plain(plain, {number: index for number, index in numbers if number is not None})


def _plain_ids(plain: _Plain, text: str, control: Mapping[int, str]) -> list[int]:
    """Tokenise ``text``, whose stand-ins alone become control tokens."""
    ids: list[int] = []
    for token in plain.tokenizer.encode(text, add_special_tokens=False).ids:
        if token in plain.originals:
            ids.append(plain.originals[token])
        elif token in control:  # Unigram and WordLevel models may have the control tokens' names among their words
            ids += _spelled(plain.tokenizer.model, control[token], control)
        else:
            ids.append(token)
    return ids


def _spelled(model: Model, name: str, control: Mapping[int, str]) -> list[int]:
    """Return the ids of ``name`` letter by letter, or byte by byte, or without the letters the vocabulary lacks."""
    ids: list[int] = []
    for letter in name:
        whole = model.token_to_id(letter)
        parts = [whole] if whole is not None else [model.token_to_id(f"<0x{byte:02X}>") for byte in letter.encode()]
        ids += [part for part in parts if part is not None and part not in control]
    return ids
