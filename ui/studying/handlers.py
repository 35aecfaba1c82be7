"""The Studies page's handlers: read components, call one action, return updates by component."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr

from steering.errors import InputError
from ui import wording_studies as wording
from ui.components import markup, studies_markup
from ui.components.studies import StudiesPage
from ui.components.study_form import N_ROWS
from ui.components.view import Updates
from ui.handlers import Handler, own_session, told_by
from ui.privacy import is_let_in
from ui.studying.actions import Deed, StudyingActions
from ui.studying.changes import FileKind
from ui.studying.forms import BUILT_IN_SET, DRAWN, FILE, FIXED, PASTED, PUBLISHING

N_FILE_NAME_CHARS = 60


def told_at(place: str, instead: Callable[[StudiesPage], Updates] = lambda _page: {}) -> Callable[[Handler], Handler]:
    """Tell an error at a place of the page; ``instead`` takes away what an earlier event left there."""

    def tell(handlers: "StudiesHandlers", message: str) -> Updates:
        return {handlers.places[place]: message, **instead(handlers.page)}

    return told_by(tell)


def _nothing_sent(page: StudiesPage) -> Updates:
    return {page.sent: ""}  # the event ends with a file to save, and the one before would be saved again


def _no_preview(page: StudiesPage) -> Updates:
    return {page.form.pick_file["note"]: ""}  # else that of the file before stands beside the error


def _no_changes_file(page: StudiesPage) -> Updates:
    return {page.changes.file: gr.update(visible=False)}  # else the one before is offered as if it were this


class StudiesHandlers:
    """One method per event; bound to the components in `ui.studying.events`."""

    def __init__(self, page: StudiesPage, actions: StudyingActions) -> None:
        self.page = page
        self.actions = actions
        self.places = {"list": page.message, "form": page.told, "changes": page.changes.table}

    @told_at("list")
    def studies_opened(self, request: gr.Request) -> Updates:
        """The page was opened."""
        session_id = own_session(request)
        token = self.actions.session_token(session_id) if is_let_in(self.actions, request) else ""
        studies = [(study.summary.name, study.summary.id) for study in self.actions.listing()]
        choices = [(wording.EVERYTHING, ""), *studies]
        return self._listed(request, "") | {self.page.token: token, self.page.changes.study: gr.update(choices=choices)}

    @told_at("list")
    def tick(self, request: gr.Request, drawn: str) -> Updates:
        """A second has passed while something is written."""
        own_session(request)
        return self._listed(request, drawn)

    @told_at("list", _nothing_sent)
    def deed(self, request: gr.Request, token: str, asked: str, drawn: str) -> Updates:
        """A button of a study was pressed."""
        self._private(request, token)
        study_id, deed = _asked(asked)
        if deed == studies_markup.TOML:
            return {self.page.sent: _file(*self.actions.toml(study_id)), self.page.message: ""}
        study = self.actions.do(study_id, Deed(deed))
        told = markup.status(wording.DONE[deed].format(name=study.name))
        return self._listed(request, drawn) | {self.page.message: told, self.page.sent: ""}

    @told_at("form")
    def check(self, request: gr.Request, token: str, *inputs: Any) -> Updates:
        """The form is to be checked."""
        session_id = self._private(request, token)
        values = self._values(inputs)
        found = self.actions.check(values, session_id)
        return {self.page.told: studies_markup.checked(found, self.actions.prompts(values))}

    @told_at("form")
    def make(self, request: gr.Request, token: str, drawn: str, *inputs: Any) -> Updates:
        """The study is to be made."""
        session_id = self._private(request, token)
        study = self.actions.make(self._values(inputs), session_id)
        told = markup.status(wording.MADE.format(name=study.name))
        studies = [(one.summary.name, one.summary.id) for one in self.actions.listing()]
        choices = gr.update(choices=[(wording.EVERYTHING, ""), *studies])
        return self._listed(request, drawn) | {self.page.told: told, self.page.changes.study: choices}

    @told_at("form", _nothing_sent)
    def toml(self, request: gr.Request, token: str, *inputs: Any) -> Updates:
        """The form is wanted as a TOML file."""
        self._private(request, token)
        return {self.page.sent: _file(*self.actions.draft(self._values(inputs))), self.page.told: ""}

    @told_at("form", _no_preview)
    def file_chosen(self, request: gr.Request, token: str, sent: str) -> Updates:
        """A file of prompts was chosen."""
        self._private(request, token)
        read = self.actions.prompts({"source": FILE, "file": sent})
        return {self.page.form.pick_file["note"]: studies_markup.preview(read), self.page.told: ""}

    def source_picked(self, source: str) -> Updates:
        """Where prompts come from was picked."""
        return self._shown((PASTED, FILE, BUILT_IN_SET), source)

    def way_picked(self, compared: str) -> Updates:
        """What is compared was picked."""
        return self._shown((FIXED, DRAWN), compared)

    def publish_ticked(self, is_ticked: bool) -> Updates:
        """Whether better guides are published by themselves was picked."""
        return {self.page.form.groups[PUBLISHING]: gr.update(visible=is_ticked is True)}

    def more_of(self, kind: str) -> Callable[[int], Updates]:
        """The handler that shows one more row of a kind."""

        def more(n_shown: int) -> Updates:
            form = self.page.form
            n_now = min(n_shown + 1, N_ROWS[kind])
            return {
                form.rows[kind][n_now - 1]: gr.update(visible=True),
                form.shown[kind]: n_now,
                form.add[kind]: gr.update(interactive=n_now < N_ROWS[kind]),
            }

        return more

    @told_at("changes")
    def newest(self, request: gr.Request, token: str, study_id: str) -> Updates:
        """The newest changes are wanted."""
        self._private(request, token)
        return self._changes(None, study_id)

    @told_at("changes")
    def older(self, request: gr.Request, token: str, study_id: str, before: int | None) -> Updates:
        """Those before the ones that are shown are wanted."""
        self._private(request, token)
        return self._changes(before, study_id)

    @told_at("changes", _no_changes_file)
    def changes_file(self, request: gr.Request, token: str, study_id: str, kind: str) -> Updates:
        """All changes are wanted as a file."""
        self._private(request, token)
        file = self.page.changes.file
        path = self.actions.export_changes(study_id or None, FileKind(kind), Path(file.GRADIO_CACHE))
        return {file: gr.update(value=str(path), label=wording.DOWNLOAD.format(name=path.name), visible=True)}

    def _private(self, request: gr.Request, token: object) -> str:
        session_id = own_session(request)
        if not is_let_in(self.actions, request):
            raise InputError(wording.NOT_PRIVATE, hint=wording.NOT_PRIVATE_HINT)
        self.actions.check_token(session_id, token)
        return session_id

    def _values(self, inputs: tuple[Any, ...]) -> dict[str, Any]:
        return dict(zip(self.page.form.inputs, inputs, strict=True))

    def _listed(self, request: gr.Request, drawn: str) -> Updates:
        """The list where it is another one than the page has, and how far the study under way is."""
        written, studies = self.actions.written, self.actions.listing()
        listing = studies_markup.listing(studies, is_let_in(self.actions, request))
        names = {study.summary.id: study.summary.name for study in studies}
        updates: Updates = {
            self.page.now: studies_markup.now_writing(written, names),
            self.page.timer: gr.update(active=written.study_id is not None or bool(written.waiting)),
        }
        return updates | ({self.page.listing: listing, self.page.drawn: listing} if listing != drawn else {})

    def _shown(self, groups: tuple[str, ...], picked: str) -> Updates:
        return {self.page.form.groups[group]: gr.update(visible=group == picked) for group in groups}

    def _changes(self, before: int | None, study_id: str) -> Updates:
        view = self.page.changes
        found = self.actions.changes(before, study_id or None)
        return {
            view.table: studies_markup.changes(found.entries, self.actions.names()),
            view.before: found.entries[-1].number if found.entries else None,
            view.older: gr.update(visible=found.has_older),
        }


def _asked(text: str) -> tuple[str, str]:
    """The study and the deed that a button of the list stands for."""
    try:
        found = json.loads(text)
        study_id, deed = found["study"], found["deed"]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise InputError(wording.BAD_REQUEST, hint=wording.BAD_REQUEST_HINT) from error
    if not isinstance(study_id, str) or deed not in (*Deed, studies_markup.TOML):
        raise InputError(wording.BAD_REQUEST, hint=wording.BAD_REQUEST_HINT)
    return study_id, deed


def _file(name: str, text: str) -> str:
    """A file for the browser to save, under a name that every system takes."""
    stem = re.sub(r"[^\w-]+", "-", name)[:N_FILE_NAME_CHARS].strip("-") or "study"
    return json.dumps({"name": f"{stem}.toml", "text": text})
