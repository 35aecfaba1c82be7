"""Figures as columns of text, and texts of others made harmless for a terminal."""

import unicodedata
from collections.abc import Iterable, Sequence

_UNSEEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}
_MAX_CHARS = 60


def shown(text: str, n_chars: int = _MAX_CHARS) -> str:
    """A text of somebody else on one line: nothing in it moves the cursor, turns the line round or rings the bell."""
    safe = "".join(
        character.encode("unicode_escape").decode() if unicodedata.category(character) in _UNSEEN else character
        for character in text
    )
    return safe if len(safe) <= n_chars else f"{safe[: n_chars - 1]}…"


def table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of columns two spaces apart, the first one to the left, the others to the right."""
    cells = [list(headers), *([shown(cell) for cell in row] for row in rows)]
    widths = [max(map(_width, column)) for column in zip(*cells, strict=True)]
    lines = []
    for row in cells:
        padded = [
            cell + " " * (width - _width(cell)) if place == 0 else " " * (width - _width(cell)) + cell
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(padded).rstrip())
    return lines


def _width(text: str) -> int:
    """Columns in a terminal: wide characters take two, those that sit on others none."""
    return sum(
        0 if unicodedata.combining(character) else 2 if unicodedata.east_asian_width(character) in "WF" else 1
        for character in text
    )
