"""A folder of files that is there whole or not at all, and what makes texts safe to put in them."""

import csv
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]

from steering.errors import InputError, StorageError

Row = dict[str, Any]

_FORMULA_STARTS = tuple("=+-@\t\r\n＝＋－＠")


@dataclass
class Repairs:
    """What had to be changed in texts: halves of surrogate pairs replaced by U+FFFD, and cells kept from being run."""

    n_texts_repaired: int = 0
    n_cells_defused: int = 0

    def text(self, text: str) -> str:
        """The text as UTF-8 can hold it."""
        try:
            text.encode()
        except UnicodeEncodeError:
            self.n_texts_repaired += 1
            # Two halves that belong together become the one character they were meant to be.
            return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        return text

    def value(self, value: Any) -> Any:
        """The value with every text in it repaired."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {self.text(key): self.value(entry) for key, entry in value.items()}
        return [self.value(entry) for entry in value] if isinstance(value, list) else value

    def cell(self, value: Any) -> Any:
        """The value as a spreadsheet shows it and does not run it: a text that could be a formula gets an apostrophe.

        OWASP, "CSV injection"; also the wide forms of the signs, which some programs take for the narrow ones.
        """
        shown = json.dumps(value, ensure_ascii=False) if isinstance(value, list | dict) else value
        if isinstance(shown, str) and shown.lstrip(" ").startswith(_FORMULA_STARTS):
            self.n_cells_defused += 1
            return "'" + shown
        return shown


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """A folder to write into that becomes ``target`` when the block ends, and is removed when it raises.

    Raises:
        InputError: something is at ``target`` already.
        StorageError: the folder cannot be written.
    """
    if target.exists():
        raise InputError(f"There is already something at {target}.", hint="Name a folder that does not exist yet.")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        working = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
        try:
            yield working
            for file in working.iterdir():
                with file.open("rb") as written:
                    os.fsync(written.fileno())
            working.chmod(0o755)
            working.rename(target)
        except BaseException:
            shutil.rmtree(working, ignore_errors=True)
            raise
    except OSError as error:
        raise StorageError(
            f"{target} cannot be written: {error.strerror or error}.",
            hint="Nothing was exported. Check the folder and the space on the disk, and try again.",
        ) from error


def write_json_lines(path: Path, rows: Iterable[Row]) -> None:
    """One JSON document a line. Everything but ASCII is escaped, so that no reader can break a line within a text."""
    with path.open("w", encoding="ascii", newline="\n") as file:
        for row in rows:
            file.write(json.dumps(row, allow_nan=False) + "\n")


def write_parquet(path: Path, rows: Sequence[Row], schema: pa.Schema | None = None) -> None:
    """A Parquet file; without a schema the columns are those of the rows."""
    pq.write_table(pa.Table.from_pylist(list(rows), schema=schema), path)


def write_csv(path: Path, rows: Sequence[Row], columns: Sequence[str], repairs: Repairs) -> None:
    """A CSV file with a byte order mark, which spreadsheets need to read it as UTF-8; formulas are defused."""
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows([repairs.cell(row[column]) for column in columns] for row in rows)
