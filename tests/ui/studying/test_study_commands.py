"""What the page offers the command line offers, too: a study as TOML, and a closed one opened again."""

import os
import tomllib
from pathlib import Path

import pytest

from storage.database import open_database
from storage.records_studies import StudyState
from storage.sql_studies import SqlStudies
from tests.ui.test_commands_generating import an_engine
from tests.ui.test_commands_study_files import example
from ui.cli import main
from ui.studies import generate_answers
from ui.study_files import study_plan

NAME = "Pilot: helpful and harmless"
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home of the documentation's study, whose answers are not written yet."""
    for name in [name for name in os.environ if name.startswith("TILLER_")]:
        monkeypatch.delenv(name)
    (tmp_path / "pilot.toml").write_text(example(), "utf-8")
    assert main(["study", "create", str(tmp_path / "pilot.toml"), "--home", str(tmp_path)]) == 0
    return tmp_path


def test_the_printed_toml_makes_the_same_study(home: Path, capsys: Capture) -> None:
    capsys.readouterr()
    assert main(["study", "toml", NAME, "--home", str(home)]) == 0
    printed = capsys.readouterr().out
    assert study_plan(tomllib.loads(printed), home) == study_plan(tomllib.loads(example()), home)


def test_a_closed_study_is_opened_again_but_not_one_whose_answers_are_missing(home: Path, capsys: Capture) -> None:
    assert main(["study", "reopen", NAME, "--home", str(home)]) == 2
    assert "not all there" in capsys.readouterr().err
    with open_database(f"sqlite:///{home}/tiller.db") as database:
        studies = SqlStudies(database)
        (summary,) = studies.studies()
        assert summary.state is StudyState.GENERATING
        list(generate_answers(an_engine(), studies, summary.id))
        assert main(["study", "close", NAME, "--home", str(home)]) == 0
        assert studies.studies()[0].state is StudyState.CLOSED
        assert main(["study", "reopen", NAME, "--home", str(home)]) == 0
        assert studies.studies()[0].state is StudyState.OPEN


@pytest.mark.parametrize("action", ["toml", "reopen"])
def test_a_study_that_is_not_there_is_told(home: Path, capsys: Capture, action: str) -> None:
    assert main(["study", action, "pilot", "--home", str(home)]) == 2
    assert f"The studies are: {NAME!r}" in capsys.readouterr().err
