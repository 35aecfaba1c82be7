"""``backup``, ``restore``, ``forget`` and ``delete-annotator``: looking after what is stored."""

import argparse
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

from steering.errors import InputError
from ui.commands.store import ACTOR, STORE, add_settings, opened, settings_of
from ui.commands.tables import shown

MAX_DAYS = 365_000


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the family's parsers."""
    backup = commands.add_parser(
        "backup", help="copy the SQLite database into a new file, also while it is used; verified", allow_abbrev=False
    )
    backup.add_argument("file", type=Path)
    backup.set_defaults(run=_backup)
    restore = commands.add_parser(
        "restore", help="put a backup where the database shall be and where none is; verified", allow_abbrev=False
    )
    restore.add_argument("file", type=Path)
    restore.set_defaults(run=_restore)
    forget = commands.add_parser(
        "forget", help="remove prompts typed on the Steer page, and their answers", allow_abbrev=False
    )
    forget.add_argument("--older-than", type=float, required=True, metavar="DAYS")
    forget.set_defaults(run=_forget)
    delete = commands.add_parser(
        "delete-annotator", help="remove an annotator's name, key and judgements", allow_abbrev=False
    )
    delete.add_argument("name", help="the name they judge studies under, or the id that results and exports show")
    delete.set_defaults(run=_delete_annotator)
    for parser in (backup, restore, forget, delete):
        add_settings(parser, STORE)


def _backup(arguments: argparse.Namespace) -> Iterator[str]:
    from storage.backup import backup

    made = backup(settings_of(arguments).database_url, arguments.file)
    yield f"{shown(str(made.file), 500)}: {made.n_bytes} bytes, {made.n_rows['judgements']} judgements, verified."


def _restore(arguments: argparse.Namespace) -> Iterator[str]:
    from storage.backup import restore

    made = restore(arguments.file, settings_of(arguments).database_url)
    yield f"{shown(str(made.file), 500)}: {made.n_bytes} bytes, {made.n_rows['judgements']} judgements, verified."


def _forget(arguments: argparse.Namespace) -> Iterator[str]:
    from storage.records import utc_now
    from storage.sql_repository import SqlRepository

    days = arguments.older_than
    if not 0 <= days <= MAX_DAYS:
        raise InputError(f"--older-than is {days:g} days; it must be from 0 to {MAX_DAYS}.", hint="Use, say, 30.")
    with opened(arguments) as database:
        forgotten = SqlRepository(database).forget_prompts(utc_now() - timedelta(days=days), ACTOR)
    yield f"{forgotten.n_comparisons_removed} comparisons that nobody judged were removed."
    yield f"{forgotten.n_generations_emptied} answers of judged comparisons were emptied, with their prompts."


def _delete_annotator(arguments: argparse.Namespace) -> Iterator[str]:
    from storage.records import is_id
    from storage.sql_repository import SqlRepository
    from storage.sql_results import SqlResults

    name = arguments.name
    with opened(arguments) as database:
        found = SqlResults(database).annotators_called(name)
        if len(found) > 1:
            raise InputError(
                f"{len(found)} annotators are called {name!r}: {', '.join(found)}.", hint="Give the id of one."
            )
        if not found and not is_id(name):
            raise InputError(
                f"Nobody called {name!r} is known here.",
                hint="Give the name as the Judge page shows it, or the id that results and exports show.",
            )
        deleted = SqlRepository(database).delete_annotator(found[0] if found else name, ACTOR)
    yield f"Annotator {deleted.id} was deleted, with all judgements. Exports and backups made before still have them."
