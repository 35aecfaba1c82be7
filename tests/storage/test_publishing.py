"""Whether a study has guides published by themselves: what may be said, who said it when, and studies of before."""

import json
import math
import sqlite3
from pathlib import Path

import pytest

from steering.errors import InputError, StorageError
from storage.database import Database, open_database
from storage.exchange.archive import export_archive, import_archive
from storage.records_publishing import Publishing
from storage.sql_results import SqlResults
from storage.sql_studies import SqlStudies
from tests.storage.make_fixture import FIXTURES
from tests.storage.study_examples import some_settings


@pytest.mark.parametrize("margin", [-0.01, -1, math.nan, math.inf, 10**400, "0.1", True, None])
def test_a_margin_that_is_no_finite_number_from_0_on_is_refused(margin: object) -> None:
    with pytest.raises(InputError, match="margin for publishing"):
        Publishing(enabled=True, margin=margin)  # type: ignore[arg-type]


@pytest.mark.parametrize("enabled", ["yes", 1, None])
def test_what_is_neither_on_nor_off_is_refused(enabled: object) -> None:
    with pytest.raises(InputError, match="true or false"):
        Publishing(enabled=enabled)  # type: ignore[arg-type]


def test_a_study_that_says_nothing_publishes_nothing_and_has_a_margin_of_a_tenth() -> None:
    assert some_settings().publish == Publishing(enabled=False, margin=0.1)
    assert Publishing(enabled=True, margin=0).margin == 0


def test_the_audit_has_who_let_a_study_publish_with_which_margin_and_who_stopped_it(any_database: Database) -> None:
    studies, results = SqlStudies(any_database), SqlResults(any_database)
    study = studies.create_study("Tone", some_settings(publish=Publishing(enabled=True)), "cli")
    for said in (Publishing(enabled=True), Publishing(margin=0.025), Publishing(margin=0.025)):
        studies.set_publishing(study.id, said, "page")
    told = [(entry.actor, entry.action, dict(entry.details)) for entry in results.audit(record_id=study.id)]
    assert told == [
        ("cli", "made", {"by_itself": "yes", "margin": "0.1"}),
        ("page", "publishing", {"by_itself": "no", "margin": "0.025"}),  # what it said already is no change
    ]


def test_it_is_in_the_archive(database: Database, tmp_path: Path) -> None:
    said = Publishing(enabled=True, margin=0.025)
    study = SqlStudies(database).create_study("Tone", some_settings(publish=said))
    export_archive(database, tmp_path / "archive")
    with open_database(f"sqlite:///{tmp_path}/new.db") as new:
        import_archive(new, tmp_path / "archive")
        assert SqlStudies(new).study(study.id) == study


def test_a_study_of_before_this_could_be_said_publishes_nothing(database: Database) -> None:
    archive = FIXTURES / "0002"
    (saved,) = (archive / "studies.jsonl").read_text("ascii").splitlines()
    assert "publish" not in json.loads(json.loads(saved)["settings"])
    import_archive(database, archive)
    studies = SqlStudies(database)
    (summary,) = studies.studies()
    assert summary.publish == studies.study(summary.id).settings.publish == Publishing()
    said = Publishing(enabled=True, margin=0.5)
    assert studies.set_publishing(summary.id, said).settings.publish == said
    assert studies.studies()[0].publish == said


@pytest.mark.parametrize("stored", ['{"enabled": "yes", "margin": 0.1}', '{"enabled": true, "margin": -1}', "7", "{}"])
def test_what_another_program_wrote_is_damage_or_off_and_never_on(tmp_path: Path, stored: str) -> None:
    file = tmp_path / "tiller.db"
    with open_database(f"sqlite:///{file}") as database:
        study = SqlStudies(database).create_study("Tone", some_settings())
        with sqlite3.connect(file) as connection:
            connection.execute("UPDATE studies SET settings = json_set(settings, '$.publish', json(?))", (stored,))
        connection.close()
        if stored == "{}":
            assert SqlStudies(database).study(study.id) == study
            return
        for read in (SqlStudies(database).studies, lambda: SqlStudies(database).study(study.id)):
            with pytest.raises(StorageError, match="damaged"):
                read()
