"""The Judge page, laid out: first who judges what, then the desk with one item at a time."""

from dataclasses import dataclass

import gradio as gr
from gradio.components import Navbar

from ui import wording_judge as wording
from ui.components import judge_markup, markup
from ui.components.steer import BROWSER_STATE_KEY

REMEMBERED_KEY = "tiller-judge"
MAX_NAME_FIELD_CHARS = 200


@dataclass(frozen=True)
class JudgePage:
    """Every component of the page by name. ``token``, ``seat``, ``told``, ``pace`` and ``send`` are never seen.

    ``has_login`` says whether judges can log in instead of typing a name, which then ``login_note`` tells them.
    ``seat`` is the picked study's id: Gradio refuses what a list of choices sends when the server has started anew and
    knows of no choices. ``told`` is the id of the study whose text ``consent`` shows, which for the time of a request
    is another one than was just picked. ``remembered`` keeps study and name in the browser; ``pace`` carries how fast
    its owner saves.
    """

    entry: gr.Column
    desk: gr.Column
    study: gr.Radio
    has_login: bool
    login_note: gr.HTML
    name: gr.Textbox
    consent: gr.HTML
    told: gr.Textbox
    accepted: gr.Checkbox
    start: gr.Button
    message: gr.HTML
    progress: gr.HTML
    item: gr.HTML
    revealed: gr.HTML
    undo: gr.Button
    leave: gr.Button
    send: gr.Button
    token: gr.Textbox
    seat: gr.Textbox
    remembered: gr.BrowserState
    pace: gr.Textbox

    @property
    def who(self) -> list[gr.components.Component]:
        """What everything is asked with: the page's token, the study and the name."""
        return [self.token, self.seat, self.name]


def build_judge(has_login: bool = False) -> JudgePage:
    """Lay the page out inside its own route; ``has_login`` only where Gradio's login is real, as on Spaces."""
    Navbar(main_page_name=wording.STEER_PAGE)
    gr.HTML(
        f"<h1>{markup.escape(wording.TITLE)}</h1><p>{markup.escape(wording.TAGLINE)}</p>",
        elem_id="title",
    )
    message = gr.HTML(elem_id="judge-message")
    with gr.Column(elem_id="judge-entry") as entry:
        study = gr.Radio([], label=wording.STUDY, elem_id="judge-study", visible=False)
        login_note = gr.HTML(elem_id="judge-login-note")
        if has_login:
            gr.LoginButton(wording.LOG_IN, wording.LOG_OUT, variant="secondary", size="sm", elem_id="judge-login")
        name = gr.Textbox(
            label=wording.NAME,
            info=wording.NAME_INFO,
            max_lines=1,
            max_length=MAX_NAME_FIELD_CHARS,
            elem_id="judge-name",
        )
        consent = gr.HTML(visible=False)
        accepted = gr.Checkbox(False, label=wording.ACCEPT, elem_id="judge-accept", visible=False)
        start = gr.Button(wording.START, variant="primary", elem_id="judge-start")
    with gr.Column(visible=False, elem_id="judge-desk") as desk:
        progress = gr.HTML(elem_id="judge-progress")
        item = gr.HTML(elem_id="judge-item")
        with gr.Row(elem_id="judge-bar"):
            undo = gr.Button(wording.UNDO, size="sm", elem_id="judge-undo", interactive=False)
            leave = gr.Button(wording.LEAVE, size="sm", elem_id="judge-leave")
        revealed = gr.HTML(elem_id="judge-revealed")
        gr.HTML(judge_markup.keys() + judge_markup.unreachable())
    return JudgePage(
        entry=entry,
        desk=desk,
        study=study,
        has_login=has_login,
        login_note=login_note,
        name=name,
        consent=consent,
        told=gr.Textbox(visible=False),
        accepted=accepted,
        start=start,
        message=message,
        progress=progress,
        item=item,
        revealed=revealed,
        undo=undo,
        leave=leave,
        send=gr.Button(elem_id="judge-send", visible="hidden"),
        token=gr.Textbox(visible=False),
        seat=gr.Textbox(visible=False),
        remembered=gr.BrowserState(None, storage_key=REMEMBERED_KEY, secret=BROWSER_STATE_KEY),
        pace=gr.Textbox(visible=False),
    )
