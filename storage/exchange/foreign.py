"""Preference data that others collected, read line by line: TRL, Anthropic HH and PKU-SafeRLHF rows."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]

from steering.errors import InputError
from steering.types import Message, Role
from storage.exchange.formats import BETTER, SAFER
from storage.exchange.writing import Row
from storage.records import OVERALL, check_text

_ASSISTANT = "\n\nAssistant:"


@dataclass(frozen=True)
class ForeignPair:
    """One preference of a file. ``line`` counts from 1; ``sha256`` is over prompt, both responses and the dimension."""

    line: int
    messages: tuple[Message, ...]
    chosen: str
    rejected: str
    dimension: str

    @property
    def sha256(self) -> str:
        """The same for the same preference, whatever file and line it is in."""
        said = [[message.role.value, message.content] for message in self.messages]
        return hashlib.sha256(json.dumps([said, self.chosen, self.rejected, self.dimension]).encode()).hexdigest()


@dataclass(frozen=True)
class Refusal:
    """A line that cannot be used, and why."""

    line: int
    reason: str


@dataclass(frozen=True)
class ForeignFile:
    """What is in a file: preferences, lines that cannot be used, and preferences that stand there more than once."""

    pairs: tuple[ForeignPair, ...]
    refusals: tuple[Refusal, ...]
    n_lines: int
    n_repeated: int


def read_foreign(path: Path) -> ForeignFile:
    """The preferences of a .jsonl or .parquet file whose rows are of TRL's, HH's or PKU-SafeRLHF's form.

    Raises:
        InputError: the file is of another kind or cannot be read at all.
    """
    pairs: dict[str, ForeignPair] = {}
    refusals, n_lines, n_found = [], 0, 0
    for line, row in _rows(path):
        n_lines += 1
        try:
            found = _pairs(line, row())
        except (InputError, ValueError, TypeError, KeyError) as error:
            refusals.append(Refusal(line, str(error)))
            continue
        n_found += len(found)
        for pair in found:
            pairs.setdefault(pair.sha256, pair)
    return ForeignFile(tuple(pairs.values()), tuple(refusals), n_lines, n_found - len(pairs))


def _rows(path: Path) -> Iterator[tuple[int, Any]]:
    """Line numbers, and functions that read the row, so that one that cannot be read refuses its own line only."""
    try:
        if path.suffix == ".parquet":
            number = 0
            for batch in pq.ParquetFile(path).iter_batches(batch_size=500):
                for row in batch.to_pylist():
                    number += 1
                    yield number, lambda row=row: row
        elif path.suffix == ".jsonl":
            with path.open("rb") as file:
                for number, raw in enumerate(file, start=1):
                    if raw.strip():
                        yield number, lambda raw=raw: json.loads(raw)
        else:
            raise InputError(f"{path.name} is of no known kind.", hint="Give a .jsonl or .parquet file.")
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{path} cannot be read: {error}.", hint="Check the file.") from error


def _pairs(line: int, row: object) -> list[ForeignPair]:
    if not isinstance(row, dict):
        raise ValueError("The line is not an object.")
    if {"response_0", "response_1"} <= row.keys():
        return _safe_rlhf(line, row)
    if not {"chosen", "rejected"} <= row.keys():
        raise ValueError("There is neither chosen and rejected nor response_0 and response_1.")
    messages, chosen, rejected = _trl(row)
    dimension = row.get("dimension") or OVERALL
    return [_checked(ForeignPair(line, messages, chosen, rejected, dimension))]


def _trl(row: Row) -> tuple[tuple[Message, ...], str, str]:
    prompt, chosen, rejected = row.get("prompt"), row["chosen"], row["rejected"]
    if isinstance(chosen, str) and isinstance(rejected, str):
        if prompt is None:
            # HH: two transcripts that are the same up to the last answer.
            prompt, chosen = _cut(chosen)
            other, rejected = _cut(rejected)
            if prompt != other:
                raise ValueError("The two transcripts differ before the last answer.")
        if not isinstance(prompt, str):
            raise ValueError("The prompt is not a text, but the answers are.")
        if prompt.endswith(_ASSISTANT):
            return _conversation(prompt), chosen.removeprefix(" "), rejected.removeprefix(" ")
        return (Message(Role.USER, prompt),), chosen, rejected
    before_chosen, before_rejected = _messages(chosen), _messages(rejected)
    if not before_chosen or not before_rejected:
        raise ValueError("There is no answer.")
    if prompt is None:
        if before_chosen[:-1] != before_rejected[:-1]:
            raise ValueError("The two conversations differ before the last answer.")
        said = before_chosen[:-1]
    else:
        said = (Message(Role.USER, prompt),) if isinstance(prompt, str) else _messages(prompt)
        if len(before_chosen) != 1 or len(before_rejected) != 1:
            raise ValueError("An answer has more than one message.")
    return said, before_chosen[-1].content, before_rejected[-1].content


def _safe_rlhf(line: int, row: Row) -> list[ForeignPair]:
    responses = (row["response_0"], row["response_1"])
    prompt = row["prompt"]
    if not all(isinstance(text, str) for text in (prompt, *responses)):
        raise ValueError("The prompt or a response is not a text.")
    messages = _conversation(prompt) if prompt.endswith(_ASSISTANT) else (Message(Role.USER, prompt),)
    found = []
    for column, dimension in (("better_response_id", BETTER), ("safer_response_id", SAFER)):
        better = row.get(column)
        if better is None:
            continue
        if better not in (0, 1):
            raise ValueError(f"{column} is {better!r}; it must be 0 or 1.")
        pair = ForeignPair(line, messages, responses[int(better)], responses[1 - int(better)], dimension)
        found.append(_checked(pair))
    if not found:
        raise ValueError("There is neither better_response_id nor safer_response_id.")
    return found


def _cut(transcript: str) -> tuple[str, str]:
    """A transcript up to its last "Assistant:", and the answer after it."""
    before, mark, answer = transcript.rpartition(_ASSISTANT)
    if not mark:
        raise ValueError("The text has no prompt: neither a column for it nor a transcript.")
    return before + mark, answer


def _conversation(transcript: str) -> tuple[Message, ...]:
    """The messages of a transcript in the form of the HH data; what stands before the first name is the system's."""
    text = transcript.removesuffix(_ASSISTANT)
    head, *turns = text.split("\n\nHuman: ")
    messages = [Message(Role.SYSTEM, head)] if head else []
    for turn in turns:
        said, *answers = turn.split("\n\nAssistant: ")
        messages.append(Message(Role.USER, said))
        messages += [Message(Role.ASSISTANT, answer) for answer in answers]
    return tuple(messages)


def _messages(value: object) -> tuple[Message, ...]:
    if not isinstance(value, list):
        raise ValueError("A conversation is neither a text nor a list of messages.")
    return tuple(Message(Role(entry["role"]), entry["content"]) for entry in value)


def _checked(pair: ForeignPair) -> ForeignPair:
    if not pair.messages or pair.messages[-1].role is not Role.USER:
        raise ValueError("The prompt does not end with what a person says.")
    for text in (*(message.content for message in pair.messages), pair.chosen, pair.rejected, pair.dimension):
        if not isinstance(text, str):
            raise TypeError("A message is not a text.")
        check_text("text", text, nul_allowed=True)
    check_text("dimension", pair.dimension, 1, 100)
    if pair.chosen == pair.rejected:
        raise ValueError("Both answers are the same.")
    return pair
