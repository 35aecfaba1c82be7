"""What the Guides page does, without Gradio: versions are shown, published, rolled back, tried and retrained."""

import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.answers import Answer, ComparisonRequest
from models.versions.publishing import GuideVersions
from models.versions.registry import Version
from steering.errors import InputError
from steering.types import Blend, Message, Role, SamplingSettings
from storage.records_pairs import PairFilter
from storage.study_repository import ResultsRepository, StudyRepository
from ui import wording_guides as wording
from ui.forms import MAX_WEIGHT
from ui.guides.asking import Ask
from ui.guides.gate import Gate
from ui.guides.retraining import Retrainer
from ui.guides.runs import RetrainFolder
from ui.guides.usable import Usable, usable
from ui.guides.verdict import Verdict, verdict_of
from ui.results.actions import STEER
from ui.runs import UPDATE_SECONDS
from ui.settings import Settings
from ui.visitors import SessionTokens, server_secret

TRY_TOKENS = 120


@dataclass(frozen=True)
class GuideView:
    """A guide's versions, newest first; ``active`` shall answer, ``answering`` does (None: none, or not numbered)."""

    dimension: str
    versions: tuple[Version, ...]
    active: int | None
    before: int | None
    answering: int | None


@dataclass(frozen=True)
class Tried:
    """Two answers side by side: of the active version, or the base alone, and of the one tried."""

    old_name: str
    new_name: str
    old: Answer
    new: Answer


class GuidesActions:
    """The actions of the Guides page; methods may be called from any thread.

    ``is_private`` says that only people who were let in see the page: else nothing is made or changed on it.
    Without an access code a page is private only to this machine: see ``ui.privacy``.

    Raises:
        SettingsError: the server's secret under ``settings.home`` cannot be read or made.
    """

    def __init__(
        self,
        versions: GuideVersions,
        studies: StudyRepository,
        results: ResultsRepository,
        settings: Settings,
        *,
        is_private: bool,
    ) -> None:
        self.is_private, self.has_code = is_private, bool(settings.access_code)
        self.settings = settings
        self._versions, self._studies, self._results = versions, studies, results
        self._tokens = SessionTokens(server_secret(settings.home), "guides")
        self.retrainer = Retrainer(versions, studies, results, settings)
        self.sliders = tuple(guide.dimension for guide in versions.engine.guides)  # those Steer was laid out with

    @property
    def notes(self) -> tuple[str, ...]:
        """What went wrong with versions when Tiller started."""
        return self._versions.notes

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

    def guides(self) -> tuple[GuideView, ...]:
        """Every guide with its versions.

        Raises:
            LoadError: the versions cannot be read.
        """
        found = []
        for dimension in self._versions.dimensions:
            candidates = self._versions.registry.candidates(dimension)
            numbers = [version.number for version in candidates[:2]]
            active, before = (*numbers, None, None)[:2]
            versions = tuple(reversed(self._versions.versions(dimension)))
            found.append(GuideView(dimension, versions, active, before, self._versions.answering(dimension)))
        return tuple(found)

    def version(self, key: object) -> Version:
        """The version a page's list calls ``key``.

        Raises:
            InputError: it calls none so.
        """
        dimension, _, number = str(key or "").rpartition("/")
        if not dimension or not number.isdecimal():
            raise InputError(wording.NO_VERSION, hint=wording.NO_VERSION_HINT)
        return self._versions.registry.version(dimension, int(number))

    def publish(self, key: object) -> Version:
        """Make a version the one that answers.

        Raises:
            InputError: there is no such version.
            LoadError: it cannot be used; the guide that answered goes on.
        """
        version = self.version(key)
        return self._versions.publish(version.dimension, version.number)

    def roll_back(self, key: object) -> Version | None:
        """Go back to the version before the active one, of the guide of which ``key`` is a version; None: to no guide.

        Raises:
            InputError: nothing was published that could be rolled back.
            LoadError: it cannot be used; the guide that answered goes on.
        """
        return self._versions.roll_back(self.version(key).dimension)

    def refresh(self) -> dict[str, Version | None]:
        """Answer with what another process has published or rolled back; returns what was taken in by dimension.

        Raises:
            LoadError: an active version cannot be used; the guide that answered goes on.
        """
        return self._versions.refresh()

    def assessed(self, version: Version) -> tuple[dict[str, Any], Verdict]:
        """How a version compares with the one it was to replace, and what that says; empty where there is none."""
        for folder in self.retrainer.all():
            if folder.version == version.number and folder.ask.dimension == version.dimension:
                return folder.assessed, verdict_of(folder.assessed, version.card, folder.gate.margin)
        return {}, verdict_of({}, version.card)

    def questions(self) -> tuple[str, ...]:
        """The dimensions that studies ask about, and those of the guides.

        Raises:
            StorageError: the database cannot be read.
        """
        asked = [
            question.dimension
            for study in self._studies.studies()
            for question in self._studies.study(study.id).settings.questions
        ]
        return tuple(dict.fromkeys([*self._versions.dimensions, *asked]))

    def sources(self) -> list[tuple[str, str]]:
        """Where judgements may come from: what each is called, and its id.

        Raises:
            StorageError: the database cannot be read.
        """
        studies = [(study.name, study.id) for study in self._studies.studies()]
        return [(wording.ALL_STUDIES, ""), *studies, (wording.STEER_PAGE, STEER)]

    def annotators(self) -> dict[str, str]:
        """What everybody who judged is called, by id.

        Raises:
            StorageError: the database cannot be read.
        """
        counts = self._results.annotator_counts(PairFilter(include_steer=True))
        names: dict[str, str] = {}
        for one in counts:
            names.setdefault(one.annotator_id, one.display_name or wording.NAMELESS.format(id=one.annotator_id[:6]))
        return names

    def usable(self, ask: Ask) -> Usable:
        """What a training would use.

        Raises:
            InputError: nothing is left to train or to test on.
            StorageError: the database cannot be read.
        """
        with tempfile.TemporaryDirectory(prefix="tiller-usable-") as folder:
            return usable(self._results, ask, Path(folder) / "data")

    def gate(self, ask: Ask) -> Gate:
        """What the studies behind a training say of publishing; see :meth:`ui.guides.retraining.Retrainer.gate`."""
        return self.retrainer.gate(ask)

    def start(self, ask: Ask) -> RetrainFolder:
        """Begin to retrain; see :meth:`ui.guides.retraining.Retrainer.start`."""
        return self.retrainer.start(ask)

    def try_out(self, key: object, prompt: object, weight: object, seed: object, owner: str) -> Iterator[Tried]:
        """Answer a prompt with the active version and with another one, at the same weight and seed.

        Raises:
            InputError: the prompt is empty or too long, or there is no such version.
            CapacityError: memory does not suffice for both.
        """
        version = self.version(key)
        text = str(prompt or "").strip()
        if len(text) > self.settings.max_prompt_chars:
            raise InputError(wording.LONG_PROMPT, hint=wording.LONG_PROMPT_HINT)
        weight = _number(weight, 0.0, MAX_WEIGHT)
        active = self._versions.active(version.dimension)
        n_tokens = min(TRY_TOKENS, self.settings.max_new_tokens_limit)
        sampling = SamplingSettings(max_new_tokens=n_tokens, seed=round(_number(seed, 0, 2**31 - 1)))
        message = (Message(Role.USER, text),)
        with self._versions.try_out(version.dimension, version.number) as tried:
            old = Blend({version.dimension: weight}) if active is not None else Blend()
            request = ComparisonRequest(message, (old, Blend({tried.dimension: weight})), sampling)
            names = (active.name if active is not None else wording.BASE_ALONE, version.name)
            drawn_at = 0.0
            with closing(tried.trial.compare(request, owner=owner)) as reports:
                for progress in reports:
                    if progress.finished or (progress.n_tokens and time.monotonic() - drawn_at > UPDATE_SECONDS):
                        drawn_at = time.monotonic()
                        yield Tried(*names, *progress.answers())


def _number(value: object, low: float, high: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise InputError(wording.BAD_NUMBER.format(low=low, high=high), hint=wording.BAD_NUMBER_HINT)
    return float(value)
