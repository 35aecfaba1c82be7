"""Removing what was typed on the Steer page once it is old, for as long as the page is served."""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from steering.errors import StorageError
from storage.records import utc_now
from storage.repository import Repository

DAY_SECONDS = 86_400.0
CLOSING_SECONDS = 30.0

logger = logging.getLogger(__name__)


@contextmanager
def forgetting_prompts(repository: Repository, days: int, every_seconds: float = DAY_SECONDS) -> Iterator[None]:
    """While the block runs, remove what was typed on Steer longer than ``days`` ago: at once and then every day.

    Where ``days`` is 0, everything is kept. That the database cannot be written is logged; the next time tries again.
    """
    if days == 0:
        yield
        return
    over = threading.Event()

    def work() -> None:
        _forget(repository, days)
        while not over.wait(every_seconds):
            _forget(repository, days)

    thread = threading.Thread(target=work, name="forgetting", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(CLOSING_SECONDS)  # one that is being written ends before the database is closed


def _forget(repository: Repository, days: int) -> None:
    try:
        forgotten = repository.forget_prompts(utc_now() - timedelta(days=days))
    except StorageError as error:
        logger.error("what was typed on Steer more than %d days ago was not removed: %s", days, error)
        return
    if forgotten.n_comparisons_removed or forgotten.n_generations_emptied:
        logger.info(
            "removed what was typed on Steer more than %d days ago: %d comparisons, and the text of %d judged answers",
            days,
            forgotten.n_comparisons_removed,
            forgotten.n_generations_emptied,
        )
