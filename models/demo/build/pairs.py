"""The preference pairs, split by prompt: one half trains guides, the other judges, and both are tested on the rest."""

from collections import Counter
from pathlib import Path
from typing import Any

from models.demo.blocked import has_blocked_word
from models.demo.build.rows import Row, plain_words, read_rows, write_rows
from models.demo.build.settings import DIMENSIONS
from models.demo.build.split import Part, part_of, prompt_key
from steering.errors import InputError


def prepare_pairs(data: Path, out: Path, seed: int) -> dict[str, Any]:
    """Write ``out``/DIMENSION/{guides,judges}/{train,test}.jsonl; returns what became of the rows, by dimension.

    Left out are pairs with a blocked word in prompt or chosen response, pairs whose two responses have the same words,
    and pairs that are there already.

    Raises:
        InputError: the data are missing or damaged, or a part gets none.
    """
    return {dimension: _prepare(data, out, dimension, seed) for dimension in DIMENSIONS}


def held_out_prompts(pairs: Path) -> dict[str, list[Row]]:
    """The tested rows that :func:`prepare_pairs` wrote, the first of each prompt, by dimension."""
    found = {}
    for dimension in DIMENSIONS:
        rows = read_rows(pairs / dimension / Part.JUDGES, "test.jsonl")
        found[dimension] = list({prompt_key(row["prompt"]): row for row in reversed(list(rows))}.values())[::-1]
    return found


def _prepare(data: Path, out: Path, dimension: str, seed: int) -> dict[str, Any]:
    name, left_out, seen = f"pairs_{dimension}.jsonl", Counter[str](), set[tuple[str, ...]]()
    parts: dict[Part, list[Row]] = {part: [] for part in Part}
    n_read = 0
    for number, row in enumerate(read_rows(data, name), start=1):
        n_read = number
        try:
            prompt, chosen, rejected = row["prompt"], row["chosen"], row["rejected"]
            key = (prompt_key(prompt), plain_words(chosen), plain_words(rejected))
        except (KeyError, TypeError, IndexError, AttributeError) as error:
            raise InputError(f"Row {number} of {name} is no pair: {error!r}.", hint="Copy the data again.") from error
        if key[1] == key[2]:
            left_out["same_words"] += 1
        elif key in seen:
            left_out["duplicate"] += 1
        elif has_blocked_word(" ".join([chosen, *(message["content"] for message in prompt)])):
            left_out["blocked_word"] += 1
        else:
            seen.add(key)
            parts[part_of(prompt, seed)].append(row)
    if empty := [part.value for part, rows in parts.items() if not rows]:
        raise InputError(f"No pair of {name} is for {empty[0]}.", hint="Use more data, or another --seed.")
    for part in (Part.GUIDES, Part.JUDGES):
        write_rows(out / dimension / part / "train.jsonl", parts[part])
        write_rows(out / dimension / part / "test.jsonl", parts[Part.TESTED])
    prompts = {part.value: len({prompt_key(row["prompt"]) for row in rows}) for part, rows in parts.items()}
    counts = {part.value: len(rows) for part, rows in parts.items()}
    return {"n_read": n_read, "left_out": dict(sorted(left_out.items())), "pairs": counts, "prompts": prompts}
