"""What every command about stored judgements shares: where the database is, and which judgements are meant."""

import argparse
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from steering.errors import InputError
from ui.settings import Settings, parse_settings

# SQLAlchemy and pyarrow take most of a second to import, which `--help` and typing errors need not wait for.
if TYPE_CHECKING:
    from storage.database import Database
    from storage.records_pairs import PairFilter

ACTOR = "cli"
"""Who did it, in the audit."""

HOME = {"home": "folder of the database, guide versions and local secrets"}
STORE = HOME | {"database_url": "where judgements are kept: sqlite:///FILE or postgresql+psycopg://…"}
GUIDES = {
    "preset": "built-in base model and guides; demo unless --config names others",
    "config": "TOML file naming a base model and its guides",
}
MODELS = GUIDES | {
    "device": "auto, cpu or cuda; auto if left out",
    "dtype": "auto, float32, bfloat16 or float16; auto if left out",
}


def add_settings(parser: argparse.ArgumentParser, *tables: dict[str, str]) -> None:
    """Add the settings of app.py that a command knows, by name and help text."""
    group = parser.add_argument_group("settings (TILLER_… variables are read as by app.py)")
    for name, text in {name: text for table in tables for name, text in table.items()}.items():
        # what is left out is asked of the variables, so no value is printed as the default
        group.add_argument(f"--{name.replace('_', '-')}", default=argparse.SUPPRESS, help=text)


def settings_of(arguments: argparse.Namespace) -> Settings:
    """The settings given on the command line and in the environment.

    Raises:
        SettingsError: a value is not allowed.
    """
    given = {name: getattr(arguments, name, None) for name in (*STORE, *MODELS)}
    options = [f"--{name.replace('_', '-')}={value}" for name, value in given.items() if value is not None]
    return parse_settings(options, os.environ)


@contextmanager
def opened(arguments: argparse.Namespace, *, make: bool = False) -> "Iterator[Database]":
    """The database of the settings, closed at the end; without ``make`` a missing SQLite file is not made.

    Raises:
        SettingsError: its URL cannot be used.
        InputError: the file is missing.
        StorageError: it cannot be opened.
    """
    from storage.database import open_database, sqlite_file

    url = settings_of(arguments).database_url
    file = sqlite_file(url)
    if not make and file is not None and not file.exists():
        raise InputError(f"There is no database {file}.", hint="Name another one with --database-url or --home.")
    with open_database(url) as database:
        yield database


def add_filters(parser: argparse.ArgumentParser) -> None:
    """Add the options that say which judgements are meant."""
    group = parser.add_argument_group("which judgements")
    group.add_argument("--since", type=_moment, metavar="DATE", help="judged then or later; UTC if no zone is given")
    group.add_argument("--until", type=_moment, metavar="DATE", help="judged before this")
    group.add_argument("--group", action="append", metavar="NAME", help="by annotators of this group; repeat for more")
    group.add_argument("--dimension", action="append", metavar="NAME", help="in this dimension; repeat for more")


def filter_of(
    arguments: argparse.Namespace, study_ids: tuple[str, ...] | None, *, include_steer: bool = False
) -> "PairFilter":
    """The judgements that the options of ``add_filters`` and the studies mean.

    Raises:
        InputError: the times leave nothing between them.
    """
    from storage.records_pairs import PairFilter

    return PairFilter(
        study_ids=study_ids,
        dimensions=tuple(arguments.dimension) if arguments.dimension else None,
        groups=tuple(arguments.group) if arguments.group else None,
        since=arguments.since,
        until=arguments.until,
        include_steer=include_steer,
    )


def _moment(text: str) -> datetime:
    """A date or time in ISO 8601, as argparse wants it."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no date; write 2026-01-31 or 2026-01-31T12:00") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
