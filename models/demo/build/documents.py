"""The texts of the base model: filtered, each once, without the prompts that guides and judges are tested on."""

from collections import Counter
from collections.abc import Set
from pathlib import Path
from typing import Any

from models.demo.blocked import has_blocked_word
from models.demo.build.rows import Row, plain_words, read_rows, write_rows
from models.demo.build.split import is_validation
from steering.errors import InputError

NAME = "pretrain.jsonl"
_FEWEST_WORDS = 4
_LEAST_LETTERS = 0.7
_ROLES = ("system", "user", "assistant")


def prepare_documents(data: Path, out: Path, tested: Set[str], seed: int) -> dict[str, Any]:
    """Write ``out``/train.jsonl and ``out``/validation.jsonl; returns what became of the documents.

    Args:
        data: folder with pretrain.jsonl; a row has ``messages`` or ``text``, and ``source`` and ``licence``.
        out: where to write.
        tested: keys of prompts no document may have.
        seed: of the split.

    Raises:
        InputError: the data are missing or damaged, or nothing is left.
    """
    left_out, sources, seen = Counter[str](), Counter[tuple[str, str]](), set[str]()
    halves: dict[bool, list[Row]] = {False: [], True: []}
    n_read = 0
    for number, row in enumerate(read_rows(data, NAME), start=1):
        n_read = number
        texts = _texts(row, number)
        whole = "\n".join(texts)
        key = plain_words(whole)
        if reason := _why_not(whole, key):
            left_out[reason] += 1
        elif key in seen:
            left_out["duplicate"] += 1
        elif "messages" in row and tested & {plain_words(text) for text in texts}:
            left_out["tested_prompt"] += 1
        else:
            seen.add(key)
            halves[is_validation(whole, seed)].append(row)
            sources[str(row.get("source")), str(row.get("licence"))] += 1
    if not halves[False] or not halves[True]:
        raise InputError(
            f"{len(halves[False])} documents of {NAME} are left to train on and {len(halves[True])} to validate on.",
            hint="Use more data, or another --seed.",
        )
    write_rows(out / "train.jsonl", halves[False])
    write_rows(out / "validation.jsonl", halves[True])
    return {
        "n_read": n_read,
        "left_out": dict(sorted(left_out.items())),
        "n_train": len(halves[False]),
        "n_validation": len(halves[True]),
        "sources": [[*named, count] for named, count in sources.most_common()],
    }


def _texts(row: Row, number: int) -> list[str]:
    """Every turn of a chat, or the one text."""
    if isinstance(text := row.get("text"), str):
        return [text]
    messages = row.get("messages")
    is_chat = isinstance(messages, list) and all(
        isinstance(each, dict) and each.get("role") in _ROLES and isinstance(each.get("content"), str)
        for each in messages
    )
    if not is_chat or not messages:
        raise InputError(f"Row {number} of {NAME} has neither messages nor text.", hint="Copy the data again.")
    return [message["content"] for message in messages]


def _why_not(text: str, words: str) -> str:
    if words.count(" ") + 1 < _FEWEST_WORDS:
        return "few_words"
    if sum(letter.isalpha() or letter.isspace() for letter in text) < _LEAST_LETTERS * len(text):
        return "few_letters"
    return "blocked_word" if has_blocked_word(text) else ""
