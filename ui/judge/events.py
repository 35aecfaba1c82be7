"""Which event of the Judge page calls which handler; none is queued, so nobody waits behind a run."""

from typing import Any

import gradio as gr

from ui import wording_judge as wording
from ui.components.judge import JudgePage, build_judge
from ui.judge.actions import JudgeActions
from ui.judge.handlers import JudgeHandlers

PATH = "/judge"
AT_ONCE: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
# What was chosen is kept by judge.js, and is read the moment it is sent.
WITH_PAYLOAD = "(token, study, name, sent, pace) => [token, study, name, window.tillerJudge.payload(), pace]"
ANSWERED = "() => { window.tillerJudge.answered(); }"
UNDOING = "(...given) => { window.tillerJudge.undoing(); return given; }"


def add_judge_page(blocks: gr.Blocks, actions: JudgeActions) -> None:
    """Build the page in a route of its own and bind its events; called outside the Blocks."""
    with blocks.route(wording.PAGE, PATH):
        page = build_judge()
        connect(page, JudgeHandlers(page, actions), blocks)


def connect(page: JudgePage, handlers: JudgeHandlers, blocks: gr.Blocks) -> None:
    """Bind every event; called inside the route."""
    outputs = everything(page)
    blocks.load(handlers.opened, page.remembered, outputs, **AT_ONCE)
    page.study.input(None, page.study, page.seat, js="(study) => study").then(
        handlers.pick, page.seat, [page.consent, page.accepted, page.message], **AT_ONCE
    )
    gr.on([page.start.click, page.name.submit], handlers.start, [*page.who, page.accepted], outputs, **AT_ONCE)
    page.send.click(handlers.save, [*page.who, page.sent, page.pace], desk(page), js=WITH_PAYLOAD, **AT_ONCE).then(
        None, None, None, js=ANSWERED
    )
    page.undo.click(handlers.undo, [*page.who, page.pace], desk(page), js=UNDOING, **AT_ONCE)
    page.leave.click(handlers.leave, [page.seat, page.name], outputs, **AT_ONCE)


def desk(page: JudgePage) -> list[Any]:
    """What the next item changes; few, because Gradio's work grows with them and a save is waited for."""
    return [page.message, page.progress, page.item, page.revealed, page.undo, page.pace]


def everything(page: JudgePage) -> list[Any]:
    """Every component a drawing may change."""
    drawn: list[Any] = [page.entry, page.desk, page.study, page.name, page.consent, page.accepted, page.start]
    return [*drawn, *desk(page), page.token, page.seat, page.remembered]
