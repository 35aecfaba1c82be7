"""The Judge page's handlers: read components, call one action, return updates by component."""

import json

import gradio as gr

from steering.errors import TillerError
from ui import wording_judge as wording
from ui.components import judge_markup, markup
from ui.components.judge import JudgePage
from ui.components.view import Updates
from ui.handlers import own_session, told_by, words_for
from ui.judge.actions import Desk, JudgeActions
from ui.judge.login import Login, is_credential, login_of
from ui.judge.pace import Pace, read_pace


def _told(handlers: "JudgeHandlers", message: str) -> Updates:
    return {handlers.page.message: message}


told_on_page = told_by(_told)


class JudgeHandlers:
    """One method per event; bound to the components in `ui.judge.events`."""

    def __init__(self, page: JudgePage, actions: JudgeActions) -> None:
        self.page = page
        self.actions = actions

    @told_on_page
    def opened(self, request: gr.Request, profile: gr.OAuthProfile | None, remembered: object) -> Updates:
        """The page was opened: offer the studies, and go on where this browser stopped."""
        session_id = own_session(request)
        updates: Updates = {self.page.token: self.actions.session_token(session_id)}
        try:
            kept = remembered if isinstance(remembered, dict) else {}
            study_id, name = request.query_params.get("study") or kept.get("study"), kept.get("name")
            login = login_of(profile)
            is_same = is_credential(name) == (login is not None)
            name = self.actions.credential(login) if login else name if is_same else ""
            updates |= self._studies(study_id) | self._named(name, login)
            if is_same and name and study_id and study_id == kept.get("study") and kept.get("seated"):
                updates |= self._seated(self.actions.start(study_id, name, False), study_id, name)
        except TillerError as error:
            updates |= {self.page.message: markup.message(words_for(error))}
        return updates

    @told_on_page
    def pick(self, study_id: str) -> Updates:
        """A study was picked: show the text it asks to agree to."""
        return self._consent(study_id)

    @told_on_page
    def start(
        self, request: gr.Request, token: str, study_id: str, name: str, has_accepted: bool, told: str
    ) -> Updates:
        """Judging begins, or goes on where this name stopped; to another study's text than this one's nobody agreed."""
        self.actions.check_token(token, own_session(request))
        desk = self.actions.start(study_id, name, has_accepted and told == study_id)
        return self._seated(desk, study_id, name)

    @told_on_page
    def undo(self, request: gr.Request, token: str, study_id: str, name: str, pace: str) -> Updates:
        """The last answer is taken back."""
        self.actions.check_token(token, own_session(request))
        desk = self.actions.undo(study_id, name)
        taken_back = {self.page.message: markup.status(wording.TAKEN_BACK)}
        return self._laid_out(desk, read_pace(json.loads(pace))) | taken_back

    @told_on_page
    def leave(self, study_id: str, name: str) -> Updates:
        """Back to choosing study and name; what was judged is stored."""
        kept = {"study": study_id, "name": name, "seated": False}
        shown: Updates = {self.page.entry: gr.update(visible=True), self.page.desk: gr.update(visible=False)}
        return shown | {self.page.remembered: kept, self.page.message: "", self.page.item: ""} | self._studies(study_id)

    def _named(self, name: object, login: Login | None) -> Updates:
        """Who judges: a name to be typed, or an account, whose credential stands unseen in its place."""
        words = wording.LOGGED_IN.format(name=login.display_name) if login else wording.OR_LOG_IN
        return {
            self.page.name: gr.update(value=name if isinstance(name, str) else "", visible=login is None),
            self.page.login_note: markup.status(words) if self.page.has_login else "",
        }

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
            self.page.told: study_id or "",
        }

    def _seated(self, desk: Desk, study_id: str, name: str) -> Updates:
        return self._laid_out(desk, Pace()) | {
            self.page.entry: gr.update(visible=False),
            self.page.desk: gr.update(visible=True),
            self.page.seat: study_id,
            self.page.remembered: {"study": study_id, "name": name, "seated": True},
            self.page.message: "",
        }

    def _laid_out(self, desk: Desk, pace: Pace) -> Updates:
        shown = judge_markup.laid_out(desk, pace)
        return {
            self.page.item: shown["item"],
            self.page.progress: shown["progress"],
            self.page.undo: gr.update(interactive=shown["can_undo"]),
            self.page.revealed: shown["revealed"],
        }
