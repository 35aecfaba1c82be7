"""Prompts: from chat messages to token ids, with what people typed never becoming a control token."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import jinja2
from tokenizers import AddedToken, Tokenizer
from tokenizers.models import Model
from transformers import PreTrainedTokenizerBase

from steering.errors import PromptError
from steering.types import Message

# What a template, which is a small program, can raise besides Jinja's own errors.
_TEMPLATE_TROUBLE = (TypeError, ValueError, ArithmeticError, LookupError, AttributeError, RecursionError)


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
    if any("\ud800" <= letter <= "\udfff" for message in messages for letter in message.content):
        raise PromptError("The prompt has half of a surrogate pair, which is no text.", hint="Remove it and run again.")
    rendered = _render(tokenizer, messages, chat_template)
    unused = _unused_characters({*rendered, *chain.from_iterable(message.content for message in messages)})
    # the template sees a mark in place of what was typed, so nothing typed can change its control tokens
    marks = [next(unused) for _ in messages]
    skeleton = _render(tokenizer, [_marked(*pair) for pair in zip(messages, marks, strict=True)], chat_template)
    control = _control_tokens(tokenizer)

    def control_ids(text: str) -> list[int]:
        ids = tokenizer.encode(text, add_special_tokens=False, verbose=False)
        return [token for token in ids if token in control]

    if not any(control_ids(message.content) for message in messages):
        ids = tokenizer.encode(rendered, add_special_tokens=False, verbose=False)
        if [token for token in ids if token in control] == control_ids(skeleton):
            return ids
    text, stand_ins = _with_stand_ins(tokenizer, skeleton, control, unused)
    text = text.translate({ord(mark): m.content.strip() for mark, m in zip(marks, messages, strict=True)})
    return _plain_ids(_plain_tokenizer(tokenizer, stand_ins, control, next(unused)), text, control)


def response_token_ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Return the ids of a response that somebody wrote, none of which is a control token; what ends it is not added.

    Raises:
        PromptError: it holds half a surrogate pair.
    """
    if any("\ud800" <= letter <= "\udfff" for letter in text):
        raise PromptError("The response has half of a surrogate pair, which is no text.", hint="Remove it.")
    control = _control_tokens(tokenizer)
    ids = tokenizer.encode(text, add_special_tokens=False, verbose=False)
    if not any(token in control for token in ids):
        return ids
    return _plain_ids(_plain_tokenizer(tokenizer, {}, control, next(_unused_characters({*text}))), text, control)


def answer_end(eos_token_ids: Collection[int], tokenizer: PreTrainedTokenizerBase) -> int:
    """Return which of the tokens that end an answer a written one ends with: the tokenizer's own if it is there."""
    own = tokenizer.eos_token_id
    return int(own) if own in eos_token_ids else min(eos_token_ids)


def _unused_characters(used: set[str]) -> Iterator[str]:
    """Yield private-use characters that are not in ``used``.

    Raises:
        PromptError: there are none left.
    """
    yield from (letter for letter in map(chr, range(0xF0000, 0x10FFFE)) if letter not in used)
    raise PromptError("The prompt uses every private-use character there is.", hint="Remove some of them.")


def _marked(message: Message, mark: str) -> Message:
    """Put ``mark`` in place of what was typed, but leave white space at its ends, which templates trim."""
    inner = message.content.strip()
    return Message(message.role, message.content.replace(inner, mark, 1) if inner else message.content)


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
    except jinja2.TemplateSyntaxError as error:
        raise PromptError(
            f"The chat template cannot be read: {error} (line {error.lineno}).",
            hint="Mend chat_template in the configuration file.",
        ) from error
    except (jinja2.TemplateError, *_TEMPLATE_TROUBLE) as error:
        raise PromptError(
            f"The chat template refuses these messages: {error}.",
            hint="Reset the chat, or mend chat_template in the configuration file.",
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
