"""What the Studies page does, without Gradio: studies are checked, made, written, closed, and their changes read."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from steering.errors import BusyError, InputError
from storage.records_pairs import PairFilter
from storage.records_studies import Study, StudyState, StudySummary
from storage.study_repository import ResultsRepository, StudyRepository
from ui import wording_studies as wording
from ui.prompt_files import ReadPrompt
from ui.runs import SteerEngine
from ui.settings import Settings
from ui.studies import change_publishing, close_study, create_study, n_comparisons, reopen_study
from ui.study_documents import stored_plan, toml_of
from ui.study_files import StudyPlan
from ui.studying.changes import Changes, FileKind, changes_before, write_changes
from ui.studying.forms import Values, dimensions_of, plan_of, prompts_read
from ui.studying.sizing import Size, seconds_to_write, size_of
from ui.studying.writing import Writer, Written
from ui.visitors import SessionTokens, server_secret

ACTOR = "page"
"""Who did it, in the audit: whoever was let in; the page knows no more of them."""


class Stage(StrEnum):
    """What becomes of a study now; STOPPED: answers are missing and nobody writes them."""

    WRITING = "writing"
    WAITING = "waiting"
    STOPPED = "stopped"
    OPEN = "open"
    CLOSED = "closed"


class Deed(StrEnum):
    """What can be done with a study."""

    WRITE = "write"
    STOP = "stop"
    CLOSE = "close"
    REOPEN = "reopen"
    PUBLISH = "publish"
    PUBLISH_NOT = "publish-not"


@dataclass(frozen=True)
class Listed:
    """A study in the list: its comparisons ``n_there`` of ``n_all``; ``failure`` says why writing them ended."""

    summary: StudySummary
    stage: Stage
    n_there: int
    n_all: int
    failure: str = ""


@dataclass(frozen=True)
class Checked:
    """A form that can be made: ``seconds`` its answers take at most, None where the models had no time to be asked."""

    plan: StudyPlan
    size: Size
    seconds: float | None


class StudyingActions:
    """The actions of the Studies page; methods may be called from any thread.

    ``is_private`` says that only people who were let in see the page: else nothing is made or changed on it, and the
    changes are not shown. Without an access code a page is private only to this machine: see ``ui.privacy``.

    Raises:
        SettingsError: the server's secret under ``settings.home`` cannot be read or made.
    """

    def __init__(
        self,
        engine: SteerEngine,
        studies: StudyRepository,
        results: ResultsRepository,
        settings: Settings,
        *,
        is_private: bool,
    ) -> None:
        self.is_private, self.has_code = is_private, bool(settings.access_code)
        self.engine = engine
        self.settings = settings
        self._studies = studies
        self._results = results
        self._tokens = SessionTokens(server_secret(settings.home), "studies")
        self._writer = Writer(engine, studies)
        self._n_all: dict[str, int] = {}

    @property
    def written(self) -> Written:
        """What is being written, and what waits."""
        return self._writer.written

    def session_token(self, session_id: str) -> str:
        """What a page must show with everything it changes; the same after a restart of the server."""
        return self._tokens.of(session_id)

    def check_token(self, session_id: str, token: object) -> None:
        """Refuse a page that was not given this token, and any page that is open to everybody.

        Raises:
            InputError: the token is another one, or the page is not private.
        """
        if not self.is_private:
            raise InputError(wording.NOT_PRIVATE, hint=wording.NOT_PRIVATE_HINT)
        if not self._tokens.is_of(session_id, token):
            raise InputError(wording.BAD_TOKEN, hint=wording.BAD_TOKEN_HINT)

    def listing(self) -> tuple[Listed, ...]:
        """Every study, newest first.

        Raises:
            StorageError: the database cannot be read.
        """
        written = self._writer.written  # before the database: a study done meanwhile is then shown as open, not stopped
        return tuple(self._listed(summary, written) for summary in self._studies.studies())

    def prompts(self, values: Values) -> tuple[ReadPrompt, ...]:
        """What became of each prompt of the form.

        Raises:
            PromptError: there are none, or the file cannot be used as a whole.
        """
        return prompts_read(values)

    def draft(self, values: Values) -> tuple[str, str]:
        """The name of the study the form asks for, and the TOML file that makes it on the command line.

        Raises:
            InputError: a field is missing or wrong; the message names it.
        """
        plan = plan_of(values, dimensions_of(values), self.settings)
        return plan.name, toml_of(plan)

    def check(self, values: Values, session_id: str) -> Checked:
        """The study the form asks for, how much it is, and how long it takes; a few tokens are written to know.

        Raises:
            InputError: a field is missing or wrong, or the first prompt does not fit; the message names it.
            CapacityError: memory has run out.
        """
        plan = plan_of(values, dimensions_of(values), self.settings)
        try:
            seconds = seconds_to_write(self.engine, plan.settings, session_id)
        except BusyError:
            seconds = None
        return Checked(plan, size_of(plan.settings), seconds)

    def make(self, values: Values, session_id: str) -> Study:
        """Make the study the form asks for and have its answers written.

        Raises:
            InputError: a field is missing or wrong, or another study has the name.
            CapacityError: memory has run out.
            StorageError: the database cannot be written.
        """
        study = create_study(self._studies, self.check(values, session_id).plan, ACTOR)
        self._writer.start(study.id, ACTOR)
        return study

    def do(self, study_id: str, deed: Deed) -> Study:
        """Have a study's answers written or not any more, close it, open it again, or let it publish by itself or not.

        Raises:
            NotFoundError: there is no such study.
            InputError: the study is in a state in which that cannot be done.
            StorageError: the database cannot be written.
        """
        study = self._studies.study(study_id)
        if deed is Deed.WRITE:
            self._writer.start(study_id, ACTOR)
        elif deed is Deed.STOP:
            self._writer.stop(study_id)
        elif deed in (Deed.PUBLISH, Deed.PUBLISH_NOT):
            study = change_publishing(self._studies, study.name, enabled=deed is Deed.PUBLISH, actor=ACTOR)
        else:
            change = close_study if deed is Deed.CLOSE else reopen_study
            study = change(self._studies, study.name, ACTOR)
        return study

    def toml(self, study_id: str) -> tuple[str, str]:
        """A study's name and the TOML file that makes it again.

        Raises:
            NotFoundError: there is no such study.
        """
        study = self._studies.study(study_id)
        return study.name, toml_of(stored_plan(self._studies, study))

    def changes(self, before: int | None, study_id: str | None) -> Changes:
        """The newest changes before a number, of one study or of everything.

        Raises:
            StorageError: the database cannot be read.
        """
        return changes_before(self._results, before, study_id)

    def export_changes(self, study_id: str | None, kind: FileKind, folder: Path) -> Path:
        """Every change as a file below ``folder``.

        Raises:
            StorageError: the database cannot be read.
        """
        return write_changes(self._results, study_id, kind, folder)

    def names(self) -> dict[str, str]:
        """What studies and annotators are called, by id.

        Raises:
            StorageError: the database cannot be read.
        """
        names = {study.id: study.name for study in self._studies.studies()}
        counts = self._results.annotator_counts(PairFilter())
        return names | {one.annotator_id: one.display_name for one in counts if one.display_name}

    def _listed(self, summary: StudySummary, written: Written) -> Listed:
        if summary.state is not StudyState.GENERATING:
            stage = Stage.OPEN if summary.state is StudyState.OPEN else Stage.CLOSED
            return Listed(summary, stage, summary.n_items, summary.n_items)
        if summary.id not in self._n_all:
            self._n_all[summary.id] = n_comparisons(self._studies.study(summary.id).settings)
        stage = Stage.WAITING if summary.id in written.waiting else Stage.STOPPED
        stage = Stage.WRITING if summary.id == written.study_id else stage
        failure = written.failures.get(summary.id, "")
        return Listed(summary, stage, summary.n_items, self._n_all[summary.id], failure)
