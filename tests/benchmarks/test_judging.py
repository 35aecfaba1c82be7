"""What the benchmark of judging counts and says, on databases whose truth is known."""

import argparse
import json
import os
from pathlib import Path

import pytest

from benchmarks.judges import read_judge_site
from benchmarks.judging import CHOICES, count, judge, make_study, print_report, summarise
from steering.errors import InputError
from steering.types import Choice
from storage.database import open_database
from storage.records import OVERALL, new_id
from storage.records_studies import Answer
from storage.sql_repository import SqlRepository
from storage.sql_studies import SqlStudies
from tests.ui.judge.serving import judging


def test_it_counts_the_judgements_of_its_own_study_that_hold(tmp_path: Path) -> None:
    with open_database(f"sqlite:///{tmp_path}/tiller.db") as database:
        study_id, other_id = make_study(database, 3, overlap=2), make_study(database, 2, overlap=2)
        studies, repository = SqlStudies(database), SqlRepository(database)
        assert count(database, study_id) == (0, 0)
        for name, wanted in (("Ada", study_id), ("Grace", study_id), ("Ada", other_id)):
            person = repository.annotator(name).id
            while (given := studies.next_assignment(wanted, person)) is not None:
                for choice in (Choice.LEFT, Choice.TIE):  # the first is history then
                    studies.answer([Answer(given.item.id, person, OVERALL, choice, new_id())])
        assert count(database, study_id) == (6, 0)
        assert count(database, other_id) == (2, 0)


def test_every_choice_is_made() -> None:
    assert set(CHOICES) == {choice.value for choice in Choice}


def test_where_nothing_could_be_saved_the_report_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The benchmark once divided by the saves there were none of, and nobody was told what was wrong."""
    with judging(tmp_path) as served:
        study_id = make_study(served.database, 1, overlap=1)
        assert len(judge(served.base_url, study_id, 1, 0.0, os.getpid()).saves) == 1
        nothing = judge(served.base_url, study_id, 1, 0.0, os.getpid())  # the same judge has nothing left
    print_report(summarise(nothing, argparse.Namespace(judges=1, items=2, pause=0.0, database_url=None), (1, 0)))
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert report["seconds_to_save"] == {"n": 0}
    assert not report["is_clean"]


def test_a_page_without_judging_is_refused() -> None:
    with pytest.raises(InputError, match="no Judge page"):
        read_judge_site({"components": [], "dependencies": []})
