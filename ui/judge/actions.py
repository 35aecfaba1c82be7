"""What the Judge page does, without Gradio.

Nothing of a judge is remembered here: who they are and what they were given is in the database, so a reload, a restart
and another machine make no difference. What is shown of an item is its texts in the order drawn for this judge, and
nothing that tells whose they are, or which item it is.
"""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from steering.errors import InputError
from storage.doubtful_items import DoubtfulItems
from storage.records import MAX_NAME_CHARS, Annotator
from storage.records_pairs import CanonicalSide
from storage.records_seen import Seen, Standing
from storage.records_studies import Answer, Assignment, Ordering, Progress, Study, StudyState, StudySummary
from storage.repository import Repository
from storage.study_repository import StudyRepository
from ui import wording_judge as wording
from ui.judge import payload
from ui.judge.item_handles import ItemHandles
from ui.judge.login import Login, credential_for, is_credential, is_like_a_login, login_from
from ui.visitors import SessionTokens, key_hash, server_secret

MAX_REMEMBERED_STUDIES = 100


@dataclass(frozen=True)
class Desk:
    """What lies before a judge: an item or, when nothing is left, None; ``revealed`` names the last one's blends.

    ``handle`` is what the page calls the item, whose id it must not see; empty when nothing is left. ``told`` is what
    has to be said of what they sent; empty where it was simply stored.
    """

    study: str
    shown: Seen | None
    handle: str
    questions: tuple[str, ...]
    progress: Progress
    can_undo: bool
    revealed: tuple[str, str] | None = None
    told: str = ""


class JudgeActions:
    """The actions of the Judge page for every judge; methods may be called from any thread.

    ``doubtful`` says where a study's ranking is uncertain; without it items with as few answers come in any order.

    Raises:
        SettingsError: the server's secret under ``home`` cannot be read or made.
    """

    def __init__(
        self, repository: Repository, studies: StudyRepository, home: Path, doubtful: DoubtfulItems | None = None
    ) -> None:
        self._doubtful = doubtful
        self._repository = repository
        self._studies = studies
        self._secret = server_secret(home)
        self._tokens = SessionTokens(self._secret, "judge")
        self._known: dict[str, Study] = {}

    def open_studies(self) -> tuple[StudySummary, ...]:
        """The studies that can be judged now, newest first.

        Raises:
            StorageError: the database cannot be read.
        """
        return tuple(study for study in self._studies.studies() if study.state is StudyState.OPEN)

    def session_token(self, session_id: str) -> str:
        """What a page must show with everything it writes; the same after a restart of the server."""
        return f"{session_id}.{self._tokens.of(session_id)}"

    def check_token(self, token: object, session_id: str | None = None) -> None:
        """Refuse a page that was not given this token, or where the session is known, one of another session.

        Raises:
            InputError: the token is another one.
        """
        named, _, signature = token.rpartition(".") if isinstance(token, str) else ("", "", "")
        if not self._tokens.is_of(named, signature) or session_id not in (None, named):
            raise InputError(wording.BAD_TOKEN, hint=wording.BAD_TOKEN_HINT)

    def consent_of(self, study_id: str) -> str:
        """The text a judge must accept before judging; empty for none.

        Raises:
            NotFoundError: there is no such study.
        """
        return self._study(study_id).settings.consent

    def start(self, study_id: object, name: object, has_accepted: bool) -> Desk:
        """Sit down at a study under a name; goes on where that name stopped.

        Raises:
            InputError: study or name are missing, the study is not open, or its text was not accepted.
            StorageError: the database cannot be read or written.
        """
        study = self._picked(study_id)
        annotator = self._annotator(name)
        if not self._studies.has_consented(study.id, annotator.id):
            if not has_accepted:
                raise InputError(wording.NEEDS_CONSENT, hint=wording.NEEDS_CONSENT_HINT)
            self._studies.accept_consent(study.id, annotator.id)
        return self._desk(study, annotator)

    def save(self, study_id: object, name: object, sent: object) -> Desk:
        """Store what was said of an item, all questions or none, and lay the next one out; again changes nothing.

        When the study has closed, what was said is stored and nothing lies on the desk any more.

        Raises:
            InputError: what was sent cannot be used, or is of an item this judge's page did not show.
            StorageError: the database cannot be read or written.
        """
        study = self._picked(study_id)
        answered = payload.read(sent)
        annotator = self._annotator(name)
        item_id = self._handles(study, annotator).item_id(answered.handle)
        answers = answered.to_answers(item_id, annotator.id, study.settings.dimensions)
        return self._desk(study, annotator, answers, just_saved=item_id)

    def undo(self, study_id: object, name: object) -> Desk:
        """Take back the judge's last answer and lay its item out again, up to ten in turn.

        Raises:
            InputError: nothing can be taken back, or the study tells whose the answers were.
            StorageError: the database cannot be read or written.
        """
        study = self._picked(study_id)
        if study.settings.reveals:
            raise InputError(wording.NO_UNDO, hint=wording.NO_UNDO_HINT)
        annotator = self._annotator(name)
        last = self._studies.answered(study.id, annotator.id, limit=1)
        if not last:
            raise InputError(wording.NOTHING_TO_UNDO, hint=wording.NOTHING_TO_UNDO_HINT)
        self._studies.undo(last[0].item.id, annotator.id)
        return self._desk(study, annotator)

    def _desk(self, study: Study, annotator: Annotator, answers: Sequence[Answer] = (), just_saved: str = "") -> Desk:
        is_sought = study.settings.ordering is Ordering.UNCERTAIN
        uncertainty = self._doubtful.scores(study) if self._doubtful and is_sought else None
        standing = self._studies.go_on(study.id, annotator.id, answers, uncertainty)
        reveals, seen = study.settings.reveals, standing.seen
        return Desk(
            study.name,
            seen,
            self._handles(study, annotator).of(seen.item_id) if seen is not None else "",
            tuple(question.text for question in study.settings.questions),
            standing.progress,
            can_undo=standing.progress.n_answered > 0 and not reveals and not standing.is_closed,
            revealed=self._revealed(study, annotator, just_saved) if reveals and just_saved else None,
            told=_told(standing),
        )

    def _handles(self, study: Study, annotator: Annotator) -> ItemHandles:
        return ItemHandles(self._secret, study.id, annotator.id)

    def _revealed(self, study: Study, annotator: Annotator, item_id: str) -> tuple[str, str] | None:
        last = self._studies.answered(study.id, annotator.id, limit=1)
        if not last or last[0].item.id != item_id:
            return None
        return _in_shown_order(last[0], (last[0].item.blend_a.key, last[0].item.blend_b.key))

    def _picked(self, study_id: object) -> Study:
        if not isinstance(study_id, str) or not study_id:
            raise InputError(wording.NO_STUDY, hint=wording.NO_STUDY_HINT)
        return self._study(study_id)

    def _study(self, study_id: str) -> Study:
        """The study; what is asked never changes, so it is read once. Its state may be of an earlier time."""
        known = self._known.get(study_id)
        if known is None:
            known = self._studies.study(study_id)
            if len(self._known) >= MAX_REMEMBERED_STUDIES:
                self._known.clear()
            self._known[study_id] = known
        return known

    def credential(self, login: Login) -> str:
        """What the page of somebody who logged in sends as their name."""
        return credential_for(login, self._secret)

    def _annotator(self, name: object) -> Annotator:
        if isinstance(name, str) and is_credential(name):
            login = login_from(name, self._secret)
            return self._repository.annotator(login.key_hash(self._secret), display_name=login.display_name)
        spoken = " ".join(name.split()) if isinstance(name, str) else ""
        if not spoken:
            raise InputError(wording.NO_NAME, hint=wording.NO_NAME_HINT)
        if len(spoken) > MAX_NAME_CHARS:
            words = wording.LONG_NAME.format(count=len(spoken), limit=MAX_NAME_CHARS)
            raise InputError(words, hint=wording.LONG_NAME_HINT)
        if is_like_a_login(spoken):
            raise InputError(wording.LIKE_A_LOGIN, hint=wording.LIKE_A_LOGIN_HINT)
        return self._repository.annotator(key_hash(self._secret, normalised(spoken)), display_name=spoken)


def _told(standing: Standing) -> str:
    if standing.is_refused:
        return wording.JUDGED_AND_CLOSED if standing.is_closed else wording.ALREADY_JUDGED
    return wording.SAVED_AND_CLOSED if standing.is_closed else ""


def normalised(name: str) -> str:
    """A name without what people do not mean by it: capitals, extra spaces, other forms of the same letters."""
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())


def _in_shown_order(assignment: Assignment, a_and_b: tuple[str, str]) -> tuple[str, str]:
    return a_and_b if assignment.shown_left is CanonicalSide.A else (a_and_b[1], a_and_b[0])
