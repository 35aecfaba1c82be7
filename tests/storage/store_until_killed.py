"""For every line on standard input a child process that stores judgements until it is killed; run by test_crash.py.

Given a study's id, too, it judges that study.

A child prints its process id, then the id of each judgement as soon as it is acknowledged. The children are forked, so
that starting Python twenty times costs the test no time; each opens the database for itself.
"""

import os
import sys
from itertools import count

from storage.database import open_database
from storage.records import new_id
from storage.sql_repository import SqlRepository
from storage.sql_studies import SqlStudies
from tests.storage.examples import a_click, a_comparison
from tests.storage.study_examples import answers_to


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


def judge(url: str, study_id: str) -> None:
    """Judge as one new annotator after the other, without end."""
    print(os.getpid(), flush=True)
    database = open_database(url)
    repository, studies = SqlRepository(database), SqlStudies(database)
    while True:
        person = repository.annotator(new_id()).id
        while (assignment := studies.next_assignment(study_id, person)) is not None:
            for stored in studies.answer(answers_to(assignment)):
                print(stored.id, flush=True)


def main(url: str, study_id: str | None = None) -> None:
    """Fork a child for every line; say how it ended."""
    while sys.stdin.readline():
        child = os.fork()
        if child == 0:
            try:
                store(url) if study_id is None else judge(url, study_id)
            finally:
                os._exit(1)
        _, status = os.waitpid(child, 0)
        print(f"ended by signal {os.WTERMSIG(status)}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
