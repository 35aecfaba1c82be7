"""What the page offers the command line offers, too: a study as TOML, and a closed one opened again."""

import os
import tomllib
from pathlib import Path

import pytest

from storage.database import open_database
from storage.records_publishing import Publishing
from storage.records_studies import StudyState
from storage.sql_studies import SqlStudies
from tests.ui.test_commands_generating import an_engine
from tests.ui.test_commands_study_files import example
from ui.cli import main
from ui.studies import generate_answers
from ui.study_files import study_plan

NAME = "Pilot: helpful and harmless"
Capture = pytest.CaptureFixture[str]


def exit_code_of(arguments: list[str]) -> int:
    """What the command ends with, also where its arguments are refused before it begins."""
    try:
        return main(arguments)
    except SystemExit as error:
        return int(str(error.code))


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


def test_publishing_by_itself_is_switched_with_a_margin_or_the_one_there_was(home: Path, capsys: Capture) -> None:
    def said(*given: str) -> str:
        assert main(["study", "publishing", NAME, *given, "--home", str(home)]) == 0
        return capsys.readouterr().out

    def stored() -> Publishing:
        assert main(["study", "toml", NAME, "--home", str(home)]) == 0
        return study_plan(tomllib.loads(capsys.readouterr().out), home).settings.publish

    capsys.readouterr()
    assert stored() == Publishing()
    assert "more than 0.025 nats per token" in said("--on", "--margin", "0.025")
    assert stored() == Publishing(enabled=True, margin=0.025)
    assert "nothing published by itself" in said("--off")
    assert main(["study", "list", "--home", str(home)]) == 0
    assert capsys.readouterr().out.split()[-1] == "no"
    said("--on")
    assert stored() == Publishing(enabled=True, margin=0.025)
    assert main(["study", "list", "--home", str(home)]) == 0
    assert capsys.readouterr().out.split()[-1] == "yes"


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["--on", "--margin", "-1"], "margin for publishing is -1.0"),
        (["--on", "--margin", "nan"], "margin for publishing is nan"),
        (["--on", "--off"], "not allowed with argument"),
        ([], "one of the arguments --on --off is required"),
    ],
)
def test_publishing_by_itself_that_makes_no_sense_is_refused(
    home: Path, capsys: Capture, given: list[str], says: str
) -> None:
    capsys.readouterr()
    code = exit_code_of(["study", "publishing", NAME, *given, "--home", str(home)])
    assert (code, says in capsys.readouterr().err) == (2, True)


def test_creating_a_study_that_publishes_by_itself_says_so(home: Path, capsys: Capture) -> None:
    text = example().replace(NAME, "Another") + "\n[publish]\nenabled = true\n"
    (home / "another.toml").write_text(text, "utf-8")
    assert main(["study", "create", str(home / "another.toml"), "--home", str(home)]) == 0
    assert "published by itself once it is better" in capsys.readouterr().out


@pytest.mark.parametrize("action", [["toml"], ["reopen"], ["publishing", "--on"]], ids=lambda words: words[0])
def test_a_study_that_is_not_there_is_told(home: Path, capsys: Capture, action: list[str]) -> None:
    assert main(["study", *action, "pilot", "--home", str(home)]) == 2
    assert f"The studies are: {NAME!r}" in capsys.readouterr().err
