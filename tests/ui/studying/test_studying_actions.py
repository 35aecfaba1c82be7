"""The Studies page without Gradio, over real SQLite: what is made, who may make it, and how it stands in the list."""

import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from steering.errors import BusyError, InputError, NotFoundError
from steering.types import Choice
from storage.database import Database, open_database
from storage.records import new_id
from storage.records_publishing import Publishing
from storage.records_studies import Answer
from storage.sql_repository import SqlRepository
from storage.sql_results import SqlResults
from storage.sql_studies import SqlStudies
from tests.ui.fakes import ScriptedEngine
from tests.ui.pages import wait_until
from tests.ui.studying.typed import DIMENSIONS, typed
from tests.ui.test_commands_generating import an_engine
from ui.settings import Settings
from ui.study_documents import stored_plan
from ui.study_files import study_plan
from ui.studying.actions import Deed, Listed, Stage, StudyingActions
from ui.studying.forms import plan_of

ROOT = Path(__file__).parent.parent.parent.parent


@dataclass(frozen=True)
class Desk:
    """A database with its page's actions."""

    database: Database
    settings: Settings

    @property
    def studies(self) -> SqlStudies:
        return SqlStudies(self.database)

    def actions(self, engine: ScriptedEngine | None = None, is_private: bool = True) -> StudyingActions:
        results = SqlResults(self.database)
        return StudyingActions(engine or an_engine(), self.studies, results, self.settings, is_private=is_private)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    settings = Settings(home=tmp_path)
    with open_database(settings.database_url) as database:
        yield Desk(database, settings)


def only(actions: StudyingActions) -> Listed:
    (listed,) = actions.listing()
    return listed


def wait_for(actions: StudyingActions, stage: Stage) -> Listed:
    wait_until(lambda: only(actions).stage is stage)
    return only(actions)


def test_a_study_made_on_the_page_is_written_judged_closed_and_opened_again(desk: Desk) -> None:
    actions = desk.actions()
    study = actions.make(typed(overlap=2, question_2_text="", question_2_dimension=""), "session")
    listed = wait_for(actions, Stage.OPEN)
    assert (listed.n_there, listed.n_all, listed.summary.n_wanted) == (3, 3, 6)
    judged = desk.studies.next_assignment(study.id, SqlRepository(desk.database).annotator("h", "Ada").id)
    assert judged is not None
    actions.do(study.id, Deed.CLOSE)
    assert only(actions).stage is Stage.CLOSED
    actions.do(study.id, Deed.REOPEN)
    assert only(actions).stage is Stage.OPEN
    entries = [(entry.action, entry.actor) for entry in actions.changes(None, study.id).entries]
    assert entries[:3] == [("open", "page"), ("closed", "page"), ("open", "page")]


def test_the_check_tells_how_much_it_is_and_makes_nothing(desk: Desk) -> None:
    checked = desk.actions().check(typed(overlap=2), "session")
    assert (checked.size.n_comparisons, checked.size.n_answers, checked.size.n_judgements) == (3, 6, 3 * 2 * 3)
    assert checked.seconds is not None
    assert desk.studies.studies() == ()


def test_while_the_models_are_busy_a_study_can_be_made_but_its_time_is_not_known(desk: Desk) -> None:
    actions = desk.actions(an_engine(error=BusyError("Too many others.")))
    assert actions.check(typed(), "session").seconds is None


def test_what_the_engine_refuses_is_told_before_anything_is_made(desk: Desk) -> None:
    actions = desk.actions(an_engine(error=InputError("The prompt has 900 tokens.")))
    with pytest.raises(InputError, match="900 tokens"):
        actions.make(typed(), "session")
    assert desk.studies.studies() == ()


def test_making_the_same_twice_is_one_study_and_another_of_its_name_is_refused(desk: Desk) -> None:
    actions = desk.actions(an_engine(step_seconds=0.02))
    first, second = actions.make(typed(), "session"), actions.make(typed(), "session")
    assert first.id == second.id
    with pytest.raises(InputError, match="already a study 'Pilot'"):
        actions.make(typed(overlap=2), "session")
    wait_for(actions, Stage.OPEN)
    assert len(desk.studies.items(first.id)) == 3


def test_a_study_whose_answers_are_missing_is_found_again_after_a_restart(desk: Desk) -> None:
    pasted = "\n".join(f"Question {number}?" for number in range(9))
    actions = desk.actions(an_engine(step_seconds=0.02))
    study = actions.make(typed(pasted=pasted), "session")
    assert only(actions).stage in (Stage.WAITING, Stage.WRITING)
    wait_until(lambda: len(desk.studies.items(study.id)) >= 2)
    actions.do(study.id, Deed.STOP)
    wait_until(lambda: actions.written.study_id is None)
    anew = desk.actions()
    listed = only(anew)
    assert (listed.stage, listed.n_all) == (Stage.STOPPED, 9)
    assert 2 <= listed.n_there < 9
    with pytest.raises(InputError, match="not all there"):
        anew.do(study.id, Deed.REOPEN)
    anew.do(study.id, Deed.WRITE)
    assert wait_for(anew, Stage.OPEN).n_there == 9


def test_a_failure_stands_at_the_study_until_it_is_written(desk: Desk) -> None:
    engine = an_engine(late_error=InputError("It broke."))
    actions = desk.actions(an_engine(error=BusyError("busy")))
    study = actions.make(typed(), "session")
    actions.do(study.id, Deed.STOP)
    wait_until(lambda: actions.written.study_id is None)
    anew = desk.actions(engine)
    anew.do(study.id, Deed.WRITE)
    wait_until(lambda: bool(only(anew).failure))
    assert "Prompt 1: It broke." in only(anew).failure
    engine.late_error = None
    anew.do(study.id, Deed.WRITE)
    assert wait_for(anew, Stage.OPEN).failure == ""


def test_the_toml_of_the_form_and_of_the_stored_study_make_the_same_study_on_the_command_line(desk: Desk) -> None:
    gold = {"gold_share": 10, "gold_1_prompt": "1 + 1?", "gold_1_right": "Two.", "gold_1_wrong": "Fish."}
    values = typed(**gold, consent="Agree?", publish=True, margin=0.2)
    actions = desk.actions()
    name, draft = actions.draft(values)
    study = actions.make(values, "session")
    plan = plan_of(values, DIMENSIONS, desk.settings)
    assert name == "Pilot"
    for toml in (draft, actions.toml(study.id)[1]):
        assert study_plan(tomllib.loads(toml), Path("nowhere")) == plan
    home = desk.settings.home / "elsewhere"
    home.mkdir()
    (home / "study.toml").write_text(draft, encoding="utf-8")
    command = [sys.executable, "-m", "ui.cli", "study", "create", str(home / "study.toml"), "--home", str(home)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=120)
    with open_database(f"sqlite:///{home}/tiller.db") as database:
        (made,) = SqlStudies(database).studies()
        assert stored_plan(SqlStudies(database), SqlStudies(database).study(made.id)) == plan


def test_publishing_by_itself_is_switched_on_the_page_keeps_its_margin_and_is_among_the_changes(desk: Desk) -> None:
    actions = desk.actions()
    study = actions.make(typed(publish=True, margin=0.025), "session")
    assert study.settings.publish == Publishing(enabled=True, margin=0.025)
    wait_for(actions, Stage.OPEN)
    for deed in (Deed.PUBLISH_NOT, Deed.PUBLISH):
        told = actions.do(study.id, deed)
        assert told.settings.publish == only(actions).summary.publish
        assert told.settings.publish == Publishing(deed is Deed.PUBLISH, 0.025)
    newest, before, *_ = actions.changes(None, study.id).entries
    assert (newest.actor, newest.action, newest.details["by_itself"]) == ("page", "publishing", "yes")
    assert (before.details["by_itself"], before.details["margin"]) == ("no", "0.025")


def test_on_a_page_open_to_everybody_no_token_is_good_enough(desk: Desk) -> None:
    actions = desk.actions(is_private=False)
    with pytest.raises(InputError, match="Anybody can open this page"):
        actions.check_token("session", actions.session_token("session"))


def test_a_token_is_good_for_its_own_session_only_also_after_a_restart(desk: Desk) -> None:
    token = desk.actions().session_token("mine")
    desk.actions().check_token("mine", token)
    for session_id, given in (("yours", token), ("mine", token[:-1]), ("mine", None), ("mine", "é")):
        with pytest.raises(InputError, match="not known to the server"):
            desk.actions().check_token(session_id, given)


@pytest.mark.parametrize("deed", Deed)
def test_a_study_that_is_not_there_is_told(desk: Desk, deed: Deed) -> None:
    for study_id in (new_id(), "../x"):
        with pytest.raises(NotFoundError):
            desk.actions().do(study_id, deed)


def test_changes_name_studies_and_those_who_judged(desk: Desk) -> None:
    actions = desk.actions()
    study = actions.make(typed(question_2_text="", question_2_dimension=""), "session")
    wait_for(actions, Stage.OPEN)
    ada = SqlRepository(desk.database).annotator("h", "Ada").id
    assignment = desk.studies.next_assignment(study.id, ada)
    assert assignment is not None
    asked = ("overall", "harmlessness")
    desk.studies.answer([Answer(assignment.item.id, ada, name, Choice.LEFT, new_id()) for name in asked])
    names = actions.names()
    assert (names[study.id], names[ada]) == ("Pilot", "Ada")
