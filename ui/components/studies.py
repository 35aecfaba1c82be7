"""The Studies page, laid out: the studies on top, the form of a new one, and what was changed by whom."""

from collections.abc import Sequence
from dataclasses import dataclass

import gradio as gr
from gradio.components import Navbar

from models.answers import GuideInfo
from ui import wording_judge
from ui import wording_studies as wording
from ui.components import markup
from ui.components.study_form import StudyForm, build_form

TICK_SECONDS = 1.0


@dataclass(frozen=True)
class ChangesView:
    """Who changed what; ``before`` is the number of the oldest change shown, None where nothing is."""

    whole: gr.Accordion
    study: gr.Dropdown
    show: gr.Button
    older: gr.Button
    table: gr.HTML
    before: gr.State
    file_kind: gr.Radio
    prepare: gr.Button
    file: gr.DownloadButton


@dataclass(frozen=True)
class StudiesPage:
    """Every component of the page by name. ``token``, ``asked``, ``sent`` and ``do`` are never seen.

    ``asked`` is which study's button was pressed, ``sent`` a file on its way to the browser, ``drawn`` the list as the
    page has it, so that it is only drawn again, which takes the focus from its buttons, when it has changed.
    """

    message: gr.HTML
    now: gr.HTML
    listing: gr.HTML
    drawn: gr.State
    timer: gr.Timer
    form: StudyForm
    check: gr.Button
    make: gr.Button
    save_toml: gr.Button
    told: gr.HTML
    changes: ChangesView
    token: gr.Textbox
    asked: gr.Textbox
    sent: gr.Textbox
    do: gr.Button


def build_studies(guides: Sequence[GuideInfo], max_new_tokens_limit: int, is_private: bool) -> StudiesPage:
    """Lay the page out inside its own route; a page open to everybody shows the studies and nothing that makes one."""
    Navbar(main_page_name=wording_judge.STEER_PAGE)
    gr.HTML(f"<h1>{markup.escape(wording.TITLE)}</h1><p>{markup.escape(wording.TAGLINE)}</p>", elem_id="title")
    message = gr.HTML(elem_id="studies-message")
    now = gr.HTML(elem_id="studies-now")
    gr.HTML(markup.heading(wording.LIST))
    listing = gr.HTML(elem_id="studies-list")
    if not is_private:
        gr.HTML(markup.status(f"{wording.NOT_PRIVATE} {wording.NOT_PRIVATE_HINT}"), elem_id="studies-closed")
    with gr.Accordion(wording.NEW, open=True, visible=is_private, elem_id="studies-new"):
        form = build_form(guides, max_new_tokens_limit)
        with gr.Row(elem_id="studies-buttons"):
            make = gr.Button(wording.MAKE, variant="primary", elem_id="study-make", min_width=140)
            check = gr.Button(wording.CHECK, elem_id="study-check", min_width=100)
            save_toml = gr.Button(wording.SAVE_TOML, elem_id="study-toml", min_width=140)
        told = gr.HTML(elem_id="studies-told")
    changes = _build_changes(is_private)
    return StudiesPage(
        message=message,
        now=now,
        listing=listing,
        drawn=gr.State(""),
        timer=gr.Timer(TICK_SECONDS, active=False),
        form=form,
        check=check,
        make=make,
        save_toml=save_toml,
        told=told,
        changes=changes,
        token=gr.Textbox(visible=False),
        asked=gr.Textbox(visible=False),
        sent=gr.Textbox(visible=False),
        do=gr.Button(elem_id="studies-do", visible="hidden"),
    )


def _build_changes(is_private: bool) -> ChangesView:
    with gr.Accordion(wording.CHANGES, open=False, visible=is_private, elem_id="studies-changes") as whole:
        gr.HTML(markup.note(wording.CHANGES_INFO))
        with gr.Row(equal_height=False, elem_classes="studies-bar"):
            study = gr.Dropdown(
                [(wording.EVERYTHING, "")], value="", label=wording.CHANGES_OF, elem_id="changes-study", min_width=220
            )
            show = gr.Button(wording.SHOW_CHANGES, variant="primary", elem_id="changes-show", min_width=140)
        table = gr.HTML(elem_id="changes-table")
        with gr.Row(equal_height=False, elem_classes="studies-bar"):
            older = gr.Button(wording.OLDER, size="sm", elem_id="changes-older", visible=False, min_width=120)
            kinds = [(words, kind) for kind, words in wording.FILE_KINDS.items()]
            file_kind = gr.Radio(kinds, value=kinds[0][1], label=wording.FILE_KIND, min_width=180)
            prepare = gr.Button(wording.PREPARE, elem_id="changes-prepare", min_width=140)
            file = gr.DownloadButton(elem_id="changes-download", visible=False, min_width=140)
    return ChangesView(whole, study, show, older, table, gr.State(None), file_kind, prepare, file)
