"""Which event of the Studies page calls which handler; none is queued, so nobody waits behind a run."""

from collections.abc import Sequence
from typing import Any

import gradio as gr

from models.answers import GuideInfo
from ui import wording_studies as wording
from ui.components.studies import StudiesPage, build_studies
from ui.events import AT_ONCE, AT_ONCE_SHOWN, save_as
from ui.layouts import Layouts
from ui.studying.actions import StudyingActions
from ui.studying.forms import MAX_FILE_BYTES, PUBLISHING
from ui.studying.handlers import StudiesHandlers

PATH = "/studies"
# The file is read in the browser and sent as text, so that the server keeps no files of anybody's.
PICK_FILE = """async (kept) => {
  const input = document.createElement("input");
  Object.assign(input, {type: "file", accept: ".txt,.csv,.jsonl"});
  const file = await new Promise((done) => {
    input.onchange = () => done(input.files[0]);
    input.oncancel = () => done(null);
    input.click();
  });
  if (!file) return kept;
  const sent = {name: file.name, size: file.size, content: ""};
  if (file.size <= MAX_BYTES) {
    let text = "";
    for (const byte of new Uint8Array(await file.arrayBuffer())) text += String.fromCharCode(byte);
    sent.content = btoa(text);
  }
  return JSON.stringify(sent);
}""".replace("MAX_BYTES", str(MAX_FILE_BYTES))
SAVE_AS = save_as("application/toml")
WITH_ASKED = "(token, asked, drawn) => [token, window.tillerStudies.asked(), drawn]"


def add_studies_page(blocks: gr.Blocks, layouts: Layouts, actions: StudyingActions) -> None:
    """Build the page in a route of its own and bind its events; called outside the Blocks."""

    def build(guides: Sequence[GuideInfo]) -> None:
        page = build_studies(guides, actions.settings.max_new_tokens_limit, actions.is_private)
        connect(page, StudiesHandlers(page, actions), blocks)

    with blocks.route(wording.PAGE, PATH):
        layouts.add(build)


def connect(page: StudiesPage, handlers: StudiesHandlers, blocks: gr.Blocks) -> None:
    """Bind every event; called inside the route."""
    listed = [page.message, page.now, page.listing, page.drawn, page.timer]
    blocks.load(handlers.studies_opened, None, [*listed, page.token, page.changes.study], **AT_ONCE)
    page.timer.tick(handlers.tick, page.drawn, listed, **AT_ONCE)
    deed = page.do.click(
        handlers.deed, [page.token, page.asked, page.drawn], [*listed, page.sent], js=WITH_ASKED, **AT_ONCE
    )
    deed.then(None, page.sent, None, js=SAVE_AS)
    _connect_form(page, handlers, listed)
    _connect_changes(page, handlers)


def _connect_form(page: StudiesPage, handlers: StudiesHandlers, listed: list[Any]) -> None:
    form, told = page.form, page.told
    inputs = list(form.inputs.values())
    page.check.click(handlers.check, [page.token, *inputs], told, **AT_ONCE_SHOWN)
    made = [*listed, told, page.changes.study]
    page.make.click(handlers.make, [page.token, page.drawn, *inputs], made, **AT_ONCE_SHOWN)
    save = page.save_toml.click(handlers.toml, [page.token, *inputs], [page.sent, told], **AT_ONCE)
    save.then(None, page.sent, None, js=SAVE_AS)
    source, compared, file = form.inputs["source"], form.inputs["compared"], form.inputs["file"]
    groups = list(form.groups.values())
    source.input(handlers.source_picked, source, groups, **AT_ONCE)  # type: ignore[attr-defined]
    compared.input(handlers.way_picked, compared, groups, **AT_ONCE)  # type: ignore[attr-defined]
    publish = form.inputs["publish"]
    publish.input(handlers.publish_ticked, publish, form.groups[PUBLISHING], **AT_ONCE)  # type: ignore[attr-defined]
    form.pick_file["button"].click(None, file, file, js=PICK_FILE).then(
        handlers.file_chosen, [page.token, file], [form.pick_file["note"], told], **AT_ONCE
    )
    for kind, add in form.add.items():
        more = [*form.rows[kind], form.shown[kind], add]
        add.click(handlers.more_of(kind), form.shown[kind], more, **AT_ONCE)


def _connect_changes(page: StudiesPage, handlers: StudiesHandlers) -> None:
    view = page.changes
    shown = [view.table, view.before, view.older]
    view.show.click(handlers.newest, [page.token, view.study], shown, **AT_ONCE_SHOWN)
    view.older.click(handlers.older, [page.token, view.study, view.before], shown, **AT_ONCE_SHOWN)
    view.prepare.click(
        handlers.changes_file, [page.token, view.study, view.file_kind], [view.file, view.table], **AT_ONCE_SHOWN
    )
