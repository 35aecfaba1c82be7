"""Prompts from a file that a person made: lines of a .txt, a column of a .csv, documents of a .jsonl."""

import csv
import io
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steering.errors import InputError, PromptError
from steering.types import Message, Role
from storage.records import check_text

Prompt = tuple[Message, ...]
"""A conversation that ends with what a person says."""

Rows = Callable[[str, str], Iterator[tuple[int, Any]]]
"""From a file's name and text to its lines, each with its number and what stands there or why that is not known."""

COLUMN = "prompt"
BUILT_IN_PREFIX = "built-in:"
BUILT_IN = ("everyday", "sensitive", "mixed")
"""The sets of prompts that come with the code, each a file in ``prompt_sets``."""
_SETS = Path(__file__).parent / "prompt_sets"


@dataclass(frozen=True)
class ReadPrompt:
    """What became of one line of a file: the prompt that was understood, or None and why it was refused."""

    line: int
    prompt: Prompt | None
    refusal: PromptError | None = None


def read_prompts(path: Path) -> tuple[Prompt, ...]:
    """The prompts of a file, in its order; lines with nothing in them are passed over.

    A .txt file has one prompt a line, a .csv file a column ``prompt``, and a line of a .jsonl file is a text, an object
    with a text or a list of messages under ``prompt``, or one with a list under ``messages``.

    Raises:
        PromptError: the file cannot be read, is of another kind, has no prompts, or a line cannot be used; says which.
    """
    try:
        _check_kind(path.name)
        content = path.read_bytes()
    except (OSError, ValueError) as error:  # a name with a NUL is a ValueError
        raise PromptError(f"{str(path)!r} cannot be read: {error}.", hint="Correct its name.") from error
    found: list[Prompt] = []
    for read in look_over(path.name, content):
        if read.prompt is None:
            assert read.refusal is not None, "what was not understood was refused"
            raise read.refusal
        found.append(read.prompt)
    if not found:
        raise PromptError(f"There are no prompts in {path.name}.", hint="Write one a line.")
    return tuple(found)


def look_over(name: str, content: bytes) -> Iterator[ReadPrompt]:
    """What becomes of each line of a file of that name, in its order; see :func:`read_prompts`.

    Raises:
        PromptError: the file as a whole cannot be used: it is of another kind, no text, or has no column of prompts.
    """
    rows = _check_kind(name)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise PromptError(f"{name} is no text in UTF-8: {error}.", hint="Save it as UTF-8.") from error
    for line, row in rows(name, text):
        try:
            if isinstance(row, PromptError):
                raise row
            yield ReadPrompt(line, prompt_of(f"line {line} of {name}", row))
        except PromptError as refusal:
            yield ReadPrompt(line, None, refusal)


def built_in_prompts(name: str) -> tuple[Prompt, ...]:
    """The prompts of one of the sets that come with the code.

    Raises:
        PromptError: there is no such set; says which there are.
    """
    if name not in BUILT_IN:
        known = ", ".join(f"{BUILT_IN_PREFIX}{known}" for known in BUILT_IN)
        raise PromptError(f"There is no built-in set of prompts {name!r}.", hint=f"The sets are: {known}.")
    return read_prompts(_SETS / f"{name}.txt")


def _check_kind(name: str) -> Rows:
    readers: dict[str, Rows] = {".txt": _text_rows, ".csv": _csv_rows, ".jsonl": _json_rows}
    suffix = Path(name).suffix
    if suffix not in readers:
        raise PromptError(f"{name} is of no known kind.", hint=f"Give a file that ends in {', '.join(readers)}.")
    return readers[suffix]


def prompt_of(where: str, value: Any) -> Prompt:
    """A prompt from a text or from a list of ``{role, content}``; ``where`` says in messages which one is meant.

    Raises:
        PromptError: it is neither, or has no text.
    """
    if isinstance(value, str):
        messages: Prompt = (Message(Role.USER, value),)
    elif isinstance(value, list):
        messages = tuple(_message(where, entry) for entry in value)
    else:
        raise PromptError(f"The prompt in {where} is neither a text nor a list of messages.", hint="Write a text.")
    if not messages or not messages[-1].content.strip():
        raise PromptError(f"The prompt in {where} is empty.", hint="Write a text.")
    if messages[-1].role is not Role.USER:
        raise PromptError(
            f"The prompt in {where} ends with the {messages[-1].role.value}'s message.",
            hint="End it with what the model shall answer.",
        )
    try:
        for message in messages:
            check_text("prompt", message.content, nul_allowed=True)
    except InputError as error:
        raise PromptError(f"In {where}: {error.message}", hint=error.hint) from error
    return messages


def _lines(text: str) -> Iterator[tuple[int, str]]:
    # Not splitlines(): a form feed within a prompt is no new line.
    for number, line in enumerate(re.split("\r\n|\r|\n", text), start=1):
        if line.strip():
            yield number, line.strip()


def _text_rows(_name: str, text: str) -> Iterator[tuple[int, Any]]:
    yield from _lines(text)


def _csv_rows(name: str, text: str) -> Iterator[tuple[int, Any]]:
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        if COLUMN not in (reader.fieldnames or ()):
            named = ", ".join(map(repr, reader.fieldnames or ())) or "none"
            raise PromptError(
                f"{name} has no column {COLUMN!r}; its columns are: {named}.",
                hint=f"Name the column of the prompts {COLUMN} in the first line.",
            )
        for row in reader:
            if prompt := (row[COLUMN] or "").strip():
                yield reader.line_num, prompt
    except csv.Error as error:  # where the columns of the rest begin is not known
        number = reader.reader.line_num
        yield (
            number,
            PromptError(f"Line {number} of {name} is no CSV: {error}.", hint="Put texts with commas in quotes."),
        )


def _json_rows(name: str, text: str) -> Iterator[tuple[int, Any]]:
    for number, line in _lines(text):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            row = PromptError(f"Line {number} of {name} is no JSON: {error}.", hint='Write, say, {"prompt": "…"}.')
        if isinstance(row, dict):
            named = [key for key in (COLUMN, "messages") if key in row]
            row = row[named[0]] if len(named) == 1 else _neither_nor(number, name, named)
        yield number, row


def _neither_nor(number: int, name: str, named: list[str]) -> PromptError:
    return PromptError(
        f"Line {number} of {name} has {' and '.join(named) or 'neither prompt nor messages'}.",
        hint='Write, say, {"prompt": "…"}.',
    )


def _message(where: str, entry: Any) -> Message:
    known = [role.value for role in Role]
    is_message = isinstance(entry, dict) and entry.keys() == {"role", "content"} and entry["role"] in known
    if is_message and isinstance(entry["content"], str):
        return Message(Role(entry["role"]), entry["content"])
    roles = " | ".join(f'"{role}"' for role in known)
    raise PromptError(
        f"In {where} stands what is no message.", hint=f'Write messages as {{"role": {roles}, "content": "…"}}.'
    )
