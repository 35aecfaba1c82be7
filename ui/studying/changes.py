"""Who changed what when: the audit as the page reads it, newest first, and as a file."""

import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from storage.records_audit import AuditEntry
from storage.study_repository import MAX_PAGE, ResultsRepository
from ui.results.tables import Table

PAGE_LENGTH = 50
HEADERS = ("number", "at", "actor", "action", "record_kind", "record_id", "details")


class FileKind(StrEnum):
    """What a file of changes is written as."""

    CSV = "csv"
    JSONL = "jsonl"


@dataclass(frozen=True)
class Changes:
    """Some entries, newest first, and whether there are older ones."""

    entries: tuple[AuditEntry, ...]
    has_older: bool


def changes_before(
    results: ResultsRepository, before: int | None, record_id: str | None, length: int = PAGE_LENGTH
) -> Changes:
    """The newest entries with a number below ``before``, at most ``length``; None is behind the last one.

    Raises:
        StorageError: the database cannot be read.
    """
    entries = results.newest_audit(before, length + 1, record_id)
    return Changes(entries[:length], has_older=len(entries) > length)


def write_changes(results: ResultsRepository, record_id: str | None, kind: FileKind, folder: Path) -> Path:
    """Write every entry, oldest first, to a file of that kind under a fresh name below ``folder``.

    Raises:
        StorageError: the database cannot be read.
    """
    path = folder / secrets.token_hex(16) / f"tiller-changes.{kind.value}"
    path.parent.mkdir(parents=True, mode=0o700)
    entries = _all(results, record_id)
    if kind is FileKind.CSV:
        text = Table(HEADERS, [list(_fields(entry).values()) for entry in entries]).to_csv()
    else:
        text = "".join(
            json.dumps(_fields(entry) | {"details": dict(entry.details)}, ensure_ascii=False) + "\n"
            for entry in entries
        )
    path.write_text(text, encoding="utf-8", newline="")
    return path


def _all(results: ResultsRepository, record_id: str | None) -> Iterator[AuditEntry]:
    after = 0
    while entries := results.audit(after, MAX_PAGE, record_id):
        yield from entries
        after = entries[-1].number


def _fields(entry: AuditEntry) -> dict[str, str | int]:
    values = (entry.number, entry.at.isoformat(), entry.actor, entry.action, entry.record_kind, entry.record_id)
    return dict(zip(HEADERS, (*values, json.dumps(dict(entry.details), ensure_ascii=False)), strict=True))
