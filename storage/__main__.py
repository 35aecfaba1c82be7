"""``python -m storage upgrade|check URL`` looks after a database; ``revision MESSAGE`` drafts a migration."""

import argparse
import sys
import tempfile
from pathlib import Path

from steering.errors import InputError, TillerError
from storage import schema
from storage.database import open_database


def main(arguments: list[str] | None = None) -> int:
    """Run one command; the exit code is 0, 2 for bad input, 1 for anything else that went wrong."""
    parser = argparse.ArgumentParser(prog="python -m storage", description="Look after a database of judgements.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, meaning in (
        ("upgrade", "make the database or bring its schema up to date"),
        ("check", "read the whole database and say whether it is sound"),
    ):
        commands.add_parser(name, help=meaning).add_argument("url", help="e.g. sqlite:///var/tiller.db")
    drafting = commands.add_parser("revision", help="draft the migration from the newest schema to storage/tables.py")
    drafting.add_argument("message", help="what the migration does, in a few words")
    options = parser.parse_args(arguments)
    try:
        lines = _draft(options.message) if options.command == "revision" else _look_after(options.command, options.url)
    except TillerError as error:
        sys.stderr.write(f"{error}\n")
        return 2 if isinstance(error, InputError) else 1
    sys.stdout.writelines(f"{line}\n" for line in lines)
    return 0


def _look_after(command: str, url: str) -> list[str]:
    with open_database(url, migrate=command == "upgrade") as database:
        if command == "upgrade":
            return [f"{database.url} has schema {schema.newest_revision()}."]
        problems = database.integrity_check()
        if problems:
            raise TillerError(
                f"{database.url} is damaged: {'; '.join(problems[:5])}.", hint="Put a backup in its place."
            )
        return [f"{database.url} is sound."]


def _draft(message: str) -> list[str]:
    with (
        tempfile.TemporaryDirectory() as folder,
        open_database(f"sqlite:///{Path(folder) / 'draft.db'}") as database,
        database.reading() as session,
    ):
        return [str(schema.draft_revision(session.connection(), message))]


if __name__ == "__main__":
    sys.exit(main())
