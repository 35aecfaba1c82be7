"""Exporting judgements: a folder with train and test rows and a manifest that accounts for every judgement."""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from pathlib import Path

from steering.errors import InputError
from storage.exchange.formats import BETTER, LEAVES_OUT, SAFER, Format, rows_of
from storage.exchange.pair_rows import FULL_COLUMNS, full_schema
from storage.exchange.selection import LeftOut, Selection, select
from storage.exchange.writing import Repairs, Row, new_folder, write_csv, write_json_lines, write_parquet
from storage.records_pairs import JudgedPair, NamedBlend, blend_labels

MANIFEST = "manifest.json"


class FileKind(StrEnum):
    """What kind of files the rows are written to."""

    JSONL = "jsonl"
    PARQUET = "parquet"
    CSV = "csv"


@dataclass(frozen=True)
class ExportPlan:
    """What an export looks like.

    Raises:
        InputError: CSV is asked for in a format whose columns are lists.
    """

    format: Format = Format.TRL_CHAT
    file_kind: FileKind = FileKind.JSONL
    selection: Selection = field(default_factory=Selection)

    def __post_init__(self) -> None:
        if self.file_kind is FileKind.CSV and self.format in (Format.TRL_CHAT, Format.ARENA):
            raise InputError(
                f"The format {self.format.value} has lists of messages, for which CSV has no cells.",
                hint="Write it as jsonl or parquet, or take another format.",
            )


@dataclass(frozen=True)
class Manifest:
    """What became of every judgement: ``n_judgements`` = ``n_used`` + all of ``left_out``.

    ``n_rows`` is by file; a row of PKU-SafeRLHF's form may be of two judgements. ``n_texts_repaired`` counts texts with
    half a character, ``n_cells_defused`` cells of a CSV that a spreadsheet would have run.
    """

    format: str
    file_kind: str
    n_judgements: int
    n_used: int
    left_out: dict[str, int]
    n_rows: dict[str, int]
    n_texts_repaired: int
    n_cells_defused: int
    selection: dict[str, float | int | None]


def export_judgements(pairs: Iterable[JudgedPair], plan: ExportPlan, target: Path) -> Manifest:
    """Write the judgements, read with their texts, into the new folder ``target``, and its manifest beside them.

    ``train.*`` and, if a share of the prompts is for testing, ``test.*``. The folder appears when all of it is written.

    Raises:
        InputError: something is at ``target`` already.
        StorageError: it cannot be written; nothing is left behind.
    """
    given = list(pairs)
    used, left_out = select(given, plan.selection, LEAVES_OUT[plan.format])
    if plan.format is Format.SAFE_RLHF:
        elsewhere = Counter(pair.dimension in (BETTER, SAFER) for pair in used)[False]
        used = [pair for pair in used if pair.dimension in (BETTER, SAFER)]
        if elsewhere:
            left_out[LeftOut.OTHER_DIMENSION.value] = elsewhere
    if plan.format is not Format.FULL:  # which has weights and guides in columns of their own
        used = _told_apart(used)
    halves = {"train": [pair for pair in used if not plan.selection.is_for_testing(pair)]}
    if plan.selection.test_share > 0:
        halves["test"] = [pair for pair in used if plan.selection.is_for_testing(pair)]
    repairs, n_rows = Repairs(), {}
    with new_folder(target) as folder:
        for name, half in halves.items():
            rows = [repairs.value(row) for row in rows_of(half, plan.format)]
            file = f"{name}.{plan.file_kind.value}"
            n_rows[file] = len(rows)
            _write(folder / file, rows, plan, repairs)
        manifest = Manifest(
            format=plan.format.value,
            file_kind=plan.file_kind.value,
            n_judgements=len(given),
            n_used=len(used),
            left_out=dict(sorted(left_out.items())),
            n_rows=n_rows,
            n_texts_repaired=repairs.n_texts_repaired,
            n_cells_defused=repairs.n_cells_defused,
            selection=asdict(plan.selection),
        )
        (folder / MANIFEST).write_text(json.dumps(asdict(manifest), indent=2) + "\n", encoding="utf-8")
    return manifest


def _told_apart(pairs: list[JudgedPair]) -> list[JudgedPair]:
    """The same judgements, in which blends that are not the same have keys that differ."""
    labels = blend_labels(blend for pair in pairs for blend in (pair.blend_a, pair.blend_b))
    if all(label == key for (key, _, _), label in labels.items()):
        return pairs

    def named(blend: NamedBlend) -> NamedBlend:
        return replace(blend, key=labels[blend.identity])

    return [replace(pair, blend_a=named(pair.blend_a), blend_b=named(pair.blend_b)) for pair in pairs]


def _write(path: Path, rows: list[Row], plan: ExportPlan, repairs: Repairs) -> None:
    if plan.file_kind is FileKind.JSONL:
        write_json_lines(path, rows)
    elif plan.file_kind is FileKind.PARQUET:
        write_parquet(path, rows, full_schema() if plan.format is Format.FULL else None)
    else:
        columns = FULL_COLUMNS if plan.format is Format.FULL else tuple(rows[0]) if rows else ()
        write_csv(path, rows, columns, repairs)
