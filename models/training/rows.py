"""Preferences from files: TRL rows, plain or conversational, paired or not, and what Tiller exports."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]

from steering.errors import InputError
from steering.types import Message, Role

_ASSISTANT = "\n\nAssistant:"


@dataclass(frozen=True)
class Preference:
    """What somebody preferred: of two responses, or of one on its own, where the other is None.

    ``id`` is the judgement's, the row's own, or made of its content. ``annotator`` None: not known.
    """

    id: str
    messages: tuple[Message, ...]
    chosen: str | None
    rejected: str | None
    source: str = ""
    annotator: str | None = None
    reliability: float | None = None
    weight: float = 1.0

    @property
    def prompt_key(self) -> str:
        """The same for the same prompt."""
        return json.dumps([[message.role.value, message.content] for message in self.messages])

    @property
    def prompt_hash(self) -> str:
        """The same for the same prompt, without anybody's words."""
        return hashlib.sha256(self.prompt_key.encode()).hexdigest()[:16]


@dataclass
class RowsRead:
    """What is in some files.

    ``held_out`` are preferences that whoever exported them set apart for testing. ``left_out`` counts rows that hold
    no preference for this dimension, by reason. ``gold`` has by annotator how many gold items were answered right, and
    how many were answered.
    """

    train: list[Preference] = field(default_factory=list)
    held_out: list[Preference] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    gold: dict[str, tuple[int, int]] = field(default_factory=dict)


def read_rows(paths: Sequence[Path], dimension: str) -> RowsRead:
    """Read .jsonl and .parquet files, or folders of an export with ``train.*`` and perhaps ``test.*``.

    Rows that name another dimension than ``dimension`` are left out and counted, like those that are no preference.

    Raises:
        InputError: a path is missing, of another kind, cannot be read, or has a row that is no preference at all.
    """
    read = RowsRead()
    for path in paths:
        for file, is_test in _files(path):
            target = read.held_out if is_test else read.train
            for number, row in _json_rows(file):
                try:
                    target += _preferences(row, dimension, read)
                except (ValueError, TypeError, KeyError, AttributeError) as error:
                    what = f"lacks {error}" if isinstance(error, KeyError) else f"is no preference: {error}"
                    raise InputError(
                        f"Row {number} of {file} {what}.",
                        hint="Rows have prompt, chosen and rejected; or prompt, completion and label; or are an "
                        "export of Tiller's in the format trl-chat, trl or full.",
                    ) from error
    return read


def _files(path: Path) -> list[tuple[Path, bool]]:
    """The files of a path, and whether each is for testing."""
    if not path.is_dir():
        return [(path, False)]
    found = [(file, name == "test") for name in ("train", "test") for file in sorted(path.glob(f"{name}.*"))]
    if not any(not is_test for _, is_test in found):
        raise InputError(f"The folder {path} has no train.jsonl or train.parquet.", hint="Name an export's folder.")
    return found


def _json_rows(path: Path) -> Iterator[tuple[int, Any]]:
    number = 0
    try:
        if path.suffix == ".parquet":
            for batch in pq.ParquetFile(path).iter_batches(batch_size=500):
                for row in batch.to_pylist():
                    number += 1
                    yield number, row
        elif path.suffix == ".jsonl":
            with path.open(encoding="utf-8") as file:
                for number, line in enumerate(file, start=1):
                    if line.strip():
                        yield number, json.loads(line)
        else:
            raise InputError(f"{path.name} is of no known kind.", hint="Give a .jsonl or .parquet file, or a folder.")
    except (OSError, ValueError, pa.ArrowException) as error:
        raise InputError(f"{path} cannot be read (row {number + 1}): {error}.", hint="Check the file.") from error


def _preferences(row: Any, dimension: str, read: RowsRead) -> list[Preference]:
    if not isinstance(row, dict):
        raise TypeError("it is not an object")
    if row.get("dimension") not in (None, dimension):
        read.left_out["other_dimension"] += 1
        return []
    if "outcome" in row:
        return _judgement(row, read)
    if "completion" in row and "label" in row:
        messages, responses = _texts(row.get("prompt"), [row["completion"]])
        pair = (responses[0], None) if row["label"] else (None, responses[0])
        return [_preference(row, messages, *pair)]
    messages, responses = _texts(row.get("prompt"), [row["chosen"], row["rejected"]])
    if responses[0] == responses[1]:
        read.left_out["same_responses"] += 1
        return []
    return [_preference(row, messages, responses[0], responses[1])]


def _judgement(row: dict[str, Any], read: RowsRead) -> list[Preference]:
    """A row of an export in the format ``full``; gold items count for their annotator's reliability only."""
    annotator, outcome = str(row["annotator_id"]), row["outcome"]
    reason = outcome if outcome in ("skip", "tie") else "gold" if row["is_gold"] else ""
    reason = reason or ("repeat" if row["repeat_of"] is not None else "" if row["messages"] else "no_text")
    if row["is_gold"] and row["gold_answer"] is not None and outcome != "skip":
        n_right, n_answered = read.gold.get(annotator, (0, 0))
        read.gold[annotator] = (n_right + (outcome == row["gold_answer"]), n_answered + 1)
    if reason:
        read.left_out[reason] += 1
        return []
    messages, (a, b) = _messages(row["messages"]), (row["response_a"], row["response_b"])
    if outcome == "both_bad":
        singles = [_preference(row, messages, None, response) for response in (a, b)]
        return [
            Preference(**{**vars(single), "id": f"{single.id}/{side}"})
            for single, side in zip(singles, "ab", strict=True)
        ]
    if outcome not in ("a", "b"):
        raise ValueError(f"its outcome is {outcome!r}")
    if a == b:
        read.left_out["same_responses"] += 1
        return []
    return [_preference(row, messages, *((a, b) if outcome == "a" else (b, a)))]


def _preference(
    row: dict[str, Any], messages: tuple[Message, ...], chosen: str | None, rejected: str | None
) -> Preference:
    if not messages or messages[-1].role is not Role.USER:
        raise ValueError("the prompt does not end with what a person says")
    content = json.dumps([[message.role.value, message.content] for message in messages] + [chosen, rejected])
    own = row.get("judgement_id") or row.get("id") or hashlib.sha256(content.encode()).hexdigest()[:16]
    annotator, reliability, weight = row.get("annotator_id"), row.get("reliability"), row.get("weight")
    weight = 1.0 if weight is None else float(weight)
    if not 0 <= weight < float("inf"):
        raise ValueError(f"its weight is {weight}")
    return Preference(
        id=str(own),
        messages=messages,
        chosen=chosen,
        rejected=rejected,
        source=str(row.get("source") or row.get("study") or ""),
        annotator=None if annotator is None else str(annotator),
        reliability=None if reliability is None else float(reliability),
        weight=weight,
    )


def _texts(prompt: Any, answers: list[Any]) -> tuple[tuple[Message, ...], list[str]]:
    """Prompt and responses of a TRL row; without a prompt it is what the answers begin with."""
    if all(isinstance(answer, str) for answer in answers):
        return (_messages(prompt), answers) if isinstance(prompt, list) else _plain(prompt, answers)
    chats = [_messages(answer) for answer in answers]
    said = () if prompt is None else _plain(prompt, [])[0] if isinstance(prompt, str) else _messages(prompt)
    before = [chat[:-1] for chat in chats]
    if any(one != before[0] for one in before):
        raise ValueError("the conversations differ before the last answer")
    if any(not chat or chat[-1].role is not Role.ASSISTANT for chat in chats):
        raise ValueError("a response is not the assistant's")
    # some data repeat the prompt in the answers
    messages = before[0] if said == before[0][: len(said)] else said + before[0]
    return messages, [chat[-1].content for chat in chats]


def _plain(prompt: Any, answers: list[str]) -> tuple[tuple[Message, ...], list[str]]:
    """A prompt as text: a transcript in the form of Anthropic's HH data, or what one person says."""
    if prompt is None:
        cut = [answer.rpartition(_ASSISTANT) for answer in answers]
        if not all(mark for _, mark, _ in cut) or len({before for before, _, _ in cut}) > 1:
            raise ValueError("there is no prompt, and the answers are no transcripts that begin the same")
        prompt, answers = cut[0][0] + _ASSISTANT, [answer for _, _, answer in cut]
    if not isinstance(prompt, str):
        raise TypeError("the prompt is not a text, but the answers are")
    if not prompt.endswith(_ASSISTANT):
        return (Message(Role.USER, prompt),), answers
    head, *turns = prompt.removesuffix(_ASSISTANT).split("\n\nHuman: ")
    messages = [Message(Role.SYSTEM, head)] if head else []
    for turn in turns:
        said, *replies = turn.split("\n\nAssistant: ")
        messages.append(Message(Role.USER, said))
        messages += [Message(Role.ASSISTANT, reply) for reply in replies]
    return tuple(messages), [answer.removeprefix(" ") for answer in answers]


def _messages(value: Any) -> tuple[Message, ...]:
    if not isinstance(value, list):
        raise TypeError("a conversation is neither a text nor a list of messages")
    messages = tuple(Message(Role(entry["role"]), entry["content"]) for entry in value)
    if not all(isinstance(message.content, str) for message in messages):
        raise TypeError("a message is not a text")
    return messages
