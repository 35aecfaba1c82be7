"""For every line on standard input a child process that stores judgements until it is killed; run by test_crash.py.

A child prints its process id, then the id of each judgement as soon as it is acknowledged. The children are forked, so
that starting Python twenty times costs the test no time; each opens the database for itself.
"""

import os
import sys
from itertools import count

from storage.database import open_database
from storage.records import new_id
from storage.sql_repository import SqlRepository
from tests.storage.examples import a_click, a_comparison


def store(url: str) -> None:
    """Store judgements without end."""
    print(os.getpid(), flush=True)
    repository = SqlRepository(open_database(url))
    person = repository.annotator(new_id()).id
    for number in count():
        if number % 10 == 0:
            comparison = a_comparison()
            repository.save_comparison(comparison)
        stored = repository.record_judgement(a_click(comparison.id, person, dimension=f"dimension {number}"))
        print(stored.id, flush=True)


def main(url: str) -> None:
    """Fork a child for every line; say how it ended."""
    while sys.stdin.readline():
        child = os.fork()
        if child == 0:
            try:
                store(url)
            finally:
                os._exit(1)
        _, status = os.waitpid(child, 0)
        print(f"ended by signal {os.WTERMSIG(status)}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
