"""How uncertain the ranking is at each item, over what may happen to a study and to the working out."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.database import Database, open_database
from storage.doubtful_items import KEPT_SECONDS, DoubtfulItems
from storage.records import OVERALL
from storage.records_pairs import NamedBlend, OutcomeCount, PairFilter
from storage.records_studies import Ordering, Question, Study, StudyState
from storage.sql_repository import SqlRepository
from storage.sql_results import SqlResults
from storage.sql_studies import SqlStudies
from tests.storage.study_examples import an_item, answers_to, some_settings

PLAIN, GOOD, OTHER = (NamedBlend(key, {"helpfulness": float(place)}) for place, key in enumerate(("p", "g", "o")))


class Breakable(SqlResults):
    """Real results, whose counts can be made to fail as any fault in them would."""

    is_broken = False

    def outcome_counts(self, wanted: PairFilter) -> tuple[OutcomeCount, ...]:
        if self.is_broken:
            raise ZeroDivisionError("a fault in the ranking")
        return super().outcome_counts(wanted)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with open_database(f"sqlite:///{tmp_path}/tiller.db") as opened:
        yield opened


def a_study(studies: SqlStudies) -> Study:
    settings = some_settings(
        questions=(Question(OVERALL, "Which?"),), blends=(PLAIN, GOOD, OTHER), ordering=Ordering.UNCERTAIN
    )
    return studies.create_study("pilot", settings)


def test_what_was_read_while_a_study_was_written_is_read_anew_when_there_is_more(database: Database) -> None:
    """The items there were at the first look once stayed the only ones that were ever in doubt."""
    studies, now = SqlStudies(database), [0.0]
    doubtful = DoubtfulItems(SqlResults(database), clock=lambda: now[0])
    study = a_study(studies)
    first, later = an_item(study.id, blend_a=PLAIN, blend_b=GOOD), an_item(study.id, blend_a=GOOD, blend_b=OTHER)
    studies.add_items(study.id, [first])
    assert doubtful.scores(study).keys() == {first.id}
    studies.add_items(study.id, [later])
    studies.set_state(study.id, StudyState.OPEN)
    ada = SqlRepository(database).annotator("hash", "Ada").id
    for _ in range(2):
        given = studies.next_assignment(study.id, ada)
        assert given is not None
        studies.answer(answers_to(given)[:1])
    now[0] += KEPT_SECONDS + 1
    assert doubtful.scores(study).keys() == {first.id, later.id}


def test_a_fault_in_the_ranking_is_logged_and_the_last_scores_hold(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    studies, results, now = SqlStudies(database), Breakable(database), [0.0]
    doubtful = DoubtfulItems(results, clock=lambda: now[0])
    study = a_study(studies)
    studies.add_items(study.id, [an_item(study.id, blend_a=PLAIN, blend_b=GOOD)])
    before = dict(doubtful.scores(study))
    assert before
    results.is_broken = True
    now[0] += KEPT_SECONDS + 1
    with caplog.at_level(logging.ERROR):
        assert doubtful.scores(study) == before
        assert doubtful.scores(study) == before
    # Once: it is not tried again at every save.
    assert [record.message for record in caplog.records] == [f"the ranking of study {study.id} was not worked out anew"]
