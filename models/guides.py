"""Guide cards: what a guide's ``guide.json`` says, and the hash over its files."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from steering.errors import LoadError

CARD_NAME = "guide.json"


@dataclass(frozen=True)
class GuideCard:
    """The facts in a guide's ``guide.json``; every one is optional, for adapters from the Hub have no card.

    ``unit`` is the exponent that weight 1 stands for (1.0 if absent). ``held_out_accuracy`` is a fraction of pairs.
    ``parent_version`` and ``parent_hash`` name the guide it was trained from, ``data_ids`` what it was trained on
    (judgements where they came from the database), ``command`` the command line that made it; ``metrics`` and
    ``versions`` (of libraries) are objects. ``hash`` is :func:`hash_files` of the folder when the card was written.
    """

    id: str | None = None
    dimension: str | None = None
    version: int | None = None
    base_id: str | None = None
    beta: float | None = None
    unit: float | None = None
    parent_version: int | None = None
    parent_hash: str | None = None
    n_pairs: int | None = None
    held_out_accuracy: float | None = None
    created_at: str | None = None
    licence: str | None = None
    data_ids: tuple[str, ...] = ()
    command: str | None = None
    metrics: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, Any] = field(default_factory=dict)
    hash: str | None = None


_TYPES: dict[str, Any] = {
    "id": str,
    "dimension": str,
    "version": int,
    "base_id": str,
    "beta": (int, float),
    "unit": (int, float),
    "parent_version": int,
    "parent_hash": str,
    "n_pairs": int,
    "held_out_accuracy": (int, float),
    "created_at": str,
    "licence": str,
    "data_ids": list,
    "command": str,
    "metrics": dict,
    "versions": dict,
    "hash": str,
}


def read_card(folder: Path) -> GuideCard:
    """Read ``guide.json`` in ``folder``; a missing file is an empty card, keys not known here are left alone.

    Raises:
        LoadError: the file is no JSON object, or a known key has a value of the wrong type or sign.
    """
    path = folder / CARD_NAME
    if not path.exists():
        return GuideCard()
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise LoadError(f"The guide card {path} cannot be read: {error}.", hint="Mend or remove it.") from error
    if not isinstance(card, dict):
        raise LoadError(f"The guide card {path} is no JSON object.", hint="Mend or remove it.")
    values = {key: card[key] for key in _TYPES if card.get(key) is not None}
    for key, value in values.items():
        if not isinstance(value, _TYPES[key]) or isinstance(value, bool):
            raise LoadError(f"{key!r} in the guide card {path} is {value!r}.", hint="It has the wrong type; mend it.")
    for key in ("unit", "beta"):
        if key in values and not 0 < values[key] < float("inf"):
            raise LoadError(f"{key!r} in {path} is {values[key]!r}; it must be above 0.", hint="Mend the card.")
    if not 0 <= values.get("held_out_accuracy", 0) <= 1:
        raise LoadError(
            f"'held_out_accuracy' in {path} is {values['held_out_accuracy']!r}; it must be from 0 to 1.",
            hint="It is a fraction of pairs; mend the card.",
        )
    if "data_ids" in values:
        values["data_ids"] = tuple(map(str, values["data_ids"]))
    return GuideCard(**values)


def hash_files(folder: Path) -> str:
    """Return the sha256 over names and contents of the model's files in ``folder``, as hex.

    Weights, configuration, tokenizer and chat template count; the card and prose do not, so that a card can carry
    the hash.
    """
    digest = hashlib.sha256()
    files = [path for path in sorted(folder.iterdir()) if is_model_file(path)]
    for path in files:
        digest.update(f"{path.name}\0{path.stat().st_size}\0".encode())
        with path.open("rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
    return digest.hexdigest()


def check_hash(folder: Path) -> str:
    """Return :func:`hash_files` of ``folder``, which must be the one in its card where that has one.

    Raises:
        LoadError: the files are not those the card was written for.
    """
    card, sha256 = read_card(folder), hash_files(folder)
    if card.hash not in (None, sha256):
        raise LoadError(
            f"The files of the guide {card.id or folder.name!r} are not those its card was written for.",
            hint="Copy, download or train it again.",
        )
    return sha256


def is_model_file(path: Path) -> bool:
    """Whether a file is part of a guide: weights, configuration, tokenizer or chat template."""
    is_model = path.suffix in (".safetensors", ".json", ".jinja", ".model") or path.name in ("merges.txt", "vocab.txt")
    return is_model and path.is_file() and path.name != CARD_NAME
