"""Which event of the Judge page calls which handler; none is queued, so nobody waits behind a run."""

from typing import Any

import gradio as gr
from starlette.routing import BaseRoute

from ui import wording_judge as wording
from ui.components.judge import JudgePage, build_judge
from ui.events import AT_ONCE
from ui.judge.actions import JudgeActions
from ui.judge.handlers import JudgeHandlers
from ui.judge.login import can_log_in
from ui.judge.saving import save_routes

PATH = "/judge"
SAVING = "(token, study, name) => window.tillerJudge.save(token, study, name)"
ANSWERED = "() => { window.tillerJudge.answered(); }"
UNDOING = "(token, study, name, _pace) => [token, study, name, window.tillerJudge.undoing()]"
LEAVING = "(...given) => { window.tillerJudge.leaving(); return given; }"


def add_judge_page(blocks: gr.Blocks, actions: JudgeActions) -> list[BaseRoute]:
    """Build the page in a route of its own and bind its events; called outside the Blocks.

    Returns the routes that the application must serve besides.
    """
    with blocks.route(wording.PAGE, PATH):
        page = build_judge(can_log_in())
        connect(page, JudgeHandlers(page, actions), blocks)
    return save_routes(actions)


def connect(page: JudgePage, handlers: JudgeHandlers, blocks: gr.Blocks) -> None:
    """Bind every event; called inside the route."""
    outputs = everything(page)
    blocks.load(handlers.opened, page.remembered, outputs, **AT_ONCE)
    page.study.input(None, page.study, page.seat, js="(study) => study").then(
        handlers.pick, page.seat, [page.consent, page.told, page.accepted, page.message], **AT_ONCE
    )
    agreed = [page.accepted, page.told]
    gr.on([page.start.click, page.name.submit], handlers.start, [*page.who, *agreed], outputs, **AT_ONCE)
    # Saved by a request of the script's own; Gradio is only told in the browser what to show.
    page.send.click(None, page.who, desk(page), js=SAVING, show_progress="hidden").then(None, None, None, js=ANSWERED)
    page.undo.click(handlers.undo, [*page.who, page.pace], desk(page), js=UNDOING, **AT_ONCE)
    page.leave.click(handlers.leave, [page.seat, page.name], outputs, js=LEAVING, **AT_ONCE)


def desk(page: JudgePage) -> list[Any]:
    """What the next item changes, in the order of `judge.js`."""
    return [page.message, page.progress, page.item, page.revealed, page.undo]


def everything(page: JudgePage) -> list[Any]:
    """Every component a drawing may change."""
    who = [page.login_note, page.name]
    drawn: list[Any] = [page.entry, page.desk, page.study, *who, page.consent, page.told, page.accepted, page.start]
    return [*drawn, *desk(page), page.token, page.seat, page.remembered]
