"""Stores judgements without end and prints the id of each as soon as it is acknowledged; run by test_crash.py.

It waits for a line on standard input before it opens the database, so that starting Python costs the test no time.
"""

import sys
from itertools import count

from storage.database import open_database
from storage.records import new_id
from storage.sql_repository import SqlRepository
from tests.storage.examples import a_click, a_comparison


def main(url: str) -> None:
    """Say ready, wait, then store until killed."""
    print("ready", flush=True)
    sys.stdin.readline()
    repository = SqlRepository(open_database(url))
    person = repository.annotator(new_id()).id
    for number in count():
        if number % 10 == 0:
            comparison = a_comparison()
            repository.save_comparison(comparison)
        stored = repository.record_judgement(a_click(comparison.id, person, dimension=f"dimension {number}"))
        print(stored.id, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
