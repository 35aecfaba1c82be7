"""Foreign errors become StorageError here, at the room's edge, and nowhere else."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from steering.errors import StorageError

NOTHING_LOST = "Nothing was changed."

_BUSY = (
    "Another program is keeping the database {where} locked.",
    "Close that program or wait a moment, and try again.",
)
_DAMAGED = (
    "The file {where} is not a readable database: it is damaged or something else.",
    "Move it away and put a backup in its place.",
)
# By primary result code, https://www.sqlite.org/rescode.html: what happened, and what to do.
_SQLITE = {
    5: _BUSY,
    6: _BUSY,
    8: ("The database {where} is read-only.", "Allow this user to write to the file and its folder, and try again."),
    10: ("The disk could not read or write the database {where}.", "Check the disk, and try again."),
    11: _DAMAGED,
    13: ("There is no space left on the disk for the database {where}.", "Free some space, and try again."),
    14: (
        "The database {where} cannot be opened.",
        "Check that its folder exists and that this user may read and write there, and try again.",
    ),
    26: _DAMAGED,
}
# By class of SQLSTATE, https://www.postgresql.org/docs/current/errcodes-appendix.html
_POSTGRESQL = {
    "08": ("The connection to the database {where} was lost.", "Check that the server is running, and try again."),
    "25": ("The database {where} is read-only.", "Allow this user to write to it, and try again."),
    "28": ("The database {where} refused the user or the password.", "Correct --database-url."),
    "3D": ("There is no database {where}.", "Make it with createdb, or correct --database-url."),
    "40": ("Another transaction got in the way in the database {where}.", "Try again."),
    "53": ("The database {where} has run out of disk, memory or connections.", "Free some, and try again."),
    "55": _BUSY,
    "57": ("The database {where} is shutting down or starting.", "Wait until it is running, and try again."),
}


@contextmanager
def translated(where: str, consequence: str = NOTHING_LOST) -> Iterator[None]:
    """Raise what SQLAlchemy raises inside as a StorageError whose hint starts with ``consequence``.

    ``where`` names the database without its password.

    Raises:
        StorageError: in place of any SQLAlchemyError; its cause is kept for the log.
    """
    try:
        yield
    except SQLAlchemyError as error:
        message, advice = _explain(error)
        raise StorageError(message.format(where=where), hint=f"{consequence} {advice}") from error


def _explain(error: SQLAlchemyError) -> tuple[str, str]:
    if isinstance(error, PoolTimeoutError):
        return "Too many requests are waiting for the database {where}.", "Try again in a moment."
    original = getattr(error, "orig", None)
    if isinstance(error, IntegrityError):
        return (
            f"The database {{where}} refused the record: {_escaped(original)}.",
            "This is a fault in Tiller; please report it with this text.",
        )
    sqlite_code = getattr(original, "sqlite_errorcode", None)
    if sqlite_code is not None and sqlite_code & 0xFF in _SQLITE:
        return _SQLITE[sqlite_code & 0xFF]
    state = getattr(original, "sqlstate", None)
    if state is not None and state[:2] in _POSTGRESQL:
        return _POSTGRESQL[state[:2]]
    return f"The database {{where}} cannot be used: {_escaped(original or error)}.", "Correct that, and try again."


def _escaped(error: object) -> str:
    """The first line of an error's text, safe for ``str.format``."""
    first, *_ = str(error).strip().splitlines() or [type(error).__name__]
    return first.rstrip(".").replace("{", "{{").replace("}", "}}")
