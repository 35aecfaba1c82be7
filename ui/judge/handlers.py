"""The Judge page's handlers: read components, call one action, return updates by component."""

import functools
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import gradio as gr

from steering.errors import TillerError
from ui import wording_judge as wording
from ui.components import judge_markup, markup
from ui.components.judge import JudgePage
from ui.components.view import Updates
from ui.handlers import own_session, words_for
from ui.judge.actions import Desk, JudgeActions

PACE_OVER = 20  # saves; older ones say little of how fast somebody is now
LONG_PAUSE_SECONDS = 600.0

Handler = Callable[..., Updates]
Times = tuple[float, ...]


def told_on_page(handler: Handler) -> Handler:
    """Show an error as a message; what was chosen stays where it is."""

    @functools.wraps(handler)
    def guarded(self: "JudgeHandlers", *args: Any) -> Updates:
        try:
            return handler(self, *args)
        except Exception as error:  # noqa: BLE001 - the page's boundary: whatever happens is told, not lost
            return {self.page.message: markup.message(words_for(error))}

    return guarded


class JudgeHandlers:
    """One method per event; bound to the components in `ui.judge.events`."""

    def __init__(self, page: JudgePage, actions: JudgeActions) -> None:
        self.page = page
        self.actions = actions

    @told_on_page
    def opened(self, request: gr.Request, remembered: object) -> Updates:
        """The page was opened: offer the studies, and go on where this browser stopped."""
        session_id = own_session(request)
        updates: Updates = {self.page.token: self.actions.session_token(session_id)}
        try:
            kept = remembered if isinstance(remembered, dict) else {}
            study_id, name = request.query_params.get("study") or kept.get("study"), kept.get("name")
            updates |= self._studies(study_id) | {self.page.name: name if isinstance(name, str) else ""}
            if name and study_id and study_id == kept.get("study") and kept.get("seated"):
                updates |= self._seated(self.actions.start(study_id, name, False), study_id, name)
        except TillerError as error:
            updates |= {self.page.message: markup.message(words_for(error))}
        return updates

    @told_on_page
    def pick(self, study_id: str) -> Updates:
        """A study was picked: show the text it asks to agree to."""
        return self._consent(study_id)

    @told_on_page
    def start(self, request: gr.Request, token: str, study_id: str, name: str, has_accepted: bool) -> Updates:
        """Judging begins, or goes on where this name stopped."""
        self.actions.check_token(own_session(request), token)
        desk = self.actions.start(study_id, name, has_accepted)
        return self._seated(desk, study_id, name) | {self.page.pace: ()}

    def save(self, request: gr.Request, token: str, study_id: str, name: str, sent: str, times: Times) -> Updates:
        """An item was answered; where it cannot be saved its HTML is not touched, and with it what was chosen."""
        try:
            self.actions.check_token(own_session(request), token)
            desk = self.actions.save(study_id, name, sent)
        except Exception as error:  # noqa: BLE001 - the page's boundary: whatever happens is told, not lost
            told = wording.NOT_DONE.format(reason=words_for(error))
            return {self.page.message: markup.message(told)}
        return self._laid_out(desk, (*times, time.monotonic())) | {self.page.message: ""}

    @told_on_page
    def undo(self, request: gr.Request, token: str, study_id: str, name: str, times: Times) -> Updates:
        """The last answer is taken back."""
        self.actions.check_token(own_session(request), token)
        desk = self.actions.undo(study_id, name)
        return self._laid_out(desk, times[:-1]) | {self.page.message: markup.status(wording.TAKEN_BACK)}

    @told_on_page
    def leave(self, study_id: str, name: str) -> Updates:
        """Back to choosing study and name; what was judged is stored."""
        kept = {"study": study_id, "name": name, "seated": False}
        shown: Updates = {self.page.entry: gr.update(visible=True), self.page.desk: gr.update(visible=False)}
        return shown | {self.page.remembered: kept, self.page.message: "", self.page.item: ""} | self._studies(study_id)

    def _studies(self, study_id: object) -> Updates:
        studies = self.actions.open_studies()
        picked = next((study.id for study in studies if study.id == study_id), None)
        picked = picked or (studies[0].id if len(studies) == 1 else None)
        lines = [
            (wording.STUDY_LINE.format(name=study.name, given=study.n_given, wanted=study.n_wanted), study.id)
            for study in studies
        ]
        nothing = "" if studies else markup.status(wording.NO_STUDIES)
        return {
            self.page.study: gr.update(choices=lines, value=picked, visible=bool(studies)),
            self.page.seat: picked or "",
            self.page.start: gr.update(interactive=bool(studies)),
            self.page.message: nothing,
        } | self._consent(picked)

    def _consent(self, study_id: str | None) -> Updates:
        text = self.actions.consent_of(study_id) if study_id else ""
        return {
            self.page.consent: gr.update(value=judge_markup.consent(text), visible=bool(text)),
            self.page.accepted: gr.update(value=False, visible=bool(text)),
        }

    def _seated(self, desk: Desk, study_id: str, name: str) -> Updates:
        return self._laid_out(desk, ()) | {
            self.page.entry: gr.update(visible=False),
            self.page.desk: gr.update(visible=True),
            self.page.seat: study_id,
            self.page.remembered: {"study": study_id, "name": name, "seated": True},
            self.page.message: "",
        }

    def _laid_out(self, desk: Desk, times: Times) -> Updates:
        shown = judge_markup.item(desk.shown, desk.questions) if desk.shown is not None else judge_markup.nothing_left()
        return {
            self.page.item: shown,
            self.page.progress: judge_markup.progress(desk, len(times), seconds_each(times)),
            self.page.undo: gr.update(interactive=desk.can_undo),
            self.page.revealed: judge_markup.revealed(desk.revealed),
            self.page.pace: times,
        }


def seconds_each(times: Times) -> float | None:
    """Mean seconds between the last saves, pauses left out; None where there are too few to say."""
    recent = times[-PACE_OVER - 1 :]
    gaps = [later - earlier for earlier, later in pairwise(recent)]
    working = [gap for gap in gaps if gap < LONG_PAUSE_SECONDS]
    return sum(working) / len(working) if working else None
