"""Which schema a database has, and bringing an older one up to date.

Other than the migrations themselves, only this module knows Alembic; there is no alembic.ini, so it works from any
folder. A migration is drafted with ``python -m storage revision "what it does"``.
"""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, text

from steering.errors import SchemaError

MIGRATIONS = Path(__file__).parent / "migrations"
# Any constant does, as long as every Tiller that migrates one PostgreSQL database takes the same lock.
_POSTGRESQL_LOCK = 7_465_108_101


def newest_revision() -> str:
    """The revision of the schema that this code reads and writes."""
    head = ScriptDirectory.from_config(_config()).get_current_head()
    assert head is not None, "there is at least one migration"
    return head


def known_revisions() -> frozenset[str]:
    """Every revision from which this code can bring a database up to date, and the newest."""
    return frozenset(script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions())


def is_current(connection: Connection, url: str) -> bool:
    """Whether the database has the newest schema; False when it is empty or older.

    ``url`` is what messages call the database; it has no password.

    Raises:
        SchemaError: the schema is newer than this code, or the tables are another program's.
    """
    scripts = ScriptDirectory.from_config(_config())
    heads = MigrationContext.configure(connection).get_current_heads()
    if not heads:
        _require_no_tables(connection, url)
        return False
    if len(heads) > 1 or heads[0] not in known_revisions():
        raise SchemaError(
            f"The database {url} has schema {', '.join(heads)}; this Tiller knows up to {scripts.get_current_head()}.",
            hint="It was written by a newer Tiller: get that one with `git pull && make run`, or give another "
            "database with `--database-url sqlite:///var/other.db`.",
        )
    return heads[0] == scripts.get_current_head()


def upgrade(connection: Connection, revision: str = "head") -> None:
    """Bring the schema up to ``revision`` inside the connection's transaction, which must be one that writes.

    Two programs may do this at once: the second waits, and finds nothing to do.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _POSTGRESQL_LOCK})
    command.upgrade(_config(connection), revision)


def require_current(connection: Connection, url: str) -> None:
    """Refuse a database that has another schema.

    Raises:
        SchemaError: it is empty, older, newer, or another program's; the hint has the command to run.
    """
    if not is_current(connection, url):
        raise SchemaError(
            f"The database {url} has no schema or an old one; this Tiller needs {newest_revision()}.",
            hint=f"Make a backup and run `python -m storage upgrade {url}`.",
        )


def draft_revision(connection: Connection, message: str) -> Path:
    """Write a migration from the newest schema, which ``connection`` must have, to what tables.py says now."""
    number = f"{int(newest_revision()) + 1:04}"
    script = command.revision(_config(connection), message, autogenerate=True, rev_id=number)
    return Path(script.path)  # type: ignore[union-attr]


def _require_no_tables(connection: Connection, url: str) -> None:
    tables = set(inspect(connection).get_table_names()) - {"alembic_version"}
    if tables:
        raise SchemaError(
            f"The database {url} has tables that are not Tiller's: {', '.join(sorted(tables)[:5])}.",
            hint="Give Tiller a database of its own with `--database-url`.",
        )


def _config(connection: Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.set_main_option("file_template", "v%%(rev)s_%%(slug)s")
    config.attributes["connection"] = connection
    return config
