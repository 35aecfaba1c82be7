"""What the benchmark of judging counts and says, on databases whose truth is known."""

from pathlib import Path

import pytest

from benchmarks.judges import read_judge_site
from benchmarks.judging import CHOICES, count, make_study, percentiles
from steering.errors import InputError
from steering.types import Choice
from storage.database import open_database
from storage.records import OVERALL, new_id
from storage.records_studies import Answer
from storage.sql_repository import SqlRepository
from storage.sql_studies import SqlStudies


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


def test_every_choice_is_made_and_percentiles_are_those_of_the_inclusive_method() -> None:
    assert set(CHOICES) == {choice.value for choice in Choice}
    figures = percentiles([float(value) for value in range(1, 102)])
    assert figures == {"p50": 51.0, "p95": 96.0, "p99": 100.0, "max": 101.0}
    assert percentiles([1.0]) == {}


def test_a_page_without_judging_is_refused() -> None:
    with pytest.raises(InputError, match="no Judge page"):
        read_judge_site({"components": [], "dependencies": []})
