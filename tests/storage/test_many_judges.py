"""Sixteen judges at once, on every real database: what requirement 1 of blind judging asks of the store."""

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from sqlalchemy import func, select

from steering.types import Choice
from storage.database import Database
from storage.records import OVERALL, new_id
from storage.records_pairs import PairFilter
from storage.records_studies import Answer, Question
from storage.sql_repository import SqlRepository
from storage.sql_results import SqlResults
from storage.sql_studies import SqlStudies
from storage.study_tables import StudyItemRow
from tests.storage.study_examples import an_open_study

N_JUDGES, N_ITEMS = 16, 100


def test_sixteen_judges_store_a_hundred_judgements_each_without_error_or_duplicate(any_database: Database) -> None:
    studies, repository = SqlStudies(any_database), SqlRepository(any_database)
    study_id = an_open_study(studies, N_ITEMS, overlap=N_JUDGES, questions=(Question(OVERALL, "Which is better?"),))
    saves: list[float] = []

    def judge(number: int) -> int:
        person = repository.annotator(f"hash {number}", f"Judge {number}").id
        n_judged = 0
        while (assignment := studies.next_assignment(study_id, person)) is not None:
            answer = Answer(assignment.item.id, person, OVERALL, list(Choice)[n_judged % 5], new_id())
            started = time.perf_counter()
            # Twice, as a browser does that got no reply.
            (stored,) = studies.answer([answer])
            saves.append(time.perf_counter() - started)
            assert studies.answer([answer]) == (stored,)
            n_judged += 1
        return n_judged

    with ThreadPoolExecutor(N_JUDGES) as threads:
        assert list(threads.map(judge, range(N_JUDGES))) == [N_ITEMS] * N_JUDGES
    pairs = list(SqlResults(any_database).pairs(PairFilter(), with_texts=False))
    assert len(pairs) == repository.count_judgements() == N_JUDGES * N_ITEMS
    assert set(Counter((pair.comparison_id, pair.annotator_id) for pair in pairs).values()) == {1}
    with any_database.reading() as session:
        counts = session.scalars(select(func.distinct(StudyItemRow.n_answered)))
        assert counts.all() == [N_JUDGES]
    p95 = sorted(saves)[int(0.95 * len(saves))]
    print(f"p95 of {len(saves)} saves: {p95 * 1000:.1f} ms")
