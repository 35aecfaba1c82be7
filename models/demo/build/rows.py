"""Reading and writing the rows of the data: JSON lines, perhaps xz-compressed."""

import json
import lzma
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from models.files import write_whole
from steering.errors import InputError

Row = dict[str, Any]


def read_rows(folder: Path, name: str) -> Iterator[Row]:
    """Yield the rows of ``name`` in ``folder``, or of ``name``.xz.

    Raises:
        InputError: neither is there, or a row is no JSON object.
    """
    plain, packed = folder / name, folder / f"{name}.xz"
    if not plain.exists() and not packed.exists():
        raise InputError(f"There is no {name} or {name}.xz in {folder}.", hint="Give the data's folder with --data.")
    number = 0
    try:
        with plain.open("rb") if plain.exists() else lzma.open(packed) as file:
            for line in file:
                number += 1
                row = json.loads(line)
                if not isinstance(row, dict):
                    raise TypeError("it is no object")
                yield row
    except (OSError, ValueError, TypeError, EOFError, lzma.LZMAError) as error:
        raise InputError(f"Row {number} of {name} cannot be read: {error}.", hint="Unpack or copy it again.") from error


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Write rows as JSON lines; the file is there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, "".join(json.dumps(row) + "\n" for row in rows))


def plain_words(text: str) -> str:
    """A text's words in lower case: two texts that differ in spaces, signs or capitals alone are the same."""
    return " ".join(re.findall(r"\w+", text.lower()))
