"""Prompts from a file that a person made: lines of a .txt, a column of a .csv, documents of a .jsonl."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from steering.errors import InputError, PromptError
from steering.types import Message, Role
from storage.records import check_text

Prompt = tuple[Message, ...]
"""A conversation that ends with what a person says."""

COLUMN = "prompt"


def read_prompts(path: Path) -> tuple[Prompt, ...]:
    """The prompts of a file, in its order; lines with nothing in them are passed over.

    A .txt file has one prompt a line, a .csv file a column ``prompt``, and a line of a .jsonl file is a text, an object
    with a text or a list of messages under ``prompt``, or one with a list under ``messages``.

    Raises:
        PromptError: the file cannot be read, is of another kind, has no prompts, or a line cannot be used; says which.
    """
    readers = {".txt": _text_rows, ".csv": _csv_rows, ".jsonl": _json_rows}
    if path.suffix not in readers:
        raise PromptError(f"{path.name} is of no known kind.", hint=f"Give a file that ends in {', '.join(readers)}.")
    try:
        found = [prompt_of(f"line {line} of {path.name}", row) for line, row in readers[path.suffix](path)]
    except UnicodeDecodeError as error:
        raise PromptError(f"{path.name} is no text in UTF-8: {error}.", hint="Save it as UTF-8.") from error
    except (OSError, ValueError) as error:  # a name with a NUL is a ValueError
        raise PromptError(f"{str(path)!r} cannot be read: {error}.", hint="Correct its name.") from error
    if not found:
        raise PromptError(f"There are no prompts in {path.name}.", hint="Write one a line.")
    return tuple(found)


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


def _text_rows(path: Path) -> Iterator[tuple[int, str]]:
    # Not splitlines(): a form feed within a prompt is no new line.
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").split("\n"), start=1):
        if line.strip():
            yield number, line.strip()


def _csv_rows(path: Path) -> Iterator[tuple[int, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, strict=True)
        try:
            if COLUMN not in (reader.fieldnames or ()):
                named = ", ".join(map(repr, reader.fieldnames or ())) or "none"
                raise PromptError(
                    f"{path.name} has no column {COLUMN!r}; its columns are: {named}.",
                    hint=f"Name the column of the prompts {COLUMN} in the first line.",
                )
            for row in reader:
                if prompt := (row[COLUMN] or "").strip():
                    yield reader.line_num, prompt
        except csv.Error as error:
            raise PromptError(
                f"Line {reader.reader.line_num} of {path.name} is no CSV: {error}.",
                hint="Put texts with commas in quotes.",
            ) from error


def _json_rows(path: Path) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise PromptError(
                f"Line {number} of {path.name} is no JSON: {error}.", hint='Write, say, {"prompt": "…"}.'
            ) from error
        if isinstance(row, dict):
            named = [key for key in (COLUMN, "messages") if key in row]
            if len(named) != 1:
                raise PromptError(
                    f"Line {number} of {path.name} has {' and '.join(named) or 'neither prompt nor messages'}.",
                    hint='Write, say, {"prompt": "…"}.',
                )
            row = row[named[0]]
        yield number, row


def _message(where: str, entry: Any) -> Message:
    known = [role.value for role in Role]
    is_message = isinstance(entry, dict) and entry.keys() == {"role", "content"} and entry["role"] in known
    if is_message and isinstance(entry["content"], str):
        return Message(Role(entry["role"]), entry["content"])
    roles = " | ".join(f'"{role}"' for role in known)
    raise PromptError(
        f"In {where} stands what is no message.", hint=f'Write messages as {{"role": {roles}, "content": "…"}}.'
    )
