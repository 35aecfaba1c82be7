"""Sixteen judges at once over HTTP against a served page; `python -m benchmarks.judging` does a hundred items each."""

from collections import Counter
from pathlib import Path

import pytest

from benchmarks.judging import count, judge
from storage.database import Database
from storage.records_pairs import PairFilter
from storage.sql_results import SqlResults
from tests.ui.judge.serving import a_study, judging

N_JUDGES, N_ITEMS = 16, 12


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/tiller.db"
    database: Database = request.getfixturevalue("postgresql")
    return database.engine.url.render_as_string(hide_password=False)


def test_sixteen_judges_over_http_store_every_judgement_once(tmp_path: Path, database_url: str) -> None:
    with judging(tmp_path, database_url) as served:
        study_id = a_study(served.studies, N_ITEMS, overlap=N_JUDGES)
        log = judge(served.base_url, study_id, N_JUDGES, pause_seconds=0.0)
        assert log.errors == []
        assert len(log.saves) == N_JUDGES * N_ITEMS
        assert count(served.database, study_id) == (N_JUDGES * N_ITEMS, 0)
        pairs = list(SqlResults(served.database).pairs(PairFilter(), with_texts=False))
        assert set(Counter(pair.annotator_id for pair in pairs).values()) == {N_ITEMS}
        assert served.database.integrity_check() == ()


def test_judges_who_are_too_many_for_a_study_share_it_and_answer_nothing_twice_or_too_often(
    tmp_path: Path, database_url: str
) -> None:
    with judging(tmp_path, database_url) as served:
        study_id = a_study(served.studies, 30, overlap=2)
        log = judge(served.base_url, study_id, 8, pause_seconds=0.0)
        assert log.errors == []
        assert count(served.database, study_id) == (60, 0)
        pairs = list(SqlResults(served.database).pairs(PairFilter(), with_texts=False))
        assert set(Counter(pair.comparison_id for pair in pairs).values()) == {2}
